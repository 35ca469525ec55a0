"""Live forecasts of a running run's final loss: `ending` in a separate process beside the training."""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from array import array
from collections.abc import Callable, Hashable
from contextlib import suppress
from os import PathLike
from typing import Any, Self

import numpy as np

from laju.core.checks import shown
from laju.forecast.curves import Rates
from laju.forecast.ending import Ending, prior_runs, whole_run
from laju.forecast.judging import LEAST_ROWS
from laju.forecast.prior import SHIPPED, Prior

SHARE = 0.1
"""The largest share of a CPU core that forecasts use while a run is going on, except for the first two forecasts."""
_TRIES = 3
"""The number of processes that may die, such as for lack of memory, before no further process is started."""

Question = tuple[Any, ...]
Answer = tuple[int, "Ending | str"]
"""(last update of the rows, the forecast or an error message)."""


class LiveEnding:
    """Forecasts of a running run's final loss, computed by `ending` in a separate process, one forecast at a time.

    `add` takes microseconds and raises no errors. While a forecast is computed, rows accumulate; the next forecast uses all rows
    so far. Forecasts use at most a tenth of a CPU core, at low priority.

    Args:
        schedule: learning rates of the whole run, a Schedule in updates or a rate for each update from 0.
        at: the update whose loss is forecast; by default the schedule's end.
        level: probability of the band; 0.9 by default.
        prior: past runs: a `Prior`, the path of its JSON file, the name of shipped runs, None, or "auto"; see `ending`.

    Attributes:
        ending: the latest forecast; None before the first forecast.
        row: the last update of the rows on which `ending` is based; None before the first forecast.
        note: the last error; None without an error.

    Raises:
        ValueError: if an argument is invalid, or learning rates are too few.
        OSError: if the prior's file cannot be read.

    >>> import laju
    >>> with LiveEnding(laju.linear(0.1, 0, total=50), prior=None) as live:
    ...     for update in range(1, 41):
    ...         live.add(update, 2 + update**-0.5)
    ...     found = live.wait()
    >>> found.refused is None, found.at, live.row
    (True, 50, 40)
    """

    def __init__(
        self,
        schedule: Rates,
        at: int | None = None,
        *,
        level: float = 0.9,
        prior: Prior | str | PathLike[str] | None = "auto",
    ) -> None:
        if not isinstance(level, int | float) or not 0 < level < 1:
            raise ValueError(f"level must be between 0 and 1, got {shown(level)}")
        self._rates, self.at = whole_run(schedule, at)
        self._level, self._prior = level, portable(prior)
        self._updates, self._losses = array("d"), array("d")
        self._process = Process()
        self.note: str | None = None
        weakref.finalize(self, self._process.close)

    def add(self, update: int, loss: Any) -> None:
        """Add the loss after `update` completed updates. A value that is not a number is left out, with a note."""
        try:
            row, value = int(update), float(loss)  # both before the first is kept, so that columns stay equally long
            self._updates.append(float(update))
            self._losses.append(value)
            if len(self._updates) >= LEAST_ROWS:
                self._process.ask(None, row, self._question)
        except Exception as error:
            self.note = f"{type(error).__name__}: {error}"

    def _question(self) -> Question:
        # The training may be between its two appends this moment, in another thread.
        n = min(len(self._updates), len(self._losses))
        updates, losses = (np.array(column[:n]) for column in (self._updates, self._losses))
        return updates, losses, self._rates, self.at, self._level, self._prior

    @property
    def ending(self) -> Ending | None:
        return self._latest()[1]

    @property
    def row(self) -> int | None:
        return self._latest()[0]

    def _latest(self) -> tuple[int | None, Ending | None]:
        self.note = self._process.note or self.note
        row, answer = self._process.answers.get(None, (None, None))
        return row, answer

    def figures(self) -> dict[str, float]:
        """The latest forecast as metrics for loggers: forecast/end, forecast/low, forecast/high, and forecast/update, its row.

        The dict is empty before the first forecast, and if the latest forecast is a refusal.
        """
        row, found = self._latest()
        if row is None or found is None or found.value is None or found.low is None or found.high is None:
            return {}
        return {
            "forecast/end": found.value,
            "forecast/low": found.low,
            "forecast/high": found.high,
            "forecast/update": float(row),
        }

    def wait(self, timeout: float | None = None) -> Ending | None:
        """Wait for the forecast from all rows so far, and return it; after `timeout` seconds, return the latest forecast."""
        self._process.wait(timeout)
        return self.ending

    def close(self) -> None:
        """End the process; the latest forecast stays available."""
        self._process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def portable(prior: Any) -> Any:
    """A prior in the form that is sent to the process: a name, None, or the pickle of past runs. A file is read here, once."""
    if prior is None or (isinstance(prior, str) and prior in ("auto", *SHIPPED)):
        return prior
    return pickle.dumps(prior_runs(prior)[0])


