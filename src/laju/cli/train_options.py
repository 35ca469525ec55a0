"""The options of a training, the same for every verb that trains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from laju.cli import completion

Command = TypeVar("Command", bound=Callable[..., Any])
Option = Callable[[Command], Command]

_COUNT = click.IntRange(min=1)
_FRAMEWORK = click.Choice(["torch", "tensorflow", "jax", "mxnet"])


def task_options(default: str = "digits", files: str = "Folder with the task's files (fashion-mnist).") -> Option[Any]:
    """--task and --data-dir."""
    names = "digits or fashion-mnist" if default == "digits" else "fashion-mnist or digits"

    def add(command: Command) -> Command:
        folder = click.option("--data-dir", type=click.Path(path_type=Path), help=files)
        name = click.option(
            "--task",
            default=default,
            show_default=True,
            metavar="NAME",
            shell_complete=completion.tasks,
            help=f"What to train: {names}.",
        )
        return name(folder(command))

    return add


def seeds_option(default: int, runs: str) -> Option[Any]:
    return click.option("--seeds", type=_COUNT, default=default, show_default=True, help=runs)


epochs_option = click.option(
    "--epochs", type=_COUNT, default=30, show_default=True, help="Passes over the training data."
)
batch_size_option = click.option("--batch-size", type=_COUNT, help="Examples an update; the task's own by default.")
momentum_option = click.option(
    "--momentum",
    type=click.FloatRange(min=0, max=1, max_open=True),
    default=0.0,
    show_default=True,
    help="SGD's momentum.",
)
framework_option = click.option(
    "--framework", type=_FRAMEWORK, default="torch", show_default=True, help="Where to train."
)
frameworks_option = click.option(
    "--framework",
    "frameworks",
    type=_FRAMEWORK,
    multiple=True,
    default=("torch",),
    show_default=True,
    help="Where to train; given more than once, every schedule is trained in each.",
)
jobs_option = click.option("--jobs", type=_COUNT, help="Trials at once; by default one for each core.")
report_option = click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("laju-report"),
    show_default=True,
    help="Folder for the report.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the results as JSON instead of the table.")
