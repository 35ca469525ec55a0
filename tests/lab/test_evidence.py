"""Nothing is said of a difference that its interval does not carry, and intervals stay within what is possible."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from scipy import stats

import laju
from laju.lab import Comparison, Optimizer, Outcome, Record
from laju.lab.report import figures
from laju.lab.report.html import page
from laju.lab.statistics import (
    ACCURACY,
    LOSS,
    Estimate,
    Evidence,
    claim,
    estimate,
    evidence,
    joint_difference,
    opening,
    paired_difference,
    rank,
    settled,
    verdict,
)

PLAN = laju.RunPlan(samples=100, batch_size=10, epochs=3)
IMAGES = 100
Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


def beta(mean: float, sd: float) -> Draw:
    """Accuracies of that mean and standard deviation; near 1 they are skewed, as real ones are."""
    size = mean * (1 - mean) / sd**2 - 1
    return lambda rng, shape: rng.beta(mean * size, (1 - mean) * size, shape)


def share_that_holds(draw: Draw, mean: float, n: int, bounds: tuple[float, float]) -> tuple[float, float]:
    """How often the interval of `n` values holds the true mean, and how often Student's interval, cut off at the bounds, does."""
    rng = np.random.default_rng(n)
    found = [estimate(values, bounds=bounds) for values in draw(rng, (4000, n))]
    ours = [e.low <= mean <= e.high for e in found]  # type: ignore[union-attr, operator]
    cut = [abs(e.mean - mean) <= e.half_width for e in found]  # type: ignore[union-attr, operator]
    return float(np.mean(ours)), float(np.mean(cut))


# --- bounded intervals -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize(("mean", "sd"), [(0.65, 0.1), (0.9, 0.01), (0.98, 0.01), (0.98, 0.02), (0.995, 0.004)])
def test_the_interval_of_an_accuracy_holds_the_true_one_about_as_often_as_it_says(
    mean: float, sd: float, n: int
) -> None:
    ours, cut = share_that_holds(beta(mean, sd), mean, n, ACCURACY)
    assert 0.92 <= ours <= 0.965
    if (1 - mean) < 2 * sd:  # near the bound, where Student's interval, cut off there, holds it less often
        assert cut < ours - 0.01


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("sigma", [0.2, 0.5])
def test_the_interval_of_a_loss_holds_the_true_one_about_as_often_as_it_says(sigma: float, n: int) -> None:
    def draw(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        return np.exp(rng.normal(0, sigma, shape))

    ours, cut = share_that_holds(draw, math.exp(sigma**2 / 2), n, LOSS)
    assert 0.92 <= ours <= 0.965
    assert ours >= cut


@given(st.lists(st.integers(0, IMAGES), min_size=1, max_size=8), st.sampled_from([0.0, 1 / IMAGES]))
@example([IMAGES] * 3, 1 / IMAGES)
@example([0, 0, 0], 1 / IMAGES)
@example([0, IMAGES, 0], 0.0)
def test_an_interval_of_accuracies_lies_in_0_to_1_about_its_mean(right: list[int], resolution: float) -> None:
    found = estimate([r / IMAGES for r in right], bounds=ACCURACY, resolution=resolution)
    assert found is not None
    if len(right) < 3:
        assert found.low is found.high is found.half_width is None
        return
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low <= found.mean + 1e-12
    assert found.mean - 1e-12 <= found.high <= 1
    if resolution:
        assert found.low < found.high  # seeds that agree by coarseness know no mean exactly


@given(st.lists(st.floats(0, 1e3), min_size=3, max_size=8))
def test_an_interval_of_losses_is_not_negative(losses: list[float]) -> None:
    found = estimate(losses, bounds=LOSS)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low <= found.mean * (1 + 1e-12)
    assert found.mean <= found.high * (1 + 1e-12)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=8))
def test_an_interval_of_differences_lies_in_minus_1_to_1_and_excludes_zero_as_the_t_test_does(
    pairs: list[tuple[float, float]],
) -> None:
    a, b = ([pair[i] for pair in pairs] for i in (0, 1))
    found, free = paired_difference(a, b, bounds=ACCURACY), paired_difference(a, b)
    assert found is not None
    assert free is not None
    assert found.low is not None
    assert found.high is not None
    assert -1 <= found.low <= found.high <= 1
    assert found.excludes_zero == free.excludes_zero
    if found.excludes_zero:
        assert found.low > 0 or found.high < 0


