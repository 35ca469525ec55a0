"""Kills at drawn moments, and started again until all is done: is anything that was finished lost, run again, or different?

Each verb runs in a process that is forked from one with everything loaded, so that most kills hit training and writing and not
imports. Kills inside a write hit a statement that is drawn among those that write: inside a store's transaction, or a claim. A
PostgreSQL server is stopped under a running comparison, which must go on by itself once the server is there again. After every
kill the store is read without laju; in the end the answer must be that of a run that was left in peace.

    python benchmarks/soak.py [--kills 200] [--others 10] [--seed 0]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import torch

from laju.core.pieces import Constant, Ramp
from laju.lab import Data, Execution, Grid, Task, compare

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.lab import postgres

SCHEDULES: dict[str, Any] = {f"cooldown {n}": Constant(0.2, 400 - n) >> Ramp(0.2, 0, n) for n in (200, 120, 60)}
SCHEDULES |= {"a": 0.1, "wild": 1e38}


class Sides(Task):
    """On which side of a line does a point lie?"""

    name = "sides"

    def load(self) -> Data:
        points = torch.randn(2100, 2, generator=torch.Generator().manual_seed(0)).numpy()
        sides = (points.sum(axis=1) > 0).astype("int64")
        return Data(points[:2000], sides[:2000], points[2000:], sides[2000:], classes=2)

    def model(self, seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        return torch.nn.Sequential(
            torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Dropout(0.2), torch.nn.Linear(16, 2)
        )


def comparing(store: Path, jobs: int, on: str | None = None) -> Any:
    execution = Execution(jobs=jobs, on=on)
    found = compare(
        SCHEDULES, Sides(), epochs=4, seeds=3, batch_size=20, execution=execution, store=store, display=False
    )
    return found.findings().to_json()


def comparing_in_mxnet(store: Path, jobs: int) -> Any:
    schedules = {"a": 0.1, "b": "cosine(0.2, total=3).per('epoch')"}
    grid = Grid(schedules, seeds=2, epochs=3, batch_size=64, framework="mxnet")
    found = compare(grid, "digits", jobs=jobs, store=store, display=False)
    return found.findings().to_json()


def tuning(store: Path, jobs: int) -> Any:
    from laju.lab import Search, tune

    search = Search(6, sampler="grid", points=6, confirm=2, storage=store.with_suffix(".optuna"))
    found = tune(
        "cosine", Sides(), "peak=0.01..1 log", epochs=4, seeds=[1], search=search, jobs=jobs, store=store, display=False
    )
    return sorted([one.spec, str(one.values)] for one in found.evaluations)


def finding(store: Path, jobs: int) -> Any:
    from laju.lab import find

    return find(Sides(), updates=100, seeds=3).to_json()


def studying(store: Path, jobs: int) -> Any:
    from laju.studies import Options, run

    return run("fixed-rates", Options(small=True, jobs=jobs, store=store)).verdict


def start(work: Callable[..., Any], arguments: tuple[Any, ...], out: Path, statement: int | None) -> int:
    """Do it in a process of its own, which is killed before that statement that writes, counted from 1."""
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        for stream in (1, 2):
            os.dup2(os.open(f"{out}.said", os.O_CREAT | os.O_APPEND | os.O_WRONLY), stream)
        if statement is not None:
            kill_at(statement)
        content = json.dumps(without_seconds(work(*arguments)))
        part = out.with_suffix(".part")
        part.write_text(content)
        os.replace(part, out)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def kill_at(statement: int) -> None:
    import sqlalchemy as sa

    left = statement

    @sa.event.listens_for(sa.Engine, "after_cursor_execute")
    def count(connection: Any, cursor: Any, text: str, *_: Any) -> None:
        nonlocal left
        if text.split(None, 1)[0] in ("INSERT", "UPDATE", "DELETE"):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def without_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_seconds(v) for key, v in value.items() if key not in ("seconds", "notes")}
    return [without_seconds(v) for v in value] if isinstance(value, list | tuple) else value


def stored(store: Path | str) -> dict[str, str]:
    """When each kept trial was written, read without laju; half of a trial is an error."""
    if isinstance(store, str):
        import psycopg

        with psycopg.connect(store, options="-c search_path=laju_store") as connection:
            try:
                return rows_of(connection)
            except psycopg.errors.UndefinedTable:
                return {}
    if not store.exists():
        return {}
    with closing(sqlite3.connect(store, timeout=60)) as connection:
        try:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            return rows_of(connection)
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise
            return {}


def rows_of(connection: Any) -> dict[str, str]:
    rows = "SELECT fingerprint, written FROM trials UNION ALL SELECT fingerprint, written FROM results"
    half = "SELECT count(*) FROM trials WHERE status != 'diverged' AND fingerprint NOT IN (SELECT trial FROM records)"
    found = dict(connection.execute(rows).fetchall())
    assert connection.execute(half).fetchone() == (0,)
    return found


def ended(pid: int, seconds: float, strict: bool = True) -> bool:
    """Whether a child ends within so many seconds; where nothing but a kill may end it early, an error of its own is one."""
    end = time.monotonic() + seconds
    while True:
        there, status = os.waitpid(pid, os.WNOHANG)
        if there:
            assert not strict or os.WIFSIGNALED(status) or status == 0, "it failed by itself"
            return True
        if time.monotonic() >= end:
            return False
        time.sleep(0.01)


def soak(name: str, work: Callable[..., Any], kills: int, moments: random.Random, folder: Path, **options: Any) -> None:
    """Kill until so many kills were made; print a row of the table."""
    workers, placed, more = options.get("workers", False), options.get("placed", 0), options.get("arguments", ())
    whole = folder / "whole.json"
    began = time.monotonic()
    longest = {1: undisturbed(work, (folder / "whole.sqlite", 1), whole)}
    if workers:
        longest[2] = undisturbed(work, (folder / "workers.sqlite", 2), folder / "workers.json")
    if more:
        longest[1] = undisturbed(work, (folder / "cluster.sqlite", 1, *more), folder / "cluster.json")
    made = rounds = lost = different = 0
    while made < kills:
        rounds += 1
        store, out = folder / f"{rounds}.sqlite", folder / f"{rounds}.json"
        kept: dict[str, str] = {}
        while not out.exists() and made < kills:
            jobs = 2 if workers and moments.random() < 0.5 else 1
            statement = moments.randint(1, placed) if placed else None
            child = start(work, (store, jobs, *more), out, statement)
            if ended(child, 600 if placed else moments.uniform(0, longest[jobs]), placed > 0):
                made += placed > 0 and not out.exists()
            else:
                made += 1
                family = psutil.Process(child).children(recursive=True)
                victims = (
                    [*family, psutil.Process(child)]
                    if moments.random() < 0.5 or not family
                    else [moments.choice(family)]
                )
                for victim in victims:
                    try:
                        victim.kill()
                    except psutil.NoSuchProcess:
                        continue
                if not ended(child, 0 if len(victims) > 1 or not family else moments.uniform(0, longest[jobs]), False):
                    psutil.Process(child).kill()
                    os.waitpid(child, 0)
            now = stored(store)
            lost += sum(now.get(one) != when for one, when in kept.items())
            kept = now
        if not out.exists():
            ended(start(work, (store, 1, *more), out, None), 900)
        different += not out.exists() or out.read_text() != whole.read_text()
        lost += sum(stored(store).get(one) != when for one, when in kept.items())
    print_row(name, made, rounds, lost, different, began)


def undisturbed(work: Callable[..., Any], arguments: tuple[Any, ...], out: Path) -> float:
    """The seconds that a run takes in peace."""
    began = time.monotonic()
    assert ended(start(work, arguments, out, None), 900), "it never came to its end"
    assert out.exists(), Path(f"{out}.said").read_text()
    return time.monotonic() - began


def stop_server(name: str, stops: int, moments: random.Random, folder: Path) -> None:
    """Stop the database of a comparison so many times, and start the database again; print a row of the table."""
    import psycopg

    began = time.monotonic()
    made = rounds = lost = different = 0
    whole = folder / "whole.json"
    undisturbed(comparing, (folder / "whole.sqlite", 1), whole)
    programs = postgres.programs()
    assert programs is not None
    with postgres.server(programs) as server:
        while made < stops:
            rounds += 1
            with psycopg.connect(server, autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE soak_{rounds}")
            store, out = server.replace("/postgres?", f"/soak_{rounds}?"), folder / f"{rounds}.json"
            child = start(comparing, (store, moments.choice((1, 2))), out, None)
            kept: dict[str, str] = {}
            while not ended(child, moments.uniform(0, 1) if kept else 0.05):
                now = stored(store)
                lost += sum(now.get(one) != when for one, when in kept.items())
                kept = now
                if kept and made < stops:
                    postgres.stop(server, moments.choice(("fast", "immediate")))
                    time.sleep(moments.uniform(0, 3))
                    postgres.start(server)
                    made += 1
            lost += sum(stored(store).get(one) != when for one, when in kept.items())
            different += not out.exists() or out.read_text() != whole.read_text()
    print_row(name, made, rounds, lost, different, began)


def print_row(name: str, made: int, rounds: int, lost: int, different: int, began: float) -> None:
    print(f"| {name} | {made} | {rounds} | {lost} | {different} | {time.monotonic() - began:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="of compare, half of them placed")
    parser.add_argument("--others", type=int, default=10, help="of each other verb")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    Sides().data()
    torch.set_num_threads(1)
    print("| what is killed | kills | stores | finished trials lost or run again | other answers | seconds |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |", flush=True)
    moments = random.Random(options.seed)
    for name, work, kills, more in (
        ("`compare`, inside a write or a claim", comparing, options.kills // 2, {"placed": 60}),
        (
            "`compare`, at any moment: driver, worker or all",
            comparing,
            options.kills - options.kills // 2,
            {"workers": True},
        ),
        ("`tune`", tuning, options.others, {}),
        ("`find`", finding, options.others, {}),
        ("`study`", studying, options.others, {"workers": True}),
        (
            "`compare` on Dask: driver, worker or all",
            comparing,
            options.others,
            {"arguments": ("dask",)},
        ),
        (
            "`compare` on Ray: driver, node's processes or all",
            comparing,
            options.others,
            {"arguments": ("ray",)},
        ),
        (
            "`compare` in MXNet: driver, MXNet's child or all",
            comparing_in_mxnet,
            options.others if has_mxnet() else 0,
            {},
        ),
    ):
        if kills == 0:
            continue
        with tempfile.TemporaryDirectory(prefix="laju-soak-", ignore_cleanup_errors=True) as folder:
            soak(name, work, kills, moments, Path(folder), **more)
    if options.others and postgres.programs() is not None:
        with tempfile.TemporaryDirectory(prefix="laju-soak-", ignore_cleanup_errors=True) as folder:
            stop_server("PostgreSQL stopped and started under `compare`", options.others, moments, Path(folder))


def has_mxnet() -> bool:
    from laju.lab.engines.mxnet import interpreter

    try:
        interpreter()
    except ModuleNotFoundError as error:
        print(f"MXNet is left out: {error}", file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    main()
