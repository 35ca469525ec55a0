"""Schedules in JAX: a schedule is an optax schedule, under every transformation, at every count."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pytest

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")

import jax.numpy as jnp  # noqa: E402

from laju import Chain, Clock, RunPlan, UnresolvedError, constant, cosine, linear, multi_factor  # noqa: E402
from laju.adaptive import Controller, Plateau, simulate  # noqa: E402
from laju.core.schedule import Schedule  # noqa: E402
from laju.frameworks.jax import FactorState, resumed, scale_by_factor, scheduled, set_factor  # noqa: E402
from laju.frameworks.values import Factor  # noqa: E402
from laju.testing import SCHEDULES, Adapter, Conformance, plain  # noqa: E402

SCHEDULE = cosine(0.3, total=20, warmup=5, final=0.01)
FLOAT32 = 5e-7  # four units in the last place


class Run:
    """A weight with gradient 1 in a compiled step; every update begins at weight 0, so that what it leaves is the rate."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer
        self.state = optimizer.init(jnp.zeros(()))

        @jax.jit
        def step(state: Any) -> Any:
            updates, state = optimizer.update(jnp.ones(()), state, jnp.zeros(()))
            return optax.apply_updates(jnp.zeros(()), updates), state

        self.step = step

    def train(self, updates: int) -> list[list[float]]:
        used = []
        for _ in range(updates):
            weight, self.state = self.step(self.state)
            used.append([-float(weight)])
        return used

    def rates(self, updates: int) -> list[float]:
        return [rate for (rate,) in self.train(updates)]

    def save(self) -> bytes:
        file = io.BytesIO()
        np.savez(file, *map(np.asarray, jax.tree.leaves(self.state)))
        return file.getvalue()

    def load(self, saved: bytes) -> None:
        with np.load(io.BytesIO(saved)) as arrays:
            leaves = [jnp.asarray(arrays[f"arr_{i}"]) for i in range(len(arrays.files))]
        self.state = jax.tree.unflatten(jax.tree.structure(self.state), leaves)


class Jax(Adapter):
    tolerance: ClassVar[float] = FLOAT32

    def start(self, schedule: Schedule, *, bases: Any = None) -> Run:
        return Run(optax.sgd(schedule))

    def resume(self, saved: bytes, schedule: Schedule, *, order: str, policy: str = "strict") -> Run:
        run = self.start(schedule)
        run.load(saved)
        return run

    def at(self, schedule: Schedule, position: int) -> Run:
        return self.start(resumed(schedule, position))


class JaxInjected(Jax):
    def start(self, schedule: Schedule, *, bases: Any = None) -> Run:
        return Run(scheduled(optax.sgd, learning_rate=schedule))


class JaxFloat64(Jax):
    tolerance: ClassVar[float] = 0.0


class TestJax(Conformance):
    adapter = Jax()


class TestJaxInjected(Conformance):
    adapter = JaxInjected()

    @pytest.mark.parametrize("name", ["cosine with warmup", "chain"])
    @pytest.mark.parametrize("k", [0, 4])
    def test_a_resumed_run_equals_an_uninterrupted_one(self, name: str, k: int) -> None:
        super().test_a_resumed_run_equals_an_uninterrupted_one(name, k)


class TestJaxFloat64(Conformance):
    adapter = JaxFloat64()

    @pytest.fixture(autouse=True)
    def x64(self) -> Iterator[None]:
        with jax.enable_x64(True):
            yield


# --- a schedule is an optax schedule -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEDULES)
def test_values_are_the_same_under_jit_vmap_and_scan(name: str) -> None:
    schedule, t = SCHEDULES[name], jnp.arange(15, dtype=jnp.int32)
    expected = schedule.values(15)
    for got in (
        [jax.jit(schedule)(i) for i in t],
        jax.vmap(schedule)(t),
        jax.jit(jax.vmap(schedule))(t),
        jax.lax.scan(lambda i, _: (i + 1, schedule(i)), jnp.int32(0), length=15)[1],
        jax.lax.map(schedule, t),
    ):
        np.testing.assert_allclose(got, expected, rtol=FLOAT32, atol=1e-9)


@pytest.mark.parametrize(
    "make",
    [
        optax.sgd,
        lambda s: optax.chain(optax.scale_by_schedule(s), optax.scale(-1.0)),
        optax.inject_hyperparams(optax.sgd),
        lambda s: optax.chain(optax.scale(-1.0), optax.inject_hyperparams(optax.scale)(step_size=s)),
        lambda s: optax.inject_hyperparams(optax.adamw)(s, weight_decay=0.0, b1=0.0, b2=0.0, eps=0.0),
    ],
)
def test_update_t_uses_the_value_of_t_in_optax(make: Any) -> None:
    np.testing.assert_allclose(Run(make(SCHEDULE)).rates(25), SCHEDULE.values(25), rtol=2 * FLOAT32)


