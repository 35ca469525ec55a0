"""Finding the faults of a store, and writing all readable rows of a SQLite file or a PostgreSQL database to a new file."""

from __future__ import annotations

import os
import sqlite3
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from laju.lab.statistics import counted
from laju.lab.store import tables
from laju.lab.store.file import APPLICATION
from laju.lab.store.locations import is_url, shown
from laju.lab.store.recovery import KEPT, Recovery, recovery
from laju.lab.store.rows import INCOMPLETE, fault
from laju.lab.store.store import Store
from laju.lab.store.tables import StoreDamaged, StoreError

_SHOWN = 5  # of each kind of finding


@dataclass(frozen=True)
class Checked:
    """The content of a store, and its faults, with a sentence for each fault."""

    holds: str
    findings: tuple[str, ...]
    notes: tuple[str, ...] = ()


def check(place: str | os.PathLike[str]) -> Checked:
    """Find the faults of a store, without changing the store.

    Raises:
        FileNotFoundError: no such file.
        StoreError: a file that has no content of a store, or a database that cannot be opened.
    """
    found = _read(place)
    name = shown(place)
    findings = []
    if found.damage:
        more = f" (and {len(found.damage) - 1} more)" if len(found.damage) > 1 else ""
        findings.append(f"{name} is damaged: {found.damage[0]}{more}")
        trials = {row["fingerprint"]: row for row in found.rows["trials"].values()}
        incomplete = [fingerprint for fingerprint in found.incomplete if fingerprint in trials]
        for fingerprint in incomplete[:_SHOWN]:
            row = trials[fingerprint]
            findings.append(
                f"incomplete: {row['schedule']} with seed {row['seed']} of {row['task']}: {found.incomplete[fingerprint]}"
            )
        if len(incomplete) > _SHOWN:
            findings.append(f"incomplete: {len(incomplete) - _SHOWN} more")
        if found.without_trial:
            findings.append(f"of {counted(found.without_trial, 'trial')} records can be read, but not the trial itself")
    findings += found.faults[:_SHOWN]
    if len(found.faults) > _SHOWN:
        findings.append(f"{len(found.faults) - _SHOWN} more rows cannot be right")
    known = sum(row["status"] == INCOMPLETE for row in found.rows["trials"].values())
    notes = (
        () if not known else (f"{counted(known, 'trial')} of a recovery {'is' if known == 1 else 'are'} incomplete",)
    )
    return Checked(found.told(), tuple(findings), notes)


def recover(place: str | os.PathLike[str], out: Path) -> Checked:
    """Write every row that can be read into a new file; the store itself is not changed.

    A trial with lost records gets the status "incomplete" there: such a trial is not used, and is trained again on request.

    Args:
        place: a file, or postgresql://USER@HOST/DATABASE.
        out: the new file.

    Raises:
        FileNotFoundError: no such file.
        FileExistsError: `out` exists already.
        StoreError: nothing can be read, or `out` cannot be written.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    found = _read(place)
    with out.open("xb"):  # made here, so that no other program's file is written into
        pass
    try:
        with Store(out) as store:
            store._kept_in.write(found.write)
    except BaseException:
        out.unlink(missing_ok=True)
        raise
    return Checked(found.told(), tuple(found.damage))


@contextmanager
def reading(place: str | os.PathLike[str]) -> Iterator[Store]:
    """A store to read; for a file that can no longer be opened, the recovered content.

    Raises:
        FileNotFoundError: no such file.
        StoreError: the store cannot be opened.
    """
    if not is_url(place) and not os.path.exists(place):
        raise FileNotFoundError(f"there is no store {os.fspath(place)}")
    try:
        store = Store(place)
    except StoreDamaged as error:
        warnings.warn(str(error), tables.StoreWarning, stacklevel=3)
        found = _read(place)
        store = Store()
        store._kept_in.write(found.write)
    with store:
        yield store


def _read(place: str | os.PathLike[str]) -> Recovery:
    if is_url(place):
        with Store(place) as store:
            return _of_server(store)
    path = Path(place)
    if not path.exists():
        raise FileNotFoundError(f"there is no store {os.fspath(place)}")
    if not path.is_file():
        raise StoreError(f"{path} is not a file")
    found = recovery(path)
    if not any(found.rows.values()) and not _is_ours(path):
        raise StoreError(f"{path} holds nothing of a store of laju's")
    return found


def _is_ours(path: Path) -> bool:
    """Whether the file is a store, possibly an empty store."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            return bool(connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION)
    except sqlite3.Error:
        return False


def _of_server(store: Store) -> Recovery:
    """The rows of a database, read one by one if several at once cannot be read."""
    rows: dict[str, dict[int, dict[str, Any]]] = {table.name: {} for table in KEPT}
    damage, faults = list[str](), list[str]()

    def take(table: sa.Table, column: sa.Column[Any], wanted: Sequence[str]) -> None:
        query = sa.select(table).where(column.in_(wanted)).order_by(*table.primary_key.columns)
        try:
            found = store._reading(lambda connection: connection.execute(query).all())
        except StoreError as error:
            if len(wanted) == 1:
                damage.append(f"{table.name} of {wanted[0]}: {error}")
                return
            # A single damaged row fails the whole query: halving finds the row, and loses it alone.
            take(table, column, wanted[: len(wanted) // 2])
            take(table, column, wanted[len(wanted) // 2 :])
            return
        place = {fingerprint: i for i, fingerprint in enumerate(wanted)}
        for row in sorted(found, key=lambda row: place[row._mapping[column]]):
            reason = fault(table, row._mapping)
            if reason is None or row._mapping.get("status") == INCOMPLETE:
                rows[table.name][len(rows[table.name]) + 1] = dict(row._mapping)
            else:
                faults.append(f"a row of {table.name} of {row._mapping[column]} cannot be right: {reason}")

    for table, owner in ((tables.trials, KEPT[:3]), (tables.results, (tables.results,))):
        keys = sa.select(table.c.fingerprint).order_by(table.c.written, table.c.fingerprint)
        names = store._reading(lambda connection, keys=keys: connection.execute(keys).scalars().all())  # type: ignore[misc]
        for part in tables.parts(names):
            for one in owner:
                take(one, next(iter(one.primary_key.columns)), part)
    return Recovery(rows, tuple(damage), tuple(faults), {"records": {}, "observed": {}})
