"""nanotron's YAML: `optimizer.learning_rate_scheduler`, with the steps of `tokens`.

A warmup of 0 updates still trains update 0 at 0 (nanotron 0.4, helpers.py: `lr_scheduler_builder`, config/config.py;
1-sqrt is of later sources).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from laju.core.pieces import Constant, Ramp
from laju.core.schedule import Schedule
from laju.dialects.base import DialectError
from laju.dialects.configs import Configured
from laju.dialects.sections import Section, has

_KEYS = (
    "learning_rate", "lr_warmup_steps", "lr_warmup_style", "lr_decay_style", "lr_decay_steps", "lr_decay_starting_step",
    "min_decay_lr",
)  # fmt: skip
_DECAYS = {"linear": "linear", "cosine": "cosine", "1-sqrt": "sqrt"}


def is_one(content: Any) -> bool:
    """Return whether the content looks like a configuration of nanotron."""
    return has(content, "optimizer.learning_rate_scheduler")


def read(content: Any, where: str, facts: Mapping[str, Any]) -> Configured:
    """Return the schedule of updates.

    Raises:
        DialectError: if a fact is missing or a key about the learning rate is not read; see `read_config`.
    """
    given = Section(content, where, "nanotron", (), facts)
    sched = given.section("optimizer", ("learning_rate_scheduler",)).section("learning_rate_scheduler", _KEYS)
    for i, stage in enumerate(given.get("data_stages") or []):
        if isinstance(stage, Mapping) and has(stage, "optimizer"):
            raise DialectError(f"data_stages[{i}].optimizer changes the optimizer on the way, which laju does not read")
    rate = sched.lr("learning_rate")
    warmup = sched.whole("lr_warmup_steps", 0)
    style = sched.choice("lr_warmup_style", ("linear", "constant"))
    shape = _DECAYS[sched.choice("lr_decay_style", _DECAYS, "linear")]
    low = sched.number("min_decay_lr", rate)
    begin = warmup if sched.get("lr_decay_starting_step") is None else sched.whole("lr_decay_starting_step")
    steps = given.section("tokens", ())
    run = steps.total("train_steps") if sched.get("lr_decay_steps") is None or steps.get("train_steps") else None
    given.length = run
    decay = sched.whole("lr_decay_steps") if sched.get("lr_decay_steps") is not None else (run or 0) - warmup
    if decay < 0:
        raise DialectError(f"{sched.place}lr_warmup_steps must be at most tokens.train_steps, {run:,}, got {warmup:,}")
    if not warmup and not decay:
        given.notes.append(
            "without a warmup and a decay nanotron trains at the rate times itself, which LambdaLR makes of it"
        )
        return given.configured(Constant(rate * rate))
    body: Schedule = Ramp(rate, low, decay, shape) if decay else Constant(low)
    # Update W is the last update of the warmup, also where the decay begins there.
    head: Schedule
    if style == "constant":
        head, done = Constant(rate, warmup + 1), warmup + 1
    elif warmup and begin >= warmup and decay:
        head, done = Ramp(0.0, rate, warmup), warmup
    else:
        head, done = Ramp(0.0, rate, warmup) >> Constant(rate, 1) if warmup else Constant(0.0, 1), warmup + 1
    if begin > done:
        body = Constant(rate, begin - done) >> body
    elif begin < done:
        body = body.shift(begin - done)
    return given.configured(head >> body)
