"""Every verb through one table of inputs: the exit status, what is said, and JSON by its one schema."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import click
import jsonschema
import pytest
from click.testing import CliRunner

import laju.cli
from laju.cli import VERBS, cli
from tests.cli.rows import LAB, LONG, ROWS, STRANGE, TINY, TUNE, Row, S, write_files
from tests.cli.test_cli import posix

SCHEMA = json.loads((Path(laju.cli.__file__).parent / "output.schema.json").read_text(encoding="utf-8"))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def marked(row: Row) -> object:
    trains = row.code == 0 and row.bare in (LAB, TUNE)
    return pytest.param(row, id=row.arguments.replace(LONG, "LONG")[:80], marks=[pytest.mark.slow] if trains else [])


def verbs() -> Iterator[str]:
    """The verbs that there are, and those of a verb that is a group."""
    for name in VERBS:
        command = cli.get_command(click.Context(cli), name)
        below = command.list_commands(click.Context(command)) if isinstance(command, click.Group) else []
        yield from [f"{name} {verb}" for verb in below] or [name]


def test_every_verb_has_rows_of_an_answer_and_of_a_wrong_command() -> None:
    for verb in verbs():
        codes = {row.code for row in ROWS if row.verb == verb}
        assert 2 in codes, f"{verb} has no row of a wrong command in tests/cli/rows.py"
        assert codes & {0, 1}, f"{verb} has no row of an answer in tests/cli/rows.py"
        if "--json" in {option for p in command_of(verb).params for option in p.opts}:
            of_json = {row.code for row in ROWS if row.verb.split()[0] == verb.split()[0] and "--json" in row.arguments}
            assert 2 in of_json, f"{verb} has no row of an error as JSON in tests/cli/rows.py"


def command_of(verb: str) -> click.Command:
    command: click.Command | None = cli
    for name in verb.split():
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), name)
    assert command is not None
    return command


@pytest.mark.parametrize("row", [marked(row) for row in ROWS])
def test_every_verb_answers_or_says_what_is_wrong(files: Path, row: Row) -> None:
    done = CliRunner().invoke(cli, shlex.split(row.arguments), prog_name="laju", env={"COLUMNS": "200"})
    assert done.exit_code == row.code, done.output
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    check(row, done.stdout, done.stderr)


@pytest.mark.parametrize("row", [marked(row) for row in ROWS if row.code == 2])
def test_what_is_wrong_is_said_in_a_terminal_of_20_columns_too(files: Path, row: Row) -> None:
    done = CliRunner().invoke(cli, shlex.split(row.arguments), prog_name="laju", env={"COLUMNS": "20"})
    assert done.exit_code == 2, done.output
    assert isinstance(done.exception, SystemExit), done.exception
    assert "".join(done.stderr.split())


def check(row: Row, stdout: str, stderr: str) -> None:
    """What is said: an answer on standard output, a message on the other, and JSON for programs in both cases."""
    for text in (stdout, stderr):
        assert "Traceback" not in text
        assert "[Errno" not in text
    for name in ("data_dir", "updates_per_epoch", "batch_size"):  # of Python
        assert name not in stderr
    if "--json" in row.arguments.split():
        said = json.loads(stdout)
        jsonschema.validate(said, SCHEMA)
        assert said.get("exit", row.code) == row.code
        assert ("message" in said) == (row.code >= 2)
        assert said["verb"] in (row.verb, row.verb.split()[0])
        return
    assert row.says in (stdout if row.code < 2 else stderr), (stdout, stderr)
    assert row.code < 2 or not stdout


def wide(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else unicodedata.combining(c) == 0 for c in text)


@pytest.mark.parametrize("columns", [20, 40, 80, 120])
@pytest.mark.parametrize(
    "arguments",
    [
        f"show {S}",
        *(f"show '{name}=wsd(0.3, total=1000, warmup=100, cooldown=200)'" for name in STRANGE),
        "study",
        f"check {S} --updates 30",
        f"plot {S} '{STRANGE[1]}=0.1'",
        "forecast fit a.csv b.csv",
        f"forecast predict a.csv '{LONG}=b.csv' --schedule '{STRANGE[1]}=0.1' --updates 200",
    ],
)
def test_tables_fit_the_terminal(files: Path, columns: int, arguments: str) -> None:
    done = CliRunner().invoke(cli, shlex.split(arguments), env={"COLUMNS": str(columns)})
    assert done.exit_code in (0, 1), done.output
    lines = done.stdout.splitlines()
    ruled = [i for i, line in enumerate(lines) if "──" in line and not set("┌└") & set(line)]
    for i in ruled:  # the head, the rule and the rows
        end = next((j for j in range(i, len(lines)) if not lines[j].strip()), len(lines))
        for line in lines[i - 1 : end]:
            assert wide(line) <= columns, line
    for line in lines:
        if any("─" <= c <= "╿" for c in line):
            assert wide(line) <= columns, line


def test_a_task_in_the_place_of_a_schedule_is_told() -> None:
    done = CliRunner().invoke(cli, ["compare", "digits"])
    assert done.exit_code == 2
    assert "digits is a task: --task digits, beside the schedules to train it with" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "full"),
    [
        (f"compare 0.1 '{STRANGE[1]}=0.2' {TINY}", ""),
        (f"compare 0.1 '{STRANGE[1]}=0.2' {TINY}", "--full"),
        (f"chapter --task digits {TINY}", ""),
        ("study fixed-rates --small", ""),
    ],
)
def test_what_was_trained_is_told_by_its_verdict_and_a_table_that_fits(files: Path, arguments: str, full: str) -> None:
    known = CliRunner().invoke(cli, shlex.split(f"{arguments} --json"))
    verdict = json.loads(known.stdout)["verdict"]
    for columns in (20, 40, 80, 120):
        done = CliRunner().invoke(cli, shlex.split(f"{arguments} {full}"), env={"COLUMNS": str(columns)})
        assert done.exit_code == 0, done.output
        progress, _, answer = done.stdout.partition("\n\n")
        assert "trial" in progress
        assert "".join(answer.split()).startswith("".join(verdict.split()))
        assert ("±" in answer or "Ranking" in answer) <= bool(full)
        told = [line for line in answer.splitlines() if not line.startswith(("report: ", "answer: "))]
        assert max(map(wide, told)) <= columns


# --- what only a process has -------------------------------------------------------------------------------------------

START = [sys.executable, "-c", "import sys; sys.argv[0] = 'laju'; from laju_start import main; main()"]


@posix
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["show", "cosine(0.3, total=20)"], 0),
        (["check", "cosine(0.3, total=20)", "--updates", "30"], 1),
        (["show", "cosin(1)", "--json"], 2),
        (["--help"], 0),
    ],
)
def test_the_exit_status_is_the_answer_whoever_has_stopped_reading(arguments: list[str], code: int) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*START, *arguments], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writing)
    assert done.returncode == code
    assert "Exception" not in done.stderr
    assert "Broken" not in done.stderr


@posix
def test_watch_ends_when_its_reader_has_gone(files: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    arguments = ["watch", "a.csv", "--updates", "1000", "--every", "0.1"]
    done = subprocess.run([*START, *arguments], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_that_is_full_is_one_sentence() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*START, "show", "cosine(0.3, total=20)"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert (done.returncode, done.stderr) == (2, "Error: no space left on device\n")


BEGUN = """
import sys
from laju_start import main

