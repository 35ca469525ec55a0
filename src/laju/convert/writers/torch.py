"""Code for PyTorch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from laju.convert.writers import (
    FEW,
    Raw,
    Setting,
    Suggestion,
    Writer,
    called,
    code,
    plain,
    text,
    torch_loop,
    whole,
)
from laju.core.outline import Geometric, Level, Transition
from laju.inspect.outline import Outline, Part

_ENDLESS = Raw("10**9")
_NO_OPTIMIZER = ("ChainedScheduler",)


def suggestions(outline: Outline) -> Iterator[Suggestion]:
    """Yield calls of torch's schedulers: single calls, sequences, and calls that give several parts at once."""
    lr = outline.peak
    if not lr > 0:
        if outline.peak == 0 and outline.parts[0].first == 0:
            yield Suggestion(text("ConstantLR", factor=1.0, total_iters=1), 0.0)
        return
    yield from (Suggestion(call, lr) for call in _cycles(outline))
    warm = outline.warmup
    up = None if warm is None else _linear_scheduler(warm.first, warm.arrives, warm.length, lr)
    for rest in _rests(outline.rest, lr):
        if warm is None:
            yield Suggestion(_sequence(rest), lr)
        elif up is not None:
            yield Suggestion(_sequence([(0, up), *((begin + warm.length, call) for begin, call in rest)]), lr)


def _rests(parts: tuple[Part, ...], lr: float) -> Iterator[list[tuple[int, str]]]:
    """Ways to write the parts after the warmup: calls with the step at which each begins."""
    first = parts[0]
    match first.form:
        case Transition(start, final, length, "cosine") if start == lr and first.whole and whole(length):
            following = parts[1].form if len(parts) > 1 else None
            match following:
                case Transition(again, low, longer, "cosine") if again > low == final and whole(longer / length):
                    times = int(longer / length)
                    call = text(
                        "CosineAnnealingWarmRestarts",
                        T_0=whole(length),
                        T_mult=times if times > 1 else None,
                        eta_min=final or None,
                    )
                    yield [(0, call)]
            yield [(0, text("CosineAnnealingLR", T_max=whole(length), eta_min=final or None))]
    steps = milestones(parts)
    if steps is not None and parts[0].first == lr:
        yield [(0, text("MultiStepLR", milestones=steps[0], gamma=steps[1]))]
    if len(parts) > FEW:
        return
    calls = [(part.begin, _alone(part, lr)) for part in parts]
    known = [(begin, call) for begin, call in calls if call is not None]
    if len(known) == len(calls):
        yield known


def _alone(part: Part, lr: float) -> str | None:
    """A single part as a scheduler, whose base is the optimizer's rate."""
    match part.form:
        case Level(value) if value == lr:
            return text("ConstantLR", factor=1.0, total_iters=1)
        case Level(value) if value == 0:
            return text("MultiStepLR", milestones=[0], gamma=0.0)
        case Level(value) if 0 < value < lr:
            return text("ConstantLR", factor=plain(value / lr), total_iters=part.length or _ENDLESS)
        case Transition(start, final, length, name) if part.whole and (steps := whole(length)):
            if name == "linear":
                return _linear_scheduler(start, final, steps, lr)
            if start != lr:
                return None
            if name == "cosine":
                return text("CosineAnnealingLR", T_max=steps, eta_min=final or None)
            if name.startswith("power(") and final == 0:
                return text("PolynomialLR", total_iters=steps, power=float(name[6:-1]))
        case Geometric(start, factor, every, 0) if start == lr and part.whole:
            return text("ExponentialLR", gamma=plain(factor ** (1 / every)) if every != 1 else factor)
        case Geometric(start, factor, each, every) if start == lr and each == every and whole(every):
            return text("StepLR", step_size=whole(every), gamma=factor)
    return None


def _linear_scheduler(start: float, final: float, length: int, lr: float) -> str | None:
    if start == lr and final == 0:
        return text("PolynomialLR", total_iters=length)
    if not 0 <= start <= lr or not 0 <= final <= lr:
        return None
    # torch refuses a factor of 0.
    return text("LinearLR", start_factor=max(plain(start / lr), 1e-8), end_factor=plain(final / lr) if final != lr else None,
                total_iters=length)  # fmt: skip


