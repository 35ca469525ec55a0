"""Tables of plain text that fit the terminal: text columns are wrapped, and in a table still too wide each row is a list."""

from __future__ import annotations

import os
import shutil
import sys
import unicodedata
from collections.abc import Sequence

from laju.view.plot import printable

_NARROWEST = 10


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], text: Sequence[int] = (0,), most: int | None = None
) -> str:
    """Columns with a rule below their heads.

    Args:
        head, rows: the cells.
        text: the columns that are text, which stand left and may be broken; numbers stand right.
        most: letters of a cell, beyond which its middle is left out.

    >>> print(table(("name", "loss"), [("a", "3.25"), ("longer", "10.00")]))
    name     loss
    ──────  ─────
    a        3.25
    longer  10.00
    """
    cells = [list(head), *([printable(cell, most) for cell in row] for row in rows)]
    widths = [max(_wide(row[i]) for row in cells) for i in range(len(head))]
    room = _room()
    if room is not None and (over := sum(widths) + 2 * (len(widths) - 1) - room) > 0:
        widest = max(text, key=lambda i: widths[i])
        widths[widest] -= over
        if widths[widest] < _NARROWEST:
            return _listed(cells, room)
    lines = [_line(row, widths, text) for row in cells]
    lines.insert(1, "  ".join("─" * width for width in widths))
    return "\n".join(lines)


def _line(row: Sequence[str], widths: Sequence[int], text: Sequence[int]) -> str:
    broken = [_broken(cell, width) for cell, width in zip(row, widths, strict=True)]
    lines = []
    for k in range(max(map(len, broken))):
        parts = []
        for i, (pieces, width) in enumerate(zip(broken, widths, strict=True)):
            piece = pieces[k] if k < len(pieces) else ""
            blank = " " * (width - _wide(piece))
            parts.append(piece + blank if i in text else blank + piece)
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def _listed(cells: Sequence[Sequence[str]], room: int) -> str:
    """Rows below each other, every cell with its head in front."""
    head, *rows = cells
    found = [
        "\n".join(
            line for name, cell in zip(head, row, strict=True) if cell for line in _broken(f"{name}: {cell}", room)
        )
        for row in rows
    ]
    return "\n\n".join(found)


def _room() -> int | None:
    """Columns of the terminal; None for a pipe or a file, whose lines have any length."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return max(shutil.get_terminal_size().columns, 1)
    return None


def _broken(text: str, width: int) -> list[str]:
    """A text in lines of a width, broken at a blank where the second half has a blank."""
    lines = []
    while _wide(text) > width:
        end, used = 0, 0
        while used + _wide(text[end]) <= width or end == 0:
            used += _wide(text[end])
            end += 1
        blank = text.rfind(" ", end // 2, end + 1)
        end = blank if blank > 0 else end
        lines.append(text[:end].rstrip())
        text = text[end:].lstrip()
    return [*lines, text]


def _wide(text: str) -> int:
    """Columns that a text takes: two for a wide letter, none for a mark above another."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else unicodedata.combining(c) == 0 for c in text)
