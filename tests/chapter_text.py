"""The chapter's own code: cells cut out of its text and executed as printed.

The text is no part of laju: it lies in `$LAJU_SHARED/chapter`, beside a stand-in for the package d2l, and real images in
`$LAJU_SHARED/data`. The fixture `chapter` of `tests/conftest.py` gives a `Chapter`, or skips with the reason where the text is
missing, cut or changed. `Chapter.run` executes a tab in a process of its own, since Keras has one backend a process and MXNet
needs an environment of its own; it is this file, run as `python -m tests.chapter_text OUTPUT < JOB`.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib.util
import io
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

NAME = "learning-rate-scheduling.id.md"
SIZE, SHA256 = 25_242, "74222892db1870730676bfdac3c28ab86096aee3c977981930ddb4ec688ab290"
"""Of the text that the tests are written for."""
TABS = ("mxnet", "pytorch", "tensorflow")
TRAININGS = ("constant", "square root", "multi-factor", "cosine", "cosine with warmup")
"""What each tab trains, in order."""
ROOT = Path(__file__).parents[1]


class NoChapter(Exception):
    """The chapter's text is not here, or is another text; the message says which."""


@dataclass(frozen=True)
class Chapter:
    """The text, in the folder of the shared data."""

    shared: Path
    text: str

    @classmethod
    def read(cls, shared: Path) -> Chapter:
        """The text, checked to the last byte.

        Raises:
            NoChapter: the text is missing, cut or changed, or what runs it is missing.
        """
        path = shared / "chapter" / NAME
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise NoChapter(f"the chapter's text cannot be read: {error}") from None
        if hashlib.sha256(raw).hexdigest() != SHA256:
            how = f"{len(raw):,} bytes instead of {SIZE:,}" if len(raw) != SIZE else "another SHA-256"
            raise NoChapter(f"{path} is not the chapter's text that the tests are written for: {how}")
        for needed in (shared / "chapter" / "d2l_stand_in.py", shared / "data" / "fashion-mnist-mini"):
            if not needed.exists():
                raise NoChapter(f"the chapter's code needs {needed}, which is missing")
        return cls(shared, raw.decode("utf-8"))

    def cells(self, tab: str) -> list[str]:
        """The cells of one tab in order, those for all tabs among them, without notebook commands such as `%matplotlib`."""
        if tab not in TABS:
            raise ValueError(f"tab must be one of {', '.join(TABS)}, got {tab!r}")
        blocks = re.findall(r"^```\{\.python \.input\}\n#@tab ([^\n]+)\n(.*?)^```", self.text, re.DOTALL | re.MULTILINE)
        of_tab = [cell for tabs, cell in blocks if {"all", tab} & set(re.split(r"[,\s]+", tabs))]
        return [re.sub(r"^%.*\n", "", cell, flags=re.MULTILINE) for cell in of_tab]

    def classes(self, tab: str) -> dict[str, Callable[..., Any]]:
        """The scheduler classes that a tab prints, executed anew, by name."""
        namespace: dict[str, Any] = {}
        exec("import math", namespace)  # which the tabs import in their first cell, beside the framework
        for cell in self.cells(tab):
            classes = [part for part in ast.parse(cell).body if isinstance(part, ast.ClassDef)]
            exec(compile(ast.Module(classes, []), f"{tab}, classes", "exec"), namespace)
        return {name: value for name, value in namespace.items() if isinstance(value, type)}

    def run(
        self,
        tab: str,
        *,
        epochs: int = 30,
        images: int | None = None,
        batch: int = 64,
        seed: int = 0,
        trainings: Sequence[Mapping[str, Any]] | None = None,
        python: str = sys.executable,
    ) -> dict[str, Any]:
        """Execute a tab in a process of its own.

        Args:
            tab: of `TABS`.
            epochs: of each training and, as the cells have it, values of each plot but the factor schedule's.
            images: the first so many of the slice's training and of its test images; all by default.
            batch: instead of the printed batch size.
            seed: of Python, NumPy and the framework.
            trainings: `{"scheduler": name, "arguments": {…}, "plotted": n}` each, for the printed training cell with another
                scheduler; by default all cells of the tab run, in order.
            python: an interpreter that has the framework.

        Returns:
            "trainings": a list of {"name", "rates" (a list for each update: of more than one value where the loop asked its
            scheduler several times and got different rates), "printed", "error" (None, or what ended the training)},
            "plots": the values of each plot, "errors": what other cells raised, by the cell's last line, "network": its layers as
            the framework tells them, "initial": of its initial weights the largest in units of Glorot's bound, √(6/(fan in + fan
            out)), and in units of 1/√(fan in), and the largest bias, each as a list over the layers.
        """
        job = {"shared": str(self.shared), "tab": tab, "epochs": epochs, "images": images, "batch": batch, "seed": seed}
        one = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
        quiet = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [python, "-m", "tests.chapter_text", f"{folder}/result.json"],
                input=json.dumps(job | {"trainings": trainings}),
                cwd=ROOT,
                env=os.environ | one | quiet,
                capture_output=True,
                text=True,
            )
            if done.returncode:
                raise RuntimeError(f"the {tab} tab failed:\n{done.stderr[-3000:]}")
            result: dict[str, Any] = json.loads(Path(folder, "result.json").read_text())
            return result


