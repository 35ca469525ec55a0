"""fairseq's YAML (`optimization`, `lr_scheduler`), or the command itself.

Update t has the learning rate after t updates; only `fixed` changes the rate by epoch (fairseq 0.12.2, optim/lr_scheduler/*.py,
trainer.py: `lr_step_begin_epoch`, `lr_step_update`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from laju.core.checks import number, shown
from laju.core.pieces import Constant, Power, Ramp, Table
from laju.core.schedule import Schedule
from laju.dialects.base import DialectError, powers
from laju.dialects.configs import Configured, fact
from laju.dialects.sections import Section, has

_OWN: dict[str, tuple[str, ...]] = {
    "inverse_sqrt": ("warmup_updates", "warmup_init_lr"),
    "polynomial_decay": ("warmup_updates", "force_anneal", "end_learning_rate", "power", "total_num_update"),
    "cosine": ("warmup_updates", "warmup_init_lr", "min_lr", "t_mult", "lr_period_updates", "lr_shrink"),
    "fixed": ("force_anneal", "lr_shrink", "warmup_updates"),
    "tri_stage": ("warmup_steps", "hold_steps", "decay_steps", "phase_ratio", "init_lr_scale", "final_lr_scale"),
    "triangular": ("max_lr", "lr_period_updates", "lr_shrink", "shrink_min"),
    "step": ("warmup_updates", "warmup_init_lr", "min_lr", "lr_deacy_period", "lr_decay"),
}


def is_one(content: Any) -> bool:
    """Return whether the content looks like a configuration, or a command, of fairseq."""
    if has(content, "optimization", "lr_scheduler"):
        return True
    return has(content, "lr", "lr_scheduler") and bool(
        {"arch", "max_update", "warmup_updates", "total_num_update"} & content.keys()
    )


def read(content: Any, where: str, facts: Mapping[str, Any]) -> Configured:
    """Return the schedule of updates.

    Raises:
        DialectError: see `read_config`; also if the scheduler depends on a metric or is set manually.
    """
    nested = has(content, "optimization")
    name = content.get("lr_scheduler") if isinstance(content, Mapping) else None
    name = name.get("_name") if isinstance(name, Mapping) else name
    if not isinstance(name, str) or name not in _OWN:
        raise DialectError(f"lr_scheduler must be one of {', '.join(_OWN)}, which are read, got {shown(name)}")
    own = (*_OWN[name], "_name")
    if nested:
        given = Section(content, where, "fairseq", ("lr_scheduler",), facts)
        run = given.section("optimization", ("lr", "stop_min_lr"))
        sched = given.section("lr_scheduler", (*own, "lr")) if isinstance(given.get("lr_scheduler"), Mapping) else given
    else:
        given = run = sched = Section(content, where, "fairseq", (*own, "lr", "lr_scheduler", "stop_min_lr"), facts)
    own_rates = sched.get("lr") if nested and sched is not given else None
    rates = run.get("lr") if own_rates is None else own_rates
    rates = fact("lr", facts, rates, what="optimization.lr" if nested else "lr")
    rates = rates if isinstance(rates, list) else [rates]
    rates = [number("lr", rate, least=0) for rate in rates]
    if len(rates) != 1 and name != "fixed":
        raise DialectError(f"lr must be one rate with {name}, got {rates}")
    if run.get("max_update"):
        given.length = run.whole("max_update")
    if name == "fixed":
        return given.configured(_fixed(sched, rates))
    return given.configured(_READ[name](sched, run, rates[0]))


def _optional(section: Section, name: str, default: float) -> float:
    return default if section.get(name) is None else section.number(name)


def _warmed(sched: Section, rate: float, low: float, after: Schedule) -> Schedule:
    warmup, first = int(_optional(sched, "warmup_updates", 0)), _optional(sched, "warmup_init_lr", -1)
    return Ramp(low if first < 0 else first, rate, warmup) >> after if warmup else after


def _inverse(sched: Section, run: Section, rate: float) -> Schedule:
    warmup = sched.whole("warmup_updates", 4000, least=1)
    first = _optional(sched, "warmup_init_lr", -1)
    return Ramp(max(first, 0.0) if first < 0 else first, rate, warmup) >> Power(rate, 0.5, 1.0, warmup)


def _polynomial(sched: Section, run: Section, rate: float) -> Schedule:
    if sched.get("force_anneal") is not None:
        raise DialectError("force_anneal of polynomial_decay is not read")
    warmup, low, power = (
        int(_optional(sched, "warmup_updates", 0)),
        _optional(sched, "end_learning_rate", 0),
        sched.number("power", 1),
    )
    total = sched.whole("total_num_update", least=1) if sched.get("total_num_update") else run.total("max_update")
    if total <= warmup:
        raise DialectError(f"total_num_update must be after the warmup of {warmup:,} updates, got {total:,}")
    fall = Ramp(rate, low, total - warmup, "linear" if power == 1 else f"power({power!r})")
    return Ramp(0.0, rate, warmup) >> fall if warmup else fall


def _cosine(sched: Section, run: Section, rate: float) -> Schedule:
    low, warmup = _optional(sched, "min_lr", 0), int(_optional(sched, "warmup_updates", 0))
    period = _optional(sched, "lr_period_updates", -1)
    if period <= 0:
        period = run.total("max_update") - warmup
    if low >= rate or period <= 0:
        raise DialectError(
            f"cosine needs lr above min_lr and a period above 0, got lr {rate!r}, min_lr {low!r}, period {period!r}"
        )
    cycle = Ramp(rate, low, period, "cosine")
    return _warmed(
        sched, rate, low, cycle.repeat(growth=_optional(sched, "t_mult", 1), decay=_optional(sched, "lr_shrink", 0.1))
    )


def _tri_stage(sched: Section, run: Section, rate: float) -> Schedule:
    shares = sched.get("phase_ratio")
    if shares is not None:
        if not isinstance(shares, list) or len(shares) != 3 or sum(shares) != 1:
            raise DialectError(f"phase_ratio must be three shares that add up to 1, got {shares!r}")
        total = run.total("max_update")
        warmup, hold, decay = (int(total * share) for share in shares)
    else:
        warmup, hold, decay = (int(_optional(sched, f"{key}_steps", 0)) for key in ("warmup", "hold", "decay"))
    if not decay:
        raise DialectError("decay_steps must be above 0, as fairseq divides by them")
    last = _optional(sched, "final_lr_scale", 0.01)
    fall = Ramp(rate, rate * last, decay, "exponential")
    schedule = Constant(rate, hold) >> fall if hold else fall
    return Ramp(rate * _optional(sched, "init_lr_scale", 0.01), rate, warmup) >> schedule if warmup else schedule


def _triangular(sched: Section, run: Section, rate: float) -> Schedule:
    peak, period = sched.number("max_lr", above=rate), sched.number("lr_period_updates", 5000, least=2)
    half = period // 2
    wave = (Ramp(0.0, 1.0, half) >> Ramp(1.0, 0.0, half)).take(2 * half)
    shrink = powers(1.0, _optional(sched, "lr_shrink", 0.1), int(2 * half))
    wave = (Ramp(0.0, 1.0, half) >> Constant(1.0, half) * Ramp(1.0, 0.0, half)).repeat()
    if sched.flag("shrink_min"):
        return ((peak - rate) * wave + rate) * shrink
    return (peak * shrink + (-rate)) * wave + rate


def _step(sched: Section, run: Section, rate: float) -> Schedule:
    low = _optional(sched, "min_lr", 0)
    every = int(_optional(sched, "lr_deacy_period", 25000))  # fairseq's own spelling
    return _warmed(sched, rate, low, powers(rate, _optional(sched, "lr_decay", 0.5), every).clip(low=low))


def _fixed(sched: Section, rates: list[float]) -> Schedule:
    """Learning rates of the epochs; from epoch force_anneal on the last rate shrinks. The warmup multiplies by (t + 1)/W."""
    anneal, warmup = sched.get("force_anneal"), int(_optional(sched, "warmup_updates", 0))
    schedule: Schedule = Constant(rates[0])
    if anneal is not None or len(rates) > 1:
        each, shrink = sched.per_epoch(), _optional(sched, "lr_shrink", 0.1)
        first = len(rates) if anneal is None else sched.whole("force_anneal", least=1) - 1
        schedule = Table(tuple(rates[min(epoch, len(rates) - 1)] for epoch in range(max(first, 1))), each)
        if anneal is not None:
            fall = powers(rates[-1] * shrink, shrink, each)
            schedule = schedule.take(first * each) >> fall if first else fall
    return Ramp(0.0, 1.0, warmup).shift(-1) * schedule if warmup else schedule


_READ: dict[str, Any] = {
    "inverse_sqrt": _inverse, "polynomial_decay": _polynomial, "cosine": _cosine, "tri_stage": _tri_stage,
    "triangular": _triangular, "step": _step,
}  # fmt: skip
