"""A schedule as a PaddlePaddle learning-rate scheduler, for every `paddle.optimizer` and for `paddle.Model`.

Paddle's optimizers call the scheduler at each update, and their state includes the scheduler's state. The state of either may be
loaded, in any order: the scheduler is at the position that was loaded last.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any, Literal

from laju.adaptive import Controller, Rule, StateError
from laju.core.checks import ScheduleWarning, shown, whole
from laju.core.extras import needed_by
from laju.core.schedule import Schedule
from laju.core.units import RunPlan
from laju.frameworks.state import Policy, check_policy, load, save
from laju.frameworks.values import Values, given

with needed_by("laju.frameworks.paddle", "paddle"):
    import paddle
    from paddle.optimizer.lr import LRScheduler

KIND = "paddle.Scheduler"


class Scheduler(LRScheduler):  # type: ignore[misc]  # Paddle is not installed where types are checked
    """Scheduler that gives a Paddle optimizer the learning rate schedule(t)·factor for update t, t from 0.

    Pass the scheduler to the optimizer as `learning_rate`, and call `step()` after each `optimizer.step()`, as for Paddle's own
    schedulers; `paddle.Model` calls `step()` itself. A group's "learning_rate" and a parameter's `optimize_attr["learning_rate"]`
    multiply the rate, so groups and parameters keep their ratios.

    Args:
        schedule: absolute learning rates; a schedule, or its text.
        controller: a metric-driven rule such as `laju.adaptive.Plateau`, or a `Controller`; its factor multiplies the rate.
        observe_within: largest number of updates between two calls of `observe`; exceeding the number is an error. By default
            there is a warning after 10,000 updates.
        policy: how to load a checkpoint whose schedule differs from the code's: "strict" (the default) raises an error that shows
            both, "new" follows the code's schedule from the saved position on, "saved" follows the checkpoint's schedule.
        count: "applied" (the default) counts a call of `step` only if the optimizer has read the rate since the last call, which
            excludes the micro-batches of an accumulated gradient; "calls" counts every call.
        plan: the run plan, needed for a schedule in epochs or percent.

    An update that a `GradScaler` skips also reads the rate: call `step()` only after updates that were applied.

    Raises:
        TypeError: if an argument is not a schedule or not a rule.
        ValueError: if the policy or count is unknown, or a text is not a schedule (`SpecError`).
        UnresolvedError: if lengths are not in updates and there is no plan.

    >>> import laju, paddle
    >>> model = paddle.nn.Linear(2, 1)
    >>> scheduler = Scheduler(laju.linear(1, 0, total=4))
    >>> optimizer = paddle.optimizer.SGD(learning_rate=scheduler, parameters=model.parameters())
    >>> for _ in range(2):
    ...     model(paddle.ones([1, 2])).backward()
    ...     optimizer.step()
    ...     scheduler.step()
    >>> optimizer.get_lr()
    0.5
    """

    def __init__(
        self,
        schedule: Schedule | str,
        *,
        controller: Rule[Any] | Controller | None = None,
        observe_within: int | None = None,
        policy: Policy = "strict",
        count: Literal["applied", "calls"] = "applied",
        plan: RunPlan | None = None,
    ) -> None:
        # LRScheduler's own __init__ is left out on purpose: that method takes a step.
        hint = "a Paddle optimizer has no base of its own; write base * schedule, and give groups their ratios by 'learning_rate'"
        schedule = given("schedule", schedule, plan, hint=hint)
        if count not in ("applied", "calls"):
            raise ValueError(f"count must be 'applied' or 'calls', got {shown(count)}")
        self._values = Values(schedule)
        self.controller = Controller(controller) if isinstance(controller, Rule) else controller
        if self.controller is not None and not isinstance(self.controller, Controller):
            raise TypeError(f"controller must be a rule such as Plateau, or a Controller, got {shown(controller)}")
        self.observe_within = None if observe_within is None else whole("observe_within", observe_within, least=1)
        self.policy = check_policy(policy)
        self.count = count
        self.verbose = False
        self._var_name: str | None = None  # Paddle's static graphs keep the name of their variable here
        self._observed = 0
        self._asked = False
        self._warned: set[str] = set()
        self.base_lr = self._values.at(0)
        self.set_position(0)

    @property
    def schedule(self) -> Schedule:
        return self._values.schedule

    @property
    def position(self) -> int:
        """Number of completed updates."""
        return self.last_epoch

    def __call__(self) -> float:
        """Return the learning rate of the next update."""
        self._asked = True
        return self.last_lr

    def get_lr(self) -> float:
        """Return the learning rate of the next update."""
        return self._values.at(self.last_epoch) * (1.0 if self.controller is None else self.controller.factor)

    def step(self, epoch: int | None = None) -> None:
        """Count a completed update.

        Args:
            epoch: a position to move to instead of counting, which Paddle's composite schedulers pass.

        Raises:
            RuntimeError: if the controller has not observed a metric within `observe_within` updates.
        """
        if epoch is not None:
            self.set_position(epoch)
            return
        if not self._asked and self.count == "applied":
            self._warn(
                "uncounted",
                "step() was called, but no update has read the rate since the last call, so the call does not count; this is "
                "correct for micro-batches. If your loop reads the rate in a different way, use count='calls'",
            )
            return
        if self.controller is not None:
            self._check_fed()
            self._observed += 1
        self.set_position(self.last_epoch + 1)

    def set_position(self, t: int) -> None:
        """Move the scheduler to the state after `t` completed updates; a second call with the same `t` has no effect."""
        self.last_epoch = whole("t", t)
        self.last_lr = self.get_lr()
        self._asked = False

    def observe(self, metric: Any) -> float:
        """Pass a metric to the controller, and apply its decision to the next update.

        Returns:
            The factor that multiplies the rate from now on.

        Raises:
            RuntimeError: if the scheduler has no controller.
        """
        if self.controller is None:
            raise RuntimeError(
                "this scheduler has no controller; give one, such as controller=Plateau(0.1, patience=5)"
            )
        factor = self.controller.observe(metric)
        self._observed = 0
        self.last_lr = self.get_lr()
        return factor

    def _check_fed(self) -> None:
        since = self._observed + 1
        text = f"no metric was observed in the last {since} updates; call observe(metric) after each evaluation"
        if self.observe_within is not None and since > self.observe_within:
            raise RuntimeError(f"{text} (observe_within={self.observe_within})")
        if self.observe_within is None and since >= 10_000:
            self._warn("unfed", text)

    def _warn(self, kind: str, text: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            warnings.warn(text, ScheduleWarning, stacklevel=3)

    # --- checkpoints ---------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the counter, the schedule and the controller's state, as numbers, strings and lists.

        The optimizer's `state_dict()` includes this state as "LR_Scheduler".
        """
        return save(
            KIND,
            self.last_epoch,
            {"lr": self.schedule},
            controller=None if self.controller is None else self.controller.state_dict(),
            observed=self._observed,
        )

    def set_state_dict(self, state_dict: Mapping[str, Any], policy: Policy | None = None) -> None:
        """Restore a saved state; an error leaves the scheduler unchanged.

        The optimizer's `set_state_dict` calls this method. An optimizer without a scheduler drops the state: attach the scheduler
        before loading, or load the scheduler's own state afterwards.

        Args:
            state_dict: the state returned by `state_dict()`, which is not modified.
            policy: policy for this call, instead of the scheduler's own.

        Raises:
            StateError: if the state is of a different kind or version, or, with "strict", if the schedule differs.
        """
        policy = self.policy if policy is None else check_policy(policy)
        position, schedules, more = load(KIND, state_dict, {"lr": self.schedule}, policy)
        observed = whole("observed", more.get("observed", 0))
        saved = more.get("controller")
        if (saved is None) != (self.controller is None) and policy != "new":
            have, had = ("a", "none") if self.controller is not None else ("no", "one")
            raise StateError(f"this scheduler has {have} controller, but the state was saved with {had}")
        if self.controller is not None and saved is not None:
            self.controller.load_state_dict(saved)
        if schedules["lr"] != self.schedule:
            self._values = Values(schedules["lr"])
            self.base_lr = self._values.at(0)
        self._observed = observed
        self.set_position(position)

    load_state_dict = set_state_dict
    set_dict = set_state_dict

    def state_keys(self) -> None:
        """Set `keys`, Paddle's list of saved attributes, which this scheduler's `state_dict` does not need."""
        self.keys = list(self.state_dict())

    def __repr__(self) -> str:
        return f"<laju.frameworks.paddle.Scheduler of {self.schedule!r} at {self.last_epoch}>"


def trace(scheduler: LRScheduler, n: int) -> list[float]:
    """Return the learning rates that a Paddle scheduler really gives in the next `n` updates, if stepped after each update.

    Args:
        scheduler: any Paddle scheduler. `trace` runs a copy, so the caller's scheduler is unchanged.
        n: number of updates.

    Raises:
        TypeError: if `scheduler` is not a Paddle scheduler.

    >>> scheduler = paddle.optimizer.lr.CosineAnnealingDecay(1.0, T_max=4)
    >>> [round(rate, 3) for rate in trace(scheduler, 6)]  # after its end it rises again
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.146]
    """
    if not isinstance(scheduler, LRScheduler):
        raise TypeError(f"scheduler must be a Paddle LRScheduler, got {shown(scheduler)}")
    copied = copy.deepcopy(scheduler)
    weight = paddle.create_parameter([1], "float64")
    optimizer = paddle.optimizer.SGD(learning_rate=copied, parameters=[weight])
    used = []
    for _ in range(whole("n", n)):
        weight.sum().backward()
        used.append(float(optimizer.get_lr()))
        optimizer.step()
        optimizer.clear_grad()
        copied.step()
    return used
