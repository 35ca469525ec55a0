"""How often `laju.recognise` finds the formula behind drawn logs, and how long that takes.

Every log has the rates of a policy with drawn parameters at some updates: with 3 to 16 digits, every 1st to 100th update, from
update 0 on or later, up to the end of the run or cut short, and sometimes a few updates late, as after skipped updates.
The table of docs/dialects/recognise.md is printed here.

The rows *determine* a formula if no small change of its numbers, all of them together, leaves every printed digit as it is: the
smallest singular value of the rows' change, in half units of the last digit, by changes of 1 % of every number is above 2.

An answer is right if it has the rates of the drawn schedule at every update from the first row to the last; where the answer says
that a step lies somewhere between two rows, at every row. It is wrong without a doubt if it is not and does not say so.

    python benchmarks/recognise_logs.py [--logs 400] [--seed 0] [--limit 20]
"""

from __future__ import annotations

import argparse
import ast
import math
import signal
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

import laju

Numbers = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], str]


def _peak(rng: np.random.Generator) -> float:
    if rng.random() < 0.8:
        return float(rng.choice([0.3, 0.1, 0.05, 1e-3, 6e-4, 3e-4, 5e-5, 2e-5, 1e-5]))
    return float(f"{10 ** rng.uniform(-5, -1):.2e}")


def _warmup(rng: np.random.Generator, total: int) -> int:
    return max(1, math.ceil(total * float(rng.choice([0.01, 0.03, 0.05, 0.1]))))


def _share(rng: np.random.Generator, peak: float) -> float:
    return float(f"{peak * float(rng.choice([0.1, 0.01, 0.05])):.12g}")


def _milestones(rng: np.random.Generator, total: int) -> list[int]:
    return sorted(int(total * share) for share in rng.choice([0.3, 0.5, 0.6, 0.75, 0.9], 2, replace=False))


DRAWS: dict[str, Draw] = {
    "constant": lambda r, n: f"constant({_peak(r)})",
    "constant after warmup": lambda r, n: f"linear(0.0, {(p := _peak(r))}, total={_warmup(r, n)}) >> {p}",
    "cosine": lambda r, n: f"cosine({_peak(r)}, total={n})",
    "cosine, warmup": lambda r, n: f"cosine({_peak(r)}, total={n}, warmup={_warmup(r, n)})",
    "cosine, floor": lambda r, n: f"cosine({(p := _peak(r))}, total={n}, final={_share(r, p)}, warmup={_warmup(r, n)})",
    "linear": lambda r, n: f"linear({(p := _peak(r))}, {_share(r, p)}, total={n})",
    "linear to 0, warmup": lambda r, n: f"linear_to_zero({_peak(r)}, total={n}, warmup={_warmup(r, n)})",
    "constant, then linear": lambda r, n: f"wsd({_peak(r)}, total={n}, cooldown={n // 2})",
    "poly": lambda r, n: f"poly({_peak(r)}, total={n}, power={r.choice([0.5, 0.9, 2.0, 3.0])}, warmup={_warmup(r, n)})",
    "inverse_sqrt": lambda r, n: f"inverse_sqrt({_peak(r)}, warmup={_warmup(r, n)})",
    "noam": lambda r, n: f"noam({r.choice([512, 768, 1024])}, {_warmup(r, n)})",
    "inverse_time": lambda r, n: f"inverse_time({_peak(r)}, {r.choice([0.01, 0.001])})",
    "polynomial_decay": lambda r, n: f"polynomial_decay({_peak(r)}, alpha={r.choice([0.55, 0.75])}, beta=0.1)",
    "exponential": lambda r, n: f"exponential({(p := _peak(r))}, {_share(r, p)}, total={n})",
    "natural_exponential": lambda r, n: f"natural_exponential({_peak(r)}, rate={r.choice([1e-3, 5e-4])})",
    "factor": lambda r, n: f"factor({_peak(r)}, {r.choice([0.999, 0.9995])})",
    "wsd": lambda r, n: f"wsd({_peak(r)}, total={n}, cooldown={n // 5}, warmup={_warmup(r, n)})",
    "wsd, 1-sqrt": lambda r, n: (
        f"wsd({_peak(r)}, total={n}, cooldown={n // 4}, warmup={_warmup(r, n)}, shape='1-sqrt')"
    ),
    "flat_cosine": lambda r, n: f"flat_cosine({_peak(r)}, total={n}, flat={n // 2})",
    "rex": lambda r, n: f"rex({_peak(r)}, total={n})",
    "tanh_decay": lambda r, n: f"tanh_decay({_peak(r)}, total={n})",
    "factor, steps": lambda r, n: f"factor({_peak(r)}, {r.choice([0.1, 0.5])}, every={n // int(r.integers(3, 7))})",
    "multi_factor": lambda r, n: f"multi_factor({_peak(r)}, {_milestones(r, n)}, {r.choice([0.1, 0.2])})",
    "piecewise_constant": lambda r, n: (
        f"piecewise_constant({_milestones(r, n)}, [{(p := _peak(r))}, {_share(r, p)}, {p / 2}])"
    ),
    "one_cycle": lambda r, n: f"one_cycle({_peak(r)}, total={n})",
    "cosine_restarts": lambda r, n: (
        f"cosine_restarts({_peak(r)}, every={n // int(r.integers(3, 7))}, growth={r.choice([1, 2])}, "
        f"decay={r.choice([1.0, 0.5])})"
    ),
    "triangular": lambda r, n: f"triangular({_share(r, p := _peak(r))}, {p}, up={n // int(r.integers(4, 9))})",
    "triangular2": lambda r, n: f"triangular2({_share(r, p := _peak(r))}, {p}, up={n // int(r.integers(4, 9))})",
    "exponential_warmup": lambda r, n: f"exponential_warmup({_peak(r)}, {_warmup(r, n)})",
    "knots": lambda r, n: f"knots([(0, 0), ({n // 5}, {(p := _peak(r))}), ({n // 2}, {_share(r, p)}), ({n}, 0)])",
}


