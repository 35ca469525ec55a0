"""Conversion between systems: code for the target that gives the same values, and the changes of a migration.

>>> from laju.convert import convert
>>> convert("StepLR(step_size=30)", "torch", "optax", lr=0.1, updates=90).call
'exponential_decay(init_value=0.1, transition_steps=30, decay_rate=0.1, staircase=True)'
"""

from laju.convert.conversion import convert
from laju.convert.report import Conversion

__all__ = ["Conversion", "convert"]
