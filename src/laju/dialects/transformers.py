"""Hugging Face Transformers: `get_scheduler` and the functions behind its names, stepped once after every update.

The most surprising behaviour:

- Update 0 of every warmup trains at rate 0, and the peak is reached in the update after the warmup.
- `get_cosine_schedule_with_warmup` climbs again after `num_training_steps`; the linear schedule stays at 0.
- `cosine_warmup_with_min_lr` counts from 1 instead: its first update is not at 0, and its cosine is an update ahead.
- `inverse_sqrt` without warmup has a timescale of 10,000 updates; with a warmup, the warmup's length.
- `warmup_stable_decay` begins at `min_lr_ratio` of the rate, not at 0, and at last jumps there when `num_cycles` ends elsewhere.
- All are factors of each parameter group's own rate, so an absolute `min_lr` is right for the optimizer's default rate alone.

The real functions take an optimizer; these take its rate, `lr`. Of `last_epoch` only -1 is taken: a schedule begins at 0.
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
    """The optimizer's rate, always.

    Args:
        lr: the optimizer's rate.

    >>> get_constant_schedule(0.1)(5)
    0.1
    """
    return Constant(lr)


@SYSTEM.declare
def get_constant_schedule_with_warmup(lr: Rate, num_warmup_steps: int) -> Schedule:
    """lr·t/W for t < W, then lr.

    Args:
        lr: the optimizer's rate.
        num_warmup_steps: W; 0 for none.

    >>> get_constant_schedule_with_warmup(1.0, 4).values(6)
    array([0.  , 0.25, 0.5 , 0.75, 1.  , 1.  ])
    """
    return _after(_warmup(lr, num_warmup_steps)[0], Constant(lr))


@SYSTEM.declare
def get_linear_schedule_with_warmup(lr: Rate, num_warmup_steps: int, num_training_steps: int) -> Schedule:
    """lr·t/W for t < W, then lr·(N - t)/(N - W) down to 0, which then holds.

    Args:
        lr: the optimizer's rate.
        num_warmup_steps: W; 0 for none.
        num_training_steps: N. An N that is not above W leaves 0 after the warmup.

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
    """lr·t/W for t < W, then lr·(1 + cos(2π·num_cycles·(t - W)/(N - W)))/2, which goes on as a wave after N.

    With the default half a cycle the rate is 0 at N and climbs again afterwards. With N not above W the wave has the period
    1/num_cycles.

    Args:
        lr: the optimizer's rate.
        num_warmup_steps: W; 0 for none.
        num_training_steps: N.
        num_cycles: whole waves from W to N.

    >>> get_cosine_schedule_with_warmup(1.0, 1, 5).values(8).round(3)
    array([0.   , 1.   , 0.854, 0.5  , 0.146, 0.   , 0.146, 0.5  ])
    """
    return _cosine(lr, num_warmup_steps, num_training_steps, num_cycles, 0.0)


