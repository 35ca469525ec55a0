"""The MXNet adapter: update t uses schedule(t) although MXNet counts from 1, and no way of resuming changes that in silence."""

from __future__ import annotations

import copy
import doctest
import os
import pickle
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

mx = pytest.importorskip("mxnet", reason="MXNet needs NumPy 1.23.5 and so an environment of its own: make test-mxnet")

from mxnet import autograd, gluon  # noqa: E402

import laju.frameworks.mxnet  # noqa: E402
from laju import SpecError, UnresolvedError, cosine, factor, linear  # noqa: E402
from laju.adaptive import Controller, Plateau, StateError  # noqa: E402
from laju.core.schedule import Schedule  # noqa: E402
from laju.frameworks.mxnet import Scheduler, trace  # noqa: E402
from laju.frameworks.state import sealed  # noqa: E402
from laju.frameworks.values import Factor  # noqa: E402
from laju.testing import Adapter, Conformance, plain  # noqa: E402

SCHEDULE = cosine(0.3, total=20, warmup=5, final=0.01)
FLOAT32 = 2.0**-23  # MXNet's operators take the rate as a float32


class Loop:
    """Weights with gradient 1 and a trainer; every update begins at weight 0, so that what it leaves is the rate."""

    def __init__(
        self,
        scheduler: Scheduler | None,
        *,
        mults: Sequence[float] = (1.0,),
        devices: int = 1,
        start: float = 0.0,
        optimizer: str = "sgd",
        arguments: dict[str, Any] | None = None,
        **trainer: Any,
    ) -> None:
        self.devices = [mx.cpu(i) for i in range(devices)]
        self.start = start
        self.weights = [gluon.Parameter(f"w{i}", shape=(1,), init="zeros", lr_mult=m) for i, m in enumerate(mults)]
        for weight in self.weights:
            weight.initialize(ctx=self.devices)
        self.scheduler: Any = scheduler
        given = {"learning_rate": None, "lr_scheduler": scheduler} if scheduler is not None else {}
        self.trainer = gluon.Trainer(self.weights, optimizer, given | (arguments or {}), **trainer)

    def backward(self, weights: Sequence[Any] | None = None) -> None:
        with autograd.record():
            losses = [sum(w.data(device).sum() for w in weights or self.weights) for device in self.devices]
        for loss in losses:
            loss.backward()

    def train(self, updates: int) -> list[list[float]]:
        used = []
        for _ in range(updates):
            for weight in self.weights:
                weight.set_data(mx.nd.full((1,), self.start))
            self.backward()
            self.trainer.step(len(self.devices))
            used.append([float(self.start - w.data(self.devices[-1]).asscalar()) for w in self.weights])
        return used

    def rates(self, updates: int) -> list[float]:
        return [first for first, *_ in self.train(updates)]


