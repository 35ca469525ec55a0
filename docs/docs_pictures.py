"""Pictures that the pages of this site draw while it is built."""

from __future__ import annotations

import io
import itertools
import re

from laju.plot import plot

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
    found = re.sub(r"^.*?(?=<svg)", "", buffer.getvalue(), flags=re.DOTALL)
    prefix = f"p{next(_count)}-"
    found = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}\1"', found)
    found = re.sub(r'(href="#|url\(#)', rf"\1{prefix}", found)
    # The ink is dark, so the paper stays light in dark mode.
    return f'<div style="background: white; border-radius: .4rem; padding: .5rem; text-align: center">{found}</div>'


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
