"""The page as a single document: markup, style and script inside, and a policy that lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from functools import cache
from importlib import resources

from laju.view.plot import PALETTE

_SCRIPTS = ("ask.js", "chart.js", "schedules.js", "stores.js", "panels.js", "drop.js", "main.js")


@cache
def _part(name: str, package: str = "laju.studio") -> str:
    return resources.files(package).joinpath(*name.split("/")).read_text("utf-8")


def document(token: str) -> str:
    """The whole page; the script takes the token from the page and out of the address."""
    script = "\n".join(_part(f"browser/{name}") for name in _SCRIPTS)
    return _document(_part("browser/page.html"), f'"use strict";\n(() => {{\n{script}\n}})();', token)


def locked() -> str:
    """The page for visitors without a token, which opens the studio where this browser already has the token."""
    return _document(_part("browser/locked.html"), _part("browser/locked.js"), "")


def _document(body: str, script: str, token: str) -> str:
    colors = " ".join(f"--c{i}: {color};" for i, color in enumerate(PALETTE))
    style = f":root {{ {colors} }}\n{_part('page.css', 'laju.view')}{_part('browser/studio.css')}"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f'<meta name="laju-token" content="{html.escape(token)}">\n'
        '<link rel="icon" href="data:,">\n<title>laju studio</title>\n'
        f"<style>\n{style}</style>\n</head>\n<body>\n{body}<script>{script}</script>\n</body>\n</html>\n"
    )


def policy(document: str) -> dict[str, str]:
    """The header by which the browser runs the page's own script and style alone, and speaks to this server alone."""
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