class Run(Loop):
    def __init__(self, folder: Path, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.folder = folder

    def save(self) -> Any:
        file = self.folder / "trainer.states"
        self.trainer.save_states(str(file))
        self.scheduler.attach(self.trainer)
        return file.read_bytes(), plain(self.scheduler.state_dict())


class MXNet(Adapter):
    tolerance: ClassVar[float] = FLOAT32
    policies: ClassVar[bool] = True
    factors: ClassVar[bool] = True
    load_orders: ClassVar[Sequence[str]] = (
        "load_states",
        "attach, load_states",
        "attach, load_state_dict",
        "load_state_dict, attach",
        "load_states, load_state_dict",
        "load_state_dict, load_states",
        "attach, load_state_dict, load_states, attach",
        "begin_num_update, load_state_dict, attach",
        "begin_num_update, attach, load_state_dict",
        "load_states, save, load_states",
    )
    folder: Path

    def start(self, schedule: Schedule, *, bases: Sequence[float] | None = None) -> Run:
        return Run(self.folder, Scheduler(schedule), mults=bases or (1.0,))

    def resume(self, saved: Any, schedule: Schedule, *, order: str, policy: Any = "strict") -> Run:
        states, state_dict = saved
        file = self.folder / "resumed.states"
        file.write_bytes(states)
        begin = {"begin_num_update": state_dict["position"]} if "begin_num_update" in order else {}
        run = Run(self.folder, Scheduler(schedule, policy=policy), arguments=begin)
        before = copy.deepcopy(state_dict)
        for step in order.split(", "):
            if step == "load_states":
                run.scheduler.load_states(run.trainer, file)
            elif step == "load_state_dict":
                run.scheduler.load_state_dict(state_dict)
            elif step == "attach":
                run.scheduler.attach(run.trainer)
            elif step == "save":
                run.trainer.save_states(str(file))
        assert state_dict == before
        assert run.scheduler.position == state_dict["position"]
        return run

    def at(self, schedule: Schedule, position: int) -> Run:
        run = Run(self.folder, Scheduler(schedule))
        run.scheduler.attach(run.trainer).set_position(position)
        return run

    def move(self, run: Any, position: int) -> None:
        run.scheduler.attach(run.trainer).set_position(position)


class TestMXNet(Conformance):
    adapter = MXNet()

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path) -> None:
        MXNet.folder = tmp_path


def close(used: Any, expected: Any) -> None:
    np.testing.assert_allclose(used, expected, rtol=FLOAT32, atol=FLOAT32 * 1e-2)


# --- whose count ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_kvstore", [True, False])
@pytest.mark.parametrize("weights", [1, 6])  # SGD takes four at a time
def test_several_devices_make_one_update_together(on_kvstore: bool, weights: int) -> None:
    loop = Loop(Scheduler(SCHEDULE), mults=[1.0] * weights, devices=2, update_on_kvstore=on_kvstore)
    loop.scheduler.attach(loop.trainer)
    rates, last = [], [0.0] * weights  # a key-value store has weights of its own, so these go on
    for _ in range(9):
        loop.backward()
        loop.trainer.step(2)
        now = [float(w.data(loop.devices[-1]).asscalar()) for w in loop.weights]
        rates.append([a - b for a, b in zip(last, now, strict=True)])
        last = now
    assert loop.trainer._update_on_kvstore is on_kvstore
    assert loop.scheduler.position == 9
    np.testing.assert_allclose(rates, [[SCHEDULE(t)] * weights for t in range(9)], atol=1e-6)


@pytest.mark.parametrize(
    "name",
    ["sgd", "nag", "adam", "adagrad", "rmsprop", "ftml", "signum", "adamax", "nadam", "lamb", "sgld", "dcasgd", "ftrl"],
)
def test_every_optimizer_asks_for_the_value_of_its_update(name: str) -> None:
    asked = []

    class Asked(Scheduler):
        def __call__(self, num_update: int) -> float:
            asked.append(super().__call__(num_update))
            return asked[-1]

    schedule = linear(0.3, 0.1, total=6)
    Loop(Asked(schedule), optimizer=name).train(8)
    assert asked == schedule.values(8).tolist()


def test_the_trainers_rate_is_that_of_the_last_update() -> None:
    loop = Loop(Scheduler(SCHEDULE))
    assert loop.trainer.learning_rate == SCHEDULE(0)
    for t in range(5):
        loop.train(1)
        assert loop.trainer.learning_rate == SCHEDULE(t)


def test_begin_num_update_starts_at_that_position() -> None:
    loop = Loop(Scheduler(SCHEDULE), arguments={"begin_num_update": 7})
    close(loop.rates(5), SCHEDULE.values(5, start=7))
    assert loop.scheduler.attach(loop.trainer).position == 12


