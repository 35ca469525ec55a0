"""Pictures that the pages of this site draw, and commands that they run, while it is built."""

from __future__ import annotations

import functools
import io
import itertools
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

from laju.view.plot import plot

_count = itertools.count()


def picture(schedules, updates=None, **options) -> str:
    """The schedules, drawn, as HTML."""
    drawn = plot(schedules, updates, **options)
    drawn.figure.set_size_inches(7.2, 3.0)
    return svg(drawn)


def svg(drawn) -> str:
    """A picture that was drawn as SVG in HTML; ids are made unique, because a page holds several."""
    buffer = io.StringIO()
    drawn.figure.savefig(buffer, format="svg", bbox_inches="tight")
    return _inline(buffer.getvalue())


def _inline(text: str) -> str:
    found = re.sub(r"^.*?(?=<svg)", "", text, flags=re.DOTALL)
    prefix = f"p{next(_count)}-"
    found = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}\1"', found)
    found = re.sub(r'(href="#|url\(#)', rf"\1{prefix}", found)
    # The ink is dark, so the paper stays light in dark mode.
    return f'<div style="background: white; border-radius: .4rem; padding: .5rem; text-align: center">{found}</div>'


@functools.cache
def _workshop() -> tempfile.TemporaryDirectory[str]:
    """A folder with three loss curves of a world in which a lower rate forgets its noise within some hundred updates."""
    import numpy as np

    import laju

    folder = tempfile.TemporaryDirectory()
    for seed, (name, run) in enumerate(
        {
            "constant": laju.constant(0.1).warmup(200),
            "cosine": laju.cosine(0.1, total=4000, final=0.01, warmup=200),
            "drop": laju.constant(0.1).warmup(200).take(2000) >> laju.constant(0.03),
        }.items()
    ):
        rates = run.values(4001)
        noise, loss = 0.1, []
        for t in range(4000):
            noise += (rates[t] - noise) / 150
            loss.append(2.4 + 0.5 * (rates[: t + 2].sum() / 400) ** -0.5 + 2 * noise)
        at = range(200, 4001, 40)
        scatter = np.random.default_rng(seed).normal(1, 0.001, len(at))
        rows = [f"{t},{run(t):.6g},{loss[t - 1] * by:.4f}" for t, by in zip(at, scatter, strict=True)]
        Path(folder.name, f"{name}.csv").write_text("\n".join(["update,rate,loss", *rows, ""]), encoding="utf-8")
    return folder


def command(text: str, folder: str | None = None) -> str:
    """A command of the shell and what it prints on a terminal of 80 columns, in a folder with three curves or another one."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        text,
        shell=True,
        cwd=folder or _workshop().name,
        env=os.environ | {"PATH": path, "COLUMNS": "80"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    return "\n".join((f"$ {text}", *(textwrap.fill(line, 80, subsequent_indent="    ") for line in lines)))


def drawn_by_command(name: str) -> str:
    """An SVG that a command has written, in HTML."""
    return _inline(Path(_workshop().name, name).read_text(encoding="utf-8"))


def policy_table() -> str:
    """Every policy with the first sentence of its docstring, as a Markdown table."""
    import laju

    rows = ["| policy | in one sentence |", "| --- | --- |"]
    policies = [getattr(laju.policies, name) for name in laju.policies.__all__]
    for policy in sorted(policies, key=lambda p: (p.__module__, p.__name__)):
        page = policy.__module__.rpartition(".")[2]
        sentence = " ".join(policy.__doc__.strip().split("\n\n")[0].split()).replace("|", "\\|")
        rows.append(f"| [`{policy.__name__}`]({page}.md#{policy.__module__}.{policy.__name__}) | {sentence} |")
    return "\n".join(rows)


@functools.cache
def _two_that_run():
    """Two schedules on digits whose first seed is finished and whose second runs: the outcomes, and the running trials."""
    from laju.lab import compare
    from laju.lab.trials.progress import Running

    found = compare({"constant": 0.3, "square root": "square_root(0.1).per('epoch')"}, epochs=10, seeds=2, jobs=1)
    running = [
        Running(name, 1, found.plan.updates, found.outcomes[name, 1].records[:epochs])
        for name, epochs in (("constant", 7), ("square root", 5))
    ]
    return found.outcomes, running


def _show_on(display) -> None:
    outcomes, running = _two_that_run()
    display.start(len(outcomes), 0, 2)
    for (name, seed), outcome in outcomes.items():
        if seed == 0:
            display.finished(name, seed, outcome)
            display.tally.began -= outcome.seconds  # as if it had just been trained
    display.running(running)


def live_on_a_terminal() -> str:
    """What `laju compare` shows on a terminal, as HTML."""
    from rich.console import CONSOLE_SVG_FORMAT, Console

    from laju.lab.live.terminal import Terminal

    options = {"force_terminal": True, "color_system": "256", "width": 80, "height": 24}
    terminal = Terminal(Console(file=io.StringIO(), **options))
    _show_on(terminal)
    picture = terminal.live.renderable
    terminal.stop()
    recorder = Console(file=io.StringIO(), record=True, **options)
    for part in (*terminal.printed, picture):
        recorder.print(part)
    # In a font of the reader's, not one of a server.
    form = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    return _inline(recorder.export_svg(title="laju compare", code_format=form, unique_id="live"))


def live_in_a_notebook() -> str:
    """What `laju.lab.compare` shows in a notebook, as HTML."""
    import base64

    from laju.lab.live.notebook import NotebookFigure

    class Kept(NotebookFigure):
        def _show(self, *what) -> None:
            self.png = self._drawn(*what)

    figure = Kept()
    _show_on(figure)
    encoded = base64.b64encode(figure.png).decode()
    return f'<img src="data:image/png;base64,{encoded}" alt="Curves of two running trials" style="max-width: 100%">'
