"""Configurations of Megatron-LM, NeMo, OLMo, nanotron and fairseq against their own schedulers, update by update."""

from __future__ import annotations

import ast
import math
from enum import StrEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import laju
from laju.dialects import DialectError
from laju.dialects.configs import read_config

from .conftest import loaded, standing

torch = pytest.importorskip("torch")
some = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
LR = 3e-3


def same(found: Any, wanted: list[float]) -> None:
    assert found.schedule.values(len(wanted)) == pytest.approx(wanted, rel=1e-9, abs=1e-15)
    assert laju.parse(str(found.schedule)) == found.schedule


def optimizer_of(lr: float) -> Any:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def stepped(scheduler: Any, optimizer: Any, n: int) -> list[float]:
    rates = []
    for _ in range(n):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


# --- nanotron ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nanotron(dialects_path: Path) -> Any:
    file = dialects_path / "nanotron" / "helpers.py"
    if not file.exists():
        pytest.skip(f"needs nanotron in {dialects_path}: make setup-dialects")
    body = [node for node in ast.parse(file.read_text()).body if getattr(node, "name", "") == "lr_scheduler_builder"]
    names: dict[str, Any] = {
        "math": math,
        "LambdaLR": torch.optim.lr_scheduler.LambdaLR,
        "Optimizer": Any,
        "LRSchedulerArgs": Any,
    }
    exec(compile(ast.Module(body, []), str(file), "exec"), names)
    return names["lr_scheduler_builder"]


@some
@given(
    st.integers(0, 9),
    st.sampled_from(["linear", "constant"]),
    st.sampled_from(["linear", "cosine"]),
    st.none() | st.integers(0, 20),
    st.none() | st.integers(0, 20),
    st.sampled_from([1e-4, LR, 0.0]),
)
def test_nanotron(nanotron, warmup, style, shape, decay, begin, low):
    sched = {
        "learning_rate": LR,
        "lr_warmup_steps": warmup,
        "lr_warmup_style": style,
        "lr_decay_style": shape,
        "lr_decay_steps": decay,
        "lr_decay_starting_step": begin,
        "min_decay_lr": low,
    }
    found = read_config(
        {"optimizer": {"zero_stage": 0, "learning_rate_scheduler": sched}, "tokens": {"train_steps": 30}}
    )
    assert found.system == "nanotron"
    args = SimpleNamespace(**sched)
    if args.lr_decay_steps is None:  # nanotron's config/config.py, `__post_init__`
        args.lr_decay_steps = 30 - warmup
    optimizer = optimizer_of(LR)
    scheduler = nanotron(SimpleNamespace(get_base_optimizer=lambda: optimizer), args, 30)
    same(found, stepped(scheduler, optimizer, 45))


def test_nanotron_that_cannot_be_read():
    sched = {
        "learning_rate": LR,
        "lr_warmup_style": "linear",
        "lr_decay_style": "1-sqrt",
        "min_decay_lr": 0,
        "lr_warmup_steps": 2,
    }
    config = {"optimizer": {"learning_rate_scheduler": sched}, "tokens": {"train_steps": 10}}
    assert read_config(config).schedule(6) == pytest.approx(LR * (1 - math.sqrt(0.5)))
    for changes, message in (
        ({"lr_warmup_style": None}, "lr_warmup_style is not in the configuration, and nanotron needs it"),
        ({"lr_decay_style": "exp"}, "must be one of linear, cosine, 1-sqrt"),
        ({"lr_decay_step": 3}, "did you mean 'lr_decay_steps'"),
        ({"lr_warmup_steps": 11}, "must be at most tokens.train_steps"),
    ):
        with pytest.raises(DialectError, match=message):
            read_config({**config, "optimizer": {"learning_rate_scheduler": {**sched, **changes}}})
    with pytest.raises(DialectError, match=r"tokens\.train_steps is not in the configuration: give total"):
        read_config({"optimizer": config["optimizer"]})


# --- OLMo --------------------------------------------------------------------------------------------------------------


def olmo_0_6(name: str, lr: float, s: int, warmup: int, end: int, share: float, low: float) -> float:
    """ai2-olmo 0.6.0, olmo/optim.py: the two classes that the release installed for tests lacks."""
    if s < warmup:
        return low + (lr - low) * s / warmup
    if name == "constant_with_warmup":
        return lr
    floor = lr * share
    if s >= end:
        return floor
    p = (s - warmup) / (end - warmup)
    return floor + (1 - p) * (lr - floor) * (1 + math.cos(math.pi * p)) / 2


