"""MMEngine's configurations: `param_scheduler`, with `optim_wrapper` and `train_cfg`, as Python, JSON or YAML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from laju.core.checks import shown, whole
from laju.dialects.base import DialectError
from laju.dialects.configs import Configured, constant, fact, mapping, no_other_rates
from laju.dialects.mmengine import param_scheduler
from laju.dialects.python_config import Unread


def is_one(content: Any) -> bool:
    """Return whether the content looks like a configuration of MMEngine, or like its list of schedulers."""
    if isinstance(content, list):
        return bool(content) and all(isinstance(item, Mapping) and "type" in item for item in content)
    return isinstance(content, Mapping) and "param_scheduler" in content


def read(content: Any, where: str, facts: Mapping[str, Any]) -> Configured:
    """Return the schedule of iterations; of epochs where all schedulers step by epoch and `updates_per_epoch` is not given."""
    given = {"param_scheduler": content} if isinstance(content, list) else mapping(content, where)
    schedulers = given.get("param_scheduler")
    if "param_scheduler" not in given and "optim_wrapper" not in given:
        raise DialectError(f"{where} has neither param_scheduler nor optim_wrapper, which MMEngine's rate comes from")
    if schedulers is None:
        schedulers = []
    if isinstance(schedulers, Mapping) and "type" in schedulers:
        schedulers = [schedulers]
    if not isinstance(schedulers, list):
        raise DialectError(f"param_scheduler must be a list of entries with a type, got {shown(schedulers)}")
    schedulers = [_entry(f"param_scheduler[{i}]", entry) for i, entry in enumerate(schedulers)]
    others = [entry["type"] for entry in schedulers if str(entry.get("type")).endswith("WeightDecay")]
    schedulers = [entry for entry in schedulers if entry.get("type") not in others]
    wrapper = mapping(given.get("optim_wrapper") or {}, "optim_wrapper")
    optimizer = mapping(wrapper.get("optimizer") or {}, "optim_wrapper.optimizer")
    # A plain value is a variable of a Python file, which MMEngine does not look at.
    sections = {key: value for key, value in given.items() if isinstance(value, Mapping | list | tuple)}
    notes = list(no_other_rates(sections, ("param_scheduler", "auto_scale_lr"), "mmengine"))
    notes += no_other_rates(wrapper, (), "mmengine", "optim_wrapper")
    notes += no_other_rates(optimizer, ("lr",), "mmengine", "optim_wrapper.optimizer")
    lr = fact("lr", facts, _known("optim_wrapper.optimizer.lr", optimizer.get("lr")), what="the optimizer's rate")
    notes += [f"{name} is left out: it schedules the weight decay" for name in others]
    if not schedulers:
        return constant(lr, "mmengine", "no entry of param_scheduler schedules the rate", notes)
    loop = mapping(given.get("train_cfg") or {}, "train_cfg")
    known: dict[str, Any] = {}
    for name in ("max_epochs", "max_iters"):
        value = facts.get(name, _known(f"train_cfg.{name}", loop.get(name)))
        if value is not None:
            known[name] = value
    each = facts.get("updates_per_epoch", facts.get("epoch_length"))
    if each is not None and "max_iters" not in known:
        known["epoch_length"] = each
    counts = wrapper.get("accumulative_counts")
    if isinstance(counts, int) and counts > 1:
        notes.append(f"the schedule counts iterations, of which accumulative_counts={counts} make an update")
    scaled = given.get("auto_scale_lr")
    if isinstance(scaled, Mapping) and scaled.get("enable"):
        notes.append("auto_scale_lr multiplies the rate by the real batch size over its base_batch_size: give lr=…")
    schedule = param_scheduler(lr, schedulers, **known)
    said = "".join(f", {key}={value!r}" for key, value in known.items())
    call = f"param_scheduler({lr!r}, {schedulers!r}{said})"
    return Configured(schedule, "mmengine", call, tuple(notes), length=_length(known, schedulers))


def _length(known: Mapping[str, Any], schedulers: list[dict[str, Any]]) -> int | None:
    """Return the length of the run in iterations, or in epochs if every entry counts epochs and the epoch's length is unknown."""
    by_epoch = [entry.get("by_epoch", True) is True for entry in schedulers]
    if "max_iters" in known:
        return None if any(by_epoch) else whole("max_iters", known["max_iters"], least=1)
    if "max_epochs" not in known:
        return None
    epochs = whole("max_epochs", known["max_epochs"], least=1)
    if "epoch_length" in known:
        return epochs * whole("epoch_length", known["epoch_length"], least=1)
    return epochs if all(by_epoch) else None


def _known(name: str, value: Any) -> Any:
    if isinstance(value, Unread):
        raise DialectError(f"{name} is {value}, which is not known without executing the file; give {name}=…")
    return value


def _entry(name: str, entry: Any) -> dict[str, Any]:
    if isinstance(entry, Unread) or not isinstance(entry, Mapping):
        raise DialectError(f"{name} must be an entry such as dict(type='LinearLR'), got {entry!r}")
    for key, value in entry.items():
        for item in value if isinstance(value, list | tuple) else (value,):
            _known(f"{name}.{key}", item)
    return dict(entry)
