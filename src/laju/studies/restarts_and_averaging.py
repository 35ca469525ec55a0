"""The gain of restarts and of averages of the weights: cyclic schedules, SGDR, SWA and an exponential moving average.

Every training keeps two averages of its weights with `torch.optim.swa_utils.AveragedModel`: SWA (Izmailov et al., arXiv
1803.05407), of the ends of epochs or cycles in the later part of the run, and an EMA over all updates. The losses along the
straight line through the last weights and the averaged weights show where in the valley each of them lies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from laju.core.schedule import Schedule
from laju.lab.comparison import Comparison
from laju.lab.report.figures import overview
from laju.lab.statistics import (
    ACCURACY,
    LOSS,
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
from laju.lab.trials import Outcome, Trial
from laju.lab.trials.tasks import Task, get_task
from laju.lab.workers import Key
from laju.policies import constant, cosine, cosine_restarts, swa, swa_cyclic, triangular
from laju.studies.base import Answer, Options, Table
from laju.studies.instrumented import run_instrumented
from laju.view.plot import INK, PALETTE, tidy

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

    from laju.lab.engines.loop import Report

NAME, QUESTION = "restarts-and-averaging", "What do restarts and averages of the weights give?"
DECAY = 0.98
"""Of the moving average: the weights of the last 50 updates or so."""
LINE = (-0.5, 1.5, 21)
"""Where losses are computed: w(α) = (1 - α)·last + α·average, from the first α to the second, in so many points."""
_PEAK = 0.3
_SMALL_SET = ("cosine", "SGDR", "SWA")
_EVALUATION = 1000
_OF = {"last": "the last weights of", "swa": "SWA over", "ema": "the EMA over"}


@dataclass(frozen=True)
class Point:
    """A set of weights, evaluated on all of the training data and of the test data."""

    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float


@dataclass(frozen=True)
class Weights:
    """Evaluations of the last weights and of the averages of one training.

    Attributes:
        last: the weights after the last update.
        swa: the mean of the weights after the updates in `taken`; None for fewer than two, which are no average.
        ema: the exponential moving average.
        taken: numbers of completed updates.
        alphas, line: places w(α) = (1 - α)·last + α·swa (ema where there is no swa), and the evaluation at each.
        distance: ‖average - last‖/‖last‖.
    """

    last: Point
    swa: Point | None
    ema: Point
    taken: tuple[int, ...]
    alphas: tuple[float, ...]
    line: tuple[Point, ...]
    distance: float

    def to_json(self) -> dict[str, Any]:
        """The same as values that `json.dumps` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Weights:
        """Weights from the result of `to_json`."""
        swa = fields["swa"]
        return cls(
            last=Point(**fields["last"]),
            swa=None if swa is None else Point(**swa),
            ema=Point(**fields["ema"]),
            taken=tuple(fields["taken"]),
            alphas=tuple(fields["alphas"]),
            line=tuple(Point(**point) for point in fields["line"]),
            distance=fields["distance"],
        )


