"""How good is the forecast of a run's end? Every row of the table in the docs, whole groups left out, baselines beside.

    LAJU_SHARED=... python benchmarks/forecast_endings.py [--worst] [--json FILE]
    LAJU_SHARED=... python benchmarks/forecast_endings.py --ship src/laju/forecast/priors   # the priors that laju brings

A run is asked about its end from its first part, by a prior that holds no run of its group. Groups are recipes (nanoGPT), tasks
(AlgoPerf), models at one peak rate (llama). `half` is the median half width of the band of 90 %, `band` the share of ends inside.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import forecast_laws
from laju.forecast import Curve, Prior, ending, learn

Key = Callable[["Case"], str]


@dataclass(frozen=True)
class Case:
    """A finished run."""

    curve: Curve
    rates: np.ndarray
    kind: str
    group: str
    cooldown: float = -1.0
    updates: int = 0


@dataclass(frozen=True)
class Row:
    """One question and its answer; losses, but for `refused`."""

    run: str
    truth: float
    value: float | None
    half: float
    last: float
    others: float
    power: float
    refused: str | None


def shared() -> Path:
    if "LAJU_SHARED" not in os.environ:
        sys.exit("set LAJU_SHARED to the folder that holds data/loss-curves")
    return Path(os.environ["LAJU_SHARED"]) / "data/loss-curves"


def table(path: str) -> list[dict[str, str]]:
    with (shared() / path).open() as file:
        return list(csv.DictReader(file))


def losses(path: str, column: str = "val_loss", part: str | None = None) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for row in table(path):
        if row[column] and (part is None or row["part"] == part):
            found[row["run"]][int(row["update"])] = float(row[column])
    return found


def case(name: str, measured: dict[int, float], rates: np.ndarray, kind: str, group: str, **more: float) -> Case | None:
    at = np.array(sorted(u for u, loss in measured.items() if 0 < u <= len(rates) and np.isfinite(loss)))
    if len(at) < 5:
        return None
    used = rates[: at[-1]]
    return Case(Curve(at, [measured[u] for u in at], used, name), used, kind, group, **more)


def nanogpt() -> list[Case]:
    curves, cases = losses("nanogpt-speedrun/curves.csv"), []
    for row in table("nanogpt-speedrun/runs.csv"):
        total, warmup, cooldown = (int(row[key]) for key in ("updates", "warmup", "cooldown"))
        t = np.arange(total)
        rates = np.minimum(np.minimum(1.0, (t + 1) / warmup if warmup else 1.0), (total - t) / cooldown)
        cases.append(case(row["run"], curves[row["run"]], rates, "nanogpt " + row["recipe"][:7], row["recipe"]))
    return [c for c in cases if c]


def algoperf(cycles: int = 1) -> list[Case]:
    """Runs under one cosine that reach .7 of their horizon; or under two."""
    curves, cases = losses("algoperf/curves.csv"), []
    for row in table("algoperf/runs.csv"):
        if int(row["cycles"]) != cycles:
            continue
        horizon, warmup, measured = int(row["updates"]), int(row["warmup"]), curves[row["run"]]
        if max(measured) < 0.7 * horizon:
            continue
        t, length = np.arange(max(measured), dtype=float), horizon / cycles
        t = np.where(t < horizon, t % length, length)
        rates = np.where(
            t < warmup, t / warmup, 0.5 * (1 + np.cos(np.pi * np.clip((t - warmup) / (length - warmup), 0, 1)))
        )
        try:
            cases.append(case(row["run"], measured, rates, "algoperf", row["workload"]))
        except ValueError:  # ends above where it began
            continue
    return [c for c in cases if c]


def llama() -> list[Case]:
    curves, cases = losses("llama-124m/curves.csv", part="val"), []
    for row in table("llama-124m/runs.csv"):
        total, warmup = int(row["updates"]), int(row["warmup"])
        t = np.arange(total)
        rates, fraction = np.minimum(1.0, (t + 1) / warmup), -1.0
        if row["scheduler"] == "wsd":
            fraction = float(row["cooldown_fraction"])
            length = round(fraction * total)
            if length:
                left = np.clip((total - t) / length, 0, 1)
                rates = rates * (1 - np.sqrt(1 - left) if row["shape"] == "sqrt" else left)
        else:
            final = 0.0 if row["final_over_peak"] == "1e-07" else 0.1
            cosine = final + (1 - final) * 0.5 * (1 + np.cos(np.pi * np.clip((t - warmup) / (total - warmup), 0, 1)))
            rates = np.where(t < warmup, rates, cosine)
        group = f"llama {int(row['parameters']) // 10**6}M {row['dataset']} {row['peak_lr']}"
        kind = "llama" if row["n_embd"] == "768" else "llama small"
        found = case(row["run"], curves[row["run"]], rates, kind, group, cooldown=fraction, updates=total)
        cases.append(found)
    return [c for c in cases if c]


def multi_power() -> list[Case]:
    cases = []
    for size in ("25M", "100M"):
        for name in forecast_laws.TRAIN + forecast_laws.TEST:
            found = forecast_laws.curve(shared() / "multi-power-law" / size, name)
            curve = Curve(found.updates, found.loss, found.rates, f"{size} {name}")
            cases.append(Case(curve, curve.rates[: curve.updates[-1]], "multi-power", f"multi-power {size}"))
    return cases


# --- asking ------------------------------------------------------------------------------------------------------------


class Pool:
    """Past runs, learnt once, of which each question takes what it may see."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self.cases = list(cases)
        self.runs = learn([c.curve for c in cases], [c.group for c in cases]).runs
        self.rows = {id(c): (np.array(r.updates), np.array(r.losses)) for c, r in zip(cases, self.runs, strict=True)}
        self.made: dict[tuple[int, ...], Prior] = {}

    def prior(self, keep: Callable[[Case], bool]) -> Prior | None:
        use = tuple(i for i, c in enumerate(self.cases) if keep(c))
        if use not in self.made:
            self.made[use] = Prior("past runs", tuple(self.runs[i] for i in use))
        return self.made[use] if use else None


