"""Real runs of Lightning, Transformers and Keras that forecast their own ends."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
import transformers
from lightning.pytorch.loggers import CSVLogger

import laju
from laju.forecast import Curve, ending, learn
from laju.forecast.live import LiveEnding
from laju.frameworks import lightning as in_lightning
from laju.frameworks import transformers as in_transformers
from tests.frameworks.test_trainers import ONE_NUMBER_A_SAMPLE, Net, _quiet_and_alone  # noqa: F401

TOTAL = 96
NAMES = {"forecast/end", "forecast/low", "forecast/high", "forecast/update"}
RUN = laju.linear(0.1, 0, total=TOTAL)
LOSSES = 2 + np.arange(1, TOTAL + 1) ** -0.5


@pytest.fixture(autouse=True)
def _answers_at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every row is answered before the next one, as in a training whose updates are slow."""
    add = LiveEnding.add

    def patient(self: LiveEnding, update: int, loss: Any) -> None:
        add(self, update, loss)
        if update % 16 == 0:
            self.wait(60)

    monkeypatch.setattr(LiveEnding, "add", patient)
    return


class Module(lightning.LightningModule):
    """A loss that is told, with a gradient."""

    def __init__(self, bad: int | None = None, scheduler: bool = True) -> None:
        super().__init__()
        self.net, self.bad, self.scheduler, self.n = Net(), bad, scheduler, 0

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        update = self.global_step
        loss = float(LOSSES[min(update, TOTAL - 1)]) if update != self.bad else float("nan")
        weight = self.net.weight.sum()
        return loss + weight - weight.detach()

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_loss", float(LOSSES[min(self.global_step, TOTAL) - 1]) + 1)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        if not self.scheduler:
            return optimizer
        linear = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 - t / TOTAL)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": linear, "interval": "step"}}


def fit(module: Module, folder: Path, *callbacks: Any, steps: int = 80, ckpt_path: Any = None, **options: Any) -> Any:
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_steps=TOTAL,
        max_epochs=-1,
        log_every_n_steps=8,
        logger=CSVLogger(folder, name="", version=0),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*callbacks, Stop(steps)],
        **options,
    )
    data = torch.utils.data.DataLoader(ONE_NUMBER_A_SAMPLE, batch_size=4)  # type: ignore[arg-type]
    trainer.fit(module, data, data, ckpt_path=ckpt_path)
    return trainer


class Stop(lightning.Callback):
    def __init__(self, at: int) -> None:
        self.at = at

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        trainer.should_stop = trainer.global_step >= self.at


