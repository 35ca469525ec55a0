"""Configurations of other systems give the rates that the systems themselves make of them."""

from __future__ import annotations

import contextlib
import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import laju
from laju.dialects import DialectError, NotASchedule, convert, read
from laju.dialects.configs import read_config

from .test_config_keys import SYSTEMS as CONFIGURATIONS

ARGUMENTS: dict[str, Any] = {
    "learning_rate": 3e-5,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 10,
    "max_steps": 100,
    "per_device_train_batch_size": 8,
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"warmup_steps": 0.06},
        {"lr_scheduler_type": "linear", "warmup_steps": 0},
        {"lr_scheduler_type": "constant_with_warmup"},
        {"lr_scheduler_type": "inverse_sqrt", "lr_scheduler_kwargs": {"timescale": 20}},
        {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 1e-6}},
        {"lr_scheduler_type": "warmup_stable_decay", "lr_scheduler_kwargs": {"num_decay_steps": 20}},
        {"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"power": 2.0, "lr_end": 0.0}},
    ],
)
def test_training_arguments_are_what_trainer_makes_of_them(changes: dict[str, Any], tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    given = {**ARGUMENTS, **changes}
    arguments = transformers.TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[], **given)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=given["learning_rate"])
    trainer = transformers.Trainer(model=torch.nn.Linear(1, 1), args=arguments, optimizers=(optimizer, None))
    scheduler = trainer.create_scheduler(100, optimizer)
    real = []
    for _ in range(110):
        real.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    file = tmp_path / "arguments.json"
    file.write_text(json.dumps(given))
    found = read_config(file)
    assert found.system == "transformers"
    assert found.schedule.values(110) == pytest.approx(real, rel=1e-13, abs=1e-19)
    assert read("transformers", found.call) == found.schedule


def test_the_length_of_training_arguments_comes_from_the_data() -> None:
    given = {"learning_rate": 1e-4, "lr_scheduler_type": "linear", "num_train_epochs": 3, "warmup_ratio": 0.1,
             "per_device_train_batch_size": 8, "gradient_accumulation_steps": 4}  # fmt: skip
    with pytest.raises(DialectError, match=r"length of the run.*give updates_per_epoch"):
        read_config(given)
    # 1,000 samples are 125 batches of 8, and 32 updates of 4 batches, the last of them smaller.
    assert read_config(given, samples=1000).call == "get_scheduler(0.0001, 'linear', 10, 96)"
    assert read_config(given, samples=1000, world_size=2).call == "get_scheduler(0.0001, 'linear', 5, 48)"
    assert read_config(given, updates_per_epoch=50).call == "get_scheduler(0.0001, 'linear', 15, 150)"
    found = read_config({"lr_scheduler_type": "cosine", "learning_rate": 1e-4, "num_epochs": 9}, updates_per_epoch=50)
    assert (found.call, found.notes) == (
        "get_scheduler(0.0001, 'cosine', 0, 150)",
        ("num_train_epochs is not given: 3",),
    )
    found = read_config({"per_device_train_batch_size": 8}, total=100)
    assert found.call == "get_scheduler(5e-05, 'linear', 0, 100)"
    assert len(found.notes) == 2


def test_deepspeed(tmp_path: Path) -> None:
    section = {
        "type": "WarmupDecayLR",
        "params": {"total_num_steps": "auto", "warmup_max_lr": 0.1, "warmup_num_steps": 10},
    }
    file = tmp_path / "ds.json"
    file.write_text(json.dumps({"train_batch_size": 8, "scheduler": section}))
    with pytest.raises(DialectError, match=r"scheduler\.params\.total_num_steps, which is 'auto'.*give total="):
        read_config(file)
    found = read_config(file, total_num_steps=100)
    assert found.call == "WarmupDecayLR(total_num_steps=100, warmup_max_lr=0.1, warmup_num_steps=10)"
    assert found.schedule == read("deepspeed", found.call)
    optimizer = {"type": "Adam", "params": {"lr": 0.2}}
    warmup = {"scheduler": {"type": "WarmupLR", "params": {"warmup_num_steps": 4, "warmup_type": "linear"}}}
    assert read_config({"optimizer": optimizer, **warmup}).schedule(100) == 0.2
    with pytest.raises(DialectError, match=r"the optimizer's rate.*give lr"):
        read_config(warmup)
    cycle = {"type": "OneCycle", "params": {"cycle_min_lr": 0.1, "cycle_max_lr": 1.0, "cycle_min_mom": 0.8}}
    assert read_config({"scheduler": cycle}).notes == ("left out, as no part of the learning rate: cycle_min_mom",)
    with pytest.raises(DialectError, match="did you mean 'WarmupLR'"):
        read_config({"scheduler": {"type": "WarmUpLR", "params": {}}})


