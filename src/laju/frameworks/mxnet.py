"""A schedule as an MXNet learning-rate scheduler, for `gluon.Trainer` and any `mxnet.optimizer.Optimizer`.

MXNet's optimizer counts the updates and calls the scheduler with n = 1 for the first update, so `Scheduler` returns schedule(n -
1). Further features (the position, weight decay, metrics, checkpoints) need the optimizer's count: `attach` passes the optimizer
to the scheduler.
"""

from __future__ import annotations

import contextvars
import copy
import os
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self

from laju.adaptive import Controller, Rule, StateError
from laju.core.checks import ScheduleWarning, shown, whole
from laju.core.extras import needed_by
from laju.core.schedule import Schedule
from laju.core.units import RunPlan
from laju.frameworks.state import Policy, check_policy, load, opened, save
from laju.frameworks.values import Values, given
from laju.text.json import from_json

with needed_by("laju.frameworks.mxnet, in an environment of its own with NumPy below 1.24,", "mxnet"):
    from mxnet import optimizer as mx_optimizer
    from mxnet.lr_scheduler import LRScheduler

KIND = "mxnet.Scheduler"


class _Found(NamedTuple):
    """Content of a checkpoint, read and checked against the scheduler that loads the checkpoint."""

    position: int
    schedules: dict[str, Schedule]
    controller: dict[str, Any] | None
    observed: int
    offset: int


class _Loading:
    """Scheduler that will replace the scheduler in the trainer's file."""

    def __init__(self, scheduler: Scheduler, policy: Policy) -> None:
        self.scheduler, self.policy = scheduler, policy
        self.found: _Found | None = None


_LOADING: contextvars.ContextVar[_Loading | None] = contextvars.ContextVar("loading", default=None)


