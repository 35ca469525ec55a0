"""The forecast of a run's final loss from its losses so far, or the refusal of a forecast with its reason.

The forecast is the mean of many small linear models (`candidates`), weighted by their errors on past runs at the same share of
the run (`judging`). The band comes from the errors of the whole method on the past runs. A rolling test on the run's own curve
only chooses the prior: the rows seen say nothing about a cooldown to come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from statistics import NormalDist
from typing import Any

import numpy as np

from laju.core.checks import is_number, shown, whole
from laju.core.schedule import Schedule
from laju.forecast.blocks import Array, Updates
from laju.forecast.candidates import Question, Track, law_shares, track
from laju.forecast.curves import Rates, as_rates, checked_updates
from laju.forecast.judging import (
    ALONE_ANNEALED,
    ANNEALED,
    LEAST_ROWS,
    MISFIT,
    NEAR,
    RISE,
    TWIN,
    TWIN_AKIN,
    Judges,
    Verdict,
    answer,
    rise,
)
from laju.forecast.prior import BRANCHES, SHIPPED, PastRun, Prior, same_until, shipped, thinned
from laju.forecast.smoothed import averaged

_CUTS = (0.5, 0.7, 0.85)
"""Shares of the rows seen from which the rolling test predicts the last row."""
_NOTHING = 1e-6
"""Learning rate over the peak below which weights hardly change."""
_CURE = "one finished run of this recipe at this peak rate, as a past run (--prior LOG; laju.forecast.learn), would settle it"


MOST_UPDATES = 10_000_000
"""The most updates of a run: each update's learning rate is kept, and a longer run would take minutes and gigabytes."""


@dataclass(frozen=True)
class Tested:
    """A prediction of the rolling test: the last loss seen, predicted from the rows up to an earlier update."""

    update: int
    predicted: float
    measured: float

    @property
    def error(self) -> float:
        """The relative error of the prediction, signed."""
        return self.predicted / self.measured - 1


@dataclass(frozen=True)
class RestsOn:
    """A past run on which a forecast is based.

    `weight` is the run's share of all weights, `distance` its dissimilarity (0 is identical), and `error` the signed relative
    error of the run's own final loss, predicted at the same share of the run without the run's group.
    """

    run: str
    group: str
    weight: float
    distance: float
    error: float


