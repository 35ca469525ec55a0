"""Checkpoints of adapters: a counter, the schedules with their fingerprint, and the state of a metric-driven controller.

A state is a flat object of numbers and texts, with the same keys whatever is scheduled. JSON takes such an object, and so does
`torch.load(weights_only=True)`; a loader that merges by key, such as torch.distributed.checkpoint, cannot mix two states. Nested
values, schedules above all, are a text of JSON each; version 1 had objects there.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

from laju.adaptive import Controller, StateError
from laju.core.checks import nearest, shown, whole
from laju.core.schedule import Schedule, fingerprint_of
from laju.text.json import from_json

VERSION = 2
Policy = Literal["strict", "new", "saved"]
POLICIES = ("strict", "new", "saved")
_OWN = ("laju", "kind", "position", "fingerprint", "schedules", "checksum")
_PLAIN = ("laju", "kind", "position", "fingerprint", "checksum")  # all further texts are JSON


def check_policy(policy: str) -> Policy:
    if policy not in POLICIES:
        raise ValueError(
            f"policy must be one of {', '.join(POLICIES)}, got {shown(policy)}{nearest(str(policy), POLICIES)}"
        )
    return policy  # type: ignore[return-value]


def fingerprint(schedules: Mapping[str, Schedule]) -> str:
    """Return a common fingerprint of the schedules of all hyper-parameters."""
    return _of_all({name: schedule.fingerprint for name, schedule in schedules.items()})


def _of_all(fingerprints: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(fingerprints, sort_keys=True).encode()).hexdigest()


def save(kind: str, position: int, schedules: Mapping[str, Schedule], **more: Any) -> dict[str, Any]:
    """Return the state of an adapter at a position; `more` are further values, stored as numbers or JSON."""
    trees = {name: schedule.to_json() for name, schedule in schedules.items()}
    return sealed(
        {
            "laju": VERSION,
            "kind": kind,
            "position": position,
            "fingerprint": fingerprint(schedules),
            "schedules": json.dumps(trees),
            **{name: value if type(value) is int else json.dumps(value) for name, value in more.items()},
        }
    )


def with_schedules(state: Mapping[str, Any], schedules: Mapping[str, Schedule]) -> dict[str, Any]:
    """Return the state with new schedules, in the current layout."""
    more = {name: value for name, value in opened(state).items() if name not in _OWN}
    return save(state["kind"], state["position"], schedules, **more)


def opened(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state of version 1 or 2 with JSON texts replaced by objects.

    Raises:
        StateError: if the version is unknown, or a text is not JSON.
    """
    version = state.get("laju")
    if type(version) is not int or version not in (1, VERSION):
        age = "newer" if isinstance(version, int) and version > VERSION else "another"
        raise StateError(f"state_dict is of {age} version, {shown(version)}; this laju reads versions 1 and {VERSION}")
    if version == 1:
        return copy.deepcopy(dict(state))
    try:
        return {
            name: json.loads(value) if isinstance(value, str) and name not in _PLAIN else value
            for name, value in state.items()
        }
    except (ValueError, RecursionError, MemoryError) as error:
        raise StateError(f"state_dict cannot be read: {error}") from None


