"""When a call of step() moves a schedule in torch, and when one warning is given: the loops that people write.

Rates are read from what the weights felt. In each situation either these are the plan's, or one warning names the cure.
"""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest
import torch

import laju
from laju import RunPlan, ScheduleWarning, UnresolvedError, constant, cosine
from laju.frameworks.torch import Factor, Scheduler, hook

SCHEDULE = cosine(1, total=8, warmup=2, final=0.1)
FROM_ONE = cosine(1, total=8, final=0.1)
UPDATES = 10
PLAN = SCHEDULE.values(UPDATES).tolist()
Optimizer = torch.optim.Optimizer
SGD = torch.optim.SGD


def parameter(n: int = 3, dtype: torch.dtype = torch.float64) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.zeros(n, dtype=dtype))


def near(plan: Any) -> Any:
    return pytest.approx(list(plan), abs=1e-6)


@contextmanager
def says(*texts: str) -> Iterator[None]:
    """What is inside gives these warnings in this order, at a line of this file, and no others."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    found = [w for w in caught if issubclass(w.category, ScheduleWarning)]
    assert len(found) == len(texts), [str(w.message) for w in found]
    for warning, text in zip(found, texts, strict=True):
        assert text in str(warning.message)
        assert warning.filename == __file__


class Loop:
    """A training loop whose gradient is 1, so that the change of the weight is the rate.

    Args:
        scheduler: made of the optimizer.
        optimizer: made of the weights.
        update: makes the update; the optimizer's own by default.
        between: what else happens before update i.
        order: step() "after" the update, "before" it, or at the "top" of the loop.
        zero: gradients are cleared at the "start" of the loop, "before" the scheduler's step, or "after" it.
    """

    def __init__(
        self,
        scheduler: Callable[[Any], Any] = lambda optimizer: Scheduler(optimizer, lr=SCHEDULE),
        optimizer: Callable[[Any], Any] = lambda weights: SGD(weights, lr=0.7),
        update: Callable[[Loop], Any] = lambda loop: loop.optimizer.step(),
        between: Callable[[Loop, int], Any] = lambda loop, i: None,
        order: str = "after",
        zero: str = "start",
        dtype: torch.dtype = torch.float64,
    ) -> None:
        self.weight = parameter(dtype=dtype)
        self.optimizer = optimizer([self.weight])
        self.scheduler = scheduler(self.optimizer)
        self.update, self.between, self.order, self.zero = update, between, order, zero

    def run(self, updates: int = UPDATES) -> list[float]:
        used = []
        for i in range(updates):
            self.between(self, i)
            if self.zero == "start":
                self.optimizer.zero_grad()
            if self.order == "top":
                self.scheduler.step()
            self.weight.sum().backward()
            if self.order == "before":
                self.scheduler.step()
            before = self.weight[0].item()
            self.update(self)
            used.append(before - self.weight[0].item())
            if self.zero == "before":
                self.optimizer.zero_grad()
            if self.order == "after":
                self.scheduler.step()
            if self.zero == "after":
                self.optimizer.zero_grad()
        return used


ZEROS = ("start", "before", "after")


# --- loops that say nothing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zero", ZEROS)
@pytest.mark.parametrize("order", ["after", "before", "top"])
def test_the_usual_loop_in_every_order(order: str, zero: str) -> None:
    with says():
        loop = Loop(order=order, zero=zero)
        assert loop.run() == near(PLAN)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda weights: SGD(weights, lr=0.7, foreach=True),
        lambda weights: SGD(weights, lr=0.7, fused=True),
        lambda weights: SGD(weights, lr=torch.tensor(0.7, dtype=torch.float64)),
        lambda weights: torch.optim.AdamW(weights, lr=0.7, betas=(0.0, 0.0), eps=0.0, weight_decay=0.0, fused=True),
    ],
    ids=["foreach", "fused", "tensor rate", "fused AdamW"],
)
def test_every_kind_of_update(optimizer: Any) -> None:
    with says():
        assert Loop(optimizer=optimizer).run() == near(PLAN)


@pytest.mark.parametrize("zero", ["before", "after"])
@pytest.mark.parametrize("micro", [4, 64, 256])
@pytest.mark.parametrize("frozen", [False, True])
def test_micro_batches_with_a_call_for_each(micro: int, zero: str, frozen: bool) -> None:
    with says():
        weight, still = parameter(), parameter(1).requires_grad_(False)
        optimizer = SGD([still, weight] if frozen else [weight], lr=0.7)
        scheduler, used = Scheduler(optimizer, lr=SCHEDULE), []
        for batch in range(4 * micro):
            (weight.sum() / micro).backward()
            last = batch % micro == micro - 1
            if last:
                before = weight[0].item()
                optimizer.step()
                used.append(before - weight[0].item())
                if zero == "before":
                    optimizer.zero_grad()
            scheduler.step()
            if last and zero == "after":
                optimizer.zero_grad()
        assert used == near(PLAN[:4])


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("zero", ["before", "after"])
@pytest.mark.parametrize("order", ["after", "top"])
@pytest.mark.parametrize("first", [3, 40])
def test_updates_that_mixed_precision_skips(first: int, order: str, zero: str, fused: bool) -> None:
    with says():
        weight = parameter(dtype=torch.float32)
        optimizer = SGD([weight], lr=0.7, fused=fused)
        scheduler, scaler, used = Scheduler(optimizer, lr=SCHEDULE), torch.amp.GradScaler("cpu", init_scale=4.0), []
        for batch in range(first + 11):
            if order == "top":
                scheduler.step()
            skipped = batch < first or batch == first + 5
            scaler.scale(weight.sum() * (float("inf") if skipped else 1.0)).backward()
            before = weight[0].item()
            scaler.step(optimizer)
            scaler.update()
            if not skipped:
                used.append(before - weight[0].item())
            if zero == "before":
                optimizer.zero_grad()
            if order == "after":
                scheduler.step()
            if zero == "after":
                optimizer.zero_grad()
        assert used == near(PLAN)


class Often:
    """Steps as Accelerate does, once a process."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler

    def step(self) -> None:
        for _ in range(4):
            self.scheduler.step()


