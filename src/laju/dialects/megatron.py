"""Megatron-LM: the learning rate and the weight decay of `OptimizerParamScheduler`, by update t (from 0).

The most surprising behaviour:

- The scheduler counts samples: `step(increment)` adds the global batch size, and update t has the value after t·increment
  samples. A growing batch size (rampup) gives a different curve. Use increment=1 if lengths are in iterations.
- The warmup includes its last step (`<=`), so the decay begins a step later than its formula, at its second value.
- `inverse-square-root` is max_lr·√(W/t) with W = 1 if there is no warmup, and jumps to `min_lr` after `lr_decay_steps`.
- The exponential cooldown of WSD is 2·0.5^p - 1, and `minus_sqrt` is 1 - √p.
- Megatron-LM reports invalid arguments as assertions without a message.
"""

from __future__ import annotations

from typing import Any, Literal

from laju.core.checks import nearest, shown
from laju.core.pieces import Constant, Exponential, Power, Ramp
from laju.core.schedule import Schedule
from laju.dialects.base import DialectError, System
from laju.dialects.declared import Count, Count1

_COOLDOWNS = "linear", "cosine", "exponential", "minus_sqrt"


SYSTEM = System(
    name="megatron",
    title="Megatron-LM",
    package="megatron-core",
    releases=("0.16.1",),
    counts="steps, of which an update makes `increment`",
)


@SYSTEM.declare
def OptimizerParamScheduler(
    init_lr: float,
    max_lr: float,
    min_lr: float,
    lr_warmup_steps: Count,
    lr_decay_steps: Count,
    lr_decay_style: Literal["constant", "linear", "cosine", "inverse-square-root", "WSD"],
    wsd_decay_steps: Count | None = None,
    lr_wsd_decay_style: str | None = None,
    *,
    increment: Count1 = 1,
) -> Schedule:
    """Linear warmup of the learning rate from init_lr to max_lr in W steps, then decay to min_lr at step N, which then holds.

    Args:
        init_lr: learning rate at step 0.
        max_lr: the peak.
        min_lr: the minimum, at least 0.
        lr_warmup_steps: W; 0 for no warmup.
        lr_decay_steps: N, counted from step 0.
        lr_decay_style: "constant" (no decay), "linear", "cosine", "inverse-square-root" or "WSD".
        wsd_decay_steps: steps of the cooldown that ends at N; only for "WSD".
        lr_wsd_decay_style: "linear", "cosine", "exponential" or "minus_sqrt"; only for "WSD".
        increment: steps per update: the global batch size if lengths are in samples, 1 if lengths are in iterations.

    Raises:
        DialectError: if Megatron-LM's assertions refuse the arguments, or a style is unknown.

    Source: `megatron/core/optimizer_param_scheduler.py`.

    >>> OptimizerParamScheduler(0.0, 1.0, 0.0, 2, 6, "linear").values(8)
    array([0.  , 0.5 , 1.  , 0.75, 0.5 , 0.25, 0.  , 0.  ])
    """
    init, peak, low = init_lr, max_lr, min_lr
    warmup, total = lr_warmup_steps, lr_decay_steps
    for wrong, text in (
        (low < 0, f"min_lr must not be below 0, got {min_lr!r}"),
        (peak < low, f"max_lr must be at least min_lr, {min_lr!r}, got {max_lr!r}"),
        (init > peak, f"init_lr must be at most max_lr, {max_lr!r}, got {init_lr!r}"),
        (total <= 0, f"lr_decay_steps must be above 0, got {lr_decay_steps!r}"),
        (warmup >= total, f"lr_warmup_steps must be below lr_decay_steps, {lr_decay_steps!r}, got {lr_warmup_steps!r}"),
        (lr_decay_style == "WSD" and wsd_decay_steps is None, "wsd_decay_steps must be given for 'WSD'"),
    ):
        if wrong:
            raise DialectError(f"{text}; Megatron-LM asserts it")
    cooldown = 0
    if lr_decay_style == "WSD":
        cooldown = wsd_decay_steps or 0
        if cooldown:
            _one_of("lr_wsd_decay_style", lr_wsd_decay_style, _COOLDOWNS)

    schedule = _decay(peak, low, warmup, total, lr_decay_style, cooldown, str(lr_wsd_decay_style))
    if warmup:
        schedule = Ramp(init, peak, warmup) >> schedule
    return schedule if increment == 1 else schedule.stretch(1 / increment)