def test_a_parameter_that_missed_updates_gets_the_value_of_the_update_before() -> None:
    # What the docstring warns of; SGD would take both weights at once.
    loop = Loop(Scheduler(linear(1, 0, total=8)), mults=(1.0, 1.0), optimizer="nag")
    loop.train(2)
    loop.backward(loop.weights[1:])
    loop.trainer.step(1, ignore_stale_grad=True)
    close(loop.train(1), [[1 - 2 / 8, 1 - 3 / 8]])


def test_asking_for_values_uses_nothing_up() -> None:
    scheduler = Scheduler(SCHEDULE)
    assert [scheduler(n) for n in (9, 1, 5000, 2, 1)] == SCHEDULE.values(5000)[[8, 0, 4999, 1, 0]].tolist()
    close(Loop(scheduler).rates(5), SCHEDULE.values(5))
    close(Loop(scheduler).rates(5), SCHEDULE.values(5))  # and a second trainer begins anew


def test_the_optimizers_own_rate_changes_nothing_and_mxnets_word_is_put_right() -> None:
    scheduler = Scheduler(SCHEDULE)
    with pytest.warns(RuntimeWarning, match=r"0\.001 .* It has not"):
        mx.optimizer.Adam(lr_scheduler=scheduler)
    assert scheduler(1) == SCHEDULE(0)
    close(Loop(Scheduler(linear(1, 0, total=4)), arguments={"learning_rate": 1.0}).rates(3), [1, 0.75, 0.5])


def test_the_module_api_counts_alike() -> None:
    scheduler = Scheduler(SCHEDULE)
    optimizer = mx.optimizer.SGD(lr_scheduler=scheduler, rescale_grad=1.0, begin_num_update=3)
    scheduler.attach(optimizer)
    loss = mx.sym.MakeLoss(mx.sym.Variable("data") * mx.sym.Variable("weight", shape=(1,)))
    module = mx.mod.Module(loss, label_names=None)
    module.bind([("data", (1,))])
    module.init_params(mx.init.Zero())
    module.init_optimizer(optimizer=optimizer)
    used = []
    for _ in range(6):
        module.set_params({"weight": mx.nd.zeros(1)}, {})
        module.forward(mx.io.DataBatch([mx.nd.ones(1)]), is_train=True)
        module.backward()
        module.update()
        used.append(-float(module.get_params()[0]["weight"].asscalar()))
    close(used, SCHEDULE.values(6, start=3))
    assert scheduler.position == 9


# --- weight decay ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_kvstore", [True, False])
def test_weight_decay_follows_its_schedule(on_kvstore: bool) -> None:
    rate, wd = linear(0.5, 0.1, total=6), linear(0.1, 0.02, total=5)
    loop = Loop(Scheduler(rate, wd=wd), mults=[1.0] * 5, devices=2, update_on_kvstore=on_kvstore)
    loop.scheduler.attach(loop.trainer)
    expected = np.float64(0.0)
    for t in range(9):
        loop.backward()
        loop.trainer.step(2)
        assert loop.trainer.learning_rate == rate(t)
        expected = expected - rate(t) * (1 + wd(t) * expected)
        for weight in loop.weights:
            np.testing.assert_allclose(weight.data(loop.devices[1]).asscalar(), expected, rtol=1e-6)


def test_weight_decay_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    wd = linear(0.1, 0.02, total=5)
    loop = Loop(Scheduler(SCHEDULE, wd=wd), start=1.0)
    loop.scheduler.attach(loop.trainer)
    whole = loop.rates(8)
    np.testing.assert_allclose(whole, [SCHEDULE(t) * (1 + wd(t)) for t in range(8)], rtol=2 * FLOAT32)
    first = Loop(Scheduler(SCHEDULE, wd=wd), start=1.0)
    first.scheduler.attach(first.trainer)
    first.train(3)
    first.trainer.save_states(str(tmp_path / "states"))
    second = Loop(Scheduler(SCHEDULE, wd=wd), start=1.0)
    second.scheduler.load_states(second.trainer, tmp_path / "states")
    assert second.rates(5) == whole[3:]
    third = Loop(Scheduler(SCHEDULE), start=1.0)
    with pytest.raises(StateError, match="wd saved"):
        third.scheduler.load_states(third.trainer, tmp_path / "states")


