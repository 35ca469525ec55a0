"""Trainings that a study looks into run in the lab's own processes."""

from __future__ import annotations

import os

import pytest

import laju
from laju.lab import Outcome, Trial, compare
from laju.lab.engines import train
from laju.studies.watched import run_watched
from tests.lab.test_compare import Watcher
from tests.lab.tiny import Sides

pytestmark = pytest.mark.slow


def watched(trial: Trial) -> tuple[Outcome, int]:
    return train(trial), os.getpid()


def fails(trial: Trial) -> tuple[Outcome, int]:
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
