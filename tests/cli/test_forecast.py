"""`laju forecast` as a person meets it: curves of a world whose law is known, on files, and what is said where it cannot know."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import laju
from laju.cli import cli
from tests.cli.test_cli import fails

N = 4000
RUNS = {
    "constant": laju.constant(0.1),
    "cosine": laju.cosine(0.1, total=N),
    "drop": laju.constant(0.1).take(N // 2) >> laju.constant(0.02),
}
CSV = tuple(f"{name}.csv" for name in RUNS)


def losses(run: laju.Schedule, at: np.ndarray) -> np.ndarray:
    """A world in which half of the noise is forgotten at once."""
    rates = run.values(int(at.max()) + 1)
    return 2 + 0.8 * (np.cumsum(rates)[at - 1] / 400) ** -0.5 + 0.5 * rates[at]


def write(path: Path, run: laju.Schedule, updates: int = N, *, rates: bool = True) -> None:
    at = np.arange(200, updates + 1, 50)
    rows = [
        f"{t},{run(t)!r},{loss!r}" if rates else f"{t},{loss!r}"
        for t, loss in zip(at.tolist(), losses(run, at).tolist(), strict=True)
    ]
    path.write_text("\n".join(["update,rate,loss" if rates else "update,loss", *rows]), encoding="utf-8")


@pytest.fixture
def run(tmp_path: Path, monkeypatch):
    """Runs laju in a folder of its own, inside this process, which has loaded SciPy already."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        done = CliRunner().invoke(cli, arguments)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)

    return run


@pytest.fixture
def curves(tmp_path: Path) -> Path:
    """A folder with the curves as CSV."""
    for name, schedule in RUNS.items():
        write(tmp_path / f"{name}.csv", schedule)
        write(tmp_path / f"{name}-bare.csv", schedule, rates=False)
    return tmp_path


def ask(run, *arguments: str) -> dict:
    done = run("forecast", *arguments, "--curve-warmup", "0", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# --- the first steps ---------------------------------------------------------------------------------------------------


def test_help_starts_at_once_and_shows_how_a_curve_is_written(run) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "laju", "forecast"]
    for verb in ([], ["predict"]):
        done = subprocess.run([*command, *verb, "--help"], capture_output=True, text=True, check=True)
        loaded = {line.rsplit("|", 1)[-1].strip().partition(".")[0] for line in done.stderr.splitlines()}
        assert not loaded & {"torch", "matplotlib", "sqlalchemy", "rich", "sklearn", "scipy", "tensorboard"}
    text = run("forecast", "--help").stdout
    assert "run1.csv@cosine(3e-4, total=24000, warmup=2160)" in text
    assert {"fit", "predict", "best", "extend", "check"} <= set(text.split())


TAKEN = "".join(
    f"note: {name}: rates: 'rate', losses: 'loss', updates: 'update' 200 … 4,000, every 50th\n"
    for name in ("constant", "cosine", "drop")
)


# --- what is said ------------------------------------------------------------------------------------------------------


def test_fit_prints_parameters_with_errors_and_how_each_curve_is_predicted_by_the_others(run, curves) -> None:
    done = run("forecast", "fit", *CSV, "--curve-warmup", "0", "--out", "law.json")
    assert (done.returncode, done.stderr) == (0, TAKEN)
    assert "fitted to 3 curves with 231 losses" in done.stdout
    assert re.search(r"alpha +0\.\d+ +± [\d.]+ %", done.stdout)
    assert re.search(r"L0 +[\d.]+ +± [\d.]+\n", done.stdout)
    rows = re.findall(r"^(constant|cosine|drop) +(0\.\d+) +(0\.\d+) +(\S+) +([\d.]+) %$", done.stdout, re.MULTILINE)
    assert [row[0] for row in rows] == list(RUNS)
    law = json.loads((curves / "law.json").read_text())
    assert [row["curve"] for row in law["held_out"]] == list(RUNS)
    assert ask(run, "fit", *CSV)["parameters"] == law["parameters"]


