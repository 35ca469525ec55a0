"""One training epoch here against the chapter's own PyTorch loop, side by side.

The chapter's: images as PIL files turned into tensors one by one in a DataLoader with four workers, the metrics read after
every minibatch, the test set evaluated in the same way. Here: the lab's engine, one trial in one thread, and as many trials at
once as there are cores. Both train the same LeNet at batch 256 on 60,000 images of 28×28 and evaluate it on 10,000.

    python benchmarks/chapter_loop.py [--repeats 3] [--images 60000]
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import joblib
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from laju import constant
from laju.lab import Data, Digits, Task, Trial
from laju.lab.engines.torch import train
from laju.lab.models.lenet import lenet

BATCH = 256


class Many(Task):
    """The digits over and over, as many images as Fashion-MNIST has."""

    name = "many digits"

    def __init__(self, images: int) -> None:
        self.images = images

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


def chapter_epoch(task: Task, net: torch.nn.Module) -> float:
    """Seconds of one epoch of the chapter's loop and its evaluation, on every core as torch does by default."""
    data = task.data()
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


def ours(task: Task, seed: int) -> float:
    """Seconds of one epoch of the lab's engine with its evaluation, its data in memory."""
    task.data()
    return train(Trial(task, constant(0.1), seed=seed, epochs=1, batch_size=BATCH)).seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--images", type=int, default=60_000)
    options = parser.parse_args()
    task, cores = Many(options.images), joblib.cpu_count()
    task.data()
    times: dict[str, list[float]] = {"chapter": [], "one": [], "all": []}
    with joblib.Parallel(n_jobs=cores, inner_max_num_threads=1) as parallel:
        parallel(joblib.delayed(_warm)(options.images, seed) for seed in range(cores))
        for i in range(options.repeats):
            times["chapter"].append(chapter_epoch(task, lenet(i)))
            times["one"].append(ours(task, i))
            begin = time.perf_counter()
            parallel(joblib.delayed(_one)(options.images, seed) for seed in range(cores))
            times["all"].append((time.perf_counter() - begin) / cores)
            print(*(f"{name} {seconds[-1]:.2f}" for name, seconds in times.items()), flush=True)
    median = {name: statistics.median(seconds) for name, seconds in times.items()}
    ratios = {
        n: statistics.median(c / s for c, s in zip(times["chapter"], times[n], strict=True)) for n in ("one", "all")
    }
    print(f"\nseconds for an epoch of {options.images} images and its evaluation, LeNet, batch {BATCH}, {cores} cores")
    print(f"  the chapter's loop, torch's default threads   {median['chapter']:6.2f}    1.0×")
    print(f"  laju's lab, one trial in one thread           {median['one']:6.2f}   {ratios['one']:4.1f}×")
    print(f"  laju's lab, {cores} trials at once, each           {median['all']:6.2f}   {ratios['all']:4.1f}×")


_task: dict[int, Many] = {}


def _warm(images: int, seed: int) -> None:
    _one(images, seed)
    time.sleep(1)  # so that every worker gets one


def _one(images: int, seed: int) -> float:
    return ours(_task.setdefault(images, Many(images)), seed)


if __name__ == "__main__":
    import sys

    # Workers import this file by its name to find the task.
    sys.path.insert(0, str(Path(__file__).parent))
    from chapter_loop import main as run

    run()
