import hashlib
import pickle
import random
import signal
import socket
import subprocess
import sys
import time

import pytest

from laju.lab.trials.tasks import DataError, DownloadError
from laju.lab.trials.tasks.download import fetch
from tests.lab.mirror import Mirror

CONTENT = random.Random(0).randbytes(600_000)
OTHER = random.Random(1).randbytes(600_000)
SUM = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def serving(content=CONTENT, **behaviour):
    return Mirror({"file": content}, **behaviour)


def fetch_from(*mirrors, folder, **options):
    return fetch("file", [mirror.url + "file" for mirror in mirrors], SUM, folder, **options)


def left_in(folder):
    """What a user sees in the folder, without the lock."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_a_file_is_downloaded_once_and_stands_alone_in_its_folder(tmp_path):
    folder = tmp_path / "new" / "folder"
    with serving() as mirror:
        path = fetch_from(mirror, folder=folder)
        assert path == folder / "file"
        assert path.read_bytes() == CONTENT
        assert fetch_from(mirror, folder=str(folder)) == path
        assert mirror.requests == [None]
    assert left_in(folder) == ["file"]


def test_md5_serves_as_well(tmp_path):
    with serving() as mirror:
        fetch("file", [mirror.url + "file"], f"md5:{hashlib.md5(CONTENT).hexdigest()}", tmp_path)
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("checksum", ["", "sha256:", "crc32:12345678", "0" * 64])
def test_a_checksum_of_another_kind_is_refused(tmp_path, checksum):
    with pytest.raises(ValueError, match="checksum must be"):
        fetch("file", [], checksum, tmp_path)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_dropped_connection_goes_on_where_it_broke(tmp_path, chunked):
    with serving(drops=[100_000, 250_000], chunked=chunked) as mirror:
        assert fetch_from(mirror, folder=tmp_path).read_bytes() == CONTENT
        assert mirror.requests == [None, "bytes=100000-", "bytes=350000-"]
    assert left_in(tmp_path) == ["file"]


def test_a_server_that_ignores_ranges_is_read_from_the_start(tmp_path):
    with serving(drops=[100_000], ranges=False) as mirror:
        assert fetch_from(mirror, folder=tmp_path).read_bytes() == CONTENT
        assert mirror.requests == [None, "bytes=100000-"]


def test_a_server_that_never_gets_further_is_given_up(tmp_path):
    with serving(drops=[100_000] * 100, ranges=False) as mirror, serving() as second:
        assert fetch_from(mirror, second, folder=tmp_path).read_bytes() == CONTENT
        assert len(mirror.requests) == 2
        assert second.requests == ["bytes=100000-"]


def test_a_server_that_answers_another_range_is_not_believed(tmp_path):
    with serving(drops=[100_000], wrong_range=True) as mirror, serving() as second:
        assert fetch_from(mirror, second, folder=tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [404, 500, 503])
def test_the_next_mirror_is_tried_when_one_answers_an_error(tmp_path, status):
    with serving(status=status) as broken, serving() as working:
        assert fetch_from(broken, working, folder=tmp_path).read_bytes() == CONTENT


def test_a_mirror_with_other_content_is_passed_over(tmp_path):
    with serving(OTHER) as wrong, serving() as right:
        assert fetch_from(wrong, right, folder=tmp_path).read_bytes() == CONTENT
        assert right.requests == [None]


def test_a_beginning_from_a_wrong_mirror_does_not_spoil_the_right_one(tmp_path):
    with serving(OTHER, drops=[200_000, 0]) as wrong, serving() as right:
        assert fetch_from(wrong, right, folder=tmp_path).read_bytes() == CONTENT
        assert right.requests == ["bytes=200000-", None]


def test_a_wrong_mirror_that_also_drops_connections_is_given_up(tmp_path):
    with serving(OTHER, drops=[300_000] * 100) as wrong, pytest.raises(DownloadError, match="wrong sha256"):
        fetch_from(wrong, folder=tmp_path)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("beginning", [CONTENT, CONTENT + b"more", OTHER, CONTENT[:1000], b"", OTHER[:1000]])
def test_whatever_an_earlier_attempt_left_the_file_becomes_right(tmp_path, beginning):
    (tmp_path / "file.part").write_bytes(beginning)
    with serving() as mirror:
        assert fetch_from(mirror, folder=tmp_path).read_bytes() == CONTENT
    assert left_in(tmp_path) == ["file"]


def test_a_damaged_file_is_replaced_and_reported_when_that_fails(tmp_path):
    (tmp_path / "file").write_bytes(OTHER)
    with serving(status=500) as broken, pytest.raises(DownloadError, match=r"The file at .*file is damaged: expected"):
        fetch_from(broken, folder=tmp_path)
    with serving() as mirror:
        assert fetch_from(mirror, folder=tmp_path).read_bytes() == CONTENT


def test_when_all_mirrors_fail_the_error_lists_each_with_its_reason_and_ends_with_the_hint(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent, serving(OTHER) as wrong, serving(status=404) as missing:
        nobody = "http://127.0.0.1:9/file"
        mute = f"http://127.0.0.1:{silent.getsockname()[1]}/file"
        urls = [missing.url + "file", wrong.url + "file", nobody, mute]
        with pytest.raises(DownloadError) as error:
            fetch("file", urls, SUM, tmp_path, timeout=0.2, hint="Do this instead.")
    first, *reasons, hint = str(error.value).splitlines()
    assert first == "cannot download file (is there a network connection?); tried"
    expected = ["HTTP 404 Not Found", f"wrong sha256: expected {SUM[7:]}", "Connection refused", "timed out"]
    for line, url, reason in zip(reasons, urls, expected, strict=True):
        assert line.startswith(f"  {url}: ")
        assert reason in line
    assert hint == "Do this instead."
    assert left_in(tmp_path) == []


def test_what_arrived_before_all_mirrors_failed_is_kept_for_the_next_attempt(tmp_path):
    with serving(drops=[100_000, 0]) as mirror, pytest.raises(DownloadError, match="100,000 bytes have arrived"):
        fetch_from(mirror, folder=tmp_path)
    assert left_in(tmp_path) == ["file.part"]
    with serving() as mirror:
        fetch_from(mirror, folder=tmp_path)
        assert mirror.requests == ["bytes=100000-"]


def test_a_download_error_is_a_data_error_and_survives_a_process_boundary(tmp_path):
    with pytest.raises(DataError) as error:
        fetch("file", ["http://127.0.0.1:9/file"], SUM, tmp_path)
    copy = pickle.loads(pickle.dumps(error.value))
    assert (type(copy), str(copy)) == (DownloadError, str(error.value))
    pickling_support = pytest.importorskip("tblib.pickling_support")  # what clusters send errors by
    pickling_support.install(error.value)
    copy = pickle.loads(pickle.dumps(error.value))
    assert (type(copy), str(copy)) == (DownloadError, str(error.value))


def started(mirror, folder, environment):
    code = "import sys; from laju.lab.trials.tasks.download import fetch; fetch('file', *sys.argv[1:])"
    code = code.replace("*sys.argv[1:]", "[sys.argv[1]], sys.argv[2], sys.argv[3]")
    return subprocess.Popen([sys.executable, "-c", code, mirror.url + "file", SUM, str(folder)], env=environment)


def wait_until(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "waited 120 s in vain"
        time.sleep(0.01)


def test_a_killed_download_leaves_no_file_and_is_resumed(tmp_path, source_environment):
    part = tmp_path / "file.part"
    with serving(hold=300_000) as mirror:
        process = started(mirror, tmp_path, source_environment)
        wait_until(lambda: part.exists() and part.stat().st_size >= 290_000)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        arrived = part.stat().st_size
        assert not (tmp_path / "file").exists()
    with serving() as mirror:
        assert fetch_from(mirror, folder=tmp_path).read_bytes() == CONTENT
        assert mirror.requests == [f"bytes={arrived}-"]


def test_processes_that_download_at_once_all_get_the_file_from_one_transfer(tmp_path, source_environment):
    with serving(hold=300_000) as mirror:
        processes = [started(mirror, tmp_path, source_environment) for _ in range(3)]
        wait_until(lambda: mirror.requests)
        time.sleep(0.5)
        mirror.released.set()
        assert [process.wait(60) for process in processes] == [0, 0, 0]
        assert mirror.requests == [None]
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert left_in(tmp_path) == ["file"]


def test_a_waiting_process_takes_over_when_the_first_is_killed(tmp_path, source_environment):
    with serving(hold=300_000) as mirror:
        first = started(mirror, tmp_path, source_environment)
        wait_until(lambda: mirror.requests)
        second = started(mirror, tmp_path, source_environment)
        time.sleep(0.5)
        first.kill()
        first.wait()
        mirror.released.set()
        assert second.wait(60) == 0
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_finished_file_is_found_without_writing_to_its_folder(tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    assert fetch("file", [], SUM, tmp_path) == tmp_path / "file"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
