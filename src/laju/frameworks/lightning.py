"""Schedules for the `Trainer` of Lightning, with lengths relative to the trainer's run.

    Trainer(…, callbacks=[laju.frameworks.lightning.Schedule("cosine(3e-4, total='100%', warmup='3%')")])

The callback needs no change of the module, and accepts text from the command line and from YAML, as in LightningCLI.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from importlib.util import find_spec
from os import PathLike
from typing import Any

from laju.adaptive import Controller, Rule
from laju.core.extras import needed_by
from laju.core.units import Scale
from laju.forecast import Prior
from laju.forecast.curves import Rates
from laju.forecast.prior import thinned
from laju.frameworks.forecasting import Forecasting, Tracking
from laju.frameworks.torch import Scheduler
from laju.frameworks.torch.trainers import Deferred

with needed_by("laju.frameworks.lightning", "lightning"):
    import torch

    if (
        find_spec("lightning") is None and find_spec("pytorch_lightning") is not None
    ):  # the package's old name, with classes of its own
        from pytorch_lightning.callbacks import Callback
        from pytorch_lightning.utilities.types import LRSchedulerConfig
    else:
        from lightning.pytorch.callbacks import Callback  # type: ignore[assignment]
        from lightning.pytorch.utilities.types import LRSchedulerConfig  # type: ignore[assignment]


class Schedule(Deferred, Callback):
    """Callback that drives the optimizers of a `LightningModule` with schedules, in units of the trainer's run.

    100% is `trainer.estimated_stepping_batches` updates; an epoch is the trainer's number of updates per epoch. When `fit`
    begins, the schedulers are added to the trainer: the trainer steps the schedulers after each update, saves their state in its
    checkpoints, and restores the state with `ckpt_path`; `LearningRateMonitor` shows the learning rates. With manual
    optimization, the updates of each optimizer are counted.

    Args:
        lr: a schedule of learning rates or its text, a `Factor` of each group's own learning rate, or a mapping from groups to
            schedules or factors; see `laju.frameworks.torch.Scheduler`. For several optimizers, a list with an entry for each.
        controller: a metric-driven rule such as `laju.adaptive.Plateau`, for a module with a single optimizer; the controller
            observes `monitor` after each validation.
        monitor: the metric that the controller observes.
        options: further arguments of `laju.frameworks.torch.Scheduler`, such as `weight_decay` or `policy`.

    Raises:
        TypeError, ValueError: if the scheduler refuses an argument, raised when `fit` begins; if the module has its own
            schedulers; if a list and the module's optimizers differ in number; if the metric is not logged.
        UnresolvedError: if the trainer does not know a length, such as 100% of a run without an end.

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
                "set the same learning rates; return only optimizers from configure_optimizers, or remove this callback"
            )
        # A text is a sequence, too: only a list or tuple holds a schedule for each optimizer.
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


