"""The range test: exact rates, honest curves, suggestions only where there are any, and nothing left behind."""

from __future__ import annotations

import copy
import math
import random
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

import laju
from laju.frameworks.torch import Scheduler
from laju.lab import Execution, Optimizer, RateRange, Trial, TrialsLost, find, range_test
from laju.lab.engines.torch import Training, one_thread_and_own_randomness
from laju.lab.range_test import RULES, Sweep
from laju.lab.range_test.curve import Curve, noise, smooth
from laju.lab.range_test.result import RangeTest
from laju.lab.range_test.state import Snapshot
from laju.lab.trials.tasks import Digits
from laju.lab.trials.tasks.base import permutation as order
from laju.policies import exponential
from tests.lab.tiny import Deadly

# ruff: noqa: NPY002 - the global random numbers are what is tested

MSE = torch.nn.functional.mse_loss


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def points(n: int = 64) -> TensorDataset:
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(n, 4, generator=generator)
    return TensorDataset(inputs, inputs.sum(1, keepdim=True) + 0.1 * torch.randn(n, 1, generator=generator))


def linear(lr: float = 0.1, **options: Any) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(1)
    model = torch.nn.Linear(4, 1)
    return model, torch.optim.SGD(model.parameters(), lr=lr, **options)


class Weight(torch.nn.Module):
    """One float64 weight, which begins at 1."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones((), dtype=torch.float64))


def half_square(model: Weight, batch: Any) -> torch.Tensor:
    return model.weight**2 / 2


# --- the sweep ---------------------------------------------------------------------------------------------------------


def test_the_first_update_uses_exactly_low_and_the_last_exactly_high() -> None:
    model, optimizer = linear()
    used: list[float] = []
    optimizer.register_step_pre_hook(lambda o, a, k: used.append(o.param_groups[0]["lr"]))
    low, high = 1.1e-7, 3.3e-3
    result = range_test(model, MSE, DataLoader(points(), 8), optimizer, low=low, high=high, updates=37, seeds=1)
    assert used[0] == low == result.low
    assert used[-1] == high == result.high
    assert used == exponential(low, high, total=36).values(37).tolist() == result.sweeps[0].rates.tolist()


def test_losses_are_those_of_gradient_descent_and_the_sweep_ends_where_it_diverges() -> None:
    model = Weight()
    optimizer = torch.optim.SGD(model.parameters(), lr=1)
    sweep = range_test(model, half_square, [None], optimizer, low=1.3e-3, high=1e3, updates=61, seeds=1).sweeps[0]
    rates = exponential(1.3e-3, 1e3, total=60).values(61)
    weights = np.cumprod(np.r_[1, 1 - rates])[: len(sweep.losses)]
    np.testing.assert_allclose(sweep.losses, weights**2 / 2, rtol=1e-12)
    # Beyond a rate of 2 the loss rises; what has become tiny until then takes a while to be worse than at the beginning.
    assert sweep.diverged_at == len(sweep.losses) - 1 < 60
    assert rates[sweep.diverged_at] > 2
    assert model.weight.item() == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_the_sweep_and_is_no_part_of_the_curve(bad: float) -> None:
    model, optimizer = linear()
    calls = 0

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return MSE(outputs, targets) * (bad if calls == 15 else 1)

    sweep = range_test(model, loss, DataLoader(points(), 8), optimizer, updates=30, seeds=1).sweeps[0]
    assert (sweep.diverged_at, len(sweep.losses), len(sweep.curve.losses)) == (14, 15, 14)
    assert not math.isfinite(sweep.losses[-1])
    assert calls == 15


@pytest.mark.parametrize("seed", range(5))
def test_noise_alone_is_not_divergence(seed: int) -> None:
    model, optimizer = linear()
    scatter = np.random.default_rng(seed).gamma(4, 0.25, 100).tolist()  # batches that differ by a half of their loss

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return outputs.sum() * 0 + scatter.pop()

    sweep = range_test(model, loss, DataLoader(points(), 8), optimizer, high=0.1, updates=100, seeds=1).sweeps[0]
    assert (sweep.diverged_at, len(sweep.losses)) == (None, 100)


def test_under_accumulation_there_are_as_many_points_as_updates_and_each_is_the_mean_of_its_micro_batches() -> None:
    batches = [(x, y) for x, y in zip(*(t.split(8) for t in points().tensors), strict=True)]
    halves = [(x, y) for batch in batches for x, y in zip(*(t.split(4) for t in batch), strict=True)]
    options: dict[str, Any] = {"low": 1e-4, "high": 0.1, "updates": 21, "seeds": 1}
    model, optimizer = linear(momentum=0.9)
    whole = range_test(model, MSE, batches, optimizer, **options)
    model, optimizer = linear(momentum=0.9)
    parts = range_test(model, MSE, halves, optimizer, accumulate=2, **options)
    assert len(parts.sweeps[0].losses) == len(parts.sweeps[0].rates) == 21
    np.testing.assert_allclose(parts.sweeps[0].losses, whole.sweeps[0].losses, rtol=1e-5)


def test_groups_keep_the_ratio_of_their_rates_and_tensors_are_written_in_place() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 1))
    rate = torch.tensor(0.01)
    groups = [{"params": model[0].parameters(), "lr": rate}, {"params": model[1].parameters(), "lr": torch.tensor(0.1)}]
    optimizer = torch.optim.Adam(groups)
    used = []
    optimizer.register_step_pre_hook(lambda o, a, k: used.append([float(g["lr"]) for g in o.param_groups]))
    range_test(model, MSE, DataLoader(points(), 8), optimizer, low=1e-4, high=1e-2, updates=11, seeds=1)
    np.testing.assert_allclose(used[0], [1e-5, 1e-4], rtol=1e-6)
    np.testing.assert_allclose(used[-1], [1e-3, 1e-2], rtol=1e-6)
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate == torch.tensor(0.01)


def test_batches_that_are_no_pairs_go_to_the_loss_with_the_model() -> None:
    model, optimizer = linear()
    x, y = points().tensors

    def loss(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return MSE(model(batch["x"]), batch["y"])

    def passes() -> Iterator[dict[str, torch.Tensor]]:
        for a, b in zip(x.split(8), y.split(8), strict=True):
            yield {"x": a, "y": b}

    named = range_test(model, loss, passes, optimizer, updates=20, seeds=1)
    pairs = list(zip(x.split(8), y.split(8), strict=True))
    assert (
        named.sweeps[0].losses.tolist()
        == range_test(model, MSE, pairs, optimizer, updates=20, seeds=1).sweeps[0].losses.tolist()
    )


def test_a_seed_gives_the_same_sweep_again_and_another_order_than_other_seeds() -> None:
    model, optimizer = linear()
    loader = DataLoader(points(), 8, shuffle=True, generator=torch.Generator().manual_seed(5))
    torch.rand(3)  # where the caller's random numbers are makes no difference
    first = range_test(model, MSE, loader, optimizer, updates=20, seeds=[0, 1])
    torch.rand(3)
    next(iter(loader))
    again = range_test(model, MSE, loader, optimizer, updates=20, seeds=[1])
    assert again.sweeps[0].losses.tolist() == first.sweeps[1].losses.tolist() != first.sweeps[0].losses.tolist()


def test_a_task_is_swept_with_the_weights_and_the_data_that_its_trials_have() -> None:
    sweep = find(updates=30, low=1e-3, high=0.5, seeds=[4]).sweeps[0]
    schedule = exponential(1e-3, 0.5, total=29)
    with one_thread_and_own_randomness():
        training = Training(Trial(Digits(), schedule, 4, 2, 64, Optimizer()))
        rows = [*np.array_split(order(4, 0, 1437), range(64, 1437, 64)), *order(4, 1, 1437)[: 64 * 7].reshape(7, 64)]
        for batch in rows:
            training.update(batch)
        losses, _ = training.read()
    assert sweep.losses.tolist() == losses.tolist()


@pytest.mark.slow
def test_sweeps_in_worker_processes_are_those_of_this_process(tmp_path: Path) -> None:
    options: dict[str, Any] = {"low": 1e-3, "updates": 30, "seeds": [4, 2, 9]}
    told: list[int] = []
    here, there = find(**options), find(jobs=2, report=lambda sweep: told.append(sweep.seed), **options)
    assert [s.seed for s in there.sweeps] == [4, 2, 9] == sorted(told, key=[4, 2, 9].index)
    assert [s.losses.tolist() for s in there.sweeps] == [s.losses.tolist() for s in here.sweeps]
    with pytest.raises(TrialsLost, match=r"'range test' with seed 2.*: its worker process died"):
        find(Deadly(seed=2, mark=tmp_path / "mark"), jobs=2, **options)


# --- smoothing ---------------------------------------------------------------------------------------------------------


@given(st.floats(-5, 5), st.floats(-1, 1), st.integers(2, 60), st.floats(0.1, 30))
@settings(max_examples=60)
def test_smoothing_gives_back_straight_lines_also_at_the_ends(a: float, b: float, n: int, width: float) -> None:
    line = a + b * np.arange(n)
    values, slopes, _ = smooth(line, width)
    np.testing.assert_allclose(values, line, atol=1e-8)
    np.testing.assert_allclose(slopes, b, atol=1e-8)


def test_errors_of_smoothed_values_are_the_root_of_the_sum_of_the_squared_weights() -> None:
    n, width = 30, 3.0
    weights = np.array([smooth(row, width).values for row in np.eye(n)]).T
    np.testing.assert_allclose(smooth(np.zeros(n), width).errors, np.sqrt((weights**2).sum(axis=1)), rtol=1e-9)


def logistic(n: int = 200, middle: float = 100, seed: int | None = None, scatter: float = 0.02) -> np.ndarray:
    """A loss from 2.3 to 0.3 whose steepest point is `middle`."""
    y = 0.3 + 2 / (1 + np.exp((np.arange(n) - middle) / 10))
    return y if seed is None else y + scatter * np.random.default_rng(seed).normal(size=n)


def test_the_steepest_point_is_found_where_it_is_and_a_mean_of_the_past_finds_it_late() -> None:
    rates = np.geomspace(1e-5, 10, 200)
    found = []
    for seed in range(20):
        losses = np.r_[logistic(seed=seed)[:170], np.geomspace(0.5, 40, 30)]  # and then it rises
        found.append(
            float(np.log(RULES["steepest"](Curve(rates, losses, 5.0)) / rates[100]) / np.log(rates[1] / rates[0]))
        )
    assert abs(np.mean(found)) < 1
    assert np.std(found) < 3

    mean, late = 0.0, []
    for t, loss in enumerate(logistic()):
        mean = 0.98 * mean + 0.02 * loss
        late.append(mean / (1 - 0.98 ** (t + 1)))
    assert np.diff(late).argmin() - 100 > 10


def test_noise_is_told_from_the_curve() -> None:
    assert noise(logistic(400, 200, seed=0, scatter=0.05)) == pytest.approx(0.05, rel=0.15)


# --- rules -------------------------------------------------------------------------------------------------------------


def valley_of_fastai(rates: list[float], losses: list[float]) -> float:
    """fastai's loops, written out: a longest decreasing subsequence ending at each point, and a third and a sixth of it."""
    n = len(losses)
    lengths, end, start = [1] * n, 0, 0
    for i in range(1, n):
        for j in range(i):
            if losses[i] < losses[j] and lengths[i] < lengths[j] + 1:
                lengths[i] = lengths[j] + 1
            if lengths[end] < lengths[i]:
                end = i
                start = end - lengths[end]
    sections = (end - start) / 3
    return rates[start + int(sections) + int(sections / 2)]


