"""The command line as a person meets it: the installed `laju`, in a process, a pipe or a terminal of its own."""

from __future__ import annotations

import csv
import json
import os
import platform
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from html import unescape
from pathlib import Path

import click
import pytest

import laju
from laju.cli import ARGUMENTS, cli
from laju.cli.arguments import command_line
from laju.lab import get_task
from tests.pages import check

TINY = ("--epochs", "1", "--seeds", "1", "--jobs", "1")
posix = pytest.mark.skipif(os.name != "posix", reason="needs process groups and terminals of POSIX")
proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")


def program() -> str:
    """The `laju` beside this Python."""
    found = Path(sys.executable).with_name("laju.exe" if os.name == "nt" else "laju")
    assert found.exists(), "laju is not installed beside this Python: make setup"
    return str(found)


@pytest.fixture
def run(tmp_path: Path):
    """Runs laju in a folder of its own; the environment marks its processes."""

    def run(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"LAJU_TEST": str(tmp_path), "COLUMNS": "100"}
        options = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "timeout": 120} | options
        return subprocess.run([program(), *arguments], **options)

    return run


def fails(done: subprocess.CompletedProcess[str], code: int, *texts: str) -> None:
    """It ended with this code and one message that says all the texts; nothing was printed as a result."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    message = " ".join(done.stderr.split())
    for text in texts:
        assert text in message


def rows(store: Path) -> list[tuple[str, int]]:
    """The schedule and seed of every trial in a store."""
    connection = sqlite3.connect(store)
    found = connection.execute("select schedule, seed from trials order by rowid").fetchall()
    connection.close()
    return found


def without_seconds(value):
    if isinstance(value, dict):
        return {key: without_seconds(v) for key, v in value.items() if key != "seconds"}
    return [without_seconds(v) for v in value] if isinstance(value, list) else value


# --- the first steps ---------------------------------------------------------------------------------------------------


def test_help_and_version_say_what_there_is(run) -> None:
    assert run("--version").stdout.split() == ["laju,", "version", laju.__version__]
    for arguments in (["--help"], ["-h"]):
        assert {"compare", "plot"} <= set(run(*arguments).stdout.split())
    assert "chapter" in run("compare", "--help").stdout
    assert "--updates" in run("plot", "-h").stdout


def test_help_starts_at_once_and_loads_no_framework(run) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "laju", "compare", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.rsplit("|", 1)[-1].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert not loaded & {"torch", "matplotlib", "sqlalchemy", "rich", "sklearn", "scipy", "joblib", "jax"}


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["compar", "0.1"], ["'compar'", "did you mean 'compare'"]),
        (["compare", "cosin(0.3, total=20)"], ["'cosin'", "did you mean 'cosine'"]),
        (["compare", "x=cosine(0.3, totl=20)"], ["'totl'", "did you mean 'total'"]),
        (["compare", "cosine(0.3"], ["SCHEDULE"]),
        (["compare", "__import__('os')"], ["SCHEDULE"]),
        (["compare", "=0.1"], ["no name"]),
        (["compare", "a=0.1", "a=0.2"], ["two schedules are named 'a'"]),
        (["compare", "0.1", "--epoch", "3"], ["--epochs"]),
        (["compare", "0.1", "--task", "digit"], ["did you mean 'digits'"]),
        (["compare", "0.1", "--epochs", "0"], ["--epochs", "x>=1"]),
        (["compare", "0.1", "--seeds", "0"], ["--seeds", "x>=1"]),
        (["compare", "0.1", "--jobs", "-2"], ["--jobs", "x>=1"]),
        (["compare", "0.1", "--batch-size", "x"], ["--batch-size"]),
        (["compare", "0.1", "--momentum", "1"], ["--momentum"]),
        (["compare"], ["SCHEDULE"]),
        (["plot", "cosin(1, total=3)"], ["did you mean 'cosine'"]),
        (["plot", "chapter:constant"], ["'constant' is not in updates", "--epochs"]),
        (["plot", "0.1"], ["--updates"]),
        (["plot", "0.1", "--updates", "5", "--epochs", "5"], ["--updates", "--epochs"]),
        (["plot", "0.1", "--updates-per-epoch", "5"], ["--epochs"]),
        (["plot", "0.1", "--updates", "5", "--log"], ["--log", "--out"]),
    ],
)
def test_a_wrong_command_is_answered_with_what_would_be_right(run, tmp_path: Path, arguments, texts) -> None:
    fails(run(*arguments), 2, "Usage:", *texts)
    assert not list(tmp_path.iterdir())


# --- compare -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_compare_prints_pure_json_and_writes_the_report_and_the_second_run_trains_nothing(run, tmp_path: Path) -> None:
    arguments = ["compare", "low=0.05", "cosine(0.3, total=1).per('epoch')", "--epochs", "2", "--seeds", "2", "--json"]
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found["schedules"]) == ["low", "cosine(0.3, total=1).per('epoch')"]
    assert [row["finished"] + row["collapsed"] for row in found["summary"]] == [2, 2]
    assert len(found["trials"]) == 4
    # Plain lines where there is no terminal, on the other stream.
    lines = done.stderr.splitlines()
    assert lines[0].startswith("4 trials; 4 to run")
    assert [line.partition("]")[0] for line in lines[1:5]] == ["[1/4", "[2/4", "[3/4", "[4/4"]
    assert "\x1b" not in done.stderr
    out = tmp_path / "laju-report"
    assert {"report.html", "overview.png", "trials.csv", "records.csv"} <= {path.name for path in out.iterdir()}
    assert (out / "overview.png").read_bytes().startswith(b"\x89PNG")
    with (out / "trials.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 4
    assert sorted(rows(tmp_path / "laju.sqlite")) == sorted(
        (spec, s) for spec in found["schedules"].values() for s in (0, 1)
    )

    again = run(*arguments)
    assert json.loads(again.stdout) == found  # with its seconds: what was read back, not trained
    assert again.stderr.startswith("4 trials, 4 of them in the store already\n")


def test_compare_prints_a_table_and_where_the_report_is(run, tmp_path: Path) -> None:
    done = run("compare", "chapter", *TINY, "--out", "a b/report", "--store", "a b/store.sqlite")
    assert (done.returncode, done.stderr) == (0, "")
    for text in ("constant", "cosine with warmup", "test accuracy", "difference", "report: a b/report/report.html"):
        assert text in done.stdout
    assert "\x1b" not in done.stdout
    page = check((tmp_path / "a b" / "report" / "report.html").read_text(encoding="utf-8"))
    verdict, command = (
        re.sub(r"<[^>]*>", "", re.search(tag, page.source)[1]) for tag in (r"<h1>(.*?)</h1>", r'id="command">(.*?)<')
    )
    assert unescape(verdict) in " ".join(done.stdout.split())
    # What the page says was typed gives the same again.
    assert shlex.split(unescape(command)) == [
        "laju",
        "compare",
        "chapter",
        *TINY,
        "--out",
        "a b/report",
        "--store",
        "a b/store.sqlite",
    ]
    assert get_task("digits").fingerprint[:16] in page.words
    for fact in (f"laju {laju.__version__}", f"Python {platform.python_version()}", "UTC", platform.machine()):
        assert fact in page.words
    assert len(rows(tmp_path / "a b" / "store.sqlite")) == 6


def test_a_page_names_the_command_for_a_shell_and_without_a_password() -> None:
    typed = ("compare", "it's=cosine(0.3, total=9)", "--store", "postgresql://me:secret@host:5432/lab")
    with click.Context(cli) as context:
        context.meta[ARGUMENTS] = typed
        told = command_line()
    assert told is not None
    assert shlex.split(told) == ["laju", *typed[:-1], "postgresql://me:***@host:5432/lab"]
    assert command_line() is None


def test_what_cannot_be_written_is_found_before_training(run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    fails(
        run("compare", "0.1", "--epochs", "100000", "--out", "file/report"),
        2,
        "cannot write a report into",
        "file/report",
    )
    fails(run("compare", "0.1", "--epochs", "100000", "--out", "file"), 2, "cannot write a report into", "file")
    assert not (tmp_path / "laju.sqlite").exists()
    fails(run("compare", "0.1", "--epochs", "100000", "--store", "file/a.sqlite"), 2, "file/a.sqlite")
    (tmp_path / "folder").mkdir()
    fails(run("compare", "0.1", "--epochs", "100000", "--store", "folder"), 2, "folder")


def test_a_store_that_is_none_is_refused(run, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("my notes")
    fails(run("compare", "0.1", "--store", "notes.txt"), 2, "notes.txt is not a SQLite file")
    assert (tmp_path / "notes.txt").read_text() == "my notes"
    with sqlite3.connect(tmp_path / "newer.sqlite") as connection:
        connection.execute(f"pragma application_id = {int.from_bytes(b'laju')}")
        connection.execute("pragma user_version = 99")
    connection.close()
    fails(run("compare", "0.1", "--store", "newer.sqlite"), 2, "newer.sqlite was made by a newer laju", "99")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["0.1", "--data-dir", "."], "takes no --data-dir"),
        (["0.1", "--task", "fashion-mnist", "--data-dir", "nowhere"], "nowhere"),
        (["x=linear(0.1, -0.1, total=3)"], "schedule 'x' must have finite rates that are not negative"),
        (["x=cosine(0.1, total='1e9 tokens')"], "schedule 'x' does not fit"),
    ],
)
def test_what_does_not_fit_together_is_found_before_training(run, arguments, text) -> None:
    fails(run("compare", "0.2", *arguments, "--epochs", "100000", "--store", "a.sqlite"), 2, text)


@pytest.mark.slow
def test_names_come_out_as_they_were_given(run, tmp_path: Path) -> None:
    names = ["<script>alert(1)</script>", "50% (of [bold]all[/])", "größer", "a&b;--", "$x^2$"]
    done = run("compare", *(f"{name}=0.0{i + 1}" for i, name in enumerate(names)), *TINY, "--json")
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)["schedules"]) == names
    for name in names:
        assert f"{name}, seed 0" in done.stderr
    page = (tmp_path / "laju-report" / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


@pytest.mark.slow
def test_output_that_lacks_letters_does_not_stop_a_run(run, tmp_path: Path) -> None:
    done = run("compare", "größer=0.1", *TINY, env=os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert done.returncode == 0, done.stderr
    assert "gr??er, seed 0" in done.stdout


@pytest.mark.slow
def test_two_comparisons_on_one_store_at_once_both_succeed_and_lose_nothing(run, tmp_path: Path) -> None:
    def command(out: str, *schedules: str) -> list[str]:
        options = "--epochs 2 --seeds 3 --jobs 1 --json --out"
        return [program(), "compare", *schedules, *options.split(), out]

    commands = [command("one", "a=0.1", "b=0.2"), command("two", "c=0.3", "b=0.2")]
    both = [
        subprocess.Popen(c, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for c in commands
    ]
    found = []
    for process in both:
        stdout, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stderr
        found.append(json.loads(stdout))
    kept = rows(tmp_path / "laju.sqlite")
    assert len(kept) == len(set(kept)) == 9
    trained = [
        [{k: v for k, v in t.items() if k != "seconds"} for t in c["trials"] if t["schedule"] == "b"] for c in found
    ]
    assert trained[0] == trained[1]


# --- Ctrl-C ------------------------------------------------------------------------------------------------------------


def processes(marker: Path) -> list[int]:
    """Those that live and whose environment has the mark of a test."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"LAJU_TEST={marker}".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def press_ctrl_c(tmp_path: Path, arguments: list[str], moment) -> tuple[int, str, str]:
    """Starts laju, waits for the moment, and interrupts every process of it at once as a terminal does."""
    process = subprocess.Popen(
        [program(), *arguments],
        cwd=tmp_path,
        env=os.environ | {"LAJU_TEST": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    moment(process)
    os.killpg(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    return process.returncode, stdout, stderr


def trials_are_kept(store: Path, least: int):
    def wait(process: subprocess.Popen[str]) -> None:
        while process.poll() is None:
            time.sleep(0.05)
            try:
                if store.exists() and len(rows(store)) >= least:
                    return
            except sqlite3.Error:
                continue

    return wait


@pytest.mark.slow
@posix
@proc
def test_ctrl_c_stops_cleanly_and_the_same_command_runs_only_what_is_missing(run, tmp_path: Path) -> None:
    arguments = ["compare", "a=0.1", "b=0.2", "c=0.3", "--epochs", "4", "--seeds", "4", "--jobs", "2"]
    store = tmp_path / "laju.sqlite"
    code, stdout, stderr = press_ctrl_c(tmp_path, arguments, trials_are_kept(store, 3))
    kept = rows(store)
    assert (code, stderr) == (130, "")
    assert 3 <= len(kept) < 12
    last = stdout.strip().splitlines()[-1]
    assert last == f"Stopped. {len(kept)} of 12 trials are kept in laju.sqlite; the same command runs the rest."
    assert stdout.count(", seed ") == len(kept)
    end = time.monotonic() + 5  # a helper of multiprocessing may take a moment
    while processes(tmp_path) and time.monotonic() < end:
        time.sleep(0.05)
    assert not processes(tmp_path)

    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"12 trials, {len(kept)} of them in the store already; {12 - len(kept)} to run")
    assert done.stdout.count(", seed ") == 12 - len(kept)
    assert rows(store)[: len(kept)] == kept


@posix
@proc
@pytest.mark.parametrize("after", [0, 0.4, 0.8, 1.2, 1.8, 2.4])
def test_ctrl_c_during_the_start_leaves_no_traceback_and_no_process(tmp_path: Path, after: float) -> None:
    def begun(process: subprocess.Popen[str]) -> None:
        while (
            process.poll() is None and not (tmp_path / "laju-report").exists()
        ):  # from then on it loads, then starts workers
            time.sleep(0.01)
        time.sleep(after)

    arguments = ["compare", "a=0.1", "b=0.2", "--epochs", "100000", "--jobs", "2"]
    code, stdout, stderr = press_ctrl_c(tmp_path, arguments, begun)
    assert code == 130
    assert "Stopped." in stdout + stderr
    assert "Traceback" not in stdout + stderr
    assert "Warning" not in stdout + stderr
    end = time.monotonic() + 5
    while processes(tmp_path) and time.monotonic() < end:
        time.sleep(0.05)
    assert not processes(tmp_path)


@pytest.mark.slow
@posix
def test_ctrl_c_while_the_report_is_written_says_that_all_is_kept(run, tmp_path: Path) -> None:
    arguments = ["compare", "a=0.1", "--epochs", "1", "--seeds", "2", "--jobs", "1"]
    assert run(*arguments).returncode == 0
    (tmp_path / "laju-report" / "report.html").unlink()

    def report_is_begun(process: subprocess.Popen[str]) -> None:
        # Not the file that proves, before anything is trained, that the folder can be written.
        while process.poll() is None and not any((tmp_path / "laju-report").glob(".*.part.[!t]*")):
            time.sleep(0.001)

    code, stdout, stderr = press_ctrl_c(tmp_path, arguments, report_is_begun)
    assert (code, stderr) == (130, "")
    assert "Stopped. 2 of 2 trials are kept in laju.sqlite; the same command writes the report." in stdout
    assert not list((tmp_path / "laju-report").glob(".*"))


# --- plot --------------------------------------------------------------------------------------------------------------


def test_plot_draws_in_the_terminal(run) -> None:
    done = run("plot", "cosine(0.3, total=20, warmup=5)", "short (a)=cosine(0.3, total=10)")
    assert (done.returncode, done.stderr) == (0, "")
    assert "short (a)" in done.stdout
    assert "0.3" in done.stdout
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert run("plot", "chapter", "--epochs", "30", "--updates-per-epoch", "57").returncode == 0
    assert run("plot", "0.1", "--updates", "5").returncode == 0


@pytest.mark.parametrize(("suffix", "begin"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_plot_writes_pictures(run, tmp_path: Path, suffix: str, begin: bytes) -> None:
    done = run("plot", "chapter", "--epochs", "30", "--out", f"rates.{suffix}", "--log")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"rates.{suffix}" in done.stdout
    assert (tmp_path / f"rates.{suffix}").read_bytes().startswith(begin)


def test_plot_refuses_what_it_cannot_write(run) -> None:
    fails(run("plot", "0.1", "--updates", "5", "--out", "rates.docx"), 2, "rates.docx", ".png")
    fails(run("plot", "0.1", "--updates", "5", "--out", "nowhere/rates.png"), 2, "nowhere")
    fails(run("plot", "cosine(0.3, total='10% + 1e6 tokens')", "--epochs", "3", "--out", "a.png"), 2, "tokens")


@posix
def test_who_reads_only_the_beginning_of_the_output_gets_no_traceback(tmp_path: Path) -> None:
    command = f"'{program()}' plot 'cosine(0.3, total=20)' | head -1"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert done.stderr == ""


def test_messages_reach_a_file_at_once_where_python_does_not_buffer_either() -> None:
    program = "import os, sys\nfrom laju import cli\ncli.cli = lambda: (print('now', file=sys.stderr), os._exit(0))\ncli.main()"
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stderr == "now\n"