def ask(pool: Pool, cases: Iterable[Case], share: float, key: Key) -> list[Row]:
    """Each case from its first share, by the runs of the pool with another key."""
    rows = []
    for c in cases:
        mine = key(c)
        prior = pool.prior(lambda other, mine=mine: key(other) != mine)
        at, loss = pool.rows[id(c)]  # with the trunk of a branch
        c = Case(Curve(at, loss, c.rates, c.curve.name), c.rates, c.kind, c.group)
        seen = int((at <= share * len(c.rates)).sum())
        others = [o for o in pool.cases if key(o) != mine]
        rows.append(row(c, seen, prior, others, share))
    return rows


def row(c: Case, seen: int, prior: Prior | None, others: Sequence[Case], share: float) -> Row:
    at, loss = c.curve.updates[:seen], c.curve.loss[:seen]
    found = ending(at, loss, c.rates, prior=prior)
    gains = [o.curve.loss[-1] / np.interp(share * len(o.rates), o.curve.updates, o.curve.loss) for o in others]
    last, truth = float(loss[-1]) if seen else np.nan, float(c.curve.loss[-1])
    half = (found.high - found.low) / 2 if found.value is not None else np.nan
    return Row(c.curve.name, truth, found.value, half, last, last * float(np.median(gains)) if gains else np.nan,
               power_law(c, seen), found.refused)  # fmt: skip


