"""NeMo's YAML: `optim.sched`, under `model` or at the top, with the rate of `optim` and the length of `trainer`.

The warmup begins at lr/(W + 1) and includes step W (nemo_toolkit 3.0.0, nemo/core/optim/lr_scheduler.py;
core/classes/modelPT.py: `setup_optimization`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from laju.core.checks import number
from laju.core.pieces import Constant, Power, Ramp
from laju.core.schedule import Schedule
from laju.dialects.base import DialectError
from laju.dialects.configs import Configured, constant
from laju.dialects.sections import Section, has

_TAKES = {
    "WarmupPolicy": (), "WarmupHoldPolicy": ("hold",), "SquareAnnealing": (), "SquareRootAnnealing": (),
    "CosineAnnealing": ("constant",), "NoamAnnealing": ("d_model",), "NoamHoldAnnealing": ("hold", "decay_rate"),
    "WarmupAnnealing": (), "InverseSquareRootAnnealing": (), "PolynomialDecayAnnealing": ("power", "cycle"),
    "PolynomialHoldDecayAnnealing": ("hold", "power", "cycle"),
}  # fmt: skip


def is_one(content: Any) -> bool:
    """Return whether the content looks like a configuration of NeMo."""
    return has(content, "model.optim.lr") or has(content, "optim.sched.name")


def read(content: Any, where: str, facts: Mapping[str, Any]) -> Configured:
    """Return the schedule of updates: trainer.max_steps, sched.max_steps, or trainer.max_epochs times `updates_per_epoch`.

    Raises:
        DialectError: see `read_config`; also if NeMo would refuse the arguments.
    """
    given = Section(content, where, "nemo", ("optim",), facts)
    model = given.section("model", ("optim",)) if has(content, "model.optim") else given
    optim = model.section("optim", ("lr", "sched"))
    rate = optim.lr("lr")
    if optim.get("sched") is None:
        return constant(rate, "nemo", "optim has no sched", given.notes)
    name = optim.section("sched", tuple(optim.get("sched"))).choice("name", _TAKES)
    own = {f"{key}_{unit}" for key in _TAKES[name] if key in ("hold", "constant") for unit in ("steps", "ratio")}
    own |= {key for key in _TAKES[name] if key not in ("hold", "constant")}
    known = {
        "name",
        "warmup_steps",
        "warmup_ratio",
        "min_lr",
        "max_steps",
        "monitor",
        "reduce_on_plateau",
        "last_epoch",
        *own,
    }
    sched = optim.section("sched", sorted(known))
    for key in sched.content:
        if key not in known:
            raise DialectError(f"{sched.place}{key} is no argument of {name} (known: {', '.join(sorted(known))})")
    trainer = given.section("trainer", ())
    if trainer.get("max_steps") in (None, -1):
        trainer = trainer.without("max_steps")
        total = (
            sched.total("max_steps") if sched.get("max_steps") not in (None, -1) else trainer.total(epochs="max_epochs")
        )
    else:
        total = trainer.total("max_steps")
    given.length = total
    low = sched.number("min_lr", 1e-5 if name == "SquareAnnealing" else 0.0)
    if low > rate:
        raise DialectError(f"{sched.place}min_lr must be at most lr, {rate!r}, got {low!r}")
    schedule = _schedule(name, sched, rate, low, total)
    return given.configured(schedule)


def _steps(sched: Section, key: str, total: int) -> int:
    steps, ratio = sched.get(f"{key}_steps"), sched.get(f"{key}_ratio")
    if steps is not None and ratio is not None:
        raise DialectError(f"{sched.place}{key}_steps and {key}_ratio are both given, which NeMo refuses")
    if ratio is not None:
        return int(number(f"{sched.place}{key}_ratio", ratio, least=0) * total)
    return 0 if steps is None else sched.whole(f"{key}_steps")


def _schedule(name: str, sched: Section, lr: float, low: float, total: int) -> Schedule:
    warmup, hold, flat = (_steps(sched, key, total) for key in ("warmup", "hold", "constant"))
    if name == "NoamAnnealing":
        return _noam(lr * sched.number("d_model", above=0) ** -0.5, warmup, low)
    if warmup > total or (name != "WarmupPolicy" and warmup == total):
        raise DialectError(f"the warmup must be shorter than the run of {total:,} updates, got {warmup:,}")
    if name == "CosineAnnealing" and flat:
        return _flat_end(lr, low, warmup, total - warmup - flat)
    begin = warmup + hold  # of the decay
    left = total - begin
    power = sched.number("power", 1.0) if "power" in _TAKES[name] else 1.0
    if sched.flag("cycle"):
        raise DialectError(f"{sched.place}cycle of {name} is not read")
    if left <= 0 and hold:
        raise DialectError(f"warmup and hold must be shorter than the run of {total:,} updates, got {begin:,}")
    decay: Schedule
    match name:
        case "WarmupPolicy" | "WarmupHoldPolicy":
            decay = Constant(lr, left + 1)
        case "CosineAnnealing":
            decay = Ramp(lr, low, left, "cosine")
        case "SquareAnnealing":
            decay = Ramp(lr, 0.0, left, "power(2)").clip(low=low)
        case "SquareRootAnnealing":  # of the whole run
            decay = Ramp(lr, 0.0, total, "power(0.5)").clip(low=low)
        case "WarmupAnnealing":
            decay = Ramp(lr, low, left)
        case "InverseSquareRootAnnealing":
            decay = Power(lr, 0.5, 1.0, warmup + 1).take(left + 1)
        case "NoamHoldAnnealing":
            if not warmup:
                raise DialectError("NoamHoldAnnealing needs a warmup")
            rate = sched.number("decay_rate", 0.5)
            decay = Power(lr, rate, 1.0, warmup).clip(low=low).take(left + 1)
        case _:
            decay = Ramp(lr, low, left, "linear" if power == 1 else f"power({power!r})")
    unheld = name == "PolynomialHoldDecayAnnealing" and not any(
        sched.get(f"hold_{unit}") is not None for unit in ("steps", "ratio")
    )
    if warmup and (unheld or name == "SquareRootAnnealing"):  # which count from the run's begin
        return Ramp(lr / (warmup + 1), lr, warmup) >> Constant(lr, 1) >> decay.shift(-warmup - 1)
    if not isinstance(decay.length, int) or decay(left) != low:
        decay = decay >> Constant(low)  # after the run
    if hold:
        decay = Constant(lr, hold) >> decay
    return Ramp(lr / (warmup + 1), lr, warmup) >> decay if warmup else decay


def _flat_end(lr: float, low: float, warmup: int, decay: int) -> Schedule:
    """Schedule with constant_steps: a warmup from 0, and a cosine that ends so long before the run, if updates are left."""
    if low >= lr or (decay == 0 and not warmup):
        raise DialectError(
            f"constant_steps needs lr above min_lr, and updates before them; got lr {lr!r}, min_lr {low!r}"
        )
    if decay > 0:
        fall = Ramp(lr, low, decay, "cosine")
        return Ramp(0.0, lr, warmup) >> fall if warmup else fall
    return Ramp(0.0, lr, warmup) >> Constant(lr, 1) >> Constant(low) if warmup else Constant(low)


def _noam(scale: float, warmup: int, low: float) -> Schedule:
    """Schedule scale·min(t^-½, t·W^-1½) without end, whose value at step 0 is the value at step 1."""
    if not warmup:
        return Constant(max(scale, low), 1) >> Power(scale, 0.5).clip(low=low)
    first = scale * warmup**-1.5
    rise = Constant(first, 1) >> Ramp(first, first * warmup, warmup - 1) if warmup > 1 else Constant(first, 1)
    # At step W the rate is the peak, which min_lr does not lift.
    return rise >> Constant(scale * warmup**-0.5, 1) >> Power(scale, 0.5, warmup + 1).clip(low=low)
