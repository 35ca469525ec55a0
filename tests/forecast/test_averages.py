"""Losses of averaged weights: predicted from raw losses where the run's own averages agree, refused elsewhere."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import laju
from laju.forecast import ending, fit_averages
from laju.forecast.averages import LAG, POWER, WINDOWS

TOTAL = 10_000
RUN = laju.wsd(1e-3, total=TOTAL, cooldown=4_000, final=2e-4)
AT = np.arange(200, TOTAL + 1, 200)


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[2] / "benchmarks"), *sys.path])
    return importlib.import_module("averaging_law")


def raw(at: np.ndarray) -> np.ndarray:
    return 3 + (at / 1000) ** -0.5


def blocks(at: np.ndarray, window: int, gain: float = 0.03) -> np.ndarray:
    """The law's own averages of blocks, each until the next is complete; NaN before the first."""
    rates = RUN.values(TOTAL)
    found = []
    for t in at // window * window:
        if not t:
            found.append(np.nan)
            continue
        share = rates[t - window : t].mean() / rates.max()
        now, before = raw(np.array([t, max(t - window, 1)]))
        found.append(now * (1 - gain * share**POWER + LAG * (before / now - 1)))
    return np.array(found)


def test_averages_of_the_shared_runs_are_predicted_within_the_mark(shared: Path, benchmark: ModuleType) -> None:
    runs = benchmark.shared(shared / "data" / "loss-curves" / "llama-124m")
    assert len(runs) == 19
    for cut in (0.5, 0.7):
        errors = [off for run in runs if len(off := run.errors(cut))]
        assert len(errors) >= 12
        assert max(float(np.abs(off).max()) for off in errors) <= benchmark.MARK


def test_the_ends_of_shared_runs_lie_in_the_bands(shared: Path, benchmark: ModuleType) -> None:
    runs = {run.name: run for run in benchmark.shared(shared / "data" / "loss-curves" / "llama-124m")}
    for name in ("s164", "s166"):  # a constant rate, and a cosine
        run = runs[name]
        seen = run.updates <= 0.7 * run.updates[-1]
        law = fit_averages(run.updates[seen], run.raw[seen], run.averaged[seen], run.rates)
        end = law.ending(ending(run.updates[seen], run.raw[seen], run.rates, prior="adamw-language"), run.rates)
        assert end.refused is None
        assert end.low <= run.averaged[-1] <= end.high


def test_a_language_model_of_other_size_is_predicted_or_refused(benchmark: ModuleType) -> None:
    folder = Path(__file__).parent / "averages"
    ema, uniform = benchmark.logs([folder / "cosine.csv"])
    for run, cut in ((ema, 0.85), (uniform, 0.7), (uniform, 0.85)):
        off = run.errors(cut)
        assert len(off) >= 4
        assert abs(off.mean()) <= 0.002
        assert np.abs(off).max() <= benchmark.MARK
    # At a rate of 3e-3 to the end each raw loss has noise of half a percent, from which no gain can be told.
    for run in benchmark.logs([folder / "constant.csv"]):
        seen = run.updates <= 0.7 * run.updates[-1]
        law = fit_averages(run.updates[seen], run.raw[seen], run.averaged[seen], run.rates)
        assert law.gain is None
        assert "off by" in str(law.refused)


@pytest.mark.parametrize("window", [300, 500, 700])
@pytest.mark.parametrize("first", [0, 17])
def test_the_window_is_found_where_averages_stand_still(window: int, first: int) -> None:
    at = AT[first:] if window > 300 else np.arange(100, TOTAL + 1, 100)[first:]
    law = fit_averages(at, raw(at), blocks(at, window), RUN)
    assert law.window == window
    assert law.gain == pytest.approx(0.03, abs=1e-3)


def test_the_law_returns_what_it_was_made_of() -> None:
    at = np.arange(500, TOTAL + 1, 500)
    law = fit_averages(at, raw(at), blocks(at, 500), RUN, window=500)
    assert law.gain == pytest.approx(0.03, rel=1e-9)
    found = law.predict(at, raw(at), RUN)
    late = at >= WINDOWS * 500
    np.testing.assert_allclose(found[late], blocks(at, 500)[late], rtol=1e-12)
    assert np.isnan(found[~late]).all()


def test_what_says_too_little_is_refused() -> None:
    few = fit_averages(AT, raw(AT), np.where(AT > TOTAL - 500, raw(AT) * 0.97, np.nan), RUN)
    assert "3 averages" in str(few.refused)
    # Smoothed losses lag above a falling loss.
    smoothed = np.convolve(np.pad(raw(AT), (4, 0), "edge"), np.full(5, 0.2), "valid")
    assert "not below" in str(fit_averages(AT, raw(AT), smoothed, RUN).refused)
    none = fit_averages(AT, raw(AT), np.full(len(AT), np.nan), RUN)
    assert "0 averages" in str(none.refused)
    with pytest.raises(ValueError, match="a refused law cannot predict"):
        none.predict(AT, raw(AT), RUN)


def test_the_end_of_a_deep_cooldown_is_refused() -> None:
    deep = laju.wsd(1e-3, total=TOTAL, cooldown=4_000)
    seen = AT <= 6_000
    law = fit_averages(AT[seen], raw(AT)[seen], raw(AT)[seen] * 0.97, deep)
    held = laju.warmup(1e-3, 1).take(TOTAL)
    forecast = ending(AT[seen], raw(AT)[seen], held, prior=None)
    assert law.ending(forecast, held).refused is None
    found = law.ending(forecast, deep)
    assert found.value is None
    assert "0% of the peak" in str(found.refused)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"averaged": [1.0]}, "updates and averaged must have the same length"),
        ({"losses": ["a"] * len(AT)}, "losses must be a sequence of numbers"),
        ({"losses": np.full(len(AT), np.nan)}, "losses must have a positive number"),
        ({"updates": AT[::-1]}, "updates must increase"),
        ({"window": 0}, "window must be"),
        ({"rates": [0.1]}, "one rate for each"),
    ],
)
def test_bad_input_is_named(change: dict[str, object], said: str) -> None:
    arguments: dict[str, object] = {"updates": AT, "losses": raw(AT), "averaged": raw(AT) * 0.97, "rates": RUN}
    with pytest.raises(ValueError, match=said):
        fit_averages(**{**arguments, **change})  # type: ignore[arg-type]
