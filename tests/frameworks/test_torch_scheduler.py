"""The torch adapter: the value of update t is in force in update t, and a state is a position in one schedule."""

from __future__ import annotations

import copy
import gc
import io
import json
import pickle
import weakref

import pytest
import torch
from torch.optim.lr_scheduler import LRScheduler

import laju
from laju import Schedule, UnresolvedError, constant, cosine, linear
from laju.frameworks.torch import Scheduler

SCHEDULE = cosine(0.3, total=20, warmup=5, final=0.01)
LONG = linear(1, 0, total=10_000)  # longer than the table of values that is made at a time


def optimizer(groups: int = 1) -> torch.optim.SGD:
    """SGD of weights whose gradient is always 1, so that every update subtracts the rate."""
    weights = [torch.nn.Parameter(torch.zeros((), dtype=torch.float64)) for _ in range(groups)]
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    return torch.optim.SGD([{"params": [weight]} for weight in weights], lr=77.0)


def rates(scheduler: Scheduler, updates: int) -> list[float]:
    """The rates that updates really used, read off the weights."""
    used = []
    group = scheduler.optimizer.param_groups[0]
    for _ in range(updates):
        with torch.no_grad():
            group["params"][0].zero_()
        scheduler.optimizer.step()
        used.append(-float(group["params"][0].detach()))
        scheduler.step()
    return used


def update(scheduler: Scheduler) -> None:
    scheduler.optimizer.step()
    scheduler.step()


def test_it_is_a_scheduler_of_torchs_own_kind() -> None:
    scheduler = Scheduler(optimizer(2), lr=SCHEDULE)
    assert isinstance(scheduler, LRScheduler)
    assert (scheduler.last_epoch, scheduler.position) == (0, 0)
    update(scheduler)
    assert scheduler.get_last_lr() == scheduler.get_lr() == [SCHEDULE(1)] * 2
    assert (scheduler.last_epoch, scheduler.position) == (1, 1)


@pytest.mark.parametrize(("schedule", "updates"), [(SCHEDULE, 30), (constant(0.1), 3), (LONG, 9_000)])
def test_update_t_uses_the_value_at_t(schedule: Schedule, updates: int) -> None:
    assert rates(Scheduler(optimizer(), lr=schedule), updates) == schedule.values(updates).tolist()


def test_every_group_gets_the_value_and_one_that_comes_later_gets_it_from_the_next_step() -> None:
    scheduler = Scheduler(optimizer(3), lr=SCHEDULE)
    update(scheduler)
    scheduler.optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 5.0})
    update(scheduler)
    assert [group["lr"] for group in scheduler.optimizer.param_groups] == [SCHEDULE(2)] * 4
    assert scheduler.get_last_lr() == [SCHEDULE(2)] * 4


def test_what_others_write_into_the_optimizer_changes_nothing_later() -> None:
    scheduler = Scheduler(optimizer(), lr=SCHEDULE)
    for t in range(10):
        assert scheduler.optimizer.param_groups[0]["lr"] == SCHEDULE(t)
        scheduler.optimizer.param_groups[0]["lr"] = 99.0
        update(scheduler)


def test_a_rate_that_is_a_tensor_stays_the_same_tensor() -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    weight.grad = torch.ones(1)
    adam = torch.optim.Adam([weight], lr=torch.tensor(1.0), capturable=False)
    rate = adam.param_groups[0]["lr"]
    scheduler = Scheduler(adam, lr=SCHEDULE)
    update(scheduler)
    assert adam.param_groups[0]["lr"] is rate
    assert float(rate) == pytest.approx(SCHEDULE(1))


# --- state -------------------------------------------------------------------------------------------------------------


def through_torch(state: dict) -> dict:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("travel", [dict, copy.deepcopy, through_torch, lambda state: json.loads(json.dumps(state))])
@pytest.mark.parametrize(
    ("schedule", "stop"), [(SCHEDULE, 0), (SCHEDULE, 7), (SCHEDULE, 100), (LONG, 4095), (LONG, 5000)]
)
def test_a_resumed_run_equals_an_uninterrupted_one(travel, schedule: Schedule, stop: int) -> None:
    first = Scheduler(optimizer(), lr=schedule)
    for _ in range(stop):
        update(first)
    state = travel(first.state_dict())
    second = Scheduler(optimizer(), lr=laju.parse(str(schedule)))
    second.load_state_dict(state)
    assert second.position == stop
    assert second.state_dict() == first.state_dict()
    assert rates(second, 20) == schedule.values(20, start=stop).tolist()


