"""A schedule as a torch learning-rate scheduler.

The adapter owns a counter and only writes: nothing is read back from the optimizer to compute the next value, so the order
in which optimizer, scheduler and their checkpoints are built and loaded makes no difference.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler

from laju.arguments import shown, whole
from laju.schedule import Schedule

_BLOCK = 4096
_STATE = 1


class Scheduler(LRScheduler):
    """Sets the learning rate of every parameter group to schedule(t) before update t.

    Call `step()` after each `optimizer.step()`. The state is the counter and the schedule's fingerprint.

    Args:
        optimizer: a torch optimizer.
        lr: the schedule, in updates (resolve units first).

    Raises:
        TypeError: not an optimizer, or not a schedule.
        UnresolvedError: the schedule's lengths are not in updates.

    >>> import torch, laju
    >>> weight = torch.nn.Parameter(torch.zeros(1))
    >>> optimizer = torch.optim.SGD([weight])
    >>> scheduler = Scheduler(optimizer, lr=laju.linear(1, 0, total=4))
    >>> for _ in range(2):
    ...     optimizer.step()
    ...     scheduler.step()
    >>> optimizer.param_groups[0]["lr"]
    0.5
    """

    def __init__(self, optimizer: torch.optim.Optimizer, lr: Schedule) -> None:
        # LRScheduler's own __init__ is left out on purpose: it wraps optimizer.step and takes a step of its own.
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError(f"optimizer must be a torch optimizer, got {shown(optimizer)}")
        if not isinstance(lr, Schedule):
            raise TypeError(f"lr must be a laju schedule, got {shown(lr)}")
        self.optimizer = optimizer
        self.lr = lr
        self.base_lrs = [lr(0) for _ in optimizer.param_groups]
        self._begin = 0
        self._values: list[float] = []
        self._set(0)

    @property
    def position(self) -> int:
        """Completed updates."""
        return self.last_epoch

    def _set(self, t: int) -> None:
        i = t - self._begin
        if not 0 <= i < len(self._values):
            self._values, self._begin, i = self.lr.values(_BLOCK, start=t).tolist(), t, 0
        value = self._values[i]
        self.last_epoch = t
        self._step_count = t + 1  # trainers that expect torch's own schedulers look at it
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(value)  # a compiled step reads this very tensor
            else:
                group["lr"] = value
        self._last_lr = [value] * len(self.optimizer.param_groups)

    def step(self, epoch: int | None = None) -> None:
        """Count one completed update and set the rate of the next."""
        if epoch is not None:
            raise TypeError(
                f"step() counts updates itself and takes no position, got {shown(epoch)}; see load_state_dict"
            )
        self._set(self.last_epoch + 1)

    def get_lr(self) -> list[float | torch.Tensor]:
        """The rate of each group in the next update."""
        return [self.lr(self.last_epoch)] * len(self.optimizer.param_groups)

    def state_dict(self) -> dict[str, Any]:
        """The counter and the schedule's fingerprint: plain numbers and texts."""
        return {
            "laju": _STATE,
            "position": self.last_epoch,
            "fingerprint": self.lr.fingerprint,
            "schedule": str(self.lr),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go to the saved position.

        Raises:
            ValueError: a state of something else, of another version, or of another schedule; nothing is changed then.
        """
        if not isinstance(state_dict, dict) or "fingerprint" not in state_dict or "position" not in state_dict:
            raise ValueError(f"state_dict must be one that laju's Scheduler made, got {shown(state_dict)}")
        if state_dict.get("laju") != _STATE:
            raise ValueError(
                f"state_dict is of version {shown(state_dict.get('laju'))}; this laju reads version {_STATE}"
            )
        if state_dict["fingerprint"] != self.lr.fingerprint:
            raise ValueError(
                f"state_dict was saved with another schedule:\n  saved {state_dict.get('schedule')}\n  now   {self.lr}"
            )
        self._set(whole("state_dict['position']", state_dict["position"]))
