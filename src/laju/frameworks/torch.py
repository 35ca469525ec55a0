"""A schedule as a torch learning-rate scheduler.

The adapter owns a counter and only writes: nothing is read back from the optimizer to compute the next value, so the order
in which optimizer, scheduler and their checkpoints are built and loaded makes no difference.
"""

from __future__ import annotations

import itertools
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch.optim.lr_scheduler import LRScheduler

from laju.adaptive import Controller, Rule, StateError
from laju.arguments import is_number, nearest, shown, whole
from laju.frameworks.state import Policy, check_policy, load, save
from laju.frameworks.values import Factor, Values
from laju.policies import constant
from laju.schedule import Schedule

KIND = "torch.Scheduler"

Driven = Schedule | Factor | float
"""What drives a hyper-parameter: absolute values, a factor of each group's own base, or one number."""


class Slot:
    """One hyper-parameter of some of the groups, and the schedule that drives it.

    `name` is what errors and checkpoints call it: "lr", "betas[0]", "weight_decay of group 'head'".
    """

    def __init__(self, name: str, key: str, index: int | None, group: int | str | None, driven: Driven) -> None:
        self.name, self.key, self.index, self.group = name, key, index, group
        self.factor = isinstance(driven, Factor)
        self.schedule = driven.schedule if isinstance(driven, Factor) else driven if isinstance(driven, Schedule) else constant(driven)
        self.values = Values(self.schedule)

    def matches(self, i: int, group: dict[str, Any]) -> bool:
        return self.group is None or self.group == i or self.group == group.get("name")

    def read(self, group: dict[str, Any]) -> float:
        value = group[self.key]
        return float(value if self.index is None else value[self.index])

    def write(self, group: dict[str, Any], value: float) -> None:
        old = group[self.key]
        if self.index is None:
            if isinstance(old, torch.Tensor):  # in place: compiled and captured updates read this storage
                old.fill_(value)
            else:
                group[self.key] = value
        elif isinstance(old[self.index], torch.Tensor):
            old[self.index].fill_(value)
        else:
            group[self.key] = (*old[: self.index], value, *old[self.index + 1 :])

    @property
    def base_key(self) -> str:
        """Where the group itself keeps its base; "initial_lr" is torch's own name, and travels in the optimizer's state."""
        return f"initial_{self.key}" if self.index is None else f"initial_{self.key}_{self.index}"


