"""A ranking counts every trial, a failed one as guessing, and its tables say no more than the seeds can."""

from __future__ import annotations

import csv
import json
import re
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

import laju
from laju.cli import cli
from laju.lab import Comparison, Lead, Optimizer, Outcome, Record, Selection, compare, seeds_needed
from laju.lab.comparison.equal_area import equal_area
from laju.lab.comparison.ranking import Standing
from laju.lab.report import leads, ranking_table, write_report
from laju.lab.report.html import page
from laju.lab.report.table import needed
from laju.lab.statistics import estimate, holm, paired_p_value, probability_best, rank_intervals
from tests.lab.tiny import Sides

PLAN = laju.RunPlan(samples=100, batch_size=10, epochs=3)
SEEDS = (0, 1, 2)


def trial(*accuracies: float, status: str = "finished") -> Outcome:
    """A trial with these test accuracies after epoch 1, 2, …"""
    records = tuple(Record(10 * e, float(e), 0.1, 0.5, 0.9, a) for e, a in enumerate(accuracies, start=1))
    return Outcome(status, records, 1.0, 10 * len(accuracies) + 3 if status == "diverged" else None)  # type: ignore[arg-type]


def comparison(trials: dict[str, list[Outcome]], **changes) -> Comparison:
    outcomes = {(name, seed): outcome for name, runs in trials.items() for seed, outcome in enumerate(runs)}
    schedules = {name: laju.constant(0.1) for name in trials}
    fields = {"optimizer": Optimizer(), "seeds": SEEDS, "outcomes": outcomes, "guessing": 0.1}
    return Comparison("digits", schedules, PLAN, **{**fields, **changes})


A = [trial(0.5, 0.7, 0.80), trial(0.6, 0.7, 0.82), trial(0.4, 0.7, 0.81)]
B = [trial(0.2, 0.8, 0.85), trial(0.3, 0.8, 0.875), trial(0.1, 0.8, 0.87)]
C = [trial(0.1, 0.2, 0.30), trial(0.1, 0.2, 0.32), trial(0.1, 0.2, 0.33)]


def three() -> Comparison:
    return comparison({"a": A, "b": B, "c": C})


def test_standings_are_those_of_the_final_accuracies_best_first() -> None:
    found = three().findings().standings
    scores = np.array([[0.80, 0.85, 0.30], [0.82, 0.875, 0.32], [0.81, 0.87, 0.33]])
    assert [s.name for s in found] == ["b", "a", "c"]
    assert [s.rank for s in found] == [1, 2, 3]
    assert [s.score for s in found] == pytest.approx([0.865, 0.81, 0.95 / 3])
    intervals, best = rank_intervals(scores), probability_best(scores, bounds=(0, 1))
    assert best is not None
    assert [(s.rank_low, s.rank_high) for s in found] == [intervals[i] for i in (1, 0, 2)]
    assert [s.best for s in found] == [best[i] for i in (1, 0, 2)]


@pytest.mark.parametrize(("status", "last"), [("diverged", ()), ("collapsed", (0.13,))])
def test_a_trial_that_failed_counts_as_guessing(status: str, last: tuple[float, ...]) -> None:
    found = comparison({"a": A, "b": [*B[:2], trial(0.9, 0.9, *last, status=status)]}).findings().standings
    assert {s.name: s.score for s in found} == pytest.approx({"a": 0.81, "b": (0.85 + 0.875 + 0.1) / 3})
    # It may well be the better one: two of three say so.
    assert found[1].name == "b"
    assert (found[1].rank_low, found[1].rank_high) == (1, 2)
    assert 0.02 < found[1].best < 0.5  # type: ignore[operator]


def test_only_seeds_that_were_run_with_every_schedule_are_ranked() -> None:
    found = comparison({"a": A, "b": B[:2]}).findings().standings
    assert {s.name: s.score for s in found} == pytest.approx({"a": 0.81, "b": 0.8625})
    empty = comparison({"a": A, "b": []}).findings()
    assert (empty.standings, empty.leads, empty.anytime) == ((), (), ())


def test_equal_means_share_a_rank() -> None:
    assert [s.rank for s in comparison({"a": A, "b": C, "same": A}).findings().standings] == [1, 1, 3]


