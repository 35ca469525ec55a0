"""The interface of a training program that is itself a trial: its schedule and seed, its reports, its checkpoints.

The program may use any framework, or none. A trial's folder has `trial.json`, which describes the trial, `records.jsonl`, and
`checkpoints/`; all files stay whole if the program is killed at any moment.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from laju.core.checks import is_number, number, shown, whole
from laju.core.schedule import Schedule
from laju.core.units import Length, RunPlan, Scale, nearest_update, updates
from laju.lab.trials import Record
from laju.policies import constant
from laju.text.json import from_json
from laju.text.spec import parse

try:
    import fcntl
except ImportError:  # Windows, where the lab starts no programs; a program run by hand needs no lock
    fcntl = None  # type: ignore[assignment]

VARIABLE = "LAJU_TRIAL"
OPTION = "--laju-trial"
LAUNCHED = "LAJU_TRIAL_LAUNCHED"
TRIAL, RECORDS, CHECKPOINTS, LOCK = "trial.json", "records.jsonl", "checkpoints", "lock"


class Checkpoint(NamedTuple):
    """A whole checkpoint: how many updates were completed, and the file or folder that the program wrote."""

    update: int
    path: Path


def trial(
    schedule: Schedule | str | float | None = None,
    *,
    seed: int = 0,
    epochs: int | None = None,
    batch_size: int | None = None,
    samples: int | None = None,
    every: int | str | None = None,
    folder: str | os.PathLike[str] | None = None,
) -> ProgramTrial:
    """The trial of this program, as given by the lab that started the program; by hand, the trial that the arguments describe.

    The lab names a file in the environment variable LAJU_TRIAL, or after `--laju-trial` on the command line, which is then taken
    out of `sys.argv`. The arguments do not count there, so the same script serves for both. Every call returns the same trial.

    Args:
        schedule: by hand, a schedule, its text, or a number for a constant.
        seed, epochs, batch_size: by hand, of the run.
        samples: by hand, training examples in an epoch; `batch_size` and `samples` turn a schedule in epochs into updates.
        every: by hand, updates between checkpoints, or such as "1 epoch".
        folder: by hand, keeps records and checkpoints, so that a second run goes on from the latest; records are printed anyway.

    Raises:
        ValueError: by hand, no schedule or no epochs, or a value that cannot be used.
        FileNotFoundError: the file that LAJU_TRIAL or `--laju-trial` names is not there.

    >>> run = trial("cosine(0.3, total='100%')", epochs=2, batch_size=50, samples=200)
    >>> run.updates, run.schedule(0), run.schedule(8)
    (8, 0.3, 0.0)
    >>> run.report(update=4, train_loss=1.5, train_accuracy=0.4, test_accuracy=0.5)
    update 4, epoch 1: rate 0.2074, train loss 1.5, train accuracy 0.4, test accuracy 0.5
    """
    named = _argument() or os.environ.get(VARIABLE)
    if named:
        path = Path(named).resolve()
        if path not in _made:
            _made[path] = _launched(path)
        return _made[path]
    if schedule is None or epochs is None:
        missing = "schedule" if schedule is None else "epochs"
        raise ValueError(
            f"{missing} must be given where the program is not started by the lab, such as "
            "trial(schedule=\"cosine(0.3, total='100%')\", epochs=30)"
        )
    chosen = parse(schedule) if isinstance(schedule, str) else schedule
    if is_number(chosen):
        chosen = constant(chosen)
    if not isinstance(chosen, Schedule):
        raise TypeError(f"schedule must be a schedule, its text or a number, got {shown(schedule)}")
    epochs = whole("epochs", epochs, least=1)
    if batch_size is not None:
        batch_size = whole("batch_size", batch_size, least=1)
    plan = None
    if samples is not None:
        if batch_size is None:
            raise ValueError(f"samples={samples!r} needs batch_size, too, to say how many updates an epoch has")
        plan = RunPlan(samples=samples, batch_size=batch_size, epochs=epochs)
        chosen = chosen.resolve(plan)
    length = updates("every", every, zero=False, optional=True)
    if length is not None and plan is None:
        raise ValueError(f"every={every!r} needs samples and batch_size, which say where the run ends")
    stated = () if length is None or plan is None else stated_updates(length, (), plan)
    kept = None if folder is None else Path(folder)
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
    return ProgramTrial(chosen, whole("seed", seed), epochs, batch_size, plan, stated, kept)


_made: dict[Path, ProgramTrial] = {}


def _argument() -> str | None:
    """The word after `--laju-trial`; option and word are taken out of `sys.argv`, for the program's own parser."""
    for i, word in enumerate(sys.argv):
        if word == OPTION:
            if i + 1 == len(sys.argv):
                raise ValueError(f"{OPTION} must be followed by the path of a trial's file, got nothing")
            found = sys.argv[i + 1]
            del sys.argv[i : i + 2]
        elif word.startswith(f"{OPTION}="):
            found = sys.argv.pop(i).partition("=")[2]
        else:
            continue
        os.environ[VARIABLE] = found  # for a second call, and for processes that this process starts
        return found
    return None