def test_schedules_may_stand_for_rates_in_the_file_after_an_at_or_in_an_option(run, curves) -> None:
    specs = [str(schedule) for schedule in RUNS.values()]
    bare = [f"{name}-bare.csv" for name in RUNS]
    exact = ask(run, "fit", *(f"{path}@{spec}" for path, spec in zip(bare, specs, strict=True)))
    options = [option for spec in specs for option in ("--schedule", spec)]
    assert ask(run, "fit", *bare, *options)["parameters"] == exact["parameters"]
    named = ask(run, "fit", f"a={bare[0]}@{specs[0]}", bare[1] + "@" + specs[1], "--law", "functional")
    assert [curve["name"] for curve in named["curves"]] == ["a", "cosine-bare"]
    # One for all, which is one schedule, and that is said.
    assert any("have the same schedule" in note for note in ask(run, "fit", *bare[:1], "--schedule", "0.1")["notes"])


def test_files_may_have_signs_in_their_names(run, curves) -> None:
    odd = curves / "lr=0.1@home"
    odd.mkdir()
    for name in RUNS:
        (curves / f"{name}.csv").rename(odd / "metrics.csv" if name == "drop" else odd / f"{name}.csv")
    (curves / "metrics.csv").write_text((odd / "constant.csv").read_text())
    found = ask(
        run, "fit", "lr=0.1@home/cosine.csv", "lr=0.1@home/metrics.csv", "metrics.csv", "b=lr=0.1@home/constant.csv"
    )
    assert [curve["name"] for curve in found["curves"]] == ["cosine", "lr=0.1@home/metrics.csv", "metrics.csv", "b"]


def test_predict_gives_what_the_world_would(run, curves) -> None:
    wanted = {"linear": 'linear(0.1, 0, total="100%")', "wsd": "wsd(0.1, total=4000, cooldown=1000)"}
    options = [option for name, spec in wanted.items() for option in ("--schedule", f"{name}={spec}")]
    found = ask(run, "predict", *CSV, "--updates", "4000", *options)
    for row in found["schedules"]:
        schedule = laju.parse(row["schedule"])
        truth = losses(schedule, np.array([N]))[0]
        assert row["low"] < row["loss"] < row["high"]
        assert row["loss"] == pytest.approx(truth, abs=0.05)
    done = run("forecast", "predict", *CSV, "--curve-warmup", "0", "--updates", "4000", *options, "--out", "a.png")
    assert (done.returncode, done.stderr) == (0, TAKEN)
    assert re.search(r"^linear +\d\.\d{4} +\d\.\d{4} – \d\.\d{4} ", done.stdout, re.MULTILINE)
    assert "lowest" in done.stdout
    assert done.stdout.endswith("wrote a.png\n")
    assert (curves / "a.png").read_bytes().startswith(b"\x89PNG")


def test_lengths_in_epochs_need_to_know_how_long_one_is(run, curves) -> None:
    options = ["predict", *CSV, "--curve-warmup", "0", "--schedule", "cosine(0.1, total=40).per('epoch')"]
    fails(run("forecast", *options, "--updates", "4000"), 2, "--updates-per-epoch")
    done = run("forecast", *options, "--epochs", "40", "--updates-per-epoch", "100", "--json")
    assert json.loads(done.stdout)["updates"] == 4000


def test_best_is_a_spec_that_beats_the_usual_ones_and_that_other_verbs_take(run, curves) -> None:
    found = ask(run, "best", *CSV, "--updates", "4000", "--warmup", "100")
    best, *others = found["schedules"]
    assert [row["name"] for row in others] == ["cosine to 0", "cosine to 10 %", "linear to 0"]
    assert all(best["loss"] < row["loss"] for row in others)
    schedule = laju.parse(found["best"]["schedule"])
    assert schedule == laju.from_json(found["best"]["json"])
    assert (schedule(0), schedule(100), schedule.length) == (0, 0.1, 4000)
    done = run("forecast", "best", *CSV, "--updates", "4000", "--warmup", "100", "--curve-warmup", "0")
    assert found["best"]["schedule"] in done.stdout.splitlines()
    fails(run("forecast", "best", *CSV, "--updates", "4000", "--family", "knots"), 2, "ill-posed", "functional")
    assert run("plot", found["best"]["schedule"], "--updates", "4000", "--out", "b.png").returncode == 0


