"""The clock of a schedule in torch: how updates are heard, and the meaning of a call of `step()` without an update.

A single hook for the whole process hears every `optimizer.step()` before the step begins. The hook finds the scheduler by an
attribute on the optimizer, since a look into a table costs more. A call of `step()` without an update since the last call is a
micro-batch, an update that was skipped, a repeated call, a schedule moved forward before the training, or an update that no hook
can hear. Versions of parameters and gradients distinguish these; where the versions do not, the schedule stands still or moves as
torch's own schedulers do, and a warning says so, once.
"""

from __future__ import annotations

import heapq
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, Protocol

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from laju.core.checks import ScheduleWarning
from laju.frameworks.torch.slots import Group, Slot
from laju.frameworks.values import Values

Optimizer = torch.optim.Optimizer
_EAR = "_laju_ear"
_WATCHED = 16
_SUMMED = 1 << 22
_PATIENCE = 100
_MANY = 64  # groups; from here on, eight stores in a turn of the loop are worth the longer way


class Scheduler(Protocol):
    """The clock's view of its scheduler."""

    optimizers: tuple[Optimizer, ...]
    slots: list[Slot]
    controller: Any
    last_epoch: int
    _clock: Clock
    _ear: Ear

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
    """The notes of the hook about an optimizer and a scheduler, with all that the usual `step()` needs.

    The hook and `step()` read the notes millions of times, so the fields are plain slots and nothing is computed.
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
        """The value of update `t`; the rest of its block comes next."""
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
_BOUND: weakref.WeakSet[Scheduler] = weakref.WeakSet()
_DISMISSED: weakref.WeakSet[Optimizer] = weakref.WeakSet()
_HOOK: list[Any] = []


# --- the hook ----------------------------------------------------------------------------------------------------------


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
    ear = getattr(optimizer, _EAR, _UNMET)
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
    for scheduler in list(_BOUND):
        scheduler._clock.meet(scheduler, optimizer)
    if getattr(optimizer, _EAR, None) is None:
        optimizer._laju_ear = None  # type: ignore[attr-defined]
        _DISMISSED.add(optimizer)
    found: Ear | None = optimizer._laju_ear  # type: ignore[attr-defined]
    return found


def _listening() -> bool:
    return bool(_HOOK) and _HOOK[0].id in (_HOOK[0].hooks_dict_ref() or ())


def _listen() -> None:
    if not _listening():
        _HOOK[:] = [register_optimizer_step_pre_hook(_before)]


def _capturing() -> bool:
    """Whether a CUDA graph is being captured, whose replays no hook will hear."""
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()


def _attach(scheduler: Scheduler, optimizer: Optimizer) -> Ear:
    ear = Ear(scheduler, optimizer)
    there = getattr(optimizer, _EAR, None)
    if there is None:
        optimizer._laju_ear = ear  # type: ignore[attr-defined]
    elif there.several:
        there.several.append(ear)
    else:
        both = Ear()
        both.several = [there, ear]
        optimizer._laju_ear = both  # type: ignore[attr-defined]
    return ear


def _detach(ears: list[Ear]) -> None:
    """Take a scheduler's ears off their optimizers."""
    for ear in ears:
        optimizer = ear.optimizer() if ear.optimizer is not None else None
        if ear.handle is not None:
            ear.handle.remove()
        if optimizer is None:
            continue
        there = getattr(optimizer, _EAR, None)
        if there is ear:
            del optimizer._laju_ear  # type: ignore[attr-defined]
        elif there is not None and ear in there.several:
            there.several.remove(ear)
            if len(there.several) == 1:
                optimizer._laju_ear = there.several[0]  # type: ignore[attr-defined]
    ears.clear()


def _inside(optimizer: Optimizer, seen: set[int]) -> Iterator[Optimizer]:
    """The optimizers inside an optimizer, in attributes, lists and dicts, at any depth."""
    if id(optimizer) in seen:
        return
    seen.add(id(optimizer))
    for name, value in vars(optimizer).items():
        if name in ("state", "param_groups", "defaults"):
            continue
        parts: Iterable[Any] = (value,)
        if isinstance(value, list | tuple):
            parts = value
        elif isinstance(value, dict):
            parts = value.values()
        for part in parts:
            if isinstance(part, Optimizer) and id(part) not in seen:
                yield part
                yield from _inside(part, seen)


def inner_optimizer(thing: Any) -> str:
    """The attribute of something that is an optimizer, for an error message."""
    found = [name for name, value in getattr(thing, "__dict__", {}).items() if isinstance(value, Optimizer)]
    return f"; its {found[0]} is an optimizer" if found else ""


