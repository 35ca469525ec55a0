"""The display for an argument `display`."""

from __future__ import annotations

from laju.core.checks import shown
from laju.lab.trials.environment import in_notebook
from laju.lab.workers import Display


def as_display(asked: Display | bool | None) -> Display | None:
    """The display for the value of an argument.

    Args:
        asked: a display; True for the display that suits the output; None for a figure in a notebook and nothing elsewhere;
            False for nothing.

    Raises:
        TypeError: any further value of `asked`.
    """
    if asked is True or (asked is None and in_notebook()):
        from laju.lab.live import display  # loads Matplotlib, which a run without a display does not need

        return display()
    if asked is None or asked is False:
        return None
    missing = [name for name in ("start", "planned", "running", "finished", "stop") if not hasattr(asked, name)]
    if missing:
        raise TypeError(
            f"display must be True, False, None or a Display, got {shown(asked)}, which has no {missing[0]!r}"
        )
    return asked
