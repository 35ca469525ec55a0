"""The torch adapter: the value of update t is what update t uses, whatever was built, loaded, skipped or added before."""

from __future__ import annotations

import copy
import functools
import gc
import inspect
import io
import json
import pickle
import shutil
import subprocess
import sys
import textwrap
import warnings
import weakref
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import lr_scheduler
from torch.optim.lr_scheduler import LRScheduler

import laju
import laju.testing
from laju import SpecError, UnresolvedError, constant, cosine, linear
from laju.adaptive import Controller, Greedy, Plateau, StateError
from laju.frameworks.state import sealed
from laju.frameworks.torch import Factor, Scheduler, clock, trace
from laju.frameworks.values import Values
from laju.ledger import Ledger
from tests.strategies import schedules

SCHEDULE = cosine(0.3, total=20, warmup=5, final=0.01)
LONG = linear(1, 0, total=10_000)  # longer than the table of values that is made at a time
PLATEAU = Plateau(0.1, patience=0)


def weights(n: int = 1, dtype: torch.dtype = torch.float64) -> list[torch.nn.Parameter]:
    """Weights whose gradient is always 1, so that every update of plain gradient descent subtracts the rate."""
    made = [torch.nn.Parameter(torch.zeros(1, dtype=dtype)) for _ in range(n)]
    for weight in made:
        weight.grad = torch.ones_like(weight)
    return made


def sgd(*bases: float, dtype: torch.dtype = torch.float64, **options: Any) -> torch.optim.SGD:
    """One group for each base."""
    parts = zip(weights(len(bases), dtype), bases, strict=True)
    return torch.optim.SGD([{"params": [w], "lr": base} for w, base in parts], **options)


def used(optimizer: torch.optim.Optimizer, update: Any = None) -> list[float]:
    """The rates of one update, read off the weights."""
    parts = [weight for group in optimizer.param_groups for weight in group["params"]]
    with torch.no_grad():
        for weight in parts:
            weight.zero_()
            weight.grad = torch.ones_like(weight) if weight.grad is None else weight.grad
    (update or optimizer.step)()
    return [-weight.item() + 0.0 for weight in parts]


def train(scheduler: Scheduler, updates: int, update: Any = None) -> list[float]:
    """The first group's rates in so many updates."""
    found = []
    for _ in range(updates):
        found.append(used(scheduler.optimizer, update)[0])
        scheduler.step()
    return found


def call(function: Any, times: int) -> None:
    for _ in range(times):
        function()


def rates(scheduler: Scheduler, key: str = "lr") -> list[Any]:
    return [group[key] for group in scheduler.optimizer.param_groups]


# --- the conformance suite ---------------------------------------------------------------------------------------------


class TorchRun:
    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler

    def train(self, updates: int) -> list[list[float]]:
        found = []
        for _ in range(updates):
            found.append(used(self.scheduler.optimizer))
            self.scheduler.step()
        return found

    def save(self) -> bytes:
        file = io.BytesIO()
        torch.save({"optimizer": self.scheduler.optimizer.state_dict(), "scheduler": self.scheduler.state_dict()}, file)
        return file.getvalue()


class TorchAdapter(laju.testing.Adapter):
    load_orders = (
        "optimizer, scheduler, load scheduler, load optimizer",
        "optimizer, scheduler, load optimizer, load scheduler",
        "optimizer, load optimizer, scheduler, load scheduler",
        "optimizer, scheduler, load scheduler",
    )
    policies = True
    factors = True

    def __init__(self, tensor: bool = False, **options: Any) -> None:
        self.tensor, self.options = tensor, options

    def optimizer(self, bases: Any = None) -> torch.optim.SGD:
        made = [torch.tensor(b, dtype=torch.float64) if self.tensor else b for b in bases or [77.0]]
        return sgd(*made, **self.options)

    def start(self, schedule: Any, *, bases: Any = None) -> TorchRun:
        return TorchRun(Scheduler(self.optimizer(bases), lr=Factor(schedule) if bases else schedule))

    def resume(self, saved: Any, schedule: Any, *, order: str, policy: Any = "strict", bases: Any = None) -> TorchRun:
        state = torch.load(io.BytesIO(saved), weights_only=True)
        for step in order.split(", "):
            match step:
                case "optimizer":
                    optimizer = self.optimizer(bases)
                case "scheduler":
                    scheduler = Scheduler(optimizer, lr=Factor(schedule) if bases else schedule, policy=policy)
                case "load optimizer":
                    optimizer.load_state_dict(state["optimizer"])
                case "load scheduler":
                    scheduler.load_state_dict(state["scheduler"])
        return TorchRun(scheduler)

    def at(self, schedule: Any, position: int) -> TorchRun:
        run = self.start(schedule)
        run.scheduler.set_position(position)
        return run

    def move(self, run: Any, position: int) -> None:
        run.scheduler.set_position(position)

    def micro(self, run: Any, n: int, scale: float = 0.0) -> None:
        for _ in range(n):
            sum(w.sum() * scale for g in run.scheduler.optimizer.param_groups for w in g["params"]).backward()
            run.scheduler.step()

    def skip(self, run: Any) -> None:
        self.micro(run, 1, float("inf"))
        for group in run.scheduler.optimizer.param_groups:
            for weight in group["params"]:
                weight.grad = torch.ones_like(weight)


class TestTorch(laju.testing.Conformance):
    adapter = TorchAdapter()


class TestTorchForeach(laju.testing.Conformance):
    adapter = TorchAdapter(foreach=True)


class TestTorchFused(laju.testing.Conformance):
    adapter = TorchAdapter(fused=True)


class TestTorchTensorRate(laju.testing.Conformance):
    adapter = TorchAdapter(tensor=True, foreach=False)


class Float32Adapter(TorchAdapter):
    tolerance: ClassVar[float] = 2.0**-24

    def optimizer(self, bases: Any = None) -> torch.optim.SGD:
        return sgd(*(bases or [77.0]), dtype=torch.float32)


class TestTorchFloat32(laju.testing.Conformance):
    adapter = Float32Adapter()


ORDERS = TorchAdapter.load_orders


@given(st.data(), schedules, schedules, st.integers(0, 60), st.sampled_from(["strict", "new", "saved"]))
@settings(max_examples=60)
def test_what_is_restored_equals_what_never_stopped(data: Any, old: Any, new: Any, k: int, policy: Any) -> None:
    kind = TorchAdapter()
    bases = data.draw(st.sampled_from([None, [1.0], [2.0, 0.0, 1e-3]]), label="bases")
    first = kind.start(old, bases=bases)
    first.train(k)
    saved = first.save()
    code = old if policy == "strict" else new
    never_stopped = kind.start(new if policy == "new" else old, bases=bases).train(k + 3)[k:]
    for order in ORDERS:
        assert kind.resume(saved, code, order=order, policy=policy, bases=bases).train(3) == never_stopped, order


# --- the clock ---------------------------------------------------------------------------------------------------------


def test_it_is_a_scheduler_of_torchs_own_kind() -> None:
    scheduler = Scheduler(sgd(1.0, 2.0), lr=SCHEDULE)
    assert isinstance(scheduler, LRScheduler)
    assert scheduler.base_lrs == [1.0, 2.0]
    assert (scheduler.last_epoch, scheduler.position) == (0, 0)
    train(scheduler, 1)
    assert scheduler.get_last_lr() == scheduler.get_lr() == scheduler._last_lr == [SCHEDULE(1)] * 2
    assert (scheduler.last_epoch, scheduler.position) == (1, 1)


