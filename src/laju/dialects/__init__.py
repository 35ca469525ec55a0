"""Dialects: the exact rates of other systems' schedulers as laju schedules.

>>> from laju.dialects import read, torch
>>> torch.CosineAnnealingLR(0.1, T_max=100)(0)
0.1
>>> read("torch", "CosineAnnealingLR(T_max=100)", lr=0.1) == torch.CosineAnnealingLR(0.1, T_max=100).schedule
True
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from laju.dialects.base import SYSTEMS, DialectError, NotASchedule, System, read, system

if TYPE_CHECKING:
    from laju.convert import Conversion, convert

__all__ = ["SYSTEMS", "Conversion", "DialectError", "NotASchedule", "System", "convert", "read", "system"]


def __getattr__(name: str) -> Any:
    if name in SYSTEMS:
        return import_module(f"{__name__}.{name}")
    if name in ("Conversion", "convert"):  # of the room above, by the names that they had here
        return getattr(import_module("laju.convert"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