@dataclass(frozen=True)
class Ending:
    """The forecast of a run's final loss with a band, or a refusal with its reason.

    Attributes:
        value: the forecast loss at update `at`; None if refused, like `low` and `high`.
        low: lower end of the band.
        high: upper end of the band.
        refused: why there is no forecast, and the cure; None if there is a forecast.
        law: the share of each law in the forecast.
        misfit: relative root mean square of the residuals of the closest candidate on the rows seen.
        tested: the rolling test on the run's own curve; reported, without effect on the value.
        prior: name of the past runs used; None if the forecast uses the curve alone.
        rests_on: the past runs with the largest weights.
        nearest: distance to the nearest past run; None without past runs.
        annealed: share of the run's annealing that has been seen.
        at: the update of the forecast.
        seen: the last update seen.
        last: the loss at update `seen`.
        level: probability of the band.
        notes: corrections made to the log, and the reach of the forecast.
    """

    value: float | None
    low: float | None
    high: float | None
    refused: str | None
    law: str = ""
    misfit: float | None = None
    tested: tuple[Tested, ...] = ()
    prior: str | None = None
    rests_on: tuple[RestsOn, ...] = ()
    nearest: float | None = None
    annealed: float | None = None
    at: int | None = None
    seen: int | None = None
    last: float | None = None
    level: float = 0.9
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The answer and its grounds, a line for each."""
        if self.law == "measured":
            return f"ended at {self.value:.5g} after {self.at:,} updates; the run is over"
        if self.refused:
            lines = [f"no answer: {self.refused}"]
        else:
            band = f"{self.level:.0%} between {self.low:.5g} and {self.high:.5g}"
            lines = [f"ends at {self.value:.5g} after {self.at:,} updates, {band}"]
            lines.append(f"seen: {self.last:.5g} at update {self.seen:,}, {self.annealed:.0%} of the annealing")
        if self.rests_on:
            runs = ", ".join(f"{r.run} ({r.weight:.0%}, off by {r.error:+.2%} there)" for r in self.rests_on[:3])
            lines.append(f"rests on {self.prior!r}: {runs}; distance to the nearest {self.nearest:.2f}")
        elif not self.refused:
            lines.append("rests on this curve alone")
        if self.tested:
            tests = ", ".join(f"{t.error:+.2%} from update {t.update:,}" for t in self.tested)
            lines.append(f"its own last loss was predicted with errors of {tests}; misfit {self.misfit:.2%}")
        return "\n".join([*lines, *self.notes])


def ending(
    updates: Any,
    losses: Any,
    schedule: Rates,
    at: int | None = None,
    level: float = 0.9,
    prior: Prior | str | PathLike[str] | None = "auto",
) -> Ending:
    """Forecast the final loss of a run from its losses so far.

    The forecast does not depend on the scale of the learning rates, and is deterministic.

    Args:
        updates: completed updates of the n rows so far; shape (n,). A resumed log may repeat updates: the later rows count.
        losses: the losses after these updates; shape (n,). Rows whose loss is not finite are left out, with a note.
        schedule: learning rates of the whole run, a Schedule in updates or a rate for each update from 0.
        at: the update whose loss is forecast; by default the schedule's end.
        level: probability of the band; 0.9 by default.
        prior: past runs from `learn`; the path of a prior's JSON file; the name of shipped runs ("adamw-language",
            "muon-language", "algoperf"); None for the curve alone; or "auto", the shipped runs that predict the curve's own past
            best, and no past runs if none of the shipped runs helps.

    Returns:
        The forecast; or, if the losses carry too little information, a refusal with its reason and cure (no exception).

    Raises:
        ValueError: if arguments contradict each other or are not numeric, or learning rates are missing or too few.
        UnresolvedError: if the schedule is not in updates.

    >>> import laju, numpy as np
    >>> at = np.arange(100, 1601, 100)
    >>> run = laju.cosine(0.1, total=2000)
    >>> found = ending(at, 3 + 0.4 * (at / 100) ** -0.5 + 0.2 * run.values(2001)[at] / 0.1, run, prior=None)
    >>> found.refused is None and found.low < found.value < found.high
    True
    """
    if not isinstance(level, int | float) or not 0 < level < 1:
        raise ValueError(f"level must be between 0 and 1, got {shown(level)}")
    rates, end = whole_run(schedule, at)
    used = prior_runs(prior)
    notes: list[str] = []
    try:
        rows, values = _rows(updates, losses, notes)
        _check(rows, values, rates)
    except _Refusal as refusal:
        return Ending(None, None, None, str(refusal), at=end, level=level, notes=tuple(notes))
    seen, last = int(rows[-1]), float(values[-1])
    if end - 1 <= seen <= end:  # where updates are counted from 0, the last update has the number end - 1
        return Ending(last, last, last, None, "measured", annealed=1.0, at=end, seen=seen, last=last, level=level)
    if seen > end:
        raise ValueError(f"at must not be before the last row, at update {seen:,}; got {end:,}")
    if averaged(values):
        notes.append(
            "neighbouring losses move together, as those of a moving average do, which lags behind a cooldown; log raw losses"
        )
    trained = int(np.flatnonzero(rates > _NOTHING * rates.max())[-1]) + 1
    still = values[rows >= trained]
    if len(still) >= LEAST_ROWS:
        notes.append(
            f"nothing is trained after update {trained:,}, as the learning rate is 0; the answer is the mean of the later losses"
        )
        value, half = float(still.mean()), _noise(still, level)
        told = Ending(
            value, value - half, value + half, None, "rate 0", annealed=1.0, at=end, seen=seen, last=last, level=level
        )
        return replace(told, notes=tuple(notes))
    used = _without_itself(used, rows, values, rates, notes)
    rows, values = thinned(rows, values)
    run = track(rows, values, rates)
    chosen, tested = _choose(run, rows, used, level)
    q, past = _question(run, rows, values, rates, chosen)
    verdict = answer(q, past, level)
    twins = _twins(q, verdict, chosen, level)
    if twins is not None:
        past, verdict = twins
        notes.append(
            f"no law describes the losses so far (misfit {verdict.misfit:.1%}), so the answer is based on the nearest past runs"
        )
    _check_reach(seen, end, tested, notes)
    if q.beside:
        notes.append(f"fitted together with {len(q.beside)} past runs from the same trunk")
    base = float(values[-1])
    told = Ending(
        base * verdict.answer,
        base * max(verdict.answer - verdict.half, 0.0),
        base * (verdict.answer + verdict.half),
        None,
        ", ".join(f"{name} {share:.0%}" for name, share in law_shares(verdict.votes).items()),
        verdict.misfit,
        tested,
        None if past is None or chosen is None else chosen.name,
        () if past is None or chosen is None else _rests_on(verdict, past, chosen.runs),
        None if past is None else verdict.nearest,
        run.annealed(len(run) - 1),
        end,
        seen,
        last,
        level,
        tuple(notes),
    )
    why = _why_not(run, verdict, past, q.known, twins is not None)
    return told if why is None else _refused(told, why)


# --- the question ------------------------------------------------------------------------------------------------------


class _Refusal(Exception):
    """The rows say too little."""


def whole_run(schedule: Any, at: Any) -> tuple[Array, int]:
    """The learning rate of each update of the whole run, and the update of the forecast."""
    if schedule is None:
        raise ValueError("schedule must be a Schedule or one rate for each update of the whole run, got None")
    if isinstance(schedule, str):
        from laju.text import parse

        schedule = parse(schedule)
    if at is not None:
        end = whole("at", at, least=1)
    elif isinstance(schedule, Schedule):
        length = schedule.length
        if length is None:
            raise ValueError(f"at must be given, as {shown(schedule)} has no end")
        if not is_number(length):
            schedule.values(1)  # says which unit is not known
        end = int(length)
    else:
        end = int(np.asarray(schedule).size)
    if end > MOST_UPDATES:
        raise ValueError(
            f"at must be at most {MOST_UPDATES:,} updates, got {end:,}; count the rows and the lengths of the schedule in "
            "hundreds or thousands of updates, which changes the answer little"
        )
    return as_rates(schedule, end, "schedule"), end


def _rows(updates: Any, losses: Any, notes: list[str]) -> tuple[Updates, Array]:
    """The rows in order, each update once."""
    at = checked_updates(np.asarray(updates), least=0)
    try:
        loss = np.atleast_1d(np.asarray(losses, dtype=np.float64))
    except (TypeError, ValueError):
        raise ValueError(f"losses must be a sequence of numbers, got {shown(losses)}") from None
    if loss.shape != at.shape:
        raise ValueError(f"updates and losses must have the same length, got {at.size} and {loss.size}")
    finite = np.isfinite(loss)
    if finite.any() and not finite[-3:].any():
        raise _Refusal(
            f"the loss is not finite from update {at[np.flatnonzero(finite)[-1] + 1]:,} on: the run diverged; "
            "go back to an earlier checkpoint"
        )
    if not finite.all():
        notes.append(f"{int((~finite).sum())} of {len(loss)} losses are not finite and were left out")
    at, loss = at[finite], loss[finite]
    at, loss = at[at > 0], loss[at > 0]
    back = np.flatnonzero(np.diff(at) <= 0)
    if back.size:
        # Back in the first tenth of the log begins a new run; farther on a resumed run goes on from a checkpoint.
        again = back[at[back + 1] < at[0] + 0.1 * (at[back] - at[0])]
        if any(at[i] > 2 * at[i + 1] and i + 1 >= LEAST_ROWS for i in again):
            i = int(again[0])
            raise _Refusal(
                f"the log has two runs: update {at[i]:,} is followed by update {at[i + 1]:,}; give the rows of a single run"
            )
        # A resumed run writes its updates again: a row stands only if all later rows have higher numbers.
        keep = np.minimum.accumulate(at[::-1])[::-1] == at
        keep &= np.append(np.diff(at) != 0, True)
        last = {int(u): k for k, u in enumerate(at) if keep[k]}
        index = np.array(sorted(last.values()))
        notes.append(
            f"the log repeats updates {back.size} time{'s' * (back.size > 1)}, as resumed runs do; "
            f"{len(at) - len(index)} earlier rows were replaced by later rows"
        )
        at, loss = at[index], loss[index]
    if (loss <= 0).any():
        i = int((loss <= 0).argmax())
        raise _Refusal(f"the loss is {loss[i]:g} at update {at[i]:,}, but the laws describe only positive losses")
    gaps = np.diff(at)
    if len(gaps) > 5 and gaps.max() > 10 * np.median(gaps):
        i = int(gaps.argmax())
        notes.append(f"there is no loss between updates {at[i]:,} and {at[i + 1]:,}")
    return at, loss


def _check(rows: Updates, loss: Array, rates: Array) -> None:
    """Refuse rows that say too little."""
    if len(rows) < LEAST_ROWS:
        raise _Refusal(
            f"{len(rows)} loss{'es' * (len(rows) != 1)} so far, at least {LEAST_ROWS} are needed; wait, or evaluate more often"
        )
    if not rates[: int(rows[-1])].any():
        raise _Refusal("all learning rates so far are 0, so nothing was trained")
    width = max(1, min(5, len(loss) // 3))
    if loss[-width:].mean() >= loss[:width].mean():
        raise _Refusal(
            f"the loss has not fallen: {loss[:width].mean():.4g} at first, {loss[-width:].mean():.4g} now; a run that does not "
            "learn cannot be forecast. For a metric that rises with learning, such as accuracy, forecast the error instead (1 or "
            "100 % minus the accuracy)"
        )


def _noise(losses: Array, level: float) -> float:
    """Half width of the band of another loss after n losses that differ by noise: Student's t, to the first order in 1/n."""
    n = len(losses)
    z = NormalDist().inv_cdf((1 + level) / 2)
    return float(losses.std(ddof=1) * np.sqrt(1 + 1 / n) * z * (1 + (z**2 + 1) / (4 * (n - 1))))


