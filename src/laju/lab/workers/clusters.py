"""Clusters by name and address, and the transfer of a job to a machine without the files and modules of this machine.

This module pickles jobs itself instead of leaving this to the cluster, so that a job is the same on every cluster: arrays are
sent apart from the rest, neither copied nor pickled, and modules that are not installed, such as a file beside the script, by
value.
"""

from __future__ import annotations

import functools
import math
import pickle
import sys
import sysconfig
import threading
import time
import types
import uuid
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np

import laju
from laju.core.checks import nearest, shown, whole
from laju.core.extras import missing
from laju.lab.workers.executors import Executor

_PACKAGES = {"ray": "ray", "dask": "distributed"}
_PORTS = {"ray": 10001, "dask": 8786}
_OPTIONS = {"ray": ("cores", "gpus"), "dask": ("gpus",)}
_REFRESH = 1.0  # seconds for which a count of workers is believed
_VALID = "ray, ray://HOST:PORT, dask or dask://HOST:PORT"


@dataclass(frozen=True)
class Address:
    """A cluster, and the resources that a trial takes.

    Args:
        kind: "ray" or "dask".
        where: "HOST:PORT"; None for an existing or new local cluster.
        cores: the cores of a node that a single trial takes.
        gpus: the GPUs of a node that a single trial takes; may be a fraction.
    """

    kind: str
    where: str | None = None
    cores: float = 1
    gpus: float = 0

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `ray`, `dask`, or either with an address, with options after a `?`.

        Raises:
            ValueError: an unknown cluster, a host without a name, an invalid port, an unknown option or value.

        >>> Address.parse("ray://head.local:10001?gpus=0.5")
        Address(kind='ray', where='head.local:10001', cores=1, gpus=0.5)
        >>> Address.parse("dask://head.local").where
        'head.local:8786'
        >>> Address.parse("dusk")
        Traceback (most recent call last):
            ...
        ValueError: on must be ray, ray://HOST:PORT, dask or dask://HOST:PORT, got 'dusk'; did you mean 'dask'?
        """
        if not isinstance(text, str):
            raise TypeError(f"on must be {_VALID}, got {shown(text)}")
        wrong = f"on must be {_VALID}, got {text!r}"
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ValueError(f"{wrong} ({error})") from error
        kind = parts.scheme or parts.path
        if kind not in _PACKAGES:
            raise ValueError(f"{wrong}{nearest(kind, _PACKAGES)}")
        if parts.scheme and not text.startswith(f"{kind}://"):
            raise ValueError(f"{wrong}; did you mean '{kind}://{parts.path.lstrip('/')}'?")
        if parts.scheme and (not host or parts.path not in ("", "/") or parts.username is not None or parts.fragment):
            raise ValueError(wrong)
        where = None
        if host:
            where = f"{f'[{host}]' if ':' in host else host}:{_PORTS[kind] if port is None else port}"
        return cls(kind, where, **_options(kind, parts.query, text))


def _options(kind: str, query: str, text: str) -> dict[str, float]:
    options: dict[str, float] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _OPTIONS[kind]:
            valid = ", ".join(_OPTIONS[kind])
            raise ValueError(
                f"{text!r} has the unknown option {name!r}{nearest(name, _OPTIONS[kind])} ({kind} has: {valid})"
            )
        try:
            number = float(value)
        except ValueError:
            number = -1
        if not (0 < number < float("inf")):
            raise ValueError(f"{name} in {text!r} must be a number above 0, got {value!r}")
        if number > 1 and number != int(number):
            raise ValueError(f"{name} in {text!r} must be a whole number where it is above 1, got {value!r}")
        options[name] = int(number) if number == int(number) else number
    return options


def cluster(on: str, most: int | None = None) -> Callable[[], Executor]:
    """A function that creates the executor for `--on`; the cluster is contacted only when this function is called.

    Args:
        on: the cluster, in the form that `Address.parse` reads.
        most: the most jobs at once; by default as many as there is room for.

    Raises:
        ModuleNotFoundError: the cluster's package is not installed.
        ValueError: `on` is not a cluster.
    """
    address = Address.parse(on)
    most = None if most is None else whole("most", most, least=1)
    package = _PACKAGES[address.kind]
    if find_spec(package) is None:
        raise missing(f"training on {address.kind}", package, address.kind)
    module = import_module(f"laju.lab.workers.{address.kind}")
    place: Callable[[Address, int | None], Executor] = module.place
    return functools.partial(place, address, most)


@dataclass(frozen=True, eq=False)
class Parcel:
    """A value in transit: its pickled part, and its arrays, which a cluster shares between the workers of a node."""

    name: str
    content: bytes
    arrays: tuple[np.ndarray[Any, Any], ...]

    def get(self) -> Any:
        """The value; unpacked once in a process. Its arrays may be read-only."""
        if self.name not in _unpacked:
            _unpacked.clear()  # the parcel of an earlier run, with its data
            _unpacked[self.name] = pickle.loads(self.content, buffers=self.arrays)
        return _unpacked[self.name]


_unpacked: dict[str, Any] = {}


def pack(value: Any) -> Parcel:
    """A value for other machines.

    Raises:
        TypeError: the value holds an object of this process alone, such as an open file.
    """
    buffers: list[pickle.PickleBuffer] = []
    content = _pickled(value, buffers)
    return Parcel(uuid.uuid4().hex, content, tuple(np.frombuffer(buffer.raw(), np.uint8) for buffer in buffers))


@dataclass(frozen=True)
class _Shared:
    """The placeholder of a shared value in a job's arguments; the cluster passes the value separately."""

    number: int


