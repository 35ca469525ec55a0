"""Shows the doctests of a docstring as examples, whose heading the sources leave out, and the options of laju's table."""

from __future__ import annotations

from typing import Any

import griffe

from laju.options import with_options


class Examples(griffe.Extension):
    """Puts every run of doctest lines under an `Examples:` heading."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = with_heading(with_options(obj.docstring.value))


def with_heading(text: str) -> str:
    lines, inside = [], False
    for line in text.splitlines():
        if line.startswith(">>>") and not inside:
            lines.append("Examples:")
            inside = True
        elif not line.strip():
            inside = False
        lines.append(f"    {line}" if inside else line)
    return "\n".join(lines)
