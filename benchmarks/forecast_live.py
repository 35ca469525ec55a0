"""What a training waits for when its ending is forecast beside it, and how long an ending of 1,000 rows takes.

A training of 1,000 updates of a torch model on one thread, three times: without a forecast, with `LiveEnding` told each update,
and with `ending` in a thread of the training's own process instead. Then an ending of 1,000 rows, with its rolling test and the
shipped past runs, in a fresh process: the first, and later ones.

    OMP_NUM_THREADS=1 python benchmarks/forecast_live.py
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import laju
from laju.forecast import LiveEnding, ending

UPDATES, TOTAL = 1000, 1200
RUN = laju.wsd(0.3, total=TOTAL, cooldown=400, warmup=30)
LATER = """
import time, numpy as np
from benchmarks.forecast_live import RUN, curve
from laju.forecast import ending
at, loss = curve()
for n in (len(at), len(at) - 1, len(at) - 7, len(at) - 100):
    began = time.perf_counter()
    ending(at[:n], loss[:n], RUN)
    print(time.perf_counter() - began)
"""


def curve() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rates, at = RUN.values(TOTAL + 1), np.arange(1, UPDATES + 1)
    loss = 3 + 0.7 * (np.cumsum(rates)[at - 1] / 10 + 0.1) ** -0.4 - 0.25 * (1 - rates[at] / 0.3)
    return at, loss * np.random.default_rng(0).normal(1, 5e-4, len(at))


def train(tell: Callable[[int, float], Any] | None) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Milliseconds of each update, and of these what it waited for in `tell`."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = torch.nn.Sequential(*[layer for _ in range(12) for layer in (torch.nn.Linear(128, 128), torch.nn.ReLU())])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    x, (_, loss) = torch.randn(256, 128), curve()
    whole, waited = np.zeros(UPDATES), np.zeros(UPDATES)
    for i in range(UPDATES):
        began = time.perf_counter()
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
        before = time.perf_counter()
        if tell is not None:
            tell(i + 1, float(loss[i]))
        after = time.perf_counter()
        whole[i], waited[i] = 1000 * (after - began), 1000 * (after - before)
    return whole, waited


class InThread:
    """An ending at a time in a thread of this process."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, float]] = []
        self.thread: threading.Thread | None = None

    def add(self, update: int, loss: float) -> None:
        self.rows.append((update, loss))
        if len(self.rows) >= 5 and (self.thread is None or not self.thread.is_alive()):
            at, losses = map(np.array, zip(*self.rows, strict=True))
            self.thread = threading.Thread(target=ending, args=(at, losses, RUN))
            self.thread.start()


def main() -> None:
    print(
        "| update | median ms | 99 % ms | worst ms | waits, median ms | waits, worst ms |\n| --- | --- | --- | --- | --- | --- |"
    )
    train(None)
    rows: dict[str, tuple[Any, Any]] = {"without a forecast": train(None)}
    live = LiveEnding(RUN)

    def tell(update: int, loss: float) -> None:
        live.add(update, loss)
        live.figures()

    rows["with `LiveEnding`"] = train(tell)
    answers, row = live._process.begun, live.row
    live.close()
    inside = InThread()
    rows["with `ending` in a thread"] = train(inside.add)
    if inside.thread is not None:
        inside.thread.join()
    for name, (whole, waited) in rows.items():
        at = f"{np.median(whole):.2f} | {np.quantile(whole, 0.99):.2f} | {whole.max():.1f}"
        print(f"| {name} | {at} | {np.median(waited):.3f} | {waited.max():.2f} |")
    print(
        f"\n{answers} forecasts in {rows['with `LiveEnding`'][0].sum() / 1000:.1f} s; the last answer is of update {row}."
    )
    done = subprocess.run([sys.executable, "-c", LATER], capture_output=True, text=True, check=True)
    first, *later = (float(line) for line in done.stdout.split())
    print(
        f"An ending of 1,000 rows: {first:.2f} s the first time in a process, then {', '.join(f'{s:.2f}' for s in later)} s."
    )


if __name__ == "__main__":
    main()
