"""Is a cosine also better on larger images? The policies are compared on a folder of images, with any torch model.

The peak rate of each policy is chosen first, from three rates, with a separate seed; then all policies are compared at the chosen
rates. Wherever a best is chosen by test accuracy, the lower training loss decides between equal accuracies.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from laju.core.checks import number, shown
from laju.core.schedule import Schedule
from laju.lab.comparison import Comparison
from laju.lab.comparison.compare import compare
from laju.lab.report.figures import overview
from laju.lab.statistics import ACCURACY, LEAST_SEEDS, Estimate, claim, counted, paired_difference
from laju.lab.statistics import number as number_text
from laju.lab.trials import Optimizer
from laju.lab.trials.tasks.image_folder import Accelerated, ImageFolder
from laju.policies import constant, cosine, linear, multi_factor, square_root
from laju.studies import sample_pictures
from laju.studies.base import Answer, Options, Table, cell
from laju.studies.pictures import interval, mean_by_epoch, names_down, panels, plain_numbers
from laju.studies.ranking import (
    ahead,
    by_claim,
    finals,
    interval_of,
    listed,
    not_told,
    paired,
    rank,
    sentence,
    untold,
    with_values,
)
from laju.view.plot import INK, legend, line_style, titled

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

NAME = "cosine-large"
_ASKED = "cosine"
_IN_MEMORY = 2**31
_MORE = 3
_SMOKE_SIZE, _SMOKE_BATCH, _SMOKE_RATES = 40, 16, (0.02, 0.06, 0.2)

POLICIES: dict[str, Callable[[float], Schedule]] = {
    "cosine": lambda peak: cosine(peak, total="100%"),
    "cosine with warmup": lambda peak: cosine(peak, total="100%", warmup="10%"),
    "linear to zero": lambda peak: linear(peak, 0, total="100%"),
    "multi-factor": lambda peak: multi_factor(peak, milestones=["50%", "75%"], factor=0.1),
    "square root": lambda peak: square_root(peak).per("epoch"),
    "constant": lambda peak: constant(peak),
}
"""By name, the policy as a function of its peak rate; each schedule covers the whole run, whatever its length."""


def study(
    options: Options,
    *,
    model: str | Callable[[int], torch.nn.Module] | None = None,
    name: str | None = None,
    size: int | None = None,
    batch_size: int | None = None,
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

    A folder that takes up to 2 GiB decoded, without options for Accelerate, is trained from memory by the lab's own loop; any
    larger folder by Accelerate, which reads an image when an update needs the image.

    A small study without a folder is a smoke run on `sample_pictures`, with its own image size, batch size and rates.

    Args:
        options: `data_dir` is the folder; by default 30 epochs and 3 seeds, and 4 and 2 when small.
        model, name, augment, skip_unreadable: as in `ImageFolder`.
        size: the side length in pixels of the images that the model sees, 224 by default.
        batch_size: images per update, over all processes and micro-batches, 64 by default.
        rates: the peak rates to choose from for each policy; by default 0.3, 1 and 3 times 0.1 · batch_size / 256 (Goyal et al.,
            arXiv 1706.02677), and larger rates as long as the largest rate is the best. With a single rate there is no choice.
        optimizer: the optimizer; by default SGD with a momentum of 0.9 and a weight decay of 10⁻⁴.
        mixed_precision, accumulate, processes, workers, cpu: as in `Accelerated`.

    Raises:
        ValueError: no data_dir (small runs need none), a model that does not accept the images, or an invalid value of any
            further argument.
        DataError: the folder cannot be used, see `ImageFolder`.
        ModuleNotFoundError: the model's library, or Accelerate, is not installed.
    """
    how = Accelerated(mixed_precision, accumulate, processes, workers, cpu)
    smoke = options.data_dir is None
    if smoke and not options.small:
        raise ValueError(
            f"study {NAME!r} needs a folder of images: data_dir, with train/CLASS/*.jpg and val/CLASS/*.jpg; a small run goes "
            "without, on parts of the photographs that come with scikit-learn"
        )
    with tempfile.TemporaryDirectory(prefix="laju-pictures-") as place:
        folder = ImageFolder(
            sample_pictures.write(Path(place) / "photographs") if options.data_dir is None else options.data_dir,
            model,
            name=name,
            size=(_SMOKE_SIZE if smoke else 224) if size is None else size,
            batch_size=(_SMOKE_BATCH if smoke else 64) if batch_size is None else batch_size,
            skip_unreadable=skip_unreadable,
        )
        images = len(folder.labels("train")) + len(folder.labels("test"))
        if how != Accelerated() or augment or images * 3 * folder.size**2 * 4 > _IN_MEMORY:
            folder = folder.by(how, augment=augment)
        folder.check()
        peaks = _peaks(_SMOKE_RATES if smoke and rates is None else rates, folder.batch_size)
        epochs, runs = options.size(small=(4, 2), full=(30, 3))
        running = options.running
        if processes > 1:  # a trial has all cores or GPUs
            running["execution"] = replace(running["execution"], jobs=1)
        seeds = len(runs)

        def train(schedules: Mapping[str, Schedule], seeds: Sequence[int]) -> Comparison:
            return compare(
                schedules,
                folder,
                epochs=epochs,
                seeds=seeds,
                optimizer=optimizer or Optimizer(momentum=0.9, weight_decay=1e-4),
                **running,
            )

        tried: dict[str, Scores] = {}
        chosen = dict.fromkeys(POLICIES, peaks[0])
        if len(peaks) > 1:  # with a seed that the comparison does not have
            tried = _tried(train, peaks, seeds, more=rates is None and not smoke)
            chosen = {policy: _best(scores) for policy, scores in tried.items()}
        result = train({policy: POLICIES[policy](chosen[policy]) for policy in POLICIES}, runs)
        return _answer(folder, replace(result, tuned=len(peaks) > 1), tried, chosen, smoke)


