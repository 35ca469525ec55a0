"""A trial in another framework than torch: the same network, the same numbers, driven by the framework's own optimizer."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from dataclasses import asdict, replace
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from laju import constant, cosine, linear
from laju.lab import Digits, Optimizer, Outcome, Record, Trial
from laju.lab.engines import torch as reference
from laju.lab.trials.models.lenet import initial_weights, lenet, lenet_in
from laju.lab.trials.tasks import Data
from tests.lab.tiny import Sides

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PACKAGES = {"tensorflow": ("tensorflow", "keras"), "jax": ("jax", "optax")}
FRAMEWORKS = [
    pytest.param(
        framework,
        marks=pytest.mark.skipif(not all(map(find_spec, packages)), reason=f"{' or '.join(packages)} is not installed"),
    )
    for framework, packages in PACKAGES.items()
]
everywhere = pytest.mark.parametrize("framework", FRAMEWORKS)


@cache
def engine(framework: str) -> ModuleType:
    module = import_module(f"laju.lab.engines.{framework}")
    if framework == "tensorflow":
        module._use_one_thread()  # whatever a test does first
    return module


def trial(framework: str, rate: float = 0.02, epochs: int = 2, **changes: Any) -> Trial:
    schedule = cosine(rate, total=epochs).per("epoch")
    return replace(Trial(Digits(), schedule, 0, epochs, batch_size=64, framework=framework), **changes)


def records(outcome: Outcome) -> list[str]:
    """Every figure of every record, bit by bit."""
    return [
        json.dumps({k: v.hex() if isinstance(v, float) else v for k, v in asdict(r).items()}) for r in outcome.records
    ]


def followed(module: ModuleType, run: Trial) -> tuple[Outcome, np.ndarray, list[float]]:
    """The outcome, the loss of every update, and the rate before every update, as the optimizer has it."""
    losses: list[float] = []
    rates: list[float] = []

    class Followed(module.Training):
        def update(self, batch):
            rates.append(self.rate())
            super().update(batch)

        def read(self):
            found = super().read()
            losses.extend(found[0].tolist())
            return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "Training", Followed)
        return module.train(run), np.array(losses), rates


def logits(framework: str, seed: int, images: np.ndarray) -> np.ndarray:
    network = Digits().network(framework, seed)
    if framework == "jax":
        parameters, apply = network
        return np.asarray(apply(parameters, images))
    return network(images).numpy()


@everywhere
def test_the_network_is_the_same(framework: str) -> None:
    import torch

    engine(framework)
    images = Digits().data().test_inputs[:50]
    with torch.inference_mode():
        expected = lenet(3)(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(logits(framework, 3, images), expected, rtol=0, atol=1e-5)


# Rounding decides which of two equal pixels is a maximum, so runs part sooner or later; at these rates it is later.
@everywhere
@pytest.mark.parametrize("weight_decay", [0.0, 1e-3])
def test_the_losses_are_torchs(framework: str, weight_decay: float) -> None:
    run = trial(framework, optimizer=Optimizer(weight_decay=weight_decay))
    _, expected, _ = followed(reference, run)
    _, found, _ = followed(engine(framework), run)
    assert len(found) == 46
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@everywhere
def test_the_test_accuracy_and_loss_are_torchs(framework: str) -> None:
    run = trial(framework, rate=0.2)
    expected, found = (module.train(run).records for module in (reference, engine(framework)))
    assert [r.test_accuracy for r in found] == pytest.approx([r.test_accuracy for r in expected], abs=0.02)
    assert found[-1].test_accuracy > 0.6
    assert [r.test_loss for r in found] == pytest.approx([r.test_loss for r in expected], rel=0.05)
    assert [r.train_accuracy for r in found] == pytest.approx([r.train_accuracy for r in expected], abs=0.02)


@everywhere
def test_momentum_is_the_frameworks_own(framework: str) -> None:
    # One epoch of a constant rate, then a twentieth of it.
    schedule = linear(0.01, 0.01, total=23) >> constant(0.0005)
    run = trial(framework, schedule=schedule, optimizer=Optimizer(momentum=0.9, weight_decay=1e-3))
    _, expected, _ = followed(reference, run)
    _, found, _ = followed(engine(framework), run)
    np.testing.assert_allclose(found[:24], expected[:24], rtol=1e-4)
    if framework == "jax":
        np.testing.assert_allclose(found, expected, rtol=1e-4)
    else:  # the rate is inside the velocity, so the new one takes some ten updates to arrive
        assert not np.allclose(found[25:], expected[25:], rtol=1e-4)


@everywhere
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_rate_of_update_t_is_the_schedules_value_at_t_and_is_the_one_recorded(
    framework: str, momentum: float
) -> None:
    run = trial(framework, schedule=linear(0.05, 0.01, total=20), optimizer=Optimizer(momentum=momentum))
    outcome, _, rates = followed(engine(framework), run)
    expected = run.schedule.values(46)
    np.testing.assert_allclose(rates, expected, rtol=1e-6)
    assert [(r.update, r.rate) for r in outcome.records] == [(u, rates[u - 1]) for u in (23, 46)]


@everywhere
def test_the_first_update_subtracts_the_rate_times_the_gradient(framework: str) -> None:
    import torch

    task = Digits()
    batch = np.arange(29)
    data, model = task.data(), task.model(0)
    task.loss(model(torch.from_numpy(data.train_inputs[batch])), torch.from_numpy(data.train_labels[batch])).backward()
    training = engine(framework).Training(trial(framework, schedule=constant(0.25)))
    training.update(batch)
    bias = training.parameters["fc3.bias"] if framework == "jax" else training.model.get_layer("fc3").bias.numpy()
    gradient = (initial_weights(0)["fc3.bias"] - np.asarray(bias)) / 0.25
    np.testing.assert_allclose(gradient, model.fc3.bias.grad.numpy(), rtol=1e-4, atol=1e-6)


@everywhere
def test_a_trial_gives_the_same_records_bit_by_bit_in_this_process_and_in_another(framework: str) -> None:
    run = trial(framework, optimizer=Optimizer(momentum=0.9, weight_decay=1e-4))
    expected = records(engine(framework).train(run))
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    assert records(engine(framework).train(run)) == expected
    program = (
        "import json, tests.lab.test_engines as t; from laju.lab import Optimizer;"
        f"run = t.trial({framework!r}, optimizer=Optimizer(momentum=0.9, weight_decay=1e-4));"
        f"print(json.dumps(t.records(t.engine({framework!r}).train(run))))"
    )

    def elsewhere(**variables: str) -> list[str]:
        other = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env=os.environ | variables,
            capture_output=True,
            text=True,
            check=True,
        )
        found: list[str] = json.loads(other.stdout)
        return found

    there = elsewhere(PYTHONHASHSEED="7", OMP_NUM_THREADS="3", KERAS_BACKEND="jax")
    if framework == "tensorflow" and started_with_more_threads():
        expected = elsewhere(PYTHONHASHSEED="8", OMP_NUM_THREADS="1")
    assert there == expected


def started_with_more_threads() -> bool:
    """Whether an earlier test of this process has started TensorFlow, whose number of threads is then fixed."""
    import tensorflow as tf

    return bool(tf.config.threading.get_intra_op_parallelism_threads() != 1)


@everywhere
def test_a_trial_leaves_the_callers_state_alone(framework: str) -> None:
    import torch

    engine(framework)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    expected = random.random(), np.random.random(), torch.rand(()).item()  # noqa: NPY002
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    variables, threads = dict(os.environ), torch.get_num_threads()
    engine(framework).train(trial(framework, epochs=1))
    assert (random.random(), np.random.random(), torch.rand(()).item()) == expected  # noqa: NPY002
    assert dict(os.environ) == variables
    assert torch.get_num_threads() == threads


@everywhere
def test_records_are_reported_as_they_are_made(framework: str) -> None:
    reported: list[Record] = []
    outcome = engine(framework).train(trial(framework, batch_size=1000), reported.append)
    assert reported == list(outcome.records)
    assert [r.update for r in reported] == [2, 4]  # two an epoch, of 1,000 and 437 images


@everywhere
def test_a_diverged_trial_says_in_which_update_the_loss_was_first_not_finite(framework: str) -> None:
    run = trial(framework, schedule=linear(0.02, 0.02, total=30) >> constant(1e30))
    outcome, losses, _ = followed(engine(framework), run)
    assert outcome.status == "diverged"
    # Update 30 is the first with the large rate; the loss of an update is that before it.
    assert outcome.diverged_at == int((~np.isfinite(losses)).argmax()) == 31
    assert reference.train(run).diverged_at == 31
    assert [r.update for r in outcome.records] == [23]


@everywhere
def test_a_trial_that_never_learns_is_recorded_as_collapsed(framework: str) -> None:
    assert engine(framework).train(trial(framework, schedule=constant(0.0), epochs=1)).status == "collapsed"


class Points(Sides):
    """A task of somebody's own, with dropout in Keras, and more test data than are looked at in one go."""

    def load(self) -> Data:
        data = super().load()
        return replace(data, test_inputs=np.tile(data.test_inputs, (21, 1)), test_labels=np.tile(data.test_labels, 21))

    def network(self, framework: str, seed: int) -> Any:
        if framework == "jax":
            return {"w": np.zeros((2, 2), np.float32)}, lambda parameters, inputs: inputs @ parameters["w"]
        from laju.lab.trials.models.keras_on_tensorflow import keras

        layers = keras.layers
        return keras.Sequential([keras.Input((2,)), layers.Dense(16, "tanh"), layers.Dropout(0.2), layers.Dense(2)])


