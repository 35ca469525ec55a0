"""A schedule for the `Trainer` of Lightning, in the lengths of its own run.

    Trainer(…, callbacks=[laju.frameworks.lightning.Schedule("cosine(3e-4, total='100%', warmup='3%')")])

A callback needs no change of the module, and takes text from the command line and from YAML, as in LightningCLI.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from importlib.util import find_spec
from typing import Any

from laju.adaptive import Controller, Rule
from laju.core.extras import needed_by
from laju.core.units import Scale
from laju.frameworks.torch import Scheduler
from laju.frameworks.torch.trainers import Deferred

with needed_by("laju.frameworks.lightning", "lightning"):
    if (
        find_spec("lightning") is None and find_spec("pytorch_lightning") is not None
    ):  # its other name, with other classes
        from pytorch_lightning.callbacks import Callback
        from pytorch_lightning.utilities.types import LRSchedulerConfig
    else:
        from lightning.pytorch.callbacks import Callback  # type: ignore[assignment]
        from lightning.pytorch.utilities.types import LRSchedulerConfig  # type: ignore[assignment]


class Schedule(Deferred, Callback):
    """Drives the optimizers of a `LightningModule` by schedules whose lengths are those of the trainer's run.

    A percent is of `trainer.estimated_stepping_batches`; an epoch has as many updates as the trainer makes of its batches. The
    schedulers become the trainer's own when `fit` begins: it steps them after each update, writes them into its checkpoints,
    restores them with `ckpt_path`, and `LearningRateMonitor` shows them. Where the module optimizes by hand, each optimizer's
    own updates are counted.

    Args:
        lr: what drives the learning rate, as in `laju.frameworks.torch.Scheduler`: a schedule or its text, a `Factor` of each
            group's own rate, or a mapping from groups to these. A list has one of these for each optimizer of the module.
        controller: a metric-driven rule such as `laju.adaptive.Plateau`, for a module with one optimizer; it is told `monitor`
            after each validation.
        monitor: the metric that the controller observes.
        options: any other argument of `laju.frameworks.torch.Scheduler`, such as `weight_decay` or `policy`.

    Raises:
        TypeError, ValueError: what the scheduler raises, when `fit` begins; a module that has schedulers of its own; a list of
            another length than there are optimizers; a metric that is not logged.
        UnresolvedError: a length that the trainer does not know, as the percents of a run without an end.

    >>> import laju
    >>> Schedule("cosine(3e-4, total='100%', warmup='3%')")
    Schedule(lr="cosine(3e-4, total='100%', warmup='3%')")
    """

    def __init__(
        self,
        lr: Any = None,
        *,
        controller: Rule[Any] | Controller | None = None,
        monitor: str = "val_loss",
        **options: Any,
    ) -> None:
        super().__init__(lr, controller, monitor, options)
        self.schedulers: list[Scheduler] = []

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        optimizers, configs = trainer.optimizers, trainer.strategy.lr_scheduler_configs
        if configs:
            raise ValueError(
                f"the module has schedulers of its own ({', '.join(type(c.scheduler).__name__ for c in configs)}), which would "
                "write the same rates; let configure_optimizers return optimizers alone, or leave this callback out"
            )
        lr = self._arguments["lr"]
        rates = list(lr) if isinstance(lr, Sequence) and not isinstance(lr, str) else [lr] * len(optimizers)
        if len(rates) != len(optimizers):
            raise ValueError(f"lr must have one schedule for each of {len(optimizers)} optimizers, got {len(rates)}")
        if self._arguments["controller"] is not None and len(optimizers) != 1:
            raise ValueError(f"a controller needs a module with one optimizer, got {len(optimizers)}")
        scale = _scale(trainer)
        self.schedulers = [
            Scheduler(optimizer, plan=scale, **{**self._arguments, "lr": rate})
            for optimizer, rate in zip(optimizers, rates, strict=True)
        ]
        for scheduler in self.schedulers:
            configs.append(LRSchedulerConfig(scheduler, interval="step"))
            if not pl_module.automatic_optimization:  # the trainer then steps no scheduler
                scheduler.optimizer.register_step_post_hook(lambda *_, scheduler=scheduler: scheduler.step())

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if self._arguments["controller"] is None or trainer.sanity_checking:
            return
        self.schedulers[0].observe(self._monitored(trainer.callback_metrics))


def _scale(trainer: Any) -> Scale:
    """How many updates the units of a schedule are in the trainer's run, as far as it knows."""
    per = [("updates", Fraction(1))]
    total = trainer.estimated_stepping_batches
    if 0 < total < math.inf:
        per.append(("%", Fraction(int(total), 100)))
    if trainer.num_training_batches < math.inf:
        per.append(("epochs", Fraction(-(-int(trainer.num_training_batches) // trainer.accumulate_grad_batches))))
    return Scale(tuple(per))
