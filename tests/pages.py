"""What every page that laju writes promises: one file that loads nothing, in which names are text and one script runs."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

FOREIGN = {"img", "link", "iframe", "object", "embed", "base", "form", "image", "b", "foreignobject", "animate", "set"}
"""Elements that no page has, unless a name could write them; a page with pictures of a study has `img`."""


class Page(HTMLParser):
    """The elements and the visible text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source = text
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag if tag in ("script", "style") else ""
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif not self._inside:
            self.text.append(data)

    @property
    def ids(self) -> list[str]:
        return [a["id"] or "" for _, a in self.elements if "id" in a]

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.text))


def check(text: str, images: bool = False) -> Page:
    """The page, after what every page promises was looked at."""
    page = Page(text)
    foreign = FOREIGN - {"img"} if images else FOREIGN
    assert {tag for tag, _ in page.elements}.isdisjoint(foreign)
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name.split(":")[-1] in ("href", "src", "srcset", "data", "action"):
                assert (value or "").startswith(("#", "data:image/png;base64,") if images else "#"), (tag, name, value)
    styles = "".join(re.findall(r"<style>.*?</style>", text, flags=re.DOTALL))
    assert "@import" not in styles
    assert "url(" not in styles
    assert all(
        target.startswith("#") for target in re.findall(r"url\(['\"]?([^)'\"]*)\)", "".join(map(str, page.elements)))
    )
    # One script, which is laju's own, and the policy lets no other run.
    (script,) = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [a["content"] or "" for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert f"script-src 'sha256-{digest}'" in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2]
    assert "unsafe-eval" not in policy
    # No id twice, and what refers to an id has one.
    assert len(page.ids) == len(set(page.ids))
    used = re.findall(r"url\(#([^)]*)\)", text.partition("<script>")[0]) + re.findall(r'href="#([^"]*)"', text)
    assert set(used) <= set(page.ids)
    return page
