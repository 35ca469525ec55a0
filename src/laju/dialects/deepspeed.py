"""DeepSpeed: the schedulers of `deepspeed.runtime.lr_schedules`, which its engine steps once after every update.

The most surprising behaviour:

- A scheduler sets the learning rate when constructed and counts from there, so update t has the value of DeepSpeed's step t - 1:
  all schedulers but `LRRangeTest` are an update late; `WarmupLR` and `WarmupDecayLR` train two updates at their first rate.
- The default warmup is logarithmic: log(t)/log(W), halfway from the first rate to the peak after √W updates.
- `WarmupLR` warms up to the optimizer's own rate, `WarmupDecayLR` to its argument, 0.001 by default.
- `WarmupCosineLR` trains update 0 at rate 0 whatever `warmup_min_ratio` is, and its cosine is a step ahead.
- `OneCycle` skips its minimum at the end of the cycle: the decay afterwards begins with its second value.

DeepSpeed's classes take an optimizer; if a class uses the optimizer's rate, the function takes `lr`. There is no argument
`last_batch_iteration`.
"""

from __future__ import annotations

import math
from typing import Annotated

from laju.core.pieces import Constant, Power, Ramp
from laju.core.schedule import Schedule
from laju.dialects.base import DialectError, System
from laju.dialects.declared import Count, Made, Rate, by_steps, exactly

Steps = Annotated[int, exactly(int, "DeepSpeed refuses it", least=1)]

SYSTEM = System(
    name="deepspeed",
    title="DeepSpeed",
    package="deepspeed",
    releases=("0.19.8",),
    counts="updates, after each of which its engine steps",
)


@SYSTEM.declare
def WarmupLR(
    lr: Rate,
    warmup_min_lr: float = 0.0,
    warmup_max_lr: float | None = None,
    warmup_num_steps: Steps = 1000,
    warmup_type: str = "log",
) -> Schedule:
    """Warmup of the learning rate: min + (max - min)·log(t)/log(W) in update t, or min + (max - min)·(t - 1)/W if linear.

    Update 0 has min; updates after the warmup have max.

    Args:
        lr: the optimizer's learning rate, used if warmup_max_lr is not given.
        warmup_min_lr: min, the first rate.
        warmup_max_lr: max, the last rate; the optimizer's rate by default.
        warmup_num_steps: W; DeepSpeed replaces 1 by 2.
        warmup_type: "log" or "linear"; DeepSpeed treats any unknown name as "log", with a warning.

    >>> WarmupLR(1.0, warmup_num_steps=4, warmup_type="linear").values(7)
    array([0.  , 0.  , 0.25, 0.5 , 0.75, 1.  , 1.  ])
    """
    peak = lr if warmup_max_lr is None else warmup_max_lr
    low, length = warmup_min_lr, max(2, warmup_num_steps)

    return (_rise(low, peak, length, warmup_type) >> peak).shift(1)


@SYSTEM.declare
def WarmupDecayLR(
    total_num_steps: Count,
    warmup_min_lr: float = 0.0,
    warmup_max_lr: float = 0.001,
    warmup_num_steps: Steps = 1000,
    warmup_type: str = "log",
) -> Schedule:
    """Warmup of `WarmupLR`, then linear decay of the learning rate to warmup_min_lr at update N + 1, which then holds.

    Args:
        total_num_steps: N, updates of the run.
        warmup_min_lr: the first and last rate.
        warmup_max_lr: the peak, independent of the optimizer's rate.
        warmup_num_steps: W; DeepSpeed replaces 1 by 2.
        warmup_type: "log" or "linear"; DeepSpeed treats any unknown name as "log", with a warning.

    >>> WarmupDecayLR(6, 0.0, 1.0, 2, "linear").values(9)
    array([0.  , 0.  , 0.5 , 1.  , 0.75, 0.5 , 0.25, 0.  , 0.  ])
    """
    total, length = total_num_steps, max(2, warmup_num_steps)
    low, peak = warmup_min_lr, warmup_max_lr

    decay: Schedule = Ramp(peak, low, total - length) if total > length else Constant(low)
    return (_rise(low, peak, length, warmup_type) >> decay).shift(1)


@SYSTEM.declare
def WarmupCosineLR(
    lr: Rate,
    total_num_steps: Count,
    warmup_min_ratio: float = 0.0,
    warmup_num_steps: Steps = 1000,
    cos_min_ratio: float = 0.0001,
    warmup_type: str = "log",
) -> Schedule:
    """Warmup of `WarmupLR` as a factor of lr, then cosine decay to cos_min_ratio·lr, which then holds; update 0 has rate 0.

    Args:
        lr: the optimizer's learning rate.
        total_num_steps: N; the decay ends at update N.
        warmup_min_ratio: factor of lr at the beginning of the warmup, in update 1.
        warmup_num_steps: W; DeepSpeed replaces 1 by 2.
        cos_min_ratio: factor of lr at the end of the decay.
        warmup_type: "log" or "linear"; DeepSpeed treats any unknown name as "log", with a warning.

    >>> WarmupCosineLR(1.0, 6, warmup_num_steps=2, cos_min_ratio=0.0, warmup_type="linear").values(8).round(3)
    array([0.   , 0.   , 0.5  , 0.854, 0.5  , 0.146, 0.   , 0.   ])
    """
    total, length = total_num_steps, max(2, warmup_num_steps)
    first, low = warmup_min_ratio, cos_min_ratio
    steps = max(1, total - length)

    decay = Ramp(lr, low * lr, steps, "cosine").shift(-1)
    decay = decay.clip(low=0.0) if low < 0 else decay
    return Constant(0.0, 1) >> (_rise(first * lr, lr, length, warmup_type) >> decay)