class Tab:
    """A tab whose first cell has been executed in this process, over the stand-in for d2l.

    Use it in `with opened(chapter, …) as tab`, which puts the environment back.
    """

    def __init__(self, chapter: Chapter, tab: str, epochs: int, stand_in: Any) -> None:
        self.name, self.epochs, self.stand_in = tab, epochs, stand_in
        self.cells = chapter.cells(tab)
        self.namespace: dict[str, Any] = {"__name__": "__main__", "num_epochs": epochs, "lr": 0.1}
        self.execute(self.cells[0])
        self.namespace |= chapter.classes(tab)

    def execute(self, cell: str) -> str:
        """Execute a cell with this tab's number of epochs; what it printed."""
        tree = ast.fix_missing_locations(_Epochs(self.epochs).visit(ast.parse(cell)))
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(tree, f"{self.name}: {cell.splitlines()[0]}", "exec"), self.namespace)
        return printed.getvalue()

    @property
    def trainings(self) -> list[str]:
        """The cells that train."""
        return [cell for cell in self.cells if trains(cell)]

    def plotted(self, scheduler: str, arguments: Mapping[str, Any], plotted: int = 0) -> Any:
        """A scheduler of the book, or of its framework, that has been called for so many values as a plot does."""
        made = (self.namespace.get(scheduler) or getattr(self.namespace["lr_scheduler"], scheduler))(**arguments)
        for t in range(plotted):
            made(t)
        return made

    def train(self, scheduler: Any) -> str:
        """Execute the last training cell with another scheduler; what it printed."""
        self.namespace["scheduler"] = scheduler
        return self.execute(self.trainings[-1])


@contextlib.contextmanager
def opened(
    chapter: Chapter, tab: str, *, epochs: int = 30, images: int | None = None, batch: int = 64
) -> Iterator[Tab]:
    """A tab in this process; see `Chapter.run` for the arguments."""
    settings = {
        "D2L_DATA": str(chapter.shared / "data" / "fashion-mnist-mini"),
        "D2L_BATCH": str(batch),
        "D2L_LIMIT": "1000000" if images is None else str(images),
    }
    before = {name: os.environ.get(name) for name in settings}
    package = sys.modules.get("d2l")
    os.environ.update(settings)
    try:
        spec = importlib.util.spec_from_file_location("d2l_stand_in", chapter.shared / "chapter" / "d2l_stand_in.py")
        assert spec is not None
        assert spec.loader is not None
        stand_in = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(stand_in)
        d2l: Any = types.ModuleType("d2l")
        setattr(d2l, {"pytorch": "torch"}.get(tab, tab), stand_in.module(tab))
        sys.modules["d2l"] = d2l
        yield Tab(chapter, tab, epochs, stand_in)
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        if package is None:
            sys.modules.pop("d2l", None)
        else:
            sys.modules["d2l"] = package


