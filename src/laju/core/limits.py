"""Named limits of schedules, texts and files: the work of a reader is bounded by the size of its input.

A text, a JSON object or a configuration may come from a stranger, and a schedule may be made by a loop that went wrong. Past a
limit an error names the limit, before memory or time is spent.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEPTH = 100
"""The deepest nesting of schedules: Python stops recursion at 1,000 calls, and printing takes a few calls per level."""

TEXT = 300_000
"""Characters of a schedule's text."""

LENGTH_TEXT = 200
"""Characters of a length such as "5 epochs"."""

ITEMS = 1_000_000
"""Entries of a table, and parts of a chain, a sum or another combination."""

LARGEST = int(1e100)
"""The largest whole number, the most updates of a length, and the most parts that an update is divided into: a float holds the
product of three such numbers, so that no arithmetic on positions leaves the floats."""

POSITION = 2**63 - 1
"""The last update that an array of positions can name."""

BITS = 4096
"""Binary digits of a whole number in a text, and of the results of arithmetic in a text."""

FILES = 100
"""Files of a configuration."""


def number(value: Any) -> Any:
    """The value, unless the value is a whole number of thousands of digits, with which arithmetic would not end.

    Raises:
        ValueError: if the value has more than `BITS` binary digits.
    """
    if isinstance(value, int) and value.bit_length() > BITS:
        raise ValueError(f"a number may have at most {BITS:,} binary digits")
    return value


def power(a: Any, b: Any) -> Any:
    """a to the power of b; a power of thousands of digits is refused before the power is computed.

    Raises:
        ValueError: if the power would have more than `BITS` binary digits.
    """
    if isinstance(a, int) and isinstance(b, int) and a.bit_length() * abs(b) > 2 * BITS:
        raise ValueError(f"a number may have at most {BITS:,} binary digits")
    return number(a**b)


def size(content: Any) -> Any:
    """Nested lists and mappings, checked to hold at most `ITEMS` items when written out.

    A short file that names a list again and again, as YAML's aliases do, stands for more items than any memory holds.

    Raises:
        ValueError: if the content holds more items, or contains itself.
    """
    known: dict[int, int] = {}

    def items(value: Any) -> int:
        if not isinstance(value, Mapping | list | tuple | set):
            return 1
        if id(value) not in known:
            known[id(value)] = ITEMS + 1  # for a value that contains itself
            inside = value.values() if isinstance(value, Mapping) else value
            known[id(value)] = min(1 + sum(map(items, inside)), ITEMS + 1)
        return known[id(value)]

    try:
        many = items(content)
    except RecursionError:
        many = ITEMS + 1
    if many > ITEMS:
        raise ValueError(f"it may hold at most {ITEMS:,} items when it is written out")
    return content