def _question(
    run: Track, rows: Updates, values: Array, rates: Array, prior: Prior | None
) -> tuple[Question, Judges | None]:
    seen, end = len(run), len(rates)
    share = float(run.at[seen - 1])
    if prior is None:
        return Question(run, seen, seen), None
    relatives = _branches(rows, values, rates, prior)
    if relatives:
        past = prior.judges_beside(share, max(r.length for r in relatives) / end)
        if past is not None:
            total = float(rates.sum() / rates.max())
            beside = tuple(r.beside(end, total) for r in relatives)
            return Question(run, seen, seen, beside), past
    return Question(run, seen, seen), prior.judges(share)


def _without_itself(
    priors: tuple[Prior | None, ...], rows: Updates, values: Array, rates: Array, notes: list[str]
) -> tuple[Prior | None, ...]:
    """The priors without the run itself, which would be judged by its own end."""
    kept: list[Prior | None] = []
    for prior in priors:
        same = [] if prior is None else [run for run in prior.runs if run.is_the_end_of(rows, values, rates)]
        if prior is None or not same:
            kept.append(prior)
            continue
        names = ", ".join(run.name for run in same)
        notes.append(f"{names} of {prior.name!r} is this run itself (the same losses and rates) and was left out")
        others = tuple(run for run in prior.runs if run not in same)
        kept.append(replace(prior, runs=others) if others else None)
    return tuple(kept)


