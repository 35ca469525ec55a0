"""Shared parts of the policies: the rest of a total, the lengths between boundaries, and the ramp before a decay."""

from __future__ import annotations

from typing import Any

from laju.core.checks import flag, number, shown
from laju.core.node import Duration
from laju.core.pieces import Ramp
from laju.core.schedule import Schedule
from laju.core.units import Length, plain


def rest(total: Duration, used: Duration, name: str, *, empty: bool = False) -> Any:
    """The total less the length `used`; `name` is the argument of `used` in errors, and `empty` allows a rest of 0."""
    left = total - used
    amount = left if not isinstance(left, Length) else left.single
    if amount is not None and (amount < 0 or (amount == 0 and not empty)):
        limit = "at most" if empty else "shorter than"
        raise ValueError(f"{name} must be {limit} the total of {plain(total)!r}, got {plain(used)!r}")
    return left


def gaps(name: str, ends: list[Any]) -> list[Any]:
    """The lengths between increasing boundaries, the first from update 0."""
    lengths: list[Any] = []
    begin: Any = 0
    for end in ends:
        length = end - begin
        if (length if not isinstance(length, Length) else length.single or 1) <= 0:
            raise ValueError(f"{name} must increase, got {shown([plain(e) for e in ends])}")
        lengths.append(length)
        begin = end
    return lengths


def warmed(start: float, peak: float, warmup: Duration, decay: Schedule, first: bool = False) -> Schedule:
    """A linear warmup from `start` to `peak`, then the decay; with `first`, no update is spent at `start`."""
    start, first = number("start", start), flag("first", first)
    return Ramp(start, peak, warmup, first=first) >> decay if warmup else decay