def test_extend_sets_the_ways_on_side_by_side(run, curves) -> None:
    options = ["--schedule", "cosine(0.1, total=4000, final=0.01)", "--at", "3000", "--updates", "8000"]
    found = ask(run, "extend", *CSV, *options)
    ways = {row["name"]: row for row in found["schedules"]}
    assert list(ways) == [
        "hold, cool down",
        "stretch the rest",
        "as if planned so",
        "warm up, hold, cool",
        "convex bound's rest",
    ]
    so_far = laju.cosine(0.1, total=4000, final=0.01).values(3000)
    for row in ways.values():
        assert laju.parse(row["schedule"]).values(3000) == pytest.approx(so_far)
        assert row["bound"] >= -1e-3
    assert abs(ways["convex bound's rest"]["bound"]) < 1e-3
    assert found["as_planned"]["loss"] > min(row["loss"] for row in ways.values())
    assert any("rises again" in note for note in found["notes"])
    constant = ask(run, "extend", *CSV, "--schedule", "0.1", "--at", "3000", "--updates", "8000")
    assert [row["name"] for row in constant["schedules"]] == ["hold, cool down", "convex bound's rest"]
    assert constant["as_planned"] is None
    text = run("forecast", "extend", *CSV, "--curve-warmup", "0", *options, "--out", "e.svg")
    assert text.returncode == 0
    assert "as planned, at update 4,000:" in text.stdout
    assert (curves / "e.svg").exists()


def test_check_predicts_the_curves_that_were_not_fitted(run, curves) -> None:
    write(curves / "wsd.csv", laju.wsd(0.1, total=N, cooldown=1000))
    found = ask(run, "check", *CSV, "wsd.csv", "--fit", "constant", "--fit", "cos", "--fit", "rop")
    (row,) = found["curves"]
    assert found["fitted"] == list(RUNS)
    assert (row["curve"], row["update"]) == ("wsd", N)
    assert row["mae"] < 0.02
    assert row["low"] < row["loss"] < row["high"]
    each = run("forecast", "check", *CSV, "--curve-warmup", "0")
    assert each.returncode == 0
    assert len(re.findall(r"^(?:constant|cosine|drop) ", each.stdout, re.MULTILINE)) == 6
    done = run(
        "forecast",
        "check",
        *CSV,
        "wsd.csv",
        "--fit",
        "constant",
        "--fit",
        "drop",
        "--curve-warmup",
        "0",
        "--out",
        "c.png",
    )
    assert done.returncode == 0, done.stderr
    assert (curves / "c.png").exists()


def test_losses_of_a_warmup_are_left_out_unless_asked_for(run, tmp_path: Path) -> None:
    for name, rest in (("a", laju.constant(0.1)), ("b", laju.cosine(0.1, total=3000))):
        write(tmp_path / f"{name}.csv", laju.Ramp(0.0, 0.1, 1000) >> rest)
    assert [curve["losses"] for curve in ask(run, "fit", "a.csv", "b.csv")["curves"]] == [61, 61]
    assert [curve["losses"] for curve in ask(run, "fit", "a.csv", "b.csv", "--from", "2000")["curves"]] == [41, 41]
    fails(run("forecast", "fit", "a.csv", "--from", "9000"), 2, "a has no losses after update 9,000")


def test_tensorboard_folders_are_curves(run, curves) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(curves / "runs" / "7")) as writer:
        for t in range(50, N + 1, 50):
            writer.add_scalar("train/loss", losses(RUNS["cosine"], np.array([t]))[0], t)
            writer.add_scalar("train/lr", RUNS["cosine"](t), t)
    found = ask(run, "fit", "constant.csv", "runs/7")
    assert [(curve["name"], curve["losses"]) for curve in found["curves"]] == [("constant", 77), ("7", 80)]


