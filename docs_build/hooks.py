"""Hooks of the site's build: what the chapter's pages show is trained in the background while the other pages are written."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

LAST = ("chapter/index.md", "id/chapter.md")


def on_startup(*, command: str, **_: Any) -> None:
    # Here, for the pages, too: mkdocs takes back what is done to the path while it reads this file.
    sys.path.insert(0, str(Path(__file__).parent))
    import docs_pictures_chapter

    docs_pictures_chapter.start()


def on_files(files: Any, **_: Any) -> Any:
    """Pages that wait for the background are written last."""
    for name in LAST:
        file = files.get_file_from_path(name)
        files.remove(file)
        files.append(file)
    return files


def on_page_content(html: str, **_: Any) -> str:
    """Printed tables and pictures, which are made of lines, are told from printed sentences: these may be wrapped, those not."""
    return re.sub(
        r'<div class="(language-(?:text|console) highlight)">(?=<pre>(?:(?!</pre>).)*[─│┤])',
        r'<div class="\1 columns">',
        html,
        flags=re.DOTALL,
    )
