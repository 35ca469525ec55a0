"""Keeping and reading trials; the modules `file` and `server` implement the two kinds of location."""

from __future__ import annotations

import math
import os
import re
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import sqlalchemy as sa

import laju
from laju.core.checks import is_number, whole
from laju.core.checks import shown as shown_value
from laju.lab.store import tables
from laju.lab.store.claims import Claims
from laju.lab.store.file import File
from laju.lab.store.locations import is_url, read_url, shown
from laju.lab.store.rows import INCOMPLETE, fault
from laju.lab.store.server import Server
from laju.lab.store.tables import StoreError, StoreFull, StoreWarning
from laju.lab.trials import Outcome, Record, Trial

T = TypeVar("T")


@dataclass(frozen=True)
class StoredTrial:
    """A stored trial: its settings, with schedule and optimizer as text, and its outcome.

    For a trial with a rule, the schedule is the recorded schedule of the rule.
    """

    fingerprint: str
    task: str
    schedule: str
    optimizer: str
    seed: int
    epochs: int
    batch_size: int
    framework: str
    outcome: Outcome


class Store:
    """Finished trials in a SQLite file, in a PostgreSQL database, or in memory if no place is given.

    The store also keeps branch points: states of training runs from which several trials continue.

    Args:
        place: a file, created if missing, or postgresql://USER@HOST/DATABASE.
        branch_bytes: the largest size of all branch points together; the least recently used branch points are removed first.
        wait: seconds to wait for another program that is writing, and for a server that went away.

    Raises:
        StoreError: not a SQLite file, not a laju store, a store of a newer version, a place that cannot be written, a server
            that does not answer, or a URL of a different kind.
        ModuleNotFoundError: a URL without the driver for PostgreSQL.

    >>> with Store() as store:
    ...     len(store)
    0
    """

    def __init__(
        self, place: str | os.PathLike[str] | None = None, *, branch_bytes: int = 2**30, wait: float = 60
    ) -> None:
        self.branch_bytes = whole("branch_bytes", branch_bytes)
        if not (is_number(wait) and 0 <= wait < math.inf):
            raise ValueError(f"wait must be a number of seconds that is not negative, got {shown_value(wait)}")
        self.path: Path | None = None
        self._kept_in: File | Server
        if place is not None and is_url(place):
            self._kept_in = Server(_postgresql(os.fspath(place)), wait)
        else:
            self.path = None if place is None else _file(place)
            self._kept_in = File(self.path, wait)
        self.name = self._kept_in.name
        """The place as shown in messages, without a password."""
        self._one_at_a_time = threading.RLock()
        # A store that nobody closes leaves no log beside its file either.
        self._last = weakref.finalize(self, _close, self._kept_in, os.getpid())

    def get(self, trial: Trial) -> Outcome | None:
        """The outcome of a finished trial; None if the store does not have the trial."""
        return self.get_many([trial]).get(trial.fingerprint)

    def get_many(self, trials: Iterable[Trial]) -> dict[str, Outcome]:
        """The outcomes of the finished trials among `trials`, by fingerprint: a few queries for hundreds of trials."""
        wanted = list(dict.fromkeys(trial.fingerprint for trial in trials))
        return {trial.fingerprint: trial.outcome for trial in self._read(wanted)}

    def trials(self, task: str | None = None) -> Iterator[StoredTrial]:
        """Every stored trial, or the trials of a single task, in the order of writing.

        >>> with Store() as store:
        ...     list(store.trials())
        []
        """
        which = sa.select(tables.trials.c.fingerprint).order_by(*self._kept_in.written_order)
        if task is not None:
            which = which.where(tables.trials.c.task == task)
        return self._read(self._reading(lambda connection: connection.execute(which).scalars().all()))

    def put(self, trial: Trial, outcome: Outcome) -> None:
        """Keep a trial's outcome; if the trial is stored already, the first outcome stays, unless damaged.

        A file that was deleted or replaced is recreated with all outcomes put through this object, and a StoreWarning says so. If
        the server is away, this method waits for the server.

        Raises:
            StoreError: the outcome could not be kept; everything kept before still is.
        """
        fingerprint = trial.fingerprint
        row = {
            "fingerprint": fingerprint,
            "task": trial.task.name,
            "schedule": str(trial.recorded(outcome)),
            "optimizer": str(trial.optimizer),
            "seed": trial.seed,
            "epochs": trial.epochs,
            "batch_size": trial.batch_size,
            "framework": trial.framework,
            "status": outcome.status,
            "diverged_at": outcome.diverged_at,
            "seconds": outcome.seconds,
            "laju": laju.__version__,
            "written": _now(),
        }

        def write(connection: sa.Connection) -> bool:
            insert = self._kept_in.insert
            connection.execute(_END_CLAIM, {"own": fingerprint})
            if not connection.execute(insert(tables.trials), row).rowcount:
                if _read(connection, [fingerprint])[0]:
                    return False
                for table in (tables.records, tables.observed):
                    connection.execute(sa.delete(table).where(table.c.trial == fingerprint))
                connection.execute(sa.delete(tables.trials).where(tables.trials.c.fingerprint == fingerprint))
                connection.execute(insert(tables.trials), row)
            replace = self._kept_in.replace
            if outcome.records:
                connection.execute(
                    replace(tables.records), [{"trial": fingerprint, **vars(r)} for r in outcome.records]
                )
            if outcome.observed:
                names = ("trial", "update", "validation_loss")
                rows = [dict(zip(names, (fingerprint, *pair), strict=True)) for pair in outcome.observed]
                connection.execute(replace(tables.observed), rows)
            return True

        with self._one_at_a_time:
            self._kept_in.write_lasting(write)

    def put_result(self, fingerprint: str, content: str) -> None:
        """Keep the result of a training run that is more than an outcome; if a result is stored already, that result stays.

        Args:
            fingerprint: hash of everything that the result depends on.
            content: the result as text, such as JSON.

        Raises:
            StoreError: the result could not be kept; everything kept before still is.
        """
        row = {"fingerprint": fingerprint, "content": content, "written": _now()}
        with self._one_at_a_time:
            self._kept_in.write_lasting(
                lambda connection: connection.execute(self._kept_in.insert(tables.results), row).rowcount == 1
            )

    def results(self, fingerprints: Sequence[str]) -> dict[str, str]:
        """The stored results, by fingerprint.

        >>> with Store() as store:
        ...     store.put_result("a", "[1, 2]")
        ...     store.results(["a", "b"])
        {'a': '[1, 2]'}
        """
        table = tables.results
        found: dict[str, str] = {}
        for part in tables.parts(fingerprints):
            query = sa.select(table).where(table.c.fingerprint.in_(part))
            rows = self._reading(lambda connection, query=query: connection.execute(query).all())  # type: ignore[misc]
            found.update((row.fingerprint, row.content) for row in rows if fault(table, row._mapping) is None)
        return found

    def drop_result(self, fingerprint: str) -> None:
        """Forget a result that turned out to be damaged."""
        table = tables.results
        with self._one_at_a_time:
            self._kept_in.write(
                lambda connection: connection.execute(sa.delete(table).where(table.c.fingerprint == fingerprint))
            )

    def count_results(self) -> int:
        """How many results of `put_result` are kept."""
        query = sa.select(sa.func.count()).select_from(tables.results)
        return int(self._reading(lambda connection: connection.execute(query).scalar_one()))

    def claims(self) -> Claims | None:
        """The claims of a run that trains trials of this store; None for a store in memory, which no second program can use."""
        if self.path is None and isinstance(self._kept_in, File):
            return None
        return Claims(self._kept_in, self._one_at_a_time)

    def keep_branch_point(self, family: str, prefix: str, update: int, state: bytes) -> None:
        """Keep the state of a training run after `update` updates, if there is room.

        Args:
            family: the identity of the run apart from its schedule.
            prefix: the family and the rates up to `update`; if the prefix is stored already, the first state stays.
            update: completed updates.
            state: the result of `branch_point`.

        Raises:
            StoreError: the store cannot be written.
        """
        if len(state) > min(self.branch_bytes, self._kept_in.largest):
            return
        table = tables.branch_points
        row = {"prefix": prefix, "family": family, "update": update, "size": len(state), "used": _now(), "state": state}

        def write(connection: sa.Connection) -> None:
            if not connection.execute(self._kept_in.insert(table), row).rowcount:
                connection.execute(sa.update(table).where(table.c.prefix == prefix).values(used=row["used"]))
            room = self.branch_bytes - len(state)
            sizes = sa.select(table.c.prefix, table.c.size).where(table.c.prefix != prefix)
            out = []
            for other, size in connection.execute(sizes.order_by(table.c.used.desc(), table.c.prefix)):
                room -= size
                if room < 0:
                    out.append(other)
            for part in tables.parts(out):
                connection.execute(sa.delete(table).where(table.c.prefix.in_(part)))

        with self._one_at_a_time:
            try:
                self._kept_in.write(write)
            except StoreFull:  # which costs time and no result
                warnings.warn(
                    f"{self.name} has no room on the disk for the state of a training, so what begins there may be trained again",
                    StoreWarning,
                    stacklevel=2,
                )

    def branch_points(self, family: str) -> list[tuple[int, str]]:
        """The (update, prefix) of every branch point of a family, by update.

        >>> with Store() as store:
        ...     store.keep_branch_point("family", "prefix", 100, b"state")
        ...     store.branch_points("family"), store.branch_point("prefix")
        ([(100, 'prefix')], b'state')
        """
        table = tables.branch_points
        query = (
            sa.select(table.c.update, table.c.prefix)
            .where(table.c.family == family)
            .order_by(*table.c["update", "prefix"])
        )
        rows = self._reading(lambda connection: connection.execute(query).all())
        return [(update, prefix) for update, prefix in rows]

    def branch_point(self, prefix: str) -> bytes | None:
        """The state of a branch point; None if the branch point does not exist (any more)."""
        table = tables.branch_points
        which = table.c.prefix == prefix

        def take(connection: sa.Connection) -> bytes | None:
            connection.execute(sa.update(table).where(which).values(used=_now()))
            state = connection.execute(sa.select(table.c.state).where(which)).scalar_one_or_none()
            return None if state is None else bytes(state)

        with self._one_at_a_time:
            return self._kept_in.write(take)

    def __len__(self) -> int:
        """The number of stored training runs: trials, and results of `put_result`."""
        trials, results = (sa.select(sa.func.count()).select_from(t) for t in (tables.trials, tables.results))
        whole = trials.where(tables.trials.c.status != INCOMPLETE).scalar_subquery()
        both = sa.select(whole + results.scalar_subquery())
        return int(self._reading(lambda connection: connection.execute(both).scalar_one()))

    def close(self) -> None:
        self._last()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _reading(self, work: Callable[[sa.Connection], T]) -> T:
        with self._one_at_a_time:
            return self._kept_in.read(work)

    def _read(self, fingerprints: Sequence[str]) -> Iterator[StoredTrial]:
        """The stored trials in the given order; no transaction stays open between two trials."""
        for part in tables.parts(fingerprints):
            found, left_out = self._reading(lambda connection, part=part: _read(connection, part))  # type: ignore[misc]
            if left_out:
                more = f" and {len(left_out) - 1} more" if len(left_out) > 1 else ""
                warnings.warn(
                    f"{self.name}: left out {left_out[0]}{more}; who asks for such a trial gets it trained again",
                    StoreWarning,
                    stacklevel=3,
                )
            yield from (found[fingerprint] for fingerprint in part if fingerprint in found)