@pytest.mark.parametrize("seed", range(12))
def test_the_valley_is_that_of_fastai(seed: int) -> None:
    generator = np.random.default_rng(seed)
    losses = np.r_[2.5 - 2 * np.sort(generator.random(40)) + 0.2 * generator.normal(size=40), np.geomspace(1, 50, 15)]
    curve = Curve(np.geomspace(1e-4, 10, 55), losses, 1.0, diverged_at=12.0)
    assert RULES["valley"](curve) == valley_of_fastai(curve.rates.tolist(), curve.smoothed.values.tolist())


def test_a_tenth_of_the_minimum() -> None:
    rates = np.geomspace(1e-5, 10, 121)
    losses = 2 + (np.log10(rates) + 1) ** 2
    assert RULES["minimum/10"](Curve(rates, losses, 3.0, diverged_at=11.0)) == pytest.approx(0.01)


def result(*sweeps: tuple[np.ndarray, int | None], low: float = 1e-5, high: float = 10.0, n: int = 100) -> RangeTest:
    schedule = exponential(low, high, total=n - 1)
    rates = schedule.values(n)
    made = [Sweep(i, rates[: len(losses)], losses, 3.0, at) for i, (losses, at) in enumerate(sweeps)]
    return RangeTest(schedule, n, tuple(made))


