"""Instrumented training runs: a study looks inside each run, which has a separate process and a result beyond the outcome.

The measured figures (sizes of updates, losses between two sets of weights) are not part of an outcome. Results are kept in the
store beside the trials, and a run whose result is stored does not run again.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import warnings
from collections import Counter, deque
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from laju.lab.live.displays import as_display
from laju.lab.store import Store, StoreWarning
from laju.lab.trials import Outcome, Record, Trial
from laju.lab.trials.progress import Channel
from laju.lab.workers import Display, Execution, Key, TrialsLost
from laju.lab.workers.display import DisplayThread
from laju.lab.workers.driver import ATTEMPTS, given_up, loss_of
from laju.lab.workers.interrupts import Interrupts
from laju.options import EXECUTION

Found = TypeVar("Found")


def for_instruments(execution: Execution) -> Execution:
    """The execution itself, if instrumented runs support its settings.

    Raises:
        ValueError: a cluster, a device, an arithmetic, a stack or a time limit.
    """
    others = [option.name for option in EXECUTION if option.name not in ("jobs", "share_prefixes")]
    execution.refuse(*others, why="this study looks into its trainings, which run on the CPU of this machine")
    return execution


def run_instrumented(
    function: Callable[..., tuple[Outcome, Found]],
    work: Mapping[Key, tuple[Any, ...]],
    *,
    recipe: str,
    execution: Execution | None = None,
    display: Display | bool | None = None,
    store: Store | str | os.PathLike[str] | None = None,
) -> dict[Key, tuple[Outcome, Found]]:
    """Call a function of a module with each tuple of arguments, several at once in processes with a single thread each.

    A run whose worker is lost runs again, the last time alone, as in `laju.lab.compare`.

    Args:
        function: a function that trains the trial given as its first argument, and calls its argument `report` with every
            record; returns the outcome and a second result, a value that JSON restores unchanged.
        work: the arguments of the function by (display name, seed): the trial, then values for JSON.
        recipe: everything that a result depends on apart from the arguments: the name and version of the method, and the
            constants of the function.
        execution: the number of runs at once; no further settings.
        display: as in `laju.lab.compare`.
        store: the store that keeps results.

    Raises:
        StoreError: the store cannot be opened or written.
        TrialsLost: the workers of some runs were lost repeatedly; all finished results are kept.
        ValueError: an execution with settings beyond `jobs`.
    """
    execution, watcher = for_instruments(Execution.of(execution, None)), as_display(display)
    fingerprints = {key: _fingerprint(recipe, *arguments) for key, arguments in work.items()}
    reasons: dict[Key, str] = {}
    with ExitStack() as stack:
        interrupts = stack.enter_context(Interrupts())
        with interrupts.held():
            kept = store if isinstance(store, Store) else stack.enter_context(Store(store))
            there = kept.results(list(fingerprints.values()))
        done: dict[Key, tuple[Outcome, Found]] = {}
        for key, fingerprint in fingerprints.items():
            if fingerprint in there:
                try:
                    done[key] = _from_json(there[fingerprint])
                except (ValueError, TypeError, LookupError, AttributeError):
                    with interrupts.held():
                        kept.drop_result(fingerprint)
                    text = f"{kept.name}: the result of {key[0]!r} with seed {key[1]} is damaged, and is made again"
                    warnings.warn(text, StoreWarning, stacklevel=2)
        ready = deque(key for key in work if key not in done)
        numbers = {key: str(number) for number, key in enumerate(ready)}
        lost, pending = Counter[Key](), dict[Future[tuple[Outcome, Found]], Key]()
        at_once = min(execution.slots, len(ready))
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="laju-instrumented-", ignore_cleanup_errors=True))
        )
        if watcher is not None:
            stack.callback(watcher.stop)
            watcher.start(len(work), len(done), at_once)
        stack.enter_context(DisplayThread(Channel(folder), watcher))
        place = execution.place(folder, interrupts, at_once)
        try:
            while ready or pending:
                while ready and len(pending) < at_once:
                    if pending and any(lost[key] == ATTEMPTS - 1 for key in (ready[0], *pending.values())):
                        break
                    key = ready.popleft()
                    pending[place.submit(_train, function, work[key], key, folder, numbers[key])] = key
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    if future not in pending:  # lost together with another trial
                        continue
                    key, error = pending.pop(future), future.exception()
                    if error is None:
                        done[key] = future.result()
                        with interrupts.held():
                            kept.put_result(fingerprints[key], _to_json(*done[key]))
                        if watcher is not None:
                            watcher.finished(*key, done[key][0])
                        continue
                    reason = loss_of(error)
                    if reason is None:
                        raise error
                    gone = [key]
                    if place.together and isinstance(error, BrokenExecutor):
                        gone += [
                            k for f, k in pending.items() if not f.done() or isinstance(f.exception(), BrokenExecutor)
                        ]
                        pending = {f: k for f, k in pending.items() if k not in gone}
                    lost.update(gone)
                    ready += [key for key in gone if lost[key] < ATTEMPTS]
                    reasons |= {key: given_up(reason) for key in gone if lost[key] == ATTEMPTS}
            place.close()
        except BaseException:
            with interrupts.held():
                place.close(kill=True)
            raise
    if reasons:
        raise TrialsLost(reasons)
    return {key: done[key] for key in work}


def _fingerprint(recipe: str, trial: Trial, *others: Any) -> str:
    return hashlib.sha256(json.dumps([recipe, trial.fingerprint, *others]).encode()).hexdigest()


def _train(function: Callable[..., Found], arguments: tuple[Any, ...], key: Key, folder: Path, number: str) -> Found:
    """Call the function where the job runs, and send its records to the waiting process."""
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
