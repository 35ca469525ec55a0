"""The targets of a scheduler: a hyper-parameter of some groups, its schedule, and the way to write a value there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from laju.core.checks import is_number, nearest, shown
from laju.core.schedule import Schedule
from laju.core.units import RunPlan, Scale, UnresolvedError
from laju.frameworks.values import Factor, Values, by_epoch, driven, foreign
from laju.policies import constant

Group = dict[str, Any]
Where = tuple[int, Group]
"""A parameter group, and the index of its optimizer."""


class Slot:
    """A hyper-parameter of some of the parameter groups, and its schedule.

    Args:
        name: name in errors and checkpoints: "lr", "betas[0]", "weight_decay of group 'head'", "lr (factor)".
        key: key of the hyper-parameter in a parameter group.
        index: index in a pair such as betas; None for a plain number.
        group: index or name of the group; None for all groups.
        optimizer: index of the optimizer; None for all optimizers.
        drive: the schedule of absolute values, or the factor of each group's own value.
        stride: updates of the schedule per count of the scheduler.
    """

    def __init__(
        self,
        name: str,
        key: str,
        index: int | None,
        group: int | str | None,
        optimizer: int | None,
        drive: Schedule | Factor | float,
        stride: int = 1,
    ) -> None:
        self.key, self.index, self.group, self.optimizer = key, index, group, optimizer
        self.factor = isinstance(drive, Factor)
        self.name = f"{name} (factor)" if self.factor else name
        # "initial_lr" is torch's own name; under that name, bases travel in the optimizer's state.
        self.base_key = f"initial_{key}" if index is None else f"initial_{key}_{index}"
        schedule = drive.schedule if isinstance(drive, Factor) else drive
        self.follow(schedule if isinstance(schedule, Schedule) else constant(schedule), stride)
        self.groups: list[Group] = []
        self.eights: list[list[Group]] = []
        self.rest: list[Group] = []
        self.bases: list[float] = []

    def follow(self, schedule: Schedule, stride: int) -> None:
        self.schedule, self.stride, self.values = schedule, stride, Values(schedule, stride)

    def find(self, groups: Sequence[Where], *, reloaded: bool) -> None:
        """Find the slot's groups and bases; with `reloaded`, the groups are the same as before, with values from a checkpoint."""
        known = {id(group): base for group, base in zip(self.groups, self.bases, strict=True)}
        self.groups = [
            group
            for i, (optimizer, group) in enumerate(groups)
            if self.key in group
            and self.optimizer in (None, optimizer)
            and (self.group is None or self.group in (i, group.get("name")))
        ]
        # Eight stores in a turn of a loop cost less than eight turns.
        self.eights = [self.groups[i : i + 8] for i in range(0, len(self.groups) - 7, 8)]
        self.rest = self.groups[8 * len(self.eights) :]
        values = [self.read(group) for group in self.groups]
        # A group that is known keeps its base, since its value may be scheduled by now. A new group, such as one of
        # `add_param_group`, brings its own, under torch's "initial_lr" where another scheduler has noted it.
        if not (reloaded and len(self.bases) == len(values)):
            self.bases = [
                known[id(group)] if id(group) in known else float(group.get(self.base_key, value))
                for group, value in zip(self.groups, values, strict=True)
            ]
        if self.factor and not any(self.bases):
            raise ValueError(f"{self.name} has no base: {self.key} is 0 in the optimizer, and so is any factor of it")
        self.plain = self.index is None and not any(isinstance(g[self.key], torch.Tensor) for g in self.groups)

    def read(self, group: Group) -> float:
        value = group[self.key] if self.index is None else group[self.key][self.index]
        if isinstance(value, torch.Tensor) and value.numel() == 1:
            return float(value)
        if not is_number(value):
            raise ValueError(
                f"{self.key} of the optimizer is {shown(value)}, which is not a number that can be scheduled"
            )
        return float(value)

    def write(self, value: float) -> None:
        key, index = self.key, self.index
        if self.plain:
            if self.factor:
                for group, base in zip(self.groups, self.bases, strict=True):
                    group[key] = value * base
            else:
                for a, b, c, d, e, f, g, h in self.eights:
                    a[key] = b[key] = c[key] = d[key] = e[key] = f[key] = g[key] = h[key] = value
                for group in self.rest:
                    group[key] = value
            return
        for group, base in zip(self.groups, self.bases, strict=True):
            new = value * base if self.factor else value
            old = group[key]
            part = old if index is None else old[index]
            if isinstance(part, torch.Tensor):  # in place: compiled and captured updates read this storage
                part.fill_(new)
            else:
                group[key] = new if index is None else (*old[:index], new, *old[index + 1 :])

    def holds(self, value: float) -> bool:
        """Return whether all groups of the slot still have a value."""
        return all(
            abs(self.read(group) - new) <= 1e-6 * abs(new)  # a rate may be a tensor in float32
            for group, base in zip(self.groups, self.bases, strict=True)
            for new in (value * base if self.factor else value,)
        )

    def keep_bases(self) -> None:
        for group, base in zip(self.groups, self.bases, strict=True):
            group[self.base_key] = base


