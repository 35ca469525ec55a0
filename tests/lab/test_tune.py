"""tune and compare(tuned=…): nothing finished is lost or trained twice, and another search is not mixed in."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import fields, replace
from html import unescape
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laju
from laju.core.units import RunPlan
from laju.lab import (
    Evaluation,
    Execution,
    Optimizer,
    Outcome,
    Record,
    Search,
    SearchInterrupted,
    SearchResult,
    Selection,
    Space,
    StorageError,
    Store,
    Task,
    Trial,
    compare,
    tune,
)
from laju.lab.comparison.base_rates import tune_base_rates
from laju.lab.report.tuning import page, picture, search_summary, search_table, write_search
from laju.lab.tuning.objectives import Objective
from laju.lab.tuning.tune import SearchWorkerLost
from tests.lab import postgres
from tests.lab.test_compare import Watcher
from tests.lab.tiny import Deadly, Forbidden, Sides, Stuck
from tests.pages import check

ROOT = Path(__file__).parents[2]
SPACE = "peak=1e-3..3 log, warmup=0%..30%"
ONE = {"epochs": 2, "confirm": 0, "jobs": 1}


def sought(policy: str | Space, task: Task | str, space: str = "", **options: Any) -> SearchResult:
    """`tune`, with the settings of the search among the other keywords."""
    settings = {field.name: options.pop(field.name) for field in fields(Search) if field.name in options}
    return tune(policy, task, space, search=Search(**settings), **options)


def found(tuned: SearchResult) -> list:
    """The suggestions and their figures, in the order of the search."""
    return [(t.parameters, t.by_seed, t.pruned) for t in tuned.evaluations]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tune") / "trials.sqlite"


@pytest.fixture(scope="module")
def whole(kept: Path) -> SearchResult:
    """A search that nothing interrupted; past the tenth trial the sampler learns from the earlier ones."""
    return sought("cosine", Sides(), SPACE, trials=12, seeds=[4, 1], store=kept, **ONE)


# --- what a search gives -----------------------------------------------------------------------------------------------


def test_every_figure_is_the_mean_over_the_seeds_of_what_training_the_schedule_gives(
    whole: SearchResult, kept: Path
) -> None:
    schedules = {str(t.number): laju.parse(t.spec) for t in whole.evaluations}
    assert schedules == {str(t.number): t.schedule for t in whole.evaluations}
    fresh = compare(dict(list(schedules.items())[:2]), Sides(), epochs=2, seeds=[4, 1], jobs=1)
    for name in fresh.schedules:
        accuracies = tuple(fresh.outcomes[name, seed].records[-1].test_accuracy for seed in (4, 1))
        assert whole.evaluations[int(name)].by_seed == (accuracies,)
        assert whole.evaluations[int(name)].values == (pytest.approx(sum(accuracies) / 2),)
    for evaluation in whole.evaluations:
        assert whole.estimate(evaluation).mean == pytest.approx(evaluation.values[0])
        assert whole.estimate(evaluation).n == 2
    assert whole.best.values[0] == max(t.values[0] for t in whole.evaluations)
    assert whole.front == [whole.best]
    assert sum(whole.importance.values()) == pytest.approx(1)
    assert set(whole.importance) == {"peak", "warmup"}


def test_the_best_is_trained_again_with_seeds_that_the_search_did_not_see(kept: Path) -> None:
    tuned = sought(
        "constant", Sides(), "value=0.05..1 log", trials=2, epochs=1, seeds=[1], confirm=3, jobs=1, store=kept
    )
    assert tuned.confirmation is not None
    assert tuned.confirmation.seeds == (0, 2, 3)
    assert list(tuned.confirmation.schedules.values()) == [tuned.schedule]
    (row,) = tuned.confirmation.summary()
    assert row.test_accuracy.half_width is not None
    assert any(row.test_accuracy.text() in line for line in search_summary(tuned))
    assert not any("looks better than it is" in w for w in tuned.warnings())


def test_several_objectives_give_the_pareto_front() -> None:
    tuned = sought(
        "constant", Sides(), "value=0.01..3 log", trials=8, objective=["accuracy", "updates-to=0.85"], sampler="random",
        epochs=4, confirm=0, jobs=1,
    )  # fmt: skip
    beaten = [
        any(
            o.values[0] >= t.values[0] and o.values[1] <= t.values[1] and o.values != t.values
            for o in tuned.evaluations
        )
        for t in tuned.evaluations
    ]
    assert {t.values for t in tuned.front} == {
        t.values for t, b in zip(tuned.evaluations, beaten, strict=True) if not b
    }
    assert len({t.values for t in tuned.front}) == len(tuned.front)
    ends = {7 * e for e in (1, 2, 3, 4, 8)}  # of epochs, or two runs
    assert {t.values[1] for t in tuned.evaluations} <= ends
    picture(tuned)


def test_a_run_that_misses_its_target_or_diverges_counts_as_worse_than_any_that_does_not() -> None:
    plan = RunPlan(samples=100, batch_size=10, epochs=2)
    records = tuple(Record(10 * e, float(e), 0.1, 1.0, 0.5, acc) for e, acc in ((1, 0.7), (2, 0.9)))
    finished = Outcome("finished", records, 1.0)
    assert Objective().value(finished, plan) == 0.9
    assert [Objective(x).value(finished, plan) for x in (0.7, 0.9, 0.91)] == [10, 20, 40]
    diverged = Outcome("diverged", records[:1], 1.0, 15)
    assert Objective().value(diverged, plan) == 0
    assert Objective(0.7).value(diverged, plan) == 40


def test_a_grid_has_every_combination_once_and_no_more() -> None:
    space = "peak=0.01..1 log, warmup=0%..20% step 10%"
    tuned = sought("cosine", Sides(n=64), space, trials=99, sampler="grid", points=2, epochs=1, confirm=0, jobs=1)
    got = sorted((t.parameters["peak"], t.parameters["warmup"]) for t in tuned.evaluations)
    assert got == [(peak, warmup) for peak in (0.01, 1) for warmup in ("0%", "10%", "20%")]


@pytest.mark.parametrize("sampler", ["gp", "random"])
def test_other_samplers_suggest_inside_the_space(sampler: str, kept: Path) -> None:
    space = "peak=0.1..1 log, cooldown=10%..50%, shape=linear|sqrt"
    tuned = sought("wsd", Sides(n=64), space, trials=12, sampler=sampler, epochs=1, confirm=0, jobs=1)
    assert len({str(t.parameters) for t in tuned.evaluations}) == 12
    assert all(
        0.1 <= t.parameters["peak"] <= 1 and t.parameters["shape"] in ("linear", "sqrt") for t in tuned.evaluations
    )


def test_the_end_of_a_range_is_pointed_out() -> None:
    space = Space.parse("constant", "value=0.001..0.002 log")
    tuned = sought(space, Sides(), trials=2, sampler="grid", points=2, epochs=2, confirm=0, jobs=1)
    assert tuned.best.parameters == {"value": 0.002}
    assert any("best value lies at the end of its range" in w for w in tuned.warnings())


def test_the_files_of_a_search_hold_its_trials(whole: SearchResult, tmp_path: Path) -> None:
    files = write_search(whole, tmp_path / "out")
    assert [f.name for f in files] == ["search.html", "search.png", "search.csv", "search.json"]
    content = json.loads(files[3].read_text())
    assert laju.parse(content["best"]["schedule"]) == whole.schedule
    assert len(content["trials"]) == len(files[2].read_text().splitlines()) - 1 == 12
    assert files[1].read_bytes().startswith(b"\x89PNG")
    assert search_table(whole).row_count == 10


def test_the_page_of_a_search_opens_with_its_verdict_and_has_every_trial(whole: SearchResult) -> None:
    text = page(whole, command="laju tune '<b>'")
    opened = check(text, images=True)
    verdict = re.sub("<[^>]*>", "", text.partition("<h1>")[2].partition("</h1>")[0])
    assert unescape(verdict) == whole.verdict()
    assert "laju tune '<b>'" in opened.words
    assert text.count('<th scope="row">') == len(whole.evaluations) == 12
    for evaluation in whole.evaluations:
        assert evaluation.spec in opened.words


# --- the verdict -------------------------------------------------------------------------------------------------------


def searched(figures: list[list[float]], objective: Objective | None = None) -> SearchResult:
    """A search whose trials came to such figures, one a seed; 100 test examples, 10 updates an epoch, 100 in all."""
    evaluations = []
    for number, by_seed in enumerate(figures):
        schedule = laju.constant(0.1 * (number + 1))
        mean = sum(by_seed) / len(by_seed)
        parameters = {"value": 0.1 * (number + 1)}
        evaluations.append(
            Evaluation(number, schedule, str(schedule), parameters, parameters, False, (mean,), (tuple(by_seed),))
        )
    plan = RunPlan(samples=640, batch_size=64, epochs=10)
    space, seeds = Space.parse("constant", "value=0.1..9"), tuple(range(len(figures[0])))
    objectives = (objective or Objective(),)
    return SearchResult(
        space, "digits", plan, Optimizer(), "torch", objectives, seeds, tuple(evaluations), resolution=0.01
    )


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 5).flatmap(
        lambda seeds: st.lists(
            st.lists(st.integers(0, 100).map(lambda n: n / 100), min_size=seeds, max_size=seeds), min_size=2, max_size=5
        )
    )
)
def test_a_search_claims_the_best_exactly_where_the_intervals_of_all_leads_carry_it(figures: list[list[float]]) -> None:
    tuned = searched(figures)
    ranking, text = tuned.ranking(), tuned.verdict()
    assert ("Shown to be the best trial by test accuracy" in text) == ranking.decided
    assert ("No trial is shown to be the best" in text) == (not ranking.decided)
    if len(figures[0]) < 3:
        assert not ranking.decided
        assert text.endswith("--seeds 5).")
    for evaluation in tuned.evaluations:
        found = tuned.estimate(evaluation)
        assert found.half_width is None or 0 <= found.low <= found.mean <= found.high <= 1


def test_the_verdict_of_a_search_names_the_command_that_would_settle_it() -> None:
    open_ = searched([[0.90, 0.93, 0.91], [0.91, 0.92, 0.93], [0.2, 0.3, 0.2]])
    text = open_.verdict()
    assert text.startswith("No trial is shown to be the best: ahead is trial 1 (0.920; ")
    ours, theirs, seeds = re.search(r"\(laju compare '(.+)' '(.+)' … --seeds (\d+)\)\.$", text).groups()
    assert [laju.parse(ours), laju.parse(theirs)] == [open_.evaluations[1].schedule, open_.evaluations[0].schedule]
    assert int(seeds) > 3
    assert open_.to_json()["verdict"] == text
    clear = searched([[0.90, 0.93, 0.91], [0.2, 0.21, 0.2]])
    assert clear.verdict().startswith("Shown to be the best trial by test accuracy: trial 0 (0.913), ahead of trial 1")
    assert searched([[0.9, 0.8]]).verdict() == "There is no other trial to compare with: trial 0 (0.900, 0.800)."
    nothing = replace(open_, evaluations=())
    assert nothing.verdict() == "No trial of the search has finished, so there is nothing to compare."


def test_a_schedule_that_was_suggested_twice_is_not_compared_with_itself() -> None:
    tuned = searched([[0.90, 0.93, 0.91], [0.2, 0.21, 0.2]])
    again = replace(tuned, evaluations=(*tuned.evaluations, replace(tuned.evaluations[0], number=2)))
    assert again.verdict() == tuned.verdict()


def test_a_search_for_few_updates_counts_updates_and_knows_them_to_an_epoch() -> None:
    text = searched([[20, 30, 20], [30, 20, 40]], Objective(0.9)).verdict()
    assert "ahead is trial 0 (23; " in text
    assert re.search(r"a difference of (10|5|2\.5) updates to trial 1 \(laju tune constant … --study NEW --seeds", text)
    level = searched([[20, 20, 20], [30, 30, 30]], Objective(0.9))  # one epoch apart, which could be next to nothing
    assert "No trial is shown" in level.verdict()
    assert level.estimate(level.evaluations[0]).half_width > 10
    clear = searched([[20, 20, 20], [90, 90, 100]], Objective(0.9)).verdict()
    assert clear.startswith("Shown to be the best trial by updates to 0.9: trial 0 (20), ahead of trial 1 by 73 ± ")
    missed = searched([[200, 200, 200], [200, 90, 200]], Objective(0.9)).verdict()
    assert missed == "No trial reached a test accuracy of 0.9 with all its seeds, so none is ahead."


# --- going on ----------------------------------------------------------------------------------------------------------


def test_a_search_that_goes_on_equals_one_that_was_left_in_peace(
    whole: SearchResult, kept: Path, tmp_path: Path
) -> None:
    options = {"storage": tmp_path / "a.sqlite", "store": kept, "seeds": [4, 1], **ONE}
    for trials in (3, 11, 12, 5):  # the last asks for fewer than there are
        tuned = sought("cosine", Forbidden(), SPACE, trials=trials, **options)
        assert found(tuned) == found(whole)[: max(trials, len(tuned.evaluations))]
    assert len(tuned.evaluations) == 12


def test_what_the_store_holds_is_not_trained_again(whole: SearchResult, kept: Path) -> None:
    assert found(sought("cosine", Forbidden(), SPACE, trials=12, seeds=[4, 1], store=kept, **ONE)) == found(whole)
    with pytest.raises(AssertionError, match="trained again"):
        sought("cosine", Forbidden(), SPACE, trials=1, seeds=[5], store=kept, **ONE)


def test_an_interrupted_search_keeps_every_finished_seed_and_goes_on_where_it_stopped(
    whole: SearchResult, tmp_path: Path
) -> None:
    store, storage = tmp_path / "trials.sqlite", tmp_path / "search.sqlite"
    options = {"trials": 12, "seeds": [4, 1], "storage": storage, "store": store, **ONE}
    with pytest.raises(SearchInterrupted) as stopped:
        sought("cosine", Sides(), SPACE, display=Watcher(interrupt_after=5), **options)
    assert found(stopped.value.result) == found(whole)[:2]
    with Store(store) as opened:
        assert len(opened) == 5  # the third has one of its two seeds
    assert found(sought("cosine", Sides(), SPACE, **options)) == found(whole)
    with Store(store) as opened:
        assert len(opened) == 24


def test_a_killed_worker_loses_nothing_that_is_finished(tmp_path: Path) -> None:
    options = {"trials": 4, "seeds": [0, 7], "storage": tmp_path / "s.sqlite", "store": tmp_path / "t.sqlite"}
    task = Deadly(seed=7, mark=tmp_path / "killed")
    with pytest.raises(SearchWorkerLost, match="the same search later runs the rest") as lost:
        sought("cosine", task, SPACE, **(ONE | options | {"jobs": 2}))
    with Store(tmp_path / "t.sqlite") as opened:
        before = len(opened)
    tuned = sought("cosine", task, SPACE, **(ONE | options))
    assert len(tuned.evaluations) == 4
    assert {json.dumps(dict(t.parameters)) for t in lost.value.result.evaluations} <= {
        json.dumps(dict(t.parameters)) for t in tuned.evaluations
    }
    with Store(tmp_path / "t.sqlite") as opened:
        assert before <= len(opened) == 8


PROGRAM = """
import sys
from laju.lab import Search, tune
from tests.lab.tiny import Sides