@functools.cache
def printed(chapter: Chapter, tab: str) -> dict[str, Any]:
    """A whole tab as printed, 30 epochs of two minibatches of real images; see `Chapter.run`.

    Processes of one run of the tests share the result: the TensorFlow tab takes a minute or two.
    """
    python, run = interpreter(tab), os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if run is None:
        return chapter.run(tab, images=16, batch=8, python=python)
    from filelock import FileLock

    path = Path(tempfile.gettempdir(), f"laju-tests-{run}-{tab}.json")
    with FileLock(f"{path}.lock"):
        if not path.exists():
            path.write_text(json.dumps(chapter.run(tab, images=16, batch=8, python=python)))
        result: dict[str, Any] = json.loads(path.read_text())
    return result


def interpreter(tab: str) -> str:
    """A Python that has the tab's framework; without one the test is skipped."""
    import pytest

    if tab != "mxnet":
        return sys.executable
    from laju.lab.engines.mxnet import interpreter as of_mxnet

    try:
        return str(of_mxnet())
    except ModuleNotFoundError as error:
        pytest.skip(str(error))


def trains(cell: str) -> bool:
    """Whether a cell trains: whether it calls `train` by itself."""
    calls = [part.value for part in ast.parse(cell).body if isinstance(part, ast.Expr)]
    return any(isinstance(call, ast.Call) and getattr(call.func, "id", "") == "train" for call in calls)


class _Epochs(ast.NodeTransformer):
    """Gives the cell that sets it another number of epochs."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def visit_Assign(self, node: ast.Assign) -> ast.Assign:
        names = [name.id for name in ast.walk(node.targets[0]) if isinstance(name, ast.Name)]
        if names[-1] == "num_epochs" and isinstance(node.value, ast.Tuple):
            node.value.elts[-1] = ast.Constant(self.epochs)
        return node


@contextlib.contextmanager
def recorded(tab: Tab) -> Iterator[list[list[float]]]:
    """The rates of every update in the block: what its framework's own update read."""
    rates: list[list[float]] = []
    if tab.name == "pytorch":
        with _torch_rates() as felt:
            yield rates
        rates.extend([rate] for rate in felt)
    elif tab.name == "tensorflow":
        callback = tab.namespace["d2l"].TrainCallback
        callback.last = None
        yield rates
        if callback.last is not None:
            rates.extend([rate] for rate in callback.last.rates)
    else:
        with _mxnet_rates() as by_update:
            yield rates
        rates.extend(list(dict.fromkeys(asked)) for asked in by_update.values())


@contextlib.contextmanager
def _torch_rates() -> Iterator[list[float]]:
    """The rates of the updates that had gradients, each checked against how far it moved a weight."""
    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

    rates: list[float] = []
    watched: list[Any] = []

    def before(optimizer: Any, args: Any, kwargs: Any) -> None:
        watched.clear()
        for group in optimizer.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    at = weight.grad.abs().argmax()
                    values = [float(v.detach().flatten()[at]) for v in (weight, weight.grad)]
                    watched.append((weight, at, *values, float(group["lr"])))

    def after(optimizer: Any, args: Any, kwargs: Any) -> None:
        if not watched:  # a plot steps the optimizer without gradients
            return
        for weight, at, old, slope, rate in watched:
            new = float(weight.detach().flatten()[at])
            if slope and np.isfinite([old, slope, new]).all():
                rounding = 4 * torch.finfo(torch.float32).eps * max(abs(old), abs(new)) / abs(slope)
                assert abs((old - new) / slope - rate) <= rounding + 1e-5 * abs(rate), (old, new, slope, rate)
        (rate,) = {watch[-1] for watch in watched}
        rates.append(rate)

    hooks = [register_optimizer_step_pre_hook(before), register_optimizer_step_post_hook(after)]
    try:
        yield rates
    finally:
        for hook in hooks:
            hook.remove()


