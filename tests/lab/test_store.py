"""The store keeps finished trials whole, whoever writes at the same time and whatever is killed."""

from __future__ import annotations

import itertools
import math
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laju import constant, cosine
from laju.lab import Optimizer, Outcome, Record, Store, StoreError, Trial
from laju.lab.store import StoreWarning, file
from laju.lab.trials.tasks import Data, Task

ROOT = Path(__file__).parents[2]
posix = pytest.mark.skipif(os.name != "posix", reason="needs processes and files of POSIX")


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
            None if i % 50 else random_numbers.expovariate(1),
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


def test_results_of_their_own_are_kept_beside_trials_and_the_first_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    many = {f"print {i}": f'{{"value": {i}, "text": "π"}}' for i in range(1200)}
    with Store(path) as store:
        store.put(trial(), outcome())
        for fingerprint, content in many.items():
            store.put_result(fingerprint, content)
        store.put_result("print 0", "another")
    with Store(path) as store:
        assert store.results([*many, "none"]) == many
        assert len(store) == 1 + len(many)
        assert [kept.outcome for kept in store.trials()] == [outcome()]
        path.unlink()
        with pytest.warns(StoreWarning, match="deleted"):
            store.put_result("print 7", "made anew")
        assert store.results(["print 7"]) == {"print 7": "made anew"}


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


_FIRST = """
    create table trials (fingerprint varchar not null primary key, task varchar not null, schedule text not null,
        optimizer varchar not null, seed integer not null, epochs integer not null, batch_size integer not null,
        status varchar not null, diverged_at integer, seconds float not null, laju varchar not null, written varchar not null);
    create table records (trial varchar not null references trials (fingerprint) on delete cascade, "update" integer not null,
        epoch float not null, rate float not null, train_loss float not null, train_accuracy float not null,
        test_accuracy float, primary key (trial, "update"));
"""
_SECOND = (
    _FIRST.replace("status", "framework varchar default 'torch' not null, status", 1)
    + """
    create table observed (trial varchar not null references trials (fingerprint) on delete cascade,
        "update" integer not null, validation_loss float, primary key (trial, "update"));
"""
)


_THIRD = (
    _SECOND.replace("train_accuracy float not null", "train_accuracy float")
    + """
    create table branch_points (prefix varchar not null primary key, family varchar not null, "update" integer not null,
        size integer not null, used varchar not null, state blob not null);
"""
)


@pytest.mark.parametrize(("version", "tables"), [(1, _FIRST), (2, _SECOND), (3, _THIRD)])
def test_a_store_of_an_earlier_version_is_read_and_brought_up_to_date(
    tmp_path: Path, version: int, tables: str
) -> None:
    path = tmp_path / "a.sqlite"
    kept = replace(outcome(3), records=tuple(replace(record, test_loss=None) for record in outcome(3).records))
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"{tables}pragma application_id = 1818323573; pragma user_version = {version}")
        connection.execute(
            "insert into trials (fingerprint, task, schedule, optimizer, seed, epochs, batch_size, status, seconds, laju, "
            "written) values (?, 'points', 'constant(0.1)', 'sgd()', 0, 2, 8, 'finished', ?, '0.1', '2026-11-25T00:00:00+00:00')",
            (trial().fingerprint, kept.seconds),
        )
        rows = [(trial().fingerprint, *list(vars(record).values())[:6]) for record in kept.records]
        connection.executemany("insert into records values (?, ?, ?, ?, ?, ?, ?)", rows)
        connection.commit()
    with Store(path) as store:
        assert store.get(trial()) == kept
        store.put(trial(framework="jax"), replace(outcome(2), observed=((1, 0.5),)))
        store.keep_branch_point("family", "prefix", 3, b"state")
        store.put_result("print", "content")
    with Store(path) as store:
        assert store.results(["print"]) == {"print": "content"}
        assert [k.framework for k in store.trials()] == ["torch", "jax"]
        assert store.get(trial(framework="jax")) == replace(outcome(2), observed=((1, 0.5),))
        assert store.branch_points("family") == [(3, "prefix")]


