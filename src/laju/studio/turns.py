"""Computations of the page that are done in turn, beside what the page asks meanwhile."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

_T = TypeVar("_T")


class Turns:
    """A thread that computes one thing after another.

    The process does not wait for the thread at its end, as it would for a `ThreadPoolExecutor`'s: Ctrl-C ends a studio in the
    middle of a long computation.

    Args:
        patient: Whether computations in other threads go first.

    >>> Turns().submit(max, 1, 3).result()
    3
    """

    def __init__(self, patient: bool = False) -> None:
        self._patient = patient
        self._waiting: SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]] = SimpleQueue()
        threading.Thread(target=self._compute, name="laju studio, in turn", daemon=True).start()

    def submit(self, function: Callable[..., _T], *arguments: Any) -> Future[_T]:
        """Compute `function(*arguments)` after what was submitted before."""
        future: Future[_T] = Future()
        self._waiting.put((future, function, arguments))
        return future

    def _compute(self) -> None:
        if self._patient:
            with suppress(AttributeError, OSError):  # Linux has a priority for each thread
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        while True:
            future, function, arguments = self._waiting.get()
            if future.set_running_or_notify_cancel():  # a page that went away has cancelled
                try:
                    future.set_result(function(*arguments))
                except BaseException as error:
                    future.set_exception(error)
