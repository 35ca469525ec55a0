"""The findings of a comparison, computed once: the value for the table, the page, the pictures, the CSV files and the JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from laju.lab.comparison import ranking
from laju.lab.comparison.ranking import Lead, Standing
from laju.lab.comparison.results import Results
from laju.lab.comparison.rows import Agreement, Row, agreements, rows
from laju.lab.statistics import LEAST_SEEDS, Estimate, Evidence, counted, evidence


@dataclass(frozen=True)
class Findings:
    """The findings of a comparison.

    Attributes:
        comparison: the trials on which the findings are based.
        difference: a difference in test accuracy; `standings` and `verdict` say how many seeds would show the difference.
        rows: a row for each schedule, in the given order.
        standings: the standing of each schedule, the best first: the rank, the probability of being the best, and the number of
            seeds that would show more. Empty if no seed was run with every schedule.
        anytime: a flat row for each epoch and schedule, for `pandas.DataFrame`: the mean test accuracy with failed trials as
            guessing, the probability of being the best, and whether the schedule leads.
        leads: the schedule with the best mean test accuracy, for each range of epochs.
        agreement: the results of the same schedule in several frameworks, for every schedule that was trained in several.
        warnings: facts that a reader should know before trusting the table, most serious first.
        verdict: the comparison in a sentence: the significant differences, the mere leads, and the command that would decide.
    """

    comparison: Results
    difference: float
    rows: tuple[Row, ...]
    standings: tuple[Standing, ...]
    anytime: tuple[dict[str, Any], ...]
    leads: tuple[Lead, ...]
    agreement: tuple[Agreement, ...]
    warnings: tuple[str, ...]
    verdict: str

    def to_json(self) -> dict[str, Any]:
        """All findings as values that `json.dumps` accepts; numbers that JSON lacks (NaN, infinities) become null."""
        results, plan = self.comparison, self.comparison.plan
        content = {
            "verdict": self.verdict,
            "task": results.task,
            "description": results.description,
            "data": results.data,
            "plan": {**vars(plan), "updates_per_epoch": plan.updates_per_epoch, "updates": plan.updates},
            "optimizer": str(results.optimizer),
            "seeds": list(results.seeds),
            "tuned": results.tuned,
            "schedules": {name: str(schedule) for name, schedule in results.schedules.items()},
            "frameworks": results.frameworks,
            "guessing": results.guessing,
            "summary": [{**vars(row), "note": row.note} for row in self.rows],
            "standings": [vars(row) for row in self.standings],
            "difference": self.difference,
            "leads": [vars(lead) for lead in self.leads],
            "anytime": self.anytime,
            "agreement": [{**vars(row), "agree": row.agree} for row in self.agreement],
            "race": results.race and results.race.to_json(),
            "beside": [run.to_json() for run in results.beside],
            "warnings": self.warnings,
            "trials": results.trials(),
            "records": results.records(),
        }
        plain: dict[str, Any] = _plain(content)
        return plain


def findings(results: Results, difference: float, command: str) -> Findings:
    """The findings of a comparison; see `Comparison.findings`."""
    lines, shared, by_epoch = rows(results), agreements(results), ranking.anytime(results)
    return Findings(
        results,
        difference,
        tuple(lines),
        tuple(ranking.standings(results, difference)),
        tuple(by_epoch),
        tuple(ranking.leads(by_epoch)),
        tuple(shared),
        tuple(_warnings(results, lines, shared)),
        ranking.verdict(results, lines, shared, difference, command),
    )


def _warnings(results: Results, rows: list[Row], agreements: list[Agreement]) -> list[str]:
    found = []
    for row in rows:
        if row.diverged or row.collapsed:
            left = (
                f"its means are over the {counted(row.finished, 'seed')} left, which flatters it"
                if row.finished
                else "no mean"
            )
            found.append(f"{row.name}: {row.note}; {left}.")
        elif row.missing:
            found.append(f"{row.name}: {row.note}; the comparison was interrupted.")
    for name, schedule in results.schedules.items():
        rate, updates = schedule.resolve(results.plan), min(results.plan.updates_per_epoch, results.plan.updates)
        if rate(0) == 0 and not rate.values(updates).any():
            found.append(
                f"{name}: the rate is 0 in the whole first epoch, so {updates:,} of {results.plan.updates:,} updates change "
                "nothing; with first=True a warmup starts a step above 0."
            )
    for shared in agreements:
        apart = [f for f, d in shared.differences.items() if evidence(d) is Evidence.SHOWN]
        if apart:
            first = next(iter(shared.accuracies))
            found.append(f"{shared.name}: test accuracy in {' and '.join(apart)} differs from that in {first}.")
    if _momentum_differs(results):
        found.append(
            "Momentum is each framework's own: TensorFlow and MXNet multiply a gradient by the rate of its own update, torch "
            "and JAX by that of the update that uses it, so they part where the rate changes."
        )
    if len(results.schedules) > len(set(results.frameworks.values())) and not results.tuned:
        found.append(
            "The base rate was not tuned for each schedule: one may trail only because its peak rate does not suit "
            "this task. Tune each before ranking them."
        )
    found += results.notes
    found += [f"{run.name}: {note}." for run in results.beside for note in run.notes]
    if results.race and results.reference != (entered := results.race.entered[0]):
        found.append(f"{entered}, the first schedule, was dropped on the way: differences are to {results.reference}.")
    if len(results.seeds) < LEAST_SEEDS:
        few = f"{counted(len(results.seeds), 'seed')} give{'s' if len(results.seeds) == 1 else ''} no intervals"
        found.append(f"{few}: differences may be chance. Run {LEAST_SEEDS} or more.")
    return found


def _momentum_differs(results: Results) -> bool:
    """Whether the comparison has frameworks whose momentum differs under a changing rate."""
    met = set(results.frameworks.values())
    return results.optimizer.momentum > 0 and bool(met & {"torch", "jax"}) and bool(met & {"tensorflow", "mxnet"})


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, Estimate):
        return _plain(value.to_json())
    if hasattr(value, "item"):  # a NumPy number
        return _plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value
