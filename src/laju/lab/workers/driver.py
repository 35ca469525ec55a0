"""The driver keeps jobs running on any executor, and is the only process that writes the store.

A finished trial is stored at once. A job whose worker is lost runs again; a job that is lost repeatedly, or exceeds the time
limit, is left out and reported at the end, so that a bad trial does not stop the rest.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from laju.lab.engines.loop import outcome
from laju.lab.store import Claims, Store, StoreWarning
from laju.lab.store.processes import named
from laju.lab.trials import Outcome, Trial
from laju.lab.trials.progress import Channel
from laju.lab.workers.display import Display, DisplayThread
from laju.lab.workers.execution import Execution
from laju.lab.workers.executors import Executor
from laju.lab.workers.interrupts import Interrupts
from laju.lab.workers.job import Job, Work, work
from laju.lab.workers.prefixes import Key, Segment, plan, resumed, updates

_LOOK = 1.0  # seconds between two checks for trials that another program has finished
_LOCK = "lock"  # of the folder of a live run
_YOUNG = 3600.0  # seconds after which a folder without a lock is taken as left behind

ATTEMPTS = 3
"""A job whose worker is lost runs again, the last time alone, in case there was too little memory for several."""


class TrialsLost(RuntimeError):
    """Some trials did not finish although the rest did; `reasons` says why for each."""

    def __init__(self, reasons: Mapping[Key, str]) -> None:
        self.reasons = dict(reasons)
        by_reason: dict[str, list[Key]] = {}
        for key, reason in self.reasons.items():
            by_reason.setdefault(reason, []).append(key)
        parts = []
        for reason, keys in by_reason.items():
            named = ", ".join(f"{name!r} with seed {seed}" for name, seed in keys[:3])
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            parts.append(f"{named}{more}: {reason}")
        super().__init__("; ".join(parts))


@dataclass
class _Pending:
    """A job that runs, or waits to run."""

    segment: Segment
    rank: tuple[int, ...]
    start: bytes | str | None = None
    attempts: int = 0
    began: float = 0.0
    claimed: bool = False


@dataclass
class Driver:
    """Runs trials that are not in the store yet.

    Args:
        trials: different trials, by (display name, seed).
        finished: called with every outcome, once the outcome is in the store.
        kept: the store that keeps outcomes and branch points.
    """

    trials: dict[Key, Trial]
    kept: Store
    execution: Execution
    interrupts: Interrupts
    finished: Callable[[Key, Outcome], None]
    display: Display | None = None
    reasons: dict[Key, str] = field(default_factory=dict)
    _claims: Claims | None = field(default=None, init=False)
    _told: set[str] = field(default_factory=set, init=False)

    def run(self) -> None:
        """Train all trials; afterwards, trials without an outcome are in `reasons`."""
        if not self.trials:
            return
        with ExitStack() as stack:
            folder = stack.enter_context(_temporary_folder())
            self._claims = self.kept.claims()
            if self._claims is not None:
                stack.enter_context(self._claims)
            place = self.execution.place(folder, self.interrupts, len(self.trials))
            stack.enter_context(DisplayThread(Channel(folder), self.display))
            try:
                self._loop(place, folder)
                place.close()
            except BaseException:
                place.close(kill=True)
                raise

    def _loop(self, place: Executor, folder: Path) -> None:
        order = {key: i for i, key in enumerate(self.trials)}
        frameworks = list(dict.fromkeys(trial.framework for trial in self.trials.values()))

        def rank(segment: Segment) -> tuple[int, ...]:
            # One at a time: trial after trial. Several: the longest way to go first, so that no long job is left at the end,
            # framework by framework, since a worker that has loaded several grows.
            first = order[segment.keys[0]]
            if place.slots == 1:
                return (first,)
            return frameworks.index(self.trials[segment.keys[0]].framework), -segment.left, first

        def begun(trials: Mapping[Key, Trial]) -> list[_Pending]:
            roots = plan(trials, self.execution.share_prefixes, self.execution.stack)
            with self.interrupts.held():
                begin = resumed(roots, lambda family: {name: u for u, name in self.kept.branch_points(family)})
            return [_Pending(segment, rank(segment), start) for segment, start in begin]

        ready = begun(self.trials)
        if self.display is not None:
            separately = sum(trial.plan.updates for trial in self.trials.values())
            self.display.planned(updates(item.segment for item in ready), separately)
        pending: dict[Future[Any], _Pending] = {}
        shared = place.share(Work.of(self.trials, with_data=place.remote))
        elsewhere: dict[Key, Trial] = {}  # trials that another program with the same store is training
        looked = -math.inf

        while ready or pending or elsewhere:
            if elsewhere and not (ready or pending):
                time.sleep(_LOOK)
            if elsewhere and time.monotonic() - looked >= _LOOK:
                ready += begun(self._free_again(elsewhere))
                looked = time.monotonic()
            ready.sort(key=lambda item: item.rank)
            slots = place.slots  # of a cluster, counted anew
            while ready and len(pending) < slots:
                # A job on its last attempt runs alone: lost again, no neighbour was to blame, such as for the memory.
                alone = next((f for f in pending.values() if f.attempts == ATTEMPTS - 1), None)
                if alone is not None or (pending and ready[0].attempts == ATTEMPTS - 1):
                    break
                item = ready.pop(0)
                if not self._claim(item):
                    elsewhere.update((key, self.trials[key]) for key in item.segment.waiting)
                    continue
                job = self._job(item, None if place.remote else folder)
                item.began = time.monotonic()
                pending[place.submit(work, shared, job)] = item
            if not pending:
                if ready:  # a cluster without workers
                    time.sleep(_LOOK)
                continue
            patience = self._patience(pending)
            if elsewhere or place.remote:  # workers of a cluster come and go meanwhile
                patience = _LOOK if patience is None else min(patience, _LOOK)
            done, _ = wait(pending, timeout=patience, return_when=FIRST_COMPLETED)
            results: list[tuple[_Pending, Any]] = []
            for future in done:
                if future not in pending:  # the future was lost together with another
                    continue
                item = pending.pop(future)
                error = future.exception()
                if error is None:
                    results.append((item, future.result()))
                    continue
                reason = loss_of(error)
                if reason is None:
                    # An error of one job ends the run, and the results that came in the same turn would be lost with it.
                    self._store_all(results, rank)
                    raise error
                # A process pool breaks as a whole, and does not tell which job killed its worker: all its jobs are lost.
                lost = [item]
                if place.together and isinstance(error, BrokenExecutor):
                    lost += [other for f, other in pending.items() if not f.done()]
                    pending = {f: other for f, other in pending.items() if f.done()}
                ready += [f for f in lost if self._again(f, reason)]
            # One at a time: to stop a job may end its neighbours (`together`), and a neighbour that is done by now has its
            # result taken in the next turn.
            late = next((f for f, item in pending.items() if self._is_late(item) and not f.done()), None)
            if late is not None:
                item = pending.pop(late)
                place.stop(late)
                limit = self.execution.time_limit
                self._give_up(item, f"took longer than the time limit of {limit:g} seconds (--time-limit)")
                if place.together:
                    whole = {f: other for f, other in pending.items() if f.done() and f.exception() is None}
                    ready += [other for f, other in pending.items() if f not in whole]
                    pending = whole
            # New jobs begin before anything is written, so that workers do not wait for the disk.
            ready += self._store_all(results, rank)

    def _job(self, item: _Pending, folder: Path | None) -> Job:
        segment = item.segment
        key = segment.keys[0]
        name = key[0] if len(segment.keys) == 1 else f"{key[0]} and {len(segment.keys) - 1} more"
        if segment.rates is None:
            fingerprints = tuple(self.trials[k].fingerprint for k in segment.keys)
            return Job(segment.keys, fingerprints, name, folder, stack=self.execution.stack)
        start = item.start
        if isinstance(start, str):
            with self.interrupts.held():
                # The branch point may have been evicted meanwhile; then everything before is trained again.
                start = self.kept.branch_point(start)
        fingerprint = self.trials[key].fingerprint
        return Job((key,), (fingerprint,), name, folder, start, segment.stop, keep=bool(segment.then))

    def _store_all(self, results: list[tuple[_Pending, Any]], rank: Callable[[Segment], Any]) -> list[_Pending]:
        """Store the results; return the items that can begin now."""
        following: list[_Pending] = []
        for item, result in results:
            segment = item.segment
            if isinstance(result, list):
                for key, each in zip(segment.keys, result, strict=True):
                    self._store(key, each)
                continue
            progress, state = result
            for key in segment.ends if progress.diverged_at is None else segment.waiting:
                self._store(key, outcome(self.trials[key], progress))
            if state is not None and progress.diverged_at is None:
                with self.interrupts.held():
                    self.kept.keep_branch_point(segment.family, segment.prefix(segment.stop), segment.stop, state)
                # Claimed already: this program took all trials that wait for the segment when it took the segment.
                following += [_Pending(after, rank(after), state, claimed=True) for after in segment.then]
        return following

    def _store(self, key: Key, result: Outcome) -> None:
        with self.interrupts.held():
            self.kept.put(self.trials[key], result)
            if self._claims is not None:
                self._claims.done(self.trials[key].fingerprint)
            self.finished(key, result)

    def _claim(self, item: _Pending) -> bool:
        """Whether this program may train the trials of a job."""
        if self._claims is None or item.claimed:
            return True
        with self.interrupts.held():
            item.claimed = self._claims.take(self.trials[key].fingerprint for key in item.segment.waiting)
        return item.claimed

    def _free_again(self, elsewhere: dict[Key, Trial]) -> dict[Key, Trial]:
        """The unfinished trials that no program trains any more; finished trials are reported.

        Both kinds are removed from `elsewhere`.
        """
        assert self._claims is not None
        with self.interrupts.held():
            found = self.kept.get_many(elsewhere.values())
            for key, trial in list(elsewhere.items()):
                if trial.fingerprint in found:
                    del elsewhere[key]
                    self.finished(key, found[trial.fingerprint])
            theirs = self._claims.of_others(trial.fingerprint for trial in elsewhere.values())
        for process, n in Counter(theirs.values()).items():
            if process not in self._told:
                self._told.add(process)
                warnings.warn(
                    f"{n} of these trials {'is' if n == 1 else 'are'} being trained by {named(process)}, which uses the same "
                    f"store ({self.kept.name}): the outcome{'' if n == 1 else 's'} will be taken from there",
                    StoreWarning,
                    stacklevel=2,
                )
        free = {key: trial for key, trial in elsewhere.items() if trial.fingerprint not in theirs}
        for key in free:
            del elsewhere[key]
        return free

    def _again(self, item: _Pending, reason: str) -> bool:
        item.attempts += 1
        if item.attempts < ATTEMPTS:
            return True
        self._give_up(item, given_up(reason))
        return False

    def _give_up(self, item: _Pending, reason: str) -> None:
        self.reasons.update(dict.fromkeys(item.segment.waiting, reason))

    def _is_late(self, item: _Pending) -> bool:
        return self.execution.time_limit is not None and time.monotonic() - item.began > self.execution.time_limit

    def _patience(self, pending: Mapping[Future[Any], _Pending]) -> float | None:
        if self.execution.time_limit is None or not pending:
            return None
        first = min(item.began for item in pending.values())
        # A little longer, so that the next look finds the job late and not at its last millisecond.
        return max(first + self.execution.time_limit - time.monotonic(), 0.0) + 0.05


_OUT_OF_MEMORY = "not enough memory", "out of memory", "can't allocate memory", "STATUS_ALLOC_FAILED"
"""Messages of torch, on the CPU, on a GPU and in its libraries."""


def given_up(reason: str) -> str:
    """The reason for giving up a job that was lost `ATTEMPTS` times."""
    return f"{reason} {ATTEMPTS} times, the last time with nothing beside it"


def loss_of(error: BaseException) -> str | None:
    """The reason why a failed job may run again; None for a failure that would repeat."""
    if isinstance(error, BrokenExecutor):
        return "its worker process died (killed, or the machine ran out of memory: fewer --jobs need less)"
    if isinstance(error, RuntimeError) and "DataLoader worker" in str(error):
        return "a process that read its data died (killed, or the machine ran out of memory: fewer --jobs need less)"
    if isinstance(error, MemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY):
        return "ran out of memory (fewer --jobs or a smaller --batch-size need less)"
    return None


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A folder for the messages of workers; folders that a kill has left behind are cleared away, too.

    A live run holds a lock on a file in its folder. Process numbers would not suffice: containers share a folder and count their
    processes separately.
    """
    from filelock import FileLock  # loaded by runs alone

    for left in Path(tempfile.gettempdir()).glob("laju-run-*"):
        if _is_left(left / _LOCK):
            shutil.rmtree(left, ignore_errors=True)
    with (
        tempfile.TemporaryDirectory(prefix="laju-run-", ignore_cleanup_errors=True) as name,
        FileLock(Path(name) / _LOCK),
    ):
        yield Path(name)


def _is_left(lock: Path) -> bool:
    """Whether no process holds the lock of a folder; a young folder without a lock is kept, since its run is about to lock."""
    from filelock import FileLock, Timeout

    try:
        if not lock.exists():
            return time.time() - lock.parent.stat().st_mtime > _YOUNG
        with FileLock(lock, timeout=0):
            return True
    except (Timeout, OSError):
        return False
