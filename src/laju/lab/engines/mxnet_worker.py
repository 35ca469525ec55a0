"""The half of the MXNet engine in MXNet's own environment: trains the model of a trial on requests from the first half.

The file is run by its path and imports only laju's core and adapter, since the lab's dependencies are not installed in that
environment. Messages go over stdin and stdout: a header in JSON, then the bytes of arrays, because no pickle can be read by both
NumPy 1.23 and NumPy 2.
"""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import sys
from collections.abc import Callable, Mapping
from typing import IO, Any

MAGIC = b"laju"
"""The beginning of every message, by which the output of any program but the worker is detected."""

Arrays = Mapping[str, Any]


def send(stream: IO[bytes], kind: str, fields: Mapping[str, Any] | None = None, arrays: Arrays | None = None) -> None:
    """Write a message: its kind, fields that JSON can represent, and NumPy arrays of numbers."""
    arrays = arrays or {}
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f"array {name!r} must hold numbers, got {array.dtype}")
    shapes = [(name, array.dtype.str, array.shape) for name, array in arrays.items()]
    header = json.dumps({**(fields or {}), "kind": kind, "arrays": shapes}).encode()
    stream.write(MAGIC + struct.pack("<I", len(header)) + header)
    for array in arrays.values():
        stream.write(array.tobytes())
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a message: its fields, its kind included, and its arrays.

    Raises:
        EOFError: the sender has gone.
        ValueError: the bytes are not a message; the error has the bytes.
    """
    import numpy as np  # not at the top: an interpreter without NumPy has to say so

    start = stream.read(len(MAGIC) + 4)
    # A part of the mark is a stream that ended; other bytes are the output of a program that is no worker.
    if start[: len(MAGIC)] != MAGIC[: len(start)]:
        raise ValueError(repr(start))
    _expect(len(start) == len(MAGIC) + 4)
    (size,) = struct.unpack("<I", start[len(MAGIC) :])
    header = stream.read(size)
    _expect(len(header) == size)
    fields = json.loads(header)
    arrays = {}
    for name, dtype, shape in fields.pop("arrays"):
        # Read into the array itself: a data set is then in memory once.
        array = arrays[name] = np.empty(shape, dtype)
        _expect(stream.readinto(array.reshape(-1).view(np.uint8).data) == array.nbytes)  # type: ignore[attr-defined]
    return fields, arrays


def _expect(whole: bool) -> None:
    if not whole:
        raise EOFError


def main() -> None:
    """Report the installed versions, then train the received trial until the sender has gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of the terminal; the lab's decides
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # MXNet and models print; nothing of that may come between the messages.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    # This file's folder would come first, with modules that have the names of frameworks.
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != here]
    try:
        _greet(replies)
        _serve(requests, replies)
    except (EOFError, BrokenPipeError):
        os._exit(0)  # at once: no process is waiting


def _greet(replies: IO[bytes]) -> None:
    versions: dict[str, str | None] = {}
    for module in ("laju", "mxnet"):
        try:
            versions[module] = __import__(module).__version__
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
            versions[module] = None
    send(replies, "hello", versions)


def _serve(requests: IO[bytes], replies: IO[bytes]) -> None:
    start, arrays = receive(requests)
    training = _Training(start, arrays)
    send(replies, "ready")
    while True:
        request, arrays = receive(requests)
        kind = request["kind"]
        if kind == "update":
            training.update(arrays["batch"])
        elif kind == "rate":
            send(replies, "rate", {"value": training.rate()})
        elif kind == "read":
            losses, right = training.read()
            send(replies, "read", {"right": right}, {"losses": losses})
        elif kind == "evaluate":
            loss, accuracy = training.evaluate()
            send(replies, "evaluate", {"loss": loss, "accuracy": accuracy})
        else:
            raise ValueError(f"unknown request {kind!r}")


class _Training:
    """The model, data and optimizer of a trial in MXNet; arrays stay in MXNet, and reading an array waits for its value."""

    def __init__(self, start: Mapping[str, Any], arrays: Arrays) -> None:
        import mxnet as mx
        import numpy as np

        from laju.frameworks.mxnet import Scheduler
        from laju.text.json import from_json

        self.mx = mx
        seed = int(start["seed"])
        mx.random.seed(seed % 2**31)
        np.random.seed(seed % 2**32)  # noqa: NPY002  # some of MXNet's initializers draw from NumPy's generator
        random.seed(seed)
        self.inputs, self.test_inputs = mx.nd.array(arrays["train_inputs"]), mx.nd.array(arrays["test_inputs"])
        self.labels, self.test_labels = mx.nd.array(arrays["train_labels"]), arrays["test_labels"]
        self.evaluation_batch = int(start["evaluation_batch"])
        weights = {name.partition("/")[2]: array for name, array in arrays.items() if name.startswith("network/")}
        self.network = _function(start["network"])(weights)
        self.network.hybridize()
        self.loss = mx.gluon.loss.SoftmaxCrossEntropyLoss()
        self.loss.hybridize()
        self.scheduler = Scheduler(from_json(start["schedule"]))
        self.trainer = mx.gluon.Trainer(
            self.network.collect_params(),
            "sgd",
            {
                "learning_rate": None,
                "lr_scheduler": self.scheduler,
                "momentum": start["momentum"],
                "wd": start["weight_decay"],
            },
            kvstore=None,
        )
        self.losses: list[Any] = []
        self.right: list[Any] = []

    def rate(self) -> float:
        # trainer.learning_rate is that of the last update.
        return float(self.scheduler(self.trainer.optimizer.num_update + 1))

    def update(self, batch: Any) -> None:
        chosen = self.mx.nd.array(batch, dtype="int32")
        inputs, labels = self.inputs.take(chosen), self.labels.take(chosen)
        with self.mx.autograd.record():
            outputs = self.network(inputs)
            loss = self.loss(outputs, labels).mean()
        loss.backward()
        self.trainer.step(1)
        self.losses.append(loss)
        self.right.append((outputs.argmax(axis=1) == labels).sum())

    def read(self) -> tuple[Any, int]:
        import numpy as np

        losses = np.array([loss.asscalar() for loss in self.losses], dtype=np.float64)
        right = sum(int(count.asscalar()) for count in self.right)
        self.losses.clear()
        self.right.clear()
        return losses, right

    def evaluate(self) -> tuple[float, float]:
        total, right, size = 0.0, 0, self.evaluation_batch
        for i in range(0, len(self.test_labels), size):
            outputs, labels = self.network(self.test_inputs[i : i + size]), self.test_labels[i : i + size]
            total += float(self.loss(outputs, self.mx.nd.array(labels)).sum().asscalar())
            right += int((outputs.argmax(axis=1).asnumpy() == labels).sum())
        return total / len(self.test_labels), right / len(self.test_labels)


def _function(place: str) -> Callable[[Arrays], Any]:
    """The function at "path of a Python file:function"."""
    from importlib.util import module_from_spec, spec_from_file_location

    path, _, name = place.rpartition(":")
    spec = spec_from_file_location("laju_network", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"a network for MXNet must be 'path of a Python file:function', got {place!r}")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    function: Callable[[Arrays], Any] = getattr(module, name)
    return function


if __name__ == "__main__":
    main()
