"""Each tab's network, initial weights and order of data are those of its printed cells."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

from laju.lab import Digits, HeldOut, Numerics, Trial, get_task
from laju.lab.engines.mxnet import interpreter
from laju.lab.trials.models import lenet_mxnet
from laju.lab.trials.models.lenet import COMMON
from laju.lab.trials.tasks import Task
from laju.lab.trials.tasks.tabs import MXNetTab, PyTorchTab, TensorFlowTab
from laju.policies import constant
from laju.studies.plain_networks import Plain
from tests.chapter_text import ROOT, Chapter, Tab, opened

try:
    PYTHON, MISSING = interpreter(), ""
except ModuleNotFoundError as error:
    PYTHON, MISSING = "", str(error)

needs_mxnet = pytest.mark.skipif(not PYTHON, reason=MISSING)

SEED = 7


@pytest.fixture(scope="module")
def pytorch(chapter: Chapter) -> Iterator[Tab]:
    with opened(chapter, "pytorch", epochs=2, images=200) as tab:
        yield tab


@pytest.fixture(scope="module")
def tensorflow(chapter: Chapter) -> Iterator[Tab]:
    with opened(chapter, "tensorflow", epochs=2, images=200) as tab:
        yield tab


def images(n: int) -> Any:
    return np.random.default_rng(0).random((n, 1, 28, 28), dtype=np.float32)


def test_the_pytorch_tab_is_the_printed_network_with_the_weights_that_torch_draws(pytorch: Tab) -> None:
    import torch

    torch.manual_seed(SEED)
    printed, state = pytorch.namespace["net_fn"](), torch.get_rng_state()
    network = PyTorchTab(Digits()).model(SEED)
    assert torch.equal(torch.get_rng_state(), state)
    for mine, theirs in zip(network.parameters(), printed.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    x = torch.from_numpy(images(8))
    torch.testing.assert_close(network(x), printed(x), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_tensorflow_tab_is_the_printed_network_with_the_weights_that_keras_draws(tensorflow: Tab) -> None:
    import keras

    keras.utils.set_random_seed(SEED)
    printed = tensorflow.namespace["net"]()
    printed.build((None, 28, 28, 1))
    network = TensorFlowTab(Digits()).network("tensorflow", SEED)
    for mine, theirs in zip(network.get_weights(), printed.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    x = images(8)
    np.testing.assert_allclose(network(x), printed(x.transpose(0, 2, 3, 1)), rtol=1e-5, atol=1e-6)


MXNET = """
import importlib.util, pathlib, sys
import mxnet as mx
import numpy as np
from tests.chapter_text import Chapter, opened

def weights(network):
    return [p.data().asnumpy() for p in network.collect_params().values()]

