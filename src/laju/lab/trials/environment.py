"""The environment of a library while it starts: variables that the library reads once, and its output to standard error."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def environment(**defaults: str) -> Iterator[None]:
    """Environment variables for the duration of a block; variables set by the user stay unchanged."""
    added = {name: value for name, value in defaults.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back standard error, including that of native code, during a block; show the output only if the block fails.

    TensorFlow prints a greeting to standard error regardless of its own settings, and would write into a live display.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(kept, 2)
            file.seek(0)
            os.write(2, file.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook (the terminal of IPython is not a notebook)."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None
