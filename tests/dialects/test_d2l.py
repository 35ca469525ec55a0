"""laju's schedules of the chapter's classes beside its loops, which are run in their own frameworks.

The book's classes are no package. Here they are functions of the calls so far, by the chapter's formulas; torch's, Keras' and
MXNet's parts are the real ones.
"""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laju
from laju.dialects import DialectError, NotASchedule, d2l, read
from laju.studies.chapter import as_published, schedules
from tests.dialects.test_torch import survives

RELEASE = "1.0.3"
N = 60
few = settings(max_examples=40, deadline=None, derandomize=True)
Asked = Callable[[int], float]


def square_root(lr: float) -> Asked:
    return lambda t: lr * pow(t + 1.0, -0.5)


def factor(by: float, stop: float, base: float) -> Asked:
    state = [base]

    def ask(t: int) -> float:
        state[0] = max(stop, state[0] * by)
        return state[0]

    return ask


def multi_factor(step: list[int], by: float, base: float) -> Asked:
    return lambda t: base * by if step[0] <= t <= step[1] else base


def cosine(total: int, base: float, final: float, warmup: int, begin: float, mode: str) -> Asked:
    state = [math.nan]

    def ask(t: int) -> float:
        if t < warmup:
            return begin + (base - begin) * float(t) / float(warmup) if mode == "linear" else begin
        if t <= total:
            state[0] = final + (base - final) * (1 + math.cos(math.pi * (t - warmup) / (total - warmup))) / 2
        return state[0]

    return ask


def plotted(ask: Asked, n: int) -> np.ndarray:
    return np.array([ask(t) for t in range(n)])


def pytorch_loop(ask: Asked, lr: float, n: int) -> np.ndarray:
    """After each epoch, with its number."""
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    used = []
    for epoch in range(n):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] = ask(epoch)
    return np.array(used)


rates = st.sampled_from([0.01, 0.1, 0.3, 2.0])
cosines = st.tuples(st.integers(1, 50), rates, st.sampled_from([0.0, 0.01]), st.integers(0, 20)).filter(
    lambda c: c[0] > c[3]
)


@pytest.mark.parametrize("loop", [None, "pytorch"])
def test_square_root(loop: Any, parity: Any) -> None:
    @few
    @given(lr=rates, own=rates)
    def run(lr: float, own: float) -> None:
        expected = plotted(square_root(lr), N) if loop is None else pytorch_loop(square_root(lr), own, N)
        ours = d2l.SquareRootScheduler(lr, loop=loop, optimizer_lr=own if loop else None)
        parity("d2l", "SquareRootScheduler", RELEASE, expected, ours.values(N), most=2)
        survives(ours)

    run()


@pytest.mark.parametrize("loop", [None, "pytorch"])
def test_factor_remembers_every_call(loop: Any, parity: Any) -> None:
    @settings(few, max_examples=80)
    @given(
        by=st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0, 1.1]),
        stop=st.sampled_from([0.0, 1e-7, 0.01, 0.5]),
        base=rates,
        before=st.integers(0, 40),
    )
    def run(by: float, stop: float, base: float, before: int) -> None:
        ask = factor(by, stop, base)
        plotted(ask, before)
        expected = plotted(ask, N) if loop is None else pytorch_loop(ask, base, N)
        kwargs: dict[str, Any] = {"loop": loop, "plotted": before}
        exact = d2l.FactorScheduler(by, stop, base, **kwargs, exact=N)
        parity("d2l", "FactorScheduler (exact)", RELEASE, expected, exact.values(N), most=0)
        ours = d2l.FactorScheduler(by, stop, base, **kwargs)
        parity("d2l", "FactorScheduler", RELEASE, expected, ours.values(N), most=N + before + 3)
        survives(ours)

    run()


def test_multi_factor_of_the_tensorflow_edition_rises_again(parity: Any) -> None:
    @few
    @given(step=st.lists(st.integers(0, 40), min_size=2, max_size=3), by=rates, base=rates)
    def run(step: list[int], by: float, base: float) -> None:
        ours = d2l.MultiFactorScheduler(step, by, base)
        parity("d2l", "MultiFactorScheduler", RELEASE, plotted(multi_factor(step, by, base), N), ours.values(N), most=0)
        survives(ours)

    run()


