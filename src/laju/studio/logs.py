"""Logs that were dropped on the page or named on the command line: columns, rates, losses, formula and diagnosis."""

from __future__ import annotations

import io
import math
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from laju.core.schedule import Schedule
from laju.core.units import RunPlan
from laju.diagnosis import Diagnosis, diagnose
from laju.forecast import Curve, read_curve
from laju.logs import Log, LogError, completed
from laju.logs import read as read_log
from laju.recognition import Recognised, recognise
from laju.studio.view import Reach
from laju.view.plot import thin

MOST_BYTES = 64 * 2**20
"""The largest size in bytes of a log that is dropped on the page; for a larger log use `laju diagnose`."""

MOST_LOGS = 12
_POINTS = 600


@dataclass(frozen=True, eq=False)  # logs differ when read separately, even with the same content
class Held:
    """A log on the page, by the name of its file."""

    name: str
    log: Log

    def at(self, positions: Any, plan: RunPlan | None) -> Any:
        """The positions of the log in updates, as far as the run is known."""
        unit = {"epoch": "epochs", "sample": "samples", "token": "tokens"}.get(self.log.unit)
        if unit is None or plan is None:
            return positions
        return np.asarray(positions) * float(dict(plan.scale.per).get(unit, 1))

    def curve(self, meant: Schedule | None, plan: RunPlan | None) -> Curve:
        """The losses and rates after the warmup; for a log without rates, the intended schedule supplies the rates.

        Raises:
            ValueError: no losses, or losses that do not form a curve.
        """
        rates = meant if not self.log.rates else None
        per_epoch = None if plan is None else plan.updates_per_epoch
        return read_curve(self.log, rates, self.name, updates_per_epoch=per_epoch).since()

    def shown(self, meant: Schedule | None, plan: RunPlan | None, *, explain: bool = True) -> dict[str, Any]:
        """The page's description of the log.

        Args:
            meant: the active schedule in updates, with which the rates are compared.
            plan: the plan of the run.
            explain: include the formula and the diagnosis, which may take seconds.
        """
        log = self.log
        shown: dict[str, Any] = {
            "name": self.name, "summary": str(log), "unit": log.unit, "notes": list(log.notes), "rates": None, "losses": None,
            "columns": [
                {"name": name, "kind": kind, "rows": int(np.isfinite(log.columns[name]).sum())}
                for kind, names in (("rate", log.rates), ("loss", log.losses), ("other", log.others)) for name in names
            ],
        }  # fmt: skip
        if log.rates:
            shown |= self._of_rates(meant, plan, explain)
        if log.losses:
            try:
                losses = log.loss()
                shown["losses"] = _thinned(self.at(completed(log.unit, losses.at), plan), losses.values)
            except LogError as error:
                shown["notes"].append(str(error))
        return shown

    def _of_rates(self, meant: Schedule | None, plan: RunPlan | None, explain: bool) -> dict[str, Any]:
        shown: dict[str, Any] = {"formula": None, "formula_text": None, "diagnosis": None, "healthy": None}
        try:
            rates = self.log.rate()
            shown["rates"] = _thinned(self.at(rates.at, plan), rates.values)
            if not explain:
                return shown
            found = recognised(self, None if plan is None else plan.updates_per_epoch)
            shown["formula"] = str(found)
            shown["formula_text"] = found.text if found.is_formula else None
            if meant is not None:
                per_epoch = plan.updates_per_epoch if plan is not None and self.log.unit == "epoch" else None
                told = diagnosed(self, meant, per_epoch)
                shown |= {"healthy": told.healthy, "diagnosis": str(told)}
        except ValueError as error:
            shown["diagnosis"] = str(error)
        return shown


@lru_cache(maxsize=2 * MOST_LOGS)
def reach(held: Held, plan: RunPlan | None) -> Reach | None:
    """The extent of the rates; None for a log without rates."""
    try:
        rates = held.log.rate()
    except LogError:
        return None
    if not len(rates.values):
        return None
    end = math.ceil(np.max(held.at(rates.at, plan)))
    return Reach(held.name, max(end, 1), float(rates.values.min()), float(rates.values.max()))


@lru_cache(maxsize=2 * MOST_LOGS)
def recognised(held: Held, updates_per_epoch: int | None) -> Recognised:
    """The formula of a log's rates; the search takes too long to be repeated at every change of the page.

    Raises:
        ValueError: no rates.
    """
    return recognise(held.log.pairs(updates_per_epoch=updates_per_epoch))


@lru_cache(maxsize=64)
def diagnosed(held: Held, meant: Schedule, updates_per_epoch: int | None) -> Diagnosis:
    """The reason why the rates differ from the intended rates.

    Raises:
        ValueError: no rates.
    """
    return diagnose(held.log, meant, updates_per_epoch=updates_per_epoch)


def opened(name: str, content: bytes) -> Held:
    """The log of a dropped file.

    Args:
        name: the name of the file, without a folder.
        content: the content of the file.

    Raises:
        ValueError: the file is not a log.
        ModuleNotFoundError: an event file is given, but the package tensorboard is not installed.

    >>> opened("run.csv", b"step,lr,loss\\n0,0.1,3.5\\n10,0.05,3.25\\n").log.rates
    ('lr',)
    """
    plain = Path(name.replace("\\", "/")).name or "log"
    if "tfevents" in plain:  # which are read by their path
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "events.out.tfevents.dropped")
            path.write_bytes(content)
            return Held(plain, read_log(path))
    file = io.BytesIO(content)
    file.name = plain  # messages name the file
    return Held(plain, read_log(file))


def _thinned(at: Any, values: Any) -> dict[str, Any]:
    kept = np.isfinite(values)
    at, values = np.asarray(at, float)[kept], np.asarray(values, float)[kept]
    which, thinned = thin(values, _POINTS)
    return {"updates": at[which].tolist(), "values": thinned.tolist()}
