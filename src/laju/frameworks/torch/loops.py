"""Learning rates for loops that compute the rate at the end of an epoch, and the learning rates of any torch scheduler."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from laju.core.checks import nearest, shown, whole
from laju.core.schedule import Schedule
from laju.core.units import RunPlan, UnresolvedError
from laju.frameworks.values import given


def after_epoch(schedule: Schedule | str, optimizer: torch.optim.Optimizer) -> Callable[[int], float]:
    """Return the function epoch ↦ schedule(epoch + 1), for a loop that sets the learning rate at the end of each epoch.

    Loops such as in *Dive into Deep Learning* end epoch e with `group["lr"] = scheduler(e)`, so the schedule itself would be an
    epoch late. The schedule counts epochs, from 0. The learning rate of epoch 0 is set immediately.

    Args:
        schedule: a schedule of absolute learning rates, or its text; every parameter group gets the same rate.
        optimizer: the torch optimizer, whose groups get schedule(0) for epoch 0.

    Raises:
        TypeError: if `schedule` is neither a schedule nor text, or `optimizer` is not an optimizer.
        SpecError: if the text is not a schedule.
        UnresolvedError: if lengths are in units other than epochs.

    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])
    >>> scheduler = after_epoch("linear(1, 0, total=4)", optimizer)
    >>> for epoch in range(3):
    ...     print(optimizer.param_groups[0]["lr"])
    ...     optimizer.param_groups[0]["lr"] = scheduler(epoch)
    1.0
    0.75
    0.5
    """
    by_epoch = given("schedule", schedule, resolved=False)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"optimizer must be a torch optimizer, got {shown(optimizer)}")
    if by_epoch.units - {"epochs"}:
        raise UnresolvedError(
            f"after_epoch counts epochs, but {shown(by_epoch)} has lengths in {', '.join(sorted(by_epoch.units))}; "
            "give its lengths in epochs"
        )
    by_epoch = by_epoch.resolve(RunPlan(samples=1, batch_size=1, epochs=1))  # a plan with an update for each epoch
    for group in optimizer.param_groups:
        group["lr"] = by_epoch(0)
    return lambda epoch: float(by_epoch(epoch + 1))


def trace(
    make_scheduler: Callable[[torch.optim.Optimizer], Any], n: int, *, base: float = 1.0, key: str = "lr"
) -> list[float]:
    """Return the values that a torch scheduler really sets in the first `n` updates, if stepped after each update.

    Args:
        make_scheduler: function that constructs the scheduler for an optimizer. `trace` passes a new optimizer, so the caller's
            objects are unchanged.
        n: number of updates.
        base: the optimizer's learning rate before the scheduler is constructed.
        key: the hyper-parameter to read: "lr", "momentum" or "weight_decay".

    Raises:
        TypeError: if `make_scheduler` does not return a scheduler, or the scheduler depends on a metric.
        ValueError: if the scheduler is for a different optimizer, or SGD does not have the hyper-parameter.

    >>> trace(lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4), 6)[4:]
    [0.0, 0.1464466094067262]
    """
    n = whole("n", n)
    if not callable(make_scheduler):
        raise TypeError(
            f"make_scheduler must be a function from an optimizer to a scheduler, got {shown(make_scheduler)}"
        )
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    optimizer = torch.optim.SGD([parameter], lr=base, momentum=0.5)
    group = optimizer.param_groups[0]
    if key not in optimizer.defaults:
        raise ValueError(f"key must be a hyper-parameter of SGD, got {key!r}{nearest(key, optimizer.defaults)}")
    scheduler = make_scheduler(optimizer)
    if isinstance(scheduler, ReduceLROnPlateau):
        raise TypeError(
            "ReduceLROnPlateau follows a metric and has no sequence of its own; laju.adaptive.simulate shows what "
            "laju.adaptive.Plateau makes of metrics"
        )
    if not hasattr(scheduler, "step"):
        raise TypeError(f"make_scheduler must return a scheduler, got {shown(scheduler)}")
    if getattr(scheduler, "optimizer", optimizer) is not optimizer:
        raise ValueError("make_scheduler must make the scheduler for the optimizer that it is given, not for another")
    used: list[float] = []
    with warnings.catch_warnings():
        # SequentialLR steps its parts in a way that torch itself warns of.
        warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\.optim\.lr_scheduler")
        while len(used) < n:
            if used:
                optimizer.step()
                scheduler.step()
            used.append(float(group[key]))
    return used
