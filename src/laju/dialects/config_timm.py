"""timm's training arguments, such as the `args.yaml` beside its checkpoints, or the command itself.

Lengths are epochs; with sched_on_updates lengths are multiplied by the updates of an epoch (timm 1.0.31,
scheduler/scheduler_factory.py: `scheduler_kwargs`, `create_scheduler_v2`; train.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from laju.core.checks import shown, whole
from laju.dialects.base import DialectError, call, system
from laju.dialects.configs import Configured, constant, fact
from laju.dialects.contents import SCRIPTS
from laju.dialects.sections import Section, has

_SCHEDULERS = {
    "cosine": "CosineLRScheduler", "tanh": "TanhLRScheduler", "step": "StepLRScheduler", "constant": "StepLRScheduler",
    "multistep": "MultiStepLRScheduler", "plateau": "PlateauLRScheduler", "poly": "PolyLRScheduler", "wsd": "WSDLRScheduler",
    "rsqrt": "WSDLRScheduler",
}  # fmt: skip
_KEYS = (
    "lr", "lr_base", "lr_base_size", "lr_base_scale", "sched", "sched_on_updates", "decay_epochs", "decay_milestones",
    "warmup_epochs", "warmup_lr", "warmup_prefix", "min_lr", "decay_rate", "lr_noise", "lr_noise_pct", "lr_noise_std",
    "lr_cycle_mul", "lr_cycle_decay", "lr_cycle_limit", "lr_k_decay", "lr_decay_fn", "lr_stable_timescale",
    "cooldown_epochs", "patience_epochs", "unscale_lr",
)  # fmt: skip


def is_one(content: Any) -> bool:
    """Return whether the content looks like training arguments of timm."""
    return has(content, "sched") and bool(
        {"warmup_lr", "lr_cycle_mul", "decay_epochs", "warmup_epochs", "lr_base"} & content.keys()
    )


def read(content: Any, where: str, facts: Mapping[str, Any]) -> Configured:
    """Return the schedule of epochs, or of updates with sched_on_updates or `updates_per_epoch`.

    Raises:
        DialectError: see `read_config`; also if the learning rate has random noise.
    """
    given = Section(content, where, "timm", _KEYS, facts)
    sched = given.choice("sched", (*_SCHEDULERS, "none"))
    rate = _rate(given)
    given.notes += _of_another_script(given)
    if sched == "none":
        return constant(rate, "timm", "sched is none", given.notes)
    if given.get("lr_noise") is not None:
        raise DialectError(f"lr_noise {shown(given.get('lr_noise'))} makes the rate random, which no schedule is")
    by_update = given.flag("sched_on_updates")
    count = given.per_epoch() if by_update else 1
    name = _SCHEDULERS[sched]
    epochs, warmup, prefix = given.number("epochs", 300), given.number("warmup_epochs", 5), given.flag("warmup_prefix")
    arguments: dict[str, Any] = {
        "warmup_t": warmup * count, "warmup_lr_init": given.number("warmup_lr", 1e-5), "t_in_epochs": not by_update,
    }  # fmt: skip
    if name != "WSDLRScheduler":
        arguments["warmup_prefix"] = prefix
    if sched in ("cosine", "tanh", "poly"):
        arguments |= {"t_initial": epochs * count, "lr_min": given.number("min_lr", 0.0)}
        cycles = given.whole("lr_cycle_limit", 1)
        if cycles != 1:
            mul, decay = given.number("lr_cycle_mul", 1.0), given.number("lr_cycle_decay", 0.5)
            arguments |= {"cycle_mul": mul, "cycle_decay": decay, "cycle_limit": cycles}
    if sched in ("cosine", "poly"):
        arguments["k_decay"] = given.number("lr_k_decay", 1.0)
    if sched == "poly":
        arguments["power"] = given.number("decay_rate", 0.1)
    if sched in ("step", "multistep", "constant"):
        arguments["decay_rate"] = 1.0 if sched == "constant" else given.number("decay_rate", 0.1)
        arguments["decay_t"] = 1 if sched == "constant" else given.number("decay_epochs", 90) * count
    if sched == "multistep":
        arguments["decay_t"] = [epoch * count for epoch in given.get("decay_milestones", [90, 180, 270])]
    if name == "WSDLRScheduler":
        # Here timm's factory takes the warmup off the epochs, unless the warmup is a prefix.
        length = (epochs if prefix else epochs - warmup) * count
        decay = given.number("decay_epochs", 90)
        scale = given.get("lr_stable_timescale")
        arguments |= {
            "t_initial": length, "decay_t": round(decay * (length if 0 < decay < 1 else count)),
            "lr_min": given.number("min_lr", 0.0), "stable_fn": "rsqrt" if sched == "rsqrt" else "constant",
            "stable_timescale": None if scale is None else scale * count,
            "decay_fn": given.get("lr_decay_fn") or ("linear" if sched == "rsqrt" else "1-sqrt"),
        }  # fmt: skip
    if "cycle_limit" not in arguments:
        run = (
            epochs + (warmup if prefix else 0) + (given.number("cooldown_epochs", 0) if "t_initial" in arguments else 0)
        )
        given.length = round(run * count)
    schedule = call(system("timm"), name, [rate], arguments, {})
    if facts.get("updates_per_epoch") is not None and not by_update:
        given.length = None if given.length is None else given.length * given.per_epoch()
        return given.configured(given.epochs(schedule))
    said = ", ".join([repr(rate), *(f"{key}={value!r}" for key, value in arguments.items())])
    return given.configured(schedule, "updates" if by_update else "epochs", f"{name}({said})", "timm")


def _of_another_script(given: Section) -> list[str]:
    """Return notes on a command of a script other than timm's train.py, in which timm's arguments may mean something else.

    Source: facebookresearch/deit, main.py at 100e3cd: `linear_scaled_lr`, and `lr_scheduler.step(epoch)` after the epoch. Later
    releases have `--unscale-lr`.
    """
    scripts = given.content.get(SCRIPTS, [])
    if not scripts or "train.py" in scripts:
        return []
    notes = [
        f"{scripts[-1]} is not timm's train.py, whose defaults and epochs are read: DeiT's main.py is an epoch behind"
    ]
    if given.facts.get("lr") is None and not given.flag("unscale_lr"):
        notes.append(
            f"{scripts[-1]} may scale lr, as DeiT's main.py does (lr · batch_size · world_size / 512): give the scaled rate, "
            "lr=…, on the command line --lr …"
        )
    return notes


def _rate(given: Section) -> float:
    """Return lr, or lr_base times (samples per update)/lr_base_size, with a square root for optimizers such as Adam and LAMB."""
    if given.get("lr") is not None or given.facts.get("lr") is not None:
        return given.lr("lr")
    processes = fact("world_size", given.facts, what="lr, which is lr_base by the batch of all processes, world_size")
    samples = given.whole("batch_size", least=1) * whole("world_size", processes, least=1)
    share = samples * given.whole("grad_accum_steps", 1, least=1) / given.number("lr_base_size", 256, above=0)
    scale = given.get("lr_base_scale")
    if not scale:
        name = str(given.get("opt", "sgd")).lower()
        scale = "sqrt" if any(part in name for part in ("ada", "lamb")) else "linear"
    return given.number("lr_base", 0.1) * (share**0.5 if scale == "sqrt" else share)
