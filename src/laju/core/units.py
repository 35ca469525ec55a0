"""Lengths in epochs, tokens, samples or percent of the run, and the run plan that converts lengths to updates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Protocol, TypeVar

from laju.core import limits
from laju.core.checks import flag, is_finite, is_number, shown, time, whole

UNITS = ("updates", "epochs", "%", "samples", "tokens")
SYNONYMS = {
    **{u: u for u in UNITS},
    **{u[:-1]: u for u in UNITS if u != "%"},
    "percent": "%",
    "step": "updates",
    "steps": "updates",
    "iterations": "updates",
}
MULTIPLES = {"k": 10**3, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
"""Multipliers between a number and its unit, as in 2B tokens."""
_TERM = re.compile(
    r"\s*([+-]?)\s*(\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)"
    rf"(?:\s*([{''.join(MULTIPLES)}])(?![A-Za-z]))?\s*(%|[A-Za-z]+)?\s*"
)


T = TypeVar("T", covariant=True)


class _Resolvable(Protocol[T]):
    def resolve(self, plan: RunPlan) -> T: ...


class UnresolvedError(ValueError):
    """Error of a schedule with lengths in epochs, tokens or percent that was called before a `RunPlan` resolved its lengths."""


def unit(name: object) -> str:
    """The canonical name of a unit: `unit("epoch")` is `"epochs"`."""
    if not isinstance(name, str) or name not in SYNONYMS:
        raise ValueError(f"unit must be one of {', '.join(UNITS)}, got {name!r}")
    return SYNONYMS[name]


@dataclass(frozen=True)
class Length:
    """A length of time in units that only a run can turn into updates: a sum such as `90 epochs - 500 updates`.

    Lengths add, subtract and scale; `terms` holds the amounts by unit, in a fixed order and without zeros.

    >>> as_length("90 epochs") - as_length("500 updates")
    Length('90 epochs - 500 updates')
    """

    terms: tuple[tuple[str, Fraction], ...]

    @staticmethod
    def of(amounts: Mapping[str, Fraction]) -> Length | int | float:
        """The length with these amounts; a plain number when only updates are left."""
        terms = tuple((u, amounts[u]) for u in (*UNITS[1:], UNITS[0]) if amounts.get(u))
        if all(u == "updates" for u, _ in terms):
            total = amounts.get("updates", Fraction(0))
            return int(total) if total.denominator == 1 else float(total)
        return Length(terms)

    @property
    def single(self) -> Fraction | None:
        """The amount if the length has a single unit, else None."""
        return self.terms[0][1] if len(self.terms) == 1 else None

    def _combine(self, other: Any, sign: int) -> Any:
        if isinstance(other, Length):
            more = dict(other.terms)
        elif isinstance(other, int | float):
            more = {"updates": Fraction(other)}
        else:
            return NotImplemented
        amounts = dict(self.terms)
        for name, amount in more.items():
            amounts[name] = amounts.get(name, Fraction(0)) + sign * amount
        return Length.of(amounts)

    def __add__(self, other: Any) -> Any:
        return self._combine(other, 1)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return self._combine(other, -1)

    def __rsub__(self, other: Any) -> Any:
        return (self * -1) + other

    def __mul__(self, by: Any) -> Any:
        return Length.of({u: a * Fraction(by) for u, a in self.terms})

    __rmul__ = __mul__

    def __str__(self) -> str:
        text = ""
        for name, amount in self.terms:
            sign = ("-" if amount < 0 else "") if not text else (" - " if amount < 0 else " + ")
            text += sign + _decimal(abs(amount)) + ("%" if name == "%" else f" {name}")
        return text

    def __repr__(self) -> str:
        return f"Length({str(self)!r})"


def _decimal(amount: Fraction) -> str:
    """The shortest decimal that reads back as the same amount."""
    if amount.denominator == 1:
        return str(amount.numerator)
    rest = amount.denominator
    twos = fives = 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    # A denominator with another prime factor than 2 and 5 has no finite decimal.
    if rest != 1:
        return repr(float(amount))
    digits = max(twos, fives)
    scaled = str(amount.numerator * 10**digits // amount.denominator).rjust(digits + 1, "0")
    return f"{scaled[:-digits]}.{scaled[-digits:]}"


def as_length(value: str | Length | int | float) -> Length | int | float:
    """Read a length: a sum of numbers with units; a number may end with k (thousands), M, B or T (millions to trillions).

    >>> as_length("2B tokens"), as_length("1.5e9 tokens"), as_length("90 epochs - 500 updates")
    (Length('2000000000 tokens'), Length('1500000000 tokens'), Length('90 epochs - 500 updates'))
    >>> as_length("10k updates")
    10000
    """
    if not isinstance(value, str):
        return value
    if len(value) > limits.LENGTH_TEXT:
        raise ValueError("a length is a short text such as '5 epochs'")
    position, amounts = 0, dict[str, Fraction]()
    while position < len(value):
        match = _TERM.match(value, position)
        if match is None or match.end() == position or (position and not match[1]):
            raise ValueError(f"cannot read {value[position:]!r} as a number and a unit ({', '.join(UNITS)})")
        sign, digits, multiple, name = match.groups()
        if name is not None and name not in SYNONYMS:
            multiples = "; thousands are k, millions M, billions B, trillions T" if name.upper() in MULTIPLES else ""
            raise ValueError(f"unknown unit {name!r}; units are {', '.join(UNITS)}{multiples}")
        if multiple and (name is None or SYNONYMS[name] == "%"):  # 2B alone may mean tokens, and would be updates
            raise ValueError(
                f"say what {digits}{multiple} counts, as in '{digits}{multiple} tokens' or '{digits}{multiple} updates'"
            )
        # Looked at before a Fraction is made: that of "1e999999999" would have as many digits.
        if abs(int(re.search(r"[eE]([+-]?\d+)", digits)[1]) if re.search(r"[eE]", digits) else 0) > 30:  # type: ignore[index]
            raise ValueError(f"{digits} is out of range")
        amount = Fraction(digits) * MULTIPLES.get(multiple, 1) * (-1 if sign == "-" else 1)
        key = SYNONYMS[name or "updates"]
        amounts[key] = amounts.get(key, Fraction(0)) + amount
        position = match.end()
    if not amounts:
        raise ValueError("it is empty")
    return Length.of(amounts)


Span = int | float | str | Length
"""A length in the user's form: updates, or text with a unit."""


