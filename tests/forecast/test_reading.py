"""Curves are read as they were logged; what a file cannot tell is warned of, and what is wrong is named by its place."""

from __future__ import annotations

import math
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from laju import Ramp, constant, cosine, wsd
from laju.forecast import ForecastWarning
from laju.forecast.reading import MOST, read_curve


@pytest.fixture(autouse=True)
def _warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error", ForecastWarning)
        yield


@pytest.fixture
def written(tmp_path: Path):
    def write(text: str, name: str = "run1.csv", encoding: str = "utf-8") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding=encoding)
        return path

    return write


def log(schedule, at, columns=("update", "rate", "loss")) -> str:
    """What a training loop writes that logs at these updates."""
    return "\n".join([",".join(columns), *(f"{t},{schedule(t)!r},{5 - t / 1000!r}" for t in at)])


# --- columns -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "update,rate,loss",
        "step,lr,train_loss",
        "Iteration,LR,Val Loss",
        "global_step,learning_rate,val/loss",
        "trainer/global_step,train/learning_rate,train/loss",
        "\ufeffsteps,learning rate,loss",
        '"updates","lr-AdamW","loss"',
    ],
)
def test_columns_are_found_by_the_names_that_loggers_give_them(written, header: str) -> None:
    curve = read_curve(written(f"{header}\n1,0.1,3.5\n2,0.1,3.25\n"))
    assert (curve.name, curve.updates.tolist(), curve.loss.tolist()) == ("run1", [1, 2], [3.5, 3.25])
    assert curve.rates.tolist() == [0.1, 0.1]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_columns_in_any_order_among_others(written, delimiter: str) -> None:
    text = "epoch,loss,note,lr,step\n0.1,3.5,a,0.1,1\n0.2,3.25,,0.1,2\n".replace(",", delimiter)
    assert read_curve(written(text), name="mine").loss.tolist() == [3.5, 3.25]


def test_of_several_losses_the_held_out_one_is_taken_and_parts_are_asked_for(written) -> None:
    path = written("step,lr,box_loss,cls_loss\n1,0.1,3.5,4.5\n")
    with pytest.raises(ValueError, match=r"run1\.csv has several columns of losses: 'box_loss', 'cls_loss'"):
        read_curve(path)
    path = written("step,lr,train_loss,val_loss\n1,0.1,3.5,4.5\n")
    assert read_curve(path).loss.tolist() == [4.5]
    assert read_curve(path, loss="train_loss").loss.tolist() == [3.5]
    with pytest.raises(ValueError, match=r"no column 'vall_loss'; did you mean 'val_loss'"):
        read_curve(path, loss="vall_loss")
    assert read_curve(written("step,lr,eval_loss,loss\n1,0.1,9,3.5\n")).loss.tolist() == [3.5]


def test_losses_and_rates_may_be_logged_at_different_updates(written) -> None:
    curve = read_curve(written("step,lr,loss\n0,0.4,\n10,0.3,\n15,,3.5\n20,0.2,\n\n30,0.1,3.25\n"))
    assert curve.updates.tolist() == [15, 30]
    assert curve.rates[[0, 5, 10, 15, 29]].tolist() == pytest.approx([0.4, 0.35, 0.3, 0.25, 0.11])


def test_a_loss_before_any_training_is_left_out(written) -> None:
    assert read_curve(written("step,lr,loss\n0,0.1,9\n1,0.1,3.5\n")).updates.tolist() == [1]


def test_long_logs_become_means_of_neighbours(written) -> None:
    n = 25 * MOST
    curve = read_curve(written("\n".join(["step,lr,loss", *(f"{t},0.1,{5 - t / n!r}" for t in range(1, n + 1))])))
    assert len(curve) == MOST
    assert curve.updates[:2].tolist() == [13, 38]
    assert curve.loss[0] == pytest.approx(np.mean([5 - t / n for t in range(1, 26)]))
    assert len(curve.rates) >= curve.updates[-1]