def test_mere_noise_gives_no_suggestion_and_says_why() -> None:
    suggested = 0
    for seed in range(200):
        losses = 2.3 + 0.1 * np.random.default_rng(seed).normal(size=100)
        tested = result((losses, None))
        suggested += any(s.rate is not None for s in tested.suggestions.values())
    assert suggested <= 2
    flat = result((np.full(100, 2.3), None))
    assert {s.rate for s in flat.suggestions.values()} == {None}
    assert "never fell between 1e-05 and 10" in (flat.suggestions["valley"].reason or "")


def test_a_fall_is_seen_through_noise_as_large_as_a_third_of_it() -> None:
    found = 0
    for seed in range(50):
        fall = logistic(85, 50, seed=seed, scatter=0.6)
        found += result((np.r_[fall, np.geomspace(0.5, 30, 15)], 99)).suggestions["steepest"].rate is not None
    assert found >= 45


def test_a_range_that_never_diverges_is_said_to_be_too_low() -> None:
    tested = result((logistic(100, 60, seed=0), None))
    assert tested.suggestions["steepest"].rate == pytest.approx(tested.schedule(60), rel=0.5)
    for rule in ("valley", "minimum/10"):
        assert tested.suggestions[rule].rate is None
        assert "raise `high`" in (tested.suggestions[rule].reason or "")
    assert any("never diverged" in note for note in tested.notes())


