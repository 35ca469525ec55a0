"""Code for laju itself."""

from __future__ import annotations

from collections.abc import Iterator

from laju.convert.writers import Setting, Suggestion, Writer
from laju.inspect.outline import Outline


def suggestions(outline: Outline) -> Iterator[Suggestion]:
    yield from ()


def own(found: Suggestion, setting: Setting) -> str:
    return adapter(setting)


def adapter(setting: Setting) -> str:
    unit = "epoch" if setting.in_epochs else "update"
    return f"""import laju

schedule = {setting.schedule}

for {unit} in range({setting.counts}):
    rate = schedule({unit})  # for this {unit}
"""


WRITER = Writer("laju", suggestions, own, adapter, counts_epochs=True)
