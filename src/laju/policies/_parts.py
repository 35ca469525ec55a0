"""What the policies share: checks of their arguments, and the ramps that come before and after."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from laju.arguments import nearest, number, shown, updates
from laju.pieces import Ramp
from laju.schedule import Duration, Schedule
from laju.units import Length


def span(name: str, value: Any, *, zero: bool = False) -> Any:
    """A length that must be there: updates, or text with a unit."""
    if value is None:
        raise TypeError(f"{name} must be a length such as 100 or '5 epochs', got None")
    return updates(name, value, zero=zero)


def rest(total: Duration, used: Duration, name: str, *, empty: bool = False) -> Any:
    """What `name` leaves of the total; `empty` allows nothing."""
    left = total - used
    amount = left if not isinstance(left, Length) else left.single
    if amount is not None and (amount < 0 or (amount == 0 and not empty)):
        limit = "at most" if empty else "shorter than"
        raise ValueError(f"{name} must be {limit} the total of {plain(total)!r}, got {plain(used)!r}")
    return left


def plain(length: Duration) -> Any:
    return str(length) if isinstance(length, Length) else length


def flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {shown(value)}")
    return value


def choice(name: str, value: Any, valid: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in valid:
        raise ValueError(f"{name} must be one of {', '.join(valid)}, got {shown(value)}{nearest(str(value), valid)}")
    return value


def sequence(name: str, values: Any, example: str) -> list[Any]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a sequence such as {example}, got {shown(values)}")
    return list(values)


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


def warmed(start: float, peak: float, warmup: Duration, decay: Schedule) -> Schedule:
    """A linear warmup from `start` to `peak`, then the decay."""
    start = number("start", start)
    return Ramp(start, peak, warmup) >> decay if warmup else decay