class Scheduler(LRScheduler):
    """Sets hyper-parameters of an optimizer to schedule(t) before update t.

    Call `step()` after each `optimizer.step()`. It counts updates that were applied: one that a `GradScaler` skipped, a
    micro-batch of an accumulated gradient, or a second call for the same update does not move the schedule.

    Args:
        optimizer: a torch optimizer.
        lr: a `Schedule` of absolute values, a `Factor` of each group's base, a number, or a mapping from groups (by index, or
            by the group's "name") to these.
        betas: beta1 alone, or a pair of which either may be None.
        controller: a metric-driven rule such as `laju.adaptive.Plateau`, or a `Controller`; its factor multiplies `lr`.
        observe_within: updates within which `observe` must be called, again and again; by default a warning after 10,000.
        policy: what a checkpoint of other schedules does: "strict" is an error that shows both, "new" follows the code's from
            the saved position, "saved" goes on with the checkpoint's.
        count: "applied" counts the optimizer's own updates; "calls" counts the calls of `step`, for updates that torch does not
            see.
        hyper_parameters: any other of the optimizer's by name (`weight_decay`, `momentum` …), driven as `lr` is.

    Raises:
        TypeError: not an optimizer, or not a schedule.
        ValueError: a hyper-parameter or group that the optimizer does not have, nothing to schedule, or an unknown policy.
        UnresolvedError: a schedule's lengths are not in updates.

    >>> import torch, laju
    >>> weight = torch.nn.Parameter(torch.zeros(1))
    >>> weight.grad = torch.ones(1)
    >>> optimizer = torch.optim.SGD([weight])
    >>> scheduler = Scheduler(optimizer, lr=laju.linear(1, 0, total=4))
    >>> for _ in range(2):
    ...     optimizer.step()
    ...     scheduler.step()
    >>> optimizer.param_groups[0]["lr"]
    0.5
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        lr: Driven | Mapping[int | str, Driven] | None = None,
        *,
        betas: Any = None,
        controller: Rule[Any] | Controller | None = None,
        observe_within: int | None = None,
        policy: Policy = "strict",
        count: Literal["applied", "calls"] = "applied",
        **hyper_parameters: Driven | Mapping[int | str, Driven] | None,
    ) -> None:
        # LRScheduler's own __init__ is left out on purpose: it wraps optimizer.step and takes a step of its own.
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError(f"optimizer must be a torch optimizer, got {shown(optimizer)}")
        if count not in ("applied", "calls"):
            raise ValueError(f"count must be 'applied' or 'calls', got {shown(count)}")
        self.optimizer = optimizer
        self.policy = check_policy(policy)
        self.count = count
        self.slots = _slots(optimizer, {"lr": lr, "betas": betas, **hyper_parameters})
        if not self.slots:
            raise ValueError("nothing is scheduled; give lr=schedule, or another hyper-parameter of the optimizer")
        self.controller = Controller(controller) if isinstance(controller, Rule) else controller
        if self.controller is not None and not isinstance(self.controller, Controller):
            raise TypeError(f"controller must be a rule such as Plateau, or a Controller, got {shown(controller)}")
        if self.controller is not None and not any(slot.key == "lr" for slot in self.slots):
            raise ValueError("a controller multiplies lr, but lr is not scheduled")
        self.observe_within = None if observe_within is None else whole("observe_within", observe_within, least=1)
        self._observed = 0
        self._warned: set[str] = set()
        self.last_epoch = 0
        self._arrange()
        self._applied = self._ticked = 0
        self._listen()
        self._write()

    # --- the groups ----------------------------------------------------------------------------------------------

    def _arrange(self) -> None:
        """Find which slot drives which group, and each group's base."""
        groups = self.optimizer.param_groups
        self._groups, self._size = groups, len(groups)
        for slot in self.slots:
            for i, group in enumerate(groups):
                if slot.matches(i, group):
                    group.setdefault(slot.base_key, slot.read(group))
        # One absolute learning rate in plain numbers for all groups is the common case, and needs no more than a loop.
        only = self.slots[0] if len(self.slots) == 1 else None
        self._simple: Values | None = None
        if only is not None and only.key == "lr" and only.group is None and not only.factor and self.controller is None:
            if not any(isinstance(group["lr"], torch.Tensor) for group in groups):
                self._simple = only.values

    @property
    def base_lrs(self) -> list[float]:
        """Each group's own base rate."""
        return [float(group.get("initial_lr", group["lr"])) for group in self.optimizer.param_groups]

    @base_lrs.setter
    def base_lrs(self, bases: Sequence[float]) -> None:
        for group, base in zip(self.optimizer.param_groups, bases, strict=True):
            group["initial_lr"] = base
        self._write()

    def _write(self) -> None:
        """Put the values of update `last_epoch` in place."""
        groups = self.optimizer.param_groups
        if groups is not self._groups or len(groups) != self._size:
            self._arrange()
        t = self.last_epoch
        if self._simple is not None:
            value = self._simple.at(t)
            for group in groups:
                group["lr"] = value
            self._last_lr: list[float | torch.Tensor] = [value] * self._size
            return
        for slot in self.slots:
            value = slot.values.at(t)
            if slot.key == "lr" and self.controller is not None:
                value *= self.controller.factor
            for i, group in enumerate(groups):
                if slot.matches(i, group):
                    slot.write(group, value * group[slot.base_key] if slot.factor else value)
        self._last_lr = [group["lr"] for group in groups]

    # --- counting ------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        """Hear of the optimizer's updates, without a reference that would keep either of the two alive."""
        me = weakref.ref(self)

        def before(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
            scheduler = me()
            if scheduler is not None and len(optimizer.param_groups) != scheduler._size:
                scheduler._write()  # a group was added since: its first update shall have its value

        def after(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
            scheduler = me()
            if scheduler is not None:
                scheduler._heard(optimizer)

        handles = optimizer_hooks(self.optimizer, before, after)
        self._handles = handles
        weakref.finalize(self, _remove, handles)

    def _heard(self, optimizer: torch.optim.Optimizer) -> None:
        # A fused optimizer is called by GradScaler in any case, and leaves the update out itself.
        found = getattr(optimizer, "found_inf", None)
        if found is not None and bool(found):
            return
        if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
            self.count = "calls"  # replays of the captured update are not seen
        self._applied += 1

    @property
    def position(self) -> int:
        """Completed updates."""
        return self.last_epoch

    def step(self, epoch: int | None = None) -> None:
        """Count one completed update and put the values of the next one in place.

        Raises:
            TypeError: a position was given; see `set_position`.
            RuntimeError: a metric-driven factor was not fed within `observe_within` updates.
        """
        if epoch is not None:
            raise TypeError(f"step() counts updates itself and takes no position, got {shown(epoch)}; see set_position")
        if self._applied == self._ticked and self.count == "applied":
            self._warn(
                "uncounted",
                "step() was called and no update was applied since the last call, so it does not count; this is right for "
                "skipped updates and micro-batches. Where torch does not see the updates, use count='calls'",
            )
            return
        self._ticked = self._applied
        self.last_epoch += 1
        if self.controller is not None:
            self._observed += 1
            self._check_fed()
        self._write()

    def _check_fed(self) -> None:
        text = f"no metric was observed in the last {self._observed} updates; call scheduler.observe(metric) after each evaluation"
        if self.observe_within is not None and self._observed > self.observe_within:
            raise RuntimeError(f"{text} (observe_within={self.observe_within})")
        if self.observe_within is None and self._observed == 10_000:
            self._warn("unfed", text)

    def _warn(self, kind: str, text: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            warnings.warn(text, RuntimeWarning, stacklevel=3)

    def set_position(self, t: int) -> None:
        """Go to the point after `t` completed updates; doing it twice is the same as once."""
        self.last_epoch = whole("t", t)
        self._ticked = self._applied
        self._write()

    def observe(self, metric: Any) -> float:
        """Tell the controller a metric, and apply what it decides to the next update.

        Returns:
            The factor that multiplies `lr` from now on.

        Raises:
            RuntimeError: there is no controller.
        """
        if self.controller is None:
            raise RuntimeError("this scheduler has no controller; give one, such as controller=laju.adaptive.Plateau(0.1, patience=5)")
        self._observed = 0
        factor = self.controller.observe(metric)
        self._write()
        return factor

    def get_lr(self) -> list[float | torch.Tensor]:
        """The rate of each group in the next update."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def get_last_lr(self) -> list[float | torch.Tensor]:
        """The rate of each group in the next update."""
        return self._last_lr

    # --- checkpoints ---------------------------------------------------------------------------------------------

    def _schedules(self) -> dict[str, Schedule]:
        return {slot.name: slot.schedule for slot in self.slots}

    def state_dict(self) -> dict[str, Any]:
        """The counter, the schedules, the bases of the groups and the controller's state: plain numbers, texts and lists."""
        return save(
            KIND,
            self.last_epoch,
            self._schedules(),
            bases={
                slot.name: [g[slot.base_key] for i, g in enumerate(self.optimizer.param_groups) if slot.matches(i, g)]
                for slot in self.slots
                if slot.factor
            },
            controller=None if self.controller is None else self.controller.state_dict(),
            observed=self._observed,
        )

    def load_state_dict(self, state_dict: dict[str, Any], policy: Policy | None = None) -> None:
        """Go to the saved position; `state_dict` is not changed, and after an error neither is the scheduler.

        Args:
            state_dict: what `state_dict()` returned.
            policy: for this time, instead of the scheduler's own.

        Raises:
            StateError: a state of something else or another version; with "strict", of other schedules or bases.
        """
        policy = self.policy if policy is None else check_policy(policy)
        position, schedules, more = load(KIND, state_dict, self._schedules(), policy)
        bases = self._saved_bases(more.get("bases") or {}, policy)
        saved_controller = more.get("controller")
        if (saved_controller is None) != (self.controller is None) and policy != "new":
            have, had = ("a", "none") if self.controller is not None else ("no", "one")
            raise StateError(f"this scheduler has {have} controller, but state_dict was saved with {had}")
        if self.controller is not None and saved_controller is not None:
            self.controller.load_state_dict(saved_controller)
        for slot in self.slots:
            if slot.schedule != schedules[slot.name]:
                slot.schedule, slot.values = schedules[slot.name], Values(schedules[slot.name])
        for group, key, base in bases:
            group[key] = base
        self._observed = int(more.get("observed", 0))
        self._arrange()
        self.set_position(position)

    def _saved_bases(self, saved: Mapping[str, Sequence[float]], policy: Policy) -> list[tuple[dict[str, Any], str, float]]:
        """Which groups get which base from the checkpoint."""
        found = []
        for slot in self.slots:
            if not slot.factor or slot.name not in saved or policy == "new":
                continue
            groups = [g for i, g in enumerate(self.optimizer.param_groups) if slot.matches(i, g)]
            bases = list(saved[slot.name])
            if len(bases) != len(groups):
                raise StateError(
                    f"state_dict has the bases of {len(bases)} groups for {slot.name}, but the optimizer has {len(groups)}; "
                    "add the groups before loading"
                )
            now = [group[slot.base_key] for group in groups]
            if policy == "strict" and bases != now:
                raise StateError(
                    f"state_dict was saved with the bases {bases} for {slot.name}, but the optimizer has {now}; load it with "
                    "policy='new' or policy='saved'"
                )
            found += [(group, slot.base_key, base) for group, base in zip(groups, bases, strict=True)]
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_handles", "_groups")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._arrange()
        self._listen()


def optimizer_hooks(optimizer: torch.optim.Optimizer, before: Callable[..., None], after: Callable[..., None]) -> list[Any]:
    """Register two functions around every update; the handles remove them."""
    return [optimizer.register_step_pre_hook(before), optimizer.register_step_post_hook(after)]


def _remove(handles: list[Any]) -> None:
    for handle in handles:
        handle.remove()


def _slots(optimizer: torch.optim.Optimizer, given: Mapping[str, Any]) -> list[Slot]:
    slots = []
    names = [key for key in optimizer.defaults if key != "params"]
    for key, value in given.items():
        if value is None:
            continue
        if not all(key in group for group in optimizer.param_groups):
            raise ValueError(
                f"{type(optimizer).__name__} has no hyper-parameter {key!r}{nearest(key, names)}; it has {', '.join(names)}"
            )
        first = optimizer.param_groups[0][key]
        if isinstance(first, tuple | list):  # betas
            parts = value if isinstance(value, tuple | list) else (value,)
            if len(parts) > len(first):
                raise ValueError(f"{key} has {len(first)} values, got {len(parts)} schedules for them")
            slots += [
                slot for i, part in enumerate(parts) if part is not None for slot in _of_groups(optimizer, f"{key}[{i}]", key, i, part)
            ]
        else:
            slots += _of_groups(optimizer, key, key, None, value)
    return slots


def _of_groups(optimizer: torch.optim.Optimizer, name: str, key: str, index: int | None, value: Any) -> list[Slot]:
    if not isinstance(value, Mapping):
        return [Slot(name, key, index, None, _driven(name, value))]
    names = [group.get("name") for group in optimizer.param_groups]
    slots = []
    for group, part in value.items():
        known = group in names or (isinstance(group, int) and not isinstance(group, bool) and 0 <= group < len(names))
        if not known:
            valid = [repr(n) for n in names if n is not None] + [f"0 to {len(names) - 1}"]
            raise ValueError(f"{name} is given for group {group!r}, which the optimizer does not have; groups are {', '.join(valid)}")
        slots.append(Slot(f"{name} of group {group!r}", key, index, group, _driven(name, part)))
    return slots


def _driven(name: str, value: Any) -> Driven:
    if isinstance(value, Schedule | Factor) or is_number(value):
        return value  # type: ignore[no-any-return]
    raise TypeError(f"{name} must be a schedule, a Factor or a number, got {shown(value)}")


def trace(make_scheduler: Callable[[torch.optim.Optimizer], Any], n: int, *, base: float = 1.0, key: str = "lr") -> list[float]:
    """The sequence that any torch scheduler really uses in the first `n` updates, stepped once after each.

    Args:
        make_scheduler: makes the scheduler for an optimizer; it gets an optimizer of its own, so nothing of the caller's is
            touched.
        n: updates.
        base: the optimizer's rate before the scheduler is made.
        key: the hyper-parameter to read.

    >>> trace(lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4), 6)[4:]
    [0.0, 0.1464466094067262]
    """
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    optimizer = torch.optim.SGD([parameter], lr=base, momentum=0.5)
    scheduler = make_scheduler(optimizer)
    used = []
    for _ in itertools.repeat(None, whole("n", n)):
        used.append(float(optimizer.param_groups[0][key]))
        optimizer.step()
        scheduler.step()
    return used
