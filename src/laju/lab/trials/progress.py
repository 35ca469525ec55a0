"""The progress of running trials for watchers: a file of records per trial, in a folder that both sides know.

Files work alike for this process, for further processes on this machine, and for workers that are killed half-way. A file only
grows, so a watcher misses no record between two readings, and a late watcher sees the whole curve.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path

from laju.lab.trials.trial import Record


@dataclass(frozen=True)
class Running:
    """A running trial: its records so far, at least a single record, and the number of its updates.

    `schedule` is the JSON of the trial's schedule in updates, if its rates are known beforehand.
    """

    name: str
    seed: int
    updates: int
    records: Sequence[Record]
    schedule: str | None = None

    @property
    def record(self) -> Record:
        """The latest record."""
        return self.records[-1]

    @property
    def epochs(self) -> float:
        """The length of the whole trial in epochs."""
        return self.updates * self.record.epoch / self.record.update


class Channel:
    """The folder. A worker has a channel per job and writes records; the watcher has one channel and reads all trials.

    The first line of a file is the trial's name, seed, updates and schedule; every later line is a record.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        # Part of the names of files that this channel begins: a file of an earlier job that was killed is never continued.
        self._job = uuid.uuid4().hex[:8]
        self._separators: dict[str, bytes] = {}  # the bytes before the next line of a file that this channel has begun
        self._followed: dict[str, _Followed] = {}

    def tell(
        self, fingerprint: str, name: str, seed: int, updates: int, record: Record, schedule: str | None = None
    ) -> None:
        """Add a record of a running trial; a record that cannot be written is lost without an error.

        A full disk, or a watcher that has ended and removed the folder, is no reason to end a trial.
        """
        path = self._path(fingerprint)
        line = json.dumps(astuple(record)).encode() + b"\n"
        try:
            if fingerprint in self._separators:
                with path.open("ab") as file:
                    file.write(self._separators[fingerprint] + line)
            else:
                # Of earlier jobs of this trial, which were killed.
                for earlier in self.folder.glob(f"{_stem(fingerprint)}-*.jsonl"):
                    earlier.unlink(missing_ok=True)
                # By a rename, so that a watcher never sees a file without its first line.
                part = path.with_suffix(".part")
                part.write_bytes(json.dumps([name, seed, updates, schedule]).encode() + b"\n" + line)
                os.replace(part, path)
            self._separators[fingerprint] = b""
        except OSError:
            if fingerprint in self._separators:
                self._separators[fingerprint] = b"\n"  # part of the line may have been written

    def done(self, fingerprint: str) -> None:
        """Forget a trial that is no longer running."""
        self._separators.pop(fingerprint, None)
        with suppress(OSError):  # missing: the trial ended before its first record; Windows: the file is being read
            self._path(fingerprint).unlink()

    def running(self) -> list[Running]:
        """The running trials, the seeds of a schedule together; a trial without a new record is the same object as before."""
        followed, self._followed = self._followed, {}
        for path in self.folder.glob("*.jsonl"):
            file = followed.get(path.name) or _Followed()
            with suppress(OSError):  # the trial ended between the listing and the reading
                file.read(path)
                self._followed[path.name] = file
        trials = [file.running for file in self._followed.values() if file.running is not None]
        return sorted(trials, key=lambda r: (r.name, r.seed))

    def _path(self, fingerprint: str) -> Path:
        return self.folder / f"{_stem(fingerprint)}-{self._job}.jsonl"


def _stem(fingerprint: str) -> str:
    return fingerprint[:32]


class _Followed:
    """A file that grows, and the content read so far."""

    def __init__(self) -> None:
        self.offset = 0
        self.head: tuple[str, int, int, str | None] | None = None
        self.records: list[Record] = []
        self.running: Running | None = None

    def read(self, path: Path) -> None:
        with path.open("rb") as file:
            file.seek(self.offset)
            content = file.read()
        content = content[: content.rfind(b"\n") + 1]  # a line that is not complete yet is read the next time
        if not content:
            return
        self.offset += len(content)
        for line in content.splitlines():
            try:
                values = json.loads(line)
                if self.head is None:
                    name, seed, updates, *schedule = values  # a worker of an earlier laju writes no schedule
                    self.head = name, seed, updates, schedule[0] if schedule else None
                    continue
                record = Record(*values)
            except (ValueError, TypeError):  # torn by a full disk
                continue
            while self.records and self.records[-1].update >= record.update:  # a program went back to its checkpoint
                self.records.pop()
            self.records.append(record)
        if self.head is not None and self.records:
            name, seed, updates, schedule = self.head
            self.running = Running(name, seed, updates, tuple(self.records), schedule)
