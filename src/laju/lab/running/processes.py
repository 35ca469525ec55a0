"""Which process works on something, and whether it still lives."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path


def alive(pid: int) -> bool:
    """Whether a process of this machine has that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def this_process() -> str:
    """This process, such that a later one with the same number is not taken for it."""
    return json.dumps([socket.gethostname(), os.getpid(), _begin(os.getpid())])


def _begin(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def works_on(process: str | None) -> bool:
    """Whether another process still works on it; of another machine that is not known, so it is left alone."""
    if process is None:
        return False
    host, pid, begin = json.loads(process)
    if host != socket.gethostname():
        return True
    if pid == os.getpid():
        return False
    return alive(pid) and (begin is None or begin == _begin(pid))
