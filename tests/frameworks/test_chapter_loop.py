"""The training loop of the chapter takes a laju schedule in PyTorch in both of the ways that it knows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from laju.frameworks.torch import Scheduler
from laju.lab import Digits
from laju.studies.chapter import schedules

EPOCHS = 4


def chapters_loop(
    network: nn.Module, trainer: torch.optim.Optimizer, scheduler: Any, images: Any, labels: Any
) -> list[float]:
    """What the chapter's `train` does: a scheduler of torch is stepped after an epoch, any other is called with its number."""
    loss, used = nn.CrossEntropyLoss(), []
    for epoch in range(EPOCHS):
        network.train()
        for x, y in zip(images.split(256), labels.split(256), strict=True):
            trainer.zero_grad()
            loss(network(x), y).backward()
            used.append(trainer.param_groups[0]["lr"])
            trainer.step()
        if isinstance(scheduler, lr_scheduler.LRScheduler):
            scheduler.step()
        else:
            for group in trainer.param_groups:
                group["lr"] = scheduler(epoch)
    return used[:: len(images.split(256))]


@pytest.mark.parametrize("name", list(schedules()))
def test_the_chapters_loop_trains_lenet(name: str) -> None:
    of_epochs = schedules()[name].child  # the loop's clock is the epoch already
    task = Digits()
    images, labels = torch.from_numpy(task.data().train_inputs), torch.from_numpy(task.data().train_labels)

    network = task.model(0)
    trainer = torch.optim.SGD(network.parameters(), lr=0.3)
    used = chapters_loop(network, trainer, Scheduler(trainer, lr=of_epochs), images, labels)
    assert used == of_epochs.values(EPOCHS).tolist()

    # Called after an epoch with that epoch's number, a function comes one epoch late, whatever it is.
    trainer = torch.optim.SGD(network.parameters(), lr=0.3)
    assert chapters_loop(network, trainer, of_epochs, images, labels) == [0.3, *of_epochs.values(EPOCHS - 1).tolist()]
