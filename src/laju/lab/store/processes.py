"""The identity of processes, and whether a process is still alive."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path


def alive(pid: int) -> bool:
    """Whether a process with this number exists on this machine."""
    try:
        # Signal 0 is checked and not sent. Another user's process is refused (PermissionError), and so is there.
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def this_process() -> str:
    """An identity of this process that a later process with the same number does not have."""
    return json.dumps([socket.gethostname(), os.getpid(), _begin(os.getpid()), _numbering()])


def _begin(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _numbering() -> str | None:
    """The namespace of process numbers: containers of a machine count their processes separately."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return None


def is_dead(process: str) -> bool:
    """Whether a process is known to have ended; for a process on another machine or in another container this is unknown."""
    host, pid, begin, *numbering = json.loads(process)
    if host != socket.gethostname() or (numbering and numbering[0] != _numbering()):
        return False
    # Numbers are given out again: a process with the same number that began at another time is another process.
    return not (alive(pid) and (begin is None or begin == _begin(pid)))


def works_on(process: str | None) -> bool:
    """Whether another process still works on a trial; a process that is not known to have ended counts as working."""
    if process is None or is_dead(process):
        return False
    return process != this_process()


def named(process: str) -> str:
    """The name of a process in messages."""
    host, pid, *_ = json.loads(process)
    return f"process {pid}" if host == socket.gethostname() else f"process {pid} on {host}"
