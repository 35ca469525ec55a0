"""Checkpoints on disk: safetensors files, torch files of tensors, and folders of either. Reading a checkpoint never runs code.

Tensors are read individually, so that a merge of many checkpoints needs the memory of a single checkpoint.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from laju.core.checks import shown
from laju.core.extras import needed_by

with needed_by("laju average", "average"):
    import torch

INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
FILES = ("model.safetensors", "adapter_model.safetensors", "pytorch_model.bin", "model.pt", "model.pth")
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")

_WEIGHTS = ("model", "state_dict", "model_state_dict", "model_state", "module", "weights", "net", "params")
"""Keys under which training programs store the weights in a torch file, the most common first."""

_STATE = re.compile(r"optim|sched|scaler|rng|random|loops|callbacks", re.IGNORECASE)
"""Names of entries that belong to a moment of the training run and have no mean, such as the optimizer's state."""

_COUNTERS = ("update", "updates", "global_step", "step", "steps", "num_updates", "iteration", "iter_num", "iter")
_WORD = r"(?:global[-_]?step|steps?|updates?|iterations?|iter|checkpoint|ckpt|batch)"
_NAMED = re.compile(rf"{_WORD}[-_=. ]*(\d[\d.,]*(?:e\d+)?)(?:([kmb])(?![a-z]))?", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![\d.])(\d+)(k(?![a-zA-Z]))?(?![\d.]*[bBmM](?![a-zA-Z]))")
_EPOCH = re.compile(r"epochs?[-_=. ]*\d+", re.IGNORECASE)


class CheckpointError(ValueError):
    """Error of a checkpoint that cannot be merged; the message names the checkpoint, the tensor and the cure."""


@dataclass
class Checkpoint:
    """An open checkpoint.

    Args:
        path: the path as given by the user.
        files: files of the weights, in the order of the shards.
        places: the file of each tensor.
        metadata: safetensors' metadata, or the entries of a torch file that are not weights.
        key: key of the weights in a torch file; None if the file itself is the state dict.
        others: entries among the weights that are not tensors.
        unmerged: names of entries beside the weights that have no mean, such as the optimizer's state.
    """

    path: Path
    files: tuple[Path, ...]
    places: dict[str, Path]
    safetensors: bool
    metadata: dict[str, Any] = field(default_factory=dict)
    key: str | None = None
    others: dict[str, Any] = field(default_factory=dict)
    unmerged: tuple[str, ...] = ()
    _open: dict[Path, Any] = field(default_factory=dict)

    @property
    def sharded(self) -> bool:
        return len(self.files) > 1

    def tensor(self, name: str) -> torch.Tensor:
        source = self._open[self.places[name]]
        tensor: torch.Tensor = source.get_tensor(name) if self.safetensors else source[name]
        return tensor

    def kind(self, name: str) -> tuple[tuple[int, ...], str]:
        """The shape and the dtype of a tensor, without reading the tensor."""
        source = self._open[self.places[name]]
        if self.safetensors:
            part = source.get_slice(name)
            return tuple(part.get_shape()), str(part.get_dtype())
        return tuple(source[name].shape), str(source[name].dtype).removeprefix("torch.")

    def ties(self) -> dict[str, str]:
        """Tied tensors of a torch file: the second name of a tensor, mapped to its first name."""
        if self.safetensors:
            return {}
        first: dict[Any, str] = {}
        second = {}
        for name in self.places:
            tensor = self.tensor(name)
            if tensor.numel() == 0:
                continue
            place = (
                tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype
            )  # fmt: skip
            if place in first:
                second[name] = first[place]
            else:
                first[place] = name
        return second


@contextmanager
def opened(paths: Sequence[Path]) -> Iterator[list[Checkpoint]]:
    """Open the checkpoints at the given paths until the end of the `with` block.

    Raises:
        OSError: if a file does not exist.
        CheckpointError: if a file is not a checkpoint of tensors.
    """
    with ExitStack() as stack:
        yield [_open(path, stack) for path in paths]


def _open(path: Path, stack: ExitStack) -> Checkpoint:
    path.stat()  # the system's own error for a path that is not there
    folder = path.is_dir()
    main = _main_file(path) if folder else path
    if main.name.endswith(".index.json"):
        places = _indexed(main)
        files = tuple(dict.fromkeys(places.values()))
    else:
        places, files = {}, (main,)
    safetensors = files[0].suffix == ".safetensors"
    found = Checkpoint(path, files, places, safetensors)
    for file in files:
        (_safetensors if safetensors else _torch)(found, file, stack)
    if missing := [name for name, file in places.items() if name not in _names(found._open[file], safetensors)]:
        raise CheckpointError(f"{main} names the tensor {missing[0]!r}, which {places[missing[0]]} lacks")
    if not found.places:
        raise CheckpointError(f"{path} holds no tensor")
    return found


