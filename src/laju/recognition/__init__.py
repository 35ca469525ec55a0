"""Recognise the schedule behind given learning rates: a formula with its parameters, or else a table of the rates."""

from __future__ import annotations

import ast
import inspect
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

import laju.policies
from laju.core import limits
from laju.core.checks import is_number, number, shown, whole
from laju.core.pieces import Table
from laju.core.schedule import Schedule
from laju.recognition import work
from laju.recognition.curves import Numbers, coarse
from laju.recognition.cycles import texts
from laju.recognition.gaps import Proposal, logged
from laju.recognition.solving import Log
from laju.text.spec import parse

_FLOAT32 = float(np.finfo(np.float32).eps)
_FLOAT64 = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Recognised:
    """The schedule that `recognise` proposes, and its error.

    Args:
        schedule: the proposed schedule; a `Table` of the learning rates if no formula was found.
        text: the schedule as a call of laju's policies, which `laju.parse` reads.
        values: number of learning rates that were compared.
        error: largest difference between the schedule and the learning rates.
        ulp: the error in units in the last place of the largest learning rate, in float64.
        tolerance: largest difference that counts as rounding.
        note: further facts, such as the assumed rounding; empty without such facts.
        lag: number of updates by which the last learning rate is late; the error is computed after shifting by the lag.
    """

    schedule: Schedule
    text: str
    values: int
    error: float
    ulp: float
    tolerance: float
    note: str = ""
    lag: int = 0

    @property
    def name(self) -> str:
        """Name of the policy, such as "cosine"; for a text of several calls the kind of the schedule, such as "chain"."""
        call = _call(self.text)
        return type(self.schedule).__name__.lower() if call is None else call[0]

    @property
    def parameters(self) -> dict[str, Any]:
        """The policy's arguments by name; empty for a text of several calls."""
        call = _call(self.text)
        policy = getattr(laju.policies, call[0], None) if call is not None else None
        if call is None or policy is None:
            return {}
        return dict(inspect.signature(policy).bind(*call[1], **call[2]).arguments)

    @property
    def is_formula(self) -> bool:
        """Whether a formula was found, and not only a table of the learning rates."""
        call = _call(self.text)
        return call is None or call[0] != "Table"

    def __str__(self) -> str:
        how = (
            "exactly"
            if self.error == 0
            else f"within {self.ulp:.3g} ulp"
            if self.ulp < 1e6
            else f"within {self.error:.3g}"
        )
        text = self.text if self.is_formula else f"a table of {self.values:,} rates"
        said = f"{text}: {how} in all {self.values:,} values"
        return f"{said} ({self.note})" if self.note else said


def recognise(values: Any, *, updates_per_epoch: int | None = None, tolerance: float | None = None) -> Recognised:
    """Find the schedule behind given learning rates: a policy with its parameters, a sequence of curves, or else a `Table`.

    The learning rates are split where their differences jump, each part is solved for the parameters of laju's curves, and the
    parameters are rounded to the shortest numbers that still reproduce the learning rates. Every proposal is verified at all
    learning rates. The search covers constants, lines, cosines, powers, exponentials, inverse roots and times, with a warmup or a
    plateau before the curve, steps by a factor or at milestones, a single cycle, restarts, triangles and Chebyshev steps.

    Args:
        values: learning rates of updates 0, 1, 2, …, as numbers or as texts from a log; or pairs (update, learning rate), from
            which updates may be missing.
        updates_per_epoch: number of updates per epoch, if `values` has a learning rate per epoch.
        tolerance: largest difference that counts as rounding. By default several are tried: the rounding of float64; a larger
            tolerance, for learning rates that were computed recursively; the rounding of float32, if the learning rates are
            float32 numbers; and half a unit of the last digit, if the learning rates have few digits.

    Raises:
        TypeError: if values are not numbers.
        ValueError: if there are no values, values are not finite, or updates do not increase.

    >>> import laju
    >>> print(recognise(laju.cosine(0.3, total=100, warmup=5).values(60)))
    cosine(0.3, total=100, warmup=5): exactly in all 60 values (total=100 if it goes on as it began)
    >>> recognise([0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.001]).text
    'factor(0.1, 0.1, every=3)'
    """
    t, y, digits = _rows_of(values)
    if updates_per_epoch is not None:
        whole("updates_per_epoch", updates_per_epoch, least=1)
    if tolerance is not None:
        number("tolerance", tolerance, least=0)
    note = "no formula was found"
    with np.errstate(all="ignore"), work.counted():
        try:
            for proposal, log, rounding in _proposals(t, y, list(_tolerances(y, digits, tolerance))):
                schedule = _verified(proposal, log)
                if schedule is not None:
                    return _result(schedule, proposal, log, rounding, updates_per_epoch)
        except work.OutOfWork:
            note += f" in {work.MOST:,} comparisons, after which the search is given up"
    table = _table_of_rates(t, y)
    return _result(table, Proposal(str(table)), Log(t, y, np.zeros(len(y))), note, updates_per_epoch)


