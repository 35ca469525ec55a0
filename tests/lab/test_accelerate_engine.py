"""Training by Accelerate: what an update sees does not depend on how it is cut up, and every update has its own rate."""

import itertools
import json
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import accelerate
import numpy as np
import numpy.typing as npt
import pytest
import torch

import laju
from laju.adaptive import Plateau
from laju.lab import Data, Optimizer, Outcome, Record, Trial, compare
from laju.lab.engines import accelerate as engine
from laju.lab.engines import torch as own
from laju.lab.trials.tasks import DataError
from laju.lab.trials.tasks.base import Part
from laju.lab.trials.tasks.image_folder import Accelerated

from .tiny import Explosion, Sides, Slope

COSINE = laju.cosine(0.3, total=14, warmup=3)


@dataclass(frozen=True)
class Exact(Sides):
    """Without dropout and in float64, so that sums in another order agree closely."""

    name: str = "exact"

    def model(self, seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        layers = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2)).double()
        layers.register_forward_pre_hook(lambda _, inputs: tuple(x.double() for x in inputs))
        return layers


def trial(task: Any = None, **changes: Any) -> Trial:
    options = {"schedule": COSINE, "seed": 3, "epochs": 2, "batch_size": 60, "optimizer": Optimizer(momentum=0.9)}
    return Trial(task or Exact(), **options | changes)


def assert_near(a: Outcome, b: Outcome, tolerance: float = 1e-12) -> None:
    assert (a.status, a.diverged_at, len(a.records)) == (b.status, b.diverged_at, len(b.records))
    for x, y in zip(a.records, b.records, strict=True):
        assert vars(x) == pytest.approx(vars(y), rel=tolerance, abs=tolerance)


def steps(outcome: Outcome, begin: float) -> list[float]:
    """The rates of `Slope`, of one update an epoch: the loss of an update is the weight before it."""
    weights = [begin, *(r.train_loss for r in outcome.records[1:])]
    return [a - b for a, b in itertools.pairwise(weights)]


def test_one_process_in_full_precision_is_the_labs_own_loop_bit_by_bit() -> None:
    ask = trial(Sides())  # with dropout, so random numbers count, too
    found, wanted = engine.train(ask).records, own.train(ask).records
    assert [replace(record, test_loss=None) for record in found] == [replace(r, test_loss=None) for r in wanted]
    # The sum over the test examples, which each engine reads in batches of its own size.
    assert [r.test_loss for r in found] == pytest.approx([r.test_loss for r in wanted], rel=1e-6)


@pytest.mark.parametrize("accumulate", [2, 3, 7])
@pytest.mark.parametrize("batch_size", [60, 57, 399])
def test_an_accumulated_update_is_that_of_all_its_examples(accumulate: int, batch_size: int) -> None:
    """400 examples: the last update of an epoch has 40, 1 or 1, which is fewer than micro-batches."""
    ask = trial(batch_size=batch_size)
    assert_near(engine.train(ask, how=Accelerated(accumulate=accumulate)), own.train(ask))


@pytest.mark.parametrize("accumulate", [1, 4])
def test_every_update_has_the_rate_of_the_plan_however_many_micro_batches_it_has(accumulate: int) -> None:
    ask = trial(Slope(), batch_size=100, epochs=9, optimizer=Optimizer())
    outcome = engine.train(ask, how=Accelerated(accumulate=accumulate))
    assert steps(outcome, 3.0) == pytest.approx(COSINE.values(8), abs=1e-12)
    assert [r.rate for r in outcome.records] == pytest.approx(COSINE.values(9))


def test_bf16_trains_in_bfloat16_and_keeps_weights_in_float32() -> None:
    seen = set()

    class Watched(Sides):
        def model(self, seed: int) -> torch.nn.Module:
            model = super().model(seed)
            model[0].register_forward_hook(  # type: ignore[index]
                lambda layer, _, outputs: seen.add((layer.weight.dtype, outputs.dtype))
            )
            return model

    outcome = engine.train(trial(Watched()), how=Accelerated(mixed_precision="bf16", accumulate=2))
    assert seen == {(torch.float32, torch.bfloat16)}
    end, other = outcome.records[-1], own.train(trial(Sides())).records[-1]
    assert end.train_loss == pytest.approx(other.train_loss, abs=0.02)
    assert end.train_loss != other.train_loss


class Streamed(Exact):
    """`Exact`, of which no more is ever held than an update needs."""

    engine = "accelerate"
    fingerprint = "streamed"

    def load(self) -> Data:
        raise AssertionError("all of the data were loaded")

    def labels(self, part: Part) -> npt.NDArray[np.int64]:
        return Exact().labels(part)

    def inputs(self, part: Part, indices: npt.NDArray[np.int64], drawn: Any = None) -> npt.NDArray[np.float32]:
        assert len(indices) <= 64
        return Exact().inputs(part, indices)


def test_a_task_that_reads_what_an_update_needs_is_compared_as_any_other() -> None:
    found = compare({"cosine": COSINE}, Streamed(), epochs=2, seeds=[3], batch_size=60, jobs=1)
    (outcome,) = found.outcomes.values()
    assert_near(outcome, own.train(trial(optimizer=Optimizer())))


