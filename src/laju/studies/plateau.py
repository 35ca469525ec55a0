"""Let the loss decide when the rate falls, against fixed schedules that end at the same rate.

The validation loss of every seed's own run drives `laju.Plateau`. The decisions are recorded as a plain schedule, which is then
trained again: with the same seed, where every figure must be reproduced, and with different seeds, which separates the
benefit of this run's own loss from the shape of the schedule.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from laju.adaptive import Plateau, simulate
from laju.core.pieces import Constant
from laju.core.schedule import Schedule
from laju.lab.comparison import Comparison
from laju.lab.comparison.compare import compare, run_trials
from laju.lab.statistics import ACCURACY, LOSS, Estimate, claim, counted, estimate, opening, settled_by, short
from laju.lab.trials import Outcome, Trial
from laju.lab.trials.tasks import HeldOut, get_task
from laju.policies import constant, cosine, linear
from laju.studies.base import Answer, Options, Table
from laju.studies.pictures import names_down, panels, plain_numbers, seed_dots
from laju.studies.ranking import Ranking, ahead, finals, interval_of, listed, paired, rank, untold
from laju.view.plot import INK, PALETTE, draw_steps, legend, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "plateau"
OWN, OTHERS = "plateau", "another seed's plateau"
_BASE = 0.3
_RULE = Plateau(0.3, patience=1, floor=0.01)
_SMALL_RULE = Plateau(0.3, patience=0, threshold=0.5, floor=0.05)


@dataclass(frozen=True)
class Driven:
    """A run that was driven by its own validation loss.

    `cuts` are pairs (completed updates, the rate from then on); `same` says whether the recorded schedule gave the same records.
    """

    seed: int
    outcome: Outcome
    recorded: Schedule
    cuts: tuple[tuple[int, float], ...]
    last_rate: float
    same: bool = False


def study(options: Options) -> Answer:
    """Train with a plateau, record its decisions, and train the records and fixed schedules on the same seeds."""
    rule = _SMALL_RULE if options.small else _RULE
    epochs, seeds = options.size(small=(5, 2), full=(20, 3))
    options.running["execution"].refuse(
        "device", "precision", "channels_last", "stack", why="a trial with a rule is trained on the CPU in float32"
    )
    task = HeldOut(get_task(options.task, options.data_dir))
    trials = {(OWN, seed): Trial(task, constant(_BASE), seed, epochs, task.batch_size, rule=rule) for seed in seeds}
    outcomes = run_trials(trials, **options.running)
    driven = [_driven(trial, outcomes[key], rule) for key, trial in trials.items()]
    last = math.exp(float(np.mean([math.log(run.last_rate) for run in driven])))
    between = math.sqrt(_BASE * last)
    fixed = {
        "constant": constant(_BASE),
        "linear": linear(_BASE, last, total="100%"),
        "cosine": cosine(_BASE, total="100%", final=last),
        "two steps": Constant(_BASE, "50%") >> Constant(between, "25%") >> Constant(last),
    }
    found = compare(
        {**fixed, **{_replay(run.seed): run.recorded for run in driven}},
        task,
        epochs=epochs,
        seeds=seeds,
        **options.running,
    )
    driven = [replace(run, same=_same(run.outcome, found.outcomes[_replay(run.seed), run.seed])) for run in driven]
    return _answer(options.task, task, rule, found, driven, list(fixed), last)


def _replay(seed: int) -> str:
    return f"replay of seed {seed}"


def _driven(trial: Trial, outcome: Outcome, rule: Plateau) -> Driven:
    recorded = trial.recorded(outcome)
    factors = [1.0, *simulate(rule, [loss for _, loss in outcome.observed])]
    cuts = tuple(
        (update, _BASE * float(after))
        for (update, _), (before, after) in zip(outcome.observed, pairwise(factors), strict=True)
        if after != before and update < trial.plan.updates
    )
    return Driven(trial.seed, outcome, recorded, cuts, float(recorded.values(trial.plan.updates)[-1]))


def _same(a: Outcome, b: Outcome) -> bool:
    """Whether two trainings are the same, to the last bit of every record."""
    return (a.status, a.diverged_at, a.records) == (b.status, b.diverged_at, b.records)


# --- the answer --------------------------------------------------------------------------------------------------------


def _figures(
    found: Comparison, driven: Sequence[Driven], fixed: Sequence[str], figure: str
) -> dict[str, dict[int, float]]:
    """A final figure by schedule and seed, for schedules that every seed survived."""
    values = finals(found, figure)
    result = {name: values[name] for name in fixed if name in values}
    if all(run.outcome.status == "finished" for run in driven):
        result[OWN] = {run.seed: getattr(run.outcome.records[-1], figure) for run in driven}
    replays = {run.seed: values.get(_replay(run.seed)) for run in driven}
    if len(driven) > 1 and all(replays.values()):
        result[OTHERS] = {
            seed: float(np.mean([v[seed] for of, v in replays.items() if of != seed and v])) for seed in found.seeds
        }
    return result


def _answer(
    name: str,
    task: HeldOut,
    rule: Plateau,
    found: Comparison,
    driven: Sequence[Driven],
    fixed: Sequence[str],
    last: float,
) -> Answer:
    test, loss = (_figures(found, driven, fixed, figure) for figure in ("test_accuracy", "train_loss"))
    held, ranking = len(task.validation()[1]), _ranking(test, found.resolution)
    text = [
        f"{name}, {counted(found.plan.epochs, 'epoch')}, batch size {found.plan.batch_size}, "
        f"{counted(len(found.seeds), 'seed')}; {held} training examples are held out for the validation loss, which drives "
        f"`{rule!r}` on a constant {_BASE:g}. The fixed schedules end at {last:.2g}, the geometric mean of the rates that it "
        "ended at.",
        _best(test, ranking),
        _decided(found, driven),
        _replayed(driven),
    ]
    worth = _worth(test, found.resolution)
    if worth is not None:
        text.append(_own(worth))
    headings = ("schedule", "train loss", "test accuracy")
    estimates = {
        which: (
            estimate(loss[which].values(), bounds=LOSS),
            estimate(test[which].values(), resolution=found.resolution, bounds=ACCURACY),
        )
        for which in test
    }
    rows = [(which, *pair) for which, pair in estimates.items()]
    decisions = [
        (
            run.seed,
            ", ".join(f"{rate:.2g} from epoch {_epoch(found, update)}" for update, rate in run.cuts) or "none",
            run.outcome.status,
            f"{run.outcome.records[-1].test_accuracy:.3f}" if run.outcome.status == "finished" else "-",
            "yes" if run.same else "no",
        )
        for run in driven
    ]
    figures = {
        "task": name,
        "held out": held,
        "rule": rule.to_json(),
        "base": _BASE,
        "epochs": found.plan.epochs,
        "last rate of the fixed schedules": last,
        "best": ranking,
        "test accuracy": {which: test for which, (_, test) in estimates.items() if test is not None},
        "train loss": {which: loss for which, (loss, _) in estimates.items() if loss is not None},
        "own less others'": worth,
        "runs": [
            {
                "seed": run.seed,
                "status": run.outcome.status,
                "recorded": str(run.recorded),
                "cuts": [{"update": update, "epoch": _epoch(found, update), "rate": rate} for update, rate in run.cuts],
                "validation loss": [value if math.isfinite(value) else None for _, value in run.outcome.observed],
                "replayed bit by bit": run.same,
            }
            for run in driven
        ],
    }
    return Answer(
        NAME,
        _verdict(test, ranking),
        "\n\n".join(text),
        {
            f"Test accuracy and training loss, {interval_of(len(found.seeds))}": Table(headings, rows),
            "What the plateau decided": Table(
                ("seed", "rate", "ended", "test accuracy", "replay is the same"), decisions
            ),
        },
        {"plateau": _picture(found, driven, fixed, test)},
        figures,
    )


def _epoch(found: Comparison, update: int) -> int:
    return update // found.plan.updates_per_epoch


def _ranking(test: Mapping[str, Mapping[int, float]], resolution: float) -> Ranking | None:
    figures = {name: seeds for name, seeds in test.items() if name != OTHERS}
    return rank(figures, resolution=resolution, bounds=ACCURACY)


def _verdict(test: Mapping[str, Mapping[int, float]], ranking: Ranking | None) -> str:
    """Whether letting the loss decide is better, in a sentence."""
    if ranking is None:
        return "No schedule was survived by every seed, so nothing is said of the plateau."
    if OWN not in test:
        return "Some seed did not survive the plateau, so nothing is said of it beside the fixed schedules."
    own, ahead = f"{OWN} ({_mean(test[OWN])})", f"{ranking.best} ({short(ranking.value)})"
    if ranking.lead is None:
        return f"No fixed schedule was survived by every seed, so nothing is beside the {own}."
    if ranking.best == OWN and ranking.decided:
        return (
            f"Letting the loss decide is shown to be better than every fixed schedule: {own}, ahead of {ranking.next}."
        )
    if OWN not in (ranking.best, *ranking.rivals):
        return f"Letting the loss decide is shown not to be the best: {own}, behind {ahead}."
    settle = settled_by(ranking, f"laju study {NAME} …")
    return f"Whether it is better to let the loss decide is not shown: {opening(ranking)}; {settle}."


def _mean(seeds: Mapping[int, float]) -> str:
    value = estimate(seeds.values())
    return "-" if value is None else short(value)


def _best(test: Mapping[str, Mapping[int, float]], ranking: Ranking | None) -> str:
    if ranking is None:
        return "No schedule was survived by every seed."
    text = f"**{ahead(ranking)} {ranking.best}: {ranking.value.text()}.** {untold(ranking, 'schedule')}"
    return text if OWN in test else f"{text} Some seed did not survive the plateau, which is left out."


def _decided(found: Comparison, driven: Sequence[Driven]) -> str:
    counts = [len(run.cuts) for run in driven]
    if not any(counts):
        return "The loss kept falling, and the plateau never cut the rate: a longer run or less patience would let it decide."
    firsts = [_epoch(found, run.cuts[0][0]) for run in driven if run.cuts]
    lasts = [run.last_rate for run in driven]
    text = f"It cut the rate {_times(counts)}, first after epoch {_range(firsts)}, and ended at {_range(lasts)}"
    same = len({run.cuts for run in driven}) == 1
    return text + (", the same for every seed." if same and len(driven) > 1 else ".")


def _times(counts: Sequence[int]) -> str:
    return "once" if set(counts) == {1} else f"{_range(counts)} times"


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.2g}", f"{max(values):.2g}"
    return low if low == high else f"{low} to {high}"


def _replayed(driven: Sequence[Driven]) -> str:
    differ = [run.seed for run in driven if not run.same]
    if not differ:
        return (
            "Each recorded schedule, trained again as a plain one without a validation loss, gives the same training bit by bit: "
            "every loss, rate and accuracy on record is equal, for every seed."
        )
    return (
        f"**Replaying the recorded schedules of seeds {listed(differ)} did not give the same records**, so training is not "
        "deterministic here."
    )


def _worth(test: Mapping[str, Mapping[int, float]], resolution: float) -> Estimate | None:
    """The gain of a run's own plateau over the plateaus of different seeds, paired by seed."""
    if OWN not in test or OTHERS not in test:
        return None
    return paired(test[OWN], test[OTHERS], resolution=resolution, bounds=ACCURACY)


