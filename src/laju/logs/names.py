"""Recognise the meaning of a log's column by its name, without regard to case, prefix, suffix and plural."""

from __future__ import annotations

import re
from collections.abc import Sequence

KINDS = ("update", "epoch", "sample", "token", "rate", "loss", "time", "metric")

_COUNTS = {"update": ("update", "step", "iteration", "iter", "batch"), "epoch": ("epoch",)}
_DATA = {"sample": ("samples", "examples"), "token": ("tokens",)}
_NO_COUNT = frozenset({
    "per", "max", "total", "time", "second", "seconds", "sec", "lr", "loss", "skipped", "nan", "best", "logging", "save",
    "warmup", "size", "number",
})  # fmt: skip
_NO_RATE = frozenset({
    "momentum", "decay", "mult", "multiplier", "scale", "factor", "weight", "warmup", "beta", "beta1", "betas", "scheduler",
})  # fmt: skip
_NEUTRAL = frozenset({"", "value", "values", "y", "unnamed 0"})
HELD_OUT = frozenset({"val", "valid", "validation", "eval", "test", "dev"})
_SMOOTHED = frozenset({"smooth", "smoothed", "avg", "average", "mean", "ema"})
_AVERAGES = frozenset({"ema", "avg", "average", "averaged", "swa", "wa", "lawa"})
_DERIVED = ("__MIN", "__MAX")
_TIMES = frozenset({"time", "timestamp", "runtime", "seconds", "eta", "elapsed"})


def words(name: str) -> tuple[str, ...]:
    """The words of a name, in lower case.

    >>> words("run - train/learningRate")
    ('run', 'train', 'learning', 'rate')
    """
    parted = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", name)
    return tuple(word for word in re.split(r"[^a-z0-9]+", parted.lower()) if word)


def own(name: str) -> tuple[str, ...]:
    """The words of a name after its prefixes.

    >>> own("run - train/loss"), own("trainer/global_step")
    (('loss',), ('global', 'step'))
    """
    return words(re.split(r"/| - |\.(?=\D)", name.strip().rstrip("/"))[-1])


def is_derived(name: str) -> bool:
    """Whether the column is the minimum or maximum that W&B adds to each chart's curve."""
    return name.endswith(_DERIVED)


def is_smoothed(name: str) -> bool:
    """Whether the column has averages over time."""
    return not _SMOOTHED.isdisjoint(words(name))


def averaged_beside(name: str, others: Sequence[str]) -> str | None:
    """The column with the same loss of averaged weights: the same name plus a word for an average; None without such a column.

    >>> averaged_beside("val_loss", ["train_loss_ema", "ema_val_loss"]), averaged_beside("val/loss", ["val/loss_wa"])
    ('ema_val_loss', 'val/loss_wa')
    """
    plain = sorted(words(name))
    for other in others:
        left = [word for word in words(other) if word not in _AVERAGES]
        if sorted(left) == plain and len(left) < len(words(other)):
            return other
    return None


def is_neutral(name: str) -> bool:
    """Whether a name carries no information about its column."""
    return " ".join(words(name)) in _NEUTRAL


def kind(name: str) -> str:
    """The kind of a column, from `KINDS`.

    >>> [kind(name) for name in ("Step", "x/lr0", "lr-AdamW", "run - train/loss", "loss_rate", "Wall time", "val_acc")]
    ['update', 'rate', 'rate', 'loss', 'metric', 'time', 'metric']
    """
    mine, every = own(name), words(name)
    if not mine:
        return "metric"
    if _is_rate(mine, every):
        return "rate"
    for counted, forms in _COUNTS.items():
        if mine[-1].removesuffix("s") in forms and not _NO_COUNT & {*mine} and not _TIMES & {*every}:
            return counted
    for counted, forms in _DATA.items():
        if any(form in mine for form in forms) and not {"per", "sec", "second", "loss"} & {*mine}:
            return counted
    if any(word == "loss" or (word.endswith("loss") and len(word) > 4) for word in mine) and not {"scale", "rate"} & {
        *mine
    }:
        return "loss"
    # Prefixes of losses: ultralytics has train/box_loss, others loss/train.
    if every[:1] == ("loss",) and len(every) > 1 and mine[-1] in HELD_OUT | {"train"}:
        return "loss"
    return "time" if _TIMES & {*mine} else "metric"


def _is_rate(mine: Sequence[str], every: Sequence[str]) -> bool:
    if _NO_RATE & {*mine}:
        return False
    joined = " ".join(mine)
    if any(re.fullmatch(r"lrs?\d*|learningrates?\d*", word) for word in mine) or re.search(
        r"\blearning rates?\d*\b", joined
    ):
        return True
    if mine in (("rate",), ("rates",)):
        return True
    # Columns of parameter groups: lr/pg0, learning_rate/group1.
    of_rates = re.search(r"\b(lr|learning ?rate)\b", " ".join(every[:-1]))
    return bool(of_rates and re.fullmatch(r"(pg|group|g|param)?\d+", mine[-1]))


def rank(name: str, of: str) -> tuple[int, ...]:
    """A sort key for the preference among names of a kind; the smallest is preferred."""
    mine, every = own(name), words(name)
    if of == "update":
        # W&B's own Step counts calls of log; a trainer's step is a column of its own.
        order = (("global", "step"), ("update",), ("iteration",), ("iter",), ("step",))
        plain = tuple(word.removesuffix("s") for word in mine)
        return (order.index(plain) if plain in order else len(order), int(name.startswith("_")))
    if of == "rate":
        plain_rate = mine in (("lr",), ("learning", "rate"), ("rate",), ("learningrate",))
        return (int(bool({"base", "max", "min", "initial"} & {*mine})), int(not plain_rate))
    if of == "loss":
        # A part, such as box_loss, is not the loss. A run is judged by a held-out loss; but Trainer's eval_loss has few rows
        # beside those of its loss.
        whole = tuple(word for word in mine if word not in HELD_OUT | _SMOOTHED | {"train", "training"})
        part = whole not in ((), ("loss",), ("total", "loss"), ("lm", "loss"))
        held = HELD_OUT & {*every}
        side = 0 if held - {"eval"} else 2 if held else 1 if mine == ("loss",) else 3
        return (int(part), side, int(bool(_SMOOTHED & {*every})), int(whole != mine), int(every != mine))
    return (0,)
