"""axolotl's YAML: TrainingArguments under names of its own, with a cosine and a warmup by default."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from laju.core.checks import number, shown, whole
from laju.dialects import config_transformers
from laju.dialects.base import DialectError
from laju.dialects.configs import Configured, decimal, fact, mapping, no_other_rates

_KEYS = (
    "learning_rate",
    "lr_scheduler",
    "lr_scheduler_kwargs",
    "warmup_ratio",
    "warmup_steps",
    "cosine_min_lr_ratio",
    "max_steps",
    "num_epochs",
)
_UNREAD = ("relora", "relora_steps", "jagged_restart_steps", "lr_quadratic_warmup", "cosine_constant_lr_ratio")
SHARE, MOST = 0.03, 100
"""The warmup by default: so much of the run, and at most so many updates."""


def is_one(content: Any) -> bool:
    """Return whether the content looks like a configuration of axolotl."""
    own = {"lr_scheduler", "num_epochs", "micro_batch_size", "sequence_len"}
    return isinstance(content, Mapping) and "base_model" in content and bool(own & set(content))


def read(content: Any, where: str, facts: Mapping[str, Any]) -> Configured:
    """Return the schedule of the run: max_steps updates, or num_epochs times `updates_per_epoch`.

    Source: axolotl, `core/builders/base.py` and `core/trainers/mixins/scheduler.py`.
    """
    given = mapping(content, where)
    unread = next((key for key in _UNREAD if given.get(key)), None)
    name = given.get("lr_scheduler") or "cosine"
    if unread is not None or name in ("one_cycle", "rex"):
        key = unread or "lr_scheduler"
        raise DialectError(f"{key}: {shown(given[key])} of axolotl is a schedule that laju does not read")
    notes = list(no_other_rates(given, _KEYS, "axolotl"))
    if not given.get("lr_scheduler"):
        notes.append("lr_scheduler is not given: cosine")
    limit = decimal("max_steps", given.get("max_steps")) or 0
    most = limit if limit > 0 else facts.get("total")
    if most is None:
        if given.get("num_epochs") is None:
            notes.append("num_epochs is not given: 1")
        each = fact("updates_per_epoch", facts, what="the length of the run (max_steps, or the updates of an epoch)")
        epochs = number("num_epochs", decimal("num_epochs", given.get("num_epochs") or 1.0), above=0)
        most = math.ceil(epochs * whole("updates_per_epoch", each, least=1))
    total = whole("max_steps", most, least=1)
    warmup = _warmup(given, total if limit >= 0 else 0, notes)
    if limit < 0:
        notes.append(
            "max_steps below 0 is no limit, but axolotl takes the warmup's share of it: a share makes no warmup"
        )
    kwargs = given.get("lr_scheduler_kwargs") or {}
    floor = decimal("cosine_min_lr_ratio", given.get("cosine_min_lr_ratio"))
    if floor and name == "cosine":
        name, kwargs = "cosine_with_min_lr", {"min_lr_rate": number("cosine_min_lr_ratio", floor, least=0, most=1)}
    elif floor:
        notes.append(f"cosine_min_lr_ratio has no effect with {name!r}")
    rate = fact("lr", facts, given.get("learning_rate"), what="learning_rate")
    # axolotl trains with Transformers' Trainer: what it decides itself is said as arguments of that, and the rest is read
    # there.
    arguments = {
        "learning_rate": rate, "lr_scheduler_type": name, "lr_scheduler_kwargs": kwargs, "warmup_steps": warmup,
        "max_steps": total,
    }  # fmt: skip
    found = config_transformers.read(arguments, where, {})
    return Configured(found.schedule, "axolotl", found.call, (*notes, *found.notes), length=total)


def _warmup(given: Mapping[str, Any], total: int, notes: list[str]) -> Any:
    """Return the updates of the warmup; a fraction of the run is rounded down, and a warmup of 1 becomes 2."""
    steps = decimal("warmup_steps", given.get("warmup_steps"))
    ratio = decimal("warmup_ratio", given.get("warmup_ratio"))
    if steps is None and ratio is None:
        steps = min(int(SHARE * total), MOST)
        notes.append(f"neither warmup_steps nor warmup_ratio is given: {SHARE:.0%} of the run, at most {MOST} updates")
    elif steps is None:
        exact = total * number("warmup_ratio", ratio, least=0, most=1)
        steps = int(exact)
        if steps != exact:
            notes.append(
                f"warmup_ratio makes {exact:g} updates: axolotl rounds down, and up where the data is streamed"
            )
    if given.get("warmup_steps") == 0 or ratio == 0:
        notes.append("a warmup of 0 is none, as in recent releases; earlier ones then take their default warmup")
    return 2 if steps == 1 else steps
