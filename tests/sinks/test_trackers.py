"""The lines of the page "Log it" with the real packages, offline, and what these packages read back."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import laju
from laju.sinks import Track, tracker_of

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guides" / "log-it.md").read_text()
TRACKERS = Path(os.environ.get("LAJU_TRACKERS", ROOT / ".trackers"))
SCHEDULE = laju.cosine(0.3, total=200, warmup=20)

LOOP = """
import json, warnings
import laju
from laju.sinks import Track
schedule = laju.cosine(0.3, total=200, warmup=20)
{imports}
{line}
with track:
    for update in range(120):
        lr = schedule(update) if update < 100 else 0.01
        track.log(update, lr=lr, loss=2 + (update + 1) ** -0.5)
        if update == 60:
            track.live.wait(120)
{read}
print(json.dumps([config, rows]))
"""

READ = {
    "wandb": """
import pathlib, struct
from wandb.proto.wandb_internal_pb2 import Record
wandb.run.finish(); wandb.teardown()
(path,) = pathlib.Path("wandb").glob("offline-run-*/*.wandb")
config, rows, data, at, file = {}, {}, b"", 7, path.read_bytes()
assert file[:4] == b":W&B"
while at < len(file):  # records as LevelDB's log has them: whole, or in pieces that end with a piece of type 4
    if 32768 - at % 32768 < 7:
        at += 32768 - at % 32768
        continue
    _, size, kind = struct.unpack("<IHB", file[at : at + 7])
    data += file[at + 7 : at + 7 + size]
    at += 7 + size
    if kind not in (1, 4):
        continue
    record, data = Record.FromString(data), b""
    for update in [*record.config.update, *record.run.config.update]:
        config[update.key] = json.loads(update.value_json)
    if record.HasField("history"):
        row = {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
        rows.setdefault(row["_step"], {}).update(row)
""",
    "mlflow": """
run = mlflow.active_run(); mlflow.end_run()
client = mlflow.MlflowClient()
data = client.get_run(run.info.run_id).data
config, rows = data.params, {}
for name in data.metrics:
    for m in client.get_metric_history(run.info.run_id, name):
        rows.setdefault(m.step, {})[name] = m.value
""",
    "trackio": """
trackio.finish()
from trackio.sqlite_storage import SQLiteStorage
(run,) = SQLiteStorage.get_runs("mine")
run = run if isinstance(run, str) else run["name"]
config = SQLiteStorage.get_run_config("mine", run)
rows = {row["step"]: row for row in SQLiteStorage.get_logs("mine", run)}
""",
    "tensorboard": """
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
track._tracker._writer.close()
events = EventAccumulator("runs/1", size_guidance={"scalars": 0, "tensors": 0}); events.Reload()
texts = {t: events.Tensors(t)[0].tensor_proto.string_val[0] for t in events.Tags()["tensors"]}
config = {tag.removesuffix("/text_summary"): text.decode().strip("`") for tag, text in texts.items()}
rows = {}
for name in events.Tags()["scalars"]:
    for e in events.Scalars(name):
        rows.setdefault(e.step, {})[name] = e.value
""",
}


def line(package: str) -> str:
    """The page's own line for a tracker."""
    word = {"tensorboard": "SummaryWriter"}.get(package, package)
    (found,) = re.findall(rf"^\| .* \| `(track = Track\({word}.*)` \|$", PAGE, flags=re.MULTILINE)
    return found


def run(package: str, folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    if package != "tensorboard" and not (TRACKERS / package).is_dir():
        pytest.skip(f"needs {package} in {TRACKERS}: make setup-trackers")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(TRACKERS)]),
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "TRACKIO_DIR": str(folder / "trackio"),
        "HF_HUB_OFFLINE": "1",
    }
    # The folder goes behind the environment's own packages, as make setup-trackers leaves out what these have.
    first = f"import sys; sys.path.remove({str(TRACKERS)!r}); sys.path.append({str(TRACKERS)!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", first + script], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done


IMPORTS = {"tensorboard": "from torch.utils.tensorboard import SummaryWriter"}


