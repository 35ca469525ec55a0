"""pytorch_warmup: warmup factors that dampen the learning rate of another scheduler.

The learning rate of step t is s(t)·ω(t): s is the dampened schedule, which counts from step 0 during the warmup, and ω rises from
a value above 0 to 1, so no step has rate 0. The most surprising behaviour: inside `with warmup.dampening():`, as in the
documentation, the inner scheduler sees its own rates and not the dampened rates, so schedulers that multiply give correct rates.
A warmup that is constructed but not used in the loop leaves the rate at ω(0) times its value, and a scheduler that multiplies
keeps that factor.

The first argument is the optimizer's learning rate or the dampened schedule. `last_step` must be -1, because a warmup begins at
0.
"""

from __future__ import annotations

import math
from typing import Annotated

from laju.core.algebra import Product, Sum
from laju.core.checks import number
from laju.core.pieces import Constant, Exponential, Ramp, Rectification
from laju.core.schedule import Schedule
from laju.dialects.base import System
from laju.dialects.declared import exactly, real

Period = Annotated[int, exactly(int, "pytorch_warmup requires it", least=1)]

Beta2 = Annotated[float, real(least=0, below=1)]

SYSTEM = System(
    name="pytorch_warmup",
    title="pytorch_warmup",
    package="pytorch-warmup",
    releases=("0.2.0",),
    also={"last_step": -1},
    counts="updates, each of which leaves `with warmup.dampening():`",
)
"""The system that `laju.dialects.read` and `laju convert` know as pytorch_warmup."""


@SYSTEM.declare
def LinearWarmup(lr: float | Schedule, warmup_period: Period) -> Schedule:
    """Linear warmup of a learning rate or schedule: lr(t)·min(1, (t + 1)/warmup_period) at step t.

    Args:
        lr: the optimizer's learning rate, or the schedule that is dampened.
        warmup_period: number of steps of the warmup, whose last step has the full rate.

    >>> LinearWarmup(0.1, warmup_period=4).values(5)
    array([0.025, 0.05 , 0.075, 0.1  , 0.1  ])
    """
    return _dampened(lr, Ramp(0.0, 1.0, warmup_period, first=True))


@SYSTEM.declare
def ExponentialWarmup(lr: float | Schedule, warmup_period: Period) -> Schedule:
    """Exponential warmup of a learning rate or schedule, without end: lr(t)·(1 - e^(-(t + 1)/warmup_period)) at step t.

    Args:
        lr: the optimizer's learning rate, or the schedule that is dampened.
        warmup_period: number of steps after which the factor is 1 - 1/e.

    >>> ExponentialWarmup(1.0, warmup_period=2).values(3).round(3)
    array([0.393, 0.632, 0.777])
    """
    return _dampened(lr, _approach(warmup_period))


@SYSTEM.declare
def UntunedLinearWarmup(lr: float | Schedule, beta2: Beta2 = 0.999) -> Schedule:
    """`LinearWarmup` over 2/(1 - β₂) steps, rounded down.

    The period is computed with floats: 2/(1 - 0.999) is 1999.99…, so β₂ = 0.999 gives 1999 steps, not 2000.

    Args:
        lr: the optimizer's learning rate, or the schedule that is dampened.
        beta2: β₂ of the optimizer (Adam or a variant), in [0, 1).

    >>> UntunedLinearWarmup(1.0, beta2=0.5).values(5)
    array([0.25, 0.5 , 0.75, 1.  , 1.  ])
    """
    return _dampened(lr, Ramp(0.0, 1.0, int(2.0 / (1.0 - beta2)), first=True))


@SYSTEM.declare
def UntunedExponentialWarmup(lr: float | Schedule, beta2: Beta2 = 0.999) -> Schedule:
    """`ExponentialWarmup` with the period 1/(1 - β₂) steps, rounded down.

    The period is computed with floats: 1/(1 - 0.999) is 999.99…, so β₂ = 0.999 gives 999 steps, not 1000.

    Args:
        lr: the optimizer's learning rate, or the schedule that is dampened.
        beta2: β₂ of the optimizer (Adam or a variant), in [0, 1).

    >>> UntunedExponentialWarmup(1.0, beta2=0.5).values(3).round(3)
    array([0.393, 0.632, 0.777])
    """
    return _dampened(lr, _approach(int(1.0 / (1.0 - beta2))))


@SYSTEM.declare
def RAdamWarmup(
    lr: float | Schedule, beta2: Annotated[float, real("pytorch_warmup requires it", above=0.6, below=1)] = 0.999
) -> Schedule:
    """Warmup of a learning rate or schedule by RAdam's rectification term, from the first step at which the term is finite.

    The term is described in `laju.Rectification`. pytorch_warmup subtracts numbers near 2/(1 - β₂), which costs digits; the
    values here, which avoid that, are within 100 + 4/(1 - β₂) ulp of pytorch_warmup's for β₂ up to 0.9999. At 0.999999 the lost
    digits make pytorch_warmup begin a step too early, with a first factor that is pure rounding error.

    Args:
        lr: the optimizer's learning rate, or the schedule that is dampened.
        beta2: β₂ of the optimizer, above 0.6 and below 1.

    >>> RAdamWarmup(1.0, beta2=0.9).values(4).round(3)
    array([0.156, 0.255, 0.33 , 0.392])
    """
    return _dampened(lr, Rectification(beta2))


def _dampened(lr: float | Schedule, factor: Schedule) -> Schedule:
    return Product((lr if isinstance(lr, Schedule) else Constant(number("lr", lr, least=0)), factor))


def _approach(period: int) -> Schedule:
    """1 - e^(-(t + 1)/period)."""
    return Sum((Constant(1.0), Exponential(-1.0, math.exp(-1), period).shift(-1)))