def milestones(parts: tuple[Part, ...]) -> tuple[list[int], float] | None:
    """Return the milestones between constants with a constant ratio, and the ratio; None for other parts."""
    values = [part.level for part in parts if part.level is not None]
    if len(values) < len(parts) or not 2 <= len(parts) <= 40 or not all(values):
        return None
    factors = [b / a for a, b in itertools.pairwise(values)]
    if max(factors) - min(factors) > 1e-12 * abs(factors[0]):
        return None
    return [part.begin for part in parts[1:]], float(f"{factors[0]:.12g}")


def _cycles(outline: Outline) -> Iterator[str]:
    """Schedulers that combine a rise and a fall."""
    ramps = [part for part in outline.parts[:3] if isinstance(part.form, Transition)]
    if len(ramps) < 2 or len(ramps) != min(len(outline.parts), 3) - (outline.parts[-1].level is not None):
        return
    up, down = ramps[0].form, ramps[1].form
    assert isinstance(up, Transition)
    assert isinstance(down, Transition)
    meets = ramps[0].origin == 0 and ramps[1].origin == up.length and up.start < up.final == down.start
    if not meets or up.shape != down.shape or up.shape not in ("cosine", "linear"):
        return
    # OneCycleLR is at its top at update pct_start·total_steps - 1, and at its last rate at update total_steps - 1.
    steps = whole(up.length + down.length + 1)
    if len(ramps) == 3 and up.shape == "linear" and down.final == up.start:
        again = ramps[2].form
        assert isinstance(again, Transition)
        call: dict[str, Any] = {"base_lr": up.start, "max_lr": up.final, "step_size_up": _int(up.length)}
        call["step_size_down"] = _int(down.length) if down.length != up.length else None
        # The second rise is as high as the first in triangular, and half as high in triangular2.
        halves = again.final - again.start < 0.75 * (up.final - up.start)
        yield text("CyclicLR", **call, mode="triangular2" if halves else None, cycle_momentum=False)
    elif len(ramps) == 2 and steps and up.start > 0 and down.final > 0:
        yield text(
            "OneCycleLR", max_lr=up.final, total_steps=steps, pct_start=plain((up.length + 1) / steps),
            anneal_strategy="linear" if up.shape == "linear" else None, cycle_momentum=False,
            div_factor=plain(up.final / up.start), final_div_factor=plain(up.start / down.final),
        )  # fmt: skip


def _int(value: float) -> float:
    found = whole(value)
    return value if found is None else found


def _sequence(calls: list[tuple[int, str]]) -> str:
    if len(calls) == 1:
        return calls[0][1]
    return text("SequentialLR", [Raw(call) for _, call in calls], milestones=[begin for begin, _ in calls[1:]])


def own(found: Suggestion, setting: Setting) -> str:
    names = ", ".join(called(found.call))
    scheduler = code(found.call, first="optimizer", without=_NO_OPTIMIZER, used=len("scheduler = "))
    return f"""import torch
from torch.optim.lr_scheduler import {names}

model = torch.nn.Linear(10, 1)  # yours
optimizer = torch.optim.SGD(model.parameters(), lr={_rate(found, setting)!r})
scheduler = {scheduler}
{torch_loop(setting)}"""


def _rate(found: Suggestion, setting: Setting) -> float:
    return setting.lr if found.lr is None else found.lr


def adapter(setting: Setting, note: str = "") -> str:
    """Return the program with laju's scheduler; `note` is a comment at the end of the scheduler's line, or above a long line."""
    made = "scheduler = Scheduler(optimizer, lr=schedule)"
    made = f"{made}  # {note}" if len(made) + len(note) < 112 else f"# {note}\n{made}"
    return f"""import torch

import laju
from laju.frameworks.torch import Scheduler

model = torch.nn.Linear(10, 1)  # yours
optimizer = torch.optim.SGD(model.parameters(), lr={setting.lr!r})
schedule = {setting.schedule}
{made if note else "scheduler = Scheduler(optimizer, lr=schedule)"}
{torch_loop(setting)}"""


WRITER = Writer(
    title="PyTorch",
    suggestions=suggestions,
    own=own,
    adapter=adapter,
    counts_epochs=True,
    traps={
        "CosineAnnealingLR(": "CosineAnnealingLR does not stop at T_max: stepped further, it climbs back",
        "OneCycleLR(": "OneCycleLR reaches its end at total_steps - 1, overshoots with the step after it, and raises at the next",
        "CyclicLR(": "CyclicLR ignores the optimizer's rate, and its default cycle_momentum=True drives the momentum, too",
        "start_factor=1e-08": "LinearLR refuses a start_factor of 0, so a warmup from 0 has to begin a little above it",
        "SequentialLR(": "a part of SequentialLR begins at its own first value at its milestone, from the optimizer's rate",
    },
)
