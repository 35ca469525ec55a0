"""Probable mistakes in a schedule: updates at learning rate 0, a peak that is never reached, lengths in the wrong unit.

Every finding has a stable code, a position, a reason, and a correction.
"""

from laju.inspect.lint.checking import check, fixed
from laju.inspect.lint.codes import CODES, LEVELS, Finding
from laju.inspect.lint.structure import looked_at

__all__ = ["CODES", "LEVELS", "Finding", "check", "fixed", "looked_at"]
