"""Several trials at once in torch, made for a GPU, on which a single small model mostly waits for the launch of its kernels.

Everything that an update needs is on the device: the data, the order of an epoch, the learning rates and the position in the
epoch. An update is therefore captured once and replayed, and the host waits for nothing before an epoch is over. A stack consists
of trials of one model whose parameters are the rows of one matrix, so that a single launch computes a layer of all trials. On a
CPU the same code runs as plain calls.
"""

from __future__ import annotations

import gc
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.func import functional_call, grad_and_value, vmap

from laju.core.checks import whole
from laju.lab.engines.capture import Capturer
from laju.lab.engines.loop import EVALUATION_BATCH, Batch, Progress, Report, advance, outcome
from laju.lab.engines.stack_optimizer import StackOptimizer
from laju.lab.engines.torch import _seed, _tensor, images_last, one_thread_and_own_randomness
from laju.lab.trials import Outcome, Record, Trial
from laju.lab.trials.numerics import Numerics
from laju.lab.trials.tasks.base import permutation

MOST = 128
"""The default limit of the number of trials in a stack, which is enough to fill a GPU."""
_SHARE = 0.8  # of the free memory that a stack may take by the estimate

Told = Callable[[int, Record], None]


def train(trial: Trial, report: Report | None = None) -> Outcome:
    """Run a trial by itself, with its own numerics, and return its records.

    Args:
        trial: the trial to run.
        report: called with every record; the records of an epoch come together at its end.
    """
    return train_stack([trial], None if report is None else lambda _, record: report(record))[0]


def alike(trial: Trial) -> tuple[Any, ...]:
    """The settings that must be equal for trials to be stacked: all but schedule, seed and the numbers of the optimizer."""
    return trial.task.fingerprint, trial.batch_size, trial.epochs, trial.optimizer.kind, trial.numerics


def train_stack(
    trials: Sequence[Trial],
    report: Told | None = None,
    stack: int | None = None,
    finished: Callable[[int, Outcome], None] | None = None,
) -> list[Outcome]:
    """Run trials that are `alike`, as many at once as fit, and return the outcome of each.

    A trial sees the same examples and learning rates as if run alone. Its figures agree with those of a trial run alone up to
    rounding; dropout masks are drawn for the stack as a whole. A trial that diverges stops, without any effect on the rest. The
    `seconds` of a trial are its share of the seconds of its stack.

    Args:
        trials: the trials to run.
        report: called with the index of a trial in `trials` and a new record; the records of an epoch come together at its end.
        stack: the largest number of trials at once; by default as many as memory is estimated to hold, up to 128. If the trials
            do not fit, half as many at once are tried, with a warning.
        finished: called with the index of a trial and its outcome when its stack is over, before the next stack begins.

    Raises:
        ValueError: trials that are not alike, that have a rule or are trained by Accelerate, a stack with channels_last, or a
            model that cannot be stacked.
        RuntimeError: the device does not exist.
        MemoryError: not even a single trial fits.
    """
    trials = list(trials)
    if stack is not None:
        stack = whole("stack", stack, least=1)
    if not trials:
        return []
    with one_thread_and_own_randomness():  # a comparison of tasks reads their data
        _check_alike(trials, stack)
    numerics = trials[0].numerics
    told = _Once(report, len(trials))
    outcomes: list[Outcome] = []
    with _computing(numerics) as device:
        resident = _Resident(trials[0], device)
        width = stack or (1 if numerics.channels_last else _fitting(trials[0], resident, device, len(trials)))
        while left := len(trials) - len(outcomes):
            size = math.ceil(left / math.ceil(left / width))  # stacks of about equal size
            first = len(outcomes)
            done = _attempt(trials[first : first + size], resident, partial(told, first))
            if done is not None:
                outcomes += done
                if finished is not None:
                    for i, result in enumerate(done, start=first):
                        finished(i, result)
                continue
            if size == 1:
                raise MemoryError(
                    f"not even one trial fits into the memory of {_device_name(device)}: try a smaller batch size"
                )
            width = size // 2
            warnings.warn(
                f"{size} trials at once need more memory than {_device_name(device)} has; trying {width} at once",
                stacklevel=2,
            )
    return outcomes


