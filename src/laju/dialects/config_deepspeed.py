"""The `scheduler` section of DeepSpeed's JSON."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from laju.dialects.base import DialectError, call, system
from laju.dialects.configs import Configured, constant, fact, mapping, no_other_rates

# Keys that no other system's file has at its top.
_OWN = {"train_micro_batch_size_per_gpu", "zero_optimization", "zero_allow_untested_optimizer", "steps_per_print"}

# The values that the trainers of Transformers and Accelerate fill in for "auto"
# (transformers 5, integrations/deepspeed.py: trainer_config_finalize; accelerate 1, Accelerator._prepare_deepspeed).
_AUTO = {"total_num_steps": "total", "warmup_num_steps": "warmup", "warmup_max_lr": "lr"}


def is_one(content: Any) -> bool:
    """Return whether the content looks like a configuration of DeepSpeed."""
    if isinstance(content, Mapping) and _OWN & set(content) and "scheduler" not in content:
        return not {"train_iters", "train-iters"} & set(content)  # of GPT-NeoX
    section = content.get("scheduler") if isinstance(content, Mapping) else None
    return isinstance(section, Mapping) and "params" in section and "type" in section


def read(content: Any, where: str, facts: Mapping[str, Any]) -> Configured:
    """Return the schedule of the section; the optimizer's rate is that of the `optimizer` section, or the fact `lr`."""
    given = mapping(content, where)
    optimizer = mapping(mapping(given.get("optimizer") or {}, "optimizer").get("params") or {}, "optimizer.params")
    groups = no_other_rates(given, ("scheduler",), "deepspeed")
    groups += no_other_rates(optimizer, ("lr",), "deepspeed", "optimizer.params")
    own = optimizer.get("lr")
    lr = facts.get("lr") if own in (None, "auto") else own
    if given.get("scheduler") is None:
        lr = fact("lr", facts, lr, what="the optimizer's rate (optimizer.params.lr)")
        return constant(lr, "deepspeed", f"{where} has no section 'scheduler'", groups)
    section = mapping(given["scheduler"], "scheduler")
    name = section.get("type")
    if not isinstance(name, str):
        raise DialectError(f"scheduler.type must be a name, got {name!r}")
    params = dict(mapping(section.get("params", {}), "scheduler.params"))
    if "lr" in params:
        raise DialectError(f"{name} has no parameter 'lr': the optimizer has the rate (optimizer.params.lr)")
    automatic = [key for key, value in params.items() if value == "auto"]
    for key in automatic:
        if key == "warmup_min_lr" and key not in facts:
            params[key] = 0
            groups += ("warmup_min_lr is 'auto', for which the trainer fills in 0",)
            continue
        name_of_run = _AUTO.get(key, key)
        given_here = lr if key == "warmup_max_lr" else facts.get(key)
        what = f"scheduler.params.{key}, which is 'auto' and filled in by the trainer,"
        params[key] = fact(name_of_run, facts, given_here, what=what)
    # The momentum of a cycle is not the learning rate's.
    dropped = ("cycle_momentum", "cycle_min_mom", "cycle_max_mom", "decay_mom_rate", "last_batch_iteration")
    momentum = [key for key in dropped if params.pop(key, None) is not None]
    function = system("deepspeed").scheduler(name)
    takes_lr = "lr" in inspect.signature(function).parameters
    if takes_lr and params.get("warmup_max_lr") is None:
        lr = fact("lr", facts, lr, what="the optimizer's rate (optimizer.params.lr)")
    elif takes_lr and lr is None:
        lr = params["warmup_max_lr"]
    schedule = call(system("deepspeed"), name, [], params, {} if lr is None else {"lr": lr})
    shown = ", ".join(f"{key}={value!r}" for key, value in (({"lr": lr} if takes_lr else {}) | params).items())
    notes = (f"left out, as no part of the learning rate: {', '.join(momentum)}",) if momentum else ()
    return Configured(schedule, "deepspeed", f"{name}({shown})", notes + groups)