def _launched(path: Path) -> ProgramTrial:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}, which {VARIABLE} or {OPTION} names, is not there; leave them out to run the program by hand"
        ) from None
    plan = RunPlan(samples=content["samples"], batch_size=content["batch_size"], epochs=content["epochs"])
    if os.environ.get(LAUNCHED):
        _watch(path.with_name(LOCK))
    schedule = from_json(content["schedule"])
    checkpoints = tuple(content["checkpoints"])
    return ProgramTrial(
        schedule, content["seed"], plan.epochs, plan.batch_size, plan, checkpoints, path.parent, under_lab=True
    )


def stated_updates(
    every: int | Length | None, at: tuple[int | Length, ...] | tuple[()], plan: RunPlan
) -> tuple[int, ...]:
    """The completed updates of a run after which a checkpoint is asked for, in order."""
    scale: Scale = plan.scale
    found = {nearest_update(scale.updates(length)) for length in at}
    if every is not None:
        step = max(nearest_update(scale.updates(every)), 1)
        found |= set(range(step, plan.updates + 1, step))
    return tuple(sorted(update for update in found if 0 < update <= plan.updates))


class ProgramTrial:
    """A program's own trial, from `laju.lab.trial()`.

    Where several processes train together, as under torchrun and Accelerate, each makes a `ProgramTrial`. Only the first, whose
    RANK is 0, reports and saves; in all others `report` and `save` do nothing.

    Attributes:
        schedule: of the learning rate; in updates, where the length of an epoch is known.
        seed, epochs, batch_size: of the run. `batch_size` is the examples in an update, over all processes.
        plan: the run that says how long an epoch is; None by hand without `samples`.
        checkpoints: the completed updates after which to save.
    """

    def __init__(
        self,
        schedule: Schedule,
        seed: int,
        epochs: int,
        batch_size: int | None,
        plan: RunPlan | None,
        checkpoints: tuple[int, ...],
        folder: Path | None,
        under_lab: bool = False,
    ) -> None:
        self.schedule = schedule
        self.seed = seed
        self.epochs = epochs
        self.batch_size = batch_size
        self.plan = plan
        self.checkpoints = checkpoints
        self.first = os.environ.get("RANK", "0") == "0"
        self._folder = folder
        self._log = None if folder is None else Log(folder / RECORDS)
        self._prints = folder is None or not under_lab
        self._stated = frozenset(checkpoints)
        self._resumed, self._last = 0, 0
        self._began, self._before = time.perf_counter(), 0.0

    @property
    def updates(self) -> int | None:
        """Updates of the whole run; None by hand without `samples`."""
        return None if self.plan is None else self.plan.updates

    @property
    def folder(self) -> Path:
        """A folder of the trial's own, the same after a kill; by hand without `folder`, a new folder in every run."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="laju-trial-"))
        return self._folder

    def report(
        self,
        *,
        update: int,
        train_loss: Any,
        epoch: float | None = None,
        train_accuracy: Any = None,
        test_accuracy: Any = None,
        rate: Any = None,
        test_loss: Any = None,
    ) -> None:
        """Report the state of training. The report is on disk before this method returns.

        A `train_loss` that is not finite ends the trial as diverged. Reports of an earlier attempt about updates after the start
        of this attempt are replaced.

        Args:
            update: completed updates, more with every report.
            train_loss: such as its mean since the epoch began; a number, or a tensor with a single number.
            epoch: passes over the data so far; found from `update` where the length of an epoch is known.
            train_accuracy, test_accuracy: shares in [0, 1]. The lab compares by the test accuracy of the last report.
            rate: of the last update; the schedule's by default.
            test_loss: the mean over all test examples.

        Raises:
            ValueError: an update that is not after the last update or is beyond the run, or an accuracy outside [0, 1].
        """
        if not self.first:
            return
        update = whole("update", update, least=1)
        if update <= self._last:
            raise ValueError(
                f"update must be more than {self._last}, of the last report or the checkpoint, got {update}"
            )
        if self.updates is not None and update > self.updates:
            raise ValueError(f"update must be at most {self.updates}, the run's last, got {update}")
        if epoch is None:
            if self.plan is None:
                raise ValueError("epoch must be given where samples and batch_size are not known")
            epoch = update / self.plan.updates_per_epoch
        loss = _figure("train_loss", train_loss)
        seconds = self._before + time.perf_counter() - self._began
        content = {
            "update": update,
            "epoch": number("epoch", epoch, least=0),
            "rate": float(self.schedule(update - 1)) if rate is None else _figure("rate", rate),
            "train_loss": loss,
            "train_accuracy": _share("train_accuracy", train_accuracy, math.isfinite(loss)),
            "test_accuracy": _share("test_accuracy", test_accuracy, math.isfinite(loss)),
            "test_loss": None if test_loss is None else _figure("test_loss", test_loss),
            "seconds": seconds,
        }
        if self._log is not None:
            if self._last == self._resumed:  # the first report of this attempt
                self._log.append({"start": self._resumed})
            self._log.append(content)
        self._last = update
        if self._prints:
            print(_line(content), flush=True)

    def should_save(self, update: int) -> bool:
        """Whether a checkpoint is asked for after so many completed updates; the same in every process."""
        return update in self._stated

    def save(self, update: int, write: Callable[[Path], Any]) -> None:
        """Save a checkpoint as a whole or not at all; the checkpoint before is removed afterwards.

        Args:
            update: completed updates.
            write: is given a path, and makes a file or a folder there with all that the training needs to go on: model,
                optimizer, random generators, the sums of running means.

        Raises:
            FileNotFoundError: `write` made nothing at the path.
        """
        if not self.first:
            return
        update = whole("update", update)
        place = self.folder / CHECKPOINTS
        place.mkdir(exist_ok=True)
        final = place / f"{update:012d}"
        part, old = final.with_suffix(".part"), final.with_suffix(".old")
        _remove(part)
        write(part)
        if not part.exists():
            raise FileNotFoundError(
                f"write must make a file or a folder at the path that it is given, but {part} is not there"
            )
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

    def latest(self) -> Checkpoint | None:
        """The latest whole checkpoint, from which to go on, or None at the beginning of a trial; ask before the first report."""
        found = None if self._folder is None else latest(self._folder / CHECKPOINTS)
        if self._last == self._resumed:
            self._resumed = self._last = 0 if found is None else found.update
            self._before = 0.0
            if self._log is not None:
                kept = [line for line in read(self._log.path) if line["update"] <= self._resumed]
                self._before = kept[-1]["seconds"] if kept else 0.0
        return found


def latest(place: Path) -> Checkpoint | None:
    """The latest whole checkpoint in a folder of checkpoints."""
    found = (
        [path for path in place.iterdir() if path.stem.isdigit() and path.suffix in ("", ".old")]
        if place.is_dir()
        else []
    )
    # `save` puts a checkpoint aside as `.old` before a new checkpoint of the same update; `.old` is whole, too.
    best = max(found, key=lambda path: (int(path.stem), path.suffix == ""), default=None)
    return None if best is None else Checkpoint(int(best.stem), best)


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


def _figure(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, got {shown(value)}") from None


def _share(name: str, value: Any, required: bool) -> float | None:
    if value is None:
        return None
    share = _figure(name, value)
    if 0 <= share <= 1:
        return share
    if not required:  # of a model that has diverged
        return None
    raise ValueError(f"{name} must lie in [0, 1] (a percentage divided by 100), got {shown(value)}")


def _line(content: dict[str, Any]) -> str:
    names = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
    figures = [f"{name.replace('_', ' ')} {content[name]:.4g}" for name in names if content[name] is not None]
    start = f"update {content['update']}, epoch {content['epoch']:.4g}: rate {content['rate']:.4g}, "
    return start + ", ".join(figures)


# --- the records -------------------------------------------------------------------------------------------------------


class Log:
    """An append-only file of JSON lines: the records of every attempt, preceded by the update at which the attempt begins."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, content: dict[str, Any]) -> None:
        """Write a line and wait until the line is on the disk."""
        line = json.dumps(content).encode() + b"\n"
        with self.path.open("a+b") as file:
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(size - 1)
                if file.read(1) != b"\n":  # torn by a kill
                    line = b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


