"""Averages as values: an average is a decay, and equals what torch and a plain loop compute."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laju
from laju import RunPlan, constant, cosine, linear, wsd
from laju.averaging import EMA, Cooldown, Latest, Tail, imitated, parse, weights

AVERAGES = [EMA(0.9), EMA(0.999), Tail(7), Tail("20%"), Latest(4), Cooldown(linear(1, 0, total=30))]


def sgd(schedule: laju.Schedule, gradients: np.ndarray) -> np.ndarray:
    """The weights after 0, 1, … updates of SGD from 0 on gradients that stay the same."""
    steps = schedule.values(len(gradients))[:, None] * gradients
    return np.concatenate([np.zeros((1, gradients.shape[1])), -np.cumsum(steps, axis=0)])


@pytest.mark.parametrize("shape", ["linear", "1-sqrt", "cosine", "square"])
@pytest.mark.parametrize("trunk", [constant(0.3), cosine(0.3, total=900, final=0.1, warmup=20)], ids=str)
def test_merged_checkpoints_end_where_the_cooldown_ends_on_fixed_gradients(shape: str, trunk: laju.Schedule) -> None:
    gradients = np.random.default_rng(0).normal(size=(600, 5))
    factor = wsd(1, total=200, cooldown=200, shape=shape)
    cooldown = (trunk.shift(-400) * factor).take(200)
    cooled = sgd(trunk.take(400) >> cooldown, gradients)[-1]
    checkpoints = sgd(trunk, gradients)[400:]
    shares = weights(cooldown, at=range(400, 601), trunk=trunk)
    assert np.abs(shares @ checkpoints - cooled).max() <= 1e-12


def test_the_optimizer_of_torch_ends_there_too() -> None:
    torch = pytest.importorskip("torch")
    from laju.frameworks.torch import Scheduler

    gradients = torch.randn(120, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def run(schedule: laju.Schedule) -> list[torch.Tensor]:
        w = torch.nn.Parameter(torch.zeros(7, dtype=torch.float64))
        optimizer = torch.optim.SGD([w], lr=1.0)
        scheduler = Scheduler(optimizer, lr=schedule)
        ends = []
        for gradient in gradients:
            w.grad = gradient
            optimizer.step()
            scheduler.step()
            ends.append(w.detach().clone())
        return ends

    trunk, cooled = run(constant(0.1)), run(wsd(0.1, total=120, cooldown=50))
    shares = weights(linear(0.1, 0, total=50), at=range(70, 121))
    merged = torch.from_numpy(shares) @ torch.stack(trunk[69:])
    assert float((merged - cooled[-1]).abs().max()) <= 1e-12


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_shares_are_the_end_of_the_schedule_that_they_imitate(data: st.DataObject) -> None:
    at = sorted(data.draw(st.sets(st.integers(0, 60), min_size=1, max_size=9)))
    raw = data.draw(st.lists(st.floats(0.01, 1), min_size=len(at), max_size=len(at)))
    shares = np.array(raw) / sum(raw)
    trunk = data.draw(st.sampled_from([None, cosine(0.5, total=80, warmup=9), linear(1, 0.2, total=70)]))
    gradients = np.random.default_rng(1).normal(size=(max(at[-1], 1), 3))
    merged = shares @ sgd(trunk or constant(1), gradients)[at]
    end = sgd(imitated(shares, at, trunk), gradients)[at[-1]]
    assert np.abs(merged - end).max() <= 1e-12


def test_few_checkpoints_get_the_mean_rate_between_them() -> None:
    gradients = np.tile(np.random.default_rng(2).normal(size=(1, 4)), (1000, 1)) / 10  # the same at each update
    shares = weights(linear(1, 0, total=400), at=[500, 600, 700, 850, 1000])
    merged = shares @ sgd(constant(0.1), gradients)[[500, 600, 700, 850, 1000]]
    cooled = sgd(wsd(0.1, total=1000, cooldown=400), gradients)[-1]
    assert np.abs(merged - cooled).max() <= 1e-12


@pytest.mark.parametrize("average", AVERAGES, ids=str)
def test_shares_sum_to_one_and_only_checkpoints_of_the_window_count(average) -> None:
    at = list(range(101))
    shares = average.weights(at)
    assert abs(shares.sum() - 1) < 1e-12
    assert (shares >= 0).all()
    assert not shares[: average.begins(100)].any() or isinstance(average, EMA)


@pytest.mark.parametrize("average", AVERAGES, ids=str)
def test_an_average_is_a_value(average) -> None:
    assert parse(str(average)) == average
    assert eval(repr(average), {**vars(laju), **globals()}) == average
    assert pickle.loads(pickle.dumps(average)) == average
    assert len({average, parse(str(average))}) == 1


def test_an_ema_means_the_same_however_many_checkpoints_are_kept() -> None:
    assert EMA(0.99).weights([100, 110])[1] == pytest.approx(1 - 0.99**10)


def test_lengths_are_of_the_run() -> None:
    plan = RunPlan(samples=100, batch_size=10, epochs=20)
    assert Tail("2 epochs").resolve(plan) == Tail(20)
    assert Tail("10%").resolve(plan) == Tail(20)
    assert Cooldown(linear(1, 0, total="2 epochs")).resolve(plan) == Cooldown(linear(1, 0, total=20))
    every = range(201)
    assert (weights(linear(1, 0, total="10%"), every) == weights(linear(1, 0, total=20), every)).all()


def test_the_distance_is_that_of_the_rates() -> None:
    cooldown, at = Cooldown(linear(1, 0, total=400)), [400, 700, 800, 1000]
    wanted = cooldown.schedule.values(400)
    there = imitated(cooldown.weights(at), at).values(1000)
    assert cooldown.distance(at) == pytest.approx(np.abs(there[600:] - wanted).max())
    assert cooldown.distance(range(600, 1001)) == 0
    assert Cooldown(linear(1, 0, total=400)).distance([900, 1000]) == pytest.approx(
        0.7475
    )  # 600 to 899 have the trunk's rate


def test_the_trunk_gives_the_scale() -> None:
    at = range(90, 101)
    half = weights(linear(0.1, 0, total=10), at, trunk=constant(0.2))
    assert half[0] == 0.5
    assert weights(linear(0.1, 0, total=10), at)[0] == 0


@pytest.mark.parametrize("average", AVERAGES, ids=str)
def test_a_model_of_torch_is_averaged_as_the_shares_say(average) -> None:
    torch = pytest.importorskip("torch")
    from laju.averaging.torch import averaged

    model = torch.nn.Linear(3, 2).double()
    at = list(range(60, 101))
    copy, seen = averaged(model, average, at), []
    for _ in at:
        torch.nn.init.normal_(model.weight)
        copy.update_parameters(model)
        seen.append(model.weight.detach().clone())
    wanted = torch.einsum("k,kij->ij", torch.from_numpy(average.weights(at)), torch.stack(seen))
    assert torch.allclose(copy.module.weight, wanted, atol=1e-12)
    with pytest.raises(ValueError, match="41 checkpoints"):
        copy.update_parameters(model)


def test_ema_and_tail_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch")
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn

    from laju.averaging.torch import averaged

    model = torch.nn.Linear(3, 2).double()
    at = range(1, 31)
    pairs = [
        (averaged(model, EMA(0.9), at), AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))),
        (averaged(model, Tail(30), at), AveragedModel(model, multi_avg_fn=get_swa_multi_avg_fn())),
    ]
    for _, copy in itertools.product(at, pairs):
        torch.nn.init.normal_(model.weight)
        for one in copy:
            one.update_parameters(model)
    for ours, theirs in pairs:
        assert torch.allclose(ours.module.weight, theirs.module.weight, atol=1e-12)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: EMA(1), "decay must be a finite number above 0 and below 1, got 1"),
        (lambda: EMA("x"), "decay must be"),
        (lambda: Latest(0), "count must be a whole number of at least 1, got 0"),
        (lambda: Tail(0), "length must be"),
        (lambda: Tail("5 epochs").weights([100]), r"needs a RunPlan"),
        (lambda: Tail(200).weights([50, 100]), "length must be at most the 100 updates of the run, got '200'"),
        (lambda: Latest(3).weights([50, 100]), "count must be at most the number of checkpoints, 2, got 3"),
        (lambda: weights(linear(1, 0, total=200), [50, 100]), "has 200 updates, which is more than the run's 100"),
        (lambda: weights(linear(0, 1, total=20), [50, 100]), "must begin above 0, or a trunk must be given"),
        (lambda: weights(constant(1), [50, 100]), "schedule must have an end"),
        (lambda: weights("linear(1, 0, total=2)", [50, 100]), "schedule must be a Schedule"),
        (lambda: weights(linear(1, 0, total=20), [100, 50]), "at must increase, got 100 before 50"),
        (lambda: weights(linear(1, 0, total=20), []), "at must have at least one"),
        (lambda: weights(linear(1, 0, total=20), [9.5]), r"at\[0\] must be a whole number"),
        (
            lambda: weights(linear(1, 0, total=20), [80, 100], trunk=linear(1, 0, total=90)),
            "trunk must have a learning rate above 0 in the last 20 of 100 updates",
        ),
        (lambda: weights(linear(1, 0, total=20), [80, 100], trunk=0.1), "trunk must be a Schedule"),
        (lambda: imitated([0.5], [1, 2]), "shares must be 2 numbers"),
        (lambda: imitated([0.5, 0.6], [1, 2]), "that sum to 1"),
        (lambda: parse("emma:0.9"), "did you mean 'ema'"),
        (lambda: parse("ema:"), "an average is ema:DECAY"),
        (lambda: parse("latest:x"), "'x' is not a number"),
        (lambda: parse("latest:0"), "at least 1, got 0$"),
        (lambda: parse("tail:500%").weights([9, 23]), "at most the 23 updates of the run, got '500%'"),
        (
            lambda: parse("tail:500%").resolve(RunPlan(samples=23, batch_size=1, epochs=1)),
            "at most the 23 updates of the run, got '500%'",
        ),
        (lambda: parse("linea(1, 0, total=3)"), "did you mean 'linear'"),
    ],
)
def test_what_is_wrong_is_told(wrong, says) -> None:
    with pytest.raises((ValueError, TypeError), match=says):
        wrong()


def test_a_schedule_that_rises_is_for_merging_alone() -> None:
    pytest.importorskip("torch")
    from laju.averaging.torch import multi_avg_fn

    rising = Cooldown(linear(1, 2, total=4))
    assert (rising.weights(range(96, 101)) < 0).any()
    with pytest.raises(ValueError, match="shares must be 0 or more"):
        multi_avg_fn(rising, range(96, 101))
