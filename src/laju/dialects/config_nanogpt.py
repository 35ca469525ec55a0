"""nanoGPT's Python files, or JSON, with `learning_rate`, `warmup_iters`, `lr_decay_iters`, `min_lr` and `decay_lr`.

The schedule is a linear warmup and half a cosine wave (karpathy/nanoGPT, train.py: `get_lr`; there are no releases). Older copies
warm up from 0 as learning_rate·it/warmup_iters, later copies as learning_rate·(it + 1)/(warmup_iters + 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from laju.core.checks import number, shown, whole
from laju.core.pieces import Constant, Ramp
from laju.core.schedule import Schedule
from laju.dialects.base import DialectError
from laju.dialects.configs import Configured, constant, mapping, no_other_rates

# The defaults of train.py.
_DEFAULTS: dict[str, Any] = {
    "learning_rate": 6e-4, "warmup_iters": 2000, "lr_decay_iters": 600_000, "min_lr": 6e-5, "decay_lr": True,
}  # fmt: skip


def is_one(content: Any) -> bool:
    """Return whether the content looks like a configuration of nanoGPT; Megatron has an `lr`, and GPT-NeoX `train_iters`."""
    own = {"lr_decay_iters", "decay_lr"}
    return isinstance(content, Mapping) and bool(own & content.keys()) and not {"lr", "train_iters"} & content.keys()


def read(content: Any, where: str, facts: Mapping[str, Any]) -> Configured:
    """Return the schedule of updates; the fact `warmup_from=0` is for a copy of train.py whose warmup begins at 0.

    Raises:
        DialectError: if a fact is missing or a key about the learning rate is not read; see `read_config`.
    """
    given = mapping(content, where)
    notes = list(no_other_rates(given, tuple(_DEFAULTS), "nanogpt"))
    own = {name: given[name] if given.get(name) is not None else value for name, value in _DEFAULTS.items()}
    notes += [f"{name} is not given: {own[name]!r}, as in train.py" for name in _DEFAULTS if given.get(name) is None]
    rate, low = number("learning_rate", own["learning_rate"], least=0), number("min_lr", own["min_lr"], least=0)
    if not isinstance(own["decay_lr"], bool):
        raise DialectError(f"decay_lr must be true or false, got {shown(own['decay_lr'])}")
    if not own["decay_lr"]:
        return constant(rate, "nanogpt", "decay_lr is false", notes)
    warmup = whole("warmup_iters", own["warmup_iters"], least=0)
    end = whole("lr_decay_iters", own["lr_decay_iters"], least=0)
    if end <= warmup:
        raise DialectError(f"lr_decay_iters must be after the warmup of {warmup:,} updates, got {end:,}")
    schedule: Schedule = Ramp(rate, low, end - warmup, "cosine") >> Constant(low)
    if warmup:
        old = facts.get("warmup_from")
        if old not in (None, 0):
            raise DialectError(
                f"warmup_from can only be 0, which older copies of train.py begin with, got {shown(old)}"
            )
        schedule = Ramp(rate / (warmup + 1) if old is None else 0.0, rate, warmup) >> schedule
        if old is None:
            notes.append(
                "the warmup begins at learning_rate / (warmup_iters + 1); in older copies of train.py, which have it / "
                "warmup_iters, at 0: give warmup_from=0 (--fact warmup_from=0)"
            )
    return Configured(schedule, "nanogpt", str(schedule), tuple(notes))