tune("cosine", Sides(n=4000), "peak=1e-3..3 log", search=Search(8, confirm=0, storage=sys.argv[1]), epochs=4, batch_size=8,
     jobs=1, store=sys.argv[2])
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_search_goes_on_and_takes_back_the_suggestion_of_the_dead_process(tmp_path: Path) -> None:
    storage, store = tmp_path / "s.sqlite", tmp_path / "t.sqlite"
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(storage), str(store)], cwd=ROOT)
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None and (not store.exists() or len(Store(store)) < 2):
        time.sleep(0.02)
    process.kill()
    process.wait()
    study = optuna.load_study(study_name="cosine on sides", storage=f"sqlite:///{storage}")
    before = study.get_trials()
    # One that was killed while it was asked for has no parameters yet.
    running = [t.params for t in before if t.state == optuna.trial.TrialState.RUNNING and t.params]
    finished = sum(t.state == optuna.trial.TrialState.COMPLETE for t in before)
    trials = max(4, finished + len(running))
    tuned = sought(
        "cosine", Sides(n=4000), "peak=1e-3..3 log", trials=trials, epochs=4, confirm=0, batch_size=8, jobs=1,
        storage=storage, store=store,
    )  # fmt: skip
    assert len(tuned.evaluations) == trials
    assert all(params in [t.suggested for t in tuned.evaluations] for params in running)
    assert not study.get_trials(states=(optuna.trial.TrialState.RUNNING,))


