"""Is the run that `laju.forecast.next_run` takes for the most telling the one that tells most?

    LAJU_SHARED=... python benchmarks/forecast_next_run.py

The runs are those of llama-124m with ends at 15,000 and 25,000 updates. Known are losses at one peak. In question are the
ends of 25,000 updates with cooldowns of .1 to .9, and each finished run of 15,000 updates in turn is the next run: its spread is
what is expected before it is made, its error what the law that is fitted with its losses is off by (root mean square).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from forecast_endings import Case, llama
from laju import Schedule, knots
from laju.forecast import Curve, FittedLaw, fit
from laju.forecast.prior import knots_of
from laju.forecast.telling import compared

PEAKS, MIDDLE = ("0.0005", "0.001", "0.002"), "0.001"
WARMUP = 300


def curve(case: Case, until: int | None = None) -> Curve:
    """The losses after the warmup, at the rates of the run."""
    until = until or len(case.rates)
    keep = (case.curve.updates > WARMUP) & (case.curve.updates <= until)
    rates = case.rates[:until] * peak(case)
    return Curve(case.curve.updates[keep], case.curve.loss[keep], rates, case.curve.name)


def peak(case: Case) -> float:
    return float(case.group.rsplit(" ", 1)[1])


def schedule(case: Case) -> Schedule:
    rates = case.rates * peak(case)
    at = knots_of(rates)
    return knots([*((int(t), float(rates[t])) for t in at[:-1]), (len(rates), float(rates[-1]))])


def off(law: FittedLaw, ends: Sequence[Case]) -> float:
    found = [float(law.predict(c.rates * peak(c), [len(c.rates)])[0]) - c.curve.loss[-1] for c in ends]
    return float(np.sqrt(np.mean(np.square(found))))


def question(known: Sequence[Curve], options: Sequence[Case], ends: Sequence[Case]) -> list[tuple[str, float, float]]:
    """Name, expected spread and error that came out, of the law as it is and of each next run."""
    law = fit(known)
    costs = [round(c.cooldown * c.updates) if c.cooldown > 0 else c.updates for c in options]
    now, told = compared(
        law, [schedule(c) for c in ends], [(schedule(c), k, None) for c, k in zip(options, costs, strict=True)]
    )
    rows = [("as known", now, off(law, ends))]
    for c, t in zip(options, told, strict=True):
        name = (f"cooldown of {c.cooldown:g}" if c.cooldown > 0 else "cosine") + f" at {peak(c):g}"
        rows.append((name, t.spread, off(fit([*known, curve(c)]), ends)))
    return rows


def main() -> None:
    warnings.simplefilter("ignore")
    runs = [c for c in llama() if c.kind == "llama"]
    by = {p: [c for c in runs if peak(c) == float(p)] for p in PEAKS}
    short = {p: [c for c in by[p] if c.updates == 15_000 and c.cooldown != 0] for p in PEAKS}
    flat = {p: max((c for c in by[p] if c.cooldown == 0), key=lambda c: len(c.curve)) for p in PEAKS}
    print(
        "| known | ends at | off by now | run taken | off by then | best run | mean run | worst run | rank correlation |"
    )
    print("| --- " * 9 + "|")
    for at in PEAKS:
        ends = [c for c in by[at] if c.updates == 25_000 and c.cooldown > 0]
        cases = [(f"trunk to 15,000 at {at}", [curve(flat[at], 15_000)], short[at])]
        if at != MIDDLE:
            known = [c for c in short[MIDDLE] if c.cooldown == 0.2]
            left = [c for c in short[MIDDLE] if c not in known]
            curves = [curve(flat[MIDDLE], 15_000), *(curve(c) for c in known)]
            cases.append((f"trunk and cooldown of 0.2 at {MIDDLE}", curves, [*short[at], *left]))
        for name, curves, options in cases:
            (_, _, before), *rows = question(curves, options, ends)
            spread, error = np.array([r[1:] for r in rows]).T
            chosen = int(spread.argmin())
            order = np.corrcoef(spread.argsort().argsort(), error.argsort().argsort())[0, 1]
            then = (f"{v:.4f}" for v in (error[chosen], error.min(), error.mean(), error.max()))
            cells = [f"{before:.4f}", rows[chosen][0], *then, f"{order:.2f}"]
            print(f"| {name} | {at} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
