"""The PaddlePaddle adapter: update t uses schedule(t), and a state is a position in one schedule, however it is loaded."""

from __future__ import annotations

import copy
import doctest
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

paddle = pytest.importorskip("paddle", reason="PaddlePaddle is not installed: make test-paddle")

from paddle.optimizer.lr import LRScheduler  # noqa: E402

import laju.frameworks.paddle  # noqa: E402
from laju import SpecError, UnresolvedError, cosine, factor, linear  # noqa: E402
from laju.adaptive import Controller, Plateau, StateError  # noqa: E402
from laju.core.schedule import Schedule  # noqa: E402
from laju.frameworks.paddle import Scheduler, trace  # noqa: E402
from laju.frameworks.state import sealed  # noqa: E402
from laju.frameworks.values import Factor  # noqa: E402
from laju.testing import Adapter, Conformance, plain  # noqa: E402

SCHEDULE = cosine(0.3, total=20, warmup=5, final=0.01)


class Run:
    """Float64 weights with gradient 1; every update begins at weight 0, so that what it leaves is the rate."""

    def __init__(self, learning_rate: Any, *, bases: Sequence[float] = (1.0,)) -> None:
        self.weights = [paddle.create_parameter([1], "float64") for _ in bases]
        groups = [{"params": [w], "learning_rate": b} for w, b in zip(self.weights, bases, strict=True)]
        parameters = self.weights if list(bases) == [1.0] else groups
        self.optimizer = paddle.optimizer.SGD(learning_rate=learning_rate, parameters=parameters)

    @property
    def scheduler(self) -> Any:
        return self.optimizer._learning_rate

    def train(self, updates: int, micro: int = 1) -> list[list[float]]:
        used = []
        for _ in range(updates):
            for weight in self.weights:
                weight.set_value(paddle.zeros([1], "float64"))
            for i in range(micro):
                if i:
                    self.scheduler.step()  # as a loop does that steps the scheduler after every batch
                (sum(w.sum() for w in self.weights) / micro).backward()
            self.optimizer.step()
            self.optimizer.clear_grad()
            used.append([-w.item() for w in self.weights])
            self.scheduler.step()
        return used

    def rates(self, updates: int) -> list[float]:
        return [first for first, *_ in self.train(updates)]

    def save(self) -> Any:
        return self.optimizer.state_dict(), plain(self.scheduler.state_dict())


class Paddle(Adapter):
    policies: ClassVar[bool] = True
    factors: ClassVar[bool] = True
    load_orders: ClassVar[Sequence[str]] = (
        "build, optimizer",
        "build, scheduler",
        "build, optimizer, scheduler",
        "build, scheduler, optimizer",
        "build, optimizer, optimizer",
        "scheduler, build",
        "scheduler, build, optimizer",
        "optimizer, scheduler, give",
        "give, optimizer",
        "optimizer, give, scheduler",
    )

    def start(self, schedule: Schedule, *, bases: Sequence[float] | None = None) -> Run:
        return Run(Scheduler(schedule), bases=bases or (1.0,))

    def resume(self, saved: Any, schedule: Schedule, *, order: str, policy: Any = "strict") -> Run:
        optimizer_state, state = saved
        before = copy.deepcopy(state)
        scheduler = Scheduler(schedule, policy=policy)
        run = Run(0.5) if "give" in order else None  # an optimizer that gets its scheduler later
        for step in order.split(", "):
            if step == "scheduler":
                scheduler.set_state_dict(state)
            elif step == "build":
                run = Run(scheduler)
            else:
                assert run is not None
                if step == "give":
                    run.optimizer.set_lr_scheduler(scheduler)
                else:
                    run.optimizer.set_state_dict(optimizer_state)
        assert run is not None
        assert state == before
        assert scheduler.position == state["position"]
        return run

    def at(self, schedule: Schedule, position: int) -> Run:
        run = Run(Scheduler(schedule))
        run.scheduler.set_position(position)
        return run

    def move(self, run: Any, position: int) -> None:
        run.scheduler.set_position(position)

    def micro(self, run: Any, n: int) -> None:
        for _ in range(n):
            run.scheduler.step()