class Forecast(Forecasting, Callback):
    """Callback that forecasts the final loss of a run during the run, in a separate process on rank 0.

    The module logs the latest forecast: `forecast/end`, its prediction interval `forecast/low` and `forecast/high`, and
    `forecast/update`, the last update that the forecast has used. Losses are copied from the device every `log_every_n_steps`
    updates. Errors do not stop the training: see `note` and `ending`.

    Args:
        schedule: schedule of the whole run in a form that `laju.forecast.ending` accepts, or with lengths in percent or epochs of
            the trainer's run. By default the rates of the trainer's first scheduler.
        monitor: the validation metric whose final value is forecast; None for the training loss of each update.
        level: probability of the prediction interval.
        prior: past runs in a form that `laju.forecast.ending` accepts.

    Attributes:
        ending: the latest forecast or refusal, a `laju.forecast.Ending`; None before the first.
        note: the latest error of the forecast; None if there was no error.

    Raises:
        ValueError, OSError: if an argument is invalid; raised before the training.

    >>> Forecast(monitor="val_loss").ending is None
    True
    """

    def __init__(
        self,
        schedule: Rates | str | None = None,
        *,
        monitor: str | None = None,
        level: float = 0.9,
        prior: Prior | str | PathLike[str] | None = "auto",
    ) -> None:
        super().__init__(schedule, monitor, level, prior)
        self._losses: list[tuple[int, Any]] = []
        self._rows: list[tuple[int, float]] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.is_global_zero:
            return
        with self._stopping_nothing():
            configs = trainer.strategy.lr_scheduler_configs
            own = None
            if configs:
                own = configs[0].scheduler
                if configs[0].interval != "step" and self._schedule is None:
                    raise ValueError(
                        "the trainer's scheduler is stepped once per epoch: give schedule=…, in updates or epochs"
                    )
            total = trainer.estimated_stepping_batches
            self._begin(own, _scale(trainer), int(total) if 0 < total < math.inf else None, self._update(trainer))
            for row in self._rows:  # of a run that is resumed
                self._add(*row)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.plan is None:
            return
        with self._stopping_nothing():
            update = self._update(trainer)
            loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
            if self.monitor is None and loss is not None:
                # Lightning divides a loss by the micro-batches of an update. No `.item()` here: that waits for the device.
                self._losses.append((update, loss.detach() * trainer.accumulate_grad_batches))
                if trainer.fit_loop._should_accumulate() or not update:
                    self._losses[-1] = (update + 1, self._losses[-1][1])  # of the update to come
                elif update % (trainer.log_every_n_steps or 50) == 0:
                    self._flush()
            for name, value in self._figures().items():
                shown = {"prog_bar": name == "forecast/end", "on_step": True, "on_epoch": False}
                pl_module.log(name, value, rank_zero_only=True, **shown)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if self.live is None or self.monitor is None or trainer.sanity_checking:
            return
        with self._stopping_nothing():
            if self.monitor in trainer.callback_metrics:
                self._keep(self._update(trainer), float(trainer.callback_metrics[self.monitor]))

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        with self._stopping_nothing():
            self._flush()
            self._finish(trainer.callback_metrics)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        with self._stopping_nothing():
            self._heard = True  # more may have been to come
            self._finish()

    def state_dict(self) -> dict[str, Any]:
        """Return the losses so far, averaged over neighbouring updates if there are many, for a run that is resumed."""
        with self._stopping_nothing():
            self._flush()
        if not self._rows:
            return {}
        updates, losses = thinned(*map(torch.Tensor.numpy, map(torch.tensor, zip(*self._rows, strict=True))))
        return {"updates": torch.as_tensor(updates), "losses": torch.as_tensor(losses, dtype=torch.float64)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict:
            self._rows = list(zip(state_dict["updates"].tolist(), state_dict["losses"].tolist(), strict=True))

    def _flush(self) -> None:
        """Pass on the losses since the last flush, averaged over the micro-batches of each update, with a single device copy."""
        losses, self._losses = self._losses, []
        if not losses:
            return
        by_update: dict[int, list[float]] = {}
        values = torch.stack([loss for _, loss in losses]).tolist()
        for (update, _), value in zip(losses, values, strict=True):
            by_update.setdefault(update, []).append(value)
        for update, values in by_update.items():
            self._keep(update, sum(values) / len(values))

    def _keep(self, update: int, loss: float) -> None:
        self._rows.append((update, loss))
        self._add(update, loss)

    @staticmethod
    def _update(trainer: Any) -> int:
        # Where a module optimizes by hand, `global_step` counts the steps of all its optimizers.
        return int(trainer.global_step) // max(1, len(trainer.optimizers))


class Track(Tracking, Forecast):
    """Callback that logs the planned and used learning rate of each update and the forecast to the trainer's own loggers.

        Trainer(logger=WandbLogger(), callbacks=[Track("cosine(3e-4, total='100%')")])

    Any logger works: W&B, MLflow, TensorBoard, CSV. The logged hyper-parameters are `laju/schedule`, the schedule's text, and
    `laju/fingerprint`; the logged metrics are `lr/planned`, `lr/used` and the values of `Forecast`. The first update whose
    learning rate differs from the plan gives a warning. The used learning rate is that of the first optimizer's first group.

    Args:
        schedule: the planned schedule, as in `Forecast`. By default the rates of the trainer's first scheduler.
        options: further arguments of `Forecast`.

    Raises:
        ValueError, OSError: if an argument is invalid; raised before the training.

    >>> Track("cosine(3e-4, total='100%')").plan is None  # until training begins
    True
    """

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        super().on_train_start(trainer, pl_module)
        if settings := self._settings():
            with self._stopping_nothing():
                for logger in trainer.loggers:
                    logger.log_hyperparams(settings)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        if self.plan is not None and optimizer.param_groups is trainer.optimizers[0].param_groups:
            with self._stopping_nothing():
                self._use(self._update(trainer), optimizer.param_groups[0]["lr"])


def _scale(trainer: Any) -> Scale:
    """Return the number of updates per unit of the trainer's run, as far as the trainer knows."""
    per = [("updates", Fraction(1))]
    total = trainer.estimated_stepping_batches
    if 0 < total < math.inf:
        per.append(("%", Fraction(int(total), 100)))
    if trainer.num_training_batches < math.inf:
        # Rounded up: the last batches of an epoch make an update though they are fewer than accumulated otherwise.
        per.append(("epochs", Fraction(-(-int(trainer.num_training_batches) // trainer.accumulate_grad_batches))))
    return Scale(tuple(per))
