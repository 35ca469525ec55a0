"""A race drops what would have ended above its pick no more often than it says, and costs less than training all."""

from __future__ import annotations

import csv
import importlib.util
import json
import math
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import laju
from laju.lab import Comparison, Optimizer, Outcome, Record, Trial, get_task, run_trials
from laju.lab.comparison.race import MARGIN, Key, Race, Run, race, seed_counts
from laju.lab.report import dropped_table, write_report
from laju.lab.report.html import page

NAMES = ("a", "b", "c", "d", "e", "f")
SCHEDULES = {name: laju.constant(0.1) for name in NAMES}
PLAN = laju.RunPlan(samples=10, batch_size=10, epochs=8)


def ended(accuracy: float, status: str = "finished") -> Outcome:
    return Outcome(status, (Record(1, 1.0, 0.1, 1.0, accuracy, accuracy),), 0.0)  # type: ignore[arg-type]


def trainer(accuracy: Callable[[str, int], float | Outcome], asked: list[Key] | None = None) -> Run:
    """Stands in for training: what becomes of (name, seed), each asked for once."""
    seen: list[Key] = [] if asked is None else asked

    def run(wanted: Mapping[Key, laju.Schedule]) -> dict[Key, Outcome]:
        assert not set(seen) & set(wanted), "trained twice"
        seen.extend(wanted)
        found = {key: accuracy(*key) for key in wanted}
        return {key: x if isinstance(x, Outcome) else ended(x) for key, x in found.items()}

    return run


def grid(kind: str, noise: float, unlike: float, seeds: int, rng: np.random.Generator) -> np.ndarray:
    """Accuracies of six schedules: level, or the third ahead by a little more than the margin, with a part of each seed."""
    spreads = noise * np.exp(unlike * rng.normal(size=6))
    means = 0.8 + (1.25 * MARGIN * (np.arange(6) == 2) if kind == "ahead" else 0.0)
    found: np.ndarray = (means + rng.normal(0, 0.02, (seeds, 1)) + spreads * rng.normal(size=(seeds, 6))).T
    return found


def wrong(ends: np.ndarray, found: Race) -> bool:
    """Whether a schedule that was dropped would have ended more than the margin above the best of those left."""
    means = dict(zip(NAMES, ends.mean(axis=1), strict=True))
    return max(means.values()) > max(means[name] for name in found.left) + found.margin


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [4, 12, 24])
@pytest.mark.parametrize("unlike", [0.0, 0.8])
def test_a_drop_is_wrong_no_more_often_than_stated(seeds: int, unlike: float) -> None:
    """Level schedules, and a best that is hardly ahead of them: the hardest cases, with equal and with very unlike spreads."""
    rng, error, races = np.random.default_rng(seeds), 0.1, 400
    for kind in ("level", "ahead"):
        for noise in (0.003, 0.008):
            lost = gone = 0
            for _ in range(races):
                ends = grid(kind, noise, unlike, seeds, rng)
                found = race(
                    SCHEDULES, range(seeds), 8, trainer(lambda n, s, ends=ends: ends[NAMES.index(n), s]), error=error
                )
                lost += wrong(ends, found)
                gone += len(found.dropped)
            assert lost / races <= error + 2 * math.sqrt(error * (1 - error) / races)
            assert gone > 0  # a race that drops nobody would pass


def test_dropping_what_trails_after_three_seeds_would_be_wrong_too_often() -> None:
    """The same grids without a bound: so the test above can fail."""
    rng, lost = np.random.default_rng(0), 0
    for _ in range(400):
        means = (ends := grid("ahead", 0.008, 0.0, 12, rng)).mean(axis=1)
        lost += means.max() > means[ends[:, :3].mean(axis=1).argmax()] + MARGIN
    assert lost / 400 > 0.3


