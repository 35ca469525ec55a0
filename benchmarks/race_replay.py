"""A race replayed on finished grids: how often what was dropped was better, how much is saved, and what shorter runs would tell.

Each grid of `race_grids.py` (schedules with 12 seeds on digits and on Fashion-MNIST) is raced again and again, the seeds in
another order each time; the race sees only what it has trained. A race is wrong where a dropped schedule ends, in the mean over
all seeds, more than .2 points above the race's pick.

    python benchmarks/race_replay.py [--replays 50] [TABLE]
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

import laju
from laju.core.schedule import Schedule
from laju.lab.comparison import race as racing
from laju.lab.trials import Outcome, Record

TABLE = Path(__file__).parent.parent / "tests" / "lab" / "race-grids.csv"
GUESSING = 0.1
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """Test accuracies, schedules × seeds, after each share of the run: whole, compressed and stopped on the way."""

    name: str
    schedules: tuple[str, ...]
    images: int
    whole: Values
    compressed: dict[str, Values]
    stopped: dict[str, Values]


@dataclass(frozen=True)
class Replay:
    wrong: bool
    regret: float
    share: float
    share_to_pick: float


def read(table: Path) -> list[Grid]:
    rows: dict[str, dict[str, dict[str, list[int]]]] = {}
    images: dict[str, int] = {}
    with table.open(newline="") as file:
        for grid, count, schedule, epochs, *right in csv.reader(file):
            if grid != "grid":
                rows.setdefault(grid, {}).setdefault(epochs, {})[schedule] = [int(x) for x in right]
                images[grid] = int(count)
    found = []
    for name, by_epochs in rows.items():
        whole = max((e for e in by_epochs), key=lambda e: int(e.split()[-1]) + int(e.split()[0]))
        compressed, stopped = {}, {}
        for epochs, rights in by_epochs.items():
            counts = np.array(list(rights.values()), dtype=float)
            accuracies = np.where(counts < 0, GUESSING, counts / images[name])
            part, of = epochs.split(" of ")
            if epochs == whole:
                ends = accuracies
            else:
                share = "half" if int(part) == int(whole.split()[-1]) // 2 else "quarter"
                (compressed if part == of else stopped)[share] = accuracies
        found.append(Grid(name, tuple(by_epochs[whole]), images[name], ends, compressed, stopped))
    return found


def replays(grid: Grid, count: int, rng: np.random.Generator, error: float = racing.ERROR) -> list[Replay]:
    """Races of a grid with its seeds in another order each time."""
    schedules = {name: laju.constant(0.1) for name in grid.schedules}
    row = {name: i for i, name in enumerate(grid.schedules)}
    outcomes = np.array([[ended(x) for x in accuracies] for accuracies in grid.whole])

    def run(wanted: Mapping[racing.Key, Schedule]) -> dict[racing.Key, Outcome]:
        return {(name, seed): outcomes[row[name], seed] for name, seed in wanted}

    means = grid.whole.mean(axis=1)
    found = []
    for _ in range(count):
        seeds = [int(s) for s in rng.permutation(grid.whole.shape[1])]
        raced = racing.race(schedules, seeds, 1, run, error=error, resolution=1 / grid.images)
        regret = float(means.max() - max(means[row[name]] for name in raced.left))
        shares = (n / raced.grid_trainings for n in (raced.trainings, raced.trainings_to_pick))
        found.append(Replay(regret > racing.MARGIN + 1e-9, regret, *shares))
    return found


def ended(accuracy: float) -> Outcome:
    return Outcome("finished", (Record(1, 1.0, 0.1, 1.0, accuracy, accuracy),), 0.0)


def contenders(grid: Grid, points: float = 0.01) -> list[int]:
    """The schedules that end within a point of the best, the best first."""
    means = grid.whole.mean(axis=1)
    return [int(i) for i in np.argsort(-means, kind="stable") if means[i] >= means.max() - points]


def agreement(grid: Grid, shorter: Values) -> tuple[float, float]:
    """Correlation of the mean ends of contenders with their shorter runs', and the factor on differences of shorter runs."""
    rows = contenders(grid)
    long, short = (x[rows].mean(axis=1) - x[rows].mean() for x in (grid.whole, shorter))
    if len(rows) < 3 or not short.any():
        return math.nan, math.nan
    return float(np.corrcoef(long, short)[0, 1]), float(long @ short / (short @ short))


def shorter_tells(grid: Grid, shorter: Values) -> float:
    """Half the width of what all seeds of shorter runs tell about the end of a contender, in accuracy (median).

    The best case: the line from shorter to whole runs is learnt from the ends of all other schedules with all seeds. The interval
    is that of a prediction, at the level of a race's tests.
    """
    long, short = grid.whole.mean(axis=1), shorter.mean(axis=1)
    widths = []
    for i in contenders(grid):
        x, y = np.delete(short, i), np.delete(long, i)
        spread = float(np.square(x - x.mean()).sum())
        slope = float((x - x.mean()) @ y) / spread
        residual = math.sqrt(float(np.square(y - y.mean() - slope * (x - x.mean())).sum()) / (len(x) - 2))
        t = float(stdtrit(len(x) - 2, 1 - racing.level_of_tests(racing.ERROR, len(long))))
        widths.append(t * residual * math.sqrt(1 + 1 / len(x) + (short[i] - x.mean()) ** 2 / spread))
    return statistics.median(widths)


