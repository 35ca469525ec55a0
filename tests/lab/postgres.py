"""A PostgreSQL server of the tests' own: Debian's package, a socket in a folder of its own, gone at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def programs() -> Path | None:
    """The folder of the newest server's programs, or None where there is none."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name), reverse=True)
    found = shutil.which("initdb")
    candidates = [*folders, *([Path(found).resolve().parent, Path(found).parent] if found else [])]
    return next((f for f in candidates if (f / "initdb").exists() and (f / "postgres").exists()), None)


@contextmanager
def server(programs: Path) -> Iterator[str]:
    """A running server, as the URL of its database; only a socket, no port."""
    with tempfile.TemporaryDirectory(prefix="laju-pg-") as name:
        folder = Path(name)
        if os.geteuid() == 0:  # which the server refuses to be
            import pwd  # of POSIX alone

            user = next(u for u in pwd.getpwall() if u.pw_name in ("postgres", "nobody"))
            os.chown(folder, user.pw_uid, user.pw_gid)
        call(folder, programs / "initdb", "-U", "laju", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
        url = f"postgresql://laju@/postgres?host={folder}"
        start(url)
        try:
            yield url
        finally:
            stop(url, "immediate")


def call(folder: Path, program: Path, *arguments: str) -> None:
    """Run a program of the server as the user to whom the folder belongs."""
    owner, log = folder.stat(), folder / f"{program.name}.log"
    who = {} if owner.st_uid == os.geteuid() else {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    with log.open("a") as output:
        command = [program, "-D", str(folder / "data"), *arguments]
        done = subprocess.run(command, cwd=folder, stdout=output, stderr=output, timeout=60, **who)
    assert done.returncode == 0, log.read_text()


def start(url: str) -> None:
    folder = _folder(url)
    options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off"
    call(folder, _pg_ctl(), "-w", "-l", str(folder / "server.log"), "-o", options, "start")


def stop(url: str, how: str) -> None:
    """Stop the server, `how` being "fast" or "immediate"."""
    call(_folder(url), _pg_ctl(), "-w", "-m", how, "stop")


def _folder(url: str) -> Path:
    return Path(url.partition("?host=")[2])


def _pg_ctl() -> Path:
    found = programs()
    assert found is not None
    return found / "pg_ctl"
