"""The options and the answer of every study."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from laju.lab.store import Store
    from laju.lab.workers import Display


@dataclass(frozen=True)
class Options:
    """How a study is run.

    Attributes:
        task: the task to train, in studies that leave the task open.
        data_dir: folder with a task's files, or with the images of "cosine-large".
        epochs, seeds: of every trial; None for the study's own.
        small: a size that takes seconds and shows only certain results, for tests and first looks.
        jobs: trials at once; None for a trial per core.
        store: keeps trials, so that a study goes on where it stopped.
        display: as in `laju.lab.compare`.
    """

    task: str = "digits"
    data_dir: str | os.PathLike[str] | None = None
    epochs: int | None = None
    seeds: int | None = None
    small: bool = False
    jobs: int | None = None
    store: Store | str | os.PathLike[str] | None = None
    display: Display | bool | None = None


@dataclass(frozen=True)
class Table:
    """Rows under headings; cells are texts or numbers."""

    headings: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Answer:
    """The findings of a study.

    Attributes:
        name, question: the study's.
        verdict: the answer in one sentence: the evidence shown, the leader without evidence, and the command that would settle
            the rest.
        text: the answer in a few sentences, made from the figures, in Markdown.
        tables: by title.
        pictures: by file name without its ending.
        figures: every number that the text uses and more, as values that `json.dumps` takes.
    """

    name: str
    question: str
    verdict: str
    text: str
    tables: Mapping[str, Table] = field(default_factory=dict)
    pictures: Mapping[str, Figure] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)

    def markdown(self) -> str:
        """The answer as a page, with its pictures by file name."""
        parts = [f"# {self.question}", f"**{self.verdict}**", self.text.strip()]
        parts += [f"![{title.replace('-', ' ')}]({title}.png)" for title in self.pictures]
        for title, table in self.tables.items():
            lines = ["| " + " | ".join(map(str, row)) + " |" for row in (table.headings, *table.rows)]
            lines.insert(1, "| " + " | ".join("---" for _ in table.headings) + " |")
            parts += [f"## {title}", "\n".join(lines)]
        return "\n\n".join(parts) + "\n"

    def html(self, command: str | None = None) -> str:
        """The answer as an HTML page without outside requests, with its pictures inside and tables that can be sorted.

        Args:
            command: that gave the answer, for the page's reader to run again.
        """
        from markdown_it import MarkdownIt

        from laju.view import page

        parts = [
            page.opening(self.question, page.sentence(self.verdict), command),
            page.facts(page.made(("numpy", "torch"))),
        ]
        parts.append(MarkdownIt("commonmark", {"html": False}).disable(["autolink", "image", "link"]).render(self.text))
        for title, figure in self.pictures.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", dpi=110, facecolor="white")
            parts.append(page.image(buffer.getvalue(), title.replace("-", " ")))
        for title, table in self.tables.items():
            parts.append(f"<h2>{escape(title)}</h2>\n{page.table(table.headings, table.rows)}")
        return page.document(self.question, "\n".join(parts))


def write(answer: Answer, folder: str | os.PathLike[str], command: str | None = None) -> list[Path]:
    """Write `answer.md`, `answer.html`, the pictures as PNG and `figures.json` into a folder; the files, the pages first.

    Args:
        answer: of a study.
        folder: where to; made if need be.
        command: that gave the answer, for the page to name.

    Raises:
        OSError: the folder cannot be written.
    """
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    files = [path / "answer.md", path / "answer.html"]
    files[0].write_text(answer.markdown(), encoding="utf-8")
    files[1].write_text(answer.html(command), encoding="utf-8")
    for title, figure in answer.pictures.items():
        files.append(path / f"{title}.png")
        figure.savefig(files[-1], dpi=160, facecolor="white")
    files.append(path / "figures.json")
    files[-1].write_text(json.dumps(answer.figures, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return files
