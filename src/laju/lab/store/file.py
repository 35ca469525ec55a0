"""A store in a SQLite file, or in memory.

The file has a write-ahead log if its file system is known to support a log: a trial is written without waiting for the disk,
and is kept if the program is killed at any moment; only a power cut may lose the last trials. On any further file system, such
as a network drive, whose machines share no memory, SQLite's rollback journal is used. Using the journal everywhere would avoid
the check of the file system, but the journal waits for the disk at every claim and every trial.
"""

from __future__ import annotations

import functools
import os
import re
import sqlite3
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from laju.lab.store.tables import VERSION, StoreDamaged, StoreError, StoreFull, StoreWarning, metadata, records, trials

APPLICATION = int.from_bytes(b"laju")  # SQLite keeps this number, and the version, in the head of the file
_LOG_LIMIT = 2**26  # bytes that an empty log may keep on the disk
_LOCAL = frozenset(
    ("btrfs", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "ramfs", "reiserfs", "tmpfs", "xfs", "zfs")
)

T = TypeVar("T")


class File:
    """A SQLite file that is open, or a database in memory without a path.

    Args:
        path: the file, created if missing.
        wait: seconds to wait for another program that is writing.
    """

    largest = 990_000_000
    """The most bytes of a value; SQLite's own limit is 10**9 for a whole row."""
    written_order: tuple[sa.ColumnElement[Any], ...] = (sa.literal_column("trials.rowid"),)

    def __init__(self, path: Path | None, wait: float) -> None:
        self.name = "memory" if path is None else str(path)
        self._path = path
        self._wait = wait
        self._again: list[Callable[[sa.Connection], bool]] = []
        self._rescue: tuple[Any, File] | None = None
        with self._plain_errors():
            self._open()

    @staticmethod
    @functools.cache  # making a statement takes longer than executing the statement
    def insert(table: sa.Table) -> sa.Insert:
        """An insertion that leaves an existing row unchanged, and counts new rows."""
        return insert(table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)

    @staticmethod
    @functools.cache
    def replace(table: sa.Table) -> sa.Insert:
        """An insertion that replaces rows which a recovery has left without their trial."""
        return insert(table).prefix_with("OR REPLACE")

    def read(self, work: Callable[[sa.Connection], T]) -> T:
        """Do `work` in a transaction; for a damaged file, on the rows that can still be read."""
        try:
            return self._do(work, "BEGIN")
        except StoreDamaged:
            if self._path is None:
                raise
            return self._rescued(self._path).read(work)

    def _rescued(self, path: Path) -> File:
        """The readable rows of a damaged file, in memory."""
        from laju.lab.store.recovery import recovery

        state = [_state(file) for file in (path, *_beside(path))]
        if self._rescue is None or self._rescue[0] != state:
            found = recovery(path)
            rescued = File(None, 0)
            rescued.write(found.write)
            if self._rescue is None:
                warnings.warn(f"{self.name} is damaged: {found.told()}. {_mend(self.name)}", StoreWarning, stacklevel=6)
            self._rescue = state, rescued
        return self._rescue[1]

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Do `work` in a separate transaction, during which no second program writes."""
        return self._do(work, "BEGIN IMMEDIATE")

    def try_to_write(self, work: Callable[[sa.Connection], object]) -> None:
        """Do `work` in a transaction of the open file, without a check that the file still exists at its path.

        Raises:
            StoreError: the file could not be written.
        """
        if self._process == os.getpid():
            with self._plain_errors(), self._engine.connect() as connection:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                work(connection)
                connection.commit()

    def write_lasting(self, work: Callable[[sa.Connection], bool]) -> None:
        """Do `work` in a transaction, and again if the file gets lost later; `work` says whether anything was new."""
        self._do(work, "BEGIN IMMEDIATE")
        if self._path is not None:
            self._again.append(work)
            with self._plain_errors():
                self._find()  # the file may have got lost just before

    def close(self) -> None:
        self._engine.dispose()

    def _do(self, work: Callable[[sa.Connection], T], begin: str) -> T:
        with self._plain_errors():
            self._find()
            with self._engine.connect() as connection:
                connection.exec_driver_sql(begin)
                done = work(connection)
                connection.commit()
            return done

    @contextmanager
    def _plain_errors(self) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except (sa.exc.SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise self._error(error) from error

    def _open(self) -> None:
        path = self._path
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise StoreError(f"{path} is a folder, so it cannot be a store; give a file")
            if path.exists() and not path.is_file():
                raise StoreError(f"{path} is a device or a pipe, so it cannot be a store; give a file")
            if path.exists() and 0 < path.stat().st_size < 512:  # SQLite would write over such a file as if empty
                raise self._error(sqlite3.DatabaseError("file is not a database"))
        self._engine = sa.create_engine(
            sa.URL.create("sqlite", database=None if path is None else str(path)),
            connect_args={"timeout": self._wait, "check_same_thread": False},
            poolclass=sa.StaticPool,
        )
        try:
            with self._engine.connect() as connection:
                # A store may come from anybody: functions that its views, triggers and indices name do not run, unless SQLite
                # knows them to be harmless.
                connection.exec_driver_sql("PRAGMA trusted_schema = OFF")
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                self._prepare(connection)
                connection.commit()
            if path is not None:
                self._choose_journal(_is_local(path))
            self._process = os.getpid()
            self._identity = _identity(path)
            self._beside = {} if path is None else {_identity(beside): beside for beside in _beside(path)}
        except BaseException:
            self._engine.dispose()
            raise

    def _prepare(self, connection: sa.Connection) -> None:
        """Check the owner of the file, and create the tables in a single transaction, so that no process sees a part."""
        application, version = (
            int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
            for name in ("application_id", "user_version")
        )
        there = sa.inspect(connection).get_table_names()
        if application != APPLICATION and (application or there):
            holds = f": it holds {', '.join(sorted(there)[:5])}" if there else ""
            raise StoreError(f"{self.name} is a SQLite file but not a store of laju's{holds}; give another file")
        foreign = connection.exec_driver_sql(
            "SELECT type, name FROM sqlite_schema WHERE type IN ('trigger', 'view')"
        ).first()
        if foreign is not None:
            raise StoreError(
                f"{self.name} has the {foreign[0]} {foreign[1]!r}, which is not laju's and could change what is kept: drop it, "
                f"or write the trials into a new file without it: laju store recover {self.name}"
            )
        if version > VERSION:
            raise StoreError(
                f"{self.name} was made by a newer laju (store version {version}; this one reads up to {VERSION}): "
                "upgrade laju, or give another file"
            )
        if version == 1 and trials.name in there:
            connection.exec_driver_sql("ALTER TABLE trials ADD COLUMN framework VARCHAR NOT NULL DEFAULT 'torch'")
        former = version in (1, 2) and records.name in there
        if former:  # SQLite cannot make a column nullable
            connection.exec_driver_sql("ALTER TABLE records RENAME TO former_records")
        metadata.create_all(connection)
        if version == 3 and records.name in there:
            connection.exec_driver_sql("ALTER TABLE records ADD COLUMN test_loss FLOAT")
        if former:
            names = ", ".join(f'"{column.name}"' for column in records.columns if column.name != "test_loss")
            connection.exec_driver_sql(f"INSERT INTO records ({names}) SELECT {names} FROM former_records")
            connection.exec_driver_sql("DROP TABLE former_records")
        # Written every time, so that a place that cannot be written is found now and not after the first trial.
        connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION}")
        connection.exec_driver_sql(f"PRAGMA user_version = {VERSION}")

    def _choose_journal(self, local: bool) -> None:
        """Choose the log if possible, else the rollback journal; if a program blocks the change, the mode stays unchanged."""
        wanted, mode = "wal" if local else "delete", None
        end = time.monotonic() + min(self._wait, 5)
        with self._engine.connect() as connection:
            while mode is None:
                try:
                    mode = connection.exec_driver_sql(f"PRAGMA journal_mode = {wanted}").scalar_one()
                except sa.exc.OperationalError as error:  # SQLite itself does not wait for other programs here
                    if "locked" not in str(error.orig) or time.monotonic() > end:
                        break
                    time.sleep(0.01)
            if mode == "wal":
                connection.exec_driver_sql("PRAGMA synchronous = NORMAL")
                connection.exec_driver_sql(f"PRAGMA journal_size_limit = {_LOG_LIMIT}")
                connection.exec_driver_sql(
                    "SELECT count(*) FROM trials"
                ).all()  # the log is there from the first statement on

    def _find(self) -> None:
        """Recreate a deleted or replaced file: SQLite would go on writing into a file that no program can open again."""
        if self._path is None:
            return
        if self._process != os.getpid():  # a connection must not be used in a forked process
            # Not closed: SQLite forbids every use of a connection in a forked process, its closing included
            # (https://www.sqlite.org/howtocorrupt.html, 2.6).
            self._engine.dispose(close=False)
            self._open()
        if _identity(self._path) == self._identity:
            if self._path.stat().st_size > 0:
                return
            self._path.unlink()  # emptied: SQLite would write the log back into it
        deleted = not self._path.exists()
        self._engine.dispose()
        for identity, beside in self._beside.items():  # the log of the former file would be read into the new file
            if identity is not None and _identity(beside) == identity:
                beside.unlink(missing_ok=True)
        self._open()
        with self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            lost = sum(work(connection) for work in self._again)
            connection.commit()
        if deleted or lost:
            written = f"the {lost} trial{'' if lost == 1 else 's'} that this program had put into it"
            warnings.warn(
                f"{self.name} was {'deleted' if deleted else 'replaced'} while it was in use: it was "
                f"{'made anew, and ' if deleted else ''}given {written} once more; other trials that it held are gone",
                StoreWarning,
                stacklevel=5,
            )

    def _was_a_store(self) -> bool:
        """Whether the first page, apart from its beginning, is that of a store."""
        if self._path is None or not self._path.is_file():
            return False
        with self._path.open("rb") as file:
            return b"CREATE TABLE trials" in file.read(65536)

    def _error(self, error: Exception) -> StoreError:
        reason = str(getattr(error, "orig", None) or getattr(error, "strerror", None) or error)
        name = self.name
        if "malformed" in reason or ("not a database" in reason and self._was_a_store()):
            return StoreDamaged(f"{name} is damaged ({reason}). {_mend(name)}")
        if "not a database" in reason:
            return StoreError(f"{name} is not a SQLite file, so it cannot be a store; give another file")
        if "locked" in reason:
            return StoreError(
                f"{name} has been locked by another program for {self._wait:g} seconds; is it still running? Trials that "
                "were finished before are kept"
            )
        if "full" in reason or "No space" in reason:
            return StoreFull(
                f"{name} could not be written: the disk is full; what was finished before is kept. Make room and run the "
                "same again"
            )
        if "I/O" in reason:
            return StoreError(
                f"{name} could not be written: {reason}; is there room on the disk, and is the drive still there? What was "
                "finished before is kept"
            )
        if "readonly" in reason or "unable to open" in reason:
            return StoreError(f"{name} cannot be opened or written: {reason}; may you write in its folder?")
        return StoreError(f"{name} cannot be opened or written: {reason}")


def _mend(name: str) -> str:
    return f"`laju store check {name}` says what is lost, and `laju store recover {name}` writes what can be read into a new file"


def _state(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _identity(path: Path | None) -> tuple[int, int] | None:
    """The identity of a file, which differs for a new file of the same name."""
    if path is None:
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _beside(path: Path) -> list[Path]:
    """The files that SQLite may keep beside the store's file."""
    return [path.with_name(path.name + ending) for ending in ("-wal", "-shm", "-journal")]


def _is_local(path: Path) -> bool:
    """Whether the file system is known to be local to this machine; known on Linux only."""
    if sys.platform != "linux":
        return False
    file = os.open(path, os.O_PATH)  # closing a descriptor of another kind would end SQLite's own locks
    try:
        mount = re.search(r"mnt_id:\s*(\d+)", Path(f"/proc/self/fdinfo/{file}").read_text())
        table = Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    except OSError:
        return False
    finally:
        os.close(file)
    kind = mount and re.search(rf"^{mount[1]} .*? - (\S+)", table, re.MULTILINE)
    return kind is not None and kind[1] in _LOCAL
