"""Trials trained by Hugging Face Accelerate: in mixed precision, with accumulated gradients, in several processes.

An update sees the same examples in all of these settings: the shared loop gives the update's examples, which are split over the
processes and over each process's micro-batches. The loss of each part is weighted by its size, so the gradient is that of the
mean over all examples.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from dataclasses import replace
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from laju.core.extras import needed_by
from laju.frameworks.torch import Scheduler
from laju.lab.engines.loop import Batch, Report, run
from laju.lab.engines.torch import _optimizer, _seed, one_thread_and_own_randomness
from laju.lab.trials import Outcome, Record, Trial
from laju.lab.trials.tasks import Task
from laju.lab.trials.tasks.base import Part
from laju.lab.trials.tasks.image_folder import Accelerated

with needed_by("training by Accelerate", "large"):
    import accelerate
    import accelerate.state

_LEAST_EVALUATION = 64


def train(trial: Trial, report: Report | None = None, how: Accelerated | None = None) -> Outcome:
    """Run a trial from its beginning and return its records.

    In one process, in full precision and without accumulation the outcome on a CPU equals the outcome of the lab's own loop,
    except for the rounding of test losses, since test examples are read in smaller batches. With `processes` above 1 this
    function starts the processes on this machine; a process that `torchrun` or `accelerate launch` has started instead joins
    the processes launched with it, each of which calls this function and gets the same outcome.

    Args:
        trial: the trial to run.
        report: called with every new record, in the first process.
        how: precision, processes and more; the task's own `accelerated` by default.

    Raises:
        ValueError: a trial with a rule; fp16 without a GPU; `processes` that differs from the number of launched processes.
        RuntimeError: a process ended before its work was done.
    """
    how = how or getattr(trial.task, "accelerated", None) or Accelerated()
    if trial.rule is not None:
        raise ValueError("a trial with a rule must be trained by the lab's own loop, not by Accelerate")
    launched = int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1
    if launched > 1 and launched != how.processes:
        raise ValueError(
            f"processes={how.processes}, but {launched} were launched; give processes={launched}, which is part of the "
            "trial's identity"
        )
    return _here(trial, report, how) if how.processes == launched else _started(trial, report, how)


def _here(trial: Trial, report: Report | None, how: Accelerated) -> Outcome:
    with one_thread_and_own_randomness(), _own_state(keep_processes=how.processes > 1):
        accelerator = accelerate.Accelerator(
            cpu=how.cpu or (how.processes > 1 and not torch.cuda.is_available()),
            mixed_precision=how.mixed_precision,
            gradient_accumulation_plugin=accelerate.utils.GradientAccumulationPlugin(
                num_steps=how.accumulate, sync_with_dataloader=False
            ),
        )
        if (
            how.mixed_precision == "fp16" and accelerator.device.type == "cpu"
        ):  # Accelerate would train in full precision
            raise ValueError("mixed_precision='fp16' needs a GPU; on a CPU give 'bf16' or 'no'")
        if accelerator.num_processes != how.processes:
            raise RuntimeError(
                f"Accelerate found {accelerator.num_processes} processes where there are {how.processes}; is an ACCELERATE_… "
                "variable set in the environment?"
            )
        gpu = [accelerator.device] if accelerator.device.type == "cuda" else []
        with torch.random.fork_rng(devices=gpu):
            training = _Training(trial, how, accelerator)
            return run(trial, training, report if accelerator.is_main_process else None)


@contextlib.contextmanager
def _own_state(keep_processes: bool) -> Iterator[None]:
    """Give the block a fresh state of Accelerate, which has a single state per process; restore the caller's state afterwards."""
    kinds: list[Any] = [accelerate.state.AcceleratorState, accelerate.state.GradientState]
    if not keep_processes:
        kinds.append(accelerate.state.PartialState)
    before = [dict(kind._shared_state) for kind in kinds]
    for kind in kinds:
        kind._shared_state.clear()
    try:
        yield
    finally:
        for kind, state in zip(kinds, before, strict=True):
            kind._shared_state.clear()
            kind._shared_state.update(state)


