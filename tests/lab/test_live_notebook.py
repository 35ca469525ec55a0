"""What a notebook shows while trials run: one figure, drawn anew in the output of its cell."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

pytest.importorskip("ipykernel")
from jupyter_client.manager import KernelManager

from laju.lab.live.curves import Curve, Pace
from laju.lab.live.notebook import NotebookFigure
from laju.lab.trials import Outcome
from laju.view.plot import PALETTE
from tests.lab.test_live import records, running

ROOT = Path(__file__).parents[2]


class Cell:
    """Code that ran in a kernel of its own, and what it has shown."""

    def __init__(self, code: str) -> None:
        manager = KernelManager()
        manager.kernel_spec.argv[0] = sys.executable
        manager.start_kernel(cwd=str(ROOT))
        client = manager.client()
        client.start_channels()
        self.messages: list[dict[str, Any]] = []
        try:
            client.wait_for_ready(timeout=120)
            self.reply = client.execute_interactive(code, timeout=240, output_hook=self.messages.append)
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        return [message["content"] for message in self.messages if message["msg_type"] in kinds]

    def printed(self) -> str:
        return "".join(content["text"] for content in self.of("stream"))


def pixels(png: bytes) -> np.ndarray:
    return matplotlib.image.imread(io.BytesIO(png), format="png")


def has(png: bytes, color: str) -> bool:
    wanted = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return bool((np.abs(pixels(png)[..., :3] - wanted) < 0.01).all(axis=-1).any())


COMPARE = """
import base64
from laju.lab import compare
from tests.lab.tiny import Sides
found = compare({"a": 0.1, "b": "cosine(0.3, total=60).per('epoch')"}, Sides(n=2000), epochs=60, seeds=2, %s)
print(len(found.outcomes))
"""


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_the_figure_of_a_comparison_is_drawn_anew_in_its_cell(jobs: int) -> None:
    from base64 import b64decode

    cell = Cell(COMPARE % f"jobs={jobs}")
    assert cell.reply["content"]["status"] == "ok", cell.reply["content"]
    assert cell.printed() == "4\n"
    begun, redrawn = cell.of("display_data"), cell.of("update_display_data")
    assert len(begun) == 1
    assert len(redrawn) >= 2
    assert {content["transient"]["display_id"] for content in begun + redrawn} == {begun[0]["transient"]["display_id"]}
    pictures = [b64decode(content["data"]["image/png"]) for content in begun + redrawn]
    assert len(set(pictures)) == len(pictures)
    assert {pixels(picture).shape[1] for picture in pictures} == {960}
    assert has(pictures[-1], PALETTE[0])
    assert has(pictures[-1], PALETTE[1])


@pytest.mark.slow
def test_a_notebook_that_does_not_want_a_figure_gets_none() -> None:
    cell = Cell(COMPARE % "jobs=1, display=False")
    assert cell.printed() == "4\n"
    assert cell.of("display_data", "update_display_data") == []


class Drawn(NotebookFigure):
    """A figure whose pictures are kept instead of shown."""

    def __init__(self) -> None:
        super().__init__()
        self.pictures: list[bytes] = []

    def _show(self, *what: Any) -> None:
        self.pictures.append(self._drawn(*what))

    def running(self, trials: list[Any]) -> None:
        self.pace = Pace()
        super().running(trials)


def test_running_trials_have_curves_in_colours_and_finished_ones_are_faint() -> None:
    figure = Drawn()
    figure.start(4, 0, 2)
    figure.running([])
    assert figure.pictures == []
    figure.running([running("a", loss=1.0)])
    figure.running([running("a", loss=1.0), running("b", loss=2.0)])
    first, both = figure.pictures
    assert [has(first, color) for color in PALETTE[:3]] == [True, False, False]
    assert [has(both, color) for color in PALETTE[:3]] == [True, True, False]
    assert not has(both, "#b8bfc9")
    figure.finished("a", 0, Outcome("finished", records(30, loss=1.5), 1.0))
    figure.running([running("a", 1, loss=1.0), running("b", loss=2.0)])
    assert has(figure.pictures[-1], "#b8bfc9")


def test_the_last_figure_has_every_schedule() -> None:
    figure = Drawn()
    figure.start(3, 0, 1)
    figure.stop()
    assert figure.pictures == []  # nothing was finished
    for i, name in enumerate(("a", "b", "c")):
        figure.finished(name, 0, Outcome("collapsed" if i else "finished", records(30, loss=1.0 + i), 1.0))
    figure.stop()
    assert [has(figure.pictures[-1], color) for color in PALETTE[:4]] == [True, True, True, False]
    for i in range(30):  # a search
        figure.finished(f"trial {i}", 0, Outcome("finished", records(2, loss=1.0 + i / 10), 1.0))
    figure.finished("early", 0, Outcome("diverged", (), 1.0, diverged_at=3))
    figure.stop()
    assert [has(figure.pictures[-1], color) for color in PALETTE[:3]] == [False] * 3
    assert has(figure.pictures[-1], "#b8bfc9")


def test_a_picture_is_the_same_whether_its_axes_are_new_or_were_used_before() -> None:
    used, new = Drawn(), Drawn()
    for figure in (used, new):
        figure.start(4, 0, 2)
        figure.epochs = 30.0
    used._drawn([Curve(records(3), 0), Curve(records(9, loss=0.5), None)], {"a": 0}, " so far")
    axes = used.frame
    curves, names = [Curve(records(15), 0), Curve(records(20, loss=0.7), 3)], {"a": 0, "b": 3}
    assert used._drawn(curves, names, "") == new._drawn(curves, names, "")
    assert used.frame is axes
