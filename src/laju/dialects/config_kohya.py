"""Settings of kohya's training scripts (sd-scripts), as TOML, JSON or the command itself.

A fractional warmup or decay is a share of the run, and a whole number counts steps of the scheduler, of which an update makes as
many as there are processes (kohya-ss/sd-scripts, library/train_util.py: `get_scheduler_fix`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from laju.core.checks import shown, whole
from laju.dialects.base import DialectError
from laju.dialects.configs import Configured
from laju.dialects.sections import Section
from laju.dialects.transformers import get_scheduler

NAMES = (
    "linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup", "inverse_sqrt",
    "cosine_with_min_lr", "warmup_stable_decay",
)  # fmt: skip
_KEYS = (
    "learning_rate", "lr_scheduler", "lr_warmup_steps", "lr_decay_steps", "lr_scheduler_num_cycles", "lr_scheduler_power",
    "lr_scheduler_timescale", "lr_scheduler_min_lr_ratio", "lr_scheduler_args", "lr_scheduler_type",
    "unet_lr", "text_encoder_lr", "max_train_steps", "max_train_epochs",
    "huber_schedule", "token_warmup_min", "token_warmup_step",  # of the loss, and of captions
)  # fmt: skip
MAX_TRAIN_STEPS = 1600
"""What the scripts have by default."""


def _flat(content: Any) -> Any:
    """Return the settings of all sections, whose names the scripts ignore (library/train_util.py: `read_config_from_file`)."""
    if not isinstance(content, Mapping):
        return content
    sections = [value if isinstance(value, Mapping) else {key: value} for key, value in content.items()]
    return {key: value for section in sections for key, value in section.items()}


def is_one(content: Any) -> bool:
    """Return whether the content looks like settings of kohya's scripts."""
    content = _flat(content)
    own = {
        "lr_scheduler_num_cycles",
        "lr_scheduler_power",
        "network_module",
        "max_train_epochs",
        "lr_scheduler_min_lr_ratio",
    }
    return isinstance(content, Mapping) and bool(own & content.keys()) and "lr_num_cycles" not in content


def read(content: Any, where: str, facts: Mapping[str, Any]) -> Configured:
    """Return the schedule of updates: max_train_steps, or max_train_epochs times `updates_per_epoch`.

    Raises:
        DialectError: see `read_config`; also if the scheduler is from another library.
    """
    given = Section(_flat(content), where, "kohya", _KEYS, facts)
    for key in ("lr_scheduler_type", "lr_scheduler_args"):
        if given.get(key):
            raise DialectError(f"{key} takes a scheduler of another library, or arguments, which laju does not read")
    if str(given.get("optimizer_type") or "").lower().endswith("schedulefree"):
        raise DialectError(
            f"optimizer_type {given.get('optimizer_type')} schedules the rate itself, and not lr_scheduler"
        )
    if str(given.get("optimizer_type") or "").lower() == "adafactor" and not _own_rate(given.get("optimizer_args")):
        raise DialectError(
            "optimizer_type Adafactor chooses the rate itself, whatever lr_scheduler says, unless optimizer_args has "
            "relative_step=False (and no warmup_init=True)"
        )
    groups = [key for key in ("unet_lr", "text_encoder_lr") if given.get(key) is not None]
    own = "learning_rate"
    if groups and groups[0] == "unet_lr" and (len(groups) == 2 or given.get("network_train_unet_only")):
        own, *groups = groups
        given.notes.append("learning_rate is the rate of no parameter: the rate is unet_lr")
    given.notes += [f"{key} is left out: the rate of its own parameters, on the same schedule" for key in groups]
    rate = given.lr(own)
    name = given.choice("lr_scheduler", NAMES, "constant")
    each = whole("num_processes", facts.get("num_processes") or 1, least=1)
    epochs = given.get("max_train_epochs") is not None  # which go before max_train_steps there
    total = 0
    if name not in ("constant", "constant_with_warmup", "inverse_sqrt") or isinstance(
        given.get("lr_warmup_steps"), float
    ):
        if not epochs and given.get("max_train_steps") is None and facts.get("total") is None:
            given.notes.append(f"max_train_steps is not given: {MAX_TRAIN_STEPS}")
            total = MAX_TRAIN_STEPS * each
        else:
            total = given.total(*(() if epochs else ("max_train_steps",)), epochs="max_train_epochs") * each
    warmup, decay = _steps(given, "lr_warmup_steps", total), _steps(given, "lr_decay_steps", total)
    if name == "constant" and warmup:
        raise DialectError(f"lr_warmup_steps must be 0 with 'constant', as the scripts require, got {warmup}")
    cycles, low = given.whole("lr_scheduler_num_cycles", 1), given.get("lr_scheduler_min_lr_ratio")
    timescale = given.get("lr_scheduler_timescale")
    each_own: dict[str, dict[str, Any]] = {
        "cosine_with_restarts": {"num_cycles": cycles},
        "polynomial": {"power": given.number("lr_scheduler_power", 1.0)},
        "inverse_sqrt": {} if timescale is None else {"timescale": timescale},
        "cosine_with_min_lr": {"num_cycles": cycles / 2, "min_lr_rate": low},
        "warmup_stable_decay": {
            "num_stable_steps": total - warmup - decay, "num_decay_steps": decay, "num_cycles": cycles / 2,
            "min_lr_ratio": 0.0 if low is None else low,
        },
    }  # fmt: skip
    kwargs = each_own.get(name, {})
    schedule = get_scheduler(rate, name, warmup, total, kwargs)
    if each > 1:
        return given.configured(schedule.stretch(1 / each))
    if warmup:
        given.notes.append(
            "of one process: with more, whole warmups are as many times shorter (--fact num_processes=N)"
        )
    more = f", {kwargs!r}" if kwargs else ""
    return given.configured(schedule, call=f"get_scheduler({rate!r}, {name!r}, {warmup}, {total}{more})")


def _own_rate(given: Any) -> bool:
    """Return whether Adafactor uses the scheduler's learning rate (library/train_util.py: `get_optimizer`)."""
    words = given.split() if isinstance(given, str) else given if isinstance(given, list) else []
    says = {str(word).replace(" ", "").lower() for word in words}
    return "relative_step=false" in says and "warmup_init=true" not in says


def _steps(given: Section, name: str, total: int) -> int:
    value = given.get(name) or 0
    if isinstance(value, float) and not 0 <= value < 1:
        raise DialectError(f"{name} must be whole, or a share of the run below 1, got {shown(value)}")
    return int(value * total) if isinstance(value, float) else given.whole(name) if value else 0
