"""Whether `laju study overfitting` may read training losses from records, which are means over an epoch in which weights move.

The same trainings are evaluated on all training examples after every epoch, with the weights as they are. The differences in test
accuracy and test loss at matched training loss are then computed twice: from the records, as the study does it, and from these
losses and the test figures of the very same weights.

    python benchmarks/matched_loss.py [--task fashion-mnist] [--data-dir FOLDER] [--epochs 30] [--seeds 5] [--jobs 2]
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping

import numpy as np

from laju import constant
from laju.lab import Outcome, Trial
from laju.lab.engines.loop import run
from laju.lab.engines.torch import Training, one_thread_and_own_randomness
from laju.lab.tasks import get_task
from laju.studies.overfitting import FALLING, PEAK, REFERENCE, Curve, curve, descending, matched
from laju.studies.watched import run_watched


class Watched(Training):
    """Keeps the loss and accuracy on all training examples at the end of every epoch."""

    def __init__(self, trial: Trial) -> None:
        super().__init__(trial)
        self.exact: list[tuple[float, float]] = []

    def evaluate(self) -> tuple[float, float]:
        self.exact.append(self._evaluated(self.inputs, self.labels))
        return super().evaluate()


def watched(trial: Trial) -> tuple[Outcome, list[tuple[float, float]]]:
    """Train once; the outcome, and training loss and accuracy after every epoch."""
    with one_thread_and_own_randomness():
        training = Watched(trial)
        return run(trial, training), training.exact


def exactly(outcome: Outcome, exact: list[tuple[float, float]]) -> Curve:
    """The test figures of a run by the training loss of the same weights."""
    ends = [record for record in outcome.records if record.test_accuracy is not None]
    rows = [(e.epoch, right, e.test_accuracy, e.test_loss) for e, (_, right) in zip(ends, exact, strict=True)]
    return descending([loss for loss, _ in exact], np.array(rows, dtype=float))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--task", default="fashion-mnist")
    parser.add_argument("--data-dir")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int)
    options = parser.parse_args()
    task = get_task(options.task, options.data_dir)
    schedules = {REFERENCE: constant(PEAK), **FALLING}
    seeds = tuple(range(options.seeds))
    work = {
        (name, seed): (Trial(task, schedule, seed, options.epochs, task.batch_size),)
        for name, schedule in schedules.items()
        for seed in seeds
    }
    found = run_watched(watched, work, jobs=options.jobs)
    finished = {key: both for key, both in found.items() if both[0].status == "finished"}
    ways: Mapping[str, dict[tuple[str, int], Curve]] = {
        "records": {key: c for key, (outcome, _) in finished.items() if (c := curve(outcome.records)) is not None},
        "exact": {key: exactly(*both) for key, both in finished.items()},
    }
    print(
        f"{task.name}, {options.epochs} epochs, {options.seeds} seeds: recorded over exact training loss, median from epoch 5 on"
    )
    for name in schedules:
        ratios = [
            record.train_loss / loss
            for seed in seeds
            if (name, seed) in finished
            for record, (loss, _) in list(
                zip(
                    [r for r in finished[name, seed][0].records if r.test_accuracy is not None],
                    finished[name, seed][1],
                    strict=True,
                )
            )[4:]
        ]
        print(f"  {name:13} {statistics.median(ratios):.2f}")
    print("difference to the constant rate at the lowest training loss that both runs of a seed reach")
    for name in FALLING:
        for way, curves in ways.items():
            row = matched(name, seeds, curves, len(FALLING), task.resolution)
            assert row.accuracy is not None
            assert row.loss is not None
            level = statistics.mean(p.loss for p in row.pairs)
            print(
                f"  {name:13} {way:8} training loss {level:.3f}: test accuracy {row.accuracy.text(signed=True)}, "
                f"test loss {row.loss.text(signed=True)}"
            )


if __name__ == "__main__":
    main()
