"""A store in PostgreSQL keeps what one in a file keeps, for several programs at once, and outlives a restart of the server."""

from __future__ import annotations

import math
import multiprocessing
import os
import random
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from laju.lab import Outcome, Record, Store, StoreError, compare
from laju.lab.store import VERSION, StoreWarning
from laju.lab.store.curves import stored_curves
from laju.lab.tuning.storage import open_storage, storage_url
from tests.lab import postgres
from tests.lab.test_store import killed, outcome, trial, write
from tests.lab.tiny import Sides

pytest.importorskip("psycopg", reason="the driver for PostgreSQL is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="the server is started over a socket")]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    found = postgres.programs()
    if found is None:
        pytest.skip("there is no PostgreSQL server here: apt install postgresql")
    with postgres.server(found) as url:
        yield url


@pytest.fixture
def url(server: str, request: pytest.FixtureRequest) -> str:
    """A new database."""
    return new_database(server, f"d{abs(hash(request.node.nodeid))}")


def new_database(server: str, name: str) -> str:
    sql(server, f"CREATE DATABASE {name}")
    return server.replace("/postgres?", f"/{name}?")


def sql(url: str, *texts: str) -> list[Any]:
    """What the last statement gives."""
    engine = sa.create_engine(storage_url(url), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        for text in texts:
            result = connection.exec_driver_sql(text)
        return [tuple(row) for row in result] if result.returns_rows else []


@pytest.mark.parametrize(
    "kept",
    [
        outcome(),
        Outcome("diverged", (), 0.1, diverged_at=0),
        replace(outcome(7, 3), status="diverged", diverged_at=2**40),
        Outcome("finished", (Record(2**40, 1e-300, 5e-324, math.inf, 0.1 + 0.2, 1.0),), 1e-9),
        replace(outcome(9, 2), observed=((1, 0.1 + 0.2), (2, math.inf))),
    ],
)
def test_what_is_kept_is_read_back_equal_by_another_store(url: str, kept: Outcome) -> None:
    with Store(url) as store:
        assert store.get(trial(2**63 - 1)) is None
        store.put(trial(2**63 - 1), kept)
        store.put(trial(2**63 - 1), outcome(5))  # the first one stays
    with Store(url) as store:
        assert store.get(trial(2**63 - 1)) == kept
        assert len(store) == 1


def test_a_validation_loss_that_is_nan_stays_so(url: str) -> None:
    with Store(url) as store:
        store.put(trial(), replace(outcome(), observed=((3, math.nan),)))
        found = store.get(trial())
        assert found is not None
        assert found.observed[0][0] == 3
        assert math.isnan(found.observed[0][1])


def test_many_are_read_at_once_and_in_the_order_in_which_they_were_written(url: str) -> None:
    seeds = list(range(0, 1100, 2))
    random.Random(0).shuffle(seeds)
    with Store(url) as store:
        for seed in seeds:
            store.put(trial(seed), outcome(seed, 2))
        found = store.get_many(map(trial, range(1100)))
        assert found == {trial(seed).fingerprint: outcome(seed, 2) for seed in seeds}
        assert [kept.seed for kept in store.trials("points")] == seeds
        assert list(store.trials("another task")) == []


def test_branch_points_are_kept_within_the_room_for_them(url: str) -> None:
    state = random.Random(0).randbytes(100_000)
    with Store(url, branch_bytes=250_000) as store:
        for i in range(2):
            store.keep_branch_point("f", f"p{i}", i, state)
        assert store.branch_point("p0") == state
        store.keep_branch_point("f", "p2", 2, state)
        store.keep_branch_point("f", "too large", 3, bytes(250_001))
        assert store.branch_points("f") == [(0, "p0"), (2, "p2")]
        assert store.branch_point("p1") is None


def test_a_comparison_finds_its_trials_in_the_database(url: str) -> None:
    options: dict[str, Any] = {"epochs": 2, "seeds": 2, "batch_size": 16, "store": url}
    schedules = {"a": 0.1, "b": "cosine(0.5, total=2).per('epoch')"}
    first = compare(schedules, Sides(n=64), jobs=2, **options)
    with Store(url) as store:
        assert len(store) == 4
    again = compare(schedules, Sides(n=64), jobs=1, **options)
    assert again.findings().to_json() == first.findings().to_json()  # with its seconds: what was read back, not trained
    assert {curve.seeds for curve in stored_curves(url)} == {2}


def test_programs_that_make_and_write_a_store_at_once_lose_nothing(server: str) -> None:
    context = multiprocessing.get_context("spawn")
    urls = [new_database(server, f"together{i}") for i in range(4)]
    ready = context.Barrier(4)
    # Each two of them write ten trials that are the same.
    ranges = [range(10 * i, 10 * i + 20) for i in range(4)]
    processes = [context.Process(target=write, args=(urls, seeds, ready)) for seeds in ranges]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    for url in urls:
        with Store(url) as store:
            assert store.get_many(map(trial, range(60))) == {trial(s).fingerprint: outcome(s) for s in range(50)}


def test_a_program_killed_at_any_moment_leaves_every_trial_whole_or_absent(url: str) -> None:
    Store(url).close()
    moments = random.Random(0)
    first = 0
    for _ in range(30):
        first += killed(url, first, moments.uniform(0.05, 0.2))
        with Store(url) as store:
            after = store.get(trial(first))
            assert after in (None, outcome(first, 400))  # it may be written and not yet said
            first += after is not None
            assert len(store) == first
    assert first > 30
    with Store(url) as store:
        found = store.get_many(map(trial, range(first)))
        assert found == {trial(seed).fingerprint: outcome(seed, 400) for seed in range(first)}


def test_connections_that_the_server_closed_are_replaced(url: str, recwarn: pytest.WarningsRecorder) -> None:
    with Store(url) as store:
        store.put(trial(1), outcome(1))
        sql(
            url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IS NOT NULL AND pid <> pg_backend_pid()",
        )
        store.put(trial(2), outcome(2))
        assert len(store) == 2
    assert not [w for w in recwarn if w.category is StoreWarning]


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_a_restart_of_the_server_is_outlived(server: str, url: str, how: str) -> None:
    with Store(url) as store:
        store.put(trial(1), outcome(1))
        postgres.stop(server, how)
        timer = threading.Timer(1.5, postgres.start, [server])
        timer.start()
        with pytest.warns(StoreWarning, match="does not answer .* trying again for up to 60 seconds") as warned:
            store.put(trial(2), outcome(2))
        timer.join()
        assert len(warned) == 1
        assert store.get_many([trial(1), trial(2)]) == {trial(s).fingerprint: outcome(s) for s in (1, 2)}


def test_a_server_that_stays_away_is_said_and_what_was_finished_is_kept(server: str, url: str) -> None:
    with Store(url, wait=1) as store:
        store.put(trial(1), outcome(1))
        postgres.stop(server, "fast")
        try:
            with (
                pytest.warns(StoreWarning),
                pytest.raises(StoreError, match=r"has not answered for 1 seconds: .* finished before are kept"),
            ):
                store.put(trial(2), outcome(2))
            with pytest.raises(StoreError, match="cannot be opened"):
                Store(url)
        finally:
            postgres.start(server)
        assert store.get(trial(1)) == outcome(1)
        assert store.get(trial(2)) is None
        store.put(trial(2), outcome(2))
        assert len(store) == 2


def test_a_table_that_another_program_locks_is_named_after_the_wait(url: str) -> None:
    with Store(url, wait=0.3) as store:
        engine = sa.create_engine(storage_url(url), poolclass=sa.NullPool)
        with engine.begin() as other:
            other.exec_driver_sql("LOCK TABLE laju_store.trials IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(StoreError, match=r"locked by another program for 0\.3 seconds"):
                store.put(trial(), outcome())
        store.put(trial(), outcome())
        assert len(store) == 1


def test_other_tables_are_no_problem_and_a_search_may_be_kept_beside(url: str) -> None:
    sql(url, "CREATE TABLE trials (key text)", "CREATE TABLE photos (key text)")
    with Store(url) as store:
        store.put(trial(), outcome())
    sql(url, "DROP TABLE trials")
    open_storage(storage_url(url))  # which has a table named trials as well
    with Store(url) as store:
        assert store.get(trial()) == outcome()


def test_a_table_of_another_program_in_our_place_is_refused_and_left_alone(url: str) -> None:
    sql(url, "CREATE SCHEMA laju_store", "CREATE TABLE laju_store.trials (key text)")
    with pytest.raises(
        StoreError, match="'laju_store' that is not a store of laju's: it holds trials; give another database"
    ):
        Store(url)
    assert sql(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'laju_store'") == [("trials",)]


def test_a_store_without_test_losses_is_read_and_brought_up_to_date(url: str) -> None:
    before = replace(outcome(), records=tuple(replace(record, test_loss=None) for record in outcome().records))
    with Store(url) as store:
        store.put(trial(), before)
    sql(url, "ALTER TABLE laju_store.records DROP COLUMN test_loss", "UPDATE laju_store.store SET version = 3")
    sql(url, "DROP TABLE laju_store.results")
    with Store(url) as store:
        assert store.get(trial()) == before
        store.put(trial(1), outcome(1))
        store.put_result("print", '{"text": "π"}')
        store.put_result("print", "another")
    with Store(url) as store:
        assert store.get(trial(1)) == outcome(1)
        assert store.results(["none", "print"]) == {"print": '{"text": "π"}'}
        assert len(store) == 3
    assert sql(url, "SELECT version FROM laju_store.store") == [(VERSION,)]


def test_a_store_of_a_newer_version_is_refused(url: str) -> None:
    Store(url).close()
    assert sql(url, "SELECT version FROM laju_store.store") == [(VERSION,)]
    sql(url, f"UPDATE laju_store.store SET version = {VERSION + 1}")
    with pytest.raises(StoreError, match=f"newer laju .store version {VERSION + 1}; this one reads up to {VERSION}"):
        Store(url)
    assert sql(url, "SELECT version FROM laju_store.store") == [(VERSION + 1,)]


def test_a_user_without_rights_is_told_what_is_missing(url: str) -> None:
    sql(url, "DROP ROLE IF EXISTS guest", "CREATE ROLE guest LOGIN")
    as_guest = url.replace("laju@", "guest@")
    with pytest.raises(
        StoreError, match=r"permission denied .* may neither create a schema 'laju_store' there nor write"
    ):
        Store(as_guest)
    Store(url).close()
    with pytest.raises(StoreError, match="permission denied"):
        Store(as_guest)


def test_a_database_that_does_not_exist_is_named(server: str) -> None:
    with pytest.raises(StoreError, match='"nowhere" does not exist'):
        Store(server.replace("/postgres?", "/nowhere?"))


def test_a_server_that_is_away_is_named_at_once_without_its_password() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"postgresql://laju:secret@127.0.0.1:{closed.getsockname()[1]}/db"
        with pytest.raises(StoreError, match=r"laju:\*\*\*@127\.0\.0\.1.* cannot be opened") as error:
            Store(url)
    assert "secret" not in str(error.value)


def test_a_server_that_says_nothing_is_given_up() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        with pytest.raises(StoreError, match="timeout"):
            Store(f"postgresql://laju@127.0.0.1:{deaf.getsockname()[1]}/db?connect_timeout=2")
