"""The result of a conversion and its report: as text, Markdown, and a self-contained HTML page."""

from __future__ import annotations

import html
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laju.convert.writers import writer
from laju.convert.writers.configurations import FORMATS, TITLES
from laju.convert.writers.per_epoch import NAME
from laju.core.schedule import Schedule
from laju.inspect.difference import SHARE, Difference
from laju.view.table import markdown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from laju.view.plot import Picture

FILES = ("convert.py", "difference.png", "report.md", "report.html")


@dataclass(frozen=True)
class Conversion:
    """Result of converting a schedule from a source system to a target system.

    Attributes:
        source, target: names of the systems.
        text: the source's text: a call of the source system, or laju's spec.
        schedule: the laju schedule in the target's counts; `spec` is its text, which `laju.parse` reads.
        counts: description of the target's count, such as "completed updates".
        unit: "update" or "epoch", the unit of the schedule.
        updates: length of the run in units of the schedule.
        own: whether a scheduler of the target gives the same values, during the run and after its end.
        call: the call of that scheduler, in the syntax of the target's dialect; None if there is no such scheduler.
        code: a complete program for the target, or a configuration block.
        nearest: the call of the target's scheduler with the nearest values: `call` if that exists; None if no scheduler is near.
        nearest_lr: the optimizer's learning rate for `nearest`; None if `nearest` does not use the optimizer's rate.
        approximation: the laju schedule with the values of `nearest`.
        difference: difference between the schedule and `approximation` over the run.
        after: the same difference over twice the length of the run.
        traps: warnings about pitfalls of the migration.
    """

    source: str
    target: str
    text: str
    schedule: Schedule
    counts: str
    unit: str
    updates: int
    own: bool
    call: str | None
    code: str
    nearest: str | None = None
    nearest_lr: float | None = None
    approximation: Schedule | None = None
    difference: Difference | None = None
    after: Difference | None = None
    traps: tuple[str, ...] = field(default=())

    @property
    def spec(self) -> str:
        return str(self.schedule)

    @cached_property
    def report(self) -> str:
        """The report as text: the target's scheduler, differences, and pitfalls of the migration."""
        return as_text(self)

    def __str__(self) -> str:
        return self.report

    def sketch(self, width: int | None = None) -> str:
        """Return a plot for the terminal, of the schedule and the nearest of the target's own schedulers.

        Args:
            width: width in characters; by default the width of the terminal.
        """
        from laju.view.plot import sketch

        return sketch(self._curves(), self._drawn(), height=14, width=width)

    def picture(self) -> Picture:
        """Return a Matplotlib picture of the schedule, the nearest of the target's own schedulers, and their difference."""
        from laju.view.difference import picture
        from laju.view.plot import plot

        if self.approximation is None:
            drawn = plot(self._curves(), self._drawn())
        else:
            a, b = self._curves()
            drawn = picture(self.schedule, self.approximation, self._drawn(), (a, b))
        drawn.figure.axes[-1].set_xlabel(self.unit)
        return drawn

    def _curves(self) -> dict[str, Schedule]:
        curves = {"laju" if self.source == "laju" else f"{self.source} (laju)": self.schedule}
        if self.approximation is not None:
            curves[f"{possessive(self.target)} own"] = self.approximation
        return curves

    def _drawn(self) -> int:
        """Return the number of counts that a picture shows; beyond the run if the curves differ after the run."""
        more = self.after is not None and not self.after.equal
        return self.updates + (max(1, self.updates // 4) if more else 0)

    def save(self, folder: str | os.PathLike[str], command: str | None = None) -> list[Path]:
        """Write the code, the picture, and the report as Markdown and HTML, and return the paths of the files.

        Args:
            folder: folder of the files, created if it does not exist.
            command: the shell command of the conversion, shown in the HTML page.

        Raises:
            OSError: if a file cannot be written.
            ModuleNotFoundError: if Matplotlib is not installed.
        """
        return save(self, Path(folder), command)

    def to_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "target": self.target,
            "text": self.text,
            "schedule": self.spec,
            "json": self.schedule.to_json(),
            "counts": self.counts,
            "unit": self.unit,
            "updates": self.updates,
            "own": self.own,
            "call": self.call,
            "code": self.code,
            "nearest": self.nearest,
            "nearest_lr": self.nearest_lr,
            "difference": None if self.difference is None else self.difference.to_json(),
            "after": None if self.after is None else self.after.to_json(),
            "traps": list(self.traps),
        }


def as_text(c: Conversion) -> str:
    """Return the report as text: the target's scheduler, differences, and pitfalls of the migration."""
    lines = [_verdict(c)]
    if c.nearest is not None and not c.own:
        lines += ["", f"nearest of its own: {_with_rate(c)}"]
        if c.difference is not None:
            lines += ["", _difference(c.difference, c.unit)]
    if c.traps:
        lines += ["", "look out:", *(f"  - {trap}" for trap in c.traps)]
    return "\n".join(lines)


def facts(c: Conversion) -> dict[str, str]:
    return {
        "from": f"{c.source}: {c.text}",
        "laju": c.spec,
        "counts": c.counts,
        "run": f"{c.updates:,} {_plural(c.unit, c.updates)}",
    }


def _verdict(c: Conversion) -> str:
    if c.target == "laju":
        return "This is laju's own schedule."
    if c.target.startswith("yaml:"):
        return f"Read again as a configuration of {_title(c)}, this block gives these values over the run: {c.call}"
    whose = possessive(_title(c))
    if c.own:
        return f"{whose} own scheduler gives these values, over the run and past it: {_with_rate(c)}"
    if c.nearest is None and f"{NAME} = ..." in c.code:
        return (
            f"No scheduler of {whose} own has these values for every number of updates in an epoch; the code uses laju. With "
            "updates_per_epoch (--updates-per-epoch N), the nearest is named."
        )
    if c.nearest is None:
        return f"No scheduler of {whose} own was found that comes near; the code uses laju."
    if c.difference is not None and c.difference.equal:
        if c.after is not None and not c.after.equal:
            return f"{whose} own scheduler gives these values over the run, but not after it; the code uses laju."
        return f"{whose} own scheduler gives these values up to rounding alone; the code uses laju for the last digits."
    return f"No scheduler of {whose} own gives these values; the code uses laju."


def possessive(title: str) -> str:
    """
    >>> possessive("torch"), possessive("Keras")
    ("torch's", "Keras'")
    """
    return f"{title}'" if title.endswith("s") else f"{title}'s"


def _with_rate(c: Conversion) -> str:
    return f"{c.nearest}" + ("" if c.nearest_lr is None else f", with the optimizer's rate {c.nearest_lr!r}")


def _title(c: Conversion) -> str:
    from laju.convert.writers import TARGETS
    from laju.dialects.base import system

    if c.target.startswith("yaml:"):
        return TITLES[c.target.partition(":")[2]]
    return writer(c.target).title if c.target in TARGETS else system(c.target).title


def _difference(difference: Difference, unit: str) -> str:
    return str(difference) if unit == "update" else str(difference).replace("update", unit)


def _plural(unit: str, n: int) -> str:
    return unit if n == 1 else f"{unit}s"


def save(c: Conversion, folder: Path, command: str | None = None) -> list[Path]:
    """Write all files into a folder, which is created if it does not exist, and return their paths."""
    drawn = c.picture()  # first, as drawing needs Matplotlib: the folder gets all of the files or none
    folder.mkdir(parents=True, exist_ok=True)
    code, picture, markdown, page = (folder / name for name in FILES)
    if c.target.startswith("yaml:"):
        code = folder / f"config.{FORMATS.get(c.target.partition(':')[2], 'yaml')}"
    code.write_text(c.code, encoding="utf-8")
    drawn.save(picture)
    markdown.write_text(as_markdown(c), encoding="utf-8")
    page.write_text(as_html(c, drawn.figure, command), encoding="utf-8")
    return [code, picture, markdown, page]


def as_markdown(c: Conversion) -> str:
    known = markdown(("", ""), [(name, f"`{value}`") for name, value in facts(c).items()])
    parts = [f"# {_heading(c)}", known, _sentence(c)]
    parts.append(f"![{_caption(c)}](difference.png)")
    if c.difference is not None and not c.own:
        parts.append(markdown(_HEAD, _rows(c)))
    if c.traps:
        parts.append("## Look out\n\n" + "\n".join(f"- {trap}" for trap in c.traps))
    parts.append(f"## Code\n\n```python\n{c.code}```")
    return "\n\n".join(parts) + "\n"


def _heading(c: Conversion) -> str:
    return f"From {c.source} to {c.target}"


def _sentence(c: Conversion) -> str:
    if c.nearest is None:
        return _verdict(c)
    return _verdict(c).replace(_with_rate(c), f"`{_with_rate(c)}`") + (
        "" if c.own else f"\n\nNearest of its own: `{_with_rate(c)}`"
    )


def _caption(c: Conversion) -> str:
    return "The schedule" if c.approximation is None else "The schedule, the target's own, and their difference"


def _rows(c: Conversion) -> list[tuple[str, ...]]:
    """Return the rows of the table of differences: over the run, and over twice the length of the run."""
    rows: list[tuple[str, ...]] = []
    for name, d in (("the run", c.difference), ("with as many after it", c.after)):
        if d is None:
            continue
        first = "equal" if d.first is None else f"{c.unit} {d.first:,}"
        matters = "" if d.equal else "nowhere" if d.matters is None else f"{c.unit} {d.matters:,}"
        rows.append((
            name, matters, first, "" if d.equal else f"{d.largest:.6g} at {c.unit} {d.largest_at:,}",
            "" if d.equal else f"{100 * d.relative:.4g}% at {c.unit} {d.relative_at:,}",
            "" if d.equal else f"{100 * d.relative_area:.4g}%",
        ))  # fmt: skip
    return rows


_HEAD = (
    "over", f"first differs by more than {100 * SHARE:g}% of the peak at", "at all at", "largest difference",
    "relative to the larger", "area, of the larger sum",
)  # fmt: skip


def as_html(c: Conversion, figure: Figure, command: str | None = None) -> str:
    """Return the HTML page of a conversion; all text of the user is escaped."""
    from laju.view import page

    def code(text: str) -> str:
        return f"<code>{html.escape(text)}</code>"

    verdict = html.escape(_verdict(c)).replace("\n", "<br>")
    nearest = ""
    if c.nearest is not None:
        verdict = verdict.replace(html.escape(_with_rate(c)), code(_with_rate(c)))
        nearest = "" if c.own else f"<p>Nearest of its own: {code(_with_rate(c))}</p>\n"
    sections = [("", nearest)] if nearest else []
    sections.append((_caption(c), page.picture(figure, "Values", "curves", unit=c.unit, wide=True)))
    if c.difference is not None and not c.own:
        sections.append(("Differences", page.table(_HEAD, _rows(c))))
    if c.traps:
        sections.append(("Look out", page.items(c.traps)))
    sections.append(("Code", f'<pre tabindex="0">{code(c.code)}</pre>'))
    return page.report(_heading(c), verdict, command, (facts(c), page.made()), sections)
