"""Threads that compute what the page asks for, one question after another."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

_T = TypeVar("_T")


class Turns:
    """A thread that calls functions one after another.

    The process does not wait for the thread at its end, as it would for a `ThreadPoolExecutor`'s: Ctrl-C ends a studio in the
    middle of a long computation.

    Args:
        patient: Whether computations in other threads go first.

    >>> Turns().submit(max, 1, 3).result()
    3
    """

    def __init__(self, patient: bool = False) -> None:
        self._patient = patient
        self._waiting: SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None] = SimpleQueue()
        threading.Thread(target=self._compute, name="laju studio, in turn", daemon=True).start()

    def submit(self, function: Callable[..., _T], *arguments: Any) -> Future[_T]:
        """Compute `function(*arguments)` after what was submitted before."""
        future: Future[_T] = Future()
        self._waiting.put((future, function, arguments))
        return future

    def stop(self) -> None:
        """End the thread after what was submitted before."""
        self._waiting.put(None)

    def _compute(self) -> None:
        if self._patient and sys.platform == "linux":  # where each thread has a priority
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        while (job := self._waiting.get()) is not None:
            future, function, arguments = job
            if future.set_running_or_notify_cancel():  # a page that went away has cancelled
                try:
                    future.set_result(function(*arguments))
                except BaseException as error:
                    future.set_exception(error)
            del job, future, function, arguments  # the content of a dropped file would stay until the next job
