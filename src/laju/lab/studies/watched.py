"""Trainings that a study looks into: each in a process of its own, with more than the outcome as its result.

What is looked at (weights, sizes of updates) is no part of an outcome, so no store keeps these; they run anew each time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, TypeVar

from laju.arguments import whole
from laju.lab.running import Display, Key
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
    import joblib

    at_once = min(joblib.cpu_count() if jobs is None else whole("jobs", jobs, least=1), len(work))
    done: dict[Key, tuple[Outcome, Found]] = {}
    with ExitStack() as stack:
        if display is not None:
            stack.callback(display.stop)
            display.start(len(work), 0, at_once)
        parallel = joblib.Parallel(n_jobs=at_once, return_as="generator_unordered")
        calls = (joblib.delayed(_keyed)(function, key, arguments) for key, arguments in work.items())
        for (name, seed), result in parallel(calls):
            done[name, seed] = result
            if display is not None:
                display.finished(name, seed, result[0])
    return {key: done[key] for key in work}


def _keyed(function: Callable[..., Any], key: Key, arguments: tuple[Any, ...]) -> tuple[Key, Any]:
    return key, function(*arguments)