def _call(text: str) -> tuple[str, list[Any], dict[str, Any]] | None:
    """A text's policy and arguments, if the text is a call with plain arguments."""
    tree = ast.parse(text, mode="eval").body
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
        return None
    try:
        positional = [ast.literal_eval(value) for value in tree.args]
        return tree.func.id, positional, {str(k.arg): ast.literal_eval(k.value) for k in tree.keywords}
    except ValueError:
        return None


def _proposals(t: Numbers, y: Numbers, ladder: list[tuple[Numbers, str, bool]]) -> Iterator[tuple[Proposal, Log, str]]:
    """The proposals, with the rows and the rounding to compare; rows of few digits, or with gaps, are solved as a log."""
    every = bool((t == np.arange(len(t))).all())
    # Few levels are steps, which are exact however few digits a log has; many values of few digits are a rounded curve, and
    # solved as one.
    levels = len(np.unique(y)) <= 6
    rungs = [(Log(t, y, half), note, printed or coarse(y, float(half.max()))) for half, note, printed in ladder]
    dense = every and (levels or not any(few for *_, few in rungs))
    for log, note, few in rungs:
        if dense and not few:
            yield from ((proposal, log, note) for proposal in _texts(t, y, float(log.half.max())))
    for log, note, few in rungs:
        if few or not every:
            yield from ((proposal, log, note) for proposal in logged(log))
    if every:
        yield from ((proposal, log, note) for log, note, few in rungs if not few for proposal in logged(log))
    for log, note, few in rungs:
        if few or not dense:
            yield from ((proposal, log, note) for proposal in _texts(t, y, float(log.half.max())))


def _texts(t: Numbers, y: Numbers, tolerance: float) -> Iterator[Proposal]:
    """Texts for the rates of all updates, or of every k-th update, as if these were the updates."""
    if (t == np.arange(len(t))).all():
        yield from map(Proposal, texts(y, tolerance))
    elif len(t) > 2 and t[0] == 0 and (np.diff(t) == t[1]).all():
        note = f"the formula is that of every {int(t[1])}th update, and a guess between these"
        yield from (Proposal(f"({text}).stretch({int(t[1])})", note=note) for text in texts(y, tolerance))


def _verified(proposal: Proposal, log: Log) -> Schedule | None:
    """The schedule of a text, if every row allows that schedule."""
    try:
        schedule = parse(proposal.text)
        values = np.asarray(schedule(np.maximum(log.t - proposal.lag, 0).astype(int)), float)
    except (ValueError, TypeError, ArithmeticError):
        return None
    return schedule if log.fits(values) and not (values.min() < 0 <= log.y.min()) else None


def _result(schedule: Schedule, proposal: Proposal, log: Log, rounding: str, per_epoch: int | None) -> Recognised:
    text, lag, last = proposal.text, int(np.max(proposal.lag)), int(log.t[-1])
    values = np.asarray(schedule(np.maximum(log.t - proposal.lag, 0).astype(int)), float)
    error, size = float(np.abs(values - log.y).max()), float(np.abs(log.y).max())
    notes = [note for note in (rounding, proposal.note) if note]
    late = re.search(r"\.shift\(-(\d+)\)$", text)
    if late and " >> " not in text:
        notes.append(f"read from its value {late[1]} on, as by a scheduler that counts from {late[1]}")
    if lag:
        times = "" if np.min(proposal.lag) == lag else "up to "
        why = "rows number the updates that are done, or an update was skipped" if lag == 1 else "skipped updates?"
        notes.append(f"the rates are those of {times}{lag} update{'s' * (lag > 1)} earlier: {why}")
    if (_call(text) or ("",))[0] != "Table":
        if len(log.y) < 4:
            notes.append(f"{len(log.y)} value{'s' if len(log.y) > 1 else ''} would fit many schedules")
        if log.t[0] > 1:
            notes.append(f"no row tells what came before update {int(log.t[0]):,}")
        # What follows the log is a guess. Where the schedule still changes in up to twice the log's length after it, the reader
        # is told of the guess; where it holds, there is nothing to tell.
        later = last + 1 + np.unique(np.geomspace(1, 2 * last + 2, 24).astype(int) - 1)
        if np.ptp(np.asarray(schedule(later), float)) > 4 * log.half[-1]:
            total = (_call(text) or ("", [], {}))[2].get("total", 0)
            what = f"total={total:,}" if total > last + 1 else f"after update {last:,}"
            notes.append(f"{what} if it goes on as it began")
    if per_epoch is not None and per_epoch > 1:
        schedule = schedule.stretch(per_epoch).staircase(per_epoch)
        text = f"({text}).stretch({per_epoch}).staircase({per_epoch})"
    ulp = error / float(np.spacing(size)) if size else 0.0
    return Recognised(schedule, text, len(log.y), error, ulp, float(log.half.max()), "; ".join(notes), lag)


def _table_of_rates(t: Numbers, y: Numbers) -> Table:
    if (t == np.arange(len(t))).all():
        return Table(tuple(y.tolist()))
    steps = np.searchsorted(t, np.arange(int(t[-1]) + 1), side="right") - 1
    return Table(tuple(y[np.maximum(steps, 0)].tolist()))


