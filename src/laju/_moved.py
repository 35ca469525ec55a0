"""Modules by the names that they had before the rooms: `import laju.spec` gives `laju.text.spec`, and old pickles load.

Python's import system asks the finder here for a name that no file has; the module is the one that stands elsewhere, not a copy.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, cast

MOVED = {
    "laju.algebra": "laju.core.algebra",
    "laju.arguments": "laju.core.checks",
    "laju.arrays": "laju.core.arrays",
    "laju.clocks": "laju.core.clocks",
    "laju.dialects.convert_report": "laju.convert.report",
    "laju.dialects.outline": "laju.inspect.outline",
    "laju.dialects.writers": "laju.convert.writers",
    "laju.differ": "laju.inspect.difference",
    "laju.horizon": "laju.inspect.horizon",
    "laju.lint": "laju.inspect.lint",
    "laju.notebook": "laju.view.notebook",
    "laju.pieces": "laju.core.pieces",
    "laju.plot": "laju.view.plot",
    "laju.schedule": "laju.core.schedule",
    "laju.schema": "laju.text.schema",
    "laju.shapes": "laju.core.shapes",
    "laju.spec": "laju.text",
    "laju.units": "laju.core.units",
}


class _Moved:
    """A finder and loader by their methods: the classes of importlib.abc would add a third to the time of `import laju`."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(name, cast("Any", self)) if _now(name) else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(_now(spec.name))
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to run; the module keeps its own name."""
        old = module.__spec__
        module.__spec__ = old.loader_state if old is not None else None


def _now(name: str) -> str:
    for old, new in MOVED.items():
        if name == old or name.startswith(f"{old}."):
            return new + name[len(old) :]
    return ""


sys.meta_path.insert(0, _Moved())
