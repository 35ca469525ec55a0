"""Explain why the learning rates of a run differ from the planned ones: the kind of change, and the update of its beginning.

A change is a change of the positions at which the schedule is evaluated (twice as fast, 3 updates behind, from 0 again), or of
the level of its values. Each reported change reproduces the learning rates of all rows.
"""

from laju.diagnosis.causes import Cause
from laju.diagnosis.diagnosis import Diagnosis, diagnose
from laju.diagnosis.rows import apart, beside

__all__ = ["Cause", "Diagnosis", "apart", "beside", "diagnose"]
