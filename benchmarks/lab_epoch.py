"""One training epoch here against the chapter's own PyTorch loop, side by side, and what shared prefixes add to that.

The chapter's: images as PIL files turned into tensors one by one in a DataLoader with four workers, the metrics read after
every minibatch, the test set evaluated in the same way. Here: the lab's engine, one trial in one thread; `compare` with the
chapter's six schedules and three seeds, on as many cores as there are; and with six warmup-stable-decay schedules of three seeds,
with and without shared prefixes. All train the same LeNet at batch 256 on 28×28 images and evaluate it on a sixth as many.

The limit: 2.5 million multiplications and additions an image (both convolutions and three layers, forward, and backward to the
weights and the inputs), by the rate at which this machine multiplies large float32 matrices.

    python benchmarks/lab_epoch.py [--repeats 3] [--images 60000] [--epochs 10]
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from pathlib import Path

import joblib
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from laju import Schedule, constant, wsd
from laju.lab import Data, Digits, Execution, Task, Trial, compare
from laju.lab.engines.torch import train
from laju.lab.trials.models.lenet import lenet
from laju.studies.chapter import schedules

BATCH = 256
OPERATIONS = 2 * (
    # Forward and to the weights, everywhere; to the inputs, but for the first layer. Each is as many multiplications.
    2 * (784 * 150 + 100 * 2400 + 48_000 + 10_080 + 840) + (100 * 2400 + 48_000 + 10_080 + 840)
)
"""Floating-point operations for one image, in training."""


class Many(Task):
    """The digits over and over, as many images as Fashion-MNIST has."""

    name = "many digits"

    def __init__(self, images: int) -> None:
        self.images = images

    @property
    def batch_size(self) -> int:
        return BATCH

    def load(self) -> Data:
        digits = Digits().data()
        train = np.arange(self.images) % len(digits.train_labels)
        test = np.arange(self.images // 6) % len(digits.test_labels)
        inputs, labels = digits.train_inputs[train], digits.train_labels[train]
        return Data(inputs, labels, digits.test_inputs[test], digits.test_labels[test], classes=10)

    def model(self, seed: int) -> torch.nn.Module:
        return lenet(seed)


class Pictures(Dataset):
    """Images that become PIL files and then tensors one at a time, as torchvision's FashionMNIST and ToTensor do it."""

    def __init__(self, inputs: np.ndarray, labels: np.ndarray) -> None:
        scaled = (inputs[:, 0] - inputs.min()) / (inputs.max() - inputs.min()) * 255
        self.pixels, self.labels = torch.from_numpy(scaled.astype(np.uint8)), torch.from_numpy(labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        image, label = Image.fromarray(self.pixels[i].numpy()), int(self.labels[i])
        tensor = torch.from_numpy(np.array(image, np.uint8, copy=True))
        tensor = tensor.view(image.size[1], image.size[0], 1).permute((2, 0, 1)).contiguous()
        return tensor.to(torch.get_default_dtype()).div(255), label


def chapter_network() -> torch.nn.Module:
    """The network as the chapter writes it."""
    nn = torch.nn
    return nn.Sequential(
        nn.Conv2d(1, 6, kernel_size=5, padding=2), nn.ReLU(), nn.MaxPool2d(kernel_size=2, stride=2),
        nn.Conv2d(6, 16, kernel_size=5), nn.ReLU(), nn.MaxPool2d(kernel_size=2, stride=2),
        nn.Flatten(), nn.Linear(16 * 5 * 5, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def chapter_epoch(task: Task) -> float:
    """Seconds of one epoch of the chapter's loop and its evaluation, on every core as torch does by default."""
    data, net = task.data(), chapter_network()
    loaders = [
        DataLoader(Pictures(inputs, labels), BATCH, shuffle=shuffle, num_workers=4)
        for inputs, labels, shuffle in (
            (data.train_inputs, data.train_labels, True),
            (data.test_inputs, data.test_labels, False),
        )
    ]
    loss, optimizer = torch.nn.CrossEntropyLoss(), torch.optim.SGD(net.parameters(), lr=0.1)
    begin = time.perf_counter()
    total, right, seen = 0.0, 0.0, 0
    for x, y in loaders[0]:
        net.train()
        optimizer.zero_grad()
        outputs = net(x)
        value = loss(outputs, y)
        value.backward()
        optimizer.step()
        with torch.no_grad():
            total += float(value * len(x))
            right += float((outputs.argmax(dim=1) == y).sum())
            seen += len(x)
        _ = total / seen, right / seen
    net.eval()
    with torch.no_grad():
        sum(float((net(x).argmax(dim=1) == y).sum()) for x, y in loaders[1])
    return time.perf_counter() - begin


def limit(images: int) -> float:
    """Seconds that the arithmetic of an epoch takes at the speed of large matrix products, on every core."""
    a = torch.rand(1024, 1024)
    a @ a
    times = []
    for _ in range(10):
        begin = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - begin)
    evaluation = images / 6 * 2 * (784 * 150 + 100 * 2400 + 48_000 + 10_080 + 840)
    return (images * OPERATIONS + evaluation) * statistics.median(times) / (2 * 1024**3)


def one(task: Task, seed: int) -> float:
    """Seconds of one epoch of the lab's engine with its evaluation, in one thread."""
    return train(Trial(task, constant(0.1), seed=seed, epochs=1, batch_size=BATCH)).seconds


def cooldowns(updates: int) -> dict[str, Schedule]:
    """Six warmup-stable-decay schedules, which differ in the length of the decay."""
    return {
        f"decay {percent} %": wsd(0.1, total=updates, warmup=updates // 20, cooldown=updates * percent // 100)
        for percent in (5, 10, 15, 20, 25, 30)
    }


def first(schedules: dict[str, Schedule]) -> dict[str, Schedule]:
    """The first of them alone."""
    return dict(list(schedules.items())[:1])


def compared(task: Task, schedules: dict[str, Schedule], epochs: int, share: bool) -> float:
    """Seconds of a comparison with three seeds, per epoch that is asked for."""
    begin = time.perf_counter()
    compare(schedules, task, epochs=epochs, seeds=3, execution=Execution(share_prefixes=share))
    return (time.perf_counter() - begin) / (len(schedules) * 3 * epochs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--epochs", type=int, default=10, help="of the schedules that are compared")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="This DataLoader will create 4 worker processes")
    task, cores = Many(options.images), joblib.cpu_count()
    task.data()
    updates = -(-options.images // BATCH) * options.epochs
    kinds = {
        "chapter": lambda i: chapter_epoch(task),
        "one": lambda i: one(task, i),
        "six": lambda i: compared(task, dict(schedules()), options.epochs, share=True),
        "one wsd": lambda i: compared(task, first(cooldowns(updates)), options.epochs, share=True),
        "six wsd apart": lambda i: compared(task, cooldowns(updates), options.epochs, share=False),
        "six wsd": lambda i: compared(task, cooldowns(updates), options.epochs, share=True),
    }
    times: dict[str, list[float]] = {name: [] for name in kinds}
    compared(task, {"a": constant(0.1)}, 1, share=True)  # starts the workers, which read the data
    for i in range(options.repeats):
        for name, kind in kinds.items():
            times[name].append(kind(i))
            print(f"{name} {times[name][-1]:.2f}", end="  ", flush=True)
        print(flush=True)
    median = {name: statistics.median(seconds) for name, seconds in times.items()}

    def line(text: str, name: str, beside: str = "chapter") -> None:
        ratio = statistics.median(a / b for a, b in zip(times[beside], times[name], strict=True))
        print(f"  {text:58} {median[name]:6.2f}  {ratio:5.1f}×")

    print(
        f"\nseconds for an epoch of {options.images:,} images and its evaluation, LeNet, batch {BATCH}, {cores} cores"
    )
    line("the chapter's loop, torch's default threads", "chapter")
    line("laju's engine, one trial in one thread", "one")
    line("laju compare, the chapter's six schedules × 3 seeds", "six")
    line("laju compare, six warmup-stable-decay × 3 seeds, apart", "six wsd apart")
    line("laju compare, six warmup-stable-decay × 3 seeds, shared", "six wsd")
    line("  the same, against those apart", "six wsd", "six wsd apart")
    each = {name: statistics.median(times[name]) * 6 for name in ("six wsd apart", "six wsd")}
    for name, words in (("six wsd apart", "apart"), ("six wsd", "with shared prefixes")):
        added = (each[name] - statistics.median(times["one wsd"])) / 5
        print(f"  {f'an added schedule, {words}':58} {added:6.2f}")
    print(f"  {'the arithmetic alone, at the speed of matrix products':58} {limit(options.images):6.2f}")


if __name__ == "__main__":
    import sys

    # Workers import this file by its name to find the task.
    sys.path.insert(0, str(Path(__file__).parent))
    from lab_epoch import main as run

    run()
