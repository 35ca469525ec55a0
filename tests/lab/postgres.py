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
        folder, who = Path(name), {}
        if os.geteuid() == 0:  # which the server refuses to be
            import pwd  # of POSIX alone

            user = next(u for u in pwd.getpwall() if u.pw_name in ("postgres", "nobody"))
            os.chown(folder, user.pw_uid, user.pw_gid)
            who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

        def call(program: str, *arguments: str) -> None:
            log = folder / f"{program}.log"
            with log.open("a") as output:
                done = subprocess.run(
                    [programs / program, *arguments], cwd=folder, stdout=output, stderr=output, timeout=60, **who
                )
            assert done.returncode == 0, log.read_text()

        data = str(folder / "data")
        call("initdb", "-D", data, "-U", "laju", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
        options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off"
        call("pg_ctl", "-D", data, "-w", "-l", str(folder / "server.log"), "-o", options, "start")
        try:
            yield f"postgresql://laju@/postgres?host={folder}"
        finally:
            call("pg_ctl", "-D", data, "-m", "immediate", "stop")