@SYSTEM.declare
def get_cosine_with_hard_restarts_schedule_with_warmup(
    lr: Rate, num_warmup_steps: int, num_training_steps: int, num_cycles: From0 = 1
) -> Schedule:
    """lr·t/W for t < W, then num_cycles cosines from lr to 0, each of (N - W)/num_cycles updates; 0 from N on.

    With N not above W, update W alone has lr.

    Args:
        lr: the optimizer's rate.
        num_warmup_steps: W; 0 for none.
        num_training_steps: N.
        num_cycles: how many; a part of a cycle is cut off at N.

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
    """lr·t/W for t < W, then (lr - lr_end)·(1 - (t - W)/(N - W))^power + lr_end; lr_end after N.

    Args:
        lr: the optimizer's rate, its default rate where groups have rates of their own.
        num_warmup_steps: W; 0 for none.
        num_training_steps: N.
        lr_end: the last rate.
        power: of the decay.

    Raises:
        DialectError: an lr_end that is not below lr, which Transformers refuses; N = W or a negative power, with which
            Transformers divides by zero on the way.

    >>> get_polynomial_decay_schedule_with_warmup(1.0, 0, 4, lr_end=0.0, power=2).values(6)
    array([1.    , 0.5625, 0.25  , 0.0625, 0.    , 0.    ])
    """
    warm, length = _warmup(lr, num_warmup_steps)
    total = num_training_steps
    end = lr_end
    if not lr > end:
        raise DialectError(
            f"lr_end must be smaller than the optimizer's rate {lr!r}, got {end!r}; Transformers refuses it"
        )
    if total == length:
        raise DialectError(
            f"num_training_steps must not be num_warmup_steps, {length}: Transformers divides by zero then"
        )
    decay: Schedule = Constant(end)
    if total > length:
        decay = Ramp(lr, end, total - length, f"power({power!r})") if power else Constant(lr, total - length + 1) >> end

    return _after(warm, _begun(decay, length))


@SYSTEM.declare
def get_inverse_sqrt_schedule(lr: Rate, num_warmup_steps: int, timescale: float | None = None) -> Schedule:
    """lr·t/W for t < W, then lr/√((t - W + τ)/τ), without end.

    Args:
        lr: the optimizer's rate.
        num_warmup_steps: W; 0 for none.
        timescale: τ; W by default, or 10,000 without a warmup.

    Raises:
        DialectError: a timescale that is not above 0, with which the root does not exist.

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
    """As `get_cosine_schedule_with_warmup`, between lr and min_lr, climbing again after N, too. The warmup begins at 0.

    Args:
        lr: the optimizer's rate, its default rate where groups have rates of their own.
        num_warmup_steps: W; 0 for none.
        num_training_steps: N.
        num_cycles: whole waves from W to N.
        min_lr: the lowest rate; or
        min_lr_rate: min_lr as a share of the rate.

    Raises:
        DialectError: both or neither of min_lr and min_lr_rate, which Transformers refuses, too.

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
    """A warmup lr·(t + 1)/W that trains its first update, then a cosine from lr to min_lr that is an update ahead.

    With warmup_lr_rate r the warmup goes from r·lr to lr in W - 1 updates. Update W has the cosine's second value already.

    Args:
        lr: the optimizer's rate, its default rate where groups have rates of their own.
        num_warmup_steps: W; 0 for none.
        num_training_steps: N.
        num_cycles: whole waves from W - 1 to N - 1.
        min_lr: the lowest rate; or
        min_lr_rate: min_lr as a share of the rate.
        warmup_lr_rate: the first rate as a share of the rate; 1/W by default.

    Raises:
        DialectError: both or neither of min_lr and min_lr_rate, which Transformers refuses, too.

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
    """From min_lr_ratio·lr up to lr in W updates, lr for S, down to min_lr_ratio·lr in D, which then holds.

    Args:
        lr: the optimizer's rate.
        num_warmup_steps: W; 0 for none.
        num_decay_steps: D.
        num_training_steps: W + S + D; or
        num_stable_steps: S, which wins when both are given.
        warmup_type: "linear", "cosine" or "1-sqrt".
        decay_type: "linear", "cosine" or "1-sqrt".
        min_lr_ratio: the share of the rate to begin and end at.
        num_cycles: waves of a cosine decay; any number but odd halves ends with a jump.

    Raises:
        DialectError: neither length, or another type, which Transformers refuses, too.

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
        raise DialectError("give num_training_steps or num_stable_steps; Transformers refuses neither")
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
    """The scheduler of a name, as in `lr_scheduler_type` of `TrainingArguments`.

    Args:
        lr: the optimizer's rate.
        name: such as "cosine"; any of `NAMES`.
        num_warmup_steps, num_training_steps: for schedulers that need lengths.
        scheduler_specific_kwargs: more arguments, `lr_scheduler_kwargs` of `TrainingArguments`.

    Raises:
        NotASchedule: "reduce_lr_on_plateau" and "greedy" follow a metric.
        DialectError: an unknown name, a length that the name needs, or an argument that the scheduler does not take.

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
        raise DialectError(f"{name!r} needs num_warmup_steps; Transformers refuses it without")
    lengths: dict[str, Any] = {"num_warmup_steps": num_warmup_steps}
    if name not in ("constant_with_warmup", "inverse_sqrt"):
        if num_training_steps is None and name != "warmup_stable_decay":
            raise DialectError(f"{name!r} needs num_training_steps; Transformers refuses it without")
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
    """A decay that has begun before update 0, where the warmup is negative."""
    return decay.shift(length) if length < 0 and decay.level is None else decay


def _share(lr: float, low: float | None, share: float | None) -> float:
    if (low is None) == (share is None):
        raise DialectError("give one of min_lr and min_lr_rate; Transformers refuses both and neither")
    return number("min_lr", low) / lr if low is not None else number("min_lr_rate", share)


def _wave(lr: float, low: float, steps: int, cycles: float) -> Schedule:
    """The wave from lr to low·lr and back, `cycles` times in `steps` updates, without end."""
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
    """Transformers does not let the factor fall below 0 on the way, but does at the end."""
    return schedule.clip(low=0.0).take(until) >> end if until else Constant(end)
