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
