"""The Keras adapter on the backend that KERAS_BACKEND names; `test_keras.py` runs this file once for each."""

from __future__ import annotations

import copy
import dataclasses
import doctest
import os
import pickle
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, ClassVar

import pytest

if "KERAS_BACKEND" not in os.environ:
    pytest.skip("test_keras.py runs this file, once for each backend", allow_module_level=True)

import hypothesis
import keras
import numpy as np
from hypothesis import strategies as st

import laju.frameworks.keras
from laju import Function, RunPlan, ScheduleWarning, Table, UnresolvedError, constant, cosine, factor, linear
from laju.adaptive import Controller, Greedy, Plateau, Rule, StateError, simulate
from laju.core.schedule import Schedule
from laju.frameworks.keras import FitPlan, LearningRate, Observe, Scheduled, position, set_position
from laju.frameworks.state import sealed
from laju.frameworks.values import Factor
from laju.testing import SCHEDULES, Adapter, Conformance, plain
from tests.strategies import schedules

BACKEND = keras.backend.backend()
SCHEDULE = cosine(0.3, total=20, warmup=5, final=0.01)
# TensorFlow and torch compute in float64 and round once; JAX computes in float32.
FLOAT32 = 5e-7 if BACKEND == "jax" else 2e-7


def model_with(optimizer: Any, **compiled: Any) -> Any:
    """One weight, that is 0 at the start; with this loss its gradient is 1."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    model.compile(optimizer=optimizer, loss="mean_absolute_error", **compiled)
    return model


def weight(model: Any) -> float:
    return model.layers[-1].kernel.numpy().item()


def compiled_step(optimizer: Any, weights: list[Any]) -> Callable[[float], None]:
    """An update with a gradient, compiled where the backend compiles."""
    optimizer.build(weights)
    if BACKEND == "torch":
        return lambda gradient: optimizer.apply([keras.ops.full((1, 1), gradient)], weights)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        apply = tf.function(lambda gradient: optimizer.apply([tf.reshape(gradient, (1, 1))], weights), autograph=False)
        return lambda gradient: apply(tf.constant(gradient, tf.float32))
    import jax

    pure = jax.jit(lambda gradient, w, state: optimizer.stateless_apply(state, [gradient.reshape(1, 1)], w))

    def step(gradient: float) -> None:
        state = [v.value for v in optimizer.variables]
        new, state = pure(jax.numpy.float32(gradient), [w.value for w in weights], state)
        for variable, value in zip([*weights, *optimizer.variables], [*new, *state], strict=True):
            variable.assign(value)

    return step


class Run:
    """A weight with gradient 1 in a compiled step; every update begins at weight 0, so that what it leaves is the rate."""

    folder: ClassVar[Path]
    number: ClassVar[int] = 0

    def __init__(self, model: Any) -> None:
        self.model = model
        self.weights = model.trainable_variables
        self.step = compiled_step(model.optimizer, self.weights)

    def train(self, updates: int) -> list[list[float]]:
        used = []
        for _ in range(updates):
            self.weights[0].assign(np.zeros((1, 1)))
            self.step(1.0)
            used.append([-weight(self.model)])
        return used

    def rates(self, updates: int) -> list[float]:
        return [rate for (rate,) in self.train(updates)]

    def save(self) -> Any:
        Run.number += 1
        path = Run.folder / str(Run.number)
        self.model.save(f"{path}.keras")
        self.model.save_weights(f"{path}.weights.h5")
        return path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> None:
    Run.folder = tmp_path


class Keras(Adapter):
    tolerance: ClassVar[float] = FLOAT32
    load_orders: ClassVar[Sequence[str]] = (
        "load model",
        "build model, build optimizer, load weights",
        "build model, load weights",
    )

    def optimizer(self, schedule: Schedule, policy: str = "strict") -> Any:
        return keras.optimizers.SGD(LearningRate(schedule))

    def start(self, schedule: Schedule, *, bases: Sequence[float] | None = None) -> Run:
        return Run(model_with(self.optimizer(schedule)))

    def resume(self, saved: Any, schedule: Schedule, *, order: str, policy: str = "strict") -> Run:
        if order == "load model":
            return Run(keras.saving.load_model(f"{saved}.keras"))
        model = model_with(self.optimizer(schedule, policy))
        if "build optimizer" in order:
            model.optimizer.build(model.trainable_variables)
        model.load_weights(f"{saved}.weights.h5")
        return Run(model)

    def at(self, schedule: Schedule, position: int) -> Run:
        run = self.start(schedule)
        set_position(run.model.optimizer, position)
        set_position(run.model.optimizer, position)
        return run

    def move(self, run: Any, position: int) -> None:
        set_position(run.model.optimizer, position)


class KerasScheduled(Keras):
    policies: ClassVar[bool] = True

    def optimizer(self, schedule: Schedule, policy: str = "strict") -> Any:
        return Scheduled(keras.optimizers.SGD(), learning_rate=schedule, policy=policy)


class KerasPolicies(KerasScheduled):
    """A saved model has its own schedule, so that a policy matters for weights alone."""

    load_orders: ClassVar[Sequence[str]] = KerasScheduled.load_orders[1:]


class TestKeras(Conformance):
    adapter = Keras()


class TestKerasScheduled(Conformance):
    adapter = KerasScheduled()

    @pytest.mark.parametrize("name", ["cosine with warmup", "chain"])
    @pytest.mark.parametrize("k", [0, 4])
    def test_a_resumed_run_equals_an_uninterrupted_one(self, name: str, k: int) -> None:
        super().test_a_resumed_run_equals_an_uninterrupted_one(name, k)

    def test_r04_and_r05_another_schedule_follows_the_policy(self) -> None:
        class Weights(Conformance):
            adapter = KerasPolicies()

        Weights().test_r04_and_r05_another_schedule_follows_the_policy()


# --- fit ---------------------------------------------------------------------------------------------------------------


class Rates(keras.callbacks.Callback):
    """What the batches of `fit` used."""

    def __init__(self) -> None:
        super().__init__()
        self.used: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.model.layers[-1].kernel.assign(np.zeros((1, 1)))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.used.append(-weight(self.model))


def fit(model: Any, batches: int, *callbacks: Any, **arguments: Any) -> list[float]:
    rates = Rates()
    x, y = np.ones((batches, 1)), np.full((batches, 1), -1000.0)
    model.fit(x, y, batch_size=1, verbose=0, callbacks=[rates, *callbacks], **arguments)
    return rates.used


@pytest.mark.parametrize("around", [LearningRate, lambda s: Scheduled(keras.optimizers.SGD(), learning_rate=s)])
def test_fit_uses_the_value_of_t_at_update_t(around: Any) -> None:
    optimizer = around(SCHEDULE)
    model = model_with(keras.optimizers.SGD(optimizer) if isinstance(optimizer, LearningRate) else optimizer)
    np.testing.assert_allclose(fit(model, 8, epochs=3), SCHEDULE.values(24), rtol=FLOAT32)
    assert position(model.optimizer) == 24
    assert float(model.optimizer.learning_rate) == pytest.approx(SCHEDULE(24), rel=FLOAT32)


@pytest.mark.parametrize("scheduled", [False, True])
def test_k01_micro_batches_do_not_count(scheduled: bool) -> None:
    schedule = linear(1, 0, total=8)
    optimizer = keras.optimizers.SGD(LearningRate(schedule), gradient_accumulation_steps=4)
    model = model_with(Scheduled(optimizer, weight_decay=0.0) if scheduled else optimizer)
    used = fit(model, 16, epochs=2)
    assert [rate for i, rate in enumerate(used) if i % 4 != 3] == [0.0] * 24
    np.testing.assert_allclose(used[3::4], [1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125], rtol=FLOAT32)
    assert position(model.optimizer) == 8


def test_micro_batches_do_not_count_after_the_model_is_loaded(tmp_path: Path) -> None:
    model = model_with(keras.optimizers.SGD(LearningRate(SCHEDULE), gradient_accumulation_steps=2))
    fit(model, 6)
    model.save(tmp_path / "model.keras")
    used = fit(keras.saving.load_model(tmp_path / "model.keras"), 6)
    np.testing.assert_allclose(used[1::2], SCHEDULE.values(3, start=3), rtol=FLOAT32)


def test_one_learning_rate_in_two_optimizers_counts_as_each_of_them_does() -> None:
    rate = LearningRate(linear(1, 0, total=8))
    single, double = keras.optimizers.SGD(rate), keras.optimizers.SGD(rate, gradient_accumulation_steps=2)
    steps = [compiled_step(o, [keras.Variable(np.zeros((1, 1)), dtype="float32")]) for o in (single, double)]
    for step in steps * 2:
        step(1.0)
    assert (float(single.learning_rate), float(double.learning_rate)) == (0.75, 0.875)


def test_k03_updates_that_loss_scaling_skipped_do_not_count() -> None:
    schedule = linear(0.1, 1, total=4)
    for inner in (
        keras.optimizers.SGD(LearningRate(schedule)),
        Scheduled(keras.optimizers.SGD(), learning_rate=schedule),
    ):
        optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=1.0)
        variable, used = keras.Variable(np.zeros((1, 1)), dtype="float32"), []
        step = compiled_step(optimizer, [variable])
        for gradient in (np.inf, np.nan, 1.0, 1.0, 1.0, 1.0):
            variable.assign(np.zeros((1, 1)))
            scale = float(optimizer.dynamic_scale.numpy())
            step(gradient * scale)
            used.append(-variable.numpy().item())
        np.testing.assert_allclose(used, [0, 0, 0.1, 0.325, 0.55, 0.775], rtol=FLOAT32)
        assert position(optimizer) == 4


def test_k03_in_fit_with_mixed_precision() -> None:
    optimizer = keras.optimizers.LossScaleOptimizer(Scheduled(keras.optimizers.SGD(), learning_rate=SCHEDULE))
    np.testing.assert_allclose(fit(model_with(optimizer), 8), SCHEDULE.values(8), rtol=1e-6)


@pytest.mark.skipif(BACKEND == "torch", reason="Keras makes one step at a time with torch")
def test_several_updates_in_one_execution_each_have_their_own_value() -> None:
    model = model_with(keras.optimizers.SGD(LearningRate(SCHEDULE)), steps_per_execution=4)
    x, y = np.ones((16, 1)), np.full((16, 1), -1000.0)
    model.fit(x, y, batch_size=1, verbose=0)
    assert weight(model) == pytest.approx(-SCHEDULE.values(16).sum(), rel=1e-6)


def test_fit_from_a_later_epoch_goes_on_where_the_loaded_model_was(tmp_path: Path) -> None:
    for make in (Keras(), KerasScheduled()):
        model = model_with(make.optimizer(SCHEDULE))
        fit(model, 4, epochs=2)
        model.save(tmp_path / "model.keras")
        used = fit(keras.saving.load_model(tmp_path / "model.keras"), 4, epochs=4, initial_epoch=2)
        np.testing.assert_allclose(used, SCHEDULE.values(8, start=8), rtol=FLOAT32)


def test_an_optimizer_that_is_built_anew_goes_on_from_a_position() -> None:
    model = model_with(keras.optimizers.SGD(LearningRate(SCHEDULE), gradient_accumulation_steps=2))
    set_position(model.optimizer, 4)
    used = fit(model, 4, epochs=4, initial_epoch=2)
    np.testing.assert_allclose(used[1::2], SCHEDULE.values(4, start=4), rtol=FLOAT32)
    model = model_with(keras.optimizers.SGD(LearningRate(SCHEDULE.shift(-8))))
    np.testing.assert_allclose(fit(model, 4), SCHEDULE.values(4, start=8), rtol=FLOAT32)


def test_keras_own_callback_takes_a_schedule_of_epochs() -> None:
    used = fit(
        model_with(keras.optimizers.SGD(0.7)),
        2,
        keras.callbacks.LearningRateScheduler(linear(1, 0, total=4)),
        epochs=4,
        initial_epoch=1,
    )
    np.testing.assert_allclose(used, [0.75, 0.75, 0.5, 0.5, 0.25, 0.25], rtol=FLOAT32)


def test_lengths_in_epochs_need_a_plan() -> None:
    schedule = cosine(0.3, total="100%", warmup="1 epoch")
    plan = RunPlan(samples=4, batch_size=1, epochs=3)
    used = fit(model_with(keras.optimizers.SGD(LearningRate(schedule, plan))), 4, epochs=3)
    np.testing.assert_allclose(used, cosine(0.3, total=12, warmup=4).values(12), rtol=FLOAT32)
    with pytest.raises(UnresolvedError, match="epochs"):
        LearningRate(schedule)
    with pytest.raises(UnresolvedError, match="epochs"):
        Scheduled(keras.optimizers.SGD(), learning_rate=schedule)
    steps = Scheduled(keras.optimizers.SGD(), learning_rate=linear(1, 0, total=2).per("epoch"), plan=plan)
    np.testing.assert_allclose(fit(model_with(steps), 4, epochs=2), [1] * 4 + [0.5] * 4, rtol=FLOAT32)


# --- exact in every float ----------------------------------------------------------------------------------------------


def test_a_text_is_a_schedule_and_errors_name_the_argument() -> None:
    plan = RunPlan(samples=4, batch_size=1, epochs=3)
    for optimizer in (
        keras.optimizers.SGD(LearningRate("linear(1, 0, total='100%')", plan)),
        Scheduled(keras.optimizers.SGD(), learning_rate="linear(1, 0, total='100%')", plan=plan),
    ):
        np.testing.assert_allclose(
            fit(model_with(optimizer), 4, epochs=3), linear(1, 0, total=12).values(12), rtol=FLOAT32
        )
    with pytest.raises(ValueError, match=r"schedule must be a laju schedule or its text.*cosine"):
        LearningRate("cosin(1, total=4)")
    with pytest.raises(TypeError, match=r"schedule must be a laju schedule or its text, got 0\.1"):
        LearningRate(0.1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"plan must be a RunPlan or .fit."):
        LearningRate("cosine(1, total=4)", plan="fitt")  # type: ignore[arg-type]


@pytest.mark.parametrize("step", [-1, keras.ops.convert_to_tensor(-1)])
def test_a_step_before_the_first_is_refused_with_its_number(step: Any) -> None:
    if keras.backend.backend() == "jax" and not isinstance(step, int):
        # An array of JAX may be traced, so nobody looks at its number: the value is that of update 0.
        assert float(LearningRate(SCHEDULE)(step)) == pytest.approx(SCHEDULE(0), rel=FLOAT32)
        return
    with pytest.raises(ValueError, match=r"t must be 0 or more, got .*-1\b"):
        LearningRate(SCHEDULE)(step)


def test_a_bare_schedule_in_a_keras_optimizer_is_an_error_that_names_learning_rate() -> None:
    with pytest.raises(TypeError, match="LearningRate"):
        fit(model_with(keras.optimizers.SGD(SCHEDULE)), 2)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_fit_says_how_long_the_run_is(accumulate: int, tmp_path: Path) -> None:
    schedule, expected = (
        "cosine(0.3, total='100%', warmup='1 epoch')",
        cosine(0.3, total=12 // accumulate, warmup=4 // accumulate),
    )
    inner = {"gradient_accumulation_steps": accumulate} if accumulate > 1 else {}
    for optimizer in (
        keras.optimizers.SGD(LearningRate(schedule, plan="fit"), **inner),
        Scheduled(keras.optimizers.SGD(**inner), learning_rate=schedule, plan="fit"),
    ):
        again = optimizer.__class__.from_config(optimizer.get_config())
        with pytest.raises(UnresolvedError, match="FitPlan"):
            fit(model_with(again), 4, epochs=3)
        model = model_with(optimizer)
        used = fit(model, 4, FitPlan(), epochs=3)[accumulate - 1 :: accumulate]
        np.testing.assert_allclose(used, expected.values(12 // accumulate), rtol=FLOAT32)
        with pytest.warns(ScheduleWarning, match="differs in length from the first"):
            fit(model, 4, FitPlan(), epochs=5, initial_epoch=3)
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras").optimizer
        assert position(again) == 20 // accumulate
        assert float(again.learning_rate) == pytest.approx(expected(20 // accumulate))


def test_fit_that_does_not_know_its_length_says_so() -> None:
    def batches() -> Any:
        while True:
            yield np.ones((1, 1)), np.ones((1, 1))

    model = model_with(keras.optimizers.SGD(LearningRate("cosine(1, total='100%')", plan="fit")))
    with pytest.raises(UnresolvedError, match="steps_per_epoch"):
        model.fit(batches(), verbose=0, callbacks=[FitPlan()])
    with pytest.raises(UnresolvedError, match="samples"):
        fit(model_with(keras.optimizers.SGD(LearningRate("cosine(1, total='9 samples')", plan="fit"))), 2, FitPlan())
    with pytest.raises(TypeError, match="nothing to do"):
        fit(model_with(keras.optimizers.SGD(LearningRate(SCHEDULE))), 2, FitPlan())
    with pytest.raises(UnresolvedError, match=r'plan=RunPlan\(…\), or plan="fit"'):
        LearningRate("cosine(1, total='100%')")
    with pytest.raises(TypeError, match='a RunPlan or "fit", got 3'):
        LearningRate(SCHEDULE, plan=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [lambda s: keras.optimizers.SGD(LearningRate(s)), KerasScheduled().optimizer])
def test_a_new_optimizer_in_the_middle_of_a_run_is_told(make: Callable[[Schedule], Any]) -> None:
    model = model_with(make(SCHEDULE))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ScheduleWarning)
        fit(model, 4)
        fit(model, 4, epochs=2, initial_epoch=1)
    model.compile(optimizer=make(SCHEDULE), loss="mean_absolute_error")
    with pytest.warns(ScheduleWarning, match=r"made 8 updates.*set_position\(model.optimizer, 8\)"):
        fit(model, 4)
    with pytest.warns(ScheduleWarning, match="begins at epoch 1"):
        fit(model_with(make(SCHEDULE)), 4, epochs=2, initial_epoch=1)
    model.compile(optimizer=make(SCHEDULE), loss="mean_absolute_error")
    set_position(model.optimizer, 12)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ScheduleWarning)
        fit(model, 4, epochs=4, initial_epoch=3)


def test_files_name_the_module_to_import_and_older_files_load(tmp_path: Path) -> None:
    config = keras.saving.serialize_keras_object(LearningRate(SCHEDULE))
    assert (config["module"], config["registered_name"]) == (
        "laju.frameworks.keras",
        "laju.frameworks.keras>LearningRate",
    )
    for name in ("laju.frameworks.keras>LearningRate", "laju>LearningRate"):
        old = {**config, "registered_name": name, "module": None if name.startswith("laju>") else config["module"]}
        assert keras.saving.deserialize_keras_object(old).schedule == SCHEDULE
    model = model_with(keras.optimizers.SGD(LearningRate(SCHEDULE)))
    model.save(tmp_path / "model.keras")
    code = "import sys, keras; keras.saving.load_model(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model.keras")], capture_output=True, text=True, check=False
    )
    assert "laju.frameworks.keras>LearningRate" in done.stderr


@pytest.mark.parametrize("t", [2**24 - 1, 2**24, 2**24 + 1, 2**24 + 3, 2**30 + 1])
def test_positions_beyond_the_integers_of_float32_are_exact(t: int) -> None:
    begin = t - 1
    schedule = constant(1).take(begin) >> linear(1, 0, total=4)
    for adapter in (Keras(), KerasScheduled()):
        assert adapter.at(schedule, begin).rates(5) == [1.0, 0.75, 0.5, 0.25, 0.0]


def test_values_are_those_of_float64_rounded_once_where_the_backend_has_it() -> None:
    if BACKEND == "jax":
        pytest.skip("JAX has no float64 unless it is switched on")
    for schedule in SCHEDULES.values():
        assert Keras().start(schedule).rates(15) == schedule.values(15).astype(np.float32).tolist()


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow's own tensors")
class TestTensorFlow:
    @hypothesis.given(schedules, st.sampled_from(["int32", "int64", "uint8", "float32"]))
    @hypothesis.settings(max_examples=60, deadline=None)
    def test_a_tensor_of_positions_gives_a_tensor_of_values(self, schedule: Schedule, dtype: str) -> None:
        import tensorflow as tf

        positions = tf.cast(tf.range(70), dtype)
        values = schedule(positions)
        assert values.dtype == tf.float64
        expected = schedule.values(70)
        np.testing.assert_allclose(values, expected, rtol=1e-11, atol=1e-13 * np.abs(expected).max())

    def test_positions_of_unknown_shape_and_variables_are_taken(self) -> None:
        import tensorflow as tf

        shapeless = [tf.TensorSpec(None, tf.int64)]
        for schedule in (*SCHEDULES.values(), Table([1, 0.5, 0.1], every=1.5, interpolation="linear")):
            compiled = tf.function(lambda t, schedule=schedule: schedule(t), shapeless, autograph=False)
            for shape in ((12,), (3, 4), (2, 1, 6)):
                expected = schedule.values(12).reshape(shape)
                np.testing.assert_allclose(
                    compiled(tf.reshape(tf.range(12, dtype=tf.int64), shape)), expected, rtol=1e-13
                )
            assert float(schedule(tf.Variable(7))) == pytest.approx(schedule(7), rel=1e-13)
            assert float(tf.function(schedule, jit_compile=True, autograph=False)(tf.constant(7))) == pytest.approx(
                schedule(7), rel=1e-13
            )

    def test_positions_that_have_no_value_are_refused(self) -> None:
        import tensorflow as tf

        for bad in ([3, -1], [0.5, float("nan")]):
            with pytest.raises(ValueError, match="0 or more"):
                SCHEDULE(tf.constant(bad))
        for bad in (True, "a", 1j):
            with pytest.raises(TypeError, match="whole numbers of completed updates"):
                SCHEDULE(tf.constant(bad))


# --- saving ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheduled", [False, True])
def test_a_saved_model_goes_on_in_a_new_process(tmp_path: Path, scheduled: bool) -> None:
    optimizer: Any = keras.optimizers.AdamW(LearningRate(SCHEDULE))
    if scheduled:
        optimizer = Scheduled(
            keras.optimizers.AdamW(),
            learning_rate=SCHEDULE,
            weight_decay=linear(0.1, 0, total=9),
            beta_1=Factor(linear(1, 0.9, total=9)),
            controller=Plateau(0.5, patience=0),
        )
    model = model_with(optimizer)
    x, y = np.ones((8, 1)), np.full((8, 1), -1000.0)
    model.fit(x, y, batch_size=1, verbose=0)
    if scheduled:
        for loss in (1.0, 1.0):
            model.optimizer.observe(loss)
    model.save(tmp_path / "model.keras")
    script = f"""
        import keras, numpy as np, laju.frameworks.keras
        model = keras.saving.load_model({str(tmp_path / "model.keras")!r})
        if {scheduled}:
            assert model.optimizer.controller.factor == 0.5
        model.fit(np.ones((8, 1)), np.full((8, 1), -1000.0), batch_size=1, verbose=0)
        print(model.layers[-1].kernel.numpy().item().hex())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    model.fit(x, y, batch_size=1, verbose=0)
    assert done.stdout.split()[-1] == weight(model).hex()


