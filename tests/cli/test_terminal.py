"""What a command that trains shows on a terminal, and what it leaves there."""

from __future__ import annotations

import os
import re
import select
import time
from pathlib import Path

import pyte
import pytest

from tests.cli.test_cli import posix, proc, program, rows

pytestmark = [pytest.mark.slow, posix]
BRAILLE = re.compile("[\u2801-\u28ff]")


def on_a_terminal(
    tmp_path: Path, arguments: list[str], columns: int, rows: int, stop: str | None = None, **environment: str
) -> tuple[int, str, list[str]]:
    """Runs laju on a terminal of this size; once `stop` has been shown, Ctrl-C is pressed.

    Returns:
        The exit code, all output, and the lines that the terminal, and what has scrolled out of it, show at the end.
    """
    import fcntl
    import pty
    import struct
    import termios

    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR", "JPY_PARENT_PID")}
        ours = {"TERM": "xterm-256color", "LAJU_TEST": str(tmp_path)}
        os.execve(program(), [program(), *arguments], kept | ours | environment)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    output, end = b"", time.monotonic() + 120
    while time.monotonic() < end:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        output += piece
        if stop is not None and stop.encode() in output:
            os.write(terminal, b"\x03")
            stop = None
    os.close(terminal)
    text = output.decode(errors="replace")
    screen = pyte.HistoryScreen(columns, rows, history=10_000)
    pyte.Stream(screen).feed(text)
    scrolled = ["".join(line[x].data for x in range(columns)) for line in screen.history.top]
    assert not screen.cursor.hidden
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text, [*scrolled, *screen.display]


def plain(text: str) -> str:
    """What a terminal was told, without its control sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n")


def together(lines: list[str]) -> str:
    """Lines that the terminal may have broken, as one text."""
    return " ".join("".join(lines).split())


@pytest.mark.parametrize(("columns", "height"), [(80, 24), (120, 40), (60, 6)])
def test_curves_and_a_row_of_every_running_trial_give_way_to_the_results(
    tmp_path: Path, columns: int, height: int
) -> None:
    names = ["a=0.1", "a long name that no narrow terminal has room for beside a bar=0.2"]
    code, output, lines = on_a_terminal(
        tmp_path, ["compare", *names, "--epochs", "12", "--seeds", "1", "--jobs", "2"], columns, height
    )
    assert code == 0, output
    assert "Traceback" not in output
    text = plain(output)
    shown = [line for line in text.splitlines() if re.search(r"━ .* \d+\.\d/12 ", line)]
    assert shown
    assert max(len(line) for line in text.splitlines() if re.search("[┤│]|trials ━", line) or line in shown) <= columns
    assert any(
        re.search(r"^a long.*bar +[━╸╺]+ +0 +\d+\.\d/12 +0\.2 +\d+\.\d+ +\d\.\d+ +\d\.\d+", line) for line in shown
    )
    assert re.search(r"trials [━╸╺ ]+ \d/2 \d:\d\d:\d\d", text)
    if height > 6:
        assert BRAILLE.search(text)
        assert re.search("train loss +train accuracy +test accuracy", text)
    else:
        assert not BRAILLE.search(text)
    # Only lines and results are left.
    left = "\n".join(lines)
    assert not BRAILLE.search(left)
    assert not re.search("trials [━╸╺]", left)
    assert lines[0].startswith("2 trials; 2 to run, 2 at a time")
    assert re.findall(r"^\[(\d)/2\] a", left, re.MULTILINE) == ["1", "2"]
    assert "report: laju-report/report.html" in left


@pytest.mark.parametrize("verb", ["chapter", "study", "tune"])
def test_every_command_that_trains_shows_curves(tmp_path: Path, verb: str) -> None:
    arguments = {
        "chapter": ["chapter", "--task", "digits", "--epochs", "6", "--seeds", "1"],
        "study": ["study", "restarts-and-averaging", "--small"],
        "tune": ["tune", "constant", "--space", "value=0.1..1", "--trials", "2", "--epochs", "6", "--confirm", "0"],
    }
    code, output, lines = on_a_terminal(tmp_path, [*arguments[verb], "--jobs", "2"], 90, 30)
    assert code == 0, output
    assert BRAILLE.search(output)
    assert not BRAILLE.search("\n".join(lines))


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_terminals_without_colours_or_a_cursor_get_less(tmp_path: Path, environment: dict[str, str]) -> None:
    arguments = ["compare", "a=0.1", "b=0.2", "--epochs", "12", "--seeds", "1", "--jobs", "2"]
    code, output, lines = on_a_terminal(tmp_path, arguments, 80, 24, **environment)
    assert code == 0, output
    assert not BRAILLE.search(output)
    assert ("\x1b[" in output) == ("NO_COLOR" in environment)
    assert bool(re.search(r"━ .* \d+\.\d/12 ", plain(output))) == ("NO_COLOR" in environment)
    assert "report: laju-report/report.html" in together(lines)


@proc
def test_ctrl_c_on_a_terminal_puts_the_cursor_back_and_says_what_is_kept(tmp_path: Path) -> None:
    arguments = ["compare", "a=0.1", "b=0.2", "--epochs", "6", "--seeds", "9", "--jobs", "2"]
    code, output, lines = on_a_terminal(tmp_path, arguments, 80, 24, stop="[2/18]")
    assert code == 130
    assert "Traceback" not in output
    assert not BRAILLE.search("\n".join(lines))
    kept = len(rows(tmp_path / "laju.sqlite"))
    text = together(lines)
    assert text.endswith(f"Stopped. {kept} of 18 trials are kept in laju.sqlite; the same command runs the rest.")
