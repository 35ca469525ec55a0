"""Configurations of detectron2, PaddleDetection and PaddleClas, update by update."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import laju
from laju.dialects import DialectError, paddle, read
from laju.dialects.configs import read_config
from laju.dialects.contents import content

from .conftest import loaded, standing

some = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


# --- detectron2 ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fvcore(dialects_path: Path) -> Any:
    if not (dialects_path / "fvcore").is_dir():
        pytest.skip(f"needs fvcore in {dialects_path}: make setup-dialects")
    return loaded(dialects_path, "fvcore/common/param_scheduler.py")


def built(fvcore: Any, c: dict[str, Any]) -> Any:
    """detectron2 0.6, solver/build.py: `build_lr_scheduler`, solver/lr_scheduler.py: `WarmupParamScheduler`, on fvcore."""
    most = c["MAX_ITER"]
    if c["LR_SCHEDULER_NAME"] == "WarmupMultiStepLR":
        steps = [x for x in c["STEPS"] if x <= most]
        under = fvcore.MultiStepParamScheduler([c["GAMMA"] ** k for k in range(len(steps) + 1)], most, steps)
    else:
        under = fvcore.CosineParamScheduler(1, c["BASE_LR_END"] / c["BASE_LR"])
    length = min(c["WARMUP_ITERS"] / most, 1.0)
    start = c["WARMUP_FACTOR"] * under(0.0)
    linear = fvcore.LinearParamScheduler(start, under(length))
    warmup = linear if c["WARMUP_METHOD"] == "linear" else fvcore.ConstantParamScheduler(start)
    return fvcore.CompositeParamScheduler([warmup, under], [length, 1 - length], ["rescaled", "fixed"])


@some
@given(
    st.sampled_from(["WarmupMultiStepLR", "WarmupCosineLR"]), st.integers(1, 30), st.sampled_from(["linear", "constant"]),
    st.sampled_from([[20], [20, 40], [10, 70], [5, 20, 50]]), st.sampled_from([0.0, 0.001]), st.sampled_from([0.001, 0.5]),
)  # fmt: skip
def test_detectron2(fvcore, name, warmup, method, steps, low, factor):
    solver = {
        "LR_SCHEDULER_NAME": name, "BASE_LR": 0.02, "MAX_ITER": 60, "STEPS": steps, "GAMMA": 0.1, "WARMUP_ITERS": warmup,
        "WARMUP_FACTOR": factor, "WARMUP_METHOD": method, "BASE_LR_END": low, "WEIGHT_DECAY_NORM": 0.0, "BIAS_LR_FACTOR": 1.0,
    }  # fmt: skip
    found = read_config({"SOLVER": {**solver, "STEPS": str(tuple(steps))}})
    assert (found.system, found.length) == ("detectron2", 60)
    multiplier = built(fvcore, solver)
    assert found.schedule.values(60) == pytest.approx(
        [0.02 * multiplier(t / 60) for t in range(60)], rel=1e-9, abs=1e-15
    )
    assert read("fvcore", found.call) == found.schedule


@some
@given(
    st.booleans(),
    st.sampled_from(["linear", "constant"]),
    st.integers(0, 15),
    st.sampled_from([0.0, 0.001, 0.5]),
    st.lists(st.integers(0, 40), max_size=3).map(sorted),
    st.sampled_from([0.1, 0.5]),
)
def test_detectron2s_functions(cosine, method, warmup, factor, milestones, gamma):
    """detectron2 0.6, solver/lr_scheduler.py: `get_lr` of both classes, and the branches of `_get_warmup_factor_at_iter`."""

    def theirs(t: int) -> float:
        share = 1.0 if t >= warmup else factor if method == "constant" else factor * (1 - t / warmup) + t / warmup
        if cosine:
            return 0.02 * share * 0.5 * (1.0 + math.cos(math.pi * t / 40))
        return 0.02 * share * gamma ** sum(milestone <= t for milestone in milestones)

    own = "WarmupCosineLR(optimizer, 40" if cosine else f"WarmupMultiStepLR(optimizer, {milestones}, gamma={gamma}"
    text = f"{own}, warmup_factor={factor}, warmup_iters={warmup}, warmup_method={method!r})"
    wanted = [theirs(t) for t in range(70)]
    assert read("detectron2", text, lr=0.02).values(70) == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def test_what_detectron2s_functions_refuse():
    with pytest.raises(DialectError, match="milestones must increase"):
        read("detectron2", "WarmupMultiStepLR([3, 2])", lr=0.1)
    with pytest.raises(ValueError, match="warmup_method must be one of linear, constant"):
        read("detectron2", "WarmupCosineLR(10, warmup_method='exp')", lr=0.1)


def test_the_bases_of_detectron2s_files(tmp_path):
    pytest.importorskip("yaml")
    (tmp_path / "base.yaml").write_text("SOLVER:\n  BASE_LR: 0.02\n  STEPS: (60000, 80000)\n  MAX_ITER: 90000\n")
    own = tmp_path / "configs"
    own.mkdir()
    file = own / "rcnn_3x.yaml"
    file.write_text('_BASE_: "../base.yaml"\nSOLVER:\n  STEPS: (210000, 250000)\n  MAX_ITER: 270000\n')
    found = read_config(file)
    assert found.schedule(0) == pytest.approx(2e-5)
    assert [found.schedule(t) for t in (1000, 209_999, 210_000, 250_000)] == pytest.approx([0.02, 0.02, 0.002, 0.0002])
    (tmp_path / "base.yaml").unlink()
    with pytest.raises(DialectError, match=r"_BASE_ names '\.\./base\.yaml', which is not beside it"):
        read_config(file)
    file.write_text('_BASE_: "rcnn_3x.yaml"\nSOLVER:\n  MAX_ITER: 9\n')
    with pytest.raises(DialectError, match="is its own _BASE_"):
        read_config(file)
    with pytest.raises(DialectError, match="whose keys may decide the rate"):
        read_config({"_BASE_": "x.yaml", "SOLVER": {"BASE_LR": 0.1}})
    for changes, message in (
        ({"STEPS": [20, 10]}, "in rising order"),
        ({"LR_SCHEDULER_NAME": "WarmupPolyLR"}, "must be one of WarmupMultiStepLR"),
        ({"BASE_LRR": 1}, "did you mean 'BASE_LR'"),
        ({"WARMUP_METHOD": "exp"}, "must be one of linear, constant"),
    ):
        with pytest.raises(DialectError, match=message):
            read_config({"SOLVER": {"MAX_ITER": 60, **changes}})
    notes = read_config({"SOLVER": {"MAX_ITER": 60, "STEPS": [20, 70]}}).notes
    assert "STEPS after MAX_ITER, 60, are ignored: [70]" in notes


# --- PaddleDetection -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def detection(dialects_path: Path) -> Iterator[Any]:
    """Their file; Paddle's two schedulers are laju's, which are compared with the real ones elsewhere."""
    schedulers = standing(
        "lr",
        PiecewiseDecay=paddle.PiecewiseDecay,
        CosineAnnealingDecay=lambda lr, T_max, eta_min: paddle.CosineAnnealingDecay(lr, T_max, eta_min),
    )
    optimizer = standing("paddle.optimizer", lr=schedulers)
    stands = {
        "paddle": standing("paddle", nn=None, optimizer=optimizer, regularizer=None, __path__=[]),
        "paddle.nn": standing("nn"), "paddle.optimizer": optimizer, "paddle.regularizer": standing("r"),
        "ppdet.core.workspace": standing("w", register=lambda own: own, serializable=lambda own: own),
        "ppdet.optimizer.adamw": standing("a", AdamWDL=None, build_adamwdl=None),
        "ppdet.utils.logger": standing("l", setup_logger=lambda name: None), "ppdet.utils": standing("u", __path__=[]),
        "ppdet.core": standing("c", __path__=[]),
    }  # fmt: skip
    module = loaded(dialects_path, "ppdet/optimizer/optimizer.py", stands)
    sys.modules[module.__name__] = module  # where it looks for the classes by their names
    yield module
    del sys.modules[module.__name__]


@some
@given(
    st.sampled_from(["PiecewiseDecay", "CosineDecay"]),
    st.booleans(),
    st.sampled_from([0.1, [0.1, 0.02]]),
    st.sampled_from([0, 1, 3]),
    st.sampled_from([{"steps": 0}, {"steps": 7}, {"epochs": 2}]),
    st.sampled_from(["LinearWarmup", "ExpWarmup"]),
    st.integers(2, 6),
    st.sampled_from([0.0, 0.1]),
)
def test_paddledetection(detection, name, warm, gamma, plateau, length, kind, each, low):
    decay: dict[str, Any] = {"name": name, "use_warmup": warm}
    decay |= {"gamma": gamma, "milestones": [4, 7]} if name == "PiecewiseDecay" else {
        "max_epochs": 10, "min_lr_ratio": low, "last_plateau_epochs": plateau,
    }  # fmt: skip
    warmup = {"name": kind, **length} | ({"start_factor": 0.25} if kind == "LinearWarmup" else {"power": 2})
    found = read_config(
        {"epoch": 10, "LearningRate": {"base_lr": 0.02, "schedulers": [decay, warmup]}}, updates_per_epoch=each
    )
    assert (found.system, found.length) == ("paddle", 10 * each)
    theirs = detection.LearningRate(0.02, [dict(decay), dict(warmup)])(each)
    n = 10 * each + 5
    assert found.schedule.values(n) == pytest.approx(theirs.values(n), rel=1e-9, abs=1e-15)


def test_paddledetection_with_tags_and_bases(tmp_path):
    pytest.importorskip("yaml")
    (tmp_path / "_base_").mkdir()
    (tmp_path / "_base_" / "optimizer_1x.yml").write_text(
        "epoch: 12\nLearningRate:\n  base_lr: 0.01\n  schedulers:\n  - !PiecewiseDecay\n    gamma: 0.1\n    milestones: [8, 11]\n"
        "  - !LinearWarmup\n    start_factor: 0.1\n    steps: 1000\n"
    )
    file = tmp_path / "faster_rcnn.yml"
    file.write_text("_BASE_: [\n  '_base_/optimizer_1x.yml',\n]\nweights: output/model\n")
    with pytest.raises(DialectError, match="give updates_per_epoch"):
        read_config(file)
    found = read_config(file, updates_per_epoch=1000)
    # The second milestone has a hundredth, as the number is divided by 10.
    assert [found.schedule(t) for t in (0, 1000, 8000, 11_000)] == pytest.approx([0.001, 0.01, 0.001, 0.0001])
    for schedulers, message in (
        ([{"name": "PolynomialDecay"}], "must be one of PiecewiseDecay, CosineDecay"),
        ([{"name": "PiecewiseDecay"}], "needs a warmup after the decay"),
        (
            [{"name": "CosineDecay", "gamma": 1, "use_warmup": False}],
            "CosineDecay of PaddleDetection has no argument 'gamma'",
        ),
        ([{"name": "PiecewiseDecay", "values": [1], "use_warmup": False}], "values of PiecewiseDecay are not read"),
        (
            [{"name": "CosineDecay", "max_epochs": 2, "last_plateau_epochs": 2, "use_warmup": False}],
            "must be longer than",
        ),
    ):
        with pytest.raises(DialectError, match=message):
            read_config({"LearningRate": {"base_lr": 0.01, "schedulers": schedulers}}, updates_per_epoch=10)


# --- PaddleClas ------------------------------------------------------------------------------------------------------------


def clas(name: str, t: int, warmup: int, each: int) -> float:
    """PaddleClas 2.5, ppcls/optimizer/learning_rate.py: each class over Paddle's schedulers by iterations, `linear_warmup`."""
    if t < warmup:
        return 0.001 + (0.1 - 0.001) * t / warmup
    t -= warmup
    total = 10 * each - warmup
    if name == "Cosine":
        return 0.002 + (0.1 - 0.002) * (1 + math.cos(math.pi * t / total)) / 2
    if name == "Linear":
        return 0.002 + (0.1 - 0.002) * (1 - min(t, total) / total) ** 2
    if name == "Step":
        return 0.1 * 0.5 ** (t // (3 * each))
    if name in ("Piecewise", "MultiStepDecay"):
        return 0.1 * 0.5 ** sum(t >= epoch * each for epoch in (2, 5))
    return 0.1


CLAS: dict[str, dict[str, Any]] = {
    "Cosine": {"eta_min": 0.002}, "Linear": {"end_lr": 0.002, "power": 2}, "Step": {"step_size": 3, "gamma": 0.5},
    "Piecewise": {"decay_epochs": [2, 5], "values": [0.1, 0.05, 0.025]}, "MultiStepDecay": {"milestones": [2, 5], "gamma": 0.5},
    "Constant": {},
}  # fmt: skip


@some
@given(st.sampled_from(sorted(CLAS)), st.sampled_from([0, 2]), st.integers(1, 5))
def test_paddleclas(name, warmup, each):
    lr = {"name": name, "warmup_epoch": warmup, "warmup_start_lr": 0.001, **CLAS[name]}
    lr |= {} if name == "Piecewise" else {"learning_rate": 0.1}
    found = read_config({"Global": {"epochs": 10}, "Optimizer": {"name": "Momentum", "lr": lr}}, updates_per_epoch=each)
    assert (found.system, found.length) == ("paddle", 10 * each)
    wanted = [clas(name, t, warmup * each, each) for t in range(10 * each)]
    assert found.schedule.values(10 * each) == pytest.approx(wanted, rel=1e-9, abs=1e-15)


def test_what_of_paddleclas_is_refused_or_counted_in_epochs():
    config = {
        "Global": {"epochs": 10},
        "Optimizer": {"lr": {"name": "Step", "learning_rate": 0.1, "step_size": 3, "gamma": 0.5}},
    }
    lr = config["Optimizer"]["lr"]
    epochs = read_config({**config, "Optimizer": {"lr": {**lr, "by_epoch": True}}}, updates_per_epoch=4)
    assert epochs.schedule.values(40) == pytest.approx(read_config(config, updates_per_epoch=4).schedule.values(40))
    for changes, message in (
        ({"name": "Cyclic"}, "must be one of Constant"),
        ({"eta_min": 0.1}, "eta_min is no argument of Step"),
        ({"learning_rate": None}, "learning_rate is not in the configuration: give lr"),
    ):
        with pytest.raises(DialectError, match=message):
            read_config({**config, "Optimizer": {"lr": {**lr, **changes}}}, updates_per_epoch=4)


# --- LightningCLI and Hydra -----------------------------------------------------------------------------------------------


def test_lightning_cli_steps_its_scheduler_once_an_epoch(tmp_path):
    torch = pytest.importorskip("torch")
    config = {
        "trainer": {"max_epochs": 8},
        "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "momentum": 0.9}},
        "lr_scheduler": {"class_path": "torch.optim.lr_scheduler.CosineAnnealingLR", "init_args": {"T_max": 8}},
    }
    found = read_config(config, updates_per_epoch=3)
    assert (found.system, found.length) == ("lightning", 24)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=8)
    wanted = []
    for _ in range(8):
        wanted += 3 * [optimizer.param_groups[0]["lr"]]
        optimizer.step()
        scheduler.step()
    assert found.schedule.values(24) == pytest.approx(wanted, rel=1e-9)
    with pytest.raises(DialectError, match="give updates_per_epoch"):
        read_config(config)
    alone = {key: value for key, value in config.items() if key != "lr_scheduler"}
    assert read_config(alone).schedule == laju.constant(0.1)
    for section, message in (
        ({"class_path": "ReduceLROnPlateau", "init_args": {"monitor": "loss"}}, "is not a schedule"),
        ({"class_path": "my.Scheduler"}, "my.Scheduler is not a scheduler that laju reads"),
        ({"class_path": "StepLR", "init_args": {"stepsize": 3}}, "did you mean 'step_size'"),
        ({"class_path": "StepLR", "init_args": {"step_size": "${steps}"}}, "has no value in the configuration"),
    ):
        with pytest.raises(DialectError, match=message):
            read_config({**config, "lr_scheduler": section}, updates_per_epoch=3)


