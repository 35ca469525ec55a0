"""Checks of what users pass in: each returns the value in its canonical form or says what would be valid."""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Iterable
from typing import Any, TypeGuard

from laju.units import Length, as_length


def shown(value: object, limit: int = 80) -> str:
    """A value as error messages show it, cut to a readable length."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def nearest(name: str, valid: Iterable[str], cutoff: float = 0.6) -> str:
    """`; did you mean 'x'?` when a valid name is close to `name`, else an empty string."""
    match = difflib.get_close_matches(name, list(valid), n=1, cutoff=cutoff)
    return f"; did you mean {match[0]!r}?" if match else ""


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a real number, NumPy's included; booleans are not."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
) -> float:
    """A finite real number inside the stated bounds, as a float; booleans are not numbers."""
    wanted = _bounds(above, least, below, most)
    if not is_number(value):
        raise TypeError(f"{name} must be {wanted}, got {shown(value)}")
    try:
        result = float(value)
    except OverflowError:
        raise ValueError(f"{name} must be {wanted}, got {shown(value)}") from None
    if (
        not math.isfinite(result)
        or (above is not None and not result > above)
        or (least is not None and not result >= least)
        or (below is not None and not result < below)
        or (most is not None and not result <= most)
    ):
        raise ValueError(f"{name} must be {wanted}, got {shown(value)}")
    return result + 0.0  # -0.0 becomes 0.0, so that equal schedules print alike


def _bounds(above: float | None, least: float | None, below: float | None, most: float | None) -> str:
    limits = [
        text.format(bound)
        for text, bound in (
            ("above {:g}", above),
            ("of at least {:g}", least),
            ("below {:g}", below),
            ("of at most {:g}", most),
        )
        if bound is not None
    ]
    return "a finite number" + (" " + " and ".join(limits) if limits else "")


def whole(name: str, value: Any, *, least: int = 0) -> int:
    """A whole number of at least `least`; a float such as 1e6 is taken when it is whole."""
    wanted = f"a whole number of at least {least}"
    if not is_number(value):
        raise TypeError(f"{name} must be {wanted}, got {shown(value)}")
    if not math.isfinite(value) or value != int(value) or value < least:
        raise ValueError(f"{name} must be {wanted}, got {shown(value)}")
    return int(value)


_UNITS = "or text such as '5 epochs' or '10%'"


def updates(name: str, value: Any, *, zero: bool = True, real: bool = False, optional: bool = False) -> Any:
    """A length: a whole number of updates (with `real`, any number), or text with a unit, which becomes a `Length`."""
    if value is None and optional:
        return None
    least = "0 or more" if zero else "at least 1"
    wanted = f"a whole number of updates, {least}, {_UNITS}"
    if isinstance(value, str | Length):
        try:
            found = as_length(value)
        except ValueError as error:
            raise ValueError(f"{name} must be {wanted}, got {shown(value)}: {error}") from None
        if isinstance(found, Length):
            if found.single is not None and not (found.single > 0 or (zero and found.single == 0)):
                raise ValueError(f"{name} must be {wanted}, got {shown(str(found))}")
            return found
        value = found
    if not is_number(value):
        raise TypeError(f"{name} must be {wanted}, got {shown(value)}")
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise ValueError(f"{name} must be {wanted}, got {shown(value)}")
    if value == int(value):
        return int(value)
    if not real:
        raise ValueError(f"{name} must be {wanted}, got {shown(value)}")
    return float(value)
