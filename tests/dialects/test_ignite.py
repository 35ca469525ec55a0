"""laju's ignite schedulers beside ignite's own, called once before every update as an engine does."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
pytest.importorskip("ignite")

from ignite import handlers  # noqa: E402
from ignite.engine import Engine, Events  # noqa: E402

import laju  # noqa: E402
from laju.core.schedule import Schedule  # noqa: E402
from laju.dialects import DialectError, NotASchedule, ignite, read, system  # noqa: E402
from laju.dialects import torch as dialect  # noqa: E402
from tests.dialects import test_torch as torch_tests  # noqa: E402
from tests.dialects.drawn import FLOATS, LENGTHS, WHOLE, calls, changed, same_or_refused  # noqa: E402

RELEASE = "0.5.5"
N = 120
few = settings(max_examples=40, deadline=None, derandomize=True)


def called(scheduler: Any, n: int, of: Any) -> np.ndarray:
    values = []
    for _ in range(n):
        scheduler(None)
        values.append(float(of.param_groups[0]["lr"]))
    return np.array(values)


def real(name: str, n: int = N, **kwargs: Any) -> np.ndarray:
    of = torch_tests.optimizer(0.5)
    return called(getattr(handlers, name)(of, "lr", **kwargs), n, of)


def refuses(f: Callable[[], object]) -> bool:
    try:
        f()
    except (ValueError, TypeError, ZeroDivisionError, NotImplementedError):
        return True
    return False


def test_an_engine_sets_the_value_of_event_t_before_update_t() -> None:
    of = torch_tests.optimizer(0.5)
    used: list[float] = []
    engine = Engine(lambda engine, batch: used.append(of.param_groups[0]["lr"]))
    scheduler = handlers.CosineAnnealingScheduler(of, "lr", 1.0, 0.1, 7)
    engine.add_event_handler(Events.ITERATION_STARTED, scheduler)
    engine.run([0] * 5, max_epochs=4)
    assert used == pytest.approx(ignite.CosineAnnealingScheduler("lr", 1.0, 0.1, 7).values(20), rel=1e-13)


# --- cycles --------------------------------------------------------------------------------------------------------

values = st.sampled_from([0.0, 1e-4, 0.03, 0.1, 1.0])
cycles = st.fixed_dictionaries(
    {
        "start_value": values,
        "end_value": values,
        "cycle_size": st.integers(2, 40),
        "cycle_mult": st.sampled_from([1.0, 1, 2.0, 3, 1.1, 1.5, 0.5, 0.9]),
        "start_value_mult": st.sampled_from([1.0, 0.5, 0.9, 1.1]),
        "end_value_mult": st.sampled_from([1.0, 0.5, 0.9]),
        "warmup_duration": st.just(0) | st.integers(1, 12),
    }
)


def until_it_fails(name: str, **kwargs: Any) -> np.ndarray:
    of = torch_tests.optimizer(0.5)
    scheduler = getattr(handlers, name)(of, "lr", **kwargs)
    got: list[float] = []
    try:
        for _ in range(N):
            got.extend(called(scheduler, 1, of))
    except ZeroDivisionError:  # cycles have shrunk to nothing
        assert kwargs["cycle_mult"] < 1
    return np.array(got)


@pytest.mark.parametrize("name", ["LinearCyclicalScheduler", "CosineAnnealingScheduler"])
def test_cycles_of_every_kind(name: str, parity: Any) -> None:
    @settings(few, max_examples=80)
    @given(kwargs=cycles, monotonic=st.booleans())
    def run(kwargs: dict[str, Any], monotonic: bool) -> None:
        if name == "LinearCyclicalScheduler":
            assume(monotonic or not kwargs["warmup_duration"])
            kwargs = kwargs | {"monotonic": monotonic}
        expected = until_it_fails(name, **kwargs)
        n = len(expected)
        closed = getattr(ignite, name)("lr", **kwargs)
        peak = max(kwargs["start_value"], kwargs["end_value"], np.max(np.abs(expected)))
        done = n / 2 if kwargs["cycle_mult"] < 1 else n / kwargs["cycle_size"]
        parity("ignite", name, RELEASE, expected, closed.values(n), most=4 + 2 * done, of=[peak])
        torch_tests.survives(closed)

    run()


@pytest.mark.parametrize("name", ["LinearCyclicalScheduler", "CosineAnnealingScheduler"])
def test_whatever_the_arguments_values_are_ignites(name: str) -> None:
    @settings(few, max_examples=100)
    @given(kwargs=calls(getattr(ignite, name), ("save_history", "param_group_index")))
    def run(kwargs: dict[str, Any]) -> None:
        same_or_refused(
            lambda: getattr(ignite, name)("lr", **kwargs).values(60),
            lambda: until_it_fails(name, **kwargs)[:60],
            of=max(abs(kwargs["start_value"]), abs(kwargs["end_value"])),
        )

    run()


# --- points --------------------------------------------------------------------------------------------------------

points = st.lists(st.tuples(st.integers(-10, 80), values), min_size=1, max_size=6).map(
    lambda p: sorted(p, key=lambda q: q[0])
)


def test_lines_through_points(parity: Any) -> None:
    @settings(few, max_examples=100)
    @given(given_points=points)
    def run(given_points: list[tuple[int, float]]) -> None:
        expected = real("PiecewiseLinear", milestones_values=given_points)
        closed = ignite.PiecewiseLinear("lr", given_points)
        peak = max(v for _, v in given_points)
        parity("ignite", "PiecewiseLinear", RELEASE, expected, closed.values(N), most=4, of=[peak])
        torch_tests.survives(closed)

    run()


# --- torch's schedulers --------------------------------------------------------------------------------------------

inner = torch_tests.parts


def wrapped(call: torch_tests.Call, lr: float, n: int, legacy: bool = False) -> np.ndarray:
    of = torch_tests.optimizer(lr)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler = handlers.LRScheduler(torch_tests.real(of, call), use_legacy=legacy)
        if not legacy:
            return called(scheduler, n, of)
        return np.array([of.param_groups[0]["lr"], *called(scheduler, n - 1, of)], float)


def bound(call: torch_tests.Call, n: int, lr: float, expected: np.ndarray) -> tuple[float, list[float]]:
    most, of = torch_tests.allowed(*call, n, lr, expected)
    return most + 8, [np.max(np.abs(expected)) if of is None else max(of, np.max(np.abs(expected)))]


@pytest.mark.parametrize("legacy", [False, True])
def test_torchs_schedulers_with_what_the_wrapper_makes_of_them(legacy: bool, parity: Any) -> None:
    @settings(few, max_examples=200)
    @given(call=inner, lr=torch_tests.rates)
    def run(call: torch_tests.Call, lr: float) -> None:
        n = min(60, call[1].get("total_steps", 60))
        try:
            expected = wrapped(call, lr, n, legacy)
        except ZeroDivisionError:
            with pytest.raises(DialectError):
                ignite.LRScheduler(torch_tests.ours(call, lr), use_legacy=legacy)
            return
        closed = ignite.LRScheduler(torch_tests.ours(call, lr), use_legacy=legacy)
        most, of = bound(call, n, lr, expected)
        parity("ignite", "LRScheduler", RELEASE, expected, closed.values(n), most=most, of=of)
        torch_tests.survives(closed)

    run()


def test_the_wrapper_multiplies_once_too_often() -> None:
    """The surprises that the module's docstring tells of."""
    assert wrapped(("ExponentialLR", {"gamma": 0.5}), 1.0, 3).tolist() == [0.5, 0.25, 0.125]
    assert wrapped(("LinearLR", {"start_factor": 0.5, "total_iters": 2}), 1.0, 4)[-1] == pytest.approx(0.5)
    assert wrapped(("CosineAnnealingLR", {"T_max": 10}), 1.0, 1)[0] > 1.02


