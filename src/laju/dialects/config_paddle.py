"""YAML of PaddleDetection (`LearningRate`) and PaddleClas (`Optimizer.lr`), with the `_BASE_` files in its folder.

Lengths are epochs, which `updates_per_epoch` turns into iterations (paddledet 2.6.0, ppdet/optimizer/optimizer.py; PaddleClas
2.5, ppcls/optimizer/learning_rate.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from laju.core.checks import number, shown, whole
from laju.core.pieces import Constant, Ramp
from laju.core.schedule import Schedule
from laju.dialects import paddle
from laju.dialects.base import DialectError
from laju.dialects.configs import Configured
from laju.dialects.python_config import Unread
from laju.dialects.sections import Section, has

_COMMON = ("name", "learning_rate", "warmup_epoch", "warmup_start_lr", "by_epoch")
_CLAS = {
    "Constant": (), "ConstLR": (), "Cosine": ("eta_min",), "Linear": ("end_lr", "power"), "Step": ("step_size", "gamma"),
    "Piecewise": ("decay_epochs", "values"), "MultiStepDecay": ("milestones", "gamma"),
}  # fmt: skip
_WARMUPS = {"LinearWarmup": ("steps", "start_factor", "epochs"), "ExpWarmup": ("steps", "epochs", "power")}
_DECAYS = {
    "PiecewiseDecay": ("gamma", "milestones", "values", "use_warmup"),
    "CosineDecay": ("max_epochs", "use_warmup", "min_lr_ratio", "last_plateau_epochs"),
}


def is_one(content: Any) -> bool:
    """Return whether the content looks like a configuration of PaddleDetection or PaddleClas."""
    return has(content, "LearningRate.base_lr") or has(content, "Optimizer.lr.name")


def read(content: Any, where: str, facts: Mapping[str, Any]) -> Configured:
    """Return the schedule of iterations.

    Raises:
        DialectError: if a fact is missing or a key about the learning rate is not read; see `read_config`.
    """
    return (_detection if has(content, "LearningRate") else _clas)(content, where, facts)


def _detection(content: Any, where: str, facts: Mapping[str, Any]) -> Configured:
    given = Section(content, where, "paddle", ("LearningRate",), facts)
    section = given.section("LearningRate", ("base_lr", "schedulers"))
    rate, each = section.lr("base_lr", 0.01), given.per_epoch()
    entries = section.get("schedulers", [{"name": "PiecewiseDecay"}, {"name": "LinearWarmup"}])
    if not isinstance(entries, list) or not entries:
        raise DialectError(f"LearningRate.schedulers must be a list, got {shown(entries)}")
    own = [_entry(section, i, entry, _WARMUPS if i else _DECAYS) for i, entry in enumerate(entries[:2])]
    if given.get("epoch") is not None:
        given.length = given.whole("epoch", least=1) * each
    (name, decay), warm = own[0], 0
    head: Schedule | None = None
    if decay.flag("use_warmup", True):
        if len(own) < 2:
            raise DialectError("LearningRate.schedulers needs a warmup after the decay, unless use_warmup is false")
        kind, warmup = own[1]
        epochs = warmup.get("epochs")
        steps = (
            warmup.whole("steps", 500 if kind == "LinearWarmup" else 1000)
            if epochs is None
            else warmup.whole("epochs") * each
        )
        warm = max(steps, 1)
        if kind == "LinearWarmup":
            head = Ramp(rate * warmup.number("start_factor", 1 / 3), rate, warm)
        else:
            head = Ramp(0.0, rate, warm, f"rising_power({warmup.number('power', 2)!r})")
    after = _piecewise(decay, rate, each) if name == "PiecewiseDecay" else _cosine(decay, rate, each, warm)
    if head is not None:
        after = head >> (after.shift(-warm) if name == "PiecewiseDecay" else after)
    return given.configured(after, "iterations")


def _entry(section: Section, i: int, entry: Any, known: Mapping[str, tuple[str, ...]]) -> tuple[str, Section]:
    if isinstance(entry, Unread):  # a tag without arguments, such as !CosineDecay
        entry = {"_tag_": entry.text.lstrip("!")}
    name = entry.get("_tag_", entry.get("name")) if isinstance(entry, Mapping) else None
    if not isinstance(name, str) or name not in known:
        raise DialectError(f"LearningRate.schedulers[{i}] must be one of {', '.join(known)}, got {shown(name)}")
    takes = (*known[name], "_tag_", "name")
    other = next((key for key in entry if key not in takes), None)
    if other is not None:
        raise DialectError(f"{name} of PaddleDetection has no argument {other!r} (it has: {', '.join(known[name])})")
    return name, section.section(f"schedulers[{i}]", takes, entry)


def _piecewise(decay: Section, rate: float, each: int) -> Schedule:
    if decay.get("values") is not None:
        raise DialectError("values of PiecewiseDecay are not read: give gamma")
    milestones, gamma = decay.get("milestones", [8, 11]), decay.get("gamma", [0.1, 0.01])
    if not isinstance(milestones, list):
        raise DialectError(f"milestones must be a list, got {shown(milestones)}")
    if not isinstance(gamma, list):  # a number is divided by 10 from milestone to milestone
        gamma = [number("gamma", gamma) / 10**i for i in range(len(milestones))]
    at = [each * whole(f"milestones[{i}]", epoch) for i, epoch in enumerate(milestones)]
    if len(gamma) != len(at) or sorted(at) != at:
        raise DialectError(
            f"PiecewiseDecay needs one gamma for each of the rising milestones, got {gamma} and {milestones}"
        )
    return paddle.PiecewiseDecay(at, [rate, *(rate * share for share in gamma)]) if at else Constant(rate)


def _cosine(decay: Section, rate: float, each: int, warm: int) -> Schedule:
    low = rate * decay.number("min_lr_ratio", 0.0)
    total = decay.whole("max_epochs", 1000, least=1) * each
    flat = decay.whole("last_plateau_epochs") * each if decay.get("last_plateau_epochs") else 0
    if total - flat <= warm:
        raise DialectError(
            f"max_epochs must be longer than the warmup and the plateau, {warm + flat:,} iterations, got {total:,}"
        )
    if not warm and not flat:
        return paddle.CosineAnnealingDecay(rate, total, low)
    # The last iteration's rate stays.
    return Ramp(rate, low, total - warm - flat, "cosine").take(total - 1 - warm)


def _clas(content: Any, where: str, facts: Mapping[str, Any]) -> Configured:
    given = Section(content, where, "paddle", ("Optimizer",), facts)
    section = given.section("Optimizer", ("lr",)).section("lr", tuple(given.section("Optimizer", ("lr",)).get("lr")))
    name = section.choice("name", _CLAS)
    takes = (*_COMMON, *_CLAS[name])
    other = next((key for key in section.content if key not in takes), None)
    if other is not None:
        raise DialectError(f"Optimizer.lr.{other} is no argument of {name} that laju reads (known: {', '.join(takes)})")
    each, epochs = given.per_epoch(), given.section("Global", ()).whole("epochs", least=1)
    given.length = epochs * each
    by_epoch = section.flag("by_epoch")
    if by_epoch and name == "Linear":
        raise DialectError("Linear by_epoch warms up for iterations and counts epochs, which laju does not read")
    unit = 1 if by_epoch else each
    values = section.get("values") if name == "Piecewise" else None
    if name == "Piecewise" and (not isinstance(values, list) or section.get("learning_rate")):
        raise DialectError("Piecewise is read with values and without learning_rate")
    rate = number("Optimizer.lr.values[0]", values[0]) if values else section.lr("learning_rate")
    warmup: Any = section.number("warmup_epoch", 0, least=0)
    warmup = min(int(warmup) if warmup == int(warmup) else warmup, epochs)
    left = (epochs - warmup) * unit
    after: float | Schedule = rate
    if name == "Cosine" and left > 0:
        after = paddle.CosineAnnealingDecay(rate, left, section.number("eta_min", 0.0))
    elif name == "Linear" and left > 0:
        after = paddle.PolynomialDecay(rate, left, section.number("end_lr", 0.0), section.number("power", 1.0))
    elif name == "Step":
        after = paddle.StepDecay(rate, int(section.number("step_size", above=0) * unit), section.number("gamma", 0.1))
    elif name == "Piecewise":
        at = [epoch * unit for epoch in section.get("decay_epochs", [])]
        after = paddle.PiecewiseDecay(at, values or [])
    elif name == "MultiStepDecay":
        after = paddle.MultiStepDecay(
            rate, [epoch * unit for epoch in section.get("milestones", [])], section.number("gamma", 0.1)
        )
    steps = int(warmup) if by_epoch else round(warmup * each)
    schedule = after if isinstance(after, Schedule) else Constant(rate)
    if steps > 0:
        schedule = paddle.LinearWarmup(schedule, steps, section.number("warmup_start_lr", 0.0), rate)
    return given.configured(given.epochs(schedule) if by_epoch else schedule, "iterations")
