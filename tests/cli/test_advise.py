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
        (["--prior", "nope", "--schedule", str(RUN)], "--prior must be"),
        (["--prior", "algoperv", "--schedule", str(RUN)], "did you mean 'algoperf'"),
        (
            ["--prior", "none", "--prior", "run.csv", "--schedule", str(RUN)],
            "each must be the log of a finished run, got 'none'",
        ),
        (
            ["--until", "10", "--schedule", str(RUN)],
            "--until must lie between the rows, which are of update 20 to 1,000; got 10",
        ),
        (["--until", "1000", "--schedule", str(RUN)], "--until must lie between the rows"),
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


def test_a_run_is_no_past_run_of_itself(tmp_path: Path) -> None:
    log = write(tmp_path / "run.csv", RUN)
    for arguments in (["--prior", log], ["--prior", tmp_path / "." / "run.csv"]):
        done = invoke("advise", log, "--until", 1600, *arguments)
        assert done.exit_code == 2, done.output
        assert "--prior must be other runs than the one that is asked about" in done.output
        assert "leave --prior out" in done.output


def test_a_log_on_its_plateau_asks_for_the_schedule(tmp_path: Path) -> None:
    log = tmp_path / "run.csv"
    write(log, laju.wsd(0.1, total=TOTAL, cooldown=400, warmup=200), 1000)
    done = invoke("advise", log)
    assert done.exit_code == 2, done.output
    assert "does not tell how the run goes on; give its schedule: --schedule SPEC" in done.output


def test_rates_that_follow_no_formula_do_not_end_the_run_with_the_log(tmp_path: Path) -> None:
    log = write(tmp_path / "run.csv", laju.knots([[0, 0.1], [300, 0.01], [700, 0.1], [1200, 0.02], [2000, 0.06]]), 1500)
    done = invoke("advise", log)
    assert done.exit_code == 2, done.output
    assert "tell how the run goes on; give its schedule: --schedule SPEC" in done.output


def test_columns_that_lack_are_asked_for_by_options(tmp_path: Path) -> None:
    log = tmp_path / "run.csv"
    log.write_text("step,lr,accuracy\n" + "".join(f"{n},{0.1 - n / 1000},{n}\n" for n in range(1, 30)))
    done = invoke("advise", log)
    assert done.exit_code == 2
    assert done.output.strip().endswith("name the column: --loss-column")
    log.write_text("step,lr,loss\n" + "".join(f"{n},-0.1,{9 / n}\n" for n in range(1, 30)))
    assert "a rate must be finite and not negative" in invoke("advise", log).output


@pytest.mark.parametrize("first", [0, 1])
def test_rates_of_epochs_are_compared_with_the_schedule_by_epochs(tmp_path: Path, first: int) -> None:
    planned, log = laju.cosine(0.1, total=100), tmp_path / "run.csv"
    rows = [f"{k + first},{planned(k)!r},{2 + (k + 1) ** -0.5:.5f}" for k in range(60)]
    log.write_text("\n".join(["epoch,lr,val_loss", *rows]) + "\n")
    arguments = ["advise", log, "--updates-per-epoch", 50, "--prior", "none", "--json", "--schedule"]
    meant = json.loads(invoke(*arguments, "cosine(0.1, total=100).per('epoch')").output)
    assert meant["rates"] is None
    other = json.loads(invoke(*arguments, "cosine(0.1, total=200).per('epoch')").output)
    assert "up to update 2,950" in other["rates"] or "up to update 3,000" in other["rates"]


def test_rates_that_are_all_0_are_told_beside_the_schedule(tmp_path: Path, prior: Path) -> None:
    log = write(tmp_path / "run.csv", RUN, 1600, seed=9)
    head, *rows = log.read_text().splitlines()
    log.write_text(
        "\n".join([head, *(",".join([n, "0.0", *rest]) for n, _, *rest in (row.split(",") for row in rows))])
    )
    done = invoke("advise", log, "--schedule", str(RUN), "--prior", prior)
    assert "rates: all rates in the log are 0" in done.output


