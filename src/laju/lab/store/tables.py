"""The tables of a store, the same in files and databases, and a store's errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

_AT_ONCE = 500  # values in a query
VERSION = 4
"""The version of the tables. 1: no frameworks. 2: no branch points, and a training accuracy in all records. 3: no test losses."""

_whole = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

metadata = sa.MetaData()
trials = sa.Table(
    "trials",
    metadata,
    sa.Column("fingerprint", sa.String, primary_key=True),
    sa.Column("task", sa.String, nullable=False),
    sa.Column("schedule", sa.Text, nullable=False),
    sa.Column("optimizer", sa.String, nullable=False),
    sa.Column("seed", _whole, nullable=False),
    sa.Column("epochs", sa.Integer, nullable=False),
    sa.Column("batch_size", sa.Integer, nullable=False),
    sa.Column("framework", sa.String, nullable=False, server_default="torch"),
    sa.Column("status", sa.String, nullable=False),
    sa.Column("diverged_at", _whole),
    sa.Column("seconds", sa.Float, nullable=False),
    sa.Column("laju", sa.String, nullable=False),
    sa.Column("written", sa.String, nullable=False),
)
records = sa.Table(
    "records",
    metadata,
    sa.Column("trial", sa.ForeignKey("trials.fingerprint", ondelete="CASCADE"), primary_key=True),
    sa.Column("update", _whole, primary_key=True),
    sa.Column("epoch", sa.Float, nullable=False),
    sa.Column("rate", sa.Float, nullable=False),
    sa.Column("train_loss", sa.Float, nullable=False),
    sa.Column("train_accuracy", sa.Float),  # NULL where a program reports no accuracy
    sa.Column("test_accuracy", sa.Float),
    sa.Column("test_loss", sa.Float),
)
# Of trials with a rule; a table of its own, so that stores of earlier versions need no change.
observed = sa.Table(
    "observed",
    metadata,
    sa.Column("trial", sa.ForeignKey("trials.fingerprint", ondelete="CASCADE"), primary_key=True),
    sa.Column("update", _whole, primary_key=True),
    sa.Column("validation_loss", sa.Float),  # SQLite has no NaN, which becomes NULL
)
# Of trainings that a study looks into, which have results of their own.
results = sa.Table(
    "results",
    metadata,
    sa.Column("fingerprint", sa.String, primary_key=True),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("written", sa.String, nullable=False),
)
# The trials in training at the moment; tables of their own, so that stores of earlier versions need no change.
holders = sa.Table(
    "holders",
    metadata,
    sa.Column("holder", sa.String, primary_key=True),
    sa.Column("process", sa.String, nullable=False),
    sa.Column("beat", _whole, nullable=False),
)
claims = sa.Table(
    "claims",
    metadata,
    sa.Column("fingerprint", sa.String, primary_key=True),
    sa.Column("holder", sa.ForeignKey("holders.holder", ondelete="CASCADE"), nullable=False, index=True),
)
# The state stands last, so that sizes and times are read without states.
branch_points = sa.Table(
    "branch_points",
    metadata,
    sa.Column("prefix", sa.String, primary_key=True),
    sa.Column("family", sa.String, nullable=False, index=True),
    sa.Column("update", _whole, nullable=False),
    sa.Column("size", _whole, nullable=False),
    sa.Column("used", sa.String, nullable=False),
    sa.Column("state", sa.LargeBinary, nullable=False),
)


def parts(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """The values, split into groups that fit into a query."""
    for i in range(0, len(values), _AT_ONCE):
        yield values[i : i + _AT_ONCE]


class StoreError(OSError):
    """A store that cannot be opened or written; the message names the store and the remedy."""


class StoreDamaged(StoreError):
    """A file whose pages are damaged; the message says how to check the file and to recover the rest."""


class StoreFull(StoreError):
    """Error of a store whose disk has no room left."""


class StoreWarning(UserWarning):
    """Warning of a problem with a store that the program could fix."""
