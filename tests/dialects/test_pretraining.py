"""laju's torchtitan, Megatron-LM and DeepSpeed schedules beside the real ones, over the whole horizon and past it."""

from __future__ import annotations

import importlib.util
import logging
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

import laju  # noqa: E402
from laju.core.schedule import Schedule  # noqa: E402
from laju.dialects import DialectError, deepspeed, megatron, read, system, torchtitan  # noqa: E402
from tests.dialects import drawn  # noqa: E402

few = settings(max_examples=60, deadline=None, derandomize=True)
rates = st.sampled_from([1e-5, 3e-4, 0.003, 0.1, 1.0])
shares = st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0])


def package(folder: Path, name: str, release: str) -> Path:
    place = folder / name
    if not place.is_dir():
        pytest.skip(f"needs {name} {release} in {folder}: make setup-dialects")
    return place


def module(path: Path, name: str, **stands: types.ModuleType) -> Any:
    """One file of a package whose others need a GPU or much more; `stands` take the place of modules that compute nothing."""
    before = {key: sys.modules.get(key) for key in stands}
    sys.modules.update(stands)
    try:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        found = importlib.util.module_from_spec(spec)
        sys.modules[name] = found
        spec.loader.exec_module(found)
        return found
    finally:
        for key, value in before.items():
            if value is None:
                sys.modules.pop(key, None)
            else:
                sys.modules[key] = value


def standing(name: str, **content: Any) -> types.ModuleType:
    made = types.ModuleType(name)
    vars(made).update(content)
    return made


def refuses(call: Any) -> bool:
    try:
        call()
    except (ValueError, TypeError, AssertionError, ZeroDivisionError):
        return True
    return False


def agree(parity: Any, name: str, scheduler: str, real: Any, make: Any, *, peak: float, most: float = 8) -> None:
    """The closed form within `most` ulp of the highest rate, also after a detour by text."""
    real, n = np.array(real, float), len(real)
    release = system(name).releases[0]
    closed: Schedule = make()
    assert laju.parse(str(closed)) == closed.normal
    parity(name, scheduler, release, real, closed.values(n), of=max(peak, 1e-300), most=most)


# --- torchtitan --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def titan(dialects_path: Path) -> Any:
    place = package(dialects_path, "torchtitan", "0.3.0") / "components" / "optimizer" / "lr_scheduler.py"

    class Configurable:
        class Config:
            __slots__ = ()

    return module(
        place,
        "torchtitan.components.optimizer.lr_scheduler",
        **{
            "torchtitan": standing("torchtitan"),
            "torchtitan.config": standing("torchtitan.config", Configurable=Configurable),
            "torchtitan.tools": standing("torchtitan.tools"),
            "torchtitan.tools.logging": standing("torchtitan.tools.logging", logger=logging.getLogger("titan")),
            "torchtitan.components": standing("torchtitan.components"),
            "torchtitan.components.optimizer": standing("torchtitan.components.optimizer", __path__=[]),
            "torchtitan.components.optimizer.optimizer": standing("o", OptimizersContainer=list),
        },
    )