def test_multi_factor_of_the_pytorch_edition_has_been_moved_by_its_plot(parity: Any) -> None:
    torch = pytest.importorskip("torch")

    @few
    @given(
        step=st.lists(st.integers(0, 60), max_size=4), by=st.sampled_from([0.1, 0.5, 0.9]), before=st.integers(0, 40)
    )
    def run(step: list[int], by: float, before: int) -> None:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=step, gamma=by)
        used = []
        for _ in range(before + N):
            used.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        ours = d2l.MultiFactorScheduler(step, by, 0.5, loop="pytorch", plotted=before)
        parity("d2l", "MultiFactorScheduler", RELEASE, used[before:], ours.values(N), most=0)
        survives(ours)

    run()


@pytest.mark.parametrize("loop", [None, "pytorch"])
def test_cosine(loop: Any, parity: Any) -> None:
    @settings(few, max_examples=80)
    @given(chosen=cosines, begin=st.sampled_from([0.0, 0.005]), mode=st.sampled_from(["linear", "constant"]))
    def run(chosen: tuple[int, float, float, int], begin: float, mode: Any) -> None:
        total, base, final, warmup = chosen
        mode = mode if loop is None else "linear"
        ask = cosine(total, base, final, warmup, begin, mode)
        expected = plotted(ask, N) if loop is None else pytorch_loop(ask, base, N)
        ours = d2l.CosineScheduler(total, base, final, warmup, begin, mode, loop=loop)
        parity("d2l", "CosineScheduler", RELEASE, expected, ours.values(N), most=4, of=[base, final])
        survives(ours)

    run()


def test_the_tensorflow_loop_asks_before_each_epoch() -> None:
    keras = pytest.importorskip("keras")
    for ask, ours in (
        (square_root(0.3), d2l.SquareRootScheduler(0.3, loop="tensorflow")),
        (factor(0.9, 0.05, 0.3), d2l.FactorScheduler(0.9, 0.05, 0.3, loop="tensorflow")),
        (multi_factor([3, 5], 0.5, 0.5), d2l.MultiFactorScheduler([3, 5], 0.5, 0.5, loop="tensorflow")),
        (cosine(6, 0.3, 0.01, 2, 0.0, "linear"), d2l.CosineScheduler(6, 0.3, 0.01, 2, loop="tensorflow")),
    ):
        used: list[float] = []

        class Record(keras.callbacks.Callback):  # type: ignore[misc, name-defined]
            def on_train_batch_end(self, batch: int, logs: Any = None, used: list[float] = used) -> None:
                used.append(float(self.model.optimizer.learning_rate))

        net = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        net.compile(keras.optimizers.SGD(0.3), "mse", jit_compile=False)
        # Keras first tries a function of two arguments, which the chapter's is not.
        asked = keras.callbacks.LearningRateScheduler(ask)
        net.fit(np.zeros((1, 1)), np.zeros(1), epochs=9, verbose=0, callbacks=[asked, Record()])
        assert (np.array(used, np.float32) == ours.values(9).astype(np.float32)).all()


IN_MXNET = """
import json, sys
from mxnet import autograd, gluon, lr_scheduler
from laju.frameworks.mxnet import trace

def plotted(scheduler, n):
    for t in range(n):
        scheduler(t)
    return scheduler

class Counting:
    base_lr, calls = 0.1, 0
    def __call__(self, t):
        self.calls += 1
        return 0.1

weights = [gluon.Parameter(f"w{i}", shape=(1,), init="zeros") for i in range(10)]
for weight in weights:
    weight.initialize()
counting = Counting()
trainer = gluon.Trainer(weights, "sgd", {"lr_scheduler": counting})
with autograd.record():
    loss = sum(weight.data().sum() for weight in weights)
loss.backward()
trainer.step(1)
json.dump({
    "square root": trace(lambda t: 0.1 * (t + 1.0) ** -0.5, 60),
    "multi-factor": [
        trace(plotted(lr_scheduler.MultiFactorScheduler(step=step, factor=0.5, base_lr=0.5), n), 60)
        for step, n in json.loads(sys.argv[1])
    ],
    "cosine": trace(plotted(lr_scheduler.CosineScheduler(20, warmup_steps=5, base_lr=0.3, final_lr=0.01), 30), 60),
    "calls": counting.calls,
}, open(sys.argv[2], "w"))
"""


