from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import laju
from laju.lab import Trial
from laju.lab.engines import train
from laju.lab.engines.loop import run
from laju.lab.engines.torch import Training, one_thread_and_own_randomness
from laju.lab.statistics import Estimate
from laju.studies import Options, averaged_weights
from laju.studies import restarts_and_averaging as study
from laju.studies.base import Answer
from tests.lab.test_compare import Watcher
from tests.lab.tiny import Explosion, Sides

pytestmark = pytest.mark.slow


class Normalised(Sides):
    """The same points with batch normalisation in the network."""

    def model(self, seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        return torch.nn.Sequential(
            torch.nn.Linear(2, 16), torch.nn.BatchNorm1d(16), torch.nn.Tanh(), torch.nn.Linear(16, 2)
        )


TAKEN = (12, 20, 30)


def trial(task: type[Sides] = Sides) -> Trial:
    return Trial(task(), laju.swa(laju.cosine(0.5, total=30), final=0.2, at=15), seed=2, epochs=3, batch_size=40)


@pytest.fixture(scope="module")
def small() -> Answer:
    return study.study(Options(small=True, jobs=1))


def history(trial: Trial) -> list[np.ndarray]:
    """The weights after each update, float64."""
    found: list[np.ndarray] = []

    class Kept(Training):
        def update(self, batch: np.ndarray) -> None:
            super().update(batch)
            found.append(torch.nn.utils.parameters_to_vector(self.model.parameters()).detach().double().numpy())

    with one_thread_and_own_randomness():
        run(trial, Kept(trial))
    return found


# --- one training ------------------------------------------------------------------------------------------------------


def test_averaged_weights_equal_the_means_computed_by_hand() -> None:
    weights = history(trial())
    _, found, averages = averaged_weights.averaged(trial(), TAKEN)
    assert found is not None
    np.testing.assert_array_equal(averages["last"], weights[-1])
    np.testing.assert_allclose(averages["swa"], np.mean([weights[u - 1] for u in TAKEN], axis=0), atol=1e-6)
    moving = weights[0]
    for w in weights[1:]:
        moving = averaged_weights.DECAY * moving + (1 - averaged_weights.DECAY) * w
    np.testing.assert_allclose(averages["ema"], moving, atol=1e-6)
    last, swa = averages["last"], averages["swa"]
    assert found.distance == pytest.approx(np.linalg.norm(swa - last) / np.linalg.norm(last), rel=1e-5)


@pytest.mark.parametrize("task", [Sides, Normalised])
def test_averaging_changes_nothing_about_the_training(task: type[Sides]) -> None:
    outcome, _, _ = averaged_weights.averaged(trial(task), TAKEN)
    assert outcome.records == train(trial(task)).records


@pytest.mark.parametrize("task", [Sides, Normalised])
def test_the_ends_of_the_line_are_the_evaluated_weights(task: type[Sides]) -> None:
    _, found, _ = averaged_weights.averaged(trial(task), TAKEN)
    assert found is not None
    line = dict(zip(found.alphas, found.line, strict=True))
    assert (line[0.0], line[1.0]) == (found.last, found.swa)
    assert (min(line), max(line)) == (-0.5, 1.5)
    assert averaged_weights.lowest(found, "test_loss") == min(line, key=lambda alpha: line[alpha].test_loss)


def test_the_line_goes_to_the_moving_average_where_fewer_than_two_weights_are_taken() -> None:
    _, found, averages = averaged_weights.averaged(trial(), (30,))
    assert found is not None
    assert found.swa is None
    assert "swa" not in averages
    assert found.line[found.alphas.index(1.0)] == found.ema


def test_losses_are_means_over_all_examples() -> None:
    _, found, averages = averaged_weights.averaged(trial(), TAKEN)
    assert found is not None and found.swa is not None  # noqa: PT018
    task, model = trial().task, trial().task.model(0).eval()
    torch.nn.utils.vector_to_parameters(torch.from_numpy(averages["swa"]), model.parameters())
    data = task.data()
    with torch.no_grad():
        outputs = model(torch.from_numpy(data.test_inputs))
    labels = torch.from_numpy(data.test_labels)
    assert found.swa.test_loss == pytest.approx(float(torch.nn.functional.cross_entropy(outputs, labels)), rel=1e-5)
    assert found.swa.test_accuracy == float((outputs.argmax(1) == labels).double().mean())


def test_normalisation_statistics_of_an_average_are_computed_from_the_training_data() -> None:
    _, found, averages = averaged_weights.averaged(trial(Normalised), TAKEN)
    assert found is not None and found.swa is not None  # noqa: PT018
    data, model = Normalised().data(), Normalised().model(0)
    torch.nn.utils.vector_to_parameters(torch.from_numpy(averages["swa"]), model.parameters())
    linear, norm = model[0], model[1]  # type: ignore[index]
    with torch.no_grad():
        before = linear(torch.from_numpy(data.train_inputs))  # all examples are one batch of the evaluation
        norm.running_mean, norm.running_var = before.mean(0), before.var(0)
        outputs = model.eval()(torch.from_numpy(data.test_inputs))
    loss = torch.nn.functional.cross_entropy(outputs, torch.from_numpy(data.test_labels))
    assert found.swa.test_loss == pytest.approx(float(loss), rel=1e-5)


def test_what_is_kept_comes_back_as_it_was() -> None:
    for taken in (TAKEN, (30,)):
        outcome, found, _ = averaged_weights.averaged(trial(), taken)
        again, fields = study.look(trial(), taken)
        assert found is not None
        assert again.records == outcome.records
        assert averaged_weights.Weights.from_json(json.loads(json.dumps(fields))) == found


def test_a_study_that_goes_on_trains_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = Options(small=True, seeds=1, jobs=1, store=tmp_path / "a.sqlite")
    monkeypatch.setattr(study, "_SMALL_SET", ("cosine", "SWA"))
    with pytest.raises(KeyboardInterrupt):
        study.study(replace(options, display=Watcher(interrupt_after=1)))
    watcher = Watcher()
    found = study.study(replace(options, display=watcher))
    assert watcher.told[0][:3] == ("start", 2, 1)
    monkeypatch.setattr(study, "averaged", None)
    again = study.study(options)
    assert (again.text, again.figures) == (found.text, found.figures)


def test_a_training_that_diverges_has_no_averages() -> None:
    outcome, found, _ = averaged_weights.averaged(Trial(Explosion(), laju.constant(50.5), 0, 1, 5), (10, 20))
    assert (outcome.status, found) == ("diverged", None)


# --- the schedules -----------------------------------------------------------------------------------------------------


def test_swa_takes_the_weights_where_cycles_end() -> None:
    for name, (schedule, taken) in study.schedules(368, 23).items():
        rates = schedule.values(368)
        assert all(184 < u <= 368 for u in taken), name
        if name in (
            "SGDR",
            "SGDR, doubling",
            "SWA, cyclic",
        ):  # the next update begins at a peak, this one was the cycle's lowest
            assert all(rates[u - 1] < 0.5 * rates[u] for u in taken if u < 368), name
        assert len(taken) == {"SGDR, doubling": 1, "SGDR": 4, "triangular": 4}.get(name, 8), name


# --- the answer --------------------------------------------------------------------------------------------------------


def test_gains_are_those_of_the_trainings_seed_by_seed(small: Answer) -> None:
    for name, row in small.figures["by_schedule"].items():
        mine = [t for t in small.figures["trials"] if t["schedule"] == name]
        assert [t["seed"] for t in mine] == [0, 1]
        differences = [t["swa"]["test_accuracy"] - t["last"]["test_accuracy"] for t in mine]
        assert row["swa_gain"]["mean"] == pytest.approx(np.mean(differences))
        for t in mine:
            line = {p.pop("alpha"): p for p in map(dict, t["line"])}
            assert (line[0.0], line[1.0]) == (t["last"], t["swa"])


def test_the_study_has_tables_and_pictures_and_figures_that_json_takes(small: Answer) -> None:
    json.dumps(small.figures, allow_nan=False)
    assert set(small.pictures) == {"schedules", "averages", "line"}
    assert all(isinstance(picture, Figure) for picture in small.pictures.values())
    for table in small.tables.values():
        assert {len(row) for row in table.rows} == {len(table.headings)}
    for title in ("Restarts and cycles", "SWA", "EMA", "The line"):
        assert f"**{title}.**" in small.text


def test_words_tell_what_the_seeds_decide_from_what_they_do_not() -> None:
    differences = {"a": Estimate(0.02, 0.01, 5), "b": Estimate(-0.02, 0.01, 5), "c": Estimate(0.02, 0.03, 5)}
    text = study._decided(differences, "ours", "theirs")
    assert "ours are shown to be better than theirs for a (+0.020 ± 0.010)." in text
    assert "ours are shown to be worse than theirs for b (-0.020 ± 0.010)." in text
    assert "Not decided by 5 seeds: c (+0.020 ± 0.030)." in text
    assert study._decided({"a": Estimate(0.02, None, 1)}, "ours", "theirs") == "Not decided by 1 seed: a (+0.020)."
    verdict = study._verdict({"SWA": ("ours", "theirs", differences)}, 5)
    assert verdict == "SWA shown to be better: a (+0.020 ± 0.010); SWA shown to be worse: b (-0.020 ± 0.010)."


def test_the_highest_mean_is_not_set_beside_itself(small: Answer) -> None:
    sentence = next(part for part in small.text.split("\n\n") if part.startswith("The highest mean"))
    names = sentence.partition("is that of ")[2].partition(": ")[0].split(" and ")
    assert len(names) == len(set(names)) >= 1
    assert "the last weights of the cosine" not in sentence


def test_the_study_refuses_runs_that_are_too_short_for_its_cycles() -> None:
    with pytest.raises(ValueError, match="epochs must be at least 4, for eight cycles of half an epoch, got 3"):
        study.study(Options(epochs=3))