def test_a_range_that_diverges_at_once_is_said_to_be_too_high() -> None:
    tested = result((np.array([2.3, 90.0, math.nan]), 2))
    assert {s.rate for s in tested.suggestions.values()} == {None}
    assert all(
        "diverged at once" in (s.reason or "") and "lower `low`" in (s.reason or "")
        for s in tested.suggestions.values()
    )
    assert tested.notes()[0].startswith("the loss diverged at once")

    model = Weight()
    real = range_test(
        model, half_square, [None], torch.optim.SGD(model.parameters(), lr=1), low=50, high=1e4, updates=50, seeds=1
    )
    assert real.suggestions["steepest"].rate is None
    assert real.diverged.rate is not None
    assert real.plot().axes.get_xscale() == "log"


def test_a_loss_that_only_rises_gives_no_suggestion() -> None:
    tested = result((2.3 + np.geomspace(0.001, 8, 60), 59))
    assert {s.rate for s in tested.suggestions.values()} == {None}
    assert "never fell by more than its noise before it diverged" in (tested.suggestions["steepest"].reason or "")


def test_intervals_are_those_of_the_logarithms_over_the_seeds() -> None:
    def one(middle: float) -> tuple[np.ndarray, int | None]:
        return np.r_[logistic(80, middle), np.geomspace(0.5, 30, 20)], 99

    tested = result(one(40), one(44), one(51))
    found = tested.suggestions["steepest"]
    each = np.log10([s.suggestions["steepest"] for s in tested.sweeps])
    half = 4.302652729696142 * each.std(ddof=1) / math.sqrt(3)  # t of 2 degrees of freedom
    half += 6 / 99 / 2  # half a step
    assert found.rate == pytest.approx(10 ** each.mean())
    assert (found.low, found.high) == (
        pytest.approx(10 ** (each.mean() - half)),
        pytest.approx(10 ** (each.mean() + half)),
    )
    assert (found.given, found.of) == (3, 3)


