"""Runs that are made wrong on purpose are explained: what was done, from which update on, and nothing else with certainty."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import laju
from laju.cli import cli
from laju.diagnosis import Diagnosis, diagnose
from laju.logs import Log, LogError, read

COSINE = laju.cosine(1e-3, total=1000, warmup=100)


def logged(rates: np.ndarray, every: int = 1, first: int = 0, digits: int = 17, header: str = "step,lr") -> Log:
    rows = [f"{t},{rates[t]:.{digits - 1}e}" for t in range(first, len(rates), every)]
    return read(io.StringIO("\n".join([header, *rows])))


# --- drawn runs --------------------------------------------------------------------------------------------------------

_BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "diagnose_runs.py"
_SPEC = importlib.util.spec_from_file_location("diagnose_runs", _BENCHMARK)
assert _SPEC is not None
assert _SPEC.loader is not None
runs = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = runs  # dataclasses look their module up
_SPEC.loader.exec_module(runs)


@pytest.mark.parametrize("cause", runs.WRONG)
def test_what_was_done_to_a_schedule_is_named_with_its_update(cause: str) -> None:
    share = runs.measure(cause, runs=20, seed=cause)
    assert share.named >= 0.95 * share.runs
    assert share.dated == share.named
    assert share.certain_of_another == 0


def test_another_total_is_named_where_the_log_ends_on_a_plateau() -> None:
    rng = random.Random("plateau")
    met = 0
    for _ in range(20):
        total, peak = rng.choice([1000, 3000, 7350]), rng.choice([0.1, 3e-4])
        shape, warmup = rng.choice(["linear", "cosine", "1-sqrt"]), rng.choice([0, 0, 50])
        schedule = laju.wsd(peak, total=total, cooldown=rng.choice([0.1, 0.3]) * total, warmup=warmup, shape=shape)
        rates, _ = runs.total_of(rng, schedule, total)
        found = diagnose(logged(rates, rng.choice([1, 10, 50]), digits=rng.choice([17, 5])), schedule)
        assert "total" in {cause.kind for cause in found.causes}, (schedule, found)
        if rates[-1] == rates.max():
            met += 1
            assert "or more, where" in str(found)
    assert met >= 5


def test_parameters_are_exact_where_the_rows_tell_them() -> None:
    t = np.arange(1000)
    for rates, text in (
        (COSINE(3 * t), "every update is counted 3 times"),
        (COSINE(np.maximum(t - 7, 0)), "the rates are those of 7 updates earlier"),
        (COSINE(t // 25), "the schedule moves on once in 25 updates"),
        (np.where(t < 437, COSINE(t), COSINE(np.maximum(t - 437, 0))), "the schedule begins anew at update 437"),
        (8 * COSINE(t), "the rates are 8 times the meant ones"),
        (laju.cosine(1e-3, total=1500, warmup=100)(t), "the total is 1,500, where 1,000 is meant"),
    ):
        (cause,) = diagnose(logged(rates, every=10), COSINE).causes
        assert cause.text == text
        assert cause.culprits


@pytest.mark.parametrize("shift", [0, -1, 1])
def test_rates_logged_before_or_after_the_update_are_healthy_unless_the_writer_is_known(shift: int) -> None:
    rates = COSINE(np.maximum(np.arange(1000) + shift, 0))
    assert diagnose(logged(rates, 10, first=10), COSINE).healthy
    lightning = read(io.StringIO("epoch,step,lr-SGD\n" + "\n".join(f"0,{t},{rates[t]}" for t in range(9, 1000, 10))))
    assert diagnose(lightning, COSINE).healthy == (shift == 0)


def test_causes_with_the_same_rates_are_told_together() -> None:
    decay = laju.exponential(0.1, 0.001, total=1000)
    found = diagnose(logged(decay(np.maximum(np.arange(1000) - 10, 0)), 10, first=10), decay)
    assert {cause.kind for cause in found.causes} == {"scale", "behind"}
    assert not found.certain
    assert "2 causes give the same rates" in str(found)


@pytest.mark.parametrize(
    ("meant", "rate", "kinds"),
    [
        (COSINE, 0.0, ["epoch", "ahead"]),  # the rate of update 0 is the last one, too
        (laju.cosine(1e-3, total=1000), 1e-3, ["epoch"]),
        (laju.cosine(1e-3, total=1000, final=1e-4, warmup=100), 1e-4, ["ahead"]),
        (laju.multi_factor(0.1, [300, 600], 0.1), 0.1, ["epoch", "total"]),  # milestones of a longer run
        (laju.multi_factor(0.1, [300, 600], 0.1), 0.01, []),
        (laju.linear(0, 0.1, total=50) >> 0.1, 0.1, ["ahead"]),
        (laju.constant(0.1), 0.05, ["scale"]),
        (COSINE, 5e-4, []),
    ],
)
def test_a_rate_that_never_changes_has_no_causes_that_any_stretch_of_rates_would_have(meant, rate, kinds) -> None:
    found = diagnose(logged(np.full(1000, rate), 10), meant)
    assert [cause.kind for cause in found.causes] == kinds


def test_another_schedule_has_no_cause() -> None:
    found = diagnose(logged(laju.exponential(0.1, 0.001, total=1000).values(1000), 10), COSINE)
    assert not found.healthy
    assert not found.causes
    assert "a different schedule" in str(found)


def test_bad_questions() -> None:
    with pytest.raises(TypeError, match="meant must be a laju schedule"):
        diagnose(logged(np.ones(3)), 0.1)  # type: ignore[arg-type]
    with pytest.raises(LogError, match="no column of rates"):
        diagnose(read(io.StringIO("step,loss\n0,1\n")), COSINE)
    with pytest.raises(laju.UnresolvedError):
        diagnose(logged(np.ones(3)), laju.cosine(0.1, total="100%"))


# --- the command line --------------------------------------------------------------------------------------------------


@pytest.fixture
def log(tmp_path: Path) -> Callable[[np.ndarray], str]:
    def write(rates: np.ndarray, name: str = "log.csv") -> str:
        path = tmp_path / name
        path.write_text("step,lr,loss\n" + "".join(f"{t},{float(rates[t])!r},1\n" for t in range(0, len(rates), 10)))
        return str(path)

    return write


def run(*arguments: str):
    done = CliRunner().invoke(cli, arguments)
    assert "Traceback" not in done.output, done.output
    return done


def test_the_exit_status_says_whether_all_is_well(log, tmp_path: Path) -> None:
    meant = "cosine(1e-3, total=1000, warmup=100)"
    done = run("diagnose", log(COSINE.values(1000)), "--meant", meant)
    assert (done.exit_code, done.output.splitlines()[0]) == (0, "healthy: all 100 rates are the meant ones")
    assert "rates: 'lr', updates: 'step' 0 … 990, every 10th; also: 'loss'" in done.output
    wrong = log(COSINE(2 * np.arange(1000)))
    done = run("diagnose", wrong, "--meant", meant)
    assert done.exit_code == 1
    assert "every update is counted 2 times, from the start" in done.output
    assert "Accelerate" in done.output
    found = json.loads(run("diagnose", wrong, "--meant", meant, "--json").stdout)
    assert (found["causes"][0]["kind"], found["healthy"]) == ("counted", False)
    assert run("diagnose", str(tmp_path / "nowhere.csv"), "--meant", meant).exit_code == 2
    assert run("diagnose", wrong, "--meant", "cosin(1e-3, total=9)").exit_code == 2


def test_a_configuration_says_what_was_meant(log, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"learning_rate": 1e-3, "lr_scheduler_type": "cosine", "warmup_steps": 100, "max_steps": 1000}')
    assert run("diagnose", log(COSINE.values(1000)), "--meant", str(config)).exit_code == 0
    config.write_text(
        '{"base_model": "m", "learning_rate": 1e-3, "lr_scheduler": "cosine", "warmup_ratio": 0.1, "num_epochs": 2}'
    )
    assert run("diagnose", log(COSINE.values(1000)), "--meant", str(config), "--updates", "1000").exit_code == 0
    config.write_text('{"learning_rate": 1e-3, "lr_scheduler": "cosine", "warmup_steps": 100, "num_train_epochs": 2}')
    done = run("diagnose", log(COSINE.values(1000)), "--meant", str(config), "--updates", "1000")
    assert done.exit_code == 2
    assert "did you mean 'lr_scheduler_type'?" in done.output


def test_without_what_was_meant_the_formula_and_its_findings_are_told(log) -> None:
    done = run("diagnose", log(COSINE(np.minimum(2 * np.arange(1000), 1000))))
    assert done.exit_code == 1
    assert "cosine(0.001, total=500, warmup=50)" in done.output
    assert "LAJU006" in done.output


def test_without_what_was_meant_a_lag_is_no_length(log) -> None:
    done = run("diagnose", log(COSINE(np.maximum(np.arange(1003) - 3, 0))))
    assert "3 updates earlier" in done.output
    assert "LAJU006" not in done.output  # the schedule was read at 1,000 updates, and not at 1,001
    assert done.exit_code == 0
    assert run("diagnose", log(COSINE.values(1000))).exit_code == 0  # whose last row is that of update 990


def test_diff_takes_logs(log) -> None:
    healthy, wrong = log(COSINE.values(1000)), log(COSINE(2 * np.arange(1000)), "wrong.csv")
    assert run("diff", healthy, str(COSINE)).exit_code == 0
    done = run("diff", str(COSINE), wrong)
    assert done.exit_code == 1
    assert "different from update 10 on, in 99 of 100 rows: a 0.0001, b 0.0002" in done.output
    assert run("diff", healthy, healthy).exit_code == 0
    assert run("diff", healthy, wrong).exit_code == 1


# --- real culprits -----------------------------------------------------------------------------------------------------


def test_updates_that_the_gradient_scaler_skipped() -> None:
    import torch

    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, COSINE)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    rows = ["step,lr"]
    for t in range(400):
        rows.append(f"{t},{scheduler.get_last_lr()[0]!r}")
        optimizer.zero_grad()
        loss = (weight * (float("inf") if t in (0, 1, 5) else 1.0)).sum()
        scaler.scale(loss).backward()
        scale = scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        if scaler.get_scale() >= scale:  # as Transformers and Accelerate do
            scheduler.step()
    found = diagnose(read(io.StringIO("\n".join(rows))), COSINE)
    (cause,) = found.causes
    assert (cause.kind, cause.parameters["k"]) == ("skipped", 3)
    assert "gradient scaler" in str(found)


def test_a_run_that_was_resumed_without_the_schedulers_state() -> None:
    import torch

    rows = ["step,lr"]
    for begin, end in ((0, 300), (300, 700)):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, COSINE)
        for t in range(begin, end):
            rows.append(f"{t},{scheduler.get_last_lr()[0]!r}")
            optimizer.step()
            scheduler.step()
    (cause,) = diagnose(read(io.StringIO("\n".join(rows))), COSINE).causes
    assert (cause.kind, cause.begins) == ("restart", (299, 300))


def test_a_cosine_of_pytorch_beyond_its_end() -> None:
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100)
    rates = []
    for _ in range(150):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    (cause,) = diagnose(logged(np.array(rates)), laju.cosine(0.1, total=100)).causes
    assert (cause.kind, cause.begins[1]) == ("climb", 101)


def _lightning(folder: Path, interval: str) -> Diagnosis:
    import lightning
    import torch
    from lightning.pytorch.callbacks import LearningRateMonitor
    from lightning.pytorch.loggers import CSVLogger

    class Model(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def training_step(self, batch, index):
            loss = self.layer(batch[0]).square().mean()
            self.log("train_loss", loss)
            return loss

        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
            scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, laju.cosine(0.1, total=60, warmup=10))
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": interval}}

    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(20, 1)))
    trainer = lightning.Trainer(
        max_epochs=3, accelerator="cpu", logger=CSVLogger(str(folder)), callbacks=[LearningRateMonitor("step")],
        log_every_n_steps=2, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(Model(), data)
    return diagnose(read(folder), laju.cosine(0.1, total=60, warmup=10))


@pytest.mark.slow
def test_lightnings_interval_of_an_epoch(tmp_path: Path) -> None:
    assert _lightning(tmp_path / "step", "step").healthy
    wrong = _lightning(tmp_path / "epoch", "epoch")
    assert "epoch" in {cause.kind for cause in wrong.causes}
    assert "Lightning's default interval" in str(wrong)


ACCELERATE = """
import sys
import torch
import laju
from accelerate import Accelerator

accelerator = Accelerator(cpu=True)
weight = torch.nn.Linear(1, 1)
optimizer = torch.optim.SGD(weight.parameters(), lr=1.0)
scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, laju.cosine(0.1, total=100, warmup=10))
weight, optimizer, scheduler = accelerator.prepare(weight, optimizer, scheduler)
rows = ["step,lr"]
for t in range(80):
    rows.append(f"{t},{scheduler.get_last_lr()[0]!r}")
    accelerator.backward(weight(torch.ones(1, 1)).sum())
    optimizer.step()
    scheduler.step()
    optimizer.zero_grad()
if accelerator.is_main_process:
    open(sys.argv[1], "w").write("\\n".join(rows))
"""


@pytest.mark.slow
def test_accelerate_over_two_processes(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(ACCELERATE)
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "train.py", "log.csv"],
        cwd=tmp_path,
        env=os.environ
        | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        timeout=300,
        capture_output=True,
    )
    (cause,) = diagnose(read(tmp_path / "log.csv"), laju.cosine(0.1, total=100, warmup=10)).causes
    assert (cause.kind, cause.parameters["k"]) == ("counted", 2)
    assert "Accelerate" in cause.culprits[0]