def test_torchtitan(tmp_path: Path) -> None:
    file = tmp_path / "llama.toml"
    file.write_text(
        "[optimizer]\nlr = 3e-4\n[lr_scheduler]\nwarmup_steps = 20\ndecay_ratio = 0.2\nlr_min = 0.1\n[training]\nsteps = 200\n"
    )
    found = read_config(file)
    assert found.call == ("LRSchedulersContainer(0.0003, 200, warmup_steps=20, decay_ratio=0.2, min_lr_factor=0.1)")
    assert found.schedule == read("torchtitan", found.call)
    assert found.schedule.values(200)[[0, 19, 100]].tolist() == pytest.approx([1.5e-5, 3e-4, 3e-4])
    with pytest.raises(DialectError, match=r"training\.steps is not in the configuration: give total"):
        read_config({"lr_scheduler": {"warmup_steps": 2}})
    with pytest.raises(DialectError, match="no key 'decay'"):
        read_config({"lr_scheduler": {"decay": 2}}, total=9)


def test_torchtune_without_a_scheduler_keeps_the_rate() -> None:
    optimizer = {"_component_": "bitsandbytes.optim.PagedAdamW", "lr": 2e-5}
    found = read_config({"optimizer": optimizer, "epochs": 3, "optimizer_in_bwd": True})
    assert (found.system, found.schedule) == ("torchtune", laju.constant(2e-5))
    assert found.notes == ("lr_scheduler is not given: the rate is constant",)
    referred = read_config({"optimizer": {**optimizer, "lr": "${lr}"}, "lr": "2e-5", "epochs": 3})
    assert referred.schedule == found.schedule
    with pytest.raises(DialectError, match="lr_schedule seems to decide the rate"):
        read_config({"optimizer": optimizer, "lr_schedule": {"num_warmup_steps": 5}})


def test_torchtune(tmp_path: Path) -> None:
    file = tmp_path / "full.yaml"
    file.write_text(
        "optimizer:\n  _component_: torch.optim.AdamW\n  lr: 2e-5\n"
        "lr_scheduler:\n  _component_: torchtune.training.lr_schedulers.get_cosine_schedule_with_warmup\n"
        "  num_warmup_steps: 5\nepochs: 2\n"
    )
    with pytest.raises(DialectError, match="the length of the run"):
        read_config(file)
    found = read_config(file, updates_per_epoch=50)
    assert found.call == "get_cosine_schedule_with_warmup(2e-05, 5, 100, 0.5)"
    assert found.schedule == read("transformers", found.call)
    capped = {
        "optimizer": {"lr": 2e-5}, "epochs": 2, "max_steps_per_epoch": 100,
        "lr_scheduler": {"_component_": "torchtune.training.get_cosine_schedule_with_warmup", "num_warmup_steps": 10},
    }  # fmt: skip
    found = read_config(capped, updates_per_epoch=400)
    assert (found.schedule(100), found.notes) == (pytest.approx(1.0826e-5, rel=1e-4), ())
    assert read_config(capped, updates_per_epoch=60).call == "get_cosine_schedule_with_warmup(2e-05, 10, 120, 0.5)"
    assert "give updates_per_epoch" in read_config(capped).notes[0]
    with pytest.raises(DialectError, match="is not one that laju knows"):
        read_config({"lr_scheduler": {"_component_": "my.own_schedule"}})


