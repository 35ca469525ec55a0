"""Read `[tool.laju]` in the nearest pyproject.toml: the findings that `laju check` reports in a project."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from laju.core.checks import nearest, shown
from laju.inspect.lint import CODES

_KEYS = ("select", "ignore", "exit-zero")


@dataclass(frozen=True)
class Settings:
    """The selected and ignored codes of findings; if `select` is None, all codes are selected."""

    select: frozenset[str] | None = None
    ignore: frozenset[str] = frozenset()
    exit_zero: bool = False

    def wants(self, code: str) -> bool:
        return (self.select is None or code in self.select) and code not in self.ignore


def read_settings(folder: Path | None = None) -> Settings:
    """The table `[tool.laju]` of the nearest pyproject.toml, from a folder upwards; the defaults without such a table.

    Raises:
        click.UsageError: if the file cannot be read, or a key or a code in the table is unknown.
    """
    folder = (folder or Path.cwd()).resolve()
    for file in (parent / "pyproject.toml" for parent in (folder, *folder.parents)):
        if not file.is_file():
            continue
        try:
            content = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise click.UsageError(f"{file} cannot be read: {error}") from None
        table = content.get("tool", {}).get("laju")
        if table is None:
            continue
        where = f"[tool.laju] of {file}"
        if not isinstance(table, dict):
            raise click.UsageError(f"{where} must be a table, got {shown(table)}")
        for key in table:
            if key not in _KEYS:
                raise click.UsageError(f"{where} has no key {key!r}{nearest(key, _KEYS)} (keys: {', '.join(_KEYS)})")
        exit_zero = table.get("exit-zero", False)
        if not isinstance(exit_zero, bool):
            raise click.UsageError(f"exit-zero in {where} must be true or false, got {shown(exit_zero)}")
        select = _codes(table["select"], f"select in {where}") if "select" in table else None
        return Settings(select, _codes(table.get("ignore", []), f"ignore in {where}"), exit_zero)
    return Settings()


def _codes(values: Any, where: str) -> frozenset[str]:
    if not isinstance(values, list):
        raise click.UsageError(f"{where} must be a list of codes such as ['LAJU001'], got {shown(values)}")
    return frozenset(code(value, where) for value in values)


def code(value: Any, where: str) -> str:
    """The code of a finding, in the spelling of `CODES`."""
    found = str(value).strip().upper()
    if found not in CODES:
        raise click.UsageError(f"{where}: {found!r} is not a code{nearest(found, CODES)}")
    return found