class TestPaddle(Conformance):
    adapter = Paddle()


# --- counting ---------------------------------------------------------------------------------------------------------------


def test_it_is_a_scheduler_of_paddles_own_kind() -> None:
    scheduler = Scheduler(SCHEDULE)
    assert isinstance(scheduler, LRScheduler)
    assert (scheduler(), scheduler.last_lr, scheduler.last_epoch, scheduler.position) == (
        SCHEDULE(0),
        SCHEDULE(0),
        0,
        0,
    )


@pytest.mark.parametrize(
    "name",
    ["SGD", "Momentum", "Adagrad", "Adadelta", "Adam", "AdamW", "Adamax", "Lamb", "RMSProp", "NAdam", "RAdam"],
)
def test_every_optimizer_asks_for_the_rate_of_its_update(name: str) -> None:
    scheduler = Scheduler(SCHEDULE)
    weight = paddle.create_parameter([1], "float32")
    optimizer = getattr(paddle.optimizer, name)(learning_rate=scheduler, parameters=[weight])
    for _ in range(7):
        weight.sum().backward()
        optimizer.step()
        optimizer.clear_grad()
        scheduler.step()
    assert scheduler.position == 7


def test_micro_batches_do_not_count() -> None:
    run = Run(Scheduler(SCHEDULE))
    with pytest.warns(RuntimeWarning, match="no update has read the rate"):
        assert [v for (v,) in run.train(8, micro=3)] == SCHEDULE.values(8).tolist()


def test_every_call_counts_where_that_was_said() -> None:
    scheduler = Scheduler(SCHEDULE, count="calls")
    for _ in range(5):
        scheduler.step()
    assert (scheduler.position, scheduler()) == (5, SCHEDULE(5))


def test_a_position_can_be_given_to_step_as_paddles_composites_do() -> None:
    scheduler = Scheduler(SCHEDULE)
    for _ in range(2):
        scheduler.step(6)
        assert (scheduler.position, scheduler()) == (6, SCHEDULE(6))
    warm = paddle.optimizer.lr.LinearWarmup(Scheduler(SCHEDULE), warmup_steps=3, start_lr=0.0, end_lr=0.3)
    assert trace(warm, 9) == pytest.approx([0.0, 0.1, 0.2, *SCHEDULE.values(6)])


# paddle.Model steps the scheduler after every batch, whether it made an update or not.
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_model_of_paddles_own_loop_uses_the_schedule_and_resumes(tmp_path: Path, accumulate: int) -> None:
    used: list[float] = []

    class SGD(paddle.optimizer.SGD):
        def minimize(self, *args: Any, **kwargs: Any) -> Any:
            used.append(self._learning_rate.last_lr)
            return super().minimize(*args, **kwargs)

    def build(schedule: Schedule = SCHEDULE) -> tuple[Any, Scheduler]:
        inputs = paddle.static.InputSpec([None, 4], "float32", "x"), paddle.static.InputSpec([None, 1], "int64", "y")
        model = paddle.Model(paddle.nn.Linear(4, 2), *inputs)
        scheduler = Scheduler(schedule)
        model.prepare(SGD(learning_rate=scheduler, parameters=model.parameters()), paddle.nn.CrossEntropyLoss())
        return model, scheduler

    def fit(model: Any, batches: int) -> None:
        data = [(np.ones((2, 4), "float32"), np.zeros((2, 1), "int64"))] * batches
        model.fit(data, epochs=1, verbose=0, accumulate_grad_batches=accumulate)

    updates = 12 // accumulate
    first, scheduler = build()
    if accumulate == 1:
        fit(first, 12)
    else:
        with pytest.warns(RuntimeWarning, match="does not count"):
            fit(first, 12)
    assert used == SCHEDULE.values(updates).tolist()
    first.save(str(tmp_path / "model"))
    second, scheduler = build()
    second.load(str(tmp_path / "model"))
    assert scheduler.position == updates
    fit(second, 2 * accumulate)
    assert used[updates:] == SCHEDULE.values(updates + 2)[updates:].tolist()
    other, _ = build(linear(1, 0, total=9))
    with pytest.raises(StateError, match="lr saved"):
        other.load(str(tmp_path / "model"))


