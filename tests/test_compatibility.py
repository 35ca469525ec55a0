"""Schedules that were written before the rooms were laid: JSON, text, fingerprints and pickles mean what they meant."""

from __future__ import annotations

import base64
import gzip
import importlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

import laju
from laju._moved import MOVED

# Written by version 0.1.0 of November 2026: 3,000 schedules drawn by tests/strategies.py, and one of each kind of policy.
ROWS = [
    json.loads(line)
    for line in gzip.decompress((Path(__file__).parent / "data" / "before_rooms.jsonl.gz").read_bytes()).splitlines()
]


def _grows_from_a_fraction(schedule: laju.Schedule) -> bool:
    """Whether cycles grow from a fractional length, which was rounded then."""
    if isinstance(schedule, laju.Repeat) and schedule.growth != 1 and schedule.child.length % 1:
        return True
    return any(map(_grows_from_a_fraction, schedule.children))


def test_json_text_fingerprint_and_values_are_what_they_were() -> None:
    assert len(ROWS) == 3000
    for row in ROWS:
        schedule = laju.from_json({"laju": 1, "schedule": row["json"]}, functions=True)
        assert schedule.to_json() == {"laju": 1, "schedule": row["json"]}
        assert schedule.fingerprint == row["fingerprint"]
        assert str(schedule) == row["text"]
        assert laju.parse(row["text"]) == schedule
        if None not in row.get("values", [None]) and not _grows_from_a_fraction(schedule):
            np.testing.assert_allclose(schedule.values(12), row["values"], rtol=1e-15)


def test_pickles_load() -> None:
    pickled = [row for row in ROWS if "pickle" in row]
    assert len(pickled) == 300
    for row in pickled:
        schedule = pickle.loads(base64.b64decode(row["pickle"]))
        assert schedule.fingerprint == row["fingerprint"]
        assert str(schedule) == row["text"]


@pytest.mark.parametrize("old", MOVED)
def test_a_module_by_its_old_name_is_the_module(old: str) -> None:
    module = importlib.import_module(old)
    assert module is importlib.import_module(MOVED[old])
    assert module.__spec__ is not None
    assert module.__spec__.name == MOVED[old]
