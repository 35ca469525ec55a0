"""Tasks for training: `Digits` needs no download, `FashionMNIST` is the chapter's; subclass `Task` for your own."""

from __future__ import annotations

import os

from laju import plugins
from laju.core.checks import nearest, shown
from laju.lab.trials.tasks.base import Data, DataError, Task
from laju.lab.trials.tasks.digits import Digits
from laju.lab.trials.tasks.download import DownloadError
from laju.lab.trials.tasks.fashion_mnist import FashionMNIST
from laju.lab.trials.tasks.held_out import HeldOut
from laju.lab.trials.tasks.image_folder import Accelerated, ImageFolder

__all__ = [
    "TASKS",
    "Accelerated",
    "Data",
    "DataError",
    "Digits",
    "DownloadError",
    "FashionMNIST",
    "HeldOut",
    "ImageFolder",
    "Task",
    "get_task",
    "read_task",
    "task_names",
]

TASKS = (Digits.name, FashionMNIST.name)


def get_task(name: str, data_dir: str | os.PathLike[str] | None = None) -> Task:
    """The task of this name, from laju or an installed package, with its files in the folder `data_dir` if the task has files.

    Raises `ValueError` for an unknown name or a folder given to a task that takes none, and `DataError` for a folder
    that lacks a file.

    >>> get_task("digits")
    Digits()
    """
    if name == FashionMNIST.name:
        return FashionMNIST(data_dir)
    if name == Digits.name:
        if data_dir is not None:
            raise ValueError(f"task {name!r} takes no data_dir: its data come with scikit-learn; got {str(data_dir)!r}")
        return Digits()
    make = plugins.load("tasks", name)
    if make is None:
        valid = task_names()
        meant = nearest(name.lower().replace("_", "-"), valid, cutoff=0.4)
        raise ValueError(f"unknown task {name!r}{meant} (valid: {', '.join(map(repr, valid))})")
    task = make() if data_dir is None else make(data_dir)
    if not isinstance(task, Task):
        raise TypeError(f"task {name!r} of another package must be a Task, got {shown(task)}")
    return task


def task_names() -> tuple[str, ...]:
    """The names of laju's tasks, and of the tasks of installed packages (entry points of the group `laju.tasks`)."""
    return (*TASKS, *plugins.names("tasks"))


def read_task(task: object, data_dir: str | os.PathLike[str] | None = None) -> Task:
    """A task, given itself or by name; `data_dir` is for names.

    Raises `TypeError` for anything else, and the errors of `get_task`.

    >>> read_task("digits")
    Digits()
    """
    if isinstance(task, str):
        return get_task(task, data_dir)
    if not isinstance(task, Task):
        raise TypeError(f"task must be a name or a Task, got {shown(task)}")
    if data_dir is not None:
        raise ValueError(f"data_dir is for tasks given by name; {task!r} knows its own data")
    return task
