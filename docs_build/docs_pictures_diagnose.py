"""Pictures and commands of the page about rates that look wrong: a log for each cause, made from one schedule."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import docs_pictures
import matplotlib.pyplot as plt
import numpy as np
from docs_pictures import svg

import laju

MEANT = laju.cosine(1e-3, total=1000, final=1e-4, warmup=100)
T = np.arange(1000)

LOGS = {
    "counted": MEANT(2 * T),
    "epoch": MEANT(T // 20),
    "behind": np.where(T < 300, MEANT(T), MEANT(np.maximum(T - 40, 0))),
    "restart": np.where(T < 600, MEANT(T), MEANT(np.maximum(T - 600, 0))),
    "total": laju.cosine(1e-3, total=1600, final=1e-4, warmup=100)(T),
    "climb": laju.cosine(1e-3, total=1000, warmup=100)(1000 - np.abs(np.arange(1400) - 1000)),
    "scale": 2 * MEANT(T),
    "floor": np.where(T < 100, 0.2 * MEANT(T), 1e-4 + 1e-4 / 9e-4 * (MEANT(T) - 1e-4)),
}


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory()
    for name, rates in LOGS.items():
        rows = [f"{t},{float(rates[t])!r}" for t in range(0, len(rates), 10)]
        Path(folder.name, f"{name}.csv").write_text("\n".join(["step,lr", *rows, ""]), encoding="utf-8")
    return folder


def picture(name: str) -> str:
    """The rates of a log over those that were meant."""
    rates = LOGS[name]
    meant = laju.cosine(1e-3, total=1000, warmup=100) if name == "climb" else MEANT
    figure, axes = plt.subplots(figsize=(7.2, 2.2))
    axes.plot(meant.values(len(rates)), color="0.6", label="meant", linewidth=2)
    axes.plot(rates, color="#d1495b", label="logged")
    axes.set(xlabel="update", ylabel="rate")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    plt.close(figure)

    class Drawn:
        pass

    drawn = Drawn()
    drawn.figure = figure  # type: ignore[attr-defined]
    return svg(drawn)


def command(text: str) -> str:
    """A command, run in the folder of the logs, and what it prints."""
    return docs_pictures.command(text, _folder().name)
