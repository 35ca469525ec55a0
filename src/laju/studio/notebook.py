"""The studio inside a notebook: the page in a frame, or its address if a frame cannot be shown."""

from __future__ import annotations

import atexit
import html
from typing import TYPE_CHECKING, Any

from laju.core.checks import shown
from laju.core.schedule import Schedule
from laju.core.units import RunPlan
from laju.studio.state import Line, State

if TYPE_CHECKING:
    from laju.studio.server import Studio


class Page:
    """The studio while running; a notebook shows the page.

    Attributes:
        address: the address of the page, for a browser on this machine.
    """

    def __init__(self, studio: Studio, height: int) -> None:
        self._studio = studio
        self._height = height
        self.address = studio.address

    def stop(self) -> None:
        """Stop the server of the page."""
        self._studio.stop()

    def _repr_html_(self) -> str:
        frame = f'width="100%" height="{self._height}" style="border:0" allow="clipboard-write"'
        return f'<iframe src="{html.escape(self.address)}" title="laju studio" {frame}></iframe>'

    def __repr__(self) -> str:
        return f"laju studio: {self.address}"


def open_studio(
    *schedules: Schedule | str, plan: RunPlan | int | None = None, port: int | None = None, height: int = 900
) -> Page:
    """Start the studio for schedules, and return the page, which a notebook shows.

    Args:
        schedules: schedules or their texts; by default a single example.
        plan: the plan of the run, or its number of updates.
        port: the port to listen at; by default any free port.
        height: the height of the frame in a notebook, in pixels.

    Raises:
        TypeError: a value that is neither a schedule nor a text.
        SpecError: a text that is not a valid schedule.
        PortError: the port is in use.
        ModuleNotFoundError: the extra `studio` is not installed.
    """
    from laju.studio.desk import Desk
    from laju.studio.server import Studio
    from laju.text.spec import parse

    lines = []
    for schedule in schedules:
        if not isinstance(schedule, Schedule | str):
            raise TypeError(f"schedules must be schedules or their texts, got {shown(schedule)}")
        parse(str(schedule))
        lines.append(Line(str(schedule)))
    state = State(tuple(lines), counts=counts_of(plan)) if lines else State(counts=counts_of(plan))
    studio = Studio(Desk(state), port if port is not None else 0).start()
    atexit.register(studio.stop)
    return Page(studio, height)


def counts_of(plan: RunPlan | int | None) -> dict[str, int]:
    """The facts of a run by the page's names.

    >>> counts_of(RunPlan(samples=60_000, batch_size=256, epochs=30))
    {'samples': 60000, 'batch': 256, 'epochs': 30}
    """
    if plan is None:
        return {}
    if isinstance(plan, int):
        return {"updates": plan}
    facts: dict[str, Any] = {
        "samples": plan.samples, "batch": plan.batch_size, "epochs": plan.epochs, "tokens": plan.tokens_per_sample,
        "processes": plan.world_size if plan.world_size > 1 else None,
        "accumulate": plan.accumulate if plan.accumulate > 1 else None,
    }  # fmt: skip
    return {name: int(value) for name, value in facts.items() if value is not None}
