"""Averages of weights as values: the share of each checkpoint of a run, and the learning-rate decay that an average imitates.

SGD moves the weights by -(learning rate)·gradient. In a mean of checkpoints with shares c, update i has the factor Σ c over the
checkpoints after i. If the gradients are the same, the mean of checkpoints is therefore the final point of a run whose learning
rate is multiplied by that factor: averaging imitates a decay, and a decay imitates an average.
"""

from __future__ import annotations

import abc
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from laju.core.checks import nearest, number, sequence, shown, whole
from laju.core.pieces import Constant
from laju.core.schedule import Schedule
from laju.core.units import Length, RunPlan, nearest_update, span
from laju.policies import piecewise_constant
from laju.text.spec import parse as parse_schedule

Array = npt.NDArray[np.float64]


class Average(abc.ABC):
    """Base class of averages: a rule that gives each checkpoint of a run its share in a mean.

    Averages are immutable, compared by their fields, and `str` gives the text that `parse` reads.
    """

    def weights(self, at: Iterable[int], trunk: Schedule | None = None) -> Array:
        """The share of each checkpoint in the mean, in the order of `at`; shares sum to 1.

        Args:
            at: completed updates of each checkpoint, increasing. The average is taken at the last checkpoint.
            trunk: learning-rate schedule of the run that wrote the checkpoints; used only by a `Cooldown`.

        Raises:
            ValueError: if updates do not increase, or the window is longer than the run.
        """
        return self._weights(_updates(at), trunk)

    @abc.abstractmethod
    def _weights(self, at: npt.NDArray[np.int64], trunk: Schedule | None) -> Array:
        """The shares of checkpoints whose updates are checked."""

    @abc.abstractmethod
    def begins(self, total: int) -> int:
        """Completed updates of the first checkpoint with a share in the average after `total` updates.

        >>> Tail(200).begins(1000), Latest(3).begins(1000), EMA(0.99).begins(1000)
        (801, 998, 1)
        """

    def resolve(self, plan: RunPlan) -> Self:
        """The average with every length converted to updates of the planned run."""
        return self


@dataclass(frozen=True, repr=False)
class EMA(Average):
    """Exponential moving average: after each update, average ← decay·average + (1 - decay)·weights.

    The average starts at the first checkpoint, as in `torch.optim.swa_utils.get_ema_multi_avg_fn`. Between checkpoints that are n
    updates apart, the average decays by decay^n, so the effect of `decay` does not depend on how many checkpoints are kept.
    Elsewhere: model EMA, Polyak averaging with exponential weights.

    Args:
        decay: factor of the old average at each update, above 0 and below 1; the average covers about 1/(1 - decay) updates.

    >>> EMA(0.5).weights([1, 2, 3])
    array([0.25, 0.25, 0.5 ])
    >>> EMA(0.5)
    EMA(0.5)
    >>> str(EMA(0.5))
    'ema:0.5'
    """

    decay: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "decay", number("decay", self.decay, above=0, below=1))

    def _weights(self, at: npt.NDArray[np.int64], trunk: Schedule | None) -> Array:
        # The average as of a checkpoint, that checkpoint included, has decayed to decay^(T - t) in the end; the share of the
        # checkpoint alone is the difference to the one before. The last is 1, so the shares sum to 1 without a division.
        left = self.decay ** (at[-1] - at).astype(np.float64)
        return np.diff(left, prepend=0.0)

    def begins(self, total: int) -> int:
        return min(1, total)

    def __repr__(self) -> str:
        return f"EMA({self.decay!r})"

    def __str__(self) -> str:
        return f"ema:{self.decay!r}"


@dataclass(frozen=True, repr=False)
class Tail(Average):
    """Equal shares for all checkpoints of the last `length` updates (Polyak–Ruppert tail averaging; SWA on a plateau).

    Checkpoints after more than T - length completed updates have a share; T is the number of updates at the last checkpoint.

    Source: Polyak and Juditsky, 1992; Izmailov et al., arXiv 1803.05407.

    Args:
        length: number of updates, or text such as "20%" (of the run until the last checkpoint) or "2 epochs".

    >>> Tail(200).weights([700, 800, 900, 1000])
    array([0. , 0. , 0.5, 0.5])
    >>> str(Tail("20%"))
    'tail:20%'
    """

    length: int | str | Length

    def __post_init__(self) -> None:
        object.__setattr__(self, "length", span("length", self.length))

    def _weights(self, at: npt.NDArray[np.int64], trunk: Schedule | None) -> Array:
        inside = at >= self.begins(int(at[-1]))
        return inside / float(inside.sum())

    def begins(self, total: int) -> int:
        return total - self._within(_in_run("length", self.length, total), total) + 1

    def resolve(self, plan: RunPlan) -> Self:
        if not isinstance(self.length, Length):
            return self
        return type(self)(self._within(max(1, nearest_update(plan.scale.updates(self.length))), plan.updates))

    def _within(self, updates: int, total: int) -> int:
        if updates > total:
            raise ValueError(f"length must be at most the {total:,} updates of the run, got {shown(str(self.length))}")
        return updates

    def __repr__(self) -> str:
        return f"Tail({str(self.length) if isinstance(self.length, Length) else self.length!r})"

    def __str__(self) -> str:
        return f"tail:{self.length}"


