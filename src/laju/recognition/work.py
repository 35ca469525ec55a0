"""The limit on the work of `recognise`: comparisons are counted, so that the search ends after a few seconds for any log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

MOST = 40_000
"""The most comparisons of curves with rows; a comparison takes some 50 µs."""

spent: ContextVar[float] = ContextVar("spent", default=-float("inf"))
"""The number of comparisons so far; not limited outside of `counted`."""


class OutOfWork(Exception):
    """Raised when the search has used up its comparisons."""


@contextmanager
def counted() -> Iterator[None]:
    """Count the comparisons of the block from 0."""
    token = spent.set(0.0)
    try:
        yield
    finally:
        spent.reset(token)


def spend(amount: float) -> None:
    """Count `amount` comparisons; raise `OutOfWork` after `MOST` comparisons."""
    now = spent.get() + amount
    spent.set(now)
    if now > MOST:
        raise OutOfWork
