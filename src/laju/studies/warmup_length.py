"""The length of a warmup: peak rates by warmup lengths, for SGD and Adam, in the task's own network and in deep plain networks.

A deep network whose initial weights are too large can only take small steps at first and larger steps later, as in a warmup;
the study looks at the sizes of its first updates and at freezing layers instead (Gotmare et al., arXiv 1810.13243).
For Adam the study tries the lengths that need no tuning (Ma & Yarats, arXiv 1910.04209) beside RAdam (Liu et al., arXiv
1908.03265).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from laju.core.pieces import Constant
from laju.core.schedule import Schedule
from laju.lab.comparison.compare import run_trials
from laju.lab.statistics import (
    ACCURACY,
    Estimate,
    Evidence,
    claim,
    counted,
    estimate,
    evidence,
    joint_difference,
    listed,
    settled,
)
from laju.lab.trials import Optimizer, Outcome, Trial
from laju.lab.trials.tasks import Task, get_task
from laju.lab.workers import Key
from laju.policies import constant, radam_warmup, untuned_linear, warmup
from laju.studies.base import Answer, Options, Table
from laju.studies.instrumented import run_instrumented
from laju.studies.plain_networks import Plain
from laju.view.plot import INK, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from laju.lab.engines.loop import Report

NAME, QUESTION = "warmup-length", "How long should a warmup be?"
LEARNED = 0.5
"""A trial trains when it finishes and its last training loss is below this share of the loss of guessing."""
BETA2 = 0.99
WATCHED = 50
"""First updates whose sizes are measured in every layer."""
FREEZING = {"upper half frozen": "upper", "lower half frozen": "lower"}


@dataclass(frozen=True)
class _Size:
    epochs: int
    seeds: int
    lengths: tuple[int, ...]  # of warmups, in epochs
    rates: Mapping[str, tuple[float, ...]]
    depth: int


_FULL = _Size(
    epochs=15,
    seeds=3,
    lengths=(0, 1, 4, 10),
    rates={
        "sgd": (0.1, 0.2, 0.4, 0.8),
        "deep": (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32),
        "he": (0.04, 0.08, 0.16, 0.32),
        "adam": (0.008, 0.016, 0.032, 0.064, 0.128),
    },
    depth=16,
)
_SMALL = _Size(
    epochs=4,
    seeds=2,
    lengths=(0, 1),
    rates={"sgd": (0.2, 6.4), "deep": (0.01, 0.04, 5.0), "he": (0.04, 5.0), "adam": (0.002,)},
    depth=16,
)

Make = Callable[[float], Schedule]


@dataclass(frozen=True)
class _Setting:
    """A grid: a network and an optimizer, with the ways to start by name."""

    key: str
    title: str
    task: Task
    optimizers: Mapping[str, Optimizer]
    ways: Mapping[str, Make]
    rates: tuple[float, ...]


Sizes = npt.NDArray[np.float64]
"""‖Δw‖/‖w‖ of the weights of every layer, (updates, layers), before the first loss that is not finite."""


def study(options: Options) -> Answer:
    """Train over peak rates and warmups, find the largest rate that trains with each, and look into a deep network.

    Raises:
        ValueError: an unknown task, or fewer epochs than the study's longest warmup has.
    """
    size = _SMALL if options.small else _FULL
    epochs = size.epochs if options.epochs is None else options.epochs
    seeds = range(size.seeds if options.seeds is None else options.seeds)
    lengths = tuple(length for length in size.lengths if length < epochs)
    if len(lengths) < 2:
        raise ValueError(
            f"epochs must be at least {size.lengths[1] + 1}, for a warmup of {size.lengths[1]}, got {epochs}"
        )
    task = get_task(options.task, options.data_dir)
    in_epoch = Trial(task, Constant(0.1), 0, epochs, task.batch_size).plan.updates_per_epoch
    settings = _settings(size, task, lengths, in_epoch)

    trials: dict[Key, Trial] = {}
    for setting in settings:
        for way, make in setting.ways.items():
            for rate in setting.rates:
                for seed in seeds:
                    optimizer = setting.optimizers.get(way, setting.optimizers[""])
                    name = _name(setting, way, rate)
                    trials[name, seed] = Trial(setting.task, make(rate), seed, epochs, task.batch_size, optimizer)
    outcomes = run_trials(trials, jobs=options.jobs, store=options.store, display=options.display)
    grids = [_Grid.of(setting, seeds, outcomes) for setting in settings]

    deep, grid = next((s, g) for s, g in zip(settings, grids, strict=True) if s.key == "deep")
    plain, *_, warmed = (
        way for way, length in zip(deep.ways, lengths, strict=True) if length <= lengths[0] or length <= 4
    )
    probe = _probe(grid, plain, warmed)
    frozen, sizes = _freeze(
        deep, lengths[list(deep.ways).index(warmed)] * in_epoch, trials, (plain, warmed), probe, options
    )
    freezing = _Grid.of(
        _Setting("freezing", deep.title, deep.task, deep.optimizers, dict.fromkeys(FREEZING, constant), deep.rates),
        seeds,
        frozen,
    )

    beta2 = {beta: round(2 / (1 - beta)) for beta in (BETA2, 0.999)}
    figures: dict[str, Any] = {
        "task": task.name,
        "epochs": epochs,
        "seeds": len(seeds),
        "updates_per_epoch": in_epoch,
        "updates": in_epoch * epochs,
        "untuned_linear_updates": {str(beta): n for beta, n in beta2.items()},
        "settings": {g.setting.key: g.to_json() for g in grids},
        "freezing": freezing.to_json()
        | {"updates": lengths[list(deep.ways).index(warmed)] * in_epoch, "warmup": warmed},
        "sizes": _sizes_json(sizes, probe),
    }
    return Answer(
        NAME,
        QUESTION,
        _verdict(grids),
        _text(grids, freezing, sizes, figures, plain, warmed, probe),
        tables={g.setting.title: g.table() for g in grids}
        | {f"Freezing layers for the {warmed} instead": _freezing_table(grid, freezing, plain, warmed)}
        | {f"First updates at rate {probe:g}, seed 0": _sizes_table(sizes)},
        pictures={"peak-and-warmup": _picture_grids(grids), "update-sizes": _picture_sizes(sizes, probe)},
        figures=figures,
    )


# --- the trials --------------------------------------------------------------------------------------------------------


def _settings(size: _Size, task: Task, lengths: Sequence[int], in_epoch: int) -> list[_Setting]:
    def linear(length: int) -> Make:
        return lambda rate: warmup(rate, length * in_epoch, first=True) if length else constant(rate)

    ways = {f"warmup of {n} epoch{'s' if n > 1 else ''}" if n else "no warmup": linear(n) for n in lengths}
    adam = Optimizer(kind="adam", betas=(0.9, BETA2))
    rules: dict[str, Make] = {
        **{way: make for i, (way, make) in enumerate(ways.items()) if i < 2},
        "untuned linear": lambda rate: untuned_linear(rate, BETA2),
        "radam_warmup": lambda rate: radam_warmup(rate, BETA2),
        "RAdam": constant,
    }
    large, he = Plain(task, size.depth, gain=4.0), Plain(task, size.depth, gain=2.0)
    sgd = {"": Optimizer()}
    with_radam = {"": adam, "RAdam": Optimizer(kind="radam", betas=(0.9, BETA2))}
    deep = f"{size.depth} plain layers"
    return [
        _Setting("sgd", "The task's own network, SGD", task, sgd, ways, size.rates["sgd"]),
        _Setting("deep", f"{deep}, initial weights too large, SGD", large, sgd, ways, size.rates["deep"]),
        _Setting("he", f"{deep}, He's initial weights, SGD", he, sgd, ways, size.rates["he"]),
        _Setting("adam", f"{deep}, He's initial weights, Adam", he, with_radam, rules, size.rates["adam"]),
    ]


def _name(setting: _Setting, way: str, rate: float) -> str:
    return f"{setting.key}: {way}, {rate:g}"


@dataclass(frozen=True)
class _Grid:
    """The results of a setting's trials: for each way and rate, by seed, whether the network trained and how well."""

    setting: _Setting
    seeds: Sequence[int]
    trained: Mapping[str, npt.NDArray[np.bool_]]  # by way, (rates, seeds)
    accuracy: Mapping[str, npt.NDArray[np.float64]]  # NaN for a trial that did not finish

    @classmethod
    def of(cls, setting: _Setting, seeds: Sequence[int], outcomes: Mapping[Key, Outcome]) -> _Grid:
        guess = setting.task.chance_loss
        trained, accuracy = {}, {}
        for way in setting.ways:
            found = [[outcomes[_name(setting, way, rate), seed] for seed in seeds] for rate in setting.rates]
            trained[way] = np.array([[trains(o, guess) for o in row] for row in found])
            accuracy[way] = np.array([[_accuracy(o) for o in row] for row in found])
        return cls(setting, seeds, trained, accuracy)

    def boundaries(self, way: str) -> list[float | None]:
        """By seed, the largest rate before the first that does not train."""
        return [boundary(self.setting.rates, self.trained[way][:, i]) for i in range(len(self.seeds))]

    def boundary(self, way: str) -> float | None:
        """The boundary over all seeds together: a rate trains when the rate trains with every seed."""
        return boundary(self.setting.rates, [bool(row.all()) for row in self.trained[way]])

    def best(self, way: str) -> int | None:
        """The number of the rate with the best mean test accuracy, among rates that train with every seed."""
        usable = self.trained[way].all(axis=1)
        if not usable.any():
            return None
        return int(np.where(usable, self.accuracy[way].mean(axis=1), -np.inf).argmax())

    def widening(self, way: str, reference: str) -> list[float] | None:
        """By seed, how many times as large the largest rate that trains is as the reference's; None where a seed has none."""
        pairs = list(zip(self.boundaries(way), self.boundaries(reference), strict=True))
        return None if any(a is None or b is None for a, b in pairs) else [a / b for a, b in pairs if a and b]

    def difference(self, way: str, reference: str) -> Estimate | None:
        """In test accuracy, each at its own best rate, paired over the seeds; intervals hold for all ways together."""
        a, b = self.best(way), self.best(reference)
        if a is None or b is None:
            return None
        pairs = list(self.accuracy[way][a]), list(self.accuracy[reference][b])
        others, resolution = len(self.setting.ways) - 1, self.setting.task.resolution
        return joint_difference(*pairs, others, resolution=resolution, bounds=ACCURACY)

    def change(self, way: str, reference: _Grid | None = None) -> Change:
        """The effect of a way on the largest rate that trains, beside the first way of this grid or of a reference grid."""
        grid = self if reference is None else reference
        first, *others = grid.setting.ways
        comparisons = len(others) if reference is None else len(self.setting.ways)
        return Change.of(self.setting.rates, self.boundaries(way), grid.boundaries(first), comparisons)

    def table(self) -> Table:
        reference = next(iter(self.setting.ways))
        rows = []
        for way in self.setting.ways:
            best = self.best(way)
            test = None
            if best is not None:
                test = estimate(self.accuracy[way][best], resolution=self.setting.task.resolution, bounds=ACCURACY)
            difference = None if way == reference else self.difference(way, reference)
            rows.append(
                [
                    way,
                    _rate(self.boundary(way)),
                    ", ".join(map(_rate, self.boundaries(way))),
                    "-" if best is None else f"{self.setting.rates[best]:g}",
                    "-" if test is None else test.text(),
                    "-" if difference is None else difference.text(signed=True),
                ]
            )
        headings = (
            "start", "largest rate that trains", "by seed", "best rate", "test accuracy there", f"against {reference}"
        )  # fmt: skip
        return Table(headings, rows)

    def to_json(self) -> dict[str, Any]:
        reference = next(iter(self.setting.ways))
        found: dict[str, Any] = {"title": self.setting.title, "rates": list(self.setting.rates), "ways": {}}
        for way in self.setting.ways:
            best, difference = self.best(way), None if way == reference else self.difference(way, reference)
            found["ways"][way] = {
                "trained": self.trained[way].sum(axis=1).tolist(),
                "test_accuracy": [[None if math.isnan(v) else v for v in row] for row in self.accuracy[way].tolist()],
                "largest_rate": self.boundary(way),
                "largest_rate_by_seed": self.boundaries(way),
                "widening_by_seed": None if way == reference else self.widening(way, reference),
                "steps": None if way == reference or (s := self.change(way).steps) is None else s.to_json(),
                "best_rate": None if best is None else self.setting.rates[best],
                "difference": None if difference is None else difference.to_json(),
            }
        return found


