"""The schedules of "Learning Rate Scheduling" in *Dive into Deep Learning*, and the experiments of its three tabs.

`schedules` is the chapter's set as its text describes it. `run` trains a whole tab, and `TABS` describes each tab.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from laju.core.schedule import Schedule
from laju.policies import constant, cosine, factor, multi_factor, square_root
from laju.studies.chapter.beside import Beside, Result
from laju.studies.chapter.tabs import EPOCHS, TABS, TRAINED, Figures, Tab, get_tab

if TYPE_CHECKING:
    from laju.lab.store import Store
    from laju.lab.trials.tasks import Task
    from laju.lab.workers import Display

__all__ = ["EPOCHS", "TABS", "TRAINED", "Beside", "Figures", "Result", "Tab", "get_tab", "run", "schedules"]


def schedules() -> dict[str, Schedule]:
    """The chapter's schedules by name; value(e) applies during epoch e.

    The chapter only plots its factor schedule, from 2.0, a rate that no network of the lab survives; here the schedule starts
    at 0.3.

    >>> list(schedules())
    ['constant', 'square root', 'factor', 'multi-factor', 'cosine', 'cosine with warmup']
    """
    return {
        name: schedule.per("epoch")
        for name, schedule in {
            "constant": constant(0.3),
            "square root": square_root(0.1),
            "factor": factor(0.3, 0.9, floor=0.01),
            "multi-factor": multi_factor(0.5, milestones=[15, 30], factor=0.5),
            "cosine": cosine(0.3, total=20, final=0.01),
            "cosine with warmup": cosine(0.3, total=20, final=0.01, warmup=5),
        }.items()
    }


def rates(tab: Tab, epochs: int = EPOCHS, as_meant: bool = False) -> dict[str, Schedule]:
    """The schedules with which `run` trains a tab: the rates that the tab's loop uses, or the rates that the text describes."""
    return {name: schedules()[name] for name in TRAINED} if as_meant else tab.rates(epochs)


def run(
    tab: str = "pytorch",
    task: str | Task = "fashion-mnist",
    *,
    epochs: int = EPOCHS,
    seeds: int | Iterable[int] = 3,
    as_meant: bool = False,
    data_dir: str | os.PathLike[str] | None = None,
    jobs: int | None = None,
    store: Store | str | os.PathLike[str] | None = None,
    display: Display | None = None,
) -> Result:
    """Train a tab of the chapter as printed: its network, initial weights, order of data and rates, in its framework.

    The tab's framework draws the initial weights from a seed, and NumPy draws the order of the data, so weights and order have
    the distributions of the printed cells but not their values at the same seed.

    Args:
        tab: "pytorch", "tensorflow" or "mxnet".
        task: the task that supplies the data.
        epochs: passes over the training data; by default the chapter's number.
        seeds: the number of seeds (0, 1, …), or a list of seeds.
        as_meant: train at the rates that the text describes instead of the rates that the tab's loop really uses.
        data_dir: the folder with the files of a task that is given by name.
        jobs, store, display: as in `laju.lab.compare`.

    Raises:
        ModuleNotFoundError: the framework, or the environment of MXNet, is missing; nothing was trained.
        ValueError: an unknown tab, or arguments that `laju.lab.compare` refuses.

    >>> result = run("pytorch", "digits", epochs=1, seeds=1, jobs=1)
    >>> result.verdict.partition(",")[0]
    "No verdict on the PyTorch tab's figures"
    """
    from laju.lab.comparison.compare import compare
    from laju.lab.comparison.grid import Grid
    from laju.lab.trials.tasks import read_task

    which = get_tab(tab)
    comparison = compare(
        Grid(rates(which, epochs, as_meant), seeds, epochs, framework=which.framework),
        which.task(read_task(task, data_dir)),
        jobs=jobs,
        store=store,
        display=display,
    )
    return Result(which, comparison, as_meant)
