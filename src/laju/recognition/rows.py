"""Recognise sequences of curves: the boundaries between curves, and the text of the sequence."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

import laju.policies
from laju.core.algebra import Chain
from laju.core.outline import Form, Geometric, InversePower, Level, Transition
from laju.core.schedule import Schedule
from laju.recognition.curves import Numbers, PlacedPiece, coarse, curves
from laju.text.spec import parse

_MOST_PARTS = 8
_MOST_EVENTS = 80
_MOST_WORK = 450
"""Curves to solve for before the search is given up, weighted by their origins: schedules take up to 400, noise thousands."""
_MOST_ROUGH_WORK = 100
"""The same for values of few digits, where almost anything fits for a while."""


def row(t: Numbers, y: Numbers, tolerance: float) -> list[PlacedPiece] | None:
    """The values as a sequence of few curves, or None."""
    marks = events(t, y, tolerance)
    if len(marks) > _MOST_EVENTS:
        return None
    found = _Rows(t, y, marks, tolerance).best(0, math.inf, _MOST_PARTS)
    if found is None or sum(part.parameters for part in found[1]) > max(3, 2 * len(t) // 3):
        return None
    return list(found[1])


_Row = tuple[int, tuple[PlacedPiece, ...]]
"""Curves, and how long their text is."""


class _Rows:
    """The shortest rows from every value on, each looked for once."""

    def __init__(self, t: Numbers, y: Numbers, marks: list[int], tolerance: float) -> None:
        self.t, self.y, self.marks, self.tolerance = t, y, marks, tolerance
        self._left = float(_MOST_ROUGH_WORK if coarse(y, tolerance) else _MOST_WORK)
        self._rows: dict[tuple[int, float, int], _Row | None] = {}
        self._parts: dict[tuple[int, int, tuple[float, ...]], PlacedPiece | None] = {}

    def best(self, i: int, arrived: float, left: int) -> _Row | None:
        """The shortest sequence from value i on, of up to `left` curves; the curve before came to its end at `arrived`."""
        if i == len(self.t):
            return 0, ()
        if not left or self._left < 0:
            return None
        key = (i, arrived, left)
        if key not in self._rows:
            self._rows[key] = self._best(i, arrived, left)
        return self._rows[key]

    def _best(self, i: int, arrived: float, left: int) -> _Row | None:
        t, n = self.t, len(self.t)
        later = [mark for mark in self.marks if mark > i]
        origins = [0.0] if i or t[0] else []
        if math.isfinite(arrived) and arrived != round(arrived):
            origins.append(arrived)
        found: _Row | None = None
        # A curve reaches as far as possible; the value at its end may also be the first value of the next curve.
        # The nearest 12 marks and the last 4: a bound on the search, since noise marks nearly every row.
        for j in sorted({n, *later[-4:], *later[:12]}, reverse=True):
            if self._left < 0:
                return None
            if self.through(i, j, origins) is None:
                continue
            for stop in (j, j - 1) if i + 1 < j else (j,):
                part = self.through(i, stop, origins)
                if part is None:
                    continue
                form = part.piece.form
                arrives = part.origin + float(form.length) if isinstance(form, Transition) else math.inf
                rest = self.best(stop, arrives, left - 1)
                if rest is not None:
                    cost = len(str(part.schedule)) + 4 + rest[0]
                    if found is None or cost <= found[0]:
                        found = cost, (part, *rest[1])
            if found is not None:
                break
        return found

    def through(self, i: int, j: int, origins: list[float]) -> PlacedPiece | None:
        """A single curve through values i to j - 1."""
        key = (i, j, tuple(origins))
        if key not in self._parts:
            self._left -= 1 + len(origins) / 8
            t, y = self.t, self.y
            end, following = (int(t[j]), float(y[j])) if j < len(t) else (None, None)
            try:
                part = next(curves(t[i:j], y[i:j], int(t[i]), end, following, self.tolerance, origins), None)
            except (
                ValueError,
                ArithmeticError,
            ):  # the solved parameters leave the floats where rates are near their limits
                part = None
            self._parts[key] = part
        return self._parts[key]


def events(t: Numbers, y: Numbers, tolerance: float) -> list[int]:
    """Indices at which a new curve may begin: ends of constant runs, extremes, jumps and kinks."""
    n = len(y)
    if n < 3:
        return []
    level = np.abs(np.diff(y)) <= 0
    edges = np.flatnonzero(np.diff(np.concatenate([[False], level, [False]]).astype(int)))
    runs = [(int(a), int(b)) for a, b in edges.reshape(-1, 2) if b - a >= 2 or b == n - 1]  # y[a] … y[b] are equal
    slope = np.diff(y) / np.diff(t)
    turns = np.flatnonzero(slope[:-1] * slope[1:] < 0) + 1
    bend = np.zeros(n)
    bend[1:-1] = np.abs(np.diff(slope))
    noise = 8 * np.spacing(np.abs(y).max()) + 4 * tolerance / float(np.diff(t).min())
    padded = np.pad(bend, 3, mode="edge")
    # A kink bends at a single value, a curve at all of its neighbours: the bend counts where it is four times the smaller of
    # both sides.
    around = np.minimum(np.maximum(padded[:-6], padded[1:-5])[:n], np.maximum(padded[5:-1], padded[6:])[:n])
    kinks = np.flatnonzero(bend > 4 * around + noise)
    if 3 * len(runs) + 2 * len(turns) + 2 * len(kinks) > _MOST_EVENTS and tolerance > noise / 8:
        # Rounding makes levels and turns of its own; the long and the sharp ones are left.
        runs = sorted(runs, key=lambda run: run[0] - run[1])[:6]
        turns = turns[:0]
        kinks = kinks[np.argsort(-bend[kinks])[:12]]
    found = {i for a, b in runs for i in (a, b, b + 1)} | {int(i) + d for i in (*turns, *kinks) for d in (0, 1)}
    return sorted(i for i in found if 0 < i < n)


def chained(parts: list[PlacedPiece]) -> Schedule:
    schedules = [part.schedule for part in parts]
    return schedules[0] if len(schedules) == 1 else Chain(tuple(schedules))


def named(parts: list[PlacedPiece]) -> Iterator[str]:
    """Calls of laju's policies that may give the same schedule, the simplest first."""
    for text in _policy_calls(parts):
        try:
            parse(text)
        except (ValueError, TypeError):
            continue
        yield text


