"""The sizes of the first updates of a training run in every layer, as figures, a table and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from laju.core.pieces import Constant
from laju.lab.trials import Outcome, Trial
from laju.studies.base import Table
from laju.studies.pictures import panels
from laju.view.plot import INK, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from laju.lab.engines.loop import Report

WATCHED = 50
"""The number of first updates whose sizes are measured in every layer."""

Sizes = npt.NDArray[np.float64]
"""‖Δw‖/‖w‖ of the weights of every layer, (updates, layers), before the first loss that is not finite."""


def watch(
    trial: Trial, frozen: str | None = None, updates: int = 0, report: Report | None = None
) -> tuple[Outcome, list[list[float]]]:
    """Run a trial of a plain network; return its outcome and, as lists, the `Sizes` of its first `WATCHED` updates.

    Args:
        trial: a trial in torch, with SGD.
        frozen: the half of the layers, "upper" or "lower", whose rate is 0 at first; None for neither.
        updates: the number of updates for which these layers are frozen.
        report: called with every new record.
    """
    import torch

    from laju.frameworks.torch import Scheduler
    from laju.lab.engines.loop import Batch, run
    from laju.lab.engines.torch import Training, one_thread_and_own_randomness

    sizes: list[list[float]] = []

    class Watched(Training):
        def __init__(self, trial: Trial) -> None:
            super().__init__(trial)
            layers = [m for m in self.model.modules() if isinstance(m, torch.nn.Linear)]
            self.weights = [layer.weight for layer in layers]
            if frozen is not None:
                half, schedule = len(layers) // 2, trial.schedule.resolve(trial.plan)
                thawing = Constant(0.0, updates) >> schedule.shift(updates)
                halves = {"lower": layers[:half], "upper": layers[half:]}
                groups = [{"params": [p for m in ms for p in m.parameters()], "name": n} for n, ms in halves.items()]
                self.optimizer = torch.optim.SGD(groups, lr=0.0, momentum=trial.optimizer.momentum)
                self.scheduler = Scheduler(self.optimizer, lr={n: thawing if n == frozen else schedule for n in halves})

        def update(self, batch: Batch) -> None:
            if len(sizes) >= WATCHED:
                super().update(batch)
                return
            before = [w.detach().clone() for w in self.weights]
            super().update(batch)
            with torch.no_grad():
                sizes.append([float((w - b).norm() / b.norm()) for w, b in zip(self.weights, before, strict=True)])

    with one_thread_and_own_randomness():
        outcome = run(trial, Watched(trial), report)
    finite = np.isfinite(sizes).all(axis=1)
    return outcome, sizes if finite.all() else sizes[: int((~finite).argmax())]


def ended(sizes: Sizes) -> str:
    return "all of them finite" if len(sizes) == WATCHED else f"of which {len(sizes)} were finite"


def sizes_table(sizes: Mapping[str, Sizes]) -> Table:
    rows = []
    for way, s in sizes.items():
        if len(s):
            quiet = f"{s[0].min():.2g} to {s[0].max():.2g}"
            rows.append([way, quiet, f"{s.max():.2g}", int(s.max(axis=0).argmax()) + 1, ended(s)])
        else:
            rows.append([way, "-", "-", "-", ended(s)])
    return Table(("start", "first update, over layers", "largest", "in layer", f"of {WATCHED} updates"), rows)


def picture_sizes(sizes: Mapping[str, Sizes], probe: float) -> Figure:
    """Draw layers against first updates, coloured by the relative size of the update."""
    from matplotlib.colors import LogNorm

    figure, axes = panels(1, len(sizes), 11.5, 3.6, sharey=True)
    positive = np.concatenate([s[s > 0] for s in sizes.values()] or [np.array([1.0])])
    low, high = float(np.quantile(positive, 0.02)), min(float(positive.max()), 1.0)
    norm = LogNorm(min(low, high / 10), high)
    for ax, (way, s) in zip(axes, sizes.items(), strict=True):
        layers = s.shape[1] if s.ndim == 2 else 1
        shown = np.full((WATCHED, layers), np.nan)
        shown[: len(s)] = np.where(s > 0, s, np.nan)
        image = ax.imshow(
            shown.T, norm=norm, cmap="viridis", aspect="auto", origin="lower", extent=(0, WATCHED, 0.5, layers + 0.5)
        )
        titled(ax, way, "update", size=10.5)
        ax.grid(visible=False)
        ax.set_facecolor("#eef0f3")
        if len(s) < WATCHED:
            ax.text((len(s) + WATCHED) / 2, layers / 2, f"not finite\nafter {len(s)} updates", color=INK, ha="center")
    axes[0].set_ylabel("layer", color=INK)
    bar = figure.colorbar(image, ax=axes, extend="max", pad=0.01)
    bar.set_label(f"‖Δw‖ / ‖w‖ at rate {probe:g} (grey: none)", color=INK)
    return figure