def test_long_runs_use_the_value_of_every_update() -> None:
    assert train(Scheduler(sgd(1.0), lr=LONG), 9_000) == LONG.values(9_000).tolist()


@pytest.mark.parametrize("drive", [linear(1, 0, total=8), Factor(linear(1, 0, total=8))])
@pytest.mark.parametrize("each", ["update", "micro-batch"])
def test_k01_micro_batches_do_not_move_the_schedule(each: str, drive: Any) -> None:
    scheduler, found = Scheduler(sgd(1.0), lr=drive), []
    for batch in range(32):
        last = batch % 4 == 3
        if batch % 4 == 0:
            scheduler.optimizer.zero_grad()
        (scheduler.optimizer.param_groups[0]["params"][0].sum() / 4).backward()
        if last:
            found += used(scheduler.optimizer)
        if last or each == "micro-batch":
            scheduler.step()
    assert found == [1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]


K02 = """
    import json, sys, torch, laju
    from laju.frameworks.torch import Scheduler
    rank, store = int(sys.argv[1]), sys.argv[2]
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    layer = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    torch.nn.init.zeros_(layer.weight)
    model = torch.nn.parallel.DistributedDataParallel(layer)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    scheduler = Scheduler(optimizer, lr=laju.cosine(1, total=8))
    used = []
    for _ in range(9):
        before = layer.weight.item()
        optimizer.zero_grad()
        # The gradient is 0.5 on one rank and 1.5 on the other: 1 when DDP has averaged it.
        (model(torch.ones(1, 1, dtype=torch.float64)) * (0.5 + rank)).sum().backward()
        optimizer.step()
        scheduler.step()
        used.append(before - layer.weight.item())
    print(json.dumps([used, scheduler.get_last_lr(), scheduler.position]))
    torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_k02_ranks_agree_and_the_world_size_changes_nothing(tmp_path: Any) -> None:
    command = [sys.executable, "-c", textwrap.dedent(K02)]
    ranks = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "store")], stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    first, second = (json.loads(rank.communicate(timeout=300)[0].splitlines()[-1]) for rank in ranks)
    assert first == second
    assert first[0] == pytest.approx(cosine(1, total=8).values(9).tolist(), abs=1e-15)
    assert first[1:] == [[0.0], 9]


@pytest.mark.parametrize("options", [{}, {"foreach": True}, {"fused": True}])
def test_k03_updates_that_mixed_precision_skips_do_not_count(options: dict[str, Any]) -> None:
    scheduler = Scheduler(sgd(1.0, dtype=torch.float32, **options), lr=linear(0.1, 1, total=4))
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    (weight,) = scheduler.optimizer.param_groups[0]["params"]
    found = []
    for batch in range(6):
        scheduler.optimizer.zero_grad()
        before = weight.item()
        scaler.scale(weight.sum() * (float("inf") if batch < 2 else 1.0)).backward()
        scaler.step(scheduler.optimizer)
        scaler.update()
        scheduler.step()
        found.append(before - weight.item())
        assert scheduler.position == max(0, batch - 1)
    assert found == pytest.approx([0, 0, 0.1, 0.325, 0.55, 0.775], rel=1e-6)


def test_a_second_call_for_the_same_update_does_not_count() -> None:
    scheduler = Scheduler(sgd(1.0), lr=SCHEDULE)
    for t in range(8):
        assert used(scheduler.optimizer) == [SCHEDULE(t)]
        for _ in range(4):
            scheduler.step()
    assert scheduler.position == 8


@pytest.mark.filterwarnings("error")
def test_calls_count_by_themselves_where_torch_does_not_see_the_updates() -> None:
    scheduler = Scheduler(sgd(1.0), lr=SCHEDULE, count="calls")
    for t in range(25):
        assert scheduler.get_last_lr() == [SCHEDULE(t)]
        scheduler.step()
    assert scheduler.position == 25


def test_lbfgs_counts_once_an_update_however_often_it_calls_the_closure() -> None:
    (weight,) = weights()
    optimizer = torch.optim.LBFGS([weight], max_iter=1)
    calls = []

    def closure() -> torch.Tensor:
        calls.append(1)
        optimizer.zero_grad()
        loss = weight.sum()
        loss.backward()
        return loss

    scheduler = Scheduler(optimizer, lr=SCHEDULE)
    assert train(scheduler, 8, lambda: optimizer.step(closure)) == SCHEDULE.values(8).tolist()
    assert scheduler.position == 8
    assert len(calls) >= 8


class Wrapper(torch.optim.Optimizer):
    """As several libraries wrap: an optimizer by name that shares its groups with one inside."""

    def __init__(self, inside: torch.optim.Optimizer) -> None:
        self.inside, self.defaults = inside, inside.defaults

    @property
    def param_groups(self) -> Any:  # type: ignore[override]
        return self.inside.param_groups

    def step(self, closure: Any = None) -> None:
        self.inside.step()


def test_updates_inside_of_a_wrapped_optimizer_are_heard_of() -> None:
    wrapped = Wrapper(Wrapper(sgd(1.0)))
    ledger = Ledger.of(wrapped)
    assert train(Scheduler(wrapped, lr=SCHEDULE), 8) == SCHEDULE.values(8).tolist() == ledger.values()


def test_several_optimizers_and_schedulers_count_for_themselves() -> None:
    optimizer, other = sgd(1.0), sgd(1.0)
    rate, decay = Scheduler(optimizer, lr=SCHEDULE), Scheduler(optimizer, weight_decay=linear(0, 1, total=8))
    slower = Scheduler(other, lr=SCHEDULE)
    for t in range(8):
        assert used(optimizer) == [SCHEDULE(t)]
        assert rates(decay, "weight_decay") == [t / 8]
        rate.step()
        decay.step()
        if t % 2:
            assert used(other) == [SCHEDULE(t // 2)]
        slower.step()


def test_set_position_is_idempotent_and_goes_both_ways() -> None:
    scheduler = Scheduler(sgd(1.0), lr=SCHEDULE)
    for t in (7, 7, 3, 5000, 0, 0):
        scheduler.set_position(t)
        assert (scheduler.position, scheduler.get_last_lr()) == (t, [SCHEDULE(t)])
    scheduler.set_position(4)
    assert train(scheduler, 6) == SCHEDULE.values(6, start=4).tolist()
    used(scheduler.optimizer)
    scheduler.set_position(2)  # the update before has been accounted for
    scheduler.step()
    assert scheduler.position == 2
    for wrong in (-1, 1.5, True, "3"):
        with pytest.raises((TypeError, ValueError), match="t must be a whole number"):
            scheduler.set_position(wrong)  # type: ignore[arg-type]
    assert scheduler.position == 2


def test_a_position_that_others_set_by_torchs_name_is_in_force_from_the_next_step_on() -> None:
    scheduler = Scheduler(sgd(1.0), lr=LONG)
    train(scheduler, 5)
    for t in (4095, 7, 9000, 0):
        scheduler.last_epoch = t
        used(scheduler.optimizer)
        scheduler.step()
        assert (scheduler.position, scheduler.get_last_lr()) == (t + 1, [LONG(t + 1)])
        assert train(scheduler, 3) == LONG.values(3, start=t + 1).tolist()


def test_step_takes_no_position() -> None:
    scheduler = Scheduler(sgd(1.0), lr=SCHEDULE)
    used(scheduler.optimizer)
    for wrong in (5, 0, 0.25):
        with pytest.raises(TypeError, match="set_position"):
            scheduler.step(wrong)  # type: ignore[arg-type]
    assert (scheduler.position, scheduler.get_last_lr()) == (0, [SCHEDULE(0)])


def test_a_part_of_torchs_sequence_is_refused_and_of_its_chain_is_not() -> None:
    scheduler = Scheduler(sgd(1.0), lr=SCHEDULE)
    chained = lr_scheduler.ChainedScheduler([scheduler])
    for t in range(8):
        assert used(scheduler.optimizer) == [SCHEDULE(t)]
        chained.step()
    other = lr_scheduler.StepLR(scheduler.optimizer, 3)
    with pytest.raises(TypeError, match="chain the schedules instead: a >> b"):
        lr_scheduler.SequentialLR(scheduler.optimizer, [scheduler, other], milestones=[3])


def test_what_others_write_into_the_optimizer_changes_nothing_later() -> None:
    scheduler = Scheduler(sgd(1.0), lr=SCHEDULE)
    for t in range(10):
        assert used(scheduler.optimizer) == [SCHEDULE(t)]
        scheduler.optimizer.param_groups[0]["lr"] = 99.0
        scheduler.step()


# --- hyper-parameters and groups ---------------------------------------------------------------------------------------


def test_any_hyper_parameter_is_scheduled_on_the_same_clock() -> None:
    optimizer = torch.optim.AdamW(weights(2), lr=1.0)
    scheduler = Scheduler(
        optimizer,
        lr=SCHEDULE,
        weight_decay=linear(0.1, 0, total=10),
        betas=(linear(0.95, 0.85, total=10), 0.99),
        eps=1e-7,
    )
    for t in range(14):
        group = optimizer.param_groups[0]
        assert group["lr"] == SCHEDULE(t)
        assert group["weight_decay"] == linear(0.1, 0, total=10)(t)
        assert group["betas"] == (linear(0.95, 0.85, total=10)(t), 0.99)
        assert group["eps"] == 1e-7
        optimizer.step()
        scheduler.step()


def test_beta1_alone_leaves_beta2_alone() -> None:
    for betas in (linear(0.9, 0.5, total=4), (linear(0.9, 0.5, total=4), None), [linear(0.9, 0.5, total=4)]):
        optimizer = torch.optim.Adam(weights())
        Scheduler(optimizer, betas=betas).set_position(4)
        assert optimizer.param_groups[0]["betas"] == (0.5, 0.999)
    optimizer = torch.optim.Adam(weights())
    Scheduler(optimizer, betas=(None, Factor(linear(1, 0.5, total=4)))).set_position(4)
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999 * 0.5)


def test_momentum_is_what_updates_use() -> None:
    # Momentum 0.5 for one update after a gradient of 1: the buffer becomes 1.5, and 1.5·0 + 1 without momentum.
    scheduler = Scheduler(sgd(1.0, momentum=0.9), momentum=linear(0.5, 0, total=2))
    assert train(scheduler, 3) == [1.0, 1.25, 1.0]


def test_groups_are_driven_by_name_and_index() -> None:
    body, head, other = weights(3)
    optimizer = torch.optim.SGD(
        [{"params": [body], "name": "body"}, {"params": [head], "name": "head", "lr": 2.0}, {"params": [other]}], lr=1.0
    )
    scheduler = Scheduler(
        optimizer,
        lr={"body": linear(1, 0, total=4), "head": Factor(linear(1, 0.5, total=4))},
        weight_decay={2: 0.5, 0: 0.25},
    )
    for t in range(6):
        at = min(t, 4) / 4
        assert rates(scheduler) == [1 - at, 2 * (1 - at / 2), 1.0]
        assert rates(scheduler, "weight_decay") == [0.25, 0, 0.5]
        assert scheduler.get_last_lr() == rates(scheduler)
        optimizer.step()
        scheduler.step()


def test_g02_a_group_that_is_added_later_follows_from_its_first_update_on() -> None:
    expected = [0.55, 0.64, 0.73, 0.82, 0.91, 1, 1]
    for drive in (Factor(linear(0.1, 1, total=10)), linear(0.1, 1, total=10)):
        scheduler = Scheduler(sgd(1.0), lr=drive)
        train(scheduler, 5)
        scheduler.optimizer.add_param_group({"params": weights(), "lr": 1.0})
        found = []
        for _ in range(7):
            found.append(used(scheduler.optimizer))
            scheduler.step()
        for group in zip(*found, strict=True):
            assert group == pytest.approx(expected, rel=1e-15)


def test_a_group_that_is_added_later_keeps_its_own_base_through_a_checkpoint() -> None:
    kind, schedule = TorchAdapter(), linear(1, 0, total=10)
    first = kind.start(schedule, bases=[1.0])
    first.train(3)
    first.scheduler.optimizer.add_param_group({"params": weights(), "lr": 0.5})
    assert first.train(1) == [[0.7, 0.35]]
    for order in ORDERS:
        second = kind.resume(first.save(), schedule, order=order, bases=[1.0, 0.5])
        assert second.train(1) == [[schedule(4), schedule(4) * 0.5]]
    with pytest.raises(StateError, match=r"2 groups for lr \(factor\), but the optimizer has 1; add the groups"):
        kind.start(schedule, bases=[1.0]).scheduler.load_state_dict(first.scheduler.state_dict())


def test_bases_stay_when_a_checkpoint_of_an_optimizer_is_loaded() -> None:
    plain = sgd(5.0)  # without laju's or torch's scheduler: no initial_lr
    scheduler = Scheduler(sgd(2.0), lr=Factor(linear(1, 0, total=4)))
    scheduler.set_position(1)
    scheduler.optimizer.load_state_dict(plain.state_dict())
    assert scheduler.get_last_lr() == [1.5]
    assert used(scheduler.optimizer) == [1.5]
    assert scheduler.base_lrs == [2.0]


def test_groups_that_are_replaced_as_a_whole_are_found() -> None:
    scheduler = Scheduler(sgd(1.0), lr=SCHEDULE)
    train(scheduler, 3)
    scheduler.optimizer.param_groups = [dict(scheduler.optimizer.param_groups[0], lr=9.0)]
    assert train(scheduler, 3) == SCHEDULE.values(3, start=3).tolist()


def test_changed_bases_follow_the_policy() -> None:
    kind, schedule = TorchAdapter(), linear(1, 0, total=4)
    first = kind.start(schedule, bases=[1.0])
    first.train(1)
    built_first = [order for order in ORDERS if order.startswith("optimizer, scheduler")]
    for order in built_first:
        assert kind.resume(first.save(), schedule, order=order, bases=[4.0], policy="new").train(1) == [[3.0]]
        assert kind.resume(first.save(), schedule, order=order, bases=[4.0], policy="saved").train(1) == [[0.75]]
        with pytest.raises(StateError, match=r"bases \[1.0\] for lr \(factor\), but the optimizer has \[4.0\]"):
            kind.resume(first.save(), schedule, order=order, bases=[4.0])
    # Its own later checkpoints have the bases that it follows.
    follower = kind.resume(first.save(), schedule, order=built_first[-1], bases=[4.0], policy="saved").scheduler
    assert follower.base_lrs == [1.0]
    # An optimizer that is loaded before has the checkpoint's bases, and the code's are nowhere any more.
    (order,) = set(ORDERS) - set(built_first)
    for policy in ("strict", "new", "saved"):
        assert kind.resume(first.save(), schedule, order=order, bases=[4.0], policy=policy).train(1) == [[0.75]]


# --- metric-driven factors ---------------------------------------------------------------------------------------------


def test_p03_a_plateau_multiplies_a_warmup() -> None:
    scheduler, found = Scheduler(sgd(1.0), lr=linear(0.1, 1, total=3), controller=PLATEAU), []
    for _ in range(7):
        found += used(scheduler.optimizer)
        scheduler.step()
        if scheduler.position > 3:
            scheduler.observe(torch.tensor(1.0))
    assert found == pytest.approx([0.1, 0.4, 0.7, 1, 1, 0.1, 0.01], rel=1e-14)
    # What it decided can be replayed as a plain schedule.
    assert scheduler.controller is not None
    assert scheduler.controller.recorded(linear(0.1, 1, total=3)).values(7).tolist() == found


def test_a_factor_of_a_metric_is_in_force_at_once_and_multiplies_the_rate_alone() -> None:
    controller = Controller(PLATEAU)
    scheduler = Scheduler(sgd(1.0, 2.0), lr=Factor(constant(1)), weight_decay=0.5, controller=controller)
    assert scheduler.observe(1.0) == 1.0
    assert scheduler.observe(1.0) == 0.1
    assert scheduler.get_last_lr() == used(scheduler.optimizer) == [0.1, 0.2]
    assert rates(scheduler, "weight_decay") == [0.5, 0.5]
    assert controller.factor == 0.1


def test_a_controller_that_observed_without_positions_goes_on_without_them() -> None:
    controller = Controller(PLATEAU)
    controller.observe(1.0)
    scheduler = Scheduler(sgd(1.0), lr=1.0, controller=controller)
    assert scheduler.observe(1.0) == 0.1


@pytest.mark.parametrize("order", ORDERS)
def test_a_resumed_run_decides_as_an_uninterrupted_one(order: str) -> None:
    metrics = [3.0, 2.0, 2.0, 2.5, 2.0, float("nan"), 1.0, 1.0, 1.0, 1.0]
    rule = Plateau(0.5, patience=1, smoothing=0.5)

    def go_on(scheduler: Scheduler, metrics: list[float]) -> list[float]:
        found = []
        for metric in metrics:
            found += train(scheduler, 1)
            scheduler.observe(metric)
        return found

    uninterrupted = Scheduler(sgd(1.0), lr=SCHEDULE, controller=rule)
    expected = go_on(uninterrupted, metrics)
    first = Scheduler(sgd(1.0), lr=SCHEDULE, controller=rule)
    assert go_on(first, metrics[:5]) == expected[:5]
    states = laju.testing.plain(first.state_dict()), copy.deepcopy(first.optimizer.state_dict())
    optimizer = sgd(1.0)
    for step in order.split(", ")[1:]:
        match step:
            case "scheduler":
                second = Scheduler(optimizer, lr=SCHEDULE, controller=rule)
            case "load optimizer":
                optimizer.load_state_dict(states[1])
            case "load scheduler":
                second.load_state_dict(states[0])
    assert go_on(second, metrics[5:]) == expected[5:]
    assert second.state_dict() == uninterrupted.state_dict()


def test_another_rule_follows_the_policy() -> None:
    first = Scheduler(sgd(1.0), lr=1.0, controller=Plateau(0.5, patience=0))
    first.observe(1.0)
    first.observe(1.0)
    state = first.state_dict()

    def factors(rule: Any, policy: Any) -> list[float]:
        second = Scheduler(sgd(1.0), lr=1.0, controller=rule)
        second.load_state_dict(state, policy=policy)
        return [*second.get_last_lr(), second.observe(1.0)]

    changed = Plateau(0.1, patience=0)
    with pytest.raises(StateError, match=r"factor was 0\.5 and is 0\.1"):
        factors(changed, "strict")
    assert factors(changed, "new") == [0.5, 0.05]
    assert factors(changed, "saved") == [0.5, 0.25]
    other = Greedy(0.5, patience=0, ceiling=1)
    for policy in ("strict", "saved"):
        with pytest.raises(StateError, match="'Plateau'; the controller's rule is 'Greedy'"):
            factors(other, policy)
    assert factors(other, "new") == [1.0, 1.0]
    with pytest.raises(StateError, match="there is no controller here, but state_dict was saved with one"):
        factors(None, "strict")
    second = Scheduler(sgd(1.0), lr=1.0, controller=changed)
    with pytest.raises(StateError, match="there is a controller here, but state_dict was saved with none"):
        second.load_state_dict(Scheduler(sgd(1.0), lr=1.0).state_dict())
    second.load_state_dict(Scheduler(sgd(1.0), lr=1.0).state_dict(), policy="new")


def test_a_metric_driven_factor_that_is_never_fed_is_an_error_when_asked_for() -> None:
    scheduler = Scheduler(sgd(1.0), lr=SCHEDULE, controller=PLATEAU, observe_within=3)
    train(scheduler, 3)
    scheduler.observe(1.0)
    train(scheduler, 3)
    used(scheduler.optimizer)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"in the last 3 updates; call scheduler.observe.*observe_within=3"):
            scheduler.step()
    assert (scheduler.position, scheduler.get_last_lr()) == (6, [SCHEDULE(6)])
    scheduler.observe(0.5)
    scheduler.step()
    assert scheduler.position == 7


def test_a_metric_driven_factor_that_is_never_fed_is_warned_of_once() -> None:
    scheduler = Scheduler(sgd(1.0), lr=1.0, controller=PLATEAU, count="calls")
    with pytest.warns(RuntimeWarning, match="no metric was observed in the last 10000 updates") as warned:
        call(scheduler.step, 20_100)
    assert len(warned) == 1
    with pytest.raises(RuntimeError, match="has no controller"):
        Scheduler(sgd(1.0), lr=1.0).observe(1.0)


@pytest.mark.parametrize("named", [False, True])
def test_a_metric_that_a_trainer_passes_to_step_is_observed(named: bool) -> None:
    scheduler, found = Scheduler(sgd(1.0), lr=linear(1, 0, total=10), controller=PLATEAU), []
    for _ in range(4):
        found += used(scheduler.optimizer)
        if named:
            scheduler.step(metrics=torch.tensor(1.0))
        else:
            scheduler.step(1.0)
    assert found == pytest.approx([1.0, 0.9, 0.08, 0.007], rel=1e-14)
    assert scheduler.controller is not None
    assert scheduler.controller.recorded(linear(1, 0, total=10)).values(4).tolist() == found
    used(scheduler.optimizer)
    with pytest.raises(TypeError, match="metrics must be one number, got 'x'"):
        scheduler.step("x")
    with pytest.raises(TypeError, match="takes no position, got 5"):
        scheduler.step(1.0, 5)  # as timm's loop does
    assert scheduler.position == 4
    scheduler.step()
    assert scheduler.position == 5


NEVER_FED = "no metric was observed in the first"


@pytest.mark.parametrize(
    ("options", "updates", "told_after"),
    [
        ({"every": "epoch"}, 3, 2),
        ({}, 3, 2),
        ({"plan": laju.RunPlan(samples=40, batch_size=10, epochs=5)}, 1, 5),
    ],
    ids=["every epoch", "once an epoch", "with a plan"],
)
def test_a_controller_that_is_never_fed_is_told_when_the_first_epoch_is_over(
    options: Any, updates: int, told_after: int
) -> None:
    scheduler = Scheduler(sgd(1.0), lr=1.0, controller=PLATEAU, **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for call_number in range(1, 8):
            for _ in range(updates):
                used(scheduler.optimizer)
            scheduler.step()
            assert len(caught) == (call_number >= told_after)
    assert NEVER_FED in str(caught[0].message)


def test_a_controller_that_is_never_fed_is_told_when_a_state_is_saved() -> None:
    scheduler = Scheduler(sgd(1.0), lr=1.0, controller=PLATEAU)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduler.state_dict()
        train(scheduler, 2)
    with pytest.warns(laju.ScheduleWarning, match=NEVER_FED):
        scheduler.state_dict()
    fed = Scheduler(sgd(1.0), lr=1.0, controller=PLATEAU)
    train(fed, 2)
    assert fed.controller is not None
    fed.controller.observe(1.0, at=2)  # by its own method
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fed.state_dict()


# --- tensors, compiled and captured updates ----------------------------------------------------------------------------


def tensor_adam(**options: Any) -> torch.optim.Adam:
    return torch.optim.Adam(weights(2), lr=torch.tensor(1.0, dtype=torch.float64), **options)


def test_a_rate_that_is_a_tensor_is_written_in_place() -> None:
    optimizer = tensor_adam()
    rate = optimizer.param_groups[0]["lr"]
    pointer = rate.data_ptr()
    scheduler = Scheduler(optimizer, lr=Factor(SCHEDULE))
    for t in range(8):
        assert rate.item() == SCHEDULE(t)
        assert scheduler.get_last_lr() == [SCHEDULE(t)]  # numbers, which later updates do not change
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate.data_ptr() == pointer
    assert laju.testing.plain(scheduler.state_dict()) == scheduler.state_dict()


def test_betas_that_are_tensors_are_written_in_place() -> None:
    pair = torch.tensor(0.9), torch.tensor(0.999)
    optimizer = torch.optim.Adam(weights(), lr=torch.tensor(1e-3), betas=pair)  # type: ignore[arg-type]
    Scheduler(optimizer, betas=linear(0.5, 0.75, total=4)).set_position(4)
    assert optimizer.param_groups[0]["betas"][0] is pair[0]
    assert pair[0].item() == 0.75


@pytest.mark.parametrize("what", ["a function that steps", "optimizer.step"])
@pytest.mark.parametrize("backend", ["eager", "inductor"])
def test_a_compiled_update_follows_the_schedule_and_is_not_compiled_again(backend: str, what: str) -> None:
    if backend == "inductor" and not (shutil.which("g++") or shutil.which("clang++")):
        pytest.skip("inductor needs a C++ compiler")
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    (weight,) = weights()
    optimizer = torch.optim.SGD([weight], lr=torch.tensor(1.0, dtype=torch.float64), foreach=True)
    scheduler = Scheduler(optimizer, lr=SCHEDULE)
    update = torch.compile(optimizer.step if what == "optimizer.step" else lambda: optimizer.step(), backend=backend)
    assert train(scheduler, 2, update) == SCHEDULE.values(2).tolist()
    compiled = copy.deepcopy(torch._dynamo.utils.counters)
    with torch._dynamo.config.patch(error_on_recompile=True):
        assert train(scheduler, 20, update) == SCHEDULE.values(20, start=2).tolist()
    assert torch._dynamo.utils.counters["stats"] == compiled["stats"]
    assert compiled["stats"]["unique_graphs"] == 1
    assert scheduler.position == 22
    optimizer.add_param_group({"params": weights()})
    assert used(optimizer, update) == [SCHEDULE(22)] * 2
    torch._dynamo.reset()


def test_a_captured_update_is_counted_by_calls_as_its_replays_are_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    optimizer = tensor_adam()
    scheduler = Scheduler(optimizer, lr=SCHEDULE)
    monkeypatch.setattr(clock, "_capturing", lambda: True)
    optimizer.step()
    monkeypatch.undo()
    for t in range(1, 8):  # replays
        scheduler.step()
        assert scheduler.get_last_lr() == [SCHEDULE(t)]


def test_a_number_that_a_captured_update_would_keep_for_ever_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    optimizer = tensor_adam()
    scheduler = Scheduler(optimizer, lr=SCHEDULE, weight_decay=0.5)
    monkeypatch.setattr(clock, "_capturing", lambda: True)
    with pytest.raises(RuntimeError, match=r"weight_decay is a Python number.*weight_decay=torch.tensor\(0.5"):
        optimizer.step()
    del scheduler


# --- checkpoints -------------------------------------------------------------------------------------------------------


def full(**options: Any) -> Scheduler:
    """A scheduler with something in every part of its state."""
    optimizer = torch.optim.AdamW([{"params": weights(), "lr": 1.0}, {"params": weights(), "lr": 0.1}])
    return Scheduler(
        optimizer, Factor(SCHEDULE), weight_decay={1: LONG}, betas=(0.9, None), controller=PLATEAU, **options
    )


def through_torch(state: Any) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("travel", [laju.testing.plain, through_torch, copy.deepcopy], ids=["json", "torch", "copy"])
def test_a_state_is_plain_and_the_same_after_a_round_trip(travel: Any) -> None:
    first = full()
    for metric in (1.0, 1.0, 0.5):
        first.observe(metric)
        first.optimizer.step()
        first.step()
    state = first.state_dict()
    assert (state["position"], state["unfed"]) == (3, 1)
    assert travel(state) == state
    second = full()
    second.load_state_dict(travel(state))
    assert second.state_dict() == state
    assert second.get_last_lr() == first.get_last_lr()


# What full() had saved in the layout of before: nested, without a checksum.
OLDER = (
    '{"laju": 1, "kind": "torch.Scheduler", "position": 3, "fingerprint": '
    '"4730fa8ec90abf3e2b9e953cf1874caad5d3c8d2ac3c052ea66f28597f56aa95", "schedules": {"lr (factor)": {"laju": 1,'
    ' "schedule": {"kind": "Chain", "parts": [{"kind": "Ramp", "start": 0.0, "final": 0.3, "length": 5}, {"kind":'
    ' "Ramp", "start": 0.3, "final": 0.01, "length": 15, "shape": "cosine"}]}, "written": "cosine(0.3, total=20, '
    'warmup=5, final=0.01)"}, "betas[0]": {"laju": 1, "schedule": {"kind": "Constant", "value": 0.9}, "written": '
    '"constant(0.9)"}, "weight_decay of group 1": {"laju": 1, "schedule": {"kind": "Ramp", "start": 1.0, "final":'
    ' 0.0, "length": 10000}, "written": "linear(1, 0, total=10000)"}}, "bases": {"lr (factor)": [1.0, 0.1]}, '
    '"controller": {"version": 1, "rule": {"kind": "Plateau", "factor": 0.1, "patience": 0, "threshold": 0.0001, '
    '"threshold_mode": "rel", "mode": "min", "cooldown": 0, "floor": 0.0, "smoothing": 0.0}, "state": {"factor": '
    '0.1, "best": 0.5, "bad": 0, "waiting": 0, "exhausted": false, "average": 0.0, "weight": 0.0}, "at": 2, '
    '"decisions": [[1, 0.1]]}, "unfed": 1}'
)


def edited(state: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A state that somebody changed and sealed again."""
    return sealed({**state, **{name: json.dumps(value) for name, value in changes.items()}})


