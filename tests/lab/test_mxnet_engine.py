"""A trial in MXNet is the one in torch, made by another process of which nothing stays behind, whatever happens to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import laju
from laju import Schedule, constant, cosine, linear
from laju.lab import Digits, Optimizer, Outcome, Record, Trial
from laju.lab.engines import loop, mxnet, torch
from laju.lab.engines.mxnet import VARIABLE, interpreter, train
from laju.lab.trials.tasks import Data, Task

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

try:
    PYTHON, MISSING = interpreter(), ""
except ModuleNotFoundError as error:
    PYTHON, MISSING = "", str(error)

needs_mxnet = pytest.mark.skipif(not PYTHON, reason=MISSING)

NETWORK = """
import os, sys
import numpy as np
from mxnet import gluon, nd

def dropout(arrays):
    network = gluon.nn.HybridSequential()
    network.add(gluon.nn.Dense(16, in_units=2, activation="tanh"), gluon.nn.Dropout(0.2), gluon.nn.Dense(2, in_units=16))
    network.initialize()
    print("a word on stdout")
    return network

def bias(arrays):
    # Its only gradient is that of the two biases.
    network = gluon.nn.HybridSequential()
    network.add(gluon.nn.Dense(2, in_units=2, weight_initializer="zeros"))
    network.initialize()
    network.collect_params(".*weight").setattr("lr_mult", 0.0)
    return network

def wrong(arrays):
    print("before it failed", file=sys.stderr)
    raise ValueError(f"no weights of {sorted(arrays)}")
"""


@dataclass(frozen=True)
class Points(Task):
    """On which side of a line does a point lie? In networks of a file of the user's own."""

    file: Path
    function: str
    name: str = "points"

    @cached_property
    def _points(self) -> Any:
        return np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)

    def load(self) -> Data:
        points = self._points
        sides = (points.sum(axis=1) > 0).astype(np.int64)
        return Data(points[:400], sides[:400], points[400:], sides[400:], classes=2)

    def model(self, seed: int) -> Any:
        raise NotImplementedError

    def network(self, framework: str, seed: int) -> Any:
        return f"{self.file}:{self.function}", {"some": np.zeros(2)}


def digits(schedule: Schedule | None = None, **changes: Any) -> Trial:
    schedule = cosine(0.2, total=2).per("epoch") if schedule is None else schedule
    return Trial(Digits(), schedule, **({"seed": 0, "epochs": 2, "batch_size": 64} | changes))


@pytest.fixture
def points(tmp_path: Path) -> Any:
    """Makes a trial of a function of NETWORK."""
    file = tmp_path / "network: mine.py"
    file.write_text(NETWORK)

    def trial(function: str, schedule: Schedule = constant(0.3), **changes: Any) -> Trial:  # noqa: B008
        return Trial(Points(file, function), schedule, **({"seed": 3, "epochs": 2, "batch_size": 7} | changes))

    return trial


@pytest.fixture(autouse=True)
def children(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """The processes that were started; afterwards none is left, no zombie and no temporary file."""
    started: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self)

    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(subprocess, "Popen", Noted)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield started
    for child in started:
        assert child.returncode is not None  # it has been waited for
        with pytest.raises(ProcessLookupError):
            os.kill(child.pid, 0)
        assert all(stream is None or stream.closed for stream in (child.stdin, child.stdout))
    assert not list(temporary.iterdir())


def records(outcome: Outcome) -> list[str]:
    """Every figure of every record, bit by bit."""
    return [str({k: v.hex() if isinstance(v, float) else v for k, v in asdict(r).items()}) for r in outcome.records]


# --- the same training -----------------------------------------------------------------------------------------------


@needs_mxnet
@pytest.mark.parametrize(
    "trial",
    [
        digits(linear(0.1, 0.01, total=60), epochs=3),
        # MXNet's momentum is torch's as long as the rate does not change.
        digits(constant(0.02), epochs=3, seed=1, optimizer=Optimizer(momentum=0.9, weight_decay=0.01)),
    ],
    ids=["plain", "momentum and weight decay"],
)
def test_the_first_updates_are_those_of_torch(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "RECORD_EVERY", 1)
    ours, theirs = (engine.train(trial).records for engine in (mxnet, torch))
    assert len(ours) == len(theirs) == 69
    np.testing.assert_allclose([r.rate for r in ours], [r.rate for r in theirs], rtol=1e-12)
    n = 50
    np.testing.assert_allclose(losses(ours)[:n], losses(theirs)[:n], rtol=1e-3)
    assert [r.train_accuracy for r in ours[:n]] == pytest.approx([r.train_accuracy for r in theirs[:n]], abs=2e-3)
    tests = [[r.test_accuracy for r in found if r.test_accuracy is not None] for found in (ours, theirs)]
    assert tests[0] == pytest.approx(tests[1], abs=0.01)
    tests = [[r.test_loss for r in found if r.test_loss is not None] for found in (ours, theirs)]
    assert tests[0] == pytest.approx(tests[1], rel=0.02)


