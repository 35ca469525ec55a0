"""How long a run takes is told once, early, from what its first seconds showed."""

from __future__ import annotations

from typing import Any

import pytest

from laju.lab.live.foretold import Foretold
from laju.lab.trials import Outcome, Record
from laju.lab.trials.progress import Running


class Silent:
    """A display that remembers what it was told."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.calls.append(name)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def watched() -> tuple[Foretold, list[str], Clock, Silent]:
    told: list[str] = []
    clock, silent = Clock(), Silent()
    return Foretold(silent, told.append, clock), told, clock, silent  # type: ignore[arg-type]  # every method is there


def at(name: str, update: int) -> Running:
    return Running(name, 0, 7050, [Record(update, update / 235, 0.1, 1.0, 0.5)])


def test_the_time_is_what_the_speed_of_all_running_trials_says(watched: Any) -> None:
    display, told, clock, silent = watched
    display.start(15, 0, 2)
    display.planned(90_000, 105_750)
    display.running([])
    for update in range(50, 201, 50):  # a record every second: 50 updates a second in one trial, 100 in the other
        assert not told
        display.running([at("constant", update), at("cosine", 2 * update)])
        display.running([at("constant", update), at("cosine", 2 * update)])
        clock.now += 1
    assert told == ["It will take about 10 min: 90,000 updates at 150 a second, 2 trials at a time, measured over 450."]
    display.running([at("constant", 5000), at("cosine", 5000)])
    assert len(told) == 1
    assert silent.calls[:3] == ["start", "planned", "running"]


def test_waiting_for_a_record_is_no_measurement(watched: Any) -> None:
    display, told, clock, _ = watched
    display.start(1, 0, 1)
    display.planned(1000, 1000)
    for _ in range(100):
        display.running([at("constant", 50)])
        clock.now += 1
    assert not told
    display.running([at("constant", 100)])
    assert told == ["It will take about 33 min: 1,000 updates at 0.5 a second, measured over 50."]


def test_nothing_is_told_while_fewer_trials_run_than_can_and_when_all_is_stored(watched: Any) -> None:
    display, told, clock, silent = watched
    display.start(4, 0, 2)
    display.planned(1000, 1000)
    for update in range(50, 1000, 50):
        display.running([at("constant", update)])
        clock.now += 1
    assert not told
    display.start(4, 4, 0)
    display.finished("constant", 0, Outcome("finished", (), 1.0))
    display.stop()
    assert not told
    assert silent.calls[-3:] == ["start", "finished", "stop"]