class End(NamedTuple):
    """How a trial ended."""

    test_accuracy: float
    train_loss: float


Scores = Mapping[float, End | None]
"""The ends by peak rate; None if training failed."""


def _tried(
    train: Callable[[Mapping[str, Schedule], Sequence[int]], Comparison], peaks: Sequence[float], seed: int, more: bool
) -> dict[str, Scores]:
    """The ends of every policy by peak rate; with `more`, also at larger rates as long as the largest rate is the best."""
    tried: dict[str, dict[float, End | None]] = {policy: {} for policy in POLICIES}
    ask = {policy: list(peaks) for policy in POLICIES}
    for _ in range(1 + (_MORE if more else 0)):
        grid = {f"{policy}, {peak:g}": POLICIES[policy](peak) for policy in ask for peak in ask[policy]}
        found = train(grid, [seed])
        ends = {row["schedule"]: row for row in found.trials() if row["status"] == "finished"}
        for policy, asked in ask.items():
            for peak in asked:
                row = ends.get(f"{policy}, {peak:g}")
                tried[policy][peak] = None if row is None else End(row["test_accuracy"], row["train_loss"])
        ask = {
            policy: [float(f"{3 * max(scores):.2g}")] for policy, scores in tried.items() if _alone(scores, max(scores))
        }
        if not ask:
            break
    return dict(tried)


def _best(scores: Scores) -> float:
    """The peak rate with the best test accuracy; among equal accuracies, the rate with the lowest training loss.

    >>> _best({0.1: End(0.9, 0.5), 0.2: End(0.9, 0.3), 0.3: End(0.8, 0.1), 0.4: None})
    0.2
    """
    finished = {peak: end for peak, end in scores.items() if end is not None} or dict.fromkeys(scores, End(0.0, 0.0))
    return max(finished, key=lambda peak: (finished[peak].test_accuracy, -finished[peak].train_loss))


def _alone(scores: Scores, peak: float) -> bool:
    """Whether every other peak rate has a lower test accuracy."""
    end = scores[peak]
    others = (other for rate, other in scores.items() if rate != peak and other is not None)
    return end is not None and all(other.test_accuracy < end.test_accuracy for other in others)


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
    tried: Mapping[str, Scores],
    chosen: Mapping[str, float],
    smoke: bool = False,
) -> Answer:
    accuracies = finals(found, "test_accuracy")
    differences = _differences(accuracies, folder.resolution)
    command = f"laju study {NAME} {'--small' if smoke else f'… --data-dir {folder.path}'}"
    verdict = _verdict(found, accuracies, differences, folder.resolution, command)
    text = [
        _what(folder, found),
        *([verdict] if smoke else []),
        "In brackets is the cosine's lead in test accuracy, paired by seed, with intervals that hold together in 95 %; one of no "
        f"more than a single test image ({number_text(folder.resolution)}) counts for nothing.",
    ]
    losses = {policy: fmean(values.values()) for policy, values in finals(found, "train_loss").items()}
    by_test = rank(accuracies, ties=losses, resolution=folder.resolution, bounds=ACCURACY)
    if by_test is not None:
        text.append(f"{ahead(by_test)} {by_test.best}: {by_test.value.text()}. {untold(by_test, 'policy')}")
    text += [
        line
        for line in (
            _warmup(accuracies, folder.resolution),
            _overtakes(found, folder.resolution),
            _rates(tried, chosen, len(found.seeds)),
        )
        if line
    ]
    failed = [f"{row.name}: {row.note}" for row in found.summary() if row.note]
    if failed:
        text.append(
            f"Not every trial finished ({'; '.join(failed)}); a policy that lost seeds is left out of the ranking."
        )

    rows = [
        (
            row.name,
            f"{chosen[row.name]:g}",
            *(row.train_loss, row.train_accuracy, row.test_accuracy),
            "" if row.name == _ASKED else cell(differences.get(row.name), signed=True),
            row.note,
        )
        for row in found.summary()
    ]
    headings = ("policy", "peak rate", "train loss", "train accuracy", "test accuracy", "cosine's lead", "failed")
    several = f"{interval_of(len(found.seeds))}; leads in test accuracy, 95 % for all together"
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
    if smoke:
        pictures["cosine-large-photographs"] = _sheet(folder)
    figures = {
        "images": {"train": len(folder.labels("train")), "test": len(folder.labels("test"))},
        "skipped": [str(file) for file in folder.skipped],
        "classes": list(folder.class_names),
        "accelerated": folder.accelerated,
        "peak rates": dict(chosen),
        "test accuracy by peak rate": {
            policy: {f"{peak:g}": None if end is None else end.test_accuracy for peak, end in scores.items()}
            for policy, scores in tried.items()
        },
        "cosine's lead": differences,
        "best": by_test,
        "smoke run": smoke,
        "comparison": found.findings(),
    }
    verdict = _smoke(folder) if smoke else verdict
    return Answer(NAME, verdict, "\n\n".join(text), tables, pictures, figures)


