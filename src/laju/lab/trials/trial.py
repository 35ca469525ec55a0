"""A trial: a training run as a value, and the outcome of the run.

Two trials with the same fingerprint are the same experiment, so a finished trial never needs to run again.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

from laju.adaptive import Controller, Rule
from laju.averaging import Average
from laju.core.checks import is_number, nearest, number, shown, whole
from laju.core.schedule import Schedule
from laju.core.units import RunPlan
from laju.lab.trials.numerics import Numerics
from laju.lab.trials.tasks import Task

Status = Literal["finished", "diverged", "collapsed"]
Framework = Literal["torch", "tensorflow", "jax", "mxnet"]
FRAMEWORKS: tuple[Framework, ...] = get_args(Framework)
Kind = Literal["sgd", "adam", "radam", "schedule-free", "prodigy"]
KINDS: tuple[Kind, ...] = get_args(Kind)
OF_PACKAGES = {"schedule-free": "schedulefree", "prodigy": "prodigyopt"}
"""Kinds that a package of their authors holds, with the package."""

RECIPE = 2
"""Part of every trial's fingerprint: increased when a change of the training code changes results."""


@dataclass(frozen=True)
class Optimizer:
    """The optimizer that turns gradients into updates, without its learning rate, which the schedule sets; SGD by default.

    Args:
        momentum: μ of SGD, in [0, 1); for Schedule-Free its β, above 0 and .9 by default.
        weight_decay: λ, added to the gradient as λ·w.
        kind: "sgd"; "adam" (Kingma & Ba, arXiv 1412.6980) or "radam" (Liu et al., arXiv 1908.03265), in torch only; or, from
            their own packages, "schedule-free" (SGD of Defazio et al., arXiv 2405.15682, which needs a constant rate) and
            "prodigy" (Mishchenko & Defazio, arXiv 2306.06101, which estimates the rate; the schedule is a factor, usually
            starting at 1).
        betas: β₁ and β₂ of Adam, RAdam and Prodigy, each in [0, 1).

    Raises:
        ValueError: a value outside of its range, or an argument that does not apply to the kind.

    >>> str(Optimizer(momentum=0.9)), str(Optimizer(kind="adam", betas=(0.9, 0.99)))
    ('sgd(momentum=0.9)', 'adam(betas=(0.9, 0.99))')
    """

    momentum: float = 0.0
    weight_decay: float = 0.0
    kind: Kind = "sgd"
    betas: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(
                f"kind must be one of {', '.join(KINDS)}, got {shown(self.kind)}{nearest(str(self.kind), KINDS)}"
            )
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {self.momentum!r}")
        if not 0 <= self.weight_decay < float("inf"):
            raise ValueError(f"weight_decay must be a finite number that is not negative, got {self.weight_decay!r}")
        if self.kind in ("sgd", "schedule-free"):
            if self.betas is not None:
                raise ValueError(f"betas are of kind 'adam' or 'radam', and this is {self.kind!r}; got {self.betas!r}")
            if self.kind == "schedule-free" and not self.momentum:
                object.__setattr__(self, "momentum", 0.9)
            return
        if self.momentum:
            raise ValueError(f"momentum is of kind 'sgd', and {self.kind!r} has betas; got {self.momentum!r}")
        betas = (0.9, 0.999) if self.betas is None else tuple(map(float, self.betas))
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas must be two numbers in [0, 1), got {self.betas!r}")
        object.__setattr__(self, "betas", betas)

    @classmethod
    def of(cls, optimizer: Optimizer | None) -> Optimizer:
        """The optimizer itself, or plain SGD.

        Raises:
            TypeError: an optimizer of another type.
        """
        if optimizer is not None and not isinstance(optimizer, cls):
            raise TypeError(f"optimizer must be an Optimizer, got {shown(optimizer)}")
        return optimizer or cls()

    def __str__(self) -> str:
        options = [f"{name}={value!r}" for name, value in vars(self).items() if value and name != "kind"]
        return f"{self.kind}({', '.join(options)})"


