"""A race loses the best schedule no more often than it says, and costs less than training all where they differ."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import laju
from laju.core.pieces import Table
from laju.lab import Comparison, Optimizer, Outcome, Record, Trial, get_task, run_trials
from laju.lab.comparison.race import Key, Race, Run, race, shortened
from laju.lab.report import dropped_table, write_report
from laju.lab.report.html import page

pytestmark = pytest.mark.slow

PLAN = laju.RunPlan(samples=10, batch_size=10, epochs=8)
NAMES = ("a", "b", "c", "d", "e", "f")
SCHEDULES = {name: laju.constant(0.1) for name in NAMES}


def ended(accuracy: float, status: str = "finished") -> Outcome:
    return Outcome(status, (Record(1, 1.0, 0.1, 1.0, accuracy, accuracy),), 0.0)  # type: ignore[arg-type]


def trainer(accuracy: Callable[[str, int, int], float | Outcome], asked: list[Key] | None = None) -> Run:
    """Stands in for training: what becomes of (name, seed, epochs), each asked for once."""
    seen: list[Key] = [] if asked is None else asked

    def run(wanted: Mapping[Key, laju.Schedule]) -> dict[Key, Outcome]:
        assert not set(seen) & set(wanted), "trained twice"
        seen.extend(wanted)
        found = {key: accuracy(*key) for key in wanted}
        return {key: x if isinstance(x, Outcome) else ended(x) for key, x in found.items()}

    return run


def noisy(means: Mapping[str, float], spreads: Mapping[str, float], rng: np.random.Generator, images: int = 0) -> Run:
    """Normal accuracies with a part that schedules of a seed share, and one that the lengths of a schedule and seed share."""
    shared = {seed: rng.normal(0, 0.02) for seed in range(20)}
    own = {(name, seed): rng.normal() for name in means for seed in range(20)}

    def accuracy(name: str, seed: int, epochs: int) -> float:
        x = means[name] - 0.1 / epochs + shared[seed]
        x += spreads[name] * (0.7 * own[name, seed] + math.sqrt(1 - 0.7**2) * rng.normal())
        return round(x * images) / images if images else x

    return trainer(accuracy)


@pytest.mark.parametrize(("seeds", "images"), [(3, 0), (8, 0), (5, 100)])
def test_the_best_is_dropped_no_more_often_than_stated(seeds: int, images: int) -> None:
    """Six schedules with other spreads, so close that dropping is mostly luck: the hardest case for the best."""
    rng = np.random.default_rng(seeds)
    error, races, lost, gone = 0.2, 2000, 0, 0
    for _ in range(races):
        spreads = {name: 0.01 * math.exp(rng.normal(0, 0.8)) for name in NAMES}
        found = race(SCHEDULES, range(seeds), PLAN, noisy(dict.fromkeys(NAMES, 0.8), spreads, rng, images), error=error,
                     resolution=1 / images if images else 0.0)  # fmt: skip
        lost += "c" not in found.left
        gone += len(found.dropped)
    assert lost / races <= error + 3 * math.sqrt(error * (1 - error) / races)
    assert gone > 0  # a race that drops nobody would pass


def test_without_the_correction_the_best_would_be_lost_too_often() -> None:
    """The same races, each test at the whole error probability, lose it more often than stated: so this can fail."""
    rng = np.random.default_rng(0)
    lost = 0
    for _ in range(500):
        y = rng.normal(0.8, 0.01, size=(2, 3, 6))
        leaders = y.mean(axis=1).argmax(axis=1)
        d = [y[k, :, 2] - y[k, :, leaders[k]] for k in range(2)]
        t = [x.mean() * math.sqrt(3) / (x.std(ddof=1) or math.inf) for x in d]
        lost += min(t) < -1.061  # the 0.2 quantile of Student's t with 2 degrees of freedom
    assert lost / 500 > 0.3


def test_where_one_is_clearly_best_most_trainings_are_saved_and_it_is_kept() -> None:
    rng = np.random.default_rng(1)
    means = {name: 0.9 - 0.1 * i for i, name in enumerate(NAMES)}
    races = [race(SCHEDULES, range(6), PLAN, noisy(means, dict.fromkeys(NAMES, 0.01), rng)) for _ in range(200)]
    assert np.mean([r.saved for r in races]) >= 0.4
    assert sum("a" in r.left for r in races) >= 190
    assert sum(r.left == ("a",) for r in races) >= 150


def test_where_nobody_differs_the_race_costs_no_more_than_a_quarter() -> None:
    found = race(SCHEDULES, range(6), PLAN, trainer(lambda name, seed, epochs: 0.8 + 0.01 * ((seed + ord(name)) % 3)))
    assert found.left == NAMES
    assert found.trained == {2: 36, 8: 36}  # half the run is not tried, as nobody has paid for it
    assert found.saved == pytest.approx(-0.25)
    assert "more" in found.sentences()[0]


def clear(name: str, seed: int, epochs: int) -> float:
    """a and b are level, the others trail by a tenth each, with a spread of 0.1 %."""
    i = NAMES.index(name)
    return 0.9 - 0.1 * max(i - 1, 0) + 0.001 * math.sin(7 * seed + 3 * i)


def test_seeds_come_in_rounds_and_nothing_is_trained_twice_or_for_nothing() -> None:
    asked: list[Key] = []
    found = race(SCHEDULES, range(7), PLAN, trainer(clear, asked))
    assert found.left == ("a", "b")
    assert [(r.epochs, r.seeds) for r in found.rounds][:3] == [(2, 3), (2, 6), (2, 7)]
    assert [(r.epochs, r.seeds) for r in found.rounds][-1] == (8, 7)
    assert len(asked) == found.trainings
    assert sum(epochs for _, _, epochs in asked) == found.trained_epochs
    assert set(found.outcomes) == {(name, seed) for name in "ab" for seed in range(7)}
    for d in found.dropped:
        assert max(seed for name, seed, epochs in asked if (name, epochs) == (d.name, d.epochs)) == d.seeds - 1
        assert not [e for name, _, e in asked if name == d.name and e > d.epochs]


def test_a_dropped_schedule_comes_with_its_difference_to_the_best() -> None:
    found = race(SCHEDULES, range(3), PLAN, trainer(clear))
    d = next(d for d in found.dropped if d.name == "f")
    assert (d.epochs, d.seeds, d.reason, d.schedule) == (2, 3, "worse", "constant(0.1)")
    assert d.rival in found.left
    assert d.difference is not None
    assert d.difference.mean == pytest.approx(-0.4, abs=0.003)
    assert d.p_value is not None
    assert d.p_value < 0.05


@pytest.mark.parametrize(
    ("statuses", "reason"),
    [
        (("diverged",) * 3, "diverged"),
        (("collapsed",) * 3, "collapsed"),
        (("diverged", "collapsed", "diverged"), "failed"),
    ],
)
def test_a_schedule_that_fails_with_every_seed_is_dropped_for_that(statuses: tuple[str, ...], reason: str) -> None:
    def outcome(name: str, seed: int, epochs: int) -> Outcome:
        return ended(0.8 + 0.01 * ((seed + ord(name)) % 3), statuses[seed] if name == "b" else "finished")

    found = race(SCHEDULES, range(4), PLAN, trainer(outcome), lengths=[])
    assert [(d.name, d.epochs, d.seeds, d.reason, d.p_value, d.rival) for d in found.dropped] == [
        ("b", 8, 3, reason, None, None)
    ]


def test_in_a_shorter_run_one_that_has_not_begun_to_learn_is_only_dropped_by_the_test() -> None:
    def outcome(name: str, seed: int, epochs: int, good: float) -> Outcome:
        late = name == "b" and epochs < 8
        return ended(0.1, "collapsed") if late else ended(good + 0.1 * math.sin(7 * seed + 3 * NAMES.index(name)))

    unclear = race(SCHEDULES, range(3), PLAN, trainer(lambda *key: outcome(*key, good=0.3)), guessing=0.1)
    assert "b" in unclear.left
    clear = race(SCHEDULES, range(6), PLAN, trainer(lambda *key: outcome(*key, good=0.8)), guessing=0.1)
    (d,) = (d for d in clear.dropped if d.name == "b")
    assert (d.reason, d.epochs) == ("worse", 2)
    assert d.p_value is not None
    assert d.p_value < 0.05


def test_one_failure_of_three_counts_as_guessing_and_proves_little() -> None:
    def outcome(name: str, seed: int, epochs: int) -> Outcome:
        return ended(0.9 + 0.001 * seed, "diverged" if (name, seed) == ("b", 1) else "finished")

    found = race({"a": laju.constant(0.1), "b": laju.constant(0.2)}, range(3), PLAN, trainer(outcome), guessing=0.1)
    assert found.left == ("a", "b")
    assert found.rounds[0].accuracies["b"] == pytest.approx((0.9 + 0.1 + 0.902) / 3)


def test_where_all_fail_nobody_is_dropped() -> None:
    found = race(SCHEDULES, range(3), PLAN, trainer(lambda *_: ended(0.1, "diverged")))
    assert found.left == NAMES


def test_seeds_that_all_differ_by_the_same_one_image_prove_nothing() -> None:
    one = trainer(lambda name, seed, epochs: 0.9 - (name == "b") / 360)
    two = {"a": laju.constant(0.1), "b": laju.constant(0.2)}
    assert race(two, range(3), PLAN, one).left == ("a", "b")
    one = trainer(lambda name, seed, epochs: 0.9 - (name == "b") / 360)
    assert race(two, range(3), PLAN, one, resolution=1 / 360).left == ("a", "b")
    many = trainer(lambda name, seed, epochs: 0.9 - 100 * (name == "b") / 360)
    assert race(two, range(3), PLAN, many, resolution=1 / 360).left == ("a",)


def test_a_race_of_one_trains_it_alone_and_to_the_end() -> None:
    asked: list[Key] = []
    found = race({"a": laju.constant(0.1)}, range(3), PLAN, trainer(lambda *_: 0.9, asked))
    assert sorted(asked) == [("a", s, 8) for s in range(3)]
    assert (found.left, found.dropped, found.saved) == (("a",), (), 0)


def test_the_rank_agreement_counts_pairs_in_the_same_order() -> None:
    order = {2: (1, 2, 3), 8: (1, 3, 2)}

    def accuracy(name: str, seed: int, epochs: int) -> float:
        return 0.8 + 0.001 * order[epochs]["abc".index(name)] + 0.05 * ((seed + ord(name)) % 3)

    found = race({n: laju.constant(0.1) for n in "abc"}, range(3), PLAN, trainer(accuracy), lengths=[2])
    (agreement,) = found.agreement
    assert (agreement.epochs, agreement.pairs, agreement.same) == (2, 3, 2)
    assert agreement.tau == pytest.approx(1 / 3)


def test_a_compressed_schedule_has_the_rates_of_the_same_share_of_the_run() -> None:
    plan = laju.RunPlan(samples=1437, batch_size=64, epochs=30)
    schedules = [
        laju.cosine(0.3, total="100%", warmup="10%"),
        laju.wsd(0.3, total="100%", warmup="5 epochs", cooldown="20%"),
        laju.multi_factor(0.5, [15, 20, 25], 0.5).per("epoch"),
        laju.linear(1, 0, total=4).repeat(decay=0.7).per("epoch"),
        laju.noam(512, 100),
        Table(tuple(np.linspace(1, 0, plan.updates))),
    ]
    for schedule in schedules:
        whole = schedule.resolve(plan)
        for epochs in (1, 7, 8, 15):
            n = plan.updates_per_epoch * epochs
            short = shortened(schedule, plan, epochs).values(n)
            assert short == pytest.approx([whole(t * plan.updates / n) for t in range(n)], rel=1e-9, abs=1e-13)
        assert shortened(schedule, plan, 30) is schedule


def test_a_late_decay_is_not_dropped_for_being_late() -> None:
    """At half of its run warmup-stable-decay still has its peak; in a shorter run of its own it has decayed."""
    late = laju.wsd(0.3, total="100%", warmup=0, cooldown="20%")
    plan = laju.RunPlan(samples=100, batch_size=10, epochs=10)
    stopped = late.resolve(plan).values(50)[-1]
    complete = shortened(late, plan, 5).values(50)[-1]
    assert stopped == pytest.approx(0.3)
    assert complete < 0.05


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"seeds": [0]}, ValueError, r"two or more, each once, as one shows no spread; got \[0\]"),
        ({"seeds": [1, 1]}, ValueError, "each once"),
        ({"schedules": {}}, ValueError, "at least one"),
        ({"error": 0}, ValueError, "error must be a finite number above 0 and below 1, got 0"),
        ({"error": "5%"}, TypeError, "error must be"),
        ({"lengths": [4, 2]}, ValueError, r"increase and stay below the run's 8 epochs, got \[4, 2\]"),
        ({"lengths": [8]}, ValueError, "below the run's 8"),
        ({"lengths": [0]}, ValueError, "at least 1"),
        ({"lengths": 4}, TypeError, r"such as \[5, 10\]"),
        ({"resolution": -1}, ValueError, "resolution must be"),
    ],
)
def test_bad_arguments_are_named_before_anything_is_trained(
    changes: dict[str, Any], kind: type[Exception], message: str
) -> None:
    asked: list[Key] = []
    arguments = {"schedules": SCHEDULES, "seeds": range(3), "plan": PLAN, "run": trainer(clear, asked), **changes}
    with pytest.raises(kind, match=message):
        race(**arguments)
    assert not asked


def raced() -> tuple[Race, Comparison]:
    found = race(SCHEDULES, range(3), PLAN, trainer(clear))
    left = {name: SCHEDULES[name] for name in found.left}
    return found, Comparison("digits", left, PLAN, Optimizer(), found.seeds, found.outcomes, race=found)


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
        assert (row["epochs"], row["reason"], row["rival"]) == (str(d.epochs), d.reason, d.rival)
        assert float(row["difference"]) == d.difference.mean  # type: ignore[union-attr]
        assert f"worse than {d.rival}" in shown
        assert f"{d.epochs} of 8" in shown
        assert f"worse than {d.rival}" in html
    assert all(sentence.replace("'", "&#39;") in html for sentence in found.sentences())
    assert {"race.png", "dropped.csv"} <= files


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
    found = race(turned, range(3), PLAN, trainer(clear))
    left = {name: turned[name] for name in found.left}
    warnings = (
        Comparison("digits", left, PLAN, Optimizer(), found.seeds, found.outcomes, race=found).findings().warnings
    )
    assert any("f, the first schedule, was dropped on the way: differences are to b." in w for w in warnings)


def test_a_comparison_has_only_those_that_the_race_left() -> None:
    found, comparison = raced()
    with pytest.raises(ValueError, match="schedules must be those that the race left, a, b"):
        Comparison("digits", SCHEDULES, PLAN, Optimizer(), found.seeds, found.outcomes, race=found)
    assert len(comparison.summary()) == 2


def test_a_real_race_on_digits_drops_a_rate_that_is_far_too_low(tmp_path: Path) -> None:
    task = get_task("digits")
    plan = laju.RunPlan(samples=task.train_size, batch_size=64, epochs=4)
    schedules = {"good": laju.cosine(0.3, total="100%"), "still": laju.constant(1e-4), "wild": laju.constant(1e6)}

    def run(wanted: Mapping[Key, laju.Schedule]) -> dict[Key, Outcome]:
        trials = {
            (f"{name} {epochs}", seed): Trial(task, schedule, seed, epochs, 64)
            for (name, seed, epochs), schedule in wanted.items()
        }
        outcomes = run_trials(trials, jobs=1, store=tmp_path / "store.sqlite")
        return {key: outcomes[f"{key[0]} {key[2]}", key[1]] for key in wanted}

    options = {"guessing": task.chance_accuracy, "resolution": 1 / 360}
    found = race(schedules, range(3), plan, run, **options)  # type: ignore[arg-type]
    assert found.left == ("good",)
    assert {d.name: (d.epochs, d.reason) for d in found.dropped} == {"still": (1, "worse"), "wild": (1, "diverged")}
    assert found.saved > 0.4
    again = race(schedules, range(3), plan, run, **options)  # type: ignore[arg-type]
    assert again.rounds == found.rounds
