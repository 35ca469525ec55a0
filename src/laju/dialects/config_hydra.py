"""Hydra's YAML with a scheduler under `_target_`, and the optimizer's rate in the same file.

Hydra instantiates the target; the code steps the scheduler once per epoch or once per update, by the `interval` next to
`_target_`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from laju.core.checks import nearest, shown
from laju.core.schedule import Schedule
from laju.dialects.base import DialectError, call, system
from laju.dialects.configs import Configured, fact
from laju.dialects.sections import Section, resolved

_MODULES = {"torch.optim.lr_scheduler": "torch", "transformers": "transformers", "timm.scheduler": "timm"}
_OF_HYDRA = ("_target_", "_partial_", "_recursive_", "_convert_", "_args_", "optimizer", "verbose")


def is_one(content: Any) -> bool:
    """Return whether the content has a scheduler under `_target_`."""
    return any(_dialect(at["_target_"]) for _, at, _ in _targets(content))


def read(content: Any, where: str, facts: Mapping[str, Any]) -> Configured:
    """Return the schedule of updates; the fact `interval` is "step" or "epoch", where the file has none.

    Raises:
        DialectError: see `read_config`; also if there are several schedulers.
    """
    found = [(path, at, above) for path, at, above in _targets(content) if _dialect(at["_target_"])]
    found = [entry for entry in found if not any(entry[0].startswith(f"{other[0]}.") for other in found)]
    if len(found) != 1:
        raise DialectError(
            f"{where} must have one scheduler, has {len(found)}: {', '.join(path for path, _, _ in found)}"
        )
    path, at, above = found[0]
    variables = set(re.findall(r"\$\{(\w+)", str(content)))
    given = Section(content, where, "hydra", {path.partition(".")[0], *variables}, facts)
    optimizers = [
        (place, own) for place, own, _ in _targets(content)
        if re.search(r"optim\b", str(own["_target_"])) and not _dialect(own["_target_"]) and "lr" in own
    ]  # fmt: skip
    if len(optimizers) > 1 and facts.get("lr") is None:
        raise DialectError(f"several optimizers have a rate ({', '.join(place for place, _ in optimizers)}): give lr=…")
    place, own = optimizers[0] if optimizers else ("optimizer", {})
    rate = Section(own, place, "hydra", tuple(own), facts, given).lr("lr")
    schedule = instantiated(at["_target_"], arguments(at), rate, given.root)
    interval = fact("interval", facts, above.get("interval"), what=f"whether {path} is stepped by step or by epoch")
    return by_interval(given, schedule, interval)


def by_interval(given: Section, schedule: Schedule, interval: Any) -> Configured:
    """Return the schedule in updates of a scheduler that is stepped once per "step" or once per "epoch"."""
    if interval not in ("step", "epoch"):
        raise DialectError(f"interval must be step or epoch, got {shown(interval)}")
    return given.configured(given.epochs(schedule) if interval == "epoch" else schedule)


def arguments(at: Mapping[str, Any]) -> dict[str, Any]:
    """Return the named arguments of an object in a Hydra configuration."""
    if at.get("_args_"):
        raise DialectError(f"_args_ of {at['_target_']} must be given by name")
    return {key: value for key, value in at.items() if key not in _OF_HYDRA}


def instantiated(path: str, named: Mapping[str, Any], rate: float, root: Mapping[str, Any]) -> Schedule:
    """Return the schedule of a scheduler given by its import path, with schedulers in its arguments.

    Raises:
        DialectError: if no dialect has the path, or the scheduler does not take the arguments.
    """
    name = _dialect(path)
    if name is None:
        raise DialectError(
            f"{path} is not a scheduler that laju reads{nearest(path, _MODULES)} (those of {', '.join(_MODULES)})"
        )

    def value(at: Any) -> Any:
        at = resolved(at, root)
        if isinstance(at, Mapping) and ("_target_" in at or "class_path" in at):
            if "class_path" in at:
                return instantiated(at["class_path"], at.get("init_args") or {}, rate, root)
            return instantiated(at["_target_"], arguments(at), rate, root)
        if isinstance(at, str) and "${" in at:
            raise DialectError(f"{at} has no value in the file: write the value into the file")
        return [value(item) for item in at] if isinstance(at, list) else at

    return call(
        system(name), path.rpartition(".")[2], [], {key: value(own) for key, own in named.items()}, {"lr": rate}
    )


def _dialect(path: Any) -> str | None:
    """Return the dialect of a scheduler's import path; None for an optimizer."""
    if not isinstance(path, str) or (path.startswith("transformers.") and not re.search(r"\.get_\w*sched", path)):
        return None
    return next((name for module, name in _MODULES.items() if path.startswith(f"{module}.")), None)


def _targets(
    content: Any, path: str = "", above: Any = None
) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Yield each mapping with a `_target_`, with its path and its parent mapping."""
    if isinstance(content, Mapping):
        if "_target_" in content:
            yield path, content, above if isinstance(above, Mapping) else {}
        for key, value in content.items():
            yield from _targets(value, f"{path}.{key}" if path else str(key), content)
    elif isinstance(content, list):
        for i, value in enumerate(content):
            yield from _targets(value, f"{path}.{i}", content)
