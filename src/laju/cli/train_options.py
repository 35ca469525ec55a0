"""The options of training runs, the same for every verb that trains."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from laju import options
from laju.cli import completion
from laju.options import BY_NAME, EXECUTION, SEARCH, Choice, Count, Flag, Number, Python, Seconds, Text

Command = TypeVar("Command", bound=Callable[..., Any])
Option = Callable[[Command], Command]

_COUNT = click.IntRange(min=1)
_FRAMEWORK = click.Choice(["torch", "tensorflow", "jax", "mxnet"])


def task_options(default: str = "digits", files: str = "Folder with the task's files (fashion-mnist).") -> Option[Any]:
    """Decorator that adds the options --task and --data-dir to a command."""
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


def _in_dashes(sentence: str) -> str:
    """A sentence with the options for the arguments that stand in backquotes."""
    return re.sub(r"`(\w+)`", lambda argument: f"--{argument[1].replace('_', '-')}", sentence)


def _click(option: options.Option, **changes: Any) -> Option[Any]:
    """An option of laju's table as an option of click, with changes to click's own settings."""
    dashed = f"--{option.name.replace('_', '-')}"
    settings: dict[str, Any] = {"default": option.default, "help": _in_dashes(option.sentence)}
    match option.kind:
        case Count(least):
            settings |= {"type": click.IntRange(min=least)}
        case Number():
            settings |= {"type": float}
        case Seconds():
            settings |= {"type": click.FloatRange(min=0, min_open=True)}
        case Choice(valid):
            settings |= {"type": click.Choice(valid)}
        case Text(metavar):
            settings |= {"metavar": metavar}
        case Flag() if option.default:
            dashed += f"/--no-{dashed[2:]}"
        case Python() if changes:
            pass
        case _:
            settings |= {"is_flag": True}
    settings |= changes
    shown = settings["default"] is not None and not settings.get("is_flag")
    return click.option(dashed, show_default=shown, **settings)


def gathered(argument: str, *options: Option[Any]) -> Option[Any]:
    """Decorator that adds options to a command, whose values are passed as a single dict by name."""

    def add(command: Command) -> Command:
        names: list[str] = []

        @functools.wraps(command)
        def with_values(*args: Any, **kwargs: Any) -> Any:
            return command(*args, **{argument: {name: kwargs.pop(name) for name in names}}, **kwargs)

        known = {param.name for param in getattr(command, "__click_params__", ())}
        for option in reversed(options):
            option(with_values)
        params: list[click.Parameter] = vars(with_values)["__click_params__"]
        names += [str(param.name) for param in params if param.name not in known]
        return with_values  # type: ignore[return-value]  # the same command, called with fewer arguments

    return add


epochs_option = _click(BY_NAME["epochs"])
batch_size_option = _click(BY_NAME["batch_size"])
momentum_option = click.option(
    "--momentum",
    type=click.FloatRange(min=0, max=1, max_open=True),
    default=0.0,
    show_default=True,
    help="SGD's momentum.",
)
frameworks_option = click.option(
    "--framework",
    type=_FRAMEWORK,
    multiple=True,
    default=("torch",),
    show_default=True,
    help="Framework to train in; if repeated, every schedule is trained in each.",
)
jobs_option = _click(BY_NAME["jobs"])
rates_options = gathered("rates", *(_click(BY_NAME[name]) for name in ("low", "high", "updates")))
device_option = _click(BY_NAME["device"])
report_option = click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("laju-report"),
    show_default=True,
    help="Folder for the report.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the results as JSON instead of the table.")


def execution_options(*without: str) -> Option[Any]:
    """How trials run; `without` names options that the verb has no use for."""
    return gathered("execution", *(_click(option) for option in EXECUTION if option.name not in without))


_OF_SEARCH: dict[str, dict[str, Any]] = {
    "objective": {"metavar": "NAME", "multiple": True, "default": ("accuracy",)},
    "storage": {"metavar": "FILE|URL", "default": "laju-tune.sqlite"},
}
search_options = gathered("search", *(_click(option, **_OF_SEARCH.get(option.name, {})) for option in SEARCH))
selection_options = gathered(
    "selection",
    _click(BY_NAME["tuned"]),
    click.option(
        "--tuning-trials",
        type=click.IntRange(min=3),
        default=9,
        show_default=True,
        help="Number of base learning rates that --tuned tries for each schedule.",
    ),
    _click(BY_NAME["equal_area"]),
    _click(BY_NAME["race"]),
    click.option(
        "--race-error",
        type=click.FloatRange(min=0, max=1, min_open=True, max_open=True),
        help="The largest probability that a race drops a schedule that would have ended above its pick.  [default: 0.05]",
    ),
)
program_options = gathered(
    "program",
    click.option(
        "--program",
        metavar="COMMAND",
        help="Train your own program, which calls laju.lab.trial(), instead of a task; needs --samples.",
    ),
    click.option("--samples", type=_COUNT, help="Training examples per epoch of the program."),
    click.option(
        "--checkpoint-every",
        metavar="LENGTH",
        help="Interval at which the program saves, such as 1000 (updates) or '1 epoch'.",
    ),
)
logs_options = gathered(
    "logs",
    click.option(
        "--beside",
        metavar="LOG",
        multiple=True,
        help="Also show the log of another run, as not paired: a file or folder; may be repeated.",
    ),
    click.option("--loss-column", metavar="NAME", help="The column of losses in the logs of --beside."),
)
