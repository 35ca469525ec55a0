"""Code for optax."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from laju.convert.writers import FEW, Raw, Setting, Suggestion, Writer, code, plain, text, whole
from laju.core.outline import Geometric, Level, Transition
from laju.inspect.outline import Outline, Part


def suggestions(outline: Outline) -> Iterator[Suggestion]:
    """Yield calls of optax's schedules: schedules with a warmup, several pieces in a single call, and joined pieces."""
    for call in (*_named(outline), *_pieces(outline.parts), *_joined(outline)):
        yield Suggestion(call)


def _named(outline: Outline) -> Iterator[str]:
    warm, rest = outline.warmup, outline.rest
    if warm is None:
        return
    first, start, peak, up = rest[0], warm.first, warm.arrives, warm.length
    match first.form:
        case Level(value) if value == peak and first.end is None:
            yield text("warmup_constant_schedule", init_value=start, peak_value=peak, warmup_steps=up)
        case Transition(high, final, length, name) if high == peak and first.whole and (steps := whole(length)):
            cosine, _, power = name.partition("(")
            exponent = float(power[:-1]) if power and "," not in power else None
            if cosine == "cosine" and "," not in power:
                yield text(
                    "warmup_cosine_decay_schedule", init_value=start, peak_value=peak, warmup_steps=up,
                    decay_steps=up + steps, end_value=final or None, exponent=exponent,
                )  # fmt: skip
        case Geometric(high, factor, every, steps) if first.whole:
            if high == peak and whole(every):
                end = rest[1].first if len(rest) > 1 and rest[1].level is not None else None
                yield text(
                    "warmup_exponential_decay_schedule", init_value=start, peak_value=peak, warmup_steps=up,
                    transition_steps=whole(every), decay_rate=plain(factor), staircase=bool(steps) or None, end_value=end,
                )  # fmt: skip


def _pieces(parts: tuple[Part, ...]) -> Iterator[str]:
    """Constants, or curves between knots, in a single call."""
    values = [part.first for part in parts]
    if len(parts) <= FEW and all(part.level is not None for part in parts) and len(parts) > 1 and all(values[:-1]):
        scales = {part.begin: plain(b / a) for part, (a, b) in zip(parts[1:], itertools.pairwise(values), strict=True)}
        yield text("piecewise_constant_schedule", init_value=values[0], boundaries_and_scales=scales)
    ramps = [p for p in parts if isinstance(p.form, Transition) and p.whole]
    tail = parts[-1]
    if 1 < len(ramps) == len(parts) - 1 <= FEW and tail.level is not None:
        shapes = {p.form.shape for p in ramps if isinstance(p.form, Transition)}
        heads = [p.first for p in ramps]
        ends = [*heads[1:], tail.first]
        if shapes <= {"cosine"} and all(heads) and all(p.arrives == e for p, e in zip(ramps, ends, strict=True)):
            scales = {p.end: plain(e / h) for p, h, e in zip(ramps, heads, ends, strict=True) if p.end is not None}
            yield text("piecewise_interpolate_schedule", "cosine", init_value=heads[0], boundaries_and_scales=scales)


def _joined(outline: Outline) -> Iterator[str]:
    parts = outline.parts
    last = parts[-1]
    if len(parts) > 1 and last.level is not None and abs(parts[-2].arrives - last.first) <= 1e-15 * abs(last.first):
        before = parts[-2]
        if isinstance(before.form, Geometric) or _alone(before, None) is not None:
            parts = parts[:-1]  # optax's decays hold their last value
    if not outline.complete:
        parts = tuple(part for part in parts if part.begin < outline.updates)  # as much as the run sees
    if len(parts) > FEW:
        return
    calls = [_alone(part, last.first if part is parts[-1] is not last else None) for part in parts]
    known = [call for call in calls if call is not None]
    if len(known) < len(calls):
        return
    if len(known) == 1:
        yield known[0]
    else:
        yield text("join_schedules", [Raw(call) for call in known], boundaries=[part.begin for part in parts[1:]])


def _alone(part: Part, bound: float | None) -> str | None:
    """A part as a schedule; `bound` is where an exponential stops."""
    match part.form:
        case Level(value):
            return text("constant_schedule", value)
        case Transition(start, final, length, name) if part.whole and (steps := whole(length)):
            if name == "linear":
                return text("linear_schedule", init_value=start, end_value=final, transition_steps=steps)
            if name.startswith("power("):
                return text(
                    "polynomial_schedule",
                    init_value=start,
                    end_value=final,
                    power=float(name[6:-1]),
                    transition_steps=steps,
                )
            if name.startswith("cosine") and "," not in name and start:
                exponent = float(name[7:-1]) if "(" in name else None
                return text(
                    "cosine_decay_schedule", init_value=start, decay_steps=steps, alpha=plain(final / start) or None,
                    exponent=exponent,
                )  # fmt: skip
        case Geometric(start, factor, every, 0) if part.whole:
            return _exponential(start, factor, every, False, bound)
        case Geometric(start, factor, each, every) if each == every and part.whole:
            return _exponential(start, factor, every, True, bound)
    return None


def _exponential(start: float, factor: float, every: float, stairs: bool, bound: float | None) -> str | None:
    steps = whole(every)
    if steps is None:
        return None
    return text(
        "exponential_decay", init_value=start, transition_steps=steps, decay_rate=plain(factor), staircase=stairs or None,
        end_value=bound,
    )  # fmt: skip


def own(found: Suggestion, setting: Setting) -> str:
    return _program("import optax\n", code(found.call, prefix="optax.", used=len("schedule = ")), setting)


def adapter(setting: Setting) -> str:
    return _program(
        "import optax\n\nimport laju\n", f"{setting.schedule}  # a laju schedule is an optax schedule", setting
    )


def _program(imports: str, schedule: str, setting: Setting) -> str:
    return f"""import jax
import jax.numpy as jnp
{imports}
schedule = {schedule}
optimizer = optax.sgd(learning_rate=schedule)

weights = jnp.zeros(3)  # your parameters
state = optimizer.init(weights)


@jax.jit
def update(weights, state):
    gradients = jax.grad(lambda w: w.sum())(weights)  # your loss
    changes, state = optimizer.update(gradients, state, weights)
    return optax.apply_updates(weights, changes), state


for _ in range({setting.counts}):
    weights, state = update(weights, state)
"""


WRITER = Writer(
    title="optax",
    suggestions=suggestions,
    own=own,
    adapter=adapter,
    single=True,
    traps={
        "": "optax computes in float32, from the count of updates in the optimizer's state; there is no step() to call",
        "warmup_cosine_decay_schedule(": "decay_steps of optax's warmup_cosine_decay_schedule includes the warmup",
        "warmup_exponential_decay_schedule(": (
            "transition_steps of optax's warmup_exponential_decay_schedule does not include the warmup"
        ),
        "cosine_decay_schedule(": "alpha of optax's cosine_decay_schedule is a share of init_value, not a rate",
    },
)
