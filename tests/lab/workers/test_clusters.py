"""Which cluster is meant, and what travels to it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from laju.lab import Execution, compare
from laju.lab.workers.clusters import Address, Call, cluster, explained, pack, run
from tests.lab.tiny import Forbidden, Sides


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ray", Address("ray")),
        ("dask", Address("dask")),
        ("ray://10.0.0.1:10001", Address("ray", "10.0.0.1:10001")),
        ("ray://head", Address("ray", "head:10001")),
        ("dask://head", Address("dask", "head:8786")),
        ("dask://[::1]:9?gpus=1", Address("dask", "[::1]:9", gpus=1)),
        ("ray?cores=2&gpus=0.5", Address("ray", None, 2, 0.5)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert Address.parse(text) == address


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rai", "did you mean 'ray'"),
        ("", "on must be"),
        ("ray://", "on must be"),
        ("ray:head:1", "did you mean 'ray://head:1'"),
        ("ray://head:99999999", "on must be"),
        ("ray://head/path", "on must be"),
        ("ray?gpu=1", "unknown option 'gpu'; did you mean 'gpus'"),
        ("ray?gpus=-1", "gpus in .* must be a number above 0"),
        ("ray?cores=1.5", "must be a whole number where it is above 1"),
        ("dask?cores=2", r"unknown option 'cores' .*dask has: gpus"),
    ],
)
def test_addresses_that_are_none(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Address.parse(text)
    with pytest.raises(ValueError, match=message):
        compare({"a": 0.1}, Forbidden(), epochs=1, execution=Execution(on=text))


def test_a_cluster_whose_package_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("laju.lab.workers.clusters.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"training on ray needs the package ray, .*\[ray\]"):
        cluster("ray")


def test_a_parcel_gives_one_object_in_a_process_and_keeps_arrays_apart() -> None:
    value = {"array": np.arange(1000.0), "task": Sides()}
    parcel = pack(value)
    assert sum(array.nbytes for array in parcel.arrays) >= 8000
    assert len(parcel.content) < 8000
    assert parcel.get() is parcel.get()
    assert (parcel.get()["array"] == value["array"]).all()
    call = Call.of(lambda shared: shared.get()["array"].sum(), (parcel,), type(parcel))
    assert run(call.content, __import__("laju").__version__, parcel) == 499500
    with pytest.raises(RuntimeError, match=r"this worker has laju .*, the program that sends trials 0"):
        run(call.content, "0", parcel)


def test_a_module_beside_the_script_travels_with_the_task(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        textwrap.dedent(
            """
            import torch
            from laju.lab import Task, get_task

            class Mine(Task):
                name = "mine"
                def load(self): return get_task("digits").load()
                def model(self, seed):
                    torch.manual_seed(seed)
                    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
            """
        )
    )
    send = (
        "import sys, mine; from laju.lab.workers.clusters import pack; import pickle\n"
        "pickle.dump(pack(mine.Mine()), open(sys.argv[1], 'wb'))"
    )
    receive = (
        "import sys, pickle; task = pickle.load(open(sys.argv[1], 'rb')).get(); print(task.name, task.model(0)[1])"
    )
    parcel = tmp_path / "parcel"
    subprocess.run([sys.executable, "-c", send, parcel], cwd=tmp_path, check=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run([sys.executable, "-c", receive, parcel], cwd=elsewhere, capture_output=True, text=True)
    assert done.stdout.startswith("mine Linear"), done.stderr


def test_that_laju_is_not_installed_there_is_said() -> None:
    error = explained(RuntimeError("No module named 'laju'"), "ray")
    assert isinstance(error, ModuleNotFoundError)
    assert "install laju[lab,ray] on every node" in str(error)
