"""The common base of the trainers' callbacks, which know the run and its optimizer only when training begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from laju.adaptive import Controller, Rule
from laju.core.checks import nearest


class Deferred:
    """Arguments of a `Scheduler` that a trainer's callback constructs later, and the metric that the controller observes."""

    def __init__(
        self, lr: Any, controller: Rule[Any] | Controller | None, monitor: str, options: dict[str, Any]
    ) -> None:
        self._arguments = {"lr": lr, "controller": controller, **options}
        self.monitor = monitor

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self._arguments.items() if value is not None)
        return f"Schedule({given})"

    def _monitored(self, metrics: Mapping[str, Any]) -> float:
        """Return the metric that the controller observes.

        Raises:
            ValueError: if the trainer has no metric with the name `monitor`.
        """
        if self.monitor not in metrics:
            raise ValueError(
                f"monitor must be one of {', '.join(metrics)}, got {self.monitor!r}{nearest(self.monitor, list(metrics))}"
            )
        return float(metrics[self.monitor])
