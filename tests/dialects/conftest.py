"""Parity with the real packages: where they are, and how far laju's values are from theirs.

The largest difference of each scheduler is remembered; with `--write-parity` the run writes them to docs_build/parity.json,
from which the site makes its table.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs_build" / "parity.json"
_found: dict[tuple[str, str], dict[str, Any]] = {}


@pytest.fixture(scope="session")
def dialects_path() -> Path:
    """The folder with packages that are installed for these tests alone."""
    return Path(os.environ.get("LAJU_DIALECTS", ROOT / ".dialects"))


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Its packages can be imported in the block, and only there: Transformers, for one, loads DeepSpeed where it finds it."""
    sys.path.append(str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        importlib.invalidate_caches()


def standing(name: str, **content: Any) -> types.ModuleType:
    """A module in the place of another one that computes nothing for a scheduler."""
    made = types.ModuleType(name)
    vars(made).update(content)
    return made


def loaded(folder: Path, path: str, stands: dict[str, types.ModuleType] | None = None) -> Any:
    """One module of an installed package, without the `__init__` of its packages.

    Args:
        folder: that the package lies in.
        path: of the file, such as "timm/scheduler/scheduler_factory.py".
        stands: modules in the place of others that it imports.
    """
    if not (folder / path).exists():
        pytest.skip(f"needs {path.partition('/')[0]} in {folder}: make setup-dialects")
    name = path.removesuffix(".py").replace("/", ".")
    names = dict(stands or {})
    for parent in Path(path).parents:
        package = str(parent).replace("/", ".")
        if package != ".":
            names.setdefault(package, standing(package, __path__=[str(folder / parent)]))
    roots = {key.partition(".")[0] for key in names}
    before = {key: module for key, module in sys.modules.items() if key.partition(".")[0] in roots}
    for key in before:
        del sys.modules[key]
    sys.modules.update(names)
    try:
        return importlib.import_module(name)
    finally:
        for key in [key for key in sys.modules if key.partition(".")[0] in roots]:
            del sys.modules[key]
        sys.modules.update(before)


def ulps(theirs: Any, ours: Any, dtype: Any = float, of: Any = None) -> float:
    """The largest difference in units of the last place of the larger value, or of the largest of `of`, all as `dtype`."""
    a, b = np.asarray(theirs, dtype), np.asarray(ours, dtype)
    assert a.shape == b.shape
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if same.all():
        return 0.0
    scale = np.maximum(np.abs(a), np.abs(b)) if of is None else np.max(np.abs(np.asarray(of, dtype)))
    unit = np.spacing(scale.astype(dtype))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(a.astype(float) - b.astype(float)) / unit)
    return float(np.nanmax(np.where(np.isnan(apart), np.inf, apart)))


class Parity:
    """Called with both sides' values: asserts that they agree and remembers how well."""

    def __call__(
        self,
        system: str,
        scheduler: str,
        release: str,
        theirs: Any,
        ours: Any,
        *,
        most: float = 4,
        dtype: Any = float,
        of: Any = None,
    ) -> None:
        """`most` ulp of `dtype` may lie between them: of each value, or of the largest of `of` where small ones lost digits."""
        apart = ulps(theirs, ours, dtype, of)
        entry = _found.setdefault((system, scheduler), {"release": release, "ulp": 0.0, "values": 0})
        entry["ulp"] = max(entry["ulp"], apart)
        entry["values"] += int(np.size(theirs))
        entry["dtype"] = np.dtype(dtype).name
        entry["most"] = most
        entry["of"] = "value" if of is None else "peak"
        if apart > most:
            a, b = np.asarray(theirs, dtype), np.asarray(ours, dtype)
            t = int(np.flatnonzero(a != b)[0])
            raise AssertionError(
                f"{system} {scheduler}: {apart:g} ulp apart, at most {most:g} allowed; first at {t}: theirs {a[t]!r}, ours "
                f"{b[t]!r}"
            )


@pytest.fixture(scope="session")
def parity() -> Parity:
    return Parity()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-parity", action="store_true", help="write docs_build/parity.json")


@pytest.fixture(scope="session", autouse=True)
def _write(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if request.config.getoption("--write-parity", default=False) and _found:
        TABLE.parent.mkdir(parents=True, exist_ok=True)
        kept = json.loads(TABLE.read_text()) if TABLE.exists() else []
        rows = {(row["system"], row["scheduler"]): row for row in kept}
        for (system, scheduler), entry in _found.items():
            rows[system, scheduler] = {"system": system, "scheduler": scheduler, **entry}
        TABLE.write_text(json.dumps([rows[key] for key in sorted(rows)], indent=1) + "\n")
