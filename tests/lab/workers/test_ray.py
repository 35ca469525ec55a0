"""Trials on a real Ray cluster of several nodes, which are processes of this machine, come out as they do here."""

from __future__ import annotations

import functools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laju.lab import Comparison, Execution, Interrupted, Outcome, Store, Unfinished, compare
from tests.lab.test_compare import Watcher
from tests.lab.tiny import Deadly, Sides, Stuck

ray = pytest.importorskip("ray")
from laju.lab.workers.ray import RayPlace  # noqa: E402

RAY = Execution(on="ray")
SEPARATELY = Execution(jobs=1, share_prefixes=False)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="Ray's cluster of several nodes on one machine needs Linux or macOS"),
]

ROOT = Path(__file__).parents[3]
SCHEDULES = {"a": 0.1, "b": "cosine(0.5, total=4).per('epoch')", "wild": 1e38}
PROGRAM = """
import sys
from laju.lab import Execution, compare
from tests.lab.tiny import Sides

compare({"a": 0.1, "b": 0.2}, Sides(n=8000), epochs=8, seeds=6, batch_size=16, store=sys.argv[1],
        execution=Execution(on=sys.argv[2]))
"""


def results(comparison: Comparison) -> dict[tuple[str, int], Outcome]:
    return {key: replace(outcome, seconds=0.0) for key, outcome in comparison.outcomes.items()}


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
    return port


