import dataclasses
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from laju.lab.trials.tasks import TASKS, Data, DataError, Digits, FashionMNIST, Task, get_task


def some_data(**changes) -> Data:
    random = np.random.default_rng(0)
    fields = {
        "train_inputs": random.random((40, 3), dtype=np.float32),
        "train_labels": np.repeat([0, 1, 2, 2], 10),
        "test_inputs": random.random((8, 3), dtype=np.float32),
        "test_labels": np.zeros(8, np.int64),
        "classes": 4,
    }
    return Data(**fields | changes)


class Own(Task):
    name = "own"
    batch_size = 8

    def __init__(self, scale: float = 1.0):
        self.scale = scale
        self.loaded = 0

    def load(self) -> Data:
        self.loaded += 1
        return some_data(train_inputs=some_data().train_inputs * np.float32(self.scale))

    def model(self, seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        return torch.nn.Linear(3, 4)


class OtherClass(Own):
    pass


class OtherName(Own):
    name = "other"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"classes": 1}, "classes must be at least 2, got 1"),
        ({"train_inputs": np.zeros((40, 3))}, "train_inputs must be a NumPy array of float32, got float64"),
        ({"train_inputs": [[0.0]]}, "train_inputs must be a NumPy array of float32, got list"),
        ({"test_labels": np.zeros(8, np.int32)}, "test_labels must be a NumPy array of int64, got int32"),
        ({"train_inputs": np.zeros(40, np.float32)}, r"train_inputs must have a shape \(N, ...\) .* got \(40,\)"),
        ({"test_labels": np.zeros((8, 1), np.int64)}, r"test_labels must have a shape \(N,\), got \(8, 1\)"),
        ({"train_inputs": np.zeros((41, 3), np.float32)}, "train_inputs and train_labels differ in length: 41 and 40"),
        (
            {"test_inputs": np.zeros((0, 3), np.float32), "test_labels": np.zeros(0, np.int64)},
            r"test_inputs must not be empty, got the shape \(0, 3\)",
        ),
        ({"test_labels": np.full(8, 4)}, "test_labels must lie in 0 to classes - 1 = 3, got 4 to 4"),
        ({"train_labels": np.full(40, -1)}, "train_labels must lie in .* got -1 to -1"),
        ({"test_inputs": np.full((8, 3), np.nan, np.float32)}, "test_inputs must be finite"),
        ({"test_inputs": np.zeros((8, 2), np.float32)}, r"differ in the shape of one input: \(3,\) and \(2,\)"),
    ],
)
def test_data_that_do_not_fit_together_are_refused(changes, reason):
    with pytest.raises(DataError, match=reason):
        some_data(**changes)


def test_data_agree_in_fingerprint_exactly_if_they_agree_in_content():
    data = some_data()
    assert data.fingerprint == some_data().fingerprint
    assert data.fingerprint == some_data(train_inputs=np.asfortranarray(data.train_inputs)).fingerprint
    changed_pixel = data.train_inputs.copy()
    changed_pixel[5, 1] += 1e-6
    others = [
        some_data(train_inputs=changed_pixel),
        some_data(train_labels=data.train_labels[::-1].copy()),
        some_data(train_inputs=data.train_inputs[:, :, np.newaxis], test_inputs=data.test_inputs[:, :, np.newaxis]),
        some_data(test_inputs=data.test_inputs[:-1], test_labels=data.test_labels[:-1]),
        some_data(classes=5),
    ]
    assert len({data.fingerprint, *(other.fingerprint for other in others)}) == 6


def test_data_cannot_be_changed_afterwards():
    with pytest.raises(dataclasses.FrozenInstanceError):
        some_data().classes = 3


def test_a_task_without_name_data_or_model_cannot_be_made():
    with pytest.raises(TypeError, match="abstract methods"):
        Task()


def test_the_defaults_are_cross_entropy_and_the_largest_output():
    task, outputs, targets = Own(), torch.tensor([[0.0, 2.0], [1.0, 0.0], [0.0, 1.0]]), torch.tensor([1, 0, 0])
    assert task.correct(outputs, targets).item() == 2
    expected = -torch.log_softmax(outputs, 1)[torch.arange(3), targets].mean()
    torch.testing.assert_close(task.loss(outputs, targets), expected)


def test_chance_loss_is_the_entropy_of_the_labels():
    # Shares 1/4, 1/4, 1/2 and a class that never occurs.
    assert Own().chance_loss == pytest.approx(1.5 * np.log(2))
    assert Own().train_size == 40


def test_chance_loss_is_what_the_best_constant_outputs_reach():
    task = Own()
    labels = torch.from_numpy(task.data().train_labels)
    shares = torch.bincount(labels, minlength=4) / len(labels)
    outputs = torch.log(shares.clamp(min=1e-30)).expand(len(labels), 4)
    assert task.loss(outputs, labels).item() == pytest.approx(task.chance_loss, rel=1e-6)


def test_a_tasks_fingerprint_tells_classes_names_and_data_apart():
    tasks = [Own(), OtherClass(), OtherName(), Own(scale=2.0)]
    assert len({task.fingerprint for task in tasks}) == 4
    assert Own().fingerprint == Own().fingerprint


def test_a_pickled_task_leaves_its_data_behind_and_loads_them_again():
    task = Own(scale=3.0)
    before = len(pickle.dumps(task))
    fingerprint = task.fingerprint
    task.loaded = 0
    assert len(pickle.dumps(task)) == before
    copy = pickle.loads(pickle.dumps(task))
    assert "_data" not in vars(copy)
    assert copy.fingerprint == fingerprint
    assert copy.loaded == 1


@pytest.mark.parametrize(("name", "kind"), [("digits", Digits), ("fashion-mnist", FashionMNIST)])
def test_every_task_is_found_by_its_name(name, kind):
    assert type(get_task(name)) is kind
    assert get_task(name).name == name
    assert name in TASKS


def test_tasks_made_alike_are_equal():
    assert get_task("digits") == get_task("digits")
    assert get_task("fashion-mnist") == pickle.loads(pickle.dumps(get_task("fashion-mnist")))
    assert get_task("fashion-mnist") != get_task("digits")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("fashion_mnist", "fashion-mnist"),
        ("FashionMNIST", "fashion-mnist"),
        ("mnist", "fashion-mnist"),
        ("digit", "digits"),
    ],
)
def test_an_unknown_name_gets_the_nearest_one_and_the_list(name, nearest):
    with pytest.raises(
        ValueError, match=f"unknown task '{name}'; did you mean '{nearest}'. .*'digits', 'fashion-mnist'"
    ):
        get_task(name)
    with pytest.raises(ValueError, match=r"unknown task 'zzz' \(valid: 'digits', 'fashion-mnist'\)"):
        get_task("zzz")


def test_a_folder_for_a_task_that_takes_none_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="task 'digits' takes no data_dir"):
        get_task("digits", data_dir=tmp_path)


def test_importing_the_tasks_loads_nothing_heavy(source_environment):
    code = (
        "import sys, laju.lab.trials.tasks\n"
        "heavy = {'torch', 'sklearn', 'scipy', 'platformdirs', 'filelock', 'urllib3'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=source_environment)
