"""A checkpoint of one's own loop goes on with another schedule, bit by bit as if that had been the schedule all along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import laju
from laju import constant, cooldown
from laju.adaptive import StateError
from laju.frameworks.torch import Scheduler
from laju.lab import branch


class Loop:
    """A training loop as people write it, with momentum."""

    def __init__(self, schedule: laju.Schedule, policy: str = "strict") -> None:
        torch.manual_seed(0)
        self.model = torch.nn.Linear(3, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        self.scheduler = Scheduler(self.optimizer, lr=schedule, policy=policy)
        self.rates: list[float] = []

    def train(self, until: int) -> Loop:
        while self.scheduler.position < until:
            t = self.scheduler.position
            x = torch.from_numpy(np.random.default_rng(t).normal(size=(8, 3)).astype(np.float32))
            self.optimizer.zero_grad()
            (self.model(x) ** 2).mean().backward()
            self.rates.append(self.optimizer.param_groups[0]["lr"])
            self.optimizer.step()
            self.scheduler.step()
        return self

    def saved(self) -> dict[str, Any]:
        parts = {"model": self.model, "optimizer": self.optimizer, "scheduler": self.scheduler}
        return {name: part.state_dict() for name, part in parts.items()}

    def load(self, checkpoint: dict[str, Any]) -> Loop:
        for name in ("model", "optimizer", "scheduler"):
            getattr(self, name).load_state_dict(checkpoint[name])
        return self


@pytest.fixture(scope="module")
def stable() -> dict[str, Any]:
    return Loop(constant(0.1)).train(40).saved()


@pytest.mark.parametrize("length", [1, 10, 25])
@pytest.mark.parametrize("how", ["value", "change", "text", "function"])
def test_a_cooldown_from_a_checkpoint_is_the_run_with_that_schedule(stable: Any, length: int, how: str) -> None:
    change = cooldown(constant(0.1), at=40, length=length)
    whole = Loop(change.schedule).train(70)
    given = {
        "value": change.schedule,
        "change": change,
        "text": str(change.schedule),
        "function": lambda schedule, at: cooldown(schedule, at, length),
    }[how]
    for loop in (Loop(change.schedule), Loop(constant(0.1), policy="saved")):
        rest = loop.load(branch(stable, given)).train(70)
        assert torch.equal(rest.model.weight, whole.model.weight)
        assert rest.rates == whole.rates[40:]


def test_the_checkpoint_stays_as_it_is_and_a_file_does_too(stable: Any, tmp_path: Path) -> None:
    file = tmp_path / "step-40.pt"
    torch.save({"epoch": 3, "parts": [stable, "more"]}, file)
    before = file.read_bytes()
    branched = branch(file, lambda s, at: cooldown(s, at, 5))
    assert file.read_bytes() == before
    assert (branched["epoch"], branched["parts"][1]) == (3, "more")
    Loop(constant(0.1), policy="saved").load(branched["parts"][0])
    position = stable["scheduler"]["position"]
    mapping = branch(stable, lambda s, at: cooldown(s, at, 5))
    momenta = [s["momentum_buffer"].clone() for s in stable["optimizer"]["state"].values()]
    Loop(constant(0.1), policy="saved").load(mapping).train(60)
    assert all(
        torch.equal(a, s["momentum_buffer"])
        for a, s in zip(momenta, stable["optimizer"]["state"].values(), strict=True)
    )
    assert mapping["scheduler"] != stable["scheduler"]
    assert stable["scheduler"] == Loop(constant(0.1)).train(40).scheduler.state_dict()
    assert mapping["scheduler"]["position"] == position == 40


def test_a_schedule_that_would_have_trained_otherwise_is_refused_where_it_differs(stable: Any) -> None:
    other = laju.constant(0.1).take(17) >> laju.constant(0.05)
    with pytest.raises(ValueError, match=r"in update 17 it gives 0\.05 where 0\.1 was trained with.*agree=False"):
        branch(stable, other)
    taken = branch(stable, other, agree=False)
    assert Loop(constant(0.1), policy="saved").load(taken).optimizer.param_groups[0]["lr"] == 0.05


@pytest.mark.parametrize(
    ("checkpoint", "options", "error", "message"),
    [
        ({"model": {}}, {}, StateError, "no state of a laju scheduler; save scheduler.state_dict"),
        (3, {}, TypeError, "a file or a mapping, got 3"),
        ("two", {}, StateError, "2 laju schedulers, at 'a.scheduler', 'b.scheduler'; say which by where"),
        ("two", {"where": "c"}, StateError, "under the key 'c'"),
        ("one", {"parameter": "momentum"}, StateError, "parameter 'momentum'.*schedules: lr"),
        ("one", {"schedule": 0.1}, TypeError, "schedule must be a laju schedule"),
        ("one", {"schedule": "cosin(1, total=3)"}, ValueError, "did you mean 'cosine'"),
        ("one", {"schedule": laju.cosine(0.1, total="30%")}, ValueError, "%"),
    ],
)
def test_bad_arguments(stable: Any, checkpoint: Any, options: dict, error: type, message: str) -> None:
    made = {"one": stable, "two": {"a": stable, "b": stable}}
    content = made.get(checkpoint, checkpoint) if isinstance(checkpoint, str) else checkpoint
    schedule = options.pop("schedule", constant(0.1))
    with pytest.raises(error, match=message):
        branch(content, schedule, **options)


def test_of_several_schedulers_one_is_named(stable: Any) -> None:
    branched = branch({"a": stable, "b": stable}, lambda s, at: cooldown(s, at, 5), where="b")
    assert branched["a"]["scheduler"] == stable["scheduler"]
    assert branched["b"]["scheduler"]["schedules"] != stable["scheduler"]["schedules"]


def test_a_file_that_is_not_there_or_something_else(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        branch(tmp_path / "none.pt", constant(0.1))
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(StateError, match="holds list"):
        branch(tmp_path / "list.pt", constant(0.1))
