"""Trials on a real Dask cluster, whose workers are processes of this machine, come out as they do here."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laju.core.pieces import Constant, Ramp
from laju.lab import Execution, Interrupted, Search, Store, Unfinished, compare, tune
from tests.lab.test_compare import Watcher
from tests.lab.tiny import Deadly, Sides, Stuck
from tests.lab.workers.test_ray import SCHEDULES, Content, Killing, fail, look, results

distributed = pytest.importorskip("distributed")
from laju.lab.workers.dask import DaskPlace  # noqa: E402

SEPARATELY = Execution(jobs=1, share_prefixes=False)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="kills processes")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    import dask

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as made,
    ):
        yield made


@pytest.fixture
def on(cluster: Any) -> str:
    with distributed.Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
    return str(cluster.scheduler_address.replace("tcp://", "dask://"))


def test_outcomes_are_those_of_this_machine_bit_by_bit(on: str) -> None:
    there = compare(SCHEDULES, Sides(), epochs=4, seeds=3, execution=Execution(on=on))
    assert results(there) == results(compare(SCHEDULES, Sides(), epochs=4, seeds=3, jobs=1))


def test_a_search_on_a_cluster_is_that_of_this_machine(on: str) -> None:
    def searched(execution: Execution) -> list[Any]:
        found = tune(
            "constant", Sides(), "value=0.1..1", epochs=1, seeds=2, search=Search(3, confirm=1), execution=execution
        )
        assert found.confirmation is not None
        return [*((one.spec, one.by_seed) for one in found.evaluations), results(found.confirmation)]

    assert searched(Execution(on=on, jobs=1)) == searched(Execution(jobs=1))


def test_jobs_run_in_every_worker_and_share_one_value(on: str) -> None:
    place = DaskPlace(on.replace("dask://", "tcp://"))
    assert place.slots == 2
    shared = place.share(Content())
    seen = {place.submit(look, shared).result(60)[:3] for _ in range(6)}
    assert len(seen) == len({pid for pid, *_ in seen}) <= 2
    assert {total for *_, total in seen} == {float(np.arange(1_000_000.0).sum())}
    assert DaskPlace(on.replace("dask://", "tcp://"), most=1).slots == 1
    error = place.submit(fail, "missing").exception(60)
    assert type(error) is KeyError
    with pytest.raises(TypeError, match="cannot be sent to a cluster"):
        place.submit(fail, threading.Lock())


def test_a_dead_worker_and_a_stopped_job_are_lost_and_leave_the_others_alone(on: str) -> None:
    place = DaskPlace(on.replace("dask://", "tcp://"))
    other = place.submit(time.sleep, 3)
    dead = place.submit(os._exit, 1)
    assert isinstance(dead.exception(60), BrokenExecutor)
    assert other.result(60) is None
    stuck = place.submit(time.sleep, 3600)
    time.sleep(0.5)
    place.stop(stuck)
    assert isinstance(stuck.exception(60), BrokenExecutor)


def test_a_worker_killed_in_the_middle_costs_no_trial_and_none_is_stored_twice(
    cluster: Any, on: str, tmp_path: Path
) -> None:
    def kill_one() -> None:
        worker = next(iter(cluster.workers.values()))
        os.kill(worker.process.process.pid, 9)

    watcher = Killing(2, kill_one)
    cooldowns = {f"cooldown {n}": Constant(0.2, 1000 - n) >> Ramp(0.2, 0, n) for n in (600, 400, 200)}
    options = {"epochs": 2, "seeds": 2, "batch_size": 16}
    there = compare(
        cooldowns, Sides(n=8000), execution=Execution(on=on), display=watcher, store=tmp_path / "s.sqlite", **options
    )
    assert watcher.after <= 0
    with Store(tmp_path / "s.sqlite") as store:
        assert len(store) == 6
    assert results(there) == results(compare(cooldowns, Sides(n=8000), execution=SEPARATELY, **options))


def test_workers_that_die_while_the_data_are_sent_are_not_waited_for(
    cluster: Any, on: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dask
    from distributed import scheduler

    send, killed = scheduler.scatter_to_workers, list[int]()

    async def kill_first(*arguments: Any, **options: Any) -> Any:
        if not killed:
            killed.extend(worker.process.process.pid for worker in cluster.workers.values())
            for pid in killed:
                os.kill(pid, 9)
        return await send(*arguments, **options)

    monkeypatch.setattr(scheduler, "scatter_to_workers", kill_first)
    with dask.config.set({"distributed.comm.timeouts.connect": "2s"}):
        there = compare(SCHEDULES, Sides(), epochs=2, seeds=2, execution=Execution(on=on))
    assert len(killed) == 2
    assert results(there) == results(compare(SCHEDULES, Sides(), epochs=2, seeds=2, jobs=1))


def test_a_trial_that_kills_every_worker_or_hangs_is_left_out(on: str, tmp_path: Path) -> None:
    with pytest.raises(Unfinished, match=r"'a' with seed 1: its worker process died .* 3 times") as caught:
        compare(
            {"a": 0.1}, Deadly(seed=1, mark=tmp_path / "d", always=True), epochs=1, seeds=3, execution=Execution(on=on)
        )
    assert set(caught.value.comparison.outcomes) == {("a", 0), ("a", 2)}
    with pytest.raises(Unfinished, match="'a' with seed 0: took longer than the time limit of 40 seconds"):
        compare({"a": 0.1}, Stuck(seed=0), epochs=1, seeds=3, execution=Execution(on=on, time_limit=40))


def test_ctrl_c_keeps_what_is_finished(on: str) -> None:
    with pytest.raises(Interrupted) as caught:
        compare(
            {"a": 0.1}, Stuck(seed=1), epochs=1, seeds=2, execution=Execution(on=on), display=Watcher(interrupt_after=1)
        )
    assert set(caught.value.comparison.outcomes) == {("a", 0)}


def test_a_scheduler_that_is_not_there_is_said() -> None:
    with pytest.raises(ConnectionError, match=r"no connection to the Dask scheduler tcp://127.0.0.1:9"):
        compare({"a": 0.1}, Sides(), epochs=1, seeds=1, execution=Execution(on="dask://127.0.0.1:9"))


def test_a_cluster_without_workers_is_waited_for_and_this_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    said, more = threading.Event(), threading.Event()
    lacks = DaskPlace.lacks

    def heard(place: DaskPlace) -> str:
        said.set()
        return lacks(place)

    monkeypatch.setattr(DaskPlace, "lacks", heard)
    with distributed.LocalCluster(
        n_workers=0, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as cluster:

        def come() -> None:
            while not more.is_set():
                if said.wait(0.1):
                    said.clear()
                    cluster.scale(1)

        coming = threading.Thread(target=come)
        coming.start()
        try:
            # Nobody is there at the beginning, and nobody after the first trial.
            with pytest.warns(RuntimeWarning, match="has no worker .*; waiting for one") as warned:
                found = compare(
                    {"a": 0.1}, Sides(), epochs=1, seeds=3, display=Killing(1, lambda: cluster.scale(0)),
                    execution=Execution(on=str(cluster.scheduler_address.replace("tcp://", "dask://"))),
                )  # fmt: skip
        finally:
            more.set()
            coming.join()
    assert len(found.outcomes) == 3
    assert len(warned) == 2
