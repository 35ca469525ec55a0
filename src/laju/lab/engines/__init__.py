"""Engines: trials in one framework each, around a shared training loop."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from laju import plugins
from laju.core.checks import nearest, shown
from laju.core.extras import missing
from laju.lab.engines.loop import MetricError, Progress, Report, check_record
from laju.lab.trials import Framework, Outcome, Record, Trial
from laju.lab.trials.numerics import Numerics
from laju.lab.trials.tasks import Task

_PACKAGES: dict[Framework, tuple[str, ...]] = {
    "torch": ("torch",),
    "tensorflow": ("tensorflow", "keras"),
    "jax": ("jax", "optax"),
}


__all__ = ["ENGINES", "MetricError", "Progress", "Report", "check", "train", "train_part"]

ENGINES = {
    **{name: f"laju.lab.engines.{name}" for name in ("torch", "tensorflow", "jax", "mxnet", "accelerate", "stack")},
    "program": "laju.lab.programs.engine",
}
"""The modules of laju's engines; further packages add engines through entry points of the group `laju.engines`."""


def check(framework: Framework, task: Task) -> None:
    """Check that the task can be trained in the framework, without loading the framework or the data.

    Raises:
        ModuleNotFoundError: the framework is not installed.
        ValueError: the task has no model in the framework, or its engine is unknown.
        PluginError: the engine of an installed package cannot be loaded.
    """
    if framework == "mxnet":
        from laju.lab.engines.mxnet import interpreter

        interpreter()
    if task.engine == "program":  # which brings its own framework
        return
    if task.engine not in ENGINES:
        _engine(task.engine)
    for package in _PACKAGES.get(framework, ()):
        if find_spec(package) is None:
            raise missing(f"framework {framework!r}", package, framework)
    if framework == "torch" and task.engine == "accelerate" and find_spec("accelerate") is None:
        raise missing(f"task {task.name!r}", "accelerate", "large")
    if framework != "torch" and type(task).network is Task.network:
        task.network(framework, 0)  # the error names the missing method


def train(trial: Trial, report: Report | None = None) -> Outcome:
    """Run a trial in its framework, from its beginning, and return its records.

    Args:
        trial: the trial to run.
        report: called with every new record.

    Raises:
        ModuleNotFoundError: the framework is not installed.
        ValueError: the task has no model in the framework.
        MetricError: a figure outside of its range, such as an accuracy above 1.
        TypeError: the engine of an installed package did not return an `Outcome`.
    """
    name = trial.task.engine if trial.framework == "torch" else trial.framework
    name = name if trial.numerics == Numerics() else "stack"
    outcome = _engine(name).train(trial, report)
    if not isinstance(outcome, Outcome) or not all(isinstance(record, Record) for record in outcome.records):
        raise TypeError(f"engine {name!r} must return an Outcome with a Record of each report, got {shown(outcome)}")
    for record in outcome.records:
        if outcome.status != "diverged" or not record.diverged:
            check_record(trial, record)
    return outcome


def _engine(name: str) -> Any:
    """The engine with this name: a module or object with a function `train(trial, report)`."""
    if name in ENGINES:
        return import_module(ENGINES[name])
    engine = plugins.load("engines", name)
    if engine is None:
        valid = (*ENGINES, *plugins.names("engines"))
        raise ValueError(f"engine {shown(name)} is not one of {', '.join(valid)}{nearest(name, valid)}")
    return engine


def train_part(
    trial: Trial, start: bytes | None, stop: int, keep: bool, report: Report | None = None
) -> tuple[Progress, bytes | None]:
    """Make the updates of a trial up to `stop`, with `keep` also a branch point; see `laju.lab.engines.torch.train_part`.

    Raises:
        ValueError: a trial without `shares_prefixes`.
    """
    if not trial.shares_prefixes:
        raise ValueError(f"a trial in {trial.framework} by {trial.task.engine!r} is trained at once, not in parts")
    from laju.lab.engines import torch

    return torch.train_part(trial, start, stop, keep, report)