def _same(a: Any, b: Any) -> bool:
    try:
        return bool(a == b)
    except RuntimeError:  # tensors were compared, of groups that are others
        return False


# --- the look ----------------------------------------------------------------------------------------------------------


class Look:
    """The state of parameters and autograd in a `step()` that heard no update.

    Args:
        parameters: some of the driven parameters.
        position: of the schedule.
        sums: also add the parameters up, as updates of `.data` and fused updates that no hook hears keep the version.
    """

    def __init__(self, parameters: Sequence[torch.Tensor], position: int, *, sums: bool) -> None:
        self.position = position
        self.thread = threading.get_ident()
        self.nodes = torch.autograd._get_sequence_nr()  # type: ignore[attr-defined]
        self.weights = [(p.device, p.dtype, _version(p), _sum(p) if sums else None) for p in parameters]
        self.gradients = [None if p.grad is None else (id(p.grad), _version(p.grad)) for p in parameters]

    def compares(self, before: Look | None) -> bool:
        return before is not None and (before.position, before.thread) == (self.position, self.thread)

    def moved(self, before: Look) -> bool:
        """Whether at least half of the parameters changed. A move to another device or dtype is no change."""
        changed = [
            now[:2] == then[:2] and (now[2] != then[2] or (None not in (now[3], then[3]) and now[3] != then[3]))
            for now, then in zip(self.weights, before.weights, strict=True)
        ]
        return bool(changed) and 2 * sum(changed) >= len(changed)

    def trained(self, before: Look) -> bool:
        """Whether a gradient has arrived, or autograd has seen a forward pass."""
        return self.nodes != before.nodes or any(
            now is not None and now != then for now, then in zip(self.gradients, before.gradients, strict=True)
        )

    def grew(self, before: Look) -> bool:
        """Whether gradients were added to earlier gradients, as micro-batches do."""
        pairs = [
            (now, then)
            for now, then in zip(self.gradients, before.gradients, strict=True)
            if now is not None and then is not None
        ]
        return bool(pairs) and all(now[0] == then[0] and now[1] > then[1] for now, then in pairs)


def _size(parameter: torch.Tensor) -> float:
    try:
        return parameter.numel()
    except (RuntimeError, TypeError, ValueError):  # a lazy module's, that has no shape yet
        return float("inf")


def _version(tensor: torch.Tensor) -> int:
    try:
        return tensor._version
    except RuntimeError:  # inference tensors have none
        return 0


def _sum(parameter: torch.Tensor) -> Any:
    if _size(parameter) > _SUMMED:
        return None
    try:
        local = parameter.detach()
        if hasattr(local, "to_local"):  # the local part of a distributed tensor: no rank may wait for the rest
            local = local.to_local()
        return repr(local.sum().item())  # as text, since NaN as a number differs from itself
    except (RuntimeError, NotImplementedError, TypeError):  # tensors without storage, quantised ones
        return None


# --- the clock ---------------------------------------------------------------------------------------------------------


