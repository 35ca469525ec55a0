"""The store: trials and their outcomes by fingerprint, in one SQLite file.

A trial is written with all its records in a single transaction, so that a kill at any moment leaves it whole or absent. Two
comparisons may use one store at once.
"""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.schema import CreateTable

import laju
from laju.lab.trials import Outcome, Record, Trial

VERSION = 2
_WAIT = 60  # seconds that a writer waits for another

_APPLICATION = int.from_bytes(b"laju")  # SQLite keeps it, and the version, in the head of the file

_metadata = sa.MetaData()
_trials = sa.Table(
    "trials",
    _metadata,
    sa.Column("fingerprint", sa.String, primary_key=True),
    sa.Column("task", sa.String, nullable=False),
    sa.Column("schedule", sa.Text, nullable=False),
    sa.Column("optimizer", sa.String, nullable=False),
    sa.Column("seed", sa.Integer, nullable=False),
    sa.Column("epochs", sa.Integer, nullable=False),
    sa.Column("batch_size", sa.Integer, nullable=False),
    sa.Column("framework", sa.String, nullable=False, server_default="torch"),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("diverged_at", sa.Integer),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("laju", sa.String, nullable=False),
    sa.Column("written", sa.String, nullable=False),
)
_records = sa.Table(
    "records",
    _metadata,
    sa.Column("trial", sa.ForeignKey("trials.fingerprint", ondelete="CASCADE"), primary_key=True),
    sa.Column("update", sa.Integer, primary_key=True),
    sa.Column("epoch", sa.Float, nullable=False),
    sa.Column("rate", sa.Float, nullable=False),
    sa.Column("train_loss", sa.Float, nullable=False),
    sa.Column("train_accuracy", sa.Float, nullable=False),
    sa.Column("test_accuracy", sa.Float),
)
# Of trials with a rule; a table of its own, so that stores of earlier versions need no change.
_observed = sa.Table(
    "observed",
    _metadata,
    sa.Column("trial", sa.ForeignKey("trials.fingerprint", ondelete="CASCADE"), primary_key=True),
    sa.Column("update", sa.Integer, primary_key=True),
    sa.Column("validation_loss", sa.Float),  # SQLite has no NaN, which becomes NULL
)


class StoreError(OSError):
    """A store that cannot be opened or written; the message names the file and what can be done."""