@contextlib.contextmanager
def _mxnet_rates() -> Iterator[dict[int, list[float]]]:
    import mxnet

    optimizer = mxnet.optimizer.Optimizer
    original, by_update = optimizer._get_lrs, {}

    def get(self: Any, indices: Any) -> Any:
        found = original(self, indices)
        by_update.setdefault(self.num_update, []).extend(float(rate) for rate in found)
        return found

    optimizer._get_lrs = get
    try:
        yield by_update
    finally:
        optimizer._get_lrs = original


def seed_all(tab: str, seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - MXNet's loader shuffles with it
    if tab == "pytorch":
        import torch

        torch.manual_seed(seed)
        torch.set_num_threads(1)
    elif tab == "tensorflow":
        import tensorflow

        tensorflow.keras.utils.set_random_seed(seed)
    else:
        import mxnet

        mxnet.random.seed(seed)


def _execute(job: dict[str, Any]) -> dict[str, Any]:
    """What `Chapter.run` promises, in this process."""
    chapter = Chapter.read(Path(job["shared"]))
    seed_all(job["tab"], job["seed"])
    trained: list[dict[str, Any]] = []
    errors: dict[str, str] = {}
    with opened(chapter, job["tab"], epochs=job["epochs"], images=job["images"], batch=job["batch"]) as tab:

        def train(name: str, run: Callable[[], str]) -> None:
            entry = {"name": name, "rates": [], "printed": "", "error": None}
            trained.append(entry)
            with recorded(tab) as rates:
                try:
                    entry["printed"] = run()
                except Exception as error:
                    entry["error"] = f"{type(error).__name__}: {error}"
            entry["rates"] = rates

        for cell in tab.cells[1:] if job["trainings"] is None else []:
            if trains(cell):
                train(TRAININGS[len(trained)], functools.partial(tab.execute, cell))
                continue
            try:
                tab.execute(cell)
            except Exception as error:
                errors[cell.strip().splitlines()[-1]] = f"{type(error).__name__}: {error}"
        if job["trainings"] and job["tab"] == "mxnet":
            tab.execute(tab.trainings[0])  # which tells its network the shapes
        for training in job["trainings"] or []:

            def run(training: dict[str, Any] = training) -> str:
                return tab.train(tab.plotted(**training))

            train(training["scheduler"], run)
        layers, parameters = _network(tab)
    plots = [values for kind, values in tab.stand_in.LOG if kind == "plot"]
    return {
        "trainings": trained,
        "plots": plots,
        "errors": errors,
        "network": layers,
        "initial": {
            "glorot": [float(np.abs(w).max() * np.sqrt((a + b) / 6)) for w, a, b in parameters if w.ndim > 1],
            "fan in": [float(np.abs(w).max() * np.sqrt(a)) for w, a, _ in parameters if w.ndim > 1],
            "bias": [float(np.abs(w).max()) for w, *_ in parameters if w.ndim == 1],
        },
    }


def _network(tab: Tab) -> tuple[list[str], list[tuple[Any, int, int]]]:
    """The layers of a new network, and its parameters with their fans in and out."""
    if tab.name == "tensorflow":
        net = tab.namespace["net"]()
        net.build((None, 28, 28, 1))
        arrays = [np.asarray(weight) for weight in net.get_weights()]
        layers = [f"{type(layer).__name__} {layer.get_config().get('activation', '')}" for layer in net.layers]
        return layers, [(w, int(np.prod(w.shape[:-1])), int(w.shape[-1] * np.prod(w.shape[:-2]))) for w in arrays]
    if tab.name == "pytorch":
        net = tab.namespace["net_fn"]()
        arrays, layers = [weight.detach().numpy() for weight in net.parameters()], [str(layer) for layer in net]
    else:
        net = tab.namespace["net"]
        statements = ast.parse(tab.trainings[0]).body
        again = [part for part in statements if ast.unparse(part).startswith("net.initialize")]
        exec(compile(ast.Module(again, []), "the weights anew", "exec"), tab.namespace)
        arrays = [weight.data().asnumpy() for weight in net.collect_params().values()]
        layers = str(net).splitlines()
    return layers, [(w, int(np.prod(w.shape[1:])), int(w.shape[0] * np.prod(w.shape[2:]))) for w in arrays]


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(_execute(json.load(sys.stdin))))
