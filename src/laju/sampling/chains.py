"""The result of a sampler: the kept positions with their updates and steps, and diagnostics of their quality with ArviZ."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from laju.core.checks import shown
from laju.core.extras import needed_by

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Chains:
    """The kept positions of several chains, with the update and the step size of each position.

    Attributes:
        draws: positions, of shape (chains, kept, *shape of a position).
        updates: number of completed updates at each kept position, of shape (kept,).
        steps: ε of the update that produced each kept position, of shape (kept,).

    >>> chains = Chains(np.array([[1.0, 2.0, 6.0]]), np.array([1, 2, 3]), np.array([3.0, 2.0, 1.0]))
    >>> chains.mean(), chains.mean(weighted=True).round(3)
    (np.float64(3.0), np.float64(2.167))
    """

    draws: NDArray[np.floating[Any]]
    updates: NDArray[np.int64]
    steps: Floats

    def __post_init__(self) -> None:
        kept = (len(self.updates), len(self.steps))
        if self.draws.ndim < 2 or kept != (self.draws.shape[1],) * 2:
            raise ValueError(
                "draws must have a shape (chains, kept, ...) with as many updates and steps as are kept, got "
                f"{self.draws.shape}, {kept[0]} updates and {kept[1]} steps"
            )

    def mean(self, *, weighted: bool = False) -> Any:
        """The mean of all draws of all chains, for each coordinate.

        Args:
            weighted: whether to weight each draw by its step, Σ ε_t·θ_t / Σ ε_t (Welling & Teh, 2011): with decreasing steps,
                a draw then counts in proportion to the diffusion time of its update.
        """
        return self._average(self.draws, weighted)

    def variance(self, *, weighted: bool = False) -> Any:
        """The variance of all draws of all chains about their common mean, for each coordinate.

        Args:
            weighted: whether to weight each draw by its step ε_t, in the mean and in the variance.
        """
        return self._average((self.draws - self.mean(weighted=weighted)) ** 2, weighted)

    def _average(self, values: NDArray[Any], weighted: bool) -> Any:
        if not len(self.steps):
            raise ValueError("no draw was kept, so there is no mean")
        per_update = values.mean(axis=0, dtype=float)
        if not weighted:
            return per_update.mean(axis=0)
        if not self.steps.sum() > 0:
            raise ValueError("all steps are 0, so there are no weights")
        return np.average(per_update, axis=0, weights=self.steps)

    def ess(self, method: Literal["bulk", "tail", "mean"] = "bulk") -> Any:
        """The effective sample size of each coordinate: the number of independent draws with the same information.

        Args:
            method: "bulk", "tail" or "mean", as in ArviZ; Vehtari et al., arXiv 1903.08008.

        Raises:
            ValueError: for an unknown method, or fewer than four draws per chain.
            ModuleNotFoundError: if ArviZ is not installed.
        """
        if method not in ("bulk", "tail", "mean"):
            raise ValueError(f"method must be 'bulk', 'tail' or 'mean', got {shown(method)}")
        return self._by_arviz("ess", method=method)

    def rhat(self) -> Any:
        """Rank-normalised split R-hat of each coordinate: near 1 if the chains agree, above 1.01 if the chains disagree.

        Raises:
            ValueError: for fewer than two chains, or fewer than four draws per chain.
            ModuleNotFoundError: if ArviZ is not installed.
        """
        if len(self.draws) < 2:
            raise ValueError("R-hat needs at least 2 chains, got 1")
        return self._by_arviz("rhat")

    def to_arviz(self, name: str = "position") -> Any:
        """The draws as ArviZ's `InferenceData`, for ArviZ's plots and summaries; `name` names the variable.

        Raises:
            ModuleNotFoundError: if ArviZ is not installed.
        """
        return need_arviz().convert_to_inference_data({name: self.draws})

    def _by_arviz(self, function: str, **options: Any) -> Any:
        if self.draws.shape[1] < 4:
            raise ValueError(f"{function} needs at least 4 draws per chain, got {self.draws.shape[1]}")
        arviz = need_arviz()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="More chains")  # more chains than draws are a valid result here
            found = getattr(arviz, function)(arviz.convert_to_dataset({"position": self.draws}), **options)
        return found["position"].to_numpy()[()]


def need_arviz() -> Any:
    """Import ArviZ; if ArviZ is not installed, the error has the command that installs ArviZ."""
    with needed_by("a diagnostic of chains", "sampling"), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of its own next version; the requirement is below that
        import arviz
    return arviz