def test_a_place_that_cannot_be_written_is_found_when_the_store_is_opened(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("a file")
    refused(file / "a.sqlite")
    refused(file / "below" / "a.sqlite")
    refused(tmp_path, "folder")


@posix
def test_a_place_that_may_not_be_written_is_found_when_the_store_is_opened() -> None:
    with tempfile.TemporaryDirectory(prefix="laju-store-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        Store(folder / "a.sqlite").close()
        (folder / "a.sqlite").chmod(0o444)
        folder.chmod(0o555)
        for path in (folder / "a.sqlite", folder / "new.sqlite", folder / "below" / "new.sqlite"):
            said = without_rights(lambda path=path: refused(path, "cannot be opened or written"))  # type: ignore[misc]
            assert said == "done"
        folder.chmod(0o755)


def without_rights(work: Callable[[], object]) -> str:
    """Does it in a process that is not the superuser's; "done", or what went wrong."""
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        text = "done"
        try:
            if os.geteuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            work()
        except BaseException as error:
            text = repr(error)
        os.write(sender, text.encode()[:4000])
        os._exit(0)
    os.close(sender)
    with os.fdopen(receiver) as said:
        text = said.read()
    os.waitpid(child, 0)
    return text


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


def write(paths: Sequence[str | Path], seeds: range, ready: threading.Barrier) -> None:
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


@pytest.mark.slow
@posix
def test_a_process_killed_at_any_of_a_hundred_moments_leaves_every_trial_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    moments = random.Random(0)
    first = 0
    for _ in range(100):
        written = killed(str(path), first, moments.uniform(0.02, 0.1))
        with Store(path) as store:
            for seed in range(first, first + written):
                assert store.get(trial(seed)) == outcome(seed, 400)
            first += written
            after = store.get(trial(first))
            assert after in (None, outcome(first, 400))  # it may be written and not yet said
            first += after is not None
            assert len(store) == first
    assert first > 100
    with Store(path) as store:
        assert store.get_many(map(trial, range(first))) == {trial(s).fingerprint: outcome(s, 400) for s in range(first)}
    assert [file.name for file in tmp_path.iterdir()] == ["a.sqlite"]
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
        stray = "select count(*) from records where trial not in (select fingerprint from trials)"
        assert connection.execute(stray).fetchone() == (0,)


def killed(place: str, first: int, seconds: float) -> int:
    """How many trials, from the seed `first` on, a process said that it had put before it was killed."""
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            store = Store(place)
            for seed in itertools.count(first):
                store.put(trial(seed), outcome(seed, 400))
                os.write(sender, b".")
        finally:
            os._exit(1)
    os.close(sender)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with os.fdopen(receiver, "rb") as said:
        count = len(said.read())
    assert os.WIFSIGNALED(status), "it ended by itself"
    return count


@pytest.mark.parametrize("local", [True, False])
def test_nothing_is_left_beside_the_file_of_a_closed_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local: bool
) -> None:
    if not local:
        monkeypatch.setattr(file, "_LOCAL", frozenset())
    path = tmp_path / "a.sqlite"
    with Store(path) as store:
        store.put(trial(), outcome())
        with closing(sqlite3.connect(path)) as connection:
            mode = connection.execute("pragma journal_mode").fetchone()
        # Network drives bear no log; where a file system cannot be told, none is used either.
        assert mode == ("wal" if local and sys.platform == "linux" else "delete",)
    assert [found.name for found in tmp_path.iterdir()] == ["a.sqlite"]
    monkeypatch.setattr(file, "_LOCAL", frozenset())
    with Store(path) as store:
        assert store.get(trial()) == outcome()
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("pragma journal_mode").fetchone() == ("delete",)
    assert [found.name for found in tmp_path.iterdir()] == ["a.sqlite"]


def test_a_store_that_is_forgotten_leaves_nothing_beside_its_file(tmp_path: Path) -> None:
    program = "import sys; from tests.lab.test_store import *; s = Store(sys.argv[1]); s.put(trial(), outcome())"
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.sqlite")], cwd=ROOT, check=True)
    assert [found.name for found in tmp_path.iterdir()] == ["a.sqlite"]
    with Store(tmp_path / "a.sqlite") as store:
        assert store.get(trial()) == outcome()


def test_many_are_read_at_once(tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        for seed in range(0, 1200, 2):
            store.put(trial(seed), replace(outcome(seed, 3), observed=((seed, 0.25), (seed + 1, math.inf))))
        found = store.get_many(trial(seed) for seed in range(1200))
        assert set(found) == {trial(seed).fingerprint for seed in range(0, 1200, 2)}
        for seed in range(0, 1200, 2):
            wanted = replace(outcome(seed, 3), observed=((seed, 0.25), (seed + 1, math.inf)))
            assert found[trial(seed).fingerprint] == wanted == store.get(trial(seed))
        assert store.get_many([]) == {}
        assert [kept.seed for kept in store.trials()] == list(range(0, 1200, 2))


def test_branch_points_are_kept_within_the_room_for_them(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    state = random.Random(0).randbytes(1000)
    with Store(path, branch_bytes=3500) as store:
        assert store.branch_points("f") == []
        assert store.branch_point("p0") is None
        store.keep_branch_point("f", "too large", 1, bytes(3501))
        for i in range(3):
            store.keep_branch_point("f", f"p{i}", 10 - i, state)
        store.keep_branch_point("g", "p0", 5, b"another")  # the first one stays
        assert store.branch_points("f") == [(8, "p2"), (9, "p1"), (10, "p0")]
        assert store.branch_points("g") == []
    with Store(path, branch_bytes=3500) as store:
        assert store.branch_point("p1") == state
        store.keep_branch_point("f", "p3", 2, state)  # p2 was not used for longest
        assert store.branch_points("f") == [(2, "p3"), (9, "p1"), (10, "p0")]
        store.keep_branch_point("f", "p4", 3, bytes(3500))
        assert store.branch_points("f") == [(3, "p4")]
        assert store.branch_point("p4") == bytes(3500)
    with Store(path, branch_bytes=0) as store:
        store.keep_branch_point("f", "p5", 3, b"x")
        assert store.branch_points("f") == [(3, "p4")]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"branch_bytes": -1}, "branch_bytes must be a whole number of at least 0, got -1"),
        ({"branch_bytes": 0.5}, "branch_bytes must be a whole number"),
        ({"wait": -1}, "wait must be a number of seconds that is not negative, got -1"),
        ({"wait": math.nan}, "wait must be a number of seconds"),
        ({"wait": "long"}, "wait must be a number of seconds"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=text):
        Store(**options)


@pytest.mark.parametrize(
    ("place", "texts"),
    [
        ("mysql://me:secret@host/db", ["'mysql'", "postgresql://user@host/database", "mysql://me:***@host"]),
        ("postgresql+pg8000://me:secret@host/db", ["'postgresql+pg8000'", "must be of 'postgresql'"]),
        ("sqlite:///a.sqlite", ["give the file itself: a.sqlite"]),
        ("://me:secret@host", ["is not a URL", "give a file"]),
        ("postgresql://me:secret@host:port/db", ["is not a URL", "postgresql://***@host"]),
        (Path("postgresql://me:secret@host/db"), ["as text, not as a Path"]),
    ],
)
def test_other_urls_are_refused_without_showing_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str | Path, texts: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError) as error:
        Store(place)
    assert all(text in str(error.value) for text in texts), error.value
    assert "secret" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_store_that_another_program_locks_is_named_after_the_wait(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with Store(path, wait=0.2) as store, closing(sqlite3.connect(path)) as other:
        store.put(trial(), outcome())
        other.execute("begin exclusive")
        for write in (
            lambda: store.put(trial(1), outcome(1)),
            lambda: store.keep_branch_point("f", "p", 1, b"x"),
            lambda: Store(path, wait=0.2),
        ):
            with pytest.raises(StoreError, match=r"a\.sqlite has been locked by another program for 0\.2 seconds"):
                write()
        other.rollback()
        store.put(trial(1), outcome(1))
        assert len(store) == 2


def test_a_writer_waits_for_another_program(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with Store(path) as store, closing(sqlite3.connect(path, check_same_thread=False)) as other:
        other.execute("begin immediate")
        timer = threading.Timer(0.5, other.rollback)
        timer.start()
        store.put(trial(), outcome())
        timer.join()
        assert store.get(trial()) == outcome()


@posix
@pytest.mark.parametrize("what", ["the file alone", "all", "the folder"])
def test_a_file_that_is_deleted_is_made_anew_with_what_this_program_put(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "folder"
    path = folder / "a.sqlite"
    with Store(path) as store:
        store.put(trial(0), outcome(0))
    with Store(path) as store:
        store.put(trial(1), outcome(1))
        store.put(trial(2), outcome(2))
        store.keep_branch_point("f", "p", 1, b"x")
        if what == "the folder":
            shutil.rmtree(folder)
        else:
            for found in [path] if what == "the file alone" else list(folder.iterdir()):
                found.unlink()
        with pytest.warns(
            StoreWarning, match=r"a\.sqlite was deleted .* the 2 trials that this program had put"
        ) as warned:
            store.put(trial(3), outcome(3))
        assert len(warned) == 1
        store.put(trial(4), outcome(4))
        assert store.get(trial(0)) is None
    with Store(path) as store:
        assert [kept.seed for kept in store.trials()] == [1, 2, 3, 4]
        assert all(store.get(trial(seed)) == outcome(seed) for seed in (1, 2, 3, 4))
    assert [found.name for found in folder.iterdir()] == ["a.sqlite"]


@posix
def test_a_file_that_is_replaced_by_another_store_is_given_what_it_lacks(tmp_path: Path) -> None:
    path, other = tmp_path / "a.sqlite", tmp_path / "b.sqlite"
    with Store(other) as store:
        store.put(trial(1), outcome(1))
        store.put(trial(9), outcome(9))
    with Store(path) as store:
        store.put(trial(1), outcome(1))
        store.put(trial(2), outcome(2))
        other.replace(path)
        with pytest.warns(StoreWarning, match=r"a\.sqlite was replaced .* the 1 trial that"):
            assert store.get(trial(9)) == outcome(9)
        store.put(trial(3), outcome(3))
    with Store(path) as store:
        assert [kept.seed for kept in store.trials()] == [1, 9, 2, 3]


@posix
def test_a_file_that_is_moved_away_and_back_is_used_as_before(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    path = tmp_path / "a.sqlite"
    with Store(path) as store:
        store.put(trial(1), outcome(1))
    with Store(path) as store:
        store.put(trial(2), outcome(2))
        shutil.copy(path, tmp_path / "copy")
        shutil.copy(f"{path}-wal", tmp_path / "copy-wal")
        for ending in ("", "-wal"):
            (tmp_path / f"copy{ending}").replace(f"{path}{ending}")
        store.put(trial(3), outcome(3))
        assert len(store) == 3
    assert not [w for w in recwarn if w.category is StoreWarning]


@posix
def test_a_file_that_is_replaced_by_something_else_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with Store(path) as store:
        store.put(trial(1), outcome(1))
        path.unlink()
        path.write_text("a page of text\n" * 100)
        with pytest.raises(StoreError, match=r"a\.sqlite is not a SQLite file"):
            store.put(trial(2), outcome(2))
    assert path.read_text() == "a page of text\n" * 100


@posix
def test_a_store_goes_on_in_a_forked_process(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with Store(path) as store:
        store.put(trial(1), outcome(1))
        child = os.fork()
        if child == 0:
            try:
                store.put(trial(2), outcome(2))
                store.close()
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        store.put(trial(3), outcome(3))
        assert [kept.seed for kept in store.trials()] == [1, 2, 3]
    assert [found.name for found in tmp_path.iterdir()] == ["a.sqlite"]


_FULL = """
import subprocess, sys, warnings
from tests.lab.test_store import *
folder = Path(sys.argv[1])
with Store(folder / "a.sqlite") as store:
    with closing(sqlite3.connect(folder / "a.sqlite")) as connection:
        assert connection.execute("pragma journal_mode").fetchone() == ("wal",)
    try:
        for seed in itertools.count():
            store.put(trial(seed), outcome(seed, 400))
    except StoreError as error:
        assert "the disk is full; what was finished before is kept" in str(error), error
    with pytest.warns(StoreWarning, match="no room on the disk"):
        store.keep_branch_point("f", "p", 1, bytes(2**19))
    assert len(store) == seed > 5
with Store(folder / "a.sqlite") as store:
    assert all(store.get(trial(s)) == outcome(s, 400) for s in range(seed))
    assert len(store) == seed
subprocess.run(["mount", "-o", "remount,size=8m", str(folder)], check=True)
with Store(folder / "a.sqlite") as store:
    store.put(trial(seed), outcome(seed, 400))
    assert len(store) == seed + 1
print("done")
"""


def test_a_full_disk_is_said_and_nothing_that_was_finished_is_lost(tmp_path: Path) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("a small disk needs unshare and mount")
    folder = tmp_path / "a small disk"
    folder.mkdir()
    space = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    mount = f"mount -t tmpfs -o size=1m laju '{folder}'"
    tried = subprocess.run([*space, "sh", "-c", mount], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"a small disk cannot be mounted: {tried.stderr.strip()}")
    program = [*space, "sh", "-c", f'{mount} && exec "$0" -c "$1" "$2"', sys.executable, _FULL, str(folder)]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout == "done\n", done.stderr
