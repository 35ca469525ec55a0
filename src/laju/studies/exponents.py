"""The exponent of a polynomial decay: base·(1 + e)^-α without an end, and base·(1 - e/epochs)^p, which ends at 0.

e are epochs. Every exponent gets the same choice of base rates, since a steeper decay wants a larger one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from laju.core.schedule import Schedule
from laju.lab.compare import compare
from laju.lab.comparison import Comparison, Row
from laju.lab.statistics import Estimate, estimate
from laju.policies import constant, poly, polynomial_decay
from laju.studies.base import Answer, Options, Table
from laju.studies.ranking import Ranking, finals, listed, rank, untold, verdict
from laju.view.plot import INK, PALETTE, draw_steps, legend, tidy

NAME, QUESTION = "exponents", "Which exponent of a polynomial decay is best?"
_ALPHAS, _POWERS, _BASES = (0.5, 1.0, 2.0), (0.5, 1.0, 2.0), (0.1, 0.2, 0.5)
_SMALL = (0.5, 6.0), (1.0,), (0.1, 0.3)
_HALF_WAY = 0.5


@dataclass(frozen=True)
class Decay:
    """One exponent: of the family "α" (no end), "p" (to 0), or no decay at all, α = 0."""

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
    """Train with every exponent from every base rate, and compare the exponents at the best base rate of each."""
    alphas, powers, bases = _SMALL if options.small else (_ALPHAS, _POWERS, _BASES)
    decays = [Decay("α", 0.0), *(Decay("α", a) for a in alphas), *(Decay("p", p) for p in powers)]
    found = compare(
        {_name(decay, base): decay.schedule(base) for decay in decays for base in bases},
        options.task,
        epochs=options.epochs or (4 if options.small else 20),
        seeds=options.seeds or (2 if options.small else 3),
        data_dir=options.data_dir,
        jobs=options.jobs,
        store=options.store,
        display=options.display,
    )
    return _answer(options.task, found, decays, bases)


def _name(decay: Decay, base: float) -> str:
    return f"{decay.name} from {base:g}"


def _tuned(found: Comparison, decays: list[Decay], bases: tuple[float, ...], figure: str) -> dict[str, float]:
    """The base rate of each exponent that is best by a figure, among those that every seed survived."""
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
    by_name = {decay.name: decay for decay in decays}
    tuned = _tuned(found, decays, bases, "test_accuracy")
    names = {name: _name(by_name[name], base) for name, base in tuned.items()}
    test = finals(found, "test_accuracy", names.values())
    by_test = rank({name: test[full] for name, full in names.items()})
    text = [
        f"{task}, {found.plan.epochs} epochs, batch size {found.plan.batch_size}, {len(found.seeds)} seeds; of each exponent the "
        f"best of the base rates {listed(f'{b:g}' for b in bases)} by mean test accuracy."
    ]
    speed = {name: _speed(found, full) for name, full in names.items()}
    by_loss = None
    if by_test is None:
        text.append("**No exponent was survived by every seed at any base rate, so there is no best one.**")
    else:
        loss = finals(found, "train_loss", names.values())
        by_loss = rank({name: loss[full] for name, full in names.items()}, smallest=True)
        assert by_loss is not None
        text += [
            _best(by_test, by_loss, tuned, by_name),
            _convergence(found, rows, names, speed),
            _base(found, decays, bases, tuned),
        ]
    figures = {
        "task": task,
        "epochs": found.plan.epochs,
        "seeds": list(found.seeds),
        "bases": list(bases),
        "tuned base": tuned,
        "best by test accuracy": None if by_test is None else by_test.to_json(),
        "best by training loss": None if by_loss is None else by_loss.to_json(),
        "train loss half-way": {name: None if s is None else s.to_json() for name, s in speed.items()},
        "trials": [_figures(rows[_name(decay, base)], decay, base) for decay in decays for base in bases],
    }
    headings = ("exponent", "base rate", "last rate", "train loss half-way", "train loss", "test accuracy", "gap")
    lines = []
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
                *map(_cell, (speed[decay.name], row.train_loss, row.test_accuracy, row.gap)),
            )
        )
    every = [(decay.name, *(_outcome(rows[_name(decay, base)]) for base in bases)) for decay in decays]
    return Answer(
        NAME,
        QUESTION,
        "No exponent is best: none was survived by every seed at any base rate."
        if by_test is None
        else verdict(by_test, "exponent", f"laju study {NAME} …"),
        "\n\n".join(text),
        {
            "Each exponent at its best base rate, mean ± half of a 95 % interval": Table(headings, lines),
            "Test accuracy by base rate": Table(("exponent", *(f"from {b:g}" for b in bases)), every),
        },
        {"exponents": _picture(found, decays, bases, names)},
        figures,
    )


def _cell(value: Estimate | None) -> str:
    return "-" if value is None else value.text()


def _outcome(row: Row) -> str:
    return row.note or _cell(row.test_accuracy)


def _figures(row: Row, decay: Decay, base: float) -> dict[str, Any]:
    test, loss = row.test_accuracy, row.train_loss
    return {
        "family": decay.family,
        "exponent": decay.exponent,
        "base": base,
        "finished": row.finished,
        "failed": row.diverged + row.collapsed,
        "test_accuracy": None if test is None else test.to_json(),
        "train_loss": None if loss is None else loss.to_json(),
    }


def _last(found: Comparison, name: str) -> float:
    return float(_rates(found, name)[-1])


def _rates(found: Comparison, name: str) -> npt.NDArray[np.float64]:
    return found.schedules[name].resolve(found.plan).values(found.plan.updates)


def _speed(found: Comparison, name: str) -> Estimate | None:
    """The training loss of the last epoch before the middle of the run."""
    values = []
    for seed in found.seeds:
        records = found.outcomes[name, seed].records
        half = [r for r in records if r.test_accuracy is not None and r.epoch <= max(1, _HALF_WAY * found.plan.epochs)]
        values.append(half[-1].train_loss)
    return estimate(values)


def _best(by_test: Ranking, by_loss: Ranking, tuned: Mapping[str, float], by_name: Mapping[str, Decay]) -> str:
    decay = by_name[by_test.best]
    kind = "no decay" if not decay.exponent else "base·(1 + e)^-α" if decay.family == "α" else "base·(1 - e/epochs)^p"
    text = f"**By test accuracy the best exponent is {by_test.best} ({kind}) from {tuned[by_test.best]:g}: "
    text += f"{by_test.value.text()}.** "
    text += untold(by_test, "exponent")
    if by_loss.best == by_test.best:
        text += f" It has the lowest training loss, too: {by_loss.value.text(4)}."
    else:
        text += f" The lowest training loss, {by_loss.value.text(4)}, is that of {by_loss.best}."
    return text


def _convergence(
    found: Comparison, rows: Mapping[str, Row], names: Mapping[str, str], speed: Mapping[str, Estimate | None]
) -> str:
    """What the exponent does to convergence: who is ahead half-way and at the end, and who has stopped."""
    early = {name: value.mean for name, value in speed.items() if value is not None}
    late = {name: value.mean for name, full in names.items() if (value := rows[full].train_loss) is not None}
    ahead, last = min(early, key=lambda n: early[n]), min(late, key=lambda n: late[n])
    slow = max(late, key=lambda n: late[n])
    text = f"Half-way the lowest training loss is {early[ahead]:.3f}, of {ahead}; "
    if ahead == last:
        text += f"it stays ahead and ends at {late[last]:.4f}."
    else:
        text += f"at the end it is {late[last]:.4f}, of {last}, which had {early[last]:.3f} half-way."
    rate, fall = _rates(found, names[slow])[found.plan.updates // 2], 1 - late[slow] / early[slow]
    text += f" The slowest is {slow}, which ends at {late[slow]:.3f}: in the second half, at rates of "
    return (
        text + f"{rate:.2g} and less, its loss fell by {100 * fall:.0f} %."
        if fall >= 0
        else text + f"{rate:.2g}, its loss rose."
    )


def _base(found: Comparison, decays: list[Decay], bases: tuple[float, ...], tuned: Mapping[str, float]) -> str:
    failed = [row.name for row in found.summary() if row.diverged + row.collapsed]
    spreads = []
    for decay in decays:
        means = [m for base in bases if (m := _mean(found, _name(decay, base))) is not None]
        if len(means) > 1:
            spreads.append(max(means) - min(means))
    best = [m for name, base in tuned.items() if (m := _mean(found, f"{name} from {base:g}")) is not None]
    across = max(best) - min(best)
    if spreads:
        text = (
            f"Between base rates of one exponent mean test accuracy differs by up to {max(spreads):.3f}, between exponents at "
            f"their best base rate by {across:.3f}: "
        )
        text += (
            "compare exponents at one common base rate and you compare base rates."
            if max(spreads) > across
            else "the exponent matters more than the base rate here."
        )
    else:
        text = f"Between exponents mean test accuracy differs by {across:.3f}."
    edge = [name for name, base in tuned.items() if base == max(bases)]
    if edge:
        text += f" For {listed(edge)} the largest base rate was the best, so a larger one may be better still."
    if failed:
        text += f" Some seeds fail with {listed(failed)}; these are no candidates."
    return text


def _mean(found: Comparison, name: str) -> float | None:
    value = estimate(finals(found, "test_accuracy", [name]).get(name, {}).values())
    return None if value is None else value.mean


def _picture(found: Comparison, decays: list[Decay], bases: tuple[float, ...], names: Mapping[str, str]) -> Figure:
    figure = Figure(figsize=(12.0, 4.6), facecolor="white", layout="constrained")
    rates, losses, tests = figure.subplots(1, 3)
    lines, labels = [], []
    for i, decay in enumerate(decays):
        if decay.name not in names:
            continue
        full = names[decay.name]
        style = {"color": PALETTE[i % len(PALETTE)], "linestyle": "-" if decay.family == "α" else (0, (4, 1.5))}
        per = found.plan.updates_per_epoch
        lines.append(draw_steps(rates, _rates(found, full), i, per=per, **style))
        labels.append(f"{decay.name} from {float(full.rpartition(' ')[2]):g}")
        curve: dict[float, list[float]] = {}
        for seed in found.seeds:
            for record in found.outcomes[full, seed].records:
                if record.test_accuracy is not None:
                    curve.setdefault(record.epoch, []).append(record.train_loss)
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
    for ax, title, label in (
        (rates, "Learning rate", "epoch"),
        (losses, "Training loss", "epoch"),
        (tests, "Test accuracy at the best base rate", "exponent"),
    ):
        tidy(ax)
        ax.set_title(title, loc="left", color=INK, fontsize=12, fontweight="bold", pad=10)
        ax.set_xlabel(label, color=INK)
    rates.set_xlim(0, found.plan.epochs)
    rates.set_ylim(bottom=0)
    losses.set_xlim(0, found.plan.epochs)
    losses.set_yscale("log")
    losses.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    losses.yaxis.set_minor_formatter(NullFormatter())
    if lines:
        legend(figure, lines, labels, loc="outside lower center", ncols=min(5, len(lines)), fontsize=9.5)
    return figure
