"""Weight averaging as an alternative to learning-rate decay: averages as values, and merges of checkpoints.

>>> import laju
>>> from laju.averaging import weights
>>> weights(laju.linear(1, 0, total=4), at=[96, 97, 98, 99, 100])
array([0.  , 0.25, 0.25, 0.25, 0.25])
"""

from laju.averaging.averages import EMA, Average, Cooldown, Latest, Tail, imitated, parse, weights

__all__ = ["EMA", "Average", "Cooldown", "Latest", "Tail", "imitated", "parse", "weights"]
