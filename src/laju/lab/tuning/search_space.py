"""The space of a search: the parameters of a policy that vary, and their ranges.

    peak=1e-3..1 log, warmup=0%..20%, final=0..0.1, shape=linear|cosine|sqrt

A space is a value: its text reads back as the same space.
"""

from __future__ import annotations

import ast
import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, product
from typing import TYPE_CHECKING, Any

from laju import policies
from laju.core.checks import nearest, shown
from laju.core.schedule import Schedule
from laju.core.units import RunPlan, as_length, unit
from laju.text.spec import parse as parse_schedule

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

DIGITS = 4
"""The number of significant digits of a suggested number, so that the best schedule reads as if written by a person."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_CORNERS = 256


class SpaceError(ValueError):
    """A space that cannot be read, contradicts itself or does not fit the policy."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included.

    `log`: uniform on a logarithmic scale, with as many numbers between 0.01 and 0.1 as between 0.1 and 1. `step`: only `low` plus
    multiples of the step. `whole`: integers. `unit`: the unit of a length, such as "%"; None for a plain number.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False
    unit: str | None = None

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def value(self, suggested: float) -> Any:
        """The argument for the policy, rounded to a few digits and with its unit."""
        if self.whole:
            number: float = int(suggested)
        else:
            # Rounding may step over an end.
            number = min(max(_rounded(suggested), self.low), self.high)
        return number if self.unit in (None, "updates") else f"{_number_as_text(number)}{_suffix(self.unit)}"

    def ends(self) -> tuple[float, ...]:
        return self.low, self.high

    def points(self, many: int) -> list[float]:
        """Evenly spaced points for a grid; with a `step`, the multiples of the step."""
        if self.step is not None:
            steps = [self.low + i * self.step for i in range(int((self.high - self.low) / self.step + 1e-9) + 1)]
            return [int(x) for x in steps] if self.whole else steps
        shares = [i / (many - 1) for i in range(many)]
        if self.log:
            between = [math.exp(math.log(self.low) * (1 - s) + math.log(self.high) * s) for s in shares]
        else:
            between = [self.low * (1 - s) + self.high * s for s in shares]
        if self.whole:
            return [*sorted({round(x) for x in between})]
        return [self.low, *between[1:-1], self.high]

    def __str__(self) -> str:
        suffix = _suffix(self.unit) if self.unit != "updates" else ""
        text = f"{_number_as_text(self.low)}{suffix}..{_number_as_text(self.high)}{suffix}"
        return (
            text + (f" step {_number_as_text(self.step)}{suffix}" if self.step is not None else "") + " log" * self.log
        )


@dataclass(frozen=True)
class Choice:
    """A choice between several values."""

    values: tuple[Any, ...]

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values)

    def value(self, suggested: Any) -> Any:
        return suggested

    def ends(self) -> tuple[Any, ...]:
        return self.values

    def points(self, many: int) -> list[Any]:
        return list(self.values)

    def __str__(self) -> str:
        return "|".join(_number_as_text(value) for value in self.values)


