"""The content of the page as a value: schedules, run plan and axes, to and from the fragment of a link.

A fragment may come from an untrusted source, so reading is strict and bounded: an unknown name, a number out of range or too many
schedules is a clear error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_args
from urllib.parse import parse_qsl, quote

from laju.core.checks import nearest, shown
from laju.core.units import RunPlan

Axis = Literal["updates", "epochs", "tokens"]
AXES: tuple[Axis, ...] = get_args(Axis)

MOST_SCHEDULES = 12
MOST_TEXT = 20_000
"""The most characters of a schedule's text on the page, since a link contains the text."""

_MOST_FRAGMENT = 200_000
_MOST_NAME = 200
COUNTS = ("updates", "samples", "batch", "epochs", "processes", "accumulate", "tokens")
"""The facts of the run by the page's names; `tokens` is the number of tokens per sample."""

LARGEST = 10**15
"""The largest number of updates, samples or any further count of a run."""

ZOOM = ("begin", "end", "low", "top")
"""The part of the picture that is shown: between two updates, and between two values."""


class StateError(ValueError):
    """A link or a request that does not describe a page of the studio."""


@dataclass(frozen=True)
class Line:
    """A schedule of the page: its text as typed, and its name, if any."""

    text: str
    name: str = ""

    @property
    def label(self) -> str:
        """The name, if any, else the text."""
        return self.name or self.text


