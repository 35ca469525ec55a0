"""What the live display says of where running trials will end."""

from __future__ import annotations

import json

import numpy as np
import pytest

import laju
import laju.lab.live.endings as endings_module
from laju.forecast import ending
from laju.lab import compare
from laju.lab.live.endings import Endings
from laju.lab.live.notebook import NotebookFigure
from laju.lab.store.curves import stretches
from laju.lab.trials import Outcome, Record
from laju.lab.trials.progress import Channel, Running
from tests.lab.test_live import Screen
from tests.lab.tiny import Sides

TOTAL, IN_EPOCH = 1000, 20
RUN = laju.wsd(0.1, total=TOTAL, cooldown=500)


def trial(until: int, *, known: bool = True, name: str = "a") -> Running:
    """A trial whose loss follows a law of annealing, with records of running means."""
    rates, at = RUN.values(TOTAL + 1), np.arange(1, TOTAL + 1)
    loss = 3 + 0.6 * (np.cumsum(rates)[at - 1] / 10) ** -0.4 - 0.2 * (1 - rates[at] / 0.1)
    records = tuple(
        Record(u, u / IN_EPOCH, float(rates[u]), float(np.mean(loss[(u - 1) // IN_EPOCH * IN_EPOCH : u])), 0.5)
        for u in range(10, until + 1, 10)
    )
    return Running(name, 0, TOTAL, records, json.dumps(RUN.to_json()) if known else None)


@pytest.fixture(autouse=True)
def _from_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings_module, "AFTER", 0.0)


def waited(endings: Endings) -> None:
    assert endings._process is not None
    endings._process.wait(120)


def test_a_trial_has_the_ending_of_its_stretches_beside_its_curve() -> None:
    running = trial(900)
    at, losses = stretches(running.records, IN_EPOCH)
    found = ending(at, losses, RUN, TOTAL)
    assert found.value is not None
    assert found.high is not None
    screen = Screen(100, 30)
    screen.display.start(2, 0, 1)
    try:
        assert not any("ends at" in line for line in screen.show([running]))
        waited(screen.display.endings)
        lines = screen.show([running, trial(300, known=False, name="b")])
    finally:
        screen.display.stop()
    assert any("ends at" in line for line in lines)
    (row,) = [line for line in lines if line.startswith("a ")]
    assert f"{found.value:.4g}"[:4] in row
    assert f"± {found.high - found.value:.2g}" in row
    (other,) = [line for line in lines if line.startswith("b ")]
    assert "±" not in other


def test_nothing_is_asked_of_trials_whose_rates_are_not_known_and_before_some_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = Endings()
    found.look([trial(900, known=False)], 100)
    monkeypatch.setattr(endings_module, "AFTER", 15.0)
    found.look([trial(900)], 14)
    assert found._process is None
    found.stop()


def test_a_notebook_says_the_ending_with_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    figure = NotebookFigure()
    monkeypatch.setattr(figure, "_show", lambda curves, shown, when: names.extend(shown))
    figure.start(1, 0, 1)
    figure._show_running([trial(900)])
    waited(figure.endings)
    figure._show_running([trial(900)])
    figure.stop()
    assert "ends at" not in names[0]
    assert "ends at 3.0" in names[1]


def test_trials_tell_their_schedules_but_not_where_several_share_a_stretch(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, str | None]] = []
    tell = Channel.tell

    def seen(
        self: Channel, print_: str, name: str, seed: int, updates: int, record: Record, schedule: str | None = None
    ) -> None:
        told.append((name, schedule))
        tell(self, print_, name, seed, updates, record, schedule)

    class Nobody:
        def start(self, total: int, kept: int, jobs: int) -> None: ...
        def planned(self, updates: int, separately: int) -> None: ...
        def running(self, trials: list[Running]) -> None: ...
        def finished(self, name: str, seed: int, outcome: Outcome) -> None: ...
        def stop(self) -> None: ...

    monkeypatch.setattr(Channel, "tell", seen)
    alone = "linear(0.2, 0, total='100%')"
    schedules = {"early": "wsd(0.1, total='100%', cooldown='30%')", "late": "wsd(0.1, total='100%', cooldown='10%')"}
    compare({"alone": alone, **schedules}, Sides(), epochs=10, jobs=1, display=Nobody())
    by_name = {name: {text for other, text in told if other == name} for name, _ in told}
    (text,) = by_name.pop("alone")
    assert json.loads(text or "")["written"].startswith("linear(0.2, 0, total=")
    assert {None} in by_name.values()
    for name in schedules:
        (text,) = by_name.pop(name)
        assert json.loads(text or "")["written"].startswith("wsd(0.1, total=")
    assert set(map(frozenset, by_name.values())) == {frozenset({None})}