def rows(folder: Path) -> list[dict[str, float]]:
    with (folder / "version_0" / "metrics.csv").open() as file:
        return [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_lightning_logs_the_ending_and_the_row_that_it_is_from(tmp_path: Path, accumulate: int) -> None:
    forecast = in_lightning.Forecast(prior=None)
    fit(Module(), tmp_path, forecast, accumulate_grad_batches=accumulate)
    assert forecast.note is None
    at, told = np.arange(1, 81), np.float32(LOSSES[:80]).astype(float)
    assert forecast.ending is not None
    assert forecast.ending.seen == 80
    assert forecast.ending.value == pytest.approx(ending(at, told, RUN, prior=None).value, rel=1e-6)
    logged = [row for row in rows(tmp_path) if NAMES & set(row)]
    assert logged
    for row in logged:
        assert set(row) >= NAMES
        n = int(row["forecast/update"])
        assert n <= row["step"] + 1
        assert row["forecast/end"] == pytest.approx(ending(at[:n], told[:n], RUN, prior=None).value, rel=1e-5)
    assert forecast.live is None


def test_lightning_forecasts_a_validation_and_takes_lengths_of_the_run(tmp_path: Path) -> None:
    forecast = in_lightning.Forecast("linear(0.1, 0, total='100%')", monitor="val_loss", prior=None)
    fit(Module(scheduler=False), tmp_path, forecast)
    assert forecast.note is None
    assert forecast.ending is not None
    at = np.arange(8, 81, 8)
    expected = ending(at, np.float32(LOSSES[at - 1] + 1).astype(float), RUN, prior=None)
    assert forecast.ending.value == pytest.approx(expected.value, rel=1e-6)


def test_a_run_that_lightning_resumes_goes_on_with_its_curve(tmp_path: Path) -> None:
    fit(Module(), tmp_path, in_lightning.Forecast(prior=None), steps=40).save_checkpoint(tmp_path / "40.ckpt")
    forecast = in_lightning.Forecast(prior=None)
    fit(Module(), tmp_path / "more", forecast, ckpt_path=tmp_path / "40.ckpt")
    at = np.arange(1, 81)
    assert forecast.ending is not None
    expected = ending(at, np.float32(LOSSES[:80]).astype(float), RUN, prior=None)
    assert forecast.ending.value == pytest.approx(expected.value, rel=1e-6)


def test_lightning_goes_on_where_no_forecast_can_be_made(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def note(*arguments: Any, module: Module | None = None, **options: Any) -> str:
        forecast = in_lightning.Forecast(*arguments, prior=None, **options)
        trainer = fit(module or Module(), tmp_path, forecast)
        assert trainer.global_step == 80
        return str(forecast.note)

    assert "has no scheduler" in note(module=Module(scheduler=False))
    assert "monitor='val_los'" in (told := note(monitor="val_los"))
    assert "'val_loss'" in told
    assert "tokens" in note("cosine(0.1, total='5 tokens')")
    assert "rate for each" in note(RUN.values(50))
    assert "no forecast" in caplog.text


def test_a_nan_loss_of_lightning_stops_nothing(tmp_path: Path) -> None:
    forecast = in_lightning.Forecast(prior=None)
    assert fit(Module(bad=20), tmp_path, forecast).global_step == 80
    assert forecast.ending is not None
    assert "1 of 80 losses are not finite" in forecast.ending.notes[0]


def test_an_error_in_the_ending_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LiveEnding, "figures", lambda self: 1 / 0)
    forecast = in_lightning.Forecast(prior=None)
    assert fit(Module(), tmp_path, forecast).global_step == 80
    assert forecast.note == "ZeroDivisionError: division by zero"


def test_mistakes_are_told_before_the_training() -> None:
    with pytest.raises(laju.SpecError, match="schedule must be"):
        in_lightning.Forecast("cosin(0.1, total=10)")
    with pytest.raises(ValueError, match="prior must be"):
        in_lightning.Forecast(prior="vision")
    with pytest.raises(TypeError, match="trainer must be the Trainer"):
        in_transformers.Forecast(RUN)


# --- Transformers ------------------------------------------------------------------------------------------------------


class Told(torch.nn.Module):
    """A loss that is told, with a gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.n = torch.nn.Parameter(torch.zeros(1)), 0

    def forward(self, x: torch.Tensor, **_: Any) -> dict[str, torch.Tensor]:
        loss = float(LOSSES[min(self.n, TOTAL - 1)])
        self.n += self.training
        return {"loss": loss + self.weight.sum() - self.weight.sum().detach()}


def trainer_of(folder: Path, steps: int = 80, **options: Any) -> Any:
    class Stop(transformers.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = state.global_step >= steps

    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        max_steps=TOTAL,
        per_device_train_batch_size=4,
        logging_steps=2,
        learning_rate=0.1,
        lr_scheduler_type="linear",
        use_cpu=True,
        disable_tqdm=True,
        remove_unused_columns=False,
        **{"save_strategy": "no", "report_to": [], **options},
    )
    data = [{"x": torch.zeros(1)} for _ in range(32)]
    return transformers.Trainer(Told(), arguments, train_dataset=data, eval_dataset=data[:4], callbacks=[Stop()])  # type: ignore[arg-type]


def test_transformers_logs_the_ending_and_the_row_that_it_is_from(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path)
    forecast = in_transformers.Forecast(trainer, prior=None)
    trainer.add_callback(forecast)
    trainer.train()
    assert forecast.note is None
    history = trainer.state.log_history
    at, told = map(np.array, zip(*[(e["step"], e["loss"]) for e in history if "loss" in e], strict=True))
    assert at.tolist() == list(range(2, 81, 2))
    assert forecast.ending is not None
    assert forecast.ending.value == pytest.approx(ending(at, told, RUN, prior=None).value, rel=1e-9)
    logged = [entry for entry in history if NAMES & set(entry)]
    assert logged
    for entry in logged:
        n = int((at <= entry["forecast/update"]).sum())
        assert entry["forecast/update"] <= entry["step"]
        assert entry["forecast/end"] == pytest.approx(ending(at[:n], told[:n], RUN, prior=None).value, rel=1e-9)


def test_a_run_that_transformers_resumes_goes_on_with_its_curve(tmp_path: Path) -> None:
    trainer_of(tmp_path, 40, save_strategy="steps", save_steps=40).train()
    trainer = trainer_of(tmp_path)
    trainer.model.n = 40
    trainer.add_callback(forecast := in_transformers.Forecast(trainer, prior=None))
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-40"))
    assert forecast.note is None
    told = [(e["step"], e["loss"]) for e in trainer.state.log_history if "loss" in e]
    assert [at for at, _ in told] == list(range(2, 81, 2))
    assert forecast.ending is not None
    expected = ending(*map(np.array, zip(*told, strict=True)), RUN, prior=None)
    assert forecast.ending.value == pytest.approx(expected.value, rel=1e-9)


def test_transformers_goes_on_where_no_forecast_can_be_made(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path)
    trainer.add_callback(forecast := in_transformers.Forecast(trainer, monitor="eval_los", prior=None))
    trainer.train()
    assert trainer.state.global_step == 80
    assert "monitor='eval_los'" in str(forecast.note)


# --- Keras -------------------------------------------------------------------------------------------------------------

KERAS = """
import csv, json, sys
import keras, numpy as np, laju
from laju.forecast import ending
from laju.forecast.live import LiveEnding
from laju.frameworks.keras import FitPlan, Forecast, LearningRate

add = LiveEnding.add
def patient(self, update, loss):
    add(self, update, loss)
    if update % 8 == 0:
        self.wait(60)
LiveEnding.add = patient
rows = []
class Rows(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        mean = float(logs["loss"])
        rows.append(mean * (batch + 1) - (self.mean * batch if batch else 0))
        self.mean = mean

x = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
y = (x @ np.random.default_rng(1).normal(size=(8, 1))).astype("float32") + 3
def trained(rate, callbacks, **options):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((8,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(rate), loss="mse")
    return model.fit(x, y, batch_size=8, shuffle=False, epochs=12, verbose=0, callbacks=callbacks, **options)

schedule = laju.linear(0.02, 0, total=96)
class Until(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = epoch == 9
told = Forecast(prior=None)
log = sys.argv[1] + "/log.csv"
history = trained(
    LearningRate("linear(0.02, 0, total='100%')", plan="fit"),
    [told, FitPlan(), Rows(), Until(), keras.callbacks.CSVLogger(log)],
)
with open(log) as file:
    written = list(csv.DictReader(file))
expected = ending(np.arange(1, 81), rows, schedule, prior=None)
first, plain = told, Forecast(monitor="val_loss", prior=None)
decay = keras.optimizers.schedules.PolynomialDecay(0.02, 96, 0.0)
validated = trained(decay, [plain, Until()], validation_data=(x, y))
of_epochs = ending(np.arange(8, 81, 8), validated.history["val_loss"], schedule, prior=None)
wrong = Forecast(monitor="val_los", prior=None)
kept = trained(0.01, [wrong, Until()])
print(json.dumps({
    "note": first.note, "seen": first.ending.seen, "value": first.ending.value, "expected": expected.value,
    "refused": [first.ending.refused, expected.refused],
    "csv": written, "history": {k: v for k, v in history.history.items()},
    "validated": [plain.note, plain.ending.value, of_epochs.value, plain.ending.refused, of_epochs.refused],
    "wrong": [wrong.note, len(kept.history["loss"])],
}))
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
@pytest.mark.slow
def test_keras_has_the_ending_in_its_logs(tmp_path: Path, backend: str) -> None:
    (tmp_path / "run.py").write_text(textwrap.dedent(KERAS))
    done = subprocess.run(
        [sys.executable, tmp_path / "run.py", tmp_path],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["note"] is None
    assert told["seen"] == 80
    assert told["refused"][0] == told["refused"][1]
    if told["expected"] is not None:
        assert told["value"] == pytest.approx(told["expected"], rel=1e-3)
    assert set(told["csv"][0]) >= NAMES
    assert len(told["csv"]) == 10
    answered = [row for row in told["csv"] if row["forecast/update"] != "nan"]
    assert all(float(row["forecast/update"]) <= 8 * (int(row["epoch"]) + 1) for row in answered)
    assert set(told["history"]) >= NAMES
    note, value, expected, refused, why = told["validated"]
    assert (note, refused) == (None, why)
    assert value == pytest.approx(expected)
    assert "monitor='val_los'" in told["wrong"][0]
    assert told["wrong"][1] == 10


# --- ranks -------------------------------------------------------------------------------------------------------------


def test_only_rank_0_forecasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lightning.Trainer, "is_global_zero", property(lambda self: False))
    forecast = in_lightning.Forecast(prior=None)
    fit(Module(), tmp_path, forecast)
    assert forecast.ending is None
    assert forecast.note is None


def test_a_prior_of_own_runs_is_used(tmp_path: Path) -> None:
    at = np.arange(1, TOTAL + 1)
    prior = learn([Curve(at, LOSSES + k / 100, RUN, f"run {k}") for k in range(3)])
    forecast = in_lightning.Forecast(prior=prior)
    fit(Module(), tmp_path, forecast)
    assert forecast.ending is not None
    assert forecast.ending.prior == prior.name
