"""Six loss curves predicted from three: errors and fit times of laju's laws, beside the published ones.

Real curves of language models of 25M and 100M parameters under nine schedules (Luo et al., arXiv 2503.12811). Fitted to
cosine_24000, constant_24000 and wsdcon_9, with one setting for all sizes; the other six are predicted. The last row of each
size is the mean over the six, and the published one is what the paper prints for its own fit. Last, the same means when fewer
or shorter runs are fitted.

    LAJU_SHARED=... python benchmarks/forecast_laws.py [--law average] [--repeats 5]
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import sys
import time
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np

import laju
from laju.forecast import Curve, FittedLaw, ForecastWarning, errors, fit

WARMUP, PEAK, END = 2_160, 3e-4, 3e-5
TRAIN = ("cosine_24000", "constant_24000", "wsdcon_9")
TEST = ("constant_72000", "cosine_72000", "wsd_20000_24000", "wsdld_20000_24000", "wsdcon_3", "wsdcon_18")
PUBLISHED = {"25M": (0.00376, 0.0041), "100M": (0.00435, 0.0058)}


def schedule(name: str) -> laju.Schedule:
    kind, _, rest = name.partition("_")
    last = int(rest.rpartition("_")[2])
    ramp = laju.linear(0, PEAK, WARMUP)
    match kind:
        case "constant":
            return ramp >> laju.Constant(PEAK)
        case "cosine":
            return ramp >> laju.cosine(PEAK, last - WARMUP, final=END)
        case "wsdcon":
            return ramp >> laju.Constant(PEAK, 8_000 - WARMUP) >> laju.Constant(last * 1e-5)
        case "wsd":
            return ramp >> laju.Constant(PEAK, 20_000 - WARMUP) >> laju.exponential(PEAK, END, 4_000)
        case _:
            return ramp >> laju.Constant(PEAK, 20_000 - WARMUP) >> laju.linear(PEAK, END, 4_000)


def curve(folder: Path, name: str) -> Curve:
    with (folder / f"{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    at = np.array([int(row["step"]) for row in rows])
    loss = np.array([float(row["loss"]) for row in rows])
    if name.endswith("24000"):
        at, loss = at[at <= 24_000], loss[at <= 24_000]
    made = schedule(name)
    logged = np.array([float(row["lr"]) for row in rows])[: len(at)]
    np.testing.assert_allclose(made.values(int(at[-1]) + 1)[at], logged, rtol=2e-3)
    return Curve(at, loss, made, name)


def timed(curves: list[Curve], law: str, repeats: int) -> tuple[FittedLaw, float]:
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        fit(curves, law, held_out=False)
        seconds.append(time.perf_counter() - begin)
    return fit(curves, law), statistics.median(seconds)


def main() -> None:
    if "LAJU_SHARED" not in os.environ:
        sys.exit("set LAJU_SHARED to the folder that holds data/loss-curves")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--law", default="average")
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    warnings.simplefilter("ignore", ForecastWarning)
    for size, (mae, worst) in PUBLISHED.items():
        folder = Path(os.environ["LAJU_SHARED"]) / "data/loss-curves/multi-power-law" / size
        law, seconds = timed([curve(folder, name) for name in TRAIN], chosen.law, chosen.repeats)
        print(f"{size}: law {chosen.law!r} fitted to {', '.join(TRAIN)} in {seconds:.2f} s")
        print(f"  {'':24}{'MAE':>9}{'RMSE':>9}{'R²':>9}{'worst':>9}{'in band':>9}{'at end':>9}")
        for row in law.held_out:
            print(f"  {row.curve + ' (held out)':28}{row.mae:5.5f}{row.rmse:9.5f}{row.r2:9.5f}{row.worst:9.5f}")
        curves = {name: curve(folder, name) for name in TRAIN + TEST}
        table = scores(law, curves)
        for name, row in zip(TEST, table, strict=True):
            print_row(name, row)
        print_row("mean of the six", np.mean(table, axis=0))
        print(f"  {'published':24}{mae:9.5f}{'':18}{worst:9.4f}\n")
        for names in (TRAIN[:2], TRAIN[::2], TRAIN[1:], TRAIN[:1], TRAIN[1:2], TRAIN[2:]):
            fewer = fit([curves[name] for name in names], chosen.law, held_out=False)
            print_row(" + ".join(name.partition("_")[0] for name in names), np.mean(scores(fewer, curves), axis=0))
        for updates in (12_000, 8_500):
            shorter = fit([cut(curves[name], updates) for name in TRAIN], chosen.law, held_out=False)
            print_row(f"all three to {updates:,}", np.mean(scores(shorter, curves), axis=0))
        print()


def scores(law: FittedLaw, curves: dict[str, Curve]) -> list[tuple[float, ...]]:
    """Of each test curve: MAE, RMSE, R², the largest relative error, share of losses in the band of 90 %, error of the last."""
    rows = []
    for name in TEST:
        one = curves[name]
        found = errors(one, law.predict(one.rates, one.updates))
        low, high = law.band(one.rates, one.updates)
        inside = float(np.mean((low <= one.loss) & (one.loss <= high)))
        end = float(law.final(one.rates, int(one.updates[-1])) - one.loss[-1])
        rows.append((found.mae, found.rmse, found.r2, found.worst, inside, end))
    return rows


def cut(one: Curve, updates: int) -> Curve:
    n = int((one.updates <= updates).sum())
    return Curve(one.updates[:n], one.loss[:n], one.rates, one.name)


def print_row(name: str, row: Iterable[float]) -> None:
    mae, rmse, r2, worst, inside, end = row
    print(f"  {name:24}{mae:9.5f}{rmse:9.5f}{r2:9.5f}{worst:9.5f}{inside:9.0%}{end:+9.4f}")


if __name__ == "__main__":
    main()
