"""The options that select columns of a log, the same for every verb that reads a log."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from laju.logs import Log, LogError, read

_OPTIONS = (
    click.option("--update-column", "--step", "update", metavar="NAME", help="The column of updates."),
    click.option("--rate-column", "--column", "rate", metavar="NAME", help="The column or tag of learning rates."),
    click.option(
        "--run", type=click.IntRange(min=1), help="Number of the run, if the log has several; by default the last."
    ),
)


@dataclass(frozen=True)
class LogOptions:
    """The values of the options."""

    update: str | None = None
    rate: str | None = None
    run: int | None = None

    def read(self, path: str) -> Log:
        log = read(path, update=self.update, rate=self.rate, run=self.run)
        # The rate of a configuration in JSON would pass for a log of a single row, and its betas for two rows.
        if path.lower().endswith(".json") and log.unit == "row":
            _no_configuration(path)
        return log


def _no_configuration(path: str) -> None:
    from laju.dialects.base import DialectError
    from laju.dialects.configs import owners
    from laju.dialects.contents import content

    try:
        systems = owners(content(Path(path)))
    except (DialectError, RecursionError):
        return
    if systems:
        raise LogError(
            f"{path} is a configuration of {' or '.join(systems)}, not a log; its schedule: "
            f"laju convert --from {systems[0]} {shlex.quote(path)} --to laju"
        )


def log_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with the options, whose values are passed as `options`."""

    @functools.wraps(command)
    def with_options(*args: Any, update: str | None, rate: str | None, run: int | None, **kwargs: Any) -> Any:
        return command(*args, options=LogOptions(update, rate, run), **kwargs)

    for option in reversed(_OPTIONS):
        with_options = option(with_options)
    return with_options