@dataclass(frozen=True)
class Log:
    """Rows (update, printed rate) of a drawn schedule, whose rates are `lag` updates late."""

    kind: str
    text: str
    rows: list[tuple[int, float | str]]
    digits: int
    lag: npt.NDArray[np.int64]
    """Of each row."""

    @property
    def updates(self) -> npt.NDArray[np.int64]:
        return np.array([t for t, _ in self.rows])

    @property
    def rates(self) -> Numbers:
        return np.array([float(rate) for _, rate in self.rows])

    @property
    def halves(self) -> Numbers:
        """Half a unit of each rate's last digit."""
        size = np.maximum(np.abs(self.rates), 1e-300)
        if self.digits == 16:
            return np.full(len(size), 8 * np.spacing(size.max()))
        return np.asarray(0.5 * 10.0 ** (np.floor(np.log10(size)) + 1 - self.digits)) + 8 * np.spacing(size.max())


def draw(seed: int, number: int) -> Log:
    rng = np.random.default_rng([seed, number])
    kind = list(DRAWS)[number % len(DRAWS)]
    every = int(rng.choice([1, 5, 10, 50, 100]))
    total = int(every * rng.integers(40, 160) + rng.integers(0, every)) if every > 1 else int(rng.integers(200, 1200))
    text = DRAWS[kind](rng, total)
    schedule = laju.parse(text)
    first = int(rng.choice([0, every, every - 1, 3 * every]))
    last = int(total * rng.choice([1.0, 1.0, 0.8, 0.5]))
    updates = np.arange(first, last, every)
    lag = np.zeros(len(updates), int)
    if rng.random() < 0.08:  # skipped updates: at first, and some once more
        lag += int(rng.choice([2, 3, 5])) + (rng.random() < 0.5) * (updates > rng.uniform(0, 2 * last))
    digits = int(rng.choice([16, 16, 16, 3, 4, 5, 6, 6, 7, 9]))
    form = rng.choice(["e", "g"])
    rates = [float(x) for x in schedule(np.maximum(updates - lag, 0))]
    printed = rates if digits == 16 else [f"{x:.{digits - 1}e}" if form == "e" else f"{x:.{digits}g}" for x in rates]
    return Log(kind, text, list(zip(updates.tolist(), printed, strict=True)), digits, lag)


