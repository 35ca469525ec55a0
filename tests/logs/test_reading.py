"""Every log is read as it was written: what a column is, what the rows mean, and what cannot be told is an error."""

# ruff: noqa: E501 - lines as loggers print them
from __future__ import annotations

import gzip
import io
import json
import math
import random
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import laju
from laju.cli import cli
from laju.logs import LogError, columns, names, read


def text(content: str, **options):
    return read(io.StringIO(content), **options)


def table(header: str, rows, parted: str = ",") -> str:
    return "\n".join([header, *(parted.join(map(str, row)) for row in rows)]) + "\n"


LINEAR = laju.linear_to_zero(2e-5, total=5000, warmup=500)


# --- what a column is --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "update",
    ["step", "Step", "_step", "steps", "global_step", "trainer/global_step", "Iteration", "iter", "num_updates"],
)
@pytest.mark.parametrize(
    "rate", ["lr", "LR", "lr-AdamW", "run - train/learning_rate", "lr/pg0", "x/lr0", "Learning Rate", "train.lr"]
)
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_columns_are_told_by_their_names_and_never_by_their_places(update: str, rate: str, order) -> None:
    rows = [(10 * i, 0.1 - i / 1000, 3 - i / 100) for i in range(20)]
    header = [(update, rate, "loss")[i] for i in order]
    found = text(table(",".join(header), [[row[i] for i in order] for row in rows]))
    assert (found.position, found.rates, found.losses) == (update, (rate,), ("loss",))
    assert found.rate().at.tolist() == [row[0] for row in rows]
    assert f"rates: {rate!r}, updates: {update!r} 0 … 190, every 10th; also: 'loss'" == str(found)


@pytest.mark.parametrize(
    "metric", ["accuracy", "val_acc", "f1", "dropout_rate", "lr-SGD-momentum", "weight_decay", "lr_scheduler_mult"]
)
def test_a_metric_is_never_a_rate(metric: str) -> None:
    found = text(table(f"epoch,{metric},val_loss", [(i, 0.1, 3) for i in range(5)]))
    with pytest.raises(LogError, match=rf"no column of rates: it has 'epoch', '{metric}', 'val_loss'.*--rate-column"):
        found.rate()
    assert found.rate(metric).values.tolist() == [0.1] * 5


def test_of_several_groups_the_first_is_taken_and_all_are_told() -> None:
    # ultralytics/yolov5 001688f: utils/loggers/__init__.py, Loggers.on_fit_epoch_end, "%20s," and "%20.5g," a cell.
    names_of = ("epoch", "train/box_loss", "metrics/mAP_0.5", "val/box_loss", "x/lr0", "x/lr1", "x/lr2")
    rows = [(0, 0.05, 0.1, 0.06, 0.003, 0.003, 0.099), (1, 0.04, 0.2, 0.05, 0.006, 0.006, 0.09)]
    lines = [("%20s," * 7 % names_of).rstrip(","), *(("%20.5g," * 7 % row).rstrip(",") for row in rows)]
    found = text("\n".join(lines) + "\n")
    assert found.rates == ("x/lr0", "x/lr1", "x/lr2")
    assert found.rate().values.tolist() == [0.003, 0.006]
    assert str(found).startswith("rates: 'x/lr0', epochs: 'epoch' 0 … 1; also: 'x/lr1', 'x/lr2'")


def test_minima_and_maxima_of_an_export_are_left_out() -> None:
    # The export of a chart of W&B's web page, whose source is not public; the columns are those of wandb/wandb#5349 and #6474.
    header = '"Step","r - train/learning_rate","r - train/learning_rate__MIN","r - train/learning_rate__MAX"'
    found = text(table(header, [(t, LINEAR(t), 0, 1) for t in range(0, 5000, 50)]))
    assert list(found.columns) == ["r - train/learning_rate"]


def test_a_trainers_step_is_preferred_to_the_loggers_own() -> None:
    found = text(table("Step,train/global_step,lr", [(i, 50 * i, 0.1) for i in range(5)]))
    assert found.at.tolist() == [0, 50, 100, 150, 200]


