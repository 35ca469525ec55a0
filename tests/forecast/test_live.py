"""The ending of a run that is going on: the same answers, one at a time, and nothing that stops a training."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import laju
from laju.forecast import Curve, LiveEnding, ending, learn
from laju.forecast.live import Process

TOTAL = 400
RUN = laju.wsd(0.1, total=TOTAL, cooldown=160)


def losses(run: laju.Schedule, level: float = 3.0, seed: int = 0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    at = np.arange(4, TOTAL + 1, 4)
    rates = run.values(TOTAL + 1)
    s = np.cumsum(rates)[at - 1] / 0.1 / 100
    noise = np.random.default_rng(seed).normal(1, 3e-4, len(at))
    return at, (level + 0.6 * s**-0.4 - 0.2 * (1 - rates[at] / 0.1)) * noise


@pytest.fixture(scope="module")
def past() -> Any:
    runs = [laju.wsd(0.1, total=TOTAL, cooldown=c) for c in (120, 150, 180, 200)]
    return learn([Curve(*losses(r, 3 + k / 100, k), r, f"run {k}") for k, r in enumerate(runs)])


def test_a_replay_gives_at_each_row_the_ending_of_the_rows_so_far(past: Any) -> None:
    at, loss = losses(RUN, seed=9)
    refused = answered = 0
    with LiveEnding(RUN, prior=past) as live:
        for n in range(1, len(at) + 1):
            live.add(at[n - 1], loss[n - 1])
            if n % 5 and n > 6:
                continue
            found = live.wait(60)
            if n < 5:
                assert found is None
                continue
            assert found == ending(at[:n], loss[:n], RUN, prior=past)
            assert live.row == at[n - 1]
            refused, answered = refused + bool(found.refused), answered + (found.refused is None)
            assert bool(live.figures()) == (found.refused is None)
    assert live.note is None
    assert refused
    assert answered > 5
    end = float(loss[-1])
    assert live.figures() == {
        "forecast/end": end,
        "forecast/low": end,
        "forecast/high": end,
        "forecast/update": TOTAL,
    }


def test_one_forecast_at_a_time_and_of_many_rows_the_newest_count() -> None:
    at, loss = losses(RUN)
    with LiveEnding(RUN, prior=None) as live:
        for row in zip(at[:80], loss[:80], strict=True):
            live.add(*row)
        found = live.wait(60)
        assert live.row == at[79]
        assert found == ending(at[:80], loss[:80], RUN, prior=None)
        assert live._process.begun <= 2  # one of the rows at its beginning, one of all


def test_a_training_that_is_faster_than_its_forecasts_gives_them_a_share_of_a_core() -> None:
    process = Process(share=0.1)
    at, loss = losses(RUN)
    question = (at[:60], loss[:60], RUN.values(TOTAL), TOTAL, 0.9, "auto")
    asked, began = 0, time.monotonic()
    while time.monotonic() - began < 4:
        process.ask(None, 0, lambda: question)
        asked += 1
        time.sleep(0.002)
    process.close()
    assert asked > 200
    assert 1 <= process.begun < asked / 5


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), None, "much", [1, 2]])
def test_a_loss_that_is_no_number_stops_nothing(bad: Any) -> None:
    at, loss = losses(RUN)
    with LiveEnding(RUN, prior=None) as live:
        for n in range(92):
            live.add(at[n], bad if n == 40 else loss[n])
        found = live.wait(60)
        assert found is not None
        assert found.refused is None
        if isinstance(bad, float):
            assert "1 of 92 losses are not finite" in found.notes[0]
        else:
            assert live.note is not None
            assert "Error" in live.note


def test_an_error_in_the_ending_is_a_note_and_the_next_answer_comes() -> None:
    at, loss = losses(RUN)
    with LiveEnding(RUN, at=200, prior=None) as live:
        for n in range(60):  # beyond the update that is asked about
            live.add(at[n], loss[n])
        assert live.wait(60) is None
        assert live.note is not None
        assert "at must not be before the last row" in live.note
    with LiveEnding(RUN, prior=None) as live:
        for n in range(60):
            live.add(at[n] if n != 30 else 0.5, loss[n])
        assert live.wait(60) is None
        assert live.note is not None
        assert "whole numbers" in live.note


def test_a_run_that_diverges_is_refused() -> None:
    at, loss = losses(RUN)
    with LiveEnding(RUN, prior=None) as live:
        for n in range(92):
            live.add(at[n], loss[n] if n < 60 else float("nan"))
        found = live.wait(60)
    assert found is not None
    assert found.refused is not None
    assert "diverged" in found.refused
    assert live.figures() == {}


def test_a_process_that_is_killed_is_begun_anew() -> None:
    at, loss = losses(RUN)
    with LiveEnding(RUN, prior=None) as live:
        for n in range(40):
            live.add(at[n], loss[n])
        live.wait(60)
        child = live._process._child
        assert child is not None
        child.kill()
        child.wait()
        live.add(at[40], loss[40])
        live.wait(60)
        assert live.row == at[40]


def test_processes_that_end_at_once_are_begun_three_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false" if Path("/bin/false").exists() else "false")
    at, loss = losses(RUN)
    with LiveEnding(RUN, prior=None) as live:
        for n in range(40):
            live.add(at[n], loss[n])
            live.wait(10)
        assert live.ending is None
        assert live.note is not None
        assert "ended with status 1" in live.note
        assert live._process.begun <= 3


def test_arguments_are_checked_before_the_training(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="level must be between 0 and 1, got 2"):
        LiveEnding(RUN, level=2)
    with pytest.raises(ValueError, match="has no end"):
        LiveEnding(laju.constant(0.1))
    with pytest.raises(ValueError, match="prior must be"):
        LiveEnding(RUN, prior="adam")
    with pytest.raises(OSError, match=r"mine\.json"):
        LiveEnding(RUN, prior=tmp_path / "mine.json")


def test_closing_ends_the_process_and_keeps_the_answer() -> None:
    at, loss = losses(RUN)
    live = LiveEnding(RUN, prior=None)
    for n in range(92):
        live.add(at[n], loss[n])
    found = live.wait(60)
    child = live._process._child
    assert child is not None
    live.close()
    assert child.poll() is not None
    live.add(at[92], loss[92])
    assert live.wait(1) == found
    live.close()


def test_a_script_without_a_main_guard_runs_once_and_leaves_no_process(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent("""
        import laju
        from laju.forecast import LiveEnding
        print("trains")
        live = LiveEnding(laju.linear(0.1, 0, total=50), prior=None)
        for update in range(1, 41):
            live.add(update, 2 + update**-0.5)
        print(live.wait(60).refused, live._process._child.pid)
        """)
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    first, second = done.stdout.splitlines()
    refused, pid = second.split()
    assert (first, refused) == ("trains", "None")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("the process is still there")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_the_process_ends_when_its_training_is_killed() -> None:
    code = (
        "import os, signal, laju\nfrom laju.forecast import LiveEnding\n"
        "live = LiveEnding(laju.linear(0.1, 0, total=50), prior=None)\n"
        "for update in range(1, 41): live.add(update, 2 + update**-0.5)\n"
        "live.wait(60); print(live._process._child.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    pid, deadline = int(done.stdout), time.monotonic() + 120
    while time.monotonic() < deadline:
        if not Path(f"/proc/{pid}/cmdline").exists() or b"serving" not in Path(f"/proc/{pid}/cmdline").read_bytes():
            return
        time.sleep(0.05)
    pytest.fail("the process is still there")


def test_a_prior_travels_as_its_runs(past: Any) -> None:
    live = LiveEnding(RUN, prior=past)
    assert pickle.loads(live._prior).runs == past.runs
    live.close()
