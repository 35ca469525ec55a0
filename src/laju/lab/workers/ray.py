"""Ray: jobs are tasks of a Ray cluster, or of a new cluster on this machine if there is no cluster.

Jobs are Ray tasks, because joblib's Ray backend is a pool of actors: when the node of an actor dies, the whole run ends with an
error. The driver puts the shared value into the object store of its own node once; every node fetches a copy for its workers.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import laju
from laju.core.extras import MissingPackage, install_command
from laju.lab.workers.clusters import Address, Call, Cluster, Parcel, explained, lost, pack, run
from laju.lab.workers.executors import Shared

_ENDS = 15  # times that a task is asked to end
_LOCAL = "local"
_connected: dict[str, str] = {}  # the address that this module has connected to, as asked


@dataclass(frozen=True, eq=False)
class _InStore:
    """A value in Ray's object store; jobs receive the parcel itself."""

    reference: Any

    def get(self) -> Any:
        import ray

        parcel: Parcel = ray.get(self.reference)
        return parcel.get()


class RayPlace(Cluster):
    """A Ray cluster.

    Args:
        address: "ray://HOST:PORT", the cluster's client server; None for the cluster that RAY_ADDRESS names or that this machine
            belongs to, else a cluster of this machine alone, which lasts until the program ends.
        most: the most jobs at once; by default as many as fit, which is counted again as nodes come and go.
        cores: the cores for each job.
        gpus: the GPUs for each job.

    Raises:
        ConnectionError: there is no cluster at the address.
        ValueError: an address is given although the program has called `ray.init` itself.
    """

    least = 1  # a cluster that grows with the demand needs some

    def __init__(self, address: str | None = None, most: int | None = None, cores: float = 1, gpus: float = 0) -> None:
        super().__init__(most)
        _connect(address)
        import ray

        self._cores, self._gpus = cores, gpus
        self._run = ray.remote(run).options(num_cpus=cores, num_gpus=gpus, max_retries=0, name="laju trial")
        _ = self.slots  # says where there is no room

    def lacks(self) -> str:
        return f"no node of the Ray cluster has room for a trial of {_needs(self._cores, self._gpus)}"

    def room(self) -> int:
        import ray

        room = 0
        for node in ray.nodes():  # type: ignore[no-untyped-call]
            if node["Alive"]:
                has = node["Resources"]
                parts = [has.get("CPU", 0) / self._cores]
                if self._gpus:
                    parts.append(has.get("GPU", 0) / self._gpus)
                room += int(min(parts))
        return room

    def share(self, value: Any) -> Shared:
        import ray

        return _InStore(ray.put(pack(value)))

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        call = Call.of(function, arguments, _InStore)
        reference = self._run.remote(call.content, laju.__version__, *(shared.reference for shared in call.shared))
        return self.following(reference, reference.future())

    def translated(self, error: BaseException) -> BaseException:
        from ray import exceptions

        if isinstance(error, exceptions.RayTaskError):
            cause = error.cause
            if not isinstance(cause, BaseException):
                return explained(error, "ray")
            if isinstance(cause, exceptions.RayError):
                return self.translated(cause)
            cause.add_note(f"on the Ray cluster:\n{error}")
            return explained(cause, "ray")
        losses = (
            exceptions.WorkerCrashedError,
            exceptions.NodeDiedError,
            exceptions.LocalRayletDiedError,
            exceptions.OutOfMemoryError,
            exceptions.ObjectLostError,
            exceptions.OwnerDiedError,
            exceptions.TaskCancelledError,
        )
        return lost(error) if isinstance(error, losses) else explained(error, "ray")

    def stop(self, future: Future[Any]) -> None:
        import ray

        reference = self._pending.get(future)
        if reference is not None:
            ray.cancel(reference, force=True)

    def close(self, kill: bool = False) -> None:
        # A task that is just being given to a worker may miss the request, so the request is repeated until each task has ended.
        for _ in range(_ENDS if kill else 0):
            for future in list(self._pending):
                with contextlib.suppress(Exception):  # the cluster may be the part that was lost
                    self.stop(future)
            if not self._pending:
                break
            time.sleep(0.2)


def place(address: Address, most: int | None) -> RayPlace:
    """The executor for `--on ray…`."""
    where = None if address.where is None else f"ray://{address.where}"
    return RayPlace(where, most, address.cores, address.gpus)


def _needs(cores: float, gpus: float) -> str:
    text = f"{cores:g} core{'s' if cores != 1 else ''}"
    return f"{text} and {gpus:g} GPU{'s' if gpus != 1 else ''}" if gpus else text


def _connect(address: str | None) -> None:
    # Before Ray is loaded: send no usage data to Ray's makers, and leave the terminal alone.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        ours = _connected.get("address")
        if ours is None:
            if address is not None:
                raise ValueError(f"the program has called ray.init itself; on='ray' uses that, got on={address!r}")
            return
        if ours == (address or _LOCAL):
            return
        ray.shutdown()
    _connected.clear()
    _check_reachable(address or os.environ.get("RAY_ADDRESS"))
    options: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
    try:
        if address is not None:
            _connect_as_client(address, options)
        elif os.environ.get("RAY_ADDRESS"):
            ray.init(**options)
        else:
            try:
                ray.init("auto", **options)
            except ConnectionError:
                ray.init("local", include_dashboard=False, **options)
    except ImportError as error:
        raise MissingPackage(f"{error}: {install_command('ray')}", name="ray") from error
    except Exception as error:
        named = address or os.environ.get("RAY_ADDRESS") or "of this machine"
        raise ConnectionError(f"no connection to the Ray cluster {named}: {error}") from error
    _connected["address"] = address or _LOCAL
    _quieten()


def _connect_as_client(address: str, options: dict[str, Any]) -> None:
    """Connect to the head, which forks a process for each client among threads; a fork that dies now and then is retried."""
    import ray

    for left in (2, 1, 0):
        try:
            ray.init(address, **options)
            return
        except ConnectionError as error:
            if not left or not any(
                sign in str(error) for sign in ("Starting Ray client server failed", "ZombieProcess")
            ):
                raise
            ray.shutdown()


def _check_reachable(address: str | None) -> None:
    """Check that a cluster answers: Ray itself would wait for minutes for a missing cluster."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise ConnectionError(f"no connection to the Ray cluster {address}: {error}") from error


def _quieten() -> None:
    """Keep Ray's messages about a node's death out of standard output, where a table or JSON may be printed."""
    from ray._private import worker

    if hasattr(worker, "print_to_stdstream"):
        worker.print_to_stdstream = lambda *_, **__: None
