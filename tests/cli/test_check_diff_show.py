"""`laju check`, `laju diff` and `laju show`: exit statuses, output, and errors of one plain message."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import laju
from laju.cli import cli
from laju.inspect import describe

PER_EPOCH = "'cosine(0.3, total=30, warmup=5).per(\"epoch\")'"
DATA = "--samples 60000 --batch-size 256 --epochs 30"


def process(arguments: str, **options) -> subprocess.CompletedProcess[str]:
    """The command line as a shell runs it, for what only a process has: its exit status and its two streams."""
    command = [sys.executable, "-m", "laju", *shlex.split(arguments)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120, **options)


def inside(arguments: str):
    return CliRunner().invoke(cli, shlex.split(arguments))


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ("check 'cosine(0.3, total=20)' --updates 20", 0),
        ("check 'cosine(0.3, total=20)' --updates 30", 1),
        ("check 'cosine(0.3, total=20' --updates 30", 2),
        ("diff 'cosine(1, total=9)' 'cosine(1, total=9) >> 0.0'", 0),
        ("diff 'cosine(1, total=9)' 'linear(1, 0, total=9)'", 1),
        ("diff 'constant(1)' 'constant(2)'", 2),
        ("show 'cosine(1, total=9)'", 0),
        ("show 'constant(1)'", 2),
    ],
)
def test_the_exit_status_is_the_answer(arguments, status):
    done = process(arguments)
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    assert bool(done.stderr) == (status == 2)
    assert bool(done.stdout) == (status < 2)


WRONG = [
    (f"check {PER_EPOCH}", "--samples N --batch-size B --epochs E, or --epochs E --updates-per-epoch M"),
    (f"show {PER_EPOCH} --updates 100", "has lengths in epochs"),
    (f"diff {PER_EPOCH} 'constant(1)'", "has lengths in epochs"),
    ("check 'cosine(1, total=\"100%\")'", "or --updates N"),
    ("check 'cosine(1, total=\"9 tokens\")' " + DATA, "--tokens-per-sample"),
    ("show 'cosine(1, total=\"9 samples\")' --epochs 3 --updates-per-epoch 9", "--samples N --batch-size B"),
    ("check 'constant(1)' --samples 100", "--samples also needs --batch-size and --epochs"),
    ("check 'constant(1)' --updates 10 --epochs 3", "give one of them"),
    ("check 'constant(1)' --updates-per-epoch 3", "needs --epochs"),
    ("check 'constant(1)' --updates-per-epoch 3 --epochs 3 --samples 9", "cannot be combined"),
    ("check 'constant(1)' --samples 3 --batch-size 9 --epochs 1 --drop-last", "an epoch has no update"),
    ("check 'constant(1)' --updates 0", "--updates"),
    ("check 'constant(1)' --ignore LAJU01", "did you mean 'LAJU01"),
    ("check 'constant(1)' --optimizer adamm", "did you mean 'adam'"),
    ("check 'constant(1)' --optimizer-groups 1e-3,x", "--optimizer-groups"),
    ("check 'constant(1)' --optimizer-groups 1e-3,-1", "groups[1]"),
    ("check 'constant(1)' --parameter momentun", "did you mean 'momentum'"),
    ("check 'cosin(1, 9)'", "did you mean 'cosine'"),
    ("show 'constant(1)'", "--updates N"),
    ("diff 'constant(1)' 'constant(2)'", "--updates N"),
    ("diff 'constant(1)' 'constant(2)' --updates 5 --out picture.jpg", ".png"),
    ("diff 'constant(1)' 'constant(2)' --updates 900000000000000 --tolerance -1", "--tolerance"),
    ("show 'Exponential(1, 10)' --updates 1000", "beyond what a float can hold"),
    ("show 'Function(\"os:getcwd\")' --updates 9", "was read from data, and is not imported"),
    ("check 'Function(\"os:getcwd\")' --updates 9", "--functions on the command line"),
    ("show 'Function(\"os:getcwd\")' --updates 9 --functions", "cannot be computed"),
    ("check 'Function(\"os:getcwd\")' --updates 9 --functions", "cannot be computed"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_a_wrong_question_is_answered_by_one_plain_message(arguments, message):
    done = inside(arguments)
    assert done.exit_code == 2
    assert isinstance(done.exception, SystemExit)
    assert message in done.stderr
    assert done.stderr.count("Error:") == 1
    assert "Traceback" not in done.output


# --- check -----------------------------------------------------------------------------------------------------------


def test_check_knows_the_run_by_its_data():
    for extra, updates in [
        ("", 7050),
        (" --accumulate 2", 3540),
        (" --world-size 4", 1770),
        (" --drop-last", 7020),
    ]:
        found = json.loads(inside(f"check 'cosine(1, total=\"100%\")' {DATA}{extra} --json").stdout)
        assert found == {"verb": "check", "schedule": "cosine(1, total='100%')", "updates": updates, "findings": []}


def test_the_json_of_check_has_every_field_of_a_finding():
    done = inside("check 'linear(1, 0, total=30)' --updates 20 --json")
    assert done.exit_code == 1
    (finding,) = json.loads(done.stdout)["findings"]
    assert set(finding) == {"code", "level", "title", "page", "update", "message", "why", "instead", "fix"}
    assert (finding["code"], finding["level"], finding["update"]) == ("LAJU005", "warning", 20)
    assert finding["page"] == "checks/LAJU005/"
    assert finding["fix"] == "linear(1, 0, total=20)"


def test_ignored_codes_are_no_findings():
    arguments = "check 'linear(0, 0.1, total=5) >> cosine(0.1, total=15)' --updates 30"
    assert [line[:7] for line in inside(arguments).stdout.splitlines() if line.startswith("LAJU")] == [
        "LAJU001",
        "LAJU006",
    ]
    assert inside(f"{arguments} --ignore LAJU001").exit_code == 1
    done = inside(f"{arguments} --ignore LAJU001 --ignore laju006")
    assert (done.exit_code, done.stdout) == (0, "no findings in a run of 30 updates\n")
    assert inside(f"{arguments} --ignore LAJU001,LAJU006").exit_code == 0


def test_a_warmup_that_leaves_the_rest_nothing_is_a_finding_and_no_error():
    done = inside('check \'cosine(1, total="100%", warmup="5 epochs")\' --epochs 3 --updates-per-epoch 10')
    assert done.exit_code == 1
    assert done.stdout.startswith("LAJU009 ")


# --- diff ------------------------------------------------------------------------------------------------------------


def test_diff_says_where_and_how_much_and_draws_it():
    done = inside("diff 'linear(1, 0, total=4)' 'mine=linear(1, 0, total=5)'")
    lines = done.stdout.splitlines()
    assert lines[:4] == [
        "a: linear(1, 0, total=4)",
        "mine: linear(1, 0, total=5)",
        "different from update 1 on, by more than 0.1% of the peak (1), over 5 updates",
        "  first     0.75 and 0.8 at update 1",
    ]
    assert "mine - a" in lines[-1]


def test_diff_reads_both_schedules_in_the_same_run():
    run = "--epochs 30 --updates-per-epoch 235"
    assert inside(f"diff 'cosine(1, total=\"100%\")' 'cosine(1, total=7050)' {run}").exit_code == 0
    found = json.loads(inside(f"diff {PER_EPOCH} 'cosine(0.3, total=7050, warmup=1175)' {run} --json").stdout)
    assert (found["equal"], found["updates"], found["first"]) == (False, 7050, 1)


def test_diff_writes_a_picture(tmp_path: Path):
    target = tmp_path / "difference.png"
    done = inside(f"diff 'constant(1)' 'constant(2)' --updates 5 --out {target}")
    assert done.exit_code == 1
    assert f"wrote {target}" in done.stdout
    assert target.read_bytes().startswith(b"\x89PNG")


def test_numbers_that_json_lacks_are_text():
    done = inside("diff 'Function(\"tests.cli.functions:infinite\")' 'constant(1)' --updates 1000 --json --functions")
    found = json.loads(done.stdout)
    assert (found["largest"], found["largest_at"]) == ("inf", 309)


# --- show ------------------------------------------------------------------------------------------------------------


def test_show_has_the_expression_the_segments_the_facts_the_curve_the_json_and_the_fingerprint():
    schedule = laju.cosine(0.3, total=20, final=0.01, warmup=5)
    text = inside("show 'cosine(0.3, total=20, final=0.01, warmup=5)'").stdout
    assert text.splitlines()[0] == str(schedule)
    assert "0 – 4       0   0.3  linear 0.0 → 0.3\n5 – 19    0.3  0.01  cosine 0.3 → 0.01\n" in text
    assert "peak            0.3 at update 5" in text
    assert "┤" in text
    assert f"json         {json.dumps(schedule.to_json())}" in text
    assert f"fingerprint  {schedule.fingerprint}" in text


def test_the_json_of_show_has_all_of_it():
    found = json.loads(inside(f"show {PER_EPOCH} {DATA} --json").stdout)
    schedule = laju.cosine(0.3, total=30, warmup=5).per("epoch")
    resolved = schedule.resolve(laju.RunPlan(samples=60_000, batch_size=256, epochs=30))
    assert found["schedule"] == str(schedule)
    assert found["in_updates"] == str(resolved)
    assert found["fingerprint"] == schedule.fingerprint
    assert laju.from_json(found["json"]) == schedule
    assert found["facts"] == json.loads(json.dumps(describe(resolved, 7050).to_json()))


def test_show_needs_no_plotting_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "plotext", None)
    done = inside("show 'cosine(1, total=9)'")
    assert done.exit_code == 0
    assert "(no sketch: drawing needs the package plotext, which is not installed: " in done.stdout
    assert "fingerprint" in done.stdout


def test_many_segments_are_cut_and_counted():
    text = inside("show 'linear(1, 0, total=10).repeat()' --updates 1000").stdout
    assert "… and 80 more segments" in text


def test_a_run_too_long_to_draw_is_still_described():
    text = inside("show 'constant(1)' --updates 9000000").stdout
    assert "(no sketch: 9,000,000 updates are too many to draw)" in text
    assert "mean, sum       1, 9e+06" in text
