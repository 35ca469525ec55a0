"""Runs schedulers of other systems, as their own packages make them, and prints the rates of the first updates.

    python originals.py SYSTEM UPDATES [FOLDER] < calls.json

The calls are code of the system, with `optimizer` where the system takes an optimizer, and a rate of the optimizer each.
"""

import importlib.util
import json
import logging
import sys
import types
import warnings
from pathlib import Path
from typing import Any


def main() -> None:
    name, updates, *more = sys.argv[1:]
    calls = json.load(sys.stdin)
    warnings.simplefilter("ignore")
    found = globals()[f"_{name}"](calls, int(updates), *map(Path, more))
    json.dump(found, sys.stdout)


def _stepped(names: Any, calls: Any, n: int, step: Any = lambda scheduler, t: scheduler.step()) -> list[list[float]]:
    import torch

    found = []
    for text, lr in calls:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
        scheduler, rates = eval(text, {**vars(names), "optimizer": optimizer}), []
        for t in range(n):
            rates.append(float(optimizer.param_groups[0]["lr"]))
            optimizer.step()
            step(scheduler, t)
        found.append(rates)
    return found


def _torch(calls: Any, n: int) -> list[list[float]]:
    from torch.optim import lr_scheduler

    return _stepped(lr_scheduler, calls, n)


def _transformers(calls: Any, n: int) -> list[list[float]]:
    from transformers import optimization

    return _stepped(optimization, calls, n)


def _timm(calls: Any, n: int, folder: Path) -> list[list[float]]:
    from converted import timm_alone  # beside this file, where it is run as a program

    timm_alone(folder)
    return _stepped(sys.modules["timm.scheduler"], calls, n, lambda scheduler, t: scheduler.step_update(t + 1))


def _mmengine(calls: Any, n: int, folder: Path) -> list[list[float]]:
    sys.path.append(str(folder))
    from mmengine.optim import scheduler

    return _stepped(scheduler, calls, n)


def _deepspeed(calls: Any, n: int, folder: Path) -> list[list[float]]:
    # One file of the package, whose other files need much more; a logger is all that the file takes from them.
    for name in ("deepspeed", "deepspeed.utils", "deepspeed.runtime"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["deepspeed.utils"].logger = logging.getLogger("deepspeed")  # type: ignore[attr-defined]
    place = folder / "deepspeed" / "runtime" / "lr_schedules.py"
    spec = importlib.util.spec_from_file_location("deepspeed.runtime.lr_schedules", place)
    assert spec is not None
    assert spec.loader is not None
    schedulers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(schedulers)
    return _stepped(schedulers, calls, n)


def _ignite(calls: Any, n: int) -> list[list[float]]:
    import torch
    from ignite import handlers

    found = []
    for text, lr in calls:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
        scheduler, rates = eval(text, {**vars(handlers), "optimizer": optimizer}), []
        for _ in range(n):
            scheduler(None)  # at the start of an iteration
            rates.append(float(optimizer.param_groups[0]["lr"]))
        found.append(rates)
    return found


def _optax(calls: Any, n: int) -> list[list[float]]:
    import optax

    return [
        [float(schedule(t)) for t in range(n)] for schedule in (eval(text, vars(optax).copy()) for text, _ in calls)
    ]


def _keras(calls: Any, n: int) -> list[list[float]]:
    import os

    os.environ["KERAS_BACKEND"] = "torch"
    from keras.optimizers import schedules

    return [[float(made(t)) for t in range(n)] for made in (eval(text, vars(schedules).copy()) for text, _ in calls)]


def _mxnet(calls: Any, n: int) -> list[list[float]]:
    from mxnet import lr_scheduler

    # Its Trainer counts the update before asking.
    return [
        [float(made(t + 1)) for t in range(n)] for made in (eval(text, vars(lr_scheduler).copy()) for text, _ in calls)
    ]


def _paddle(calls: Any, n: int) -> list[list[float]]:
    from paddle.optimizer import lr as schedulers

    found = []
    for text, _ in calls:
        scheduler, rates = eval(text, vars(schedulers).copy()), []
        for _ in range(n):
            rates.append(float(scheduler()))
            scheduler.step()
        found.append(rates)
    return found


if __name__ == "__main__":
    main()
