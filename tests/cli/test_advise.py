"""laju advise and laju forecast learn: one screen, told columns, and an exit status that says whether there is an answer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import laju
from laju.cli import cli

TOTAL = 2000
RUN = laju.wsd(0.1, total=TOTAL, cooldown=800, warmup=20)


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments])


def write(path: Path, schedule: laju.Schedule, until: int = TOTAL, level: float = 3.0, seed: int = 0) -> Path:
    rates = schedule.values(TOTAL + 1)
    s = np.concatenate([[0.0], np.cumsum(rates[:-1])]) / 0.1 / 100
    noise = np.random.default_rng(seed)
    lines = ["step,lr,train_loss,val_loss"]
    for n in range(20, until + 1, 20):
        loss = (level + 0.6 * s[n] ** -0.4 - 0.2 * (1 - rates[n] / 0.1) * (n > 20)) * noise.normal(1, 3e-4)
        lines.append(f"{n},{float(rates[n])!r},{loss + 0.2:.5f},{loss:.5f}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def prior(tmp_path: Path) -> Path:
    logs = [
        write(tmp_path / f"p{c}.csv", laju.wsd(0.1, total=TOTAL, cooldown=c, warmup=20), level=2.98 + c / 5e4, seed=c)
        for c in (600, 700, 780, 820, 900, 1000)
    ]
    done = invoke("forecast", "learn", *logs, "--loss-column", "val_loss", "--out", tmp_path / "mine.json")
    assert done.exit_code == 0, done.output
    assert "6 runs" in done.output
    return tmp_path / "mine.json"


def test_one_screen_says_the_end_its_band_and_what_it_rests_on(tmp_path: Path, prior: Path) -> None:
    log = write(tmp_path / "run.csv", RUN, 1600, seed=9)
    whole = write(tmp_path / "whole.csv", RUN, seed=9)
    truth = float(whole.read_text().splitlines()[-1].rsplit(",", 1)[1])
    done = invoke("advise", log, "--prior", prior, "--target", truth + 0.5)
    assert done.exit_code == 0, done.output
    assert "losses: 'val_loss', updates 20 … 1,600 (not 'train_loss'" in done.output
    assert "schedule: wsd(0.1, total=2000, cooldown=800)" in done.output  # the warmup is over at the first row
    assert "rests on 'mine'" in done.output
    assert "probability of about 100%" in done.output
    told = json.loads(invoke("advise", log, "--prior", prior, "--json").output)
    assert told["low"] <= truth <= told["high"]
    assert told["schedule"] == "wsd(0.1, total=2000, cooldown=800)"


def test_a_run_is_held_against_another(tmp_path: Path, prior: Path) -> None:
    log = write(tmp_path / "run.csv", RUN, 1600, seed=9)
    other = write(tmp_path / "other.csv", RUN, level=2.5)
    done = invoke("advise", log, "--prior", prior, "--against", other)
    assert "the last loss of" in done.output
    assert "probability of about 0%" in done.output


def test_a_refusal_exits_with_1_and_names_the_cure(tmp_path: Path) -> None:
    log = write(tmp_path / "run.csv", RUN, 1000)
    done = invoke("advise", log, "--schedule", str(RUN), "--prior", "none")
    assert done.exit_code == 1
    assert "no answer: 0% of the annealing is seen" in done.output
    assert "one finished run of this recipe" in done.output
    told = json.loads(invoke("advise", log, "--schedule", str(RUN), "--prior", "none", "--json").output)
    assert told["value"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--prior", "nope", "--schedule", str(RUN)], "prior must be"),
        ([], "give its schedule: --schedule"),
        (["--schedule", "cosine(0.1, total='9 epochs')"], "--updates-per-epoch"),
        (["--schedule", "wsd(0.1, total=500, cooldown=100)"], "must not lie before the last row"),
        (["--target", "3", "--against", "x.csv"], "give one of them"),
        (["--out", "x.doc"], "must end in"),
        (["--loss-column", "val_los"], "did you mean 'val_loss'"),
    ],
)
def test_mistakes_exit_with_2_and_say_what_to_do(tmp_path: Path, arguments: list[str], said: str) -> None:
    log = write(tmp_path / "run.csv", RUN, 1000)
    done = invoke("advise", log, *arguments)
    assert done.exit_code == 2, done.output
    assert said in done.output


def test_a_picture_is_written(tmp_path: Path, prior: Path) -> None:
    log = write(tmp_path / "run.csv", RUN, 1600)
    done = invoke("advise", log, "--prior", prior, "--out", tmp_path / "a.png")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_groups_are_one_for_each_run(tmp_path: Path) -> None:
    log = write(tmp_path / "run.csv", RUN)
    done = invoke(
        "forecast", "learn", log, "--loss-column", "val_loss", "--group", "a", "--group", "b", "--out", "x.json"
    )
    assert done.exit_code == 2
    assert "one for all, or one for each" in done.output
