"""The page's picture as PNG or SVG, and the schedules as text, for use elsewhere."""

from __future__ import annotations

import io
from typing import Any

from laju.studio.state import State
from laju.studio.view import read, run_length

KINDS = {"png": "image/png", "svg": "image/svg+xml", "txt": "text/plain; charset=utf-8"}


def exported(state: State, kind: str) -> bytes:
    """The picture of the readable schedules, or their texts with a line for each.

    Args:
        state: the state of the page.
        kind: "png", "svg" or "txt".

    Raises:
        ValueError: an unknown kind, or no schedule that can be drawn.
        ModuleNotFoundError: Matplotlib is not installed.
    """
    if kind not in KINDS:
        raise ValueError(f"an export is one of {', '.join(KINDS)}, got {kind!r}")
    if kind == "txt":
        lines = [f"{line.name}={line.text}" if line.name else line.text for line in state.schedules]
        return ("\n".join(lines) + "\n").encode()
    from laju.view.plot import letters, plot

    plan = state.plan
    found = [read(line.text, plan) for line in state.schedules]
    named: dict[str, Any] = {}
    for line, each in zip(state.schedules, found, strict=True):
        if each.resolved is not None:
            label = line.label
            named[label if label not in named else f"{label} ({len(named) + 1})"] = each.resolved
    picture = plot(named, min(run_length(state, found), 1 << 23), log=state.log)
    buffer = io.BytesIO()
    with letters():
        picture.figure.savefig(buffer, format=kind, dpi=160, bbox_inches="tight", facecolor="white")
    return buffer.getvalue()