@pytest.fixture(scope="module")
def olmo(dialects_path: Path) -> Any:
    file = dialects_path / "olmo" / "optim.py"
    if not file.exists():
        pytest.skip(f"needs ai2-olmo in {dialects_path}: make setup-dialects")
    wanted = (
        "Scheduler",
        "CosWithWarmup",
        "LinearWithWarmup",
        "InvSqrtWithWarmup",
        "MaxScheduler",
        "ConstantScheduler",
    )
    body: list[Any] = [node for node in ast.parse(file.read_text()).body if getattr(node, "name", "") in wanted]
    assert len(body) == len(wanted)
    text = (
        "from dataclasses import dataclass\nfrom abc import ABCMeta, abstractmethod\nfrom math import cos, pi, sqrt\n"
        "from typing import *\n"
    )
    names: dict[str, Any] = {"__name__": __name__}
    exec(compile(ast.Module(ast.parse(text).body + body, []), str(file), "exec"), names)
    return names


OLMO = {
    "cosine_with_warmup": "CosWithWarmup",
    "linear_with_warmup": "LinearWithWarmup",
    "inverse_sqrt_with_warmup": "InvSqrtWithWarmup",
    "constant": "ConstantScheduler",
    "max_scheduler": "",
    "cosine_linear_envelope": "",
    "constant_with_warmup": "",
}


@some
@given(
    st.sampled_from(sorted(OLMO)),
    st.integers(1, 12),
    st.integers(1, 40),
    st.none() | st.integers(5, 40),
    st.sampled_from([0.1, 0.0, 1.0]),
    st.none() | st.sampled_from([0.0, 1e-4]),
    st.booleans(),
)
def test_olmo(olmo, name, warmup, total, t_max, share, low, tokens):
    each = 64 if tokens else 1
    sched: dict[str, Any] = {
        "name": name,
        "t_warmup": warmup * each,
        "alpha_f": share,
        "units": "tokens" if tokens else "steps",
        "grad_clip_warmup_steps": 9,
    }
    sched |= {} if t_max is None else {"t_max": t_max * each}
    sched |= {} if low is None else {"warmup_min_lr": low}
    config = {
        "optimizer": {"name": "adamw", "learning_rate": LR},
        "scheduler": sched,
        "max_duration": f"{total * each}T" if tokens else total,
        "global_train_batch_size": 4,
        "model": {"max_sequence_length": 16},
    }
    found = read_config(config)
    assert found.system == "olmo"
    common = {"grad_clip_warmup_steps": None, "grad_clip_warmup_factor": None, "warmup_min_lr": low}
    longer = {
        **common,
        "warmup_steps": warmup * each,
        "alpha_f": share,
        "t_max": None if t_max is None else t_max * each,
    }
    short = {**common, "warmup_steps": warmup * each}
    theirs = {
        "cosine_with_warmup": lambda: olmo["CosWithWarmup"](**longer),
        "linear_with_warmup": lambda: olmo["LinearWithWarmup"](**longer),
        "inverse_sqrt_with_warmup": lambda: olmo["InvSqrtWithWarmup"](**short),
        "constant": lambda: olmo["ConstantScheduler"](**common),
        "max_scheduler": lambda: olmo["MaxScheduler"](
            **common, sched1=olmo["CosWithWarmup"](**longer), sched2=olmo["InvSqrtWithWarmup"](**short)
        ),
    }
    end = (total if t_max is None else t_max) * each
    assume(end >= warmup * each)
    first = LR * 0.1 if low is None else low
    wanted = [
        theirs[name]().get_lr(LR, s * each, total * each)
        if name in theirs
        else olmo_0_6(name, LR, s * each, warmup * each, end, share, first)
        for s in range(1, total + 1)
    ]
    same(found, wanted)


CORE = [
    "CosWithWarmup",
    "LinearWithWarmup",
    "InvSqrtWithWarmup",
    "ConstantScheduler",
    "ConstantWithWarmup",
    "WSD",
    "HalfCosWithWarmup",
]


