"""pytorch_warmup: warmups that dampen whatever another scheduler sets.

The rate of step t is s(t)·ω(t), with s the schedule that is dampened, on its own clock underneath, and ω rising from above 0 to
1: no step is spent at 0. The most surprising behaviour: inside `with warmup.dampening():`, as in the documentation, the inner
scheduler sees its own rates, not the dampened ones, so that schedulers that multiply come out right. Made but left out of the
loop, a warmup leaves the rate at ω(0) times its value: a scheduler that multiplies never loses that factor.

The optimizer's rate stands first, or the whole schedule that is dampened. Of `last_step` only -1 is taken: a warmup begins at 0.
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

Period = Annotated[int, exactly(int, "pytorch_warmup asks for it", least=1)]

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
    """Dampened by a line: lr(t)·min(1, (t + 1)/warmup_period).

    Args:
        lr: the optimizer's rate, or the schedule that is dampened.
        warmup_period: steps until nothing is dampened; the step before that is the first step at the full rate.

    >>> LinearWarmup(0.1, warmup_period=4).values(5)
    array([0.025, 0.05 , 0.075, 0.1  , 0.1  ])
    """
    return _dampened(lr, Ramp(0.0, 1.0, warmup_period, first=True))


@SYSTEM.declare
def ExponentialWarmup(lr: float | Schedule, warmup_period: Period) -> Schedule:
    """Dampened by an approach that never ends: lr(t)·(1 - e^(-(t + 1)/warmup_period)).

    Args:
        lr: the optimizer's rate, or the schedule that is dampened.
        warmup_period: steps after which 1 - 1/e of the rate is reached.

    >>> ExponentialWarmup(1.0, warmup_period=2).values(3).round(3)
    array([0.393, 0.632, 0.777])
    """
    return _dampened(lr, _approach(warmup_period))


@SYSTEM.declare
def UntunedLinearWarmup(lr: float | Schedule, beta2: Beta2 = 0.999) -> Schedule:
    """`LinearWarmup` with the period 2/(1 - β₂) of the optimizer, cut to a whole number of steps.

    The period is that of floats: 2/(1 - 0.999) is 1999.99…, so 0.999 gives 1999 steps, not 2000.

    Args:
        lr: the optimizer's rate, or the schedule that is dampened.
        beta2: β₂ of the optimizer, Adam or a variant, in [0, 1).

    >>> UntunedLinearWarmup(1.0, beta2=0.5).values(5)
    array([0.25, 0.5 , 0.75, 1.  , 1.  ])
    """
    return _dampened(lr, Ramp(0.0, 1.0, int(2.0 / (1.0 - beta2)), first=True))


@SYSTEM.declare
def UntunedExponentialWarmup(lr: float | Schedule, beta2: Beta2 = 0.999) -> Schedule:
    """`ExponentialWarmup` with the period 1/(1 - β₂) of the optimizer, cut to a whole number of steps.

    The period is that of floats: 1/(1 - 0.999) is 999.99…, so 0.999 gives 999 steps, not 1000.

    Args:
        lr: the optimizer's rate, or the schedule that is dampened.
        beta2: β₂ of the optimizer, Adam or a variant, in [0, 1).

    >>> UntunedExponentialWarmup(1.0, beta2=0.5).values(3).round(3)
    array([0.393, 0.632, 0.777])
    """
    return _dampened(lr, _approach(int(1.0 / (1.0 - beta2))))


@SYSTEM.declare
def RAdamWarmup(
    lr: float | Schedule, beta2: Annotated[float, real("pytorch_warmup asks for it", above=0.6, below=1)] = 0.999
) -> Schedule:
    """Dampened by RAdam's rectification, from the first step with a finite rectification: see `laju.Rectification`.

    pytorch_warmup subtracts numbers near 2/(1 - β₂) from each other, which costs digits; this function, which does not, is within
    100 + 4/(1 - β₂) ulp of the rate for β₂ up to 0.9999. At 0.999999 pytorch_warmup's lost digits make its warmup begin a step
    too early, with a first factor that is nothing but error.

    Args:
        lr: the optimizer's rate, or the schedule that is dampened.
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
