"""Reports of a comparison: an HTML page without outside files, pictures, and tables for programs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from laju.lab.report import csv, figures, html
from laju.lab.report.html import Elsewhere
from laju.lab.report.table import agreement_table, dropped_table, leads, ranking_table, table
from laju.view.page import made
from laju.view.plot import letters

if TYPE_CHECKING:
    from laju.lab.comparison import Findings

__all__ = [
    "FILES",
    "Elsewhere",
    "agreement_table",
    "check_writable",
    "dropped_table",
    "leads",
    "ranking_table",
    "table",
    "write_report",
]

_PANELS = tuple(f"{name}.png" for name in figures.PANELS)
FILES = ("report.html", "overview.png", *_PANELS, "best.png", "trials.csv", "records.csv", "anytime.csv")
_RACED = ("race.png", "dropped.csv")
"""Files that only a race has; without a race such files of an earlier report are removed."""


def check_writable(folder: str | os.PathLike[str]) -> Path:
    """Create the folder, with its parents, and check that a report can be written there, before a long training run.

    Raises:
        OSError: the folder cannot be written; the message names the folder and the reason.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        _write(path / "report.html.try", lambda target: target.write_bytes(b"laju"))
        (path / "report.html.try").unlink()
        for name in (*FILES, *_RACED):
            if (path / name).is_dir():
                raise IsADirectoryError(f"{name} there is a folder")
    except OSError as error:
        raise OSError(f"cannot write a report into {str(path)!r}: {error.strerror or error}") from error
    return path


def write_report(
    findings: Findings,
    folder: str | os.PathLike[str],
    elsewhere: Elsewhere | None = None,
    *,
    verdict: str | None = None,
    command: str | None = None,
) -> list[Path]:
    """Write the report's files into a folder, in place of the files of an earlier report.

    Every file is either complete or absent: a file gets its name only when fully written.

    Args:
        findings: the content of the report; see `Comparison.findings`.
        folder: the folder for the files; created if missing.
        elsewhere: published figures that the page shows next to the comparison's.
        verdict: the sentence that opens the page; by default the verdict of the comparison.
        command: the command that made the comparison, for the page's reader to run again.

    Returns:
        The files: the HTML page, the pictures, and the CSV tables.

    Raises:
        OSError: the folder cannot be written.
    """
    comparison, path = findings.comparison, check_writable(folder)
    facts = made(("numpy", *dict.fromkeys(comparison.frameworks.values())))
    writers: dict[str, Callable[[Path], object]] = {
        "report.html": lambda target: target.write_text(
            html.page(findings, elsewhere, verdict=verdict, command=command, made=facts),
            encoding="utf-8",
            newline="\n",
        ),
        "overview.png": lambda target: figures.save(figures.overview(comparison), target),
        "trials.csv": lambda target: csv.write(comparison.trials(), target),
        "records.csv": lambda target: csv.write(comparison.records(), target),
        "anytime.csv": lambda target: csv.write(findings.anytime, target),
        "best.png": lambda target: figures.save(figures.best(findings), target),
    }
    for panel in figures.PANELS:
        writers[f"{panel}.png"] = lambda target, panel=panel: figures.save(figures.single(comparison, panel), target)  # type: ignore[misc]
    if comparison.race is not None:
        race = comparison.race
        writers["race.png"] = lambda target: figures.save(figures.race(race), target)
        writers["dropped.csv"] = lambda target: csv.write(race.rows(), target)
    else:
        for name in _RACED:
            (path / name).unlink(missing_ok=True)
    names = (*FILES, *(_RACED if comparison.race is not None else ()))
    with letters():
        for name in names:
            _write(path / name, writers[name])
    return [path / name for name in names]


def _write(target: Path, write: Callable[[Path], object]) -> None:
    # A name of this process, so that two reports into the same folder do not write into each other's files.
    unfinished = target.with_name(f".{target.stem}.{os.getpid()}.part{target.suffix}")
    try:
        write(unfinished)
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)