@pytest.fixture(scope="module")
def olmo_core(dialects_path: Path) -> Any:
    class Config:
        pass

    class Registrable:
        @staticmethod
        def register(name: str) -> Any:
            return lambda own: own

    stands = {
        "olmo_core.config": standing("c", Config=Config, Registrable=Registrable, StrEnum=StrEnum),
        "olmo_core.distributed.utils": standing("u", get_rank=lambda: 0),
        "olmo_core.distributed": standing("d", __path__=[]),
        "olmo_core.exceptions": standing("e", OLMoConfigurationError=ValueError),
        "olmo_core.optim.config": standing("o", INITIAL_LR_FIELD="initial_lr", LR_FIELD="lr"),
    }
    return loaded(dialects_path, "olmo_core/optim/scheduler.py", stands)


@some
@given(
    st.sampled_from(CORE),
    st.integers(1, 12),
    st.integers(24, 48),
    st.booleans(),
    st.sampled_from([0.1, 0.0]),
    st.booleans(),
    st.sampled_from([0.0, 1e-4]),
)
def test_olmo_core(olmo_core, name, warmup, total, by_share, alpha, tokens, low):
    each = 512 if tokens else 1
    sched: dict[str, Any] = {} if name == "ConstantScheduler" else {"warmup_min_lr": low}
    if name != "ConstantScheduler":
        sched |= {"warmup_fraction": 0.25} if by_share else {"warmup": warmup * each}
    if name in ("CosWithWarmup", "LinearWithWarmup", "InvSqrtWithWarmup", "HalfCosWithWarmup"):
        sched["alpha_f"] = alpha
    if name == "WSD":
        sched |= {"decay_min_lr": low} | (
            {"decay": 12 * each, "decay_fraction": None} if not by_share else {"decay_fraction": 0.25}
        )
    scheduler = getattr(olmo_core, name)(**sched)
    assume(name != "HalfCosWithWarmup" or not by_share or not tokens or (total * 0.25).is_integer())
    config = {
        "train_module": {
            "optim": {"lr": LR},
            "scheduler": {
                "_CLASS_": f"olmo_core.optim.scheduler.{name}",
                "units": "tokens" if tokens else "steps",
                **sched,
            },
        },
        "trainer": {"max_duration": {"value": total * each, "unit": "tokens" if tokens else "steps"}},
        "data_loader": {"global_batch_size": 512},
    }
    found = read_config(config)
    assert found.system == "olmo"
    same(found, [scheduler.get_lr(LR, s * each, total * each) for s in range(1, total + 1)])


def test_what_of_olmo_is_not_read_is_said():
    sched = {"name": "cosine_with_warmup", "t_warmup": 5}
    config = {"optimizer": {"learning_rate": LR}, "scheduler": sched, "max_duration": "1ep"}
    with pytest.raises(DialectError, match="give updates_per_epoch"):
        read_config(config)
    assert read_config(config, updates_per_epoch=20).length == 20
    for changes, message in (
        ({"scheduler": {**sched, "name": "cosin"}}, "must be one of cosine_with_warmup"),
        ({"scheduler": {**sched, "t_warm": 5}}, "t_warm"),
        ({"max_duration": "soon"}, "max_duration must be such as"),
        ({"scheduler": {**sched, "warmup_min_lr": 1}}, "warmup_min_lr must be below the rate"),
    ):
        with pytest.raises(DialectError, match=message):
            read_config({**config, **changes}, updates_per_epoch=20)
    staged = {"optim": {"lr": LR}, "scheduler": {"_CLASS_": "olmo_core.optim.scheduler.ComposableScheduler"}}
    with pytest.raises(DialectError, match=r"must be one of CosWithWarmup.*ComposableScheduler"):
        read_config({"train_module": staged, "trainer": {}})


# --- NeMo --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def nemo(dialects_path: Path) -> Any:
    stands = {
        "nemo.core.config": standing("c", __path__=[]),
        "nemo.core.config.schedulers": standing(
            "s", SchedulerParams=object, get_scheduler_config=None, register_scheduler_params=None
        ),
        "nemo.utils": standing("u", logging=standing("l"), __path__=[]),
        "nemo.utils.model_utils": standing("m", maybe_update_config_version=None),
        "omegaconf": standing("omegaconf", DictConfig=dict, OmegaConf=None),
    }
    for name in ("nemo.core.classes", "nemo.core.classes.common"):
        stands[name] = standing(name, __path__=[], safe_instantiate=None)
    return loaded(dialects_path, "nemo/core/optim/lr_scheduler.py", stands)


