"""What a scheduler adds to a training update, in microseconds: laju's against those of torch, Transformers, ignite and timm.

That is the time of `optimizer.step(); scheduler.step()` less that of `optimizer.step()` alone, with what schedulers hang on the
optimizer: wrappers and hooks. The optimizer has 1, 10 or 200 parameter groups and its step does nothing. In each turn all are
measured in a random order, each beside the step alone, by the best of five bursts; without laju's hook where the scheduler is not
laju's. The table has medians of the thread's own time, and the median of the ratios to laju's in the same turn.

    python benchmarks/scheduler_step.py [--turns 40]
"""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.util
import os
import random
import statistics
import sys
import time
import types
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch.optim import lr_scheduler
from torch.optim.optimizer import _global_optimizer_pre_hooks

import laju
from laju.frameworks.torch import Factor, Scheduler

TOTAL, WARMUP, STEPS = 1_000_000, 1_000, {1: 200, 10: 100, 200: 20}
Step = Callable[[], Any]
SCHEDULE = laju.cosine(0.3, total=TOTAL, warmup=WARMUP)


class Still(torch.optim.SGD):
    """Its step does nothing, but for what torch does around every step."""

    def step(self, closure: Any = None) -> None:
        pass


def optimizer(groups: int) -> torch.optim.Optimizer:
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(groups)]
    return Still([{"params": [weight]} for weight in weights], lr=0.3, momentum=0.9)


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
    "laju": lambda o: Scheduler(o, lr=SCHEDULE).step,
    "laju, factor of bases": lambda o: Scheduler(o, lr=Factor(SCHEDULE)).step,
    "laju, lr and weight decay": lambda o: Scheduler(o, lr=SCHEDULE, weight_decay=SCHEDULE).step,
    "torch CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, TOTAL).step,
    "torch SequentialLR": lambda o: sequential(o).step,
    "torch OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.3, total_steps=TOTAL).step,
    "Transformers cosine": transformers_cosine,
    "ignite cosine": ignite_cosine,
    "timm cosine": timm_cosine,
}


@contextmanager
def without_hooks() -> Iterator[None]:
    """Updates as they are in a process without laju."""
    kept = dict(_global_optimizer_pre_hooks)
    _global_optimizer_pre_hooks.clear()
    try:
        yield
    finally:
        _global_optimizer_pre_hooks.update(kept)


def alone(update: Step, times: int) -> float:
    """Microseconds a call."""
    begin = time.thread_time()
    for _ in range(times):
        update()
    return (time.thread_time() - begin) / times * 1e6


def together(update: Step, step: Step, times: int) -> float:
    begin = time.thread_time()
    for _ in range(times):
        update()
        step()
    return (time.thread_time() - begin) / times * 1e6


def added(peers: dict[str, Callable[[torch.optim.Optimizer], Step]], groups: int, turns: int) -> dict[str, list[float]]:
    """What each scheduler adds to an update, once a turn: the best of five bursts of each kind."""
    plain, times = optimizer(groups).step, STEPS[groups]
    made = {name: (o := optimizer(groups), make(o)) for name, make in peers.items()}
    found: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(turns):
        for name in random.sample(list(made), len(made)):
            o, step = made[name]
            without, with_scheduler = [], []
            for _ in range(5):
                with without_hooks():
                    without.append(alone(plain, times))
                with nullcontext() if name.startswith("laju") else without_hooks():
                    with_scheduler.append(together(o.step, step, times))
            found[name].append(min(with_scheduler) - min(without))
    return found


def ratio(found: dict[str, list[float]], name: str, to: str) -> float:
    return statistics.median(a / b for a, b in zip(found[name], found[to], strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=40)
    turns = parser.parse_args().turns
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    gc.disable()  # as timeit does
    peers = {}
    for name, make in PEERS.items():
        try:
            make(optimizer(1))
        except ImportError as error:
            print(f"without {name}: {error}")
        else:
            peers[name] = make
    found = {n: added(peers, n, turns) for n in STEPS}
    print(f"{'added to an update, µs':28}" + "".join(f"{n:>10} group{'s' if n > 1 else ' '}" for n in STEPS))
    for name in peers:
        cells = []
        for n in STEPS:
            times = "" if name == "laju" else f"{ratio(found[n], name, 'laju'):5.1f}×"
            cells.append(f"{statistics.median(found[n][name]):9.2f} {times:>7}")
        print(f"{name:28}" + "".join(cells))


if __name__ == "__main__":
    main()
