"""What a cluster's machinery costs a trial: Ray and Dask beside this machine's own worker processes, with the same tiny trials.

A tiny trial makes four updates of a linear model. Each place has two workers on this machine, which have run before they are
measured. What is measured is the whole of `compare`, from call to return, over the number of trials, and by how much the driver's
memory has grown in all of them.

    python benchmarks/cluster.py [--trials 100] [--repeats 3]
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from pathlib import Path

import psutil

from laju import constant
from laju.lab import Execution, compare


def seconds(trials: int, **where: object) -> float:
    """Seconds per trial."""
    from lab_overhead import Tiny

    schedules = {f"constant {i}": constant(0.1 + i * 1e-4) for i in range(-(-trials // 4))}
    begin = time.perf_counter()
    result = compare(schedules, Tiny(), epochs=1, seeds=4, execution=Execution(**where))
    return (time.perf_counter() - begin) / len(result.outcomes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    places: dict[str, dict[str, object]] = {"worker processes": {"jobs": 2}}
    for name, package in (("ray", "ray"), ("dask", "distributed")):
        if importlib.util.find_spec(package) is None:
            print(f'{name} is left out: pip install "laju[{name}]"')
        else:
            places[name] = {"on": name, "jobs": 2}
    for where in places.values():
        seconds(8, **where)
    found: dict[str, list[float]] = {name: [] for name in places}
    grown = dict.fromkeys(places, 0)
    process = psutil.Process()
    for _ in range(options.repeats):
        for name, where in places.items():
            before = process.memory_info().rss
            found[name].append(seconds(options.trials, **where))
            grown[name] += process.memory_info().rss - before
    own = found["worker processes"]
    print(f"{options.trials} tiny trials, two at once: milliseconds per trial, the whole comparison")
    for name, each in found.items():
        ratio = statistics.median(a / b for a, b in zip(each, own, strict=True))
        memory = grown[name] / 1024 / (options.repeats * options.trials)
        print(f"  {name:18} {1e3 * statistics.median(each):7.1f} ms  {ratio:5.1f}×  driver {memory:6.1f} KB a trial")


if __name__ == "__main__":
    import sys

    # Workers import these files by their names to find the task.
    sys.path.insert(0, str(Path(__file__).parent))
    from cluster import main as run

    run()
