"""The active schedule as a program for each system, by `laju.convert`."""

from __future__ import annotations

import ast
import textwrap
from functools import lru_cache
from typing import Any

from laju.convert import convert
from laju.convert.report import Conversion, facts
from laju.convert.writers.configurations import TITLES
from laju.core.checks import nearest, shown
from laju.core.schedule import Schedule
from laju.core.units import RunPlan

TABS = {
    "torch": "torch", "lightning": "Lightning", "transformers": "Transformers", "optax": "optax", "keras": "Keras",
    "mxnet": "MXNet", "paddle": "Paddle", "timm": "timm", "laju": "laju",
    **{f"yaml:{name}": f"YAML: {title}" for name, title in TITLES.items()},
}  # fmt: skip
"""The tabs, by the target that `convert` takes; Lightning's tab has the torch program inside `configure_optimizers`."""


@lru_cache(maxsize=64)
def program(schedule: Schedule, target: str, plan: RunPlan | None, updates: int) -> dict[str, Any]:
    """The program for a system, and the facts of the conversion.

    Args:
        schedule: the schedule as written.
        target: a key of `TABS`.
        plan: the plan of the run.
        updates: the number of updates of the run.

    Raises:
        ValueError: an unknown target, or a schedule that the target cannot express.
    """
    if target not in TABS:
        raise ValueError(f"target must be one of {', '.join(TABS)}, got {shown(target)}{nearest(target, TABS)}")
    resolved = schedule.resolve(plan) if plan is not None and schedule.units else schedule
    system = "torch" if target == "lightning" else target
    found = convert(resolved, "laju", system, updates=updates)
    code = _in_lightning(found) if target == "lightning" else found.code
    told = {name: value for name, value in facts(found).items() if name not in ("schedule", "text")}
    return {"target": target, "code": code, "own": found.own, "facts": told, "traps": list(found.traps)}


def _in_lightning(found: Conversion) -> str:
    """The scheduler of the torch program in `configure_optimizers`, stepped after each update."""
    tree = ast.parse(found.code)
    imports, made = [], []
    for node in tree.body:
        text = ast.get_source_segment(found.code, node) or ""
        if isinstance(node, ast.Import | ast.ImportFrom):
            imports.append(text)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id != "model":
            made.append(text.replace("model.parameters()", "self.parameters()"))
    body = textwrap.indent("\n".join(made), " " * 8)
    return (
        "\n".join(["import lightning", *imports])
        + "\n\n\nclass Model(lightning.LightningModule):  # yours\n    def __init__(self):\n        super().__init__()\n"
        + "        self.layer = torch.nn.Linear(10, 1)\n\n    def configure_optimizers(self):\n"
        + f"{body}\n"
        + '        # "step" is an update; the default, "epoch", would be slower by the updates of an epoch\n'
        + '        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}\n'
    )