@pytest.mark.parametrize("zero", ZEROS)
def test_a_call_for_each_process(zero: str) -> None:
    with says():
        loop = Loop(lambda optimizer: Often(Scheduler(optimizer, lr=SCHEDULE)), zero=zero)
        assert loop.run(60) == near(SCHEDULE.values(60))


class Sam(torch.optim.Optimizer):
    """The two steps of sharpness-aware minimisation, around an optimizer that shares the groups."""

    def __init__(self, weights: Any, lr: float) -> None:
        super().__init__(weights, {"lr": lr})
        self.keep(SGD(self.param_groups, lr=lr))
        self.param_groups = self.base.param_groups

    def keep(self, base: Optimizer) -> None:
        self.inner = base

    @property
    def base(self) -> Optimizer:
        return self.inner

    @torch.no_grad()
    def first_step(self, zero_grad: bool) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p]["before"] = p.clone()
                p.add_(p.grad)
        if zero_grad:
            self.zero_grad()

    @torch.no_grad()
    def second_step(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                p.copy_(self.state[p]["before"])
        self.base.step()


class Hidden(Sam):
    """Its inner optimizer is not among its attributes."""

    kept: ClassVar[dict[int, Optimizer]] = {}

    def keep(self, base: Optimizer) -> None:
        self.kept[id(self)] = base

    @property
    def base(self) -> Optimizer:
        return self.kept[id(self)]


def two_steps(loop: Loop) -> None:
    loop.optimizer.first_step(zero_grad=True)
    loop.weight.sum().backward()
    loop.optimizer.second_step()


@pytest.mark.parametrize("kind", [Sam, Hidden])
@pytest.mark.parametrize("zero", ZEROS)
def test_the_two_steps_of_sharpness_aware_minimisation(kind: Any, zero: str) -> None:
    with says():
        assert Loop(optimizer=lambda w: kind(w, lr=0.7), update=two_steps, zero=zero).run() == near(PLAN)


def test_sharpness_aware_minimisation_of_a_package() -> None:
    packages = pytest.importorskip("pytorch_optimizer")

    def optimizer(weights: Any) -> Any:
        return packages.SAM(weights, SGD, lr=0.7)

    with says():
        assert Loop(optimizer=optimizer, update=two_steps, dtype=torch.float32).run() == near(PLAN)


class Around(torch.optim.Optimizer):
    """A wrapper that passes every n-th call on."""

    def __init__(self, inner: Optimizer, every: int = 1) -> None:
        self.inner, self.every, self.calls = inner, every, 0
        super().__init__(inner.param_groups, {})
        self.param_groups = inner.param_groups

    def step(self, closure: Any = None) -> None:
        self.calls += 1
        if self.calls % self.every == 0:
            self.inner.step()


class Together(torch.optim.Optimizer):
    """A wrapper of several optimizers that does not call Optimizer's own __init__."""

    def __init__(self, *parts: Optimizer) -> None:
        self.parts = parts
        self.param_groups = [group for part in parts for group in part.param_groups]
        self.defaults, self.state = parts[0].defaults, {}  # type: ignore[assignment]

    def step(self, closure: Any = None) -> None:
        for part in self.parts:
            part.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts:
            part.zero_grad()


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda weights: Around(SGD(weights, lr=0.7)),
        lambda weights: Around(Around(SGD(weights, lr=0.7))),
        lambda weights: Together(SGD(weights, lr=0.7), SGD([parameter()], lr=0.7)),
    ],
    ids=["one", "two", "of two"],
)
def test_wrappers(optimizer: Any) -> None:
    with says():
        assert Loop(optimizer=optimizer).run() == near(PLAN)


