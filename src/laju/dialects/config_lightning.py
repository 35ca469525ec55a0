"""LightningCLI's YAML: `lr_scheduler` and `optimizer` with a class_path, which the CLI steps once per epoch.

Source: lightning 2.6, pytorch/cli.py: `LightningCLI.configure_optimizers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from laju.dialects.base import DialectError
from laju.dialects.config_hydra import by_interval, instantiated
from laju.dialects.configs import Configured, constant
from laju.dialects.sections import Section, has


def is_one(content: Any) -> bool:
    """Return whether the content looks like a configuration of LightningCLI."""
    return has(content, "lr_scheduler.class_path") or has(content, "optimizer.class_path")


def read(content: Any, where: str, facts: Mapping[str, Any]) -> Configured:
    """Return the schedule of updates, constant within each epoch.

    Raises:
        DialectError: if a fact is missing or a key about the learning rate is not read; see `read_config`.
    """
    given = Section(content, where, "lightning", ("lr_scheduler",), facts)
    rate = given.section("optimizer", ()).section("init_args", ("lr",)).lr("lr")
    if given.get("lr_scheduler") is None:
        return constant(rate, "lightning", f"{where} has no lr_scheduler", given.notes)
    section = given.section("lr_scheduler", ())
    path = section.get("class_path")
    if not isinstance(path, str):
        raise DialectError(f"lr_scheduler.class_path must be a path, got {path!r}")
    path = path if "." in path else f"torch.optim.lr_scheduler.{path}"
    schedule = instantiated(path, section.get("init_args") or {}, rate, given.root)
    epochs = given.section("trainer", ()).get("max_epochs")
    if isinstance(epochs, int) and epochs > 0:
        given.length = epochs * given.per_epoch()
    return by_interval(given, schedule, "epoch")