@pytest.mark.parametrize("name", ["position", "schedules", "bases", "controller", "unfed", "fingerprint", "every"])
def test_an_edited_state_is_refused(name: str) -> None:
    first, other = full(), full()
    first.observe(1.0)
    other.set_position(3)
    other.observe(2.0)
    changed = {**first.state_dict(), name: other.state_dict()[name]}
    if name in ("schedules", "fingerprint"):
        changed[name] = Scheduler(sgd(1.0), lr=LONG).state_dict()[name]
    if name == "bases":
        changed[name] = changed[name].replace("1.0", "2.0")
    if name == "unfed":
        changed[name] = 7
    if name == "every":
        changed[name] = '"epoch"'
    with pytest.raises(StateError, match="changed after it was saved"):
        other.load_state_dict(changed)


def test_a_state_is_flat_and_has_the_same_keys_whatever_is_scheduled() -> None:
    states = [full().state_dict(), Scheduler(sgd(1.0), lr=0.1).state_dict()]
    assert states[0].keys() == states[1].keys()
    assert {type(value) for state in states for value in state.values()} == {int, str}


def test_a_state_of_the_older_layout_is_loaded() -> None:
    old = json.loads(OLDER)
    scheduler = full()
    scheduler.load_state_dict(old)
    assert (scheduler.position, scheduler._unfed) == (3, 1)
    assert scheduler.controller is not None
    assert scheduler.controller.factor == 0.1
    assert scheduler.slots[0].bases == [1.0, 0.1]
    old["schedules"]["lr (factor)"] = LONG.to_json()
    with pytest.raises(StateError, match="changed after it was saved"):
        full().load_state_dict(old)


