"""Checks of arguments: each check returns the value in canonical form, or raises an error that names the valid values."""

from __future__ import annotations

import difflib
import math
import numbers
import reprlib
from collections.abc import Iterable
from typing import Any, TypeGuard

from laju.core import limits


class _Shortened(reprlib.Repr):
    """A `repr` that is cut during its construction, so that the size of the value does not matter."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.fillvalue = "…"
        self.maxlevel = 8
        self.maxstring = self.maxlong = limit
        self.maxother = 1 << 20
        for kind in ("tuple", "list", "array", "dict", "set", "frozenset", "deque"):
            setattr(self, f"max{kind}", limit // 2)

    def repr_int(self, value: int, level: int) -> str:
        return repr(value) if abs(value) < 10**100 else f"a whole number of {value.bit_length()} bits"


def shown(value: object, limit: int = 80) -> str:
    """A value in the form of error messages, cut to a readable length."""
    text = _Shortened(limit).repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def nearest(name: str, valid: Iterable[str], cutoff: float = 0.6) -> str:
    """`; did you mean 'x'?` when a valid name is close to `name`, else an empty string."""
    match = difflib.get_close_matches(name, list(valid), n=1, cutoff=cutoff)
    return f"; did you mean {match[0]!r}?" if match else ""


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a real number, NumPy's included; booleans are not."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def is_finite(value: float) -> bool:
    """Whether a real number is neither NaN nor infinite; whole numbers beyond the range of floats are finite, too."""
    # `math.isfinite` makes a float of its argument, and raises OverflowError for a whole number beyond the floats.
    return isinstance(value, numbers.Rational) or math.isfinite(value)


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
    """A whole number of at least `least`; floats without a fraction, such as 1e6, are accepted."""
    wanted = f"a whole number of at least {least}"
    if not is_number(value):
        raise TypeError(f"{name} must be {wanted}, got {shown(value)}")
    if not is_finite(value) or value != int(value) or value < least:
        raise ValueError(f"{name} must be {wanted}, got {shown(value)}")
    if value > limits.LARGEST:
        raise ValueError(f"{name} must be {wanted} and at most 1e100, got {shown(int(value))}")
    return int(value)


def time(name: str, value: Any) -> Any:
    """A finite length or shift of time: 0, or from 1e-100 to 1e100 in size (1e100 is `limits.LARGEST`)."""
    if value and not 1e-100 <= abs(value) <= limits.LARGEST:
        size = shown(int(value) if abs(value) > 1 else float(value))
        raise ValueError(f"{name} must be 0, or from 1e-100 to 1e100 in size, got {size}")
    return value


def flag(name: str, value: Any) -> bool:
    """The value, which must be True or False; 0, 1 and None are refused."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {shown(value)}")
    return value


def choice(name: str, value: Any, valid: tuple[str, ...]) -> str:
    """The value, which must be a text in `valid`; the error proposes the nearest text."""
    if not isinstance(value, str) or value not in valid:
        raise ValueError(f"{name} must be one of {', '.join(valid)}, got {shown(value)}{nearest(str(value), valid)}")
    return value


def sequence(name: str, values: Any, example: str) -> list[Any]:
    """The items of an iterable as a list; texts are refused."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a sequence such as {example}, got {shown(values)}")
    return list(values)


class ScheduleWarning(RuntimeWarning):
    """Warning that the learning rates of a training run may differ from its schedule; the message names the cure."""


class SpecError(ValueError):
    """Error of a text or JSON that is no schedule, or of a schedule that cannot be written as text or JSON.

    The message shows the position of the error in the text.
    """

    def __init__(self, message: str, text: str = "", column: int | None = None) -> None:
        self.column = column
        if column is not None:
            line = text.replace("\n", " ")
            begin = max(0, column - 60)
            message = f"{message}\n  {line[begin : begin + 110]}\n  {' ' * (column - begin)}^"
        super().__init__(message)
