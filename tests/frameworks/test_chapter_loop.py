"""The loop that the chapter prints for PyTorch takes a laju schedule, and its weights feel the right rate in every epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import laju
from laju.frameworks.torch import Scheduler, after_epoch
from tests.chapter_text import Chapter, Tab, opened, recorded

EPOCHS, UPDATES = 8, 2
SCHEDULES = {
    "square root": laju.square_root(0.1),
    "factor": laju.factor(0.2, 0.9, floor=0.01),
    "multi-factor": laju.multi_factor(0.5, [2, 5], 0.5),
    "cosine": laju.cosine(0.3, total=6, final=0.01),
    "cosine with warmup": laju.cosine(0.3, total=6, final=0.01, warmup=3),
}


@pytest.fixture(scope="module")
def tab(chapter: Chapter) -> Iterator[Tab]:
    with opened(chapter, "pytorch", epochs=EPOCHS, images=8, batch=8 // UPDATES) as tab:
        yield tab


def felt(tab: Tab, make_scheduler: Any, lr: float = 0.7) -> list[float]:
    """The rates of the epochs of the printed `train`, as the weights of its own network felt them."""
    net = tab.namespace["net_fn"]()
    trainer = torch.optim.SGD(net.parameters(), lr=lr)
    tab.namespace |= {"net": net, "trainer": trainer, "scheduler": make_scheduler(trainer)}
    with recorded(tab) as rates:
        tab.execute(tab.trainings[2])  # which trains a network, a trainer and a scheduler that there are
    by_epoch = np.reshape(rates, (EPOCHS, UPDATES)).T
    assert (by_epoch[0] == by_epoch[1]).all(), "one rate an epoch"
    return [float(rate) for rate in by_epoch[0]]


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_printed_loop_trains_every_epoch_at_the_rate_of_the_schedule(tab: Tab, name: str) -> None:
    schedule = SCHEDULES[name]
    assert felt(tab, lambda trainer: after_epoch(schedule, trainer)) == schedule.values(EPOCHS).tolist()


@pytest.mark.parametrize(
    "written",
    [
        "cosine(0.3, total=6, warmup=3)",
        "cosine(0.3, total='6 epochs', warmup='3 epochs')",
        laju.cosine(0.3, total=6, warmup=3).per("epoch"),
    ],
)
def test_text_and_lengths_in_epochs_are_the_same_schedule(tab: Tab, written: Any) -> None:
    expected = laju.cosine(0.3, total=6, warmup=3).values(EPOCHS).tolist()
    assert felt(tab, lambda trainer: after_epoch(written, trainer)) == expected


def test_every_group_has_the_rate_before_the_first_update_and_after_the_loop_has_written_it() -> None:
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": [w], "lr": lr} for w, lr in zip(weights, (0.5, 0.05), strict=True)])
    schedule = laju.linear(0.4, 0, total=4)
    scheduler = after_epoch(schedule, optimizer)
    assert [group["lr"] for group in optimizer.param_groups] == [0.4, 0.4]
    assert [scheduler(epoch) for epoch in (3, 0, 1)] == [0.0, pytest.approx(0.3), 0.2], "no state"


def test_the_printed_loop_takes_neither_a_schedule_nor_a_scheduler_instead(tab: Tab) -> None:
    # Called after an epoch with that epoch's number, a function of the epoch comes one epoch late, whatever it is.
    cosine = SCHEDULES["cosine with warmup"]
    assert felt(tab, lambda trainer: cosine) == [0.7, *cosine.values(EPOCHS - 1).tolist()]
    # The loop steps a scheduler only if its class is defined in torch's own module, and calls anything else.
    with pytest.raises(TypeError, match="'Scheduler' object is not callable"):
        felt(tab, lambda trainer: Scheduler(trainer, lr=cosine))


@pytest.mark.parametrize(
    ("schedule", "error", "message"),
    [
        (0.1, TypeError, "schedule must be a laju schedule or its text, got 0.1"),
        ("cosin(0.3, total=6)", laju.SpecError, "did you mean .*cosine"),
        (laju.cosine(0.3, total="100%"), laju.UnresolvedError, "after_epoch counts epochs, but .* has lengths in %"),
    ],
)
def test_bad_input_is_told_and_changes_no_rate(schedule: Any, error: type[Exception], message: str) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.7)
    with pytest.raises(error, match=message):
        after_epoch(schedule, optimizer)
    assert optimizer.param_groups[0]["lr"] == 0.7
    with pytest.raises(TypeError, match=r"optimizer must be a torch optimizer, got 0\.7"):
        after_epoch("constant(0.1)", 0.7)  # type: ignore[arg-type]
