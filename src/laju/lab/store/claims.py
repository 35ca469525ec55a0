"""Claims on trials: the trials that a program is training, visible to all users of the store, so that none is trained twice.

A program that claims trials increases a counter, its beat, by 1 every few seconds. A second program takes over the claims when
the first process is known to have ended, or when its beat has stood still for a minute by the second program's own monotonic
clock. No two clocks are compared, so clocks that jump or differ between machines have no effect.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Self

import sqlalchemy as sa

from laju.lab.store.file import File
from laju.lab.store.processes import is_dead, this_process
from laju.lab.store.server import Server
from laju.lab.store.tables import StoreError, claims, holders, parts, trials

BEAT = 5.0  # seconds between two beats
STILL = 60.0  # seconds without a beat after which a holder counts as dead


class Claims:
    """The claims of a run; leaving the block gives back the remaining claims.

    Args:
        kept_in: the location of the store.
        lock: the lock of the store, which threads use in turn.
    """

    def __init__(self, kept_in: File | Server, lock: threading.RLock) -> None:
        self._kept_in, self._lock = kept_in, lock
        self._swept = False
        self._holder = uuid.uuid4().hex
        self._process = this_process()
        self._ours: set[str] = set()
        self._beats: dict[
            str, tuple[int, float]
        ] = {}  # of other programs: the last beat, and when that beat was new here
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, name="laju-claims", daemon=True)

    def take(self, fingerprints: Iterable[str]) -> bool:
        """Claim all the given trials, unless another program has claimed or finished any of these trials.

        Raises:
            StoreError: the store cannot be written.
        """
        wanted = sorted(set(fingerprints))

        def work(connection: sa.Connection) -> None:
            if not self._swept:  # once in a run: the claims of killed programs
                there = connection.execute(sa.select(holders.c.holder, holders.c.process)).all()
                _end(connection, [holder for holder, process in there if is_dead(process)])
            if self._write(connection, wanted) < len(wanted):
                if self._of_others(connection, wanted):
                    raise _Denied
                self._write(connection, wanted)  # in the place of claims that have just ended
                # Where two programs insert at once, the second one's rows are left out.
                if _select(connection, _HELD, wanted, holder=self._holder):
                    raise _Denied
            if _select(connection, _FINISHED, wanted):
                raise _Denied

        with self._lock:
            try:
                self._kept_in.write(work)
            except _Denied:
                return False
            self._ours.update(wanted)
        self._swept = True
        if self._thread.ident is None:
            self._thread.start()
        return True

    def of_others(self, fingerprints: Iterable[str]) -> dict[str, str]:
        """The trials that other programs are training: the process of each, by fingerprint."""
        wanted = sorted(set(fingerprints))
        with self._lock:
            return self._kept_in.write(lambda connection: self._of_others(connection, wanted))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()
            # A claim that cannot be taken back now ends by itself: the process ends, or its beat stands still.
            with suppress(StoreError), self._lock:
                self._kept_in.write(lambda connection: _end(connection, [self._holder]))

    def _of_others(self, connection: sa.Connection, wanted: Sequence[str]) -> dict[str, str]:
        rows = _select(connection, _OF_OTHERS, wanted, holder=self._holder)
        dead = {row.holder for row in rows if self._is_dead(row.holder, row.process, row.beat)}
        if dead:
            _end(connection, sorted(dead))
        return {row.fingerprint: row.process for row in rows if row.holder not in dead}

    def _is_dead(self, holder: str, process: str, beat: int) -> bool:
        if is_dead(process):
            return True
        now = time.monotonic()
        last, since = self._beats.get(holder, (None, now))
        # A beat that is new starts this program's own clock anew; beats are compared with each other alone, never with a time.
        if last != beat:
            self._beats[holder] = (beat, now)
            return False
        return now - since > STILL

    def _write(self, connection: sa.Connection, fingerprints: Iterable[str]) -> int:
        """Insert claims; return the number of new claims."""
        insert = self._kept_in.insert
        connection.execute(insert(holders), {"holder": self._holder, "process": self._process, "beat": 0})
        rows = [{"fingerprint": each, "holder": self._holder} for each in fingerprints]
        return sum(connection.execute(insert(claims), row).rowcount for row in rows)

    def _keep_beating(self) -> None:
        while not self._ended.wait(BEAT):
            with suppress(StoreError), self._lock:
                self._kept_in.try_to_write(self._beat)

    def _beat(self, connection: sa.Connection) -> None:
        own = holders.c.holder == self._holder
        beat = sa.update(holders).where(own).values(beat=holders.c.beat + 1)
        if connection.execute(beat.execution_options(preserve_rowcount=True)).rowcount == 0:
            # The file was recreated, or this program stood still for so long that another program took its trials over.
            self._write(connection, sorted(self._ours))

    def done(self, fingerprint: str) -> None:
        """Forget the claim of a finished trial; the claim ended when the outcome was stored."""
        with self._lock:
            self._ours.discard(fingerprint)


class _Denied(Exception):
    """Rolls a transaction back."""


_wanted: sa.BindParameter[Any] = sa.bindparam("wanted", expanding=True)
_holder: sa.BindParameter[str] = sa.bindparam("holder")
_FINISHED = sa.select(trials.c.fingerprint).where(trials.c.fingerprint.in_(_wanted))
_HELD = sa.select(claims.c.fingerprint).where(claims.c.fingerprint.in_(_wanted), claims.c.holder != _holder)
_OF_OTHERS = (
    sa.select(claims.c.fingerprint, *holders.c)
    .join(holders)
    .where(claims.c.fingerprint.in_(_wanted), holders.c.holder != _holder)
)


def _select(
    connection: sa.Connection, query: sa.Select[Any], wanted: Sequence[str], **values: str
) -> list[sa.Row[Any]]:
    return [row for part in parts(wanted) for row in connection.execute(query, {"wanted": part, **values})]


def _end(connection: sa.Connection, dead: Sequence[str]) -> None:
    for part in parts(dead):
        connection.execute(sa.delete(claims).where(claims.c.holder.in_(part)))
        connection.execute(sa.delete(holders).where(holders.c.holder.in_(part)))
