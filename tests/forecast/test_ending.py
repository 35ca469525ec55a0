"""Forecasts of a run's end: what is promised of every answer and of every refusal."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import laju
from laju.core.checks import SpecError
from laju.forecast import Curve, Ending, Prior, ending, learn
from laju.forecast.prior import SHIPPED, shipped

TOTAL = 4000
AT = np.arange(40, TOTAL + 1, 40)


def loss(
    run: laju.Schedule, at: np.ndarray = AT, total: int = TOTAL, gain: float = 0.25, level: float = 3.0
) -> np.ndarray:
    """Losses of a world where annealing takes effect within a hundredth of the run."""
    rates = run.values(total) / run.values(total).max()
    memory = np.exp(-1 / (0.01 * total))
    felt, held = np.empty(total + 1), rates.max()
    felt[0] = held
    for t, rate in enumerate(np.maximum.accumulate(rates[::-1])[::-1]):
        held = memory * held + (1 - memory) * rate
        felt[t + 1] = held
    s = np.concatenate([[0.0], np.cumsum(rates)])[at] / 400
    return level + 0.7 * s**-0.4 - gain * (1 - felt[at])


def past() -> Prior:
    noise, curves = np.random.default_rng(0), []
    for k, fraction in enumerate((0.3, 0.33, 0.34, 0.35, 0.36, 0.38, 0.4, 0.42)):
        run = laju.wsd(0.1, total=TOTAL, cooldown=round(fraction * TOTAL), warmup=40)
        values = loss(run, gain=0.24 + 0.005 * (k % 4), level=2.98 + 0.01 * (k % 5))
        curves.append(Curve(AT, values * noise.normal(1, 5e-4, len(AT)), run, f"run {k}"))
    return learn(curves)


PAST = past()
RUN = laju.wsd(0.1, total=TOTAL, cooldown=1400, warmup=40)
LOSS = loss(RUN)


def seen(share: float) -> tuple[np.ndarray, np.ndarray]:
    n = int(share * len(AT))
    return AT[:n], LOSS[:n]


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
def test_the_end_of_a_run_lies_in_the_band_around_the_answer(share: float) -> None:
    found = ending(*seen(share), RUN, prior=PAST)
    assert found.refused is None
    assert found.low is not None and found.value is not None and found.high is not None  # noqa: PT018
    assert found.low <= LOSS[-1] <= found.high
    assert abs(found.value - LOSS[-1]) < 0.1 * abs(LOSS[int(share * len(AT)) - 1] - LOSS[-1])
    assert found.prior == "own runs"
    assert found.rests_on


def test_rates_may_be_in_any_unit_and_asking_twice_gives_the_same() -> None:
    once = ending(*seen(0.7), RUN, prior=PAST)
    assert ending(*seen(0.7), RUN, prior=PAST) == once
    scaled = ending(*seen(0.7), 1e-3 * RUN.values(TOTAL), prior=past())
    assert scaled.value == pytest.approx(once.value, rel=1e-9)
    assert scaled.low == pytest.approx(once.low, rel=1e-9)


def test_a_schedule_and_its_rates_are_the_same_question() -> None:
    assert ending(*seen(0.7), RUN, prior=PAST) == ending(*seen(0.7), RUN.values(TOTAL), prior=PAST)
    assert ending(*seen(0.7), str(RUN), prior=PAST) == ending(*seen(0.7), RUN, prior=PAST)


def test_a_prior_is_the_same_after_json(tmp_path: Path) -> None:
    PAST.save(tmp_path / "p.json")
    again = Prior.load(tmp_path / "p.json")
    assert again == PAST
    assert ending(*seen(0.7), RUN, prior=again) == ending(*seen(0.7), RUN, prior=PAST)
    assert ending(*seen(0.7), RUN, prior=tmp_path / "p.json") == ending(*seen(0.7), RUN, prior=PAST)


def test_a_flat_trunk_is_refused_with_the_cure_where_no_past_run_is_near() -> None:
    found = ending(*seen(0.5), RUN, prior=None)
    assert found.value is found.low is found.high is None
    assert found.refused is not None
    assert "0% of the annealing is seen" in found.refused
    assert "laju.forecast.learn" in found.refused
    far = learn([Curve(AT, loss(c := laju.cosine(0.1, total=TOTAL), level=9.0), c, "far")])
    assert "too far" in str(ending(*seen(0.5), RUN, prior=far).refused)


def test_one_finished_run_of_the_recipe_is_the_cure_for_a_flat_trunk() -> None:
    one = Curve(AT, loss(RUN, level=3.01, gain=0.26), RUN, "last week")
    found = ending(*seen(0.5), RUN, prior=learn([one]))
    assert found.refused is None
    assert found.low is not None
    assert found.high is not None
    assert found.low <= LOSS[-1] <= found.high
    assert found.rests_on[0].run == "last week"


@pytest.mark.parametrize("offset", [0.0, 0.03])
def test_finished_branches_of_the_trunk_answer_for_longer_runs_whatever_their_constant(offset: float) -> None:
    short = [laju.wsd(0.1, total=2000, cooldown=c, warmup=40) for c in (200, 600, 1000, 1600)]
    at = AT[AT <= 2000]

    def branch(run: laju.Schedule, gain: float, level: float) -> np.ndarray:
        # One world for 2,000 and 4,000 updates: memory counts in updates.
        rates, total = run.values(TOTAL if run.length == TOTAL else 2000) / 0.1, int(run.length)
        felt, held = [1.0], 1.0
        for t in range(total):
            held += (min(1.0, rates[t] if t >= 40 else 1.0) - held) / 40
            felt.append(held)
        s = np.concatenate([[0.0], np.cumsum(rates)]) / 400
        rows = np.arange(40, total + 1, 40)
        return level + 0.7 * s[rows] ** -0.4 - gain * (1 - np.array(felt)[rows])

    curves, groups = [], []
    for k, (gain, level) in enumerate([(0.15, 3.0), (0.2, 3.2), (0.3, 3.4), (0.35, 3.1)]):
        for run in short:
            apart = offset * (len(curves) % 3 - 1)  # as of another validation set
            curves.append(Curve(at, branch(run, gain, level) + apart, run, f"{k} {run}"))
            groups.append(f"peak {k}")
        if k < 3:
            long = laju.wsd(0.1, total=TOTAL, cooldown=1400, warmup=40)
            curves.append(Curve(AT, branch(long, gain, level), long, f"{k} long"))
            groups.append(f"peak {k}")
    truth = branch(RUN, 0.35, 3.1)
    n = int((AT <= 2000).sum())
    found = ending(AT[:n], truth[:n], RUN, prior=learn(curves, groups))
    assert f"fitted together with {3 if offset else 4} past runs" in " ".join(found.notes)
    assert found.refused is None
    assert found.value == pytest.approx(truth[-1], abs=0.01)


def test_where_no_law_describes_a_run_past_runs_that_are_nearly_the_same_answer() -> None:
    bump = 1 + 0.1 * np.exp(-(((AT / TOTAL - 0.5) / 0.06) ** 2))  # of every run of this recipe, and of no law
    runs = [laju.wsd(0.1, total=TOTAL, cooldown=c, warmup=40) for c in (1340, 1380, 1420, 1460)]
    alike = [Curve(AT, loss(r, gain=0.24 + 0.01 * k) * bump, r, f"run {k}") for k, r in enumerate(runs)]
    truth = LOSS * bump
    n = int(0.8 * len(AT))
    assert "no law describes" in str(ending(AT[:n], truth[:n], RUN, prior=None).refused)
    found = ending(AT[:n], truth[:n], RUN, prior=learn(alike))
    assert found.refused is None
    assert "the answer is based on the nearest past runs" in " ".join(found.notes)
    assert found.low <= truth[-1] <= found.high  # type: ignore[operator]
    assert abs(found.value - truth[-1]) < 0.1 * (truth[n - 1] - truth[-1])  # type: ignore[operator]


def test_a_run_that_goes_on_at_rate_0_ends_where_it_is() -> None:
    run = laju.cosine(0.1, total=2000) >> laju.constant(0.0).take(2000)
    level, noise = np.where(AT < 2000, 3 + (2000 - AT) / 2000, 3.0), np.random.default_rng(4).normal(0, 0.01, len(AT))
    y = np.where(AT < 2000, level * (1 + 0.05 * np.sin(AT)), level + noise)  # no law describes it
    found = ending(AT[:80], y[:80], run, prior=PAST)
    assert found.value == pytest.approx(y[49:80].mean())
    assert "nothing is trained after update 1,999" in found.notes[-1]
    assert 0.01 < found.high - found.value < 0.03  # type: ignore[operator]
    assert found.law == "rate 0"


# --- the log -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_run_is_not_judged_by_its_own_log(every: int) -> None:
    at = np.arange(10 * every, TOTAL + 1, 10 * every)  # 400 rows, of which means are kept, 200, and 133
    values = loss(RUN, at) * np.random.default_rng(1).normal(1, 5e-4, len(at))
    itself = Curve(at, values, RUN, "itself")
    others = [
        Curve(AT, loss(run), run, f"run {c}") for c in (1200, 1600) for run in [laju.wsd(0.1, total=TOTAL, cooldown=c)]
    ]
    n = int(0.7 * len(at))
    found = ending(at[:n], values[:n], RUN, prior=learn([itself, *others]))
    assert any("itself of 'own runs' is this run itself" in note for note in found.notes)
    assert {past.run for past in found.rests_on} == {"run 1200", "run 1600"}
    alone = ending(at[:n], values[:n], RUN, prior=learn([itself]))
    assert alone.prior is None
    assert alone.value == ending(at[:n], values[:n], RUN, prior=None).value


def test_a_branch_of_the_trunk_and_another_seed_are_other_runs() -> None:
    noise = np.random.default_rng(2)
    seed = Curve(AT, LOSS * noise.normal(1, 5e-4, len(AT)), RUN, "seed")
    branch = laju.wsd(0.1, total=3000, cooldown=800, warmup=40)
    at = AT[AT <= 3000]
    shorter = Curve(at, np.where(at <= 2200, LOSS[: len(at)], 0.99 * LOSS[: len(at)]), branch, "branch")
    found = ending(AT[:50], LOSS[:50], RUN, prior=learn([seed, shorter], ["a", "a"]))
    assert not any("itself" in note for note in found.notes)


def test_the_last_update_counted_from_0_is_the_end() -> None:
    at, values = AT - 1, LOSS
    found = ending(at, values, RUN, prior=None)
    assert (found.law, found.value, found.at) == ("measured", values[-1], TOTAL)
    assert str(found) == f"ended at {values[-1]:.5g} after {TOTAL:,} updates; the run is over"


@pytest.mark.parametrize("updates", [10_000_001, 10**30])
def test_a_run_with_more_updates_than_can_be_summed_is_refused_with_a_cure(updates: int) -> None:
    with pytest.raises(ValueError, match=r"at must be at most 10,000,000 updates, got .* in hundreds or thousands"):
        ending([1, 2, 3, 4, 5], [3.0, 2.9, 2.8, 2.7, 2.6], laju.cosine(0.1, total=1000), at=updates, prior=None)
    with pytest.raises(ValueError, match="at must be at most 10,000,000 updates"):
        ending([1, 2, 3, 4, 5], [3.0, 2.9, 2.8, 2.7, 2.6], laju.cosine(0.1, total=updates), prior=None)


def test_a_measure_that_rises_is_refused_with_its_cure() -> None:
    refused = ending(AT[:40], np.linspace(60, 80, 40), RUN).refused
    assert refused is not None
    assert "minus the accuracy" in refused


def test_a_resumed_log_is_joined_with_a_note() -> None:
    at, y = seen(0.7)
    back = np.concatenate([at[:40], at[30:]])
    values = np.concatenate([y[:30], y[30:40] + 0.3, y[30:]])
    found = ending(back, values, RUN, prior=PAST)
    assert found.value == ending(at, y, RUN, prior=PAST).value
    assert "10 earlier rows were replaced" in found.notes[0]


def test_losses_that_are_not_finite_are_left_out_with_a_note_and_a_diverged_run_is_refused() -> None:
    at, y = seen(0.7)
    holes = y.copy()
    holes[[10, 20]] = np.nan
    found = ending(at, holes, RUN, prior=PAST)
    assert found.refused is None
    assert "2 of 70 losses are not finite" in found.notes[0]
    holes[-5:] = np.inf
    assert "the run diverged" in str(ending(at, holes, RUN, prior=PAST).refused)


@pytest.mark.parametrize(
    ("at", "y", "said"),
    [
        ([], [], "0 losses so far"),
        ([40], [3.0], "1 loss so far"),
        (AT[:4], LOSS[:4], "4 losses so far, at least 5 are needed"),
        (AT[:40], np.full(40, 3.0), "has not fallen"),
        (AT[:40], np.linspace(3, 4, 40), "has not fallen"),
        (AT[:40], LOSS[:40] - 4, "only positive losses"),
        (np.concatenate([AT[:40], AT[:40]]), np.concatenate([LOSS[:40]] * 2), "two runs"),
        (AT[:60], np.concatenate([LOSS[:50], LOSS[49] * np.linspace(1, 1.05, 10)]), "above its lowest"),
        (AT[:60], LOSS[:60] * (1 + 0.03 * np.sin(np.arange(60) * 2.4)), "no law describes"),
    ],
)
def test_what_says_too_little_is_refused_in_a_sentence(at: object, y: object, said: str) -> None:
    found = ending(at, y, RUN, prior=PAST)
    assert found.value is None
    assert said in str(found.refused)


def test_a_gap_is_told() -> None:
    keep = (AT <= 800) | (AT > 2200)
    n = keep & (AT <= 3200)
    found = ending(AT[n], LOSS[n], RUN, prior=PAST)
    assert "no loss between updates 800 and 2,240" in found.notes[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schedule": None}, "schedule must be a Schedule"),
        ({"schedule": laju.constant(0.1)}, "at must be given"),
        ({"schedule": RUN, "at": 1000}, "at must not be before the last row, at update 2,800"),
        ({"schedule": np.full(100, 0.1), "at": 4000}, "one rate for each of the 4000 updates, got 100"),
        ({"schedule": np.zeros(4000)}, "0 in all"),
        ({"level": 1.5}, "level must be between 0 and 1, got 1.5"),
        ({"prior": "adamw-langage"}, "prior must be"),
        ({"updates": [1, 2, 3]}, "same length"),
        ({"losses": "abc"}, "losses must be a sequence of numbers"),
    ],
)
def test_wrong_arguments_are_named(change: dict[str, object], said: str) -> None:
    at, y = seen(0.7)
    arguments = {"updates": at, "losses": y, "schedule": RUN, "prior": PAST, **change}
    with pytest.raises(ValueError, match=said):
        ending(**arguments)


def test_units_have_to_be_known() -> None:
    with pytest.raises((ValueError, SpecError), match="epoch"):
        ending(*seen(0.7), laju.cosine(0.1, total="10 epochs"), prior=PAST)


def test_an_earlier_moment_may_be_asked_about_and_a_run_that_is_over_is_no_question() -> None:
    found = ending(*seen(0.7), RUN, at=3400, prior=PAST)
    assert found.at == 3400
    assert found.value == pytest.approx(LOSS[AT == 3400][0], abs=0.02)
    assert ending(AT, LOSS, RUN, prior=PAST).value == LOSS[-1]


def test_answers_go_into_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    at, y = seen(0.7)
    frame = pandas.DataFrame({"update": at, "loss": y})
    found = ending(frame["update"], frame["loss"], RUN, prior=PAST)
    table = pandas.DataFrame([found, ending(*seen(0.5), RUN, prior=None)])
    assert list(table["value"].isna()) == [False, True]


# --- priors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_priors_say_their_source_and_licence(name: str) -> None:
    prior = shipped(name)
    assert prior.name == name
    mit = (
        "MIT License" in prior.licence and "Copyright (c)" in prior.licence and "Permission is hereby" in prior.licence
    )
    assert mit or prior.licence.startswith("Apache-2.0")
    assert "arXiv" in prior.source or "github.com" in prior.source
    found = ending(*seen(0.9), RUN, prior=name)
    assert found.prior == name or found.refused


def test_auto_names_the_prior_that_it_chose() -> None:
    found = ending(*seen(0.9), RUN)
    assert found.refused is None
    assert found.prior in {*SHIPPED, None}
    assert len(found.tested) == 3


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda d: d.update(format="other"), "a prior has the format"),
        (lambda d: d.update(runs=[]), "1 to 1,000 runs"),
        (lambda d: d["runs"][0].update(losses=["__import__('os')"] * 100), "must be finite numbers"),
        (lambda d: d["runs"][0].update(losses=[3.0]), "as many as the losses"),
        (lambda d: d["runs"][0].update(updates=[5] * 96), "must increase"),
        (lambda d: d["runs"][0].update(knots=[1, 2], rates=[1, 1]), "must increase from 0"),
        (lambda d: d["runs"][0].update(knots=[0, 10**12], rates=[1, 1]), "end before update"),
        (lambda d: d["runs"][0].update(rates=[-1.0] * len(d["runs"][0]["knots"])), "not negative"),
        (lambda d: d["runs"][0].update(name=3), "must have a name"),
        (lambda d: d.update(runs=[3]), "must be an object"),
    ],
)
def test_a_damaged_prior_is_refused_by_name(damage: object, said: str) -> None:
    data = json.loads(json.dumps(PAST.to_json()))
    damage(data)  # type: ignore[operator]
    with pytest.raises(ValueError, match=said):
        Prior.from_json(data)


def test_learning_says_what_it_needs() -> None:
    with pytest.raises(ValueError, match="at least one finished run"):
        learn([])
    with pytest.raises(TypeError, match="Curve objects"):
        learn([3])  # type: ignore[list-item]
    curve = Curve(AT, LOSS, RUN)
    with pytest.raises(ValueError, match="one for each of the 1 curves"):
        learn([curve], ["a", "b"])
    with pytest.raises(ValueError, match="at least 5"):
        learn([Curve(AT[:3], LOSS[:3], RUN)])


def test_a_branch_takes_the_rows_of_its_trunk() -> None:
    trunk = Curve(AT, loss(laju.constant(0.1)), laju.constant(0.1), "trunk")
    late = AT >= 2400
    branch = Curve(AT[late], LOSS[late] * 1.0, RUN, "branch")
    flat = Curve(
        AT,
        loss(laju.wsd(0.1, total=TOTAL, cooldown=1, warmup=40)),
        laju.wsd(0.1, total=TOTAL, cooldown=1, warmup=40),
        "t",
    )
    assert learn([branch, flat], ["one", "one"]).runs[0].updates[0] < 100
    assert learn([branch, trunk], ["one", "two"]).runs[0].updates[0] >= 2400


# --- real curves -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    if not os.environ.get("LAJU_SHARED"):
        pytest.skip("LAJU_SHARED does not name the folder with data/loss-curves")
    path = Path(__file__).parents[2] / "benchmarks" / "forecast_endings.py"
    spec = importlib.util.spec_from_file_location("forecast_endings", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["forecast_endings"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("share", "error", "half"), [(0.5, 0.014, 0.040), (0.7, 0.009, 0.020), (0.9, 0.003, 0.008)])
def test_recipes_of_language_models_are_told_from_other_recipes(
    benchmark: ModuleType, share: float, error: float, half: float
) -> None:
    runs = benchmark.nanogpt()
    found = benchmark.summary(benchmark.ask(benchmark.Pool(runs), runs, share, lambda c: c.group))
    assert found["answered"] >= 0.9 * found["asked"]
    assert found["mean"] <= error
    assert found["band"] >= 0.85
    assert found["half"] <= half
    assert found["mean"] <= 0.5 * min(found["others"], found["power"], found["last"])


def test_strangers_are_refused_or_lie_in_the_band(benchmark: ModuleType) -> None:
    runs = benchmark.nanogpt()
    pool = benchmark.Pool(runs)
    for share in (0.5, 0.7, 0.9):
        found = benchmark.summary(benchmark.ask(pool, runs, share, lambda c: c.kind))
        assert found["band"] >= 0.85
        assert share < 0.9 or found["mean"] <= 0.005


def test_tasks_beside_language_are_told_from_other_tasks(benchmark: ModuleType) -> None:
    runs = benchmark.algoperf()
    found = benchmark.summary(benchmark.ask(benchmark.Pool(runs), runs, 0.8, lambda c: c.group), relative=True)
    assert found["answered"] >= 0.4 * found["asked"]
    assert found["median"] <= 0.3
    assert found["mean"] <= 1.0
    assert found["band"] >= 0.85


def test_tasks_are_told_from_runs_of_their_own(benchmark: ModuleType) -> None:
    runs = benchmark.algoperf()
    found = benchmark.summary(benchmark.ask(benchmark.Pool(runs), runs, 0.8, lambda c: c.curve.name), relative=True)
    assert found["answered"] >= 0.75 * found["asked"]
    assert found["mean"] <= 1.0
    assert found["band"] >= 0.85


@pytest.mark.slow
def test_the_ends_of_longer_runs_are_told_from_finished_branches(benchmark: ModuleType) -> None:
    found = benchmark.trunks(benchmark.llama(), [*benchmark.nanogpt(), *benchmark.multi_power()])
    beside = [rows for name, rows in found.items() if "finished" in name]
    assert len(beside) == 3
    for rows in beside:
        summary, (rank, regret) = benchmark.summary(rows), benchmark.rank(rows)
        assert summary["answered"] == summary["asked"]
        assert summary["mean"] <= 0.005
        assert summary["band"] >= 0.85
        assert rank >= 0.85
        assert regret <= 0.003


# The clock is read for a bound far above the usual, so that a slow machine does not fail: 1,000 rows take about 1 s, cold.
def test_a_thousand_rows_are_no_search_of_minutes() -> None:
    at = np.arange(4, TOTAL + 1, 4)
    run = laju.cosine(0.1, total=2 * TOTAL, warmup=40)
    values = loss(run, at, 2 * TOTAL) + np.random.default_rng(0).normal(0, 0.01, len(at))
    begin = time.process_time()
    found = ending(at, values, run)
    assert time.process_time() - begin < 30
    assert isinstance(found, Ending)