@dataclass(frozen=True)
class Change:
    """The effect of a start on the largest rate that trains, seed by seed.

    Attributes:
        ratios: by seed, how many times as large the rate is; infinite where nothing trains without. None where a seed trains at
            no rate either way, and there is nothing to compare.
        steps: the mean change in steps of the rates that were tried, with an interval that holds for all starts of a setting
            together. A rate is known no closer than a step, so the spread is at least a step; no rate that trains counts as a
            step below the smallest.
        comparisons: how many starts are looked at together.
    """

    ratios: tuple[float, ...] | None
    steps: Estimate | None = None
    comparisons: int = 1

    @classmethod
    def of(
        cls, rates: Sequence[float], ones: Sequence[float | None], others: Sequence[float | None], comparisons: int
    ) -> Change:
        if any(a is None and b is None for a, b in zip(ones, others, strict=True)):
            return cls(None)
        a, b = ([-1.0 if rate is None else float(rates.index(rate)) for rate in side] for side in (ones, others))
        ratios = tuple(math.inf if not y else (x or 0.0) / y for x, y in zip(ones, others, strict=True))
        return cls(ratios, joint_difference(a, b, comparisons, resolution=1.0), comparisons)

    @property
    def text(self) -> str:
        """The claim, and the seeds' ratios."""
        if self.ratios is None:
            return "cannot be compared for every seed, as nothing trains"
        if set(self.ratios) == {1.0}:
            return "is no change for any seed"
        shown = claim(
            self.steps,
            above="is shown to widen the range",
            below="is shown to narrow the range",
            otherwise="is not shown to change the range",
        )
        return f"{shown} ({self.by_seed})"

    @property
    def by_seed(self) -> str:
        """The seeds' ratios, such as `2 to 16 times: wider for 3 of 3 seeds, narrower for 0`."""
        ratios = self.ratios or (1.0,)
        low, high = min(ratios), max(ratios)
        far = f"{low:.2g} times" if low == high else f"{low:.2g} to {high:.2g} times"
        far = "from none that trains" if high == math.inf else far
        wider, narrower = sum(r > 1 for r in ratios), sum(r < 1 for r in ratios)
        return f"{far}: wider for {wider} of {counted(len(ratios), 'seed')}, narrower for {narrower}"