def test_values_that_are_impossible_are_refused() -> None:
    with pytest.raises(ValueError, match="values must lie within bounds"):
        estimate([0.5, 1.2, 0.4], bounds=ACCURACY)
    with pytest.raises(ValueError, match="values must lie within bounds"):
        estimate([-0.1, 0.2, 0.4], bounds=LOSS)


def test_few_values_are_shown_as_they_are_and_many_with_an_interval() -> None:
    def text(*values: float) -> str:
        found = estimate(values, bounds=ACCURACY)
        assert found is not None
        return found.text()

    assert text(0.907) == "0.907"
    assert text(0.907, 0.861) == "0.907, 0.861"
    assert text(0.49, 0.50, 0.51) == "0.500 ± 0.025"
    assert text(0.97, 0.99, 0.98) == "0.980 (0.932 … 0.994)"
    assert text(1.0, 1.0, 1.0) == "1.000"
    found = estimate([0.907, 0.861], bounds=ACCURACY)
    assert found is not None
    assert found.to_json() == {
        "mean": pytest.approx(0.884),
        "low": None,
        "high": None,
        "half_width": None,
        "n": 2,
        "values": [0.907, 0.861],
    }


# --- the gate ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=8), st.integers(1, 10))
def test_a_difference_is_shown_exactly_where_the_t_test_for_all_of_them_together_shows_it(
    images: list[int], comparisons: int
) -> None:
    differences = [i / IMAGES for i in images]
    found = joint_difference(differences, [0.0] * len(images), comparisons, bounds=ACCURACY)
    n, spread = len(images), np.std(images, ddof=1) if len(images) > 1 else 0.0
    shown = n >= 3 and spread > 0 and bool(stats.ttest_1samp(images, 0).pvalue < 0.05 / comparisons)
    assert (evidence(found) is Evidence.SHOWN) == shown
    words = claim(found, above="more", below="less", otherwise="open")
    assert words == ("open" if not shown else "more" if sum(images) > 0 else "less")


def test_two_seeds_show_nothing_whatever_interval_somebody_made_of_them() -> None:
    assert evidence(Estimate(0.3, 0.01, 2)) is Evidence.AHEAD
    assert evidence(joint_difference([0.9, 0.91], [0.1, 0.1], 1)) is Evidence.AHEAD
    assert evidence(joint_difference([0.3, 0.1 + 0.2], [0.1 + 0.2, 0.3], 1)) is Evidence.OPEN
    assert evidence(None) is Evidence.OPEN


@pytest.mark.slow
def test_equal_schedules_are_called_the_best_in_no_more_than_1_of_20_rankings() -> None:
    rng = np.random.default_rng(0)
    for schedules in (2, 4):
        decided = 0
        for _ in range(400):
            y = rng.normal(size=(5, 1)) + rng.normal(size=(5, schedules))
            found = rank({str(i): dict(enumerate(map(float, y[:, i]))) for i in range(schedules)})
            assert found is not None
            decided += found.decided
        assert decided / 400 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


@pytest.mark.slow
def test_the_true_best_is_among_the_best_and_its_rivals_in_95_of_100() -> None:
    rng, means = np.random.default_rng(1), np.array([0.0, 0.0, 0.5, 1.0, 1.2])
    kept = 0
    for _ in range(400):
        y = means + rng.normal(size=(4, 5))
        found = rank({str(i): dict(enumerate(map(float, y[:, i]))) for i in range(5)})
        assert found is not None
        kept += "4" in (found.best, *found.rivals)
    assert kept / 400 >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / 400)


def test_seeds_that_all_differ_by_one_image_decide_nothing() -> None:
    image = 1 / 360
    ours, theirs = {0: 0.9, 1: 0.8, 2: 0.7}, {0: 0.9 - image, 1: 0.8 - image, 2: 0.7 - image}
    for resolution in (0.0, image):
        found = rank({"ours": ours, "theirs": theirs}, resolution=resolution, bounds=ACCURACY)
        assert found is not None
        assert (found.best, found.rivals) == ("ours", ("theirs",))
    clear = rank({"ours": ours, "theirs": {s: v - 100 * image for s, v in ours.items()}}, resolution=image)
    assert clear is not None
    assert clear.decided


def test_a_smaller_loss_is_the_better_one() -> None:
    losses = {"a": {0: 0.1, 1: 0.11, 2: 0.1}, "b": {0: 0.5, 1: 0.52, 2: 0.5}}
    found = rank(losses, smallest=True, bounds=LOSS)
    assert found is not None
    assert (found.best, found.decided) == ("a", True)
    assert found.lead is not None
    assert found.lead.mean == pytest.approx(0.4, abs=0.01)


