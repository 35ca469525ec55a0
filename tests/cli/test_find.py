"""`laju find` as a person meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from laju.cli import cli
from tests.cli.test_cli import fails

TINY = ("--updates", "60", "--low", "1e-3", "--momentum", "0.9")


@pytest.fixture
def run(tmp_path: Path, monkeypatch):
    """Runs laju in a folder of its own, inside this process."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        done = CliRunner().invoke(cli, arguments)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)

    return run


def test_help_loads_nothing_heavy() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "laju", "find", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = {line.rsplit("|", 1)[-1].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert not loaded & {"torch", "matplotlib", "sqlalchemy", "rich", "sklearn", "scipy"}
    assert "laju find --momentum 0.9 --seeds 5" in done.stdout


def test_the_table_has_every_rule_with_its_interval_and_the_picture_is_there(run, tmp_path: Path) -> None:
    done = run("find", *TINY, "--seeds", "3", "--out", "pictures/range.png")
    assert done.returncode == 0, done.stderr
    assert "digits, sgd(momentum=0.9): 60 updates from 0.001 to 10" in done.stdout
    lines = [line.split() for line in done.stdout.splitlines()]
    for rule in ("steepest", "valley", "minimum/10"):
        (row,) = (line for line in lines if line[:1] == [rule])
        assert "to" in row
        assert row[-3:] == ["3", "of", "3"]
    assert any(line[:1] == ["diverged"] for line in lines)
    assert (tmp_path / "pictures" / "range.png").read_bytes().startswith(b"\x89PNG")


def test_json_is_all_that_goes_to_standard_output(run) -> None:
    done = run("find", *TINY, "--seeds", "1", "--json", "--out", "range.svg")
    found = json.loads(done.stdout)
    assert (found["task"], found["low"], found["high"], found["updates"]) == ("digits", 1e-3, 10.0, 60)
    assert [s["rule"] for s in found["suggestions"]] == ["steepest", "valley", "minimum/10"]
    assert 0.005 < found["suggestions"][0]["rate"] < 1
    assert len(found["sweeps"]) == 1
    assert "note: 1 seed says nothing" in done.stderr


def test_a_range_that_never_diverges_and_never_falls_suggests_nothing_and_says_why(run) -> None:
    done = run("find", "--low", "1e-8", "--high", "1e-5", "--updates", "30", "--seeds", "2")
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "steepest none - 0 of 2 the loss never fell between 1e-08 and 1e-05" in text
    assert "note: training never diverged: rates above 1e-05 were not tried" in text


def test_a_range_that_diverges_at_once_says_so(run) -> None:
    done = run("find", "--low", "100", "--high", "1e6", "--updates", "20", "--seeds", "1")
    text = " ".join(done.stdout.split())
    assert "none - 0 of 1" in text
    assert "note: the loss diverged at once" in text
    assert "lower `low`" in text


@pytest.mark.parametrize(
    ("arguments", "code", "texts"),
    [
        (("--low", "1", "--high", "0.1"), 2, ("--low must be below high, got --low 1.0 and --high 0.1",)),
        (("--low", "0"), 2, ("--low must be a finite number above 0, got 0.0",)),
        (("--high", "inf"), 2, ("--high must be a finite number above 0, got inf",)),
        (("--updates", "3"), 2, ("--updates", "x>=10")),
        (("--task", "digit"), 2, ("'digit' is not a task; did you mean 'digits'?",)),
        (("--out", "range.txt"), 2, ("must end in .png or .svg or .pdf",)),
        (("--task", "fashion-mnist", "--data-dir", "nowhere"), 2, ("nowhere",)),
        (("--out", "file/range.png"), 2, ("cannot write the picture 'file/range.png'",)),
    ],
)
def test_what_cannot_be_is_refused_in_one_message(run, tmp_path: Path, arguments, code, texts) -> None:
    (tmp_path / "file").touch()
    done = run("find", *arguments)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    message = " ".join(done.stderr.split())
    assert all(text in message for text in texts), message
    assert done.stdout == ""


def test_an_unwritable_place_is_found_before_training_and_leaves_nothing(run, tmp_path: Path) -> None:
    fails(run("find", "--low", "1", "--high", "0.1", "--out", "new.png"), 2, "--low must be below high")
    assert not (tmp_path / "new.png").exists()
