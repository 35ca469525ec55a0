"""Test figures are compared where training losses are equal, whatever the end of training says."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laju import constant
from laju.lab import Comparison, Optimizer, Outcome, Record
from laju.studies import Answer, Options, run, write
from laju.studies.overfitting import (
    ADAM,
    FALLING,
    LOWER,
    REFERENCE,
    Curve,
    answer,
    curve,
    descending,
    matched,
    pair,
)
from laju.units import RunPlan
from tests.lab.tiny import Sides

TASK = Sides(n=400)


def records(
    speed: float, lift: float = 0.0, *, epochs: int = 12, gap: float = 0.02, begin: float = 0.0, losses: bool = True
) -> tuple[Record, ...]:
    """A run whose training loss falls by a factor of e in `1 / speed` epochs, and whose test accuracy is a line in its logarithm.

    The training loss of an epoch is that of its middle, e^-(begin + speed (t - 1/2)). Test accuracy is 0.3 + lift + 0.02 x at
    x = begin + speed t, training accuracy 0.3 + (0.02 + gap) x, and the test loss 1 - lift - 0.1 x.
    """

    def at(t: float) -> float:
        return begin + speed * t

    return tuple(
        Record(
            10 * t,
            float(t),
            0.1,
            math.exp(-at(t - 0.5)),
            0.3 + (0.02 + gap) * at(t - 0.5),
            0.3 + lift + 0.02 * at(t),
            1 - lift - 0.1 * at(t) if losses else None,
        )
        for t in range(1, epochs + 1)
    )


def said(
    runs: Mapping[str, list[tuple[Record, ...] | None]], task: str = "digits", data_dir: str | None = None
) -> Answer:
    """What the study says of runs by schedule, one for each seed; None for one that collapsed."""
    outcomes = {
        (name, seed): Outcome("finished" if kept else "collapsed", kept or records(0.0), 1.0)
        for name, each in runs.items()
        for seed, kept in enumerate(each)
    }
    schedules = {name: {REFERENCE: constant(0.3), **FALLING}.get(name, constant(0.1)) for name in runs}
    seeds = tuple(range(len(runs[REFERENCE])))
    found = Comparison(task, schedules, RunPlan(samples=80, batch_size=8, epochs=12), Optimizer(), seeds, outcomes)
    return answer(Options(task=task, data_dir=data_dir), TASK, found)


NOISE = (0.004, -0.003, 0.001, -0.004, 0.002)


def of_seeds(speed: float, lift: float = 0.0, **more: float) -> list[tuple[Record, ...] | None]:
    return [records(speed, lift + noise, **more) for noise in NOISE]  # type: ignore[arg-type]


def difference(found: Answer, name: str, figure: str = "test accuracy") -> float:
    mean: float = found.figures["at the lowest training loss that both reach"][name][f"{figure}, difference"]["mean"]
    return mean


# --- a run -------------------------------------------------------------------------------------------------------------


def test_figures_at_a_training_loss_are_those_of_the_line_between_epochs() -> None:
    found = curve(records(0.3))
    assert found is not None
    for x in (0.5, 1.0, 2.2, 3.4):
        at = found.at(math.exp(-x))
        assert at.test_accuracy == pytest.approx(0.3 + 0.02 * x)
        assert at.train_accuracy == pytest.approx(0.3 + 0.04 * x)
        assert at.test_loss == pytest.approx(1 - 0.1 * x)
        assert at.epoch == pytest.approx(x / 0.3)


def test_records_within_an_epoch_are_left_out_and_one_epoch_is_no_curve() -> None:
    whole = records(0.3)
    within = [Record(10 * t - 5, t - 0.5, 0.1, 9.0, 0.1) for t in range(1, 13)]
    mixed = sorted([*whole, *within], key=lambda record: record.update)
    a, b = curve(whole), curve(mixed)
    assert a is not None
    assert b is not None
    np.testing.assert_array_equal(a.losses, b.losses)
    assert curve(whole[:1]) is None


@given(st.lists(st.floats(1e-3, 10), min_size=1, max_size=20))
def test_losses_are_pooled_until_each_is_below_the_one_before_and_nothing_is_lost(losses: list[float]) -> None:
    n = len(losses)
    place = np.arange(n, dtype=float)
    found = descending(losses, np.column_stack([place, place, place, place]))
    assert (np.diff(found.losses) < 0).all()
    # Each pooled stretch lies between its neighbours, and its mean place tells where it begins and ends.
    ends = np.cumsum(_lengths(found.figures[:, 0]))
    assert ends[-1] == n
    begins = np.r_[0, ends[:-1]]
    for loss, begin, end in zip(found.losses, begins, ends, strict=True):
        assert loss == pytest.approx(float(np.exp(np.mean(np.log(losses[begin:end])))))


def _lengths(middles: np.ndarray) -> list[int]:
    lengths: list[int] = []
    for middle in middles:
        begin = sum(lengths)
        lengths.append(round(2 * (middle - begin)) + 1)
    return lengths


# --- two runs ----------------------------------------------------------------------------------------------------------


def test_a_training_loss_that_one_of_the_two_does_not_reach_has_no_pair() -> None:
    slow, fast = curve(records(0.1)), curve(records(0.4))
    assert slow is not None
    assert fast is not None
    found = pair(7, slow, fast)
    assert found is not None
    assert (found.seed, found.loss) == (7, slow.losses[-1])
    assert found.run.epoch == pytest.approx(11.5)
    assert found.reference.epoch == pytest.approx(11.5 / 4)
    assert pair(7, slow, fast, loss=float(slow.losses[-1]) * 0.99) is None
    assert pair(7, slow, fast, loss=float(slow.losses[0]) * 1.01) is None
    later = curve(records(0.4, begin=5))
    assert later is not None
    assert pair(7, slow, later) is None


def test_a_difference_at_equal_training_loss_is_found_whatever_the_end_of_training_says() -> None:
    """The cosine trains faster, so it ends with more overfitting and a worse test loss than the constant rate in every run."""
    runs = {REFERENCE: of_seeds(0.2, gap=0.08), "cosine": of_seeds(0.5, 0.03, gap=0.075)}
    found = said(runs)
    end = found.figures["at the end"]
    assert end["cosine"]["gap"]["mean"] > end[REFERENCE]["gap"]["mean"] + 0.1
    assert difference(found, "cosine") == pytest.approx(0.03)
    assert difference(found, "cosine", "test loss") == pytest.approx(-0.03)
    assert found.verdict.startswith("At the same training loss cosine (+0.030 ± ")
    assert found.verdict.endswith("is shown to overfit less than the constant rate.")
    assert "**cosine: overfits less.**" in found.text
    table = next(iter(found.tables.values()))
    assert table.rows[0][:4] == ("cosine", "0.100", "0.376", "0.346")  # at e^-2.3, the constant rate's last epoch


def test_a_falling_rate_that_overfits_more_is_said_to_and_one_that_does_not_differ_is_not_told() -> None:
    wobble = [records(0.4, noise, gap=0.08) for noise in reversed(NOISE)]
    runs = {REFERENCE: of_seeds(0.2, gap=0.08), "cosine": of_seeds(0.5, -0.03, gap=0.08), "square root": wobble}
    found = said(runs, "fashion-mnist", "clothes")
    assert difference(found, "square root") == pytest.approx(0)
    assert "cosine (-0.030 ± 0.0" in found.verdict
    assert (
        ") is shown to overfit more than the constant rate; 5 seeds do not tell square root (+0.000 ± 0.0"
        in found.verdict
    )
    asked = found.verdict.partition(": laju study overfitting --task fashion-mnist --data-dir clothes --seeds ")[2]
    assert int(asked.removesuffix(").")) > 5
    assert "**square root: not told from the constant rate.**" in found.text


@pytest.mark.parametrize(
    ("lift", "sentence"),
    [
        (0.03, "A constant rate of a third overfits less, too, so a fall is not the only way to it."),
        (-0.03, "A constant rate of a third overfits more, so a low rate alone does not do it."),
        (0.0, "That a constant rate of a third overfits less, too, is not shown."),
    ],
)
def test_a_lower_constant_rate_tells_a_fall_from_a_low_rate(lift: float, sentence: str) -> None:
    cosine = of_seeds(0.5, 0.03, gap=0.08)
    lower = [records(0.4, lift + noise, gap=0.08) for noise in reversed(NOISE)]
    found = said({REFERENCE: of_seeds(0.2, gap=0.08), "cosine": cosine, LOWER: lower, ADAM: lower})
    assert sentence in found.text
    assert LOWER not in found.verdict  # which is about falling rates
    assert ADAM not in found.verdict


def test_where_nothing_is_overfitted_it_says_so_and_recommends_data_where_something_is() -> None:
    wobble = [records(0.4, noise) for noise in reversed(NOISE)]
    runs = {REFERENCE: of_seeds(0.2, gap=0.005), "cosine": wobble}
    digits, clothes = said(runs), said(runs, "fashion-mnist", "clothes")
    assert digits.verdict.startswith("There is nothing to see on digits in 12 epochs: ")
    assert digits.verdict.endswith("; Fashion-MNIST has some (laju study overfitting --task fashion-mnist).")
    assert "(laju study overfitting --task fashion-mnist --data-dir clothes --epochs 24)." in clothes.verdict
    # A difference that is shown is said first, though.
    runs["cosine"] = of_seeds(0.4, 0.03)
    assert said(runs).verdict.startswith("At the same training loss cosine (+0.030")


def test_seeds_that_failed_or_meet_no_training_loss_of_the_other_are_left_out_and_named() -> None:
    constant_rate = of_seeds(0.2, gap=0.08)
    constant_rate[1] = None
    cosine = of_seeds(0.5, 0.03, gap=0.08)
    cosine[4] = records(0.5, 0.03, begin=9)
    found = said({REFERENCE: constant_rate, "cosine": cosine})
    kept = found.figures["at the lowest training loss that both reach"]["cosine"]
    assert [p["seed"] for p in kept["pairs"]] == [0, 2, 3]
    assert kept["lost seeds"] == [1, 4]
    assert difference(found, "cosine") == pytest.approx(0.03)
    assert (
        "Left out, since a run did not finish or reached no training loss of the constant rate's: seeds of cosine: 1 and 4."
        in (found.text)
    )


def test_where_no_seed_has_a_pair_there_is_no_answer() -> None:
    later = of_seeds(0.5, 0.03, begin=9)
    found = said({REFERENCE: of_seeds(0.2, gap=0.08), "cosine": later})
    assert found.verdict.startswith("There is no answer: with no seed did both")
    assert found.pictures == {}
    assert next(iter(found.tables.values())).rows == [("cosine", *["-"] * 7)]
    assert said({REFERENCE: [None, None], "cosine": [None, None]}).verdict.startswith("There is no answer")


def test_two_seeds_have_two_values_and_no_interval() -> None:
    found = said({REFERENCE: of_seeds(0.2, gap=0.08)[:2], "cosine": of_seeds(0.5, 0.03, gap=0.08)[:2]})
    assert "2 seeds do not tell cosine (+0.030, +0.030 in test accuracy) from the constant rate" in found.verdict
    assert found.verdict.endswith("(intervals begin with 3 seeds: laju study overfitting --seeds 5).")


def test_test_losses_that_an_earlier_laju_did_not_store_are_missed_and_accuracies_compared() -> None:
    cosine = of_seeds(0.5, 0.03, gap=0.08)
    cosine[2] = records(0.5, 0.031, gap=0.08, losses=False)
    found = said({REFERENCE: of_seeds(0.2, gap=0.08), "cosine": cosine})
    assert found.figures["at the lowest training loss that both reach"]["cosine"]["test loss, difference"] is None
    assert difference(found, "cosine") == pytest.approx(0.03)
    assert "stored without test losses, by an earlier laju; another store trains them anew" in found.text


def test_every_schedule_more_widens_the_intervals() -> None:
    names = (REFERENCE, "cosine")
    runs = {(name, s): records(0.2, 0.01 * s * s, gap=0.08) for name in names for s in range(4)}
    runs |= {("cosine", s): records(0.4, 0.0, gap=0.08) for s in range(4)}
    curves: dict[tuple[str, int], Curve] = {key: c for key, kept in runs.items() if (c := curve(kept)) is not None}
    one, five = (matched("cosine", range(4), curves, others).accuracy for others in (1, 5))
    assert one is not None
    assert five is not None
    assert one.mean == five.mean
    assert one.half_width is not None
    assert five.half_width is not None
    assert five.half_width > 1.5 * one.half_width


# --- trainings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epochs", [0, 2, 2.5])
def test_fewer_than_three_epochs_are_refused(epochs: float) -> None:
    with pytest.raises(ValueError, match=f"epochs must be a whole number of at least 3, got {epochs}"):
        run("overfitting", Options(epochs=epochs))  # type: ignore[arg-type]


@pytest.mark.slow
def test_on_digits_there_is_nothing_to_see_and_the_second_time_comes_from_the_store(tmp_path: Path) -> None:
    options = Options(small=True, jobs=1, store=tmp_path / "store.sqlite")
    found = run("overfitting", options)
    assert found.verdict.startswith("There is nothing to see on digits in 4 epochs: ")
    assert found.verdict.endswith("(laju study overfitting --task fashion-mnist).")
    rows = found.figures["at the lowest training loss that both reach"]
    assert list(rows) == [*FALLING, LOWER, ADAM]
    for row in rows.values():
        for p in row["pairs"]:
            assert 0 < p["train loss"] < 2.5
            assert 1 <= p["run"]["epoch"] <= 4
            assert 0 < p["run"]["test_loss"] < 10
    files = write(found, tmp_path / "out")
    assert [file.name for file in files] == ["answer.md", "overfitting.png", "figures.json"]
    assert json.loads(files[-1].read_text())["seeds"] == [0, 1]
    again = run("overfitting", options)
    assert (again.verdict, again.text, again.figures) == (found.verdict, found.text, found.figures)
