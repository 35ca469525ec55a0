"""The report as one HTML page: no script, and nothing loaded from elsewhere, so that it opens anywhere and for ever."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup, escape

from laju.lab.beside import FIGURES
from laju.lab.report import figures
from laju.lab.report.table import duration, leads, needed, p_value, rank, why_dropped
from laju.lab.statistics import counted, evidence, number, percent
from laju.view.plot import DASHES, PALETTE, printable

if TYPE_CHECKING:
    from laju.lab.comparison import Comparison, Row
    from laju.lab.statistics import Estimate


@dataclass(frozen=True)
class Elsewhere:
    """Figures from elsewhere that a report shows beside its own: a table of texts, whose first column names schedules."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def page(
    comparison: Comparison,
    difference: float = 0.01,
    command: str = "laju compare …",
    elsewhere: Elsewhere | None = None,
) -> str:
    """The whole page as text; `difference` and `command` are those of `Comparison.verdict`."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["printable"] = printable
    environment.filters["duration"] = duration
    for shown in (rank, percent, p_value, needed, why_dropped, counted, evidence):
        environment.filters[shown.__name__] = shown
    template = environment.from_string(resources.files(__package__).joinpath("report.html.j2").read_text("utf-8"))
    tables = [] if elsewhere is None else [elsewhere]
    tables += [_logs(comparison)] if comparison.beside else []
    rows, names = comparison.summary(), list(comparison.schedules)
    return template.render(
        comparison=comparison,
        verdict=_verdict(comparison.verdict(difference, command)),
        elsewhere=tables,
        logs=[
            {"name": run.label, "swatch": {**_swatch(0), "color": None, "dash": _dashes(figures.log_dash(i))}}
            for i, run in enumerate(comparison.beside)
        ],
        facts=_facts(comparison),
        rows=[
            {"row": row, "swatch": _swatch(i), "span": span}
            for i, row, span in zip(figures.looks(comparison), rows, _spans(rows), strict=True)
        ],
        warnings=comparison.warnings(),
        agreement=comparison.agreement(),
        frameworks=list(dict.fromkeys(comparison.frameworks.values())),
        # Markup: the SVG comes from an XML writer, which has escaped every name in it.
        figures=[
            Markup(figures.svg(figures.bare(comparison, panel), prefix=panel.replace("_", "-"), label=title))
            for panel, title in figures.PANELS.items()
        ],
        standings=[
            {"standing": standing, "row": rows[i], "swatch": _swatch(figures.looks(comparison)[i])}
            for standing in comparison.standings(difference)
            for i in [names.index(standing.name)]
        ],
        difference=f"{difference:g}",
        leads=leads(comparison),
        best=Markup(figures.svg(figures.bare_best(comparison), prefix="best", label=figures.BEST)),
        race=comparison.race,
        raced=comparison.race
        and Markup(figures.svg(figures.bare_race(comparison.race), prefix="race", label=figures.RACE)),
        failed=[s for s in ("diverged", "collapsed") if any(o.status == s for o in comparison.outcomes.values())],
        palette=PALETTE,
    )


def _verdict(sentence: str) -> Markup:
    """The sentence with its command as code, which does not break at its dashes."""
    return Markup(re.sub(r"\((\w[^()]* --seeds \d+)\)", r"(<code>\1</code>)", str(escape(printable(sentence)))))


def _facts(comparison: Comparison) -> dict[str, str]:
    plan, seeds = comparison.plan, comparison.seeds
    return {
        "task": printable(comparison.task),
        "training images": f"{plan.samples:,}",
        "epochs": f"{plan.epochs:,}",
        "batch size": f"{plan.batch_size:,}",
        "updates": f"{plan.updates:,} ({plan.updates_per_epoch:,} an epoch)",
        "optimizer": str(comparison.optimizer),
        "framework": ", ".join(dict.fromkeys(comparison.frameworks.values())),
        "seeds": ", ".join(map(str, seeds)),
        "trials": f"{len(comparison.outcomes)} of {len(comparison.schedules) * len(seeds)}",
    }


def _swatch(i: int) -> dict[str, Any]:
    """The curve's look, for the line before a schedule's name."""
    return {"color": i % len(PALETTE), "dash": _dashes(DASHES[i // len(PALETTE) % len(DASHES)])}


def _dashes(dash: Any) -> str:
    return "" if dash == "-" else " ".join(str(3 * d) for d in dash[1])


def _logs(comparison: Comparison) -> Elsewhere:
    """The last figures of the logs, and the column of each."""
    rows = []
    for run in comparison.beside:
        taken = ", ".join(run.columns[figure].name for figure in FIGURES if figure in run.columns)
        cells = ["–" if (value := run.last(figure)) is None else number(value) for figure in FIGURES]
        rows.append((run.name, *cells, f"{run.unit} {run.at():,.12g}", printable(taken)))
    columns = ("log", *(figure.replace("_", " ") for figure in FIGURES), "at", "columns of the log")
    return Elsewhere("From logs, not paired", columns, tuple(rows))


def _spans(rows: list[Row]) -> list[dict[str, float] | None]:
    """Where each test accuracy and its interval lie between the lowest and highest of the table, in percent."""
    found: list[Estimate | None] = [row.test_accuracy for row in rows]
    ends = [x for e in found if e is not None for x in (e.mean, e.low, e.high) if x is not None]
    if not ends:
        return [None] * len(rows)
    low, width = min(ends), max(ends) - min(ends) or 1.0

    def place(x: float) -> float:
        return round(min(max(4 + 92 * (x - low) / width, 0), 100), 2)

    return [
        None
        if e is None
        else {
            "mean": place(e.mean),
            "low": place(e.mean if e.low is None else e.low),
            "high": place(e.mean if e.high is None else e.high),
        }
        for e in found
    ]
