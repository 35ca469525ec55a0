"""The chapter's schedules, the rates that its PyTorch loop really used, and its published figures beside one's own."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.optim import lr_scheduler

from laju.lab import Comparison, Optimizer
from laju.lab.trials import Outcome, Record
from laju.studies.chapter import PUBLISHED, as_published, beside_published
from laju.studies.chapter import schedules as chapter
from laju.units import RunPlan

EPOCHS = 30
FULL = RunPlan(samples=60_000, batch_size=256, epochs=EPOCHS)


def loops_rates(base: float, make_scheduler, plotted: int = 0) -> list[float]:
    """The rate of every epoch in the chapter's PyTorch `train`, after its plot has asked the same scheduler."""
    trainer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
    scheduler = make_scheduler(trainer)
    builtin = isinstance(scheduler, lr_scheduler.LRScheduler)
    for t in range(plotted):
        if builtin:
            trainer.step()
            scheduler.step()
        else:
            scheduler(t)
    used = []
    for epoch in range(EPOCHS):
        used.append(trainer.param_groups[0]["lr"])
        trainer.step()
        if builtin:
            scheduler.step()
        else:
            for group in trainer.param_groups:
                group["lr"] = scheduler(epoch)
    return used


def cosine(t: int, warmup: int) -> float:
    if t < warmup:
        return 0.3 * t / warmup
    return 0.01 + 0.29 * (1 + math.cos(math.pi * (min(t, 20) - warmup) / (20 - warmup))) / 2


class Factor:
    """Multiplies before it returns, and remembers."""

    def __init__(self) -> None:
        self.rate = 0.3

    def __call__(self, t: int) -> float:
        self.rate = max(0.01, self.rate * 0.9)
        return self.rate


RUNS = {
    "constant": (0.3, lambda _: lambda t: 0.3, EPOCHS),
    "square root": (0.1, lambda _: lambda t: 0.1 * (t + 1) ** -0.5, EPOCHS),
    "factor": (0.3, lambda _: Factor(), 0),  # which the chapter only plots
    "multi-factor": (0.5, lambda o: lr_scheduler.MultiStepLR(o, milestones=[15, 30], gamma=0.5), EPOCHS),
    "cosine": (0.3, lambda _: lambda t: cosine(t, 0), EPOCHS),
    "cosine with warmup": (0.3, lambda _: lambda t: cosine(t, 5), EPOCHS),
}


@pytest.mark.parametrize("name", list(chapter()))
def test_the_rates_as_published_are_those_that_the_chapters_loop_uses(name: str) -> None:
    assert list(as_published()) == list(chapter())
    per_epoch = as_published()[name].child
    assert per_epoch.values(EPOCHS).tolist() == pytest.approx(loops_rates(*RUNS[name]), rel=1e-12)


def test_plotting_takes_the_multi_factor_scheduler_to_its_end_before_it_trains() -> None:
    base, make, _ = RUNS["multi-factor"]
    assert loops_rates(base, make, plotted=0) == chapter()["multi-factor"].child.values(EPOCHS).tolist()
    assert set(loops_rates(base, make, plotted=EPOCHS)) == {0.125}


def compared(shift: float = 0.0, seeds: int = 3, spread: float = 0.001, plan: RunPlan = FULL, **changed) -> Comparison:
    """A comparison whose cosine ended at the published figures plus `shift`, ± `spread` from seed to seed."""
    theirs = PUBLISHED["cosine"]
    outcomes = {}
    for seed in range(seeds):
        off = shift + spread * (seed - (seeds - 1) / 2)
        figures = {name: value + off for name, value in vars(theirs).items()}
        record = Record(update=plan.updates, epoch=plan.epochs, rate=0.01, **figures)
        outcomes["cosine", seed] = Outcome("finished", (record,), 1.0)
    schedules = {"cosine": as_published()["cosine"]}
    facts = {"task": "fashion-mnist", "optimizer": Optimizer(), **changed}
    return Comparison(schedules=schedules, plan=plan, seeds=tuple(range(seeds)), outcomes=outcomes, **facts)


def test_a_published_figure_agrees_when_one_more_run_could_have_given_it() -> None:
    # Three seeds with s = 0.001: t = 4.303, so one more run lies within 4.303 · 0.001 · √(4/3) = 0.00497 of the mean.
    for shift, verdict in ((0.0, "agrees"), (0.0054, "agrees"), (0.0056, "differs")):
        (line,) = beside_published(compared(shift))
        assert line.same_rates
        assert line.verdict.startswith(verdict)
    (line,) = beside_published(compared(0.0056))
    assert line.verdict == "differs in train loss and train accuracy and test accuracy"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"task": "digits"}, "digits is other data"),
        ({"plan": replace(FULL, samples=3600)}, "3,600 images, not 60,000"),
        ({"plan": replace(FULL, epochs=2)}, "2 epochs, not 30"),
        ({"plan": replace(FULL, batch_size=64)}, "batch size 64, not 256"),
        ({"optimizer": Optimizer(momentum=0.9)}, "sgd(momentum=0.9), not plain SGD"),
        ({"seeds": 1}, "one seed gives no interval"),
    ],
)
def test_other_runs_are_not_compared_and_the_reason_is_said(changed: dict, why: str) -> None:
    (line,) = beside_published(compared(**changed))
    assert line.differ is None
    assert why in line.verdict


def test_a_schedule_whose_runs_did_not_all_finish_is_not_compared() -> None:
    full = compared()
    outcomes = {**full.outcomes, ("cosine", 1): Outcome("diverged", (), 1.0, diverged_at=7)}
    (line,) = beside_published(replace(full, outcomes=outcomes))
    assert line.verdict == "not all runs finished: 1 of 3 diverged at update 7"


def test_schedules_at_the_rates_of_the_plots_are_marked_and_those_that_nobody_published_say_so() -> None:
    schedules = {**chapter(), "mine": chapter()["cosine"]}
    comparison = Comparison("fashion-mnist", schedules, FULL, Optimizer(), (0,), {})
    lines = {line.name: line for line in beside_published(comparison)}
    assert list(lines) == list(chapter())
    assert [name for name, line in lines.items() if not line.same_rates] == [
        "square root",
        "multi-factor",
        "cosine",
        "cosine with warmup",
    ]
    assert lines["factor"].verdict == lines["cosine with warmup"].verdict == "none published"


def test_several_frameworks_are_each_set_beside_the_published_figures() -> None:
    schedules = {f"cosine ({home})": chapter()["cosine"] for home in ("torch", "jax")}
    homes = {f"cosine ({home})": home for home in ("torch", "jax")}
    comparison = Comparison("fashion-mnist", schedules, FULL, Optimizer(), (0,), {}, frameworks=homes)
    assert [(line.name, line.framework) for line in beside_published(comparison)] == [
        ("cosine", "torch"),
        ("cosine", "jax"),
    ]
