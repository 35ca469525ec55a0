"""The gain of restarts and of averages of the weights: cyclic schedules, SGDR, SWA and an exponential moving average.

Every run keeps two averages of its weights with `torch.optim.swa_utils.AveragedModel`: SWA (Izmailov et al., arXiv 1803.05407),
over the ends of epochs or cycles in the later part of the run, and an EMA over all updates. The losses along the straight line
through the last weights and the averaged weights show where in the valley each set of weights lies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from laju.core.schedule import Schedule
from laju.lab.comparison import Comparison
from laju.lab.report.figures import overview
from laju.lab.statistics import ACCURACY, LOSS, Estimate, counted, estimate, joint_difference, listed, settled
from laju.lab.trials import Outcome, Trial
from laju.lab.trials.tasks import get_task
from laju.lab.workers import Key
from laju.policies import constant, cosine, cosine_restarts, swa, swa_cyclic, triangular
from laju.studies.averaged_weights import DECAY, LINE, Point, Weights, averaged, barrier, lowest
from laju.studies.base import Answer, Options, Table, cell
from laju.studies.instrumented import run_instrumented
from laju.studies.pictures import panels
from laju.studies.ranking import by_claim, paired, sentence, with_values
from laju.view.plot import INK, PALETTE, tidy, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from laju.lab.engines.loop import Report

NAME = "restarts-and-averaging"
_PEAK = 0.3
_SMALL_SET = ("cosine", "SGDR", "SWA")
_OF = {"last": "the last weights of", "swa": "SWA over", "ema": "the EMA over"}


def study(options: Options) -> Answer:
    """Train with every schedule, average the weights, and compare the averages to the last weights.

    Raises:
        ValueError: an unknown task, or fewer than 4 epochs.
    """
    epochs, seeds = options.size(small=(4, 2), full=(16, 5))
    if epochs < 4:
        raise ValueError(f"epochs must be at least 4, for eight cycles of half an epoch, got {epochs}")
    task = get_task(options.task, options.data_dir)
    trial = Trial(task, constant(_PEAK), 0, epochs, task.batch_size)
    plan = trial.plan
    chosen = {
        name: way
        for name, way in schedules(plan.updates, plan.updates_per_epoch).items()
        if not options.small or name in _SMALL_SET
    }
    work = {
        (name, seed): (Trial(task, schedule, seed, epochs, task.batch_size), taken)
        for seed in seeds
        for name, (schedule, taken) in chosen.items()
    }
    recipe = f"study {NAME}, 1: EMA {DECAY}, line {LINE}"
    found = run_instrumented(look, work, recipe=recipe, **options.running)
    outcomes = {key: outcome for key, (outcome, _) in found.items()}
    weights = {key: Weights.from_json(w) for key, (_, w) in found.items() if w is not None}
    named = {name: schedule for name, (schedule, _) in chosen.items()}
    how: dict[str, Any] = {"guessing": task.chance_accuracy, "resolution": task.resolution}
    comparison = Comparison(task.name, named, plan, trial.optimizer, tuple(seeds), outcomes, **how)

    rows = [_row(name, seeds, weights, len(named), task.resolution) for name in named]
    others = [name for name in named if name != "cosine"]
    against = {name: _against(name, seeds, weights, len(others), task.resolution) for name in others}
    figures = {
        "task": task.name,
        "epochs": epochs,
        "updates": plan.updates,
        "seeds": seeds,
        "ema_decay": DECAY,
        "schedules": {name: str(schedule) for name, schedule in named.items()},
        "trials": [_trial_json(key, outcomes[key], weights.get(key)) for key in work],
        "by_schedule": {row.name: row for row in rows},
        "last_against_cosine": against,
    }
    pictures = {"schedules": overview(comparison), "averages": _picture_averages(rows)}
    if weights:
        pictures["line"] = _picture_lines(named, seeds, weights)
    return Answer(
        NAME,
        _verdict(_differences(rows, against), len(seeds)),
        _text(rows, against, seeds, epochs, weights),
        tables={
            "Test accuracy of the last and of the averaged weights": _accuracy_table(rows, against),
            "Losses of the last weights and of SWA, and between them": _loss_table(rows),
        },
        pictures=pictures,
        figures=figures,
    )


def schedules(updates: int, in_epoch: int) -> dict[str, tuple[Schedule, tuple[int, ...]]]:
    """By name, a schedule for a run, and the updates after which SWA takes weights: ends of cycles or epochs in the second half.

    >>> [name for name, _ in schedules(160, 10).items()]
    ['cosine', 'constant', 'SGDR', 'SGDR, doubling', 'triangular', 'SWA', 'SWA, cyclic']
    """
    half, cycle = updates // 2, max(updates // 8, 2)

    def ends(of: int, first: int = 0) -> tuple[int, ...]:
        return tuple(range(first + of, updates + 1, of))

    late = tuple(u for u in ends(in_epoch) if u > half)
    unit = max(updates // 15, 1)
    return {
        "cosine": (cosine(_PEAK, total=updates), late),
        "constant": (constant(_PEAK), late),
        "SGDR": (cosine_restarts(_PEAK, every=cycle), tuple(u for u in ends(cycle) if u > half)),
        "SGDR, doubling": (
            cosine_restarts(_PEAK, every=unit, growth=2),
            tuple(u for u in (unit, 3 * unit, 7 * unit, 15 * unit) if half < u <= updates),
        ),
        "triangular": (
            triangular(_PEAK / 10, _PEAK, up=cycle // 2, down=cycle - cycle // 2),
            tuple(u for u in ends(cycle) if u > half),
        ),
        "SWA": (swa(cosine(_PEAK, total=updates), final=_PEAK / 3, at=half, anneal=in_epoch), late),
        "SWA, cyclic": (
            swa_cyclic(cosine(_PEAK, total=updates), peak=_PEAK, final=_PEAK / 10, at=half, every=cycle // 2),
            ends(cycle // 2, first=half),
        ),
    }


# --- a training --------------------------------------------------------------------------------------------------------


def look(trial: Trial, taken: Sequence[int], report: Report | None = None) -> tuple[Outcome, dict[str, Any] | None]:
    """The outcome of a trial, and its `Weights` as values for JSON; None for the weights of a trial that did not finish."""
    outcome, weights, _ = averaged(trial, taken, report)
    return outcome, None if weights is None else weights.to_json()


# --- the answer --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    """A schedule over its seeds; differences are to the last weights of the same run."""

    name: str
    trials: int
    finished: int
    last: Estimate | None
    swa: Estimate | None
    ema: Estimate | None
    swa_gain: Estimate | None
    ema_gain: Estimate | None
    train_losses: tuple[Estimate | None, Estimate | None]  # last, swa
    test_losses: tuple[Estimate | None, Estimate | None]
    barrier: Estimate | None
    lowest_train: Estimate | None  # the α at which the training loss along the line is lowest
    lowest_test: Estimate | None
    taken: int


def _row(name: str, seeds: Sequence[int], weights: Mapping[Key, Weights], comparisons: int, resolution: float) -> _Row:
    mine = [w for seed in seeds if (w := weights.get((name, seed))) is not None]
    averaged = [(w, w.swa) for w in mine if w.swa is not None]

    def accuracy(points: Sequence[Point]) -> Estimate | None:
        return estimate((p.test_accuracy for p in points), resolution=resolution, bounds=ACCURACY)

    def gain(ours: Sequence[Point], theirs: Sequence[Point]) -> Estimate | None:
        a, b = ([p.test_accuracy for p in points] for points in (ours, theirs))
        return joint_difference(a, b, comparisons, resolution=resolution, bounds=ACCURACY)

    def loss(points: Sequence[Point], what: str) -> Estimate | None:
        return estimate((getattr(p, what) for p in points), bounds=LOSS)

    last, swa = [w.last for w in mine], [a for _, a in averaged]
    ema = [w.ema for w in mine]
    return _Row(
        name,
        len(seeds),
        len(mine),
        last=accuracy(last),
        swa=accuracy(swa),
        ema=accuracy(ema),
        swa_gain=gain(swa, [w.last for w, _ in averaged]),
        ema_gain=gain(ema, last),
        train_losses=(loss(last, "train_loss"), loss(swa, "train_loss")),
        test_losses=(loss(last, "test_loss"), loss(swa, "test_loss")),
        barrier=estimate((barrier(w) for w, _ in averaged), bounds=LOSS),
        lowest_train=estimate(lowest(w, "train_loss") for w, _ in averaged),
        lowest_test=estimate(lowest(w, "test_loss") for w, _ in averaged),
        taken=len(mine[0].taken) if mine else 0,
    )


def _against(
    name: str, seeds: Sequence[int], weights: Mapping[Key, Weights], comparisons: int, resolution: float
) -> Estimate | None:
    """The difference in test accuracy between the last weights and the cosine's last weights."""
    ours, theirs = (
        {seed: weights[which, seed].last.test_accuracy for seed in seeds if (which, seed) in weights}
        for which in (name, "cosine")
    )
    return paired(ours, theirs, comparisons, resolution=resolution, bounds=ACCURACY)


