"""Captured updates, launched in a single call: the only place where a GPU and a CPU are driven differently."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

_WARM_UP = 3


class Capturer:
    """Captures functions as graphs on a device; all graphs of a capturer share their memory, as no two run at the same time."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._pool: Any = None
        self._stream: Any = None

    def capture(self, function: Callable[[], None], state: Iterable[torch.Tensor]) -> Callable[[], None]:
        """A function with the effect of `function`: on a GPU a replay of its kernels, launched in a single call; else `function`.

        Args:
            function: reads and writes tensors that stay where they are, and neither waits for the device nor looks at a value.
            state: every tensor that `function` changes. A few runs before the capture must leave no trace in these tensors.
        """
        if self.device.type != "cuda":
            return function
        state = list(state)
        before = [tensor.clone() for tensor in state]
        random = torch.cuda.get_rng_state(self.device)
        # Libraries choose and load their kernels at the first call of a stream, which a capture does not allow.
        self._stream = self._stream or torch.cuda.Stream(self.device)
        self._stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._stream):
            for _ in range(_WARM_UP):
                function()
                for tensor, value in zip(state, before, strict=True):
                    tensor.copy_(value)
        torch.cuda.current_stream(self.device).wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        # A capture records addresses, not values: a replay reads and writes the same tensors, wherever the caller has put new
        # content meanwhile. So inputs are copied into place, never exchanged.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            function()
        self._pool = graph.pool()
        # The runs before the capture have drawn random numbers, which the first replay is to draw.
        torch.cuda.set_rng_state(random, self.device)
        replay: Callable[[], None] = graph.replay
        return replay