@dataclass(frozen=True)
class Call:
    """A job in transit. `run` takes its bytes, this program's version, and the parcels of `shared`, in that order."""

    content: bytes
    shared: tuple[Any, ...]

    @classmethod
    def of(cls, function: Callable[..., Any], arguments: tuple[Any, ...], shared: type) -> Call:
        """A job whose arguments of type `shared` stand for parcels.

        Raises:
            TypeError: the job cannot be pickled.
        """
        beside = tuple(a for a in arguments if isinstance(a, shared))
        sent = tuple(_Shared(beside.index(a)) if isinstance(a, shared) else a for a in arguments)
        return cls(_pickled((function, sent), None), beside)


# A Dask worker may run several jobs at once, in threads of its one process.
_one_at_a_time = threading.Lock()


def run(content: bytes, version: str, *parcels: Parcel) -> Any:
    """Run a job in a worker, a single job at a time in a process, since training sets state of the whole process."""
    # Before anything is unpickled: objects of another version would fail in places that say nothing of the cause.
    if version != laju.__version__:
        raise RuntimeError(
            f"this worker has laju {laju.__version__}, the program that sends trials {version}; install the same on all"
        )
    with _one_at_a_time:
        function, arguments = pickle.loads(content)
        return function(*(parcels[a.number] if isinstance(a, _Shared) else a for a in arguments))


def explained(error: BaseException, kind: str) -> BaseException:
    """The error of a job for the driver to raise: the missing laju on the worker, or the original error."""
    cause: BaseException | None = error
    while cause is not None:
        if "No module named 'laju" in str(cause):
            return ModuleNotFoundError(
                f"workers of the {kind} cluster cannot import laju: install laju[lab,{kind}] on every node, from where it was "
                f"installed here ({str(cause).splitlines()[0]})",
                name=kind,
            )
        cause = cause.__cause__ or cause.__context__
    return error


class Lost(BrokenExecutor):
    """The worker or node that ran a job is gone; the job may run again elsewhere."""


class ClusterWarning(RuntimeWarning):
    """A cluster has no room for a trial, or does not do what was asked for."""


