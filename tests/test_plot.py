"""Pictures of schedules show what the schedule does: its jumps, its peaks, its units and its name as it is written."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import laju
from laju.view.plot import plot, printable, sketch, thin

COSINE = laju.cosine(0.3, total=20, warmup=5)
PLAN = laju.RunPlan(samples=100, batch_size=10, epochs=20)
HOSTILE = ["<script>alert(1)</script>", "$x_1$", "[red]", "_hidden", "\x1b[31m"]


def curve(ax, i: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return ax.lines[i].get_data()


def test_every_update_is_a_step_of_its_value() -> None:
    picture = plot(COSINE)
    x, y = curve(picture.axes)
    assert picture.axes.lines[0].get_drawstyle() == "steps-post"
    assert x.tolist() == list(range(21))
    assert y[:-1].tolist() == COSINE.values(20).tolist()


def test_a_long_run_is_thinned_and_keeps_its_jumps_and_peaks() -> None:
    n = 1_000_000
    spike = laju.constant(0.1).take(123_456) >> laju.constant(5.0).take(1) >> laju.constant(0.1).take(500_000) >> 0.01
    x, y = curve(plot(spike, n).axes)
    assert len(x) < 10_000
    value = dict(zip(x.tolist(), y.tolist(), strict=True))
    assert value[123_456] == 5.0
    assert value[123_457] == 0.1
    jump = 123_457 + 500_000
    assert (value[jump - 1], value[jump]) == (0.1, 0.01)


@pytest.mark.parametrize("n", [1, 79, 80, 81, 1000, 12_345])
def test_thinning_keeps_the_first_the_last_and_the_extremes(n: int) -> None:
    values = np.random.default_rng(n).normal(size=n)
    t, v = thin(values, limit=80)
    assert (t[0], t[-1]) == (0, n - 1)
    assert (v.min(), v.max()) == (values.min(), values.max())
    assert (np.diff(t) > 0).all()
    assert len(t) <= max(80, 8 * 10)
    np.testing.assert_array_equal(v, values[t])


def test_a_plan_resolves_units_and_marks_the_epochs() -> None:
    picture = plot({"c": laju.cosine(0.3, total="100%", warmup="5 epochs")}, plan=PLAN)
    x, y = curve(picture.axes)
    assert x[-1] == 200
    assert x[y.argmax()] == 50
    (above,) = picture.axes.child_axes
    assert above.get_xlabel() == "epoch"
    picture._repr_png_()  # the upper axis follows when it is drawn
    assert above.get_xlim() == (0, 20)


def test_schedules_come_as_one_as_a_list_or_by_name() -> None:
    assert len(plot(COSINE).axes.lines) == 1
    assert len(plot([COSINE, COSINE, laju.linear(1, 0, total=9)]).axes.lines) == 3
    assert len(plot({"a": COSINE, "b": COSINE}).axes.lines) == 2


def test_twelve_curves_differ_in_colour_or_dash() -> None:
    ax = plot({str(i): laju.constant(i) for i in range(12)}, 10).axes
    assert (
        len(
            {
                (line.get_color(), str(line.get_linestyle()), line._dash_pattern[1] and tuple(line._dash_pattern[1]))
                for line in ax.lines
            }
        )
        == 12
    )


def test_nothing_to_draw_is_an_error_that_says_what_to_give() -> None:
    with pytest.raises(ValueError, match="no schedule"):
        plot({})
    with pytest.raises(ValueError, match="updates= or plan="):
        plot(laju.constant(0.1))
    with pytest.raises(ValueError, match="at least 1"):
        plot(COSINE, 0)
    with pytest.raises(ValueError, match="above 0"):
        plot(laju.constant(0), 5, log=True)


def test_names_are_shown_as_written() -> None:
    picture = plot(dict.fromkeys(HOSTILE, COSINE), title="$a$")
    (box,) = picture.figure.legends
    texts = box.get_texts()
    assert [t.get_text() for t in texts] == [*HOSTILE[:4], r"\x1b[31m"]
    assert not any(t.get_parse_math() for t in texts)
    picture._repr_png_()


def test_given_axes_are_drawn_into_and_nothing_global_is_touched() -> None:
    import matplotlib
    from matplotlib import pyplot
    from matplotlib.figure import Figure

    before = dict(matplotlib.rcParams)
    ax = Figure().add_subplot()
    assert plot(COSINE, ax=ax).axes is ax
    assert plot([COSINE, COSINE], ax=ax).figure is ax.figure
    assert pyplot.get_fignums() == []
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_a_picture_is_saved_in_the_format_of_its_name(tmp_path: Path, suffix: str, start: bytes) -> None:
    path = plot(COSINE).save(tmp_path / f"schedule{suffix}")
    assert path.read_bytes().startswith(start)
    if suffix == ".png":
        with Image.open(path) as image:
            assert len(image.convert("RGB").getcolors(1 << 20)) > 10


def test_another_format_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"schedule\.jpg.*\.png, \.svg or \.pdf"):
        plot(COSINE).save(tmp_path / "schedule.jpg")
    assert list(tmp_path.iterdir()) == []


def test_a_sketch_without_colour_is_plain_text_of_the_size_asked() -> None:
    text = sketch(dict.fromkeys(HOSTILE, COSINE), width=60, height=12, color=False)
    lines = text.splitlines()
    assert "\x1b" not in text
    assert len(lines) == 12 + 1 + len(HOSTILE)
    assert max(map(len, lines[:12])) <= 60
    assert [line.split(maxsplit=1)[1] for line in lines[13:]] == [*HOSTILE[:4], r"\x1b[31m"]


def test_a_sketch_has_colours_only_where_they_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in sketch(COSINE, width=60)  # the output of a test is no terminal
    assert "\x1b[38;5;" in sketch([COSINE, COSINE], width=60, color=True)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b" in sketch(COSINE, width=60)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in sketch(COSINE, width=60)


def test_a_sketch_leaves_the_callers_own_plot_alone() -> None:
    import plotext

    plotext.figure.clear()
    plotext.figure.draw(plotext.figure.signal([0.0, 1.0], [0.0, 1.0]))
    before = plotext.figure.build().string(True)
    sketch([COSINE, laju.constant(3)], width=200, height=50)
    assert plotext.figure.build().string(True) == before
    plotext.figure.clear()


def test_a_sketch_counts_epochs_when_it_has_a_plan() -> None:
    lines = sketch(laju.cosine(1, total="100%"), plan=PLAN, width=80, height=10, color=False).splitlines()
    assert lines[9].split() == ["0", "5", "10", "15", "20"]
    assert lines[10].strip() == "epoch"


def test_a_sketch_of_a_step_has_an_upright_jump() -> None:
    lines = sketch(laju.constant(1).take(50) >> 0.0, 100, width=60, height=12, color=False).splitlines()
    rows = [re.split("[│┤]", line)[1] for line in lines[1:9]]
    columns = {len(row.rstrip()) for row in rows[2:7]}
    assert len(columns) == 1


@pytest.mark.parametrize("height", [5, 6, 7, 9, 12, 20])
@pytest.mark.parametrize(("value", "ends"), [(0.1, ["0.1", "0"]), (0.0, ["1", "0"]), (-2.0, ["0", "-2"])])
def test_the_levels_of_a_sketch_are_readable_and_true(height: int, value: float, ends: list[str]) -> None:
    lines = sketch(laju.constant(value), 10, width=50, height=height, color=False).splitlines()
    labels = [line.split("┤")[0].strip() for line in lines[1 : height - 2] if "┤" in line]
    assert [labels[0], labels[-1]] == ends
    assert [float(label) for label in labels] == sorted(map(float, labels), reverse=True)
    drawn = [line for line in lines[1 : height - 2] if "⠤" in line or "⠒" in line or "⠉" in line or "⣀" in line]
    assert [line.split("┤")[0].strip() for line in drawn] == [f"{value:g}"]


def test_a_sketch_too_small_to_read_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 20 by 5"):
        sketch(COSINE, width=10)


@pytest.mark.parametrize(("package", "draw"), [("matplotlib", plot), ("plotext", lambda s: sketch(s, width=60))])
def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, package: str, draw) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=rf"drawing needs the package {package}, .*pip install .*\[plot\]"):
        draw(COSINE)


def test_long_names_keep_their_ends() -> None:
    text = printable("a" * 50 + "b" * 50, most=20)
    assert len(text) == 20
    assert text.startswith("aaaa")
    assert text.endswith("bbbb")