def test_where_one_is_clearly_best_most_trainings_are_saved_and_it_is_kept() -> None:
    rng = np.random.default_rng(1)

    def ends() -> Run:
        table = {name: rng.normal(0.9 - 0.1 * i, 0.01, 12) for i, name in enumerate(NAMES)}
        return trainer(lambda name, seed: float(table[name][seed]))

    races = [race(SCHEDULES, range(12), 8, ends()) for _ in range(50)]
    assert np.mean([r.saved for r in races]) >= 0.6
    assert all(r.left == ("a",) for r in races)
    assert all(r.trainings_to_pick < r.trainings for r in races)


def level(name: str, seed: int) -> float:
    return 0.8 + 0.01 * ((seed + ord(name)) % 3)


def test_where_nobody_can_be_dropped_all_are_trained_and_the_race_says_so() -> None:
    found = race(SCHEDULES, range(6), 8, trainer(level))
    assert found.left == NAMES
    assert (found.trainings, found.saved) == (36, 0)
    (sentence,) = found.sentences()
    assert "saved nothing" in sentence
    comparison = Comparison("digits", SCHEDULES, PLAN, Optimizer(), found.seeds, found.outcomes, race=found)
    assert "could drop no schedule, so all were trained" in comparison.findings().verdict.lower()


def test_seeds_come_in_rounds_that_end_with_all() -> None:
    assert seed_counts(12) == (2, 3, 4, 6, 9, 12)
    assert seed_counts(3) == (2, 3)
    assert all(a < b for n in range(3, 60) for a, b in zip(seed_counts(n), seed_counts(n)[1:], strict=False))


def clear(name: str, seed: int) -> float:
    """a and b lead, the others trail by a tenth each, with a spread of 2 %."""
    i = NAMES.index(name)
    return 0.9 - 0.1 * max(i - 1, 0) + 0.02 * math.sin(7 * seed + 3 * i)


def test_nothing_is_trained_twice_or_for_nothing() -> None:
    asked: list[Key] = []
    found = race(SCHEDULES, range(7), 8, trainer(clear, asked))
    assert set(found.left) <= {"a", "b"}
    assert len(asked) == found.trainings < found.grid_trainings
    assert set(found.outcomes) == {(name, seed) for name in found.left for seed in range(7)}
    for d in found.dropped:
        assert sum(name == d.name for name, _ in asked) == d.seeds == found.trained(d.name)


def test_a_dropped_schedule_comes_with_its_difference_and_bound() -> None:
    found = race(SCHEDULES, range(6), 8, trainer(clear))
    d = next(d for d in found.dropped if d.name == "f")
    assert (d.reason, d.schedule) == ("no better", "constant(0.1)")
    assert d.rival in found.left
    assert d.difference is not None
    assert d.difference.mean == pytest.approx(-0.4, abs=0.03)
    assert d.most is not None
    assert d.difference.mean < d.most < found.margin


def test_what_a_dropped_leader_had_dropped_counts_with_the_leaders_own_bound() -> None:
    """b is dropped for c, and c later for a, each just within the margin: both together would be beyond it."""
    ends = {"a": [0.9, 0.9] + [0.9025] * 10, "b": [0.9012] * 12, "c": [0.902, 0.902] + [0.9] * 10}
    for margin in (0.002, 0.01):
        found = race(
            {n: laju.constant(0.1) for n in ends}, range(12), 8, trainer(lambda n, s: ends[n][s]), margin=margin
        )
        means = {name: statistics.fmean(values) for name, values in ends.items()}
        assert max(means.values()) <= max(means[name] for name in found.left) + margin


@pytest.mark.parametrize(
    ("statuses", "reason"),
    [
        (("diverged",) * 4, "diverged"),
        (("collapsed",) * 4, "collapsed"),
        (("diverged", "collapsed", "diverged", "diverged"), "failed"),
    ],
)
def test_a_schedule_that_fails_with_every_seed_is_dropped_for_that(statuses: tuple[str, ...], reason: str) -> None:
    def outcome(name: str, seed: int) -> Outcome:
        return ended(level(name, seed), statuses[seed] if name == "b" else "finished")

    found = race(SCHEDULES, range(4), 8, trainer(outcome))
    assert [(d.name, d.seeds, d.reason, d.most, d.rival) for d in found.dropped] == [("b", 2, reason, None, None)]