def _differences(
    rows: Sequence[_Row], against: Mapping[str, Estimate | None]
) -> dict[str, tuple[str, str, dict[str, Estimate]]]:
    """The three questions: the two sides compared, and the differences in test accuracy by schedule."""
    asked = {
        "Restarts and cycles": ("the last weights", "those of the cosine", against),
        "SWA": ("averaged weights", "the last ones", {row.name: row.swa_gain for row in rows}),
        "EMA": ("averaged weights", "the last ones", {row.name: row.ema_gain for row in rows}),
    }
    return {
        title: (ours, theirs, {name: d for name, d in differences.items() if d is not None})
        for title, (ours, theirs, differences) in asked.items()
    }


def _verdict(asked: Mapping[str, tuple[str, str, Mapping[str, Estimate]]], seeds: int) -> str:
    """The evidence on restarts, SWA and the EMA, in a sentence."""
    parts = []
    for title, (_, _, differences) in asked.items():
        told = by_claim(differences)
        for word, sign in (("better", 1), ("worse", -1)):
            if told[sign]:
                parts.append(f"{title} shown to be {word}: {listed(with_values(told[sign]))}")
    if not parts:
        parts.append("no restart and no average of the weights is shown to change test accuracy")
        opened = {f"{title}, {name}": (d, len(ds)) for title, (_, _, ds) in asked.items() for name, d in ds.items()}
        if opened:
            ahead, (d, comparisons) = max(opened.items(), key=lambda item: item[1][0].mean)
            parts[0] += f" by {counted(seeds, 'seed')}: ahead is {ahead} ({d.text(signed=True)})"
            parts.append(settled(d, f"laju study {NAME} …", 0.01, comparisons))
    return sentence(parts)