def test_a_column_that_rises_in_whole_numbers_counts_updates_where_no_name_says_so() -> None:
    assert text(table("n,lr", [(5 * i, 0.1) for i in range(4)])).position == "n"
    with pytest.raises(LogError, match=r"several columns that could be updates: 'n', 'm'.*--update-column"):
        text(table("n,m,lr", [(5 * i, 7 * i, 0.1) for i in range(4)]))
    assert text(table("n,m,lr", [(5 * i, 7 * i, 0.1) for i in range(4)]), update="m").at.tolist() == [0, 7, 14, 21]


def test_a_summary_of_the_run_is_no_curve() -> None:
    rows = [(10 * i, 3 - i / 10, "") for i in range(1, 9)] + [(80, "", 2.5)]
    found = text(table("step,train/loss,train/train_loss", rows))
    assert found.losses == ("train/loss",)
    assert len(found.loss().at) == 8


@pytest.mark.parametrize(
    ("columns", "taken"),
    [
        (("train_loss", "val_loss"), "val_loss"),
        (("train/loss", "validation/loss", "train/loss_smooth"), "validation/loss"),
        (("loss_smooth", "loss"), "loss"),
        (("loss", "eval_loss"), "loss"),
        (("train_loss", "eval_loss"), "eval_loss"),
        (("nll_loss", "loss"), "loss"),
        (("lm loss", "lm loss validation"), "lm loss validation"),
        (("val/box_loss", "train/loss"), "train/loss"),
        (("a_loss", "b_loss"), None),
        (("train_loss", "training_loss"), None),
    ],
)
def test_of_several_losses_held_out_goes_before_training_and_raw_before_smoothed(columns, taken) -> None:
    for order in (columns, columns[::-1]):
        found = text(table(",".join(("step", "lr", *order)), [(i, 0.1, *(3 + i for _ in order)) for i in range(20)]))
        if taken is None:
            with pytest.raises(LogError, match=r"several columns of losses: .*--loss-column"):
                found.loss()
        else:
            assert found.losses[0] == found.loss().name == taken
    few = table("step,train_loss,val_loss", [(i, 3, 3.5 if i in (10, 19) else "") for i in range(20)])
    assert text(few).loss().name == "train_loss"  # two values beside twenty are no curve


def test_units_that_are_no_updates_are_told() -> None:
    for name, unit in (
        ("tokens", "token"),
        ("consumed samples", "sample"),
        ("epoch", "epoch"),
        ("num_input_tokens_seen", "token"),
    ):
        assert text(table(f"{name},lr", [(100 * i, 0.1) for i in range(3)])).unit == unit
    counted = text("0.1\n0.2\n0.3\n")
    assert (counted.unit, counted.position, counted.at.tolist()) == ("row", None, [0, 1, 2])


def test_columns_that_are_named_must_be_there() -> None:
    with pytest.raises(LogError, match=r"no column 'lrr'; did you mean 'lr'\?; it has 'step', 'lr'"):
        text("step,lr\n0,1\n", rate="lrr")


@given(
    st.lists(
        st.sampled_from(["Train", "lr", "loss", "step", "epoch", "/", " - ", "_", "0", "Rate", "é", ".", "__MAX"]),
        max_size=6,
    )
)
def test_every_name_is_of_one_kind(parts) -> None:
    assert names.kind("".join(parts)) in names.KINDS


# --- tables ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parted", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_tables_in_any_dress(tmp_path: Path, parted: str, encoding: str, end: str) -> None:
    content = table(
        "step;naïve note;lr".replace(";", parted), [(t, "é", repr(LINEAR(t))) for t in range(0, 100, 10)], parted
    )
    path = tmp_path / "log.csv"
    path.write_bytes(content.replace("\n", end).encode(encoding))
    found = read(path)
    assert found.rate().values.tolist() == [LINEAR(t) for t in range(0, 100, 10)]
    assert (encoding == "cp1252") == any("Windows-1252" in note for note in found.notes)
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert read(tmp_path / "log.csv.gz").rate().texts == found.rate().texts


def test_decimal_commas_between_semicolons() -> None:
    assert text("step;lr\n0;0,1\n10;5,5e-2\n").rate().values.tolist() == [0.1, 0.055]