def test_one_seed_gives_ranks_but_nothing_about_how_sure_they_are() -> None:
    for standing in comparison({"a": A[:1], "b": B[:1]}, seeds=(0,)).findings().standings:
        assert (standing.rank_low, standing.rank_high) == (1, 2)
        assert standing.best is standing.seeds is None


def test_the_seeds_needed_follow_from_the_spread_of_the_paired_differences() -> None:
    found = {s.name: s for s in three().findings(0.02).standings}
    spread = np.std([0.05, 0.055, 0.06], ddof=1)
    assert found["b"].seeds == seeds_needed(0.02, spread, comparisons=2)
    assert found["b"].seeds_low <= found["b"].seeds <= found["b"].seeds_high  # type: ignore[operator]
    assert found["a"].seeds is None
    with pytest.raises(ValueError, match="difference"):
        three().findings(0)


def test_the_p_values_of_a_summary_are_corrected_for_all_of_them() -> None:
    rows = three().summary()
    a = [0.80, 0.82, 0.81]
    raw = [paired_p_value([0.85, 0.875, 0.87], a), paired_p_value([0.30, 0.32, 0.33], a)]
    assert rows[0].p_value is rows[0].joint is None
    assert [row.p_value for row in rows[1:]] == pytest.approx(holm(raw))
    assert [row.differs for row in rows] == [False, True, True]
    area = estimate([(0.1 + 0.8 + 0.425) / 2, (0.15 + 0.8 + 0.4375) / 2, (0.05 + 0.8 + 0.435) / 2])
    assert (rows[1].area.mean, rows[1].area.half_width) == pytest.approx((area.mean, area.half_width))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("counts", "cell"),
    [
        ((12, 6, 110), "12 (6-110)"),
        ((900, 30, 20_000), "900 (30-many)"),
        ((2400, 1000, 9000), "2400 (1000-9000)"),
        ((5747, 2498, None), "more than 1,000"),
    ],
)
def test_seeds_that_nobody_trains_are_not_counted(counts: tuple[int | None, ...], cell: str) -> None:
    assert needed(Standing("a", 0.5, 1, 1, 1, None, *counts)) == cell


def test_a_difference_that_many_comparisons_explain_is_not_coloured() -> None:
    def coloured(others: int) -> int:
        trials = {"a": A} | {f"other {i}": [trial(x) for x in (0.82, 0.85, 0.83)] for i in range(others)}
        found = comparison(trials)
        assert all(row.difference.excludes_zero for row in found.summary()[1:])  # type: ignore[union-attr]
        return page(found.findings()).count('class="better"')

    assert coloured(1) == 3  # in each table that has the difference
    assert coloured(6) == 0


# --- by epoch ----------------------------------------------------------------------------------------------------------


def test_who_leads_when_is_read_off_the_means() -> None:
    assert three().findings().leads == (Lead("a", 1, 1), Lead("b", 2, 3))
    assert leads(three().findings()) == "best by epoch: a 1; b 2-3"
    rows = three().findings().anytime
    assert len(rows) == 9
    last = {row["schedule"]: row for row in rows if row["epoch"] == 3}
    assert {s.name: s.best for s in three().findings().standings} == {name: row["best"] for name, row in last.items()}
    assert leads(comparison({"a": A}).findings()) == ""


def test_a_tie_leaves_the_lead_where_it_is() -> None:
    same = [trial(0.1, 0.7, 0.9)] * 3
    assert comparison({"b": same, "a": A}).findings().leads == (Lead("a", 1, 2), Lead("b", 3, 3))


def test_a_trial_that_diverges_is_guessing_from_then_on() -> None:
    found = comparison({"a": A, "b": [trial(0.9, status="diverged"), *B[1:]]})
    means = [row["test_accuracy"] for row in found.findings().anytime if row["schedule"] == "b"]
    assert means == pytest.approx([(0.9 + 0.3 + 0.1) / 3, (0.1 + 0.8 + 0.8) / 3, (0.1 + 0.875 + 0.87) / 3])


# --- reports -----------------------------------------------------------------------------------------------------------


