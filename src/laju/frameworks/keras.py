"""Schedules for Keras 3, on TensorFlow, JAX and torch alike.

`LearningRate` is a Keras learning-rate schedule, and enough for most runs. `Scheduled` wraps an optimizer: `Scheduled` also
schedules weight decay, momentum and other hyper-parameters, multiplies by a metric-driven factor, and keeps all state in the
model's checkpoints. Values are computed inside the compiled step, from the optimizer's own counter.
"""

from __future__ import annotations

import contextlib
import json
import sys
import warnings
import weakref
from collections.abc import Iterator, Mapping
from fractions import Fraction
from os import PathLike
from typing import Any, Literal, Self, TypeVar

import numpy as np

from laju import adaptive
from laju.adaptive import Controller, Rule, StateError
from laju.core.checks import ScheduleWarning, is_number, nearest, number, shown, whole
from laju.core.extras import needed_by
from laju.core.pieces import calls_functions
from laju.core.schedule import Schedule
from laju.core.units import RunPlan, Scale, UnresolvedError
from laju.forecast import Prior
from laju.forecast.curves import Rates
from laju.frameworks.forecasting import Forecasting, Tracking
from laju.frameworks.state import Policy, check_policy, load, load_controller, save
from laju.frameworks.values import Driven, Factor, Values, given
from laju.policies import constant
from laju.sinks import tracker_of
from laju.text.json import from_json

with needed_by("laju.frameworks.keras", "keras"):
    import keras

KIND = "keras.Scheduled"
_STORED = "laju"
_UNFED = 10_000
# Attributes that Keras reads while it builds or compiles, or that are no numbers of an update.
_FIXED = (
    "learning_rate", "clipnorm", "clipvalue", "global_clipnorm", "loss_scale_factor", "gradient_accumulation_steps",
    "ema_overwrite_frequency",
)  # fmt: skip

Plan = RunPlan | Literal["fit"] | None
T = TypeVar("T")


def _registered(cls: type[T]) -> type[T]:
    """Register a class for Keras' files under the module to import, which Keras' own error about an unknown class names."""
    keras.saving.get_custom_objects()[f"laju>{cls.__name__}"] = cls  # the name in files of laju before 0.2
    registered: type[T] = keras.saving.register_keras_serializable(package=__name__)(cls)
    return registered


