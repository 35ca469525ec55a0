"""Schedules whose lengths the trainers of Lightning and Transformers say: text, percent, resuming, metrics, and mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
import transformers
import yaml

import laju
from laju import UnresolvedError, cosine, linear
from laju.adaptive import Plateau, StateError
from laju.frameworks import lightning as in_lightning
from laju.frameworks import transformers as in_transformers
from laju.frameworks.torch import Factor
from tests.frameworks.test_trainers import ONE_NUMBER_A_SAMPLE, Net, Used, _quiet_and_alone, near  # noqa: F401

TEXT = "cosine(1, total='100%', warmup='25%', final=0.1)"
PLAN = cosine(1, total=16, warmup=4, final=0.1).values(16)

# --- Lightning -----------------------------------------------------------------------------------------------------------


class Module(lightning.LightningModule):
    """One weight whose gradient is 1, and optimizers without schedulers."""

    def __init__(self, used: Used, optimizers: int = 1) -> None:
        super().__init__()
        self.nets, self.used = torch.nn.ModuleList(Net() for _ in range(optimizers)), used

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        loss = self.nets[0](**batch)["loss"]
        self.log("loss", 1.0)
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_loss", 1.0)

    def configure_optimizers(self) -> Any:
        return [self.used.of(torch.optim.SGD(net.parameters(), lr=0.25)) for net in self.nets]


class ByHand(Module):
    """Two optimizers, the first of which makes two updates in each batch."""

    def __init__(self, used: Used) -> None:
        super().__init__(used, optimizers=2)
        self.automatic_optimization = False

    def training_step(self, batch: Any, index: int) -> None:
        first, second = self.optimizers()
        for optimizer, net in ((first, 0), (first, 0), (second, 1)):
            optimizer.zero_grad()
            self.manual_backward(self.nets[net](**batch)["loss"])
            optimizer.step()


def fit(
    module: Module, folder: Path, *callbacks: Any, ckpt_path: Any = None, validate: bool = False, **options: Any
) -> Any:
    trainer = lightning.Trainer(
        **{"max_epochs": 2, **options},
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=list(callbacks),
    )
    data = torch.utils.data.DataLoader(ONE_NUMBER_A_SAMPLE, batch_size=4)  # type: ignore[arg-type]
    trainer.fit(module, data, data if validate else None, ckpt_path=ckpt_path)
    return trainer


@pytest.mark.parametrize(
    "options",
    [{"max_epochs": 2}, {"max_steps": 16, "max_epochs": -1}, {"max_epochs": 8, "accumulate_grad_batches": 4}],
    ids=["epochs", "steps", "accumulated"],
)
def test_lightning_says_the_lengths(options: dict[str, Any], tmp_path: Path) -> None:
    used = Used()
    trainer = fit(Module(used), tmp_path, in_lightning.Schedule(TEXT), **options)
    assert used == near(PLAN)
    assert trainer.lr_scheduler_configs[0].scheduler.position == 16


def test_lightning_says_what_an_epoch_is(tmp_path: Path) -> None:
    used = Used()
    schedule = in_lightning.Schedule("linear(1, 0, total='4 epochs')", weight_decay="linear(1, 0, total='1 epoch')")
    trainer = fit(Module(used), tmp_path, schedule)
    assert {slot.name: slot.schedule for slot in trainer.lr_scheduler_configs[0].scheduler.slots} == {
        "lr": linear(1, 0, total=32),
        "weight_decay": linear(1, 0, total=8),
    }


def test_a_run_resumed_by_lightning_goes_on(tmp_path: Path) -> None:
    used = Used()
    rate = Factor(TEXT)  # type: ignore[arg-type]
    trainer = fit(
        Module(used), tmp_path, in_lightning.Schedule(rate), limit_train_batches=8, max_epochs=2, max_time=None
    )
    assert used == near(0.25 * PLAN)
    trainer.save_checkpoint(tmp_path / "16.ckpt")
    more = Used()
    with pytest.raises(StateError, match="policy='new'"):  # 100 % is twice as long now
        fit(Module(more), tmp_path, in_lightning.Schedule(rate), ckpt_path=tmp_path / "16.ckpt", max_epochs=4)
    schedule = in_lightning.Schedule(rate, policy="new")
    fit(Module(more), tmp_path, schedule, ckpt_path=tmp_path / "16.ckpt", max_epochs=4)
    assert more == near(0.25 * cosine(1, total=32, warmup=8, final=0.1).values(16, start=16))


def test_optimizers_by_hand_each_count_their_own_updates(tmp_path: Path) -> None:
    used = Used()
    rates = in_lightning.Schedule(["linear(1, 0, total='200%')", "linear(0, 1, total='100%')"])
    fit(ByHand(used), tmp_path, rates)
    first, second = linear(1, 0, total=32).values(32), linear(0, 1, total=16).values(16)
    assert used == near([v for t in range(16) for v in (first[2 * t], first[2 * t + 1], second[t])])


def test_lightning_feeds_a_metric(tmp_path: Path) -> None:
    used = Used()
    fit(
        Module(used),
        tmp_path,
        in_lightning.Schedule(1.0, controller=Plateau(0.5, patience=0)),
        validate=True,
        max_epochs=4,
    )
    assert used == near([1.0] * 16 + [0.5] * 8 + [0.25] * 8)


def test_lightning_mistakes(tmp_path: Path) -> None:
    class WithScheduler(Module):
        def configure_optimizers(self) -> Any:
            (optimizer,) = super().configure_optimizers()
            return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)]

    for module, schedule, error, match in (
        (WithScheduler(Used()), in_lightning.Schedule(TEXT), ValueError, "ExponentialLR"),
        (Module(Used()), in_lightning.Schedule([TEXT, TEXT]), ValueError, "1 optimizer"),
        (ByHand(Used()), in_lightning.Schedule(1.0, controller=Plateau(0.5, patience=0)), ValueError, "one optimizer"),
        (Module(Used()), in_lightning.Schedule("cosine(1, total='9 tokens')"), UnresolvedError, "tokens"),
        (Module(Used()), in_lightning.Schedule("cosin(1, total=3)"), ValueError, "did you mean 'cosine'"),
        (Module(Used()), in_lightning.Schedule(lrr=TEXT), ValueError, "lrr"),
    ):
        with pytest.raises(error, match=match):
            fit(module, tmp_path, schedule)
    with pytest.raises(UnresolvedError, match="how long the run is"):
        fit(Module(Used()), tmp_path, in_lightning.Schedule(TEXT), max_epochs=-1)
    controlled = in_lightning.Schedule(1.0, controller=Plateau(0.5, patience=0), monitor="val_los")
    with pytest.raises(ValueError, match="monitor must be one of"):
        fit(Module(Used()), tmp_path, controlled, validate=True)


# --- Transformers ----------------------------------------------------------------------------------------------------------


def trainer(
    folder: Path, schedule: Any, *, callback: bool = True, net: Any = None, **options: Any
) -> transformers.Trainer:
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=4,
        learning_rate=0.25,
        optim="sgd",
        max_grad_norm=0,
        save_strategy="steps",
        save_steps=6,
        logging_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        **{"num_train_epochs": 2, **options},
    )
    return transformers.Trainer(
        model=net or Net(),
        args=arguments,
        train_dataset=ONE_NUMBER_A_SAMPLE,  # type: ignore[arg-type]
        eval_dataset=ONE_NUMBER_A_SAMPLE,  # type: ignore[arg-type]
        optimizers=(None, schedule),
        callbacks=[Watch(), schedule] if callback else [Watch()],
    )


class Watch(transformers.TrainerCallback):  # type: ignore[misc]
    """The rates that updates used, by the change of the weight."""

    def __init__(self) -> None:
        self.used = Used()

    def on_train_begin(self, *_: Any, optimizer: Any, **__: Any) -> None:
        self.used.of(getattr(optimizer, "optimizer", optimizer))


def used_by(made: transformers.Trainer) -> list[float]:
    return next(c for c in made.callback_handler.callbacks if isinstance(c, Watch)).used


@pytest.mark.parametrize(
    "options",
    [{"num_train_epochs": 2}, {"max_steps": 16}, {"num_train_epochs": 8, "gradient_accumulation_steps": 4}],
    ids=["epochs", "steps", "accumulated"],
)
def test_transformers_say_the_lengths(options: dict[str, Any], tmp_path: Path) -> None:
    schedule = in_transformers.Schedule(TEXT)
    made = trainer(tmp_path, schedule, **options)
    made.train()
    assert used_by(made) == near(PLAN)
    assert schedule.scheduler.position == 16


def test_transformers_say_what_an_epoch_and_a_sample_are(tmp_path: Path) -> None:
    schedule = in_transformers.Schedule(
        Factor("linear(1, 0, total='4 epochs')"),  # type: ignore[arg-type]
        weight_decay="linear(1, 0, total='32 samples')",
    )
    made = trainer(tmp_path, schedule, gradient_accumulation_steps=2)
    made.train()
    assert {slot.name: slot.schedule for slot in schedule.scheduler.slots} == {
        "lr (factor)": linear(1, 0, total=16),
        "weight_decay": linear(1, 0, total=4),
    }


def test_a_run_resumed_by_transformers_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = trainer(tmp_path, in_transformers.Schedule(Factor(TEXT)))  # type: ignore[arg-type]
    whole.train()
    resumed = trainer(tmp_path / "resumed", in_transformers.Schedule(Factor(TEXT)))  # type: ignore[arg-type]
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
    assert used_by(resumed) == used_by(whole)[6:]
    assert torch.equal(resumed.model.weight, whole.model.weight)


def test_training_twice_begins_twice(tmp_path: Path) -> None:
    made = trainer(tmp_path, in_transformers.Schedule(TEXT))
    made.train()
    first = list(used_by(made))
    used_by(made).clear()
    made.train()
    assert used_by(made)[::2] == near(first)  # of the same optimizer, to which Watch listens twice now


def test_transformers_feed_a_metric(tmp_path: Path) -> None:
    schedule = in_transformers.Schedule(1.0, controller=Plateau(0.5, patience=0))
    made = trainer(tmp_path, schedule, eval_strategy="epoch", num_train_epochs=4, prediction_loss_only=True)
    made.evaluate = lambda *_, **__: (
        made.callback_handler.on_evaluate(  # the loss falls for ever, and an epoch shall not
            made.args, made.state, made.control, {"eval_loss": 1.0}
        )
        and {"eval_loss": 1.0}
    )
    made.train()
    assert used_by(made) == near([1.0] * 16 + [0.5] * 8 + [0.25] * 8)


def test_transformers_mistakes(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"callbacks=\[s\]"):
        trainer(tmp_path, in_transformers.Schedule(TEXT), callback=False).train()
    alone = trainer(tmp_path, in_transformers.Schedule(TEXT))
    alone.lr_scheduler = None  # what optimizers=(None, None) leaves: the trainer makes a scheduler of its own
    with pytest.raises(RuntimeError, match=r"steps a LambdaLR.*optimizers=\(None, s\)"):
        alone.train()
    with pytest.raises(UnresolvedError, match="tokens"):
        trainer(tmp_path, in_transformers.Schedule("cosine(1, total='9 tokens')")).train()
    with pytest.raises(ValueError, match="did you mean 'cosine'"):
        trainer(tmp_path, in_transformers.Schedule("cosin(1, total=3)")).train()


def test_both_take_text_from_a_file(tmp_path: Path) -> None:
    read = yaml.safe_load("lr: cosine(1, total='100%', warmup='25%', final=0.1)")
    used = Used()
    fit(Module(used), tmp_path, in_lightning.Schedule(**read))
    assert used == near(PLAN)
    assert laju.parse(read["lr"]) == laju.parse(TEXT)
