"""Why `laju study overfitting` evaluates training losses, and does not take those on record.

A recorded training loss is the mean over an epoch, in which the weights move; test figures are of the weights at the epoch's end.
Differences to the constant rate at equal training loss are computed twice: from the losses of the very weights that were tested,
as the study does it, and from the records, where test figures are the means of those at the beginning and end of an epoch.

    python benchmarks/matched_loss.py [--task fashion-mnist] [--data-dir FOLDER] [--epochs 30] [--seeds 5] [--jobs 2]
"""

from __future__ import annotations

import argparse
import statistics
from itertools import pairwise

import numpy as np

from laju import constant
from laju.lab import Outcome, Trial
from laju.lab.trials.tasks import get_task
from laju.lab.workers import Execution
from laju.studies.equal_loss import REFERENCE, Curve, Point, matched
from laju.studies.instrumented import run_instrumented
from laju.studies.overfitting import FALLING, PEAK, RECIPE, curve, watch


def recorded(outcome: Outcome) -> Curve:
    """A run's test figures, as means over each epoch but the first, by its recorded training losses."""
    ends = [record for record in outcome.records if record.test_accuracy is not None]
    points = []
    for before, after in pairwise(ends):
        tested = np.mean([(r.test_accuracy, r.test_loss) for r in (before, after)], axis=0)
        points.append(Point((before.epoch + after.epoch) / 2, after.train_accuracy, *map(float, tested)))
    return Curve([record.train_loss for record in ends[1:]], points)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--task", default="fashion-mnist")
    parser.add_argument("--data-dir")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--store", help="of the study, whose trainings are then not run again")
    options = parser.parse_args()
    task, seeds = get_task(options.task, options.data_dir), tuple(range(options.seeds))
    trials = {
        (name, seed): Trial(task, schedule, seed, options.epochs, task.batch_size)
        for name, schedule in {REFERENCE: constant(PEAK), **FALLING}.items()
        for seed in seeds
    }
    found = run_instrumented(
        watch,
        {key: (trial,) for key, trial in trials.items()},
        recipe=RECIPE,
        execution=Execution(jobs=options.jobs),
        store=options.store,
    )
    finished = {key: both for key, both in found.items() if both[0].status == "finished"}
    last = task.train_size % task.batch_size or task.batch_size
    print(
        f"{task.name}, {options.epochs} epochs, {options.seeds} seeds; the last minibatch of an epoch has {last} examples"
    )
    print("recorded training loss / loss of all training examples at the end of the epoch, median from epoch 5 on:")
    for name in (REFERENCE, *FALLING):
        ratios = []
        for seed in seeds:
            outcome, ends = finished.get((name, seed), (None, []))
            records = [r for r in outcome.records if r.test_accuracy is not None] if outcome else []
            ratios += [r.train_loss / loss for r, (loss, _) in list(zip(records, ends, strict=True))[4:]]
        print(f"  {name:13} {statistics.median(ratios):.2f}")
    print("difference to the constant rate at the lowest training loss that both runs of a seed reach:")
    ways = {
        "evaluated": {key: curve(*both) for key, both in finished.items()},
        "records": {key: recorded(outcome) for key, (outcome, _) in finished.items()},
    }
    for name in FALLING:
        for way, curves in ways.items():
            row = matched(name, seeds, curves, len(FALLING), task.resolution)
            assert row.accuracy is not None
            assert row.loss is not None
            print(
                f"  {name:13} {way:10} training loss {statistics.mean(p.loss for p in row.pairs):.3f}: test accuracy "
                f"{row.accuracy.text(signed=True)}, test loss {row.loss.text(signed=True)}"
            )


if __name__ == "__main__":
    main()