def updates(name: str, value: Any, *, zero: bool = True, real: bool = False, optional: bool = False) -> Any:
    """A length: a whole number of updates (with `real`, any number), or text with a unit, which becomes a `Length`."""
    if value is None and optional:
        return None
    least = "0 or more" if zero else "at least 1"
    wanted = f"a whole number of updates, {least}, or text such as '5 epochs' or '10%'"
    if isinstance(value, str | Length):
        try:
            found = as_length(value)
        except ValueError as error:
            raise ValueError(f"{name} must be {wanted}, got {shown(value)}: {error}") from None
        if isinstance(found, Length):
            for name_of_unit, amount in found.terms:
                time(f"the {name_of_unit} of {name}", amount)
            if found.single is not None and not (found.single > 0 or (zero and found.single == 0)):
                raise ValueError(f"{name} must be {wanted}, got {shown(str(found))}")
            return found
        value = found
    if not is_number(value):
        raise TypeError(f"{name} must be {wanted}, got {shown(value)}")
    if not is_finite(value) or value < 0 or (value == 0 and not zero):
        raise ValueError(f"{name} must be {wanted}, got {shown(value)}")
    time(name, value)
    if value == int(value):
        return int(value)
    if not real:
        raise ValueError(f"{name} must be {wanted}, got {shown(value)}")
    return float(value)


def span(name: str, value: Any, *, zero: bool = False) -> Any:
    """A required length: updates, or text with a unit; None is refused."""
    if value is None:
        raise TypeError(f"{name} must be a length such as 100 or '5 epochs', got None")
    return updates(name, value, zero=zero)