def test_a_picture_is_written(tmp_path: Path, prior: Path) -> None:
    log = write(tmp_path / "run.csv", RUN, 1600)
    done = invoke("advise", log, "--prior", prior, "--out", tmp_path / "a.png")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_that_is_over_is_told_from_its_beginning_as_if_it_went_on(tmp_path: Path, prior: Path) -> None:
    log = write(tmp_path / "run.csv", RUN, 1600, seed=9)
    whole = write(tmp_path / "whole.csv", RUN, seed=9)
    truth = float(whole.read_text().splitlines()[-1].rsplit(",", 1)[1])
    so_far = json.loads(invoke("advise", log, "--prior", prior, "--json").output)
    told = json.loads(invoke("advise", whole, "--prior", prior, "--until", 1600, "--json").output)
    assert told.pop("came_out") == {"at": TOTAL, "value": truth, "inside": True}
    assert json.dumps(told).replace("whole", "run") == json.dumps(so_far)  # nothing of the later rows got through
    done = invoke("advise", whole, "--prior", prior, "--until", 1610, "--out", tmp_path / "a.svg")
    assert f"came out: {truth:.5g} at update 2,000, inside the band" in done.output
    assert "came out after the forecast" in (tmp_path / "a.svg").read_text()


def test_what_came_out_is_not_told_of_a_log_that_ends_before_the_end(tmp_path: Path, prior: Path) -> None:
    log = write(tmp_path / "run.csv", RUN, 1800, seed=9)
    done = invoke("advise", log, "--prior", prior, "--until", 1600)
    assert "came out: not known, as the log ends at update 1,800, with " in done.output


def test_an_end_outside_the_band_is_said(tmp_path: Path, prior: Path) -> None:
    lines = write(tmp_path / "run.csv", RUN, seed=9).read_text().splitlines()
    (tmp_path / "run.csv").write_text("\n".join([*lines[:-1], f"{TOTAL},0.0,9.0,9.0"]))
    done = invoke("advise", tmp_path / "run.csv", "--prior", prior, "--until", 1600)
    assert "came out: 9 at update 2,000, outside the band" in done.output
    assert done.exit_code == 0


def test_finished_runs_are_given_as_their_logs(tmp_path: Path, prior: Path) -> None:
    log = write(tmp_path / "run.csv", RUN, 1600, seed=9)
    logs = [part for c in (600, 700, 780, 820, 900, 1000) for part in ("--prior", tmp_path / f"p{c}.csv")]
    learnt, given = (json.loads(invoke("advise", log, *a, "--json").output) for a in (["--prior", prior], logs))
    assert learnt.pop("prior") == "mine"
    assert given.pop("prior") == "p600, p700, p780, p820, p900, p1000"
    assert given["value"] == learnt["value"]
    assert given["rests_on"] == learnt["rests_on"]


def test_rates_without_a_formula_are_not_listed(tmp_path: Path) -> None:
    log = write(
        tmp_path / "run.csv", laju.knots([[n, 0.1 + 0.01 * (n * 7919 % 97) / 97] for n in range(0, TOTAL + 1, 20)])
    )
    done = invoke("advise", log)
    assert done.exit_code == 2
    assert "the rates so far follow no formula, and do not tell how the run goes on" in done.output
    assert len(done.output) < 200


def test_groups_are_one_for_each_run(tmp_path: Path) -> None:
    log = write(tmp_path / "run.csv", RUN)
    done = invoke(
        "forecast", "learn", log, "--loss-column", "val_loss", "--group", "a", "--group", "b", "--out", "x.json"
    )
    assert done.exit_code == 2
    assert "one for all runs, or one per run" in done.output


# --- when to cool down, what to run next, and what was meant -----------------------------------------------------------