@pytest.mark.parametrize("bound", ["wrapper", "inner"])
def test_a_wrapper_that_accumulates(bound: str) -> None:
    with says():
        weight = parameter()
        inner = SGD([weight], lr=0.7)
        optimizer = Around(inner, every=4)
        scheduler, used = Scheduler(optimizer if bound == "wrapper" else inner, lr=SCHEDULE), []
        for batch in range(40):
            (weight.sum() / 4).backward()
            before = weight[0].item()
            optimizer.step()
            if batch % 4 == 3:
                used.append(before - weight[0].item())
                optimizer.zero_grad()
            scheduler.step()
        assert used == near(PLAN)


def changed(name: str, i: int, loop: Loop) -> None:
    optimizer, weight = loop.optimizer, loop.weight
    if i == 0 and name == "hooks cleared":
        optimizer._optimizer_step_pre_hooks.clear()
    if i != 4:
        return
    match name:
        case "hooks cleared":
            optimizer._optimizer_step_pre_hooks.clear()
            optimizer._optimizer_step_post_hooks.clear()
        case "__init__":
            optimizer.__init__([weight], lr=0.5)
        case "__setstate__":
            optimizer.__setstate__(optimizer.__getstate__())
        case "group replaced":
            optimizer.param_groups[0] = {**optimizer.param_groups[0], "params": [weight]}
        case "group copied":
            optimizer.param_groups[0] = dict(optimizer.param_groups[0])
        case "pop and add":
            optimizer.param_groups.pop(0)
            optimizer.add_param_group({"params": [weight], "lr": 0.5})
        case "loaded":
            optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))


CHANGES = ("hooks cleared", "__init__", "__setstate__", "group replaced", "group copied", "pop and add", "loaded")


@pytest.mark.parametrize("name", CHANGES)
def test_an_optimizer_that_is_changed_in_mid_run(name: str) -> None:
    with says():
        assert Loop(between=lambda loop, i: changed(name, i, loop)).run() == near(PLAN)


def test_a_group_that_takes_the_place_of_another_has_a_base_of_its_own() -> None:
    with says():
        loop = Loop(
            lambda o: Scheduler(o, lr=Factor(SCHEDULE)), between=lambda loop, i: changed("pop and add", i, loop)
        )
        assert loop.run() == near([0.7 * v for v in PLAN[:4]] + [0.5 * v for v in PLAN[4:]])


def test_one_of_200_groups_that_is_replaced() -> None:
    with says():
        weights = [parameter(1) for _ in range(200)]
        optimizer = SGD([{"params": [weight]} for weight in weights], lr=0.7)
        scheduler, used = Scheduler(optimizer, lr=SCHEDULE), []
        for i in range(UPDATES):
            if i == 4:
                optimizer.param_groups[100] = dict(optimizer.param_groups[100])
            before = [weight.item() for weight in weights]
            for weight in weights:
                weight.grad = torch.ones_like(weight)
            optimizer.step()
            used.append([b - weight.item() for b, weight in zip(before, weights, strict=True)])
            scheduler.step()
        assert used == [near([value] * 200) for value in PLAN]


def bound_again(how: str, loop: Loop, i: int) -> None:
    if i != 4:
        return
    match how:
        case "another optimizer":
            loop.optimizer = loop.scheduler.optimizer = SGD([loop.weight], lr=0.5)
        case "saved whole":
            file = io.BytesIO()
            torch.save(loop.scheduler, file)
            file.seek(0)
            loop.scheduler = torch.load(file, weights_only=False)
            loop.optimizer = loop.scheduler.optimizer = SGD([loop.weight], lr=0.5)
        case "pickle":
            triple = loop.weight, loop.optimizer, loop.scheduler
            loop.weight, loop.optimizer, loop.scheduler = pickle.loads(pickle.dumps(triple))
        case "deepcopy":
            triple = loop.weight, loop.optimizer, loop.scheduler
            loop.weight, loop.optimizer, loop.scheduler = copy.deepcopy(triple)
        case "a copy of the optimizer steps":
            copy.deepcopy(loop.optimizer).step()


@pytest.mark.parametrize(
    "how", ["another optimizer", "saved whole", "pickle", "deepcopy", "a copy of the optimizer steps"]
)
def test_a_scheduler_follows_the_optimizer_that_it_is_bound_to(how: str) -> None:
    with says():
        assert Loop(between=lambda loop, i: bound_again(how, loop, i)).run() == near(PLAN)