def test_a_compiled_training_step_follows_the_schedule() -> None:
    net, scheduler = paddle.nn.Linear(1, 1, bias_attr=False), Scheduler(SCHEDULE)
    optimizer = paddle.optimizer.SGD(learning_rate=scheduler, parameters=net.parameters())
    forward, used = paddle.jit.to_static(net), []
    for _ in range(8):
        net.weight.set_value(paddle.zeros([1, 1]))
        forward(paddle.ones([1, 1])).sum().backward()
        optimizer.step()
        optimizer.clear_grad()
        used.append(-net.weight.item())
        scheduler.step()
    np.testing.assert_allclose(used, SCHEDULE.values(8), rtol=2.0**-23)


def test_a_static_graph_follows_the_schedule() -> None:
    paddle.enable_static()
    try:
        main, startup = paddle.static.Program(), paddle.static.Program()
        with paddle.static.program_guard(main, startup):
            x = paddle.static.data("x", [1], "float64")
            weight = paddle.create_parameter([1], "float64", default_initializer=paddle.nn.initializer.Constant(0.0))
            scheduler = Scheduler(SCHEDULE)
            loss = (weight * x).sum()
            paddle.optimizer.SGD(learning_rate=scheduler).minimize(loss)
        executor = paddle.static.Executor(paddle.CPUPlace())
        executor.run(startup)
        losses = []
        for _ in range(9):
            (now,) = executor.run(main, feed={"x": np.ones(1)}, fetch_list=[loss])
            losses.append(float(now))
            scheduler.step()
    finally:
        paddle.disable_static()
    np.testing.assert_allclose(-np.diff(losses), SCHEDULE.values(8), rtol=0, atol=1e-7)


# --- metrics ---------------------------------------------------------------------------------------------------------------


def plateau(**settings: Any) -> Run:
    return Run(Scheduler(linear(1, 0, total=10), controller=Plateau(0.5, patience=0), **settings))


@pytest.mark.parametrize("load", ["optimizer", "scheduler"])
def test_a_metric_drives_a_factor_from_the_next_update_on(load: str) -> None:
    run = plateau()
    assert [run.scheduler.observe(1.0), *run.rates(2)] == [1.0, 1.0, 0.9]
    assert run.scheduler.observe(1.0) == 0.5
    assert run.rates(2) == [0.8 * 0.5, pytest.approx(0.7 * 0.5)]
    optimizer_state, state = run.save()
    optimizer_state = copy.deepcopy(optimizer_state)
    whole = [run.scheduler.observe(1.0), *run.rates(2)]
    again = plateau()
    if load == "optimizer":
        again.optimizer.set_state_dict(optimizer_state)
    else:
        again.scheduler.set_state_dict(state)
    assert again.scheduler.state_dict() == state
    assert [again.scheduler.observe(1.0), *again.rates(2)] == whole


def test_a_factor_that_is_never_fed_is_an_error_within_the_updates_that_were_said() -> None:
    run = plateau(observe_within=3)
    run.train(3)
    with pytest.raises(RuntimeError, match="no metric was observed in the last 4 updates"):
        run.train(1)
    run = plateau(observe_within=3)
    for _ in range(3):
        run.train(3)
        run.scheduler.observe(1.0)


def test_a_factor_that_is_never_fed_is_a_warning_otherwise() -> None:
    scheduler = Scheduler(SCHEDULE, controller=Controller(Plateau(0.1, patience=1)), count="calls")
    for _ in range(9_999):
        scheduler.step()
    with pytest.warns(RuntimeWarning, match="no metric was observed in the last 10000 updates"):
        scheduler.step()


def test_without_a_controller_there_is_nothing_to_observe() -> None:
    with pytest.raises(RuntimeError, match="no controller"):
        Scheduler(SCHEDULE).observe(1.0)


# --- checkpoints -------------------------------------------------------------------------------------------------------------


def through_paddle(state: Any, folder: Path) -> Any:
    paddle.save(state, str(folder / "state.pdopt"))
    return paddle.load(str(folder / "state.pdopt"))


