"""Why the rates of a run differ from the planned rates: the change of the schedule, and the update at which it begins.

A change of a schedule is a change of the positions at which the schedule is read (twice as fast, 3 behind, from 0 again), or of
the level of its rates. Each change is searched for, and computed at all rows before the report.
"""

from laju.diagnosis.causes import Cause
from laju.diagnosis.diagnosis import Diagnosis, diagnose
from laju.diagnosis.rows import apart, beside

__all__ = ["Cause", "Diagnosis", "apart", "beside", "diagnose"]
