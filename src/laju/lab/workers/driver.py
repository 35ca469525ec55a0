"""The driver: keeps jobs running at any place, and alone writes the store.

A finished trial is stored at once. A job whose worker is lost runs again; a job that is lost again and again, or exceeds the time
limit, is left out and reported at the end, so that a bad trial does not stop the rest.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from laju.lab.engines.loop import outcome
from laju.lab.store import Claims, Store, StoreWarning
from laju.lab.store.processes import named
from laju.lab.trials import Outcome, Trial
from laju.lab.trials.progress import Channel
from laju.lab.workers.display import Display, Watching
from laju.lab.workers.execution import Execution
from laju.lab.workers.executors import Executor, InProcess, Processes
from laju.lab.workers.interrupts import Interrupts
from laju.lab.workers.job import Job, Work, work
from laju.lab.workers.prefixes import Key, Stretch, plan, resumed, updates

_LOOK = 1.0  # seconds between two checks for trials that another program has finished
_LOCK = "lock"  # of the folder of a live run
_YOUNG = 3600.0  # seconds after which a folder without a lock is taken as left behind

ATTEMPTS = 3
"""A job whose worker is lost runs again, the last time alone, in case there was too little memory for several."""


class TrialsLost(RuntimeError):
    """Trials that came to no end though the others did; `reasons` says of each why."""

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
class _Flight:
    """A job that runs, or waits to run."""

    stretch: Stretch
    rank: tuple[int, ...]
    start: bytes | str | None = None
    attempts: int = 0
    began: float = 0.0
    claimed: bool = False


@dataclass
class Driver:
    """Runs trials that are not in the store yet.

    Args:
        trials: different ones, by (display name, seed).
        finished: is called with every outcome, once the outcome is in the store.
        kept: keeps outcomes and branch points.
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
        """Train all; afterwards, trials without an outcome are in `reasons`."""
        if not self.trials:
            return
        with ExitStack() as stack:
            folder = Path(stack.enter_context(_temporary_folder()))
            self._claims = self.kept.claims()
            if self._claims is not None:
                stack.enter_context(self._claims)
            place = self._place(folder)
            stack.enter_context(Watching(Channel(folder), self.display))
            try:
                self._loop(place, folder)
                place.close()
            except BaseException:
                place.close(kill=True)
                raise

    def _place(self, folder: Path) -> Executor:
        if (cluster := self.execution.cluster()) is not None:
            return cluster()
        jobs = min(self.execution.slots, len(self.trials))
        if jobs == 1 and self.execution.time_limit is None:
            return InProcess()
        return Processes(jobs, folder, self.interrupts)

    def _loop(self, place: Executor, folder: Path) -> None:
        order = {key: i for i, key in enumerate(self.trials)}
        frameworks = list(dict.fromkeys(trial.framework for trial in self.trials.values()))

        def rank(stretch: Stretch) -> tuple[int, ...]:
            # One at a time: trial after trial. Several: the longest way to go first, so that no long job is left at the end,
            # framework by framework, since a worker that has loaded several grows.
            first = order[stretch.keys[0]]
            if place.slots == 1:
                return (first,)
            return frameworks.index(self.trials[stretch.keys[0]].framework), -stretch.left, first

        def begun(trials: Mapping[Key, Trial]) -> list[_Flight]:
            roots = plan(trials, self.execution.share_prefixes, self.execution.stack)
            with self.interrupts.held():
                begin = resumed(roots, lambda family: {name: u for u, name in self.kept.branch_points(family)})
            return [_Flight(stretch, rank(stretch), start) for stretch, start in begin]

        ready = begun(self.trials)
        if self.display is not None:
            separately = sum(trial.plan.updates for trial in self.trials.values())
            self.display.planned(updates(flight.stretch for flight in ready), separately)
        flying: dict[Future[Any], _Flight] = {}
        shared = place.share(Work.of(self.trials, with_data=place.remote))
        elsewhere: dict[Key, Trial] = {}  # trials that another program with the same store is training
        looked = -math.inf

        while ready or flying or elsewhere:
            if elsewhere and not (ready or flying):
                time.sleep(_LOOK)
            if elsewhere and time.monotonic() - looked >= _LOOK:
                ready += begun(self._free_again(elsewhere))
                looked = time.monotonic()
            ready.sort(key=lambda flight: flight.rank)
            while ready and len(flying) < place.slots:
                # A job on its last attempt runs alone: lost again, no neighbour was to blame, such as for the memory.
                alone = next((f for f in flying.values() if f.attempts == ATTEMPTS - 1), None)
                if alone is not None or (flying and ready[0].attempts == ATTEMPTS - 1):
                    break
                flight = ready.pop(0)
                if not self._claim(flight):
                    elsewhere.update((key, self.trials[key]) for key in flight.stretch.waiting)
                    continue
                job = self._job(flight, None if place.remote else folder)
                flight.began = time.monotonic()
                flying[place.submit(work, shared, job)] = flight
            if not flying:
                continue
            patience = self._patience(flying)
            if elsewhere:
                patience = _LOOK if patience is None else min(patience, _LOOK)
            done, _ = wait(flying, timeout=patience, return_when=FIRST_COMPLETED)
            landed: list[tuple[_Flight, Any]] = []
            for future in done:
                if future not in flying:  # the future was lost together with another
                    continue
                flight = flying.pop(future)
                error = future.exception()
                if error is None:
                    landed.append((flight, future.result()))
                    continue
                reason = loss_of(error)
                if reason is None:
                    self._land_all(landed, rank)
                    raise error
                # A process pool breaks as a whole, and does not tell which job killed its worker: all its jobs are lost.
                lost = [flight]
                if place.together and isinstance(error, BrokenExecutor):
                    lost += [other for f, other in flying.items() if not f.done()]
                    flying = {f: other for f, other in flying.items() if f.done()}
                ready += [f for f in lost if self._again(f, reason)]
            late = next((f for f, flight in flying.items() if self._is_late(flight) and not f.done()), None)
            if late is not None:
                flight = flying.pop(late)
                place.stop(late)
                limit = self.execution.time_limit
                self._give_up(flight, f"took longer than the time limit of {limit:g} seconds (--time-limit)")
                if place.together:
                    ready += [other for f, other in flying.items() if not f.done()]
                    flying = {f: other for f, other in flying.items() if f.done()}
            # New jobs begin before anything is written, so that workers do not wait for the disk.
            ready += self._land_all(landed, rank)

    def _job(self, flight: _Flight, folder: Path | None) -> Job:
        stretch = flight.stretch
        key = stretch.keys[0]
        name = key[0] if len(stretch.keys) == 1 else f"{key[0]} and {len(stretch.keys) - 1} more"
        if stretch.rates is None:
            fingerprints = tuple(self.trials[k].fingerprint for k in stretch.keys)
            return Job(stretch.keys, fingerprints, name, folder, stack=self.execution.stack)
        start = flight.start
        if isinstance(start, str):
            with self.interrupts.held():
                # The branch point may have been evicted meanwhile; then everything before is trained again.
                start = self.kept.branch_point(start)
        fingerprint = self.trials[key].fingerprint
        return Job((key,), (fingerprint,), name, folder, start, stretch.stop, keep=bool(stretch.then))

    def _land_all(self, landed: list[tuple[_Flight, Any]], rank: Callable[[Stretch], Any]) -> list[_Flight]:
        """Store the results; return the flights that can begin now."""
        following: list[_Flight] = []
        for flight, result in landed:
            stretch = flight.stretch
            if isinstance(result, list):
                for key, each in zip(stretch.keys, result, strict=True):
                    self._store(key, each)
                continue
            progress, state = result
            for key in stretch.ends if progress.diverged_at is None else stretch.waiting:
                self._store(key, outcome(self.trials[key], progress))
            if state is not None and progress.diverged_at is None:
                with self.interrupts.held():
                    self.kept.keep_branch_point(stretch.family, stretch.prefix(stretch.stop), stretch.stop, state)
                following += [_Flight(after, rank(after), state, claimed=True) for after in stretch.then]
        return following

    def _store(self, key: Key, result: Outcome) -> None:
        with self.interrupts.held():
            self.kept.put(self.trials[key], result)
            if self._claims is not None:
                self._claims.done(self.trials[key].fingerprint)
            self.finished(key, result)

    def _claim(self, flight: _Flight) -> bool:
        """Whether this program may train the trials of a job."""
        if self._claims is None or flight.claimed:
            return True
        with self.interrupts.held():
            flight.claimed = self._claims.take(self.trials[key].fingerprint for key in flight.stretch.waiting)
        return flight.claimed

    def _free_again(self, elsewhere: dict[Key, Trial]) -> dict[Key, Trial]:
        """The unfinished trials that nobody trains any more; finished trials are reported.

        Both are taken out of `elsewhere`.
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

    def _again(self, flight: _Flight, reason: str) -> bool:
        flight.attempts += 1
        if flight.attempts < ATTEMPTS:
            return True
        self._give_up(flight, given_up(reason))
        return False

    def _give_up(self, flight: _Flight, reason: str) -> None:
        self.reasons.update(dict.fromkeys(flight.stretch.waiting, reason))

    def _is_late(self, flight: _Flight) -> bool:
        return self.execution.time_limit is not None and time.monotonic() - flight.began > self.execution.time_limit

    def _patience(self, flying: Mapping[Future[Any], _Flight]) -> float | None:
        if self.execution.time_limit is None or not flying:
            return None
        first = min(flight.began for flight in flying.values())
        return max(first + self.execution.time_limit - time.monotonic(), 0.0) + 0.05


_OUT_OF_MEMORY = "not enough memory", "out of memory", "can't allocate memory", "STATUS_ALLOC_FAILED"
"""Messages of torch, on the CPU, on a GPU and in its libraries."""


def given_up(reason: str) -> str:
    """Why a job is given up that was lost `ATTEMPTS` times."""
    return f"{reason} {ATTEMPTS} times, the last time with nothing beside it"


def loss_of(error: BaseException) -> str | None:
    """Why a job that failed may run again; None for a failure that would repeat."""
    if isinstance(error, BrokenExecutor):
        return "its worker process died (killed, or the machine ran out of memory: fewer --jobs need less)"
    if isinstance(error, RuntimeError) and "DataLoader worker" in str(error):
        return "a process that read its data died (killed, or the machine ran out of memory: fewer --jobs need less)"
    if isinstance(error, MemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY):
        return "ran out of memory (fewer --jobs or a smaller --batch-size need less)"
    return None


class _temporary_folder:
    """A folder for the messages of workers; folders that a kill has left behind are cleared away, too.

    A live run holds a lock on a file in its folder. Process numbers would not do: containers share a folder and count their
    processes separately.
    """

    def __enter__(self) -> str:
        from filelock import FileLock  # loaded by runs alone

        base = Path(tempfile.gettempdir())
        for left in base.glob("laju-run-*"):
            if _is_left(left / _LOCK):
                shutil.rmtree(left, ignore_errors=True)
        self._folder = tempfile.TemporaryDirectory(prefix="laju-run-", ignore_cleanup_errors=True)
        self._lock = FileLock(Path(self._folder.name) / _LOCK)
        self._lock.acquire()
        return self._folder.name

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        self._folder.cleanup()


def _is_left(lock: Path) -> bool:
    """Whether nobody holds the lock of a folder; a young folder without a lock is left alone, since its run is about to lock."""
    from filelock import FileLock, Timeout

    try:
        if not lock.exists():
            return time.time() - lock.parent.stat().st_mtime > _YOUNG
        with FileLock(lock, timeout=0):
            return True
    except (Timeout, OSError):
        return False
