import gzip

import numpy as np
import pytest

from laju.lab.trials.tasks import DataError
from laju.lab.trials.tasks.idx import read_idx
from tests.lab.idx_writer import CODES, idx_bytes, write_idx


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("code", CODES)
def test_an_array_of_every_type_is_read_as_it_was_written(tmp_path, code, suffix):
    array = np.arange(24).reshape(2, 3, 4).astype(code)
    found = read_idx(write_idx(tmp_path / f"array{suffix}", array))
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype
    assert found.dtype.isnative


def test_compression_is_told_from_the_content_and_not_from_the_name(tmp_path):
    content = idx_bytes(np.arange(3, dtype=np.uint8))
    (tmp_path / "plain.gz").write_bytes(content)
    (tmp_path / "packed").write_bytes(gzip.compress(content))
    assert read_idx(tmp_path / "plain.gz").tolist() == read_idx(str(tmp_path / "packed")).tolist() == [0, 1, 2]


def test_an_array_may_hold_nothing(tmp_path):
    assert read_idx(write_idx(tmp_path / "none", np.zeros((0, 28, 28), np.uint8))).shape == (0, 28, 28)


IMAGES = idx_bytes(np.zeros((5, 28, 28), np.uint8))
PACKED = gzip.compress(IMAGES, mtime=0)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "truncated: an IDX file begins with 4 bytes of magic number, found 0"),
        (b"\0\0\x08", "truncated: .* found 3"),
        (b"<!DOCTYPE html>", "not an IDX file: expected the magic number 00 00, .* found 3c 21 44 4f"),
        (b"\0\0\x0a" + IMAGES[3:], "not an IDX file: .* found 00 00 0a 03"),
        (IMAGES[:9], r"truncated: expected a header of 16 bytes \(3 axes\), found 9"),
        (IMAGES[:-1], r"truncated: expected 3,920 bytes of values \(5x28x28 uint8\), found 3,919"),
        (IMAGES + b"!", "trailing bytes: expected 3,920 bytes of values .*, found 3,921"),
        (PACKED[:-30], "damaged gzip file"),
        (PACKED[:12] + b"\xff\xff\xff" + PACKED[15:], "damaged gzip file"),
        (PACKED[:-6] + b"\1\2" + PACKED[-4:], "damaged gzip file: CRC"),
        (PACKED + b"more", "damaged gzip file"),
        (gzip.compress(IMAGES[:-1], mtime=0), "truncated: expected 3,920 .* found 3,919"),
        # A header that promises more than any memory holds.
        (b"\0\0\x08\x03" + b"\xff" * 12 + b"few", "truncated: expected 79,2.* found 3"),
    ],
)
def test_an_error_names_the_file_and_what_is_wrong_with_it(tmp_path, content, reason):
    file = tmp_path / "bad-idx3-ubyte"
    file.write_bytes(content)
    with pytest.raises(DataError, match=reason) as error:
        read_idx(file)
    assert str(error.value).startswith(f"{file}: ")