def test_seeds_that_agree_know_the_rate_to_half_a_step() -> None:
    good = np.r_[logistic(80, 40), np.geomspace(0.5, 30, 20)], 99
    two = result(good, good)
    assert two.suggestions["minimum/10"].high is None
    assert any(note.startswith("2 seeds say nothing of how far") for note in two.notes())
    found = result(good, good, good).suggestions["minimum/10"]
    assert found.rate is not None
    assert found.high is not None
    assert found.low is not None
    assert found.high / found.rate == pytest.approx(10 ** (6 / 99 / 2)) == found.rate / found.low


def test_a_suggestion_takes_more_than_half_of_the_seeds() -> None:
    good = np.r_[logistic(80, 40), np.geomspace(0.5, 30, 20)], 99
    flat = np.full(100, 2.3), None
    assert result(good, flat).suggestions["steepest"].rate is None
    two_of_three = result(good, good, flat).suggestions["steepest"]
    assert two_of_three.rate is not None
    assert (two_of_three.given, two_of_three.of) == (2, 3)
    assert "never fell" in (two_of_three.reason or "")


def test_a_picture_shows_the_suggestions() -> None:
    good = np.r_[logistic(80, 40), np.geomspace(0.5, 30, 20)], 99
    tested = result(good, good, good)
    names = [text.get_text() for text in tested.plot(title="two").figure.legends[0].get_texts()]
    assert f"steepest: {tested.suggestions['steepest'].rate:.2g}" in names
    assert "diverged" in names


# --- everything as before ----------------------------------------------------------------------------------------------