@pytest.mark.parametrize("t", [2**24 - 1, 2**24, 2**24 + 1, 2**24 + 3, 2**30 + 1, 2**31 - 6])
def test_counts_beyond_the_integers_of_float32_are_exact(t: int) -> None:
    schedule = constant(1).take(t) >> linear(1, 0, total=4)
    run = Run(optax.sgd(schedule))
    run.state = optax.tree.set(run.state, count=jnp.int32(t))
    assert run.rates(5) == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert Run(optax.sgd(resumed(schedule, t))).rates(5) == [1.0, 0.75, 0.5, 0.25, 0.0]


@pytest.mark.parametrize(
    ("child", "t"),
    [
        (linear(1, 0, total=10**10), 3_000_000),  # 3·10⁹ samples, more than an int32 counts
        (linear(1, 0, total=10**9), 3_000_000),  # the schedule has ended by then
        (linear(1, 0.1, total=10**9), 2**31 - 1),
        (linear(1, 0.5, total=10**6).repeat(), 3_000_000),
    ],
)
def test_samples_beyond_the_integers_of_int32_are_counted(child: Schedule, t: int) -> None:
    clock = Clock(child, [(0, 0, 512), (1000, 512_000, 1024)])
    found = jax.jit(clock)(jnp.array([0, 1, 999, 1000, t - 1, t]))
    expected = [*clock.values(1001)[[0, 1, 999, 1000]].tolist(), clock(t - 1), clock(t)]
    np.testing.assert_allclose(found, expected, atol=1e-3)  # of positions in float32


@pytest.mark.parametrize("integer", [jnp.int32, jnp.float32])
def test_a_batch_that_grows_after_the_end_of_a_schedule_changes_nothing(integer: Any) -> None:
    clock = Clock(linear(1, 0, total=10**9), [(0, 0, 512), (5_000_000, 2_560_000_000, 1024)])
    found = jax.jit(clock)(jnp.array([0, 976_562, 1_953_124, 1_953_126, 5_000_001], integer))
    np.testing.assert_allclose(found, [1.0, 0.5, 0.0, 0.0, 0.0], atol=1e-6)


def test_every_hyper_parameter_follows_its_own_schedule() -> None:
    rates = {"learning_rate": SCHEDULE, "weight_decay": linear(0.1, 0, total=9), "b1": linear(0.9, 0.5, total=9)}
    optimizer = scheduled(optax.adamw, **rates, b2=0.95, mask=lambda params: jax.tree.map(lambda _: True, params))
    plain_optax = optax.inject_hyperparams(optax.adamw)(**rates, b2=0.95)
    weights = other = jnp.ones(3)
    state, state_of_other = optimizer.init(weights), plain_optax.init(other)
    for t in range(12):
        gradient = jnp.full(3, 0.1 * (t + 1))
        updates, state = jax.jit(optimizer.update)(gradient, state, weights)
        weights = optax.apply_updates(weights, updates)
        updates, state_of_other = jax.jit(plain_optax.update)(gradient, state_of_other, other)
        other = optax.apply_updates(other, updates)
        for name, schedule in rates.items():
            assert float(state.hyperparams[name]) == pytest.approx(schedule(t), rel=FLOAT32)
    np.testing.assert_array_equal(weights, other)


def test_weight_decay_by_a_schedule() -> None:
    decay = linear(0.5, 0, total=4)
    optimizer = optax.chain(optax.add_decayed_weights(decay), optax.sgd(1.0))
    state, used = optimizer.init(jnp.ones(())), []
    for _ in range(6):
        updates, state = optimizer.update(jnp.zeros(()), state, jnp.ones(()))
        used.append(-float(updates))
    np.testing.assert_allclose(used, decay.values(6), rtol=FLOAT32)


def test_micro_batches_do_not_count() -> None:
    run = Run(optax.MultiSteps(optax.sgd(linear(1, 0, total=8)), every_k_schedule=4))
    used = run.rates(32)
    np.testing.assert_allclose(used[3::4], [1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125], rtol=FLOAT32)


def test_skipped_updates_do_not_count() -> None:
    optimizer = optax.apply_if_finite(optax.sgd(linear(0.1, 1, total=4)), max_consecutive_errors=9)
    state, used = optimizer.init(jnp.zeros(())), []
    for gradient in (jnp.inf, jnp.nan, 1.0, 1.0, 1.0, 1.0):
        updates, state = optimizer.update(jnp.asarray(gradient), state)
        used.append(-float(updates))
    np.testing.assert_allclose(used, [0, 0, 0.1, 0.325, 0.55, 0.775], rtol=FLOAT32)


def test_a_schedule_of_epochs_is_resolved_before() -> None:
    schedule = cosine(0.3, total="100%", warmup="1 epoch")
    with pytest.raises(UnresolvedError, match="epochs"):
        jax.jit(schedule)(jnp.int32(0))
    with pytest.raises(UnresolvedError, match="epochs"):
        scheduled(optax.sgd, learning_rate=schedule)
    resolved = schedule.resolve(RunPlan(samples=5, batch_size=1, epochs=4))
    np.testing.assert_allclose(Run(optax.sgd(resolved)).rates(20), resolved.values(20), rtol=FLOAT32)