@dataclass(frozen=True)
class State:
    """The page.

    Attributes:
        schedules: the schedules in the order of the page, at least a single schedule.
        active: the index of the schedule that has the handles.
        against: the index of the schedule with which the active schedule is compared; None for no comparison.
        axis: the unit of the horizontal axis.
        log: whether the vertical axis is logarithmic.
        optimizer: the optimizer, for the findings; empty if unknown.
        counts: the known facts of the run, by a name in `COUNTS`.
        zoom: the sides of the picture that the user has set, by a name in `ZOOM`.

    >>> State.read("s=cosine(0.3, total=100)&epochs=3&axis=epochs").fragment
    's=cosine(0.3,%20total=100)&axis=epochs&epochs=3'
    """

    schedules: tuple[Line, ...] = (Line("cosine(0.3, total=1000, warmup=50)"),)
    active: int = 0
    against: int | None = None
    axis: Axis = "updates"
    log: bool = False
    optimizer: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    zoom: dict[str, float] = field(default_factory=dict)

    @staticmethod
    def read(fragment: str) -> State:
        """The state of a fragment, without its "#".

        Raises:
            StateError: the studio cannot have written the fragment.
        """
        if len(fragment) > _MOST_FRAGMENT:
            raise StateError(f"the link has {len(fragment):,} characters; the studio reads {_MOST_FRAGMENT:,}")
        try:
            # A "+" stays a plus: the sums and scientific numbers of schedules have one.
            pairs = parse_qsl(
                fragment.replace("+", "%2B"), keep_blank_values=True, strict_parsing=bool(fragment), max_num_fields=100
            )
        except ValueError as error:
            raise StateError(f"the link after # is not NAME=VALUE&…: {error}") from None
        content: dict[str, Any] = {}
        lines: list[dict[str, str]] = []
        for name, value in pairs:
            if name == "s":
                lines.append({"text": value})
            elif name == "n":
                if not lines:
                    raise StateError("the link has a name (n=) before its first schedule (s=)")
                lines[-1]["name"] = value
            elif name in content:
                raise StateError(f"the link says {name!r} twice")
            else:
                content[name] = value == "1" if name == "log" and value in "01" else _value(name, value)
        if lines:
            content["schedules"] = lines
        return State.of(content)

    @staticmethod
    def of(content: Any) -> State:
        """The state in an object from a request or a link.

        Raises:
            StateError: an unknown name, or an invalid value for the name.
        """
        if not isinstance(content, dict):
            raise StateError(f"the state must be an object, got {shown(content)}")
        own = [*(f.name for f in fields(State) if f.name not in ("counts", "zoom")), *COUNTS, *ZOOM]
        for name in content:
            if name not in own:
                raise StateError(f"the state has an unknown part {shown(name)}{nearest(str(name), own)}")
        lines = _lines(content.get("schedules"))
        given = {name: value for name, value in content.items() if value is not None}
        counts = {name: _whole(name, given[name], 1) for name in COUNTS if name in given}
        zoom = {name: (_whole(name, given[name], 0) if name in ("begin", "end") else _finite(name, given[name]))
                for name in ZOOM if name in given}  # fmt: skip
        for low, top in (("begin", "end"), ("low", "top")):
            if low in zoom and top in zoom and zoom[low] >= zoom[top]:
                raise StateError(f"{low} must be less than {top} = {zoom[top]:g}, got {zoom[low]:g}")
        axis = content.get("axis", "updates")
        if axis not in AXES:
            raise StateError(f"axis must be one of {', '.join(AXES)}, got {shown(axis)}")
        log = content.get("log", False)
        if not isinstance(log, bool):
            raise StateError(f"log must be true or false, got {shown(log)}")
        optimizer = content.get("optimizer", "")
        if not isinstance(optimizer, str) or len(optimizer) > _MOST_NAME:
            raise StateError(f"optimizer must be a name, got {shown(optimizer)}")
        active = _number_of("active", content.get("active", 0), lines)
        against = content.get("against")
        against = None if against is None else _number_of("against", against, lines)
        return State(lines, active, None if against == active else against, axis, log, optimizer, counts, zoom)

    @property
    def fragment(self) -> str:
        """The text after the "#" of a link to this state."""
        pairs: list[tuple[str, Any]] = []
        for line in self.schedules:
            pairs.append(("s", line.text))
            if line.name:
                pairs.append(("n", line.name))
        pairs += [("active", self.active)] if self.active else []
        pairs += [] if self.against is None else [("against", self.against)]
        pairs += [("axis", self.axis)] if self.axis != "updates" else []
        pairs += [("log", 1)] if self.log else []
        pairs += [("optimizer", self.optimizer)] if self.optimizer else []
        pairs += [*self.counts.items(), *self.zoom.items()]
        return "&".join(f"{name}={quote(str(value), safe='(),=:/*>_-.')}" for name, value in pairs)

    def to_json(self) -> dict[str, Any]:
        lines = [{"text": line.text, "name": line.name} for line in self.schedules]
        return {
            "schedules": lines, "active": self.active, "against": self.against, "axis": self.axis, "log": self.log,
            "optimizer": self.optimizer, **self.counts, **self.zoom,
        }  # fmt: skip

    def with_text(self, text: str, at: int | None = None) -> State:
        """The state with a new text for a schedule, by default for the active schedule."""
        at = self.active if at is None else at
        lines = list(self.schedules)
        lines[at] = replace(lines[at], text=text)
        return replace(self, schedules=tuple(lines))

    def with_line(self, line: Line) -> State:
        """The state with an additional schedule, which is active.

        Raises:
            StateError: there are already as many schedules as allowed.
        """
        if len(self.schedules) >= MOST_SCHEDULES:
            raise StateError(f"the page holds at most {MOST_SCHEDULES} schedules; remove one first")
        return replace(self, schedules=(*self.schedules, line), active=len(self.schedules))

    @property
    def plan(self) -> RunPlan | None:
        """The plan of the run, from its known facts; None without facts.

        `updates` alone is a run with this number of updates; if only `epochs` is known, each epoch counts as an update.

        Raises:
            StateError: the facts contradict each other or do not suffice; the message uses the page's words.
        """
        facts = self.counts
        if not facts:
            return None
        if "updates" in facts:
            other = next((name for name in facts if name not in ("updates", "epochs")), None)
            if other is not None:
                raise StateError(f"updates and {_TITLES[other]} both say how long the run is: give one of them")
            epochs = facts.get("epochs", 1)
            if facts["updates"] % epochs:
                raise StateError(
                    f"{facts['updates']:,} updates are not a whole number of updates in each of {epochs:,} epochs"
                )
            return RunPlan(samples=facts["updates"] // epochs, batch_size=1, epochs=epochs)
        if set(facts) == {"epochs"}:
            return RunPlan(samples=1, batch_size=1, epochs=facts["epochs"])
        missing = [_TITLES[name] for name in ("samples", "batch", "epochs") if name not in facts]
        if missing:
            raise StateError(f"the run also needs {' and '.join(missing)}")
        try:
            return RunPlan(
                samples=facts["samples"], batch_size=facts["batch"], epochs=facts["epochs"],
                world_size=facts.get("processes", 1), accumulate=facts.get("accumulate", 1),
                tokens_per_sample=facts.get("tokens"),
            )  # fmt: skip
        except ValueError as error:
            raise StateError(str(error)) from None


_TITLES = {
    "samples": "samples", "batch": "batch size", "epochs": "epochs", "processes": "processes",
    "accumulate": "accumulation", "tokens": "tokens per sample",
}  # fmt: skip


def _value(name: str, value: str) -> int | float | str:
    """The value of a part of a link: a number, or a text if the part is not a number."""
    if name in ("low", "top"):
        try:
            return float(value)
        except ValueError:
            raise StateError(f"{name} must be a number, got {shown(value)}") from None
    if name not in ("active", "against", "begin", "end", *COUNTS):
        return value
    if not value.isascii() or not value.isdigit() or len(value) > 16:
        raise StateError(f"{name} must be a whole number, got {shown(value)}")
    return int(value)


def _whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= LARGEST:
        raise StateError(f"{name} must be a whole number from {least} to {LARGEST:,}, got {shown(value)}")
    return value


def _finite(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or abs(value) > 1e100:
        raise StateError(f"{name} must be a number, got {shown(value)}")
    return float(value)


def _lines(given: Any) -> tuple[Line, ...]:
    if given is None:
        return State().schedules
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise StateError(f"schedules must be a list of at least one, got {shown(given)}")
    if len(given) > MOST_SCHEDULES:
        raise StateError(f"the page holds at most {MOST_SCHEDULES} schedules, got {len(given)}")
    lines = []
    for each in given:
        if not isinstance(each, dict) or set(each) - {"text", "name"}:
            raise StateError(f"a schedule of the state must have a text and perhaps a name, got {shown(each)}")
        text, name = each.get("text", ""), each.get("name", "")
        if not isinstance(text, str) or len(text) > MOST_TEXT:
            raise StateError(f"a schedule's text must be a text of at most {MOST_TEXT:,} characters")
        if not isinstance(name, str) or len(name) > _MOST_NAME:
            raise StateError(f"a schedule's name must be a text of at most {_MOST_NAME} characters")
        lines.append(Line(" ".join(text.split("\n")), name))
    return tuple(lines)


def _number_of(name: str, value: Any, lines: tuple[Line, ...]) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < len(lines):
        raise StateError(f"{name} must be the number of a schedule, 0 to {len(lines) - 1}, got {shown(value)}")
    return value
