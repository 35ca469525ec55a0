"""laju's MMEngine schedules beside MMEngine's own, stepped as its hook steps them, and as its `Runner` really uses them."""

from __future__ import annotations

import importlib
import inspect
import logging
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laju
from laju.dialects import DialectError, NotASchedule, read, system
from laju.dialects import mmengine as dialect
from tests.dialects.drawn import calls, same_or_refused

from .conftest import importable

torch = pytest.importorskip("torch")
SYSTEM = dialect.SYSTEM
RELEASE = SYSTEM.releases[0]
N = 80
few = settings(max_examples=60, deadline=None, derandomize=True)


@pytest.fixture(scope="module")
def mmengine(dialects_path: Path) -> Iterator[Any]:
    if not (dialects_path / "mmengine").is_dir():
        pytest.skip(f"needs mmengine {RELEASE} in {dialects_path}: make setup-dialects")
    absent = "cv2" not in sys.modules
    if absent:  # its Runner sets the number of OpenCV's threads
        sys.modules["cv2"] = types.SimpleNamespace(setNumThreads=lambda n: None, __version__="0")  # type: ignore[assignment]
    try:
        with importable(dialects_path), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield types.SimpleNamespace(
                scheduler=importlib.import_module("mmengine.optim.scheduler"),
                runner=importlib.import_module("mmengine.runner"),
                model=importlib.import_module("mmengine.model"),
                hooks=importlib.import_module("mmengine.hooks"),
            )
    finally:
        if absent:
            del sys.modules["cv2"]