def trains(outcome: Outcome, chance_loss: float) -> bool:
    """Whether the run learned: the run finished, with a last training loss below `LEARNED` times the loss of guessing."""
    return outcome.status == "finished" and outcome.records[-1].train_loss < LEARNED * chance_loss


def boundary(rates: Sequence[float], trained: Sequence[bool] | npt.NDArray[np.bool_]) -> float | None:
    """The largest rate of the first unbroken series of rates that train, from the smallest up; None if no rate trains.

    >>> boundary([0.1, 0.2, 0.4, 0.8], [False, True, True, False])
    0.4
    >>> boundary([0.1, 0.2, 0.4], [True, False, True])
    0.1
    """
    found = None
    for rate, good in zip(rates, trained, strict=True):
        if good:
            found = rate
        elif found is not None:
            break
    return found


def _accuracy(outcome: Outcome) -> float:
    last = outcome.records[-1].test_accuracy if outcome.status == "finished" else None
    return math.nan if last is None else last


def _probe(grid: _Grid, plain: str, warmed: str) -> float:
    """The rate at which first updates are looked at: the largest that trains with the warmup, in every seed if possible."""
    least = grid.setting.rates[0]
    return grid.boundary(warmed) or min((b for b in grid.boundaries(warmed) if b is not None), default=least)