def test_an_optimizer_that_cannot_be_driven_is_refused_and_the_old_one_stays() -> None:
    loop = Loop(lambda o: Scheduler(o, momentum=0.5, lr=SCHEDULE))
    with pytest.raises(ValueError, match="momentum is scheduled, but the optimizer has no such group"):
        loop.scheduler.optimizer = torch.optim.Adam([loop.weight])
    assert loop.scheduler.optimizer is loop.optimizer
    loop.optimizer.step()
    loop.scheduler.step()
    assert loop.scheduler.position == 1


def test_one_surplus_update_is_forgiven() -> None:
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

    with says():
        model = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
        optimizer = SGD(model.parameters(), lr=0.7, momentum=0.0)
        scheduler, used = Scheduler(optimizer, lr=SCHEDULE), []
        get_optimizer_state_dict(model, optimizer)  # makes an update at rate 0
        for _ in range(UPDATES):
            model.weight.grad = torch.ones_like(model.weight)
            before = model.weight.item()
            optimizer.step()
            used.append(before - model.weight.item())
            scheduler.step()
        assert used == near(PLAN)


def test_a_finder_of_rates_is_let_alone() -> None:
    with says():
        loop = Loop()
        for rate in (1e-3, 1e-2, 1e-1, 1.0):
            loop.optimizer.param_groups[0]["lr"] = rate
            loop.optimizer.step()


def test_several_updates_at_a_constant_rate_need_no_word() -> None:
    with says():
        loop = Loop(lambda o: Scheduler(o, lr=0.5))
        for _ in range(3):
            for _ in range(5):
                loop.optimizer.step()
            loop.scheduler.step()


def test_optimizers_that_train_in_turn_have_clocks_of_their_own() -> None:
    with says():
        critic, generator = Loop(), Loop()
        used = []
        for i in range(5 * UPDATES):
            critic.optimizer.zero_grad()
            critic.weight.sum().backward()
            critic.optimizer.step()
            critic.scheduler.step()
            if i % 5 == 4:
                generator.optimizer.zero_grad()
                generator.weight.sum().backward()
                before = generator.weight[0].item()
                generator.optimizer.step()
                used.append(before - generator.weight[0].item())
            generator.scheduler.step()
        assert used == near(PLAN)
        assert critic.scheduler.position == 50


def test_averages_that_are_swapped_in_between() -> None:
    with says():
        weight = parameter()
        optimizer = SGD([weight], lr=0.7)
        scheduler, rates = Scheduler(optimizer, lr=SCHEDULE), []
        for _ in range(8):
            for micro in range(4):
                weight.sum().backward()
                if micro == 3:
                    rates.append(optimizer.param_groups[0]["lr"])
                    optimizer.step()
                    optimizer.zero_grad()
                scheduler.step()
            with torch.no_grad():
                kept = weight.clone()
                weight.copy_(2 * kept)
                weight.copy_(kept)
        assert rates == near(PLAN[:8])


@pytest.mark.parametrize("tensor", [False, True])
@pytest.mark.parametrize("whole", [False, True])
def test_compiled_updates(tensor: bool, whole: bool) -> None:
    torch._dynamo.reset()
    rate = torch.tensor(0.7, dtype=torch.float64) if tensor else 0.7
    loop = Loop(optimizer=lambda weights: SGD(weights, lr=rate))

    def both() -> None:
        loop.optimizer.step()
        loop.scheduler.step()

    compiled = torch.compile(both if whole else loop.optimizer.step, backend="eager")
    loop.update = lambda loop: compiled()
    if whole:
        loop.order = "in the compiled function"
    with says():
        assert loop.run() == near(PLAN)
    torch._dynamo.reset()


# --- updates that no hook can hear -------------------------------------------------------------------------------------


@torch.no_grad()
def by_hand(loop: Loop) -> None:
    loop.weight.sub_(loop.optimizer.param_groups[0]["lr"] * loop.weight.grad)


def of_the_data(loop: Loop) -> None:
    loop.weight.data.sub_(loop.optimizer.param_groups[0]["lr"] * loop.weight.grad)


def unwrapped(loop: Loop) -> None:
    type(loop.optimizer).step.__wrapped__(loop.optimizer)


@pytest.mark.parametrize("zero", ["start", "before"])
@pytest.mark.parametrize("update", [by_hand, of_the_data, unwrapped])
@pytest.mark.parametrize("fused", [False, True])
def test_an_update_that_is_inferred_counts_and_is_told_once(update: Any, zero: str, fused: bool) -> None:
    loop = Loop(lambda o: Scheduler(o, lr=FROM_ONE), lambda w: SGD(w, lr=0.7, fused=fused), update=update, zero=zero)
    with says("not by step() of the SGD of this scheduler. The schedule counts that as an update"):
        assert loop.run() == near(FROM_ONE.values(UPDATES))


