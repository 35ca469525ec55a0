"""Rows of averaged weights: the same training, and test figures of the mean of its weights."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from laju import constant, linear
from laju.averaging import EMA, Cooldown, Latest, Tail
from laju.lab import Averaged, Optimizer, Selection, Trial, compare, run_trials
from laju.lab.engines.loop import Progress, advance
from laju.lab.engines.torch import Training, one_thread_and_own_randomness
from tests.lab.tiny import Sides


@dataclass(frozen=True)
class Normed(Sides):
    """A task whose network has batch statistics."""

    name: str = "normed"

    def model(self, seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        return torch.nn.Sequential(
            torch.nn.Linear(2, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Linear(8, 2)
        )


def trial(task: Sides, average=None) -> Trial:
    return Trial(task, constant(0.3), 0, 4, 50, Optimizer(momentum=0.9), average=average)


def expected(task: Sides, average) -> float:
    """The test loss of the mean, computed from the weights after each update and all training examples."""
    plain = trial(task)
    with one_thread_and_own_randomness():
        training = Training(plain)
        weights = [[p.detach().clone() for p in training.model.parameters()]]
        progress = Progress()
        for update in range(plain.plan.updates):
            progress = advance(plain, training, progress, update + 1)
            weights.append([p.detach().clone() for p in training.model.parameters()])
        shares = torch.from_numpy(average.resolve(plain.plan).weights(range(average.begins(32), 33))).float()
        with torch.no_grad():
            for p, *saved in zip(training.model.parameters(), *weights[average.begins(32) :], strict=True):
                p.copy_(torch.einsum("k,k...->...", shares, torch.stack(saved)))
            for module in training.model:
                if isinstance(module, torch.nn.BatchNorm1d):
                    module.reset_running_stats()
                    module.momentum = None
            training.model.train()
            training.model(training.inputs)
        return training.evaluate()[0]


@pytest.mark.parametrize("average", [EMA(0.8), Tail("25%"), Latest(3), Cooldown(linear(1, 0, total=16))], ids=str)
@pytest.mark.parametrize("task", [Sides(n=400), Normed(n=400)], ids=["plain", "batch norm"])
def test_the_end_is_that_of_the_mean_and_the_training_is_the_same(task: Sides, average) -> None:
    outcomes = run_trials({("plain", 0): trial(task), ("mean", 0): trial(task, average)}, jobs=1)
    plain, mean = outcomes["plain", 0].records, outcomes["mean", 0].records
    assert [record.train_loss for record in mean] == [record.train_loss for record in plain]
    assert mean[-1].test_loss == pytest.approx(expected(task, average), rel=1e-5)
    assert mean[-1].test_loss != plain[-1].test_loss


def test_before_its_window_a_row_has_the_figures_of_the_weights() -> None:
    outcomes = run_trials({("plain", 0): trial(Sides()), ("mean", 0): trial(Sides(), Tail(8))}, jobs=1)
    plain, mean = ([record.test_loss for record in outcomes[name, 0].records] for name in ("plain", "mean"))
    assert mean[:3] == plain[:3]
    assert mean[3] != plain[3]


def test_a_comparison_has_averages_as_rows_and_keeps_them_apart() -> None:
    rows = {"flat": 0.3, "flat, ema": Averaged(0.3, "ema:0.8"), "flat, tail": Averaged("constant(0.3)", Tail(8))}
    result = compare(rows, Sides(), epochs=4, seeds=3, jobs=1)
    assert [row.name for row in result.summary()] == list(rows)
    assert len({row.train_loss.mean for row in result.summary()}) == 1
    ends = {name: result.outcomes[name, 0].records[-1].test_loss for name in rows}
    assert len(set(ends.values())) == 3
    assert "averaged weights" in " ".join(result.notes)
    assert trial(Sides(), EMA(0.8)).fingerprint != trial(Sides()).fingerprint != trial(Sides(), EMA(0.9)).fingerprint


def test_schedule_free_and_prodigy_are_those_of_their_packages() -> None:
    schedulefree, prodigyopt = pytest.importorskip("schedulefree"), pytest.importorskip("prodigyopt")
    task = Sides()

    def by_hand(make) -> float:
        """The test loss after the same updates, by the package's own usage."""
        with one_thread_and_own_randomness():
            training = Training(Trial(task, constant(0.3), 0, 4, 50))
            training.optimizer = optimizer = make(training.model.parameters())
            for epoch in range(4):
                for batch in task.batches(0, epoch, 50):
                    if hasattr(optimizer, "train"):
                        optimizer.train()
                    optimizer.zero_grad()
                    chosen = torch.from_numpy(batch)
                    task.loss(training.model(training.inputs[chosen]), training.labels[chosen]).backward()
                    optimizer.step()
                if hasattr(optimizer, "eval"):
                    optimizer.eval()
                loss, _ = training._evaluated(*training.test)
        return loss

    trials = {
        ("free", 0): Trial(task, constant(0.3), 0, 4, 50, Optimizer(kind="schedule-free")),
        ("prodigy", 0): Trial(task, constant(1.0), 0, 4, 50, Optimizer(kind="prodigy")),
    }
    ends = {name: outcome.records[-1].test_loss for (name, _), outcome in run_trials(trials, jobs=1).items()}
    assert ends["free"] == pytest.approx(by_hand(lambda p: schedulefree.SGDScheduleFree(p, lr=0.3)), rel=1e-4)
    assert ends["prodigy"] == pytest.approx(by_hand(lambda p: prodigyopt.Prodigy(p, lr=1.0)), rel=1e-4)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: trial(Sides(), Tail(99)), "length must be at most the 32 updates of the run"),
        (lambda: trial(Sides(), "ema:0.9"), "average must be an Average"),
        (lambda: Trial(Sides(), constant(0.1), 0, 1, 50, framework="jax", average=EMA(0.9)), "needs framework=torch"),
        (lambda: Averaged(0.1, 0.9), "average must be an Average, or text"),
        (
            lambda: compare({"a": Averaged(0.1, "ema:0.9")}, Sides(), epochs=1, selection=Selection(tuned=True)),
            "of averaged weights",
        ),
    ],
)
def test_what_an_average_does_not_go_with_is_told(wrong, says: str) -> None:
    with pytest.raises((ValueError, TypeError), match=says):
        wrong()
