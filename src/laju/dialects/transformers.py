"""Hugging Face Transformers: `get_scheduler` and the functions behind its names, stepped once after every update.

The most surprising behaviour:

- Update 0 of every warmup trains at a learning rate of 0, and the update after the warmup is the first at the peak.
- `get_cosine_schedule_with_warmup` climbs again after `num_training_steps`; the linear schedule stays at 0.
- `cosine_warmup_with_min_lr` counts from 1 instead: its first update is not at 0, and its cosine is an update ahead.
- `inverse_sqrt` has a timescale of 10,000 updates without a warmup, and of the warmup's length with a warmup.
- `warmup_stable_decay` begins at `min_lr_ratio` times the rate, not at 0, and jumps to that value at the end if `num_cycles`
  leads to a different value.
- All schedules are factors of each parameter group's own rate, so an absolute `min_lr` is correct for the optimizer's default
  rate only.

Transformers' functions take an optimizer; the functions here take its learning rate, `lr`. `last_epoch` must be -1, because a
schedule begins at 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from laju.core.checks import nearest, number, shown
from laju.core.pieces import Constant, Power, Ramp
from laju.core.schedule import Schedule
from laju.dialects.base import DialectError, System
from laju.dialects.declared import From0, Rate, real

NAMES = {
    "linear": "get_linear_schedule_with_warmup",
    "cosine": "get_cosine_schedule_with_warmup",
    "cosine_with_restarts": "get_cosine_with_hard_restarts_schedule_with_warmup",
    "polynomial": "get_polynomial_decay_schedule_with_warmup",
    "constant": "get_constant_schedule",
    "constant_with_warmup": "get_constant_schedule_with_warmup",
    "inverse_sqrt": "get_inverse_sqrt_schedule",
    "cosine_with_min_lr": "get_cosine_with_min_lr_schedule_with_warmup",
    "cosine_warmup_with_min_lr": "get_cosine_with_min_lr_schedule_with_warmup_lr_rate",
    "warmup_stable_decay": "get_wsd_schedule",
}
"""The functions behind the names of `get_scheduler`, in its order."""
_METRIC = {"reduce_lr_on_plateau": "get_reduce_on_plateau_schedule", "greedy": "get_greedy_schedule"}

SYSTEM = System(
    name="transformers",
    title="Transformers",
    package="transformers",
    releases=("5.23.0",),
    also={"last_epoch": -1},
    counts="calls of step(), one after each update",
    refused={
        "get_reduce_on_plateau_schedule": "it follows a metric; laju.adaptive.Plateau does the same as a factor",
        "get_greedy_schedule": "it follows a metric; laju.adaptive.Greedy does the same as a factor",
    },
    aliases={
        **NAMES,
        **_METRIC,
        "wsd": "get_wsd_schedule",
    },
)


@SYSTEM.declare
def get_constant_schedule(lr: Rate) -> Schedule:
    """Constant schedule at the optimizer's learning rate.

    Args:
        lr: the optimizer's learning rate.

    >>> get_constant_schedule(0.1)(5)
    0.1
    """
    return Constant(lr)


@SYSTEM.declare
def get_constant_schedule_with_warmup(lr: Rate, num_warmup_steps: int) -> Schedule:
    """Linear warmup of the learning rate, lr·t/W in update t < W, then constant at lr.

    Args:
        lr: the optimizer's learning rate.
        num_warmup_steps: W; 0 for no warmup.

    >>> get_constant_schedule_with_warmup(1.0, 4).values(6)
    array([0.  , 0.25, 0.5 , 0.75, 1.  , 1.  ])
    """
    return _after(_warmup(lr, num_warmup_steps)[0], Constant(lr))


@SYSTEM.declare
def get_linear_schedule_with_warmup(lr: Rate, num_warmup_steps: int, num_training_steps: int) -> Schedule:
    """Linear warmup, lr·t/W in update t < W, then linear decay to 0, lr·(N - t)/(N - W); 0 from update N on.

    Args:
        lr: the optimizer's learning rate.
        num_warmup_steps: W; 0 for no warmup.
        num_training_steps: N, updates of the run. If N is not above W, the rate is 0 after the warmup.

    >>> get_linear_schedule_with_warmup(1.0, 2, 6).values(8)
    array([0.  , 0.5 , 1.  , 0.75, 0.5 , 0.25, 0.  , 0.  ])
    """
    warm, length = _warmup(lr, num_warmup_steps)
    total = num_training_steps
    decay: Schedule = Ramp(lr, 0.0, total - length) if total > length else Constant(0.0)

    return _after(warm, _begun(decay, length))


@SYSTEM.declare
def get_cosine_schedule_with_warmup(
    lr: Rate, num_warmup_steps: int, num_training_steps: int, num_cycles: float = 0.5
) -> Schedule:
    """Linear warmup, lr·t/W in update t < W, then a cosine, lr·(1 + cos(2π·num_cycles·(t - W)/(N - W)))/2, also after update N.

    With the default of half a wave the learning rate is 0 at N and climbs again afterwards. If N is not above W, the period of
    the wave is 1/num_cycles updates.

    Args:
        lr: the optimizer's learning rate.
        num_warmup_steps: W; 0 for no warmup.
        num_training_steps: N, updates of the run.
        num_cycles: number of cosine waves from W to N; 0.5 is a decay to 0.

    >>> get_cosine_schedule_with_warmup(1.0, 1, 5).values(8).round(3)
    array([0.   , 1.   , 0.854, 0.5  , 0.146, 0.   , 0.146, 0.5  ])
    """
    return _cosine(lr, num_warmup_steps, num_training_steps, num_cycles, 0.0)


@SYSTEM.declare
def get_cosine_with_hard_restarts_schedule_with_warmup(
    lr: Rate, num_warmup_steps: int, num_training_steps: int, num_cycles: From0 = 1
) -> Schedule:
    """Linear warmup, lr·t/W in update t < W, then `num_cycles` cosine decays from lr to 0, with restarts; 0 from update N on.

    Each decay lasts (N - W)/num_cycles updates. If N is not above W, only update W has the rate lr.

    Args:
        lr: the optimizer's learning rate.
        num_warmup_steps: W; 0 for no warmup.
        num_training_steps: N, updates of the run.
        num_cycles: number of decays; the last decay of a fractional number ends early, at N.

    >>> get_cosine_with_hard_restarts_schedule_with_warmup(1.0, 0, 8, 2).values(10).round(3)
    array([1.   , 0.854, 0.5  , 0.146, 1.   , 0.854, 0.5  , 0.146, 0.   , 0.   ])
    """
    warm, length = _warmup(lr, num_warmup_steps)
    total = num_training_steps
    cycles = num_cycles
    steps = max(1, total - length)
    wave: Schedule = Ramp(lr, 0.0, steps / cycles, "cosine").repeat() if cycles else Constant(lr)
    decay = wave.take(steps) >> 0.0
    decay = _begun(decay, length)

    return _after(warm, decay)


@SYSTEM.declare
def get_polynomial_decay_schedule_with_warmup(
    lr: Rate,
    num_warmup_steps: int,
    num_training_steps: int,
    lr_end: float = 1e-7,
    power: Annotated[float, real("Transformers divides by zero at the last step", least=0)] = 1.0,
) -> Schedule:
    """Linear warmup, lr·t/W in update t < W, then polynomial decay, (lr - lr_end)·(1 - (t - W)/(N - W))^power + lr_end.

    The learning rate is lr_end after update N.

    Args:
        lr: the optimizer's learning rate; the default rate if parameter groups have their own.
        num_warmup_steps: W; 0 for no warmup.
        num_training_steps: N, updates of the run.
        lr_end: the last learning rate, below lr.
        power: exponent of the decay, at least 0.

    Raises:
        DialectError: if lr_end is not below lr, which Transformers refuses; if N = W or the power is negative, with which
            Transformers divides by zero.

    >>> get_polynomial_decay_schedule_with_warmup(1.0, 0, 4, lr_end=0.0, power=2).values(6)
    array([1.    , 0.5625, 0.25  , 0.0625, 0.    , 0.    ])
    """
    warm, length = _warmup(lr, num_warmup_steps)
    total = num_training_steps
    end = lr_end
    if not lr > end:
        raise DialectError(
            f"lr_end must be smaller than the optimizer's rate {lr!r}, as Transformers requires, got {end!r}"
        )
    if total == length:
        raise DialectError(
            f"num_training_steps must differ from num_warmup_steps, {length}: Transformers would divide by zero"
        )
    decay: Schedule = Constant(end)
    # With power 0 the rate still is lr at N itself, as 0⁰ = 1: Transformers holds lr_end only after N.
    if total > length:
        decay = Ramp(lr, end, total - length, f"power({power!r})") if power else Constant(lr, total - length + 1) >> end

    return _after(warm, _begun(decay, length))


@SYSTEM.declare
def get_inverse_sqrt_schedule(lr: Rate, num_warmup_steps: int, timescale: float | None = None) -> Schedule:
    """Linear warmup, lr·t/W in update t < W, then inverse-square-root decay without end, lr/√((t - W + τ)/τ).

    Args:
        lr: the optimizer's learning rate.
        num_warmup_steps: W; 0 for no warmup.
        timescale: τ in updates; W by default, or 10,000 without a warmup.

    Raises:
        DialectError: if the timescale is not above 0.

    >>> get_inverse_sqrt_schedule(1.0, 4).values(17)[[0, 2, 4, 16]]
    array([0. , 0.5, 1. , 0.5])
    """
    warm, length = _warmup(lr, num_warmup_steps)
    scale = (length or 10_000) if timescale is None else timescale
    if scale <= 0:
        raise DialectError(f"timescale must be above 0, got {shown(timescale)}")

    return _after(warm, _begun(Power(lr, 0.5, 1.0, scale), length))


@SYSTEM.declare
def get_cosine_with_min_lr_schedule_with_warmup(
    lr: Rate,
    num_warmup_steps: int,
    num_training_steps: int,
    num_cycles: float = 0.5,
    min_lr: float | None = None,
    min_lr_rate: float | None = None,
) -> Schedule:
    """Linear warmup from 0 to lr in W updates, then a cosine wave between lr and min_lr, which continues after update N.

    Args:
        lr: the optimizer's learning rate; the default rate if parameter groups have their own.
        num_warmup_steps: W; 0 for no warmup.
        num_training_steps: N, updates of the run.
        num_cycles: number of cosine waves from W to N; 0.5 is a decay to min_lr.
        min_lr: the minimum.
        min_lr_rate: the minimum relative to lr, instead of min_lr.

    Raises:
        DialectError: if both or neither of min_lr and min_lr_rate are given, which Transformers also refuses.

    >>> get_cosine_with_min_lr_schedule_with_warmup(1.0, 0, 4, min_lr=0.1).values(6).round(3)
    array([1.   , 0.868, 0.55 , 0.232, 0.1  , 0.232])
    """
    return _cosine(lr, num_warmup_steps, num_training_steps, num_cycles, _share(lr, min_lr, min_lr_rate))


@SYSTEM.declare
def get_cosine_with_min_lr_schedule_with_warmup_lr_rate(
    lr: Rate,
    num_warmup_steps: int,
    num_training_steps: int,
    num_cycles: float = 0.5,
    min_lr: float | None = None,
    min_lr_rate: float | None = None,
    warmup_lr_rate: float | None = None,
) -> Schedule:
    """Linear warmup that does not begin at 0, lr·(t + 1)/W in update t < W, then a cosine wave between lr and min_lr.

    With warmup_lr_rate = r the warmup rises from r·lr to lr in W - 1 updates. The wave is an update ahead: update W has its
    second value.

    Args:
        lr: the optimizer's learning rate; the default rate if parameter groups have their own.
        num_warmup_steps: W; 0 for no warmup.
        num_training_steps: N, updates of the run.
        num_cycles: number of cosine waves from W - 1 to N - 1; 0.5 is a decay to min_lr.
        min_lr: the minimum.
        min_lr_rate: the minimum relative to lr, instead of min_lr.
        warmup_lr_rate: the first learning rate relative to lr; 1/W by default.

    Raises:
        DialectError: if both or neither of min_lr and min_lr_rate are given, which Transformers also refuses.

    >>> get_cosine_with_min_lr_schedule_with_warmup_lr_rate(1.0, 2, 6, min_lr=0.0).values(7).round(3)
    array([0.5  , 1.   , 0.854, 0.5  , 0.146, 0.   , 0.146])
    """
    length, total = num_warmup_steps, num_training_steps
    low, cycles = _share(lr, min_lr, min_lr_rate), num_cycles
    first = warmup_lr_rate
    warm: Schedule | None = None
    if length > 0 and first is None:
        warm = Ramp(0.0, lr, length).shift(-1).take(length)
    elif length > 0 and first is not None:
        warm = Ramp(first * lr, lr, length - 1).take(length) if length > 1 else Constant(first * lr, 1)
    wave = _wave(lr, low, max(1, total - length), cycles)
    decay = wave.shift(-1) if wave.level is None else wave

    return _not_negative(_after(warm, decay), low)


@SYSTEM.declare
def get_wsd_schedule(
    lr: Rate,
    num_warmup_steps: int,
    num_decay_steps: int,
    num_training_steps: int | None = None,
    num_stable_steps: int | None = None,
    warmup_type: Literal["linear", "cosine", "1-sqrt"] = "linear",
    decay_type: Literal["linear", "cosine", "1-sqrt"] = "cosine",
    min_lr_ratio: float = 0,
    num_cycles: float = 0.5,
) -> Schedule:
    """Warmup-stable-decay schedule: min_lr_ratio·lr to lr in W updates, lr for S updates, back to min_lr_ratio·lr in D updates.

    Args:
        lr: the optimizer's learning rate.
        num_warmup_steps: W; 0 for no warmup.
        num_decay_steps: D.
        num_training_steps: W + S + D, instead of num_stable_steps.
        num_stable_steps: S, which takes precedence if both are given.
        warmup_type: "linear", "cosine" or "1-sqrt".
        decay_type: "linear", "cosine" or "1-sqrt".
        min_lr_ratio: first and last learning rate, relative to lr.
        num_cycles: number of cosine waves of a cosine decay; unless an odd multiple of 0.5, the decay ends with a jump.

    Raises:
        DialectError: if neither num_training_steps nor num_stable_steps is given, or a type is unknown; Transformers also refuses
            both.

    Source: Hu et al., "MiniCPM", arXiv 2404.06395.

    >>> get_wsd_schedule(1.0, 2, 2, num_training_steps=6, decay_type="linear").values(7)
    array([0. , 0.5, 1. , 1. , 1. , 0.5, 0. ])
    """
    length, decay = num_warmup_steps, num_decay_steps
    if num_stable_steps is not None:
        stable = num_stable_steps
    elif num_training_steps is not None:
        stable = num_training_steps - length - decay
    else:
        raise DialectError("give num_training_steps or num_stable_steps, as Transformers requires")
    low, cycles = min_lr_ratio, num_cycles
    # Parts end at the sums of the lengths so far, also where a length is negative.
    ends = max(length, 0), max(length + stable, length, 0), max(length + stable + decay, length + stable, length, 0)
    parts: list[Schedule] = []
    if length > 0:
        up = {"linear": "linear", "cosine": "cosine", "1-sqrt": "power(0.5)"}[warmup_type]
        parts.append(Ramp(low * lr, lr, length, up))
    if ends[1] > ends[0]:
        parts.append(Constant(lr, ends[1] - ends[0]))
    if ends[2] > ends[1]:
        down: Schedule
        if decay_type == "cosine":
            down = _wave(lr, low, decay, cycles)
        else:
            down = Ramp(lr, low * lr, decay, {"linear": "linear", "1-sqrt": "sqrt"}[decay_type])
        # With a negative S the decay has been running under the warmup, which hides its first -S updates.
        begun = ends[1] - (length + stable)
        parts.append((down.shift(-begun) if begun else down).take(ends[2] - ends[1]))
    schedule: Schedule = Constant(low * lr)
    for part in reversed(parts):
        schedule = part >> schedule

    return schedule if low >= 0 else _negative_end(schedule, ends[2], low * lr)


@SYSTEM.declare
def get_scheduler(
    lr: Rate,
    name: str,
    num_warmup_steps: int | None = None,
    num_training_steps: int | None = None,
    scheduler_specific_kwargs: Mapping[str, Any] | None = None,
) -> Schedule:
    """Return the schedule of a scheduler by the name that `lr_scheduler_type` of `TrainingArguments` has.

    Args:
        lr: the optimizer's learning rate.
        name: such as "cosine"; a key of `NAMES`.
        num_warmup_steps, num_training_steps: updates of the warmup and of the run, if the scheduler needs the lengths.
        scheduler_specific_kwargs: further arguments, `lr_scheduler_kwargs` of `TrainingArguments`.

    Raises:
        NotASchedule: if the name is "reduce_lr_on_plateau" or "greedy", which depend on a metric.
        DialectError: if the name is unknown, a required length is missing, or the scheduler does not take an argument.

    >>> get_scheduler(1.0, "linear", 2, 6)(3)
    0.75
    """
    known = [*NAMES, *_METRIC]
    if name not in known:
        raise DialectError(f"name must be one of {', '.join(known)}, got {shown(name)}{nearest(str(name), known)}")
    if name in _METRIC:
        SYSTEM.scheduler(_METRIC[name])
    function = SYSTEM.schedulers[NAMES[name]]
    if name == "constant":
        return function(lr)
    if num_warmup_steps is None:
        raise DialectError(f"{name!r} needs num_warmup_steps, as Transformers requires")
    lengths: dict[str, Any] = {"num_warmup_steps": num_warmup_steps}
    if name not in ("constant_with_warmup", "inverse_sqrt"):
        if num_training_steps is None and name != "warmup_stable_decay":
            raise DialectError(f"{name!r} needs num_training_steps, as Transformers requires")
        lengths["num_training_steps"] = num_training_steps
    more = {} if name == "constant_with_warmup" else dict(scheduler_specific_kwargs or {})
    try:
        return function(lr, **lengths, **more)
    except TypeError as error:
        raise DialectError(f"scheduler_specific_kwargs do not suit {name!r}: {error}") from None


def _warmup(lr: float, steps: Any) -> tuple[Schedule | None, int]:
    length = steps
    return (Ramp(0.0, lr, length) if length > 0 else None), length


def _after(warm: Schedule | None, decay: Schedule) -> Schedule:
    return decay if warm is None else warm >> decay


def _begun(decay: Schedule, length: int) -> Schedule:
    """A decay that began before update 0, because the warmup is negative."""
    return decay.shift(length) if length < 0 and decay.level is None else decay


def _share(lr: float, low: float | None, share: float | None) -> float:
    if (low is None) == (share is None):
        raise DialectError("give either min_lr or min_lr_rate, as Transformers requires")
    return number("min_lr", low) / lr if low is not None else number("min_lr_rate", share)


def _wave(lr: float, low: float, steps: int, cycles: float) -> Schedule:
    """Wave from lr to low·lr and back, `cycles` times in `steps` updates, without end."""
    if cycles == 0:
        return Constant(lr)
    half = steps / (2 * abs(cycles))
    return (Ramp(lr, low * lr, half, "cosine") >> Ramp(low * lr, lr, half, "cosine")).repeat()


def _cosine(lr: float, warmup: Any, steps: Any, num_cycles: Any, low: float) -> Schedule:
    warm, length = _warmup(lr, warmup)
    total, cycles = steps, number("num_cycles", num_cycles)
    # Transformers counts from a negative warmup, too.
    wave = _wave(lr, low, max(1, total - length), cycles)
    if length < 0 and wave.level is None:
        wave = wave.shift(length)

    return _not_negative(_after(warm, wave), low)


def _not_negative(schedule: Schedule, low: float) -> Schedule:
    return schedule.clip(low=0.0) if low < 0 else schedule


def _negative_end(schedule: Schedule, until: int, end: float) -> Schedule:
    """Clip a decay at 0 before its end, as Transformers does, which does not clip the end value."""
    return schedule.clip(low=0.0).take(until) >> end if until else Constant(end)