@SYSTEM.declare
def LRRangeTest(
    lr_range_test_min_lr: float = 1e-3,
    lr_range_test_step_size: Steps = 2000,
    lr_range_test_step_rate: float = 1.0,
    lr_range_test_staircase: bool = False,
) -> Schedule:
    """Learning rate of a range test, which grows without end: min·(1 + step_rate·t/size) in update t.

    With a staircase the rate is min·(1 + step_rate·⌊t/size⌋).

    Args:
        lr_range_test_min_lr: min, the first rate.
        lr_range_test_step_size: size, updates in which the rate grows by step_rate·min.
        lr_range_test_step_rate: step_rate, the growth relative to min.
        lr_range_test_staircase: whether the rate grows in steps or continuously.

    >>> LRRangeTest(0.1, 2, 1.0).values(5)
    array([0.1 , 0.15, 0.2 , 0.25, 0.3 ])
    """
    low, rate = lr_range_test_min_lr, lr_range_test_step_rate
    size = lr_range_test_step_size

    # base·(1 + x)^1 with x = rate·t/size: a line without end.
    line: Schedule = Power(low, -1.0, 1.0, size / rate) if rate > 0 else Constant(low)
    if rate < 0:
        line = Constant(2 * low) + Power(-low, -1.0, 1.0, size / -rate)
    return line.staircase(size) if lr_range_test_staircase else line


@SYSTEM.declare
def OneCycle(
    cycle_min_lr: float,
    cycle_max_lr: float,
    decay_lr_rate: float = 0.0,
    cycle_first_step_size: float = 2000,
    cycle_second_step_size: float | None = None,
    cycle_first_stair_count: Count = 0,
    cycle_second_stair_count: Count | None = None,
    decay_step_size: float = 0,
) -> Schedule | Made:
    """A single cycle of the learning rate: from min to max in A updates and back in B updates, then a decay.

    The decay is min/(1 + decay_lr_rate·n/decay_step_size), n updates after the cycle. DeepSpeed also cycles the momentum,
    opposite to the rate; the momentum's schedule is not included here.

    Args:
        cycle_min_lr: min, the first rate.
        cycle_max_lr: max, the peak, at update A.
        decay_lr_rate: strength of the decay; 0 for no decay.
        cycle_first_step_size: A.
        cycle_second_step_size: B; A by default.
        cycle_first_stair_count: number of stairs on the way up; 0 for a line.
        cycle_second_stair_count: number of stairs on the way down; `cycle_first_stair_count` by default.
        decay_step_size: updates per step of the decay; 0 for no decay.

    Raises:
        DialectError: if DeepSpeed refuses the sizes, or would divide by 0.

    Source: Smith, arXiv 1803.09820.

    >>> OneCycle(0.0, 1.0, cycle_first_step_size=2).values(6)
    array([0. , 0.5, 1. , 0.5, 0. , 0. ])
    """
    low, peak = cycle_min_lr, cycle_max_lr
    rate, size = decay_lr_rate, decay_step_size
    up = float(cycle_first_step_size)
    down = up if cycle_second_step_size is None else float(cycle_second_step_size)
    if up <= 0:
        raise DialectError(
            f"cycle_first_step_size must be above 0, got {cycle_first_step_size!r}; DeepSpeed refuses it"
        )
    if down < 0:
        raise DialectError(
            f"cycle_second_step_size must not be below 0, got {cycle_second_step_size!r}; DeepSpeed refuses it"
        )
    first = cycle_first_stair_count
    second = first if cycle_second_stair_count is None else cycle_second_stair_count
    total = up + down
    decays = not math.isclose(size, 0) and not math.isclose(rate, 0)

    def scale(t: int) -> float:
        x = 1.0 + t / total - math.floor(1 + t / total)
        ratio = up / total
        found, stairs = (x / ratio, first) if x <= ratio else ((x - 1) / (ratio - 1), second)
        if stairs > 0:
            within = t % total
            place = within * stairs / up if within <= up else (total - within) * stairs / down
            found = math.floor(place) / stairs
        return found

    def at(t: int) -> float:
        i = t - 1
        if t == 0:
            return low
        if i < total:
            return low + (peak - low) * scale(t)
        divisor = 1 + rate * ((i - total + 1) / size) if decays else 1.0
        if divisor == 0:
            raise DialectError(
                f"decay_lr_rate must not be {rate!r} with these sizes: DeepSpeed divides by 0 after update {i}"
            )
        return low / divisor

    if first or second:
        return by_steps("a cycle with stairs has no closed form", at)
    # The update at or after `total` still belongs to the cycle, which begins anew there: at its first value if `total` is whole.
    cycle = Ramp(low, peak, up) >> (Ramp(peak, low, down) if down else Constant(low))
    whole_cycle = cycle.take(total) if down else Ramp(low, peak, up).take(total)
    begins_whole = total == int(total)
    if not begins_whole:
        whole_cycle = whole_cycle.repeat().take(total + 1)
    if not decays:
        return whole_cycle >> low
    if rate / size <= 0:
        return by_steps("a decay that grows has no closed form", at)
    decay = Power(low, 1.0, 1.0, size / rate)
    return whole_cycle >> (decay if begins_whole else decay.shift(-1))


def _rise(low: float, peak: float, length: int, kind: str) -> Schedule:
    """Warmup in DeepSpeed's own count; its last value holds for another count."""
    if kind == "linear":
        return Ramp(low, peak, length)
    return Ramp(low, peak, length - 1, f"log({length})").take(length)