def stepped(
    mmengine: Any,
    configs: list[dict[str, Any]],
    lr: float,
    epoch_length: int,
    n: int = N,
    until_it_raises: bool = False,
) -> np.ndarray:
    """The rates when schedulers by iteration step after each, and the others at the end of every epoch."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    made = []
    for config in configs:
        config = dict(config)
        made.append(getattr(mmengine.scheduler, config.pop("type"))(optimizer, **config))
    rates = [float(optimizer.param_groups[0]["lr"])]
    while len(rates) < n:
        for by_epoch in (False, True):
            if not by_epoch or len(rates) % epoch_length == 0:
                for scheduler in made:
                    if scheduler.by_epoch is by_epoch:
                        try:
                            scheduler.step()
                        except ValueError:  # past OneCycleLR's end
                            if until_it_raises:
                                return np.array(rates)
                            raise
        rates.append(float(optimizer.param_groups[0]["lr"]))
    return np.array(rates)


shares = st.sampled_from([0.0, 0.1, 1 / 3, 1.0, 1.5])
ARGUMENTS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "ConstantLR": st.fixed_dictionaries({}, optional={"factor": shares}),
    "CosineAnnealingLR": st.one_of(
        st.fixed_dictionaries({"T_max": st.sampled_from([None, 1, 7, 20])}, optional={"eta_min": st.just(0.01)}),
        st.fixed_dictionaries({"T_max": st.just(9), "eta_min_ratio": st.just(0.1)}),
    ),
    "ExponentialLR": st.fixed_dictionaries({"gamma": st.sampled_from([0.9, 0.5, 0.0, -0.5])}),
    "LinearLR": st.fixed_dictionaries({}, optional={"start_factor": shares, "end_factor": shares}),
    "MultiStepLR": st.fixed_dictionaries(
        {"milestones": st.lists(st.integers(0, 40), max_size=4).map(sorted)}, optional={"gamma": st.just(0.3)}
    ),
    "OneCycleLR": st.fixed_dictionaries(
        {"eta_max": st.just(1.0), "total_steps": st.sampled_from([90, 120])},
        optional={
            "pct_start": st.sampled_from([0.3, 0.5]),
            "anneal_strategy": st.sampled_from(["cos", "linear", "step"]),
            "three_phase": st.booleans(),
        },
    ),
    "PolyLR": st.fixed_dictionaries(
        {}, optional={"eta_min": st.sampled_from([0, 0.01]), "power": st.sampled_from([1.0, 0.9, 2.0, 0.0])}
    ),
    "StepLR": st.fixed_dictionaries({"step_size": st.integers(1, 9)}, optional={"gamma": st.sampled_from([0.5, 0.1])}),
    "CosineRestartLR": st.fixed_dictionaries(
        {"periods": st.sampled_from([[5, 0, 9], [7, 14, 100], [100]])},
        optional={"eta_min": st.just(0.001), "restart_weights": st.sampled_from([[1.0, 0.5, 0.7], [1.0]])},
    ),
}
windows = st.integers(-2, 10).flatmap(
    lambda begin: st.fixed_dictionaries(
        {"begin": st.just(begin), "end": st.sampled_from([begin, begin + 1, begin + 2, begin + 9, begin + 40, 10**9])}
    )
)
one = st.sampled_from(sorted(ARGUMENTS)).flatmap(
    lambda name: st.tuples(ARGUMENTS[name], windows, st.booleans()).map(
        lambda drawn: {"type": name, **drawn[0], **drawn[1], "by_epoch": drawn[2]}
    )
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ARGUMENTS)
@given(data=st.data())
@few
def test_values_are_its_own(name: str, data: st.DataObject, mmengine: Any, parity: Any) -> None:
    arguments = {**data.draw(ARGUMENTS[name]), **data.draw(st.just({}) | windows)}
    lr, by_epoch = data.draw(st.sampled_from([0.1, 0.003])), data.draw(st.booleans())
    ours = getattr(dialect, name)
    try:
        theirs = stepped(mmengine, [{"type": name, **arguments, "by_epoch": by_epoch}], lr, 1)
    except (ValueError, AssertionError, ZeroDivisionError, TypeError):
        with pytest.raises(DialectError):
            ours(lr, **arguments, by_epoch=by_epoch)
        return
    schedule = ours(lr, **arguments, by_epoch=by_epoch)
    assert laju.parse(str(schedule)) == schedule.normal
    # Every value is computed from the one before.
    parity("mmengine", name, RELEASE, theirs, schedule.values(N), of=[lr, *theirs], most=4 * N)


@pytest.mark.filterwarnings("ignore")
@given(configs=st.lists(one, min_size=1, max_size=3), epoch_length=st.sampled_from([1, 3, 7]))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_lists_share_one_rate(configs: list[dict[str, Any]], epoch_length: int, mmengine: Any, parity: Any) -> None:
    try:
        theirs = stepped(mmengine, configs, 0.1, epoch_length)
    except (ValueError, AssertionError, ZeroDivisionError, TypeError):
        with pytest.raises(DialectError):
            dialect.param_scheduler(0.1, configs, epoch_length=epoch_length)
        return
    schedule = dialect.param_scheduler(0.1, configs, epoch_length=epoch_length)
    if schedule.closed is None:
        assert schedule.values(N).tolist() == theirs.tolist()
        return
    assert laju.parse(str(schedule)) == schedule.normal
    parity("mmengine", "param_scheduler", RELEASE, theirs, schedule.values(N), of=[0.1, *theirs], most=4 * N)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["LinearLR", "CosineAnnealingLR", "MultiStepLR", "StepLR", "PolyLR"])
def test_epochs_become_iterations(name: str, mmengine: Any) -> None:
    arguments: dict[str, Any] = {"MultiStepLR": {"milestones": [2, 5]}, "StepLR": {"step_size": 2}}.get(name, {})
    arguments |= {"begin": 1, "end": 8, "by_epoch": True}
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    cls = getattr(mmengine.scheduler, name)
    scheduler = cls.build_iter_from_epoch(optimizer, **arguments, epoch_length=5)
    theirs = []
    for _ in range(N):
        theirs.append(float(optimizer.param_groups[0]["lr"]))
        scheduler.step()
    config = {"type": name, **arguments, "convert_to_iter_based": True}
    ours = dialect.param_scheduler(0.1, [config], epoch_length=5)
    assert ours.values(N) == pytest.approx(theirs, rel=1e-12, abs=1e-15)


def run(mmengine: Any, configs: Any, loop: dict[str, Any], folder: Path) -> np.ndarray:
    """The rates of a real training, of five iterations an epoch."""
    rates: list[float] = []

    class Model(mmengine.model.BaseModel):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(2, 1)

        def forward(self, inputs: Any, targets: Any, mode: str = "loss") -> Any:
            return {"loss": (self.linear(inputs) - targets).square().mean()}

    class Rates(mmengine.hooks.Hook):  # type: ignore[misc]
        def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
            rates.append(float(runner.optim_wrapper.param_groups[0]["lr"]))

    data = torch.utils.data.TensorDataset(torch.zeros(20, 2), torch.zeros(20, 1))
    runner = mmengine.runner.Runner(
        model=Model(),
        work_dir=str(folder),
        train_dataloader=torch.utils.data.DataLoader(data, batch_size=4),
        train_cfg=loop,
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}},
        param_scheduler=configs,
        custom_hooks=[Rates()],
        default_hooks={"checkpoint": None, "logger": None},
        log_level="ERROR",
        experiment_name=folder.name,
    )
    runner.train()
    logging.shutdown()
    return np.array(rates)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("configs", "loop"),
    [
        (
            [
                {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "begin": 0, "end": 7},
                {"type": "CosineAnnealingLR", "by_epoch": True, "begin": 1, "end": 4, "convert_to_iter_based": True},
            ],
            {"by_epoch": True, "max_epochs": 4},
        ),
        ([{"type": "MultiStepLR", "milestones": [1, 3], "by_epoch": True}], {"by_epoch": True, "max_epochs": 4}),
        ([{"type": "PolyLR", "power": 0.9, "by_epoch": False}], {"by_epoch": False, "max_iters": 18}),
        ([{"type": "LinearLR", "start_factor": 0.1}], {"by_epoch": False, "max_iters": 18}),
    ],
)
def test_a_runner_trains_with_these_rates(configs: Any, loop: Any, mmengine: Any, tmp_path: Path) -> None:
    theirs = run(mmengine, [dict(config) for config in configs], loop, tmp_path)
    known = {key: value for key, value in loop.items() if key != "by_epoch"}
    if "max_epochs" in known:
        known["epoch_length"] = 5
    ours = dialect.param_scheduler(0.1, configs, **known)
    assert ours.values(len(theirs)) == pytest.approx(theirs, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_names_and_defaults_are_its_own(name: str, mmengine: Any) -> None:
    cls = getattr(mmengine.scheduler, name)
    theirs: dict[str, Any] = {}
    for kind in reversed(cls.__mro__[:-1]):
        if "__init__" in vars(kind):
            theirs |= {k: p.default for k, p in inspect.signature(kind.__init__).parameters.items()}
    ours = inspect.signature(getattr(dialect, name)).parameters
    for key, parameter in ours.items():
        if key in ("lr", "epoch_length", "convert_to_iter_based"):
            continue
        assert key in theirs, key
        assert parameter.default == theirs[key], key


def test_every_scheduler_of_mmengine_is_known(mmengine: Any) -> None:
    names = {n for n in vars(mmengine.scheduler) if n.endswith("LR") and not n.startswith("_")}
    assert names <= {*SYSTEM.schedulers, *SYSTEM.refused}


def test_a_call_as_text_is_read() -> None:
    found = read("mmengine", "MultiStepLR(optimizer, milestones=[2, 4], gamma=0.5)", lr=1.0)
    assert found.values(5).tolist() == [1, 1, 0.5, 0.5, 0.25]
    warmup = "dict(type='LinearLR', start_factor=0.5, by_epoch=False, begin=0, end=3)"
    text = f"param_scheduler([{warmup}, dict(type='StepLR', step_size=4)])"
    found = read("mmengine", text, lr=1.0, epoch_length=5)
    assert found.values(3).tolist() == pytest.approx([0.5, 0.75, 1.0])
    with pytest.raises(NotASchedule, match="Plateau"):
        system("mmengine").scheduler("ReduceOnPlateauLR")
    with pytest.raises(DialectError, match="did you mean 'CosineAnnealingLR'"):
        read("mmengine", "CosineAnealingLR(T_max=3)", lr=1.0)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ARGUMENTS)
@given(data=st.data())
@few
def test_whatever_the_arguments_values_are_its_own(name: str, data: st.DataObject, mmengine: Any) -> None:
    drawn = data.draw(calls(getattr(dialect, name), ("lr",)))
    if name == "CosineRestartLR":  # which wants as many weights as periods, and one bottom
        weights = st.lists(st.sampled_from([1.0, 0.5, 0.0, -1.0]), min_size=(n := len(drawn["periods"])), max_size=n)
        bottom = data.draw(st.sampled_from([{"eta_min": 0.01}, {"eta_min": 1.5}, {"eta_min_ratio": 0.1}]))
        drawn = {"periods": drawn["periods"], "restart_weights": data.draw(weights), **bottom}
    arguments = {**drawn, **data.draw(st.just({}) | windows)}
    config = {"type": name, **arguments, "by_epoch": False}
    same_or_refused(
        lambda: getattr(dialect, name)(0.1, **arguments, by_epoch=False).values(N),
        lambda: stepped(mmengine, [config], 0.1, 1, until_it_raises=True),
    )
