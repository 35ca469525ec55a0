"""The interface for a training program that is itself a trial: its schedule and seed, its reports, its checkpoints.

The program may use any framework, or none.
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from laju.core.checks import is_number, shown, whole
from laju.core.schedule import Schedule
from laju.core.units import RunPlan, updates
from laju.lab.programs import protocol
from laju.lab.programs.protocol import OPTION, Checkpoint, append, latest, read
from laju.lab.trials import Record
from laju.policies import constant
from laju.text.json import from_json
from laju.text.spec import parse


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
    """The trial of this program, as given by the lab; without the lab, the trial that the arguments describe.

    The lab names a file in the environment variable LAJU_TRIAL, or after `--laju-trial` on the command line, which is then
    removed from `sys.argv`. The arguments apply only without the lab, so the same script serves both cases. Every call returns
    the same trial.

    Args:
        schedule: a schedule, its text, or a number for a constant.
        seed, epochs, batch_size: the seed, the number of epochs and the batch size of the run.
        samples: training examples per epoch; `batch_size` and `samples` convert a schedule in epochs to updates.
        every: the interval between checkpoints, in updates or as text such as "1 epoch".
        folder: the folder that keeps records and checkpoints, so that a second run resumes from the latest checkpoint; records
            are printed in any case.

    Raises:
        ValueError: without the lab, no schedule or no epochs, or an invalid value.
        FileNotFoundError: the file named by LAJU_TRIAL or `--laju-trial` does not exist.

    >>> run = trial("cosine(0.3, total='100%')", epochs=2, batch_size=50, samples=200)
    >>> run.updates, run.schedule(0), run.schedule(8)
    (8, 0.3, 0.0)
    >>> run.report(update=4, train_loss=1.5, train_accuracy=0.4, test_accuracy=0.5)
    update 4, epoch 1: rate 0.2074, train loss 1.5, train accuracy 0.4, test accuracy 0.5
    """
    named = _argument() or os.environ.get(protocol.VARIABLE)
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
    stated = () if length is None or plan is None else protocol.stated_updates(length, (), plan)
    kept = None if folder is None else Path(folder)
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
    return ProgramTrial(chosen, whole("seed", seed), epochs, batch_size, plan, stated, kept)


_made: dict[Path, ProgramTrial] = {}


def _argument() -> str | None:
    """The word after `--laju-trial`; option and word are removed from `sys.argv`, for the program's own parser."""
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
        os.environ[protocol.VARIABLE] = found  # for a second call, and for processes that this process starts
        return found
    return None


def _launched(path: Path) -> ProgramTrial:
    asked = protocol.Description.read(path)
    if os.environ.get(protocol.LAUNCHED):
        _watch(path.with_name(protocol.LOCK))
    schedule, plan = from_json(asked.schedule), asked.plan
    return ProgramTrial(
        schedule, asked.seed, plan.epochs, plan.batch_size, plan, asked.checkpoints, path.parent, under_lab=True
    )


def _watch(lock: Path) -> None:
    """End this process when the program's launcher, which holds the lock during its whole life, is gone."""

    def watch() -> None:
        # A lock ends with its holder, however the holder ends; a process number is given out again.
        while protocol.is_held(lock):
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, name="laju-launcher", daemon=True).start()