def _branches(rows: Updates, values: Array, rates: Array, prior: Prior) -> list[PastRun]:
    """Past runs from the trunk that the run is on; none unless the trunk is known up to now."""
    alike = [
        (run.moved(offset), same_until(rates, run.every_rate))
        for run in prior.runs
        if (offset := run.offset(rows, values, rates)) is not None
    ]
    trunks = {run.group for run, until in alike if min(until, run.updates[-1]) >= 0.9 * rows[-1]}
    return [run for run, _ in alike if run.group in trunks][:BRANCHES]


def prior_runs(prior: Any) -> tuple[Prior | None, ...]:
    """The priors that an argument `prior` names; several if the curve chooses among them."""
    if prior is None:
        return (None,)
    if isinstance(prior, Prior):
        return (prior,)
    if isinstance(prior, str) and prior == "auto":
        return (*(shipped(name) for name in SHIPPED), None)
    if isinstance(prior, str) and prior in SHIPPED:
        return (shipped(prior),)
    if isinstance(prior, PathLike) or (isinstance(prior, str) and prior.endswith(".json")):
        return (Prior.load(prior),)
    raise ValueError(
        f"prior must be a Prior, the path of one (.json), None, 'auto' or one of {', '.join(SHIPPED)}; got {shown(prior)}"
    )


