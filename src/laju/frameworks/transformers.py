"""A schedule for the `Trainer` of Transformers, in the lengths of its own run.

    s = laju.frameworks.transformers.Schedule("cosine(3e-4, total='100%', warmup='3%')")
    trainer = Trainer(…, optimizers=(None, s), callbacks=[s])

The trainer makes its optimizer and knows how long the run is only when training begins; then the schedule meets both.
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
    """Drives the optimizer of a `Trainer` by schedules with lengths in units of the trainer's run.

    The schedule is both the scheduler and a callback of the trainer, since a trainer describes the run to callbacks alone. A
    percent is of `max_steps`; an epoch has as many updates as the trainer makes of its batches. Checkpoints and
    `resume_from_checkpoint` are the trainer's own: a state that is loaded before training begins waits for the optimizer. Each
    `train()` begins anew otherwise.

    Args:
        lr: as in `laju.frameworks.torch.Scheduler`: a schedule of learning rates or its text, a `Factor` of the
            trainer's `learning_rate`, or a mapping from groups to these.
        controller: a metric-driven rule such as `laju.adaptive.Plateau`, which observes `monitor` at each evaluation.
        monitor: the metric of an evaluation that the controller observes.
        options: further arguments of `laju.frameworks.torch.Scheduler`, such as `weight_decay` or `policy`.

    Raises:
        TypeError, ValueError: any error of the scheduler, when training begins.
        RuntimeError: training began without the callback or with another scheduler; `callbacks=[s]` or `optimizers=(None, s)`
            is missing.
        UnresolvedError: a length that the run of the trainer does not say, such as tokens.

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
                f"{shown(self)} does not know its run: give it to the trainer as a callback as well, "
                "Trainer(…, optimizers=(None, s), callbacks=[s])"
            )
        return self.scheduler

    def step(self, *metric: Any) -> None:
        """Count a completed update and write the values of the next update into the optimizer."""
        self._bound().step(*metric)

    def get_last_lr(self) -> list[Any]:
        """Each group's rate in the next update."""
        return self._bound().get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """The state of the scheduler, as in `laju.frameworks.torch.Scheduler`."""
        return self._bound().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep a state until training begins, when the optimizer is known."""
        self._pending = state_dict


class Forecast(Forecasting, TrainerCallback):
    """Forecasts the end of a run while the run is going on, in a process beside the training, on rank 0.

        trainer = Trainer(…)
        trainer.add_callback(Forecast(trainer))

    Each time the trainer logs `monitor`, the trainer logs the latest answer too: `forecast/end`, the band `forecast/low` and
    `forecast/high`, and `forecast/update`, the last update that the answer is from. A resumed run goes on with the losses of
    `log_history`. Errors become `note`, and refusals are in `ending`; the training goes on.

    Args:
        trainer: the trainer itself, since callbacks get too few facts.
        schedule: of the whole run, as `laju.forecast.ending` takes a schedule, or with lengths in percent, epochs or samples of
            the trainer's run. By default the schedule of the trainer's scheduler.
        monitor: the logged metric whose end is forecast, such as "loss" or "eval_loss".
        level: probability of the band.
        prior: past runs, as `laju.forecast.ending` takes a prior.

    Attributes:
        ending: the latest answer, a `laju.forecast.Ending`; None before the first answer.
        note: the latest failure of the forecast; None while all is well.

    Raises:
        TypeError, ValueError, OSError: a mistake in the arguments, before the training.
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
    """Logs planned and used rates, and the forecast of the loss, through the trainer: into W&B, MLflow, TensorBoard, trackio.

        trainer = Trainer(…)
        trainer.add_callback(Track(trainer, "cosine(3e-4, total='100%')"))

    The trackers of `report_to` get `laju/schedule`, the schedule's text, and `laju/fingerprint` as the run's configuration. With
    `monitor`, the trainer also logs `lr/planned`, `lr/used` and the figures of `Forecast`. A warning names the first update that
    uses another rate than the plan's. The used rate is the rate of the first group.

    Args:
        trainer: the trainer.
        schedule: the plan, as in `Forecast`. By default the schedule of the trainer's scheduler.
        options: further arguments of `Forecast`.

    Raises:
        TypeError, ValueError, OSError: a mistake in the arguments, before the training.
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
    """The runs of the trackers that the trainer reports to."""
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
    """The updates in each unit of the trainer's run, as far as the trainer knows."""
    per = [("updates", Fraction(1)), ("%", Fraction(state.max_steps, 100))]
    per.append(("samples", Fraction(1, args.train_batch_size * args.gradient_accumulation_steps * args.world_size)))
    if isinstance(train_dataloader, Sized):  # a stream has no length, and a schedule in epochs will say so
        with contextlib.suppress(TypeError):
            per.append(("epochs", Fraction(max(1, -(-len(train_dataloader) // args.gradient_accumulation_steps)))))
    return Scale(tuple(per))