@pytest.mark.parametrize("order", ["optimizer first", "scheduler first"])
def test_the_order_in_which_states_are_loaded_does_not_matter(order: str) -> None:
    first = Scheduler(optimizer(), lr=SCHEDULE)
    rates(first, 7)
    states = [(first.optimizer.state_dict(), "optimizer"), (first.state_dict(), "scheduler")]
    second = Scheduler(optimizer(), lr=SCHEDULE)
    for state, name in states if order == "optimizer first" else states[::-1]:
        (second.optimizer if name == "optimizer" else second).load_state_dict(state)
    for weight in second.optimizer.param_groups[0]["params"]:
        weight.grad = torch.ones_like(weight)
    assert rates(second, 10) == SCHEDULE.values(10, start=7).tolist()


def test_a_state_of_another_schedule_is_refused_with_both_and_changes_nothing() -> None:
    first, other = Scheduler(optimizer(), lr=SCHEDULE), cosine(0.3, total=30)
    update(first)
    second = Scheduler(optimizer(), lr=other)
    update(second)
    update(second)
    with pytest.raises(ValueError, match="saved with") as error:
        second.load_state_dict(first.state_dict())
    assert str(SCHEDULE) in str(error.value)
    assert str(other) in str(error.value)
    assert second.position == 2
    assert second.optimizer.param_groups[0]["lr"] == other(2)


def torchs_own_state() -> dict:
    return torch.optim.lr_scheduler.StepLR(optimizer(), step_size=3).state_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: None, "must be one that laju's"),
        (lambda state: torchs_own_state(), "must be one that laju's"),
        (lambda state: {}, "must be one that laju's"),
        (lambda state: [1], "must be one that laju's"),
        (lambda state: state | {"laju": 2}, "version.* 2; this laju reads version 1"),
        (lambda state: state | {"position": -1}, "position"),
        (lambda state: state | {"position": 1.5}, "position"),
    ],
)
def test_a_state_of_something_else_is_refused_and_changes_nothing(change, message: str) -> None:
    scheduler = Scheduler(optimizer(), lr=SCHEDULE)
    update(scheduler)
    with pytest.raises(ValueError, match=message):
        scheduler.load_state_dict(change(scheduler.state_dict()))
    assert scheduler.position == 1
    assert scheduler.optimizer.param_groups[0]["lr"] == SCHEDULE(1)


# --- what it leaves alone ----------------------------------------------------------------------------------------------


def test_the_optimizers_step_is_left_as_it_is() -> None:
    sgd = optimizer()
    before = sgd.step
    update(Scheduler(sgd, lr=SCHEDULE))
    assert sgd.step == before
    assert "step" not in vars(sgd)


def test_deleting_the_scheduler_frees_the_optimizer_without_the_garbage_collector() -> None:
    gc.disable()
    try:
        sgd = optimizer()
        scheduler = Scheduler(sgd, lr=SCHEDULE)
        update(scheduler)
        gone = [weakref.ref(sgd), weakref.ref(scheduler)]
        del sgd
        assert gone[0]() is not None
        del scheduler
        assert [reference() for reference in gone] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("copied", [lambda s: pickle.loads(pickle.dumps(s)), copy.deepcopy])
def test_a_copy_goes_on_from_where_it_was_with_an_optimizer_of_its_own(copied) -> None:
    first = Scheduler(optimizer(), lr=SCHEDULE)
    rates(first, 4)
    second = copied(first)
    assert second.optimizer is not first.optimizer
    for weight in second.optimizer.param_groups[0]["params"]:
        weight.grad = torch.ones_like(weight)
    assert rates(second, 10) == rates(first, 10) == SCHEDULE.values(10, start=4).tolist()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((None, SCHEDULE), TypeError, "torch optimizer, got None"),
        ((torch.nn.Linear(1, 1), SCHEDULE), TypeError, "torch optimizer"),
        ((optimizer(), "constant(0.1)"), TypeError, "constant"),
        ((optimizer(), SCHEDULE.per("epoch")), UnresolvedError, "epoch"),
        ((optimizer(), cosine(0.3, total="5 epochs")), UnresolvedError, "epoch"),
    ],
)
def test_wrong_arguments_are_refused_and_leave_the_optimizer_alone(arguments, error, message: str) -> None:
    with pytest.raises(error, match=message):
        Scheduler(*arguments)
    if isinstance(arguments[0], torch.optim.Optimizer):
        assert arguments[0].param_groups[0]["lr"] == 77
