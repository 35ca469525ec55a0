"""Handling of Ctrl-C while laju trains: never inside critical sections, and not in worker processes."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SAME = 0.5
"""Seconds within which signals count as a single Ctrl-C: `timeout` signals its child, and then the child's group."""


class Interrupts:
    """In the block, Ctrl-C reaches the caller's handler, usually Python's, at once or after the section that is `held`.

    A second Ctrl-C ends a held section, or the cleanup after the first. Only the main thread may change handlers; in other
    threads, and where Ctrl-C is ignored, the block changes nothing.
    """

    def __init__(self) -> None:
        self._before: Callable[[int, FrameType | None], Any] | None = None
        self._held = self._whole = False
        self._waiting: tuple[int, FrameType | None] | None = None
        self._last = float("-inf")

    def __enter__(self) -> Interrupts:
        before = signal.getsignal(signal.SIGINT)
        if callable(before) and threading.current_thread() is threading.main_thread():
            self._before = before
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        since, self._last = time.monotonic() - self._last, time.monotonic()
        if since < SAME:
            return
        if self._held and (self._waiting is None or self._whole):
            self._waiting = number, frame
        else:
            self._pass_on(number, frame)

    def _pass_on(self, number: int, frame: FrameType | None) -> None:
        self._waiting = None
        if self._before is not None:
            self._before(number, frame)

    @contextmanager
    def held(self, *, whole: bool = False) -> Iterator[None]:
        """Let Ctrl-C wait for the end of the block; a second Ctrl-C too, if the block must be `whole`."""
        before = self._held, self._whole
        self._held, self._whole = True, whole or self._whole
        try:
            yield
        finally:
            self._held, self._whole = before
            if self._waiting is not None and not self._held:
                self._pass_on(*self._waiting)


@contextmanager
def sheltered() -> Iterator[None]:
    """Let processes that are started in the block ignore Ctrl-C from their first moment."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    # Python's own helper process, which workers need, would take the mask off at its start.
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()
    # A child inherits the mask of the thread that starts it. A handler in the child would come too late: between its start and
    # the handler Ctrl-C would end it with a traceback.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
