"""Judge candidates by their errors on similar past runs, at the same share of the run.

The run's own curve cannot judge candidates, as the residuals of the rows seen contain nothing of a cooldown to come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from laju.forecast.blocks import Array
from laju.forecast.candidates import LAWS, Question, Track, solve

Flags = npt.NDArray[np.bool_]

LEAST_ROWS = 5
MISFIT = 0.006
"""Relative misfit of the closest candidate above which a law is said to miss its own curve."""
SOUND = 0.01
"""Relative misfit of the closest candidate above which a past run does not judge candidates."""
RISE = 0.003
"""The largest relative rise of the smoothed loss above its lowest value."""
NEAR = 0.5
"""Largest distance to the nearest past run at which a run with a flat learning rate so far gets a forecast."""
TWIN, TWIN_AKIN = 0.35, 2.0
"""Largest distances, without and with the level of the losses, to a past run for a forecast of a run that no law describes."""
_LEVEL = 25.0
ANNEALED = 0.1
"""Share of the annealing that must be seen if no past run is near."""
ALONE_ANNEALED = 0.5
"""Share of the annealing that must be seen without past runs."""
_ALONE = 1.2
"""Half width of a 90 % band in units, without past runs; contains 90 % of the errors on the curves in the docs."""
_FEW = 3
"""Number of groups below which the errors of past runs alone do not determine the band."""
_STRANGER = 1.6
"""Factor on errors if no past run has similar data and model, measured on llama runs predicted from the two other families."""
_LIKE, _LIKE_BAND = 0.5, 1.5
_B0 = 0.05
_DOUBT = 8.0
"""Power of a score in the vote of a candidate."""
_TAKEN_OFF = (0.0, 0.5, 1.0)
"""Shares of a candidate's mean error on near past runs that are subtracted from its prediction; each is a separate candidate."""


@dataclass(frozen=True)
class Judges:
    """The candidates' errors on past runs, from a share of each run to a later share.

    Attributes:
        index: index of each past run; shape (N,).
        vectors: the coordinates of similarity; shape (N, 7).
        groups: index of the run's group; shape (N,).
        sound: whether the run itself would get a forecast; shape (N,).
        errors: logarithm of each candidate's predicted end over the true end; shape (N, K).
        scores: logarithm of the error of each candidate, after subtracting nothing, half and all of its mean error on the
            remaining runs, in units of the last value's error; shape (N, 3·K), or (N, K) with runs of the same recipe.
        answers: forecasts of the whole method without the run's group, over the true end; shape (N,).
        ratios: errors of the answers over `unit`; shape (N,).
        nearest: distance to the nearest sound run of a different group; shape (N,).
        levels: logarithm of the last loss seen; shape (N,).
        amplitudes: B of the whole runs; shape (N, 3).
    """

    index: npt.NDArray[np.int64]
    vectors: Array
    groups: npt.NDArray[np.int64]
    sound: Flags
    errors: Array
    scores: Array
    answers: Array
    ratios: Array
    nearest: Array
    levels: Array
    amplitudes: Array

    def distances(self, vector: Array) -> Array:
        return np.asarray(np.sqrt(((self.vectors - vector) ** 2).sum(axis=1)))


def likeness_vector(q: Question) -> Array:
    """The vector by which two runs are compared at the same share of the run.

    Its coordinates are the learning rate now, half-way to the predicted position and half-way back (over the peak, times 3); the
    logarithms of the losses at a quarter, half and three quarters of the rows seen over the last loss (times 4, 8, 16); and log₁₀
    of the updates.
    """
    run, share, to = q.track, float(q.track.at[q.seen - 1]), float(q.track.at[q.until])
    rates = 3 * np.interp([share, (share + to) / 2, share / 2], np.linspace(0, 1, len(run.shape)), run.shape)
    log = np.log(run.loss[: q.seen])
    falls = [k * (np.interp(share * f, run.at[: q.seen], log) - log[-1]) for f, k in ((0.25, 4), (0.5, 8), (0.75, 16))]
    return np.array([*rates, *falls, np.log10(run.updates)])


