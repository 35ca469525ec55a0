"""torch.distributed.checkpoint, which merges a checkpoint into the state that is there, key by key."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp

import laju.testing
from laju import cosine, linear
from laju.adaptive import Plateau, StateError
from laju.frameworks.torch import Factor, Scheduler

COSINE, LINEAR = cosine(1, total=8), linear(1, 0, total=8)
WARMED = cosine(1, total=8, warmup=2)
RAMPS = linear(0, 1, total=2).take(2) >> linear(1, 0, total=6)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Without what torch says where there is no process group."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def make(**options: Any) -> Scheduler:
    optimizer = torch.optim.AdamW([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.5}])
    return Scheduler(optimizer, **options)


def through(folder: Path, old: Scheduler, new: Scheduler, how: str) -> Scheduler:
    """What was saved at update 4, loaded into another scheduler."""
    old.set_position(4)
    if how == "stateful":  # torch calls state_dict and load_state_dict itself
        dcp.save({"scheduler": old}, checkpoint_id=folder)
        dcp.load({"scheduler": new}, checkpoint_id=folder)
    else:
        dcp.save({"scheduler": old.state_dict()}, checkpoint_id=folder)
        state = {"scheduler": new.state_dict()}
        dcp.load(state, checkpoint_id=folder)
        new.load_state_dict(state["scheduler"])
    return new


HOW = pytest.mark.parametrize("how", ["stateful", "dict"])


@HOW
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"lr": COSINE}, {"lr": LINEAR}),
        ({"lr": LINEAR}, {"lr": COSINE}),
        ({"lr": WARMED}, {"lr": RAMPS}),
        ({"lr": WARMED}, {"lr": LINEAR}),
        ({"lr": COSINE, "weight_decay": LINEAR}, {"lr": COSINE}),
        ({"lr": COSINE}, {"lr": COSINE, "weight_decay": LINEAR}),
        ({"lr": LINEAR}, {"lr": linear(1, 0, total=9)}),
        ({"lr": Factor(COSINE)}, {"lr": COSINE}),
    ],
)
def test_other_schedules_are_refused_with_both_shown(tmp_path: Path, how: str, old: Any, new: Any) -> None:
    scheduler = make(**new)
    with pytest.raises((StateError, dcp.api.CheckpointException)) as error:
        through(tmp_path / "checkpoint", make(**old), scheduler, how)
    assert "saved with other schedules" in str(error.value)
    assert scheduler.position == 0


@HOW
@pytest.mark.parametrize(("policy", "rate"), [("new", LINEAR(4)), ("saved", WARMED(4))])
def test_the_policies_can_be_used(tmp_path: Path, how: str, policy: Any, rate: float) -> None:
    scheduler = through(tmp_path / "checkpoint", make(lr=WARMED), make(lr=LINEAR, policy=policy), how)
    assert (scheduler.position, scheduler.get_last_lr()) == (4, [rate])


@HOW
def test_a_controller_on_one_side_is_refused(tmp_path: Path, how: str) -> None:
    with pytest.raises((StateError, dcp.api.CheckpointException), match="there is no controller here"):
        through(tmp_path / "one", make(lr=COSINE, controller=Plateau(0.5, patience=0)), make(lr=COSINE), how)
    with pytest.raises((StateError, dcp.api.CheckpointException), match="there is a controller here"):
        through(tmp_path / "two", make(lr=COSINE), make(lr=COSINE, controller=Plateau(0.5, patience=0)), how)


@HOW
def test_the_same_schedules_go_on(tmp_path: Path, how: str) -> None:
    options: dict[str, Any] = {"lr": Factor(WARMED), "weight_decay": LINEAR, "controller": Plateau(0.5, patience=0)}
    first = make(**options)
    for _ in range(2):
        first.observe(1.0)
    second = through(tmp_path / "checkpoint", first, make(**options), how)
    assert second.state_dict() == first.state_dict()
    assert second.get_last_lr() == [0.5 * WARMED(4) * 0.5]


TWO = """
    import json, sys, torch, laju
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
    from torch.distributed.fsdp import fully_shard
    from laju.adaptive import StateError
    from laju.frameworks.torch import Factor, Scheduler
    rank, store, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (2,))
    S = laju.cosine(1, total=8, warmup=2, final=0.1)

    def start(lr=Factor(S), **options):
        model = torch.nn.Linear(2, 2, bias=False)
        torch.nn.init.zeros_(model.weight)
        fully_shard(model, mesh=mesh)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.0)
        return model, optimizer, Scheduler(optimizer, lr=lr, **options)

    def train(model, optimizer, scheduler, updates):
        used = []
        for _ in range(updates):
            for micro in range(2):  # the first update too comes after a micro-batch with a call
                (model(torch.ones(1, 2)).sum() / 2).backward()
                if micro:
                    before = model.weight.full_tensor()[0, 0].item()
                    optimizer.step()
                    optimizer.zero_grad()
                    used.append(before - model.weight.full_tensor()[0, 0].item())
                scheduler.step()
        return used

    class App:  # as torchtitan's
        def __init__(self, model, optimizer, scheduler):
            self.parts = model, optimizer, scheduler
        def state_dict(self):
            model, optimizer, scheduler = self.parts
            weights, moments = get_state_dict(model, optimizer)
            return {"model": weights, "optimizer": moments, "scheduler": scheduler.state_dict()}
        def load_state_dict(self, state):
            model, optimizer, scheduler = self.parts
            set_state_dict(model, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])
            scheduler.load_state_dict(state["scheduler"])

    found = {"whole": train(*start(), 10)}
    first = start()
    found["first"] = train(*first, 4)
    dcp.save({"app": App(*first)}, checkpoint_id=folder)
    second = start()
    dcp.load({"app": App(*second)}, checkpoint_id=folder)
    found["rest"] = train(*second, 6)
    for policy in ("strict", "new", "saved"):
        other = start(Factor(laju.linear(1, 0, total=8)), policy=policy)
        try:
            dcp.load({"app": App(*other)}, checkpoint_id=folder)
            found[policy] = train(*other, 2)
        except (StateError, dcp.api.CheckpointException) as error:
            found[policy] = "saved with other schedules" in str(error)
    print(json.dumps(found))
    torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_with_sharded_weights_resume_and_follow_the_policies(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(TWO)]
    ranks = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path / "store"), str(tmp_path / "checkpoint")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [rank.communicate(timeout=300) for rank in ranks]
    assert not any(rank.returncode for rank in ranks), outputs
    first, second = (json.loads(out.splitlines()[-1]) for out, _ in outputs)
    assert not any("ScheduleWarning" in error for _, error in outputs)
    assert first == second
    schedule = cosine(1, total=8, warmup=2, final=0.1)
    plan = [pytest.approx(0.5 * value, abs=1e-6) for value in schedule.values(10)]
    assert first["whole"] == plan
    assert first["first"] + first["rest"] == plan
    assert first["strict"] is True
    assert first["saved"] == plan[4:6]
    assert first["new"] == [pytest.approx(0.5 * LINEAR(t), abs=1e-6) for t in (4, 5)]


def test_a_state_is_one_leaf_a_key() -> None:
    from torch.distributed.checkpoint._nested_dict import flatten_state_dict

    state = make(lr=Factor(WARMED), controller=Plateau(0.5, patience=0)).state_dict()
    flat, _ = flatten_state_dict({"scheduler": state})
    assert flat == {f"scheduler.{name}": value for name, value in state.items()}
    assert laju.testing.plain(state) == state
