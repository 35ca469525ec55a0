"""Tasks: what to train. `Digits` needs no download, `FashionMNIST` is the chapter's; subclass `Task` for your own."""

from __future__ import annotations

import difflib
import os

from laju.lab.tasks.base import Data, DataError, Task
from laju.lab.tasks.digits import Digits
from laju.lab.tasks.download import DownloadError
from laju.lab.tasks.fashion_mnist import FashionMNIST
from laju.lab.tasks.held_out import HeldOut
from laju.lab.tasks.image_folder import Accelerated, ImageFolder
from laju.lab.tasks.program import Program, ProgramError

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
    "Program",
    "ProgramError",
    "Task",
    "get_task",
]

TASKS = (Digits.name, FashionMNIST.name)


def get_task(name: str, data_dir: str | os.PathLike[str] | None = None) -> Task:
    """The task of this name, one of `TASKS`, with its files in the folder `data_dir` if it takes files.

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
    nearest = difflib.get_close_matches(name.lower().replace("_", "-"), TASKS, n=1, cutoff=0.4)
    meant = f"; did you mean {nearest[0]!r}?" if nearest else ""
    raise ValueError(f"unknown task {name!r}{meant} (valid: {', '.join(map(repr, TASKS))})")
