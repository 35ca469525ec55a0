"""GPT-NeoX's YAML, whose keys have hyphens or underscores, and the optimizer's rate under `optimizer.params`.

The decay begins at the end of the warmup, but has the length of the whole run, so the run ends before the decay (GPT-NeoX
0535bfbb, megatron/learning_rates.py: `AnnealingLR`; 43cc879d, megatron/training.py: `get_learning_rate_scheduler`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from laju.core.pieces import Constant, Exponential, Ramp
from laju.core.schedule import Schedule
from laju.dialects.base import DialectError
from laju.dialects.configs import Configured
from laju.dialects.sections import Section, has

_STYLES = ("constant", "linear", "cosine", "exponential")
_KEYS = (
    "lr_decay_style", "lr_decay_iters", "lr_decay_fraction", "train_iters", "min_lr", "warmup", "lr", "override_lr_scheduler",
    "use_checkpoint_lr_scheduler",
)  # fmt: skip
WARMUP = 0.01
"""The share of the decay's length, by default."""


def _underscored(content: Mapping[str, Any]) -> dict[str, Any]:
    names = {name.replace("_", "-"): name for name in _KEYS}
    return {names.get(key, key): value for key, value in content.items()}


def is_one(content: Any) -> bool:
    """Return whether the content looks like a configuration of GPT-NeoX."""
    return has(content, "optimizer.params") and "train_iters" in _underscored(content)


def read(content: Any, where: str, facts: Mapping[str, Any]) -> Configured:
    """Return the schedule of updates.

    Raises:
        DialectError: see `read_config`; also if the warmup is longer than half of the decay.
    """
    given = Section(_underscored(content), where, "gptneox", _KEYS, facts)
    if len(given.content) < len(content):
        raise DialectError(f"{where} has a key with hyphens and with underscores: give one of the two")
    peak = given.section("optimizer", ()).section("params", ("lr",)).lr("lr")
    run = given.total("train_iters")
    length = run
    if given.get("lr_decay_iters") is not None:
        length = given.whole("lr_decay_iters", least=1)
    elif given.get("lr_decay_fraction") is not None:
        length = max(1, math.floor(run * given.number("lr_decay_fraction", least=0)))
    warmup = given.number("warmup", WARMUP, least=0, most=1) * length
    if 2 * warmup > length:
        raise DialectError(
            f"warmup of {warmup:g} of {length:,} iterations never ends in GPT-NeoX: at most half of them"
        )
    style, low = given.choice("lr_decay_style", _STYLES, "linear"), given.number("min_lr", 0.0, least=0, most=peak)
    decay: Schedule = Constant(peak)
    if style == "exponential":
        decay = Exponential(peak, math.exp(-0.693), length)
    elif style != "constant":
        decay = Ramp(peak, 0.0, length, style)
    left = length - 2 * warmup  # from there on the count of iterations is held
    decay = decay.take(left) >> decay(left) if left else Constant(peak)
    decay = decay.clip(low=low) if low else decay
    return given.configured(Ramp(0.0, peak, warmup) >> decay if warmup else decay)
