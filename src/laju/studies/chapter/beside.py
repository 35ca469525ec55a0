"""A tab's published figures beside the figures of a local run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from laju.studies.chapter.tabs import BATCH, DATA, EPOCHS, IMAGES, TEST_IMAGES, Figures, Tab

if TYPE_CHECKING:
    from laju.core.units import RunPlan
    from laju.lab.comparison import Comparison, Row
    from laju.lab.report import Elsewhere
    from laju.lab.statistics import Estimate


FIGURES = ("train_loss", "train_accuracy", "test_accuracy")


@dataclass(frozen=True)
class Beside:
    """A training run of a tab: the local result, and the published figures.

    Attributes:
        row: the local result.
        published: the published figures; None if the tab prints no figures of this run.
        differ: the names of the figures that a further local run would not have given; None if unknown.
        why: the reason why `differ` is unknown, else empty.
        same_rates: whether the tab's loop trains at these rates.
    """

    row: Row
    published: Figures | None
    differ: tuple[str, ...] | None
    why: str
    same_rates: bool

    @property
    def judgement(self) -> str:
        """`agrees`, the differences, or the reason why neither is known."""
        from laju.lab.statistics import listed

        if self.differ is None:
            return self.why
        return f"differs in {listed(_spoken(self.differ))}" if self.differ else "agrees"


@dataclass(frozen=True)
class Result:
    """The training runs of a tab, as a comparison, beside the tab's published figures.

    Args:
        tab: the tab that was trained.
        comparison: the training runs, with the names of the tab's schedules.
        as_meant: whether the rates of the text were used instead of the rates of the loop.
    """

    tab: Tab
    comparison: Comparison
    as_meant: bool = False

    @property
    def elsewhere(self) -> list[str]:
        """Differences between the run and the tab, such as `3 epochs instead of 30`; empty if the figures can be compared."""
        from laju.lab.statistics import counted

        plan, data = self.comparison.plan, self.comparison.task.removesuffix(f", {self.tab.name} tab")
        test = round(1 / self.comparison.resolution) if self.comparison.resolution else TEST_IMAGES
        found = [] if data == DATA else [f"{data} instead of {DATA}"]
        if data == DATA and (plan.samples, test) != (IMAGES, TEST_IMAGES):
            here, there = f"{plan.samples:,} training and {test:,} test images", f"{IMAGES:,} and {TEST_IMAGES:,}"
            found.append(f"{here} instead of {there}")
        if plan.epochs != EPOCHS:
            found.append(f"{counted(plan.epochs, 'epoch')} instead of {EPOCHS}")
        if plan.batch_size != BATCH:
            found.append(f"batches of {plan.batch_size} instead of {BATCH}")
        if str(self.comparison.optimizer) != "sgd()":
            found.append(f"{self.comparison.optimizer} instead of sgd()")
        return found

    def lines(self) -> list[Beside]:
        """Every training run beside its published figures.

        A published figure comes from a single run, and agrees if the figure lies in the prediction interval of a further local
        run: with n seeds of mean m and sample standard deviation s, m ± t·s·√(1 + 1/n), where t is Student's quantile for 95 %
        and n - 1 degrees of freedom, and ± 0.0005 for rounding. A judgement needs the full Fashion-MNIST, 30 epochs, batch size
        256, the rates of the tab's loop, and at least three seeds that all finished.
        """
        from laju.lab.statistics import LEAST_SEEDS, counted

        used, plan, elsewhere = self.tab.rates(self.comparison.plan.epochs), self.comparison.plan, self.elsewhere
        found = []
        for row in self.comparison.summary():
            same = _same_rates(self.comparison.schedules[row.name], used[row.name], plan)
            published = self.tab.published.get(row.name)
            differ: tuple[str, ...] | None = None
            why = ""
            if published is None:
                why = "none published"
            elif elsewhere:
                why = "not compared"
            elif not same:
                why = "other rates than its loop's"
            elif row.finished < row.trials:
                why = f"not compared: {row.note}"
            elif row.train_loss is None or row.train_loss.half_width is None:
                why = f"not compared: {counted(row.trials, 'seed')}; it takes --seeds {LEAST_SEEDS}"
            else:
                estimates = {figure: getattr(row, figure) for figure in vars(published)}
                differ = tuple(f for f, value in vars(published).items() if not _holds(estimates[f], value))
            found.append(Beside(row, published, differ, why, same))
        return found

    @property
    def verdict(self) -> str:
        """The judgement on the tab's published figures in a sentence, or the reason why there is no judgement."""
        from laju.lab.statistics import listed

        tab = f"the {self.tab.title} tab"
        if not self.tab.published:
            return f"No verdict: {tab} prints no figures, so nothing can agree with it."
        if self.elsewhere:
            return (
                f"No verdict on {tab}'s figures, as this run had {listed(self.elsewhere)}; laju chapter --tab {self.tab.name} "
                f"on the full {DATA} gives one."
            )
        lines = [line for line in self.lines() if line.published]
        agree = [line.row.name for line in lines if line.differ == ()]
        parts = [f"the figures of {tab} come out for {listed(agree)}"] if agree else []
        parts += [f"{line.row.name} {line.judgement}" for line in lines if line.differ]
        untold: dict[str, list[str]] = {}
        for line in lines:
            if line.differ is None:
                untold.setdefault(line.why.removeprefix("not compared: "), []).append(line.row.name)
        parts += [f"{listed(names)} cannot be told ({why})" for why, names in untold.items()]
        if not agree and len(parts) == len(untold):
            return f"No verdict on {tab}'s figures: {'; '.join(parts)}."
        return "; ".join(parts)[0].upper() + "; ".join(parts)[1:] + "."

    def notes(self) -> list[str]:
        """Notes on the record and the verdict."""
        from laju.lab.statistics import listed

        lines = self.lines()
        rates = "The rates are those that the text describes, per epoch." if self.as_meant else self.tab.asked
        found = [f"{self.tab.title} tab: {rates}"]
        other = [line.row.name for line in lines if line.published and not line.same_rates]
        if other:
            found.append(
                f"{listed(other)}: the published figures are of other rates, those that the tab's loop uses; without --as-meant "
                "these are trained."
            )
        compared = [line for line in lines if line.differ is not None]
        if compared:
            figures = len(compared) * len(vars(next(iter(self.tab.published.values()))))
            found.append(
                "The published figures are of one run each; one more of yours falls outside the interval that they are held "
                f"against in 5 % of cases, so {0.05 * figures:.1g} of these {figures} figures would differ by chance."
            )
        return found

    def beside(self) -> tuple[str, list[str], Elsewhere | None]:
        """The verdict, the notes and the published figures, for the page of a report."""
        from laju.lab.report import Elsewhere
        from laju.lab.statistics import number

        if not self.tab.published:
            return self.verdict, self.notes(), None
        rows = []
        for line in self.lines():
            figures = {name: getattr(line.row, name) for name in FIGURES}
            ours = ["-" if figure is None else number(figure.mean) for figure in figures.values()]
            theirs = ["-" if line.published is None else number(getattr(line.published, name)) for name in FIGURES]
            pairs = [text for pair in zip(ours, theirs, strict=True) for text in pair]
            rows.append((line.row.name, line.judgement, *pairs))
        columns = [text for name in FIGURES for text in (name.replace("_", " "), "published")]
        title = f"Beside the figures of the {self.tab.title} tab"
        return self.verdict, self.notes(), Elsewhere(title, ("schedule", "verdict", *columns), tuple(rows))

    def to_json(self) -> dict[str, Any]:
        """The comparison in the form of `Findings.to_json`, with the tab's side as "chapter"."""
        lines = [
            {
                "schedule": line.row.name,
                "published": None if line.published is None else vars(line.published),
                "same_rates": line.same_rates,
                "agrees": None if line.differ is None else not line.differ,
                "differs_in": line.differ,
                "why_not_compared": line.why,
            }
            for line in self.lines()
        ]
        chapter = {
            "tab": self.tab.name,
            "as_meant": self.as_meant,
            "elsewhere": self.elsewhere,
            "lines": lines,
        }
        return self.comparison.findings().to_json() | {"verdict": self.verdict, "chapter": chapter}


def _same_rates(schedule: Any, used: Any, plan: RunPlan) -> bool:
    return np.array_equal(schedule.resolve(plan).values(plan.updates), used.resolve(plan).values(plan.updates))


def _holds(estimate: Estimate, published: float) -> bool:
    """Whether a further run could have given the published figure."""
    assert estimate.half_width is not None
    half = estimate.half_width * math.sqrt(estimate.n + 1)  # half_width has t·s/√n
    return abs(estimate.mean - published) <= half + 0.0005


def _spoken(figures: tuple[str, ...]) -> list[str]:
    return [figure.replace("_", " ") for figure in figures]
