import json
import os
import signal
from pathlib import Path

import hypothesis
import pytest

from tests.chapter_text import Chapter, NoChapter

# Machines are shared and first calls compile, so no example has a time limit of its own.
hypothesis.settings.register_profile("laju", deadline=None, print_blob=True)
hypothesis.settings.load_profile("laju")


# A shell's background job ignores Ctrl-C, and so would every program that it starts; the tests of Ctrl-C need a real one.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the shared data; tests that need it are skipped without it."""
    folder = os.environ.get("LAJU_SHARED")
    if not folder:
        pytest.skip("set LAJU_SHARED to the folder with the shared data (data/, conformance/)")
    return Path(folder)


@pytest.fixture(scope="session")
def chapter(shared: Path) -> Chapter:
    """The text of the chapter, whose cells tests execute; such tests are skipped without it."""
    try:
        return Chapter.read(shared)
    except NoChapter as reason:
        pytest.skip(str(reason))


def scenarios() -> list[dict]:
    """The conformance scenarios, or none when LAJU_SHARED is not set."""
    folder = os.environ.get("LAJU_SHARED")
    if not folder:
        return []
    return json.loads((Path(folder) / "conformance" / "scenarios.json").read_text())["scenarios"]
