"""Dask: jobs are tasks of a `distributed` scheduler, or of a scheduler on this machine.

A worker process trains a single trial at a time, since training sets state of the whole process, such as torch's random state.
A cluster therefore has room for as many jobs as worker processes, regardless of their threads.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import logging
import multiprocessing
import uuid
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import laju
from laju.lab.workers.clusters import Address, Call, Cluster, ClusterWarning, Lost, Parcel, explained, lost, pack, run
from laju.lab.workers.executors import Shared, cores
from laju.lab.workers.interrupts import sheltered

_PATIENCE = 60  # seconds to wait for the first worker
_clients: dict[str, Any] = {}
_LOCAL = "local"


@dataclass(eq=False)
class _Scattered:
    """A value on workers, sent with the first job, and sent again from the local copy if all workers with the value are lost."""

    parcel: Parcel
    future: Any = None

    def get(self) -> Any:
        return self.parcel.get()


class DaskPlace(Cluster):
    """A Dask cluster.

    Args:
        address: "tcp://HOST:PORT" of a scheduler; None for a scheduler on this machine, with a worker process for each core,
            which lasts until the program ends.
        most: the most jobs at once; by default the number of workers, which is counted again as workers come and go.
        gpus: the GPUs for each job; workers must have been started with `--resources GPU=1`.

    Raises:
        ConnectionError: there is no scheduler at the address, or no worker.
    """

    def __init__(self, address: str | None = None, most: int | None = None, gpus: float = 0) -> None:
        super().__init__(most)
        self._client = _client(address, most)
        self._resources = {"GPU": gpus} if gpus else None
        _ = self.slots  # says where there are no workers yet
        try:
            self._client.wait_for_workers(1, timeout=_PATIENCE)
        except TimeoutError as error:
            raise ConnectionError(
                f"no worker has joined the Dask scheduler {address} in {_PATIENCE} seconds: dask worker {address}"
            ) from error
        threads = max(self._client.nthreads().values(), default=1)
        if threads > 1:
            warnings.warn(
                f"a Dask worker process trains one trial at a time, but some have {threads} threads; "
                f"start them with: dask worker {address or 'ADDRESS'} --nworkers {threads} --nthreads 1",
                ClusterWarning,
                stacklevel=2,
            )

    def room(self) -> int:
        workers = len(self._client.nthreads())
        for name, needed in (self._resources or {}).items():
            info = self._client.scheduler_info(n_workers=-1)["workers"].values()
            workers -= sum(worker["resources"].get(name, 0) < needed for worker in info)
        return workers

    def lacks(self) -> str:
        address, gpus = self._client.scheduler.address, (self._resources or {}).get("GPU")
        needs = f" with {gpus:g} GPU{'s' if gpus > 1 else ''}" if gpus else ""
        return (
            f"the Dask scheduler {address} has no worker{needs} (dask worker {address} --nthreads 1"
            f"{f' --resources GPU={gpus:g}' if gpus else ''})"
        )

    def share(self, value: Any) -> Shared:
        return _Scattered(pack(value))

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        call = Call.of(function, arguments, _Scattered)
        try:
            for shared in call.shared:
                if shared.future is None or shared.future.status != "finished":
                    # To a single worker, from which the others fetch the value: with `broadcast`, Dask would wait for ever for a
                    # worker that dies meanwhile (Scheduler.replicate of distributed 2026.8).
                    shared.future = self._client.scatter(shared.parcel, hash=False)
        except (OSError, KeyError) as error:  # the worker that was to get the value has just gone, or all have
            failed: Future[Any] = Future()
            failed.set_exception(lost(error))
            return failed
        inner = self._client.submit(
            run,
            call.content,
            laju.__version__,
            *(shared.future for shared in call.shared),
            key=f"laju-trial-{uuid.uuid4().hex}",
            pure=False,
            retries=0,
            resources=self._resources,
        )
        return self.following(inner, inner)

    def stop(self, future: Future[Any]) -> None:
        inner = self._pending.pop(future, None)
        if inner is None:
            return
        self._end([inner])
        future.set_exception(Lost("stopped"))

    def close(self, kill: bool = False) -> None:
        if kill and self._pending:
            pending = list(self._pending.values())
            self._pending.clear()
            with contextlib.suppress(Exception):  # the scheduler may be the part that was lost
                self._end(pending)

    def translated(self, error: BaseException) -> BaseException:
        from distributed import KilledWorker
        from distributed.comm.core import CommClosedError

        losses = (KilledWorker, CommClosedError, concurrent.futures.CancelledError, asyncio.CancelledError)
        return lost(error) if isinstance(error, losses) else explained(error, "dask")

    def _end(self, jobs: list[Any]) -> None:
        """End jobs. Cancelling does not stop a running task, so the worker of the task is restarted."""
        keys = {job.key for job in jobs}
        processing = self._client.processing()
        workers = [worker for worker, theirs in processing.items() if keys & {str(key) for key in theirs}]
        self._client.cancel(jobs, force=True)
        if workers:
            try:
                self._client.restart_workers(workers, raise_for_error=False, timeout=10)
            except ValueError:  # started with --no-nanny: nobody can
                warnings.warn(
                    "a Dask worker without a nanny cannot be stopped: it finishes its trial first", ClusterWarning, 3
                )


def place(address: Address, most: int | None) -> DaskPlace:
    """The executor for `--on dask…`."""
    return DaskPlace(None if address.where is None else f"tcp://{address.where}", most, address.gpus)


def _client(address: str | None, most: int | None) -> Any:
    """A connection, which lasts until the program ends, because workers that have loaded torch are worth keeping."""
    import dask
    from distributed import Client, LocalCluster

    warnings.filterwarnings("ignore", message="Sending large graph")  # branch points
    name = address or f"{_LOCAL} {most or cores()}"
    client = _clients.get(name)
    if client is not None and client.status == "running":
        return client
    if address is not None:
        try:
            client = Client(address, timeout=20, set_as_default=False)  # type: ignore[no-untyped-call]
        except (OSError, ValueError) as error:
            raise ConnectionError(f"no connection to the Dask scheduler {address}: {error}") from error
    else:
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise RuntimeError(
                "on='dask' starts processes that load this script again: put what it does under "
                "if __name__ == '__main__':"
            )
        # Deaf to Ctrl-C, with all later workers. A job whose worker dies is lost at once: the driver counts losses.
        with sheltered(), dask.config.set({"distributed.scheduler.allowed-failures": 0}):
            local = LocalCluster(  # type: ignore[no-untyped-call]
                n_workers=most or cores(), threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL,
                scheduler_kwargs={"dashboard_address": ":0"},  # any free port: Dask warns where its own is another cluster's
            )  # fmt: skip
            client = Client(local, set_as_default=False)  # type: ignore[no-untyped-call]
        atexit.register(_close, client, local)
    _clients[name] = client
    return client


def _close(client: Any, local: Any) -> None:
    with contextlib.suppress(Exception):
        client.close(timeout=2)
        local.close(timeout=5)