def losses(found: tuple[Record, ...]) -> list[float]:
    """The loss of each minibatch, from the running means over an epoch of 22 minibatches of 64 and one of 29."""
    sums = [r.train_loss * min((i % 23 + 1) * 64, 1437) for i, r in enumerate(found)]
    return [(s - (sums[i - 1] if i % 23 else 0.0)) / (29 if i % 23 == 22 else 64) for i, s in enumerate(sums)]


@needs_mxnet
def test_a_trial_gives_the_same_records_bit_by_bit_however_often_it_runs(points: Any) -> None:
    for trial in (digits(), points("dropout", optimizer=Optimizer(momentum=0.9))):
        first, second = train(trial), train(trial)
        assert first.status == second.status == "finished"
        assert records(first) == records(second)


def root(t: int) -> float:
    return 0.3 / (t + 1) ** 0.5


@needs_mxnet
@pytest.mark.parametrize(
    "schedule",
    [cosine(0.3, total=2, warmup=1).per("epoch"), laju.Function(root)],
    ids=["units", "a function that the other environment lacks"],
)
def test_update_t_uses_the_schedules_value_at_t_and_the_last_minibatchs_loss_is_a_mean(
    points: Any, schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "RECORD_EVERY", 1)
    trial = points("bias", schedule)
    found = train(trial).records
    rates = schedule.resolve(trial.plan).values(len(found))
    np.testing.assert_allclose([r.rate for r in found], rates, rtol=1e-12)

    labels, expected, bias = trial.task.data().train_labels, [], np.zeros(2)
    for epoch in range(2):
        total, seen = 0.0, 0
        for batch in trial.task.batches(trial.seed, epoch, 7):  # 400 = 57 · 7 + 1
            share = np.bincount(labels[batch], minlength=2) / len(batch)
            logs = bias - np.log(np.exp(bias).sum())
            total, seen = total - len(batch) * float(share @ logs), seen + len(batch)
            expected.append(total / seen)
            bias = bias - rates[len(expected) - 1] * (np.exp(logs) - share)
    np.testing.assert_allclose([r.train_loss for r in found], expected, rtol=1e-5)


@needs_mxnet
def test_a_trial_that_diverges_says_in_which_update() -> None:
    trial = digits(linear(0.0, 0.0, total=30) >> constant(1e30))
    outcome = train(trial)
    assert (outcome.status, outcome.diverged_at) == ("diverged", 31)
    assert torch.train(trial).diverged_at == 31
    assert [r.update for r in outcome.records] == [23]
    assert train(digits(constant(0.0), epochs=1)).status == "collapsed"


# --- which interpreter -----------------------------------------------------------------------------------------------


