"""The server of the page: on loopback, for the holder of the token, without requests to any further server.

A page of another origin cannot send requests: the Host must be this server's own (which stops names that are rebound to
loopback), an Origin must be the server's, and every request needs the token. No cookie is set, so a browser sends no credential
by itself.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import math
import secrets
import socket
import threading
import traceback
from typing import Any
from urllib.parse import parse_qs

from laju.core.extras import needed_by
from laju.studio import page
from laju.studio.desk import Desk
from laju.studio.export import KINDS
from laju.studio.logs import MOST_BYTES
from laju.studio.state import State

with needed_by("laju studio", "studio"):
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, Response
    from starlette.routing import Route
    from starlette.types import ASGIApp, Receive, Scope, Send

PORT = 8421
"""The port that is tried first, so that an old link opens a new studio."""

TOKEN = "x-laju-token"
_MOST_REQUEST = 2**20
_HEADERS = {
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class PortError(OSError):
    """Error of a port on which the server cannot listen."""


class Studio:
    """A server of the studio that listens at once, and answers when started.

    Args:
        desk: the studio behind the page.
        port: the port to listen at; by default `PORT`, or any free port if `PORT` is in use.

    Raises:
        PortError: the port is in use, or this user may not use the port.
    """

    def __init__(self, desk: Desk, port: int | None = None) -> None:
        self.desk = desk
        self.token = secrets.token_urlsafe(24)
        self._socket = _listening(port)
        self.port: int = self._socket.getsockname()[1]
        hosts = {f"127.0.0.1:{self.port}", f"localhost:{self.port}"}
        config = uvicorn.Config(
            _Guarded(application(desk, self.token), hosts, self.token),
            log_level="critical", access_log=False, lifespan="off", ws="none", server_header=False, timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        """The address with the token and the first state, for the browser of this user."""
        fragment = f"#{self.desk.state.fragment}" if self.desk.state != State() else ""
        return f"http://127.0.0.1:{self.port}/?token={self.token}{fragment}"

    def run(self) -> None:
        """Answer until Ctrl-C."""
        self._server.run(sockets=[self._socket])

    def start(self) -> Studio:
        """Answer in a thread, until `stop` or the end of the process."""
        self._thread = threading.Thread(target=self.run, name="laju studio", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop answering, and free the port."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(timeout=5)
        self._socket.close()
        self.desk.stop()


def _listening(port: int | None) -> socket.socket:
    for wanted in (PORT, 0) if port is None else (port,):
        found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind(("127.0.0.1", wanted))
            found.listen(64)
            return found
        except OSError as error:
            found.close()
            if port is not None:
                raise PortError(
                    f"cannot listen at port {port}: {error.strerror}; leave the port out for a free one"
                ) from error
    raise PortError("no port of 127.0.0.1 is free")


class _Guarded:
    """Lets through requests of the page itself."""

    def __init__(self, app: ASGIApp, hosts: set[str], token: str) -> None:
        self.app, self.hosts, self.token = app, hosts, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refused = self._refused(scope["path"], headers, parse_qs(scope["query_string"].decode("latin-1")))
        if refused is None:
            await self.app(scope, receive, send)
        else:
            await refused(scope, receive, send)

    def _refused(self, path: str, headers: dict[str, str], query: dict[str, list[str]]) -> Response | None:
        # A page elsewhere may have its own name resolve to 127.0.0.1; its requests then come here, but with its name as their
        # Host.
        if headers.get("host") not in self.hosts:
            return _refusal("the studio answers at its own address alone")
        origin = headers.get("origin")
        if origin is not None and origin not in {f"http://{host}" for host in self.hosts}:
            return _refusal("a request of another page's was refused")
        given = headers.get(TOKEN) or (query.get("token", [""])[0] if path == "/" else "")
        # Compared in constant time: the time of an ordinary comparison tells how many characters are right.
        if hmac.compare_digest(given.encode(), self.token.encode()):
            return None
        if path == "/":
            return HTMLResponse(page.locked(), 403, headers=_HEADERS | page.policy(page.locked()))
        return _refusal("the token is missing or wrong: open the address that laju studio printed")


def _refusal(why: str) -> Response:
    return _json({"error": why}, 403)


def _json(content: dict[str, Any], status: int = 200) -> Response:
    text = json.dumps(_plain(content), allow_nan=False, separators=(",", ":"))
    return Response(text, status, media_type="application/json", headers=_HEADERS)


def _plain(value: Any) -> Any:
    """The value without infinity and NaN, which JSON lacks."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class _TooLarge(Exception):
    """Error of a request that is larger than the server accepts."""


async def _body(request: Request, most: int) -> bytes:
    """The body of a request; too large a body is refused by its announced size before, or by its real size during reading."""
    announced = request.headers.get("content-length", "0")
    if not announced.isdigit() or int(announced) > most:
        raise _TooLarge
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise _TooLarge
        parts.append(part)
    return b"".join(parts)


def _megabytes(size: int) -> str:
    return f"{size / 2**20:,.0f} MB"


def application(desk: Desk, token: str) -> Starlette:
    """The pages and answers of the server, without the guard."""

    async def root(request: Request) -> Response:
        content = page.document(token)
        return HTMLResponse(content, headers=_HEADERS | page.policy(content))

    async def ask(request: Request) -> Response:
        action = request.path_params["action"]
        try:
            asked = json.loads(await _body(request, _MOST_REQUEST) or b"{}")
            return _json(await asyncio.wrap_future(desk.begin(action, asked)))
        except _TooLarge:
            return _json({"error": f"a request may have at most {_megabytes(_MOST_REQUEST)}"}, 413)
        except (ValueError, TypeError, ArithmeticError, LookupError, RecursionError, ImportError) as error:
            return _json({"error": str(error).partition("\n")[0] or type(error).__name__}, 422)

    async def drop(request: Request) -> Response:
        try:
            content = await _body(request, MOST_BYTES)
            name = request.query_params.get("name", "log")[:200]
            return _json(await asyncio.wrap_future(desk.begin_drop(name, content)))
        except _TooLarge:
            most = _megabytes(MOST_BYTES)
            response = _json(
                {"error": f"a dropped file may have at most {most}; for a larger log: laju diagnose LOG"}, 413
            )
            response.headers["connection"] = "close"
            return response
        except (ValueError, LookupError, RecursionError, ImportError, OSError, EOFError) as error:
            return _json({"error": str(error) or type(error).__name__}, 422)

    async def export(request: Request) -> Response:
        kind = request.path_params["kind"]
        try:
            state = State.of(json.loads(await _body(request, _MOST_REQUEST)))
            content = await asyncio.wrap_future(desk.begin_export(state, kind))
            return Response(content, media_type=KINDS[kind], headers=_HEADERS)
        except _TooLarge:
            return _json({"error": f"a request may have at most {_megabytes(_MOST_REQUEST)}"}, 413)
        except (ValueError, TypeError, ArithmeticError, ImportError) as error:
            return _json({"error": str(error)}, 422)

    async def broken(request: Request, error: Exception) -> Response:
        traceback.print_exception(error)
        return _json({"error": f"laju has failed: {type(error).__name__}: {error}"}, 500)

    return Starlette(
        exception_handlers={Exception: broken},
        routes=[
            Route("/", root),
            Route("/api/drop", drop, methods=["POST"]),
            Route("/api/export/{kind}", export, methods=["POST"]),
            Route("/api/{action}", ask, methods=["POST"]),
        ],
    )
