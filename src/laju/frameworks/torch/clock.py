"""The clock of a schedule in torch, which decides whether a call of `step()` counts as an update.

A call of `step()` without an update since the last call is a micro-batch, a skipped update, a repeated call, a schedule moved
forward before the training, or an update that no hook reports. Versions of parameters and gradients distinguish the cases; if the
versions do not, the schedule stands still or moves as torch's own schedulers do, with a single warning.
"""

from __future__ import annotations

import heapq
import os
import sys
import warnings
import weakref
from typing import Any, Literal

import torch

from laju.core.checks import ScheduleWarning
from laju.frameworks.torch.hook import BOUND, DEAF, DISMISSED, EAR, Ear, Scheduler, attach, detach, listen, listening
from laju.frameworks.torch.hook import _no_ear as _no_ear  # pickles of whole optimizers may name this module
from laju.frameworks.torch.inside import Optimizer, optimizers_inside
from laju.frameworks.torch.look import Look, size_of

_WATCHED = 16
_PATIENCE = 100
_MANY = 64  # groups; from here on, eight stores in a turn of the loop are worth the longer way


def _capturing() -> bool:
    """Return whether a CUDA graph is being captured, whose replays call no hooks."""
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()


def _same(a: Any, b: Any) -> bool:
    try:
        return bool(a == b)
    except RuntimeError:  # tensors were compared, of groups that are others
        return False


class Clock:
    """Counter of the calls of a scheduler's `step()` that stand for updates of its optimizers.

    Args:
        calls: whether every call counts, with or without an update.
        epochs: whether a call ends an epoch, so that many updates between two calls are expected.
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
        """Register hooks for updates of the scheduler's optimizers and for loading into the optimizers."""
        for optimizer in list(DISMISSED):  # which may be wrappers of these, or inside of these
            if getattr(optimizer, EAR, None) is None:
                optimizer.__dict__.pop(EAR, None)
        DISMISSED.clear()
        for optimizer in scheduler.optimizers:
            for each in (optimizer, *optimizers_inside(optimizer, set())):
                self.meet(scheduler, each)
        # Weakly known: neither the hook nor the table keeps a scheduler alive, or an optimizer through the scheduler's ears.
        BOUND.add(scheduler)
        listen()
        end = weakref.finalize(scheduler, detach, self.ears)
        end.atexit = False

    def release(self) -> None:
        detach(self.ears)

    def meet(self, scheduler: Scheduler, optimizer: Optimizer) -> None:
        """Listen to an optimizer that shares a group with the scheduler, unless an optimizer inside shares a group, too."""
        groups = {id(group) for o in scheduler.optimizers for group in o.param_groups}
        if not any(id(group) in groups for group in optimizer.param_groups):
            self._note(scheduler, optimizer)
            return
        if any(ear.optimizer is not None and ear.optimizer() is optimizer for ear in self.ears):
            return
        for inner in optimizers_inside(optimizer, set()):
            if any(id(group) in groups for group in inner.param_groups):
                return
        ear = attach(scheduler, optimizer)
        if hasattr(optimizer, "_optimizer_load_state_dict_post_hooks"):
            ear.handle = optimizer.register_load_state_dict_post_hook(_loaded(weakref.ref(scheduler)))
        ear.arranged = list(optimizer.param_groups)
        ear.wary = _wary(optimizer)
        self.ears.append(ear)
        self.tune(scheduler)

    def _note(self, scheduler: Scheduler, optimizer: Optimizer) -> None:
        """Keep the name of a foreign optimizer over the same parameters: an optimizer outside the scheduler's own."""
        if any(optimizer is inner for own in scheduler.optimizers for inner in optimizers_inside(own, set())):
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
        self.watched = heapq.nsmallest(_WATCHED, dict.fromkeys(trained or parameters), key=size_of)
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
            # The move that came too early is taken back, so that this update gets the value of its own position.
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
        """Return whether the next `step()` certainly counts."""
        return self.calls or self.passed or any(ear.heard for ear in self.ears)

    def acknowledge(self) -> int:
        """Return the number of updates since the last `step()`, and reset the number."""
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
        """Return whether a call of `step()` advances the schedule."""
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
        # No update was heard since the last call, so weights and gradients are compared with those at that call. Weights that
        # changed mean an update by other means; gradients alone a micro-batch or a skipped update, which move nothing; neither
        # a repeated call, or a schedule that is moved forward before the training.
        before, now = self.look, self._look(scheduler)
        self.look = now
        compares = now.compares(before)
        moved = compares and now.moved(before)  # type: ignore[arg-type]
        trained = not compares or now.trained(before)  # type: ignore[arg-type]
        if self.source == "hook" and not compares:  # an update was heard since
            self.bare = 0
        if not listening():
            listen()
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
            # Gradients that only grew are micro-batches, of which there may be any number before the first update.
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
                    "schedule advances with every call, as torch's schedulers do. To continue from update n, call "
                    "scheduler.set_position(n); to see the values, call schedule.values(n)",
                )
            return self._moves(True)
        if self.bare == max(_PATIENCE, _world_size()):
            self.tell(
                "repeated",
                f"step() was called {self.bare} times since the last update of the {scheduler._kinds} of this scheduler, without "
                f"a new gradient: such calls do not advance the schedule, which stands at update {scheduler.last_epoch}. "
                "If updates are made without a torch optimizer, use count='calls'",
            )
        return False

    def _count_turns(self, scheduler: Scheduler) -> None:
        """Warn if optimizers update in turn with a call after each, which advances the schedule too fast."""
        alone = [id(ear) for ear in self.ears if ear.heard]
        self.together = len(alone) > 1
        if len(alone) == 1:
            self.turns[alone[0]] = self.turns.get(alone[0], 0) + 1
            if len(self.turns) == len(self.ears) and min(self.turns.values()) == 2:
                self.tell(
                    "turns",
                    f"the {scheduler._kinds} of this scheduler made updates in turn, with a step() after each, and each call "
                    "advances their common schedule by one. Call step() once, after all optimizers; use a separate Scheduler for "
                    "each optimizer if they train in turn, as in a GAN",
                )

    def _moves(self, yes: bool) -> bool:
        if yes and self.look is not None:
            self.look.position += 1
        return yes

    def saved(self, scheduler: Scheduler) -> None:
        """Warn when a state is saved, if no update was ever reported."""
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
            f"the {scheduler._kinds} of this scheduler made several updates without a step() between them, and a call advances "
            f"the schedule by one, to update {scheduler.last_epoch + 1} now. If the schedule counts updates, call step() after "
            "each (interval='step' in Lightning, step_every='batch' in skorch); if it counts epochs, use every='epoch'",
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
            f"the {scheduler._kinds} of this scheduler has made no update yet, so step() has not advanced the schedule, which "
            f"stands at update {scheduler.last_epoch}.{others} If a different optimizer trains, assign it, scheduler.optimizer = "
            "other (of a wrapper, the inner optimizer); if updates are made without a torch optimizer, use count='calls'",
        )


_CURE = (
    ". If a different optimizer makes the updates, assign it, scheduler.optimizer = other (of a wrapper, the inner optimizer); "
    "if your own code makes the updates, use count='calls'; if weights were loaded after the scheduler was constructed, call "
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
