"""A section of a configuration, for the readers, which declare its keys and look up each value by name, kind and default.

The section reports undeclared keys about the learning rate, `${…}` references without a value, and defaults that were used.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from laju.core import checks
from laju.core.checks import nearest, shown
from laju.core.schedule import Schedule
from laju.core.units import RunPlan
from laju.dialects.base import DialectError
from laju.dialects.configs import Configured, fact, mapping, no_other_rates
from laju.dialects.python_config import Unread


class Section:
    """A mapping in a configuration, with notes collected while reading.

    Args:
        content: the mapping; None for an empty mapping.
        where: the file, or the path of the section in the file, such as "optimizer".
        system: name of the system of the configuration.
        known: keys about the learning rate that are read.
        facts: values that are known only to the run.
        above: the section that contains this section; None for the whole file.

    Raises:
        DialectError: if the content is not a mapping, or has an unread key about the learning rate.
    """

    def __init__(
        self,
        content: Any,
        where: str,
        system: str,
        known: Collection[str],
        facts: Mapping[str, Any],
        above: Section | None = None,
    ) -> None:
        self.root: Mapping[str, Any] = above.root if above else mapping(content, where)
        self.content = mapping({} if content is None else resolved(content, self.root), where)
        self.system, self.facts = system, facts
        self.place = f"{where}." if above else ""
        self.notes: list[str] = above.notes if above else []
        self.length: int | None = None
        self.notes += no_other_rates(self.content, known, system, where if above else "")

    def section(self, name: str, known: Collection[str], content: Any = None) -> Section:
        """Return the section under a key; empty if the key is missing."""
        content = self.get(name) if content is None else content
        return Section(content, self.place + name, self.system, known, self.facts, self)

    def without(self, *names: str) -> Section:
        """Return the section without some of its keys."""
        content = {key: value for key, value in self.content.items() if key not in names}
        return Section(content, self.place[:-1], self.system, tuple(content), self.facts, self)

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a key, or the default, which is then noted."""
        value = resolved(self.content.get(name), self.root)
        if isinstance(value, Unread) or (isinstance(value, str) and re.match(r"\$\w|.*\$\{|\?\?\?$", value)):
            said = repr(value) if isinstance(value, Unread) else value
            raise DialectError(f"{self.place}{name} is {said}, which the file does not say: write the value out")
        if value is None and default is not None:
            self.notes.append(f"{self.place}{name} is not given: {default}")
            return default
        return value

    def number(self, name: str, default: float | None = None, **bounds: float) -> float:
        """Return a finite number; without a default the key is required."""
        return checks.number(self.place + name, self._needed(name, default), **bounds)

    def whole(self, name: str, default: int | None = None, least: int = 0) -> int:
        """Return a whole number; without a default the key is required."""
        return checks.whole(self.place + name, self._needed(name, default), least=least)

    def choice(self, name: str, valid: Collection[str], default: str | None = None) -> str:
        """Return a value among the valid names; without a default the key is required."""
        value = self._needed(name, default)
        if not isinstance(value, str) or value not in valid:
            raise DialectError(
                f"{self.place}{name} must be one of {', '.join(valid)} (laju reads no others of {self.system}), got "
                f"{shown(value)}{nearest(str(value), valid)}"
            )
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """Return True or False; the default is the system's own, and is not noted."""
        value = self.get(name)
        return default if value is None else checks.flag(self.place + name, value)

    def lr(self, name: str, default: float | None = None) -> float:
        """Return the optimizer's learning rate: the fact `lr`, or the value of the key."""
        if self.facts.get("lr") is not None:
            return checks.number("lr", self.facts["lr"], least=0)
        value = self.get(name, default)
        return checks.number(self.place + name, fact("lr", self.facts, value, what=self.place + name), least=0)

    def total(self, *names: str, epochs: str | None = None) -> int:
        """Return the updates of the run: the first key with a value, the fact `total`, or epochs times `updates_per_epoch`."""
        name = next((name for name in names if self.get(name) is not None), None)
        if name is not None:
            self.length = self.whole(name, least=1)
        elif self.facts.get("total") is None and epochs is not None and self.get(epochs) is not None:
            self.length = self.whole(epochs, least=1) * self.per_epoch()
        else:
            what = self.place + (names or (epochs,))[0]  # type: ignore[operator]
            self.length = checks.whole("total", fact("total", self.facts, what=what), least=1)
        return self.length

    def per_epoch(self) -> int:
        """Return the fact `updates_per_epoch`."""
        what = "the number of updates per epoch, len(train_loader),"
        return checks.whole("updates_per_epoch", fact("updates_per_epoch", self.facts, what=what), least=1)

    def epochs(self, schedule: Schedule) -> Schedule:
        """Convert a schedule of epochs to updates: every update has the learning rate of its epoch."""
        each = self.per_epoch()
        self.notes.append(f"the rate changes once per epoch of {each:,} updates")
        return schedule.per("epoch").resolve(RunPlan(samples=each, batch_size=1, epochs=1))

    def configured(self, schedule: Schedule, counts: str = "updates", call: str = "", dialect: str = "") -> Configured:
        """Return the result: a schedule of the unit in `counts`, and the call in a dialect if the dialect has the scheduler."""
        notes = (*dict.fromkeys(self.notes), f"the schedule counts {counts}")
        dialect = dialect or ("" if call else "laju")
        return Configured(schedule, self.system, call or str(schedule), notes, dialect, self.length)

    def _needed(self, name: str, default: Any) -> Any:
        value = self.get(name, default)
        if value is None:
            raise DialectError(f"{self.place}{name} is not in the configuration, and {self.system} needs it")
        return value


_REFERENCE = re.compile(r"\$\{\s*(?:oc\.select:)?([\w.]+)\s*\}")


def resolved(value: Any, root: Mapping[str, Any]) -> Any:
    """Return a value, or the value in the file to which `${a.b}` refers.

    Raises:
        DialectError: if the reference has no value or refers to itself.
    """
    seen = []
    while isinstance(value, str) and (found := _REFERENCE.fullmatch(value)):
        seen.append(value)
        at: Any = root
        for key in found[1].split("."):
            if not isinstance(at, Mapping) or key not in at:
                raise DialectError(f"{value} has no value in the configuration")
            at = at[key]
        value = at
        if value in seen:
            raise DialectError(f"{seen[0]} refers to itself")
    return value


def has(content: Any, *paths: str) -> bool:
    """Return whether a configuration has all of the paths, such as "optimizer.lr".

    >>> has({"optimizer": {"lr": 0.1}}, "optimizer.lr"), has({"optimizer": 3}, "optimizer.lr")
    (True, False)
    """
    for path in paths:
        at = content
        for key in path.split("."):
            if not isinstance(at, Mapping) or key not in at:
                return False
            at = at[key]
    return True