def test_rows_of_rates_and_of_losses_in_turn() -> None:
    # Lightning 2.6.6: lightning/fabric/loggers/csv_logs.py, save, with sorted names; test_diagnosis.py runs the package itself.
    rows = [row for t in range(49, 5000, 50) for row in (("", LINEAR(t), t, "", ""), (0, "", t, 2.49, ""))]
    found = text(table("epoch,lr-AdamW,step,train_loss,val_loss", rows))
    assert len(found.rate().at) == len(found.loss("train_loss").at) == 100
    assert found.format.name == "Lightning's metrics.csv"


def test_long_tables_become_columns() -> None:
    rows = [(t, name, value) for t in (0, 10, 20) for name, value in (("lr", 0.1), ("loss", 3.0))]
    assert text(table("step,metric,value", rows)).rate().at.tolist() == [0, 10, 20]


def test_the_tag_in_a_files_name_names_the_value(tmp_path: Path) -> None:
    for tag, kind in (("train_learning_rate", "rates"), ("train_loss", "losses")):
        path = tmp_path / f"run-a-tag-{tag}.csv"
        path.write_text("Wall time,Step,Value\n1.5,0,0.1\n2.5,20,0.2\n")
        assert getattr(read(path), kind) == (tag,)
    assert text("Wall time,Step,Value\n1.5,0,0.1\n2.5,20,0.2\n").rates == ("Value",)


# --- JSON and printed lines --------------------------------------------------------------------------------------------


def state(rows, **more) -> str:
    return json.dumps({"best_metric": None, "log_history": rows, **more}, indent=2)


def test_trainers_state_of_either_convention() -> None:
    rows = []
    for t in range(50, 5001, 50):
        rows += [
            {"step": t, "learning_rate": LINEAR(t), "loss": 2.0, "epoch": t / 100},
            {"step": t, "eval_loss": 2.5, "epoch": t / 100},
        ]
    before, after = text(state(rows)), text(state(rows, best_global_step=None))
    assert before.rate().at.tolist() == list(range(50, 5001, 50))
    assert (before.losses[0], before.unit) == ("loss", "update")
    assert (before.format.shifts[0], after.format.shifts[0]) == (0, -1)


