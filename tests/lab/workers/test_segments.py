"""The plan of shared prefixes: no update twice, none left out, and nothing planned that is stored."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laju import Schedule, constant, cosine, wsd
from laju.core.pieces import Constant, Ramp, Table
from laju.lab import Trial
from laju.lab.workers.prefixes import SHORTEST, Key, Segment, plan, resumed, updates
from laju.policies import exponential
from tests.lab.tiny import Sides

TASK = Sides(n=400)  # 10 updates an epoch at batch 40


def trials(schedules: dict[str, Schedule], epochs: int = 10, seeds: Iterable[int] = (0,)) -> dict[Key, Trial]:
    return {(name, seed): Trial(TASK, s, seed, epochs, 40) for name, s in schedules.items() for seed in seeds}


def cooldowns(lengths: Iterable[int]) -> dict[str, Schedule]:
    return {f"cooldown {n}": Ramp(0, 0.1, 10) >> Constant(0.1, 90 - n) >> Ramp(0.1, 0, n) for n in lengths}


def paths(roots: list[Segment]) -> dict[Key, list[tuple[int, int]]]:
    """The segments that each trial goes through."""
    found: dict[Key, list[tuple[int, int]]] = {}

    def walk(segment: Segment, before: list[tuple[int, int]]) -> None:
        path = [*before, (segment.start, segment.stop)]
        for key in segment.ends:
            found[key] = path
        for after in segment.then:
            walk(after, path)

    for root in roots:
        walk(root, [])
    return found


def test_cooldowns_of_one_run_share_all_until_they_begin() -> None:
    work = trials(cooldowns([60, 40, 20]))
    roots = plan(work)
    # A cooldown of n updates differs from the longer ones first in its second update, since it begins at the peak.
    assert paths(roots) == {
        ("cooldown 60", 0): [(0, 41), (41, 100)],
        ("cooldown 40", 0): [(0, 41), (41, 61), (61, 100)],
        ("cooldown 20", 0): [(0, 41), (41, 61), (61, 100)],
    }
    assert updates(roots) == 41 + 59 + 20 + 39 + 39
    assert updates(plan(work, share=False)) == 300


def test_a_shorter_run_ends_on_the_way_of_a_longer_one() -> None:
    work = {("long", 0): Trial(TASK, constant(0.1), 0, 10, 40), ("short", 0): Trial(TASK, constant(0.1), 0, 4, 40)}
    (root,) = plan(work)
    assert (root.stop, root.ends, root.then[0].stop, root.then[0].ends) == (40, (("short", 0),), 100, (("long", 0),))


def test_another_seed_optimizer_or_batch_size_shares_nothing() -> None:
    from laju.lab import Optimizer

    work = {
        ("a", 0): Trial(TASK, constant(0.1), 0, 10, 40),
        ("a", 1): Trial(TASK, constant(0.1), 1, 10, 40),
        ("b", 0): Trial(TASK, constant(0.1), 0, 10, 20),
        ("c", 0): Trial(TASK, constant(0.1), 0, 10, 40, Optimizer(momentum=0.9)),
        ("d", 0): Trial(Sides(name="another"), constant(0.1), 0, 10, 40),
    }
    assert len(plan(work)) == 5


def test_schedules_with_the_same_values_are_trained_once_however_they_are_written() -> None:
    values = tuple(cosine(0.3, total=100).values(100))
    (root,) = plan(trials({"written": cosine(0.3, total=100), "listed": Table(values)}))
    assert root.ends == (("written", 0), ("listed", 0))
    assert not root.then


def test_a_difference_in_the_last_bit_parts_them() -> None:
    values = np.full(100, 0.1)
    values[50] = np.nextafter(0.1, 1)
    roots = plan(trials({"a": constant(0.1), "b": Table(tuple(values))}))
    assert paths(roots) == {("a", 0): [(0, 50), (50, 100)], ("b", 0): [(0, 50), (50, 100)]}


def test_a_few_updates_are_not_worth_a_branch_point() -> None:
    start = [0.1] * (SHORTEST - 1)
    roots = plan(trials({"a": Table((*start, *[0.2] * 200)), "b": Table((*start, *[0.3] * 200))}))
    assert [(root.start, root.stop) for root in roots] == [(0, 100), (0, 100)]


rates = st.lists(st.sampled_from([0.1, 0.2]), min_size=1, max_size=5)


@given(st.lists(rates, min_size=1, max_size=6), st.lists(st.integers(1, 5), min_size=6, max_size=6))
def test_the_plan_trains_every_distinct_prefix_once_and_nothing_else(parts: list, epochs: list[int]) -> None:
    # Each rate holds for two epochs of 10 updates, so every segment is worth its branch point.
    work = {
        (str(i), 0): Trial(TASK, Table(tuple(np.repeat(part, 20))), 0, 2 * n, 40)
        for i, (part, n) in enumerate(zip(parts, epochs, strict=False))
    }
    roots = plan(work)
    for key, path in paths(roots).items():
        assert path[0][0] == 0
        assert path[-1][1] == work[key].plan.updates
        assert all(a[1] == b[0] for a, b in pairwise(path))
    assert set(paths(roots)) == set(work)
    values = {key: t.schedule.resolve(t.plan).values(t.plan.updates) for key, t in work.items()}
    distinct = {tuple(v[: n + 1]) for v in values.values() for n in range(len(v))}
    assert updates(roots) == len(distinct)


def test_what_is_stored_is_not_planned() -> None:
    work = trials(cooldowns([60, 40, 20]))
    whole = {s.stop: s.prefix(s.stop) for root in plan(work) for s in root.all()}
    # The whole trunk and 5 more updates of the last segment of one cooldown.
    part = next(s for root in plan(work) for s in root.all() if s.ends == (("cooldown 20", 0),)).prefix(66)
    begin = resumed(plan(work), lambda family: {whole[61]: 61, part: 66})
    found = {(s.start, s.stop, s.ends, name) for s, name in begin}
    assert found == {
        (66, 100, (("cooldown 20", 0),), part),
        (61, 61, (), whole[61]),
        (0, 41, (), None),  # for the longest cooldown alone
    }
    assert {key for s, _ in begin for key in s.waiting} == set(work)


def test_of_several_stored_points_the_furthest_counts_and_one_of_other_rates_does_not() -> None:
    work = trials({"a": exponential(0.1, 0.01, total=100)})
    (root,) = plan(work)
    points = {root.prefix(30): 30, root.prefix(70): 70, hashlib.sha256(b"other").hexdigest(): 90}
    ((segment, name),) = resumed([root], lambda family: points)
    assert (segment.start, name) == (70, points and next(n for n, u in points.items() if u == 70))


def test_the_names_of_branch_points_stand_for_the_family_and_the_rates() -> None:
    one, other = plan(trials({"a": constant(0.1)}, seeds=(0, 1)))
    assert one.prefix(10) != one.prefix(11)
    assert one.prefix(10) != other.prefix(10)
    assert one.prefix(10) == plan(trials({"a": wsd(0.1, total=100, warmup=0, cooldown=10)}))[0].prefix(10)


@pytest.mark.parametrize("seeds", [1, 3])
def test_six_schedules_with_one_trunk_cost_less_than_half(seeds: int) -> None:
    work = trials(cooldowns([10, 15, 20, 25, 30, 35]), seeds=range(seeds))
    assert updates(plan(work)) < 0.5 * updates(plan(work, share=False))
