"""Composer's and LLM Foundry's YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from laju.dialects import DialectError, composer, read
from laju.dialects.configs import read_config

FOUNDRY = """
variables:
  warmup: 100ba
max_seq_len: 2048
global_train_batch_size: 256
max_duration: 4800ba
optimizer:
  name: decoupled_adamw
  lr: 6e-4
scheduler:
  name: cosine_with_warmup
  t_warmup: ${variables.warmup}
  alpha_f: 0.1
"""


def test_llm_foundry_s_yaml(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    file = tmp_path / "mpt.yaml"
    file.write_text(FOUNDRY)
    found = read_config(file)
    expected = composer.CosineAnnealingWithWarmupScheduler("100ba", alpha_f=0.1, lr=6e-4, max_duration="4800ba")
    assert found.system == "composer"
    assert found.schedule == expected.normal
    assert read("composer", found.call) == expected.normal


@pytest.mark.parametrize(
    "schedulers", [{"linear": {}, "LinearScheduler": {"t_max": "1dur"}}, [{"LinearScheduler": {"t_max": "1dur"}}]]
)
def test_composer_s_own(schedulers: Any) -> None:
    config = {
        "schedulers": schedulers,
        "max_duration": "3ep",
        "optimizers": {"sgd": {"lr": 0.1}},
        "scale_schedule_ratio": 2.0,
    }
    found = read_config(config, updates_per_epoch=7)
    expected = composer.LinearScheduler(lr=0.1, max_duration="3ep", batches_per_epoch=7, scale_schedule_ratio=2.0)
    assert found.schedule == expected.normal
    assert bool(found.notes) == (len(schedulers) > 1)


def test_tokens_of_a_batch_are_its_samples_by_their_length() -> None:
    config = {
        "scheduler": {"name": "linear_decay_with_warmup", "t_warmup": "1e6tok"}, "max_duration": "5e7tok", "max_seq_len": 1000,
        "global_train_batch_size": 100, "optimizer": {"lr": 1e-3},
    }  # fmt: skip
    schedule = read_config(config).schedule
    assert schedule(11) == pytest.approx(1e-3)
    assert schedule(6) == pytest.approx(0.5e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": {}}, "give lr="),
        ({"optimizer": {"lr": "fast"}}, "optimizer.lr must be a finite number"),
        ({"scheduler": {"name": "cosine_with_warmups", "t_warmup": "3ba"}}, "did you mean 'cosine_with_warmup'"),
        ({"scheduler": {"name": "cosine_with_warmup", "t_warmup": "3ba", "alpha": 1}}, "no argument 'alpha'"),
        ({"scheduler": {"t_warmup": "3ba"}}, "must have a name|not a scheduler"),
        ({"scheduler": {"name": "cosine_with_warmup", "t_warmup": "${a.b}"}}, "has no value"),
        ({"max_duration": "3ep"}, "batches_per_epoch must be given"),
    ],
)
def test_what_is_missing_or_wrong_is_said(changes: dict[str, Any], message: str) -> None:
    config = {
        "scheduler": {"name": "cosine_with_warmup", "t_warmup": "3ba"},
        "max_duration": "9ba",
        "optimizer": {"lr": 0.1},
    }
    with pytest.raises(DialectError, match=message):
        read_config(config | changes)
