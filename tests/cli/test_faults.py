"""A disk that is full and a signal, while a verb trains or writes: one sentence that says what is kept, and the exit status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from laju.lab import Store
from tests.cli.test_cli import posix

START = "import sys; sys.argv[0] = 'laju'; from laju_start import main; main()"
FULL = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0})); "
"""No file may be larger, as on a disk that has little room left."""


def laju(arguments: str, folder: Path, before: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", before + START, *arguments.split()]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
@posix
def test_a_full_disk_costs_the_report_and_not_the_table(tmp_path: Path) -> None:
    arguments = "compare 0.1 0.2 --epochs 1 --seeds 2 --jobs 1"
    laju(f"{arguments} --out another", tmp_path)
    full = laju(arguments, tmp_path, FULL.format(40960))
    assert full.returncode == 1, full.stderr
    assert "schedule" in full.stdout
    assert "No schedule is shown to be the best" in full.stdout
    assert full.stderr.startswith("Error: the report is not written: ")
    assert "4 of 4 trials are kept in laju.sqlite; the same command writes the report" in full.stderr
    assert "Traceback" not in full.stderr
    done = laju(arguments, tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "laju-report" / "report.html").exists()


@pytest.mark.slow
@posix
def test_a_full_disk_costs_the_picture_of_a_range_test_and_not_the_table(tmp_path: Path) -> None:
    full = laju("find --updates 10 --seeds 1", tmp_path, FULL.format(4096))
    assert full.returncode == 1, full.stdout
    assert "rule" in full.stdout
    assert full.stderr.startswith("Error: the picture is not written: ")


@pytest.mark.slow
@posix
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_is_one_line_that_says_what_is_kept(
    tmp_path: Path, jobs: int, number: signal.Signals
) -> None:
    store = tmp_path / "laju.sqlite"
    arguments = f"compare 0.1 0.2 --epochs 1 --seeds 1000 --jobs {jobs} --no-share-prefixes".split()
    process = subprocess.Popen(
        [sys.executable, "-c", START, *arguments],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    end = time.monotonic() + 120
    while time.monotonic() < end and not (store.exists() and kept(store)):
        time.sleep(0.1)
    os.killpg(process.pid, number)
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert errors == ""
    assert out.count("Stopped. ") == 1
    assert "of 2000 trials are kept in laju.sqlite; the same command runs the rest." in out


def kept(store: Path) -> int:
    with Store(store) as opened:
        return len(opened)