NEMO = [
    "WarmupPolicy",
    "WarmupHoldPolicy",
    "SquareAnnealing",
    "SquareRootAnnealing",
    "CosineAnnealing",
    "NoamAnnealing",
    "NoamHoldAnnealing",
    "WarmupAnnealing",
    "InverseSquareRootAnnealing",
    "PolynomialDecayAnnealing",
    "PolynomialHoldDecayAnnealing",
]


@pytest.mark.filterwarnings("ignore")
@settings(parent=some, max_examples=400)
@given(
    st.sampled_from(NEMO),
    st.sampled_from([0, 1, 5, 0.2]),
    st.sampled_from([None, 0, 6, 0.25, 40]),
    st.sampled_from([0.0, 1e-4]),
    st.sampled_from([0.5, 1.0, 2.0]),
)
def test_nemo(nemo, name, warmup, more, low, power):
    total = 24
    sched: dict[str, Any] = {"warmup_ratio" if isinstance(warmup, float) else "warmup_steps": warmup, "min_lr": low}
    takes = "hold" if "Hold" in name else "constant" if name == "CosineAnnealing" else None
    if takes and more is not None:
        assume(takes == "constant" or more != 40)
        sched[f"{takes}_ratio" if isinstance(more, float) else f"{takes}_steps"] = more
    if name.startswith("Poly"):
        sched["power"] = power
    if name == "NoamHoldAnnealing":
        sched["decay_rate"] = power
        assume(warmup)
    if name == "NoamAnnealing":
        sched["d_model"] = 16
    config = {
        "trainer": {"max_steps": total},
        "model": {"optim": {"name": "adamw", "lr": LR, "sched": {"name": name, **sched}}},
    }
    optimizer = optimizer_of(LR)
    try:
        scheduler = getattr(nemo, name)(optimizer, max_steps=total, **sched)
        wanted = stepped(scheduler, optimizer, 34 if name != "NoamAnnealing" else 60)
    except (ZeroDivisionError, AssertionError, ValueError):
        with pytest.raises(DialectError):
            read_config(config)
        return
    found = read_config(config)
    assert (found.system, found.length) == ("nemo", total)
    same(found, wanted)


def test_what_of_nemo_is_not_said_or_not_read_is_told():
    sched = {"name": "CosineAnnealing", "warmup_steps": 5, "min_lr": 1e-5, "max_steps": None}
    config: dict[str, Any] = {
        "model": {"optim": {"lr": LR, "sched": sched}},
        "trainer": {"max_steps": -1, "max_epochs": 3},
    }
    assert read_config(config, updates_per_epoch=10).length == 30
    with pytest.raises(DialectError, match="give updates_per_epoch"):
        read_config(config)
    config["model"]["optim"]["sched"] = {**sched, "max_steps": "${trainer.max_epochs}"}
    with pytest.raises(DialectError, match="shorter than the run of 3"):
        read_config(config)
    config["model"]["optim"]["sched"] = {**sched, "max_steps": "${train.steps}"}
    with pytest.raises(DialectError, match=r"\$\{train.steps\} has no value"):
        read_config(config)
    for changes, message in (
        ({"name": "CyclicLR"}, "must be one of WarmupPolicy"),
        ({"warmup_ratio": 0.1}, "are both given"),
        ({"hold_steps": 3}, "hold_steps is no argument of CosineAnnealing"),
        ({"min_lr": 1}, "min_lr must be at most lr"),
    ):
        config["model"]["optim"]["sched"] = {**sched, **changes}
        with pytest.raises(DialectError, match=message):
            read_config(config, updates_per_epoch=10)
    assert read_config({"model": {"optim": {"lr": LR}}}).schedule == laju.constant(LR)


# --- Megatron-LM ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def megatron(dialects_path: Path) -> Any:
    stands = {
        "megatron.core.optimizer": standing("o", MegatronOptimizer=object, __path__=[]),
        "megatron.core.optimizer.optimizer": standing("p", MegatronOptimizer=object),
        "megatron.core.utils": standing("u", log_single_rank=lambda *a: None),
    }
    return loaded(dialects_path, "megatron/core/optimizer_param_scheduler.py", stands).OptimizerParamScheduler


