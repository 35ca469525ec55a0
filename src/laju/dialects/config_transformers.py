"""Hugging Face `TrainingArguments`, as JSON or a mapping."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from laju.core.checks import number, shown, whole
from laju.dialects import contents
from laju.dialects.base import DialectError
from laju.dialects.configs import Configured, decimal, fact, mapping, no_other_rates
from laju.dialects.transformers import get_scheduler

_LLAMA_FACTORY = {"stage", "finetuning_type"}
"""Keys of LLaMA-Factory, which fills in a `warmup_stable_decay` (0.9.5, train/trainer_utils.py: `create_custom_scheduler`)."""
LEARNING_RATE = 5e-5
"""What `TrainingArguments` has by default."""
_KEYS = (
    "learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_ratio", "warmup_steps", "max_steps", "num_train_epochs",
)  # fmt: skip


def is_one(content: Any) -> bool:
    """Return whether the content looks like TrainingArguments."""
    # axolotl has the ratio, and training scripts of diffusers the epochs.
    shared = {"lr_scheduler_type", "warmup_ratio", "num_train_epochs", "lr_scheduler_kwargs"}
    others = {"base_model", "lr_warmup_steps", "lr_scheduler_num_cycles", "train_dataset"}
    if not isinstance(content, Mapping):
        return False
    return "per_device_train_batch_size" in content or bool(shared & content.keys() and not others & content.keys())


def read(content: Any, where: str, facts: Mapping[str, Any]) -> Configured:
    """Return the schedule of `Trainer`: `get_scheduler` over max_steps, or num_train_epochs times the updates of an epoch."""
    given = mapping(content, where)
    notes = list(no_other_rates(given, _KEYS, "transformers"))
    lr = decimal("learning_rate", given.get("learning_rate"))
    if lr is None:
        lr = LEARNING_RATE if facts.get("lr") is None else facts["lr"]
        notes.append(f"learning_rate is not given: {lr:g}")
    name = str(given.get("lr_scheduler_type") or "linear")
    if "lr_scheduler_type" not in given:
        notes.append("lr_scheduler_type is not given: linear")
    name = name.rpartition(".")[2].lower() if "SchedulerType." in name else name
    total = _updates(given, facts, notes)
    warmup = number("warmup_steps", given.get("warmup_steps") or 0)
    ratio = given.get("warmup_ratio") or 0.0
    # In Transformers 5 a warmup of less than 1 update is a share of the run, and there is no ratio of its own.
    steps = math.ceil(total * warmup) if 0 < warmup < 1 else whole("warmup_steps", warmup)
    if 0 < warmup < 1:
        notes.append(
            f"warmup_steps {warmup:g} is a share of the run, as Transformers 5 takes it; earlier releases refuse it"
        )
    if not steps and ratio:
        steps = math.ceil(total * number("warmup_ratio", ratio, least=0, most=1))
    elif steps and ratio:
        notes.append("warmup_steps and warmup_ratio are both given: warmup_steps is taken, as Trainer does")
    kwargs = given.get("lr_scheduler_kwargs") or {}
    if isinstance(kwargs, str) and kwargs.lstrip().startswith("{"):  # which Trainer takes, too
        with suppress(ValueError):
            kwargs = contents.numbers(json.loads(kwargs))
    if name == "warmup_stable_decay" and _LLAMA_FACTORY & given.keys() and isinstance(kwargs, Mapping):
        stable = (total - steps) // 3
        filled_in = {"num_stable_steps": stable, "num_decay_steps": total - steps - stable}
        if filled_in.keys() - kwargs.keys():
            notes.append(
                "LLaMA-Factory fills in a stable part of a third of the run after the warmup, and a decay over the rest"
            )
        kwargs = {**filled_in, **kwargs}
    if not isinstance(kwargs, Mapping):
        raise DialectError(f"lr_scheduler_kwargs must be a mapping, got {shown(kwargs)}")
    if name == "constant" and steps:
        notes.append(
            "warmup_steps and warmup_ratio have no effect with 'constant'; 'constant_with_warmup' has a warmup"
        )
    schedule = get_scheduler(lr, name, steps, total, kwargs)
    more = f", {dict(kwargs)!r}" if kwargs else ""
    return Configured(
        schedule, "transformers", f"get_scheduler({lr!r}, {name!r}, {steps}, {total}{more})", tuple(notes), length=total
    )


def _updates(given: Mapping[str, Any], facts: Mapping[str, Any], notes: list[str]) -> int:
    most = given.get("max_steps")
    if most is not None and number("max_steps", most) > 0:
        return whole("max_steps", most)
    if facts.get("total") is not None:
        return whole("total", facts["total"], least=1)
    epochs = given.get("num_train_epochs") or 3.0
    if not given.get("num_train_epochs"):
        notes.append("num_train_epochs is not given: 3")
    per_epoch = facts.get("updates_per_epoch")
    if per_epoch is None and facts.get("samples") is not None:
        size = (given.get("per_device_train_batch_size") or 8) * whole(
            "world_size", facts.get("world_size", 1), least=1
        )
        batches = math.ceil(whole("samples", facts["samples"], least=1) / size)
        accumulate = given.get("gradient_accumulation_steps") or 1
        # Trainer makes an update of an epoch's last micro-batches, however few.
        per_epoch = max(-(-batches // accumulate), 1)
    per_epoch = fact(
        "updates_per_epoch",
        facts,
        per_epoch,
        what="the length of the run (max_steps, or with num_train_epochs the updates of one)",
    )
    return math.ceil(number("num_train_epochs", epochs, above=0) * whole("updates_per_epoch", per_epoch, least=1))
