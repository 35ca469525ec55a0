"""How often `laju.diagnosis.diagnose` names what was done to a schedule, of runs that are made wrong on purpose.

Each run has the rates of a drawn schedule to which one thing was done, with drawn numbers, from the start or from a drawn update
on. Logs have every 1st to 50th update with 5 to 17 digits. *Named* means that the cause is among the answers, *alone* that no
other has the same rates, *dated* that the update where the cause begins is right to a row, and *another, with certainty* that one
answer alone was given and is another.

The table of docs/guides/wrong-rate.md is printed here.

    python benchmarks/diagnose_runs.py [--runs 100] [--seed 0]
"""

from __future__ import annotations

import argparse
import io
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

import laju
from laju.diagnosis import diagnose
from laju.logs import Log, read

Made = tuple[npt.NDArray[np.float64], int | None]
"""The rates of a run, and the update from which on they are wrong, where that is not the start."""
Make = Callable[[random.Random, laju.Schedule, int], Made]


def _shifted(by: Callable[[random.Random], int], late: bool) -> Make:
    def make(rng: random.Random, s: laju.Schedule, total: int) -> Made:
        t, k, since = np.arange(total), by(rng), rng.randrange(total // 5, total // 2) if late else None
        wrong = s(np.maximum(t - k, 0))
        return (wrong, None) if since is None else (np.where(t < since, s(t), wrong), since)

    return make


def _counted(rng: random.Random, s: laju.Schedule, total: int) -> Made:
    t, k = np.arange(total), rng.choice([2, 3, 4, 8])
    if rng.random() < 0.5:
        return s(k * t), None
    since = rng.randrange(total // 5, total // 2)
    return np.where(t < since, s(t), s(np.where(t < since, 0, since + k * (t - since)))), since


def _restart(rng: random.Random, s: laju.Schedule, total: int) -> Made:
    t, since = np.arange(total), rng.randrange(total // 5, 4 * total // 5)
    return np.where(t < since, s(t), s(np.maximum(t - since, 0))), since


def total_of(rng: random.Random, s: laju.Schedule, total: int) -> Made:
    t, top = np.arange(total), int(np.argmax(s.values(total)))
    # Twice the total of a schedule without a warmup is two updates counted as one.
    other = rng.choice([total // 2 + 37, int(total * 1.5), 2 * total + (0 if top else 37), int(total * 0.8)])
    return s(np.where(t < top, t, top + (t - top) * (total - top) / (other - top))), None


def _level(rng: random.Random, s: laju.Schedule, total: int, group: bool) -> Made:
    t, values = np.arange(total), s.values(total)
    top, peak, floor, share = int(np.argmax(values)), values.max(), s(total), 0.3
    low, high = (floor, share * peak) if group else (0.0, peak)
    return np.where(t < top, high / peak * values, low + (high - low) / (peak - floor) * (values - floor)), None


WRONG: dict[str, Make] = {
    "counted": _counted,
    "epoch": lambda rng, s, total: (s(np.arange(total) // rng.choice([10, 39, 50, 100])), None),
    "slow": lambda rng, s, total: (s(np.arange(total) / rng.choice([2, 4, 8])), None),
    "behind": _shifted(lambda rng: rng.choice([2, 3, 5, 20]), late=False),
    "behind, later": _shifted(lambda rng: rng.choice([2, 3, 5, 20]), late=True),
    "ahead": _shifted(lambda rng: -rng.choice([2, 3, 5, 20]), late=False),
    "restart": _restart,
    "total": total_of,
    "scale": lambda rng, s, total: (rng.choice([2, 8, 0.5, 2**0.5]) * s.values(total), None),
    "climb": lambda rng, s, total: (s(total - np.abs(np.arange(int(1.5 * total)) - total)), total),
    "floor": lambda rng, s, total: _level(rng, s, total, True),
    "end": lambda rng, s, total: _level(rng, s, total, False),
}


def drawn(rng: random.Random, floor: bool) -> tuple[laju.Schedule, int]:
    """A schedule that is meant, and its length."""
    total, peak = rng.choice([1000, 1200, 3000, 5000, 7350]), rng.choice([0.1, 3e-4, 2e-5, 0.5])
    warmup = rng.choice([0, 50, 100, total // 10])
    if floor:
        return laju.cosine(peak, total=total, warmup=warmup, final=rng.choice([0.1, 0.01]) * peak), total
    return rng.choice(
        [
            laju.cosine(peak, total=total, warmup=warmup),
            laju.linear_to_zero(peak, total=total, warmup=warmup),
            laju.poly(peak, total=total, power=2, warmup=warmup),
        ]
    ), total


def logged(rates: npt.NDArray[np.float64], every: int, digits: int) -> Log:
    rows = [f"{t},{rates[t]:.{digits - 1}e}" for t in range(0, len(rates), every)]
    return read(io.StringIO("\n".join(["step,lr", *rows])))


@dataclass(frozen=True)
class Share:
    """Of so many runs: how often the cause is named, alone, with the right update, and another with certainty."""

    runs: int
    named: int
    alone: int
    dated: int
    certain_of_another: int
    seconds: tuple[float, ...]


def measure(cause: str, runs: int, seed: object) -> Share:
    rng = random.Random(f"{cause} {seed}" if not isinstance(seed, str) else seed)
    named = alone = dated = another = 0
    seconds = []
    for _ in range(runs):
        schedule, total = drawn(rng, cause in ("floor", "end"))
        rates, since = WRONG[cause](rng, schedule, total)
        every, digits = rng.choice([1, 5, 10, 50]), rng.choice([17, 17, 7, 5])
        log = logged(np.maximum(rates, 0), every, digits)
        begin = time.process_time()
        found = diagnose(log, schedule)
        seconds.append(time.process_time() - begin)
        mine = [one for one in found.causes if one.kind == cause.partition(",")[0]]
        after, by = mine[0].begins if mine else (0, 0)
        named += bool(mine)
        alone += bool(mine) and found.certain
        dated += bool(mine) and (since is None or (after <= since + every and by >= since - every))
        another += found.certain and not mine
    return Share(runs, named, alone, dated, another, tuple(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100, help="runs of each cause")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print("| cause | named | alone | dated | another, with certainty | median s | worst s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    shares = {cause: measure(cause, options.runs, options.seed) for cause in WRONG}
    every = list(shares.values())
    whole = Share(
        sum(share.runs for share in every),
        sum(share.named for share in every),
        sum(share.alone for share in every),
        sum(share.dated for share in every),
        sum(share.certain_of_another for share in every),
        tuple(seconds for share in every for seconds in share.seconds),
    )
    for cause, share in [*((f"`{cause}`", share) for cause, share in shares.items()), ("**all**", whole)]:
        print(
            f"| {cause} | {share.named / share.runs:.0%} of {share.runs} | {share.alone / share.runs:.0%} "
            f"| {share.dated / share.runs:.0%} | {share.certain_of_another} "
            f"| {statistics.median(share.seconds):.2f} | {max(share.seconds):.2f} |"
        )


if __name__ == "__main__":
    main()