# --- the first updates -------------------------------------------------------------------------------------------------


def watch(
    trial: Trial, frozen: str | None = None, updates: int = 0, report: Report | None = None
) -> tuple[Outcome, list[list[float]]]:
    """Run a trial of a plain network; its outcome and, as lists, the `Sizes` of its first `WATCHED` updates.

    Args:
        trial: in torch, with SGD.
        frozen: "upper" or "lower" half of the layers, whose rate is 0 at first; None for neither.
        updates: for how many.
        report: called with every new record.
    """
    import torch

    from laju.frameworks.torch import Scheduler
    from laju.lab.engines.loop import Batch, run
    from laju.lab.engines.torch import Training, one_thread_and_own_randomness

    sizes: list[list[float]] = []

    class Watched(Training):
        def __init__(self, trial: Trial) -> None:
            super().__init__(trial)
            layers = [m for m in self.model.modules() if isinstance(m, torch.nn.Linear)]
            self.weights = [layer.weight for layer in layers]
            if frozen is not None:
                half, schedule = len(layers) // 2, trial.schedule.resolve(trial.plan)
                thawing = Constant(0.0, updates) >> schedule.shift(updates)
                halves = {"lower": layers[:half], "upper": layers[half:]}
                groups = [{"params": [p for m in ms for p in m.parameters()], "name": n} for n, ms in halves.items()]
                self.optimizer = torch.optim.SGD(groups, lr=0.0, momentum=trial.optimizer.momentum)
                self.scheduler = Scheduler(self.optimizer, lr={n: thawing if n == frozen else schedule for n in halves})

        def update(self, batch: Batch) -> None:
            if len(sizes) >= WATCHED:
                super().update(batch)
                return
            before = [w.detach().clone() for w in self.weights]
            super().update(batch)
            with torch.no_grad():
                sizes.append([float((w - b).norm() / b.norm()) for w, b in zip(self.weights, before, strict=True)])

    with one_thread_and_own_randomness():
        outcome = run(trial, Watched(trial), report)
    finite = np.isfinite(sizes).all(axis=1)
    return outcome, sizes if finite.all() else sizes[: int((~finite).argmax())]