@some
@given(
    st.sampled_from(["constant", "linear", "cosine", "inverse-square-root", "WSD"]),
    st.sampled_from([None, 0.0, 0.1, 0.27]),
    st.integers(0, 9),
    st.none() | st.integers(20, 40),
    st.sampled_from([0.0, 1e-4]),
    st.booleans(),
)
def test_megatron(megatron, tmp_path_factory, style, fraction, warmup, decay, first, samples):
    unit, batch = ("samples", 8) if samples else ("iters", 1)
    times = batch if samples else 1
    args: dict[str, Any] = {
        "lr": LR,
        "min-lr": 3e-5,
        "lr-decay-style": style,
        f"train-{unit}": 40 * times,
        "lr-warmup-init": first,
        "global-batch-size": 8,
        "bf16": True,
        "override-opt-param-scheduler": True,
    }
    args |= {f"lr-warmup-{unit}": warmup * times} if fraction is None else {"lr-warmup-fraction": fraction}
    args |= {} if decay is None else {f"lr-decay-{unit}": decay * times}
    args |= {f"lr-wsd-decay-{unit}": 10 * times, "lr-wsd-decay-style": "minus_sqrt"} if style == "WSD" else {}
    file = tmp_path_factory.mktemp("megatron") / "pretrain.sh"
    flags = " \\\n".join(f"  --{key}" if value is True else f"  --{key} {value}" for key, value in args.items())
    file.write_text(
        f'#!/bin/bash\nMODEL_ARGS=(\n  --num-layers 12\n)\ntorchrun pretrain_gpt.py "${{MODEL_ARGS[@]}}" \\\n{flags}\n'
    )
    steps = (decay or 40) * batch
    if fraction is not None and style in ("inverse-square-root", "WSD"):
        assume(math.isclose(fraction * steps, round(fraction * steps)))
    scheduler = megatron(
        SimpleNamespace(param_groups=[{"wd_mult": 1}]),
        first,
        LR,
        3e-5,
        warmup * batch if fraction is None else fraction * steps,
        steps,
        style,
        0.0,
        0.0,
        1,
        "constant",
        wsd_decay_steps=10 * batch,
        lr_wsd_decay_style="minus_sqrt",
    )
    wanted = []
    for _ in range(50):
        wanted.append(scheduler.get_lr({}))
        scheduler.step(batch)
    found = read_config(file)
    assert (found.system, found.length) == ("megatron", 40)
    same(found, wanted)


def test_arguments_of_megatron_that_cannot_be_read(tmp_path):
    args = {"lr": LR, "train_iters": 100, "lr_decay_style": "cosine"}
    assert read_config(args).call == f"OptimizerParamScheduler(0.0, {LR}, 0.0, 0, 100, 'cosine')"
    for changes, message in (
        ({"rampup_batch_size": [8, 8, 100]}, "makes the batch grow"),
        ({"lr_warmup_fraction": 0.1, "lr_warmup_iters": 5}, "are both given"),
        ({"lr_decay_style": "cosin"}, "did you mean 'cosine'"),
        ({"lr_decay_style": "WSD"}, "lr_wsd_decay_iters is not in the configuration"),
        ({"lr_warmup": 5}, "lr_warmup seems to decide the rate"),
        ({"lr_warmup_iters": 100}, "lr_warmup_steps must be below lr_decay_steps"),
    ):
        with pytest.raises(DialectError, match=message):
            read_config({**args, **changes}, "megatron")
    file = tmp_path / "run.sh"
    file.write_text('ARGS="\n  --lr 1e-4 \\\n  --train-iters $N \\\n"\ntorchrun x.py $ARGS\n')
    with pytest.raises(DialectError, match=r"train_iters is \$N, which the file does not say"):
        read_config(file)
    file.write_text("N=500\n" + file.read_text())
    assert read_config(file).length == 500


