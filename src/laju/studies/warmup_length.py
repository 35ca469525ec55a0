"""The length of a warmup: peak rates by warmup lengths, for SGD and Adam, in the task's own network and in deep plain networks.

A deep network whose initial weights are too large can take only small steps at first and larger steps later, as in a warmup;
the study measures the sizes of its first updates, and tries freezing layers instead (Gotmare et al., arXiv 1810.13243).
For Adam the study tries the warmup lengths that need no tuning (Ma & Yarats, arXiv 1910.04209) and RAdam (Liu et al., arXiv
1908.03265).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from laju.core.pieces import Constant
from laju.lab.comparison.compare import run_trials
from laju.lab.statistics import claim, counted, listed, settled
from laju.lab.trials import Optimizer, Outcome, Trial
from laju.lab.trials.tasks import Task, get_task
from laju.lab.workers import Key
from laju.policies import constant, radam_warmup, untuned_linear, warmup
from laju.studies.base import Answer, Options, Table
from laju.studies.first_updates import WATCHED, Sizes, ended, picture_sizes, sizes_table, watch
from laju.studies.instrumented import for_instruments, run_instrumented
from laju.studies.pictures import panels
from laju.studies.plain_networks import Plain
from laju.studies.ranking import by_claim, sentence, with_values
from laju.studies.trained_rates import LEARNED, Make, Setting, TrainedRates, rate_text, trial_name
from laju.view.plot import INK, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


NAME = "warmup-length"
BETA2 = 0.99
FREEZING = {"upper half frozen": "upper", "lower half frozen": "lower"}


@dataclass(frozen=True)
class _Size:
    lengths: tuple[int, ...]  # of warmups, in epochs
    rates: Mapping[str, tuple[float, ...]]
    depth: int


_FULL = _Size(
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
    lengths=(0, 1),
    rates={"sgd": (0.2, 6.4), "deep": (0.01, 0.04, 5.0), "he": (0.04, 5.0), "adam": (0.002,)},
    depth=16,
)


def study(options: Options) -> Answer:
    """Train with a grid of peak rates and warmups, find the largest rate that trains with each, and examine a deep network.

    Raises:
        ValueError: an unknown task, or fewer epochs than the study's longest warmup has.
    """
    for_instruments(options.running["execution"])  # now, not after the first trainings
    size = _SMALL if options.small else _FULL
    epochs, seeds = options.size(small=(4, 2), full=(15, 3))
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
                    name = trial_name(setting, way, rate)
                    trials[name, seed] = Trial(setting.task, make(rate), seed, epochs, task.batch_size, optimizer)
    outcomes = run_trials(trials, **options.running)
    grids = [TrainedRates.of(setting, seeds, outcomes) for setting in settings]

    deep, grid = next((s, g) for s, g in zip(settings, grids, strict=True) if s.key == "deep")
    plain, *_, warmed = (
        way for way, length in zip(deep.ways, lengths, strict=True) if length <= lengths[0] or length <= 4
    )
    probe = _probe(grid, plain, warmed)
    warmup_updates = lengths[list(deep.ways).index(warmed)] * in_epoch
    setting = replace(deep, key="freezing", ways=dict.fromkeys(FREEZING, constant))
    frozen, sizes = _freeze(deep, setting, warmup_updates, trials, (plain, warmed), probe, options)
    freezing = TrainedRates.of(setting, seeds, frozen)

    figures: dict[str, Any] = {
        "task": task.name,
        "epochs": epochs,
        "seeds": len(seeds),
        "updates_per_epoch": in_epoch,
        "updates": in_epoch * epochs,
        "untuned_linear_updates": {str(beta): round(2 / (1 - beta)) for beta in (BETA2, 0.999)},
        "settings": {g.setting.key: g for g in grids},
        "freezing": freezing.to_json() | {"updates": warmup_updates, "warmup": warmed},
        "sizes": {"rate": probe, "seed": 0, "by_way": {way: s.tolist() for way, s in sizes.items()}},
    }
    return Answer(
        NAME,
        _verdict(grids),
        _text(grids, freezing, sizes, figures, plain, warmed, probe),
        tables={g.setting.title: g.table() for g in grids}
        | {f"Freezing layers for the {warmed} instead": _freezing_table(grid, freezing, plain, warmed)}
        | {f"First updates at rate {probe:g}, seed 0": sizes_table(sizes)},
        pictures={"peak-and-warmup": _picture_grids(grids), "update-sizes": picture_sizes(sizes, probe)},
        figures=figures,
    )


# --- the trials --------------------------------------------------------------------------------------------------------


def _settings(size: _Size, task: Task, lengths: Sequence[int], in_epoch: int) -> list[Setting]:
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
        Setting("sgd", "The task's own network, SGD", task, sgd, ways, size.rates["sgd"]),
        Setting("deep", f"{deep}, initial weights too large, SGD", large, sgd, ways, size.rates["deep"]),
        Setting("he", f"{deep}, He's initial weights, SGD", he, sgd, ways, size.rates["he"]),
        Setting("adam", f"{deep}, He's initial weights, Adam", he, with_radam, rules, size.rates["adam"]),
    ]


def _probe(grid: TrainedRates, plain: str, warmed: str) -> float:
    """The rate at which first updates are measured: the largest rate that trains with the warmup, in every seed if possible."""
    least = grid.setting.rates[0]
    return grid.boundary(warmed) or min((b for b in grid.boundaries(warmed) if b is not None), default=least)


# --- the first updates -------------------------------------------------------------------------------------------------


def _freeze(
    deep: Setting,
    setting: Setting,
    updates: int,
    trials: Mapping[Key, Trial],
    ways: tuple[str, str],
    probe: float,
    options: Options,
) -> tuple[dict[Key, Outcome], dict[str, Sizes]]:
    """Outcomes with half of the layers frozen at first, as a setting, and the first updates at a single rate for each start."""
    plain, _ = ways
    work: dict[Key, tuple[Trial, str | None, int]] = {}
    for way in ways:
        work[way, 0] = trials[trial_name(deep, way, probe), 0], None, 0
    for rate in deep.rates:
        name = trial_name(deep, plain, rate)
        for seed in sorted(seed for key, seed in trials if key == name):
            for way, half in FREEZING.items():
                work[trial_name(setting, way, rate), seed] = trials[name, seed], half, updates
    recipe = f"study {NAME}, 1: {WATCHED} updates"
    found = run_instrumented(watch, work, recipe=recipe, **options.running)
    assert isinstance(deep.task, Plain)
    keys = {way: (way, 0) for way in ways} | {way: (trial_name(setting, way, probe), 0) for way in FREEZING}
    sizes = {way: np.array(found[key][1]).reshape(-1, deep.task.depth) for way, key in keys.items()}
    return {key: outcome for key, (outcome, _) in found.items()}, sizes


# --- the answer --------------------------------------------------------------------------------------------------------


def _verdict(grids: Sequence[TrainedRates]) -> str:
    """The significant effects of warmups, or the leading warmup, in a sentence."""
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
    return sentence(parts)


def _text(
    grids: Sequence[TrainedRates],
    freezing: TrainedRates,
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
            f"{way}, the largest rate that trains with every seed is {rate_text(freezing.boundary(way))}, which {found} "
            f"(no warmup: {rate_text(deep.boundary(plain))}, {warmed}: {rate_text(deep.boundary(warmed))})"
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
            f"({ended(sizes[plain])}) and {largest[warmed]:.2g} with."
        )
    return "\n\n".join(parts)


def _paragraph(grid: TrainedRates) -> str:
    reference, *others = grid.setting.ways
    found = {way: grid.change(way).text for way in others}
    top = grid.setting.rates[-1]
    largest = rate_text(grid.boundary(reference))
    text = f"**{grid.setting.title}.** The largest rate that trains with every seed is {largest} with {reference}"
    text += (
        "".join(f"; with {way} {rate_text(grid.boundary(way))}, which {change}" for way, change in found.items()) + "."
    )
    if any(grid.boundary(way) == top for way in grid.setting.ways):
        text += f" ({top:g} is the largest that was tried.)"
    differences = {way: d for way in others if (d := grid.difference(way, reference)) is not None}
    told = by_claim(differences)
    clear = with_values({way: d for way, d in differences.items() if way not in told[0]})
    if clear:
        text += f" In test accuracy, each at its own best rate, these are shown to differ from {reference}: {listed(clear)}."
    elif differences:
        text += f" In test accuracy, each at its own best rate, no start is shown to differ from {reference}."
    return text


def _freezing_table(deep: TrainedRates, freezing: TrainedRates, plain: str, warmed: str) -> Table:
    rows = []
    for grid, way in ((deep, plain), (deep, warmed), *((freezing, way) for way in FREEZING)):
        counts = [f"{int(row.sum())}/{len(row)}" for row in grid.trained[way]]
        rows.append([way, *counts, rate_text(grid.boundary(way))])
    return Table(("start", *(f"{rate:g}" for rate in deep.setting.rates), "largest rate that trains"), rows)


# --- pictures ----------------------------------------------------------------------------------------------------------


def _picture_grids(grids: Sequence[TrainedRates]) -> Figure:
    """Draw a panel for each setting: how many seeds train and how well, over peak rates and starts."""
    figure, axes = panels(len(grids), 1, 11.5, 2.1 * len(grids))
    for ax, grid in zip(axes, grids, strict=True):
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
        titled(ax, grid.setting.title, size=11)
        ax.grid(visible=False)
    ax.set_xlabel(
        "peak rate (test accuracy of the seeds that train; the bar ends the rates at which every seed does)", color=INK
    )
    return figure
