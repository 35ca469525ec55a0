"""Langevin dynamics as a torch optimizer for the weights of a model, to be driven by `laju.frameworks.torch.Scheduler`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from laju.core.checks import number
from laju.sampling.langevin import as_generator
from laju.sampling.preconditioned import RMSProp
from laju.sampling.steps import Diverged

_WATCH = 100  # updates between two looks at whether the weights are finite


class Langevin(torch.optim.Optimizer):
    """Torch optimizer that samples the weights of a model by stochastic-gradient Langevin dynamics.

    θ ← θ + (ε/2)·∇log p + √(ε·T)·N(0, 1) with ε = lr and log p = -N·loss - Λ₀·|θ|²/2: the loss is the mean over a mini-batch
    of the samples' negative log likelihood, such as cross-entropy, and N is the number of samples.

    Both ε and T are hyper-parameters of the parameter groups, so a `Scheduler` can set both: `Scheduler(optimizer, lr=step,
    temperature=stages(step, updates).temperature)`. The state of the optimizer's random generator is part of `state_dict`, so
    a resumed run equals an uninterrupted run.

    Args:
        params: parameters, or groups of parameters.
        lr: ε, at least 0. Gradient descent on the mean loss with learning rate η is T = 0 and ε = 2η/N.
        temperature: T, at least 0.
        data_size: N, above 0.
        prior_precision: Λ₀, at least 0: the precision of a Gaussian prior about 0. A weight decay λ on the mean loss is
            Λ₀ = N·λ.
        preconditioner: scales ε per weight to its curvature (pSGLD); its `data_size` should be N.
        seed: seed of the noise, or a generator on the parameters' device.

    Raises:
        ValueError: if an argument is outside its bounds, at construction or, if a schedule sets the argument, in `step`.
        Diverged: in `step`, if weights are no longer finite.

    Source: Welling & Teh, 2011; the temperature as in Zhang et al., arXiv 1902.03932.

    >>> import laju
    >>> from laju.frameworks.torch import Scheduler
    >>> weight = torch.nn.Parameter(torch.zeros(1000))
    >>> optimizer = Langevin([weight], lr=0.0)
    >>> scheduler = Scheduler(optimizer, lr=laju.welling_teh(0.5, b=10))
    >>> for _ in range(100):
    ...     optimizer.zero_grad()
    ...     (weight**2 / 2).sum().backward()  # -log p of a standard Gaussian
    ...     optimizer.step()
    ...     scheduler.step()
    >>> 0.8 < float(weight.detach().var()) < 1.2
    True
    """

    def __init__(
        self,
        params: Iterable[torch.Tensor] | Iterable[dict[str, Any]],
        lr: float,
        *,
        temperature: float = 1.0,
        data_size: float = 1,
        prior_precision: float = 0.0,
        preconditioner: RMSProp | None = None,
        seed: int | torch.Generator = 0,
    ) -> None:
        defaults = {
            "lr": lr,
            "temperature": temperature,
            "data_size": number("data_size", data_size, above=0),
            "prior_precision": prior_precision,
        }
        if preconditioner is not None and not isinstance(preconditioner, RMSProp):
            raise TypeError(f"preconditioner must be a laju.sampling.RMSProp or None, got {preconditioner!r}")
        super().__init__(params, defaults)
        for group in self.param_groups:
            _checked(group)
        self.preconditioner = preconditioner
        self.generator = as_generator(seed, self.param_groups[0]["params"][0].device)
        self._done = 0

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make an update; return the result of `closure`, which computes the loss and its gradients, or None without closure."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            step, temperature, prior = _checked(group)
            for weights in group["params"]:
                if weights.grad is not None:
                    self._update(weights, step, temperature, group["data_size"], prior)
        self._done += 1
        if self._done % _WATCH == 0:
            self._look()
        return loss

    def _update(self, weights: torch.Tensor, step: float, temperature: float, size: float, prior: float) -> None:
        assert weights.grad is not None
        # The gradient is of the mean loss over a mini-batch, and log p is of all samples together.
        slope = weights.grad * -size
        if prior:
            slope.add_(weights, alpha=-prior)
        scale = None
        if self.preconditioner is not None:
            state = self.state[weights]
            if not state:
                state["t"], state["squares"] = 0, torch.zeros_like(weights)
            scale = self.preconditioner.observe(state["squares"], slope, state["t"])
            state["t"] += 1
            slope *= scale
        weights.add_(slope, alpha=step / 2)
        if step and temperature:
            noise = torch.randn(
                weights.shape, generator=self.generator, dtype=weights.dtype, device=self.generator.device
            ).to(weights.device)
            if scale is not None:
                noise *= scale.sqrt()
            weights.add_(noise, alpha=(step * temperature) ** 0.5)

    def _look(self) -> None:
        for group in self.param_groups:
            if not all(bool(weights.isfinite().all()) for weights in group["params"]):
                raise Diverged(step=float(group["lr"]), update=self._done - 1)

    def state_dict(self) -> dict[str, Any]:
        """The state of a torch optimizer, and the state of the random generator."""
        return {**super().state_dict(), "generator": self.generator.get_state(), "done": self._done}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a `state_dict`, with the same noise as in an uninterrupted run."""
        super().load_state_dict({k: v for k, v in state_dict.items() if k not in ("generator", "done")})
        if "generator" in state_dict:  # the state of another optimizer with the same groups has no generator
            # A checkpoint that is loaded with map_location brings the state on a device, and generators take it from the CPU
            # alone.
            self.generator.set_state(state_dict["generator"].cpu())
            self._done = int(state_dict["done"])


def _checked(group: dict[str, Any]) -> tuple[float, float, float]:
    return (
        number("lr", _python_number(group["lr"]), least=0),
        number("temperature", _python_number(group["temperature"]), least=0),
        number("prior_precision", group["prior_precision"], least=0),
    )


def _python_number(value: Any) -> Any:
    return value.item() if isinstance(value, torch.Tensor) else value
