"""MosaicML Composer: the stateless schedulers of `composer.optim`, as stepped by Composer's Trainer.

The most surprising behaviour:

- The Trainer steps a scheduler before counting the batch: batch t (from 0) trains with α(max(t - 1, 0)). With a warmup from 0,
  two batches train at a learning rate of 0, and the last batch of a run is two batches short of the end value.
- Stepped by epoch (`step_schedulers_every_batch=False`) the rate is not late: epoch e trains with α at its own first batch.
- `scale_warmup` stretches the warmup's line by `scale_schedule_ratio`, but batches from the unscaled `t_warmup` on follow the
  decay: with a ratio of 2 the line ends at half of its height, and the rate jumps.
- A warmup in "dur" is a fraction of the scaled run, so such a warmup is scaled with or without `scale_warmup`.
- With a ratio below 1, schedulers with a warmup refuse a `t_max` of as many epochs as the run, since the Trainer constructs the
  schedulers before shortening the run; they accept "1dur".
- The rate of the first batch is also set before the run is shortened; `trainer.fit(duration=…)` is not supported here.
- `ConstantWithWarmupScheduler` never returns to 1 after `t_max`, contrary to its documentation.
- Of several schedulers only the last has an effect; schedulers do not multiply, contrary to the documentation.

Times are written as in Composer: "10ep", "500ba", "1000sp", "2e6tok" or "0.1dur", rounded down to whole units; epochs are
converted to batches. Negative times, which Composer accepts, are refused, as are wall-clock times and iterations. Every function
takes the Trainer's facts by name (see `run_of`): `lr` and `max_duration` always, the other facts if a time needs them. All
batches are assumed to be full. An invalid time, a time of 0 by which Composer divides, and a missing fact raise `DialectError`.
Values are within 4 ulp of Composer's, relative to the largest value of the schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Annotated, Any

from laju.core.algebra import Chain
from laju.core.checks import flag, shown
from laju.core.clocks import Take
from laju.core.pieces import Constant, Exponential, Ramp
from laju.core.schedule import Schedule
from laju.dialects._composer_run import Run, Whole, run_of, stepped
from laju.dialects.base import DialectError, System, powers
from laju.dialects.declared import From0, SystemSchedule, Together, listed, real

SYSTEM = System(
    name="composer",
    title="Composer",
    package="mosaicml",
    releases=("0.32.1",),
    counts="batches that the Trainer trains on",
    refused={
        "ComposerScheduler": "it is the interface of any function of the Trainer's state; write a laju schedule instead",
    },
    aliases={
        "constant_with_warmup": "ConstantWithWarmupScheduler",
        "cosine_with_warmup": "CosineAnnealingWithWarmupScheduler",
        "linear_decay_with_warmup": "LinearWithWarmupScheduler",
    },
)  # fmt: skip
"""Composer's schedulers, with the aliases of LLM Foundry's configurations."""

Known = Annotated[Run, Together(run_of)]
Times = Annotated[Iterable[str], listed(None, "['10ep', '20ep']")]
Flag = Annotated[bool, flag]
Exponent = Annotated[float, real("with a negative power Composer divides by 0 at t_max", least=0)]


def of_the_trainer(rates: Callable[..., Schedule]) -> Callable[..., SystemSchedule]:
    """Return the public function of a scheduler, from its learning rates as a function of the batches counted by the Trainer."""

    @wraps(rates)
    def used(*, run: Run, **own: Any) -> Schedule:
        return stepped(lambda run: rates(**own, run=run), run)

    return SYSTEM.declare_shared(used)


@of_the_trainer
def StepScheduler(
    step_size: str,
    gamma: float = 0.1,
    *,
    run: Known,
) -> Schedule:
    """Learning rate that is multiplied by γ after every `step_size`: lr·γ^⌊u/step_size⌋ at the Trainer's time u.

    Args:
        step_size: time between two drops.
        gamma: γ; Composer also accepts 0 and negative factors.
        run: the Trainer's facts as keyword arguments, such as `lr` and `max_duration`; see `run_of`.

    >>> StepScheduler("2ba", 0.5, lr=0.8, max_duration="6ba").values(6)
    array([0.8, 0.8, 0.8, 0.4, 0.4, 0.2])
    """
    step = run.span("step_size", step_size)
    return run.clocked(powers(run.lr, gamma, step.value), step.unit)


@of_the_trainer
def MultiStepScheduler(
    milestones: Times,
    gamma: float = 0.1,
    *,
    run: Known,
) -> Schedule:
    """Learning rate that is multiplied by γ at every milestone: lr·γ^(number of milestones ≤ u) at the Trainer's time u.

    Args:
        milestones: times in any order and unit; a time that is listed twice counts twice.
        gamma: γ.

    >>> MultiStepScheduler(["1ba", "6sp"], 0.5, lr=0.8, max_duration="6ba", batch_size=2).values(6)
    array([0.8, 0.8, 0.4, 0.4, 0.2, 0.2])
    """
    return _steps(run, milestones, gamma, 0)


@of_the_trainer
def ConstantScheduler(
    alpha: float = 1.0,
    t_max: str = "1dur",
    *,
    run: Known,
) -> Schedule:
    """Learning rate lr·α up to `t_max`, then lr.

    Args:
        alpha: α, a factor.
        t_max: duration of the factor.

    >>> ConstantScheduler(0.5, "2ba", lr=0.8, max_duration="6ba").values(5)
    array([0.4, 0.4, 0.4, 0.8, 0.8])
    """
    end = run.time("t_max", t_max)
    return run.clocked(Constant(run.lr * alpha, end.value) >> run.lr, end.unit)


@of_the_trainer
def LinearScheduler(
    alpha_i: float = 1.0,
    alpha_f: float = 0.0,
    t_max: str = "1dur",
    *,
    run: Known,
) -> Schedule:
    """Linear change of the learning rate from lr·α_i to lr·α_f over `t_max`; lr·α_f then holds.

    Args:
        alpha_i: α_i, the factor of the first batches.
        alpha_f: α_f, the factor from `t_max` on.
        t_max: duration of the change.

    >>> LinearScheduler(lr=0.8, max_duration="4ba").values(6)
    array([0.8, 0.8, 0.6, 0.4, 0.2, 0. ])
    """
    end = run.span("t_max", t_max)
    return run.clocked(Ramp(run.lr * alpha_i, run.lr * alpha_f, end.value), end.unit)


@of_the_trainer
def ExponentialScheduler(
    gamma: Annotated[float, real("between two periods Composer's rate would be a complex number", least=0)],
    decay_period: str = "1ep",
    *,
    run: Known,
) -> Schedule:
    """Exponential decay of the learning rate: lr·γ^(u/decay_period) at the Trainer's time u.

    Args:
        gamma: γ, 0 or more.
        decay_period: time in which the rate is multiplied by γ.

    >>> ExponentialScheduler(0.25, lr=0.8, max_duration="4ep", batches_per_epoch=2).values(5)
    array([0.8, 0.8, 0.4, 0.2, 0.1])
    """
    period = run.span("decay_period", decay_period)
    if gamma == 0:
        return Constant(run.lr, 1) >> 0.0
    return run.clocked(Exponential(run.lr, gamma, period.value), period.unit)


@of_the_trainer
def CosineAnnealingScheduler(
    t_max: str = "1dur",
    alpha_f: float = 0.0,
    *,
    run: Known,
) -> Schedule:
    """Cosine decay of the learning rate from lr to lr·α_f over `t_max`; lr·α_f then holds.

    Args:
        t_max: duration of the decay, half a cosine wave.
        alpha_f: α_f, the factor from `t_max` on.

    >>> CosineAnnealingScheduler(lr=0.8, max_duration="2ba").values(4).round(3)
    array([0.8, 0.8, 0.4, 0. ])
    """
    end = run.span("t_max", t_max)
    return run.clocked(Ramp(run.lr, run.lr * alpha_f, end.value, "cosine"), end.unit)


@of_the_trainer
def CosineAnnealingWarmRestartsScheduler(
    t_0: str,
    t_mult: From0 = 1.0,
    alpha_f: float = 0.0,
    *,
    run: Known,
) -> Schedule:
    """Cosine decay of the learning rate from lr to lr·α_f with warm restarts, in cycles that grow by the factor `t_mult`.

    Composer rounds each length down to whole units, so a `t_mult` of 1.1 never lengthens a cycle of 9. If the lengths follow no
    rule for that reason, the last cycle is the cycle in which the run ends, and its end value holds.

    Args:
        t_0: length of the first cycle.
        t_mult: ratio of the lengths of successive cycles; below 1 cycles shrink.
        alpha_f: α_f, the factor at the end of a cycle, which no batch reaches.

    Raises:
        DialectError: if cycles shrink to 0 within the run, at which Composer raises.

    >>> CosineAnnealingWarmRestartsScheduler("2ba", lr=0.8, max_duration="8ba").values(6).round(3)
    array([0.8, 0.8, 0.4, 0.8, 0.4, 0.8])
    """
    first, last = run.time("t_0", t_0), run.lr * alpha_f
    if first.value == 0:
        raise DialectError(f"t_0 must be above 0, got {shown(t_0)}, which is {first}: Composer refuses cycles of 0")
    steady = int(t_mult * first.value) == first.value
    if steady or t_mult == int(t_mult) >= 1:
        cycle = Ramp(run.lr, last, first.value, "cosine")
        return run.clocked(cycle.repeat(growth=1.0 if steady else t_mult), first.unit)
    # Lengths that are cut to whole units follow no formula, so the cycles of the run are laid out.
    lengths, end = [first.value], run.batches * run.per(first.unit)
    while sum(lengths) <= end:
        lengths.append(int(t_mult * lengths[-1]))
        if lengths[-1] == 0:
            raise DialectError(
                f"the cycles of {first} times {t_mult!r} have shrunk to 0 at {Whole(sum(lengths), first.unit)}, where "
                "Composer raises; take a longer t_0 or a larger t_mult"
            )
    cycles = tuple(Ramp(run.lr, last, length, "cosine") for length in lengths)
    return run.clocked(Chain(cycles) if len(cycles) > 1 else cycles[0], first.unit)


@of_the_trainer
def PolynomialScheduler(
    power: Exponent,
    t_max: str = "1dur",
    alpha_f: float = 0.0,
    *,
    run: Known,
) -> Schedule:
    """Polynomial decay of the learning rate: lr·(α_f + (1 - α_f)·(1 - u/t_max)^power) at the Trainer's time u, then lr·α_f.

    Args:
        power: exponent, 0 or more.
        t_max: duration of the decay.
        alpha_f: α_f, the factor from `t_max` on.

    >>> PolynomialScheduler(2.0, lr=0.8, max_duration="2ba").values(4)
    array([0.8, 0.8, 0.2, 0. ])
    """
    end = run.span("t_max", t_max)
    return run.clocked(_polynomial(run.lr, alpha_f, end.value, power), end.unit)


@of_the_trainer
def MultiStepWithWarmupScheduler(
    t_warmup: str,
    milestones: Times,
    gamma: float = 0.1,
    scale_warmup: Flag = False,
    *,
    run: Known,
) -> Schedule:
    """Linear warmup from 0 to lr, then multiplication by γ at every milestone; milestones in the warmup apply at its end.

    Args:
        t_warmup: duration of the warmup; scaled only if in "dur".
        milestones: times from the beginning of the run, not from the end of the warmup.
        gamma: γ.
        scale_warmup: whether the slope of the warmup is scaled, though not its end; see the module.

    >>> MultiStepWithWarmupScheduler("2ba", ["4ba"], 0.5, lr=0.8, max_duration="8ba").values(7)
    array([0. , 0. , 0.4, 0.8, 0.8, 0.4, 0.4])
    """
    warm, end = _warmup(run, t_warmup, scale_warmup, 1.0)
    if warm is None:
        return _steps(run, milestones, gamma, 0)
    begin = run.first_batch(end)
    return Take(run.clocked(warm, end.unit), begin) >> _steps(run, milestones, gamma, begin)


@of_the_trainer
def ConstantWithWarmupScheduler(
    t_warmup: str,
    alpha: float = 1.0,
    t_max: str = "1dur",
    scale_warmup: Flag = False,
    *,
    run: Known,
) -> Schedule:
    """Linear warmup from 0 to lr·α, which then holds, also after `t_max`.

    Args:
        t_warmup: duration of the warmup; scaled only if in "dur".
        alpha: α, the final factor.
        t_max: no effect, but must not be shorter than the run.
        scale_warmup: whether the slope of the warmup is scaled, though not its end; see the module.

    Raises:
        DialectError: if `t_max` is shorter than the run, or its unit differs from the unit of `t_warmup`.

    >>> ConstantWithWarmupScheduler("2ba", lr=0.8, max_duration="8ba").values(5)
    array([0. , 0. , 0.4, 0.8, 0.8])
    """
    return _warmed(run, t_warmup, t_max, scale_warmup, alpha, lambda peak, length: Constant(peak * alpha))


@of_the_trainer
def LinearWithWarmupScheduler(
    t_warmup: str,
    alpha_i: float = 1.0,
    alpha_f: float = 0.0,
    t_max: str = "1dur",
    scale_warmup: Flag = False,
    *,
    run: Known,
) -> Schedule:
    """Linear warmup from 0 to lr·α_i, then linear decay to lr·α_f at `t_max`; lr·α_f then holds.

    If `t_max` is not after `t_warmup`, lr·α_i holds indefinitely.

    Args:
        t_warmup: duration of the warmup; scaled only if in "dur".
        alpha_i: α_i, the factor at the peak.
        alpha_f: α_f, the factor from `t_max` on.
        t_max: end of the decay, counted from the beginning of the run.
        scale_warmup: whether the slope of the warmup is scaled, though not its end; see the module.

    Raises:
        DialectError: if `t_max` is shorter than the run, or its unit differs from the unit of `t_warmup`.

    >>> LinearWithWarmupScheduler("2ba", lr=0.8, max_duration="4ba").values(6)
    array([0. , 0. , 0.4, 0.8, 0.4, 0. ])
    """

    def after(peak: float, length: int) -> Schedule:
        return Ramp(peak * alpha_i, peak * alpha_f, length)

    return _warmed(run, t_warmup, t_max, scale_warmup, alpha_i, after)


@of_the_trainer
def CosineAnnealingWithWarmupScheduler(
    t_warmup: str,
    t_max: str = "1dur",
    alpha_f: float = 0.0,
    scale_warmup: Flag = False,
    *,
    run: Known,
) -> Schedule:
    """Linear warmup from 0 to lr, then cosine decay to lr·α_f at `t_max`; lr·α_f then holds.

    If `t_max` is not after `t_warmup`, lr holds indefinitely.

    Args:
        t_warmup: duration of the warmup; scaled only if in "dur".
        t_max: end of the decay, counted from the beginning of the run.
        alpha_f: α_f, the factor from `t_max` on.
        scale_warmup: whether the slope of the warmup is scaled, though not its end; see the module.

    Raises:
        DialectError: if `t_max` is shorter than the run, or its unit differs from the unit of `t_warmup`.

    >>> CosineAnnealingWithWarmupScheduler("2ba", lr=0.8, max_duration="4ba").values(6).round(3)
    array([0. , 0. , 0.4, 0.8, 0.4, 0. ])
    """

    def after(peak: float, length: int) -> Schedule:
        return Ramp(peak, peak * alpha_f, length, "cosine")

    return _warmed(run, t_warmup, t_max, scale_warmup, 1.0, after)


@of_the_trainer
def PolynomialWithWarmupScheduler(
    t_warmup: str,
    power: Exponent = 2.0,
    t_max: str = "1dur",
    alpha_f: float = 0.0,
    scale_warmup: Flag = False,
    *,
    run: Known,
) -> Schedule:
    """Linear warmup from 0 to lr, then polynomial decay to lr·α_f at `t_max`, which then holds.

    The decay is lr·(α_f + (1 - α_f)·(1 - p)^power), where p goes from 0 at the end of the warmup to 1 at `t_max`. If `t_max` is
    not after `t_warmup`, lr holds indefinitely.

    Args:
        t_warmup: duration of the warmup; scaled only if in "dur".
        power: exponent, 0 or more.
        t_max: end of the decay, counted from the beginning of the run.
        alpha_f: α_f, the factor from `t_max` on.
        scale_warmup: whether the slope of the warmup is scaled, though not its end; see the module.

    Raises:
        DialectError: if `t_max` is shorter than the run, or its unit differs from the unit of `t_warmup`.

    >>> PolynomialWithWarmupScheduler("2ba", lr=0.8, max_duration="4ba").values(6)
    array([0. , 0. , 0.4, 0.8, 0.2, 0. ])
    """

    def after(peak: float, length: int) -> Schedule:
        return _polynomial(peak, alpha_f, length, power)

    return _warmed(run, t_warmup, t_max, scale_warmup, 1.0, after)


def _steps(run: Run, milestones: Iterable[str], gamma: float, begin: int) -> Schedule:
    """Learning rate from batch `begin` on, counted from that batch."""
    at = sorted(run.first_batch(run.time(f"milestones[{i}]", text)) for i, text in enumerate(milestones))
    parts: list[Schedule] = []
    factor, before = 1.0, begin
    for batch in at:
        if batch > before:
            parts.append(Constant(run.lr * factor, batch - before))
            before = batch
        factor *= gamma
    last = Constant(run.lr * factor)
    return Chain((*parts, last)) if parts else last


def _warmup(run: Run, t_warmup: str, scale_warmup: bool, top: float) -> tuple[Schedule | None, Whole]:
    """Return the warmup's line from 0, or None without a warmup, and the time at which the line ends."""
    end = run.time("t_warmup", t_warmup, scaled=False)
    if end.value == 0:
        return None, end
    line = run.span("t_warmup", t_warmup) if scale_warmup else end
    ramp = Ramp(0.0, run.lr * top, line.value)
    return (ramp if line == end else ramp.take(end.value)), end


