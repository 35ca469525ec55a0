"""On real Fashion-MNIST images the chapter's schedules come out in the order that is known of them."""

from __future__ import annotations

import os
from itertools import combinations
from pathlib import Path

import pytest

from laju.lab import Comparison, FashionMNIST, compare
from laju.lab.statistics import paired_difference
from laju.studies.chapter import schedules as chapter

pytestmark = pytest.mark.slow

BEST_FIRST = ("cosine", "constant", "square root", "multi-factor")


@pytest.fixture(scope="module")
def result() -> Comparison:
    folder = os.environ.get("LAJU_SHARED")
    if not folder:
        pytest.skip("needs real images: set LAJU_SHARED to the folder that holds data/fashion-mnist-mini")
    schedules = {name: chapter()[name] for name in BEST_FIRST}
    return compare(schedules, FashionMNIST(Path(folder) / "data" / "fashion-mnist-mini"), epochs=30, seeds=3)


def accuracies(result: Comparison, name: str) -> list[float]:
    """The final test accuracy of each seed; those that collapsed count, as which do depends on the machine's last digits."""
    return [t["test_accuracy"] for t in result.trials() if t["schedule"] == name]


def test_cosine_is_above_82_percent_and_above_the_others(result: Comparison) -> None:
    means = {row.name: row.test_accuracy.mean for row in result.summary() if row.test_accuracy}
    assert means["cosine"] > 0.82
    assert max(means, key=means.__getitem__) == "cosine"


@pytest.mark.parametrize(("better", "worse"), list(combinations(BEST_FIRST, 2)))
def test_no_pair_contradicts_the_known_order_beyond_its_interval(result: Comparison, better: str, worse: str) -> None:
    difference = paired_difference(accuracies(result, better), accuracies(result, worse))
    assert difference is not None
    assert difference.n == 3
    assert difference.mean > 0 or not difference.excludes_zero, difference