_END_CLAIM = sa.delete(tables.claims).where(tables.claims.c.fingerprint == sa.bindparam("own"))


def _read(connection: sa.Connection, fingerprints: Sequence[str]) -> tuple[dict[str, StoredTrial], list[str]]:
    """The stored trials, and the faults of trials that are left out."""
    # The trials first: the records of a trial that another program writes meanwhile are there by then.
    trials = connection.execute(sa.select(tables.trials).where(tables.trials.c.fingerprint.in_(fingerprints))).all()
    faults: dict[str, str] = {}

    def good(table: sa.Table, trial: str, row: sa.Row[Any]) -> bool:
        reason = fault(table, row._mapping)
        if reason is not None:
            faults.setdefault(trial, f"whose {table.name} cannot be right: {reason}")
        return reason is None

    records: dict[str, list[Record]] = {}
    for row in connection.execute(_of(tables.records, fingerprints)):
        if good(tables.records, row.trial, row):
            values = {**row._mapping, "train_accuracy": math.nan if row.train_accuracy is None else row.train_accuracy}
            records.setdefault(values.pop("trial"), []).append(Record(**values))
    observed: dict[str, list[tuple[int, float]]] = {}
    for row in connection.execute(_of(tables.observed, fingerprints)):
        if good(tables.observed, row.trial, row):
            loss = math.nan if row.validation_loss is None else row.validation_loss
            observed.setdefault(row.trial, []).append((row.update, loss))
    names = ("fingerprint", "task", "schedule", "optimizer", "seed", "epochs", "batch_size", "framework")
    found, left_out = {}, []
    for row in trials:
        own = row.fingerprint
        if row.status == INCOMPLETE:
            faults[own] = "of which a recovery found not all"
        elif good(tables.trials, own, row) and own not in faults:
            outcome = Outcome(
                row.status, tuple(records.get(own, ())), row.seconds, row.diverged_at, tuple(observed.get(own, ()))
            )
            found[own] = StoredTrial(**{name: getattr(row, name) for name in names}, outcome=outcome)
            continue
        left_out.append(f"the trial of {shown_value(row.schedule)} with seed {shown_value(row.seed)}, {faults[own]}")
    return found, left_out


