"""Other packages add tasks, engines and verbs through entry points; a broken addition is told, and takes none of laju's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent / "extension"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the example package."""
    source, target = tmp_path_factory.mktemp("source") / "extension", tmp_path_factory.mktemp("target")
    shutil.copytree(PACKAGE, source)  # setuptools builds inside the source
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(target), str(source)], check=True, timeout=300)
    return target


def laju(installed: Path, *arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(installed), *sys.path])
    return subprocess.run(
        [sys.executable, "-m", "laju", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
    )


def test_a_verb_from_outside_runs_and_an_unknown_verb_is_told(installed: Path) -> None:
    assert laju(installed, "hello").stdout == "hello from outside\n"
    done = laju(installed, "helo")
    assert done.returncode == 2
    assert "No such command 'helo'" in done.stderr


@pytest.mark.slow
def test_a_task_and_an_engine_from_outside_are_compared(installed: Path, tmp_path: Path) -> None:
    asked = ["0.25", "0.75", "--task", "halves", "--epochs", "1", "--seeds", "2", "--json"]
    done = laju(installed, "compare", *asked, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [trial["test_accuracy"] for trial in json.loads(done.stdout)["trials"]] == [0.25, 0.25, 0.75, 0.75]
    broken = laju(installed, "compare", "0.25", "--task", "broken-task", folder=tmp_path)
    assert broken.returncode == 1
    assert "'broken-task' of the package laju-extension-example" in broken.stderr
    assert "AttributeError" in broken.stderr
    assert broken.stderr.count("\n") == 1
    unknown = laju(installed, "compare", "0.25", "--task", "halfs", folder=tmp_path)
    assert unknown.returncode == 2
    assert "did you mean 'halves'?" in unknown.stderr
    assert laju(installed, "show", "0.25", "--updates", "5").returncode == 0