def test_a_position_that_counts_something_else_is_refused() -> None:
    saved = Scheduler(sgd(1.0), lr=SCHEDULE, every="epoch").state_dict()
    for policy in ("strict", "new", "saved"):
        with pytest.raises(StateError, match="every='epoch', but this scheduler has every='update'"):
            Scheduler(sgd(1.0), lr=SCHEDULE, policy=policy).load_state_dict(saved)  # type: ignore[arg-type]


def others_states() -> dict[str, dict[str, Any]]:
    optimizer = sgd(1.0)
    made = {
        "cosine": lr_scheduler.CosineAnnealingLR(optimizer, T_max=10),
        "lambda": lr_scheduler.LambdaLR(optimizer, lambda t: 1.0),
        "sequential": lr_scheduler.SequentialLR(
            optimizer,
            [lr_scheduler.LinearLR(optimizer, 0.1, total_iters=3), lr_scheduler.CosineAnnealingLR(optimizer, T_max=6)],
            milestones=[3],
        ),
    }
    transformers = pytest.importorskip("transformers")
    made["Transformers"] = transformers.get_cosine_schedule_with_warmup(optimizer, 2, 10)
    for _ in range(4):
        optimizer.step()
        for scheduler in made.values():
            scheduler.step()
    return {name: scheduler.state_dict() for name, scheduler in made.items()}


