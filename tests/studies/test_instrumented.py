"""Trainings that a study looks into run in the lab's own processes."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import laju
from laju.lab import Execution, Outcome, Store, Trial, TrialsLost, compare
from laju.lab.engines import train
from laju.lab.engines.loop import Report
from laju.lab.trials.tasks import Digits
from laju.studies import Options, run
from laju.studies.instrumented import run_instrumented
from tests.lab.test_compare import Watcher
from tests.lab.tiny import Deadly, Sides

pytestmark = pytest.mark.slow


def instrumented(trial: Trial, report: Report) -> tuple[Outcome, int]:
    return train(trial, report), os.getpid()


def looks(trial: Trial, report: Report) -> tuple[Outcome, dict[str, float]]:
    outcome = train(trial, report)
    return outcome, {"third": outcome.records[0].train_loss / 3, "nan": float("nan")}


def fails(trial: Trial, report: Report) -> tuple[Outcome, int]:
    raise OSError("no more of it")


@pytest.fixture
def work() -> dict[tuple[str, int], tuple[Trial]]:
    return {("a", seed): (Trial(Sides(), laju.constant(0.1), seed, 1, 64),) for seed in range(3)}


@pytest.mark.parametrize("jobs", [1, 2])
def test_they_follow_a_comparison_in_the_same_processes(work: dict[tuple[str, int], tuple[Trial]], jobs: int) -> None:
    compared = compare({"a": 0.1}, Sides(), epochs=1, batch_size=64, seeds=3, jobs=2)
    watcher = Watcher()
    found = run_instrumented(instrumented, work, recipe="instrumented", execution=Execution(jobs=jobs), display=watcher)
    assert list(found) == list(work)
    assert {key: outcome.records for key, (outcome, _) in found.items()} == {
        key: outcome.records for key, outcome in compared.outcomes.items()
    }
    assert ({pid for _, pid in found.values()} == {os.getpid()}) == (jobs == 1)
    assert sorted(told[:2] for told in watcher.told[1:-1]) == sorted(work)
    compare({"b": 0.2}, Sides(), epochs=1, batch_size=64, seeds=2, jobs=2)


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_is_told_as_it_is(work: dict[tuple[str, int], tuple[Trial]], jobs: int) -> None:
    with pytest.raises(OSError, match="no more of it"):
        run_instrumented(fails, work, recipe="fails", execution=Execution(jobs=jobs))


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_training_whose_worker_is_killed_runs_again(tmp_path: Path) -> None:
    task = Deadly(seed=1, mark=tmp_path / "killed")
    work = {("a", seed): (Trial(task, laju.constant(0.1), seed, 1, 64),) for seed in range(3)}
    found = run_instrumented(instrumented, work, recipe="instrumented", execution=Execution(jobs=2))
    assert task.mark.exists()
    assert {key: outcome.records for key, (outcome, _) in found.items()} == {
        key: train(Trial(Sides(), laju.constant(0.1), key[1], 1, 64)).records for key in work
    }


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_training_that_kills_every_worker_is_named_and_the_others_are_kept(tmp_path: Path) -> None:
    task = Deadly(seed=1, mark=tmp_path / "killed", always=True)
    work = {("a", seed): (Trial(task, laju.constant(0.1), seed, 1, 64),) for seed in range(4)}
    with pytest.raises(TrialsLost, match=r"'a' with seed 1: its worker process died \(killed, .* 3 times") as lost:
        run_instrumented(
            instrumented, work, recipe="instrumented", execution=Execution(jobs=2), store=tmp_path / "a.sqlite"
        )
    assert list(lost.value.reasons) == [("a", 1)]
    with Store(tmp_path / "a.sqlite") as store:
        assert len(store) == 3


def test_results_are_kept_by_recipe_and_arguments_and_come_back_as_they_were(
    work: dict[tuple[str, int], tuple[Trial]], tmp_path: Path
) -> None:
    path = tmp_path / "a.sqlite"
    with pytest.raises(KeyboardInterrupt):
        run_instrumented(
            looks, work, recipe="looks", execution=Execution(jobs=1), display=Watcher(interrupt_after=1), store=path
        )
    with Store(path) as store:
        kept = len(store)
        assert 1 <= kept < len(work)
    watcher = Watcher()
    found = run_instrumented(looks, work, recipe="looks", execution=Execution(jobs=1), display=watcher, store=path)
    assert watcher.told[0][:3] == ("start", len(work), kept)
    assert sum(len(told) == 3 for told in watcher.told) == len(work) - kept
    with Store(path) as store:
        again = run_instrumented(fails, work, recipe="looks", store=store)  # nothing is left to do
    for key, (trial,) in work.items():
        assert found[key][0].records == again[key][0].records == train(trial).records
        assert repr(found[key]) == repr(again[key])  # NaN, too
    for recipe, changed in (
        ("another", work),
        ("looks", {key: (*arguments, "more") for key, arguments in work.items()}),
    ):
        with pytest.raises((OSError, TypeError)):  # from the function, which takes no "more"
            run_instrumented(fails, changed, recipe=recipe, execution=Execution(jobs=1), store=path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            Options(execution=Execution(time_limit=9)),
            "time_limit=9.0 does not go with this: this",
        ),
        (Options(execution=Execution(device="cuda")), "device='cuda' does not go with this"),
        (Options(jobs=2, execution=Execution(jobs=1)), "jobs=2 and an Execution with jobs=1 are both given; keep one"),
        (Options(execution=2), "execution must be an Execution, got 2"),  # type: ignore[arg-type]
    ],
)
@pytest.mark.parametrize("name", ["warmup-length", "restarts-and-averaging"])
def test_an_execution_that_a_study_cannot_have_is_refused_before_it_trains(
    name: str, options: Options, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Digits, "model", None)  # which every training calls
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        run(name, options)
