import dataclasses
import json

import pytest

from laju.studies import STUDIES, Options, run, write


@pytest.fixture(scope="module")
def answer():
    return run("sampling", Options(small=True))


def test_the_chains_on_a_gaussian_have_the_exact_moments(answer):
    gaussian = answer.figures["gaussian"]
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


def test_the_divergence_is_found_with_its_reason(answer):
    lost = answer.figures["divergence"]
    assert lost["step"] == 4.2
    assert lost["curvature"] == pytest.approx(1, rel=1e-3)
    assert lost["stationary_variance"]["0.5"] == pytest.approx(8 / 7)


def test_the_decreasing_step_samples_the_regression_and_the_others_do_not(answer):
    runs = answer.figures["regression"]["runs"]
    decay = runs["Welling & Teh"]
    assert decay["sd_ratio"] == pytest.approx(1, abs=0.2)
    assert decay["mean_off_in_sd"] < 0.3
    assert runs["constant, large"]["sd_ratio"] > 1.25
    assert runs["exponential, sum finite"]["mean_off_in_sd"] > 0.8
    assert runs["Welling & Teh, T = 0"]["sd_ratio"] < 0.6


def test_restarts_find_modes_that_a_decay_does_not(answer):
    mixture = answer.figures["mixture"]
    assert min(mixture["cyclical"]["modes_found"]) >= 6
    assert max(mixture["Welling & Teh"]["modes_found"]) <= 3
    assert max(mixture["cyclical"]["rhat"]) < max(mixture["Welling & Teh"]["rhat"])


def test_the_answer_is_made_of_its_figures_and_can_be_written(answer, tmp_path):
    assert answer.question == STUDIES["sampling"]
    files = write(answer, tmp_path)
    assert [file.name for file in files] == [
        "answer.md",
        "sampling-a-gaussian.png",
        "sampling-a-regression.png",
        "sampling-25-gaussians.png",
        "figures.json",
    ]
    assert all(file.stat().st_size > 1000 for file in files)
    figures = json.loads(files[-1].read_text())
    page = files[0].read_text()
    assert f"{figures['gaussian']['constant 0.5']['variance_of_second_half']:.4f}" in page
    assert f"{figures['regression']['runs']['Welling & Teh']['sd_ratio']:.2f}" in page


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": 3}, "counts updates, not epochs; leave epochs out, got 3"),
        ({"seeds": 1}, "seeds must be at least 2, because R-hat compares chains, got 1"),
        ({"task": "digit"}, "unknown task 'digit'; did you mean 'digits'"),
    ],
)
def test_options_that_it_cannot_use_are_named(changes, said):
    with pytest.raises(ValueError, match=said):
        run("sampling", dataclasses.replace(Options(small=True), **changes))