def determined(log: Log) -> bool:
    """Whether changes of the formula's numbers change the rows."""
    tree = ast.parse(log.text, mode="eval")
    literals = [n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, int | float)]
    literals = [n for n in literals if n.value and not isinstance(n.value, bool)]
    at = np.maximum(log.updates - log.lag, 0)
    rates = np.asarray(laju.parse(log.text)(at))

    def change(node: ast.Constant, share: float) -> Numbers:
        own = node.value
        assert isinstance(own, int | float)
        node.value = own + max(1, round(own * share)) if isinstance(own, int) and own > 8 else own * (1 + share)
        try:
            return np.asarray((np.asarray(laju.parse(ast.unparse(tree))(at)) - rates) / log.halves)
        except ValueError:
            return np.zeros(len(rates))
        finally:
            node.value = own

    changes = []
    for node in literals:
        small = next((c for share in (0.01, -0.01) if (c := change(node, share)).any()), None)
        if small is not None:
            changes.append(small)
        elif change(node, 1.0).any() or change(node, -0.5).any():
            return False
    if not changes:
        return False
    *_, directions = np.linalg.svd(np.stack(changes, 1), full_matrices=False)
    return bool(np.abs(np.stack(changes, 1) @ directions[-1]).max() > 2)


@dataclass(frozen=True)
class Answer:
    determined: bool
    formula: bool
    right: bool
    certain: bool
    contradicted: bool
    seconds: float
    said: str


def ask(log: Log, limit: int) -> Answer:
    """What `recognise` answers, and whether that is right at every update from the first row to the last."""

    def late(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, late)
    signal.alarm(limit)
    begin = time.process_time()
    try:
        found = laju.recognise(log.rows)
    except TimeoutError:
        return Answer(determined(log), False, False, False, False, float(limit), "no answer in time")
    finally:
        signal.alarm(0)
    seconds = time.process_time() - begin
    t, lag = log.updates, getattr(found, "lag", 0)
    slack = log.halves * (1 + 1e-9)
    apart = np.min(
        [np.abs(np.asarray(found.schedule(np.maximum(t - k, 0))) - log.rates) for k in range(lag + 1)], axis=0
    )
    between = np.arange(t[0], t[-1] + 1)
    if "lies between them" in found.note:  # where in the gap a step is, is told to be open
        between = t
    truth = np.asarray(laju.parse(log.text)(np.maximum(between - log.lag[np.searchsorted(t, between)], 0)))
    told = [np.asarray(found.schedule(np.maximum(between - k, 0))) for k in range(lag + 1)]
    near = float(log.halves.max()) * 3 + (1e-9 if log.digits == 16 else 0) * float(np.abs(truth).max())
    unsure = "between" in found.note or "would fit" in found.note
    right = found.is_formula and bool(np.min(np.abs(told - truth), axis=0).max() <= near)
    return Answer(
        determined(log),
        found.is_formula,
        right,
        found.is_formula and not right and not unsure,
        found.is_formula and bool((apart > np.maximum(slack, found.tolerance if log.digits == 16 else 0)).any()),
        seconds,
        f"{found}"[:160],
    )


def _percent(answers: list[Answer]) -> str:
    return f"{sum(a.right for a in answers) / len(answers):.0%} of {len(answers)}" if answers else "–"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=20, help="seconds after which a log counts as not answered")
    parser.add_argument("--misses", action="store_true", help="print the logs that were not told rightly")
    options = parser.parse_args()
    kinds = defaultdict[str, list[Answer]](list)
    for number in range(options.logs):
        log = draw(options.seed, number)
        answer = ask(log, options.limit)
        kinds[log.kind].append(answer)
        if options.misses and not (answer.right and answer.seconds < 2):
            print(
                number, log.text, f"lag={log.lag[0]}..{log.lag[-1]} digits={log.digits} rows={len(log.rows)}", end=" "
            )
            print(f"first={log.rows[0][0]} last={log.rows[-1][0]}:", answer, flush=True)
    print(
        "| policy | right where the rows determine it | right | wrong, without a doubt | contradicted | median s | worst s |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for kind, answers in [*kinds.items(), ("**all**", [answer for each in kinds.values() for answer in each])]:
        times = [a.seconds for a in answers]
        sure = [a for a in answers if a.determined]
        print(
            f"| {kind} | {_percent(sure)} | {_percent(answers)} | {sum(a.certain for a in answers)} "
            f"| {sum(a.contradicted for a in answers)} | {statistics.median(times):.2f} | {max(times):.2f} |"
        )


if __name__ == "__main__":
    main()
