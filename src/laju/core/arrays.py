"""The array namespace of t, so that each formula is written once for numbers and the arrays of every framework.

Frameworks are never imported here: an array that is passed in shows that its framework is loaded.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np


class Scalar:
    """The functions of a formula for a Python number."""

    pi = math.pi
    sin = staticmethod(math.sin)
    exp = staticmethod(math.exp)
    expm1 = staticmethod(math.expm1)
    log = staticmethod(math.log)

    @staticmethod
    def log1p(x: float) -> float:
        return math.log1p(x) if x > -1 else -math.inf  # as in arrays

    sqrt = staticmethod(math.sqrt)
    tanh = staticmethod(math.tanh)


class Namespace:
    """The functions of a formula for a framework's arrays, and arithmetic on positions that keeps integers exact.

    A position is subtracted as an integer before the conversion to float, so that t = 2**24 + 1 is right in float32.
    """

    pi = math.pi

    def __init__(self, xp: Any, t: Any, dtype: Any, largest: int | None) -> None:
        self.xp = xp
        self.dtype = dtype
        self.largest = largest  # of the position's integer type; None for positions that are floats
        for name in ("sin", "exp", "expm1", "log", "log1p", "sqrt", "tanh", "where"):
            setattr(self, name, getattr(xp, name))
        self._like = t
        self.host = isinstance(t, np.ndarray | np.generic)

    where: Any
    exp: Any

    @property
    def single(self) -> bool:
        """Whether values are float32, as inside JAX by default."""
        return not self.host and str(self.dtype).endswith("float32")

    def of_floats(self) -> Namespace:
        """The same namespace for positions that are no longer integers."""
        return Namespace(self.xp, self._like, self.dtype, None)

    def grouped(self, t: Any, group: Any, values: Callable[[int, Any], Any]) -> Any:
        """Evaluate values(i, positions of group i) for every group, and return the results in the order of t (NumPy only)."""
        result = np.empty(np.shape(t))
        for i in np.unique(group).tolist():
            here = group == i
            result[here] = values(i, t[here])
        return result

    def real(self, t: Any) -> Any:
        """Positions, or differences of positions, as floats."""
        return t if t.dtype == self.dtype else self.xp.astype(t, self.dtype)

    def scaled(self, fresh: Any, by: float) -> Any:
        """Return by·fresh, in place where possible to save memory; `fresh` must have no further references."""
        if self.host and np.ndim(fresh):
            fresh *= by
            return fresh
        return by * fresh

    def full(self, t: Any, value: float) -> Any:
        return self.xp.full_like(t, value, dtype=self.dtype)

    def reaches(self, n: float) -> bool:
        """Whether a position of this integer type can be as large as n."""
        # NumPy and JAX raise OverflowError for a Python integer that the positions' type cannot hold (int32 is JAX's default).
        # No position gets there either, so callers leave the later branch out instead of comparing.
        return self.largest is None or n <= self.largest

    def whole(self, n: float) -> float:
        """A whole number as a float for float positions: JAX refuses a Python integer beyond 2^31 beside a float array."""
        return float(n) if self.largest is None else n

    def upto(self, t: Any, n: float) -> Any:
        """min(t, n)."""
        if not self.reaches(n):
            return t
        # A fractional bound makes all positions floats, so a whole bound stays an integer.
        if n != int(n):
            return self.where(t < n, self.real(t), n)
        n = self.whole(n)
        return self.where(t < n, t, n)

    def minus(self, t: Any, n: float) -> Any:
        """t - n, exact in integers where n is an integer."""
        if not self.reaches(n):  # n does not fit this integer type
            return self.real(t) - float(n)
        # The whole part is subtracted in integers, without rounding, and the fraction from the difference, which is small.
        floor = math.floor(n)
        less = t - self.whole(floor)
        return less if floor == n else self.real(less) - (n - floor)

    def plus(self, t: Any, n: float) -> tuple[Any, Namespace]:
        """(t + n, its namespace), in floats if the sum is beyond the positions' integer type."""
        if self.reaches(n + self.furthest(t)):
            return t + n, self
        return self.real(t) + float(n), self.of_floats()

    def furthest(self, t: Any) -> Any:
        """The largest position if the array is in host memory, so that reading does not wait for a device; else 0."""
        return np.max(t).item() if self.host and self.largest is not None and np.size(t) else 0

    def left(self, n: float, t: Any) -> Any:
        """n - t as floats."""
        if not self.reaches(n):
            return float(n) - self.real(t)
        floor = math.floor(n)
        more = self.real(self.whole(floor) - t)
        return more if floor == n else more + (n - floor)

    def floor_divide(self, t: Any, every: float) -> Any:
        """⌊t / every⌋."""
        if not self.reaches(every):  # every position is in the first stretch
            return self.xp.zeros_like(t)
        if every == int(every):
            return t // self.whole(every)
        # 3 / 0.1 is rounded to 30, though 0.1 as a float goes 29 times into 3, as numbers are divided.
        return self.real(t) // every if self.host else self.xp.floor(self.real(t) / every)

    def take(self, table: Any, index: Any) -> Any:
        """table[index] with an index array of any integer type."""
        values = self.xp.asarray(table, dtype=self.dtype, **self._device())
        if not self.xp.isdtype(index.dtype, "integral"):
            index = self.xp.astype(index, self.xp.int32 if self.dtype == self.xp.float32 else self.xp.int64)
        shape = index.shape
        if isinstance(self.xp, TensorFlow):  # inside a graph the shape may be unknown
            return self.xp.take(values, index, axis=0)
        return self.xp.reshape(self.xp.take(values, self.xp.reshape(index, (-1,)), axis=0), shape)

    def _device(self) -> dict[str, Any]:
        device = getattr(self._like, "device", None)
        return {"device": device} if self.xp.__name__.endswith("torch") else {}