def test_configurations_hold_the_schedules_json() -> None:
    rate = LearningRate(SCHEDULE)
    assert plain(rate.get_config()) == {"schedule": SCHEDULE.to_json()}
    for again in (LearningRate.from_config(rate.get_config()), copy.deepcopy(rate), pickle.loads(pickle.dumps(rate))):
        assert again.schedule == SCHEDULE
    given = Scheduled(
        keras.optimizers.SGD(0.1, weight_decay=0.5),
        learning_rate=Factor(SCHEDULE),
        weight_decay=constant(0.2),
        controller=Greedy(0.5, patience=1, ceiling=2),
        observe_within=9,
        policy="saved",
    )
    config = plain(given.get_config())
    again = Scheduled.from_config(config)
    assert plain(again.get_config()) == config
    assert again.state_dict() == given.state_dict()


def test_a_function_is_imported_only_where_keras_trusts_the_file(tmp_path: Path) -> None:
    model_with(keras.optimizers.SGD(LearningRate(Function("numpy:sqrt").take(9) * 0.1))).save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="safe_mode=False"):
        keras.saving.load_model(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=False)
    assert loaded.optimizer._learning_rate.schedule(4) == pytest.approx(0.2)


def test_an_interrupted_run_with_a_backup_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 2:
                raise KeyboardInterrupt

    def fresh() -> Any:
        rule = Plateau(0.5, patience=0)
        return model_with(Scheduled(keras.optimizers.SGD(), learning_rate=SCHEDULE, controller=rule))

    whole = fit(fresh(), 3, Observe("loss"), epochs=5)
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    rates = Rates()
    x, y = np.ones((3, 1)), np.full((3, 1), -1000.0)
    with pytest.raises(KeyboardInterrupt):
        fresh().fit(x, y, batch_size=1, verbose=0, epochs=5, callbacks=[rates, Observe("loss"), backup, Stop()])
    assert rates.used == whole[:6]
    assert fit(fresh(), 3, Observe("loss"), backup, epochs=5) == whole[6:]