@pytest.mark.parametrize("stop", [0, 7, 5000])
def test_momentum_and_schedule_go_on_from_the_optimizers_own_file(tmp_path: Path, stop: int) -> None:
    schedule = linear(1, 0, total=10_000)

    def build() -> tuple[Any, Any, Any]:
        weight = paddle.create_parameter([1], "float64")
        weight.set_value(paddle.zeros([1], "float64"))
        scheduler = Scheduler(schedule)
        return weight, scheduler, paddle.optimizer.Momentum(learning_rate=scheduler, parameters=[weight])

    def go(weight: Any, scheduler: Any, optimizer: Any, updates: int) -> float:
        for _ in range(updates):
            weight.sum().backward()
            optimizer.step()
            optimizer.clear_grad()
            scheduler.step()
        return float(weight.item())

    with paddle.utils.unique_name.guard():  # names count anew, as in a process of its own
        first = build()
        first[1].set_position(max(0, stop - 5))
        at = go(*first, min(stop, 5))
        state = through_paddle(first[2].state_dict(), tmp_path)
        whole = go(*first, 5)
    with paddle.utils.unique_name.guard():
        second = build()
        second[0].set_value(paddle.full([1], at, "float64"))
        second[2].set_state_dict(state)
        assert second[1].position == stop
        assert go(*second, 5) == whole


