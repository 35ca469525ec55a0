"""How well are losses of averaged weights predicted from the raw losses of the same run?

Real runs of language models that log the validation loss of the weights and of uniform means of the last 500 updates (Hägele et
al., arXiv 2405.18392): constant rates, and cosines to a tenth of the peak. `laju.forecast.fit_averages` sees the averages up to a
share of the run, and predicts the later ones from the raw losses. p and c of the law are fitted anew without all runs of the same
model and data. The second table is of ends: raw losses and averages up to a share of the run are seen, with laju's shipped past
runs, which hold the runs of the same models (a run itself is left out). Last, whole runs are predicted with the gain of another
run of the same model and peak.

    LAJU_SHARED=... python benchmarks/averaging_law.py
    python benchmarks/averaging_law.py --train log.csv --schedule 'cosine(3e-3, total=5000, warmup=200, final=3e-4)'

With --train, the model of language_model.py is trained, and its losses are logged beside those of an EMA and of means of blocks
(a twenty-fifth of the run); --logs takes such logs in place of the shared runs, with p and c as shipped. Training needs PyTorch.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import laju
from laju.forecast import FittedAverages, averages, ending, fit_averages

CUTS = (0.5, 0.7, 0.85)
MARK = 0.005


@dataclass(frozen=True)
class Run:
    """Raw and averaged losses at the same updates (NaN where there is none), and the rate of each update."""

    name: str
    model: str
    updates: np.ndarray
    raw: np.ndarray
    averaged: np.ndarray
    rates: np.ndarray

    def errors(self, cut: float) -> np.ndarray:
        """Errors of the averages after a share of the run, each average once; empty where the law refuses."""
        seen = self.updates <= cut * self.updates[-1]
        law = fit_averages(self.updates[seen], self.raw[seen], self.averaged[seen], self.rates)
        if law.refused:
            return np.empty(0)
        rows, predicted, value = self.compared(law)
        off = predicted - value
        late: np.ndarray = off[(rows > cut * self.updates[-1]) & np.isfinite(off)]
        return late

    def ends(self, cut: float) -> tuple[float, float, bool] | None:
        """Errors of the raw and the averaged end, forecast from a share of the run, and whether the band holds the latter."""
        seen = self.updates <= cut * self.updates[-1]
        law = fit_averages(self.updates[seen], self.raw[seen], self.averaged[seen], self.rates)
        rows, value = fresh(self.updates, self.averaged, law.window)
        raw = ending(self.updates[seen], self.raw[seen], self.rates, int(rows[-1]))
        end = law.ending(raw, self.rates)
        if end.value is None or raw.value is None or end.low is None or end.high is None:
            return None
        measured = float(np.interp(rows[-1], self.updates, self.raw))
        return raw.value - measured, end.value - value[-1], bool(end.low <= value[-1] <= end.high)

    def compared(self, law: FittedAverages) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Updates of the averages, predicted and measured losses; between rows the raw loss is a line, as in the fit."""
        rows, value = fresh(self.updates, self.averaged, law.window)
        at = np.union1d(self.updates, rows)
        raw = np.exp(np.interp(np.log(at), np.log(self.updates), np.log(self.raw)))
        return rows, law.predict(at, raw, self.rates)[np.searchsorted(at, rows)], value


