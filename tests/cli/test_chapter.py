"""laju chapter as a person meets it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from laju.studies.chapter import TABS, TRAINED, rates
from tests.chapter_text import interpreter

TINY = ("--epochs", "1", "--seeds", "1", "--jobs", "1")
PROGRAM = str(Path(sys.executable).with_name("laju.exe" if os.name == "nt" else "laju"))


@pytest.fixture
def run(tmp_path: Path) -> Any:
    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAM, "chapter", *arguments],
            cwd=tmp_path,
            env=os.environ | {"COLUMNS": "120"} | variables,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


def plain(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.slow
def test_the_published_figures_stand_beside_and_are_not_compared_with_other_data(run: Any, tmp_path: Path) -> None:
    done = run("--task", "digits", *TINY)
    assert (done.returncode, done.stderr) == (0, "")
    said = plain(done.stdout)
    verdict = (
        "No verdict on the PyTorch tab's figures, as this run had digits instead of fashion-mnist, 1 epoch instead of 30 and "
        "batches of 64 instead of 256; laju chapter --tab pytorch on the full fashion-mnist gives one."
    )
    assert verdict in said
    assert said.index(verdict) < said.index(
        "The PyTorch tab on digits: 1 epoch, batch size 64, 1 seed, the rates that its"
    )
    for name in TRAINED:
        assert name in done.stdout
    for figures in TABS["pytorch"].published.values():
        for value in vars(figures).values():
            assert f"{value:.3f}" in done.stdout
    assert "agrees" not in done.stdout
    assert "differs" not in done.stdout
    assert "1 epochs" not in done.stdout
    page = plain((tmp_path / "laju-report" / "report.html").read_text())
    assert "LeNet with ReLU and max pooling, with torch&#39;s default weights." in page


@pytest.mark.slow
def test_as_meant_trains_what_the_text_describes_and_tells_of_a_rate_of_zero(run: Any) -> None:
    done = run("--task", "digits", *TINY, "--as-meant", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["schedules"] == {
        name: str(schedule) for name, schedule in rates(TABS["pytorch"], as_meant=True).items()
    }
    assert (found["task"], found["chapter"]["tab"], found["chapter"]["as_meant"]) == (
        "digits, pytorch tab",
        "pytorch",
        True,
    )
    felt = {(r["schedule"], r["update"]): r["rate"] for r in found["records"]}
    assert felt["multi-factor", 23] == 0.5
    assert felt["cosine with warmup", 23] == 0.0
    notes = {row["name"]: row["note"] for row in found["summary"]}
    assert notes["cosine with warmup"] == "1 of 1 collapsed, as the rate of every update was 0"
    assert "rate" not in notes["constant"]


@pytest.mark.slow
@pytest.mark.parametrize("tab", list(TABS))
def test_a_tab_is_trained_in_its_framework_and_is_there_the_second_time(run: Any, shared: Path, tab: str) -> None:
    interpreter(tab)
    arguments = ("--tab", tab, "--data-dir", str(shared / "data" / "fashion-mnist-mini"), *TINY)
    first = run(*arguments, "--json")
    assert first.returncode == 0, first.stderr
    found = json.loads(first.stdout)
    assert set(found["frameworks"].values()) == {TABS[tab].framework}
    assert found["task"] == f"fashion-mnist, {tab} tab"
    assert TABS[tab].title in found["description"]
    second = run(*arguments)
    assert second.returncode == 0, second.stderr
    assert "5 trials, 5 of them in the store already" in second.stdout
    said = plain(second.stdout)
    if TABS[tab].published:
        assert "3,600 training and 843 test images instead of 60,000 and 10,000" in said
    else:
        assert "No verdict: the MXNet tab prints no figures" in said


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_keeps_what_is_finished_and_the_same_command_goes_on(tmp_path: Path, run: Any) -> None:
    arguments = ["--task", "digits", "--epochs", "4", "--seeds", "2", "--jobs", "1"]
    with subprocess.Popen([PROGRAM, "chapter", *arguments], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("[2/10]"):
                break
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 130
    kept = int(rest.split(" of 10 trials are kept in laju.sqlite")[0].split()[-1])
    assert kept >= 2
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert f"10 trials, {kept} of them in the store already; {10 - kept} to run" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--task", "digit"], 2, "did you mean 'digits'"),
        (["--seeds", "0"], 2, "--seeds"),
        (
            ["--tab", "tensorfow"],
            2,
            "--tab: tab must be one of pytorch, tensorflow, mxnet, got 'tensorfow'; did you mean 'tensorflow'?",
        ),
        (["--tab", "torch"], 2, "did you mean 'pytorch'?"),
        (
            ["--framework", "torch"],
            2,
            "--framework is gone, since each tab is an experiment of its own framework. Say which tab: --tab",
        ),
        (["--as-published"], 2, "with --as-meant. Say which tab: --tab pytorch, --tab tensorflow or --tab mxnet."),
        (["--data-dir", "nowhere"], 2, "nowhere"),
        (["--task", "digits", "--data-dir", "."], 2, "takes no --data-dir"),
    ],
)
def test_a_wrong_command_is_answered_with_what_would_be_right(
    run: Any, tmp_path: Path, arguments: list[str], code: int, text: str
) -> None:
    done = run(*arguments)
    assert done.returncode == code
    assert text in plain(done.stderr)
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_without_the_environment_of_mxnet_it_says_how_to_make_it_and_trains_nothing(run: Any, tmp_path: Path) -> None:
    done = run("--tab", "mxnet", "--task", "digits", *TINY, LAJU_MXNET_PYTHON=str(tmp_path / "no-python"))
    assert done.returncode != 0
    assert "make setup-mxnet" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_help_names_the_tabs_and_not_what_is_gone(run: Any) -> None:
    said = plain(run("--help").stdout)
    for name in TABS:
        assert f"--tab {name}" in said or f"{name}," in said
    assert "--as-meant" in said
    assert "--framework" not in said
    assert "--as-published" not in said
