"""Logs that the packages themselves write are read, and a healthy run of each is healthy."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import laju
from laju.diagnosis import diagnose
from laju.logs import read

MEANT = laju.cosine(0.1, total=60, warmup=10)


def torch_run():
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, MEANT)


def test_summary_writer_of_torch(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    optimizer, scheduler = torch_run()
    with SummaryWriter(str(tmp_path / "runs" / "a")) as writer:
        for t in range(50):
            writer.add_scalar("train/learning_rate", scheduler.get_last_lr()[0], t)
            if t % 10 == 9:
                writer.add_scalar("train/loss", 3 - t / 100, t, new_style=True)
            optimizer.step()
            scheduler.step()
        writer.add_scalar("train/train_loss", 2.5, 50)
        writer.add_text("args", "lr")
    for path in (tmp_path / "runs", tmp_path / "runs" / "a"):  # nested: the only run is found
        log = read(path)
        assert (log.rates, log.losses[:1], len(log.loss().at)) == (("train/learning_rate",), ("train/loss",), 5)
        assert diagnose(log, MEANT).healthy
    frame = log.to_pandas()
    assert frame["train/loss"].notna().sum() == 5
    with SummaryWriter(str(tmp_path / "runs" / "b")) as writer:
        writer.add_scalar("loss", 1.0, 1)
    with pytest.raises(ValueError, match=r"runs in several folders: a, b; name one"):
        read(tmp_path / "runs")


def test_event_files_are_read_without_tensorflow(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar("lr", 0.1, 3)
    code = f"import sys; from laju.logs import read; print(read({str(tmp_path)!r})); print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("rates: 'lr', updates: 'step' 3\nFalse\n", "")


@pytest.mark.slow
def test_transformers_trainer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch
    from transformers import PrinterCallback, ProgressCallback, Trainer, TrainingArguments

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def forward(self, x, labels=None):
            return {"loss": self.layer(x).square().mean()}

    rows = [{"x": torch.ones(1), "labels": torch.zeros(1)} for _ in range(20)]
    arguments = TrainingArguments(
        output_dir=str(tmp_path), max_steps=60, learning_rate=0.1, lr_scheduler_type="cosine", warmup_steps=10, logging_steps=4,
        per_device_train_batch_size=1, save_steps=30, report_to=["tensorboard"], use_cpu=True, disable_tqdm=True,
        logging_first_step=True,
    )  # fmt: skip
    trainer = Trainer(Model(), arguments, train_dataset=rows)
    assert ProgressCallback not in [type(each) for each in trainer.callback_handler.callbacks]
    assert PrinterCallback in [type(each) for each in trainer.callback_handler.callbacks]
    trainer.train()
    log = read(tmp_path / "checkpoint-60")
    assert log.format.name == "Transformers' Trainer"
    assert (log.rates, log.losses[0], log.unit) == (("learning_rate",), "loss", "update")
    assert diagnose(log, MEANT).healthy
    printed = tmp_path / "train.log"
    printed.write_text(capsys.readouterr().out)
    assert len(read(printed).rate().at) == len(log.rate().at)


@pytest.mark.slow
def test_keras_csv_logger(tmp_path: Path) -> None:
    import keras
    import numpy as np

    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    halved = laju.factor(0.1, 0.5, every=3)
    model.fit(
        np.ones((8, 1)),
        np.zeros((8, 1)),
        epochs=8,
        verbose=0,
        callbacks=[
            keras.callbacks.LearningRateScheduler(lambda epoch, rate: float(halved(epoch))),
            keras.callbacks.CSVLogger(str(tmp_path / "training_log.csv")),
        ],
    )
    log = read(tmp_path)
    assert (log.format.name, log.unit, log.rates, log.losses) == (
        "Keras' CSVLogger",
        "epoch",
        ("learning_rate",),
        ("loss",),
    )
    assert diagnose(log, halved).healthy


def test_timms_summary(tmp_path: Path) -> None:
    # The file alone: timm itself imports torchvision.
    source = Path(os.environ.get("LAJU_VISION", ""), "timm", "utils", "summary.py")
    if not source.exists():
        pytest.skip("timm is not installed where LAJU_VISION says")
    spec = importlib.util.spec_from_file_location("timm_summary", source)
    assert spec is not None
    assert spec.loader is not None
    summary = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(summary)
    for epoch in range(8):
        summary.update_summary(
            epoch, {"loss": 2.0}, {"loss": 2.5, "top1": 10.0}, tmp_path / "summary.csv", lr=MEANT(epoch)
        )
    log = read(tmp_path)
    assert (log.format.name, log.rates, log.unit) == ("timm's summary.csv", ("lr",), "epoch")
    assert diagnose(log, MEANT).healthy


WRITTEN = Path(__file__).parents[1] / "data" / "logs"
"""Logs that packages wrote which are not installed for the tests; write.py writes them anew."""


@pytest.mark.parametrize(
    ("file", "rates", "unit", "rows"),
    [
        ("trackio-0.43.0-metric.json", "train/learning_rate", "update", 12),
        ("trackio-0.43.0-query.json", "metrics/train/learning_rate", "update", 12),
        ("ultralytics-8.4.190-results.csv", "lr/pg0", "epoch", 60),
        ("mmengine-0.10.7-scalars.json", "lr", "update", 12),
    ],
)
def test_logs_that_packages_wrote(file: str, rates: str, unit: str, rows: int) -> None:
    log = read(WRITTEN / file)
    assert (log.rates[0], log.unit, len(log.rate().at)) == (rates, unit, rows)
    assert diagnose(log, MEANT).healthy
    late = laju.cosine(0.1, total=50, warmup=10)
    assert not diagnose(log, late).healthy


def test_the_name_of_trackios_values_says_what_these_are() -> None:
    log = read(WRITTEN / "trackio-0.43.0-loss.json")
    assert (log.rates, log.losses) == ((), ("train/loss",))
    with pytest.raises(ValueError, match="no column of rates"):
        log.rate()


@pytest.mark.parametrize("package", ["trackio", "ultralytics", "mmengine"])
def test_the_packages_write_what_is_kept(package: str, tmp_path: Path) -> None:
    kept = sorted(WRITTEN.glob(f"{package}-*"))
    assert kept
    spec = importlib.util.spec_from_file_location("write_logs", WRITTEN / "write.py")
    assert spec is not None
    assert spec.loader is not None
    writers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writers)
    needed = (package, "cv2") if package == "mmengine" else (package,)
    if any(importlib.util.find_spec(each) is None for each in needed):
        pytest.skip(f"{package} is not installed; what it writes is kept in tests/data/logs")
    getattr(writers, f"write_{package}")(tmp_path)
    for path, file in zip(sorted(tmp_path.iterdir()), kept, strict=True):
        anew, before = read(path), read(file)
        assert list(anew.columns) == list(before.columns)
        for name in (*anew.rates, *anew.losses):
            assert anew.series(name).texts == before.series(name).texts


def test_histories_under_a_key(tmp_path: Path) -> None:
    # As W&B's api.run(…).history(pandas=False) and others give histories: a list of objects under a key.
    (tmp_path / "a.json").write_text(json.dumps({"metrics": [{"step": t, "lr": MEANT(t)} for t in range(0, 60, 5)]}))
    assert diagnose(read(tmp_path / "a.json"), MEANT).healthy
