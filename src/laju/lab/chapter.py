"""The schedules of "Learning Rate Scheduling" in *Dive into Deep Learning*, each read in epochs as the chapter does."""

from __future__ import annotations

from laju.policies import constant, cosine, factor, multi_factor, square_root
from laju.schedule import Schedule


def chapter() -> dict[str, Schedule]:
    """The chapter's set, by name; value(e) is in force during epoch e.

    The chapter only plots its factor schedule, from 2.0, which no network here survives; the set trains it from 0.3.

    >>> list(chapter())
    ['constant', 'square root', 'factor', 'multi-factor', 'cosine', 'cosine with warmup']
    """
    schedules = {
        "constant": constant(0.3),
        "square root": square_root(0.1),
        "factor": factor(0.3, 0.9, floor=0.01),
        "multi-factor": multi_factor(0.5, milestones=[15, 30], factor=0.5),
        "cosine": cosine(0.3, total=20, final=0.01),
        "cosine with warmup": cosine(0.3, total=20, final=0.01, warmup=5),
    }
    return {name: schedule.per("epoch") for name, schedule in schedules.items()}