def call(policy: str, *values: Any, **named: Any) -> str:
    """A call as a person would write it, without arguments that are 0 or absent."""
    said = [_argument_text(v) for v in values] + [
        f"{k}={_argument_text(v)}" for k, v in named.items() if v not in (None, 0, "")
    ]
    return f"{policy}({', '.join(said)})"


def _argument_text(value: Any) -> str:
    if isinstance(value, str):
        return repr(value)
    if isinstance(value, list):
        return "[" + ", ".join(_argument_text(v) for v in value) + "]"
    value = float(value)
    return repr(int(value)) if value == int(value) and abs(value) >= 1 and abs(value) < 1e15 else repr(value)


def _policy_calls(parts: list[PlacedPiece]) -> Iterator[str]:
    if parts[0].begin:
        return
    forms = [part.piece.form for part in parts]
    whole = all(part.origin == part.begin for part in parts)
    if len(parts) == 1 and isinstance(forms[0], Level):
        yield call("constant", forms[0].value)
        return
    if not whole:
        yield from _shifted(parts)
        return
    if len(parts) > 1 and isinstance(one := forms[0], Transition):
        back = one._replace(start=one.final, final=one.start)
        if all(form == (back if i % 2 else one) for i, form in enumerate(forms)):
            for text in _decay(one, 0.0, {}):
                yield f"{text}.repeat(mirror=True)"
            yield f"{parts[0].piece}.repeat(mirror=True)"
    if len(parts) == 2 and isinstance(forms[0], Transition) and isinstance(decay := forms[1], InversePower):
        rise = parts[1].begin
        if decay.exponent == 0.5 and float(decay.timescale) == rise + 1:  # counted from 1
            for d_model in (512, 768, 1024, 256, 2048, 4096, 1):
                scale = float(f"{decay.base * math.sqrt(d_model * (rise + 1)):.12g}")
                if d_model == 1 or len(repr(scale)) <= 6:
                    yield f"noam({d_model}, {rise}" + (")" if scale == 1 else f", scale={scale!r})")
    # The final level of the run is the end of the curve before.
    ends = (forms[-2], forms[-1]) if len(parts) > 1 else (None, None)
    if isinstance(ends[0], Transition) and isinstance(ends[1], Level) and ends[0].final == ends[1].value:
        parts, forms = parts[:-1], forms[:-1]
    warm: dict[str, Any] = {}
    body = list(zip(parts, forms, strict=True))
    if len(body) > 1 and isinstance(climb := forms[0], Transition) and climb.shape == "linear":
        goes_on = _first(forms[1])
        if goes_on is not None and climb.final == goes_on > climb.start:
            warm = {"warmup": parts[0].end, "start": climb.start}
            body = body[1:]
    w = float(warm.get("warmup", 0) or 0)
    if len(body) == 1:
        yield from _decay(body[0][1], w, warm)
    if (
        len(body) == 2
        and isinstance(level := body[0][1], Level)
        and isinstance(ramp := body[1][1], Transition)
        and level.value == ramp.start
    ):
        total = body[1][0].begin + float(ramp.length)
        shape = {"sqrt": "1-sqrt", "square": "1-square", "linear": None}.get(ramp.shape, ramp.shape)
        if ramp.shape == "cosine" and not warm:
            yield call("flat_cosine", level.value, total=total, flat=body[1][0].begin, final=ramp.final)
        yield call("wsd", level.value, total=total, cooldown=ramp.length, **warm, final=ramp.final, shape=shape)
    if (
        len(forms) == 2
        and isinstance(up := forms[0], Transition)
        and isinstance(down := forms[1], Transition)
        and up.shape == down.shape
        and up.final == down.start
    ):
        total = float(up.length) + float(down.length)
        shape = None if up.shape == "cosine" else up.shape
        yield call(
            "one_cycle",
            up.final,
            total=total,
            warmup=up.length,
            start=up.start,
            final=down.final or 0.0,
            shape=shape,
        )
    levels = [form for form in forms if isinstance(form, Level)]
    lines = [form for form in forms if isinstance(form, Transition) and form.shape == "linear"]
    if len(levels) == len(forms) > 1:
        yield call("piecewise_constant", [p.begin for p in parts[1:]], [level.value for level in levels])
    if len(lines) == len(forms) > 2:
        knots = [(float(part.begin), line.start) for part, line in zip(parts, lines, strict=True)]
        knots.append((parts[-1].begin + float(lines[-1].length), lines[-1].final))
        yield "knots([" + ", ".join(f"({_argument_text(x)}, {_argument_text(v)})" for x, v in knots) + "])"


