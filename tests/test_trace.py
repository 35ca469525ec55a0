"""Tracing runs a copy: the rates are those that the real object then gives, and the caller's object is as it was.

Each framework's tests run where it is installed: MXNet's by `make test-mxnet`, Paddle's by `make test-paddle`.
"""

from __future__ import annotations

import copy
import importlib
import os
import pickle
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import laju
from laju import Table, trace
from laju.dialects import transformers as dialect


class Halved:
    """A function of the update with a state: it counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, step: int) -> float:
        self.calls += 1
        return 0.5**self.calls


# --- functions -------------------------------------------------------------------------------------------------------


def test_a_function_is_asked_for_every_update_in_turn() -> None:
    asked: list[int] = []

    def rate(step: int) -> float:
        asked.append(step)
        return 1.0 / (1 + step)

    assert trace(rate, 4) == Table((1.0, 1 / 2, 1 / 3, 1 / 4))
    assert asked == [0, 1, 2, 3]
    assert trace(rate, 2, start=10) == Table((1 / 11, 1 / 12))


def test_an_object_that_counts_its_calls_is_left_as_it_was() -> None:
    halved = Halved()
    assert trace(halved, 3).values(4).tolist() == [0.5, 0.25, 0.125, 0.125]
    assert halved.calls == 0


def test_a_schedule_is_its_own_values() -> None:
    schedule = laju.cosine(0.3, total=20, warmup=5)
    assert trace(schedule, 25).values(25).tolist() == [schedule(t) for t in range(25)]
    assert trace(schedule, 3, start=5).values(3).tolist() == [schedule(t) for t in (5, 6, 7)]


def test_optax_s_schedules_are_functions() -> None:
    optax = pytest.importorskip("optax")
    schedule = optax.warmup_cosine_decay_schedule(0.0, 0.1, 5, 20)
    assert trace(schedule, 25).values(25).tolist() == [float(schedule(t)) for t in range(25)]


# --- torch -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


def optimizer_of(torch: Any, lr: float = 0.1, **kwargs: Any) -> Any:
    """One with a state of its own, for two groups."""
    first, second = torch.nn.Parameter(torch.ones(1000)), torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([{"params": [first]}, {"params": [second], "lr": lr / 10}], lr=lr, **kwargs)
    for parameter in (first, second):
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return optimizer


def state_of(scheduler: Any, optimizer: Any) -> bytes:
    groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    weights = [p.detach().numpy().tobytes() for group in optimizer.param_groups for p in group["params"]]
    moments = [v.numpy().tobytes() for entry in optimizer.state.values() for v in entry.values()]
    known = {k: repr(v) for k, v in vars(scheduler).items() if k not in ("optimizer", "_optimizer")}
    return pickle.dumps((repr(groups), weights, moments, known))


SCHEDULERS = {
    "cosine": lambda s, o: s.CosineAnnealingLR(o, T_max=7, eta_min=0.001),
    "one cycle": lambda s, o: s.OneCycleLR(o, max_lr=[0.3, 0.1], total_steps=40),
    "cyclic": lambda s, o: s.CyclicLR(o, 0.01, 0.1, step_size_up=4, cycle_momentum=False),
    "restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 5, 2),
    "lambda": lambda s, o: s.LambdaLR(o, [Halved(), lambda t: 1 / (1 + t)]),
    "sequence": lambda s, o: s.SequentialLR(o, [s.LinearLR(o, 0.1, total_iters=4), s.ExponentialLR(o, 0.9)], [4]),
    "chain": lambda s, o: s.ChainedScheduler([s.ConstantLR(o, 0.5, 3), s.StepLR(o, 4)]),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("done", [0, 6])
def test_torch_s_schedulers_go_on_in_a_copy(name: str, done: int, torch: Any) -> None:
    optimizer = optimizer_of(torch)
    scheduler = SCHEDULERS[name](torch.optim.lr_scheduler, optimizer)
    for _ in range(done):
        scheduler.step()
    before = state_of(scheduler, optimizer)
    found = [trace(scheduler, 20, group=group).values(20) for group in (0, 1)]
    assert state_of(scheduler, optimizer) == before
    for t in range(20):
        assert [float(group["lr"]) for group in optimizer.param_groups] == [values[t] for values in found]
        scheduler.step()


def test_a_copy_has_no_weights(torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = optimizer_of(torch)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    monkeypatch.setattr(torch.Tensor, "__deepcopy__", lambda self, memo: pytest.fail(f"{self.numel()} numbers copied"))
    trace(scheduler, 3)


def test_other_keys_of_a_group_are_read(torch: Any) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.3, total_steps=10)
    assert trace(scheduler, 10, key="momentum")(3) == pytest.approx(0.85, abs=0.03)
    with pytest.raises(ValueError, match="key must be one of lr, momentum"):
        trace(scheduler, 10, key="weight")
    with pytest.raises(ValueError, match="group must be below 1"):
        trace(scheduler, 10, group=1)


def test_a_scheduler_that_ends_says_when(torch: Any) -> None:
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer_of(torch), 0.3, total_steps=10)
    with pytest.raises(ValueError, match=r"raised at update 11 .*; the scheduler gives at most updates=11"):
        trace(scheduler, 20)
    assert len(trace(scheduler, 11).entries) == 11


def test_transformers_schedulers_are_torch_s(torch: Any) -> None:
    transformers = pytest.importorskip("transformers")
    optimizer = optimizer_of(torch)
    scheduler = transformers.get_cosine_schedule_with_warmup(optimizer, 3, 20)
    expected = dialect.get_cosine_schedule_with_warmup(0.1, 3, 20)
    np.testing.assert_allclose(trace(scheduler, 20).values(20), expected.values(20), rtol=1e-14, atol=1e-17)


def test_laju_s_own_adapter_is_traced(torch: Any) -> None:
    from laju.frameworks.torch import Scheduler

    optimizer = optimizer_of(torch)
    schedule = laju.cosine(0.3, total=20, warmup=5)
    scheduler = Scheduler(optimizer, lr=schedule)
    scheduler.set_position(3)
    before = state_of(scheduler, optimizer)
    assert trace(scheduler, 20).values(20).tolist() == [schedule(t) for t in range(3, 23)]
    assert scheduler.position == 3
    assert state_of(scheduler, optimizer) == before


@pytest.mark.parametrize("in_epochs", [True, False])
def test_timm_s_schedulers_are_given_the_count(in_epochs: bool, torch: Any) -> None:
    folder = Path(os.environ.get("LAJU_VISION", Path(__file__).parents[1] / ".vision")) / "timm" / "scheduler"
    if not folder.is_dir():
        pytest.skip(f"needs timm in {folder.parent.parent}: make setup-vision")
    kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "timm"}
    for name in kept:
        del sys.modules[name]
    import types

    package = types.ModuleType("timm")
    package.__path__ = [str(folder.parent)]  # the schedulers alone: the package itself loads torchvision
    sys.modules["timm"] = package
    try:
        cosine = importlib.import_module("timm.scheduler.cosine_lr").CosineLRScheduler
        plateau = importlib.import_module("timm.scheduler.plateau_lr").PlateauLRScheduler
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "timm"]:
            del sys.modules[name]
        sys.modules.update(kept)
    optimizer = optimizer_of(torch)
    scheduler = cosine(optimizer, t_initial=12, warmup_t=3, warmup_lr_init=0.01, t_in_epochs=in_epochs)
    before = state_of(scheduler, optimizer)
    found = trace(scheduler, 20).values(20)
    later = trace(scheduler, 5, start=7).values(5)
    assert state_of(scheduler, optimizer) == before
    for t in range(20):
        if t:
            (scheduler.step if in_epochs else scheduler.step_update)(t)
        assert optimizer.param_groups[0]["lr"] == found[t]
    assert later.tolist() == found[7:12].tolist()
    with pytest.raises(TypeError, match="follows a metric"):
        trace(plateau(optimizer), 3)


def test_ignite_s_schedulers_are_called_before_each_update(torch: Any) -> None:
    handlers = pytest.importorskip("ignite.handlers")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    scheduler = handlers.create_lr_scheduler_with_warmup(
        handlers.CosineAnnealingScheduler(optimizer, "lr", 0.1, 0.0, cycle_size=20), 0.0, 4
    )
    found = trace(scheduler, 30).values(30)
    assert optimizer.param_groups[0]["lr"] == 0.1
    used = []
    for _ in range(30):
        scheduler(None)
        used.append(optimizer.param_groups[0]["lr"])
    assert used == found.tolist()
    momentum = handlers.LinearCyclicalScheduler(optimizer, "momentum", 0.9, 0.5, cycle_size=4)
    assert trace(momentum, 3).values(3).tolist() == [0.9, 0.7, 0.5]


# --- Keras, MXNet, PaddlePaddle --------------------------------------------------------------------------------------


def test_keras_schedules_and_callbacks() -> None:
    keras = pytest.importorskip("keras")
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 20)
    assert trace(schedule, 25).values(25).tolist() == [float(schedule(t)) for t in range(25)]
    callback = keras.callbacks.LearningRateScheduler(lambda epoch, lr: lr if epoch < 3 else lr * 0.5)
    with pytest.raises(ValueError, match="set_model"):
        trace(callback, 6)
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    callback.set_model(model)
    found = trace(callback, 6).values(6)
    assert float(model.optimizer.learning_rate) == np.float32(0.1)
    used = model.fit(np.ones((2, 1)), np.ones((2, 1)), epochs=6, callbacks=[callback], verbose=0).history
    assert used["learning_rate"] == np.float32(found).tolist()
    assert trace(keras.callbacks.LearningRateScheduler(lambda epoch: 0.1 / (1 + epoch)), 2) == Table((0.1, 0.05))
    with pytest.raises(TypeError, match="follows a metric"):
        trace(keras.callbacks.ReduceLROnPlateau(), 3)


def test_mxnet_s_schedulers_are_asked_from_1() -> None:
    pytest.importorskip("mxnet", reason="MXNet has an environment of its own: make test-mxnet")
    from mxnet.lr_scheduler import FactorScheduler

    from laju.frameworks.mxnet import trace as trained

    scheduler = FactorScheduler(3, factor=0.5, base_lr=0.4)
    found = trace(scheduler, 12)
    assert scheduler.count == 0
    assert found.values(12).tolist() == trained(scheduler, 12)
    assert trace(scheduler, 4, start=8).values(4).tolist() == found.values(12)[8:].tolist()


def test_paddle_s_schedulers_are_stepped() -> None:
    paddle = pytest.importorskip("paddle", reason="PaddlePaddle has an environment of its own: make test-paddle")
    from laju.frameworks.paddle import trace as trained

    scheduler = paddle.optimizer.lr.LinearWarmup(paddle.optimizer.lr.CosineAnnealingDecay(0.4, 10), 3, 0.0, 0.4)
    scheduler.step()
    found = trace(scheduler, 20).values(20).tolist()
    assert scheduler.last_epoch == 1
    assert found == trained(scheduler, 20)
    with pytest.raises(TypeError, match="follows a metric"):
        trace(paddle.optimizer.lr.ReduceOnPlateau(0.1), 3)


# --- what is refused -------------------------------------------------------------------------------------------------


def test_a_scheduler_that_follows_a_metric_is_refused(torch: Any) -> None:
    with pytest.raises(TypeError, match=r"follows a metric.*laju.adaptive.simulate"):
        trace(torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer_of(torch)), 3)


class Locked:
    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __call__(self, step: int) -> float:
        return 0.1


@pytest.mark.parametrize(
    ("scheduler", "error", "message"),
    [
        (0.1, TypeError, "scheduler must be a scheduler of torch, .* got an object"),
        (Halved, TypeError, "got the class"),
        (Locked(), TypeError, "Locked cannot be copied .* construct a second scheduler"),
        (lambda step: "fast", ValueError, "gives 'fast' at update 0, which is no number"),
        (lambda step: float("nan"), ValueError, "gives nan at update 0"),
        (
            lambda step: 1.0 / (3 - step),
            ValueError,
            r"raised at update 3 \(ZeroDivisionError.* gives at most updates=3",
        ),
        (lambda: 0.1, ValueError, "raised at update 0"),
    ],
)
def test_what_is_no_scheduler_is_refused(scheduler: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        trace(scheduler, 5)


def test_what_counts_by_itself_has_no_start(torch: Any) -> None:
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer_of(torch), 0.9)
    with pytest.raises(ValueError, match="start must be 0 for ExponentialLR"):
        trace(scheduler, 5, start=2)
    with pytest.raises(ValueError, match="updates"):
        trace(copy.deepcopy(scheduler), 0)


def test_progress_is_no_update(tmp_path: Path) -> None:
    folder = Path(os.environ.get("LAJU_DIALECTS", Path(__file__).parents[1] / ".dialects"))
    if not (folder / "fvcore").is_dir():
        pytest.skip(f"needs fvcore in {folder}: make setup-dialects")
    sys.path.append(str(folder))
    try:
        real = importlib.import_module("fvcore.common.param_scheduler")
    finally:
        sys.path.remove(str(folder))
    scheduler = real.CosineParamScheduler(1.0, 0.0)
    with pytest.raises(TypeError, match="function of progress"):
        trace(scheduler, 10)
    assert trace(lambda t: scheduler(t / 10), 10)(5) == pytest.approx(0.5)