def test_ways_to_cool_down_stand_beside_the_planned_one_and_can_be_pasted(tmp_path: Path, prior: Path) -> None:
    log = write(tmp_path / "run.csv", RUN, 1000, seed=9)
    arguments = ("advise", log, "--prior", prior, "--schedule", str(RUN))
    text = invoke(*arguments).output
    assert "when to cool down" in text
    ways = {way["name"]: way for way in json.loads(invoke(*arguments, "--json").output)["cooldowns"]}
    assert list(ways) == ["now", "as planned", "later", "longer"]
    assert [ways[name]["at"] for name in ways] == [1800, 2000, 2000, 3000]
    for name, way in ways.items():
        schedule = laju.parse(way["schedule"])
        assert schedule.length == way["at"]
        assert schedule.values(1000).tolist() == pytest.approx(RUN.values(1000).tolist()), name
        if way["value"] is not None:
            assert way["low"] < way["value"] < way["high"]
            assert f"{way['value']:.4f}" in text
        else:
            assert way["refused"]
    assert ways["longer"]["value"] < ways["as planned"]["value"] < ways["now"]["value"]


def with_averages(log: Path, column: str, gain: float) -> Path:
    """The log with a column of losses that are lower by a share."""
    head, *rows = log.read_text().splitlines()
    lines = [f"{head},{column}", *(f"{row},{float(row.rpartition(',')[2]) * (1 - gain):.5f}" for row in rows)]
    log.write_text("\n".join(lines) + "\n")
    return log


def test_averaged_weights_are_a_way_beside_the_cooldown(tmp_path: Path, prior: Path) -> None:
    log = with_averages(write(tmp_path / "run.csv", RUN, 1100, seed=9), "val_loss_ema", 0.03)
    arguments = ("advise", log, "--prior", prior, "--schedule", str(RUN))
    done = invoke(*arguments)
    assert done.exit_code == 0, done.output
    (line,) = (line for line in done.output.splitlines() if "averaged weights" in line)
    assert "('val_loss_ema') end at" in line
    assert "with the rate held, without a cooldown" in line
    told = json.loads(invoke(*arguments, "--json").output)["averages"]
    assert told["value"] == pytest.approx(0.97 * told["raw"], rel=1e-3)
    assert told["low"] < told["value"] < told["high"]
    assert told["held"]
    held = laju.warmup(0.1, 20).take(20) >> laju.Constant(0.1)
    s = np.cumsum(held.values(TOTAL))[-1] / 0.1 / 100
    assert told["raw"] == pytest.approx(3.0 + 0.6 * s**-0.4, abs=0.02)


@pytest.mark.parametrize(
    ("column", "gain"), [("train_loss_ema", 0.03), ("val_loss_avg", -0.01), ("val_loss_other", 0.03)]
)
def test_nothing_is_said_of_averages_that_are_none(tmp_path: Path, prior: Path, column: str, gain: float) -> None:
    log = with_averages(write(tmp_path / "run.csv", RUN, 1100, seed=9), column, gain)
    done = invoke("advise", log, "--prior", prior, "--schedule", str(RUN), "--loss-column", "val_loss")
    assert done.exit_code == 0, done.output
    assert "averaged weights" not in done.output


def test_what_is_refused_for_all_ways_is_said_once(tmp_path: Path) -> None:
    log = write(tmp_path / "run.csv", RUN, 1000)
    done = invoke("advise", log, "--schedule", str(RUN), "--prior", "none")
    assert "not told, for the same reason" in done.output
    assert "1 curve cannot tell what annealing gains" in done.output
    told = json.loads(invoke("advise", log, "--schedule", str(RUN), "--prior", "none", "--json").output)["next"]
    run = told["runs"][0]
    assert run["branch"] == "run"  # a cooldown from the last checkpoint tells what this one will gain
    assert run["spread"] < told["spread"] / 3
    assert laju.parse(run["schedule"]).values(1000).max() == pytest.approx(0.1)