def test_a_warmup_ends_where_ignite_finds_that_its_own_first_value_is_the_end_value() -> None:
    """ignite compares floats, and its first value is the start only up to rounding."""
    for lr, end in itertools.product([0.01, 0.1, 0.3, 0.7, 1e-3], [0.0, 1e-4, 0.001, 0.05, 0.2]):
        of = torch_tests.optimizer(lr)
        inner = handlers.LinearCyclicalScheduler(of, "lr", lr, end, 20)
        expected = called(handlers.create_lr_scheduler_with_warmup(inner, 0.0, 5), 60, of)
        closed = ignite.create_lr_scheduler_with_warmup(
            ignite.LinearCyclicalScheduler("lr", lr, end, 20), 0.0, 5, lr=lr
        )
        np.testing.assert_allclose(closed.values(60), expected, rtol=1e-12, atol=1e-15, err_msg=f"{lr} to {end}")


def test_a_warmup_before_one_of_torchs(parity: Any) -> None:
    @settings(few, max_examples=150)
    @given(
        call=inner,
        lr=torch_tests.rates,
        start=values,
        duration=st.integers(2, 20),
        end=st.none() | values | torch_tests.rates,
    )
    def run(call: torch_tests.Call, lr: float, start: float, duration: int, end: float | None) -> None:
        assume(call[0] != "MultiplicativeLR" or not callable(call[1]["lr_lambda"]))
        n = min(60, call[1].get("total_steps", 60))
        of = torch_tests.optimizer(lr)
        scheduler = torch_tests.real(of, call)
        expected = called(handlers.create_lr_scheduler_with_warmup(scheduler, start, duration, end), n, of)
        given_schedule = torch_tests.ours(call, lr)
        closed = ignite.create_lr_scheduler_with_warmup(given_schedule, start, duration, end)
        most, peak = bound(call, n, lr, expected)
        parity("ignite", "create_lr_scheduler_with_warmup", RELEASE, expected, closed.values(n), most=most, of=peak)
        torch_tests.survives(closed)

    run()


