"""TensorBoard's event files, read with the tensorboard package and without TensorFlow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from laju.core.extras import needed_by
from laju.logs.log import Format, LogError, Row

MAGIC = b"brain.Event"
"""The content of every event file's first record: the version of the format."""


def is_events(path: Path) -> bool:
    """Whether a file is an event file, by its name or its first bytes.

    >>> is_events(Path("runs/events.out.tfevents.1700000000.host"))
    True
    """
    if "tfevents" in path.name:
        return True
    try:
        with path.open("rb") as file:
            return MAGIC in file.read(64)
    except OSError:
        return False


def files(folder: Path) -> dict[Path, list[Path]]:
    """The event files below a folder, grouped by folder."""
    found: dict[Path, list[Path]] = {}
    for each, _, inside in os.walk(folder):
        mine = sorted(Path(each, name) for name in inside if "tfevents" in name)
        if mine:
            found[Path(each)] = mine
    return dict(sorted(found.items()))


def rows(paths: list[Path], notes: list[str]) -> Iterator[Row]:
    """A row for each scalar, in the order of writing.

    Raises:
        ModuleNotFoundError: if the package tensorboard is not installed.
        LogError: if a file is broken before its end.
    """
    with needed_by("reading TensorBoard's event files", "logs"):
        # The reader of the package's stub: tensorboard's usual reader imports TensorFlow where that is installed.
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.tensorflow_stub import errors
        from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import (
            PyRecordReader_New,
        )
        from tensorboard.util.tensor_util import make_ndarray
    count = 0
    for path in paths:
        reader = PyRecordReader_New(str(path))
        while True:
            try:
                reader.GetNext()
            except errors.OutOfRangeError:
                break
            except errors.DataLossError as error:
                if "truncated" not in str(error).lower():
                    raise LogError(f"{path} is a broken event file: {error}") from None
                notes.append(f"the end of {path.name} is cut, as of a file that is being written")
                break
            event = Event.FromString(reader.record())
            for value in event.summary.value:
                number = _number(value, make_ndarray)
                if number is not None:
                    count += 1
                    yield Row(count, ("step", value.tag), [event.step, number])


def _number(value: Any, make_ndarray: Any) -> float | None:
    kind = value.WhichOneof("value")
    if kind == "simple_value":
        return float(value.simple_value)
    if (
        kind != "tensor" or value.metadata.plugin_data.plugin_name not in ("", "scalars") or value.tensor.dtype == 7
    ):  # no text
        return None
    array = make_ndarray(value.tensor)
    return float(array.reshape(-1)[0]) if array.size == 1 and array.dtype.kind in "fiu" else None


def format_of(tags: set[str]) -> Format:
    """The writer of event files, recognised by their tags."""
    if {"train/learning_rate", "train/epoch"} <= tags:
        return Format("TensorBoard's events of Transformers' Trainer", (0, -1), known=True)
    if "lr/pg0" in tags:
        return Format("TensorBoard's events of ultralytics", (0, -1), known=True)
    if any(tag.startswith("lr-") for tag in tags):
        return Format("TensorBoard's events of Lightning", (0,), known=True)
    return Format("TensorBoard's events")
