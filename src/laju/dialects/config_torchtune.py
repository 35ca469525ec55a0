"""torchtune's YAML: `lr_scheduler` with a `_component_` of `torchtune.training.lr_schedulers`, and the optimizer's rate.

The module has a single scheduler, `get_cosine_schedule_with_warmup`, the same as in Transformers (torchtune 0.6.1,
torchtune/training/lr_schedulers.py).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from laju.core.checks import nearest, whole
from laju.dialects.base import DialectError
from laju.dialects.configs import Configured, constant, fact
from laju.dialects.sections import Section
from laju.dialects.transformers import get_cosine_schedule_with_warmup

_KNOWN = ("get_cosine_schedule_with_warmup",)
_TAKES: dict[str, Any] = {"num_warmup_steps": 0, "num_cycles": 0.5}
"""The arguments of the scheduler that a file may give, with their defaults."""


def is_one(content: Any) -> bool:
    """Return whether the content looks like a configuration of torchtune."""
    sections = [content.get(key) for key in ("lr_scheduler", "optimizer")] if isinstance(content, Mapping) else []
    return any(isinstance(section, Mapping) and "_component_" in section for section in sections)


def read(content: Any, where: str, facts: Mapping[str, Any]) -> Configured:
    """Return the schedule over `total` updates, or over `epochs` of the configuration times `updates_per_epoch`.

    The recipes keep the rate where no scheduler is named (torchtune 0.6.1, recipes/full_finetune_single_device.py:
    `_setup_lr_scheduler`).
    """
    variables = re.findall(r"\$\{(\w+)", str(content))
    given = Section(content, where, "torchtune", ("lr_scheduler", "epochs", "max_steps_per_epoch", *variables), facts)
    section = given.section("lr_scheduler", (*_TAKES, "num_training_steps"))
    name = str(section.get("_component_")).rpartition(".")[2]
    if section.content and name not in _KNOWN:
        raise DialectError(
            f"lr_scheduler._component_ {name!r} is not one that laju knows{nearest(name, _KNOWN)} ({', '.join(_KNOWN)})"
        )
    lr = given.section("optimizer", ("lr",)).lr("lr")
    if not section.content:
        return constant(lr, "torchtune", "lr_scheduler is not given", given.notes)
    for other in section.content.keys() - {*_TAKES, "_component_", "num_training_steps", "last_epoch"}:
        raise DialectError(
            f"{name} has no argument {other!r}{nearest(str(other), _TAKES)} (it has: {', '.join(_TAKES)})"
        )
    total, epochs, most = section.get("num_training_steps"), given.get("epochs"), given.get("max_steps_per_epoch")
    # max_steps_per_epoch cuts an epoch short; where the epoch's own length is not known, the cut stands for the length.
    lengths = [length for length in (facts.get("updates_per_epoch"), most) if length is not None]
    if total is None and facts.get("total") is None and epochs is not None and lengths:
        total = math.ceil(epochs * min(lengths))
        if len(lengths) == 1 and most is not None:
            given.notes.append(
                f"max_steps_per_epoch, {most}, is taken for the updates of an epoch; give updates_per_epoch"
            )
    what = "the length of the run (epochs × updates_per_epoch)"
    total = given.length = whole("total", fact("total", facts, total, what=what), least=1)
    warmup, cycles = (value if (value := section.get(key)) is not None else by for key, by in _TAKES.items())
    schedule = get_cosine_schedule_with_warmup(lr, warmup, total, cycles)
    return Configured(
        schedule, "torchtune", f"{name}({lr!r}, {warmup!r}, {total!r}, {cycles!r})", tuple(given.notes), length=total
    )
