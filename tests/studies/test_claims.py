"""No study says of trainings more than their intervals carry: each is given trainings whose results are made up.

Only the trainings are replaced: the schedules, trials, comparisons, statistics, sentences, tables and pictures are the study's.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import pytest

import laju.studies
from laju.lab import Execution, Outcome, Record, Trial
from laju.studies import Answer, Options, run
from laju.studies.averaged_weights import LINE, Point, Weights
from laju.studies.first_updates import WATCHED
from laju.studies.sampling.calibration import BINS
from laju.studies.sampling.targets import sample_targets

STUDIES = tuple(study for study in laju.studies.STUDIES)
Quality = Callable[[Trial], float]

CLAIMS = re.compile(
    r"\b([Ss]hown to|shown|better|worse|best|larger|smaller|higher|lower|faster|slower|wider|narrower|widens?|narrows?|"
    r"beats?|outperforms?|helps?|hurts?|overfits|matters?|worth|more than)\b"
)
HEDGES = re.compile(
    r"\b(no|not|nothing|none|may|might|whether|would|level are|ahead is|probable|"
    # facts about the trainings at hand, which are no statements about schedules
    r"of the base rates|in the second half|the best of|averaged weights have|stays below|mean|each at its own|"
    # what theory says of a known target, which the study shows and nobody has to infer
    r"by a known amount)\b",
    re.IGNORECASE,
)


def claims(text: str) -> list[str]:
    """The clauses that say that something is better, larger or the like, without saying that this is open."""
    clauses = re.split(r"(?<=[.;:])\s+|\*\*", text)
    return [
        clause
        for clause in clauses
        if "shown not to be" in clause or (CLAIMS.search(clause) and not HEDGES.search(clause))
    ]


def test_sentences_that_claim_are_told_from_those_that_leave_it_open() -> None:
    for text in (
        "Between base rates it differs by 0.1, between exponents by 0.4: the exponent matters more than the base rate.",
        "The best constant rate is 0.2, by test accuracy.",
        "Letting the loss decide is shown not to be the best: plateau, behind cosine.",
        "Shown to be the best rate: 0.2 (0.985), ahead of 0.1 by 0.010 ± 0.004.",
        "With warmup of 1 epoch 0.04, which widens the range for every seed (2 times).",
    ):
        assert claims(text), text
    for text in (
        "No rate is shown to be the best: ahead is 0.2 (0.985; 48 % to be the best), which 5 seeds do not tell from 0.1.",
        "It is the smallest rate that was tried, so a smaller one may be better.",
    ):
        assert claims(text) == [], text


def made(quality: Quality) -> Callable[..., Outcome]:
    """Training whose test accuracy at the end is the quality of the trial; it is always right on the training data."""

    def train(trial: Trial, report: object = None) -> Outcome:
        plan, at_end = trial.plan, quality(trial)
        records = [
            Record(
                update=e * plan.updates_per_epoch,
                epoch=float(e),
                rate=0.1,
                train_loss=(1 - at_end) * (1 + (plan.epochs - e) / plan.epochs),
                train_accuracy=at_end,
                test_accuracy=at_end,
                test_loss=1 - at_end,
            )
            for e in range(1, plan.epochs + 1)
        ]
        observed = []
        if trial.rule is not None:
            observed = [(r.update, 0.5) for r in records]  # a loss that does not fall, so the rule cuts
        return Outcome("finished", tuple(records), 0.0, observed=tuple(observed))

    return train


def answer(monkeypatch: pytest.MonkeyPatch, name: str, quality: Quality, seeds: int) -> Answer:
    """The study's answer at its small size."""
    module, train = import_module(f"laju.studies.{name.replace('-', '_')}"), made(quality)
    monkeypatch.setattr("laju.lab.workers.job.train", train)
    for function in ("compare", "run_trials"):
        if hasattr(module, function):
            whole = getattr(import_module("laju.lab.comparison.compare"), function)

            def separately(*what: object, execution: Execution, whole: Any = whole, **options: object) -> object:
                return whole(*what, execution=replace(execution, share_prefixes=False), **options)

            monkeypatch.setattr(module, function, separately)

    def averaged(
        trial: Trial, taken: Sequence[int], report: object = None
    ) -> tuple[Outcome, Weights, dict[str, object]]:
        def point(shift: float) -> Point:
            right = quality(trial) + shift
            return Point(1 - right, right, 1 - right, right)

        extra = quality(trial) - 0.9  # as much as the schedule is better, its averages are
        alphas = tuple(float(a) for a in np.linspace(*LINE))
        line = tuple(point(0.0) for _ in alphas)
        weights = Weights(point(0.0), point(extra / 4), point(extra / 4), tuple(taken), alphas, line, 0.1)
        return train(trial), weights, {}

    def sizes(trial: Trial, *looked_at: object, report: object = None) -> tuple[Outcome, list[list[float]]]:
        return train(trial), [[0.01] * 16] * WATCHED

    def losses(trial: Trial, report: object = None) -> tuple[Outcome, list[list[float]]]:
        """All runs have the same training losses, and are right on more of the training data than of the test data."""
        ends = [[1 / e, quality(trial) + 0.1] for e in range(1, trial.plan.epochs + 1)]
        return train(trial), ends

    def predict(trial: Trial, method: str, part: str, report: object = None) -> tuple[Outcome, dict[str, object]]:
        wrong = 1 - quality(trial)
        scores = {"accuracy": 1 - wrong, "nll": wrong, "calibration_error": wrong / 2, "brier": wrong}
        scores["error_by_chance"] = 0.02
        bins = {key: [20.0] * BINS for key in ("counts", "confidence", "correct")}
        result = {"updates": trial.plan.updates, "samples": 12, "ensemble": {**scores, "reliability": bins}}
        return train(trial), {**result, "single": scores}

    fakes = {"restarts-and-averaging": ("averaged", averaged), "warmup-length": ("watch", sizes)}
    fakes["overfitting"] = ("watch", losses)
    if name in fakes:
        monkeypatch.setattr(module, *fakes[name])
    monkeypatch.setattr("laju.studies.sampling.network.predict", predict)
    monkeypatch.setattr("laju.studies.sampling.targets.sample_targets", lambda options: known_targets())
    return run(name, Options(small=True, seeds=seeds, jobs=1))


