"""Logs that a training printed: dicts of Trainer, and lines such as `iter 100: loss 2.45, lr 1e-3`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from typing import Any

from laju.logs import names
from laju.logs.log import Format, Row

TRAINER = Format("lines that Transformers' Trainer printed", (0, -1), known=True)
MEGATRON = Format("Megatron's lines", (0,), known=True)
TORCHTITAN = Format("torchtitan's lines", (-1,), known=True)
MMENGINE = Format("mmengine's lines", (-1,), known=True)
LINES = Format("printed lines")

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_DICT = re.compile(r"\{'[^{}]*\}")
_BAR = re.compile(r"(\d+)/(\d+) \[\d+:")
_NUMBER = r"[-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan|[-+]?inf"
_COUNT = re.compile(
    r"(?<![\w])(?:global[_ ]step|iteration|iter|step|update|num_updates)s?(?:\(train\))?\s*(?:[:=#]\s*)?\[?\s*"
    r"(?P<at>\d[\d,]*)",
    re.IGNORECASE,
)
_EPOCHS = re.compile(r"(?<![\w])epoch\s*(?:\(train\)\s*)?(?:[:=#]\s*)?\[?\s*(?P<epoch>\d+(?:\.\d+)?)\]?", re.IGNORECASE)
# mmengine counts epochs from 1: Epoch(train) [1][ 50/391]; torchvision and PyTorch's examples from 0: Epoch: [0][ 50/391]; timm,
# too: Train: 0 [  50/391 (13%)].
_IN_EPOCH = re.compile(
    r"(?P<word>Epoch\(train\)|Epoch:?|Train:)\s*\[?\s*(?P<epoch>\d+)\s*\]?\s*\[\s*(?P<at>\d+)\s*/\s*(?P<of>\d+)",
    re.IGNORECASE,
)
_PAIR = re.compile(
    rf"(?P<name>[A-Za-z][\w./-]*(?: [A-Za-z][\w./-]*){{0,4}})\s*[:=]\s*(?P<value>{_NUMBER})(?![\w.]*[A-Za-z/:])"
)
_BARE = re.compile(
    rf"(?<![\w])(?P<name>(?:(?:train|val|valid|lm|total)[ _])?loss|lr|learning[ _]rate|grad[ _]norm|norm)\s+(?P<value>{_NUMBER})",
    re.IGNORECASE,
)


def looks_like_dicts(sample: str) -> bool:
    """Whether Trainer's dicts are among the lines."""
    return any("'loss'" in each or "'learning_rate'" in each for each in _DICT.findall(sample))


def format_of(sample: str) -> Format | None:
    """Whose printed lines these are; None where no line counts updates or epochs."""
    plain = _ANSI.sub("", sample)
    if looks_like_dicts(plain):
        return TRAINER
    if "consumed samples:" in plain and "elapsed time per iteration" in plain:
        return MEGATRON
    if re.search(r"\bstep:\s*\d+ .*\btps: ", plain):
        return TORCHTITAN
    if "Epoch(train)" in plain or "Iter(train)" in plain:
        return MMENGINE
    return LINES if any(_line(i, line) for i, line in enumerate(plain.splitlines())) else None


def rows(lines: Iterable[str], notes: list[str]) -> Iterator[Row]:
    """The rows of printed lines; lines that count nothing are left out."""
    skipped = 0
    for number, line in enumerate(lines, 1):
        # A progress bar ends in no newline: the dict stands behind a carriage return.
        text = _ANSI.sub("", line)
        found = [record for each in _DICT.findall(text) if (record := _dict(each))]
        if found:
            bar = _BAR.search(text)
            for record in found:
                if bar and "step" not in record and ("loss" in record or "learning_rate" in record):
                    record = {"step": int(bar[1]), **record}
                yield Row(number, tuple(record), list(record.values()))
            continue
        row = _line(number, text)
        if row is None:
            skipped += bool(text.strip())
        else:
            yield row
    if skipped:
        notes.append(f"{skipped:,} line{'s' if skipped > 1 else ''} without a count of updates left out")


def _dict(text: str) -> dict[str, Any] | None:
    text = re.sub(r"(?:np\.float\d+|tensor)\(([^(),]*)[^()]*\)", r"\1", text)
    try:
        found = ast.literal_eval(re.sub(r"\bnan\b", "None", re.sub(r"(?<=: )-?inf\b", "None", text)))
    except (ValueError, SyntaxError):
        return None
    return {str(name): value for name, value in found.items()} if isinstance(found, dict) else None


def _line(number: int, text: str) -> Row | None:
    count = _COUNT.search(text)
    epoch, inside = _EPOCHS.search(text), _IN_EPOCH.search(text)
    cells: dict[str, str] = {}
    for match in (*_PAIR.finditer(text), *_BARE.finditer(text)):
        name = " ".join(match["name"].split())
        if names.kind(name) not in ("update", "epoch") and name.lower() not in cells:
            cells[name.lower()] = match["value"].replace(",", "")
    if not any(names.kind(name) in ("rate", "loss") for name in cells) or (count or epoch or inside) is None:
        return None
    at: dict[str, str] = {}
    if count is not None:
        at["step"] = count["at"].replace(",", "")
    if epoch is not None:
        at["epoch"] = epoch["epoch"]
    if re.search(r"\bvalidat|\beval", text.lower()) and count is not None:
        cells = {f"val/{name}": value for name, value in cells.items()}
    if inside is not None:
        begun = int(inside["epoch"]) - (inside["word"].lower() == "epoch(train)")
        at = {"step": str(begun * int(inside["of"]) + int(inside["at"])), "epoch": inside["epoch"]}
    both = {**at, **cells}
    return Row(number, tuple(both), list(both.values()))
