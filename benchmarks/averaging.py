"""Decay or average? A trained cooldown against averages of the same run without a cooldown, at the same number of updates.

Each seed trains a trunk at a constant rate, and a cooldown from the trunk's update T - C. The averages are of checkpoints of the
trunk, which goes on to T. A share is the part of the cooldown's gain in the test loss: (trunk - average) / (trunk - cooldown), of
the means over seeds, with a jackknife interval of 95 %. Beside stand Schedule-Free and Prodigy of their packages, which train T
updates, too. The averages' windows were chosen with seeds of their own, 100 and up.

    python benchmarks/averaging.py lenet --data-dir fashion-mnist-mini --seeds 12
    python benchmarks/averaging.py language --seeds 4

`lenet`: the chapter's LeNet on Fashion-MNIST, SGD at .1, batch 64, 10 epochs. `language`: the model of language_model.py, AdamW
at 3e-3, 3,000 updates. Both cool down linearly over the last fifth. Needs PyTorch, schedulefree and prodigyopt.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import laju
import language_model
from laju.averaging import EMA, Average, Cooldown, Latest, Tail
from laju.lab.statistics import estimate
from laju.lab.trials.tasks.fashion_mnist import FashionMNIST

SHARE = 0.2
KEPT = 100
"""Checkpoints of the last half that the averages may use; `few` of them, 5 % of the run apart, for the rows that say so."""


class Training:
    """A model in training: losses of batches by update, and a test loss."""

    def __init__(
        self, model: nn.Module, batch_loss: Callable[[nn.Module, int], Tensor], test: Callable[[nn.Module], float]
    ) -> None:
        self.model, self.batch_loss, self.test = model, batch_loss, test
        self.clip = False

    def run(
        self, optimizer: torch.optim.Optimizer, first: int, last: int, schedule: laju.Schedule | None, every: int = 0
    ) -> dict[int, Tensor]:
        """Make the updates first … last - 1; the weights after every `every` updates."""
        kept = {}
        for update in range(first, last):
            if schedule is not None:
                for group in optimizer.param_groups:
                    group["lr"] = schedule(update)
            loss = self.batch_loss(self.model, update)
            optimizer.zero_grad()
            loss.backward()
            if self.clip:
                nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            optimizer.step()
            if every and (update + 1) % every == 0:
                kept[update + 1] = torch.cat([p.detach().reshape(-1) for p in self.model.parameters()])
        return kept

    def test_of(self, weights: Tensor) -> float:
        """The test loss of other weights."""
        other, begin = deepcopy(self.model), 0
        with torch.no_grad():
            for p in other.parameters():
                p.copy_(weights[begin : begin + p.numel()].view(p.shape))
                begin += p.numel()
        return self.test(other)


def lenet(seed: int, data_dir: Path) -> tuple[Training, int, float]:
    task = FashionMNIST(data_dir)
    data = task.data()
    x, y, test_x, test_y = (
        torch.tensor(np.asarray(a)) for a in (data.train_inputs, data.train_labels, data.test_inputs, data.test_labels)
    )
    batch, epochs = 64, 10
    per_epoch = -(-len(x) // batch)

    def loss(model: nn.Module, update: int) -> Tensor:
        epoch, i = divmod(update, per_epoch)
        chosen = np.random.default_rng([seed, epoch]).permutation(len(x))[i * batch : (i + 1) * batch]
        return F.cross_entropy(model(x[chosen]), y[chosen])

    def test(model: nn.Module) -> float:
        with torch.no_grad():
            return float(F.cross_entropy(model(test_x), test_y))

    return Training(task.model(seed), loss, test), epochs * per_epoch, 0.1


def language(seed: int, data_dir: Path) -> tuple[Training, int, float]:
    train, held_out = language_model.text()
    check = language_model.windows_of(held_out, 2048, torch.Generator().manual_seed(0)).split(256)

    def loss(model: nn.Module, update: int) -> Tensor:
        batches = torch.Generator().manual_seed(seed * 1_000_003 + update)
        return model(language_model.windows_of(train, language_model.BATCH, batches))

    def test(model: nn.Module) -> float:
        with torch.no_grad():
            return float(np.mean([float(model(rows)) for rows in check]))

    torch.manual_seed(seed)
    training = Training(language_model.LanguageModel(), loss, test)
    training.clip = True
    return training, 3_000, 3e-3


def averages(total: int) -> Iterator[tuple[str, Average, bool]]:
    """The name of a row, its average, and whether it has few checkpoints."""
    cooldown = round(SHARE * total)
    yield "merged as a linear cooldown", Cooldown(laju.linear(1, 0, total=cooldown)), False
    yield "merged, of 5 checkpoints", Cooldown(laju.linear(1, 0, total=cooldown)), True
    yield "mean of the last fifth (tail)", Tail(cooldown), False
    yield "latest 5 checkpoints (LAWA)", Latest(5), True
    yield "EMA", EMA(1 - 12 / total), False


def trained(task: str, seed: int, data_dir: Path, beside: bool) -> dict[str, float]:
    """The test losses of each row, of one seed."""
    make = lenet if task == "lenet" else language
    training, total, rate = make(seed, data_dir)
    start, every, begin = deepcopy(training.model), max(1, total // 2 // KEPT), total - round(SHARE * total)
    few = round(total / 20 / every) * every
    warmup = 0 if task == "lenet" else 200
    trunk = laju.warmup(rate, warmup) if warmup else laju.constant(rate)
    cooled = laju.wsd(rate, total=total, cooldown=total - begin, warmup=warmup)

    def optimizer() -> torch.optim.Optimizer:
        parameters = training.model.parameters()
        if task == "lenet":
            return torch.optim.SGD(parameters, lr=rate)
        return torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.95), weight_decay=0.1)

    of_trunk = optimizer()
    kept = training.run(of_trunk, 0, begin, trunk, every)
    branch = deepcopy(training.model.state_dict()), deepcopy(of_trunk.state_dict())
    end = training.run(of_trunk, begin, total, trunk, every)
    losses = {"trunk, no cooldown": training.test(training.model)}
    training.model.load_state_dict(branch[0])
    of_trunk.load_state_dict(branch[1])
    down = training.run(of_trunk, begin, total, cooled, every)
    losses["trained cooldown"] = training.test(training.model)
    last = total // every * every
    for name, average, sparse in averages(total):
        at = [t for t in (*kept, *end) if t >= total // 2 and not (sparse and (last - t) % few)]
        shares = torch.from_numpy(average.weights(at)).float()
        losses[name] = training.test_of(shares @ torch.stack([{**kept, **end}[t] for t in at]))
    at = [t for t in (*kept, *down) if t >= total // 2]
    shares = torch.from_numpy(EMA(1 - 12 / total).weights(at)).float()
    losses["EMA of the trained cooldown"] = training.test_of(shares @ torch.stack([{**kept, **down}[t] for t in at]))
    if beside:
        losses.update(others(task, training, start, total, rate, warmup))
    return losses


def others(
    task: str, training: Training, start: nn.Module, total: int, rate: float, warmup: int
) -> Iterator[tuple[str, float]]:
    """Optimizers that need no schedule, from the same initial weights."""
    import prodigyopt
    import schedulefree

    # Three times the rate was the best of 1, 2 and 3 times for the language model, and of 1, 3, 10 and 30 times for LeNet.
    training.model = deepcopy(start)
    parameters = training.model.parameters()
    if task == "lenet":
        free = schedulefree.SGDScheduleFree(parameters, lr=3 * rate)
    else:
        free = schedulefree.AdamWScheduleFree(parameters, lr=3 * rate, warmup_steps=warmup, weight_decay=0.1)
    free.train()
    training.run(free, 0, total, None)
    free.eval()
    yield "Schedule-Free", training.test(training.model)
    training.model = deepcopy(start)
    prodigy = prodigyopt.Prodigy(training.model.parameters(), lr=1.0, weight_decay=0 if task == "lenet" else 0.1)
    training.run(prodigy, 0, total, laju.cosine(1.0, total=total))
    yield "Prodigy, cosine", training.test(training.model)


def share(losses: np.ndarray, trunk: np.ndarray, cooled: np.ndarray) -> tuple[float, float]:
    """The part of the cooldown's gain, of the means over seeds, and half its jackknife interval of 95 %."""
    from scipy.stats import t

    def part(rows: np.ndarray) -> float:
        return float((trunk[rows].mean() - losses[rows].mean()) / (trunk[rows].mean() - cooled[rows].mean()))

    n = len(losses)
    every = np.arange(n)
    without = np.array([part(every[every != i]) for i in range(n)])
    return part(every), float(t.ppf(0.975, n - 1) * np.sqrt((n - 1) * without.var()))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("task", choices=("lenet", "language"))
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--no-others", dest="others", action="store_false", help="no Schedule-Free and no Prodigy")
    parser.add_argument("--data-dir", type=Path, help="of Fashion-MNIST, for lenet")
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error(f"--seeds must be at least 2, got {options.seeds}")
    torch.set_num_threads(1)
    began, rows = time.process_time(), []
    for seed in range(options.first_seed, options.first_seed + options.seeds):
        rows.append(trained(options.task, seed, options.data_dir, options.others))
        print(f"seed {seed}: " + ", ".join(f"{name} {loss:.4f}" for name, loss in rows[-1].items()), flush=True)
    names = list(rows[0])
    table = {name: np.array([row[name] for row in rows]) for name in names}
    trunk, cooled = table["trunk, no cooldown"], table["trained cooldown"]
    print(
        f"\n{options.task}, {options.seeds} seeds, {(time.process_time() - began) / 60:.0f} minutes of processor time\n"
    )
    print("| at the same number of updates | test loss | above the trained cooldown | share of its gain |")
    print("| --- | --- | --- | --- |")
    for name in names:
        half = estimate(table[name] - cooled)
        part, around = share(table[name], trunk, cooled)
        apart = "" if half is None or table[name] is cooled else half.text(signed=True)
        parts = "" if table[name] is trunk or table[name] is cooled else f"{part:.0%} ± {around:.0%}"
        print(f"| {name} | {table[name].mean():.4f} | {apart} | {parts} |")


if __name__ == "__main__":
    main()
