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

from laju.dialects import d2l  # the book's classes as schedules

schedulers = {
    "square root": d2l.SquareRootScheduler(lr=0.1),
    # The class multiplies what it has, and its plot of 30 values has done so once, at 15.
    "multi-factor": d2l.MultiFactorScheduler(step=[15, 30], factor=0.5, base_lr=0.5, plotted=30),
    "cosine with warmup": d2l.CosineScheduler(20, warmup_steps=5, base_lr=0.3, final_lr=0.01),
}


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


rates = {name: rates_in_the_loop(scheduler) for name, scheduler in schedulers.items()}
with open("tensorflow.json", "w") as file:
    json.dump(rates, file)
for name, used in rates.items():
    print(f"{name:18} epochs 0 to 6:", *(f"{rate:.3f}" for rate in used[:7]))
    print(f"{'':18} epochs 14 to 16:", *(f"{rate:.3f}" for rate in used[14:17]))
