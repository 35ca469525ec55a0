"""OLMo's YAML, and the `config.json` that OLMo-core writes.

Both count a step before computing its learning rate, so update t has the rate after t + 1 steps or their tokens (ai2-olmo 0.6.0,
olmo/optim.py: `build_scheduler`, olmo/train.py; ai2-olmo-core 3.0.0, olmo_core/optim/scheduler.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from laju.core.checks import number, shown, whole
from laju.core.pieces import Constant, Power, Ramp
from laju.core.schedule import Schedule
from laju.dialects.base import DialectError
from laju.dialects.configs import Configured
from laju.dialects.sections import Section, has

# The names of the same shapes in OLMo and OLMo-core.
_SHAPES = {
    "cosine_with_warmup": "cosine", "linear_with_warmup": "linear", "inverse_sqrt_with_warmup": "inverse", "constant": "constant",
    "max_scheduler": "max", "cosine_linear_envelope": "envelope", "constant_with_warmup": "flat",
}  # fmt: skip
_CLASSES = {
    "CosWithWarmup": "cosine", "LinearWithWarmup": "linear", "InvSqrtWithWarmup": "inverse", "ConstantScheduler": "constant",
    "ConstantWithWarmup": "flat", "WSD": "wsd", "HalfCosWithWarmup": "half",
}  # fmt: skip
_KEYS = (
    "name",
    "units",
    "t_warmup",
    "t_max",
    "alpha_f",
    "grad_clip_warmup_steps",
    "grad_clip_warmup_factor",
    "warmup_min_lr",
)
_CORE = (
    "_CLASS_", "units", "warmup", "warmup_steps", "warmup_fraction", "warmup_min_lr", "t_max", "alpha_f", "decay", "decay_steps",
    "decay_fraction", "decay_min_lr", "lr_field", "initial_lr_field",
)  # fmt: skip


def is_one(content: Any) -> bool:
    """Return whether the content looks like a configuration of OLMo or OLMo-core."""
    return has(content, "scheduler.name", "optimizer.learning_rate") or has(content, "train_module.scheduler")


def read(content: Any, where: str, facts: Mapping[str, Any]) -> Configured:
    """Return the schedule of updates; `updates_per_epoch` is needed where the run is counted in epochs.

    Raises:
        DialectError: see `read_config`; also if the scheduler has several stages.
    """
    if has(content, "train_module.scheduler"):
        return _core(content, where, facts)
    given = Section(content, where, "olmo", ("scheduler",), facts)
    sched = given.section("scheduler", _KEYS)
    rate = given.section("optimizer", ("learning_rate",)).lr("learning_rate")
    shape = _SHAPES[sched.choice("name", _SHAPES)]
    tokens = None
    duration = str(given.get("max_duration") or "").strip()
    by_tokens = sched.choice("units", ("steps", "tokens"), "steps") == "tokens"
    if by_tokens or duration.endswith("T"):
        length = given.section("model", ()).whole("max_sequence_length", least=1)
        tokens = given.whole("global_train_batch_size", least=1) * length
    if duration.endswith("ep"):
        run = _count(duration[:-2]) * given.per_epoch()
    elif duration:
        run = math.ceil(_count(duration[:-1]) / tokens) if tokens and duration.endswith("T") else _count(duration)
    else:
        run = given.total("max_duration")
    given.length = run
    if given.get("load_path") and not given.flag("reset_trainer_state"):
        given.notes.append("load_path: a run that begins with a checkpoint begins at the update of the checkpoint")
    each = tokens if by_tokens and tokens else 1
    end = _count(duration[:-1]) if by_tokens and duration.endswith("T") else run * each
    end = end if sched.get("t_max") is None else int(sched.number("t_max", above=0))
    warmup = 0 if shape == "constant" else int(sched.number("t_warmup", 100, least=0))
    first = rate * 0.1 if sched.get("warmup_min_lr") is None else sched.number("warmup_min_lr", least=0)
    low = rate * sched.number("alpha_f", 0.1) if shape in ("cosine", "linear", "max", "envelope") else 0.0
    return _configured(given, _schedule(shape, rate, first, low, warmup / each, end / each), each)


def _core(content: Any, where: str, facts: Mapping[str, Any]) -> Configured:
    given = Section(content, where, "olmo", ("train_module",), facts)
    module = given.section("train_module", ("scheduler",))
    sched = module.section("scheduler", _CORE)
    rate = module.section("optim", ("lr",)).lr("lr")
    name = str(sched.get("_CLASS_", "")).rpartition(".")[2]
    if name not in _CLASSES:
        raise DialectError(
            f"{sched.place}_CLASS_ must be one of {', '.join(_CLASSES)}, got {shown(sched.get('_CLASS_'))}"
        )
    shape = _CLASSES[name]
    duration = given.section("trainer", ()).section("max_duration", ())
    unit = duration.choice("unit", ("steps", "tokens", "epochs"))
    by_tokens = sched.choice("units", ("steps", "tokens"), "steps") == "tokens"
    tokens = (
        given.section("data_loader", ()).whole("global_batch_size", least=1) if by_tokens or unit == "tokens" else 1
    )
    value = duration.whole("value", least=1)
    run = {"steps": value, "tokens": math.ceil(value / tokens), "epochs": 0}[unit] or value * given.per_epoch()
    given.length = run
    each = tokens if by_tokens else 1
    end = value if by_tokens and unit == "tokens" else run * each
    end = end if sched.get("t_max") is None else sched.whole("t_max", least=1)
    warmup = 0 if shape == "constant" else _part(sched, "warmup", end)
    first = sched.number("warmup_min_lr", 0.0, least=0)
    if shape == "wsd":
        decay, last = _part(sched, "decay", end, 0.1), sched.number("decay_min_lr", 0.0, least=0)
        if warmup + decay > end:
            raise DialectError(
                f"the warmup and the decay of {sched.place}_CLASS_ WSD overlap, which laju does not read"
            )
        fall = Constant(rate, (end - warmup - decay) / each) >> Ramp(rate, last, decay / each)
        return _configured(given, Ramp(first, rate, warmup / each) >> fall if warmup else fall, each)
    low = rate * sched.number("alpha_f", 0.1) if shape in ("cosine", "linear", "inverse", "half") else 0.0
    return _configured(given, _schedule(shape, rate, first, low, warmup / each, end / each), each)


def _part(sched: Section, key: str, end: int, default: float | None = None) -> int:
    share = sched.get(f"{key}_fraction")
    steps = sched.get(key) if sched.get(key) is not None else sched.get(f"{key}_steps")
    if steps is None and share is None:
        share = default
    if (steps is None) == (share is None):
        raise DialectError(f"{sched.place}: one of {key} and {key}_fraction must be given")
    if share is not None:
        return round(end * number(f"{sched.place}{key}_fraction", share, least=0, most=1))
    return whole(f"{sched.place}{key}", steps)


def _count(text: str) -> int:
    try:
        return whole("max_duration", int(float(text)), least=1)
    except (ValueError, OverflowError):
        raise DialectError(f"max_duration must be such as 1000, 2e12T or 1ep, got {shown(text)}") from None


def _schedule(shape: str, rate: float, first: float, low: float, warmup: float, end: float) -> Schedule:
    """Schedule by steps: a warmup, then the shape from the end of the warmup on, and `low` from the end on."""
    if not 0 <= first < rate:
        raise DialectError(f"warmup_min_lr must be below the rate, {rate!r}, got {first!r}")
    left, body = max(end - warmup, 0), Constant(rate)
    after: Schedule = body
    if shape == "half":  # the second half of a cosine over twice the time
        rate = (rate + low) / 2
        after = (
            Ramp(2 * rate - low, low, 2 * left, "cosine").shift(-int(left))
            if left == int(left)
            else _half(rate, low, left)
        )
    elif shape in ("cosine", "linear"):
        after = Ramp(rate, low, left, shape)
    elif shape == "envelope":
        after = Ramp(1.0, 0.0, left) * Ramp(rate - low, 0.0, left, "cosine") + low
    elif shape in ("inverse", "max"):
        if not warmup:
            raise DialectError("an inverse square root needs a warmup")
        after = (
            Power(rate - low, 0.5, 1.0, warmup) + low if shape == "inverse" and low else Power(rate, 0.5, 1.0, warmup)
        )
        after = after.maximum(Ramp(rate, low, left, "cosine")) if shape == "max" else after
    return Ramp(first, rate, warmup) >> after if warmup else after


def _half(rate: float, low: float, left: float) -> Schedule:
    raise DialectError(f"HalfCosWithWarmup over {left:g} updates is read for whole updates only")


def _configured(given: Section, schedule: Schedule, each: int) -> Configured:
    return given.configured(schedule.shift(-1), "updates" if each == 1 else f"updates, of {each:,} tokens each")
