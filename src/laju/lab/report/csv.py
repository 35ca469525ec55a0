"""CSV tables (RFC 4180) of a comparison's trials and records, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO


def write(rows: Sequence[dict[str, Any]], target: Path) -> None:
    """Write flat rows with a header line; None becomes an empty field.

    Spreadsheets interpret a text that starts with =, +, -, @, a tab or a return as a formula, so such a text gets a leading
    apostrophe. Numbers stay unchanged.
    """
    with target.open("w", encoding="utf-8", newline="") as file:
        write_to(file, rows)


def write_to(file: TextIO, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows into a file that is open."""
    writer = csv.writer(file, lineterminator="\r\n")
    for i, row in enumerate(rows):
        if i == 0:
            writer.writerow(row)
        writer.writerow([_guarded(value) for value in row.values()])


def _guarded(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else value
