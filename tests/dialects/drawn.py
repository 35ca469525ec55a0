"""Arguments that nobody would choose, drawn by a declaration: fractional, zero, negative, repeated, unsorted, huge."""

from __future__ import annotations

import collections.abc
import inspect
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
from hypothesis import strategies as st

FLOATS = st.sampled_from([0.0, 1.0, 0.1, 0.5, 0.9, 1.5, 2.0, 2.5, 7.5, -0.5, 1e-3, 0, 1, 3, 40])
WHOLE = st.sampled_from([0, 1, 2, 3, 5, 8, 13, 40, -1, 10**7])
LENGTHS = WHOLE | st.sampled_from([2.5, 7.5, 0.5, 4.0])


def _values(hint: Any) -> st.SearchStrategy[Any] | None:
    """Values for an annotation; None where it is of another kind."""
    origin = get_origin(hint)
    if origin is Annotated:
        return _values(get_args(hint)[0])
    if origin is Literal:
        return st.sampled_from(get_args(hint))
    if origin in (Union, types.UnionType):
        inside = [_values(kind) for kind in get_args(hint) if kind is not type(None)]
        if None in inside:
            return None
        return st.one_of(*inside, *([st.none()] if type(None) in get_args(hint) else []))  # type: ignore[arg-type]
    if origin in (collections.abc.Sequence, collections.abc.Iterable, list):
        item = _values(get_args(hint)[0])
        return None if item is None else st.lists(item, max_size=4)
    if origin in (collections.abc.Mapping, dict):
        key, item = map(_values, get_args(hint))
        return None if key is None or item is None else st.dictionaries(key, item, max_size=4)
    return {float: FLOATS, int: LENGTHS, bool: st.booleans()}.get(hint)


def calls(
    function: Callable[..., Any],
    without: tuple[str, ...] = (),
    also: Mapping[str, st.SearchStrategy[Any]] | None = None,
) -> st.SearchStrategy[dict[str, Any]]:
    """Keyword arguments of a declared function: the required ones, and any of the others that have numbers, texts or lists.

    Args:
        function: the declared one.
        without: names of arguments that are not drawn.
        also: values for arguments of other kinds, such as times that are texts.
    """
    also = also or {}
    own = getattr(function, "__wrapped__", function)
    hints = get_type_hints(own, include_extras=True)
    required: dict[str, Any] = {}
    optional: dict[str, Any] = {}
    for name, parameter in inspect.signature(own).parameters.items():
        values = None if name in without else also[name] if name in also else _values(hints.get(name))
        if values is not None:
            (required if parameter.default is parameter.empty else optional)[name] = values
    return st.fixed_dictionaries(required, optional=optional)


def changed(
    sound: st.SearchStrategy[dict[str, Any]], function: Callable[..., Any]
) -> st.SearchStrategy[dict[str, Any]]:
    """Sound calls of a function of which most drawn ones are refused, with up to two arguments as `calls` draws them."""
    return st.tuples(sound, calls(function, ("save_history", "param_group_index")), st.data()).map(
        lambda drawn: {
            **drawn[0],
            **{name: drawn[1][name] for name in drawn[2].draw(st.sets(st.sampled_from(sorted(drawn[1])), max_size=2))},
        }
    )


def same_or_refused(ours: Callable[[], Any], theirs: Callable[[], Any], most: float = 1e-9, of: float = 0.0) -> bool:
    """Whether laju gives values, which must then be the real ones up to a share of the largest; it may refuse with a reason.

    Args:
        ours: the values, or an error.
        theirs: the real ones, which fail the test where they fail.
        most: the share.
        of: what the share is of, where that is larger than all values.
    """
    try:
        mine = np.asarray(ours(), float)
    except (ValueError, TypeError):
        return False
    try:
        real = np.asarray(theirs(), float)
    except OverflowError:  # past what a float can hold
        return False
    mine = mine[: len(real)]
    scale = max(
        float(np.abs(real[np.isfinite(real)]).max(initial=0.0)), float(np.abs(mine).max(initial=0.0)), of, 1e-300
    )
    apart = np.abs(mine - real)
    assert apart.max(initial=0.0) <= most * scale, (mine[:12], real[:12])
    return True
