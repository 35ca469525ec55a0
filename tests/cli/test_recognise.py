"""`laju recognise`: logs in, one line or JSON out, and errors of one plain message."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import laju
from laju.cli import cli

SCHEDULE = laju.cosine(0.3, total=50, warmup=5)


def run(*arguments: str, stdin: str | None = None):
    return CliRunner().invoke(cli, ["recognise", *arguments], input=stdin)


def test_one_rate_a_line_is_read_from_standard_input():
    done = run("-", stdin="\n".join(map(repr, SCHEDULE.values(40).tolist())))
    assert done.exit_code == 0, done.output
    assert done.output.startswith("cosine(0.3, total=50, warmup=5): ")


def test_columns_are_chosen_by_name_and_rows_may_be_missing(tmp_path: Path):
    rates = SCHEDULE.values(50).tolist()
    path = tmp_path / "log.csv"
    path.write_text("update,loss,lr\n" + "".join(f"{t},1.0,{rates[t]!r}\n" for t in range(50) if t % 7 != 3))
    done = run(str(path), "--step", "update", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert laju.parse(found["schedule"]).values(50) == pytest.approx(SCHEDULE.values(50), abs=1e-12)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("update,lr\n0,0.1\n1\n", "must have 2 cells"),
        ("update,lr\n0.5,0.1\n", "whole number"),
        ("0.1\nnan\n", "finite"),
        ("0.1\nabc\n", "line 2, column 'value': 'abc' is not a number"),
    ],
)
def test_bad_logs_are_refused_in_one_message(text: str, message: str):
    done = run("-", stdin=text)
    assert done.exit_code != 0
    assert message in done.output
    assert "Traceback" not in done.output


def test_an_unknown_column_names_those_that_there_are():
    done = run("-", "--column", "rates", stdin="update,lr\n0,0.1\n1,0.2\n")
    assert done.exit_code != 0
    assert "has no column 'rates'; it has 'update', 'lr'" in done.output


def test_the_columns_of_a_log_are_found_by_their_names(tmp_path: Path) -> None:
    schedule = laju.wsd(3e-4, total=1000, cooldown=200, warmup=100)
    lines = ["step,lr,loss", *(f"{t},{schedule(t):.6e},{1 / (t + 1):.3f}" for t in range(0, 1000, 5))]
    file = tmp_path / "log.csv"
    file.write_text("\n".join(lines))
    done = CliRunner().invoke(cli, ["recognise", str(file)])
    assert done.exit_code == 0, done.output
    assert done.output.startswith("wsd(0.0003, total=1000, cooldown=200, warmup=100): ")


LINEAR = laju.linear_to_zero(2e-5, total=5000, warmup=500)
HEADERS = {
    # Rates and losses in rows of their own.
    "Lightning": ("epoch,lr-AdamW,step,train_loss,val_loss", lambda t: f",{LINEAR(t)!r},{t},,\n0,,{t},2.49,"),
    "W&B": (
        '"Step","r - train/learning_rate","r - train/learning_rate__MIN","r - train/learning_rate__MAX"',
        lambda t: f'"{t}","{LINEAR(t)!r}","{LINEAR(t)!r}","{LINEAR(t)!r}"',
    ),
    "TensorBoard": ("Wall time,Step,Value", lambda t: f"1700000000.5,{t},{LINEAR(t)!r}"),
    "a metric last": ("epoch,global_step,LR,val_loss", lambda t: f"0,{t},{LINEAR(t)!r},{3 - t / 5000}"),
    "semicolons": ("Iteration;loss;learning rate", lambda t: f"{t};3.5;{LINEAR(t)!r}"),
    "tabs": ("steps\ttrain/lr\tloss", lambda t: f"{t}\t{LINEAR(t)!r}\t3.5"),
}


@pytest.mark.parametrize("writer", HEADERS)
def test_real_logs_are_recognised_by_the_right_columns(writer: str) -> None:
    header, row = HEADERS[writer]
    done = run("-", stdin="\n".join([header, *(row(t) for t in range(0, 5000, 50))]))
    assert done.exit_code == 0, done.output
    assert done.output.startswith("linear_to_zero(2e-05, total=5000, warmup=500): ")
    assert "0 … 4,950, every 50th" in done.output


def test_a_log_without_rates_is_no_schedule() -> None:
    rows = [f"{e},0.{e:02d},{2 - e / 30},0.{e:02d},{2.1 - e / 40}" for e in range(30)]
    done = run("-", stdin="\n".join(["epoch,accuracy,loss,val_accuracy,val_loss", *rows]))
    assert done.exit_code == 2
    assert "no column of rates: it has 'epoch', 'accuracy', 'loss', 'val_accuracy', 'val_loss'" in done.output


def test_the_state_of_a_trainer_is_recognised_and_forecast(tmp_path: Path) -> None:
    rows: list[dict] = []
    for t in range(50, 5000, 50):
        rows.append({"epoch": t / 1000, "learning_rate": LINEAR(t), "loss": 3 - t / 5000, "step": t})
        if t % 500 == 0:
            rows.append({"epoch": t / 1000, "eval_loss": 2.5, "step": t})
    path = tmp_path / "trainer_state.json"
    path.write_text(json.dumps({"best_metric": None, "log_history": rows}))
    assert "rates: 'learning_rate', updates: 'step' 50 … 4,950, every 50th" in run(str(path)).output
    from laju.forecast import read_curve

    curve = read_curve(path, warmup=500)
    assert (len(curve), curve.peak) == (99, pytest.approx(2e-5))


def test_the_answer_is_about_the_first_group_and_says_so() -> None:
    rows = [f"  {e}, 0.05, {0.01 - e / 10000!r}, {0.01 - e / 10000!r}, {0.099 - e / 1000!r}" for e in range(40)]
    done = run("-", stdin="\n".join(["   epoch,  train/box_loss,   x/lr0,   x/lr1,   x/lr2", *rows]))
    assert done.output.startswith("linear(0.01, ")
    assert "rates: 'x/lr0', epochs: 'epoch' 0 … 39; also: 'x/lr1', 'x/lr2', 'train/box_loss'" in done.output
