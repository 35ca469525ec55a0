"""Logs in the printed output of training programs: dicts of Trainer, and lines such as `iter 100: loss 2.45, lr 1e-3`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from typing import Any

from laju.logs import names
from laju.logs.columns import PER_EPOCH
from laju.logs.log import Format, Row

TRAINER = Format("lines that Transformers' Trainer printed", (0, -1), known=True)
MEGATRON = Format("Megatron's lines", (0,), known=True)
TORCHTITAN = Format("torchtitan's lines", (-1,), known=True)
MMENGINE = Format("mmengine's lines", (-1,), known=True)
LINES = Format("printed lines")

ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_DICT = re.compile(r"\{'[^{}]*\}")
_BAR = re.compile(r"(\d+)/(\d+) \[\d+:")
_NUMBER = r"[-+]?(?:\d[\d,]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|nan|[-+]?inf"
_COUNT = re.compile(
    r"(?<![\w])(?P<name>global[_ ]step|iteration|iter|step|update|num_updates|batch(?=\s*[:=#]?\s*\d+/))s?(?:\(train\))?\s*"
    r"(?:[:=#]\s*)?\[?\s*(?P<at>\d[\d,]*)(?:/(?P<of>\d+))?",
    re.IGNORECASE,
)
_EPOCHS = re.compile(r"(?<![\w])epoch\s*(?:\(train\)\s*)?(?:[:=#]\s*)?\[?\s*(?P<epoch>\d+(?:\.\d+)?)\]?", re.IGNORECASE)
# mmengine counts epochs from 1: Epoch(train) [1][ 50/391]; torchvision and PyTorch's examples from 0: Epoch: [0][ 50/391]; timm,
# too: Train: 0 [  50/391 (13%)]; and Swin: Train: [0/300][50/391].
_IN_EPOCH = re.compile(
    r"(?P<word>Epoch\(train\)|Epoch:?|Train:)\s*\[?\s*(?P<epoch>\d+)(?:/\d+)?\s*\]?\s*\[\s*(?P<at>\d+)\s*/\s*(?P<of>\d+)",
    re.IGNORECASE,
)
# Keras: "Epoch 1/50", and in the next line "100/100 ━━━ loss: 2.5". Composer "[batch=1/3000]:" and OLMo "[step=1/3000,epoch=0]",
# with a line for each value below.
_HEAD = re.compile(r"^\s*Epoch \d+/\d+\s*$|\[(?:step|batch)=\d+/\d+[^\]]*\]:?\s*$")
_DONE = re.compile(r"\s*(\d+)/(\d+)\s")
_BELOW = re.compile(r"\s+\S|\s*\d+/\d+\s")
_PAIR = re.compile(
    rf"(?P<name>[A-Za-z][\w./-]*(?: [A-Za-z][\w./-]*){{0,4}})\s*[:=]\s*[\[(]?(?P<value>{_NUMBER})(?![\w.]*[A-Za-z/:])"
)
_BARE = re.compile(
    rf"(?<![\w])(?P<name>(?:(?:train|val|valid|lm|total)[ _])?loss|lr|learning[ _]rate|grad[ _]norm|norm)\s+(?P<value>{_NUMBER})",
    re.IGNORECASE,
)


def looks_like_dicts(sample: str) -> bool:
    """Whether Trainer's dicts are among the lines."""
    return any("'loss'" in each or "'learning_rate'" in each for each in _DICT.findall(sample))


def format_of(sample: str) -> Format | None:
    """The writer of printed lines; None if no line counts updates or epochs."""
    plain = ANSI.sub("", sample)
    if looks_like_dicts(plain):
        return TRAINER
    if "consumed samples:" in plain and "elapsed time per iteration" in plain:
        return MEGATRON
    if re.search(r"\bstep:\s*\d+ .*\btps: ", plain):
        return TORCHTITAN
    if "Epoch(train)" in plain or "Iter(train)" in plain:
        return MMENGINE
    return LINES if next(rows(plain.split("\n"), []), None) else None


def rows(lines: Iterable[str], notes: list[str]) -> Iterator[Row]:
    """The rows of printed lines; lines without a count of updates or epochs are left out."""
    skipped, head = 0, dict[str, str]()
    for number, line in enumerate(lines, 1):
        # A progress bar ends in no newline: the dict stands behind a carriage return.
        text = ANSI.sub("", line)
        found = [record for each in _DICT.findall(text) if (record := _dict(each))]
        if found:
            bar = _BAR.search(text)
            for record in found:
                if bar and "step" not in record and ("loss" in record or "learning_rate" in record):
                    record = {"step": int(bar[1]), **record}
                yield Row(number, tuple(record), list(record.values()))
            continue
        # A progress bar is printed over and over, with carriage returns or backspaces between.
        for part in re.split(r"[\r\b]+", text.rstrip("\r\n")):
            below = _BELOW.match(part)
            row = _row_of_line(number, part, head if below else {})
            if row is not None:
                yield row
                continue
            skipped += bool(part.strip())
            if not below:
                head = _counts(part) if _HEAD.search(part) else {}
    if skipped:
        notes.append(f"{skipped:,} line{'s' if skipped > 1 else ''} without a count of updates left out")


def _dict(text: str) -> dict[str, Any] | None:
    # NumPy 2 and torch print their numbers as calls, `np.float64(0.1)`, which are no literals.
    text = re.sub(r"(?:np\.float\d+|tensor)\(([^(),]*)[^()]*\)", r"\1", text)
    try:
        found = ast.literal_eval(re.sub(r"\bnan\b", "None", re.sub(r"(?<=: )-?inf\b", "None", text)))
    except (ValueError, SyntaxError):
        return None
    return {str(name): value for name, value in found.items()} if isinstance(found, dict) else None


def _counts(text: str) -> dict[str, str]:
    """The counts in a line: updates, epochs, and the updates of an epoch."""
    counts = list(_COUNT.finditer(text))
    count = next(
        (each for each in counts if each["name"].lower().startswith(("global", "num"))), counts[0] if counts else None
    )
    epoch, inside, bar = _EPOCHS.search(text), _IN_EPOCH.search(text), _BAR.search(text)
    at: dict[str, str] = {}
    if inside is not None:
        begun = int(inside["epoch"]) - (inside["word"].lower() == "epoch(train)")
        return {"step": str(begun * int(inside["of"]) + int(inside["at"])), "epoch": inside["epoch"]}
    if count is not None:
        at["step"] = count["at"].replace(",", "")
    elif bar is not None:
        at["step"] = bar[1]
    if epoch is not None:
        at["epoch"] = epoch["epoch"]
        of = bar[2] if count is None and bar is not None else count["of"] if count is not None else None
        if of is not None:
            at[PER_EPOCH] = of
    return at


def _row_of_line(number: int, text: str, head: dict[str, str]) -> Row | None:
    """The row of a line; its counts may come from an earlier line."""
    at = _counts(text) or head
    done = _DONE.match(text)
    if not at or (at is head and done and done[1] != done[2]):
        return None
    cells: dict[str, str] = {}
    for match in (*_PAIR.finditer(text), *_BARE.finditer(text)):
        name = " ".join(match["name"].split())
        if names.kind(name) not in ("update", "epoch") and name.lower() not in cells:
            cells[name.lower()] = match["value"].replace(",", "")
    if not any(names.kind(name) in ("rate", "loss") for name in cells):
        return None
    if re.search(r"\bvalidat|\beval", text.lower()) and _COUNT.search(text):
        cells = {f"val/{name}": value for name, value in cells.items()}
    both = {**at, **cells}
    return Row(number, tuple(both), list(both.values()))
