"""Locations of files and databases, as users write locations and as messages show locations, without passwords."""

from __future__ import annotations

import os
import re

import sqlalchemy as sa

_SECRETS = ("password", "sslpassword")


def is_url(place: str | os.PathLike[str]) -> bool:
    """Whether a location is a URL and not a file.

    >>> is_url("postgresql://me@host/trials"), is_url("laju.sqlite"), is_url(r"C:\\laju.sqlite")
    (True, False, False)
    """
    return isinstance(place, str) and "://" in place


def read_url(text: str) -> sa.URL | None:
    """The URL, with the PostgreSQL driver that laju's extra installs; None for a text that is not a URL."""
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError):  # the latter of a port that is no number
        return None
    return url.set(drivername="postgresql+psycopg") if url.drivername in ("postgresql", "postgres") else url


def shown(place: str | os.PathLike[str]) -> str:
    """The location as messages show it: a file's path, or a URL without its password.

    >>> shown("laju.sqlite"), shown("postgresql://me:secret@host/trials")
    ('laju.sqlite', 'postgresql://me:***@host/trials')
    """
    text = os.fspath(place)
    if not is_url(text):
        return text
    url = read_url(text)
    if url is None:
        return re.sub(r"://.*@", "://***@", text)
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    url = url.update_query_dict({name: "***" for name in _SECRETS if name in url.query})
    if url.drivername == "postgresql+psycopg":
        url = url.set(drivername="postgresql")
    return url.render_as_string(hide_password=True)
