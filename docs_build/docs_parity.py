"""The table of the dialects' parity, from what the tests have measured."""

from __future__ import annotations

import json
from pathlib import Path

from laju.dialects import SYSTEMS, system


def parity() -> str:
    """A row a scheduler: system, scheduler, release, and the largest difference that was found."""
    rows = json.loads((Path(__file__).parent / "parity.json").read_text(encoding="utf-8"))
    found = {(row["system"], row["scheduler"]): row for row in rows}
    lines = ["| system | scheduler | release | values | largest difference |", "| --- | --- | --- | --- | --- |"]
    for name in SYSTEMS:
        dialect = system(name)
        for scheduler in (
            *dialect.schedulers,
            *(s for n, s in sorted(found) if n == name and s not in dialect.schedulers),
        ):
            row = found.pop((name, scheduler), None)
            release = row["release"] if row else ", ".join(dialect.releases)
            values = f"{row['values']:,}" if row else ""
            lines.append(f"| {dialect.title} | `{scheduler}` | {release} | {values} | {_said(row)} |")
        for scheduler, reason in dialect.refused.items():
            lines.append(f"| {dialect.title} | `{scheduler}` | | | no schedule: {reason} |")
    return "\n".join(lines)


def _said(row: dict | None) -> str:
    if row is None:
        return "not compared with the package"
    unit = "" if row["dtype"] == "float64" else f" of {row['dtype']}"
    unit += " of the peak" if row.get("of") == "peak" else ""
    return "exact" if row["ulp"] == 0 else f"{row['ulp']:.3g} ulp{unit}"