def test_one_update_that_is_inferred_is_told_when_a_state_is_saved() -> None:
    loop = Loop(update=by_hand, scheduler=lambda o: Scheduler(o, lr=FROM_ONE))
    with says():
        loop.run(1)
    with says("count='calls'"):
        loop.scheduler.state_dict()


def test_updates_by_hand_from_a_rate_of_0() -> None:
    with says("count='calls'"):
        assert Loop(update=by_hand).run() == near(PLAN)


def test_an_update_of_data_at_rate_0_changes_nothing_that_can_be_seen_and_is_told_at_the_100th_call() -> None:
    loop = Loop(update=of_the_data)
    with says():
        assert loop.run(99) == near([0.0] * 99)
    with says("has made no update yet"):
        loop.run(1)
    with says():
        loop.run(200)
        loop.scheduler.state_dict()


def test_an_update_of_data_at_rate_0_is_told_at_the_first_save() -> None:
    loop = Loop(update=of_the_data)
    with says("stands at update 0"):
        loop.run(3)
        loop.scheduler.state_dict()


def test_calls_count_without_a_word_where_that_is_said() -> None:
    with says():
        loop = Loop(lambda o: Scheduler(o, lr=SCHEDULE, count="calls"), update=of_the_data)
        assert loop.run() == near(PLAN)


def test_hooks_of_the_whole_process_that_are_cleared_are_put_back_and_told() -> None:
    def clear(loop: Loop, i: int) -> None:
        if i in (0, 4):
            hook._HOOK[0].hooks_dict_ref().clear()

    with says("not by step() of the SGD"):
        assert Loop(between=clear).run() == near(PLAN)


def test_another_optimizer_of_the_same_weights_is_named_and_not_followed() -> None:
    loop = Loop()
    other = torch.optim.Adagrad([loop.weight], lr=0.7)
    with says("Adagrad updates the same parameters. The schedule counts that as an update"):
        for _ in range(3):
            other.zero_grad()
            loop.weight.sum().backward()
            other.step()
            loop.scheduler.step()
    assert other.param_groups[0]["lr"] == 0.7


def test_another_optimizer_in_mid_run_is_told_at_the_second_call() -> None:
    loop = Loop()
    assert loop.run(4) == near(PLAN[:4])
    other = SGD([loop.weight], lr=0.5)
    loop.update = lambda loop: other.step()
    with says():
        assert loop.run(1) == near([0.5])
    with says("SGD updates the same parameters. The schedule stands at update 4"):
        assert loop.run(5) == near([0.5] * 5)
    assert loop.scheduler.position == 4


def test_an_optimizer_that_never_steps_is_told_at_the_first_save() -> None:
    loop, weight = Loop(), parameter()
    trainers = SGD([weight], lr=0.7)
    with says():
        for _ in range(3):
            weight.sum().backward()
            trainers.step()
            loop.scheduler.step()
    with says("has made no update yet"):
        loop.scheduler.state_dict()
    with says():
        loop.scheduler.state_dict()


# --- before the first update -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("calls", [2, 5, 8])
@pytest.mark.parametrize("stale", [False, True])
def test_fast_forward_moves_and_names_the_better_call(calls: int, stale: bool) -> None:
    loop = Loop()
    if stale:  # a gradient of long ago, as in a notebook whose cell runs again
        loop.weight.sum().backward()
        loop.scheduler.optimizer = loop.optimizer
    with says("scheduler.set_position(n)"):
        for _ in range(calls):
            loop.scheduler.step()
        assert loop.run(UPDATES - calls) == near(PLAN[calls:])


def test_a_picture_of_the_rates_is_the_plan_and_names_the_better_call() -> None:
    loop, rates = Loop(), []
    with says("schedule.values(n)"):
        for _ in range(UPDATES):
            rates.append(loop.scheduler.get_last_lr()[0])
            loop.scheduler.step()
    assert rates == near(PLAN)


def test_a_picture_with_updates_of_no_gradient_needs_no_word() -> None:
    loop, rates = Loop(), []
    with says():
        for _ in range(UPDATES):
            rates.append(loop.scheduler.get_last_lr()[0])
            loop.optimizer.step()
            loop.scheduler.step()
    assert rates == near(PLAN)


def test_a_step_too_many_is_told_at_the_100th_in_a_row() -> None:
    loop = Loop()
    loop.run(1)
    with says():
        for _ in range(100):  # the first may be a micro-batch
            loop.scheduler.step()
    with says("was called 100 times since the last update"):
        loop.scheduler.step()
    assert loop.scheduler.position == 1


