"""A sweep: a torch training run whose learning rate is set before every update, until its end or its divergence."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, cast

import numpy as np
import torch

from laju.core.checks import shown
from laju.lab.range_test.rates import RateRange
from laju.lab.range_test.result import Sweep

Passes = Callable[[], Iterable[Any]]
_MEMORY = 5
"""The least number of updates over which losses are averaged before a rise counts as divergence."""


def check(model: Any, loss: Any, data: Any, optimizer: Any) -> None:
    """Refuse arguments on which a sweep would fail, before any state is changed."""
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model must be a torch module, got {shown(model)}")
    if not callable(loss):
        raise TypeError(f"loss must be a function of (outputs, targets), or of (model, batch), got {shown(loss)}")
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"optimizer must be a torch optimizer, got {shown(optimizer)}")
    if isinstance(optimizer, torch.optim.LBFGS):
        raise ValueError("optimizer must need no closure, got LBFGS, which evaluates the loss several times per update")
    if isinstance(data, Iterator):
        raise ValueError(
            f"data must be something that can be iterated again and again, such as a DataLoader or a list of batches, or a "
            f"function that returns an iterator; got the iterator {shown(data)}, which would be used up"
        )
    if not isinstance(data, Iterable) and not callable(data) and not hasattr(data, "__getitem__"):
        raise TypeError(f"data must be batches, or a function that returns an iterator of them, got {shown(data)}")
    lazy = [
        name for name, part in (*model.named_parameters(), *model.named_buffers()) if torch.nn.parameter.is_lazy(part)
    ]
    if lazy:
        raise ValueError(
            f"model has parameters that are not initialised yet ({lazy[0]}): run one batch through it first"
        )
    if (
        torch.distributed.is_available()
        and torch.distributed.is_initialized()
        and torch.distributed.get_world_size() > 1
    ):
        raise ValueError("a range test runs in one process, but torch.distributed has several: run it before, in one")


def passes(data: Any) -> Passes:
    """A function that begins a pass over the data, from the loader's initial state and with separate workers."""

    def begin() -> Iterable[Any]:
        if not isinstance(data, Iterable) and callable(data):
            return cast(Iterable[Any], data())
        if getattr(data, "persistent_workers", False):
            data._iterator = None  # a pass that is under way somewhere else goes on afterwards
        return cast(Iterable[Any], data)

    return begin


def sweep(
    model: torch.nn.Module,
    loss: Callable[..., torch.Tensor],
    begin: Passes,
    optimizer: torch.optim.Optimizer,
    rates: RateRange,
    seed: int,
    accumulate: int = 1,
) -> Sweep:
    """Make the updates of a sweep, without restoring any state.

    Args:
        model, loss, optimizer, accumulate: as in `range_test`.
        begin: a function that begins a pass over the data.
        rates: the learning rates of the updates.
        seed: only recorded in the result; the caller seeds the random generators.
    """
    values, shares = rates.schedule.values(rates.updates), _shares(optimizer)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    limit = _Limit(max(rates.width, _MEMORY), rates.divergence)
    losses: list[float] = []
    at = None
    if not model.training:
        model.train()
    with torch.inference_mode(False), torch.enable_grad():
        stream = _endless(begin)
        try:
            for t, rate in enumerate(values.tolist()):
                _write(optimizer, rate, shares)
                optimizer.zero_grad(set_to_none=True)
                total = 0.0
                for _ in range(accumulate):
                    part = _loss(model, loss, _moved(next(stream), device))
                    total += float(part.detach())
                    if not math.isfinite(total):
                        break
                    (part / accumulate).backward()
                losses.append(total / accumulate)
                if limit.passed(losses[-1]):
                    at = t
                    break
                optimizer.step()
        finally:
            stream.close()
    n = len(losses)
    return Sweep(seed, values[:n], np.array(losses), rates.width, at)


class _Limit:
    """Whether the mean of the past losses, with the weights e^(-age/memory), is above the limit of divergence.

    The mean is divided by the sum of the weights so far, so the beginning is not biased towards 0.
    """

    def __init__(self, memory: float, multiple: float) -> None:
        self.keep, self.multiple = math.exp(-1 / memory), multiple
        self.mean = self.weight = 0.0
        self.count, self.first, self.best = 0, 0.0, math.inf

    def passed(self, loss: float) -> bool:
        self.mean, self.weight = self.keep * self.mean + loss, self.keep * self.weight + 1
        level = self.mean / self.weight
        self.count += 1
        if self.count < _MEMORY:
            # The first mean is of a single batch, which may have been easy, so at first much more must have happened.
            self.first = loss if self.count == 1 else self.first
            # "not … <=" and not ">": a mean that is NaN has diverged.
            return not level <= self.first + (self.multiple**2 - 1) * abs(self.first)
        self.first = level if self.count == _MEMORY else self.first
        self.best = min(self.best, level)
        # A multiple of a loss near or below 0 means little; a loss worse than at the beginning does count.
        return not level <= max(self.best + (self.multiple - 1) * abs(self.best), self.first)


def _endless(begin: Passes) -> Generator[Any, None, None]:
    while True:
        empty = True
        batches = iter(begin())
        try:
            for batch in batches:
                empty = False
                yield batch
        finally:
            close = getattr(batches, "close", None)
            if close is not None:
                close()
        if empty:
            raise ValueError("data gave no batches")


def _loss(model: torch.nn.Module, loss: Callable[..., torch.Tensor], batch: Any) -> torch.Tensor:
    if isinstance(batch, tuple | list) and len(batch) == 2:
        inputs, targets = batch
        value = loss(model(inputs), targets)
    else:
        value = loss(model, batch)
    if not isinstance(value, torch.Tensor) or value.numel() != 1 or not value.requires_grad:
        raise TypeError(f"loss must return a scalar tensor with a gradient, got {shown(value)}")
    return value


def _moved(batch: Any, device: torch.device) -> Any:
    """The batch with its tensors on the device."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device)
    if type(batch) in (tuple, list):
        return type(batch)(_moved(part, device) for part in batch)
    if isinstance(batch, Mapping):
        moved = {key: _moved(part, device) for key, part in batch.items()}
        return moved if type(batch) is dict else cast(Any, type(batch))(moved)
    return batch


def _shares(optimizer: torch.optim.Optimizer) -> list[float]:
    """The rate of each group relative to the largest rate; initial rates, if a schedule has changed the rates since."""
    bases = [float(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups]
    largest = max(bases)
    return [base / largest if largest > 0 else 1.0 for base in bases]


def _write(optimizer: torch.optim.Optimizer, rate: float, shares: list[float]) -> None:
    for group, share in zip(optimizer.param_groups, shares, strict=True):
        if isinstance(group["lr"], torch.Tensor):  # in place: compiled updates read this storage
            group["lr"].fill_(rate * share)
        else:
            group["lr"] = rate * share
