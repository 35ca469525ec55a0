"""A plateau, then a cooldown: warmup-stable-decay and its relatives, and weight averaging."""

from __future__ import annotations

from collections.abc import Iterable

from laju.core.algebra import Chain
from laju.core.checks import flag, number, sequence
from laju.core.clocks import Take
from laju.core.joins import value_at
from laju.core.pieces import Constant, Ramp
from laju.core.policy import policy
from laju.core.schedule import Schedule, as_schedule
from laju.core.shapes import shape as _shape
from laju.core.units import Length, Span, plain, span
from laju.policies._parts import gaps, rest

_COOLDOWNS = {"1-sqrt": "sqrt", "1-square": "square"}


@policy
def wsd(
    peak: float,
    total: Span | None,
    cooldown: Span | None = None,
    warmup: Span = 0,
    final: float = 0.0,
    start: float = 0.0,
    shape: str = "linear",
    first: bool = False,
) -> Schedule:
    """Warmup-stable-decay: rise to the peak, hold the peak, and fall to `final` in the last `cooldown` updates.

    With W = warmup, C = cooldown and T = total: start + (peak - start)·t/W for t < W, the peak for t < T - C, then
    final + (peak - final)·fall((t - T + C)/C). With `first` no update is wasted at either end: (t + 1)/W, and
    fall((t + 1 - T + C)/(C + 1)).

    Source: Hu et al. (MiniCPM), arXiv 2404.06395; "1-sqrt" is Hägele et al., arXiv 2405.18392. Elsewhere: trapezoidal;
    Transformers `warmup_stable_decay`, torchtitan, Megatron "WSD".

    Args:
        peak: value of the stable part.
        total: updates of the three parts together; None for a run without a known end, which holds the peak.
        cooldown: updates of the decay; left out when total is None.
        warmup: updates of the warmup; 0 for none.
        final: value at t = total and from then on; above 0 for an exponential cooldown.
        start: value at t = 0 when there is a warmup.
        shape: shape of the cooldown: "linear", "cosine", "1-sqrt", "1-square", "exponential", or a name from
            `laju.core.shapes`.
        first: whether the first update is already above `start` and the last still above `final`.

    Raises:
        ValueError: if warmup and cooldown together are longer than the total.

    >>> wsd(1.0, total=8, cooldown=4, warmup=2).values(9)
    array([0.  , 0.5 , 1.  , 1.  , 1.  , 0.75, 0.5 , 0.25, 0.  ])
    >>> wsd(1.0, total=10, cooldown=4, warmup=4, first=True).values(11)
    array([0.25, 0.5 , 0.75, 1.  , 1.  , 1.  , 0.8 , 0.6 , 0.4 , 0.2 , 0.  ])
    """
    peak, final, start = number("peak", peak), number("final", final), number("start", start)
    shape, first = _cooldown(shape, peak, final), flag("first", first)
    up = span("warmup", warmup, zero=True)
    rise = (Ramp(start, peak, up, first=first),) if up else ()
    if total is None:
        if cooldown is not None:
            raise ValueError(
                f"cooldown must be left out when total is None, got {cooldown!r}; cool down when the end is known"
            )
        return Chain((*rise, Constant(peak))) if rise else Constant(peak)
    if cooldown is None:
        raise ValueError(
            f"cooldown must be given with total={total!r}, such as cooldown='20%'; without total the peak is held"
        )
    down = span("cooldown", cooldown)
    stable = rest(span("total", total), up + down, "warmup and cooldown together", empty=True)
    # With `first`, a ramp of an update more from its second value on: the first update is below the peak, and the last above
    # `final`.
    decay = Ramp(peak, final, down + 1, shape).shift(-1) if first else Ramp(peak, final, down, shape)
    hold = (Constant(peak, stable),) if stable else ()
    return Chain((*rise, *hold, decay)) if rise or hold else decay


@policy
def trapezoid(
    peak: float, total: Span, warmup: Span, cooldown: Span, final: float = 0.0, start: float = 0.0, first: bool = False
) -> Schedule:
    """A linear rise, a flat part, and a linear fall: `wsd` with a linear cooldown.

    Source: Xing et al., "A Walk with SGD", arXiv 1802.08770. Elsewhere: trapezoidal; slanted triangular when nothing is flat.

    Args:
        peak: value of the flat part.
        total: updates of the three parts together.
        warmup: updates of the way up; 0 for none.
        cooldown: updates of the way down.
        final: value at t = total and from then on.
        start: value at t = 0 when there is a warmup.
        first: whether the first update is already above `start` and the last still above `final`, as in `wsd`.

    >>> trapezoid(1.0, total=7, warmup=2, cooldown=2).values(8)
    array([0. , 0.5, 1. , 1. , 1. , 1. , 0.5, 0. ])
    """
    return wsd(peak, span("total", total), span("cooldown", cooldown), warmup, final, start, first=first)


