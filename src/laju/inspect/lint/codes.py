"""The class of a finding, and the meaning of each code."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["error", "warning", "note"]

CODES: dict[str, str] = {
    "LAJU001": "An update at rate 0",
    "LAJU002": "The peak is never reached",
    "LAJU003": "A jump at the end of the warmup",
    "LAJU004": "The value rises after the decay",
    "LAJU005": "The run is shorter than the schedule",
    "LAJU006": "The run is longer than the schedule",
    "LAJU007": "A boundary is never reached",
    "LAJU008": "The floor is above a group's base",
    "LAJU009": "The warmup is as long as the run",
    "LAJU010": "A piece of length 0",
    "LAJU011": "A momentum or beta outside [0, 1)",
    "LAJU012": "A negative value",
    "LAJU013": "A length that looks like another unit",
    "LAJU014": "A peak too large for the optimizer",
    "LAJU015": "A rate too small to change a weight",
    "LAJU016": "A schedule that does not fit the run",
    "LAJU017": "A value that is not a finite number",
    "LAJU018": "A first rate of 0 that breaks the optimizer",
}
"""The title of every code; each has a page in the documentation."""

LEVELS: dict[str, Level] = {
    **dict.fromkeys(CODES, "warning"),
    **dict.fromkeys(
        ("LAJU011", "LAJU012", "LAJU016", "LAJU017", "LAJU018"), "error"
    ),  # nothing is trained, or it diverges
    "LAJU001": "note",  # a single update, and most systems do the same
}
"""The severity of each finding; a note is reported, but does not make a check fail."""

WHY = {
    "LAJU001": "an update at rate 0 costs as much as any other update and leaves the weights unchanged",
    "LAJU002": "the peak that was specified, and perhaps tuned, is never used",
    "LAJU003": "a warmup should reach the peak gently; a jump at its end defeats this purpose",
    "LAJU004": "a learning rate that rises again undoes the convergence of the decay; in some libraries, a decay that "
    "continues past its end rises by accident",
    "LAJU005": "the last part of the schedule is never used, and the end of a decay brings much of the gain",
    "LAJU006": "the last value holds for the rest of the run, which may be far longer than intended",
    "LAJU007": "a change in the schedule never takes effect",
    "LAJU008": "an absolute floor is the same for every group, so a group with a small base rate is trained at the larger "
    "floor instead of decaying",
    "LAJU009": "the whole run is spent on the way up: the peak and everything after it never happen",
    "LAJU010": "the piece is in force at no update, so the run differs from what the text suggests",
    "LAJU011": "a moving average with this weight never forgets, or changes sign: it diverges",
    "LAJU012": "the step goes uphill: it raises the loss, or makes weights grow instead of decay",
    "LAJU013": "laju counts optimizer updates wherever no unit is written",
    "LAJU014": "the peak is about as far as every single weight moves in one update of such an optimizer (Adam: Kingma & Ba, "
    "arXiv 1412.6980, section 2.1; Lion: Chen et al., arXiv 2302.06675)",
    "LAJU015": "float32 weights have 24 bits: a step below 6e-8 of a weight is rounded away",
    "LAJU016": "the lengths leave nothing, or less than nothing, for a part of the schedule in this run",
    "LAJU017": "from this update on, the weights are infinite or NaN",
    "LAJU018": "an optimizer that divides by the learning rate, or takes its step sizes from the first learning rate, does not "
    "recover from a rate of 0",
}

# Hyper-parameters by name, with their valid ranges.
RATE, _DECAY, AVERAGE = "rate", "decay", "average"
PARAMETERS = {
    "lr": RATE,
    "weight_decay": _DECAY,
    "momentum": AVERAGE,
    **{f"beta{i}": AVERAGE for i in ("", 1, 2, 3)},
    **{f"betas[{i}]": AVERAGE for i in (0, 1, 2)},
}

# The largest peak that is in use with an optimizer whose step is about as long as its rate.
_ADAM, _LION = 0.01, 0.003
LARGEST: dict[str, float] = {
    **dict.fromkeys(("adam", "adamw", "nadam", "nadamw", "radam", "adamax", "amsgrad", "adabelief", "adan"), _ADAM),
    "lion": _LION,
}
NEVER_ZERO: dict[str, str] = {
    "ftrl": "Keras' Ftrl divides by the rate, so every weight is NaN from update 0 on",
    "prodigy": "optax's Prodigy divides by a sum of rates, so every weight is NaN from update 0 on",
    "rprop": "torch's Rprop reads the rate in its first update alone, and its steps begin at the smallest size",
    "schedulefreewrapper": "schedulefree's ScheduleFreeWrapper divides by a sum of rates, and its first update is an error",
}
"""Optimizers for which a first learning rate of exactly 0 does more harm than a lost update, and the effect."""

OTHERS = (
    *NEVER_ZERO,
    "adadelta", "adafactor", "adagrad", "asgd", "lamb", "lars", "lbfgs", "muon", "rmsprop", "sgd", "shampoo", "sophia",
)  # fmt: skip

SMALLEST = 1e-8
ALL = 1 << 22
"""The longest run in which every update is checked; in a longer run, a grid, all boundaries and both ends are."""


@dataclass(frozen=True)
class Finding:
    """A probable mistake in a schedule.

    Args:
        code: stable code, such as "LAJU001"; `CODES` has its title.
        update: position of the mistake, in completed updates.
        message: description of the mistake, with numbers.
        why: why the mistake matters.
        instead: advice; between backticks, the text of a schedule without the mistake.
    """

    code: str
    update: int
    message: str
    why: str
    instead: str

    @property
    def level(self) -> Level:
        """The severity: error, warning or note."""
        return LEVELS[self.code]

    @property
    def fix(self) -> str | None:
        """The text of a corrected schedule; None if no correction could be derived."""
        _, mark, text = self.instead.partition(": `")
        return text[:-1] if mark else None

    @property
    def page(self) -> str:
        """The page of the documentation's site that explains the code, from the site's root."""
        return f"checks/{self.code}/"

    def to_json(self) -> dict[str, Any]:
        facts = {"code": self.code, "level": self.level, "title": CODES[self.code], "page": self.page, "fix": self.fix}
        return {**facts, **{k: v for k, v in asdict(self).items() if k != "code"}}

    def __str__(self) -> str:
        return (
            f"{self.code} {self.level} at update {self.update:,}: {self.message}\n"
            f"  why: {self.why}\n  instead: {self.instead}"
        )
