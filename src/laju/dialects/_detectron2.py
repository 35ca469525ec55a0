"""detectron2's two schedulers of before its 0.5, which its configurations still name; today's are fvcore's under a warmup."""

from __future__ import annotations

from collections.abc import Sequence

from laju.core.checks import choice, number, shown, whole
from laju.core.pieces import Constant, Ramp
from laju.core.schedule import Schedule
from laju.dialects.base import DialectError


def WarmupMultiStepLR(
    lr: float,
    milestones: Sequence[int],
    gamma: float = 0.1,
    warmup_factor: float = 0.001,
    warmup_iters: int = 1000,
    warmup_method: str = "linear",
) -> Schedule:
    """Learning rate lr·γ^(number of milestones ≤ t), times the factor of a warmup in the first `warmup_iters` iterations.

    Args:
        lr: the optimizer's learning rate.
        milestones: iterations, in increasing order.
        gamma: γ, the factor of a drop.
        warmup_factor: factor of the learning rate at t = 0.
        warmup_iters: W, iterations of the warmup; 0 for no warmup.
        warmup_method: "linear", from `warmup_factor` to 1 in W iterations, or "constant".

    Raises:
        DialectError: if the milestones do not increase, as detectron2 requires.

    Source: detectron2 0.6, `solver/lr_scheduler.py`.

    >>> WarmupMultiStepLR(1.0, [4, 6], 0.5, 0.0, 2).values(7)
    array([0.  , 0.5 , 1.  , 1.  , 0.5 , 0.5 , 0.25])
    """
    rate, factor = number("lr", lr, least=0), number("gamma", gamma)
    if isinstance(milestones, str) or not isinstance(milestones, Sequence):
        raise TypeError(f"milestones must be a list of iterations, got {shown(milestones)}")
    at = [whole(f"milestones[{i}]", milestone) for i, milestone in enumerate(milestones)]
    if at != sorted(at):
        raise DialectError(f"milestones must increase, got {shown(milestones)}")
    schedule: Schedule = Constant(rate * factor ** len(at))
    # From the end: each part is joined before the rest, and parts of no length (milestones at the same iteration) are left out.
    for k in reversed(range(len(at))):
        length = at[k] - (at[k - 1] if k else 0)
        schedule = Constant(rate * factor**k, length) >> schedule if length else schedule
    return _warmed(schedule, warmup_factor, warmup_iters, warmup_method)


def WarmupCosineLR(
    lr: float,
    max_iters: int,
    warmup_factor: float = 0.001,
    warmup_iters: int = 1000,
    warmup_method: str = "linear",
) -> Schedule:
    """Cosine decay lr·(1 + cos(π·t/max_iters))/2, times the factor of a warmup in the first `warmup_iters` iterations.

    The cosine begins at t = 0, under the warmup, and climbs again after its end.

    Args:
        lr: the optimizer's learning rate.
        max_iters: iterations of the decay.
        warmup_factor, warmup_iters, warmup_method: the warmup; see `WarmupMultiStepLR`.

    Source: detectron2 0.6, `solver/lr_scheduler.py`.

    >>> WarmupCosineLR(1.0, 4, 0.0, 2).values(5).round(3)
    array([0.   , 0.427, 0.5  , 0.146, 0.   ])
    """
    rate = number("lr", lr, least=0)
    wave = Ramp(rate, 0.0, whole("max_iters", max_iters, least=1), "cosine").repeat(mirror=True)
    return _warmed(wave, warmup_factor, warmup_iters, warmup_method)


def _warmed(schedule: Schedule, warmup_factor: float, warmup_iters: int, warmup_method: str) -> Schedule:
    factor, length = number("warmup_factor", warmup_factor), whole("warmup_iters", warmup_iters)
    method = choice("warmup_method", warmup_method, ("linear", "constant"))
    if not length:
        return schedule
    return schedule * (Ramp(factor, 1.0, length) if method == "linear" else Constant(factor, length) >> 1.0)