def script(path: Path, text: str, by: str = "/bin/sh") -> str:
    path.write_text(f"#!{by}\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_without_an_interpreter_the_error_says_how_to_make_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(mxnet, "find_spec", lambda name: None)
    monkeypatch.setattr(laju, "__file__", str(tmp_path / "site-packages" / "laju" / "__init__.py"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModuleNotFoundError, match=rf"make setup-mxnet.*Python 3\.11.*{VARIABLE}"):
        train(digits())


def test_the_variable_goes_first_then_this_python_then_the_folder_then_the_checkout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here, checkout = tmp_path / "here", tmp_path / "checkout"
    for folder in (here, checkout):
        (folder / ".venv-mxnet" / "bin").mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.setattr(laju, "__file__", str(checkout / "src" / "laju" / "__init__.py"))
    monkeypatch.setattr(mxnet, "find_spec", lambda name: None)
    monkeypatch.delenv(VARIABLE, raising=False)
    last = script(checkout / ".venv-mxnet" / "bin" / "python", "")
    assert interpreter() == last
    third = script(here / ".venv-mxnet" / "bin" / "python", "")
    assert interpreter() == third
    monkeypatch.setattr(mxnet, "find_spec", lambda name: name == "mxnet" or None)
    assert interpreter() == sys.executable
    monkeypatch.setenv(VARIABLE, last)
    assert interpreter() == last


def test_an_interpreter_that_is_not_there_or_no_python_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cases = {
        str(tmp_path / "nothing"): f"{VARIABLE} is '.*nothing', which is no program",
        script(tmp_path / "silent", "exit 3"): "silent cannot train: it ended with status 3.*it wrote nothing",
        script(
            tmp_path / "loud", "echo oh dear >&2; kill -9 $$"
        ): "was ended by SIGKILL(.|\n)*it wrote last:\n  oh dear",
        script(tmp_path / "other", "echo usage: other"): "other is no Python: it answered b'usage: o'",
        script(tmp_path / "nowhere", "", by="/no/such/shell"): "nowhere cannot be run",
    }
    for python, message in cases.items():
        monkeypatch.setenv(VARIABLE, python)
        with pytest.raises(ModuleNotFoundError, match=message) as caught:
            train(digits())
        assert "make setup-mxnet" in str(caught.value)


def test_an_interpreter_without_laju_without_mxnet_or_with_another_laju_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")  # files of one size are rewritten within a second
    venv.create(tmp_path / "empty", symlinks=True)
    python = tmp_path / "empty" / "bin" / "python"
    monkeypatch.setenv(VARIABLE, str(python))
    with pytest.raises(ModuleNotFoundError, match=r"empty/bin/python has no laju; .*make setup-mxnet"):
        train(digits())
    package = tmp_path / "path" / "laju" / "__init__.py"
    package.parent.mkdir(parents=True)
    package.write_text(f"__version__ = {laju.__version__!r}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    with pytest.raises(ModuleNotFoundError, match=r"empty/bin/python has no mxnet; .*make setup-mxnet"):
        train(digits())
    package.write_text("__version__ = '0.0.7'")
    (tmp_path / "path" / "mxnet.py").write_text("__version__ = '1.9.1'")
    with pytest.raises(ImportError, match=rf"has laju 0\.0\.7, and this is laju {laju.__version__}"):
        train(digits())
    (tmp_path / "path" / "mxnet.py").write_text("import numpy.of_another_version")
    with pytest.raises(ModuleNotFoundError, match=r"(?s)cannot train: .*it wrote last:.*No module named 'numpy'"):
        train(digits())


# --- the end of the process ------------------------------------------------------------------------------------------


@needs_mxnet
def test_what_the_network_raises_is_shown(points: Any, children: list[Any]) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)ended with status 1.*before it failed.*no weights of \['some'\]"):
        train(points("wrong"))
    assert len(children) == 1


@needs_mxnet
def test_a_process_killed_in_the_middle_is_an_error(children: list[Any]) -> None:
    def kill(record: Record) -> None:
        children[-1].send_signal(signal.SIGKILL)

    with pytest.raises(RuntimeError, match="the process that trains in MXNet was ended by SIGKILL"):
        train(digits(), kill)
    with mxnet.Worker(PYTHON) as worker:
        worker.process.kill()
        with pytest.raises(RuntimeError, match="SIGKILL"):
            worker.tell("update", arrays={"batch": np.zeros(1_000_000)})  # more than a pipe holds


@needs_mxnet
@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_whatever_stops_the_training_ends_the_process(error: type[BaseException], children: list[Any]) -> None:
    def stop(record: Record) -> None:
        raise error

    with pytest.raises(error):
        train(digits(), stop)
    assert children[0].returncode == -signal.SIGKILL


@needs_mxnet
def test_ctrl_c_is_for_the_lab_to_decide(children: list[Any]) -> None:
    def interrupt(record: Record) -> None:
        assert os.getpgid(children[-1].pid) != os.getpgid(0)
        children[-1].send_signal(signal.SIGINT)

    assert records(train(digits(), interrupt)) == records(train(digits()))


@needs_mxnet
def test_the_process_ends_by_itself_when_the_lab_dies() -> None:
    program = """
import sys, time
from laju.lab.engines import mxnet
from tests.lab.test_mxnet_engine import digits

train = mxnet._Training
class Told(train):
    def __init__(self, trial, network, weights, worker):
        super().__init__(trial, network, weights, worker)
        print(worker.process.pid, flush=True)
mxnet._Training = Told
mxnet.train(digits(epochs=10_000))
"""
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE) as lab:
        assert lab.stdout is not None
        child = int(lab.stdout.readline())
        assert alive(child)
        lab.kill()
    deadline = time.monotonic() + 120
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(child)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended may wait for its new parent to notice."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")
