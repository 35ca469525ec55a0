"""`Scheduled`: an optimizer whose hyper-parameters follow schedules, with all state in the model's checkpoints."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator
from typing import Any, Self

import keras
import numpy as np

from laju import adaptive
from laju.adaptive import Controller, Rule, StateError
from laju.core.checks import ScheduleWarning, number, shown, whole
from laju.core.schedule import Schedule
from laju.frameworks.keras.counter import micro_batches, position, set_position, updates_of, warn_of_beginning
from laju.frameworks.keras.rate import LearningRate
from laju.frameworks.keras.saving import read_schedule, registered
from laju.frameworks.keras.slots import Slot, Slots, positive, slots_of
from laju.frameworks.keras.values import Plan, tensor
from laju.frameworks.state import Policy, check_policy, load, load_controller, save
from laju.frameworks.values import Driven, Factor, Values

KIND = "keras.Scheduled"
_STORED = "laju"
_UNFED = 10_000


@registered
class Scheduled(keras.optimizers.Optimizer):  # type: ignore[misc]
    """An optimizer whose hyper-parameters follow schedules: update t uses schedule(t) of each hyper-parameter, t from 0.

    During an update the attributes of the inner optimizer have the values of the update; at all other times the attributes have
    their original values. All schedules count the inner optimizer's updates; micro-batches of `gradient_accumulation_steps` and
    updates that `LossScaleOptimizer` skipped do not count. Wrap loss scaling around: `LossScaleOptimizer(Scheduled(…))`.

    The schedules are saved with the model, and a fingerprint and the controller's state with its weights, so
    `keras.callbacks.BackupAndRestore` and `ModelCheckpoint` restore the whole state.

    Args:
        optimizer: a Keras optimizer that has made no update. A `LearningRate` of the optimizer is kept as its schedule.
        learning_rate: a `Schedule` of absolute values or its text, a `Factor` of the optimizer's own learning rate, or a number.
        controller: a metric-driven rule such as `laju.adaptive.Plateau`, or a `Controller`; its factor multiplies the learning
            rate. Pass metrics with `observe`, or in `fit` with the callback `Observe`.
        observe_within: largest number of updates between two observations of the metric; exceeding the number is an error. By
            default there is a warning after 10,000 updates. `Observe` checks the number, and so does saving the model, because a
            compiled step cannot.
        policy: how to load weights that were saved with schedules other than the code's: "strict" (the default) raises an error
            that shows both, "new" follows the code's schedules from the saved position on, "saved" follows the checkpoint's
            schedules.
        plan: the run plan, needed for schedules in epochs or percent; or "fit" if the callback `FitPlan` will pass the length of
            `fit`.
        hyper_parameters: further hyper-parameters of the optimizer by name (`weight_decay`, `momentum`, `beta_1` …), with the
            same kinds of values as `learning_rate`. Hyper-parameters that Keras reads while compiling, such as `clipnorm`, cannot
            be scheduled.

    Raises:
        TypeError: if an argument is not an optimizer or not a schedule.
        ValueError: if the optimizer does not have the hyper-parameter, the hyper-parameter is fixed, the base of a factor is 0,
            nothing is scheduled, or the policy is unknown.
        UnresolvedError: if lengths are not in updates and there is no plan.

    >>> import keras, laju
    >>> inner = keras.optimizers.SGD(weight_decay=0.1)
    >>> optimizer = Scheduled(inner, learning_rate=0.5, weight_decay=laju.linear(1, 0, total=2))
    >>> weight = keras.Variable(16.0)
    >>> for _ in range(3):
    ...     optimizer.apply([keras.ops.zeros(())], [weight])
    ...     print(weight.numpy().item())
    8.0
    6.0
    6.0
    """

    def __init__(
        self,
        optimizer: Any,
        learning_rate: Driven | None = None,
        *,
        controller: Rule[Any] | Controller | None = None,
        observe_within: int | None = None,
        policy: Policy = "strict",
        plan: Plan = None,
        name: str | None = None,
        **hyper_parameters: Driven | None,
    ) -> None:
        if not isinstance(optimizer, keras.optimizers.Optimizer):
            raise TypeError(f"optimizer must be a Keras optimizer, got {shown(optimizer)}")
        if hasattr(optimizer, "inner_optimizer"):
            raise TypeError(
                f"optimizer must be the optimizer itself, got a {type(optimizer).__name__}, which is around one; put Scheduled "
                f"inside: {type(optimizer).__name__}(Scheduled(…))"
            )
        super().__init__(learning_rate=0.0, name=name)
        self.inner_optimizer = optimizer
        self.policy = check_policy(policy)
        self.controller = Controller(controller) if isinstance(controller, Rule) else controller
        if self.controller is not None and not isinstance(self.controller, Controller):
            raise TypeError(f"controller must be a rule such as Plateau, or a Controller, got {shown(controller)}")
        self.observe_within = None if observe_within is None else whole("observe_within", observe_within, least=1)
        given = {"learning_rate": learning_rate, **hyper_parameters}
        self._adopted = isinstance(optimizer._learning_rate, LearningRate)
        if self._adopted:
            if learning_rate is not None:
                raise ValueError(f"learning_rate is scheduled twice: the optimizer has {optimizer._learning_rate!r}")
            given["learning_rate"] = optimizer._learning_rate.schedule
        self._slots = Slots(slots_of(optimizer, given, plan))
        if not self._slots:
            raise ValueError("nothing is scheduled; give learning_rate=schedule, or another hyper-parameter")
        if self.controller is not None and "learning_rate" not in self._slots:
            raise ValueError("a controller multiplies learning_rate, but learning_rate is not scheduled")
        # A variable of the optimizer's is live in every compiled step; on JAX nothing else is.
        self._factor = self.add_variable(shape=(), initializer="ones", dtype="float32", name="factor")
        self._observed_at = 0
        self._compiled = self._begun = False

    # --- updates -------------------------------------------------------------------------------------------------

    def build(self, variables: Any) -> None:
        """Create the variables of the optimizer for the given weights."""
        if not self.built:
            self.inner_optimizer.build(variables)
            super().build(variables)

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Apply gradients with the current values of the schedules."""
        if not self.built and trainable_variables is not None:
            trainable_variables = list(trainable_variables)
            self.build(trainable_variables)
        with self._values_in_place():
            self.inner_optimizer.apply(grads, trainable_variables)

    @contextlib.contextmanager
    def _values_in_place(self) -> Iterator[None]:
        # At the first update and not in `__init__`: only now is the model in the middle of its `fit`.
        if not self._begun:
            self._begun = True
            warn_of_beginning(self.inner_optimizer)
        t = self._now()
        if isinstance(t, int):
            self._check_fed(t, error_only=True)
        else:
            self._compiled = True
        # Not by setattr, which would make Keras track values that last for a single update.
        attributes = vars(self.inner_optimizer)
        try:
            for slot in self._slots.values():
                value = self._at(slot, t)
                if slot.key == "learning_rate":
                    attributes["_learning_rate"] = value
                else:
                    attributes[slot.key] = positive(value) if slot.key == "momentum" else value
            yield
        finally:
            for slot in self._slots.values():
                attributes["_learning_rate" if slot.key == "learning_rate" else slot.key] = slot.base

    def _now(self) -> Any:
        return updates_of(self.inner_optimizer._iterations, micro_batches(self.inner_optimizer))

    def _at(self, slot: Slot, t: Any) -> Any:
        value = slot.at(t)
        if slot.key == "learning_rate" and self.controller is not None:
            value = value * (
                self.controller.factor if isinstance(t, int) else keras.ops.cast(self._factor, value.dtype)
            )
        return value if isinstance(t, int) else tensor(value)

    # --- the interface that Keras expects of an optimizer --------------------------------------------------------

    @property
    def variables(self) -> list[Any]:
        return [*self._variables, *self.inner_optimizer.variables]

    @property
    def iterations(self) -> Any:
        return self.inner_optimizer.iterations

    @property
    def learning_rate(self) -> Any:
        """Learning rate of the next update."""
        slot = self._slots.get("learning_rate")
        return self.inner_optimizer.learning_rate if slot is None else tensor(self._at(slot, self._now()))

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if "learning_rate" in self._slots:
            raise TypeError("learning_rate follows a schedule, so it cannot be set")
        self.inner_optimizer.learning_rate = value

    def scale_loss(self, loss: Any) -> Any:
        return self.inner_optimizer.scale_loss(loss)

    def finalize_variable_values(self, var_list: Any) -> None:
        self.inner_optimizer.finalize_variable_values(var_list)

    def get_config(self) -> dict[str, Any]:
        rule = None if self.controller is None else self.controller.rule
        if rule is not None and not isinstance(rule, adaptive.Plateau | adaptive.Greedy):
            raise ValueError(
                f"only a Plateau or a Greedy can be saved with a model, not {rule!r}; save the weights alone"
            )
        return {
            "name": self.name,
            "optimizer": keras.saving.serialize_keras_object(self.inner_optimizer),
            "schedules": {
                key: {"factor": slot.factor, "schedule": slot.values.schedule.to_json()}
                for key, slot in self._slots.items()
                if not (self._adopted and key == "learning_rate")
            },
            "controller": None if rule is None else rule.to_json(),
            "observe_within": self.observe_within,
            "policy": self.policy,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        schedules = {key: read_schedule(driven["schedule"]) for key, driven in config["schedules"].items()}
        driven: dict[str, Any] = {
            key: Factor(schedule) if config["schedules"][key]["factor"] else schedule
            for key, schedule in schedules.items()
        }
        rule = config["controller"]
        if rule is not None:
            rules = {"Plateau": adaptive.Plateau, "Greedy": adaptive.Greedy}
            rule = rules[rule["kind"]](**{name: value for name, value in rule.items() if name != "kind"})
        return cls(
            keras.saving.deserialize_keras_object(config["optimizer"], custom_objects=custom_objects),
            controller=rule,
            observe_within=config["observe_within"],
            policy=config["policy"],
            name=config["name"],
            plan="fit",  # which schedules that were saved in updates do not use
            **driven,
        )

    # --- metrics -------------------------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """Number of completed updates."""
        return position(self)

    def observe(self, metric: Any) -> float:
        """Pass a metric to the controller, and apply the controller's factor to the next update.

        Returns:
            The factor that multiplies the learning rate from now on.

        Raises:
            RuntimeError: if the optimizer has no controller.
        """
        if self.controller is None:
            raise RuntimeError(
                "this optimizer has no controller; give one, such as controller=laju.adaptive.Plateau(0.1, patience=5)"
            )
        now = self.position
        # With their positions, decisions can be replayed as a plain schedule: controller.recorded(schedule).
        factor = self.controller.observe(metric, at=now if self.controller._decisions is not None else None)
        self._observed_at = now
        self._factor.assign(factor)
        return factor

    def _check_fed(self, now: int, *, error_only: bool = False) -> None:
        unfed = now - self._observed_at
        if self.controller is None or (self.observe_within is None and (error_only or unfed < _UNFED)):
            return
        text = (
            f"no metric was observed in the last {unfed} updates; use the callback Observe, or call optimizer.observe(metric) "
            "after each evaluation"
        )
        if self.observe_within is None:
            warnings.warn(text, ScheduleWarning, stacklevel=3)
        elif unfed >= self.observe_within:
            raise RuntimeError(f"{text} (observe_within={self.observe_within})")

    # --- checkpoints ---------------------------------------------------------------------------------------------

    def _schedules(self) -> dict[str, Schedule]:
        return {slot.name: slot.values.schedule for slot in self._slots.values()}

    def state_dict(self) -> dict[str, Any]:
        """Return the position, the schedules and the controller's state, which are saved with the weights."""
        return save(
            KIND,
            self.position,
            self._schedules(),
            accumulate=micro_batches(self.inner_optimizer),
            bases={slot.name: slot.scale for slot in self._slots.values() if slot.factor},
            controller=None if self.controller is None else self.controller.state_dict(),
            observed_at=self._observed_at,
        )

    def load_state_dict(self, state_dict: Any, policy: Policy | None = None) -> None:
        """Restore a saved position; an error leaves the optimizer unchanged. Moments are in the inner optimizer's variables.

        Args:
            state_dict: the state returned by `state_dict()`.
            policy: policy for this call, instead of the optimizer's own.

        Raises:
            StateError: if the state is of a different kind or version; with "strict", if schedules or bases differ; if the number
                of micro-batches per update differs; or, with "saved", if a step with different schedules is already compiled.
        """
        policy = self.policy if policy is None else check_policy(policy)
        now, schedules, more = load(KIND, state_dict, self._schedules(), policy)
        accumulate = micro_batches(self.inner_optimizer)
        if more.get("accumulate") != accumulate and now:
            raise StateError(
                f"state was saved with gradient_accumulation_steps={more.get('accumulate')}, and here it is {accumulate}: the "
                "counter that Keras saved counts micro-batches. Load it with the same number, or use a new optimizer and "
                "set_position"
            )
        if self._compiled and schedules != self._schedules():
            raise StateError(
                "the schedules in state differ from the schedules of the training step, which is already compiled; load the "
                "state before the first update"
            )
        scales = self._saved_scales(more.get("bases"), policy)
        controller = load_controller(self.controller, more.get("controller"), policy)
        try:
            observed_at = whole("observed_at", more.get("observed_at", 0))
        except (TypeError, ValueError) as error:
            raise StateError(f"state cannot be read: {error}") from None
        for slot in self._slots.values():
            slot.scale = scales.get(slot.name, slot.scale)
            if slot.values.schedule != schedules[slot.name]:
                slot.values = Values(schedules[slot.name])
        if self.controller is not None and controller is not None:
            # Into the controller that the user and the callbacks hold, which another object would not reach.
            vars(self.controller).update(vars(controller))
        self._factor.assign(1.0 if self.controller is None else self.controller.factor)
        self._observed_at = observed_at
        set_position(self, now)

    def _saved_scales(self, saved: Any, policy: Policy) -> dict[str, float]:
        if policy == "new":
            return {}
        found = {}
        for slot in self._slots.values():
            if slot.factor:
                try:
                    found[slot.name] = number("base", saved[slot.name])
                except (TypeError, ValueError, KeyError):
                    raise StateError(f"bases in state must have a number for {slot.name}, got {shown(saved)}") from None
                if policy == "strict" and found[slot.name] != slot.scale:
                    raise StateError(
                        f"state was saved with the base {found[slot.name]} for {slot.name}, but the optimizer has {slot.scale}; "
                        "load it with policy='new' or policy='saved'"
                    )
        return found

    def save_own_variables(self, store: Any) -> None:
        """Write the state into a weights file, in addition to the inner optimizer's variables, which Keras writes."""
        self._check_fed(self.position)
        # Keras' files of weights hold arrays alone, so the text goes in as its bytes.
        store[_STORED] = np.frombuffer(json.dumps(self.state_dict()).encode(), dtype=np.uint8)

    def load_own_variables(self, store: Any) -> None:
        """Read the state from a weights file."""
        if _STORED not in store.keys():  # noqa: SIM118  # Keras' stores are no mappings
            raise StateError(f"the optimizer that was saved is not laju's {KIND}")
        try:
            state = json.loads(np.asarray(store[_STORED], dtype=np.uint8).tobytes())
        except ValueError as error:
            raise StateError(f"the optimizer's state cannot be read: {error}") from None
        self.load_state_dict(state)