@pytest.mark.slow
@pytest.mark.parametrize("package", READ)
def test_a_tracker_has_plan_use_text_fingerprint_and_forecast(package: str, tmp_path: Path) -> None:
    imports = IMPORTS.get(package, f"import {package}")
    done = run(package, tmp_path, LOOP.format(imports=imports, line=line(package), read=READ[package]))
    config, rows = json.loads(done.stdout.splitlines()[-1])
    assert config["laju/schedule"] == "cosine(0.3, total=200, warmup=20)"
    assert config["laju/fingerprint"] == SCHEDULE.fingerprint
    assert {int(update) for update in rows} == set(range(120))
    near = {"rel": 1e-6} if package == "tensorboard" else {"rel": 0, "abs": 0}  # which keeps float32
    for update, row in rows.items():
        t = int(update)
        assert row["lr/planned"] == pytest.approx(SCHEDULE(t), **near)
        assert row["lr/used"] == pytest.approx(SCHEDULE(t) if t < 100 else 0.01, **near)
        assert row["loss"] == pytest.approx(2 + (t + 1) ** -0.5, rel=1e-6)
    last = rows[max(rows, key=int)]
    assert last["forecast/low"] <= last["forecast/end"] <= last["forecast/high"]
    assert last["forecast/update"] >= 61
    assert done.stderr.count("update 100 used the rate 0.01, and the plan is") == 1
    assert done.stderr.count("ScheduleWarning") == 1


@pytest.mark.slow
def test_rows_join_those_of_a_program_that_logs_into_wandb_by_itself(tmp_path: Path) -> None:
    loop = """
import json, wandb, laju
from laju.sinks import Track
run = wandb.init(project="mine")
track = Track(run, laju.linear(1, 0, total=9), forecast=None)
for update in range(9):
    run.log({"mine": update})
    track.log(update, lr=1 - update / 9)
"""
    done = run("wandb", tmp_path, loop + READ["wandb"] + "print(json.dumps(list(rows.values())))")
    rows = json.loads(done.stdout.splitlines()[-1])
    used = {row["update"]: row["lr/used"] for row in rows if "update" in row}
    assert used == {t: 1 - t / 9 for t in range(9)}
    assert [row["mine"] for row in rows if "mine" in row] == list(range(9))


@pytest.mark.slow
def test_mlflow_keeps_its_parameter_and_says_so_where_a_run_goes_on_with_another_schedule(tmp_path: Path) -> None:
    script = """
import mlflow, laju
from laju.sinks import Track
with mlflow.start_run() as run:
    for schedule in ("constant(1)", "constant(1)", "constant(2)"):
        Track(run, schedule)
data = mlflow.MlflowClient().get_run(run.info.run_id).data
print(data.params["laju/schedule"], data.tags["laju/schedule"])
long = laju.Table([1 / (n + 3) for n in range(900)])
with mlflow.start_run() as run:
    Track(run, long, forecast=None)
kept = mlflow.MlflowClient().get_run(run.info.run_id).data.params["laju/schedule"]
print(len(str(long)) > 6000, len(kept), kept[-1] == "…")
"""
    done = run("mlflow", tmp_path, script)
    assert done.stdout.splitlines()[-2:] == ["constant(1) constant(2)", "True 6000 True"]
    assert done.stderr.count("which MLflow cannot change") == 2  # text and fingerprint


class Writer:
    def __init__(self) -> None:
        self.rows: dict[int, dict[str, float]] = {}

    def add_text(self, tag: str, text: str, step: int) -> None:
        pass

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.rows.setdefault(step, {})[tag] = value


def test_a_rate_that_is_read_too_late_is_told_as_that() -> None:
    schedule = laju.linear(1, 0, total=10)
    track = Track(Writer(), schedule, forecast=None)
    with pytest.warns(laju.ScheduleWarning, match=r"has 0\.9 for update 1: read the rate before scheduler\.step\(\)"):
        track.log(0, lr=schedule(1))
    track.log(1, lr=schedule(2))  # said once; a second warning is an error here


def test_float32_is_no_difference_and_nan_is() -> None:
    import numpy as np

    schedule = laju.cosine(0.3, total=1000)
    track = Track(Writer(), schedule, forecast=None)
    for t in range(1001):
        track.log(t, lr=np.float32(schedule(t)) + np.float32(1e-8))
    with pytest.warns(laju.ScheduleWarning, match="used the rate nan"):
        track.log(1001, lr=math.nan)


@pytest.mark.parametrize("wrong", [None, 3, "runs/1", Writer, json])
def test_what_is_no_run_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"run must be a run of W&B, MLflow or trackio, or a SummaryWriter"):
        tracker_of(wrong)


def test_arguments_are_checked() -> None:
    with pytest.raises(laju.UnresolvedError, match="epochs"):
        Track(Writer(), "cosine(0.1, total='3 epochs')")
    with pytest.raises(TypeError, match="schedule must be a laju schedule or its text, got 3"):
        Track(Writer(), 3)  # type: ignore[arg-type]
    track = Track(Writer(), "cosine(0.1, total='3 epochs')", plan=laju.RunPlan(samples=40, batch_size=4, epochs=3))
    with pytest.raises(TypeError, match="loss must be a number, got 'high'"):
        track.log(0, loss="high")
    with pytest.raises(ValueError, match="update must be"):
        track.log(-1)