# --- pruning -----------------------------------------------------------------------------------------------------------


def test_a_pruned_trial_stops_at_once_and_is_no_result(tmp_path: Path) -> None:
    space, store = "value=1e-6|2e-6|3e-6|0.4|0.41|0.42|0.43|0.44", tmp_path / "t.sqlite"
    options = {"trials": 14, "epochs": 5, "seeds": 2, "confirm": 0, "jobs": 1, "store": store}
    with pytest.warns(UserWarning, match="'median' stops trials .* favours schedules that decay early"):
        tuned = sought("constant", Sides(), space, sampler="random", pruner="median", seed=3, **options)
    assert any("stopped by the test accuracy at an early epoch" in text for text in tuned.warnings())
    pruned = [t for t in tuned.evaluations if t.pruned]
    assert pruned
    assert all(len(t.course) < 5 and not t.values for t in pruned)
    assert all(len(t.course) == 5 and len(t.by_seed[0]) == 2 for t in tuned.evaluations if not t.pruned)
    assert any(t.parameters["value"] < 0.1 for t in pruned)
    assert tuned.best.parameters["value"] > 0.1
    assert not any(t.pruned for t in tuned.ranked)
    with Store(store) as opened:
        for evaluation in pruned:
            trial = Trial(Sides(), evaluation.schedule, 1, 5, 64, Optimizer())
            other = [t for t in tuned.evaluations if t.schedule == evaluation.schedule and not t.pruned]
            assert other or opened.get(trial) is None
    picture(tuned)


