"""The options and the answer of every study."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from laju.core.checks import whole
from laju.view.table import markdown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from laju.lab.statistics import Estimate
    from laju.lab.store import Store
    from laju.lab.workers import Display, Execution


STUDIES: dict[str, str] = {
    "fixed-rates": "Which constant rate is best, and where does training diverge?",
    "exponents": "Which exponent of a polynomial decay is best?",
    "cosine-large": "Is a cosine better on a larger vision problem?",
    "warmup-length": "How long should a warmup be?",
    "sampling": "What has a schedule to do with sampling?",
    "restarts-and-averaging": "What do restarts and averages of the weights give?",
    "plateau": "Is it better to let the loss decide when the rate falls?",
    "overfitting": "Does a falling rate overfit less at the same training loss?",
}
"""The question of each study by the study's name; the name of its module has underscores instead of hyphens."""


@dataclass(frozen=True)
class Options:
    """How a study is run.

    Attributes:
        task: the task to train, in studies that leave the task open.
        data_dir: the folder with a task's files, or with the images of "cosine-large".
        epochs, seeds: the number of epochs and the seeds of every trial; None for the defaults of the study.
        small: a size that takes seconds and shows only certain results, for tests and first looks.
        jobs: as in `laju.lab.Execution`, if no `Execution` is given.
        store: the store that keeps trials, so that a study resumes where it stopped.
        display: as in `laju.lab.compare`.
        execution: how trials run, as in `laju.lab.compare`. Studies that look inside training runs ("warmup-length", "sampling",
            "restarts-and-averaging", "overfitting") run on the CPU of this machine and accept only `jobs` and `share_prefixes`.
    """

    task: str = "digits"
    data_dir: str | os.PathLike[str] | None = None
    epochs: int | None = None
    seeds: int | None = None
    small: bool = False
    jobs: int | None = None
    store: Store | str | os.PathLike[str] | None = None
    display: Display | bool | None = None
    execution: Execution | None = None

    def size(self, *, small: tuple[int, int], full: tuple[int, int], least_epochs: int = 1) -> tuple[int, range]:
        """The epochs and seeds of every trial: the user's, or else the defaults of the study for the size.

        Args:
            small, full: the default epochs and number of seeds of the study for each size.
            least_epochs: the least number of epochs; fewer epochs are refused.

        Raises:
            ValueError: too few epochs, or no seed.
        """
        epochs, seeds = small if self.small else full
        epochs = whole("epochs", epochs if self.epochs is None else self.epochs, least=least_epochs)
        return epochs, range(whole("seeds", seeds if self.seeds is None else self.seeds, least=1))

    @property
    def running(self) -> dict[str, Any]:
        """The arguments of `compare`, `run_trials` and `run_instrumented` that say how trials run.

        Raises:
            ValueError: an `Execution` is given together with `jobs`.
        """
        from laju.lab.workers import Execution  # options may be made where the lab is not installed

        return {
            "execution": Execution.of(self.execution, self.jobs),
            "store": self.store,
            "display": self.display,
        }


def cell(value: Estimate | None, digits: int = 3, *, signed: bool = False) -> str:
    """The text of an estimate in a table, or `-` for None."""
    return "-" if value is None else value.text(digits, signed=signed)


def as_json(value: Any) -> Any:
    """Figures as values that `json.dumps` accepts: `to_json()` of objects with this method, the fields of all further classes.

    >>> from laju.lab.statistics import Estimate
    >>> as_json({"a": (Estimate(0.5, None, 1), None)})
    {'a': [{'mean': 0.5, 'low': None, 'high': None, 'half_width': None, 'n': 1}, None]}
    """
    if hasattr(value, "to_json"):
        return value.to_json()
    if is_dataclass(value) and not isinstance(value, type):
        return as_json(vars(value))
    if hasattr(value, "_asdict"):
        return as_json(value._asdict())
    if isinstance(value, Mapping):
        return {key: as_json(each) for key, each in value.items()}
    return [as_json(each) for each in value] if isinstance(value, list | tuple | range) else value


@dataclass(frozen=True)
class Table:
    """Rows under headings; cells are texts, numbers, estimates or None."""

    headings: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def __post_init__(self) -> None:
        from laju.lab.statistics import Estimate  # tables are made where the lab is installed

        rows = [tuple(cell(c) if c is None or isinstance(c, Estimate) else c for c in row) for row in self.rows]
        object.__setattr__(self, "rows", rows)


@dataclass(frozen=True)
class Answer:
    """The findings of a study.

    Attributes:
        name: the name of the study, in `STUDIES`.
        verdict: the answer in a sentence: the evidence shown, the leader without evidence, and the command that would settle
            the rest.
        text: the answer in a few sentences, made from the figures, in Markdown.
        tables: the tables by title.
        pictures: the pictures by file name without its suffix.
        figures: every number that the text uses and more, in the form that `as_json` returns.
    """

    name: str
    verdict: str
    text: str
    tables: Mapping[str, Table] = field(default_factory=dict)
    pictures: Mapping[str, Figure] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "figures", as_json(self.figures))

    @property
    def question(self) -> str:
        """The study's question."""
        return STUDIES[self.name]

    def markdown(self) -> str:
        """The answer as a page, with its pictures by file name."""
        parts = [f"# {self.question}", f"**{self.verdict}**", self.text.strip()]
        parts += [f"![{title.replace('-', ' ')}]({title}.png)" for title in self.pictures]
        for title, table in self.tables.items():
            parts += [f"## {title}", markdown(table.headings, table.rows)]
        return "\n\n".join(parts) + "\n"

    def html(self, command: str | None = None) -> str:
        """The answer as an HTML page without outside requests, with embedded pictures and sortable tables.

        Args:
            command: the command that gave the answer, for the page's reader to run again.
        """
        from markdown_it import MarkdownIt

        from laju.view import page

        text = MarkdownIt("commonmark", {"html": False}).disable(["autolink", "image", "link"]).render(self.text)
        sections = [("", text)]
        sections += [("", page.image(figure, title.replace("-", " "))) for title, figure in self.pictures.items()]
        sections += [(title, page.table(table.headings, table.rows)) for title, table in self.tables.items()]
        known = [page.made(("numpy", "torch"))]
        return page.report(self.question, page.sentence(self.verdict), command, known, sections)


def write(answer: Answer, folder: str | os.PathLike[str], command: str | None = None) -> list[Path]:
    """Write `answer.md`, `answer.html`, the pictures as PNG and `figures.json` into a folder; return the files, pages first.

    Args:
        answer: the answer of a study.
        folder: the folder for the files; created if missing.
        command: the command that gave the answer, to be shown on the page.

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
