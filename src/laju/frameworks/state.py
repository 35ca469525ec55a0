"""Checkpoints of adapters: a counter, the schedules with their fingerprints, and the state of a metric-driven controller.

States are plain numbers, texts, lists and dicts, which JSON and `torch.load(weights_only=True)` take.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

from laju.adaptive import StateError
from laju.arguments import nearest, shown, whole
from laju.schedule import Schedule
from laju.spec import from_json

VERSION = 1
Policy = Literal["strict", "new", "saved"]
POLICIES = ("strict", "new", "saved")


def check_policy(policy: str) -> Policy:
    if policy not in POLICIES:
        raise ValueError(f"policy must be one of {', '.join(POLICIES)}, got {shown(policy)}{nearest(str(policy), POLICIES)}")
    return policy  # type: ignore[return-value]


def fingerprint(schedules: Mapping[str, Schedule]) -> str:
    """One hash for the schedules of all hyper-parameters."""
    return hashlib.sha256(json.dumps({k: s.fingerprint for k, s in schedules.items()}, sort_keys=True).encode()).hexdigest()


def save(kind: str, position: int, schedules: Mapping[str, Schedule], **more: Any) -> dict[str, Any]:
    """The state of an adapter of that kind at a position."""
    return {
        "laju": VERSION,
        "kind": kind,
        "position": position,
        "fingerprint": fingerprint(schedules),
        "schedules": {name: schedule.to_json() for name, schedule in schedules.items()},
        **copy.deepcopy(more),
    }


def load(
    kind: str, state: Any, schedules: Mapping[str, Schedule], policy: Policy
) -> tuple[int, dict[str, Schedule], dict[str, Any]]:
    """The position to go to, the schedules to follow from there, and whatever else was saved. `state` is not changed.

    Raises:
        StateError: a state of something else or of another version; with "strict", other schedules, which the message shows.
    """
    if not isinstance(state, Mapping) or "laju" not in state or "position" not in state:
        raise StateError(f"state_dict must be one that laju's {kind} made, got {shown(state)}")
    if state["laju"] != VERSION:
        age = "newer" if isinstance(state["laju"], int) and state["laju"] > VERSION else "another"
        raise StateError(f"state_dict is of {age} version, {shown(state['laju'])}; this laju reads version {VERSION}")
    if state.get("kind") != kind:
        raise StateError(f"state_dict is of {shown(state.get('kind'))}, not of {kind!r}")
    position = whole("position", state["position"])
    saved = state.get("schedules")
    if not isinstance(saved, Mapping):
        raise StateError(f"schedules in state_dict must be an object, got {shown(saved)}")
    more = {k: copy.deepcopy(v) for k, v in state.items() if k not in ("laju", "kind", "position", "fingerprint", "schedules")}
    if policy == "new" or state.get("fingerprint") == fingerprint(schedules):
        return position, dict(schedules), more
    loaded = {name: from_json(tree) for name, tree in saved.items()}
    if policy == "saved":
        if set(loaded) != set(schedules):
            raise StateError(f"state_dict has schedules for {_names(loaded)}, but this scheduler has {_names(schedules)}")
        return position, loaded, more
    raise StateError(
        "state_dict was saved with other schedules; load it with policy='new' to follow those of the code from here, or with "
        f"policy='saved' to go on with those of the checkpoint:{_difference(loaded, schedules)}"
    )


def _names(schedules: Mapping[str, Schedule]) -> str:
    return ", ".join(sorted(schedules)) or "nothing"


def _difference(saved: Mapping[str, Schedule], new: Mapping[str, Schedule]) -> str:
    lines = []
    for name in dict.fromkeys([*saved, *new]):
        if saved.get(name) != new.get(name):
            lines.append(f"\n  {name} saved: {saved.get(name, 'not scheduled')}")
            lines.append(f"\n  {name} now:   {new.get(name, 'not scheduled')}")
    return "".join(lines)