def sealed(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state with a checksum of its content."""
    return {**state, "checksum": _checksum(state)}


def _checksum(state: Mapping[str, Any]) -> str:
    content = {name: value for name, value in state.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def load(
    kind: str, state: Any, schedules: Mapping[str, Schedule], policy: Policy
) -> tuple[int, dict[str, Schedule], dict[str, Any]]:
    """Return the saved position, the schedules to follow from the position on, and all further saved values.

    `state` is not modified. With "new", the state of another library's scheduler also gives the position, by its `last_epoch`.

    Raises:
        StateError: if the state is of a different kind or version; with "strict", if schedules differ, which the message shows.
    """
    if not isinstance(state, Mapping) or "laju" not in state or "position" not in state:
        return _of_others(kind, state, policy), dict(schedules), {}
    sealed, state = state, opened(state)
    if state.get("kind") != kind:
        raise StateError(f"state_dict is of {shown(state.get('kind'))}, not of {kind!r}")
    saved = state.get("schedules")
    if not isinstance(saved, Mapping) or not all(isinstance(tree, Mapping) for tree in saved.values()):
        raise StateError(f"schedules in state_dict must be an object of schedules by name, got {shown(saved)}")
    try:
        position = whole("position", state["position"])
        trees = {name: tree.get("schedule") for name, tree in saved.items()}
        intact = state.get("fingerprint") == _of_all({name: fingerprint_of(tree) for name, tree in trees.items()})
        # States of version 1 had no checksum.
        if state["laju"] != 1:
            intact = intact and state.get("checksum") == _checksum(sealed)
        # As trees: a schedule that is not the code's own is built only on request, or to show it.
        same = trees == {name: schedule.tree() for name, schedule in schedules.items()}
        keeps = policy == "new" or same
        follow = dict(schedules) if keeps else {name: from_json(tree) for name, tree in saved.items()}
        # A function that was only named in the checkpoint has no values, and is refused here rather than in the middle of the
        # training.
        if policy == "saved" and not same:
            for schedule in follow.values():
                schedule.values(1)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise StateError(f"state_dict cannot be read: {error}") from None
    if not intact:
        raise StateError(
            "state_dict was changed after it was saved: its fingerprint does not match its content. Load the state as it was "
            "saved, or construct a scheduler with the schedule that you want and call set_position(n)"
        )
    if policy == "strict" and not same:
        raise StateError(
            "state_dict was saved with other schedules; load it with policy='new' to follow the schedules of the code from here, "
            f"or with policy='saved' to follow the schedules of the checkpoint:{_difference(follow, schedules)}"
        )
    if set(follow) != set(schedules):
        raise StateError(
            f"state_dict has schedules for {_names(follow)}, but the code has schedules for {_names(schedules)}"
        )
    return position, follow, {key: value for key, value in state.items() if key not in _OWN}


def _of_others(kind: str, state: Any, policy: Policy) -> int:
    """Return the position in the state of another library's scheduler."""
    theirs = state.get("last_epoch") if isinstance(state, Mapping) else None
    made = f"state_dict must be one that laju's {kind} made, got {shown(state)}"
    if type(theirs) is not int or theirs < 0:
        raise StateError(made)
    if "num_bad_epochs" in state:
        raise StateError(
            f"{made}. The state is from a plateau scheduler, which counts evaluations and not updates; construct the scheduler "
            "and call set_position(n)"
        )
    if policy != "new":
        raise StateError(
            f"{made}. The state of a different scheduler has last_epoch={theirs}: with policy='new' the schedules of the code "
            "continue from that position"
        )
    return theirs


def load_controller(controller: Controller | None, saved: Any, policy: Policy) -> Controller | None:
    """Return a copy of the controller that continues from the saved state, or None if there is nothing to restore.

    With "new" the code's rule continues from the state of the saved rule, or from its own beginning if the saved rule is of a
    different kind; with "saved" the checkpoint's rule continues.

    Raises:
        StateError: if only the code or only the state has a controller, unless "new"; with "strict", if the rule or its
            parameters differ.
    """
    if controller is None or saved is None:
        if policy != "new" and (controller is None) != (saved is None):
            have, had = ("no", "one") if controller is None else ("a", "none")
            raise StateError(f"there is {have} controller here, but state_dict was saved with {had}")
        return None
    loaded = copy.copy(controller)
    own = controller.rule.to_json()
    other = saved.get("rule") if isinstance(saved, Mapping) else None
    if isinstance(other, Mapping) and other != own:
        alike = other.get("kind") == own["kind"]
        if policy == "new" and not alike:
            return Controller(controller.rule, controller._reduce)
        if policy == "new":
            saved = {**saved, "rule": own}
        elif policy == "saved" and alike:
            try:
                loaded._rule = type(controller.rule)(**{k: v for k, v in other.items() if k != "kind"})
            except (TypeError, ValueError) as error:
                raise StateError(f"the controller's rule in state_dict cannot be read: {error}") from None
    loaded.load_state_dict(saved)
    return loaded


def _names(schedules: Mapping[str, Schedule]) -> str:
    return ", ".join(sorted(schedules)) or "nothing"


def _difference(saved: Mapping[str, Schedule], new: Mapping[str, Schedule]) -> str:
    lines = []
    for name in dict.fromkeys([*saved, *new]):
        if saved.get(name) != new.get(name):
            lines.append(f"\n  {name} saved: {saved.get(name, 'not scheduled')}")
            lines.append(f"\n  {name} now:   {new.get(name, 'not scheduled')}")
    return "".join(lines)
