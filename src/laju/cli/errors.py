"""Errors of the command line: a sentence, options by their names, and the exit status.

0: success; 1: a finding, a difference, a cause or a refusal; 2: the command or its input is wrong; 3: a package or device is
missing; 130: Ctrl-C.
"""

from __future__ import annotations

import re
from pathlib import Path

import click


class Wrong(click.ClickException):
    """Error of a wrong command or input (exit status 2)."""

    exit_code = 2


class Missing(click.ClickException):
    """Error of a missing package or device (exit status 3); the message has the remedy if known."""

    exit_code = 3


def of_system(error: OSError) -> str:
    """An error of the operating system as a sentence without error number; an error with a custom message is unchanged.

    >>> of_system(FileNotFoundError(2, "No such file or directory", "log.csv"))
    "there is no file 'log.csv'"
    >>> of_system(OSError(28, "No space left on device", "a.png"))
    "'a.png': no space left on device"
    """
    if error.errno is None or not str(error).startswith("[Errno"):
        return str(error)
    reason = (error.strerror or "it cannot be used").lower()
    if error.filename is None:
        return reason
    path = str(error.filename)
    name = path if len(path) <= 200 else f"{path[:100]}…{path[-99:]}"
    if isinstance(error, FileNotFoundError):
        folder = Path(path).parent
        return f"there is no file {name!r}" if folder.exists() else f"there is no folder {str(folder)!r} for {name!r}"
    if isinstance(error, IsADirectoryError):
        return f"{name!r} is a folder, not a file"
    if isinstance(error, NotADirectoryError):
        return f"{name!r} is below a file, as if that were a folder"
    return f"{name!r}: {reason}"


_QUOTED = r"(?<!\w)'[^']*'|\"[^\"]*\"|`[^`]*`"


def in_options(message: str, command: click.Command | None) -> str:
    """Replace the arguments in a message of laju's Python functions by the command's options, except in quotes.

    >>> ran = click.Command("run", params=[click.Option(["--data-dir"]), click.Option(["--low"])])
    >>> in_options("task 'data_dir' takes no data_dir; low must be below 1, got low=2", ran)
    "task 'data_dir' takes no --data-dir; --low must be below 1, got --low 2"
    >>> in_options("a low must be below 1; name it: low=, or --low", ran)
    'a low must be below 1; name it: --low'
    """
    options: dict[str, str] = {}
    for param in command.params if command is not None else ():
        option = max(param.opts, key=len)
        if isinstance(param, click.Option) and option.startswith("--"):
            own = option[2:].replace("-", "_")
            # A library says rate= where a verb, whose rates are a column, says --rate-column.
            options |= dict.fromkeys((param.name or own, own, own.removesuffix("_column")), option)
    if not options:
        return message
    names = "|".join(sorted(map(re.escape, options), key=len, reverse=True))
    found = re.compile(rf"{_QUOTED}|(?<![\w.-])(?P<name>{names})(?:(?P<value>=…|=, or --[\w-]+|=(?=\S))|(?=[^\w=(]|$))")

    def option_of(match: re.Match[str]) -> str:
        name = match["name"]
        if name is not None and match["value"]:
            return options[name] + (" " if match["value"] == "=" else "")
        # A word of one part may be a word of the sentence, but not where its value follows at the beginning.
        argument = message.startswith((" must ", " '") if not match.start() else " must ", match.end())
        argument = argument and not re.search(r"\ban? $", message[: match.start()])
        return options[name] if name is not None and ("_" in name or argument) else match[0]

    # A message that names its option beside the argument would now name the option twice.
    return re.sub(r"(--[\w-]+), on the command line \1\b", r"\1", found.sub(option_of, message))