def test_a_state_of_another_schedule_is_refused_with_both_and_changes_nothing() -> None:
    first, other = Run(Scheduler(SCHEDULE)), linear(1, 0, total=30)
    first.train(1)
    second = Run(Scheduler(other))
    second.train(2)
    for load in (
        lambda: second.scheduler.set_state_dict(first.scheduler.state_dict()),
        lambda: second.optimizer.set_state_dict(first.optimizer.state_dict()),
    ):
        with pytest.raises(StateError) as error:
            load()
        assert str(SCHEDULE) in str(error.value)
        assert str(other) in str(error.value)
    assert second.rates(1) == other.values(1, start=2).tolist()
    second.scheduler.load_state_dict(first.scheduler.state_dict(), policy="saved")
    assert second.rates(3) == SCHEDULE.values(3, start=1).tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: None, "one that laju's paddle.Scheduler made, got None"),
        (lambda state: {}, "one that laju's paddle.Scheduler made"),
        (lambda state: paddle.optimizer.lr.StepDecay(0.1, 3).state_dict(), "one that laju's paddle.Scheduler made"),
        (lambda state: state | {"laju": 3}, "newer version, 3; this laju reads versions 1 and 2"),
        (lambda state: state | {"laju": 0}, "another version, 0"),
        (lambda state: state | {"kind": "mxnet.Scheduler"}, "of 'mxnet.Scheduler', not of 'paddle.Scheduler'"),
        (lambda state: state | {"position": -1}, "position"),
        (lambda state: sealed(state | {"observed": "1.5"}), "observed"),
        (
            lambda state: sealed(state | {"controller": '{"version": 1}'}),
            "no controller, but the state was saved with one",
        ),
    ],
)
def test_a_state_of_something_else_is_refused_and_changes_nothing(
    change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    run = Run(Scheduler(SCHEDULE))
    run.train(1)
    before = run.scheduler.state_dict()
    with pytest.raises(ValueError, match=message):
        run.scheduler.set_state_dict(change(run.scheduler.state_dict()))
    assert run.scheduler.state_dict() == before
    assert run.rates(1) == SCHEDULE.values(2)[1:].tolist()


def test_another_rule_is_refused_and_changes_nothing() -> None:
    run = Run(Scheduler(linear(1, 0, total=10), controller=Plateau(0.1, patience=3)))
    before = run.scheduler.state_dict()
    with pytest.raises(StateError, match="different parameters"):
        run.scheduler.set_state_dict(plateau().scheduler.state_dict())
    assert run.scheduler.state_dict() == before


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_a_copy_goes_on_from_where_it_was(copied: Callable[[Any], Any]) -> None:
    run = Run(Scheduler(SCHEDULE))
    run.train(4)
    second = Run(copied(run.scheduler))
    assert second.rates(10) == run.rates(10) == SCHEDULE.values(14)[4:].tolist()


# --- wrong arguments ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Scheduler(0.1), TypeError, "schedule must be a laju schedule or its text, got 0.1"),
        (lambda: Scheduler("constat(0.1)"), SpecError, "laju schedule or its text"),
        (lambda: Scheduler(Factor(SCHEDULE)), TypeError, "no base of its own"),
        (lambda: Scheduler(SCHEDULE, controller="plateau"), TypeError, "controller"),
        (lambda: Scheduler(SCHEDULE, policy="newer"), ValueError, "did you mean 'new'"),
        (lambda: Scheduler(SCHEDULE, count="updates"), ValueError, "'applied' or 'calls'"),
        (lambda: Scheduler(SCHEDULE, observe_within=0), ValueError, "observe_within"),
        (lambda: Scheduler(cosine(0.3, total="5 epochs")), UnresolvedError, "epoch"),
        (lambda: Scheduler(SCHEDULE).set_position(-1), ValueError, "t must be"),
        (lambda: trace(SCHEDULE, 3), TypeError, "Paddle LRScheduler"),
        (lambda: trace(Scheduler(SCHEDULE), -3), ValueError, "n must be"),
    ],
)
def test_wrong_arguments_are_refused(make: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


# --- in the other direction, and the chapter's loop ---------------------------------------------------------------------------


def test_trace_gives_what_paddles_schedulers_really_use_and_leaves_them_as_they_are() -> None:
    multi = paddle.optimizer.lr.MultiStepDecay(1.0, [2, 4], gamma=0.5)
    assert trace(multi, 6) == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert (multi.last_epoch, multi()) == (0, 1.0)
    np.testing.assert_allclose(trace(paddle.optimizer.lr.CosineAnnealingDecay(1.0, 9), 9), cosine(1, total=9).values(9))
    scheduler = Scheduler(SCHEDULE)
    scheduler.set_position(3)
    assert trace(scheduler, 30) == SCHEDULE.values(30, start=3).tolist()
    assert scheduler.position == 3


@pytest.mark.parametrize(
    "schedule",
    [cosine(0.2, total=64, warmup=8, final=0.01), factor(0.1, 0.9, every=16, floor=0.01)],
    ids=["cosine with warmup", "factor"],
)
def test_the_chapters_loop_trains_lenet(schedule: Schedule) -> None:
    paddle.seed(1)
    rng = np.random.default_rng(0)
    # Ten patterns and noise, learnt in a few batches.
    patterns, labels = rng.random((10, 1, 28, 28)), rng.integers(0, 10, 256)
    images = (patterns[labels] + 0.1 * rng.random((256, 1, 28, 28))).astype(np.float32)
    nn = paddle.nn
    net = nn.Sequential(
        nn.Conv2D(1, 6, kernel_size=5, padding=2),
        nn.ReLU(),
        nn.MaxPool2D(kernel_size=2, stride=2),
        nn.Conv2D(6, 16, kernel_size=5),
        nn.ReLU(),
        nn.MaxPool2D(kernel_size=2, stride=2),
        nn.Flatten(),
        nn.Linear(16 * 5 * 5, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )
    scheduler = Scheduler(schedule)
    trainer = paddle.optimizer.SGD(learning_rate=scheduler, parameters=net.parameters())
    loss, losses, used = nn.CrossEntropyLoss(), [], []
    for _ in range(8):  # epochs
        for i in range(0, 256, 32):
            x, y = paddle.to_tensor(images[i : i + 32]), paddle.to_tensor(labels[i : i + 32])
            trainer.clear_grad()
            batch = loss(net(x), y)
            batch.backward()
            used.append(trainer.get_lr())
            trainer.step()
            scheduler.step()
            losses.append(float(batch))
    assert used == schedule.values(64).tolist()
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:8])


def test_the_examples_of_the_docstrings_run() -> None:
    result = doctest.testmod(laju.frameworks.paddle)
    assert result.attempted > 5
    assert result.failed == 0
