"""What running trials tell the one who waits: a small file per trial in a folder that both sides know.

Files work the same for this process, for others on this machine and for those that a kill leaves half-way.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from laju.lab.trials import Record


@dataclass(frozen=True)
class Running:
    """Where a running trial is."""

    name: str
    seed: int
    updates: int
    record: Record


class Channel:
    """The folder; one trial a file, replaced as a whole at every record and deleted at the end."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def _file(self, fingerprint: str) -> Path:
        return self.folder / f"{fingerprint[:32]}.json"

    def tell(self, fingerprint: str, running: Running) -> None:
        file = self._file(fingerprint)
        part = file.with_suffix(".part")
        try:
            part.write_text(json.dumps(asdict(running)))
            os.replace(part, file)
        except OSError:
            return  # the one who watches is gone or the disk is full: no reason to lose a trial

    def done(self, fingerprint: str) -> None:
        with suppress(OSError):  # missing: it ended before its first record; Windows: it is being read
            self._file(fingerprint).unlink()

    def running(self) -> list[Running]:
        """The trials that run now, the seeds of a schedule together."""
        found = []
        for file in self.folder.glob("*.json"):
            try:
                content = json.loads(file.read_text())
                found.append(Running(content["name"], content["seed"], content["updates"], Record(**content["record"])))
            except (OSError, ValueError):  # it ended between the listing and the reading
                continue
        return sorted(found, key=lambda r: (r.name, r.seed))
