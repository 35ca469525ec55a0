"""Trials that are whole programs, see `laju.lab.Program`: how programs are started, followed, ended, and resumed after a kill."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO

from laju.lab.engines.loop import Report, how_ended
from laju.lab.engines.mxnet import ended, portable
from laju.lab.programs import launcher, protocol
from laju.lab.programs.protocol import ERRORS, OUTCOME, OUTPUT, DamagedRecords, Description, Reader, as_record
from laju.lab.programs.task import Program, ProgramError
from laju.lab.trials import Optimizer, Outcome, Record, Trial

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

ATTEMPTS = 3
"""The most starts of a program that is killed with SIGKILL, as by the system if memory runs out, or whose launcher is killed."""
_PATIENCE = 30.0
"""Seconds to wait for another process in the trial's folder, such as the remains of a run that was killed."""
_EVERY = 0.1
_LEAVE = 1.5
"""Seconds in which processes that a launcher has left behind notice that the lock of the trial's folder is free, and end."""
_LINES = 20


def train(trial: Trial, report: Report | None = None) -> Outcome:
    """Run the program of a trial, from its latest checkpoint if there is a checkpoint, and return its records.

    A trial that is already finished, according to its folder, is not run again.

    Args:
        trial: the trial to run; its task is a `Program`.
        report: called with the records before the checkpoint, then with every new record.

    Raises:
        ProgramError: the program cannot be started, failed, ended before its last update, or reported nothing; its script was
            changed since the `Program` was made; another process runs the same trial.
        ValueError: a trial with an optimizer or a rule, which a program must have itself.
    """
    task = trial.task
    if not isinstance(task, Program):
        raise TypeError(f"a trial of this engine must have a Program as its task, got {task!r}")
    if trial.optimizer != Optimizer():
        raise ValueError(
            f"task {task.name!r} is a program with an optimizer of its own, got optimizer {trial.optimizer}"
        )
    if trial.rule is not None:
        raise ValueError(f"task {task.name!r} is a program, whose losses no rule observes; got rule {trial.rule!r}")
    if fcntl is None:
        raise ProgramError("programs are started on Linux and macOS alone; run it by hand, or in WSL")
    if task.changed():
        raise ProgramError(
            f"a file in the command of task {task.name!r} has changed since the comparison began ({shlex.join(task.command)}); "
            "begin it again, and trials of the new content are run"
        )
    folder = task.folder / trial.fingerprint
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder) as lock:
        heard = report or _nobody
        kept = _kept(folder)
        if kept is not None:
            for record in kept.records:
                heard(record)
            return kept
        description = Description(
            task=task.name,
            schedule=portable(trial),
            seed=trial.seed,
            epochs=trial.epochs,
            batch_size=trial.batch_size,
            samples=task.samples,
            checkpoints=protocol.stated_updates(task.every, task.checkpoints, trial.plan),
        )
        protocol.write(folder / protocol.TRIAL, description._asdict())
        for attempt in range(1, ATTEMPTS + 1):
            try:
                run = _Run(task, folder, lock, heard)
                status, diverged_at = run.follow()
            except DamagedRecords as error:
                raise ProgramError(
                    f"task {task.name!r}: {error}; remove the folder {folder}, and the trial begins anew"
                ) from error
            if status != -signal.SIGKILL or diverged_at is not None:
                break
            if attempt == ATTEMPTS:
                raise run.error(f"was killed by SIGKILL {ATTEMPTS} times (did the machine run out of memory?)")
        outcome = run.outcome(trial, status, diverged_at)
        protocol.write(folder / OUTCOME, asdict(outcome))
        if not task.keep:
            shutil.rmtree(folder / protocol.CHECKPOINTS, ignore_errors=True)
        return outcome


def _nobody(record: Record) -> None:
    return


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[IO[bytes]]:
    """Hold a trial's folder exclusively, by a file that stays locked while this process or the launcher has the file open."""
    with (folder / protocol.LOCK).open("ab") as lock:
        _take(lock, folder)
        yield lock


def _take(lock: IO[bytes], folder: Path) -> None:
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                raise ProgramError(
                    f"another process runs the same trial, and has not ended in {_PATIENCE:g} seconds; wait or end it "
                    f"(its folder: {folder})"
                ) from None
            time.sleep(_EVERY)
        except OSError:  # a file system without locks
            return


def _kept(folder: Path) -> Outcome | None:
    """The outcome of a trial that was finished before."""
    try:
        content = json.loads((folder / OUTCOME).read_text())
        records = tuple(Record(**record) for record in content["records"])
        for record in records:
            record.check(optional=True)
        return Outcome(content["status"], records, content["seconds"], content["diverged_at"])
    except (FileNotFoundError, ValueError, TypeError, LookupError):  # not there, or damaged: it is made again
        return None


