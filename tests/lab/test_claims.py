"""Programs that use one store at once train every trial once, and take over what a dead program was training."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from laju.lab import Interrupted, Store, compare
from laju.lab.store import claims as claims_module
from laju.lab.store import tables
from laju.lab.store.processes import is_dead, named, this_process
from laju.lab.workers import driver
from tests.lab import postgres
from tests.lab.test_store import outcome, trial
from tests.lab.tiny import Sides

ROOT = Path(__file__).parents[2]
posix = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")

PROGRAM = """
import sys
from pathlib import Path
from laju.lab import compare
from tests.lab.tiny import Counted

file, store, jobs, names, wait = sys.argv[1:]
if __name__ == "__main__":
    rates = {name: 0.1 * (1 + "abcdef".index(name)) for name in names}
    task = Counted(file=Path(file), wait=float(wait))
    found = compare(rates, task, epochs=2, seeds=2, jobs=int(jobs), store=store, display=False)
    print(sorted((*key, outcome.records[-1].train_loss) for key, outcome in found.outcomes.items()))
"""


def process(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "always", "-c", PROGRAM, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def until(happened: Callable[[], Any]) -> None:
    end = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def alone() -> list[tuple[str, int, float]]:
    found = compare({"a": 0.1, "b": 0.2, "c": 0.1 * 3}, Sides(), epochs=2, seeds=2, jobs=1)
    return sorted((*key, outcome.records[-1].train_loss) for key, outcome in found.outcomes.items())


def trained(folder: Path) -> int:
    file = folder / "trained"
    return len(file.read_text().split()) if file.exists() else 0


@pytest.fixture(params=["a file", pytest.param("a server", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "a file":
        yield str(tmp_path / "store.sqlite")
        return
    found = postgres.programs()
    if found is None:
        pytest.skip("there is no PostgreSQL server here: apt install postgresql")
    with postgres.server(found) as url:
        yield url


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [(1, 1), (1, 1, 1, 1, 2)])
def test_comparisons_at_once_train_every_trial_once(
    place: str, jobs: tuple[int, ...], tmp_path: Path, alone: list[Any]
) -> None:
    running = [process(tmp_path / "trained", place, n, "abc", 0.5) for n in jobs]
    for one in running:
        out, errors = one.communicate(timeout=300)
        assert out == f"{alone}\n", errors
        assert one.returncode == 0
        assert all(
            "are being trained by process" in line or "is being trained by process" in line
            for line in errors.splitlines()
            if "Warning" in line
        )
    assert trained(tmp_path) == 6
    with Store(place) as store, store._kept_in._engine.connect() as connection:
        assert connection.execute(tables.claims.select()).all() == []
        assert connection.execute(tables.holders.select()).all() == []


@posix
@pytest.mark.slow
def test_what_a_killed_program_was_training_is_taken_over(place: str, tmp_path: Path, alone: list[Any]) -> None:
    first = process(tmp_path / "trained", place, 1, "abc", 3600)
    until(lambda: trained(tmp_path))
    second = process(tmp_path / "trained", place, 1, "abc", 0)
    with Store(place) as store:
        until(lambda: len(store) == 5)  # the first program's trial is left alone while its process lives
    assert second.poll() is None
    first.kill()
    first.communicate()
    out, errors = second.communicate(timeout=120)
    assert out == f"{alone}\n"
    assert f"1 of these trials is being trained by process {first.pid}, which uses the same store" in errors
    assert trained(tmp_path) == 7


@posix
@pytest.mark.slow
def test_what_a_program_that_stands_still_was_training_is_taken_over(
    tmp_path: Path, alone: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store.sqlite"
    first = process(tmp_path / "trained", store, 1, "a", 5)
    until(lambda: trained(tmp_path))
    first.send_signal(signal.SIGSTOP)
    monkeypatch.setattr(claims_module, "STILL", 2.0)
    with pytest.warns(tables.StoreWarning, match=f"being trained by process {first.pid}"):
        found = compare({"a": 0.1}, Sides(), epochs=2, seeds=2, jobs=1, store=store)
    got = sorted((*key, outcome.records[-1].train_loss) for key, outcome in found.outcomes.items())
    assert got == alone[:2]
    first.send_signal(signal.SIGCONT)  # trains what it was at to the end, which changes nothing
    out, _ = first.communicate(timeout=120)
    assert out == f"{alone[:2]}\n"


def test_ctrl_c_ends_the_waiting_for_another_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(tmp_path / "s.sqlite") as store, Store(store.path) as other, claiming(other) as theirs:
        compare({"a": 0.1}, Sides(), epochs=1, seeds=1, jobs=1, store=store)
        fingerprints = _fingerprints({"b": 0.2})
        assert theirs.take(fingerprints)
        monkeypatch.setattr(driver.time, "sleep", lambda seconds: os.kill(os.getpid(), signal.SIGINT))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(Interrupted) as caught:
                compare({"a": 0.1, "b": 0.2}, Sides(), epochs=1, seeds=1, jobs=1, store=store)
        assert set(caught.value.comparison.outcomes) == {("a", 0)}


def _fingerprints(rates: dict[str, float]) -> list[str]:
    with Store() as store:
        compare(rates, Sides(), epochs=1, seeds=1, jobs=1, store=store)
        return [kept.fingerprint for kept in store.trials()]


@contextmanager
def claiming(store: Store) -> Iterator[claims_module.Claims]:
    claims = store.claims()
    assert claims is not None
    with claims:
        yield claims


def test_claims_are_taken_together_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with Store(path) as one, Store(path) as two, claiming(one) as ours:
        with claiming(two) as theirs:
            assert ours.take(["a", "b"])
            assert ours.take(["b"])  # its own may be claimed again
            assert not theirs.take(["b", "c"])
            assert ours.take(["c"])
            assert set(theirs.of_others(["a", "b", "c", "d"])) == {"a", "b", "c"}
            assert theirs.take(["d"])
            assert set(ours.of_others(["a", "d"])) == {"d"}
            assert named(ours.of_others(["d"])["d"]) == f"process {os.getpid()}"
        assert ours.take(["d"])  # given back with the end of the block
        finished = trial(3)
        assert ours.take([finished.fingerprint])
        one.put(finished, outcome(3))
    with Store(path) as two, claiming(two) as theirs:
        assert theirs.take(["a", "b", "c", "d"])
        assert not theirs.take(["e", finished.fingerprint])  # finished
        assert theirs.take(["e"])


def test_claims_outlive_a_file_that_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims_module, "BEAT", 0.01)
    path = tmp_path / "s.sqlite"
    with Store(path) as store, claiming(store) as ours:
        assert ours.take(["a"])
        path.unlink()
        with pytest.warns(tables.StoreWarning, match="deleted while it was in use"):
            store.put(trial(1), outcome(1))
        with Store(path) as other, claiming(other) as theirs:
            until(lambda: theirs.of_others(["a"]))


def test_a_beat_that_cannot_be_written_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims_module, "BEAT", 0.01)
    with Store(tmp_path / "s.sqlite") as store, claiming(store) as ours:
        assert ours.take(["a"])
        failed = threading.Event()

        def full(work: Any) -> None:
            failed.set()
            raise tables.StoreFull("the disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(store._kept_in, "try_to_write", full)
            assert failed.wait(60)
        store.put(trial(1), outcome(1))
        assert len(store) == 1


def test_a_store_in_memory_has_no_claims() -> None:
    with Store() as store:
        assert store.claims() is None


def test_processes_of_other_machines_and_containers_are_not_known_to_be_dead() -> None:
    host, pid, begin, numbering = json.loads(this_process())
    assert not is_dead(this_process())
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert is_dead(json.dumps([host, ended.pid, begin, numbering]))
    assert not is_dead(json.dumps(["elsewhere", ended.pid, begin, numbering]))
    if numbering is not None:
        assert is_dead(json.dumps([host, pid, "1", numbering]))  # a later process with the same number
        assert not is_dead(json.dumps([host, ended.pid, begin, "pid:[1]"]))
    assert named(json.dumps(["elsewhere", 7, begin, numbering])) == "process 7 on elsewhere"


@pytest.mark.parametrize("among", [[], ["unshare", "--pid", "--fork"]], ids=["one machine", "a container"])
def test_the_folder_of_a_live_run_is_left_and_that_of_a_dead_one_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, among: list[str]
) -> None:
    if among and (shutil.which(among[0]) is None or subprocess.run([*among, "true"], check=False).returncode):
        pytest.skip("processes may not be numbered anew here: unshare --pid")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    new, old, dead = (tmp_path / f"laju-run-{name}" for name in ("new", "old", "dead"))
    for folder in (new, old, dead):
        folder.mkdir()
    (dead / driver._LOCK).touch()
    os.utime(old, (0, 0))
    with driver._temporary_folder() as live:
        code = (
            f"import tempfile; tempfile.tempdir = {str(tmp_path)!r}\n"
            "from laju.lab.workers.driver import _temporary_folder\nwith _temporary_folder(): pass"
        )
        environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
        subprocess.run([*among, sys.executable, "-c", code], check=True, timeout=120, env=environment)
        assert Path(live).is_dir()
        assert {path.name for path in tmp_path.iterdir()} == {Path(live).name, "laju-run-new"}
    assert not Path(live).exists()


def test_a_clock_that_jumps_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: list[tuple[str, int, float]]
) -> None:
    real, jumps = time.time, itertools.cycle([0, 86400, -86400, 3e8, -3e8])
    monkeypatch.setattr(time, "time", lambda: real() + next(jumps))
    monkeypatch.setattr(claims_module, "BEAT", 0.01)
    with Store(tmp_path / "s.sqlite") as store:
        found = compare(
            {"a": 0.1, "b": 0.2, "c": 0.1 * 3}, Sides(), epochs=2, seeds=2, jobs=1, store=store, display=False
        )
    got = sorted((*key, outcome.records[-1].train_loss) for key, outcome in found.outcomes.items())
    assert got == alone
    assert all(0 <= outcome.seconds < 3600 for outcome in found.outcomes.values())
