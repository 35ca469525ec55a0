"""Trainings that a study looks into: each in a process of its own, with more than the outcome as its result.

What is looked at (weights, sizes of updates) is no part of an outcome. A result that is a value for JSON is kept in the store
beside the trials, and its training does not run again; other trainings run anew each time.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from laju.core.checks import whole
from laju.lab.arguments import cores
from laju.lab.displays import as_display
from laju.lab.progress import Channel
from laju.lab.running import Display, Key
from laju.lab.running.interrupts import Interrupts
from laju.lab.running.places import Here, Processes
from laju.lab.running.watching import Watching
from laju.lab.store import Store
from laju.lab.trials import Outcome, Record, Trial

Found = TypeVar("Found")


def run_watched(
    function: Callable[..., tuple[Outcome, Found]],
    work: Mapping[Key, tuple[Any, ...]],
    *,
    jobs: int | None = None,
    display: Display | bool | None = None,
    store: Store | str | os.PathLike[str] | None = None,
    fingerprints: Mapping[Key, str] | None = None,
) -> dict[Key, tuple[Outcome, Found]]:
    """Call a function of a module with each tuple of arguments, several at once in processes of one thread each.

    Args:
        function: trains the trial that is its first argument, and calls its argument `report` with every record; returns the
            outcome and what else it found.
        work: its other arguments, the trial first, by (display name, seed).
        jobs: trainings at once; None for one a core.
        display: as in `laju.lab.compare`.
        store: where results are kept that have a fingerprint.
        fingerprints: by the keys of `work`, a hash of everything that a result depends on; the function then returns a value that
            JSON gives back as it is. None for results that are not kept.

    Raises:
        StoreError: the store cannot be opened or written.
    """
    watcher = as_display(display)
    done: dict[Key, tuple[Outcome, Found]] = {}
    with ExitStack() as stack:
        interrupts = stack.enter_context(Interrupts())
        kept: Store | None = None
        if fingerprints is not None:
            with interrupts.held():
                kept = store if isinstance(store, Store) else stack.enter_context(Store(store))
                there = kept.results([fingerprints[key] for key in work])
            done = {key: _from_json(there[fingerprints[key]]) for key in work if fingerprints[key] in there}
        left = [(key, arguments) for key, arguments in work.items() if key not in done]
        at_once = min(cores() if jobs is None else whole("jobs", jobs, least=1), len(left))
        waiting, flying = enumerate(left), dict[Future[tuple[Outcome, Found]], Key]()
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="laju-watched-", ignore_cleanup_errors=True))
        )
        if watcher is not None:
            stack.callback(watcher.stop)
            watcher.start(len(work), len(done), at_once)
        stack.enter_context(Watching(Channel(folder), watcher))
        place = Here() if at_once <= 1 else Processes(at_once, folder, interrupts)
        try:
            while True:
                while len(flying) < at_once and (asked := next(waiting, None)) is not None:
                    number, (key, arguments) = asked
                    flying[place.submit(_train, function, arguments, key, folder, str(number))] = key
                if not flying:
                    break
                for future in wait(flying, return_when=FIRST_COMPLETED).done:
                    key = flying.pop(future)
                    done[key] = future.result()
                    if kept is not None and fingerprints is not None:
                        with interrupts.held():
                            kept.put_result(fingerprints[key], _to_json(*done[key]))
                    if watcher is not None:
                        watcher.finished(*key, done[key][0])
            place.close()
        except BaseException:
            with interrupts.held():
                place.close(kill=True)
            raise
    return {key: done[key] for key in work}


def _train(function: Callable[..., Found], arguments: tuple[Any, ...], key: Key, folder: Path, number: str) -> Found:
    """Call the function where the job runs; whoever waits is told its records."""
    trial: Trial = arguments[0]
    channel = Channel(folder)

    def report(record: Record) -> None:
        channel.tell(number, *key, trial.plan.updates, record)

    try:
        return function(*arguments, report=report)
    finally:
        channel.done(number)


def _to_json(outcome: Outcome, found: Any) -> str:
    fields = {**vars(outcome), "records": [vars(record) for record in outcome.records]}
    return json.dumps({"outcome": fields, "found": found})


def _from_json(content: str) -> tuple[Outcome, Any]:
    fields = json.loads(content)
    outcome = fields["outcome"]
    records = tuple(Record(**record) for record in outcome.pop("records"))
    observed = tuple((update, loss) for update, loss in outcome.pop("observed"))
    return Outcome(**outcome, records=records, observed=observed), fields["found"]
