"""What a damaged store still holds is told and written into a new file, and nothing that was damaged passes for a figure."""

from __future__ import annotations

import os
import shutil
import sqlite3
import warnings
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from laju.lab import Outcome, Store, StoreError
from laju.lab.store import StoreWarning
from laju.lab.store.recovery import recovery
from laju.lab.store.repair import check, recover
from tests.lab import postgres
from tests.lab.test_store import outcome, trial

PAGE = 4096
TRIALS = 40
Rows = dict[tuple[str, int], tuple[Any, ...]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of forty trials, a few of them unlike the others, and a result."""
    path = tmp_path_factory.mktemp("whole") / "a.sqlite"
    with Store(path) as store:
        for seed in range(TRIALS - 1):
            store.put(trial(seed), outcome(seed))
        store.put(trial(TRIALS - 1), replace(outcome(TRIALS - 1), observed=((50, 0.25), (100, 0.125))))
        store.put(trial(TRIALS), Outcome("diverged", (), 0.1, diverged_at=0))
        store.put_result("study", '{"answer": ' + "9" * 6000 + "}")
        store.keep_branch_point("family", "prefix", 3, bytes(range(256)) * 40)
    return path


def singly(path: Path, most: int = TRIALS * 110) -> Rows:
    """Every row that SQLite itself reads when asked for that row alone; slow, and without laju."""
    found: Rows = {}
    for table in ("trials", "records", "observed", "results"):
        with closing(sqlite3.connect(path)) as connection:
            for number in range(1, most if table == "records" else TRIALS + 2):
                try:
                    row = connection.execute(f"SELECT * FROM {table} WHERE rowid = ?", (number,)).fetchone()
                except sqlite3.Error:
                    continue
                if row is not None:
                    found[table, number] = row
    return found


def without_status(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row of any table, of a trial without what a recovery may change."""
    return row[:8] + row[9:] if len(row) == 13 else row


def damaged(whole: Path, target: Path, change: Callable[[bytearray], object]) -> Path:
    content = bytearray(whole.read_bytes())
    change(content)
    target.write_bytes(content)
    return target


@pytest.mark.slow
def test_half_pages_of_zeros_lose_no_row_that_can_be_read_singly(whole: Path, tmp_path: Path) -> None:
    good = singly(whole)
    assert len(good) == (TRIALS + 1) + TRIALS * 100 + 2 + 1
    halves = whole.stat().st_size // (PAGE // 2)
    places = sorted({*range(6), *(halves * k // 22 for k in range(22))})
    assert len(places) >= 26
    lost = 0
    for half in places:
        path = damaged(whole, tmp_path / "b.sqlite", lambda c, half=half: c.__setitem__(  # type: ignore[misc]
            slice(half * PAGE // 2, (half + 1) * PAGE // 2), bytes(PAGE // 2)
        ))  # fmt: skip
        before = path.read_bytes()
        new = tmp_path / f"{half}.sqlite"
        recover(path, new)
        assert path.read_bytes() == before
        readable = {key for key, row in singly(path).items() if good[key] == row}
        recovered = singly(new)
        assert readable <= recovered.keys(), half
        # A row whose end became zeros, which SQLite reads, is left out.
        assert [key for key, row in recovered.items() if without_status(row) != without_status(good[key])] == [], half
        with warnings.catch_warnings(), Store(new) as store:
            warnings.simplefilter("ignore")
            kept = {each.fingerprint: each.outcome for each in store.trials()}
            for seed in range(TRIALS - 1):
                # Whole, and equal to what was put, or absent: never a part of a trial.
                assert kept.get(trial(seed).fingerprint, outcome(seed)) == outcome(seed), half
            lost += TRIALS + 1 - len(kept)
            assert len(kept) >= TRIALS - 4, half
    assert lost > 0


def test_the_trees_of_the_file_need_not_be_whole(whole: Path, tmp_path: Path) -> None:
    """A zeroed page of the schema, and a root: SQLite reads nothing of the tables, and nearly all can be recovered."""
    for page in (0, 1, 2, 3, 4, 5):
        path = damaged(whole, tmp_path / "b.sqlite", lambda c, page=page: c.__setitem__(  # type: ignore[misc]
            slice(page * PAGE, (page + 1) * PAGE), bytes(PAGE)
        ))  # fmt: skip
        assert recovery(path).told().startswith(("40 trials", "41 trials"))


def test_a_truncated_file_gives_what_is_left(whole: Path, tmp_path: Path) -> None:
    size = whole.stat().st_size
    path = damaged(whole, tmp_path / "b.sqlite", lambda c: c.__delitem__(slice(int(size * 0.9), None)))
    found = recover(path, tmp_path / "new.sqlite")
    assert found.findings
    with warnings.catch_warnings(), Store(tmp_path / "new.sqlite") as store:
        warnings.simplefilter("ignore")
        assert TRIALS * 0.7 < len(store) < TRIALS


@pytest.mark.parametrize("content", [b"", b"hello " * 2000, bytes(PAGE * 4)])
def test_what_holds_no_row_is_refused_and_no_file_is_made(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "b.sqlite"
    path.write_bytes(content)
    for ask in (lambda: check(path), lambda: recover(path, tmp_path / "new.sqlite")):
        with pytest.raises(StoreError, match="holds nothing of a store"):
            ask()
    assert [found.name for found in tmp_path.iterdir()] == ["b.sqlite"]


def test_a_file_that_is_there_is_not_written(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "new.sqlite").write_text("mine")
    with pytest.raises(FileExistsError):
        recover(whole, tmp_path / "new.sqlite")
    assert (tmp_path / "new.sqlite").read_text() == "mine"


def test_a_store_that_is_open_and_one_that_a_kill_has_left_are_read_with_their_log(tmp_path: Path) -> None:
    path, copy = tmp_path / "a.sqlite", tmp_path / "b.sqlite"
    with Store(path) as store:
        for seed in range(3):
            store.put(trial(seed), outcome(seed))
        beside = sorted(found.name for found in tmp_path.iterdir())
        assert check(path).findings == ()
        assert check(path).holds == "3 trials"
        assert sorted(found.name for found in tmp_path.iterdir()) == beside
        for ending in ("", "-wal"):  # as a kill leaves it
            if path.with_name(path.name + ending).exists():
                shutil.copyfile(path.with_name(path.name + ending), copy.with_name(copy.name + ending))
    assert check(copy).holds == "3 trials"


def test_the_trials_of_a_damaged_store_are_used_with_a_warning_and_the_rest_is_put_anew(
    whole: Path, tmp_path: Path
) -> None:
    content = whole.read_bytes()
    fingerprint = trial(7).fingerprint.encode()
    pages = [content[i : i + PAGE] for i in range(0, len(content), PAGE)]
    places = [i for i, page in enumerate(pages) if i > 1 and page[0] == 0x0D and fingerprint in page]
    page = places[len(places) // 2]
    path = damaged(
        whole, tmp_path / "b.sqlite", lambda c: c.__setitem__(slice(page * PAGE, (page + 1) * PAGE), bytes(PAGE))
    )
    with Store(path) as store:
        with pytest.warns(
            StoreWarning, match=r"b\.sqlite is damaged: \d+ trials can be read.*laju store check.*recover"
        ):
            found = store.get_many(trial(seed) for seed in range(TRIALS - 1))
        assert TRIALS - 4 <= len(found) < TRIALS - 1
        assert all(found.get(trial(seed).fingerprint, outcome(seed)) == outcome(seed) for seed in range(TRIALS - 1))
    assert any(sentence.startswith("incomplete: constant(0.1) with seed 7") for sentence in check(path).findings)
    recover(path, tmp_path / "new.sqlite")
    with Store(tmp_path / "new.sqlite") as store:
        with pytest.warns(StoreWarning, match=r"left out the trial of .* of which a recovery found not all"):
            assert store.get(trial(7)) is None
        store.put(trial(7), outcome(7))
        assert store.get(trial(7)) == outcome(7)
    assert check(tmp_path / "new.sqlite").findings == ()


CHANGES = {
    "records cannot be right: train_loss is 'x'": "UPDATE records SET train_loss = 'x' WHERE rowid = 5",
    "trials cannot be right: seconds is b'": "UPDATE trials SET seconds = x'00ff' WHERE rowid = 1",
    "trials cannot be right: status is '<script>'": "UPDATE trials SET status = '<script>' WHERE rowid = 1",
    "records cannot be right: update is -30": 'UPDATE records SET "update" = -30 WHERE rowid = 5',
    "records cannot be right: test_accuracy is 7": "UPDATE records SET test_accuracy = 7 WHERE rowid = 5",
}


@pytest.mark.parametrize("reason", CHANGES)
def test_a_row_that_cannot_be_right_is_told_left_out_and_put_anew(tmp_path: Path, reason: str) -> None:
    path = tmp_path / "a.sqlite"
    with Store(path) as store:
        for seed in range(2):
            store.put(trial(seed), outcome(seed))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(CHANGES[reason])
        connection.commit()
    with Store(path) as store:
        with pytest.warns(StoreWarning, match=f"left out the trial of .* with seed 0, whose {reason}"):
            assert [kept.seed for kept in store.trials()] == [1]
        assert any(reason in finding for finding in check(path).findings)
        store.put(trial(0), outcome(0))
        store.put(trial(1), outcome(5))  # a good one stays
        assert [store.get(trial(seed)) for seed in (0, 1)] == [outcome(0), outcome(1)]
    assert check(path).findings == ()


@pytest.mark.parametrize(
    ("what", "statement"),
    [
        ("trigger 'empty'", "CREATE TRIGGER empty AFTER INSERT ON trials BEGIN DELETE FROM trials; END"),
        ("view 'best'", "CREATE VIEW best AS SELECT * FROM trials"),
    ],
)
def test_triggers_and_views_are_refused_and_recovery_leaves_them_out(tmp_path: Path, what: str, statement: str) -> None:
    path = tmp_path / "a.sqlite"
    with Store(path) as store:
        store.put(trial(), outcome())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
    with pytest.raises(StoreError, match=f"has the {what}, which is not laju's"):
        Store(path)
    assert what in check(path).findings[0]
    recover(path, tmp_path / "new.sqlite")
    with Store(tmp_path / "new.sqlite") as store:
        assert store.get(trial()) == outcome()


@pytest.mark.skipif(os.name != "posix", reason="a file that is open can be emptied on POSIX alone")
def test_a_file_that_is_emptied_while_it_is_open_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with Store(path) as store:
        store.put(trial(1), outcome(1))
        os.truncate(path, 0)
        with pytest.warns(StoreWarning, match="made anew, and given the 1 trial that this program had put"):
            store.put(trial(2), outcome(2))
    with Store(path) as store:
        assert [kept.seed for kept in store.trials()] == [1, 2]
    assert check(path).findings == ()


@pytest.mark.skipif(os.name != "posix", reason="devices and names of POSIX")
@pytest.mark.parametrize("place", ["/dev/null", "a\0b", "a\ud800b"])
def test_places_that_can_be_no_file_are_one_sentence(place: str) -> None:
    with pytest.raises(StoreError, match="cannot be"):
        Store(place)


@pytest.mark.slow
def test_a_database_is_checked_and_written_into_a_file(tmp_path: Path) -> None:
    found = postgres.programs()
    if found is None:
        pytest.skip("there is no PostgreSQL server here: apt install postgresql")
    with postgres.server(found) as url:
        with Store(url) as store:
            for seed in range(3):
                store.put(trial(seed), replace(outcome(seed), observed=((1, 0.5),)))
            store.put_result("study", "[1]")
            assert check(url).findings == ()
            store._kept_in.write(
                lambda c: c.exec_driver_sql("UPDATE laju_store.trials SET status = 'x' WHERE seed = 1")
            )
        (finding,) = check(url).findings
        assert "cannot be right: status is 'x'" in finding
        recover(url, tmp_path / "new.sqlite")
    with Store(tmp_path / "new.sqlite") as store:
        assert [kept.seed for kept in store.trials()] == [0, 2]
        assert store.get(trial(2)) == replace(outcome(2), observed=((1, 0.5),))
        assert store.results(["study"]) == {"study": "[1]"}