def test_a_trial_that_cannot_end_above_the_best_is_left_without_its_other_seeds(tmp_path: Path) -> None:
    space, store = "value=1e-6|2e-6|3e-6|0.4|0.41|0.42|0.43|0.44", tmp_path / "t.sqlite"
    options = {"trials": 14, "epochs": 2, "seeds": 6, "confirm": 0, "jobs": 1, "store": store}
    tuned = sought("constant", Sides(), space, sampler="random", pruner="seeds", seed=3, **options)
    pruned = [t for t in tuned.evaluations if t.pruned]
    assert any(t.parameters["value"] < 0.1 for t in pruned)
    assert tuned.best.parameters["value"] > 0.1
    assert all(len(t.course) == 2 for t in tuned.evaluations)  # every run was whole
    assert all(len(t.by_seed[0]) == 6 for t in tuned.evaluations if not t.pruned)
    assert not any("early epoch" in text for text in tuned.warnings())
    with Store(store) as opened:
        for evaluation in pruned:
            kept = [opened.get(Trial(Sides(), evaluation.schedule, seed, 2, 64, Optimizer())) for seed in range(6)]
            assert kept[0] is not None
            assert kept[5] is None or any(t.schedule == evaluation.schedule for t in tuned.ranked)


# --- where and how long ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_trial_beyond_the_time_limit_has_no_figure_and_keeps_its_other_seeds(tmp_path: Path) -> None:
    tuned = sought(
        "constant", Stuck(seed=1), "value=0.1..0.5", seeds=[0, 1, 2], trials=2, objective=["accuracy", "updates-to=0.9"],
        epochs=1, execution=Execution(jobs=2, time_limit=30), store=tmp_path / "t.sqlite",
    )  # fmt: skip
    assert [(t.pruned, t.late, t.values) for t in tuned.evaluations] == [(True, True, ())] * 2
    assert tuned.confirmation is None
    assert "2 trials took longer than the time limit, and so have no figure." in tuned.warnings()
    with Store(tmp_path / "t.sqlite") as opened:
        assert len(opened) >= 1


