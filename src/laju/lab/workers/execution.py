"""How trials run: how many at once, on which machines and devices, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from laju.lab.trials.numerics import Device, Numerics, Precision
from laju.lab.workers.executors import Executor, cores
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
        TypeError: a value of another type.

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

    @property
    def numerics(self) -> Numerics:
        """The device and the arithmetic of each trial."""
        return Numerics(self.device, self.precision, self.channels_last)

    @property
    def slots(self) -> int:
        """Jobs at once on this machine."""
        if self.jobs is not None:
            return self.jobs
        return 1 if self.device == "cuda" else cores()  # a stack fills a GPU

    def cluster(self) -> Callable[[], Executor] | None:
        """The function that makes the executor on the cluster; None for this machine.

        Raises:
            ModuleNotFoundError: the cluster's package is not installed.
        """
        if self.on is None:
            return None
        from laju.lab.workers.clusters import cluster

        return cluster(self.on, 1 if self.jobs is None and self.device == "cuda" else self.jobs)

    def check(self) -> None:
        """Find out whether this machine can train so.

        Raises:
            DeviceError: there is no GPU that torch can use, or the GPU lacks the precision.
            ModuleNotFoundError: the cluster's package is not installed.
        """
        if self.cluster() is None:
            self.numerics.check()
