"""A corrected schedule in the words of its author: `cosine(0.3, total=20)` becomes `cosine(0.3, total=30)`, not two ramps."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator
from typing import Any

from laju.core.checks import is_number
from laju.core.node import FUNCTIONS
from laju.core.schedule import Schedule
from laju.core.units import Length
from laju.core.written import Call

_MOST = 2_000
"""Wordings that are tried: a few arguments, each with a few numbers of the correction."""


def reworded(written: Schedule, corrected: Schedule) -> Schedule:
    """The corrected schedule, printed like the original schedule with a single argument changed if possible.

    >>> import laju
    >>> reworded(laju.cosine(0.3, total=20), laju.Ramp(0.3, 0, 30, "cosine"))
    cosine(0.3, total=30)
    """
    if not written.spoken or corrected.spoken:
        return corrected
    new = _numbers(corrected.tree()) - _numbers(written.tree())
    length = corrected.length
    values = [*sorted(new, key=str), *([str(length) if isinstance(length, Length) else length] if length else [])]
    tried = itertools.islice(_variants(written, values), _MOST)
    return next((variant for variant in tried if variant == corrected), corrected)


def _numbers(tree: Any) -> set[Any]:
    """The numbers, and the texts that are lengths, in a tree."""
    if isinstance(tree, dict):
        return set().union(*(_numbers(value) for name, value in tree.items() if name != "kind"))
    if isinstance(tree, list):
        return set().union(*map(_numbers, tree))
    return {tree} if isinstance(tree, str) or is_number(tree) else set()


def _variants(schedule: Schedule, values: list[Any]) -> Iterator[Schedule]:
    """The schedule with a single argument changed in a call of its written form, or in a schedule inside."""
    words = schedule._written
    if isinstance(words, Call):
        yield from _changed(words, values)
    inside = schedule.children if words is None else tuple(words.schedules)
    for part in inside:
        if not part.spoken:
            continue
        for variant in _variants(part, values):

            def change(value: Any, part: Schedule = part, variant: Schedule = variant) -> Any:
                return variant if value is part else value

            try:
                yield schedule.rebuild(change) if words is None else words.again(change)
            except (TypeError, ValueError, ArithmeticError):
                continue


def _changed(call: Call, values: list[Any]) -> Iterator[Schedule]:
    """The results of the call with a single argument changed, then with two, such as a total and the warmup."""
    function = FUNCTIONS[call.name]
    choices: dict[tuple[int, str], list[Any]] = {}
    for i, (name, parameter) in enumerate(inspect.signature(function).parameters.items()):
        if isinstance(parameter.default, bool):
            choices[i, name] = [not parameter.default]
        elif parameter.annotation not in ("str", "Iterable[Span]") and parameter.kind is not parameter.VAR_POSITIONAL:
            choices[i, name] = values
    for places in (*itertools.combinations(choices, 1), *itertools.combinations(choices, 2)):
        for chosen in itertools.product(*(choices[place] for place in places)):
            args, keywords = list(call.args), dict(call.keywords)
            for (i, name), value in zip(places, chosen, strict=True):
                if i < len(args):
                    args[i] = value
                else:
                    keywords[name] = value
            try:
                yield function(*args, **keywords)
            except (TypeError, ValueError, ArithmeticError):
                continue