def _differences(accuracies: Mapping[str, Mapping[int, float]], image: float) -> dict[str, Estimate]:
    """The cosine's test accuracy minus the accuracy of each rival policy, paired by seed, with simultaneous intervals."""
    if _ASKED not in accuracies:
        return {}
    found, others = {}, [policy for policy in accuracies if policy != _ASKED]
    for policy in others:
        lead = paired(accuracies[_ASKED], accuracies[policy], len(others), resolution=image, bounds=ACCURACY)
        if lead is not None:
            # Shares of the same images: a difference below this is rounding of their sums.
            found[policy] = lead if abs(lead.mean) > 1e-12 else replace(lead, mean=0.0)
    return found


def _smoke(folder: ImageFolder) -> str:
    images = sum(len(folder.labels(part)) for part in ("train", "test"))
    return (
        f"This was a smoke run, on {images} parts of the two photographs that come with scikit-learn: it shows that the study "
        f"works here and answers nothing about larger problems, which laju study {NAME} --data-dir FOLDER does with images of "
        "yours."
    )


def _verdict(
    found: Comparison,
    accuracies: Mapping[str, Mapping[int, float]],
    leads: Mapping[str, Estimate],
    image: float,
    command: str,
) -> str:
    """The policies that the cosine is shown to be better or worse than, with its lead over each, in a sentence."""
    if _ASKED not in accuracies:
        row = next(row for row in found.summary() if row.name == _ASKED)
        return f"There is no answer: with the cosine not every trial finished ({row.note})."
    if not leads:
        return "There is no answer: with no other policy did every trial finish."
    # Seeds that all differ by the same single image are no more evidence than that image.
    small = {policy: lead for policy, lead in leads.items() if abs(lead.mean) <= 1.001 * image}
    told = by_claim({policy: lead for policy, lead in leads.items() if policy not in small})
    told[0] = {policy: lead for policy, lead in leads.items() if policy in small or policy in told[0]}
    n = len(found.seeds)
    words = {
        1: "the cosine is shown to be better than",
        -1: "the cosine is shown to be worse than",
        0: f"{not_told(n)} the cosine from",
    }
    parts = [f"{word} {listed(with_values(told[sign]))}" for sign, word in words.items() if told[sign]]
    if told[0]:
        parts[-1] += f": {command} --seeds {max(2 * n, LEAST_SEEDS)}"
    return sentence(parts)


