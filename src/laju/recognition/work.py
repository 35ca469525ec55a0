"""How much `recognise` may look for: every search counts, so that the worst log is given up after a few seconds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

MOST = 40_000
"""Curves compared with rows; each takes some 50 µs."""

spent: ContextVar[float] = ContextVar("spent", default=-float("inf"))
"""How many have been compared; not counted outside of `counted`."""


class OutOfWork(Exception):
    """The search is given up."""


@contextmanager
def counted() -> Iterator[None]:
    """Count from 0."""
    token = spent.set(0.0)
    try:
        yield
    finally:
        spent.reset(token)


def spend(amount: float) -> None:
    """Count `amount` comparisons, and give up after `MOST`."""
    now = spent.get() + amount
    spent.set(now)
    if now > MOST:
        raise OutOfWork
