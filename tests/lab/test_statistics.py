"""The statistics of a comparison hold what they promise: against SciPy, and in simulations whose truth is known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, stats
from sklearn.metrics import auc

from laju.lab import seeds_needed
from laju.lab.statistics import (
    area_under_curve,
    estimate,
    holm,
    joint_difference,
    paired_difference,
    paired_p_value,
    paired_power,
    probability_best,
    rank_intervals,
    sd_interval,
)


def simulated(
    seed: int, means: np.ndarray, n: int = 3, shared: float = 0.7, uneven: float = 0.8
) -> tuple[np.random.Generator, np.ndarray]:
    """Scores of n seeds: what seeds share, and noise of which each schedule has its own amount."""
    rng = np.random.default_rng(seed)
    spreads = np.exp(rng.normal(0, uneven, means.size))
    spreads /= spreads.mean()
    return rng, means + shared * rng.normal(size=(n, 1)) + spreads * rng.normal(size=(n, means.size))


# --- intervals and their correction ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 5])
def test_an_interval_holds_the_true_difference_as_often_as_it_says(n: int) -> None:
    held = 0
    for i in range(1500):
        _, y = simulated(i, np.array([0.0, 1.0]), n)
        found = paired_difference(list(y[:, 1]), list(y[:, 0]))
        assert found is not None
        assert found.half_width is not None
        held += abs(found.mean - 1) <= found.half_width
    assert held / 1500 == pytest.approx(0.95, abs=0.02)


def test_a_p_value_is_that_of_scipys_paired_t_test() -> None:
    _, y = simulated(1, np.array([0.0, 0.5]), 6)
    found = paired_p_value(list(y[:, 0]), list(y[:, 1]))
    assert found == pytest.approx(stats.ttest_rel(y[:, 0], y[:, 1]).pvalue)


def test_values_without_a_spread_of_their_differences_tell_nothing() -> None:
    assert paired_p_value([0.8], [0.7]) is None
    assert paired_p_value([0.8, 0.9, 0.7], [0.7, 0.8, 0.6]) is None  # though 0.9 - 0.8 is not 0.8 - 0.7 in binary
    assert paired_p_value([0.8, 0.9, 0.7], [0.8, 0.9, 0.7]) == 1.0
    assert paired_p_value([0.8, 0.9], [0.7, 0.81]) is None  # two seeds are no spread to tell by
    with pytest.raises(ValueError, match="2 and 1"):
        paired_p_value([1, 2], [1])


def test_holm_is_the_closure_of_bonferronis_test() -> None:
    # A hypothesis is rejected when Bonferroni rejects every set of hypotheses that holds it.
    rng = np.random.default_rng(0)
    for _ in range(50):
        p = list(rng.uniform(0, 0.3, size=5))
        sets = [s for k in range(1, 6) for s in itertools.combinations(range(5), k)]
        for i, adjusted in enumerate(holm(p)):
            assert adjusted == pytest.approx(max(min(1.0, len(s) * min(p[j] for j in s)) for s in sets if i in s))


def test_p_values_that_are_unknown_stay_so_and_do_not_count() -> None:
    assert holm([None, 0.02, None, 0.03]) == [None, 0.04, None, 0.04]
    assert holm([]) == []
    with pytest.raises(ValueError, match=r"1\.5"):
        holm([0.1, 1.5])


def test_of_six_equal_schedules_one_is_called_different_no_more_than_1_time_in_20() -> None:
    tries, corrected, uncorrected, outside = 1500, 0, 0, 0
    for i in range(tries):
        _, y = simulated(i, np.zeros(6))
        first = list(y[:, 0])
        p = [paired_p_value(list(y[:, j]), first) for j in range(1, 6)]
        uncorrected += any(x is not None and x < 0.05 for x in p)
        corrected += any(x is not None and x < 0.05 for x in holm(p))
        joint = [joint_difference(list(y[:, j]), first, 5) for j in range(1, 6)]
        outside += any(d is not None and d.excludes_zero for d in joint)
    # 0.05 within three standard errors; without the correction it is about four times as often.
    assert corrected / tries <= 0.067
    assert outside == corrected  # Holm's first step is Bonferroni's
    assert uncorrected / tries > 0.12


def test_a_pooled_spread_would_see_differences_that_are_not_there() -> None:
    # Dunnett's test, the usual alternative to Holm's: exact when all spreads are equal, which those of schedules are not.
    rng = np.random.default_rng(0)
    z, chi2 = rng.normal(size=(100_000, 6)), rng.chisquare(10, size=(100_000, 1))
    critical = np.quantile(np.abs((z[:, 1:] - z[:, :1]) / np.sqrt(2 * chi2 / 10)).max(axis=1), 0.95)

    def wrong(uneven: float) -> float:
        count = 0
        for i in range(1500):
            _, y = simulated(i, np.zeros(6), uneven=uneven)
            rest = y - y.mean(axis=0) - y.mean(axis=1, keepdims=True) + y.mean()
            error = math.sqrt(2 * (rest**2).sum() / 10 / 3)
            count += np.abs(y[:, 1:].mean(axis=0) - y[:, 0].mean()).max() / error > critical
        return count / 1500

    assert wrong(0.0) == pytest.approx(0.05, abs=0.017)
    assert wrong(0.8) > 0.08


def test_a_joint_interval_of_one_comparison_is_the_plain_one() -> None:
    a, b = [0.9, 0.8, 0.85], [0.7, 0.75, 0.8]
    assert joint_difference(a, b, 1) == paired_difference(a, b)
    wide, plain = joint_difference(a, b, 5), estimate(x - y for x, y in zip(a, b, strict=True))
    assert wide is not None
    assert plain is not None
    assert wide.half_width / plain.half_width == pytest.approx(stats.t.ppf(0.995, 2) / stats.t.ppf(0.975, 2))  # type: ignore[operator]
    with pytest.raises(ValueError, match="comparisons"):
        joint_difference(a, b, 0)
    with pytest.raises(ValueError, match="confidence"):
        joint_difference(a, b, 2, confidence=95)


# --- ranks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("means", [np.zeros(5), np.arange(5.0), np.array([0.0, 0, 2, 2, 9])])
def test_a_rank_interval_holds_the_true_rank_in_95_of_100(means: np.ndarray) -> None:
    tries = 400
    held = np.zeros(5)
    for i in range(tries):
        _, y = simulated(i, means)
        for j, (low, high) in enumerate(rank_intervals(y)):
            # Of equal means every order is true.
            best, worst = 1 + (means > means[j]).sum(), (means >= means[j]).sum()
            held[j] += low <= best and worst <= high
    assert held.min() / tries >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / tries)


def test_ranks_are_certain_where_means_are_far_apart_and_open_where_nothing_is_known() -> None:
    _, y = simulated(0, np.array([0.0, 300, 200, 100]), 5)
    assert rank_intervals(y) == [(4, 4), (1, 1), (2, 2), (3, 3)]
    assert rank_intervals([[0.1, 0.9]]) == [(1, 2), (1, 2)]
    assert rank_intervals([[0.1], [0.2]]) == [(1, 1)]


@pytest.mark.parametrize("rank", [rank_intervals, probability_best])
@pytest.mark.parametrize(
    ("scores", "message"), [([0.1, 0.2], "shape"), ([[]], "empty"), ([[0.1, math.nan]], "accuracy of guessing")]
)
def test_scores_that_cannot_be_ranked_are_refused(rank, scores: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rank(scores)


def test_of_two_the_probability_is_the_integral_over_both_posteriors() -> None:
    y = np.array([[0.80, 0.83], [0.84, 0.85], [0.81, 0.80], [0.79, 0.83]])
    found = probability_best(y)
    assert found is not None
    # Each spread is that of the rest after the seed's mean, doubled in square: s of the differences over √2.
    scale = (y[:, 0] - y[:, 1]).std(ddof=1) / math.sqrt(2) / 2
    a, b = (stats.t(3, loc=m, scale=scale) for m in y.mean(axis=0))
    exact, _ = integrate.quad(lambda x: b.pdf(x) * a.cdf(x), 0.5, 1.1, points=list(y.mean(axis=0)))
    assert found[1] == pytest.approx(exact, abs=0.01)
    assert sum(found) == pytest.approx(1)


def test_the_probability_of_being_best_is_about_as_often_right_and_a_bootstrap_far_less() -> None:
    tries, sure, right, bootstrap = 300, 0.0, 0, 0.0
    for i in range(tries):
        rng = np.random.default_rng(10_000 + i)
        means = rng.normal(0, 0.5, 6)
        rng, y = simulated(i, means, uneven=0)
        found = probability_best(y)
        assert found is not None
        sure += max(found)
        right += int(np.argmax(found)) == int(means.argmax())
        winners = y[rng.integers(0, 3, (300, 3))].mean(axis=1).argmax(axis=1)
        bootstrap += np.bincount(winners, minlength=6).max() / 300
    assert sure / tries == pytest.approx(right / tries, abs=0.1)
    assert bootstrap / tries > right / tries + 0.12


def test_what_seeds_share_does_not_hide_which_is_best() -> None:
    rng = np.random.default_rng(0)
    y = np.array([0.0, 0.03, 0.0]) + rng.normal(0.8, 0.05, (5, 1)) + rng.normal(0, 0.003, (5, 3))
    found = probability_best(y)
    assert found is not None
    assert found[1] > 0.97


def test_a_schedule_that_fails_now_and_then_neither_blurs_the_others_nor_exceeds_what_is_possible() -> None:
    others = np.array([[0.97, 0.98], [0.96, 0.983], [0.965, 0.979]])
    alone = probability_best(others, bounds=(0, 1))
    fails = np.column_stack([others, [0.958, 0.1, 0.1]])
    beside = probability_best(fails, [False, False, True], bounds=(0, 1))
    assert alone is not None
    assert beside is not None
    assert beside[1] == pytest.approx(alone[1], abs=0.02)
    assert beside[2] < 0.01
    free = probability_best(fails, [False, False, True])
    assert free is not None
    assert free[2] > 0.05  # a mean accuracy above 1
    with pytest.raises(ValueError, match="bounds"):
        probability_best(fails, bounds=(0.5, 1))
    with pytest.raises(ValueError, match="failed"):
        probability_best(fails, [True])


def test_schedules_that_are_the_same_share_the_probability() -> None:
    y = np.array([[0.8, 0.8], [0.9, 0.9], [0.7, 0.7]])
    assert probability_best(y) == pytest.approx([0.5, 0.5], abs=0.02)
    assert probability_best(np.full((3, 2), 0.1)) == pytest.approx([0.5, 0.5], abs=0.02)
    assert probability_best([[0.8, 0.9]]) is None


# --- power -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 10, 60])
@pytest.mark.parametrize("effect", [0.1, 0.5, 1.0])
def test_power_is_that_of_the_noncentral_t_distribution(n: int, effect: float) -> None:
    t, shift = stats.t.isf(0.025 / 3, n - 1), effect * math.sqrt(n)
    exact = stats.nct.sf(t, n - 1, shift) + stats.nct.cdf(-t, n - 1, shift)
    assert paired_power(-0.02 * effect, 0.02, n, comparisons=3) == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize("sd", [0.004, 0.01, 0.02])
def test_as_many_seeds_as_needed_find_the_difference_in_8_of_10_and_one_less_does_not(sd: float) -> None:
    n = seeds_needed(0.01, sd)
    rng = np.random.default_rng(0)

    def found(n: int) -> float:
        d = rng.normal(0.01, sd, (20_000, n))
        return float((stats.ttest_1samp(d, 0, axis=1).pvalue < 0.05).mean())

    assert found(n) > 0.79
    assert found(n - 1) < 0.81
    assert paired_power(0.01, sd, n) >= 0.8 > paired_power(0.01, sd, n - 1)


def test_more_seeds_are_needed_for_smaller_differences_more_comparisons_and_more_power() -> None:
    usual = seeds_needed(0.01, 0.02)
    assert usual == seeds_needed(-0.01, 0.02) == 34  # as in tables of the paired t test at d = 0.5
    assert seeds_needed(0.005, 0.02) > 3 * usual
    assert seeds_needed(0.01, 0.02, comparisons=5) > usual
    assert seeds_needed(0.01, 0.02, power=0.95) > usual
    assert seeds_needed(0.01, 0.02, confidence=0.8) < usual
    assert seeds_needed(1.0, 1e-9) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"difference": 0}, "difference must not be 0"),
        ({"difference": math.inf}, "difference"),
        ({"sd": 0}, "sd"),
        ({"sd": -1}, "sd"),
        ({"power": 80}, "power"),
        ({"confidence": 1}, "confidence"),
        ({"comparisons": 0}, "comparisons"),
        ({"difference": 1e-9}, "too small"),
    ],
)
def test_questions_about_seeds_without_an_answer_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        seeds_needed(**{"difference": 0.01, "sd": 0.01, **changes})


def test_the_interval_of_a_spread_holds_the_true_one_as_often_as_it_says() -> None:
    spreads = np.random.default_rng(0).normal(0, 2.0, (3000, 3)).std(axis=1, ddof=1)
    held = [low <= 2.0 <= high for low, high in (sd_interval(float(s), 3) for s in spreads)]
    assert np.mean(held) == pytest.approx(0.8, abs=0.025)
    for arguments in ((-1.0, 3), (1.0, 1), (1.0, 3, 1.0)):
        with pytest.raises(ValueError, match=r"sd|n must|confidence"):
            sd_interval(*arguments)


# --- curves ------------------------------------------------------------------------------------------------------------


def test_the_area_is_that_of_scikit_learn_over_the_width() -> None:
    rng = np.random.default_rng(0)
    x, y = np.cumsum(rng.uniform(0.1, 1, 20)), rng.uniform(size=20)
    assert area_under_curve(list(x), list(y)) == pytest.approx(auc(x, y) / (x[-1] - x[0]))
    assert area_under_curve([1, 2, 3], [0.7, 0.7, 0.7]) == pytest.approx(0.7)
    assert area_under_curve([1], [0.4]) == 0.4


@pytest.mark.parametrize(("x", "y"), [([], []), ([1, 2], [0.1]), ([2, 1], [0.1, 0.2]), ([1, 1], [0.1, 0.2])])
def test_a_curve_that_is_none_is_refused(x: list, y: list) -> None:
    with pytest.raises(ValueError, match="positions"):
        area_under_curve(x, y)


def test_seeds_that_all_differ_by_one_step_of_an_accuracy_prove_nothing() -> None:
    image = 1 / 360
    a, b = [0.9, 0.8, 0.7], [0.9 + image, 0.8 + image, 0.7 + image]
    assert not paired_difference(b, a).excludes_zero  # type: ignore[union-attr]
    assert not paired_difference(b, a, resolution=image).excludes_zero  # type: ignore[union-attr]
    assert not joint_difference(b, a, 1, resolution=image).excludes_zero  # type: ignore[union-attr]
    p = paired_p_value(b, a, image)
    assert p == pytest.approx(2 * stats.t.sf(3**0.5, 2))
    assert holm([p, 0.01]) == [pytest.approx(p), 0.02]  # it counts among the tests, unlike one that is unknown
    scores = np.transpose([a, b])
    assert rank_intervals(scores, resolution=image) == [(1, 2), (1, 2)]
    constant = np.tile([0.9, 0.9 + image], (3, 1))
    sure, careful = probability_best(constant), probability_best(constant, resolution=image)
    assert sure is not None
    assert careful is not None
    assert sure[1] == 1
    assert 0.6 < careful[1] < 0.95


def test_a_hundred_images_are_a_difference_even_if_no_seed_shows_another() -> None:
    a, b = [0.5, 0.4, 0.3], [0.5 + 100 / 360, 0.4 + 100 / 360, 0.3 + 100 / 360]
    p = paired_p_value(b, a, 1 / 360)
    assert p is not None
    assert p < 0.001
    assert rank_intervals(np.transpose([a, b]), resolution=1 / 360) == [(2, 2), (1, 1)]


@pytest.mark.parametrize("images", [0.2, 0.5, 1, 2])
def test_coarse_accuracies_are_not_called_different_more_often_than_the_level_says(images: float) -> None:
    """Equal schedules whose noise is a fraction of one test image, or a few; equal means, as both are rounded alike."""
    rng = np.random.default_rng(int(10 * images))
    n, alarms = 2000, 0
    for _ in range(n):
        y = np.round(360 * 0.9 + 0.5 + images * rng.normal(size=(2, 3))) / 360
        p = paired_p_value(list(y[0]), list(y[1]), 1 / 360)
        alarms += p is not None and p < 0.05
    assert alarms / n < 0.05 + 3 * math.sqrt(0.05 * 0.95 / n)


def test_a_p_value_is_that_of_scipys_test() -> None:
    a, b = [0.80, 0.82, 0.83, 0.79], [0.81, 0.85, 0.83, 0.82]
    for x, y in ((a, b), (b, a)):
        assert paired_p_value(x, y) == pytest.approx(stats.ttest_rel(x, y).pvalue)
    with pytest.raises(ValueError, match="resolution must be"):
        paired_p_value(a, b, -0.1)
