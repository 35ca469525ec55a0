"""The end table of a comparison, for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from laju.lab.statistics import Estimate
from laju.plot import printable

if TYPE_CHECKING:
    from laju.lab.comparison import Comparison, Row


def table(comparison: Comparison) -> Table:
    """The means over the finished seeds, each with its 95 % interval, one schedule a row; fits 100 columns.

    A difference is coloured when its interval excludes zero. What went wrong stands below the schedule's name.
    """
    plan, seeds = comparison.plan, comparison.seeds
    title = f"{comparison.task}: {plan.epochs} epochs of {plan.updates_per_epoch} updates, batch size {plan.batch_size}"
    title += f", {comparison.optimizer}, seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    caption = "mean ± half of a 95 % interval over the seeds that finished; gap = train - test accuracy;"
    caption += " difference in test accuracy to the first schedule, paired by seed"
    result = Table(
        title=Text(printable(title), style="bold"),
        caption=Text(caption, style="dim"),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
        collapse_padding=True,
        pad_edge=False,
    )
    result.add_column("schedule", overflow="fold", min_width=12)
    for heading in ("train loss", "train accuracy", "test accuracy", "gap", "difference", "time"):
        result.add_column(heading, justify="right")
    for row in comparison.summary():
        result.add_row(
            _name(row),
            _cell(row.train_loss),
            _cell(row.train_accuracy),
            _cell(row.test_accuracy),
            _cell(None if row.gap is None else Estimate(row.gap.mean, None, row.gap.n), signed=True),
            Text("first", style="dim") if row.name == comparison.reference else _difference(row.difference),
            "" if row.seconds is None else duration(row.seconds),
        )
    return result


def agreement_table(comparison: Comparison) -> Table:
    """The test accuracies of each schedule in the frameworks, side by side."""
    rows = comparison.agreement()
    frameworks = list(dict.fromkeys(f for row in rows for f in row.accuracies))
    result = Table(
        title=Text("Test accuracy by framework", style="bold"),
        caption=Text("difference to the first framework, paired by seed, in the second line", style="dim"),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
        collapse_padding=True,
        pad_edge=False,
    )
    result.add_column("schedule", overflow="fold", min_width=12)
    for framework in frameworks:
        result.add_column(framework, justify="right")
    result.add_column("agree", justify="right")
    for row in rows:
        cells = []
        for framework in frameworks:
            cell = _cell(row.accuracies.get(framework))
            if framework in row.differences:
                cell.append("\n").append_text(_difference(row.differences[framework]))
            cells.append(cell)
        result.add_row(Text(printable(row.name)), *cells, {True: "yes", False: "no", None: "-"}[row.agree])
    return result


def duration(seconds: float) -> str:
    """A time in a few characters.

    >>> duration(0.24), duration(92.4), duration(1500), duration(7560)
    ('0.2 s', '92 s', '25 min', '2.1 h')
    """
    if seconds < 600:
        return f"{seconds:.{1 if seconds < 10 else 0}f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _name(row: Row) -> Text:
    # A Text, not a string: Rich would read "[red]" in a string as markup.
    name = Text(printable(row.name))
    if row.note:
        name.append(f"\n{row.note}", style="yellow")
    return name


def _cell(value: Estimate | None, *, signed: bool = False) -> Text:
    return Text("-", style="dim") if value is None else Text(value.text(signed=signed))


def _difference(value: Estimate | None) -> Text:
    cell = _cell(value, signed=True)
    if value is not None and value.excludes_zero:
        cell.stylize("bold green" if value.mean > 0 else "bold red")
    return cell