@pytest.mark.parametrize(
    ("config", "options", "error", "message"),
    [
        ({"a": 1}, {}, DialectError, "not a configuration that laju knows"),
        ({"a": 1}, {"system": "deepspede"}, DialectError, "did you mean 'deepspeed'"),
        ({"a": 1}, {"system": "deepspeed"}, DialectError, "the optimizer's rate"),
        ([1], {"system": "transformers"}, DialectError, "must be a mapping"),
        ({**ARGUMENTS, "lr_scheduler_type": "reduce_lr_on_plateau"}, {}, NotASchedule, "follows a metric"),
        ({**ARGUMENTS, "lr_scheduler_type": "cosin"}, {}, DialectError, "did you mean 'cosine'"),
        ({**ARGUMENTS, "lr_scheduler_kwargs": {"cycles": 2}}, {}, DialectError, "do not suit 'cosine'"),
    ],
)
def test_bad_configurations(config: Any, options: dict[str, Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        read_config(config, **options)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_config(tmp_path / "none.json")
    for name, text in (("a.json", "{"), ("a.toml", "=="), ("a.yaml", "a: [")):
        (tmp_path / name).write_text(text)
        with pytest.raises(DialectError, match=f"{name} cannot be read as"):
            read_config(tmp_path / name)
    (tmp_path / "a.bin").write_text("")
    with pytest.raises(DialectError, match=r"must be a \.json"):
        read_config(tmp_path / "a.bin")


@pytest.mark.parametrize(
    "wrong",
    [{"warmup_steps": "x"}, {"warmup_steps": [1]}, {"max_steps": "x"}, {"learning_rate": {}}, {"max_steps": 10**400}],
    ids=str,
)
def test_values_of_the_wrong_kind_are_a_value_error(wrong: dict[str, Any]) -> None:
    config = {"learning_rate": 3e-5, "lr_scheduler_type": "linear", "warmup_steps": 10, "max_steps": 100}
    with pytest.raises(ValueError, match=r"config|number"):
        read_config(config | wrong)


AUTO = {"total_num_steps": "auto", "warmup_min_lr": "auto", "warmup_max_lr": "auto", "warmup_num_steps": "auto"}


def test_what_a_trainer_fills_into_deepspeeds_file_is_filled_from_the_run():
    own = {"type": "WarmupDecayLR", "params": AUTO}
    given = {"scheduler": own, "optimizer": {"type": "AdamW", "params": {"lr": "auto"}}}
    found = read_config(given, lr=1e-4, total=1000, warmup=100)
    assert found.schedule == read("deepspeed", "WarmupDecayLR(1000, 0, 1e-4, 100)", lr=1e-4)
    assert found.schedule(100) == pytest.approx(1e-4)
    assert found.schedule(500) == pytest.approx(5.5667e-5, rel=1e-4)
    assert "warmup_min_lr is 'auto'" in " ".join(found.notes)
    with pytest.raises(
        DialectError, match=r"warmup_num_steps, which is 'auto'.*give warmup=…, on the command line --fact warmup="
    ):
        read_config(given, lr=1e-4, total=1000)


@pytest.mark.parametrize(
    "given",
    [
        {"train_micro_batch_size_per_gpu": 4, "optimizer": {"type": "AdamW", "params": {"lr": 3e-5}}},
        {"optim_wrapper": {"optimizer": {"type": "SGD", "lr": 3e-5}}, "param_scheduler": []},
    ],
)
def test_a_known_system_without_a_scheduler_is_the_constant_rate_with_a_note(given):
    found = read_config(given)
    assert found.schedule == laju.constant(3e-5)
    assert "the rate is constant" in found.notes[0]


def test_schedulers_of_the_weight_decay_stand_beside_the_rates():
    own = {"type": "CosineAnnealingLR", "T_max": 100, "by_epoch": False, "end": 100}
    other = {"type": "CosineAnnealingWeightDecay", "eta_min": 0.2, "T_max": 100}
    found = read_config([own, other], lr=1e-3, max_iters=100)
    assert found.schedule(50) == pytest.approx(5e-4)
    assert "CosineAnnealingWeightDecay is left out: it schedules the weight decay" in found.notes


@pytest.mark.parametrize(
    "given", [{"learning_rate": float("nan")}, {"max_steps": float("inf")}, {"warmup_ratio": 3}, {"max_steps": "<"}]
)
def test_nothing_but_a_dialect_error_comes_out(given):
    with pytest.raises(DialectError):
        read_config({"lr_scheduler_type": "cosine", "max_steps": 10, **given})


def test_a_fact_that_no_reader_asks_for_is_refused():
    with pytest.raises(DialectError, match="the fact 'sampels' has no place in this configuration of transformers"):
        read_config({"lr_scheduler_type": "cosine", "max_steps": 10}, sampels=100)


def test_pasted_code_is_read_with_what_only_the_run_knows(tmp_path):
    text = "scheduler = CosineAnnealingLR(optimizer, T_max=3 * len(train_loader))"
    found = convert(text, "torch", "laju", lr=0.1, facts={"len( train_loader )": 391})
    assert found.schedule == convert("CosineAnnealingLR(T_max=1173)", "torch", "laju", lr=0.1).schedule
    assert read("torch", "scheduler = StepLR(optimizer, 30)", lr=0.1) == read("torch", "StepLR(30)", lr=0.1)
    with pytest.raises(DialectError, match=r"--fact 'len\(train_loader\)=…'"):
        read("torch", text, lr=0.1)
    with pytest.raises(DialectError, match="the fact 'x' does not occur in"):
        convert(text, "torch", "laju", lr=0.1, facts={"x": 3})


def test_numbers_in_text_are_numbers_and_an_unknown_tag_is_an_unknown_value(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(
        "learning_rate: 2e-5\nlr_scheduler_type: cosine\nwarmup_ratio: '0.1'\nmax_steps: '1000'\nmodel: !mine big\n"
    )
    found = read_config(file).schedule
    assert (found(100), found(550)) == pytest.approx((2e-5, 1e-5))
    file.write_text("learning_rate: !env RATE\nlr_scheduler_type: cosine\nmax_steps: 10\n")
    with pytest.raises(DialectError, match=r"learning_rate must be .*got '!env RATE' in line 1"):
        read_config(file)
    file.write_text("lr_scheduler_type: cosine\nmax_steps: 10\nx: !!python/object/apply:os.system ['true']\n")
    assert read_config(file).system == "transformers"


@pytest.mark.parametrize("system", ["transformers", "mmengine"])
def test_the_epochs_of_a_configuration_are_counted_once(system, tmp_path):
    given = {
        "transformers": {"learning_rate": 1e-4, "lr_scheduler_type": "cosine", "num_train_epochs": 2},
        "mmengine": {
            "param_scheduler": [{"type": "CosineAnnealingLR", "T_max": 2, "convert_to_iter_based": True}],
            "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 1e-4}},
            "train_cfg": {"by_epoch": True, "max_epochs": 2},
        },
    }[system]
    file = tmp_path / "run.json"
    file.write_text(json.dumps(given))
    found = convert(str(file), "config", "optax", updates_per_epoch=100)
    assert found.updates == 200
    assert (found.schedule(100), found.schedule(150)) == pytest.approx(
        (5e-5, 1e-4 * (1 + math.cos(0.75 * math.pi)) / 2)
    )


ALIASES = "".join(f"{n}: &{n} [{','.join(9 * ['*' + m])}]\n" for m, n in zip("abcdefgh", "bcdefghi", strict=True))
NANOTRON = "optimizer: {learning_rate_scheduler: {learning_rate: '${a}', lr_warmup_style: linear}}\n"
TARGET = '{"scheduler": {"_target_": "torch.optim.lr_scheduler.StepLR", "step_size": {"_target_": 3}}}'


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", f"a: &a [1,1,1,1,1,1,1,1,1]\n{ALIASES}", "at most 1,000,000 items"),
        ("a.yaml", "SOLVER: &s\n  BASE_LR: 0.1\n  SELF: *s\n", "at most 1,000,000 items"),
        ("a.yaml", "_BASE_: a.yaml\n", "is its own _BASE_"),
        ("a.yaml", "_BASE_: [none.yaml]\nSOLVER: {}\n", "not beside it"),
        ("a.yaml", "_BASE_: 3\nSOLVER: {}\n", "_BASE_ names None"),
        ("a.yaml", "_BASE_: https://example.org/a.yaml\nSOLVER: {}\n", "not beside it"),
        ("a.sh", "python train.py --lr 1e-4 --train-iters 'unclosed", "cannot be read as sh: No closing quotation"),
        ("a.sh", "x" * 400_000, "at most 300,000 characters"),
        ("a.sh", "--lr 1 2 --train-iters 9", "lr must be"),
        ("a.yaml", NANOTRON + "a: '${b}'\nb: '${a}'\n", "refers to itself"),
        ("a.yaml", "optimizer: {learning_rate_scheduler: !x [1, 2]}\n", "which the file does not say"),
        ("a.json", '{"model": {"optim": {"lr": 1, "sched": [1]}}}', "sched must be a mapping"),
        ("a.json", f'{{"SOLVER": {{"MAX_ITER": 1{400 * "0"}}}}}', r"MAX_ITER must be|cannot be read"),
        ("a.json", TARGET, r"give lr|no scheduler"),
        ("a.json", 300 * '{"a":' + "1" + 300 * "}", r"nested too deeply|not a configuration"),
    ],
    ids=range(15),
)
def test_hostile_files_are_one_error_with_the_place(name, text, message, tmp_path):
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(DialectError, match=message) as caught:
        read_config(file, updates_per_epoch=10)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("depth", [100, 400, 700, 900, 950, 990, 2000])
def test_files_of_any_depth_are_refused(depth, tmp_path):
    file = tmp_path / "deep.json"
    file.write_text(depth * '{"a":' + "1" + depth * "}")
    with pytest.raises(DialectError, match=r"nested too deeply|not a configuration|cannot be read|too large"):
        read_config(file)
    with pytest.raises(DialectError):
        read_config(file, "hydra")


def test_bases_that_multiply_are_bounded(tmp_path):
    for i in range(8):
        base = "" if i == 0 else f"_BASE_: [{', '.join(4 * [f'{i - 1}.yaml'])}]\n"
        (tmp_path / f"{i}.yaml").write_text(f"{base}SOLVER: {{MAX_ITER: 90000}}\n")
    assert read_config(tmp_path / "2.yaml").system == "detectron2"
    with pytest.raises(DialectError, match="at most 100 files"):
        read_config(tmp_path / "7.yaml")


ODD = [0.1, 1e300, -1.0, "x", "${x}", "$X", "1e-3", "???", "cosine", 10**400]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 50) | st.sampled_from(ODD),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["lr", "name", "a", "_target_"]), inner, max_size=3)
    ),
    max_leaves=4,
)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_nothing_but_a_dialect_error_comes_out_of_any_reader(data):
    system = data.draw(st.sampled_from(sorted(CONFIGURATIONS)))
    config, facts, _ = CONFIGURATIONS[system]
    config = copy.deepcopy(config)
    for _ in range(data.draw(st.integers(1, 3))):
        section = config
        while True:
            if not section:
                break
            key = data.draw(
                st.sampled_from(sorted(section) if isinstance(section, dict) else list(range(len(section))))
            )
            if not isinstance(section[key], dict | list) or not section[key] or data.draw(st.booleans()):
                section[key] = data.draw(VALUES)
                break
            section = section[key]
    with contextlib.suppress(DialectError):
        found = read_config(config, system, **facts)
        assert math.isfinite(found.schedule(0))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "a.json",
            '{"learning_rate": 0.1, "max_steps": 9, "learning_rate": 0.2}',
            "'learning_rate' .* 0.1 and with 0.2",
        ),
        (
            "a.json",
            '{"scheduler": {"type": "WarmupLR", "type": "OneCycle"}}',
            "'type' .* 'WarmupLR' and with 'OneCycle'",
        ),
        ("a.yaml", "lr: 0.1\nmax_steps: 9\nlr: 0.2\n", "'lr' is there twice, with 0.1 and with 0.2"),
        ("a.yaml", "SOLVER:\n  BASE_LR: 1\nSOLVER:\n  BASE_LR: 2\n", "'SOLVER' .* BASE_LR: 1 and with BASE_LR: 2"),
        ("a.yaml", f"a: [{1200 * '1'}]\na: [{1200 * '1'}]\n", "'a' is there twice"),  # too long to compare
        ("a.toml", "lr = 0.1\nlr = 0.2\n", "Cannot overwrite a value .at line 2"),
    ],
)
def test_a_key_with_two_values_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DialectError, match=message):
        read_config(tmp_path / name)


def test_a_key_with_one_value_twice_is_read_and_so_is_a_key_of_a_merge(tmp_path: Path) -> None:
    own = {"learning_rate": 0.1, "lr_scheduler_type": "linear", "max_steps": 9}
    text = ", ".join(f'"{key}": {json.dumps(value)}' for key, value in own.items())
    (tmp_path / "a.json").write_text(f"{{{text}, {text}}}")
    lines = "".join(f"{key}: {value}\n" for key, value in own.items())
    (tmp_path / "a.yaml").write_text(f"x: &x {{learning_rate: 7}}\ny: &y {{<<: *x}}\n<<: *y\n{lines}{lines}y: *y\n")
    expected = read_config(own).schedule
    assert read_config(tmp_path / "a.json").schedule == expected == read_config(tmp_path / "a.yaml").schedule