def plain(length: Any) -> Any:
    """A length in the user's form: text for a length in units."""
    return str(length) if isinstance(length, Length) else length


@dataclass(frozen=True)
class Scale:
    """The updates in each unit, as exact fractions; absent units are unknown for the run."""

    per: tuple[tuple[str, Fraction], ...]
    known: dict[int, Any] = field(default_factory=dict, compare=False, repr=False)
    """Schedules already resolved by this scale: id(schedule) → (schedule, result), as a kept schedule keeps its identity."""

    def updates(self, length: Length | int | float) -> Fraction:
        """A length in updates, exactly (not yet rounded)."""
        if not isinstance(length, Length):
            return Fraction(length)
        known = dict(self.per)
        for name, _ in length.terms:
            if name not in known:
                raise UnresolvedError(f"{str(length)!r} cannot be turned into updates: {_MISSING[name]}")
        return sum((known[name] * amount for name, amount in length.terms), Fraction(0))

    def counted_in(self, name: str) -> Scale:
        """The same run on a clock that counts the named unit, such as epochs, instead of updates."""
        unit_length = self.updates(Length(((name, Fraction(1)),)))
        per = {**dict(self.per), "updates": unit_length}  # its own numbers count the named unit
        return Scale(tuple((u, n / unit_length) for u, n in per.items()))


_MISSING = {
    "epochs": "the plan has no samples, so it does not know how long an epoch is",
    "%": "the plan does not say how long the run is",
    "samples": "the plan has no batch_size",
    "tokens": "the plan has no tokens_per_sample",
    "updates": "a length that mixes updates with data is not known under a batch_ramp",
}