# The line of each writer, with the file, the function and the release or commit that prints the line.
PRINTED = {
    # NVIDIA/Megatron-LM: megatron/training/training.py, training_log; read in forks, whose release is not known.
    "megatron": " [2024-07-01 12:00:00] iteration {t:8d}/  500000 | consumed samples: {s:12d} | elapsed time per iteration (ms): 1234.5 | "
    "throughput per GPU (TFLOP/s/GPU): 300.1 | learning rate: {lr:.6E} | global batch size:   256 | lm loss: {loss:.6E} | "
    "loss scale: 1.0 | grad norm: 1.200 | num zeros: 0.0 | number of skipped iterations:   0 | number of nan iterations:   0 |",
    # karpathy/build-nanogpt: train_gpt2.py, the loop's print; read in forks; there are no releases.
    "nanogpt": "step {t:5d} | loss: {loss:.6f} | lr {lr:.4e} | norm: 0.1234 | dt: 338.98ms | tok/sec: 1546.99",
    # facebookresearch/fairseq 0400ebb: fairseq/logging/progress_bar.py, SimpleProgressBar.log (two spaces, {:5d} / {:d}) and
    # format_stat ({:g} of numbers, {:.3f} of averages).
    "fairseq": "2023-01-01 10:00:00 | INFO | train_inner | epoch 001:  {t:5d} / 20000 loss={loss:.3f}, nll_loss=3.1, ppl=8.57, wps=12345, ups=2.5, "
    "wpb=5000, bsz=100, num_updates={t}, lr={lr:g}, gnorm=1.2, loss_scale=128, train_wall=40, wall=50",
    # An older line, without a time, as in facebookresearch/fairseq#940 of 2019.
    "fairseq of 2019": "| epoch 001:  {t:5d} / 20000 loss={loss:.3f}, ppl=1886.05, wps=52922, ups=0.5, wpb=104928, bsz=5325, num_updates={t}, "
    "lr={lr:g}, gnorm=1.543, clip=0%, oom=0, loss_scale=2.000, wall=882, train_wall=756",
    # facebookresearch/detectron2 0a86ad4: detectron2/utils/events.py, CommonMetricPrinter.write ({:.4g} of losses, {:.5g} of the rate).
    "detectron2": "[01/01 10:00:00 d2.utils.events]:  eta: 0:01:00  iter: {t}  total_loss: {loss:.4g}  loss_cls: 0.5  loss_box_reg: 0.25  "
    "time: 0.2000  data_time: 0.0100  lr: {lr:.5g}  max_mem: 2000M",
    # mmengine 0.10.7: mmengine/runner/log_processor.py, lines 159 to 234, get_log_after_iter, by epoch and by iteration.
    "mmengine, by epoch": "2023/01/01 10:00:00 - mmengine - INFO - Epoch(train)   [1][{t:4d}/9000]  base_lr: {lr:.4e} lr: {lr:.4e}  eta: 2:00:00  "
    "time: 0.1000  data_time: 0.0010  memory: 2000  loss: {loss:.4f}",
    "mmengine, by iteration": "2023/01/01 10:00:00 - mmengine - INFO - Iter(train) [{t:4d}/9000]  base_lr: {lr:.4e} lr: {lr:.4e}  eta: 2:00:00  "
    "time: 0.1000  data_time: 0.0010  memory: 2000  loss: {loss:.4f}  decode.acc_seg: 50.0000",
    # pytorch/torchtitan 00fbaaf: torchtitan/components/metrics.py, MetricsProcessor.log, which prints no rate; here with a rate at the end,
    # as of a changed copy. torchtitan itself writes the rate to TensorBoard and W&B.
    "torchtitan": "[titan] 2024-07-01 12:00:01,123 - root - INFO - \x1b[31mstep: {t:2}  \x1b[32mloss: {loss:7.4f}  \x1b[38;2;180;60;0mgrad_norm:  1.2000  "
    "\x1b[36mmemory: 10.00GiB(12.50%)  \x1b[34mtps: 1,234  \x1b[36mtflops: 100.00  \x1b[35mmfu: 30.00%  lr: {lr:.6e}\x1b[39m",
    # Transformers: test_writers.py runs the Trainer itself; here the progress bar of tqdm before the dict.
    "trainer": "  1%|▏   | {t}/5000 [00:01<01:00, 10it/s]\r{{'loss': '{loss:.4g}', 'learning_rate': '{lr:.4g}', 'epoch': '0.02'}}",
}


@pytest.mark.parametrize("writer", PRINTED)
def test_printed_lines(writer: str) -> None:
    lines = ["loading data …", "time to load: 3.1 s"]
    for t in range(100, 4000, 100):
        lines.append(PRINTED[writer].format(t=t, s=256 * t, lr=LINEAR(t), loss=4 - t / 2000))
    found = text("\n".join([*lines, "done"]))
    assert found.rate().at.tolist() == list(range(100, 4000, 100))
    assert found.rate().values == pytest.approx([LINEAR(t) for t in range(100, 4000, 100)], rel=1e-3)
    assert found.loss().values == pytest.approx([4 - t / 2000 for t in range(100, 4000, 100)], rel=1e-3)
    assert any("without a count of updates left out" in note for note in found.notes)


