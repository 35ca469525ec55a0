"""The page as a single document with markup, style and script inside, and a policy that blocks everything else."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from functools import cache
from importlib import resources

from laju.view.page import shell

_SCRIPTS = ("ask.js", "chart.js", "schedules.js", "stores.js", "panels.js", "drop.js", "main.js")


@cache
def _part(name: str) -> str:
    return resources.files(__package__).joinpath(*name.split("/")).read_text("utf-8")


def document(token: str) -> str:
    """The whole page; its script reads the token from the page and removes the token from the address."""
    script = "\n".join(_part(f"browser/{name}") for name in _SCRIPTS)
    return _document(_part("browser/page.html"), f'"use strict";\n(() => {{\n{script}\n}})();', token)


def locked() -> str:
    """The page for visitors without a token, which opens the studio if this browser already has the token."""
    return _document(_part("browser/locked.html"), _part("browser/locked.js"), "")


def _document(body: str, script: str, token: str) -> str:
    head = f'<meta name="laju-token" content="{html.escape(token)}">\n<link rel="icon" href="data:,">\n'
    return shell("laju studio", body, script, head, _part("browser/studio.css"))


def policy(document: str) -> dict[str, str]:
    """The header by which the browser uses only the page's own script and style, and connects only to this server."""
    hashes = {}
    for kind in ("script", "style"):
        (content,) = re.findall(f"<{kind}>(.*?)</{kind}>", document, flags=re.DOTALL)
        hashes[kind] = f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
    rules = (
        "default-src 'none'", f"script-src {hashes['script']}", f"style-src {hashes['style']}", "connect-src 'self'",
        "img-src data: blob:", "base-uri 'none'", "form-action 'none'",
        # A notebook on this machine shows the page in a frame.
        "frame-ancestors 'self' http://localhost:* http://127.0.0.1:*",
    )  # fmt: skip
    return {"content-security-policy": "; ".join(rules)}
