"""The studio answers who has the token, at its own address, and nobody else; what is too large is refused unread."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("uvicorn", reason="needs the extra studio, which `make setup` installs")

import laju
from laju.cli.studio import command
from laju.studio.desk import Desk
from laju.studio.logs import MOST_BYTES, opened
from laju.studio.server import PortError, Studio
from laju.studio.state import Line, State

STATE = {"schedules": [{"text": "cosine(0.3, total=100, warmup=5)"}]}


@pytest.fixture(scope="module")
def studio() -> Iterator[Studio]:
    started = Studio(Desk(), 0).start()
    yield started
    started.stop()


def ask(studio: Studio, path: str, content: object = None, method: str = "POST", **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", studio.port, timeout=60)
    body = content if isinstance(content, bytes | None) else json.dumps(content)
    sent = {"x-laju-token": studio.token} | {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, {name: value for name, value in sent.items() if value})
    answer = connection.getresponse()
    return answer.status, answer.read().decode(errors="replace")


def test_a_request_of_the_page_is_answered(studio: Studio) -> None:
    status, text = ask(studio, "/api/view", {"state": STATE}, origin=f"http://127.0.0.1:{studio.port}")
    assert status == 200
    answer = json.loads(text)
    schedule = laju.cosine(0.3, total=100, warmup=5)
    assert answer["lines"][0]["values"][:100] == schedule.values(100).tolist()
    assert [finding["code"] for finding in answer["findings"]] == [finding.code for finding in laju.check(schedule)]


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({"x_laju_token": ""}, "the token is missing or wrong"),
        ({"x_laju_token": "guess"}, "the token is missing or wrong"),
        ({"origin": "https://example.org"}, "another page"),
        ({"origin": "null"}, "another page"),
        ({"host": "studio.example.org"}, "its own address alone"),
    ],
)
@pytest.mark.parametrize("path", ["/api/view", "/api/drop", "/api/export/png"])
def test_who_has_no_token_and_who_comes_from_elsewhere_is_refused(studio, path, headers, says) -> None:
    status, text = ask(studio, path, {"state": STATE}, **headers)
    assert status == 403
    assert says in json.loads(text)["error"]


def test_the_page_itself_needs_the_token_and_says_what_to_do_without(studio: Studio) -> None:
    assert ask(studio, f"/?token={studio.token}", method="GET", x_laju_token="")[0] == 200
    for path in ("/", "/?token=guess"):
        status, text = ask(studio, path, method="GET", x_laju_token="")
        assert status == 403
        assert "<code>laju studio</code> printed" in text
        assert studio.token not in text


def test_the_page_loads_nothing_and_lets_no_other_script_run(studio: Studio) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", studio.port, timeout=60)
    connection.request("GET", f"/?token={studio.token}")
    answer = connection.getresponse()
    text, policy = answer.read().decode(), answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert not re.search(r"""(?:src|href)=["'](?!data:,)""", text.partition("<script>")[0])
    assert "http://www.w3.org/2000/svg" in text  # a name, which nothing loads
    assert set(re.findall(r"https?://[\w.]+", text)) <= {"http://www.w3.org"}


@pytest.mark.parametrize(
    ("path", "content", "says"),
    [
        ("/api/view", {"state": {"schedules": []}}, "at least one"),
        ("/api/view", {"state": {"colour": "red"}}, "unknown part 'colour'"),
        ("/api/view", b"{", ""),
        ("/api/vew", {}, "did you mean 'view'?"),
        ("/api/drag", {"state": STATE, "handle": "99:", "at": 1, "value": 1}, "no handle"),
        ("/api/drag", {"state": STATE, "handle": "3:1", "at": "x"}, "at must be a number"),
        ("/api/code", {"state": STATE, "target": "torhc"}, "did you mean 'torch'?"),
        ("/api/add", {"state": STATE, "policy": "cosin"}, "did you mean 'cosine'?"),
        ("/api/link", {"link": "http://127.0.0.1/#x=1"}, "unknown part 'x'"),
        ("/api/forecast", {"state": STATE}, "needs a log with losses"),
        ("/api/drop?name=a.csv", b"", ""),
        ("/api/drop?name=a.png", bytes(range(256)), ""),
        ("/api/export/gif", STATE, "one of png, svg, txt"),
    ],
)
def test_bad_input_is_a_sentence_and_not_a_failure(studio: Studio, path: str, content: object, says: str) -> None:
    status, text = ask(studio, path, content)
    assert status == 422, text
    assert says in json.loads(text)["error"]


def test_a_text_that_is_wrong_half_way_keeps_the_other_curves_and_shows_the_column(studio: Studio) -> None:
    state = {"schedules": [{"text": "cosine(0.3, tot"}, {"text": "constant(0.1)"}]}
    answer = json.loads(ask(studio, "/api/view", {"state": state})[1])
    assert answer["lines"][0]["error"]
    assert answer["lines"][0]["column"] is not None
    assert "updates" not in answer["lines"][0]
    assert answer["lines"][1]["values"][0] == 0.1


@pytest.mark.parametrize("text", ["cosine(1, total=1e30)", "wsd(1, total=1e18, cooldown=10)"])
def test_a_run_that_is_too_long_for_a_page_is_an_error_of_its_line(studio: Studio, text: str) -> None:
    state = {"schedules": [{"text": text}, {"text": "constant(0.1)"}]}
    status, answer = ask(studio, "/api/view", {"state": state})
    assert status == 200, answer
    assert "at most 1,000,000,000,000,000 updates" in json.loads(answer)["lines"][0]["error"]
    assert json.loads(answer)["lines"][1]["values"][0] == 0.1