# --- rates -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", [cosine(0.3, total=1000), wsd(0.3, total=1000, warmup=100, cooldown=300)])
def test_rates_between_logs_are_nearly_those_that_were_used(written, schedule) -> None:
    curve = read_curve(written(log(schedule, range(50, 1001, 50))))
    assert np.abs(curve.rates - schedule.values(1000)).max() < 0.002


def test_a_jump_is_a_ramp_as_long_as_the_gap_between_logs(written) -> None:
    schedule = constant(0.3).take(500) >> constant(0.03)
    used = read_curve(written(log(schedule, range(0, 1001, 100)))).rates
    assert used[400] == pytest.approx(0.3)
    assert (np.diff(used[400:501]) < 0).all()
    assert used[501:].max() == pytest.approx(0.03)


def test_a_warmup_before_the_first_log_can_be_given_and_is_assumed_with_a_warning(written) -> None:
    schedule = cosine(3e-4, total=5000, warmup=900)
    path = written(log(schedule, range(1000, 5000, 100)))
    exact = schedule.values(4900)
    assert np.abs(read_curve(path, warmup=900).rates - exact).max() < 1e-6
    with pytest.warns(ForecastWarning, match=r"run1\.csv has no learning rate before update 1,000"):
        assumed = read_curve(path).rates
    assert (assumed[0], assumed[500]) == (0, pytest.approx(schedule(1000) / 2))
    assert read_curve(path, warmup=0).rates[0] == schedule(1000)
    assert read_curve(path, rates=schedule).rates.tolist() == exact.tolist()


def test_a_first_log_within_the_usual_gap_needs_no_word(written) -> None:
    warming = Ramp(0.0, 0.3, 200) >> constant(0.3)
    assert read_curve(written(log(warming, range(50, 1001, 50)))).rates[:3].tolist() == pytest.approx(
        [0, 0.0015, 0.003]
    )
    assert read_curve(written(log(constant(0.3), range(50, 1001, 50)))).rates[0] == 0.3


def test_rates_that_end_before_the_losses_are_warned_of(written) -> None:
    path = written("step,lr,loss\n0,0.1,\n10,0.1,4\n1000,,3\n")
    with pytest.warns(ForecastWarning, match=r"no learning rate after update 10;.* until the last loss, at 1,000"):
        assert read_curve(path).rates[-1] == 0.1


def test_a_schedule_that_the_file_contradicts_is_warned_of_and_used(written) -> None:
    path = written(log(cosine(0.3, total=1000), range(0, 1001, 50)))
    read_curve(path, rates=cosine(0.3, total=1000))
    with pytest.warns(ForecastWarning, match=r"rate 0\.1\d* at update 600, but its schedule has 0\.1"):
        curve = read_curve(path, rates=cosine(0.3, total=1000).take(580) >> constant(0.12))
    assert curve.rates[999] == 0.12


def test_a_schedule_serves_where_there_is_no_column_of_rates(written) -> None:
    path = written("step,loss\n10,4\n20,3\n")
    assert read_curve(path, rates=constant(0.1)).rates.tolist() == [0.1] * 20
    with pytest.raises(ValueError, match="leave out the argument warmup"):
        read_curve(path, rates=constant(0.1), warmup=5)