@everywhere
def test_a_task_of_ones_own_trains(framework: str) -> None:
    run = Trial(Points(), constant(0.5), 3, epochs=2, batch_size=7, framework=framework)  # 400 = 57 · 7 + 1
    outcome = engine(framework).train(run)
    assert outcome.status == "finished"
    assert outcome.records[-1].test_accuracy > 0.9
    assert records(engine(framework).train(run)) == records(outcome)


@everywhere
def test_a_task_without_such_a_network_says_so(framework: str) -> None:
    with pytest.raises(ValueError, match=f"task 'sides' has a model for torch alone, so it cannot be .* {framework}"):
        engine(framework).train(Trial(Sides(), constant(0.5), 3, epochs=2, batch_size=7, framework=framework))


def test_an_unknown_framework_has_no_network() -> None:
    with pytest.raises(ValueError, match="framework must be 'tensorflow', 'jax' or 'mxnet', got 'theano'"):
        lenet_in("theano", 0)


def python(program: str, **variables: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in ("KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL", "NPROC")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + (done.stderr if done.returncode else "")


@pytest.mark.parametrize(
    ("framework", "package"),
    [("tensorflow", "tensorflow"), ("tensorflow", "keras"), ("jax", "jax"), ("jax", "optax")],
)
def test_a_missing_package_says_how_to_install_it(framework: str, package: str) -> None:
    if package != PACKAGES[framework][0] and find_spec(PACKAGES[framework][0]) is None:
        pytest.skip(f"{PACKAGES[framework][0]} is not installed")
    program = f"""
import sys
class Absent:
    def find_spec(name, path=None, target=None):
        if name == {package!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent)
import laju.lab.engines.{framework}
"""
    last = python(program).strip().splitlines()[-1]
    where = {"tensorflow": "TensorFlow", "jax": "JAX"}[framework]
    assert last.startswith(f"laju.core.extras.MissingPackage: training in {where} needs the package {package}, ")
    assert f"[{framework}]" in last


@pytest.mark.skipif(not all(map(find_spec, ("tensorflow", "keras", "jax"))), reason="a package is not installed")
def test_keras_is_imported_on_tensorflow_or_else_the_error_says_what_to_do() -> None:
    program = (
        "import os, laju.lab.engines.tensorflow, keras; print(keras.backend.backend(), os.environ.get('KERAS_BACKEND'))"
    )
    assert python(program) == "tensorflow None\n"
    assert python(program, KERAS_BACKEND="jax") == "tensorflow jax\n"
    last = python("import keras, laju.lab.engines.tensorflow", KERAS_BACKEND="jax").strip().splitlines()[-1]
    assert last.startswith(
        "RuntimeError: the lab needs Keras on TensorFlow, and in this process it runs on jax already"
    )
    assert "set the environment variable KERAS_BACKEND=tensorflow before Keras is imported" in last


@pytest.mark.skipif(not all(map(find_spec, ("tensorflow", "keras"))), reason="TensorFlow is not installed")
def test_tensorflow_gets_one_thread_or_a_warning() -> None:
    program = """
import sys, warnings
import tensorflow as tf
{before}
from laju.lab.engines.tensorflow import train
from tests.lab.test_engines import trial
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", RuntimeWarning)
    train(trial("tensorflow", epochs=1))
warned = any("TensorFlow has been used in this process already" in str(w.message) for w in caught)
print(tf.config.threading.get_intra_op_parallelism_threads(), warned)
"""
    assert python(program.format(before="")) == "1 False\n"
    assert (
        python(program.format(before="tf.config.threading.set_intra_op_parallelism_threads(3); tf.ones(1)"))
        == "3 True\n"
    )
