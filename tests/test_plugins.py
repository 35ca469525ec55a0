"""Other packages add tasks, engines, systems and verbs; a broken addition is told, and costs none of laju's own."""

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
    assert "No such command 'helo'; did you mean 'hello'?" in done.stderr
    broken = laju(installed, "broken-verb")
    assert broken.returncode == 1
    assert broken.stderr == (
        "Error: 'broken-verb' of the package laju-extension-example (laju_extension_gone:verb, among laju.verbs) cannot be "
        "loaded: ModuleNotFoundError: No module named 'laju_extension_gone'\n"
    )


def test_the_help_lists_verbs_from_outside_and_imports_none(installed: Path) -> None:
    done = laju(installed, "--help")
    assert done.returncode == 0
    own, _, others = done.stdout.partition("Commands of other packages:\n")
    assert [line.split()[0] for line in others.splitlines()] == ["broken-verb", "hello"]
    assert "hello        laju-extension-example: Says hello" in others
    assert "Show everything about one schedule" in own  # laju's own names cannot be replaced


def test_a_system_from_outside_is_converted_from_and_to(installed: Path) -> None:
    def convert(*arguments: str) -> subprocess.CompletedProcess[str]:
        return laju(installed, "convert", *arguments)

    asked = ("Halve(every=30)", "--lr", "0.1", "--epochs", "90", "--to", "optax")
    done = convert("--from", "halving", *asked, "--updates-per-epoch", "10", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert "transition_steps=300, decay_rate=0.5" in found["call"]
    assert "Halving counts epochs" in found["report"]
    same = convert("--from", "halving", *asked[:-1], "halving")
    assert "its adapter for torch runs where Halving takes torch's schedulers" in same.stdout
    assert "Scheduler(optimizer, lr=schedule)  # a torch LRScheduler, for where Halving takes one" in same.stdout
    assert (
        "where Halving takes" in convert("--from", "laju", "constant(0.1)", "--updates", "9", "--to", "halving").stdout
    )
    wrong = convert("--from", "halvin", *asked)
    assert wrong.returncode == 2
    assert "did you mean 'halving'?" in wrong.stderr
    hint = laju(installed, "check", "Halve(0.1)")
    assert (
        "Halve is a scheduler of Halving; its schedule in laju: laju convert --from halving 'Halve(0.1)'" in hint.stderr
    )
    pickles = "import pickle; from laju_extension_example import Halve as h; print(pickle.loads(pickle.dumps(h(0.1))) == h(0.1))"
    path = os.pathsep.join([str(installed), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", pickles], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.stdout == "True\n", done.stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "broken-system",
            "cannot be loaded: AttributeError: module 'laju_extension_example' has no attribute 'Missing'",
        ),
        ("no-system", "must be a laju.dialects.System, got <class 'laju_extension_example.Halves'>"),
    ],
)
def test_a_broken_system_is_one_line_where_it_is_named_and_costs_no_other(
    installed: Path, name: str, words: str
) -> None:
    for arguments in (("--from", name, "--to", "torch"), ("--from", "laju", "--updates", "5", "--to", name)):
        broken = laju(installed, "convert", "constant(0.1)", *arguments)
        assert broken.returncode == 1
        assert broken.stderr.startswith(f"Error: '{name}' of the package laju-extension-example (")
        assert words in broken.stderr
        assert broken.stderr.count("\n") == 1
    other = laju(
        installed, "convert", "StepLR(step_size=3)", "--from", "torch", "--lr", "1", "--updates", "9", "--to", "optax"
    )
    assert other.returncode == 0
    assert other.stderr == ""


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