def test_a_warmup_before_one_of_ignites(parity: Any) -> None:
    @few
    @given(
        first=values,
        start=values,
        duration=st.integers(2, 20),
        end=st.none() | values,
        size=st.integers(2, 30),
    )
    def run(first: float, start: float, duration: int, end: float | None, size: int) -> None:
        of = torch_tests.optimizer(0.1)
        main = handlers.CosineAnnealingScheduler(of, "lr", first, 0.01, size)
        expected = called(handlers.create_lr_scheduler_with_warmup(main, start, duration, end), N, of)
        ours = ignite.CosineAnnealingScheduler("lr", first, 0.01, size)
        closed = ignite.create_lr_scheduler_with_warmup(ours, start, duration, end, lr=0.1)
        peak = np.max(np.abs(expected))
        parity("ignite", "create_lr_scheduler_with_warmup", RELEASE, expected, closed.values(N), most=5, of=[peak])
        torch_tests.survives(closed)

    run()


def test_one_after_another(parity: Any) -> None:
    kinds = st.tuples(st.just("PiecewiseLinear"), points) | st.tuples(
        st.just("CosineAnnealingScheduler"), st.integers(2, 20)
    )
    torchs = st.tuples(st.just("torch"), torch_tests.parts.filter(lambda c: c[0] not in ("OneCycleLR", "CyclicLR")))

    def make(kind: tuple[str, Any], of: Any, lr: float) -> tuple[Any, Schedule]:
        name, given_argument = kind
        if name == "torch":
            return (
                handlers.LRScheduler(torch_tests.real(of, given_argument)),
                ignite.LRScheduler(torch_tests.ours(given_argument, lr)),
            )
        if name == "PiecewiseLinear":
            return handlers.PiecewiseLinear(of, "lr", given_argument), ignite.PiecewiseLinear("lr", given_argument)
        return (
            handlers.CosineAnnealingScheduler(of, "lr", 0.4, 0.01, given_argument),
            ignite.CosineAnnealingScheduler("lr", 0.4, 0.01, given_argument),
        )

    @settings(few, max_examples=150)
    @given(kinds=st.lists(kinds | torchs, min_size=2, max_size=4), lr=torch_tests.rates, data=st.data())
    def run(kinds: list[tuple[str, Any]], lr: float, data: st.DataObject) -> None:
        assume(sum(name == "torch" for name, _ in kinds) <= 1)
        durations = data.draw(st.lists(st.integers(-1, 20), min_size=len(kinds) - 1, max_size=len(kinds) - 1))
        of = torch_tests.optimizer(lr)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                made = [make(kind, of, lr) for kind in kinds]
            except DialectError:  # torch divides by 0 when it is asked for epoch 0 once more
                return
            expected = called(handlers.ConcatScheduler([a for a, _ in made], durations), 80, of)
        ours = ignite.ConcatScheduler([b for _, b in made], durations)
        parity("ignite", "ConcatScheduler", RELEASE, expected, ours.values(80), most=4000, of=[1.0])
        torch_tests.survives(ours)

    run()


