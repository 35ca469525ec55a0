"""A comparison that is killed at any moment and started again ends with the table of one that was left in peace."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from laju.lab import Store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="needs process groups and SIGKILL"),
]

ROOT = Path(__file__).parents[2]
PROGRAM = """
import json, sys
from laju.lab import compare
from tests.lab.tiny import Sides

schedules = {"a": 0.1, "wild": 1e38, "b": "cosine(0.5, total=4).per('epoch')"}
result = compare(schedules, Sides(n=4000), epochs=6, seeds=4, batch_size=16, jobs=int(sys.argv[2]), store=sys.argv[1])
print(json.dumps(result.to_json()))
"""


def start(store: Path, jobs: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", PROGRAM, str(store), str(jobs)]
    # Errors go to a file: workers that outlive the first process for a moment would keep a pipe open.
    with store.with_suffix(".errors").open("w") as errors:
        return subprocess.Popen(
            arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        )


def table(store: Path, jobs: int) -> Any:
    """Everything that an uninterrupted comparison says, but how long it took."""
    process = start(store, jobs)
    stdout, _ = process.communicate(timeout=120)
    assert process.returncode == 0, store.with_suffix(".errors").read_text()
    return without_seconds(json.loads(stdout))


def without_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_seconds(v) for key, v in value.items() if key != "seconds"}
    return [without_seconds(v) for v in value] if isinstance(value, list) else value


def kept(store: Path) -> int:
    with Store(store) as opened:
        return len(opened)


@pytest.mark.parametrize("victims", ["all processes", "the first process"])
def test_a_comparison_killed_at_random_moments_ends_with_the_same_table(tmp_path: Path, victims: str) -> None:
    store, moments = tmp_path / "killed.sqlite", random.Random(victims)
    counts = [0]
    for more in (0, 2, 3):  # while workers start, and after so many more trials
        process = start(store, jobs=2)
        deadline, at_least = time.monotonic() + 60, counts[-1] + more
        while time.monotonic() < deadline and process.poll() is None and (not store.exists() or kept(store) < at_least):
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 0.5))
        if victims == "all processes":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.communicate(timeout=60)
        counts.append(kept(store) if store.exists() else 0)
        assert counts[-1] >= counts[-2]
    assert 5 <= counts[-1] <= 12
    assert table(store, jobs=2) == table(tmp_path / "whole.sqlite", jobs=1)