class DamagedRecords(ValueError):
    """A line of a log that laju did not write."""


_KINDS: dict[str, tuple[type, ...]] = {
    "update": (int,),
    **dict.fromkeys(("epoch", "rate", "train_loss", "seconds"), (int, float)),
    **dict.fromkeys(("train_accuracy", "test_accuracy"), (int, float, type(None))),
}


class Reader:
    """Follows a log that grows: `lines` are the valid records so far, where a new attempt replaces records of earlier ones."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self.lines: list[dict[str, Any]] = []

    def read(self) -> list[dict[str, Any]]:
        """The lines added since the last call, including starts; an incomplete line is left for the next call."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                content = file.read()
        except FileNotFoundError:
            return []
        content = content[: content.rfind(b"\n") + 1]
        self.offset += len(content)
        added = []
        for text in content.splitlines():
            try:
                line = json.loads(text)
            except ValueError:  # torn
                continue
            kinds = {"start": (int,)} if isinstance(line, dict) and "start" in line else _KINDS
            if not isinstance(line, dict) or any(type(line.get(name, "")) not in kind for name, kind in kinds.items()):
                raise DamagedRecords(
                    f"{self.path} has a line that is no record: {shown(text.decode(errors='replace'))}"
                )
            after = line["start"] + 1 if "start" in line else line["update"]
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


def as_record(line: dict[str, Any]) -> Record:
    """A record; an accuracy in training that was not reported is NaN."""
    content = {
        name: line[name] for name in ("update", "epoch", "rate", "train_loss", "train_accuracy", "test_accuracy")
    }
    if content["train_accuracy"] is None:
        content["train_accuracy"] = math.nan
    return Record(**content, test_loss=line.get("test_loss"))  # which an earlier laju did not write


# --- the process that started the program --------------------------------------------------------------------------


def _watch(lock: Path) -> None:
    """End this process when the launcher of the program is gone; the launcher holds the lock as long as the launcher lives."""

    def watch() -> None:
        while is_held(lock):
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, name="laju-launcher", daemon=True).start()


def is_held(lock: Path) -> bool:
    """Whether a process has locked the file; also where that cannot be known."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:  # held; or the folder is gone, or knows no locks
        return True
    return False
