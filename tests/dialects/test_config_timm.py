"""timm's arguments against its own factory and the loop of its train.py."""

from __future__ import annotations

import math
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import laju
from laju.dialects import DialectError, NotASchedule, convert
from laju.dialects.configs import read_config

from .conftest import loaded

torch = pytest.importorskip("torch")

ARGS: dict[str, Any] = {
    "sched": "cosine", "sched_on_updates": False, "lr": 0.1, "epochs": 12, "warmup_epochs": 3, "warmup_lr": 1e-5,
    "warmup_prefix": False, "min_lr": 1e-4, "decay_epochs": 4, "decay_milestones": [3, 7], "decay_rate": 0.3, "lr_cycle_mul": 1.0,
    "lr_cycle_decay": 0.5, "lr_cycle_limit": 1, "lr_k_decay": 1.0, "cooldown_epochs": 0, "lr_noise": None, "opt": "sgd",
}  # fmt: skip


@pytest.fixture(scope="module")
def factory() -> Any:
    folder = Path(os.environ.get("LAJU_VISION", Path(__file__).parents[2] / ".vision"))
    return loaded(folder, "timm/scheduler/scheduler_factory.py")


def theirs(factory: Any, args: dict[str, Any], each: int, epochs: int) -> list[float]:
    """The rate of every update, as train.py steps its scheduler."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=args["lr"])
    scheduler, _ = factory.create_scheduler_v2(
        optimizer, **factory.scheduler_kwargs(Namespace(**args)), updates_per_epoch=each
    )
    rates, updates = [], 0
    for epoch in range(epochs):
        for _ in range(each):
            rates.append(optimizer.param_groups[0]["lr"])
            updates += 1
            scheduler.step_update(num_updates=updates)
        scheduler.step(epoch + 1)
    return rates


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.fixed_dictionaries(
        {
            "sched": st.sampled_from(["cosine", "tanh", "step", "multistep", "poly", "wsd", "rsqrt", "constant"]),
            "sched_on_updates": st.booleans(),
            "warmup_epochs": st.integers(1, 4),
            "warmup_prefix": st.booleans(),
            "lr_cycle_limit": st.sampled_from([1, 2]),
            "lr_cycle_mul": st.sampled_from([1.0, 2.0]),
            "lr_k_decay": st.sampled_from([1.0, 1.5]),
            "decay_epochs": st.sampled_from([0.25, 2.5, 4]),
        }
    ),
    st.integers(1, 5),
)
def test_every_update_has_the_rate_of_train_py(factory, changes, each):
    if changes["decay_epochs"] < 1 and changes["sched"] not in ("wsd", "rsqrt"):
        changes = {**changes, "decay_epochs": 4}
    args = {**ARGS, **changes}
    found = read_config(args, updates_per_epoch=each)
    assert found.system == "timm"
    wanted = theirs(factory, args, each, 18)
    assert found.schedule.values(len(wanted)) == pytest.approx(wanted, rel=1e-9, abs=1e-15)


def test_epochs_are_counted_where_the_updates_of_one_are_not_given(factory):
    found = read_config(ARGS)
    assert (found.dialect, found.notes[-1]) == ("timm", "the schedule counts epochs")
    assert found.schedule.values(12) == pytest.approx(theirs(factory, ARGS, 1, 12))
    with pytest.raises(DialectError, match=r"updates per epoch.*give updates_per_epoch"):
        read_config({**ARGS, "sched_on_updates": True})


def test_the_rate_is_that_of_the_batch_where_lr_is_not_given():
    args = {**ARGS, "lr": None, "lr_base": 0.1, "lr_base_size": 256, "batch_size": 128, "grad_accum_steps": 2}
    with pytest.raises(DialectError, match=r"world_size is not in the configuration.*--fact world_size="):
        read_config(args)
    assert read_config(args, world_size=4).schedule(3) == read_config({**ARGS, "lr": 0.4}).schedule(3)
    adam = {**args, "opt": "adamw"}
    assert read_config(adam, world_size=4).schedule(3) == read_config({**ARGS, "lr": 0.2}).schedule(3)
    assert read_config(args, lr=0.1).schedule == read_config(ARGS).schedule


def test_what_is_no_schedule_is_refused(tmp_path):
    assert read_config({**ARGS, "sched": "none"}).schedule == laju.constant(0.1)
    for changes, error, message in (
        ({"sched": "plateau"}, NotASchedule, "PlateauLRScheduler is not a schedule"),
        ({"lr_noise": [0.4, 0.9]}, DialectError, "makes the rate random"),
        ({"sched": "cosin"}, DialectError, "did you mean 'cosine'"),
        ({"warmup_epoch": 3}, DialectError, "did you mean 'warmup_epochs'"),
        ({"epochs": "many"}, DialectError, "epochs must be a finite number"),
    ):
        with pytest.raises(error, match=message):
            read_config({**ARGS, **changes})


def test_args_yaml_converts(tmp_path):
    pytest.importorskip("yaml")
    file = tmp_path / "args.yaml"
    file.write_text("".join(f"{key}: {'null' if value is None else value}\n" for key, value in ARGS.items()))
    found = convert(str(file), "config", "optax", updates_per_epoch=10)
    assert found.updates == 120
    assert found.schedule(119) == pytest.approx(1e-4 + (0.1 - 1e-4) * (1 + math.cos(math.pi * 11 / 12)) / 2)
    assert convert(str(file), "config", "timm").own


DEIT = "torchrun --nproc_per_node=4 {} --sched cosine --lr 5e-4 --warmup-epochs 5 --batch-size 256"


@pytest.mark.parametrize(
    ("command", "facts", "scaled"),
    [
        (DEIT.format("main.py"), {}, True),
        (DEIT.format("deit/main.py") + " --epochs 300\n", {}, True),
        (f"# train.py\n{DEIT.format('main.py')}", {}, True),
        (DEIT.format("main.py") + " --unscale-lr", {}, False),
        (DEIT.format("main.py"), {"lr": 1e-3}, False),
    ],
)
def test_a_script_that_is_not_train_py_may_scale_the_rate(
    tmp_path: Path, command: str, facts: Any, scaled: bool
) -> None:
    (tmp_path / "run.sh").write_text(command)
    found = read_config(tmp_path / "run.sh", **facts)
    assert found.system == "timm"
    assert any("main.py is not timm's train.py" in note for note in found.notes)
    assert any("may scale lr" in note for note in found.notes) == scaled


@pytest.mark.parametrize("script", ["train.py", "timm/train.py && python validate.py", "./distributed_train.sh 4"])
def test_no_script_but_train_py_is_told(tmp_path: Path, script: str) -> None:
    (tmp_path / "run.sh").write_text(DEIT.format(script))
    assert not any("train.py" in note for note in read_config(tmp_path / "run.sh").notes)