def test_a_search_in_another_arithmetic_is_another_search(tmp_path: Path) -> None:
    options = {"trials": 1, "epochs": 1, "confirm": 1, "storage": tmp_path / "s.sqlite"}
    half = Execution(jobs=1, precision="bf16", stack=1)
    tuned = sought("cosine", Sides(n=64), SPACE, execution=half, **options)
    again = compare({"a": tuned.schedule}, Sides(n=64), seeds=[0, 1], epochs=1, execution=half)
    assert tuned.best.by_seed == ((again.outcomes["a", 0].records[-1].test_accuracy,),)
    assert tuned.confirmation.outcomes["trial 0", 1].records == again.outcomes["a", 1].records
    with pytest.raises(StorageError, match="numerics is 'cpu bf16' there and None here"):
        sought("cosine", Sides(n=64), SPACE, jobs=1, **options)


# --- the storage -------------------------------------------------------------------------------------------------------


def test_another_search_under_the_same_name_is_refused_and_says_what_differs(tmp_path: Path) -> None:
    options = {"trials": 1, "storage": tmp_path / "s.sqlite", **ONE}
    sought("cosine", Sides(n=64), SPACE, **options)
    for changed, text in (
        ({"space": "peak=1e-3..1 log"}, "space is 'peak=0.001..3 log, warmup=0%..30%' there"),
        ({"epochs": 3}, "epochs is 2 there and 3 here"),
        ({"objective": "updates-to=0.9"}, r"objectives is \['accuracy'\] there"),
        ({"task": Sides(n=65)}, "data is"),
        ({"optimizer": Optimizer(momentum=0.9)}, "optimizer is"),
        ({"seeds": 2}, r"seeds is \[0\] there and \[0, 1\] here"),
    ):
        arguments = {"policy": "cosine", "task": Sides(n=64), "space": SPACE} | options | changed
        with pytest.raises(StorageError, match=f"holds another search under the name 'cosine on sides': .*{text}"):
            sought(**arguments)
    other = sought("cosine", Sides(n=64), "peak=1e-3..1 log", study="second", **options)
    assert other.study == "second"


