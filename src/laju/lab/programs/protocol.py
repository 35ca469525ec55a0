"""The protocol between the lab and a program: environment variables, and files that stay whole if either is killed at any moment.

| in a trial's folder | written by | holds |
| --- | --- | --- |
| `trial.json` | lab | a `Description` |
| `records.jsonl` | program | a line for every report, and for every attempt the update at which the attempt begins |
| `checkpoints/N` | program | a file or a folder after N completed updates |
| `output.txt`, `errors.txt` | program | all that the program printed |
| `outcome.json` | lab | the `Outcome`, at the end |
| `lock` | | is locked by the lab, and by the launcher as long as processes of the program may run |
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from laju.core.checks import number, shown, whole
from laju.core.units import Length, RunPlan, nearest_update
from laju.lab.trials import Record

try:
    import fcntl
except ImportError:  # Windows, where the lab starts no programs; a program run by hand needs no lock
    fcntl = None  # type: ignore[assignment]

VARIABLE = "LAJU_TRIAL"
"""The environment variable with the path of `trial.json`; for launchers that pass no environment on, the option stands for it."""
OPTION = "--laju-trial"
LAUNCHED = "LAJU_TRIAL_LAUNCHED"
"""Set if a launcher holds the lock: the program ends when the lock becomes free."""
TRIAL, RECORDS, CHECKPOINTS, LOCK = "trial.json", "records.jsonl", "checkpoints", "lock"
OUTPUT, ERRORS, OUTCOME = "output.txt", "errors.txt", "outcome.json"


class Description(NamedTuple):
    """The trial for a program to train; the schedule is JSON, the checkpoints are numbers of completed updates."""

    task: str
    schedule: Any
    seed: int
    epochs: int
    batch_size: int
    samples: int
    checkpoints: list[int]

    @classmethod
    def read(cls, path: Path) -> Description:
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{path}, which {VARIABLE} or {OPTION} names, is not there; leave them out to run the program by hand"
            ) from None
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}, which {VARIABLE} or {OPTION} names, is no file of the lab's: {error}") from error

    @property
    def plan(self) -> RunPlan:
        return RunPlan(samples=self.samples, batch_size=self.batch_size, epochs=self.epochs)


def write(path: Path, content: Any) -> None:
    """Write JSON completely or not at all."""
    part = path.with_suffix(".part")
    with part.open("w") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


# --- checkpoints -------------------------------------------------------------------------------------------------------


class Checkpoint(NamedTuple):
    """A complete checkpoint: the number of completed updates, and the file or folder that the program wrote."""

    update: int
    path: Path


def stated_updates(every: int | Length | None, at: tuple[int | Length, ...], plan: RunPlan) -> list[int]:
    """The numbers of completed updates after which a run saves a checkpoint, in order."""
    updates = {nearest_update(plan.scale.updates(length)) for length in at}
    if every is not None:
        step = max(nearest_update(plan.scale.updates(every)), 1)
        updates |= set(range(step, plan.updates + 1, step))
    return sorted(update for update in updates if 0 < update <= plan.updates)


def latest(folder: Path | None) -> Checkpoint | None:
    """The latest complete checkpoint in a trial's folder."""
    place = None if folder is None else folder / CHECKPOINTS
    found = [] if place is None or not place.is_dir() else [path for path in place.iterdir() if path.stem.isdigit()]
    # `save` puts a checkpoint aside as `.old` before a new checkpoint of the same update; `.old` is whole, too.
    kept = [path for path in found if path.suffix in ("", ".old")]
    best = max(kept, key=lambda path: (int(path.stem), path.suffix == ""), default=None)
    return None if best is None else Checkpoint(int(best.stem), best)


def save(folder: Path, update: int, write: Callable[[Path], Any]) -> None:
    """Have a checkpoint written, completely or not at all, and then remove the previous checkpoint.

    Raises:
        FileNotFoundError: `write` made nothing at the path.
    """
    place = folder / CHECKPOINTS
    place.mkdir(exist_ok=True)
    final = place / f"{update:012d}"
    part, old = final.with_suffix(".part"), final.with_suffix(".old")
    _remove(part)
    write(part)
    if not part.exists():
        raise FileNotFoundError(
            f"write must make a file or a folder at the path that it is given, but {part} is not there"
        )
    # The content first, then the name: after a power cut a name without content would be the latest checkpoint.
    for path in sorted(part.rglob("*")) if part.is_dir() else [part]:
        _sync(path)
    if final.is_dir():  # which cannot be replaced at once
        _remove(old)
        final.rename(old)
    elif final.exists() and part.is_dir():
        final.rename(old)
    os.replace(part, final)
    _sync(place)
    for path in place.iterdir():
        if path != final:
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


# --- records -----------------------------------------------------------------------------------------------------------


class DamagedRecords(ValueError):
    """Error of a log line that laju did not write."""


def append(path: Path, line: dict[str, Any]) -> None:
    """Add a line to a log and wait until the line is on the disk."""
    content = json.dumps(line).encode() + b"\n"
    with path.open("a+b") as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            if file.read(1) != b"\n":  # torn by a kill
                content = b"\n" + content
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


class Reader:
    """Follows a growing log: `lines` are the valid records so far; a new attempt replaces records of earlier attempts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self.lines: list[dict[str, Any]] = []

    def read(self) -> list[dict[str, Any]]:
        """The lines added since the last call, including starts; an incomplete line is left for the next call.

        Raises:
            DamagedRecords: a line with unexpected content, or with impossible figures.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                content = file.read()
        except FileNotFoundError:
            return []
        # The program may be writing this moment: what has no end of line yet is read the next time.
        content = content[: content.rfind(b"\n") + 1]
        self.offset += len(content)
        added = []
        for text in content.splitlines():
            try:
                line = json.loads(text)
            except ValueError:  # torn
                continue
            try:
                after = whole("start", line["start"]) + 1 if "start" in line else _checked(line)
            except (LookupError, TypeError, ValueError) as error:
                raise DamagedRecords(
                    f"{self.path} has a line that is no record: {shown(text.decode(errors='replace'))} ({error})"
                ) from None
            # A start at update n means that all beyond n is trained again: records of the attempt before would stand twice, and
            # may differ.
            while self.lines and self.lines[-1]["update"] >= after:
                self.lines.pop()
            if "start" not in line:
                self.lines.append(line)
            added.append(line)
        return added


def read(path: Path) -> list[dict[str, Any]]:
    """The records of a log that count."""
    reader = Reader(path)
    reader.read()
    return reader.lines


def _checked(line: dict[str, Any]) -> int:
    """The update of a line, after a check of its figures."""
    record = as_record(line)
    number("seconds", line["seconds"], least=0)
    if not record.diverged:
        record.check(optional=line["train_accuracy"] is None)
    return whole("update", record.update, least=1)


def as_record(line: dict[str, Any]) -> Record:
    """The line as a record; a training accuracy that was not reported is NaN."""
    names = ("update", "epoch", "rate", "train_loss", "train_accuracy", "test_accuracy")
    content = {name: line[name] for name in names}
    if content["train_accuracy"] is None:
        content["train_accuracy"] = math.nan
    return Record(**content, test_loss=line.get("test_loss"))  # which an earlier laju did not write


# --- the lock ----------------------------------------------------------------------------------------------------------


def is_held(lock: Path) -> bool:
    """Whether a process has locked the file; True also if this cannot be determined."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:  # held; or the folder is gone, or knows no locks
        return True
    return False
