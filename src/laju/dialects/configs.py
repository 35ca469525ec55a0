"""Readers of other systems' configurations, which return the schedule of a configuration file or its content.

The reader of each system is in `config_NAME.py`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from laju.core import limits
from laju.core.checks import nearest, number, shown
from laju.core.pieces import Constant
from laju.core.schedule import Schedule
from laju.dialects import contents
from laju.dialects.base import UNFIT, DialectError
from laju.dialects.declared import SystemSchedule

READERS = (
    "axolotl",
    "transformers",
    "deepspeed",
    "torchtitan",
    "torchtune",
    "mmengine",
    "composer",
    "ultralytics",
    "nanogpt",
    "llamafactory",
    "diffusers",
    "kohya",
    "timm",
    "megatron",
    "gptneox",
    "nemo",
    "olmo",
    "nanotron",
    "fairseq",
    "detectron2",
    "paddle",
    "lightning",
    "hydra",
)
"""Systems whose configurations are read."""
_DIALECTS = {
    **{name: name for name in ("transformers", "deepspeed", "torchtitan", "mmengine", "composer")},
    **dict.fromkeys(("axolotl", "torchtune", "diffusers", "kohya"), "transformers"),
}
"""Dialects that have the calls of a system's schedulers."""


@dataclass(frozen=True)
class Configured:
    """The schedule of a configuration, with notes.

    Attributes:
        schedule: the schedule of the learning rate.
        system: name of the system of the configuration.
        call: the scheduler's call in the dialect, such as "get_scheduler(3e-05, 'cosine', 10, 100)".
        notes: notes for the user, such as a default that was used.
        dialect: name of the dialect of the call: the system's own, the dialect of the system's schedulers, or "laju".
        length: length of the run in the unit that the schedule counts; None if the configuration has no length.
    """

    schedule: Schedule
    system: str
    call: str
    notes: tuple[str, ...] = ()
    dialect: str = ""
    length: int | None = None


def owners(content: Any) -> list[str]:
    """Return the systems in `READERS` whose configurations have the keys of the content."""
    return [name for name in READERS if _reader(name).is_one(content)]


