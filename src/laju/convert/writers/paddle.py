"""Code for PaddlePaddle."""

from __future__ import annotations

from collections.abc import Iterator

from laju.convert.writers import FEW, Raw, Setting, Suggestion, Writer, code, plain, text, whole
from laju.convert.writers import called as names_of
from laju.convert.writers.torch import milestones
from laju.core.outline import Geometric, InversePower, Level, Transition
from laju.inspect.outline import Outline, Part


def suggestions(outline: Outline) -> Iterator[Suggestion]:
    """Yield calls of Paddle's schedulers, inside `LinearWarmup` if there is a warmup."""
    warm = outline.warmup
    for call in _decays(outline.rest):
        if warm is None:
            yield Suggestion(call)
        else:
            inner: object = Raw(call)
            only = outline.rest[0]
            if only.level is not None and only.end is None:
                inner = only.first
            yield Suggestion(
                text(
                    "LinearWarmup",
                    learning_rate=inner,
                    warmup_steps=warm.length,
                    start_lr=warm.first,
                    end_lr=warm.arrives,
                )
            )


def _decays(rest: tuple[Part, ...]) -> Iterator[str]:
    first = rest[0]
    match first.form:
        case Level(value) if first.end is None:
            yield text("PolynomialDecay", learning_rate=value, decay_steps=1, end_lr=value)
        case Transition(start, final, length, name) if first.whole and (steps := whole(length)):
            power = 1.0 if name == "linear" else float(name[6:-1]) if name.startswith("power(") else None
            if power is not None:
                yield text("PolynomialDecay", learning_rate=start, decay_steps=steps, end_lr=final, power=power)
            if name == "cosine":
                again = rest[1].form if len(rest) > 1 else None
                if isinstance(again, Transition) and again.shape == name and again.start > again.final == final:
                    times = whole(again.length / length)
                    yield text(
                        "CosineAnnealingWarmRestarts",
                        learning_rate=start,
                        T_0=steps,
                        T_mult=times,
                        eta_min=final or None,
                    )
                yield text("CosineAnnealingDecay", learning_rate=start, T_max=steps, eta_min=final or None)
        case Geometric(start, factor, every, 0) if first.whole:
            yield text("ExponentialDecay", learning_rate=start, gamma=plain(factor ** (1 / every)))
        case Geometric(start, factor, each, every) if each == every and whole(every):
            yield text("StepDecay", learning_rate=start, step_size=whole(every), gamma=factor)
        case InversePower(base, 1.0, 1.0, timescale):
            yield text("InverseTimeDecay", learning_rate=base, gamma=plain(1 / timescale))
    if 1 < len(rest) <= FEW and all(part.level is not None for part in rest):
        drops = milestones(rest)
        if drops is not None:
            yield text("MultiStepDecay", learning_rate=rest[0].first, milestones=drops[0], gamma=drops[1])
        yield text("PiecewiseDecay", boundaries=[p.begin for p in rest[1:]], values=[p.first for p in rest])


def own(found: Suggestion, setting: Setting) -> str:
    made = code(found.call, used=len("scheduler = "))
    return _program(f"from paddle.optimizer.lr import {', '.join(names_of(found.call))}\n", made, setting)


def adapter(setting: Setting) -> str:
    imports = "\nimport laju\nfrom laju.frameworks.paddle import Scheduler\n"
    return _program(imports, f"Scheduler({setting.schedule})", setting)


def _program(imports: str, scheduler: str, setting: Setting) -> str:
    train = """loss = (model(batch) ** 2).mean()
loss.backward()
optimizer.step()
optimizer.clear_grad()"""
    if setting.in_epochs:
        inner = train.replace("\n", "\n        ")
        loop = f"""for epoch in range({setting.counts}):
    for batch in paddle.randn([2, 8, 10]):  # your data
        {inner}
    scheduler.step()"""
    else:
        inner = train.replace("\n", "\n    ")
        loop = f"""for update in range({setting.counts}):
    batch = paddle.randn([8, 10])  # your data
    {inner}
    scheduler.step()"""
    return f"""import paddle
{imports}
scheduler = {scheduler}

model = paddle.nn.Linear(10, 1)  # yours
optimizer = paddle.optimizer.SGD(learning_rate=scheduler, parameters=model.parameters())

{loop}
"""


WRITER = Writer(
    title="PaddlePaddle",
    suggestions=suggestions,
    own=own,
    adapter=adapter,
    counts_epochs=True,
    traps={
        "CosineAnnealingDecay(": "Paddle's CosineAnnealingDecay does not stop at T_max: stepped further, it climbs back",
        "PolynomialDecay(": "Paddle's PolynomialDecay ends at 0.0001 unless end_lr is said",
    },
)
