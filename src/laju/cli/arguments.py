"""Shared by the verbs: schedules from the command line, and errors as a plain message."""

from __future__ import annotations

import os
import re
import shlex
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from laju.cli import ARGUMENTS, completion
from laju.cli.errors import Missing, Wrong, in_options, of_system
from laju.core.checks import SpecError, nearest
from laju.core.schedule import Schedule
from laju.text.spec import parse

F = TypeVar("F", bound=Callable[..., Any])


_FUNCTIONS = "laju.functions"


def _allow(context: click.Context, _: click.Parameter, value: bool) -> None:
    context.meta[_FUNCTIONS] = value


functions_option = click.option(
    "--functions",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_allow,
    help="Import and call the functions that a SCHEDULE names, as in Function('module:name'). This runs their code.",
)


def schedules_argument() -> Callable[[F], F]:
    argument = click.argument(
        "schedules", nargs=-1, required=True, metavar="SCHEDULE...", shell_complete=completion.schedules
    )
    return lambda command: functions_option(argument(command))


def schedule_argument() -> Callable[[F], F]:
    argument = click.argument("schedule", metavar="SCHEDULE", shell_complete=completion.schedules)
    return lambda command: functions_option(argument(command))


def functions_allowed() -> bool:
    """Whether the user gave --functions; by default, functions in texts are not imported, since texts may be untrusted."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(_FUNCTIONS))


def command_line() -> str | None:
    """The command as typed, quoted for a shell, without the password of a URL; None outside of the command line."""
    context = click.get_current_context(silent=True)
    if context is None or ARGUMENTS not in context.meta:
        return None
    return re.sub(r"(://[^/\s:@']*):[^/\s@']*@", r"\1:***@", shlex.join(("laju", *context.meta[ARGUMENTS])))


def store_option() -> Callable[[F], F]:
    return click.option(
        "--store",
        default="laju.sqlite",
        show_default=True,
        metavar="FILE|URL",
        help="Where finished trials are stored: a SQLite file, or postgresql://USER@HOST/DATABASE.",
    )


def read_schedules(texts: tuple[str, ...]) -> dict[str, Schedule]:
    """Read the schedules by name: `name=spec` is named `name`, and a plain spec is its own name.

    `chapter` stands for the chapter's set of schedules, and `chapter:NAME` for a schedule of the set.
    """
    named: dict[str, Schedule] = {}
    for text in texts:
        if text.strip() == "chapter":
            from laju.studies.chapter import schedules

            found: dict[str, Schedule] = schedules()
        else:
            name, spec = _split(text)
            if spec.strip().startswith("chapter:"):
                one, schedule = _of_chapter(spec.strip().removeprefix("chapter:").strip())
                found = {one if spec == text else name: schedule}
            else:
                try:
                    found = {name: parse(spec, functions=functions_allowed())}
                except SpecError as error:
                    hint = _of_file(spec) or _of_task(spec) or _foreign(spec)
                    raise click.BadParameter(f"{error}{hint}", param_hint="SCHEDULE") from None
        for name in found:
            if name in named:
                raise click.BadParameter(
                    f"two schedules are named {name!r}; write NAME=SCHEDULE to tell them apart", param_hint="SCHEDULE"
                )
        named.update(found)
    return named


def _of_chapter(name: str) -> tuple[str, Schedule]:
    """A schedule of the chapter, by name; - or _ may stand for a blank."""
    from laju.studies.chapter import schedules

    six = schedules()
    plain = {"".join(filter(str.isalpha, known)): known for known in six}
    known = plain.get("".join(filter(str.isalpha, name.lower())))
    if known is None:
        there = ", ".join(f"chapter:{one.replace(' ', '-')}" for one in six)
        raise click.BadParameter(
            f"the chapter has no schedule {name!r}{nearest(name, six)} ({there})", param_hint="SCHEDULE"
        )
    return known, six[known]


def _of_file(spec: str) -> str:
    """Where a text is the path of a file or a folder: the commands that read files."""
    path = spec.strip()
    if not os.path.exists(path):
        return ""
    quoted = shlex.quote(path)
    return (
        f"\n{path} is a {'folder' if os.path.isdir(path) else 'file'}; the schedule of a log: laju recognise {quoted}; "
        f"of a configuration: laju convert --from config {quoted} --to laju"
    )


def _of_task(spec: str) -> str:
    """Where a text is the name of a task, and the verb trains tasks: the option for the task."""
    context = click.get_current_context(silent=True)
    if context is None or all(parameter.name != "task" for parameter in context.command.params):
        return ""
    try:
        from laju.lab.trials.tasks import task_names
    except ImportError:  # the text is wrong with or without the package
        return ""
    name = spec.strip()
    return f"\n{name} is a task: --task {name}, beside the schedules to train it with" if name in task_names() else ""


def _foreign(spec: str) -> str:
    """Where a text calls a scheduler of another system: the command that reads such a call."""
    from laju.core.node import FUNCTIONS, NODES
    from laju.dialects.base import readable

    called = re.match(r"\s*(?:\w+\.)*(\w+)\s*(?:\(|$)", spec)
    if called is None or (name := called[1]) in FUNCTIONS or name in NODES:
        return ""
    known = [found for found in readable() if name in found.schedulers or name in found.refused]
    if not known:
        return ""
    titles = " and ".join(found.title for found in known)
    if all(name in found.refused for found in known):
        return f"\n{name} is of {titles}, and no schedule: {known[0].refused[name]}"
    command = f"laju convert --from {known[0].name} {shlex.quote(spec.strip())} --to laju --lr RATE"
    return f"\n{name} is a scheduler of {titles}; its schedule in laju: {command}"


def _split(text: str) -> tuple[str, str]:
    """The name and the spec of `name=spec`: the first '=' outside parentheses, since a spec has '=' inside only."""
    depth = 0
    for i, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == "=" and depth == 0:
            name, spec = text[:i].strip(), text[i + 1 :]
            if not name:
                raise click.BadParameter(f"{text!r} has no name before the '='", param_hint="SCHEDULE")
            return name, spec
    return text.strip(), text


@contextmanager
def plain_errors() -> Iterator[None]:
    """Show errors that a user can correct as a message, without a traceback; also laju's warnings."""
    try:
        with warnings.catch_warnings():
            usual = warnings.showwarning

            def show(message: Warning | str, category: type[Warning], *where: Any, **options: Any) -> None:
                if category.__module__.startswith("laju."):
                    click.echo(f"warning: {message}", err=True)
                else:
                    usual(message, category, *where, **options)

            warnings.showwarning = show
            yield
    except RuntimeError as error:
        if not type(error).__module__.startswith("laju."):  # a mistake, not something that a user can do anything about
            raise
        kind = Missing if type(error).__name__ == "DeviceError" else click.ClickException
        raise kind(_worded(str(error))) from error
    except ChildProcessError as error:  # a training that failed, in a program of the user's
        raise click.ClickException(_worded(str(error))) from error
    except OSError as error:
        raise Wrong(_worded(of_system(error))) from error
    except ValueError as error:
        raise Wrong(_worded(str(error))) from error


def _worded(message: str) -> str:
    context = click.get_current_context(silent=True)
    return in_options(message, None if context is None else context.command)
