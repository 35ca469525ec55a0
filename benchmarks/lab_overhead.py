"""What the lab itself costs: seconds and memory per trial from 1 to 1,000 tiny trials, and what a second core gives.

A tiny trial makes four updates of a linear model. What is measured is the whole of `compare` with a store in a file, from call to
return, less the seconds that the trials say they trained; once in this process and once in worker processes. Then one real
comparison with one job and with two.

    python benchmarks/lab_overhead.py [--repeats 3] [--most 1000]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import joblib
import numpy as np
import psutil
import torch

from laju import constant
from laju.lab import Data, Task, compare


class Tiny(Task):
    """Which side of a line? 256 points, which are 4 updates an epoch."""

    name = "tiny"

    def load(self) -> Data:
        points = np.random.default_rng(0).normal(size=(320, 2)).astype(np.float32)
        sides = (points.sum(axis=1) > 0).astype(np.int64)
        return Data(points[:256], sides[:256], points[256:], sides[256:], classes=2)

    def model(self, seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        return torch.nn.Linear(2, 2)


def cost(trials: int, jobs: int) -> tuple[float, float]:
    """Seconds per trial that are the lab's own, and kilobytes by which the driver has grown per trial."""
    schedules = {f"constant {i}": constant(0.1 + i * 1e-4) for i in range(-(-trials // 4))}
    process = psutil.Process()
    with tempfile.TemporaryDirectory() as folder:
        before, begin = process.memory_info().rss, time.perf_counter()
        result = compare(
            schedules, Tiny(), epochs=1, seeds=min(trials, 4), jobs=jobs, store=Path(folder) / "store.sqlite"
        )
        seconds = time.perf_counter() - begin
    trained = sum(outcome.seconds for outcome in result.outcomes.values()) / min(jobs, len(result.outcomes))
    grown = (process.memory_info().rss - before) / 1024
    return (seconds - trained) / len(result.outcomes), grown / len(result.outcomes)


def digits(jobs: int) -> float:
    """Seconds of six trials of the digits task."""
    begin = time.perf_counter()
    compare({"a": 0.1, "b": 0.05}, "digits", epochs=20, seeds=3, jobs=jobs)
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--most", type=int, default=1000)
    options = parser.parse_args()
    cores = joblib.cpu_count()
    cost(4, 1), cost(8, cores), digits(cores)  # loads modules, starts workers
    print(f"the lab's own milliseconds per trial (its four updates left out), {cores} cores")
    print(f"{'trials':>8} {'in this process':>17} {f'{cores} workers':>12} {'driver, KB a trial':>20}")
    counts = [n for n in (1, 4, 12, 40, 100, 400, 1000) if n <= options.most]
    for n in counts:
        repeats = options.repeats if n <= 100 else 1
        here = [cost(n, 1) for _ in range(repeats)]
        workers = [cost(n, cores)[0] for _ in range(repeats)]
        print(
            f"{n:8} {1e3 * statistics.median(c for c, _ in here):14.1f} ms {1e3 * statistics.median(workers):9.1f} ms "
            f"{statistics.median(kb for _, kb in here):17.0f}",
            flush=True,
        )
    pairs = [(digits(1), digits(cores)) for _ in range(options.repeats)]
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"\nsix trials of the digits task: {cores} jobs are {ratio:.2f}× as fast as one")


if __name__ == "__main__":
    import sys

    # Workers import this file by its name to find the task.
    sys.path.insert(0, str(Path(__file__).parent))
    from lab_overhead import main as run

    run()