def test_what_cannot_be_known_is_told_or_as_torch_has_it() -> None:
    # One call before the first update may be a fast-forward by one; it is taken for a step() that comes first.
    with says():
        loop = Loop()
        loop.scheduler.step()
        assert loop.run() == near(PLAN)
    # A forward pass before the first call looks like an update that was skipped, so the picture is late by one.
    model = torch.nn.Linear(1, 1)
    scheduler = Scheduler(SGD(model.parameters(), lr=0.7), lr=SCHEDULE)
    model(torch.ones(1, 1))
    rates = []
    with says("set_position(n)"):
        for _ in range(4):
            rates.append(scheduler.get_last_lr()[0])
            scheduler.step()
    assert rates == near([PLAN[0], *PLAN[:3]])


@pytest.mark.parametrize("micro", [1, 4])
def test_weights_that_are_loaded_after_the_scheduler_was_made_are_no_update(micro: int) -> None:
    with says():
        loop = Loop()
        loop.order = "never"
        with torch.no_grad():
            loop.weight.fill_(5.0)  # as DistributedDataParallel does, too
        for batch in range(4 * micro):
            (loop.weight.sum() / micro).backward()
            if batch % micro == micro - 1:
                loop.optimizer.step()
                loop.optimizer.zero_grad()
            loop.scheduler.step()
        assert loop.scheduler.position == 4
        assert loop.weight[0].item() == pytest.approx(5.0 - sum(PLAN[:4]))


# --- epochs ------------------------------------------------------------------------------------------------------------


def by_epochs(updates: int, epochs: int, **options: Any) -> list[float]:
    loop, used = Loop(lambda o: Scheduler(o, **{"lr": SCHEDULE, **options})), []
    loop.order = "never"
    for _ in range(epochs):
        used += loop.run(updates)
        loop.scheduler.step()
    return used


def test_a_scheduler_stepped_once_an_epoch_moves_by_one_and_is_told_in_the_first_epoch() -> None:
    with says("use every='epoch'"):
        assert by_epochs(5, 4) == near(v for v in PLAN[:4] for _ in range(5))
    loop = Loop()
    loop.order = "never"
    with says():
        loop.run(2)
    with says("interval='step' in Lightning, step_every='batch' in skorch"):
        loop.run(1)


def test_two_updates_a_call_are_told_the_second_time() -> None:
    with says():
        by_epochs(2, 1)
    with says("use every='epoch'"):
        assert by_epochs(2, 4) == near(v for v in PLAN[:4] for _ in range(2))


def test_a_forgotten_step_is_told_at_the_third_update() -> None:
    loop = Loop(lambda o: Scheduler(o, lr=FROM_ONE))
    loop.order = "never"
    with says("several updates without a step() between them"):
        assert loop.run(4) == near([1.0] * 4)


@pytest.mark.parametrize(
    "lr",
    [SCHEDULE, "cosine(1, total='8 epochs', warmup='2 epochs', final=0.1)", Factor("0.7 * 0 + cosine(1, total=8)")],
)
def test_a_schedule_in_epochs_needs_no_plan(lr: Any) -> None:
    if isinstance(lr, Factor):
        lr = Factor(SCHEDULE)
    scale = 0.7 if isinstance(lr, Factor) else 1.0
    with says():
        assert by_epochs(5, 4, lr=lr, every="epoch") == near(scale * v for v in PLAN[:4] for _ in range(5))


def test_updates_beside_epochs_need_the_plan() -> None:
    lr = cosine(1, total="4 epochs", warmup=5)
    plan = RunPlan(samples=100, batch_size=10, epochs=4)
    for wrong in (lr, cosine(1, total="100%"), cosine(1, total="1000 samples")):
        with pytest.raises(UnresolvedError, match="plan=RunPlan"):
            by_epochs(5, 1, lr=wrong, every="epoch")
    with says():
        assert by_epochs(1, 6, lr=lr, every="epoch", plan=plan) == near(lr.resolve(plan)(10 * e) for e in range(6))
        whole = cosine(1, total="100%", warmup="1 epoch")
        assert by_epochs(1, 6, lr=whole, every="epoch", plan=plan) == near(cosine(1, total=4, warmup=1).values(6))


def test_a_second_call_for_the_same_epoch_does_not_count() -> None:
    with says():
        loop = Loop(lambda o: Scheduler(o, lr=SCHEDULE, every="epoch"))
        loop.order = "never"
        for epoch in range(4):
            assert loop.run(5) == near([PLAN[epoch]] * 5)
            for _ in range(2):
                loop.scheduler.step()


def test_an_epoch_whose_updates_were_skipped_is_an_epoch() -> None:
    with says():
        loop = Loop(lambda o: Scheduler(o, lr=SCHEDULE, every="epoch"), order="never", update=lambda loop: None)
        loop.run(2)
        loop.scheduler.step()
        assert loop.scheduler.position == 1