COMMAND = "torchrun pretrain_gpt.py --train-iters 100 --lr-decay-style cosine --min-lr 1e-6"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (f"{COMMAND} --lr 1e-4\n{COMMAND} --lr 2e-4", "lr is '--lr 1e-4 or --lr 2e-4'"),
        (f"{COMMAND} --lr 1e-4 && {COMMAND} --lr 2e-4", "lr is '--lr 1e-4 or --lr 2e-4'"),
        (f"{COMMAND} --lr 1e-4 # first\n{COMMAND} --lr 2e-4", "lr is '--lr 1e-4 or --lr 2e-4'"),
        (f"LR=1e-4\n{COMMAND} --lr $LR\nLR=2e-4\n{COMMAND} --lr $LR", "lr is '--lr 1e-4 or --lr 2e-4'"),
        (f"if [ $A = b ]; then\n  LR=1e-4\nelse\n  LR=2e-4\nfi\n{COMMAND} --lr $LR", r"lr is \$LR"),
        (f"LR=2e-4\nif [ $A ]; then LR=1e-4; fi\n{COMMAND} --lr $LR", r"lr is \$LR"),
        (f"case $A in\n  b) LR=1e-4 ;;\n  c) if [ $B ]; then LR=2e-4; fi ;;\nesac\n{COMMAND} --lr $LR", r"lr is \$LR"),
        (f'case $A in\n  b) X="--lr 1e-4" ;;\n  c) X="--lr 2e-4" ;;\nesac\n{COMMAND} $X', "lr is '--lr 1e-4 or --lr 2e-4'"),
        (f"for LR in 1e-4 2e-4; do\n  {COMMAND} --lr $LR\ndone", r"lr is \$LR"),
    ],
)  # fmt: skip
def test_a_script_that_trains_in_two_ways_is_no_schedule(script, message, tmp_path):
    file = tmp_path / "run.sh"
    file.write_text(script + "\n")
    with pytest.raises(DialectError, match=message):
        read_config(file)


@pytest.mark.parametrize(
    "script",
    [
        f"if [ $STAGE -le 3 ]; then\n  LR=1e-4\n  {COMMAND} --lr $LR\nfi\necho done",  # the branch's own command
        f"python prepare.py --seed 1\n{COMMAND} --lr 1e-4 --seed 2\npython evaluate.py --lr 1e-4 --seed 3",
        f"{COMMAND} --lr 2e-4 --lr 1e-4",  # the last one counts, as for argparse
        f'ARGS="--lr 2e-4 --bf16"\n{COMMAND} $ARGS --lr 1e-4',
        f"ARGS=(\n  --lr 1e-4 # the peak\n  #--lr 2e-4\n)\n{COMMAND} ${{ARGS[@]}}",
        f"# python old.py \\\n#   --lr 2e-4 \\\n{COMMAND} --lr 1e-4 \\\n  --bf16\necho finished",
        f"{COMMAND} \\\n  --lr 1e-4\nexport A=b\necho finished",  # the next line is no second value
    ],
)
def test_a_script_with_one_training(script, tmp_path):
    file = tmp_path / "run.sh"
    file.write_text(script + "\n")
    assert read_config(file, "megatron").call == "OptimizerParamScheduler(0.0, 0.0001, 1e-06, 0, 100, 'cosine')"


# --- fairseq -------------------------------------------------------------------------------------------------------------


