"""Settings of Ultralytics against the lines of its own trainer, which are taken from the installed file and run."""

from __future__ import annotations

import ast
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from laju.dialects import DialectError, convert
from laju.dialects.configs import read_config

ARGS = {
    "lr0": 0.02,
    "lrf": 0.05,
    "epochs": 8,
    "warmup_epochs": 2.0,
    "cos_lr": False,
    "optimizer": "SGD",
    "batch": 16,
    "nbs": 64,
}


@pytest.fixture(scope="module")
def trainer(dialects_path: Path) -> Any:
    """Their functions by name, and their block that warms up at a batch."""
    file = dialects_path / "ultralytics" / "engine" / "trainer.py"
    if not file.exists():
        pytest.skip(f"needs ultralytics in {dialects_path}: make setup-dialects")
    tools = ast.parse((dialects_path / "ultralytics" / "utils" / "torch_utils.py").read_text())
    nodes = list(ast.walk(ast.parse(file.read_text())))
    wanted = [
        node
        for node in nodes
        if isinstance(node, ast.FunctionDef) and node.name in ("_setup_scheduler", "_get_warmup_iterations")
    ]
    wanted += [node for node in tools.body if isinstance(node, ast.FunctionDef) and node.name == "one_cycle"]
    assert len(wanted) == 3
    names: dict[str, Any] = {"math": math, "np": np, "optim": torch.optim}
    exec(compile(ast.Module(wanted, []), str(file), "exec"), names)
    (block,) = [node for node in nodes if isinstance(node, ast.If) and ast.unparse(node.test) == "nw and ni <= nw"]
    names["block"] = compile(ast.Module([block], []), str(file), "exec")
    return names


def theirs(trainer: Any, args: dict[str, Any], batches: int) -> list[float]:
    """The rate of the weights at every batch, by their code."""
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=args["lr0"], momentum=0.9)
    more = {"warmup_bias_lr": 0.1, "warmup_momentum": 0.8, "momentum": 0.9}
    self = SimpleNamespace(
        args=SimpleNamespace(**args, **more), epochs=args["epochs"], optimizer=optimizer, accumulate=1
    )
    trainer["_setup_scheduler"](self)
    nw, rates = trainer["_get_warmup_iterations"](self, batches), []
    for epoch in range(args["epochs"]):
        if epoch:
            self.scheduler.step()
        for i in range(batches):
            ni = i + batches * epoch
            exec(
                trainer["block"],
                {**trainer, "self": self, "ni": ni, "nw": nw, "epoch": epoch, "acc0": 4, "xi": [0, nw]},
            )
            rates.append(optimizer.param_groups[0]["lr"])
    return rates


@pytest.mark.filterwarnings("ignore:Detected call of")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(1, 12), st.integers(1, 30), st.sampled_from([0, 0.3, 1, 2.5, 3.0, 40]), st.booleans(),
    st.sampled_from([0.0, 0.01, 0.2, 1.0, 1.5]), st.sampled_from([0.01, 0.1, 0.0]),
)  # fmt: skip
def test_every_batch_has_the_rate_of_their_trainer(trainer, epochs, batches, warmup, cosine, lrf, lr0):
    args = {**ARGS, "epochs": epochs, "warmup_epochs": warmup, "cos_lr": cosine, "lrf": lrf, "lr0": lr0}
    found = read_config(args, updates_per_epoch=batches)
    np.testing.assert_allclose(
        found.schedule.values(epochs * batches), theirs(trainer, args, batches), rtol=1e-12, atol=1e-18
    )


def test_what_the_file_does_not_say_is_asked_for_or_told():
    with pytest.raises(DialectError, match=r"batches in an epoch.*give updates_per_epoch"):
        read_config(ARGS)
    with pytest.raises(DialectError, match=r"optimizer 'auto'.*give lr"):
        read_config({**ARGS, "optimizer": "auto"}, updates_per_epoch=100)
    assert read_config({**ARGS, "optimizer": "auto"}, updates_per_epoch=100, lr=0.1).schedule(200) == pytest.approx(
        0.1 * 0.7625
    )
    with pytest.raises(DialectError, match="time limits the run in hours"):
        read_config({**ARGS, "time": 3}, updates_per_epoch=100)
    with pytest.raises(DialectError, match="cos_lr must be true or false"):
        read_config({**ARGS, "cos_lr": "yes"}, updates_per_epoch=100)
    with pytest.raises(DialectError, match="lr1 seems to decide the rate"):
        read_config({**ARGS, "lr1": 3}, updates_per_epoch=100)
    notes = " ".join(read_config(ARGS, updates_per_epoch=20).notes)
    for words in (
        "biases fall from warmup_bias_lr",
        "releases such as 8.3.0 warm up for 100",
        "nbs / batch = 4 make an update",
    ):
        assert words in notes


def test_it_converts(tmp_path):
    file = tmp_path / "args.yaml"
    file.write_text("lr0: 0.01\nlrf: 0.01\nepochs: 100\nwarmup_epochs: 3.0\ncos_lr: true\noptimizer: SGD\nbatch: 64\n")
    found = convert(str(file), "config", "torch", updates_per_epoch=100)
    assert found.schedule.values(3)[1] == pytest.approx(0.01 / 300)
    assert "laju" in found.code
