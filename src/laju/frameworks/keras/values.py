"""Values of a schedule in Keras: numbers and tensors, and schedules whose lengths are known when `fit` begins."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import keras

from laju.core.checks import ScheduleWarning, shown
from laju.core.schedule import Schedule
from laju.core.units import RunPlan, Scale, UnresolvedError
from laju.frameworks.values import Values, given

Plan = RunPlan | Literal["fit"] | None


def values_of(name: str, schedule: Any, plan: Plan, hint: str = "") -> Values:
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
    return FitValues(given(name, schedule, hint=hint, resolved=False))


def value_at(values: Values, t: Any) -> Any:
    if isinstance(values, FitValues):
        values.check()
    return values.at(t) if isinstance(t, int) else values.schedule(t)


def tensor(value: Any) -> Any:
    """Return the value as a tensor of Keras' float type, at least float32."""
    return keras.ops.cast(value, "float64" if keras.config.floatx() == "float64" else "float32")


class FitValues(Values):
    """Values of a schedule whose lengths are known when `fit` begins."""

    __slots__ = ("given", "scale")

    def __init__(self, given: Schedule) -> None:
        self.given = self.schedule = given
        self.stride, self.begin, self.end = 1, 0, 0
        self.block: list[float] = []
        self.scale: Scale | None = None

    def fit(self, scale: Scale, now: int) -> None:
        """Resolve the schedule with the lengths of a run that is at update `now`."""
        if self.scale is not None and self.scale != scale and now:
            warnings.warn(
                f"this fit differs in length from the first, and {shown(self.schedule)} is kept and continues at update {now}. "
                "Compile the model with a new LearningRate to start a new schedule",
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