class Scheduler(LRScheduler):  # type: ignore[misc]  # MXNet has no types
    """Scheduler that gives an MXNet optimizer the learning rate schedule(t) for update t, t from 0.

    MXNet's count n is 1 in the first update: rate(n) = schedule(n - 1)·factor. Each parameter's `lr_mult` multiplies the rate, so
    parameters keep their ratios. `trainer.learning_rate` is the rate of the last update, and schedule(0) before the first.

    Args:
        schedule: absolute learning rates; a schedule, or its text.
        wd: a schedule (or its text) of the optimizer's weight decay `wd`; each parameter's `wd_mult` multiplies the value.
        controller: a metric-driven rule such as `laju.adaptive.Plateau`, or a `Controller`; its factor multiplies the rate.
        observe_within: largest number of updates between two calls of `observe`; exceeding the number is an error. By default
            there is a warning after 10,000 updates.
        policy: how to load a checkpoint whose schedules differ from the code's: "strict" (the default) raises an error that shows
            both, "new" follows the code's schedules from the saved position on, "saved" follows the checkpoint's schedules.
        plan: the run plan, needed for schedules in epochs or percent.

    Pass the scheduler to the optimizer as `lr_scheduler`, or to an existing trainer with `attach`. `wd`, a controller and
    checkpoints need `attach` in any case. `trainer.save_states` also writes the schedule; load the file with
    `scheduler.load_states(trainer, file)`. Calling `trainer.load_states` alone is an error, because MXNet would silently replace
    the code's schedule by the file's.

    - `begin_num_update=k` starts at schedule(k), also without a checkpoint.
    - A parameter that has missed updates (`ignore_stale_grad`) can get the value of the previous update: MXNet passes the largest
      count of all parameters so far.
    - If a key-value store makes the updates (several devices, `update_on_kvstore`), MXNet prints errors of the scheduler and
      skips the update, instead of raising.

    Raises:
        TypeError: if an argument is not a schedule or not a rule.
        ValueError: if the policy is unknown, or a text is not a schedule (`SpecError`).
        UnresolvedError: if lengths are not in updates and there is no plan.

    >>> import laju
    >>> from mxnet import gluon
    >>> weight = gluon.Parameter("weight", shape=(1,))
    >>> weight.initialize()
    >>> scheduler = Scheduler(laju.linear(1, 0, total=4))
    >>> trainer = gluon.Trainer([weight], "sgd", {"lr_scheduler": scheduler})
    >>> trainer.learning_rate
    1.0
    >>> [scheduler(n) for n in (1, 2, 3)]  # MXNet's counts of the first three updates
    [1.0, 0.75, 0.5]
    """

    def __init__(
        self,
        schedule: Schedule | str,
        *,
        wd: Schedule | str | None = None,
        controller: Rule[Any] | Controller | None = None,
        observe_within: int | None = None,
        policy: Policy = "strict",
        plan: RunPlan | None = None,
    ) -> None:
        # LRScheduler's own __init__ is left out on purpose: its warmup is not laju's.
        hint = "an MXNet optimizer has no base of its own; write base * schedule, and give parameters their ratios by lr_mult"
        self._values = Values(given("schedule", schedule, plan, hint=hint))
        self._wd = None if wd is None else Values(given("wd", wd, plan, hint=hint))
        self.controller = Controller(controller) if isinstance(controller, Rule) else controller
        if self.controller is not None and not isinstance(self.controller, Controller):
            raise TypeError(f"controller must be a rule such as Plateau, or a Controller, got {shown(controller)}")
        self.observe_within = None if observe_within is None else whole("observe_within", observe_within, least=1)
        self.policy = check_policy(policy)
        self._owner: weakref.ref[Any] | None = None
        self._offset = 0  # schedule's position less the optimizer's count
        self._pending: int | None = None  # a position that was set before the optimizer was known
        self._fed = 0  # position of the last observation
        self._warned = False

    @property
    def schedule(self) -> Schedule:
        return self._values.schedule

    @property
    def wd(self) -> Schedule | None:
        return None if self._wd is None else self._wd.schedule

    @property
    def base_lr(self) -> float:
        """Learning rate of update 0; an assignment has no effect."""
        return self._values.at(0)

    @base_lr.setter
    def base_lr(self, rate: float) -> None:
        warnings.warn(
            f"MXNet says that the optimizer's learning_rate={rate!r} (a default, if you gave none) has overwritten the "
            "scheduler's. It has not: a schedule's values are absolute. learning_rate=None in the optimizer's arguments says so",
            ScheduleWarning,
            stacklevel=2,
        )

    def __call__(self, num_update: int) -> float:
        """Return the learning rate of the update that MXNet counts as `num_update`, from 1."""
        n = num_update if num_update.__class__ is int and num_update >= 0 else whole("num_update", num_update)
        optimizer = self._clock(n) if self._needs_clock else None
        t = n + self._offset
        if t:  # MXNet asks for 0 only before the first update
            t -= 1
        rate = self._values.at(t)
        if optimizer is not None:
            if self._wd is not None:  # optimizers read the weight decay after the rate
                optimizer.wd = self._wd.at(t)
            if self.controller is not None:
                self._check_fed(t - self._fed)
                rate *= self.controller.factor
        return rate

    # --- the optimizer's count -----------------------------------------------------------------------------------

    @property
    def _needs_clock(self) -> bool:
        return bool(self._offset) or self._pending is not None or self._wd is not None or self.controller is not None

    def attach(self, trainer: Any) -> Self:
        """Follow the count of a trainer's optimizer, and become its scheduler if the optimizer has none.

        Args:
            trainer: a `gluon.Trainer`, or an `mxnet.optimizer.Optimizer` for the Module API.

        Returns:
            The scheduler itself.

        Raises:
            TypeError: if `trainer` is neither, or the optimizer does not use a learning rate.
            ValueError: if the trainer already has a different scheduler, the scheduler is attached to a different trainer, or
                MXNet's servers make the updates.
        """
        optimizer = _optimizer(trainer)
        _check_order(optimizer, wd=self._wd is not None)
        _check_local(trainer)
        if optimizer.lr_scheduler is not None and optimizer.lr_scheduler is not self:
            raise ValueError(f"the trainer has another scheduler, {shown(optimizer.lr_scheduler)}")
        if self._owner is not None:
            owner = self._owner()
            if owner is None or _optimizer(owner) is not optimizer:
                raise ValueError("this scheduler is attached to another trainer; give this one a scheduler of its own")
        elif self._pending is not None:
            self._offset, self._pending = self._pending - optimizer.num_update, None
        else:
            self._fed = optimizer.num_update
        optimizer.lr_scheduler = self
        self._owner = weakref.ref(trainer)
        return self

    def _following(self) -> Any:
        """Return the optimizer whose count this scheduler follows.

        Raises:
            RuntimeError: if no optimizer is attached, or the optimizer has been given a different scheduler.
        """
        owner = None if self._owner is None else self._owner()
        if owner is None:
            raise RuntimeError(
                "the optimizer's count is needed, but no trainer is attached: call scheduler.attach(trainer) after "
                "constructing the trainer"
            )
        optimizer = _optimizer(owner)
        if optimizer.lr_scheduler is not self:
            raise RuntimeError(
                f"the trainer's scheduler is {shown(optimizer.lr_scheduler)} by now and no longer this one; load a trainer's "
                "file with scheduler.load_states(trainer, file)"
            )
        return optimizer

    def _clock(self, n: int) -> Any:
        """Return the attached optimizer, which must be at MXNet's count `n`."""
        optimizer = self._following()
        if n != optimizer.num_update:
            raise RuntimeError(
                f"this scheduler was asked for MXNet's count {n}, but the trainer that it is attached to counts "
                f"{optimizer.num_update}; give another trainer a scheduler of its own, and plot the schedule itself"
            )
        return optimizer

    @property
    def position(self) -> int:
        """Number of completed updates.

        Raises:
            RuntimeError: if no trainer is attached.
        """
        if self._pending is not None:
            return self._pending
        return int(self._following().num_update) + self._offset

    def set_position(self, t: int) -> None:
        """Move the scheduler to the state after `t` completed updates; a second call with the same `t` has no effect."""
        self._go(whole("t", t), 0)

    def _go(self, t: int, observed: int) -> None:
        if self._owner is None:
            self._pending = t
        else:
            self._offset, self._pending = t - self._following().num_update, None
        self._fed = t - observed

    # --- metrics -------------------------------------------------------------------------------------------------

    def observe(self, metric: Any) -> float:
        """Pass a metric to the controller, and apply its decision to the next update.

        Returns:
            The factor that multiplies the rate from now on.

        Raises:
            RuntimeError: if the scheduler has no controller, or no trainer is attached.
        """
        if self.controller is None:
            raise RuntimeError(
                "this scheduler has no controller; give one, such as controller=laju.adaptive.Plateau(0.1, patience=5)"
            )
        position = self.position
        factor = self.controller.observe(metric)
        self._fed = position
        return factor

    def _check_fed(self, since: int) -> None:
        limit = 10_000 if self.observe_within is None else self.observe_within
        if since < limit:
            return
        text = (
            f"no metric was observed in the last {since} updates; call scheduler.observe(metric) after each evaluation"
        )
        if self.observe_within is not None:
            raise RuntimeError(f"{text} (observe_within={self.observe_within})")
        if not self._warned:
            self._warned = True
            warnings.warn(text, ScheduleWarning, stacklevel=3)

    # --- checkpoints ---------------------------------------------------------------------------------------------

    def _schedules(self) -> dict[str, Schedule]:
        return {"lr": self._values.schedule} | ({} if self._wd is None else {"wd": self._wd.schedule})

    def state_dict(self) -> dict[str, Any]:
        """Return the position, the schedules and the controller's state, as numbers, strings and lists.

        Raises:
            RuntimeError: if no trainer is attached, so that the position is not known.
        """
        return self._state(self.position)

    def _state(self, position: int, **more: Any) -> dict[str, Any]:
        return save(
            KIND,
            position,
            self._schedules(),
            controller=None if self.controller is None else self.controller.state_dict(),
            observed=max(0, position - self._fed),
            **more,
        )

    def load_state_dict(self, state_dict: dict[str, Any], policy: Policy | None = None) -> None:
        """Restore a saved state; an error leaves the scheduler unchanged.

        Use `load_state_dict` for a run whose trainer's states were not saved, or in addition to `load_states`, before or after.

        Args:
            state_dict: the state returned by `state_dict()`, which is not modified.
            policy: policy for this call, instead of the scheduler's own.

        Raises:
            StateError: if the state is of a different kind or version, or, with "strict", if schedules differ.
        """
        found = self._read(state_dict, self.policy if policy is None else check_policy(policy))
        if self._owner is not None:
            self._following()
        self._follow(found)
        self._go(found.position, found.observed)

    def load_states(self, trainer: Any, fname: str | os.PathLike[str], policy: Policy | None = None) -> None:
        """Load a trainer's states from a file, with this scheduler instead of the file's, at the file's position.

        An error leaves the trainer and the scheduler unchanged.

        Args:
            trainer: a `gluon.Trainer`.
            fname: a file written by `trainer.save_states`.
            policy: policy for this call, instead of the scheduler's own.

        Raises:
            StateError: if the file has no laju schedule, or, with "strict", if the schedule differs.
        """
        if not _is_trainer(trainer):
            raise TypeError(f"trainer must be a gluon.Trainer, got {shown(trainer)}")
        _check_order(trainer.optimizer, wd=self._wd is not None)
        _check_local(trainer)
        fname = os.fspath(fname)
        # The module's name stands in the pickle of a Scheduler; looking for the name runs nothing from the file.
        if __name__.encode() not in Path(fname).read_bytes():
            raise StateError(
                f"{fname!r} was not saved with laju's {KIND}; to go on from it, let trainer.load_states load it, and give the "
                "trainer's optimizer this scheduler: trainer.optimizer.lr_scheduler = scheduler"
            )
        loading = _Loading(self, self.policy if policy is None else check_policy(policy))
        # MXNet unpickles the file's scheduler deep inside `load_states`; `_restored` reads this variable there.
        token = _LOADING.set(loading)
        try:
            trainer.load_states(fname)
        finally:
            _LOADING.reset(token)
        if loading.found is None or trainer.optimizer.lr_scheduler is not self:
            raise StateError(f"{fname!r} holds a schedule of laju, but not as the scheduler of its optimizer")
        self._follow(loading.found)
        self._owner = weakref.ref(trainer)
        self._offset, self._pending = loading.found.offset, None
        self._fed = self.position - loading.found.observed

    def _read(self, state: Any, policy: Policy) -> _Found:
        position, schedules, more = load(KIND, state, self._schedules(), policy)
        saved = more.get("controller")
        if policy == "new" and (saved is None or self.controller is None):
            saved = None
        elif (saved is None) != (self.controller is None):
            have, had = ("a", "none") if self.controller is not None else ("no", "one")
            raise StateError(f"this scheduler has {have} controller, but the state was saved with {had}")
        if self.controller is not None and saved is not None:
            copy.copy(self.controller).load_state_dict(saved)  # an error comes before anything changes
        observed, offset = whole("observed", more.get("observed", 0)), int(more.get("offset", 0))
        return _Found(position, schedules, saved, observed, offset)

    def _follow(self, found: _Found) -> None:
        if self.controller is not None and found.controller is not None:
            self.controller.load_state_dict(found.controller)
        if found.schedules["lr"] != self._values.schedule:
            self._values = Values(found.schedules["lr"])
        if self._wd is not None and found.schedules["wd"] != self._wd.schedule:
            self._wd = Values(found.schedules["wd"])

    # --- copies --------------------------------------------------------------------------------------------------

    def __reduce__(self) -> tuple[Callable[[dict[str, Any]], Scheduler], tuple[dict[str, Any]]]:
        """Pickle the scheduler as its state, for `save_states`, which pickles the optimizer with its scheduler."""
        position = self.position if self._needs_clock else 0
        return _restored, (self._state(position, offset=self._offset),)

    def __deepcopy__(self, memo: dict[int, Any]) -> Scheduler:
        new = Scheduler.__new__(Scheduler)
        new.__dict__.update(vars(self), controller=copy.deepcopy(self.controller, memo), _owner=None, _offset=0)
        new._values = Values(self._values.schedule)
        new._wd = None if self._wd is None else Values(self._wd.schedule)
        if self._offset:
            new._pending = self.position
        return new

    def __repr__(self) -> str:
        return f"<laju.frameworks.mxnet.Scheduler of {self._values.schedule!r}>"


