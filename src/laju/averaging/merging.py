"""Merging of checkpoints: a mean of saved weights, tensor by tensor in float32, written as a checkpoint of the same kind."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laju.averaging.averages import Average, Cooldown
from laju.averaging.checkpoints import _STATE, Checkpoint, CheckpointError, opened, updates_of
from laju.core.checks import nearest, number, whole
from laju.core.extras import needed_by
from laju.core.schedule import Schedule

with needed_by("laju average", "average"):
    import torch

_STATISTICS = re.compile(r"(^|\.)running_(mean|var)$")


@dataclass(frozen=True)
class Part:
    """A checkpoint in a merge: its path, completed updates, the source of that number, and its share in the mean."""

    path: Path
    update: int
    source: str
    share: float


@dataclass(frozen=True)
class Merge:
    """The result of `merge`: the merged entries, and the entries that were kept or left out.

    Args:
        average: the average whose shares were used.
        parts: the checkpoints in the order of their updates.
        distance: for a cooldown, the largest difference between its learning rate and the learning rate that the merge imitates,
            relative to the trunk's learning rate; None for other averages.
        tensors: number of merged tensors.
        numbers: number of elements of the merged tensors.
        kept: tensors and entries that have no mean, taken from the last checkpoint.
        statistics: batch statistics, whose mean is not the statistics of the merged weights.
        unmerged: entries beside the weights that are left out, such as the optimizer's state.
        out: the file or folder that was written; None if nothing was written.
    """

    average: Average
    parts: tuple[Part, ...]
    distance: float | None
    tensors: int
    numbers: int
    kept: tuple[str, ...] = ()
    statistics: tuple[str, ...] = ()
    unmerged: tuple[str, ...] = ()
    out: Path | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "average": str(self.average),
            "merged": [
                {"checkpoint": str(part.path), "update": part.update, "from": part.source, "share": part.share}
                for part in self.parts
            ],
            "distance": self.distance,
            "tensors": self.tensors,
            "numbers": self.numbers,
            "kept": list(self.kept),
            "statistics": list(self.statistics),
            "unmerged": list(self.unmerged),
            "out": None if self.out is None else str(self.out),
        }


def merge(
    checkpoints: Iterable[str | os.PathLike[str]],
    average: Average | Schedule,
    out: str | os.PathLike[str] | None = None,
    *,
    at: Sequence[int] | None = None,
    trunk: Schedule | None = None,
    within: float = 0.25,
) -> Merge:
    """Merge checkpoints of a run into a new checkpoint, tensor by tensor in float32; tensors keep their dtype.

    Integers and entries without a mean come from the last checkpoint. The optimizer's state is not merged. The new checkpoint
    records the merged checkpoints in its metadata: under "laju" in the metadata of safetensors, or beside the weights of a torch
    file (for a bare state dict in its `_metadata`, which `load_state_dict` ignores).

    Args:
        checkpoints: safetensors files, torch files that `weights_only` reads, indices of shards, or folders with any of these.
        average: the average, such as `EMA(0.999)`, or the schedule of a cooldown.
        out: the file to write, or the folder for checkpoints that are folders or sharded; None, the default, writes nothing. The
            checkpoint appears at `out` only when complete.
        at: completed updates of each checkpoint, in the order of `checkpoints`; by default from the metadata, else the name.
        trunk: learning-rate schedule of the run that wrote the checkpoints, only for a cooldown; constant by default.
        within: largest allowed difference between the learning rate of a cooldown and the learning rate that the merge imitates,
            relative to the trunk's learning rate.

    Returns:
        A summary of the merge, with the share of each checkpoint.

    Raises:
        OSError: if a file does not exist or cannot be written.
        CheckpointError: if the checkpoints do not fit together or are too few to imitate the cooldown, a trunk is given without
            a cooldown, or `out` is an input.
        ValueError: if updates do not increase, or the average's window is longer than the run.
    """
    paths = [Path(path) for path in checkpoints]
    within = number("within", within, least=0)
    if isinstance(average, Schedule):
        average = Cooldown(average)
    if trunk is not None and not isinstance(average, Cooldown):
        raise CheckpointError(
            f"trunk must be left out with {average}, whose shares are the same at any rate; only a cooldown needs a trunk"
        )
    if not paths:
        raise CheckpointError("at least one checkpoint is needed, got none")
    if at is not None and len(at) != len(paths):
        raise CheckpointError(
            f"at must have the update of each checkpoint: {len(paths)} numbers for {len(paths)} checkpoints, got {len(at)}"
        )
    with opened(paths) as found:
        known = updates_of(found) if at is None else [(whole(f"at[{i}]", update), "at") for i, update in enumerate(at)]
        order = sorted(range(len(found)), key=lambda i: known[i][0])
        ordered, updates = [found[i] for i in order], [known[i][0] for i in order]
        for i in range(1, len(updates)):
            if updates[i - 1] == updates[i]:
                raise CheckpointError(
                    f"{ordered[i - 1].path} and {ordered[i].path} are both of update {updates[i]:,}; updates must be distinct"
                )
        shares = average.weights(updates, trunk)
        distance = average.distance(updates, trunk) if isinstance(average, Cooldown) else None
        if distance is not None and distance > within:
            raise CheckpointError(_too_far(average, updates, distance, within))
        parts = tuple(
            Part(each.path, update, known[i][1], float(share))
            for i, each, update, share in zip(order, ordered, updates, shares, strict=True)
        )
        _check_alike(ordered)
        target = None if out is None else _target(Path(out), ordered)
        merged = _Merged(ordered, parts)
        result = Merge(
            average,
            parts,
            distance,
            tensors=len(merged.floating),
            numbers=sum(_count(ordered[-1].kind(name)[0]) for name in merged.floating),
            kept=(*merged.fixed, *ordered[-1].others),
            statistics=tuple(name for name in merged.floating if _STATISTICS.search(name)),
            unmerged=_unmerged(ordered[-1]),
            out=target,
        )
        if target is not None:
            _write(merged, result, target)
        return result


def _too_far(average: Average, updates: list[int], distance: float, within: float) -> str:
    assert isinstance(average, Cooldown)
    first, last = average.begins(updates[-1]), updates[-1]
    inside = [update for update in updates if first <= update <= last]
    if updates[0] > first:
        cure = f"the first checkpoint is of update {updates[0]:,}, and the cooldown begins at {first:,}"
    else:
        cure = f"{len(inside)} of the checkpoints are of its updates, {first:,} to {last:,}; more of these come closer"
    return (
        f"these checkpoints cannot stand for {average}: the nearest merge has rates that are off by up to {distance:.0%} of the "
        f"trunk's, above within={within:g}; {cure}"
    )


def _check_alike(checkpoints: list[Checkpoint]) -> None:
    last = checkpoints[-1]
    kinds = {name: last.kind(name) for name in last.places}
    for each in checkpoints[:-1]:
        if each.safetensors != last.safetensors:
            raise CheckpointError(f"{each.path} and {last.path} must be of the same kind: safetensors, or torch files")
        for a, b in ((each, last), (last, each)):
            if lacking := [name for name in b.places if name not in a.places]:
                more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
                raise CheckpointError(
                    f"{a.path} lacks the tensor {lacking[0]!r}{more}, which {b.path} has{nearest(lacking[0], a.places)}"
                )
        for name, (shape, dtype) in kinds.items():
            other_shape, other_dtype = each.kind(name)
            if other_shape != shape:
                raise CheckpointError(
                    f"{name!r} has shape {other_shape} in {each.path} and {shape} in {last.path}: one shape is needed"
                )
            if other_dtype != dtype:
                raise CheckpointError(
                    f"{name!r} has dtype {other_dtype} in {each.path} and {dtype} in {last.path}: one dtype is needed"
                )


def _unmerged(last: Checkpoint) -> tuple[str, ...]:
    """The optimizer's state and its kin, in the file or beside the file in a folder."""
    beside = last.path if last.path.is_dir() else None
    files = [] if beside is None else sorted(file.name for file in beside.iterdir() if _STATE.search(file.name))
    return (*last.unmerged, *files)