@dataclass(frozen=True)
class RunPlan:
    """The properties of a run that convert epochs, tokens, samples and percentages to updates.

    An epoch has ceil(samples / (batch_size·accumulate·world_size)) updates (the floor, with `drop_last`).

    Args:
        samples: training examples per epoch.
        batch_size: examples per micro-batch and process.
        epochs: passes over the data.
        accumulate: micro-batches per update (gradient accumulation); 1 by default.
        world_size: data-parallel processes; 1 by default.
        drop_last: whether an incomplete last batch of an epoch is left out.
        tokens_per_sample: tokens per example, required for lengths in tokens.
        batch_ramp: later batch sizes, each with its first position, in samples, tokens, epochs or percent of the
            data: `[("1e6 samples", 512), ("10%", 1024)]`. A batch may then span two epochs, and every unit but
            updates counts data: a schedule in tokens has the same value at the same token whatever the batch size.

    Raises:
        ValueError: for a number that is not positive, an epoch without an update, or a ramp whose positions do not increase.

    >>> plan = RunPlan(samples=60_000, batch_size=256, epochs=30)
    >>> plan.updates_per_epoch, plan.updates
    (235, 7050)
    >>> RunPlan(samples=1000, batch_size=10, epochs=1, batch_ramp=[("50%", 50)]).updates
    60
    """

    samples: int
    batch_size: int
    epochs: int
    accumulate: int = 1
    world_size: int = 1
    drop_last: bool = False
    tokens_per_sample: int | None = None
    batch_ramp: tuple[tuple[Any, int], ...] = ()

    def __post_init__(self) -> None:
        for name in ("samples", "batch_size", "epochs", "accumulate", "world_size"):
            object.__setattr__(self, name, whole(name, getattr(self, name), least=1))
        if self.tokens_per_sample is not None:
            object.__setattr__(self, "tokens_per_sample", whole("tokens_per_sample", self.tokens_per_sample, least=1))
        flag("drop_last", self.drop_last)
        ramp: list[tuple[int, int]] = []
        try:
            steps = [(at, size) for at, size in self.batch_ramp]
        except (TypeError, ValueError):
            raise TypeError(
                f"batch_ramp must be pairs of a position and a batch size, got {shown(self.batch_ramp)}"
            ) from None
        for i, (at, size) in enumerate(steps):
            place = as_length(at) if isinstance(at, str) else at
            if not isinstance(place, Length):
                place = Length((("samples", Fraction(whole(f"batch_ramp[{i}]", place))),))
            exact = self._data_scale.updates(place)
            if exact <= (ramp[-1][0] if ramp else 0) or exact > self.samples * self.epochs:
                raise ValueError(
                    f"batch_ramp must have increasing positions inside the run, got {shown(self.batch_ramp)}"
                )
            ramp.append((-int(-exact // 1), whole(f"batch_ramp[{i}]", size, least=1)))
        object.__setattr__(self, "batch_ramp", tuple(ramp))
        if ramp and self.drop_last:
            raise ValueError("drop_last=True cannot be combined with a batch_ramp, where batches may span two epochs")
        if self.updates > limits.POSITION:
            raise ValueError(f"a run may have at most 2^63 - 1 updates, got {shown(self.updates)}")
        if not ramp and self.updates_per_epoch < 1:
            raise ValueError(
                f"an epoch has no update: samples={self.samples} is less than a full batch of {self.samples_per_update} "
                "and drop_last=True leaves it out"
            )

    @property
    def samples_per_update(self) -> int:
        """Samples per update, batch_size·accumulate·world_size; with a batch ramp, of the first update."""
        return self.batch_size * self.accumulate * self.world_size

    @property
    def updates_per_epoch(self) -> int:
        """Updates per epoch. A run with a batch ramp has no such number: ValueError."""
        if self.batch_ramp:
            raise ValueError("updates_per_epoch is not constant in a run with a batch_ramp")
        full, rest = divmod(self.samples, self.samples_per_update)
        return full + (1 if rest and not self.drop_last else 0)

    @property
    def updates(self) -> int:
        """Updates of the whole run."""
        if self.batch_ramp:
            return self.update_at(self.samples * self.epochs)
        return self.updates_per_epoch * self.epochs

    @property
    def pace(self) -> tuple[tuple[int, int, int], ...]:
        """(first update, samples before that update, samples per update) for each segment of constant batch size."""
        stretches = [(0, 0, self.samples_per_update)]
        for place, size in self.batch_ramp:
            update, seen, each = stretches[-1]
            # The batch grows with the first update that begins at the place or after: an update is never of two sizes.
            more = max(0, -((seen - place) // each))
            stretches.append((update + more, seen + more * each, size * self.accumulate * self.world_size))
        return tuple(stretches)

    def samples_before(self, update: int) -> int:
        """The number of samples seen before an update."""
        begin, seen, each = [stretch for stretch in self.pace if stretch[0] <= update][-1]
        return seen + (update - begin) * each

    def update_at(self, samples: int | Fraction) -> int:
        """The first update before which at least `samples` samples have been seen."""
        begin, seen, each = [stretch for stretch in self.pace if stretch[1] < samples or stretch[0] == 0][-1]
        return begin + max(0, int(-((seen - samples) // each)))

    @property
    def scale(self) -> Scale:
        """The number of updates in each unit of length."""
        per = [
            ("updates", Fraction(1)),
            ("epochs", Fraction(self.updates_per_epoch)),
            ("%", Fraction(self.updates, 100)),
            ("samples", Fraction(1, self.samples_per_update)),
        ]
        if self.tokens_per_sample is not None:
            per.append(("tokens", Fraction(1, self.samples_per_update * self.tokens_per_sample)))
        return Scale(tuple(per))

    @property
    def _data_scale(self) -> Scale:
        """A clock that counts samples."""
        per = [
            ("samples", Fraction(1)),
            ("epochs", Fraction(self.samples)),
            ("%", Fraction(self.samples * self.epochs, 100)),
        ]
        if self.tokens_per_sample is not None:
            per.append(("tokens", Fraction(1, self.tokens_per_sample)))
        return Scale(tuple(per))

    def resolve(self, schedule: _Resolvable[T]) -> T:
        """The schedule with every length converted to updates of this run."""
        return schedule.resolve(self)


def nearest_update(exact: Fraction) -> int:
    """A boundary in whole updates: the nearest, halves up."""
    return int((exact + Fraction(1, 2)) // 1)
