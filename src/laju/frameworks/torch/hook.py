"""The hook that hears every `optimizer.step()` of the process before the step begins.

The hook finds the scheduler by an attribute on the optimizer, since a look into a table costs more.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any, Protocol

from torch.optim.optimizer import register_optimizer_step_pre_hook

from laju.frameworks.torch.inside import Optimizer
from laju.frameworks.torch.slots import Group, Slot
from laju.frameworks.values import Values

EAR = "_laju_ear"


class Listener(Protocol):
    """The hook's view of a clock."""

    def hear(self, scheduler: Scheduler, ear: Ear, optimizer: Optimizer) -> None:
        """An update begins."""

    def meet(self, scheduler: Scheduler, optimizer: Optimizer) -> None:
        """An optimizer without a note makes its first update."""


class Scheduler(Protocol):
    """The view that the clock and the hook have of a scheduler."""

    optimizers: tuple[Optimizer, ...]
    slots: list[Slot]
    controller: Any
    last_epoch: int
    _ear: Ear

    @property
    def _clock(self) -> Listener:
        """The clock, which the hook tells of updates."""

    @property
    def _kinds(self) -> str:
        """The classes of the optimizers, for messages."""

    def _arrange(self) -> None:
        """Find the groups after a change."""

    def _put(self) -> None:
        """Write the values of update `last_epoch`."""

    def _loaded(self) -> None:
        """Something was loaded into the optimizer."""

    def _captured(self) -> None:
        """An update is being captured in a CUDA graph."""

    def _holds(self) -> bool:
        """Whether the groups still have the scheduler's values."""

    def _constant(self) -> bool:
        """Whether every schedule is constant."""


class Ear:
    """Data of the hook about an optimizer and a scheduler, with everything that a usual `step()` needs.

    The hook and `step()` read the data millions of times, so the fields are plain slots and nothing is computed.
    """

    __slots__ = (
        "__weakref__", "arranged", "eights", "groups", "handle", "heard", "key", "more", "optimizer", "rest",
        "scheduler", "several", "slots", "upcoming", "values", "wary",
    )  # fmt: skip

    def __init__(self, scheduler: Scheduler | None = None, optimizer: Optimizer | None = None) -> None:
        self.heard = 0  # updates since the last step()
        self.arranged: list[Group] = []
        self.groups: list[Group] | None = None  # the arranged groups; None where the next update needs more than a note
        self.wary = False
        self.several: list[Ear] = []  # the ears of all schedulers of this optimizer, if there are several
        self.scheduler = None if scheduler is None else weakref.ref(scheduler)
        self.optimizer = None if optimizer is None else weakref.ref(optimizer)
        self.handle: Any = None
        self.key = ""
        self.rest: list[Group] = []
        self.more = False  # whether there are eights or slots
        self.eights: list[list[Group]] = []
        self.slots: list[Slot] = []
        self.upcoming: Iterator[float] = iter(())  # the values after the current value
        self.values: Values | None = None

    def renew(self, t: int) -> float:
        """Return the value of update `t`, and load the remaining values of its block."""
        assert self.values is not None
        value = self.values.at(t)
        self.upcoming = iter(self.values.block[t - self.values.begin + 1 :])
        return value

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return _no_ear, ()  # a copy of an optimizer has no scheduler yet


def _no_ear() -> None:
    return None


DEAF = Ear()
"""Hears nothing, so that every `step()` takes the longer way."""
_UNMET = Ear()
BOUND: weakref.WeakSet[Scheduler] = weakref.WeakSet()
DISMISSED: weakref.WeakSet[Optimizer] = weakref.WeakSet()
_HOOK: list[Any] = []


def _before(optimizer: Any, args: Any, kwargs: Any) -> None:
    try:
        # Runs in every optimizer.step() of the process, so the usual case is an attribute, a comparison and a store.
        ear = optimizer._laju_ear
        if ear is None:  # an optimizer without a scheduler
            return
        # Lists compare groups by identity first; a group that is merely equal holds this update's values all the same.
        if not ear.heard and optimizer.param_groups == ear.groups:
            ear.heard = 1
            return
    except (AttributeError, RuntimeError):  # not met before; tensors were compared
        pass
    _unusual(optimizer)


# dynamo cannot trace the comparison; a wrapper around the hook would cost more than the hook.
_before._torchdynamo_disable = True  # type: ignore[attr-defined]


def _unusual(optimizer: Optimizer) -> None:
    ear = getattr(optimizer, EAR, _UNMET)
    if ear is _UNMET:
        ear = _meet(optimizer)
    if ear is None:
        return
    for each in ear.several or (ear,):
        scheduler = each.scheduler() if each.scheduler is not None else None
        if scheduler is not None:
            scheduler._clock.hear(scheduler, each, optimizer)


def _meet(optimizer: Optimizer) -> Ear | None:
    """Find the schedulers of an optimizer that makes its first update."""
    for scheduler in list(BOUND):
        scheduler._clock.meet(scheduler, optimizer)
    # None is noted on an optimizer that no scheduler drives, so that its next step costs the hook a look at an attribute.
    if getattr(optimizer, EAR, None) is None:
        optimizer._laju_ear = None  # type: ignore[attr-defined]
        DISMISSED.add(optimizer)
    found: Ear | None = optimizer._laju_ear  # type: ignore[attr-defined]
    return found


def listening() -> bool:
    return bool(_HOOK) and _HOOK[0].id in (_HOOK[0].hooks_dict_ref() or ())


def listen() -> None:
    if not listening():
        _HOOK[:] = [register_optimizer_step_pre_hook(_before)]


def attach(scheduler: Scheduler, optimizer: Optimizer) -> Ear:
    ear = Ear(scheduler, optimizer)
    there = getattr(optimizer, EAR, None)
    if there is None:
        optimizer._laju_ear = ear  # type: ignore[attr-defined]
    elif there.several:
        there.several.append(ear)
    else:
        # Several schedulers of one optimizer: the attribute holds an ear without groups, which the hook's short way never fits,
        # and which leads to all.
        both = Ear()
        both.several = [there, ear]
        optimizer._laju_ear = both  # type: ignore[attr-defined]
    return ear


def detach(ears: list[Ear]) -> None:
    """Take a scheduler's ears off their optimizers."""
    for ear in ears:
        optimizer = ear.optimizer() if ear.optimizer is not None else None
        if ear.handle is not None:
            ear.handle.remove()
        if optimizer is None:
            continue
        there = getattr(optimizer, EAR, None)
        if there is ear:
            del optimizer._laju_ear  # type: ignore[attr-defined]
        elif there is not None and ear in there.several:
            there.several.remove(ear)
            if len(there.several) == 1:
                optimizer._laju_ear = there.several[0]  # type: ignore[attr-defined]
    ears.clear()