def test_several_runs_tell_schedule_peak_and_the_most_telling_run(tmp_path: Path) -> None:
    logs = [
        write(tmp_path / f"{c}.csv", laju.wsd(0.1, total=TOTAL, cooldown=c, warmup=100), seed=c)
        for c in (300, 900, 1500)
    ]
    arguments = ("advise", *logs, "--updates", 4000, "--budget", 800)
    done = invoke(*arguments)
    assert done.exit_code == 0, done.output
    assert "which schedule and peak next, for 4,000 updates" in done.output
    assert "so nothing is known of other peaks" in done.output
    told = json.loads(invoke(*arguments, "--json").output.partition("{")[2].join(["{", ""]))["next"]
    best = laju.parse(told["best"]["schedule"])
    assert best.length == 4000
    assert best(0) == 0  # the curves' warmup
    assert best(50) == pytest.approx(best(100) / 2)
    for run in told["runs"]:
        assert run["updates"] <= 800
        assert run["spread"] < told["spread"]
        assert laju.parse(run["schedule"]).length == run["updates"]


def test_a_law_that_misses_a_run_of_its_own_chooses_nothing(tmp_path: Path) -> None:
    logs = [
        write(tmp_path / f"{c}.csv", laju.wsd(0.1, total=TOTAL, cooldown=c, warmup=20), level=3 + c / 5e3)
        for c in (300, 900, 1500)
    ]
    done = invoke("advise", *logs)
    assert done.exit_code == 1, done.output
    assert "predicted by the others, is off by" in done.output
    assert (
        "are 5 times the longest curve" in invoke("advise", *logs[:1] * 1, *_near(tmp_path), "--updates", 10_000).output
    )


def _near(folder: Path) -> list[Path]:
    return [
        write(folder / f"near{c}.csv", laju.wsd(0.1, total=TOTAL, cooldown=c, warmup=20), level=3.06)
        for c in (310, 600, 900)
    ]


def test_rates_that_are_not_the_meant_ones_are_told_from_where(tmp_path: Path, prior: Path) -> None:
    log = write(tmp_path / "run.csv", RUN, 1600, seed=9)
    said = ("advise", log, "--prior", prior, "--meant")
    assert f"rates: as meant, {RUN}" in invoke(*said, str(RUN)).output
    twice = laju.wsd(0.1, total=2 * TOTAL, cooldown=1600, warmup=40)
    done = invoke(*said, str(twice))
    assert done.exit_code == 0, done.output
    assert "rates: not the meant ones: at update" in done.output
    assert "every update is counted 2 times" in done.output
    assert "schedule: wsd(0.1, total=2000, cooldown=800)" in done.output  # of the rates, not the meant one
    assert "not the meant ones" in json.loads(invoke(*said, str(twice), "--json").output)["rates"]


def test_a_healthy_run_goes_on_as_meant_where_its_rates_do_not_say_how(tmp_path: Path, prior: Path) -> None:
    log = write(tmp_path / "run.csv", RUN, 1000, seed=9)
    done = invoke("advise", log, "--prior", prior, "--meant", str(RUN))
    assert done.exit_code == 0, done.output
    assert f"schedule: {RUN}" in done.output


def test_where_log_and_schedule_differ_the_log_counts_so_far(tmp_path: Path, prior: Path) -> None:
    log = write(tmp_path / "run.csv", RUN, 1600, seed=9)
    other = laju.wsd(0.1, total=TOTAL, cooldown=400, warmup=20)
    done = invoke("advise", log, "--prior", prior, "--schedule", str(other))
    assert "up to update 1,600 the log counts, from there on the schedule" in done.output
    assert "not told, as the logged rates are not those of the schedule" in done.output
    scaled = invoke("advise", log, "--prior", prior, "--schedule", str(RUN * 7.0))
    assert "the log counts" not in scaled.output  # rates in another unit are the same


def test_one_log_alone_can_be_held_against_something(tmp_path: Path) -> None:
    log = write(tmp_path / "run.csv", RUN)
    done = invoke("advise", log, log, "--target", 3)
    assert done.exit_code == 2
    assert "--target goes with one log, got 2" in done.output


