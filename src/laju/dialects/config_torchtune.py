"""torchtune's YAML: `lr_scheduler` with a `_component_` of `torchtune.training.lr_schedulers`, and the optimizer's rate.

The module has a single scheduler, `get_cosine_schedule_with_warmup`, the same as in Transformers (torchtune 0.6.1,
torchtune/training/lr_schedulers.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from laju.core.checks import nearest, whole
from laju.dialects.base import DialectError
from laju.dialects.configs import Configured, constant, decimal, fact, mapping, no_other_rates
from laju.dialects.transformers import get_cosine_schedule_with_warmup

_KNOWN = ("get_cosine_schedule_with_warmup",)


def is_one(content: Any) -> bool:
    """Whether the content looks like a configuration of torchtune."""
    sections = [content.get(key) for key in ("lr_scheduler", "optimizer")] if isinstance(content, Mapping) else []
    return any(isinstance(section, Mapping) and "_component_" in section for section in sections)


def read(content: Any, where: str, facts: Mapping[str, Any]) -> Configured:
    """The schedule over `total` updates, or over `epochs` of the configuration times `updates_per_epoch`.

    The recipes keep the rate where no scheduler is named (torchtune 0.6.1, recipes/full_finetune_single_device.py:
    `_setup_lr_scheduler`).
    """
    given = mapping(content, where)
    section = dict(mapping(given.get("lr_scheduler") or {}, "lr_scheduler"))
    scheduled = bool(section)
    name = str(section.pop("_component_", "")).rpartition(".")[2]
    if scheduled and name not in _KNOWN:
        raise DialectError(
            f"lr_scheduler._component_ {name!r} is not one that laju knows{nearest(name, _KNOWN)} ({', '.join(_KNOWN)})"
        )
    optimizer = mapping(given.get("optimizer", {}), "optimizer")
    notes = no_other_rates(given, ("lr_scheduler", "epochs", "max_steps_per_epoch"), "torchtune")
    notes += no_other_rates(optimizer, ("lr",), "torchtune", "optimizer")
    lr = decimal("optimizer.lr", fact("lr", facts, optimizer.get("lr"), what="the optimizer's rate (optimizer.lr)"))
    if not scheduled:
        return constant(lr, "torchtune", "lr_scheduler is not given", notes)
    total, epochs, most = section.pop("num_training_steps", None), given.get("epochs"), given.get("max_steps_per_epoch")
    # max_steps_per_epoch cuts an epoch short; where the epoch's own length is not known, the cut stands for the length.
    lengths = [length for length in (facts.get("updates_per_epoch"), most) if length is not None]
    if total is None and facts.get("total") is None and epochs is not None and lengths:
        total = math.ceil(epochs * min(lengths))
        if len(lengths) == 1 and most is not None:
            notes += (f"max_steps_per_epoch, {most}, is taken for the updates of an epoch; give updates_per_epoch",)
    total = whole(
        "total", fact("total", facts, total, what="the length of the run (epochs × updates_per_epoch)"), least=1
    )
    warmup = section.pop("num_warmup_steps", 0)
    cycles = section.pop("num_cycles", 0.5)
    section.pop("last_epoch", None)
    if section:
        other, takes = next(iter(section)), ("num_warmup_steps", "num_cycles")
        raise DialectError(f"{name} has no argument {other!r}{nearest(str(other), takes)} (it has: {', '.join(takes)})")
    schedule = get_cosine_schedule_with_warmup(lr, warmup, total, cycles)
    return Configured(schedule, "torchtune", f"{name}({lr!r}, {warmup!r}, {total!r}, {cycles!r})", notes)