def test_a_verdict_says_what_is_ahead_and_asks_for_seeds_that_the_power_says() -> None:
    close = {"a": {0: 0.91, 1: 0.92, 2: 0.93}, "b": {0: 0.90, 1: 0.93, 2: 0.91}}
    found = rank(close, bounds=ACCURACY)
    assert found is not None
    assert found.nearest is not None
    assert found.nearest.spread == pytest.approx(np.std([0.01, -0.01, 0.02], ddof=1))
    needed = laju.lab.seeds_needed(0.01, found.nearest.spread)
    text = verdict(found, "rate", "laju study fixed-rates …")
    assert text.startswith(f"No rate is shown to be the best: {opening(found)}; about {needed} seeds would show")
    assert text.endswith(f"(laju study fixed-rates … --seeds {needed}).")
    same = rank({"a": close["a"], "b": close["a"]})
    assert same is not None
    assert "level are a and b (0.920) after 3 seeds" in verdict(same, "rate", "x")
    alone = rank({"a": close["a"]})
    assert alone is not None
    assert verdict(alone, "rate", "x") == "There is no other rate to compare with: a (0.920)."


def test_where_the_seeds_would_have_shown_the_difference_a_smaller_one_is_asked_about() -> None:
    small = estimate([0.001, -0.001, 0.002, 0.0, -0.002])
    assert small is not None
    assert small.spread is not None
    text = settled(small, "x", 0.01)
    size = float(text.partition("a difference of ")[2].split()[0])
    seeds = int(text.partition("about ")[2].split()[0])
    assert size in (0.005, 0.0025, 0.00125, 0.000625)
    assert seeds == laju.lab.seeds_needed(size, small.spread) > 5
    assert laju.lab.seeds_needed(2 * size, small.spread) <= 5


# --- comparisons -------------------------------------------------------------------------------------------------------


def compared(accuracies: dict[str, list[int | None]], **changes: object) -> Comparison:
    """A comparison whose trials ended at so many of 100 test images; None diverged."""
    outcomes = {}
    for name, images in accuracies.items():
        for seed, right in enumerate(images):
            if right is None:
                outcomes[name, seed] = Outcome("diverged", (), 1.0, 3)
            else:
                records = tuple(Record(10 * e, float(e), 0.1, 1 / e, right / IMAGES, right / IMAGES) for e in (1, 2, 3))
                outcomes[name, seed] = Outcome("finished", records, 1.0)
    seeds = tuple(range(len(next(iter(accuracies.values())))))
    schedules = {name: laju.constant(0.1 * (i + 1)) for i, name in enumerate(accuracies)}
    fields = {"guessing": 0.1, "resolution": 1 / IMAGES, "tuned": True, **changes}
    return Comparison("digits", schedules, PLAN, Optimizer(), seeds, outcomes, **fields)  # type: ignore[arg-type]


def drawn(seeds: int) -> st.SearchStrategy[dict[str, list[int | None]]]:
    rights = st.lists(st.one_of(st.integers(10, IMAGES), st.none()), min_size=seeds, max_size=seeds)
    return st.fixed_dictionaries(dict.fromkeys(("first", "second", "third"), rights))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5).flatmap(drawn))
@example({"first": [80, 81, 80, 82], "second": [95, 97, 96, 96], "third": [60, 61, 62, 61]})
@example({"first": [80, 81, 80, 82], "second": [95, 97, None, 96], "third": [60, 61, 62, 61]})
@example({"first": [80, 81], "second": [95, 96], "third": [60, 61]})
def test_a_comparison_claims_a_difference_exactly_where_its_interval_excludes_zero(
    accuracies: dict[str, list[int | None]],
) -> None:
    found = compared(accuracies)
    text = found.findings().verdict
    ranking = rank(
        {
            name: {seed: 0.1 if right is None else right / IMAGES for seed, right in enumerate(images)}
            for name, images in accuracies.items()
        },
        resolution=1 / IMAGES,
        bounds=ACCURACY,
    )
    assert ranking is not None
    if any(right is not None for images in accuracies.values() for right in images):
        assert ("hown to be the best by test accuracy is" in text) == ranking.decided
        assert ("o schedule is shown to be the best" in text) == (not ranking.decided)
    for row in found.summary():
        lost = {name: any(right is None for right in accuracies[name]) for name in (row.name, "first")}
        joint = row.joint
        shown = joint is not None and joint.excludes_zero and joint.n >= 3
        allowed = joint is not None and not lost[row.name if joint.mean > 0 else "first"]
        assert row.differs == (shown and allowed)
    if len(next(iter(accuracies.values()))) < 3:
        assert not any(row.differs or row.p_value is not None for row in found.summary())
        assert "±" not in text
    if not ranking.decided and "no trial finished" not in text.lower():
        for word, sign in (("better", 1), ("worse", -1)):
            named = [row.name for row in found.summary() if row.differs and row.joint and sign * row.joint.mean > 0]
            assert (f"shown to be {word} than first" in text) == bool(named)