@dataclass(frozen=True, repr=False)
class Latest(Average):
    """Equal shares for the latest `count` checkpoints (LAWA: latest weight averaging).

    Source: Kaddour, arXiv 2209.14981.

    Args:
        count: number of checkpoints, at least 1.

    >>> Latest(2).weights([700, 800, 900, 1000])
    array([0. , 0. , 0.5, 0.5])
    >>> str(Latest(2))
    'latest:2'
    """

    count: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "count", whole("count", self.count, least=1))

    def _weights(self, at: npt.NDArray[np.int64], trunk: Schedule | None) -> Array:
        if self.count > len(at):
            raise ValueError(f"count must be at most the number of checkpoints, {len(at)}, got {self.count}")
        return (np.arange(len(at)) >= len(at) - self.count) / self.count

    def begins(self, total: int) -> int:
        if self.count > total:
            raise ValueError(f"count must be at most the {total:,} updates of the run, got {self.count}")
        return total - self.count + 1

    def __repr__(self) -> str:
        return f"Latest({self.count})"

    def __str__(self) -> str:
        return f"latest:{self.count}"


@dataclass(frozen=True, repr=False)
class Cooldown(Average):
    """The mean of checkpoints that imitates a cooldown without training the cooldown (WSM: warmup, stable, merge).

    For checkpoints t₁ < … < tₙ = T, F is the mean of the cooldown's factor on the trunk's learning rate between two neighbouring
    checkpoints, weighted by the trunk's learning rate; F = 1 before t₁, and F = 0 after T. Checkpoint tₖ gets the share
    c(tₖ) = F(before tₖ) - F(after tₖ). With a checkpoint after each update of the cooldown, SGD with the same gradients ends
    exactly at the merged weights.

    Source: Tian et al., "WSM: Decay-Free Learning Rate Schedule via Checkpoint Merging", arXiv 2507.17634.

    Args:
        schedule: learning rate of the cooldown from its first update on; the cooldown ends at the last checkpoint. With a trunk,
            values are absolute learning rates; without a trunk, the trunk is constant at the cooldown's first learning rate, and
            only the shape counts. Lengths in percent are relative to the run until the last checkpoint.

    Raises:
        ValueError: if the cooldown has no end.

    >>> from laju import linear
    >>> Cooldown(linear(1, 0, total=4)).weights([96, 97, 98, 99, 100])
    array([0.  , 0.25, 0.25, 0.25, 0.25])
    >>> Cooldown(linear(1, 0, total=400)).weights([9600, 9800, 10000])
    array([0.24875, 0.5    , 0.25125])
    """

    schedule: Schedule

    def __post_init__(self) -> None:
        if not isinstance(self.schedule, Schedule):
            raise TypeError(f"schedule must be a Schedule such as linear(1, 0, total=2000), got {shown(self.schedule)}")
        if self.schedule.length is None:
            raise ValueError(
                f"schedule must have an end, such as linear(1, 0, total=2000), got {shown(str(self.schedule))}"
            )

    def factors(self, total: int, trunk: Schedule | None = None) -> Array:
        """The factor of the cooldown on the trunk's learning rate at each update of the cooldown, up to update `total - 1`.

        Raises:
            ValueError: if the cooldown is longer than the run, the trunk's learning rate is 0 in the cooldown, or the cooldown
                begins at 0 and there is no trunk.

        >>> from laju import linear
        >>> Cooldown(linear(3e-3, 0, total=4)).factors(100)
        array([1.  , 0.75, 0.5 , 0.25])
        """
        schedule = _in_updates(self.schedule, total)
        length = whole("the cooldown's length", schedule.length, least=1)
        if length > total:
            raise ValueError(
                f"the cooldown {shown(str(self.schedule))} has {length:,} updates, which is more than the run's {total:,}"
            )
        rates = schedule.values(length)
        if trunk is None:
            if rates[0] == 0:
                raise ValueError(
                    f"the cooldown must begin above 0, or a trunk must be given, got {shown(str(self.schedule))}"
                )
            return np.asarray(rates / rates[0])
        before = _trunk(trunk, total - length, total)
        if not (before > 0).all():
            raise ValueError(
                f"trunk must have a learning rate above 0 in the last {length:,} of {total:,} updates, got {shown(str(trunk))}"
            )
        return np.asarray(rates / before)

    def _weights(self, at: npt.NDArray[np.int64], trunk: Schedule | None) -> Array:
        means = self._means(at, trunk)
        # 0 - x and not -x, which would make -0.0 of the share 0.
        return np.asarray(0.0 - np.diff(means, prepend=1.0, append=0.0))

    def _means(self, at: npt.NDArray[np.int64], trunk: Schedule | None) -> Array:
        """The mean factor between each two checkpoints; shape (checkpoints - 1,)."""
        first, last = int(at[0]), int(at[-1])
        if len(at) == 1:
            return np.empty(0)
        factors = self._between(first, last, trunk)
        # The mean of one update is its factor, where rate·factor / rate may be off by a rounding.
        if len(factors) == len(at) - 1:  # a checkpoint after each update
            return factors
        rates = np.ones(len(factors)) if trunk is None else _trunk(trunk, first, last)
        places = at[:-1] - first
        return np.asarray(np.add.reduceat(rates * factors, places) / np.add.reduceat(rates, places))

    def _between(self, first: int, last: int, trunk: Schedule | None) -> Array:
        """The factors of the updates first ≤ i < last; 1 before the cooldown."""
        factors = self.factors(last, trunk)
        before = last - first - len(factors)
        return np.concatenate([np.ones(before), factors]) if before >= 0 else factors[-before:]

    def distance(self, at: Iterable[int], trunk: Schedule | None = None) -> float:
        """The largest difference between the learning rate of the cooldown and the learning rate that the merge imitates.

        The difference is relative to the trunk's learning rate: 0 with a checkpoint after each update of the cooldown; with fewer
        checkpoints, about half of the largest step of the factor between neighbouring checkpoints.

        Args:
            at: completed updates of each checkpoint, increasing.
            trunk: learning-rate schedule of the run that wrote the checkpoints; constant by default.

        >>> from laju import linear
        >>> round(Cooldown(linear(1, 0, total=400)).distance([9600, 9700, 9800, 9900, 10000]), 4)
        0.1238
        """
        updates = _updates(at)
        first, last = int(updates[0]), int(updates[-1])
        begin = min(first, last - len(self.factors(last, trunk)))
        wanted = self._between(begin, last, trunk)
        means = np.repeat(self._means(updates, trunk), np.diff(updates))
        return float(np.abs(wanted - np.concatenate([np.ones(first - begin), means])).max(initial=0.0))

    def begins(self, total: int) -> int:
        return total - len(self.factors(total))

    def resolve(self, plan: RunPlan) -> Self:
        return type(self)(self.schedule.resolve(plan))

    def __repr__(self) -> str:
        return f"Cooldown({self.schedule!r})"

    def __str__(self) -> str:
        return str(self.schedule)


