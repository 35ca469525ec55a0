# ruff: noqa: E402

# %% network
import numpy as np
import torch
from torch import nn

data = np.load("digits.npz")
x, y, test_x, test_y = (
    torch.from_numpy(data[name]) for name in ("train_inputs", "train_labels", "test_inputs", "test_labels")
)


def lenet():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip
    for layer in net:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
    return net


def train_epoch(net, optimizer, epoch, after_update=lambda: None):
    loss_sum = right = 0
    for batch in torch.from_numpy(np.random.default_rng(epoch).permutation(len(x))).split(64):
        outputs = net(x[batch])
        loss = nn.functional.cross_entropy(outputs, y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        after_update()
        loss_sum += loss.item() * len(batch)
        right += (outputs.argmax(1) == y[batch]).sum().item()
    return loss_sum / len(x), right / len(x)


def accuracy(net):
    with torch.no_grad():
        return (net(test_x).argmax(1) == test_y).float().mean().item()


print(sum(p.numel() for p in lenet().parameters()), "parameters")

# %% by-hand
net = lenet()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for epoch in range(5):
    if epoch == 3:
        optimizer.param_groups[0]["lr"] = 0.02
    loss, right = train_epoch(net, optimizer, epoch)
    print(f"epoch {epoch}: rate {optimizer.param_groups[0]['lr']:.2f}, train loss {loss:.3f}, accuracy {right:.3f}")


# %% function
def square_root(epoch):
    return 0.1 * (epoch + 1) ** -0.5


net = lenet()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for epoch in range(5):
    for group in optimizer.param_groups:  # before the epoch that the rate is for
        group["lr"] = square_root(epoch)
    loss, right = train_epoch(net, optimizer, epoch)
print(f"rate {square_root(4):.4f}, train loss {loss:.3f}, train accuracy {right:.3f}, test {accuracy(net):.3f}")

# %% laju
import laju
from laju.frameworks.torch import Scheduler

plan = laju.RunPlan(samples=len(x), batch_size=64, epochs=5)
schedules = {
    "constant": laju.constant(0.1),
    "square root": laju.square_root(0.1),
    "factor": laju.factor(0.1, 0.8, floor=0.01),
    "multi-factor": laju.multi_factor(0.1, [2, 4], 0.5),
    "cosine": laju.cosine(0.1, total=5, final=0.01),
    "warmup": laju.cosine(0.1, total=5, final=0.01, warmup=1),
}
for name, schedule in schedules.items():
    net = lenet()
    optimizer = torch.optim.SGD(net.parameters())
    scheduler = Scheduler(optimizer, lr=schedule.per("epoch").resolve(plan))
    for epoch in range(plan.epochs):
        loss, right = train_epoch(net, optimizer, epoch, after_update=scheduler.step)
    print(f"{name:13} train loss {loss:.3f}, train accuracy {right:.3f}, test accuracy {accuracy(net):.3f}")

# %% loop
import json

from laju.dialects import d2l  # the book's classes as schedules; torch's own is torch's
from laju.frameworks.torch import after_epoch


def rates_in_the_loop(base, scheduler_for):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=base)
    scheduler, used = scheduler_for(optimizer), []
    for epoch in range(30):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()  # stands for the updates of an epoch
        if isinstance(scheduler, torch.optim.lr_scheduler.LRScheduler):
            scheduler.step()
        else:  # after the epoch, with the number of the epoch that is over
            optimizer.param_groups[0]["lr"] = scheduler(epoch)
    return used


def plotted(optimizer):
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[15, 30], gamma=0.5)
    for _ in range(30):  # as its plot is made
        optimizer.step()
        scheduler.step()
    return scheduler


square_root = d2l.SquareRootScheduler(lr=0.1)
warmed = d2l.CosineScheduler(20, warmup_steps=5, base_lr=0.3, final_lr=0.01)
rates = {
    "square root": rates_in_the_loop(0.1, lambda _: square_root),
    "multi-factor": rates_in_the_loop(0.5, plotted),
    "cosine with warmup": rates_in_the_loop(0.3, lambda _: warmed),
    "… by after_epoch": rates_in_the_loop(0.3, lambda optimizer: after_epoch(warmed, optimizer)),
}
with open("pytorch.json", "w") as file:
    json.dump(rates, file)
for name, used in rates.items():
    print(f"{name:18} epochs 0 to 6:", *(f"{rate:.3f}" for rate in used[:7]))