def test_the_ranking_fits_the_terminal_and_shows_names_as_written() -> None:
    trials = {"[red]first[/red]": A, "b" * 40: B, "failing": [C[0], *[trial(0.5, status="diverged")] * 2]}
    output = StringIO()
    Console(file=output, width=100).print(ranking_table(comparison(trials).findings(0.005)))
    text = output.getvalue()
    assert max(map(len, text.splitlines())) <= 100
    for part in ("[red]first[/red]", "seeds for 0.005", "first", "%", "rank"):
        assert part in text
    assert not re.search(r"\D…|…[^\d+-]", text)  # nothing was cut; an interval has numbers at both sides


def test_the_report_holds_the_ranking_and_the_curves(tmp_path: Path) -> None:
    write_report(three().findings(0.02), tmp_path)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", (tmp_path / "report.html").read_text("utf-8")))
    assert "Ranking" in text
    assert "seeds for 0.02" in text
    assert "Best by epoch: a 1; b 2-3." in text
    assert "accuracy of guessing, 0.1." in text
    rows = list(csv.DictReader((tmp_path / "anytime.csv").open(encoding="utf-8", newline="")))
    assert [row["schedule"] for row in rows if row["leads"] == "True"] == ["a", "b", "b"]


def test_one_schedule_is_not_ranked() -> None:
    assert "Ranking" not in page(comparison({"a": A}).findings())


def test_json_holds_the_ranking() -> None:
    found = json.loads(json.dumps(three().findings(0.02).to_json(), allow_nan=False))
    assert [s["name"] for s in found["standings"]] == ["b", "a", "c"]
    assert found["leads"][0] == {"name": "a", "first": 1.0, "last": 1.0}
    assert found["difference"] == 0.02
    assert found["guessing"] == 0.1
    assert found["summary"][1]["p_value"] < 0.05


# --- equal areas -------------------------------------------------------------------------------------------------------


def test_schedules_of_equal_area_spend_the_same_rate_and_say_the_factor() -> None:
    given = {"a": laju.constant(0.1), "b": laju.cosine(0.3, total="100%", warmup="1 epoch"), "c": laju.constant(0.1)}
    found = equal_area(given, PLAN)
    sums = [schedule.resolve(PLAN).values(PLAN.updates).sum() for schedule in found.values()]
    assert sums == pytest.approx([0.1 * PLAN.updates] * 3, rel=1e-12)
    factor = 0.1 * PLAN.updates / given["b"].resolve(PLAN).values(PLAN.updates).sum()
    assert list(found) == ["a", f"b × {factor:.3g}", "c"]
    assert found["a"] == given["a"]


def test_schedules_that_cannot_have_equal_areas_are_refused() -> None:
    with pytest.raises(ValueError, match="'zero' has rates that sum to 0"):
        equal_area({"a": laju.constant(0.1), "zero": laju.constant(0.0)}, PLAN)
    with pytest.raises(ValueError, match=r"'b × 0\.5'"):
        equal_area({"a": laju.constant(0.1), "b × 0.5": laju.constant(0.1), "b": laju.constant(0.2)}, PLAN)


def test_compare_trains_with_the_scaled_rates_and_knows_what_guessing_gives() -> None:
    task = Sides()
    found = compare(
        {"a": 0.1, "b": [0.4] * 7 + [0.0] * 7}, task, epochs=2, seeds=1, jobs=1, selection=Selection(equal_area=True)
    )
    assert list(found.schedules) == ["a", "b × 0.5"]
    assert found.outcomes["b × 0.5", 0].records[0].rate == pytest.approx(0.2)
    labels = task.data().train_labels
    assert found.guessing == task.chance_accuracy == pytest.approx(max(labels.mean(), 1 - labels.mean()))


def test_the_command_prints_the_ranking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = ["compare", "constant(0.1)", "b=constant(0.2)", "--epochs", "1", "--seeds", "2", "--jobs", "1"]
    result = CliRunner().invoke(cli, [*given, "--equal-area", "--difference", "0.05", "--full"])
    assert result.exit_code == 0, result.output
    assert "seeds for 0.05" not in result.output  # two seeds know no spread
    for part in ("Ranking by test accuracy", "b × 0.5", "best by epoch: constant(0.1) 1"):
        assert part in result.output
    assert CliRunner().invoke(cli, [*given, "--difference", "0"]).exit_code == 2