class Begun:
    def find_spec(self, name, *_):
        if name == "laju":
            print("begun", flush=True)

sys.meta_path.insert(0, Begun())
sys.argv[0] = "laju"
main()
"""


@posix
@pytest.mark.parametrize(
    ("wait", "number"),
    [
        *((wait, signal.SIGINT) for wait in (0, 0.1, 0.4)),
        *((wait, signal.SIGTERM) for wait in (0, 0.3)),
        *(
            pytest.param(random.Random(i).uniform(0, 0.5), number, marks=pytest.mark.slow)
            for i, number in enumerate([signal.SIGINT] * 20 + [signal.SIGTERM] * 5)
        ),
    ],
)
def test_ctrl_c_is_one_line_from_the_first_import_on(wait: float, number: signal.Signals) -> None:
    # A log from a pipe that nobody writes to: a command that cannot be done before the signal comes.
    command = [sys.executable, "-c", BEGUN, "recognise", "-"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    time.sleep(wait)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (128 + number, "\nStopped.\n")


@posix
@pytest.mark.parametrize("colours", [{"NO_COLOR": "1"}, {}])
def test_colours_are_for_terminals_that_want_them(tmp_path: Path, colours: dict[str, str]) -> None:
    from tests.cli.test_terminal import on_a_terminal

    code, output, _ = on_a_terminal(tmp_path, ["plot", "cosine(0.3, total=20)"], 80, 24, **colours)
    assert code == 0
    assert ("\x1b[3" in output or "\x1b[38" in output) == (not colours)


def test_the_page_shows_what_is_printed(files: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")
    shown = page.split("```console\n$ laju ")[1].split("```")[0]
    command, _, expected = shown.partition("\n")
    assert CliRunner().invoke(cli, shlex.split(command), prog_name="laju").output == expected
