import hashlib
import pickle
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from laju.lab.trials.models.lenet import initial_weights, lenet


def test_the_network_is_the_chapters():
    chapter = nn.Sequential(
        nn.Conv2d(1, 6, kernel_size=5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(kernel_size=2, stride=2),
        nn.Conv2d(6, 16, kernel_size=5),
        nn.ReLU(),
        nn.MaxPool2d(kernel_size=2, stride=2),
        nn.Flatten(),
        nn.Linear(16 * 5 * 5, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )
    network = lenet(seed=3)
    chapter.load_state_dict(dict(zip(chapter.state_dict(), network.state_dict().values(), strict=True)))
    images = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(images), chapter(images), rtol=1e-5, atol=1e-6)
    # In the same layout of memory to the last bit, gradients too: ReLU and maximum may change places.
    chapter.to(memory_format=torch.channels_last)
    for model in (network, chapter):
        model(images).square().sum().backward()
    assert torch.equal(network(images), chapter(images))
    for mine, theirs in zip(network.parameters(), chapter.parameters(), strict=True):
        assert torch.equal(mine.grad, theirs.grad)


def test_the_network_begins_with_the_initial_weights_of_its_seed():
    weights, state = initial_weights(7), lenet(7).state_dict()
    assert list(weights) == list(state)
    for name, array in weights.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, state[name].numpy())


def test_weights_and_biases_are_distributed_as_torch_would_draw_them():
    draws = [initial_weights(seed) for seed in range(50)]
    for name, layer in lenet(0).named_children():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(layer.weight)
        for parameter, bound in (("weight", (6 / (fan_in + fan_out)) ** 0.5), ("bias", fan_in**-0.5)):
            values = np.concatenate([draw[f"{name}.{parameter}"].ravel() for draw in draws])
            assert np.abs(values).max() <= bound
            assert scipy.stats.kstest(values, scipy.stats.uniform(-bound, 2 * bound).cdf).pvalue > 1e-4
        # torch's own draw keeps to the same bounds and comes close to them.
        layer.reset_parameters()
        assert 0.5 < layer.bias.abs().max() * fan_in**0.5 <= 1
        nn.init.xavier_uniform_(layer.weight)
        assert 0.9 < layer.weight.abs().max() / (6 / (fan_in + fan_out)) ** 0.5 <= 1


def test_a_seed_means_the_same_weights_for_ever():
    digest = hashlib.sha256(b"".join(array.astype("<f4").tobytes() for array in initial_weights(0).values()))
    assert digest.hexdigest() == "bf8634b437c383911d6cf04285b322038f0b04b9febf13849c4cccb8831578a3"


def test_seeds_differ_and_a_negative_one_is_refused():
    assert not np.array_equal(initial_weights(0)["fc3.weight"], initial_weights(1)["fc3.weight"])
    with pytest.raises(ValueError, match="seed must be 0 or more, got -1"):
        initial_weights(-1)


def test_making_a_network_leaves_torchs_random_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    lenet(0)
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


def test_the_network_is_trainable_and_can_be_pickled():
    network = pickle.loads(pickle.dumps(lenet(0)))
    assert all(p.requires_grad and p.is_leaf for p in network.parameters())
    nn.functional.cross_entropy(network(torch.rand(2, 1, 28, 28)), torch.tensor([1, 2])).backward()
    assert all(p.grad is not None for p in network.parameters())


def test_initial_weights_need_no_torch(source_environment):
    code = "import sys; from laju.lab.trials.models.lenet import initial_weights as w; w(0); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=source_environment)
