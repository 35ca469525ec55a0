"""laju tune on the command line: it goes on where it stopped, says the best as a schedule to copy, and refuses in one message."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import laju
from laju.cli import cli

SEARCH = ("tune", "constant", "--space", "value=0.05..1 log", "--epochs", "1", "--confirm", "0", "--jobs", "1")


def laju_(*arguments: str, code: int = 0) -> Result:
    done = CliRunner().invoke(cli, list(arguments))
    assert done.exit_code == code, done.output
    return done


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    return tmp_path


def fails(done: Result, *texts: str) -> None:
    message = " ".join(done.stderr.split())
    assert done.stdout == ""
    for text in texts:
        assert text in message


def test_a_search_goes_on_and_its_best_is_a_schedule_to_copy(folder: Path) -> None:
    first = laju_(*SEARCH, "--trials", "1")
    assert "1 trial; 1 to run" in first.stdout
    assert (folder / "laju-search" / "search.png").exists()
    done = laju_(*SEARCH, "--trials", "2", "--json")
    assert "2 trials, 1 of them in the store already" in done.stderr
    content = json.loads(done.stdout)
    assert [t["trial"] for t in content["trials"]] == [0, 1]
    assert laju.parse(content["best"]["schedule"]) == laju.constant(content["best"]["parameters"]["value"])
    table = laju_(*SEARCH, "--trials", "2").stdout
    assert f"best: {content['best']['schedule']}" in table
    assert "chosen for that" in " ".join(table.split())  # no confirmation
    connection = sqlite3.connect(folder / "laju.sqlite")
    assert connection.execute("select count(*) from trials").fetchone() == (2,)
    connection.close()
    fails(laju_(*SEARCH, "--trials", "2", "--momentum", "0.9", code=2), "optimizer is 'sgd()' there", "another storage")


@pytest.mark.parametrize(
    ("arguments", "code", "texts"),
    [
        (("tune", "cosin", "--space", "peak=1..2"), 2, ("'cosin' is not a policy; did you mean 'cosine'?",)),
        (("tune", "cosine", "--space", "peak=2..1"), 2, ("peak=2..1: the low end must not be over the high one",)),
        (("tune", "cosine", "--space", "peek=1..2"), 2, ("did you mean 'peak'?",)),
        (("tune", "cosine", "--space", "peak=0..1 log"), 2, ("must begin above 0",)),
        (("tune", "cosine"), 2, ("Missing option '--space'",)),
        (("tune", "cosine", "--space", "peak=1..2", "--task", "digit"), 2, ("did you mean 'digits'?",)),
        ((*SEARCH, "--objective", "loss"), 2, ("objective 'loss' is not one of",)),
        ((*SEARCH, "--objective", "accuracy", "--objective", "updates-to=0.9", "--pruner", "median"), 2, ("one objective",)),
        ((*SEARCH, "--storage", "postgresql://me:secret@127.0.0.1:1/db"), 2, ("cannot be reached", "127.0.0.1")),
        ((*SEARCH, "--storage", "laju.txt/below"), 2, ("storage laju.txt/below cannot be opened",)),
    ],
)  # fmt: skip
def test_bad_input_is_one_message(arguments: tuple[str, ...], code: int, texts: tuple[str, ...]) -> None:
    Path("laju.txt").write_text("a text")
    done = laju_(*arguments, code=code)
    fails(done, *texts)
    assert "secret" not in done.stderr


def test_compare_tuned_says_the_factors() -> None:
    run = ("--epochs", "1", "--seeds", "1", "--jobs", "1", "--tuned", "--tuning-trials", "3", "--json")
    content = json.loads(laju_("compare", "slow=constant(0.02)", *run).stdout)
    assert content["tuned"] is True
    (name,) = content["schedules"]
    assert name in {"slow ×0.1", "slow ×1", "slow ×10"}
    fails(laju_("compare", "constant(0.1)", "--tuned", "--equal-area", code=2), "use one of them")