def from_torchtitan(titan: Any, lr: float, arguments: dict[str, Any], most: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    config = {name: value for name, value in arguments.items() if name != "training_steps"}
    total = max(arguments["training_steps"], arguments.get("total_steps") or 0)
    container = titan.LRSchedulersContainer.Config(**config).build(
        optimizers=[optimizer], training_steps=arguments["training_steps"]
    )
    real: list[float] = []
    for t in range(total := min(int(total), most)):
        real.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if t + 1 < total:
            container.step()
    return real


@few
@given(
    rates,
    st.fixed_dictionaries(
        {
            "training_steps": st.integers(1, 60),
            "warmup_steps": st.integers(0, 80),
            "total_steps": st.none() | st.integers(1, 60),
            "decay_ratio": st.none() | st.sampled_from([0.0, 0.1, 0.33, 0.5, 1.0]),
            "decay_type": st.sampled_from(["linear", "sqrt", "cosine"]),
            "min_lr_factor": shares,
        }
    ),
)
def check_titan(titan: Any, parity: Any, lr: float, arguments: dict[str, Any]) -> None:
    if (arguments["total_steps"] or 60) < arguments["training_steps"]:
        with pytest.raises(DialectError, match="total_steps must be at least"):
            torchtitan.LRSchedulersContainer(lr, **arguments)
        return
    real = from_torchtitan(titan, lr, arguments, 60)
    agree(
        parity, "torchtitan", "LRSchedulersContainer", real,
        lambda **more: torchtitan.LRSchedulersContainer(lr, **arguments, **more), peak=lr,
    )  # fmt: skip


def test_torchtitan(titan: Any, parity: Any) -> None:
    logging.getLogger("titan").setLevel(logging.ERROR)
    check_titan(titan, parity)


def test_whatever_the_arguments_values_are_torchtitans(titan: Any) -> None:
    @settings(few, max_examples=300)
    @given(drawn.calls(torchtitan.LRSchedulersContainer, ("lr",)), st.sampled_from(["linear", "sqrt", "cosine"]))
    def check(arguments: dict[str, Any], decay: str) -> None:
        arguments = {**arguments, "decay_type": decay}
        drawn.same_or_refused(
            lambda: torchtitan.LRSchedulersContainer(0.1, **arguments).values(60),
            lambda: from_torchtitan(titan, 0.1, arguments, 60),
        )

    check()


def test_torchtitans_rates_past_the_total_steps_are_refused(titan: Any) -> None:
    arguments = {"training_steps": 12, "total_steps": 10, "warmup_steps": 2}
    assert from_torchtitan(titan, 0.1, arguments, 60)[-1] < 0
    with pytest.raises(DialectError, match=r"at least the 12 training_steps, got 10: torchtitan's rates go on past"):
        torchtitan.LRSchedulersContainer(0.1, **arguments)


def test_torchtitan_knows_its_decays() -> None:
    with pytest.raises(DialectError, match="did you mean 'cosine'"):
        torchtitan.LRSchedulersContainer(1.0, 10, decay_type="cosin")


# --- Megatron-LM -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mega(dialects_path: Path) -> Any:
    place = package(dialects_path, "megatron", "0.16.1") / "core" / "optimizer_param_scheduler.py"
    utils = standing("megatron.core.utils", log_single_rank=lambda *_: None)
    stands = {
        "megatron": standing("megatron"),
        "megatron.core": standing("megatron.core"),
        "megatron.core.utils": utils,
    }
    return module(place, "megatron.core.optimizer_param_scheduler", **stands)


def from_megatron(mega: Any, n: int, increment: int, **arguments: Any) -> list[tuple[float, float]]:
    optimizer = types.SimpleNamespace(param_groups=[{}])
    full = {"init_lr": 0.0, "max_lr": 1.0, "min_lr": 0.0, "lr_warmup_steps": 0, "lr_decay_steps": 10,
            "lr_decay_style": "linear", "start_wd": 0.0, "end_wd": 0.0, "wd_incr_steps": 10,
            "wd_incr_style": "constant", **arguments}  # fmt: skip
    scheduler = mega.OptimizerParamScheduler(optimizer, **full)
    found = []
    for _ in range(n):
        found.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["weight_decay"]))
        scheduler.step(increment)
    return found


MEGATRON = st.fixed_dictionaries(
    {
        "init_lr": st.sampled_from([0.0, 0.01]),
        "max_lr": st.sampled_from([0.001, 0.1, 1.0]),
        "min_lr": st.sampled_from([0.0, 0.001, 0.05]),
        "lr_warmup_steps": st.integers(0, 20),
        "lr_decay_steps": st.integers(0, 50),
        "lr_decay_style": st.sampled_from(["constant", "linear", "cosine", "inverse-square-root", "WSD"]),
        "wsd_decay_steps": st.none() | st.integers(0, 60),
        "lr_wsd_decay_style": st.sampled_from(megatron._COOLDOWNS),
    }
)


