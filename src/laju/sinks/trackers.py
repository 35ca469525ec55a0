"""W&B, MLflow, trackio and TensorBoard: how each tracker stores a run's configuration and a row of metrics."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from laju.core.checks import ScheduleWarning, shown

_MLFLOW_PARAMETER = 6000
"""The longest value of a parameter that MLflow takes."""


class Tracker(Protocol):
    """Destination of a run's settings and rows of metrics."""

    def config(self, settings: Mapping[str, str]) -> None:
        """Write settings into the configuration of the run; called once."""

    def log(self, update: int, row: Mapping[str, float]) -> None:
        """Write the metrics of an update."""


class WandB:
    """A run of W&B, whose metrics have the update as x axis, independent of the program's own steps."""

    def __init__(self, run: Any) -> None:
        self._run = run
        run.define_metric("update", hidden=True)
        for names in ("lr/*", "forecast/*"):
            run.define_metric(names, step_metric="update")

    def config(self, settings: Mapping[str, str]) -> None:
        self._run.config.update(dict(settings), allow_val_change=True)  # a resumed run may follow another schedule

    def log(self, update: int, row: Mapping[str, float]) -> None:
        row = {"update": update, **row}
        if update >= self._run.step:
            self._run.log(row, step=update)
        else:  # the program has logged rows of its own, and W&B drops earlier steps: join the program's next row
            self._run.log(row, commit=False)


class MLflow:
    """A run of MLflow, addressed by its id, so that rows are logged to the run even if a different run is active."""

    def __init__(self, run: Any) -> None:
        from mlflow import MlflowClient

        self._client, self._id = MlflowClient(), run.info.run_id

    def config(self, settings: Mapping[str, str]) -> None:
        # MLflow refuses to log a parameter again with another value, as a resumed run may.
        there = self._client.get_run(self._id).data.params
        for name, value in settings.items():
            text = value if len(value) <= _MLFLOW_PARAMETER else value[: _MLFLOW_PARAMETER - 1] + "…"
            if there.get(name, text) == text:
                self._client.log_param(self._id, name, text)
                continue
            warnings.warn(
                f"the run already has the parameter {name}={shown(there[name])}, which MLflow cannot change; {shown(text)} is "
                "logged as a tag",
                ScheduleWarning,
                stacklevel=3,
            )
            self._client.set_tag(self._id, name, value[:5000])

    def log(self, update: int, row: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self._id, [Metric(name, value, now, update) for name, value in row.items()])


class Trackio:
    """A run of trackio, which sends the configuration with its first row."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def config(self, settings: Mapping[str, str]) -> None:
        if getattr(self._run, "_config_logged", False):
            warnings.warn(
                "trackio sends the config of a run with its first row, which has already been sent, so the config lacks the "
                "schedule: construct the Track right after trackio.init",
                ScheduleWarning,
                stacklevel=3,
            )
        self._run.config.update(settings)

    def log(self, update: int, row: Mapping[str, float]) -> None:
        self._run.log(dict(row), step=update)


class TensorBoard:
    """A TensorBoard `SummaryWriter`, of torch or tensorboardX, which gets the configuration as text."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def config(self, settings: Mapping[str, str]) -> None:
        for name, value in settings.items():
            self._writer.add_text(name, f"`{value}`", 0)

    def log(self, update: int, row: Mapping[str, float]) -> None:
        for name, value in row.items():
            self._writer.add_scalar(name, value, update)


_BY_PACKAGE: dict[str, tuple[str, Callable[[Any], Tracker]]] = {
    "wandb": ("log", WandB),
    "mlflow": ("info", MLflow),
    "trackio": ("log", Trackio),
}
_RUNS = "a run of W&B, MLflow or trackio, or a SummaryWriter: wandb.init(…), mlflow.start_run(), trackio.init(…), SummaryWriter()"


def tracker_of(run: Any) -> Tracker:
    """Return the tracker of a run, recognised by the package of the run's class.

    Args:
        run: the run from `wandb.init`, `mlflow.start_run` or `trackio.init`, or a `SummaryWriter`.

    Raises:
        TypeError: if `run` is not a run of a known tracker, for example the package itself.
    """
    method, make = _BY_PACKAGE.get(type(run).__module__.partition(".")[0], ("add_scalar", TensorBoard))
    if isinstance(run, type) or not hasattr(run, method):
        raise TypeError(f"run must be {_RUNS}; got {shown(run)}")
    return make(run)
