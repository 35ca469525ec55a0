"""Langevin dynamics on three targets whose answers are known.

A Gaussian, where the moments after every update are exact; a Bayesian logistic regression on two kinds of images of the task,
whose posterior of two weights is integrated on a grid; and 25 Gaussians on a grid, whose modes can be counted. Many chains run
at once and take some twenty seconds in all, so nothing is kept in a store.
"""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

import laju
from laju.core.schedule import Schedule
from laju.lab.statistics import number
from laju.lab.trials.tasks import get_task
from laju.sampling import (
    Chains,
    Diverged,
    Gaussian,
    GaussianMixture,
    Posterior,
    contraction,
    cyclical,
    moments,
    sample,
    stationary_variance,
)
from laju.sampling.chains import need_arviz
from laju.studies.base import Options, Table
from laju.studies.pictures import panels
from laju.view.plot import INK, PALETTE, draw_steps, legend, line_style, tidy, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

_START = 3.0  # standard deviations from the mean, where the chains on the Gaussian begin
_AGREE = 4.0  # standard errors, within which a sampled value agrees with the exact value
_FOUND = 0.002  # share of a chain's draws from which on a mode counts as found; a fair share is .04
_PRIOR = 1 / 9  # precision of both weights of the regression


def sample_targets(options: Options) -> Part:
    """Sample the three targets with several schedules each.

    Raises:
        ValueError: a task without two classes of images.
        ModuleNotFoundError: ArviZ is not installed.
    """
    need_arviz()  # now, not after the sampling
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        gaussian = _gaussian(*((1000, 500) if options.small else (4000, 1000)))
        diverged = _divergence()
        regression = _regression(options)
        mixture = _mixture(4, 4000 if options.small else 30_000)
    finally:
        torch.set_num_threads(threads)
    return Part(
        {"gaussian": gaussian.figures, "divergence": diverged, **regression.figures, "mixture": mixture.figures},
        gaussian.tables | regression.tables | mixture.tables,
        gaussian.pictures | regression.pictures | mixture.pictures,
    )


@dataclass(frozen=True)
class Part:
    """A part of the answer."""

    figures: dict[str, Any]
    tables: dict[str, Table]
    pictures: dict[str, Figure]


# --- a Gaussian --------------------------------------------------------------------------------------------------


