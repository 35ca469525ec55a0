"""nanoGPT's numbers against the published formula of its train.py, branch by branch."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import laju
from laju.dialects import DialectError
from laju.dialects.configs import read_config


def published(t: int, rate: float, warmup: int, end: int, low: float, *, old: bool) -> float:
    """Three branches: before the warmup's end, after the decay's, and the cosine between."""
    if t < warmup:
        return rate * t / warmup if old else rate * (t + 1) / (warmup + 1)
    if t > end:
        return low
    return low + 0.5 * (1 + math.cos(math.pi * (t - warmup) / (end - warmup))) * (rate - low)


@given(st.floats(1e-6, 1), st.integers(0, 50), st.integers(1, 80), st.floats(0, 1e-3), st.booleans())
def test_every_update_has_the_published_rate(rate, warmup, decay, low, old):
    config = {"learning_rate": rate, "warmup_iters": warmup, "lr_decay_iters": warmup + decay, "min_lr": low}
    found = read_config(config, **({"warmup_from": 0} if old and warmup else {}))
    wanted = [published(t, rate, warmup, warmup + decay, low, old=old) for t in range(warmup + decay + 20)]
    np.testing.assert_allclose(found.schedule.values(len(wanted)), wanted, rtol=1e-12, atol=1e-18)


def test_a_file_without_a_rate_and_one_without_a_decay(tmp_path):
    file = tmp_path / "train_gpt2.py"
    file.write_text(
        "wandb_log = True\nmax_iters = 600000\nlr_decay_iters = 600000\neval_interval = 1000\nweight_decay = 1e-1\n"
    )
    found = read_config(file)
    assert found.system == "nanogpt"
    assert (found.schedule(2000), found.schedule(600_000)) == pytest.approx((6e-4, 6e-5))
    assert "learning_rate is not given: 0.0006, as in train.py" in found.notes
    assert "warmup_from=0" in found.notes[-1]
    file.write_text("learning_rate = 3e-5\ndecay_lr = False\n")
    assert read_config(file).schedule == laju.constant(3e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr_decay_iters": 10, "warmup_iters": 10}, r"lr_decay_iters must be after the warmup of 10 updates"),
        ({"decay_lr": "no"}, r"decay_lr must be true or false"),
        ({"min_lrr": 1e-5}, r"min_lrr seems to decide the rate .*did you mean 'min_lr'"),
        ({"learning_rate": "fast"}, r"learning_rate must be"),
    ],
)
def test_what_is_wrong_is_said(changes, message):
    with pytest.raises(DialectError, match=message):
        read_config({"learning_rate": 1e-3, "lr_decay_iters": 100, "warmup_iters": 10, **changes})
