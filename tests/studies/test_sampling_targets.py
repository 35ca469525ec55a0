"""Langevin dynamics on the targets whose answers are known."""

from __future__ import annotations

from typing import Any

import pytest

from laju.studies import Options
from laju.studies.sampling.targets import sample_targets


@pytest.fixture(scope="module")
def figures() -> dict[str, Any]:
    return sample_targets(Options(small=True)).figures


def test_the_chains_on_a_gaussian_have_the_exact_moments(figures: dict[str, Any]) -> None:
    gaussian = figures["gaussian"]
    assert all(own["agrees"] for own in gaussian.values())
    half = gaussian["constant 0.5"]
    assert half["exact_variance"] == pytest.approx(8 / 7)
    assert half["variance_of_second_half"] == pytest.approx(8 / 7, rel=0.03)
    assert gaussian["constant 2"]["variance_of_second_half"] == pytest.approx(2, rel=0.03)
    assert gaussian["Welling & Teh, from 0.5"]["exact_variance"] == pytest.approx(1, abs=0.02)
    assert gaussian["exponential, sum finite"]["start_left"] > 0.4
    cold = gaussian["cosine without noise (T = 0)"]
    assert abs(cold["mean"]) < 1e-6
    assert cold["variance"] < 1e-12


def test_the_divergence_is_found_with_its_reason(figures: dict[str, Any]) -> None:
    lost = figures["divergence"]
    assert lost["step"] == 4.2
    assert lost["curvature"] == pytest.approx(1, rel=1e-3)
    assert lost["stationary_variance"]["0.5"] == pytest.approx(8 / 7)


def test_the_decreasing_step_samples_the_regression_and_the_others_do_not(figures: dict[str, Any]) -> None:
    runs = figures["regression"]["runs"]
    decay = runs["Welling & Teh"]
    assert decay["sd_ratio"] == pytest.approx(1, abs=0.2)
    assert decay["mean_off_in_sd"] < 0.3
    assert runs["constant, large"]["sd_ratio"] > 1.25
    assert runs["exponential, sum finite"]["mean_off_in_sd"] > 0.8
    assert runs["Welling & Teh, T = 0"]["sd_ratio"] < 0.6


def test_restarts_find_modes_that_a_decay_does_not(figures: dict[str, Any]) -> None:
    mixture = figures["mixture"]
    assert min(mixture["cyclical"]["modes_found"]) >= 6
    assert max(mixture["Welling & Teh"]["modes_found"]) <= 3
    assert max(mixture["cyclical"]["rhat"]) < max(mixture["Welling & Teh"]["rhat"])
