"""The store keeps finished trials whole, whoever writes at the same time and whatever is killed."""

from __future__ import annotations

import math
import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laju import constant, cosine
from laju.lab import Optimizer, Outcome, Record, Store, StoreError, Trial
from laju.lab.tasks import Data, Task

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Points(Task):
    """Data without a model: a store trains nothing."""

    name: str = "points"
    n: int = 400

    def load(self) -> Data:
        inputs, labels = np.zeros((self.n, 2), np.float32), np.arange(self.n) % 2
        return Data(inputs, labels, inputs, labels, classes=2)

    def model(self, seed: int) -> Any:
        raise NotImplementedError


TASK = Points()


def trial(seed: int = 0, **changes) -> Trial:
    return replace(Trial(TASK, constant(0.1), seed, epochs=2, batch_size=8), **changes)


def outcome(seed: int = 0, length: int = 100) -> Outcome:
    """Figures that no decimal text holds, unlike for every seed."""
    random_numbers = random.Random(seed)
    records = tuple(
        Record(
            i,
            i / 50,
            random_numbers.random() / 3,
            random_numbers.expovariate(1e-30),
            random_numbers.random(),
            None if i % 50 else random_numbers.random(),
        )
        for i in range(1, length + 1)
    )
    return Outcome("finished", records, random_numbers.random())


@pytest.mark.parametrize(
    "kept",
    [
        outcome(),
        Outcome("diverged", (), 0.1, diverged_at=0),
        replace(outcome(7, 3), status="diverged", diverged_at=2**40),
        replace(outcome(8, 1), status="collapsed"),
        Outcome("finished", (Record(1, 1e-300, 5e-324, math.inf, 0.1 + 0.2, 1.0),), 1e-9),
    ],
)
def test_what_is_kept_is_read_back_equal_by_another_store(tmp_path: Path, kept: Outcome) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        store.put(trial(), kept)
        assert store.get(trial()) == kept
    with Store(str(tmp_path / "a.sqlite")) as store:
        assert store.get(trial()) == kept
        assert len(store) == 1


def test_only_the_very_trial_is_found(tmp_path: Path) -> None:
    others = [
        trial(1),
        trial(schedule=constant(0.2)),
        trial(schedule=constant(0.1).per("epoch")),
        trial(schedule=cosine(0.1, total=10)),
        trial(epochs=3),
        trial(batch_size=16),
        trial(optimizer=Optimizer(momentum=0.9)),
        trial(optimizer=Optimizer(weight_decay=0.9)),
        trial(framework="jax"),
        trial(task=Points("another name")),
        trial(task=Points(n=300)),
    ]
    with Store(tmp_path / "a.sqlite") as store:
        assert store.get(trial()) is None
        store.put(trial(), outcome())
        assert [store.get(other) for other in others] == [None] * len(others)
        for i, other in enumerate(others):
            store.put(other, outcome(i))
        assert [store.get(other) for other in others] == [outcome(i) for i in range(len(others))]
        assert len(store) == len(others) + 1


def test_a_trial_that_is_there_already_stays_as_it_was(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        store.put(trial(), outcome(1))
        store.put(trial(), outcome(2, 5))
        store.put(trial(), Outcome("diverged", (), 0.0, 3))
        assert store.get(trial()) == outcome(1)
        assert len(store) == 1


def test_a_store_without_a_file_lives_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Store() as store, Store() as other:
        store.put(trial(), outcome())
        assert store.get(trial()) == outcome()
        assert (len(store), len(other)) == (1, 0)
    assert not list(tmp_path.iterdir())


def test_a_store_makes_the_folders_above_it(tmp_path: Path) -> None:
    with Store(tmp_path / "a" / "b c" / "ä%20?.sqlite") as store:
        store.put(trial(), outcome())
    assert [p.name for p in (tmp_path / "a" / "b c").iterdir()] == ["ä%20?.sqlite"]


def refused(path: Path, *texts: str) -> None:
    with pytest.raises(StoreError) as error:
        Store(path)
    for text in (str(path), *texts):
        assert text in str(error.value)
    assert "sqlalche" not in str(error.value)


def test_a_file_that_is_not_sqlite_is_refused_and_left_alone(tmp_path: Path) -> None:
    for content in (b"hello\n" * 1000, b"x", b"SQLite format 4\0" + bytes(2000)):
        path = tmp_path / "notes.txt"
        path.write_bytes(content)
        refused(path, "not a SQLite file")
        assert path.read_bytes() == content


@pytest.mark.parametrize("table", ["photos", "meta", "trials"])
def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path, table: str) -> None:
    path = tmp_path / "photos.db"
    with sqlite3.connect(path) as connection:
        connection.execute(f"create table {table} (key, value)")
        connection.execute("pragma user_version = 9")
    connection.close()
    content = path.read_bytes()
    refused(path, "not a store of laju's", table)
    assert path.read_bytes() == content


