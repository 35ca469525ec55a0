"""Logs beside a comparison are shown with the columns that were taken, and change nothing of what is compared."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

import laju
from laju.cli import cli
from laju.lab.comparison.beside import LoggedRun, logged, read_beside
from laju.lab.report import figures
from laju.lab.report.html import page
from laju.logs import LogError, read
from tests.lab.test_report import PLAN, comparison
from tests.pages import check

KERAS = "epoch,accuracy,learning_rate,loss,val_accuracy,val_loss\n" + "".join(
    f"{e},{50 + e},{0.1 / (1 + e)},{2.5 - e / 2},{40 + e},{2.75 - e / 2}\n" for e in range(4)
)
SCHEDULES = {"a": laju.constant(0.1), "b": laju.cosine(0.3, total="100%")}


def of(content: str, name: str = "run.csv", loss: str | None = None) -> LoggedRun:
    return replace(logged(read(io.StringIO(content), loss=loss), loss), name=name)


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        ("step,loss", {"train_loss": "loss"}),
        ("step,train_loss,val_loss", {"train_loss": "train_loss", "test_loss": "val_loss"}),
        ("step,val_loss", {"test_loss": "val_loss"}),
        ("step,lr-SGD,train/loss,eval/loss", {"rate": "lr-SGD", "train_loss": "train/loss", "test_loss": "eval/loss"}),
        ("epoch,loss,eval_loss,eval_top1", {"train_loss": "loss", "test_loss": "eval_loss", "test_accuracy": "eval_top1"}),
        ("epoch,acc,loss,val_acc", {"train_loss": "loss", "train_accuracy": "acc", "test_accuracy": "val_acc"}),
        ("step,loss,metrics/accuracy_top1", {"train_loss": "loss"}),  # of which side the name does not tell
        ("step,loss,val/box_loss,val/cls_loss", {"train_loss": "loss"}),
    ],
)  # fmt: skip
def test_figures_are_told_by_the_names_of_columns(header: str, taken: dict[str, str]) -> None:
    rows = [",".join([str(10 * i), *["0.5"] * header.count(",")]) for i in range(3)]
    found = of("\n".join([header, *rows]) + "\n")
    assert {figure: column.name for figure, column in found.columns.items()} == taken


def test_what_is_not_the_loss_for_certain_is_refused() -> None:
    several = "step,train/box_loss,train/cls_loss\n0,1,2\n9,1,2\n"
    with pytest.raises(LogError, match=r"several columns of losses: 'train/box_loss', 'train/cls_loss'.*--loss-column"):
        of(several)
    assert of(several, loss="train/cls_loss").last("train_loss") == 2
    both = of("step,train_loss_step,train_loss_epoch,val_loss\n0,1,2,3\n9,1,2,3\n", loss="train_loss_epoch")
    assert (both.last("train_loss"), both.last("test_loss")) == (2, 3)
    with pytest.raises(LogError, match="no column of losses: it has 'step', 'lr'"):
        of("step,lr\n0,1\n9,1\n")
    with pytest.raises(TypeError, match=r"beside must be a list of logs, such as \['run\.csv'\]"):
        read_beside("run.csv")
    for wrong in (None, 3, [3]):
        with pytest.raises(TypeError, match=r"beside must be a list of files, folders or logs, got (None|3)"):
            read_beside(wrong)
    with pytest.raises(ValueError, match=r"'run\.csv' twice"):
        read_beside([of(KERAS), of(KERAS)])


def test_curves_lie_on_the_axis_of_epochs() -> None:
    keras = of(KERAS)
    epochs, values = keras.curve("train_loss", PLAN)
    assert (epochs.tolist(), values.tolist()) == ([1, 2, 3, 4], [2.5, 2, 1.5, 1])
    assert keras.curve("rate", PLAN)[0].tolist() == [0, 1, 2, 3]
    assert keras.curve("train_accuracy", PLAN)[1].tolist() == [0.5, 0.51, 0.52, 0.53]
    for unit, per in (("step", 10), ("samples", 1000)):
        assert of(f"{unit},loss\n0,3\n20,2\n").curve("train_loss", PLAN)[0].tolist() == [0, 20 / per]
    assert of("tokens,loss\n0,3\n20,2\n").curve("train_loss", PLAN) is None
    assert of("step,loss\n0,3\n20,2\n").curve("test_accuracy", PLAN) is None


def test_nothing_that_is_compared_changes() -> None:
    alone = comparison(SCHEDULES)
    beside = replace(alone, beside=(of(KERAS), of("step,loss\n0,3\n20,nan\n", "nano.csv")))
    mine, theirs = beside.findings().to_json(), alone.findings().to_json()
    logs = mine.pop("beside")
    assert theirs.pop("beside") == []
    assert mine == theirs
    assert (logs[0]["log"], logs[0]["paired"], logs[0]["train_loss"], logs[0]["test_accuracy"]) == (
        "run.csv",
        False,
        1.0,
        0.43,
    )
    assert logs[0]["columns"]["test_loss"] == "val_loss"
    assert logs[1]["train_loss"] is None  # JSON has no NaN
    json.dumps(logs, allow_nan=False)


def test_the_page_and_its_pictures_show_the_logs_as_not_paired() -> None:
    hostile = "<script>$x_1$.csv"
    beside = replace(comparison(SCHEDULES), beside=(of(KERAS, hostile), of("tokens,loss\n0,3\n20,2.125\n", "t.csv")))
    text = page(beside.findings())
    assert "From logs, not paired" in text
    check(text)
    assert "&lt;script&gt;$x_1$.csv (not paired)" in text
    assert "2.125" in text
    assert "From logs" not in page(comparison(SCHEDULES).findings())
    drawn = figures.overview(beside)
    assert [len(ax.lines) for ax in drawn.axes] == [3, 3, 3, 3]  # the log in tokens has no place on the axis
    loss = drawn.axes[1]
    assert loss.lines[-1].get_ydata().tolist() == [2.5, 2.0, 1.5, 1.0]
    assert loss.lines[-1].get_linestyle() != "-"
    assert loss.get_ylim()[1] >= 2.5
    assert "<script>$x_1$.csv (not paired)" in [each.get_text() for each in drawn.legends[0].get_texts()]


@pytest.mark.slow
def test_the_command_shows_logs_and_refuses_what_is_none_before_it_trains(tmp_path: Path) -> None:
    log, store = tmp_path / "keras.csv", tmp_path / "store.sqlite"
    log.write_text(KERAS)

    def run(*more: str):
        common = ("--epochs", "1", "--seeds", "1", "--jobs", "1", "--store", str(store), "--out", str(tmp_path / "out"))
        return CliRunner().invoke(cli, ["compare", "constant(0.1)", *common, *more])

    for wrong, message in (
        (("--beside", str(tmp_path / "none.csv")), "there is no file"),
        (("--beside", str(log), "--loss-column", "los"), "did you mean 'loss'"),
        (("--loss-column", "loss"), "--beside LOG, which is not given"),
    ):
        done = run(*wrong)
        assert (done.exit_code, store.exists()) == (2, False)
        assert message in done.output
    done = run("--beside", str(log))
    assert done.exit_code == 0, done.output
    assert "(not paired): train loss 1.000 ('loss')" in " ".join(done.output.split())
    assert "(not paired)" in (tmp_path / "out" / "report.html").read_text()
