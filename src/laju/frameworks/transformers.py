"""Schedules for the `Trainer` of Transformers, with lengths relative to the trainer's run.

    s = laju.frameworks.transformers.Schedule("cosine(3e-4, total='100%', warmup='3%')")
    trainer = Trainer(…, optimizers=(None, s), callbacks=[s])

The trainer constructs its optimizer and knows the length of the run only when training begins; the schedule then receives both.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sized
from fractions import Fraction
from os import PathLike
from typing import Any

from laju.adaptive import Controller, Rule
from laju.core.checks import shown
from laju.core.extras import needed_by
from laju.core.units import Scale
from laju.forecast import Prior
from laju.forecast.curves import Rates
from laju.frameworks.forecasting import Forecasting, Tracking
from laju.frameworks.torch import Scheduler
from laju.frameworks.torch.trainers import Deferred
from laju.sinks import tracker_of

with needed_by("laju.frameworks.transformers", "transformers"):
    from transformers import TrainerCallback


class Schedule(Deferred, TrainerCallback):
    """Scheduler for the optimizer of a `Trainer`, whose schedules may have lengths in units of the trainer's run.

    Pass the object to the trainer both as the scheduler and as a callback, because a trainer describes its run to callbacks only.
    100% is `max_steps` updates; an epoch is the trainer's number of updates per epoch. The trainer's own checkpoints and
    `resume_from_checkpoint` work: a state that is loaded before training begins is kept until the optimizer exists. Without a
    loaded state, each `train()` begins at update 0.

    Args:
        lr: a schedule of learning rates or its text, a `Factor` of the trainer's `learning_rate`, or a mapping from groups to
            schedules or factors; see `laju.frameworks.torch.Scheduler`.
        controller: a metric-driven rule such as `laju.adaptive.Plateau`, which observes `monitor` at each evaluation.
        monitor: the metric of an evaluation that the controller observes.
        options: further arguments of `laju.frameworks.torch.Scheduler`, such as `weight_decay` or `policy`.

    Raises:
        TypeError, ValueError: if the scheduler refuses an argument; raised when training begins.
        RuntimeError: if training begins without `callbacks=[s]` or without `optimizers=(None, s)`.
        UnresolvedError: if the trainer's run does not determine a length, such as tokens.

    >>> import laju
    >>> s = Schedule("cosine(3e-4, total='100%', warmup='3%')", weight_decay=laju.linear(0.1, 0, total="100%"))
    >>> s
    Schedule(lr="cosine(3e-4, total='100%', warmup='3%')", weight_decay=linear(0.1, 0, total='100%'))
    """

    def __init__(
        self,
        lr: Any = None,
        *,
        controller: Rule[Any] | Controller | None = None,
        monitor: str = "eval_loss",
        **options: Any,
    ) -> None:
        super().__init__(lr, controller, monitor, options)
        self.scheduler: Scheduler | None = None
        self._pending: dict[str, Any] | None = None

    # --- as a callback -----------------------------------------------------------------------------------------------

    def on_train_begin(
        self,
        args: Any,
        state: Any,
        control: Any,
        optimizer: Any = None,
        lr_scheduler: Any = None,
        train_dataloader: Any = None,
        **_: Any,
    ) -> None:
        if lr_scheduler is not None and self not in (lr_scheduler, getattr(lr_scheduler, "scheduler", None)):
            raise RuntimeError(
                f"the trainer steps a {type(lr_scheduler).__name__}, and {shown(self)} is a callback alone, so its rates would "
                "not be used: give it as the scheduler as well, Trainer(…, optimizers=(None, s), callbacks=[s])"
            )
        inner = getattr(optimizer, "optimizer", optimizer)  # Accelerate's wrapper steps or skips the inner optimizer
        self.scheduler = Scheduler(inner, plan=_scale(args, state, train_dataloader), **self._arguments)
        # The trainer loads a checkpoint's scheduler before it tells callbacks that training begins.
        if self._pending is not None:
            self.scheduler.load_state_dict(self._pending)
            self._pending = None

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.scheduler is not None and self.scheduler.controller is not None:
            self.scheduler.observe(self._monitored(kwargs["metrics"]))

    # --- as a scheduler ----------------------------------------------------------------------------------------------

    def _bound(self) -> Scheduler:
        if self.scheduler is None:
            raise RuntimeError(
                f"{shown(self)} does not know its run: pass the schedule to the trainer as a callback as well, "
                "Trainer(…, optimizers=(None, s), callbacks=[s])"
            )
        return self.scheduler

    def step(self, *metric: Any) -> None:
        """Count a completed update and write the values of the next update into the optimizer."""
        self._bound().step(*metric)

    def get_last_lr(self) -> list[Any]:
        """Return the learning rate of each group in the next update."""
        return self._bound().get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the scheduler, as `laju.frameworks.torch.Scheduler.state_dict` does."""
        return self._bound().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep a state, which is loaded when training begins."""
        self._pending = state_dict


class Forecast(Forecasting, TrainerCallback):
    """Callback that forecasts the final loss of a run during the run, in a separate process on rank 0.

        trainer = Trainer(…)
        trainer.add_callback(Forecast(trainer))

    Whenever the trainer logs `monitor`, the trainer also logs the latest forecast: `forecast/end`, its prediction interval
    `forecast/low` and `forecast/high`, and `forecast/update`, the last update that the forecast has used. A resumed run uses the
    losses of `log_history`. Errors do not stop the training: see `note` and `ending`.

    Args:
        trainer: the trainer, because a callback itself receives too little information.
        schedule: schedule of the whole run in a form that `laju.forecast.ending` accepts, or with lengths in percent, epochs or
            samples of the trainer's run. By default the rates of the trainer's scheduler.
        monitor: the logged metric whose final value is forecast, such as "loss" or "eval_loss".
        level: probability of the prediction interval.
        prior: past runs in a form that `laju.forecast.ending` accepts.

    Attributes:
        ending: the latest forecast or refusal, a `laju.forecast.Ending`; None before the first.
        note: the latest error of the forecast; None if there was no error.

    Raises:
        TypeError, ValueError, OSError: if an argument is invalid; raised before the training.
    """

    def __init__(
        self,
        trainer: Any,
        schedule: Rates | str | None = None,
        *,
        monitor: str = "loss",
        level: float = 0.9,
        prior: Prior | str | PathLike[str] | None = "auto",
    ) -> None:
        if not hasattr(trainer, "log"):
            raise TypeError(
                f"trainer must be the Trainer, got {shown(trainer)}: trainer = Trainer(…), then "
                "trainer.add_callback(Forecast(trainer))"
            )
        super().__init__(schedule, monitor, level, prior)
        self.trainer = trainer
        self._names: dict[str, None] = {}

    def on_train_begin(
        self, args: Any, state: Any, control: Any, lr_scheduler: Any = None, train_dataloader: Any = None, **_: Any
    ) -> None:
        if not state.is_world_process_zero:
            return
        with self._stopping_nothing():
            scale = _scale(args, state, train_dataloader)
            self._begin(lr_scheduler, scale, int(state.max_steps), int(state.global_step))
            # A resumed run has its earlier rows in the state of the trainer.
            for entry in state.log_history:
                if self.monitor in entry:
                    self._add(entry["step"], entry[self.monitor])

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        if self.plan is None or not logs:
            return
        self._names |= dict.fromkeys(logs)
        if self.monitor in logs:
            with self._stopping_nothing():
                self._add(state.global_step, logs[self.monitor])
                if figures := self._figures():
                    self.trainer.log(figures)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        with self._stopping_nothing():
            self._finish(self._names)


class Track(Tracking, Forecast):
    """Callback that logs planned and used rates and the forecast through the trainer: to W&B, MLflow, TensorBoard, trackio.

        trainer = Trainer(…)
        trainer.add_callback(Track(trainer, "cosine(3e-4, total='100%')"))

    The trackers of `report_to` get `laju/schedule`, the schedule's text, and `laju/fingerprint` as the run's configuration.
    Together with `monitor`, the trainer logs `lr/planned`, `lr/used` and the values of `Forecast`. The first update whose
    learning rate differs from the plan gives a warning. The used learning rate is that of the first group.

    Args:
        trainer: the trainer.
        schedule: the planned schedule, as in `Forecast`. By default the rates of the trainer's scheduler.
        options: further arguments of `Forecast`.

    Raises:
        TypeError, ValueError, OSError: if an argument is invalid; raised before the training.
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:  # type: ignore[override]
        super().on_train_begin(args, state, control, **more)
        if settings := self._settings():
            for run in _runs(self.trainer):
                with self._stopping_nothing():
                    tracker_of(run).config(settings)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, optimizer: Any = None, **_: Any) -> None:
        if self.plan is not None:
            with self._stopping_nothing():
                self._use(int(state.global_step), optimizer.param_groups[0]["lr"])


