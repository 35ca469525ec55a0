"""Functions that tests name on the command line."""

import math


def infinite(t: int) -> float:
    return math.inf if t > 308 else 1.0