# --- metrics -----------------------------------------------------------------------------------------------------------------


def plateau(**settings: Any) -> Loop:
    loop = Loop(Scheduler(linear(1, 0, total=10), controller=Plateau(0.5, patience=0), **settings))
    loop.scheduler.attach(loop.trainer)
    return loop


def test_a_metric_drives_a_factor_from_the_next_update_on(tmp_path: Path) -> None:
    loop = plateau()
    assert [loop.scheduler.observe(1.0), *loop.rates(2)] == [1.0, *np.float32([1, 0.9])]
    assert loop.scheduler.observe(1.0) == 0.5
    close(loop.rates(2), [0.8 * 0.5, 0.7 * 0.5])
    loop.trainer.save_states(str(tmp_path / "states"))
    state = plain(loop.scheduler.state_dict())
    whole = [loop.scheduler.observe(1.0), *loop.rates(2)]
    for load in ("load_states", "load_state_dict"):
        again = plateau()
        handle = again.scheduler.controller
        if load == "load_states":
            again.scheduler.load_states(again.trainer, tmp_path / "states")
        else:
            again.scheduler.load_state_dict(state)
        assert again.scheduler.state_dict() == state
        assert again.trainer.optimizer.lr_scheduler is again.scheduler
        assert [again.scheduler.observe(1.0), *again.rates(2)] == whole
        assert again.scheduler.controller is handle


def test_a_factor_that_is_never_fed_is_an_error_within_the_updates_that_were_said() -> None:
    loop = plateau(observe_within=3)
    loop.train(3)
    with pytest.raises(RuntimeError, match="no metric was observed in the last 3 updates"):
        loop.train(1)
    loop = plateau(observe_within=3)
    for _ in range(3):
        loop.train(3)
        loop.scheduler.observe(1.0)


def test_a_factor_that_is_never_fed_is_a_warning_otherwise() -> None:
    loop = plateau()
    loop.scheduler.set_position(9_990)
    loop.scheduler._fed = 0
    loop.train(10)
    with pytest.warns(RuntimeWarning, match="no metric was observed in the last 10000 updates"):
        loop.train(1)