def read_config(
    config: str | os.PathLike[str] | Mapping[str, Any] | list[Any], system: str | None = None, **facts: Any
) -> Configured:
    """Read the configuration of another system and return its schedule.

    Args:
        config: path of a file (.json, .toml, .yaml, a .sh with a command, or a .py of MMEngine or nanoGPT, which is not
            executed), or the content of a file.
        system: a key of `READERS`, such as "transformers"; by default the system to which the keys belong.
        facts: values that the schedule needs and the configuration lacks, such as `total` (updates of the run), `lr` (the
            optimizer's learning rate), `updates_per_epoch` or `warmup` (updates, if the trainer computes the warmup).

    Raises:
        DialectError: if the system is unknown, no system has the keys, a fact is missing (the message names the fact) or not
            used, the scheduler depends on a metric, or a key that seems to concern the learning rate is not read.
        OSError: if the file cannot be read.

    >>> found = read_config({"learning_rate": 3e-5, "lr_scheduler_type": "cosine", "warmup_steps": 10, "max_steps": 100})
    >>> found.system, found.schedule(10)
    ('transformers', 3e-05)
    """
    where = "config"
    content: Any = config
    if isinstance(config, str | os.PathLike):
        where = os.fspath(config)
        content = contents.content(Path(config))
    try:
        limits.size(content)
    except ValueError as error:
        raise DialectError(f"{where} is too large: {error}") from None
    if system is not None and system not in READERS:
        raise DialectError(
            f"configurations of {shown(system)} are not read{nearest(str(system), READERS)} ({', '.join(READERS)})"
        )
    if system is None:
        try:
            # Every reader is asked, and a configuration that several know is refused: the first that fits would decide by the
            # order of a tuple.
            claims = owners(content)
        except RecursionError:
            raise DialectError(f"{where} is nested too deeply") from None
        if not claims:
            raise DialectError(
                f"{where} is not a configuration that laju knows: none of {', '.join(READERS)} has its keys; name its system"
            )
        if len(claims) > 1:
            raise DialectError(
                f"{where} has the keys of {' and of '.join(claims)}: name its system, system={claims[0]!r} or on the command "
                f"line --from {claims[0]}"
            )
        system = claims[0]
    asked = _Asked(facts)
    if isinstance(content, Mapping) and (key := next((key for key in ("_BASE_", "_base_") if key in content), None)):
        raise DialectError(
            f"{where} has the bases {shown(content[key])}, whose keys may decide the rate: give the file itself"
        )
    try:
        content = contents.numbers(content)
        found: Configured = _reader(system).read(content, where, asked)
        if isinstance(found.schedule, SystemSchedule):
            found = replace(found, schedule=found.schedule.over(facts.get("total")))
    except DialectError:
        raise
    except RecursionError:
        raise DialectError(f"{where} is nested too deeply") from None
    except ValueError as error:
        raise DialectError(str(error)) from error
    except UNFIT as error:
        raise DialectError(f"{where} cannot be read as a configuration of {system}: {error}") from error
    if isinstance(content, Mapping) and isinstance(content.get("defaults"), list):
        found = replace(
            found, notes=(*found.notes, f"defaults names other files, which are not read: {shown(content['defaults'])}")
        )
    if not found.dialect:
        found = replace(found, dialect=_DIALECTS.get(system, "laju"))
    # A fact that no reader looked for is a mistake of the caller's (a wrong name, or a file that says it already), and would be
    # lost without a word.
    for name in facts.keys() - asked.names - {"lr", "total", "updates_per_epoch"}:  # facts that every system may get
        known = sorted(asked.names)
        raise DialectError(
            f"the fact {name!r} has no place in this configuration of {system}{nearest(name, known)} "
            f"(what was looked for: {', '.join(known) or 'nothing'})"
        )
    return found


class _Asked(dict[str, Any]):
    """Facts that record the names that a reader has looked up."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        super().__init__(facts)
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return super().get(name, default)

    def __contains__(self, name: object) -> bool:
        self.names.add(str(name))
        return super().__contains__(name)

    def __getitem__(self, name: str) -> Any:
        self.names.add(name)
        return super().__getitem__(name)


def _reader(system: str) -> Any:
    return import_module(f"laju.dialects.config_{system}")


def constant(lr: Any, system: str, missing: str, notes: Collection[str] = ()) -> Configured:
    """Return the constant schedule of a system without a scheduler, at the optimizer's learning rate."""
    rate = number("lr", lr, least=0)
    return Configured(Constant(rate), system, f"no scheduler: lr={lr!r}", (f"{missing}: the rate is constant", *notes))


# --- for the readers ---------------------------------------------------------------------------------------------------


_OPTIONS = {"lr": "--lr ", "total": "--updates ", "updates_per_epoch": "--updates-per-epoch "}


def fact(name: str, facts: Mapping[str, Any], *values: Any, what: str) -> Any:
    """Return the fact, or the first value in the configuration that is not None.

    Args:
        name: name of the fact.
        facts: the given facts.
        values: candidate values in the configuration.
        what: description of the value in the error.

    Raises:
        DialectError: if there is no value.
    """
    found = next((value for value in (facts.get(name), *values) if value is not None), None)
    if found is None:
        option = _OPTIONS.get(name, f"--fact {name}=")
        raise DialectError(f"{what} is not in the configuration: give {name}=…, on the command line {option}…")
    return found


def mapping(content: Any, where: str) -> Mapping[str, Any]:
    """Return a section of a configuration as a mapping.

    Raises:
        DialectError: if the section is not a mapping.
    """
    if not isinstance(content, Mapping):
        raise DialectError(f"{where} must be a mapping, got {shown(content)}")
    return content


def decimal(name: str, value: Any) -> Any:
    """Return a number, or None if the file has no value.

    Raises:
        ValueError: if the value is not a number.
    """
    return value if value is None else number(name, value)