def weights(schedule: Schedule, at: Iterable[int], trunk: Schedule | None = None) -> Array:
    """The shares of checkpoints whose mean imitates a cooldown, in the order of `at`; see `Cooldown` for the formula.

    Args:
        schedule: learning rate of the cooldown from its first update on.
        at: completed updates of each checkpoint, increasing; the cooldown ends at the last checkpoint.
        trunk: learning-rate schedule of the run that wrote the checkpoints; constant by default.

    Raises:
        ValueError: if updates do not increase, or the cooldown is longer than the run.

    >>> from laju import linear
    >>> weights(linear(1, 0, total=2000), at=[8000, 8500, 9000, 9500, 10000])
    array([0.12475, 0.25   , 0.25   , 0.25   , 0.12525])
    """
    return Cooldown(schedule).weights(at, trunk)


def imitated(shares: Iterable[float], at: Iterable[int], trunk: Schedule | None = None) -> Schedule:
    """The learning-rate schedule that an average imitates: with the same gradients, SGD ends at the averaged weights.

    Args:
        shares: shares of the checkpoints, as returned by `Average.weights`.
        at: completed updates of each checkpoint, increasing.
        trunk: learning-rate schedule of the run that wrote the checkpoints; by default the constant 1.

    Raises:
        ValueError: if there is not one share per checkpoint, or the shares do not sum to 1.

    >>> imitated(Latest(4).weights([7, 8, 9, 10]), [7, 8, 9, 10]).values(10)
    array([1.  , 1.  , 1.  , 1.  , 1.  , 1.  , 1.  , 0.75, 0.5 , 0.25])
    """
    updates = _updates(at)
    given = np.asarray(sequence("shares", shares, "[0.5, 0.5]"), dtype=np.float64)
    if given.shape != updates.shape or not np.isfinite(given).all() or abs(given.sum() - 1) > 1e-9:
        raise ValueError(
            f"shares must be {len(updates)} numbers, one per checkpoint, that sum to 1, got {shown(list(given))}"
        )
    left = np.concatenate([1.0 - np.cumsum(given)[:-1], [0.0]])
    where = [(int(update), float(factor)) for update, factor in zip(updates, left, strict=True)]
    begin = 1.0
    if where[0][0] == 0:
        begin = where.pop(0)[1]
    factors = (
        piecewise_constant([update for update, _ in where], [begin, *(factor for _, factor in where)])
        if where
        else Constant(begin)
    )
    return factors if trunk is None else trunk * factors


