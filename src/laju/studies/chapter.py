"""The schedules of "Learning Rate Scheduling" in *Dive into Deep Learning*, and its figures beside one's own.

Each schedule is read in epochs as the chapter does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from laju.core.pieces import Constant
from laju.core.schedule import Schedule
from laju.policies import constant, cosine, factor, multi_factor, square_root

if TYPE_CHECKING:
    from laju.lab.comparison import Comparison, Row
    from laju.lab.statistics import Estimate

TASK, IMAGES, EPOCHS, BATCH = "fashion-mnist", 60_000, 30, 256
"""What the published figures are of."""


@dataclass(frozen=True)
class Figures:
    """How a run ended: mean cross-entropy in nats, and shares between 0 and 1."""

    train_loss: float
    train_accuracy: float
    test_accuracy: float


PUBLISHED = {
    "constant": Figures(0.147, 0.944, 0.888),
    "square root": Figures(0.271, 0.902, 0.877),
    "multi-factor": Figures(0.195, 0.926, 0.884),
    "cosine": Figures(0.192, 0.930, 0.901),
}
"""What the chapter prints for its PyTorch runs on Fashion-MNIST, one run each, to three decimals."""


def schedules() -> dict[str, Schedule]:
    """The chapter's set, by name; value(e) is in force during epoch e.

    The chapter only plots its factor schedule, from 2.0, which no network here survives; the set trains it from 0.3.

    >>> list(schedules())
    ['constant', 'square root', 'factor', 'multi-factor', 'cosine', 'cosine with warmup']
    """
    return {name: schedule.per("epoch") for name, schedule in _schedules().items()}


def as_published() -> dict[str, Schedule]:
    """The chapter's set with the rates that its PyTorch loop really used, which are not those of its plots.

    - The loop calls a function of the epoch when the epoch is over: epoch 0 is trained at the optimizer's own rate b, and
      epoch e > 0 at s(e - 1).
    - The multi-factor schedule is one of torch's. It was stepped 30 times for its plot, so all of the training that follows runs
      at 0.5 · 0.5² = 0.125.
    - The factor schedule multiplies before it returns, so that loop would use 0.3 · 0.9^e: no other rates than `schedules`'s.

    >>> as_published()["cosine with warmup"].child.values(4).round(3)
    array([0.3 , 0.  , 0.06, 0.12])
    """
    schedules = _schedules()
    for name, base in {"square root": 0.1, "cosine": 0.3, "cosine with warmup": 0.3}.items():
        schedules[name] = Constant(base, 1) >> schedules[name]
    schedules["multi-factor"] = constant(0.125)
    return {name: schedule.per("epoch") for name, schedule in schedules.items()}


@dataclass(frozen=True)
class Beside:
    """One schedule of the chapter, what came out here, and what was published.

    Attributes:
        name, framework: of the schedule, and where it was trained.
        row: what came out.
        published: None where the chapter trained no such schedule, or gives no figures.
        differ: the figures, by name, in which the published run lies outside; None where it cannot be told.
        why: the reason where it cannot be told, else empty.
        same_rates: whether the published run was trained at these rates.
    """

    name: str
    framework: str
    row: Row
    published: Figures | None
    differ: tuple[str, ...] | None
    why: str
    same_rates: bool

    @property
    def verdict(self) -> str:
        """`agrees`, what it differs in, or why that cannot be told."""
        if self.differ is None:
            return self.why
        named = " and ".join(figure.replace("_", " ") for figure in self.differ)
        return f"differs in {named}" if named else "agrees"


def beside_published(comparison: Comparison) -> list[Beside]:
    """The chapter's published figures beside a comparison of its schedules.

    A published figure is of one run, so it agrees when it lies in the interval in which one more run of ours would lie: with n
    seeds of mean m and sample deviation s, m ± t·s·√(1 + 1/n), t being Student's quantile for 95 % and n - 1 degrees of freedom,
    and ± 0.0005, since it was rounded. Only the full Fashion-MNIST at 30 epochs and batch size 256 is compared.

    Args:
        comparison: of schedules named as in `schedules`; others are left out.
    """
    used, elsewhere = as_published(), _elsewhere(comparison)
    found = []
    for row in comparison.summary():
        schedule = comparison.schedules[row.name]
        name = row.name.removesuffix(f" ({row.framework})")
        if name not in used:
            continue
        published = PUBLISHED.get(name)
        differ: tuple[str, ...] | None = None
        why = elsewhere
        if published is None:
            why = "none published"
        elif not why:
            estimates = {figure: getattr(row, figure) for figure in vars(published)}
            if row.finished < row.trials:
                why = f"not all runs finished: {row.note}"
            elif any(e is None or e.half_width is None for e in estimates.values()):
                why = "one seed gives no interval"
            else:
                differ = tuple(f for f, value in vars(published).items() if not _holds(estimates[f], value))
        found.append(Beside(name, row.framework, row, published, differ, why, schedule == used[name]))
    return found


def _schedules() -> dict[str, Schedule]:
    return {
        "constant": constant(0.3),
        "square root": square_root(0.1),
        "factor": factor(0.3, 0.9, floor=0.01),
        "multi-factor": multi_factor(0.5, milestones=[15, 30], factor=0.5),
        "cosine": cosine(0.3, total=20, final=0.01),
        "cosine with warmup": cosine(0.3, total=20, final=0.01, warmup=5),
    }


def _elsewhere(comparison: Comparison) -> str:
    """What of the run is not the chapter's; empty when nothing is."""
    plan = comparison.plan
    if comparison.task != TASK:
        return f"not comparable: {comparison.task} is other data"
    if plan.samples != IMAGES:
        return f"not comparable: {plan.samples:,} images, not {IMAGES:,}"
    if plan.epochs != EPOCHS:
        return f"not comparable: {plan.epochs} epochs, not {EPOCHS}"
    if plan.batch_size != BATCH:
        return f"not comparable: batch size {plan.batch_size}, not {BATCH}"
    if str(comparison.optimizer) != "sgd()":
        return f"not comparable: {comparison.optimizer}, not plain SGD"
    return ""


def _holds(estimate: Estimate, published: float) -> bool:
    """Whether one more run could have given the published figure."""
    assert estimate.half_width is not None
    half = estimate.half_width * math.sqrt(estimate.n + 1)  # half_width has t·s/√n
    return abs(estimate.mean - published) <= half + 0.0005
