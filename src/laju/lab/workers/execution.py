"""How trials run: how many at once, on which machines and devices, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from laju.core.checks import shown
from laju.lab.trials.numerics import Device, Numerics, Precision
from laju.lab.workers.executors import Executor, InProcess, Processes, cores
from laju.lab.workers.interrupts import Interrupts
from laju.options import EXECUTION, documented


@documented
@dataclass(frozen=True)
class Execution:
    """How trials run.

    Args:
        {options EXECUTION}

    Raises:
        ValueError: a value outside of its range, an unknown device, precision or cluster, or a stack of images with their
            channels last.
        TypeError: a value of a wrong type.

    >>> Execution(jobs=2, time_limit=600).slots
    2
    """

    jobs: int | None = None
    on: str | None = None
    device: Device = "cpu"
    precision: Precision = "float32"
    channels_last: bool = False
    stack: int | None = None
    time_limit: float | None = None
    share_prefixes: bool = True

    def __post_init__(self) -> None:
        for option in EXECUTION:
            object.__setattr__(self, option.name, option.read(getattr(self, option.name)))
        if self.channels_last and self.stack is not None and self.stack > 1:
            raise ValueError(
                f"stack must be 1 with channels_last, since such trials are trained one by one, got {self.stack!r}"
            )
        if self.on is not None:
            from laju.lab.workers.clusters import Address

            Address.parse(self.on)

    @classmethod
    def of(cls, execution: Execution | None, jobs: int | None) -> Execution:
        """The execution itself, or an execution with the given number of jobs.

        Raises:
            ValueError: an execution is given together with `jobs`.
            TypeError: a value that is not an `Execution`.
        """
        if execution is None:
            return cls(jobs=jobs)
        if not isinstance(execution, cls):
            raise TypeError(f"execution must be an Execution, got {shown(execution)}")
        if jobs is not None:
            raise ValueError(
                f"jobs={shown(jobs)} and an Execution with jobs={execution.jobs!r} are both given; keep one"
            )
        return execution

    def refuse(self, *names: str, why: str) -> None:
        """Refuse options that were set but do not apply to a kind of training.

        Raises:
            ValueError: an option of `names` differs from its default; the message has the reason.
        """
        for option in fields(self):
            if option.name in names and (value := getattr(self, option.name)) != option.default:
                raise ValueError(f"{option.name}={shown(value)} does not go with this: {why}")

    @property
    def numerics(self) -> Numerics:
        """The device and the arithmetic of each trial."""
        return Numerics(self.device, self.precision, self.channels_last)

    @property
    def slots(self) -> int:
        """The number of jobs at once on this machine."""
        if self.jobs is not None:
            return self.jobs
        return 1 if self.device == "cuda" else cores()  # a stack fills a GPU

    def cluster(self) -> Callable[[], Executor] | None:
        """The function that creates the executor on the cluster; None for this machine.

        Raises:
            ModuleNotFoundError: the cluster's package is not installed.
        """
        if self.on is None:
            return None
        from laju.lab.workers.clusters import cluster

        return cluster(self.on, 1 if self.jobs is None and self.device == "cuda" else self.jobs)

    def place(self, folder: Path, interrupts: Interrupts, most: int) -> Executor:
        """The executor for at most `most` jobs at once: on the cluster, in worker processes or in this process.

        Args:
            folder: for messages between this process and its workers.
            interrupts: held while workers are started.
            most: the most jobs at once on this machine.

        Raises:
            ModuleNotFoundError: the cluster's package is not installed.
            ConnectionError: the cluster does not answer.
        """
        if (cluster := self.cluster()) is not None:
            return cluster()
        jobs = min(self.slots, most)
        # A job in this process cannot be given up.
        return InProcess() if jobs <= 1 and self.time_limit is None else Processes(max(jobs, 1), folder, interrupts)

    def check(self) -> None:
        """Check that this machine can train in this way.

        Raises:
            DeviceError: there is no GPU that torch can use, or the GPU lacks the precision.
            ModuleNotFoundError: the cluster's package is not installed.
        """
        if self.cluster() is None:
            self.numerics.check()