def _own(worth: Estimate) -> str:
    text = f"Its own schedule gives a seed {worth.text(signed=True)} in test accuracy over those that other seeds recorded: "
    return text + claim(
        worth,
        above="hearing one's own loss is worth more than the shape that it gives.",
        below="a shape from elsewhere served better than hearing one's own loss.",
        otherwise="these seeds do not show that hearing one's own loss is worth more than the shape that it gives.",
    )


def _picture(
    found: Comparison, driven: Sequence[Driven], fixed: Sequence[str], test: Mapping[str, Mapping[int, float]]
) -> Figure:
    figure, (rates, losses, tests) = panels(1, 3, 12.0, 4.4)
    plan, lines = found.plan, {}
    per = plan.updates_per_epoch
    faint: dict[str, Any] = {"color": INK, "alpha": 0.25, "linewidth": 1.2}
    for name in fixed:
        draw_steps(rates, found.schedules[name].resolve(plan).values(plan.updates), 0, per=per, **faint)
    for i, run in enumerate(driven):
        color = PALETTE[i % len(PALETTE)]
        values = run.recorded.values(plan.updates)
        lines[f"seed {run.seed}"] = draw_steps(rates, values, i, per=per, color=color, linestyle="-")
        seen = dict(run.outcome.observed)
        losses.plot([update / per for update in seen], list(seen.values()), color=color, lw=1.8)
        cuts = [update for update, _ in run.cuts]
        losses.plot([u / per for u in cuts], [seen[u] for u in cuts], "v", color=color, ms=8, mew=0)
    (lines["fixed schedules"],) = rates.plot([], [], **faint)
    (lines["the plateau cuts"],) = losses.plot([], [], "v", color=INK, ms=8, mew=0)
    legend(
        figure, list(lines.values()), list(lines), loc="outside lower center", ncols=min(7, len(lines)), fontsize=9.5
    )
    for ax, title in ((rates, "Learning rate"), (losses, "Validation loss"), (tests, "Test accuracy")):
        titled(ax, title, "" if ax is tests else "epoch")
    for ax in (rates, losses):
        ax.set_xlim(0, plan.epochs)
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set_yscale("log")
        plain_numbers(ax.yaxis)
    colors = [PALETTE[1] if name in (OWN, OTHERS) else PALETTE[0] for name in test]
    seed_dots(tests, [list(seeds.values()) for seeds in test.values()], colors, 0.25)
    names_down(tests, list(test), 0.4)
    tests.locator_params(axis="x", nbins=5)
    return figure