def _runs(trainer: Any) -> Iterator[Any]:
    """Yield the runs of the trackers to which the trainer reports."""
    reported = {type(callback).__name__: callback for callback in trainer.callback_handler.callbacks}
    current: dict[str, Callable[[], Any]] = {
        "WandbCallback": lambda: sys.modules["wandb"].run,
        "MLflowCallback": lambda: sys.modules["mlflow"].active_run(),
        "TrackioCallback": lambda: sys.modules["trackio"].context_vars.current_run.get(),
        "TensorBoardCallback": lambda: reported["TensorBoardCallback"].tb_writer,
    }
    for name, run in current.items():
        if name in reported and (found := run()) is not None:
            yield found


def _scale(args: Any, state: Any, train_dataloader: Any) -> Scale:
    """Return the number of updates per unit of the trainer's run, as far as the trainer knows."""
    per = [("updates", Fraction(1)), ("%", Fraction(state.max_steps, 100))]
    per.append(("samples", Fraction(1, args.train_batch_size * args.gradient_accumulation_steps * args.world_size)))
    if isinstance(train_dataloader, Sized):  # a stream has no length, and a schedule in epochs will say so
        with contextlib.suppress(TypeError):
            per.append(("epochs", Fraction(max(1, -(-len(train_dataloader) // args.gradient_accumulation_steps)))))
    return Scale(tuple(per))
