"""A small residual network for images of any size, used if no library of models is installed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class _Block(nn.Module):
    """Two 3×3 convolutions plus the identity, or plus a 1×1 convolution if the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        same = stride == 1 and inputs == outputs
        self.beside: nn.Module = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.beside(x))


def residual(classes: int, widths: Sequence[int] = (16, 32, 64), blocks: int = 1) -> nn.Module:
    """A residual network from images (N, 3, height, width) to logits (N, classes).

    The layers are a 3×3 convolution; for each of `widths`, `blocks` blocks of two 3×3 convolutions and a skip connection, the
    first with stride 2; the mean over all positions; and a linear layer. Weights are drawn from N(0, 2 / (fan_out)), from
    torch's random state.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016.

    >>> sum(p.numel() for p in residual(classes=10).parameters())
    78330
    """
    layers: list[nn.Module] = [
        nn.Conv2d(3, widths[0], 3, padding=1, bias=False),
        nn.BatchNorm2d(widths[0]),
        nn.ReLU(inplace=True),
    ]
    before = widths[0]
    for width in widths:
        for i in range(blocks):
            layers.append(_Block(before, width, stride=2 if i == 0 else 1))
            before = width
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network
