"""Curves from the trials that a store holds: each loss stands where it was measured, and others check the forecast."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from laju import constant, cosine
from laju.cli import cli
from laju.forecast import ForecastWarning, fit
from laju.lab import Optimizer, Outcome, Record, Store, Trial, compare
from laju.lab.engines.loop import RECORD_EVERY
from laju.lab.store.curves import stored_curves, updates_per_epoch
from tests.lab.test_store import Points

TASK = Points(n=1200)
BATCH = 10  # 120 updates an epoch, so two records within it and one at its end


def trial(schedule=constant(0.1), seed: int = 0, **changes) -> Trial:  # noqa: B008
    return replace(Trial(TASK, schedule, seed, epochs=2, batch_size=BATCH), **changes)


def outcome(losses: np.ndarray, per_epoch: int = 120) -> Outcome:
    """The records that the loop makes of a run with these losses, one an update."""
    records = []
    for update in range(1, len(losses) + 1):
        done = (update - 1) % per_epoch + 1
        if done % RECORD_EVERY == 0 or done == per_epoch:
            epoch = (update - 1) // per_epoch
            mean = float(losses[epoch * per_epoch : update].mean())
            records.append(Record(update, epoch + done / per_epoch, 0.1, mean, 0.5, None))
    return Outcome("finished", tuple(records), 1.0)


def falling(n: int = 240, offset: float = 0.0) -> np.ndarray:
    return 3 - np.arange(n) / 150 + offset


def test_a_store_gives_back_every_trial_in_the_order_of_writing(tmp_path: Path) -> None:
    trials = [trial(), trial(seed=1), trial(cosine(0.1, total="100%"), framework="jax"), trial(task=Points("others"))]
    with Store(tmp_path / "a.sqlite") as store:
        for i, each in enumerate(trials):
            store.put(each, outcome(falling(offset=i)))
        kept = list(store.trials())
        assert [k.fingerprint for k in kept] == [t.fingerprint for t in trials]
        assert [(k.task, k.schedule, k.seed, k.epochs, k.batch_size, k.framework) for k in kept] == [
            (t.task.name, str(t.schedule), t.seed, 2, BATCH, t.framework) for t in trials
        ]
        assert [k.outcome for k in kept] == [store.get(t) for t in trials]
        assert [k.task for k in store.trials("others")] == ["others"]
        assert not list(store.trials("nothing"))
        assert updates_per_epoch(kept[0]) == 120


def test_each_loss_is_the_mean_of_the_updates_between_two_records_and_stands_at_their_middle() -> None:
    losses = falling() + np.random.default_rng(0).normal(size=240) / 10
    with Store() as store:
        store.put(trial(), outcome(losses))
        (found,) = stored_curves(store)
    stretches = [(50, 100), (100, 120), (120, 170), (170, 220), (220, 240)]  # the first one is left out
    assert found.curve.loss == pytest.approx([losses[a:b].mean() for a, b in stretches])
    # Loss k is measured after k completed updates.
    assert np.abs(found.curve.updates - [np.arange(a, b).mean() for a, b in stretches]).max() <= 0.5
    assert found.curve.rates.tolist() == [0.1] * len(found.curve.rates)


def test_seeds_of_a_schedule_are_averaged_and_rates_are_those_of_its_plan() -> None:
    schedule = cosine(0.3, total=2).per("epoch")
    with Store() as store:
        for seed in range(3):
            store.put(trial(schedule, seed), outcome(falling(offset=seed)))
        store.put(trial(), outcome(falling()))
        store.put(trial(seed=1), replace(outcome(falling()), status="collapsed"))
        store.put(trial(seed=2), Outcome("diverged", (), 1.0, diverged_at=0))
        mine, other = stored_curves(store)
    assert (mine.seeds, other.seeds) == (3, 1)
    assert mine.curve.loss == pytest.approx(other.curve.loss + 1)
    assert (mine.plan.updates_per_epoch, mine.plan.updates) == (120, 240)
    n = len(mine.curve.rates)
    assert mine.curve.rates.tolist() == schedule.resolve(trial().plan).values(n).tolist()


def test_one_law_is_of_one_task_framework_batch_size_and_optimizer(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with Store(path) as store:
        store.put(trial(), outcome(falling()))
        others = {
            "task": (trial(task=Points("others")), "others"),
            "framework": (trial(framework="jax"), "jax"),
            "batch size": (trial(batch_size=20), 20),
            "optimizer": (trial(optimizer=Optimizer(momentum=0.9)), "sgd(momentum=0.9)"),
        }
        for what, (other, value) in others.items():
            with Store() as two:
                two.put(trial(), outcome(falling()))
                two.put(other, outcome(falling(offset=1)))
                with pytest.raises(ValueError, match=f"of several {what}s: .*; say which one"):
                    stored_curves(two)
                (found,) = stored_curves(two, **{what.replace(" ", "_"): value})
                assert found.curve.loss[0] > 3
    with pytest.raises(ValueError, match=r"a\.sqlite has no finished trials of task 'pints'; did you mean 'points'"):
        stored_curves(path, "pints")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        stored_curves(tmp_path / "nowhere.sqlite")
    assert not (tmp_path / "nowhere.sqlite").exists()


def test_a_store_that_says_nothing_of_losses_is_named() -> None:
    with Store() as store:
        with pytest.raises(ValueError, match="the store has no finished trials"):
            stored_curves(store)
        store.put(trial(epochs=1), Outcome("finished", (Record(120, 1.0, 0.1, 2.0, 0.5),), 1.0))
        with pytest.raises(ValueError, match="train for two epochs or more"):
            stored_curves(store)


def test_a_curve_that_rises_is_left_out_with_a_word() -> None:
    with Store() as store:
        store.put(trial(), outcome(falling()))
        store.put(trial(constant(2.0)), outcome(falling()[::-1]))
        with pytest.warns(ForecastWarning, match=r"left out constant\(2\.0\)"):
            assert [one.curve.name for one in stored_curves(store)] == ["constant(0.1)"]


def test_trials_of_one_schedule_and_several_lengths_are_told_apart() -> None:
    with Store() as store:
        for epochs in (2, 3):
            store.put(trial(epochs=epochs), outcome(falling(120 * epochs)))
        names = [one.curve.name for one in stored_curves(store)]
    assert names == ["constant(0.1), 2 epochs", "constant(0.1), 3 epochs"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A store with real trainings of a few schedules."""
    path = tmp_path_factory.mktemp("store") / "laju.sqlite"
    schedules = {
        "constant": "constant(0.1)",
        "cosine": "cosine(0.1, total='100%')",
        "linear": "linear(0.1, 0, total='100%')",
        "wsd": "wsd(0.1, total='100%', cooldown='30%')",
    }
    compare(schedules, epochs=8, seeds=2, jobs=2, store=path)
    return path