# Lines whose counts are of an epoch, of a progress bar, or stand in a line above; each is to be read at 0, 20, 40 … 2,980.
ODD = {
    # Megvii-BaseDetection/YOLOX: yolox/core/trainer.py, after_iter, which counts epochs and iterations from 1.
    "yolox": "epoch: {e1}/10, iter: {i}/300, mem: 8000Mb, iter_time: 0.3s, total_loss: {loss:.1f}, iou_loss: 3.2, lr: {lr:.3e}, size: 640",
    # microsoft/Swin-Transformer: main.py, train_one_epoch.
    "swin": "[2021-04-01 12:00:00 swin] (main.py 224): INFO Train: [{e}/10][{i}/300]\teta 0:10:00 lr {lr:.6e}\ttime 0.3 (0.3)\tloss {loss:.4f} (6.9)",
    # NVIDIA/NeMo 2.0: nemo/lightning/pytorch/callbacks/progress_printer.py, log_to_string.
    "nemo": "Training epoch {e}, iteration {i}/299 | lr: {lr:.6g} | global_batch_size: 8 | global_step: {t} | reduced_train_loss: {loss:.4f}",
    "lightning's bar": "Epoch {e}:  10%|█▏   | {i}/300 [00:30<01:00,  8.31it/s, v_num=3, train_loss={loss:.4f}, lr={lr:.6e}]",
    # microsoft/DeepSpeed: deepspeed/runtime/engine.py, _report_progress.
    "deepspeed": "[2023-06-01 12:00:00,123] [INFO] [logging.py:96:log_dist] [Rank 0] step={t}, skipped=0, lr=[{lr!r}, {lr!r}], mom=[(0.9, 0.95)]",
    # allenai/OLMo: olmo/train.py, log_metrics_to_console.
    "olmo": "2024-01-01 12:00:00.123\thost:0\tolmo.train:976\tINFO\t[step={t}/3000,epoch=0]\n    optim/learning_rate_group0={lr:.6e}\n"
    "    train/CrossEntropyLoss={loss:.4f}",
    # mosaicml/composer: composer/loggers/console_logger.py, _log_hparams_to_console and log_metrics.
    "composer": "[batch={t}/3000]:\n\t Train lr-DecoupledAdamW/group0: {lr:.6e}\n\t Train loss/train/total: {loss:.4f}",
}


