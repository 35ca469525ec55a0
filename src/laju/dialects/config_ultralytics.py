"""Settings of an Ultralytics training run, such as the `args.yaml` beside its weights.

The learning rate of an epoch is lr0 times a line or half a cosine from 1 to lrf. In the warmup the rate of a batch is
interpolated between 0 and the rate of the epoch (ultralytics 8.4.190, engine/trainer.py: `_setup_scheduler`,
`_get_warmup_iterations`, `_do_train`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from laju.core.checks import number, shown, whole
from laju.core.pieces import Ramp
from laju.core.schedule import Schedule
from laju.dialects.base import DialectError
from laju.dialects.configs import Configured, fact, mapping, no_other_rates

# The defaults of default.yaml.
_DEFAULTS: dict[str, Any] = {
    "lr0": 0.01,
    "lrf": 0.01,
    "epochs": 100,
    "warmup_epochs": 3.0,
    "cos_lr": False,
    "nbs": 64,
    "batch": 16,
}
_KEYS = ("lr0", "lrf", "cos_lr", "warmup_epochs", "warmup_bias_lr", "warmup_momentum")


def is_one(content: Any) -> bool:
    """Return whether the content looks like settings of Ultralytics."""
    return isinstance(content, Mapping) and {"lr0", "lrf"} <= content.keys()


def read(content: Any, where: str, facts: Mapping[str, Any]) -> Configured:
    """Return the schedule of the weights at every batch; `updates_per_epoch` is the number of batches of an epoch.

    Raises:
        DialectError: see `read_config`; also if the length of the run is a time, or the trainer chooses the learning rate
            (optimizer "auto").
    """
    given = mapping(content, where)
    notes = list(no_other_rates(given, _KEYS, "ultralytics"))
    if given.get("time"):
        raise DialectError("time limits the run in hours, so that its epochs are known only while it goes on")
    own: dict[str, Any] = {}
    for name, value in _DEFAULTS.items():
        own[name] = given.get(name)
        if own[name] is None:
            own[name] = value
            if name in ("lr0", "lrf", "epochs", "warmup_epochs"):
                notes.append(f"{name} is not given: {value:g}")
    lr0, epochs = own["lr0"], whole("epochs", own["epochs"], least=1)
    if str(given.get("optimizer", "auto")).lower() == "auto":
        lr0 = fact("lr", facts, what="the rate, which the trainer chooses with optimizer 'auto' in the place of lr0,")
    lr0, lrf = number("lr0", lr0, least=0), number("lrf", own["lrf"], least=0)
    if not isinstance(own["cos_lr"], bool):
        raise DialectError(f"cos_lr must be true or false, got {shown(own['cos_lr'])}")
    batches = fact("updates_per_epoch", facts, what="the number of batches in an epoch, len(train_loader),")
    batches = whole("updates_per_epoch", batches, least=1)
    warm = number("warmup_epochs", own["warmup_epochs"], least=0)
    warmup = round(min(warm, max(epochs - 1, 0)) * batches)
    shape = "cosine" if own["cos_lr"] else "linear"
    # The trainer steps its scheduler once per epoch, and during the warmup sets the rate itself at every batch: a straight line
    # from 0 to the scheduler's rate.
    schedule: Schedule = Ramp(lr0, lr0 * lrf, epochs * batches, shape).staircase(batches)
    if warmup:
        schedule = schedule * Ramp(0.0, 1.0, warmup)
        notes.append("during the warmup, biases fall from warmup_bias_lr instead")
    if warm and (round(warm * batches) < 100 or warm > epochs - 1):
        notes.append(
            f"the warmup takes {warmup:,} batches as in ultralytics 8.4.190; releases such as 8.3.0 warm up for "
            f"{max(round(warm * batches), 100):,}"
        )
    size = own["batch"]
    if isinstance(size, int | float) and 1 <= size < own["nbs"] / 1.5:
        together = max(round(own["nbs"] / size), 1)
        notes.append(f"the schedule counts batches, of which nbs / batch = {together} make an update after the warmup")
    return Configured(schedule, "ultralytics", str(schedule), tuple(notes))