@pytest.mark.parametrize("every", ["update", "epoch"])
def test_last_epoch_means_what_it_means_in_torch(every: Any) -> None:
    weight = parameter()
    theirs, ours = SGD([weight], lr=0.7), SGD([weight], lr=0.7)
    for optimizer in (theirs, ours):
        optimizer.param_groups[0]["initial_lr"] = 0.7
    lr = torch.optim.lr_scheduler.LambdaLR(theirs, lambda t: float(SCHEDULE(t)), last_epoch=3).get_last_lr()
    scheduler = Scheduler(ours, lr=Factor(SCHEDULE), last_epoch=3, every=every)
    assert (scheduler.get_last_lr(), scheduler.last_epoch) == (near(lr), 4)


def test_a_plan_resolves_units() -> None:
    plan = RunPlan(samples=20, batch_size=10, epochs=4)
    with says():
        loop = Loop(lambda o: Scheduler(o, lr="cosine(1, total='100%', warmup='1 epoch', final=0.1)", plan=plan))
        assert loop.run() == near(PLAN)


# --- several optimizers ------------------------------------------------------------------------------------------------


def pair(first: float = 0.7, second: float = 0.3) -> tuple[SGD, torch.optim.AdamW]:
    adamw = torch.optim.AdamW(
        [{"params": [parameter()], "name": "rest"}], lr=second, betas=(0.0, 0.0), eps=0.0, weight_decay=0.0
    )
    return SGD([{"params": [parameter()], "name": "matrices"}], lr=first), adamw


def used_by(optimizers: Any) -> list[float]:
    used = []
    for optimizer in optimizers:
        (weight,) = optimizer.param_groups[0]["params"]
        weight.grad = torch.ones_like(weight)
        before = weight[0].item()
        optimizer.step()
        used.append(before - weight[0].item())
    return used


@pytest.mark.parametrize(
    ("lr", "first", "second"),
    [
        (SCHEDULE, SCHEDULE, SCHEDULE),
        (Factor(SCHEDULE), 0.7 * SCHEDULE, 0.3 * SCHEDULE),
        ([SCHEDULE, FROM_ONE], SCHEDULE, FROM_ONE),
        ([SCHEDULE, None], SCHEDULE, constant(0.3)),
        ({"rest": FROM_ONE, "matrices": 0.5}, constant(0.5), FROM_ONE),
        ({1: FROM_ONE}, constant(0.7), FROM_ONE),
    ],
    ids=["absolute", "factor", "one each", "one of them", "by name", "by index"],
)
def test_several_optimizers_have_one_clock(lr: Any, first: Any, second: Any) -> None:
    with says():
        optimizers = pair()
        scheduler = Scheduler(optimizers, lr=lr)
        for t in range(UPDATES):
            assert used_by(optimizers) == near([first(t), second(t)])
            scheduler.step()
        assert scheduler.position == UPDATES
        assert scheduler.get_last_lr() == near([first(UPDATES), second(UPDATES)])
        again = pair()
        resumed = Scheduler(again, lr=lr)
        resumed.load_state_dict(scheduler.state_dict())
        assert used_by(again) == near([first(UPDATES), second(UPDATES)])


def test_an_optimizer_whose_update_was_skipped_keeps_the_common_position() -> None:
    with says():
        optimizers = pair()
        scheduler = Scheduler(optimizers, lr=SCHEDULE)
        for t in range(UPDATES):
            these = optimizers if t % 3 == 0 else [optimizers[t % 2]]
            assert used_by(these) == near([PLAN[t]] * len(these))
            scheduler.step()
        assert used_by(optimizers) == near([SCHEDULE(UPDATES)] * 2)


def test_optimizers_of_one_clock_that_update_in_turn_are_told() -> None:
    optimizers = pair()
    scheduler = Scheduler(optimizers, lr=SCHEDULE)
    with says():
        for t in range(3):
            used_by([optimizers[t % 2]])
            scheduler.step()
    used_by([optimizers[1]])
    with pytest.warns(laju.ScheduleWarning, match="in turn.*a separate Scheduler"):
        scheduler.step()


def test_a_scheduler_of_several_optimizers_is_bound_to_as_many() -> None:
    optimizers, others = pair(), pair()
    scheduler = Scheduler(optimizers, lr=SCHEDULE)
    with pytest.raises(ValueError, match="must be 2 optimizers, as this scheduler drives SGD and AdamW, got 1"):
        scheduler.optimizer = others[0]
    assert scheduler.optimizers == tuple(optimizers)
    scheduler.optimizer = others
    assert used_by(others) == near([PLAN[0]] * 2)


