"""Displays of a run: the running trials are shown a few times per second."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any, Protocol

from laju.lab.trials import Outcome
from laju.lab.trials.progress import Channel, Running


class Display(Protocol):
    """A display of running trials: `compare` calls these methods as trials run, `running` in a thread of its own.

    `planned` gets the number of updates to make, and the number without shared prefixes. `running` gets the running
    trials, each with all records so far; a trial without a new record is the same object as before.
    """

    def start(self, total: int, kept: int, jobs: int) -> None: ...
    def planned(self, updates: int, separately: int) -> None: ...
    def running(self, trials: list[Running]) -> None: ...
    def finished(self, name: str, seed: int, outcome: Outcome) -> None: ...
    def stop(self) -> None: ...


class DisplayThread:
    """A thread that shows the running trials while the block runs."""

    def __init__(self, channel: Channel, display: Display | None) -> None:
        self._show: Callable[[], Any] | None = None if display is None else lambda: display.running(channel.running())
        self._stop = threading.Event()
        # A notebook knows by its context which cell an output belongs to.
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._loop,), name="laju-progress", daemon=True)

    def _loop(self) -> None:
        while self._show is not None and not self._stop.wait(0.2):
            self._show()

    def __enter__(self) -> None:
        if self._show is not None:
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._show is not None:
            self._thread.join()
