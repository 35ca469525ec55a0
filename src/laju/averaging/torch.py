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
    """A copy of a model that holds the average of the model's weights after the updates `at`.

    Call `update_parameters(model)` after each of these updates; the average is complete after the last. Batch statistics are
    those of the model at the call of this function, so `torch.optim.swa_utils.update_bn` is needed after the last update.

    Args:
        model: that is trained.
        average: such as `EMA(0.999)` or `Cooldown(linear(1, 0, total=2000))`.
        at: completed updates after which `update_parameters` is called, increasing.
        trunk: rate of the training, for a `Cooldown`; constant by default.
        options: of `AveragedModel`, such as `device`.

    Raises:
        ValueError: as `Average.weights`, or shares below 0.
    """
    return AveragedModel(model, multi_avg_fn=multi_avg_fn(average, at, trunk), **options)


def multi_avg_fn(average: Average, at: Iterable[int], trunk: Schedule | None = None) -> MultiAverage:
    """The `multi_avg_fn` of `AveragedModel` for an average; arguments as in `averaged`.

    The share of a checkpoint in the mean of the checkpoints so far is c(k) / (c(1) + … + c(k)).
    """
    shares = average.weights(at, trunk)
    if (shares < 0).any():
        raise ValueError(
            f"shares must be 0 or more in a training, got {shares.min():g}: the rate of {average} rises; merge "
            "checkpoints instead"
        )
    sums = np.cumsum(shares)
    steps = np.divide(shares, sums, out=np.ones_like(shares), where=sums > 0).tolist()

    def update(means: Sequence[torch.Tensor], weights: Sequence[torch.Tensor], count: Any) -> None:
        done = int(count)
        if done >= len(steps):
            raise ValueError(
                f"the average is of {len(steps):,} checkpoints, and update_parameters was called once more"
            )
        for mean, weight in zip(means, weights, strict=True):
            if mean.is_floating_point() or mean.is_complex():
                mean.lerp_(weight.to(mean.dtype), steps[done])
            else:
                mean.copy_(weight)

    return update
