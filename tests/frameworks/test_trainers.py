"""Real runs of the libraries that train torch models: the rates that their updates use are those of the plan.

Every model here has one weight, and its loss is that weight: with gradient 1 and plain gradient descent the change of the
weight is the rate.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import accelerate
import ignite.engine
import ignite.handlers
import lightning
import numpy as np
import pytest
import torch
import transformers

import laju
from laju import constant, cosine, linear
from laju.adaptive import Plateau
from laju.frameworks.torch import Factor, Scheduler
from laju.ledger import Audit, Ledger, audit
from tests.dialects.conftest import importable

SCHEDULE = cosine(1, total=12, warmup=3, final=0.1)
PLAN = SCHEDULE.values(16).tolist()
DECAY = linear(0.5, 0, total=16)
BASE = 0.25
ONE_NUMBER_A_SAMPLE = [{"x": torch.zeros(1, dtype=torch.float64)} for _ in range(32)]


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, x: torch.Tensor, **_: Any) -> dict[str, torch.Tensor]:
        return {"loss": self.weight.sum() + x.sum()}


class Used(list[float]):
    """The rates that updates use, by the change of the weight."""

    def of(self, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        (weight,) = optimizer.param_groups[0]["params"]
        before: list[float] = []
        optimizer.register_step_pre_hook(lambda *_: before.append(weight.item()))
        optimizer.register_step_post_hook(lambda *_: self.append(before.pop() - weight.item()))
        return optimizer


def build(weight: torch.nn.Parameter, used: Used, drive: Any = SCHEDULE, **options: Any) -> Scheduler:
    return Scheduler(used.of(torch.optim.SGD([weight], lr=BASE)), lr=drive, **options)


def near(plan: Any) -> Any:
    return pytest.approx(list(plan), abs=1e-14)  # a weight of 10 has rounding of 1e-15


@pytest.fixture(autouse=True)
def _quiet_and_alone() -> Iterator[None]:
    """Without what these libraries say about each other and CPUs, and with a new state of Accelerate, which is global."""
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", module="laju")
        yield
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)


# --- Lightning ---------------------------------------------------------------------------------------------------------


class Module(lightning.LightningModule):
    def __init__(self, used: Used, drive: Any = SCHEDULE, **options: Any) -> None:
        super().__init__()
        self.net, self.used, self.drive, self.options = Net(), used, drive, options

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        return self.net(**batch)["loss"]

    def configure_optimizers(self) -> Any:
        scheduler = build(self.net.weight, self.used, self.drive, **self.options)
        return {
            "optimizer": scheduler.optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def on_train_epoch_end(self) -> None:
        if self.options.get("controller"):
            self.lr_schedulers().observe(1.0)


def fit(module: Module, folder: Path, max_steps: int, ckpt_path: str | None = None, **options: Any) -> Any:
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_steps=max_steps,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **options,
    )
    data = torch.utils.data.DataLoader(ONE_NUMBER_A_SAMPLE, batch_size=4)  # type: ignore[arg-type]
    trainer.fit(module, data, ckpt_path=ckpt_path)
    return trainer


@pytest.mark.parametrize("accumulate", [1, 4])
def test_lightning_uses_the_plan(tmp_path: Path, accumulate: int) -> None:
    used = Used()
    fit(Module(used), tmp_path, 16, accumulate_grad_batches=accumulate)
    assert used == near(PLAN)


@pytest.mark.parametrize("drive", [SCHEDULE, Factor(SCHEDULE)])
def test_a_run_resumed_by_lightning_equals_an_uninterrupted_one(tmp_path: Path, drive: Any) -> None:
    whole, parts = Used(), Used()
    uninterrupted = Module(whole, drive)
    fit(uninterrupted, tmp_path, 16)
    assert whole == near(v * (BASE if isinstance(drive, Factor) else 1) for v in PLAN)
    fit(Module(parts, drive), tmp_path, 6).save_checkpoint(tmp_path / "6.ckpt")
    resumed = Module(parts, drive)
    trainer = fit(resumed, tmp_path, 16, ckpt_path=str(tmp_path / "6.ckpt"))
    assert parts == whole
    assert torch.equal(resumed.net.weight, uninterrupted.net.weight)
    assert trainer.lr_scheduler_configs[0].scheduler.position == 16


def test_lightning_refuses_a_checkpoint_of_another_schedule(tmp_path: Path) -> None:
    fit(Module(Used()), tmp_path, 6).save_checkpoint(tmp_path / "6.ckpt")
    with pytest.raises(laju.adaptive.StateError, match="saved with other schedules"):
        fit(Module(Used(), linear(1, 0, total=12)), tmp_path, 16, ckpt_path=str(tmp_path / "6.ckpt"))
    used = Used()
    other = Module(used, linear(1, 0, total=12), policy="new")
    fit(other, tmp_path, 12, ckpt_path=str(tmp_path / "6.ckpt"))
    assert used == near(linear(1, 0, total=12).values(6, start=6))


def test_a_metric_cuts_the_rate_in_lightning(tmp_path: Path) -> None:
    used = Used()
    module = Module(used, 1.0, controller=Plateau(0.5, patience=0))
    fit(module, tmp_path, 16, limit_train_batches=4)  # four epochs of four updates, the first observation is no cut
    assert used == near([1.0] * 8 + [0.5] * 4 + [0.25] * 4)


# --- Hugging Face Trainer ----------------------------------------------------------------------------------------------


def hugging_face(
    folder: Path, used: Used, drive: Any = SCHEDULE, policy: Any = "strict", **options: Any
) -> transformers.Trainer:
    model = Net()
    scheduler = build(model.weight, used, drive, policy=policy)
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        max_steps=16,
        per_device_train_batch_size=2,
        max_grad_norm=0,
        save_strategy="steps",
        save_steps=6,
        logging_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        **options,
    )
    return transformers.Trainer(
        model=model,
        args=arguments,
        train_dataset=ONE_NUMBER_A_SAMPLE,  # type: ignore[arg-type]
        optimizers=(scheduler.optimizer, scheduler),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("accumulate", [1, 4])
def test_hugging_face_uses_the_plan(tmp_path: Path, accumulate: int) -> None:
    used = Used()
    hugging_face(tmp_path, used, gradient_accumulation_steps=accumulate).train()
    assert used == near(PLAN)


@pytest.mark.parametrize("drive", [SCHEDULE, Factor(SCHEDULE)])
def test_a_run_resumed_by_hugging_face_equals_an_uninterrupted_one(tmp_path: Path, drive: Any) -> None:
    whole, rest = Used(), Used()
    uninterrupted = hugging_face(tmp_path, whole, drive)
    uninterrupted.train()
    resumed = hugging_face(tmp_path / "resumed", rest, drive)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
    assert rest == whole[6:]
    assert torch.equal(resumed.model.weight, uninterrupted.model.weight)
    assert resumed.lr_scheduler.position == 16


# --- Accelerate --------------------------------------------------------------------------------------------------------


def accelerated(used: Used, inside: bool, drive: Any = SCHEDULE, **options: Any) -> tuple[Any, ...]:
    """What a script prepares; `inside`: the scheduler is built of the optimizer that Accelerate has wrapped."""
    helper = accelerate.Accelerator(cpu=True, **options)
    net = Net()
    scheduler = build(net.weight, used, drive)
    data = torch.utils.data.DataLoader(ONE_NUMBER_A_SAMPLE, batch_size=2)  # type: ignore[arg-type]
    if not inside:
        return helper, *helper.prepare(net, scheduler.optimizer, data, scheduler)
    model, optimizer, data = helper.prepare(net, scheduler.optimizer, data)
    return helper, model, optimizer, data, helper.prepare(Scheduler(optimizer, lr=drive))


def accelerated_epoch(helper: Any, model: Any, optimizer: Any, data: Any, scheduler: Any) -> None:
    for batch in data:
        with helper.accumulate(model):
            helper.backward(model(**batch)["loss"])
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("accumulate", [1, 4])
def test_accelerate_uses_the_plan(inside: bool, accumulate: int) -> None:
    used = Used()
    prepared = accelerated(used, inside, gradient_accumulation_steps=accumulate)
    for _ in range(accumulate):
        accelerated_epoch(*prepared)
    assert used == near(PLAN)


@pytest.mark.parametrize("inside", [False, True])
def test_a_run_resumed_by_accelerate_equals_an_uninterrupted_one(tmp_path: Path, inside: bool) -> None:
    whole, rest = Used(), Used()
    uninterrupted = accelerated(whole, inside, Factor(SCHEDULE), gradient_accumulation_steps=4)
    for epoch in range(4):
        accelerated_epoch(*uninterrupted)
        if epoch == 0:
            uninterrupted[0].save_state(str(tmp_path))
    assert whole == near(v * BASE for v in PLAN)
    resumed = accelerated(rest, inside, Factor(SCHEDULE), gradient_accumulation_steps=4)
    resumed[0].load_state(str(tmp_path))
    for _ in range(3):
        accelerated_epoch(*resumed)
    assert rest == whole[4:]
    assert torch.equal(resumed[1].weight, uninterrupted[1].weight)


TWO_PROCESSES = """
    import json, warnings
    warnings.filterwarnings("error", module="laju")
    from tests.frameworks.test_trainers import Used, accelerated, accelerated_epoch
    used = Used()
    prepared = accelerated(used, inside=False)
    for _ in range(2):  # each process has half of the data
        accelerated_epoch(*prepared)
    scheduler = prepared[-1].scheduler
    print(json.dumps([prepared[0].num_processes, scheduler.position, used]))
    prepared[0].end_training()
