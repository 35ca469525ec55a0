"""A comparison's numbers are those that SciPy gives for the trials that finished, and no failed trial hides in them."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import laju
from laju.lab.comparison import Comparison
from laju.lab.statistics import ACCURACY, LOSS, Estimate, estimate, joint_difference, number, paired_difference
from laju.lab.trials import Optimizer, Outcome, Record

PLAN = laju.RunPlan(samples=100, batch_size=10, epochs=2)
SEEDS = (0, 1, 2)
NAN = float("nan")


def outcome(train: float, test: float | None, loss: float = 0.5, **changes) -> Outcome:
    records = (
        Record(update=10, epoch=1.0, rate=0.3, train_loss=2.0, train_accuracy=0.2, test_accuracy=0.2),
        Record(update=20, epoch=2.0, rate=0.1, train_loss=loss, train_accuracy=train, test_accuracy=test),
    )
    return replace(Outcome("finished", records, seconds=10.0), **changes)


def comparison(outcomes: dict, **changes) -> Comparison:
    names = dict.fromkeys(name for name, _ in outcomes)
    fields = {
        "task": "digits",
        "schedules": {name: laju.cosine(0.3, total="100%", warmup="1 epoch") for name in names},
        "plan": PLAN,
        "optimizer": Optimizer(),
        "seeds": SEEDS,
        "outcomes": outcomes,
    }
    return Comparison(**{**fields, **changes})


A, B = [0.84, 0.86, 0.85], [0.87, 0.88, 0.865]


def two() -> Comparison:
    return comparison(
        {("a", s): outcome(0.9, A[s]) for s in SEEDS} | {("b", s): outcome(0.95, B[s]) for s in SEEDS},
    )


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_an_estimate_is_the_t_interval_that_scipy_gives(confidence: float) -> None:
    values = np.random.default_rng(0).normal(0.8, 0.02, 7)
    found = estimate(values, confidence)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(confidence)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.n == 7


def test_a_paired_difference_is_the_one_that_scipy_gives() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.8, 0.02, 5), rng.normal(0.7, 0.02, 5)
    found = paired_difference(list(a), list(b))
    low, high = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.excludes_zero == (stats.ttest_rel(a, b).pvalue < 0.05)


def test_one_value_has_no_interval_and_none_has_no_estimate() -> None:
    assert estimate([0.5]) == Estimate(0.5, None, 1)
    assert estimate([]) is None
    assert paired_difference([], []) is None
    assert not Estimate(0.5, None, 1).excludes_zero


def test_pairs_of_unequal_number_are_refused() -> None:
    with pytest.raises(ValueError, match="2 and 1"):
        paired_difference([1, 2], [1])
    with pytest.raises(ValueError, match="confidence"):
        estimate([1, 2], confidence=95)


@pytest.mark.parametrize(("value", "text"), [(0.0, "0.000"), (0.9996, "1.000"), (1e-5, "1.0e-05"), (1e9, "1.0e+09")])
def test_no_number_is_shown_as_zero_that_is_not(value: float, text: str) -> None:
    assert number(value) == text


def test_the_summary_has_each_schedule_in_the_order_asked() -> None:
    first, second = two().summary()
    assert (first.name, second.name) == ("a", "b")
    assert first.test_accuracy == estimate(A, bounds=ACCURACY)
    assert first.train_accuracy == estimate([0.9] * 3, bounds=ACCURACY)
    assert first.train_loss == Estimate(0.5, 0.0, 3, LOSS, spread=0.0)
    assert first.gap == estimate([0.9 - a for a in A], bounds=(-1, 1))
    assert first.difference is first.joint is None
    assert second.difference == paired_difference(B, A, bounds=ACCURACY)
    assert second.seconds == 10
    assert second.note == ""
    assert second.schedule == str(laju.cosine(0.3, total="100%", warmup="1 epoch"))


def test_a_failed_trial_is_counted_and_in_no_mean() -> None:
    outcomes = two().outcomes
    outcomes["b", 0] = outcome(0.1, 0.1, NAN, status="diverged", diverged_at=7, seconds=1.0)
    outcomes["b", 2] = outcome(0.1, 0.1, 2.3, status="collapsed", seconds=99.0)
    row = comparison(outcomes).summary()[1]
    assert (row.finished, row.diverged, row.collapsed, row.missing) == (1, 1, 1, 0)
    assert row.test_accuracy == Estimate(B[1], None, 1, ACCURACY)
    assert row.train_loss == Estimate(0.5, None, 1, LOSS)
    assert row.difference == Estimate(pytest.approx(B[1] - A[1]), None, 1, (-1, 1))
    assert row.seconds == 10
    assert row.note == "1 of 3 diverged at update 7; 1 of 3 collapsed"
    assert any(w.startswith("b: 1 of 3 diverged at update 7") for w in comparison(outcomes).findings().warnings)


def test_a_difference_pairs_only_seeds_that_finished_in_both() -> None:
    outcomes = two().outcomes
    del outcomes["a", 0]
    outcomes["b", 1] = outcome(0.1, 0.1, status="collapsed")
    row = comparison(outcomes).summary()[1]
    assert row.difference == Estimate(pytest.approx(B[2] - A[2]), None, 1, (-1, 1))


def test_a_schedule_of_which_nothing_finished_has_no_estimates() -> None:
    outcomes = {("a", s): outcome(0.1, 0.1, status="diverged", diverged_at=s) for s in SEEDS}
    row = comparison(outcomes).summary()[0]
    assert row.train_loss is row.test_accuracy is row.gap is row.seconds is None
    assert row.note == "3 of 3 diverged at updates 0, 1, 2"


def test_a_trial_without_a_test_figure_leaves_the_other_figures() -> None:
    row = comparison({("a", 0): outcome(0.9, None)}).summary()[0]
    assert row.train_accuracy == Estimate(0.9, None, 1, ACCURACY)
    assert row.test_accuracy is row.gap is None
    assert row.missing == 2


def test_trials_and_records_are_frames_for_pandas() -> None:
    outcomes = two().outcomes
    del outcomes["b", 2]
    trials = pd.DataFrame(comparison(outcomes).trials())
    assert trials.shape[0] == 6
    assert trials.set_index(["schedule", "seed"]).loc[("b", 2), "status"] == "missing"
    means = trials[trials.status == "finished"].groupby("schedule").test_accuracy.mean()
    assert means["a"] == pytest.approx(np.mean(A))
    records = pd.DataFrame(comparison(outcomes).records())
    assert records.shape[0] == 10
    assert (
        records[["update", "epoch", "rate", "train_loss", "train_accuracy", "test_accuracy"]]
        .dtypes.map(pd.api.types.is_numeric_dtype)
        .all()
    )


def test_json_has_no_number_that_json_lacks() -> None:
    outcomes = two().outcomes
    outcomes["b", 0] = outcome(np.float64(0.1), 0.1, math.inf, status="diverged", diverged_at=7)
    text = json.dumps(comparison(outcomes).findings().to_json(), allow_nan=False)
    back = json.loads(text)
    diverged = next(t for t in back["trials"] if t["status"] == "diverged")
    assert diverged["train_loss"] is None
    assert diverged["train_accuracy"] == 0.1
    assert back["plan"]["updates"] == 20
    assert back["summary"][1]["difference"]["n"] == 2


def test_the_reader_is_warned_of_a_first_epoch_at_rate_0() -> None:
    by_epoch = laju.cosine(0.3, total=2, warmup=1).per("epoch")
    first = laju.cosine(0.3, total=2, warmup=1, first=True).per("epoch")
    schedules = {"a": by_epoch, "b": laju.cosine(0.3, total=20, warmup=10), "c": first, "d": laju.constant(0.0)}
    found = comparison({(name, s): outcome(0.9, A[s]) for name in schedules for s in SEEDS}, schedules=schedules)
    warned = [w.partition(":")[0] for w in found.findings().warnings if "10 of 20 updates change nothing" in w]
    assert warned == ["a", "d"]


def test_the_reader_is_warned_unless_rates_were_tuned() -> None:
    assert any("not tuned" in w for w in two().findings().warnings)
    assert replace(two(), tuned=True).findings().warnings == ()
    alone = comparison({("a", 0): outcome(0.9, 0.8)}, seeds=(0,))
    assert len(alone.findings().warnings) == 1
    assert alone.findings().warnings[0].startswith("1 seed gives no intervals")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedules": {}, "outcomes": {}}, "at least one schedule"),
        ({"seeds": ()}, "seeds"),
        ({"seeds": (0, 1, 2, 2)}, "seeds"),
        ({"seeds": (0, 1)}, "not in the comparison"),
    ],
)
def test_a_comparison_that_contradicts_itself_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(two(), **changes)


def in_frameworks(jax: list[float], **changes) -> Comparison:
    outcomes = {("a (torch)", s): outcome(0.9, A[s]) for s in SEEDS} | {
        ("a (jax)", s): outcome(0.9, jax[s]) for s in SEEDS
    }
    return comparison(outcomes, frameworks={"a (torch)": "torch", "a (jax)": "jax"}, **changes)


def test_frameworks_agree_where_the_paired_interval_holds_zero() -> None:
    [row] = in_frameworks([A[0] + 0.01, A[1] - 0.01, A[2]]).findings().agreement
    assert list(row.accuracies) == ["torch", "jax"]
    assert row.accuracies["torch"] == estimate(A, bounds=ACCURACY)
    assert row.differences["jax"] == joint_difference([A[0] + 0.01, A[1] - 0.01, A[2]], A, 1, bounds=ACCURACY)
    assert row.agree is True


def test_frameworks_that_differ_are_said_to() -> None:
    found = in_frameworks([a - 0.05 - 0.001 * i for i, a in enumerate(A)])
    assert found.findings().agreement[0].agree is False
    assert any("test accuracy in jax differs from that in torch" in w for w in found.findings().warnings)
    assert not any("not tuned" in w for w in found.findings().warnings)
    json.dumps(found.findings().to_json(), allow_nan=False)


def test_one_seed_cannot_tell_whether_frameworks_agree() -> None:
    found = comparison(
        {("a", 0): outcome(0.9, 0.8), ("b", 0): outcome(0.9, 0.8)},
        seeds=(0,),
        frameworks={"a": "torch", "b": "mxnet"},
        optimizer=Optimizer(momentum=0.9),
    )
    assert found.findings().agreement[0].agree is None
    assert any("Momentum is each framework's own" in w for w in found.findings().warnings)


def test_frameworks_of_other_names_are_refused() -> None:
    with pytest.raises(ValueError, match="frameworks must have the schedules' names"):
        comparison({("a", 0): outcome(0.9, 0.8)}, frameworks={"b": "jax"})