def _choose(
    run: Track, rows: Updates, priors: Sequence[Prior | None], level: float
) -> tuple[Prior | None, tuple[Tested, ...]]:
    """The prior that predicts the own past best, and its rolling test."""
    scored = []
    if len(priors) > 1 and run.annealed(len(run) - 1) < ALONE_ANNEALED:
        priors = [prior for prior in priors if prior is not None]  # alone, the curve would be refused
    for prior in priors:
        tested, score = [], []
        for cut in _CUTS:
            seen = max(int(len(run) * cut), 3)
            if seen >= len(run) - 1 or (len(priors) == 1 and seen < LEAST_ROWS):
                continue
            to = len(run) - 1
            past = None if prior is None else prior.judges(float(run.at[seen - 1]), float(run.at[to]))
            found = answer(Question(run, seen, to), past, level)
            base, measured = float(run.loss[seen - 1]), float(run.loss[to])
            tested.append(Tested(int(rows[seen - 1]), base * found.answer, measured))
            # Relative to the error of the last loss seen as a forecast; the logarithm keeps a single cut from deciding.
            last = abs(base / measured - 1)
            score.append(np.log(abs(tested[-1].error) / (last + 0.003) + 0.02))
        scored.append((float(np.mean(score)) if score else 0.0, prior, tuple(tested)))
    _, prior, told = min(scored, key=lambda s: s[0])
    return prior, told


def _check_reach(seen: int, end: int, tested: Sequence[Tested], notes: list[str]) -> None:
    """Say how much farther the answer reaches than the rolling test did."""
    if not tested:
        return
    longest = max(seen / max(t.update, 1) for t in tested)
    if end / seen > longest:
        notes.append(
            f"the end is {end / seen:.2g} times the updates seen; the rolling test reached {longest:.2g} times, so the rest is "
            "not tested on this curve"
        )


def _twins(q: Question, verdict: Verdict, prior: Prior | None, level: float) -> tuple[Judges, Verdict] | None:
    """Where no law describes a run: the answer by past runs that are nearly the same run, if there are such."""
    if verdict.misfit <= MISFIT or prior is None or q.beside:
        return None
    past = prior.judges_of_twins(float(q.track.at[q.seen - 1]))
    if past is None:
        return None
    found = answer(q, past, level)
    return (past, found) if found.nearest <= TWIN and found.akin <= TWIN_AKIN else None


def _why_not(run: Track, verdict: Verdict, past: Judges | None, known: bool, twins: bool) -> str | None:
    seen = run.annealed(len(run) - 1)
    up = rise(run.loss)
    if up > RISE:
        return (
            f"the smoothed loss is {up:.1%} above its lowest, and where a rising loss ends is not known; look for overfitting "
            "or a rate that is too high"
        )
    if verdict.misfit > MISFIT and not twins:
        return f"no law describes the losses so far: the closest misses them by {verdict.misfit:.1%}; {_CURE}"
    if past is None and seen < ALONE_ANNEALED:
        return f"{seen:.0%} of the annealing is seen, and no past run says what the rest will gain; {_CURE}"
    if past is not None and not known and seen < ANNEALED and verdict.akin > NEAR:
        return (
            f"nothing of the cooldown is seen, and the nearest past run is too far "
            f"(distance {verdict.akin:.2f} with the level of the losses, at most {NEAR}): what the cooldown gains is not known; "
            f"{_CURE}"
        )
    return None


def _refused(told: Ending, why: str) -> Ending:
    return replace(told, value=None, low=None, high=None, refused=why)


def _rests_on(verdict: Verdict, past: Judges, runs: Sequence[PastRun]) -> tuple[RestsOn, ...]:
    """The past runs with the most say."""
    weights = verdict.weights / (verdict.weights.sum() or 1.0)
    distances = verdict.distances
    found = []
    for i in np.argsort(-weights)[:5]:
        if weights[i] < 0.01:
            break
        run = runs[int(past.index[i])]
        found.append(RestsOn(run.name, run.group, float(weights[i]), float(distances[i]), float(past.answers[i] - 1)))
    return tuple(found)
