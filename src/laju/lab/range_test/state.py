"""Restore everything, bit by bit: models, optimizers, schedulers, the order of data, random numbers.

State is found by going through the objects themselves, so that a framework's `state_dict` may leave out any part:
state that did not exist before, buffers that are not persistent, gradients, hooks with a memory.
"""

from __future__ import annotations

import copy
import functools
import random
import signal
import sys
import threading
import types
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, Dataset, Sampler

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type, types.ModuleType, torch.dtype, torch.device)
_OWNED = (torch.nn.Module, torch.optim.Optimizer, LRScheduler, DataLoader, Sampler, Dataset)
# Containers are owned or foreign as their holder is; calls lead anywhere, so their content is foreign.
_INHERITING = (dict, list, set, deque, tuple, frozenset, torch.Tensor, np.ndarray)
_CALLED = (types.FunctionType, types.MethodType, functools.partial)
_LONG = 10_000  # a container of more, such as a data set's list of files, is kept but not searched
_FOREIGN = {*sys.stdlib_module_names, "torch", "numpy"} - {"__main__"}  # their objects hold nothing of the user's

Restore = Callable[[], None]


class Snapshot:
    """A snapshot of all that can change in a training; `restore` brings the snapshot back, as often as called.

    Objects keep their identity: a tensor's old content is written into the tensor, a dictionary gets its old entries. Attributes
    are restored for torch's objects (modules, optimizers, schedulers, loaders, samplers, data sets), for laju's, and for the
    arguments; in other objects, which may be anything, only the random generators are restored.

    Args:
        changing: objects with tensors that change.
        data: objects whose tensors do not, so that no copy of a data set is made.

    Attributes:
        generators: the random generators that were found.
    """

    def __init__(self, *changing: Any, data: tuple[Any, ...] = ()) -> None:
        self.generators: list[Any] = []
        self._seen: dict[int, tuple[Any, bool]] = {}  # the object too, or a new object could get its id
        self._restores: list[Restore] = [_global_random_state()]
        self._visit([*changing], tensors=True)
        self._visit([*data], tensors=False)

    def restore(self) -> None:
        """Bring everything back."""
        with torch.inference_mode(False), torch.no_grad():
            for restore in self._restores:
                restore()

    def seed(self, seed: int) -> None:
        """Start every random generator, the global generators and all that were found, from a seed."""
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_initialized():  # a seed would wait for a device that is not there yet
            torch.cuda.manual_seed_all(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - a user's code may draw from this generator
        for generator in self.generators:
            if isinstance(generator, torch.Generator):
                generator.manual_seed(seed)
            elif isinstance(generator, np.random.Generator):
                generator.bit_generator.state = type(generator.bit_generator)(seed).state
            else:
                generator.seed(seed if isinstance(generator, random.Random) else seed % 2**32)

    def _visit(self, roots: list[Any], *, tensors: bool) -> None:
        waiting = [(root, True) for root in roots]
        given = {id(root) for root in roots}
        while waiting:
            value, owned = waiting.pop()
            if isinstance(value, _PLAIN):
                continue
            if not isinstance(value, _INHERITING):
                owned = isinstance(value, _OWNED) or _home(type(value)) == "laju" or id(value) in given
            known = self._seen.get(id(value))
            # An object first met as foreign and now as owned is visited again, so that its attributes are noted.
            if known is not None and (known[1] or not owned):
                continue
            self._seen[id(value)] = value, owned
            parts = self._keep(value, owned, tensors and owned)
            owned = owned and not isinstance(value, _CALLED)
            waiting += ((part, owned) for part in parts)

    def _keep(self, value: Any, owned: bool, tensors: bool) -> list[Any]:
        """Note how to restore an object; returns the object's content."""
        if isinstance(value, torch.Tensor):
            return self._tensor(value) if tensors else []
        if isinstance(value, np.ndarray):
            if tensors and value.flags.writeable:
                array = value.copy()
                self._restores.append(lambda: np.copyto(value, array, casting="unsafe"))
            return []
        if (restore := _generator(value)) is not None:
            self.generators.append(value)
            self._restores.append(restore)
            return []
        if isinstance(value, dict):
            if owned:
                self._restores.append(_entries(value))
            return list(value.values()) if len(value) <= _LONG else []
        if isinstance(value, list | deque | set | tuple | frozenset):
            if owned and not isinstance(value, tuple | frozenset):
                self._restores.append(_elements(value))
            return list(value) if len(value) <= _LONG else []
        if isinstance(value, functools.partial):
            return [value.func, value.args, value.keywords]
        if isinstance(value, types.MethodType):
            return [value.__self__, value.__func__]
        if isinstance(value, types.FunctionType):
            return _variables(value)
        return self._object(value, owned) if owned or _home(type(value)) not in _FOREIGN else []

    def _tensor(self, tensor: torch.Tensor) -> list[Any]:
        content = tensor.detach()
        place = _written_once(content)
        saved, needed = place.clone(), tensor.requires_grad
        grad = tensor.grad if tensor.is_leaf else None

        def restore() -> None:
            # The training may have given the tensor new memory, by `tensor.data = …`.
            if content.layout == torch.strided and tensor.data_ptr() != content.data_ptr():
                tensor.data = content
            place.copy_(saved)
            if tensor.is_leaf:
                if tensor.grad is not grad:
                    tensor.grad = grad
                if tensor.requires_grad != needed:
                    tensor.requires_grad_(needed)

        self._restores.append(restore)
        return [grad]

    def _object(self, value: Any, owned: bool) -> list[Any]:
        inside: list[Any] = []
        for name in {name for kind in type(value).__mro__ for name in _slots(kind)}:
            if hasattr(value, name):
                content = getattr(value, name)
                inside.append(content)
                if owned:
                    self._restores.append(functools.partial(object.__setattr__, value, name, content))
        attributes = getattr(value, "__dict__", None)
        if isinstance(attributes, dict):
            if owned:
                self._restores.append(_entries(attributes))
            # A loader's running workers are left alone.
            inside += [v for k, v in attributes.items() if not (k == "_iterator" and isinstance(value, DataLoader))]
        if isinstance(value, torch.nn.Module) and type(value).get_extra_state is not torch.nn.Module.get_extra_state:
            extra = copy.deepcopy(value.get_extra_state())
            self._restores.append(lambda: value.set_extra_state(copy.deepcopy(extra)))
        return inside


def _home(of: Any) -> str:
    """The package that a class or function comes from."""
    return (of.__module__ or "").partition(".")[0]


def _variables(function: types.FunctionType) -> list[Any]:
    """The references of a function: values of enclosing variables, its defaults, and its global names."""
    inside: list[Any] = [function.__defaults__, function.__kwdefaults__]
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # a variable without a value yet
            inside.append(cell.cell_contents)
    if _home(function) not in _FOREIGN:
        names = function.__globals__
        inside += [names[name] for name in function.__code__.co_names if name in names]
    return inside


def _slots(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    return tuple(s for s in ((slots,) if isinstance(slots, str) else slots) if s not in ("__dict__", "__weakref__"))


def _entries(value: dict[Any, Any]) -> Restore:
    entries = list(value.items())

    def restore() -> None:
        now = list(value.items())
        if len(now) != len(entries) or any(
            a is not c or b is not d for (a, b), (c, d) in zip(now, entries, strict=True)
        ):
            value.clear()
            value.update(entries)

    return restore


def _elements(value: Any) -> Restore:
    elements = list(value)
    fill = value.update if isinstance(value, set) else value.extend

    def restore() -> None:
        now = list(value)
        if len(now) != len(elements) or any(a is not b for a, b in zip(now, elements, strict=True)):
            value.clear()
            fill(elements)

    return restore


def _written_once(tensor: torch.Tensor) -> torch.Tensor:
    """The part of a tensor that holds each of its numbers once: an expanded tensor cannot be written as a whole."""
    if tensor.layout == torch.strided:
        for axis, (size, stride) in enumerate(zip(tensor.shape, tensor.stride(), strict=True)):
            if size > 1 and stride == 0:
                tensor = tensor.narrow(axis, 0, 1)
    return tensor


def _generator(value: Any) -> Restore | None:
    """How to bring a random generator back; None of anything else."""
    if isinstance(value, torch.Generator):
        state = value.get_state()

        def restore() -> None:
            value.set_state(state)

        return restore
    if isinstance(value, np.random.Generator):
        numbers = value.bit_generator
        return functools.partial(setattr, numbers, "state", copy.deepcopy(numbers.state))
    if isinstance(value, np.random.RandomState):
        return functools.partial(value.set_state, value.get_state(legacy=False))
    if isinstance(value, random.Random) and not isinstance(value, random.SystemRandom):
        return functools.partial(value.setstate, value.getstate())
    return None


def _global_random_state() -> Restore:
    restores = [
        functools.partial(torch.set_rng_state, torch.get_rng_state()),
        functools.partial(np.random.set_state, np.random.get_state(legacy=False)),  # noqa: NPY002
        functools.partial(random.setstate, random.getstate()),
    ]
    if torch.cuda.is_initialized():
        restores.append(functools.partial(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()))
    if torch.backends.mps.is_available():
        restores.append(functools.partial(torch.mps.set_rng_state, torch.mps.get_rng_state()))

    def restore() -> None:
        for part in restores:
            part()

    return restore


class OneInterrupt:
    """In the block, the first Ctrl-C goes through at once, but not while `held`; any later Ctrl-C waits for the end."""

    def __init__(self) -> None:
        self._holding = self._gone = False
        self._waiting: list[tuple[int, FrameType | None]] = []
        self._before: Any = None

    def __enter__(self) -> OneInterrupt:
        # Only the main thread may change a handler, and None is a handler that Python knows nothing of.
        if threading.current_thread() is threading.main_thread() and callable(signal.getsignal(signal.SIGINT)):
            self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            if self._waiting and not self._gone:
                self._before(*self._waiting[0])

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._holding or self._gone:
            self._waiting.append((number, frame))
        else:
            self._gone = True
            self._before(number, frame)

    @contextmanager
    def held(self) -> Iterator[None]:
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self._waiting and not self._gone:
            self._gone = True
            self._before(*self._waiting[0])
