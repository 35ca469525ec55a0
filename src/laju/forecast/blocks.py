"""The rates of a run, summarised for each measured loss in blocks of the past whose length grows with distance.

Every law here is a sum over all past updates k of something that depends on the rate around k and on how far k lies back in
S_t - S_k, the sum of rates since. Near the present a block is a single update; farther back a block is a sixteenth of its
distance long, and the distance hardly differs within the block. So a law costs some hundred terms a loss, however long the run
is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Updates = npt.NDArray[np.int64]

_SINGLE, _GROWTH = 16, 0.06
_PIECE = 1 << 14


@dataclass(frozen=True)
class History:
    """The inputs of the laws at each of n moments of a run, in units of a reference rate and a reference length.

    `progress` is S_t, shape (n,). The other arrays have a row per moment and a column per block. `before` and `after` are the
    rates at the beginning and the end of a block; `changed` is the distance back to the block's changes of rate, weighed by size,
    `ago` the same distance in updates over `length`; `rate_then` is the logarithm of the rate after these changes. `weight` is
    the block's sum of rates, `rate` the mean logarithm of its rates, and `distance` their distance back. Changes before the peak
    (a warmup) are left out.
    """

    progress: Array
    before: Array
    after: Array
    changed: Array
    ago: Array
    rate_then: Array
    weight: Array
    rate: Array
    distance: Array


def history(rates: Array, updates: Updates, reference: float, length: float) -> History:
    """The history of a run at each of `updates` (completed updates), from the rates of updates 0, 1, ….

    Args:
        rates: of all updates up to the last of `updates` at least.
        updates: completed updates, each of 0 or more.
        reference: the rate taken as the unit.
        length: the sum of rates, in units of the reference, taken as the unit of progress.
    """
    n = int(updates.max(initial=0))
    edges = _edges(n)
    hi, lo = np.maximum(updates[:, None] - edges[:-1], 0), np.maximum(updates[:, None] - edges[1:], 0)
    # The edges of blocks are few beside the updates of a long run, so that sums are kept at the edges alone.
    at, places = np.unique(np.hstack([updates[:, None], hi, lo]), return_inverse=True)
    now, hi, lo = np.split(places.reshape(len(updates), -1), [1, 1 + len(edges) - 1], axis=1)
    level, sums = _until(rates[:n], at, reference)
    weight, (middle, rate) = _means(sums[:3], lo, hi)
    _, (changed, then, rate_then) = _means(sums[3:], lo, hi)
    # A block without a change of the rate adds nothing to the laws of drops; a plateau would be most of their work.
    used = (level[lo] != level[hi]).any(axis=0)
    progress = sums[0][now]
    return History(
        progress=progress[:, 0] / length,
        before=level[lo][:, used],
        after=level[hi][:, used],
        changed=np.maximum(progress - changed, 0.0)[:, used] / length,
        ago=np.maximum(updates[:, None] - then, 0.0)[:, used] / length,
        rate_then=rate_then[:, used],
        weight=weight / length,
        rate=rate,
        distance=np.maximum(progress - middle, 0.0) / length,
    )


def warmed_up(x: Array) -> int:
    """The first update of the first peak."""
    falls = np.flatnonzero(np.diff(x) < 0)
    until = int(falls[0]) + 1 if falls.size else len(x)
    return int(np.argmax(x[:until])) if until else 0


def _edges(n: int) -> Updates:
    """Distances in updates at which blocks meet, from 0 to n."""
    edges = [0]
    while edges[-1] < n:
        edges.append(min(n, edges[-1] + max(1, int(_GROWTH * (edges[-1] - _SINGLE)) if edges[-1] > _SINGLE else 1)))
    return np.array(edges, dtype=np.int64)


def _until(rates: Array, at: Updates, reference: float) -> tuple[Array, Array]:
    """The rate before each of some rising updates, from 0 to the end of the rates, and sums over all updates before.

    The sums are of the rates x, of x·S and x·ln x, S being the sum of rates up to the middle of an update; and of the changes of
    the rate |Δ|, of |Δ|·S, |Δ|·k and |Δ|·ln x, S being the sum up to the change at update k.
    """
    # The law starts at the peak: a warmup's changes are not counted as drops.
    start = warmed_up(rates)
    peak = float(rates[start]) / reference if len(rates) else 0.0
    level = np.full(len(at), peak)
    level[at > start] = rates[at[at > start] - 1] / reference
    sums = np.zeros((7, len(at)))
    total, before, i = 0.0, peak, 0
    while i < len(at) - 1:
        # A piece stays in the processor's cache, in which a dozen passes over its updates cost less than one over all updates.
        j = max(i + 1, int(np.searchsorted(at, at[i] + _PIECE, side="right")) - 1)
        k, x = np.arange(at[i], at[j]), rates[at[i] : at[j]] / reference
        held, log, s = np.where(k < start, peak, x), np.log(np.maximum(x, 1e-12)), total + np.cumsum(x)
        change = np.abs(np.diff(held, prepend=before))
        parts = (x, x * (s - x / 2), x * log, change, change * (s - x), change * k, change * log)
        sums[:, i + 1 : j + 1] = np.add.reduceat(np.stack(parts), at[i:j] - at[i], axis=1)
        total, before, i = float(s[-1]), held[-1], j
    return level, np.cumsum(sums, axis=1)


def _means(sums: Array, lo: Updates, hi: Updates) -> tuple[Array, list[Array]]:
    """Sums of weights over blocks, from sums at edges, and weighted means of values in the blocks; 0 where there is no weight."""
    weights, *moments = sums[:, hi] - sums[:, lo]
    # The difference of two running sums is rounding where the block has no weight.
    there = weights > 1e-13 * max(float(sums[0, -1]), 1e-300)
    means = [np.divide(moment, weights, out=np.zeros_like(weights), where=there) for moment in moments]
    return np.where(there, weights, 0.0), means
