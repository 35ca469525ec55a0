"""Hooks of the site's build: what the chapter's pages show is trained in the background while the other pages are written."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

LAST = ("chapter/index.md", "id/chapter.md")


def on_startup(*, command: str, **_: Any) -> None:
    import docs_pictures_chapter

    docs_pictures_chapter.start()


def on_files(files: Any, **_: Any) -> Any:
    """Pages that wait for the background are written last."""
    for name in LAST:
        file = files.get_file_from_path(name)
        files.remove(file)
        files.append(file)
    return files
