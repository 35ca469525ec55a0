"""What other packages' schedulers are in laju: tables whose every row is run against the installed package.

A row is text on both sides, and that text is what is run: it cannot say one thing and have been checked for another.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import laju

BASE = 0.1
"""The optimizer's own rate."""


@dataclass(frozen=True)
class Row:
    """`theirs` and `ours` agree for the first `updates` updates, to `within` of the largest rate."""

    theirs: str
    ours: str
    updates: int = 130
    note: str = ""
    within: float = 1e-9


TORCH = (
    Row("StepLR(optimizer, 30, gamma=0.1)", "factor(0.1, 0.1, every=30)"),
    Row("MultiStepLR(optimizer, [30, 60], gamma=0.5)", "multi_factor(0.1, [30, 60], 0.5)"),
    Row("ExponentialLR(optimizer, 0.95)", "factor(0.1, 0.95)"),
    Row("LinearLR(optimizer, 0.1, total_iters=50)", "linear(0.01, 0.1, total=50)"),
    Row("ConstantLR(optimizer, 0.5, total_iters=5)", "piecewise_constant([5], [0.05, 0.1])"),
    Row("PolynomialLR(optimizer, total_iters=80, power=2)", "poly(0.1, total=80, power=2)"),
    Row(
        "CosineAnnealingLR(optimizer, T_max=80, eta_min=0.001)",
        "cosine(0.1, total=80, final=0.001)",
        81,
        "up to T_max; then torch's climbs back, and laju's holds",
    ),
    Row("CosineAnnealingWarmRestarts(optimizer, 20, T_mult=2)", "cosine_restarts(0.1, 20, growth=2)"),
    Row("CyclicLR(optimizer, 0.01, 0.1, step_size_up=20)", "triangular(0.01, 0.1, 20)"),
    Row(
        "OneCycleLR(optimizer, 0.1, total_steps=100)",
        "one_cycle(0.1, total=99, warmup=29)",
        100,
        "torch puts the end on the last update and the peak on update 0.3 · 100 - 1; after the end it raises an error",
    ),
    Row(
        "SequentialLR(optimizer, [LinearLR(optimizer, 0.1, total_iters=10), CosineAnnealingLR(optimizer, 90)], [10])",
        "cosine(0.1, total=100, warmup=10, start=0.01)",
        101,
        "up to the end of the cosine",
    ),
)

TRANSFORMERS = (
    Row("get_constant_schedule_with_warmup(optimizer, 10)", "warmup(constant(0.1), 10, start=0)"),
    Row("get_linear_schedule_with_warmup(optimizer, 10, 100)", "linear_to_zero(0.1, total=100, warmup=10)"),
    Row(
        "get_cosine_schedule_with_warmup(optimizer, 10, 100)",
        "cosine(0.1, total=100, warmup=10)",
        101,
        "up to the end; then theirs climbs back",
    ),
    Row(
        "get_cosine_with_min_lr_schedule_with_warmup(optimizer, 10, 100, min_lr=0.01)",
        "cosine(0.1, total=100, warmup=10, final=0.01)",
        101,
        "up to the end; then theirs climbs back",
    ),
    Row(
        "get_polynomial_decay_schedule_with_warmup(optimizer, 10, 100, lr_end=0.001, power=2)",
        "poly(0.1, total=100, power=2, final=0.001, warmup=10)",
    ),
    Row("get_inverse_sqrt_schedule(optimizer, 10)", "inverse_sqrt(0.1, warmup=10)"),
    Row(
        "get_wsd_schedule(optimizer, 10, 20, 100, decay_type='linear')",
        "wsd(0.1, total=100, cooldown=20, warmup=10)",
        note="theirs is a cosine unless decay_type says otherwise",
    ),
)

OPTAX = (
    Row("constant_schedule(0.1)", "constant(0.1)", within=1e-6),
    Row("linear_schedule(0.1, 0.01, 50)", "linear(0.1, 0.01, total=50)", within=1e-6),
    Row("polynomial_schedule(0.1, 0.001, 2, 80)", "poly(0.1, total=80, power=2, final=0.001)", within=1e-6),
    Row("exponential_decay(0.1, 10, 0.5)", "stretch(factor(0.1, 0.5), 10)", within=1e-6),
    Row("exponential_decay(0.1, 10, 0.5, staircase=True)", "factor(0.1, 0.5, every=10)", within=1e-6),
    Row("cosine_decay_schedule(0.1, 80, alpha=0.01)", "cosine(0.1, total=80, final=0.001)", within=1e-6),
    Row(
        "warmup_cosine_decay_schedule(0, 0.1, 10, 100, 0.001)",
        "cosine(0.1, total=100, warmup=10, final=0.001)",
        note="decay_steps includes the warmup",
        within=1e-6,
    ),
    Row(
        "piecewise_constant_schedule(0.1, {30: 0.5, 60: 0.5})",
        "multi_factor(0.1, [30, 60], 0.5)",
        within=1e-6,
    ),
)

