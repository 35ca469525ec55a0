"""The chapter's tutorial: its cells, run in four frameworks while the site is built, and its pictures and tables.

Each framework's cells are one file in `cells`, run from top to bottom in a process of its own: Keras has one backend a
process, and MXNet needs an environment of its own. What is shown is the source of a cell, and what it printed. Pictures and
tables are in the page's language, "en" or "id", with decimal commas in the latter; code and what code printed are not touched.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import Future
from pathlib import Path

import numpy as np
from docs_pictures import svg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import PercentFormatter, ScalarFormatter
from run_cells import cells

import laju
from laju.dialects import d2l
from laju.lab import compare
from laju.lab.engines.mxnet import interpreter
from laju.lab.report.figures import overview
from laju.studies.chapter import TABS, schedules
from laju.view.plot import INK, Picture, draw_steps, legend, plot, tidy

FOLDER = Path(__file__).parent
FRAMEWORKS = {"PyTorch": "pytorch", "TensorFlow": "tensorflow", "JAX": "jax", "MXNet": "mxnet"}

RAN = {
    "en": "The cells below were run in {here} when this page was built.",
    "id": "Sel-sel di bawah ini benar-benar dijalankan dengan {here} saat halaman ini dibuat.",
}
NOT_RUN = {
    "en": "This site was built where there is no {name}, so this cell was not run: {error}",
    "id": "Situs ini dibangun tanpa {name}, jadi sel ini tidak dijalankan: {error}",
}
MISSING = {
    "en": "Those in {missing} were not: it was not installed there.",
    "id": "Sel untuk {missing} tidak dijalankan karena pustakanya tidak terpasang.",
}
IN_INDONESIAN = {
    "and": "dan",
    "learning rate": "laju pembelajaran",
    "Learning rate": "Laju pembelajaran",
    "Training loss": "Galat latih",
    "Training accuracy": "Akurasi latih",
    "Test accuracy": "Akurasi uji",
    "constant": "tetap",
    "square root": "akar kuadrat",
    "factor": "faktor",
    "multi-factor": "multifaktor",
    "cosine": "kosinus",
    "cosine with warmup": "kosinus dengan pemanasan",
    "cosine, warmup 5": "kosinus, pemanasan 5",
    "square root, warmup 5": "akar kuadrat, pemanasan 5",
    "as plotted": "seperti di grafik buku",
    "the book's FactorScheduler": "FactorScheduler di buku",
    "its second plot": "grafiknya yang kedua",
    "a trial that collapsed": "pelatihan yang runtuh",
    "a trial that diverged": "pelatihan yang divergen",
    "schedule": "jadwal",
    "train loss": "galat latih",
    "train accuracy": "akurasi latih",
    "test accuracy": "akurasi uji",
    "gap": "selisih",
    "as its PyTorch loop trains": "yang dipakai kode PyTorch-nya",
}
"""What pictures and tables say, as the Indonesian page says it."""
POLICIES = {
    "square-root": (30, {f"square_root({base})": laju.square_root(base) for base in (0.1, 0.3)}),
    "factor": (
        50,
        {
            "factor(2, 0.9, floor=0.01)": laju.factor(2, 0.9, floor=0.01),
            "the book's FactorScheduler": d2l.FactorScheduler(factor=0.9, stop_factor_lr=1e-2, base_lr=2.0),
            "its second plot": d2l.FactorScheduler(factor=0.9, stop_factor_lr=1e-2, base_lr=2.0, plotted=50),
        },
    ),
    "multi-factor": (40, {"multi_factor(0.5, [15, 30], 0.5)": laju.multi_factor(0.5, [15, 30], 0.5)}),
    "cosine": (30, {"cosine(0.3, total=20, final=0.01)": laju.cosine(0.3, total=20, final=0.01)}),
    "warmup": (
        30,
        {
            "cosine, warmup 5": laju.cosine(0.3, total=20, final=0.01, warmup=5),
            "square root, warmup 5": laju.warmup(laju.square_root(0.3), 5),
        },
    ),
}
"""The policies that the pages draw: over how many epochs, and the schedules by what the legend calls them."""


def _word(text: str, language: str) -> str:
    return IN_INDONESIAN.get(text, text) if language == "id" else text


def _decimal(text: str, language: str) -> str:
    """A figure as the language writes it."""
    return text.replace(".", ",") if language == "id" else text


class _Commas(ScalarFormatter):
    def __call__(self, x: float, pos: int | None = None) -> str:
        return _decimal(super().__call__(x, pos), "id")


def _separator(language: str) -> str:
    """What stands between two figures: not a comma where a comma is inside them."""
    return "; " if language == "id" else ", "


def _drawn(figure: Figure, language: str) -> str:
    """A figure as HTML, in the language of the page."""
    if language != "en":
        for text in figure.findobj(Text):
            text.set_text(_word(text.get_text(), language))
        for ax in figure.axes:
            for axis in (ax.xaxis, ax.yaxis):
                if not isinstance(axis.get_major_formatter(), PercentFormatter):
                    axis.set_major_formatter(_Commas())
    return svg(Picture(figure, figure.axes[0]))


def policy(name: str, language: str = "en") -> str:
    """One of the policies, drawn by epoch."""
    epochs, named = POLICIES[name]
    figure = plot(named, epochs).figure
    figure.set_size_inches(7.2, 3.0)
    figure.axes[0].set_xlabel("epoch", color=INK)
    return _drawn(figure, language)


class _Background:
    """What the pages show of trainings, run one after another in processes beside the one that writes the pages."""

    def __init__(self) -> None:
        folder = tempfile.TemporaryDirectory()
        atexit.register(folder.cleanup)
        self.folder = Path(folder.name)
        self._finished: dict[str, Future[None]] = {
            name: Future() for name in ("data", *FRAMEWORKS.values(), "compared")
        }
        self._process: subprocess.Popen[str] | None = None
        atexit.register(lambda: self._process is not None and self._process.kill())
        threading.Thread(target=self._work, daemon=True).start()

    def wait(self, name: str) -> None:
        """Return when the process has ended.

        Raises:
            ModuleNotFoundError: the framework is not here.
            RuntimeError: the process failed.
        """
        self._finished[name].result()

    def _work(self) -> None:
        for name, finished in self._finished.items():
            try:
                self._run(name)
            except Exception as error:
                finished.set_exception(error)
            else:
                finished.set_result(None)

    def _run(self, name: str) -> None:
        python = interpreter() if name == "mxnet" else sys.executable
        what = [str(FOLDER / "run_cells.py"), str(FOLDER / "cells" / f"{name}.py"), f"{name}.printed.json"]
        if name == "compared":
            what = ["-c", "from docs_pictures_chapter import compared; compared('compared.sqlite')"]
        ones = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
        path = {"PYTHONPATH": os.pathsep.join(sys.path)} if name != "mxnet" else {}
        self._process = subprocess.Popen(
            [python, *what],
            cwd=self.folder,
            env=os.environ | ones | path | {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        told, _ = self._process.communicate()
        if self._process.returncode:
            raise RuntimeError(f"{name} failed:\n{told[-3000:]}")


start = functools.cache(_Background)


@functools.cache
def _printed() -> dict[str, dict[str, str] | ModuleNotFoundError]:
    """What every cell of every framework printed; for a framework that is not here, why."""
    results: dict[str, dict[str, str] | ModuleNotFoundError] = {}
    for name in FRAMEWORKS.values():
        try:
            start().wait(name)
            results[name] = json.loads((start().folder / f"{name}.printed.json").read_text(encoding="utf-8"))
        except ModuleNotFoundError as error:
            results[name] = error
    return results


def data_cell() -> str:
    """The cell that writes the data, with what it printed."""
    start().wait("data")
    printed = json.loads((start().folder / "data.printed.json").read_text(encoding="utf-8"))
    source = cells((FOLDER / "cells" / "data.py").read_text(encoding="utf-8"))["data"]
    return f"```python\n{source}```\n\n```text\n{printed['data']}```\n"


def tabs(cell: str, language: str = "en") -> str:
    """One cell in every framework, as tabs with its source and what it printed."""
    parts = []
    for label, name in FRAMEWORKS.items():
        source = cells((FOLDER / "cells" / f"{name}.py").read_text(encoding="utf-8"))[cell]
        printed = _printed()[name]
        text = (
            printed[cell] if isinstance(printed, dict) else NOT_RUN[language].format(name=label, error=printed) + "\n"
        )
        body = f"```python\n{source}```\n\n```text\n{text}```\n"
        parts.append(f'=== "{label}"\n\n' + "".join(f"    {line}".rstrip() + "\n" for line in body.splitlines()))
    return "\n".join(parts)


def ran(language: str = "en") -> str:
    """The sentence that says in which frameworks the cells were run."""
    here = [label for label, name in FRAMEWORKS.items() if isinstance(_printed()[name], dict)]
    missing = [label for label in FRAMEWORKS if label not in here]
    sentence = RAN[language].format(here=_listed(here, language))
    return f"{sentence} {MISSING[language].format(missing=_listed(missing, language))}" if missing else sentence


def _listed(names: list[str], language: str) -> str:
    """A, B, and C."""
    if len(names) < 2:
        return "".join(names)
    comma = "," if len(names) > 2 else ""
    return f"{', '.join(names[:-1])}{comma} {_word('and', language)} {names[-1]}"


def loops_picture(language: str = "en") -> str:
    """The rates that the chapter's three tabs really use, epoch by epoch, beside what their plots show."""
    _printed()
    figure = Figure(figsize=(7.6, 6.4), layout="constrained")
    axes = figure.subplots(3, 1, sharex=True)
    lines = []
    for ax, name in zip(axes, ("square root", "multi-factor", "cosine with warmup"), strict=True):
        lines = [draw_steps(ax, schedules()[name].child.values(30), 0, linewidth=4, alpha=0.35)]
        for i, label in enumerate(_tabs(), start=1):
            values = json.loads((start().folder / f"{FRAMEWORKS[label]}.json").read_text(encoding="utf-8"))[name]
            lines.append(draw_steps(ax, np.array(values), i))
        ax.set_title(name, loc="left", color=INK, fontsize=10)
        ax.set_ylabel("learning rate", color=INK)
        ax.set_xlim(0, 30)
        ax.set_ylim(bottom=0)
        tidy(ax)
    axes[-1].set_xlabel("epoch", color=INK)
    legend(figure, lines, ["as plotted", *_tabs()], loc="outside upper center", ncols=4)
    return _drawn(figure, language)


