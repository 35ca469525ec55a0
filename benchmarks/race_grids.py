"""Train the grids that `race_replay.py` replays: every schedule and seed in whole runs, and compressed to a half and a quarter.

The tasks are the digits of scikit-learn and Fashion-MNIST, each with the chapter's LeNet and with a small network of one hidden
layer. The table that is written has a row for each schedule and each of five figures: after whole runs ("8 of 8" epochs), after
runs of a half and a quarter with the schedule compressed to them ("4 of 4"), and on the way of the whole runs ("4 of 8"). Each
figure is how many test images each seed has right, or -1 for a trial that diverged or collapsed.

    python benchmarks/race_grids.py FOLDER-OF-FASHION-MNIST --store grids.sqlite --to tests/lab/race-grids.csv
"""

from __future__ import annotations

import argparse
import csv
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

import laju
from laju.core.pieces import Table
from laju.core.schedule import Schedule
from laju.forecast import ending
from laju.lab import Optimizer, Outcome, Task, Trial, run_trials
from laju.lab.store.curves import stretches
from laju.lab.trials.tasks.digits import Digits
from laju.lab.trials.tasks.fashion_mnist import FashionMNIST
from laju.studies import chapter

SEEDS = 12
HIDDEN = 32


def one_hidden_layer(seed: int) -> torch.nn.Module:
    """784 inputs, a hidden layer of 32 units and 10 outputs, with torch's default weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(784, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, 10)
        )


@dataclass(frozen=True)
class SmallDigits(Digits):
    def model(self, seed: int) -> torch.nn.Module:
        return one_hidden_layer(seed)


@dataclass(frozen=True)
class SmallFashion(FashionMNIST):
    def model(self, seed: int) -> torch.nn.Module:
        return one_hidden_layer(seed)


SGD, MOMENTUM = Optimizer(), Optimizer(momentum=0.9)


@dataclass(frozen=True)
class Grid:
    task: str
    epochs: int
    schedules: dict[str, Schedule]
    optimizer: Optimizer = SGD


def cosines(*peaks: float) -> dict[str, Schedule]:
    return {f"cosine {p:g}": laju.cosine(p, total="100%") for p in peaks}


def constants(*values: float) -> dict[str, Schedule]:
    return {f"constant {v:g}": laju.constant(v) for v in values}


def cooldowns(peak: float, *shares: int) -> dict[str, Schedule]:
    return {f"cooldown {s} %": laju.wsd(peak, total="100%", warmup=0, cooldown=f"{s}%") for s in shares} | {
        "no cooldown": laju.constant(peak)
    }


def stable(*peaks: float) -> dict[str, Schedule]:
    return {f"wsd {p:g}": laju.wsd(p, total="100%", warmup="5%", cooldown="20%") for p in peaks}


def warmups(peak: float, *shares: int) -> dict[str, Schedule]:
    return {f"warmup {s} %": laju.cosine(peak, total="100%", warmup=f"{s}%") for s in shares}


def shapes(peak: float) -> dict[str, Schedule]:
    return {
        "constant": laju.constant(peak),
        "cosine": laju.cosine(peak, total="100%"),
        "linear": laju.linear(peak, 0, total="100%"),
        "square": laju.poly(peak, total="100%", power=2),
        "late": laju.wsd(peak, total="100%", warmup=0, cooldown="10%"),
        "warmup": laju.cosine(peak, total="100%", warmup="20%"),
    }


def mixed(*peaks: float) -> dict[str, Schedule]:
    kinds: dict[str, Callable[[float], Schedule]] = {
        "cosine": lambda p: laju.cosine(p, total="100%"),
        "linear": lambda p: laju.linear(p, 0, total="100%"),
        "wsd": lambda p: laju.wsd(p, total="100%", warmup="5%", cooldown="20%"),
    }
    return {f"{kind} {p:g}": make(p) for kind, make in kinds.items() for p in peaks}


GRIDS = {
    "chapter, small, digits": Grid("small digits", 10, chapter.schedules()),
    "chapter, small, fashion": Grid("small fashion", 10, chapter.schedules()),
    "cooldowns, small, digits": Grid("small digits", 10, cooldowns(0.3, 5, 10, 20, 40, 80)),
    "cooldowns, small, fashion": Grid("small fashion", 8, cooldowns(0.3, 5, 10, 20, 40, 80)),
    "cosines, small, digits": Grid("small digits", 10, cosines(0.01, 0.03, 0.1, 0.3, 1, 3)),
    "cosines, small, fashion": Grid("small fashion", 8, cosines(0.01, 0.03, 0.1, 0.3, 1, 3)),
    "near cosines, small, fashion": Grid("small fashion", 8, cosines(0.1, 0.15, 0.2, 0.3, 0.4, 0.5)),
    "wsd, small, digits": Grid("small digits", 12, stable(0.02, 0.05, 0.1, 0.2, 0.5, 1)),
    "wsd, momentum, small, fashion": Grid("small fashion", 8, stable(0.003, 0.01, 0.03, 0.1, 0.2), MOMENTUM),
    "constants, small, digits": Grid("small digits", 8, constants(0.01, 0.03, 0.1, 0.3, 1)),
    "constants, small, fashion": Grid("small fashion", 8, constants(0.01, 0.03, 0.1, 0.3, 1)),
    "warmups, momentum, small, digits": Grid("small digits", 8, warmups(0.1, 0, 5, 10, 20, 40), MOMENTUM),
    "shapes, momentum, small, digits": Grid("small digits", 8, shapes(0.05), MOMENTUM),
    "shapes, small, fashion": Grid("small fashion", 8, shapes(0.5)),
    "mixed, small, digits": Grid("small digits", 8, mixed(0.05, 0.2, 0.8)),
    "mixed, small, fashion": Grid("small fashion", 8, mixed(0.05, 0.2, 0.8)),
    "chapter, LeNet, digits": Grid("digits", 10, chapter.schedules()),
    "chapter, LeNet, fashion": Grid("fashion", 8, chapter.schedules()),
    "cooldowns, LeNet, digits": Grid("digits", 8, cooldowns(0.3, 10, 20, 40, 80)),
    "cosines, LeNet, digits": Grid("digits", 8, cosines(0.05, 0.1, 0.2, 0.4, 0.8)),
}


def compressed(schedule: Schedule, plan: laju.RunPlan, epochs: int) -> Schedule:
    """A schedule of the whole run compressed to fewer epochs: with T updates then and n now, update t has the rate s(t T / n)."""
    if epochs == plan.epochs:
        return schedule
    resolved = schedule.resolve(plan)
    updates, n = plan.updates, replace(plan, epochs=epochs).updates
    values = np.array([float(resolved(t * updates / n)) for t in range(n)])
    stretched = resolved.stretch(n / updates)
    close = np.allclose(stretched.values(n), values, rtol=1e-9, atol=1e-12 * float(np.abs(values).max()))
    return stretched if close else Table(tuple(values.tolist()))


def right(outcome: Outcome, epochs: int, images: int) -> int:
    """Test images that are right after so many epochs; -1 for a trial that diverged or collapsed."""
    found = [r.test_accuracy for r in outcome.records if r.test_accuracy is not None and round(r.epoch) <= epochs]
    return round(images * found[-1]) if outcome.status == "finished" and found else -1


def forecast_ends(
    grid: Grid, plan: laju.RunPlan, outcomes: Mapping[tuple[str, int], Outcome], share: float
) -> list[float | None]:
    """Forecasts of the training loss of each schedule's first seed: half the band over the answer, None where refused."""
    found: list[float | None] = []
    for label, schedule in grid.schedules.items():
        if (outcome := outcomes[label, 0]).status == "finished":
            at, losses = stretches(outcome.records, plan.updates_per_epoch)
            seen = np.asarray(at) <= share * plan.updates
            rates = schedule.resolve(plan).values(plan.updates)
            told = ending(np.asarray(at)[seen], np.asarray(losses)[seen], rates, plan.updates)
            found.append(None if told.value is None else (told.high - told.low) / 2 / told.value)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fashion", type=Path, help="folder with Fashion-MNIST or a part of it")
    parser.add_argument("--store", required=True)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--only", help="a part of the names of the grids to train")
    options = parser.parse_args()
    tasks: dict[str, Task] = {
        "digits": Digits(),
        "small digits": SmallDigits(),
        "fashion": FashionMNIST(options.fashion),
        "small fashion": SmallFashion(options.fashion),
    }
    rows: list[list[str | int]] = []
    bands: dict[float, list[float | None]] = {0.5: [], 0.75: []}
    for name, grid in GRIDS.items():
        if options.only and options.only not in name:
            continue
        task = tasks[grid.task]
        plan = laju.RunPlan(samples=task.train_size, batch_size=64, epochs=grid.epochs)
        images = round(1 / task.resolution)
        lengths = (grid.epochs, grid.epochs // 2, grid.epochs // 4)
        for length in lengths:
            trials = {
                (label, seed): Trial(task, compressed(schedule, plan, length), seed, length, 64, grid.optimizer)
                for label, schedule in grid.schedules.items()
                for seed in range(SEEDS)
            }
            outcomes = run_trials(trials, jobs=1, store=options.store, display=False)
            if length == grid.epochs:
                for share, found in bands.items():
                    found += forecast_ends(grid, plan, outcomes, share)
            for label in grid.schedules:
                ends = [outcomes[label, seed] for seed in range(SEEDS)]
                for epochs in lengths if length == grid.epochs else (length,):
                    figures = [right(o, epochs, images) for o in ends]
                    rows.append([name, images, label, f"{epochs} of {length}", *figures])
        print(name, flush=True)
    with options.to.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["grid", "test images", "schedule", "epochs", *(f"seed {s}" for s in range(SEEDS))])
        writer.writerows(rows)
    for share, found in bands.items():
        told = [x for x in found if x is not None]
        width = f", the bands' half widths {statistics.median(told):.0%} (median)" if told else ""
        print(f"ends of training losses forecast at {share:.0%} of a run: {len(told)} of {len(found)} answered{width}")


if __name__ == "__main__":
    main()
