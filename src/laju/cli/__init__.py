"""The command line: a file for each verb, loaded only when the verb is called, so that `laju --help` starts at once."""

from __future__ import annotations

import importlib
import io
import json
import sys
from typing import Any

import click
from click.shell_completion import CompletionItem

import laju

VERBS = {
    "show": "Show everything about one schedule: segments, peak, sum, curve, JSON.",
    "studio": "Open schedules, logs and comparisons on a page in the browser, with handles.",
    "plot": "Draw schedules in the terminal or into a picture.",
    "check": "Say what is probably not meant in a schedule.",
    "diff": "Say where two schedules differ, and by how much.",
    "convert": "Turn another system's schedule into code for a third, and say what changes.",
    "recognise": "Say which schedule has the rates of a log.",
    "diagnose": "Say why the rates of a log are not those that were meant.",
    "average": "Merge checkpoints of a run in place of a cooldown that was not trained.",
    "compare": "Train a task with several schedules and seeds, and report which is best.",
    "chapter": "Train the chapter's schedules, and print its published figures beside yours.",
    "find": "Find which learning rates of a task are worth a try: a range test.",
    "study": "Answer a question of the chapter's exercises by training.",
    "tune": "Search the best parameters of a policy for a task.",
    "store": "Show, check and export a store of finished trials, and recover a damaged one.",
    "advise": "Say what the run of a log will end at, when to cool down, and what to run next.",
    "watch": "Follow the log of a run, and say what the run will end at as the log grows.",
    "forecast": "Predict what a schedule would give from a few loss curves, and find the best one.",
}

ELSEWHERE = {
    "explain": "diagnose",
    "lint": "check",
    "lr-find": "find",
    "lr_find": "find",
    "predict": "forecast",
    "range-test": "find",
    "recognize": "recognise",
    "sweep": "tune",
    "train": "compare",
}
"""Verbs of other tools and alternative spellings, with laju's verb."""

_JSON = "laju.json"
ARGUMENTS = "laju.arguments"
"""The key of the command line's arguments, as typed, among a context's `meta`."""


def _of_another_package(name: str) -> click.Command | None:
    """The verb of another package (an entry point of the group `laju.verbs`); a click command."""
    from laju import plugins

    try:
        command: click.Command | None = plugins.load("verbs", name, click.Command, "a click command")
    except plugins.PluginError as error:
        raise click.ClickException(str(error)) from error
    return command


def _verbs_of_other_packages() -> dict[str, str]:
    """By name, the package of each verb that another package adds."""
    from laju import plugins

    return {name: summary for name, summary in plugins.summaries("verbs").items() if name not in VERBS}


class Verbs(click.Group):
    """The verbs by name; the error of an unknown verb names the nearest."""

    def list_commands(self, context: click.Context) -> list[str]:
        return [*VERBS, *_verbs_of_other_packages()]

    def shell_complete(self, context: click.Context, incomplete: str) -> list[CompletionItem]:
        # click would load every verb for its first line.
        verbs = (VERBS | _verbs_of_other_packages()).items()
        found = [CompletionItem(name, help=line) for name, line in verbs if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, context, incomplete)]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return _of_another_package(name)
        command: click.Command = importlib.import_module(f"laju.cli.{name}").command
        return command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from laju.core.checks import nearest

        if args and not args[0].startswith("-") and args[0] not in VERBS and _of_another_package(args[0]) is None:
            same, verbs = ELSEWHERE.get(args[0]), self.list_commands(context)
            hint = f"; did you mean {same!r}?" if same else nearest(args[0], verbs)
            context.fail(f"No such command {args[0]!r}{hint} (commands: {', '.join(verbs)})")
        return super().resolve_command(context, args)

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        context.meta[_JSON] = "--json" in args
        context.meta[ARGUMENTS] = tuple(args)
        return super().parse_args(context, args)

    def invoke(self, context: click.Context) -> Any:
        # Ctrl-C at any moment, even while a verb is still being loaded. A verb with a message of its own prints that itself.
        try:
            return self._with_packages(context)
        except KeyboardInterrupt:
            click.echo("\nStopped.", err=True)
            context.exit(130)
        except click.ClickException as error:
            if context.meta[_JSON]:
                facts = {"verb": context.invoked_subcommand, "exit": error.exit_code, "message": error.format_message()}
                click.echo(json.dumps(facts, indent=2, ensure_ascii=False))
            raise

    def _with_packages(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except ImportError as error:
            from laju.cli.errors import Missing
            from laju.core.extras import MissingPackage, explained

            if (error.name or "").partition(".")[0] == "laju" and not isinstance(error, MissingPackage):
                raise  # a mistake in laju
            if isinstance(error, ModuleNotFoundError):
                verb = context.invoked_subcommand
                error = explained(error, f"laju {verb}", verb)
            raise Missing(str(error)) from error

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))
        if others := _verbs_of_other_packages():
            with formatter.section("Commands of other packages"):
                formatter.write_dl(list(others.items()))


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(laju.__version__, "-V", "--version", prog_name="laju")
def cli() -> None:
    """Learning-rate schedules: draw, check and compare schedules, and train with schedules on real data.

    A SCHEDULE is an expression such as 'cosine(0.3, total=20, warmup=5).per("epoch")', with an optional name in front:
    'short=cosine(0.3, total=20)'.

    The exit status is 0 on success; 1 for a finding, a difference, a cause or a refusal, and if a training run fails; 2 if the
    command or its input is wrong; 3 if a package or device is missing; and 130 after Ctrl-C.
    """


class _Pipe(io.FileIO):
    """Output into a pipe or a file. After the reader has gone, the rest is dropped, and the exit status stays the answer.

    Any failure to write besides that, such as to a full disk, is a single error, and not a second error when Python ends.
    """

    lost = False

    def write(self, data: Any, /) -> int:
        if not self.lost:
            try:
                return super().write(data)
            except BrokenPipeError:
                self.lost = True
            except OSError:
                self.lost = True
                raise
        return memoryview(data).nbytes


def reader_is_gone() -> bool:
    """Whether standard output is a pipe whose reader has ended, for verbs that never end by themselves."""
    return bool(getattr(getattr(getattr(sys.stdout, "buffer", None), "raw", None), "lost", False))


def main() -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, io.TextIOWrapper):
            continue
        # Names and letters must come out where the terminal's encoding lacks a character, too.
        stream.reconfigure(errors="replace")
        if not stream.isatty():
            # Python flushes its own stream at exit, and a reader that is gone would turn the exit status into 120.
            pipe = io.BufferedWriter(_Pipe(stream.fileno(), "wb", closefd=False))
            lines = stream.line_buffering or stream.write_through  # the latter with PYTHONUNBUFFERED
            setattr(sys, name, io.TextIOWrapper(pipe, stream.encoding, "replace", line_buffering=lines))
    cli()