def judges(
    tracks: Sequence[Track],
    groups: Sequence[str],
    amplitudes: Array,
    share: float,
    to: float = 1.0,
    beside: Sequence[tuple[Track, ...]] | None = None,
    misfit: float = SOUND,
) -> Judges | None:
    """Compute the candidates' errors on past runs at a share of the run; None if no past run can be used.

    Args:
        tracks: the past runs.
        groups: group of each past run; a run is predicted without its own group.
        amplitudes: B of each past run by law.
        share: share of the run at which the candidates are solved.
        to: the later share that is predicted.
        beside: for each past run, finished runs of the same recipe and peak.
        misfit: largest misfit of the closest candidate at which a past run is sound.
    """
    questions, index = [], []
    for i, run in enumerate(tracks):
        seen, until = run.rows(share), len(run) if to >= 1 else run.rows(to)
        if seen >= LEAST_ROWS - 1 and until > seen:
            questions.append(Question(run, seen, until - 1, beside[i] if beside else ()))
            index.append(i)
    if not questions:
        return None
    vectors = np.stack([likeness_vector(q) for q in questions])
    group = np.unique([groups[i] for i in index], return_inverse=True)[1]
    b = amplitudes[index]
    distance = np.sqrt(((vectors[:, None] - vectors) ** 2).sum(axis=2))
    elsewhere = group[:, None] != group
    done = solve(questions, _drawn(likeness(distance, group, elsewhere), b))
    sound = (done.misfit.min(axis=1) <= misfit) & np.array([rise(q.track.loss[: q.seen]) <= RISE for q in questions])
    if not sound.any():
        return None
    others = elsewhere & sound
    weights = likeness(distance, group, others)
    truth = np.array([q.track.loss[q.until] / q.track.loss[q.seen - 1] for q in questions])
    last = np.abs(1 / truth - 1)
    errors = np.log(done.end / truth[:, None])
    # Finished branches beside the run correct the model already, within the least squares.
    ends = done.end if beside else _corrected(done.end, weights, errors)
    # Relative to the error of "it stays as it is", so that runs with a long way to go do not outvote the rest. The logarithm,
    # with 0.02 added, keeps a candidate that happened to be right to the last digit from deciding alone.
    scores = np.log(np.abs(ends / truth[:, None] - 1) / (last[:, None] + 0.003) + 0.02)
    answers, spread, _ = vote(ends, done.misfit, scores, weights)
    nearest = np.where(others, distance, np.inf).min(axis=1, initial=np.inf)
    levels = np.log([q.track.loss[q.seen - 1] for q in questions])
    akin = np.where(others, _akin(distance, levels[:, None] - levels), np.inf).min(axis=1, initial=np.inf)
    blind = np.array([q.track.annealed(q.seen - 1, q.until) < ANNEALED for q in questions]) & (akin > NEAR)
    ratios = np.abs(answers / truth - 1) / unit(answers, spread)
    # A run that would itself be refused is no evidence on the errors of answers.
    ratios[blind & ~np.array([q.known for q in questions])] = np.nan
    return Judges(np.array(index), vectors, group, sound, errors, scores, answers / truth, ratios, nearest, levels, b)


def likeness(distance: Array, groups: npt.NDArray[np.int64], allowed: Flags, width: float = _LIKE) -> Array:
    """Weights of past runs: exp(-½((d - d_min) / width)²), divided among the runs of a group."""
    d = np.where(allowed, distance, np.inf)
    least = d.min(axis=-1, keepdims=True)
    least = np.where(np.isfinite(least), least, 0.0)
    # Ten runs of one recipe are one witness: their votes are shared out.
    counts = allowed @ (groups[:, None] == groups)
    return np.asarray(np.where(allowed, np.exp(-0.5 * ((d - least) / width) ** 2), 0.0) / np.maximum(counts, 1))


def _average(weights: Array, values: Array, otherwise: float) -> Array:
    """Means over past runs, by likeness; shape (N, …)."""
    total = weights.sum(axis=-1, keepdims=True)
    return np.asarray(np.where(total > 0, weights @ values / np.where(total > 0, total, 1.0), otherwise))


def _drawn(weights: Array, b: Array) -> Array:
    return _average(weights, b, _B0)


def _corrected(ends: Array, weights: Array, errors: Array) -> Array:
    """The candidates' ends, less shares of their errors on near past runs; shape (N, 3·K)."""
    missed = _average(weights, errors, 0.0)
    return np.concatenate([ends * np.exp(-share * missed) for share in _TAKEN_OFF], axis=1)


def _akin(distance: Array, levels: Array) -> Array:
    """Distance with the level of the losses included: where data or model differ, the gain by annealing differs too."""
    return np.asarray(np.sqrt(distance**2 + (_LEVEL * levels) ** 2))