def test_a_study_that_laju_did_not_make_is_left_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 's.sqlite'}"
    optuna.create_study(storage=url, study_name="mine").optimize(lambda trial: trial.suggest_float("x", 0, 1), 1)
    with pytest.raises(StorageError, match="a study 'mine' that laju did not make"):
        sought("cosine", Sides(n=64), SPACE, trials=1, storage=url, study="mine", **ONE)


def test_files_that_are_something_else_are_left_as_they_are(tmp_path: Path) -> None:
    store, other, text = tmp_path / "store.sqlite", tmp_path / "other.sqlite", tmp_path / "a.txt"
    Store(store).close()
    connection = sqlite3.connect(other)
    connection.execute("create table notes (x)")
    connection.close()
    text.write_text("a page of text\n" * 100)
    for path, message in (
        (store, "is a store of trials"),
        (other, "is a SQLite file but not an Optuna storage: it holds notes"),
        (text, "is not a SQLite file"),
        (tmp_path, "is a folder"),
        (text / "below.sqlite", "cannot be opened"),
    ):
        before = path.read_bytes() if path.is_file() else None
        with pytest.raises(StorageError, match=message):
            sought("cosine", Sides(n=64), SPACE, trials=1, storage=path, **ONE)
        assert before is None or path.read_bytes() == before


