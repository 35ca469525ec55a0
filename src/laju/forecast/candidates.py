"""Many small linear models of the rest of a loss curve, the candidates, all solved at once.

A candidate predicts the loss after u updates, in units of the last loss seen, at update n:

    loss(u) / loss(n) = c₀ + c₁·P(u) - B·(x(u) - x(n))        P = (s^-α - 1) / α,  s = S(u) / S(n)

S is the sum of learning rates over the peak, x is the gain by annealing under a law (`laws`) with fixed parameters. A candidate
is a law, an α, a weight of the rows (s^w over the loss) and the strength of the pull of B towards the b₀ of past runs. Finished
branches of the same trunk enter the same least squares with equal votes, and a candidate's error at the ends of similar branches
is added to its prediction. The candidate that fits the rows seen best is not the candidate that predicts the end best, so
candidates are judged by their errors on past runs (`judging`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from laju.forecast.blocks import Array, Updates, history, warmed_up
from laju.forecast.laws import Momentum, MultiPower

ROWS = 96
"""Rows of a run that are kept; more rows are averaged in blocks."""
LAWS = ("momentum", "slow momentum", "multi-power")
_MEMORIES = (0.01, 0.1)
"""Of the two momentum laws, as shares of the run."""
_MULTI_POWER = np.array([340.0, 0.4, 0.58])
_ALPHAS = np.geomspace(0.05, 1.6, 12)
_WEIGHTS = np.array([0.0, 1.0, 3.0])
_RIDGES = np.array([1e-7, 0.00125, 0.01])
CANDIDATES = len(LAWS) * len(_ALPHAS) * len(_WEIGHTS) * len(_RIDGES)
_B0 = 0.05
"""B of a run without informative past runs."""
_LATE = 0.02
"""The rows at the end of a branch, as a share of its updates."""
_SHAPES, _DRAWN = 0.15, 0.1
"""Difference of rates over the peak (root mean square) up to which two branches are alike, and votes for "misses by nothing"."""


@dataclass(frozen=True)
class Track:
    """A run in the form that candidates use: n rows, followed by the run's end.

    Attributes:
        at: the rows and the end as shares of the run; shape (n + 1,).
        loss: losses of the rows; shape (n,).
        progress: S divided by S at the end; shape (n + 1,).
        gain: x by law; shape (3, n + 1).
        shape: the learning rate over the peak at 201 evenly spaced shares of the run.
        updates: updates of the whole run.
        warm: share of the run after which the learning rate is at its first peak.
    """

    at: Array
    loss: Array
    progress: Array
    gain: Array
    shape: Array
    updates: int
    warm: float

    def __len__(self) -> int:
        return len(self.loss)

    @cached_property
    def _half_gap(self) -> float:
        return float(np.median(np.diff(self.at[:-1]))) / 2

    def rows(self, share: float) -> int:
        """The number of rows up to the row nearest to a share of the run."""
        return int(np.searchsorted(self.at[:-1], share + self._half_gap, side="right"))

    def annealed(self, row: int, until: int = -1) -> float:
        """The gain by annealing at a row, as a share of the gain at the position `until`."""
        at, to = self.gain[0, row], self.gain[0, until]
        return float(at / to) if to > 1e-9 else 1.0


def track(updates: Updates, loss: Array, rates: Array, unit: tuple[int, float] | None = None) -> Track:
    """Convert a run to a `Track`.

    Args:
        updates: completed updates of the rows, increasing; shape (n,).
        loss: losses of the rows; shape (n,).
        rates: a learning rate for each update of the run; shape (T,).
        unit: number of updates, and sum of learning rates over the peak, that count as 1; by default the run's own.
    """
    total = len(rates)
    rates = rates / rates.max()
    length, whole = unit or (total, float(rates.sum()))
    warm = warmed_up(rates)
    if len(updates) > ROWS:
        parts = np.array_split(np.arange(len(updates)), ROWS)
        loss = np.array([loss[part].mean() for part in parts])
        updates = np.array([round(float(updates[part].mean())) for part in parts], dtype=np.int64)
    seen = history(rates, np.append(updates, total).astype(np.int64), 1.0, whole)
    gain = [Momentum().term(seen, np.array([memory * length / whole]))[0] for memory in _MEMORIES]
    gain.append(MultiPower().term(seen, _MULTI_POWER)[0])
    even = np.minimum((np.linspace(0, 1, 201) * total).astype(int), total - 1)
    at = np.append(updates, total) / total
    return Track(at, loss, seen.progress, np.stack(gain), rates[even], total, warm / total)


@dataclass(frozen=True)
class Question:
    """A prediction to make: from the first `seen` rows of a track to its position `until`.

    Finished runs of the same recipe and peak are fitted together with the track.
    """

    track: Track
    seen: int
    until: int
    beside: tuple[Track, ...] = ()

    @property
    def known(self) -> bool:
        """Whether a finished run of the same recipe shows the gain by annealing."""
        return any(other.gain[0].max() > 0.1 * self.track.gain[0, self.until] for other in self.beside)


@dataclass(frozen=True)
class Solved:
    """The predictions of K candidates for N questions; each array has shape (N, K).

    `end` is the predicted loss over the last loss seen, `misfit` the root mean square of the relative residuals, `amplitude` B.
    """

    end: Array
    misfit: Array
    amplitude: Array


def solve(questions: Sequence[Question], drawn: Array) -> Solved:
    """Solve every candidate for every question.

    Args:
        questions: the N questions.
        drawn: b₀, the value towards which B is pulled, by question and law; shape (N, 3).
    """
    runs = [(i, q.track, q.seen, q) for i, q in enumerate(questions)]
    runs += [(i, other, len(other), q) for i, q in enumerate(questions) for other in q.beside]
    rows = max(n for _, _, n, _ in runs)
    s, y, mask = np.ones((len(runs), rows)), np.ones((len(runs), rows)), np.zeros((len(runs), rows))
    x = np.zeros((len(runs), len(LAWS), rows))
    for k, (_, run, n, q) in enumerate(runs):
        now = q.seen - 1
        s[k, :n] = run.progress[:n] / max(float(q.track.progress[now]), 1e-12)
        y[k, :n] = run.loss[:n] / q.track.loss[now]
        x[k, :, :n] = run.gain[:, :n] - q.track.gain[:, now, None]
        used = (run.at[:n] > run.warm) & (s[k, :n] > 0)
        # Rows of the warmup are left out, as no law describes them, unless there are hardly others.
        mask[k, :n] = used if used.sum() >= 3 else s[k, :n] > 0
    s = np.maximum(s, 1e-9)
    # P in place of s^-α keeps its column apart from the constant for small α, where P → -ln s.
    power = (s[:, None, :] ** -_ALPHAS[:, None] - 1) / _ALPHAS[:, None]
    # Errors are relative, hence the loss in the divisor; s^w gives late rows more weight.
    weight = (s[:, None, :] ** _WEIGHTS[:, None] / y[:, None, :]) ** 2 * mask[:, None, :]
    weight /= np.maximum(weight.sum(axis=2, keepdims=True), 1e-300)

    # Moments, as all candidates of a question are 2×2 systems in the same few sums. Axes: run, weight, then α or law.
    def mean(*factors: Array) -> Array:
        left, right = (np.swapaxes(f if f.ndim == 3 else f[:, None, :], 1, 2) for f in factors)
        joined = (left[..., :, None] * right[..., None, :]).reshape(len(runs), rows, -1)
        return np.asarray((weight @ joined).reshape(len(runs), len(_WEIGHTS), left.shape[2], right.shape[2]))

    one = np.ones_like(y)
    parts = [
        *(mean(f, one)[..., 0] for f in (y, power, x)),
        *(mean(f, y)[..., 0] for f in (y, power, x)),
        mean(power, x),
        weight @ np.swapaxes(power**2, 1, 2),
        weight @ np.swapaxes(x**2, 1, 2),
    ]
    owner = np.array([i for i, *_ in runs])
    if len(runs) > len(questions):
        votes = np.bincount(owner)
        parts = [_summed(part, owner, len(questions)) / votes.reshape(-1, *[1] * (part.ndim - 1)) for part in parts]
    y1, p1, x1, yy, py, xy, px, pp, xx = parts
    # About the means, which takes c₀ out.
    yy, py, xy, pp, xx = (yy - y1**2)[..., 0], py - p1 * y1, xy - x1 * y1, pp - p1**2, xx - x1**2
    px = px - p1[..., :, None] * x1[..., None, :]

    # Axes from here on: question, law, α, weight, ridge. The unknowns are c₁ of P and B of -x.
    pp, py = (part.transpose(0, 2, 1)[:, None, :, :, None] for part in (pp, py))
    xx, xy = (part.transpose(0, 2, 1)[:, :, None, :, None] for part in (xx, -xy))
    px = -px.transpose(0, 3, 2, 1)[..., None]
    # Cramer's rule for all candidates at once. The ridge draws B towards b₀; 1e-12 is for rows without progress.
    a, c = pp + 1e-12, xx + _RIDGES
    g = xy + _RIDGES * drawn[:, :, None, None, None]
    determinant = np.maximum(a * c - px * px, 1e-300)
    c1, amplitude = (py * c - px * g) / determinant, (a * g - px * py) / determinant
    # Progress and annealing only lower a loss; a term with the opposite sign is dropped.
    # The best solution of nonnegative least squares with two unknowns lies inside, or on an edge: there the other unknown alone
    # is solved for.
    grows, rises = amplitude < 0, c1 < 0
    c1, amplitude = (
        np.where(rises, 0.0, np.where(grows, np.maximum(py / a, 0.0), c1)),
        np.where(grows, 0.0, np.where(rises, np.maximum(g / c, 0.0), amplitude)),
    )
    left = yy[:, None, None, :, None] - 2 * (c1 * py + amplitude * xy)
    left = left + c1**2 * pp + 2 * c1 * amplitude * px + amplitude**2 * xx
    ahead = np.array([q.track.progress[q.until] / max(q.track.progress[q.seen - 1], 1e-12) for q in questions])
    gain = np.stack([q.track.gain[:, q.until] - q.track.gain[:, q.seen - 1] for q in questions])
    falls = (ahead[:, None] ** -_ALPHAS - 1) / _ALPHAS
    # A run alone goes on from its last loss; branches of one trunk also give the level.
    mean_p, mean_x = p1.transpose(0, 2, 1)[:, None, :, :, None], x1.transpose(0, 2, 1)[:, :, None, :, None]
    level = y1[:, None, None, :, 0, None] - c1 * mean_p + amplitude * mean_x
    level = np.where(np.array([bool(q.beside) for q in questions])[:, None, None, None, None], level, 1.0)
    end = level + c1 * falls[:, None, :, None, None] - amplitude * gain[:, :, None, None, None]
    if len(runs) > len(questions):
        # A candidate's error at the ends of branches is also its error at the end of a like branch.
        late = np.zeros((len(runs), rows))
        alike = np.zeros((len(runs), 1, 1, 1, 1))
        for k, (_, run, n, q) in enumerate(runs):
            late[k, :n] = np.exp((run.at[:n] - run.at[n - 1]) / _LATE)
            alike[k] = k >= len(questions) and np.exp(-0.5 * np.mean((run.shape - q.track.shape) ** 2) / _SHAPES**2)
        late /= late.sum(axis=1, keepdims=True)
        ends_p, ends_x = (part @ late[:, :, None] for part in (power, x))
        said = level[owner] + c1[owner] * ends_p[:, None, :, :, None] - amplitude[owner] * ends_x[:, :, :, None, None]
        missed = _summed(alike * ((y * late).sum(axis=1)[:, None, None, None, None] - said), owner, len(questions))
        end = end + missed / (_summed(alike, owner, len(questions)) + _DRAWN)
    flat = (len(questions), CANDIDATES)
    return Solved(
        np.maximum(end, 1e-3).reshape(flat),
        np.sqrt(np.maximum(left, 0.0)).reshape(flat),
        amplitude.reshape(flat),
    )


def amplitudes(tracks: Sequence[Track]) -> Array:
    """B of whole runs by law, from the candidates without a pull on B; shape (N, 3). The closest fits count most."""
    done = solve([Question(t, len(t), -1) for t in tracks], np.full((len(tracks), len(LAWS)), _B0))
    by = (len(tracks), len(LAWS), -1, len(_RIDGES))
    found, votes = done.amplitude.reshape(by)[..., 0], (done.misfit.reshape(by)[..., 0] + 3e-4) ** -4
    return np.asarray((found * votes).sum(axis=2) / votes.sum(axis=2))


def law_shares(votes: Array) -> dict[str, float]:
    """The share of the candidates' votes by law."""
    return dict(zip(LAWS, votes.reshape(len(LAWS), -1).sum(axis=1).tolist(), strict=True))


def _summed(part: Array, owner: Updates, many: int) -> Array:
    found = np.zeros((many, *part.shape[1:]))
    np.add.at(found, owner, part)
    return found
