"""Schedules in torch: a scheduler of torch's own kind, and help for loops without a scheduler.

`Scheduler` drives any hyper-parameter of an optimizer or of several. `after_epoch` is for loops that ask for the rate when an
epoch is over, and `trace` shows the rates of any torch scheduler.
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
