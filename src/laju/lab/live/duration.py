"""A duration in a few characters."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """A duration, given in seconds, in a few characters.

    >>> duration(0.24), duration(92.4), duration(1500), duration(7560)
    ('0.2 s', '92 s', '25 min', '2.1 h')
    """
    if seconds < 600:
        return f"{seconds:.{1 if seconds < 10 else 0}f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
