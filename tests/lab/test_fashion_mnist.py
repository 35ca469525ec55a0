import gzip
import hashlib
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest

from laju.lab.trials.tasks import DataError, DownloadError, FashionMNIST, fashion_mnist, get_task
from tests.lab.idx_writer import write_idx
from tests.lab.mirror import Mirror

NAMES = tuple(fashion_mnist.FILES)


@pytest.fixture
def small(tmp_path):
    """A folder of 30 training and 10 test images."""
    folder = tmp_path / "small"
    folder.mkdir()
    random = np.random.default_rng(0)
    for part, n in (("train", 30), ("t10k", 10)):
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", random.integers(0, 256, (n, 28, 28), dtype=np.uint8))
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", np.arange(n, dtype=np.uint8) % 10)
    return folder


def test_real_images_come_out_as_their_files_hold_them(shared):
    folder = shared / "data" / "fashion-mnist-mini"
    task = FashionMNIST(folder)
    data = task.data()
    assert data.train_inputs.shape == (3600, 1, 28, 28)
    assert data.test_inputs.shape == (843, 1, 28, 28)
    raw = gzip.decompress((folder / NAMES[0]).read_bytes())
    pixels = np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 1, 28, 28)
    np.testing.assert_array_equal(np.rint(data.train_inputs * 255), pixels)
    assert (data.train_inputs.min(), data.train_inputs.max()) == (0, 1)
    np.testing.assert_array_equal(data.test_labels, list(gzip.decompress((folder / NAMES[3]).read_bytes())[8:]))
    assert task.train_size == 3600
    assert task.batch_size == 64
    assert task.chance_loss == pytest.approx(np.log(10), abs=0.01)


def test_the_same_images_elsewhere_agree_in_fingerprint_and_others_do_not(small, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in NAMES:
        (elsewhere / name.removesuffix(".gz")).write_bytes(gzip.decompress((small / name).read_bytes()))
    assert FashionMNIST(small).fingerprint == FashionMNIST(str(elsewhere)).fingerprint
    write_idx(elsewhere / "t10k-labels-idx1-ubyte", np.zeros(10, np.uint8))
    assert FashionMNIST(small).fingerprint != FashionMNIST(elsewhere).fingerprint


def test_the_batch_is_the_chapters_on_the_full_set_only(small):
    assert FashionMNIST(small).batch_size == 64
    write_idx(small / NAMES[0], np.zeros((20_000, 28, 28), np.uint8))
    write_idx(small / NAMES[1], np.zeros(20_000, np.uint8))
    assert FashionMNIST(small).batch_size == 256


def test_a_task_travels_to_another_folder_without_its_images(small, monkeypatch, tmp_path):
    monkeypatch.chdir(small.parent)
    task = get_task("fashion-mnist", data_dir="small")
    task.data()
    packed = pickle.dumps(task)
    assert len(packed) < 1000
    monkeypatch.chdir("/")
    assert pickle.loads(packed) == task
    assert pickle.loads(packed).fingerprint == task.fingerprint


def test_the_data_are_read_once(small):
    task = FashionMNIST(small)
    data = task.data()
    shutil.rmtree(small)
    assert task.data() is data


def test_a_missing_folder_and_missing_files_are_named_at_once(small, tmp_path):
    with pytest.raises(DataError, match=f"there is no folder {tmp_path / 'nowhere'}"):
        FashionMNIST(tmp_path / "nowhere")
    (small / NAMES[1]).unlink()
    (small / NAMES[2]).unlink()
    with pytest.raises(DataError, match=f"{small} lacks {NAMES[1]}, {NAMES[2]}") as error:
        FashionMNIST(small)
    assert NAMES[0] not in str(error.value)


@pytest.mark.parametrize(
    ("name", "array", "reason"),
    [
        (
            NAMES[0],
            np.zeros((30, 28, 27), np.uint8),
            r"expected images of 28x28 bytes .* uint8 of shape \(30, 28, 27\)",
        ),
        (NAMES[2], np.zeros((10, 28, 28), np.float32), "expected images of 28x28 bytes .* float32"),
        (NAMES[0], np.zeros(30, np.uint8), r"expected images .* of shape \(30,\)"),
        (NAMES[0], np.zeros((0, 28, 28), np.uint8), "expected at least one image, found none"),
        (NAMES[1], np.zeros((30, 1), np.uint8), r"expected one byte a label .* of shape \(30, 1\)"),
        (NAMES[1], np.zeros(31, np.uint8), f"expected 30 labels, one for each image of {NAMES[0]}, found 31"),
        (NAMES[3], np.array([0, 1, 10] + [0] * 7, np.uint8), "expected labels from 0 to 9, found 10 at position 2"),
    ],
)
def test_files_that_do_not_fit_are_named_with_what_was_expected(small, name, array, reason):
    write_idx(small / name, array)
    with pytest.raises(DataError, match=reason) as error:
        FashionMNIST(small).data()
    assert str(error.value).startswith(f"{small / name}: ")


def test_without_a_folder_the_files_are_downloaded_once_and_then_found(small, tmp_path, monkeypatch):
    monkeypatch.setenv("LAJU_CACHE", str(tmp_path / "cache"))
    contents = {name: (small / name).read_bytes() for name in NAMES}
    sums = {name: f"sha256:{hashlib.sha256(content).hexdigest()}" for name, content in contents.items()}
    monkeypatch.setattr(fashion_mnist, "FILES", sums)
    with Mirror(contents) as mirror:
        monkeypatch.setattr(fashion_mnist, "MIRRORS", (mirror.url + "none/", mirror.url))
        assert FashionMNIST().fingerprint == FashionMNIST(small).fingerprint
        assert len(mirror.requests) == 8
    # The mirror is gone now.
    assert FashionMNIST().train_size == 30
    assert sorted(p.name for p in (tmp_path / "cache/fashion-mnist").glob("*.gz")) == sorted(NAMES)


def test_without_a_network_the_error_says_how_to_give_the_files(tmp_path, monkeypatch):
    monkeypatch.setenv("LAJU_CACHE", str(tmp_path))
    monkeypatch.setattr(fashion_mnist, "MIRRORS", ("http://127.0.0.1:9/a/", "http://127.0.0.1:9/b/"))
    with pytest.raises(DownloadError) as error:
        FashionMNIST().data()
    message = str(error.value)
    expected = ["network", "127.0.0.1:9/a/", "127.0.0.1:9/b/", "refused", "--data-dir FOLDER", *NAMES, "LAJU_CACHE"]
    assert [part for part in (*expected, str(tmp_path / "fashion-mnist")) if part not in message] == []


def test_the_cache_folder_is_the_users_unless_the_environment_names_one(source_environment, tmp_path):
    code = "from laju.lab.trials.tasks.download import cache_folder; print(cache_folder())"

    def folder(**environment):
        environment = source_environment | environment
        return subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        ).stdout.strip()

    import platformdirs

    assert folder(LAJU_CACHE=str(tmp_path)) == str(tmp_path)
    assert folder(LAJU_CACHE="") == str(platformdirs.user_cache_path("laju"))