def _freeze(
    deep: _Setting,
    updates: int,
    trials: Mapping[Key, Trial],
    ways: tuple[str, str],
    probe: float,
    options: Options,
) -> tuple[dict[Key, Outcome], dict[str, Sizes]]:
    """Outcomes with half of the layers frozen at first, as of a setting, and first updates at one rate for every way tried."""
    plain, _ = ways
    setting = _Setting("freezing", deep.title, deep.task, deep.optimizers, {}, deep.rates)
    work: dict[Key, tuple[Trial, str | None, int]] = {}
    for way in ways:
        work[way, 0] = trials[_name(deep, way, probe), 0], None, 0
    for rate in deep.rates:
        name = _name(deep, plain, rate)
        for seed in sorted(seed for key, seed in trials if key == name):
            for way, half in FREEZING.items():
                work[_name(setting, way, rate), seed] = trials[name, seed], half, updates
    recipe = f"study {NAME}, 1: {WATCHED} updates"
    found = run_instrumented(
        watch, work, recipe=recipe, jobs=options.jobs, display=options.display, store=options.store
    )
    assert isinstance(deep.task, Plain)
    keys = {way: (way, 0) for way in ways} | {way: (_name(setting, way, probe), 0) for way in FREEZING}
    sizes = {way: np.array(found[key][1]).reshape(-1, deep.task.depth) for way, key in keys.items()}
    return {key: outcome for key, (outcome, _) in found.items()}, sizes


# --- the answer --------------------------------------------------------------------------------------------------------


