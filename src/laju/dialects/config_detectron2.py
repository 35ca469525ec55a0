"""detectron2's YAML: `SOLVER`, with the `_BASE_` files in its folder.

The scheduler is fvcore's under a warmup (detectron2 0.6, solver/build.py: `build_lr_scheduler`; config/defaults.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from laju.core.checks import shown, whole
from laju.dialects.base import DialectError
from laju.dialects.base import read as dialect
from laju.dialects.configs import Configured
from laju.dialects.sections import Section, has

_KEYS = (
    "BASE_LR", "BASE_LR_END", "MAX_ITER", "STEPS", "GAMMA", "NUM_DECAYS", "LR_SCHEDULER_NAME", "WARMUP_FACTOR", "WARMUP_ITERS",
    "WARMUP_METHOD", "RESCALE_INTERVAL",
)  # fmt: skip
_NAMES = ("WarmupMultiStepLR", "WarmupCosineLR", "WarmupStepWithFixedGammaLR")


def is_one(content: Any) -> bool:
    """Return whether the content looks like a configuration of detectron2."""
    return has(content, "SOLVER") and isinstance(content["SOLVER"], Mapping)


def read(content: Any, where: str, facts: Mapping[str, Any]) -> Configured:
    """Return the schedule of iterations.

    Raises:
        DialectError: if a fact is missing or a key about the learning rate is not read; see `read_config`.
    """
    given = Section(content, where, "detectron2", (), facts)
    solver = given.section("SOLVER", _KEYS)
    rate, total = (
        solver.lr("BASE_LR", 0.001),
        solver.total("MAX_ITER") if solver.get("MAX_ITER") or facts.get("total") else 40_000,
    )
    given.length = total
    name, gamma = solver.choice("LR_SCHEDULER_NAME", _NAMES, _NAMES[0]), solver.number("GAMMA", 0.1)
    if name == "WarmupMultiStepLR":
        steps = _steps(solver.get("STEPS", (30_000,)))
        kept = [step for step in steps if step <= total]
        solver.notes += (
            [f"STEPS after MAX_ITER, {total:,}, are ignored: {steps[len(kept) :]}"] if len(kept) < len(steps) else []
        )
        under = f"MultiStepParamScheduler({[gamma**k for k in range(len(kept) + 1)]!r}, {total}, {kept!r})"
        if not kept:
            under = "ConstantParamScheduler(1.0)"
    elif name == "WarmupCosineLR":
        low = solver.number("BASE_LR_END", 0.0, least=0, most=rate)
        under = f"CosineParamScheduler(1.0, {low / rate if rate else 0.0!r})"
    else:
        under = f"StepWithFixedGammaParamScheduler(1.0, {solver.whole('NUM_DECAYS', 3, least=1)}, {gamma!r}, {total})"
    share = min(solver.whole("WARMUP_ITERS", 1000) / total, 1.0)
    method = solver.choice("WARMUP_METHOD", ("linear", "constant"), "linear")
    more = ", True" if solver.flag("RESCALE_INTERVAL") else ""
    factor = solver.number("WARMUP_FACTOR", 0.001)
    text = f"LRMultiplier({rate!r}, WarmupParamScheduler({under}, {factor!r}, {share!r}, {method!r}{more}), {total})"
    if solver.get("REFERENCE_WORLD_SIZE"):
        given.notes.append(
            "REFERENCE_WORLD_SIZE scales the rate and the lengths where another number of processes runs"
        )
    return given.configured(dialect("fvcore", text), "iterations", text, "fvcore")


def _steps(value: Any) -> list[int]:
    """Return the milestones; YAML reads "(60000, 80000)" as a string."""
    if isinstance(value, str) and re.fullmatch(r"\(?[\d,_\s]*\)?", value.strip()):
        value = [int(number) for number in re.findall(r"[\d_]+", value)]
    if not isinstance(value, list | tuple) or sorted(value) != list(value):
        raise DialectError(f"SOLVER.STEPS must be iterations in rising order, got {shown(value)}")
    return [whole(f"SOLVER.STEPS[{i}]", step) for i, step in enumerate(value)]
