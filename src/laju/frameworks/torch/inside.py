"""Optimizers inside other optimizers, as wrappers have them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch

Optimizer = torch.optim.Optimizer


def optimizers_inside(optimizer: Optimizer, seen: set[int]) -> Iterator[Optimizer]:
    """Yield the optimizers inside an optimizer, in attributes, lists and dicts, at any depth."""
    if id(optimizer) in seen:
        return
    seen.add(id(optimizer))
    for name, value in vars(optimizer).items():
        if name in ("state", "param_groups", "defaults"):
            continue
        parts: Iterable[Any] = (value,)
        if isinstance(value, list | tuple):
            parts = value
        elif isinstance(value, dict):
            parts = value.values()
        for part in parts:
            if isinstance(part, Optimizer) and id(part) not in seen:
                yield part
                yield from optimizers_inside(part, seen)


def inner_optimizer(thing: Any) -> str:
    """Return a text about an attribute that is an optimizer, for an error message."""
    found = [name for name, value in getattr(thing, "__dict__", {}).items() if isinstance(value, Optimizer)]
    return f"; its {found[0]} is an optimizer" if found else ""


def optimizer_hooks(optimizer: Optimizer, before: Any, after: Any) -> list[Any]:
    """Register two functions around every update; the returned handles remove the functions."""
    optimizer = _innermost(optimizer)
    return [optimizer.register_step_pre_hook(before), optimizer.register_step_post_hook(after)]


def _innermost(optimizer: Optimizer) -> Optimizer:
    """Return the optimizer that calls hooks, inside wrappers such as Accelerate's that call no hooks."""
    while not getattr(type(optimizer).step, "hooked", False):
        inside = [part for part in vars(optimizer).values() if isinstance(part, Optimizer)]
        if len(inside) != 1:
            break
        optimizer = inside[0]
    return optimizer
