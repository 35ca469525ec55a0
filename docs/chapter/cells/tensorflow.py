# ruff: noqa: E402

# %% network
import keras
import numpy as np

data = np.load("digits.npz")
x, y = data["train_inputs"].transpose(0, 2, 3, 1), data["train_labels"]
test_x, test_y = data["test_inputs"].transpose(0, 2, 3, 1), data["test_labels"]


def lenet(optimizer):
    keras.utils.set_random_seed(0)
    layers = keras.layers
    net = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(6, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(16, 5, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(120, activation="relu"),
            layers.Dense(84, activation="relu"),
            layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    net.compile(optimizer, loss, metrics=["accuracy"])
    return net


print(keras.backend.backend(), lenet("sgd").count_params(), "parameters")


# %% by-hand
class ByHand(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 3:
            self.model.optimizer.learning_rate = 0.02

    def on_epoch_end(self, epoch, logs=None):
        rate = float(self.model.optimizer.learning_rate)
        print(f"epoch {epoch}: rate {rate:.2f}, train loss {logs['loss']:.3f}, accuracy {logs['accuracy']:.3f}")


net = lenet(keras.optimizers.SGD(0.1))
net.fit(x, y, batch_size=64, epochs=5, verbose=0, callbacks=[ByHand()])


# %% function
def square_root(epoch):
    return 0.1 * (epoch + 1) ** -0.5


net = lenet(keras.optimizers.SGD(0.1))
callback = keras.callbacks.LearningRateScheduler(lambda epoch, rate: square_root(epoch))  # before each epoch
logs = net.fit(x, y, batch_size=64, epochs=5, verbose=0, callbacks=[callback]).history
test = net.evaluate(test_x, test_y, batch_size=360, verbose=0)[1]
loss, right = logs["loss"][-1], logs["accuracy"][-1]
print(f"rate {square_root(4):.4f}, train loss {loss:.3f}, train accuracy {right:.3f}, test {test:.3f}")

# %% laju
import laju
from laju.frameworks.keras import LearningRate

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
    net = lenet(keras.optimizers.SGD(LearningRate(schedule.per("epoch").resolve(plan))))
    logs = net.fit(x, y, batch_size=64, epochs=plan.epochs, verbose=0).history
    test = net.evaluate(test_x, test_y, batch_size=360, verbose=0)[1]
    loss, right = logs["loss"][-1], logs["accuracy"][-1]
    print(f"{name:13} train loss {loss:.3f}, train accuracy {right:.3f}, test accuracy {test:.3f}")

# %% loop
import json
import math


def multi_factor(epoch):  # the chapter's own, for TensorFlow
    return 0.5 * 0.5 if epoch in range(15, 31) else 0.5


def cosine(t, warmup=0):
    if t < warmup:
        return 0.3 * t / warmup
    return 0.01 + 0.29 * (1 + math.cos(math.pi * (min(t, 20) - warmup) / (20 - warmup))) / 2


def rates_in_the_loop(scheduler):
    used = []

    class Record(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            used.append(float(self.model.optimizer.learning_rate))

    net = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    net.compile(keras.optimizers.SGD(0.3), "mse")
    set_rate = keras.callbacks.LearningRateScheduler(lambda epoch, rate: scheduler(epoch))
    net.fit(np.zeros((1, 1)), np.zeros(1), epochs=30, verbose=0, callbacks=[set_rate, Record()])
    return used


rates = {
    "square root": rates_in_the_loop(square_root),
    "multi-factor": rates_in_the_loop(multi_factor),
    "cosine with warmup": rates_in_the_loop(lambda epoch: cosine(epoch, warmup=5)),
}
with open("tensorflow.json", "w") as file:
    json.dump(rates, file)
for name, used in rates.items():
    print(f"{name:18} epochs 0 to 6:", *(f"{rate:.3f}" for rate in used[:7]))