def _first(form: Form | None) -> float | None:
    match form:
        case Level(value):
            return value
        case Transition(start=start):
            return start
        case Geometric(start=base, steps=0) | InversePower(base=base):
            return base
    return None


def _decay(form: Form | None, w: float, warm: dict[str, Any]) -> Iterator[str]:
    """A single curve, after a warmup or not."""
    then = f"{call('linear', warm['start'], _first(form), total=w)} >> " if warm else ""
    match form:
        case Level(value) if warm:
            yield f"{then}{_argument_text(value)}"
        case Transition(start, final, length, shape):
            # A total of a policy counts its warmup, and the length of a transition does not.
            total = w + float(length)
            kind, _, inside = shape.partition("(")
            k = float(inside[:-1].split(",")[0]) if inside else None
            if kind == "linear":
                if final == 0 and warm:
                    yield call("linear_to_zero", start, total=total, **warm)
                if not warm:
                    yield f"linear({_argument_text(start)}, {_argument_text(final)}, total={_argument_text(total)})"
                elif final:
                    yield call("poly", start, total=total, final=final, **warm)
            if kind == "cosine":
                yield call("cosine", start, total=total, final=final, **warm)
            if kind == "tanh":
                # The policy cuts the tanh off at both ends, so that its first value is a little below the peak and its last
                # above 0: a fall between other shares of a peak is a Ramp and not this policy.
                unit = laju.policies.tanh_decay(1.0, 100)
                if math.isclose(start / unit(0) * unit(100), final, rel_tol=0.1):
                    for digits in (1, 3, 9):
                        yield call("tanh_decay", float(f"{start / unit(0):.{digits}g}"), total=total, **warm)
            if kind == "rex" and final == 0 and not warm:
                yield call("rex", start, total=total)
            if kind == "power":
                yield call("poly", start, total=total, power=k, final=final, **warm)
            if kind == "rising_power":
                yield call("poly", start, total=total, k=k, final=final, **warm)
            if kind == "exponential":
                yield (
                    f"exponential({_argument_text(start)}, {_argument_text(final)}, total={_argument_text(total)}"
                    + "".join(f", {key}={_argument_text(v)}" for key, v in warm.items() if v)
                    + ")"
                )
        case Geometric(base, ratio, every, 0):
            if every == 1:
                yield then + call("factor", base, ratio)
            else:
                yield then + call("natural_exponential", base, rate=1 / float(every))
        case InversePower(base, exponent, offset, timescale) if offset == 1:
            scale = float(timescale)
            if exponent == 0.5:
                if scale == 1 and not warm:
                    yield call("square_root", base)
                elif warm and scale == w:
                    yield call("inverse_sqrt", base, **warm)
                else:
                    yield call("inverse_sqrt", base, **warm, timescale=scale)
            if exponent == 1:
                yield then + call("inverse_time", base, _brief(1 / scale))
            yield then + call("polynomial_decay", base, alpha=exponent, beta=_brief(1 / scale))


def _brief(value: float) -> float:
    """The same without the digits that a division has left."""
    short = float(f"{value:.12g}")
    return short if math.isclose(short, value, rel_tol=4e-16) else value


def _shifted(parts: list[PlacedPiece]) -> Iterator[str]:
    """A policy that is read from a later value, or whose warmup covers its beginning."""
    if len(parts) == 1 or (isinstance(parts[-1].piece.form, Level) and len(parts) == 2):
        part = parts[0]
        late = part.begin - part.origin
        if late == int(late) and late > 0:
            for text in _decay(part.piece.form, 0.0, {}):
                yield f"{text}.shift(-{int(late)})"
    elif len(parts) == 2 and parts[1].origin == 0 and isinstance(ramp := parts[0].piece.form, Transition):
        for text in _decay(parts[1].piece.form, 0.0, {}):
            yield f"{text}.warmup({_argument_text(float(parts[0].end or 0))}, start={_argument_text(ramp.start)}, how='overlay')"
