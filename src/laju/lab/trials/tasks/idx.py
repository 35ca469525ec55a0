"""The IDX file format, in which MNIST and its successors are published.

Two zero bytes, a byte for the type, a byte for the number of axes, their lengths as big-endian 32-bit integers, then the
values in C order, big-endian. The format is described at the end of http://yann.lecun.com/exdb/mnist/.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from laju.lab.trials.tasks.base import DataError

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """The array in an IDX file, compressed with gzip or not, in the shape and type that its header states.

    Compression is detected from the content, not from the name. Raises `DataError` if the file is not such a file, is damaged,
    ends too early or goes on too long, and `OSError` if it cannot be read at all.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "three-labels-idx1-ubyte")
    ...     _ = file.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    ...     read_idx(file)
    array([7, 2, 1], dtype=uint8)
    """
    raw = Path(path).read_bytes()
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(f"{path}: damaged gzip file: {error}") from error
    if len(raw) < 4:
        raise DataError(f"{path}: truncated: an IDX file begins with 4 bytes of magic number, found {len(raw)}")
    if raw[:2] != b"\0\0" or raw[2] not in TYPES:
        types = ", ".join(f"{code:02x}" for code in TYPES)
        expected = f"00 00, a type (one of {types}) and the number of axes"
        raise DataError(f"{path}: not an IDX file: expected the magic number {expected}, found {raw[:4].hex(' ')}")
    axes = raw[3]
    start = 4 + 4 * axes
    if len(raw) < start:
        raise DataError(f"{path}: truncated: expected a header of {start} bytes ({axes} axes), found {len(raw)} bytes")
    shape = struct.unpack_from(f">{axes}I", raw, 4)
    dtype = np.dtype(TYPES[raw[2]])
    expected_size, found_size = math.prod(shape) * dtype.itemsize, len(raw) - start
    if found_size != expected_size:
        what = "truncated" if found_size < expected_size else "trailing bytes"
        values = f"{'x'.join(map(str, shape))} {dtype.newbyteorder('=')}"
        raise DataError(f"{path}: {what}: expected {expected_size:,} bytes of values ({values}), found {found_size:,}")
    return np.frombuffer(raw, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))
