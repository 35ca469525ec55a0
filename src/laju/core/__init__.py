"""Schedules as values: the foundation of every other package of laju. NumPy is the only dependency.

The files build on one another, from the ground up: `limits`, `checks`, `arrays`, `units`, `shapes`, `node`, `functions` and
`written`; `schedule`; `pieces`, `clocks` and `algebra`, whose classes register as they are defined; `measure`, `policy`, `joins`
and `data_clock`.
"""

# Every node and method is known to texts and to `Schedule` from the first import on.
from laju.core import data_clock, joins  # noqa: F401
