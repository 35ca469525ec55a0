"""A trial is the same wherever and whenever it runs, and its records say what happened."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from laju import Schedule, constant, cosine, linear
from laju.lab import Digits, Optimizer, Outcome, Record, Trial, compare, engines
from laju.lab.engines.torch import train
from laju.lab.trials.tasks.base import permutation as order
from tests.lab import lying
from tests.lab.tiny import Explosion, Sides, Slope

ROOT = Path(__file__).parents[2]


def records(outcome: Outcome) -> list[str]:
    """Every figure of every record, bit by bit."""
    return [
        json.dumps({k: v.hex() if isinstance(v, float) else v for k, v in asdict(r).items()}) for r in outcome.records
    ]


def digits(seed: int = 0) -> Trial:
    return Trial(Digits(), cosine(0.2, total=2).per("epoch"), seed, epochs=2, batch_size=64)


def sides(schedule: Schedule | float = 0.3, **changes) -> Trial:
    trial = Trial(Sides(), constant(schedule) if isinstance(schedule, float) else schedule, 3, epochs=3, batch_size=4)
    return replace(trial, **changes)


def test_a_trial_gives_the_same_records_bit_by_bit_however_often_it_runs() -> None:
    for trial in (digits(), sides(optimizer=Optimizer(momentum=0.9, weight_decay=1e-4))):
        assert records(train(trial)) == records(train(trial))


def test_a_trial_does_not_depend_on_the_callers_threads_or_random_numbers() -> None:
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            torch.manual_seed(threads)
            np.random.seed(threads)  # noqa: NPY002
            random.seed(threads)
            found.append([records(train(digits())), records(train(sides()))])
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1] == found[2]


@pytest.mark.slow
def test_a_trial_gives_the_same_records_in_another_process() -> None:
    program = "import json, tests.lab.test_engine as t; print(json.dumps([t.records(t.train(x())) for x in (t.digits, t.sides)]))"
    other = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    train(sides(seed=5))  # here the data are read already, there not yet
    assert json.loads(other.stdout) == [records(train(digits())), records(train(sides()))]


class Failing(Sides):
    def model(self, seed: int) -> torch.nn.Module:
        torch.manual_seed(99)
        raise RuntimeError("no model today")


def test_the_callers_threads_and_random_state_are_put_back_even_after_an_error() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        torch.manual_seed(11)
        state = torch.random.get_rng_state()
        train(sides(epochs=1))
        with pytest.raises(RuntimeError, match="no model today"):
            train(sides(task=Failing()))
        assert torch.get_num_threads() == 3
        assert torch.equal(torch.random.get_rng_state(), state)
    finally:
        torch.set_num_threads(before)


def test_every_schedule_of_a_seed_sees_the_same_weights_and_order_and_other_seeds_do_not() -> None:
    task = Slope()
    for schedule, seed in ((constant(0.1), 1), (linear(0.5, 0, total=30), 1), (constant(0.1), 2)):
        train(Trial(task, schedule, seed, epochs=2, batch_size=8))
    same, also, other = task.models
    assert same.inputs == also.inputs
    assert task.losses[0] == task.losses[26] == 1
    assert task.losses[52] == 2
    assert same.inputs != other.inputs
    first, second = [[i for batch in epoch for i in batch] for epoch in (same.inputs[:13], same.inputs[13:])]
    assert sorted(first) == sorted(second) == list(range(100))
    assert first != second
    assert first == order(1, 0, 100).tolist()


@pytest.mark.parametrize(
    "schedule",
    [
        linear(0.5, 0.01, total=20),
        cosine(0.3, total=2, warmup=1).per("epoch"),
        linear(0.25, 0.25, total=13) >> constant(0.5),
    ],
)
def test_the_rate_of_update_t_is_the_schedules_value_at_t_and_is_the_one_recorded(schedule: Schedule) -> None:
    task = Slope()
    trial = Trial(task, schedule, 0, epochs=3, batch_size=8)
    outcome = train(trial)
    rates = schedule.resolve(trial.plan).values(39)
    weight = 0.0
    for t, rate in enumerate(rates.tolist()):
        assert task.losses[t] == weight, t  # the weight before update t
        weight -= rate
    assert float(task.models[0].weight.detach()) == weight
    assert [(r.update, r.rate) for r in outcome.records] == [(u, rates[u - 1]) for u in (13, 26, 39)]


def test_records_come_every_50_minibatches_and_at_every_epochs_end_and_are_reported_as_they_are_made() -> None:
    reported: list[Record] = []
    outcome = train(sides(0.1, epochs=2, batch_size=3), reported.append)
    assert [r.update for r in outcome.records] == [50, 100, 134, 184, 234, 268]
    assert [r.epoch for r in outcome.records] == pytest.approx([50 / 134, 100 / 134, 1, 184 / 134, 234 / 134, 2])
    assert [r.test_accuracy is None for r in outcome.records] == [True, True, False] * 2
    assert reported == list(outcome.records)
    whole = train(sides(0.1, epochs=1, batch_size=4))  # 100 minibatches: the end of the epoch is a 50th, once
    assert [r.update for r in whole.records] == [50, 100]
    assert [r.update for r in train(sides(0.1, epochs=2, batch_size=1000)).records] == [1, 2]


def test_train_figures_are_running_means_over_the_epoch_of_all_its_samples() -> None:
    trial = sides(0.5, epochs=2, batch_size=7)  # 400 = 57 · 7 + 1: the last minibatch has a single sample
    data, seed = trial.task.data(), trial.seed
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = trial.task.model(seed)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        expected = []
        for epoch in range(2):
            model.train()
            losses, hits = np.zeros(0), np.zeros(0)
            for batch in np.split(order(seed, epoch, 400), range(7, 400, 7)):
                x, y = torch.from_numpy(data.train_inputs[batch]), torch.from_numpy(data.train_labels[batch])
                outputs = model(x)
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(outputs, y).backward()
                optimizer.step()
                each = torch.nn.functional.cross_entropy(outputs.detach(), y, reduction="none")
                losses, hits = np.append(losses, each.numpy()), np.append(hits, outputs.argmax(1) == y)
                if len(losses) in (350, 400):
                    expected.append((losses.mean(), hits.mean()))
            model.eval()
            with torch.no_grad():
                outputs, labels = model(torch.from_numpy(data.test_inputs)), torch.from_numpy(data.test_labels)
                test = torch.nn.functional.cross_entropy(outputs.double(), labels)
            expected.append((float(test), float((outputs.argmax(1) == labels).double().mean())))
    torch.set_num_threads(threads)
    a, b, test_1, c, d, test_2 = expected
    found = train(trial).records
    assert [r.train_loss for r in found] == pytest.approx([a[0], b[0], c[0], d[0]], rel=1e-6)
    assert [r.train_accuracy for r in found] == [a[1], b[1], c[1], d[1]]
    assert [r.test_accuracy for r in found] == [None, test_1[1], None, test_2[1]]
    assert [r.test_loss for r in found] == [
        None,
        pytest.approx(test_1[0], rel=1e-6),
        None,
        pytest.approx(test_2[0], rel=1e-6),
    ]


@pytest.mark.parametrize(
    ("n", "calm", "recorded"),
    [
        (100, 0, []),  # in the first minibatches
        (7, 0, [7]),  # in the second epoch
        (120, 63, [50]),  # between two records
        (50, 39, []),  # in the minibatch that ends with a record
        (100, 40, [50]),  # in the first minibatch after a record
    ],
)
def test_a_diverged_trial_says_in_which_update_the_loss_was_first_not_finite(
    n: int, calm: int, recorded: list[int]
) -> None:
    schedule = linear(0, 0, total=calm) >> constant(50.5) if calm else constant(50.5)
    outcome = train(Trial(Explosion(n), schedule, 0, epochs=30, batch_size=1))
    assert (outcome.status, outcome.diverged_at) == ("diverged", calm + 10)
    assert [r.update for r in outcome.records] == recorded
    assert all(np.isfinite(r.train_loss) for r in outcome.records)


def test_a_test_loss_that_is_not_finite_is_a_divergence_in_the_update_before() -> None:
    # Ten updates whose losses are finite; the tenth makes the weight too large for the test loss.
    outcome = train(Trial(Explosion(10), constant(50.5), 0, epochs=1, batch_size=1))
    assert (outcome.status, outcome.diverged_at, outcome.records) == ("diverged", 9, ())


def test_a_loss_that_is_large_but_finite_has_a_finite_mean() -> None:
    # The last of ten updates has the loss 10³⁶, which float32 holds, but not 1,000 times that.
    schedule = linear(50.5, 50.5, total=9) >> constant(0.0)
    outcome = train(Trial(Explosion(10_000), schedule, 0, epochs=1, batch_size=1000))
    assert outcome.status != "diverged"
    assert outcome.records[-1].train_loss == pytest.approx(1e35, rel=1e-3)


SHARES = [float("nan"), float("inf"), -0.01, 1.01, 100.0, "0.5", True, None]


@pytest.mark.parametrize("metric", ["train_accuracy", "test_accuracy", "train_loss", "test_loss", "rate", "epoch"])
@pytest.mark.parametrize("value", SHARES, ids=repr)
def test_a_figure_that_no_training_has_is_told_in_one_sentence(
    metric: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fine = Record(20, 1.0, 0.1, 0.5, 0.9, 0.9, 0.5)
    monkeypatch.setitem(engines.ENGINES, "torch", "tests.lab.lying")
    monkeypatch.setattr(lying, "record", replace(fine, **{metric: value}))
    optional = metric.startswith("test") and value is None
    number = metric.endswith(("loss", "rate", "epoch")) and value in (1.01, 100.0) and value is not True
    negative = metric in ("train_loss", "test_loss", "rate") and value == -0.01
    if optional or number or negative:
        assert engines.train(sides()).records == (lying.record,)
        return
    with pytest.raises(engines.MetricError, match=rf"^task 'sides', seed 3, update 20: {metric} must .*, got "):
        engines.train(sides())


def test_an_engine_that_returns_no_outcome_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(engines.ENGINES, "torch", "tests.lab.lying")
    monkeypatch.setattr(lying, "record", {"update": 20})
    with pytest.raises(
        TypeError, match="engine 'torch' must return an Outcome with a Record of each report, got Outcome"
    ):
        engines.train(sides())


class Tokens(Sides):
    """Counts right tokens, of which an example has many, where right examples are asked for."""

    def correct(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return 7 * super().correct(outputs, targets)


def test_a_task_that_counts_wrongly_is_told_and_enters_no_mean() -> None:
    with pytest.raises(
        engines.MetricError, match=r"task 'sides', seed 0, update 50: train_accuracy must lie in \[0, 1\]"
    ):
        compare({"a": 0.1}, Tokens(), epochs=1, seeds=1, jobs=1, batch_size=4)


def test_a_trial_that_never_learns_is_recorded_as_collapsed() -> None:
    outcome = train(Trial(Digits(), constant(0.0), 0, epochs=1, batch_size=64))
    assert outcome.status == "collapsed"
    assert outcome.diverged_at is None
    assert outcome.records[-1].update == 23


def test_a_trial_that_learns_is_finished_and_lasts_no_longer_than_it_takes() -> None:
    outcome = train(sides(0.5))
    assert outcome.status == "finished"
    assert outcome.records[-1].test_accuracy > 0.9
    assert 0 < outcome.seconds < 20


def test_data_that_cannot_be_written_to_are_trained_on_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    class Locked(Sides):
        def load(self):
            data = super().load()
            data.train_inputs.flags.writeable = data.test_labels.flags.writeable = False
            return data

    assert train(sides(task=Locked())).status == "finished"
    assert not recwarn.list
