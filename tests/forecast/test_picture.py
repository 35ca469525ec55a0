"""Pictures hold a forecast against what was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import laju
from laju.forecast import Curve, fit
from laju.forecast.picture import picture
from laju.view.plot import PALETTE

N = 2000
RUNS = {
    "constant": laju.constant(0.1),
    "cosine": laju.cosine(0.1, total=N),
    "wsd": laju.wsd(0.1, total=N, cooldown=500),
}


def curve(name: str, schedule: laju.Schedule) -> Curve:
    at = np.arange(100, N + 1, 20)
    rates = schedule.values(N + 1)
    return Curve(at, 2 + 0.8 * (np.cumsum(rates)[at - 1] / 200) ** -0.5 + 0.5 * rates[at], schedule, name)


@pytest.fixture(scope="module")
def law():
    return fit([curve(name, schedule) for name, schedule in RUNS.items()])


def named(axes) -> dict[str, str]:
    """The legend: colours by name."""
    box = axes.get_legend()
    return {t.get_text(): h.get_color() for t, h in zip(box.get_texts(), box.legend_handles, strict=True)}


def test_lines_have_bands_and_the_fitted_curves_are_grey_points(law, tmp_path: Path) -> None:
    drawn = picture(law, {"cosine": laju.cosine(0.1, total=3000), "linear": laju.linear(0.1, 0, total=3000)}, 3000)
    legend = named(drawn.axes)
    assert list(legend) == ["cosine", "linear", "constant, measured", "cosine, measured", "wsd, measured"]
    assert [legend["cosine"], legend["linear"]] == list(PALETTE[:2])
    assert not {color for name, color in legend.items() if "measured" in name} & set(PALETTE)
    assert len(drawn.axes.collections) == 2
    (first, _), lines = drawn.axes.get_ylim(), drawn.axes.get_lines()
    line = next(line for line in lines if line.get_color() == PALETTE[0] and line.get_linewidth() > 1)
    assert line.get_ydata()[-1] == pytest.approx(law.final(laju.cosine(0.1, total=3000), 3000))
    assert first < line.get_ydata()[-1]
    assert drawn.axes.get_xlim() == (0, 3000)
    assert drawn.save(tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_what_came_out_has_the_colour_of_its_forecast(law) -> None:
    came = [curve(name, RUNS[name]) for name in ("wsd", "cosine")]
    drawn = picture(law, {"wsd": RUNS["wsd"]}, {"wsd": N}, measured=came)
    assert list(named(drawn.axes)) == ["wsd", "cosine, measured", "measured"]
    points = [line for line in drawn.axes.get_lines() if line.get_marker() == "o" and len(line.get_xdata()) > 1]
    assert points[0].get_color() == PALETTE[0]


def test_many_measured_curves_are_one_line_of_the_legend(law) -> None:
    drawn = picture(law, {}, N, measured=[curve(f"run {i}", RUNS["cosine"]) for i in range(9)])
    assert list(named(drawn.axes)) == ["measured (9 curves)"]
    with pytest.raises(ValueError, match="nothing to draw"):
        picture(law, {}, N, measured=[])