def _count(shape: tuple[int, ...]) -> int:
    numbers = 1
    for size in shape:
        numbers *= size
    return numbers


class _Merged:
    """The tensors of a merge, each computed when asked for."""

    def __init__(self, checkpoints: list[Checkpoint], parts: tuple[Part, ...]) -> None:
        self.checkpoints, self.parts, self.last = checkpoints, parts, checkpoints[-1]
        every = [each.ties() for each in checkpoints]
        # A tie that one of the checkpoints does not have would be a tie of two tensors that differ.
        self.ties = {name: first for name, first in every[-1].items() if all(t.get(name) == first for t in every)}
        self.floating: list[str] = []
        self.fixed: list[str] = []
        for name in self.last.places:
            if name not in self.ties:
                kind = self.last.kind(name)[1].lower()
                if re.match(r"f(loat)?[468](_|$)", kind):
                    # Without the scales beside such numbers their mean is no weight, and 3 bits round the mean away.
                    raise CheckpointError(
                        f"{name!r} is quantized ({kind}) in {self.last.path}: merge checkpoints from before quantization"
                    )
                (self.floating if re.match(r"b?f(loat)?\d|c(omplex)?\d", kind) else self.fixed).append(name)

    def tensor(self, name: str) -> torch.Tensor:
        last = self.last.tensor(name)
        if name in self.fixed:
            self._check_fixed(name, last)
            return last.clone()
        # Half precision has three digits or fewer, which a running sum in it would wear off; the sum is float32, and rounded
        # once.
        exact = last.dtype if last.dtype in (torch.float64, torch.complex64, torch.complex128) else torch.float32
        total = torch.zeros(last.shape, dtype=exact)
        finite = bool(torch.isfinite(last).all())
        # 0 · inf is NaN, so that a mask of -inf could not be averaged even with itself.
        if not finite and all(torch.equal(each.tensor(name), last) for each in self.checkpoints):
            return last.clone()  # a mask of -inf, the same in every checkpoint
        for each, part in zip(self.checkpoints, self.parts, strict=True):
            if part.share:
                tensor = each.tensor(name)
                total.add_(tensor.to(exact), alpha=part.share)
                if not bool(torch.isfinite(total).all()):
                    raise CheckpointError(f"{name!r} has a number that is not finite in {each.path}")
        return total.to(last.dtype)

    def _check_fixed(self, name: str, last: torch.Tensor) -> None:
        """Whole numbers may differ where they count, a number per tensor; all remaining tensors must be the same everywhere."""
        if last.numel() <= 1:
            return
        for each, part in zip(self.checkpoints, self.parts, strict=True):
            if part.share and not torch.equal(each.tensor(name), last):
                raise CheckpointError(
                    f"{name!r} has whole numbers ({last.dtype}) that differ between {each.path} and {self.last.path}: whole "
                    "numbers have no mean, so merge checkpoints from before quantization"
                )


