"""Schedules as text and as JSON: by default, reading imports no module and runs no code."""

from laju.core.checks import SpecError
from laju.text.json import from_json
from laju.text.spec import parse

__all__ = ["SpecError", "from_json", "parse"]
