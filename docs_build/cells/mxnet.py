# ruff: noqa: E402

# %% network
import numpy as np
from mxnet import autograd, gluon, init, nd, random
from mxnet.gluon import nn

data = np.load("digits.npz")
x, y = nd.array(data["train_inputs"]), nd.array(data["train_labels"])
test_x, test_y = nd.array(data["test_inputs"]), data["test_labels"]
cross_entropy = gluon.loss.SoftmaxCrossEntropyLoss()


def lenet():
    random.seed(0)
    net = nn.HybridSequential()
    net.add(
        nn.Conv2D(6, 5, padding=2, activation="relu"), nn.MaxPool2D(2),
        nn.Conv2D(16, 5, activation="relu"), nn.MaxPool2D(2), nn.Flatten(),
        nn.Dense(120, activation="relu"), nn.Dense(84, activation="relu"), nn.Dense(10),
    )  # fmt: skip
    net.initialize(init.Xavier())
    net(x[:1])  # which tells the layers their sizes
    net.hybridize()
    return net


def train_epoch(net, trainer, epoch):
    loss_sum = right = 0
    order = np.random.default_rng(epoch).permutation(len(x))
    for begin in range(0, len(x), 64):
        batch = nd.array(order[begin : begin + 64])
        with autograd.record():
            outputs = net(x.take(batch))
            loss = cross_entropy(outputs, y.take(batch))
        loss.backward()
        trainer.step(len(batch))
        loss_sum += loss.sum().asscalar()
        right += (outputs.argmax(1) == y.take(batch)).sum().asscalar()
    return loss_sum / len(x), right / len(x)


def accuracy(net):
    return (net(test_x).argmax(1).asnumpy() == test_y).mean()


print(sum(p.data().size for p in lenet().collect_params().values()), "parameters")

# %% by-hand
net = lenet()
trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
for epoch in range(5):
    if epoch == 3:
        trainer.set_learning_rate(0.02)
    loss, right = train_epoch(net, trainer, epoch)
    print(f"epoch {epoch}: rate {trainer.learning_rate:.2f}, train loss {loss:.3f}, accuracy {right:.3f}")


# %% function
def square_root(epoch):
    return 0.1 * (epoch + 1) ** -0.5


net = lenet()
trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
for epoch in range(5):
    trainer.set_learning_rate(square_root(epoch))  # before the epoch that the rate is for
    loss, right = train_epoch(net, trainer, epoch)
print(f"rate {square_root(4):.4f}, train loss {loss:.3f}, train accuracy {right:.3f}, test {accuracy(net):.3f}")

# %% laju
import laju
from laju.frameworks.mxnet import Scheduler

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
    scheduler = Scheduler(schedule.per("epoch").resolve(plan))
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"lr_scheduler": scheduler})
    for epoch in range(plan.epochs):
        loss, right = train_epoch(net, trainer, epoch)
    print(f"{name:13} train loss {loss:.3f}, train accuracy {right:.3f}, test accuracy {accuracy(net):.3f}")

# %% loop
import json

from mxnet import lr_scheduler

from laju.dialects import d2l  # the book's class as a schedule; MXNet's own are MXNet's
from laju.frameworks.mxnet import trace

UPDATES = 235  # of an epoch: 60,000 images, 256 at a time


def plotted(scheduler):
    for t in range(30):  # as its plot is made
        scheduler(t)
    return scheduler


schedulers = {
    "square root": d2l.SquareRootScheduler(lr=0.1),  # the Trainer hands it updates, not epochs
    "multi-factor": plotted(lr_scheduler.MultiFactorScheduler(step=[15, 30], factor=0.5, base_lr=0.5)),
    "cosine with warmup": plotted(lr_scheduler.CosineScheduler(20, warmup_steps=5, base_lr=0.3, final_lr=0.01)),
}
rates = {name: trace(scheduler, 30 * UPDATES) for name, scheduler in schedulers.items()}
with open("mxnet.json", "w") as file:
    json.dump({name: used[::UPDATES] for name, used in rates.items()}, file)
for name, used in rates.items():
    print(f"{name:18} epochs 0 to 6:", *(f"{rate:.3f}" for rate in used[: 7 * UPDATES : UPDATES]))
    print(f"{'':18} updates 0 to 6:", *(f"{rate:.3f}" for rate in used[:7]))
