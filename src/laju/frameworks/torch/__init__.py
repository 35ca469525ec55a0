"""Schedules in torch: a torch `LRScheduler`, and functions for loops without a scheduler.

`Scheduler` drives any hyper-parameter of one or several optimizers. `after_epoch` is for loops that compute the learning rate at
the end of an epoch, and `trace` returns the learning rates of any torch scheduler.
"""

from laju.core.extras import needed_by

with needed_by("laju.frameworks.torch", "torch"):
    import torch as _torch  # noqa: F401 - the error of a missing torch is worded here, for all files of the folder

from laju.frameworks.torch.inside import optimizer_hooks
from laju.frameworks.torch.loops import after_epoch, trace
from laju.frameworks.torch.scheduler import KIND, Scheduler
from laju.frameworks.torch.slots import Slot
from laju.frameworks.values import Driven, Factor

__all__ = ["KIND", "Driven", "Factor", "Scheduler", "Slot", "after_epoch", "optimizer_hooks", "trace"]