def _target(out: Path, checkpoints: list[Checkpoint]) -> Path:
    last = checkpoints[-1]
    inputs = {file.resolve() for each in checkpoints for file in (each.path, *each.files)}
    if out.resolve() in inputs or (out.exists() and any(os.path.samefile(out, path) for path in inputs)):
        raise CheckpointError(f"out must not be one of the checkpoints, got {out}")
    if last.path.is_dir() or last.sharded:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise CheckpointError(
                f"out must be a new or empty folder, since the checkpoints are folders or sharded, got {out}"
            )
    elif out.is_dir():
        raise CheckpointError(f"out must be a file, since the checkpoints are files, got the folder {out}")
    elif last.safetensors != (out.suffix == ".safetensors"):
        kind, ending = ("safetensors", "") if last.safetensors else ("torch", "not ")
        raise CheckpointError(
            f"out must {ending}end with .safetensors, since the checkpoints are {kind} files, got {out}"
        )
    if not out.absolute().parent.is_dir():
        raise FileNotFoundError(2, f"there is no folder {str(out.parent)!r}", str(out))
    return out


def _write(merged: _Merged, result: Merge, out: Path) -> None:
    last = merged.last
    facts = result.to_json()
    del facts["out"]
    note = json.dumps(facts, ensure_ascii=False)
    with _atomically(out) as unfinished:
        if not (last.path.is_dir() or last.sharded):
            _write_file(merged, last.files[0], note, facts, unfinished)
            return
        unfinished.mkdir()
        for file in last.files:
            _write_file(merged, file, note, facts, unfinished / file.name)
        source = last.files[0].parent
        for index in source.glob("*.index.json"):
            if last.sharded:
                shutil.copyfile(index, unfinished / index.name)
        for pattern in ("*.json", "*.txt", "*.model", "*.jinja"):
            for file in source.glob(pattern):
                if file.name != "trainer_state.json" and not file.name.endswith(".index.json"):
                    shutil.copyfile(file, unfinished / file.name)


def _write_file(merged: _Merged, file: Path, note: str, facts: dict[str, Any], target: Path) -> None:
    last = merged.last
    tensors = {
        name: merged.tensor(name) for name, place in last.places.items() if place == file and name not in merged.ties
    }
    if last.safetensors:
        from safetensors.torch import save_file

        save_file(tensors, target, metadata={**last.metadata, **_update(last, merged.parts[-1].update), "laju": note})
        return
    weights: OrderedDict[str, Any] = OrderedDict()
    for name, place in last.places.items():
        if place == file:
            weights[name] = tensors[merged.ties.get(name, name)]
    weights.update(last.others)
    if last.key is not None:
        rest = {name: value for name, value in last.metadata.items() if name not in last.unmerged}
        torch.save({**rest, last.key: weights, "laju": facts}, target)
        return
    modules = OrderedDict(last.metadata.get("_metadata") or {})
    modules["laju"] = {"merge": note}
    weights._metadata = modules  # type: ignore[attr-defined]  # torch's place for the versions of modules
    torch.save(weights, target)


def _update(last: Checkpoint, update: int) -> dict[str, str]:
    """The update of the merged checkpoint, for a later merge, where the metadata had none."""
    return {} if any(name in last.metadata for name in ("update", "step", "global_step")) else {"update": str(update)}


@contextmanager
def _atomically(out: Path) -> Iterator[Path]:
    """A path beside `out` that takes the place of `out` after the block, and is gone if the block fails."""
    unfinished = out.absolute().parent / f".{out.name}.{os.getpid()}.unfinished"
    _remove(unfinished)
    try:
        yield unfinished
        if unfinished.is_dir() and out.is_dir():
            out.rmdir()
        unfinished.replace(out)
    finally:
        _remove(unfinished)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
