"""Schedules for sampling: targets with known answers, then the task's network."""

from __future__ import annotations

from laju.lab.trials.tasks import get_task
from laju.sampling.chains import need_arviz
from laju.studies.base import Answer, Options
from laju.studies.sampling import ensembles, targets
from laju.studies.sampling.network import run_methods

NAME = "sampling"


def study(options: Options) -> Answer:
    """Sample three targets with known answers, then the weights of the task's network beside SGD at equal cost.

    Args:
        options: `task` and `data_dir` give the images; `epochs` and `seeds` are for the network; `small` takes seconds and shows
            only certain results.

    Raises:
        ValueError: an unknown task, or too few epochs for the cycles.
        ModuleNotFoundError: ArviZ is not installed.
        StoreError: the store cannot be opened or written.
    """
    task = get_task(options.task, options.data_dir)
    need_arviz()  # now, not after the trainings
    findings = ensembles.Findings(run_methods(task, options))
    known = targets.sample_targets(options)
    figures = {**known.figures, "network": ensembles.figures(findings)}
    return Answer(
        NAME,
        f"{targets.verdict(known.figures)}, and {ensembles.verdict(findings)}.",
        f"{targets.text(known.figures)}\n\n{ensembles.text(findings)}",
        tables=dict(known.tables) | ensembles.tables(findings),
        pictures=dict(known.pictures) | ensembles.pictures(findings),
        figures=figures,
    )