def _main_file(folder: Path) -> Path:
    """The file of the weights, or the index of the shards, in a folder."""
    for name in (*INDICES, *FILES):
        if (folder / name).is_file():
            return folder / name
    if (folder / ".metadata").is_file():
        raise CheckpointError(
            f"{folder} is a folder of torch.distributed.checkpoint; make a file of tensors first: "
            f"python -m torch.distributed.checkpoint.format_utils dcp_to_torch {folder} {folder.name}.pt"
        )
    files = sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES and not _STATE.search(file.name))
    indices = sorted(folder.glob("*.index.json"))
    if len(indices) == 1:
        return indices[0]
    if len(files) == 1:
        return files[0]
    there = f"{len(files)} ({', '.join(file.name for file in files[:4])})" if files else "none"
    raise CheckpointError(
        f"{folder} must hold one file of weights ({', '.join(f'*{suffix}' for suffix in SUFFIXES)}) or the index of the shards, "
        f"found {there}; name the file itself"
    )


def _indexed(index: Path) -> dict[str, Path]:
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        entries = [(str(name), str(file)) for name, file in content["weight_map"].items()]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} is no index of shards: a JSON object with weight_map is needed") from error
    outside = [file for _, file in entries if Path(file).name != file]
    if outside:
        raise CheckpointError(f"{index} names the shard {shown(outside[0])}, which must be in the same folder")
    if not entries:
        raise CheckpointError(f"{index} names no tensor")
    return {name: index.parent / file for name, file in entries}


def _names(source: Any, safetensors: bool) -> set[str]:
    return set(source.keys()) if safetensors else set(source)


def _safetensors(found: Checkpoint, file: Path, stack: ExitStack) -> None:
    from safetensors import SafetensorError, safe_open

    file.stat()
    try:
        source = stack.enter_context(safe_open(str(file), framework="pt"))
    except SafetensorError as error:
        raise CheckpointError(f"{file} is no safetensors file, or not a whole one: {error}") from error
    found._open[file] = source
    found.metadata.update(source.metadata() or {})
    if not found.sharded:
        found.places.update(dict.fromkeys(source.keys(), file))


def _torch(found: Checkpoint, file: Path, stack: ExitStack) -> None:
    content = _loaded(file)
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{file} must hold a mapping of names to tensors, got {type(content).__name__}")
    key = _key_of_weights(content, file)
    weights: Mapping[Any, Any] = content if key is None else content[key]
    tensors = {name: value for name, value in weights.items() if isinstance(value, torch.Tensor)}
    for name, value in weights.items():
        if not isinstance(name, str):
            raise CheckpointError(f"{file} has the name {shown(name)} among its weights: names must be text")
        if inner := _tensor_within(value):
            raise CheckpointError(
                f"{file} holds weights within {shown(name)} ({shown(inner)}): a state dict with one name per tensor is needed"
            )
        if name in tensors and (value.layout is not torch.strided or value.is_quantized or value.is_meta):
            kind = "meta" if value.is_meta else "quantized" if value.is_quantized else "sparse"
            raise CheckpointError(f"{name!r} is a {kind} tensor in {file}: dense tensors of numbers are needed")
    found._open[file] = tensors
    found.key = key
    found.others.update({name: value for name, value in weights.items() if name not in tensors})
    if key is not None:
        found.metadata.update({name: value for name, value in content.items() if name != key})
        found.unmerged = tuple(str(name) for name in content if name != key and _STATE.search(str(name)))
    else:
        # An attribute of torch's state dicts with the version of each module: without it, load_state_dict takes the weights for
        # those of an old version and may convert them.
        found.metadata["_metadata"] = getattr(weights, "_metadata", None)
    if not found.sharded:
        found.places.update(dict.fromkeys(tensors, file))


def _loaded(file: Path) -> Any:
    with file.open("rb") as begin:
        if begin.read(2)[:1] not in (b"P", b"\x80"):  # an archive, or a pickle of torch before 1.6
            raise CheckpointError(
                f"{file} is no torch file, or not a whole one: it begins neither like an archive nor like a pickle"
            )
    try:
        try:
            # Mapped into memory and not read: of ten checkpoints a tensor at a time is needed.
            return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            if "mmap" not in str(error):
                raise
            return torch.load(file, map_location="cpu", weights_only=True)  # of torch before 1.6
    except UnpicklingError as error:
        needs = re.search(r"(?:GLOBAL|global) ([\w.]+)", str(error))
        raise CheckpointError(
            f"{file} is a pickle that holds more than tensors{f' ({needs[1]})' if needs else ''}, and reading such a file runs "
            "code; save the weights alone: torch.save(model.state_dict(), FILE), or safetensors"
        ) from error
    except (RuntimeError, EOFError, ValueError) as error:
        raise CheckpointError(
            f"{file} is no torch file, or not a whole one: {str(error).partition(chr(10))[0]}"
        ) from error


