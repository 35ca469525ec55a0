"""Tables of text fit a terminal of any width, and lose nothing where there is none."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from laju.view.table import Grid, markdown, table

HEAD = ("schedule", "loss", "interval", "why not")
ROWS = [
    ("cosine with a warmup and a long name", "3.25", "12.000 ± 0.010", "the loss fell everywhere until the end"),
    ("余弦スケジュール", "10.00", "1.0 ± 0.1", ""),
    ("[red]a\x1b[31mb", "1.5", "2", "é ü"),
]


def rendered(grid: Grid, columns: int, *, terminal: bool = False) -> str:
    file = io.StringIO()
    Console(file=file, width=columns, force_terminal=terminal).print(grid)
    return file.getvalue()


def letters(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("columns", [1, 2, 20, 40, 63, 80, 120])
def test_a_table_fits_every_width_and_keeps_every_letter(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = table(HEAD, ROWS, text=(0, 3))
    assert max(map(cell_len, text.splitlines())) <= max(columns, 2)  # the width of a wide letter
    assert "…" not in text
    if "──" not in text:  # a list, where every row has every cell
        for row in ROWS:
            for name, cell in zip(HEAD, row, strict=True):
                assert not cell or letters(f"{name}: {cell}".replace("\x1b", "\\x1b")) in letters(text)


def test_numbers_are_never_broken_and_text_is() -> None:
    text = rendered(Grid(HEAD, ROWS, (0, 3)), 60)
    assert "──" in text
    assert "12.000 ± 0.010" in text
    assert "the loss fell everywhere until the end" not in text
    assert "──" not in rendered(Grid(HEAD, ROWS, (0, 3)), 40)


def test_without_a_terminal_nothing_is_wrapped_and_nothing_is_coloured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    long = "x" * 300
    text = table(HEAD, [(long, "1", "2", "3")], text=(0, 3))
    assert text.splitlines()[2].startswith(long)
    assert "\x1b" not in text
    assert len(text.splitlines()) == 3


def test_wide_letters_keep_the_columns_straight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    rule, *lines = table(HEAD, ROWS, text=(0, 3)).splitlines()[1:]
    end = cell_len(rule[: rule.index("  ", rule.index("  ") + 2)])  # of the second column
    for line, (_, loss, *_) in zip(lines, ROWS, strict=True):
        before = next(line[:i] for i in range(len(line) + 1) if cell_len(line[:i]) == end)
        assert before.endswith(f" {loss}")


def test_what_a_user_wrote_is_no_markup_and_no_escape() -> None:
    text = rendered(Grid(("name",), [("[red]a[/red]\x1b[31m",)], title="[bold]", caption="[dim]"), 80)
    assert "[red]a[/red]\\x1b[31m" in text
    assert "[bold]" in text
    assert "[dim]" in text


def test_a_cell_of_two_lines_is_one_line_of_a_list() -> None:
    rows = [("cosine", Text("0.845\n± 0.012"))] * 2
    assert "cosine       0.845\n           ± 0.012\n" in rendered(Grid(("schedule", "accuracy"), rows), 40)
    assert rendered(Grid(("schedule", "accuracy"), rows), 14).count("accuracy:") == 2
    assert "b: 0.845 ± 0.012" in " ".join(rendered(Grid(("a", "b"), rows), 9).split())


def test_styles_are_for_terminals() -> None:
    grid = Grid(("name",), [("a",), ("b",)], styles={0: "bold red"})
    assert "\x1b[1;31ma" in rendered(grid, 40, terminal=True)
    assert "\x1b" not in rendered(grid, 40)


def test_a_bar_in_a_cell_does_not_end_a_cell_in_markdown() -> None:
    assert markdown(("a", "b"), [("x|y", 1)]).splitlines() == ["| a | b |", "| --- | --- |", "| x\\|y | 1 |"]
