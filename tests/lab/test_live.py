"""What a terminal shows while trials run, as a terminal would show it."""

from __future__ import annotations

import io
import math
import os
import re
import threading
from collections.abc import Iterator

import pyte
import pytest
from rich.console import Console

import laju.lab.live.curves as curves_module
from laju.lab import compare
from laju.lab.live import display
from laju.lab.live.curves import SHARE, Curve, Pace, Palette, by_panel, highest
from laju.lab.live.displays import as_display
from laju.lab.live.terminal import Lines, Terminal
from laju.lab.trials import Outcome, Record
from laju.lab.trials.progress import Running
from laju.view.plot import PALETTE
from tests.lab.tiny import Sides

IN_EPOCH, EPOCHS = 100, 30
SIZES = {2: [(80, 24), (120, 40), (40, 15)], 4: [(80, 24), (120, 40), (40, 15)], 8: [(80, 24), (120, 40)]}


def records(epochs: float, loss: float = 1.0, accuracy: float = 0.5, tested: float | None = 0.4) -> tuple[Record, ...]:
    """Figures that stay the same, twice an epoch, with a test accuracy at the end of each epoch."""
    return tuple(
        Record(i * IN_EPOCH // 2, i / 2, 0.1, loss, accuracy, tested if i % 2 == 0 else None)
        for i in range(1, int(2 * epochs) + 1)
    )


def running(name: str, seed: int = 0, epochs: float = 15, **figures: float | None) -> Running:
    return Running(name, seed, EPOCHS * IN_EPOCH, records(epochs, **figures))


class Screen:
    """A terminal of a size, a display on it, and what the terminal shows then."""

    def __init__(self, columns: int, rows: int, **options: object) -> None:
        self.output = io.StringIO()
        self.console = Console(
            file=self.output, force_terminal=True, color_system="256", width=columns, height=rows, **options
        )
        self.display = Terminal(self.console)
        self.terminal = pyte.Screen(columns, rows)
        self.terminal.set_mode(pyte.modes.LNM)  # as a terminal's driver does, a line feed begins a line
        self.stream = pyte.Stream(self.terminal)

    def look(self) -> list[str]:
        self.stream.feed(self.output.getvalue())
        self.output.seek(0)
        self.output.truncate()
        return [line.rstrip() for line in self.terminal.display]

    def resize(self, columns: int, rows: int) -> None:
        self.look()
        self.terminal.resize(rows, columns)
        self.console.size = (columns, rows)

    def show(self, trials: list[Running]) -> list[str]:
        self.display.pace = Pace()
        self.display.running(trials)
        return self.look()

    def cells(self) -> Iterator[tuple[int, int, str, str]]:
        """Row, column, character and colour of everything on the screen."""
        for row in range(self.terminal.lines):
            for column in range(self.terminal.columns):
                cell = self.terminal.buffer[row][column]
                yield row, column, cell.data, cell.fg

    def curves(self) -> dict[str, list[tuple[int, int]]]:
        """The places of the dots of curves, by colour."""
        found: dict[str, list[tuple[int, int]]] = {}
        for row, column, character, color in self.cells():
            if "\u2801" <= character <= "\u28ff":
                found.setdefault(color, []).append((row, column))
        return found

    def bars(self) -> list[str]:
        """The colour of the bar in every row of a trial."""
        rows = [i for i, line in enumerate(self.terminal.display) if "━" in line and not line.startswith("trials")]
        return [next(c for r, _, character, c in self.cells() if r == row and character in "━╸") for row in rows]


@pytest.fixture
def wide() -> Iterator[Screen]:
    screen = Screen(80, 24)
    screen.display.start(12, 0, 2)
    yield screen
    screen.display.stop()


@pytest.mark.parametrize(("trials", "size"), [(n, size) for n, sizes in SIZES.items() for size in sizes])
def test_every_running_trial_has_a_curve_in_its_colour_and_a_row(trials: int, size: tuple[int, int]) -> None:
    screen = Screen(*size)
    screen.display.start(20, 0, trials)
    # Losses that differ, so that no curve hides another.
    all_of_them = [
        running(f"schedule {i}", loss=1 + i, accuracy=(1 + i) / 10, tested=(1 + i) / 10) for i in range(trials)
    ]
    lines = screen.show(all_of_them)
    titles = ["train loss", "train accuracy", "test accuracy"] if size[0] >= 80 else ["train loss", "test accuracy"]
    heading = next(line for line in lines if "train loss" in line)
    assert [title for title in titles if title in heading] == titles
    colors = screen.bars()
    assert len(colors) == trials
    assert len(set(colors)) == min(trials, len(PALETTE))
    dots = screen.curves()
    assert set(dots) == set(colors)
    # A higher loss lies higher in the first plot. A low plot has no room for all, and the eighth has the colour of the first.
    across = size[0] // len(titles)
    heights = {color: [row for row, column in dots[color] if column < across] for color in colors[1 : len(PALETTE)]}
    rows = [row for color in heights for row in heights[color]]
    assert rows == sorted(rows, reverse=True)
    assert len(set(rows)) >= min(trials - 1, 2)
    rows = [line for line in lines if re.search(r"\d\.\d/30", line)]
    assert len(rows) == trials
    for i, line in enumerate(rows):
        assert re.search(rf"0 15\.0/30 .*\b{1 + i}(\.0+)?\b", line), line
        assert ("0.1" in line.split("15.0/30")[1]) or size[0] < 60
    assert lines[0].startswith("20 trials; 20 to run")  # what is above is still to be seen
    assert any(line.startswith("trials ") and "0/20" in line for line in lines)


def test_curves_lie_where_their_figures_are(wide: Screen) -> None:
    lines = wide.show(
        [running("low", loss=0.5, accuracy=0.25, tested=1.0), running("high", loss=2, accuracy=0.75, tested=0.0)]
    )
    axis = [i for i, line in enumerate(lines) if "┤" in line or "│" in line]
    top, bottom = axis[0], axis[-1]

    def heights(color: str) -> list[float]:
        """How high the dots of a colour lie in each plot, from 0 to 1."""
        by_plot: list[set[int]] = [set(), set(), set()]
        for row, column in wide.curves()[color]:
            by_plot[column // 27].add(row)
        assert [len(rows) for rows in by_plot] == [1, 1, 1]
        return [(bottom - row) / (bottom - top) for (row,) in by_plot]

    low, high = wide.bars()
    assert heights(low) == pytest.approx([0.25, 0.25, 1.0], abs=0.06)
    assert heights(high) == pytest.approx([1.0, 0.75, 0.0], abs=0.06)
    assert re.match(r" *2┤.*1┤.*1┤", lines[top])
    columns = [column for _, column in wide.curves()[low] if column < 26]
    assert max(columns) <= 4 + 22 / 2 + 1  # 15 of 30 epochs: half of the axis


@pytest.mark.parametrize(
    ("trials", "size", "options"),
    [(8, (40, 15), {}), (2, (60, 9), {}), (2, (30, 24), {}), (2, (80, 24), {"no_color": True})],
    ids=["many", "low", "narrow", "without colours"],
)
def test_without_room_or_colours_there_is_a_row_a_trial(trials: int, size: tuple[int, int], options: dict) -> None:
    screen = Screen(*size, **options)
    screen.display.start(20, 0, trials)
    lines = screen.show([running(f"schedule {i}") for i in range(trials)])
    assert not screen.curves()
    assert sum("━" in line and not line.startswith("tria") for line in lines) == min(trials, size[1] - 4)


def test_more_trials_than_rows_are_counted() -> None:
    screen = Screen(80, 10)
    screen.display.start(200, 0, 100)
    lines = screen.show([running("a", seed) for seed in range(100)])
    assert sum("15.0/30" in line for line in lines) == 6
    assert "and 94 more" in lines
    assert sum(bool(line) for line in lines) <= 10


def test_a_finished_trial_of_a_schedule_that_runs_again_is_a_faint_curve(wide: Screen) -> None:
    wide.display.finished("a", 0, Outcome("finished", records(30, loss=2.0), 3.0))
    wide.display.finished("other", 0, Outcome("finished", records(30, loss=0.3), 3.0))
    lines = wide.show([running("a", 1, loss=1.0)])
    (color,) = wide.bars()
    assert set(wide.curves()) == {color, "brightblack"}
    faint = [row for row, column in wide.curves()["brightblack"] if column < 26]
    assert len(set(faint)) == 1  # of one loss alone: that of the same schedule
    assert any("[1/12] a, seed 0: train loss 2" in line for line in lines)


def test_what_is_over_leaves_its_lines_alone(wide: Screen) -> None:
    wide.show([running("a"), running("b", loss=2.0)])
    wide.display.finished("a", 0, Outcome("finished", records(30, loss=1.0), 3.0))
    wide.display.stop()
    lines = wide.look()
    assert [line for line in lines if line] == [
        "12 trials; 12 to run, 2 at a time",
        "[1/12] a, seed 0: train loss 1.000, test accuracy 0.400 (3.0 s)",
    ]
    assert not wide.terminal.cursor.hidden
    assert wide.terminal.cursor.y == 2


def test_a_study_shows_one_comparison_after_another(wide: Screen) -> None:
    wide.show([running("a")])
    wide.display.finished("a", 0, Outcome("finished", records(30, loss=9.0), 3.0))
    wide.display.stop()
    wide.display.start(5, 5, 0)  # all is in the store: nothing to show
    wide.display.stop()
    wide.display.start(5, 1, 2)
    lines = wide.show([running("a")])
    assert "5 trials, 1 of them in the store already; 4 to run, 2 at a time" in lines
    assert set(wide.curves()) == set(wide.bars())  # the finished trial of the same name was of another task
    assert any(line.startswith("trials ") and " 1/5 " in line for line in lines)


@pytest.mark.parametrize("size", [(60, 20), (40, 15), (80, 12), (30, 8)])
def test_a_terminal_that_becomes_smaller_keeps_nothing_of_the_larger_picture(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curves_module.time, "monotonic", lambda: 1000.0)  # both show the same times
    wide = Screen(80, 24)
    wide.display.start(12, 0, 2)
    wide.show([running("a"), running("b", loss=2.0)])
    wide.resize(*size)
    lines = wide.show([running("a"), running("b", loss=2.0)])
    fresh = Screen(*size)
    fresh.display.start(12, 0, 2)
    assert lines == fresh.show([running("a"), running("b", loss=2.0)])


def test_a_terminal_that_becomes_larger_gets_a_larger_picture(wide: Screen) -> None:
    wide.show([running("a")])
    wide.resize(120, 40)
    lines = wide.show([running("a")])
    assert sum("train loss" in line for line in lines) == 2  # the plot's title and the column's
    assert max(map(len, lines)) > 100


def test_figures_that_a_program_does_not_report_have_no_plot(wide: Screen) -> None:
    known = [running("a", epochs=0.5, accuracy=math.nan)]
    assert "train accuracy" in wide.show(known)[1]  # nobody knows before the end of the first epoch
    heading = wide.show([running("a", accuracy=math.nan)])[1]
    assert ("train accuracy" in heading, "test accuracy" in heading) == (False, True)
    heading = wide.show([running("a", accuracy=math.nan, tested=None)])[1]
    assert ("train loss" in heading, "accuracy" in heading) == (True, False)


def test_a_loss_that_explodes_does_not_flatten_the_others() -> None:
    calm, wild = records(10, loss=2.0), (*records(5, loss=2.5), *records(6, loss=1e30)[10:])
    points = by_panel([Curve(calm, 0), Curve(wild, 1)])
    assert highest("train loss", points["train loss"]) == 5.0
    assert highest("test accuracy", points["test accuracy"]) == 1.0
    assert highest("train loss", []) == 1.0
    assert highest("train loss", by_panel([Curve(records(2, loss=0.0), 0)])["train loss"]) > 0


def test_two_seeds_of_a_schedule_have_different_colours_while_both_run() -> None:
    palette = Palette()
    a0, a1, b0 = running("a", 0), running("a", 1), running("b", 0)
    assert palette.of_trials([a0, b0]) == {("a", 0): 0, ("b", 0): 1}
    assert palette.of_trials([a1, b0]) == {("a", 1): 0, ("b", 0): 1}
    both = palette.of_trials([a0, a1, b0])
    assert both["a", 1] == 0  # it keeps what it has
    assert len(set(both.values())) == 3
    many = palette.of_trials([running(str(i)) for i in range(20)])
    assert set(many.values()) == set(range(len(PALETTE)))


def test_drawing_takes_no_more_than_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    now, used = [1000.0], [0.0]
    monkeypatch.setattr(curves_module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(curves_module.time, "thread_time", lambda: used[0])
    pace, drawings = Pace(), 0
    costs = [0.3, *[0.02] * 10_000]  # the first loads modules and fonts
    while now[0] < 1100:
        if pace.is_due():
            with pace.drawing():
                used[0] += costs[drawings]
                now[0] += costs[drawings]
                drawings += 1
        now[0] += 0.2
    assert SHARE == 0.02
    assert (used[0] - costs[0]) / 100 <= SHARE
    assert 80 < drawings < 100


def test_lines_and_curves_of_two_threads_do_not_mix(wide: Screen) -> None:
    wide.display.pace.is_due = lambda: True  # type: ignore[method-assign]
    stop = threading.Event()

    def draw() -> None:
        while not stop.is_set():
            wide.display.running([running("a"), running("b", loss=2.0)])

    thread = threading.Thread(target=draw)
    thread.start()
    for seed in range(30):
        wide.display.finished("c", seed, Outcome("finished", records(1), 1.0))
    stop.set()
    thread.join()
    wide.display.stop()
    printed = wide.output.getvalue()
    assert [int(n) for n in re.findall(r"\[(\d+)/12\] c", printed)] == list(range(1, 31))
    assert not any("⠀" < c < "⣿" for line in wide.look() for c in line)


# --- which display -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="needs a terminal of POSIX")
@pytest.mark.parametrize(
    ("environment", "kind"),
    [({}, Terminal), ({"TERM": "dumb"}, Lines), ({"JPY_PARENT_PID": "1"}, Lines), ({"NO_COLOR": "1"}, Terminal)],
)
def test_a_terminal_that_can_move_its_cursor_gets_curves(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], kind: type
) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "NO_COLOR", "JPY_PARENT_PID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"TERM": "xterm-256color"} | environment).items():
        monkeypatch.setenv(name, value)
    ours, theirs = os.openpty()
    with os.fdopen(ours), os.fdopen(theirs, "w") as file:
        assert type(display(Console(file=file))) is kind


@pytest.mark.parametrize("environment", [{}, {"FORCE_COLOR": "1"}, {"TTY_COMPATIBLE": "1"}])
def test_files_and_pipes_get_lines(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    output = io.StringIO()
    shown = display(Console(file=output, width=100))
    shown.start(2, 0, 1)
    shown.running([running("a")])
    shown.finished("a", 0, Outcome("diverged", records(3), 1.0, diverged_at=170))
    shown.stop()
    assert re.sub(r"\x1b\[[0-9;]*m", "", output.getvalue()).splitlines() == [
        "2 trials; 2 to run, 1 at a time",
        "[1/2] a, seed 0: diverged at update 170 (1.0 s)",
    ]


def test_python_shows_nothing_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    for silent in ({}, {"display": None}, {"display": False}):
        compare({"a": 0.1}, Sides(), epochs=1, seeds=1, jobs=1, **silent)
        assert capsys.readouterr() == ("", "")
    compare({"a": 0.1}, Sides(), epochs=1, seeds=1, jobs=1, display=True)
    assert re.fullmatch(r"1 trial; .*\n\[1/1\] a, seed 0: train loss .*\n", capsys.readouterr().out)


def test_a_display_that_is_none_is_refused() -> None:
    with pytest.raises(
        TypeError, match=r"display must be True, False, None or a Display, got 'yes', which has no 'start'"
    ):
        compare({"a": 0.1}, Sides(), display="yes")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="got 1,"):
        as_display(1)  # type: ignore[arg-type]
