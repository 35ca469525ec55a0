"""Studies: the questions of the chapter's exercises, each answered by new training runs.

A study is a module of this package with a function `study(options) -> Answer`; `STUDIES` lists the studies in the order of the
exercises.
"""

from __future__ import annotations

from importlib import import_module
from inspect import signature
from typing import Any

from laju.core.checks import nearest, shown
from laju.core.extras import needed_by
from laju.studies.base import STUDIES, Answer, Options, Table, write

__all__ = ["STUDIES", "Answer", "Options", "Table", "run", "write"]


def run(name: str, options: Options | None = None, **settings: Any) -> Answer:
    """Make the training runs of a study and answer the study's question from their results.

    Args:
        name: a name in `STUDIES`.
        options: the size of the study, where results are kept, and more.
        settings: settings of this study only, see the function `study` of its module.

    Raises:
        ModuleNotFoundError: a package that the study needs is not installed.
        ValueError: an unknown study, or options or settings that the study cannot use.
    """
    if name not in STUDIES:
        raise ValueError(f"{shown(name)} is not a study{nearest(str(name), STUDIES)} (studies: {', '.join(STUDIES)})")
    with needed_by(f"the study {name!r}", "lab"):
        module = import_module(f"laju.studies.{name.replace('-', '_')}")
    takes = list(signature(module.study).parameters)[1:]
    for setting in settings:
        if setting not in takes:
            there = f"settings: {', '.join(takes)}" if takes else "it has none"
            raise ValueError(f"study {name!r} has no setting {setting!r}{nearest(setting, takes)} ({there})")
    answer: Answer = module.study(options or Options(), **settings)
    return answer
