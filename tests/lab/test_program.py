"""Trials that are whole programs: real ones, killed, hanging, failing and in several processes."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import laju
from laju.cli import cli as laju_cli
from laju.lab import (
    DataError,
    Execution,
    Optimizer,
    Outcome,
    Program,
    ProgramError,
    ProgramTrial,
    Record,
    Store,
    Trial,
    Unfinished,
    compare,
)
from laju.lab import trial as own_trial
from laju.lab.engines import train
from laju.lab.programs import engine
from laju.lab.programs.protocol import DamagedRecords, append, read

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="programs are started on Linux and macOS"),
]
proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")

ROOT = Path(__file__).parents[2]
COSINE = laju.parse("cosine(0.5, total='100%')")

HALVING = """
    import json, math, os, pathlib, signal, sys, time
    from laju.lab import trial

    run = trial()
    update, weight = 0, 1.0 + run.seed
    if checkpoint := run.latest():
        update, weight = json.loads(checkpoint.path.read_text())
    mark = pathlib.Path("mark")

    while update < run.updates:
        weight -= run.schedule(update) * weight
        update += 1
        pass
        if update % 5 == 0:
            tested = {"test_loss": weight, "test_accuracy": 1 / (1 + weight**2)}
            run.report(update=update, train_loss=weight**2, train_accuracy=0.25, **tested)
        if run.should_save(update):
            run.save(update, lambda path: path.write_text(json.dumps([update, weight])))
