"""Branches of a training run: a checkpoint continues with a new schedule that agrees with the old schedule up to that point."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from laju.adaptive import StateError
from laju.core.checks import shown
from laju.core.schedule import Schedule
from laju.frameworks.state import opened, with_schedules
from laju.frameworks.values import first
from laju.inspect.horizon import Change
from laju.text.json import from_json
from laju.text.spec import parse

Continuation = Schedule | Change | str | Callable[[Schedule, int], Schedule | Change]
_Path = tuple[Any, ...]


def branch(
    checkpoint: str | os.PathLike[str] | Mapping[str, Any],
    schedule: Continuation,
    *,
    parameter: str = "lr",
    where: str | None = None,
    agree: bool = True,
) -> dict[str, Any]:
    """Turn the checkpoint of a run into the checkpoint of a new run, which has made the same updates and continues differently.

    A single long run at a constant learning rate thus gives a result for every length: branch off a cooldown from each
    checkpoint. The checkpoint stays unchanged, and tensors are copied, since torch's optimizers train in the same buffers that
    they load.

    Args:
        checkpoint: a file of `torch.save`, or its content, with the `state_dict()` of a laju scheduler anywhere inside.
        schedule: the whole schedule of the new run from update 0 on, as a value or text, or a function that computes the schedule
            from the saved schedule and the number of completed updates, such as `lambda s, at: laju.cooldown(s, at, 1000)`.
        parameter: the scheduled hyper-parameter that continues differently.
        where: the key of the scheduler, such as "scheduler", in a checkpoint with several schedulers.
        agree: refuse a schedule that differs from the saved schedule before this point.

    Returns:
        The content for the training loop to load: the content of the checkpoint with a new scheduler state. The code must also
        construct its scheduler with the new schedule, or with `policy="saved"`.

    Raises:
        StateError: the checkpoint has no laju scheduler, several schedulers, or no scheduler for `parameter`.
        ValueError: a schedule that differs before this point; the message has the first difference.
        OSError: the file cannot be read.

    Source: Hu et al., "MiniCPM", arXiv 2404.06395 (a single stable run, cooldowns from several of its checkpoints).

    >>> import laju, torch
    >>> from laju.frameworks.torch import Scheduler
    >>> model = torch.nn.Linear(1, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> scheduler = Scheduler(optimizer, lr=laju.constant(0.1))
    >>> scheduler.set_position(500)
    >>> saved = {"model": model.state_dict(), "scheduler": scheduler.state_dict()}
    >>> cooled = branch(saved, lambda s, at: laju.cooldown(s, at, length=100))
    >>> scheduler.load_state_dict(cooled["scheduler"], policy="saved")
    >>> scheduler.set_position(550)
    >>> optimizer.param_groups[0]["lr"]
    0.05
    """
    content = _content(checkpoint)
    found = [(path, state) for path, state in _states(content, ()) if where is None or where in path]
    if not found:
        among = "" if where is None else f" under the key {where!r}"
        raise StateError(
            f"checkpoint has no state of a laju scheduler{among}; save scheduler.state_dict() in it, or for a run under another "
            "scheduler make a laju Scheduler and set_position(updates)"
        )
    if len(found) > 1:
        keys = ", ".join(repr(".".join(map(str, path))) for path, _ in found)
        raise StateError(f"checkpoint has {len(found)} laju schedulers, at {keys}; say which by where=KEY")
    path, state = found[0]
    saved = {name: from_json(tree) for name, tree in opened(state)["schedules"].items()}
    names = [name for name in saved if name.split(" ")[0].split("[")[0] == parameter]
    if len(names) != 1:
        raise StateError(
            f"parameter {parameter!r} must be a hyper-parameter that the checkpoint schedules: {', '.join(sorted(saved))}"
        )
    position, before = int(state["position"]), saved[names[0]]
    after = _continuation(schedule, before, position)
    if agree:
        _check(before, after, position)
    saved[names[0]] = after
    changed: dict[str, Any] = _replaced(content, path, with_schedules(state, saved))
    return changed


def _content(checkpoint: Any) -> Any:
    if isinstance(checkpoint, Mapping):
        return copy.deepcopy(checkpoint)
    if not isinstance(checkpoint, str | os.PathLike):
        raise TypeError(f"checkpoint must be a file or a mapping, got {shown(checkpoint)}")
    import torch

    # weights_only, so that a checkpoint from elsewhere runs no code.
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    if not isinstance(content, Mapping):
        raise StateError(f"checkpoint {os.fspath(checkpoint)} holds {type(content).__name__}, not a mapping")
    return content


def _states(content: Any, path: _Path) -> Iterator[tuple[_Path, Mapping[str, Any]]]:
    if isinstance(content, Mapping):
        if {"laju", "kind", "position", "schedules"} <= set(content):
            yield path, content
            return
        for key, value in content.items():
            yield from _states(value, (*path, key))
    elif isinstance(content, list | tuple):
        for i, value in enumerate(content):
            yield from _states(value, (*path, i))


def _continuation(schedule: Continuation, before: Schedule, position: int) -> Schedule:
    made: Any = schedule
    if isinstance(made, str):
        made = parse(made)
    elif callable(made) and not isinstance(made, Schedule):
        made = made(before, position)
    if isinstance(made, Change):
        made = made.schedule
    if not isinstance(made, Schedule):
        raise TypeError(f"schedule must be a laju schedule, its text, or a function that makes one, got {shown(made)}")
    made.require_resolved()
    return made


def _check(before: Schedule, after: Schedule, position: int) -> None:
    was, would = first(before, position), first(after, position)
    differ = was != would
    if differ.any():
        t = int(np.argmax(differ))
        raise ValueError(
            f"schedule must agree with the checkpoint's in the {position} updates that were made, but in update {t} it gives "
            f"{float(would[t])!r} where {float(was[t])!r} was trained with; laju.cooldown, extend and hold make schedules that "
            "agree, and agree=False takes this one"
        )


def _replaced(content: Any, path: _Path, new: Any) -> Any:
    if not path:
        return new
    key, *rest = path
    inner = _replaced(content[key], tuple(rest), new)
    if isinstance(content, Mapping):
        return {**content, key: inner}
    listed = [*content[:key], inner, *content[key + 1 :]]
    return tuple(listed) if isinstance(content, tuple) else listed
