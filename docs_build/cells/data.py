# %% data
import numpy as np

from laju.lab import Digits

data = Digits().data()
np.savez(
    "digits.npz",
    train_inputs=data.train_inputs,
    train_labels=data.train_labels,
    test_inputs=data.test_inputs,
    test_labels=data.test_labels,
)
print("train", data.train_inputs.shape, "test", data.test_inputs.shape)