@cache
def known_targets() -> Answer:
    """What the study samples of known targets, in which no network has a part."""
    return sample_targets(Options(small=True))


def differently(trial: Trial) -> float:
    """As good as a hash of the schedule says, up to 0.2 apart, and nearly the same for every seed."""
    which = zlib.crc32(f"{trial.schedule}{trial.rule}{trial.optimizer}".encode()) % 64
    return 0.75 + which / 320 + 1e-4 * np.random.default_rng(trial.seed * 64 + which).normal()


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("seeds", [1, 2, 4])
def test_trainings_that_all_end_the_same_give_no_claim(monkeypatch: pytest.MonkeyPatch, name: str, seeds: int) -> None:
    found = answer(monkeypatch, name, lambda trial: 0.9, seeds)
    assert claims(found.verdict) == []
    assert claims(found.text) == []
    assert re.search(r"\b([Nn]o|not|none|nothing)\b|is no change", found.verdict)


@pytest.mark.parametrize("name", STUDIES)
def test_two_seeds_give_no_claim_however_far_apart_schedules_are(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    found = answer(monkeypatch, name, differently, 2)
    assert claims(found.verdict) == []
    assert claims(found.text) == []
    assert "±" not in found.text
    tables = [table for title, table in found.tables.items() if title not in known_targets().tables]
    cells = [str(cell) for table in tables for row in table.rows for cell in row]
    assert not any("±" in cell or " … " in cell for cell in cells)
    # Of warmups nothing is ahead; small images are a smoke run, which says so and keeps its verdict for the text.
    settled_by = {
        "overfitting": "--seeds 5).",
        "cosine-large": "laju study cosine-large --data-dir",
        "warmup-length": "",
    }
    assert settled_by.get(name, "--seeds 5)") in found.verdict


@pytest.mark.parametrize("name", STUDIES)
def test_noise_alone_gives_no_claim(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def noise(trial: Trial) -> float:
        key = zlib.crc32(f"{trial.schedule}{trial.rule}{trial.optimizer}{trial.seed}".encode())
        return 0.9 + 0.01 * float(np.clip(np.random.default_rng(key).normal(), -3, 3))

    found = answer(monkeypatch, name, noise, 3)
    assert claims(found.verdict) == []
    assert claims(found.text) == []
    for table in found.tables.values():  # accuracies and losses stay within what is possible
        for row in table.rows:
            for cell in row:
                for low, high in re.findall(r"\((-?[\d.e-]+) … ([\d.e-]+)\)", str(cell)):
                    assert float(low) >= 0 or "+" in str(cell)
                    assert float(high) < 50


@pytest.mark.parametrize("name", sorted(set(STUDIES) - {"warmup-length", "cosine-large"}))
def test_differences_far_beyond_their_intervals_are_claimed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    found = answer(monkeypatch, name, differently, 5)
    about_trainings = found.verdict.partition(", and on ")[2] or found.verdict
    assert claims(about_trainings), found.verdict
    assert "hown" in about_trainings
    assert claims(found.text)


@pytest.mark.parametrize("name", STUDIES)
def test_an_answer_begins_with_its_verdict(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    found = answer(monkeypatch, name, differently, 3)
    lines = found.markdown().split("\n\n")
    assert lines[:2] == [f"# {found.question}", f"**{found.verdict}**"]
    assert found.verdict[0].isupper()
    assert found.verdict.endswith(".")
    assert "\n" not in found.verdict
    assert "1 epochs" not in found.markdown()
    assert "1 seeds" not in found.markdown()
