"""A configuration is read rightly or refused: no key that decides the rate is left out without a word."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from laju.dialects import DialectError, convert
from laju.dialects.configs import read_config

# Of each system: a configuration, what it needs beside it, and the keys that lead to each section that may hold a rate.
SYSTEMS: dict[str, tuple[Any, dict[str, Any], list[tuple[str, ...]]]] = {
    "axolotl": (
        {"base_model": "m", "num_epochs": 3, "lr_scheduler": "cosine", "learning_rate": 2e-4, "warmup_ratio": 0.1},
        {"total": 1000},
        [()],
    ),
    "transformers": (
        {"learning_rate": 1e-4, "lr_scheduler_type": "cosine", "num_train_epochs": 2}, {"updates_per_epoch": 100}, [()],
    ),
    "deepspeed": (
        {
            "scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 9}},
            "optimizer": {"type": "Adam", "params": {"lr": 0.2}},
        },
        {},
        [(), ("optimizer", "params"), ("scheduler", "params")],
    ),
    "torchtitan": (
        {"optimizer": {"lr": 3e-4}, "lr_scheduler": {"warmup_steps": 20}, "training": {"steps": 200}},
        {},
        [(), ("optimizer",), ("training",), ("lr_scheduler",)],
    ),
    "torchtune": (
        {
            "optimizer": {"lr": "2e-5"},
            "lr_scheduler": {"_component_": "torchtune.training.get_cosine_schedule_with_warmup", "num_warmup_steps": 5},
        },
        {"total": 100},
        [(), ("optimizer",), ("lr_scheduler",)],
    ),
    "mmengine": (
        {
            "param_scheduler": [{"type": "StepLR", "step_size": 4}],
            "optim_wrapper": {"optimizer": {"lr": 0.02}},
            "train_cfg": {"max_epochs": 12},
        },
        {},
        [("optim_wrapper",), ("optim_wrapper", "optimizer")],
    ),
    "composer": (
        {"scheduler": {"name": "cosine_with_warmup", "t_warmup": "3ba"}, "max_duration": "9ba", "optimizer": {"lr": 0.1}},
        {},
        [(), ("optimizer",), ("scheduler",)],
    ),
    "diffusers": (
        {"learning_rate": 1e-4, "lr_scheduler": "cosine", "lr_warmup_steps": 5, "max_train_steps": 50}, {}, [()],
    ),
    "kohya": (
        {"learning_rate": 1e-4, "lr_scheduler": "linear", "network_module": "m", "max_train_steps": 50}, {}, [()],
    ),
    "timm": ({"sched": "cosine", "lr": 0.1, "epochs": 20, "warmup_epochs": 2}, {"updates_per_epoch": 3}, [()]),
    "megatron": ({"lr": 1e-4, "train_iters": 100, "lr_decay_style": "cosine"}, {}, [()]),
    "gptneox": (
        {"optimizer": {"params": {"lr": 1e-4}}, "train-iters": 100, "lr-decay-style": "cosine", "zero_optimization": {}}, {},
        [(), ("optimizer", "params")],
    ),
    "nemo": (
        {"optim": {"lr": 1e-4, "sched": {"name": "CosineAnnealing"}}, "trainer": {"max_steps": 30}}, {},
        [(), ("optim",), ("optim", "sched")],
    ),
    "olmo": (
        {"optimizer": {"learning_rate": 1e-4}, "scheduler": {"name": "cosine_with_warmup"}, "max_duration": 300}, {},
        [(), ("optimizer",), ("scheduler",)],
    ),
    "nanotron": (
        {
            "optimizer": {"learning_rate_scheduler": {"learning_rate": 1e-4, "lr_warmup_style": "linear"}},
            "tokens": {"train_steps": 30},
        },
        {},
        [(), ("optimizer",), ("optimizer", "learning_rate_scheduler")],
    ),
    "fairseq": (
        {"optimization": {"lr": [1e-4], "max_update": 30}, "lr_scheduler": {"_name": "inverse_sqrt", "warmup_updates": 5}}, {},
        [(), ("optimization",), ("lr_scheduler",)],
    ),
    "detectron2": ({"SOLVER": {"BASE_LR": 0.02, "MAX_ITER": 90, "STEPS": [60]}}, {}, [("SOLVER",)]),
    "paddle": (
        {"LearningRate": {"base_lr": 0.01, "schedulers": [{"name": "CosineDecay", "max_epochs": 9, "use_warmup": False}]}},
        {"updates_per_epoch": 5},
        [(), ("LearningRate",)],
    ),
    "lightning": (
        {
            "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}},
            "lr_scheduler": {"class_path": "StepLR", "init_args": {"step_size": 3}},
        },
        {"updates_per_epoch": 5, "total": 50},
        [(), ("optimizer",), ("optimizer", "init_args")],
    ),
    "hydra": (
        {
            "optimizer": {"_target_": "torch.optim.SGD", "lr": 0.1},
            "scheduler": {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR", "T_max": 30},
        },
        {"interval": "step"},
        [()],
    ),
    "llamafactory": ({"model": "m", "train_dataset": "d", "learning_rate": 1e-4}, {}, [()]),
}  # fmt: skip
PLACES = [(system, place) for system, (_, _, places) in SYSTEMS.items() for place in places]
OWN = {
    ("torchtitan", "min_lr_factor"),
    ("deepspeed", "warmup_type"),
    ("timm", "min_lr"),
    ("timm", "warmup_epochs"),
    ("timm", "sched"),
    ("fairseq", "lr"),
    ("megatron", "min_lr"),
    ("gptneox", "min_lr"),
    ("gptneox", "min-lr"),
    ("gptneox", "lr"),
    ("gptneox", "warmup"),
    ("nemo", "min_lr"),
    ("detectron2", "WARMUP_FACTOR"),
    ("detectron2", "WARMUP_ITERS"),
}
HARMLESS = [
    "weight_decay", "wd", "drop_rate", "drop_path_rate", "dropout_rate", "sample_rate", "sampling_rate",
    "audio_sampling_rate", "frame_rate", "bitrate", "error_rate", "rate_limit", "ema_decay", "ema_rate",
    "momentum_decay", "decay_mom_rate", "noise_schedule", "noise_scheduler", "beta_schedule", "timestep_schedule",
    "scheduled_sampling", "kl_anneal", "temperature_decay", "profiler_schedule", "pipeline_parallel_schedule",
    "curriculum_learning", "growth_rate", "cosine_similarity", "cosine_min_value_wrong", "cosine_max_len", "mlr",
    "mlr_tag", "mlrun_project", "already_done", "allreduce_always_fp32", "lru_cache", "lrelu_slope",
    "generate_during_eval", "accelerator_config", "iterate_once", "separate_heads", "moderate", "log_lr", "lr_monitor",
    "warm_start", "url", "world_rank", "gradient_accumulation_steps", "save_steps", "eval_steps", "logging_steps",
    "plot_loss", "overwrite_output_dir", "quantization_bit", "use_reentrant",
]  # fmt: skip


def with_key(system: str, place: tuple[str, ...], key: str, value: Any) -> tuple[Any, dict[str, Any]]:
    config, facts, _ = SYSTEMS[system]
    config = copy.deepcopy(config)
    section = config
    for name in place:
        section = section[name]
    section[key] = value
    return config, facts


@st.composite
def foreign(draw: st.DrawFn) -> str:
    """A key that speaks of rates: in the words of other systems, in any case."""
    stem = draw(st.sampled_from(["lr", "learning_rate", "lr_schedule", "warmup", "rate_decay", "cosine", "anneal", "min_lr",
                                 "sched", "learningRate", "warm_up", "lrate"]))  # fmt: skip
    before = draw(st.sampled_from(["", "my_", "base_", "x_", "final_", "use_", "initial_", "new_"]))
    after = draw(st.sampled_from(["", "_type", "_iters", "_fraction", "_policy", "_epochs", "_config", "_factor"]))
    return draw(st.sampled_from([str, str.upper, lambda key: key.replace("_", "-")]))(before + stem + after)


@st.composite
def misspelt(draw: st.DrawFn) -> tuple[str, str]:
    """A key of TrainingArguments with a letter left out, twice or exchanged, and the key itself."""
    key = draw(
        st.sampled_from(
            [
                "learning_rate",
                "lr_scheduler_type",
                "lr_scheduler_kwargs",
                "warmup_ratio",
                "warmup_steps",
                "num_train_epochs",
            ]
        )
    )
    at = draw(st.integers(0, len(key) - 2))
    a, b, rest = key[at], key[at + 1], key[at + 2 :]
    return draw(st.sampled_from([key[:at] + b + rest, key[:at] + a + a + b + rest, key[:at] + b + a + rest])), key


@pytest.mark.parametrize(("system", "place"), PLACES, ids=str)
@given(key=foreign())
def test_another_key_that_speaks_of_rates_is_refused(system: str, place: tuple[str, ...], key: str) -> None:
    section = SYSTEMS[system][0]
    for name in place:
        section = section[name]
    assume(key not in section and (system, key) not in OWN)
    config, facts = with_key(system, place, key, 0.5)
    with pytest.raises(DialectError) as caught:
        read_config(config, system, **facts)
    assert key in str(caught.value)


@given(misspelt())
def test_a_misspelt_key_is_refused_with_the_right_one(keys: tuple[str, str]) -> None:
    wrong, right = keys
    assume(wrong != right)
    config, facts = with_key("transformers", (), wrong, "cosine")
    with pytest.raises(DialectError, match=rf"^{wrong} .*transformers.*did you mean '{right}'"):
        read_config(config, **facts)


@pytest.mark.parametrize("key", ["lr_schduler_type", "warmup_step", "min_lr"])
def test_keys_that_trainer_does_not_have(key: str) -> None:
    config = {"learning_rate": 1e-4, key: "cosine", "num_train_epochs": 2}
    with pytest.raises(DialectError, match=rf"{key} seems to decide the rate .*lr_scheduler_type"):
        read_config(config, updates_per_epoch=100)


@pytest.mark.parametrize(
    ("system", "place"),
    [p for p in PLACES if p[1][-1:] not in (("params",), ("lr_scheduler",), ("scheduler",), ("sched",))],
)
@pytest.mark.parametrize("key", HARMLESS)
def test_keys_of_other_things_change_nothing(system: str, place: tuple[str, ...], key: str) -> None:
    config, facts = with_key(system, place, key, 0.5)
    assert read_config(config, system, **facts) == read_config(SYSTEMS[system][0], system, **facts)


@pytest.mark.parametrize(
    "key",
    ["embedding_lr", "loraplus_lr_ratio", "layer_decay_rate", "vision_tower_lr", "lr_groups", "dion_lr", "vit_lr"],
)
def test_rates_of_other_groups_are_noted(key: str) -> None:
    config, facts = with_key("transformers", (), key, 0.5)
    found, alone = read_config(config, **facts), read_config(SYSTEMS["transformers"][0], **facts)
    assert found.schedule == alone.schedule
    assert found.notes == (*alone.notes, f"{key} is left out: the rate of other parameter groups")


@pytest.mark.parametrize("value", [None, False, "", {}, []])
def test_a_key_that_is_not_set_is_no_key(value: Any) -> None:
    config, facts = with_key("transformers", (), "min_lr", value)
    assert read_config(config, **facts) == read_config(SYSTEMS["transformers"][0], **facts)


def test_every_argument_of_trainer_passes() -> None:
    transformers = pytest.importorskip("transformers")
    names = [field.name for field in dataclasses.fields(transformers.Seq2SeqTrainingArguments)]
    own = {
        "learning_rate",
        "lr_scheduler_type",
        "lr_scheduler_kwargs",
        "warmup_ratio",
        "warmup_steps",
        "max_steps",
        "num_train_epochs",
    }
    config, facts, _ = SYSTEMS["transformers"]
    full = {name: 1 for name in names if name not in own and "batch" not in name} | config
    assert len(full) > 80
    assert read_config(full, **facts) == read_config(config, **facts)


def test_variables_of_a_file_are_no_keys_of_its_system(tmp_path: Path) -> None:
    config, facts = with_key("composer", (), "peak_lr", 0.1)
    with pytest.raises(DialectError, match="peak_lr seems to decide the rate"):
        read_config(config, **facts)
    config["optimizer"]["lr"] = "${peak_lr}"
    assert read_config(config, **facts) == read_config(SYSTEMS["composer"][0])
    file = tmp_path / "own.py"
    file.write_text(
        "base_lr = 0.02\noptim_wrapper = dict(optimizer=dict(lr=base_lr))\nparam_scheduler = [dict(type='StepLR', step_size=4)]\n"
    )
    assert read_config(file).schedule(0) == 0.02
    file.write_text(file.read_text() + "lr_config = dict(policy='CosineAnnealing', min_lr=0)\n")
    with pytest.raises(DialectError, match="lr_config seems to decide the rate"):
        read_config(file)


def test_files_of_olmo_are_not_taken_for_composer_s() -> None:
    config = {
        "optimizer": {"name": "adamw", "learning_rate": 4e-4}, "max_duration": "2e12T",
        "scheduler": {"name": "cosine_with_warmup", "t_warmup": 2000, "alpha_f": 0.1},
    }  # fmt: skip
    with pytest.raises(
        DialectError, match=r"model\.max_sequence_length is not in the configuration, and olmo needs it"
    ):
        read_config(config)


def test_numbers_that_yaml_takes_for_text(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    file = tmp_path / "sft.yaml"
    file.write_text("learning_rate: 2e-5\nlr_scheduler_type: cosine\nwarmup_ratio: 0.1\nmax_steps: 1000\n")
    assert read_config(file).schedule(100) == 2e-5
    assert read_config(file).schedule(550) == pytest.approx(1e-5)


# --- axolotl ------------------------------------------------------------------------------------------------------------


@given(
    peak=st.floats(1e-6, 1e-2),
    warmup=st.integers(2, 400),
    total=st.integers(401, 3000),
    floor=st.sampled_from([None, 0.1, 0.25]),
    name=st.sampled_from(["cosine", None, "linear", "constant_with_warmup"]),
    share=st.booleans(),
)
def test_axolotl(peak: float, warmup: int, total: int, floor: float | None, name: str | None, share: bool) -> None:
    config: dict[str, Any] = {
        "base_model": "m",
        "micro_batch_size": 2,
        "learning_rate": f"{peak:.17g}",
        "lr_scheduler": name,
    }
    config |= {"warmup_ratio": warmup / total} if share else {"warmup_steps": warmup}
    config |= {"max_steps": total} if floor is None else {"num_epochs": 2, "cosine_min_lr_ratio": floor}
    if int(warmup / total * total) != warmup:
        assume(not share)
    found = read_config(config, **({} if floor is None else {"total": total}))
    assert found.system == "axolotl"
    low = floor or 0.0
    for t in (0, 1, warmup - 1, warmup, (warmup + total) // 2, total):
        left = (total - t) / (total - warmup)
        after = {
            "linear": left,
            "constant_with_warmup": 1.0,
        }.get(name or "cosine", low + (1 - low) * (1 - math.cos(math.pi * left)) / 2)
        expected = peak * (t / warmup if t < warmup else after)
        assert found.schedule(t) == pytest.approx(expected, rel=1e-9, abs=1e-15 * peak)


def test_a_warmup_before_a_constant_rate_is_told_to_have_no_effect() -> None:
    config = {"learning_rate": 1e-4, "max_steps": 100, "warmup_steps": 10, "lr_scheduler_type": "constant"}
    assert any("have no effect with 'constant'" in note for note in read_config(config).notes)
    assert not read_config({**config, "lr_scheduler_type": "constant_with_warmup"}).notes


def test_the_cosine_of_axolotl_is_no_line() -> None:
    config, facts, _ = SYSTEMS["axolotl"]
    assert read_config(config, **facts).schedule(325) == pytest.approx(1.7071068e-4, rel=1e-7)
    assert read_config(config, updates_per_epoch=100).call == "get_scheduler(0.0002, 'cosine', 30, 300)"


@pytest.mark.parametrize(
    ("changes", "warmup", "note"),
    [
        ({}, 30, "neither warmup_steps nor warmup_ratio"),
        ({"max_steps": 9000}, 100, "at most 100"),
        ({"warmup_steps": 1}, 2, None),
        ({"warmup_ratio": 0.0019}, 2, "rounds down"),
        ({"warmup_ratio": 0.0125}, 12, "rounds down"),
        ({"warmup_steps": 0}, 0, "earlier ones"),
        ({"warmup_steps": 20, "warmup_ratio": 0.5}, 20, None),
        ({"max_steps": -1, "warmup_ratio": 0.5}, 0, "a share makes no warmup"),
        ({"max_steps": -1, "warmup_steps": 20}, 20, "no limit"),
    ],
)
def test_the_warmup_of_axolotl(changes: dict[str, Any], warmup: int, note: str | None) -> None:
    config = {"base_model": "m", "lr_scheduler": "linear", "learning_rate": 1e-4, "max_steps": 1000} | changes
    found = read_config(config, updates_per_epoch=1000)
    total = config["max_steps"] if config["max_steps"] > 0 else 1000
    assert found.call == f"get_scheduler(0.0001, 'linear', {warmup}, {total})"
    assert any(note in text for text in found.notes) if note else not found.notes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr_scheduler": "rex"}, "lr_scheduler: 'rex' of axolotl"),
        ({"lr_scheduler": "one_cycle"}, "lr_scheduler: 'one_cycle' of axolotl"),
        ({"lr_quadratic_warmup": True}, "lr_quadratic_warmup: True of axolotl"),
        ({"cosine_min_lr_ratio": 0.1, "cosine_constant_lr_ratio": 0.8}, "cosine_constant_lr_ratio: 0.8 of axolotl"),
        ({"relora": True}, "relora: True of axolotl"),
        ({"jagged_restart_steps": 50}, "jagged_restart_steps: 50 of axolotl"),
        ({"lr_scheduler_type": "linear"}, "did you mean 'lr_scheduler'"),
        ({"lr_scheduler": "cosin"}, "did you mean 'cosine'"),
        ({"cosine_min_lr_ratio": 1.5}, "cosine_min_lr_ratio must be"),
        ({"learning_rate": None}, "learning_rate is not in the configuration: give lr"),
        ({"learning_rate": "fast"}, "learning_rate must be a finite number"),
        ({"warmup_steps": "x"}, "warmup_steps must be a finite number"),
    ],
    ids=str,
)
def test_what_of_axolotl_is_not_read_is_refused(changes: dict[str, Any], message: str) -> None:
    config, facts, _ = SYSTEMS["axolotl"]
    with pytest.raises(ValueError, match=message):
        read_config(config | changes, **facts)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_configuration_of_every_system_is_converted(system: str, tmp_path: Path) -> None:
    config, facts, _ = SYSTEMS[system]
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config))
    each = facts.get("updates_per_epoch", 1)
    more = {name: value for name, value in facts.items() if name not in ("total", "updates_per_epoch")}
    found = convert(str(file), "config", "laju", updates=120, updates_per_epoch=each, facts=more)
    expected = read_config(config, total=120, updates_per_epoch=each, **more)
    assert (found.source, found.text) == (expected.dialect, expected.call)
    assert found.schedule.values(120).tolist() == expected.schedule.values(120).tolist()
    again = convert(str(file), system, "laju", updates=120, updates_per_epoch=each, facts=more)
    assert again.schedule == found.schedule


def test_axolotl_needs_the_length_of_the_run() -> None:
    with pytest.raises(DialectError, match="give updates_per_epoch"):
        read_config(SYSTEMS["axolotl"][0])
