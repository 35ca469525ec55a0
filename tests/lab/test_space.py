"""The space of a search: its text means what it says, and what contradicts itself is refused before anything trains."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import laju
from laju import RunPlan
from laju.lab.tuning.search_space import Choice, Range, Space, SpaceError

PLAN = RunPlan(samples=640, batch_size=64, epochs=10)


def test_a_parameter_of_each_kind_is_read_as_the_policy_takes_it() -> None:
    space = Space.parse("wsd", "peak=1e-3..1 log, warmup=0..20%, cooldown=1 epoch..4 epochs, shape=linear|cosine|sqrt")
    assert space.varied == {
        "peak": Range(0.001, 1, log=True),
        "warmup": Range(0, 20, unit="%"),
        "cooldown": Range(1, 4, unit="epochs"),
        "shape": Choice(("linear", "cosine", "sqrt")),
    }
    assert space.fixed == {"total": "100%"}
    made = space.schedule({"peak": 0.5, "warmup": 10.0, "cooldown": 2.0, "shape": "sqrt"})
    assert made == laju.wsd(0.5, total="100%", cooldown="2 epochs", warmup="10%", shape="sqrt")


def test_lengths_without_a_unit_are_whole_updates_and_integers_stay_integers() -> None:
    assert Space.parse("cosine", "peak=0.1..1, warmup=0..50").varied["warmup"] == Range(
        0, 50, whole=True, unit="updates"
    )
    space = Space.parse("cosine_restarts", "peak=0.1, every=1 epoch, count=1..4")
    assert space.varied == {"count": Range(1, 4, whole=True)}
    assert space.schedule({"count": 3}) == laju.cosine_restarts(0.1, every="1 epoch", count=3)
    assert Space.parse("poly", "base=0.1, power=1..3").varied["power"] == Range(
        1, 3
    )  # a float, written with whole ends


def test_values_that_are_not_ranges_are_fixed_also_lists_and_schedules() -> None:
    space = Space.parse("multi_factor", "base=0.1..1 log, milestones=[5, 8], factor=0.5", per="epoch")
    assert space.schedule({"base": 0.5}) == laju.multi_factor(0.5, milestones=[5, 8], factor=0.5).per("epoch")
    space = Space.parse("warmup", "schedule=cosine(0.3, total=20), length=1..5")
    assert space.schedule({"length": 2}) == laju.warmup(laju.cosine(0.3, total=20), 2)


def test_suggested_numbers_are_rounded_inside_the_range() -> None:
    space = Space.parse("constant", "value=0.1..0.49996")
    assert space.schedule({"value": 0.234567}) == laju.constant(0.2346)
    assert space.schedule({"value": 0.49996}) == laju.constant(0.49996)


@given(
    low=st.floats(1e-6, 10),
    factor=st.floats(1.001, 1e3),
    log=st.booleans(),
    percent=st.integers(1, 100),
    words=st.sets(st.sampled_from(["linear", "cosine", "sqrt"]), min_size=2).map(sorted),
)
def test_the_text_of_a_space_reads_back_as_the_same_space(low, factor, log, percent, words) -> None:
    text = f"peak={low!r}..{low * factor!r}{' log' * log}, cooldown=0%..{percent}%, shape={'|'.join(words)}, final=0"
    space = Space.parse("wsd", text)
    assert Space.parse("wsd", str(space)) == space


@pytest.mark.parametrize(
    ("policy", "text", "message"),
    [
        ("cosine", "peak=1..0.1", "must not be over the high one, got 1 > 0.1"),
        ("cosine", "peak=0..1 log", "must begin above 0, got 0"),
        ("cosine", "peek=0.1..1", "no parameter 'peek'; did you mean 'peak'"),
        ("cosin", "peak=0.1..1", "'cosin' is not a policy; did you mean 'cosine'"),
        ("cosine", "warmup=0%..10%", "cosine needs peak"),
        ("trapezoid", "peak=0.1..1", "needs warmup and cooldown"),
        ("cosine", "peak=0.1", "nothing that varies"),
        ("cosine", "", "needs peak"),
        ("cosine", "peak=0.1..0.1", "both ends are equal"),
        ("cosine", "peak=0.1..1, peak=2", "twice"),
        ("cosine", "peak=0.1..x", "'x' is not a number"),
        ("cosine", "peak=0.1..", "'' is not a number"),
        ("cosine", "peak=0.1..1%", "not a length"),
        ("cosine", "peak=1, warmup=0%..2 epochs", "same unit"),
        ("cosine", "peak=1, warmup=0..2 lightyears", "lightyears"),
        ("cosine", "peak=1, warmup=0..2.5", "a number of updates, got 2.5"),
        ("cosine", "peak=1, warmup=-5%..5%", "must not be negative"),
        ("cosine", "peak=0.1..1 log step 0.1", "has no step"),
        ("cosine", "peak=0.1..1 step 0", "step must be above 0"),
        ("cosine", "peak=0.1..1 step", "followed by a number"),
        ("cosine", "peak=much", "takes float"),
        ("cosine", "peak", "not NAME=LOW..HIGH"),
        ("wsd", "peak=1, shape=1..2", "write choices such as shape=a|b"),
        ("wsd", "peak=1, shape=linear|linear", "twice"),
        ("cosine", "peak=1e999..1e1000", "too large"),
        ("cosine_restarts", "peak=1, every=1 epoch, count=1..2.5", "a whole number, got 2.5"),
    ],
)
def test_a_space_that_contradicts_itself_or_the_policy_is_refused(policy: str, text: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message.replace("|", r"\|").replace("(", r"\(")):
        Space.parse(policy, text)


@pytest.mark.parametrize(
    ("policy", "text", "message"),
    [
        ("cosine", "peak=0.1..1, warmup=0%..150%", "warmup=150%: warmup must be"),
        ("linear", "start=0.1..1, final=-0.5..0", "final=-0.5 update"),
        ("wsd", "peak=0.1, cooldown=20%, shape=linear|round", "at shape=round: "),
        ("poly", "base=0.1, power=0..2", "power must be"),
    ],
)
def test_a_space_whose_corners_are_no_schedules_is_refused_before_training(policy, text, message) -> None:
    with pytest.raises(SpaceError, match=message):
        Space.parse(policy, text).check(PLAN)


def test_a_grid_has_the_points_of_a_step_all_choices_and_evenly_spaced_ones_else() -> None:
    space = Space.parse("wsd", "peak=0.01..1 log, warmup=0%..20% step 10%, cooldown=1..3, shape=linear|sqrt")
    grid = space.grid(5)
    assert grid["peak"] == pytest.approx([0.01, 0.0316228, 0.1, 0.316228, 1])
    assert grid | {"peak": None} == {
        "peak": None,
        "warmup": [0, 10, 20],
        "cooldown": [1, 2, 3],
        "shape": ["linear", "sqrt"],
    }
