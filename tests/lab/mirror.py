"""A real HTTP server on the loopback interface that misbehaves as servers do."""

import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Mirror:
    """Serves `files` until the `with` block ends.

    `ranges`: whether Range requests are honoured. `drops`: after how many bytes of the body the connection breaks, one
    entry for each request in turn. `status`: answer everything with this error. `hold`: send this many bytes, then wait
    for `released`. `requests` records the Range header of each request.
    """

    def __init__(
        self,
        files: Mapping[str, bytes],
        *,
        ranges: bool = True,
        drops: Sequence[int] = (),
        status: int | None = None,
        hold: int | None = None,
        chunked: bool = False,
        wrong_range: bool = False,
    ):
        self.files, self.ranges, self.drops, self.status, self.hold = files, ranges, list(drops), status, hold
        self.chunked, self.wrong_range = chunked, wrong_range
        self.requests: list[str | None] = []
        self.released = threading.Event()

    def __enter__(self) -> "Mirror":
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                mirror.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        self.requests.append(asked)
        request.close_connection = True
        name = request.path.lstrip("/")
        if self.status or name not in self.files:
            request.send_error(self.status or 404)
            return
        content, start = self.files[name], 0
        if asked and self.ranges:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                request.send_error(416)
                return
        body = content[start:]
        if asked and self.ranges:
            request.send_response(206)
            first = start + 5 if self.wrong_range else start
            request.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        else:
            request.send_response(200)
        drop = self.drops.pop(0) if self.drops else len(body)
        if self.chunked:
            request.send_header("Transfer-Encoding", "chunked")
            request.end_headers()
            request.wfile.write(f"{len(body):x}\r\n".encode() + body[:drop])
            if drop >= len(body):
                request.wfile.write(b"\r\n0\r\n\r\n")
            return
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if self.hold is not None:
            request.wfile.write(body[: self.hold])
            self.released.wait(30)
            request.wfile.write(body[self.hold :])
        else:
            request.wfile.write(body[:drop])
