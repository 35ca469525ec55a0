"""The cells of the chapter's tutorial, and the equivalents of the migration guide, as the site's build runs them."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).parent.parent / "docs"
CELLS = ("network", "by-hand", "function", "laju", "loop")
PAGES = ("chapter/index.md", "id/chapter.md")


def helper(name: str):
    """A module that the site's pages use."""
    sys.path[:0] = [str(DOCS), str(DOCS / "chapter")]
    try:
        return importlib.import_module(name)
    finally:
        del sys.path[:2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with data as the tutorial's, but few: what the cells do is the question here, not what they learn."""
    path = tmp_path_factory.mktemp("tutorial")
    random = np.random.default_rng(0)
    arrays = {}
    for part in ("train", "test"):
        arrays[f"{part}_inputs"] = random.normal(size=(160, 1, 28, 28)).astype(np.float32)
        arrays[f"{part}_labels"] = random.integers(0, 10, 160)
    np.savez(path / "digits.npz", **arrays)
    return path


slow = pytest.mark.slow


@pytest.mark.parametrize(
    "framework", ["pytorch", pytest.param("tensorflow", marks=slow), pytest.param("jax", marks=slow), "mxnet"]
)
def test_every_cell_runs_and_shows_the_rates_of_the_chapters_loop(framework: str, folder: Path) -> None:
    python = sys.executable
    if framework == "mxnet":
        from laju.lab.engines.mxnet import interpreter

        try:
            python = interpreter()
        except ModuleNotFoundError as error:
            pytest.skip(str(error))
    done = subprocess.run(
        [python, DOCS / "chapter" / "run_cells.py", DOCS / "chapter" / "cells" / f"{framework}.py", f"{framework}.out"],
        cwd=folder,
        env=os.environ | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    printed = json.loads((folder / f"{framework}.out").read_text())
    assert tuple(printed) == CELLS
    assert "61706 parameters" in printed["network"]
    assert re.findall(r"rate (0\.\d+)", printed["by-hand"]) == ["0.10", "0.10", "0.10", "0.02", "0.02"]
    assert "rate 0.0447" in printed["function"]
    assert len(re.findall("test accuracy", printed["laju"])) == 6
    warmup = {
        "pytorch": "0.300 0.000 0.060 0.120",  # one epoch late
        "tensorflow": "0.000 0.060 0.120 0.180",
        "jax": "20 as updates, at the beginning of epochs 0 to 6: 0.000 0.010 0.010",
        "mxnet": "updates 0 to 6: 0.060 0.120 0.180",  # 5 minibatches, from 1
    }
    assert warmup[framework] in printed["loop"]


def test_both_languages_show_the_same_cells_and_pictures() -> None:
    calls = [
        re.findall(r"print\((\w+)\((?:\"([\w-]+)\")?", (DOCS / page).read_text(encoding="utf-8")) for page in PAGES
    ]
    assert calls[0] == calls[1]
    assert [cell for name, cell in calls[0] if name == "tabs"] == list(CELLS)


def rows() -> list[tuple[str, int]]:
    found = helper("docs_pictures_equivalents").ROWS
    return [(package, i) for package in found for i in range(len(found[package]))]


@pytest.mark.parametrize(("package", "i"), rows())
def test_what_the_migration_guide_calls_equal_is_equal(package: str, i: int) -> None:
    equivalents = helper("docs_pictures_equivalents")
    row = equivalents.ROWS[package][i]
    if package == "timm" and equivalents.timm_schedulers() is None:
        pytest.skip("timm is not installed: make setup-vision")
    assert equivalents.difference(package, row) <= row.within


def test_two_schedules_that_differ_are_not_called_equal() -> None:
    equivalents = helper("docs_pictures_equivalents")
    wrong = equivalents.Row("MultiStepLR(optimizer, [30, 60], gamma=0.5)", "multi_factor(0.1, [31, 60], 0.5)")
    assert equivalents.difference("torch", wrong) == pytest.approx(0.5)