class Clock:
    """Which calls of a scheduler's `step()` count, from the moment that the scheduler was bound to its optimizers.

    Args:
        calls: every call counts, with or without an update.
        epochs: a call ends an epoch, so many updates between two calls are expected.
    """

    def __init__(self, calls: bool, epochs: bool) -> None:
        self.calls, self.epochs = calls, epochs
        self.ears: list[Ear] = []
        self.source: Literal["hook", "weights"] | None = None  # how updates become known; None: none has
        self.bare = 0  # calls without update and without training since the last update
        self.inferred = 0  # calls whose update the weights showed
        self.idle = 0  # calls with training and without update, before the first update
        self.twice = 0  # calls that came after two updates
        self.lumps = 0  # calls that came after several updates
        self.passed = False  # updates, where their number does not matter
        self.together = False  # two optimizers of the same clock have made updates before the same call
        self.turns: dict[int, int] = {}  # calls that came after updates of one of several optimizers alone, by its ear
        self.others: set[str] = set()  # optimizers that update the same parameters
        self.told: set[str] = set()
        self.look: Look | None = None
        self.watched: list[torch.Tensor] = []

    # --- optimizers ----------------------------------------------------------------------------------------------

    def bind(self, scheduler: Scheduler) -> None:
        """Hear of the updates of the scheduler's optimizers, and of loads into these optimizers."""
        for optimizer in list(_DISMISSED):  # which may be wrappers of these, or inside of these
            if getattr(optimizer, _EAR, None) is None:
                optimizer.__dict__.pop(_EAR, None)
        _DISMISSED.clear()
        for optimizer in scheduler.optimizers:
            for each in (optimizer, *_inside(optimizer, set())):
                self.meet(scheduler, each)
        _BOUND.add(scheduler)
        _listen()
        end = weakref.finalize(scheduler, _detach, self.ears)
        end.atexit = False

    def release(self) -> None:
        _detach(self.ears)

    def meet(self, scheduler: Scheduler, optimizer: Optimizer) -> None:
        """Listen to an optimizer that shares a group with the scheduler, unless an optimizer inside shares a group, too."""
        groups = {id(group) for o in scheduler.optimizers for group in o.param_groups}
        if not any(id(group) in groups for group in optimizer.param_groups):
            self._note(scheduler, optimizer)
            return
        if any(ear.optimizer is not None and ear.optimizer() is optimizer for ear in self.ears):
            return
        for inner in _inside(optimizer, set()):
            if any(id(group) in groups for group in inner.param_groups):
                return
        ear = _attach(scheduler, optimizer)
        if hasattr(optimizer, "_optimizer_load_state_dict_post_hooks"):
            ear.handle = optimizer.register_load_state_dict_post_hook(_loaded(weakref.ref(scheduler)))
        ear.arranged = list(optimizer.param_groups)
        ear.wary = _wary(optimizer)
        self.ears.append(ear)
        self.tune(scheduler)

    def _note(self, scheduler: Scheduler, optimizer: Optimizer) -> None:
        """Keep the name of a foreign optimizer over the same parameters: an optimizer outside the scheduler's own."""
        if any(optimizer is inner for own in scheduler.optimizers for inner in _inside(own, set())):
            return
        driven = {id(p) for slot in scheduler.slots for group in slot.groups for p in group["params"]}
        if any(id(p) in driven for group in optimizer.param_groups for p in group["params"]):
            self.others.add(type(optimizer).__name__)

    def arranged(self, scheduler: Scheduler) -> None:
        """Take over the groups after a change."""
        for ear in self.ears:
            optimizer = ear.optimizer() if ear.optimizer is not None else None
            if optimizer is not None:
                ear.arranged = list(optimizer.param_groups)
                ear.wary = _wary(optimizer)
        parameters = [p for slot in scheduler.slots for group in slot.groups for p in group["params"]]
        trained = [p for p in parameters if p.requires_grad]
        self.watched = heapq.nsmallest(_WATCHED, dict.fromkeys(trained or parameters), key=_size)
        self.look = None
        self.tune(scheduler)

    def tune(self, scheduler: Scheduler) -> None:
        """Choose the shortest way that is right for the next update and the next `step()`."""
        early = self._early()
        for ear in self.ears:
            ear.groups = None if ear.wary or early else ear.arranged
        slots, ears = scheduler.slots, self.ears
        usual = (
            self.source == "hook"
            and not (self.calls or self.epochs)
            and scheduler.controller is None
            and len(ears) == 1
        )
        if not usual:
            scheduler._ear = DEAF
            return
        (ear,), slot = ears, slots[0]
        ear.key, ear.values, ear.upcoming = slot.key, slot.values, iter(())
        if len(slots) > 1 or slot.factor or not slot.plain:
            ear.slots, ear.eights, ear.rest = slots, [], []
        elif len(slot.groups) >= _MANY:
            ear.slots, ear.eights, ear.rest = [], slot.eights, slot.rest
        else:
            ear.slots, ear.eights, ear.rest = [], [], slot.groups
        ear.more = bool(ear.slots or ear.eights)
        scheduler._ear = ear

    # --- updates -------------------------------------------------------------------------------------------------

    def hear(self, scheduler: Scheduler, ear: Ear, optimizer: Optimizer) -> None:
        """An update begins."""
        if ear.wary:
            # A fused optimizer is called by GradScaler in any case, and leaves a bad update out itself.
            skipped = getattr(optimizer, "found_inf", None)
            if skipped is not None and bool(skipped):
                return
            if _capturing():
                scheduler._captured()
        if not _same(optimizer.param_groups, ear.arranged):
            scheduler._arrange()
            scheduler._put()
        if self._early():
            self.source, self.bare, self.inferred, self.look = None, 0, 0, None
            scheduler.last_epoch = max(0, scheduler.last_epoch - 1)  # a trainer may have set the position
            scheduler._put()
            self.tune(scheduler)
        if self.calls or self.epochs:
            self.passed, ear.heard = True, 0
            return
        ear.heard += 1
        # A finder of learning rates makes updates with rates of its own.
        if ear.heard == 3 and scheduler._holds():
            self._tell_of_epochs(scheduler)

    def _early(self) -> bool:
        """Whether an update heard now would show that the schedule had moved by 1 too early.

        Either `step()` came before the update, or weights that were loaded, or broadcast to all ranks, looked like an update.
        """
        return (self.source is None and self.bare == 1) or (self.source == "weights" and self.inferred == 1)

    def due(self) -> bool:
        """Whether the next `step()` counts for certain."""
        return self.calls or self.passed or any(ear.heard for ear in self.ears)

    def acknowledge(self) -> int:
        """The updates since the last `step()`, which are accounted for now."""
        heard, self.passed = int(self.passed), False
        for ear in self.ears:
            heard = max(heard, ear.heard)
            ear.heard = 0
        return heard

    def begin(self, scheduler: Scheduler) -> None:
        """Forget the heard updates, after the position was set or something was loaded."""
        self.acknowledge()
        self.bare = self.inferred = 0
        self.tune(scheduler)
        self.look = None if self.source == "hook" else self._look(scheduler)

    def _look(self, scheduler: Scheduler) -> Look:
        return Look(self.watched, scheduler.last_epoch, sums=self.source != "hook")

    def moves(self, scheduler: Scheduler) -> bool:
        """Whether this call of `step()` moves the schedule."""
        if self.calls:
            return True
        if len(scheduler.optimizers) > 1 and not self.together:
            self._count_turns(scheduler)
        heard = self.acknowledge()
        if not heard:
            return self._moves_unheard(scheduler)
        self.bare = self.idle = 0
        self.lumps += heard > 1
        if heard == 2:
            self.twice += 1
            if self.twice == 2:
                self._tell_of_epochs(scheduler)
        if self.source != "hook":
            self.source = "hook"
            self.tune(scheduler)
        if self.epochs:  # to know a second call for the same epoch
            self.look = self._look(scheduler)
            self.look.position += 1
        return True

    def _moves_unheard(self, scheduler: Scheduler) -> bool:
        before, now = self.look, self._look(scheduler)
        self.look = now
        compares = now.compares(before)
        moved = compares and now.moved(before)  # type: ignore[arg-type]
        trained = not compares or now.trained(before)  # type: ignore[arg-type]
        if self.source == "hook" and not compares:  # an update was heard since
            self.bare = 0
        if not _listening():
            _listen()
            self._tell_of_weights(scheduler)
            return self._moves(trained or moved)
        if self.epochs and (moved or trained):  # an epoch, whose updates were skipped or made without the optimizer
            return self._moves(True)
        if moved and self.source == "hook":
            self.tell(
                "other weights",
                f"{self._by_another(scheduler)} The schedule stands at update {scheduler.last_epoch}{_CURE}",
            )
            return False
        if moved:
            self.source = "weights"
            self.inferred += 1
            self.tune(scheduler)
            if self.inferred > 1 or self.others:  # a single change may be weights that were loaded
                self._tell_of_weights(scheduler)
            return self._moves(True)
        if trained:
            if self.source is None and not (compares and now.grew(before)):  # type: ignore[arg-type]
                self.idle += 1
                if self.idle == _PATIENCE:
                    self._tell_of_silence(scheduler)
            return False
        self.bare += 1
        if self.source is None:
            self.tune(scheduler)
            if self.bare == 2:
                self.tell(
                    "forward",
                    f"step() was called twice and no {scheduler._kinds} of this scheduler has made an update yet, so the "
                    "schedule moves with every call, as torch's schedulers do. To go on from update n call "
                    "scheduler.set_position(n); to see the values call schedule.values(n)",
                )
            return self._moves(True)
        if self.bare == max(_PATIENCE, _world_size()):
            self.tell(
                "repeated",
                f"step() was called {self.bare} times since the last update of the {scheduler._kinds} of this scheduler, and no "
                f"gradient came meanwhile: such calls do not move the schedule, which stands at update {scheduler.last_epoch}. "
                "Where updates are made without an optimizer of torch, say count='calls'",
            )
        return False

    def _count_turns(self, scheduler: Scheduler) -> None:
        """Optimizers that update in turn, with a call after each, would run the schedule at a multiple of its speed."""
        alone = [id(ear) for ear in self.ears if ear.heard]
        self.together = len(alone) > 1
        if len(alone) == 1:
            self.turns[alone[0]] = self.turns.get(alone[0], 0) + 1
            if len(self.turns) == len(self.ears) and min(self.turns.values()) == 2:
                self.tell(
                    "turns",
                    f"the {scheduler._kinds} of this scheduler made updates in turn, with a step() after each, and a call moves "
                    "the schedule of all of them by one. Call step() once, after all of them; optimizers that train in turn, as "
                    "in a GAN, take a Scheduler each",
                )

    def _moves(self, yes: bool) -> bool:
        if yes and self.look is not None:
            self.look.position += 1
        return yes

    def saved(self, scheduler: Scheduler) -> None:
        """A state is saved: the last moment to say that nothing was ever heard."""
        if self.source is None and self.idle and not self.calls:
            self._tell_of_silence(scheduler)
        if self.inferred:
            self._tell_of_weights(scheduler)

    # --- warnings ------------------------------------------------------------------------------------------------

    def tell(self, what: str, text: str) -> None:
        """Warn once, on the first rank, at the line that called laju or torch."""
        if what in self.told:
            return
        self.told.add(what)
        if _rank() == 0:
            warnings.warn(text, ScheduleWarning, stacklevel=_callers_level())

    def _tell_of_epochs(self, scheduler: Scheduler) -> None:
        if scheduler._constant():
            return
        self.tell(
            "epochs",
            f"the {scheduler._kinds} of this scheduler made several updates without a step() between them, and a call moves the "
            f"schedule by one, to update {scheduler.last_epoch + 1} now. If the schedule counts updates, call step() after each "
            "(interval='step' in Lightning, step_every='batch' in skorch); if it counts epochs, say every='epoch'",
        )

    def _tell_of_weights(self, scheduler: Scheduler) -> None:
        self.tell("weights", f"{self._by_another(scheduler)} The schedule counts that as an update{_CURE}")

    def _by_another(self, scheduler: Scheduler) -> str:
        others = f"; {' and '.join(sorted(self.others))} updates the same parameters" if self.others else ""
        return f"the weights changed, but not by step() of the {scheduler._kinds} of this scheduler{others}."

    def _tell_of_silence(self, scheduler: Scheduler) -> None:
        others = f" {' and '.join(sorted(self.others))} updates the same parameters." if self.others else ""
        self.tell(
            "silence",
            f"the {scheduler._kinds} of this scheduler has made no update yet, so step() has not moved the schedule, which "
            f"stands at update {scheduler.last_epoch}.{others} If another optimizer trains, give that: scheduler.optimizer = "
            "other, or the inner one of a wrapper; if updates are made without an optimizer of torch, say count='calls'",
        )