def fresh(updates: np.ndarray, averaged: np.ndarray, window: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The updates and losses of the averages, without averages that were evaluated again."""
    there = np.isfinite(averaged)
    at, value = updates[there], averaged[there]
    if window is None:
        return at, value
    rows, first = np.unique(at // window * window, return_index=True)
    return rows[rows > 0], value[first][rows > 0]


def shared(folder: Path) -> list[Run]:
    """The shared runs with averages; rates of constant runs are those of the schedule, as their logs end with a single 0."""

    def table(name: str) -> list[dict[str, str]]:
        with (folder / name).open() as file:
            return list(csv.DictReader(file))

    losses: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    logged: dict[str, dict[int, float]] = defaultdict(dict)
    for row in table("curves.csv"):
        losses[row["run"], row["part"]][int(row["update"])] = float(row["val_loss"])
    for row in table("rates.csv"):
        logged[row["run"]][int(row["update"])] = float(row["rate"])
    runs = []
    for row in table("runs.csv"):
        name = row["run"]
        if (mean := losses.get((name, "averaged"))) is None:
            continue
        raw, rates, peak = losses[name, "val"], logged[name], float(row["peak_lr"])
        at = np.array(sorted(raw))
        knots = sorted(k for k in rates if rates[k] > 0)
        every = np.interp(np.arange(at[-1]), [0, *knots], [0.0, *(rates[k] for k in knots)])
        if row["scheduler"] == "wsd":
            every = np.minimum((np.arange(at[-1]) + 1) / int(row["warmup"]), 1) * peak
        found = np.array([mean.get(int(t), np.nan) for t in at])
        runs.append(
            Run(name, f"{row['dataset']} {row['parameters']}", at, np.array([raw[t] for t in at]), found, every)
        )
    return runs


def logs(files: Iterable[Path]) -> list[Run]:
    """Runs of --train: one for the EMA and one for the means of blocks."""
    runs = []
    for file in files:
        with file.open() as opened:
            rows = list(csv.DictReader(opened))
        at = np.array([int(row["step"]) for row in rows])
        rates = np.interp(np.arange(at[-1]), [0, *at], [0.0, *(float(row["lr"]) for row in rows)])
        raw = np.array([float(row["val_loss"]) for row in rows])
        for column in ("val_loss_ema", "val_loss_averaged"):
            mean = np.array([float(row[column] or "nan") for row in rows])
            runs.append(Run(f"{file.stem} {column.rpartition('_')[2]}", "own", at, raw, mean, rates))
    return runs


def by_another(run: Run, runs: Sequence[Run]) -> Iterator[tuple[float, float]]:
    """The largest error and the error at the end, with the gain of each other run of the same model and peak."""
    for other in runs:
        if other is run or other.model != run.model or abs(other.rates.max() / run.rates.max() - 1) > 0.01:
            continue
        law = fit_averages(other.updates, other.raw, other.averaged, other.rates)
        if law.gain is not None:
            _, predicted, value = run.compared(law)
            off = np.abs(predicted - value)[np.isfinite(predicted)]
            if len(off):
                yield float(off.max()), float(off[-1])


def constants(runs: Sequence[Run]) -> tuple[float, float]:
    """p and c with the smallest errors on whole runs, each run's own gain fitted."""
    from scipy.optimize import least_squares

    def off(parameters: np.ndarray) -> np.ndarray:
        parts = []
        with law_with(POWER=parameters[0], LAG=parameters[1], TRUSTED=np.inf):
            for run in runs:
                law = fit_averages(run.updates, run.raw, run.averaged, run.rates)
                if law.gain is None:
                    continue
                _, predicted, value = run.compared(law)
                error = (predicted - value) / value
                parts.append(np.nan_to_num(error) / np.sqrt(len(error)))
        return np.concatenate(parts)

    p, c = least_squares(off, (averages.POWER, averages.LAG)).x
    return float(p), float(c)


@contextmanager
def law_with(**constants: float) -> Iterator[None]:
    """The law with other constants."""
    before = {name: getattr(averages, name) for name in constants}
    try:
        for name, value in constants.items():
            setattr(averages, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(averages, name, value)


def train(log: Path, schedule: laju.Schedule) -> None:
    """Train the model of language_model.py, and log the losses of the weights, of an EMA, and of means of blocks."""
    import torch
    from torch import nn

    import language_model

    updates = int(schedule.length or 1)
    block, every, rates = updates // 25, max(1, updates // 100), schedule.values(updates)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = language_model.LanguageModel()
    ema, mean = deepcopy(model), deepcopy(model)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.1, foreach=True)
    text, held_out = language_model.text()
    check = language_model.windows_of(held_out, 1024, torch.Generator().manual_seed(0)).split(256)
    batches = torch.Generator().manual_seed(0)

    def loss(weights: nn.Module) -> str:
        return f"{np.mean([float(weights(rows)) for rows in check]):.4f}"

    of_block = ""
    with log.open("w", encoding="utf-8", buffering=1) as file:
        file.write("step,lr,val_loss,val_loss_ema,val_loss_averaged\n")
        for step in range(1, updates + 1):
            for group in optimizer.param_groups:
                group["lr"] = float(rates[step - 1])
            of_batch = model(language_model.windows_of(text, language_model.BATCH, batches))
            optimizer.zero_grad()
            of_batch.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            with torch.no_grad():
                for now, smooth, uniform in zip(model.parameters(), ema.parameters(), mean.parameters(), strict=True):
                    smooth.lerp_(now, 2 / block)
                    uniform.lerp_(now, 1 / ((step - 1) % block + 1))
                if step % block == 0:
                    of_block = loss(mean)
                if step % every == 0:
                    file.write(f"{step},{rates[step - 1]:.6g},{loss(model)},{loss(ema)},{of_block}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--logs", type=Path, nargs="+", help="logs of --train, in place of the shared runs")
    parser.add_argument("--train", type=Path, help="the log to write")
    parser.add_argument("--schedule", help="of the training, in updates, as laju reads it")
    options = parser.parse_args()
    if options.train is not None:
        if options.schedule is None:
            parser.error("--train needs --schedule")
        train(options.train, laju.parse(options.schedule))
        return
    if options.logs:
        runs, own = logs(options.logs), {"own": (averages.POWER, averages.LAG)}
    elif "LAJU_SHARED" in os.environ:
        runs = shared(Path(os.environ["LAJU_SHARED"]) / "data/loss-curves/llama-124m")
        models = sorted({run.model for run in runs})
        own = {model: constants([run for run in runs if run.model != model]) for model in models}
        for model, (p, c) in own.items():
            print(f"p {p:.3f}, c {c:.3f} without {model}")
        print("p {:.3f}, c {:.3f} of all\n".format(*constants(runs)))
    else:
        sys.exit("LAJU_SHARED must name the folder of the shared data, or give --logs")
    print("| averages seen | runs answered | later averages | mean error | of a run: median | of all | at the end |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    relative, worst, each = [], 0.0, []
    for cut in CUTS:
        found = []
        for run in runs:
            p, c = own[run.model]
            with law_with(POWER=p, LAG=c):
                found.append((run, run.errors(cut)))
        off = [errors for _, errors in found if len(errors)]
        if not off:
            print(f"| {cut:.0%} | 0 of {len(runs)} |  |  |  |  |  |")
            continue
        largest = [float(np.abs(errors).max()) for errors in off]
        relative += [float(e) / run.raw[-1] for run, errors in found for e in errors]
        worst = max(worst, *largest)
        print(
            f"| {cut:.0%} | {len(off)} of {len(runs)} | {sum(map(len, off))} | {np.abs(np.concatenate(off)).mean():.4f} | "
            f"{np.median(largest):.4f} | {max(largest):.4f} | {max(abs(float(errors[-1])) for errors in off):.4f} |"
        )
        each += [
            f"{run.name} from {cut:.0%}: off by up to {np.abs(errors).max():.4f}"
            for run, errors in found
            if len(errors)
        ]
    if options.logs:
        print("", *each, sep="\n")
    print(
        "\n| seen | ends forecast | error of the raw end, median and largest | of the averaged end | inside the band |"
    )
    print("| --- | --- | --- | --- | --- |")
    for cut in CUTS:
        answers = []
        for run in runs:
            p, c = own[run.model]
            with law_with(POWER=p, LAG=c):
                if (answer := run.ends(cut)) is not None:
                    answers.append(answer)
        if answers:
            off_raw, off_mean, inside = (np.array(part) for part in zip(*answers, strict=True))
            both = (f"{np.median(np.abs(off)):.4f}, {np.abs(off).max():.4f}" for off in (off_raw, off_mean))
            print(f"| {cut:.0%} | {len(answers)} of {len(runs)} | {' | '.join(both)} | {inside.mean():.0%} |")
    by_others = np.array([pair for run in runs for pair in by_another(run, runs) if not options.logs])
    if len(by_others):
        most, at_end = by_others.max(axis=0)
        print(f"\nby another run of the model and peak: off by up to {most:.4f}, {at_end:.4f} at the end")
    print(f"\nrelative error (root mean square) {np.sqrt(np.mean(np.square(relative))):.5f}")
    print(f"| losses of averaged weights, predicted by the law | ≤ {MARK} where answered | {worst:.4f} |")


if __name__ == "__main__":
    main()