class Process:
    """A process that computes forecasts one at a time; of pending requests with the same key, only the newest is computed.

    `begun` is the number of requests. `note` is the latest error, which is also passed to `tell` (by default to `logging`).
    """

    def __init__(self, share: float = SHARE, tell: Callable[[str], object] | None = None) -> None:
        self.answers: dict[Hashable, tuple[int, Ending]] = {}
        self.note: str | None = None
        self.begun = 0
        self._share, self._log = share, tell or log
        self._pending: dict[Hashable, tuple[int, Any]] = {}
        self._busy = self._closed = self._hurry = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._errors: Any = None
        self._lost = 0

    def ask(self, key: Hashable, row: int, question: Any) -> None:
        """Enqueue a request; `question` is called for its rows when the request is sent, in a different thread."""
        with self._changed:
            if self._closed:
                return
            self._pending[key] = row, question
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="laju-forecast", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until no request is pending, at most `timeout` seconds."""
        with self._changed:
            self._hurry = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closed or not (self._pending or self._busy), timeout)
            self._hurry = False

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._pending.clear()
            self._changed.notify_all()
        child, thread = self._child, self._thread
        if child is not None:
            with suppress(OSError):
                child.kill()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=5)

    # --- in the thread -------------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        cost = due = 0.0
        try:
            self._start()  # loads its modules while rows gather
        except Exception as error:
            self._tell(error)
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._closed or self._pending)
                while not (self._closed or self._hurry) and (left := due - time.monotonic()) > 0:
                    self._changed.wait(left)
                if self._closed:
                    break
                key = next(iter(self._pending))
                row, question = self._pending.pop(key)
                self._busy = True
                self.begun += 1
            try:
                before, (row, answer, cost) = cost, self._answer(row, question)
                # The smaller of two in a row: the first answer loads past runs and does not predict the time of the next.
                due = time.monotonic() + min(before, cost) * (1 / self._share - 1)
                if isinstance(answer, Ending):
                    self.answers[key] = row, answer
                else:
                    self.note = answer
                    self._log(answer)
            except Exception as error:
                self._tell(error)
                if self._lost >= _TRIES:
                    with self._changed:
                        self._closed = True
        self._end()
        with self._changed:
            self._busy = False
            self._changed.notify_all()

    def _tell(self, error: Exception) -> None:
        if not self._closed:
            self._lost += 1
            self.note = f"{type(error).__name__}: {error}"
            self._log(self.note)

    def _start(self) -> subprocess.Popen[bytes]:
        if self._child is not None and self._child.poll() is None:
            return self._child
        self._end()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, as the file lives as long as the process
        path = os.pathsep.join(entry for entry in sys.path if entry)
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        # No fork, which would copy a training's threads and its device; no spawn, which would import the training's script again.
        # A session of its own, so that Ctrl-C goes to the training alone.
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", "laju.forecast.serving"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **threads, "PYTHONPATH": path},
            start_new_session=True,
        )
        if self._closed:  # meanwhile
            self._child.kill()
        return self._child

    def _answer(self, row: int, question: Any) -> tuple[int, Any, float]:
        asked = question()
        if len(asked[0]):
            row = int(asked[0][-1])  # rows may have come since the question was asked
        child = self._start()
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            pickle.dump(asked, child.stdin)
            child.stdin.flush()
            answer, cost = pickle.load(child.stdout)
        except (OSError, EOFError):
            child.kill()
            status = child.wait()
            self._errors.seek(0)
            last = self._errors.read()[-2000:].decode(errors="replace").strip().splitlines()[-1:]
            raise RuntimeError(
                f"the forecast process ended with status {status}{''.join(f': {line}' for line in last)}"
            ) from None
        return row, answer, cost

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()
            child.wait()
        if self._errors is not None:
            self._errors.close()
            self._errors = None


_LOGGED: set[str] = set()


def log(note: str) -> None:
    """Log a note as a warning."""
    if note not in _LOGGED and len(_LOGGED) < 100:
        _LOGGED.add(note)
        logging.getLogger("laju.forecast").warning("no forecast: %s", note)