def slots_of(
    optimizers: Sequence[torch.optim.Optimizer], given: Mapping[str, Any], plan: RunPlan | Scale | None, *, epochs: bool
) -> list[Slot]:
    """Return the slots of the user's schedules by hyper-parameter; with `epochs`, the clock counts epochs instead of updates."""
    return [
        slot
        for key, value in given.items()
        if value is not None
        for slot in _Wanted(optimizers, key, plan, epochs).slots(value)
    ]


class _Wanted:
    """A hyper-parameter to be scheduled, in all the optimizers that have it."""

    def __init__(
        self, optimizers: Sequence[torch.optim.Optimizer], key: str, plan: RunPlan | Scale | None, epochs: bool
    ) -> None:
        # Groups may differ within an optimizer, as in a Muon with AdamW for parameters that are no matrices.
        having = [group for o in optimizers for group in o.param_groups if key != "params" and key in group]
        if not having:
            names = list(dict.fromkeys(name for o in optimizers for name in o.defaults if name != "params"))
            kinds = " and ".join(dict.fromkeys(type(o).__name__ for o in optimizers))
            near = foreign(key) or nearest(key, names)
            raise ValueError(f"{kinds} has no hyper-parameter {key!r}{near}; it has {', '.join(names)}")
        self.optimizers, self.key, self.plan, self.epochs = optimizers, key, plan, epochs
        self.first = having[0][key]

    def slots(self, value: Any) -> Iterator[Slot]:
        if len(self.optimizers) > 1 and isinstance(value, list):
            if len(value) != len(self.optimizers):
                raise ValueError(
                    f"{self.key} must be one schedule for all {len(self.optimizers)} optimizers or a list with one for each, "
                    f"got {len(value)}"
                )
            for i, part in enumerate(value):
                if part is not None:
                    yield from self._parts(f"{self.key} of optimizer {i}", part, i)
        else:
            yield from self._parts(self.key, value, None)

    def _parts(self, name: str, value: Any, optimizer: int | None) -> Iterator[Slot]:
        """For a pair such as betas, either may be None; a single schedule is for the first."""
        if not isinstance(self.first, tuple | list):
            yield from self._of_groups(name, None, value, optimizer)
            return
        parts = value if isinstance(value, tuple | list) else (value,)
        if len(parts) > len(self.first):
            raise ValueError(f"{name} has {len(self.first)} values, got {len(parts)} schedules for them")
        for i, part in enumerate(parts):
            if part is not None:
                yield from self._of_groups(f"{name}[{i}]", i, part, optimizer)

    def _of_groups(self, name: str, index: int | None, value: Any, optimizer: int | None) -> Iterator[Slot]:
        if not isinstance(value, Mapping):
            yield self._slot(name, index, None, optimizer, value)
            return
        groups = [group for o in self.optimizers for group in o.param_groups]
        names = [group.get("name") for group in groups]
        seen: dict[int, Any] = {}
        for group, part in value.items():
            found = [i for i, n in enumerate(names) if group == (i if isinstance(group, int) else n)]
            if not found or isinstance(group, bool):
                valid = [n for n in names if n is not None]
                raise ValueError(
                    f"{name} is given for group {group!r}, which the optimizer does not have{nearest(str(group), valid)}; groups "
                    f"are {', '.join([*map(repr, valid), f'0 to {len(names) - 1}'])}"
                )
            for i in found:
                if i in seen:
                    raise ValueError(f"{name} is given twice for group {i}, as {seen[i]!r} and as {group!r}")
                seen[i] = group
                if self.key not in groups[i]:
                    raise ValueError(f"{name} is given for group {group!r}, which has no {self.key}")
            yield self._slot(f"{name} of group {group!r}", index, group, optimizer, part, name)

    def _slot(
        self, name: str, index: int | None, group: Any, optimizer: int | None, value: Any, argument: str | None = None
    ) -> Slot:
        try:
            drive = driven(argument or name, value, None if self.epochs else self.plan, resolved=not self.epochs)
        except UnresolvedError as error:
            if self.plan is not None:
                raise
            raise UnresolvedError(
                f"{error}, or here plan=RunPlan(…); for a step() once an epoch, every='epoch'"
            ) from None
        stride = 1
        if self.epochs and isinstance(drive, Factor):
            schedule, stride = by_epoch(drive.schedule, self.plan)
            drive = Factor(schedule)
        elif self.epochs and isinstance(drive, Schedule):
            drive, stride = by_epoch(drive, self.plan)
        return Slot(name, self.key, index, group, optimizer, drive, stride)