def _verdict(grids: Sequence[_Grid]) -> str:
    """The shown effects of warmups, or which warmup is ahead, in one sentence."""
    changes = {(grid.setting.title, way): grid.change(way) for grid in grids for way in list(grid.setting.ways)[1:]}
    shown: dict[str, list[str]] = {"widen": [], "narrow": []}
    for (title, way), change in changes.items():
        if (effect := claim(change.steps, above="widen", below="narrow", otherwise="")) and change.ratios is not None:
            times = f"{min(change.ratios):.2g} to {max(change.ratios):.2g} times"
            shown[effect].append(f"{way} ({title}; {times if max(change.ratios) < math.inf else 'from none'})")
    parts = [
        f"shown to {effect} the range of rates that train: {listed(ways)}" for effect, ways in shown.items() if ways
    ]
    if not parts:
        known = {key: change for key, change in changes.items() if change.steps is not None and change.steps.mean > 0}
        parts.append("no warmup is shown to change the range of rates that train")
        if known:
            (title, way), first = max(known.items(), key=lambda item: item[1].steps.mean if item[1].steps else 0.0)
            parts[0] += f": ahead is {way} ({title}; {first.by_seed})"
            assert first.steps is not None
            command = f"laju study {NAME} …"
            parts.append(settled(first.steps, command, 1.0, first.comparisons, "step of the rate", "a change"))
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _text(
    grids: Sequence[_Grid],
    freezing: _Grid,
    sizes: Mapping[str, Sizes],
    figures: Mapping[str, Any],
    plain: str,
    warmed: str,
    probe: float,
) -> str:
    by_key = {g.setting.key: g for g in grids}
    deep = by_key["deep"]
    n, epochs = figures["seeds"], figures["epochs"]
    step = max(b / a for g in grids for a, b in zip(g.setting.rates, g.setting.rates[1:], strict=False))
    parts = [
        f"Every trial takes {counted(epochs, 'epoch')} ({figures['updates']} updates) at a constant rate after a linear warmup, "
        f"with {counted(n, 'seed')}. A rate *trains* when the last training loss is below {LEARNED:g} of that of guessing. "
        f"Rates are tried in steps of up to {step:g} times, so no boundary is known more closely than that. "
        "Intervals hold together for all starts of a network and optimizer."
    ]
    for key in ("sgd", "deep", "he", "adam"):
        parts.append(_paragraph(by_key[key]))
    rule = figures["untuned_linear_updates"]
    parts.append(
        f"The rule 2/(1 - β₂) asks for {rule[str(BETA2)]} updates at the β₂ = {BETA2:g} used here, and for {rule['0.999']} at "
        f"Adam's default of 0.999, which is {rule['0.999'] / figures['updates']:.2g} times "
        f"{'this whole run' if rule['0.999'] >= figures['updates'] else 'the length of this run'}."
    )
    # Freezing, beside the warmup of the same length.
    frozen = {way: freezing.change(way, deep).text for way in FREEZING}
    parts.append(
        f"**Freezing instead.** With half of the deep network's layers frozen for the {figures['freezing']['updates']} updates "
        f"that the {warmed} takes, and the full rate from the start for the others: "
        + "; ".join(
            f"{way}, the largest rate that trains with every seed is {_rate(freezing.boundary(way))}, which {found} (no warmup: "
            f"{_rate(deep.boundary(plain))}, {warmed}: {_rate(deep.boundary(warmed))})"
            for way, found in frozen.items()
        )
        + "."
    )
    first = {way: s[0] for way, s in sizes.items() if len(s)}
    if plain in first and warmed in first:
        a, b = first[plain], first[warmed]
        i = int(a.argmax())
        largest = {way: float(s.max()) for way, s in sizes.items() if len(s)}
        parts.append(
            f"**First updates.** At rate {probe:g} (seed 0) the very first update changes the weights of layer {i + 1} by "
            f"{a[i]:.2g} of their norm without warmup, the largest change of all layers, and by {b[i]:.2g} with it. "
            f"Over the first {WATCHED} updates no layer changes by more than {largest[plain]:.2g} without "
            f"({_ended(sizes[plain])}) and {largest[warmed]:.2g} with."
        )
    return "\n\n".join(parts)


def _paragraph(grid: _Grid) -> str:
    reference, *others = grid.setting.ways
    found = {way: grid.change(way).text for way in others}
    top = grid.setting.rates[-1]
    largest = _rate(grid.boundary(reference))
    text = f"**{grid.setting.title}.** The largest rate that trains with every seed is {largest} with {reference}"
    text += "".join(f"; with {way} {_rate(grid.boundary(way))}, which {change}" for way, change in found.items()) + "."
    if any(grid.boundary(way) == top for way in grid.setting.ways):
        text += f" ({top:g} is the largest that was tried.)"
    differences = {way: d for way in others if (d := grid.difference(way, reference)) is not None}
    clear = [f"{way} ({d.text(signed=True)})" for way, d in differences.items() if evidence(d) is Evidence.SHOWN]
    if clear:
        text += f" In test accuracy, each at its own best rate, these are shown to differ from {reference}: {listed(clear)}."
    elif differences:
        text += f" In test accuracy, each at its own best rate, no start is shown to differ from {reference}."
    return text


def _rate(rate: float | None) -> str:
    return "none" if rate is None else f"{rate:g}"


def _ended(sizes: Sizes) -> str:
    return "all of them finite" if len(sizes) == WATCHED else f"of which {len(sizes)} were finite"


def _freezing_table(deep: _Grid, freezing: _Grid, plain: str, warmed: str) -> Table:
    rows = []
    for grid, way in ((deep, plain), (deep, warmed), *((freezing, way) for way in FREEZING)):
        counts = [f"{int(row.sum())}/{len(row)}" for row in grid.trained[way]]
        rows.append([way, *counts, _rate(grid.boundary(way))])
    return Table(("start", *(f"{rate:g}" for rate in deep.setting.rates), "largest rate that trains"), rows)