def seeds_tell(grid: Grid, seeds: int) -> float:
    """The same of so many whole runs: half the width for a contender's difference to the best (median)."""
    rows = contenders(grid)
    scores = {grid.schedules[i]: list(grid.whole[i][:seeds]) for i in rows}
    leader, level = grid.schedules[rows[0]], racing.level_of_tests(racing.ERROR, len(grid.schedules))
    bounds = racing.upper_bounds(scores, leader, grid.whole.shape[1], level, 1 / grid.images)
    leads = statistics.fmean(scores[leader])
    return statistics.median(bound - statistics.fmean(scores[name]) + leads for name, bound in bounds.items())


def lost(grid: Grid, early: Values) -> float:
    """What the better half by other figures than the ends loses, against the best of all, in accuracy."""
    ends, keep = grid.whole.mean(axis=1), (len(early) + 1) // 2
    return float(ends.max() - ends[np.argsort(-early.mean(axis=1), kind="stable")[:keep]].max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", nargs="?", type=Path, default=TABLE)
    parser.add_argument("--replays", type=int, default=50)
    options = parser.parse_args()
    grids = read(options.table)

    print(f"Races with an error of .05, {options.replays} replays a grid, {len(grids)} grids")
    print(f"{'grid':34} {'schedules':>9} {'wrong':>6} {'trainings':>10} {'to the pick':>12} {'worst loss, points':>19}")
    all_of: dict[str, list[Replay]] = {}
    for grid in grids:
        found = all_of[grid.name] = replays(grid, options.replays, np.random.default_rng(0))
        print(
            f"{grid.name:34} {len(grid.schedules):9} {statistics.fmean(r.wrong for r in found):6.3f} "
            f"{statistics.median(r.share for r in found):10.0%} {statistics.median(r.share_to_pick for r in found):12.0%} "
            f"{100 * max(r.regret for r in found):19.2f}"
        )
    for name, part in (("grids 1, 3, 5 …", grids[::2]), ("grids 2, 4, 6 …", grids[1::2]), ("all", grids)):
        every = [r for grid in part for r in all_of[grid.name]]
        near = [r for r in every if not r.wrong]
        worst = max(statistics.fmean(r.wrong for r in all_of[grid.name]) for grid in part)
        print(
            f"{name:34} n = {len(every):5} {statistics.fmean(r.wrong for r in every):6.3f} "
            f"{statistics.median(r.share for r in near):10.0%} {statistics.median(r.share_to_pick for r in near):12.0%} "
            f"   worst grid wrong {worst:.3f}"
        )

    print("\nOther constants: wrong drops, the worst grid's, and trainings (median), on each half of the grids")
    for looks in (1, 2, 6):
        for borrowed in (0, 4, 8):
            cells = []
            with patch.multiple(racing, _LOOKS=float(looks), _BORROWED=borrowed):
                for part in (grids[::2], grids[1::2]):
                    by_grid = [replays(grid, options.replays, np.random.default_rng(1)) for grid in part]
                    rates = [statistics.fmean(r.wrong for r in found) for found in by_grid]
                    share = statistics.median(r.share for found in by_grid for r in found)
                    cells.append(f"{statistics.fmean(rates):.3f} {max(rates):.2f} {share:.0%}")
            print(f"  looks {looks}, borrowed {borrowed}: {'   '.join(cells)}")

    print(
        "\nContenders (within a point of the best): how compressed half runs agree, and what the cost of 6 whole runs tells"
    )
    print(
        f"{'grid':34} {'contenders':>10} {'r':>6} {'factor':>7} {'12 half runs':>13} {'6 whole runs':>13}  (±, points)"
    )
    for grid in grids:
        if len(rows := contenders(grid)) > 1:
            r, factor = agreement(grid, grid.compressed["half"])
            half, whole = 100 * shorter_tells(grid, grid.compressed["half"]), 100 * seeds_tell(grid, 6)
            print(f"{grid.name:34} {len(rows):10} {r:6.2f} {factor:7.2f} {half:13.2f} {whole:13.2f}")

    print("\nThe better half of the schedules with all seeds loses against the best, in points (more than .2 is wrong)")
    for kind in ("compressed", "stopped"):
        for share in ("half", "quarter"):
            losses = [lost(grid, getattr(grid, kind)[share]) for grid in grids]
            wrong, worst = sum(x > racing.MARGIN for x in losses), int(np.argmax(losses))
            print(
                f"  {kind} at a {share}: wrong in {wrong} of {len(grids)} grids; "
                f"worst {100 * losses[worst]:.1f} ({grids[worst].name})"
            )


if __name__ == "__main__":
    main()
