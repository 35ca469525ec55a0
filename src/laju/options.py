"""The options of training, each declared once: the command line, the lab's values and the documentation read this table."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeVar

from laju.core.checks import choice, flag, number, shown, whole

Value = TypeVar("Value")
_PLACE = re.compile(r"^( *)\{options (\w+)\}$", re.MULTILINE)


@dataclass(frozen=True)
class Count:
    """A whole number of at least `least`."""

    least: int = 1

    def read(self, name: str, value: Any) -> Any:
        return whole(name, value, least=self.least)


@dataclass(frozen=True)
class Seconds:
    """A time above 0."""

    def read(self, name: str, value: Any) -> Any:
        return number(name, value, above=0)


@dataclass(frozen=True)
class Number:
    """A finite number above `above`."""

    above: float = 0.0

    def read(self, name: str, value: Any) -> Any:
        return number(name, value, above=self.above)


@dataclass(frozen=True)
class Flag:
    """True or False."""

    def read(self, name: str, value: Any) -> Any:
        return flag(name, value)


@dataclass(frozen=True)
class Choice:
    """A text of several."""

    valid: tuple[str, ...]

    def read(self, name: str, value: Any) -> Any:
        return choice(name, value, self.valid)


@dataclass(frozen=True)
class Text:
    """Any text; `metavar` is the word for the text in `--help`."""

    metavar: str

    def read(self, name: str, value: Any) -> Any:
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a text, got {shown(value)}")
        return value


@dataclass(frozen=True)
class Python:
    """A value for which the command line has options of its own; the lab checks the value itself."""

    def read(self, name: str, value: Any) -> Any:
        return value


@dataclass(frozen=True)
class Option:
    """An option of training.

    Args:
        name: the argument of functions and, with dashes, the option of the command line.
        kind: of valid values.
        default: None where a default depends on the task or the machine.
        help: the meaning, a phrase that begins in lower case and has no full stop.
    """

    name: str
    kind: Count | Seconds | Number | Flag | Choice | Text | Python
    default: Any
    help: str

    def read(self, value: Any) -> Any:
        """The checked value; None stays None where that is the default."""
        return None if value is None and self.default is None else self.kind.read(self.name, value)

    @property
    def sentence(self) -> str:
        """The help of the command line."""
        return f"{self.help[0].upper()}{self.help[1:]}."


GRID = (
    Option(
        "schedules",
        Python(),
        None,
        "by display name; a schedule, its text, a number for a constant, a list of the rates of all updates, or any function "
        "from the number of completed updates to a rate, such as an optax schedule. The first is the reference",
    ),
    Option("seeds", Python(), 3, "how many (0, 1, …), or which"),
    Option("epochs", Count(), 30, "passes over the training data"),
    Option("batch_size", Count(), None, "examples an update; the task's own by default"),
    Option("optimizer", Python(), None, "SGD's momentum and weight decay; plain SGD by default"),
    Option("framework", Python(), "torch", "where to train; of several, every schedule is trained in each"),
)
EXECUTION = (
    Option(
        "jobs", Count(), None, "trials at once, a thread each; by default a trial for each core, and on a GPU one stack"
    ),
    Option(
        "on",
        Text("CLUSTER"),
        None,
        "a cluster to train on: ray, ray://HOST:PORT, dask or dask://HOST:PORT, with `jobs` trials at most",
    ),
    Option(
        "device",
        Choice(("cpu", "cuda")),
        "cpu",
        "where torch computes",
    ),
    Option("precision", Choice(("float32", "bf16")), "float32", "the arithmetic of torch's products"),
    Option("channels_last", Flag(), False, "lay images in memory with their channels last"),
    Option("stack", Count(), None, "trials of a comparison that a GPU trains at once; by default as many as fit"),
    Option("time_limit", Seconds(), None, "seconds after which a trial, or a part that trials share, is given up"),
    Option(
        "share_prefixes",
        Flag(),
        True,
        "train the beginning that schedules have in common, such as a warmup, once; the results are the same, bit by bit",
    ),
)
SELECTION = (
    Option(
        "tuned",
        Python(),
        False,
        "first find the best base rate of each schedule, with a seed that the comparison does not use",
    ),
    Option(
        "race",
        Python(),
        False,
        "train with few seeds first, and drop schedules that can no longer end above the best (by .2 points)",
    ),
    Option(
        "equal_area", Flag(), False, "scale each schedule so that its rates sum to the same as the rates of the first"
    ),
)
SEARCH = (
    Option(
        "trials",
        Count(),
        30,
        "total number of trials of the search, including trials of earlier runs; a grid has no more than its points",
    ),
    Option(
        "objective",
        Python(),
        "accuracy",
        "accuracy (on the test set, at the end), or updates-to=0.9 (updates until the test accuracy is 0.9); if several, the "
        "Pareto front is searched",
    ),
    Option(
        "sampler",
        Choice(("tpe", "gp", "cma", "random", "grid")),
        "tpe",
        "Optuna's sampler of parameters: a tree-structured Parzen estimator, a Gaussian process, CMA-ES (numbers and a single "
        "objective; needs the package cmaes), independent draws, or all combinations of evenly spaced points",
    ),
    Option("points", Count(2), 5, "grid points along a range without a step"),
    Option(
        "pruner",
        Choice(("none", "seeds", "median", "hyperband")),
        "none",
        "which trials are stopped early: seeds judges by whole runs of the first seeds, as a race; Optuna's median and hyperband "
        "judge by early epochs, which favours early decays",
    ),
    Option("seed", Count(0), 0, "seed of the sampler"),
    Option("confirm", Count(0), 3, "runs of the best parameters after the search, with new seeds"),
    Option("framework", Choice(("torch", "tensorflow", "jax", "mxnet")), "torch", "framework to train in"),
    Option("storage", Python(), None, "where the search is stored: a SQLite file, or postgresql://USER@HOST/DATABASE"),
    Option("study", Text("NAME"), None, "the search's name in the storage; by default POLICY on TASK"),
)
RATES = (
    Option("low", Number(), 1e-5, "learning rate of the first update"),
    Option("high", Number(), 10.0, "learning rate of the last update"),
    Option("updates", Count(10), 200, "updates of a sweep; a sweep that diverges makes fewer"),
    Option("smoothing", Number(), 0.15, "standard deviation of the smoothing, in decades of the rate"),
    Option(
        "divergence",
        Number(above=1),
        4.0,
        "a sweep ends where its loss is not finite, or where a mean of the past losses is above so many times its lowest value, "
        "and above the first",
    ),
)
TABLES = {"GRID": GRID, "EXECUTION": EXECUTION, "SELECTION": SELECTION, "SEARCH": SEARCH, "RATES": RATES}
BY_NAME = {option.name: option for table in TABLES.values() for option in table}


def with_options(docstring: str) -> str:
    """A docstring with the options of a table in the place of `{options TABLE}`."""

    def lines(place: re.Match[str]) -> str:
        return "\n".join(f"{place[1]}{option.name}: {option.help}." for option in TABLES[place[2]])

    return _PLACE.sub(lines, docstring)


def documented(cls: type[Value]) -> type[Value]:
    """Put the options into the docstring of a class."""
    if cls.__doc__ is not None:
        cls.__doc__ = with_options(cls.__doc__)
    return cls
