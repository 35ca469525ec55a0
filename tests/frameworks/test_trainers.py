"""Real runs of the libraries that train torch models: the rates that their updates use are those of the plan.

Every model here has one weight, and its loss is that weight: with gradient 1 and plain gradient descent the change of the
weight is the rate.
"""

from __future__ import annotations

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
import pytest
import torch
import transformers

import laju
from laju import cosine, linear
from laju.adaptive import Plateau
from laju.frameworks.torch import Factor, Scheduler
from laju.ledger import Audit, Ledger, audit

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


def hugging_face(folder: Path, used: Used, drive: Any = SCHEDULE, **options: Any) -> transformers.Trainer:
    model = Net()
    scheduler = build(model.weight, used, drive)
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
