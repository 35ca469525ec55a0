"""Arguments of Megatron-LM: the command itself, or its arguments as YAML or JSON.

Lengths are iterations, or samples of which an update takes global_batch_size (Megatron-LM core_v0.16.1, megatron/training/
training.py: `get_optimizer_param_scheduler`); the dialect has the scheduler's use of the lengths.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from laju.core.checks import number
from laju.core.pieces import Constant, Ramp
from laju.core.schedule import Schedule
from laju.dialects.base import DialectError
from laju.dialects.configs import Configured
from laju.dialects.megatron import OptimizerParamScheduler
from laju.dialects.sections import Section, has

_STYLES = ("constant", "linear", "cosine", "inverse-square-root", "WSD")
_KEYS = (
    "lr", "min_lr", "lr_decay_style", "lr_decay_iters", "lr_decay_samples", "lr_warmup_fraction", "lr_warmup_iters",
    "lr_warmup_samples", "lr_warmup_init", "lr_wsd_decay_style", "lr_wsd_decay_iters", "lr_wsd_decay_samples", "train_iters",
    "train_samples", "decoupled_lr", "decoupled_min_lr", "override_opt_param_scheduler", "use_checkpoint_opt_param_scheduler",
)  # fmt: skip


def is_one(content: Any) -> bool:
    """Return whether the content looks like arguments of Megatron-LM."""
    own = {"lr_decay_style", "lr_warmup_fraction", "lr_warmup_iters", "train_iters", "train_samples", "lr_decay_iters"}
    return has(content, "lr") and bool(own & content.keys())


def read(content: Any, where: str, facts: Mapping[str, Any]) -> Configured:
    """Return the schedule of updates.

    Raises:
        DialectError: see `read_config`; also if the batch size grows, because samples then cannot be converted to updates.
    """
    given = Section(content, where, "megatron", _KEYS, facts)
    for key in ("decoupled_lr", "decoupled_min_lr"):
        if given.get(key) is not None:
            given.notes.append(f"{key} is left out: the rate of the embeddings and the output layer")
    if given.get("use_checkpoint_opt_param_scheduler"):
        given.notes.append(
            "use_checkpoint_opt_param_scheduler: a run that is resumed takes the schedule of its checkpoint"
        )
    if given.get("rampup_batch_size") is not None:
        raise DialectError("rampup_batch_size makes the batch grow, so that samples are no lengths in updates")
    samples = given.get("train_samples") is not None and given.get("train_iters") is None
    unit = "samples" if samples else "iters"
    batch = given.whole("global_batch_size", least=1) if samples else 1
    run = given.whole("train_samples", least=1) if samples else given.total("train_iters")
    given.length = run // batch
    steps = run if given.get(f"lr_decay_{unit}") is None else given.whole(f"lr_decay_{unit}", least=1)
    fraction, counted = (
        given.get("lr_warmup_fraction"),
        given.whole(f"lr_warmup_{unit}") if given.get(f"lr_warmup_{unit}") else 0,
    )
    if fraction is not None and counted:
        raise DialectError(f"lr_warmup_fraction and lr_warmup_{unit} are both given, which Megatron-LM refuses")
    warmup = counted if fraction is None else number("lr_warmup_fraction", fraction, least=0, most=1) * steps
    # A share such as 0.1 of 1,000 steps is 100.00000000000001 in floats.
    if abs(warmup - round(warmup)) < 1e-9 * steps:
        warmup = round(warmup)
    style = given.choice("lr_decay_style", _STYLES, "linear")
    peak, low = given.lr("lr"), given.number("min_lr", 0.0)
    first = given.number("lr_warmup_init") if given.get("lr_warmup_init") else 0.0
    arguments: list[Any] = [first, peak, low, warmup, steps, style]
    if style == "WSD":
        arguments += [given.whole(f"lr_wsd_decay_{unit}"), given.get("lr_wsd_decay_style", "exponential")]
    if not isinstance(warmup, int):
        return given.configured(_between(first, peak, low, warmup, steps, style, batch), _counts(samples, batch))
    schedule = OptimizerParamScheduler(*arguments, increment=batch)
    text = ", ".join([*map(repr, arguments), *([f"increment={batch}"] if samples else [])])
    return given.configured(schedule, _counts(samples, batch), f"OptimizerParamScheduler({text})", "megatron")


def _counts(samples: bool, batch: int) -> str:
    return f"updates, of {batch:,} samples each" if samples else "updates"


def _between(first: float, peak: float, low: float, warmup: float, steps: int, style: str, batch: int) -> Schedule:
    """Schedule with a warmup that ends between two steps."""
    if style not in ("constant", "linear", "cosine"):
        raise DialectError(
            f"lr_warmup_fraction makes {warmup:g} steps, which laju reads for constant, linear and cosine only"
        )
    decay = Constant(peak) if style == "constant" else Ramp(peak, low, (steps - warmup) / batch, style)
    return Ramp(first, peak, warmup / batch) >> decay
