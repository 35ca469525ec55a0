"""The final table of a comparison, for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from laju.lab.live.duration import duration
from laju.lab.statistics import Estimate, Evidence, counted, evidence, percent
from laju.view.plot import printable
from laju.view.table import Grid

if TYPE_CHECKING:
    from laju.lab.comparison import Findings, Row
    from laju.lab.comparison.race import Dropped, Race
    from laju.lab.comparison.ranking import Standing

_MOST_SEEDS = 1000  # more than anybody trains


def table(findings: Findings) -> Grid:
    """A table with a row for each schedule: the means over the finished seeds, each with its 95 % interval; fits 100 columns.

    A difference is coloured if its interval, simultaneous over the table, excludes zero. Failures are listed below the schedule's
    name.
    """
    comparison = findings.comparison
    plan, seeds = comparison.plan, comparison.seeds
    title = f"{comparison.task}: {counted(plan.epochs, 'epoch')} of {counted(plan.updates_per_epoch, 'update')}, "
    title += f"batch size {plan.batch_size}, {comparison.optimizer}, "
    title += f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    caption = {1: "one seed, so no interval;", 2: "the values of both seeds;"}.get(
        len(seeds), "mean and 95 % interval over the seeds that finished;"
    )
    caption += " gap = train - test accuracy; difference in test accuracy to the first schedule, paired by seed"
    head = ("schedule", "train loss", "train accuracy", "test accuracy", "gap", "difference", "time")
    rows: list[tuple[str | Text, ...]] = [
        (
            _name(row),
            *map(_cell, (row.train_loss, row.train_accuracy, row.test_accuracy)),
            _cell(None if row.gap is None else Estimate(row.gap.mean, None, row.gap.n), signed=True),
            Text("first", style="dim")
            if row.name == comparison.reference
            else _difference(row.difference, differs=row.differs),
            "" if row.seconds is None else duration(row.seconds),
        )
        for row in findings.rows
    ]
    return Grid(head, rows, title=printable(title), caption=caption)


def ranking_table(findings: Findings) -> Grid:
    """A table of the standing of each schedule, the best first; fits 100 columns. Columns without values are left out.

    Args:
        findings: the findings on at least two schedules, with a seed that was run with every schedule.
    """
    difference = findings.difference
    size = f"seeds for {difference:g}"
    rows, standings = {row.name: row for row in findings.rows}, findings.standings
    explained = {
        "rank": "rank (95 %), where a trial that failed counts as guessing",
        "best": "chance of being the best",
        "difference": "difference to the first with 95 % intervals that hold all together",
        "p": "its p-value by Holm",
        "area": "area under test accuracy by epoch",
        size: f"seeds that show a difference of {difference:g} to the first in 8 of 10 comparisons (80 % interval)",
    }
    cells: dict[str, list[Text]] = {heading: [] for heading in explained}
    for standing in standings:
        row = rows[standing.name]
        first = row.name == findings.comparison.reference
        dash = Text("first" if first else "-", style="dim")
        found = (
            Text(rank(standing)),
            Text(percent(standing.best)),
            dash if row.joint is None else _difference(row.joint, differs=row.differs),
            dash if row.p_value is None else Text(p_value(row.p_value)),
            _cell(None if row.area is None else Estimate(row.area.mean, None, row.area.n)),
            dash if standing.seeds is None else Text(needed(standing)),
        )
        for column, cell in zip(cells.values(), found, strict=True):
            column.append(cell)
    known = {heading: column for heading, column in cells.items() if {c.plain for c in column} - {"-", "first"}}
    lines = [(standing.name, *cells) for standing, *cells in zip(standings, *known.values(), strict=True)]
    caption = "; ".join(explained[heading] for heading in known)
    return Grid(("schedule", *known), lines, title="Ranking by test accuracy", caption=caption)


def dropped_table(race: Race) -> Grid:
    """A table of the schedules that a race dropped, in order of time, with the reason; fits 100 columns."""
    caption = (
        "difference in mean test accuracy to the schedule named, with the seeds so far and its 95 % interval; at most: with all "
        f"{len(race.seeds)} seeds, by the race's bound"
    )
    rows = [
        (
            d.name,
            f"{d.seeds} of {len(race.seeds)}",
            why_dropped(d),
            _cell(d.difference, signed=True),
            Text("-", style="dim") if d.most is None else f"{d.most:+.4f}",
        )
        for d in race.dropped
    ]
    head = ("schedule", "seeds", "reason", "difference", "at most")
    return Grid(head, rows, (0, 2), title="Dropped on the way", caption=caption)


def why_dropped(dropped: Dropped) -> str:
    """The reason for a drop, such as `no better than cosine`, or `all diverged`."""
    if dropped.reason == "no better":
        return f"no better than {dropped.rival}"
    return "all diverged or collapsed" if dropped.reason == "failed" else f"all {dropped.reason}"


def leads(findings: Findings) -> str:
    """The leaders by epoch, such as `best by epoch: constant 1-3; cosine 4-30`; empty with a single schedule."""
    spans: dict[str, list[str]] = {}
    for lead in findings.leads:
        text = f"{lead.first:g}" if lead.first == lead.last else f"{lead.first:g}-{lead.last:g}"
        spans.setdefault(lead.name, []).append(text)
    if len(findings.rows) < 2 or not spans:
        return ""
    return "best by epoch: " + "; ".join(f"{printable(name)} {', '.join(when)}" for name, when in spans.items())


def rank(standing: Standing) -> str:
    """The rank, and the interval of the true rank, such as `2 (1-4)`; without the interval if all three are equal."""
    low, high = standing.rank_low, standing.rank_high
    return str(standing.rank) if low == high == standing.rank else f"{standing.rank} ({low}-{high})"


def p_value(p: float) -> str:
    """A p-value in a few characters."""
    return "< .001" if p < 0.001 else f"{p:.3f}"


def needed(standing: Standing) -> str:
    """The number of seeds, and its interval, such as `12 (6-110)`; `more than 1,000` if the interval begins above 1,000."""
    if standing.seeds_low is None or standing.seeds_low > _MOST_SEEDS:
        return f"more than {_MOST_SEEDS:,}"
    counts = (standing.seeds, standing.seeds_low, standing.seeds_high)
    seeds, low, high = ("many" if n is None or n > 9999 else str(n) for n in counts)
    return f"{seeds} ({low}-{high})"


def agreement_table(findings: Findings) -> Grid:
    """The test accuracies of each schedule in the frameworks, side by side."""
    frameworks = list(dict.fromkeys(f for row in findings.agreement for f in row.accuracies))
    rows: list[tuple[str | Text, ...]] = []
    for row in findings.agreement:
        cells = []
        for framework in frameworks:
            cell = _cell(row.accuracies.get(framework))
            if framework in row.differences:
                found = row.differences[framework]
                differs = evidence(found) is Evidence.SHOWN
                cell.append("\n").append_text(_difference(found, differs=differs))
            cells.append(cell)
        rows.append((row.name, *cells, {True: "yes", False: "no", None: "-"}[row.agree]))
    caption = "difference to the first framework, paired by seed, in the second line"
    return Grid(("schedule", *frameworks, "agree"), rows, title="Test accuracy by framework", caption=caption)


def _name(row: Row) -> Text:
    name = Text(printable(row.name))
    if row.note:
        name.append(f"\n{row.note}", style="yellow")
    return name


def _cell(value: Estimate | None, *, signed: bool = False) -> Text:
    """The mean with its interval below, or two stacked values, so that the cell is narrow and the table fits a terminal."""
    if value is None:
        return Text("-", style="dim")
    mean, _, interval = value.text(signed=signed).partition(" ")
    cell = Text(mean)
    interval = interval.strip("()").replace(" … ", "…")
    return cell.append(f"\n{interval}", style="" if value.values else "dim") if interval else cell


def _difference(value: Estimate | None, *, differs: bool) -> Text:
    cell = _cell(value, signed=True)
    if value is not None and differs:
        cell.stylize("bold green" if value.mean > 0 else "bold red")
    return cell
