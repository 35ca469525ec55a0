"""Train a small language model on the source of Python's standard library, and write its losses and rates to a CSV file.

The model is a transformer over bytes (d = 64, two layers, 64 bytes of context, 120,000 parameters), trained with AdamW in batches
of 32 × 64 bytes. Every twentieth file is held out; the validation loss is the mean, in nats a byte, of 256 windows of these files
that stay the same. Runs of one seed see the same batches in the same order, so schedules that begin alike begin alike in their
losses, too.

    python benchmarks/language_model.py short.csv --schedule 'wsd(3e-3, total=20000, warmup=500, cooldown=4000)'

Needs PyTorch and nothing to download.
"""

from __future__ import annotations

import argparse
import sysconfig
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import laju
from laju.frameworks.torch import Scheduler

WIDTH, HEADS, LAYERS, CONTEXT, BATCH = 64, 4, 2, 64, 32
HELD_OUT, WINDOWS = 20, 256


def text() -> tuple[Tensor, Tensor]:
    """The bytes of the standard library's modules, and those of every twentieth module, which is held out."""
    root = Path(sysconfig.get_path("stdlib"))
    skipped = {"site-packages", "dist-packages", "test", "tests", "idle_test"}  # not in every installation
    files = sorted(
        file.relative_to(root)
        for file in root.rglob("*.py")
        if not skipped & set(file.relative_to(root).parts) and not file.name.startswith("_sysconfigdata")
    )
    parts: tuple[list[bytes], list[bytes]] = ([], [])
    for i, file in enumerate(files):
        parts[i % HELD_OUT == 0].append((root / file).read_bytes())
    train, held_out = (torch.frombuffer(bytearray(b"\n".join(part)), dtype=torch.uint8) for part in parts)
    return train, held_out


class Block(nn.Module):
    """Causal attention and a perceptron, each after a norm and around a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        rows, length, _ = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(rows, length, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
        x = x + self.out(attended.reshape(rows, length, WIDTH))
        mixed: Tensor = x + self.mlp(self.norm2(x))
        return mixed


class LanguageModel(nn.Module):
    """A transformer that predicts the next byte."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self.places = nn.Embedding(256, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH)
        nn.init.normal_(self.bytes.weight, std=0.02)
        nn.init.normal_(self.places.weight, std=0.02)

    def forward(self, windows: Tensor) -> Tensor:
        """The mean loss, in nats a byte, of windows of CONTEXT + 1 bytes; shape (rows, CONTEXT + 1)."""
        windows = windows.long()
        x = self.bytes(windows[:, :-1]) + self.places.weight
        logits = F.linear(self.norm(self.blocks(x)), self.bytes.weight)
        return F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())


def windows_of(data: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Windows of CONTEXT + 1 bytes at random places; shape (count, CONTEXT + 1)."""
    starts = torch.randint(len(data) - CONTEXT, (count, 1), generator=generator)
    return data[starts + torch.arange(CONTEXT + 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("log", type=Path, help="the CSV file to write")
    parser.add_argument("--schedule", required=True, help="of the learning rate, in updates, as laju reads it")
    parser.add_argument("--rows", type=int, default=100, help="how many losses to log (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    try:
        schedule = laju.parse(options.schedule)
    except laju.SpecError as error:
        parser.error(f"--schedule: {error}")
    if schedule.length is None or schedule.units:
        parser.error(f"--schedule must have an end, in updates, got {options.schedule!r}")
    if options.rows < 1 or options.threads < 1:
        parser.error(f"--rows and --threads must be at least 1, got {options.rows} and {options.threads}")
    updates = int(schedule.length)
    every = max(1, updates // options.rows)

    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    model = LanguageModel()
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.1, foreach=True)
    scheduler = Scheduler(optimizer, lr=schedule)
    train, held_out = text()
    check = windows_of(held_out, WINDOWS, torch.Generator().manual_seed(0))
    batches = torch.Generator().manual_seed(options.seed)
    print(
        f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(train):,} bytes, {len(held_out):,} held out"
    )

    begin, losses = time.process_time(), torch.zeros(())
    with options.log.open("w", encoding="utf-8", buffering=1) as log:
        log.write("step,lr,train_loss,val_loss\n")
        for step in range(1, updates + 1):
            rate = optimizer.param_groups[0]["lr"]
            loss = model(windows_of(train, BATCH, batches))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            losses += loss.detach()
            if step % every == 0:
                with torch.no_grad():
                    validation = model(check)
                log.write(f"{step},{rate:.6g},{losses / every:.4f},{validation:.4f}\n")
                losses.zero_()
    print(f"{updates:,} updates in {(time.process_time() - begin) / 60:.1f} minutes of processor time: {options.log}")


if __name__ == "__main__":
    main()
