"""Programs of `convert`, for every pair of systems that install here, beside the source's own scheduler at every update.

The program is run by the target, the call by the source's package; laju's schedule is between the two, and compared with neither.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from laju.convert.writers import TARGETS
from laju.dialects import convert

from .test_convert import NEEDS, PYTHONS, ROOT, rates

N = 24
SINGLE = ("optax", "keras")
Draw = Callable[[random.Random], str]


def _n(rng: random.Random, least: int = 3) -> int:
    return rng.randint(least, N - 4)


def _rate(rng: random.Random) -> float:
    return rng.choice([0.1, 3e-4, 0.037, 1.0])


def _share(rng: random.Random) -> float:
    return rng.choice([0.0, 0.1, 0.25])


# Lengths are drawn with odd, fractional and repeated ones among them, as far as a system takes such.
SOURCES: dict[str, list[Draw]] = {
    "torch": [
        lambda r: f"CosineAnnealingLR(optimizer, T_max={_n(r)}, eta_min={1e-5 * r.randint(0, 3)})",
        lambda r: f"MultiStepLR(optimizer, milestones={sorted(r.choices(range(1, N), k=3))}, gamma=0.3)",
        lambda r: f"SequentialLR(optimizer, [LinearLR(optimizer, start_factor=0.1, total_iters={_n(r)}), "
        f"StepLR(optimizer, step_size={_n(r)}, gamma=0.5)], milestones=[{_n(r)}])",
        lambda r: f"CosineAnnealingWarmRestarts(optimizer, T_0={r.randint(2, 6)}, T_mult=2)",
        lambda r: f"CyclicLR(optimizer, base_lr=0.01, max_lr=0.1, step_size_up={r.choice([2.5, 4, 5])}, cycle_momentum=False)",
        lambda r: f"OneCycleLR(optimizer, max_lr=0.1, total_steps={N + 2}, pct_start={r.choice([0.3, 0.25])})",
    ],
    "transformers": [
        lambda r: f"get_cosine_schedule_with_warmup(optimizer, {r.randint(0, 5)}, {_n(r, 7)}, num_cycles={r.choice([0.5, 1.5])})",
        lambda r: f"get_polynomial_decay_schedule_with_warmup(optimizer, {r.randint(0, 5)}, {_n(r, 7)}, power=2.0)",
        lambda r: f"get_inverse_sqrt_schedule(optimizer, {r.randint(1, 5)})",
        lambda r: f"get_wsd_schedule(optimizer, {r.randint(0, 5)}, {_n(r)}, {_n(r, 16)})",
    ],
    "timm": [
        lambda r: f"CosineLRScheduler(optimizer, t_initial={_n(r)}, lr_min={1e-5 * r.randint(0, 3)}, warmup_t={r.randint(0, 4)}, "
        f"cycle_limit=2, cycle_decay=0.5, t_in_epochs=False)",
        lambda r: f"StepLRScheduler(optimizer, decay_t={r.choice([2.5, 4, 7])}, decay_rate=0.5, t_in_epochs=False)",
        lambda r: f"TanhLRScheduler(optimizer, t_initial={_n(r)}, t_in_epochs=False)",
        lambda r: f"MultiStepLRScheduler(optimizer, decay_t={sorted(r.sample(range(1, N), 3))}, decay_rate=0.3, "
        f"t_in_epochs=False)",
    ],
    "ignite": [
        lambda r: f"CosineAnnealingScheduler(optimizer, 'lr', {_rate(r)}, 1e-5, {_n(r)})",
        lambda r: f"LinearCyclicalScheduler(optimizer, 'lr', 0.1, 0.01, {_n(r)})",
        lambda r: f"PiecewiseLinear(optimizer, 'lr', [({r.randint(0, 3)}, 0.01), ({_n(r, 5)}, 0.1), ({N}, 0.0)])",
    ],
    "mmengine": [
        lambda r: f"CosineAnnealingLR(optimizer, T_max={_n(r)}, eta_min=1e-5, by_epoch=False)",
        lambda r: f"PolyLR(optimizer, power=2.0, eta_min=1e-5, end={_n(r)}, by_epoch=False)",
        lambda r: f"MultiStepLR(optimizer, milestones={sorted(r.choices(range(1, N), k=3))}, gamma=0.3, by_epoch=False)",
    ],
    "deepspeed": [
        lambda r: f"WarmupDecayLR(optimizer, {_n(r, 9)}, warmup_max_lr=0.1, warmup_num_steps={r.randint(1, 6)})",
        lambda r: f"WarmupLR(optimizer, warmup_max_lr=0.1, warmup_num_steps={_n(r)}, warmup_type='linear')",
        lambda r: f"WarmupCosineLR(optimizer, {_n(r, 9)}, warmup_num_steps={r.randint(2, 6)})",
    ],
    "optax": [
        lambda r: f"warmup_cosine_decay_schedule(0.0, {_rate(r)}, {r.randint(1, 5)}, {_n(r, 8)}, 1e-6)",
        lambda r: f"exponential_decay(0.1, {_n(r)}, 0.5, transition_begin={r.randint(0, 4)}, staircase={r.random() < 0.5})",
        lambda r: f"polynomial_schedule(0.1, 0.01, 2, {_n(r)})",
    ],
    "keras": [
        lambda r: f"CosineDecay(0.01, {_n(r)}, alpha={_share(r)}, warmup_target=0.1, warmup_steps={r.randint(1, 5)})",
        lambda r: f"PiecewiseConstantDecay({sorted(r.sample(range(1, N), 2))}, [0.1, 0.03, 0.02])",
        lambda r: f"InverseTimeDecay(0.1, {_n(r)}, 0.5, staircase={r.random() < 0.5})",
    ],
    "mxnet": [
        lambda r: f"CosineScheduler(max_update={_n(r)}, base_lr=0.1, final_lr=0.01)",
        lambda r: f"FactorScheduler(step={_n(r)}, factor=0.5, base_lr=0.1, warmup_steps={r.randint(0, 2)})",
        lambda r: f"PolyScheduler(max_update={_n(r)}, base_lr=0.1, pwr=2)",
    ],
    "paddle": [
        lambda r: f"LinearWarmup(CosineAnnealingDecay(0.1, {_n(r)}), {r.randint(1, 4)}, 0.0, 0.1)",
        lambda r: f"PiecewiseDecay({sorted(r.sample(range(1, N), 2))}, [0.1, 0.03, 0.02])",
        lambda r: f"NaturalExpDecay(0.1, 0.{r.randint(1, 5)})",
    ],
}  # fmt: skip
WITHOUT_RATE = ("optax", "keras", "mxnet", "paddle", "ignite", "CyclicLR", "OneCycleLR", "WarmupDecayLR")
HERE = ("torch", "transformers", "timm", "ignite", "mmengine", "deepspeed", "optax", "keras")
PLACES = {"timm": ("LAJU_VISION", ".vision", "timm/scheduler"), "mmengine": ("LAJU_DIALECTS", ".dialects", "mmengine"),
          "deepspeed": ("LAJU_DIALECTS", ".dialects", "deepspeed")}  # fmt: skip


def drawn(source: str, many: int, seed: int) -> list[tuple[str, float]]:
    rng = random.Random(f"{source} {seed}")
    draws = [*SOURCES[source]] if many >= len(SOURCES[source]) else rng.sample(SOURCES[source], many)
    return [(draw(rng), _rate(rng)) for draw in draws]


def theirs(source: str, calls: list[tuple[str, float]]) -> list[list[float]] | None:
    """The rates of the source's own schedulers; None where the source is not installed."""
    python, more = PYTHONS.get(source, Path(sys.executable)), []
    if source in PLACES:
        variable, folder, inside = PLACES[source]
        place = Path(os.environ.get(variable, ROOT / folder))
        if not (place / inside).is_dir():
            return None
        more = [str(place / inside if source == "timm" else place)]
    if not python.exists():
        return None
    script = str(Path(__file__).parent / "originals.py")
    env = os.environ | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [str(python), script, source, str(N), *more], input=json.dumps(calls), capture_output=True, text=True,
        timeout=300, env=env,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: list[list[float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def compared(target: str, programs: list[tuple[str, str, list[float]]], used: list[list[float]]) -> None:
    for (source, code, meant), real in zip(programs, used, strict=True):
        single = target in SINGLE or source in SINGLE
        # Recurrences and float32 lose digits; an update more or less would be thousands of times more.
        allowed = (4e-6 if single else 1e-10) * max(map(abs, meant))
        assert len(real) == N
        assert np.abs(np.array(real) - meant).max() <= allowed, (source, code, real, meant)


def program(source: str, text: str, lr: float, target: str) -> str:
    takes = source not in WITHOUT_RATE and text.partition("(")[0] not in WITHOUT_RATE
    return convert(text, source, target, lr=lr if takes else None, updates=N).code


@pytest.fixture(scope="module")
def originals() -> dict[str, list[tuple[str, float, list[float]]]]:
    """Calls of every installed source, with the rates of the source's own scheduler."""
    found = {}
    for source in SOURCES:
        calls = drawn(source, 9, seed=1)
        values = theirs(source, calls)
        if values is not None:
            found[source] = [(text, lr, real) for (text, lr), real in zip(calls, values, strict=True)]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("target", [name for name in TARGETS if name != "laju"])
def test_every_pair_trains_as_the_source_does(target: str, originals: Any) -> None:
    programs = [
        (source, program(source, text, lr, target), real)
        for source, calls in originals.items()
        for text, lr, real in calls
    ]
    assert len(originals) >= 4
    compared(target, programs, rates(target, [code for _, code, _ in programs]))


@pytest.mark.parametrize("source", ["torch", "optax"])
def test_a_sample_of_pairs_trains_as_the_source_does(source: str) -> None:
    pytest.importorskip(NEEDS[source])
    calls = drawn(source, 2, seed=2)
    values = theirs(source, calls)
    assert values is not None
    for (text, lr), meant in zip(calls, values, strict=True):
        used: list[float] = []
        exec(program(source, text, lr, "laju") + "    used.append(rate)\n", {"used": used})
        compared("laju", [(source, text, meant)], [used])
