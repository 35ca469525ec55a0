"""Ranking runs of 25,000 updates by the final losses of runs of 15,000: laju against "what won at 15,000".

Real runs of a 124M-parameter language model (Schaipp et al., arXiv 2501.18965): six cooldown lengths and two cosines at three
peak rates for 15,000 updates; for 25,000 also another cosine, another shape of cooldown, and a fourth peak. Spearman's rank
correlation, and the regret: how far the loss of the schedule that is picked lies above the best one's. What won at 15,000 says
nothing of a run that was not made, so it is compared on those that were.

    LAJU_SHARED=... python benchmarks/forecast_finals.py
"""

from __future__ import annotations

import csv
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

import laju
from laju.forecast import Curve, ForecastWarning
from laju.forecast.finals import fit_finals

SHORT, LONG = 15_000, 25_000
Runs = dict[str, tuple[laju.Schedule, float]]


def schedule(row: dict[str, str]) -> laju.Schedule:
    updates, warmup, peak = int(row["updates"]), int(row["warmup"]), float(row["peak_lr"])
    if row["schedule"] == "cosine":
        return laju.cosine(peak, updates, warmup=warmup, final=peak * float(row["final_over_peak"]))
    cooldown = round(updates * float(row["cooldown_fraction"]))
    return laju.wsd(peak, updates, warmup=warmup, cooldown=cooldown, shape=row["cooldown_shape"])


def read(path: Path) -> dict[int, Runs]:
    """By length and name: the schedule and the final loss."""
    runs: dict[int, Runs] = {}
    with path.open() as file:
        for row in csv.DictReader(file):
            made = row["schedule"] + (
                row["cooldown_fraction"] + row["cooldown_shape"] or " to " + row["final_over_peak"]
            )
            found = runs.setdefault(int(row["updates"]), {})
            found[f"{made} {float(row['peak_lr']):g}"] = schedule(row), float(row["final_val_loss"])
    return runs


def curves(runs: Runs, updates: int) -> list[Curve]:
    return [Curve([updates], [loss], made, name) for name, (made, loss) in runs.items()]


def kind(name: str) -> str:
    return name.rpartition(" ")[0]


def peak(name: str) -> str:
    return name.rpartition(" ")[2]


def left_out(runs: Runs, updates: int, key: Callable[[str], str]) -> dict[str, float]:
    """The final loss of each run, predicted by those that differ from it in `key`."""
    found: dict[str, float] = {}
    for value in sorted({key(name) for name in runs}):
        rest = {name: run for name, run in runs.items() if key(name) != value}
        candidates = {name: made for name, (made, _) in runs.items() if name not in rest}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ForecastWarning)
            ranked = fit_finals(curves(rest, updates), held_out=False).rank(candidates, updates)
        found |= {one.name: one.loss for one in ranked}
    return found


def main() -> None:
    if "LAJU_SHARED" not in os.environ:
        sys.exit("set LAJU_SHARED to the folder that holds data/loss-curves")
    runs = read(Path(os.environ["LAJU_SHARED"]) / "data/loss-curves/llama-124m/finals.csv")
    short, long = runs[SHORT], runs[LONG]
    begin = time.perf_counter()
    law = fit_finals(curves(short, SHORT))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ForecastWarning)
        ranked = law.rank({name: made for name, (made, _) in long.items()}, LONG)
    seconds = time.perf_counter() - begin
    predicted = {one.name: one.loss for one in ranked}
    before = {name: loss for name, (_, loss) in short.items()}

    print(f"{len(short)} runs of {SHORT:,} updates rank {len(long)} of {LONG:,}, in {seconds * 1e3:.0f} ms\n")
    print(f"{'':26}{'runs':>6}{'Spearman':>11}{'picked':>22}{'regret':>9}")
    both = [name for name in long if name in before]
    peaks = {peak(name) for name in short}
    for who, by, names in (
        ("what won at 15,000", before, both),
        ("laju, the same runs", predicted, both),
        ("laju, the new runs", predicted, [name for name in long if name not in before]),
        ("laju, the peaks that ran", predicted, [name for name in long if peak(name) in peaks]),
        ("laju, all", predicted, list(long)),
    ):
        rho = spearmanr([by[name] for name in names], [long[name][1] for name in names]).statistic
        picked = min(names, key=by.__getitem__)
        regret = long[picked][1] - min(long[name][1] for name in names)
        print(f"{who:26}{len(names):6}{rho:11.4f}{picked:>22}{regret:9.4f}")

    behind = np.array([[one.behind, long[one.name][1] - long[ranked[0].name][1]] for one in ranked])
    known = np.array([peak(one.name) in peaks for one in ranked])
    off = np.abs(behind[:, 0] - behind[:, 1])
    print(
        f"\nhow far a run lies behind the pick, mean absolute error: {off[known].mean():.4f} at peaks that were run, ",
        end="",
    )
    print(f"{off[~known].mean():.4f} at the one that was not")

    print(f"\nwithin the {SHORT:,}: predicted without the runs alike")
    for what, key in (("run", str), ("schedule", kind), ("peak", peak)):
        found = left_out(short, SHORT, key)
        off = np.array([found[name] - loss for name, loss in before.items()])
        rho = spearmanr([found[name] for name in before], list(before.values())).statistic
        print(f"  of one {what:10} root mean square error {np.sqrt((off**2).mean()):.4f}   Spearman {rho:.3f}")


if __name__ == "__main__":
    main()