def test_a_schedule_that_lost_seeds_is_not_called_better_by_those_that_are_left() -> None:
    whole = compared({"first": [80, 81, 80, 82], "other": [95, 97, 96, 96]})
    lost = compared({"first": [80, 81, 80, 82], "other": [95, 97, 96, None]})
    worse = compared({"first": [80, 81, 80, 82], "other": [60, 61, 60, None]})
    assert [c.summary()[1].differs for c in (whole, lost, worse)] == [True, False, True]
    assert (
        whole.findings().verdict
        == "Shown to be the best by test accuracy is other (0.960), ahead of first by 0.152 ± 0.016."
    )


def test_one_schedule_in_two_frameworks_is_told_apart_only_beyond_its_interval() -> None:
    def frameworks(jax: list[int | None]) -> Comparison:
        found = compared({"a (torch)": [80, 82, 81], "a (jax)": jax})
        same = dict.fromkeys(found.schedules, laju.constant(0.1))
        return replace(found, schedules=same, frameworks={"a (torch)": "torch", "a (jax)": "jax"})

    assert frameworks([81, 80, 83]).findings().verdict == "3 seeds tell no framework from torch: jax (+0.003 ± 0.052)."
    assert (
        frameworks([60, 62, 61])
        .findings()
        .verdict.startswith("Shown to differ from torch in test accuracy: jax (-0.200")
    )


def test_what_was_not_run_is_said_so() -> None:
    nothing = compared({"a": [None, None, None], "b": [None, None, None]})
    assert nothing.findings().verdict == "No trial finished, so there is nothing to compare."
    full = compared({"a": [80, 81, 82], "b": [83, 84, 85]})
    half = replace(full, outcomes={key: o for key, o in full.outcomes.items() if key[0] == "a"})
    assert half.findings().verdict == "No seed was run with every schedule, so there is nothing to compare."
    assert compared({"a": [80, 81, 82]}).findings().verdict == "There is nothing to compare a (0.810) with."
    assert full.findings().to_json()["verdict"] == full.findings().verdict


def test_a_verdict_that_begins_with_a_schedules_name_has_the_name_as_given() -> None:
    found = compared({"a": [90, 91, 92, 90, 91], "wsd": [50, 51, 52, 50, 51], "b": [90, 92, 91, 91, 90]})
    assert found.findings().verdict.startswith("wsd is shown to be worse than a; no schedule is shown to be the best")


def test_the_page_begins_with_the_verdict() -> None:
    found = compared({"a": [80, 81, 82], "b": [83, 79, 85]})
    html = page(
        found.findings(), verdict=found.findings(command="laju chapter …").verdict, command="laju chapter --seeds 3"
    )
    assert ('class="better"' in html or 'class="worse"' in html) == any(row.differs for row in found.summary())
    assert found.findings(command="laju chapter …").verdict.partition(" (laju")[0] in html
    assert html.index("<h1>") < html.index("laju chapter --seeds 3") < html.index('<dl class="facts">')
    assert "<code>laju chapter … --seeds " in html


# --- pictures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("panel", ["train_loss", "train_accuracy", "test_accuracy"])
def test_no_band_leaves_what_is_possible(panel: str) -> None:
    figure = Figure()
    ax = figure.subplots()
    figures.draw(ax, compared({"a": [100, 60, 99], "b": [100, 100, 98], "c": [5, 1, 30]}), panel)
    heights = np.concatenate([path.vertices[:, 1] for band in ax.collections for path in band.get_paths()])
    assert heights.size
    assert heights.min() >= 0
    if panel != "train_loss":
        assert heights.max() <= 1


def test_two_seeds_have_no_band() -> None:
    figure = Figure()
    ax = figure.subplots()
    figures.draw(ax, compared({"a": [80, 60], "b": [70, 75]}), "test_accuracy")
    for band in ax.collections:
        for path in band.get_paths():
            assert all(len(set(path.vertices[path.vertices[:, 0] == x, 1])) <= 1 for x in (1.0, 2.0, 3.0))
    assert all(a < b for a, b in pairwise(ax.get_ylim()))
