"""A schedule as a torch learning-rate scheduler.

The adapter owns a counter and only writes: nothing is read back from the optimizer to compute the next value, so the order
in which optimizer, scheduler and their checkpoints are built and loaded makes no difference.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from laju.adaptive import Controller, Rule, StateError
from laju.core.checks import is_number, nearest, number, shown, whole
from laju.core.extras import needed_by
from laju.core.schedule import Schedule
from laju.core.units import RunPlan, UnresolvedError
from laju.frameworks.state import Policy, check_policy, load, load_controller, save
from laju.frameworks.values import Factor, Values
from laju.policies import constant
from laju.text.spec import parse

with needed_by("laju.frameworks.torch", "torch"):
    import torch
    from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

KIND = "torch.Scheduler"
_UNHEARD = 20
_MANY = 64  # groups, from which on a call more is worth fewer turns of a loop
_UNFED = 10_000

Group = dict[str, Any]
Driven = Schedule | Factor | float
"""What drives a hyper-parameter: absolute values, a factor of each group's own base, or one number."""


class Slot:
    """One hyper-parameter of some of the groups, and the schedule that drives it.

    `name` is what errors and checkpoints call it: "lr", "betas[0]", "weight_decay of group 'head'", "lr (factor)".
    """

    def __init__(self, name: str, key: str, index: int | None, group: int | str | None, driven: Driven) -> None:
        self.key, self.index, self.group = key, index, group
        self.factor = isinstance(driven, Factor)
        self.name = f"{name} (factor)" if self.factor else name
        # "initial_lr" is torch's own name; bases travel in the optimizer's state under it.
        self.base_key = f"initial_{key}" if index is None else f"initial_{key}_{index}"
        schedule = driven.schedule if isinstance(driven, Factor) else driven
        self.follow(schedule if isinstance(schedule, Schedule) else constant(schedule))
        self.groups: list[Group] = []
        self.eights: list[list[Group]] = []
        self.rest: list[Group] = []
        self.bases: list[float] = []

    def follow(self, schedule: Schedule) -> None:
        self.schedule, self.values = schedule, Values(schedule)

    def find(self, groups: Sequence[Group], *, reloaded: bool) -> None:
        """Find its groups and their bases; `reloaded` are the same groups as before, with what a checkpoint had in them."""
        self.groups = [g for i, g in enumerate(groups) if self.group is None or self.group in (i, g.get("name"))]
        # Eight stores a turn of a loop cost less than one each.
        self.eights = [self.groups[i : i + 8] for i in range(0, len(self.groups) - 7, 8)]
        self.rest = self.groups[8 * len(self.eights) :]
        found = [self.read(group) for group in self.groups]
        if not (reloaded and len(self.bases) == len(found)):
            self.bases = [float(g.get(self.base_key, now)) for g, now in zip(self.groups, found, strict=True)]
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

    def keep_bases(self) -> None:
        for group, base in zip(self.groups, self.bases, strict=True):
            group[self.base_key] = base


class _Ear:
    """What the optimizer's hooks note. They hold this and not the scheduler, so that neither keeps the other alive."""

    __slots__ = ("always", "applied", "groups", "size")

    def __init__(self, always: bool) -> None:
        self.always = always  # every step() counts, whatever was heard
        self.applied = False  # an update since the last step()
        self.groups: list[Group] = []  # as they are arranged
        self.size = 0