KINDS: dict[str, Callable[[Any], Average]] = {"ema": EMA, "tail": Tail, "latest": Latest}


def parse(text: str) -> Average:
    """Read an average: `ema:DECAY`, `tail:LENGTH`, `latest:COUNT`, or the schedule of a cooldown.

    Raises:
        ValueError: for any other text.

    >>> parse("ema:0.999"), parse("tail:20%"), parse("latest:5")
    (EMA(0.999), Tail('20%'), Latest(5))
    >>> parse("linear(1, 0, total=2000)")
    Cooldown(linear(1, 0, total=2000))
    """
    if not isinstance(text, str):
        raise TypeError(f"average must be text such as 'ema:0.999', got {shown(text)}")
    kind, colon, value = text.partition(":")
    kind, value = kind.strip().lower(), value.strip()
    wanted = "an average is ema:DECAY, tail:LENGTH, latest:COUNT, or the SCHEDULE of a cooldown"
    if kind in KINDS:
        if not value:
            raise ValueError(f"{wanted}, got {shown(text)}")
        argument: Any = value
        if kind != "tail":
            try:
                argument = int(value) if re.fullmatch(r"[-+]?\d+", value) else float(value)
            except ValueError:
                raise ValueError(f"{wanted}, got {shown(text)}: {shown(value)} is not a number") from None
        return KINDS[kind](argument)
    if colon and kind.isalpha():
        raise ValueError(f"{wanted}, got {shown(text)}{nearest(kind, KINDS)}")
    return Cooldown(parse_schedule(text))


def _updates(at: Iterable[int]) -> npt.NDArray[np.int64]:
    if isinstance(at, np.ndarray):
        at = at.tolist()
    found = [whole(f"at[{i}]", update) for i, update in enumerate(sequence("at", at, "[8000, 9000, 10000]"))]
    if not found:
        raise ValueError("at must have at least one checkpoint's update, got none")
    if max(found) >= 2**62:
        raise ValueError(f"at must be below 2**62, got {shown(max(found))}")
    for before, after in pairwise(found):
        if before >= after:
            raise ValueError(f"at must increase, got {before} before {after}")
    return np.asarray(found, dtype=np.int64)


def _in_run(name: str, length: Any, total: int) -> int:
    """A length in updates; percent are of the run so far."""
    if not isinstance(length, Length):
        return int(length)
    if {unit for unit, _ in length.terms} - {"%", "updates"}:
        raise ValueError(
            f"{name} {str(length)!r} needs a RunPlan: call .resolve(plan), or give the length in updates or percent"
        )
    return max(1, nearest_update(_percent(total).scale.updates(length)))


def _in_updates(schedule: Schedule, total: int) -> Schedule:
    if schedule.units and schedule.units <= {"%", "updates"}:
        return schedule.resolve(_percent(total))
    schedule.require_resolved()
    return schedule


def _percent(total: int) -> RunPlan:
    return RunPlan(samples=max(total, 1), batch_size=1, epochs=1)


def _trunk(trunk: Schedule, first: int, last: int) -> Array:
    if not isinstance(trunk, Schedule):
        raise TypeError(f"trunk must be a Schedule such as constant(0.1), got {shown(trunk)}")
    return _in_updates(trunk, last).values(last - first, first)