@pytest.mark.parametrize(
    ("writer", "end"),
    [(writer, end) for writer, line in ODD.items() for end in "\n\r" if end == "\n" or "\n" not in line],
)
def test_counts_of_epochs_bars_and_blocks_are_those_of_the_run(writer: str, end: str) -> None:
    lines = []
    for t in range(0, 3000, 20):
        here = {"t": t, "e": t // 300, "e1": t // 300 + 1, "i": t % 300, "lr": LINEAR(t), "loss": 4 - t / 1000}
        lines.append(ODD[writer].format(**here))
    found = text("starting\n" + end.join(lines) + "\ndone\n")
    assert found.rate().at.tolist() == list(range(0, 3000, 20))
    assert found.rate().values == pytest.approx([LINEAR(t) for t in range(0, 3000, 20)], rel=1e-3)
    assert len(found.runs) == 1


def test_epochs_that_keras_prints_in_a_line_of_their_own() -> None:
    # Keras 3: keras/src/callbacks/progbar_logger.py and keras/src/utils/progbar.py.
    lines = [
        f"Epoch {e}/50\n\x1b[1m50/100\x1b[0m 1s 25ms/step - loss: 9.9\b\b\b\r\x1b[1m100/100\x1b[0m \x1b[32m━━━━\x1b[0m 3s 25ms/step - "
        f"loss: {3 - e / 50:.4f} - val_loss: 2.1 - learning_rate: {1e-3 * 0.9**e:.4e}"
        for e in range(1, 51)
    ]
    found = text("\n".join(lines))
    assert (found.unit, found.at.tolist()) == ("epoch", list(range(1, 51)))
    assert found.loss("loss").values.tolist() == [round(3 - e / 50, 4) for e in range(1, 51)]


def test_updates_that_a_table_counts_anew_in_each_epoch() -> None:
    rows = [(e, i, LINEAR(100 * e + i)) for e in range(4) for i in range(100)]
    found = text(table("epoch,batch_step,lr", rows))
    assert found.rate().values.tolist() == [LINEAR(t) for t in found.at] == [LINEAR(t) for t in range(400)]
    assert found.notes == ("'batch_step' counts the updates of each epoch anew: 100 per epoch, from 'epoch' 0 on",)
    sparse = table("epoch,step,lr", [row for row in rows if row[1] % 10 == 5])
    with pytest.raises(LogError, match=r"does not say how many updates an epoch has; .*--update-column.*--run"):
        text(sparse)
    assert text(sparse, run=2).at.tolist() == list(range(5, 100, 10))
    with pytest.raises(LogError, match="counts the updates of each epoch anew, in 'batch'"):
        text(sparse.replace("step", "batch"))
    whole = text(table("epoch,step,lr", [(e, 100 * e + i, rate) for e, i, rate in rows]))
    assert (whole.at.tolist(), whole.notes) == (list(range(400)), ())


@pytest.mark.parametrize("header", ["step lr loss", "# step   lr loss", "step\tlr    loss"])
def test_tables_with_blanks_between_cells(header: str) -> None:
    found = text("\n".join([header, *(f"{t:<6d} {LINEAR(t):.6e}   2.5" for t in range(0, 100, 10))]))
    assert (found.rates, found.losses, found.at.tolist()) == (("lr",), ("loss",), list(range(0, 100, 10)))


def test_commas_between_thousands() -> None:
    assert text('step,lr\n"900",0.1\n"1,000",0.05\n').at.tolist() == [900, 1000]


def test_objects_in_objects_have_names_with_slashes() -> None:
    # wandb 0.31.0: wandb/apis/public/runs.py, Run.history(pandas=False) and scan_history, which give what Run.log was given.
    rows = [{"_step": t, "train": {"optim": {"lr": LINEAR(t)}, "loss": 2.5}} for t in range(0, 100, 10)]
    found = text("\n".join(map(json.dumps, rows)))
    assert (found.rates, found.losses, found.position) == (("train/optim/lr",), ("train/loss",), "_step")


def test_coloured_lines_without_a_rate_say_what_is_there() -> None:
    line = "[rank0]:[titan] 2025-01-01 12:00:00,123 - root - INFO - \x1b[31mstep: {}  \x1b[32mloss:  2.9  \x1b[38;2;180;60;0mgrad_norm:  1.2\x1b[39m"
    found = text("\n".join(line.format(t) for t in range(10, 100, 10)))
    with pytest.raises(
        LogError, match=r"no column of rates: it has 'step', 'loss', 'grad_norm'; name the column.*--rate-column"
    ):
        found.rate()


def test_numbers_of_numpy_and_torch_in_dicts() -> None:
    found = text("{'loss': np.float64(2.5), 'learning_rate': tensor(0.1, device='cuda:0'), 'step': 10}\n")
    assert (found.rate().values.tolist(), found.loss().values.tolist()) == ([0.1], [2.5])


def test_dicts_without_steps_count_epochs() -> None:
    lines = [f"{{'loss': 2.5, 'learning_rate': {LINEAR(t)!r}, 'epoch': {t / 1000:.2f}}}" for t in range(100, 2000, 100)]
    found = text("\n".join(lines))
    assert (found.unit, found.at[0]) == ("epoch", 0.1)
    done = CliRunner().invoke(cli, ["recognise", "-"], input="\n".join(lines))
    assert (done.exit_code, "give --updates-per-epoch" in done.output) == (2, True)
    done = CliRunner().invoke(cli, ["recognise", "-", "--updates-per-epoch", "1000"], input="\n".join(lines))
    assert done.exit_code == 0, done.output


def test_lines_of_json_and_lists_of_objects() -> None:
    # facebookresearch/detectron2: detectron2/utils/events.py, the example in JSONWriter's docstring.
    rows = [{"iteration": t, "lr": LINEAR(t), "total_loss": 2.0, "data_time": 0.1} for t in range(19, 200, 20)]
    lines = "\n".join(map(json.dumps, rows))
    for found in (
        text(lines),
        text(json.dumps(rows)),
        text(json.dumps({key: [row[key] for row in rows] for key in rows[0]})),
    ):
        assert found.rate().at.tolist() == list(range(19, 200, 20))
    # mmengine 0.10.7: mmengine/visualization/vis_backend.py, LocalVisBackend.add_scalars. Rows of validation count epochs as steps.
    mixed = [{"lr": 0.1, "loss": 2.5, "epoch": 1, "iter": 10 * i, "step": 10 * i} for i in range(1, 9)] + [
        {"acc": 3.0, "step": 1}
    ]
    assert text("\n".join(map(json.dumps, mixed))).at.tolist() == [10.0 * i for i in range(1, 9)]


# --- what is wrong -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("hello\nworld\n", "no log that laju knows.* it begins 'hello'"),
        ('{"a": 1}', "JSON and no log.* its keys are 'a'"),
        ('{"log_history": [{"step": 1, ', "begins like JSON and is none.* was it cut"),
        ('{"log_history": []}', "has no rows"),
        ("step,lr\n0,0.1\n10,fast\n", "line 3, column 'lr': 'fast' is not a number"),
        ("step,lr\nzero,0.1\n", "line 2, column 'step': 'zero' is not a number"),
        ("step,lr\n0.5,0.1\n", "line 2: updates are whole numbers"),
        ("step,lr\n-5,0.1\n", "line 2: updates are numbers of 0 or more"),
        ("step,lr\n0,0.1\n1\n2,0.1\n", "line 3: a row must have 2 cells"),
        ("step,lr\n0,0.1,7\n", "a row must have 2 cells|no log"),
        ("step,lr\n", "has no rows"),
    ],
)
def test_what_is_no_log_is_named(content: str, message: str) -> None:
    with pytest.raises(LogError, match=message):
        text(content)


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"\x89PNG\r\n", "a picture"),
        (b"PK\x03\x04abc", "zip"),
        (b"PAR1", "Parquet"),
        (b"\x00\x01\x02abc", "not text"),
        (b"\x80\x04\x95", "a pickle"),
    ],
)
def test_other_files_are_named(tmp_path: Path, head: bytes, what: str) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(head + bytes(range(256)))
    with pytest.raises(LogError, match=rf"log\.csv is no log.*{what}"):
        read(path)


