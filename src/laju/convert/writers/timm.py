"""Code for timm."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from laju.convert.writers import Setting, Suggestion, Writer, code, plain, text, torch, torch_loop, whole
from laju.convert.writers import called as names_of
from laju.core.outline import Geometric, Level, Transition
from laju.core.shapes import shape
from laju.inspect.outline import Outline, Part


def suggestions(outline: Outline) -> Iterator[Suggestion]:
    """Yield calls of timm's schedulers: a decay, with the warmup before the decay or over its beginning."""
    warm, rest, lr = outline.warmup, outline.rest, outline.peak
    if not lr > 0:
        return
    up: dict[str, Any] = {}
    if warm is not None:
        up = {"warmup_t": warm.length, "warmup_lr_init": warm.first or None}
    first = rest[0]
    behind: dict[str, Any] = {**up, "warmup_prefix": True} if up else {}
    match first.form:
        case Level(value) if value == lr and first.end is None:
            yield Suggestion(text("StepLRScheduler", decay_t=1, decay_rate=1.0, **up), lr)
        case Geometric(start, factor, every, 0) if start == lr and first.whole:
            yield Suggestion(text("StepLRScheduler", decay_t=1, decay_rate=plain(factor ** (1 / every)), **up), lr)
        case Geometric(start, factor, each, every) if start == lr and each == every:
            yield Suggestion(text("StepLRScheduler", decay_t=whole(every) or every, decay_rate=factor, **up), lr)
        case Transition(start, final, length, name) if first.whole or (
            warm is not None and first.origin == -warm.length
        ):
            call = _curve(name, start, final)
            if call is not None:
                top, named = call
                if not first.whole:
                    behind = up  # the decay has been running under the warmup
                cycles = _cycles(rest, named.pop("lr_min"))
                yield Suggestion(
                    text(named.pop("call"), t_initial=whole(length) or length, **cycles, **behind, **named), top
                )
    steps = torch.milestones(rest)
    if steps is not None and rest[0].first == lr:
        # A milestone of timm applies a count before its number.
        yield Suggestion(
            text("MultiStepLRScheduler", decay_t=[at + 1 for at in steps[0]], decay_rate=steps[1], **up), lr
        )


def _curve(name: str, start: float, final: float) -> tuple[float, dict[str, Any]] | None:
    """Return the optimizer's learning rate and the arguments for a decay with the shape `name`."""
    kind, _, inside = name.partition("(")
    numbers = [float(n) for n in inside.rstrip(")").split(",")] if inside else []
    if kind == "linear":
        return start, {"call": "PolyLRScheduler", "lr_min": final, "power": 1.0}
    if kind == "power":
        return start, {"call": "PolyLRScheduler", "lr_min": final, "power": numbers[0]}
    if kind == "k_decay":
        power = numbers[1] if len(numbers) > 1 else 1.0
        return start, {"call": "PolyLRScheduler", "lr_min": final, "power": power, "k_decay": numbers[0]}
    if kind == "cosine" and (len(numbers) != 1 and (not numbers or numbers[0] == 1)):
        return start, {"call": "CosineLRScheduler", "lr_min": final, "k_decay": numbers[1] if numbers else None}
    if kind == "tanh":
        lower, upper = [*numbers, *(-6.0, 3.0)[len(numbers) :]]
        begins, ends = (1 - math.tanh(lower)) / 2, (1 - math.tanh(upper)) / 2
        # A tanh between -6 and 3 reaches neither 1 nor 0: the optimizer's rate and lr_min are the limits, outside the rates
        # that it trains with.
        top = (start - final) / (begins - ends)
        low = start - top * begins
        low = 0.0 if abs(low) < 1e-15 * abs(start) else low
        return low + top, {"call": "TanhLRScheduler", "lr_min": low, "lb": lower, "ub": upper}
    assert shape(name)
    return None


def _cycles(rest: tuple[Part, ...], low: float) -> dict[str, Any]:
    """Return the cycle arguments if the first part repeats."""
    ramps = [part for part in rest if isinstance(part.form, Transition)]
    named: dict[str, Any] = {"lr_min": low or None}
    if len(ramps) > 1 and ramps == list(rest[: len(ramps)]):
        a, b = ramps[0].form, ramps[1].form
        assert isinstance(a, Transition)
        assert isinstance(b, Transition)
        if a.shape == b.shape and b.start > b.final == a.final:
            named |= {
                "cycle_mul": b.length / a.length if b.length != a.length else None,
                "cycle_decay": b.start / a.start if b.start != a.start else None,
                "cycle_limit": len(ramps),
            }
    return named


def own(found: Suggestion, setting: Setting) -> str:
    call = found.call if setting.in_epochs else f"{found.call[:-1]}, t_in_epochs=False)"
    if "t_in_epochs" in found.call:
        call = found.call
    scheduler = code(call, first="optimizer", used=len("scheduler = "))
    lr = setting.lr if found.lr is None else found.lr
    return f"""import torch
from timm.scheduler import {", ".join(names_of(found.call))}

model = torch.nn.Linear(10, 1)  # yours
optimizer = torch.optim.SGD(model.parameters(), lr={lr!r})
scheduler = {scheduler}
{torch_loop(setting, "scheduler.step_update(update + 1)", "scheduler.step(epoch + 1)")}"""


def adapter(setting: Setting) -> str:
    return torch.adapter(setting, "step() without a count, unlike timm's")


WRITER = Writer(
    title="timm",
    suggestions=suggestions,
    own=own,
    adapter=adapter,
    counts_epochs=True,
    traps={
        "": "timm's schedulers take the count itself: step(epoch + 1) or step_update(update + 1), not step()",
        "MultiStepLRScheduler(": "a milestone of timm's MultiStepLRScheduler applies one count before its number",
        "TanhLRScheduler(": "timm's TanhLRScheduler neither begins at the rate nor ends at lr_min",
        "CosineLRScheduler(": "timm's cosine runs under the warmup, and loses its beginning, unless warmup_prefix=True",
    },
)