def _gaussian(chains: int, updates: int) -> Part:
    cosine = laju.cosine(0.5, total=updates)
    runs: dict[str, tuple[Schedule, float]] = {
        "constant 0.5": (laju.constant(0.5), 1.0),
        "constant 2": (laju.constant(2.0), 1.0),
        "Welling & Teh, from 0.5": (laju.welling_teh(0.5 * 10**0.55, b=10, gamma=0.55), 1.0),
        "cosine, 0.5 to 0": (cosine, 1.0),
        "exponential, sum finite": (laju.natural_exponential(0.5, 0.5), 1.0),
        "cosine without noise (T = 0)": (cosine, 0.0),
    }
    figures: dict[str, Any] = {}
    rows = []
    courses = {}
    for seed, (name, (step, temperature)) in enumerate(runs.items()):
        start = torch.full((chains, 1), _START, dtype=torch.float64)
        drawn = sample(Gaussian(1.0), start, step, updates, temperature=temperature, seed=seed).draws[:, :, 0]
        exact = moments(step, updates, 1.0, mean=_START, temperature=temperature)
        mean, variance = float(drawn[:, -1].mean()), float(drawn[:, -1].var(ddof=1))
        right, wide = float(exact.mean[-1]), float(exact.variance[-1])
        # Draws of a Gaussian: the standard errors of a mean and of a variance.
        errors = math.sqrt(wide / chains), wide * math.sqrt(2 / (chains - 1))
        off = (abs(mean - right), abs(variance - wide))
        agrees = all(o <= _AGREE * e + 1e-9 for o, e in zip(off, errors, strict=True))
        figures[name] = {
            "schedule": str(step),
            "temperature": temperature,
            "sum_of_steps": float(step.values(updates).sum()),
            "mean": mean,
            "exact_mean": right,
            "variance": variance,
            "exact_variance": wide,
            "variance_of_second_half": float(drawn[:, updates // 2 :].var()),
            "start_left": contraction(step, updates, 1.0),
            "agrees": agrees,
        }
        rows.append(
            (
                name,
                f"{figures[name]['sum_of_steps']:.4g}",
                *(number(value if abs(value) > 1e-12 else 0.0) for value in (mean, right, variance, wide)),
            )
        )
        courses[name] = step.values(updates), drawn.mean(axis=0), drawn.var(axis=0, ddof=1), exact
    headings = ("step ε", "Σε", "mean of the chains", "exact mean", "their variance", "exact variance")
    title = f"A Gaussian of mean 0 and variance 1, after {updates:,} updates of {chains:,} chains from {_START:g}"
    return Part(figures, {title: Table(headings, rows)}, {"sampling-a-gaussian": _draw_gaussian(courses)})


def _divergence() -> dict[str, Any]:
    """The stationary variance by the formula below εΛ = 4, and the error of a run above the limit."""
    figures: dict[str, Any] = {
        "stationary_variance": {str(step): float(stationary_variance(step, 1.0)) for step in (0.1, 0.5, 1.0, 2.0, 3.9)}
    }
    try:
        sample(Gaussian(1.0), torch.zeros(10, 1), step=4.2, updates=2000)
    except Diverged as error:
        found = {"step": error.step, "curvature": error.curvature, "update": error.update, "message": str(error)}
        return figures | found
    raise AssertionError("a step beyond 4 over the curvature must diverge")


def _draw_gaussian(courses: dict[str, tuple[Floats, Any, Any, Any]]) -> Figure:
    figure, (steps, means, variances) = panels(3, 1, 7.6, 7.4, sharex=True, height_ratios=(2, 3, 3))
    lines = []
    for i, (steps_of, mean, variance, exact) in enumerate(courses.values()):
        n = len(steps_of)
        style = line_style(i)
        if not exact.variance.any():  # without noise, on the steps and the mean of another
            style["linestyle"] = (0, (3, 3))
        draw_steps(steps, np.maximum(steps_of, 1e-12), i, linestyle=style["linestyle"])
        lines += means.plot(np.arange(n + 1), exact.mean, linewidth=1.6, **style)
        variances.plot(np.arange(n + 1), exact.variance, linewidth=1.6, **style)
        at = np.unique(np.geomspace(1, n, 18).astype(int))
        for ax, sampled in ((means, mean), (variances, variance)):
            ax.plot(at, sampled[at - 1], "o", color=style["color"], ms=3.6, mew=0)
    steps.set_yscale("log")
    steps.set_ylim(1e-3, 4)
    variances.set_ylim(-0.1, 2.4)
    variances.axhline(1, color=INK, linewidth=0.8, linestyle=(0, (1, 2)))
    variances.annotate("right", (1.02, 1.0), (0, 3), textcoords="offset points", color=INK, fontsize=9)
    variances.set_xscale("log")
    variances.set_xlim(1, n)
    for ax, label in ((steps, "step ε"), (means, "mean"), (variances, "variance")):
        ax.set_ylabel(label, color=INK)
        tidy(ax)
    variances.set_xlabel("updates (lines: exact; points: chains)", color=INK)
    legend(figure, lines, list(courses), loc="outside upper center", ncols=2, fontsize=9)
    return figure


# --- a logistic regression ---------------------------------------------------------------------------------------


def _regression(options: Options) -> Part:
    feature, label = _two_classes(options)
    x, y = torch.from_numpy(feature), torch.from_numpy(label)

    def log_prior(weights: torch.Tensor) -> torch.Tensor:
        return -_PRIOR * (weights * weights).sum(-1) / 2

    def log_likelihood(weights: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        logits = weights[:, :1] + weights[:, 1:] * x
        return y * logits - torch.nn.functional.softplus(logits)

    target = Posterior(log_prior, log_likelihood, [x, y], batch_size=20)
    exact = _Grid.of(target)
    curvature = exact.curvature(feature)
    chains, updates = (200, 800) if options.small else (500, 3000)
    large = 1.0 / curvature
    decay = laju.welling_teh(large * 20**0.55, b=20, gamma=0.55)
    runs: dict[str, tuple[Schedule, float]] = {
        "constant, large": (laju.constant(large), 1.0),
        "Welling & Teh": (decay, 1.0),
        "exponential, sum finite": (laju.natural_exponential(large, 0.5), 1.0),
        "Welling & Teh, T = 0": (decay, 0.0),
    }
    figures: dict[str, Any] = {
        "samples": len(label),
        "step_times_curvature": large * curvature,
        "exact_mean": exact.mean.tolist(),
        "exact_sd": exact.sd.tolist(),
        "runs": {},
    }
    rows = [("exact, on a grid", *(f"{m:.3f} ± {s:.3f}" for m, s in zip(exact.mean, exact.sd, strict=True)), "1")]
    clouds: dict[str, NDArray[np.floating[Any]]] = {}
    for seed, (name, (step, temperature)) in enumerate(runs.items()):
        start = torch.zeros(chains, 2, dtype=torch.float64)
        got = sample(
            target, start, step, updates, temperature=temperature, burn_in=updates // 2, every=updates // 50, seed=seed
        )
        mean, sd = got.mean(), np.sqrt(got.variance())
        ratio = float(np.sqrt(np.prod(sd / exact.sd)))
        figures["runs"][name] = {
            "schedule": str(step),
            "temperature": temperature,
            "mean": mean.tolist(),
            "sd": sd.tolist(),
            "sd_ratio": ratio,
            "mean_off_in_sd": float(np.abs((mean - exact.mean) / exact.sd).max()),
        }
        rows.append((name, *(f"{m:.3f} ± {s:.3f}" for m, s in zip(mean, sd, strict=True)), f"{ratio:.2f}"))
        clouds[name] = got.draws[:, -1]
    headings = ("step ε", "bias, mean ± sd", "slope, mean ± sd", "sd / exact sd")
    title = f"A Bayesian logistic regression on {len(label)} images, mini-batches of 20, {updates:,} updates"
    return Part(
        {"regression": figures},
        {title: Table(headings, rows)},
        {"sampling-a-regression": _draw_regression(exact, clouds)},
    )


def _two_classes(options: Options) -> tuple[Floats, Floats]:
    """A feature of images of two classes, and the class: the position of each image between the means of the two classes."""
    data = get_task(options.task, options.data_dir).data()
    classes = (3, 8) if data.classes > 8 else (0, 1)
    chosen = np.flatnonzero(np.isin(data.train_labels, classes))[:100]
    images = data.train_inputs[chosen].reshape(len(chosen), -1).astype(float)
    label = (data.train_labels[chosen] == classes[1]).astype(float)
    if len(np.unique(label)) < 2:
        raise ValueError(f"task {options.task!r} does not have images of two classes among its first images")
    # A feature that separates the classes only partly: a single image of noise added to each.
    direction = images[label == 1].mean(axis=0) - images[label == 0].mean(axis=0)
    feature = images @ direction
    feature = (feature - feature.mean()) / feature.std()
    feature += np.random.default_rng(0).normal(0, 1, len(feature))
    return feature / feature.std(), label


@dataclass(frozen=True)
class _Grid:
    """A posterior of two weights, integrated on a grid."""

    bias: Floats
    slope: Floats
    share: Floats  # of every cell, (bias, slope)
    mean: Floats
    sd: Floats

    @classmethod
    def of(cls, target: Posterior) -> _Grid:
        low, high = np.array([-6.0, -6.0]), np.array([6.0, 6.0])
        for _ in range(3):  # closer at every turn, around the grid points that carry weight
            axes = [np.linspace(a, b, 121) for a, b in zip(low, high, strict=True)]
            points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
            with torch.no_grad():
                logs = target(torch.from_numpy(points)).numpy()
            share = np.exp(logs - logs.max())
            share /= share.sum()
            mean = share @ points
            sd = np.sqrt(share @ (points - mean) ** 2)
            low, high = mean - 6 * sd, mean + 6 * sd
        return cls(axes[0], axes[1], share.reshape(121, 121), mean, sd)

    def curvature(self, feature: Floats) -> float:
        """The largest curvature of -log p at the mean."""
        p = 1 / (1 + np.exp(-(self.mean[0] + self.mean[1] * feature)))
        design = np.stack([np.ones_like(feature), feature], axis=1)
        hessian = (design * (p * (1 - p))[:, None]).T @ design + _PRIOR * np.eye(2)
        return float(np.linalg.eigvalsh(hessian).max())

    def levels(self) -> list[float]:
        """Densities around 95% and 50% of the posterior."""
        ordered = np.sort(self.share.ravel())[::-1]
        return [float(ordered[np.searchsorted(np.cumsum(ordered), part)]) for part in (0.95, 0.5)]


def _draw_regression(exact: _Grid, clouds: dict[str, NDArray[np.floating[Any]]]) -> Figure:
    figure, axes = panels(2, 2, 7.6, 6.6, sharex=True, sharey=True)
    for i, (ax, (name, cloud)) in enumerate(zip(axes, clouds.items(), strict=True)):
        titled(ax, name, size=10)
        ax.plot(*cloud.T, "o", color=PALETTE[i], ms=3, mew=0, alpha=0.6)
        ax.contour(exact.bias, exact.slope, exact.share.T, exact.levels(), colors=INK, linewidths=1.0)
        ax.set_xlim(exact.mean[0] - 5 * exact.sd[0], exact.mean[0] + 5 * exact.sd[0])
        ax.set_ylim(exact.mean[1] - 5 * exact.sd[1], exact.mean[1] + 5 * exact.sd[1])
    figure.supxlabel("bias (contours: 50% and 95% of the exact posterior)", color=INK, fontsize=10)
    figure.supylabel("slope", color=INK, fontsize=10)
    return figure


# --- many modes --------------------------------------------------------------------------------------------------


def _mixture(chains: int, updates: int) -> Part:
    grid, peak = GaussianMixture.grid(), 0.15
    start = torch.randn(chains, 2, generator=torch.Generator().manual_seed(0))
    cycle = 200
    restarts = laju.cosine_restarts(peak, every=cycle)
    decay = laju.welling_teh_between(peak, peak / 100, total=updates)
    small = laju.constant(0.01)
    got: dict[str, tuple[Schedule, Chains]] = {
        "constant 0.01": (small, sample(grid, start, small, updates, burn_in=updates // 4, every=5, seed=1)),
        "Welling & Teh": (decay, sample(grid, start, decay, updates, burn_in=updates // 4, every=5, seed=2)),
        "cyclical": (restarts, cyclical(grid, start, restarts, updates, explore=0.5, every=5, seed=3)),
    }
    figures: dict[str, Any] = {"updates": updates, "chains": chains, "cycle": cycle, "modes": len(grid.means)}
    rows = []
    for name, (step, run) in got.items():
        shares = np.array([grid.shares(draws) for draws in run.draws])
        found = (shares > _FOUND).sum(axis=1)
        figures[name] = {
            "schedule": str(step),
            "modes_found": found.tolist(),
            "distance": float(np.abs(shares.mean(axis=0) - 1 / shares.shape[1]).sum() / 2),
            "rhat": [float(value) for value in run.rhat()],
            "ess": [float(value) for value in run.ess()],
            "draws": int(run.draws.shape[0] * run.draws.shape[1]),
            "variance": [float(value) for value in run.variance()],
        }
        own = figures[name]
        rows.append(
            (
                name,
                f"{found.mean():.1f}",
                f"{own['distance']:.2f}",
                f"{max(own['rhat']):.2f}",
                f"{min(own['ess']):.0f} of {own['draws']:,}",
                ", ".join(f"{value:.2f}" for value in own["variance"]),
            )
        )
    headings = (
        *("step ε", "modes of 25, a chain", "distance from even shares"),
        *("R-hat", "effective draws", "variances (8.03)"),
    )
    title = f"25 Gaussians, {chains} chains of {updates:,} updates each"
    return Part(
        figures, {title: Table(headings, rows)}, {"sampling-25-gaussians": _draw_mixture(grid, got, updates, cycle)}
    )


def _draw_mixture(grid: GaussianMixture, got: dict[str, tuple[Schedule, Chains]], updates: int, cycle: int) -> Figure:
    from matplotlib.patches import Circle

    figure, axes = panels(2, len(got), 9.6, 4.9, height_ratios=(1, 3))
    for i, (name, (step, run)) in enumerate(got.items()):
        above, below = axes[i], axes[len(got) + i]
        titled(above, name, size=10)
        draw_steps(above, step.values(min(updates, 10 * cycle)), i)
        above.set_ylim(0, 0.16)
        above.set_xlabel("update", color=INK, fontsize=9)
        above.tick_params(labelsize=8)
        for mean in grid.means.tolist():
            below.add_patch(Circle(mean, 2 * math.sqrt(grid.variance), fill=False, edgecolor="#8a94a3", linewidth=0.9))
        first = run.draws[0]
        below.plot(*first[:: max(1, len(first) // 2000)].T, "o", color=PALETTE[i], ms=1.8, mew=0, alpha=0.5)
        below.set(xlim=(-5.4, 5.4), ylim=(-5.4, 5.4), aspect="equal")
        tidy(below)
    axes[0].set_ylabel("step ε", color=INK)
    figure.supxlabel("draws of one chain; circles: two standard deviations about the modes", color=INK, fontsize=9)
    return figure


# --- the answer --------------------------------------------------------------------------------------------------


def verdict(figures: dict[str, Any]) -> str:
    """The evidence on the Gaussian, as the beginning of a sentence."""
    gaussian = figures["gaussian"]
    return (
        f"In {sum(own['agrees'] for own in gaussian.values())} of {len(gaussian)} runs on a Gaussian the chains have the exact "
        f"mean and variance that the schedule gives (within {_AGREE:g} standard errors)"
    )


def text(figures: dict[str, Any]) -> str:
    """The answer about the targets in paragraphs."""
    gaussian, regression, mixture = figures["gaussian"], figures["regression"], figures["mixture"]
    half, two = gaussian["constant 0.5"], gaussian["constant 2"]
    decay, fast = gaussian["Welling & Teh, from 0.5"], gaussian["exponential, sum finite"]
    cosine, cold = gaussian["cosine, 0.5 to 0"], gaussian["cosine without noise (T = 0)"]
    runs = regression["runs"]
    agreeing = sum(own["agrees"] for own in gaussian.values())
    plain, cyclic = mixture["Welling & Teh"], mixture["cyclical"]
    lost = figures["divergence"]
    text = f"""
**Gradient descent with noise of variance ε in every update samples from p instead of running to its maximum, and the schedule
of ε decides what it samples from.** The update is θ ← θ + (ε/2)·∇log p + √(ε·T)·N(0, 1) (Welling & Teh, 2011).

**A constant step samples from something wider, by a known amount.** On a Gaussian of curvature Λ the variance settles at
1/(Λ·(1 - εΛ/4)). The second half of the chains had {half["variance_of_second_half"]:.4f} at εΛ = 0.5, where the formula gives
{half["exact_variance"]:.4f}, and {two["variance_of_second_half"]:.3f} at 2, where it gives {two["exact_variance"]:.3f}. From 4
on nothing settles: at {lost["step"]:.3g} the run was stopped at update {lost["update"]}, and the curvature of
{lost["curvature"]:.3g} named as the reason.

**A step that falls while its sum grows samples from the right distribution.** Welling & Teh's polynomial ended at a variance of
{decay["variance"]:.3f} (exact: {decay["exact_variance"]:.3f}), a plain cosine to 0 at {cosine["variance"]:.3f} (exact:
{cosine["exact_variance"]:.3f}).

**A step that falls too fast stays an optimisation that was broken off.** With Σε = {fast["sum_of_steps"]:.2f},
{abs(fast["start_left"]):.0%} of the distance from the start is left for ever: a mean of {fast["mean"]:.2f} where 0 is right, a
variance of {fast["variance"]:.2f} where 1 is.

**Without noise (T = 0) the same cosine is gradient descent**: all chains ended within
{max(abs(cold["mean"]), math.sqrt(cold["variance"]), 1e-15):.0e} of the maximum, with no spread that tells what else the data
allow.

In {agreeing} of these {len(gaussian)} runs mean and variance agree with the exact ones within {_AGREE:g} standard errors.

**With mini-batches and a posterior that is no Gaussian it is the same.** On {regression["samples"]} images the standard
deviations of the two weights were {runs["Welling & Teh"]["sd_ratio"]:.2f} times the exact ones with the polynomial,
{runs["constant, large"]["sd_ratio"]:.2f} with a constant step, to which the noise of mini-batches adds, and
{runs["Welling & Teh, T = 0"]["sd_ratio"]:.2f} without noise. With the finite sum a mean was off by
{runs["exponential, sum finite"]["mean_off_in_sd"]:.1f} standard deviations; with the polynomial by
{runs["Welling & Teh"]["mean_off_in_sd"]:.1f}.

**With many modes restarts find what a decay does not.** Of {mixture["modes"]} modes a chain with the polynomial found
{np.mean(plain["modes_found"]):.1f}, and one with restarts from the same peak {np.mean(cyclic["modes_found"]):.1f}, in
{mixture["updates"]:,} updates each; R-hat, which should be 1, was {max(plain["rhat"]):.2f} and {max(cyclic["rhat"]):.2f}. Steps
with εΛ above 4 throw a chain out of its mode, and as there are others around, it lands in one of them. The modes are found, but
not in equal shares: the variance of a coordinate is {np.mean(cyclic["variance"]):.1f} instead of 8.03, because how a cycle
explores is no sampling.
"""
    return "\n\n".join(
        textwrap.fill(" ".join(paragraph.split()), 120, break_on_hyphens=False) for paragraph in text.split("\n\n")
    )