class Scheduler(LRScheduler):
    """Sets hyper-parameters of an optimizer to schedule(t) before update t.

    Call `step()` after each `optimizer.step()`. It counts updates that were applied: one that a `GradScaler` skipped, a
    micro-batch of an accumulated gradient, or a second call for the same update (Accelerate makes one a process) does not move
    the schedule. A trainer that calls it once an epoch moves it by one an epoch.

    Args:
        optimizer: a torch optimizer.
        lr: a `Schedule` of absolute values, a `Factor` of each group's base, a number, or a mapping from groups (by index, or
            by the group's "name") to these. The base is the group's own rate when the scheduler is built, or its "initial_lr".
        betas: beta1 alone, or a pair of which either may be None.
        controller: a metric-driven rule such as `laju.adaptive.Plateau`, or a `Controller`; its factor multiplies `lr`.
        observe_within: updates within which `observe` must be called, again and again; by default a warning after 10,000.
        policy: what a checkpoint of other schedules does: "strict" is an error that shows both, "new" follows the code's from
            the saved position, "saved" goes on with the checkpoint's.
        count: "applied" counts the optimizer's own updates; "calls" counts the calls of `step`, for updates that torch does not
            see. An update that is captured in a CUDA graph goes over to calls by itself, as its replays are not seen.
        hyper_parameters: any other of the optimizer's by name (`weight_decay`, `momentum` …), driven as `lr` is.

    Raises:
        TypeError: not an optimizer, or not a schedule.
        ValueError: a hyper-parameter or group that the optimizer does not have, a factor of nothing, nothing to schedule, or an
            unknown policy.
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

    # Trainers read or write these; nothing here does, but for ignite's flag in `get_lr`.
    _step_count = 1
    _get_lr_called_within_step = False

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
        self.slots = _slots(optimizer, {"lr": lr, "betas": betas, **hyper_parameters})
        if not self.slots:
            raise ValueError("nothing is scheduled; give lr=schedule, or another hyper-parameter of the optimizer")
        self.controller = Controller(controller) if isinstance(controller, Rule) else controller
        if self.controller is not None and not isinstance(self.controller, Controller):
            raise TypeError(f"controller must be a rule such as Plateau, or a Controller, got {shown(controller)}")
        if self.controller is not None and not any(slot.key == "lr" for slot in self.slots):
            raise ValueError("a controller multiplies lr, but lr is not scheduled")
        self.observe_within = None if observe_within is None else whole("observe_within", observe_within, least=1)
        self.last_epoch = 0
        self._unfed = 0
        self._unheard = (0, 0)
        self._ear = _Ear(always=count == "calls")
        self._write()
        self._listen()

    # --- the groups ----------------------------------------------------------------------------------------------

    @property
    def base_lrs(self) -> list[float | torch.Tensor]:  # type: ignore[override]
        """Each group's own base rate."""
        return [group.get("initial_lr", group["lr"]) for group in self.optimizer.param_groups]

    def _arrange(self, groups: list[Group]) -> None:
        """Find which slot drives which group; the groups are other ones than before."""
        ear = self._ear
        reloaded = groups is not ear.groups and len(groups) == ear.size
        for slot in self.slots:
            slot.find(groups, reloaded=reloaded)
        for slot in self.slots:
            slot.keep_bases()
        ear.groups, ear.size = groups, len(groups)
        only = self.slots[0] if len(self.slots) == 1 and self.controller is None else None
        usual = only is not None and only.plain and not only.factor and len(only.groups) < _MANY
        self._only = only if usual else None

    def _write(self) -> None:
        """Put the values of update `last_epoch` in place."""
        groups = self.optimizer.param_groups
        if groups is not self._ear.groups or len(groups) != self._ear.size:
            self._arrange(groups)
        t, controller = self.last_epoch, self.controller
        for slot in self.slots:
            value = slot.values.at(t)
            if controller is not None and slot.key == "lr":
                value *= controller.factor
            slot.write(value)

    # --- counting ------------------------------------------------------------------------------------------------

    def _listen(self) -> None:
        """Hear of the optimizer's updates and of what is loaded into it."""
        me, ear = weakref.ref(self), self._ear

        def before(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
            groups = optimizer.param_groups
            if groups is not ear.groups or len(groups) != ear.size:
                _catch_up(me)  # the first update of a group that was added since shall have its value

        def after(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
            # A fused optimizer is called by GradScaler in any case, and leaves a bad update out itself.
            found = getattr(optimizer, "found_inf", None)
            if found is None or not bool(found):
                ear.applied = True
            if _capturing():
                _captured(me)

        def loaded(optimizer: torch.optim.Optimizer) -> None:
            _catch_up(me)

        inner = _innermost(self.optimizer)
        self._handles = [
            *optimizer_hooks(inner, before, after),
            inner.register_load_state_dict_post_hook(loaded),
        ]
        weakref.finalize(self, _remove, self._handles)

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
        only, ear = self._only, self._ear
        if only is None or epoch is not None or not ear.applied:
            self._step(epoch)
            return
        # The usual case, one absolute schedule in plain numbers, in as few operations as Python needs for it.
        ear.applied = False
        t = self.last_epoch = self.last_epoch + 1
        values = only.values
        value = values.block[t - values.begin] if values.begin <= t < values.end else values.at(t)
        key = only.key
        for group in only.groups:
            group[key] = value

    def _step(self, epoch: int | None) -> None:
        if epoch is not None:
            raise TypeError(
                f"step() counts updates itself and takes no position, got {shown(epoch)}; see set_position, and observe for "
                "a metric"
            )
        if not (self._ear.applied or self._ear.always):
            self._check_heard()
            return
        if self.controller is not None:
            self._check_fed()
        self._ear.applied = False
        self.last_epoch += 1
        self._write()

    def _initial_step(self) -> None:
        raise TypeError(
            "a laju Scheduler cannot be a part of torch's SequentialLR; chain the schedules instead: a >> b"
        )

    def _check_heard(self) -> None:
        position, calls = self._unheard
        self._unheard = self.last_epoch, calls + 1 if position == self.last_epoch else 1
        if self._unheard[1] == _UNHEARD:
            warnings.warn(
                f"step() was called {_UNHEARD} times since the last update that was applied; such calls do not count, which is "
                "right for skipped updates and micro-batches. Where torch does not see the updates, use count='calls'",
                RuntimeWarning,
                stacklevel=4,
            )

    def _check_fed(self) -> None:
        text = f"no metric was observed in the last {self._unfed} updates; call scheduler.observe(metric) after each evaluation"
        if self.observe_within is not None and self._unfed >= self.observe_within:
            raise RuntimeError(f"{text} (observe_within={self.observe_within})")
        if self.observe_within is None and self._unfed == _UNFED:
            warnings.warn(text, RuntimeWarning, stacklevel=4)
        self._unfed += 1

    def set_position(self, t: int) -> None:
        """Go to the point after `t` completed updates; doing it twice is the same as once."""
        self.last_epoch = whole("t", t)
        self._ear.applied = False
        self._write()

    def observe(self, metric: Any) -> float:
        """Tell the controller a metric, and apply what it decides to the next update.

        Returns:
            The factor that multiplies `lr` from now on.

        Raises:
            RuntimeError: there is no controller.
        """
        controller = self.controller
        if controller is None:
            raise RuntimeError(
                "this scheduler has no controller; give one, such as controller=laju.adaptive.Plateau(0.1, patience=5)"
            )
        # With their positions, decisions can be replayed as a plain schedule: controller.recorded(schedule).
        factor = controller.observe(metric, at=self.last_epoch if controller._decisions is not None else None)
        self._unfed = 0
        self._write()
        return factor

    def get_lr(self) -> list[float | torch.Tensor]:
        """The rate of each group in the next update."""
        if self._get_lr_called_within_step:  # ignite's wrapper sets `last_epoch` itself, and then writes lr alone
            self._write()
        return self.get_last_lr()

    def get_last_lr(self) -> list[float | torch.Tensor]:
        """The rate of each group in the next update."""
        rates = [group["lr"] for group in self.optimizer.param_groups]
        return [float(rate) if isinstance(rate, torch.Tensor) else rate for rate in rates]

    @property
    def _last_lr(self) -> list[float | torch.Tensor]:  # type: ignore[override]
        return self.get_last_lr()

    # --- checkpoints ---------------------------------------------------------------------------------------------

    def _schedules(self) -> dict[str, Schedule]:
        return {slot.name: slot.schedule for slot in self.slots}

    def state_dict(self) -> dict[str, Any]:
        """The counter, the schedules, the bases of the groups and the controller's state: plain numbers, texts and lists."""
        return save(
            KIND,
            self.last_epoch,
            self._schedules(),
            bases={slot.name: slot.bases for slot in self.slots if slot.factor},
            controller=None if self.controller is None else self.controller.state_dict(),
            unfed=self._unfed,
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
        bases = {} if policy == "new" else self._saved_bases(more.get("bases"), policy)
        controller = load_controller(self.controller, more.get("controller"), policy)
        try:
            unfed = whole("unfed", more.get("unfed", 0))
        except (TypeError, ValueError) as error:
            raise StateError(f"state_dict cannot be read: {error}") from None
        for slot in self.slots:
            if slot.schedule != schedules[slot.name]:
                slot.follow(schedules[slot.name])
            slot.bases = bases.get(slot.name, slot.bases)
            slot.keep_bases()
        if self.controller is not None and controller is not None:
            vars(self.controller).update(vars(controller))
        self._unfed = unfed
        self.set_position(position)

    def _saved_bases(self, saved: Any, policy: Policy) -> dict[str, list[float]]:
        """The bases that the slots go on with."""
        found = {}
        for slot in self.slots:
            if not slot.factor:
                continue
            try:
                bases = [number("a base", base) for base in saved[slot.name]]
            except (TypeError, ValueError, KeyError):
                raise StateError(f"bases in state_dict must have numbers for {slot.name}, got {shown(saved)}") from None
            if len(bases) != len(slot.bases):
                raise StateError(
                    f"state_dict has the bases of {len(bases)} groups for {slot.name}, but the optimizer has {len(slot.bases)}; "
                    "add the groups before loading"
                )
            if policy == "strict" and bases != slot.bases:
                raise StateError(
                    f"state_dict was saved with the bases {bases} for {slot.name}, but the optimizer has {slot.bases}; load it "
                    "with policy='new' or policy='saved'"
                )
            found[slot.name] = bases
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_handles"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._listen()


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _catch_up(me: weakref.ref[Scheduler]) -> None:
    scheduler = me()
    if scheduler is not None:
        scheduler._write()


def _capturing() -> bool:
    """Whether a CUDA graph is being captured, whose replays no hook will see."""
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()


def _captured(me: weakref.ref[Scheduler]) -> None:
    scheduler = me()
    if scheduler is None:
        return
    scheduler._ear.always = True
    for slot in scheduler.slots:
        for group in slot.groups:
            value = group[slot.key] if slot.index is None else group[slot.key][slot.index]
            if not isinstance(value, torch.Tensor):
                raise RuntimeError(
                    f"{slot.name} is a Python number, which the captured graph would keep for ever; give the optimizer a tensor "
                    f"on its device instead, such as {slot.key}=torch.tensor({value!r}, device='cuda')"
                )


def optimizer_hooks(
    optimizer: torch.optim.Optimizer, before: Callable[..., None], after: Callable[..., None]
) -> list[Any]:
    """Register two functions around every update; the handles remove them."""
    optimizer = _innermost(optimizer)
    return [optimizer.register_step_pre_hook(before), optimizer.register_step_post_hook(after)]


def _innermost(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """The optimizer that calls hooks: wrappers, such as Accelerate's, that are optimizers by name pass calls on to it."""
    while not getattr(type(optimizer).step, "hooked", False):
        inside = [part for part in vars(optimizer).values() if isinstance(part, torch.optim.Optimizer)]
        if len(inside) != 1:
            break
        optimizer = inside[0]
    return optimizer


def _remove(handles: Iterable[Any]) -> None:
    for handle in handles:
        handle.remove()


def _slots(optimizer: torch.optim.Optimizer, given: Mapping[str, Any]) -> list[Slot]:
    slots: list[Slot] = []
    names = [key for key in optimizer.defaults if key != "params"]
    for key, value in given.items():
        if value is None:
            continue
        if key == "params" or not all(key in group for group in optimizer.param_groups):
            raise ValueError(
                f"{type(optimizer).__name__} has no hyper-parameter {key!r}{nearest(key, names)}; it has {', '.join(names)}"
            )
        first = optimizer.param_groups[0][key]
        if not isinstance(first, tuple | list):
            slots += _of_groups(optimizer, key, key, None, value)
            continue
        parts = value if isinstance(value, tuple | list) else (value,)  # of betas
        if len(parts) > len(first):
            raise ValueError(f"{key} has {len(first)} values, got {len(parts)} schedules for them")
        for i, part in enumerate(parts):
            if part is not None:
                slots += _of_groups(optimizer, f"{key}[{i}]", key, i, part)
    return slots


def _of_groups(optimizer: torch.optim.Optimizer, name: str, key: str, index: int | None, value: Any) -> list[Slot]:
    if not isinstance(value, Mapping):
        return [Slot(name, key, index, None, _driven(name, value))]
    names = [group.get("name") for group in optimizer.param_groups]
    slots = []
    driven: dict[int, Any] = {}
    for group, part in value.items():
        found = [i for i, n in enumerate(names) if group == (i if isinstance(group, int) else n)]
        if not found or isinstance(group, bool):
            valid = [n for n in names if n is not None]
            raise ValueError(
                f"{name} is given for group {group!r}, which the optimizer does not have{nearest(str(group), valid)}; groups are "
                f"{', '.join([*map(repr, valid), f'0 to {len(names) - 1}'])}"
            )
        for i in found:
            if i in driven:
                raise ValueError(f"{name} is given twice for group {i}, as {driven[i]!r} and as {group!r}")
            driven[i] = group
        slots.append(Slot(f"{name} of group {group!r}", key, index, group, _driven(name, part)))
    return slots


def _driven(name: str, value: Any) -> Driven:
    if isinstance(value, Schedule | Factor) or is_number(value):
        return value
    raise TypeError(f"{name} must be a schedule, a Factor or a number, got {shown(value)}")


def after_epoch(schedule: Schedule | str, optimizer: torch.optim.Optimizer) -> Callable[[int], float]:
    """Return epoch ↦ schedule(epoch + 1), for a loop that asks when an epoch is over; the first rate is set at once.

    Loops such as the one of *Dive into Deep Learning* end epoch e with `group["lr"] = scheduler(e)`, so a schedule itself would
    come one epoch late. One count of the schedule is an epoch here, and epochs count from 0.

    Args:
        schedule: of absolute rates, or its text; the loop gives the same rate to every group of parameters.
        optimizer: the torch optimizer, whose groups all get schedule(0) for epoch 0.

    Raises:
        TypeError: neither a schedule nor text, or not an optimizer.
        SpecError: a text that cannot be read.
        UnresolvedError: lengths in other units than epochs.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])
    >>> scheduler = after_epoch("linear(1, 0, total=4)", optimizer)
    >>> for epoch in range(3):
    ...     print(optimizer.param_groups[0]["lr"])
    ...     optimizer.param_groups[0]["lr"] = scheduler(epoch)
    1.0
    0.75
    0.5
    """
    by_epoch = parse(schedule) if isinstance(schedule, str) else schedule
    if not isinstance(by_epoch, Schedule):
        raise TypeError(f"schedule must be a schedule or its text, got {shown(schedule)}")
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"optimizer must be a torch optimizer, got {shown(optimizer)}")
    if by_epoch.units - {"epochs"}:
        raise UnresolvedError(
            f"after_epoch counts epochs, but {shown(by_epoch)} has lengths in {', '.join(sorted(by_epoch.units))}; "
            "give its lengths in epochs"
        )
    by_epoch = by_epoch.resolve(RunPlan(samples=1, batch_size=1, epochs=1))  # in which an epoch is one update
    for group in optimizer.param_groups:
        group["lr"] = by_epoch(0)
    return lambda epoch: float(by_epoch(epoch + 1))


def trace(
    make_scheduler: Callable[[torch.optim.Optimizer], Any], n: int, *, base: float = 1.0, key: str = "lr"
) -> list[float]:
    """The sequence that any torch scheduler really uses in the first `n` updates, stepped once after each.

    Args:
        make_scheduler: makes the scheduler for an optimizer; it gets an optimizer of its own, so nothing of the caller's is
            touched.
        n: updates.
        base: the optimizer's rate before the scheduler is made.
        key: the hyper-parameter to read: "lr", "momentum" or "weight_decay".

    Raises:
        TypeError: not a function that makes a scheduler, or a scheduler that follows a metric.
        ValueError: a scheduler of another optimizer than the one given, or a hyper-parameter that SGD does not have.

    >>> trace(lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4), 6)[4:]
    [0.0, 0.1464466094067262]
    """
    n = whole("n", n)
    if not callable(make_scheduler):
        raise TypeError(
            f"make_scheduler must be a function from an optimizer to a scheduler, got {shown(make_scheduler)}"
        )
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    optimizer = torch.optim.SGD([parameter], lr=base, momentum=0.5)
    group = optimizer.param_groups[0]
    if key not in optimizer.defaults:
        raise ValueError(f"key must be a hyper-parameter of SGD, got {key!r}{nearest(key, optimizer.defaults)}")
    scheduler = make_scheduler(optimizer)
    if isinstance(scheduler, ReduceLROnPlateau):
        raise TypeError(
            "ReduceLROnPlateau follows a metric and has no sequence of its own; laju.adaptive.simulate shows what "
            "laju.adaptive.Plateau makes of metrics"
        )
    if not hasattr(scheduler, "step"):
        raise TypeError(f"make_scheduler must return a scheduler, got {shown(scheduler)}")
    if getattr(scheduler, "optimizer", optimizer) is not optimizer:
        raise ValueError("make_scheduler must make the scheduler for the optimizer that it is given, not for another")
    used: list[float] = []
    with warnings.catch_warnings():
        # SequentialLR steps its parts in a way that torch itself warns of.
        warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\.optim\.lr_scheduler")
        while len(used) < n:
            if used:
                optimizer.step()
                scheduler.step()
            used.append(float(group[key]))
    return used