def test_the_mxnet_loop_counts_minibatches_from_1(tmp_path: Any, parity: Any) -> None:
    from laju.lab.engines.mxnet import interpreter

    try:
        python = interpreter()
    except ModuleNotFoundError as error:
        pytest.skip(str(error))
    plots = [([15, 30], 30), ([15, 30], 0), ([1, 29, 40], 30), ([7], 9)]
    done = subprocess.run(
        [python, "-c", IN_MXNET, json.dumps(plots), tmp_path / "used.json"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    used = json.loads((tmp_path / "used.json").read_text())
    ours = d2l.SquareRootScheduler(0.1, loop="mxnet").values(60)
    parity("d2l", "SquareRootScheduler", RELEASE, used["square root"], ours, most=2)
    for (step, n), expected in zip(plots, used["multi-factor"], strict=True):
        ours = d2l.MultiFactorScheduler(step, 0.5, 0.5, loop="mxnet", plotted=n).values(60)
        parity("d2l", "MultiFactorScheduler", RELEASE, expected, ours, most=0)
    ours = d2l.CosineScheduler(20, 0.3, 0.01, 5, loop="mxnet").values(60)
    parity("d2l", "CosineScheduler", RELEASE, used["cosine"], ours, most=4, of=[0.3])
    assert used["calls"] > 1  # in one update: what keeps a state at every call has no one rate
    with pytest.raises(NotASchedule, match=r"laju\.factor"):
        d2l.FactorScheduler(0.9, loop="mxnet")


def test_the_chapters_own_set_is_in_both_places() -> None:
    published, as_text = as_published(), schedules()
    for name, own, text in (
        ("square root", d2l.SquareRootScheduler(0.1, loop="pytorch"), d2l.SquareRootScheduler(0.1)),
        ("cosine", d2l.CosineScheduler(20, 0.3, 0.01, loop="pytorch"), d2l.CosineScheduler(20, 0.3, 0.01)),
        (
            "cosine with warmup",
            d2l.CosineScheduler(20, 0.3, 0.01, 5, loop="pytorch"),
            d2l.CosineScheduler(20, 0.3, 0.01, 5),
        ),
        ("factor", d2l.FactorScheduler(0.9, 0.01, 0.3, loop="pytorch"), None),
        ("multi-factor", d2l.MultiFactorScheduler([15, 30], 0.5, 0.5, loop="pytorch"), None),
    ):
        assert published[name].child.values(30) == pytest.approx(own.values(30), rel=1e-14), name
        assert text is None or as_text[name].child.values(30) == pytest.approx(text.values(30), rel=1e-14), name


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: d2l.SquareRootScheduler(0.1, loop="pytorhc"), "did you mean 'pytorch'"),  # type: ignore[arg-type]
        (lambda: d2l.SquareRootScheduler(0.1, optimizer_lr=0.3), "only used with loop='pytorch'"),
        (lambda: d2l.CosineScheduler(5, warmup_steps=5), "max_update must be above warmup_steps"),
        (lambda: d2l.CosineScheduler(5, warmup_mode="cosine"), "warmup_mode must be"),  # type: ignore[arg-type]
        (lambda: d2l.MultiFactorScheduler([15], 0.5, 0.5), "two times"),
        (lambda: d2l.MultiFactorScheduler([15, 15], 0.5, 0.5, loop="mxnet"), "increasing"),
    ],
)
def test_errors_say_what_would_be_valid(call: Callable[[], object], message: str) -> None:
    with pytest.raises(DialectError, match=message):
        call()


@pytest.mark.parametrize(("total", "warmup"), [(0, 0), (1, 0), (5, 5), (4, 5)])
def test_both_fail_where_the_warmup_is_all(total: int, warmup: int) -> None:
    ask = cosine(total, 0.3, 0.01, warmup, 0.0, "linear")
    try:
        fails = bool(np.isnan(plotted(ask, 10)).any())
    except ZeroDivisionError:
        fails = True
    if fails:
        with pytest.raises(DialectError):
            d2l.CosineScheduler(total, 0.3, 0.01, warmup)
    else:
        d2l.CosineScheduler(total, 0.3, 0.01, warmup)


def test_text_is_read() -> None:
    text = "FactorScheduler(factor=0.9, stop_factor_lr=1e-2, base_lr=2.0)"
    assert read("d2l", text)(0) == laju.factor(2.0, 0.9)(1)
    assert read("d2l", "CosineScheduler(20, warmup_steps=5, base_lr=0.3, final_lr=0.01)", loop="pytorch")(0) == 0.3
