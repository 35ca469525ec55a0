"""MMEngine's configurations give what MMEngine itself reads from them."""

from __future__ import annotations

import importlib
import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from laju.dialects import DialectError, mmengine, read
from laju.dialects.configs import read_config

from .conftest import importable

BASE = """
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.02, momentum=0.9), clip_grad=dict(max_norm=35))
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=12, val_interval=1)
param_scheduler = [dict(type='StepLR', step_size=4)]
"""
OWN = """
_base_ = ['./base.py']
warm = 500
work_dir = 'runs/' + str(warm)
optim_wrapper = dict(optimizer=dict(lr=0.02 / 8), clip_grad=dict(_delete_=True, max_norm=1))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=warm),
    dict(type='MultiStepLR', begin=0, end=12, by_epoch=True, milestones=[8, 11], gamma=0.1),
]
"""
ENTRIES = [
    {"type": "LinearLR", "start_factor": 0.001, "by_epoch": False, "begin": 0, "end": 500},
    {"type": "MultiStepLR", "begin": 0, "end": 12, "by_epoch": True, "milestones": [8, 11], "gamma": 0.1},
]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "base.py").write_text(BASE)
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path / "own.py"


def test_a_python_file_is_read_with_its_base_and_not_run(files: Path) -> None:
    found = read_config(files, updates_per_epoch=100)
    expected = mmengine.param_scheduler(0.0025, ENTRIES, epoch_length=100, max_epochs=12)
    assert found.system == "mmengine"
    assert found.schedule == expected.normal
    assert read("mmengine", found.call) == expected.normal
    assert found.schedule(0) == pytest.approx(0.0025 * 0.001)
    assert found.schedule(1150) == pytest.approx(0.0025 * 0.01)


def test_it_is_what_mmengine_reads(files: Path, dialects_path: Path) -> None:
    if not (dialects_path / "mmengine").is_dir():
        pytest.skip(f"needs mmengine in {dialects_path}: make setup-dialects")
    with importable(dialects_path), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = importlib.import_module("mmengine.config").Config.fromfile(str(files))
    known = {"max_epochs": config.train_cfg.max_epochs, "epoch_length": 100}
    lr = config.optim_wrapper.optimizer.lr
    theirs = mmengine.param_scheduler(lr, [dict(entry) for entry in config.param_scheduler], **known)
    assert read_config(files, updates_per_epoch=100).schedule == theirs.normal


def test_a_list_and_a_json_file(tmp_path: Path) -> None:
    expected = mmengine.param_scheduler(0.1, ENTRIES, epoch_length=100, max_epochs=12)
    assert read_config(ENTRIES, lr=0.1, updates_per_epoch=100, max_epochs=12).schedule == expected.normal
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"param_scheduler": ENTRIES, "train_cfg": {"max_epochs": 12}}))
    assert read_config(file, lr=0.1, updates_per_epoch=100).schedule == expected.normal


def test_what_changes_the_rate_elsewhere_is_noted() -> None:
    config: dict[str, Any] = {
        "param_scheduler": {"type": "StepLR", "step_size": 4},
        "optim_wrapper": {"optimizer": {"lr": 0.1}, "accumulative_counts": 4},
        "auto_scale_lr": {"enable": True, "base_batch_size": 16},
    }
    notes = read_config(config).notes
    assert any("accumulative_counts=4" in note for note in notes)
    assert any("auto_scale_lr" in note for note in notes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("param_scheduler = [dict(type='StepLR', step_size=steps())]\n", r"step_size is 'steps\(\)' in line 1"),
        ("param_scheduler = make()\n", "must be a list of entries"),
        ("param_scheduler = [dict(type='StepLR', step_size=4)]\n", "give lr="),
        ("param_scheduler = [dict(type='StepLR', step_size=4]\n", "cannot be read as Python"),
        ("_base_ = 'here.py'\nparam_scheduler = []\n", "is its own _base_"),
        ("with read_base():\n    from .base import *\nparam_scheduler = []\n", "read_base"),
        ("optimizer = dict(lr=0.1)\n", "not a configuration that laju knows"),
        (
            "param_scheduler = [dict(type='StepLRR', step_size=4)]\noptim_wrapper = dict(optimizer=dict(lr=1))\n",
            "StepLR",
        ),
    ],
)
def test_what_cannot_be_known_is_said(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "here.py"
    file.write_text(text)
    with pytest.raises(DialectError, match=message):
        read_config(file)


def test_a_file_with_a_train_dataset_is_mmengines():
    step = {"type": "MultiStepLR", "milestones": [8, 11], "by_epoch": False}
    config = {"model": {"type": "YOLOX"}, "train_dataset": {"type": "MultiImageMixDataset"}, "param_scheduler": [step]}
    assert read_config({**config, "optim_wrapper": {"optimizer": {"lr": 0.1}}}).system == "mmengine"
