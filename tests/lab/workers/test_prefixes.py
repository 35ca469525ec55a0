"""Shared prefixes change nothing but how long it takes: outcomes are those of separate runs, bit by bit."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch

from laju import Schedule, constant, cosine
from laju.core.pieces import Constant, Ramp, Table
from laju.lab import Comparison, Execution, Interrupted, Optimizer, Outcome, Store, Task, Trial, compare, get_task
from laju.lab.engines import train, train_part
from laju.lab.engines.loop import outcome
from laju.lab.trials import Record
from tests.lab.test_compare import Watcher
from tests.lab.tiny import Explosion, Sides

SEPARATELY = Execution(jobs=1, share_prefixes=False)
COOLDOWNS: dict[str, Schedule] = {
    **{f"cooldown {n}": Ramp(0, 0.2, 13) >> Constant(0.2, 87 - n) >> Ramp(0.2, 0, n) for n in (61, 40, 22, 21)},
    "no warmup": constant(0.2),
}
"""Of 100 updates; they part within epochs of 25 updates and between two records."""
OPTIMIZERS = [Optimizer(), Optimizer(momentum=0.9, weight_decay=1e-3), Optimizer(kind="adam"), Optimizer(kind="radam")]


def results(comparison: Comparison) -> dict[tuple[str, int], Outcome]:
    return {key: replace(outcome, seconds=0.0) for key, outcome in comparison.outcomes.items()}


def both(
    task: Task, schedules: Mapping[str, Schedule], jobs: int, **options: object
) -> tuple[Comparison, Comparison, Watcher]:
    """Separately and with shared prefixes, and who watched the latter."""
    watcher = Watcher()
    shared = compare(schedules, task, jobs=jobs, display=watcher, **options)
    return compare(schedules, task, execution=SEPARATELY, **options), shared, watcher


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("jobs", [1, 2])
def test_outcomes_are_those_of_separate_runs_bit_by_bit(optimizer: Optimizer, jobs: int) -> None:
    # Its dropout draws from torch's random state, which is thus a part of a branch point.
    separate, shared, watcher = both(
        Sides(n=400), COOLDOWNS, jobs, epochs=4, batch_size=16, seeds=2, optimizer=optimizer
    )
    assert results(shared) == results(separate)
    trained, separately = watcher.plans[0]
    assert trained < 0.65 * separately == 0.65 * 2 * 5 * 100


class Normalised(Sides):
    """With batch normalisation, whose running means are part of the state."""

    def model(self, seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        return torch.nn.Sequential(
            torch.nn.Linear(2, 16), torch.nn.BatchNorm1d(16), torch.nn.ReLU(), torch.nn.Linear(16, 2)
        )


def test_running_means_are_a_part_of_a_branch_point() -> None:
    separate, shared, _ = both(Normalised(n=400), COOLDOWNS, 1, epochs=4, batch_size=16, seeds=1)
    assert results(shared) == results(separate)


def test_convolutions_too() -> None:
    schedules = {name: COOLDOWNS[name] for name in ("cooldown 61", "cooldown 22")}
    momentum = Optimizer(momentum=0.9)
    separate, shared, watcher = both(get_task("digits"), schedules, 1, epochs=4, seeds=1, optimizer=momentum)
    assert results(shared) == results(separate)
    assert watcher.plans[0][0] < watcher.plans[0][1]


def test_a_loss_that_becomes_infinite_in_what_is_shared_ends_every_trial_alike() -> None:
    # 12 rates that each make the loss 10⁴ times larger: infinite in update 30, which a record after update 50 finds.
    begin = (0.0,) * 20 + (50.5,) * 12
    schedules = {str(n): Table((*begin, *(0.0,) * n, *(1.0,) * 40)) for n in (8, 30, 60)}
    separate, shared, watcher = both(Explosion(n=1000), schedules, 1, epochs=1, batch_size=10, seeds=1)
    assert {o.status for o in shared.outcomes.values()} == {"diverged"}
    assert {o.diverged_at for o in shared.outcomes.values()} == {30}
    assert results(shared) == results(separate)
    assert watcher.plans[0][0] < watcher.plans[0][1]


@pytest.mark.parametrize("stops", [(1, 2, 3, 99), (50,), (25, 75), (24, 51), tuple(range(1, 100))])
def test_a_trial_in_parts_is_the_trial(stops: tuple[int, ...]) -> None:
    trial = Trial(Sides(n=400), cosine(0.3, total=100), 3, 4, 16, Optimizer(momentum=0.9))
    whole, state = train(trial), None
    for stop in (*stops, trial.plan.updates):
        told: list[Record] = []
        progress, state = train_part(trial, state, stop, keep=True, report=told.append)
        assert tuple(told) == tuple(r for r in whole.records if r.update <= stop)  # those of the parts before, too
    assert replace(outcome(trial, progress), seconds=0.0) == replace(whole, seconds=0.0)


@pytest.mark.parametrize("framework", ["jax", "tensorflow"])
def test_only_trials_of_the_lab_s_own_torch_loop_are_trained_in_parts(framework: str) -> None:
    trial = Trial(get_task("digits"), constant(0.1), 0, 1, 64, framework=framework)
    with pytest.raises(ValueError, match="at once, not in parts"):
        train_part(trial, None, 10, keep=False)


# --- kept branch points ------------------------------------------------------------------------------------------------


def test_a_schedule_that_is_added_later_goes_on_where_the_others_parted(tmp_path: Path) -> None:
    options = {"epochs": 4, "batch_size": 16, "seeds": 1, "jobs": 1, "store": tmp_path / "a.sqlite"}
    some = {name: COOLDOWNS[name] for name in ("cooldown 61", "cooldown 40")}
    compare(some, Sides(n=400), **options)
    watcher = Watcher()
    all_of_them = compare({**some, "cooldown 22": COOLDOWNS["cooldown 22"]}, Sides(n=400), display=watcher, **options)
    # The two parted after update 13 + 26 + 1, where the longest cooldown leaves the peak.
    assert watcher.plans == [(100 - 40, 100)]
    separate = compare(COOLDOWNS, Sides(n=400), epochs=4, batch_size=16, seeds=1, execution=SEPARATELY)
    assert results(all_of_them).items() <= results(separate).items()


def test_what_was_reached_before_ctrl_c_is_not_trained_again(tmp_path: Path) -> None:
    options = {"epochs": 4, "batch_size": 16, "seeds": 1, "jobs": 1, "store": tmp_path / "a.sqlite"}
    schedules = {name: schedule for name, schedule in COOLDOWNS.items() if name != "no warmup"}
    with pytest.raises(Interrupted):
        compare(schedules, Sides(n=400), display=Watcher(interrupt_after=1), **options)
    watcher = Watcher()
    rest = compare(schedules, Sides(n=400), display=watcher, **options)
    ((trained, separately),) = watcher.plans
    assert trained <= separately - 40
    assert results(rest) == results(
        compare(
            schedules, Sides(n=400), epochs=4, batch_size=16, seeds=1, execution=Execution(jobs=2, share_prefixes=False)
        )
    )


def test_branch_points_that_are_gone_are_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"epochs": 4, "batch_size": 16, "seeds": 1, "jobs": 1, "store": tmp_path / "a.sqlite"}
    some = {name: COOLDOWNS[name] for name in ("cooldown 61", "cooldown 40")}
    compare(some, Sides(n=400), **options)
    # Another program's have taken their place after this one has made its plan.
    monkeypatch.setattr(Store, "branch_point", lambda self, name: None)
    found = compare({"cooldown 22": COOLDOWNS["cooldown 22"]}, Sides(n=400), **options)
    separate = compare(COOLDOWNS, Sides(n=400), epochs=4, batch_size=16, seeds=1, execution=SEPARATELY)
    assert results(found).items() <= results(separate).items()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_worker_killed_in_a_shared_part_costs_only_that_part(tmp_path: Path) -> None:
    class Killer(Watcher):
        def finished(self, name: str, seed: int, outcome: Outcome) -> None:
            super().finished(name, seed, outcome)
            if len(self.told) == 2:
                for worker in workers():
                    with contextlib.suppress(psutil.NoSuchProcess):  # the pool ends the others of a dead worker
                        worker.kill()

    options = {"epochs": 4, "batch_size": 16, "seeds": 2}
    found = compare(COOLDOWNS, Sides(n=400), jobs=2, display=Killer(), store=tmp_path / "a.sqlite", **options)
    assert results(found) == results(compare(COOLDOWNS, Sides(n=400), execution=SEPARATELY, **options))


def workers() -> list[psutil.Process]:
    """The worker processes of this one that live."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "popen_loky" in " ".join(child.cmdline()):
                found.append(child)
    return found
