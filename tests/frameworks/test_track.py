"""Real runs of Lightning, Transformers and Keras that log planned and used rates beside the forecast."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import laju
from laju.frameworks import lightning as in_lightning
from laju.frameworks import transformers as in_transformers
from laju.frameworks.forecasting import rates_of
from laju.frameworks.torch import Factor, Scheduler
from tests.frameworks.test_forecast import RUN, Module, _answers_at_once, fit, rows, trainer_of  # noqa: F401
from tests.frameworks.test_trainers import _quiet_and_alone  # noqa: F401

TEXT = "linear(0.1, 0, total=96)"


class Wrong(Module):
    """Its scheduler moves twice an update."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        twice = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: max(1 - 2 * t / 96, 0))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": twice, "interval": "step"}}


@pytest.mark.parametrize("accumulate", [1, 2])
def test_lightning_logs_plan_and_use_and_warns_once_where_they_differ(tmp_path: Path, accumulate: int) -> None:
    track = in_lightning.Track("linear(0.1, 0, total='100%')", prior=None)
    with pytest.warns(laju.ScheduleWarning) as told:
        fit(Wrong(), tmp_path, track, accumulate_grad_batches=accumulate)
    mine = [str(w.message) for w in told if "the plan is" in str(w.message)]
    assert len(mine) == 1
    assert "update 1 used the rate" in mine[0]
    assert track.note is None
    logged = [row for row in rows(tmp_path) if "lr/used" in row]
    assert logged
    for row in logged:
        t = int(row["step"])  # Lightning's first step is 0
        assert row["lr/planned"] == pytest.approx(RUN(t), rel=1e-6)
        assert row["lr/used"] == pytest.approx(0.1 * max(1 - 2 * t / 96, 0), rel=1e-6)
    assert any("forecast/end" in row for row in logged)
    settings = (tmp_path / "version_0" / "hparams.yaml").read_text()
    assert f"laju/schedule: {TEXT}" in settings
    assert f"laju/fingerprint: {RUN.fingerprint}" in settings


def test_lightnings_plan_is_the_trainers_own_schedule(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    track = in_lightning.Track(prior=None)
    fit(Module(scheduler=False), tmp_path, in_lightning.Schedule("linear(0.1, 0, total='100%')"), track, steps=24)
    logged = [row for row in rows(tmp_path) if "lr/used" in row]
    assert all(row["lr/planned"] == row["lr/used"] for row in logged)
    assert [row["step"] for row in logged] == [7, 15, 23]
    assert not [w for w in recwarn if isinstance(w.message, laju.ScheduleWarning)]


def test_transformers_logs_plan_and_use_into_what_it_reports_to(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "tb"))
    trainer = trainer_of(tmp_path, 20, report_to=["tensorboard"], warmup_steps=2)
    trainer.add_callback(in_transformers.Track(trainer, RUN, prior=None))
    with pytest.warns(laju.ScheduleWarning, match="update 0 used the rate 0, and the plan is 0.1"):
        trainer.train()
    logged = [entry for entry in trainer.state.log_history if "lr/used" in entry]
    assert [entry["step"] for entry in logged] == list(range(2, 21, 2))
    for entry in logged:
        t = entry["step"] - 1
        assert entry["lr/planned"] == RUN(t)
        assert entry["lr/used"] == pytest.approx(0.1 * (t / 2 if t < 2 else (96 - t) / 94))
    events = EventAccumulator(str(tmp_path / "tb"), size_guidance={"tensors": 0})
    events.Reload()
    (text,) = events.Tensors("laju/schedule/text_summary")
    assert text.tensor_proto.string_val == [f"`{TEXT}`".encode()]
    assert [e.step for e in events.Scalars("train/lr/used")] == list(range(2, 21, 2))


def test_transformers_own_scheduler_is_the_plan(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    trainer = trainer_of(tmp_path, 20, warmup_steps=2)
    trainer.add_callback(track := in_transformers.Track(trainer, prior=None))
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "lr/used" in entry]
    assert track.note is None
    assert [entry["lr/planned"] for entry in logged] == [pytest.approx(entry["lr/used"]) for entry in logged]
    assert max(entry["lr/planned"] for entry in logged) == pytest.approx(0.1, rel=0.1)
    assert not [w for w in recwarn if isinstance(w.message, laju.ScheduleWarning)]


@pytest.mark.parametrize(
    "make",
    [
        lambda optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 / (1 + t)),
        lambda optimizer: torch.optim.lr_scheduler.MultiplicativeLR(optimizer, lambda t: 0.9),
        lambda optimizer: Scheduler(optimizer, lr=laju.linear(0.1, 0, total=8)),
        lambda optimizer: Scheduler(optimizer, lr=Factor(laju.linear(1, 0, total=8))),
    ],
)
def test_the_plan_of_a_scheduler_is_in_rates(make: Any) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    scheduler = make(optimizer)
    plan, used = rates_of(scheduler, 6, 0), []
    for _ in range(6):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert plan == pytest.approx(used)


KERAS = """
import csv, json, sys, warnings
import keras, numpy as np, laju
from torch.utils.tensorboard import SummaryWriter
from laju.frameworks.keras import FitPlan, LearningRate, Track

x = np.ones((32, 1), "float32")
def trained(rate, *callbacks):
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(rate), loss="mse")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model.fit(x, x, batch_size=8, epochs=4, verbose=0, callbacks=[*callbacks])
    return [str(w.message) for w in told if w.category is laju.ScheduleWarning]

writer = SummaryWriter(sys.argv[1])
track = Track(writer, prior=None)
log = sys.argv[1] + ".csv"
good = trained(LearningRate("linear(0.02, 0, total='100%')", plan="fit"), FitPlan(), track, keras.callbacks.CSVLogger(log))
writer.close()
other = Track(None, "linear(0.02, 0, total='100%')", prior=None)
wrong = trained(0.02, keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.02 / (epoch + 1)), other)
with open(log) as file:
    print(json.dumps([track.note, other.note, good, wrong, list(csv.DictReader(file))]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_keras_logs_plan_and_use_of_each_epochs_first_update(tmp_path: Path, backend: str) -> None:
    (tmp_path / "run.py").write_text(textwrap.dedent(KERAS))
    done = subprocess.run(
        [sys.executable, tmp_path / "run.py", tmp_path / "tb"],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    note, other, good, wrong, written = json.loads(done.stdout.splitlines()[-1])
    assert (note, other, good) == (None, None, [])
    assert len(wrong) == 1
    assert "update 4 used the rate 0.01" in wrong[0]
    for epoch, row in enumerate(written):
        assert float(row["lr/planned"]) == pytest.approx(0.02 * (1 - epoch / 4))
        assert float(row["lr/used"]) == pytest.approx(0.02 * (1 - epoch / 4))
    events = EventAccumulator(str(tmp_path / "tb"), size_guidance={"tensors": 0})
    events.Reload()
    (text,) = events.Tensors("laju/schedule/text_summary")
    assert text.tensor_proto.string_val == [b"`linear(0.02, 0, total=16)`"]
    assert [e.step for e in events.Scalars("lr/used")] == [4, 8, 12, 16]
    assert len(events.Scalars("loss")) == 4