class Rich(torch.nn.Module):
    """State of every kind: batch statistics, dropout, a buffer that forward replaces, one that is in no state_dict, a counter."""

    def __init__(self) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.3))
        self.frozen = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.BatchNorm1d(8))
        self.head = torch.nn.Linear(8, 1)
        self.register_buffer("hidden", torch.zeros(2), persistent=False)
        self.register_buffer("places", torch.arange(3.0).expand(2, 3))
        self.numbers = np.zeros(3)
        self.calls, self.seen = 0, [0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.seen.append(self.calls)
        self.numbers += 1
        self.hidden = self.hidden + 1
        noise = random.random() + float(np.random.random())
        return self.head(self.frozen(self.body(x))) + 1e-3 * noise


class World:
    """A training under way: three updates made, gradients there, a scheduler attached, a loader half read."""

    def __init__(self, optimizer: str, scheduler: str) -> None:
        torch.manual_seed(7)
        random.seed(7)
        np.random.seed(7)
        self.model = Rich()
        self.model.frozen.eval()  # whose own mode a careless model.train() would lose
        groups = [{"params": self.model.body.parameters()}, {"params": self.model.head.parameters(), "lr": 0.02}]
        make: dict[str, Callable[[], torch.optim.Optimizer]] = {
            "sgd without state": lambda: torch.optim.SGD(groups, lr=0.01, momentum=0.9),
            "adam": lambda: torch.optim.AdamW(groups, lr=0.01, amsgrad=True),
        }
        self.optimizer = make[optimizer]()
        self.scheduler: Any = (
            Scheduler(self.optimizer, lr=laju.cosine(0.05, total=50, warmup=5))
            if scheduler == "laju"
            else torch.optim.lr_scheduler.OneCycleLR(self.optimizer, 0.05, total_steps=50)
        )
        self.generator = torch.Generator().manual_seed(11)
        self.loader = DataLoader(points(), 8, shuffle=True, generator=self.generator)
        if optimizer != "sgd without state":
            self.train(3)
        MSE(self.model(points().tensors[0]), points().tensors[1]).backward()

    def train(self, updates: int) -> list[float]:
        losses = []
        for (x, y), _ in zip(self.loader, range(updates), strict=False):
            self.optimizer.zero_grad()
            loss = MSE(self.model(x), y)
            loss.backward()
            self.optimizer.step()
            self.scheduler.step()
            losses.append(loss.item())
        return losses

    def test(self, loss: Any = MSE, **options: Any) -> Any:
        given = {"low": 1e-4, "high": 1.0, "updates": 15, "seeds": 2} | options
        return range_test(self.model, loss, self.loader, self.optimizer, **given)

    def everything(self) -> dict[str, Any]:
        """Every bit, with the identities of the objects that others may hold."""
        found: dict[str, Any] = {}
        for name, module in self.model.named_modules():
            plain = {k: v for k, v in vars(module).items() if isinstance(v, bool | int | float)}
            found[f"module {name}"] = plain, list(module._buffers), list(module._parameters)
        for name, t in (*self.model.named_parameters(), *self.model.named_buffers()):
            found[name] = id(t), t.data_ptr(), bits(t), t.requires_grad
            found[f"{name}.grad"] = None if t.grad is None else (id(t.grad), bits(t.grad))
        found["python"] = list(self.model.seen), self.model.numbers.tobytes()
        found["groups"] = [
            [(k, v) for k, v in g.items() if k != "params"] + [id(p) for p in g["params"]]
            for g in self.optimizer.param_groups
        ]
        found["state"] = [
            (id(p), id(s), [(k, id(v), bits(v) if isinstance(v, torch.Tensor) else v) for k, v in s.items()])
            for p, s in self.optimizer.state.items()
        ]
        found["optimizer"] = {k: v for k, v in vars(self.optimizer).items() if isinstance(v, bool | int)}
        found["scheduler"] = copy.deepcopy(self.scheduler.state_dict())
        found["heard"] = getattr(getattr(self.scheduler, "_ear", None), "applied", None)
        found["random"] = (
            torch.get_rng_state().numpy().tobytes(),
            random.getstate(),
            str(np.random.get_state()),
            self.generator.get_state().numpy().tobytes(),
        )
        found["loader"] = {k: id(v) for k, v in vars(self.loader).items()}
        return found


def bits(t: torch.Tensor) -> bytes:
    return t.detach().contiguous().numpy().tobytes()


WORLDS = [(o, s) for o in ("sgd without state", "adam") for s in ("laju", "torch")]


@pytest.mark.parametrize(("optimizer", "scheduler"), WORLDS)
def test_everything_is_as_before_bit_by_bit(optimizer: str, scheduler: str) -> None:
    world = World(optimizer, scheduler)
    before = world.everything()
    changed = []

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        changed.append({k for k, v in world.everything().items() if v != before[k]})
        return MSE(outputs, targets)

    world.test(loss)
    assert {"groups", "random", "python", "hidden", "body.0.weight", "body.1.running_mean"} <= changed[-1]
    assert world.everything() == before


@pytest.mark.parametrize(("optimizer", "scheduler"), WORLDS)
def test_the_training_afterwards_is_the_one_without_a_range_test(optimizer: str, scheduler: str) -> None:
    tested, other = World(optimizer, scheduler), World(optimizer, scheduler)
    tested.test()
    # The worlds share the global random numbers, so each goes on from the same place.
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    after = tested.train(8)
    torch.manual_seed(1), random.seed(1), np.random.seed(1)
    assert after == other.train(8)


@pytest.mark.parametrize("when", [1, 2, 14, 20])
def test_everything_is_as_before_after_an_error(when: int) -> None:
    world = World("adam", "laju")
    before, calls = world.everything(), 0

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == when:
            raise RuntimeError("a loss that fails")
        return MSE(outputs, targets)

    with pytest.raises(RuntimeError, match="a loss that fails"):
        world.test(loss)
    assert world.everything() == before


@pytest.mark.parametrize("when", [1, 8, 20])
def test_everything_is_as_before_after_ctrl_c(when: int) -> None:
    world = World("sgd without state", "torch")
    before, calls, handler = world.everything(), 0, signal.getsignal(signal.SIGINT)

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == when:
            signal.raise_signal(signal.SIGINT)
        return MSE(outputs, targets)

    with pytest.raises(KeyboardInterrupt):
        world.test(loss)
    assert calls == when
    assert world.everything() == before
    assert signal.getsignal(signal.SIGINT) is handler


class Impatient(Rich):
    """Presses Ctrl-C twice while it is brought back."""

    def get_extra_state(self) -> int:
        return self.calls

    def set_extra_state(self, state: int) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)


def test_ctrl_c_while_all_is_brought_back_waits_until_it_is() -> None:
    world = World("adam", "laju")
    world.model.__class__ = Impatient
    before = world.everything()
    with pytest.raises(KeyboardInterrupt):
        world.test()
    assert world.everything() == before


