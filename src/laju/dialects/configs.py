"""Configurations of other systems: the schedule that a file, or what is in it, asks for.

Each system's are read in a file of its own, `config_NAME.py`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from laju.core import limits
from laju.core.checks import nearest, shown
from laju.core.extras import needed_by
from laju.core.schedule import Schedule
from laju.dialects.base import UNFIT, DialectError
from laju.dialects.python_config import python

READERS = ("transformers", "deepspeed", "torchtitan", "torchtune", "mmengine", "composer")
"""Systems whose configurations are read."""


@dataclass(frozen=True)
class Configured:
    """What a configuration asks for.

    Attributes:
        schedule: of the learning rate.
        system: whose configuration it is.
        call: the scheduler's call as the system's dialect has it, such as "get_scheduler(3e-05, 'cosine', 10, 100)".
        notes: what a reader should know, such as a value that was taken by default.
    """

    schedule: Schedule
    system: str
    call: str
    notes: tuple[str, ...] = ()


def read_config(
    config: str | os.PathLike[str] | Mapping[str, Any] | list[Any], system: str | None = None, **facts: Any
) -> Configured:
    """The schedule that a configuration of another system asks for.

    Args:
        config: a file (.json, .toml, .yaml, or MMEngine's .py, which is not run), or what is in one.
        system: "transformers", "deepspeed", "torchtitan", "torchtune", "mmengine" or "composer"; by default what its keys say.
        facts: what the configuration does not say and the schedule needs, such as `total` (updates of the run), `lr` (the
            optimizer's rate) or `updates_per_epoch`.

    Raises:
        DialectError: an unknown system, a configuration that is of none or has no scheduler, a fact that is missing (the message
            names it), or a scheduler that follows metrics.
        OSError: the file cannot be read.

    >>> found = read_config({"learning_rate": 3e-5, "lr_scheduler_type": "cosine", "warmup_steps": 10, "max_steps": 100})
    >>> found.system, found.schedule(10)
    ('transformers', 3e-05)
    """
    where = "config"
    content: Any = config
    if isinstance(config, str | os.PathLike):
        where = os.fspath(config)
        content = _content(Path(config))
    try:
        limits.size(content)
    except ValueError as error:
        raise DialectError(f"{where} is too large: {error}") from None
    if system is not None and system not in READERS:
        raise DialectError(
            f"configurations of {shown(system)} are not read{nearest(str(system), READERS)} ({', '.join(READERS)})"
        )
    if system is None:
        system = next((name for name in READERS if _reader(name).is_one(content)), None)
        if system is None:
            raise DialectError(
                f"{where} is not a configuration that laju knows: none of {', '.join(READERS)} has such keys; name its system"
            )
    try:
        found: Configured = _reader(system).read(content, where, facts)
    except RecursionError:
        raise DialectError(f"{where} is nested too deeply") from None
    except UNFIT as error:
        raise DialectError(f"{where} cannot be read as a configuration of {system}: {error}") from error
    return found


def _reader(system: str) -> Any:
    return import_module(f"laju.dialects.config_{system}")


def _content(path: Path) -> Any:
    if path.suffix.lower() == ".py":
        return python(path)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DialectError(f"{path} is not text in UTF-8: {error}") from None
    kind = path.suffix.lower()
    try:
        if kind == ".json":
            return json.loads(text)
        if kind == ".toml":
            import tomllib

            return tomllib.loads(text)
        if kind in (".yaml", ".yml"):
            with needed_by(str(path), "convert"):
                import yaml
            return yaml.safe_load(text)
    except ModuleNotFoundError:
        raise
    except ValueError as error:
        raise DialectError(f"{path} cannot be read as {kind[1:]}: {error}") from None
    except Exception as error:  # YAML's own errors have no base that Python knows
        raise DialectError(f"{path} cannot be read as {kind[1:]}: {error}") from None
    raise DialectError(f"{path} must be a .json, .toml, .yaml or .py file")


# --- for the readers ---------------------------------------------------------------------------------------------------


def fact(name: str, facts: Mapping[str, Any], *values: Any, what: str) -> Any:
    """The first value that is given, in the configuration or as a fact.

    Raises:
        DialectError: none is; `what` says what it stands for.
    """
    found = next((value for value in (facts.get(name), *values) if value is not None), None)
    if found is None:
        raise DialectError(f"{what} is not in the configuration: give {name}=…")
    return found


def mapping(content: Any, where: str) -> Mapping[str, Any]:
    """A section as a mapping.

    Raises:
        DialectError: it is something else.
    """
    if not isinstance(content, Mapping):
        raise DialectError(f"{where} must be a mapping, got {shown(content)}")
    return content
