"""Schedules scaled to the same total learning rate, so that a comparison is of their shapes."""

from __future__ import annotations

from collections.abc import Mapping

from laju.core.schedule import Schedule
from laju.core.units import RunPlan


def equal_area(schedules: Mapping[str, Schedule], plan: RunPlan) -> dict[str, Schedule]:
    """Scale every schedule so that the sum of its rates over the run equals that of the first schedule.

    The factor is c = Σ s₁(t) / Σ s(t) over the updates t of the run. The name of a changed schedule shows c, to three digits.

    Args:
        schedules: the schedules by name.
        plan: the run, with the number of updates and the lengths of its units.

    Raises:
        ValueError: the rates of a schedule sum to zero, or two schedules end up with the same name.

    >>> import laju
    >>> plan = laju.RunPlan(samples=100, batch_size=10, epochs=2)
    >>> equal_area({"constant": laju.constant(0.1), "linear": laju.linear(0.3, 0, total="100%")}, plan)
    {'constant': constant(0.1), 'linear × 0.635': linear(0.3, 0, total='100%') * 0.6349206349206351}
    """
    sums = {name: float(schedule.resolve(plan).values(plan.updates).sum()) for name, schedule in schedules.items()}
    first = next(iter(sums.values()))
    scaled: dict[str, Schedule] = {}
    for name, schedule in schedules.items():
        if sums[name] <= 0:
            raise ValueError(
                f"schedule {name!r} has rates that sum to {sums[name]:g}: no factor gives it the area of another schedule"
            )
        factor = first / sums[name]
        same = abs(factor - 1) < 1e-12
        label = name if same else f"{name} × {factor:.3g}"
        if label in scaled:
            raise ValueError(f"two schedules are called {label!r} once they have equal areas")
        scaled[label] = schedule if same else schedule * factor
    return scaled
