"""A process between the lab and a program: runs the program, and ends the program with all its children, in every case.

The file is run by its path and needs only the standard library. The launcher ends the program when its standard input ends,
which the system closes even if the process at the far end is killed, and reports on its standard output how the program ended.
On Linux, processes whose parent has ended become children of the launcher, which thereby finds these as well; if the launcher
is killed, the program is killed, too.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from typing import Any, NamedTuple

LINUX = sys.platform == "linux"
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


class Order(NamedTuple):
    """A program to run: its standard output and errors are appended to files; `grace` is the seconds from request to kill."""

    command: list[str]
    cwd: str
    env: dict[str, str]
    output: str
    errors: str
    grace: float


def launch(order: Order, *keep: int) -> subprocess.Popen[bytes]:
    """Start a launcher, which keeps the given file descriptors open."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=keep,
        # A session of its own: Ctrl-C reaches the lab's process alone, which gives the program time to end.
        start_new_session=True,
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
    return process


def end(process: subprocess.Popen[bytes]) -> int | None:
    """End the program if it is still running; return its exit status, or None if the launcher was killed.

    Raises:
        OSError: the program could not be started.
    """
    try:
        answer, _ = process.communicate()  # closes the launcher's input
    except BaseException:  # a second Ctrl-C; the program is killed with the launcher
        process.kill()
        process.wait()
        raise
    if not answer:
        return None
    status = json.loads(answer)
    if isinstance(status, str):
        raise OSError(status)
    return None if status is None else int(status)


class _Asked(BaseException):
    """Raised when this process is requested to end."""


def _asked(number: int, frame: Any) -> None:
    raise _Asked


def main() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    # A handler and not SIG_IGN, which the program would inherit.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    signal.signal(signal.SIGTERM, _asked)
    order = Order(*json.loads(_first_line()))
    libc = ctypes.CDLL(None) if LINUX else None
    if libc is not None:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    me = os.getpid()

    def tie() -> None:
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            # The launcher may have ended before the line above, whose signal then never comes.
            if os.getppid() != me:
                os._exit(1)

    status: int | None = None
    program: subprocess.Popen[bytes] | None = None
    try:
        with open(order.output, "ab") as output, open(order.errors, "ab") as errors:
            program = subprocess.Popen(
                order.command,
                cwd=order.cwd,
                env=order.env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                # One group for the program and what it starts, which are signalled together.
                process_group=0,
                preexec_fn=tie,
            )
        while status is None and not select.select([0], [], [], 0.05)[0]:
            status = _reaped(program.pid)
    except OSError as error:
        print(json.dumps(str(error)), flush=True)
        return
    except _Asked:
        pass
    finally:
        if program is not None:
            signal.signal(signal.SIGTERM, lambda number, frame: None)
            status = _end(program.pid, status, order.grace)
            program.returncode = status
    print(json.dumps(status), flush=True)


def _first_line() -> bytes:
    """The first line of the input, read without a buffer, so that `select` stays right about the rest of the input."""
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(0, 65536)
        if not part:
            raise SystemExit(1)
        line += part
    return line


def _reaped(pid: int) -> int | None:
    """Reap every process that has ended; return the exit status of the program if the program has ended."""
    status = None
    while True:
        try:
            ended, how = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if ended == 0:
            return status
        if ended == pid:
            status = os.waitstatus_to_exitcode(how)


def _end(pid: int, status: int | None, grace: float) -> int | None:
    """End the program and all its children: by a request, and after `grace` seconds by force."""
    until = time.monotonic() + grace
    _signal(pid, status is not None, signal.SIGTERM)
    while True:
        found = _reaped(pid)
        status = found if status is None else status
        if status is not None and not _left(pid):
            return status
        if time.monotonic() > until:
            _signal(pid, status is not None, signal.SIGKILL)
        time.sleep(0.02)


def _left(pid: int) -> list[int]:
    """The processes, started by the program or any of its processes, that are still running."""
    if not LINUX:
        try:
            os.killpg(pid, 0)
        except OSError:
            return []
        return [pid]
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as file:
                    # The name, in parentheses, may hold anything.
                    parents[int(name)] = int(file.read().rpartition(")")[2].split()[1])
            except (OSError, ValueError, IndexError):
                continue
    found, level = list[int](), [os.getpid()]
    while level:
        level = [child for child, parent in parents.items() if parent in level]
        found += level
    return found


def _signal(pid: int, ended: bool, number: signal.Signals) -> None:
    """Signal the program's group; by force, or after the program itself has ended, also processes that have left the group."""
    with contextlib.suppress(OSError):
        os.killpg(pid, number)
    if LINUX and (ended or number == signal.SIGKILL):
        for other in _left(pid):
            try:
                os.kill(other, number)
            except OSError:
                continue


if __name__ == "__main__":
    main()
