"""What the site publishes: pages that its navigation leads to, and the files that pages use, nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mkdocs", reason="the main environment has mkdocs: make test-all")
from mkdocs.config import load_config
from mkdocs.structure.files import get_files

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def config() -> Any:
    return load_config(str(ROOT / "mkdocs.yml"))


def leaves(nav: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each page of the navigation, with the titles that stand above it."""
    for entry in nav:
        title, below = next(iter(entry.items())) if isinstance(entry, dict) else (None, entry)
        if isinstance(below, str):
            yield below, above
        else:
            yield from leaves(below, (*above, title))


def test_the_navigation_leads_to_every_page_once(config: Any) -> None:
    pages = [file.src_uri for file in get_files(config).documentation_pages()]
    assert sorted(page for page, _ in leaves(config["nav"])) == sorted(pages)


def test_what_is_published_beside_pages_is_used_by_a_page(config: Any) -> None:
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md")]
    texts += [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "mkdocs.yml")]
    for file in get_files(config):
        if not file.is_documentation_page():
            assert Path(file.src_uri).suffix in (".css", ".csv", ".png", ".svg"), file.src_uri
            assert any(Path(file.src_uri).name in text for text in texts), f"no page uses {file.src_uri}"


def test_the_sidebar_opens_with_what_people_want_and_folds_the_findings(config: Any) -> None:
    places = dict(leaves(config["nav"]))
    assert list(places)[:4] == ["index.md", "start.md", "install.md", "recipes.md"]
    # A group below a group is folded in this theme until a page of it is open.
    assert all(len(above) == 2 for page, above in places.items() if page.startswith("checks/"))
    assert "navigation.expand" not in config["theme"]["features"]
