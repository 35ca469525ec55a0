"""Moving averages are told from raw losses."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

import laju
from laju.forecast import ending
from laju.forecast.smoothed import averaged

N = 400
CURVE = 3 + np.arange(1, N + 1) ** -0.5


def exponential(losses: np.ndarray, memory: float) -> np.ndarray:
    found = losses.copy()
    for i in range(1, len(found)):
        found[i] = memory * found[i - 1] + (1 - memory) * losses[i]
    return found


def window(losses: np.ndarray, rows: int) -> np.ndarray:
    return np.array([losses[max(0, i - rows + 1) : i + 1].mean() for i in range(len(losses))])


@pytest.mark.parametrize("smooth", [lambda y: exponential(y, 0.9), lambda y: window(y, 5), lambda y: window(y, 30)])
def test_averages_of_noisy_losses_are_told_and_the_losses_themselves_are_not(smooth: object) -> None:
    told = [averaged(smooth(noisy(seed))) for seed in range(40)]  # type: ignore[operator]
    assert np.mean(told) >= 0.85
    assert not any(averaged(noisy(seed)) for seed in range(40))
    assert not averaged(CURVE)  # smooth by nature


def noisy(seed: int) -> np.ndarray:
    return CURVE * np.random.default_rng(seed).normal(1, 0.004, N)


def test_an_answer_says_that_its_losses_are_averages() -> None:
    at, run = np.arange(5, 5 * N + 1, 5), laju.cosine(0.1, total=6 * N)
    notes = [ending(at, values, run, prior=None).notes for values in (noisy(0), window(noisy(0), 20))]
    assert ["moving average" in " ".join(note) for note in notes] == [False, True]


def test_no_measured_curve_is_taken_for_an_average(monkeypatch: pytest.MonkeyPatch) -> None:
    if not os.environ.get("LAJU_SHARED"):
        pytest.skip("LAJU_SHARED does not name the folder with data/loss-curves")
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[2] / "benchmarks"), *sys.path])
    import forecast_endings as measured

    cases = [*measured.nanogpt(), *measured.algoperf(), *measured.llama(), *measured.multi_power()]
    assert not [c.curve.name for c in cases if averaged(c.curve.loss)]