@pytest.mark.parametrize("name", ["cosine", "lambda", "sequential", "Transformers"])
def test_a_run_under_another_scheduler_is_taken_over(name: str) -> None:
    state = others_states()[name]
    scheduler = Scheduler(sgd(1.0), lr=SCHEDULE)
    for policy in (None, "saved"):
        with pytest.raises(StateError, match="has last_epoch=4: with policy='new' the schedules of the code continue"):
            scheduler.load_state_dict(state, policy=policy)  # type: ignore[arg-type]
    scheduler = Scheduler(sgd(1.0), lr=SCHEDULE, policy="new")
    scheduler.load_state_dict(state)
    assert train(scheduler, 5) == SCHEDULE.values(5, start=4).tolist()


def test_a_plateau_of_torch_counts_no_updates() -> None:
    state = lr_scheduler.ReduceLROnPlateau(sgd(1.0)).state_dict()
    with pytest.raises(StateError, match=r"counts evaluations and not updates.*set_position"):
        Scheduler(sgd(1.0), lr=SCHEDULE, policy="new").load_state_dict(state)


def test_a_run_goes_back_to_a_scheduler_of_torch() -> None:
    ours = Scheduler(sgd(1.0), lr=Factor(linear(1, 0, total=10)))
    train(ours, 5)
    theirs = sgd(1.0)
    theirs.load_state_dict(ours.optimizer.state_dict())
    scheduler = lr_scheduler.LambdaLR(theirs, lambda t: 1 - t / 10, last_epoch=ours.last_epoch - 1)
    for t in range(5, 8):
        assert used(theirs) == pytest.approx([1 - t / 10])
        scheduler.step()


