"""Worker processes of this machine."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from laju.lab.workers.executors import Processes
from laju.lab.workers.interrupts import Interrupts

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]


def test_workers_that_are_killed_right_after_a_job_was_begun_leave_no_error_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[BaseException | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda arguments: errors.append(arguments.exc_value))
    with Interrupts() as interrupts:
        for _ in range(60):  # without the wait in `close`, one in ten
            place = Processes(2, tmp_path, interrupts)
            futures = [place.submit(time.sleep, 60) for _ in range(2)]
            place.close(kill=True)
            assert all(future.exception(timeout=10) is not None for future in futures)
    assert errors == []


TRACKERS = """
import os, signal
from multiprocessing import resource_tracker

from joblib.externals.loky.backend import resource_tracker as loky

from laju.lab import compare
from tests.lab.test_compare import Watcher
from tests.lab.tiny import Sides


class Killer(Watcher):
    def finished(self, name, seed, outcome):
        super().finished(name, seed, outcome)
        if len(self.told) in (2, 5):
            for tracker in (loky, resource_tracker):
                if tracker._resource_tracker._pid is not None:
                    os.kill(tracker._resource_tracker._pid, signal.SIGKILL)
                    print("killed")


found = compare({"a": 0.1, "b": 0.2}, Sides(), epochs=2, seeds=4, jobs=2, display=Killer())
again = compare({"a": 0.1, "b": 0.2}, Sides(), epochs=2, seeds=4, jobs=2)
print(len(found.outcomes), len(again.outcomes))
"""


def test_a_killed_resource_tracker_costs_nothing_and_nothing_is_said_of_it() -> None:
    done = subprocess.run([sys.executable, "-c", TRACKERS], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    *killed, trials = done.stdout.splitlines()
    assert len(killed) >= 2
    assert set(killed) == {"killed"}
    assert trials == "8 8"
