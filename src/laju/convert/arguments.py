"""The arguments of a conversion: the given values, the systems by name, and the schedule of a text or a file."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from laju.convert.writers import TARGETS, Writer, called, configurations, writer
from laju.core.checks import nearest as near_name
from laju.core.checks import number, shown, whole
from laju.dialects.base import SYSTEMS, DialectError, System, filled, read, system, systems
from laju.dialects.configs import Configured, read_config
from laju.text.spec import parse

EPOCH_LENGTH = {"mmengine": "epoch_length", "composer": "batches_per_epoch"}
"""Arguments of schedulers that turn epochs into updates themselves."""


@dataclass(frozen=True)
class Given:
    lr: float | None
    updates: int | None
    epochs: int | None
    updates_per_epoch: int | None
    more: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.lr is not None:
            number("lr", self.lr, least=0)
        for name in ("updates", "epochs", "updates_per_epoch"):
            if getattr(self, name) is not None:
                whole(name, getattr(self, name), least=1)
        if self.updates is not None and self.epochs is not None:
            raise DialectError("updates and epochs both give the length of the run: give only one")


def source_of(name: str) -> str:
    if name in ("laju", "config"):
        return name
    if not isinstance(name, str) or not _known(name):
        raise DialectError(
            f"{shown(name)} is not a system that laju converts from{near_name(str(name), (*systems(), 'laju', 'config'))} "
            f"(laju, config, {', '.join(systems())})"
        )
    return system(name).name


def target_of(name: str) -> str:
    kind, _, own = name.strip().lower().partition(":") if isinstance(name, str) else ("", "", "")
    if kind == "yaml":
        return f"yaml:{written(own)}" if own else kind
    if isinstance(name, str) and name.strip().lower() in TARGETS:
        return name.strip().lower()
    if not isinstance(name, str) or not _known(name):
        others = [other for other in systems() if other not in TARGETS]
        raise DialectError(
            f"{shown(name)} is not a system that laju converts to{near_name(str(name), (*TARGETS, *others))} "
            f"({', '.join(TARGETS)}; with torch's adapter: {', '.join(others)}; yaml:SYSTEM for configurations)"
        )
    return system(name).name


def written(name: str) -> str:
    """Return the name of a system whose configurations laju writes, or raise `DialectError`."""
    if name not in configurations.TITLES:
        raise DialectError(
            f"configurations of {shown(name)} are not written{near_name(name, configurations.TITLES)}: name a system, such as "
            f"yaml:transformers ({', '.join(configurations.TITLES)})"
        )
    return name


def _known(name: str) -> bool:
    try:
        system(name)
    except DialectError:
        return False
    return True


def writer_of(target: str) -> Writer:
    """Return the target's writer, or torch's writer without own schedulers for a target without a writer."""
    if target in TARGETS:
        return writer(target)
    if target.startswith("yaml:"):
        return replace(writer("laju"), title=title_of(target), counts_epochs=target == "yaml:mmengine")
    from laju.convert.writers import torch

    found = system(target)
    where = f"which {found.title} takes" if target in SYSTEMS else f"for where {found.title} takes one"
    return Writer(
        title=found.title,
        suggestions=lambda outline: iter(()),
        own=torch.own,
        adapter=lambda setting: torch.adapter(setting, f"a torch LRScheduler, {where}"),
        counts_epochs=found.unit != "update",
    )


def title_of(target: str) -> str:
    if target.startswith("yaml:"):
        return configurations.TITLES[target.partition(":")[2]]
    return writer(target).title if target in TARGETS else system(target).title


def read_text(text: str, origin: str, given: Given, reader: str | None) -> Configured:
    """Read the schedule of a text or a configuration."""
    if origin == "laju":
        if given.lr is not None:
            raise DialectError(
                "lr is the optimizer's rate, but values of laju's schedules are absolute learning rates: remove lr"
            )
        if given.more:
            raise DialectError("facts fill in other systems' code and configurations; a laju schedule needs no facts")
        return Configured(parse(text), origin, text.strip(), dialect=origin)
    if origin == "config":
        known: dict[str, Any] = {"lr": given.lr, "total": given.updates}
        return read_config(
            text, reader, **{name: value for name, value in known.items() if value is not None}, **given.more
        )
    dialect = system(origin)
    text = filled(text, given.more)
    takes, says = rates_in(dialect, text)
    if given.lr is not None and not takes:
        raise DialectError(f"no scheduler in {shown(text)} takes the optimizer's rate: remove lr")
    if given.lr is not None and any(rate != given.lr for rate in says):
        raise DialectError(f"lr is {says[0]!r} in {shown(text)} but {given.lr!r} as an argument: give lr only once")
    more: dict[str, Any] = {} if given.lr is None else {"lr": given.lr}
    each = EPOCH_LENGTH.get(origin)
    if each is not None and given.updates_per_epoch is not None:
        more[each] = given.updates_per_epoch
    run = given.updates if given.epochs is None else given.epochs * (given.updates_per_epoch or 1)
    try:
        return Configured(read(origin, text, updates=run, **more), origin, text.strip(), dialect=origin)
    except DialectError as error:
        if given.lr is None and takes and not says and "'lr'" in str(error):
            raise DialectError(
                f"lr is missing: {dialect.title}'s schedulers change the optimizer's rate, so give the rate: lr=0.1"
            ) from None
        if each is not None and each not in more and each in str(error):
            raise DialectError(f"{error}; give updates_per_epoch") from None
        raise


def rates_in(dialect: System, given: str) -> tuple[bool, list[Any]]:
    """Return whether a scheduler in the text takes the optimizer's rate, and the rates in the text itself."""
    try:
        tree = ast.parse(given, mode="eval")
    except (SyntaxError, RecursionError, MemoryError, ValueError):
        return True, []  # which `read` explains
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    takes = False
    for name in called(given):
        try:
            takes = takes or "lr" in inspect.signature(dialect.scheduler(name)).parameters
        except DialectError:
            return True, []
    said = [k.value for call in calls for k in call.keywords if k.arg == "lr"]
    return takes, [value.value for value in said if isinstance(value, ast.Constant)]