def _check_alike(trials: Sequence[Trial], stack: int | None) -> None:
    first = trials[0]
    for trial in trials:
        if trial.framework != "torch" or trial.task.engine != "torch":
            engine = trial.task.engine if trial.framework == "torch" else trial.framework
            raise ValueError(f"a stack is trained in torch with all data in memory, and this trial by {engine!r}")
        if trial.rule is not None:
            raise ValueError(f"a trial with a rule must be trained by itself, got rule={trial.rule!r}")
        names = "task", "batch_size", "epochs", "optimizer", "numerics"
        for name, one, other in zip(names, alike(first), alike(trial), strict=True):
            if one != other:
                values = f"{getattr(first, name)} and {getattr(trial, name)}"
                raise ValueError(f"trials of a stack must have the same {name}, got {values}")
    if first.numerics.channels_last and stack is not None and stack > 1:
        raise ValueError(f"stack must be 1 with channels_last, since such trials are trained one by one, got {stack}")
    first.numerics.check()


def _attempt(trials: Sequence[Trial], resident: _Resident, report: Told) -> list[Outcome] | None:
    """The outcomes of a stack, or None if memory does not suffice."""
    try:
        return _train_together(trials, resident, report)
    except RuntimeError as error:
        if not _out_of_memory(error):
            raise
    # Only here, as until now the error has held the tensors; and an update and its stack refer to each other.
    gc.collect()
    if resident.device.type == "cuda":
        torch.cuda.empty_cache()
    return None


def _train_together(trials: Sequence[Trial], resident: _Resident, report: Told) -> list[Outcome]:
    stack = Stack(trials, resident)
    progress = [Progress()] * len(trials)
    in_epoch = trials[0].plan.updates_per_epoch
    stack.prepare(0)
    begin = time.perf_counter()
    for epoch in range(trials[0].epochs):
        stack.train_epoch()
        evaluated = stack.evaluate()
        if epoch + 1 < trials[0].epochs:
            stack.draw(epoch + 1)  # while the device works
        seen = stack.read(*evaluated)
        seconds = (time.perf_counter() - begin) / len(trials)
        for i, (trial, kept) in enumerate(zip(trials, progress, strict=True)):
            ahead = advance(trial, _Seen(*(part[i] for part in seen)), kept, (epoch + 1) * in_epoch, partial(report, i))
            if kept.diverged_at is None:
                progress[i] = replace(ahead, seconds=seconds)
        if all(p.diverged_at is not None for p in progress):
            break
        if epoch + 1 < trials[0].epochs:
            stack.prepare(epoch + 1)
    return [outcome(trial, reached) for trial, reached in zip(trials, progress, strict=True)]


class _Once:
    """Reports every record once, even if an epoch is trained a second time because a stack did not fit."""

    def __init__(self, report: Told | None, trials: int) -> None:
        self.report, self.told = report, [0] * trials

    def __call__(self, first: int, i: int, record: Record) -> None:
        if self.report is not None and record.update > self.told[first + i]:
            self.told[first + i] = record.update
            self.report(first + i, record)


class _Seen:
    """A trial's epoch in a stack, replayed to the shared loop."""

    def __init__(self, losses: Any, right: Any, rates: Any, test_loss: Any, test_accuracy: Any) -> None:
        self.losses, self.right, self.rates = losses, right, rates
        self.evaluated = float(test_loss), float(test_accuracy)
        self.done = self.told = 0

    def rate(self) -> float:
        return float(self.rates[self.done])

    def update(self, batch: Batch) -> None:
        self.done += 1

    def read(self) -> tuple[npt.NDArray[np.float64], int]:
        part = slice(self.told, self.done)
        self.told = self.done
        return self.losses[part], int(self.right[part].sum())

    def evaluate(self) -> tuple[float, float]:
        return self.evaluated


class _Resident:
    """A task's data on a device, once for all stacks."""

    def __init__(self, trial: Trial, device: torch.device) -> None:
        self.device = device
        _seed(trial.seed)  # reading data may draw random numbers
        data = trial.task.data()

        def moved(inputs: npt.NDArray[np.float32]) -> torch.Tensor:
            tensor = _tensor(inputs).to(device)
            return images_last(tensor) if trial.numerics.channels_last else tensor

        self.inputs, self.labels = moved(data.train_inputs), _tensor(data.train_labels).to(device)
        self.test_inputs, self.test_labels = moved(data.test_inputs), _tensor(data.test_labels).to(device)


