"""Optional packages: the extra of laju that holds a package, and the command that installs the extra where laju runs.

The installed distribution says which package is in which extra, and how laju was installed (PEP 610), so that neither is
written down a second time.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import Distribution

_DISTRIBUTIONS = {
    "PIL": "pillow",
    "paddle": "paddlepaddle",
    "sklearn": "scikit-learn",
    "tensorflow": "tensorflow-cpu",
    "yaml": "pyyaml",
}
"""Distributions by the name of their package, where the names differ."""

_OF_DEVELOPERS = frozenset({"dev", "docs", "trainers"})
"""Extras for laju's developers, which no message proposes to a user."""


class MissingPackage(ModuleNotFoundError):
    """Error of an optional package that is not installed; the message names the feature and the command to install it."""


def missing(what: str, package: str, extra: str | None = None) -> MissingPackage:
    """Return the error for a package that is not installed; the message has the command that installs the package.

    Args:
        what: the subject of the message, such as "drawing" or "framework 'jax'".
        package: the name that is imported.
        extra: the extra with all packages of `what`; if None, or if the extra lacks the package, the smallest extra with
            the package.

    >>> raise missing("drawing", "nosuch")
    Traceback (most recent call last):
    laju.core.extras.MissingPackage: drawing needs the package nosuch, which is not installed: ...pip install nosuch
    """
    text = f"{what} needs the package {package}, which is not installed: {install_command(package, extra)}"
    return MissingPackage(text, name=package)


@contextmanager
def needed_by(what: str, extra: str | None = None) -> Iterator[None]:
    """Turn a failed import of another project's package into the error of `missing`.

    Contexts may be nested. The outer context words the error if its `extra` holds the package, being nearer to the user.

    >>> with needed_by("this example"):
    ...     import nosuch
    Traceback (most recent call last):
    laju.core.extras.MissingPackage: this example needs the package nosuch, which is not installed: ...
    """
    try:
        yield
    except ModuleNotFoundError as error:
        better = explained(error, what, extra)
        if better is error:
            raise
        raise better from error


def explained(error: ModuleNotFoundError, what: str, extra: str | None = None) -> ModuleNotFoundError:
    """Turn the error of a failed import into the error of `missing`, unless `missing` has nothing to add.

    Args:
        error: the error that the import raised.
        what: the subject of the message, such as "drawing".
        extra: the extra with all packages of `what`, or None.
    """
    package = error.name or ""
    # With a dot in the name, the package is installed and a submodule is missing.
    if not package or package == "laju" or "." in package:
        return error
    if isinstance(error, MissingPackage) and _distribution(package) not in _extras(_installed()).get(extra or "", {}):
        return error
    return missing(what, package, extra)


def install_command(package: str, extra: str | None = None) -> str:
    """The command that installs a package into this Python's environment, by an extra of laju if an extra has the package.

    An extra is installed from the origin of laju: a folder, an archive, a URL. Where the origin is unknown or gone, the
    command names the requirements of the extra, since no index can be relied on to have laju.

    Args:
        package: the name that is imported.
        extra: the preferred extra, or None for the smallest extra with the package.
    """
    laju = _installed()
    extras = _extras(laju)
    holding = [name for name in extras if _distribution(package) in extras[name]]
    if extra not in holding:
        extra = min(set(holding) - _OF_DEVELOPERS, key=lambda name: (len(extras[name]), name), default=None)
    if laju is None or extra is None:
        return _command(laju, [_DISTRIBUTIONS.get(package, package)])
    return _command(laju, _origin(laju, extra) or list(extras[extra].values()))


def _installed() -> Distribution | None:
    """The distribution of laju, or None for a source tree on the path."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        return distribution("laju")
    except PackageNotFoundError:
        return None


def _extras(laju: Distribution | None) -> dict[str, dict[str, str]]:
    """The requirements of each extra, by distribution."""
    extras: dict[str, dict[str, str]] = {}
    for text in (laju and laju.requires) or []:
        requirement, _, marker = text.partition(";")
        for extra in re.findall(r"""extra\s*==\s*['"]([^'"]+)""", marker):
            extras.setdefault(extra, {})[_name(requirement)] = requirement.strip()
    return extras


def _name(requirement: str) -> str:
    """The distribution of a requirement, as PEP 503 compares names."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement, maxsplit=1)[0]).lower()


def _distribution(package: str) -> str:
    return _name(_DISTRIBUTIONS.get(package, package))


def _origin(laju: Distribution, extra: str) -> list[str]:
    """The requirement for an extra of a laju from a folder, an archive or a URL; empty for a laju from an index."""
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    written = laju.read_text("direct_url.json")
    if written is None:
        return []
    origin = json.loads(written)
    url, control = urlsplit(origin["url"]), origin.get("vcs_info")
    if url.scheme == "file" and not control:
        path = Path(url2pathname(url.path))
        editable = ["--editable"] if origin.get("dir_info", {}).get("editable") else []
        return [*editable, f"{path}[{extra}]"] if path.exists() else []
    source = origin["url"]
    if control:
        source = f"{control['vcs']}+{source}@{control.get('requested_revision') or control['commit_id']}"
    if folder := origin.get("subdirectory"):
        source += f"#subdirectory={folder}"
    return [f"laju[{extra}] @ {source}"]


def _command(laju: Distribution | None, arguments: list[str]) -> str:
    """The call of the installer that made this environment."""
    from subprocess import list2cmdline

    here = Path(sys.executable).parent
    if laju is not None and (laju.read_text("INSTALLER") or "").strip() == "uv":
        command = ["uv", "pip", "install", "--python", sys.executable]
    elif Path(shutil.which("pip") or "").parent == here:
        command = ["pip", "install"]
    else:  # `pip` alone would install into another environment
        command = [sys.executable, "-m", "pip", "install"]
    command += arguments
    return list2cmdline(command) if os.name == "nt" else shlex.join(command)
