"""laju study as a person meets it."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from laju.studies import STUDIES
from tests.cli.test_cli import fails, posix, program, rows, run
from tests.pages import check

__all__ = ["run"]  # the fixture

SMALL = ("study", "fixed-rates", "--small", "--epochs", "2", "--seeds", "1", "--jobs", "1")


def test_without_a_name_it_lists_the_questions(run) -> None:
    done = run("study")
    assert done.returncode == 0
    for name, question in STUDIES.items():
        assert any(line.split(maxsplit=1) == [name, question] for line in done.stdout.splitlines())


def test_an_unknown_study_or_task_is_answered_with_the_nearest(run) -> None:
    fails(run("study", "fixed-rate"), 2, "'fixed-rate' is not a study; did you mean 'fixed-rates'?", "exponents")
    fails(run("study", "fixed-rates", "--task", "digit"), 2, "'digit' is not a task; did you mean 'digits'?")


def test_a_folder_that_cannot_be_written_is_found_before_training(run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    fails(run(*SMALL, "--out", "file/answer"), 2, "cannot write a report into")
    assert not (tmp_path / "laju.sqlite").exists()


@pytest.mark.slow
def test_the_answer_is_printed_and_written_and_the_second_time_comes_from_the_store(run, tmp_path: Path) -> None:
    first = run(*SMALL, timeout=300)
    assert first.returncode == 0, first.stderr
    assert "Which constant rate is best" in first.stdout
    assert "One seed" not in first.stderr
    folder = tmp_path / "laju-study" / "fixed-rates"
    page = (folder / "answer.md").read_text()
    assert page.startswith("# Which constant rate is best, and where does training diverge?\n")
    assert "![fixed rates](fixed-rates.png)" in page
    assert (folder / "fixed-rates.png").read_bytes().startswith(b"\x89PNG")
    opened = check((folder / "answer.html").read_text(), images=True)
    assert page.splitlines()[2].strip("*") in opened.words
    assert shlex.join(("laju", *SMALL)) in opened.words
    assert sum(tag == "img" for tag, _ in opened.elements) == page.count("![")
    figures = json.loads((folder / "figures.json").read_text())
    trained = rows(tmp_path / "laju.sqlite")

    second = run(*SMALL, "--out", "again", "--json", timeout=300)
    assert second.returncode == 0, second.stderr
    printed = json.loads(second.stdout)
    assert (printed["name"], printed["figures"]["rates"]) == ("fixed-rates", figures["rates"])
    assert rows(tmp_path / "laju.sqlite") == trained
    assert (tmp_path / "again" / "answer.md").read_text() == page


@pytest.mark.slow
@posix
def test_ctrl_c_keeps_what_is_finished(tmp_path: Path) -> None:
    store = tmp_path / "laju.sqlite"
    command = [program(), "study", "fixed-rates", "--small", "--epochs", "3", "--seeds", "9", "--jobs", "1"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    until = time.monotonic() + 90
    while time.monotonic() < until and process.poll() is None:
        time.sleep(0.1)
        try:
            if store.exists() and len(rows(store)) >= 1:
                break
        except sqlite3.Error:
            continue
    else:
        pytest.fail("no trial was finished in time")
    os.killpg(process.pid, signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    kept = len(rows(store))
    assert (process.returncode, stderr) == (130, "")
    assert f"Stopped. {kept} finished trial" in stdout
    assert "the same command goes on" in stdout
    assert 1 <= kept < 27