def test_a_rate_must_be_a_number_of_0_or_more() -> None:
    for rate in ("nan", "-0.1", "inf"):
        with pytest.raises(LogError, match="update 10, column 'lr': a rate must be finite and not negative"):
            text(f"step,lr\n0,0.1\n10,{rate}\n").rate()
    assert math.isnan(text("step,loss\n0,1\n10,nan\n").loss().values[-1])


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_file_that_is_being_written_is_read_up_to_its_last_whole_row(tmp_path: Path, cut: int) -> None:
    whole = table("step,lr,loss", [(t, f"{LINEAR(t):.3e}", 1.25) for t in range(100, 1000, 10)])
    rows = whole.splitlines(keepends=True)
    found = text("".join(rows[:-1]) + rows[-1][:-cut])
    assert found.rate().at.tolist()[:89] == list(range(100, 990, 10))
    lines = "\n".join(json.dumps({"step": t, "lr": LINEAR(t)}) for t in range(100, 1000, 10))
    cut_lines = text(lines[:-cut])
    assert cut_lines.rate().at.tolist() == list(range(100, 990, 10))
    assert cut_lines.notes == ("the last line is cut, as of a file that is being written, and was left out",)
    packed = gzip.compress(whole.encode(), mtime=0)
    (tmp_path / "a.csv.gz").write_bytes(packed[: -9 - cut])
    assert len(read(tmp_path / "a.csv.gz").at) > 10


def test_two_runs_in_a_file_are_told_and_split() -> None:
    rows = [(t, LINEAR(t)) for t in range(0, 500, 10)]
    content = table("step,lr", rows) + table("step,lr", rows[:20])
    found = text(content)
    assert [len(run.at) for run in found.runs] == [50, 20]
    assert len(found.at) == 20
    assert any(
        note.startswith("2 runs in this file (1: updates 0 … 490; 2: updates 0 … 190); run 2 was taken")
        for note in found.notes
    )
    assert len(text(content, run=1).at) == 50
    with pytest.raises(LogError, match=r"run must be one of 1 … 2"):
        text(content, run=3)


def test_a_column_that_names_runs_parts_the_rows() -> None:
    rows = [(f"r{i % 3}", t, (i + 1) * 0.1) for t in range(0, 100, 10) for i in range(3)]
    content = table("run,update,lr", rows)
    assert [run.rate().values.tolist() for run in text(content).runs] == [[k * 0.1] * 10 for k in (1, 2, 3)]
    assert text(content, run=2).rate().values[0] == 0.2


