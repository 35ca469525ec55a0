"""Additions of separate packages to laju's tables, found through entry points.

The groups are `laju.tasks`, `laju.engines` and `laju.verbs`. Entry points are looked up only for a name that is
not laju's own, so an install that is broken or out of date loses none of laju's own.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any, Literal

Group = Literal["tasks", "engines", "verbs"]


class PluginError(RuntimeError):
    """An addition of another package that cannot be loaded."""


def names(group: Group) -> tuple[str, ...]:
    """The names that packages add to a table, in alphabetical order."""
    return tuple(sorted({entry.name for entry in entry_points(group=f"laju.{group}")}))


def load(group: Group, name: str) -> Any:
    """The addition of a package under a name; None where no package adds the name.

    Raises:
        PluginError: the addition cannot be imported; the message names the package and the reason.
    """
    for entry in entry_points(group=f"laju.{group}", name=name):
        try:
            return entry.load()
        except Exception as error:  # the code of a stranger
            owner = entry.dist.name if entry.dist is not None else entry.value
            raise PluginError(
                f"{name!r} of the package {owner} ({entry.value}, among laju.{group}) cannot be loaded: "
                f"{type(error).__name__}: {error}"
            ) from error
    return None
