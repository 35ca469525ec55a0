"""`laju convert`: what it prints, what it writes, and its errors of one plain message."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import laju
from laju.cli import cli

TIMM = "--from timm 'CosineLRScheduler(t_initial=300, warmup_t=5, warmup_lr_init=1e-6)'"


def inside(arguments: str):
    return CliRunner().invoke(cli, ["convert", *shlex.split(arguments)])


def test_it_prints_the_spec_the_code_and_the_report():
    done = inside(f"{TIMM[:-2]}, t_in_epochs=False)' --lr 0.1 --to optax")
    assert done.exit_code == 0
    facts = dict(line.split(None, 1) for line in done.output.splitlines()[:4])
    schedule = laju.parse(facts["laju"])
    assert schedule.values(6).tolist() == pytest.approx(
        [1e-6 + t * (0.1 - 1e-6) / 5 for t in range(5)] + [0.0999314767], rel=1e-8
    )
    assert facts["run"] == "300 updates"
    assert "optimizer = optax.sgd(learning_rate=schedule)" in done.output
    assert "nearest of its own: warmup_cosine_decay_schedule(" in done.output
    assert "different from update" in done.output
    assert "falls from 0.1 to 0.0999315 at update 5" in done.output
    assert "┌" in done.output  # the sketch


def test_the_printed_code_is_code_that_runs():
    done = inside("--from transformers 'get_linear_schedule_with_warmup(2, 12)' --lr 0.1 --to laju")
    code = done.output.split("\n\n", 1)[1].split("\nThis is laju's own")[0]
    space: dict[str, object] = {}
    exec(code, space)
    assert space["rate"] == pytest.approx(0.01)


def test_a_schedule_in_epochs_prints_a_program_that_asks_for_the_updates_of_an_epoch():
    done = inside(f"{TIMM} --lr 0.1 --to optax")
    assert done.exit_code == 0
    facts = dict(line.split(None, 1) for line in done.output.splitlines()[:4])
    assert facts["counts"] == "epochs, of UPDATES_PER_EPOCH updates each; optax's optimizer counts them itself"
    assert facts["run"] == "300 epochs"
    assert "UPDATES_PER_EPOCH = ...  # len(train_loader)\nif not isinstance(UPDATES_PER_EPOCH, int):" in done.output
    assert "for _ in range(300 * UPDATES_PER_EPOCH):" in done.output
    done = inside(f"{TIMM} --lr 0.1 --to optax --updates-per-epoch 391")
    assert "UPDATES_PER_EPOCH = 391  # len(train_loader)\n\nschedule" in done.output
    assert "run     117,300 updates" in done.output
    done = inside(f"{TIMM} --lr 0.1 --to optax --updates 117300")
    assert done.exit_code == 2
    assert "timm counts epochs here: give epochs (--epochs N), or --updates-per-epoch beside updates" in done.output


def test_json_has_the_same(tmp_path: Path):
    done = inside(f"{TIMM} --lr 0.1 --to timm --json --out {tmp_path}")
    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert found["own"] is True
    assert found["call"] == "CosineLRScheduler(t_initial=300, warmup_t=5, warmup_lr_init=1e-06)"
    assert found["unit"] == "epoch"
    assert "over the run and past it" in found["report"]
    assert "wrote" in done.stderr
    assert (tmp_path / "report.html").exists()


def test_it_writes_a_folder_twice(tmp_path: Path):
    for _ in range(2):
        done = inside(f"--from laju 'cosine(0.3, total=50, warmup=5)' --to torch --out {tmp_path / 'new'}")
        assert done.exit_code == 0
        assert done.output.count("wrote") == 4
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "convert.py",
        "difference.png",
        "report.html",
        "report.md",
    ]


def test_a_configuration_is_read(tmp_path: Path):
    path = tmp_path / "ds_config.json"
    scheduler = {
        "type": "WarmupDecayLR",
        "params": {"total_num_steps": 40, "warmup_num_steps": 10, "warmup_max_lr": 0.1},
    }
    path.write_text(json.dumps({"scheduler": scheduler}))
    done = inside(f"--from config {path} --to optax")
    assert done.exit_code == 0, done.output
    assert "deepspeed" in done.output
    assert "WarmupDecayLR" in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--from tim 'CosineLRScheduler(t_initial=9)' --to optax", "did you mean 'timm'"),
        ("--from timm 'CosinLRScheduler(t_initial=9)' --lr 0.1 --to optax", "did you mean 'CosineLRScheduler'"),
        ("--from timm 'CosineLRScheduler(t_initial=9)' --to optx --lr 0.1", "did you mean 'optax'"),
        ("--from timm 'CosineLRScheduler(t_initial=9)' --to optax", "--lr 0.1"),
        ("--from laju 'constant(1)' --to torch", "--updates N"),
        ("--from laju 'cosin(1, total=9)' --to torch", "did you mean 'cosine'"),
        ("--from laju 'cosine(1, total=9)' --to torch --updates 9 --epochs 9", "give only one"),
        ("--from torch 'OneCycleLR(max_lr=1)' --to keras", "needs total_steps"),
        ("--from torch 'ReduceLROnPlateau()' --to keras --lr 0.1", "is not a schedule"),
        ("--from torch 'StepLR(step_size=a)' --lr 0.1 --to optax --updates 5", "is neither a number"),
        ("--from torch 'StepLR(step_size=True)' --lr 0.1 --to optax --updates 5", "step_size must be"),
        ("--from torch 'ExponentialLR(gamma=2.0)' --lr 0.1 --to optax --updates 5000", "beyond what a float can hold"),
        ("--from config nofile.json --to torch", "nofile.json"),
        ("--from laju 'cosine(1, total=9)' --to torch --out /dev/null/x", "/dev/null"),
        ("'cosine(1, total=9)' --to torch", "--from"),
        ("--from laju 'cosine(1, total=9)' --to torch --updates 0", "--updates"),
    ],
)
def test_errors_are_one_plain_message(arguments: str, message: str):
    done = inside(arguments)
    assert done.exit_code == 2
    assert message in done.output
    assert "Traceback" not in done.output


def test_it_runs_as_a_process():
    arguments = shlex.split("convert --from torch 'CosineAnnealingLR(optimizer, T_max=10)' --lr 0.1 --to keras")
    done = subprocess.run(
        [sys.executable, "-m", "laju", *arguments], capture_output=True, text=True, encoding="utf-8", timeout=120
    )
    assert done.returncode == 0
    assert not done.stderr
    assert "it begins to climb again" in done.stdout.replace("\n", " ")