def test_one_failure_of_three_counts_as_guessing_and_proves_little() -> None:
    def outcome(name: str, seed: int) -> Outcome:
        return ended(0.9 + 0.001 * seed, "diverged" if (name, seed) == ("b", 1) else "finished")

    found = race({"a": laju.constant(0.1), "b": laju.constant(0.2)}, range(4), 8, trainer(outcome), guessing=0.1)
    assert found.left == ("a", "b")
    assert found.rounds[1].accuracies["b"] == pytest.approx((0.9 + 0.1 + 0.902) / 3)


def test_where_all_fail_nobody_is_dropped() -> None:
    found = race(SCHEDULES, range(3), 8, trainer(lambda *_: ended(0.1, "diverged")))
    assert found.left == NAMES


def test_seeds_that_all_differ_by_the_same_one_image_have_the_spread_of_an_image() -> None:
    two = {"a": laju.constant(0.1), "b": laju.constant(0.2)}
    for images, left in ((1, ("a", "b")), (100, ("a",))):
        run = trainer(lambda name, seed, images=images: 0.9 - images * (name == "b") / 360)
        assert race(two, range(3), 8, run, resolution=1 / 360).left == left


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"seeds": [0]}, ValueError, r"needs 3 seeds or more, 2 to show a spread and another to save; got 1: \[0\]"),
        ({"seeds": [0, 1]}, ValueError, r"got 2: \[0, 1\]"),
        ({"seeds": [1, 1, 2]}, ValueError, "must differ from one another"),
        ({"schedules": {}}, ValueError, "two schedules or more, got 0: none"),
        ({"schedules": {"a": laju.constant(0.1)}}, ValueError, "two schedules or more, got 1: a"),
        ({"error": 0}, ValueError, "error must be a finite number above 0 and below 1, got 0"),
        ({"error": "5%"}, TypeError, "error must be"),
        ({"margin": -1}, ValueError, "margin must be"),
        ({"resolution": -1}, ValueError, "resolution must be"),
    ],
)
def test_bad_arguments_are_named_before_anything_is_trained(
    changes: dict[str, Any], kind: type[Exception], message: str
) -> None:
    asked: list[Key] = []
    arguments = {"schedules": SCHEDULES, "seeds": range(3), "epochs": 8, "run": trainer(clear, asked), **changes}
    with pytest.raises(kind, match=message):
        race(**arguments)
    assert not asked


