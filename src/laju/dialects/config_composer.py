"""Composer's and LLM Foundry's YAML: `scheduler` or `schedulers`, with `max_duration` and the optimizer's rate."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

from laju.core.checks import shown
from laju.dialects import composer
from laju.dialects._composer_run import run_of
from laju.dialects.base import DialectError, call
from laju.dialects.configs import Configured, decimal, fact, mapping, no_other_rates
from laju.dialects.sections import has, resolved

_KEYS = ("scheduler", "schedulers", "scale_schedule_ratio", "step_schedulers_every_batch")


def is_one(content: Any) -> bool:
    """Return whether the content looks like a configuration of Composer."""
    return (
        isinstance(content, Mapping)
        and ("scheduler" in content or "schedulers" in content)
        and "max_duration" in content
        and not has(content, "optimizer.learning_rate")  # OLMo's
    )


def read(content: Any, where: str, facts: Mapping[str, Any]) -> Configured:
    """Return the schedule of batches; `batches_per_epoch` (or `updates_per_epoch`) is needed where times are in epochs."""
    given = mapping(content, where)
    variables = set(re.findall(r"\$\{(\w+)", str(given)))
    notes = list(no_other_rates(given, {*_KEYS, *variables}, "composer"))
    optimizer = mapping(given.get("optimizer") or _first(given.get("optimizers")) or {}, "optimizer")
    notes += no_other_rates(optimizer, ("lr",), "composer", "optimizer")
    name, arguments, several = _scheduler(given)
    if "lr" in arguments:
        raise DialectError(f"{name} has no argument 'lr': the optimizer has the rate")
    arguments = {key: resolved(value, given) for key, value in arguments.items()}
    rate = decimal("optimizer.lr", resolved(optimizer.get("lr"), given))
    lr = fact("lr", facts, rate, what="the optimizer's rate (optimizer.lr)")
    duration = facts.get("max_duration", resolved(given.get("max_duration"), given))
    known: dict[str, Any] = {"lr": lr, "max_duration": duration}
    each = facts.get("batches_per_epoch", facts.get("updates_per_epoch"))
    if each is not None:
        known["batches_per_epoch"] = each
    batch = facts.get("batch_size", resolved(given.get("global_train_batch_size"), given))
    length = resolved(given.get("max_seq_len"), given)
    if isinstance(batch, int):
        known["batch_size"] = batch
        if isinstance(length, int):
            known["tokens_per_batch"] = batch * length
    if "tokens_per_batch" in facts:
        known["tokens_per_batch"] = facts["tokens_per_batch"]
    for key in ("scale_schedule_ratio", "step_schedulers_every_batch"):
        value = facts.get(key, given.get(key))
        if value is not None:
            known[key] = value
    schedule = call(composer.SYSTEM, name, [], arguments, known)
    own = composer.SYSTEM.aliases.get(name, name)
    takes = inspect.signature(composer.SYSTEM.scheduler(own)).parameters
    said = ", ".join(
        f"{key}={value!r}" for key, value in (arguments | {k: v for k, v in known.items() if k in takes}).items()
    )
    if several > 1:
        notes.append(f"of {several} schedulers the last one wins in Composer")
    try:
        updates = run_of(**known).scaled.batches
    except DialectError:  # a duration in epochs, samples or tokens whose size in batches nothing says
        updates = None
    return Configured(schedule, "composer", f"{own}({said})", tuple(notes), length=updates)


def _scheduler(given: Mapping[str, Any]) -> tuple[str, dict[str, Any], int]:
    """Return the name and arguments of the scheduler that has an effect, and the number of schedulers."""
    found = given.get("scheduler", given.get("schedulers"))
    listed: list[tuple[Any, Any]]
    if isinstance(found, Mapping) and "name" in found:
        listed = [(found["name"], {k: v for k, v in found.items() if k != "name"})]
    elif isinstance(found, Mapping) and all(isinstance(value, Mapping | None) for value in found.values()):
        listed = list(found.items())
    elif isinstance(found, list):
        listed = []
        for i, item in enumerate(found):
            entry = dict(mapping(item, f"schedulers[{i}]"))
            listed.append((entry.pop("name"), entry) if "name" in entry else next(iter(entry.items()), (None, {})))
    else:
        listed = []
    if not listed or not isinstance(listed[-1][0], str):
        raise DialectError(f"scheduler must have a name such as cosine_with_warmup, got {shown(found)}")
    name, arguments = listed[-1]
    return name, dict(mapping(arguments or {}, f"the arguments of {name}")), len(listed)


def _first(optimizers: Any) -> Any:
    if isinstance(optimizers, Mapping) and "lr" not in optimizers:
        return next(iter(optimizers.values()), None)
    return optimizers
