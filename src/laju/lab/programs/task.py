"""A task that is a whole program: the lab starts the program for every trial, and the program reports its progress."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from laju.core.checks import number, shown, whole
from laju.core.units import Span, updates
from laju.lab.trials.tasks.base import Data, DataError, Task

if TYPE_CHECKING:
    import torch

READ_WHOLE = 16 * 2**20
"""The size in bytes up to which the content of a file in the command counts; for a larger file, its size counts."""


class ProgramError(ChildProcessError):
    """Error of a program that failed; the message has the reason, the last lines of output, and the folder with all output."""


class Program(Task):
    """A user's training program, in any framework, as the task on which schedules are compared.

    The command is started for each trial. In the program, `laju.lab.trial()` gives the schedule and the seed, and takes reports
    and checkpoints; the program has its own model, optimizer and data. A program that was killed resumes from its latest
    checkpoint.

    Args:
        command: words, or a text that is split as by a shell. `python`, `torchrun` and the like are taken from the folder of the
            Python that runs the lab, if present. "{trial}" stands for the path of the trial's file, for launchers that do not
            pass on the environment: "… python train.py --laju-trial {trial}".
        samples: training examples per epoch.
        batch_size: default number of examples per update, over all processes.
        name: the name of the task; by default that of the script.
        every: the interval between checkpoints, in updates or as text such as "1 epoch" or "10%".
        checkpoints: further checkpoints, as completed updates or as text lengths from the beginning.
        classes: the number of classes, all equally frequent; determines the loss and the accuracy of guessing, at which a trial
            has "collapsed".
        chance_loss: the loss of guessing, if `classes` does not determine this loss.
        folder: the folder that contains a folder for every trial, by its fingerprint.
        cwd: the folder in which the command runs.
        env: environment variables for the command, in addition to the lab's.
        keep: leave the last checkpoint of a finished trial in place.
        grace: seconds between the request to end (SIGTERM) and the kill.

    Raises:
        ValueError: an empty command, or a number that cannot be used.
        DataError: `cwd` is not a folder, or a file in the command cannot be read.

    >>> task = Program("python -c 'pass'", name="mine", samples=60_000, batch_size=256, every="1 epoch", classes=10)
    >>> task.command, task.train_size, round(task.chance_loss, 3)
    (('python', '-c', 'pass'), 60000, 2.303)
    """

    def __init__(
        self,
        command: str | Sequence[str | os.PathLike[str]],
        *,
        samples: int,
        batch_size: int = 64,
        name: str | None = None,
        every: Span | None = None,
        checkpoints: Iterable[Span] = (),
        classes: int | None = None,
        chance_loss: float | None = None,
        folder: str | os.PathLike[str] = "laju-programs",
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        keep: bool = False,
        grace: float = 5.0,
    ) -> None:
        self.command = _words(command)
        # Absolute, since a trial may run in a process with another working folder.
        self.cwd = Path.cwd() if cwd is None else Path(cwd).expanduser().absolute()
        if not self.cwd.is_dir():
            raise DataError(f"cwd must be a folder, got {str(cwd)!r}")
        self.folder = Path(folder).expanduser().absolute()
        self.samples = whole("samples", samples, least=1)
        self._batch_size = whole("batch_size", batch_size, least=1)
        if name is not None and (not isinstance(name, str) or not name.strip()):
            raise ValueError(f"name must be text that is not empty, got {shown(name)}")
        self._name = name or Path(next(iter(self._files()), self.command[0])).name
        self.every = updates("every", every, zero=False, optional=True)
        if isinstance(checkpoints, str | int | float):
            raise TypeError(f"checkpoints must be a sequence of updates or lengths, got {shown(checkpoints)}")
        self.checkpoints = tuple(updates(f"checkpoints[{i}]", at, zero=False) for i, at in enumerate(checkpoints))
        self.classes = None if classes is None else whole("classes", classes, least=2)
        if chance_loss is not None:
            chance_loss = number("chance_loss", chance_loss, above=0)
        elif self.classes is not None:
            chance_loss = math.log(self.classes)
        self._chance_loss = chance_loss
        env = {} if env is None else dict(env)
        if not all(isinstance(text, str) for pair in env.items() for text in pair):
            raise TypeError(f"env must be texts by name, got {shown(env)}")
        self.env = env
        self.keep = bool(keep)
        self.grace = number("grace", grace, least=0)
        self._fingerprint = self._hash()

    def __repr__(self) -> str:
        return f"Program({shlex.join(self.command)!r}, name={self.name!r}, samples={self.samples})"

    def _files(self) -> dict[str, Path]:
        """The files that the command names, by word: scripts, modules after -m, configurations, also after an `=`."""
        found: dict[str, Path] = {}
        for i, word in enumerate(self.command):
            candidates = [word, word.partition("=")[2]]
            if i and self.command[i - 1] == "-m":
                module = word.replace(".", "/")
                candidates += [f"{module}.py", f"{module}/__main__.py"]
            for candidate in candidates:
                try:
                    path = self.cwd / candidate
                    there = bool(candidate) and path.is_file()
                except (OSError, ValueError):  # too long for a path, such as a text after -c
                    continue
                if there and (i or _is_script(path)):
                    found[candidate] = path
                    break
        return found

    def _hash(self) -> str:
        """The fingerprint now, after a possible change of the files in the command."""
        digest = hashlib.sha256()
        what = {
            "command": self.command,
            "name": self.name,
            "samples": self.samples,
            "guessing": [str(self.chance_loss), self.chance_accuracy],
        }
        digest.update(json.dumps(what, sort_keys=True).encode())
        for word, path in self._files().items():
            try:
                size = path.stat().st_size
                content = path.read_bytes() if size <= READ_WHOLE else f"{size} bytes".encode()
            except OSError as error:
                raise DataError(f"{path}, which the command names, cannot be read: {error.strerror}") from error
            digest.update(json.dumps([word, hashlib.sha256(content).hexdigest()]).encode())
        return digest.hexdigest()

    @property
    def name(self) -> str:
        return self._name

    @property
    def batch_size(self) -> int:
        return self._batch_size

    @property
    def engine(self) -> str:
        return "program"

    @property
    def chance_loss(self) -> float:
        """The loss of guessing; infinite if neither `classes` nor `chance_loss` was given: no trial is then "collapsed"."""
        return math.inf if self._chance_loss is None else self._chance_loss

    @property
    def chance_accuracy(self) -> float:
        """The accuracy of guessing; 0 if `classes` was not given."""
        return 0.0 if self.classes is None else 1 / self.classes

    @property
    def resolution(self) -> float:
        return 0.0

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal, over the command, the name, the samples, the figures of guessing, and files of the command.

        A file counts if a word of the command names the file: as the whole word, after an `=`, or as a module after `-m`. Such
        files are scripts and configurations, so a changed script makes a new trial. The content of a file counts; above 16 MiB,
        the size. Modules that a script imports, data, and `env` do not count: give a new `name` after a change of these.
        """
        return self._fingerprint

    def changed(self) -> bool:
        """Whether the content of a file that the command names has changed since this object was created."""
        return self._hash() != self.fingerprint

    @property
    def train_size(self) -> int:
        return self.samples

    def data(self) -> Data:
        raise self._without("data")

    def load(self) -> Data:
        raise self._without("data")

    def labels(self, part: Any) -> NoReturn:
        raise self._without("labels")

    def model(self, seed: int) -> torch.nn.Module:
        raise self._without("a model")

    def _without(self, what: str) -> ValueError:
        return ValueError(f"task {self.name!r} is a program, which has {what} of its own that the lab does not see")


def _words(command: str | Sequence[str | os.PathLike[str]]) -> tuple[str, ...]:
    if isinstance(command, str):
        try:
            words = tuple(shlex.split(command))
        except ValueError as error:
            raise ValueError(f"command must be text that a shell could split, got {shown(command)}: {error}") from None
    elif isinstance(command, Sequence) and all(isinstance(word, str | os.PathLike) for word in command):
        words = tuple(os.fspath(word) for word in command)
    else:
        raise TypeError(f"command must be text or a list of words, got {shown(command)}")
    if not words or not words[0].strip():
        raise ValueError(f"command must have at least one word, got {shown(command)}")
    return words


def _is_script(path: Path) -> bool:
    """Whether a program file is text; an interpreter is not text, and its content would differ between machines."""
    with path.open("rb") as file:
        return file.read(2) == b"#!"