def test_it_runs_in_a_thread_which_may_set_no_handler() -> None:
    model, optimizer = linear()
    results: list[RangeTest] = []
    thread = threading.Thread(
        target=lambda: results.append(range_test(model, MSE, DataLoader(points(), 8), optimizer, updates=10, seeds=1))
    )
    thread.start()
    thread.join()
    assert len(results[0].sweeps) == 1


def test_the_loaders_next_order_is_the_one_without_a_range_test() -> None:
    def orders(tested: bool, generator: torch.Generator | None) -> list[Any]:
        torch.manual_seed(9)
        loader = DataLoader(points(), 8, shuffle=True, generator=generator)
        first = [x.tolist() for x, _ in loader]
        if tested:
            model, optimizer = linear()
            torch.manual_seed(10)
            range_test(model, MSE, loader, optimizer, updates=20, seeds=1)
        else:
            linear()
            torch.manual_seed(10)
        return first + [x.tolist() for x, _ in loader]

    for make in (lambda: None, lambda: torch.Generator().manual_seed(2)):
        assert orders(True, make()) == orders(False, make())


def test_a_pass_under_way_with_workers_that_stay_goes_on() -> None:
    def rest(tested: bool) -> list[Any]:
        loader = DataLoader(
            points(32),
            8,
            shuffle=True,
            num_workers=1,
            persistent_workers=True,
            generator=torch.Generator().manual_seed(2),
        )
        running = iter(loader)
        seen = [next(running)[0].tolist()]
        workers = loader._iterator
        if tested:
            model, optimizer = linear()
            range_test(model, MSE, loader, optimizer, updates=10, seeds=1)
        assert loader._iterator is workers
        return seen + [x.tolist() for x, _ in running] + [x.tolist() for x, _ in loader]

    assert rest(True) == rest(False)


def test_generators_behind_functions_and_own_classes_are_brought_back() -> None:
    class Passes:
        def __init__(self) -> None:
            self.random, self.old, self.count = np.random.default_rng(1), np.random.RandomState(1), 0
            self.python = random.Random(1)

        def __iter__(self) -> Iterator[Any]:
            self.count += 1
            self.old.rand(), self.python.random()
            x, y = points().tensors
            for i in self.random.permutation(8):
                yield x[8 * i : 8 * i + 8], y[8 * i : 8 * i + 8]

        def state(self) -> str:
            return f"{self.random.bit_generator.state} {self.old.get_state()} {self.python.getstate()}"

    batches = Passes()
    before = batches.state()
    model, optimizer = linear()
    direct = range_test(model, MSE, batches, optimizer, updates=20, seeds=2)
    assert (batches.state(), batches.count) == (before, 0)
    behind = range_test(model, MSE, lambda: iter(batches), optimizer, updates=20, seeds=2)
    assert batches.state() == before
    assert [s.losses.tolist() for s in behind.sweeps] == [s.losses.tolist() for s in direct.sweeps]
    assert direct.sweeps[0].losses.tolist() != direct.sweeps[1].losses.tolist()


def test_an_average_of_the_weights_that_a_hook_keeps_is_brought_back() -> None:
    model, optimizer = linear()
    average = torch.optim.swa_utils.AveragedModel(model)
    optimizer.register_step_post_hook(lambda *_: average.update_parameters(model))
    before = copy.deepcopy(average.state_dict())
    range_test(model, MSE, DataLoader(points(), 8), optimizer, updates=20, seeds=1)
    after = average.state_dict()
    assert all(bits(after[name]) == bits(before[name]) for name in before)


def test_a_scheduler_that_a_hook_or_the_loss_steps_is_brought_back() -> None:
    model, optimizer = linear()
    stepped = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    own = Scheduler(torch.optim.SGD([torch.zeros(1)], lr=1.0), lr=laju.linear(1, 0, total=1000))
    optimizer.register_step_post_hook(lambda *_: stepped.step())

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        own.optimizer.step()
        own.step()
        return MSE(outputs, targets)

    before = copy.deepcopy(stepped.state_dict()), copy.deepcopy(own.state_dict())
    range_test(model, loss, DataLoader(points(), 8), optimizer, updates=20, seeds=1)
    assert (stepped.state_dict(), own.state_dict()) == before


