"""torchtitan's TOML: `[lr_scheduler]`, with the steps of `[training]` and the rate of `[optimizer]`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from laju.core.checks import nearest
from laju.dialects.base import DialectError
from laju.dialects.configs import Configured, fact, mapping, no_other_rates
from laju.dialects.torchtitan import LRSchedulersContainer

LEARNING_RATE, WARMUP = 8e-4, 200
"""What torchtitan has by default."""
_RENAMED = {"lr_min": "min_lr_factor", "warmup_steps": "warmup_steps"}
_KEYS = ("warmup_steps", "total_steps", "decay_ratio", "decay_type", "min_lr_factor")


def is_one(content: Any) -> bool:
    """Return whether the content looks like a configuration of torchtitan."""
    section = content.get("lr_scheduler") if isinstance(content, Mapping) else None
    others = {"_component_", "_name", "class_path", "_target_"}
    return isinstance(section, Mapping) and not others & section.keys()


def read(content: Any, where: str, facts: Mapping[str, Any]) -> Configured:
    """Return the schedule of the run; `lr_min` of earlier releases is `min_lr_factor`."""
    given = mapping(content, where)
    section = {
        _RENAMED.get(key, key): value for key, value in mapping(given.get("lr_scheduler", {}), "lr_scheduler").items()
    }
    unknown = next((key for key in section if key not in _KEYS), None)
    if unknown is not None:
        raise DialectError(
            f"lr_scheduler has no key {unknown!r} that laju knows{nearest(unknown, _KEYS)} (it has: {', '.join(_KEYS)})"
        )
    training, optimizer = (
        mapping(given.get("training", {}), "training"),
        mapping(given.get("optimizer", {}), "optimizer"),
    )
    notes = list(no_other_rates(given, ("lr_scheduler",), "torchtitan"))
    notes += no_other_rates(training, (), "torchtitan", "training")
    notes += no_other_rates(optimizer, ("lr",), "torchtitan", "optimizer")
    steps = fact("total", facts, training.get("steps"), what="training.steps")
    lr = optimizer.get("lr")
    if lr is None:
        lr = LEARNING_RATE if facts.get("lr") is None else facts["lr"]
        notes.append(f"optimizer.lr is not given: {lr:g}")
    if "warmup_steps" not in section:
        notes.append(f"lr_scheduler.warmup_steps is not given: {WARMUP}")
    schedule = LRSchedulersContainer(lr, steps, **section)
    more = "".join(f", {key}={value!r}" for key, value in section.items())
    return Configured(
        schedule, "torchtitan", f"LRSchedulersContainer({lr!r}, {steps!r}{more})", tuple(notes), length=steps
    )
