"""The requests of the page, by name, and the answers; the logs, the stores and the fitted law that a server keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from laju.core.checks import nearest, shown
from laju.studio import code, handles, policies, view
from laju.studio.export import exported
from laju.studio.forecasts import Forecasts
from laju.studio.logs import MOST_BYTES, MOST_LOGS, Held, opened, reach
from laju.studio.spots import changed, spots
from laju.studio.state import Line, State, StateError
from laju.studio.turns import Turns

Answer = dict[str, Any]

_LONG = (("logs",), ("forget",), ("forecast", "best"), ("stores",), ("code",))
"""Actions that may take seconds, by the data that the actions share."""


class Desk:
    """The studio behind the page, for a server.

    Args:
        state: the state of a page whose address has no fragment.
        held: logs that the page has from the beginning.
        stores: files or URLs of stores, whose results the page shows.
    """

    def __init__(self, state: State | None = None, held: Iterable[Held] = (), stores: Iterable[str] = ()) -> None:
        self.state = state or State()
        self._chosen = state is not None
        self.held = list(held)
        self.stores = tuple(stores)
        self._forecasts = Forecasts()
        # Computations of a kind are done in turn, as a forecast sets the process's filters of warnings.
        self._turns = {name: turns for names in _LONG for turns in [Turns(patient=True)] for name in names}
        self._quick = Turns()
        self._actions: dict[str, Callable[[Answer], Answer]] = {
            "start": self._start, "view": self._view, "drag": self._drag, "nudge": self._nudge, "field": self._field,
            "add": self._add, "link": self._link, "code": self._code, "logs": self._logs, "forget": self._forget,
            "forecast": self._forecast, "best": self._best, "stores": self._stores,
        }  # fmt: skip

    def answer(self, action: str, asked: Any) -> Answer:
        """The answer to a request of the page.

        Raises:
            ValueError: an unknown action, an invalid state, or an error of laju's about the request.
        """
        return self.begin(action, asked).result()

    def begin(self, action: str, asked: Any) -> Future[Answer]:
        """Begin to compute the answer to a request of the page.

        Raises:
            ValueError: an unknown action, or a request that is not an object.
        """
        if action not in self._actions:
            raise ValueError(f"there is no action {action!r}{nearest(action, self._actions)}")
        if not isinstance(asked, dict):
            raise StateError(f"a request must be an object, got {shown(asked)}")
        return self._turns.get(action, self._quick).submit(self._actions[action], asked)

    def begin_export(self, state: State, kind: str) -> Future[bytes]:
        """Begin to make a file of the page; after forecasts, which have the process's filters of warnings as pictures have."""
        return self._turns["forecast"].submit(exported, state, kind)

    def stop(self) -> None:
        """End the threads, each after what it computes."""
        for turns in {*self._turns.values(), self._quick}:
            turns.stop()

    def begin_drop(self, name: str, content: bytes) -> Future[Answer]:
        """Begin to read a dropped log and to add it to the page; a log of the same name is replaced.

        The future's error is a ValueError if the file is not a log, or if there are already as many logs as allowed.
        """
        return self._turns["forget"].submit(lambda: self._take(opened(name, content)))

    def _take(self, held: Held) -> Answer:
        others = [each for each in self.held if each.name != held.name]
        if len(others) >= MOST_LOGS:
            raise ValueError(f"the page holds at most {MOST_LOGS} logs; remove one first")
        self.held = [*others, held]
        return {"name": held.name}

    # --- actions -------------------------------------------------------------------------------------------------------

    def _start(self, asked: Answer) -> Answer:
        fragment = _text(asked, "fragment")
        state, refused = self.state, None
        if fragment:
            try:
                state = State.read(fragment)
            except StateError as error:
                refused = f"This link was refused: {error}."
        about = {"policies": policies.POLICIES, "tabs": code.TABS, "most": MOST_BYTES, "stores": self.stores}
        return {**self._drawn(state), "refused": refused, "about": about}

    def _drawn(self, state: State, moving: bool = False) -> Answer:
        def picture(state: State) -> Answer:
            logs = [log for held in self.held if (log := reach(held, state.plan)) is not None]
            return view.drawn(state, logs, moving=moving)

        try:
            return picture(state)
        except StateError as error:  # of the run's facts: the page shows the schedules without the run
            said = {"state": state.to_json(), "fragment": state.fragment, "run_error": str(error)}
            return {**picture(replace(state, counts={})), **said}

    def _view(self, asked: Answer) -> Answer:
        return self._drawn(State.of(asked.get("state")), bool(asked.get("moving")))

    def _drag(self, asked: Answer) -> Answer:
        state = State.of(asked.get("state"))
        at, value = _number(asked, "at"), _number(asked, "value")
        text = handles.dragged(
            state.schedules[state.active].text, view.active(state), state.plan, view.window(state), _text(asked, "handle"),
            max(at, 0.0), value, view.resolved_others(state),
        )  # fmt: skip
        return self._moved(state, text, bool(asked.get("moving")))

    def _nudge(self, asked: Answer) -> Answer:
        state = State.of(asked.get("state"))
        x, y = (int(max(-100, min(100, _number(asked, name)))) for name in ("x", "y"))
        text = handles.nudged(
            state.schedules[state.active].text, view.active(state), state.plan, view.window(state), _text(asked, "handle"), x, y
        )  # fmt: skip
        return self._moved(state, text, False)

    def _field(self, asked: Answer) -> Answer:
        state = State.of(asked.get("state"))
        old = state.schedules[state.active].text
        spot = next((s for s in spots(old, state.plan) if s.id == asked.get("id")), None)
        if spot is None:
            raise StateError("this field is not there any more")
        return self._moved(state, changed(old, spot, _text(asked, "text")), False)

    def _moved(self, state: State, text: str, moving: bool) -> Answer:
        new = state.with_text(text)
        found = view.read(text, new.plan)
        if found.error is not None:
            raise ValueError(found.error)
        return self._drawn(new, moving)

    def _add(self, asked: Answer) -> Answer:
        state, policy = State.of(asked.get("state")), _text(asked, "policy")
        text = policies.like(policy, view.active(state), view.run(state))
        return self._drawn(replace(state.with_line(Line(text)), against=state.active))

    def _link(self, asked: Answer) -> Answer:
        return self._drawn(of_link(_text(asked, "link")))

    def _code(self, asked: Answer) -> Answer:
        state = State.of(asked.get("state"))
        view.active(state)
        given = view.read(state.schedules[state.active].text, state.plan).given
        assert given is not None
        return code.program(given, _text(asked, "target"), state.plan, view.run(state))

    def _meant(self, state: State) -> Any:
        if not self._chosen and state.schedules == State().schedules:
            return None  # the example that a page begins with was meant by nobody
        return view.read(state.schedules[state.active].text, state.plan).resolved

    def _logs(self, asked: Answer) -> Answer:
        state = State.of(asked.get("state"))
        return {
            "logs": [
                held.shown(self._meant(state), state.plan, explain=bool(asked.get("explain"))) for held in self.held
            ]
        }

    def _forget(self, asked: Answer) -> Answer:
        self.held = [held for held in self.held if held.name != asked.get("name")]
        return {}

    def _with_losses(self) -> list[Held]:
        held = [each for each in self.held if each.log.losses]
        if not held:
            raise ValueError("a forecast needs a log with losses: drop one on the page")
        return held

    def _forecast(self, asked: Answer) -> Answer:
        state = State.of(asked.get("state"))
        if asked.get("anew"):
            self._forecasts.forget()
        n = view.run(state)
        return self._forecasts.band(self._with_losses(), view.active(state), state.plan, n, view.span(state, n))

    def _best(self, asked: Answer) -> Answer:
        state = State.of(asked.get("state"))
        n, begin = view.run(state), int(_number(asked, "begin"))
        if not 0 <= begin < n:
            raise ValueError(f"from must lie between 0 and the run's last update, {n - 1:,}; got {begin:,}")
        return self._forecasts.best(self._with_losses(), view.active(state), state.plan, n, begin)

    def _stores(self, asked: Answer) -> Answer:
        from laju.studio.comparisons import results  # the lab, which a page without stores does without

        found = []
        for place in self.stores:
            try:
                found.append({"place": place, "groups": results(place), "error": None})
            except (OSError, ValueError) as error:
                found.append({"place": place, "groups": [], "error": str(error)})
        return {"stores": found}


def of_link(link: str) -> State:
    """The state in a link that the studio's button copied.

    Raises:
        StateError: a link of a different kind, or a link that was tampered with.

    >>> of_link("http://127.0.0.1:8421/#s=constant(0.1)").schedules[0].text
    'constant(0.1)'
    """
    try:
        fragment = urlsplit(link.strip()).fragment
    except ValueError as error:
        raise StateError(f"this is not a link: {error}") from None
    if not fragment:
        raise StateError(
            "a link of the studio has the schedules after a #, as in http://127.0.0.1:8421/#s=constant(0.1)"
        )
    return State.read(fragment)


def _text(asked: Answer, name: str) -> str:
    value = asked.get(name, "")
    if not isinstance(value, str):
        raise StateError(f"{name} must be a text, got {shown(value)}")
    return value


def _number(asked: Answer, name: str) -> float:
    value = asked.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
        raise StateError(f"{name} must be a number, got {shown(value)}")
    return float(value)