def _of(table: sa.Table, fingerprints: Sequence[str]) -> sa.Select[Any]:
    return sa.select(table).where(table.c.trial.in_(fingerprints)).order_by(table.c.trial, table.c.update)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _close(kept_in: File | Server, process: int) -> None:
    if os.getpid() == process:  # a connection must not be closed in a process that is forked from its own
        kept_in.close()


def _file(place: str | os.PathLike[str]) -> Path:
    text = os.fspath(place)
    try:
        named = os.fsencode(text)
    except ValueError:  # such as half of a pair of surrogates
        named = b"\0"
    if b"\0" in named:
        raise StoreError(f"store {text!r} cannot be the name of a file; give another")
    if found := re.match(r"(postgres\w*(\+\w+)?):/", text):  # a Path turns two slashes into a single slash
        raise StoreError(
            f"store {shown(text.replace(':/', '://', 1))!r} must be given as text, not as a Path ({found[1]})"
        )
    return Path(place)


def _postgresql(text: str) -> sa.URL:
    example = "give a file, or for example postgresql://user@host/database"
    url = read_url(text)
    if url is None:
        raise StoreError(f"store {shown(text)!r} is not a URL; {example}")
    if url.drivername != "postgresql+psycopg":
        name = url.drivername
        file = (
            f" (for SQLite, give the file itself: {url.database})" if name.startswith("sqlite") and url.database else ""
        )
        raise StoreError(
            f"store {shown(text)!r} is of {name!r}, and a store by URL must be of 'postgresql'; {example}{file}"
        )
    return url