@pytest.mark.parametrize("controller", [Plateau(0.1, patience=1), Controller(Plateau(0.1, patience=1))])
def test_what_needs_the_count_says_so_until_it_is_attached(controller: Any) -> None:
    for scheduler in (Scheduler(SCHEDULE, controller=controller), Scheduler(SCHEDULE, wd=SCHEDULE)):
        with pytest.raises(RuntimeError, match=r"call scheduler\.attach\(trainer\)"):
            Loop(scheduler).train(1)
    with pytest.raises(RuntimeError, match="attach"):
        Scheduler(SCHEDULE, controller=controller).observe(1.0)
    with pytest.raises(RuntimeError, match="attach"):
        Scheduler(SCHEDULE).state_dict()
    with pytest.raises(RuntimeError, match="no controller"):
        Scheduler(SCHEDULE).observe(1.0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_where_mxnet_swallows_the_error_no_update_is_made() -> None:
    loop = Loop(Scheduler(SCHEDULE, wd=SCHEDULE), devices=2, start=1.0)
    assert loop.rates(2) == [0.0, 0.0]
    with pytest.raises(RuntimeError, match="attach"):
        _ = loop.trainer.learning_rate


# --- checkpoints ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def states(tmp_path: Path) -> Path:
    """A trainer's file after 4 updates of SCHEDULE."""
    loop = Loop(Scheduler(SCHEDULE))
    loop.train(4)
    loop.trainer.save_states(str(tmp_path / "four.states"))
    return tmp_path / "four.states"


@pytest.mark.parametrize("devices", [1, 2])
def test_the_trainers_own_load_states_is_an_error_that_changes_nothing(states: Path, devices: int) -> None:
    loop = Loop(Scheduler(linear(1, 0, total=9)), devices=devices)
    optimizer = loop.trainer.optimizer
    with pytest.raises(StateError, match=r"scheduler\.load_states\(trainer, file\)"):
        loop.trainer.load_states(str(states))
    assert loop.trainer.optimizer is optimizer
    assert optimizer.num_update == 0
    assert optimizer.lr_scheduler is loop.scheduler


@pytest.mark.parametrize("on_kvstore", [True, False])
def test_momentum_weights_and_schedule_go_on_with_several_devices(tmp_path: Path, on_kvstore: bool) -> None:
    def build() -> Loop:
        arguments = {"momentum": 0.9}
        return Loop(Scheduler(SCHEDULE), mults=(1.0, 0.5), devices=2, arguments=arguments, update_on_kvstore=on_kvstore)

    def go(loop: Loop, updates: int) -> list[float]:
        for _ in range(updates):
            loop.backward()
            loop.trainer.step(2)
        return [float(w.data(d).asscalar()) for w in loop.weights for d in loop.devices]

    whole = go(build(), 9)
    first = build()
    weights = go(first, 4)
    first.trainer.save_states(str(tmp_path / "states"))
    second = build()
    for i, weight in enumerate(second.weights):
        weight.set_data(mx.nd.array([weights[2 * i]]))
    second.scheduler.load_states(second.trainer, tmp_path / "states")
    assert second.trainer.optimizer.lr_scheduler is second.scheduler
    assert second.scheduler.position == 4
    assert go(second, 5) == whole


def test_a_file_of_another_schedule_is_refused_with_both_and_changes_nothing(states: Path) -> None:
    other = linear(1, 0, total=9)
    loop = Loop(Scheduler(other))
    loop.train(2)
    with pytest.raises(StateError) as error:
        loop.scheduler.load_states(loop.trainer, states)
    assert str(SCHEDULE) in str(error.value)
    assert str(other) in str(error.value)
    assert loop.trainer.optimizer.num_update == 2
    close(loop.rates(2), other.values(2, start=2))
    loop.scheduler.load_states(loop.trainer, states, policy="new")
    close(loop.rates(2), other.values(2, start=4))
    loop.scheduler.load_states(loop.trainer, states, policy="saved")
    assert loop.scheduler.schedule == SCHEDULE
    close(loop.rates(2), SCHEDULE.values(2, start=4))


def test_a_file_without_a_schedule_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "states"
    bare = Loop(None, arguments={"lr_scheduler": mx.lr_scheduler.CosineScheduler(9)})
    bare.train(3)
    bare.trainer.save_states(str(file))
    loop = Loop(Scheduler(SCHEDULE))
    with pytest.raises(StateError, match="not saved with laju's"):
        loop.scheduler.load_states(loop.trainer, file)
    assert loop.trainer.optimizer.num_update == 0
    loop.trainer.load_states(str(file))  # as the message says
    loop.trainer.optimizer.lr_scheduler = loop.scheduler
    close(loop.rates(3), SCHEDULE.values(3, start=3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: None, "one that laju's mxnet.Scheduler made, got None"),
        (lambda state: {}, "one that laju's mxnet.Scheduler made"),
        (lambda state: [1], "one that laju's mxnet.Scheduler made"),
        (lambda state: state | {"laju": 3}, "newer version, 3; this laju reads versions 1 and 2"),
        (lambda state: state | {"laju": 0}, "another version, 0"),
        (lambda state: state | {"kind": "torch.Scheduler"}, "of 'torch.Scheduler', not of 'mxnet.Scheduler'"),
        (lambda state: state | {"position": -1}, "position"),
        (lambda state: state | {"position": 1.5}, "position"),
        (lambda state: state | {"schedules": 3}, "schedules"),
        (lambda state: sealed(state | {"observed": -3}), "observed"),
        (
            lambda state: sealed(state | {"controller": '{"version": 1}'}),
            "no controller, but the state was saved with one",
        ),
    ],
)
def test_a_state_of_something_else_is_refused_and_changes_nothing(
    change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    loop = Loop(Scheduler(SCHEDULE))
    loop.scheduler.attach(loop.trainer)
    loop.train(1)
    before = loop.scheduler.state_dict()
    with pytest.raises(ValueError, match=message):
        loop.scheduler.load_state_dict(change(loop.scheduler.state_dict()))
    assert loop.scheduler.state_dict() == before
    close(loop.rates(1), [SCHEDULE(1)])


def test_another_rule_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    first = plateau()
    first.train(2)
    first.trainer.save_states(str(tmp_path / "states"))
    second = Loop(Scheduler(linear(1, 0, total=10), controller=Plateau(0.1, patience=3)))
    second.scheduler.attach(second.trainer)
    before = second.scheduler.state_dict()
    for load in (
        lambda: second.scheduler.load_state_dict(first.scheduler.state_dict()),
        lambda: second.scheduler.load_states(second.trainer, tmp_path / "states"),
    ):
        with pytest.raises(StateError, match="different parameters"):
            load()
        assert second.scheduler.state_dict() == before


def test_a_position_can_be_set_twice_and_before_the_trainer_is_known() -> None:
    early = Scheduler(SCHEDULE)
    early.set_position(6)
    assert early.position == 6
    with pytest.raises(RuntimeError, match="attach"):
        early(1)
    loop = Loop(early)
    early.attach(loop.trainer)
    close(loop.rates(2), SCHEDULE.values(2, start=6))
    for _ in range(2):
        early.set_position(3)
    assert early.position == 3
    assert loop.trainer.learning_rate == SCHEDULE(2)
    close(loop.rates(2), SCHEDULE.values(2, start=3))


def test_a_scheduler_at_a_position_of_one_trainer_is_refused_to_another() -> None:
    one, other = Loop(Scheduler(SCHEDULE)), Loop(None)
    one.scheduler.attach(one.trainer).set_position(5)
    one.train(1)
    with pytest.raises(ValueError, match="attached to another trainer"):
        one.scheduler.attach(other.trainer)
    other.trainer.optimizer.lr_scheduler = one.scheduler
    other.train(1)  # both count 1 by now, so nothing shows yet
    with pytest.raises(RuntimeError, match="scheduler of its own"):
        other.train(1)


def test_a_scheduler_whose_place_was_taken_says_so() -> None:
    loop = plateau()
    loop.trainer.optimizer.lr_scheduler = mx.lr_scheduler.FactorScheduler(3)
    with pytest.raises(RuntimeError, match="no longer this one"):
        loop.scheduler.observe(1.0)
    with pytest.raises(ValueError, match="has another scheduler"):
        Scheduler(SCHEDULE).attach(loop.trainer)


def test_a_deep_copy_goes_on_and_a_pickle_is_refused() -> None:
    loop = Loop(Scheduler(SCHEDULE))
    loop.train(3)
    optimizer = copy.deepcopy(loop.trainer.optimizer)
    assert optimizer.learning_rate == SCHEDULE(2)
    loop.scheduler.attach(loop.trainer).set_position(8)
    optimizer = copy.deepcopy(loop.trainer.optimizer)
    assert optimizer.lr_scheduler is not loop.scheduler
    assert optimizer.lr_scheduler.attach(optimizer).position == 8
    with pytest.raises(StateError, match="send the schedule itself"):
        pickle.loads(pickle.dumps(loop.scheduler))


# --- wrong arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Scheduler(0.1), TypeError, "schedule must be a laju schedule or its text, got 0.1"),
        (lambda: Scheduler("constat(0.1)"), SpecError, "laju schedule or its text"),
        (lambda: Scheduler(Factor(SCHEDULE)), TypeError, "no base of its own"),
        (lambda: Scheduler(SCHEDULE, wd=0.1), TypeError, "wd must be a laju schedule or its text, got 0.1"),
        (lambda: Scheduler(SCHEDULE, controller="plateau"), TypeError, "controller"),
        (lambda: Scheduler(SCHEDULE, policy="newer"), ValueError, "did you mean 'new'"),
        (lambda: Scheduler(SCHEDULE, observe_within=0), ValueError, "observe_within"),
        (lambda: Scheduler(cosine(0.3, total="5 epochs")), UnresolvedError, "epoch"),
        (lambda: Scheduler(SCHEDULE, wd=SCHEDULE.per("epoch")), UnresolvedError, "epoch"),
        (lambda: Scheduler(SCHEDULE)(-1), ValueError, "num_update"),
        (lambda: Scheduler(SCHEDULE)(1.5), ValueError, "num_update"),
        (lambda: Scheduler(SCHEDULE).set_position(-1), ValueError, "t must be"),
        (lambda: Scheduler(SCHEDULE).attach(None), TypeError, "trainer must be a gluon.Trainer or an mxnet Optimizer"),
        (lambda: Scheduler(SCHEDULE).load_states(None, "x"), TypeError, "trainer must be a gluon.Trainer"),
        (lambda: Scheduler(SCHEDULE).attach(mx.optimizer.AdaDelta()), TypeError, "no learning rate"),
        (lambda: Scheduler(SCHEDULE).attach(mx.optimizer.LBSGD()), TypeError, "before it counts"),
        (lambda: Scheduler(SCHEDULE, wd=SCHEDULE).attach(mx.optimizer.Ftrl()), TypeError, "reads wd before"),
        (lambda: trace(0.1, 3), TypeError, "LRScheduler or a function"),
        (lambda: trace(SCHEDULE, -3), ValueError, "n must be"),
    ],
)
def test_wrong_arguments_are_refused(make: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


# --- in the other direction, and the chapter's loop ------------------------------------------------------------------------


@pytest.fixture(params=[False, True], ids=["legacy arrays", "NumPy arrays"])
def arrays(request: pytest.FixtureRequest) -> Iterator[None]:
    """MXNet's two kinds of arrays; the chapter uses the second."""
    if request.param:
        mx.npx.set_np()
    yield
    mx.npx.reset_np()


@pytest.mark.usefixtures("arrays")
def test_trace_gives_what_mxnets_schedulers_really_use_and_leaves_them_as_they_are() -> None:
    scheduler = mx.lr_scheduler.FactorScheduler(step=2, factor=0.5, base_lr=1.0)
    assert trace(scheduler, 6) == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert (scheduler.base_lr, scheduler.count) == (1.0, 0)
    cosines = mx.lr_scheduler.CosineScheduler(max_update=4, base_lr=1, final_lr=0)
    np.testing.assert_allclose(trace(cosines, 6), cosine(1, total=4).shift(-1).values(6), atol=1e-15)
    warm = mx.lr_scheduler.PolyScheduler(9, base_lr=1, pwr=1, warmup_steps=4)
    assert trace(warm, 4) == [0.25, 0.5, 0.75, 1]
    assert trace(lambda count: 1 / count, 4) == [1, 1 / 2, 1 / 3, 1 / 4]
    assert trace(SCHEDULE, 4) == SCHEDULE.values(4, start=1).tolist()  # without the adapter, an update late


def test_trace_of_a_laju_scheduler_is_its_schedule_from_0() -> None:
    loop = Loop(Scheduler(SCHEDULE, wd=SCHEDULE))
    loop.scheduler.attach(loop.trainer).set_position(9)
    for scheduler in (Scheduler(SCHEDULE), loop.scheduler):
        assert trace(scheduler, 30) == SCHEDULE.values(30).tolist()
    assert loop.scheduler.position == 9


@pytest.mark.usefixtures("arrays")
@pytest.mark.parametrize(
    "schedule",
    [cosine(0.2, total=64, warmup=8, final=0.01), factor(0.1, 0.9, every=16, floor=0.01)],
    ids=["cosine with warmup", "factor"],
)
def test_the_chapters_loop_trains_lenet(schedule: Schedule) -> None:
    mx.random.seed(1)
    array = mx.np.array if mx.util.is_np_array() else mx.nd.array
    rng = np.random.default_rng(0)
    # Ten patterns and noise, learnt in a few batches.
    patterns, labels = rng.random((10, 1, 28, 28)), rng.integers(0, 10, 256)
    images = (patterns[labels] + 0.1 * rng.random((256, 1, 28, 28))).astype(np.float32)
    net = gluon.nn.HybridSequential()
    net.add(
        gluon.nn.Conv2D(channels=6, kernel_size=5, padding=2, activation="relu"),
        gluon.nn.MaxPool2D(pool_size=2, strides=2),
        gluon.nn.Conv2D(channels=16, kernel_size=5, activation="relu"),
        gluon.nn.MaxPool2D(pool_size=2, strides=2),
        gluon.nn.Dense(120, activation="relu"),
        gluon.nn.Dense(84, activation="relu"),
        gluon.nn.Dense(10),
    )
    net.hybridize()
    net.initialize(force_reinit=True, ctx=mx.cpu(), init=mx.init.Xavier())
    loss = gluon.loss.SoftmaxCrossEntropyLoss()
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"lr_scheduler": Scheduler(schedule)})
    losses, used = [], []
    for _ in range(8):  # epochs
        for i in range(0, 256, 32):
            x, y = array(images[i : i + 32]), array(labels[i : i + 32])
            with autograd.record():
                batch = loss(net(x), y)
            batch.backward()
            trainer.step(x.shape[0])
            losses.append(float(batch.mean().asnumpy()))
            used.append(trainer.learning_rate)
    assert used == schedule.values(64).tolist()
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:8])


