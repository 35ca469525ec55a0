"""MosaicML Composer: the stateless schedulers of `composer.optim`, as stepped by Composer's Trainer.

The most surprising behaviour:

- The Trainer steps a scheduler before counting the batch: batch t (from 0) trains with α(max(t - 1, 0)). A warmup from 0 gives
  two batches a rate of 0, and the last batch of a run is two short of the end value.
- Stepped by epoch (`step_schedulers_every_batch=False`) the rate is not late: epoch e trains with α at its own first batch.
- `scale_warmup` stretches the warmup's line by `scale_schedule_ratio`, but batches from the unscaled `t_warmup` on follow the
  decay: with a ratio of 2 the line is cut at half of its height, and the rate jumps.
- A warmup in "dur" is a share of the scaled run, so such a warmup is scaled with or without `scale_warmup`.
- With a ratio below 1 a `t_max` of as many epochs as the run is refused by the schedulers with a warmup, since the Trainer makes
  schedulers before shortening the run. "1dur" is not.
- The rate of the first batch too is set before the run is shortened; `trainer.fit(duration=…)` is not followed here.
- `ConstantWithWarmupScheduler` never comes back to 1 after `t_max`, against its documentation.
- Of several schedulers the last alone counts; schedulers do not multiply, against the documentation.

Times are Composer's texts: "10ep", "500ba", "1000sp", "2e6tok" or "0.1dur", cut to whole units, where epochs count as so many
batches. Negative times, which Composer takes, are refused, as are wall-clock times and iterations. Every function takes the
Trainer's facts by name (`Trainer` lists the facts): `lr` and `max_duration` always, the rest where a time needs a fact. All
batches are taken to be full. Rates are within 4 ulp of the schedule's largest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Unpack

from laju.core.algebra import Chain
from laju.core.checks import number, shown
from laju.core.clocks import Take
from laju.core.pieces import Constant, Exponential, Ramp
from laju.core.schedule import Schedule
from laju.dialects._composer_run import Run, Trainer, Whole, run_of, stepped, with_the_trainer
from laju.dialects.base import DialectError, System, powers
from laju.dialects.declared import From0, real

SYSTEM = System(
    name="composer",
    title="Composer",
    package="mosaicml",
    releases=("0.32.1",),
    counts="batches that the Trainer trains on",
    refused={
        "ComposerScheduler": "it stands for any function of the Trainer's state; write laju's schedule instead",
    },
    aliases={
        "constant_with_warmup": "ConstantWithWarmupScheduler",
        "cosine_with_warmup": "CosineAnnealingWithWarmupScheduler",
        "linear_decay_with_warmup": "LinearWithWarmupScheduler",
    },
)  # fmt: skip
"""Composer's schedulers, with the names that LLM Foundry's configurations have for three of them."""


@SYSTEM.declare
@with_the_trainer
def StepScheduler(
    step_size: str,
    gamma: float = 0.1,
    **trainer: Unpack[Trainer],
) -> Schedule:
    """Multiplied by γ after every `step_size`: lr·γ^⌊u/step_size⌋, u being the time that the Trainer has counted.

    Args:
        step_size: time between two drops.
        gamma: γ; 0 and negative factors are Composer's too.
        trainer: the Trainer's facts, by name; see `Trainer`.

    Raises:
        DialectError: a step of 0, by which Composer divides, a time that Composer cannot read, or a missing fact for its
            conversion.

    >>> StepScheduler("2ba", 0.5, lr=0.8, max_duration="6ba").values(6)
    array([0.8, 0.8, 0.8, 0.4, 0.4, 0.2])
    """
    run = run_of(**trainer)

    def rates(run: Run) -> Schedule:
        step = run.span("step_size", step_size)
        return run.clocked(powers(run.lr, gamma, step.value), step.unit)

    return stepped(rates, run)


@SYSTEM.declare
@with_the_trainer
def MultiStepScheduler(
    milestones: Iterable[str],
    gamma: float = 0.1,
    **trainer: Unpack[Trainer],
) -> Schedule:
    """Multiplied by γ at every milestone: lr·γ^(number of milestones ≤ u).

    Args:
        milestones: times in any order and of any units; a time that is listed twice counts twice.
        gamma: γ.
        trainer: see `Trainer`.

    Raises:
        DialectError: a time that Composer cannot read, or a missing fact for its conversion.

    >>> MultiStepScheduler(["1ba", "6sp"], 0.5, lr=0.8, max_duration="6ba", batch_size=2).values(6)
    array([0.8, 0.8, 0.4, 0.4, 0.2, 0.2])
    """
    run = run_of(**trainer)
    times = _milestones(milestones)
    return stepped(lambda run: _steps(run, times, gamma, 0), run)


@SYSTEM.declare
@with_the_trainer
def ConstantScheduler(
    alpha: float = 1.0,
    t_max: str = "1dur",
    **trainer: Unpack[Trainer],
) -> Schedule:
    """The rate times α up to `t_max`, and the rate itself from there on.

    Args:
        alpha: α.
        t_max: how long α acts.
        trainer: see `Trainer`.

    Raises:
        DialectError: a time that Composer cannot read, or a missing fact for its conversion.

    >>> ConstantScheduler(0.5, "2ba", lr=0.8, max_duration="6ba").values(5)
    array([0.4, 0.4, 0.4, 0.8, 0.8])
    """
    run = run_of(**trainer)

    def rates(run: Run) -> Schedule:
        end = run.time("t_max", t_max)
        return run.clocked(Constant(run.lr * alpha, end.value) >> run.lr, end.unit)

    return stepped(rates, run)


@SYSTEM.declare
@with_the_trainer
def LinearScheduler(
    alpha_i: float = 1.0,
    alpha_f: float = 0.0,
    t_max: str = "1dur",
    **trainer: Unpack[Trainer],
) -> Schedule:
    """A line from lr·α_i to lr·α_f over `t_max`, which then holds.

    Args:
        alpha_i: α_i, of the first batches.
        alpha_f: α_f, from `t_max` on.
        t_max: how long the line is.
        trainer: see `Trainer`.

    Raises:
        DialectError: a `t_max` of 0, by which Composer divides, a time that Composer cannot read, or a fact that is needed.

    >>> LinearScheduler(lr=0.8, max_duration="4ba").values(6)
    array([0.8, 0.8, 0.6, 0.4, 0.2, 0. ])
    """
    run = run_of(**trainer)
    first, final = alpha_i, alpha_f

    def rates(run: Run) -> Schedule:
        end = run.span("t_max", t_max)
        return run.clocked(Ramp(run.lr * first, run.lr * final, end.value), end.unit)

    return stepped(rates, run)


@SYSTEM.declare
@with_the_trainer
def ExponentialScheduler(
    gamma: Annotated[float, real("between two periods Composer's rate would be a complex number", least=0)],
    decay_period: str = "1ep",
    **trainer: Unpack[Trainer],
) -> Schedule:
    """Multiplied by γ over every `decay_period`, smoothly: lr·γ^(u/decay_period).

    Args:
        gamma: γ, 0 or more.
        decay_period: the time in which the rate falls by γ.
        trainer: see `Trainer`.

    Raises:
        DialectError: a negative γ, whose powers between two periods are complex numbers in Composer; a period of 0, by which
            Composer divides; a time that Composer cannot read, or a fact that is needed.

    >>> ExponentialScheduler(0.25, lr=0.8, max_duration="4ep", batches_per_epoch=2).values(5)
    array([0.8, 0.8, 0.4, 0.2, 0.1])
    """
    run = run_of(**trainer)

    def rates(run: Run) -> Schedule:
        period = run.span("decay_period", decay_period)
        if gamma == 0:
            return Constant(run.lr, 1) >> 0.0
        return run.clocked(Exponential(run.lr, gamma, period.value), period.unit)

    return stepped(rates, run)


@SYSTEM.declare
@with_the_trainer
def CosineAnnealingScheduler(
    t_max: str = "1dur",
    alpha_f: float = 0.0,
    **trainer: Unpack[Trainer],
) -> Schedule:
    """Half a cosine from lr to lr·α_f over `t_max`, which then holds.

    Args:
        t_max: length of the cosine.
        alpha_f: α_f, from `t_max` on.
        trainer: see `Trainer`.

    Raises:
        DialectError: a `t_max` of 0, by which Composer divides, a time that Composer cannot read, or a fact that is needed.

    >>> CosineAnnealingScheduler(lr=0.8, max_duration="2ba").values(4).round(3)
    array([0.8, 0.8, 0.4, 0. ])
    """
    run = run_of(**trainer)
    final = alpha_f

    def rates(run: Run) -> Schedule:
        end = run.span("t_max", t_max)
        return run.clocked(Ramp(run.lr, run.lr * final, end.value, "cosine"), end.unit)

    return stepped(rates, run)


@SYSTEM.declare
@with_the_trainer
def CosineAnnealingWarmRestartsScheduler(
    t_0: str,
    t_mult: From0 = 1.0,
    alpha_f: float = 0.0,
    **trainer: Unpack[Trainer],
) -> Schedule:
    """Half cosines from lr to lr·α_f, begun again and again, each `t_mult` times as long as the cosine before.

    A length is cut to whole units each time, so that a `t_mult` of 1.1 never lengthens a cycle of 9. Where the lengths follow no
    rule for that reason, the last cycle is the cycle in which the run ends, and its end value holds.

    Args:
        t_0: length of the first cycle.
        t_mult: ratio of the lengths of successive cycles; below 1 cycles shrink.
        alpha_f: α_f, which no cycle reaches.
        trainer: see `Trainer`.

    Raises:
        DialectError: cycles that shrink to 0 within the run, at which Composer raises; a negative `t_mult`, with which Composer
            never returns; a time that Composer cannot read, or a fact that is needed.

    >>> CosineAnnealingWarmRestartsScheduler("2ba", lr=0.8, max_duration="8ba").values(6).round(3)
    array([0.8, 0.8, 0.4, 0.8, 0.4, 0.8])
    """
    run = run_of(**trainer)
    growth, final = t_mult, alpha_f

    def rates(run: Run) -> Schedule:
        first = run.time("t_0", t_0)
        if first.value == 0:
            raise DialectError(f"t_0 must be above 0, got {shown(t_0)}, which is {first}: Composer refuses cycles of 0")
        cycle = Ramp(run.lr, run.lr * final, first.value, "cosine")
        if int(growth * first.value) == first.value or growth == int(growth) >= 1:
            steady = int(growth * first.value) == first.value
            return run.clocked(cycle.repeat(growth=1.0 if steady else growth), first.unit)
        lengths, last = [first.value], run.batches * run.per(first.unit)
        while sum(lengths) <= last:
            lengths.append(int(growth * lengths[-1]))
            if lengths[-1] == 0:
                raise DialectError(
                    f"the cycles of {first} times {growth!r} have shrunk to 0 at {Whole(sum(lengths), first.unit)}, where "
                    "Composer raises; take a longer t_0 or a larger t_mult"
                )
        cycles = tuple(Ramp(run.lr, run.lr * final, length, "cosine") for length in lengths)
        return run.clocked(Chain(cycles) if len(cycles) > 1 else cycles[0], first.unit)

    return stepped(rates, run)


@SYSTEM.declare
@with_the_trainer
def PolynomialScheduler(
    power: float,
    t_max: str = "1dur",
    alpha_f: float = 0.0,
    **trainer: Unpack[Trainer],
) -> Schedule:
    """From lr to lr·α_f by a power of the time that is left: lr·(α_f + (1 - α_f)·(1 - u/t_max)^power), which then holds.

    Args:
        power: 0 or more.
        t_max: length of the decay.
        alpha_f: α_f, from `t_max` on.
        trainer: see `Trainer`.

    Raises:
        DialectError: a negative power, with which Composer divides by 0 at `t_max`; a `t_max` of 0, a time that Composer cannot
            read, or a fact that is needed.

    >>> PolynomialScheduler(2.0, lr=0.8, max_duration="2ba").values(4)
    array([0.8, 0.8, 0.2, 0. ])
    """
    run = run_of(**trainer)
    power, final = _power(power), alpha_f

    def rates(run: Run) -> Schedule:
        end = run.span("t_max", t_max)
        return run.clocked(_polynomial(run.lr, final, end.value, power), end.unit)

    return stepped(rates, run)


@SYSTEM.declare
@with_the_trainer
def MultiStepWithWarmupScheduler(
    t_warmup: str,
    milestones: Iterable[str],
    gamma: float = 0.1,
    scale_warmup: bool = False,
    **trainer: Unpack[Trainer],
) -> Schedule:
    """A line from 0 to lr over `t_warmup`, then multiplied by γ at every milestone; milestones in the warmup count at its end.

    Args:
        t_warmup: how long the warmup is; not scaled, unless in "dur".
        milestones: times from the beginning of the run, not from the end of the warmup.
        gamma: γ.
        scale_warmup: stretch the line, but not the warmup; see the module.
        trainer: see `Trainer`.

    Raises:
        DialectError: a warmup that is scaled to 0, by which Composer divides, a time that Composer cannot read, or a fact that is
            needed.

    >>> MultiStepWithWarmupScheduler("2ba", ["4ba"], 0.5, lr=0.8, max_duration="8ba").values(7)
    array([0. , 0. , 0.4, 0.8, 0.8, 0.4, 0.4])
    """
    run = run_of(**trainer)
    times = _milestones(milestones)

    def rates(run: Run) -> Schedule:
        warm, end = _warmup(run, t_warmup, scale_warmup, 1.0)
        if warm is None:
            return _steps(run, times, gamma, 0)
        begin = run.first_batch(end)
        return Take(run.clocked(warm, end.unit), begin) >> _steps(run, times, gamma, begin)

    return stepped(rates, run)


@SYSTEM.declare
@with_the_trainer
def ConstantWithWarmupScheduler(
    t_warmup: str,
    alpha: float = 1.0,
    t_max: str = "1dur",
    scale_warmup: bool = False,
    **trainer: Unpack[Trainer],
) -> Schedule:
    """A line from 0 to lr·α over `t_warmup`, which then holds, after `t_max` as well.

    Args:
        t_warmup: how long the warmup is; not scaled, unless in "dur".
        alpha: α.
        t_max: changes no value, and must not be shorter than the run.
        scale_warmup: stretch the line, but not the warmup; see the module.
        trainer: see `Trainer`.

    Raises:
        DialectError: a `t_max` shorter than the run or of another unit than `t_warmup`, a warmup that is scaled to 0, by which
            Composer divides, a time that Composer cannot read, or a fact that is needed.

    >>> ConstantWithWarmupScheduler("2ba", lr=0.8, max_duration="8ba").values(5)
    array([0. , 0. , 0.4, 0.8, 0.8])
    """
    run = run_of(**trainer)

    def after(peak: float, length: int) -> Schedule:
        return Constant(peak * alpha)

    return stepped(lambda run: _warmed(run, t_warmup, t_max, scale_warmup, alpha, after), run)


@SYSTEM.declare
@with_the_trainer
def LinearWithWarmupScheduler(
    t_warmup: str,
    alpha_i: float = 1.0,
    alpha_f: float = 0.0,
    t_max: str = "1dur",
    scale_warmup: bool = False,
    **trainer: Unpack[Trainer],
) -> Schedule:
    """A line from 0 to lr·α_i over `t_warmup`, and a second line to lr·α_f at `t_max`, which then holds.

    With a `t_max` that is not after `t_warmup`, lr·α_i holds for ever.

    Args:
        t_warmup: how long the warmup is; not scaled, unless in "dur".
        alpha_i: α_i, at the top.
        alpha_f: α_f, from `t_max` on.
        t_max: the end of the second line, from the beginning of the run.
        scale_warmup: stretch the first line, but not the warmup; see the module.
        trainer: see `Trainer`.

    Raises:
        DialectError: as `ConstantWithWarmupScheduler`.

    >>> LinearWithWarmupScheduler("2ba", lr=0.8, max_duration="4ba").values(6)
    array([0. , 0. , 0.4, 0.8, 0.4, 0. ])
    """
    run = run_of(**trainer)
    first, final = alpha_i, alpha_f

    def after(peak: float, length: int) -> Schedule:
        return Ramp(peak * first, peak * final, length)

    return stepped(lambda run: _warmed(run, t_warmup, t_max, scale_warmup, first, after), run)


@SYSTEM.declare
@with_the_trainer
def CosineAnnealingWithWarmupScheduler(
    t_warmup: str,
    t_max: str = "1dur",
    alpha_f: float = 0.0,
    scale_warmup: bool = False,
    **trainer: Unpack[Trainer],
) -> Schedule:
    """A line from 0 to lr over `t_warmup`, and half a cosine to lr·α_f at `t_max`, which then holds.

    With a `t_max` that is not after `t_warmup`, lr holds for ever.

    Args:
        t_warmup: how long the warmup is; not scaled, unless in "dur".
        t_max: the end of the cosine, from the beginning of the run.
        alpha_f: α_f, from `t_max` on.
        scale_warmup: stretch the line, but not the warmup; see the module.
        trainer: see `Trainer`.

    Raises:
        DialectError: as `ConstantWithWarmupScheduler`.

    >>> CosineAnnealingWithWarmupScheduler("2ba", lr=0.8, max_duration="4ba").values(6).round(3)
    array([0. , 0. , 0.4, 0.8, 0.4, 0. ])
    """
    run = run_of(**trainer)
    final = alpha_f

    def after(peak: float, length: int) -> Schedule:
        return Ramp(peak, peak * final, length, "cosine")

    return stepped(lambda run: _warmed(run, t_warmup, t_max, scale_warmup, 1.0, after), run)


@SYSTEM.declare
@with_the_trainer
def PolynomialWithWarmupScheduler(
    t_warmup: str,
    power: float = 2.0,
    t_max: str = "1dur",
    alpha_f: float = 0.0,
    scale_warmup: bool = False,
    **trainer: Unpack[Trainer],
) -> Schedule:
    """A line from 0 to lr over `t_warmup`, and from there to lr·α_f at `t_max` by a power of the time that is left.

    With a `t_max` that is not after `t_warmup`, lr holds for ever.

    Args:
        t_warmup: how long the warmup is; not scaled, unless in "dur".
        power: 0 or more.
        t_max: the end, from the beginning of the run.
        alpha_f: α_f, from `t_max` on.
        scale_warmup: stretch the line, but not the warmup; see the module.
        trainer: see `Trainer`.

    Raises:
        DialectError: a negative power, with which Composer divides by 0 at `t_max`; otherwise as `ConstantWithWarmupScheduler`.

    >>> PolynomialWithWarmupScheduler("2ba", lr=0.8, max_duration="4ba").values(6)
    array([0. , 0. , 0.4, 0.8, 0.2, 0. ])
    """
    run = run_of(**trainer)
    power, final = _power(power), alpha_f

    def after(peak: float, length: int) -> Schedule:
        return _polynomial(peak, final, length, power)

    return stepped(lambda run: _warmed(run, t_warmup, t_max, scale_warmup, 1.0, after), run)


def _milestones(times: Iterable[str]) -> tuple[str, ...]:
    if isinstance(times, str | Mapping) or not isinstance(times, Iterable):
        raise TypeError(f"milestones must be a sequence such as ['10ep', '20ep'], got {shown(times)}")
    return tuple(times)


def _steps(run: Run, milestones: tuple[str, ...], gamma: float, begin: int) -> Schedule:
    """The rate from batch `begin` on, on a clock of its own."""
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
    """The line from 0, if there is a warmup, and where the line is cut."""
    if not isinstance(scale_warmup, bool):
        raise TypeError(f"scale_warmup must be True or False, got {shown(scale_warmup)}")
    end = run.time("t_warmup", t_warmup, scaled=False)
    if end.value == 0:
        return None, end
    line = run.span("t_warmup", t_warmup) if scale_warmup else end
    ramp = Ramp(0.0, run.lr * top, line.value)
    return (ramp if line == end else ramp.take(end.value)), end


def _warmed(
    run: Run, t_warmup: str, t_max: str, scale_warmup: bool, top: float, after: Callable[[float, int], Schedule]
) -> Schedule:
    """A warmup, then the curve from there to `t_max`."""
    warm, begin = _warmup(run, t_warmup, scale_warmup, top)
    end, duration = run.time("t_max", t_max), run.duration
    if begin.unit != end.unit:
        raise DialectError(
            f"t_warmup and t_max must be of one unit, as Composer asks, got {t_warmup!r}, which is {begin}, and {t_max!r}, which "
            f"is {end}"
        )
    least = run.batches if (end.unit, duration.unit) == ("ba", "ep") else duration.value
    if (end.unit == duration.unit or (end.unit, duration.unit) == ("ba", "ep")) and end.value < least:
        raise DialectError(
            f"t_max must not be shorter than the run, as Composer asks, got {t_max!r}, which is {end}, for a max_duration of "
            f"{duration}"
        )
    curve = after(run.lr, end.value - begin.value) if end.value > begin.value else Constant(run.lr * top)
    return run.clocked(curve if warm is None else warm >> curve, end.unit)


def _power(power: float) -> float:
    power = number("power", power)
    if power < 0:
        raise DialectError(
            f"power must be 0 or more, got {shown(power)}: with a negative one Composer divides by 0 at t_max"
        )
    return power


def _polynomial(peak: float, final: float, length: int, power: float) -> Schedule:
    if power == 0:
        return Constant(peak * (final + (1.0 - final)))
    return Ramp(peak, peak * final, length, "linear" if power == 1 else f"power({power!r})")
