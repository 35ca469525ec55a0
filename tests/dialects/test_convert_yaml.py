"""`laju convert --to yaml:SYSTEM`: the block is read again, from a file, as the schedule that the block was written for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laju
from laju.convert.writers.configurations import FORMATS, TITLES
from laju.dialects import DialectError, convert
from laju.dialects.configs import read_config

few = settings(max_examples=25, deadline=None, derandomize=True)
rate = st.sampled_from([3e-4, 0.1, 2e-5, 0.037])
up = st.integers(0, 20)
run = st.integers(25, 90)
share = st.sampled_from([0.0, 0.1, 0.25])


@st.composite
def transformers(draw: st.DrawFn) -> dict[str, Any]:
    name, kwargs = draw(
        st.sampled_from(
            [
                ("linear", {}), ("cosine", {}), ("constant", {}), ("constant_with_warmup", {}), ("inverse_sqrt", {}),
                ("polynomial", {"power": 2.0, "lr_end": 1e-6}), ("cosine_with_restarts", {"num_cycles": 2}),
                ("cosine_with_min_lr", {"min_lr": 1e-6}), ("warmup_stable_decay", {"num_decay_steps": 5, "num_stable_steps": 0}),
            ]
        )
    )  # fmt: skip
    warmup = 0 if name == "constant" else max(draw(up), int(name == "inverse_sqrt"))
    total = draw(run)
    if name == "warmup_stable_decay":
        kwargs = {**kwargs, "num_stable_steps": max(total - warmup - 5, 0)}
    return {
        "learning_rate": draw(rate), "lr_scheduler_type": name, "lr_scheduler_kwargs": kwargs, "warmup_steps": warmup,
        "max_steps": total,
    }  # fmt: skip


@st.composite
def axolotl(draw: st.DrawFn) -> dict[str, Any]:
    names = (
        {"cosine_min_lr_ratio": draw(share)}
        if draw(st.booleans())
        else {"lr_scheduler": draw(st.sampled_from(["linear", "cosine"]))}
    )
    return {"learning_rate": draw(rate), "warmup_steps": draw(up), "max_steps": draw(run), **names}


@st.composite
def torchtune(draw: st.DrawFn) -> dict[str, Any]:
    scheduler = {
        "_component_": "torchtune.training.lr_schedulers.get_cosine_schedule_with_warmup",
        "num_warmup_steps": draw(up),
    }
    return {"optimizer": {"lr": draw(rate)}, "lr_scheduler": scheduler, "epochs": 2, "max_steps_per_epoch": draw(run)}


@st.composite
def deepspeed(draw: st.DrawFn) -> dict[str, Any]:
    lr, warmup, total = draw(rate), draw(st.integers(2, 20)), draw(run)
    kind = {"warmup_num_steps": warmup, "warmup_type": draw(st.sampled_from(["linear", "log"]))}
    name, params = draw(
        st.sampled_from(
            [
                ("WarmupLR", {"warmup_max_lr": lr, **kind}),
                ("WarmupDecayLR", {"total_num_steps": total, "warmup_max_lr": lr, **kind}),
                ("WarmupCosineLR", {"total_num_steps": total, "cos_min_ratio": draw(share), **kind}),
                ("OneCycle", {"cycle_min_lr": lr / 10, "cycle_max_lr": lr, "cycle_first_step_size": warmup}),
            ]
        )
    )
    return {"optimizer": {"type": "Adam", "params": {"lr": lr}}, "scheduler": {"type": name, "params": params}}


@st.composite
def torchtitan(draw: st.DrawFn) -> dict[str, Any]:
    more = {} if draw(st.booleans()) else {"decay_ratio": draw(share)}
    scheduler = {
        "warmup_steps": draw(up), "decay_type": draw(st.sampled_from(["linear", "cosine", "sqrt"])), "min_lr_factor": draw(share),
    }  # fmt: skip
    return {"optimizer": {"lr": draw(rate)}, "lr_scheduler": {**scheduler, **more}, "training": {"steps": draw(run)}}


@st.composite
def composer(draw: st.DrawFn) -> dict[str, Any]:
    warmup, total = f"{draw(up)}ba", draw(run)
    scheduler = draw(
        st.sampled_from(
            [
                {"name": "cosine_with_warmup", "t_warmup": warmup, "alpha_f": draw(share)},
                {"name": "linear_decay_with_warmup", "t_warmup": warmup, "t_max": f"{total + 5}ba"},
                {"name": "constant_with_warmup", "t_warmup": warmup},
                {
                    "name": "MultiStepWithWarmupScheduler",
                    "t_warmup": warmup,
                    "milestones": ["21ba", "24ba"],
                    "gamma": 0.1,
                },
            ]
        )
    )
    return {"max_duration": f"{total}ba", "optimizer": {"lr": draw(rate)}, "scheduler": scheduler}


@st.composite
def mmengine(draw: st.DrawFn) -> dict[str, Any]:
    by_epoch, warmup, total = draw(st.booleans()), draw(st.integers(2, 20)), draw(run)
    unit = {"by_epoch": by_epoch}
    decay = draw(
        st.sampled_from(
            [
                {"type": "CosineAnnealingLR", "T_max": total - warmup, "begin": warmup, "end": total},
                {"type": "PolyLR", "power": 2.0, "eta_min": 0.0, "begin": warmup, "end": total},
                {"type": "MultiStepLR", "milestones": [21, 24], "gamma": 0.1},
                {"type": "StepLR", "step_size": 7, "gamma": 0.5, "begin": warmup},
            ]
        )
    )
    entries = [{"type": "LinearLR", "start_factor": 0.1, "end": warmup, **unit}] if draw(st.booleans()) else []
    loop = {"by_epoch": by_epoch, "max_epochs" if by_epoch else "max_iters": total}
    return {
        "optim_wrapper": {"optimizer": {"lr": draw(rate)}},
        "param_scheduler": [*entries, {**decay, **unit}],
        "train_cfg": loop,
    }


@st.composite
def nanogpt(draw: st.DrawFn) -> dict[str, Any]:
    decays = {"warmup_iters": draw(up), "lr_decay_iters": draw(run), "min_lr": 1e-6}
    return {"learning_rate": draw(rate), "decay_lr": draw(st.booleans()), **decays}


@st.composite
def ultralytics(draw: st.DrawFn) -> dict[str, Any]:
    shape = {"lrf": draw(st.sampled_from([0.01, 0.1, 1.0])), "cos_lr": draw(st.booleans())}
    return {
        "lr0": draw(rate),
        **shape,
        "epochs": draw(st.integers(4, 12)),
        "warmup_epochs": draw(st.sampled_from([0.0, 1.0, 2.5])),
        "optimizer": "SGD",
    }


@st.composite
def llamafactory(draw: st.DrawFn) -> dict[str, Any]:
    return {"learning_rate": draw(rate), "max_steps": draw(run)}


@st.composite
def diffusers(draw: st.DrawFn) -> dict[str, Any]:
    names = ["linear", "cosine", "constant_with_warmup", "cosine_with_restarts", "polynomial"]
    more = {"lr_num_cycles": 2, "lr_power": 2.0, "lr_warmup_steps": draw(up), "max_train_steps": draw(run)}
    return {"learning_rate": draw(rate), "lr_scheduler": draw(st.sampled_from(names)), **more}


@st.composite
def kohya(draw: st.DrawFn) -> dict[str, Any]:
    names = {"lr_num_cycles": "lr_scheduler_num_cycles", "lr_power": "lr_scheduler_power"}
    return {names.get(key, key): value for key, value in draw(diffusers()).items()}


@st.composite
def megatron(draw: st.DrawFn) -> dict[str, Any]:
    lr, total = draw(rate), draw(run)
    style = draw(st.sampled_from(["constant", "linear", "cosine", "WSD"]))
    wsd = {"lr_wsd_decay_iters": 5, "lr_wsd_decay_style": draw(st.sampled_from(["linear", "cosine", "minus_sqrt"]))}
    block = {
        "lr": lr,
        "min_lr": lr * draw(share),
        "lr_decay_style": style,
        "lr_warmup_iters": draw(up),
        "train_iters": total,
    }
    return {**block, "lr_decay_iters": total - draw(st.integers(0, 3)), **(wsd if style == "WSD" else {})}


@st.composite
def nemo(draw: st.DrawFn) -> dict[str, Any]:
    lr = draw(rate)
    sched = {"warmup_steps": draw(up), "constant_steps": draw(st.sampled_from([0, 3])), "min_lr": lr * draw(share)}
    return {"optim": {"lr": lr, "sched": {"name": "CosineAnnealing", **sched}}, "trainer": {"max_steps": draw(run)}}


@st.composite
def nanotron(draw: st.DrawFn) -> dict[str, Any]:
    lr, warmup, total = draw(rate), draw(up), draw(run)
    named = {
        "learning_rate": lr, "lr_warmup_steps": warmup, "lr_warmup_style": "linear", "min_decay_lr": lr * draw(share),
        "lr_decay_style": draw(st.sampled_from(["linear", "cosine", "1-sqrt"])),
        "lr_decay_starting_step": draw(st.integers(warmup, total - 3)),
    }  # fmt: skip
    named["lr_decay_steps"] = total - named["lr_decay_starting_step"]
    return {"optimizer": {"learning_rate_scheduler": named}, "tokens": {"train_steps": total}}


@st.composite
def fairseq(draw: st.DrawFn) -> dict[str, Any]:
    warmup, total = draw(st.integers(1, 20)), draw(run)
    schedulers = [
        {"_name": "inverse_sqrt", "warmup_updates": warmup},
        {"_name": "polynomial_decay", "warmup_updates": warmup, "total_num_update": total},
        {"_name": "cosine", "warmup_updates": warmup, "lr_period_updates": total - warmup, "min_lr": 1e-6},
    ]
    return {
        "optimization": {"lr": [draw(rate)], "max_update": total},
        "lr_scheduler": draw(st.sampled_from(schedulers)),
    }


@st.composite
def detectron2(draw: st.DrawFn) -> dict[str, Any]:
    solver = {"BASE_LR": draw(rate), "MAX_ITER": draw(run), "WARMUP_ITERS": draw(up), "WARMUP_FACTOR": 0.1}
    steps = {"STEPS": draw(st.sampled_from([[], [21], [21, 24]])), "GAMMA": 0.1}
    cosine = {"LR_SCHEDULER_NAME": "WarmupCosineLR", "BASE_LR_END": solver["BASE_LR"] * draw(share)}
    return {"SOLVER": {**solver, **draw(st.sampled_from([steps, cosine]))}}


LENGTHS = ("max_steps", "max_train_steps", "train_iters", "train_steps", "max_update", "MAX_ITER")


def lasts(block: dict[str, Any], schedule: laju.Schedule) -> int:
    """The length of the run that the block is for."""
    for section in (block, *(value for value in block.values() if isinstance(value, dict))):
        for name in LENGTHS:
            if name in section:
                return int(section[name])
    for value in (block.get("training", {}).get("steps"), block.get("lr_decay_iters")):
        if value is not None:
            return int(value)
    if "max_duration" in block:
        return int(block["max_duration"][:-2])
    if "lr0" in block:
        return int(block["epochs"]) * 8
    loop = block.get("train_cfg", {})
    return int(
        loop.get("max_epochs")
        or loop.get("max_iters")
        or block.get("epochs", 0) * block.get("max_steps_per_epoch", 0)
        or 90
    )


SYSTEMS = {
    "axolotl": axolotl, "transformers": transformers, "deepspeed": deepspeed, "torchtitan": torchtitan, "torchtune": torchtune,
    "mmengine": mmengine, "composer": composer, "ultralytics": ultralytics, "nanogpt": nanogpt,
    "llamafactory": llamafactory, "diffusers": diffusers, "kohya": kohya, "megatron": megatron, "nemo": nemo,
    "nanotron": nanotron, "fairseq": fairseq, "detectron2": detectron2,
}  # fmt: skip


def test_every_system_is_drawn() -> None:
    assert SYSTEMS.keys() == TITLES.keys()


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_block_that_goes_back_is_read_as_the_same_schedule(name: str, tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    path = tmp_path / f"config.{FORMATS.get(name, 'yaml')}"

    @few
    @given(SYSTEMS[name]())
    def check(block: dict[str, Any]) -> None:
        facts = {"updates_per_epoch": 8} if name == "ultralytics" else {}
        schedule = read_config(block, name, **facts).schedule
        in_epochs = name == "mmengine" and block["train_cfg"]["by_epoch"]
        n = lasts(block, schedule)
        if in_epochs:
            theirs = convert(
                f"param_scheduler({block['optim_wrapper']['optimizer']['lr']}, {block['param_scheduler']}, max_epochs={n})",
                name,
                "yaml",
                epochs=n,
            )
        else:
            theirs = convert(
                schedule,
                "laju",
                f"yaml:{name}",
                updates=n,
                updates_per_epoch=facts.get("updates_per_epoch"),
                epochs=None,
            )
        assert theirs.own
        path.write_text(theirs.code, encoding="utf-8")
        again = read_config(path, name, **facts).schedule
        assert np.abs(again.values(n) - schedule.values(n)).max() <= 1e-12 * np.abs(schedule.values(n)).max(), (
            block,
            theirs.code,
        )

    check()


@pytest.mark.parametrize("name", ["composer", "mmengine", "nanogpt", "torchtitan", "deepspeed"])
def test_a_schedule_that_a_system_cannot_express_is_refused(name: str) -> None:
    # Each of these systems begins a warmup elsewhere, or trains an update more or less at an edge.
    with pytest.raises(DialectError, match=r"no configuration of \w+ was found that gives the values"):
        convert("cosine(0.1, total=100, warmup=10)", "laju", f"yaml:{name}")


def test_the_nearest_block_and_its_difference_are_in_the_refusal() -> None:
    with pytest.raises(
        DialectError, match=r'the nearest, \{"learning_rate": 0\.1, .*is different from update \d+ on, by'
    ):
        convert("poly(0.1, total=100, power=2, warmup=10, start=0.05)", "laju", "yaml:transformers")


def test_a_block_needs_a_system_and_the_units_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(DialectError, match=r"configurations of 'laju' are not written.*yaml:transformers"):
        convert("cosine(0.1, total=100)", "laju", "yaml")
    with pytest.raises(DialectError, match=r"configurations of 'axolot' are not written; did you mean 'axolotl'"):
        convert("cosine(0.1, total=100)", "laju", "yaml:axolot")
    with pytest.raises(DialectError, match="count epochs of batches: give updates_per_epoch"):
        convert("cosine(0.1, total=100)", "laju", "yaml:ultralytics")
    with pytest.raises(DialectError, match=r"Transformers' configurations count updates.*give updates_per_epoch"):
        convert("CosineLRScheduler(t_initial=9)", "timm", "yaml:transformers", lr=0.1)
    path = tmp_path / "ds_config.json"
    path.write_text('{"scheduler": {"type": "WarmupDecayLR", "params": {"total_num_steps": 40, "warmup_num_steps": 10, '
                    '"warmup_max_lr": 0.1}}, "optimizer": {"type": "Adam", "params": {"lr": 0.1}}}')  # fmt: skip
    found = convert(str(path), "config", "yaml")
    assert found.target == "yaml:deepspeed"
    assert '"type": "WarmupDecayLR"' in found.code
    assert math.isclose(found.schedule(20), read_config(path).schedule(20))


def test_the_run_is_as_long_as_the_configuration_says(tmp_path: Path) -> None:
    recipe = tmp_path / "mpt.yaml"
    recipe.write_text(
        "scheduler: {name: cosine_with_warmup, t_warmup: 100ba, alpha_f: 0.1}\noptimizer: {lr: 6e-4}\nmax_duration: 4800ba\n"
    )
    assert convert(str(recipe), "config", "laju").updates == 4800
    assert "max_duration: 4800ba" in convert(str(recipe), "config", "yaml").code
    steps = tmp_path / "mask_rcnn.py"
    steps.write_text(
        "optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.02))\ntrain_cfg = dict(by_epoch=True, max_epochs=12)\n"
        "param_scheduler = [dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),\n"
        "    dict(type='MultiStepLR', begin=0, end=12, by_epoch=True, milestones=[8, 11], gamma=0.1)]\n"
    )
    assert convert(str(steps), "config", "laju", updates_per_epoch=100).updates == 1200
    assert "max_iters=1200" in convert(str(steps), "config", "yaml", updates_per_epoch=100).code