def _text(
    rows: Sequence[_Row],
    against: Mapping[str, Estimate | None],
    seeds: Sequence[int],
    epochs: int,
    weights: Mapping[Key, Weights],
) -> str:
    parts = [
        f"Every schedule is trained for {counted(epochs, 'epoch')} with {counted(len(seeds), 'seed')}. SWA is the mean of the "
        "weights at the ends of epochs (of cycles, where the schedule has them) in the second half; the EMA's decay is "
        f"{DECAY:g}. Differences are paired over the seeds; their intervals are corrected for how many schedules are compared."
    ]
    failed = [f"{row.name} ({row.trials - row.finished} of {row.trials})" for row in rows if row.finished < row.trials]
    if failed:
        parts.append(f"Trainings that diverged or collapsed are left out: {', '.join(failed)}.")
    for title, (ours, theirs, differences) in _differences(rows, against).items():
        parts.append(f"**{title}.** {_decided(differences, ours, theirs)}")
    means = [(e, row.name, what) for row in rows for what in _OF if (e := getattr(row, what)) is not None]
    if means:
        highest = max(e.mean for e, _, _ in means)
        top = [(e, f"{_OF[what]} {name}") for e, name, what in means if e.mean > highest - 1e-12]
        parts.append(
            f"The highest mean test accuracy is that of {listed(which for _, which in top)}: {top[0][0].text()}. It is the "
            f"best of {len(means)}, which flatters it."
        )
    drawn = [(w, w.swa) for w in weights.values() if w.swa is not None]
    if drawn:
        lower_train = sum(a.train_loss < w.last.train_loss for w, a in drawn)
        lower_test = sum(a.test_loss < w.last.test_loss for w, a in drawn)
        flat = sum(barrier(w) <= 1e-3 for w, _ in drawn)
        parts.append(
            f"**The line.** Of {counted(len(drawn), 'training')} with an average, the averaged weights have the lower training "
            f"loss in {lower_train} and the lower test loss in {lower_test}. Between the two ends the training loss stays below "
            f"the larger end (within 0.001) in {flat} of them"
            + (
                ": last and averaged weights lie in one valley."
                if flat == len(drawn)
                else "; in the others there is a barrier."
            )
        )
    return "\n\n".join(parts)


def _decided(differences: Mapping[str, Estimate], ours: str, theirs: str) -> str:
    """The schedules with a significant difference in test accuracy, and the undecided schedules."""
    if not differences:
        return "There is nothing to compare."
    told = by_claim(differences)
    parts = [
        f"In test accuracy {ours} are shown to be {word} than {theirs} for {', '.join(with_values(told[sign]))}."
        for word, sign in (("better", 1), ("worse", -1))
        if told[sign]
    ]
    if told[0]:
        n = max(d.n for d in differences.values())
        parts.append(f"Not decided by {counted(n, 'seed')}: {', '.join(with_values(told[0]))}.")
    return " ".join(parts)


