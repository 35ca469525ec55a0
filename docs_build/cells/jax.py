# ruff: noqa: E402

# %% network
import jax
import jax.numpy as jnp
import numpy as np
import optax

data = np.load("digits.npz")
x, y = jnp.asarray(data["train_inputs"]), jnp.asarray(data["train_labels"])
test_x, test_y = jnp.asarray(data["test_inputs"]), jnp.asarray(data["test_labels"])

SHAPES = {"conv1": (6, 1, 5, 5), "conv2": (16, 6, 5, 5), "fc1": (400, 120), "fc2": (120, 84), "fc3": (84, 10)}


def lenet():
    keys = jax.random.split(jax.random.key(0), len(SHAPES))
    draw = {"conv": jax.nn.initializers.glorot_uniform(1, 0), "fc": jax.nn.initializers.glorot_uniform()}
    return {
        name: (draw[name[:-1]](key, shape), jnp.zeros(shape[0] if len(shape) == 4 else shape[1]))
        for key, (name, shape) in zip(keys, SHAPES.items(), strict=True)
    }


def outputs_of(net, images):
    for name, padding in (("conv1", "SAME"), ("conv2", "VALID")):
        weight, bias = net[name]
        images = jax.nn.relu(jax.lax.conv(images, weight, (1, 1), padding) + bias[:, None, None])
        n, channels, rows, columns = images.shape
        images = images.reshape(n, channels, rows // 2, 2, columns // 2, 2).max((3, 5))
    values = images.reshape(len(images), -1)
    for name in ("fc1", "fc2"):
        values = jax.nn.relu(values @ net[name][0] + net[name][1])
    return values @ net["fc3"][0] + net["fc3"][1]


def epoch_with(optimizer):
    def loss_of(net, images, labels):
        outputs = outputs_of(net, images)
        loss = optax.softmax_cross_entropy_with_integer_labels(outputs, labels).mean()
        return loss, (outputs.argmax(1) == labels).sum()

    @jax.jit
    def update(net, state, batch):
        (loss, right), gradient = jax.value_and_grad(loss_of, has_aux=True)(net, x[batch], y[batch])
        change, state = optimizer.update(gradient, state)
        return optax.apply_updates(net, change), state, loss * len(batch), right

    def train_epoch(net, state, epoch):
        order, losses, rights = np.random.default_rng(epoch).permutation(len(x)), [], []
        for begin in range(0, len(x), 64):
            net, state, loss, right = update(net, state, order[begin : begin + 64])
            losses.append(loss)
            rights.append(right)
        return net, state, float(sum(losses)) / len(x), int(sum(rights)) / len(x)

    return train_epoch


def accuracy(net):
    return float((outputs_of(net, test_x).argmax(1) == test_y).mean())


print(sum(array.size for array in jax.tree.leaves(lenet())), "parameters")

# %% by-hand
optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=0.1)
train_epoch, net = epoch_with(optimizer), lenet()
state = optimizer.init(net)
for epoch in range(5):
    if epoch == 3:
        state.hyperparams["learning_rate"] = jnp.asarray(0.02)
    net, state, loss, right = train_epoch(net, state, epoch)
    rate = float(state.hyperparams["learning_rate"])
    print(f"epoch {epoch}: rate {rate:.2f}, train loss {loss:.3f}, accuracy {right:.3f}")


# %% function
def square_root(epoch):
    return 0.1 * (epoch + 1) ** -0.5


net = lenet()
state = optimizer.init(net)
for epoch in range(5):
    state.hyperparams["learning_rate"] = jnp.asarray(square_root(epoch))  # before the epoch that it is for
    net, state, loss, right = train_epoch(net, state, epoch)
print(f"rate {square_root(4):.4f}, train loss {loss:.3f}, train accuracy {right:.3f}, test {accuracy(net):.3f}")

# %% laju
import laju

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
    optimizer = optax.sgd(learning_rate=schedule.per("epoch").resolve(plan))  # a schedule is an optax schedule
    train_epoch, net = epoch_with(optimizer), lenet()
    state = optimizer.init(net)
    for epoch in range(plan.epochs):
        net, state, loss, right = train_epoch(net, state, epoch)
    print(f"{name:13} train loss {loss:.3f}, train accuracy {right:.3f}, test accuracy {accuracy(net):.3f}")

# %% loop
import json

UPDATES = 235  # of an epoch: 60,000 images, 256 at a time


def rates_in_optax(schedule):
    optimizer = optax.sgd(schedule)
    state, used = optimizer.init(0.0), []
    update = jax.jit(optimizer.update)
    for _ in range(7 * UPDATES):
        change, state = update(1.0, state)
        used.append(-float(change))
    return used


warmed = laju.cosine(0.3, total=20, final=0.01, warmup=5)
run = laju.RunPlan(samples=60_000, batch_size=256, epochs=30)
rates = {
    "20 as updates": rates_in_optax(warmed),
    "20 as epochs": rates_in_optax(warmed.per("epoch").resolve(run)),
}
with open("jax.json", "w") as file:
    json.dump({name: used[::UPDATES] for name, used in rates.items()}, file)
for name, used in rates.items():
    print(f"{name}, at the beginning of epochs 0 to 6:", *(f"{rate:.3f}" for rate in used[::UPDATES]))
