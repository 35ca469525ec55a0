"""Trainings that a study looks into: each in a process of its own, with more than the outcome as its result.

What is looked at (weights, sizes of updates) is no part of an outcome, so no store keeps these; they run anew each time.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from laju.core.checks import whole
from laju.lab.arguments import cores
from laju.lab.running import Display, Key
from laju.lab.running.interrupts import Interrupts
from laju.lab.running.places import Here, Processes
from laju.lab.trials import Outcome

Found = TypeVar("Found")


def run_watched(
    function: Callable[..., tuple[Outcome, Found]],
    work: Mapping[Key, tuple[Any, ...]],
    *,
    jobs: int | None = None,
    display: Display | None = None,
) -> dict[Key, tuple[Outcome, Found]]:
    """Call a function of a module with each tuple of arguments, several at once in processes of one thread each.

    Args:
        function: trains once; returns the outcome and what else it found.
        work: its arguments, by (display name, seed).
        jobs: trainings at once; None for one a core.
        display: told when each ends.
    """
    at_once = min(cores() if jobs is None else whole("jobs", jobs, least=1), len(work))
    done: dict[Key, tuple[Outcome, Found]] = {}
    waiting, flying = iter(work.items()), dict[Future[tuple[Outcome, Found]], Key]()
    with ExitStack() as stack:
        interrupts = stack.enter_context(Interrupts())
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="laju-watched-", ignore_cleanup_errors=True))
        )
        if display is not None:
            stack.callback(display.stop)
            display.start(len(work), 0, at_once)
        place = Here() if at_once == 1 else Processes(at_once, folder, interrupts)
        try:
            while True:
                while len(flying) < at_once and (asked := next(waiting, None)) is not None:
                    flying[place.submit(function, *asked[1])] = asked[0]
                if not flying:
                    break
                for future in wait(flying, return_when=FIRST_COMPLETED).done:
                    key = flying.pop(future)
                    done[key] = future.result()
                    if display is not None:
                        display.finished(*key, done[key][0])
            place.close()
        except BaseException:
            with interrupts.held():
                place.close(kill=True)
            raise
    return {key: done[key] for key in work}
