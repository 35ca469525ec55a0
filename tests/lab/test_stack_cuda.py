"""What only a GPU can show: a captured update is the update, nothing is waited for, and the figures are those of the CPU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from laju import constant
from laju.lab import Optimizer, Task, Trial
from laju.lab.engines import torch as reference
from laju.lab.engines.stack import Stack, _computing, _Resident, train, train_stack
from laju.lab.trials.numerics import Numerics
from tests.lab.test_stack import HEAVY, OPTIMIZERS, Colours, DoubleDigits, assert_close, figures, trial
from tests.lab.tiny import Sides, Slope

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(),
    reason=f"torch {torch.__version__} finds no GPU; the same code runs on the CPU in test_stack.py",
)
GPU = Numerics("cuda")
SHORT = pytest.param(
    Numerics("cuda", "bf16"),
    marks=pytest.mark.skipif(
        torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 0), reason="the GPU has no bfloat16"
    ),
)


def several(n: int = 3, numerics: Numerics = GPU, **changes: Any) -> list[Trial]:
    return [trial(0.05 + 0.05 * seed, seed, numerics=numerics, **changes) for seed in range(n)]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("stack", [1, 3])
def test_a_gpu_trains_what_the_cpus_engine_trains(optimizer: Optimizer, stack: int) -> None:
    scale = 0.01 if optimizer.kind != "sgd" else 1 - optimizer.momentum
    trials = [
        trial(rate * scale, seed, task=DoubleDigits(), optimizer=optimizer, numerics=GPU)
        for rate, seed in [(0.2, 0), (0.1, 1), (0.3, 0)]
    ]
    for each, found in zip(trials, train_stack(trials, stack=stack), strict=True):
        assert_close(found, reference.train(replace(each, numerics=Numerics())), rel=1e-8)


@pytest.mark.parametrize("stack", [1, 3])
def test_running_means_of_normalisation_are_each_trials_own(stack: int) -> None:
    trials = [Trial(Colours(), constant(0.1), seed, 3, 16, numerics=GPU) for seed in range(3)]
    for each, found in zip(trials, train_stack(trials, stack=stack), strict=True):
        assert_close(found, reference.train(replace(each, numerics=Numerics())), rel=1e-6)


@pytest.mark.parametrize("task", [Sides(), DoubleDigits(), Colours()], ids=lambda task: task.name)
@pytest.mark.parametrize("width", [1, 3])
def test_a_replayed_update_is_the_update_itself(task: Task, width: int) -> None:
    trials = [Trial(task, constant(0.05), seed, 2, 24, HEAVY, numerics=GPU) for seed in range(width)]
    found = []
    with _computing(GPU) as device:
        for captured in (True, False):
            stack = Stack(trials, _Resident(trials[0], device))
            for epoch in range(2):
                stack.prepare(epoch)
                if captured:
                    stack.train_epoch()
                else:
                    whole, rest = divmod(stack.samples, stack.batch)
                    with torch.no_grad():
                        for size in [stack.batch] * whole + [rest] * bool(rest):
                            stack._update(size)
            found.append([stack.parameters.cpu(), stack.losses.cpu(), stack.right.cpu(), stack.used.cpu()])
    for replayed, called in zip(*found, strict=True):
        torch.testing.assert_close(replayed, called, rtol=1e-5, atol=1e-6)


def test_the_host_waits_for_nothing_within_an_epoch() -> None:
    trials = several()
    with _computing(GPU) as device:
        stack = Stack(trials, _Resident(trials[0], device))
        stack.prepare(0)
        stack.train_epoch()  # captures
        stack.prepare(1)
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            stack.train_epoch()
            stack.evaluate()
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_dropout_is_drawn_anew_in_every_replay() -> None:
    # With a rate of 0 only what is left out makes the losses of the same examples differ from epoch to epoch.
    each = Trial(Sides(), constant(0.0), 3, 4, batch_size=400, numerics=GPU)
    losses = [record.train_loss for record in train(each).records]
    assert len(set(losses)) == 4


@pytest.mark.parametrize("numerics", [GPU, SHORT, Numerics("cuda", channels_last=True)], ids=str)
def test_the_same_stack_gives_the_same_twice(numerics: Numerics) -> None:
    first, second = (train_stack(several(numerics=numerics)) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert_close(a, b, rel=1e-4)


def test_a_trial_that_diverges_does_not_disturb_the_others() -> None:
    calm = several(3)
    wild = [calm[0], replace(calm[1], schedule=constant(1e30)), calm[2]]
    first, finished, second = train_stack(calm)
    same, diverged, also = train_stack(wild)
    assert (finished.status != "diverged", diverged.status) == (True, "diverged")
    assert_close(first, same, rel=1e-4)
    assert_close(second, also, rel=1e-4)


@pytest.mark.parametrize("numerics", [SHORT, Numerics("cuda", channels_last=True)], ids=str)
def test_options_change_rounding_and_no_more(numerics: Numerics) -> None:
    usual, other = train_stack(several()), train_stack(several(numerics=numerics))
    for a, b in zip(usual, other, strict=True):
        assert a.records[0].train_loss == pytest.approx(b.records[0].train_loss, abs=0.1)
        assert [r.rate for r in a.records] == [r.rate for r in b.records]


def test_the_callers_settings_and_random_numbers_stay_as_they_are() -> None:
    torch.cuda.manual_seed(7)
    before = torch.cuda.get_rng_state()
    settings = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    precision = torch.get_float32_matmul_precision()
    train_stack([Trial(Sides(), constant(0.1), seed, 2, 16, numerics=GPU) for seed in range(2)])
    assert torch.equal(torch.cuda.get_rng_state(), before)
    assert settings == (
        torch.backends.cudnn.allow_tf32,
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
    )
    assert torch.get_float32_matmul_precision() == precision


class Large(Sides):
    """Every trial of a stack needs a gibibyte in each update."""

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return super().loss(outputs, targets) + outputs.detach().new_zeros(2**28).sum()


def test_a_stack_that_does_not_fit_is_halved_with_a_word() -> None:
    free, total = torch.cuda.mem_get_info()
    if free < 6 * 2**30:
        pytest.skip("less than 6 GiB of the GPU are free")
    trials = [Trial(Large(), constant(0.1), seed, 1, 100, numerics=GPU) for seed in range(8)]
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 5 * 2**30) / total)
    try:
        with pytest.warns(UserWarning, match="8 trials at once need more memory than .*; trying 4 at once"):
            found = train_stack(trials, stack=8)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    assert [outcome.status for outcome in found] == ["finished"] * 8


def test_a_model_that_looks_at_its_values_is_an_error_that_says_so() -> None:
    with pytest.raises(ValueError, match="task 'slope' waits for the GPU"):
        train(Trial(Slope(), constant(0.1), 0, 1, 8, numerics=GPU))
    assert train(trial(numerics=GPU)).records  # and what follows works


def test_rates_are_the_schedules_exactly() -> None:
    for each, found in zip(several(), train_stack(several()), strict=True):
        rates = each.schedule.resolve(each.plan).values(each.plan.updates)
        assert [record.rate for record in found.records] == [rates[record.update - 1] for record in found.records]
        assert figures(found)[0][1] is None
        assert np.isfinite([record.train_loss for record in found.records]).all()