spec = importlib.util.spec_from_file_location("lenet_mxnet", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
images = np.random.default_rng(0).random((8, 1, 28, 28), dtype=np.float32)
mx.random.seed(0)
network = module.lenet_of_the_tab({})
mine, answers = weights(network), [network(mx.nd.array(images)).asnumpy()]
with opened(Chapter.read(pathlib.Path(sys.argv[2])), "mxnet", images=64) as tab:
    net, array = tab.namespace["net"], tab.namespace["np"].array
    mx.random.seed(1)
    net.initialize(force_reinit=True, init=tab.namespace["init"].Xavier())
    net(array(images))
    printed = weights(net)
    for parameter, values in zip(net.collect_params().values(), mine):
        parameter.set_data(array(values))
    answers.append(net(array(images)).asnumpy())
arrays = {f"mine {i}": w for i, w in enumerate(mine)} | {f"printed {i}": w for i, w in enumerate(printed)}
np.savez(sys.argv[3], answers=np.array(answers), **arrays)
"""


@needs_mxnet
def test_the_mxnet_tab_is_the_printed_network_with_weights_of_the_same_distribution(
    chapter: Chapter, tmp_path: Path
) -> None:
    arguments = [PYTHON, "-c", MXNET, lenet_mxnet.__file__, str(chapter.shared), str(tmp_path / "answer.npz")]
    subprocess.run(arguments, check=True, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})
    found = np.load(tmp_path / "answer.npz")
    np.testing.assert_allclose(*found["answers"], rtol=1e-4, atol=1e-5)
    for i in range(10):
        mine, printed = found[f"mine {i}"], found[f"printed {i}"]
        assert mine.shape == printed.shape
        if mine.ndim == 1:
            assert not mine.any()
            assert not printed.any()
        else:
            assert scipy.stats.ks_2samp(mine.ravel(), printed.ravel()).pvalue > 0.01


def test_the_loader_of_the_pytorch_tab_shuffles_images_and_ends_with_the_incomplete_batch(pytorch: Tab) -> None:
    task = HeldOut(Digits(), every=2)
    batches = PyTorchTab(task).batches(SEED, 0, 64)
    sizes = [len(y) for _, y in pytorch.namespace["train_iter"]]
    assert sizes == [64, 64, 64, 8]
    assert [len(batch) for batch in batches] == [64] * (task.train_size // 64) + [task.train_size % 64]
    assert sorted(np.concatenate(batches)) == list(range(task.train_size))
    labels = [[y for _, labels in pytorch.namespace["train_iter"] for y in labels.tolist()] for _ in range(2)]
    assert labels[0] != labels[1]
    assert any(not np.array_equal(a, b) for a, b in zip(batches, PyTorchTab(task).batches(SEED, 1, 64), strict=True))


@pytest.mark.slow
def test_the_loader_of_the_tensorflow_tab_shuffles_batches_that_stay_the_same(
    chapter: Chapter, tensorflow: Tab
) -> None:
    slice_of = get_task("fashion-mnist", chapter.shared / "data" / "fashion-mnist-mini")
    labels = slice_of.data().train_labels[:200]

    class First(HeldOut):
        def _kept(self) -> Any:
            return np.arange(self.task.train_size) < 200

    task = TensorFlowTab(First(slice_of))
    assert task.train_size == 200
    blocks = {tuple(labels[i : i + 64].tolist()) for i in range(0, 200, 64)}
    printed, mine = [], []
    for epoch in range(12):
        printed.append([tuple(y.numpy().tolist()) for _, y in tensorflow.namespace["train_iter"]])
        mine.append([tuple(labels[batch].tolist()) for batch in task.batches(SEED, epoch, 64)])
    for epochs in (printed, mine):
        assert all(set(epoch) == blocks and len(epoch) == 4 for epoch in epochs)
        assert any(a != b for a, b in pairwise(epochs))  # another order in every epoch
        assert (
            len({[len(batch) for batch in epoch].index(8) for epoch in epochs}) > 1
        )  # the incomplete one comes anywhere


@pytest.mark.parametrize("tab", [PyTorchTab, TensorFlowTab, MXNetTab])
def test_a_tab_has_the_data_of_its_task_and_results_of_its_own(tab: type[Task]) -> None:
    task = tab(Digits())
    assert task.data() is Digits().data() or task.data().fingerprint == Digits().data().fingerprint
    assert task.batch_size == Digits().batch_size
    assert "no tab" not in task.description
    tasks = [PyTorchTab(Digits()), TensorFlowTab(Digits()), MXNetTab(Digits()), Digits()]
    trials = [Trial(each, constant(0.1), 0, 1, 64) for each in tasks]
    for a, b in combinations(trials, 2):
        assert a.fingerprint != b.fingerprint


def test_the_common_tasks_say_that_their_weights_are_of_no_tab() -> None:
    for task in (Digits(), get_task("digits"), HeldOut(Digits())):
        assert task.description == COMMON
    assert "of no tab of the chapter" in COMMON
    assert Plain(Digits()).description == ""


def test_a_tab_in_another_framework_and_batches_in_a_stack_are_refused() -> None:
    with pytest.raises(ValueError, match="'digits, tensorflow tab' is trained in tensorflow alone, got 'jax'"):
        TensorFlowTab(Digits()).network("jax", 0)
    with pytest.raises(ValueError, match="'digits, mxnet tab' is trained in mxnet alone"):
        MXNetTab(Digits()).model(0)
    with pytest.raises(ValueError, match="need a task without batches of its own, got TensorFlowTab"):
        Trial(TensorFlowTab(Digits()), constant(0.1), 0, 1, 64, numerics=Numerics(precision="bf16"))
