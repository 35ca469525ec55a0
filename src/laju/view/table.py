"""Tables of text, by rich: in a terminal tables fit the width, in a pipe or a file no cell is broken or cut off.

Text columns are wrapped if a table is too wide; a table still too wide becomes a list, row below row.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from laju.view.plot import printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

_NARROWEST = 10
_GAP = 2


class Grid:
    """A table that rich prints: columns with a rule below their heads, a title above and a caption below.

    Args:
        head: of the columns.
        rows: cells, as texts or as rich's `Text`; control characters of a text are spelt out.
        text: the columns that are text, which stand left and may be wrapped; numbers stand right and stay whole.
        title, caption: above and below, if any.
        styles: of the rows, by number, in rich's words.
    """

    def __init__(
        self,
        head: Sequence[str],
        rows: Iterable[Sequence[str | Text]],
        text: Sequence[int] = (0,),
        *,
        title: str = "",
        caption: str = "",
        styles: dict[int, str] | None = None,
    ) -> None:
        self.head, self.text, self.title, self.caption = tuple(head), frozenset(text), title, caption
        self.rows = [tuple(_text(cell) for cell in row) for row in rows]
        self.styles = styles or {}

    @property
    def row_count(self) -> int:
        return len(self.rows)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        widths = self._widths(options.max_width)
        if self.title:
            yield Text(f"{self.title}\n", style="bold", overflow="fold")
        yield self._list() if widths is None else self._table(widths)
        if self.caption:
            yield Text(f"\n{self.caption}", style="dim", overflow="fold")

    def _widths(self, room: int) -> list[int] | None:
        """Widths of the columns: numbers stay whole, heads are broken between words before texts; None where that has no room."""
        columns = list(zip(map(_text, self.head), *self.rows, strict=True))
        widths = [min(max(map(_wide, column)), room) for column in columns]
        least = [
            min(width, _NARROWEST) if i in self.text else max(map(_wide, (*head.split(" "), *cells)))
            for i, (width, (head, *cells)) in enumerate(zip(widths, columns, strict=True))
        ]
        over = sum(widths) + _GAP * (len(widths) - 1) - room
        for i in range(len(widths)):
            if i not in self.text:
                cut = min(max(over, 0), widths[i] - least[i])
                widths[i], over = widths[i] - cut, over - cut
        while over > 0:
            widest = max(self.text, key=lambda i: widths[i] - least[i], default=-1)
            if widest < 0 or widths[widest] <= least[widest]:
                return None
            widths[widest], over = widths[widest] - 1, over - 1
        return widths

    def _table(self, widths: Sequence[int]) -> Any:
        from rich.rule import Rule
        from rich.table import Table

        # The heads are a row, and so is the rule, so that the rule is broken between the columns.
        table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, show_header=False)
        for i, width in enumerate(widths):
            table.add_column(justify="left" if i in self.text else "right", overflow="fold", width=width)
        table.add_row(*self.head, style="bold")
        table.add_row(*(Rule(style="dim") for _ in self.head))
        for i, row in enumerate(self.rows):
            table.add_row(*row, style=self.styles.get(i, ""))
        return table

    def _list(self) -> Text:
        """Row below row, every cell with its head in front."""
        from rich.text import Text

        lines = []
        for i, row in enumerate(self.rows):
            cells = [(name, cell) for name, cell in zip(self.head, row, strict=True) if cell.plain]
            lines += [Text.assemble((f"{name}: ", "bold"), Text(" ").join(cell.split("\n"))) for name, cell in cells]
            if i + 1 < len(self.rows):
                lines.append(Text(""))
        return Text("\n", overflow="fold").join(lines)


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], text: Sequence[int] = (0,), most: int | None = None
) -> str:
    """A table as plain text, as wide as the terminal allows, if there is a terminal.

    Args:
        head, rows, text: as in `Grid`.
        most: letters of a cell, beyond which its middle is left out.

    >>> print(table(("name", "loss"), [("a", "3.25"), ("longer", "10.00")]))
    name     loss
    ──────  ─────
    a        3.25
    longer  10.00
    """
    from rich.console import Console

    grid = Grid(head, [[printable(cell, most) for cell in row] for row in rows], text)
    console = Console(width=_room(), color_system=None, force_terminal=False, legacy_windows=False)
    with console.capture() as capture:
        console.print(grid, soft_wrap=False)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def markdown(head: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown.

    >>> print(markdown(("name", "loss"), [("a|b", 3.25)]))
    | name | loss |
    | --- | --- |
    | a\\|b | 3.25 |
    """
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _text(cell: str | Text) -> Text:
    from rich.text import Text

    # A Text, not a string: rich would read "[red]" in a string as markup.
    return Text(printable(cell)) if isinstance(cell, str) else cell


def _wide(text: Text) -> int:
    """The columns of the longest line."""
    return max((line.cell_len for line in text.split("\n")), default=0)


def _room() -> int:
    """Columns of the terminal; for a pipe or a file, whose lines have any length, more than any table has."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return max(shutil.get_terminal_size().columns, 2)  # the width of a wide letter
    return 10**6