"""


@pytest.mark.slow
def test_accelerate_steps_a_scheduler_once_a_process_and_that_counts_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(TWO_PROCESSES)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, **together, "RANK": str(rank), "LOCAL_RANK": str(rank), "ACCELERATE_USE_CPU": "true"},
        )
        for rank in range(2)
    ]
    found = [json.loads(rank.communicate(timeout=300)[0].splitlines()[-1]) for rank in ranks]
    assert found[0] == found[1]
    assert found[0] == [2, 16, near(PLAN)]


# --- ignite ------------------------------------------------------------------------------------------------------------


def engine(scheduler: Scheduler, how: str) -> tuple[ignite.engine.Engine, Any]:
    """A trainer whose scheduler is ignite's wrapper, or stepped by a plain handler; and what a checkpoint would save."""
    (weight,) = scheduler.optimizer.param_groups[0]["params"]

    def update(engine: ignite.engine.Engine, batch: Any) -> None:
        scheduler.optimizer.zero_grad()
        weight.sum().backward()
        scheduler.optimizer.step()

    trainer = ignite.engine.Engine(update)
    if how == "handler":
        trainer.add_event_handler(ignite.engine.Events.ITERATION_COMPLETED, lambda: scheduler.step())
        return trainer, scheduler
    wrapped = ignite.handlers.LRScheduler(scheduler)
    trainer.add_event_handler(ignite.engine.Events.ITERATION_STARTED, wrapped)
    return trainer, wrapped