# --- other hyper-parameters --------------------------------------------------------------------------------------------


def steps(optimizer: Any, updates: int) -> list[float]:
    model = model_with(optimizer)
    model.layers[-1].kernel.assign(np.full((1, 1), 8.0))
    seen = []
    x, y = np.ones((1, 1)), np.full((1, 1), -1000.0)
    for _ in range(updates):
        model.fit(x, y, verbose=0)
        seen.append(weight(model))
    return seen


def test_weight_decay_follows_its_schedule() -> None:
    decay, rate = linear(0.5, 0, total=4), linear(0.1, 0.5, total=4)
    expected, w = [], 8.0
    for t in range(6):
        w -= w * decay(t) * rate(t)
        w -= rate(t)
        expected.append(w)
    for inner in (keras.optimizers.SGD(), keras.optimizers.SGD(weight_decay=0.3)):
        got = steps(Scheduled(inner, learning_rate=rate, weight_decay=decay), 6)
        np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_momentum_follows_its_schedule_through_0() -> None:
    momentum = linear(0.8, 0, total=2) >> linear(0, 0.6, total=3)
    expected, w, v = [], 8.0, 0.0
    for t in range(7):
        v = v * momentum(t) - 0.1
        w += v
        expected.append(w)
    got = steps(Scheduled(keras.optimizers.SGD(0.1, momentum=0.9), momentum=momentum), 7)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        *((name, "beta_1") for name in ("Adam", "AdamW", "Nadam", "Adamax", "Lion", "Lamb")),
        ("RMSprop", "rho"),
        ("RMSprop", "momentum"),
        ("Adadelta", "rho"),
    ],
)
def test_any_hyper_parameter_at_a_constant_is_what_keras_makes_of_it(name: str, key: str) -> None:
    make = getattr(keras.optimizers, name)
    expected = steps(make(0.1, **{key: 0.7}), 4)
    got = steps(Scheduled(make(0.1, **{key: 0.9}), **{key: 0.7}), 4)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_the_inner_optimizer_has_its_own_values_between_updates() -> None:
    inner = keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=0.3)
    optimizer = Scheduled(inner, learning_rate=constant(0.5), momentum=constant(0.2), weight_decay=constant(0.0))
    config = inner.get_config()
    fit(model_with(optimizer), 3)
    assert inner.get_config() == config
    with pytest.raises(ValueError, match="gradients"):
        optimizer.apply([None], optimizer._trainable_variables)
    assert inner.get_config() == config


