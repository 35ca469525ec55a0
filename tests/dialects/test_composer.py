"""laju's Composer schedules beside Composer's own, at every batch's time, and as its `Trainer` really uses them.

Composer asks for packages that compute nothing of a schedule (torchvision, its cloud's clients): they are stood in for by empty
modules while it is imported.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import inspect
import logging
import signal
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
from laju.dialects import DialectError, read
from laju.dialects import composer as dialect

from . import drawn
from .conftest import importable

torch = pytest.importorskip("torch")
SYSTEM = dialect.SYSTEM
RELEASE = SYSTEM.releases[0]
few = settings(max_examples=60, deadline=None, derandomize=True)
ABSENT = ("torchvision", "torch_optimizer", "mosaicml_cli", "mcli", "apex", "transformer_engine", "deepspeed")


class StandIn(types.ModuleType):
    __path__: list[str] = []  # noqa: RUF012  # as packages have it

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name.partition(".")[0] in ABSENT:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> types.ModuleType:
        return StandIn(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


@pytest.fixture(scope="module")
def composer(dialects_path: Path) -> Iterator[Any]:
    if not (dialects_path / "composer").is_dir():
        pytest.skip(f"needs mosaicml {RELEASE} in {dialects_path}: make setup-dialects")
    before = set(sys.modules)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}  # its Engine takes both
    finder = StandIns()
    sys.meta_path.insert(0, finder)
    try:
        with importable(dialects_path), warnings.catch_warnings():  # its Trainer imports more when it is made
            warnings.simplefilter("ignore")
            import composer
            from composer import optim
            from composer.core import Time, Timestamp
            from composer.models import ComposerModel

            logging.getLogger("composer").setLevel(logging.ERROR)
            yield types.SimpleNamespace(
                optim=optim,
                Time=Time,
                Timestamp=Timestamp,
                Trainer=composer.Trainer,
                Callback=composer.Callback,
                Model=ComposerModel,
            )
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        sys.meta_path.remove(finder)
        for name in set(sys.modules) - before:
            if name.partition(".")[0] in ABSENT:
                del sys.modules[name]


TRAINERS = ("lr", "max_duration", "scale_schedule_ratio", "step_schedulers_every_batch")
KNOWN = {"batches_per_epoch": 7, "batch_size": 4, "tokens_per_batch": 30}


def asked(composer: Any, name: str, kwargs: dict[str, Any], duration: str, ratio: float) -> np.ndarray:
    """The factor of every batch of a run, asked for as the trainer does: at first before the run is scaled, and then at the time
    before its clock advances.
    """
    state = types.SimpleNamespace(
        max_duration=composer.Time.from_timestring(duration), dataloader_len=KNOWN["batches_per_epoch"]
    )
    scheduler = getattr(composer.optim, name)(**kwargs)
    found = []
    batch = 0
    while True:
        state.timestamp = composer.Timestamp(
            epoch=batch // KNOWN["batches_per_epoch"],
            batch=batch,
            sample=batch * KNOWN["batch_size"],
            token=batch * KNOWN["tokens_per_batch"],
        )
        if not found:
            found.append(scheduler(state, ratio))
            if ratio != 1:
                state.max_duration = state.max_duration * ratio
                if state.max_duration.value == 0:
                    raise ValueError("the run is scaled to 0")
        if state.timestamp >= state.max_duration:
            return np.array(found[:-1], float)
        found.append(scheduler(state, ratio))
        batch += 1


def times(least: int = 0) -> st.SearchStrategy[str]:
    return st.one_of(
        st.integers(least, 5).map("{}ep".format),
        st.integers(least, 40).map("{}ba".format),
        st.integers(least, 120).map("{}sp".format),
        st.integers(least, 900).map("{}tok".format),
        st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0, 1.5]).map("{}dur".format),
    )


alphas = st.sampled_from([0.0, 0.1, 0.5, 1.0])
gammas = st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0])
warm = {"t_max": st.sampled_from(["1dur", "30ba", "5ep", "200sp"]), "scale_warmup": st.booleans()}
ARGUMENTS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "StepScheduler": st.fixed_dictionaries({"step_size": times(), "gamma": gammas}),
    "MultiStepScheduler": st.fixed_dictionaries({"milestones": st.lists(times(), max_size=4), "gamma": gammas}),
    "ConstantScheduler": st.fixed_dictionaries({}, optional={"alpha": alphas, "t_max": times()}),
    "LinearScheduler": st.fixed_dictionaries({}, optional={"alpha_i": alphas, "alpha_f": alphas, "t_max": times()}),
    "ExponentialScheduler": st.fixed_dictionaries(
        {"gamma": st.sampled_from([0.1, 0.5, 0.9])}, optional={"decay_period": times()}
    ),
    "CosineAnnealingScheduler": st.fixed_dictionaries({}, optional={"t_max": times(), "alpha_f": alphas}),
    "CosineAnnealingWarmRestartsScheduler": st.fixed_dictionaries(
        {"t_0": times()}, optional={"t_mult": st.sampled_from([1.0, 2.0, 1.5, 1.2, 3.0]), "alpha_f": alphas}
    ),
    "PolynomialScheduler": st.fixed_dictionaries(
        {"power": st.sampled_from([0.0, 0.5, 1.0, 2.0])}, optional={"t_max": times(), "alpha_f": alphas}
    ),
    "MultiStepWithWarmupScheduler": st.fixed_dictionaries(
        {"t_warmup": times(), "milestones": st.lists(times(), max_size=3)},
        optional={"gamma": gammas, "scale_warmup": st.booleans()},
    ),
    "LinearWithWarmupScheduler": st.fixed_dictionaries(
        {"t_warmup": times()}, optional={"alpha_i": alphas, "alpha_f": alphas, **warm}
    ),
    "CosineAnnealingWithWarmupScheduler": st.fixed_dictionaries(
        {"t_warmup": times()}, optional={"alpha_f": alphas, **warm}
    ),
    "PolynomialWithWarmupScheduler": st.fixed_dictionaries(
        {"t_warmup": times()},
        optional={
            "power": st.sampled_from([0.0, 0.5, 1.0, 2.0]),
            "alpha_f": alphas,
            **warm,
        },
    ),
    "ConstantWithWarmupScheduler": st.fixed_dictionaries({"t_warmup": times()}, optional={"alpha": alphas, **warm}),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ARGUMENTS)
@given(data=st.data())
@few
def test_factors_are_its_own(name: str, data: st.DataObject, composer: Any, parity: Any) -> None:
    kwargs = data.draw(ARGUMENTS[name])
    duration = data.draw(st.sampled_from(["5ep", "40ba", "160sp", "900tok"]))
    ratio = data.draw(st.sampled_from([1.0, 1.0, 0.5, 2.0]))
    known = {**KNOWN, "lr": 1.0, "max_duration": duration, "scale_schedule_ratio": ratio}
    ours = getattr(dialect, name)
    try:
        theirs = asked(composer, name, kwargs, duration, ratio)
    except (ValueError, ZeroDivisionError, AssertionError):
        with pytest.raises(DialectError):
            ours(**kwargs, **known)
        return
    schedule = ours(**kwargs, **known)
    assert laju.parse(str(schedule)) == schedule.normal
    parity("composer", name, RELEASE, theirs, schedule.values(len(theirs)), of=[1.0], most=8)


HUGE = [f"{10**9}{unit}" for unit in ("ep", "ba", "sp", "tok")]
odd_times = times() | st.sampled_from(
    ["-1ba", "2.5ep", "1e2tok", "7.0ba", "1e-3dur", "2.5dur", "-0.5dur", " 3ba", "3 BA", *HUGE]
)
TIMES: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("step_size", "t_max", "decay_period", "t_0", "t_warmup"), odd_times),
    "milestones": st.lists(odd_times, max_size=4),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ARGUMENTS)
def test_whatever_the_arguments_factors_are_its_own(name: str, composer: Any) -> None:
    ours = getattr(dialect, name)

    @settings(few, max_examples=100)
    @given(
        kwargs=drawn.calls(ours, tuple(KNOWN) + TRAINERS, TIMES),
        duration=st.sampled_from(["3ep", "20ba", "80sp", "500tok"]),
        ratio=st.sampled_from([1.0, 0.1, 0.3, 2.5]),
    )
    def check(kwargs: dict[str, Any], duration: str, ratio: float) -> None:
        known = {**KNOWN, "lr": 1.0, "max_duration": duration, "scale_schedule_ratio": ratio}
        drawn.same_or_refused(
            lambda: ours(**kwargs, **known).values(60),
            lambda: asked(composer, name, kwargs, duration, ratio)[:60],
            of=1.0,
        )

    check()


def trained(composer: Any, schedulers: Any, **arguments: Any) -> np.ndarray:
    """The rates of a real training of seven batches an epoch."""

    class Model(composer.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(2, 1)

        def forward(self, batch: Any) -> Any:
            return self.linear(batch[0])

        def loss(self, outputs: Any, batch: Any) -> Any:
            return ((outputs - batch[1]) ** 2).mean()

    rates: list[float] = []

    class Rates(composer.Callback):  # type: ignore[misc]
        def batch_start(self, state: Any, logger: Any) -> None:
            rates.append(state.optimizers[0].param_groups[0]["lr"])

    model = Model()
    data = torch.utils.data.TensorDataset(torch.zeros(28, 2), torch.zeros(28, 1))
    trainer = composer.Trainer(
        model=model,
        train_dataloader=torch.utils.data.DataLoader(data, batch_size=4),
        optimizers=torch.optim.SGD(model.parameters(), lr=0.5),
        schedulers=schedulers,
        callbacks=[Rates()],
        device="cpu",
        progress_bar=False,
        run_name="laju",
        **arguments,
    )
    trainer.fit()
    trainer.close()
    return np.array(rates)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "kwargs", "arguments"),
    [
        ("LinearWithWarmupScheduler", {"t_warmup": "4ba"}, {"max_duration": "3ep"}),
        (
            "LinearWithWarmupScheduler",
            {"t_warmup": "4ba", "scale_warmup": True},
            {"max_duration": "2ep", "scale_schedule_ratio": 2.0},
        ),
        ("CosineAnnealingScheduler", {"t_max": "80sp", "alpha_f": 0.1}, {"max_duration": "3ep"}),
        ("CosineAnnealingScheduler", {}, {"max_duration": "3ep", "step_schedulers_every_batch": False}),
        ("MultiStepWithWarmupScheduler", {"t_warmup": "0.2dur", "milestones": ["1ep", "2ep"]}, {"max_duration": "3ep"}),
        ("StepScheduler", {"step_size": "1ep", "gamma": 0.5}, {"max_duration": "20ba"}),
    ],
)  # fmt: skip
def test_its_trainer_uses_these_rates(name: str, kwargs: Any, arguments: Any, composer: Any) -> None:
    theirs = trained(composer, getattr(composer.optim, name)(**kwargs), **arguments)
    ours = getattr(dialect, name)(**kwargs, **arguments, lr=0.5, batches_per_epoch=7, batch_size=4)
    np.testing.assert_allclose(theirs, ours.values(len(theirs)), rtol=1e-14, atol=1e-16)


@pytest.mark.filterwarnings("ignore")
def test_of_several_schedulers_the_last_one_wins(composer: Any) -> None:
    optim = composer.optim
    both = trained(composer, [optim.LinearScheduler(), optim.ConstantScheduler(0.5)], max_duration="2ep")
    assert set(both) == {0.25}


@pytest.mark.parametrize("name", SYSTEM.schedulers)
def test_names_and_defaults_are_its_own(name: str, composer: Any) -> None:
    theirs = inspect.signature(getattr(composer.optim, name).__init__).parameters
    ours = inspect.signature(getattr(dialect, name)).parameters
    own = [(k, p.default) for k, p in ours.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert own == [(k, p.default) for k, p in theirs.items() if k != "self"]


def test_every_scheduler_of_composer_is_known(composer: Any) -> None:
    module = sys.modules["composer.optim.scheduler"]
    assert {n for n in module.__all__ if n.endswith("Scheduler") and n != "ComposerScheduler"} == set(SYSTEM.schedulers)


def test_a_call_as_text_is_read() -> None:
    found = read("mosaicml", "CosineAnnealingWithWarmupScheduler('2ba')", lr=1.0, max_duration="4ba")
    np.testing.assert_allclose(found.values(6), [0, 0, 0.5, 1, 0.5, 0], atol=1e-16)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("LinearScheduler(t_max='4')", "t_max must be a time such as"),
        ("LinearScheduler(t_max='1.5ep')", "whole number of 'ep'"),
        ("LinearScheduler(t_max='2ep')", "batches_per_epoch must be given"),
        ("LinearScheduler(t_max='0ba')", "Composer divides by it"),
        ("LinearWithWarmupScheduler('2ba', t_max='3ba')", "must not be shorter than the run"),
        ("LinearWithWarmupScheduler('2tok', t_max='10ba')", "have the same unit"),
        ("ExponentialScheduler(-1.0, '2ba')", "gamma must be"),
        ("LinearSchedular()", "did you mean 'LinearScheduler'"),
    ],
)
def test_what_composer_refuses_is_refused(call: str, message: str) -> None:
    with pytest.raises(DialectError, match=message):
        read("composer", call, lr=1.0, max_duration="8ba")


def test_seconds_are_no_clock() -> None:
    with pytest.raises(DialectError, match="wall-clock"):
        read("composer", "LinearScheduler(t_max='30sec')", lr=1.0, max_duration="8ba")