def _sizes_table(sizes: Mapping[str, Sizes]) -> Table:
    rows = []
    for way, s in sizes.items():
        if len(s):
            quiet = f"{s[0].min():.2g} to {s[0].max():.2g}"
            rows.append([way, quiet, f"{s.max():.2g}", int(s.max(axis=0).argmax()) + 1, _ended(s)])
        else:
            rows.append([way, "-", "-", "-", _ended(s)])
    return Table(("start", "first update, over layers", "largest", "in layer", f"of {WATCHED} updates"), rows)


def _sizes_json(sizes: Mapping[str, Sizes], probe: float) -> dict[str, Any]:
    return {"rate": probe, "seed": 0, "by_way": {way: s.tolist() for way, s in sizes.items()}}


# --- pictures ----------------------------------------------------------------------------------------------------------


def _picture_grids(grids: Sequence[_Grid]) -> Figure:
    """A panel for each setting: how many seeds train and how well, over peak rates and starts."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 2.1 * len(grids)), facecolor="white", layout="constrained")
    for ax, grid in zip(figure.subplots(len(grids), 1, squeeze=False)[:, 0], grids, strict=True):
        rates, ways = grid.setting.rates, list(grid.setting.ways)
        shares = np.array([grid.trained[way].mean(axis=1) for way in ways])
        ax.imshow(shares, cmap="Blues", vmin=0, vmax=1.6, aspect="auto")
        for y, way in enumerate(ways):
            for x in range(len(rates)):
                good = grid.trained[way][x]
                text = f"{grid.accuracy[way][x][good].mean():.3f}" if good.any() else "–"
                if 0 < good.sum() < len(good):
                    text += f"\n{int(good.sum())} of {len(good)}"
                ax.text(x, y, text, ha="center", va="center", color=INK, fontsize=8.5, linespacing=0.95)
            limit = grid.boundary(way)
            if limit is not None:
                end = rates.index(limit) + 0.5
                ax.plot([end, end], [y - 0.47, y + 0.47], color="#d55e00", linewidth=3, clip_on=False)
        ax.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
        ax.set_yticks(range(len(ways)), ways)
        tidy(ax)
        ax.grid(visible=False)
        ax.set_title(grid.setting.title, loc="left", color=INK, fontsize=11, fontweight="bold")
    ax.set_xlabel(
        "peak rate (test accuracy of the seeds that train; the bar ends the rates at which every seed does)", color=INK
    )
    return figure


def _picture_sizes(sizes: Mapping[str, Sizes], probe: float) -> Figure:
    """Layers by first updates, coloured by the relative size of the update."""
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 3.6), facecolor="white", layout="constrained")
    axes = figure.subplots(1, len(sizes), sharey=True, squeeze=False)[0]
    positive = np.concatenate([s[s > 0] for s in sizes.values()] or [np.array([1.0])])
    low, high = float(np.quantile(positive, 0.02)), min(float(positive.max()), 1.0)
    norm = LogNorm(min(low, high / 10), high)
    for ax, (way, s) in zip(axes, sizes.items(), strict=True):
        layers = s.shape[1] if s.ndim == 2 else 1
        shown = np.full((WATCHED, layers), np.nan)
        shown[: len(s)] = np.where(s > 0, s, np.nan)
        image = ax.imshow(
            shown.T, norm=norm, cmap="viridis", aspect="auto", origin="lower", extent=(0, WATCHED, 0.5, layers + 0.5)
        )
        tidy(ax)
        ax.grid(visible=False)
        ax.set_facecolor("#eef0f3")
        if len(s) < WATCHED:
            ax.text((len(s) + WATCHED) / 2, layers / 2, f"not finite\nafter {len(s)} updates", color=INK, ha="center")
        ax.set_title(way, loc="left", color=INK, fontsize=10.5, fontweight="bold")
        ax.set_xlabel("update", color=INK)
    axes[0].set_ylabel("layer", color=INK)
    bar = figure.colorbar(image, ax=list(axes), extend="max", pad=0.01)
    bar.set_label(f"‖Δw‖ / ‖w‖ at rate {probe:g} (grey: none)", color=INK)
    return figure
