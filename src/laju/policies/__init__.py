"""The named policies of the literature (functions that return schedules), each a short expression in the algebra.

Numbers are absolute values; lengths are in updates or text with a unit; `total` is the whole run, its warmup included. A
policy from a first value to a second reaches the second at t = total, the update after the last.

A value is within 8 ulp of its formula unless the docstring says otherwise; between values of opposite signs, within 8 ulp of
the larger.
"""

from laju.policies.cycles import (
    cosine_restarts,
    exp_range,
    one_cycle,
    one_cycle_momentum,
    triangular,
    triangular2,
)
from laju.policies.decays import (
    constant,
    cosine,
    exponential,
    flat_cosine,
    inverse_sqrt,
    inverse_time,
    linear,
    linear_to_zero,
    natural_exponential,
    noam,
    poly,
    polynomial_decay,
    rex,
    tanh_decay,
    welling_teh,
    welling_teh_between,
)
from laju.policies.plateaus import (
    swa,
    swa_cyclic,
    trapezoid,
    wsd,
    wsd_s,
)
from laju.policies.steps import (
    chebyshev,
    factor,
    knots,
    multi_factor,
    piecewise_constant,
    square_root,
)
from laju.policies.warmups import (
    exponential_warmup,
    radam_warmup,
    untuned_exponential,
    untuned_linear,
    warmup,
)

__all__ = [
    "chebyshev",
    "constant",
    "cosine",
    "cosine_restarts",
    "exp_range",
    "exponential",
    "exponential_warmup",
    "factor",
    "flat_cosine",
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
    "piecewise_constant",
    "poly",
    "polynomial_decay",
    "radam_warmup",
    "rex",
    "square_root",
    "swa",
    "swa_cyclic",
    "tanh_decay",
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