def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"postgresql://laju:secret@127.0.0.1:{closed.getsockname()[1]}/db"
        with pytest.raises(StorageError, match="cannot be reached") as error:
            sought("cosine", Sides(n=64), SPACE, trials=1, storage=url, **ONE)
    assert "secret" not in str(error.value)
    assert "127.0.0.1" in str(error.value)


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    found = postgres.programs()
    if found is None:
        pytest.skip("there is no PostgreSQL server here: apt install postgresql")
    with postgres.server(found) as url:
        yield url


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="the server is started over a socket")
def test_a_search_in_postgresql_goes_on_in_parallel_and_refuses_another(
    database: str, whole: SearchResult, kept: Path
) -> None:
    options = {"storage": database, "store": kept, "seeds": [4, 1], **ONE}
    assert found(sought("cosine", Forbidden(), SPACE, trials=5, **options)) == found(whole)[:5]
    assert found(sought("cosine", Forbidden(), SPACE, trials=12, **options)) == found(whole)
    with pytest.raises(StorageError, match="holds another search"):
        sought("cosine", Sides(), "peak=1..2", trials=12, **options)
    parallel = {"storage": database, "trials": 8, "pruner": "median", "study": "parallel", "seeds": 2}
    with pytest.warns(UserWarning, match="equal epochs"):
        tuned = sought("cosine", Sides(), SPACE, **(ONE | parallel | {"jobs": 2, "epochs": 3}))
    assert len(tuned.evaluations) == 8
    assert all(len(t.course) == 3 for t in tuned.evaluations if not t.pruned)
    # What ran in parallel has the figures of what runs alone.
    alone = compare({"a": tuned.schedule}, Sides(), epochs=3, seeds=2, jobs=1).summary()[0]
    best = tuned.estimate(tuned.best)
    assert (alone.test_accuracy.mean, alone.test_accuracy.n) == (best.mean, best.n)
    names = {s.study_name for s in optuna.get_all_study_summaries(database.replace("://", "+psycopg://", 1))}
    assert names == {"cosine on sides", "parallel"}


def test_optuna_dashboard_opens_on_the_same_storage(whole: SearchResult, kept: Path, tmp_path: Path) -> None:
    storage = tmp_path / "search.sqlite"
    sought("cosine", Forbidden(), SPACE, trials=3, seeds=[4, 1], storage=storage, store=kept, **ONE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("optuna-dashboard")
    arguments = [program, f"sqlite:///{storage}", "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(arguments, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies", timeout=5) as answer:
                    studies = json.load(answer)["study_summaries"]
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail((tmp_path / "log").read_text())
                time.sleep(0.2)
        assert [s["study_name"] for s in studies] == ["cosine on sides"]
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/api/studies/{studies[0]['study_id']}", timeout=30
        ) as answer:
            trials = json.load(answer)["trials"]
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert [t["values"] for t in trials] == [list(t.values) for t in whole.evaluations[:3]]


# --- bad arguments -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"policy": "cosin"}, "did you mean 'cosine'"),
        ({"space": "peak=1..0.1"}, "must not be over"),
        ({"space": "peak=0.1..1, warmup=0%..120%"}, "warmup=120%"),
        ({"trials": 0}, "trials must be a whole number of at least 1, got 0"),
        ({"sampler": "tpr"}, "sampler must be one of .*, got 'tpr'; did you mean 'tpe'"),
        ({"pruner": "medium"}, "pruner must be one of .*, got 'medium'"),
        ({"objective": "loss"}, "objective 'loss' is not one of accuracy, updates-to=ACCURACY"),
        ({"objective": "updates-to=90"}, "at most 1"),
        ({"objective": "updates-to=x"}, "must be updates-to=ACCURACY"),
        ({"objective": ["accuracy", "accuracy"]}, "twice"),
        ({"objective": []}, "at least one"),
        ({"objective": ["accuracy", "updates-to=0.9"], "pruner": "median"}, "needs one objective"),
        ({"pruner": "seeds", "seeds": 2}, "pruner 'seeds' needs 3 seeds or more, got 2"),
        ({"task": "digit"}, "did you mean 'digits'"),
        ({"framework": "theano"}, "framework must be one of .*, got 'theano'"),
        ({"seeds": []}, "at least one seed"),
        ({"storage": "what://is/this"}, "what|storage"),
        (
            {"policy": Space.parse("constant", "value=0..1")},
            "space='peak=.*' and a Space with 'value=0..1' are both given",
        ),
        ({"space": Space.parse("constant", "value=0..1")}, "a Space knows its policy: give it in place of the policy"),
        ({"execution": Execution(jobs=2)}, "jobs=1 and an Execution with jobs=2 are both given"),
        ({"execution": Execution(stack=4), "jobs": None}, "stack=4 does not go with this: a search"),
        (
            {"execution": Execution(on="ray"), "jobs": None, "pruner": "median"},
            "on='ray' does not go with this: pruner 'median'",
        ),
        ({"optimizer": "sgd"}, "optimizer must be an Optimizer, got 'sgd'"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_trained(changed: dict, message: str) -> None:
    arguments = {"policy": "cosine", "task": Forbidden(), "space": SPACE, "trials": 1, **ONE} | changed
    with pytest.raises((ValueError, TypeError, OSError, ModuleNotFoundError), match=message):
        sought(**arguments)


def test_a_search_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match="search must be a Search, got 30"):
        tune("cosine", Forbidden(), SPACE, search=30)  # type: ignore[arg-type]


