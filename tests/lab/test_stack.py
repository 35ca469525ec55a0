"""Trials of a stack are the trials of the CPU's engine: the same examples, rates, updates, records and endings."""

from __future__ import annotations

import resource
import subprocess
import sys
import warnings
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from laju import constant, cosine, linear
from laju.adaptive import Plateau
from laju.lab import Digits, HeldOut, Optimizer, Outcome, Record, Task, Trial
from laju.lab.engines import torch as reference
from laju.lab.engines.stack import Stack, _Resident, alike, train, train_stack
from laju.lab.engines.stack_optimizer import StackOptimizer
from laju.lab.trials.models.residual import residual
from laju.lab.trials.numerics import Numerics
from laju.lab.trials.tasks import Data
from laju.lab.trials.tasks.base import permutation as order
from tests.lab.tiny import Explosion, Sides, Slope, numbered

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
SGD, ADAM = Optimizer(), Optimizer(kind="adam")
HEAVY = Optimizer(momentum=0.9, weight_decay=1e-3)
OPTIMIZERS = [SGD, HEAVY, ADAM, Optimizer(kind="radam", weight_decay=1e-3)]


class Double(torch.nn.Module):
    """A model in float64, where rounding does not grow to anything within a short training."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.inner = model.double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x.double())


class FewDigits(Digits):
    """So few of the digits that an epoch is a matter of milliseconds."""

    name = "few digits"

    def load(self) -> Data:
        data = super().load()
        return Data(
            data.train_inputs[:200], data.train_labels[:200], data.test_inputs[:100], data.test_labels[:100], 10
        )


class DoubleDigits(FewDigits):
    name = "few digits in float64"

    def model(self, seed: int) -> torch.nn.Module:
        return Double(super().model(seed))


def trial(rate: float = 0.2, seed: int = 0, **changes: Any) -> Trial:
    return replace(Trial(FewDigits(), cosine(rate, total=2).per("epoch"), seed, epochs=2, batch_size=24), **changes)


def figures(outcome: Outcome) -> list[tuple[Any, ...]]:
    """Everything of an outcome but the time that it took."""
    return [(outcome.status, outcome.diverged_at), *(tuple(vars(record).values()) for record in outcome.records)]


def assert_close(found: Outcome, wanted: Outcome, rel: float) -> None:
    assert (found.status, found.diverged_at) == (wanted.status, wanted.diverged_at)
    assert len(found.records) == len(wanted.records)
    for a, b in zip(found.records, wanted.records, strict=True):
        assert (a.update, a.epoch, a.rate) == (b.update, b.epoch, b.rate)  # exactly
        assert a.train_loss == pytest.approx(b.train_loss, rel=rel)
        assert a.train_accuracy == b.train_accuracy
        assert a.test_accuracy == b.test_accuracy
        assert a.test_loss == (None if b.test_loss is None else pytest.approx(b.test_loss, rel=rel))


# --- the same training -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("stack", [1, 5])
def test_a_stack_trains_what_the_cpus_engine_trains(optimizer: Optimizer, stack: int) -> None:
    scale = 0.01 if optimizer.kind != "sgd" else 1 - optimizer.momentum
    trials = [
        trial(rate * scale, seed, task=DoubleDigits(), optimizer=optimizer)
        for rate, seed in [(0.2, 0), (0.1, 1), (0.3, 0), (0.05, 2), (0.15, 1)]
    ]
    for each, found in zip(trials, train_stack(trials, stack=stack), strict=True):
        assert_close(found, reference.train(each), rel=1e-10)


@pytest.mark.parametrize("optimizer", [SGD, HEAVY, ADAM], ids=str)
def test_in_float32_the_first_50_updates_agree_to_rounding(optimizer: Optimizer) -> None:
    rate = 0.001 if optimizer.kind == "adam" else 0.05 * (1 - optimizer.momentum)
    trials = [trial(schedule=linear(rate, 0, total=60), seed=seed, epochs=6, optimizer=optimizer) for seed in range(5)]
    stack = Stack(trials, _Resident(trials[0], CPU))
    alone = [reference.Training(each) for each in trials]
    losses = []
    for epoch in range(6):
        stack.prepare(epoch)
        stack.train_epoch()
        losses.append(stack.losses.clone())
        for each, training in zip(trials, alone, strict=True):
            for batch in np.split(order(each.seed, epoch, 200), range(24, 200, 24)):
                training.update(batch)
    found = torch.cat(losses, dim=1)[:, :50].numpy()
    for i, training in enumerate(alone):
        np.testing.assert_allclose(found[i], training.read()[0][:50], rtol=1e-3)
        before = torch.cat([p.detach().flatten() for p in FewDigits().model(i).parameters()])
        after = torch.cat([p.detach().flatten() for p in training.model.parameters()])
        # What rounding changes is little beside what training does.
        assert (stack.parameters[i] - after).norm() < 0.02 * (after - before).norm()


def test_a_full_training_ends_with_the_same_statuses() -> None:
    rates = [0.0, 0.2, 0.3, 1000.0, 0.1]
    trials = [Trial(Digits(), constant(rate), seed, 4, batch_size=64) for seed, rate in enumerate(rates)]
    found = train_stack(trials)
    wanted = [reference.train(each) for each in trials]
    assert [o.status for o in found] == [o.status for o in wanted]
    assert [o.status for o in found] == ["collapsed", "finished", "finished", "diverged", "finished"]
    for a, b in zip(found, wanted, strict=True):
        assert a.diverged_at == b.diverged_at
        assert [r.update for r in a.records] == [r.update for r in b.records]
        if a.status == "finished":
            assert a.records[-1].test_accuracy == pytest.approx(b.records[-1].test_accuracy, abs=0.05)


def test_one_trial_alone_draws_the_same_dropout_as_the_cpus_engine() -> None:
    alone = Trial(Sides(), constant(0.3), 3, epochs=3, batch_size=7, optimizer=HEAVY)
    assert_close(train(alone), reference.train(alone), rel=1e-5)


def test_dropout_leaves_out_other_units_in_every_trial_of_a_stack() -> None:
    same = [Trial(Sides(), constant(0.3), 3, epochs=1, batch_size=100)] * 2
    first, second = train_stack(same)
    assert first.records[0].train_loss != second.records[0].train_loss


@dataclass(frozen=True)
class Colours(Task):
    """Small colour images, for a network with normalisation."""

    name: str = "colours"
    widths: tuple[int, ...] = (4, 8)

    def load(self) -> Data:
        random = np.random.default_rng(0)
        labels = np.arange(90, dtype=np.int64) % 3
        images = random.normal(size=(90, 3, 8, 8)).astype(np.float32)
        images[np.arange(90), labels] += 0.5
        return Data(images[:70], labels[:70], images[70:], labels[70:], classes=3)

    def model(self, seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        return Double(residual(3, self.widths))


@pytest.mark.parametrize("stack", [1, 3])
def test_running_means_of_normalisation_are_each_trials_own(stack: int) -> None:
    trials = [Trial(Colours(), constant(rate), seed, 3, 16) for rate, seed in [(0.1, 0), (0.2, 1), (0.05, 1)]]
    for each, found in zip(trials, train_stack(trials, stack=stack), strict=True):
        assert_close(found, reference.train(each), rel=1e-8)


class Tied(Sides):
    """Two layers with one weight, one weight that is not trained, and no dropout."""

    def model(self, seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        first, second, last = (torch.nn.Linear(2, 2) for _ in range(3))
        second.weight = first.weight
        last.bias.requires_grad_(False)
        return Double(torch.nn.Sequential(first, torch.nn.Tanh(), second, torch.nn.Tanh(), last))


def test_shared_and_fixed_parameters_stay_so() -> None:
    trials = [Trial(Tied(), constant(0.3), seed, 2, 16, HEAVY) for seed in range(2)]
    for each, found in zip(trials, train_stack(trials), strict=True):
        assert_close(found, reference.train(each), rel=1e-10)


# --- what an update sees and uses --------------------------------------------------------------------------------------


class Smooth(Slope):
    """`Slope` with a model and a loss that only compute, so that it can be stacked; batch i is known by its inputs' mean."""

    def model(self, seed: int) -> torch.nn.Module:
        return Line(float(seed))

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return outputs.mean()


