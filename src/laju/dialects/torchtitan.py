"""torchtitan: the linear warmup, stable rate and decay of its `LRSchedulersContainer.Config`, stepped once after every update.

The most surprising behaviour:

- Update 0 trains at lr/W, not at 0, and the peak is reached in the last update of the warmup.
- An update is added to the stable part: the decay reaches its end an update after the run, which thus never trains at 0.
- A warmup or decay that does not fit is shortened with a log line, not refused.
- A step after the run's last has no value: torchtitan's own scheduler raises there if there is no decay.
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
    """lr·(t + 1)/W for t < W, then lr, then down to min_lr_factor·lr over D updates, whose end is update T, after the run.

    With T the total steps and D = round(T·decay_ratio), or T - W without a ratio, the decay at update t ≥ T + 1 - D has made
    (t - (T + 1 - D) + 1)/D of its way. The lowest rate holds here from update T on; torchtitan has no more updates then.

    Args:
        lr: the optimizer's rate.
        training_steps: of the run, `training.steps`.
        warmup_steps: W, at most T.
        total_steps: T, at least the run's steps, which are the default.
        decay_ratio: the part of T that decays, as far as the warmup leaves room.
        decay_type: "linear", "sqrt" (1 - √p) or "cosine".
        min_lr_factor: the lowest rate, as a share of the rate.

    Raises:
        DialectError: another decay type; total steps that end before the run, after which torchtitan's rates fall below 0.

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
