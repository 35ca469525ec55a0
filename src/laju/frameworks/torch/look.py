"""Versions of parameters, gradients and autograd, by which a `step()` without a reported update is interpreted."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import torch

_SUMMED = 1 << 22


class Look:
    """State of parameters and autograd at a `step()` without a reported update.

    Args:
        parameters: some of the driven parameters.
        position: position of the schedule.
        sums: whether to sum the parameters too, because updates of `.data` and fused updates without hooks keep the version.
    """

    def __init__(self, parameters: Sequence[torch.Tensor], position: int, *, sums: bool) -> None:
        self.position = position
        self.thread = threading.get_ident()
        # Autograd numbers the nodes of a thread's graphs in order, so a number that has grown means a forward pass since. The
        # function is private to torch; nothing public tells a forward pass from none without a hook on the model.
        self.nodes = torch.autograd._get_sequence_nr()  # type: ignore[attr-defined]
        self.weights = [(p.device, p.dtype, _version(p), _sum(p) if sums else None) for p in parameters]
        self.gradients = [None if p.grad is None else (id(p.grad), _version(p.grad)) for p in parameters]

    def compares(self, before: Look | None) -> bool:
        return before is not None and (before.position, before.thread) == (self.position, self.thread)

    def moved(self, before: Look) -> bool:
        """Return whether at least half of the parameters changed; moving to another device or dtype is not a change."""
        changed = [
            now[:2] == then[:2] and (now[2] != then[2] or (None not in (now[3], then[3]) and now[3] != then[3]))
            for now, then in zip(self.weights, before.weights, strict=True)
        ]
        # Half and not one: weights may be written by hand (a buffer of a norm, a tied embedding), which is no update.
        return bool(changed) and 2 * sum(changed) >= len(changed)

    def trained(self, before: Look) -> bool:
        """Return whether a gradient was computed or autograd has recorded a forward pass."""
        return self.nodes != before.nodes or any(
            now is not None and now != then for now, then in zip(self.gradients, before.gradients, strict=True)
        )

    def grew(self, before: Look) -> bool:
        """Return whether gradients were added to previous gradients, as for micro-batches."""
        pairs = [
            (now, then)
            for now, then in zip(self.gradients, before.gradients, strict=True)
            if now is not None and then is not None
        ]
        return bool(pairs) and all(now[0] == then[0] and now[1] > then[1] for now, then in pairs)


def size_of(parameter: torch.Tensor) -> float:
    try:
        return parameter.numel()
    except (RuntimeError, TypeError, ValueError):  # a lazy module's, that has no shape yet
        return float("inf")


def _version(tensor: torch.Tensor) -> int:
    try:
        return tensor._version
    except RuntimeError:  # inference tensors have none
        return 0


def _sum(parameter: torch.Tensor) -> Any:
    if size_of(parameter) > _SUMMED:
        return None
    try:
        local = parameter.detach()
        if hasattr(local, "to_local"):  # the local part of a distributed tensor: no rank may wait for the rest
            local = local.to_local()
        return repr(local.sum().item())  # as text, since NaN as a number differs from itself
    except (RuntimeError, NotImplementedError, TypeError):  # tensors without storage, quantised ones
        return None
