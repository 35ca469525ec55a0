"""Executors that run jobs in this process or in worker processes of this machine. Clusters are in separate files.

A job is a function with its arguments. Values that every job of a run needs, such as the trials with their data, are sent to the
workers only once, by `share`.
"""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
import uuid
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

from laju.lab.workers.interrupts import Interrupts, sheltered


class Shared(Protocol):
    """The result of `share`: a job's argument that stands for the shared value."""

    def get(self) -> Any:
        """The value, in the process of a job; the same object for every job in that process."""


class Executor(Protocol):
    """Runs jobs, up to `slots` at once.

    `remote`: jobs may run on machines with neither the files of this machine nor the tasks' data. `together`: if a job is
    stopped, or its worker dies, the concurrent jobs end, too.
    """

    remote: bool
    together: bool

    @property
    def slots(self) -> int: ...

    def share(self, value: Any) -> Shared:
        """Send a value to the processes of jobs.

        Raises:
            TypeError: the value cannot be sent.
        """

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Begin a job; its future fails with `BrokenExecutor` when the process or machine of the job is lost."""

    def stop(self, future: Future[Any]) -> None:
        """End a job that runs; its future fails, and futures of concurrent jobs may fail, too."""

    def close(self, kill: bool = False) -> None:
        """Release the workers; with `kill`, without waiting for running jobs. A later `submit` starts new workers."""


class InProcess:
    """This process: a job is done when `submit` returns."""

    slots = 1
    remote = together = False

    def share(self, value: Any) -> Shared:
        return _Same(value)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            # An error is the job's, as in a worker. Ctrl-C is not an Exception, and goes through to the caller.
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future

    def stop(self, future: Future[Any]) -> None:
        raise NotImplementedError("a job in this process cannot be stopped from it")

    def close(self, kill: bool = False) -> None:
        return


_HANDED_OUT = 2.0
"""Seconds after which a job that was not handed to a worker never will be."""


class Processes:
    """Worker processes on this machine, with a single thread each, which ignore Ctrl-C and end with this process.

    Workers stay for the next run if a run ends well, since starting a worker takes seconds.
    """

    remote = False
    together = True

    def __init__(self, slots: int, folder: Path, interrupts: Interrupts) -> None:
        self.slots = slots
        self.folder = folder
        self.interrupts = interrupts
        self._last: Future[Any] | None = None
        # A worker that has grown by a framework's libraries is replaced between two jobs, which is of no interest.
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given to the executor")
        _outlive_tracker()

    def _executor(self) -> Any:
        from joblib.externals.loky import get_reusable_executor

        one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        return get_reusable_executor(
            max_workers=self.slots, timeout=300, initializer=_become_worker, initargs=(os.getpid(),), env=one
        )

    def share(self, value: Any) -> Shared:
        # In a file, since a value sent with a job would be sent with every job.
        path = self.folder / f"shared-{uuid.uuid4().hex}.pickle"
        path.write_bytes(pickled(value))
        return _InFile(path)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        with self.interrupts.held(), sheltered():  # here processes are started
            future: Future[Any] = self._executor().submit(function, *arguments)
            self._last = future
            return future

    def stop(self, future: Future[Any]) -> None:
        self.close(kill=True)

    def close(self, kill: bool = False) -> None:
        if kill:
            with self.interrupts.held(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                # Killed before it has handed out the last job, the thread of loky that manages the workers looks for that job
                # among those that the kill has cleared, and prints a KeyError (joblib 1.6).
                limit = time.monotonic() + _HANDED_OUT
                while self._last is not None and not self._last.running() and not self._last.done():
                    if time.monotonic() > limit:
                        break
                    time.sleep(0.001)
                self._executor().shutdown(wait=True, kill_workers=True)


def pickled(value: Any) -> bytes:
    """A value as bytes, functions and classes of the main program included.

    Raises:
        TypeError: the value holds an object of this process alone, such as an open file.
    """
    import cloudpickle

    try:
        content: bytes = cloudpickle.dumps(value)
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        raise TypeError(f"the task cannot be sent to worker processes ({error}); jobs=1 does without them") from error
    return content


class _Same:
    def __init__(self, value: Any) -> None:
        self.value = value

    def get(self) -> Any:
        return self.value


class _InFile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def get(self) -> Any:
        if self.path not in _read:
            _read.clear()  # the value of an earlier run, with its data
            _read[self.path] = pickle.loads(self.path.read_bytes())
        return _read[self.path]


_read: dict[Path, Any] = {}


def _become_worker(parent: int) -> None:
    """Set up a worker: ignore Ctrl-C and SIGTERM, which the user's process handles, and end when that process is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _outlive_tracker()

    def watch() -> None:
        # A process whose parent is gone gets another. A signal at the parent's death is not to be had on every system.
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, name="laju-parent", daemon=True).start()


def _outlive_tracker() -> None:
    """Print nothing about a killed resource tracker: loky starts a new tracker, and no trial is affected.

    The new tracker does not know earlier semaphores, and would print a KeyError for each semaphore that ends. So a semaphore is
    registered again just before its end: a tracker forgets a name at once, however often the name was registered.
    """
    from joblib.externals.loky.backend import resource_tracker as loky

    def unregister(name: str, kind: str) -> None:
        loky.ensure_running()  # a message that finds the tracker dead starts another one, and is lost (joblib 1.6)
        loky.register(name, kind)
        loky._resource_tracker.unregister(name, kind)

    loky.unregister = unregister
    warnings.filterwarnings("ignore", message="resource_tracker: process died unexpectedly, relaunching")


def cores() -> int:
    """The number of cores that this process may use, within the limits of a container."""
    import joblib

    return int(joblib.cpu_count())