class Line(torch.nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(value, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(0, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight.expand(len(x), 2)


@pytest.mark.parametrize("schedule", [linear(0.5, 0.01, total=20), cosine(0.3, total=2, warmup=1).per("epoch")])
def test_the_rate_of_update_t_is_the_schedules_value_at_t_and_is_the_one_recorded(schedule: Any) -> None:
    trials = [Trial(Smooth(), schedule, 0, 3, 8), Trial(Smooth(), constant(0.25), 1, 3, 8)]
    stack = Stack(trials, _Resident(trials[0], CPU))
    used, weights = [], []
    for epoch in range(3):
        stack.prepare(epoch)
        stack.train_epoch()
        used.append(stack.used.clone())
        weights.append(stack.losses.clone())  # the loss is the weight before the update
    for i, each in enumerate(trials):
        rates = each.schedule.resolve(each.plan).values(39)
        assert torch.cat(used, 1)[i].tolist() == rates.tolist()
        weight, expected = float(each.seed), []
        for rate in rates.tolist():
            expected.append(weight)
            weight -= rate
        assert torch.cat(weights, 1)[i].tolist() == expected
    for each, found in zip(trials, train_stack(trials), strict=True):
        rates = each.schedule.resolve(each.plan).values(39)
        assert [(r.update, r.rate) for r in found.records] == [(u, rates[u - 1]) for u in (13, 26, 39)]


class Weighed(Smooth):
    """The loss is the weight times the sum of the inputs, each of which is the number of its example."""

    def load(self) -> Data:
        return numbered(self.n)

    def model(self, seed: int) -> torch.nn.Module:
        return Product(0.0)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return outputs[:, 0].sum()


class Product(torch.nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(value, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x.double().expand(len(x), 2)


@pytest.mark.parametrize(("n", "size"), [(10, 4), (12, 4), (3, 8)])
def test_every_trial_sees_the_examples_of_its_own_seed_the_last_partial_batch_too(n: int, size: int) -> None:
    trials = [Trial(Weighed(n), constant(1.0), seed, 2, size) for seed in (5, 6, 5)]
    stack = Stack(trials, _Resident(trials[0], CPU))
    weights = torch.zeros(3, dtype=torch.float64)
    for epoch in range(2):
        stack.prepare(epoch)
        stack.train_epoch()
        batches = [np.split(order(t.seed, epoch, n), range(size, n, size)) for t in trials]
        for t in range(trials[0].plan.updates_per_epoch):
            sums = torch.tensor([float(b[t].sum()) for b in batches], dtype=torch.float64)
            assert torch.equal(stack.losses[:, t], weights * sums)
            weights = weights - sums  # the gradient of an update is the sum of its examples' numbers
    assert torch.equal(stack.parameters[:, 0], weights)


def test_other_seeds_are_other_trainings() -> None:
    first, second, again = train_stack([trial(seed=0), trial(seed=1), trial(seed=0)])
    assert figures(first) != figures(second)
    assert figures(first) == figures(again)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("task", [Digits(), Sides(), Colours()], ids=lambda task: task.name)
@pytest.mark.parametrize("width", [1, 3])
def test_an_epoch_waits_for_no_value_and_uses_nothing_beside_its_device(
    task: Task, optimizer: Optimizer, width: int
) -> None:
    # Tensors on torch's meta device have no values, so that reading one, or mixing them with the CPU's, is an error.
    meta = torch.device("meta")
    trials = [Trial(task, constant(0.1), seed, 1, 64, optimizer) for seed in range(width)]
    stack = Stack(trials, _Resident(trials[0], meta))
    stack.prepare(0)
    stack.train_epoch()
    assert {t.device for t in (stack.parameters, stack.losses, stack.used, *stack.evaluate())} == {meta}
    slope = [Trial(Slope(), constant(0.1), 0, 1, 64, optimizer)] * width  # its model does read values
    reading = Stack(slope, _Resident(slope[0], meta))
    reading.prepare(0)
    with pytest.raises((NotImplementedError, ValueError), match="Cannot copy out of meta tensor"):
        reading.train_epoch()


# --- repeatable, and undisturbed -----------------------------------------------------------------------------------------


def test_the_same_stack_gives_the_same_bit_by_bit_whatever_the_caller_does() -> None:
    trials = [trial(0.1, seed) for seed in range(3)]
    sides = [Trial(Sides(), constant(0.3), seed, 2, 16) for seed in range(3)]
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    try:
        found = []
        for i in (1, 2):
            torch.set_num_threads(i)
            torch.manual_seed(i)
            before = torch.random.get_rng_state()
            found.append([figures(o) for o in train_stack(trials) + train_stack(sides)])
            assert torch.get_num_threads() == i
            assert torch.equal(torch.random.get_rng_state(), before)
    finally:
        torch.set_num_threads(threads)
        torch.random.set_rng_state(state)
    assert found[0] == found[1]


@pytest.mark.parametrize("optimizer", [SGD, HEAVY, ADAM], ids=str)
def test_a_trial_that_diverges_does_not_disturb_the_others(optimizer: Optimizer) -> None:
    scale = 0.01 if optimizer.kind == "adam" else 1 - optimizer.momentum
    calm = [trial(0.2 * scale, seed, optimizer=optimizer) for seed in (0, 1)]
    wild = trial(schedule=constant(1e30), seed=2, optimizer=optimizer)
    tame = trial(0.1 * scale, seed=2, optimizer=optimizer)
    first, diverged, second = train_stack([calm[0], wild, calm[1]])
    same, finished, also = train_stack([calm[0], tame, calm[1]])
    assert diverged.status == "diverged"
    assert finished.status != "diverged"
    assert figures(first) == figures(same)
    assert figures(second) == figures(also)


class Burst(Explosion):
    """`Explosion` with a model that can be stacked."""

    def model(self, seed: int) -> torch.nn.Module:
        return Line(1.0).float()


def test_a_trial_that_diverges_is_not_updated_any_more() -> None:
    trials = [Trial(Burst(20), constant(rate), 0, 2, batch_size=1) for rate in (50.5, 0.25)]
    stack = Stack(trials, _Resident(trials[0], CPU))
    for epoch in range(2):
        stack.prepare(epoch)
        stack.train_epoch()
        assert stack.alive.tolist() == [False, True]
        # Ten updates have multiplied the weight by -100 each; the loss at 10²⁰ is infinite, and nothing follows.
        assert float(stack.parameters[0]) == pytest.approx(1e20, rel=1e-5)
        assert float(stack.parameters[1]) == pytest.approx(0.5 ** (20 * (epoch + 1)), rel=1e-5)


@pytest.mark.parametrize(
    ("n", "calm", "recorded"),
    [
        (100, 0, []),  # in the first minibatches
        (7, 0, [7]),  # in the second epoch
        (120, 63, [50]),  # between two records
        (100, 40, [50]),  # in the first minibatch after a record
    ],
)
def test_a_diverged_trial_says_in_which_update_the_loss_was_first_not_finite(
    n: int, calm: int, recorded: list[int]
) -> None:
    schedule = linear(0, 0, total=calm) >> constant(50.5) if calm else constant(50.5)
    trials = [Trial(Burst(n), each, 0, epochs=30, batch_size=1) for each in (schedule, constant(0.0))]
    found, other = train_stack(trials)
    assert (found.status, found.diverged_at) == ("diverged", calm + 10)
    assert [r.update for r in found.records] == recorded
    assert figures(found) == figures(reference.train(trials[0]))
    assert other.diverged_at is None
    assert other.records[-1].update == 30 * n


def test_records_are_told_as_an_epoch_ends_with_the_place_of_their_trial() -> None:
    trials = [Trial(Sides(), constant(0.1), seed, 2, 3) for seed in range(3)]
    told: list[tuple[int, Record]] = []
    ended: list[tuple[int, Outcome]] = []
    outcomes = train_stack(
        trials, lambda i, r: told.append((i, r)), stack=2, finished=lambda i, o: ended.append((i, o))
    )
    assert [r.update for r in outcomes[0].records] == [50, 100, 134, 184, 234, 268]
    assert [r.test_accuracy is None for r in outcomes[0].records] == [True, True, False] * 2
    for i, outcome in enumerate(outcomes):
        assert [r for j, r in told if i == j] == list(outcome.records)
    assert ended == list(enumerate(outcomes))
    alone = list(map(train, trials))
    assert all(0 < o.seconds < 20 for o in outcomes + alone)


# --- memory --------------------------------------------------------------------------------------------------------------

_GIGABYTE = 2**30


class Greedy(Tied):
    """Every trial of a stack takes a gigabyte of address space in each update, and touches none of it."""

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            outputs.detach().new_empty(_GIGABYTE // outputs.element_size())
        return super().loss(outputs, targets)


class Late(Greedy):
    """Becomes greedy after four updates."""

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "updates", [])  # tasks are frozen

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            self.updates.append(len(self.updates))
        return Tied.loss(self, outputs, targets) if len(self.updates) <= 4 else super().loss(outputs, targets)


def limited(gigabytes: float, trials: list[Trial], report: Any = None) -> list[Outcome]:
    """What becomes of trials where so much more memory is to be had."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + int(gigabytes * _GIGABYTE), hard))
    try:
        return train_stack(trials, report)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.skipif(sys.platform != "linux", reason="the address space is limited as Linux does it")
def test_a_stack_that_does_not_fit_is_halved_with_a_word() -> None:
    trials = [Trial(Greedy(), constant(0.3), seed, 1, 100) for seed in range(5)]
    with pytest.warns(UserWarning, match="trying") as said:
        found = limited(2.7, trials)
    assert [str(w.message).split(" has")[0] for w in said] == ["5 trials at once need more memory than this machine"]
    wanted = [reference.train(replace(each, task=Tied())) for each in trials]
    for a, b in zip(found, wanted, strict=True):
        assert_close(a, b, rel=1e-10)


@pytest.mark.skipif(sys.platform != "linux", reason="the address space is limited as Linux does it")
def test_an_epoch_that_is_trained_again_in_a_smaller_stack_is_not_told_again() -> None:
    task = Late()
    trials = [Trial(task, constant(0.3), seed, 2, 100) for seed in range(2)]
    told: list[tuple[int, int]] = []
    with pytest.warns(UserWarning, match="trying 1 at once"):
        limited(1.7, trials, lambda i, record: told.append((i, record.update)))
    assert told == [(0, 4), (1, 4), (0, 8), (1, 8)]


@pytest.mark.skipif(sys.platform != "linux", reason="the address space is limited as Linux does it")
def test_where_not_even_one_trial_fits_the_error_says_so() -> None:
    trials = [Trial(Greedy(), constant(0.3), seed, 1, 100) for seed in range(2)]
    with pytest.warns(UserWarning, match="trying 1 at once"), pytest.raises(MemoryError, match="smaller batch size"):
        limited(0.7, trials)


# --- numerics ------------------------------------------------------------------------------------------------------------


def test_bf16_trains_in_bfloat16_and_is_another_trial() -> None:
    usual = [trial(0.1, seed) for seed in range(2)]
    short = [replace(each, numerics=Numerics(precision="bf16")) for each in usual]
    assert not {t.fingerprint for t in usual} & {t.fingerprint for t in short}
    for found, wanted in zip(train_stack(short), train_stack(usual), strict=True):
        difference = abs(found.records[0].train_loss - wanted.records[0].train_loss)
        assert 1e-5 < difference < 0.1  # 8 bits, not 24, and yet the same training
    kinds: list[torch.dtype] = []

    class Watched(FewDigits):
        def model(self, seed: int) -> torch.nn.Module:
            model = super().model(seed)
            model.fc3.register_forward_hook(lambda *a: kinds.append(a[-1].dtype))
            return model

        def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            kinds.append(outputs.dtype)
            return super().loss(outputs, targets)

    one = replace(short[0], task=Watched(), epochs=1)
    stack = Stack([one, one], _Resident(one, CPU))
    stack.prepare(0)
    stack.train_epoch()
    assert set(kinds[::2]) == {torch.bfloat16}
    assert set(kinds[1::2]) == {stack.parameters.dtype} == {torch.float32}


def test_channels_last_changes_only_rounding_and_trains_one_by_one() -> None:
    trials = [trial(0.1, seed, task=DoubleDigits(), numerics=Numerics(channels_last=True)) for seed in range(2)]
    for each, found in zip(trials, train_stack(trials), strict=True):
        assert_close(found, reference.train(replace(each, numerics=Numerics())), rel=1e-10)
    seen: list[bool] = []

    class Watched(FewDigits):
        def model(self, seed: int) -> torch.nn.Module:
            model = super().model(seed)
            last = {"memory_format": torch.channels_last}
            model.conv2.register_forward_hook(
                lambda m, args, out: seen.append(args[0].is_contiguous(**last) and m.weight.is_contiguous(**last))
            )
            return model

    train(replace(trials[0], task=Watched(), epochs=1))
    assert seen
    assert all(seen)
    with pytest.raises(ValueError, match=r"stack must be 1 with channels_last.*got 2"):
        train_stack(trials, stack=2)


def test_a_default_trial_has_the_fingerprint_that_it_had_before_there_were_numerics() -> None:
    each = trial()
    assert "numerics" not in each._run()
    assert replace(each, numerics=Numerics()).fingerprint == each.fingerprint
    others = [Numerics("cuda"), Numerics(precision="bf16"), Numerics(channels_last=True), Numerics("cuda", "bf16")]
    assert len({replace(each, numerics=n).fingerprint for n in [Numerics(), *others]}) == 5
    assert each.shares_prefixes
    assert not any(replace(each, numerics=n).shares_prefixes for n in others)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_error_says_what_is_needed() -> None:
    with pytest.raises(RuntimeError, match=r"device 'cuda' needs a GPU, and torch .*device='cpu' trains without"):
        train(trial(numerics=Numerics("cuda")))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"device": "gpu"}, "device must be one of cpu, cuda, got 'gpu'"),
        ({"device": "cudaa"}, "did you mean 'cuda'"),
        ({"precision": "fp16"}, "precision must be one of float32, bf16, got 'fp16'"),
    ],
)
def test_unknown_numerics_are_an_error(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Numerics(**arguments)


def test_numerics_of_another_type_are_an_error() -> None:
    with pytest.raises(TypeError, match="channels_last must be True or False, got 'yes'"):
        Numerics(channels_last="yes")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="numerics must be a Numerics such as"):
        trial(numerics="cuda")


def test_numerics_are_of_torchs_own_loop_alone() -> None:
    with pytest.raises(ValueError, match="numerics cuda float32 needs framework='torch', got 'jax'"):
        trial(numerics=Numerics("cuda"), framework="jax")
    with pytest.raises(ValueError, match="numerics cpu bf16 needs rule=None"):
        trial(numerics=Numerics(precision="bf16"), rule=Plateau(factor=0.5, patience=2), task=HeldOut(FewDigits()))


# --- what cannot be stacked ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 32}, "the same batch_size, got 24 and 32"),
        ({"epochs": 3}, "the same epochs, got 2 and 3"),
        ({"optimizer": ADAM}, r"the same optimizer, got sgd\(\) and adam"),
        ({"numerics": Numerics(precision="bf16")}, "the same numerics, got cpu float32 and cpu bf16"),
        ({"task": HeldOut(FewDigits())}, "the same task"),
        ({"framework": "jax"}, "trained in torch .* by 'jax'"),
        (
            {"task": HeldOut(FewDigits()), "rule": Plateau(factor=0.5, patience=2)},
            "a trial with a rule must be trained by itself",
        ),
    ],
)
def test_trials_that_are_not_alike_are_an_error(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_stack([trial(), trial(**change)])
    assert alike(trial()) == alike(trial(0.1, 7, optimizer=HEAVY))


@pytest.mark.parametrize("stack", [0, -1, 1.5])
def test_a_stack_of_no_such_number_is_an_error(stack: float) -> None:
    with pytest.raises(ValueError, match="stack must be a whole number of at least 1"):
        train_stack([trial()], stack=stack)  # type: ignore[arg-type]
    assert train_stack([]) == []


def test_a_model_that_looks_at_its_values_can_be_trained_alone_only() -> None:
    each = Trial(Slope(), constant(0.1), 0, 1, 8)  # its model keeps numbers of its inputs in a list
    with pytest.raises(ValueError, match=r"task 'slope' failed in a stack of 2 .*stack=1 trains one trial at"):
        train_stack([each, each])
    for found in train_stack([each, each], stack=1):
        assert figures(found) == figures(reference.train(each))


class Growing(Sides):
    def model(self, seed: int) -> torch.nn.Module:
        return torch.nn.Linear(2, 2, bias=bool(seed))


class Mixed(Sides):
    def model(self, seed: int) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2).double())


class Empty(Sides):
    def model(self, seed: int) -> torch.nn.Module:
        return torch.nn.Identity()


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Growing(), "depends on the seed: its parameters have other shapes"),
        (Mixed(), "must have one type, got torch.float32, torch.float64"),
        (Empty(), "has no parameters to train"),
    ],
)
def test_models_that_fit_into_no_matrix_are_an_error(task: Task, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_stack([Trial(task, constant(0.1), seed, 1, 8) for seed in (0, 1)])


def test_ctrl_c_ends_a_stack_and_puts_the_callers_threads_back() -> None:
    program = (
        "import os, signal, torch; from laju import constant; from laju.lab.engines.stack import train_stack\n"
        "from tests.lab.test_stack import Trial, Sides\n"
        "torch.set_num_threads(2); told = []\n"
        "def tell(i, record):\n"
        "    told.append(record); os.kill(os.getpid(), signal.SIGINT)\n"
        "try:\n"
        "    train_stack([Trial(Sides(), constant(0.1), s, 100, 50) for s in (0, 1)], tell)\n"
        "except KeyboardInterrupt:\n"
        "    print(len(told), torch.get_num_threads(), torch.is_grad_enabled())\n"
    )
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["1", "2", "True"]


# --- the optimizers ----------------------------------------------------------------------------------------------------------


def test_the_rows_of_a_stack_are_optimized_as_torch_does_each_with_its_own_settings() -> None:
    torch_s = {"adam": torch.optim.Adam, "radam": torch.optim.RAdam}
    for kind in torch_s:
        chosen = [
            Optimizer(kind=kind, betas=betas, weight_decay=decay)
            for betas, decay in [((0.9, 0.999), 0.0), ((0.5, 0.8), 0.1), ((0.0, 0.99), 0.0)]
        ]
        random = np.random.default_rng(0)
        start = torch.from_numpy(random.normal(size=(3, 4)))
        gradients = torch.from_numpy(random.normal(size=(12, 3, 4)))
        found, stacked = start.clone(), StackOptimizer(chosen, start)
        alone = [torch.nn.Parameter(row.clone()) for row in start]
        theirs = [
            torch_s[kind]([p], lr=0.1, betas=o.betas, weight_decay=o.weight_decay)
            for p, o in zip(alone, chosen, strict=True)
        ]
        before = []
        for gradient in gradients:
            before.append(found)
            found = stacked.step(found, gradient, torch.full((3, 1), 0.1, dtype=torch.float64))
            for parameter, row, optimizer in zip(alone, gradient, theirs, strict=True):
                parameter.grad = row.clone()
                optimizer.step()
            torch.testing.assert_close(found, torch.stack(list(alone)).detach(), rtol=1e-12, atol=1e-14)
        assert all(not torch.equal(a, b) for a, b in pairwise(before))


def test_no_warning_comes_from_a_stack() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train_stack([trial(epochs=1), trial(epochs=1, seed=1)])
        train(trial(epochs=1, numerics=Numerics(precision="bf16", channels_last=True)))
