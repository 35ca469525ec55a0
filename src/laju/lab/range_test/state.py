"""Restore all state, bit by bit: models, optimizers, schedulers, the order of data, random numbers.

A `state_dict` is not enough: loading the `state_dict` of an optimizer casts moments to the dtype of their weights and makes new
tensors and groups, and the `state_dict` of a module lacks gradients, modes and non-persistent buffers. Objects are therefore
searched for tensors, containers and random generators, which are written in place.
"""

from __future__ import annotations

import copy
import functools
import gc
import random
import sys
import types
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, Dataset, Sampler

_OWNED = (torch.nn.Module, torch.optim.Optimizer, LRScheduler, DataLoader, Sampler, Dataset)
# Containers are owned or foreign as their holder is; calls lead anywhere, so their content is foreign.
_CONTAINERS = (dict, list, set, deque, tuple, frozenset)
_CALLED = (types.FunctionType, types.MethodType, functools.partial)
_LONG = 10_000  # a container of more, such as a data set's list of files, is kept but not searched
_FOREIGN = {*sys.stdlib_module_names, "torch", "numpy"} - {"__main__"}  # their objects hold nothing of the user's

Restore = Callable[[], object]


class Snapshot:
    """A snapshot of all state that can change in a training run; every call of `restore` restores the snapshot.

    Objects keep their identity: a tensor's old content is written into the tensor, a dictionary gets its old entries. Attributes
    are restored for torch's objects (modules, optimizers, schedulers, loaders, samplers, data sets), for laju's, and for the
    arguments; in other objects, which may be anything, only the random generators are restored.

    Args:
        changing: objects with tensors that change.
        data: objects whose tensors do not change, so that no copy of a data set is made.
    """

    def __init__(self, *changing: Any, data: tuple[Any, ...] = ()) -> None:
        self._generators: list[Any] = []
        self._restores = _global_random_state()
        self._seen: dict[tuple[int, bool], Any] = {}  # the object too, or a new object could get its id
        for roots, tensors in ((changing, True), (data, False)):
            waiting = [(root, True) for root in roots]
            arguments = {id(root) for root in roots}
            while waiting:
                value, owned = waiting.pop()
                if not isinstance(value, (*_CONTAINERS, torch.Tensor, np.ndarray)):
                    owned = isinstance(value, _OWNED) or _home(type(value)) == "laju" or id(value) in arguments
                if (id(value), True) in self._seen or (id(value), owned) in self._seen:
                    continue
                self._seen[id(value), owned] = value
                self._keep(value, owned, tensors)
                owned = owned and not isinstance(value, _CALLED)
                waiting += ((part, owned) for part in _parts(value, owned))

    def restore(self) -> None:
        """Restore all state."""
        with torch.inference_mode(False), torch.no_grad():
            for restore in self._restores:
                restore()

    def seed(self, seed: int) -> None:
        """Seed every random generator, the global generators and all generators that were found."""
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_initialized():  # a seed would wait for a device that is not there yet
            torch.cuda.manual_seed_all(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - a user's code may draw from this generator
        for generator in self._generators:
            if isinstance(generator, torch.Generator):
                generator.manual_seed(seed)
            elif isinstance(generator, np.random.Generator):
                generator.bit_generator.state = type(generator.bit_generator)(seed).state
            else:
                generator.seed(seed if isinstance(generator, random.Random) else seed % 2**32)

    def _keep(self, value: Any, owned: bool, tensors: bool) -> None:
        """Record how to restore an object, without the objects inside."""
        if (restore := _generator(value)) is not None:
            self._generators.append(value)
            self._restores.append(restore)
        elif not owned:
            return
        elif isinstance(value, torch.Tensor | np.ndarray):
            if tensors:
                self._restores.append(_tensor(value) if isinstance(value, torch.Tensor) else _array(value))
        elif isinstance(value, dict | list | set | deque):
            self._restores.append(_content(value))
        else:
            slots = object.__getstate__(value)  # the attributes, or a pair of the attributes and the slots
            for name, content in slots[1].items() if isinstance(slots, tuple) else ():
                self._restores.append(functools.partial(object.__setattr__, value, name, content))
            if (
                isinstance(value, torch.nn.Module)
                and type(value).get_extra_state is not torch.nn.Module.get_extra_state
            ):
                extra = copy.deepcopy(value.get_extra_state())
                self._restores.append(lambda: value.set_extra_state(copy.deepcopy(extra)))


def _parts(value: Any, owned: bool) -> list[Any]:
    """The objects to which an object refers, if these may be the user's."""
    if isinstance(value, torch.Tensor):
        return [value.grad] if value.is_leaf else []
    if isinstance(value, np.ndarray | type):
        return []
    if isinstance(value, types.FunctionType):
        inside = [value.__defaults__, value.__kwdefaults__, *gc.get_referents(*(value.__closure__ or ()))]
        names = {} if _home(value) in _FOREIGN else value.__globals__
        return inside + [names[name] for name in value.__code__.co_names if name in names]
    if isinstance(value, _CONTAINERS):
        return gc.get_referents(value) if len(value) <= _LONG else []
    if owned or isinstance(value, _CALLED) or _home(type(value)) not in _FOREIGN:
        # Python may keep attributes without a dictionary until somebody asks for `__dict__`.
        return [getattr(value, "__dict__", None), *gc.get_referents(value)]
    return []


def _home(of: Any) -> str:
    """The package that a class or function comes from."""
    return (of.__module__ or "").partition(".")[0]


def _tensor(tensor: torch.Tensor) -> Restore:
    content = place = tensor.detach()
    if (
        content.layout == torch.strided
    ):  # an expanded tensor cannot be written as a whole, only each of its numbers once
        place = content[tuple(slice(1) if stride == 0 else slice(None) for stride in content.stride())]
    saved, needed = place.clone(), tensor.requires_grad
    grad = tensor.grad if tensor.is_leaf else None

    def restore() -> None:
        # The training may have given the tensor new memory, by `tensor.data = …`.
        if content.layout == torch.strided and tensor.data_ptr() != content.data_ptr():
            tensor.data = content
        place.copy_(saved)
        if tensor.is_leaf:
            tensor.grad = grad
            if tensor.requires_grad != needed:
                tensor.requires_grad_(needed)

    return restore


def _array(array: np.ndarray) -> Restore:
    saved = array.copy()

    def restore() -> None:
        if array.flags.writeable:
            np.copyto(array, saved, casting="unsafe")

    return restore


def _content(value: Any) -> Restore:
    saved: Any = dict(value) if isinstance(value, dict) else list(value)

    def restore() -> None:
        # In the same places where possible: a thread of the user's may be reading.
        if isinstance(value, list):
            value[:] = saved
        elif isinstance(value, dict):
            if value.keys() != saved.keys():
                value.clear()
            value.update(saved)
        else:
            value.clear()
            (value.update if isinstance(value, set) else value.extend)(saved)

    return restore


def _generator(value: Any) -> Restore | None:
    """A function that restores a random generator; None for any further object."""
    match value:
        case torch.Generator():
            return functools.partial(value.set_state, value.get_state())
        case np.random.Generator():
            numbers = value.bit_generator
            return functools.partial(setattr, numbers, "state", copy.deepcopy(numbers.state))
        case np.random.RandomState():
            return functools.partial(value.set_state, value.get_state(legacy=False))
        case random.Random() if not isinstance(value, random.SystemRandom):
            return functools.partial(value.setstate, value.getstate())
    return None


def _global_random_state() -> list[Restore]:
    restores: list[Restore] = [
        functools.partial(torch.set_rng_state, torch.get_rng_state()),
        functools.partial(np.random.set_state, np.random.get_state(legacy=False)),  # noqa: NPY002
        functools.partial(random.setstate, random.getstate()),
    ]
    if torch.cuda.is_initialized():
        restores.append(functools.partial(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()))
    if torch.backends.mps.is_available():
        restores.append(functools.partial(torch.mps.set_rng_state, torch.mps.get_rng_state()))
    return restores
