"""A schedule as a torch learning-rate scheduler.

The adapter has its own counter and only writes into the optimizer: no value is read back to compute the next value. The order in
which optimizer, scheduler and their checkpoints are constructed and loaded therefore has no effect.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch.optim.lr_scheduler import LRScheduler

from laju.adaptive import Controller, Rule, StateError
from laju.adaptive.rules import one_number
from laju.core.checks import choice, number, shown, whole
from laju.core.schedule import Schedule
from laju.core.units import RunPlan, Scale, as_length
from laju.frameworks.state import Policy, check_policy, load, load_controller, save
from laju.frameworks.torch.clock import Clock
from laju.frameworks.torch.hook import DEAF, Ear
from laju.frameworks.torch.inside import inner_optimizer
from laju.frameworks.torch.slots import Group, Slot, slots_of
from laju.frameworks.values import Driven

KIND = "torch.Scheduler"
_UNFED = 10_000


class Scheduler(LRScheduler):
    """Scheduler that sets hyper-parameters of an optimizer to schedule(t) before update t.

    Call `step()` after each `optimizer.step()`. The scheduler counts applied updates: an update that a `GradScaler` skipped, a
    micro-batch of an accumulated gradient, or a second call for the same update (Accelerate calls `step()` once for each process)
    does not advance the schedule. If the meaning of a call is ambiguous, the first such call gives a `laju.ScheduleWarning`.

    Args:
        optimizer: a torch optimizer, or several that update together, such as Muon for matrices and AdamW for all remaining
            parameters. Call `step()` after all optimizers have updated.
        lr: the learning rate: a `Schedule` of absolute values or its text, a `Factor` of each group's base, a number, or a
            mapping from groups (by index, or by the group's "name") to schedules, factors or numbers; for several optimizers also
            a list with an entry for each. The base is the group's own learning rate when the scheduler is constructed, or
            "initial_lr".
        betas: the schedule of beta1, or a pair for beta1 and beta2, in which either may be None.
        plan: the run plan; needed for schedules in epochs, percent, samples or tokens.
        every: "update" (the default) if `step()` is called after each update, "epoch" if `step()` is called after each epoch.
            With "epoch", lengths in epochs need no plan, and a number without a unit is a number of epochs.
        last_epoch: the saved count of torch's schedulers; the schedule begins at last_epoch + 1.
        controller: a metric-driven rule such as `laju.adaptive.Plateau`, or a `Controller`; its factor multiplies `lr`.
        observe_within: largest number of updates between two observations of the metric; exceeding the number is an error. By
            default there is a warning after 10,000 updates.
        policy: how to load a checkpoint whose schedules differ from the code's: "strict" (the default) raises an error that shows
            both, "new" follows the code's schedules from the saved position on, "saved" follows the checkpoint's schedules.
        count: "applied" (the default) counts the optimizer's updates; "calls" counts the calls of `step`, for updates that torch
            does not report. Capturing an update in a CUDA graph switches to "calls", because replays are not reported.
        hyper_parameters: further hyper-parameters of the optimizer by name (`weight_decay`, `momentum` …), with the same kinds of
            values as `lr`.

    Raises:
        TypeError: if an argument is not an optimizer or not a schedule.
        ValueError: if the optimizer does not have the hyper-parameter or group, the base of a factor is 0, nothing is scheduled,
            or the policy is unknown.
        SpecError: if a text is not a schedule.
        UnresolvedError: if lengths are not in updates and there is no plan.

    >>> import torch, laju
    >>> weight = torch.nn.Parameter(torch.zeros(1))
    >>> weight.grad = torch.ones(1)
    >>> optimizer = torch.optim.SGD([weight])
    >>> scheduler = Scheduler(optimizer, lr="linear(1, 0, total=4)")
    >>> for _ in range(2):
    ...     optimizer.step()
    ...     scheduler.step()
    >>> optimizer.param_groups[0]["lr"], scheduler
    (0.5, <Scheduler of SGD at update 2: lr=linear(1, 0, total=4)>)
    """

    _clock: Clock
    # Trainers write this attribute; here only `get_lr` reads it, for ignite.
    _get_lr_called_within_step = False

    def __init__(
        self,
        optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer],
        lr: Driven | Mapping[int | str, Driven] | Sequence[Any] | None = None,
        *,
        betas: Any = None,
        plan: RunPlan | Scale | None = None,
        every: Literal["update", "epoch"] = "update",
        last_epoch: int = -1,
        controller: Rule[Any] | Controller | None = None,
        observe_within: int | None = None,
        policy: Policy = "strict",
        count: Literal["applied", "calls"] = "applied",
        **hyper_parameters: Any,
    ) -> None:
        # LRScheduler's own __init__ is left out on purpose: that method wraps optimizer.step and takes a step of its own.
        optimizers = _optimizers(optimizer)
        choice("count", count, ("applied", "calls"))
        choice("every", every, ("update", "epoch"))
        if plan is not None and not isinstance(plan, RunPlan | Scale):
            raise TypeError(f"plan must be a RunPlan, got {shown(plan)}")
        self.policy = check_policy(policy)
        self.every = every
        slots = slots_of(optimizers, {"lr": lr, "betas": betas, **hyper_parameters}, plan, epochs=every == "epoch")
        if not slots:
            raise ValueError("nothing is scheduled; give lr=schedule, or a schedule of a different hyper-parameter")
        self.controller = Controller(controller) if isinstance(controller, Rule) else controller
        if self.controller is not None and not isinstance(self.controller, Controller):
            raise TypeError(f"controller must be a rule such as Plateau, or a Controller, got {shown(controller)}")
        if self.controller is not None and not any(slot.key == "lr" for slot in slots):
            raise ValueError("a controller multiplies lr, but lr is not scheduled")
        self.observe_within = None if observe_within is None else whole("observe_within", observe_within, least=1)
        self._t = whole("last_epoch", last_epoch, least=-1) + 1
        self._count = count
        self._updates_an_epoch = _updates_an_epoch(plan)
        self._unfed = 0
        self._bind(optimizers, slots)

    # --- optimizers and groups -----------------------------------------------------------------------------------

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimizer, or the first of several optimizers; after an assignment the scheduler drives the new optimizer."""
        return self.optimizers[0]

    @optimizer.setter
    def optimizer(self, optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer]) -> None:
        optimizers = _optimizers(optimizer)
        if len(optimizers) != len(self.optimizers):
            raise ValueError(
                f"optimizer must be {len(self.optimizers)} optimizers, as this scheduler drives {self._kinds}, got "
                f"{len(optimizers)}"
            )
        slots = [copy.copy(slot) for slot in self.slots]
        for slot in slots:
            slot.groups, slot.bases = [], []
        self._bind(optimizers, slots)

    def _bind(self, optimizers: tuple[torch.optim.Optimizer, ...], slots: list[Slot]) -> None:
        """Drive the optimizers with the slots; an error leaves the scheduler unchanged."""
        where = [(i, group) for i, optimizer in enumerate(optimizers) for group in optimizer.param_groups]
        for slot in slots:
            slot.find(where, reloaded=False)
            if not slot.groups:
                raise ValueError(f"{slot.name} is scheduled, but the optimizer has no such group")
        if hasattr(self, "_clock"):
            self._clock.release()
        self.optimizers, self.slots = optimizers, slots
        self._ear: Ear = DEAF
        self._clock = Clock(calls=self._count == "calls", epochs=self.every == "epoch")
        self._arranged()
        self._put()
        self._clock.bind(self)
        self._clock.begin(self)

    @property
    def _kinds(self) -> str:
        return " and ".join(dict.fromkeys(type(optimizer).__name__ for optimizer in self.optimizers))

    @property
    def base_lrs(self) -> list[float | torch.Tensor]:  # type: ignore[override]
        """Base learning rate of each group."""
        return [group["initial_lr" if "initial_lr" in group else "lr"] for group in self._groups()]

    def _groups(self) -> list[Group]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def _arrange(self) -> None:
        """Find which slot drives which group, after a change of the groups."""
        parts = [optimizer.param_groups for optimizer in self.optimizers]
        if len(parts) == len(self._parts) and all(
            new is old and len(new) == len(dicts) and all(map(_is, new, dicts))
            for new, (old, dicts) in zip(parts, self._parts, strict=True)
        ):
            return
        # A list of the same length holds the same groups, with the values of a checkpoint.
        # `load_state_dict` of an optimizer puts new dicts into a new list, which identity shows. Bases must not be read from
        # these: the rates of a checkpoint are values on the way, not bases.
        reloaded = [len(dicts) for _, dicts in self._parts] == [len(part) for part in parts] and any(
            new is not old for new, (old, _) in zip(parts, self._parts, strict=True)
        )
        where = [(i, group) for i, part in enumerate(parts) for group in part]
        for slot in self.slots:
            slot.find(where, reloaded=reloaded)
        self._arranged()

    def _arranged(self) -> None:
        for slot in self.slots:
            slot.keep_bases()
        self._parts = [(optimizer.param_groups, list(optimizer.param_groups)) for optimizer in self.optimizers]
        self._clock.arranged(self)

    def _write(self) -> None:
        """Put the values of update `last_epoch` in place, in the groups that there are now."""
        self._arrange()
        self._put()

    def _put(self) -> None:
        t, controller = self.last_epoch, self.controller
        for slot in self.slots:
            value = slot.values.at(t)
            if controller is not None and slot.key == "lr":
                value *= controller.factor
            slot.write(value)

    def _loaded(self) -> None:
        """Something was loaded into the optimizer."""
        self._write()
        self._clock.begin(self)

    def _holds(self) -> bool:
        """Whether the groups still have this scheduler's values."""
        factor = 1.0 if self.controller is None else self.controller.factor
        return all(
            slot.holds(slot.values.at(self.last_epoch) * (factor if slot.key == "lr" else 1.0)) for slot in self.slots
        )

    def _constant(self) -> bool:
        """Whether every schedule is constant, so that a clock that counts too little changes nothing."""
        return all(slot.schedule.level is not None for slot in self.slots)

    def _captured(self) -> None:
        """An update is being captured in a CUDA graph, whose replays are counted by the calls of `step`."""
        self._clock.calls = True
        self._clock.tune(self)
        for slot in self.slots:
            for group in slot.groups:
                value = group[slot.key] if slot.index is None else group[slot.key][slot.index]
                if not isinstance(value, torch.Tensor):
                    raise RuntimeError(
                        f"{slot.name} is a Python number, which the captured graph would keep permanently; give the optimizer a "
                        f"tensor on its device instead, such as {slot.key}=torch.tensor({value!r}, device='cuda')"
                    )

    # --- counting ------------------------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """Number of completed updates, or of completed epochs with every="epoch"."""
        return self.last_epoch

    @property
    def last_epoch(self) -> int:
        """The position, under torch's name. An assigned value takes effect at the next `step()`; see `set_position`."""
        return self._t

    @last_epoch.setter
    def last_epoch(self, t: int) -> None:
        self._t = t
        self._ear.upcoming = iter(())

    @property
    def _step_count(self) -> int:
        return self.last_epoch + 1

    @_step_count.setter
    def _step_count(self, value: int) -> None:
        """Accelerate counts micro-batches here."""

    def step(self, metrics: Any = None, epoch: int | None = None) -> None:  # type: ignore[override]
        """Count a completed update and write the values of the next update into the groups.

        Args:
            metrics: the metric that the controller observes, for trainers that pass a metric to `step`.
            epoch: not supported; use `set_position`.

        Raises:
            TypeError: if a position is given, or a metric without a controller.
            RuntimeError: if the controller has not observed a metric within `observe_within` updates.
        """
        ear = self._ear
        if ear.heard != 1 or metrics is not None or epoch is not None:
            self._step(metrics, epoch)
            return
        # The usual case, in as few operations as Python needs: nothing is looked up that `tune` knew before.
        ear.heard = 0
        self._t += 1
        for value in ear.upcoming:  # noqa: B007 - the fastest way to the next value of a list
            break
        else:
            value = ear.renew(self._t)
        key = ear.key
        for group in ear.rest:
            group[key] = value
        if ear.more:
            for a, b, c, d, e, f, g, h in ear.eights:
                a[key] = b[key] = c[key] = d[key] = e[key] = f[key] = g[key] = h[key] = value
            for slot in ear.slots:
                slot.write(slot.values.at(self._t))

    def _step(self, metrics: Any, epoch: int | None) -> None:
        if epoch is not None or (metrics is not None and self.controller is None):
            raise TypeError(
                f"step() counts updates itself and takes no position, got {shown(metrics if epoch is None else epoch)}; see "
                "set_position, and controller for a metric"
            )
        controller, clock = self.controller, self._clock
        if metrics is not None and controller is not None and controller._reduce is None:
            one_number("metrics", metrics)
        unfed, due = controller is not None and metrics is None, clock.due()
        if unfed and due:  # an error comes before anything is consumed
            self._check_fed()
        if clock.moves(self):
            if unfed and not due:
                self._check_fed()
            self.last_epoch += 1
            self._unfed += 1
            if clock.calls:
                self._write()
            else:  # the hook has seen to the groups
                self._put()
        if metrics is not None:
            self.observe(metrics)

    def _initial_step(self) -> None:
        raise TypeError(
            "a laju Scheduler cannot be a part of torch's SequentialLR; chain the schedules instead: a >> b"
        )

    def _check_fed(self) -> None:
        unfed = self._unfed
        text = (
            f"no metric was observed in the last {unfed} updates; call scheduler.observe(metric) after each evaluation"
        )
        if self.observe_within is not None and unfed >= self.observe_within:
            raise RuntimeError(f"{text} (observe_within={self.observe_within})")
        if self.observe_within is None and unfed >= _UNFED:
            self._clock.tell("unfed", text)
        if unfed >= (1 if self.every == "epoch" or self._clock.lumps else self._updates_an_epoch or _UNFED):
            self._check_ever_fed()

    def _check_ever_fed(self) -> None:
        """Warn about a controller that has never observed a metric, at the end of an epoch or when a checkpoint is saved."""
        controller = self.controller
        if controller is None or not self._unfed or controller.state != controller.rule.initial():
            return
        self._clock.tell(
            "unfed",
            f"no metric was observed in the first {self._unfed} {self.every}s, so the controller has not changed the rate; call "
            "scheduler.observe(metric), or step(metric), after each evaluation (reduce_on_plateau=True in Lightning)",
        )

    def set_position(self, t: int) -> None:
        """Move the scheduler to the state after `t` completed updates; a second call with the same `t` has no effect."""
        self.last_epoch = whole("t", t)
        self._write()
        self._clock.begin(self)

    def observe(self, metric: Any) -> float:
        """Pass a metric to the controller, and apply its decision to the next update.

        Returns:
            The factor that multiplies `lr` from now on.

        Raises:
            RuntimeError: if the scheduler has no controller.
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
        """Return the learning rate of each group in the next update."""
        if self._get_lr_called_within_step:  # ignite's wrapper sets `last_epoch` itself, and then writes lr alone
            self._clock.acknowledge()
            self._write()
        return self.get_last_lr()

    def get_last_lr(self) -> list[float | torch.Tensor]:
        """Return the learning rate of each group in the next update."""
        rates = [group["lr"] for group in self._groups()]
        return [float(rate) if isinstance(rate, torch.Tensor) else rate for rate in rates]

    @property
    def _last_lr(self) -> list[float | torch.Tensor]:  # type: ignore[override]
        return self.get_last_lr()

    def __repr__(self) -> str:
        parts = [f"{slot.name}={slot.schedule}" for slot in self.slots]
        if self.controller is not None:
            parts.append(f"controller={self.controller!r}")
        return f"<Scheduler of {self._kinds} at {self.every} {self.last_epoch}: {', '.join(parts)}>"

    # --- checkpoints ---------------------------------------------------------------------------------------------

    def _schedules(self) -> dict[str, Schedule]:
        return {slot.name: slot.schedule for slot in self.slots}

    def state_dict(self) -> dict[str, Any]:
        """Return the counter, the schedules, the bases of the groups and the controller's state: numbers, strings and lists."""
        self._clock.saved(self)
        self._check_ever_fed()
        return save(
            KIND,
            self.last_epoch,
            self._schedules(),
            bases={slot.name: slot.bases for slot in self.slots if slot.factor},
            controller=None if self.controller is None else self.controller.state_dict(),
            unfed=self._unfed,
            every=self.every,
            strides={slot.name: slot.stride for slot in self.slots if slot.stride != 1},
        )

    def load_state_dict(self, state_dict: dict[str, Any], policy: Policy | None = None) -> None:
        """Restore a saved state; an error leaves the scheduler unchanged.

        Args:
            state_dict: the state returned by `state_dict()`, which is not modified.
            policy: policy for this call, instead of the scheduler's own.

        Raises:
            StateError: if the state is of a different kind or version, or, with "strict", if schedules or bases differ.
        """
        policy = self.policy if policy is None else check_policy(policy)
        position, schedules, more = load(KIND, state_dict, self._schedules(), policy)
        every = more.get("every", self.every if not more else "update")
        if every != self.every:
            raise StateError(
                f"state_dict was saved with every={shown(every)}, but this scheduler has every={self.every!r}; construct the "
                "scheduler with the saved value, or call set_position(n)"
            )
        bases = {} if policy == "new" else self._saved_bases(more.get("bases"), policy)
        controller = load_controller(self.controller, more.get("controller"), policy)
        try:
            unfed = whole("unfed", more.get("unfed", 0))
            strides = {name: whole("strides", n, least=1) for name, n in dict(more.get("strides", {})).items()}
        except (TypeError, ValueError) as error:
            raise StateError(f"state_dict cannot be read: {error}") from None
        for slot in self.slots:
            # From here on the scheduler changes: all of the state has been read, and refused where it had to be.
            if slot.schedule != schedules[slot.name]:
                slot.follow(schedules[slot.name], strides.get(slot.name, 1))
            slot.bases = bases.get(slot.name, slot.bases)
            slot.keep_bases()
        if self.controller is not None and controller is not None:
            vars(self.controller).update(vars(controller))
        self._unfed = unfed
        self.set_position(position)

    def _saved_bases(self, saved: Any, policy: Policy) -> dict[str, list[float]]:
        """Return the bases with which the slots continue."""
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
        # Hooks, weak references and iterators can be neither pickled nor copied; `__setstate__` binds the copy anew.
        return {name: value for name, value in vars(self).items() if name not in ("_clock", "_ear", "_parts")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._bind(self.optimizers, self.slots)


def _updates_an_epoch(plan: RunPlan | Scale | None) -> int | None:
    scale = plan.scale if isinstance(plan, RunPlan) and not plan.batch_ramp else plan
    if not isinstance(scale, Scale) or "epochs" not in dict(scale.per):
        return None
    return math.ceil(scale.updates(as_length("1 epoch")))


def _is(a: object, b: object) -> bool:
    return a is b


def _optimizers(given: Any) -> tuple[torch.optim.Optimizer, ...]:
    optimizers = tuple(given) if isinstance(given, list | tuple) and given else (given,)
    for optimizer in optimizers:
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError(
                f"optimizer must be a torch optimizer or several, got {shown(optimizer)}{inner_optimizer(optimizer)}"
            )
    if len(set(map(id, optimizers))) < len(optimizers):
        raise ValueError("optimizer must be different optimizers, got one of them twice")
    return optimizers
