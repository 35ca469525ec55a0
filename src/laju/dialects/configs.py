"""Configurations of other systems: the schedule that a file, or the content of a file, asks for.

The configurations of each system are read in `config_NAME.py`.
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
    """The schedule that a configuration asks for.

    Attributes:
        schedule: of the learning rate.
        system: the system of the configuration.
        call: the scheduler's call in the dialect, such as "get_scheduler(3e-05, 'cosine', 10, 100)".
        notes: sentences for the reader, such as on a value that was taken by default.
        dialect: that has the call: the system's, that of the schedulers that the system takes, or laju itself.
        length: of the run, in the unit that the schedule counts, where the configuration has a length.
    """

    schedule: Schedule
    system: str
    call: str
    notes: tuple[str, ...] = ()
    dialect: str = ""
    length: int | None = None


def owners(content: Any) -> list[str]:
    """The systems, of `READERS`, whose configurations have the keys of the content."""
    return [name for name in READERS if _reader(name).is_one(content)]


def read_config(
    config: str | os.PathLike[str] | Mapping[str, Any] | list[Any], system: str | None = None, **facts: Any
) -> Configured:
    """The schedule that a configuration of another system asks for.

    Args:
        config: a file (.json, .toml, .yaml, a .sh with a command, or a .py of MMEngine or nanoGPT, which is not run), or the
            content of a file.
        system: a key of `READERS`, such as "transformers"; by default the system that the keys belong to.
        facts: values that the schedule needs and the configuration leaves out, such as `total` (updates of the run), `lr` (the
            optimizer's rate), `updates_per_epoch` or `warmup` (updates, where a trainer fills in the warmup).

    Raises:
        DialectError: an unknown system, a configuration of no known system, a fact that is missing (the message names the fact)
            or has no place, a scheduler that follows metrics, or a key that speaks of rates and is not read.
        OSError: the file cannot be read.

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
                f"{where} is not a configuration that laju knows: none of {', '.join(READERS)} has such keys; name its system"
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
    """Facts, and the names that a reader has looked for."""

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
    """A system without a scheduler: the optimizer's rate at every update."""
    rate = number("lr", lr, least=0)
    return Configured(Constant(rate), system, f"no scheduler: lr={lr!r}", (f"{missing}: the rate is constant", *notes))


# --- for the readers ---------------------------------------------------------------------------------------------------


_OPTIONS = {"lr": "--lr ", "total": "--updates ", "updates_per_epoch": "--updates-per-epoch "}


def fact(name: str, facts: Mapping[str, Any], *values: Any, what: str) -> Any:
    """The first given value, in the configuration or as a fact.

    Raises:
        DialectError: no value is given; `what` is the value's description in the message.
    """
    found = next((value for value in (facts.get(name), *values) if value is not None), None)
    if found is None:
        option = _OPTIONS.get(name, f"--fact {name}=")
        raise DialectError(f"{what} is not in the configuration: give {name}=…, on the command line {option}…")
    return found


def mapping(content: Any, where: str) -> Mapping[str, Any]:
    """A section as a mapping.

    Raises:
        DialectError: the section is no mapping.
    """
    if not isinstance(content, Mapping):
        raise DialectError(f"{where} must be a mapping, got {shown(content)}")
    return content


def decimal(name: str, value: Any) -> Any:
    """A number that a file may leave out.

    Raises:
        ValueError: the value is no number.
    """
    return value if value is None else number(name, value)


def no_other_rates(section: Mapping[str, Any], known: Collection[str], system: str, where: str = "") -> tuple[str, ...]:
    """Refuse a section with a key that speaks of rates and is not read; return notes on the rates of other parameter groups.

    A schedule that leaves such a key out would differ from the system's, without a word. Keys that are not set (null, false or
    empty), and keys of unrelated quantities, such as `weight_decay` and `drop_rate`, are ignored.

    Args:
        section: of the configuration.
        known: the keys of the section that are read, as far as these keys speak of rates.
        system: the system of the configuration.
        where: the section's place in the file, such as "optimizer".

    Raises:
        DialectError: the message names the key, the system and the nearest known key.

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
    """The subject of a key, by its words: the "rate", the rate of other "groups", or None."""
    words = re.findall(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+", key)
    text = "_".join(words).lower().replace("warm_up", "warmup")
    own = _LR.search(text)
    if not own and not _ABOUT.search(text):
        return None
    if (_WATCHED if own else _ELSE).search(text):
        return None
    return "groups" if _GROUPS.search(text) else "rate"