# --- wrong files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("step,lr,loss\n", "has no rows"),
        ("step,lr,loss\n0,0.1,3\n", "has no losses after update 0"),
        ("step,lr\n1,0.1\n", "has no column of losses"),
        ("lr,loss\n0.1,3\n", "has no column of updates"),
        ("step,loss\n1,3\n", "has no column of rates: .* give the run's schedule"),
        ("1,0.1,3\n2,0.1,3\n", "has no column of rates: it has 'column 1', 'column 2', 'column 3'"),
        ("step,lr,loss\n1,0.1,3\n2,0.1,three\n", "line 3, column 'loss': 'three' is not a number"),
        ("step,lr,loss\n1,fast,3\n", "line 2, column 'lr': 'fast' is not a number"),
        ("step,lr,loss\n,0.1,3\n", "has no column of updates"),
        ("step,lr,loss\n1.5,0.1,3\n", "line 2: updates are whole numbers"),
        ("step,lr,loss\n-1,0.1,3\n", "line 2: updates are numbers of 0 or more"),
        ("step,lr,loss\nnan,0.1,3\n", "has no updates in column 'step'"),
        ("step,lr,loss\n1,0.1,3\n2,0.1,nan\n", "the loss is nan at update 2, so the run diverged"),
        ("step,lr,loss\n1,0.1,inf\n", "the loss is inf at update 1"),
        ("step,lr,loss\n1,-0.1,3\n", "update 1, column 'lr': a rate must be finite and not negative"),
        ("step,lr,loss\n1,nan,3\n", "update 1, column 'lr': a rate must be finite"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_place(written, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"run1\.csv.*{message}"):
        read_curve(written(text))


def test_updates_that_go_back_or_come_twice_are_told(written) -> None:
    with pytest.warns(
        ForecastWarning, match=r"2 runs in this file \(1: updates 9 … 9; 2: updates 5 … 5\); run 2 was taken"
    ):
        assert read_curve(written("step,lr,loss\n9,0.1,3\n5,0.1,2\n")).updates.tolist() == [5]
    with pytest.warns(ForecastWarning, match="'loss' has more than one value at some positions, such as 9"):
        assert read_curve(written("step,lr,loss\n9,0.1,3\n9,0.1,2\n")).loss.tolist() == [2]


def test_a_log_that_counts_epochs_is_read_in_updates_where_their_number_is_known(written) -> None:
    path = written("epoch,learning_rate,loss\n0,0.1,3.5\n1,0.1,3.25\n2,0.05,3\n")
    assert read_curve(path, updates_per_epoch=100).updates.tolist() == [100, 200, 300]
    with pytest.warns(ForecastWarning, match="counts epochs, and an epoch counts as one update"):
        assert read_curve(path).updates.tolist() == [1, 2, 3]


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"step,lr,loss\n1,\xff\xfe\x00,3\n")
    with pytest.raises(ValueError, match=r"a\.csv is no log: it is not text"):
        read_curve(tmp_path / "a.csv")
    with pytest.raises(OSError, match="nowhere"):
        read_curve(tmp_path / "nowhere.csv")


@pytest.mark.parametrize("size", ["25M", "100M"])
def test_the_published_curves_are_read_as_they_were_run(shared: Path, size: str) -> None:
    folder = shared / "data" / "loss-curves" / "multi-power-law" / size
    end = 3e-5
    exact = {
        "constant_24000": constant(3e-4).warmup(2160),
        "cosine_24000": cosine(3e-4, total=24_000, final=end, warmup=2160),
        "wsdcon_9": Ramp(0.0, 3e-4, 2160) >> constant(3e-4).take(5840) >> constant(9e-5),
    }
    for name, schedule in exact.items():
        curve = read_curve(folder / f"{name}.csv", warmup=2160)
        n = len(curve.rates)
        assert abs(curve.rates.sum() / schedule.values(n).sum() - 1) < 0.005
        assert len(curve) > 90
    norms = shared / "data" / "loss-curves" / "llama-124m" / "grad-norm-constant-1e-3.csv"
    assert read_curve(norms).peak == pytest.approx(1e-3)


# --- TensorBoard -------------------------------------------------------------------------------------------------------


@pytest.fixture
def events(tmp_path: Path):
    """Writes scalars by tag as torch's SummaryWriter does, into one event file a call."""
    from torch.utils.tensorboard import SummaryWriter

    def write(scalars: dict[str, list[tuple[int, float]]], folder: str = "run7", suffix: str = "") -> Path:
        with SummaryWriter(str(tmp_path / folder), filename_suffix=suffix) as writer:
            for tag, points in scalars.items():
                for step, value in points:
                    writer.add_scalar(tag, value, step)
        return tmp_path / folder

    return write


