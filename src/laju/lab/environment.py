"""Environment variables that a library reads once, when it is imported or first used."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def environment(**defaults: str) -> Iterator[None]:
    """Environment variables for the duration of a block; those that the user has set stay as they are."""
    added = {name: value for name, value in defaults.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