def fairseq(name: str, lr: list[float], t: int, each: int, c: dict[str, Any]) -> float:
    """fairseq 0.12.2, fairseq/optim/lr_scheduler/: `step_update(t)` of each file, branch by branch."""
    warmup, peak = c.get("warmup_updates", 0), lr[0]
    if name == "fixed":  # fixed_schedule.py
        epoch = t // each + 1
        anneal = c.get("force_anneal")
        rate = (
            lr[min(epoch - 1, len(lr) - 1)]
            if anneal is None or epoch < anneal
            else lr[-1] * 0.5 ** (epoch + 1 - anneal)
        )
        return (t + 1) / warmup * rate if t < warmup else rate
    if name == "inverse_sqrt":  # inverse_square_root_schedule.py
        first = c.get("warmup_init_lr", -1)
        first = 0.0 if first < 0 else first
        return first + t * (peak - first) / warmup if t < warmup else peak * warmup**0.5 * t**-0.5
    if name == "polynomial_decay":  # polynomial_decay_schedule.py
        if warmup > 0 and t <= warmup:
            return t / warmup * peak
        if t >= c["total_num_update"]:
            return float(c["end_learning_rate"])
        return float(
            (peak - c["end_learning_rate"]) * (1 - (t - warmup) / (c["total_num_update"] - warmup)) ** c["power"]
            + c["end_learning_rate"]
        )
    if name == "cosine":  # cosine_lr_scheduler.py
        low = c["min_lr"]
        first = low if c.get("warmup_init_lr", -1) < 0 else c["warmup_init_lr"]
        if t < warmup:
            return float(first + t * (peak - first) / warmup)
        now, period, mult = t - warmup, c["lr_period_updates"], c["t_mult"]
        if mult != 1:
            i = math.floor(math.log(1 - now / period * (1 - mult), mult) + 1e-12)
            length, at = mult**i * period, now - (1 - mult**i) / (1 - mult) * period
        else:
            i = math.floor(now / period)
            length, at = period, now - period * i
        return float((low + 0.5 * (peak - low) * (1 + math.cos(math.pi * at / length))) * 0.5**i)
    if name == "tri_stage":  # tri_stage_lr_scheduler.py
        up, hold, down = c["warmup_steps"], c["hold_steps"], c["decay_steps"]
        if t < up:
            return float(peak * (0.1 + 0.9 * t / up))
        if t < up + hold:
            return peak
        return peak * math.exp(math.log(0.05) / down * (t - up - hold)) if t <= up + hold + down else peak * 0.05
    if name == "triangular":  # triangular_lr_scheduler.py
        half = c["lr_period_updates"] // 2
        cycle = math.floor(t / (2 * half))
        low = peak * 0.5**cycle if c["shrink_min"] else peak
        return float(low + (c["max_lr"] * 0.5**cycle - low) * max(0, 1 - abs(t / half - 2 * (cycle + 1) + 1)))
    low = c["min_lr"]  # step_lr_scheduler.py
    first = low if c.get("warmup_init_lr", -1) < 0 else c["warmup_init_lr"]
    if t < warmup:
        return float(first + t * (peak - first) / warmup)
    return float(max(peak * 0.5 ** ((t - warmup) // c["lr_deacy_period"]), low))


@settings(parent=some, max_examples=150)
@given(
    st.sampled_from(["fixed", "inverse_sqrt", "polynomial_decay", "cosine", "tri_stage", "triangular", "step"]),
    st.integers(0, 8),
    st.sampled_from([-1, 0.0, 1e-4]),
    st.sampled_from([1, 2]),
    st.booleans(),
    st.none() | st.integers(1, 4),
    st.booleans(),
)
def test_fairseq(name, warmup, first, mult, flag, anneal, command):
    rates = [LR, LR / 3, LR / 7][: 3 if name == "fixed" and flag else 1]
    own: dict[str, dict[str, Any]] = {
        "fixed": {"warmup_updates": warmup, "lr_shrink": 0.5, "force_anneal": anneal},
        "inverse_sqrt": {"warmup_updates": warmup or 1, "warmup_init_lr": first},
        "polynomial_decay": {
            "warmup_updates": warmup,
            "end_learning_rate": 1e-5,
            "power": mult,
            "total_num_update": 40,
        },
        "cosine": {
            "warmup_updates": warmup,
            "warmup_init_lr": first,
            "min_lr": 1e-5,
            "t_mult": mult,
            "lr_period_updates": 12,
            "lr_shrink": 0.5,
        },
        "tri_stage": {
            "warmup_steps": warmup,
            "hold_steps": 5 * flag,
            "decay_steps": 12,
            "init_lr_scale": 0.1,
            "final_lr_scale": 0.05,
        },
        "triangular": {"max_lr": 3 * LR, "lr_period_updates": 11, "lr_shrink": 0.5, "shrink_min": flag},
        "step": {
            "warmup_updates": warmup,
            "warmup_init_lr": first,
            "min_lr": 1e-4,
            "lr_deacy_period": 7,
            "lr_decay": 0.5,
        },
    }
    given_here = {key: value for key, value in own[name].items() if value is not None}
    if command:
        config: dict[str, Any] = {
            "arch": "transformer",
            "lr": rates,
            "lr_scheduler": name,
            "max_update": 40,
            **given_here,
        }
    else:
        config = {"optimization": {"lr": rates, "max_update": 40}, "lr_scheduler": {"_name": name, **given_here}}
    found = read_config(config, updates_per_epoch=6)
    assert (found.system, found.length) == ("fairseq", 40)
    same(found, [fairseq(name, rates, t, 6, own[name]) for t in range(60)])


def test_what_of_fairseq_is_refused():
    config = {"arch": "x", "lr": [LR], "lr_scheduler": "inverse_sqrt", "warmup_updates": 10}
    assert (
        "warmup_updates is not given: 4000"
        in read_config({"arch": "x", "lr": LR, "lr_scheduler": "inverse_sqrt"}).notes
    )
    for changes, message in (
        ({"lr_scheduler": "reduce_lr_on_plateau"}, "must be one of inverse_sqrt"),
        ({"lr": [LR, 1e-4]}, "lr must be one rate with inverse_sqrt"),
        ({"warmup_updates": 0}, "must be a whole number of at least 1"),
        ({"lr_scheduler": "polynomial_decay"}, "max_update is not in the configuration: give total"),
        ({"lr_scheduler": "tri_stage", "warmup_updates": None}, "decay_steps must be above 0"),
        ({"warmup_update": 3}, "did you mean 'warmup_updates'"),
    ):
        with pytest.raises(DialectError, match=message):
            read_config({**config, **changes}, "fairseq")


# --- GPT-NeoX -------------------------------------------------------------------------------------------------------------


@some
@given(
    style=st.sampled_from(["constant", "linear", "cosine", "exponential"]),
    run=st.integers(1, 80),
    length=st.none() | st.integers(1, 60),
    share=st.none() | st.sampled_from([0.0, 0.5, 1.5]),
    warmup=st.none() | st.sampled_from([0, 0.01, 0.1, 0.25, 0.33, 0.5, 0.6, 1.0]),
    low=st.none() | st.sampled_from([0.0, 1e-4, 2e-3]),
    hyphens=st.booleans(),
)
def test_gptneox(style, run, length, share, warmup, low, hyphens):
    """As the published formula: the decay is counted from the warmup's end, over the whole length, and held before its end."""
    settings_ = {"train_iters": run, "lr_decay_iters": length, "lr_decay_fraction": share, "lr_decay_style": style,
                 "warmup": warmup, "min_lr": low, "zero_optimization": {"stage": 1}}  # fmt: skip
    config = {key.replace("_", "-") if hyphens else key: value for key, value in settings_.items() if value is not None}
    config["optimizer"] = {"type": "Adam", "params": {"lr": LR}}
    end = length or max(1, math.floor(run * (1 if share is None else share)))
    warm, floor = (0.01 if warmup is None else warmup) * end, low or 0.0
    if 2 * warm > end:
        with pytest.raises(DialectError, match="at most half"):
            read_config(config)
        return
    curves = {
        "constant": lambda n: LR,
        "linear": lambda n: LR * (1 - n / end),
        "cosine": lambda n: LR / 2 * (1 + math.cos(math.pi * n / end)),
        "exponential": lambda n: LR * math.exp(-0.693 * n / end),
    }
    wanted = []
    for t in range(run):
        n = min(t, end - warm)
        wanted.append(LR * n / warm if warm > 0 and t <= warm else max(curves[style](n - warm), floor))
    found = read_config(config)
    assert (found.system, found.length) == ("gptneox", run)
    same(found, wanted)


def test_gptneox_with_a_scheduler_of_deepspeed_is_refused():
    config = {"train_iters": 9, "optimizer": {"params": {"lr": LR}}, "scheduler": {"type": "WarmupLR", "params": {}}}
    with pytest.raises(DialectError, match="has the keys of deepspeed and of gptneox"):
        read_config(config)
    with pytest.raises(DialectError, match="scheduler seems to decide the rate"):
        read_config(config, "gptneox")


def test_gptneox_has_a_key_in_one_spelling():
    config = {"train-iters": 9, "train_iters": 10, "optimizer": {"params": {"lr": LR}}}
    with pytest.raises(DialectError, match="a key with hyphens and with underscores"):
        read_config(config, "gptneox")


def test_a_run_of_olmo_that_begins_with_a_checkpoint_is_told():
    config = {"optimizer": {"learning_rate": LR}, "scheduler": {"name": "cosine_with_warmup"}, "max_duration": 300}
    note = "load_path: a run that begins with a checkpoint begins at the update of the checkpoint"
    assert note in read_config({**config, "load_path": "step100"}).notes
    assert note not in read_config({**config, "load_path": "step100", "reset_trainer_state": True}).notes
