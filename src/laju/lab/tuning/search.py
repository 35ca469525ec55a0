"""The settings of a search, as a value."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from laju.core.checks import shown
from laju.lab.trials import Framework
from laju.lab.tuning.objectives import Objective, read_objectives
from laju.options import SEARCH, documented

BY_EPOCHS = ("median", "hyperband")
"""Optuna's pruners, which compare trials at equal epochs of their first seed."""


@documented
@dataclass(frozen=True)
class Search:
    """How a policy's parameters are searched, and where the search is kept; without a `storage` the search is not kept.

    Args:
        {options SEARCH}

    Raises:
        ValueError: a value outside of its range, an unknown sampler, pruner or objective, or several objectives with a sampler
            or a pruner that needs one.
        TypeError: a value of a wrong type.

    >>> Search(trials=50, objective="updates-to=0.9").objectives
    (Objective(target=0.9),)
    """

    trials: int = 30
    objective: str | Sequence[str] = "accuracy"
    sampler: str = "tpe"
    points: int = 5
    pruner: str = "none"
    seed: int = 0
    confirm: int = 3
    framework: Framework = "torch"
    storage: str | os.PathLike[str] | None = None
    study: str | None = None

    def __post_init__(self) -> None:
        for option in SEARCH:
            object.__setattr__(self, option.name, option.read(getattr(self, option.name)))
        if (many := len(self.objectives)) > 1:
            for name, ready in (("pruner", ("none",)), ("sampler", ("tpe", "gp", "random", "grid"))):
                if (value := getattr(self, name)) not in ready:
                    raise ValueError(
                        f"{name} {value!r} needs one objective, and there are {many}; use {name}={ready[0]!r}"
                    )

    @property
    def objectives(self) -> tuple[Objective, ...]:
        return read_objectives(self.objective)

    @classmethod
    def of(cls, search: Search | None) -> Search:
        """The search itself, or the default search.

        Raises:
            TypeError: a value that is not a `Search`.
        """
        if search is not None and not isinstance(search, cls):
            raise TypeError(f"search must be a Search, got {shown(search)}")
        return search or cls()
