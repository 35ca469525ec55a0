"""Download a file once, complete and verified, whatever the network, the mirrors and concurrent processes do.

Based on urllib, because the libraries that verify and cache (pooch, torchvision) restart a broken transfer from the beginning.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from laju.lab.trials.tasks.base import DataError

CHUNK = 1 << 16


class DownloadError(DataError, OSError):
    """Error after all mirrors have failed; the message lists the mirrors with their failures, and the remedy."""

    def __reduce__(self) -> tuple[type[DownloadError], tuple[object, ...]]:
        # tblib, by which clusters send errors, would else call a __new__ of a base class.
        return type(self), self.args


def cache_folder() -> Path:
    """Where downloaded files are kept: the environment variable LAJU_CACHE, else the user's cache folder."""
    if folder := os.environ.get("LAJU_CACHE"):
        return Path(folder).expanduser()
    import platformdirs

    return platformdirs.user_cache_path("laju")


def fetch(
    name: str,
    urls: Sequence[str],
    checksum: str,
    folder: str | os.PathLike[str],
    *,
    timeout: float = 30.0,
    hint: str = "",
) -> Path:
    """The path of `folder`/`name`, downloaded from the first of `urls` that has the file, unless the file exists already.

    `checksum` is "sha256:..." or "md5:..." in hexadecimal; content with a different checksum never gets the file's name. Bytes
    that arrived before an interruption, even a kill, are kept as `name`.part, and the next attempt requests only the rest, from
    any mirror. Processes that want the same file at the same time wait for the process that downloads the file.
    `timeout`, in seconds, applies to each wait for the network. Raises `DownloadError`, ending with `hint`, if every mirror
    fails.
    """
    from filelock import FileLock  # comes with torch

    algorithm, _, expected = checksum.partition(":")
    if algorithm not in ("sha256", "md5") or not expected:
        raise ValueError(f'checksum must be "sha256:..." or "md5:...", got {checksum!r}')
    folder = Path(folder)
    target, part = folder / name, folder / f"{name}.part"
    if _digest(target, algorithm) == expected:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    failures = []
    # The lock belongs to the process, so the system releases the lock however the process ends.
    with FileLock(folder / f"{name}.lock"):
        if _digest(target, algorithm) == expected:
            return target
        for url in urls:
            try:
                _download(url, part, algorithm, expected, timeout)
            except _MirrorFailed as failure:
                failures.append(f"  {url}: {failure}")
                continue
            _publish(part, target)
            return target
        lines = [f"cannot download {name} (is there a network connection?); tried", *failures]
        if part.exists():
            lines.append(f"{part.stat().st_size:,} bytes have arrived; the next attempt goes on from there.")
        if target.exists():
            lines.append(f"The file at {target} is damaged: expected {checksum}, found {_digest(target, algorithm)}.")
        raise DownloadError("\n".join([*lines, hint]).rstrip())


class _MirrorFailed(Exception):
    """Why a mirror did not give the file."""


def _download(url: str, part: Path, algorithm: str, expected: str, timeout: float) -> None:
    """Complete `part` from a mirror, for as long as each new connection adds bytes."""
    from_here = _size(part) == 0
    while True:
        before = _size(part)
        try:
            from_here |= _transfer(url, part, timeout)
        except _MirrorFailed:
            if _size(part) > before:
                continue
            raise
        found = _digest(part, algorithm)
        if found == expected:
            return
        size = _size(part)
        part.unlink(missing_ok=True)
        if from_here:
            raise _MirrorFailed(f"wrong {algorithm}: expected {expected}, found {found} ({size:,} bytes)")
        # The beginning came from another mirror or an earlier attempt, so this mirror may be right: ask for the whole file.
        from_here = True


def _transfer(url: str, part: Path, timeout: float) -> bool:
    """Read a response to its end into `part`; true for the whole file, false for the rest of the file."""
    start = _size(part)
    headers = {"User-Agent": "laju", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:
            return False  # there is nothing after the bytes so far: the checksum decides whether the file is complete
        raise _MirrorFailed(f"HTTP {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _MirrorFailed(str(getattr(error, "reason", error)) or type(error).__name__) from error
    with response:
        whole: bool = response.status != 206
        if not whole and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise _MirrorFailed(f"asked for bytes {start}-, answered {response.headers.get('Content-Range')!r}")
        with part.open("wb" if whole else "ab") as file:
            while True:
                try:
                    chunk = response.read1(CHUNK)
                except (OSError, http.client.HTTPException) as error:
                    raise _MirrorFailed(f"connection lost after {file.tell():,} bytes: {error}") from error
                if not chunk:
                    break
                file.write(chunk)
            # A connection that is closed too early reads like the end of the file.
            if response.length:
                total = file.tell() + response.length
                raise _MirrorFailed(f"connection lost after {file.tell():,} of {total:,} bytes")
    return whole


def _publish(part: Path, target: Path) -> None:
    """Give the file its name only when its content is safely on the disk."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, target)
    if os.name == "posix":
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _digest(path: Path, algorithm: str) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).hexdigest()
    except FileNotFoundError:
        return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