odd_points = st.lists(st.tuples(LENGTHS, FLOATS), max_size=4) | points
whole = WHOLE.filter(lambda n: n < 100)
sound = cycles.map(lambda kwargs: {**kwargs, "warmup_duration": 0})
odd_parts = st.one_of(
    st.tuples(
        st.just("PiecewiseLinear"), st.fixed_dictionaries({"milestones_values": odd_points | odd_points.map(sorted)})
    ),
    *(
        st.tuples(st.just(name), changed(sound, getattr(ignite, name)))
        for name in ("LinearCyclicalScheduler", "CosineAnnealingScheduler")
    ),
    st.tuples(st.just("LRScheduler"), torch_tests.parts),
)


def of_either(module: Any, of: Any, lr: float, part: tuple[str, Any]) -> Any:
    name, given = part
    if name == "LRScheduler":
        return module.LRScheduler(torch_tests.ours(given, lr) if of is None else torch_tests.real(of, given))
    return getattr(module, name)(*([] if of is None else [of]), "lr", **given)


def until(ended: type[Exception], scheduler: Any, of: Any, n: int = 60) -> list[float]:
    values: list[float] = []
    try:
        for _ in range(n):
            values.extend(called(scheduler, 1, of))
    except ended:
        pass
    return values


@settings(few, max_examples=300)
@given(
    parts=st.lists(odd_parts, max_size=3),
    durations=st.lists(whole, min_size=2, max_size=2) | st.lists(LENGTHS, max_size=3),
    lr=torch_tests.rates,
)
def test_whatever_the_arguments_one_after_another_is_as_ignite_has_it(parts: Any, durations: Any, lr: float) -> None:
    durations = durations[: max(0, len(parts) - 1)]

    def theirs() -> list[float]:
        of = torch_tests.optimizer(lr)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = [of_either(handlers, of, lr, part) for part in parts]
            return until(ZeroDivisionError, handlers.ConcatScheduler(made, durations), of)

    same_or_refused(
        lambda: ignite.ConcatScheduler([of_either(ignite, None, lr, part) for part in parts], durations).values(60),
        theirs,
        of=40.0,
    )


@settings(few, max_examples=300)
@given(
    part=odd_parts,
    kwargs=calls(
        ignite.create_lr_scheduler_with_warmup, ("lr_scheduler", "lr", "save_history", "output_simulated_values")
    ),
    lr=torch_tests.rates,
)
def test_whatever_the_arguments_a_warmup_is_as_ignite_has_it(part: Any, kwargs: dict[str, Any], lr: float) -> None:
    def theirs() -> list[float]:
        of = torch_tests.optimizer(lr)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            main = torch_tests.real(of, part[1]) if part[0] == "LRScheduler" else of_either(handlers, of, lr, part)
            return until(ZeroDivisionError, handlers.create_lr_scheduler_with_warmup(main, **kwargs), of)

    def ours() -> Any:
        main = torch_tests.ours(part[1], lr) if part[0] == "LRScheduler" else of_either(ignite, None, lr, part)
        return ignite.create_lr_scheduler_with_warmup(main, **kwargs, lr=lr).values(60)

    same_or_refused(ours, theirs, of=40.0)


@settings(few, max_examples=200)
@given(points=odd_points | odd_points.map(sorted))
def test_whatever_the_points_lines_are_as_ignite_has_them(points: Any) -> None:
    same_or_refused(
        lambda: ignite.PiecewiseLinear("lr", points).values(60),
        lambda: real("PiecewiseLinear", 60, milestones_values=points),
        of=40.0,
    )


# --- what is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [-1, 0, 1, 2])
@pytest.mark.parametrize(("warmup", "monotonic"), list(itertools.product([0, 3], [False, True])))
def test_both_refuse_the_same_cycles(size: int, warmup: int, monotonic: bool) -> None:
    kwargs: dict[str, Any] = {"start_value": 0.1, "end_value": 1.0, "cycle_size": size}
    kwargs |= {"warmup_duration": warmup, "monotonic": monotonic}
    theirs = refuses(lambda: real("LinearCyclicalScheduler", **kwargs))
    assert theirs == refuses(lambda: ignite.LinearCyclicalScheduler("lr", **kwargs))


