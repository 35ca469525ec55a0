"""Does a falling rate overfit less than a constant rate at the same training loss?

The end of training does not answer the question: a schedule that has fitted less of the training data overfits less for that
reason alone. The test figures of two runs are compared where their training losses are equal, seed by seed. Training losses are
evaluated on all training examples at the end of every epoch, since the recorded losses are means over an epoch in which the
weights move.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from laju.core.schedule import Schedule
from laju.lab.comparison import Comparison
from laju.lab.statistics import (
    ACCURACY,
    LEAST_SEEDS,
    LOSS,
    Estimate,
    claim,
    counted,
    estimate,
    listed,
    number,
    paired_difference,
    seeds_needed,
)
from laju.lab.trials import Optimizer, Outcome, Trial
from laju.lab.trials.tasks import Digits, FashionMNIST, Task, get_task
from laju.policies import constant, cosine, multi_factor, square_root
from laju.studies.base import Answer, Options, Table, cell
from laju.studies.equal_loss import REFERENCE, Curve, Curves, Matched, Point, matched, pairs
from laju.studies.instrumented import run_instrumented
from laju.studies.pictures import interval, names_down, panels, plain_numbers
from laju.studies.ranking import by_claim, not_told, paired, with_values
from laju.view.plot import INK, legend, line_style, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from laju.lab.engines.loop import Report

NAME = "overfitting"
RECIPE = f"study {NAME}, 1"
LOWER, ADAM = "constant, a third", "Adam, constant"
PEAK = 0.3
FALLING: dict[str, Schedule] = {
    "square root": square_root(PEAK).per("epoch"),
    "multi-factor": multi_factor(PEAK, milestones=["50%", "75%"], factor=0.1),
    "cosine": cosine(PEAK, total="100%", final=PEAK / 30),
}
"""The falling schedules by name; each begins at the rate of the reference, so that only the fall differs."""
LITTLE = 0.03
"""If training accuracy is above test accuracy by less than this, there is no overfitting that a schedule could reduce."""
WORTH = 0.02
"""The difference in test accuracy that the recommended number of seeds would show."""
_LEVELS = 6
_LEAST_EPOCHS = 3
_END = ("train_loss", "train_accuracy", "test_loss", "test_accuracy", "gap")


# --- a run -------------------------------------------------------------------------------------------------------------


def watch(trial: Trial, report: Report | None = None) -> tuple[Outcome, list[list[float]]]:
    """Train once; return the outcome, and the loss and the accuracy on all training examples after every epoch.

    Args:
        trial: the trial to train.
        report: called with every new record.
    """
    from laju.lab.engines.loop import run
    from laju.lab.engines.torch import Training, one_thread_and_own_randomness

    class Watched(Training):
        def evaluate(self) -> tuple[float, float]:
            ends.append(list(self._evaluated(self.inputs, self.labels)))
            return super().evaluate()

    ends: list[list[float]] = []
    with one_thread_and_own_randomness():
        return run(trial, Watched(trial), report), ends


def curve(outcome: Outcome, ends: Sequence[Sequence[float]]) -> Curve:
    """The curve of a run that finished, from its outcome and the training figures that `watch` returned."""
    records = [record for record in outcome.records if record.test_accuracy is not None]
    points = [
        Point(record.epoch, accuracy, _known(record.test_accuracy), _known(record.test_loss))
        for record, (_, accuracy) in zip(records, ends, strict=True)
    ]
    return Curve([loss for loss, _ in ends], points)


def _known(figure: float | None) -> float:
    assert figure is not None  # at the end of an epoch
    return figure


# --- the study ---------------------------------------------------------------------------------------------------------


def study(options: Options) -> Answer:
    """Train with falling and with constant rates, and compare test figures where training losses are equal.

    Raises:
        ValueError: an unknown task, or fewer than 3 epochs.
    """
    epochs, seeds = options.size(small=(4, 2), full=(30, 5), least_epochs=_LEAST_EPOCHS)
    task = get_task(options.task, options.data_dir)
    sgd = {REFERENCE: constant(PEAK), **FALLING, LOWER: constant(PEAK / 3)}
    families = ((sgd, Optimizer()), ({ADAM: constant(0.001)}, Optimizer(kind="adam")))
    trials = {
        (name, seed): Trial(task, schedule, seed, epochs, task.batch_size, optimizer)
        for seed in seeds
        for schedules, optimizer in families
        for name, schedule in schedules.items()
    }
    found = run_instrumented(watch, {key: (trial,) for key, trial in trials.items()}, recipe=RECIPE, **options.running)
    plan = trials[REFERENCE, seeds[0]].plan
    comparisons = [
        Comparison(
            task.name,
            dict(schedules),
            plan,
            optimizer,
            tuple(seeds),
            {key: outcome for key, (outcome, _) in found.items() if key[0] in schedules},
        )
        for schedules, optimizer in families
    ]
    curves = {key: curve(*both) for key, both in found.items() if both[0].status == "finished"}
    return answer(options, task, comparisons, curves)


# --- the answer --------------------------------------------------------------------------------------------------------


def answer(options: Options, task: Task, found: Sequence[Comparison], curves: Curves) -> Answer:
    """The evidence of training runs on overfitting.

    Args:
        options: the options of the study, for the command that would settle an open question.
        task: the task of the runs.
        found: the runs, with the same seeds; schedules have the names of this module.
        curves: the curves of the finished runs, by schedule and seed.
    """
    seeds, plan = found[0].seeds, found[0].plan
    names = [name for each in found for name in each.schedules if name != REFERENCE]
    rows = [matched(name, seeds, curves, len(names), task.resolution) for name in names]
    lowest = [c.points[-1] for seed in seeds if (c := curves.get((REFERENCE, seed))) is not None]
    gap = estimate((point.gap for point in lowest), bounds=(-1.0, 1.0))
    by_level = _by_level(rows, seeds, curves, task.resolution)
    summary = {row.name: row for each in found for row in each.summary()}
    trials = {name: [t for each in found for t in each.trials() if t["schedule"] == name] for name in summary}
    end = {name: {figure: _mean(trials[name], figure) for figure in _END} for name in summary}
    ahead = {name: _apart(trials[name], trials.get(REFERENCE, []), len(names), task.resolution) for name in names}

    what = (
        f"{task.name}, {counted(plan.epochs, 'epoch')}, batch size {plan.batch_size}, {counted(len(seeds), 'seed')}. The "
        f"constant rate is {PEAK:g}, the falling ones begin there, and Adam's is 0.001."
    )
    how = (
        "Runs of a seed are compared at the lowest training loss that both reach. Training loss and test figures are those of "
        "the same weights, at the ends of epochs; between the epochs of a run with the nearest training losses they are "
        "interpolated."
    )
    tables = {
        f"At the lowest training loss that both runs of a seed reach, {counted(len(seeds), 'seed')}": _table(rows)
    }
    if by_level:
        levels = tuple(next(iter(by_level.values())))
        title = "Test accuracy less that of the constant rate, by training loss; each interval for itself"
        cells = [(name, *(cell(level, signed=True) for level in at.values())) for name, at in by_level.items()]
        tables[title] = Table(("training loss", *(f"{level:g}" for level in levels)), cells)
    tables["At the end of training, where training losses differ"] = Table(
        (
            "schedule",
            *(figure.replace("_", " ") for figure in _END[:-1]),
            "train - test accuracy",
            "test accuracy, difference",
            "failed",
        ),
        [(name, *at.values(), cell(ahead.get(name), signed=True), summary[name].note) for name, at in end.items()],
    )
    figures = {
        "task": task.name,
        "epochs": plan.epochs,
        "seeds": list(seeds),
        "schedules": {name: row.schedule for name, row in summary.items()},
        "gap of the constant rate at its lowest training loss": gap,
        "at the lowest training loss that both reach": {row.name: _matched_json(row) for row in rows},
        "difference in test accuracy by training loss": {
            name: {f"{level:g}": value for level, value in at.items()} for name, at in by_level.items()
        },
        "at the end": {name: {**at, "difference": ahead.get(name)} for name, at in end.items()},
    }
    return Answer(
        NAME,
        _verdict(options, plan.epochs, rows, gap),
        "\n\n".join(filter(None, (what, *_text(rows, gap), _end(ahead), how))),
        tables,
        {NAME: _picture(curves, rows)} if any(row.pairs for row in rows) else {},
        figures,
    )


def _mean(trials: Sequence[Mapping[str, Any]], figure: str) -> Estimate | None:
    """The mean of a final figure over the seeds that finished; None if a finished seed lacks the figure."""
    values = [trial[figure] for trial in trials if trial["status"] == "finished"]
    bounds = (-1.0, 1.0) if figure == "gap" else ACCURACY if figure.endswith("_accuracy") else LOSS
    return None if None in values else estimate(values, bounds=bounds)


def _apart(
    trials: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]], comparisons: int, resolution: float
) -> Estimate | None:
    """The final test accuracy minus that of a second schedule, over the seeds that finished in both."""
    a, b = ({t["seed"]: t["test_accuracy"] for t in each if t["status"] == "finished"} for each in (trials, others))
    return paired(a, b, comparisons, resolution=resolution, bounds=ACCURACY)


def _end(ahead: Mapping[str, Estimate | None]) -> str:
    """The evidence on test accuracy at the end of training."""
    told = by_claim(ahead)
    parts = [
        f"{word} it with {listed(with_values(told[sign]))}"
        for sign, word in ((1, "above"), (-1, "below"))
        if told[sign]
    ]
    where = "At the end of training, where training losses differ,"
    if not parts:
        return f"{where} no test accuracy is shown to differ from the constant rate's."
    return f"{where} test accuracy is shown to differ from the constant rate's: {'; '.join(parts)}."


def _by_level(
    rows: Sequence[Matched], seeds: Sequence[int], curves: Curves, resolution: float
) -> dict[str, dict[float, Estimate | None]]:
    """The difference in test accuracy of each schedule at the same few training losses; None if a pair is missing."""
    lowest = [statistics.median(p.loss for p in row.pairs) for row in rows if row.pairs]
    if not lowest:
        return {}
    high = min(drawn.highest for drawn in curves.values())
    levels = sorted({float(f"{x:.2g}") for x in np.geomspace(high, min(min(lowest), high), _LEVELS)}, reverse=True)
    found: dict[str, dict[float, Estimate | None]] = {}
    for row in rows:
        for level in levels:
            at = pairs(row.name, seeds, curves, level)
            a, b = [p.run.test_accuracy for p in at], [p.reference.test_accuracy for p in at]
            whole_row = len(at) == len(row.pairs)
            apart = paired_difference(a, b, resolution=resolution, bounds=ACCURACY) if whole_row else None
            found.setdefault(row.name, {})[level] = apart
    return found


def _verdict(options: Options, epochs: int, rows: Sequence[Matched], gap: Estimate | None) -> str:
    """The evidence on the falling rates in a sentence, and the command that would settle the rest."""
    falling = [row for row in rows if row.name in FALLING and row.pairs]
    if gap is None or not falling:
        return "There is no answer: with no seed did both the constant rate and a falling one finish."
    command = f"laju study {NAME}"
    less, more, open_ = (
        [row for row in falling if claim(row.accuracy, above=1, below=-1, otherwise=0) == sign] for sign in (1, -1, 0)
    )
    if not less and not more and gap.mean < LITTLE:
        text = (
            f"There is nothing to see on {options.task} in {counted(epochs, 'epoch')}: the constant rate's training accuracy "
            f"less its test accuracy is {gap.text(signed=True)}, so there is hardly any overfitting to reduce"
        )
        if options.task == FashionMNIST.name:
            return f"{text}; more epochs may overfit ({command}{_task(options)} --epochs {2 * epochs})."
        return f"{text}; Fashion-MNIST has some ({command} --task {FashionMNIST.name})."
    said = [
        f"{listed(_named(row) for row in part)} {counted_verb} shown to overfit {word} than the constant rate"
        for part, word in ((less, "less"), (more, "more"))
        if part
        for counted_verb in ("is" if len(part) == 1 else "are",)
    ]
    if open_:
        n = min(len(row.pairs) for row in open_)
        said.append(
            f"{not_told(n)} {listed(_named(row) for row in open_)} from the constant rate "
            f"({_more_seeds(open_, len(rows), f'{command}{_task(options)} --seeds')})"
        )
    return f"At the same training loss {'; '.join(said)}."


def _named(row: Matched) -> str:
    assert row.accuracy is not None
    return f"{row.name} ({row.accuracy.text(signed=True)} in test accuracy)"


def _task(options: Options) -> str:
    task = "" if options.task == Digits.name else f" --task {options.task}"
    return task + (f" --data-dir {options.data_dir}" if options.data_dir else "")


def _more_seeds(open_: Sequence[Matched], others: int, command: str) -> str:
    """The number of seeds that would separate the schedule with the largest spread from the reference."""
    n = min(len(row.pairs) for row in open_)
    if n < LEAST_SEEDS:
        return f"intervals begin with {LEAST_SEEDS} seeds: {command} 5"
    spreads = [statistics.stdev(p.run.test_accuracy - p.reference.test_accuracy for p in row.pairs) for row in open_]
    size, needed = WORTH, 0
    while (needed := seeds_needed(size, max(*spreads, 1e-4), comparisons=others)) <= n:
        size /= 2
    return f"about {needed} seeds would show a difference of {size:g}: {command} {needed}"


def _text(rows: Sequence[Matched], gap: Estimate | None) -> list[str]:
    if gap is None:
        return []
    said = claim(
        gap,
        above="it overfits.",
        below="it has not fitted the training data yet.",
        otherwise="no overfitting that these seeds show.",
    )
    text = [
        "The constant rate's training accuracy less its test accuracy is "
        f"{gap.text(signed=True)} at its lowest training loss: {said}"
    ]
    text.append("\n".join(f"- {_line(row)}" for row in rows if row.pairs))
    lower = next((row for row in rows if row.name == LOWER and row.pairs), None)
    if lower is not None:
        text.append(
            claim(
                lower.accuracy,
                above="A constant rate of a third overfits less, too, so a fall is not the only way to it.",
                below="A constant rate of a third overfits more, so a low rate alone does not do it.",
                otherwise="That a constant rate of a third overfits less, too, is not shown.",
            )
        )
    lost = [f"{row.name}: {listed(row.lost)}" for row in rows if row.lost]
    if lost:
        text.append(
            "Left out, since a run did not finish or reached no training loss of the constant rate's: seeds of "
            f"{'; '.join(lost)}."
        )
    return text


def _line(row: Matched) -> str:
    assert row.accuracy is not None
    assert row.loss is not None
    said = claim(
        row.accuracy, above="overfits less", below="overfits more", otherwise="not told from the constant rate"
    )
    level, epoch, other = (
        statistics.mean(values)
        for values in zip(*((p.loss, p.run.epoch, p.reference.epoch) for p in row.pairs), strict=True)
    )
    return (
        f"**{row.name}: {said}.** Test accuracy {row.accuracy.text(signed=True)}, test loss {row.loss.text(signed=True)}, at a "
        f"mean training loss of {number(level)}, after {epoch:.0f} epochs, and {other:.0f} of the constant rate."
    )


def _table(rows: Sequence[Matched]) -> Table:
    headings = (
        *("schedule", "training loss", "test accuracy", "constant's", "difference", "test loss, difference"),
        *("train - test accuracy", "constant's"),
    )
    lines = []
    for row in rows:
        columns = zip(
            *((p.loss, p.run.test_accuracy, p.reference.test_accuracy, p.run.gap, p.reference.gap) for p in row.pairs),
            strict=True,
        )
        level, test, others_test, gap, others_gap = [number(statistics.fmean(values)) for values in columns] or [
            "-"
        ] * 5
        apart = [cell(estimate, signed=True) for estimate in (row.accuracy, row.loss)]
        lines.append((row.name, level, test, others_test, *apart, gap, others_gap))
    return Table(headings, lines)


def _matched_json(row: Matched) -> dict[str, Any]:
    return {
        "test accuracy, difference": row.accuracy,
        "test loss, difference": row.loss,
        "lost seeds": row.lost,
        "pairs": [{"seed": p.seed, "train loss": p.loss, "run": p.run, "constant": p.reference} for p in row.pairs],
    }


# --- the picture -------------------------------------------------------------------------------------------------------


def _picture(curves: Curves, rows: Sequence[Matched]) -> Figure:
    """Test figures by training loss, and each schedule's difference at the lowest loss that both runs of a seed reach."""
    figure, (accuracy, loss, apart) = panels(1, 3, 13.5, 4.6, width_ratios=(1, 1, 1.05))
    handles = {}
    for i, name in enumerate((REFERENCE, *(row.name for row in rows))):
        runs = [drawn for (own, _), drawn in curves.items() if own == name]
        if not runs:
            continue
        low, high = max(run.lowest for run in runs), min(run.highest for run in runs)
        shared = np.geomspace(high, min(low, high), 60)
        for ax, which in ((accuracy, "test_accuracy"), (loss, "test_loss")):
            for run in runs:
                dots = [getattr(point, which) for point in run.points]
                ax.plot(run.losses, dots, ".", ms=2.5, alpha=0.35, color=line_style(i)["color"])
            means = [np.mean([getattr(run.at(x), which) for run in runs]) for x in shared]
            (handles[name],) = ax.plot(shared, means, lw=2, **line_style(i))
    for i, row in enumerate(rows):
        color = line_style(i + 1)["color"]
        seeds = [p.run.test_accuracy - p.reference.test_accuracy for p in row.pairs]
        apart.scatter(seeds, [i] * len(seeds), s=22, color=color, alpha=0.5, lw=0)
        if row.accuracy is not None and row.accuracy.half_width is not None:
            interval(apart, row.accuracy, i, color)
    apart.axvline(0, color=INK, lw=1)
    names_down(apart, [row.name for row in rows])
    titled(accuracy, "Test accuracy", "training loss")
    titled(loss, "Test loss", "training loss")
    reached = "at the lowest training loss that both reach; small dots: seeds"
    titled(apart, "Test accuracy less the constant rate's", reached)
    for ax in (accuracy, loss):
        ax.set_xscale("log")
        ax.invert_xaxis()
        plain_numbers(ax.xaxis)
    legend(figure, list(handles.values()), list(handles), loc="outside lower center", ncols=len(handles), fontsize=10)
    return figure
