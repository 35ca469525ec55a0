"""torchtitan: the linear warmup, stable rate and decay of its `LRSchedulersContainer.Config`, stepped once after every update.

The most surprising behaviour:

- Update 0 trains at lr/W, not at 0, and the last update of the warmup trains at the peak.
- The stable part has an additional update: the decay ends an update after the run, so the run never trains at 0.
- torchtitan shortens a warmup or decay that does not fit, with a log message, and does not refuse the arguments.
- The step after the last update of the run has no value: torchtitan's scheduler raises there if there is no decay.
"""

from __future__ import annotations

from laju.core.checks import nearest, shown
from laju.core.pieces import Constant, Ramp
from laju.core.schedule import Schedule
from laju.dialects.base import DialectError, System
from laju.dialects.declared import Count, From0, Rate

_DECAYS = {"linear": "linear", "sqrt": "sqrt", "cosine": "cosine"}


SYSTEM = System(
    name="torchtitan",
    title="torchtitan",
    package="torchtitan",
    releases=("0.3.0",),
    counts="updates",
    aliases={"linear_warmup_stable_decay": "LRSchedulersContainer", "lr_scheduler": "LRSchedulersContainer"},
)


@SYSTEM.declare
def LRSchedulersContainer(
    lr: Rate,
    training_steps: Count,
    warmup_steps: Count = 200,
    total_steps: Count | None = None,
    decay_ratio: From0 | None = None,
    decay_type: str = "linear",
    min_lr_factor: float = 0.0,
) -> Schedule:
    """Linear warmup of the learning rate, lr·(t + 1)/W in update t < W, then lr, then decay to min_lr_factor·lr over D updates.

    D is round(T·decay_ratio), or T - W without a ratio. The decay ends at update T, an update after the run: in update
    t ≥ T + 1 - D its progress is p = (t - (T + 1 - D) + 1)/D. The minimum holds here from update T on; torchtitan has no further
    updates.

    Args:
        lr: the optimizer's learning rate.
        training_steps: number of updates of the run, `training.steps`.
        warmup_steps: W, at most T.
        total_steps: T, at least training_steps, the default.
        decay_ratio: length of the decay as a fraction of T, limited by the length of the warmup.
        decay_type: "linear" (1 - p), "sqrt" (1 - √p) or "cosine".
        min_lr_factor: the minimum relative to lr.

    Raises:
        DialectError: if the decay type is unknown, or total_steps is below training_steps, after which torchtitan's rates would
            fall below 0.

    Source: torchtitan, `components/optimizer/lr_scheduler.py`; Hu et al., arXiv 2404.06395.

    >>> LRSchedulersContainer(1.0, 8, warmup_steps=2, decay_ratio=0.5).values(8)
    array([0.5 , 1.  , 1.  , 1.  , 1.  , 0.75, 0.5 , 0.25])
    """
    total = training_steps if total_steps is None else total_steps
    if total < training_steps:
        raise DialectError(
            f"total_steps must be at least the {training_steps} training_steps, got {total}: torchtitan's rates go on past "
            "their end, below 0 or up again"
        )
    warmup = min(warmup_steps, total)
    if decay_type not in _DECAYS:
        text = f"decay_type must be one of {', '.join(_DECAYS)}, got {shown(decay_type)}"
        raise DialectError(text + nearest(str(decay_type), _DECAYS))
    low = min_lr_factor
    decay = total - warmup
    if decay_ratio is not None:
        decay = min(round(total * decay_ratio), total - warmup)
    stable = total + 1 - warmup - decay

    # In order: the warmup an update ahead, the peak, and the decay an update ahead.
    schedule: Schedule = Ramp(lr, low * lr, decay, _DECAYS[decay_type]).shift(-1) if decay else Constant(lr)
    schedule = Constant(lr, stable) >> schedule
    if warmup:
        schedule = Ramp(0.0, lr, warmup).shift(-1).take(warmup) >> schedule
    return schedule