def test_loading_mutates_neither_the_state_nor_after_an_error_the_scheduler() -> None:
    first = full()
    first.set_position(7)
    first.observe(1.0)
    state = first.state_dict()
    kept = copy.deepcopy(state)
    second = full()
    second.load_state_dict(state)
    second.optimizer.step()
    second.step()
    second.observe(1.0)
    assert state == kept
    before = copy.deepcopy(second.state_dict()), copy.deepcopy(second.optimizer.state_dict())
    broken = [
        edited(state, bases={}),
        edited(state, bases={"lr (factor)": [1.0, "x"]}),
        edited(state, controller={**json.loads(state["controller"]), "state": {}}),
        {**state, "unfed": -1},
        {**state, "schedules": None},
    ]
    for wrong in broken:
        kept = copy.deepcopy(wrong)
        with pytest.raises(StateError):
            second.load_state_dict(wrong)
        assert wrong == kept
        assert (second.state_dict(), second.optimizer.state_dict()) == before


def test_a_state_does_not_change_with_the_scheduler_that_made_it() -> None:
    scheduler = full()
    state = scheduler.state_dict()
    kept = copy.deepcopy(state)
    scheduler.observe(1.0)
    scheduler.optimizer.add_param_group({"params": weights()})
    train(scheduler, 2)
    assert state == kept
    now = copy.deepcopy(scheduler.state_dict())
    state["bases"] = scheduler.state_dict()["bases"] = ""
    assert scheduler.state_dict() == now


def test_what_is_in_force_follows_an_optimizer_that_is_loaded_last() -> None:
    late = Scheduler(sgd(1.0), lr=SCHEDULE)
    late.set_position(9)
    scheduler = Scheduler(sgd(1.0), lr=SCHEDULE)
    scheduler.set_position(3)
    scheduler.optimizer.load_state_dict(late.optimizer.state_dict())
    assert scheduler.get_last_lr() == rates(scheduler) == [SCHEDULE(3)]


def test_r05_strict_names_both_schedules_and_changes_nothing() -> None:
    old, new = laju.factor(1, 0.1, every=3), laju.factor(1, 0.1, every=6)
    state = Scheduler(sgd(1.0), lr=old).state_dict()
    scheduler = Scheduler(sgd(1.0), lr=new)
    scheduler.set_position(2)
    with pytest.raises(StateError, match=r"policy='new'.*policy='saved'") as error:
        scheduler.load_state_dict(state)
    assert f"lr saved: {old}" in str(error.value)
    assert f"lr now:   {new}" in str(error.value)
    assert scheduler.position == 2
    scheduler.load_state_dict(state, policy="saved")
    assert scheduler.state_dict() == state  # the saved schedule is now this scheduler's own


def test_other_hyper_parameters_follow_the_policy() -> None:
    saved = Scheduler(sgd(1.0), lr=SCHEDULE)
    saved.set_position(3)
    scheduler = Scheduler(sgd(1.0), lr=SCHEDULE, momentum=linear(0, 1, total=6))
    with pytest.raises(StateError, match="momentum saved: not scheduled"):
        scheduler.load_state_dict(saved.state_dict())
    with pytest.raises(StateError, match="schedules for lr, but the code has schedules for lr, momentum"):
        scheduler.load_state_dict(saved.state_dict(), policy="saved")
    scheduler.load_state_dict(saved.state_dict(), policy="new")
    assert rates(scheduler, "momentum") == [0.5]