@pytest.fixture(scope="module")
def replay() -> ModuleType:
    """The benchmark, which is no part of the package."""
    path = Path(__file__).parents[2] / "benchmarks" / "race_replay.py"
    spec = importlib.util.spec_from_file_location("race_replay", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["race_replay"] = module
    spec.loader.exec_module(module)
    return module


def test_on_replayed_grids_drops_are_right_and_half_of_the_trainings_are_saved(replay: ModuleType) -> None:
    """Twenty finished grids, twelve orders of the seeds each."""
    grids = replay.read(replay.TABLE)
    found = [r for g in grids for r in replay.replays(g, 12, np.random.default_rng(3))]
    assert len(grids) >= 12
    assert len(found) >= 200
    assert statistics.fmean(r.wrong for r in found) <= 0.05
    assert statistics.median(r.share for r in found if not r.wrong) <= 0.5


def raced() -> tuple[Race, Comparison]:
    found = race(SCHEDULES, range(6), 8, trainer(clear))
    left = {name: SCHEDULES[name] for name in found.left}
    return found, Comparison("digits", left, PLAN, Optimizer(), found.seeds, found.outcomes, race=found)


@pytest.mark.slow
def test_the_report_says_who_was_dropped_when_and_why(tmp_path: Path) -> None:
    found, comparison = raced()
    assert comparison.dropped == found.dropped
    console = Console(width=100, record=True, file=(tmp_path / "out").open("w"))
    console.print(dropped_table(found))
    shown = console.export_text()
    html = page(comparison.findings())
    content = json.loads(json.dumps(comparison.findings().to_json(), allow_nan=False))
    files = {f.name for f in write_report(comparison.findings(), tmp_path)}
    with (tmp_path / "dropped.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert found.dropped
    assert [row["schedule"] for row in rows] == [d["schedule"] for d in content["race"]["dropped"]]
    for d, row in zip(found.dropped, rows, strict=True):
        assert (row["seeds"], row["reason"], row["rival"]) == (str(d.seeds), d.reason, d.rival)
        assert float(row["difference"]) == d.difference.mean  # type: ignore[union-attr]
        assert f"no better than {d.rival}" in shown
        assert f"{d.seeds} of 6" in shown
        assert f"no better than {d.rival}" in html
    assert all(sentence.replace("'", "&#39;") in html for sentence in found.sentences())
    assert {"race.png", "dropped.csv"} <= files


@pytest.mark.slow
def test_a_report_without_a_race_leaves_no_files_of_an_earlier_race(tmp_path: Path) -> None:
    found, comparison = raced()
    write_report(comparison.findings(), tmp_path)
    plain = Comparison("digits", comparison.schedules, PLAN, Optimizer(), found.seeds, found.outcomes)
    files = write_report(plain.findings(), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(f.name for f in files)
    assert "Dropped" not in page(plain.findings())
    assert plain.findings().to_json()["race"] is None


def test_a_report_says_that_the_first_schedule_was_dropped() -> None:
    turned = dict(reversed(SCHEDULES.items()))
    found = race(turned, range(6), 8, trainer(clear))
    left = {name: turned[name] for name in found.left}
    warnings = (
        Comparison("digits", left, PLAN, Optimizer(), found.seeds, found.outcomes, race=found).findings().warnings
    )
    assert any("f, the first schedule, was dropped on the way: differences are to b." in w for w in warnings)


def test_the_verdict_says_who_was_left_alone() -> None:
    run = trainer(lambda name, seed: 0.9 - 0.1 * NAMES.index(name) + 0.001 * (seed % 2))
    found = race(SCHEDULES, range(4), 8, run, resolution=0.001)
    comparison = Comparison("digits", {"a": SCHEDULES["a"]}, PLAN, Optimizer(), found.seeds, found.outcomes, race=found)
    assert comparison.findings().verdict.startswith("The race dropped b, c, d, e and f; left alone is a (0.9")


def test_a_comparison_has_only_those_that_the_race_left() -> None:
    found, comparison = raced()
    with pytest.raises(ValueError, match="schedules must be those that the race left, a, b"):
        Comparison("digits", SCHEDULES, PLAN, Optimizer(), found.seeds, found.outcomes, race=found)
    assert len(comparison.summary()) == 2


@pytest.mark.slow
def test_a_real_race_on_digits_drops_a_rate_that_is_far_too_low(tmp_path: Path) -> None:
    task = get_task("digits")
    schedules = {"good": laju.cosine(0.3, total="100%"), "still": laju.constant(1e-4), "wild": laju.constant(1e6)}

    def run(wanted: Mapping[Key, laju.Schedule]) -> Mapping[Key, Outcome]:
        trials = {key: Trial(task, schedule, key[1], 4, 64) for key, schedule in wanted.items()}
        return run_trials(trials, jobs=1, store=tmp_path / "store.sqlite")

    options = {"guessing": task.chance_accuracy, "resolution": 1 / 360}
    found = race(schedules, range(4), 4, run, **options)  # type: ignore[arg-type]
    assert found.left == ("good",)
    assert {d.name: d.reason for d in found.dropped} == {"still": "collapsed", "wild": "diverged"}
    assert found.trainings < found.grid_trainings
    again = race(schedules, range(4), 4, run, **options)  # type: ignore[arg-type]
    assert again.rounds == found.rounds