def test_a_tensor_whose_storage_was_exchanged_gets_its_own_back() -> None:
    model, _ = linear()
    pointer, content = model.weight.data_ptr(), bits(model.weight)
    snapshot = Snapshot(model)
    model.weight.data = torch.zeros(1, 4)
    model.extra = torch.nn.Linear(2, 2)
    model.weight.requires_grad_(False)
    snapshot.restore()
    assert (model.weight.data_ptr(), bits(model.weight), model.weight.requires_grad) == (pointer, content, True)
    assert not hasattr(model, "extra")


# --- bad input ---------------------------------------------------------------------------------------------------------


def test_what_cannot_be_tested_is_refused_before_anything_is_touched() -> None:
    model, optimizer = linear()
    loader = DataLoader(points(), 8)
    cases: list[tuple[type[Exception], str, tuple[Any, ...], dict[str, Any]]] = [
        (ValueError, r"low must be below high, got low=1.0 and high", (model, MSE, loader, optimizer), {"low": 1, "high": 0.1}),
        (ValueError, r"low must be a finite number above 0, got 0", (model, MSE, loader, optimizer), {"low": 0}),
        (ValueError, r"high must be a finite number above 0, got inf", (model, MSE, loader, optimizer), {"high": math.inf}),
        (ValueError, r"updates must be a whole number of at least 10, got 9", (model, MSE, loader, optimizer), {"updates": 9}),
        (ValueError, r"accumulate must be .* at least 1, got 0", (model, MSE, loader, optimizer), {"accumulate": 0}),
        (ValueError, r"seeds must be .* at least 1, got 0", (model, MSE, loader, optimizer), {"seeds": 0}),
        (TypeError, r"rates must be a RateRange, got 0.1", (model, MSE, loader, optimizer, 0.1), {}),
        (ValueError, r"high=1 and a RateRange with high=10.0", (model, MSE, loader, optimizer, RateRange()), {"high": 1}),
        (ValueError, r"got the iterator .* used up", (model, MSE, iter(loader), optimizer), {}),
        (ValueError, r"data gave no batches", (model, MSE, [], optimizer), {}),
        (ValueError, r"need no closure, got LBFGS", (model, MSE, loader, torch.optim.LBFGS(model.parameters())), {}),
        (TypeError, r"model must be a torch module", (len, MSE, loader, optimizer), {}),
        (TypeError, r"optimizer must be a torch optimizer", (model, MSE, loader, None), {}),
        (TypeError, r"loss must be a function", (model, 3, loader, optimizer), {}),
        (TypeError, r"data must be batches", (model, MSE, 3, optimizer), {}),
        (TypeError, r"loss must return a scalar", (model, lambda y, z: y - z, loader, optimizer), {}),
        (TypeError, r"loss must return a scalar", (model, lambda y, z: 1.0, loader, optimizer), {}),
    ]  # fmt: skip
    before = bits(model.weight)
    for error, text, arguments, options in cases:
        with pytest.raises(error, match=text):
            range_test(*arguments, **options)
    assert bits(model.weight) == before
    lazy = torch.nn.LazyLinear(1)
    with pytest.raises(ValueError, match=r"not initialised yet \(weight\)"):
        range_test(lazy, MSE, loader, optimizer)
    with pytest.raises(ValueError, match=r"low must be below high"):
        find(low=1, high=0.1)
    with pytest.raises(ValueError, match="did you mean 'digits'"):
        find("digit")
    with pytest.raises(ValueError, match=r"divergence must be .* above 1, got 1"):
        RateRange(divergence=1)
    with pytest.raises(ValueError, match=r"smoothing must be .* above 0, got 0"):
        RateRange(smoothing=0)
    with pytest.raises(ValueError, match=r"jobs=2 and an Execution with jobs=1 are both given; keep one"):
        find(jobs=2, execution=Execution(jobs=1))
    with pytest.raises(ValueError, match="stack=2 does not go with this: a sweep has jobs and device alone"):
        find(execution=Execution(stack=2))