@dataclass(frozen=True)
class Kept:
    """A trial as a store holds it: what it was, with its schedule and optimizer as text, and its outcome.

    Of a trial with a rule, the schedule is the one that the rule made.
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
    """Finished trials in a SQLite file, or in memory when there is no path.

    Args:
        path: the file; it is made when it is not there yet.

    Raises:
        StoreError: not a SQLite file, not a store of laju's, one of a newer version, or a place that cannot be written.

    >>> with Store() as store:
    ...     len(store)
    0
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = None if path is None else Path(path)
        url = sa.URL.create("sqlite", database=None if self.path is None else str(self.path))
        options: dict[str, Any] = {"poolclass": sa.StaticPool} if self.path is None else {"poolclass": sa.NullPool}
        self._engine = sa.create_engine(url, connect_args={"timeout": _WAIT, "check_same_thread": False}, **options)
        try:
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                if self.path.is_dir():
                    raise StoreError(f"{self.path} is a folder, so it cannot be a store; give a file")
                if self.path.exists() and 0 < self.path.stat().st_size < 512:  # SQLite would write over it as if empty
                    raise self._error(sqlite3.DatabaseError("file is not a database"))
            with self._engine.begin() as connection:
                self._prepare(connection)
        except StoreError:
            raise
        except (sa.exc.SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise self._error(error) from error

    def _prepare(self, connection: sa.Connection) -> None:
        """Check whose file it is, and make the tables in one transaction, so that no other process sees half of them."""
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        application, version = (
            int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
            for name in ("application_id", "user_version")
        )
        there = sa.inspect(connection).get_table_names()
        if application != _APPLICATION and (application or there):
            holds = f": it holds {', '.join(sorted(there)[:5])}" if there else ""
            raise StoreError(f"{self.path} is a SQLite file but not a store of laju's{holds}; give another file")
        if version > VERSION:
            raise StoreError(
                f"{self.path} was made by a newer laju (store version {version}; this one reads up to {VERSION}): "
                "upgrade laju, or give another file"
            )
        if version == 1 and _trials.name in there:
            connection.exec_driver_sql("ALTER TABLE trials ADD COLUMN framework VARCHAR NOT NULL DEFAULT 'torch'")
        for table in _metadata.sorted_tables:
            connection.execute(CreateTable(table, if_not_exists=True))
        # Written every time, so that a place that cannot be written is found now and not after the first trial.
        connection.exec_driver_sql(f"PRAGMA application_id = {_APPLICATION}")
        connection.exec_driver_sql(f"PRAGMA user_version = {VERSION}")

    def _error(self, error: Exception) -> StoreError:
        reason = str(getattr(error, "orig", None) or getattr(error, "strerror", None) or error)
        if "not a database" in reason:
            return StoreError(f"{self.path} is not a SQLite file, so it cannot be a store; give another file")
        if "locked" in reason:
            return StoreError(
                f"{self.path} has been locked by another program for {_WAIT} seconds; is it still running?"
            )
        if "full" in reason:
            return StoreError(f"{self.path} could not be written: the disk is full; what was finished before is kept")
        return StoreError(f"{self.path} cannot be opened or written: {reason}")

    def get(self, trial: Trial) -> Outcome | None:
        """The outcome of a finished trial, or None."""
        try:
            with self._engine.connect() as connection:
                row = connection.execute(
                    sa.select(_trials).where(_trials.c.fingerprint == trial.fingerprint)
                ).one_or_none()
                if row is None:
                    return None
                query = sa.select(_records).where(_records.c.trial == trial.fingerprint).order_by(_records.c.update)
                records = tuple(Record(*found[1:]) for found in connection.execute(query))
                observed = _read_observed(connection, trial.fingerprint)
        except sa.exc.SQLAlchemyError as error:
            raise self._error(error) from error
        return Outcome(row.status, records, row.seconds, row.diverged_at, observed)

    def trials(self, task: str | None = None) -> Iterator[Kept]:
        """Every trial that is kept, or those of one task, in the order in which they were written.

        >>> with Store() as store:
        ...     list(store.trials())
        []
        """
        names = ("fingerprint", "task", "schedule", "optimizer", "seed", "epochs", "batch_size", "framework")
        which = sa.select(_trials).order_by(sa.literal_column("trials.rowid"))
        if task is not None:
            which = which.where(_trials.c.task == task)
        try:
            with self._engine.connect() as connection:
                for row in connection.execute(which).all():
                    query = sa.select(_records).where(_records.c.trial == row.fingerprint).order_by(_records.c.update)
                    records = tuple(Record(*found[1:]) for found in connection.execute(query))
                    observed = _read_observed(connection, row.fingerprint)
                    outcome = Outcome(row.status, records, row.seconds, row.diverged_at, observed)
                    yield Kept(**{name: getattr(row, name) for name in names}, outcome=outcome)
        except sa.exc.SQLAlchemyError as error:
            raise self._error(error) from error

    def put(self, trial: Trial, outcome: Outcome) -> None:
        """Keep a trial's outcome; of a trial that is there already, the first one stays."""
        fingerprint = trial.fingerprint
        try:
            with self._engine.begin() as connection:
                new = connection.execute(
                    insert(_trials)
                    .values(
                        fingerprint=fingerprint,
                        task=trial.task.name,
                        schedule=str(trial.recorded(outcome)),
                        optimizer=str(trial.optimizer),
                        seed=trial.seed,
                        epochs=trial.epochs,
                        batch_size=trial.batch_size,
                        framework=trial.framework,
                        status=outcome.status,
                        diverged_at=outcome.diverged_at,
                        seconds=outcome.seconds,
                        laju=laju.__version__,
                        written=datetime.now(UTC).isoformat(timespec="seconds"),
                    )
                    .on_conflict_do_nothing()
                )
                if new.rowcount and outcome.records:
                    connection.execute(insert(_records), [{"trial": fingerprint, **vars(r)} for r in outcome.records])
                if new.rowcount and outcome.observed:
                    names = ("trial", "update", "validation_loss")
                    rows = [dict(zip(names, (fingerprint, *pair), strict=True)) for pair in outcome.observed]
                    connection.execute(insert(_observed), rows)
        except sa.exc.SQLAlchemyError as error:
            raise self._error(error) from error

    def __len__(self) -> int:
        try:
            with self._engine.connect() as connection:
                return int(connection.execute(sa.select(sa.func.count()).select_from(_trials)).scalar_one())
        except sa.exc.SQLAlchemyError as error:
            raise self._error(error) from error

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _read_observed(connection: sa.Connection, fingerprint: str) -> tuple[tuple[int, float], ...]:
    query = sa.select(_observed).where(_observed.c.trial == fingerprint).order_by(_observed.c.update)
    return tuple((row.update, math.nan if row[2] is None else row[2]) for row in connection.execute(query))