def test_a_factor_multiplies_the_optimizers_own_value() -> None:
    optimizer = Scheduled(keras.optimizers.SGD(0.5), learning_rate=Factor(linear(1, 0, total=4)))
    np.testing.assert_allclose(fit(model_with(optimizer), 5), [0.5, 0.375, 0.25, 0.125, 0], rtol=FLOAT32)


# --- metrics -----------------------------------------------------------------------------------------------------------


def test_a_metric_drives_the_rate_in_the_compiled_step(tmp_path: Path) -> None:
    rule = Plateau(0.5, patience=1)
    model = model_with(Scheduled(keras.optimizers.SGD(), learning_rate=SCHEDULE, controller=rule))
    metrics: list[float] = []

    class Log(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            metrics.append(logs["loss"])

    used = fit(model, 2, Observe("loss"), Log(), epochs=6)
    factors = [1.0, *simulate(rule, metrics)]
    expected = [SCHEDULE(t) * factors[t // 2] for t in range(12)]
    assert min(factors) < 1
    np.testing.assert_allclose(used, expected, rtol=FLOAT32)
    assert model.optimizer.controller.recorded(SCHEDULE).values(12) == pytest.approx(expected, rel=1e-12)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras").optimizer
    assert loaded.controller.state == model.optimizer.controller.state
    assert float(loaded.learning_rate) == pytest.approx(SCHEDULE(12) * loaded.controller.factor, rel=FLOAT32)


def with_plateau(**arguments: Any) -> Any:
    rule = Plateau(0.1, patience=2)
    return Scheduled(keras.optimizers.SGD(), learning_rate=SCHEDULE, controller=rule, **arguments)


def test_a_factor_that_is_never_fed_is_an_error() -> None:
    with pytest.raises(ValueError, match="monitor must be one of loss, got 'los'; did you mean 'loss'"):
        fit(model_with(with_plateau()), 2, Observe("los"))
    with pytest.raises(RuntimeError, match="never observed a metric: 'val_loss' was in no epoch's logs"):
        fit(model_with(with_plateau()), 2, Observe())
    with pytest.raises(RuntimeError, match=r"last [34] updates.*observe_within=3"):
        fit(model_with(with_plateau(observe_within=3)), 4, Observe("val_loss"))
    model = model_with(with_plateau(observe_within=3))
    model.optimizer.build(model.trainable_variables)
    set_position(model.optimizer, 5)
    with pytest.raises(RuntimeError, match="observe_within=3"):
        model.save(Run.folder / "model.keras")
    optimizer = with_plateau()
    set_position(optimizer, 10_000)
    with pytest.warns(RuntimeWarning, match="last 10000 updates"):
        optimizer.save_own_variables({})


def test_epochs_without_validation_are_left_out() -> None:
    model = model_with(with_plateau())
    data = (np.ones((2, 1)), np.zeros((2, 1)))
    fit(model, 2, Observe(), epochs=5, validation_data=data, validation_freq=2)
    assert model.optimizer.controller.state.best is not None
    assert model.optimizer.controller._at == 8


def test_observe_says_what_is_missing() -> None:
    with pytest.raises(TypeError, match=r"must be a laju\.frameworks\.keras\.Scheduled"):
        fit(model_with(keras.optimizers.SGD()), 1, Observe("loss"))
    plain_rate = Scheduled(keras.optimizers.SGD(), learning_rate=SCHEDULE)
    with pytest.raises(ValueError, match="no controller"):
        fit(model_with(plain_rate), 1, Observe("loss"))
    with pytest.raises(RuntimeError, match="no controller"):
        plain_rate.observe(1.0)
    with pytest.raises(RuntimeError, match=r"begins at epoch 2, but the optimizer made no update.*set_position"):
        fit(model_with(with_plateau()), 1, Observe("loss"), epochs=3, initial_epoch=2)


# --- wrong use ---------------------------------------------------------------------------------------------------------


def test_wrong_arguments_are_named() -> None:
    sgd = keras.optimizers.SGD
    with pytest.raises(TypeError, match=r"schedule must be a laju schedule or its text, got 0\.1"):
        LearningRate(0.1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="has no base"):
        LearningRate(Factor(SCHEDULE))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="optimizer must be a Keras optimizer, got 'sgd'"):
        Scheduled("sgd", learning_rate=SCHEDULE)
    with pytest.raises(TypeError, match="optimizer must be a Keras optimizer"):
        position("sgd")
    with pytest.raises(TypeError, match=r"put Scheduled inside: LossScaleOptimizer\(Scheduled"):
        Scheduled(keras.optimizers.LossScaleOptimizer(sgd()), learning_rate=SCHEDULE)
    with pytest.raises(ValueError, match="nothing is scheduled"):
        Scheduled(sgd())
    with pytest.raises(ValueError, match=r"SGD has no hyper-parameter 'beta_1'.*momentum"):
        Scheduled(sgd(), beta_1=SCHEDULE)
    with pytest.raises(ValueError, match="no hyper-parameter 'wieght_decay'; did you mean 'weight_decay'"):
        Scheduled(sgd(), wieght_decay=SCHEDULE)
    with pytest.raises(ValueError, match="clipnorm of SGD cannot be scheduled"):
        Scheduled(sgd(clipnorm=1.0), clipnorm=SCHEDULE)
    with pytest.raises(ValueError, match="momentum of the optimizer is 0"):
        Scheduled(sgd(), momentum=SCHEDULE)
    with pytest.raises(ValueError, match=r"weight_decay \(factor\) has no base: .* is None"):
        Scheduled(sgd(), weight_decay=Factor(SCHEDULE))
    with pytest.raises(ValueError, match="scheduled twice"):
        Scheduled(sgd(LearningRate(SCHEDULE)), learning_rate=SCHEDULE)
    with pytest.raises(ValueError, match="scheduled twice"):
        Scheduled(sgd(keras.optimizers.schedules.CosineDecay(0.1, 9)), learning_rate=SCHEDULE)
    with pytest.raises(ValueError, match="weight_decay must be a laju schedule or its text"):
        Scheduled(sgd(), weight_decay="x")
    with pytest.raises(TypeError, match="controller must be a rule"):
        Scheduled(sgd(), learning_rate=SCHEDULE, controller=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="learning_rate is not scheduled"):
        Scheduled(sgd(), weight_decay=SCHEDULE, controller=Plateau(0.1, patience=1))
    with pytest.raises(ValueError, match="did you mean 'strict'"):
        Scheduled(sgd(), learning_rate=SCHEDULE, policy="stric")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="cannot be set"):
        Scheduled(sgd(), learning_rate=SCHEDULE).learning_rate = 0.1
    with pytest.raises(ValueError, match="whole number"):
        set_position(sgd(), -1)


def test_states_that_do_not_belong_here_are_refused() -> None:
    def made(schedule: Schedule = SCHEDULE, **arguments: Any) -> Any:
        return Scheduled(keras.optimizers.SGD(**arguments), learning_rate=schedule)

    optimizer = made()
    set_position(optimizer, 7)
    state = plain(optimizer.state_dict())
    before = copy.deepcopy(state)
    again = made()
    again.load_state_dict(state)
    assert (again.position, state) == (7, before)
    for broken, message in (
        ({**state, "kind": "torch.Scheduler"}, "'torch.Scheduler', not of 'keras.Scheduled'"),
        ({**state, "laju": 3}, "newer version"),
        ({**state, "laju": 0}, "another version"),
        ({**state, "position": -1}, "position"),
        (sealed({**state, "observed_at": '"x"'}), "observed_at"),
        ({}, "laju's keras.Scheduled"),
    ):
        with pytest.raises(StateError, match=message):
            made().load_state_dict(broken)
    with pytest.raises(StateError, match=r"(?s)other schedules.*saved: .*0\.3.*now: .*constant\(0\.1\)"):
        made(constant(0.1)).load_state_dict(state)
    with pytest.raises(StateError, match="gradient_accumulation_steps=1, and here it is 2"):
        made(gradient_accumulation_steps=2).load_state_dict(state)
    with pytest.raises(StateError, match="controller"):
        with_plateau().load_state_dict(state)
    based = Scheduled(keras.optimizers.SGD(0.5), learning_rate=Factor(SCHEDULE))
    other = Scheduled(keras.optimizers.SGD(0.25), learning_rate=Factor(SCHEDULE))
    with pytest.raises(StateError, match=r"base 0\.5 .* the optimizer has 0\.25"):
        other.load_state_dict(based.state_dict())
    other.load_state_dict(based.state_dict(), policy="saved")
    assert float(other.learning_rate) == 0.5 * SCHEDULE(0)


def test_weights_of_another_optimizer_are_refused(tmp_path: Path) -> None:
    plain_model = model_with(keras.optimizers.SGD(0.1))
    plain_model.optimizer.build(plain_model.trainable_variables)
    plain_model.save_weights(tmp_path / "plain.weights.h5")
    model = model_with(Scheduled(keras.optimizers.SGD(0.1), learning_rate=SCHEDULE))
    with pytest.raises(ValueError, match=r"not laju's keras\.Scheduled"):
        model.load_weights(tmp_path / "plain.weights.h5")


@pytest.mark.skipif(BACKEND == "torch", reason="nothing is compiled with torch")
def test_other_schedules_cannot_come_into_a_compiled_step() -> None:
    run = KerasScheduled().start(SCHEDULE)
    other = Scheduled(keras.optimizers.SGD(), learning_rate=factor(1, 0.5, every=2)).state_dict()
    run.model.optimizer.load_state_dict(Scheduled(keras.optimizers.SGD(), learning_rate=SCHEDULE).state_dict())
    run.train(1)
    with pytest.raises(StateError, match="already compiled"):
        run.model.optimizer.load_state_dict(other, policy="saved")


def test_a_rule_of_ones_own_is_saved_with_weights_alone(tmp_path: Path) -> None:
    @dataclasses.dataclass(frozen=True, repr=False)
    class Other(Rule[Any]):
        def initial(self) -> Any:
            return Plateau(0.5, patience=0).initial()

        def observe(self, state: Any, metric: Any) -> Any:
            return state

    model = model_with(Scheduled(keras.optimizers.SGD(), learning_rate=SCHEDULE, controller=Controller(Other())))
    with pytest.raises(ValueError, match="only a Plateau or a Greedy"):
        model.save(tmp_path / "model.keras")


def test_the_examples_of_the_docstrings_run() -> None:
    package = laju.frameworks.keras
    modules = [package, *(import_module(f"{package.__name__}.{m.name}") for m in iter_modules(package.__path__))]
    results = [doctest.testmod(module) for module in modules]
    assert sum(result.attempted for result in results) > 20
    assert not any(result.failed for result in results)
