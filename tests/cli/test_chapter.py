"""laju chapter as a person meets it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from laju.studies.chapter import PUBLISHED, as_published, schedules

TINY = ("--epochs", "1", "--seeds", "1", "--jobs", "1")


@pytest.fixture
def run(tmp_path: Path):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        program = str(Path(sys.executable).with_name("laju.exe" if os.name == "nt" else "laju"))
        return subprocess.run(
            [program, "chapter", *arguments],
            cwd=tmp_path,
            env=os.environ | {"COLUMNS": "120"},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@pytest.mark.slow
def test_the_published_figures_stand_beside_and_are_not_compared_with_other_data(run, tmp_path: Path) -> None:
    done = run("--task", "digits", *TINY)
    assert (done.returncode, done.stderr) == (0, "")
    for name in schedules():
        assert name in done.stdout
    for figures in PUBLISHED.values():
        for value in vars(figures).values():
            assert f"{value:.3f}" in done.stdout
    assert "not comparable: digits is other data" in done.stdout
    assert "agrees" not in done.stdout
    assert "differs" not in done.stdout
    assert "--as-published" in done.stdout
    assert (tmp_path / "laju-report" / "report.html").exists()


@pytest.mark.slow
def test_as_published_trains_at_the_rates_of_the_chapters_loop(run) -> None:
    done = run("--task", "digits", *TINY, "--as-published", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["schedules"] == {name: str(schedule) for name, schedule in as_published().items()}
    assert all(line["same_rates"] for line in found["chapter"])
    assert {line["why_not_compared"] for line in found["chapter"]} == {
        "not comparable: digits is other data",
        "none published",
    }
    rates = {(r["schedule"], r["update"]): r["rate"] for r in found["records"]}
    assert rates["multi-factor", 23] == 0.125
    assert rates["cosine with warmup", 23] == 0.3


@pytest.mark.slow
def test_a_small_fashion_mnist_is_not_taken_for_the_whole(run, shared: Path) -> None:
    done = run("--data-dir", str(shared / "data" / "fashion-mnist-mini"), *TINY)
    assert done.returncode == 0, done.stderr
    assert "not comparable: 3,600 images, not 60,000" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--task", "digit"], 2, "did you mean 'digits'"),
        (["--seeds", "0"], 2, "--seeds"),
        (["--framework", "theano"], 2, "--framework"),
        (["--data-dir", "nowhere"], 1, "nowhere"),
        (["--task", "digits", "--data-dir", "."], 1, "takes no data_dir"),
    ],
)
def test_a_wrong_command_is_answered_with_what_would_be_right(run, tmp_path: Path, arguments, code, text) -> None:
    done = run(*arguments)
    assert done.returncode == code
    assert text in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "laju.sqlite").exists()
