"""Logs that trackio, ultralytics and mmengine write themselves, of a cosine over 60 updates or epochs with a warmup of 10.

    pip install trackio==0.43.0 mmengine==0.10.7 opencv-python-headless==5.0.0.93; pip install --no-deps ultralytics==8.4.190
    python tests/data/logs/write.py [trackio] [ultralytics] [mmengine]

trackio's rows are written and exported by its own functions and command. Of ultralytics the method that writes results.csv,
`BaseTrainer.save_metrics` in ultralytics/engine/trainer.py, is run alone, as its file needs torchvision and OpenCV.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import laju

MEANT = laju.cosine(0.1, total=60, warmup=10)


def write_trackio(to: Path) -> None:
    release = importlib.metadata.version("trackio")
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"TRACKIO_DIR": folder, "HF_HUB_OFFLINE": "1"}
        import trackio

        trackio.init(project="demo", name="run1")
        for t in range(0, 60, 5):
            trackio.log({"train/learning_rate": MEANT(t), "train/loss": 3 - t / 100}, step=t)
        trackio.finish()
        command = [sys.executable, "-c", "from trackio.cli import main; main()"]
        sql = "select run_name, step, metrics from metrics"
        for name, words in (
            ("metric", ["get", "metric", "--project", "demo", "--run", "run1", "--metric", "train/learning_rate"]),
            ("loss", ["get", "metric", "--project", "demo", "--run", "run1", "--metric", "train/loss"]),
            ("query", ["query", "project", "--project", "demo", "--sql", sql]),
        ):
            done = subprocess.run([*command, *words, "--json"], capture_output=True, text=True, check=True)
            (to / f"trackio-{release}-{name}.json").write_text(done.stdout, encoding="utf-8")


def write_ultralytics(to: Path) -> None:
    release = importlib.metadata.version("ultralytics")
    spec = importlib.util.find_spec("ultralytics")
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse(Path(spec.origin, "../engine/trainer.py").resolve().read_text(encoding="utf-8"))
    trainer = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "BaseTrainer")
    method = next(node for node in trainer.body if isinstance(node, ast.FunctionDef) and node.name == "save_metrics")
    space = {"time": time}
    exec(compile(ast.Module([method], []), spec.origin, "exec"), space)
    results = to / f"ultralytics-{release}-results.csv"
    results.unlink(missing_ok=True)
    for epoch in range(60):
        rates = {"lr/pg0": MEANT(epoch), "lr/pg1": MEANT(epoch), "lr/pg2": MEANT(epoch) / 2}
        losses = {"train/box_loss": 3 - epoch / 100, "metrics/mAP50(B)": epoch / 100, "val/box_loss": 3.5 - epoch / 100}
        run = SimpleNamespace(csv=results, epoch=epoch, train_time_start=time.time())
        space["save_metrics"](run, metrics={**losses, **rates})


def write_mmengine(to: Path) -> None:
    from mmengine.visualization import LocalVisBackend

    release = importlib.metadata.version("mmengine")
    with tempfile.TemporaryDirectory() as folder:
        backend = LocalVisBackend(save_dir=folder, scalar_save_file="scalars.json")
        for t in range(4, 60, 5):
            # As mmengine/hooks/logger_hook.py, LoggerHook.after_train_iter, calls: before the scheduler steps, at step t + 1.
            rate = MEANT(t)
            scalars = {"lr": rate, "data_time": 0.01, "loss": 3 - t / 100, "time": 0.1, "epoch": 1, "iter": t + 1}
            backend.add_scalars(scalars, step=t + 1)
        (to / f"mmengine-{release}-scalars.json").write_bytes(Path(folder, "scalars.json").read_bytes())


if __name__ == "__main__":
    for writer in sys.argv[1:] or ["trackio", "ultralytics", "mmengine"]:
        globals()[f"write_{writer}"](Path(__file__).parent)
