"""The exponent of a polynomial decay: base·(1 + e)^-α without an end, and base·(1 - e/epochs)^p, which ends at 0.

e is the epoch. Every exponent gets the same choice of base rates, since a steeper decay needs a larger base rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from laju.core.schedule import Schedule
from laju.lab.comparison import Comparison
from laju.lab.comparison.compare import compare
from laju.lab.statistics import ACCURACY, LOSS, claim, counted, estimate, paired_difference, verdict
from laju.lab.trials.tasks import read_task
from laju.policies import constant, poly, polynomial_decay
from laju.studies.base import Answer, Options, Table
from laju.studies.pictures import mean_by_epoch, panels, plain_numbers
from laju.studies.ranking import (
    Ranking,
    ahead,
    by_claim,
    extreme,
    finals,
    interval_of,
    listed,
    paired,
    rank,
    untold,
    with_values,
)
from laju.view.plot import PALETTE, draw_steps, legend, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "exponents"
_ALPHAS, _POWERS, _BASES = (0.5, 1.0, 2.0), (0.5, 1.0, 2.0), (0.1, 0.2, 0.5)
_SMALL = (0.5, 6.0), (1.0,), (0.1, 0.3)
_HALF_WAY = 0.5
_NAMED = 3


@dataclass(frozen=True)
class Decay:
    """An exponent of the family "α" (no end) or "p" (to 0); α = 0 is no decay at all."""

    family: str
    exponent: float

    @property
    def name(self) -> str:
        return f"{self.family} = {self.exponent:g}"

    def schedule(self, base: float) -> Schedule:
        if not self.exponent:
            return constant(base)
        if self.family == "α":
            return polynomial_decay(base, alpha=self.exponent, beta=1.0).per("epoch")
        return poly(base, total="100%", power=self.exponent)


def study(options: Options) -> Answer:
    """Train with every exponent and every base rate, and compare the exponents at the best base rate of each."""
    epochs, seeds = options.size(small=(4, 2), full=(20, 3))
    alphas, powers, bases = _SMALL if options.small else (_ALPHAS, _POWERS, _BASES)
    decays = [Decay("α", 0.0), *(Decay("α", a) for a in alphas), *(Decay("p", p) for p in powers)]
    found = compare(
        {_name(decay, base): decay.schedule(base) for decay in decays for base in bases},
        read_task(options.task, options.data_dir),
        epochs=epochs,
        seeds=seeds,
        **options.running,
    )
    return _answer(options.task, found, decays, bases)


def _name(decay: Decay, base: float) -> str:
    return f"{decay.name} from {base:g}"


def _tuned(found: Comparison, decays: list[Decay], bases: tuple[float, ...], figure: str) -> dict[str, float]:
    """The base rate of each exponent that is best by a figure, among base rates that every seed survived."""
    chosen = {}
    for decay in decays:
        names = {_name(decay, base): base for base in bases}
        best = rank(finals(found, figure, names), smallest=figure == "train_loss")
        if best is not None:
            chosen[decay.name] = names[best.best]
    return chosen


# --- the answer --------------------------------------------------------------------------------------------------------


def _answer(task: str, found: Comparison, decays: list[Decay], bases: tuple[float, ...]) -> Answer:
    rows = {row.name: row for row in found.summary()}
    ends = {(decay, base): rows[_name(decay, base)] for decay in decays for base in bases}
    by_name = {decay.name: decay for decay in decays}
    tuned = _tuned(found, decays, bases, "test_accuracy")
    names = {name: _name(by_name[name], base) for name, base in tuned.items()}
    test = finals(found, "test_accuracy", names.values())
    by_test = rank({name: test[full] for name, full in names.items()}, resolution=found.resolution, bounds=ACCURACY)
    seeds = counted(len(found.seeds), "seed")
    text = [
        f"{task}, {counted(found.plan.epochs, 'epoch')}, batch size {found.plan.batch_size}, {seeds}; of each exponent the best "
        f"of the base rates {listed(f'{b:g}' for b in bases)} by mean test accuracy."
    ]
    halves = {name: _half_way(found, full) for name, full in names.items()}
    speed = {name: estimate(losses.values(), bounds=LOSS) for name, losses in halves.items()}
    by_loss = None
    if by_test is None:
        text.append("**No exponent was survived by every seed at any base rate, so there is no best one.**")
    else:
        loss = finals(found, "train_loss", names.values())
        last = {name: loss[full] for name, full in names.items()}
        by_loss = rank(last, smallest=True, bounds=LOSS)
        text += [
            _best(by_test, tuned, by_name),
            _convergence(found, names, halves, last),
            _base(found, decays, bases, tuned),
        ]
    figures = {
        "task": task,
        "epochs": found.plan.epochs,
        "seeds": list(found.seeds),
        "bases": list(bases),
        "tuned base": tuned,
        "best by test accuracy": by_test,
        "best by training loss": by_loss,
        "train loss half-way": speed,
        "trials": [
            {
                "family": decay.family,
                "exponent": decay.exponent,
                "base": base,
                "finished": row.finished,
                "failed": row.diverged + row.collapsed,
                "test_accuracy": row.test_accuracy,
                "train_loss": row.train_loss,
            }
            for (decay, base), row in ends.items()
        ],
    }
    headings = ("exponent", "base rate", "last rate", "train loss half-way", "train loss", "test accuracy", "gap")
    lines: list[tuple[Any, ...]] = []
    for decay in decays:
        if decay.name not in names:
            lines.append((decay.name, *["-"] * 6))
            continue
        row, base = rows[names[decay.name]], tuned[decay.name]
        lines.append(
            (
                decay.name,
                f"{base:g}",
                f"{_last(found, row.name):.2g}",
                *(speed[decay.name], row.train_loss, row.test_accuracy, row.gap),
            )
        )
    every = [(decay.name, *(ends[decay, b].note or ends[decay, b].test_accuracy for b in bases)) for decay in decays]
    return Answer(
        NAME,
        "No exponent was survived by every seed at any base rate, so none is ahead."
        if by_test is None
        else verdict(by_test, "exponent", f"laju study {NAME} …"),
        "\n\n".join(text),
        {
            f"Each exponent at its best base rate, {interval_of(len(found.seeds))}": Table(headings, lines),
            "Test accuracy by base rate": Table(("exponent", *(f"from {b:g}" for b in bases)), every),
        },
        {"exponents": _picture(found, decays, bases, names)},
        figures,
    )


def _last(found: Comparison, name: str) -> float:
    return float(_rates(found, name)[-1])


def _rates(found: Comparison, name: str) -> npt.NDArray[np.float64]:
    return found.schedules[name].resolve(found.plan).values(found.plan.updates)


def _half_way(found: Comparison, name: str) -> dict[int, float]:
    """By seed, the training loss of the last epoch before the middle of the run."""
    losses = {}
    for seed in found.seeds:
        records = found.outcomes[name, seed].records
        half = [r for r in records if r.test_accuracy is not None and r.epoch <= max(1, _HALF_WAY * found.plan.epochs)]
        losses[seed] = half[-1].train_loss
    return losses


def _best(by_test: Ranking, tuned: Mapping[str, float], by_name: Mapping[str, Decay]) -> str:
    decay = by_name[by_test.best]
    kind = "no decay" if not decay.exponent else "base·(1 + e)^-α" if decay.family == "α" else "base·(1 - e/epochs)^p"
    text = f"**{ahead(by_test)} {by_test.best} ({kind}) from {tuned[by_test.best]:g}: {by_test.value.text()}.** "
    return text + untold(by_test, "exponent")


def _convergence(
    found: Comparison,
    names: Mapping[str, str],
    halves: Mapping[str, Mapping[int, float]],
    ends: Mapping[str, Mapping[int, float]],
) -> str:
    """The effect of the exponent on convergence: the leaders half-way and at the end, and the exponents that have stopped."""
    early, late = (rank(losses, smallest=True, bounds=LOSS) for losses in (halves, ends))
    slowest = rank(ends, bounds=LOSS)
    assert early is not None
    assert late is not None
    assert slowest is not None
    parts = [
        extreme(early, "exponent", "Half-way the lowest mean training loss"),
        extreme(late, "exponent", "At the end it"),
    ]
    if slowest.best == late.best:
        return " ".join(parts)
    slow = slowest.best
    parts.append(extreme(slowest, "exponent", "The highest at the end", "above"))
    rates = _rates(found, names[slow])[found.plan.updates // 2 :]
    fall = paired_difference([halves[slow][seed] for seed in found.seeds], [ends[slow][seed] for seed in found.seeds])
    assert fall is not None
    change = claim(
        fall,
        above="a fall of the loss is shown",
        below="a rise of the loss is shown",
        otherwise="no fall of the loss is shown",
    )
    parts.append(
        f"In the second half of {slow}, at rates of {rates.max():.2g} and less, {change} ({fall.text(signed=True)})."
    )
    return " ".join(parts)


def _base(found: Comparison, decays: list[Decay], bases: tuple[float, ...], tuned: Mapping[str, float]) -> str:
    """Whether the base rate matters for an exponent, as a comparison at a common base rate would show."""
    failed = [row.name for row in found.summary() if row.diverged + row.collapsed]
    test, pairs = finals(found, "test_accuracy"), {}
    for decay in decays:
        there = {base: test[name] for base in bases if (name := _name(decay, base)) in test}
        ordered = sorted(there, key=lambda base: -sum(there[base].values()))
        for more, less in combinations(ordered, 2):
            pairs[f"{decay.name}, {more:g} over {less:g}"] = there[more], there[less]
    apart = {
        which: paired(*pair, len(pairs), resolution=found.resolution, bounds=ACCURACY) for which, pair in pairs.items()
    }
    apart = dict(sorted(apart.items(), key=lambda item: -item[1].mean if item[1] else 0.0))
    told = by_claim(apart)
    shown, open_ = with_values(told[1] | told[-1]), with_values(told[0])
    text = ""
    if shown:
        text = f"Between base rates of one exponent differences in test accuracy are shown for {listed(shown[:_NAMED])}"
        text += f" and {len(shown) - _NAMED} more" if len(shown) > _NAMED else ""
        text += ": compare exponents at one common base rate and you compare base rates."
    elif open_:
        text = f"Between base rates of one exponent no difference in test accuracy is shown; the largest is {open_[0]}."
    edge = [name for name, base in tuned.items() if base == max(bases)]
    if edge:
        text += f" For {listed(edge)} the largest base rate has the highest mean, so a larger one may be better still."
    if failed:
        text += f" Some seeds fail with {listed(failed)}; these are no candidates."
    return text.strip()


def _picture(found: Comparison, decays: list[Decay], bases: tuple[float, ...], names: Mapping[str, str]) -> Figure:
    figure, (rates, losses, tests) = panels(1, 3, 12.0, 4.6)
    lines, labels = [], []
    for i, decay in enumerate(decays):
        if decay.name not in names:
            continue
        full = names[decay.name]
        dash = "-" if decay.family == "α" else (0, (4, 1.5))
        style: dict[str, Any] = {"color": PALETTE[i % len(PALETTE)], "linestyle": dash}
        lines.append(draw_steps(rates, _rates(found, full), i, per=found.plan.updates_per_epoch, **style))
        labels.append(f"{decay.name} from {float(full.rpartition(' ')[2]):g}")
        curve = mean_by_epoch(found, full, "train_loss")
        losses.plot(list(curve), [np.mean(v) for v in curve.values()], lw=1.8, **style)
    for family, color in (("α", PALETTE[0]), ("p", PALETTE[1])):
        shown = [d for d in decays if d.family == family and d.name in names]
        seeds = finals(found, "test_accuracy", [names[d.name] for d in shown])
        x = [d.exponent for d in shown]
        values_of = [list(seeds[names[d.name]].values()) for d in shown]
        (line,) = tests.plot(x, [np.mean(v) for v in values_of], color=color, lw=1.8, marker="o", ms=5)
        for exponent, dots in zip(x, values_of, strict=True):
            tests.scatter([exponent] * len(dots), dots, s=14, color=color, alpha=0.45, lw=0)
        line.set_label({"α": "α: (1 + e)^-α, 0 is constant", "p": "p: (1 - e/epochs)^p"}[family])
    handles, texts = tests.get_legend_handles_labels()
    legend(tests, handles, texts, loc="best", fontsize=9)
    titled(rates, "Learning rate", "epoch")
    titled(losses, "Training loss", "epoch")
    titled(tests, "Test accuracy at the best base rate", "exponent")
    rates.set_xlim(0, found.plan.epochs)
    rates.set_ylim(bottom=0)
    losses.set_xlim(0, found.plan.epochs)
    losses.set_yscale("log")
    plain_numbers(losses.yaxis, ticks=False)
    if lines:
        legend(figure, lines, labels, loc="outside lower center", ncols=min(5, len(lines)), fontsize=9.5)
    return figure