@policy
def wsd_s(
    peak: float,
    ends: Iterable[Span],
    cooldown: Span,
    warmup: Span = 0,
    final: float = 0.0,
    start: float = 0.0,
    shape: str = "linear",
    first: bool = False,
) -> Schedule:
    """Repeated warmup-stable-decay: the value returns to the peak after every cooldown, each of which ends in a usable model.

    Between two ends E < E' with C = cooldown: the peak for t < E' - C, then final + (peak - final)·fall((t - E' + C)/C);
    a single warmup comes first, and `final` holds after the last end.

    Source: Wen et al., arXiv 2410.05192 (WSD-S). Equal cycles without a warmup are `wsd(…).repeat()`.

    Args:
        peak: value of the stable parts.
        ends: updates at which a cooldown ends, increasing; the last is the total.
        cooldown: updates of each decay.
        warmup: updates of the warmup; 0 for none.
        final: value that each cooldown reaches.
        start: value at t = 0 when there is a warmup.
        shape: shape of the cooldowns, as in `wsd`.
        first: the warmup uses (t + 1)/warmup, so that no update is spent at `start`.

    Raises:
        ValueError: if an end leaves no time for its cooldown.

    >>> wsd_s(1.0, ends=[4, 8], cooldown=2).values(9)
    array([1. , 1. , 1. , 0.5, 1. , 1. , 1. , 0.5, 0. ])
    """
    peak, final, start = number("peak", peak), number("final", final), number("start", start)
    cooldown, warmup = span("cooldown", cooldown), span("warmup", warmup, zero=True)
    shape = _cooldown(shape, peak, final)
    at = [span(f"ends[{i}]", end) for i, end in enumerate(sequence("ends", ends, "[1000, 3000]"))]
    if not at:
        raise ValueError("ends must hold at least one update at which a cooldown ends, got none")
    parts: list[Schedule] = [Ramp(start, peak, warmup, first=flag("first", first))] if warmup else []
    for i, length in enumerate(gaps("ends", at)):
        hold = length - cooldown - (0 if i else warmup)
        # Of several units the sign is known with the run alone, and the check is made then.
        if (hold if not isinstance(hold, Length) else hold.single or 0) < 0:
            raise ValueError(
                f"ends[{i}] must leave time for {'the warmup and ' if warmup and not i else ''}the cooldown of "
                f"{plain(cooldown)!r}, got {plain(at[i])!r}"
            )
        parts += [*([Constant(peak, hold)] if hold else []), Ramp(peak, final, cooldown, shape)]
    return Chain(tuple(parts))


@policy
def swa(schedule: Schedule | float, final: float, at: Span, anneal: Span = 0, shape: str = "cosine") -> Schedule:
    """A schedule up to the update at which weight averaging begins, then annealing to a constant.

    s(t) for t < at, then final + (s(at) - final)·fall((t - at)/anneal), then `final` forever.

    Source: Izmailov et al., arXiv 1803.05407. Elsewhere: torch `SWALR`.

    Args:
        schedule: the learning rate before `at`; a number is a constant.
        final: value while weights are averaged.
        at: update at which the annealing begins; without unit unless the schedule is constant.
        anneal: updates from s(at) to `final`; 0 for a jump.
        shape: shape of the annealing, such as "cosine" or "linear".

    >>> swa(1.0, final=0.2, at=2, anneal=4, shape="linear").values(8)
    array([1. , 1. , 1. , 0.8, 0.6, 0.4, 0.2, 0.2])
    """
    before = _before(schedule, at)
    value = value_at(as_schedule(schedule), before.length, "at")
    final, anneal = number("final", final), span("anneal", anneal, zero=True)
    shape = _shape(shape).name
    return before >> (Ramp(value, final, anneal, shape) if anneal else Constant(final))


@policy
def swa_cyclic(schedule: Schedule | float, peak: float, final: float, at: Span, every: Span) -> Schedule:
    """A schedule up to the update at which weight averaging begins, then cycles without end whose last updates are averaged.

    s(t) for t < at, then peak + (final - peak)·(u + 1)/every with u = (t - at) mod every.

    Source: Izmailov et al., arXiv 1803.05407; also the fast geometric ensembling of Garipov et al., arXiv
    1802.10026, whose cycles rise as slowly as they fall (`triangular`).

    Args:
        schedule: the learning rate before `at`; a number is a constant.
        peak: value that every cycle comes down from (the paper's α₁).
        final: value of the last update of a cycle (α₂), at most `peak`.
        at: update at which the first cycle begins.
        every: updates of a cycle.

    >>> swa_cyclic(1.0, peak=0.4, final=0.1, at=2, every=3).values(8)
    array([1. , 1. , 0.3, 0.2, 0.1, 0.3, 0.2, 0.1])
    """
    peak = number("peak", peak)
    cycle = Ramp(peak, number("final", final, most=peak), span("every", every), first=True)
    return _before(schedule, at) >> cycle.repeat()


def _before(schedule: Schedule | float, at: Span) -> Schedule:
    at = span("at", at, zero=True)
    schedule = as_schedule(schedule, "schedule")
    return Take(schedule, at) if schedule.level is None else Constant(schedule.level, at)


def _cooldown(shape: str, peak: float, final: float) -> str:
    found = _shape(_COOLDOWNS.get(shape, shape) if isinstance(shape, str) else shape)
    if found.geometric and not peak * final > 0:
        raise ValueError(f"final must be non-zero and of the peak's sign for an exponential cooldown, got {final!r}")
    return found.name