class _Run:
    """A single execution of a program."""

    def __init__(self, task: Program, folder: Path, lock: IO[bytes], report: Report) -> None:
        self.task, self.folder, self.lock, self.report = task, folder, lock, report
        self.reader = Reader(folder / protocol.RECORDS)
        self.reader.read()
        self.before = {name: _size(folder / name) for name in (OUTPUT, ERRORS)}

    def follow(self) -> tuple[int | None, int | None]:
        """Run the program to its end or to the first loss that is not finite; return its exit status and that loss's update."""
        process = launcher.launch(self._order(), self.lock.fileno())
        diverged_at, ended = None, False
        try:
            while not ended and diverged_at is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_EVERY)
                    ended = True
                diverged_at = self._listen()
        finally:
            try:
                status = launcher.end(process)
            except OSError as error:
                raise ProgramError(
                    f"task {self.task.name!r}: {shlex.join(self.task.command)} cannot be started: {error}"
                ) from None
        if status is None and diverged_at is None:
            # The process that looks after the program was killed, and took the program with it; what the program has started ends
            # when nobody holds the lock.
            fcntl.flock(self.lock, fcntl.LOCK_UN)
            time.sleep(_LEAVE)
            _take(self.lock, self.folder)
            status = -signal.SIGKILL
        return status, diverged_at

    def _order(self) -> launcher.Order:
        path = self.folder / protocol.TRIAL
        command = [word.replace("{trial}", str(path)) for word in self.task.command]
        if command[0] in ("python", "python3"):
            command[0] = sys.executable
        beside = os.path.dirname(sys.executable)
        environment = os.environ | {"PATH": os.pathsep.join((beside, os.environ.get("PATH", os.defpath)))}
        environment |= dict(self.task.env) | {protocol.VARIABLE: str(path), protocol.LAUNCHED: "1"}
        # A program starts with its own number of threads, and one program at a time: this process may be one of several.
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            if name not in dict(self.task.env):
                environment.pop(name, None)
        return launcher.Order(
            command=[_found(command[0], environment, self.task.cwd), *command[1:]],
            cwd=str(self.task.cwd),
            env=environment,
            output=str(self.folder / OUTPUT),
            errors=str(self.folder / ERRORS),
            grace=self.task.grace,
        )

    def _listen(self) -> int | None:
        """Pass on new records; return the update, counted from 0, of a loss that is not finite."""
        for line in self.reader.read():
            if "start" in line:
                for earlier in self.reader.lines:
                    if earlier["update"] <= line["start"]:
                        self.report(as_record(earlier))
            elif (record := as_record(line)).diverged:
                return record.update - 1
            else:
                self.report(record)
        return None

    def outcome(self, trial: Trial, status: int | None, diverged_at: int | None) -> Outcome:
        """How the trial ended."""
        lines = self.reader.lines
        if diverged_at is not None:
            finite = tuple(as_record(line) for line in lines if line["update"] <= diverged_at)
            return Outcome("diverged", finite, lines[-1]["seconds"], diverged_at)
        if status:
            raise self.error(ended(status))
        updates = trial.plan.updates
        if not lines:
            raise self.error(
                "ended without a report; it has to call laju.lab.trial().report(…), at the latest at the last update"
            )
        if lines[-1]["update"] != updates:
            raise self.error(
                f"ended with its last report after update {lines[-1]['update']} of {updates}; report the last update, too, "
                f"or correct what an epoch is: {trial.plan.samples} samples, {trial.plan.batch_size} an update"
            )
        records = tuple(as_record(line) for line in lines)
        return Outcome(how_ended(self.task, records[-1]), records, lines[-1]["seconds"])

    def error(self, how: str) -> ProgramError:
        """The error, with the last lines that the program wrote."""
        said: list[str] = []
        for name in (ERRORS, OUTPUT):
            with contextlib.suppress(FileNotFoundError), (self.folder / name).open("rb") as file:
                file.seek(max(self.before[name], _size(self.folder / name) - 65536))
                said = file.read().decode(errors="replace").rstrip().splitlines()[-_LINES:]
            if said:
                break
        text = f"task {self.task.name!r}: {shlex.join(self.task.command)} {how}; all that it wrote is kept in {self.folder}"
        return ProgramError("\n  ".join([f"{text}. It wrote last:", *said]) if said else f"{text}. It wrote nothing")


def _found(word: str, environment: dict[str, str], cwd: Path) -> str:
    """The path of the program that a word of the command names; a word with a folder is relative to `cwd`."""
    if os.path.dirname(word):
        return str(cwd / word)
    return shutil.which(word, path=environment["PATH"]) or word


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
