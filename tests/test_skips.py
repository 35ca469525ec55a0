"""Where nothing may be missing, a test that is skipped for want of something fails; elsewhere it says what it wants."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TESTS = """
import pytest

def test_shared(shared): pass
def test_chapter(chapter): pass
def test_postgres(): pytest.skip("there is no PostgreSQL server here: apt install postgresql")
def test_engine(): pytest.skip("MXNet needs an old NumPy and so a Python environment of its own, and none is here; `make setup-mxnet`")
def test_package(): pytest.importorskip("nosuch")
@pytest.mark.skipif(True, reason="set LAJU_SHARED to the folder with conformance/scenarios.json")
def test_mark(): pass
@pytest.mark.parametrize("case", [])
def test_cases(case): pass
def test_other_environment(): pytest.importorskip("nosuch", reason="MXNet has an environment of its own: make test-mxnet")
@pytest.mark.skipif(True, reason="needs a CUDA device")
def test_gpu(): pass
@pytest.mark.xfail
def test_known(): raise ValueError
def test_passes(): pass
"""  # noqa: E501
MODULE = "import pytest\npytest.importorskip('nosuch', reason='{}')\ndef test_it(): pass\n"


def outcomes(folder: Path, require: str, shared: Path | None, *files: str) -> tuple[dict[str, str], str]:
    """How each test ends, in a pytest of its own with the hooks of this suite."""
    kept = {name: value for name, value in os.environ.items() if name not in ("LAJU_SHARED", "LAJU_REQUIRE")}
    kept |= {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]), "LAJU_REQUIRE": require}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "-rA", "-c", os.devnull, *files],
        cwd=folder,
        env=kept if shared is None else kept | {"LAJU_SHARED": str(shared)},
        capture_output=True,
        text=True,
    )  # fmt: skip
    found = re.findall(r"^(PASSED|FAILED|ERROR|XFAIL) \S*?\.py(?:::test_(\w+))?", done.stdout, flags=re.MULTILINE)
    return {name or "module": outcome for outcome, name in found}, done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "test_all.py").write_text(TESTS)
    (tmp_path / "test_module.py").write_text(MODULE.format("needs gluoncv"))
    (tmp_path / "test_elsewhere.py").write_text(MODULE.format("an environment of its own: make test-mxnet"))
    return tmp_path


def test_in_a_plain_run_all_of_them_are_skipped_with_the_reason(folder: Path) -> None:
    found, printed = outcomes(folder, "", None, "test_all.py", "test_module.py")
    assert found == {"passes": "PASSED", "known": "XFAIL"}
    for reason in (
        "set LAJU_SHARED",
        "apt install postgresql",
        "make setup-mxnet",
        "needs gluoncv",
        "could not import",
    ):
        assert reason in printed


def test_where_nothing_may_be_missing_they_fail(folder: Path) -> None:
    found, printed = outcomes(folder, "main", None, "test_all.py", "test_elsewhere.py")
    assert found == {
        "shared": "ERROR",
        "chapter": "ERROR",
        "postgres": "FAILED",
        "engine": "FAILED",
        "package": "FAILED",
        "mark": "ERROR",
        "cases": "ERROR",
        "passes": "PASSED",
        "known": "XFAIL",
    }
    assert (
        "test_all.py:6: skipped, where LAJU_REQUIRE=main allows it not: there is no PostgreSQL server here" in printed
    )
    assert outcomes(folder, "main", None, "test_module.py")[0] == {"module": "ERROR"}


def test_each_environment_leaves_only_the_others_tests_out(folder: Path) -> None:
    assert outcomes(folder, "mxnet", None, "test_elsewhere.py")[0] == {"module": "ERROR"}
    assert outcomes(folder, "paddle", None, "test_elsewhere.py")[0] == {}
    assert "package" not in outcomes(folder, "mxnet", None, "test_all.py")[0]
    assert "must be one of main, mxnet, paddle, got 'all'" in subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", os.devnull, "test_all.py"],
        cwd=folder,
        env=os.environ | {"LAJU_REQUIRE": "all", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
        capture_output=True,
        text=True,
    ).stderr  # fmt: skip


def test_a_cut_text_of_the_chapter_is_no_text(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "chapter").mkdir()
    text = tmp_path / "chapter" / "learning-rate-scheduling.id.md"
    text.write_text("# cut\n")
    found, printed = outcomes(folder, "", tmp_path, "test_all.py")
    assert "chapter" not in found
    assert "is not the chapter's text that the tests are written for: 6 bytes instead of" in printed
    assert outcomes(folder, "main", tmp_path, "test_all.py")[0]["chapter"] == "ERROR"