def test_a_divergence_is_found_at_the_same_update() -> None:
    ask = trial(Explosion(), schedule=laju.constant(50.5), epochs=30, batch_size=25, optimizer=Optimizer())
    mine, other = engine.train(ask, how=Accelerated(accumulate=2)), own.train(ask)
    assert (mine.status, mine.diverged_at) == (other.status, other.diverged_at)
    assert mine.status == "diverged"


def test_the_callers_accelerate_and_random_numbers_are_left_alone() -> None:
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    try:
        mine = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=5)
        before = torch.get_rng_state(), torch.get_num_threads()
        engine.train(trial(Sides()), how=Accelerated(mixed_precision="bf16"))
        assert accelerate.state.AcceleratorState().mixed_precision == mine.mixed_precision == "no"
        assert mine.gradient_accumulation_steps == 5
        assert torch.equal(torch.get_rng_state(), before[0])
        assert torch.get_num_threads() == before[1]
    finally:
        accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)


def test_what_cannot_be_trained_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="a trial with a rule must be trained by the lab's own loop"):
        engine.train(trial(rule=Plateau(0.5, patience=1)))
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="mixed_precision='fp16' needs a GPU; on a CPU give 'bf16'"):
            engine.train(trial(), how=Accelerated(mixed_precision="fp16"))
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ValueError, match="processes=2, but 4 were launched; give processes=4"):
        engine.train(trial(), how=Accelerated(processes=2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mixed_precision": "bf8"}, "mixed_precision must be 'no', 'bf16' or 'fp16', got 'bf8'"),
        ({"accumulate": 0}, "accumulate must be a whole number of at least 1, got 0"),
        ({"processes": 1.5}, "processes must be a whole number of at least 1, got 1.5"),
        ({"workers": -1}, "workers must be a whole number of at least 0, got -1"),
    ],
)
def test_wrong_settings_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Accelerated(**options)


# --- two processes -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_train_as_one_does() -> None:
    """400 examples in batches of 57: 19 and 19 in two micro-batches and two processes, and one alone at the end."""
    ask, heard = trial(batch_size=57), list[Record]()
    outcome = engine.train(ask, heard.append, Accelerated(accumulate=2, processes=2, cpu=True))
    assert_near(outcome, own.train(ask))
    assert heard == list(outcome.records)


TORCHRUN = """
    import json, os, sys
    import torch
    from laju.lab import Optimizer
    from laju.lab.engines import accelerate as engine
    from laju.lab.trials.tasks.image_folder import Accelerated
    from tests.lab.test_accelerate_engine import Normal, Slope, trial

    how = Accelerated(accumulate=2, processes=2, cpu=True)
    slope = engine.train(trial(Slope(), batch_size=100, epochs=9, optimizer=Optimizer()), how=how)
    task = Normal()
    normal = engine.train(trial(task), how=how)
    weights = torch.nn.utils.parameters_to_vector(task.made[0].parameters()).tolist()
    draw = torch.rand(1).item()
    with open(f"{sys.argv[1]}/{os.environ['RANK']}.json", "w") as file:
        json.dump([[vars(r) for r in slope.records], [vars(r) for r in normal.records], weights], file)
    torch.distributed.destroy_process_group()
"""


class Normal(Sides):
    """With batch normalisation, whose running means each process has its own of."""

    def __init__(self) -> None:
        super().__init__("normal")
        object.__setattr__(self, "made", [])

    def model(self, seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        self.made.append(  # type: ignore[attr-defined]
            torch.nn.Sequential(
                torch.nn.Linear(2, 8),
                torch.nn.BatchNorm1d(8),
                torch.nn.ReLU(),
                torch.nn.Dropout(0.1),
                torch.nn.Linear(8, 2),
            )
        )
        return self.made[-1]  # type: ignore[attr-defined,no-any-return]


@pytest.mark.slow
def test_the_processes_of_torchrun_agree_and_use_the_plan(tmp_path: Path, source_environment: dict[str, str]) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(TORCHRUN))
    root = Path(__file__).parents[2]
    path = os.pathsep.join((source_environment["PYTHONPATH"], str(root)))
    subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--nproc-per-node=2",
            "--standalone",
            str(script),
            str(tmp_path),
        ],
        env=source_environment | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=300,
        cwd=root,
    )
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert found[0] == found[1]
    slope = Outcome("finished", tuple(Record(**r) for r in found[0][0]), 0.0)
    assert steps(slope, 3.0) == pytest.approx(COSINE.values(8), abs=1e-12)
    assert len(found[0][1]) == 2
    assert found[0][1][-1]["train_loss"] < found[0][1][0]["train_loss"]


@dataclass(frozen=True)
class Failing(Exact):
    """Fails in the second of two processes."""

    how: str = ""

    def model(self, seed: int) -> torch.nn.Module:
        if os.environ.get("RANK") == "1":
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise DataError("17.jpg is not a readable image")
        return super().model(seed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ("raise", DataError, "17.jpg is not a readable image"),
        ("kill", RuntimeError, "process 2 of 2 was ended by SIGKILL before it was done"),
    ],
)
def test_a_process_that_fails_ends_all_and_says_why(how: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        engine.train(trial(Failing(how=how)), how=Accelerated(processes=2, cpu=True))


def test_parts_of_a_batch_are_equal_and_complete() -> None:
    for n in range(1, 30):
        parts = engine.split(np.arange(n), 4)
        assert np.array_equal(np.concatenate(parts), np.arange(n))
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= 1