"""
"""w ← w - η·w, with w² as its loss; what a test wants of update after update takes the place of `pass`."""


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT / "src"), str(ROOT))))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ("LAJU_TRIAL", "RANK"):
        monkeypatch.delenv(name, raising=False)
    yield
    for process in drivers:
        process.kill()
        process.wait()
    drivers.clear()


drivers: list[subprocess.Popen[str]] = []


def script(each: str = "pass", text: str = HALVING, name: str = "train.py") -> str:
    Path(name).write_text(textwrap.dedent(text).replace("    pass\n", f"    {each}\n", 1))
    return f"python {name}"


def asked(task: Program, schedule: laju.Schedule = COSINE, seed: int = 0, epochs: int = 2) -> Trial:
    return Trial(task, schedule, seed, epochs, task.batch_size)


def small(command: Any = None, **options: Any) -> Program:
    """20 updates in two epochs."""
    return Program(command or script(), **{"samples": 100, "batch_size": 10, **options})


def folder(trial: Trial) -> Path:
    assert isinstance(trial.task, Program)
    return trial.task.folder / trial.fingerprint


def timeless(outcome: Outcome) -> Outcome:
    return replace(outcome, seconds=0.0)


def processes(mark: str) -> list[int]:
    """The processes in whose environment, or command, the text is; without those that have ended and wait for a parent."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            ours = mark.encode() in (path / "environ").read_bytes() + (path / "cmdline").read_bytes()
            if ours and (path / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.append(int(path.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


def until(happened: Callable[[], Any], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
    return found


# --- what a program is told, and tells ----------------------------------------------------------------------------------


def test_a_program_is_told_its_schedule_and_seed_and_its_records_are_the_outcome() -> None:
    heard = list[Record]()
    trial = asked(small(batch_size=10), seed=3)
    outcome = train(trial, heard.append)
    weight, rates, expected = 4.0, COSINE.resolve(trial.plan).values(20).tolist(), []
    for update, rate in enumerate(rates, start=1):
        weight -= rate * weight
        if update % 5 == 0:
            expected.append(Record(update, update / 10, rate, weight**2, 0.25, 1 / (1 + weight**2), weight))
    assert (outcome.status, outcome.diverged_at) == ("finished", None)
    assert list(outcome.records) == heard == expected
    assert 0 < outcome.seconds < 60


def test_programs_are_compared_and_a_finished_one_is_not_run_again() -> None:
    task = small(script("open('runs', 'a').write('x' if update == 1 else '')"))
    schedules: dict[str, Any] = {"constant": 0.1, "cosine": COSINE, "function": lambda t: 0.2 / (t + 1)}
    with Store("store.sqlite") as store:
        found = compare(schedules, task, epochs=2, seeds=2, store=store, jobs=2)
        assert {outcome.status for outcome in found.outcomes.values()} == {"finished"}
        assert found.outcomes["constant", 1].records[-1].train_loss == pytest.approx((2 * 0.9**20) ** 2)
        assert found.task == "train.py"
        again = compare(schedules, task, epochs=2, seeds=2, store=store, jobs=1)
    assert again.outcomes == found.outcomes
    # A store that is lost is made again from what the folders of finished trials say.
    assert compare(schedules, task, epochs=2, seeds=2, jobs=1).outcomes == found.outcomes
    assert Path("runs").read_text() == "x" * 6


def test_by_hand_the_same_script_takes_what_it_is_given_and_prints(capsys: pytest.CaptureFixture[str]) -> None:
    run = own_trial(0.5, seed=4, epochs=3)
    assert (run.schedule(7), run.seed, run.epochs, run.updates, run.checkpoints) == (0.5, 4, 3, None, ())
    assert run.latest() is None
    assert not run.should_save(1)
    run.report(update=5, epoch=0.5, train_loss=2.0)
    assert capsys.readouterr().out == "update 5, epoch 0.5: rate 0.5, train loss 2\n"
    assert list(Path().iterdir()) == []


def test_by_hand_a_folder_keeps_records_and_checkpoints() -> None:
    def run() -> ProgramTrial:
        return own_trial(COSINE, epochs=2, batch_size=10, samples=100, every="50%", folder="kept")

    first = run()
    assert first.checkpoints == (10, 20)
    for update in (5, 10, 12):
        first.report(update=update, train_loss=1 / update)
        if first.should_save(update):
            first.save(update, lambda path: path.write_text("ten"))
    second = run()
    checkpoint = second.latest()
    assert checkpoint is not None
    assert (checkpoint.update, checkpoint.path.read_text()) == (10, "ten")
    second.report(update=15, train_loss=0.5)
    assert [line["update"] for line in read(Path("kept/records.jsonl"))] == [5, 10, 15]


def test_the_command_line_names_a_trial_as_well_and_is_left_to_the_program_s_own_parser() -> None:
    text = """
        import argparse
        from laju.lab import trial

        run = trial()
        parser = argparse.ArgumentParser()
        parser.add_argument("--width", type=int)
        assert parser.parse_args().width == 7
        assert trial() is run
        for update in range(1, run.updates + 1):
            run.report(update=update, train_loss=run.seed, train_accuracy=0, test_accuracy=0)
    """
    command = script(text=text)
    task = small(f"env -u LAJU_TRIAL {sys.executable} train.py --laju-trial {{trial}} --width 7")
    outcome = train(asked(task, seed=9))
    assert [record.train_loss for record in outcome.records] == [9.0] * 20
    assert command == "python train.py"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: own_trial(), ValueError, "schedule must be given where the program is not started by the lab"),
        (lambda: own_trial(0.1), ValueError, "epochs must be given"),
        (lambda: own_trial("cosinus(0.1)", epochs=1), ValueError, "cosinus"),
        (lambda: own_trial([1], epochs=1), TypeError, "schedule must be a schedule, its text or a number, got"),  # type: ignore[arg-type]
        (lambda: own_trial(0.1, epochs=1, samples=9), ValueError, "samples=9 needs batch_size"),
        (lambda: own_trial(0.1, epochs=1, every=5), ValueError, "every=5 needs samples and batch_size"),
    ],
)
def test_what_is_missing_by_hand_is_said(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        call()


@pytest.mark.parametrize(
    ("report", "error", "message"),
    [
        ({"update": 3}, ValueError, "update must be more than 4, of the last report or the checkpoint, got 3"),
        ({"update": 11}, ValueError, "update must be at most 10, the run's last, got 11"),
        (
            {"update": 5, "test_accuracy": 93.1},
            ValueError,
            "test_accuracy must lie in [0, 1] (a percentage divided by 100)",
        ),
        ({"update": 5, "train_loss": "low"}, TypeError, "train_loss must be a number, got 'low'"),
        ({"update": 5, "rate": math.nan}, ValueError, "rate must be a finite number, got nan"),
        ({"update": 5, "test_loss": "0.5"}, TypeError, "test_loss must be a number, got '0.5'"),
    ],
)
def test_a_wrong_report_is_said(report: dict[str, Any], error: type[Exception], message: str) -> None:
    run = own_trial(0.1, epochs=1, batch_size=10, samples=100)
    run.report(update=4, train_loss=1)
    with pytest.raises(error, match=re.escape(message)):
        run.report(**{"train_loss": 1.0, **report})


WRONG_SHARES = [math.nan, math.inf, -0.01, 1.01, 100, "0.5", True, np.True_, torch.tensor(False), torch.zeros(2)]


@pytest.mark.parametrize("metric", ["train_accuracy", "test_accuracy"])
@pytest.mark.parametrize("value", WRONG_SHARES, ids=repr)
def test_an_accuracy_that_is_none_is_said_and_not_recorded(metric: str, value: Any) -> None:
    run = own_trial(0.1, epochs=1, batch_size=10, samples=100, folder="kept")
    with pytest.raises((ValueError, TypeError), match=rf"^{metric} must (lie in \[0, 1\]|be a number)"):
        run.report(update=5, train_loss=0.3, **{metric: value})
    assert read(Path("kept/records.jsonl")) == []
    run.report(update=5, train_loss=math.inf, **{metric: math.nan})  # of a model that has diverged


@pytest.mark.parametrize("metric", ["train_accuracy", "test_accuracy"])
@pytest.mark.parametrize("value", ["NaN", "Infinity", "-0.5", "1.5", '"0.5"', "true", "[1]"])
def test_records_with_an_accuracy_that_is_none_are_damaged(metric: str, value: str) -> None:
    append(Path("records.jsonl"), reported(1, 0.5))
    with Path("records.jsonl").open("a") as file:
        file.write(json.dumps(reported(2, 0.5) | {metric: "HERE"}).replace('"HERE"', value) + "\n")
    with pytest.raises(DamagedRecords, match=rf"has a line that is no record: .* \({metric} must .* got "):
        read(Path("records.jsonl"))


def test_a_file_that_is_no_description_of_a_trial_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("other.json").write_text('{"name": "other"}')
    monkeypatch.setenv("LAJU_TRIAL", "other.json")
    with pytest.raises(
        ValueError, match=r"other\.json, which LAJU_TRIAL or --laju-trial names, is no file of the lab's"
    ):
        own_trial()


def test_only_the_first_of_several_processes_reports_and_saves(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    run = own_trial(0.1, epochs=1, batch_size=10, samples=100, every=5, folder="kept")
    run.report(update=1, train_loss=1.0)
    run.save(5, lambda path: path.write_text("second"))
    assert run.latest() is None
    assert run.should_save(5)
    assert capsys.readouterr().out == ""
    assert list(Path("kept").iterdir()) == []


def test_a_named_trial_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAJU_TRIAL", "gone/trial.json")
    with pytest.raises(
        FileNotFoundError, match=r"gone/trial\.json, which LAJU_TRIAL or --laju-trial names, is not there"
    ):
        own_trial()


# --- records and checkpoints -------------------------------------------------------------------------------------------


def test_a_torn_line_is_ignored_and_what_follows_it_is_not() -> None:
    path = Path("records.jsonl")
    append(path, {"start": 0})
    for update in (1, 2):
        append(path, reported(update, 1.0))
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        append(path, reported(9, 2.0))
        lines = read(path)
        assert lines[-1] == reported(9, 2.0)
        assert [line["update"] for line in lines[:-1]] in ([], [1], [1, 2])


def reported(update: int, loss: float) -> dict[str, Any]:
    figures = {"rate": 0.1, "train_loss": loss, "train_accuracy": None, "test_accuracy": None, "seconds": 1.0}
    return {"update": update, "epoch": update / 10, **figures}


@proc
@pytest.mark.parametrize("line", ['{"updat": 5}', "[]", "7", '{"update": "5"}', '{"start": null}', '{"update": 5}'])
def test_records_that_are_damaged_are_one_sentence_and_a_damaged_outcome_is_made_again(line: str) -> None:
    trial = asked(small())
    outcome = train(trial)
    (folder(trial) / "outcome.json").write_text('{"status": "fin')
    assert train(trial).records == outcome.records
    (folder(trial) / "outcome.json").unlink()
    with (folder(trial) / "records.jsonl").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(ProgramError, match=r"records\.jsonl has a line that is no record: .*; remove the folder"):
        train(trial)


def kept(number: int = 5) -> ProgramTrial:
    return own_trial(0.1, epochs=1, batch_size=10, samples=100, every=number, folder="kept")


@pytest.mark.parametrize("several", [False, True], ids=["file", "folder"])
def test_a_checkpoint_that_is_not_written_to_its_end_leaves_the_one_before(several: bool) -> None:
    def write(text: str, fail: bool = False) -> Callable[[Path], None]:
        def to(path: Path) -> None:
            if several:
                path.mkdir()
                path = path / "state"
            path.write_text(text)
            if fail:
                raise OSError("the disk is full")

        return to

    def latest() -> tuple[int, str]:
        found = kept().latest()
        assert found is not None
        return found.update, (found.path / "state" if several else found.path).read_text()

    run = kept()
    run.save(5, write("five"))
    assert latest() == (5, "five")
    with pytest.raises(OSError, match="the disk is full"):
        run.save(10, write("te", fail=True))
    assert latest() == (5, "five")
    run.save(5, write("five again"))
    assert latest() == (5, "five again")
    run.save(10, write("ten"))
    assert latest() == (10, "ten")
    assert len(list(Path("kept/checkpoints").iterdir())) == 1
    with pytest.raises(FileNotFoundError, match="write must make a file or a folder at the path"):
        run.save(11, lambda path: None)


@pytest.mark.parametrize("several", [False, True], ids=["file", "folder"])
def test_a_kill_at_any_system_call_of_a_save_leaves_a_whole_checkpoint(several: bool) -> None:
    """Every call that changes the folder is the last one once: what stands there then is loaded."""
    text = """
        import os, shutil, sys
        from laju.lab import trial

        left = int(sys.argv[1])
        watched = {"mkdir", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "open", "shutil.rmtree"}

        def count(event, arguments):
            global left
            if event in watched and "checkpoints" in str(arguments[0]):
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), 9)

        def write(path):
            if sys.argv[2] == "folder":
                path.mkdir()
                path = path / "state"
            path.write_text("new" * 1000)

        run = trial(0.1, epochs=1, batch_size=10, samples=100, folder="kept")
        for round in range(2):
            if round:
                sys.addaudithook(count)
            run.save(5, write)
    """
    script(text=text, name="save.py")
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    for left in range(100):
        command = [sys.executable, "save.py", str(left), "folder" if several else "file"]
        ended = subprocess.run(command, env=environment, check=False).returncode
        found = kept().latest()
        assert found is not None
        assert (found.path / "state" if several else found.path).read_text() == "new" * 1000
        if ended == 0:
            assert left > 1  # some were killed
            return
        assert ended == -signal.SIGKILL
    pytest.fail("it never came to its end")


def test_checkpoints_are_asked_for_where_it_is_stated() -> None:
    text = HALVING.replace("    mark =", "    print(*run.checkpoints)\n    mark =")
    trial = asked(small(script(text=text), every="25%", checkpoints=["1 epoch", 3, 500]))
    train(trial)
    assert (folder(trial) / "output.txt").read_text() == "3 5 10 15 20\n"


@pytest.mark.parametrize("keep", [False, True])
def test_the_checkpoints_of_a_finished_trial_go_and_its_records_stay(keep: bool) -> None:
    trial = asked(small(every=5, keep=keep))
    train(trial)
    assert sorted(path.name for path in (folder(trial) / "checkpoints").glob("*")) == ["000000000020"] * keep
    assert len(read(folder(trial) / "records.jsonl")) == 4
    assert (folder(trial) / "outcome.json").exists()


# --- ends --------------------------------------------------------------------------------------------------------------


def test_a_program_that_fails_says_its_last_lines_and_where_all_of_them_are() -> None:
    fail = "print(*[f'line {i}' for i in range(500)], sep=chr(10), file=sys.stderr); print('out'); sys.exit(3)"
    trial = asked(small(script(fail)))
    with pytest.raises(ProgramError, match=r"task 'train.py': python train.py ended with status 3; all that") as caught:
        train(trial)
    lines = str(caught.value).splitlines()
    assert lines[-1] == "  line 499"
    assert len(lines) == 21
    assert str(folder(trial)) in lines[0]
    assert (folder(trial) / "errors.txt").read_text().startswith("line 0\nline 1\n")
    assert (folder(trial) / "output.txt").read_text() == "out\n"


def test_a_failed_trial_is_run_again_by_the_same_command() -> None:
    fail = "mark.exists() or mark.touch() or sys.exit('not yet')"
    task = small(script(fail))
    for jobs in (1, 2):
        Path("mark").unlink(missing_ok=True)
        with pytest.raises(ProgramError, match=r"ended with status 1; .*It wrote last:\n  not yet"):
            compare({"a": 0.1 * jobs, "b": 0.3 * jobs}, task, epochs=2, seeds=1, jobs=jobs)
        found = compare({"a": 0.1 * jobs, "b": 0.3 * jobs}, task, epochs=2, seeds=1, jobs=jobs)
        assert [row.finished for row in found.summary()] == [1, 1]


@pytest.mark.parametrize(
    ("bad", "end"),
    [
        ("train_loss=math.nan", "pass"),
        ("train_loss=math.inf", "time.sleep(3600)"),
        ("train_loss=-math.inf", "sys.exit(1)"),
        ("train_loss=1.0, test_loss=math.nan", "time.sleep(3600)"),
    ],
)
def test_a_loss_that_is_not_finite_ends_the_program_and_the_trial_has_diverged(bad: str, end: str) -> None:
    report = f"if update == 8: run.report(update=8, {bad}, train_accuracy=math.nan); {end}"
    outcome = train(asked(small(script(report))))
    assert (outcome.status, outcome.diverged_at) == ("diverged", 7)
    assert [record.update for record in outcome.records] == [5]


def test_a_loss_of_guessing_at_the_end_is_a_collapse() -> None:
    text = """
        from laju.lab import trial

        run = trial()
        run.report(update=run.updates, train_loss=2.3, train_accuracy=0.11, test_accuracy=0.1)
    """
    command = script(text=text)
    assert train(asked(small(command, classes=10))).status == "collapsed"
    assert train(asked(small(command, chance_loss=2.3))).status == "collapsed"
    assert train(asked(small(command, chance_loss=3.0))).status == "finished"
    assert train(asked(small(command))).status == "finished"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("print('hello')", r"ended without a report; it has to call laju.lab.trial\(\).report(?s:.*)\n  hello"),
        ("import os; os.abort()", "was ended by SIGABRT"),
        (
            "from laju.lab import trial; trial().report(update=7, train_loss=1, train_accuracy=1)",
            "ended with its last report after update 7 of 20; report the last update, too",
        ),
        ("from laju.lab import trial; trial().report(update=21, train_loss=1)", "update must be at most 20"),
    ],
)
def test_a_program_that_does_not_do_its_part_is_told(text: str, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        train(asked(small(script(text=text))))


def test_a_command_that_cannot_be_started_is_said() -> None:
    with pytest.raises(ProgramError, match=r"no-such-program --x cannot be started: .*No such file"):
        train(asked(small("no-such-program --x")))


def test_a_program_that_is_killed_again_and_again_is_given_up() -> None:
    kill = "open('runs', 'a').write('x'); os.kill(os.getpid(), 9)"
    with pytest.raises(ProgramError, match=r"was killed by SIGKILL 3 times \(did the machine run out of memory\?\)"):
        train(asked(small(script(kill))))
    assert Path("runs").read_text() == "xxx"


def test_a_trial_with_what_a_program_has_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="a program with an optimizer of its own"):
        train(replace(asked(small()), optimizer=Optimizer(momentum=0.9)))
    with pytest.raises(ValueError, match=r"task 'train\.py' is a program, which has data of its own"):
        small().data()


def test_one_trial_is_run_by_one_process_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_PATIENCE", 0.2)
    trial = asked(small())
    folder(trial).mkdir(parents=True)
    with engine._alone(folder(trial)), pytest.raises(ProgramError, match="another process runs the same trial"):
        train(trial)
    assert train(trial).status == "finished"


# --- what a trial is known by ------------------------------------------------------------------------------------------


def test_a_changed_script_is_another_trial_and_another_folder_is_not() -> None:
    command = script()
    task = Program(command, samples=100)
    assert Program(["python", "train.py"], samples=100, folder="elsewhere", every=3).fingerprint == task.fingerprint
    others = [
        Program(command, samples=101),
        Program(command, samples=100, name="other"),
        Program(f"{command} --width=3", samples=100),
    ]
    Path("train.py").write_text(Path("train.py").read_text() + "\n# changed\n")
    others.append(Program(command, samples=100))
    assert len({task.fingerprint, *(other.fingerprint for other in others)}) == 5
    with pytest.raises(
        ProgramError, match=r"a file in the command of task 'train\.py' has changed since the comparison began"
    ):
        train(asked(task))


@pytest.mark.parametrize("command", ["torchrun -m mine.train", "python run.py --config=mine/train.py", "mine/train.py"])
def test_modules_and_configurations_that_the_command_names_count(command: str) -> None:
    Path("mine").mkdir()
    Path("mine/train.py").write_text("#!/usr/bin/env python\n")
    before = Program(command, samples=1)
    Path("mine/train.py").write_text("#!/usr/bin/env python\n1\n")
    assert Program(command, samples=1).fingerprint != before.fingerprint


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"command": ""}, ValueError, "command must have at least one word, got ''"),
        ({"command": "python 'train.py"}, ValueError, "command must be text that a shell could split"),
        ({"command": 3}, TypeError, "command must be text or a list of words, got 3"),
        ({"samples": 0}, ValueError, "samples must be a whole number of at least 1, got 0"),
        ({"every": "banana"}, ValueError, "every must be a whole number of updates"),
        ({"checkpoints": 5}, TypeError, "checkpoints must be a sequence of updates or lengths, got 5"),
        ({"classes": 1}, ValueError, "classes must be a whole number of at least 2, got 1"),
        ({"cwd": "gone"}, DataError, "cwd must be a folder, got 'gone'"),
        ({"env": {"A": 1}}, TypeError, "env must be texts by name"),
        ({"name": " "}, ValueError, "name must be text that is not empty"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        Program(**{"command": "python train.py", "samples": 10, **options})


# --- kills -------------------------------------------------------------------------------------------------------------


def page() -> str:
    """The script on the page of the documentation."""
    text = (ROOT / "docs" / "programs.md").read_text()
    found = re.search(r"^```python[^\n]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def torch_script(each: str = "pass") -> str:
    """It, doing more before its checkpoints."""
    place = "    if run.should_save(update):\n"
    assert page().count(place) == 1
    more = f"    import os, pathlib, time\n    mark = pathlib.Path('mark')\n    {each}\n"
    Path("train.py").write_text(page().replace(place, more + place))
    return "python train.py"


DRIVER = """
    import json, sys
    from laju.lab import Program, compare

    task = Program("python train.py", samples={samples}, batch_size={batch}, every={every}, name="mine")
    schedules = {{"cosine": "cosine(0.3, total='100%')", "constant": 0.2}}
    result = compare(schedules, task, epochs=2, seeds=1, jobs=int(sys.argv[1]), store="store.sqlite")
    print(json.dumps(result.records()))
"""


def test_a_torch_program_killed_in_the_middle_goes_on_bit_equal() -> None:
    def run(each: str) -> Outcome:
        task = Program(torch_script(each), samples=1437, every=7, name="mine")
        return train(asked(task))

    whole = run("pass")
    killed = run("if update == 31 and not mark.exists(): mark.touch(); os.kill(os.getpid(), 9)")
    assert Path("mark").exists()
    assert timeless(killed) == timeless(whole)
    assert whole.records[-1].test_accuracy is not None
    assert whole.records[-1].test_accuracy > 0.9


def driver(jobs: int, samples: int, batch: int, every: int) -> subprocess.Popen[str]:
    Path("drive.py").write_text(textwrap.dedent(DRIVER).format(samples=samples, batch=batch, every=every))
    with Path("driver-errors.txt").open("w") as errors:
        command = [sys.executable, "drive.py", str(jobs)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True)
    drivers.append(process)
    return process


def finished(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, Path("driver-errors.txt").read_text()
    found: list[dict[str, Any]] = json.loads(out)
    return found


@proc
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_killed_comparison_ends_its_programs_and_goes_on_bit_equal(jobs: int, tmp_path: Path) -> None:
    torch_script("mark.exists() or time.sleep(0.05)")
    process = driver(jobs, 1437, 64, 5)
    until(lambda: [p for p in Path("laju-programs").glob("*/checkpoints/*[0-9]") if int(p.name) >= 25])
    process.kill()
    process.communicate()
    until(lambda: not processes(str(tmp_path / "laju-programs")))
    before = {p.parts[1]: len(read(p)) for p in Path("laju-programs").glob("*/records.jsonl")}
    assert before
    Path("mark").touch()  # now without waiting
    resumed = finished(driver(jobs, 1437, 64, 5))
    starts = [
        line
        for p in Path("laju-programs").glob("*/records.jsonl")
        for line in p.read_text().splitlines()
        if "start" in line
    ]
    assert any(json.loads(line)["start"] >= 25 for line in starts)
    for path in Path("laju-programs").glob("*/*.json*"):
        path.unlink()
    Path("store.sqlite").unlink()
    assert finished(driver(jobs, 1437, 64, 5)) == resumed


@proc
def test_ctrl_c_ends_the_program_and_nothing_of_it_is_left(tmp_path: Path) -> None:
    script("time.sleep(0.1 if mark.exists() else 3600)")
    process = driver(1, 100, 10, 5)
    until(lambda: processes("LAJU_TRIAL=" + str(tmp_path)))
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=120)
    assert "Interrupted" in Path("driver-errors.txt").read_text()
    assert processes(str(tmp_path / "laju-programs")) == []


def child(text: str) -> str:
    return (
        f"if update == 1: import subprocess; subprocess.Popen([sys.executable, '-c', {text!r}], start_new_session=True)"
    )


@proc
def test_a_program_that_hangs_is_given_up_with_all_that_it_started_however_deaf(tmp_path: Path) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(3600)"
    command = script(f"if update == 3: {deaf}")
    Path("train.py").write_text(
        Path("train.py").read_text().replace("    weight -=", f"    {child(deaf)}\n    weight -=", 1)
    )
    task = small(command, grace=0.5)
    with pytest.raises(Unfinished, match="took longer than the time limit of 5 seconds"):
        compare({"a": 0.1}, task, epochs=2, seeds=1, execution=Execution(jobs=1, time_limit=5))
    assert "start_new_session" in Path("train.py").read_text()
    until(lambda: not processes(str(tmp_path / "laju-programs")))


@proc
def test_what_a_finished_program_leaves_behind_is_ended(tmp_path: Path) -> None:
    trial = asked(small(script(child("import time; time.sleep(3600)"))))
    assert train(trial).status == "finished"
    assert processes(str(tmp_path / "laju-programs")) == []


@proc
def test_a_program_runs_again_when_the_process_that_looks_after_it_is_killed(tmp_path: Path) -> None:
    script("time.sleep(0.1 if mark.exists() else 3600)")
    process = driver(1, 100, 10, 5)
    started = "LAJU_TRIAL=" + str(tmp_path)
    until(lambda: processes(started))
    time.sleep(0.5)
    (launcher,) = [pid for pid in processes("programs/launcher") if process.pid == parent(pid)]
    Path("mark").touch()
    os.kill(launcher, signal.SIGKILL)
    process.communicate(timeout=120)
    assert process.returncode == 0, Path("driver-errors.txt").read_text()
    assert not processes(started)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


# --- several processes -------------------------------------------------------------------------------------------------

GLOO = """
    import os, pathlib, signal, time
    import torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel
    from laju.frameworks.torch import Scheduler
    from laju.lab import trial

    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    run = trial()
    torch.manual_seed(run.seed)
    model = DistributedDataParallel(torch.nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), momentum=0.9)
    scheduler = Scheduler(optimizer, lr=run.schedule)
    points = torch.randn(100, 4, generator=torch.Generator().manual_seed(1))
    sides = (points.sum(dim=1) > 0).long()
    parts, update = {"model": model, "optimizer": optimizer, "scheduler": scheduler}, 0
    if checkpoint := run.latest():
        state = torch.load(checkpoint.path)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        update = checkpoint.update
    print("begins at", update, flush=True)
    mark = pathlib.Path("mark")
    while update < run.updates:
        begin = update % run.plan.updates_per_epoch * run.batch_size
        mine = slice(begin + rank, begin + run.batch_size, world)
        loss = torch.nn.functional.cross_entropy(model(points[mine]), sides[mine])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        update += 1
        pass
        dist.all_reduce(loss := loss.detach())
        right = (model(points).argmax(dim=1) == sides).float().mean()
        run.report(update=update, train_loss=loss / world, train_accuracy=right, test_accuracy=right)
        if run.should_save(update):
            run.save(update, lambda path: torch.save({name: part.state_dict() for name, part in parts.items()}, path))
    dist.destroy_process_group()
"""


@proc
def test_two_processes_of_torchrun_are_one_trial_and_go_on_bit_equal(tmp_path: Path) -> None:
    command = "torchrun --standalone --nproc-per-node 2 train.py"

    def run(each: str) -> tuple[Trial, Outcome]:
        script(each, GLOO)
        trial = asked(Program(command, samples=100, batch_size=10, every=4, classes=2))
        return trial, train(trial)

    _, whole = run("pass")
    assert [record.update for record in whole.records] == list(range(1, 21))
    assert whole.records[-1].train_loss < whole.records[0].train_loss
    kill = "if update == 11 and rank == 1 and not mark.exists(): mark.touch(); os.kill(os.getpid(), 9)"
    with pytest.raises(ProgramError, match="ended with status 1"):  # torchrun's own, when a process of it is killed
        run(kill)
    assert processes(str(tmp_path / "laju-programs")) == []
    trial, again = run(kill)
    assert (folder(trial) / "output.txt").read_text().count("begins at 8") == 2
    assert timeless(again) == timeless(whole)


@proc
def test_the_processes_of_torchrun_end_when_the_lab_is_killed(tmp_path: Path) -> None:
    script("time.sleep(0.1)", GLOO)
    Path("drive.py").write_text(
        textwrap.dedent("""
            from laju.lab import Program, compare

            command = "torchrun --standalone --nproc-per-node 2 train.py"
            compare({"a": 0.1}, Program(command, samples=1000, batch_size=10), epochs=9, seeds=1, jobs=1)
        """)
    )
    process = subprocess.Popen([sys.executable, "drive.py"], text=True, start_new_session=True)
    drivers.append(process)
    started = "LAJU_TRIAL=" + str(tmp_path)
    until(lambda: list(Path("laju-programs").glob("*/records.jsonl")))
    assert len(processes(started)) >= 3
    process.kill()
    process.wait()
    until(lambda: not processes(started))


@pytest.mark.parametrize(
    ("launch", "processes"),
    [
        ("accelerate launch --cpu --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no", 1),
        ("torchrun --standalone --nproc-per-node 2", 2),
    ],
)
def test_an_accelerate_program_is_one_trial_in_one_process_and_in_two(launch: str, processes: int) -> None:
    pytest.importorskip("accelerate")
    text = """
        import accelerate, torch
        from laju.frameworks.torch import Scheduler
        from laju.lab import trial

        accelerator = accelerate.Accelerator(cpu=True)
        run = trial()
        torch.manual_seed(run.seed)
        model = torch.nn.Linear(4, 2)
        optimizer = torch.optim.SGD(model.parameters())
        points = torch.randn(100, 4, generator=torch.Generator().manual_seed(1))
        data = torch.utils.data.TensorDataset(points, (points.sum(dim=1) > 0).long())
        size = run.batch_size // accelerator.num_processes
        loader = torch.utils.data.DataLoader(data, batch_size=size, shuffle=True)
        scheduler = Scheduler(optimizer, lr=run.schedule)
        model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
        update = 0
        for epoch in range(run.epochs):
            for inputs, targets in loader:
                loss = torch.nn.functional.cross_entropy(model(inputs), targets)
                optimizer.zero_grad()
                accelerator.backward(loss)
                optimizer.step()
                scheduler.step()
                update += 1
            loss = accelerator.gather(loss.detach().reshape(1)).mean()
            right = (model(points).argmax(dim=1) == data.tensors[1]).float().mean()
            run.report(update=update, train_loss=loss, train_accuracy=right, test_accuracy=right)
        print("processes", accelerator.num_processes)
        accelerator.end_training()
    """
    script(text=text)
    trial = asked(Program(f"{launch} train.py", samples=100, batch_size=10))
    outcome = train(trial)
    assert (folder(trial) / "output.txt").read_text().count(f"processes {processes}") == processes
    assert [record.update for record in outcome.records] == [10, 20]
    assert outcome.records[-1].rate == COSINE.resolve(trial.plan)(19)


# --- the command line --------------------------------------------------------------------------------------------------


@pytest.fixture
def cli() -> Callable[..., Any]:
    return lambda *words: CliRunner().invoke(laju_cli, ["compare", "constant(0.1)", *words])


def test_the_command_line_compares_a_program_and_writes_a_report(cli: Callable[..., Any]) -> None:
    command = script()
    done = cli(
        "b=cosine(0.3, total='100%')", "--program", command, "--samples", "100", "--batch-size", "10", "--epochs", "2",
        "--seeds", "2", "--jobs", "1", "--store", "kept/store.sqlite", "--checkpoint-every", "1 epoch",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "train.py: 2 epochs of 10 updates, batch size 10" in done.output
    assert "train.py" in Path("laju-report/report.html").read_text()
    assert len(list(Path("kept/laju-programs").glob("*/outcome.json"))) == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--task", "digits"], "--task: cannot be combined with --program: a program is the task"),
        (["--momentum", "0.9"], "--momentum: cannot be combined with --program: a program has an optimizer of its own"),
        (["--framework", "jax"], "--framework: cannot be combined with --program"),
        (["--data-dir", "x"], "--data-dir: cannot be combined with --program"),
        (["--checkpoint-every", "banana"], "every must be a whole number of updates"),
    ],
)
def test_options_that_do_not_go_with_a_program_are_refused(
    cli: Callable[..., Any], words: list[str], message: str
) -> None:
    done = cli("--program", script(), "--samples", "100", *words)
    assert done.exit_code != 0
    assert message in " ".join(done.output.split())


def test_a_program_needs_samples_and_samples_a_program(cli: Callable[..., Any]) -> None:
    assert (
        "--program: needs --samples, the number of training examples per epoch"
        in cli("--program", "python x.py").output
    )
    assert "--samples: needs --program COMMAND, which is not given" in cli("--samples", "5").output


def test_a_program_that_fails_is_one_message_on_the_command_line(cli: Callable[..., Any]) -> None:
    done = cli("--program", script("sys.exit('no data')"), "--samples", "100", "--seeds", "1", "--jobs", "1")
    assert done.exit_code == 1
    assert "ended with status 1" in done.output
    assert "no data" in done.output
    assert not isinstance(done.exception, ProgramError)
