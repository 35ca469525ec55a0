"""Tables, sentences and pictures of the runs on the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from laju.lab.statistics import ACCURACY, LOSS, Estimate, counted, estimate, evidence, joint_difference, listed
from laju.studies.base import Table
from laju.studies.pictures import names_down, panels, seed_dots
from laju.studies.ranking import by_claim, with_values
from laju.studies.sampling.calibration import BINS, Reliability
from laju.studies.sampling.network import COLD, METHODS, PRIOR, SAMPLES, SGD, Method, Runs
from laju.view.plot import INK, PALETTE, draw_steps, legend, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Score:
    """A figure of merit: its name in `Scores`, in sentences and in tables, and whether a larger value is better."""

    key: str
    name: str
    short: str
    larger: bool
    bounds: tuple[float, float]


SCORES = (
    Score("accuracy", "accuracy", "accuracy", True, ACCURACY),
    Score("nll", "negative log-likelihood", "NLL", False, LOSS),
    Score("calibration_error", "calibration error", "calibration error", False, ACCURACY),
    Score("brier", "Brier score", "Brier score", False, (0.0, 2.0)),
)


class Findings:
    """Estimates and paired differences of the methods that survived every seed.

    Attributes:
        runs: the runs of all methods.
        methods: the methods that finished with every seed, SGD first if included.
        differences: the differences to SGD, by score and method; the intervals of a score hold simultaneously with 95 %
            confidence (Bonferroni).
        noise: by score and method with T > 0, the difference to the same schedule at T = 0, with such intervals.
    """

    def __init__(self, runs: Runs) -> None:
        self.runs = runs
        self.methods = [m for m in METHODS if all(runs.results.get(m.name, {"": None}).values())]
        ensembles = [m for m in self.methods if m != SGD]
        against = dict.fromkeys(ensembles, SGD) if SGD in self.methods else {}
        quiet = {m: Method(m.way, 0.0) for m in ensembles if m.temperature and Method(m.way, 0.0) in ensembles}
        self.differences = {score: self._differences(score, against) for score in SCORES}
        self.noise = {score: self._differences(score, quiet) for score in SCORES}

    def values(self, method: Method, key: str, of: str = "ensemble") -> list[float]:
        """A score of a method for every seed."""
        return [result[of][key] for result in self.runs.results[method.name].values() if result is not None]

    def estimate(self, method: Method, score: Score) -> Estimate:
        resolution = self.runs.task.resolution if score.key == "accuracy" else 0.0
        value = estimate(self.values(method, score.key), resolution=resolution, bounds=score.bounds)
        assert value is not None
        return value

    def reliability(self, method: Method) -> Reliability:
        """The predictions of all seeds in bins of confidence."""
        bins = [result["ensemble"]["reliability"] for result in self.runs.results[method.name].values() if result]
        names = ("counts", "confidence", "correct")
        return Reliability(*(np.sum([each[name] for each in bins], axis=0) for name in names))

    def _differences(self, score: Score, pairs: Mapping[Method, Method]) -> dict[str, Estimate]:
        found = {}
        resolution = self.runs.task.resolution if score.key == "accuracy" else 0.0
        for method, other in pairs.items():
            own, others = self.values(method, score.key), self.values(other, score.key)
            apart = joint_difference(own, others, len(pairs), resolution=resolution, bounds=score.bounds)
            if apart is not None:
                found[method.name] = apart
        return found


def verdict(findings: Findings) -> str:
    """The evidence on the network, as part of a sentence."""
    runs, differences = findings.runs, findings.differences
    ensembles = len(differences[SCORES[0]])
    if not ensembles:
        return f"on {runs.task.name} no ensemble can be set beside SGD, because trainings diverged or collapsed"
    parts = []
    for score in SCORES:
        words = ("higher", "lower") if score.larger else ("lower", "higher")
        for names, word in zip(_shown(differences[score], score)[:2], words, strict=True):
            parts += [f"a {word} {score.name} ({len(names)} of {ensembles})"] if names else []
    if not parts:
        return (
            f"on {runs.task.name} no ensemble is shown by {counted(len(runs.seeds), 'seed')} to differ from the last weights of "
            f"SGD at equal cost (laju study sampling … --seeds {max(2 * len(runs.seeds), 5)})"
        )
    return f"on {runs.task.name} ensembles are shown to have {listed(parts)} than the last weights of SGD at equal cost"


def _shown(differences: Mapping[str, Estimate], score: Score) -> tuple[list[str], list[str], list[str]]:
    """The methods shown to be better, the methods shown to be worse, both with differences, and the rest."""
    told = by_claim(differences)
    above, below = with_values(told[1]), with_values(told[-1])
    return (above, below, list(told[0])) if score.larger else (below, above, list(told[0]))


def text(findings: Findings) -> str:
    """The answer about the network in paragraphs."""
    runs, task = findings.runs, findings.runs.task
    seeds, size = counted(len(runs.seeds), "seed"), f"{task.train_size:,}"
    parts = [
        f"**An ensemble of weights beside the last weights of SGD, at equal cost.** Every run on {task.name} makes "
        f"{runs.updates:,} updates ({counted(runs.epochs, 'epoch')}, batch size {task.batch_size}), each from one gradient; the "
        f"runs of a seed share initial weights and mini-batches; {seeds}. SGD falls along a cosine and predicts by its last "
        f"weights. The others predict by the mean of the class probabilities at {SAMPLES} times of the run, which makes a "
        f"prediction {SAMPLES} times as expensive.",
        f"The posterior p is that of {size} images with a prior of N(0, {1 / PRIOR:g}) for each weight, which SGD has as weight "
        f"decay {PRIOR:g}/{size}. T=1 samples from p"
        + ("" if runs.small else f', T={COLD:g} from the "cold" p^{1 / COLD:g}')
        + ", and T=0 adds no noise and averages along plain gradient descent. The base rate of a method is that of "
        f"{listed(f'{rate:g}' for rate in next(iter(runs.tried.values())))} with the lowest negative log-likelihood on a "
        f"tenth of the training images, held out from a run with seed {len(runs.seeds)} that serves for nothing else.",
    ]
    if runs.small:
        parts.append(
            "**This size is a smoke run**: its networks are hardly trained, and no figure below says more than that."
        )
    lost = [name for name in runs.tried if name not in {m.name for m in findings.methods}]
    if lost:
        parts.append(f"Left out, because a training diverged or collapsed: {listed(lost)}.")
    if SGD in findings.methods:
        for score in SCORES[:3]:
            parts.append(
                f"**{score.name.capitalize()}**: SGD has {findings.estimate(SGD, score).text()}. "
                f"{_sentences(findings.differences[score], score, 'SGD')}"
            )
        chance, own = (np.mean(findings.values(SGD, key)) for key in ("error_by_chance", "calibration_error"))
        parts[-1] += (
            f" From {len(task.labels('test')):,} images this error is never 0: perfect calibration with the confidences of SGD "
            f"would show {chance:.3f} by chance, and SGD has {own:.3f}."
        )
    noise = [
        f"{score.name.capitalize()}: {_sentences(findings.noise[score], score, 'at T=0')}"
        for score in SCORES[:3]
        if findings.noise[score]
    ]
    if noise:
        parts.append("**What the noise adds to the averaging**, beside the same schedule at T=0. " + " ".join(noise))
    ends = [f"{name} ({rate:g})" for name, rate in runs.rates.items() if _at_end(runs.tried[name], rate)]
    if ends and not runs.small:
        parts.append(
            f"The best base rate is the last of those tried for {listed(ends)}, so a better one may lie beyond."
        )
    return "\n\n".join(parts)


def _sentences(differences: Mapping[str, Estimate], score: Score, other: str) -> str:
    """The evidence on the differences in a score, in a sentence."""
    better, worse, open_ = _shown(differences, score)
    words = ("higher", "lower") if score.larger else ("lower", "higher")
    parts = [
        f"{word} than {other} for {listed(names)}" for names, word in zip((better, worse), words, strict=True) if names
    ]
    if not parts:
        return f"No difference to {other.removeprefix('at ')} is shown."
    rest = f", and not shown to differ for {listed(open_)}" if open_ else ""
    return f"Shown to be {' and '.join(parts)}{rest}."


def _at_end(tried: Mapping[float, float | None], rate: float) -> bool:
    """Whether no rate beyond the best was tried that trained."""
    trained = [r for r, nll in tried.items() if nll is not None]
    return rate == min(tried) or (rate == max(tried) and rate == max(trained))


def tables(findings: Findings) -> dict[str, Table]:
    """Scores of the methods, and their differences to SGD and to T = 0."""
    runs = findings.runs
    rows = [
        [
            m.name,
            f"{runs.rates[m.name]:g}",
            *(findings.estimate(m, score).text() for score in SCORES),
            f"{np.mean(findings.values(m, 'error_by_chance')):.3f}",
            f"{np.mean(findings.values(m, 'nll', 'single')):.3f}",
        ]
        for m in findings.methods
    ]
    headings = ("method", "base rate", *(score.short for score in SCORES), "error by chance", "NLL of one sample")
    found = {
        f"A network on {runs.task.name}, {runs.updates:,} updates, {counted(len(runs.seeds), 'seed')}": Table(
            headings, rows
        )
    }
    for title, differences in (
        ("Ensemble less the last weights of SGD, paired by seed", findings.differences),
        ("With noise less without (T = 0), paired by seed", findings.noise),
    ):
        names = differences[SCORES[0]]
        if names:
            cells = [[name, *(differences[score][name].text(signed=True) for score in SCORES)] for name in names]
            found[title] = Table(("method", *(score.short for score in SCORES)), cells)
    return found


def figures(findings: Findings) -> dict[str, Any]:
    """Every number, as values that `json.dumps` accepts."""
    runs = findings.runs

    def plain(differences: Mapping[Score, Mapping[str, Estimate]]) -> dict[str, Any]:
        return {
            score.key: {name: {**apart.to_json(), "evidence": evidence(apart).value} for name, apart in by_name.items()}
            for score, by_name in differences.items()
        }

    return {
        "task": runs.task.name,
        "epochs": runs.epochs,
        "updates": runs.updates,
        "seeds": list(runs.seeds),
        "prior_precision": PRIOR,
        "tuning": {
            name: [{"rate": rate, "validation_nll": nll} for rate, nll in by_rate.items()]
            for name, by_rate in runs.tried.items()
        },
        "base_rates": dict(runs.rates),
        "runs": [
            {"method": name, "seed": seed, "result": result}
            for name, by_seed in runs.results.items()
            for seed, result in by_seed.items()
        ],
        "against_sgd": plain(findings.differences),
        "against_no_noise": plain(findings.noise),
    }


# --- pictures ----------------------------------------------------------------------------------------------------


def pictures(findings: Findings) -> dict[str, Figure]:
    """The scores and the reliability of the methods that survived, by file name."""
    if not findings.methods:
        return {}
    return {"sampling-the-network": _draw_scores(findings), "sampling-reliability": _draw_reliability(findings)}


def _draw_reliability(findings: Findings) -> Figure:
    """Draw accuracy over confidence in bins, a row per schedule and a column per temperature, all seeds together; SGD in grey."""
    methods = findings.methods
    ways = list(dict.fromkeys(m.way for m in methods if m != SGD)) or [SGD.way]
    temperatures = [
        t for t in dict.fromkeys(m.temperature for m in METHODS) if t is None or t in {m.temperature for m in methods}
    ]
    columns = len(temperatures)
    figure, axes = panels(len(ways), columns, 0.6 + 2.7 * columns, 0.6 + 2.8 * len(ways), sharex=True, sharey=True)
    empty = set(axes)
    sgd = findings.reliability(SGD) if SGD in methods else None
    for method in methods:
        row = 0 if method == SGD else ways.index(method.way)
        ax = axes[row * columns + temperatures.index(method.temperature)]
        empty.discard(ax)
        own = findings.reliability(method)
        ax.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
        ax.stairs(own.counts / own.counts.sum(), np.arange(BINS + 1) / BINS, fill=True, color=PALETTE[5], alpha=0.35)
        if sgd is not None and method != SGD:
            ax.plot(*_points(sgd), "-", color="#8a94a3", linewidth=1.2)
        confidence, accuracy = _points(own)
        color = PALETTE[1] if method == SGD else PALETTE[0]
        ax.vlines(confidence, confidence, accuracy, color=color, linewidth=3, alpha=0.35)
        ax.plot(confidence, accuracy, "o-", color=color, markersize=4, linewidth=1.6, clip_on=False)
        error = np.mean(findings.values(method, "calibration_error"))
        titled(ax, f"{method.name}: {error:.3f}", size=10.5)
        ax.set(xlim=(0, 1), ylim=(0, 1))
        ax.tick_params(labelbottom=True, labelleft=True)
    for ax in empty:
        ax.set_visible(False)
    figure.supxlabel(
        f"confidence in {BINS} bins, of {_LEAST} predictions or more (title: calibration error; grey: SGD; light bars: share of "
        "the predictions)",
        color=INK,
        fontsize=9.5,
    )
    figure.supylabel("accuracy", color=INK, fontsize=10)
    return figure


_LEAST = 10


def _points(reliability: Reliability) -> tuple[Any, Any]:
    """Mean confidence and accuracy of the bins that hold enough predictions to show."""
    there = reliability.counts >= _LEAST
    counts = reliability.counts[there]
    return reliability.confidence[there] / counts, reliability.correct[there] / counts


def _draw_scores(findings: Findings) -> Figure:
    """The rates with the updates at which weights are sampled, and the scores of every seed."""
    runs = findings.runs
    figure, (rates, *axes) = panels(1, 4, 11.2, 4.2, width_ratios=(1.3, 1, 1, 1))
    ways = {m.way: m for m in findings.methods}  # a schedule each
    lines = []
    for i, method in enumerate(ways.values()):
        schedule = method.schedule(1.0, runs.updates)
        lines.append(draw_steps(rates, schedule.values(runs.updates), i, linewidth=1.4))
        at = np.array(method.samples(schedule, runs.updates))
        rates.plot(at, schedule.values(runs.updates)[at - 1], "o", color=PALETTE[i], markersize=4)
    rates.set_ylim(0, None)
    rates.set_xlabel("updates (points: weights that predict)", color=INK, fontsize=9)
    titled(rates, "rate / base rate", size=10.5)
    legend(figure, lines, list(ways), loc="outside upper left", ncols=3, fontsize=9)
    names, colors = zip(*((m.name, PALETTE[list(ways).index(m.way)]) for m in findings.methods), strict=True)
    for ax, score in zip(axes, SCORES[:3], strict=True):
        seed_dots(ax, [findings.values(method, score.key) for method in findings.methods], colors, 0.28)
        names_down(ax, names if ax is axes[0] else [""] * len(names), fontsize=9)
        ax.locator_params(axis="x", nbins=4)
        ax.tick_params(axis="x", labelsize=9)
        titled(ax, score.name, size=10.5)
    return figure