class Stack:
    """Trials at their beginning, their parameters in one matrix (trials, parameters).

    Args:
        trials: alike.
        resident: their data.
    """

    def __init__(self, trials: Sequence[Trial], resident: _Resident) -> None:
        self.trials, self.resident, self.device = trials, resident, resident.device
        self.task, self.numerics, self.batch = trials[0].task, trials[0].numerics, trials[0].batch_size
        width, plan = len(trials), trials[0].plan
        self.in_epoch, self.samples = plan.updates_per_epoch, trials[0].task.train_size
        self._build()
        if width > 1:
            # Dropout masks of a stack are drawn together, from a seed of all its seeds. A trial by itself goes on with the
            # random state in which its model was made, as `engines.torch` does, so that its figures are the same there.
            _seed(int(np.random.SeedSequence([t.seed for t in trials]).generate_state(1, np.uint64)[0] >> 1))
        if self.device.type == "cuda":
            torch.cuda.manual_seed(torch.initial_seed())
        self.optimizer = StackOptimizer([trial.optimizer for trial in trials], self.parameters)
        self.schedules = [trial.schedule.resolve(trial.plan) for trial in trials]

        def empty(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
            return torch.zeros(shape, dtype=dtype, device=self.device)

        # Inputs and outputs of an update.
        self.position = empty(1, dtype=torch.int64)
        self.order, self.rates = empty(width, self.samples, dtype=torch.int64), empty(width, self.in_epoch)
        self.alive = empty(width, dtype=torch.bool).logical_not_()
        self.losses, self.used = empty(width, self.in_epoch), empty(width, self.in_epoch)
        self.right = empty(width, self.in_epoch, dtype=torch.int64)
        self.drawn: tuple[torch.Tensor, torch.Tensor] | None = None
        self.offsets = torch.arange(min(self.batch, self.samples), device=self.device)

        lift = _single if width == 1 else vmap
        # "different": each trial draws masks of its own, as trials by themselves do.
        self._gradients = lift(grad_and_value(self._loss, has_aux=True), randomness="different")
        self._judged = lift(self._evaluated, in_dims=(0, 0, None, None))
        self._capturer = Capturer(self.device)
        self._updates: dict[int, Callable[[], None]] = {}

    def _build(self) -> None:
        """Every trial's model with the weights of its seed, its parameters as a row of a matrix."""
        rows: list[torch.Tensor] = []
        buffers: list[dict[str, torch.Tensor]] = []
        names: dict[str, torch.Size] = {}
        for trial in self.trials:
            _seed(trial.seed)
            model = trial.task.model(trial.seed).train()
            found = {name: p for name, p in model.named_parameters() if p.requires_grad}
            shapes = {name: p.shape for name, p in found.items()}
            names = names or shapes
            if not found:
                raise ValueError(f"the model of task {self.task.name!r} has no parameters to train")
            if shapes != names:
                raise ValueError(
                    f"the model of task {self.task.name!r} depends on the seed: its parameters have other shapes"
                )
            if len({p.dtype for p in found.values()}) > 1:
                types = ", ".join(sorted({str(p.dtype) for p in found.values()}))
                raise ValueError(
                    f"the parameters of the model of task {self.task.name!r} must have one type, got {types}"
                )
            rows.append(torch.cat([p.detach().flatten() for p in found.values()]))
            fixed = {name: p.detach() for name, p in model.named_parameters() if not p.requires_grad}
            buffers.append({**fixed, **dict(model.named_buffers())})
        self.names, self.sizes = names, [shape.numel() for shape in names.values()]
        self.model = model  # its structure: its own numbers are replaced in each call
        self.parameters = torch.stack(rows).to(self.device)
        self.buffers = {name: torch.stack([b[name] for b in buffers]).to(self.device) for name in buffers[0]}

    # --- an update ---------------------------------------------------------------------------------------------------------

    def _outputs(self, row: torch.Tensor, buffers: dict[str, torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
        parts = row.split(self.sizes)
        named = {name: part.view(shape) for (name, shape), part in zip(self.names.items(), parts, strict=True)}
        if self.numerics.channels_last:
            named = {name: _channels_last(tensor) for name, tensor in named.items()}
            inputs = _channels_last(inputs)
        if self.numerics.precision == "float32":
            outputs: torch.Tensor = functional_call(self.model, (named, buffers), (inputs,))
            return outputs
        # Without autocast's cache, which would go on with the weights that an update was captured with.
        with torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False):
            outputs = functional_call(self.model, (named, buffers), (inputs,))
        return outputs.float()

    def _loss(
        self, row: torch.Tensor, buffers: dict[str, torch.Tensor], inputs: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, dict[str, torch.Tensor]]]:
        buffers = {name: buffer.clone() for name, buffer in buffers.items()}  # normalisation writes to its buffers
        outputs = self._outputs(row, buffers, inputs)
        loss = self.task.loss(outputs, targets)
        return loss, (self.task.correct(outputs.detach(), targets), buffers)

    def _evaluated(
        self, row: torch.Tensor, buffers: dict[str, torch.Tensor], inputs: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        outputs = self._outputs(row, buffers, inputs)
        return self.task.loss(outputs, targets), self.task.correct(outputs, targets)

    def _update(self, size: int) -> None:
        """An update of every trial, with `size` examples."""
        at = self.position
        chosen = self.order.index_select(1, at * self.batch + self.offsets[:size])
        inputs, targets = self.resident.inputs[chosen], self.resident.labels[chosen]
        gradients, (loss, (right, buffers)) = self._gradients(self.parameters, self.buffers, inputs, targets)
        rate = self.rates.index_select(1, at)
        self.alive.logical_and_(loss.isfinite())
        after = self.optimizer.step(self.parameters, gradients, rate)
        self._go_on(self.parameters, after)
        for name, buffer in self.buffers.items():
            self._go_on(buffer, buffers[name])
        for kept, value in ((self.losses, loss), (self.right, right), (self.used, rate.squeeze(1))):
            kept.index_copy_(1, at, value.detach().unsqueeze(1).to(kept.dtype))
        at += 1

    def _go_on(self, tensor: torch.Tensor, after: torch.Tensor) -> None:
        """Keep the result of an update, except in trials that have diverged."""
        # A choice by `where` and not by a branch: a captured update is replayed without asking for a value, and trials of a
        # stack end at different updates. NaN of a dead trial is computed and dropped.
        alive = self.alive.view(-1, *[1] * (tensor.ndim - 1))
        tensor.copy_(torch.where(alive, after, tensor))

    def _captured(self, size: int) -> Callable[[], None]:
        if size not in self._updates:
            # All that an update writes. The runs before a capture are undone on these tensors, so that a tensor missing here
            # would begin the training a few updates ahead.
            state = [self.position, self.parameters, self.alive, self.losses, self.right, self.used]
            state += [*self.buffers.values(), *self.optimizer.state]
            with self._explained(), torch.no_grad():
                self._updates[size] = self._capturer.capture(lambda: self._update(size), state)
        return self._updates[size]

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Explain operations of the model that a stack or a graph cannot do."""
        try:
            yield
        except RuntimeError as error:
            if _out_of_memory(error):
                raise
            reason = str(error).split("\n")[0]
            if "captur" in reason:
                raise ValueError(
                    f"the model or loss of task {self.task.name!r} waits for the GPU, or moves data from or to it, in an update "
                    f"({reason}); train it with device='cpu', or remove code that reads values, such as .item()"
                ) from error
            if len(self.trials) > 1:
                raise ValueError(
                    f"the model or loss of task {self.task.name!r} failed in a stack of {len(self.trials)} ({reason}); a "
                    "model or loss that reads values cannot be stacked, and stack=1 trains one trial at a time"
                ) from error
            raise

    # --- an epoch ----------------------------------------------------------------------------------------------------------

    def draw(self, epoch: int) -> None:
        """Make the order and the rates of an epoch, still on the host."""
        seeds = {trial.seed for trial in self.trials}
        orders = {seed: torch.from_numpy(permutation(seed, epoch, self.samples)) for seed in seeds}
        rates = np.stack([s.values(self.in_epoch, start=epoch * self.in_epoch) for s in self.schedules])
        self.drawn = torch.stack([orders[trial.seed] for trial in self.trials]), torch.from_numpy(rates)

    def prepare(self, epoch: int) -> None:
        """Put the order and the rates of an epoch in place, and go to its first update."""
        if self.drawn is None:
            self.draw(epoch)
        assert self.drawn is not None
        self.order.copy_(self.drawn[0])
        self.rates.copy_(self.drawn[1])
        self.drawn = None
        self.position.zero_()

    def train_epoch(self) -> None:
        """Launch every update of the prepared epoch, without waiting for the updates."""
        self.model.train()
        whole, rest = divmod(self.samples, self.batch)
        updates = [self._captured(self.batch)] * whole if whole else []
        if rest:
            updates.append(self._captured(rest))
        with self._explained(), torch.no_grad():
            for update in updates:
                update()

    def evaluate(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The current mean loss of the test examples and the share classified correctly, of each trial, on the device."""
        self.model.eval()
        total = torch.zeros(len(self.trials), dtype=torch.float64, device=self.device)
        right = torch.zeros(len(self.trials), dtype=torch.int64, device=self.device)
        size = max(EVALUATION_BATCH // len(self.trials), self.batch)
        inputs, labels = self.resident.test_inputs, self.resident.test_labels
        with self._explained(), torch.no_grad():
            for x, y in zip(inputs.split(size), labels.split(size), strict=True):
                loss, hits = self._judged(self.parameters, self.buffers, x, y)
                total += loss.double() * len(y)
                right += hits
        return total / len(labels), right.double() / len(labels)

    def read(self, *evaluated: torch.Tensor) -> tuple[npt.NDArray[Any], ...]:
        """Losses, right examples and rates of the epoch's updates, and `evaluated`: here the host waits for the device."""
        return tuple(part.cpu().numpy() for part in (self.losses, self.right, self.used, *evaluated))


def _single(
    function: Callable[..., Any], in_dims: tuple[int | None, ...] = (0, 0, 0, 0), randomness: str = "different"
) -> Callable[..., Any]:
    """vmap for a stack of a single trial: the function itself, which may then use operations that vmap cannot."""

    def call(*arguments: Any) -> Any:
        taken = [a if dim is None else _each(a, lambda t: t[0]) for a, dim in zip(arguments, in_dims, strict=True)]
        return _each(function(*taken), lambda t: t.unsqueeze(0))

    return call


def _channels_last(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.ndim == 4 and tensor.shape[1] == 1:  # both layouts are the same; strides are to name channels-last
        return tensor.squeeze(1).unsqueeze(-1).movedim(-1, 1)
    return images_last(tensor)


def _each(tree: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if isinstance(tree, tuple):
        return tuple(_each(part, change) for part in tree)
    if isinstance(tree, dict):
        return {name: change(tensor) for name, tensor in tree.items()}
    return change(tree)


# --- the device ------------------------------------------------------------------------------------------------------------


@contextmanager
def _computing(numerics: Numerics) -> Iterator[torch.device]:
    """Set up a device for the block; restore the caller's settings afterwards."""
    device = torch.device(numerics.device)
    with ExitStack() as stack:
        stack.enter_context(one_thread_and_own_randomness())
        if device.type == "cuda":
            device = torch.device("cuda", torch.cuda.current_device())
            stack.enter_context(torch.random.fork_rng(devices=[device]))
            # float32 in full, where cuDNN would round factors to 10 bits; and the same kernels every time.
            stack.enter_context(
                torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
            )
            before = torch.get_float32_matmul_precision()
            torch.set_float32_matmul_precision("highest")
            stack.callback(torch.set_float32_matmul_precision, before)
        yield device


def _fitting(trial: Trial, resident: _Resident, device: torch.device, trials: int) -> int:
    """The number of trials that should fit: the free memory over the memory of an update and an evaluation of a single trial."""
    most = min(trials, MOST)
    if device.type != "cuda" or most == 1:
        return most
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    try:
        one = Stack([trial], resident)
        one.prepare(0)
        with torch.no_grad():
            one._update(min(trial.batch_size, one.samples))
        one.evaluate()
        torch.cuda.synchronize(device)
    except torch.cuda.OutOfMemoryError:
        return 1
    # The peak, not the end: activations are gone after the update, and they are most of what a trial takes.
    taken = torch.cuda.max_memory_allocated(device) - before
    del one
    gc.collect()
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(most, int(_SHARE * free / max(taken, 1))))


def _out_of_memory(error: RuntimeError) -> bool:
    # The libraries for convolutions and matrix products have messages of their own for a lack of memory.
    texts = "not enough memory", "can't allocate memory", "STATUS_ALLOC_FAILED"
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(text in str(error) for text in texts)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "this machine"
