"""A store in a PostgreSQL database: the same tables as in a file, in a separate schema beside the database's further content."""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from laju.core.extras import missing
from laju.lab.store.locations import shown
from laju.lab.store.tables import VERSION, StoreError, StoreFull, StoreWarning, metadata, trials

SCHEMA = "laju_store"  # not "laju": programs of a user laju put their tables into the schema of that name
_LOCK = int.from_bytes(b"laju")  # of all programs that open a store in the database
# In seconds, but for tcp_user_timeout in milliseconds: a server that is cut off is noticed within half a minute.
_CONNECTION = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}
_DISK_FULL, _LOCKED, _FORBIDDEN = "53100", "55P03", "42501"  # of PostgreSQL's error codes

_version = sa.Table("store", sa.MetaData(), sa.Column("version", sa.Integer, nullable=False))

T = TypeVar("T")


class Server:
    """A PostgreSQL database that is open.

    Args:
        url: the URL of the database, with the driver psycopg.
        wait: seconds to wait for another program that is writing, and for a server that went away.
    """

    largest = 500_000_000
    """The most bytes of a value; the server's own limit is 2**30 for a message, in which the bytes may be written as text."""
    written_order: tuple[sa.ColumnElement[Any], ...] = (trials.c.written, trials.c.fingerprint)

    def __init__(self, url: sa.URL, wait: float) -> None:
        self.name = shown(url.render_as_string(hide_password=False))
        self._wait = wait
        options = {name: value for name, value in _CONNECTION.items() if name not in url.query}
        try:
            self._engine = sa.create_engine(
                url,
                connect_args=options,
                pool_pre_ping=True,
                pool_size=1,
                execution_options={"schema_translate_map": {None: SCHEMA}},
            )
        except ImportError as error:
            raise missing(f"the store {self.name}", "psycopg") from error
        try:
            self._once(self._prepare)
        except sa.exc.SQLAlchemyError as error:
            self._engine.dispose()
            raise self._error(error) from error
        except BaseException:
            self._engine.dispose()
            raise

    @staticmethod
    @functools.cache  # making a statement takes longer than executing the statement
    def insert(table: sa.Table) -> sa.Insert:
        """An insertion that leaves an existing row unchanged, and counts new rows."""
        return insert(table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)

    @staticmethod
    @functools.cache
    def replace(table: sa.Table) -> sa.Insert:
        """An insertion that replaces nothing, because the database lets no row outlive its trial."""
        return insert(table)

    def read(self, work: Callable[[sa.Connection], T]) -> T:
        """Do `work` in a transaction."""
        return self._do(work)

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Do `work` in a transaction."""
        return self._do(work)

    def try_to_write(self, work: Callable[[sa.Connection], object]) -> None:
        """Do `work` in a transaction, without waiting for a server that is away.

        Raises:
            StoreError: the work could not be written.
        """
        try:
            self._once(work)
        except sa.exc.SQLAlchemyError as error:
            raise self._error(error) from error

    def write_lasting(self, work: Callable[[sa.Connection], bool]) -> None:
        """Do `work` in a transaction; unlike a file, a database does not get lost."""
        self._do(work)

    def close(self) -> None:
        self._engine.dispose()

    def _do(self, work: Callable[[sa.Connection], T]) -> T:
        """Do `work` in a transaction, repeatedly while the server is away; an interrupted transaction has no effect."""
        end = None
        while True:
            try:
                return self._once(work)
            except sa.exc.SQLAlchemyError as error:
                if not _passes(error):
                    raise self._error(error) from error
                if end is None:
                    end = time.monotonic() + self._wait
                    warnings.warn(
                        f"the store {self.name} does not answer ({_reason(error)}); trying again for up to "
                        f"{self._wait:g} seconds",
                        StoreWarning,
                        stacklevel=5,
                    )
                if time.monotonic() >= end:
                    raise StoreError(
                        f"the store {self.name} has not answered for {self._wait:g} seconds: {_reason(error)}. Trials that "
                        "were finished before are kept; those at hand are lost, and the same command runs them again"
                    ) from error
                time.sleep(min(0.5, self._wait / 10))

    def _once(self, work: Callable[[sa.Connection], T]) -> T:
        with self._engine.begin() as connection:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {max(1, int(self._wait * 1000))}")
            return work(connection)

    def _prepare(self, connection: sa.Connection) -> None:
        """Check the owner of existing tables, and create missing tables, in a transaction of a single program at a time."""
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        query = sa.text("SELECT tablename FROM pg_tables WHERE schemaname = :schema")
        there = set(connection.execute(query, {"schema": SCHEMA}).scalars())
        version = connection.execute(sa.select(_version)).scalar_one_or_none() if _version.name in there else None
        ours = {table.name for table in metadata.sorted_tables}
        if version is None and there & {*ours, _version.name}:
            raise StoreError(
                f"{self.name} has a schema {SCHEMA!r} that is not a store of laju's: it holds "
                f"{', '.join(sorted(there)[:5])}; give another database"
            )
        if version is not None and version > VERSION:
            raise StoreError(
                f"the store {self.name} was made by a newer laju (store version {version}; this one reads up to {VERSION}): "
                "upgrade laju, or give another database"
            )
        schemas = sa.text("SELECT count(*) FROM pg_namespace WHERE nspname = :schema")
        if not connection.execute(schemas, {"schema": SCHEMA}).scalar_one():
            connection.exec_driver_sql(f"CREATE SCHEMA {SCHEMA}")
        for tables in (_version.metadata, metadata):
            tables.create_all(connection)
        if version is None:
            connection.execute(sa.insert(_version).values(version=VERSION))
        elif version < 4:
            connection.exec_driver_sql(f"ALTER TABLE {SCHEMA}.records ADD COLUMN test_loss FLOAT")
        # Written every time, so that a database that cannot be written is found now and not after the first trial.
        connection.execute(sa.update(_version).values(version=VERSION))

    def _error(self, error: sa.exc.SQLAlchemyError) -> StoreError:
        code = _code(error)
        if code == _DISK_FULL:
            return StoreFull(
                f"the store {self.name} could not be written: the server's disk is full; what was finished before is kept"
            )
        if code == _LOCKED:
            return StoreError(
                f"the store {self.name} has been locked by another program for {self._wait:g} seconds; is it still running? "
                "Trials that were finished before are kept"
            )
        hint = ""
        if code == _FORBIDDEN:
            hint = f"; its user may neither create a schema {SCHEMA!r} there nor write in the one that is there"
        return StoreError(f"the store {self.name} cannot be opened or written: {_reason(error)}{hint}")


def _code(error: sa.exc.SQLAlchemyError) -> str | None:
    return getattr(getattr(error, "orig", None), "sqlstate", None)


def _passes(error: sa.exc.SQLAlchemyError) -> bool:
    """Whether a retry may succeed after a moment, because the server is away or starting, or programs blocked each other."""
    if _code(error) in (_DISK_FULL, _LOCKED):
        return False
    lost = isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated
    return lost or isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError)


def _reason(error: sa.exc.SQLAlchemyError) -> str:
    return " ".join(str(getattr(error, "orig", None) or error).split())