@_registered
class LearningRate(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """A schedule as the `learning_rate` of any Keras optimizer: update t uses schedule(t), t from 0.

    The clock counts updates: under `gradient_accumulation_steps` Keras shows schedules its count of micro-batches, which is
    divided here by the optimizer's own number. An update that `LossScaleOptimizer` skipped does not count.

    The schedule is saved with the model as JSON; import this module before `keras.saving.load_model`. A loaded model goes on from
    its position, in `fit(initial_epoch=…)` too, as the position is the optimizer's counter and not the epoch. An optimizer
    that is built anew begins at 0: see `set_position`. For values that change once an epoch use `schedule.per("epoch")` with
    a plan, or give the schedule itself to Keras' own callback: `keras.callbacks.LearningRateScheduler(schedule)`.

    Args:
        schedule: absolute learning rates; a schedule, or its text.
        plan: the run, for a schedule in epochs or percent; "fit" waits for `fit` with the callback `FitPlan` to say its length.

    Raises:
        TypeError: not a schedule.
        SpecError: a text that is not a schedule's.
        UnresolvedError: the schedule's lengths are not in updates, and there is no plan.

    >>> import keras, laju
    >>> optimizer = keras.optimizers.SGD(LearningRate(laju.linear(1, 0, total=4)))
    >>> weight = keras.Variable(10.0)
    >>> for _ in range(2):
    ...     optimizer.apply([keras.ops.ones(())], [weight])
    >>> weight.numpy().item(), float(optimizer.learning_rate)
    (8.25, 0.5)
    """

    def __init__(self, schedule: Schedule | str, plan: Plan = None) -> None:
        hint = "this has no base; write base * schedule, or Scheduled(optimizer, learning_rate=Factor(schedule))"
        self._values = _values("schedule", schedule, plan, hint=hint)
        self._optimizer: weakref.ref[Any] | None = None

    @property
    def schedule(self) -> Schedule:
        return self._values.schedule

    def __call__(self, step: Any) -> Any:
        """The rate of the update after so many steps of the optimizer's counter, as a tensor of at least float32."""
        if is_number(step):
            return _tensor(self.schedule(step))
        return _tensor(_value(self._values, _updates(step, self._accumulated(step))))

    def _accumulated(self, step: Any) -> int:
        """How many steps of this counter make an update."""
        optimizer = None if self._optimizer is None else self._optimizer()
        if optimizer is None or optimizer._iterations is not step:
            optimizer = _owner(step)
            _tell_beginning(optimizer)
            self._optimizer = None if optimizer is None else weakref.ref(optimizer)
        return 1 if optimizer is None else _accumulate(optimizer)

    def get_config(self) -> dict[str, Any]:
        return {"schedule": self.schedule.to_json()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        schedule = _read(config["schedule"])
        return cls(schedule, "fit" if schedule.units else None)

    def __reduce__(self) -> tuple[type[LearningRate], tuple[Schedule, Plan]]:
        return type(self), (self.schedule, "fit" if self.schedule.units else None)

    def __repr__(self) -> str:
        return f"LearningRate({self.schedule!r})"


class Slot:
    """A hyper-parameter of an optimizer, and the schedule that drives the hyper-parameter."""

    def __init__(self, key: str, driven: Driven, base: Any, plan: Plan) -> None:
        self.key = key
        self.factor = isinstance(driven, Factor)
        self.name = f"{key} (factor)" if self.factor else key
        self.base = base
        self.scale = 1.0
        if self.factor:
            if not is_number(base) or not base:
                raise ValueError(f"{self.name} has no base: {key} of the optimizer is {shown(base)}")
            self.scale = float(base)
        schedule = driven.schedule if isinstance(driven, Factor) else driven
        self.values = _values(key, constant(schedule) if is_number(schedule) else schedule, plan)

    def at(self, t: Any) -> Any:
        """The value at a number of updates: a number, or in a graph a tensor."""
        value = _value(self.values, t)
        return value * self.scale if self.factor else value


@_registered
class Scheduled(keras.optimizers.Optimizer):  # type: ignore[misc]
    """An optimizer whose hyper-parameters follow schedules: update t uses schedule(t) of each, t from 0.

    While the inner optimizer makes an update, its attributes have the values of that update; outside of updates they have their
    own. All clocks are the inner optimizer's counter of updates; micro-batches of `gradient_accumulation_steps` and updates
    that `LossScaleOptimizer` skipped do not count. Loss scaling goes outside: `LossScaleOptimizer(Scheduled(…))`.

    The schedules are saved with the model, and with its weights a fingerprint and the controller's state, so that
    `keras.callbacks.BackupAndRestore` and `ModelCheckpoint` restore the whole state.

    Args:
        optimizer: a Keras optimizer, not yet used. Its own `LearningRate`, if any, is taken over.
        learning_rate: a `Schedule` of absolute values or its text, a `Factor` of the optimizer's own rate, or a number.
        controller: a metric-driven rule such as `laju.adaptive.Plateau`, or a `Controller`; its factor multiplies the learning
            rate. Feed the controller with `observe`, in `fit` with the callback `Observe`.
        observe_within: updates within which a metric must be observed, again and again; by default a warning after 10,000. A
            compiled step cannot look, so this is checked by `Observe`, and when the model is saved.
        policy: for weights that were saved with other schedules: "strict" is an error that shows both, "new" follows the
            code's from the saved position, "saved" goes on with the checkpoint's.
        plan: the run, for schedules in epochs or percent; "fit" waits for `fit` with the callback `FitPlan` to say its length.
        hyper_parameters: further hyper-parameters of the optimizer by name (`weight_decay`, `momentum`, `beta_1` …), driven as
            `learning_rate` is. Hyper-parameters that Keras reads while compiling, such as `clipnorm`, cannot be scheduled.

    Raises:
        TypeError: not an optimizer, or not a schedule.
        ValueError: a hyper-parameter that the optimizer does not have or that is fixed, a factor of nothing, nothing to
            schedule, or an unknown policy.
        UnresolvedError: a schedule's lengths are not in updates, and there is no plan.

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
        self._slots = _Slots(_slots(optimizer, given, plan))
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
        """Make the variables of the optimizer for these weights."""
        if not self.built:
            self.inner_optimizer.build(variables)
            super().build(variables)

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Make an update with the values of the schedules."""
        if not self.built and trainable_variables is not None:
            trainable_variables = list(trainable_variables)
            self.build(trainable_variables)
        with self._values_in_place():
            self.inner_optimizer.apply(grads, trainable_variables)

    @contextlib.contextmanager
    def _values_in_place(self) -> Iterator[None]:
        if not self._begun:
            self._begun = True
            _tell_beginning(self.inner_optimizer)
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
                    attributes[slot.key] = _positive(value) if slot.key == "momentum" else value
            yield
        finally:
            for slot in self._slots.values():
                attributes["_learning_rate" if slot.key == "learning_rate" else slot.key] = slot.base

    def _now(self) -> Any:
        return _updates(self.inner_optimizer._iterations, _accumulate(self.inner_optimizer))

    def _at(self, slot: Slot, t: Any) -> Any:
        value = slot.at(t)
        if slot.key == "learning_rate" and self.controller is not None:
            value = value * (
                self.controller.factor if isinstance(t, int) else keras.ops.cast(self._factor, value.dtype)
            )
        return value if isinstance(t, int) else _tensor(value)

    # --- the interface that Keras expects of an optimizer --------------------------------------------------------

    @property
    def variables(self) -> list[Any]:
        return [*self._variables, *self.inner_optimizer.variables]

    @property
    def iterations(self) -> Any:
        return self.inner_optimizer.iterations

    @property
    def learning_rate(self) -> Any:
        """The rate of the next update."""
        slot = self._slots.get("learning_rate")
        return self.inner_optimizer.learning_rate if slot is None else _tensor(self._at(slot, self._now()))

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
        schedules = {key: _read(driven["schedule"]) for key, driven in config["schedules"].items()}
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
        """Completed updates."""
        return position(self)

    def observe(self, metric: Any) -> float:
        """Pass a metric to the controller, and apply the controller's factor to the next update.

        Returns:
            The factor that multiplies the learning rate from now on.

        Raises:
            RuntimeError: there is no controller.
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
        """The position, the schedules and the controller's state: plain numbers, texts and lists, saved with the weights."""
        return save(
            KIND,
            self.position,
            self._schedules(),
            accumulate=_accumulate(self.inner_optimizer),
            bases={slot.name: slot.scale for slot in self._slots.values() if slot.factor},
            controller=None if self.controller is None else self.controller.state_dict(),
            observed_at=self._observed_at,
        )

    def load_state_dict(self, state_dict: Any, policy: Policy | None = None) -> None:
        """Go to the saved position; after an error nothing is changed. The moments are in the inner optimizer's variables.

        Args:
            state_dict: the result of `state_dict()`.
            policy: for this time, instead of the optimizer's own.

        Raises:
            StateError: a state of another kind or version; with "strict", of other schedules or bases; of another number of
                micro-batches in an update; or, with "saved", schedules that differ from those already compiled.
        """
        policy = self.policy if policy is None else check_policy(policy)
        now, schedules, more = load(KIND, state_dict, self._schedules(), policy)
        accumulate = _accumulate(self.inner_optimizer)
        if more.get("accumulate") != accumulate and now:
            raise StateError(
                f"state was saved with gradient_accumulation_steps={more.get('accumulate')}, and here it is {accumulate}: the "
                "counter that Keras saved counts micro-batches. Load it with the same number, or go on with a new optimizer and "
                "set_position"
            )
        if self._compiled and schedules != self._schedules():
            raise StateError(
                "the schedules in state are others than those of the training step, which is compiled already; load it before "
                "the first update"
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
        """Write the state into a file of weights, next to the inner optimizer's variables, which Keras writes."""
        self._check_fed(self.position)
        store[_STORED] = np.frombuffer(json.dumps(self.state_dict()).encode(), dtype=np.uint8)

    def load_own_variables(self, store: Any) -> None:
        """Read the state from a file of weights."""
        if _STORED not in store.keys():  # noqa: SIM118  # Keras' stores are no mappings
            raise StateError(f"the optimizer that was saved is not laju's {KIND}")
        try:
            state = json.loads(np.asarray(store[_STORED], dtype=np.uint8).tobytes())
        except ValueError as error:
            raise StateError(f"the optimizer's state cannot be read: {error}") from None
        self.load_state_dict(state)


class Observe(keras.callbacks.Callback):  # type: ignore[misc]
    """Tells the controller of a `Scheduled` optimizer a metric after each epoch of `fit`.

    Epochs without validation have no `val_` metrics, and are left out.

    Args:
        monitor: the metric's name in the logs of `fit`.

    Raises:
        TypeError: the model's optimizer is not `Scheduled`.
        ValueError: the optimizer has no controller, or the logs do not have the metric.
        RuntimeError: the metric never appeared in `fit`; `fit(initial_epoch=…)` with an optimizer that made no update yet.

    >>> import keras, laju, numpy
    >>> from laju.adaptive import Plateau
    >>> model = keras.Sequential([keras.layers.Dense(1)])
    >>> plateau = Plateau(0.1, patience=0)
    >>> model.compile(Scheduled(keras.optimizers.SGD(), learning_rate=laju.constant(0.0), controller=plateau), loss="mse")
    >>> x, y = numpy.ones((4, 1)), numpy.zeros((4, 1))
    >>> history = model.fit(x, y, epochs=3, verbose=0, callbacks=[Observe("loss")])
    >>> model.optimizer.controller.factor
    0.010000000000000002
    """

    def __init__(self, monitor: str = "val_loss") -> None:
        super().__init__()
        self.monitor = monitor
        self._begun = self._fed = False

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self._begun = self._fed = False
        optimizer = self._scheduled()
        if optimizer.controller is None:
            raise ValueError(
                "the optimizer has no controller to observe a metric for: Scheduled(…, controller=Plateau(…))"
            )

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        if not self._begun and epoch and not self._scheduled().position:
            raise RuntimeError(
                f"fit begins at epoch {epoch}, but the optimizer made no update yet, so its schedules would begin at 0; load the "
                "optimizer's state, or call laju.frameworks.keras.set_position(optimizer, completed updates)"
            )
        self._begun = True

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        logs = logs or {}
        optimizer = self._scheduled()
        if self.monitor in logs:
            self._fed = True
            optimizer.observe(logs[self.monitor])
        elif not self.monitor.startswith("val_"):
            raise ValueError(
                f"monitor must be one of {', '.join(logs)}, got {self.monitor!r}{nearest(self.monitor, logs)}"
            )
        optimizer._check_fed(optimizer.position)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        if self._begun and not self._fed:
            raise RuntimeError(
                f"the controller was never fed: {self.monitor!r} was in no epoch's logs, which had "
                f"{', '.join(logs or {}) or 'nothing'}; give fit validation_data, or another monitor"
            )

    def _scheduled(self) -> Scheduled:
        optimizer = self.model.optimizer
        inner = getattr(optimizer, "inner_optimizer", None)
        for found in (optimizer, inner):  # in mixed precision, LossScaleOptimizer wraps the Scheduled
            if isinstance(found, Scheduled):
                return found
        raise TypeError(f"the model's optimizer must be a laju.frameworks.keras.Scheduled, got {shown(optimizer)}")


class FitPlan(keras.callbacks.Callback):  # type: ignore[misc]
    """Passes the length of `fit` to the schedules of the model's optimizer, so that schedules can be in epochs and percent.

    A percent is of the updates of `fit`'s `epochs`, epochs before `initial_epoch` included. The lengths that the first `fit` gave
    stay: a later `fit` of another length goes on with the same schedule, and a warning says so.

    Raises:
        UnresolvedError: `fit` does not know how many batches an epoch has; or a length in samples or tokens.
        TypeError: no schedule of the optimizer has plan="fit".

    >>> import keras, laju, numpy
    >>> model = keras.Sequential([keras.layers.Dense(1)])
    >>> rate = LearningRate("cosine(0.3, total='100%', warmup='1 epoch')", plan="fit")
    >>> model.compile(keras.optimizers.SGD(rate), loss="mse")
    >>> x, y = numpy.ones((64, 1)), numpy.zeros((64, 1))
    >>> history = model.fit(x, y, epochs=5, batch_size=16, verbose=0, callbacks=[FitPlan()])
    >>> rate.schedule
    cosine(0.3, total=20, warmup=4)
    """

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        optimizer = self.model.optimizer
        plans = [v for v in _all_values(optimizer) if isinstance(v, _FitValues)]
        if not plans:
            raise TypeError(
                'FitPlan has nothing to do: no schedule of the optimizer waits for fit; make it with plan="fit", as '
                'LearningRate("cosine(0.3, total=\'100%\')", plan="fit")'
            )
        epochs, steps = self.params.get("epochs"), self.params.get("steps")
        if not steps:
            raise UnresolvedError(
                "fit does not know how many batches an epoch has; call fit(steps_per_epoch=…), or give the schedule a RunPlan"
            )
        per_epoch = Fraction(steps, _accumulate(_innermost(optimizer)))
        scale = Scale((("updates", Fraction(1)), ("epochs", per_epoch), ("%", per_epoch * epochs / 100)))
        now = position(optimizer)
        for values in plans:
            values.fit(scale, now)


class Forecast(Forecasting, keras.callbacks.Callback):  # type: ignore[misc]
    """Forecasts the final loss of `fit` during `fit`, in a process beside the training.

    At the end of each epoch the logs have `forecast/end`, the band `forecast/low` and `forecast/high`, and `forecast/update`, the
    last update that the answer is from; NaN where there is no answer. Put `Forecast` before callbacks that write logs, such as
    `CSVLogger`. Errors become `note`, and refusals are in `ending`; the training goes on.

    Args:
        schedule: of the whole run, as `laju.forecast.ending` takes a schedule, or with lengths in percent or epochs of `fit`. By
            default the learning rate of the model's optimizer.
        monitor: the metric whose end is forecast: "loss", of which every batch tells the mean of its epoch so far; or a metric
            of each epoch, such as "val_loss".
        level: probability of the band.
        prior: past runs, as `laju.forecast.ending` takes a prior.

    Attributes:
        ending: the latest answer, a `laju.forecast.Ending`; None before the first answer.
        note: the last error; None while all is well.

    Raises:
        ValueError, OSError: a mistake in the arguments, before the training.

    >>> Forecast(monitor="val_loss").ending is None
    True
    """

    def __init__(
        self,
        schedule: Rates | str | None = None,
        *,
        monitor: str = "loss",
        level: float = 0.9,
        prior: Prior | str | PathLike[str] | None = "auto",
    ) -> None:
        keras.callbacks.Callback.__init__(self)
        Forecasting.__init__(self, schedule, monitor, level, prior)
        self._begun = True
        self._batches = self._before = 0
        self._accumulate = 1
        self._last = (0, 0.0)
        self._names: list[str] = []

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        self._begun = not _is_first_process()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._last = (0, 0.0)
        if self._begun:
            return
        self._begun = True
        with self._stopping_nothing():
            optimizer = self.model.optimizer
            steps, epochs = self.params.get("steps"), self.params.get("epochs")
            self._accumulate, self._before = _accumulate(_innermost(optimizer)), position(optimizer)
            self._batches = 0
            per, updates = [("updates", Fraction(1))], None
            if steps:
                per_epoch = Fraction(steps, self._accumulate)
                updates = self._before + int(per_epoch * (epochs - epoch))
                per += [("epochs", per_epoch), ("%", per_epoch * epochs / 100)]
            self._begin(_rates_of(optimizer), Scale(tuple(per)), updates, 0)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self.live is None or self.monitor != "loss" or not logs or "loss" not in logs:
            return
        with self._stopping_nothing():
            (before, mean), now = self._last, batch + 1
            if now - before < self._accumulate:
                return
            # Keras has means of the epoch so far; the batches since the last row are the difference of two of these.
            loss = (now * float(logs["loss"]) - before * mean) / (now - before)
            self._last = now, float(logs["loss"])
            self._add(self._before + (self._batches + now) // self._accumulate, loss)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self.plan is None or logs is None:
            return
        with self._stopping_nothing():
            self._names = list(logs)
            self._batches += self.params.get("steps") or 0
            if self.monitor != "loss" and self.monitor in logs:
                self._add(self._before + self._batches // self._accumulate, logs[self.monitor])
            # Each epoch has the same names, as CSVLogger demands.
            logs |= dict.fromkeys(("forecast/end", "forecast/low", "forecast/high", "forecast/update"), float("nan"))
            logs |= self._figures()

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        with self._stopping_nothing():
            self._finish(self._names)


class Track(Tracking, Forecast):
    """Logs the planned and the used rate of each epoch's first update, and the forecast of the loss, at the end of each epoch.

        model.fit(…, callbacks=[Track(wandb.init(project="mine"))])

    The run's configuration gets `laju/schedule`, the schedule's text, and `laju/fingerprint`; the run gets a row an epoch with
    Keras' logs, `lr/planned`, `lr/used` and the figures of `Forecast`. Keras' logs have these as well. The first rate that is not
    the plan's is warned of. Put `Track` before callbacks that write logs.

    Args:
        run: of a tracker, as `laju.sinks.Track` takes a run; None leaves the writing to callbacks such as `TensorBoard`.
        schedule: the plan, as in `Forecast`. By default the learning rate of the model's optimizer.
        options: further arguments of `Forecast`.

    Raises:
        TypeError, ValueError, OSError: a mistake in the arguments, before the training.

    >>> Track().plan is None  # until training begins
    True
    """

    def __init__(self, run: Any = None, schedule: Rates | str | None = None, **options: Any) -> None:
        super().__init__(schedule, **options)
        self._tracker = None if run is None else tracker_of(run)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        first = not self._begun
        super().on_epoch_begin(epoch, logs)
        if first and self._tracker is not None and (settings := self._settings()):
            with self._stopping_nothing():
                self._tracker.config(settings)

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self.plan is None or batch:
            return
        with self._stopping_nothing():
            optimizer = self.model.optimizer
            self._use(position(optimizer), keras.ops.convert_to_numpy(optimizer.learning_rate))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        super().on_epoch_end(epoch, logs)
        if self._tracker is None or self.plan is None or not logs:
            return
        with self._stopping_nothing():
            row = {name: float(value) for name, value in logs.items() if is_number(value) and value == value}
            self._tracker.log(self._before + self._batches // self._accumulate, row)


def position(optimizer: Any) -> int:
    """The updates that a Keras optimizer has completed, micro-batches of an accumulated gradient not counted.

    >>> import keras
    >>> position(keras.optimizers.SGD())
    0
    """
    optimizer = _innermost(optimizer)
    return int(keras.ops.convert_to_numpy(optimizer._iterations)) // _accumulate(optimizer)


def set_position(optimizer: Any, t: int) -> None:
    """Put a Keras optimizer at the point after `t` completed updates; a second call with the same `t` changes nothing.

    For an optimizer that is built anew in the middle of a run, as for `fit(initial_epoch=…)` without the optimizer's state. Adam
    and its kin use this count too, and with new moments take many updates to get up to speed;
    `LearningRate(schedule.shift(-t))` moves the schedule alone.

    Raises:
        TypeError: not a Keras optimizer.
        ValueError: not a whole number of updates.

    >>> import keras, laju
    >>> optimizer = keras.optimizers.SGD(LearningRate(laju.linear(1, 0, total=4)))
    >>> set_position(optimizer, 3)
    >>> float(optimizer.learning_rate)
    0.25
    """
    optimizer = _innermost(optimizer)
    optimizer._iterations.assign(whole("t", t) * _accumulate(optimizer))


# --- helpers -------------------------------------------------------------------------------------------------------------


class _Slots(dict[str, Slot]):
    """A dict that Keras leaves alone; plain dicts that are set on an optimizer are wrapped."""


class _Positive:
    """A number inside a graph, which Keras finds above 0 while compiling."""

    def __init__(self, tensor: Any) -> None:
        self.tensor, self.dtype, self.shape = tensor, tensor.dtype, ()

    def __ne__(self, other: object) -> bool:
        return True

    def __gt__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]

    def __tf_tensor__(self, dtype: Any = None, name: Any = None) -> Any:
        return self.tensor if dtype is None else keras.ops.cast(self.tensor, dtype)

    def __jax_array__(self) -> Any:
        return self.tensor


def _positive(momentum: Any) -> Any:
    """A momentum for which Keras goes on with its velocities, at 0 too."""
    if isinstance(momentum, float):
        return max(momentum, sys.float_info.min)
    if keras.backend.backend() == "torch":
        return keras.ops.maximum(momentum, float(np.finfo(np.float32).tiny))
    return _Positive(momentum)


def _innermost(optimizer: Any) -> Any:
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise TypeError(f"optimizer must be a Keras optimizer, got {shown(optimizer)}")
    return optimizer


def _is_first_process() -> bool:
    if keras.backend.backend() == "torch":
        import torch.distributed

        return not (torch.distributed.is_available() and torch.distributed.is_initialized()) or (
            torch.distributed.get_rank() == 0
        )
    if keras.backend.backend() == "jax":
        import jax

        return int(jax.process_index()) == 0
    return True


def _rates_of(optimizer: Any) -> Any:
    """The source of the rates of a model's optimizer: a schedule of laju or of Keras, or a constant."""
    while optimizer is not None:
        if isinstance(optimizer, Scheduled) and "learning_rate" in optimizer._slots:
            if optimizer.controller is not None:
                raise TypeError(
                    f"the rates follow {shown(optimizer.controller)}, so what they will be is not known; give schedule=… for a "
                    "forecast as if nothing happens any more"
                )
            return optimizer._slots["learning_rate"].values.schedule
        rate = vars(optimizer).get("_learning_rate")
        if isinstance(rate, LearningRate):
            return rate.schedule
        if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
            return rate
        inner = getattr(optimizer, "inner_optimizer", None)
        if inner is None:
            return constant(float(keras.ops.convert_to_numpy(optimizer.learning_rate)))
        optimizer = inner
    return None


def _accumulate(optimizer: Any) -> int:
    """The micro-batches of an update; each micro-batch moves Keras' counter by 1."""
    return int(optimizer.gradient_accumulation_steps or 1)


def _owner(counter: Any) -> Any:
    """The optimizer that asks for a value with its own counter, found among the callers, as Keras does not say who asks."""
    if not isinstance(counter, keras.Variable):
        return None
    frame = sys._getframe(2)
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, keras.optimizers.Optimizer) and vars(caller).get("_iterations") is counter:
            return caller
        frame = frame.f_back  # type: ignore[assignment]
    return None


def _updates(counter: Any, accumulate: int) -> Any:
    """Completed updates: an int where the counter can be read without waiting, else a tensor of integers."""
    step = keras.ops.convert_to_tensor(counter)
    if not getattr(step, "shape", None) and _readable(step):
        return int(step) // accumulate
    return step if accumulate == 1 else step // accumulate


def _readable(step: Any) -> bool:
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        return step.device.type == "cpu" and not torch.compiler.is_compiling()
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.executing_eagerly() and "CPU" in step.device
    return False


class _FitValues(Values):
    """The values of a schedule whose lengths `fit` will say."""

    __slots__ = ("given", "scale")

    def __init__(self, given: Schedule) -> None:
        self.given = self.schedule = given
        self.stride, self.begin, self.end = 1, 0, 0
        self.block: list[float] = []
        self.scale: Scale | None = None

    def fit(self, scale: Scale, now: int) -> None:
        """Take the lengths of a run that is at update `now`."""
        if self.scale is not None and self.scale != scale and now:
            warnings.warn(
                f"this fit has another length than the first, and {shown(self.schedule)} stays: it goes on at update {now}. "
                "Compile the model with a new LearningRate to begin anew",
                ScheduleWarning,
                stacklevel=2,
            )
        elif self.scale != scale:
            self.scale, self.schedule = scale, self.given.in_updates(scale)
            self.begin = self.end = 0

    def at(self, t: int) -> float:
        self.check()
        return super().at(t)

    def check(self) -> None:
        if self.scale is None and self.schedule.units:
            raise UnresolvedError(
                f"{shown(self.schedule)} waits for the length of fit: model.fit(…, callbacks=[laju.frameworks.keras.FitPlan()])"
            )


def _values(name: str, schedule: Any, plan: Plan, hint: str = "") -> Values:
    if plan != "fit":
        if plan is not None and not isinstance(plan, RunPlan):
            kind = ValueError if isinstance(plan, str) else TypeError
            raise kind(f'plan must be a RunPlan or "fit", got {shown(plan)}')
        try:
            return Values(given(name, schedule, plan, hint=hint))
        except UnresolvedError as error:
            if plan is not None:
                raise
            raise UnresolvedError(
                f'{error}, or here plan=RunPlan(…), or plan="fit" with the callback FitPlan()'
            ) from None
    return _FitValues(given(name, schedule, hint=hint, resolved=False))


def _all_values(optimizer: Any) -> list[Values]:
    """The values of every schedule in an optimizer and in the optimizers inside."""
    found = []
    while optimizer is not None:
        if isinstance(optimizer, Scheduled):
            found += [slot.values for slot in optimizer._slots.values()]
        elif isinstance(vars(optimizer).get("_learning_rate"), LearningRate):
            found.append(optimizer._learning_rate._values)
        optimizer = getattr(optimizer, "inner_optimizer", None)
    return found


_COUNTERS: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
"""The counter of the optimizer that each model was last fitted with, by which a model that is compiled again is known."""


def _count(counter: Any, fit: Mapping[str, Any], variables: list[Any]) -> int:
    """A counter's value outside of the step that is being compiled, `fit` being the local names of `fit`."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.init_scope():
            return int(counter.value.numpy())
    value = counter._value
    if value is None:  # on JAX, `fit` takes the values out of the variables and holds the values itself
        value = fit["state"][2][next(i for i, variable in enumerate(variables) if variable is counter)]
    return int(value)


def _tell_beginning(optimizer: Any) -> None:
    """Warn where the first update of an optimizer is not the first of its model's training.

    Keras gives an optimizer neither the epoch nor its history, so `fit` is sought among the callers.
    """
    frame: Any = None if optimizer is None else sys._getframe(1)
    while frame is not None and not (frame.f_code.co_name == "fit" and "initial_epoch" in frame.f_locals):
        frame = frame.f_back
    model = None if frame is None else frame.f_locals.get("self")
    if not isinstance(model, keras.Model):
        return
    before = _COUNTERS.get(model)
    _COUNTERS[model] = optimizer._iterations
    fit, variables = frame.f_locals, model.optimizer.variables
    if _innermost(model.optimizer) is not optimizer or _count(optimizer._iterations, fit, variables):
        return
    epoch = fit["initial_epoch"]
    made = 0 if before is None else _count(before, fit, variables) // _accumulate(optimizer)
    if epoch or made:
        why = (
            f"fit begins at epoch {epoch}" if epoch else f"this model made {made} updates before it was compiled again"
        )
        warnings.warn(
            f"{why}, but the optimizer is new, so its schedules begin at update 0. To go on where the run was, load the state of "
            f"the optimizer, or call laju.frameworks.keras.set_position(model.optimizer, {made or 'updates completed'})",
            ScheduleWarning,
            stacklevel=2,
        )


def _value(values: Values, t: Any) -> Any:
    if isinstance(values, _FitValues):
        values.check()
    return values.at(t) if isinstance(t, int) else values.schedule(t)


def _tensor(value: Any) -> Any:
    """The value in Keras' float, and never in less than float32."""
    return keras.ops.cast(value, "float64" if keras.config.floatx() == "float64" else "float32")


def _slots(optimizer: Any, given: Mapping[str, Any], plan: Plan) -> dict[str, Slot]:
    names = [key for key, value in optimizer.get_config().items() if key not in _FIXED and _scheduled(key, value)]
    kind = type(optimizer).__name__
    slots = {}
    for key, driven in given.items():
        if driven is None:
            continue
        if not (isinstance(driven, Schedule | Factor | str) or is_number(driven)):
            raise TypeError(f"{key} must be a schedule or its text, a Factor or a number, got {shown(driven)}")
        if key == "learning_rate":
            rate = optimizer._learning_rate
            known = isinstance(rate, keras.Variable)
            if not known and not isinstance(rate, LearningRate):
                raise ValueError(f"learning_rate is scheduled twice: the optimizer has {shown(rate)}")
            slot = Slot(key, driven, float(keras.ops.convert_to_numpy(rate)) if known else None, plan)
            slot.base = rate  # the value to put back
        elif key in _FIXED:
            raise ValueError(f"{key} of {kind} cannot be scheduled: Keras reads it when it compiles; {_have(names)}")
        elif key not in names or key not in vars(optimizer):
            raise ValueError(f"{kind} has no hyper-parameter {key!r}{nearest(key, names)}; {_have(names)}")
        else:
            base = vars(optimizer)[key]
            if key == "momentum" and not base:
                raise ValueError(
                    "momentum of the optimizer is 0, so that it keeps no velocity to schedule; make it with another momentum"
                )
            slot = Slot(key, driven, base, plan)
        slots[key] = slot
    return slots


def _scheduled(key: str, value: Any) -> bool:
    return is_number(value) or (key == "weight_decay" and value is None)


def _have(names: list[str]) -> str:
    return f"it has {', '.join(['learning_rate', *names])}"


def _read(tree: Any) -> Schedule:
    """The schedule of a saved model; its functions may be imported by name where Keras allows a file to run code."""
    from keras.src.saving.serialization_lib import in_safe_mode

    if not isinstance(tree, Mapping):
        raise ValueError(f"the schedule of this model must be an object, got {shown(tree)}")
    schedule = from_json(tree, functions=not in_safe_mode())
    if in_safe_mode() and calls_functions(schedule):  # which stays a name here, so that the model could not be trained
        raise ValueError(
            "the schedule of this model has a Function, which is imported by its name; if you trust the file, load it with "
            "safe_mode=False"
        )
    return schedule
