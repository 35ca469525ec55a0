"""Live displays of running trials: curves on a terminal or in a notebook, plain lines elsewhere."""

from __future__ import annotations

import os

from rich.console import Console

from laju.lab.live.notebook import NotebookFigure
from laju.lab.live.terminal import Lines, Terminal
from laju.lab.trials.environment import in_notebook
from laju.lab.workers import Display

__all__ = ["display"]


def display(console: Console | None = None) -> Display:
    """A display that suits the output: a figure in a notebook, curves on a terminal, lines elsewhere.

    Files, pipes and terminals that cannot move their cursor get lines, and so does `!laju …` in a notebook.

    Args:
        console: where curves or lines are printed; by default standard output, or a figure in a notebook.
    """
    if console is None:
        if in_notebook():
            return NotebookFigure()
        console = Console()
    # Some who set FORCE_COLOR, such as CI systems, want colours in a file, but no cursor that moves. A notebook's kernel gives
    # its commands a terminal, and a notebook does not move the cursor up.
    live = console.is_interactive and getattr(console.file, "isatty", bool)() and "JPY_PARENT_PID" not in os.environ
    return Terminal(console) if live else Lines(console)
