"""The suite for adapters: the example of the guide passes it, and adapters that are wrong in usual ways fail it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[1] / "docs" / "guides" / "adapter.md"


def outcome(tmp_path: Path, *changes: tuple[str, str]) -> dict[str, str]:
    """What each test of the suite says of the guide's adapter, changed: passed, failed or skipped, by the test's name."""
    code = "\n".join(re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL))
    for old, new in changes:
        assert old in code
        code = code.replace(old, new)
    path = tmp_path / "test_descent.py"
    path.write_text(code, "utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-rA",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-c",
        "/dev/null",
        str(path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    lines = re.findall(r"^(PASSED|FAILED) \S+::TestDescent::(.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
    found = {name: word.lower() for word, name in lines}
    assert found, done.stdout + done.stderr
    return found


def test_the_guides_adapter_passes(tmp_path: Path) -> None:
    found = outcome(tmp_path)
    assert set(found.values()) == {"passed"}
    assert len(found) > 100


@pytest.mark.slow  # each runs the whole suite in a process of its own
@pytest.mark.parametrize(
    ("change", "failed"),
    [
        (  # a table that ends
            (
                "self.optimizer.rate = self.values.at(t)",
                "self.optimizer.rate = self.values.schedule.values(100)[min(t, 99)]",
            ),
            "test_no_sequence_ends[cosine with warmup]",
        ),
        (("        if applied:\n            self.set", "        if True:\n            self.set"), "left_out"),
        (("self.set_position(self.position + 1)", "self.set_position(self.position + 2)"), "test_k01"),
        (  # goes forward only
            ("        self.position = t\n", "        self.position = t = max(t, getattr(self, 'position', 0))\n"),
            "test_a_position_may_lie_before_or_after",
        ),
        (
            (
                "return plain(self.scheduler.state_dict())",
                "self.update(1.0); return plain(self.scheduler.state_dict())",
            ),
            "saving",
        ),
        (("        run.scheduler.load_state_dict(saved, policy)\n", ""), "test_a_resumed_run"),
        (("self.set_position(position)\n", "self.set_position(position + 1)\n"), "test_a_resumed_run"),
        (("self.values.at(t)", "self.values.at(t + 1)"), "test_update_t_uses"),
    ],
    ids=[
        "table ends",
        "counts what was left out",
        "double",
        "forward only",
        "saving trains",
        "forgets",
        "one ahead",
        "early",
    ],
)
def test_a_wrong_adapter_fails(change: tuple[str, str], failed: str, tmp_path: Path) -> None:
    found = outcome(tmp_path, change)
    assert any(failed in name and what == "failed" for name, what in found.items()), found