def study(options: Options) -> Answer:
    """Train with every schedule, average the weights, and compare the averages to the last weights.

    Raises:
        ValueError: an unknown task, or fewer than 4 epochs.
    """
    epochs = (4 if options.small else 16) if options.epochs is None else options.epochs
    if epochs < 4:
        raise ValueError(f"epochs must be at least 4, for eight cycles of half an epoch, got {epochs}")
    seeds = tuple(range((2 if options.small else 5) if options.seeds is None else options.seeds))
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
    found = run_instrumented(look, work, recipe=recipe, jobs=options.jobs, display=options.display, store=options.store)
    outcomes = {key: outcome for key, (outcome, _) in found.items()}
    weights = {key: Weights.from_json(w) for key, (_, w) in found.items() if w is not None}
    named = {name: schedule for name, (schedule, _) in chosen.items()}
    comparison = Comparison(
        task.name,
        named,
        plan,
        trial.optimizer,
        seeds,
        outcomes,
        guessing=task.chance_accuracy,
        resolution=task.resolution,
    )

    rows = [_row(name, seeds, weights, len(named), task.resolution) for name in named]
    others = [name for name in named if name != "cosine"]
    against = {name: _against(name, seeds, weights, len(others), task.resolution) for name in others}
    figures = {
        "task": task.name,
        "epochs": epochs,
        "updates": plan.updates,
        "seeds": list(seeds),
        "ema_decay": DECAY,
        "schedules": {name: str(schedule) for name, schedule in named.items()},
        "trials": [_trial_json(key, outcomes[key], weights.get(key)) for key in work],
        "by_schedule": {row.name: row.to_json() for row in rows},
        "last_against_cosine": {name: None if d is None else d.to_json() for name, d in against.items()},
    }
    pictures = {"schedules": overview(comparison), "averages": _picture_averages(rows)}
    if weights:
        pictures["line"] = _picture_lines(named, seeds, weights)
    return Answer(
        NAME,
        QUESTION,
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
    """By name, a schedule for a run, and after which updates SWA takes the weights: ends of cycles or epochs of the second half.

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


def averaged(
    trial: Trial, taken: Sequence[int], report: Report | None = None
) -> tuple[Outcome, Weights | None, dict[str, npt.NDArray[np.float32]]]:
    """Run a trial in torch and keep averages of its weights; None for `Weights` where the trial diverged or collapsed.

    Normalisation statistics are computed anew from the training data for every evaluated set of weights, the last weights
    included, so that nothing but the weights differs.

    Args:
        trial: the trial to run.
        taken: after which numbers of completed updates SWA takes the weights.
        report: called with every new record.

    Returns:
        The outcome, the evaluated weights, and the parameters themselves: "last", "ema" and, where there is an SWA average,
        "swa", each as a vector.
    """
    import torch
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    from laju.lab.engines.loop import Batch, run
    from laju.lab.engines.torch import Training, one_thread_and_own_randomness

    class Averaging(Training):
        def __init__(self, trial: Trial) -> None:
            super().__init__(trial)
            self.swa = AveragedModel(self.model)
            self.ema = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(DECAY))
            self.done = 0

        def update(self, batch: Batch) -> None:
            super().update(batch)
            self.done += 1
            self.ema.update_parameters(self.model)
            if self.done in at:
                self.swa.update_parameters(self.model)

    at = frozenset(taken)
    with one_thread_and_own_randomness():
        training = Averaging(trial)
        outcome = run(trial, training, report)
        if outcome.status != "finished":
            return outcome, None, {}
        models = {"last": training.model, "ema": training.ema.module}
        if int(training.swa.n_averaged) > 1:
            models["swa"] = training.swa.module
        vectors = {name: torch.cat([p.detach().reshape(-1) for p in m.parameters()]) for name, m in models.items()}
        task, data = trial.task, (training.inputs, training.labels, *training.test)
        points = {name: evaluate(model, task, *data) for name, model in models.items()}
        last, average = vectors["last"], vectors.get("swa", vectors["ema"])
        probe, line = training.model, []  # its last weights are in the vector
        alphas = tuple(round(float(a), 12) for a in np.linspace(*LINE))
        for alpha in alphas:
            between = ((1 - alpha) * last + alpha * average).split([p.numel() for p in probe.parameters()])
            with torch.no_grad():  # into the parameters' own layout, which torch's own function would change
                for parameter, values in zip(probe.parameters(), between, strict=True):
                    parameter.copy_(values.view(parameter.shape))
            line.append(evaluate(probe, task, *data))
        distance = float((average - last).norm() / last.norm())
    averages = {name: vector.numpy().copy() for name, vector in vectors.items()}
    taken = tuple(u for u in taken if u <= trial.plan.updates)
    found = Weights(points["last"], points.get("swa"), points["ema"], taken, alphas, tuple(line), distance)
    return outcome, found, averages


def evaluate(
    model: torch.nn.Module,
    task: Task,
    train_inputs: torch.Tensor,
    train_labels: torch.Tensor,
    test_inputs: torch.Tensor,
    test_labels: torch.Tensor,
) -> Point:
    """Mean losses and accuracies, after normalisation statistics, if the model has any, are recomputed on the training inputs."""
    import torch
    from torch.optim.swa_utils import update_bn

    if any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in model.modules()):
        update_bn(train_inputs.split(_EVALUATION), model)
    model.eval()
    found = []
    with torch.inference_mode():
        for inputs, labels in ((train_inputs, train_labels), (test_inputs, test_labels)):
            loss, right = 0.0, 0
            for x, y in zip(inputs.split(_EVALUATION), labels.split(_EVALUATION), strict=True):
                outputs = model(x)
                loss += float(task.loss(outputs, y)) * len(y)
                right += int(task.correct(outputs, y))
            found += [loss / len(labels), right / len(labels)]
    return Point(*found)


# --- the answer --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    """A schedule over its seeds; differences are to the last weights of the same training."""

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

    def to_json(self) -> dict[str, Any]:
        def plain(value: Any) -> Any:
            if isinstance(value, Estimate):
                return value.to_json()
            return [plain(v) for v in value] if isinstance(value, tuple) else value

        return {name: plain(value) for name, value in vars(self).items()}


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


def barrier(weights: Weights) -> float:
    """How far the training loss between the two ends of the line rises above the larger end; 0 without a rise."""
    between = [p.train_loss for a, p in zip(weights.alphas, weights.line, strict=True) if 0 <= a <= 1]
    return max(between) - max(between[0], between[-1])


def lowest(weights: Weights, what: str) -> float:
    """The α at which a loss is lowest on the line."""
    values = [getattr(point, what) for point in weights.line]
    return weights.alphas[int(np.argmin(values))]


def _against(
    name: str, seeds: Sequence[int], weights: Mapping[Key, Weights], comparisons: int, resolution: float
) -> Estimate | None:
    """In test accuracy, the last weights against the cosine's last weights."""
    both = [seed for seed in seeds if (name, seed) in weights and ("cosine", seed) in weights]
    ours, theirs = ([weights[n, seed].last.test_accuracy for seed in both] for n in (name, "cosine"))
    return joint_difference(ours, theirs, comparisons, resolution=resolution, bounds=ACCURACY)


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
    """The evidence on restarts, SWA and the EMA, in one sentence."""
    parts = []
    for title, (_, _, differences) in asked.items():
        for word, sign in (("better", 1), ("worse", -1)):
            if which := _shown(differences, sign):
                parts.append(f"{title} shown to be {word}: {listed(which)}")
    if not parts:
        parts.append("no restart and no average of the weights is shown to change test accuracy")
        opened = {f"{title}, {name}": (d, len(ds)) for title, (_, _, ds) in asked.items() for name, d in ds.items()}
        if opened:
            ahead, (d, comparisons) = max(opened.items(), key=lambda item: item[1][0].mean)
            parts[0] += f" by {counted(seeds, 'seed')}: ahead is {ahead} ({d.text(signed=True)})"
            parts.append(settled(d, f"laju study {NAME} …", 0.01, comparisons))
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _shown(differences: Mapping[str, Estimate], sign: int) -> list[str]:
    """The schedules with a shown difference of that sign."""
    return [
        f"{name} ({d.text(signed=True)})"
        for name, d in differences.items()
        if claim(d, above=1, below=-1, otherwise=0) == sign
    ]


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
    """The schedules with a shown difference in test accuracy, and the schedules that are not decided."""
    if not differences:
        return "There is nothing to compare."
    parts = []
    for word, sign in (("better", 1), ("worse", -1)):
        if which := _shown(differences, sign):
            parts.append(f"In test accuracy {ours} are shown to be {word} than {theirs} for {', '.join(which)}.")
    if rest := [
        f"{name} ({d.text(signed=True)})" for name, d in differences.items() if evidence(d) is not Evidence.SHOWN
    ]:
        n = max(d.n for d in differences.values())
        parts.append(f"Not decided by {counted(n, 'seed')}: {', '.join(rest)}.")
    return " ".join(parts)


def _show(value: Estimate | None, digits: int = 3, *, signed: bool = False) -> str:
    return "-" if value is None else value.text(digits, signed=signed)


def _accuracy_table(rows: Sequence[_Row], against: Mapping[str, Estimate | None]) -> Table:
    return Table(
        ("schedule", "last", "last - cosine", "SWA", "SWA - last", "EMA", "EMA - last"),
        [
            [
                row.name,
                _show(row.last),
                _show(against.get(row.name), signed=True),
                _show(row.swa),
                _show(row.swa_gain, signed=True),
                _show(row.ema),
                _show(row.ema_gain, signed=True),
            ]
            for row in rows
        ],
    )


def _loss_table(rows: Sequence[_Row]) -> Table:
    return Table(
        (
            *("schedule", "train, last", "train, SWA", "test, last", "test, SWA"),
            *("barrier", "weights averaged", "lowest train at α", "lowest test at α"),
        ),
        [
            [
                row.name,
                *map(_show, (*row.train_losses, *row.test_losses, row.barrier)),
                row.taken if row.swa else "-",
                *(_show(at, 2, signed=True) for at in (row.lowest_train, row.lowest_test)),
            ]
            for row in rows
        ],
    )


def _trial_json(key: Key, outcome: Outcome, weights: Weights | None) -> dict[str, Any]:
    found: dict[str, Any] = {"schedule": key[0], "seed": key[1], "status": outcome.status}
    if weights is not None:
        found |= {
            "last": vars(weights.last),
            "swa": None if weights.swa is None else vars(weights.swa),
            "ema": vars(weights.ema),
            "taken": list(weights.taken),
            "distance": weights.distance,
            "line": [{"alpha": a, **vars(p)} for a, p in zip(weights.alphas, weights.line, strict=True)],
        }
    return found


# --- pictures ----------------------------------------------------------------------------------------------------------


def _picture_averages(rows: Sequence[_Row]) -> Figure:
    """Test accuracy of last, SWA and EMA weights, a line for each schedule."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 1.2 + 0.52 * len(rows)), facecolor="white", layout="constrained")
    ax = figure.subplots()
    for i, (what, label, mark) in enumerate((("last", "last weights", "o"), ("swa", "SWA", "s"), ("ema", "EMA", "D"))):
        found = [(y, e) for y, row in enumerate(rows) if (e := getattr(row, what)) is not None]
        arms = [[abs((getattr(e, end) or e.mean) - e.mean) for _, e in found] for end in ("low", "high")]
        ax.errorbar(
            [e.mean for _, e in found],
            [y + 0.22 * (i - 1) for y, _ in found],
            xerr=arms,
            fmt=mark,
            color=PALETTE[i],
            label=label,
            markersize=6,
            linewidth=1.4,
        )
    ax.set_yticks(range(len(rows)), [row.name for row in rows])
    ax.invert_yaxis()
    tidy(ax)
    ax.set_xlabel("test accuracy, mean and 95 % interval over the seeds", color=INK)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, labelcolor=INK)
    return figure


def _picture_lines(names: Mapping[str, Any], seeds: Sequence[int], weights: Mapping[Key, Weights]) -> Figure:
    """Losses along the line, as means over the seeds, a panel for each schedule."""
    from matplotlib.figure import Figure

    shown = [name for name in names if any((name, seed) in weights for seed in seeds)]
    columns = min(4, len(shown))
    lines = -(-len(shown) // columns)
    figure = Figure(figsize=(3.0 * columns, 2.7 * lines + 0.4), facecolor="white", layout="constrained")
    axes = list(figure.subplots(lines, columns, squeeze=False).flat)
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
        tidy(ax)
        ax.set_title(name, loc="left", color=INK, fontsize=10.5, fontweight="bold")
    for ax in axes[len(shown) :]:
        ax.set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False, labelcolor=INK)
    return figure