def _what(folder: ImageFolder, found: Comparison) -> str:
    plan, parameters = found.plan, sum(p.numel() for p in folder.model(0).parameters())
    text = (
        f"{folder.name}: {len(folder.labels('train')):,} images of {folder.classes} classes to train with and "
        f"{len(folder.labels('test')):,} to test with, {folder.size} × {folder.size} pixels; a model of {parameters:,} "
        f"parameters; {counted(plan.epochs, 'epoch')} of {counted(plan.updates_per_epoch, 'update')}, {plan.batch_size} images "
        f"each; {found.optimizer}; {counted(len(found.seeds), 'seed')} a policy."
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


def _warmup(accuracies: Mapping[str, Mapping[int, float]], resolution: float) -> str:
    warm = "cosine with warmup"
    if _ASKED not in accuracies or warm not in accuracies:
        return ""
    gain = paired(accuracies[warm], accuracies[_ASKED], resolution=resolution, bounds=ACCURACY)
    said = claim(gain, above="adds to", below="costs", otherwise="")
    if gain is None or not said:
        return ""
    return f"Warmup over the first tenth of the run {said} the cosine's test accuracy: {gain.text(signed=True)}."


def _overtakes(found: Comparison, resolution: float) -> str:
    """The epoch from which on the cosine is shown to be ahead of the constant rate."""
    if any(found.outcomes[p, seed].status != "finished" for p in (_ASKED, "constant") for seed in found.seeds):
        return ""
    ours, theirs = (mean_by_epoch(found, policy, "test_accuracy") for policy in (_ASKED, "constant"))
    leads = {epoch: paired_difference(ours[epoch], theirs[epoch], resolution=resolution) for epoch in ours}
    shown = {epoch: claim(lead, above=True, below=False, otherwise=False) for epoch, lead in leads.items()}
    if not shown or not shown[max(shown)]:
        return ""
    since = max([0.0, *(epoch for epoch in shown if not shown[epoch])])
    first = min(epoch for epoch in shown if epoch > since)
    return (
        f"From the end of epoch {first:g} on the cosine's test accuracy is shown to be above that of the constant rate, each "
        "epoch for itself."
    )


def _rates(tried: Mapping[str, Scores], chosen: Mapping[str, float], seed: int) -> str:
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
        f"({seed}), and of equal ones that of the lowest training loss: {each}."
    )
    edge = [
        policy
        for policy, scores in tried.items()
        if chosen[policy] in (min(scores), max(scores)) and _alone(scores, chosen[policy])
    ]
    if edge:
        text += f" For {listed(edge)} that is at the edge of what was tried, so a better one may lie beyond."
    dead = [policy for policy, scores in tried.items() if all(score is None for score in scores.values())]
    if dead:
        text += f" With {listed(dead)} training failed at each of them."
    return text


def _score(scores: Scores, peak: float) -> str:
    if peak not in scores:
        return ""
    return "failed" if (end := scores[peak]) is None else f"{end.test_accuracy:.3f}"


# --- pictures ----------------------------------------------------------------------------------------------------------


def _leads(differences: Mapping[str, Estimate]) -> Figure:
    figure, (ax,) = panels(1, 1, 7.2, 1.2 + 0.42 * len(differences))
    for i, (policy, lead) in enumerate(differences.items()):
        interval(ax, lead, i, line_style(list(POLICIES).index(policy))["color"])
    ax.axvline(0, color=INK, linewidth=1)
    titled(ax, "The cosine's lead in test accuracy")
    names_down(ax, list(differences))
    few = any(lead.half_width is None for lead in differences.values())
    what = "a dot a seed" if few else "95 % intervals for all together"
    ax.set_xlabel(f"over each policy, paired by seed; {what}", color=INK)
    return figure


def _chosen(tried: Mapping[str, Scores], chosen: Mapping[str, float]) -> Figure:
    figure, (ax,) = panels(1, 1, 8.6, 4.2)
    lines = []
    for i, (policy, scores) in enumerate(tried.items()):
        style = line_style(i)
        points = sorted((peak, np.nan if end is None else end.test_accuracy) for peak, end in scores.items())
        (line,) = ax.plot(*zip(*points, strict=True), linewidth=1.8, marker=".", markersize=8, **style)
        lines.append(line)
        best = scores[chosen[policy]]
        if best is not None:
            ring: dict[str, Any] = {"marker": "o", "markersize": 9, "markerfacecolor": "white", "zorder": 5}
            ax.plot([chosen[policy]], [best.test_accuracy], color=style["color"], **ring)
    ax.set_xscale("log")
    peaks = sorted({peak for scores in tried.values() for peak in scores})
    ax.set_xticks(peaks)
    plain_numbers(ax.xaxis, ticks=False)
    titled(ax, "Test accuracy by peak rate (ring: chosen)", "peak rate")
    legend(figure, lines, list(tried), loc="outside right upper", fontsize=10)
    return figure


def _sheet(folder: ImageFolder, columns: int = 8) -> Figure:
    """A few of the pictures that were trained on, a row for each class."""
    from PIL import Image

    figure, axes = panels(folder.classes, columns, 1.1 * columns, 1.15 * folder.classes)
    labels, files = folder.labels("train"), folder.files("train")
    for i in range(folder.classes):
        row = axes[i * columns : (i + 1) * columns]
        for ax, j in zip(row, np.flatnonzero(labels == i), strict=False):
            ax.set_anchor("NW")
            with Image.open(files[j]) as image:
                ax.imshow(image)
            ax.set_axis_off()
        row[0].set_title(folder.class_names[i], loc="left", color=INK, fontsize=10)
    return figure