# --- logs that are damaged or say too little ---------------------------------------------------------------------------


def _rows(path: Path, change: object = None, until: int = 1600, head: str = "step,lr,val_loss") -> Path:
    whole = write(path.with_suffix(".whole"), RUN, until, seed=9).read_text().splitlines()[1:]
    rows = [(n, lr, loss) for n, lr, _, loss in (line.split(",") for line in whole)]
    rows = change(rows) if callable(change) else rows
    path.write_text("\n".join([head, *(",".join(row) for row in rows)]) + "\n")
    return path


def _average(rows: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    held, found = float(rows[0][2]), []
    for n, lr, loss in rows:
        held = 0.9 * held + 0.1 * float(loss)
        found.append((n, lr, f"{held:.5f}"))
    return found


def _rising(rows: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    return [(n, lr, f"{float(loss) + max(0, int(n) - 1200) / 400:.5f}") for n, lr, loss in rows]


@pytest.mark.parametrize(
    ("change", "head", "status", "said"),
    [
        (_average, "step,lr,loss_ema", 0, "'loss_ema' is a smoothed column, which lags behind a cooldown"),
        (lambda rows: _rising(_average(rows)), "step,lr,loss_ema", 1, "the smoothed loss is"),
        (
            lambda r: [(n, lr, "nan" if i in (5, 9) else y) for i, (n, lr, y) in enumerate(r)],
            "step,lr,loss",
            0,
            "not finite",
        ),
        (
            lambda r: [(n, lr, "nan" if i > 60 else y) for i, (n, lr, y) in enumerate(r)],
            "step,lr,loss",
            1,
            "the run diverged",
        ),
        (lambda r: r[:20] + r[50:], "step,lr,loss", 0, "there is no loss between updates 400 and 1,020"),
        (lambda r: r[-1:], "step,lr,loss", 1, "1 loss so far, at least 5 are needed"),
        (lambda r: r + r, "step,lr,loss", 0, "2 runs in this file"),
        (lambda r: [(n, "", y) for n, _, y in r], "step,note,loss", 0, "schedule: wsd"),
        (lambda r: [(n, lr, f"{-float(y)}") for n, lr, y in r], "step,lr,loss", 1, "only positive losses"),
        (lambda r: [(n, lr, "3.1") for n, lr, _ in r], "step,lr,loss", 1, "the loss has not fallen"),
    ],
)
def test_each_defect_of_a_log_has_its_sentence(
    tmp_path: Path, prior: Path, change: object, head: str, status: int, said: str
) -> None:
    log = _rows(tmp_path / "run.csv", change, head=head)
    done = invoke("advise", log, "--prior", prior, "--schedule", str(RUN))
    assert done.exit_code == status, done.output
    assert said in done.output


@pytest.mark.parametrize(
    ("head", "arguments", "said"),
    [
        ("step,note,loss", [], "no column of rates"),
        ("epoch,lr,loss", [], "say how many updates an epoch has: --updates-per-epoch"),
        ("tokens,lr,loss", [], "counts tokens, not updates"),
        ("step,lr,loss", ["--schedule", "wsd(0.1, total=1000, cooldown=400)"], "the log goes on to 1,600"),
        ("step,lr,loss", ["--meant", "cosine(0.1, total='9 epochs')"], "--updates-per-epoch"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, head: str, arguments: list[str], said: str) -> None:
    done = invoke("advise", _rows(tmp_path / "run.csv", head=head), *arguments)
    assert done.exit_code == 2, done.output
    assert said in done.output


def test_a_schedule_much_longer_than_the_log_says_how_far_the_answer_reaches(tmp_path: Path, prior: Path) -> None:
    log = _rows(tmp_path / "run.csv", until=600)
    done = invoke("advise", log, "--prior", prior, "--schedule", "wsd(0.1, total=20000, cooldown=8000, warmup=20)")
    assert "times the updates seen" in done.output
    assert "not tested on this curve" in done.output
