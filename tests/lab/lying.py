"""An engine that trains nothing and reports what it likes."""

from __future__ import annotations

from typing import Any

from laju.lab import Outcome, Trial

record: Any = None


def train(trial: Trial, report: Any = None) -> Outcome:
    return Outcome("finished", (record,), 0.0)