def counted(start: int, stop: int) -> tuple[Any, Namespace]:
    """The positions from start to stop - 1, which need no check, and their namespace."""
    import array_api_compat.numpy as xp

    t = np.arange(start, stop, dtype=np.int64)
    return t, Namespace(xp, t, np.float64, 2**63 - 1)


def namespace(t: Any) -> tuple[Any, Namespace]:
    """The position array in a signed integer or float type that is wide enough, and its namespace."""
    import array_api_compat as api

    if not api.is_array_api_obj(t):
        tf = sys.modules.get("tensorflow")
        if tf is not None and hasattr(tf, "is_tensor") and tf.is_tensor(t):
            return _tensorflow(t, tf)
        raise TypeError(
            "t must be a whole number of completed updates or an array of them (NumPy, torch, JAX, TensorFlow), "
            f"got {type(t).__name__}"
        )
    xp = api.array_namespace(t)
    if xp.isdtype(t.dtype, "bool") or not xp.isdtype(t.dtype, ("integral", "real floating")):
        raise TypeError(f"t must hold whole numbers of completed updates, got an array of {t.dtype}")
    concrete = True
    dtype: Any = np.float64
    if api.is_torch_array(t):
        import torch

        # MPS has no float64.
        dtype = torch.float32 if t.device.type == "mps" else torch.float64
        concrete = t.device.type == "cpu" and not torch.compiler.is_compiling()
    elif api.is_jax_array(t):
        dtype = xp.result_type(float)
        concrete = False
        t = xp.maximum(t, 0)  # a traced t cannot be checked, so t < 0 gets the first value
    if xp.isdtype(t.dtype, "integral"):
        # Unsigned positions would wrap around where a beginning is subtracted, and positions of 8 or 16 bits cannot be compared
        # with most boundaries.
        if xp.isdtype(t.dtype, "unsigned integer") or xp.iinfo(t.dtype).bits < 32:
            t = xp.astype(t, xp.int32 if dtype == getattr(xp, "float32", None) else xp.int64)
        largest = int(xp.iinfo(t.dtype).max)
    else:
        t, largest = xp.astype(t, dtype), None
        if concrete and bool(xp.any(xp.isnan(t))):
            raise ValueError("t must hold numbers of completed updates, got NaN")
    # Where values can be read without waiting for a device or a trace; elsewhere a negative t is the caller's concern.
    if concrete and 0 not in t.shape and bool(xp.any(t < 0)):
        raise ValueError(
            f"t must be 0 or more, got an array that holds {xp.min(t)}: a schedule has no value before update 0"
        )
    return t, Namespace(xp, t, dtype, largest)


class TensorFlow:
    """The functions of TensorFlow that formulas use, under their names in the array API."""

    __name__ = "tensorflow"

    def __init__(self, tf: Any) -> None:
        self._tf = tf
        for name in ("sin", "exp", "expm1", "log", "log1p", "sqrt", "tanh", "floor"):
            setattr(self, name, getattr(tf.math, name))
        self.zeros_like = tf.zeros_like
        self.float32, self.int32, self.int64 = tf.float32, tf.int32, tf.int64

    def astype(self, x: Any, dtype: Any) -> Any:
        return self._tf.cast(x, dtype)

    def asarray(self, x: Any, dtype: Any) -> Any:
        return self._tf.constant(x, dtype=dtype)

    def full_like(self, x: Any, value: float, dtype: Any) -> Any:
        return self._tf.zeros_like(x, dtype=dtype) + value

    def where(self, condition: Any, a: Any, b: Any) -> Any:
        dtype = a.dtype if self._tf.is_tensor(a) else b.dtype
        return self._tf.where(condition, self._as(a, dtype), self._as(b, dtype))

    def _as(self, x: Any, dtype: Any) -> Any:
        return self._tf.cast(x, dtype) if self._tf.is_tensor(x) else self._tf.constant(x, dtype=dtype)

    def take(self, x: Any, index: Any, axis: int) -> Any:
        return self._tf.gather(x, index, axis=axis)

    def isdtype(self, dtype: Any, kind: str) -> bool:
        return bool(dtype.is_integer if kind == "integral" else dtype.is_floating)


def _tensorflow(t: Any, tf: Any) -> tuple[Any, Namespace]:
    """TensorFlow never converts integers to floats implicitly, so positions are float64 from the start, exact to 2**53."""
    t = tf.convert_to_tensor(t)
    if not (t.dtype.is_integer or t.dtype.is_floating):
        raise TypeError(f"t must hold whole numbers of completed updates, got an array of {t.dtype.name}")
    largest = int(t.dtype.max) if t.dtype.is_integer else None
    t = tf.cast(t, tf.float64)
    # As elsewhere, only values that can be read without waiting are checked.
    if tf.executing_eagerly() and "CPU" in t.device and not bool(tf.reduce_all(t >= 0)):
        raise ValueError(
            f"t must be 0 or more, got an array that holds {float(tf.reduce_min(t))}: a schedule has no value before update 0"
        )
    return t, Namespace(TensorFlow(tf), t, tf.float64, largest)