def _tabs() -> list[str]:
    return [label for label in ("PyTorch", "TensorFlow", "MXNet") if isinstance(_printed()[FRAMEWORKS[label]], dict)]


@functools.cache
def compared(store: str | Path):
    """The chapter's set on digits, 20 epochs, one seed."""
    return compare(schedules(), epochs=20, seeds=1, jobs=1, store=store)


def _compared():
    start().wait("compared")
    return compared(start().folder / "compared.sqlite")


def compared_picture(language: str = "en") -> str:
    """The chapter's set on digits, 20 epochs, one seed."""
    return _drawn(overview(_compared()), language)


def compared_table(language: str = "en") -> str:
    """Its figures, as a Markdown table."""
    rows = [
        _row(("schedule", "train loss", "train accuracy", "test accuracy", "gap"), language),
        "| --- |" + " --- |" * 4,
    ]
    for row in _compared().summary():
        figures = (row.train_loss, row.train_accuracy, row.test_accuracy, row.gap)
        texts = ["-" if figure is None else f"{figure.mean:.3f}" for figure in figures]
        rows.append(_row((row.name, *(_decimal(text, language) for text in texts)), language))
    return "\n".join(rows)


def shifted_table(language: str = "en") -> str:
    """The rates of the first epochs as the chapter plots them, and as its PyTorch loop used them."""
    rows = [_row(("schedule", "as plotted", "as its PyTorch loop trains"), language), "| --- |" + " --- |" * 2]
    text = schedules()
    for name, used in TABS["pytorch"].rates().items():
        texts = [
            _separator(language).join(_decimal(f"{v:.3g}", language) for v in s.child.values(6)) + " …"
            for s in (text[name], used)
        ]
        rows.append(_row((name, *texts), language))
    return "\n".join(rows)


def _row(cells: tuple[str, ...], language: str) -> str:
    return "| " + " | ".join(_word(cell, language) for cell in cells) + " |"


def published_table(language: str = "en") -> str:
    """The figures that the chapter's tabs publish, one run each."""
    rows = [
        _row(("tab", "schedule", "train loss", "train accuracy", "test accuracy"), language),
        "| --- |" + " --- |" * 4,
    ]
    for tab in TABS.values():
        for name, published in tab.published.items():
            texts = (_decimal(f"{figure:.3f}", language) for figure in vars(published).values())
            rows.append(_row((tab.title, name, *texts), language))
    return "\n".join(rows)
