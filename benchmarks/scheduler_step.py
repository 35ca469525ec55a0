"""What one `scheduler.step()` costs, in microseconds: laju's against those of torch, Transformers, ignite and timm.

Each scheduler drives an SGD of 1, 10 or 200 parameter groups. All are measured in turns in one process, many steps at a time;
the table has medians, and the median of the ratios to laju's in the same turn. laju's step counts an update only when one was
applied, so the note of one is part of what is measured; what its hooks add to `optimizer.step()` is in a table of its own.

    python benchmarks/scheduler_step.py [--turns 60]
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import statistics
import sys
import time
import types
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import lr_scheduler

import laju
from laju.frameworks.torch import Factor, Scheduler

TOTAL, WARMUP, STEPS = 1_000_000, 1_000, {1: 500, 10: 200, 200: 50}
Step = Callable[[], Any]
SCHEDULE = laju.cosine(0.3, total=TOTAL, warmup=WARMUP)


def optimizer(groups: int) -> torch.optim.Optimizer:
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(groups)]
    return torch.optim.SGD([{"params": [weight]} for weight in weights], lr=0.3, momentum=0.9)


def after_an_update(scheduler: Scheduler) -> Step:
    ear, step = scheduler._ear, scheduler.step

    def noted() -> None:
        ear.applied = True
        step()

    return noted


def sequential(o: torch.optim.Optimizer) -> lr_scheduler.LRScheduler:
    parts = [lr_scheduler.LinearLR(o, 1e-3, total_iters=WARMUP), lr_scheduler.CosineAnnealingLR(o, TOTAL - WARMUP)]
    return lr_scheduler.SequentialLR(o, parts, milestones=[WARMUP])


def transformers_cosine(o: torch.optim.Optimizer) -> Step:
    from transformers import get_cosine_schedule_with_warmup

    return get_cosine_schedule_with_warmup(o, WARMUP, TOTAL).step


def ignite_cosine(o: torch.optim.Optimizer) -> Step:
    from ignite.engine import Engine
    from ignite.handlers import CosineAnnealingScheduler

    # ignite takes one group or all groups at one value, as laju does.
    scheduler, engine = CosineAnnealingScheduler(o, "lr", 0.3, 0.0, TOTAL), Engine(lambda engine, batch: None)
    return lambda: scheduler(engine)


def timm_cosine(o: torch.optim.Optimizer) -> Step:
    sys.path.append(os.environ.get("LAJU_VISION", "."))  # where `make setup-vision` puts it
    if "timm" not in sys.modules:  # the schedulers alone: the package as a whole wants torchvision, which they do not
        spec = importlib.util.find_spec("timm")
        if spec is None:
            raise ImportError("timm is not installed")
        package = types.ModuleType("timm")
        package.__path__ = list(spec.submodule_search_locations or ())
        sys.modules["timm"] = package
    module = importlib.import_module("timm.scheduler.cosine_lr")
    scheduler, update = module.CosineLRScheduler(o, TOTAL, warmup_t=WARMUP, t_in_epochs=False), 0

    def step() -> None:
        nonlocal update
        update += 1
        scheduler.step_update(update)

    return step


PEERS: dict[str, Callable[[torch.optim.Optimizer], Step]] = {
    "laju": lambda o: after_an_update(Scheduler(o, lr=SCHEDULE)),
    "laju, factor of bases": lambda o: after_an_update(Scheduler(o, lr=Factor(SCHEDULE))),
    "laju, lr and weight decay": lambda o: after_an_update(Scheduler(o, lr=SCHEDULE, weight_decay=SCHEDULE)),
    "torch CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, TOTAL).step,
    "torch SequentialLR": lambda o: sequential(o).step,
    "torch OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.3, total_steps=TOTAL).step,
    "Transformers cosine": transformers_cosine,
    "ignite cosine": ignite_cosine,
    "timm cosine": timm_cosine,
}


def cost(step: Step, times: int) -> float:
    """Microseconds a call."""
    begin = time.perf_counter()
    for _ in range(times):
        step()
    return (time.perf_counter() - begin) / times * 1e6


def in_turns(steps: dict[str, Step], times: int, turns: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(turns):
        for name, step in steps.items():
            found[name].append(cost(step, times))
    return found


def ratio(found: dict[str, list[float]], name: str, to: str) -> float:
    return statistics.median(a / b for a, b in zip(found[name], found[to], strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=60)
    turns = parser.parse_args().turns
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    peers = {}
    for name, make in PEERS.items():
        try:
            make(optimizer(1))
        except ImportError as error:
            print(f"without {name}: {error}")
        else:
            peers[name] = make
    found = {n: in_turns({name: make(optimizer(n)) for name, make in peers.items()}, STEPS[n], turns) for n in STEPS}
    print(f"{'scheduler.step(), µs':28}" + "".join(f"{n:>10} group{'s' if n > 1 else ' '}" for n in STEPS))
    for name in peers:
        cells = []
        for n in STEPS:
            times = "" if name == "laju" else f"{ratio(found[n], name, 'laju'):5.1f}×"
            cells.append(f"{statistics.median(found[n][name]):9.2f} {times:>7}")
        print(f"{name:28}" + "".join(cells))

    print("\noptimizer.step() of one group, µs")
    weights = {name: optimizer(1) for name in ("alone", "with laju's hooks", "with torch's wrapper")}
    for made in weights.values():
        made.param_groups[0]["params"][0].grad = torch.ones(1)
    kept = Scheduler(weights["with laju's hooks"], lr=SCHEDULE), lr_scheduler.StepLR(weights["with torch's wrapper"], 9)
    updates = in_turns({name: made.step for name, made in weights.items()}, STEPS[1], turns)
    for name, times in updates.items():
        print(f"{name:28}{statistics.median(times):9.2f}")
    del kept


if __name__ == "__main__":
    main()
