"""laju's schedules of the chapter's classes beside these classes, which are executed from the chapter's text.

Each is called as a plot calls it, and inside the training loop that its tab prints, where the rates are read that the weights
felt. torch's and MXNet's own classes, which two tabs use instead, are the real ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import laju
from laju.dialects import DialectError, NotASchedule, d2l, read
from tests.chapter_text import Chapter, interpreter, opened, printed, recorded
from tests.dialects.drawn import LENGTHS, calls, same_or_refused
from tests.dialects.test_torch import survives

RELEASE = "1.0.3"
N = 60
few = settings(max_examples=60, deadline=None, derandomize=True)
Arguments = dict[str, Any]

rates = st.sampled_from([0.0, 0.01, 0.1, 0.3, 0.5, 2.0]) | st.floats(0.001, 1)
signed = rates | st.floats(-1, 1)
factors = st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0, 1.1]) | st.floats(-1.5, 1.5)
# Lengths below 1e-100 are refused, and none of the printed classes tells 1e-9 from 0 in its first updates.
times = st.integers(-2, 45) | st.floats(-2, 45).map(lambda t: t if abs(t) > 1e-9 else 0.0)
wholes = st.integers(0, 20)

ANY: dict[str, st.SearchStrategy[Arguments]] = {
    "SquareRootScheduler": st.fixed_dictionaries({}, optional={"lr": signed}),
    "FactorScheduler": st.fixed_dictionaries(
        {}, optional={"factor": factors, "stop_factor_lr": signed, "base_lr": signed}
    ),
    "MultiFactorScheduler": st.fixed_dictionaries(
        {"step": st.lists(times, max_size=5), "factor": factors, "base_lr": signed}
    ),
    "CosineScheduler": st.fixed_dictionaries(
        {"max_update": times},
        optional={"base_lr": signed, "final_lr": signed, "warmup_steps": times, "warmup_begin_lr": signed},
    ),
}
"""Whatever the printed classes take, by class."""

USUAL: dict[str, st.SearchStrategy[Arguments]] = {
    "SquareRootScheduler": st.fixed_dictionaries({"lr": rates}),
    "FactorScheduler": st.fixed_dictionaries(
        {"factor": st.sampled_from([0.5, 0.9, 1.0]), "stop_factor_lr": st.sampled_from([1e-7, 0.05]), "base_lr": rates}
    ),
    "MultiFactorScheduler": st.fixed_dictionaries(
        {
            "step": st.lists(st.integers(1, 20), min_size=1, max_size=4, unique=True).map(sorted),
            "factor": st.sampled_from([0.1, 0.5, 0.9]),
            "base_lr": rates,
        }
    ),
    "CosineScheduler": st.fixed_dictionaries(
        {"max_update": st.integers(1, 20), "base_lr": rates},
        optional={"final_lr": st.sampled_from([0.0, 0.001]), "warmup_steps": st.integers(0, 20)},
    ),
}
"""What trains, for loops of few epochs."""

MOST = {"SquareRootScheduler": 2, "FactorScheduler": N + 3, "MultiFactorScheduler": 0, "CosineScheduler": 4}
"""ulp that may lie between them."""


def largest(name: str, arguments: Arguments) -> list[float] | None:
    """Where small values of a class lose digits: the rates of which the largest is the measure, and the distance between two."""
    if name != "CosineScheduler":
        return None
    base, final, begin = (
        arguments.get(key, by) for key, by in (("base_lr", 0.01), ("final_lr", 0), ("warmup_begin_lr", 0))
    )
    return [base, final, begin, base - final, base - begin]


def called(scheduler: Callable[[int], float], plotted: int, n: int = N) -> list[float]:
    for t in range(plotted):
        scheduler(t)
    return [scheduler(t) for t in range(n)]


@pytest.mark.parametrize(
    ("tab", "name"),
    [
        *(
            (tab, name)
            for tab in ("mxnet", "pytorch", "tensorflow")
            for name in ("SquareRootScheduler", "FactorScheduler")
        ),
        ("tensorflow", "MultiFactorScheduler"),
        *((tab, "CosineScheduler") for tab in ("pytorch", "tensorflow")),
    ],
)
def test_the_printed_class_fresh_and_after_its_plot(tab: str, name: str, chapter: Chapter, parity: Any) -> None:
    printed_class = chapter.classes(tab)[name]
    stateful = name in ("FactorScheduler", "MultiFactorScheduler")

    @settings(few, max_examples=300)
    @given(arguments=ANY[name], plotted=wholes)
    def run(arguments: Arguments, plotted: int) -> None:
        after: Any = {"plotted": plotted} if stateful else {}
        try:
            expected = called(printed_class(**arguments), plotted)
        except (ZeroDivisionError, AttributeError):
            with pytest.raises(DialectError, match="max_update"):
                getattr(d2l, name)(**arguments)
            return
        ours = getattr(d2l, name)(**arguments, **after)
        parity("d2l", name, RELEASE, expected, ours.values(N), most=MOST[name], of=largest(name, arguments))
        survives(ours)
        if not plotted:
            assert ours.normal == getattr(d2l, name)(**arguments).normal, "fresh without being told of a plot"

    run()


@pytest.mark.parametrize("name", ANY)
def test_whatever_the_arguments_values_are_those_of_the_printed_class(name: str, chapter: Chapter) -> None:
    printed_class = chapter.classes("tensorflow" if name == "MultiFactorScheduler" else "pytorch")[name]
    ours = getattr(d2l, name)

    @settings(few, max_examples=200)
    @given(calls(ours, ("loop", "optimizer_lr", "plotted", "warmup_mode"), {"step": st.lists(LENGTHS, max_size=4)}))
    def check(arguments: Arguments) -> None:
        same_or_refused(
            lambda: ours(**arguments).values(N),
            lambda: called(printed_class(**arguments), 0),
            of=max(largest(name, arguments) or [0.0]),
        )

    check()


@pytest.mark.parametrize(
    ("step", "plotted"), [([15, 30], 0), ([15, 30], 30), ([15], 0), ([], 5), ((3, 3, 8), 4), ({5, 9}, 0)]
)
def test_multi_factor_takes_any_number_of_steps(step: Any, plotted: int, chapter: Chapter) -> None:
    expected = called(chapter.classes("tensorflow")["MultiFactorScheduler"](step, 0.5, 0.5), plotted)
    assert d2l.MultiFactorScheduler(step, 0.5, 0.5, plotted=plotted).values(N).tolist() == expected
    assert d2l.MultiFactorScheduler(step, 0.5, 0.5, plotted=plotted, loop="tensorflow").values(N).tolist() == expected


@pytest.mark.parametrize("name", ["SquareRootScheduler", "FactorScheduler", "CosineScheduler"])
def test_the_printed_class_in_the_loop_of_the_pytorch_tab(name: str, chapter: Chapter, parity: Any) -> None:
    pytest.importorskip("torch")
    epochs = 22
    with opened(chapter, "pytorch", epochs=epochs, images=8, batch=4) as tab:

        @settings(few, max_examples=10)
        @given(arguments=USUAL[name], plotted=wholes)
        def run(arguments: Arguments, plotted: int) -> None:
            after: Any = {"plotted": plotted} if name == "FactorScheduler" else {}
            try:
                scheduler = tab.plotted(name, arguments, plotted)
                with recorded(tab) as felt:
                    tab.train(scheduler)
            except (ZeroDivisionError, AttributeError):
                with pytest.raises(DialectError, match="max_update"):
                    getattr(d2l, name)(**arguments, loop="pytorch")
                return
            assert len(felt) == 2 * epochs
            ours = getattr(d2l, name)(**arguments, **after, loop="pytorch", optimizer_lr=0.3)
            used = np.reshape(felt, (epochs, 2)).T
            assert (used[0] == used[1]).all()
            most = MOST[name]
            parity("d2l", name, RELEASE, used[0], ours.values(epochs), most=most, of=largest(name, arguments))
            survives(ours)

        run()


def test_torchs_multi_step_in_the_loop_of_the_pytorch_tab(chapter: Chapter, parity: Any) -> None:
    torch = pytest.importorskip("torch")
    epochs = 22
    with opened(chapter, "pytorch", epochs=epochs, images=8, batch=4) as tab:

        @settings(few, max_examples=10)
        @given(
            step=st.lists(st.integers(-1, 40) | st.floats(0, 40), max_size=4),
            factor=st.sampled_from([0.1, 0.5, 0.9]),
            plotted=wholes,
        )
        def run(step: list[int], factor: float, plotted: int) -> None:
            net = tab.namespace["net_fn"]()
            optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
            scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=step, gamma=factor)
            for _ in range(plotted):
                optimizer.step()
                scheduler.step()
            tab.namespace |= {"net": net, "trainer": optimizer, "scheduler": scheduler}
            with recorded(tab) as felt:
                tab.execute(tab.trainings[2])
            ours = d2l.MultiFactorScheduler(step, factor, 0.5, loop="pytorch", plotted=plotted)
            parity("d2l", "MultiFactorScheduler", RELEASE, np.ravel(felt)[::2], ours.values(epochs), most=0)
            survives(ours)

        run()


def drawn(name: str, n: int) -> list[Arguments]:
    """Trainings for `Chapter.run`: of drawn arguments after drawn plots, the simplest one first."""
    found: list[Arguments] = []

    @settings(max_examples=n, phases=[Phase.generate], derandomize=True, database=None, deadline=None)
    @given(arguments=USUAL[name], plotted=wholes)
    def collect(arguments: Arguments, plotted: int) -> None:
        found.append({"scheduler": name, "arguments": arguments, "plotted": plotted})

    collect()
    return found


def ours_of(training: Arguments, loop: str) -> laju.Schedule:
    name = training["scheduler"]
    after = {"plotted": training["plotted"]} if name in ("FactorScheduler", "MultiFactorScheduler") else {}
    schedule: laju.Schedule = getattr(d2l, name)(**training["arguments"], **after, loop=loop)
    return schedule


@pytest.mark.slow
def test_the_printed_classes_in_the_loop_of_the_tensorflow_tab(chapter: Chapter) -> None:
    pytest.importorskip("tensorflow")
    trainings = [training for name in USUAL for training in drawn(name, 3)[1:]]
    for training, used in zip(
        trainings,
        chapter.run("tensorflow", epochs=12, images=4, batch=4, trainings=trainings)["trainings"],
        strict=True,
    ):
        if used["error"]:
            with pytest.raises(DialectError, match="max_update"):
                ours_of(training, "tensorflow")
            continue
        expected = np.ravel(used["rates"]).astype(np.float32)
        off = np.abs(ours_of(training, "tensorflow").values(12).astype(np.float32) - expected)
        assert (off <= np.spacing(np.float32(max(expected.max(), 0.01)))).all(), training


def test_keras_asks_the_printed_classes_before_each_epoch(chapter: Chapter) -> None:
    keras = pytest.importorskip("keras")
    for name, arguments in (
        ("FactorScheduler", {"factor": 0.5, "stop_factor_lr": 0.01, "base_lr": 0.3}),
        ("MultiFactorScheduler", {"step": [2, 4], "factor": 0.5, "base_lr": 0.5}),
        ("CosineScheduler", {"max_update": 4, "base_lr": 0.3, "warmup_steps": 2}),
    ):
        used: list[float] = []

        class Record(keras.callbacks.Callback):  # type: ignore[misc, name-defined]
            def on_train_batch_end(self, batch: int, logs: Any = None, used: list[float] = used) -> None:
                used.append(float(self.model.optimizer.learning_rate))

        scheduler = chapter.classes("tensorflow")[name](**arguments)
        called(scheduler, 3, 0)
        net = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        net.compile(keras.optimizers.SGD(0.3), "mse", jit_compile=False)
        asked = keras.callbacks.LearningRateScheduler(scheduler)
        net.fit(np.zeros((1, 1)), np.zeros(1), epochs=6, verbose=0, callbacks=[asked, Record()])
        ours = ours_of({"scheduler": name, "arguments": arguments, "plotted": 3}, "tensorflow")
        assert used == pytest.approx(ours.values(6), rel=1e-7)


@pytest.mark.slow
def test_the_loop_of_the_mxnet_tab_counts_minibatches_from_1(chapter: Chapter, parity: Any) -> None:
    trainings = [training for name in USUAL for training in drawn(name, 8)]
    result = chapter.run("mxnet", epochs=14, images=8, batch=4, trainings=trainings, python=interpreter("mxnet"))
    several = 0
    for training, used in zip(trainings, result["trainings"], strict=True):
        name = training["scheduler"]
        if any(len(rates) > 1 for rates in used["rates"]):
            several += 1
            with pytest.raises(NotASchedule, match=r"laju\.factor"):
                ours_of(training, "mxnet")
        elif used["error"]:
            with pytest.raises(DialectError):
                ours_of(training, "mxnet")
        else:
            ours = ours_of(training, "mxnet").values(28)
            parity(
                "d2l",
                name,
                RELEASE,
                np.ravel(used["rates"]),
                ours,
                most=MOST[name],
                of=largest(name, training["arguments"]),
            )
    assert several  # a class that changes at every call has several rates in one update


@pytest.mark.parametrize("tab", ["pytorch", pytest.param("tensorflow", marks=pytest.mark.slow), "mxnet"])
def test_each_tab_as_printed_uses_the_rates_of_its_loop(tab: Any, chapter: Chapter) -> None:
    if tab == "tensorflow":
        pytest.importorskip("tensorflow")
    used = {training["name"]: np.reshape(training["rates"], (30, 2)) for training in printed(chapter, tab)["trainings"]}
    for name, ours in (
        ("square root", d2l.SquareRootScheduler(0.1, loop=tab)),
        ("multi-factor", d2l.MultiFactorScheduler([15, 30], 0.5, 0.5, loop=tab)),
        ("cosine", d2l.CosineScheduler(20, base_lr=0.3, final_lr=0.01, loop=tab)),
        ("cosine with warmup", d2l.CosineScheduler(20, warmup_steps=5, base_lr=0.3, final_lr=0.01, loop=tab)),
    ):
        expected = ours.values(60).reshape(30, 2) if tab == "mxnet" else np.stack([ours.values(30)] * 2, axis=1)
        assert used[name] == pytest.approx(expected, rel=1e-7 if tab == "tensorflow" else 1e-13), name


def test_each_plot_is_the_fresh_class_and_leaves_it_as_plotted(chapter: Chapter) -> None:
    plots = printed(chapter, "pytorch")["plots"]
    fresh = (
        d2l.SquareRootScheduler(0.1),
        d2l.FactorScheduler(0.9, 1e-2, 2.0),
        d2l.MultiFactorScheduler([15, 30], 0.5, 0.5),
        d2l.CosineScheduler(20, base_lr=0.3, final_lr=0.01),
        d2l.CosineScheduler(20, warmup_steps=5, base_lr=0.3, final_lr=0.01),
    )
    for values, ours in zip(plots, fresh, strict=True):
        assert values == pytest.approx(ours.values(len(values)), rel=1e-13)
    assert [len(values) for values in plots] == [30, 50, 30, 30, 30]
    assert plots[1][0] == 1.8
    # A second plot of the factor schedule, or a training with it, begins where the first plot ended: at the stop.
    for loop in (None, "tensorflow", "mxnet"):
        again = d2l.FactorScheduler(0.9, 1e-2, 2.0, loop=loop, plotted=50)
        assert again.values(N).tolist() == [0.01] * N
        if loop is not None:
            assert d2l.FactorScheduler(0.9, 1e-2, 2.0, loop=loop).normal == again.normal
    assert d2l.FactorScheduler(0.9, 1e-2, 2.0, loop="pytorch").values(3).tolist() == [2.0, 0.01, 0.01]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: d2l.SquareRootScheduler(0.1, loop="pytorhc"), "did you mean 'pytorch'"),  # type: ignore[arg-type]
        (lambda: d2l.MultiFactorScheduler([15], 0.5, 0.5, loop="tensorflwo"), "'tensorflow'"),  # type: ignore[arg-type]
        (lambda: d2l.SquareRootScheduler(0.1, optimizer_lr=0.3), "only used with loop='pytorch'"),
        (lambda: d2l.CosineScheduler(20, loop="mxnet", optimizer_lr=0.3), "only used with loop='pytorch'"),
        (lambda: d2l.CosineScheduler(5, warmup_steps=5), "above warmup_steps, .* got 5 and 5: .* fails at call 5"),
        (lambda: d2l.CosineScheduler(2.9, warmup_steps=2.1), "a whole number between them"),
        (lambda: d2l.CosineScheduler(5, warmup_mode="linear"), "has no warmup_mode"),
        (lambda: d2l.CosineScheduler(5, warmup_mode="constant", loop="tensorflow"), "MXNet's own has"),
        (lambda: d2l.CosineScheduler(5, warmup_mode="cosine", loop="mxnet"), "warmup_mode"),  # type: ignore[arg-type]
        (lambda: d2l.MultiFactorScheduler([15, 15], 0.5, 0.5, loop="mxnet"), "increasing"),
        (lambda: d2l.MultiFactorScheduler((15, 30), 0.5, 0.5, loop="mxnet"), "a list"),
        (lambda: d2l.MultiFactorScheduler([15], 1.5, 0.5, loop="mxnet"), "at most 1"),
        (lambda: d2l.MultiFactorScheduler([15], 0.5, -0.5, loop="mxnet"), "at least 0"),
    ],
)
def test_errors_say_what_would_be_valid(call: Callable[[], object], message: str) -> None:
    with pytest.raises(DialectError, match=message):
        call()


@pytest.mark.parametrize("step", ["15", 15, [15, "30"], [True]])
def test_steps_are_numbers_in_a_list(step: Any) -> None:
    with pytest.raises(TypeError, match="step"):
        d2l.MultiFactorScheduler(step, 0.5, 0.5)


def test_steps_that_never_come_do_nothing() -> None:
    assert d2l.MultiFactorScheduler([-1, 2.5, math.inf, math.nan, 3], 0.5, 1.0).values(5).tolist() == [
        1,
        1,
        1,
        0.5,
        0.5,
    ]  # type: ignore[list-item]


def test_text_is_read() -> None:
    text = "FactorScheduler(factor=0.9, stop_factor_lr=1e-2, base_lr=2.0)"
    assert read("d2l", text)(0) == laju.factor(2.0, 0.9)(1)
    assert read("d2l", "CosineScheduler(20, warmup_steps=5, base_lr=0.3, final_lr=0.01)", loop="pytorch")(0) == 0.3
    multi = read("d2l", "MultiFactorScheduler(step=[15, 30], factor=0.5, base_lr=0.5)", loop="tensorflow")
    assert multi.values(30)[[0, 14, 15, 29]].tolist() == [0.25, 0.25, 0.125, 0.125]