def vote(ends: Array, misfit: Array, scores: Array, weights: Array) -> tuple[Array, Array, Array]:
    """The candidates' mean end, the spread around the mean, and the votes: (score by past runs · misfit^.3)^-8.

    Args:
        ends: predictions by question and candidate; shape (N, K), or (N, 3·K) if errors on past runs are subtracted.
        misfit: misfit by question and candidate; shape (N, K).
        scores: scores of the past runs, a score for each end.
        weights: weights of the past runs; shape (N, M).
    """
    fit = np.tile(0.3 * np.log(misfit + 3e-4), ends.shape[1] // misfit.shape[1])
    score = _average(weights, scores, 0.0) + fit
    votes = np.exp(-_DOUBT * (score - score.min(axis=-1, keepdims=True)))
    votes /= votes.sum(axis=-1, keepdims=True)
    mean = (votes * ends).sum(axis=-1)
    return mean, np.sqrt((votes * (ends - mean[..., None]) ** 2).sum(axis=-1)), votes


def unit(answer: Array, spread: Array) -> Array:
    """The scale of a forecast's relative error: the geometric mean of the remaining fall and the spread of the candidates."""
    return np.asarray(np.sqrt((np.abs(1 - answer) + 0.002) * (spread + 0.0005)))


def quantile(ratios: Array, weights: Array, level: float) -> float:
    """Weighted quantile of past runs' errors, with an extra vote for "worse than all": 0 where no error is known."""
    weights = np.where(np.isfinite(ratios), weights, 0.0)
    ratios = np.where(np.isfinite(ratios), ratios, 0.0)
    if not weights.any():
        return 0.0
    order = np.argsort(ratios)
    # n errors seen say that the next is above all of them once in n + 1 times, so one more vote stands beyond the largest
    # error.
    share = np.cumsum(weights[order]) / (weights.sum() + weights.max())
    over = np.flatnonzero(share >= level)
    if over.size:
        return float(ratios[order[over[0]]])
    return float(ratios.max() * (1 + 2 * weights.max() / weights.sum()))


def rise(loss: Array) -> float:
    """The relative rise of the last smoothed loss above the lowest smoothed loss."""
    width = max(1, min(5, len(loss) // 5))
    smooth = np.convolve(loss, np.ones(width) / width, mode="valid")
    return float(smooth[-1] / smooth.min() - 1)


def _alone(level: float) -> float:
    return float(_ALONE * -np.log10(1 - level))


@dataclass(frozen=True)
class Verdict:
    """A forecast in units of the last loss seen, with its votes and band."""

    answer: float
    half: float
    misfit: float
    nearest: float
    akin: float
    votes: Array
    weights: Array
    distances: Array


def answer(q: Question, past: Judges | None, level: float) -> Verdict:
    """The forecast from the candidates as judged by past runs; without past runs, from the closest fits alone."""
    if past is None:
        done = solve([q], np.full((1, len(LAWS)), _B0))
        nothing = np.zeros((1, 0))
        mean, spread, votes = vote(done.end, done.misfit, np.zeros((0, done.end.shape[1])), nothing)
        half = float(_alone(level) * unit(mean, spread)[0])
        return Verdict(float(mean[0]), half, float(done.misfit.min()), np.inf, np.inf, votes[0], nothing[0], nothing[0])
    distance = past.distances(likeness_vector(q))[None]
    weights = likeness(distance, past.groups, past.sound[None])
    done = solve([q], _drawn(weights, past.amplitudes))
    ends = done.end if q.beside else _corrected(done.end, weights, past.errors)
    mean, spread, votes = vote(ends, done.misfit, past.scores, weights)
    votes = votes.reshape(1, -1, done.end.shape[1]).sum(axis=1)
    wide = likeness(distance, past.groups, past.sound[None], _LIKE_BAND)[0]
    nearest = float(distance[0][past.sound].min())
    akin = float(_akin(distance[0], past.levels - np.log(q.track.loss[q.seen - 1]))[past.sound].min())
    judged = np.isfinite(past.ratios) & np.isfinite(past.nearest)
    usual = float(np.average(past.nearest[judged], weights=wide[judged])) if wide[judged].any() else nearest
    # Past runs that had nearer ones than the question has were easier to answer.
    farther = max(1.0, (nearest + NEAR) / (usual + NEAR)) * (_STRANGER if akin > NEAR and not q.known else 1.0)
    ratio = quantile(past.ratios, wide, level)
    if len(np.unique(past.groups[np.isfinite(past.ratios) & past.sound])) < _FEW:
        ratio = max(ratio, _alone(level))
    half = float(ratio * farther * unit(mean, spread)[0])
    return Verdict(float(mean[0]), half, float(done.misfit.min()), nearest, akin, votes[0], weights[0], distance[0])