def _tolerances(y: Numbers, digits: list[Numbers], given: float | None) -> Iterator[tuple[Numbers, str, bool]]:
    """(differences that count as rounding for each rate, the assumption behind, whether printed digits are the assumption)."""
    size, same = float(np.abs(y).max()), np.ones(len(y))
    if given is not None:
        yield max(given, 8 * _FLOAT64 * size) * same, "", False
        return
    if not (digits and len(np.unique(y)) > 40):  # among many short numbers, only a line's are exact
        yield 8 * _FLOAT64 * size * same, "", False
    single = bool((y.astype(np.float32).astype(float) == y).all())
    if single:
        yield 8 * _FLOAT32 * size * same, "the values are float32 numbers", False
    elif not digits:
        yield 4096 * _FLOAT64 * size * same, "as if each value had been computed from the one before", False
    for half in digits:
        half = half + 4 * _FLOAT64 * size  # room for ties in rounding
        yield half, f"up to the rounding of the values, {half.max():.2g}", True
    if single and not digits:
        yield (
            256 * _FLOAT32 * size * same,
            "the values are float32 numbers, as if each had been computed from the one before",
            False,
        )


def _rows_of(values: Any) -> tuple[Numbers, Numbers, list[Numbers]]:
    """Updates, rates, and the possible halves of a unit of the last digit where the rates have few digits."""
    if isinstance(values, Schedule):
        raise TypeError(f"values must be learning rates, got the schedule {shown(values)}; pass its .values(n)")
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise TypeError(
            f"values must be a list of learning rates, or of pairs (update, learning rate), got {shown(values)}"
        )
    items = values.tolist() if isinstance(values, np.ndarray) else list(values)
    if not items:
        raise ValueError("values must have at least one learning rate, got none")
    # What follows is for logs of a million rows: the checks of each item, which have the messages, are for other types.
    pairs = _types(items) <= {tuple, list} or all(
        isinstance(item, Sequence) and not isinstance(item, str) for item in items
    )
    if pairs and all(len(item) == 2 for item in items):
        updates = [item[0] for item in items]
        if _types(updates) != {int} or min(updates) < 0 or max(updates) > limits.LARGEST:
            updates = [whole(f"values[{i}][0]", update) for i, update in enumerate(updates)]
        t = np.array(updates, float)
        if (np.diff(t) <= 0).any():
            i = int(np.flatnonzero(np.diff(t) <= 0)[0]) + 1
            raise ValueError(f"updates must increase, got {int(t[i])} after {int(t[i - 1])}")
        items = [item[1] for item in items]
    else:
        t = np.arange(len(items), dtype=float)
    y = np.array([math.nan])
    if _types(items) <= {str, float, int}:
        with suppress(ValueError, OverflowError):
            y = np.array([float(item) for item in items])
    if not np.isfinite(y).all():
        y = np.array([_checked_rate(i, item) for i, item in enumerate(items)])
    return t, y, _digits(items, y)


def _types(items: Iterable[Any]) -> set[type]:
    return set(map(type, items))


def _checked_rate(i: int, item: Any) -> float:
    if isinstance(item, str):
        try:
            item = float(item)
        except ValueError:
            raise ValueError(f"values[{i}] must be a number, got {item!r}") from None
    if not is_number(item):
        try:
            item = float(item)  # a scalar of some framework
        except (TypeError, ValueError):
            raise TypeError(f"values[{i}] must be a number, got {shown(item)}") from None
    if not math.isfinite(item):
        raise ValueError(f"values[{i}] must be finite, got {item!r}")
    return float(item)


def _digits(items: list[Any], y: Numbers) -> list[Numbers]:
    """The possible halves of a unit of the last digit, of a common place or of each rate's own, for at most nine digits."""
    most, places, kinds = 0, 0, list[tuple[int, bool]]()
    for item in items:
        text = item.strip().lower() if isinstance(item, str) else repr(float(item))
        mantissa, _, exponent = text.lstrip("+-").partition("e")
        most = max(most, len(mantissa.replace(".", "").strip("0")))
        if most > 9:
            break
        after = len(mantissa.partition(".")[2]) - int(exponent or 0)
        places = max(places, after)
        kinds.append((after, bool(exponent)))
    if not 0 < most <= 9:
        return []
    sizes = np.abs(y)
    decades = np.zeros(len(y))
    decades[sizes > 0] = 10.0 ** np.floor(np.log10(sizes[sizes > 0]))
    own, place = 0.5 * decades * 10.0 ** (1 - most), np.full(len(y), 0.5 * 10.0**-places)
    large = [after for (after, _), decade in zip(kinds, decades, strict=True) if decade == decades.max()]
    # If the places were the same, one of so many large values would have as many places as the small values.
    if all(scientific for _, scientific in kinds) or (len(large) > 8 and max(large) < places):
        return [own]
    return [place] if len(set(kinds)) == 1 else sorted([place, own], key=lambda half: float(half.max()))
