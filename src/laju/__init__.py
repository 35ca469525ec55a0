"""Learning-rate schedules as values: define once, check, run the same in every framework, compare, predict.

>>> import laju
>>> schedule = laju.cosine(0.3, total=20, final=0.01, warmup=5)
>>> schedule(5)
0.3
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from laju import _moved  # noqa: F401 - modules by the names that they had before
from laju.adaptive import Controller, Greedy, Plateau
from laju.core import shapes
from laju.core.algebra import Chain, Maximum, Minimum, Overlay, Product, Sum
from laju.core.checks import ScheduleWarning, SpecError
from laju.core.clocks import Clock, Per, Repeat, Reverse, Shift, Staircase, Stretch, Take
from laju.core.joins import chain, product, splice, stretch
from laju.core.node import HOOKS
from laju.core.pieces import Constant, Exponential, Function, Power, Ramp, Rectification, Table
from laju.core.schedule import Schedule
from laju.core.units import Length, RunPlan, UnresolvedError
from laju.inspect.description import describe
from laju.inspect.horizon import cooldown, extend, hold
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
from laju.text.json import from_json
from laju.text.spec import parse

if TYPE_CHECKING:
    from laju.inspect.difference import Difference, diff
    from laju.inspect.lint import Finding, check
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
    "ScheduleWarning",
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
    "Difference": "inspect.difference",
    "Finding": "inspect.lint",
    "Recognised": "recognition",
    "check": "inspect.lint",
    "diff": "inspect.difference",
    "recognise": "recognition",
    "trace": "tracing",
}


def _html(schedule: Schedule) -> str | None:
    """The picture of a schedule in a notebook, whose room is loaded when one is shown."""
    html: str | None = import_module("laju.view.notebook").html(schedule)
    return html


HOOKS["html"] = _html


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        if name.startswith("_"):
            raise AttributeError(f"module 'laju' has no attribute {name!r}")
        from laju.text.spec import in_laju

        raise AttributeError(f"module 'laju' has no attribute {name!r}{in_laju(name, dict.fromkeys(__dir__()))}")
    globals()[name] = found = getattr(import_module(f"laju.{_LATER[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