class Cluster(ABC):
    """The executor for a cluster of any kind.

    Args:
        most: the most jobs at once; by default as many as there is room for, which is counted again as workers come and go.
    """

    remote = True
    together = False
    least = 0
    """The number of jobs at once if the cluster has no room for any job."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._pending: dict[Future[Any], Any] = {}  # the cluster's own handle of each job
        self._slots, self._counted, self._waits = 1, -math.inf, False

    @abstractmethod
    def room(self) -> int:
        """The number of jobs that would fit on the present workers if all were idle."""

    @abstractmethod
    def lacks(self) -> str:
        """The missing resource if there is no room for a job, in words."""

    @abstractmethod
    def translated(self, error: BaseException) -> BaseException:
        """The cluster's error of a job as an error for the driver: `Lost`, or the job's own error."""

    @property
    def slots(self) -> int:
        if time.monotonic() - self._counted > _REFRESH:
            try:
                room = self.room()
            except OSError:  # no answer for now; whether the cluster is lost will show in its jobs
                room = self._slots
            self._counted = time.monotonic()
            self._slots = max(self.least, room if self._most is None else min(room, self._most))
            if room == 0 and not self._waits:
                warnings.warn(f"{self.lacks()}; waiting for one", ClusterWarning, stacklevel=2)
            self._waits = room == 0
        return self._slots

    def following(self, job: Any, ending: Any) -> Future[Any]:
        """The future of a job that was submitted.

        Args:
            job: the cluster's handle of the job.
            ending: the cluster's future of the job.
        """
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        self._pending[future] = job

        def ended(inner: Any) -> None:
            if self._pending.pop(future, None) is None:
                return  # stopped
            try:
                result = inner.result()
            except BaseException as error:
                future.set_exception(self.translated(error))
            else:
                future.set_result(result)

        ending.add_done_callback(ended)
        return future


def lost(error: BaseException) -> Lost:
    """The loss of a worker as an error, from the cluster's own error."""
    made = Lost(str(error).strip() or type(error).__name__)
    made.__cause__ = error
    return made


def _pickled(value: Any, buffers: list[pickle.PickleBuffer] | None) -> bytes:
    try:
        with _local_modules_by_value():
            return _dumped(value, buffers)
    except (TypeError, AttributeError, pickle.PicklingError):
        # An object beside the needed value, such as a lock in a module; by reference the object may do, where the module is.
        if buffers is not None:
            buffers.clear()
    try:
        return _dumped(value, buffers)
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        raise TypeError(f"the task cannot be sent to a cluster ({error}); without `on` it runs here") from error


def _dumped(value: Any, buffers: list[pickle.PickleBuffer] | None) -> bytes:
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, thing: Any) -> Any:
            if type(thing) is functools.cached_property:  # holds a lock until Python 3.12
                return _cached_property, (thing.func, thing.attrname)
            return super().reducer_override(thing)

    file = BytesIO()
    Pickler(file, protocol=5, buffer_callback=None if buffers is None else buffers.append).dump(value)
    return file.getvalue()


def _cached_property(function: Callable[[Any], Any], name: str) -> functools.cached_property[Any]:
    made = functools.cached_property(function)
    made.__set_name__(object, name)
    return made


@contextmanager
def _local_modules_by_value() -> Iterator[None]:
    """Send modules that belong to no installed package, such as a file beside the script, by value."""
    import cloudpickle

    already = cloudpickle.list_registry_pickle_by_value()
    local = [module for name, module in list(sys.modules.items()) if name not in already and _is_local(name, module)]
    for module in local:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in local:
            cloudpickle.unregister_pickle_by_value(module)


def _is_local(name: str, module: Any) -> bool:
    file = getattr(module, "__file__", None)
    if not isinstance(module, types.ModuleType) or not file or name != module.__name__:
        return False
    if name in ("__main__", "__mp_main__") or name.partition(".")[0] in ("laju", *sys.stdlib_module_names):
        return False
    path = Path(file)
    return not any(path.is_relative_to(folder) for folder in _installed()) and "site-packages" not in path.parts


@functools.cache
def _installed() -> tuple[Path, ...]:
    return tuple({Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
