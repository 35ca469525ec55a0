"""laju watch: an answer each time that a log has grown, whatever the file goes through, until the run ends or Ctrl-C."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from laju.cli import cli
from laju.forecast import ending
from laju.logs import read
from tests.cli.test_advise import RUN, TOTAL, write
from tests.cli.test_cli import posix, program
from tests.cli.test_terminal import on_a_terminal


class Watching:
    """`laju watch` in a pipe, and its lines."""

    def __init__(self, arguments: tuple[object, ...]) -> None:
        self.process = subprocess.Popen(
            [program(), "watch", *map(str, arguments), "--every", "0.1", "--prior", "none"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def until(self, what: str | Callable[[str], bool]) -> str:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            for line in self.lines:
                if what in line if isinstance(what, str) else what(line):
                    return line
            time.sleep(0.05)
        raise AssertionError(f"{what!r} never came: {self.lines}")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


@contextmanager
def watching(*arguments: object) -> Iterator[Watching]:
    found = Watching(arguments)
    try:
        yield found
    finally:
        found.process.kill()
        found.process.wait()


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return write(tmp_path_factory.mktemp("rows") / "whole.csv", RUN).read_text().splitlines(keepends=True)


@posix
@pytest.mark.slow
def test_a_growing_log_is_followed_to_its_end(tmp_path: Path, rows: list[str]) -> None:
    log = tmp_path / "run.csv"
    (tmp_path / "runs.csv").touch()
    with watching(log, "--schedule", RUN) as watch:
        assert "run.csv is not there yet; did you mean 'runs.csv'?" in watch.until("waiting")
        log.write_text("".join(rows[:3]))
        watch.until("update 40 of 2,000: loss")
        with log.open("a") as file:
            file.write("".join(rows[3:71]) + rows[71][: len(rows[71]) // 2])  # half a line
        watch.until("update 1,400 of 2,000: loss")
        assert not any("update 1,420" in line for line in watch.lines)
        with log.open("a") as file:
            file.write(rows[71][len(rows[71]) // 2 :] + "".join(rows[72:96]))
        line = watch.until("update 1,900 of 2,000: loss")
        found = read(log).loss("val_loss")
        told = ending(found.at, found.values, RUN, prior=None)
        assert f"ends at {told.value:.5g}, 90% between {told.low:.5g} and {told.high:.5g}" in line
        log.write_text("")  # a new run takes the file
        watch.until(lambda line: "is empty" in line)
        log.write_text("".join(rows[:21]))
        watch.until("update 400 of 2,000")
        log.write_text("".join(rows))
        watch.until(f"update 2,000 of 2,000: ended at {float(rows[-1].split(',')[3]):.5g}")
        assert watch.process.wait(30) == 0
        assert watch.process.stderr is not None
        assert watch.process.stderr.read() == ""


@posix
@pytest.mark.slow
def test_ctrl_c_ends_with_one_line_and_130(tmp_path: Path) -> None:
    log = write(tmp_path / "run.csv", RUN, 1000)
    with watching(log, "--schedule", RUN) as watch:
        watch.until("no answer")
        assert watch.stop() == 130
        assert watch.process.stderr is not None
        assert watch.process.stderr.read().strip() == "Stopped."


@pytest.mark.slow
@posix
def test_a_terminal_has_one_screen(tmp_path: Path) -> None:
    write(tmp_path / "run.csv", RUN, 1800)
    arguments = ["watch", "run.csv", "--schedule", str(RUN), "--prior", "none", "--every", "0.2"]

    def grow() -> None:
        time.sleep(4)
        write(tmp_path / "run.csv", RUN, 1900)

    thread = threading.Thread(target=grow)
    thread.start()
    code, text, lines = on_a_terminal(tmp_path, arguments, 80, 24, stop="update 1,900")
    thread.join()
    assert code == 130
    assert "update 1,800" in text
    shown = [line.rstrip() for line in lines if line.strip()]
    assert not any("update 1,800" in line for line in shown)
    assert shown[0].startswith("update 1,900 of 2,000: loss")
    assert shown[-1] == "Stopped."
    assert all(len(line) <= 80 for line in shown)


@posix
@pytest.mark.slow
def test_rates_that_are_not_those_of_the_schedule_are_told_as_advise_tells_them(tmp_path: Path) -> None:
    log = write(tmp_path / "run.csv", RUN, 1000)
    other = "linear(0.5, 0, total=2000)"
    advised = CliRunner().invoke(cli, ["advise", str(log), "--schedule", other, "--prior", "none"]).stdout
    with watching(log, "--schedule", other) as watch:
        watch.until("update 1,000 of 2,000")
        watch.stop()
        assert watch.process.stderr is not None
        told = watch.process.stderr.readline().strip()
    assert told.startswith("rates: the log has ")
    assert told in advised


def test_a_run_that_is_over_is_said_at_once(tmp_path: Path) -> None:
    log = write(tmp_path / "run.csv", RUN)
    done = CliRunner().invoke(cli, ["watch", str(tmp_path / "run.csv"), "--schedule", str(RUN)])
    assert done.exit_code == 0, done.output
    assert re.fullmatch(r"update 2,000 of 2,000: ended at [\d.]+\n", done.output)
    told = json.loads(CliRunner().invoke(cli, ["watch", str(log), "--schedule", str(RUN), "--json"]).output)
    assert (told["update"], told["at"], told["value"]) == (TOTAL, TOTAL, told["loss"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-"], "standard input cannot be followed"),
        (["run.csv", "--schedule", "wsdd(0.1, total=10, cooldown=5)"], "wsd"),
        (["run.csv", "--prior", "adam"], "prior must be"),
        (["run.csv", "--prior", "mine.json"], "mine.json"),
        (["run.csv", "--every", "0"], "--every"),
    ],
)
def test_mistakes_are_told_at_once(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(cli, ["watch", *arguments])
    assert done.exit_code == 2
    assert message in done.output


def test_a_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "run7").mkdir()
    write(tmp_path / "run7" / "metrics.csv", RUN)
    done = CliRunner().invoke(cli, ["watch", str(tmp_path / "run7"), "--schedule", str(RUN)])
    assert "ended at" in done.output
