"""The report of a comparison as an HTML page that loads nothing from elsewhere, so that the page can be opened anywhere."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from laju.lab.comparison.beside import FIGURES
from laju.lab.live.duration import duration
from laju.lab.report import figures
from laju.lab.report.table import leads, needed, p_value, rank, why_dropped
from laju.lab.statistics import counted, evidence, number, percent
from laju.view.page import document, facts, opening, picture, sentence, swatch
from laju.view.plot import PALETTE, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from laju.lab.comparison import Findings
    from laju.lab.comparison.results import Results

_TYPED, _OPENED = 200, 12
"""The most characters of a schedule's text in a command, and the most schedules that the studio takes."""


@dataclass(frozen=True)
class Elsewhere:
    """Figures from elsewhere that a report shows next to its own: a table of texts, whose first column names schedules."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def page(
    findings: Findings,
    elsewhere: Elsewhere | None = None,
    *,
    verdict: str | None = None,
    command: str | None = None,
    made: Mapping[str, str] | None = None,
) -> str:
    """The whole page as text.

    Args:
        findings: the findings that the page reports.
        elsewhere: published figures, shown next to the comparison's.
        verdict: the sentence that opens the page; by default the verdict of the comparison.
        command: the command that made the comparison; by default the page shows no command to copy.
        made: when and where the page was made, from `laju.view.page.made`.
    """
    comparison = findings.comparison
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["printable"] = printable
    environment.filters["duration"] = duration
    for shown in (rank, percent, p_value, needed, why_dropped, counted, evidence, number):
        environment.filters[shown.__name__] = shown
    template = environment.from_string(resources.files(__package__).joinpath("report.html.j2").read_text("utf-8"))
    tables = [] if elsewhere is None else [elsewhere]
    tables += [_logs(comparison)] if comparison.beside else []
    rows, names, looks = findings.rows, list(comparison.schedules), figures.looks(comparison)
    verdict = findings.verdict if verdict is None else verdict
    task, epochs = printable(comparison.task), comparison.plan.epochs
    # Markup: HTML and SVG that laju.view.page makes, in which every name is escaped.
    body = template.render(
        comparison=comparison,
        opening=Markup(opening(f"Learning-rate schedules on {task}", sentence(verdict), command)),
        elsewhere=tables,
        legend=[
            *((name, Markup(swatch(i))) for name, i in zip(names, looks, strict=True)),
            *((run.label, Markup(swatch(None, figures.log_dash(i)))) for i, run in enumerate(comparison.beside)),
        ],
        run=Markup(facts(_run(comparison))),
        made=Markup(facts(_made(comparison, made or {}))),
        rows=[
            {"i": k, "row": row, "swatch": Markup(swatch(i)), "color": i % len(PALETTE), "dots": dots}
            for k, (i, row, dots) in enumerate(zip(looks, rows, _dots(comparison), strict=True))
        ],
        warnings=[warning for warning in findings.warnings if warning != verdict],
        agreement=findings.agreement,
        frameworks=list(dict.fromkeys(comparison.frameworks.values())),
        figures=[
            Markup(_picture(comparison, figures.bare(comparison, panel), title, panel.replace("_", "-")))
            for panel, title in figures.PANELS.items()
        ],
        standings=[
            {"i": i, "standing": standing, "row": rows[i], "swatch": Markup(swatch(looks[i]))}
            for standing in findings.standings
            for i in [names.index(standing.name)]
        ],
        difference=f"{findings.difference:g}",
        leads=leads(findings),
        best=Markup(_picture(comparison, figures.bare_best(findings), figures.BEST, "best")),
        race=comparison.race,
        raced=comparison.race and Markup(picture(figures.bare_race(comparison.race), figures.RACE, "race", wide=True)),
        studio=_studio(row.schedule for row in rows),
        failed=[s for s in ("diverged", "collapsed") if any(o.status == s for o in comparison.outcomes.values())],
    )
    return document(f"{task}: {counted(len(names), 'learning-rate schedule')} after {counted(epochs, 'epoch')}", body)


def _studio(schedules: Iterable[str]) -> str:
    """The command that opens the schedules in the studio; empty if no text is short enough for a command."""
    texts = [text for text in dict.fromkeys(schedules) if len(text) <= _TYPED][:_OPENED]
    return shlex.join(("laju", "studio", *texts)) if texts else ""


def _picture(comparison: Results, figure: Any, title: str, prefix: str) -> str:
    return picture(figure, title, prefix, unit="epoch", per=comparison.plan.updates_per_epoch)


def _run(comparison: Results) -> dict[str, str]:
    plan, seeds = comparison.plan, comparison.seeds
    return {
        "task": comparison.task,
        "training images": f"{plan.samples:,}",
        "epochs": f"{plan.epochs:,}",
        "batch size": f"{plan.batch_size:,}",
        "updates": f"{plan.updates:,} ({plan.updates_per_epoch:,} an epoch)",
        "optimizer": str(comparison.optimizer),
        "framework": ", ".join(dict.fromkeys(comparison.frameworks.values())),
        "seeds": ", ".join(map(str, seeds)),
        "trials": f"{len(comparison.outcomes)} of {len(comparison.schedules) * len(seeds)}",
    }


def _made(comparison: Results, made: Mapping[str, str]) -> dict[str, str]:
    return {**made, **({"data (SHA-256)": comparison.data[:16]} if comparison.data else {})}


def _logs(comparison: Results) -> Elsewhere:
    """The last figures of the logs, and the column of each."""
    rows = []
    for run in comparison.beside:
        taken = ", ".join(run.columns[figure].name for figure in FIGURES if figure in run.columns)
        cells = ["–" if (value := run.last(figure)) is None else number(value) for figure in FIGURES]
        rows.append((run.name, *cells, f"{run.unit} {run.at():,.12g}", printable(taken)))
    columns = ("log", *(figure.replace("_", " ") for figure in FIGURES), "at", "columns of the log")
    return Elsewhere("From logs, not paired", columns, tuple(rows))


def _dots(comparison: Results) -> list[list[float]]:
    """The position of each finished trial's test accuracy between the lowest and the highest of all, in percent."""
    ends: dict[str, list[float]] = {name: [] for name in comparison.schedules}
    for trial in comparison.trials():
        if trial["status"] == "finished" and trial["test_accuracy"] is not None:
            ends[trial["schedule"]].append(trial["test_accuracy"])
    every = [x for values in ends.values() for x in values]
    low, width = (min(every), max(every) - min(every) or 1.0) if every else (0.0, 1.0)
    return [[round(4 + 92 * (x - low) / width, 2) for x in values] for values in ends.values()]