class Nodes:
    """A cluster whose head runs no trials, and worker nodes that come and go."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        memory = {"object_store_memory": 80_000_000}
        head = {"num_cpus": 0, "include_dashboard": False, "ray_client_server_port": free_port(), **memory}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.client = f"ray://127.0.0.1:{head['ray_client_server_port']}"
        self.memory = memory
        self.workers: list[Any] = []

    def have(self, count: int) -> None:
        while len(self.workers) < count:
            self.workers.append(self.cluster.add_node(num_cpus=1, **self.memory))
        self.cluster.wait_for_nodes()

    def kill_one(self) -> None:
        self.cluster.remove_node(self.workers.pop(), allow_graceful=False)


@pytest.fixture(scope="module")
def running() -> Iterator[Nodes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # Ray's workers have a low priority by default, and would hardly run beside the tests of other processes.
        patch.setenv("RAY_worker_niceness", "0")
        nodes = Nodes()
        patch.setenv("RAY_ADDRESS", nodes.cluster.address)
        yield nodes
        ray.shutdown()
        nodes.cluster.shutdown()


@pytest.fixture
def nodes(running: Nodes) -> Nodes:
    running.have(2)
    return running


def where() -> str:
    time.sleep(0.3)
    return str(ray.get_runtime_context().get_node_id())


def threads() -> str | None:
    return os.environ.get("OMP_NUM_THREADS")


def fail(text: str) -> None:
    raise KeyError(text)


def test_outcomes_are_those_of_this_machine_bit_by_bit(nodes: Nodes, capfd: pytest.CaptureFixture[str]) -> None:
    there = compare(SCHEDULES, Sides(), epochs=4, seeds=3, execution=RAY)
    assert results(there) == results(compare(SCHEDULES, Sides(), epochs=4, seeds=3, jobs=1))
    assert there.outcomes["wild", 0].status != "finished"
    assert capfd.readouterr() == ("", "")  # Ray itself says nothing


def test_jobs_run_on_every_node_one_thread_each(nodes: Nodes) -> None:
    place = RayPlace()
    assert place.slots == 2
    futures = [place.submit(where) for _ in range(6)]
    assert len({future.result(30) for future in futures}) == 2
    assert place.submit(threads).result(30) == "1"
    assert RayPlace(most=1).slots == 1


class Content:
    """An array, and which process and object looked at it."""

    def __init__(self) -> None:
        self.array = np.arange(1_000_000.0)

    def look(self) -> tuple[int, int, float, bool]:
        return os.getpid(), id(self), float(self.array.sum()), self.array.flags.owndata


def look(shared: Any) -> tuple[int, int, float, bool]:
    seen: tuple[int, int, float, bool] = shared.get().look()
    return seen


def test_what_is_shared_is_sent_once_and_is_one_object_in_a_process(nodes: Nodes) -> None:
    place = RayPlace()
    shared = place.share(Content())
    seen = {place.submit(look, shared).result(30) for _ in range(6)}
    assert len(seen) == len({pid for pid, *_ in seen}) <= 2
    # Its array is a view of the node's shared memory, of which no process has a copy.
    assert {(total, own) for *_, total, own in seen} == {(float(np.arange(1_000_000.0).sum()), False)}


def test_an_error_is_the_jobs_own_with_the_place_in_a_note(nodes: Nodes) -> None:
    place = RayPlace()
    error = place.submit(fail, "missing").exception(30)
    assert type(error) is KeyError
    assert "in fail" in "".join(error.__notes__)
    with pytest.raises(TypeError, match=r"cannot be sent to a cluster .*cannot pickle"):
        place.submit(fail, threading.Lock())


def test_a_dead_worker_and_a_stopped_job_are_lost_and_leave_the_others_alone(nodes: Nodes) -> None:
    place = RayPlace()
    other = place.submit(time.sleep, 4)
    dead = place.submit(os._exit, 1)
    assert isinstance(dead.exception(30), BrokenExecutor)
    stuck = place.submit(time.sleep, 3600)
    place.stop(stuck)
    assert isinstance(stuck.exception(30), BrokenExecutor)
    assert other.result(30) is None


def test_room_is_counted_again_when_nodes_come_and_go(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("laju.lab.workers.clusters._REFRESH", 0.0)
    place = RayPlace()
    nodes.have(3)
    place.submit(where).result(30)
    assert place.slots == 3
    nodes.kill_one()
    deadline = time.monotonic() + 120
    while place.slots != 2 and time.monotonic() < deadline:  # Ray takes a while to notice
        place.submit(where).exception(30)
    assert place.slots == 2


class Killing(Watcher):
    """Calls a function when so many trials have ended."""

    def __init__(self, after: int, call: Any) -> None:
        super().__init__()
        self.after, self.call = after, call

    def finished(self, name: str, seed: int, outcome: Outcome) -> None:
        super().finished(name, seed, outcome)
        self.after -= 1
        if self.after == 0:
            self.call()


def test_a_node_killed_in_the_middle_costs_no_trial_and_none_is_stored_twice(nodes: Nodes, tmp_path: Path) -> None:
    watcher = Killing(2, nodes.kill_one)
    task = Sides(n=8000)
    options = {"epochs": 4, "seeds": 4, "batch_size": 16}
    there = compare(
        {"a": 0.1, "b": 0.2},
        task,
        execution=RAY,
        display=watcher,
        store=tmp_path / "s.sqlite",
        **options,
    )
    assert watcher.after <= 0
    assert sorted(told[:2] for told in watcher.told if told[0] in ("a", "b")) == sorted(there.outcomes)
    with Store(tmp_path / "s.sqlite") as store:
        assert len(store) == 8
    assert results(there) == results(compare({"a": 0.1, "b": 0.2}, task, jobs=1, **options))


def test_segments_that_wait_for_others_go_on_after_a_killed_node(nodes: Nodes) -> None:
    from laju.core.pieces import Constant, Ramp

    cooldowns = {f"cooldown {n}": Constant(0.2, 1000 - n) >> Ramp(0.2, 0, n) for n in (600, 400, 200)}
    watcher = Killing(1, nodes.kill_one)
    options = {"epochs": 2, "seeds": 2, "batch_size": 16}
    there = compare(cooldowns, Sides(n=8000), execution=RAY, display=watcher, **options)
    assert watcher.plans[0][0] < watcher.plans[0][1]
    assert results(there) == results(compare(cooldowns, Sides(n=8000), execution=SEPARATELY, **options))


def test_a_worker_killed_once_costs_nothing_and_always_is_said(nodes: Nodes, tmp_path: Path) -> None:
    once = compare({"a": 0.1}, Deadly(seed=1, mark=tmp_path / "died"), epochs=1, seeds=3, execution=RAY)
    assert (tmp_path / "died").exists()
    assert results(once) == results(compare({"a": 0.1}, Sides(), epochs=1, seeds=3, jobs=1))
    with pytest.raises(Unfinished, match=r"'a' with seed 1: its worker process died .* 3 times") as caught:
        compare(
            {"a": 0.1},
            Deadly(seed=1, mark=tmp_path / "died", always=True),
            epochs=1,
            seeds=3,
            execution=RAY,
        )
    assert set(caught.value.comparison.outcomes) == {("a", 0), ("a", 2)}


def test_a_trial_that_hangs_is_ended_at_its_time_limit_and_frees_its_place(nodes: Nodes) -> None:
    compare(
        {"a": 0.2}, Sides(), epochs=1, seeds=2, execution=RAY
    )  # workers that load torch first would count that, too
    with pytest.raises(Unfinished, match="'a' with seed 0: took longer than the time limit of 30 seconds"):
        compare({"a": 0.1}, Stuck(seed=0), epochs=1, seeds=3, execution=Execution(on="ray", time_limit=30))
    deadline = time.monotonic() + 300  # Ray takes long to end a worker on a busy machine
    while ray.available_resources().get("CPU") != 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert ray.available_resources()["CPU"] == 2


def test_ctrl_c_keeps_what_is_finished_and_ends_what_runs(nodes: Nodes) -> None:
    with pytest.raises(Interrupted) as caught:
        compare(
            {"a": 0.1},
            Stuck(seed=1),
            epochs=1,
            seeds=2,
            execution=RAY,
            display=Watcher(interrupt_after=1),
        )
    assert set(caught.value.comparison.outcomes) == {("a", 0)}
    deadline = time.monotonic() + 300  # Ray takes long to end a worker on a busy machine
    while ray.available_resources().get("CPU") != 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert ray.available_resources()["CPU"] == 2


@pytest.mark.parametrize("how", ["as a node of the cluster", "as its client"])
def test_a_killed_program_started_again_goes_on(nodes: Nodes, tmp_path: Path, how: str) -> None:
    store = tmp_path / "store.sqlite"
    on = "ray" if how == "as a node of the cluster" else nodes.client
    command = [sys.executable, "-c", PROGRAM, str(store), on]
    with (tmp_path / "errors").open("w") as errors:
        start = functools.partial(subprocess.Popen, command, cwd=ROOT, stderr=errors, stdout=errors)
        process = start()
        deadline = time.monotonic() + 240
        while kept(store) < 3 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        before = kept(store)
        assert 3 <= before < 12, (tmp_path / "errors").read_text()
        assert start().wait(240) == 0, (tmp_path / "errors").read_text()
    again = Watcher()
    compare({"a": 0.1, "b": 0.2}, Sides(n=8000), epochs=8, seeds=6, batch_size=16, store=store, jobs=1, display=again)
    assert again.told[0] == ("start", 12, 12, 0)


def kept(store: Path) -> int:
    if not store.exists():
        return 0
    with Store(store) as opened:
        return len(opened)


def test_a_cluster_that_is_not_there_is_said(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    program = (
        "from laju.lab import Execution, compare\ncompare({'a': 0.1}, epochs=1, seeds=1, execution=Execution(on='ray'))"
    )
    environment = os.environ | {"RAY_ADDRESS": "127.0.0.1:9"}
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode != 0
    assert ended.stderr.strip().splitlines()[-1].startswith("ConnectionError: no connection to the Ray cluster 127.")