class _Training:
    def __init__(self, trial: Trial, how: Accelerated, accelerator: Any) -> None:
        self.accelerator = accelerator
        self.rank, self.world, self.accumulate = accelerator.process_index, accelerator.num_processes, how.accumulate
        task = self.task = trial.task
        _seed(trial.seed)
        task.inputs("train", np.zeros(1, dtype=np.int64))  # the first reading may draw random numbers
        _seed(trial.seed)
        model = task.model(trial.seed).train()
        if self.rank:  # weights are the same everywhere, but dropout masks are not
            _seed(int(np.random.SeedSequence((trial.seed, self.rank)).generate_state(1, np.uint64)[0] >> 1))
        if accelerator.device.type == "cuda":
            torch.cuda.manual_seed(torch.initial_seed())
        optimizer = _optimizer(trial.optimizer, model)
        scheduler = Scheduler(optimizer, lr=trial.schedule.resolve(trial.plan))
        self.model, self.optimizer, self.scheduler = accelerator.prepare(model, optimizer, scheduler)

        # Loaders draw a seed for their workers, from a generator of their own so as to leave the trial's alone.
        options: dict[str, Any] = {
            "num_workers": how.workers,
            "persistent_workers": how.workers > 0,
            "multiprocessing_context": _method() if how.workers else None,
            "collate_fn": _same,
            "generator": torch.Generator(),
        }
        batches = _Micro(trial, self.rank, self.world, self.accumulate)
        self.loader = iter(
            torch.utils.data.DataLoader(_Examples(task, "train", trial.seed), batch_sampler=batches, **options)
        )
        mine = np.arange(len(task.labels("test")))[self.rank :: self.world]
        size = max(_LEAST_EVALUATION, trial.batch_size // (self.world * self.accumulate))
        tests: Any = [(0, mine[i : i + size]) for i in range(0, len(mine), size)]
        self.tests = torch.utils.data.DataLoader(_Examples(task, "test", None), batch_sampler=tests, **options)
        self.test_size = len(task.labels("test"))

        self.losses: list[torch.Tensor] = []
        self.right = torch.zeros((), dtype=torch.int64, device=accelerator.device)

    def rate(self) -> float:
        rate: float = self.optimizer.param_groups[0]["lr"]
        return rate

    def update(self, batch: Batch) -> None:
        parts = split(batch, self.world * self.accumulate)[self.rank :: self.world]
        total = torch.zeros((), device=self.accelerator.device)
        for part in parts:
            inputs, targets = next(self.loader)
            inputs, targets = inputs.to(self.accelerator.device), targets.to(self.accelerator.device)
            # A batch of fewer examples than parts: every process takes part in every step, this time for nothing.
            weight = len(part) / len(batch)
            with self.accelerator.accumulate(self.model):
                outputs = self.model(inputs)
                loss = self.task.loss(outputs, targets)
                # Accelerate divides by the number of micro-batches, and takes the mean over the processes.
                self.accelerator.backward(loss * (weight * self.world * self.accumulate))
                self.optimizer.step()
                self.scheduler.step()
                self.optimizer.zero_grad()
            if len(part):
                total = total + loss.detach() * weight
                self.right += self.task.correct(outputs.detach(), targets)
        self.losses.append(total)

    def read(self) -> tuple[npt.NDArray[np.float64], int]:
        losses = torch.stack(self.losses)
        right = self.right
        if self.world > 1:
            losses = self.accelerator.reduce(losses, "sum")
            right = self.accelerator.reduce(right, "sum")
        self.losses.clear()
        self.right = torch.zeros_like(self.right)
        return losses.cpu().double().numpy(), int(right)

    def evaluate(self) -> tuple[float, float]:
        # The model itself: processes may have different numbers of batches, and DDP would wait for as many as its own.
        model = self.accelerator.unwrap_model(self.model)
        if self.world > 1:  # all test with the running means of the first process, as all go on with these means
            for buffer in model.buffers():
                torch.distributed.broadcast(buffer, 0)
        model.eval()
        total, right = 0.0, torch.zeros_like(self.right)
        with torch.no_grad():
            for inputs, targets in self.tests:
                inputs, targets = inputs.to(self.accelerator.device), targets.to(self.accelerator.device)
                outputs = model(inputs)
                total += float(self.task.loss(outputs, targets)) * len(targets)
                right += self.task.correct(outputs, targets)
        model.train()
        if self.world > 1:
            right = self.accelerator.reduce(right, "sum")
            mine = torch.tensor(total, dtype=torch.float64, device=self.accelerator.device)
            total = float(self.accelerator.reduce(mine, "sum"))
        return total / self.test_size, int(right) / self.test_size


# --- data --------------------------------------------------------------------------------------------------------------


def split(batch: Batch, parts: int) -> list[Batch]:
    """Split a batch into parts whose sizes differ by at most 1, larger parts first; parts of too small a batch are empty.

    >>> [part.tolist() for part in split(np.arange(5), 3)]
    [[0, 1], [2, 3], [4]]
    """
    return np.array_split(batch, parts)


class _Micro(torch.utils.data.Sampler[Any]):
    """The micro-batches of a process, as (epoch, indices), in the order of the shared loop."""

    def __init__(self, trial: Trial, rank: int, world: int, accumulate: int) -> None:
        self.trial, self.rank, self.world, self.accumulate = trial, rank, world, accumulate

    def __iter__(self) -> Iterator[tuple[int, Batch]]:
        for epoch in range(self.trial.epochs):
            for batch in self.trial.task.batches(self.trial.seed, epoch, self.trial.batch_size):
                for part in split(batch, self.world * self.accumulate)[self.rank :: self.world]:
                    yield epoch, part if len(part) else batch


class _Examples(torch.utils.data.Dataset[Any]):
    """The training or test part of a task, read one micro-batch at a time."""

    def __init__(self, task: Task, part: Part, seed: int | None) -> None:
        self.task, self.part, self.seed = task, part, seed
        self.labels = task.labels(part)

    def __getitem__(self, index: int) -> Any:
        raise TypeError("examples are read a micro-batch at a time")

    def __getitems__(self, batch: tuple[int, Batch]) -> tuple[torch.Tensor, torch.Tensor]:
        epoch, indices = batch
        drawn = None if self.seed is None else (self.seed, epoch)
        inputs = self.task.inputs(self.part, indices, drawn)
        return torch.from_numpy(np.ascontiguousarray(inputs)), torch.from_numpy(self.labels[indices])


def _method() -> str:
    """How readers are started: named, because in a worker of joblib's the default is a method of its own."""
    return "fork" if sys.platform == "linux" else "spawn"


def _same(batch: Any) -> Any:
    return batch


# --- processes ---------------------------------------------------------------------------------------------------------


def _started(trial: Trial, report: Report | None, how: Accelerated) -> Outcome:
    """Start the processes of a trial on this machine, and wait for their end."""
    import cloudpickle

    gpus = 0 if how.cpu else torch.cuda.device_count()
    if 0 < gpus < how.processes:
        raise ValueError(f"processes={how.processes}, but this machine has {gpus} GPUs; give as many, or cpu=True")
    work = cloudpickle.dumps((trial, how))
    # Where the processes meet. Held here, as in torchrun, so that no port has to be guessed.
    meeting = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    together = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(meeting.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "WORLD_SIZE": str(how.processes),
        "LOCAL_WORLD_SIZE": str(how.processes),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    if sys.platform == "linux":
        together["GLOO_SOCKET_IFNAME"] = "lo"  # gloo would look up this machine's name, which need not be known
    ranks: list[_Rank] = []
    heard: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
    outcomes: dict[int, Outcome] = {}
    try:
        for i in range(how.processes):
            ranks.append(_Rank(i, together | {"RANK": str(i), "LOCAL_RANK": str(i)}))
            ranks[i].begin(work, heard)
        while len(outcomes) < how.processes:
            i, message = heard.get()
            match message:
                case Record():
                    if report is not None:
                        report(message)
                case Outcome():
                    outcomes[i] = message
                case (BaseException() as error, str() as trace):
                    raise error from RuntimeError(f"in process {i + 1} of {how.processes}:\n{trace}")
                case _ if i not in outcomes:
                    raise RuntimeError(f"process {i + 1} of {how.processes} {ranks[i].end()}")
    finally:
        for rank in ranks:
            rank.close()
    first = outcomes[0]
    # Every process has reduced the same figures; a difference means that their weights have drifted apart, and no figure of the
    # trial counts.
    if any(replace(outcome, seconds=first.seconds) != first for outcome in outcomes.values()):
        raise RuntimeError(f"the {how.processes} processes of a trial disagree about its records")
    return first


class _Rank:
    """A process among several, seen from the process that started the group."""

    def __init__(self, number: int, environment: dict[str, str]) -> None:
        self.number = number
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed in close()
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import _rank; _rank()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=os.environ | environment,
        )

    def begin(self, work: bytes, heard: queue.SimpleQueue[tuple[int, Any]]) -> None:
        """Send the process its work; put every answer of the process into `heard`, and None at its end."""
        threading.Thread(target=self._listen, args=(heard,), daemon=True, name=f"laju-rank-{self.number}").start()
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the process has ended already, which the listener reports
            self.process.stdin.write(len(work).to_bytes(8) + work)
            self.process.stdin.flush()  # and left open: its end is the sign that this process is gone

    def _listen(self, heard: queue.SimpleQueue[tuple[int, Any]]) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(EOFError, OSError, ValueError, pickle.UnpicklingError):
            while True:
                heard.put((self.number, pickle.load(self.process.stdout)))
        heard.put((self.number, None))

    def end(self) -> str:
        """The end of the process in words, with its last lines of output."""
        code = self.process.wait()
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").rstrip().splitlines()[-10:]
        return (
            "\n  ".join([f"{how} before it was done; it wrote last:", *lines]) if lines else f"{how} before it was done"
        )

    def close(self) -> None:
        self.process.kill()  # all results have been sent
        self.process.wait()
        for stream in (self.process.stdin, self.errors):  # its answers are the listener's to read to their end
            assert stream is not None
            with contextlib.suppress(OSError):
                stream.close()


def _rank() -> None:
    """The main function of a process among several."""
    answers: IO[bytes] = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # output of libraries is no answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent process
    given = sys.stdin.buffer

    def tell(message: Any) -> None:
        pickle.dump(message, answers)
        answers.flush()

    def watch() -> None:
        given.read()
        os._exit(1)

    try:
        trial, how = pickle.loads(given.read(int.from_bytes(given.read(8))))
        threading.Thread(target=watch, daemon=True, name="laju-parent").start()
        tell(_here(trial, tell, how))
        torch.distributed.destroy_process_group()
        os._exit(0)  # Python's own way out would stumble over the thread that reads
    except BaseException as error:
        trace = traceback.format_exc()
        try:
            tell((pickle.loads(pickle.dumps(error)), trace))
        except Exception:  # an error of somebody's own that does not travel: its words do
            tell((RuntimeError(f"{type(error).__name__}: {error}"), trace))
        os._exit(1)  # without waiting for the other processes, which may wait for this process