# --- what it does not know ---------------------------------------------------------------------------------------------


def test_notes_are_lines_and_no_warnings_of_pythons(run, curves) -> None:
    done = run("forecast", "predict", *CSV, "--updates", "20000", "--schedule", "0.3")
    assert done.returncode == 0
    lines = done.stderr.splitlines()
    assert all(line.startswith("note: ") for line in lines)
    assert len(lines) == len(set(lines))
    text = " ".join(lines)
    for part in (
        "no learning rate before update 200",
        "the peak 0.3 is outside",
        "more than four times the longest curve",
    ):
        assert part in text
    assert "Warning" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "texts"),
    [
        (["fi"], 2, ["'fi'", "did you mean 'fit'"]),
        (["fit"], 2, ["CURVE"]),
        (["fit", "nowhere.csv"], 2, ["there is no file 'nowhere.csv'"]),
        (["fit", "."], 2, ["no event files"]),
        (["fit", "bad.csv"], 2, ["bad.csv, line 3, column 'loss': 'oops'"]),
        (["fit", "constant-bare.csv"], 2, ["no column of rates", "give the run's schedule"]),
        (["fit", "constant-bare.csv@"], 2, ["no schedule after the '@'"]),
        (["fit", "constant-bare.csv@cosin(1, total=3)"], 2, ["did you mean 'cosine'"]),
        (["fit", "constant-bare.csv@linear(0.1, 0, total='3 epochs')"], 2, ["in epochs", "--updates-per-epoch"]),
        (["fit", "=constant.csv"], 2, ["no name"]),
        (["fit", *CSV, "--schedule", "0.1", "--schedule", "0.2"], 2, ["2 times for 3 files"]),
        (["fit", "a=constant.csv", "a=cosine.csv"], 2, ["two curves are named 'a'"]),
        (["fit", *CSV, "--law", "power"], 2, ["--law"]),
        (["fit", *CSV, "--task", "digits"], 2, ["--task goes with --store"]),
        (["fit", *CSV, "--loss-column", "los"], 2, ["no column 'los'; did you mean 'loss'"]),
        (["fit", "--store", "nowhere.sqlite"], 2, ["nowhere.sqlite"]),
        (["fit", "--store", "bad.csv"], 2, ["bad.csv is not a SQLite file"]),
        (["predict", *CSV, "--updates", "9"], 2, ["--schedule"]),
        (["predict", *CSV, "--schedule", "0.1"], 2, ["--updates N"]),
        (["predict", *CSV, "--schedule", "0.1", "--updates", "9", "--epochs", "9"], 2, ["--updates and --epochs"]),
        (["predict", *CSV, "--schedule", "0.1", "--epochs", "9"], 2, ["--updates-per-epoch"]),
        (["predict", *CSV, "--schedule", "0.1", "--updates", "9", "--out", "a.docx"], 2, ["a.docx", ".png"]),
        (["extend", *CSV, "--schedule", "0.1", "--at", "9", "--updates", "9"], 2, ["--at 9 leaves no updates"]),
        (["check", *CSV, "--fit", "co"], 2, ["'co' could be constant, cosine"]),
        (["check", *CSV, "--fit", "cosin3"], 2, ["did you mean 'cosine'"]),
        (
            ["check", *CSV, "--fit", "constant", "--fit", "cosine", "--fit", "drop"],
            2,
            ["every curve is used in the fit"],
        ),
        (["check", "drop.csv"], 2, ["give more curves"]),
    ],
)
def test_a_wrong_question_is_answered_with_what_would_be_right(run, curves, arguments, code, texts) -> None:
    (curves / "bad.csv").write_text("update,rate,loss\n1,0.1,3\n2,0.1,oops\n" + "3,0.1,2.9\n" * 60)
    fails(run("forecast", *arguments), code, *texts)