def test_the_files_that_hydra_composes_are_read(tmp_path):
    """As Hydra 1.3 composes these files: the file's own keys at last, groups in their sections or where @package says."""
    for name, text in {
        "config": """
            defaults: [base, {optimizer: sgd}, {scheduler: cosine}, {optional logger: none}, {experiment: null},
                       {override hydra/launcher: joblib}]
            optimizer: {lr: 0.5}""",
        "base": "{epochs: 7, optimizer: {lr: 9, momentum: 0.9}}",
        "optimizer/sgd": "{_target_: torch.optim.SGD, lr: 0.1}",
        "scheduler/cosine": "# @package train.schedule\ndefaults: [{inner@_here_: half}]\nT_max: ${epochs}",
        "scheduler/inner/half": "{_target_: torch.optim.lr_scheduler.CosineAnnealingLR, eta_min: 0.25}",
    }.items():
        file = tmp_path / f"{name}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    found = read_config(tmp_path / "config.yaml", interval="step")
    assert (found.system, found.schedule) == ("hydra", read("torch", "CosineAnnealingLR(7, 0.25)", lr=0.5))
    assert "defaults names other files" in found.notes[-1]
    assert "logger" in found.notes[-1]
    (tmp_path / "config.yaml").write_text("defaults: [{scheduler: cosine}, {override scheduler/inner: half}]")
    with pytest.raises(DialectError, match="override scheduler/inner"):
        read_config(tmp_path / "config.yaml", interval="step")
    (tmp_path / "base.yaml").write_text("defaults: [config]")
    (tmp_path / "config.yaml").write_text("defaults: [base]")
    with pytest.raises(DialectError, match="is its own"):
        read_config(tmp_path / "config.yaml", interval="step")