class ProgramTrial:
    """A program's own trial, from `laju.lab.trial()`.

    If several processes train together, as under torchrun and Accelerate, each process has a `ProgramTrial`. Only the first
    process, whose RANK is 0, reports and saves; in all further processes `report` and `save` do nothing.

    Attributes:
        schedule: the schedule of the learning rate; in updates, if the length of an epoch is known.
        seed, epochs, batch_size: the seed, the number of epochs and the batch size of the run. `batch_size` is the number of
            examples per update, over all processes.
        plan: the plan that determines the length of an epoch; None without the lab and without `samples`.
        checkpoints: the numbers of completed updates after which to save.
    """

    def __init__(
        self,
        schedule: Schedule,
        seed: int,
        epochs: int,
        batch_size: int | None,
        plan: RunPlan | None,
        checkpoints: Iterable[int],
        folder: Path | None,
        under_lab: bool = False,
    ) -> None:
        self.schedule = schedule
        self.seed = seed
        self.epochs = epochs
        self.batch_size = batch_size
        self.plan = plan
        self.checkpoints = tuple(checkpoints)
        self.first = os.environ.get("RANK", "0") == "0"
        self._folder = folder
        self._log = None if folder is None else folder / protocol.RECORDS
        self._prints = folder is None or not under_lab
        self._stated = frozenset(self.checkpoints)
        self._resumed, self._last = 0, 0
        self._began, self._before = time.perf_counter(), 0.0

    @property
    def updates(self) -> int | None:
        """The number of updates of the whole run; None without the lab and without `samples`."""
        return None if self.plan is None else self.plan.updates

    @property
    def folder(self) -> Path:
        """The trial's own folder, the same after a kill; without the lab and without `folder`, a new folder in every run."""
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

        A loss that is not finite ends the trial as diverged. Reports of an earlier attempt about updates after the start
        of this attempt are replaced.

        Args:
            update: completed updates, more with every report.
            train_loss: the training loss, such as its mean since the epoch began; a number, or a tensor with a single number.
            epoch: passes over the data so far; computed from `update` if the length of an epoch is known.
            train_accuracy, test_accuracy: shares in [0, 1]. The lab compares by the test accuracy of the last report.
            rate: the learning rate of the last update; by default that of the schedule.
            test_loss: the mean over all test examples.

        Raises:
            ValueError: an update that is not after the last reported update or is beyond the run, or an impossible figure,
                such as an accuracy outside [0, 1].
            TypeError: a figure that is not a number, such as a text or True.
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
        record = Record(
            update,
            _figure("epoch", epoch),
            float(self.schedule(update - 1)) if rate is None else _figure("rate", rate),
            _figure("train_loss", train_loss),
            math.nan if train_accuracy is None else _figure("train_accuracy", train_accuracy),
            None if test_accuracy is None else _figure("test_accuracy", test_accuracy),
            None if test_loss is None else _figure("test_loss", test_loss),
        )
        line = vars(record) | {"seconds": self._before + time.perf_counter() - self._began}
        if record.diverged:
            line |= {"train_accuracy": None, "test_accuracy": None}
        else:
            record.check(optional=train_accuracy is None)
            line["train_accuracy"] = None if train_accuracy is None else record.train_accuracy
        if self._log is not None:
            if self._last == self._resumed:  # the first report of this attempt
                append(self._log, {"start": self._resumed})
            append(self._log, line)
        self._last = update
        if self._prints:
            print(_sentence(line), flush=True)

    def should_save(self, update: int) -> bool:
        """Whether to save a checkpoint after this number of completed updates; the same in every process."""
        return update in self._stated

    def save(self, update: int, write: Callable[[Path], Any]) -> None:
        """Save a checkpoint completely or not at all; the previous checkpoint is removed afterwards.

        Args:
            update: completed updates.
            write: called with a path; writes a file or a folder at the path with all state that the training needs to resume:
                model, optimizer, random generators, the sums of running means.

        Raises:
            FileNotFoundError: `write` created nothing at the path.
        """
        if not self.first:
            return
        protocol.save(self.folder, whole("update", update), write)

    def latest(self) -> Checkpoint | None:
        """The latest complete checkpoint, to resume from; None at the beginning of a trial. Call before the first report."""
        found = latest(self._folder)
        if self._last == self._resumed:
            self._resumed = self._last = 0 if found is None else found.update
            self._before = 0.0
            if self._log is not None:
                # The seconds go on from those at the checkpoint: what an earlier attempt trained beyond it is trained again.
                kept = [line for line in read(self._log) if line["update"] <= self._resumed]
                self._before = kept[-1]["seconds"] if kept else 0.0
        return found


def _figure(name: str, value: Any) -> float:
    """A number of any framework as a float; a text or a bool is refused, even if Python would convert the value."""
    try:
        if isinstance(value, str) or "bool" in str(getattr(value, "dtype", type(value).__name__)):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name} must be a number, got {shown(value)}") from None


def _sentence(line: dict[str, Any]) -> str:
    names = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
    figures = [f"{name.replace('_', ' ')} {line[name]:.4g}" for name in names if line[name] is not None]
    start = f"update {line['update']}, epoch {line['epoch']:.4g}: rate {line['rate']:.4g}, "
    return start + ", ".join(figures)
