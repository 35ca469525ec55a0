"""Trials in MXNet, which needs an old NumPy and therefore a separate environment: a child process in that environment trains.

A child per trial runs `mxnet_worker`. An update is sent without waiting for its end, so the child is never idle between two
records.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

import laju
from laju.core.pieces import calls_functions
from laju.lab.engines import mxnet_worker
from laju.lab.engines.loop import EVALUATION_BATCH, Batch, Report, run
from laju.lab.engines.mxnet_worker import Arrays, receive, send
from laju.lab.trials import Outcome, Trial

VARIABLE = "LAJU_MXNET_PYTHON"
_MAKE = (
    "make one with `make setup-mxnet` in a checkout of laju (it needs Python 3.11), or install laju and the packages of "
    f"constraints-mxnet.txt in one, and name its Python in the environment variable {VARIABLE}"
)
_LINES = 20


def train(trial: Trial, report: Report | None = None) -> Outcome:
    """Run a trial from its beginning and return its records; the same trial gives the same outcome, bit by bit.

    In MXNet's momentum the learning rate is part of the velocity, v ← m·v - η(t)·g, w ← w + v, while torch uses v ← m·v + g,
    w ← w - η(t)·v. Both agree while the rate is constant; after a change, MXNet's velocity keeps the old rate for a while.

    Args:
        trial: the trial to run.
        report: called with every new record.

    Raises:
        ModuleNotFoundError: there is no Python with MXNet and laju.
        ImportError: the version of laju in the MXNet environment differs.
        RuntimeError: the process that trains ended; the message has its last lines of output.
        ValueError: the task has no model in MXNet.
    """
    network, weights = trial.task.network("mxnet", trial.seed)
    with Worker(interpreter()) as worker:
        return run(trial, _Training(trial, network, weights, worker), report)


def interpreter() -> str:
    """The Python that has MXNet: the Python named by LAJU_MXNET_PYTHON, this Python, or the Python of `.venv-mxnet`.

    `.venv-mxnet` is searched for in the current folder and in the checkout from which laju is imported.

    Raises:
        ModuleNotFoundError: no Python with MXNet was found.
    """
    named = os.environ.get(VARIABLE)
    if named:
        found = shutil.which(Path(named).expanduser())
        if found is None:
            raise ModuleNotFoundError(f"{VARIABLE} is {named!r}, which is no program that can be run; {_MAKE}")
        return str(found)
    if find_spec("mxnet") is not None:
        return sys.executable
    folders = [Path.cwd()]
    source = Path(laju.__file__).parents[1]
    if source.name == "src":
        folders.append(source.parent)
    for folder in folders:
        python = folder / ".venv-mxnet" / "bin" / "python"
        if python.exists():
            return str(python)
    raise ModuleNotFoundError(
        f"MXNet needs an old NumPy and so a Python environment of its own, and none is here; {_MAKE}"
    )


class Worker:
    """The child process; whatever happens, the process has ended and its streams are closed when the `with` block ends.

    Args:
        python: the interpreter of the child.
    """

    def __init__(self, python: str) -> None:
        self.python = python
        # A file and no pipe, which the child could fill; an unnamed file, so nothing stays behind even when this process dies.
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed in __exit__
        try:
            self.process = subprocess.Popen(
                [python, mxnet_worker.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                # A single thread for each trial: several trials run side by side, and sums do not depend on the machine.
                env=os.environ | {"OMP_NUM_THREADS": "1", "MXNET_CPU_WORKER_NTHREADS": "1"},
                process_group=0,  # so that Ctrl-C does not reach the child before the child can ignore Ctrl-C
            )
        except BaseException as error:
            self.errors.close()
            if isinstance(error, OSError):
                raise ModuleNotFoundError(f"{python} cannot be run ({error}); {_MAKE}") from error
            raise

    def __enter__(self) -> Self:
        try:
            self._greeted()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the child, wait for its end, and close its streams."""
        self.process.kill()  # all results have been sent
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            assert stream is not None
            with contextlib.suppress(OSError):  # unread data of a process that is gone
                stream.close()

    def _greeted(self) -> None:
        """Raise an error unless the interpreter has all packages that training needs."""
        try:
            hello, _ = self._receive()
        except ValueError as error:
            raise ModuleNotFoundError(f"{self.python} is no Python: it answered {error}; {_MAKE}") from None
        except EOFError:
            raise ModuleNotFoundError(
                f"{self.python} cannot train: it {ended(self.process.wait())} before it answered; {_MAKE}{self._said()}"
            ) from None
        for module in ("laju", "mxnet"):
            if hello[module] is None:
                raise ModuleNotFoundError(f"{self.python} has no {module}; {_MAKE}", name=module)
        if hello["laju"] != laju.__version__:
            raise ImportError(
                f"{self.python} has laju {hello['laju']}, and this is laju {laju.__version__}; install the same there",
                name="laju",
            )

    def tell(self, kind: str, fields: Mapping[str, Any] | None = None, arrays: Arrays | None = None) -> None:
        """Send a request without waiting for an answer.

        Raises:
            RuntimeError: the process ended.
        """
        assert self.process.stdin is not None
        try:
            send(self.process.stdin, kind, fields, arrays)
        except BrokenPipeError:
            raise self._ended() from None

    def ask(self, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Send a request and wait for the answer."""
        self.tell(kind)
        return self.answer()

    def answer(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Wait for an answer.

        Raises:
            RuntimeError: the process ended.
        """
        try:
            return self._receive()
        except EOFError:
            raise self._ended() from None

    def _receive(self) -> tuple[dict[str, Any], dict[str, Any]]:
        assert self.process.stdout is not None
        return receive(self.process.stdout)

    def _ended(self) -> RuntimeError:
        return RuntimeError(f"the process that trains in MXNet {ended(self.process.wait())}{self._said()}")

    def _said(self) -> str:
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").rstrip().splitlines()[-_LINES:]
        return "\n  ".join(["; it wrote last:", *lines]) if lines else "; it wrote nothing"


def ended(status: int) -> str:
    """How a process ended, as the end of a sentence."""
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


class _Training:
    def __init__(self, trial: Trial, network: str, weights: Arrays, worker: Worker) -> None:
        self.worker = worker
        data = trial.task.data()
        arrays = {name: getattr(data, name) for name in ("train_inputs", "train_labels", "test_inputs", "test_labels")}
        start = {
            "network": network,
            "schedule": portable(trial),
            "seed": trial.seed,
            "momentum": trial.optimizer.momentum,
            "weight_decay": trial.optimizer.weight_decay,
            "evaluation_batch": EVALUATION_BATCH,
        }
        worker.tell("start", start, arrays | {f"network/{name}": array for name, array in weights.items()})
        worker.answer()

    def rate(self) -> float:
        fields, _ = self.worker.ask("rate")
        return float(fields["value"])

    def update(self, batch: Batch) -> None:
        # No answer is waited for: the child reads the next batch from the pipe while this process makes the batch after it.
        self.worker.tell("update", arrays={"batch": batch})

    def read(self) -> tuple[npt.NDArray[np.float64], int]:
        fields, arrays = self.worker.ask("read")
        return arrays["losses"], int(fields["right"])

    def evaluate(self) -> tuple[float, float]:
        fields, _ = self.worker.ask("evaluate")
        return float(fields["loss"]), float(fields["accuracy"])


def portable(trial: Trial) -> Any:
    """The schedule in updates, as JSON that can be read in the MXNet environment."""
    schedule = trial.schedule.resolve(trial.plan)
    if calls_functions(schedule):  # whose module may not be there
        schedule = laju.Table(tuple(schedule.values(trial.plan.updates).tolist()))
    return schedule.to_json()
