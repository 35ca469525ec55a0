"""Every recipe of the site runs as it stands, alone, in a folder with the site's logs, and prints what stands below it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent / "docs" / "recipes.md"
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?', re.MULTILINE | re.DOTALL)
RECIPES = dict(
    part.split("\n", 1) for part in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
)
FINDS = ("laju check", "laju diagnose")
"""Commands whose exit status 1 is an answer."""
pytestmark = pytest.mark.skipif(find_spec("torch") is None, reason="the main environment has torch: make test-all")


@pytest.mark.slow
@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_prints_what_stands_there(title: str, tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    (tmp_path / "docs").symlink_to(PAGE.parent)
    ran = 0
    for language, file, code, output in BLOCK.findall(RECIPES[title]):
        if file:
            (tmp_path / file).write_text(code, encoding="utf-8")
        if language not in ("python", "sh"):
            continue
        done = subprocess.run(
            [sys.executable, "-c", code] if language == "python" else ["bash", "-c", code],
            cwd=tmp_path,
            env=os.environ | {"PATH": path, "COLUMNS": "80"},
            capture_output=True,
            text=True,
        )
        ran += 1
        assert done.returncode == 0 or code.startswith(FINDS), done.stderr
        assert "Traceback" not in done.stderr
        if output or file:
            assert done.stdout == output
    assert ran


def test_the_recipe_for_ci_runs_the_command_that_was_shown() -> None:
    (shown,) = [code for language, _, code, _ in BLOCK.findall(RECIPES["Check schedules in CI"]) if language == "sh"]
    (workflow,) = [
        code for language, _, code, _ in BLOCK.findall(RECIPES["Check schedules in CI"]) if language == "yaml"
    ]
    assert re.sub("'.*'", '"$(cat schedule.txt)"', shown) in workflow