def test_a_factor_is_another_schedule_than_absolute_values() -> None:
    state = Scheduler(sgd(2.0), lr=SCHEDULE).state_dict()
    with pytest.raises(StateError, match="other schedules"):
        Scheduler(sgd(2.0), lr=Factor(SCHEDULE)).load_state_dict(state)


def torchs_own_state() -> dict[str, Any]:
    return lr_scheduler.CosineAnnealingLR(sgd(1.0), T_max=10).state_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: None, "must be one that laju's torch.Scheduler made, got None"),
        (
            lambda state: torchs_own_state(),
            "must be one that laju's torch.Scheduler made, got {'T_max': 10.*policy='new'",
        ),
        (lambda state: {}, "must be one that laju's torch.Scheduler made"),
        (lambda state: [1], "must be one that laju's torch.Scheduler made"),
        (lambda state: Controller(PLATEAU).state_dict(), "must be one that laju's torch.Scheduler made"),
        (lambda state: state | {"laju": 3}, "newer version, 3; this laju reads versions 1 and 2"),
        (lambda state: state | {"laju": 0}, "another version, 0; this laju reads versions 1 and 2"),
        (lambda state: state | {"kind": "keras.Schedule"}, "'keras.Schedule', not of 'torch.Scheduler'"),
        (lambda state: state | {"position": -1}, "position must be a whole number"),
        (lambda state: state | {"position": "1"}, "position must be a whole number"),
        (lambda state: edited(state, schedules={"lr": {"kind": "?"}}), "cannot be read"),
        (lambda state: state | {"schedules": "[" * 100_000}, "cannot be read"),
        (lambda state: state | {"schedules": "{"}, "cannot be read"),
        (lambda state: edited(state, unfed="x"), "cannot be read"),
    ],
)
def test_a_state_of_something_else_is_refused_and_changes_nothing(change: Any, message: str) -> None:
    scheduler = Scheduler(sgd(1.0), lr=SCHEDULE)
    scheduler.set_position(1)
    with pytest.raises(StateError, match=message):
        scheduler.load_state_dict(change(scheduler.state_dict()))
    assert (scheduler.position, scheduler.get_last_lr()) == (1, [SCHEDULE(1)])


# --- wrong arguments ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"optimizer": None}, TypeError, "optimizer must be a torch optimizer or several, got None"),
        ({"optimizer": torch.nn.Linear(1, 1)}, TypeError, "torch optimizer or several, got Linear"),
        ({"optimizer": []}, TypeError, r"torch optimizer or several, got \[\]"),
        ({"lr": "cosin(0.1, total=3)"}, SpecError, "lr must be .*cosin"),
        ({"lr": "cosine(0.1, total='2 epochs')"}, UnresolvedError, "epochs"),
        ({"lr": [0.1]}, TypeError, "lr must be a schedule, its text, a Factor or a number, got"),
        ({"plan": 3}, TypeError, "plan must be a RunPlan, got 3"),
        ({"every": "epochs"}, ValueError, "every must be one of update, epoch, got 'epochs'; did you mean 'epoch'"),
        ({"last_epoch": -2}, ValueError, "last_epoch must be a whole number of at least -1"),
        (
            {"learning_rate": SCHEDULE},
            ValueError,
            "no hyper-parameter 'learning_rate'; the schedule of the learning rate is lr",
        ),
        ({"schedule": SCHEDULE}, ValueError, "the schedule of the learning rate is lr"),
        ({"T_max": 10}, ValueError, "the length is the schedule's own"),
        ({"total_steps": 10}, ValueError, "the length is the schedule's own"),
        ({"warmup_ratio": 0.1}, ValueError, "the warmup is the schedule's own"),
        ({"lr": True}, TypeError, "lr must be a schedule"),
        ({"lr": None}, ValueError, "nothing is scheduled"),
        ({"lr": {}}, ValueError, "nothing is scheduled"),
        ({"lr": SCHEDULE.per("epoch")}, UnresolvedError, "epoch"),
        ({"lr": cosine(0.3, total="5 epochs")}, UnresolvedError, "epoch"),
        ({"weight_decy": 1.0}, ValueError, "SGD has no hyper-parameter 'weight_decy'; did you mean 'weight_decay'"),
        ({"betas": 0.9}, ValueError, "SGD has no hyper-parameter 'betas'; it has lr, momentum"),
        ({"params": 1.0}, ValueError, "no hyper-parameter 'params'"),
        ({"nesterov": 1.0}, ValueError, "nesterov of the optimizer is False, which is not a number"),
        ({"foreach": 1.0}, ValueError, "foreach of the optimizer is None, which is not a number"),
        ({"lr": {"boddy": 1.0}}, ValueError, "group 'boddy'.*did you mean 'body'.*groups are 'body', 0 to 1"),
        ({"lr": {2: 1.0}}, ValueError, "lr is given for group 2, which the optimizer does not have"),
        ({"lr": {True: 1.0}}, ValueError, "group True"),
        ({"lr": {0: 1.0, "body": 2.0}}, ValueError, "lr is given twice for group 0, as 0 and as 'body'"),
        ({"lr": {0: "x"}}, SpecError, "lr must be "),
        ({"weight_decay": Factor(SCHEDULE)}, ValueError, r"weight_decay \(factor\) has no base: weight_decay is 0"),
        ({"momentum": {0: Factor(SCHEDULE)}}, ValueError, r"momentum of group 0 \(factor\) has no base"),
        ({"policy": "stict"}, ValueError, "did you mean 'strict'"),
        ({"count": "updates"}, ValueError, "count must be one of applied, calls, got 'updates'"),
        ({"controller": 3}, TypeError, "controller must be a rule such as Plateau, or a Controller, got 3"),
        ({"lr": None, "momentum": 0.9, "controller": PLATEAU}, ValueError, "multiplies lr, but lr is not scheduled"),
        ({"observe_within": 0}, ValueError, "observe_within must be a whole number of at least 1"),
    ],
)
def test_wrong_arguments_are_refused_and_leave_the_optimizer_alone(arguments: Any, error: Any, message: str) -> None:
    first, second = weights(2)
    optimizer = torch.optim.SGD([{"params": [first], "name": "body"}, {"params": [second]}], lr=77.0)
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(error, match=message):
        Scheduler(**{"optimizer": optimizer, "lr": SCHEDULE, **arguments})
    assert optimizer.state_dict() == before
    assert not hooks(optimizer)


def test_too_many_schedules_for_a_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="betas has 2 values, got 3"):
        Scheduler(torch.optim.Adam(weights()), betas=(0.9, 0.9, 0.9))


def test_a_factor_is_of_a_schedule() -> None:
    with pytest.raises(TypeError, match=r"schedule must be a laju schedule or its text, got 0\.5"):
        Factor(0.5)  # type: ignore[arg-type]


def test_values_are_alike_from_wherever_they_are_asked() -> None:
    forward, backward, positions = Values(LONG * SCHEDULE), Values(LONG * SCHEDULE), [0, 1, 4095, 4096, 5000, 9999]
    assert [forward.at(t) for t in positions] == [backward.at(t) for t in reversed(positions)][::-1]
    resumed = pickle.loads(pickle.dumps(forward))
    assert (resumed.at(5000), resumed.begin) == (forward.at(5000), 4096)  # the very same computation
    with pytest.raises(UnresolvedError):
        Values(cosine(0.3, total="5 epochs"))


# --- what it leaves alone ----------------------------------------------------------------------------------------------