@dataclass(frozen=True)
class Space:
    """A policy with parameters that vary and parameters that are fixed; `Space.parse` reads a space from text.

    >>> space = Space.parse("cosine", "peak=1e-3..1 log, warmup=0%..20%, final=0")
    >>> print(space)
    peak=0.001..1 log, warmup=0%..20%, final=0
    >>> space.schedule({"peak": 0.123456, "warmup": 10.0})
    cosine(final=0, total='100%', peak=0.1235, warmup='10%')
    """

    policy: str
    varied: Mapping[str, Range | Choice]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    per: str | None = None

    @classmethod
    def parse(cls, policy: str, text: str, per: str | None = None) -> Space:
        """Read `name=LOW..HIGH [step S] [log]`, `name=A|B|C` or `name=VALUE`, with commas between.

        The policy determines whether a range holds numbers, integers or lengths. The unit of a length may stand at both ends of
        the range or at the last end only. `total` is the whole run by default.

        Args:
            policy: a name from `laju.policies`.
            text: the parameters that vary and the fixed parameters.
            per: the unit that the policy's clock counts, such as "epoch"; updates by default.

        Raises:
            SpaceError: an unknown policy or parameter, a parameter given twice, a missing parameter that the policy needs, a low
                end above the high end, a logarithm of 0 or less, a kind that does not suit the parameter, or no parameter that
                varies.
        """
        parameters = inspect.signature(_policy(policy)).parameters
        varied: dict[str, Range | Choice] = {}
        fixed: dict[str, Any] = {}
        if not isinstance(text, str):
            hint = "; a Space knows its policy: give it in place of the policy" if isinstance(text, cls) else ""
            raise SpaceError(f"space must be a text such as 'peak=1e-3..1 log', got {shown(text)}{hint}")
        for part in _split_at_commas(text):
            name, equals, content = (word.strip() for word in part.partition("="))
            if not equals or not name or not content:
                raise SpaceError(f"space has {part.strip()!r}, which is not NAME=LOW..HIGH, NAME=A|B or NAME=VALUE")
            if name not in parameters:
                raise SpaceError(
                    f"{policy} has no parameter {name!r}{nearest(name, parameters)}; it has {', '.join(parameters)}"
                )
            if name in varied or name in fixed:
                raise SpaceError(f"space names {name!r} twice")
            kind = str(parameters[name].annotation)
            found = _search_of(name, content, kind)
            if isinstance(found, Range | Choice):
                varied[name] = found
            else:
                fixed[name] = found
        if "total" in parameters and "Span" in str(parameters["total"].annotation) and "total" not in varied:
            fixed.setdefault("total", "100%")
        missing = [
            name
            for name, parameter in parameters.items()
            if parameter.default is parameter.empty and name not in varied and name not in fixed
        ]
        if missing:
            raise SpaceError(f"{policy} needs {' and '.join(missing)}, which the space {text!r} does not give")
        if not varied:
            raise SpaceError(
                f"space {text!r} has nothing that varies; write for example {next(iter(parameters))}=0.01..1 log"
            )
        if per is not None:
            try:
                per = unit(per)
            except ValueError as error:
                raise SpaceError(f"per: {error}") from None
        return cls(policy, varied, fixed, per)

    def values(self, suggested: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments for the policy from the numbers of a suggestion, without the fixed arguments."""
        return {name: kind.value(suggested[name]) for name, kind in self.varied.items()}

    def schedule(self, suggested: Mapping[str, Any]) -> Schedule:
        """The policy's schedule for a suggestion.

        Args:
            suggested: a number or a choice for each parameter that varies; lengths are in their unit.

        Raises:
            ValueError: the policy refuses the values.
        """
        made = _policy(self.policy)(**self.fixed, **self.values(suggested))
        return made if self.per is None else made.per(self.per)

    def spec(self, suggested: Mapping[str, Any]) -> str:
        """The schedule of a suggestion as the text of the policy's call, which `laju.parse` reads.

        >>> Space.parse("cosine", "peak=0.1..1").spec({"peak": 0.5})
        "cosine(peak=0.5, total='100%')"
        """
        given = {**self.values(suggested), **self.fixed}
        arguments = (f"{name}={value if isinstance(value, Schedule) else repr(value)}" for name, value in given.items())
        return f"{self.policy}({', '.join(arguments)})" + ("" if self.per is None else f".per({self.per!r})")

    def check(self, plan: RunPlan) -> None:
        """Construct the schedules at the corners of the space, so that no suggestion fails after hours.

        Raises:
            SpaceError: a corner is not a valid schedule, does not fit the run, or has rates that are negative or not finite.
        """
        import numpy as np

        for corner in islice(self._corners(), _CORNERS):
            where = ", ".join(f"{name}={value}" for name, value in self.values(corner).items())
            try:
                rates = self.schedule(corner).resolve(plan).values(plan.updates)
            except (ValueError, TypeError, ArithmeticError) as error:
                raise SpaceError(f"the space does not suit {self.policy}: at {where}: {error}") from None
            bad = ~(np.isfinite(rates) & (rates >= 0))
            if bad.any():
                t = int(bad.argmax())
                raise SpaceError(
                    f"the space does not suit {self.policy}: at {where} update {t} has the rate {rates[t]:g}, and rates must be "
                    "finite and not negative"
                )

    def _corners(self) -> Iterator[dict[str, Any]]:
        for corner in product(*(kind.ends() for kind in self.varied.values())):
            yield dict(zip(self.varied, corner, strict=True))

    def grid(self, points: int) -> dict[str, list[Any]]:
        """The values of a grid, by parameter: `points` of each range, or all multiples of the step."""
        return {name: kind.points(points) for name, kind in self.varied.items()}

    def __str__(self) -> str:
        parts = [f"{name}={kind}" for name, kind in self.varied.items()]
        parts += [f"{name}={_number_as_text(v)}" for name, v in self.fixed.items() if (name, v) != ("total", "100%")]
        return ", ".join(parts)


def _policy(name: str) -> Callable[..., Schedule]:
    if not isinstance(name, str) or name not in policies.__all__:
        raise SpaceError(
            f"{shown(name)} is not a policy{nearest(str(name), policies.__all__)} (policies: {', '.join(policies.__all__)})"
        )
    policy: Callable[..., Schedule] = getattr(policies, name)
    return policy


def _split_at_commas(text: str) -> list[str]:
    """Split at the commas that stand outside brackets and quotes."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        else:
            depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return [part for part in parts if part.strip()]


def _search_of(name: str, content: str, kind: str) -> Any:
    # In quotes or brackets, dots and bars are the argument's own.
    if ".." in content and not content.startswith(("'", '"', "[", "(")):
        return _range(name, content, kind)
    if "|" in content:
        values = tuple(_typed_value(name, part.strip(), kind) for part in content.split("|"))
        if len(set(values)) < len(values):
            raise SpaceError(f"{name}={content}: a choice is there twice")
        if any(not isinstance(value, str | int | float | bool) for value in values):
            raise SpaceError(f"{name}={content}: a choice must be a number, a length or a word")
        return Choice(values)
    return _typed_value(name, content, kind)


def _range(name: str, content: str, kind: str) -> Range:
    given = f"{name}={content}"
    words = content.replace("..", " .. ").split()
    log = "log" in words
    words = [word for word in words if word != "log"]
    step_words: list[str] = []
    if "step" in words:
        at = words.index("step")
        words, step_words = words[:at], words[at + 1 :]
        if not step_words:
            raise SpaceError(f"{given}: step must be followed by a number")
    at = words.index("..")
    low, low_unit = _end(given, " ".join(words[:at]))
    high, high_unit = _end(given, " ".join(words[at + 1 :]))
    step, step_unit = _end(given, " ".join(step_words)) if step_words else (None, None)

    length = "Span" in kind
    units = {u for u in (low_unit, high_unit, step_unit) if u is not None}
    if units and not length:
        raise SpaceError(f"{given}: {name} is not a length, so it has no unit")
    if len(units) > 1:
        raise SpaceError(f"{given}: both ends must have the same unit, got {' and '.join(sorted(units))}")
    if not length and not any(word in kind for word in ("float", "int")):
        raise SpaceError(
            f"{given}: {name} takes no number, so it cannot have a range; write choices such as {name}=a|b"
        )
    one = next(iter(units), "updates") if length else None
    whole = one == "updates" or (not length and "float" not in kind)
    if not low <= high:
        raise SpaceError(
            f"{given}: the low end must not be over the high one, got {_number_as_text(low)} > {_number_as_text(high)}"
        )
    if low == high:
        raise SpaceError(f"{given}: both ends are equal; write {name}={_number_as_text(low)} for a value that is fixed")
    if log and low <= 0:
        raise SpaceError(f"{given}: a logarithmic range must begin above 0, got {_number_as_text(low)}")
    if log and step is not None:
        raise SpaceError(f"{given}: a logarithmic range has no step")
    if step is not None and not 0 < step <= high - low:
        raise SpaceError(f"{given}: step must be above 0 and no longer than the range, got {_number_as_text(step)}")
    for end in (low, high, step):
        if whole and end is not None and end != int(end):
            what = "a number of updates" if length else "a whole number"
            raise SpaceError(f"{given}: {name} is {what}, got {_number_as_text(end)}")
    if length and low < 0:
        raise SpaceError(f"{given}: a length must not be negative, got {_number_as_text(low)}")
    return Range(low, high, log, step, whole, one)


def _end(given: str, text: str) -> tuple[float, str | None]:
    match = _NUMBER.match(text.strip())
    if match is None:
        raise SpaceError(
            f"{given}: {text.strip()!r} is not a number; a range is LOW..HIGH, with `log` or `step S` behind it"
        )
    value, rest = float(match[0]), text.strip()[match.end() :].strip()
    if not math.isfinite(value):
        raise SpaceError(f"{given}: {match[0]} is too large for a number")
    try:
        return value, unit(rest) if rest else None
    except ValueError as error:
        raise SpaceError(f"{given}: {error}") from None


def _typed_value(name: str, text: str, kind: str) -> Any:
    """A written value, in the policy's own type."""
    if not text:
        raise SpaceError(f"{name} has an empty value")
    try:
        if "Schedule" in kind:
            return parse_schedule(text)
        if "Span" in kind and "Iterable" not in kind and "Sequence" not in kind and text != "None":
            as_length(text.strip("'\""))
            return int(text) if text.isdigit() else text.strip("'\"")
    except ValueError as error:
        raise SpaceError(f"{name}={text}: {error}") from None
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = text
    if isinstance(value, str) and "str" not in kind and "Literal" not in kind:
        raise SpaceError(f"{name}={text}: {name} takes {kind}, and {text!r} is none")
    return value


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _number_as_text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def _suffix(name: str | None) -> str:
    return "" if name is None else "%" if name == "%" else f" {name}"