def test_an_empty_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.db"
    with sqlite3.connect(path) as connection:
        connection.execute("pragma application_id = 77")
    connection.close()
    refused(path, "not a store of laju's")


def test_a_store_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    Store(path).close()
    with sqlite3.connect(path) as connection:
        (version,) = connection.execute("pragma user_version").fetchone()
        connection.execute(f"pragma user_version = {version + 1}")
    connection.close()
    content = path.read_bytes()
    refused(path, "newer laju", f"version {version + 1}", f"up to {version}")
    assert path.read_bytes() == content


def test_a_store_of_the_first_version_is_read_and_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with Store(path) as store:
        store.put(trial(), outcome())
    with sqlite3.connect(path) as connection:  # the first version knew no framework
        connection.execute("alter table trials drop column framework")
        connection.execute("pragma user_version = 1")
    connection.close()
    with Store(path) as store:
        assert store.get(trial()) == outcome()
        store.put(trial(framework="jax"), outcome(2))
    with sqlite3.connect(path) as connection:
        assert sorted(connection.execute("select framework from trials")) == [("jax",), ("torch",)]
    connection.close()


def test_a_place_that_cannot_be_written_is_found_when_the_store_is_opened(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("a file")
    refused(file / "a.sqlite")
    refused(file / "below" / "a.sqlite")
    refused(tmp_path, "folder")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind the superuser")
def test_a_store_that_cannot_be_written_is_found_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    Store(path).close()
    path.chmod(0o400)
    refused(path)


def test_a_damaged_store_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with Store(path) as store:
        for seed in range(20):
            store.put(trial(seed), outcome(seed))
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 8192))
    with pytest.raises(StoreError, match=r"a\.sqlite"), Store(path) as store:
        store.get(trial(3))


def write(paths: list[Path], seeds: range, ready: threading.Barrier) -> None:
    """Opens each store, at the same time as other processes do, and puts trials."""
    for path in paths:
        ready.wait()
        with Store(path) as store:
            for seed in seeds:
                store.put(trial(seed), outcome(seed))


def test_processes_that_make_and_write_a_store_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    paths, ready = [tmp_path / f"{i}.sqlite" for i in range(5)], context.Barrier(4)
    # Each two of them write ten trials that are the same.
    ranges = [range(10 * i, 10 * i + 20) for i in range(4)]
    processes = [context.Process(target=write, args=(paths, seeds, ready)) for seeds in ranges]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    for path in paths:
        with Store(path) as store:
            assert len(store) == 50
            assert all(store.get(trial(seed)) == outcome(seed) for seed in range(50))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_process_killed_at_any_moment_leaves_every_trial_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    program = (
        "import sys, itertools, pathlib; from tests.lab.test_store import *\n"
        "print(flush=True)\n"
        "store, first = Store(sys.argv[1]), int(sys.argv[2])\n"
        "for seed in itertools.count(first):\n"
        "    store.put(trial(seed), outcome(seed, 400)); print(seed, flush=True)\n"
    )
    moments = random.Random(0)
    first = 0
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(path), str(first)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(moments.uniform(0, 0.15))
        process.kill()
        written = [int(line) for line in process.stdout.read().splitlines()]
        process.wait()
        with Store(path) as store:
            for seed in range(first + len(written)):
                assert store.get(trial(seed)) == outcome(seed, 400)
            first += len(written)
            after = store.get(trial(first))
            assert after in (None, outcome(first, 400))  # it may be written and not yet said
            first += after is not None
            assert len(store) == first
    assert first > 8
    with sqlite3.connect(path) as connection:
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
        stray = "select count(*) from records where trial not in (select fingerprint from trials)"
        assert connection.execute(stray).fetchone() == (0,)
    connection.close()