@dataclass(frozen=True)
class Trial:
    """A run: a task trained with a schedule, an optimizer and a seed, for a number of epochs, in a framework.

    With a `rule` such as `laju.adaptive.Plateau`, the rate is the schedule times the rule's factor. The rule observes the loss on
    the task's validation part (see `HeldOut`) at the end of every epoch; only torch's engine supports rules.

    With an `average` such as `laju.averaging.EMA(0.999)` the test figures are those of the averaged weights from the average's
    first checkpoint on; the updates stay the same. Batch statistics of averaged weights are recomputed. Only torch's engine
    supports averages.

    With `numerics` different from float32 on the CPU the trial is trained by `laju.lab.engines.stack`, and is a different trial.
    """

    task: Task
    schedule: Schedule
    seed: int
    epochs: int
    batch_size: int
    optimizer: Optimizer = field(default_factory=Optimizer)
    framework: Framework = "torch"
    rule: Rule[Any] | None = None
    numerics: Numerics = field(default_factory=Numerics)
    average: Average | None = None

    def __post_init__(self) -> None:
        if self.average is not None:
            if not isinstance(self.average, Average):
                raise TypeError(f"average must be an Average such as EMA(0.999), got {shown(self.average)}")
            for name, value, wanted in (
                ("framework", self.framework, "torch"),
                ("rule", self.rule, None),
                ("numerics", self.numerics, Numerics()),
                ("task.engine", self.task.engine, "torch"),
            ):
                if value != wanted:
                    raise ValueError(f"average {self.average} needs {name}={wanted!s}, got {shown(value)}")
            self.average.resolve(self.plan).begins(self.plan.updates)
        if self.rule is not None and self.framework != "torch":
            raise ValueError(f"a trial with a rule must be trained in torch, got framework={self.framework!r}")
        if self.optimizer.kind != "sgd" and self.framework != "torch":
            raise ValueError(f"optimizer {self.optimizer} is in torch alone, and {self.framework!r} has sgd")
        if self.optimizer.kind in OF_PACKAGES and (self.task.engine != "torch" or self.numerics != Numerics()):
            raise ValueError(
                f"optimizer {self.optimizer} is in torch alone, in float32 on the CPU with all data in memory, got "
                f"task.engine={self.task.engine!r} and numerics {self.numerics}"
            )
        if not isinstance(self.numerics, Numerics):
            raise TypeError(f"numerics must be a Numerics such as Numerics('cuda'), got {shown(self.numerics)}")
        if self.numerics != Numerics():
            for name, value, wanted in (
                ("framework", self.framework, "torch"),
                ("rule", self.rule, None),
                ("task.engine", self.task.engine, "torch"),
            ):
                if value != wanted:
                    raise ValueError(f"numerics {self.numerics} needs {name}={wanted!r}, got {shown(value)}")
            if type(self.task).batches is not Task.batches:  # a stack's batches are all full but the last
                raise ValueError(
                    f"numerics {self.numerics} need a task without batches of its own, got {shown(self.task)}"
                )

    @property
    def plan(self) -> RunPlan:
        return RunPlan(samples=self.task.train_size, batch_size=self.batch_size, epochs=self.epochs)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything that determines the outcome; trials with the same hash give the same outcome."""
        return _hash({**self._run(), "schedule": self.schedule.fingerprint, "epochs": self.epochs})

    @property
    def family(self) -> str:
        """Hash of all but schedule and length: two trials of a family are the same training run while their rates agree."""
        return _hash(self._run())

    @property
    def shares_prefixes(self) -> bool:
        """Whether the trial can run in parts: in torch, data in memory, in float32 on the CPU, with no rule and no average."""
        own = self.framework == "torch" and self.task.engine == "torch" and self.numerics == Numerics()
        return own and self.rule is None and self.average is None

    def _run(self) -> dict[str, Any]:
        content = {
            "recipe": RECIPE,
            "task": self.task.fingerprint,
            "optimizer": str(self.optimizer),
            "seed": self.seed,
            "batch_size": self.batch_size,
        }
        if self.framework != "torch":  # trials of earlier stores had torch alone
            content["framework"] = self.framework
        if self.rule is not None:
            content["rule"] = self.rule.to_json()
        if self.numerics != Numerics():
            content["numerics"] = vars(self.numerics)
        if self.average is not None:
            content["average"] = str(self.average)
        return content

    def recorded(self, outcome: Outcome) -> Schedule:
        """The run's learning rates as a plain schedule, value by value: with a rule, the schedule times the rule's factors."""
        if self.rule is None:
            return self.schedule
        controller = Controller(self.rule)
        for update, loss in outcome.observed:
            controller.observe(loss, at=update)
        return controller.recorded(self.schedule.resolve(self.plan))


def _hash(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Record:
    """The figures after `update` completed updates; train figures are running means over the current epoch.

    `train_accuracy` is NaN if a user's program does not report an accuracy. `test_loss` and `test_accuracy` are figures
    of the weights at the end of an epoch, over all test examples; None within an epoch. `test_loss` is None, too, if no test
    loss was recorded: in programs that do not report a test loss, and in trials that an earlier version of laju stored.
    """

    update: int
    epoch: float
    rate: float
    train_loss: float
    train_accuracy: float
    test_accuracy: float | None = None
    test_loss: float | None = None

    @property
    def diverged(self) -> bool:
        """Whether a loss is NaN or infinite."""
        return not (math.isfinite(self.train_loss) and (self.test_loss is None or math.isfinite(self.test_loss)))

    def check(self, *, optional: bool = False) -> None:
        """Refuse impossible figures, which would otherwise enter means.

        Args:
            optional: accept NaN as an accuracy in training that was not reported.

        Raises:
            ValueError: a loss, rate or epoch that is not finite, or an accuracy outside [0, 1], NaN included.
            TypeError: a figure that is no number.
        """
        whole("update", self.update, least=1)
        number("epoch", self.epoch, least=0)
        number("rate", self.rate)
        number("train_loss", self.train_loss)
        if self.test_loss is not None:
            number("test_loss", self.test_loss)
        if self.test_accuracy is not None:
            _check_share("test_accuracy", self.test_accuracy)
        if not (optional and isinstance(self.train_accuracy, float) and math.isnan(self.train_accuracy)):
            _check_share("train_accuracy", self.train_accuracy)


def _check_share(name: str, value: Any) -> None:
    """Refuse all but a number in [0, 1]."""
    if not is_number(value):
        raise TypeError(f"{name} must be a number in [0, 1], got {shown(value)}")
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie in [0, 1] (a percentage divided by 100), got {shown(value)}")


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    `diverged`: the loss became NaN or infinite, first in update `diverged_at` (counted from 0); training stopped.
    `collapsed`: at the end the training loss was still, or again, that of guessing.
    `observed`: for a trial with a rule, the pairs (completed updates, validation loss) that the rule observed.
    """

    status: Status
    records: tuple[Record, ...]
    seconds: float
    diverged_at: int | None = None
    observed: tuple[tuple[int, float], ...] = ()