entries = st.none() | st.integers() | st.sampled_from(
    ["a", "b", "_self_", "", "../x", "g", "override g", "g@", "g@p.q", "optional g", ":", "/g", "hydra/x", "a\0b"]
)  # fmt: skip


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(entries | st.dictionaries(entries, entries | st.lists(entries, max_size=2), max_size=2), max_size=4))
def test_defaults_of_any_kind_are_composed_or_refused(tmp_path, defaults):
    (tmp_path / "g").mkdir(exist_ok=True)
    (tmp_path / "g" / "a.yaml").write_text("x: 1")
    (tmp_path / "b.yaml").write_text("[1, 2]")
    (tmp_path / "config.yaml").write_text(json.dumps({"defaults": defaults, "y": 2}))
    with suppress(DialectError):
        assert content(tmp_path / "config.yaml")["y"] == 2


def test_hydra():
    steps = {
        "_target_": "torch.optim.lr_scheduler.SequentialLR", "_partial_": True, "milestones": [5],
        "schedulers": [
            {"_target_": "torch.optim.lr_scheduler.LinearLR", "start_factor": 0.1, "total_iters": 5},
            {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 10},
        ],
    }  # fmt: skip
    config = {
        "model": {
            "optimizer": {"_target_": "torch.optim.AdamW", "_partial_": True, "lr": "${rate}"},
            "scheduler": steps,
        },
        "rate": 0.1,
    }
    with pytest.raises(
        DialectError, match=r"whether model\.scheduler is stepped by step or by epoch.*--fact interval="
    ):
        read_config(config)
    found = read_config(config, interval="step")
    assert found.system == "hydra"
    assert found.schedule == read("torch", "SequentialLR([LinearLR(0.1, total_iters=5), StepLR(10)], [5])", lr=0.1)
    by_epoch = {**config["model"], "scheduler": {"scheduler": steps, "interval": "epoch"}}
    found = read_config({**config, "model": by_epoch}, updates_per_epoch=4)
    assert found.schedule(4 * 14) == pytest.approx(0.1)
    assert found.schedule(4 * 15) == pytest.approx(0.01)
    hf = {"_target_": "transformers.get_cosine_schedule_with_warmup", "num_warmup_steps": 5, "num_training_steps": 50}
    assert (
        read_config({"sched": hf, "defaults": ["_self_"]}, lr=0.1, interval="step")
        .notes[-1]
        .startswith("defaults names other files")
    )
    for changes, message in (
        ({"scheduler": {**steps, "milestones": "${x}"}}, "has no value"),
        ({"second": {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": 3}}, "must have one scheduler, has 2"),
        ({"critic": {"_target_": "torch.optim.SGD", "lr": 1}}, "several optimizers have a rate"),
        ({"scheduler": {"_target_": "torch.optim.lr_scheduler.StepLR", "_args_": [3]}}, "_args_"),
    ):
        with pytest.raises(DialectError, match=message):
            read_config({**config, "model": {**config["model"], **changes}}, interval="step")
