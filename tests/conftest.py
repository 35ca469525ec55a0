import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.chapter_text import Chapter, NoChapter

# Machines are shared and first calls compile, so no example has a time limit of its own.
hypothesis.settings.register_profile("laju", deadline=None, print_blob=True)
# A required run draws the same examples each time, so that no change fails by chance; other runs draw new ones.
hypothesis.settings.register_profile("required", hypothesis.settings.get_profile("laju"), derandomize=True)
hypothesis.settings.load_profile("required" if os.environ.get("LAJU_REQUIRE") or os.environ.get("CI") else "laju")


# A shell's background job ignores Ctrl-C, and so would every program that it starts; the tests of Ctrl-C need a real one.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# --- what may be skipped where nothing may be missing ------------------------------------------------------------------

REQUIRE = os.environ.get("LAJU_REQUIRE", "")
"""The environment, one of `ENVIRONMENTS`, of which .ci/run says that it is complete: every other skip is a failure there."""

ENVIRONMENTS = {
    "main": r"make test-(mxnet|paddle)",
    "mxnet": r"could not import|make test-(all|paddle)|make setup-(dialects|trackers|vision)",
    "paddle": r"could not import|make test-(all|mxnet)|make setup-(dialects|trackers|vision)",
}
"""The tests of another environment, by the reason of their skip: the other environment's run has them."""

NO_MATTER = (
    r"CUDA device|finds no GPU|there is a GPU|GiB of the GPU|GPU has no bfloat16",
    r"a small disk|unshare --pid",  # which a container may forbid
    r"inductor needs a C\+\+ compiler",
    r"what it writes is kept in tests/data/logs",  # and read there; the package needs an environment of its own
    r"(timm|torchvision) is installed",  # the test is of its absence
    r"it takes no units|^this adapter (keeps no|has no|cannot skip|makes no)",
    r"test_keras\.py runs this file|with torch$|^JAX has no float64|TensorFlow's own tensors",
)
"""What no environment has to have, and what does not apply to a policy or a framework."""


def pytest_configure(config: pytest.Config) -> None:
    if REQUIRE and REQUIRE not in ENVIRONMENTS:
        raise pytest.UsageError(f"LAJU_REQUIRE must be one of {', '.join(ENVIRONMENTS)}, got {REQUIRE!r}")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    return _complete((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(collector):
    return _complete((yield))


def _complete(report):
    """The report of a skip as a failure, where nothing that the test needs may be missing."""
    if REQUIRE and report.skipped and not hasattr(report, "wasxfail"):
        path, line, reason = report.longrepr
        reason = reason.removeprefix("Skipped: ")
        if not any(re.search(pattern, reason) for pattern in (ENVIRONMENTS[REQUIRE], *NO_MATTER)):
            report.outcome = "failed"
            report.longrepr = f"{path}:{line}: skipped, where LAJU_REQUIRE={REQUIRE} allows it not: {reason}"
    return report


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


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """Debian's Chromium, driven by Playwright."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright, which `make setup` installs")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("there is no Chromium here: apt install chromium")
    api.expect.set_options(timeout=60_000)
    with api.sync_playwright() as playwright:
        # No sandbox: Chromium has none for root, as whom containers run.
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


def scenarios() -> list[dict]:
    """The conformance scenarios, or none when LAJU_SHARED is not set."""
    folder = os.environ.get("LAJU_SHARED")
    if not folder:
        return []
    return json.loads((Path(folder) / "conformance" / "scenarios.json").read_text())["scenarios"]