def power_law(c: Case, seen: int) -> float:
    """L0 + A·S^-α through the second half of the rows seen."""
    s = np.cumsum(c.rates)[c.curve.updates[:seen] - 1][seen // 2 :]
    y, end, best = c.curve.loss[:seen][seen // 2 :], float(c.rates.sum()), (np.inf, np.nan)
    for alpha in np.geomspace(0.05, 1.6, 12) if len(y) > 2 else ():
        X = np.stack([np.ones_like(s), (s / end) ** -alpha], axis=1)
        b, *_ = np.linalg.lstsq(X, y, rcond=None)
        best = min(best, (float(((X @ b - y) ** 2).sum()), float(b.sum())))
    return best[1]


def summary(rows: Sequence[Row], relative: bool = False) -> dict[str, float]:
    """Errors of the answers, in losses or percent."""
    told = [r for r in rows if r.value is not None]
    if not told:
        return {"asked": len(rows), "answered": 0}
    truth = np.array([r.truth for r in told])
    unit = truth / 100 if relative else np.ones_like(truth)
    off = np.abs([r.value for r in told] - truth) / unit
    half = np.array([r.half for r in told]) / unit
    beside = {
        name: np.abs(np.array([getattr(r, name) for r in told]) - truth) / unit for name in ("last", "others", "power")
    }
    return {
        "asked": len(rows),
        "answered": len(told),
        "mean": float(off.mean()),
        "median": float(np.median(off)),
        "worst": float(off.max()),
        "band": float((off <= half + 1e-12).mean()),
        "half": float(np.median(half)),
        "worse than last by": float((off - beside["last"]).max()),
        **{name: float(np.nanmean(values)) for name, values in beside.items()},
    }


# --- the marks ---------------------------------------------------------------------------------------------------------


def marks() -> dict[str, list[Row]]:
    """Every question of the table, by its row."""
    nano, algo, llamas, power = nanogpt(), algoperf(), llama(), multi_power()
    found: dict[str, list[Row]] = {}
    pool = Pool(nano)
    for share in (0.5, 0.7, 0.9):
        found[f"nanoGPT, recipe left out, {share:.0%} seen"] = ask(pool, nano, share, lambda c: c.group)
    for share in (0.5, 0.7, 0.9):
        found[f"nanoGPT, only the other track, {share:.0%} seen"] = ask(pool, nano, share, lambda c: c.kind)
    models = Pool([*nano, *llamas, *power])
    for share in (0.5, 0.7, 0.9):
        found[f"nanoGPT, only llama and multi-power, {share:.0%} seen"] = ask(models, nano, share, _family)
    for share in (0.7, 0.9):
        found[f"llama, only nanoGPT and multi-power, {share:.0%} seen"] = ask(models, llamas, share, _family)
        found[f"multi-power, only nanoGPT and llama, {share:.0%} seen"] = ask(models, power, share, _family)
    pool = Pool(algo)
    for share in (0.7, 0.8, 0.9):
        found[f"AlgoPerf, cosine, task left out, {share:.0%} seen"] = ask(pool, algo, share, lambda c: c.group)
    found["AlgoPerf, cosine, task among the past runs, 80% seen"] = ask(pool, algo, 0.8, lambda c: c.curve.name)
    cycles = algoperf(2)
    found["AlgoPerf, two cycles, task left out, 80% seen"] = ask(Pool([*algo, *cycles]), cycles, 0.8, lambda c: c.group)
    found["cosine in 16 losses, the first 5 seen, model left out"] = first_five(llamas, power, nano)
    found |= trunks(llamas, [*nano, *power])
    return found


def _family(c: Case) -> str:
    return c.kind.split()[0]


def first_five(llamas: Sequence[Case], power: Sequence[Case], nano: Sequence[Case]) -> list[Row]:
    """Cosines of language models, thinned to 16 losses, asked about their end from the first 5."""
    pool = Pool([*llamas, *power, *nano])
    rows = []
    for c in pool.cases:
        cosine = (c.cooldown == -1.0 and c.kind.startswith("llama")) or "cosine" in c.curve.name
        if not cosine or len(c.curve) < 32 or c.curve.updates[0] > len(c.rates) / 16:
            continue
        at = [int(np.abs(c.curve.updates - len(c.rates) * k / 16).argmin()) for k in range(1, 17)]
        thin = Case(Curve(c.curve.updates[at], c.curve.loss[at], c.rates, c.curve.name), c.rates, c.kind, c.group)
        model = c.group.rsplit(" ", 1)[0]
        prior = pool.prior(lambda other, model=model: other.group.rsplit(" ", 1)[0] != model)
        rows.append(row(thin, 5, prior, [], 5 / 16))
    return rows


def trunks(llamas: Sequence[Case], strangers: Sequence[Case]) -> dict[str, list[Row]]:
    """Ends of 25,000 updates with cooldowns of .1 to .9, from the trunk's first 15,000 or what the two share."""
    big = [c for c in llamas if c.kind == "llama"]
    half = [Case(_cut(c.curve, 15_000), c.rates[:15_000], c.kind, c.group, 0.0, 15_000) for c in big if c.cooldown == 0]
    pool = Pool([*big, *half, *strangers])
    found: dict[str, list[Row]] = {}
    for peak in ("0.0005", "0.001", "0.002"):
        here = [c for c in big if c.group.endswith(" " + peak)]
        trunk = max((c for c in here if c.cooldown == 0), key=lambda c: len(c.curve))
        asked = [c for c in here if c.updates == 25_000 and c.cooldown > 0]
        alone, helped = [], []
        for c in asked:
            branch = min(15_000, round((1 - c.cooldown) * 25_000))
            seen = int((trunk.curve.updates <= branch).sum())
            at, loss = trunk.curve.updates[:seen], trunk.curve.loss[:seen]
            whole = Curve(np.append(at, len(c.rates)), np.append(loss, c.curve.loss[-1]), c.rates, c.curve.name)
            from_trunk = Case(whole, c.rates, c.kind, c.group)
            alone.append(row(from_trunk, seen, pool.prior(lambda o: o.kind != "llama"), [], 0.6))
            may = lambda o, peak=peak: o.kind == "llama" and (not o.group.endswith(" " + peak) or o.updates == 15_000)  # noqa: E731
            helped.append(row(from_trunk, seen, pool.prior(may), [], 0.6))
        found[f"llama, trunk to 15,000 alone, peak {peak}"] = alone
        found[f"llama, and finished runs of 15,000, peak {peak}"] = helped
    return found


def _cut(curve: Curve, updates: int) -> Curve:
    n = int((curve.updates <= updates).sum())
    return Curve(curve.updates[:n], curve.loss[:n], curve.rates[:updates], curve.name)


def rank(rows: Sequence[Row]) -> tuple[float, float]:
    """Rank correlation of the answers with the truth, and how much worse the run that is said to be best came out."""
    told = [r for r in rows if r.value is not None]
    if len(told) < 3:
        return np.nan, np.nan
    order = [np.argsort(np.argsort([getattr(r, key) for r in told])) for key in ("value", "truth")]
    chosen = min(told, key=lambda r: r.value or np.inf)
    return float(np.corrcoef(order)[0, 1]), chosen.truth - min(r.truth for r in told)


def ship(folder: Path) -> None:
    """Write the priors that laju brings, from curves whose licence allows it."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {
        "adamw-language": (
            [*llama(), *multi_power()],
            ("llama-124m", "multi-power-law"),
            "Hägele et al., arXiv 2405.18392, and Schaipp et al., arXiv 2501.18965; Luo et al., arXiv 2503.12811",
        ),
        "muon-language": (
            nanogpt(),
            ("nanogpt-speedrun",),
            "github.com/KellerJordan/modded-nanogpt, records and optimization track",
        ),
        "algoperf": (
            algoperf(),
            ("algoperf",),
            "MLCommons, github.com/mlcommons/submissions_algorithms, AlgoPerf v0.5, submissions baseline and cyclic_lr",
        ),
    }
    for name, (cases, folders, source) in made.items():
        licence = _licence([(shared() / each / "LICENSE").read_text(encoding="utf-8") for each in folders])
        prior = learn([c.curve for c in cases], [c.group for c in cases], name=name, source=source, licence=licence)
        prior.save(folder / f"{name}.json")
        print(f"{folder / name}.json: {len(prior)} runs, {(folder / f'{name}.json').stat().st_size:,} bytes")


def _licence(texts: Sequence[str]) -> str:
    """The licence that goes with the curves: MIT's whole text with every copyright line, or the name of Apache's, laju's own."""
    if all("Apache License" in text and "Version 2.0" in text for text in texts):
        return "Apache-2.0, https://www.apache.org/licenses/LICENSE-2.0"
    parts = [text.strip().split("\n\n", 2) for text in texts]
    terms = {" ".join(part[2].split()) for part in parts}
    if any(part[0] != "MIT License" for part in parts) or len(terms) != 1:
        sys.exit("the curves' licences are not known to allow what is shipped")
    return "\n\n".join(["MIT License", "\n".join(part[1] for part in parts), terms.pop()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ship", type=Path, help="write the shipped priors to this folder, and do nothing else")
    parser.add_argument(
        "--worst", action="store_true", help="list the five worst answers of each row, and the refusals"
    )
    parser.add_argument("--json", type=Path, help="write every answer")
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    if chosen.ship:
        ship(chosen.ship)
        return
    found = marks()
    columns = ("mean", "median", "worst", "band", "half", "last", "others", "power")
    print("| what | answered | " + " | ".join(columns) + " |")
    print("| --- " * (2 + len(columns)) + "|")
    for name, rows in found.items():
        relative = name.startswith("AlgoPerf")
        s = summary(rows, relative)
        digits = ".2f" if relative else ".4f"
        cells = [
            "" if c not in s or np.isnan(s[c]) else f"{s[c]:.2f}" if c == "band" else f"{s[c]:{digits}}"
            for c in columns
        ]
        print(f"| {name}{' (%)' if relative else ''} | {s['answered']} of {s['asked']} | " + " | ".join(cells) + " |")
        if name.startswith("llama, and"):
            correlation, regret = rank(rows)
            print(f"| … rank correlation {correlation:.2f}, regret {regret:.4f} |" + " |" * (1 + len(columns)))
        if chosen.worst:
            told = sorted((r for r in rows if r.value is not None), key=lambda r: -abs(r.value - r.truth) / r.truth)
            for r in told[:5]:
                print(f"    {r.run}: {r.value:.4f} ± {r.half:.4f}, came out {r.truth:.4f} (last {r.last:.4f})")
            for why, many in sorted(_counted(r.refused for r in rows if r.refused).items()):
                print(f"    refused {many}: {why}")
    if chosen.json:
        chosen.json.write_text(json.dumps({name: [asdict(r) for r in rows] for name, rows in found.items()}, indent=1))


def _counted(reasons: Iterable[str]) -> dict[str, int]:
    found: dict[str, int] = defaultdict(int)
    for reason in reasons:
        found[reason[:60] + "…"] += 1
    return found


if __name__ == "__main__":
    main()
