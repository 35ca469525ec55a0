"""The storage of a search: an Optuna study in a SQLite file or a database, so that a search continues after a stop.

`optuna-dashboard` can open the same storage. All functions may be used from several processes at once.
"""

from __future__ import annotations

import os
import sqlite3
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from laju.core.extras import missing
from laju.lab.store.file import APPLICATION
from laju.lab.store.locations import is_url, read_url
from laju.lab.store.locations import shown as shown  # for modules that use a storage

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.study import Study

Direction = Literal["maximize", "minimize"]
_WAIT = 60  # seconds that a writer waits for another
_CONNECT = 10  # seconds that a server has to answer


class StorageError(OSError):
    """A storage that cannot be opened or written, or that holds another search under the same name."""


def storage_url(storage: str | os.PathLike[str]) -> str:
    """The URL of a storage given as a file or a URL; to `postgresql://` the driver is added that laju's extra installs.

    Raises:
        StorageError: a URL that cannot be read.

    >>> storage_url("search.sqlite")
    'sqlite:///search.sqlite'
    >>> storage_url("postgresql://me:secret@host/db")
    'postgresql+psycopg://me:secret@host/db'
    """
    text = os.fspath(storage)
    if not is_url(text):
        return sa.URL.create("sqlite", database=text).render_as_string()
    url = read_url(text)
    if url is None:
        raise StorageError(
            f"storage {shown(text)!r} is not a URL; give a file, or for example postgresql://user@host/database"
        )
    return url.render_as_string(hide_password=False)


def open_storage(url: str) -> RDBStorage:
    """Connect to a storage, and create missing tables.

    Raises:
        StorageError: the server does not answer, the file is not a storage, or the version of Optuna differs.
        ModuleNotFoundError: the database's driver is not installed.
    """
    from optuna.storages import RDBStorage

    parsed = sa.make_url(url)
    options: dict[str, Any] = {}
    if parsed.get_backend_name() == "sqlite":
        _check_file(parsed.database)
        options = {"connect_args": {"timeout": _WAIT}}
    elif parsed.drivername == "postgresql+psycopg":
        # A connection that the server has closed meanwhile is replaced.
        options = {"connect_args": {"connect_timeout": _CONNECT}, "pool_pre_ping": True}
    try:
        with quiet():
            try:
                return RDBStorage(url, engine_kwargs=options)
            except sa.exc.SQLAlchemyError as error:
                if not any(text in str(error) for text in ("already exists", "duplicate key", "UNIQUE constraint")):
                    raise
                time.sleep(1)  # another process made the tables at the same moment
                return RDBStorage(url, engine_kwargs=options)
    except ModuleNotFoundError as error:
        raise _no_driver(parsed, error) from error
    except ImportError as error:
        cause = error.__cause__ or error.__context__
        raise _no_driver(parsed, cause if isinstance(cause, ModuleNotFoundError) else error) from error
    except Exception as error:
        failure = as_storage_error(error, url)
        if failure is not None:
            raise failure from error
        if isinstance(error, RuntimeError):  # Optuna's, of a storage of another version
            raise StorageError(f"storage {shown(url)} cannot be used: {error}") from error
        raise


def _no_driver(url: sa.URL, error: ImportError) -> ModuleNotFoundError:
    storage = f"storage {shown(str(url))}"
    if url.get_backend_name() == "postgresql":
        return missing(storage, "psycopg")
    return ModuleNotFoundError(f"{storage} needs the driver {url.drivername}: install its package", name=error.name)


def _check_file(path: str | None) -> None:
    """Refuse files of a different kind, into which Optuna would write its tables."""
    if not path or path == ":memory:":
        raise StorageError(
            "storage must be a file or a database, since several processes use it; memory cannot be shared"
        )
    file = Path(path)
    try:
        if file.is_dir():
            raise StorageError(f"storage {path} is a folder; give a file")
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists() or file.stat().st_size == 0:
            return
        with closing(sqlite3.connect(file, timeout=_WAIT)) as connection:
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.DatabaseError as error:
        what = "is not a SQLite file" if "not a database" in str(error) else f"cannot be opened: {error}"
        raise StorageError(f"storage {path} {what}; give another file") from error
    except StorageError:
        raise
    except OSError as error:
        raise StorageError(f"storage {path} cannot be opened: {error.strerror or error}") from error
    if application == APPLICATION:
        raise StorageError(f"storage {path} is a store of trials, which a search does not share; give another file")
    if tables and "studies" not in tables:
        raise StorageError(
            f"storage {path} is a SQLite file but not an Optuna storage: it holds {', '.join(sorted(tables)[:5])}; give "
            "another file"
        )


def as_storage_error(error: BaseException, url: str) -> StorageError | None:
    """The failure of a database as an error that names the storage; None for any unrelated error."""
    from optuna.exceptions import StorageInternalError

    cause: BaseException | None = error
    if isinstance(error, StorageInternalError):
        cause = error.__cause__ or error
    elif not isinstance(error, sa.exc.SQLAlchemyError):
        return None
    reason = " ".join(str(getattr(cause, "orig", None) or cause).split())
    return StorageError(f"storage {shown(url)} cannot be reached or written: {reason}")


def open_study(
    storage: RDBStorage, name: str, directions: Sequence[Direction], facts: Mapping[str, Any], *, url: str
) -> Study:
    """The study with this name; a missing study is created.

    Args:
        storage: the storage of the study.
        name: the name of the study.
        directions: "maximize" or "minimize" for each objective.
        facts: the description of the search, by name, as values of JSON; must equal the facts of an existing study.
        url: the URL of the storage, for messages.

    Raises:
        StorageError: under this name the storage holds a different search, or a study that laju did not create.
    """
    import optuna

    with quiet():
        study = optuna.create_study(storage=storage, study_name=name, directions=list(directions), load_if_exists=True)
        there = study.user_attrs.get("laju")
        new = there is None and not study.user_attrs and not study.get_trials(deepcopy=False)
        if new:
            study.set_user_attr("laju", dict(facts))
            return study
    if there is None:
        raise StorageError(
            f"storage {shown(url)} holds a study {name!r} that laju did not make; give the search another name"
        )
    apart = [key for key in sorted({*there, *facts}) if there.get(key) != facts.get(key)]
    if apart:
        differ = "; ".join(f"{key} is {there.get(key)!r} there and {facts.get(key)!r} here" for key in apart)
        raise StorageError(
            f"storage {shown(url)} holds another search under the name {name!r}: {differ}. Give this one another name, or "
            "another storage"
        )
    return study


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Optuna's messages below errors in the block, and its warnings about experimental features."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)
