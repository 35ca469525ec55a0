"""Conformance suite for adapters of training frameworks, laju's own and third parties'.

Write an `Adapter` for the framework and subclass `Conformance` in a test module; pytest runs the tests:

    class TestMine(laju.testing.Conformance):
        adapter = MyAdapter()

An adapter declares the features of its framework: `at` and `move` for positions, `micro` and `skip` for micro-batches and skipped
updates, `policies` and `factors`. Tests of undeclared features are skipped. The suite compares the learning rates of real
updates: an adapter trains a parameter per group with gradient 1 and plain gradient descent, so the change of the weight is the
learning rate.
"""

from __future__ import annotations

import abc
import json
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import numpy as np

from laju import policies
from laju.core.extras import needed_by
from laju.core.pieces import Constant, Ramp
from laju.core.schedule import Schedule
from laju.policies import constant, cosine, factor, linear, multi_factor, poly, polynomial_decay, square_root

with needed_by("laju.testing"):
    import pytest

SCHEDULES: dict[str, Schedule] = {
    "constant": constant(0.3),
    "linear": linear(0.1, 1, total=6),
    "cosine": cosine(1, total=8),
    "cosine with warmup": cosine(0.5, total=11, warmup=3, final=0.05),
    "factor": factor(1, 0.1, every=3, floor=1e-5),
    "multi-factor": multi_factor(1, [3, 5], 0.1),
    "square root": square_root(0.5),
    "polynomial decay": polynomial_decay(0.5, alpha=0.7, beta=0.1),
    "poly": poly(1, total=9, power=2, final=0.01),
    "restarts": Ramp(1, 0.1, 3, "cosine").repeat(growth=2),
    "product": cosine(1, total=10) * multi_factor(1, [4], 0.1),
    "chain": Constant(0.1, 3) >> cosine(1, total=7),
    "warmup then": policies.warmup(square_root(0.5), 4, first=True),
}


class Run(Protocol):
    """A training run that reports the learning rates that its updates used."""

    def train(self, updates: int) -> list[list[float]]:
        """Make `updates` updates, and return the used learning rates: a list for each update, with a number for each group."""

    def save(self) -> Any:
        """Return a checkpoint of everything that a user would save: weights, optimizer and scheduler."""


class Adapter(abc.ABC):
    """Interface through which the suite starts and resumes runs in a framework."""

    tolerance: ClassVar[float] = 0.0
    """Relative rounding error of the framework's float type; 0 for float64."""
    load_orders: ClassVar[Sequence[str]] = ("build, load",)
    """Orders in which objects can be constructed and checkpoints loaded, as values of the argument `order` of `resume`."""
    policies: ClassVar[bool] = False
    """Whether `resume` supports policy="strict" | "new" | "saved" for a checkpoint of a different schedule."""
    factors: ClassVar[bool] = False
    """Whether `start` supports several `bases`, which the schedule multiplies."""

    @abc.abstractmethod
    def start(self, schedule: Schedule, *, bases: Sequence[float] | None = None) -> Run:
        """Start a run at update 0; with `bases`, the run has a parameter group for each base, which the schedule multiplies."""

    @abc.abstractmethod
    def resume(self, saved: Any, schedule: Schedule, *, order: str, policy: str = "strict") -> Run:
        """Start a run with new objects that continues from a checkpoint returned by `Run.save`."""

    def at(self, schedule: Schedule, position: int) -> Run:
        """Start a run with new objects at a position, without saved state."""
        pytest.skip("this adapter has no way to set a position")

    def move(self, run: Run, position: int) -> None:
        """Move a run that has begun to a position, later or earlier."""
        pytest.skip("this adapter has no way to set a position")

    def micro(self, run: Run, n: int) -> None:
        """Process `n` micro-batches of an accumulated gradient without an update, calling the scheduler as a loop does."""
        pytest.skip("this adapter makes no micro-batches")

    def skip(self, run: Run) -> None:
        """Attempt an update that is skipped, as a loss scaler skips an update with infinite gradients."""
        pytest.skip("this adapter cannot skip an update")


