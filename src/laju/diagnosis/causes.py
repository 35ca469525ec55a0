"""Search for changes of a schedule that explain the learning rates of a log; each change is verified at all rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from laju.core.schedule import Schedule
from laju.diagnosis.rows import Array, Case, rates_at

_GRID = 1 << 20
"""The most updates of the planned schedule that are searched for a rate; of longer schedules, every 2nd, 4th, … update is."""
_BRANCHES = 12
"""The most positions of a rate in the planned schedule; a rate at more positions determines none."""
_TWICE = "two calls of step() in an update"
_CULPRITS = {
    "counted": (
        "Accelerate's prepared scheduler, which steps once for each of {k} processes (step_with_optimizer, split_batches)",
        _TWICE,
        "step() after each of {k} micro-batches whose gradients make one update",
        "a schedule in epochs that is stepped after every update, of which an epoch has {k}",
        "a total and a warmup that were divided by {k}, such as by the number of processes",
    ),
    "slow": (
        "step() once in {k} updates",
        "a total in micro-batches or samples instead of updates, {k} of which make one update",
        "Lightning's default interval: epoch",
    ),
    "epoch": (
        "Lightning's default interval: epoch, instead of 'interval': 'step'",
        "step() after each epoch of {k} updates, of a schedule that counts updates",
    ),
    "still": (
        "step() that is never called",
        "Lightning's default interval: epoch, and a log of the first epoch alone",
        "a scheduler of an optimizer that differs from the logged optimizer",
    ),
    "behind": (
        "updates that the gradient scaler skipped (fp16), after which the scheduler was not stepped",
        "a run that was resumed from an older state of the scheduler",
        "a log that writes the rate before the scheduler's step, or after",
    ),
    "ahead": (
        "step() before the first update, or at the resume",
        "a log that writes the rate after the scheduler's step",
        "a resumed run whose scheduler was given the wrong last step",
    ),
    "restart": (
        "a resumed run without the scheduler's state",
        "a new scheduler in the middle of the run, such as one for each epoch or stage",
    ),
    "total": (
        "a total that was computed from a different batch size, number of processes or of epochs",
        "a resumed run with more epochs, whose schedule was created anew",
        "drop_last or the length of the data loader",
    ),
    "climb": ("PyTorch's CosineAnnealingLR, stepped beyond T_max", "a total that is smaller than the run"),
    "scale": (
        "the rule that multiplies the rate with the batch size or the number of processes, or its square root",
        "a peak in the optimizer that differs from the schedule's peak",
        "the rate of a parameter group",
    ),
    "floor": (
        "a group with a smaller rate whose floor is absolute (eta_min), not a share of its peak",
    ),
    "end": ("a floor that was not passed on (eta_min, min_lr, final)",),
}  # fmt: skip


@dataclass(frozen=True)
class Cause:
    """A change of the schedule that turns the planned learning rates into the learning rates of the log.

    Attributes:
        kind: "counted", "slow", "epoch", "behind", "ahead", "skipped", "restart", "total", "climb", "scale", "floor" or "end".
        text: the change in words.
        begins: (a, b): the change begins after update a and at the latest at update b; (0, 0) is the start of the run.
        parameters: the numbers in the text.
        culprits: common reasons for the change.
    """

    kind: str
    text: str
    begins: tuple[int, int]
    parameters: dict[str, float]
    culprits: tuple[str, ...]

    def __str__(self) -> str:
        after, by = self.begins
        when = (
            "from the start"
            if by == 0
            else f"from update {by:,}"
            if by - after == 1
            else f"from update {after + 1:,}–{by:,}"
        )
        return f"{self.text}, {when}\n  usual culprits: " + ";\n    ".join(self.culprits)


def causes_of(case: Case) -> list[Cause]:
    """The changes that reproduce all learning rates: of the whole run, else from the first row that differs from the plan."""
    j = case.begin()
    end = case.schedule.length or int(case.t[-1]) + 1
    slack = 2 * float(case.tolerance.max())
    # The meant rates at these rows may be scaled to a constant that is not 0.
    if len(case.y) > 1 and np.ptp(case.y) <= slack and (np.ptp(case.meant(case.t)) > slack or case.y.max() <= slack):
        return list(_constants(case, end))
    from_j = (int(case.t[j - 1]), int(case.t[j])) if j else (0, 0)
    climbing = list(_climbs(case, j, from_j, end))
    if climbing:
        return climbing
    # From the start first: a change of the whole run says more than the same change from the first row that shows it, such as
    # after a warmup that hides a scale.
    for first in dict.fromkeys((0, j)):
        begins = from_j if first else (0, 0)
        found = [cause for kinds in (_levels, _lines, _stairs) for cause in kinds(case, first, begins, end)]
        if found:
            return found
    return list(_skips(case, j, (from_j[0], int(case.t[j]))))


def _cause(kind: str, text: str, begins: tuple[int, int], culprits: str | None = None, **numbers: float) -> Cause:
    shown_numbers = {name: f"{value:,g}" for name, value in numbers.items()}
    named = tuple(each.format(**shown_numbers) for each in _CULPRITS[culprits or kind])
    return Cause(kind, text, begins, numbers, named)


def _constants(case: Case, end: int) -> Iterator[Cause]:
    """The same rate in all rows, for a schedule that changes: nearly any slow clock would give the same rates."""
    rows = f"all {len(case.y):,} rates"
    grid, step = _grid(case, end)
    other = np.flatnonzero(np.abs(grid - case.y[0]) > float(case.tolerance.max()))
    if not other.size:
        return
    if other[0]:
        yield _cause("epoch", f"the schedule does not move on: {rows} are those of update 0", (0, 0), "still")
    # The schedule itself may be flat: even a cosine hardly falls at first.
    plateau = float(int(np.argmax(np.abs(grid - grid[0]) > 1e-9 * float(grid.max()))) - 1) * step
    if other[0] and case.t[1] <= plateau < case.t[-1]:
        total = float(math.ceil(end * case.t[-1] / plateau))
        yield _cause("total", f"the total is {total:,.0f} or more, where {end:,} is meant", (0, 0), total=total)
    k = float((int(other[-1]) + 1) * step)
    if k <= end:
        yield _cause("ahead", f"{rows} are those of update {k:,.0f} or later", (0, 0), k=k)


def _levels(case: Case, j: int, begins: tuple[int, int], end: int) -> Iterator[Cause]:
    """The meant rates scaled, or moved: y = α + β·s."""
    s = case.meant(case.t)
    before = np.arange(len(s)) < j
    rest = ~before
    big = int(np.argmax(np.where(rest, s, -np.inf)))
    if s[big] > 0:
        # The shortest decimal of the factors that every row allows.
        some = rest & (s > 0)
        least = float(((case.y - case.tolerance)[some] / s[some]).max())
        most = float(((case.y + case.tolerance)[some] / s[some]).min())
        ratio = _shortest_within((least + most) / 2, max(most - least, 0.0) / 2)
        if abs(ratio - 1) > 1e-6 and ratio > 0 and rest.sum() > 1 and case.explains(np.where(before, s, ratio * s)):
            yield _cause("scale", f"the rates are {ratio:.6g} times the meant ones", begins, factor=ratio)
            return
    decay = np.arange(len(s)) >= max(int(np.argmax(s)), j)
    if decay.sum() < 3 or np.ptp(s[decay]) <= 0:
        return
    peak = float(case.schedule(_peak_at(case, end)))
    floor = min(float(case.schedule(max(end - 1, 0))), float(case.schedule(end)))
    if not 0 < floor < peak:
        return

    def slope(x: Array, y: Array) -> float:
        """The slope of a line through the origin, by least squares over the decay."""
        return float(x[decay] @ y[decay] / max(float(x[decay] @ x[decay]), 1e-300))

    # Another peak over the same floor: with the group's warmup, or with the warmup moved, too.
    share = _shortest_within(
        (floor + slope(s - floor, case.y - floor) * (peak - floor)) / peak, 2 * float(case.tolerance.max()) / peak
    )
    decaying = floor + (share * peak - floor) / (peak - floor) * (s - floor)
    for warming in (share * s, decaying):
        if abs(share - 1) > 1e-6 and case.explains(np.where(before, s, np.where(decay, decaying, warming))):
            text = f"the peak is {share:.6g} times the meant one, and the floor of {floor:g} is not"
            yield _cause("floor", text, begins, factor=share)
            return
    # Another floor under the same peak.
    final = _shortest_within(
        max(peak - slope(peak - s, peak - case.y) * (peak - floor), 0.0), 2 * float(case.tolerance.max())
    )
    decaying = peak - (peak - final) / (peak - floor) * (peak - s)
    if abs(final - floor) > 1e-6 * peak and case.explains(np.where(before | ~decay, s, decaying)):
        yield _cause("end", f"the rates go down to {final:.4g}, where {floor:g} is meant", begins, final=final)


def _peak_at(case: Case, end: int) -> int:
    grid, step = _grid(case, end)
    return int(np.argmax(grid >= grid.max() * (1 - 1e-12))) * step


def _grid(case: Case, end: int) -> tuple[Array, int]:
    return _on_grid(case.schedule, end)


@lru_cache(maxsize=1)
def _on_grid(schedule: Schedule, end: int) -> tuple[Array, int]:
    step = max(1, -(-(end + 1) // _GRID))
    return rates_at(schedule, np.arange(0, end + step, step, dtype=float)), step


def _places(grid: Array, step: int, value: float, slack: float) -> list[float]:
    """The positions at which the meant schedule has a rate; empty if the rate determines no position."""
    below = grid < value
    crossing = np.flatnonzero(below[:-1] != below[1:])
    # Few rates are near: comparing all a little more widely first saves passes over a grid of a million.
    flat = np.flatnonzero((grid >= value - 2 * slack) & (grid <= value + 2 * slack))
    flat = flat[np.abs(grid[flat] - value) <= slack]
    if len(crossing) > _BRANCHES or len(flat) > max(4, len(grid) // 20):
        return []
    apart = {int(k): (grid[k] - value, grid[k + 1] - value) for k in crossing}
    found = [float((k + here / (here - there)) * step) for k, (here, there) in apart.items()]
    # A peak or an end that is touched and not crossed.
    found += [float(k * step) for k in flat if not any(abs(k * step - each) < 2 * step for each in found)]
    return found[:_BRANCHES]


def _lines(case: Case, j: int, begins: tuple[int, int], end: int) -> Iterator[Cause]:
    """Positions that are linear in the updates: p = a + b·t."""
    t, last = case.t, int(case.t[-1])
    before = np.arange(len(t)) < j
    as_meant = case.meant(t)

    def search(numbers: Array, position: Callable[[Array, Array], Array], folds: bool = False) -> float | None:
        """The number with which the positions give all rates; the middle of several. A cosine may climb beyond its end."""
        # 16 rows refuse nearly every wrong number, and 512 nearly all the rest: all rows are computed for few candidates only.
        some, more = (np.unique(np.linspace(j, len(t) - 1, n).round().astype(int)) for n in (16, 512))
        fits: set[float] = set()
        for part in np.array_split(numbers, max(1, len(numbers) // 20_000)):
            p = position(t[some][None, :], part[:, None])
            for q in (p, _folded(p, end)) if folds else (p,):
                near = (np.abs(case.meant(q) - case.y[some]) <= case.tolerance[some]).all(axis=1)
                fits |= {float(n) for n in part[near]}
        whole = []
        for n in sorted(fits)[:500]:
            p = position(t[more], np.array(n))
            if not any(
                (np.abs(case.meant(q) - case.y[more]) <= case.tolerance[more]).all()
                for q in ((p, _folded(p, end)) if folds else (p,))
            ):
                continue
            p = position(t, np.array(n))
            if any(
                case.explains(np.where(before, as_meant, case.meant(q)))
                for q in ((p, _folded(p, end)) if folds else (p,))
            ):
                whole.append(n)
        return whole[len(whole) // 2] if whole else None

    # Behind or ahead by a whole number.
    # A bound on the work: every whole number up to here is a candidate.
    most = min(max(last, end), 200_000)
    behind = search(np.arange(1.0, min(last, most) + 1), lambda x, k: x - k)
    ahead = search(np.arange(1.0, most + 1), lambda x, k: x + k)
    if ahead is not None:
        yield _cause("ahead", f"the rates are those of {_updates(ahead)} later", begins, k=ahead)
    if behind is not None:
        anew = j > 0 and case.explains(np.where(t < behind, as_meant, case.meant(t - behind)))
        if anew:
            where = (int(behind) - 1, int(behind))
            yield _cause("restart", f"the schedule begins anew at update {behind:,.0f}", where, at=behind)
        if not anew or behind <= begins[0]:
            yield _cause("behind", f"the rates are those of {_updates(behind)} earlier", begins, k=behind)
    # Counted k times, from the start or from an update on.
    if not j:
        k = search(np.arange(2.0, min(last, 64) + 1), lambda x, k: k * x, folds=True)
        k = k or search(np.arange(65.0, min(last, 4096) + 1), lambda x, k: k * x)
        if k is not None:
            yield _cause("counted", f"every update is counted {k:,.0f} times", begins, k=k)
        k = search(np.arange(2.0, min(last, 20_000) + 1), lambda x, k: x / k)
        if k is not None:
            yield _cause("slow", f"{k:,.0f} updates are counted as one", begins, k=k)
    else:
        since = np.arange(max(1.0, begins[1] - 100_000.0), begins[1] + 1)
        for times in (2, 3, 4, 5, 6, 7, 8, 16):
            at = search(since, lambda x, at, k=times: np.where(x < at, x, at + k * (x - at)), folds=True)  # type: ignore[misc]
            if at is not None:
                yield _cause("counted", f"every update is counted {times} times", begins, k=float(times))
                break
    # Another total, with the warmup unchanged or changed in proportion.
    grid, step = _grid(case, end)
    for fixed in dict.fromkeys((float(_peak_at(case, end)), 0.0)):
        totals: set[float] = set()
        for i in np.unique(np.linspace(j, len(t) - 1, 24).round().astype(int)):
            for place in _places(grid, step, float(case.y[i]), float(case.tolerance[i])):
                if t[i] > fixed and place > fixed:
                    total = fixed + (end - fixed) * (t[i] - fixed) / (place - fixed)
                    near = range(math.floor(total) - 1, math.ceil(total) + 2)
                    # A whole number of times longer or shorter, warmup and all, is a count.
                    totals |= {float(n) for n in near if n > fixed and n != end and (fixed or (n % end and end % n))}

        def stretched(x: Array, n: Array, fixed: float = fixed) -> Array:
            return np.where(x < fixed, x, fixed + (x - fixed) * (end - fixed) / (n - fixed))

        length = search(np.array(sorted(totals)), stretched) if totals else None
        if length is not None:
            yield _cause("total", f"the total is {length:,.0f}, where {end:,} is meant", begins, total=length)
            break
        # A log that ends on a plateau determines no position there, only the least length of the plateau.
        level = np.flatnonzero(np.abs(grid - case.y[-1]) <= case.tolerance[-1]) * step
        if level.size and fixed < level[-1] < t[-1]:
            least = float(math.ceil(fixed + (end - fixed) * (t[-1] - fixed) / (level[-1] - fixed)))
            if all(search(np.array([n]), stretched) is not None for n in (least, 2 * least)):
                text = f"the total is {least:,.0f} or more, where {end:,} is meant"
                yield _cause("total", text, begins, total=least)
                break


def _folded(p: Array, end: int) -> Array:
    """Positions of a cosine that climbs again beyond its end."""
    inside = np.mod(p, 2 * end) if end else p
    return np.where(inside > end, 2 * end - inside, inside)


def _updates(count: float) -> str:
    return f"{count:,.0f} update{'s' if count != 1 else ''}"


def _stairs(case: Case, j: int, begins: tuple[int, int], end: int) -> Iterator[Cause]:
    """A step of the schedule for every k updates: p = t // k."""
    if j:
        return
    some = np.unique(np.linspace(0, len(case.t) - 1, 16).round().astype(int))
    numbers = np.arange(2.0, min(float(case.t[-1]), 100_000.0) + 1)
    near = np.abs(case.meant(np.floor(case.t[some][None, :] / numbers[:, None])) - case.y[some]) <= case.tolerance[some]
    fits = [int(k) for k in numbers[near.all(axis=1)][:500] if case.explains(case.meant(np.floor(case.t / k)))]
    if fits:
        k = fits[len(fits) // 2]
        about = f"{k:,}" if len(fits) == 1 else f"{fits[0]:,} to {fits[-1]:,}"
        yield _cause("epoch", f"the schedule moves on once in {about} updates", begins, k=float(k))


def _climbs(case: Case, j: int, begins: tuple[int, int], end: int) -> Iterator[Cause]:
    """The meant rates until the end, then a rise."""
    if j and case.t[j] > end and case.explains(case.meant(_folded(case.t, end))):
        text = f"after its end at update {end:,} the schedule climbs again"
        yield _cause("climb", text, (min(end, begins[1] - 1), begins[1]), at=float(end))


def _skips(case: Case, j: int, begins: tuple[int, int]) -> Iterator[Cause]:
    """Behind by more and more updates: each was skipped."""
    if len(case.t) > 2000:
        kept = np.unique(np.linspace(0, len(case.t) - 1, 2000).round().astype(int))
        case = replace(case, t=case.t[kept], y=case.y[kept], half=case.half[kept])
        j = case.begin()
    lag, lags = 0, []
    for i in range(len(case.t)):
        ahead = np.arange(lag, min(lag + 1 + 200, case.t[i] + 1)) if i >= j else np.array([0.0])
        near = np.abs(case.meant(case.t[i] - ahead) - case.y[i]) <= case.tolerance[i]
        if not near.any():
            return
        lag = int(ahead[np.argmax(near)])
        lags.append(lag)
    changes = int((np.diff(lags, prepend=0) > 0).sum())
    if lag and changes <= min(20, max(2, len(lags) // 4)):
        places = f"{changes} place{'s' if changes > 1 else ''}"
        text = f"the rates fall behind at {places}, {_updates(lag)} at the end"
        yield _cause("skipped", text, begins, "behind", k=float(lag))


def _shortest_within(value: float, slack: float) -> float:
    """The shortest decimal within the slack; 0 if 0 is within the slack."""
    if abs(value) <= slack:
        return 0.0
    for digits in range(1, 17):
        short = float(f"{value:.{digits}g}")
        if abs(short - value) <= max(abs(slack), 1e-12 * abs(value)):
            return short
    return value
