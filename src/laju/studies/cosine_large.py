"""The policies on a folder of images, with any torch model: is a cosine better there, too?

The peak rate of each policy is chosen first, from three, with a seed of its own; then all are compared with the rates chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from laju.core.checks import number, shown
from laju.core.schedule import Schedule
from laju.lab.compare import compare
from laju.lab.comparison import Comparison
from laju.lab.report.figures import overview
from laju.lab.statistics import LEAST_SEEDS, Estimate, claim, counted, estimate, joint_difference, paired_difference
from laju.lab.statistics import number as number_text
from laju.lab.tasks.image_folder import Accelerated, ImageFolder
from laju.lab.trials import Optimizer
from laju.policies import constant, cosine, linear, multi_factor, square_root
from laju.studies.base import Answer, Options, Table
from laju.studies.ranking import finals, listed, rank
from laju.view.plot import INK, legend, line_style, tidy

if TYPE_CHECKING:
    import torch

NAME, QUESTION = "cosine-large", "Is a cosine better on a larger vision problem?"
_ASKED = "cosine"
_IN_MEMORY = 2**31
_MORE = 3

POLICIES: dict[str, Callable[[float], Schedule]] = {
    "cosine": lambda peak: cosine(peak, total="100%"),
    "cosine with warmup": lambda peak: cosine(peak, total="100%", warmup="10%"),
    "linear to zero": lambda peak: linear(peak, 0, total="100%"),
    "multi-factor": lambda peak: multi_factor(peak, milestones=["50%", "75%"], factor=0.1),
    "square root": lambda peak: square_root(peak).per("epoch"),
    "constant": lambda peak: constant(peak),
}
"""By name, the policy as a function of its peak rate; each covers the whole run, however long it is."""


def study(
    options: Options,
    *,
    model: str | Callable[[int], torch.nn.Module] | None = None,
    name: str | None = None,
    size: int = 224,
    batch_size: int = 64,
    rates: Sequence[float] | None = None,
    optimizer: Optimizer | None = None,
    augment: bool = False,
    skip_unreadable: bool = False,
    mixed_precision: Literal["no", "bf16", "fp16"] = "no",
    accumulate: int = 1,
    processes: int = 1,
    workers: int = 0,
    cpu: bool = False,
) -> Answer:
    """Train with every policy on the images in `options.data_dir`, and say whether the cosine is better.

    A folder that takes up to 2 GiB decoded, with nothing asked of Accelerate, is trained by the lab's own loop from memory; any
    other by Accelerate, which reads images as they are needed.

    Args:
        options: `data_dir` is the folder; by default 30 epochs and 3 seeds, and 4 and 2 when small.
        model, name, size, augment, skip_unreadable: as in `ImageFolder`.
        batch_size: images an update, over all processes and micro-batches.
        rates: peak rates to choose from for each policy; by default 0.3, 1 and 3 times 0.1 · batch_size / 256 (Goyal et al.,
            arXiv 1706.02677), and larger ones while a policy is best at its largest. One means that nothing is chosen.
        optimizer: SGD with a momentum of 0.9 and a weight decay of 10⁻⁴ by default.
        mixed_precision, accumulate, processes, workers, cpu: as in `Accelerated`.

    Raises:
        ValueError: no data_dir, a model that does not take such images, or another argument that cannot be used.
        DataError: as in `ImageFolder`.
        ModuleNotFoundError: the model's library, or Accelerate, is not installed.
    """
    if options.data_dir is None:
        raise ValueError(
            f"study {NAME!r} needs a folder of images: data_dir, with train/CLASS/*.jpg and val/CLASS/*.jpg"
        )
    how = Accelerated(mixed_precision, accumulate, processes, workers, cpu)
    folder = ImageFolder(
        options.data_dir, model, name=name, size=size, batch_size=batch_size, skip_unreadable=skip_unreadable
    )
    images = len(folder.labels("train")) + len(folder.labels("test"))
    if how != Accelerated() or augment or images * 3 * size**2 * 4 > _IN_MEMORY:
        folder = folder.by(how, augment=augment)
    folder.check()
    epochs = options.epochs or (4 if options.small else 30)
    seeds = options.seeds or (2 if options.small else 3)
    optimizer = optimizer or Optimizer(momentum=0.9, weight_decay=1e-4)
    peaks = _peaks(rates, folder.batch_size)

    def train(schedules: Mapping[str, Schedule], seeds: Sequence[int]) -> Comparison:
        return compare(
            schedules,
            folder,
            epochs=epochs,
            seeds=seeds,
            optimizer=optimizer,
            jobs=1 if processes > 1 else options.jobs,
            store=options.store,
            display=options.display,
        )

    tried: dict[str, dict[float, float | None]] = {}
    chosen = dict.fromkeys(POLICIES, peaks[0])
    if len(peaks) > 1:
        tried = _tried(train, peaks, seeds, more=rates is None)  # with a seed that the comparison does not have
        chosen = {policy: max(scores, key=lambda peak: scores[peak] or 0.0) for policy, scores in tried.items()}
    result = train({policy: POLICIES[policy](chosen[policy]) for policy in POLICIES}, range(seeds))
    return _answer(folder, replace(result, tuned=len(peaks) > 1), tried, chosen)


def _tried(
    train: Callable[[Mapping[str, Schedule], Sequence[int]], Comparison], peaks: Sequence[float], seed: int, more: bool
) -> dict[str, dict[float, float | None]]:
    """Test accuracy by policy and peak rate; with `more`, at larger rates, too, while a policy is best at its largest."""
    tried: dict[str, dict[float, float | None]] = {policy: {} for policy in POLICIES}
    ask = {policy: list(peaks) for policy in POLICIES}
    for _ in range(1 + (_MORE if more else 0)):
        grid = {f"{policy}, {peak:g}": POLICIES[policy](peak) for policy in ask for peak in ask[policy]}
        found = finals(train(grid, [seed]), "test_accuracy")
        for policy, asked in ask.items():
            tried[policy] |= {peak: found.get(f"{policy}, {peak:g}", {}).get(seed) for peak in asked}
        ask = {}
        for policy, scores in tried.items():
            top = max(scores)
            if (best := scores[top]) is not None and best >= max(score or 0.0 for score in scores.values()):
                ask[policy] = [float(f"{3 * top:.2g}")]
        if not ask:
            break
    return tried


def _peaks(rates: Sequence[float] | None, batch_size: int) -> list[float]:
    if rates is None:
        return [float(f"{factor * 0.1 * batch_size / 256:.2g}") for factor in (0.3, 1, 3)]
    peaks = sorted({number("a rate", rate, above=0) for rate in rates})
    if not peaks:
        raise ValueError(f"rates must hold at least one peak rate, got {shown(rates)}")
    return peaks


# --- the answer --------------------------------------------------------------------------------------------------------


def _answer(
    folder: ImageFolder,
    found: Comparison,
    tried: Mapping[str, Mapping[float, float | None]],
    chosen: Mapping[str, float],
) -> Answer:
    accuracies = finals(found, "test_accuracy")
    differences = _differences(accuracies, folder.resolution)
    text = [_what(folder, found), _verdict(found, accuracies, differences, 1 / len(folder.labels("test")))]
    by_test = rank(accuracies)
    if by_test is not None:
        sure = (
            "" if by_test.probability is None else f" The probability that it is the best is {by_test.probability:.2f}."
        )
        text.append(f"The best by mean test accuracy is {by_test.best}: {by_test.value.text()}.{sure}")
    text += [line for line in (_warmup(accuracies), _overtakes(found), _rates(tried, chosen, len(found.seeds))) if line]
    failed = [f"{row.name}: {row.note}" for row in found.summary() if row.note]
    if failed:
        text.append(
            f"Not every trial finished ({'; '.join(failed)}); a policy that lost seeds is left out of the ranking."
        )

    rows = [
        (
            row.name,
            f"{chosen[row.name]:g}",
            *(
                "-" if value is None else value.text()
                for value in (row.train_loss, row.train_accuracy, row.test_accuracy)
            ),
            "" if row.name == _ASKED else _cell(differences.get(row.name)),
            row.note,
        )
        for row in found.summary()
    ]
    headings = ("policy", "peak rate", "train loss", "train accuracy", "test accuracy", "cosine's lead", "failed")
    several = f"mean ± half of a 95 % interval, {len(found.seeds)} seeds; leads in test accuracy, 95 % for all together"
    tables = {f"The policies: {several}": Table(headings, rows)}
    pictures = {"cosine-large": overview(found)}
    if differences:
        pictures["cosine-large-leads"] = _leads(differences)
    if tried:
        peaks = sorted({peak for scores in tried.values() for peak in scores})
        cells = [(policy, *(_score(scores, peak) for peak in peaks)) for policy, scores in tried.items()]
        title = f"Test accuracy by peak rate, one seed ({len(found.seeds)})"
        tables[title] = Table(("policy", *(f"{peak:g}" for peak in peaks)), cells)
        pictures["cosine-large-rates"] = _chosen(tried, chosen)
    figures = {
        "images": {"train": len(folder.labels("train")), "test": len(folder.labels("test"))},
        "skipped": [str(file) for file in folder.skipped],
        "classes": list(folder.class_names),
        "accelerated": None if folder.accelerated is None else vars(folder.accelerated),
        "peak rates": dict(chosen),
        "test accuracy by peak rate": {
            policy: {f"{peak:g}": score for peak, score in scores.items()} for policy, scores in tried.items()
        },
        "cosine's lead": {policy: lead.to_json() for policy, lead in differences.items()},
        "best": None if by_test is None else by_test.to_json(),
        "comparison": found.to_json(),
    }
    return Answer(NAME, QUESTION, _opening(accuracies, differences), "\n\n".join(text), tables, pictures, figures)


def _differences(accuracies: Mapping[str, Mapping[int, float]], image: float) -> dict[str, Estimate]:
    """The cosine's test accuracy less each other policy's, paired by seed, with intervals that hold together."""
    if _ASKED not in accuracies:
        return {}
    seeds = list(accuracies[_ASKED])
    found = {}
    for policy in accuracies:
        a, b = ([accuracies[which][s] for s in seeds] for which in (_ASKED, policy))
        if policy == _ASKED:
            continue
        lead = joint_difference(a, b, max(len(accuracies) - 1, 1), resolution=image)
        if lead is not None:
            # Shares of the same images: what is left below this is the rounding of their sums.
            found[policy] = lead if abs(lead.mean) > 1e-12 else replace(lead, mean=0.0)
    return found


def _opening(accuracies: Mapping[str, Mapping[int, float]], leads: Mapping[str, Estimate]) -> str:
    """Which policies the cosine is shown to be better or worse than, in one sentence."""
    if _ASKED not in accuracies or not leads:
        return "There is no answer: the cosine, or every other policy, lost a seed."
    better, worse, open_ = (
        [policy for policy, lead in leads.items() if claim(lead, above=1, below=-1, otherwise=0) == sign]
        for sign in (1, -1, 0)
    )
    n = next(iter(leads.values())).n
    parts = [f"the cosine is shown to be better than {listed(better)}"] if better else []
    parts += [f"the cosine is shown to be worse than {listed(worse)}"] if worse else []
    if open_:
        more = f"laju study {NAME} … --seeds {max(2 * n, LEAST_SEEDS)}"
        parts.append(
            f"{counted(n, 'seed')} do{'es' if n == 1 else ''} not tell the cosine from {listed(open_)} ({more})"
        )
    text = "; ".join(parts)
    return text[0].upper() + text[1:] + "."


def _what(folder: ImageFolder, found: Comparison) -> str:
    plan, parameters = found.plan, sum(p.numel() for p in folder.model(0).parameters())
    text = (
        f"{folder.name}: {len(folder.labels('train')):,} images of {folder.classes} classes to train with and "
        f"{len(folder.labels('test')):,} to test with, {folder.size} × {folder.size} pixels; a model of {parameters:,} "
        f"parameters; {plan.epochs} epochs of {plan.updates_per_epoch} updates, {plan.batch_size} images each; "
        f"{found.optimizer}; {len(found.seeds)} seed{'' if len(found.seeds) == 1 else 's'} a policy."
    )
    how = folder.accelerated
    if how is not None:
        precision = {"no": "full precision"}.get(
            how.mixed_precision, f"{how.mixed_precision} where torch's autocast has it"
        )
        text += f" Trained by Accelerate in {precision}, by {how.processes} process{'' if how.processes == 1 else 'es'}"
        text += f", an update's images in {how.accumulate} micro-batches each." if how.accumulate > 1 else "."
    if folder.skipped:
        text += f" {len(folder.skipped)} unreadable image{' was' if len(folder.skipped) == 1 else 's were'} skipped."
    return text


def _verdict(
    found: Comparison,
    accuracies: Mapping[str, Mapping[int, float]],
    differences: Mapping[str, Estimate],
    image: float,
) -> str:
    if _ASKED not in accuracies:
        row = next(row for row in found.summary() if row.name == _ASKED)
        return f"**No answer: with the cosine not every trial finished ({row.note}).**"
    if not differences:
        return "**No answer: with no other policy did every trial finish.**"
    if len(found.seeds) == 1:
        return "**No answer: one seed gives no intervals, so any difference may be chance.**"
    # With few test images the seeds may all agree about one of them, which leaves an interval of no width.
    certain = {p: lead for p, lead in differences.items() if lead.excludes_zero and abs(lead.mean) > 1.001 * image}
    better = [policy for policy, lead in certain.items() if lead.mean > 0]
    worse = [policy for policy, lead in certain.items() if lead.mean < 0]
    alike = [policy for policy in differences if policy not in better and policy not in worse]

    def leads(policies: Sequence[str]) -> str:
        return listed(f"{policy} ({differences[policy].text(signed=True)})" for policy in policies)

    parts = []
    if better:
        parts.append(f"**{'Yes: t' if not worse and not alike else 'T'}he cosine is better than {leads(better)}.**")
    if worse:
        parts.append(f"**{'No: t' if not better and not alike else 'T'}he cosine is worse than {leads(worse)}.**")
    if alike:
        what = f"**{len(found.seeds)} seeds do not tell the cosine from {leads(alike)}.**"
        parts.append(what)
    return (
        f"{' '.join(parts)} In brackets is its lead in test accuracy, paired by seed, with intervals that hold together; one of "
        f"no more than a single test image ({number_text(image)}) counts for nothing."
    )


def _warmup(accuracies: Mapping[str, Mapping[int, float]]) -> str:
    warm = "cosine with warmup"
    if _ASKED not in accuracies or warm not in accuracies:
        return ""
    seeds = list(accuracies[_ASKED])
    gain = paired_difference([accuracies[warm][s] for s in seeds], [accuracies[_ASKED][s] for s in seeds])
    if gain is None or gain.half_width is None:
        return ""
    if not gain.excludes_zero:
        change = gain.text(signed=True)
        return (
            f"Warmup over the first tenth of the run changes the cosine's test accuracy by {change}: nothing certain."
        )
    change = Estimate(abs(gain.mean), gain.half_width, gain.n).text()
    return f"Warmup over the first tenth of the run {'adds' if gain.mean > 0 else 'costs'} {change} of test accuracy."


def _overtakes(found: Comparison) -> str:
    """From when on the cosine is ahead of the constant rate."""
    curves = {policy: _curve(found, policy) for policy in (_ASKED, "constant")}
    both = sorted(set(curves[_ASKED]) & set(curves["constant"]))
    if not both:
        return ""
    behind = [epoch for epoch in both if curves[_ASKED][epoch] <= curves["constant"][epoch]]
    if not behind:
        return "The cosine's mean test accuracy is above that of the constant rate after every epoch."
    if behind[-1] == both[-1]:
        return "The cosine's mean test accuracy is not above that of the constant rate at the end."
    ahead = both[both.index(behind[-1]) + 1]
    return f"The cosine's mean test accuracy is above that of the constant rate from the end of epoch {ahead:g} on."


def _curve(found: Comparison, policy: str) -> dict[float, float]:
    """Mean test accuracy by epoch, of a policy with which every seed finished."""
    outcomes = [found.outcomes[policy, seed] for seed in found.seeds]
    if any(outcome.status != "finished" for outcome in outcomes):
        return {}
    values: dict[float, list[float]] = {}
    for outcome in outcomes:
        for record in outcome.records:
            if record.test_accuracy is not None:
                values.setdefault(record.epoch, []).append(record.test_accuracy)
    return {epoch: mean.mean for epoch, tested in values.items() if (mean := estimate(tested)) is not None}


def _rates(tried: Mapping[str, Mapping[float, float | None]], chosen: Mapping[str, float], seed: int) -> str:
    if not tried:
        peak = next(iter(chosen.values()))
        return (
            f"Every policy has the peak rate {peak:g}: none was tuned, so one may trail only because it needs another."
        )
    peaks = sorted({peak for scores in tried.values() for peak in scores})
    which = {peak: [policy for policy in tried if chosen[policy] == peak] for peak in sorted(set(chosen.values()))}
    each = "; ".join(
        f"{peak:g} for {listed(policies) if len(which) > 1 else 'all'}" for peak, policies in which.items()
    )
    text = (
        f"The peak rate of each policy is the best of {peaks[0]:g} to {peaks[-1]:g} by test accuracy with a seed of its own "
        f"({seed}): {each}."
    )
    edge = [policy for policy, scores in tried.items() if chosen[policy] in (min(scores), max(scores))]
    if edge:
        text += f" For {listed(edge)} that is at the edge of what was tried, so a better one may lie beyond."
    dead = [policy for policy, scores in tried.items() if all(score is None for score in scores.values())]
    if dead:
        text += f" With {listed(dead)} training failed at each of them."
    return text


def _score(scores: Mapping[float, float | None], peak: float) -> str:
    if peak not in scores:
        return ""
    return "failed" if (score := scores[peak]) is None else f"{score:.3f}"


def _cell(lead: Estimate | None) -> str:
    return "-" if lead is None else lead.text(signed=True)


# --- pictures ----------------------------------------------------------------------------------------------------------


def _leads(differences: Mapping[str, Estimate]) -> Figure:
    figure = Figure(figsize=(7.2, 1.2 + 0.42 * len(differences)), facecolor="white", layout="constrained")
    ax = figure.subplots()
    for i, (policy, lead) in enumerate(differences.items()):
        color = line_style(list(POLICIES).index(policy))["color"]
        ax.errorbar(lead.mean, i, xerr=lead.half_width or 0, color=color, marker="o", capsize=4, linewidth=1.8)
    ax.axvline(0, color=INK, linewidth=1)
    tidy(ax)
    ax.set_yticks(range(len(differences)), list(differences))
    ax.set_ylim(len(differences) - 0.5, -0.5)
    ax.set_title("The cosine's lead in test accuracy", loc="left", color=INK, fontsize=12, fontweight="bold", pad=10)
    ax.set_xlabel("over each policy, paired by seed; 95 % intervals for all together", color=INK)
    return figure


def _chosen(tried: Mapping[str, Mapping[float, float | None]], chosen: Mapping[str, float]) -> Figure:
    figure = Figure(figsize=(8.6, 4.2), facecolor="white", layout="constrained")
    ax = figure.subplots()
    lines = []
    for i, (policy, scores) in enumerate(tried.items()):
        style = line_style(i)
        points = sorted((peak, np.nan if score is None else score) for peak, score in scores.items())
        (line,) = ax.plot(*zip(*points, strict=True), linewidth=1.8, marker=".", markersize=8, **style)
        lines.append(line)
        best = scores[chosen[policy]]
        if best is not None:
            ax.plot(
                [chosen[policy]],
                [best],
                marker="o",
                markersize=9,
                color=style["color"],
                markerfacecolor="white",
                zorder=5,
            )
    ax.set_xscale("log")
    peaks = sorted({peak for scores in tried.values() for peak in scores})
    ax.set_xticks(peaks)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    tidy(ax)
    ax.set_title(
        "Test accuracy by peak rate (ring: chosen)", loc="left", color=INK, fontsize=12, fontweight="bold", pad=10
    )
    ax.set_xlabel("peak rate", color=INK)
    legend(figure, lines, list(tried), loc="outside right upper", fontsize=10)
    return figure
