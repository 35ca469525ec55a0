"""The trials of a comparison: a grid of schedules and seeds, and the choice of schedules before or during the training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from laju.core.checks import is_number, shown, whole
from laju.lab.comparison import base_rates
from laju.lab.comparison.arguments import Given, read_frameworks, read_schedules, read_seeds
from laju.lab.comparison.race import ERROR
from laju.lab.trials import Optimizer
from laju.options import GRID, SELECTION, documented


@documented
@dataclass(frozen=True)
class Grid:
    """Every schedule with every seed.

    Args:
        {options GRID}

    Raises:
        ValueError: no schedules or no seeds, a seed twice, epochs or a batch size below 1, an unknown framework.
        TypeError: a value of another type.

    >>> Grid({"constant": 0.1}, seeds=2, epochs=1).seeds
    (0, 1)
    """

    schedules: Mapping[str, Given]
    seeds: int | Iterable[int] = 3
    epochs: int = 30
    batch_size: int | None = None
    optimizer: Optimizer | None = None
    framework: str | Iterable[str] = "torch"

    def __post_init__(self) -> None:
        for option in GRID:
            object.__setattr__(self, option.name, option.read(getattr(self, option.name)))
        object.__setattr__(self, "optimizer", Optimizer.of(self.optimizer))
        object.__setattr__(self, "schedules", read_schedules(self.schedules))
        object.__setattr__(self, "seeds", read_seeds(self.seeds))
        object.__setattr__(self, "framework", read_frameworks(self.framework))


@documented
@dataclass(frozen=True)
class Selection:
    """How the schedules of a grid are chosen before or during the training.

    Args:
        {options SELECTION}

    `tuned` finds a factor from 1/10 to 10: True tries 9 factors; a number sets how many are tried. `race` is True for an error of
    5 %, or the probability of the error, see `laju.lab.comparison.race.race`. The names of scaled schedules show the factor.

    Raises:
        ValueError: a value outside of its range, or `tuned` and `equal_area` together.

    >>> Selection(tuned=True).factors, Selection(race=True).error
    (9, 0.05)
    """

    tuned: bool | int = False
    race: bool | float = False
    equal_area: bool = False

    def __post_init__(self) -> None:
        for option in SELECTION:
            object.__setattr__(self, option.name, option.read(getattr(self, option.name)))
        if self.tuned is not True and self.tuned:
            whole("tuned", self.tuned, least=base_rates.LEAST)
        if self.tuned and self.equal_area:
            raise ValueError("tuned=… and equal_area=… both set the rates of a schedule; use one of them")
        if not isinstance(self.race, bool) and not (is_number(self.race) and 0 < self.race < 1):
            raise ValueError(f"race must be True or an error probability between 0 and 1, got {shown(self.race)}")

    @property
    def factors(self) -> int:
        """The number of base rates to try for each schedule; 0 without tuning."""
        return base_rates.TRIALS if self.tuned is True else int(self.tuned)

    @property
    def error(self) -> float:
        """The error probability of the race."""
        return ERROR if self.race is True else float(self.race)


def as_grid(schedules: Grid | Mapping[str, Given], **keywords: Any) -> Grid:
    """The grid itself, or the grid of keywords that are not None.

    Raises:
        ValueError: a grid is given together with a keyword.
    """
    stated = {name: value for name, value in keywords.items() if value is not None}
    if not isinstance(schedules, Grid):
        return Grid(schedules, **stated)
    for name, value in stated.items():
        raise ValueError(
            f"{name}={shown(value)} and a Grid with {name}={shown(getattr(schedules, name))} are both given; keep one"
        )
    return schedules
