"""What README, Start and the site's home tell a newcomer to type runs as it stands there, and prints what stands below it."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

from laju import cosine
from laju.logs import read

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "docs/start.md")
HOME = "docs/index.md"
TRAIN = ("compare", "chapter", "find", "study", "tune")
"""Verbs that train. Their examples are made small by what is put behind them, of which the last value of an option counts."""
SMALL = {
    "compare": "--epochs 1 --seeds 2 --jobs 2",
    "compare --race": "--epochs 1 --seeds 3 --jobs 2",
    "compare --tuned": "--epochs 1 --seeds 1 --tuning-trials 3 --jobs 2",
    "find": "--updates 10 --seeds 1",
    "study": "--small",
    "tune": "--trials 2 --epochs 1 --confirm 1",
    "chapter": "--epochs 1 --seeds 1 --data-dir {data}",
}
main = pytest.mark.skipif(find_spec("torch") is None, reason="the main environment has torch: make test-all")
FINDS = ("check", "diff", "diagnose")
"""Verbs whose exit status 1 is an answer."""
READERS = "import torch, keras\n\nmodel = torch.nn.Linear(4, 1)"
"""What a reader of README has: a model."""

RUN = """
import contextlib, io, json, sys, warnings
printed, space = [], {"__name__": "__main__"}
for code in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as stdout, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        exec(compile(code, "example", "exec"), space)
    printed.append(stdout.getvalue())
    for warning in caught:
        assert not warning.category.__module__.startswith("laju"), warning.message
json.dump(printed, sys.stdout)
"""


class Block(NamedTuple):
    """A block of code on a page, and the block of text below it."""

    language: str
    code: str
    output: str | None

    def imports(self) -> set[str]:
        """The packages that Python code imports."""
        nodes = list(ast.walk(ast.parse(self.code)))
        names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
        return {name.partition(".")[0] for name in names}


def blocks(page: str, language: str) -> list[Block]:
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(r"^```(\w*)[^\n]*\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", text, flags=re.MULTILINE | re.DOTALL)
    return [Block(name, code, output or None) for name, code, output in found if name == language]


def commands(page: str) -> list[tuple[str, str | None]]:
    """Each command, and what the last one of a block prints."""
    found: list[tuple[str, str | None]] = []
    for block in blocks(page, "sh"):
        lines = block.code.replace("\\\n", " ").splitlines()
        found += [(line, block.output if line is lines[-1] else None) for line in lines]
    return found


def check(page: str, examples: Sequence[Block], folder: Path) -> None:
    """The examples run in order in one process, without a warning of laju's, and print what the page says."""
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps([block.code for block in examples]),
        cwd=folder,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert [(block.code, text) for block, text in zip(examples, printed, strict=True) if block.output] == [
        (block.code, block.output) for block in examples if block.output
    ], page


@main
@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_runs_in_order_and_prints_what_stands_there(page: str, tmp_path: Path) -> None:
    examples = blocks(page, "python")
    assert len(examples) >= 4
    if page == "README.md":
        assert {"optax", "laju"} == set().union(*(block.imports() for block in examples))
        examples = [Block("python", READERS, None), *examples]
    check(page, examples, tmp_path)


def test_the_mxnet_of_the_frameworks_page_runs_where_mxnet_is(tmp_path: Path) -> None:
    pytest.importorskip("mxnet", reason="MXNet has an environment of its own: make test-mxnet")
    train = """
from mxnet import autograd, nd
for _ in range(3):
    with autograd.record():
        loss = net(nd.ones((1, 4))).sum()
    loss.backward()
    trainer.step(1)
print(trainer.learning_rate, schedule(2))
"""
    (example,) = blocks("docs/frameworks.md", "py")
    check("docs/frameworks.md", [example, Block("python", train, "0.012 0.012\n")], tmp_path)


@main
@pytest.mark.parametrize(
    ("command", "output"),
    [
        pytest.param(*each, marks=pytest.mark.slow, id=each[0][:50])
        if each[0].split()[1] in TRAIN
        else pytest.param(*each, id=each[0][:50])
        for page in (*PAGES, HOME)
        for each in commands(page)
        if each[0].startswith("laju ")
    ],
)
def test_every_command_runs_and_prints_what_stands_there(
    command: str, output: str | None, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    verb = command.split()[1]
    option = next((name for name in ("--tuned", "--race") if name in command), "")
    small = SMALL.get(f"{verb} {option}".strip(), "")
    if "{data}" in small:
        small = small.format(data=request.getfixturevalue("shared") / "data" / "fashion-mnist-mini")
    command = re.sub(r"\s+#.*", "", command)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    here = Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "-c", f"{command} {small}"],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{here}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "100"},
        capture_output=True,
        text=True,
    )
    assert done.returncode in ((0, 1) if verb in FINDS else (0,)), done.stderr
    assert "warning" not in done.stderr
    assert "each epoch was taken for one update" not in done.stdout
    if output is not None:
        assert done.stdout == output


def test_what_is_installed_are_extras_that_there_are() -> None:
    extras = set(distribution("laju").metadata.get_all("Provides-Extra"))
    named: set[str] = set()
    for file in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"pip install \"?'?laju", text), f"{file}: no index has laju"
        named |= {name for group in re.findall(r"pip install '\.\[([^]]+)\]'", text) for name in group.split(",")}
    assert {"lab", "sampling"} <= named <= extras
    table = re.findall(r"^\| (`.*?) \| ", (ROOT / "docs/install.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert {name for row in table for name in re.findall(r"`(\w+)`", row)} == extras - {"dev", "docs", "trainers"}


def test_the_targets_of_make_are_there() -> None:
    if shutil.which("make") is None:
        pytest.skip("there is no make here")
    for target in set(re.findall(r"`make ([\w-]+)`", (ROOT / "README.md").read_text(encoding="utf-8"))):
        assert subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True).returncode == 0, target


@main
@pytest.mark.slow
def test_the_language_model_trains_and_logs_what_advise_reads(tmp_path: Path) -> None:
    script = [sys.executable, str(ROOT / "benchmarks" / "language_model.py"), "run.csv", "--rows", "6", "--schedule"]
    subprocess.run([*script, "cosine(3e-3, total=60, warmup=10)"], cwd=tmp_path, check=True, capture_output=True)
    log = read(tmp_path / "run.csv")
    assert log.at.tolist() == [10, 20, 30, 40, 50, 60]
    assert log.losses == ("val_loss", "train_loss")
    losses = log.loss().values
    assert 4 < losses[0] < 5.6  # ln 256 is a guess
    assert losses[-1] < losses[0] - 0.5
    done = subprocess.run([*script, "constant(0.1)"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--schedule must have an end, in updates, got 'constant(0.1)'" in done.stderr


@pytest.mark.parametrize(("name", "total"), [("short", 5000), ("long", 40_000)])
def test_the_logs_of_the_language_model_are_whole(name: str, total: int) -> None:
    log = read(ROOT / "docs" / "forecast" / f"{name}.csv")
    rate = log.rate()
    assert rate.at[-1] == total
    # Each row has the rate that its own update, the last one made, has used.
    expected = cosine(3e-3, total=total, warmup=200).values(total)[rate.at.astype(int) - 1]
    assert [f"{value:.6g}" for value in expected] == list(rate.texts)
