"""The ledger, a record of the values that updates really used, and the audit of a ledger against a plan."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from laju.core.checks import number, shown, whole
from laju.core.schedule import Schedule

_HEADER = ("update", "parameter", "group", "value")


@dataclass(frozen=True)
class Entry:
    """The value of a hyper-parameter of a parameter group in an update."""

    update: int
    parameter: str
    group: int
    value: float


class ScalarWriter(Protocol):
    """TensorBoard's `SummaryWriter`, from torch, tensorboardX or any package with the same method."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> Any: ...


@dataclass
class Ledger:
    """Record of the values that updates really used, by hyper-parameter and parameter group, in the order of the updates.

    >>> ledger = Ledger()
    >>> ledger.record(0, lr=[0.1, 0.01])
    >>> ledger.record(1, lr=[0.05, 0.005])
    >>> ledger.values("lr", group=1)
    [0.01, 0.005]
    """

    entries: list[Entry] = field(default_factory=list)

    def record(self, update: int, **used: float | Sequence[float]) -> None:
        """Record the values of an update, counted from 0: for each hyper-parameter a number, or a number for each group."""
        update = whole("update", update)
        new = []
        for parameter, values in used.items():
            for group, value in enumerate(values if isinstance(values, Sequence) else [values]):
                new.append(Entry(update, parameter, group, float(value)))
        self.entries += new

    def values(self, parameter: str = "lr", group: int = 0) -> list[float]:
        """Return the values of a hyper-parameter of a group, in the order of the updates."""
        return [e.value for e in self.entries if e.parameter == parameter and e.group == group]

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @classmethod
    def of(cls, optimizer: Any, parameters: Sequence[str] = ("lr",), start: int = 0) -> Ledger:
        """Return a ledger that records every update of a torch optimizer: the values in its groups when the update begins.

        Args:
            optimizer: a torch optimizer.
            parameters: hyper-parameters to record, by default only "lr"; of a pair such as `betas` the first value is recorded.
            start: number of completed updates of a resumed run.

        Raises:
            ValueError: if the optimizer lacks one of the hyper-parameters.
        """
        from laju.frameworks.torch import optimizer_hooks

        for parameter in parameters:
            if parameter not in optimizer.param_groups[0]:
                raise ValueError(f"{type(optimizer).__name__} has no hyper-parameter {parameter!r}")
        ledger, update = cls(), whole("start", start)
        found: dict[str, list[float]] = {}

        def before(optimizer: Any, args: Any, kwargs: Any) -> None:
            for parameter in parameters:
                values = [group[parameter] for group in optimizer.param_groups]
                found[parameter] = [float(v[0] if isinstance(v, tuple | list) else v) for v in values]

        def after(optimizer: Any, args: Any, kwargs: Any) -> None:
            nonlocal update
            # For optimizers that scale gradients themselves (fused ones), torch's GradScaler calls `step` also after an
            # overflow: the weights stay, and it is no update.
            if (skipped := getattr(optimizer, "found_inf", None)) is not None and bool(skipped):
                return
            ledger.record(update, **found)
            update += 1

        optimizer_hooks(optimizer, before, after)
        return ledger

    def write_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write a line for each entry (update, parameter, group, value with all digits), and return the path."""
        target = Path(path)
        # Written beside the file and then put in its place, so that nobody reads half a file.
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            with part.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(_HEADER)
                writer.writerows((e.update, e.parameter, e.group, repr(e.value)) for e in self.entries)
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
        return target

    @classmethod
    def read_csv(cls, path: str | os.PathLike[str]) -> Ledger:
        """Read a ledger from a file written by `write_csv`.

        Raises:
            ValueError: if the header differs or a line is not an entry; the message names the file and the line.
        """
        with Path(path).open(newline="", encoding="utf-8") as file:
            rows = csv.reader(file)
            header = tuple(next(rows, ()))
            if header != _HEADER:
                raise ValueError(f"{path} must begin with the line {','.join(_HEADER)}, got {shown(','.join(header))}")
            entries = []
            for row in rows:
                try:
                    update, parameter, group, value = row
                    entries.append(Entry(int(update), parameter, int(group), float(value)))
                except ValueError:
                    raise ValueError(f"{path}, line {rows.line_num}: {shown(row)} is not an entry") from None
        return cls(entries)

    def write_tensorboard(self, writer: ScalarWriter, prefix: str = "laju") -> None:
        """Write each hyper-parameter and group as a scalar, such as `laju/lr/0`, to a TensorBoard writer."""
        for e in self.entries:
            writer.add_scalar(f"{prefix}/{e.parameter}/{e.group}", e.value, e.update)


@dataclass(frozen=True)
class Audit:
    """Result of an audit: `first` is the first entry that differs from the plan, and `planned` the planned value."""

    checked: int
    first: Entry | None = None
    planned: float | None = None
    missing: int | None = None

    @property
    def passed(self) -> bool:
        return self.first is None and self.missing is None

    def __str__(self) -> str:
        if self.first is not None:
            e = self.first
            return (
                f"update {e.update} used {e.parameter}={e.value!r} in group {e.group}; the plan says {self.planned!r}"
            )
        if self.missing is not None:
            return f"update {self.missing} is not in the ledger"
        return f"{self.checked} values are those of the plan"


def audit(
    plan: Schedule | Mapping[str, Schedule],
    ledger: Ledger,
    *,
    bases: Sequence[float] | None = None,
    tolerance: float = 0.0,
) -> Audit:
    """Compare the values that updates used with a plan, and return the first difference as an `Audit`.

    Args:
        plan: a schedule of "lr", or schedules by hyper-parameter.
        ledger: the used values.
        bases: base learning rate of each group, if the learning rate's schedule is a factor; None for absolute values.
        tolerance: largest accepted relative difference, 0 by default; use 1e-6 if the framework computes in float32.

    Raises:
        ValueError: if the ledger has no hyper-parameter of the plan.

    >>> import laju
    >>> ledger = Ledger()
    >>> for t, rate in enumerate([1.0, 0.75, 0.6]):
    ...     ledger.record(t, lr=rate)
    >>> print(audit(laju.linear(1, 0, total=4), ledger))
    update 2 used lr=0.6 in group 0; the plan says 0.5
    """
    tolerance = number("tolerance", tolerance, least=0)
    plans = {"lr": plan} if isinstance(plan, Schedule) else dict(plan)
    entries = sorted((e for e in ledger if e.parameter in plans), key=lambda e: (e.update, e.parameter, e.group))
    if not entries:
        raise ValueError(f"the ledger has no values of {', '.join(plans)}, so there is nothing to audit")
    expected = entries[0].update
    for e in entries:
        if e.update > expected + 1:
            return Audit(len(entries), missing=expected + 1)
        expected = e.update
        planned: float = plans[e.parameter](e.update)
        if bases is not None and e.parameter == "lr":
            planned *= bases[e.group]
        if not abs(e.value - planned) <= tolerance * abs(planned):
            return Audit(len(entries), e, planned)
    return Audit(len(entries))