def test_megatron(mega: Any, parity: Any) -> None:
    @settings(few, max_examples=200)
    @given(
        MEGATRON,
        st.sampled_from([1, 1, 3]),
    )
    def check(arguments: dict[str, Any], increment: int) -> None:
        def make(**more: Any) -> Schedule:
            return megatron.OptimizerParamScheduler(**arguments, increment=increment, **more)

        n = 2 * arguments["lr_decay_steps"] // increment + 8
        if refuses(lambda: from_megatron(mega, n, increment, **arguments)):
            with pytest.raises(DialectError):
                make()
            return
        real = [lr for lr, _ in from_megatron(mega, n, increment, **arguments)]
        agree(parity, "megatron", "OptimizerParamScheduler", real, make, peak=arguments["max_lr"])

    check()


def test_whatever_the_arguments_values_are_megatrons(mega: Any) -> None:
    @settings(few, max_examples=300)
    @given(drawn.changed(MEGATRON, megatron.OptimizerParamScheduler))
    def check(arguments: dict[str, Any]) -> None:
        increment = arguments.get("increment", 1)
        steps = {name: value for name, value in arguments.items() if name != "increment"}
        drawn.same_or_refused(
            lambda: megatron.OptimizerParamScheduler(**arguments).values(60),
            lambda: [lr for lr, _ in from_megatron(mega, 60, increment, **steps)],
        )

    check()


def test_megatron_s_weight_decay(mega: Any, parity: Any) -> None:
    @few
    @given(
        st.fixed_dictionaries(
            {
                "start_wd": st.sampled_from([0.0, 0.01, 0.1]),
                "end_wd": st.sampled_from([0.0, 0.01, 0.1]),
                "wd_incr_steps": st.integers(0, 30),
                "wd_incr_style": st.sampled_from(["constant", "linear", "cosine"]),
            }
        ),
        st.sampled_from([1, 4]),
    )
    def check(arguments: dict[str, Any], increment: int) -> None:
        def make(**more: Any) -> Schedule:
            return megatron.weight_decay(**arguments, increment=increment, **more)

        if refuses(lambda: from_megatron(mega, 60, increment, **arguments)):
            with pytest.raises(DialectError):
                make()
            return
        real = [decay for _, decay in from_megatron(mega, 60, increment, **arguments)]
        agree(parity, "megatron", "weight_decay", real, make, peak=arguments["end_wd"])

    check()


# --- DeepSpeed ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def speed(dialects_path: Path) -> Any:
    place = package(dialects_path, "deepspeed", "0.19.8") / "runtime" / "lr_schedules.py"
    stands = {
        "deepspeed": standing("deepspeed"),
        "deepspeed.utils": standing("deepspeed.utils", logger=logging.getLogger("deepspeed-quiet")),
        "deepspeed.runtime": standing("deepspeed.runtime"),
    }
    logging.getLogger("deepspeed-quiet").setLevel(logging.CRITICAL)
    return module(place, "deepspeed.runtime.lr_schedules", **stands)