def _restored(state: dict[str, Any]) -> Scheduler:
    """Return the scheduler for a pickled state: the scheduler that loads the file, after checking the state."""
    loading = _LOADING.get()
    if loading is not None:
        loading.found = loading.scheduler._read(state, loading.policy)
        return loading.scheduler
    if os.environ.get("DMLC_ROLE") == "server":  # a distributed trainer sends its optimizer to the servers
        return Scheduler(from_json(opened(state)["schedules"]["lr"], functions=True))  # a pickle of the worker's own
    raise StateError(
        "these states include a laju schedule, which would silently replace the schedule of the code; load the file with "
        "scheduler.load_states(trainer, file). To send a schedule to another process, send the schedule itself"
    )


def _is_trainer(trainer: Any) -> bool:
    from mxnet import gluon  # not at the top: MXNet's servers unpickle schedulers while MXNet itself is being imported

    return isinstance(trainer, gluon.Trainer)


def _optimizer(trainer: Any) -> Any:
    if _is_trainer(trainer):
        return trainer.optimizer
    if isinstance(trainer, mx_optimizer.Optimizer):
        return trainer
    raise TypeError(f"trainer must be a gluon.Trainer or an mxnet Optimizer, got {shown(trainer)}")


def _check_order(optimizer: Any, *, wd: bool) -> None:
    """Optimizers count the update, then ask for the rate, then read wd; these do not."""
    name = type(optimizer).__name__
    if isinstance(optimizer, mx_optimizer.AdaDelta):
        raise TypeError(f"{name} has no learning rate, so a schedule would change nothing")
    if isinstance(optimizer, mx_optimizer.LBSGD):
        raise TypeError(f"{name} reads the rate before it counts the update, so every value would come one update late")
    if wd and isinstance(optimizer, mx_optimizer.Ftrl):
        raise TypeError(f"{name} reads wd before it asks for the rate, so wd cannot be scheduled")


