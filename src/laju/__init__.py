"""Learning-rate schedules as values: define once, check, run the same in every framework, compare, predict.

>>> import laju
>>> schedule = laju.cosine(0.3, total=20, final=0.01, warmup=5)
>>> schedule(5)
0.3
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from laju import shapes
from laju.adaptive import Controller, Greedy, Plateau
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
from laju.horizon import cooldown, extend, hold
from laju.inspect import describe
from laju.pieces import Constant, Exponential, Function, Power, Ramp, Rectification, Table
from laju.policies import (
    chebyshev,
    constant,
    cosine,
    cosine_restarts,
    exp_range,
    exponential,
    exponential_warmup,
    factor,
    flat_cosine,
    inverse_sqrt,
    inverse_time,
    knots,
    linear,
    linear_to_zero,
    multi_factor,
    natural_exponential,
    noam,
    one_cycle,
    one_cycle_momentum,
    piecewise_constant,
    poly,
    polynomial_decay,
    radam_warmup,
    rex,
    square_root,
    swa,
    swa_cyclic,
    tanh_decay,
    trapezoid,
    triangular,
    triangular2,
    untuned_exponential,
    untuned_linear,
    warmup,
    welling_teh,
    welling_teh_between,
    wsd,
    wsd_s,
)
from laju.schedule import Schedule
from laju.spec import SpecError, from_json, parse
from laju.units import Length, RunPlan, UnresolvedError

if TYPE_CHECKING:
    from laju.differ import Difference, diff
    from laju.lint import Finding, check
    from laju.recognition import Recognised, recognise
    from laju.tracing import trace

__version__ = "0.1.0"

__all__ = [
    "Chain",
    "Clock",
    "Constant",
    "Controller",
    "Difference",
    "Exponential",
    "Finding",
    "Function",
    "Greedy",
    "Length",
    "Maximum",
    "Minimum",
    "Overlay",
    "Per",
    "Plateau",
    "Power",
    "Product",
    "Ramp",
    "Recognised",
    "Rectification",
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
    "chebyshev",
    "check",
    "constant",
    "cooldown",
    "cosine",
    "cosine_restarts",
    "describe",
    "diff",
    "exp_range",
    "exponential",
    "exponential_warmup",
    "extend",
    "factor",
    "flat_cosine",
    "from_json",
    "hold",
    "inverse_sqrt",
    "inverse_time",
    "knots",
    "linear",
    "linear_to_zero",
    "multi_factor",
    "natural_exponential",
    "noam",
    "one_cycle",
    "one_cycle_momentum",
    "parse",
    "piecewise_constant",
    "poly",
    "polynomial_decay",
    "product",
    "radam_warmup",
    "recognise",
    "rex",
    "shapes",
    "splice",
    "square_root",
    "stretch",
    "swa",
    "swa_cyclic",
    "tanh_decay",
    "trace",
    "trapezoid",
    "triangular",
    "triangular2",
    "untuned_exponential",
    "untuned_linear",
    "warmup",
    "welling_teh",
    "welling_teh_between",
    "wsd",
    "wsd_s",
]

# What a training does not need is loaded when it is first asked for.
_LATER = {
    "Difference": "differ",
    "Finding": "lint",
    "Recognised": "recognition",
    "check": "lint",
    "diff": "differ",
    "recognise": "recognition",
    "trace": "tracing",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'laju' has no attribute {name!r}")
    globals()[name] = found = getattr(import_module(f"laju.{_LATER[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