kinds = st.sampled_from(["log", "linear"])
lengths = st.integers(-1, 25)
SPEED: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "WarmupLR": st.fixed_dictionaries(
        {
            "warmup_min_lr": st.sampled_from([0.0, 0.01]),
            "warmup_max_lr": st.none() | st.sampled_from([0.1, 1.0]),
            "warmup_num_steps": lengths,
            "warmup_type": kinds,
        }
    ),
    "WarmupDecayLR": st.fixed_dictionaries(
        {
            "total_num_steps": st.integers(1, 60),
            "warmup_min_lr": st.sampled_from([0.0, 0.01]),
            "warmup_max_lr": st.sampled_from([0.1, 1.0]),
            "warmup_num_steps": lengths,
            "warmup_type": kinds,
        }
    ),
    "WarmupCosineLR": st.fixed_dictionaries(
        {
            "total_num_steps": st.integers(1, 60),
            "warmup_min_ratio": shares,
            "warmup_num_steps": lengths,
            "cos_min_ratio": shares,
            "warmup_type": kinds,
        }
    ),
    "LRRangeTest": st.fixed_dictionaries(
        {
            "lr_range_test_min_lr": st.sampled_from([1e-3, 0.1]),
            "lr_range_test_step_size": st.integers(-1, 20),
            "lr_range_test_step_rate": st.sampled_from([0.0, 0.5, 1.0, 5.0, -0.01]),
            "lr_range_test_staircase": st.booleans(),
        }
    ),
    "OneCycle": st.fixed_dictionaries(
        {
            "cycle_min_lr": st.sampled_from([0.001, 0.05]),
            "cycle_max_lr": st.sampled_from([0.1, 1.0]),
            "decay_lr_rate": st.sampled_from([0.0, 0.1, 2.0]),
            "cycle_first_step_size": st.integers(0, 20),
            "cycle_second_step_size": st.none() | st.integers(-1, 20),
            "cycle_first_stair_count": st.sampled_from([0, 0, 3]),
            "cycle_second_stair_count": st.none() | st.sampled_from([0, 2]),
            "decay_step_size": st.sampled_from([0, 1, 5]),
        }
    ),
}


def from_deepspeed(speed: Any, name: str, lr: float, arguments: dict[str, Any], n: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    more = {"cycle_momentum": False} if name == "OneCycle" else {}
    scheduler = getattr(speed, name)(optimizer, **arguments, **more)
    found = []
    for _ in range(n):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("name", SPEED)
def test_deepspeed(speed: Any, parity: Any, name: str) -> None:
    @settings(few, max_examples=100)
    @given(st.sampled_from([0.003, 0.1, 1.0]), SPEED[name])
    def check(lr: float, arguments: dict[str, Any]) -> None:
        def make(**more: Any) -> Schedule:
            given_lr = {"lr": lr} if name in ("WarmupLR", "WarmupCosineLR") else {}
            return getattr(deepspeed, name)(**given_lr, **arguments, **more)

        n = 110
        if refuses(lambda: from_deepspeed(speed, name, lr, arguments, n)):
            with pytest.raises(DialectError):
                make()
            return
        real = from_deepspeed(speed, name, lr, arguments, n)
        if make().closed is None:  # what has values only
            assert arguments["cycle_first_stair_count"] or arguments["cycle_second_stair_count"]
            assert make().values(n).tolist() == real
            return
        # DeepSpeed finds the place in a cycle as 1 + t/T - ⌊1 + t/T⌋, and loses a digit for every binary one of T.
        agree(parity, "deepspeed", name, real, make, peak=max(map(abs, real)), most=64 if name == "OneCycle" else 8)

    check()


@pytest.mark.parametrize("name", SPEED)
def test_whatever_the_arguments_values_are_deepspeeds(speed: Any, name: str) -> None:
    @settings(few, max_examples=200)
    @given(drawn.calls(getattr(deepspeed, name), ("lr",)), kinds)
    def check(arguments: dict[str, Any], kind: str) -> None:
        if name.startswith("Warmup"):
            arguments = {**arguments, "warmup_type": kind}
        lr = {"lr": 0.1} if name in ("WarmupLR", "WarmupCosineLR") else {}
        drawn.same_or_refused(
            lambda: getattr(deepspeed, name)(**lr, **arguments).values(60),
            lambda: from_deepspeed(speed, name, 0.1, arguments, 60),
        )

    check()


def test_all_schedulers_are_checked_and_text_is_read() -> None:
    assert set(SPEED) == set(system("deepspeed").schedulers)
    assert (
        read("deepspeed", "WarmupDecayLR(optimizer, 100, warmup_num_steps=10)")
        == deepspeed.WarmupDecayLR(100, warmup_num_steps=10).normal
    )
    assert read("deepspeed", "WarmupLR(warmup_num_steps=10)", lr=0.3)(20) == 0.3
    with pytest.raises(DialectError, match="did you mean 'WarmupLR'"):
        read("deepspeed", "WarmupLr()", lr=1.0)
