"""CSV tables (RFC 4180) of a comparison's trials and records, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def write(rows: Sequence[dict[str, Any]], target: Path) -> None:
    """Write flat rows with a header line; None becomes an empty field.

    Spreadsheets run a text that starts with =, +, -, @, a tab or a return as a formula, so such a text gets a leading
    apostrophe. Numbers stay as they are.
    """
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\r\n")
        if rows:
            writer.writerow(rows[0])
        writer.writerows([_guarded(value) for value in row.values()] for row in rows)


def _guarded(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else value