def test_a_hyper_parameter_of_one_of_them_is_driven_there() -> None:
    optimizers = pair()
    scheduler = Scheduler(optimizers, lr=SCHEDULE, momentum=0.5, betas=0.25, weight_decay=[None, 0.125])
    sgd, adamw = (optimizer.param_groups[0] for optimizer in optimizers)
    assert (sgd["momentum"], sgd["weight_decay"]) == (0.5, 0)
    assert (adamw["betas"], adamw["weight_decay"]) == ((0.25, 0.0), 0.125)
    assert "momentum" not in adamw
    for wrong, message in (
        ({"lr": [SCHEDULE]}, "lr must be one schedule for all 2 optimizers or a list with one for each, got 1"),
        ({"nesterv": 1.0}, "SGD and AdamW has no hyper-parameter 'nesterv'; did you mean 'nesterov'"),
        ({"momentum": {"rest": 0.5}}, "group 'rest', which has no momentum"),
    ):
        with pytest.raises(ValueError, match=message):
            Scheduler(optimizers, **wrong)
    with pytest.raises(ValueError, match="one of them twice"):
        Scheduler([optimizers[0]] * 2, lr=SCHEDULE)
    del scheduler


def test_muon_and_what_is_no_matrix() -> None:
    with says():
        matrix, vector = torch.nn.Parameter(torch.eye(2)), parameter()
        optimizers = torch.optim.Muon([matrix], lr=0.02), torch.optim.AdamW([vector], lr=3e-4)
        scheduler = Scheduler(optimizers, lr=Factor(SCHEDULE))
        for t in range(4):
            assert scheduler.get_last_lr() == near([0.02 * PLAN[t], 3e-4 * PLAN[t]])
            (matrix.sum() + vector.sum()).backward()
            for optimizer in optimizers:
                optimizer.step()
            scheduler.step()


@pytest.mark.parametrize("one", [False, True])
def test_optimizers_that_update_in_the_backward_pass(one: bool) -> None:
    with says():
        weights = [parameter(), parameter()]
        optimizers = {weight: SGD([weight], lr=0.7) for weight in weights}

        def update(weight: torch.Tensor) -> None:
            optimizers[weight].step()
            optimizers[weight].zero_grad()

        for weight in weights:
            weight.register_post_accumulate_grad_hook(update)
        schedulers = [
            Scheduler(parts, lr=SCHEDULE) for parts in ([[*optimizers.values()]] if one else optimizers.values())
        ]
        used = []
        for _ in range(UPDATES):
            before = weights[1][0].item()
            (weights[0].sum() + weights[1].sum()).backward()
            used.append(before - weights[1][0].item())
            for scheduler in schedulers:
                scheduler.step()
        assert used == near(PLAN)


# --- how it is said ----------------------------------------------------------------------------------------------------


def test_other_ranks_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with says():
        assert Loop(update=by_hand).run() == near(PLAN)


def test_a_warning_can_be_filtered_and_is_given_once_a_binding() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ScheduleWarning)
        loop = Loop(update=by_hand)
        assert loop.run(5) == near(PLAN[:5])
    with says():
        loop.run(2)
    loop.optimizer = loop.scheduler.optimizer = SGD([loop.weight], lr=0.7)
    with says("count='calls'"):
        loop.run(2)


def test_a_scheduler_says_what_it_is() -> None:
    scheduler = Scheduler(SGD([parameter()], lr=0.7), lr=SCHEDULE, weight_decay=0.5)
    assert repr(scheduler) == f"<Scheduler of SGD at update 0: lr={SCHEDULE}, weight_decay={constant(0.5)}>"
    scheduler = Scheduler(pair(), lr=Factor(SCHEDULE), controller=laju.Plateau(0.1, patience=2), every="epoch")
    assert repr(scheduler).startswith(
        f"<Scheduler of SGD and AdamW at epoch 0: lr (factor)={SCHEDULE}, controller=<Contr"
    )


def test_steps_are_counted_as_torch_counts_them() -> None:
    loop = Loop()
    torchs = torch.optim.lr_scheduler.LambdaLR(SGD([parameter()], lr=1.0), lambda t: 1.0)
    for _ in range(3):
        assert loop.scheduler._step_count == torchs._step_count
        loop.run(1)
        torchs.optimizer.step()
        torchs.step()


def test_a_wrapper_that_is_no_optimizer_is_refused_and_the_inner_one_named() -> None:
    class Plain:
        def __init__(self) -> None:
            self.optimizer = SGD([parameter()], lr=0.7)

    with pytest.raises(
        TypeError, match=r"optimizer must be a torch optimizer or several.*its optimizer is an optimizer"
    ):
        Scheduler(Plain(), lr=SCHEDULE)  # type: ignore[arg-type]
