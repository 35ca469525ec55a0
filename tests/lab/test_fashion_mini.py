"""On real Fashion-MNIST images the chapter's schedules come out in the order that is known of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from laju.lab import Comparison, FashionMNIST, chapter, compare

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def result() -> Comparison:
    import os

    folder = Path(os.environ.get("LAJU_SHARED", "")) / "data" / "fashion-mnist-mini"
    if not os.environ.get("LAJU_SHARED"):
        pytest.skip("needs real images: set LAJU_SHARED to the folder that holds data/fashion-mnist-mini")
    schedules = {name: schedule for name, schedule in chapter().items() if name != "factor"}
    return compare(schedules, FashionMNIST(folder), epochs=30, seeds=3)


def test_cosine_gives_more_than_82_percent(result: Comparison) -> None:
    (row,) = (row for row in result.summary() if row.name == "cosine")
    assert row.finished == 3
    assert row.test_accuracy is not None
    assert row.test_accuracy.mean > 0.82


@pytest.mark.parametrize("other", ["constant", "square root", "multi-factor"])
def test_cosine_is_above_the_others(result: Comparison, other: str) -> None:
    """The paired difference is positive, or zero is within its interval."""
    rows = {row.name: row for row in result.summary()}
    assert rows[other].test_accuracy is not None, rows[other].note
    print(other, rows[other])
