"""A schedule as a PaddlePaddle learning-rate scheduler, for every `paddle.optimizer` and for `paddle.Model`.

Paddle's optimizers ask the scheduler for the rate at each update, and keep its state inside their own: whichever of the two is
loaded, and in whichever order, the scheduler is at the position that was loaded last.
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
    """Gives a Paddle optimizer the rate schedule(t)·factor for update t, t from 0.

    Pass the scheduler to the optimizer as `learning_rate`, and call `step()` after each `optimizer.step()`, as for Paddle's own
    schedulers; `paddle.Model` calls `step()` itself. A group's "learning_rate" and a parameter's `optimize_attr["learning_rate"]`
    multiply the rate, so groups and parameters keep their ratios.

    Args:
        schedule: absolute learning rates; a schedule, or its text.
        controller: a metric-driven rule such as `laju.adaptive.Plateau`, or a `Controller`; its factor multiplies the rate.
        observe_within: updates within which `observe` must be called, again and again; by default a warning after 10,000.
        policy: for a checkpoint of other schedules: "strict" is an error that shows both, "new" follows the code's from
            the saved position, "saved" goes on with the checkpoint's.
        count: "applied" counts a call of `step` only if the rate was asked for since the last call, which leaves out the
            micro-batches of an accumulated gradient; "calls" counts every call.
        plan: the run, for a schedule in epochs or percent.

    An update that a `GradScaler` skips asks for the rate all the same: call `step()` only after updates that were applied.

    Raises:
        TypeError: not a schedule, or not a rule.
        ValueError: an unknown policy or count, or a text that is not a schedule's (`SpecError`).
        UnresolvedError: a schedule's lengths are not in updates, and there is no plan.

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
        """Completed updates."""
        return self.last_epoch

    def __call__(self) -> float:
        """The rate of the next update."""
        self._asked = True
        return self.last_lr

    def get_lr(self) -> float:
        """The rate of the next update."""
        return self._values.at(self.last_epoch) * (1.0 if self.controller is None else self.controller.factor)

    def step(self, epoch: int | None = None) -> None:
        """Count a completed update; with a position, as Paddle's composite schedulers pass, go to that position.

        Raises:
            RuntimeError: a metric-driven factor was not fed within `observe_within` updates.
        """
        if epoch is not None:
            self.set_position(epoch)
            return
        if not self._asked and self.count == "applied":
            self._warn(
                "uncounted",
                "step() was called and no update has asked for the rate since the last call, so it does not count; this is right "
                "for micro-batches. Where the rate is read in another way, use count='calls'",
            )
            return
        if self.controller is not None:
            self._check_fed()
            self._observed += 1
        self.set_position(self.last_epoch + 1)

    def set_position(self, t: int) -> None:
        """Go to the point after `t` completed updates; a second call with the same `t` changes nothing."""
        self.last_epoch = whole("t", t)
        self.last_lr = self.get_lr()
        self._asked = False

    def observe(self, metric: Any) -> float:
        """Pass a metric to the controller, and apply its decision to the next update.

        Returns:
            The factor that multiplies the rate from now on.

        Raises:
            RuntimeError: there is no controller.
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
        """The counter, the schedule and the controller's state: plain numbers, texts and lists.

        The optimizer's `state_dict()` holds this state as "LR_Scheduler".
        """
        return save(
            KIND,
            self.last_epoch,
            {"lr": self.schedule},
            controller=None if self.controller is None else self.controller.state_dict(),
            observed=self._observed,
        )

    def set_state_dict(self, state_dict: Mapping[str, Any], policy: Policy | None = None) -> None:
        """Go to the saved position; `state_dict` is not changed, and after an error neither is the scheduler.

        The optimizer's `set_state_dict` calls this method. An optimizer without a scheduler drops the state, so attach this
        scheduler before, or load the scheduler's own state after.

        Args:
            state_dict: returned by `state_dict()`.
            policy: for this time, instead of the scheduler's own.

        Raises:
            StateError: a state of something else or another version; with "strict", of another schedule.
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
        """Paddle's own way to name the saved attributes, which `state_dict` does without."""
        self.keys = list(self.state_dict())

    def __repr__(self) -> str:
        return f"<laju.frameworks.paddle.Scheduler of {self.schedule!r} at {self.last_epoch}>"


def trace(scheduler: LRScheduler, n: int) -> list[float]:
    """The sequence that a Paddle scheduler really uses in the next `n` updates, stepped once after each.

    Args:
        scheduler: any of Paddle's schedulers. A copy runs, so the caller's is not used up.
        n: updates.

    Raises:
        TypeError: not a scheduler.

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