# --- base rates --------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(trials=st.integers(3, 30), peak=st.floats(-1, 1), names=st.integers(1, 3))
def test_the_search_for_a_base_rate_closes_in_on_the_best_with_no_more_trials_than_asked(trials, peak, names) -> None:
    made: list[float] = []

    def run(wanted):
        made.extend(schedule(0) for schedule in wanted.values())
        good = {key: 1 - abs(math.log10(s(0)) - peak) / 4 for key, s in wanted.items()}
        return {key: Outcome("finished", (Record(1, 1.0, 0.0, 1.0, x, x),), 0.0) for key, x in good.items()}

    rates = tune_base_rates({str(i): laju.constant(1) for i in range(names)}, [0], trials, run)
    assert len(made) <= trials * names
    assert all(0.1 <= rate <= 10 for rate in made)
    assert 1.0 in made
    first = max(3, trials // 2 + (trials // 2 + 1) % 2)
    rounds = (trials - first) // 2
    assert all(abs(math.log10(r.factor) - peak) <= 1 / (first - 1) / 2**rounds + 0.01 for r in rates.values())


def test_tuned_rates_are_found_with_other_seeds_and_the_table_says_the_factors(tmp_path: Path) -> None:
    store = tmp_path / "t.sqlite"
    schedules = {"slow": 0.002, "good": "constant(0.5)"}
    options = {"epochs": 2, "seeds": [0, 2], "jobs": 1, "store": store}
    plain = compare(schedules, Sides(), **options)
    assert any("was not tuned" in w for w in plain.findings().warnings)
    tuned = compare(schedules, Sides(), selection=Selection(tuned=5), **options)
    assert tuned.tuned
    assert not any("was not tuned" in w for w in tuned.findings().warnings)
    slow, _ = tuned.schedules
    assert slow.startswith("slow ×")
    assert tuned.schedules[slow] == laju.constant(0.002).scale(float(slow.partition("×")[2]))
    assert any("slow: its best base rate lies at the end" in w for w in tuned.findings().warnings)  # even 0.02 is slow
    assert tuned.summary()[0].test_accuracy.mean >= plain.summary()[0].test_accuracy.mean
    connection = sqlite3.connect(store)
    seeds = dict(connection.execute("select seed, count(*) from trials group by seed"))
    connection.close()
    assert seeds[1] <= 2 * 5  # the tuning's, and no other
    assert set(seeds) == {0, 1, 2}
    again = compare(schedules, Forbidden(), selection=Selection(tuned=5), **options)
    assert again.outcomes == tuned.outcomes


def test_bad_requests_to_tune_a_comparison_are_refused() -> None:
    with pytest.raises(ValueError, match="tuned must be a whole number of at least 3, got 2"):
        Selection(tuned=2)
    with pytest.raises(ValueError, match="use one of them"):
        Selection(tuned=True, equal_area=True)
