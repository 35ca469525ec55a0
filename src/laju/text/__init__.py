"""Schedules as text and as JSON: reading never imports a module and never runs anything."""

from laju.core.checks import SpecError
from laju.text.json import from_json
from laju.text.spec import parse

__all__ = ["SpecError", "from_json", "parse"]
