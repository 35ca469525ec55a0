"""Trainings that a study looks into run in the lab's own processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import laju
from laju.lab import Outcome, Store, Trial, compare
from laju.lab.engines import train
from laju.lab.engines.loop import Report
from laju.studies.watched import run_watched
from tests.lab.test_compare import Watcher
from tests.lab.tiny import Sides

pytestmark = pytest.mark.slow


def watched(trial: Trial, report: Report) -> tuple[Outcome, int]:
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
    found = run_watched(watched, work, jobs=jobs, display=watcher)
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
        run_watched(fails, work, jobs=jobs)


def test_results_with_a_fingerprint_are_kept_and_come_back_as_they_were(
    work: dict[tuple[str, int], tuple[Trial]], tmp_path: Path
) -> None:
    prints = {key: trial.fingerprint for key, (trial,) in work.items()}
    path = tmp_path / "a.sqlite"
    with pytest.raises(KeyboardInterrupt):
        run_watched(looks, work, jobs=1, display=Watcher(interrupt_after=1), store=path, fingerprints=prints)
    with Store(path) as store:
        kept = len(store)
        assert 1 <= kept < len(work)
    watcher = Watcher()
    found = run_watched(looks, work, jobs=1, display=watcher, store=path, fingerprints=prints)
    assert watcher.told[0][:3] == ("start", len(work), kept)
    assert sum(len(told) == 3 for told in watcher.told) == len(work) - kept
    with Store(path) as store:
        again = run_watched(fails, work, store=store, fingerprints=prints)  # nothing is left to do
    for key, (trial,) in work.items():
        assert found[key][0].records == again[key][0].records == train(trial).records
        assert repr(found[key]) == repr(again[key])  # NaN, too
    other = {key: f"another {value}" for key, value in prints.items()}
    with pytest.raises(OSError, match="no more of it"):
        run_watched(fails, work, jobs=1, store=path, fingerprints=other)
