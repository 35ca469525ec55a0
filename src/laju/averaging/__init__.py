"""Averaging of weights beside decay of the rate: averages as values, and the checkpoints that stand for a cooldown.

>>> import laju
>>> from laju.averaging import weights
>>> weights(laju.linear(1, 0, total=4), at=[96, 97, 98, 99, 100])
array([0.  , 0.25, 0.25, 0.25, 0.25])
"""

from laju.averaging.averages import EMA, Average, Cooldown, Latest, Tail, imitated, parse, weights

__all__ = ["EMA", "Average", "Cooldown", "Latest", "Tail", "imitated", "parse", "weights"]