class Conformance:
    """Tests that an adapter keeps the promises of a schedule's semantics."""

    adapter: ClassVar[Adapter]

    def close(self, got: Any, expected: Any) -> None:
        np.testing.assert_allclose(
            got, expected, rtol=max(self.adapter.tolerance, 1e-15), atol=self.adapter.tolerance * 1e-2
        )

    def same(self, got: Any, expected: Any) -> None:
        assert np.array_equal(got, expected), f"{got} is not {expected}"

    # --- sequences ---------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("name", SCHEDULES)
    def test_update_t_uses_the_value_of_t(self, name: str) -> None:
        used = self.adapter.start(SCHEDULES[name]).train(15)
        self.close([value for (value,) in used], SCHEDULES[name].values(15))

    def test_k01_the_clock_counts_updates(self) -> None:
        self.close(self.adapter.start(linear(1, 0, total=8)).train(8), [[1 - t / 8] for t in range(8)])

    @pytest.mark.parametrize("name", ["cosine with warmup", "polynomial decay"])
    def test_no_sequence_ends(self, name: str) -> None:
        schedule = {"cosine with warmup": cosine(0.5, total=6000, warmup=100, final=0.05)}.get(name, SCHEDULES[name])
        used = self.adapter.start(schedule).train(5000)
        self.close([value for (value,) in used], schedule.values(5000))

    def test_micro_batches_do_not_count(self) -> None:
        schedule = linear(1, 0, total=8)
        run = self.adapter.start(schedule)
        for t in range(8):
            self.adapter.micro(run, 1 + 7 * t)
            self.close(run.train(1), [[schedule(t)]])

    def test_updates_that_were_left_out_do_not_count(self) -> None:
        schedule = linear(0.1, 1, total=6)
        run = self.adapter.start(schedule)
        for t in range(8):
            for _ in range(1 + t % 3):
                self.adapter.skip(run)
            self.close(run.train(1), [[schedule(t)]])

    # --- resuming ----------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("name", SCHEDULES)
    @pytest.mark.parametrize("k", [0, 1, 3, 4, 8, 12])
    def test_a_resumed_run_equals_an_uninterrupted_one(self, name: str, k: int) -> None:
        whole = self.adapter.start(SCHEDULES[name]).train(k + 5)
        first = self.adapter.start(SCHEDULES[name])
        first.train(k)
        saved = first.save()
        for order in self.adapter.load_orders:
            rest = self.adapter.resume(saved, SCHEDULES[name], order=order).train(5)
            self.same(rest, whole[k:])

    def test_r01_and_r02_resumed_sequences(self) -> None:
        for schedule, expected in (
            (linear(0.1, 1, total=6), [0.85, 1, 1, 1, 1]),
            (
                linear(0.1, 1, total=3) >> cosine(1, total=8),
                [0.8535533905932737, 0.6913417161825449, 0.5, 0.30865828381745514, 0.14644660940672627],
            ),
        ):
            run = self.adapter.start(schedule)
            run.train(5)
            saved = run.save()
            for order in self.adapter.load_orders:
                used = self.adapter.resume(saved, schedule, order=order).train(5)
                np.testing.assert_allclose([v for (v,) in used], expected, rtol=max(self.adapter.tolerance * 4, 1e-14))

    def test_r03_a_run_rebuilt_at_a_position_without_a_checkpoint(self) -> None:
        schedule = Constant(0.1, 3) >> cosine(1, total=7)
        expected = [
            0.8117449009293668,
            0.6112604669781572,
            0.38873953302184283,
            0.18825509907063326,
            0.04951556604879048,
            0.0,
        ]
        used = self.adapter.at(schedule, 5).train(6)
        np.testing.assert_allclose(
            [v for (v,) in used], expected, rtol=max(self.adapter.tolerance * 4, 1e-14), atol=1e-8
        )

    @pytest.mark.parametrize("name", ["cosine with warmup", "multi-factor", "restarts"])
    def test_a_position_may_lie_before_or_after(self, name: str) -> None:
        run, values = self.adapter.start(SCHEDULES[name]), SCHEDULES[name].values(5010)
        for position in (3, 3, 0, 12, 5000, 1):
            self.adapter.move(run, position)
            self.close([value for (value,) in run.train(4)], values[position : position + 4])

    def test_saving_changes_nothing(self) -> None:
        schedule = SCHEDULES["cosine with warmup"]
        whole, run, used = self.adapter.start(schedule).train(10), self.adapter.start(schedule), []
        for _ in range(5):
            run.save()
            run.save()
            used += run.train(2)
        self.same(used, whole)

    def test_r04_and_r05_another_schedule_follows_the_policy(self) -> None:
        if not self.adapter.policies:
            pytest.skip("this adapter keeps no schedule in its checkpoints")
        old, new = factor(1, 0.1, every=3), factor(1, 0.1, every=6)
        run = self.adapter.start(old)
        run.train(2)
        saved = run.save()
        for order in self.adapter.load_orders:
            follows = self.adapter.resume(saved, new, order=order, policy="new").train(6)
            self.close([v for (v,) in follows], [1, 1, 1, 1, 0.1, 0.1])
            follows = self.adapter.resume(saved, new, order=order, policy="saved").train(6)
            self.close([v for (v,) in follows], [1, 0.1, 0.1, 0.1, 0.01, 0.01])
            with pytest.raises(ValueError, match=r"(?s)3.*6"):
                self.adapter.resume(saved, new, order=order, policy="strict")

    # --- groups ------------------------------------------------------------------------------------------------

    def test_g01_every_group_keeps_its_ratio(self) -> None:
        if not self.adapter.factors:
            pytest.skip("this adapter has no parameter groups with bases")
        schedule = cosine(1, total=4, final=0.01)
        used = self.adapter.start(schedule, bases=[1.0, 1e-3]).train(5)
        self.close(used, [[schedule(t), schedule(t) * 1e-3] for t in range(5)])
        np.testing.assert_allclose(
            used[1], [0.855017856687341, 0.000855017856687341], rtol=max(1e-14, self.adapter.tolerance * 4)
        )


def plain(state: Any) -> Any:
    """Return a state after a round trip through JSON, which fails unless the state has plain values only."""
    return json.loads(json.dumps(state, allow_nan=False))
