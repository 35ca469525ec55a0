"""A handle changes its own number of the text and nothing else, and stands where the number shows."""

from __future__ import annotations

import numpy as np
import pytest

import laju
from laju.core.units import RunPlan
from laju.studio.handles import Window, dragged, handles, nudged
from laju.studio.policies import POLICIES, like
from laju.studio.spots import changed, spots
from laju.studio.state import Line, State
from laju.studio.view import active, drawn, window

PLAN = RunPlan(samples=60_000, batch_size=256, epochs=30)
CASES = [
    ("cosine(0.3, total=1000, warmup=50)", None, {"start", "warmup+peak", "total+final"}),
    ("wsd(0.3, total=1000, cooldown=200, warmup=50)", None, {"start", "warmup+peak", "cooldown", "total+final"}),
    ("multi_factor(0.5, milestones=[100, 200], factor=0.5)", None, {"base", "milestones[0]", "milestones[1]"}),
    ("cosine(0.3, total=20, warmup=5).per('epoch')", PLAN, {"start", "warmup+peak", "total+final"}),
    ("cosine(0.3, total='30 epochs', warmup='5%')", PLAN, {"start", "warmup+peak", "total+final"}),
    ("Ramp(0, 0.3, 50) >> Constant(0.3, 100) >> Ramp(0.3, 0, 40)", None, {"length+final", "length+value", "start"}),
    ("knots([[0, 0.1], [100, 0.3], [200, 0]])", None, {f"points[{i}] at+points[{i}] value" for i in range(3)}),
    ("cosine_restarts(0.3, every=100, count=4)", None, {"warmup+peak", "every", "final"}),
    ("triangular(0.1, 0.3, up=100)", None, {"start", "up+peak"}),
]


def page(text: str, plan: RunPlan | None):
    schedule = laju.parse(text)
    schedule = schedule.resolve(plan) if plan is not None and schedule.units else schedule
    n = plan.updates if plan is not None else int(schedule.length or 1000)
    top = float(schedule.values(n).max())
    return schedule, Window(n, top, n, top)


def names(handle) -> str:
    return "+".join(spot.name for spot in (handle.x, handle.y) if spot is not None)


@pytest.mark.parametrize(("text", "plan", "expected"), CASES)
def test_the_handles_of_a_schedule_are_its_boundaries_and_levels(text, plan, expected) -> None:
    schedule, shown = page(text, plan)
    found = handles(text, schedule, plan, shown)
    assert {names(handle) for handle in found} == expected
    for handle in found:  # where the curve is
        assert schedule(min(int(handle.at), shown.updates)) == pytest.approx(handle.value)


@pytest.mark.parametrize(("text", "plan", "expected"), CASES)
def test_a_dragged_handle_is_where_it_was_dropped_and_the_rest_of_the_text_stays(text, plan, expected) -> None:
    schedule, shown = page(text, plan)
    for handle in handles(text, schedule, plan, shown):
        at, value = handle.at * 0.9 + 3, handle.value * 0.8 + 0.031
        try:
            new = dragged(text, schedule, plan, shown, handle.id, at, value)
            moved, _ = page(new, plan)
        except ValueError:  # such as a first knot that leaves update 0: the page keeps the last curve
            continue
        old_numbers = {spot.id: (spot.name, spot.text) for spot in spots(text, plan)}
        for spot in spots(new, plan):
            if spot.id not in (handle.x and handle.x.id, handle.y and handle.y.id):
                assert (spot.name, spot.text) == old_numbers[spot.id]
        after = handles(new, moved, plan, shown)
        if handle.x is not None:
            (there,) = [h for h in after if h.x is not None and h.x.id == handle.x.id]
            # Half of a step: a count of the text, or about a three-hundredth of the picture.
            assert abs(there.at - at) <= max(0.5 * handle.x.scale, 0.011 * shown.updates) + 1, (names(handle), new)
        if handle.y is not None and handle.y.kind == "value":
            number = next(spot.number for spot in spots(new, plan) if spot.id == handle.y.id)
            assert number == pytest.approx(value, abs=0.011 * shown.top)


def test_a_handle_goes_to_the_end_of_another_schedule_when_near() -> None:
    """Find the wsd that ends where this cosine ends."""
    state = State((Line("cosine(0.3, total=1000)"), Line("wsd(0.3, total=1200, cooldown=300)")), active=1)
    schedule = active(state)
    end = next(h for h in handles(state.schedules[1].text, schedule, None, window(state)) if names(h) == "total+final")
    others = [laju.parse("cosine(0.3, total=1000)")]
    text = dragged(state.schedules[1].text, schedule, None, window(state), end.id, 1004.3, 0.0011, others)
    assert text.replace(", final=0", "") == "wsd(0.3, total=1000, cooldown=300)"


def test_a_key_moves_a_handle_by_one_step_in_the_unit_of_the_text() -> None:
    text = "cosine(0.3, total='30 epochs', warmup='2 epochs')"
    schedule, shown = page(text, PLAN)
    warm = next(h for h in handles(text, schedule, PLAN, shown) if names(h) == "warmup+peak")
    assert nudged(text, schedule, PLAN, shown, warm.id, 1, 0) == "cosine(0.3, total='30 epochs', warmup='2.1 epochs')"
    assert nudged(text, schedule, PLAN, shown, warm.id, 0, -1) == "cosine(0.299, total='30 epochs', warmup='2 epochs')"


def test_a_field_takes_numbers_and_lengths_and_refuses_words() -> None:
    text = "cosine(0.3, total=100)"
    found = {spot.name: spot for spot in spots(text)}
    assert changed(text, found["total"], "1,000") == "cosine(0.3, total=1000)"
    assert changed(text, found["warmup"], "10%") == "cosine(0.3, total=100, warmup='10%')"
    with pytest.raises(ValueError, match="warmup must be a number of updates"):
        changed(text, found["warmup"], "long")
    with pytest.raises(ValueError, match="peak must be a number, got 'high'"):
        changed(text, found["peak"], "high")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("n", [1, 2, 7, 1000])
def test_a_new_schedule_has_the_peak_of_the_active_one_and_can_be_read(policy: str, n: int) -> None:
    schedule = laju.cosine(0.3, total=n, warmup=n // 20)
    new = laju.parse(like(policy, schedule, n))
    if policy != "knots" and n > 7:
        assert float(np.max(new.values(n))) == pytest.approx(0.3)


def test_a_million_updates_are_drawn_by_some_hundred_points_that_keep_jumps_and_peaks() -> None:
    text = "multi_factor(0.5, milestones=[300000, 700001], factor=0.1).warmup(777)"
    line = drawn(State((Line(text),)), moving=True)["lines"][0]
    schedule = laju.parse(text)
    line = drawn(State((Line(text),), counts={"updates": 1_000_000}), moving=True)["lines"][0]
    assert len(line["updates"]) < 2000
    assert {776, 777, 300_776, 300_777, 700_777, 700_778} <= set(line["updates"])
    assert line["values"][:-1] == schedule(np.array(line["updates"][:-1])).tolist()
    cycles = drawn(State((Line("triangular(0.1, 0.3, up=40)"),), counts={"updates": 1_000_000}), moving=True)
    assert max(cycles["lines"][0]["values"]) == pytest.approx(0.3)