def _tensor_within(value: object) -> str | None:
    """The name of a tensor in a nested mapping; the state of a module (`_extra_state`) may be bytes, which are kept."""
    if not isinstance(value, Mapping):
        return None
    for name, item in value.items():
        if isinstance(item, torch.Tensor):
            return str(name)
        if inner := _tensor_within(item):
            return f"{name}.{inner}"
    return None


def _is_weights(value: object) -> bool:
    return isinstance(value, Mapping) and any(isinstance(item, torch.Tensor) for item in value.values())


def _key_of_weights(content: Mapping[Any, Any], file: Path) -> str | None:
    """The key of the weights; None if the file holds the weights alone."""
    inside = [str(name) for name, value in content.items() if _is_weights(value) and not _STATE.search(str(name))]
    usual = [name for name in _WEIGHTS if name in inside]
    if inside and not usual:  # tensors of one number, such as a loss, are no weights
        inside += [
            str(name) for name, value in content.items() if isinstance(value, torch.Tensor) and value.numel() > 1
        ]
    if usual or len(inside) == 1:
        return (usual or inside)[0]
    if inside:
        raise CheckpointError(
            f"{file} holds several sets of tensors ({', '.join(inside)}); the weights are expected under "
            f"one of {', '.join(_WEIGHTS)}"
        )
    if _is_weights(content):
        return None
    raise CheckpointError(
        f"{file} holds no tensors by name (keys: {shown(', '.join(map(str, content)))}); the weights are expected in the file "
        f"itself or under one of {', '.join(_WEIGHTS)}"
    )


def updates_of(checkpoints: Sequence[Checkpoint]) -> list[tuple[int, str]]:
    """The completed updates of each checkpoint, and the source of that number.

    The number is read from the metadata, else from `trainer_state.json` beside the weights, else from the checkpoint's name.

    Raises:
        CheckpointError: if a checkpoint has no such number, or several.
    """
    found = [_in_metadata(each) for each in checkpoints]
    missing = [each for each, known in zip(checkpoints, found, strict=True) if known is None]
    named = dict(zip(map(id, missing), _in_names([each.path for each in missing]), strict=True))
    return [known or (named[id(each)], "its name") for each, known in zip(checkpoints, found, strict=True)]


def _in_metadata(checkpoint: Checkpoint) -> tuple[int, str] | None:
    for name in _COUNTERS:
        value = checkpoint.metadata.get(name)
        if isinstance(value, torch.Tensor) and value.numel() == 1:
            value = value.item()
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value, f"its {name!r}"
    file = checkpoint.files[0].parent / "trainer_state.json"
    if file.is_file():
        try:
            value = json.loads(file.read_text(encoding="utf-8"))["global_step"]
        except (ValueError, KeyError, TypeError):
            return None
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value, file.name
    return None


def _in_names(paths: Sequence[Path]) -> list[int]:
    texts = [_words(path) for path in paths]
    every = [_numbers(text) for text in texts]
    if len({len(numbers) for numbers in every}) == 1 and len(every) > 1 and len(every[0]) > 1:
        # Several numbers in each name: the number that differs from name to name counts.
        columns = list(zip(*every, strict=True))
        varying = [column for column in columns if len(set(column)) > 1]
        if len(varying) == 1:
            every = [[number] for number in varying[0]]
    for path, text, numbers in zip(paths, texts, every, strict=True):
        if numbers == [-1]:
            raise CheckpointError(
                f"{path} has no whole number of updates in its name: pass the updates of each checkpoint as at"
            )
        if len(numbers) != 1:
            why = "counts epochs" if _EPOCH.search(text) and not numbers else "no number" if not numbers else "several"
            has = {"no number": "no number", "several": f"the numbers {', '.join(map(str, numbers))}"}.get(
                why, "epochs"
            )
            raise CheckpointError(
                f"{path} has {has} in its name and no update in its metadata: pass the updates of each checkpoint as at"
            )
    return [numbers[0] for numbers in every]


def _words(path: Path) -> str:
    """The part of a path that tells checkpoints apart: the name, or the folder's as in checkpoint-1000/model.safetensors."""
    stem = path.name
    for suffix in (*INDICES, ".index.json", *SUFFIXES):
        stem = stem.removesuffix(suffix)
    stem = re.sub(r"-\d+-of-\d+$", "", stem)
    folder = path.absolute().parent.name
    return folder if not re.search(r"\d", stem) and path.is_file() and _NAMED.search(folder) else stem


def _numbers(text: str) -> list[int]:
    if counted := [_count(number, unit) for number, unit in _NAMED.findall(text)]:
        return counted
    return [_count(number, unit) for number, unit in _NUMBER.findall(_EPOCH.sub("", text))]


def _count(number: str, unit: str) -> int:
    """The updates of `1000`, `1,000`, `1k`, `1.5k`, `1e3` or `2M` in a name; a part of an update is -1, which no run has."""
    plain = re.sub(r",(?=\d{3}(?!\d))", "", number).rstrip(".,")
    try:
        count = Fraction(plain) * {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}[unit.lower()]
    except ValueError:
        return -1
    return int(count) if count.denominator == 1 else -1
