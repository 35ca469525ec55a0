"""Training epochs a second on a GPU: the chapter's own PyTorch loop, and laju's captured updates, one trial and stacks of them.

The chapter's loop as in lab_epoch.py, with its batches sent to the device one by one and its metrics read after every batch.
Here: `train_stack` with 1, 2, 8, 32 and 128 trials at once, the time from the end of the first epoch to that of the last, with
the evaluation and the records of each. All train LeNet at batch 256 on 60,000 images of 28×28 and evaluate it on 10,000.

The limit: the multiplications and additions of both, forward and backward (2.3 million an image in training, 0.8 in evaluation,
counted from the layers in lab_epoch.py), by the rate at which the device multiplies large matrices in the same precision.

    python benchmarks/gpu_stack.py [--precision bf16] [--channels-last] [--stacks 1 2 8 32 128] [--repeats 3]
    python benchmarks/gpu_stack.py --device cpu --images 2000 --stacks 1 2       # only that it works
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings

import torch
from torch.utils.data import DataLoader

from lab_epoch import BATCH, OPERATIONS, Many, Pictures, chapter_network
from laju import cosine
from laju.lab import Record, Task, Trial
from laju.lab.engines.stack import train_stack
from laju.lab.trials.numerics import Numerics

FORWARD = 2 * (784 * 150 + 100 * 2400 + 48_000 + 10_080 + 840)
"""Floating-point operations for one image, in evaluation."""


def chapter_epochs(task: Task, device: torch.device, epochs: int) -> float:
    """Seconds an epoch of the chapter's loop and its evaluation, the first of which is not counted."""
    data, net = task.data(), chapter_network().to(device)
    loaders = [
        DataLoader(Pictures(inputs, labels), BATCH, shuffle=shuffle, num_workers=4)
        for inputs, labels, shuffle in (
            (data.train_inputs, data.train_labels, True),
            (data.test_inputs, data.test_labels, False),
        )
    ]
    loss, optimizer = torch.nn.CrossEntropyLoss(), torch.optim.SGD(net.parameters(), lr=0.1)
    ends = []
    for _ in range(epochs):
        total, right, seen = 0.0, 0.0, 0
        for x, y in loaders[0]:
            net.train()
            optimizer.zero_grad()
            x, y = x.to(device), y.to(device)
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
            sum(float((net(x.to(device)).argmax(dim=1) == y.to(device)).sum()) for x, y in loaders[1])
        ends.append(time.perf_counter())
    return (ends[-1] - ends[0]) / (epochs - 1)


def stacked_epochs(task: Task, numerics: Numerics, width: int, epochs: int) -> float:
    """Seconds an epoch of a whole stack, the first of which, in which the update is captured, is not counted."""
    trials = [
        Trial(task, cosine(0.1 + 0.2 * i / width, total=epochs).per("epoch"), i, epochs, BATCH, numerics=numerics)
        for i in range(width)
    ]
    in_epoch, ends = trials[0].plan.updates_per_epoch, []

    def told(i: int, record: Record) -> None:
        if i == width - 1 and record.update % in_epoch == 0:
            ends.append(time.perf_counter())

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a stack that does not fit would be halved, and another one measured
        outcomes = train_stack(trials, told, stack=width)
    assert len(ends) == epochs, [outcome.status for outcome in outcomes]
    return (ends[-1] - ends[0]) / (epochs - 1)


def limit(images: int, numerics: Numerics) -> float:
    """Seconds that the arithmetic of an epoch takes at the speed of large matrix products on the device."""
    size = 8192 if numerics.device == "cuda" else 1024
    kind = torch.bfloat16 if numerics.precision == "bf16" else torch.float32
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    a = torch.rand(size, size, device=numerics.device).to(kind)
    times = []
    for _ in range(12):
        _wait(numerics)
        begin = time.perf_counter()
        a @ a
        _wait(numerics)
        times.append(time.perf_counter() - begin)
    torch.set_float32_matmul_precision(before)
    return (images * OPERATIONS + images / 6 * FORWARD) * statistics.median(times[2:]) / (2 * size**3)


def _wait(numerics: Numerics) -> None:
    if numerics.device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--precision", choices=["float32", "bf16"], default="float32")
    parser.add_argument("--channels-last", action="store_true", help="one trial alone; stacks are left out")
    parser.add_argument("--stacks", type=int, nargs="+", default=[1, 2, 8, 32, 128], metavar="TRIALS")
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--epochs", type=int, default=4, help="at least 2; the first is not counted")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    for name, least in (("epochs", 2), ("repeats", 1), ("images", 6)):
        if getattr(options, name) < least:
            parser.error(f"--{name} must be at least {least}, got {getattr(options, name)}")
    if min(options.stacks) < 1:
        parser.error(f"--stacks must be at least 1 each, got {min(options.stacks)}")
    numerics = Numerics(options.device, options.precision, options.channels_last)
    try:
        numerics.check()
    except RuntimeError as error:
        print(f"nothing measured: {error}.\nThat it works is shown by --device cpu --images 2000 --stacks 1 2")
        return
    warnings.filterwarnings("ignore", message="This DataLoader will create 4 worker processes")
    stacks = [1] if options.channels_last else options.stacks
    task, device = Many(options.images), torch.device(options.device)
    task.data()

    times: dict[int, list[float]] = {width: [] for width in (0, *stacks)}  # 0 is the chapter's loop
    for _ in range(options.repeats):
        for width, seconds in times.items():
            if width:
                seconds.append(stacked_epochs(task, numerics, width, options.epochs))
            else:
                seconds.append(chapter_epochs(task, device, options.epochs))
            print(f"{width or 'chapter'} {seconds[-1]:.3f}", end="  ", flush=True)
        print(flush=True)

    least = limit(options.images, numerics)
    where = torch.cuda.get_device_name() if options.device == "cuda" else "CPU, one thread a stack"
    print(f"\n{where}, {numerics}, torch {torch.__version__}; LeNet, batch {BATCH}, {options.images:,} images an epoch")
    print(f"  {'':28} {'epochs a second':>16} {'× the chapter':>14} {'of the limit':>13}")
    for width, seconds in times.items():
        name = f"laju, {width} at once" if width else "the chapter's loop, float32"
        trained = max(width, 1)
        ratio = statistics.median(c * trained / s for c, s in zip(times[0], seconds, strict=True))
        epochs = trained / statistics.median(seconds)
        print(f"  {name:28} {epochs:16.2f} {ratio:13.1f}× {epochs * least:13.1%}")
    print(f"  {'the arithmetic alone':28} {1 / least:16.2f}")
    if options.device == "cpu":
        print("This shows that it works; how fast laju is on a CPU, lab_epoch.py shows.")


if __name__ == "__main__":
    main()