def _check_local(trainer: Any) -> None:
    if not _is_trainer(trainer):
        return
    given = trainer._kvstore_params
    kind = given["kvstore"] if isinstance(given["kvstore"], str) else getattr(given["kvstore"], "type", "")
    on_kvstore = given["update_on_kvstore"]
    if on_kvstore is None:
        on_kvstore = os.environ.get("MXNET_UPDATE_ON_KVSTORE", "1") != "0"
    if "dist" in kind and (on_kvstore or "async" in kind):
        raise ValueError(
            f"the updates of kvstore={kind!r} are made and counted by MXNet's servers, which cannot be followed from here; give "
            "the trainer update_on_kvstore=False, or a scheduler without attach and begin_num_update to resume"
        )


def trace(scheduler: Callable[[int], float], n: int) -> list[float]:
    """Return the learning rates that an MXNet scheduler really gives in the first `n` updates of a `gluon.Trainer`.

    Args:
        scheduler: an MXNet `LRScheduler` or any function of MXNet's count. `trace` runs a copy, so the caller's scheduler is
            unchanged.
        n: number of updates.

    Raises:
        TypeError: if `scheduler` is not callable.

    >>> from mxnet.lr_scheduler import CosineScheduler
    >>> [round(rate, 3) for rate in trace(CosineScheduler(max_update=4, base_lr=1), 5)]  # base_lr is never applied
    [0.854, 0.5, 0.146, 0.0, 0.0]
    """
    if not callable(scheduler):
        raise TypeError(f"scheduler must be an MXNet LRScheduler or a function of its count, got {shown(scheduler)}")
    from mxnet import autograd, gluon

    copied = copy.deepcopy(scheduler)
    weight = gluon.Parameter("weight", shape=(1,), init="zeros")
    weight.initialize()
    optimizer = _Recording(lr_scheduler=copied)
    trainer = gluon.Trainer([weight], optimizer, kvstore=None)
    if isinstance(copied, Scheduler):
        copied._pending = None
        copied.attach(trainer)
    for _ in range(whole("n", n)):
        with autograd.record():
            loss = weight.data().sum()
        loss.backward()
        trainer.step(1)
    return optimizer.used


class _Recording(mx_optimizer.SGD):  # type: ignore[misc]  # MXNet has no types
    """SGD that records the rate of each update, as given by the scheduler."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.used: list[float] = []

    def _get_lrs(self, indices: list[int]) -> list[float]:
        rates: list[float] = super()._get_lrs(indices)
        self.used.append(float(rates[0]))
        return rates
