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
    x = rates[: int(updates.max(initial=0))] / reference
    n = len(x)
    progress = np.concatenate([[0.0], np.cumsum(x)]) / length  # before update k
    middle = (progress[:-1] + progress[1:]) / 2
    log = np.log(np.maximum(x, 1e-12))
    # The law starts at the peak: a warmup's changes are not counted as drops.
    start = warmed_up(x)
    held = x.copy()
    held[:start] = x[start] if n else 0.0
    change = np.abs(np.diff(held, prepend=held[:1]))

    edges = _edges(n)
    hi, lo = np.maximum(updates[:, None] - edges[:-1], 0), np.maximum(updates[:, None] - edges[1:], 0)
    _, (changed, then, rate_then) = _means(change, (progress[:n], np.arange(n) / length, log), lo, hi)
    weight, (at, rate) = _means(x / length, (middle, log), lo, hi)
    padded = np.concatenate([held[:1], held])  # padded[k]: the rate before update k; update 0 has its own rate
    now = progress[updates][:, None]
    used = (padded[lo] != padded[hi]).any(axis=0)
    return History(
        progress=progress[updates],
        before=padded[lo][:, used],
        after=padded[hi][:, used],
        changed=np.maximum(now - changed, 0.0)[:, used],
        ago=np.maximum(updates[:, None] / length - then, 0.0)[:, used],
        rate_then=rate_then[:, used],
        weight=weight,
        rate=rate,
        distance=np.maximum(now - at, 0.0),
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


def _means(weights: Array, values: tuple[Array, ...], lo: Updates, hi: Updates) -> tuple[Array, tuple[Array, ...]]:
    """Sums of weights over blocks of updates, and weighted means of values in the blocks; 0 where there is no weight."""
    total = np.concatenate([[0.0], np.cumsum(weights)])
    sums = total[hi] - total[lo]
    there = sums > 1e-13 * max(float(total[-1]), 1e-300)
    found = []
    for value in values:
        moment = np.concatenate([[0.0], np.cumsum(weights * value)])
        found.append(np.divide(moment[hi] - moment[lo], sums, out=np.zeros_like(sums), where=there))
    return np.where(there, sums, 0.0), tuple(found)
