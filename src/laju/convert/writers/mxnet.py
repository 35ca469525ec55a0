"""Code for MXNet's Gluon."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from laju.convert.writers import Setting, Suggestion, Writer, code, plain, text, whole
from laju.convert.writers import called as names_of
from laju.convert.writers.torch import milestones
from laju.core.outline import Geometric, Level, Transition
from laju.inspect.outline import Outline


def suggestions(outline: Outline) -> Iterator[Suggestion]:
    """Yield calls of MXNet's schedulers, which a Trainer calls from 1 on, so that values are an update ahead."""
    warm, rest = outline.warmup, outline.rest
    up: dict[str, Any] = {}
    before = 0
    if warm is not None:
        up = {"warmup_steps": warm.length, "warmup_begin_lr": warm.first or None}
        before = warm.length
    first = rest[0]
    match first.form:
        case Transition(start, final, length, name) if first.whole and whole(length):
            end = before + int(length)
            power = 1.0 if name == "linear" else float(name[6:-1]) if name.startswith("power(") else None
            # The same curve a count later, which begins above its start, and the curve with the same numbers.
            for late in (0, 1):
                if name == "cosine":
                    yield Suggestion(
                        text("CosineScheduler", max_update=end + late, base_lr=start, final_lr=final or None, **up)
                    )
                elif power is not None:
                    named = {"base_lr": start, "pwr": power, "final_lr": final or None}
                    yield Suggestion(text("PolyScheduler", max_update=end + late, **named, **up))
        case Level(value) if first.end is None:
            yield Suggestion(text("FactorScheduler", step=10**9, factor=1.0, base_lr=value, **up))
        case Geometric(start, factor, each, every) if each == every and whole(every):
            yield Suggestion(
                text(
                    "FactorScheduler", step=int(every), factor=factor, stop_factor_lr=_least(start), base_lr=start, **up
                )
            )
        case Geometric(start, factor, every, 0):
            yield Suggestion(
                text(
                    "FactorScheduler",
                    step=1,
                    factor=plain(factor ** (1 / every)),
                    stop_factor_lr=_least(start),
                    base_lr=start,
                    **up,
                )
            )
    steps = milestones(rest)
    if steps is not None:
        for late in (0, 1):
            at = [before + m + late for m in steps[0]]
            yield Suggestion(text("MultiFactorScheduler", step=at, factor=steps[1], base_lr=rest[0].first, **up))


def _least(start: float) -> float:
    """Return a lower bound that no value reaches, unlike MXNet's default of 1e-8."""
    return 1e-30 * 10.0 ** math.floor(math.log10(abs(start) or 1.0))


def own(found: Suggestion, setting: Setting) -> str:
    made = code(found.call, used=len("scheduler = "))
    return _program(f"from mxnet.lr_scheduler import {', '.join(names_of(found.call))}\n", made, setting)


def adapter(setting: Setting) -> str:
    imports = "\nimport laju\nfrom laju.frameworks.mxnet import Scheduler\n"
    return _program(imports, f"Scheduler({setting.schedule})", setting)


def _program(imports: str, scheduler: str, setting: Setting) -> str:
    return f"""import mxnet as mx
from mxnet import autograd, gluon
{imports}
scheduler = {scheduler}

model = gluon.nn.Dense(1)  # yours
model.initialize()
# No learning_rate here: MXNet would take it for the scheduler's.
trainer = gluon.Trainer(model.collect_params(), "sgd", {{"learning_rate": None, "lr_scheduler": scheduler}})

for update in range({setting.counts}):
    batch = mx.nd.random.normal(shape=(8, 10))  # your data
    with autograd.record():
        loss = (model(batch) ** 2).mean()
    loss.backward()
    trainer.step(1)  # asks the scheduler for update + 1
"""


WRITER = Writer(
    title="MXNet",
    suggestions=suggestions,
    own=own,
    adapter=adapter,
    traps={
        "": "MXNet counts updates from 1: its Trainer never asks its own schedulers for their value at 0",
        "FactorScheduler(": "MXNet's FactorScheduler stops at stop_factor_lr, 1e-8 by default",
    },
)