def hooks(optimizer: torch.optim.Optimizer) -> list[Any]:
    kinds = (
        "step_pre",
        "step_post",
        "state_dict_pre",
        "state_dict_post",
        "load_state_dict_pre",
        "load_state_dict_post",
    )
    return [hook for kind in kinds for hook in getattr(optimizer, f"_optimizer_{kind}_hooks").values()]


def test_the_optimizers_step_is_left_as_it_is() -> None:
    optimizer = sgd(1.0)
    of_class, before = torch.optim.SGD.step, dict(vars(optimizer))
    scheduler = Scheduler(optimizer, lr=SCHEDULE)
    train(scheduler, 2)
    assert torch.optim.SGD.step is of_class
    assert optimizer.step.__func__ is of_class
    assert {name: value for name, value in vars(optimizer).items() if name != "_laju_ear"} == before


def test_a_scheduler_that_is_deleted_leaves_nothing_behind_and_both_are_freed_without_the_garbage_collector() -> None:
    gc.disable()
    try:
        optimizer = sgd(1.0)
        scheduler = full_use(Scheduler(optimizer, Factor(SCHEDULE), weight_decay=0.1, controller=PLATEAU))
        gone = weakref.ref(scheduler)
        del scheduler  # the optimizer does not keep the scheduler
        assert gone() is None
        assert hooks(optimizer) == []
        scheduler = full_use(Scheduler(optimizer, SCHEDULE))
        of_optimizer, of_scheduler = weakref.ref(optimizer), weakref.ref(scheduler)
        del optimizer
        assert of_optimizer() is not None
        del scheduler
        assert (of_optimizer(), of_scheduler()) == (None, None)
    finally:
        gc.enable()


def full_use(scheduler: Scheduler) -> Scheduler:
    train(scheduler, 3)
    scheduler.optimizer.add_param_group({"params": weights(), "lr": 1.0})
    train(scheduler, 3)
    scheduler.load_state_dict(scheduler.state_dict())
    scheduler.optimizer.load_state_dict(copy.deepcopy(scheduler.optimizer.state_dict()))
    return scheduler


@pytest.mark.parametrize("copied", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy], ids=["pickle", "deepcopy"])
def test_a_copy_goes_on_from_where_it_was_with_an_optimizer_of_its_own(copied: Any) -> None:
    first = Scheduler(sgd(1.0, 2.0), lr=Factor(SCHEDULE), controller=PLATEAU)
    train(first, 4)
    first.observe(1.0)
    second = copied(first)
    assert second.optimizer is not first.optimizer
    assert second.state_dict() == first.state_dict()
    assert train(second, 10) == SCHEDULE.values(10, start=4).tolist()
    assert second.observe(1.0) == 0.1
    assert train(first, 10) == SCHEDULE.values(10, start=4).tolist()
    third = copied(first.optimizer)  # an optimizer alone, which nothing drives any more
    assert hooks(third) == []
    assert used(third)[0] == SCHEDULE(14)
    assert first.position == 14


def test_a_plain_scheduler_that_is_copied_counts_for_itself() -> None:
    first = Scheduler(sgd(1.0), lr=SCHEDULE)
    train(first, 2)
    second = copy.deepcopy(first)
    assert train(second, 5) == SCHEDULE.values(5, start=2).tolist()
    assert first.position == 2


# --- trace -------------------------------------------------------------------------------------------------------------

MAKERS: dict[str, Any] = {
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=6, eta_min=0.1),
    "warm restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=3),
    "steps": lambda o: lr_scheduler.StepLR(o, step_size=3),
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, max_lr=1.0, total_steps=12),
    "cyclic": lambda o: lr_scheduler.CyclicLR(o, base_lr=0.1, max_lr=1.0, step_size_up=3),
    "sequential": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, total_iters=3), lr_scheduler.CosineAnnealingLR(o, T_max=6)], milestones=[3]
    ),
    "chained": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(o, factor=0.1, total_iters=2), lr_scheduler.ExponentialLR(o, gamma=0.9)]
    ),
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda t: 1 / (1 + t)),
    "laju": lambda o: Scheduler(o, lr=Factor(SCHEDULE), momentum=linear(0.9, 0.8, total=12)),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("key", ["lr", "momentum"])
@pytest.mark.filterwarnings("error")
def test_trace_is_what_a_training_loop_would_use(name: str, key: str) -> None:
    optimizer = torch.optim.SGD(weights(), lr=1.0, momentum=0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *args, **kwargs: None)  # of SequentialLR's own
        scheduler, expected = MAKERS[name](optimizer), []
        for _ in range(12):
            expected.append(optimizer.param_groups[0][key])
            optimizer.step()
            scheduler.step()
    assert trace(MAKERS[name], 12, key=key) == expected


def test_trace_of_a_laju_scheduler_is_the_schedule() -> None:
    assert trace(lambda o: Scheduler(o, lr=SCHEDULE), 30) == SCHEDULE.values(30).tolist()
    assert trace(lambda o: Scheduler(o, lr=Factor(SCHEDULE)), 30, base=2.0) == (2 * SCHEDULE.values(30)).tolist()
    assert trace(MAKERS["steps"], 0) == []


def test_trace_touches_nothing_of_the_callers() -> None:
    mine = torch.optim.SGD(weights(), lr=3.0)
    before, state = copy.deepcopy(mine.state_dict()), torch.get_rng_state()
    with pytest.raises(ValueError, match="for the optimizer that it is given"):
        trace(lambda o: Scheduler(mine, momentum=0.0), 3)
    trace(MAKERS["one cycle"], 5)
    mine.param_groups[0].pop("initial_momentum", None)
    assert mine.state_dict() == before
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("make", "options", "error", "message"),
    [
        (lr_scheduler.ReduceLROnPlateau, {}, TypeError, "follows a metric and has no sequence of its own"),
        (None, {}, TypeError, "make_scheduler must be a function from an optimizer to a scheduler, got None"),
        (lambda o: None, {}, TypeError, "must return a scheduler, got None"),
        (MAKERS["steps"], {"key": "momentm"}, ValueError, "did you mean 'momentum'"),
        (MAKERS["steps"], {"n": -1}, ValueError, "n must be a whole number"),
    ],
)
def test_trace_refuses_what_has_no_sequence(make: Any, options: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        trace(make, **{"n": 3, **options})


def test_every_scheduler_of_torch_that_needs_no_metric_can_be_traced() -> None:
    arguments: dict[str, Any] = {
        "LambdaLR": {"lr_lambda": lambda t: 1.0},
        "MultiplicativeLR": {"lr_lambda": lambda t: 0.9},
        "StepLR": {"step_size": 2},
        "MultiStepLR": {"milestones": [2]},
        "ExponentialLR": {"gamma": 0.9},
        "CosineAnnealingLR": {"T_max": 5},
        "CosineAnnealingWarmRestarts": {"T_0": 5},
        "CyclicLR": {"base_lr": 0.1, "max_lr": 1.0},
        "OneCycleLR": {"max_lr": 1.0, "total_steps": 10},
    }
    combined = {"LRScheduler", "SequentialLR", "ChainedScheduler", "ReduceLROnPlateau"}
    names = [
        name for name, kind in vars(lr_scheduler).items() if inspect.isclass(kind) and issubclass(kind, LRScheduler)
    ]
    names = [name for name in names if not name.startswith("_") and name not in combined]
    assert len(names) >= 12
    for name in names:
        make = functools.partial(getattr(lr_scheduler, name), **arguments.get(name, {}))
        assert len(trace(make, 10)) == 10