def test_tensorboard_folders_and_files_are_read(events) -> None:
    schedule = cosine(0.25, total=200)
    points = range(0, 201, 10)
    folder = events({"train/loss": [(t, 4 - t / 100) for t in points], "train/lr": [(t, schedule(t)) for t in points]})
    curve = read_curve(folder)
    assert curve.name == "run7"
    assert curve.updates.tolist() == list(points)[1:]
    assert curve.loss == pytest.approx([4 - t / 100 for t in points][1:], rel=1e-6)
    assert np.abs(curve.rates - schedule.values(200)).max() < 0.001
    (file,) = folder.iterdir()
    assert read_curve(file).loss.tolist() == curve.loss.tolist()
    assert read_curve(file, name="a", rates=schedule).rates.tolist() == schedule.values(200).tolist()


def test_scalars_that_are_kept_as_tensors_are_read(tmp_path: Path) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.summary.writer.event_file_writer import EventFileWriter
    from tensorboard.util.tensor_util import make_tensor_proto

    writer = EventFileWriter(str(tmp_path))
    kind = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="scalars"))
    for step in (10, 20, 30):  # as tf.summary.scalar writes them
        for tag, value in (("epoch_loss", 5 - step / 10), ("learning_rate", 0.5)):
            proto = make_tensor_proto(np.float32(value))
            summary = Summary(value=[Summary.Value(tag=tag, tensor=proto, metadata=kind)])
            writer.add_event(Event(step=step, summary=summary, wall_time=step))
    writer.close()
    curve = read_curve(tmp_path)
    assert (curve.updates.tolist(), curve.loss.tolist(), curve.peak) == ([10, 20, 30], [4, 3, 2], 0.5)


def test_of_a_resumed_run_the_later_part_counts(events) -> None:
    events(
        {"loss": [(10, 4.0), (20, 3.0), (30, 2.5), (40, 2.25)], "lr": [(t, 0.5) for t in (10, 20, 30, 40)]}, suffix="a"
    )
    folder = events({"loss": [(30, 2.0), (50, 1.0)], "lr": [(30, 0.25), (50, 0.25)]}, suffix="b")
    with pytest.warns(ForecastWarning, match="after 40 the log goes on from 30: a resumed run"):
        curve = read_curve(folder)
    assert (curve.updates.tolist(), curve.loss.tolist()) == ([10, 20, 30, 50], [4, 3, 2, 1])
    assert curve.rates[45] == 0.25


def test_wrong_tensorboard_folders_are_named(events, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty has no event files"):
        read_curve(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_curve(tmp_path / "nowhere")
    folder = events({"train/loss": [(1, 4.0)], "val/loss": [(1, 4.0)], "lr": [(1, 0.1)]})
    parts = events({"train/box_loss": [(1, 4.0)], "train/cls_loss": [(1, 4.0)], "lr": [(1, 0.1)]}, "parts")
    with pytest.raises(ValueError, match="several columns of losses: 'train/box_loss', 'train/cls_loss'"):
        read_curve(parts)
    with pytest.raises(ValueError, match=r"no column 'train/los'; did you mean 'train/loss'"):
        read_curve(folder, loss="train/los")
    assert read_curve(folder, loss="val/loss").loss.tolist() == [4]
    with pytest.raises(ValueError, match="the loss is nan at update 2"):
        read_curve(events({"loss": [(1, 4.0), (2, math.nan)], "lr": [(1, 0.1)]}, "bad"))


def test_without_tensorboard_installed_it_says_what_to_install(events, monkeypatch) -> None:
    folder = events({"loss": [(1, 4.0)], "lr": [(1, 0.1)]})
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)

    class Absent:
        @staticmethod
        def find_spec(name, path=None, target=None):
            if name == "tensorboard":
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(sys, "meta_path", [Absent, *sys.meta_path])
    with pytest.raises(ModuleNotFoundError, match=r"needs the package tensorboard, which is not installed: .*install"):
        read_curve(folder)
