"""The cells of the chapter's tutorial, and the equivalents of the migration guide, as the site's build runs them."""

from __future__ import annotations

import importlib
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.chapter_text import Chapter, printed

DOCS = Path(__file__).parent.parent / "docs"
BUILD = DOCS.parent / "docs_build"
CELLS = ("network", "by-hand", "function", "laju", "loop")
PAGES = ("chapter/index.md", "id/chapter.md")


def helper(name: str):
    """A module that the site's pages use."""
    sys.path.insert(0, str(BUILD))
    try:
        return importlib.import_module(name)
    finally:
        del sys.path[0]


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
        [python, BUILD / "run_cells.py", BUILD / "cells" / f"{framework}.py", f"{framework}.out"],
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


def test_both_languages_show_the_same_cells_pictures_and_tables() -> None:
    calls = [
        [
            (name, given.replace('"id"', "").strip(", "))
            for name, given in re.findall(r"print\((\w+)\((.*)\)\)", text(page))
        ]
        for page in PAGES
    ]
    assert calls[0] == calls[1]
    assert [cell.strip('"') for name, cell in calls[0] if name == "tabs"] == list(CELLS)


def test_the_indonesian_page_has_decimal_commas() -> None:
    outside_code = re.sub(r"```.*?```|`[^`]*`|\(.*?\.md.*?\)", "", text("id/chapter.md"), flags=re.DOTALL)
    assert re.findall(r"\d\.\d+", outside_code.replace("1.797", "").replace("7.050", "")) == []  # which are thousands
    pictures = helper("docs_pictures_chapter")
    for table in (pictures.shifted_table("id"), pictures.published_table("id")):
        assert re.findall(r"\d\.\d", table) == []
        assert len(re.findall(r"\d,\d", table)) > 12
    for name in pictures.POLICIES:
        svg = pictures.policy(name, "id")
        drawn = re.findall(r"<!-- (.*?) -->", svg)  # the texts, beside the outlines of their letters
        assert "laju pembelajaran" in drawn
        assert [label for label in drawn if re.fullmatch(r"[\d.]+", label) and "." in label] == []
        assert [label for label in drawn if re.fullmatch(r"\d,\d+", label)]


def text(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def loops_table(page: str) -> dict[str, list[str]]:
    """The columns of the table that says where the chapter's loops differ, without the words that are not English."""
    found = re.search(r"^\| \| PyTorch \| TensorFlow \| MXNet \|\n.*?\n((?:\|.*\n)+)", text(page), re.MULTILINE)
    assert found is not None
    lines = [line.strip("| ").split(" | ")[1:] for line in found[1].splitlines()]
    return dict(zip(("pytorch", "tensorflow", "mxnet"), map(list, zip(*lines, strict=True)), strict=True))


def test_both_tables_of_the_loops_have_the_same_figures() -> None:
    english, indonesian = (loops_table(page) for page in PAGES)
    for tab, column in english.items():
        for cell, same in zip(column, indonesian[tab], strict=True):
            figures = [re.findall(r"\d+(?:[.,]\d+)?", c) for c in (cell, same)]
            assert figures[0] == [figure.translate(str.maketrans(".,", ",.")) for figure in figures[1]], (cell, same)


@pytest.mark.parametrize("tab", ["pytorch", pytest.param("tensorflow", marks=slow), "mxnet"])
def test_the_table_of_the_loops_says_what_the_printed_tabs_do(tab: str, chapter: Chapter) -> None:
    result = printed(chapter, tab)
    used = {training["name"]: np.reshape(training["rates"], (30, 2)) for training in result["trainings"]}
    plots = dict(
        zip(("square root", "factor", "multi-factor", "cosine", "cosine with warmup"), result["plots"], strict=True)
    )
    asked, argument, rates, warmup, multi, network, weights = loops_table(PAGES[0])[tab]
    layers, initial = " ".join(result["network"]), result["initial"]
    if tab != "mxnet":
        assert all((by_epoch[:, 0] == by_epoch[:, 1]).all() for by_epoch in used.values())
        assert argument == "the epoch"
        used = {name: by_epoch[:, 0] for name, by_epoch in used.items()}
    stateless = ("square root", "cosine", "cosine with warmup")
    if tab == "pytorch":
        assert asked == "after the epoch, with the number of the one that is over"
        assert rates == "one epoch late; the first epoch runs at the optimizer's own"
        for name, own in zip(stateless, (0.1, 0.3, 0.3), strict=True):
            assert used[name] == pytest.approx([own, *plots[name][:-1]], rel=1e-12)
        warmed = used["cosine with warmup"]
        assert warmup == f"an epoch at the full {warmed[0]:g}, then one at {warmed[1]:g}"
        assert warmed[2] > 0
        assert set(used["multi-factor"]) == {0.125}
        assert "stepped 30 times: 0.125 throughout" in multi
        assert len(plots["multi-factor"]) == 30
        assert network == "max pooling, ReLU"
        assert (layers.count("MaxPool2d"), layers.count("ReLU"), layers.count("Sigmoid")) == (2, 4, 0)
        assert weights == "torch's default, biases too"
        assert all(0.9 < largest <= 1 for largest in initial["fan in"][1:])
        assert min(initial["bias"]) > 0
    elif tab == "tensorflow":
        assert asked == "before the epoch"
        assert rates == "those of the plot, but for multi-factor"
        for name in stateless:
            assert used[name] == pytest.approx(plots[name], rel=1e-6)
        assert warmup == f"{sum(np.diff(used['cosine with warmup']) > 0)} epochs"
        at = int(np.flatnonzero(np.diff(used["multi-factor"]))[0]) + 1
        assert set(used["multi-factor"]) == {0.25, 0.125}
        assert multi.endswith(f"0.25, and 0.125 from epoch {at}")
        assert network == "average pooling and one sigmoid"
        assert (layers.count("AveragePooling2D"), layers.count("relu"), layers.count("sigmoid")) == (2, 3, 1)
        assert weights == "Glorot uniform, biases 0"
    else:
        assert (asked, argument) == ("at every minibatch", "minibatches, from 1")
        used = {name: np.ravel(by_epoch) for name, by_epoch in used.items()}
        for name in stateless:
            assert used[name][:29] == pytest.approx(plots[name][1:], rel=1e-12)
        assert rates == f"those of epoch 20 after 20 of {30 * math.ceil(60_000 / 256):,} minibatches"
        assert used["cosine"][19] == plots["cosine"][20] == 0.01
        assert warmup == f"{int(np.argmax(used['cosine with warmup'])) + 1} minibatches"
        assert used["multi-factor"].tolist() == [0.25] * 30 + [0.125] * 30
        assert multi.endswith("0.25 for 30 minibatches, then 0.125")
        assert network == "max pooling, ReLU"
        assert (layers.count("MaxPool2D"), layers.count("relu"), layers.count("sigmoid")) == (2, 4, 0)
        assert weights == "Xavier, which is the same, biases 0"
    if tab != "pytorch":
        assert all(0.9 < largest <= 1.0001 for largest in initial["glorot"][1:])
        assert max(initial["bias"]) == 0
    # Of all of a tab's cells one fails: the one that reads a name of Keras 2.
    told = ["AttributeError: 'SGD' object has no attribute 'lr'"] if tab == "tensorflow" else []
    assert list(result["errors"].values()) == told
    assert all(training["error"] is None for training in result["trainings"])


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