_CURE = (
    ". If another optimizer makes the updates, give that to the scheduler, scheduler.optimizer = other, or the inner one of a "
    "wrapper; if they are written by hand, say count='calls'; if weights were loaded after the scheduler was made, call "
    "scheduler.set_position(n)"
)


def _wary(optimizer: Optimizer) -> bool:
    """Whether each update needs a look at GradScaler's verdict, or at a graph that is being captured."""
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False)) or torch.cuda.is_available()


def _loaded(me: weakref.ref[Scheduler]) -> Any:
    def loaded(optimizer: Optimizer) -> None:
        scheduler = me()
        if scheduler is not None:
            scheduler._loaded()

    return loaded


def _rank() -> int:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank()
    return _number_in("RANK", 0)


def _world_size() -> int:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_world_size()
    return _number_in("WORLD_SIZE", 1)


def _number_in(variable: str, otherwise: int) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() else otherwise


def _callers_level() -> int:
    """The stacklevel, for the function that calls this, of the line that is neither laju's nor torch's."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("laju", "torch"):
        level, frame = level + 1, frame.f_back
    return level


# --- the ledger's hooks ------------------------------------------------------------------------------------------------


def optimizer_hooks(optimizer: Optimizer, before: Any, after: Any) -> list[Any]:
    """Register two functions around every update; the returned handles remove the functions."""
    optimizer = _innermost(optimizer)
    return [optimizer.register_step_pre_hook(before), optimizer.register_step_post_hook(after)]


def _innermost(optimizer: Optimizer) -> Optimizer:
    """The optimizer that calls hooks, inside any wrappers that are optimizers by name alone, such as Accelerate's."""
    while not getattr(type(optimizer).step, "hooked", False):
        inside = [part for part in vars(optimizer).values() if isinstance(part, Optimizer)]
        if len(inside) != 1:
            break
        optimizer = inside[0]
    return optimizer