DISTRIBUTED = """
import sys
import mxnet as mx
from mxnet import autograd, gluon
import laju
from laju.frameworks.mxnet import Scheduler

weight = gluon.Parameter("w", shape=(1,), init="zeros")
weight.initialize()
scheduler = Scheduler(laju.linear(1, 0, total=4))
trainer = gluon.Trainer([weight], "sgd", {"lr_scheduler": scheduler, "begin_num_update": 1}, kvstore="dist_sync")
try:
    scheduler.attach(trainer)
except ValueError as error:
    assert "made and counted by MXNet's servers" in str(error)
else:
    sys.exit("attach took a distributed trainer")
last = 0.0
for _ in range(4):
    with autograd.record():
        loss = weight.data().sum()
    loss.backward()
    trainer.step(1)
    now = float(weight.data().asscalar())
    print(last - now)
    last = now
"""


def test_the_servers_of_a_distributed_trainer_follow_the_schedule() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        "DMLC_PS_ROOT_URI": "127.0.0.1",
        "DMLC_PS_ROOT_PORT": str(port),
        "DMLC_NUM_SERVER": "1",
        "DMLC_NUM_WORKER": "1",
    }
    processes = {
        role: subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", textwrap.dedent(DISTRIBUTED)],
            env=os.environ | common | {"DMLC_ROLE": role},
            stdout=subprocess.PIPE,
            text=True,
        )
        for role in ("scheduler", "server", "worker")
    }
    try:
        out, _ = processes["worker"].communicate(timeout=60)
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()
    assert [float(line) for line in out.split()] == [0.75, 0.5, 0.25, 0.0]


def test_the_examples_of_the_docstrings_run() -> None:
    result = doctest.testmod(laju.frameworks.mxnet)
    assert result.attempted > 5
    assert result.failed == 0