def _accuracy_table(rows: Sequence[_Row], against: Mapping[str, Estimate | None]) -> Table:
    lines = []
    for row in rows:
        to_cosine, swa, ema = (cell(e, signed=True) for e in (against.get(row.name), row.swa_gain, row.ema_gain))
        lines.append((row.name, row.last, to_cosine, row.swa, swa, row.ema, ema))
    return Table(("schedule", "last", "last - cosine", "SWA", "SWA - last", "EMA", "EMA - last"), lines)


def _loss_table(rows: Sequence[_Row]) -> Table:
    headings = (
        *("schedule", "train, last", "train, SWA", "test, last", "test, SWA"),
        *("barrier", "weights averaged", "lowest train at α", "lowest test at α"),
    )
    lines = []
    for row in rows:
        at = (cell(alpha, 2, signed=True) for alpha in (row.lowest_train, row.lowest_test))
        taken = row.taken if row.swa else None
        lines.append((row.name, *row.train_losses, *row.test_losses, row.barrier, taken, *at))
    return Table(headings, lines)


def _trial_json(key: Key, outcome: Outcome, weights: Weights | None) -> dict[str, Any]:
    found: dict[str, Any] = {"schedule": key[0], "seed": key[1], "status": outcome.status}
    if weights is not None:
        found |= {
            "last": weights.last,
            "swa": weights.swa,
            "ema": weights.ema,
            "taken": weights.taken,
            "distance": weights.distance,
            "line": [{"alpha": a, **vars(p)} for a, p in zip(weights.alphas, weights.line, strict=True)],
        }
    return found


# --- pictures ----------------------------------------------------------------------------------------------------------


def _picture_averages(rows: Sequence[_Row]) -> Figure:
    """Test accuracy of last, SWA and EMA weights, a line for each schedule."""
    figure, (ax,) = panels(1, 1, 8.5, 1.2 + 0.52 * len(rows))
    for i, (what, label, mark) in enumerate((("last", "last weights", "o"), ("swa", "SWA", "s"), ("ema", "EMA", "D"))):
        found = [(y, e) for y, row in enumerate(rows) if (e := getattr(row, what)) is not None]
        arms = [[abs((getattr(e, end) or e.mean) - e.mean) for _, e in found] for end in ("low", "high")]
        places = [y + 0.22 * (i - 1) for y, _ in found]
        style: dict[str, Any] = {"color": PALETTE[i], "label": label, "markersize": 6, "linewidth": 1.4}
        ax.errorbar([e.mean for _, e in found], places, xerr=arms, fmt=mark, **style)
    ax.set_yticks(range(len(rows)), [row.name for row in rows])
    ax.invert_yaxis()
    tidy(ax)
    ax.set_xlabel("test accuracy, mean and 95 % interval over the seeds", color=INK)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, labelcolor=INK)
    return figure


def _picture_lines(names: Mapping[str, Any], seeds: Sequence[int], weights: Mapping[Key, Weights]) -> Figure:
    """Losses along the line, as means over the seeds, a panel for each schedule."""
    shown = [name for name in names if any((name, seed) in weights for seed in seeds)]
    columns = min(4, len(shown))
    lines = -(-len(shown) // columns)
    figure, axes = panels(lines, columns, 3.0 * columns, 2.7 * lines + 0.4)
    for ax, name in zip(axes, shown, strict=False):
        mine = [w for seed in seeds if (w := weights.get((name, seed))) is not None]
        top = 0.0
        for what, label, color in (("train_loss", "training loss", PALETTE[0]), ("test_loss", "test loss", PALETTE[1])):
            values = np.array([[getattr(p, what) for p in w.line] for w in mine])
            mean = values.mean(axis=0)
            for one in values:
                ax.plot(mine[0].alphas, one, color=color, linewidth=0.6, alpha=0.35)
            ax.plot(mine[0].alphas, mean, color=color, linewidth=2, label=label)
            inside = [m for a, m in zip(mine[0].alphas, mean, strict=True) if 0 <= a <= 1]
            top = max(top, *inside)
        average = "SWA" if mine[0].swa is not None else "EMA"
        ax.set_ylim(0, 2.2 * top)
        for at in (0, 1):
            ax.axvline(at, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
        ax.set_xticks([0, 1], ["last", average])
        titled(ax, name, size=10.5)
    for ax in axes[len(shown) :]:
        ax.set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False, labelcolor=INK)
    return figure
