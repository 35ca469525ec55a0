"""What the loss decided is kept, and trains the same again bit by bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from laju import constant
from laju.adaptive import Plateau, simulate
from laju.lab import HeldOut, Outcome, Store, Trial, run_trials
from laju.spec import parse
from laju.studies import Answer, Options, run
from tests.lab.tiny import Sides

pytestmark = pytest.mark.slow

RULE = Plateau(0.3, patience=0, threshold=0.5, floor=0.05)
TASK = HeldOut(Sides(n=200), every=4)
TRIAL = Trial(TASK, constant(0.5), seed=1, epochs=6, batch_size=32, rule=RULE)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("plateau") / "store.sqlite"


@pytest.fixture(scope="module")
def answer(kept: Path) -> Answer:
    return run("plateau", Options(small=True, jobs=1, store=kept))


def test_the_recorded_schedule_gives_the_same_training_bit_by_bit(answer: Answer) -> None:
    assert [each["replayed bit by bit"] for each in answer.figures["runs"]] == [True, True]
    assert "gives the same training bit by bit" in answer.text


def test_the_plateau_cut_where_its_rule_says_for_the_losses_that_it_saw(answer: Answer) -> None:
    for each in answer.figures["runs"]:
        factors = [1.0, *simulate(RULE, each["validation loss"])[:-1]]
        recorded = parse(each["recorded"]).values(5 * 21)[::21]
        np.testing.assert_array_equal(recorded, 0.3 * np.array(factors))
        assert len(each["cuts"]) == int((np.diff(factors) != 0).sum()) > 0


def test_the_fixed_schedules_end_at_the_rates_of_the_plateau(answer: Answer) -> None:
    last = [each["cuts"][-1]["rate"] for each in answer.figures["runs"]]
    assert answer.figures["last rate of the fixed schedules"] == pytest.approx(np.exp(np.mean(np.log(last))))


def test_the_study_goes_on_from_its_store_without_training_again(answer: Answer, kept: Path) -> None:
    class Told:
        def __init__(self) -> None:
            self.missing: list[int] = []

        def start(self, total: int, kept: int, jobs: int) -> None:
            self.missing.append(total - kept)

        def running(self, trials) -> None: ...
        def planned(self, updates: int, separately: int) -> None: ...

        def finished(self, name, seed, outcome) -> None: ...
        def stop(self) -> None: ...

    told = Told()
    again = run("plateau", Options(small=True, jobs=1, store=kept, display=told))
    assert told.missing == [0, 0]
    assert (again.text, again.figures) == (answer.text, answer.figures)


def test_a_trial_with_a_rule_is_the_same_in_a_worker_and_in_the_store(tmp_path: Path) -> None:
    trials = {("a", seed): replace(TRIAL, seed=seed) for seed in (1, 2)}
    store = tmp_path / "store.sqlite"
    workers = run_trials(trials, jobs=2, store=store)
    here = run_trials(trials, jobs=1)
    with Store(store) as opened:
        for key, trial in trials.items():
            for outcome in (workers[key], opened.get(trial)):
                assert outcome is not None
                assert (outcome.records, outcome.observed) == (here[key].records, here[key].observed)
        # A store says what was run, so a trial whose rate a rule made is told from one of the bare schedule.
        assert {kept.schedule for kept in opened.trials()} == {str(t.recorded(here[k])) for k, t in trials.items()}


def test_a_store_keeps_a_validation_loss_that_is_not_a_number() -> None:
    outcome = Outcome("finished", (), 0.0, observed=((5, 1.5), (10, float("nan")), (15, float("inf"))))
    with Store() as store:
        store.put(TRIAL, outcome)
        found = store.get(TRIAL)
        (listed,) = store.trials()
    assert found is not None
    np.testing.assert_array_equal(found.observed, outcome.observed)
    np.testing.assert_array_equal(listed.outcome.observed, outcome.observed)


def test_a_rule_sees_every_epoch_and_the_rates_follow_it() -> None:
    outcome = run_trials({("a", 1): TRIAL}, jobs=1)["a", 1]
    assert [update for update, _ in outcome.observed] == [5, 10, 15, 20, 25, 30]
    factors = [1.0, *simulate(RULE, [loss for _, loss in outcome.observed])[:-1]]
    assert [record.rate for record in outcome.records] == [0.5 * factor for factor in factors]
    assert factors[-1] < 1


def test_the_rule_is_part_of_what_a_trial_is() -> None:
    bare = replace(TRIAL, rule=None)
    assert len({TRIAL.fingerprint, bare.fingerprint, replace(TRIAL, rule=Plateau(0.3, patience=1)).fingerprint}) == 3
    assert bare.recorded(run_trials({("a", 1): bare}, jobs=1)["a", 1]) == bare.schedule


def test_a_rule_needs_a_validation_part_and_torch() -> None:
    with pytest.raises(ValueError, match="'sides' has no validation part; HeldOut"):
        run_trials({("a", 1): replace(TRIAL, task=Sides())}, jobs=1)
    with pytest.raises(ValueError, match="must be trained in torch, got framework='jax'"):
        replace(TRIAL, framework="jax")


def test_held_out_examples_are_trained_on_by_nobody() -> None:
    inputs, labels = TASK.validation()
    whole = TASK.task.data()
    assert len(labels) == 50
    assert TASK.train_size == 150
    joined = np.concatenate([inputs, TASK.data().train_inputs])
    assert sorted(map(tuple, joined)) == sorted(map(tuple, whole.train_inputs))
    assert TASK.data().test_inputs is whole.test_inputs
    assert TASK.fingerprint != HeldOut(TASK.task, every=5).fingerprint != TASK.task.fingerprint
    with pytest.raises(ValueError, match="every must be a whole number of at least 2, got 1"):
        HeldOut(TASK.task, every=1)
