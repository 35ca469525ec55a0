"""Shared prefixes: trials that agree up to an update share a single training run up to that update.

Schedules are values, so the update at which two schedules diverge is found exactly, by comparing their rates. The trials of a
family (same task, optimizer, seed and batch size) form a tree, and each segment of the tree is trained once; no plan trains fewer
updates.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from laju.frameworks.values import first
from laju.lab.trials import Trial
from laju.lab.trials.numerics import Numerics

Key = tuple[str, int]
Rates = npt.NDArray[np.float64]

SHORTEST = 16
"""The fewest updates of a shared segment. Starting from a branch point takes as long as a few updates, so each trial trains
shorter segments itself."""


STACK = 128
"""The largest number of trials in a job, for trials that are trained as a stack."""


@dataclass(eq=False)
class Segment:
    """The updates from `start` to `stop` of all trials in `keys`, which agree up to `stop`.

    `then` are the segments that begin at its branch point, the state of the run after `stop` updates. `ends` are the trials that
    end at `stop`. `rates` are the rates of the updates until `stop`; None if nothing is shared, in a single trial or a stack.
    """

    keys: tuple[Key, ...]
    family: str
    start: int
    stop: int
    ends: tuple[Key, ...]
    rates: Rates | None = None
    then: list[Segment] = field(default_factory=list)

    def prefix(self, update: int) -> str:
        """The name of the branch point after a number of updates, for a run of this family with these rates up to there."""
        assert self.rates is not None
        return hashlib.sha256(self.family.encode() + self.rates[:update].tobytes()).hexdigest()

    @property
    def left(self) -> int:
        """The number of updates from the segment's start to the end of its longest trial."""
        return self.stop - self.start + max((s.left for s in self.then), default=0)

    @property
    def waiting(self) -> tuple[Key, ...]:
        """The trials that end in this segment or in later segments."""
        return self.ends + tuple(key for after in self.then for key in after.waiting)

    def all(self) -> Iterable[Segment]:
        """This segment and all later segments."""
        yield self
        for segment in self.then:
            yield from segment.all()


def plan(trials: Mapping[Key, Trial], share: bool = True, stack: int | None = None) -> list[Segment]:
    """The segments that begin at update 0, with the segments that follow each.

    Args:
        trials: the trials to train.
        share: whether trials may have segments in common; trials that cannot be trained in parts never do.
        stack: the most trials in a job, for trials with numerics different from the default; by default the size of a stack.
    """
    roots: list[Segment] = []
    families: dict[str, list[Key]] = {}
    stacks: dict[tuple[Any, ...], list[Key]] = {}
    for key, trial in trials.items():
        if trial.numerics != Numerics():
            from laju.lab.engines.stack import alike

            stacks.setdefault(alike(trial), []).append(key)
        elif share and trial.shares_prefixes:
            families.setdefault(trial.family, []).append(key)
        else:
            roots.append(Segment((key,), "", 0, trial.plan.updates, (key,)))
    for together in stacks.values():
        for keys in batched(together, stack or STACK):
            roots.append(Segment(keys, "", 0, trials[keys[0]].plan.updates, keys))
    for family, members in families.items():
        runs = {key: trials[key].plan for key in members}
        rates = {key: first(trials[key].schedule.resolve(run), run.updates) for key, run in runs.items()}
        roots += _grown(family, members, rates, 0, 0)
    return roots


def batched(keys: list[Key], n: int) -> Iterator[tuple[Key, ...]]:
    """The keys in order, in groups of n; the last group has the rest."""
    for i in range(0, len(keys), n):
        yield tuple(keys[i : i + n])


def _grown(family: str, keys: list[Key], rates: dict[Key, Rates], start: int, since: int) -> list[Segment]:
    """The segments from `start` on of trials that agree up to `since`."""
    shortest = min(len(rates[key]) for key in keys)
    # Compared by bits, as branches below and `prefix` are: 0.0 and -0.0 are equal numbers of different bytes, and a prefix that
    # two trials share must have one name.
    table = np.stack([rates[key][since:shortest] for key in keys]).view(np.uint64)
    parted = (table != table[0]).any(axis=0)
    stop = since + int(parted.argmax()) if parted.any() else shortest
    ends = tuple(key for key in keys if len(rates[key]) == stop)
    branches: dict[bytes, list[Key]] = {}
    for key in keys:
        if key not in ends:
            branches.setdefault(rates[key][stop].tobytes(), []).append(key)
    if stop - start < SHORTEST and len(branches) + bool(ends) > 1:
        # Not worth a branch point: each goes on from the beginning of this segment.
        found = [segment for branch in branches.values() for segment in _grown(family, branch, rates, start, stop)]
        if ends:
            found.append(Segment(ends, family, start, stop, ends, rates[ends[0]]))
        return found
    segment = Segment(tuple(keys), family, start, stop, ends, rates[keys[0]][:stop])
    for branch in branches.values():
        segment.then += _grown(family, branch, rates, stop, stop)
    return [segment]


def updates(roots: Iterable[Segment]) -> int:
    """The number of updates that a plan trains."""
    return sum((s.stop - s.start) * (1 if s.rates is not None else len(s.keys)) for root in roots for s in root.all())


def resumed(roots: Iterable[Segment], points: Callable[[str], Mapping[str, int]]) -> list[tuple[Segment, str | None]]:
    """The segments to begin with, each with the name of the stored branch point at its beginning, or None.

    A partly trained segment begins where the trained part ended; a segment is left out if all later segments are further.

    Args:
        roots: a plan.
        points: the stored branch points of a family: updates by name.
    """
    begin: list[tuple[Segment, str | None]] = []

    def waits(segment: Segment, stored: Mapping[str, int]) -> bool:
        """Whether the segment waits for the previous segment, since no stored branch point is further."""
        # From the leaves down: a segment is left out where all that follows begins from branch points of its own, so it is
        # known last whether anybody waits for this one.
        following = segment.then
        segment.then = [after for after in following if waits(after, stored)]
        if following and not segment.then and not segment.ends:
            return False
        within = {u for u in stored.values() if segment.start < u <= segment.stop}
        found = next((u for u in sorted(within, reverse=True) if segment.prefix(u) in stored), None)
        if found is None:
            return True
        begin.append((segment, segment.prefix(found)))
        segment.start = found
        return False

    of_family = functools.cache(points)
    for root in roots:
        if waits(root, of_family(root.family) if root.rates is not None else {}):
            begin.append((root, None))
    return begin