def no_other_rates(section: Mapping[str, Any], known: Collection[str], system: str, where: str = "") -> tuple[str, ...]:
    """Refuse a section with an unread key about the learning rate, and return notes on rates of other parameter groups.

    A schedule that ignored such a key could silently differ from the system's. Keys without a value (null, false or empty) and
    keys of unrelated quantities, such as `weight_decay` and `drop_rate`, are ignored.

    Args:
        section: a section of the configuration.
        known: keys about the learning rate that are read.
        system: name of the system.
        where: path of the section in the file, such as "optimizer".

    Raises:
        DialectError: if a key about the learning rate is not in `known`; the message names the key and the nearest known key.

    >>> no_other_rates({"lr": 0.1, "weight_decay": 0.01, "head_lr": 0.2}, ["lr"], "deepspeed")
    ('head_lr is left out: the rate of other parameter groups',)
    """
    notes = []
    for key, value in section.items():
        place = f"{where}.{key}" if where else str(key)
        if key in known or value is None or value is False or value in ("", [], {}) or not isinstance(key, str):
            continue
        subject = _subject(key)
        if subject == "groups":
            notes.append(f"{place} is left out: the rate of other parameter groups")
        elif subject == "rate" or nearest(key, known, cutoff=0.85):
            names = f" (known: {', '.join(sorted(known))})" if known else ""
            raise DialectError(
                f"{place} seems to decide the rate and is no key of {system}{' in this place' if where else ''} that laju "
                f"reads{nearest(key, known, cutoff=0.5)}{names}; without it the schedule could be a wrong one"
            )
    return tuple(notes)


# "lr" stands at the beginning or the end of a word: lr0, lrf, minlr, but not "already", "allreduce" or "mlrun".
_LR = re.compile(r"(?:^|_)(?:lr(?!u(?:_|$)|n(?:_|$)|elu)|(?!(?:m|s|v)lr)[a-z]+lrs?(?:_|$)|learn(?:ing)?_?rates?)")
_ABOUT = re.compile(r"(?:^|_)rates?(?:_|$)|sched|warmup|decay|cosine|anneal")
_WATCHED = re.compile(r"(?:^|_)(?:log|logs|logging|logger|monitor|plot|print|report)(?:_|$)")
_GROUPS = re.compile(
    r"(?:^|_)(?:aligner|backbone|bias|decoder|dion|embed|embedding|embeddings|encoder|groups?|head|layers?|layerwise|llrd|loraplus|projector"
    r"|tower|vision|vit)(?:_|$)"
)
# Unrelated quantities with a rate, a schedule, a warmup or a decay; no word of a schedule's own, such as start, end or length.
_ELSE = re.compile(
    r"(?:^|_)(?:acceptance|attention|attn|audio|augment|augmentation|benchmark|beta|betas|bit|clip|compile|compression|corruption"
    r"|curriculum|ddpm|diffusion|dilation|discriminator|distance|drop|dropout|ema|entropy|eps|epsilon|error|expansion|exploration"
    r"|failure|flip|forcing|frame|growth|jitter|job|kl|l2|loss|mask|masking|mom|momentum|mutation|noise|pipeline|pp|profile|profiler"
    r"|profiling|prune|pruning|rate_limit|refresh|request|reward|sample|sampler|sampling|sim|similarity|slurm|smoothing|sparsity"
    r"|speech|success|tau|teacher|temp|temperature|timesteps?|video|wd|weight|weightdecay|win|cosine_(?:min|max)_(?:len|value))(?:_|$)"
)


def _subject(key: str) -> str | None:
    """Return the subject of a key, by its words: "rate", "groups" (the rate of other parameter groups), or None."""
    words = re.findall(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+", key)
    text = "_".join(words).lower().replace("warm_up", "warmup")
    own = _LR.search(text)
    if not own and not _ABOUT.search(text):
        return None
    if (_WATCHED if own else _ELSE).search(text):
        return None
    return "groups" if _GROUPS.search(text) else "rate"
