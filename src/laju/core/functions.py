"""Functions by name, "module:name": the only place where laju imports a function that a schedule names."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from laju.core.checks import shown


class DataName(str):
    """The name of a function, read from data (a text, JSON, a checkpoint): equal to the plain text, and never imported."""

    __slots__ = ()


def checked_name(name: str) -> str:
    """The name, checked to be of the form "module:name".

    Raises:
        ValueError: if the name has a different form.
    """
    module, _, path = name.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), *path.split("."))):
        raise ValueError(f"function must be written 'module:name', got {shown(name)}")
    return name


def importable_name(function: Callable[..., Any]) -> str:
    """The name `module:name` under which a function can be imported again.

    Raises:
        ValueError: if the function cannot be imported, such as a lambda or a function defined inside a function.
    """
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if module and name and module != "__main__" and "<" not in name:
        try:
            # Imported and compared: the module may have replaced the name since, as a decorator does, and the text would name
            # another function.
            if imported(f"{module}:{name}") is function:
                return f"{module}:{name}"
        except ValueError:
            pass
    # A NumPy ufunc has no qualified name in older releases.
    if isinstance(function, np.ufunc) and getattr(np, function.__name__, None) is function:
        return f"numpy:{function.__name__}"
    raise ValueError(
        f"{shown(function)} cannot be written down: only a function that can be imported by its name can be, "
        "so define it with def at the top level of a module"
    )


def imported(name: str) -> Any:
    """Import the function with this name, "module:name".

    Raises:
        ValueError: if the function cannot be imported.
    """
    module, _, path = checked_name(name).partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ValueError(f"function {name!r} cannot be imported: {error}") from None
    return found
