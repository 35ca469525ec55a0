"""LLaMA-Factory's YAML for its version 1; its earlier files are TrainingArguments of Transformers, and read as these.

The trainer steps a constant rate, unless a plugin schedules the rate (LLaMA-Factory 0.9.5, v1/core/base_trainer.py:
`_init_lr_scheduler`; v1/config/training_args.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from laju.core.checks import shown
from laju.dialects.base import DialectError
from laju.dialects.configs import Configured, constant
from laju.dialects.sections import Section, has

_KEYS = ("learning_rate", "lr_scheduler_config")
LEARNING_RATE = 1e-4
"""What its training arguments have by default."""


def is_one(content: Any) -> bool:
    """Return whether the content looks like a configuration of LLaMA-Factory's version 1."""
    own = has(content, "model", "train_dataset") and "per_device_train_batch_size" not in content
    return own and isinstance(content["model"], str)  # of MMEngine, a dict


def read(content: Any, where: str, facts: Mapping[str, Any]) -> Configured:
    """Return the constant schedule of the learning rate.

    Raises:
        DialectError: see `read_config`; also if a plugin schedules the learning rate.
    """
    given = Section(content, where, "llamafactory", _KEYS, facts)
    plugin = given.get("lr_scheduler_config")
    if plugin is not None:
        raise DialectError(f"lr_scheduler_config names a plugin, which laju does not read: {shown(plugin)}")
    rate = given.lr("learning_rate", LEARNING_RATE)
    return constant(rate, "llamafactory", "lr_scheduler_config is not given", given.notes)