def _warmed(
    run: Run, t_warmup: str, t_max: str, scale_warmup: bool, top: float, after: Callable[[float, int], Schedule]
) -> Schedule:
    """Return a warmup followed by a curve that ends at `t_max`."""
    warm, begin = _warmup(run, t_warmup, scale_warmup, top)
    end, duration = run.time("t_max", t_max), run.duration
    if begin.unit != end.unit:
        raise DialectError(
            f"t_warmup and t_max must have the same unit, as Composer requires, got {t_warmup!r}, which is {begin}, and "
            f"{t_max!r}, which is {end}"
        )
    least = run.batches if (end.unit, duration.unit) == ("ba", "ep") else duration.value
    if (end.unit == duration.unit or (end.unit, duration.unit) == ("ba", "ep")) and end.value < least:
        raise DialectError(
            f"t_max must not be shorter than the run, as Composer requires, got {t_max!r}, which is {end}, for a max_duration of "
            f"{duration}"
        )
    curve = after(run.lr, end.value - begin.value) if end.value > begin.value else Constant(run.lr * top)
    return run.clocked(curve if warm is None else warm >> curve, end.unit)


def _polynomial(peak: float, final: float, length: int, power: float) -> Schedule:
    if power == 0:
        return Constant(peak * (final + (1.0 - final)))
    return Ramp(peak, peak * final, length, "linear" if power == 1 else f"power({power!r})")