@pytest.mark.slow
def test_a_law_of_real_trials_predicts_another_schedules_training(trained: Path) -> None:
    found = stored_curves(trained, "digits")
    assert [one.seeds for one in found] == [2, 2, 2, 2]
    *known, unseen = [one.curve for one in found]
    law = fit(known, "functional")
    predicted = law.predict(unseen.rates, unseen.updates)
    off = np.abs(predicted - unseen.loss)
    assert off.mean() < 0.1 * np.ptp(unseen.loss)
    assert law.final(unseen.rates, unseen.updates[-1]) < predicted[0] / 3


@pytest.mark.slow
def test_the_command_line_checks_a_forecast_against_trials_that_it_did_not_see(trained: Path, tmp_path: Path) -> None:
    def ask(*arguments: str):
        done = CliRunner().invoke(cli, ["forecast", *arguments, "--store", str(trained), "--law", "functional"])
        assert done.exit_code == 0, done.output
        return done.stdout

    fitted = [option for name in ("constant", "cosine", "linear") for option in ("--fit", name)]
    picture = tmp_path / "check.png"
    found = json.loads(ask("check", *fitted, "--json", "--out", str(picture)))
    assert [row["curve"] for row in found["curves"]] == ["wsd(0.1, total='100%', cooldown='30%')"]
    assert found["curves"][0]["r2"] > 0.9
    assert picture.exists()
    # The trials say how long a run is, and how long an epoch.
    best = json.loads(ask("best", "--json"))
    assert best["updates"] == 8 * 23
    longer = json.loads(ask("predict", "--schedule", "cosine(0.1, total=10).per('epoch')", "--epochs", "10", "--json"))
    assert longer["updates"] == 10 * 23
