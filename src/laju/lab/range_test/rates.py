"""The rates of a range test, as a value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from laju.core.checks import shown
from laju.core.schedule import Schedule
from laju.options import RATES, documented
from laju.policies import exponential


@documented
@dataclass(frozen=True)
class RateRange:
    """The rates of a sweep, and how the losses of the sweep are read.

    Args:
        {options RATES}

    Raises:
        ValueError: a value outside of its range, or `low` not below `high`.
        TypeError: a value that is not a number.

    >>> RateRange(0.001, 1, updates=31).schedule
    exponential(0.001, 1.0, total=30)
    """

    low: float = 1e-5
    high: float = 10.0
    updates: int = 200
    smoothing: float = 0.15
    divergence: float = 4.0

    def __post_init__(self) -> None:
        for option in RATES:
            object.__setattr__(self, option.name, option.read(getattr(self, option.name)))
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got low={self.low!r} and high={self.high!r}")

    @classmethod
    def of(cls, rates: RateRange | None, **keywords: Any) -> RateRange:
        """The range itself, or the range given by the keywords that are not None.

        Raises:
            ValueError: a range is given together with a keyword.
            TypeError: a value that is not a `RateRange`.
        """
        stated = {name: value for name, value in keywords.items() if value is not None}
        if rates is None:
            return cls(**stated)
        if not isinstance(rates, cls):
            raise TypeError(f"rates must be a RateRange, got {shown(rates)}")
        for name, value in stated.items():
            raise ValueError(
                f"{name}={shown(value)} and a RateRange with {name}={getattr(rates, name)!r} are both given; keep one"
            )
        return rates

    @property
    def schedule(self) -> Schedule:
        """The schedule low·(high/low)^(t/(n - 1)) for update t of n: first exactly `low`, last exactly `high`."""
        return exponential(self.low, self.high, total=self.updates - 1)

    @property
    def width(self) -> float:
        """The standard deviation of the smoothing, in updates."""
        return self.smoothing * (self.updates - 1) / (math.log10(self.high) - math.log10(self.low))
