"""Inspect schedules before a run: facts, probable mistakes, the difference of two schedules, and longer or shorter runs."""

from laju.core.measure import run_length
from laju.inspect.description import Description, Jump, Segment, breakpoints, describe, formula, jumps
from laju.inspect.horizon import cooldown, extend, hold

__all__ = [
    "Description",
    "Jump",
    "Segment",
    "breakpoints",
    "cooldown",
    "describe",
    "extend",
    "formula",
    "hold",
    "jumps",
    "run_length",
]