def test_a_negative_schedule_is_drawn_with_its_handles(studio: Studio) -> None:
    status, answer = ask(studio, "/api/view", {"state": {"schedules": [{"text": "cosine(-1, total=10)"}]}})
    assert status == 200, answer
    assert -1 in [handle["value"] for handle in json.loads(answer)["handles"]]


def test_a_log_is_not_compared_with_the_example_that_nobody_chose() -> None:
    log = opened("run.csv", b"step,lr\n" + b"".join(b"%d,%g\n" % (t, 0.2 - t / 1000) for t in range(100)))
    for chosen, compared in ((None, False), (State(), True)):
        desk = Desk(chosen, [log])
        asked = {"state": State().to_json(), "explain": True}
        (shown,) = desk.answer("logs", asked)["logs"]
        assert shown["formula"]
        assert (shown["diagnosis"] is not None) is compared
    typed = {"state": {"schedules": [{"text": "constant(0.1)"}]}, "explain": True}
    assert Desk(None, [log]).answer("logs", typed)["logs"][0]["diagnosis"]


@pytest.mark.parametrize("path", ["trainer_state.json", "laju.sqlite", "runs/12/log.csv"])
def test_a_file_that_is_not_there_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(command, [path, "--no-browser"])
    assert run.exit_code == 2, run.output
    assert re.search("there is no (file|folder)", run.output)


def test_a_dropped_gigabyte_is_refused_before_it_is_read(studio: Studio) -> None:
    with socket.create_connection(("127.0.0.1", studio.port), timeout=60) as raw:
        head = (
            f"POST /api/drop?name=big.csv HTTP/1.1\r\nHost: 127.0.0.1:{studio.port}\r\nX-Laju-Token: {studio.token}\r\n"
            f"Content-Length: {2**30}\r\n\r\n"
        )
        raw.sendall(head.encode() + b"step,lr\n")  # and not the gigabyte
        answer = raw.recv(4096).decode()
    assert answer.startswith("HTTP/1.1 413")
    # Without an announced size, the size is counted while the parts arrive.
    connection = http.client.HTTPConnection("127.0.0.1", studio.port, timeout=60)
    parts = (b"0,0.1\n" * 2**17 for _ in range(MOST_BYTES // (6 * 2**17) + 2))
    try:
        connection.request("POST", "/api/drop?name=big.csv", parts, {"x-laju-token": studio.token}, encode_chunked=True)
        assert connection.getresponse().status == 413
    except (BrokenPipeError, ConnectionResetError):  # the server has hung up already
        pass


def test_exports_are_what_they_say(studio: Studio) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", studio.port, timeout=60)
    for kind, begins in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("txt", b"cosine(0.3, total=100, warmup=5)\n")):
        connection.request("POST", f"/api/export/{kind}", json.dumps(STATE), {"x-laju-token": studio.token})
        assert connection.getresponse().read().startswith(begins)


def test_a_port_in_use_is_said_and_the_usual_one_gives_way(studio: Studio) -> None:
    with pytest.raises(PortError, match=f"cannot listen at port {studio.port}: .* leave the port out"):
        Studio(Desk(), studio.port)


def test_the_address_holds_the_schedules_and_a_link_of_the_page_has_no_token() -> None:
    started = Studio(Desk(State((Line("constant(0.1)"),))), 0)
    assert started.address == f"http://127.0.0.1:{started.port}/?token={started.token}#s=constant(0.1)"
    started.stop()


def test_a_notebook_shows_the_page_in_a_frame() -> None:
    page = laju.studio(laju.cosine(0.3, total=100), "constant(0.1)", plan=200)
    try:
        assert page._repr_html_().startswith('<iframe src="http://127.0.0.1:')
        with urllib.request.urlopen(page.address.partition("#")[0], timeout=60) as answer:
            assert b"laju studio" in answer.read()
        assert page.address.endswith("#s=cosine(0.3,%20total=100)&s=constant(0.1)&updates=200")
    finally:
        page.stop()
    with pytest.raises(TypeError, match="schedules must be schedules or their texts, got 3"):
        laju.studio(3)


def test_the_command_prints_its_address_in_one_line_and_ends_by_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "step,lr,loss\n" + "".join(f"{t},{0.1 - t / 1000},{3 + 1 / t}\n" for t in range(10, 100, 5))
    )
    command = [sys.executable, "-m", "laju", "studio", "name=constant(0.1)", "a.csv", "--no-browser", "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(Path(laju.__file__).parent.parent)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as done:
        assert done.stdout is not None
        line = done.stdout.readline()
        found = re.fullmatch(
            r"laju studio: (http://127\.0\.0\.1:\d+/\?token=[\w-]{32})#s=constant\(0\.1\)&n=name\n", line
        )
        assert found, line
        with urllib.request.urlopen(found[1], timeout=60) as answer:
            assert answer.status == 200
        done.send_signal(signal.SIGINT)
        out, err = done.communicate(timeout=60)
    assert done.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err


def test_ctrl_c_ends_a_studio_in_the_middle_of_a_computation() -> None:
    # A computation without an end in the place of one of a minute, so that the test holds on every machine.
    program = """
import threading
from laju.studio.desk import Desk
from laju.studio.server import Studio

desk = Desk()
begun = lambda asked: (print("begun", flush=True), threading.Event().wait())
desk._actions |= {"forecast": begun}
studio = Studio(desk, 0)
print(studio.port, studio.token, flush=True)
studio.run()
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(laju.__file__).parent.parent)}
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as done:
        assert done.stdout is not None
        port, token = done.stdout.readline().split()
        asking = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)
        asking.request("POST", "/api/forecast", "{}", {"x-laju-token": token})
        assert done.stdout.readline() == "begun\n"
        done.send_signal(signal.SIGINT)
        out, err = done.communicate(timeout=60)
        asking.close()
    assert done.returncode != 0, (out, err)
