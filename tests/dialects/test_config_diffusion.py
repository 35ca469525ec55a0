"""Settings of diffusers' and kohya's training scripts against the functions that the scripts call."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import laju
from laju.dialects import DialectError, read
from laju.dialects.configs import read_config

from .conftest import loaded, standing

torch = pytest.importorskip("torch")

NAMES = ("linear", "cosine", "cosine_with_restarts", "polynomial", "constant", "constant_with_warmup")
some = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def optimization(dialects_path: Path) -> Any:
    logger = standing("diffusers.utils", logging=standing("logging", get_logger=logging.getLogger))
    return loaded(dialects_path, "diffusers/optimization.py", {"diffusers.utils": logger})


def rates(scheduler: Any, optimizer: Any, n: int, steps: int = 1) -> list[float]:
    found = []
    for _ in range(n):
        found.append(optimizer.param_groups[0]["lr"])
        for _ in range(steps):
            scheduler.step()
    return found


def optimizer_of(lr: float) -> Any:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


@pytest.mark.filterwarnings("ignore:Detected call of")
@some
@given(
    st.sampled_from(NAMES), st.integers(0, 20), st.integers(1, 60), st.integers(1, 4), st.sampled_from([0.5, 1.0, 2.0]),
    st.integers(1, 3),
)  # fmt: skip
def test_diffusers_scripts(optimization, name, warmup, decay, cycles, power, processes):
    total = warmup + decay
    config = {
        "learning_rate": "1e-4", "lr_scheduler": name, "lr_warmup_steps": warmup, "max_train_steps": total,
        "lr_num_cycles": cycles, "lr_power": power, "train_batch_size": 4,
    }  # fmt: skip
    optimizer = optimizer_of(1e-4)
    theirs = optimization.get_scheduler(
        name, optimizer, None, warmup * processes, total * processes, num_cycles=cycles, power=power
    )
    found = read_config(config)
    assert found.system == "diffusers"
    wanted = rates(theirs, optimizer, total + 5, processes)
    assert found.schedule.values(total + 5) == pytest.approx(wanted, rel=1e-11, abs=1e-15)
    assert read("transformers", found.call) == found.schedule


def test_what_a_script_of_diffusers_is_not_told_is_asked_for(tmp_path):
    config = {"learning_rate": 1e-4, "lr_scheduler": "cosine", "lr_warmup_steps": 10, "num_train_epochs": 3}
    with pytest.raises(DialectError, match=r"updates per epoch.*give updates_per_epoch"):
        read_config(config)
    assert read_config(config, updates_per_epoch=40).call == "get_scheduler(0.0001, 'cosine', 10, 120)"
    with pytest.raises(DialectError, match=r"lr_warmup_steps \(500 in most scripts\).*--fact lr_warmup_steps="):
        read_config({"learning_rate": 1e-4, "lr_scheduler": "cosine", "lr_power": 1, "max_train_steps": 9})
    with pytest.raises(DialectError, match=r"num_processes, which is not in the configuration"):
        read_config({**config, "scale_lr": True, "train_batch_size": 4}, total=90)
    scaled = {**config, "scale_lr": True, "train_batch_size": 4, "gradient_accumulation_steps": 2}
    assert read_config(scaled, total=90, num_processes=2).schedule(10) == pytest.approx(16e-4)
    with pytest.raises(DialectError, match=r"must be one of linear.*piecewise_constant"):
        read_config({**config, "lr_scheduler": "piecewise_constant"}, total=9)
    with pytest.raises(DialectError, match="lr_warmup_ratio seems to decide the rate"):
        read_config({**config, "lr_warmup_ratio": 0.1}, total=9)
    file = tmp_path / "train.sh"
    file.write_text(
        "export LR=1e-4\naccelerate launch train_text_to_image.py \\\n  --learning_rate=$LR --max_train_steps=15000 \\\n"
        '  --lr_scheduler="constant" --lr_warmup_steps=0 --mixed_precision="fp16"\n'
    )
    assert read_config(file).schedule == laju.constant(1e-4)
    file.write_text(file.read_text().replace("export LR=1e-4\n", ""))
    with pytest.raises(DialectError, match=r"learning_rate is \$LR, which the file does not say"):
        read_config(file)


# --- kohya: `get_scheduler_fix` of library/train_util.py calls these functions with these arguments ----------------------


@some
@pytest.mark.filterwarnings("ignore:Detected call of")
@given(
    st.sampled_from([*NAMES, "inverse_sqrt", "cosine_with_min_lr", "warmup_stable_decay"]), st.sampled_from([0, 5, 0.125]),
    st.sampled_from([0, 7, 0.25]), st.integers(40, 90), st.integers(1, 3), st.integers(1, 3),
)  # fmt: skip
def test_kohya_scripts(name, warmup, decay, total, cycles, processes):
    from transformers import optimization as theirs

    if name == "constant":
        warmup = 0
    config = {
        "learning_rate": 2e-4, "lr_scheduler": name, "lr_warmup_steps": warmup, "lr_decay_steps": decay, "max_train_steps": total,
        "lr_scheduler_num_cycles": cycles, "lr_scheduler_power": 2, "lr_scheduler_min_lr_ratio": 0.1, "network_module": "m",
        "lr_scheduler_timescale": 9, "unet_lr": 1e-4,
    }  # fmt: skip
    steps = total * processes
    w, d = (int(x * steps) if isinstance(x, float) else x for x in (warmup, decay))
    arguments = {
        "constant": {}, "constant_with_warmup": {"num_warmup_steps": w}, "inverse_sqrt": {"num_warmup_steps": w, "timescale": 9},
        "linear": {"num_warmup_steps": w, "num_training_steps": steps},
        "cosine": {"num_warmup_steps": w, "num_training_steps": steps},
        "cosine_with_restarts": {"num_warmup_steps": w, "num_training_steps": steps, "num_cycles": cycles},
        "polynomial": {"num_warmup_steps": w, "num_training_steps": steps, "power": 2},
        "cosine_with_min_lr": {"num_warmup_steps": w, "num_training_steps": steps, "num_cycles": cycles / 2, "min_lr_rate": 0.1},
        "warmup_stable_decay": {
            "num_warmup_steps": w, "num_stable_steps": steps - w - d, "num_decay_steps": d, "num_cycles": cycles / 2,
            "min_lr_ratio": 0.1,
        },
    }[name]  # fmt: skip
    optimizer = optimizer_of(2e-4)
    scheduler = theirs.TYPE_TO_SCHEDULER_FUNCTION[theirs.SchedulerType(name)](optimizer, **arguments)
    found = read_config(config, **({} if processes == 1 else {"num_processes": processes}))
    assert found.system == "kohya"
    wanted = rates(scheduler, optimizer, total, processes)
    assert found.schedule.values(total) == pytest.approx(wanted, rel=1e-10, abs=1e-15)
    assert any("unet_lr is left out" in note for note in found.notes)


def test_the_sections_and_the_rates_of_a_network_of_kohya(tmp_path):
    file = tmp_path / "lora.toml"
    file.write_text(
        '[network]\nnetwork_module = "networks.lora"\n[optimizer]\nlearning_rate = 1e-4\nunet_lr = 5e-5\n'
        'lr_scheduler = "linear"\n[training]\nmax_train_steps = 200\n'
    )
    found = read_config(file)
    assert (found.system, found.call) == ("kohya", "get_scheduler(0.0001, 'linear', 0, 200)")
    others = {"huber_schedule": "snr", "token_warmup_min": 1, "token_warmup_step": 0.5}
    config = {"network_module": "n", "learning_rate": 1e-4, "lr_scheduler": "linear", "max_train_steps": 200}
    assert read_config({**config, **others}) == read_config(config)
    for more in ("text_encoder_lr = 1e-5\n", "network_train_unet_only = true\n"):
        (tmp_path / "more.toml").write_text(file.read_text() + more)
        found = read_config(tmp_path / "more.toml")
        assert found.call == "get_scheduler(5e-05, 'linear', 0, 200)"
        assert "learning_rate is the rate of no parameter: the rate is unet_lr" in found.notes


def test_settings_of_kohya_that_are_not_said_or_not_read(tmp_path):
    config = {"learning_rate": 1e-4, "lr_scheduler": "cosine", "network_module": "networks.lora"}
    assert "max_train_steps is not given: 1600" in read_config(config).notes
    assert (
        read_config({**config, "max_train_epochs": 4}, updates_per_epoch=30).call
        == "get_scheduler(0.0001, 'cosine', 0, 120)"
    )
    for more, message in (
        ({"lr_scheduler_type": "CosineAnnealingLR"}, "lr_scheduler_type takes a scheduler of another library"),
        ({"lr_scheduler_args": ["num_cycles=2"]}, "lr_scheduler_args"),
        ({"lr_scheduler": "adafactor:1e-3"}, "must be one of linear"),
        ({"lr_scheduler": "constant", "lr_warmup_steps": 5}, "must be 0 with 'constant'"),
        ({"lr_warmup_steps": 10.5}, "must be whole, or a share of the run below 1"),
        ({"optimizer_type": "AdamWScheduleFree"}, "schedules the rate itself"),
        ({"optimizer_type": "Adafactor"}, "Adafactor chooses the rate itself"),
        (
            {"optimizer_type": "AdaFactor", "optimizer_args": ["relative_step=False", "warmup_init=True"]},
            "chooses the rate",
        ),
        ({"lr_warmup": 10}, "lr_warmup seems to decide the rate .*did you mean 'lr_warmup_steps'"),
    ):
        with pytest.raises(DialectError, match=message):
            read_config({**config, **more}, "kohya")
    for own in (["scale_parameter=False", "relative_step=False"], "scale_parameter=False relative_step=False"):
        adafactor = {**config, "optimizer_type": "Adafactor", "optimizer_args": own}
        assert read_config(adafactor).schedule == read_config(config).schedule
    file = tmp_path / "config.toml"
    file.write_text(
        'learning_rate = 1e-4\nlr_scheduler = "constant_with_warmup"\nlr_warmup_steps = 0.1\nmax_train_epochs = 2\n'
    )
    assert read_config(file, updates_per_epoch=50).schedule(5) == pytest.approx(0.5e-4)


# --- LLaMA-Factory ---------------------------------------------------------------------------------------------------------


def test_llamafactory_of_version_1_has_a_constant_rate_and_earlier_files_are_training_arguments(tmp_path):
    new = {"model": "m", "train_dataset": "d.yaml", "micro_batch_size": 1, "learning_rate": "5e-5", "max_steps": 10}
    found = read_config(new)
    assert (found.system, found.schedule) == ("llamafactory", laju.constant(5e-5))
    assert "learning_rate is not given: 0.0001" in read_config({"model": "m", "train_dataset": "d"}).notes
    with pytest.raises(DialectError, match="lr_scheduler_config names a plugin"):
        read_config({**new, "lr_scheduler_config": {"name": "cosine"}})
    old = {
        "stage": "sft", "learning_rate": "1.0e-4", "num_train_epochs": 3, "lr_scheduler_type": "cosine",
        "warmup_ratio": 0.1, "loraplus_lr_ratio": 16,
    }  # fmt: skip
    file = tmp_path / "llama3_lora_sft.json"
    file.write_text(json.dumps(old))
    found = read_config(file, updates_per_epoch=100)
    assert (found.system, found.call) == ("transformers", "get_scheduler(0.0001, 'cosine', 30, 300)")
    share = read_config({**old, "warmup_ratio": None, "warmup_steps": 0.1}, updates_per_epoch=100)
    assert share.schedule == found.schedule
    assert (
        "warmup_steps 0.1 is a share of the run, as Transformers 5 takes it; earlier releases refuse it" in share.notes
    )


def test_llamafactory_fills_in_the_lengths_of_a_stable_part_and_a_decay():
    old = {
        "stage": "sft",
        "learning_rate": 1e-4,
        "max_steps": 300,
        "lr_scheduler_type": "warmup_stable_decay",
        "warmup_steps": 30,
    }
    found = read_config(old)
    assert any("LLaMA-Factory fills in" in note for note in found.notes)
    both = {"num_stable_steps": 90, "num_decay_steps": 180}
    for kwargs in (both, json.dumps(both)):
        said = read_config({**old, "lr_scheduler_kwargs": kwargs})
        assert said.schedule == found.schedule
        assert not said.notes
    with pytest.raises(DialectError, match="missing a required argument: 'num_decay_steps'"):
        read_config({key: value for key, value in old.items() if key != "stage"})
    with pytest.raises(DialectError, match="lr_scheduler_kwargs must be a mapping, got "):
        read_config({**old, "lr_scheduler_kwargs": "{num_cycles: 2}"})


def test_a_file_with_the_keys_of_two_systems_is_told(tmp_path):
    both = {"lr_scheduler_type": "cosine", "per_device_train_batch_size": 8, "lr_num_cycles": 2, "learning_rate": 1e-4}
    with pytest.raises(
        DialectError, match=r"has the keys of transformers and of diffusers: name its system.*--from transformers"
    ):
        read_config(both)
