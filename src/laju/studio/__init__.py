"""The studio: schedules, findings, code, logs, forecasts and comparisons on a page in the browser, served only on this machine.

The package is callable: in a notebook, write `laju.studio("cosine(0.3, total=1000)")`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Studio(ModuleType):
    def __call__(self, *schedules: Any, **options: Any) -> Any:
        from laju.studio.notebook import open_studio

        return open_studio(*schedules, **options)


sys.modules[__name__].__class__ = _Studio
