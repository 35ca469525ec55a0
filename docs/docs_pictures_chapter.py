"""The chapter's tutorial: its cells, run in four frameworks while the site is built, and its pictures.

Each framework's cells are one file in `chapter/cells`, run from top to bottom in a process of its own: Keras has one backend a
process, and MXNet needs an environment of its own. What is shown is the source of a cell, and what it printed.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from docs_pictures import svg
from matplotlib.figure import Figure

from laju.lab import compare
from laju.lab.engines.mxnet import interpreter
from laju.lab.report.figures import overview
from laju.plot import INK, Picture, draw_steps, legend, tidy
from laju.studies.chapter import as_published, schedules

FOLDER = Path(__file__).parent / "chapter"
FRAMEWORKS = {"PyTorch": "pytorch", "TensorFlow": "tensorflow", "JAX": "jax", "MXNet": "mxnet"}
sys.path.insert(0, str(FOLDER))
from run_cells import cells  # noqa: E402

NO_MXNET = {
    "en": "This site was built where there is no MXNet, so this cell was not run: {error}",
    "id": "Situs ini dibangun tanpa MXNet, jadi sel ini tidak dijalankan: {error}",
}


@functools.cache
def _workshop() -> Path:
    """A folder with the data, in which all four files of cells have been started."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    path = Path(folder.name)
    _finish(_start("data", path))
    return path


def _start(name: str, folder: Path) -> subprocess.Popen[str]:
    python = interpreter() if name == "mxnet" else sys.executable
    ones = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
    return subprocess.Popen(
        [python, str(FOLDER / "run_cells.py"), str(FOLDER / "cells" / f"{name}.py"), f"{name}.printed.json"],
        cwd=folder,
        env=os.environ | ones | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _finish(process: subprocess.Popen[str]) -> None:
    said, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{process.args[2]} failed:\n{said[-3000:]}")


@functools.cache
def _printed() -> dict[str, dict[str, str] | ModuleNotFoundError]:
    """What every cell of every framework printed; for a framework that is not here, why."""
    folder, running = _workshop(), {}
    results: dict[str, dict[str, str] | ModuleNotFoundError] = {}
    for name in FRAMEWORKS.values():
        try:
            running[name] = _start(name, folder)
        except ModuleNotFoundError as error:
            results[name] = error
    for name, process in running.items():
        _finish(process)
        results[name] = json.loads((folder / f"{name}.printed.json").read_text(encoding="utf-8"))
    return results


def data_cell() -> str:
    """The cell that writes the data, with what it printed."""
    printed = json.loads((_workshop() / "data.printed.json").read_text(encoding="utf-8"))
    source = cells((FOLDER / "cells" / "data.py").read_text(encoding="utf-8"))["data"]
    return f"```python\n{source}```\n\n```text\n{printed['data']}```\n"


def tabs(cell: str, language: str = "en") -> str:
    """One cell in every framework, as tabs with its source and what it printed."""
    parts = []
    for label, name in FRAMEWORKS.items():
        source = cells((FOLDER / "cells" / f"{name}.py").read_text(encoding="utf-8"))[cell]
        printed = _printed()[name]
        text = printed[cell] if isinstance(printed, dict) else NO_MXNET[language].format(error=printed) + "\n"
        body = f"```python\n{source}```\n\n```text\n{text}```\n"
        parts.append(f'=== "{label}"\n\n' + "".join(f"    {line}".rstrip() + "\n" for line in body.splitlines()))
    return "\n".join(parts)


def loops_picture(labels: tuple[str, str, str] = ("as plotted", "epoch", "learning rate")) -> str:
    """The rates that the chapter's three editions really use, epoch by epoch, beside what their plots show."""
    plotted, epoch, rate = labels
    _printed()
    figure = Figure(figsize=(7.6, 6.4), layout="constrained")
    axes = figure.subplots(3, 1, sharex=True)
    lines = []
    for ax, name in zip(axes, ("square root", "multi-factor", "cosine with warmup"), strict=True):
        lines = [draw_steps(ax, schedules()[name].child.values(30), 0, linewidth=4, alpha=0.35)]
        for i, label in enumerate(_editions(), start=1):
            values = json.loads((_workshop() / f"{FRAMEWORKS[label]}.json").read_text(encoding="utf-8"))[name]
            lines.append(draw_steps(ax, np.array(values), i))
        ax.set_title(name, loc="left", color=INK, fontsize=10)
        ax.set_ylabel(rate, color=INK)
        ax.set_xlim(0, 30)
        ax.set_ylim(bottom=0)
        tidy(ax)
    axes[-1].set_xlabel(epoch, color=INK)
    legend(figure, lines, [plotted, *_editions()], loc="outside upper center", ncols=4)
    return svg(Picture(figure, axes[0]))


def _editions() -> list[str]:
    return [label for label in ("PyTorch", "TensorFlow", "MXNet") if isinstance(_printed()[FRAMEWORKS[label]], dict)]


@functools.cache
def _compared():
    return compare(schedules(), epochs=20, seeds=1, jobs=2)


def compared_picture() -> str:
    """The chapter's set on digits, 20 epochs, one seed."""
    figure = overview(_compared())
    return svg(Picture(figure, figure.axes[0]))


def compared_table(headings: tuple[str, ...]) -> str:
    """Its figures, as a Markdown table."""
    rows = ["| " + " | ".join(headings) + " |", "| --- | --- | --- | --- | --- |"]
    for row in _compared().summary():
        figures = (row.train_loss, row.train_accuracy, row.test_accuracy, row.gap)
        cells_ = ["-" if figure is None else f"{figure.mean:.3f}" for figure in figures]
        rows.append(f"| {row.name} | " + " | ".join(cells_) + " |")
    return "\n".join(rows)


def shifted_table(headings: tuple[str, str, str]) -> str:
    """The rates of the first epochs as the chapter plots them, and as its PyTorch loop used them."""
    rows = ["| " + " | ".join(headings) + " |", "| --- | --- | --- |"]
    for name, schedule in schedules().items():
        if name == "factor":
            continue
        texts = [" ".join(f"{v:.3g}" for v in s.child.values(6)) for s in (schedule, as_published()[name])]
        rows.append(f"| {name} | {texts[0]} … | {texts[1]} … |")
    return "\n".join(rows)
