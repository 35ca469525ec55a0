"""Arguments of the training scripts of diffusers, as YAML, JSON, TOML or the command itself.

The scripts step the scheduler once per process, over lengths multiplied by the number of processes, so that an update has the
rate of a run with a single process (diffusers 0.42.1, optimization.py: `get_scheduler`;
examples/text_to_image/train_text_to_image.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from laju.core.checks import whole
from laju.dialects.configs import Configured, fact
from laju.dialects.sections import Section
from laju.dialects.transformers import get_scheduler

NAMES = ("linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup")
_KEYS = ("learning_rate", "lr_scheduler", "lr_warmup_steps", "lr_num_cycles", "lr_power", "scale_lr")
_KOHYA = {"lr_scheduler_num_cycles", "lr_scheduler_power", "network_module", "max_train_epochs", "unet_lr"}


def is_one(content: Any) -> bool:
    """Return whether the content looks like arguments of a training script of diffusers; kohya's scripts have different names."""
    own = {"lr_warmup_steps", "lr_num_cycles", "lr_power"}
    return isinstance(content, Mapping) and bool(own & content.keys()) and not _KOHYA & content.keys()


def read(content: Any, where: str, facts: Mapping[str, Any]) -> Configured:
    """Return the schedule of updates: max_train_steps, or num_train_epochs times `updates_per_epoch`.

    Raises:
        DialectError: if a fact is missing or a key about the learning rate is not read; see `read_config`.
    """
    given = Section(content, where, "diffusers", _KEYS, facts)
    rate = given.lr("learning_rate")
    if given.flag("scale_lr") and facts.get("lr") is None:
        # The rate by the samples of an update.
        processes = whole(
            "num_processes", fact("num_processes", facts, what="scale_lr multiplies by num_processes, which"), least=1
        )
        accumulate = given.whole("gradient_accumulation_steps", 1, least=1)
        rate *= accumulate * given.whole("train_batch_size", least=1) * processes
    name = given.choice("lr_scheduler", NAMES, "constant")
    warmup = total = 0
    kwargs: dict[str, Any] = {}
    if name != "constant":
        steps = fact(
            "lr_warmup_steps", facts, given.get("lr_warmup_steps"), what="lr_warmup_steps (500 in most scripts)"
        )
        warmup = whole("lr_warmup_steps", steps)
    if name not in ("constant", "constant_with_warmup"):
        total = given.total("max_train_steps", epochs="num_train_epochs")
    if name == "cosine_with_restarts":
        kwargs = {"num_cycles": given.whole("lr_num_cycles", 1, least=1)}
    elif name == "polynomial":
        kwargs = {"power": given.number("lr_power", 1.0)}
    schedule = get_scheduler(rate, name, warmup, total, kwargs)
    more = f", {kwargs!r}" if kwargs else ""
    return given.configured(schedule, call=f"get_scheduler({rate!r}, {name!r}, {warmup}, {total}{more})")
