"""What running trials tell and whoever watches reads: nothing is missed, whatever is torn, killed or late."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from laju.lab.trials import Record
from laju.lab.trials.progress import Channel, Running

A, B = "a" * 64, "b" * 64


def record(update: int, **changes: float | None) -> Record:
    values = {"epoch": update / 10, "rate": 0.1, "train_loss": 2 / update, "train_accuracy": 0.5} | changes
    return Record(update, test_accuracy=None, **values)


def tell(channel: Channel, fingerprint: str, *updates: int, name: str = "a", seed: int = 0) -> None:
    for update in updates:
        channel.tell(fingerprint, name, seed, 100, record(update))


def seen(channel: Channel) -> dict[tuple[str, int], list[int]]:
    return {(trial.name, trial.seed): [r.update for r in trial.records] for trial in channel.running()}


def only_file(folder: Path) -> Path:
    (path,) = folder.glob("*.jsonl")
    return path


def test_a_late_watcher_and_one_that_looks_rarely_see_every_record(tmp_path: Path) -> None:
    worker, early = Channel(tmp_path), Channel(tmp_path)
    assert early.running() == []
    tell(worker, A, 10, 20)
    assert early.running() == [Running("a", 0, 100, (record(10), record(20)))]
    tell(worker, A, 30, 40, 50)
    tell(worker, B, 5, name="b", seed=7)
    whole = {("a", 0): [10, 20, 30, 40, 50], ("b", 7): [5]}
    assert seen(early) == seen(Channel(tmp_path)) == whole
    assert early.running()[0].epochs == pytest.approx(10)


def test_records_come_back_as_they_were_told(tmp_path: Path) -> None:
    told = [record(1, train_accuracy=float("nan")), Record(2, 0.2, 1e-30, 1e300, 1.0, 0.25)]
    worker = Channel(tmp_path)
    for each in told:
        worker.tell(A, "näme \n", 3, 100, each)
    (trial,) = Channel(tmp_path).running()
    assert (trial.name, trial.seed, trial.updates) == ("näme \n", 3, 100)
    assert list(map(repr, trial.records)) == list(map(repr, told))  # NaN is not equal to itself


def test_a_trial_without_news_is_the_same_object(tmp_path: Path) -> None:
    worker, watcher = Channel(tmp_path), Channel(tmp_path)
    tell(worker, A, 1)
    (first,) = watcher.running()
    assert watcher.running()[0] is first
    tell(worker, A, 2)
    assert watcher.running()[0] is not first


def test_a_trial_that_is_done_is_gone(tmp_path: Path) -> None:
    worker, watcher = Channel(tmp_path), Channel(tmp_path)
    tell(worker, A, 1)
    tell(worker, B, 1, name="b")
    watcher.running()
    worker.done(A)
    worker.done("c" * 64)  # ended before its first record
    assert seen(watcher) == {("b", 0): [1]}
    worker.done(B)
    assert list(tmp_path.iterdir()) == []


def test_the_next_part_of_a_trial_begins_anew_under_its_own_name(tmp_path: Path) -> None:
    watcher, first = Channel(tmp_path), Channel(tmp_path)
    tell(first, A, 1, 2, name="a and 2 more")
    watcher.running()
    first.done(A)
    tell(Channel(tmp_path), A, 1, 2, 3)
    assert seen(watcher) == {("a", 0): [1, 2, 3]}


def test_a_worker_that_is_killed_is_followed_by_the_one_that_runs_its_trial_again(tmp_path: Path) -> None:
    killed, watcher = Channel(tmp_path), Channel(tmp_path)
    tell(killed, A, 1, 2, 3)
    with only_file(tmp_path).open("ab") as file:
        file.write(b"[4, 0.4, 0.")
    assert seen(watcher) == {("a", 0): [1, 2, 3]}
    again = Channel(tmp_path)
    tell(again, A, 1)
    assert seen(watcher) == {("a", 0): [1]}
    tell(again, A, 2)
    assert seen(watcher) == {("a", 0): [1, 2]}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_line_that_is_half_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    worker, watcher = Channel(tmp_path), Channel(tmp_path)
    tell(worker, A, 1)
    path = only_file(tmp_path)
    line = json.dumps([2, 0.2, 0.1, 1.0, 0.5, None]).encode() + b"\n"
    for cut in range(len(line)):
        with path.open("ab") as file:
            file.write(line[cut : cut + 1])
        assert seen(watcher) == {("a", 0): [1, 2] if cut == len(line) - 1 else [1]}


def test_a_program_that_goes_back_to_its_checkpoint_takes_its_later_records_back(tmp_path: Path) -> None:
    worker, watcher = Channel(tmp_path), Channel(tmp_path)
    tell(worker, A, 10, 20, 30)
    watcher.running()
    tell(worker, A, 10, 20, 25)
    assert seen(watcher) == seen(Channel(tmp_path)) == {("a", 0): [10, 20, 25]}


def test_lines_that_are_no_records_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(
        b'["a", 0, 100]\n[1, 0.1, 0.1, 1.0, 0.5, null]\n{"\n\xff\n[7]\n[2, 0.2, 0.1, 1, 0, 1]\n'
    )
    (tmp_path / "y.jsonl").write_bytes(b'["no record yet", 0, 100]\n')
    (tmp_path / "z.jsonl").write_bytes(b"")
    assert seen(Channel(tmp_path)) == {("a", 0): [1, 2]}


@pytest.mark.skipif(os.name != "posix", reason="needs limits on the size of files")
def test_a_full_disk_loses_records_and_nothing_else(tmp_path: Path) -> None:
    import resource

    worker, watcher = Channel(tmp_path), Channel(tmp_path)

    @contextmanager
    def room_for(size: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    with room_for(5):  # not even for the beginning
        tell(worker, A, 1)
    tell(worker, A, 2)
    assert seen(watcher) == {("a", 0): [2]}
    before = only_file(tmp_path).stat().st_size
    with room_for(before + 7):
        tell(worker, A, 3)
        assert only_file(tmp_path).stat().st_size == before + 7  # a part of the line
        assert seen(watcher) == {("a", 0): [2]}
        tell(worker, A, 4)
    tell(worker, A, 5, 6)
    assert seen(watcher) == seen(Channel(tmp_path)) == {("a", 0): [2, 5, 6]}


def test_a_watcher_who_took_the_folder_along_stops_no_trial(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    worker = Channel(folder)
    tell(worker, A, 1)
    worker._path(A).unlink()
    folder.rmdir()
    tell(worker, A, 2)
    tell(worker, B, 1)
    worker.done(A)
    assert Channel(folder).running() == []