@pytest.mark.parametrize("how", ["wrapper", "handler"])
@pytest.mark.parametrize("drive", [SCHEDULE, Factor(SCHEDULE)])
def test_ignite_uses_the_plan_and_resumes_it(how: str, drive: Any) -> None:
    plan = [v * (BASE if isinstance(drive, Factor) else 1) for v in PLAN]
    used = Used()
    scheduler = build(Net().weight, used, drive)
    trainer, saved = engine(scheduler, how)
    trainer.run(range(6))
    state, optimizer_state = saved.state_dict(), scheduler.optimizer.state_dict()
    trainer.run(range(10))
    assert used == near(plan)
    rest = Used()
    again = build(Net().weight, rest, drive)
    trainer, loaded = engine(again, how)
    loaded.load_state_dict(state)
    again.optimizer.load_state_dict(optimizer_state)
    trainer.run(range(10))
    assert rest == near(plan[6:])


@pytest.mark.parametrize("how", ["wrapper", "handler"])
def test_ignite_follows_every_hyper_parameter(how: str) -> None:
    scheduler = build(Net().weight, Used(), weight_decay=DECAY)
    trainer, _ = engine(scheduler, how)
    ledger = Ledger.of(scheduler.optimizer, ["lr", "weight_decay"])
    trainer.run(range(16))
    assert audit({"lr": SCHEDULE, "weight_decay": DECAY}, ledger) == Audit(32)


def test_ignite_simulates_the_plan_and_leaves_the_scheduler_where_it_was() -> None:
    scheduler = build(Net().weight, Used())
    scheduler.set_position(2)
    values = ignite.handlers.LRScheduler.simulate_values(num_events=10, lr_scheduler=scheduler)
    assert [value for _, value in values] == PLAN[2:12]
    assert (scheduler.position, scheduler.get_last_lr()) == (2, [PLAN[2]])


