"""Code for Transformers."""

from __future__ import annotations

from collections.abc import Iterator

from laju.convert.writers import Setting, Suggestion, Writer, code, plain, text, torch, torch_loop, whole
from laju.convert.writers import called as names_of
from laju.core.outline import InversePower, Level, Transition
from laju.inspect.outline import Outline, Part

_WSD = {"linear": "linear", "cosine": "cosine", "sqrt": "1-sqrt"}


def suggestions(outline: Outline) -> Iterator[Suggestion]:
    """Yield calls of the functions behind `get_scheduler`, whose warmups all begin at 0, except warmup-stable-decay."""
    lr, warm, rest = outline.peak, outline.warmup, outline.rest
    if not lr > 0:
        return
    up = 0 if warm is None else warm.length
    for call in _calls(rest, up, lr, 0.0 if warm is None else warm.first):
        yield Suggestion(call, lr)


def _calls(rest: tuple[Part, ...], up: int, lr: float, start: float) -> Iterator[str]:
    first = rest[0]
    match first.form:
        case Level(value) if value == lr and first.end is None:
            if up:
                yield text("get_constant_schedule_with_warmup", num_warmup_steps=up)
            else:
                yield text("get_constant_schedule")
        case InversePower(base, 0.5, 1.0, timescale) if base == lr and whole(timescale):
            scale = None if up and timescale == up else whole(timescale)
            yield text("get_inverse_sqrt_schedule", num_warmup_steps=up, timescale=scale)
        case Transition(high, final, length, name) if high == lr and first.whole and (steps := whole(length)):
            lengths = {"num_warmup_steps": up, "num_training_steps": up + steps}
            if name == "linear" and final == 0:
                yield text("get_linear_schedule_with_warmup", **lengths)
            if name == "linear":
                yield text("get_polynomial_decay_schedule_with_warmup", **lengths, lr_end=final)
            if name.startswith("power("):
                power = float(name[6:-1])
                yield text("get_polynomial_decay_schedule_with_warmup", **lengths, lr_end=final, power=power)
            if name == "cosine" and final == 0:
                cycles = _same(rest)
                whole_run = {**lengths, "num_training_steps": up + steps * cycles}
                yield text(
                    "get_cosine_with_hard_restarts_schedule_with_warmup",
                    **whole_run,
                    num_cycles=None if cycles == 1 else cycles,
                )
                yield text("get_cosine_schedule_with_warmup", **lengths)
            if name == "cosine" and final > 0:
                yield text("get_cosine_with_min_lr_schedule_with_warmup", **lengths, min_lr=final)
            if name == "cosine" and start > 0:
                yield text(
                    # This function divides by num_warmup_steps - 1: it is at the peak one update before its warmup's end, and
                    # lands as much earlier.
                    "get_cosine_with_min_lr_schedule_with_warmup_lr_rate",
                    num_warmup_steps=up + 1, num_training_steps=up + steps + 1, min_lr=final, warmup_lr_rate=plain(start / lr),
                )  # fmt: skip
    yield from _stable(rest, up, lr)


def _stable(rest: tuple[Part, ...], up: int, lr: float) -> Iterator[str]:
    """Warmup, stable, decay, with or without a stable part."""
    flat = rest[0].length if rest[0].level is not None and rest[0].first == lr else 0
    down = rest[1:] if flat else rest
    if not down:
        return
    match down[0].form:
        case Transition(high, final, length, name) if (
            high == lr and down[0].whole and name in _WSD and (steps := whole(length))
        ):
            yield text(
                "get_wsd_schedule", num_warmup_steps=up, num_decay_steps=steps, num_stable_steps=flat,
                decay_type=_WSD[name] if name != "cosine" else None, min_lr_ratio=plain(final / lr) if final else None,
            )  # fmt: skip


def _same(rest: tuple[Part, ...]) -> int:
    """Return the number of consecutive repetitions of the first part."""
    return next((i for i, part in enumerate(rest) if part.piece != rest[0].piece), len(rest))


def own(found: Suggestion, setting: Setting) -> str:
    scheduler = code(found.call, first="optimizer", used=len("scheduler = "))
    lr = setting.lr if found.lr is None else found.lr
    return f"""import torch
from transformers.optimization import {", ".join(names_of(found.call))}

model = torch.nn.Linear(10, 1)  # yours
optimizer = torch.optim.SGD(model.parameters(), lr={lr!r})
scheduler = {scheduler}
# With its Trainer instead of a loop: Trainer(..., optimizers=(optimizer, scheduler))
{torch_loop(setting)}"""


def adapter(setting: Setting) -> str:
    return torch.adapter(setting, "with the Trainer: Trainer(..., optimizers=(optimizer, scheduler))")


WRITER = Writer(
    title="Transformers",
    suggestions=suggestions,
    own=own,
    adapter=adapter,
    traps={
        "get_cosine_schedule_with_warmup(": "Transformers' cosine climbs again after num_training_steps",
        "get_cosine_with_min_lr_schedule_with_warmup(": "Transformers' cosine_with_min_lr climbs again after num_training_steps",
        "get_cosine_with_min_lr_schedule_with_warmup_lr_rate(": (
            "Transformers' cosine_warmup_with_min_lr counts from 1: its cosine is one update ahead, and climbs again at its end"
        ),
        "get_wsd_schedule(": "Transformers' warmup_stable_decay warms up from min_lr_ratio of the rate, the others from 0",
    },
)
