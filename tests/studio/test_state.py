"""A link holds the page, and a link that was tampered with is refused with one clear sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laju.studio.desk import of_link
from laju.studio.state import AXES, COUNTS, MOST_SCHEDULES, Line, State, StateError

TEXT = st.text(st.characters(exclude_characters="\r\n", exclude_categories=("Cs",)), max_size=40)
STATES = st.builds(
    lambda lines, active, axis, log, counts, zoom: State(
        tuple(lines), active % len(lines), None, axis, log, "adamw", counts, zoom
    ),
    st.lists(st.builds(Line, TEXT, TEXT), min_size=1, max_size=MOST_SCHEDULES),
    st.integers(0, 99),
    st.sampled_from(AXES),
    st.booleans(),
    st.dictionaries(st.sampled_from(COUNTS), st.integers(1, 10**12)),
    st.fixed_dictionaries(
        {},
        optional={
            "begin": st.integers(0, 10**6),
            "end": st.integers(10**6 + 1, 10**12),
            "low": st.floats(-1e9, 0.0),
            "top": st.floats(1e-9, 1e9),
        },
    ),
)


@given(STATES)
def test_a_state_comes_back_from_its_link_and_from_its_json(state: State) -> None:
    again = of_link(f"http://127.0.0.1:1/#{state.fragment}")
    assert again == state
    assert State.of(state.to_json()) == state


@pytest.mark.parametrize(
    ("fragment", "says"),
    [
        ("s=constant(1)&colour=red", "unknown part 'colour'"),
        ("s=constant(1)&axis=miles", "axis must be one of updates, epochs, tokens"),
        ("s=constant(1)&active=1", "active must be the number of a schedule, 0 to 0"),
        ("s=constant(1)&active=x", "active must be a whole number"),
        ("s=constant(1)&epochs=-1", "epochs must be a whole number"),
        ("s=constant(1)&epochs=0", "epochs must be a whole number from 1"),
        ("s=constant(1)&epochs=9999999999999999", "epochs must be a whole number from 1"),
        ("s=constant(1)&log=yes", "log must be true or false"),
        ("s=constant(1)&epochs=1&epochs=2", "'epochs' twice"),
        ("s=constant(1)&begin=-1", "begin must be a whole number"),
        ("s=constant(1)&begin=9&end=9", "begin must be less than end = 9, got 9"),
        ("s=constant(1)&top=high", "top must be a number, got 'high'"),
        ("s=constant(1)&top=nan", "top must be a number, got nan"),
        ("s=constant(1)&low=1&top=0.5", "low must be less than top = 0.5, got 1"),
        ("n=a", "before its first schedule"),
        ("nonsense", "NAME=VALUE"),
        ("&".join(["s=constant(1)"] * (MOST_SCHEDULES + 1)), f"at most {MOST_SCHEDULES} schedules"),
        ("s=" + "x" * 300_000, "the studio reads"),
        ("s=" + "x" * 30_000, "at most 20,000 characters"),
        ("&".join(f"a{i}=1" for i in range(101)), "NAME=VALUE"),
    ],
)
def test_a_link_that_was_tampered_with_is_refused(fragment: str, says: str) -> None:
    with pytest.raises(StateError, match=says):
        State.read(fragment)


def test_a_run_says_what_it_lacks_and_what_contradicts() -> None:
    with pytest.raises(StateError, match="also needs batch size and epochs"):
        _ = State(counts={"samples": 100}).plan
    with pytest.raises(StateError, match="updates and samples both say"):
        _ = State(counts={"updates": 5, "samples": 100}).plan
    plan = State(
        counts={"samples": 60_000, "batch": 64, "epochs": 3, "processes": 2, "accumulate": 2, "tokens": 512}
    ).plan
    assert plan is not None
    assert (plan.updates_per_epoch, plan.samples_per_update, plan.tokens_per_sample) == (235, 256, 512)
