"""Code for Keras."""

from __future__ import annotations

from collections.abc import Iterator

from laju.convert.writers import FEW, Setting, Suggestion, Writer, code, plain, text, whole
from laju.core.outline import Geometric, InversePower, Level, Transition
from laju.inspect.outline import Outline, Part


def suggestions(outline: Outline) -> Iterator[Suggestion]:
    """Yield calls of Keras' schedules, of which only the cosine has a warmup."""
    for call in _calls(outline):
        yield Suggestion(call)


def _calls(outline: Outline) -> Iterator[str]:
    warm, rest = outline.warmup, outline.rest
    first = rest[0]
    if warm is not None:
        match first.form:
            case Transition(high, final, length, "cosine") if high == warm.arrives and first.whole:
                yield text(
                    "CosineDecay", initial_learning_rate=warm.first, decay_steps=_int(length), alpha=plain(final / high) or None,
                    warmup_target=high, warmup_steps=warm.length,
                )  # fmt: skip
        if len(outline.parts) == 2 and first.level is not None and first.first == warm.arrives:
            yield text(
                "PolynomialDecay", initial_learning_rate=warm.first, decay_steps=warm.length,
                end_learning_rate=warm.arrives,
            )  # fmt: skip
        return
    yield from _decays(rest)


def _decays(rest: tuple[Part, ...]) -> Iterator[str]:
    first = rest[0]
    match first.form:
        case Level(value) if first.end is None:
            yield text("ExponentialDecay", initial_learning_rate=value, decay_steps=1, decay_rate=1.0)
        case Geometric(start, factor, every, 0) if first.whole:
            yield text(
                "ExponentialDecay", initial_learning_rate=start, decay_steps=_int(every), decay_rate=plain(factor)
            )
        case Geometric(start, factor, each, every) if each == every:
            yield text(
                "ExponentialDecay",
                initial_learning_rate=start,
                decay_steps=_int(every),
                decay_rate=factor,
                staircase=True,
            )
        case InversePower(base, 1.0, 1.0, timescale):
            yield text("InverseTimeDecay", initial_learning_rate=base, decay_steps=_int(timescale), decay_rate=1.0)
        case Transition(start, final, length, name) if first.whole:
            power = float(name[6:-1]) if name.startswith("power(") else None
            if name == "linear" or power is not None:
                yield text(
                    "PolynomialDecay", initial_learning_rate=start, decay_steps=_int(length), end_learning_rate=final,
                    power=power,
                )  # fmt: skip
            if name == "cosine" and start:
                again = rest[1].form if len(rest) > 1 else None
                if isinstance(again, Transition) and again.shape == name and again.start > again.final == final < start:
                    grows, falls = again.length / length, (again.start - final) / (start - final)
                    yield text(
                        "CosineDecayRestarts", initial_learning_rate=start, first_decay_steps=_int(length), t_mul=float(grows),
                        m_mul=plain(falls) if falls != 1 else None, alpha=plain(final / start) or None,
                    )  # fmt: skip
                yield text(
                    "CosineDecay",
                    initial_learning_rate=start,
                    decay_steps=_int(length),
                    alpha=plain(final / start) or None,
                )
    if 1 < len(rest) <= FEW and all(part.level is not None for part in rest):
        # A boundary belongs to the value before the boundary.
        ends = [part.begin - 1 for part in rest[1:]]
        yield text("PiecewiseConstantDecay", boundaries=ends, values=[part.first for part in rest])


def _int(value: float) -> float:
    found = whole(value)
    return value if found is None else found


def own(found: Suggestion, setting: Setting) -> str:
    schedule = code(found.call, prefix="keras.optimizers.schedules.", used=len("schedule = "))
    return _program("import keras\nimport numpy as np\n", schedule, setting)


def adapter(setting: Setting) -> str:
    imports = "import keras\nimport numpy as np\n\nimport laju\nfrom laju.frameworks.keras import LearningRate\n"
    return _program(imports, f"LearningRate({setting.schedule})", setting)


def _program(imports: str, schedule: str, setting: Setting) -> str:
    return f"""{imports}
schedule = {schedule}

model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(1)])  # yours
model.compile(optimizer=keras.optimizers.SGD(learning_rate=schedule), loss="mse")


def batches():  # your data
    while True:
        inputs = np.random.normal(size=(8, 10))
        yield inputs, inputs[:, :1]


updates = {setting.counts}
model.fit(batches(), steps_per_epoch=updates, epochs=1, verbose=0)
"""


WRITER = Writer(
    title="Keras",
    suggestions=suggestions,
    own=own,
    adapter=adapter,
    single=True,
    traps={
        "": "Keras computes in float32, from its optimizer's count of updates, whatever an epoch is",
        "CosineDecay(": "decay_steps of Keras' CosineDecay does not include the warmup; alpha is a share of the rate",
        "PiecewiseConstantDecay(": (
            "a boundary of Keras' PiecewiseConstantDecay belongs to the value before it: each change comes an update later"
        ),
        "PolynomialDecay(": "Keras' PolynomialDecay ends at 0.0001 unless end_learning_rate is said",
    },
)