def _decay(peak: float, low: float, warmup: int, total: int, style: str, cooldown: int, shape: str) -> Schedule:
    """Learning rate from step `warmup` on."""
    length = total - warmup
    if style == "constant":
        return Constant(peak)
    if style in ("linear", "cosine"):
        return Ramp(peak, low, length, style)
    if style == "inverse-square-root":
        # Counted from step 0; without a warmup the value at step 0 is the value at step 1.
        scale = max(warmup, 1)
        root: Schedule = Power(peak, 0.5, warmup / scale, scale) if warmup else Constant(peak, 1) >> Power(peak, 0.5)
        return root.clip(low=low).take(length + 1) >> low
    # The whole cooldown may not fit after the warmup; its first part is then never seen.
    begun = max(cooldown - length, 0)
    if not cooldown:
        return Constant(peak, length + 1) >> low
    fall: Schedule
    if shape == "exponential":
        fall = (Exponential(2 * (peak - low), 0.5, cooldown) + (2 * low - peak)).take(cooldown) >> low
    else:
        fall = Ramp(peak, low, cooldown, {"minus_sqrt": "sqrt"}.get(shape, shape))
    if begun:
        # The first step is still the peak of the warmup or, without a warmup, the cooldown's value so far.
        return Constant(peak, 1) >> fall.shift(-begun - 1) if warmup else fall.shift(-begun)
    return Constant(peak, length - cooldown) >> fall if length > cooldown else fall


@SYSTEM.declare
def weight_decay(
    start_wd: float,
    end_wd: float,
    wd_incr_steps: Count,
    wd_incr_style: Literal["constant", "linear", "cosine"],
    *,
    increment: Count1 = 1,
) -> Schedule:
    """The weight decay of `OptimizerParamScheduler`: from start_wd to end_wd in `wd_incr_steps` steps.

    Args:
        start_wd: weight decay at step 0, at least 0.
        end_wd: final weight decay, at least start_wd.
        wd_incr_steps: number of steps of the change.
        wd_incr_style: "constant", "linear" or "cosine".
        increment: steps per update: the global batch size if lengths are in samples, 1 if lengths are in iterations.

    Raises:
        DialectError: if Megatron-LM's assertions refuse the arguments, or the style is unknown.

    >>> weight_decay(0.0, 0.1, 4, "linear").values(6)
    array([0.   , 0.025, 0.05 , 0.075, 0.1  , 0.1  ])
    """
    start, end = start_wd, end_wd
    length = wd_incr_steps
    for wrong, text in (
        (start < 0, f"start_wd must not be below 0, got {start_wd!r}"),
        (end < start, f"end_wd must be at least start_wd, {start_wd!r}, got {end_wd!r}"),
        (
            wd_incr_style == "constant" and start != end,
            f"end_wd must equal start_wd, {start_wd!r}, with the style 'constant', got {end_wd!r}",
        ),
        (wd_incr_style != "constant" and length == 0, "wd_incr_steps must be above 0"),
    ):
        if wrong:
            raise DialectError(f"{text}; Megatron-LM asserts it")

    if wd_incr_style == "constant":
        return Constant(end)
    schedule: Schedule = Ramp(start, end, length, wd_incr_style)
    return schedule if increment == 1 else schedule.stretch(1 / increment)


def _one_of(name: str, value: Any, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise DialectError(f"{name} must be one of {', '.join(valid)}, got {shown(value)}{nearest(str(value), valid)}")
