"""laju study: answer the questions of the chapter's exercises by training runs."""

from __future__ import annotations

import ast
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from laju.cli import completion
from laju.cli.arguments import command_line, plain_errors, store_option
from laju.cli.run_options import as_text
from laju.cli.train_options import execution_options, task_options
from laju.cli.trainings import check_task, console_for, kept_anyway
from laju.core.checks import nearest
from laju.view.plot import printable
from laju.view.table import table

if TYPE_CHECKING:
    from rich.console import Console

    from laju.studies import Answer


@click.command("study")
@click.argument("name", required=False, shell_complete=completion.studies)
@task_options(files="Folder with the task's files, or with images.")
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the training data; by default the study's own.")
@click.option("--seeds", type=click.IntRange(min=1), help="Runs per setting; by default the study's own.")
@click.option("--small", is_flag=True, help="A small version that takes seconds and shows only clear effects.")
@execution_options()
@store_option()
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="SETTING=VALUE",
    help="A setting of this study, such as model=timm:resnet18; may be repeated.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the answer.  [default: laju-study/NAME]")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON instead of the answer.")
def command(
    name: str | None,
    task: str,
    data_dir: Path | None,
    epochs: int | None,
    seeds: int | None,
    small: bool,
    execution: dict[str, Any],
    store: str,
    settings: tuple[str, ...],
    out: Path | None,
    as_json: bool,
) -> None:
    """Answer a question of the chapter's exercises by training; without NAME, list the questions.

    The answer is derived from the results of the training runs, or says that the results do not decide. The answer is printed,
    and written with pictures into a folder. Finished trials are kept: repeating the command continues the study.

    \b
    laju study
    laju study fixed-rates
    laju study plateau --task fashion-mnist --data-dir fashion-mnist --seeds 3
    laju study cosine-large --data-dir imagenet --set model=timm:resnet18 --set mixed_precision=bf16
    """
    with plain_errors():
        from laju.studies import STUDIES, Options, run, write

        if name is None:
            _list(STUDIES, as_json)
            return
        if name not in STUDIES:
            text = f"{name!r} is not a study{nearest(name, STUDIES)} (studies: {', '.join(STUDIES)})"
            raise click.BadParameter(text, param_hint="NAME")

        check_task(task)

        from laju.lab.comparison.compare import Unfinished
        from laju.lab.live import display
        from laju.lab.report import check_writable
        from laju.lab.workers import Execution, TrialsLost

        out = check_writable(Path("laju-study") / name if out is None else out)
        # Output for a program goes to standard output alone.
        console = console_for(as_json)
        began = time.monotonic()
        how = Execution(**execution)
        options = Options(task, data_dir, epochs, seeds, small, store=store, display=display(console), execution=how)
        try:
            answer = run(name, options, **_settings(settings))
        except KeyboardInterrupt:
            _stop(console, store)
        except TypeError as error:
            if not settings:
                raise
            raise click.ClickException(str(error)) from error
        except (Unfinished, TrialsLost) as error:
            raise click.ClickException(f"{error}. {_kept(store)}; the same command goes on") from error
        if as_json:
            said = {"name": answer.name, "question": answer.question, "verdict": answer.verdict, "text": answer.text}
            content = {**said, "figures": answer.figures}
            click.echo(as_text(content))
        else:
            _print(console, answer)
        with kept_anyway(console, _kept(store), "answer"):
            files = write(answer, out, command_line())
        console.print(
            f"\nanswer: {files[1]}   ({time.monotonic() - began:.0f} s)", markup=False, highlight=False, soft_wrap=True
        )


def _settings(texts: Sequence[str]) -> dict[str, Any]:
    """Settings by name; values are numbers, lists or booleans as Python writes such values, or else text."""
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise click.BadParameter(f"{text!r} is not SETTING=VALUE, such as model=timm:resnet18", param_hint="--set")
        value = value.strip()
        try:
            found[name.strip()] = ast.literal_eval(value.title() if value.lower() in ("true", "false") else value)
        except (ValueError, SyntaxError):
            found[name.strip()] = value
    return found


def _list(studies: dict[str, str], as_json: bool) -> None:
    if as_json:
        click.echo(as_text({"studies": studies}))
        return
    width = max(map(len, studies))
    for name, question in studies.items():
        click.echo(f"{name:{width}}  {question}")
    click.echo("\nlaju study NAME trains and answers; with --small in a size that takes seconds.")


def _print(console: Console, answer: Answer) -> None:
    from rich.markdown import Markdown

    console.print()
    console.print(answer.verdict, style="bold", markup=False, highlight=False)
    console.print(f"{answer.question}\n", style="dim", markup=False, highlight=False)
    console.print(Markdown(answer.text, justify="left"))
    for title, answers in answer.tables.items():
        console.print(f"\n{printable(title)}", style="bold", markup=False, highlight=False)
        console.print()
        click.echo(table(answers.headings, [[str(cell) for cell in row] for row in answers.rows]))


def _kept(store: str) -> str:
    from laju.lab.store import Store, is_url

    if not is_url(store) and not Path(store).exists():
        return "nothing was finished yet"
    with Store(store) as kept:
        n = len(kept)
    return f"{n} finished trial{'' if n == 1 else 's'} {'is' if n == 1 else 'are'} kept in {kept.name}"


def _stop(console: Console, store: str) -> NoReturn:
    console.print(
        f"\nStopped. {_kept(store)}; the same command goes on.", markup=False, highlight=False, soft_wrap=True
    )
    sys.exit(130)