# --- what trainers say, and what is said to them -----------------------------------------------------------------------


@contextlib.contextmanager
def told(*texts: str) -> Iterator[None]:
    """What is inside gives these warnings and no others."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    found = [str(w.message) for w in caught if issubclass(w.category, laju.ScheduleWarning)]
    assert len(found) == len(texts), found
    for message, text in zip(found, texts, strict=True):
        assert text in message


class Configured(Module):
    """A module whose scheduler is configured in some other way."""

    def __init__(self, used: Used, drive: Any = SCHEDULE, config: Any = None, **options: Any) -> None:
        super().__init__(used, drive, **options)
        self.config = config or {}

    def configure_optimizers(self) -> Any:
        scheduler = build(self.net.weight, self.used, self.drive, **self.options)
        return {"optimizer": scheduler.optimizer, "lr_scheduler": {"scheduler": scheduler, **self.config}}

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        self.log("loss", 1.0, on_epoch=True)
        return super().training_step(batch, index)

    def on_train_epoch_end(self) -> None:
        pass


def test_lightnings_default_of_a_step_an_epoch_is_told_in_the_first_epoch(tmp_path: Path) -> None:
    used = Used()
    with told("call step() after each (interval='step' in Lightning"):
        fit(Configured(used), tmp_path, 16, limit_train_batches=8)
    assert used == near([PLAN[0]] * 8 + [PLAN[1]] * 8)


def test_a_schedule_in_epochs_in_lightning(tmp_path: Path) -> None:
    used = Used()
    lr = "cosine(1, total='4 epochs', warmup='1 epoch')"
    with told():
        fit(Configured(used, lr, every="epoch"), tmp_path, 16, limit_train_batches=4)
    assert used == near(v for v in cosine(1, total=4, warmup=1).values(4) for _ in range(4))


@pytest.mark.parametrize("drive", [1.0, constant(1.0)])
def test_lightnings_plateau_feeds_the_controller(tmp_path: Path, drive: Any) -> None:
    used = Used()
    config = {"monitor": "loss", "reduce_on_plateau": True}
    with told():
        fit(Configured(used, drive, config, controller=Plateau(0.5, patience=0)), tmp_path, 16, limit_train_batches=4)
    assert used == near([1.0] * 8 + [0.5] * 4 + [0.25] * 4)


def test_a_controller_that_lightning_never_feeds_is_told_at_the_first_save(tmp_path: Path) -> None:
    config = {"monitor": "loss", "interval": "step"}
    module = Configured(Used(), 1.0, config, controller=Plateau(0.5, patience=0))
    with told("no metric was observed in the first 8 updates"):
        fit(module, tmp_path, 8).save_checkpoint(tmp_path / "8.ckpt")


def test_lightning_takes_over_a_run_under_another_scheduler(tmp_path: Path) -> None:
    class Theirs(Module):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.net.parameters(), lr=BASE)
            scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: float(SCHEDULE(t)))
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    fit(Theirs(Used()), tmp_path, 6).save_checkpoint(tmp_path / "6.ckpt")
    with pytest.raises(laju.adaptive.StateError, match="has last_epoch=6: with policy='new'"):
        fit(Module(Used()), tmp_path, 16, ckpt_path=str(tmp_path / "6.ckpt"))
    used = Used()
    with told():
        fit(Module(used, Factor(SCHEDULE), policy="new"), tmp_path, 16, ckpt_path=str(tmp_path / "6.ckpt"))
    assert used == near(BASE * v for v in PLAN[6:])


def test_a_monitor_of_rates_in_lightning_sees_the_plan(tmp_path: Path) -> None:
    class Kept(lightning.pytorch.loggers.CSVLogger):
        def log_metrics(self, metrics: Any, step: Any = None) -> None:
            seen.extend(value for name, value in metrics.items() if name == "lr-SGD")

    seen: list[float] = []
    module = Module(Used())
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_steps=8,
        logger=Kept(str(tmp_path)),
        callbacks=[lightning.pytorch.callbacks.LearningRateMonitor("step")],
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = torch.utils.data.DataLoader(ONE_NUMBER_A_SAMPLE, batch_size=4)  # type: ignore[arg-type]
    trainer.fit(module, data)
    assert seen == near(PLAN[:8])


def test_hugging_face_takes_over_a_run_under_its_own_scheduler(tmp_path: Path) -> None:
    model = Net()
    theirs = torch.optim.SGD([model.weight], lr=BASE)
    first = hugging_face(tmp_path, Used())
    first.model, first.model_wrapped, first.optimizer = model, model, theirs
    first.lr_scheduler = transformers.get_cosine_schedule_with_warmup(theirs, 3, 12)
    first.train()
    used = Used()
    second = hugging_face(tmp_path / "strict", Used())
    with pytest.raises(laju.adaptive.StateError, match="has last_epoch=6: with policy='new'"):
        second.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
    third = hugging_face(tmp_path / "new", used, policy="new")
    with told():
        third.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
    assert used == near(PLAN[6:])


def test_hugging_faces_own_optimizer_beside_a_scheduler_is_told(tmp_path: Path) -> None:
    trainer = hugging_face(tmp_path, Used())
    trainer.optimizer = None
    with told("AdamW updates the same parameters"):
        trainer.train()


def skorch_net(lr: Any, step_every: str, used: Used, **options: Any) -> Any:
    skorch = pytest.importorskip("skorch")

    class Regression(skorch.NeuralNet):  # type: ignore[misc,name-defined]
        def get_loss(self, y_pred: Any, y_true: Any, *args: Any, **kwargs: Any) -> Any:
            return y_pred.sum()

        def initialize_optimizer(self, *args: Any, **kwargs: Any) -> Any:
            super().initialize_optimizer(*args, **kwargs)
            used.of(self.optimizer_)
            return self

    class Weight(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.weight + 0 * x.sum()

    scheduler = skorch.callbacks.LRScheduler(policy=Scheduler, lr=lr, step_every=step_every, **options)
    return Regression(
        Weight,
        criterion=torch.nn.MSELoss,
        lr=BASE,
        train_split=None,
        batch_size=4,
        max_epochs=4,
        verbose=0,
        callbacks=[scheduler],
    )


@pytest.mark.parametrize("step_every", ["batch", "epoch"])
def test_skorch_uses_the_plan(step_every: str) -> None:
    used, x = Used(), np.zeros((16, 1), dtype=np.float32)
    options = {"every": "epoch"} if step_every == "epoch" else {}
    net = skorch_net("cosine(1, total=12, warmup=3, final=0.1)", step_every, used, **options)
    with told():
        net.fit(x, np.zeros((16, 1), dtype=np.float32))
    plan = PLAN if step_every == "batch" else [v for v in PLAN[:4] for _ in range(4)]
    assert used == pytest.approx(plan, abs=1e-6)
    if step_every == "epoch":  # goes on from the epochs of its history
        net.set_params(max_epochs=2)
        net.partial_fit(x, np.zeros((16, 1), dtype=np.float32))
        assert used[16:] == pytest.approx([v for v in PLAN[4:6] for _ in range(4)], abs=1e-6)


def test_skorchs_default_of_a_step_an_epoch_is_told() -> None:
    x = np.zeros((16, 1), dtype=np.float32)
    with told("step_every='batch' in skorch"):
        skorch_net(SCHEDULE, "epoch", Used()).fit(x, np.zeros((16, 1), dtype=np.float32))


def test_fastais_wrapper_of_an_optimizer() -> None:
    folder = Path(os.environ.get("LAJU_DIALECTS", Path(__file__).parents[2] / ".dialects"))
    if not (folder / "fastai").is_dir():
        pytest.skip(f"needs fastai in {folder}: make setup-dialects")
    with importable(folder):
        from fastai.optimizer import OptimWrapper
    net, used = Net(), Used()
    wrapper = OptimWrapper([net.weight], torch.optim.SGD, lr=BASE)
    with pytest.raises(TypeError, match="its opt is an optimizer"):
        Scheduler(wrapper, lr=SCHEDULE)
    used.of(wrapper.opt)
    scheduler = Scheduler(wrapper.opt, lr=SCHEDULE)
    with told():
        for _ in range(16):
            net.weight.sum().backward()
            wrapper.step()
            wrapper.zero_grad()
            scheduler.step()
    assert used == near(PLAN)
