"""laju studio: edit schedules on a page in the browser."""

from __future__ import annotations

import os
import re
import webbrowser
from dataclasses import replace
from errno import ENOENT
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from laju.cli import completion
from laju.cli.arguments import functions_option, plain_errors, read_schedules

if TYPE_CHECKING:
    from laju.cli.run_options import Run
    from laju.core.schedule import Schedule
    from laju.studio.state import State


@click.command("studio")
@functions_option
@click.argument("given", nargs=-1, metavar="[SCHEDULE|LOG|STORE|LINK]...", shell_complete=completion.schedules)
@click.option("--port", type=click.IntRange(0, 65535), help="The port of 127.0.0.1; by default 8421, or any free port.")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
def command(given: tuple[str, ...], port: int | None, no_browser: bool) -> None:
    """Open the studio: a page in the browser to edit curves by handles, with text, findings, code, logs and forecasts.

    A LOG is shown with its columns, its formula and why its learning rates differ from the planned ones; a STORE with the results
    of its comparisons, live while trials run; a LINK is a link copied by the page's button. The page is served only on this
    machine, to whoever has the address, and loads nothing from the network. Ctrl-C ends the studio.

    \b
    laju studio 'cosine(0.3, total=1000, warmup=50)' 'wsd(0.3, total=1000, cooldown=200)'
    laju studio trainer_state.json 'linear_to_zero(2e-5, total=5000, warmup=500)'
    laju studio laju.sqlite --no-browser
    """
    with plain_errors():
        serve(*sorted_out(given), port=port, browser=not no_browser)


def sorted_out(given: tuple[str, ...]) -> tuple[State | None, list[Any], list[str]]:
    """Sort the arguments: the studio's state from schedules and links, the logs, and the stores."""
    from laju.studio.desk import of_link
    from laju.studio.state import Line, State

    state: State | None = None
    lines: list[Line] = []
    held, stores = [], []
    for text in given:
        if text.startswith(("http://", "https://")):
            state = of_link(text)
        elif text.startswith(("postgresql://", "postgresql+")) or _is_store(text):
            from laju.studio.comparisons import checked

            stores.append(checked(text))
        elif os.path.exists(text):
            from laju.cli.logs import LogOptions
            from laju.studio.logs import Held

            held.append(Held(Path(text).name, LogOptions().read(text)))
        elif re.fullmatch(r"[^()'\"=]*(/[^()'\"=]*|\.[A-Za-z]\w*)", text):  # no schedule: the path of a log or a store
            raise FileNotFoundError(ENOENT, os.strerror(ENOENT), text)
        else:
            for name, schedule in read_schedules((text,)).items():
                spec = str(schedule)
                lines.append(Line(spec, "" if name in (spec, text.strip()) else name))
    if lines:
        state = State(tuple(lines)) if state is None else replace(state, schedules=(*state.schedules, *lines))
        state = State.of(state.to_json())  # its limits
    return state, held, stores


def open_one(schedule: Schedule, name: str, run: Run) -> None:
    """Open the studio with a schedule and the known properties of the run."""
    from laju.studio.notebook import counts_of
    from laju.studio.state import Line, State

    with plain_errors():
        serve(State((Line(str(schedule), name),), counts=counts_of(run.plan or run.updates)), [], [])


def _is_store(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(15) == b"SQLite format 3"
    except OSError:
        return False


def serve(
    state: State | None, held: list[Any], stores: list[str], *, port: int | None = None, browser: bool = True
) -> None:
    """Print the address on a line, open the browser, and serve the page until Ctrl-C."""
    from laju.studio.desk import Desk
    from laju.studio.server import Studio

    studio = Studio(Desk(state, held, stores), port)
    click.echo(f"laju studio: {studio.address}")
    if browser:
        webbrowser.open(studio.address)
    studio.run()
