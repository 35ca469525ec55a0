"""Worker processes of this machine."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from laju.lab.workers.executors import Processes
from laju.lab.workers.interrupts import Interrupts

pytestmark = pytest.mark.slow


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
