"""Two hundred kills at random moments, of every kind of process: nothing finished is lost or run twice.

The driver is forked from a process that has loaded torch already, so that most kills hit training and writing and not imports.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.name != "posix", reason="needs fork, process groups and SIGKILL"),
]

ROOT = Path(__file__).parents[2]
KILLS = 200
NURSERY = """
import json, os, signal, sys
import torch
from laju.lab import compare
from laju.core.pieces import Constant, Ramp
from tests.lab.tiny import Sides

Sides(n=2000).fingerprint
schedules = {f"cooldown {n}": Constant(0.2, 400 - n) >> Ramp(0.2, 0, n) for n in (200, 120, 60)}
schedules |= {"a": 0.1, "wild": 1e38}
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    store, jobs, out = json.loads(line)
    child = os.fork()
    if child == 0:
        os.setsid()
        # A worker that loses its driver while it starts prints what went wrong, on what it has in common with this process.
        for stream in (1, 2):
            os.dup2(os.open(out + ".said", os.O_CREAT | os.O_APPEND | os.O_WRONLY), stream)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.environ["SOAK"] = store
        result = compare(schedules, Sides(n=2000), epochs=4, seeds=3, batch_size=20, jobs=jobs, store=store)
        with open(out + ".part", "w") as file:
            json.dump(result.findings().to_json(), file)
        os.replace(out + ".part", out)
        os._exit(0)
    print(child, flush=True)
"""


class Nursery:
    """A process that has loaded everything, and forks drivers."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", NURSERY],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def start(self, store: Path, jobs: int, out: Path) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([str(store), jobs, str(out)]) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@pytest.fixture
def nursery() -> Any:
    made = Nursery()
    yield made
    made.process.kill()
    made.process.communicate()


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def finished(store: Path) -> dict[str, str]:
    """When each kept trial was written, read without laju."""
    if not store.exists():
        return {}
    with closing(sqlite3.connect(store, timeout=30)) as connection:
        try:
            rows = connection.execute("SELECT fingerprint, written || seconds FROM trials").fetchall()
            half = connection.execute(
                "SELECT COUNT(*) FROM trials WHERE status != 'diverged' AND fingerprint NOT IN (SELECT trial FROM records)"
            ).fetchone()
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise
            return {}
        assert half == (0,)
        return dict(rows)


def table(out: Path) -> Any:
    def without_seconds(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without_seconds(v) for key, v in value.items() if key != "seconds"}
        return [without_seconds(v) for v in value] if isinstance(value, list) else value

    return without_seconds(json.loads(out.read_text()))


def run(nursery: Nursery, store: Path, jobs: int, out: Path) -> Any:
    driver = nursery.start(store, jobs, out)
    end = time.monotonic() + 120
    while alive(driver) and time.monotonic() < end:
        time.sleep(0.02)
    assert out.exists()
    return table(out)


def test_two_hundred_kills_lose_nothing_and_repeat_nothing(nursery: Nursery, tmp_path: Path) -> None:
    moments, kills, round_, whole = random.Random(7), dict.fromkeys(("driver", "worker", "all"), 0), 0, None
    whole = run(nursery, tmp_path / "whole.sqlite", 1, tmp_path / "whole.json")
    while sum(kills.values()) < KILLS:
        round_ += 1
        store, out = tmp_path / f"{round_}.sqlite", tmp_path / f"{round_}.json"
        kept: dict[str, str] = {}
        while not out.exists() and sum(kills.values()) < KILLS:
            jobs = 2 if moments.random() < 0.2 else 1
            driver = nursery.start(store, jobs, out)
            victim = moments.choice(["driver", "worker", "all"]) if jobs == 2 else "driver"
            if victim == "worker":
                end = time.monotonic() + 15
                while len(family(driver)) < 3 and alive(driver) and time.monotonic() < end:
                    time.sleep(0.02)
            time.sleep(moments.uniform(0, 3.5 if jobs == 2 else 0.4))
            processes = family(driver)
            if not processes or out.exists():
                continue
            kills[victim] += 1
            if victim == "worker" and len(processes) > 1:
                moments.choice(processes[1:]).kill()
                time.sleep(moments.uniform(0, 1))
            for process in family(driver) if victim == "all" else family(driver)[:1]:
                try:
                    os.kill(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            while alive(driver):
                time.sleep(0.01)
            now = finished(store)
            assert kept.items() <= now.items(), "a finished trial was lost or run again"
            kept = now
        assert run(nursery, store, 1, out) == whole
        assert kept.items() <= finished(store).items()
    assert min(kills.values()) >= 5, kills
