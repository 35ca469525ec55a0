"""Test figures are compared where training losses are equal, whatever the end of training says."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch

from laju import constant
from laju.core.units import RunPlan
from laju.lab import Comparison, Optimizer, Outcome, Record, Trial
from laju.lab.engines.torch import train
from laju.studies import Answer, Options, run, write
from laju.studies.equal_loss import REFERENCE, Curve, Point, matched, pair
from laju.studies.overfitting import ADAM, FALLING, LOWER, answer, watch
from tests.lab.tiny import Sides

TASK = Sides(n=400)


def made(speed: float, lift: float = 0.0, *, epochs: int = 12, gap: float = 0.02, begin: float = 0.0) -> Curve:
    """A run whose training loss is e^-x after epoch t, with x = begin + speed t.

    Test accuracy is 0.3 + lift + 0.02 x, training accuracy 0.3 + (0.02 + gap) x, and the test loss 2 - lift - 0.1 x.
    """
    x = [begin + speed * t for t in range(1, epochs + 1)]
    points = [
        Point(float(t), 0.3 + (0.02 + gap) * at, 0.3 + lift + 0.02 * at, 2 - lift - 0.1 * at)
        for t, at in enumerate(x, start=1)
    ]
    return Curve([math.exp(-at) for at in x], points)


def said(runs: Mapping[str, Sequence[Curve | None]], task: str = "digits", data_dir: str | None = None) -> Answer:
    """What the study says of runs by schedule, one for each seed; None for one that collapsed."""
    outcomes = {}
    for name, each in runs.items():
        for seed, drawn in enumerate(each):
            end = Point(12.0, 0.1, 0.1, 2.3) if drawn is None else max(drawn.points, key=lambda point: point.epoch)
            loss = 2.3 if drawn is None else drawn.lowest
            record = Record(120, 12.0, 0.1, loss, end.train_accuracy, end.test_accuracy, end.test_loss)
            outcomes[name, seed] = Outcome("collapsed" if drawn is None else "finished", (record,), 1.0)
    schedules = {name: {REFERENCE: constant(0.3), **FALLING}.get(name, constant(0.1)) for name in runs}
    seeds = tuple(range(len(runs[REFERENCE])))
    plan = RunPlan(samples=80, batch_size=8, epochs=12)
    found = Comparison(task, schedules, plan, Optimizer(), seeds, outcomes)  # type: ignore[arg-type]
    curves = {(n, s): drawn for n, each in runs.items() for s, drawn in enumerate(each) if drawn is not None}
    return answer(Options(task=task, data_dir=data_dir), TASK, [found], curves)


NOISE = (0.004, -0.003, 0.001, -0.004, 0.002)


def of_seeds(speed: float, lift: float = 0.0, **more: float) -> list[Curve | None]:
    return [made(speed, lift + noise, **more) for noise in NOISE]  # type: ignore[arg-type]


def difference(found: Answer, name: str, figure: str = "test accuracy") -> float:
    mean: float = found.figures["at the lowest training loss that both reach"][name][f"{figure}, difference"]["mean"]
    return mean


# --- a run -------------------------------------------------------------------------------------------------------------


def test_figures_at_a_training_loss_are_on_the_line_between_the_epochs_next_to_it() -> None:
    found = made(0.3)
    for x in (0.5, 1.0, 2.2, 3.4):
        at = found.at(math.exp(-x))
        assert at == pytest.approx((x / 0.3, 0.3 + 0.04 * x, 0.3 + 0.02 * x, 2 - 0.1 * x))


def test_a_loss_that_rises_on_the_way_is_an_epoch_as_any_other() -> None:
    """The figures belong to the weights, not to a place in time: the third epoch is the one with the lowest loss."""
    points = [Point(float(t), 0.5, accuracy, 1.0) for t, accuracy in enumerate((0.2, 0.3, 0.9, 0.4), start=1)]
    found = Curve([1.0, 0.5, 0.1, 0.3], points)
    assert (found.highest, found.lowest) == (1.0, 0.1)
    assert [point.epoch for point in found.points] == [1, 2, 4, 3]
    assert found.at(0.1).test_accuracy == pytest.approx(0.9)
    assert found.at(0.3).test_accuracy == pytest.approx(0.4)


def test_the_training_loss_is_that_of_all_examples_with_the_weights_that_are_tested() -> None:
    trial = Trial(TASK, constant(0.5), 3, 4, 32)
    outcome, ends = watch(trial)
    assert outcome.records == train(trial).records  # watching changes nothing
    one, first = watch(Trial(TASK, constant(0.5), 3, 1, 32))
    assert first[0] == ends[0]
    assert one.records[-1].test_loss == outcome.records[0].test_loss
    assert len(ends) == 4


def test_the_loss_that_is_watched_is_computed_on_the_whole_training_set(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Kept(Sides):
        def model(self, seed: int) -> torch.nn.Module:
            seen.append(super().model(seed))
            return seen[-1]

    task = Kept(n=400)
    _, ends = watch(Trial(task, constant(0.5), 3, 2, 32))
    data, model = task.data(), seen[-1].eval()
    with torch.no_grad():
        outputs = model(torch.from_numpy(data.train_inputs))
        labels = torch.from_numpy(data.train_labels)
        loss = float(torch.nn.functional.cross_entropy(outputs, labels))
    right = float((outputs.argmax(1) == labels).double().mean())
    assert ends[-1] == pytest.approx([loss, right], rel=1e-6)


# --- two runs ----------------------------------------------------------------------------------------------------------


def test_a_training_loss_that_one_of_the_two_does_not_reach_has_no_pair() -> None:
    slow, fast = made(0.1), made(0.4)
    found = pair(7, slow, fast)
    assert found is not None
    assert (found.seed, found.loss) == (7, slow.lowest)
    assert found.run.epoch == pytest.approx(12)
    assert found.reference.epoch == pytest.approx(3)
    assert pair(7, slow, fast, loss=slow.lowest * 0.99) is None
    assert pair(7, slow, fast, loss=fast.highest * 1.01) is None
    assert pair(7, slow, made(0.4, begin=5)) is None


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
    assert table.rows[0][:4] == ("cosine", "0.091", "0.378", "0.348")  # at e^-2.4, the constant rate's last epoch


def test_a_falling_rate_that_overfits_more_is_said_to_and_one_that_does_not_differ_is_not_told() -> None:
    wobble = [made(0.4, noise, gap=0.08) for noise in reversed(NOISE)]
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
    lower = [made(0.4, lift + noise, gap=0.08) for noise in reversed(NOISE)]
    found = said({REFERENCE: of_seeds(0.2, gap=0.08), "cosine": cosine, LOWER: lower, ADAM: lower})
    assert sentence in found.text
    assert LOWER not in found.verdict  # which is about falling rates
    assert ADAM not in found.verdict


def test_where_nothing_is_overfitted_it_says_so_and_recommends_data_where_something_is() -> None:
    wobble = [made(0.4, noise) for noise in reversed(NOISE)]
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
    cosine[4] = made(0.5, 0.03, begin=9)
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


def test_every_schedule_more_widens_the_intervals() -> None:
    curves = {(REFERENCE, s): made(0.2, 0.01 * s * s) for s in range(4)}
    curves |= {("cosine", s): made(0.4) for s in range(4)}
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
    options = Options(epochs=12, seeds=2, jobs=1, store=tmp_path / "store.sqlite")
    found = run("overfitting", options)
    assert found.verdict.startswith("There is nothing to see on digits in 12 epochs: ")
    assert found.verdict.endswith("(laju study overfitting --task fashion-mnist).")
    rows = found.figures["at the lowest training loss that both reach"]
    assert list(rows) == [*FALLING, LOWER, ADAM]
    for row in rows.values():
        for p in row["pairs"]:
            assert 0 < p["train loss"] < 2.5
            assert 1 <= p["run"]["epoch"] <= 12
            assert 0 < p["run"]["test_loss"] < 10
    files = write(found, tmp_path / "out")
    assert [file.name for file in files] == ["answer.md", "answer.html", "overfitting.png", "figures.json"]
    assert json.loads(files[-1].read_text())["seeds"] == [0, 1]
    again = run("overfitting", options)
    assert (again.verdict, again.text, again.figures) == (found.verdict, found.text, found.figures)
