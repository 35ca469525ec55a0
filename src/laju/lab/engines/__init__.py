"""Engines: trials in one framework each, around the loop that they share."""

from __future__ import annotations

from importlib import import_module

from laju.lab.engines.loop import Report
from laju.lab.trial import Outcome, Trial


def train(trial: Trial, report: Report | None = None) -> Outcome:
    """Run one trial in its framework, from its beginning, and return its records.

    Args:
        trial: what to run.
        report: is called with every record as it is made.

    Raises:
        ModuleNotFoundError: the framework is not installed.
        ValueError: the task has no model in the framework.
    """
    engine = import_module(f"laju.lab.engines.{trial.framework}")
    outcome: Outcome = engine.train(trial, report)
    return outcome
