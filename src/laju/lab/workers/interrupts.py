"""Ctrl-C while trials run: once, outside critical sections, and not in worker processes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """Ctrl-C in the block raises KeyboardInterrupt once: not in a held section, and not again during the cleanup."""

    def __init__(self) -> None:
        self._holding = self._waiting = self._raised = False

    def __enter__(self) -> Interrupts:
        # A handler other than Python's own is somebody's wish, and only the main thread may change handlers.
        self._ours = (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        )
        if self._ours:
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self._ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._raised:
            return
        if self._holding and not self._waiting:  # a second Ctrl-C means that the user does not want to wait
            self._waiting = True
            return
        self._raised = True
        raise KeyboardInterrupt

    @contextmanager
    def held(self) -> Iterator[None]:
        """The block runs as a whole; an interrupt is raised after the block."""
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self._waiting and not self._raised:
            self._raised = True
            raise KeyboardInterrupt


@contextmanager
def sheltered() -> Iterator[None]:
    """Processes started in the block are deaf to Ctrl-C from their first moment."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    # Python's own helper process, which workers need, would take the mask off at its start.
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
