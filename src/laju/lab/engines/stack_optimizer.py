"""torch's SGD, Adam and RAdam over a matrix of parameters with one row per trial, with all inputs on the device.

The rate, the count of updates and every setting are tensors, so that an update can be captured once and replayed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from laju.lab.trials import Optimizer

_EPSILON = 1e-8  # torch's default


class StackOptimizer:
    """A kind of optimizer for a stack of trials, each with its own settings and state.

    Args:
        chosen: an optimizer for each trial, all of the same kind.
        parameters: (trials, parameters), where the state will lie.
    """

    def __init__(self, chosen: Sequence[Optimizer], parameters: torch.Tensor) -> None:
        def column(values: list[float]) -> torch.Tensor:
            return torch.tensor(values, dtype=torch.float64, device=parameters.device).unsqueeze(1)

        self.kind = chosen[0].kind
        self.count = torch.zeros((), dtype=torch.float64, device=parameters.device)
        decays = [optimizer.weight_decay for optimizer in chosen]
        self.weight_decay = column(decays) if any(decays) else None
        self.state: list[torch.Tensor] = [self.count]
        if self.kind == "sgd":
            momenta = [optimizer.momentum for optimizer in chosen]
            self.momentum = column(momenta) if any(momenta) else None
            self.mean = torch.zeros_like(parameters)
            if self.momentum is not None:
                self.state.append(self.mean)
            return
        betas = [optimizer.betas or (0.0, 0.0) for optimizer in chosen]
        self.betas = column([first for first, _ in betas]), column([second for _, second in betas])
        self.mean, self.square = torch.zeros_like(parameters), torch.zeros_like(parameters)
        self.state += [self.mean, self.square]

    def step(self, parameters: torch.Tensor, gradients: torch.Tensor, rate: torch.Tensor) -> torch.Tensor:
        """The parameters after an update, with (trials, 1) rates; the state is changed in place, the parameters are not."""
        # In place, and on the device: a captured update adds 1 at every replay, where a Python number would have been captured
        # as it was.
        self.count += 1
        like = parameters.dtype
        if self.weight_decay is not None:
            gradients = gradients + self.weight_decay.to(like) * parameters
        if self.kind == "sgd":
            if self.momentum is not None:
                gradients = self.mean.mul_(self.momentum.to(like)).add_(gradients)
            return parameters - rate.to(like) * gradients
        first, second = self.betas
        self.mean.lerp_(gradients, (1 - first).to(like))
        self.square.mul_(second.to(like)).addcmul_(gradients, gradients * (1 - second).to(like))
        rest_1, rest_2 = 1 - first**self.count, 1 - second**self.count  # in float64, since both begin near 0
        if self.kind == "adam":
            size = self.square.sqrt() / rest_2.sqrt().to(like) + _EPSILON
            return parameters - (rate / rest_1).to(like) * (self.mean / size)
        # RAdam: as long as too few gradients were seen for a known size, a step without that size.
        longest = 2 / (1 - second) - 1
        length = longest - 2 * self.count * second**self.count / rest_2
        known = length > 5
        part = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
        scale = torch.where(known, part, 0).sqrt() * rest_2.sqrt()
        step = torch.where(known, scale.to(like) / (self.square.sqrt() + _EPSILON), 1)
        return parameters - (rate / rest_1).to(like) * (self.mean * step)