def test_large_counts_are_told_in_full() -> None:
    assert "'step' 0 … 1,499,999" in str(text("step,lr\n0,0.1\n1499999,0.2\n"))


def test_of_a_resumed_run_the_later_rows_count() -> None:
    found = text(table("step,lr", [(0, 1), (10, 2), (20, 3), (30, 4), (20, 5), (30, 6), (40, 7)]))
    assert (found.at.tolist(), found.rate().values.tolist()) == ([0, 10, 20, 30, 40], [1, 2, 5, 6, 7])
    assert found.notes == ("after 30 the log goes on from 20: a resumed run, of which the later rows count",)


def test_rows_out_of_order_and_twice() -> None:
    found = text(table("step,lr", [(0, 1), (20, 3), (10, 2), (30, 4), (30, 5)]))
    assert (found.at.tolist(), found.rate().values.tolist()) == ([0, 10, 20, 30], [1, 2, 3, 5])
    assert len(found.notes) == 2
    shuffled = [(t, LINEAR(t)) for t in range(0, 500, 10)]
    random.Random(3).shuffle(shuffled)
    found = text(table("step,lr", shuffled))
    assert found.rate().values.tolist() == [LINEAR(t) for t in range(0, 500, 10)]
    assert found.notes == ("the rows are not in the order of updates and were sorted",)


def test_large_logs_are_read_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "MOST_CELLS", 1 << 12)
    path = tmp_path / "log.csv"
    with path.open("w") as file:
        file.write("step,lr,loss\n")
        for t in range(60_000):
            file.write(f"{t},{LINEAR(t)!r},\n{t},,2.5\n")
    tracemalloc.start()
    found = read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
    assert len(found.rate().at) > 300
    assert len(found.loss().at) > 300  # which stand in rows of their own
    assert any("of 120,000 rows every" in note for note in found.notes)
    assert found.rate().values.tolist() == [LINEAR(int(t)) for t in found.rate().at]


def test_folders(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="no event files of TensorBoard in it"):
        read(tmp_path)
    for step in (500, 1000):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text(
            state([{"step": t, "learning_rate": 0.1, "loss": 2} for t in (step - 1, step)])
        )
    assert read(tmp_path).at.tolist() == [999, 1000]
    (tmp_path / "metrics.csv").write_text("step,lr\n1,0.1\n")
    (tmp_path / "results.csv").write_text("step,lr\n1,0.1\n")
    with pytest.raises(LogError, match=r"several logs: metrics\.csv, results\.csv; name one"):
        read(tmp_path)
    # MLflow: mlflow/store/tracking/file_store.py, FileStore._log_run_metric, "{timestamp} {value} {step}" a line.
    store = tmp_path / "mlruns"
    (store / "metrics" / "train").mkdir(parents=True)
    (store / "metrics" / "lr").write_text("1700000000000 0.1 0\n1700000000001 0.05 10\n")
    (store / "metrics" / "train" / "loss").write_text("1700000000000 3 0\n1700000000001 2 10\n")
    assert str(read(store)) == "rates: 'lr', updates: 'step' 0 … 10; also: 'train/loss'"


def test_a_log_as_a_table_of_pandas() -> None:
    frame = text("step,lr,loss\n0,0.1,3\n10,0.05,\n").to_pandas()
    assert (frame.index.name, list(frame.columns), frame["lr"].tolist()) == ("step", ["lr", "loss"], [0.1, 0.05])
    assert np.isnan(frame.loc[10.0, "loss"])


def test_tables_and_json_are_read_without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    found = text("step,lr\n0,0.1\n")
    assert found.rate().values.tolist() == [0.1]
    with pytest.raises(ModuleNotFoundError, match=r"a log as a table needs the package pandas"):
        found.to_pandas()


def test_wandbs_own_store_is_refused_with_the_way_to_export_it(tmp_path):
    file = tmp_path / "run-abc.wandb"
    file.write_bytes(b":W&B\xbe\xef\x00" + bytes(range(256)) * 20)
    with pytest.raises(LogError, match=r"W&B's own store of a run \(export"):
        read(file)