# --- what it costs -----------------------------------------------------------------------------------------------------


def equations(jaxpr: Any) -> int:
    inner = (value.jaxpr for e in jaxpr.eqns for value in e.params.values() if hasattr(value, "jaxpr"))
    return len(jaxpr.eqns) + sum(map(equations, inner))


def test_the_traced_program_grows_by_a_few_operations_a_piece() -> None:
    def size(schedule: Schedule) -> int:
        return equations(jax.make_jaxpr(schedule)(jnp.int32(0)).jaxpr)

    assert size(constant(0.1)) <= 1  # positions before 0 are held at 0
    assert size(linear(1, 0, total=9)) <= 20
    assert size(cosine(1, total=9, warmup=3)) <= 45
    ten, hundred = (Chain([linear(i, i + 1, total=5) for i in range(n)]) for n in (10, 100))
    assert size(hundred) - size(ten) <= 90 * 30
    assert size(multi_factor(1, list(range(1, 101)), 0.5)) <= 100 * 9


def test_no_value_is_read_back_from_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    t = jax.device_put(jnp.int32(7))

    def read(array: Any) -> Any:
        raise AssertionError("a value was read back")

    monkeypatch.setattr(type(t), "_value", property(read))
    with pytest.raises(AssertionError, match="read back"):
        bool(t > 0)
    for schedule in SCHEDULES.values():
        schedule(t)
        jax.jit(schedule)(t)


# --- resuming and metrics ----------------------------------------------------------------------------------------------


def test_resumed_is_the_schedule_from_a_position_on() -> None:
    for k in (0, 1, 7, 30):
        np.testing.assert_array_equal(resumed(SCHEDULE, k).values(25), SCHEDULE.values(25, start=k))
    with pytest.raises(ValueError, match="completed must be a whole number"):
        resumed(SCHEDULE, -1)
    with pytest.raises(TypeError, match="schedule must be a laju schedule"):
        resumed(0.1, 1)  # type: ignore[arg-type]


def test_a_metric_drives_the_rate_without_compiling_again() -> None:
    losses, rule = [1.0, 1.0, 1.0, 0.5, 0.5, 0.5], Plateau(0.5, patience=1)
    traces = 0

    def counted(t: Any) -> Any:
        nonlocal traces
        traces += 1
        return SCHEDULE(t)

    run, controller = Run(optax.chain(optax.sgd(counted), scale_by_factor())), Controller(rule)
    used = []
    for loss in losses:
        used += run.rates(2)
        run.state = set_factor(run.state, controller.observe(loss, at=len(used)))
    factors = np.repeat([1.0, *simulate(rule, losses)[:-1]], 2)
    np.testing.assert_allclose(used, SCHEDULE.values(12) * factors, rtol=2 * FLOAT32)
    np.testing.assert_allclose(controller.recorded(SCHEDULE).values(12), SCHEDULE.values(12) * factors, rtol=1e-15)
    assert traces == 1

    again = Run(optax.chain(optax.sgd(SCHEDULE), scale_by_factor()))
    again.load(run.save())
    resumed_controller = Controller(rule)
    resumed_controller.load_state_dict(plain(controller.state_dict()))
    assert again.rates(3) == run.rates(3)
    assert resumed_controller.observe(0.5, at=15) == controller.observe(0.5, at=15)


def test_a_factor_keeps_the_type_of_the_updates_and_of_the_state() -> None:
    optimizer = scale_by_factor()
    state = set_factor(optimizer.init(None), 0.5)
    assert isinstance(state, FactorState)
    assert state.laju_factor.dtype == jnp.float32
    updates, _ = optimizer.update({"a": jnp.ones(2, jnp.bfloat16)}, state)
    assert updates["a"].dtype == jnp.bfloat16


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="adamw has no argument 'weight_deacy'; did you mean 'weight_decay'"):
        scheduled(optax.adamw, learning_rate=0.1, weight_deacy=SCHEDULE)
    with pytest.raises(TypeError, match="factory must make an optax transformation"):
        scheduled(optax.sgd(0.1), learning_rate=SCHEDULE)
    with pytest.raises(TypeError, match="missing a required argument: 'learning_rate'"):
        scheduled(optax.sgd, momentum=SCHEDULE)
    with pytest.raises(TypeError, match="has no base here"):
        scheduled(optax.sgd, learning_rate=Factor(SCHEDULE))
    with pytest.raises(ValueError, match=r"put scale_by_factor\(\) last"):
        set_factor(optax.sgd(0.1).init(jnp.zeros(())), 0.5)
    with pytest.raises(ValueError, match="factor must be a finite number"):
        set_factor(scale_by_factor().init(None), float("nan"))
