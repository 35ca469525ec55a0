"""Schedules as text and as JSON: reading imports no module and runs no code; values may import a function, if allowed."""

from laju.core.checks import SpecError
from laju.text.json import from_json
from laju.text.spec import parse

__all__ = ["SpecError", "from_json", "parse"]
