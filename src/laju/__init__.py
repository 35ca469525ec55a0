"""Learning-rate schedules as values: define once, check, run the same in every framework, compare, predict.

>>> import laju
>>> schedule = laju.cosine(0.3, total=20, final=0.01, warmup=5)
>>> schedule(5)
0.3
"""

from laju import shapes
from laju.algebra import (
    Chain,
    Maximum,
    Minimum,
    Overlay,
    Per,
    Product,
    Repeat,
    Reverse,
    Shift,
    Staircase,
    Stretch,
    Sum,
    Take,
    chain,
    product,
    splice,
    stretch,
)
from laju.clocks import Clock
from laju.pieces import Constant, Exponential, Function, Power, Ramp, Table
from laju.policies import constant, cosine, factor, linear, multi_factor, poly, polynomial_decay, square_root, warmup
from laju.schedule import Schedule
from laju.spec import SpecError, from_json, parse
from laju.units import Length, RunPlan, UnresolvedError

__version__ = "0.1.0"

__all__ = [
    "Chain",
    "Clock",
    "Constant",
    "Exponential",
    "Function",
    "Length",
    "Maximum",
    "Minimum",
    "Overlay",
    "Per",
    "Power",
    "Product",
    "Ramp",
    "Repeat",
    "Reverse",
    "RunPlan",
    "Schedule",
    "Shift",
    "SpecError",
    "Staircase",
    "Stretch",
    "Sum",
    "Table",
    "Take",
    "UnresolvedError",
    "__version__",
    "chain",
    "constant",
    "cosine",
    "factor",
    "from_json",
    "linear",
    "multi_factor",
    "parse",
    "poly",
    "polynomial_decay",
    "product",
    "shapes",
    "splice",
    "square_root",
    "stretch",
    "warmup",
]