@pytest.mark.parametrize(
    "given_points",
    [[], [[0, 1.0]], [(0, 1.0, 2.0)], [(0.5, 1.0)], [(2, 1.0), (1, 0.5)], [(1, 1.0), (1, 0.5)], "abc", [(0, 1.0)]],
)
def test_both_refuse_the_same_points(given_points: Any) -> None:
    theirs = refuses(lambda: real("PiecewiseLinear", milestones_values=given_points))
    assert theirs == refuses(lambda: ignite.PiecewiseLinear("lr", given_points))


@pytest.mark.parametrize("duration", [-1, 0, 1, 2, 2.0, "3"])
def test_both_refuse_the_same_warmups(duration: Any) -> None:
    of = torch_tests.optimizer(0.1)
    main = handlers.CosineAnnealingScheduler(of, "lr", 1.0, 0.01, 5)
    ours = ignite.CosineAnnealingScheduler("lr", 1.0, 0.01, 5)
    assert refuses(lambda: handlers.create_lr_scheduler_with_warmup(main, 0.0, duration)) == refuses(
        lambda: ignite.create_lr_scheduler_with_warmup(ours, 0.0, duration, lr=0.1)
    )


@pytest.mark.parametrize("durations", [[], [3], [3, 3], [2.5], ["a"], "a", [True], 3])
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_both_refuse_the_same_lists(durations: Any, count: int) -> None:
    of = torch_tests.optimizer(0.1)
    theirs = [handlers.CosineAnnealingScheduler(of, "lr", 1.0, 0.01, 5) for _ in range(count)]
    ours = [ignite.CosineAnnealingScheduler("lr", 1.0, 0.01, 5)] * count
    assert refuses(lambda: handlers.ConcatScheduler(theirs, durations)) == refuses(
        lambda: ignite.ConcatScheduler(ours, durations)
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: ignite.LRScheduler(laju.cosine(1, 10)),
            "not a schedule returned by a function of laju.dialects.torch",
        ),
        (
            lambda: ignite.LRScheduler(dialect.SequentialLR(0.1, [dialect.StepLR(0.1, 3)], [])),
            "raises at the first event",
        ),
        (lambda: ignite.ConcatScheduler([dialect.StepLR(0.1, 3)] * 2, [3]), r"inside LRScheduler\(…\)"),
        (
            lambda: ignite.LinearCyclicalScheduler("lr", 1, 0.1, 9, start_value_mult=-1.0).schedule,
            "give the number of updates",
        ),
        (
            lambda: ignite.create_lr_scheduler_with_warmup(ignite.PiecewiseLinear("lr", [(0, 1.0)]), 0.0, 5),
            "give warmup_end_value or lr",
        ),
    ],
)
def test_errors_say_what_would_be_valid(call: Callable[[], object], message: str) -> None:
    with pytest.raises(DialectError, match=message):
        call()


def test_what_follows_a_metric_is_no_schedule() -> None:
    with pytest.raises(NotASchedule, match=r"laju\.adaptive\.Plateau"):
        read("ignite", "ReduceLROnPlateauScheduler(optimizer, 'loss')")


def test_text_is_read_with_torchs_schedulers_in_it() -> None:
    text = "LRScheduler(torch.optim.lr_scheduler.StepLR(optimizer, 30))"
    assert read("ignite", text, lr=0.1) == dialect.StepLR(0.1, 30).normal
    text = "handlers.LinearCyclicalScheduler(optimizer, 'lr', 0.1, 1.0, 10)"
    assert read("ignite", text) == ignite.LinearCyclicalScheduler("lr", 0.1, 1.0, 10).normal


def test_every_scheduler_of_ignites_module_is_known() -> None:
    import ignite.handlers.param_scheduler as module

    names = {
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, module.BaseParamScheduler | module.ParamGroupScheduler)
    } - {"BaseParamScheduler", "ParamScheduler", "CyclicalScheduler"}
    known = system("ignite")
    assert names | {"create_lr_scheduler_with_warmup"} == set(known.schedulers) | set(known.refused)
