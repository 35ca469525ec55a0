"""Averages inside a PyTorch training loop, on `torch.optim.swa_utils.AveragedModel`.

>>> import torch
>>> from laju.averaging import Tail
>>> model = torch.nn.Linear(2, 1)
>>> average = averaged(model, Tail(2), at=[1, 2, 3])
>>> for _ in range(3):
...     _ = torch.nn.init.constant_(model.weight, float(average.n_averaged))
...     average.update_parameters(model)
>>> average.module.weight.tolist()
[[1.5, 1.5]]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from laju.averaging.averages import Average
from laju.core.extras import needed_by
from laju.core.schedule import Schedule

with needed_by("laju.averaging.torch", "torch"):
    import torch
    from torch.optim.swa_utils import AveragedModel

MultiAverage = Callable[[Sequence[torch.Tensor], Sequence[torch.Tensor], Any], None]


def averaged(
    model: torch.nn.Module, average: Average, at: Iterable[int], trunk: Schedule | None = None, **options: Any
) -> AveragedModel:
    """Create a copy of a model for the average of the model's weights after the updates `at`, as torch's `AveragedModel`.

    Call `update_parameters(model)` after each update of `at`; the average is complete after the last call. Batch statistics are
    not averaged but copied from the model now, so call `torch.optim.swa_utils.update_bn` after the last update.

    Args:
        model: the model that is trained.
        average: the average, such as `EMA(0.999)` or `Cooldown(linear(1, 0, total=2000))`.
        at: completed updates after which `update_parameters` is called, increasing.
        trunk: learning-rate schedule of the training run, for a `Cooldown`; constant by default.
        options: further arguments of `AveragedModel`, such as `device`.

    Raises:
        ValueError: if updates do not increase, the average's window is longer than the run, or shares are below 0.
    """
    return AveragedModel(model, multi_avg_fn=multi_avg_fn(average, at, trunk), **options)


def multi_avg_fn(average: Average, at: Iterable[int], trunk: Schedule | None = None) -> MultiAverage:
    """The argument `multi_avg_fn` of `AveragedModel` for an average; the arguments are explained in `averaged`.

    Checkpoint k gets the share c(k) / (c(1) + … + c(k)) in the mean of the checkpoints so far; c are the average's weights.
    """
    shares = average.weights(at, trunk)
    if (shares < 0).any():
        raise ValueError(
            f"shares must be 0 or more in a training loop, got {shares.min():g}: the learning rate of {average} rises; merge "
            "checkpoints instead"
        )
    sums = np.cumsum(shares)
    steps = np.divide(shares, sums, out=np.ones_like(shares), where=sums > 0).tolist()

    def update(means: Sequence[torch.Tensor], weights: Sequence[torch.Tensor], count: Any) -> None:
        done = int(count)
        if done >= len(steps):
            raise ValueError(f"the average has {len(steps):,} checkpoints, but update_parameters was called more often")
        for mean, weight in zip(means, weights, strict=True):
            if mean.is_floating_point() or mean.is_complex():
                mean.lerp_(weight.to(mean.dtype), steps[done])
            else:
                mean.copy_(weight)

    return update
