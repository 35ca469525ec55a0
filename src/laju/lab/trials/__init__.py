"""A trial: a schedule, a seed, a task with its model, an optimizer, and the records of the training run."""

from laju.lab.trials.trial import FRAMEWORKS, Framework, Optimizer, Outcome, Record, Status, Trial

__all__ = ["FRAMEWORKS", "Framework", "Optimizer", "Outcome", "Record", "Status", "Trial"]