TIMM = (
    Row("CosineLRScheduler(optimizer, 80, lr_min=0.001)", "cosine(0.1, total=80, final=0.001)"),
    Row(
        "CosineLRScheduler(optimizer, 90, lr_min=0.001, warmup_t=10, warmup_lr_init=0.001, warmup_prefix=True)",
        "cosine(0.1, total=100, warmup=10, start=0.001, final=0.001)",
    ),
    Row(
        "CosineLRScheduler(optimizer, 100, warmup_t=10, warmup_lr_init=0.001)",
        "splice(linear(0.001, 0.1, total=10), cosine(0.1, total=100), 10)",
        note="without warmup_prefix the decay runs underneath: the peak is never reached, and the rate jumps",
    ),
    Row("StepLRScheduler(optimizer, 30, decay_rate=0.1)", "factor(0.1, 0.1, every=30)"),
    Row(
        "MultiStepLRScheduler(optimizer, [30, 60], decay_rate=0.5)",
        "multi_factor(0.1, [29, 59], 0.5)",
        note="timm's milestones come one step early",
    ),
    Row("PolyLRScheduler(optimizer, 80, power=2, lr_min=0.001)", "poly(0.1, total=80, power=2, final=0.001)"),
)
ROWS = {"torch": TORCH, "Transformers": TRANSFORMERS, "optax": OPTAX, "timm": TIMM}


def theirs(package: str, row: Row) -> np.ndarray:
    """The rates that the package itself uses in the first updates."""
    if package == "optax":
        import optax

        schedule = eval(row.theirs, vars(optax))
        return np.array([float(schedule(t)) for t in range(row.updates)])
    if package == "timm":
        return _stepped_with_a_number(row)
    if package == "torch":
        import torch.optim.lr_scheduler as names
    else:
        import transformers.optimization as names

    from laju.frameworks.torch import trace

    found = trace(lambda optimizer: eval(row.theirs, {**vars(names), "optimizer": optimizer}), row.updates, base=BASE)
    return np.array(found)


def difference(package: str, row: Row) -> float:
    """The largest difference between the two, as a share of the largest rate."""
    reference = theirs(package, row)
    ours = eval(row.ours, vars(laju).copy()).values(row.updates)
    return float(np.abs(ours - reference).max() / reference.max())


def equivalents(package: str) -> str:
    """A Markdown table of a package's rows, each of which has been run; a sentence where the package is not installed.

    Raises:
        AssertionError: two that are said to be the same are not.
    """
    if package == "timm" and timm_schedulers() is None:
        return "*timm is not installed where this site was built, so its table is left out.*"
    lines = [f"| {package} | laju | largest difference | |", "| --- | --- | --- | --- |"]
    for row in ROWS[package]:
        found = difference(package, row)
        assert found <= row.within, f"{package}: {row.theirs} is not {row.ours}: they differ by {found:.3g}"
        lines.append(f"| `{row.theirs}` | `{row.ours}` | {'0' if found == 0 else f'{found:.0e}'} | {row.note} |")
    return "\n".join(lines)


@functools.cache
def timm_schedulers() -> dict[str, Any] | None:
    """The scheduler classes of timm by name, from this environment or the folder that `make setup-vision` fills."""
    sys.path.append(os.environ.get("LAJU_VISION", str(Path(__file__).parents[1] / ".vision")))
    try:
        if (
            "timm" not in sys.modules
        ):  # the schedulers alone: the package as a whole wants torchvision, which they do not
            spec = importlib.util.find_spec("timm")
            if spec is None:
                return None
            package = types.ModuleType("timm")
            package.__path__ = list(spec.submodule_search_locations or ())
            sys.modules["timm"] = package
        found: dict[str, Any] = {}
        for name in ("cosine_lr", "step_lr", "multistep_lr", "poly_lr"):
            found |= vars(importlib.import_module(f"timm.scheduler.{name}"))
        return found
    finally:
        sys.path.pop()


def _stepped_with_a_number(row: Row) -> np.ndarray:
    """timm's way: `step(e + 1)` after epoch e."""
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE)
    scheduler, used = eval(row.theirs, {**(timm_schedulers() or {}), "optimizer": optimizer}), []
    for t in range(row.updates):
        used.append(optimizer.param_groups[0]["lr"])
        scheduler.step(t + 1)
    return np.array(used)
