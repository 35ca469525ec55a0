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


def command(text: str) -> str:
    """A command of the shell, run in a folder with three curves, and what it prints."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        text,
        shell=True,
        cwd=_workshop().name,
        env=os.environ | {"PATH": path, "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return f"$ {text}\n{done.stdout}"


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


def measured() -> str:
    """The table of the README's section "Measured", so that the figures stand in one place."""
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    rows = [line for line in readme.partition("## Measured")[2].split("\n## ")[0].splitlines() if line.startswith("|")]
    # Links lead into the repository there, and there is no such page here.
    return "\n".join(re.sub(r"\[([^\]]+)\]\(benchmarks/[^)]+\)", r"`\1`", row) for row in rows)
