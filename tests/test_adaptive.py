import dataclasses
import itertools
import json
import math
import random
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laju import Constant, Ramp, RunPlan, SpecError, adaptive, cosine, from_json, linear
from laju.adaptive import Controller, Greedy, Plateau, Rule, StateError, across_ranks, apply, record, simulate
from tests.conftest import scenarios
from tests.strategies import schedules

nan, inf = math.nan, math.inf

modes = {"threshold_mode": st.sampled_from(["rel", "abs"]), "mode": st.sampled_from(["min", "max"])}
common = {
    "factor": st.floats(0.01, 0.99),
    "patience": st.integers(0, 4),
    "threshold": st.floats(0, 0.5),
    "cooldown": st.integers(0, 3),
    "floor": st.sampled_from([0, 1e-3, 0.2, 0.9]),
    **modes,
}
plateaus = st.builds(Plateau, **common, smoothing=st.sampled_from([0, 0.5, 0.9]))
greedies = st.builds(
    Greedy, **common, ceiling=st.sampled_from([1, 1.5, 30]), warmup=st.integers(0, 3), window=st.integers(1, 4)
)
rules = st.one_of(plateaus, greedies)
# Few different values, so that plateaus and runs of better ones happen.
plain = st.one_of(st.integers(-3, 3).map(float), st.floats(-10, 10))
trends = st.lists(plain, max_size=20).map(sorted)
metrics = st.one_of(
    st.lists(st.one_of(plain, plain, st.floats(), st.sampled_from([nan, inf, -inf])), max_size=40),
    st.builds(lambda a, b, c: a[::-1] + b + c[::-1], trends, trends, trends),
)


def states(rule, seen):
    state, found = rule.initial(), []
    for metric in seen:
        state = rule.observe(state, metric)
        found.append(state)
    return found


# --- the scenarios -----------------------------------------------------------------------------------------------------

SCENARIOS = {
    "P01": lambda n: 0.1 * simulate(Plateau(0.1, patience=2), [1.0] * n),
    "P02": lambda n: simulate(Plateau(0.1, patience=0, threshold=0.1), [-1.0, -0.95]),
    "P03": lambda n: record(Plateau(0.1, patience=0), Ramp(0.1, 1, 3), [1.0] * n, start=3).values(n),
}
cases = [pytest.param(s, id=s["id"]) for s in scenarios() if s["group"] == "adaptive"]


@pytest.mark.skipif(not cases, reason="set LAJU_SHARED to the folder with conformance/scenarios.json")
@pytest.mark.parametrize("scenario", cases or [None])
def test_a_scenario_comes_out(scenario):
    expected = scenario["expected"]
    assert SCENARIOS[scenario["id"]](len(expected)).tolist() == pytest.approx(expected, rel=1e-14)


# --- what both rules promise -------------------------------------------------------------------------------------------


@given(rules, metrics)
def test_the_factor_stays_inside_its_bounds_and_begins_at_1(rule, seen):
    assert rule.initial().factor == 1
    for state in states(rule, seen):
        assert rule.floor <= state.factor <= getattr(rule, "ceiling", 1)


@given(rules, metrics, st.one_of(plain, st.just(nan)))
def test_observing_is_pure(rule, seen, metric):
    before = [rule.initial(), *states(rule, seen)][-1]
    text, parameters = json.dumps(before.to_json()), repr(rule)
    first, second = rule.observe(before, metric), rule.observe(before, metric)
    assert first == second
    assert (json.dumps(before.to_json()), repr(rule)) == (text, parameters)


@given(rules, metrics, st.integers(0, 40))
def test_a_run_resumed_from_json_decides_as_an_uninterrupted_one(rule, seen, k):
    whole, first = Controller(rule), Controller(rule)
    factors = [whole.observe(metric, at=10 * i) for i, metric in enumerate(seen)]
    before = [first.observe(metric, at=10 * i) for i, metric in enumerate(seen[:k])]
    second = Controller(rule)
    second.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
    assert second.state == first.state
    after = [second.observe(metric, at=10 * i) for i, metric in list(enumerate(seen))[k:]]
    assert before + after == factors
    assert second.state_dict() == whole.state_dict()


@given(rules, metrics)
def test_simulate_is_the_loop(rule, seen):
    controller = Controller(rule)
    assert simulate(rule, seen).tolist() == [controller.observe(metric) for metric in seen]
    assert simulate(rule, iter(seen)).dtype == np.float64


@given(rules, schedules, metrics, st.integers(1, 5), st.integers(0, 7))
def test_what_was_recorded_replays_with_equal_values(rule, schedule, seen, every, start):
    controller = Controller(rule)
    live = apply(schedule, controller)
    n = start + every * (len(seen) + 2)
    used, left = [], list(seen)
    for t in range(n):
        if t > start and (t - start) % every == 0 and left:
            controller.observe(left.pop(0), at=t)
        used.append(live(t))
    while left:  # the last one comes at the very end of the run
        controller.observe(left.pop(0), at=n)
    for plain in (record(rule, schedule, seen, every, start), controller.recorded(schedule)):
        assert [plain(t) for t in range(n)] == used
        assert from_json(plain.to_json()) == plain
    factors = record(rule, 1, seen, every, start).values(n)
    assert record(rule, schedule, seen, every, start).values(n).tolist() == (schedule.values(n) * factors).tolist()


@given(rules)
def test_the_repr_of_a_rule_rebuilds_it(rule):
    assert eval(repr(rule), vars(adaptive)) == rule
    assert hash(rule) == hash(dataclasses.replace(rule))


def test_a_rule_is_a_value():
    assert Plateau(0.1, 2) == Plateau(0.1, patience=2.0, floor=0) != Plateau(0.1, 3)
    assert repr(Plateau(0.1, 2, mode="max")) == "Plateau(factor=0.1, patience=2, mode='max')"
    with pytest.raises(dataclasses.FrozenInstanceError):
        Plateau(0.1, 2).patience = 3


@given(rules, st.lists(st.sampled_from([nan, inf, -inf, 1e301, 10**400]), max_size=20))
def test_metrics_that_are_not_finite_are_all_the_same_bad_one(rule, seen):
    assert states(rule, seen) == states(rule, [nan] * len(seen))
    assert all(state.best is None for state in states(rule, seen))


@pytest.mark.parametrize("rule", [Plateau(0.5, 1), Greedy(0.5, 1, ceiling=2)])
def test_a_diverged_metric_is_bad_and_is_never_the_best(rule):
    first, *later = states(rule, [1.0, -inf, nan, 0.5])
    assert [s.best for s in later] == [1.0, 1.0, 0.5]
    assert [s.bad for s in later] == [1, 0, 0]
    assert [s.factor for s in later] == [1.0, 0.5, 0.5]  # the second bad one in a row cuts
    assert first.best == 1.0


@given(rules, metrics)
def test_an_average_is_not_spoilt_by_a_metric_that_is_not_finite(rule, seen):
    finite = [m for m in seen if abs(m) <= 1e300]
    last = [rule.initial(), *states(rule, seen)][-1]
    alone = [rule.initial(), *states(rule, finite)][-1]
    names = ("average", "weight") if isinstance(rule, Plateau) else ("recent",)
    assert [getattr(last, name) for name in names] == [getattr(alone, name) for name in names]
    assert last.best == alone.best


@given(
    st.sampled_from([Plateau(0.1, 1, 0, smoothing=0.9), Greedy(0.5, 1, 8, threshold=0, window=49)]), st.floats(-9, 9)
)
def test_a_smoothed_constant_never_becomes_better(rule, metric):
    assert [s.best for s in states(rule, [metric] * 60)] == [metric] * 60


def test_smoothing_is_the_moving_average_without_its_bias():
    rule, seen, beta = Plateau(0.5, 100, smoothing=0.8), [3.0, 1.0, 4.0, 1.0, 5.0], 0.8
    for n, state in enumerate(states(rule, seen), start=1):
        weights = [beta ** (n - 1 - i) for i in range(n)]
        assert state.average == pytest.approx(np.average(seen[:n], weights=weights), rel=1e-14)


@pytest.mark.parametrize(
    ("mode", "threshold_mode", "best", "better", "worse"),
    [
        ("min", "rel", 2.0, 1.79, 1.81),
        ("min", "rel", -2.0, -2.21, -2.19),
        ("max", "rel", 2.0, 2.21, 2.19),
        ("max", "rel", -2.0, -1.79, -1.81),
        ("min", "abs", 2.0, 1.89, 1.91),
        ("min", "abs", -2.0, -2.11, -2.09),
        ("max", "abs", 2.0, 2.11, 2.09),
        ("max", "abs", -2.0, -1.89, -1.91),
        ("min", "rel", 0.0, -1e-9, 0.0),
        ("max", "rel", 0.0, 1e-9, 0.0),
    ],
)
def test_better_is_by_the_threshold_on_the_good_side_whatever_the_sign(mode, threshold_mode, best, better, worse):
    rule = Plateau(0.1, 0, 0.1, threshold_mode, mode)
    assert states(rule, [best, better])[-1].best == better
    assert states(rule, [best, worse])[-1].best == best


@given(rules, st.lists(plain, max_size=30))
def test_max_is_min_of_the_negative(rule, seen):
    other = dataclasses.replace(rule, mode="max" if rule.mode == "min" else "min")
    mirrored = [-m for m in seen]
    if isinstance(rule, Greedy) and rule.window > 1:  # their means are rounded from the low end
        seen, mirrored = [round(m) for m in seen], [round(m) for m in mirrored]
        rule, other = dataclasses.replace(rule, window=1), dataclasses.replace(other, window=1)
    assert simulate(rule, seen).tolist() == simulate(other, mirrored).tolist()


@pytest.mark.parametrize("number", [np.float32(0.5), np.array(0.5), np.array([0.5]), "torch", "jax"])
def test_a_metric_may_be_an_array_or_tensor_of_one_number(number):
    if isinstance(number, str):
        module = pytest.importorskip(number)
        number = module.tensor(0.5) if number == "torch" else module.numpy.array(0.5)
    assert Plateau(0.1, 0).observe(Plateau(0.1, 0).initial(), number).best == 0.5


@pytest.mark.parametrize("metric", [None, "0.5", True, np.True_, [0.5], np.ones(2), np.ones(0), 1j, {}])
@pytest.mark.parametrize("rule", [Plateau(0.1, 0), Greedy(0.5, 0, 2)])
def test_what_is_not_one_number_is_not_observed(rule, metric):
    with pytest.raises(TypeError, match="metric must be one number"):
        rule.observe(rule.initial(), metric)


# --- pauses, floor, exhaustion -----------------------------------------------------------------------------------------


def cuts(factors):
    return [i + 1 for i, (a, b) in enumerate(zip([1.0, *factors], factors, strict=False)) if b < a]


@pytest.mark.parametrize("patience", range(4))
@pytest.mark.parametrize("cooldown", range(4))
def test_a_constant_metric_is_cut_every_cooldown_patience_and_one_observations(patience, cooldown):
    rule = Plateau(0.9, patience, cooldown=cooldown)
    found = cuts(simulate(rule, [1.0] * 40))
    assert found == list(range(patience + 2, 41, cooldown + patience + 1))


def test_bad_observations_during_the_cooldown_are_not_counted_but_better_ones_become_the_best():
    rule = Plateau(0.1, patience=1, cooldown=3)
    seen = [1.0, 1.0, 1.0, 9.0, 0.5, nan, 0.7, 0.7]
    found = states(rule, seen)
    assert [s.bad for s in found] == [0, 1, 0, 0, 0, 0, 1, 0]
    assert [s.waiting for s in found] == [0, 0, 3, 2, 1, 0, 0, 3]
    assert [s.best for s in found] == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5]
    assert cuts([s.factor for s in found]) == [3, 8]


def test_exhausted_says_that_another_cut_is_due_at_the_floor():
    rule = Plateau(0.1, patience=1, floor=0.05)
    found = states(rule, [1.0] * 8)
    assert [s.factor for s in found] == [1, 1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05]
    assert [s.exhausted for s in found] == [False] * 6 + [True, True]
    assert found[-1].bad == 3  # a loop with a patience of its own counts on
    assert not rule.observe(found[-1], 0.5).exhausted


@given(rules, metrics)
def test_exhausted_needs_the_floor_and_more_bad_observations_than_patience(rule, seen):
    for state in states(rule, seen):
        assert state.exhausted == (state.factor == rule.floor and state.bad > rule.patience)


def test_greedy_raises_after_better_and_lowers_after_bad_observations():
    rule = Greedy(0.5, patience=1, ceiling=4, floor=0.5)
    falling = [10 * 0.9**i for i in range(7)]
    assert simulate(rule, falling).tolist() == [1, 1, 2, 2, 4, 4, 4]
    assert simulate(rule, falling + [99.0] * 8).tolist()[7:] == [4, 2, 2, 1, 1, 0.5, 0.5, 0.5]
    assert simulate(Greedy(0.3, patience=0, ceiling=2), falling).tolist() == [1] + [2] * 6
    assert simulate(rule, [1.0]).tolist() == [1]  # the first one is no evidence of anything


def test_greedy_pauses_after_a_raise_by_warmup_and_after_a_cut_by_cooldown():
    rule = Greedy(0.5, patience=0, ceiling=8, warmup=2, cooldown=1)
    falling = [10 * 0.9**i for i in range(5)]
    assert simulate(rule, falling).tolist() == [1, 2, 2, 2, 4]
    assert simulate(rule, [1.0] * 6).tolist() == [1, 0.5, 0.5, 0.25, 0.25, 0.125]
    paused = states(rule, falling[:4])
    assert [(s.waiting, s.good, s.best) for s in paused[1:]] == [
        (2, 0, falling[1]),
        (1, 0, falling[2]),
        (0, 0, falling[3]),
    ]


@given(greedies.map(lambda rule: dataclasses.replace(rule, ceiling=1)), metrics)
def test_a_ceiling_of_1_never_goes_above_the_schedule(rule, seen):
    assert all(factor <= 1 for factor in simulate(rule, seen))


@given(plateaus, metrics)
def test_a_plateau_never_raises(rule, seen):
    factors = [1.0, *simulate(rule, seen)]
    assert all(b <= a for a, b in itertools.pairwise(factors))


def test_greedy_observes_the_mean_of_its_window():
    rule = Greedy(0.5, patience=0, ceiling=8, window=2)
    assert [s.best for s in states(rule, [4.0, 2.0, nan, 1.0, 9.0])] == [4, 3, 3, 1.5, 1.5]


# --- torch -------------------------------------------------------------------------------------------------------------


def torch_factors(rule, seen):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    names = ("factor", "patience", "threshold", "threshold_mode", "mode", "cooldown")
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, **{name: getattr(rule, name) for name in names}, min_lr=rule.floor, eps=0
    )
    found = []
    for metric in seen:
        scheduler.step(metric)
        found.append(optimizer.param_groups[0]["lr"])
    return found


@given(
    st.builds(Plateau, **common),
    st.lists(st.one_of(st.integers(0, 5).map(float), st.floats(0, 1e6), st.just(nan)), max_size=50),
)
def test_a_plateau_decides_as_torch_s_where_metrics_are_not_negative(rule, seen):
    assert simulate(rule, seen).tolist() == torch_factors(rule, seen)


@given(st.builds(Plateau, **common | {"threshold_mode": st.just("abs")}), st.lists(plain, max_size=50))
def test_a_plateau_decides_as_torch_s_of_any_sign_with_an_absolute_threshold(rule, seen):
    assert simulate(rule, seen).tolist() == torch_factors(rule, seen)


def test_where_torch_differs():
    # A negative metric that becomes worse counts as better there.
    rule, worsening = Plateau(0.1, 0, threshold=0.1), [-1.0, -0.95]
    assert (simulate(rule, worsening).tolist(), torch_factors(rule, worsening)) == ([1, 0.1], [1, 1])
    # An infinity of the good sign is the best for ever there.
    rule, diverged = Plateau(0.1, 0), [1.0, -inf, 0.5]
    assert (simulate(rule, diverged).tolist(), torch_factors(rule, diverged)) == ([1, 0.1, 0.1], [1, 1, 0.1])


# --- controllers -------------------------------------------------------------------------------------------------------


def test_several_controllers_multiply_and_replay_in_order():
    schedule, a, b = cosine(0.3, total=9), Controller(Plateau(0.3, 0)), Controller(Greedy(0.7, 0, 3))
    live, used = apply(schedule, a, b), []
    for t in range(9):
        used.append(live(t))
        a.observe(1.0, at=t + 1)
        b.observe(-t, at=t + 1)
    plain = b.recorded(a.recorded(schedule))
    assert [plain(t) for t in range(9)] == used
    snapshot = schedule * a.factor * b.factor
    assert snapshot(4) == live(4)
    a.observe(1.0, at=10)
    assert snapshot(4) != live(4)  # a plain schedule, which later observations do not change


def test_a_live_product_takes_arrays_and_numbers_too():
    controller = Controller(Plateau(0.5, 0))
    controller.observe(1.0), controller.observe(1.0)
    assert apply(linear(1, 0, total=4), controller)(np.arange(3)).tolist() == [0.5, 0.375, 0.25]
    assert apply(2, controller)(0) == 1


def test_a_record_may_be_in_units():
    plan = RunPlan(samples=30, batch_size=10, epochs=5)
    plain = record(Plateau(0.1, 0), linear(1, 0, total="100%"), [1.0, 1.0], every="1 epoch", start="1 epoch")
    assert plain.resolve(plan) == record(Plateau(0.1, 0), linear(1, 0, total=15), [1.0, 1.0], every=3, start=3)


def test_of_two_decisions_at_one_update_the_later_is_in_force():
    controller = Controller(Plateau(0.5, 0))
    for metric, at in [(1.0, 0), (1.0, 0), (1.0, 4), (1.0, 4)]:
        controller.observe(metric, at=at)
    assert controller.recorded(1) == Constant(1) * (Constant(0.5, 4) >> Constant(0.125))


def test_recording_needs_every_observation_to_say_where():
    controller = Controller(Plateau(0.5, 0))
    assert controller.recorded(0.3) == 0.3 * Constant(1)
    controller.observe(1.0)
    with pytest.raises(ValueError, match="needs the updates of the decisions"):
        controller.recorded(0.3)
    with pytest.raises(ValueError, match="at every observation or at none"):
        controller.observe(1.0, at=3)
    controller = Controller(Plateau(0.5, 0))
    controller.observe(1.0, at=5)
    for at, words in [(4, "go backwards"), (None, "at none"), (-1, "at must be"), (True, "at must be")]:
        before = controller.state_dict()
        with pytest.raises((ValueError, TypeError), match=words):
            controller.observe(1.0, at=at)
        assert controller.state_dict() == before


def test_a_failed_observation_changes_nothing():
    controller = Controller(Plateau(0.5, 0))
    controller.observe(1.0)
    before = controller.state_dict()
    with pytest.raises(TypeError, match="metric"):
        controller.observe("x")
    assert controller.state_dict() == before


def test_a_controller_s_state_is_plain_numbers_for_json_and_torch(tmp_path):
    torch = pytest.importorskip("torch")
    controller = Controller(Greedy(0.5, 1, 4, window=3))
    for i in range(5):
        controller.observe(np.float64(i), at=np.int64(i))
    torch.save(controller.state_dict(), tmp_path / "state.pt")
    other = Controller(controller.rule)
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert other.state_dict() == controller.state_dict() == json.loads(json.dumps(controller.state_dict()))


def changed(**changes):
    controller = Controller(Plateau(0.1, 2))
    controller.observe(1.0)
    return controller.state_dict() | changes


good = Controller(Plateau(0.1, 2)).state_dict()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "must be an object"),
        ({}, "must be an object"),
        (good | {"version": 2}, "version 2; this laju reads version 1"),
        ({k: v for k, v in good.items() if k != "state"}, "lacks state"),
        (
            Controller(Greedy(0.1, 2, 3)).state_dict(),
            "belongs to the rule 'Greedy'; the controller's rule is 'Plateau'",
        ),
        (Controller(Plateau(0.2, 2)).state_dict(), "different parameters: factor was 0.2 and is 0.1"),
        (good | {"rule": 3}, "belongs to the rule None"),
        (good | {"rule": good["rule"] | {"gamma": 1}}, "gamma was 1 and is None"),
        (good | {"state": {}}, "must be an object with factor, best"),
        (good | {"state": Controller(Greedy(0.1, 2, 3)).state_dict()["state"]}, "PlateauState must be an object"),
        (good | {"state": good["state"] | {"bad": -1}}, "bad must be a whole number"),
        (good | {"state": good["state"] | {"bad": True}}, "bad must be a whole number"),
        (good | {"state": good["state"] | {"factor": nan}}, "factor must be a finite number"),
        (good | {"state": good["state"] | {"best": "1"}}, "best must be a finite number"),
        (good | {"state": good["state"] | {"exhausted": 1}}, "exhausted must be True or False"),
        (good | {"at": "x"}, "decisions cannot be read"),
        (good | {"decisions": [1]}, "decisions cannot be read"),
        (good | {"decisions": [[1, nan]]}, "decisions cannot be read"),
    ],
)
def test_a_state_that_is_not_this_controller_s_is_an_error_and_changes_nothing(data, words):
    controller = Controller(Plateau(0.1, 2))
    controller.observe(1.0, at=1)
    before = controller.state_dict()
    with pytest.raises(StateError, match=words):
        controller.load_state_dict(data)
    assert controller.state_dict() == before


def test_a_window_is_read_back_as_numbers_or_refused():
    controller = Controller(Greedy(0.1, 2, 3, window=4))
    controller.observe(1.0)
    state = controller.state_dict()
    for recent in ("12", [True], [nan], 3):
        with pytest.raises(StateError, match="recent"):
            controller.load_state_dict(state | {"state": state["state"] | {"recent": recent}})


# --- ranks -------------------------------------------------------------------------------------------------------------

ranks = st.lists(st.one_of(st.floats(allow_nan=False), st.sampled_from([0.0, -0.0])), min_size=1, max_size=6)


@given(ranks, st.sampled_from(["mean", "min", "max"]), st.randoms())
def test_the_metric_of_all_ranks_does_not_depend_on_their_order(values, how, rng):
    other = list(values)
    rng.shuffle(other)
    assert repr(across_ranks(values, how)) == repr(across_ranks(other, how))


def test_the_metric_of_all_ranks():
    assert [across_ranks([1.0, 2.0, 6.0], how) for how in ("mean", "min", "max")] == [3, 1, 6]
    for how in ("mean", "min", "max"):
        assert math.isnan(across_ranks([1.0, nan, 2.0], how))
        assert across_ranks([2.0], how) == across_ranks([np.float32(2)], how) == 2
    assert math.isnan(across_ranks([inf, -inf]))
    assert math.isnan(across_ranks([1.7e308] * 3))
    assert across_ranks([1.0, inf]) == inf


@pytest.mark.parametrize(
    ("metrics", "how", "words"),
    [
        ([], "mean", "got none"),
        ([1.0], "men", "did you mean 'mean'"),
        ([1.0], None, "how must be"),
        ([1.0, True], "mean", r"metrics\[1\]"),
        ("12", "mean", "sequence of numbers"),
        (1.0, "mean", "sequence of numbers"),
    ],
)
def test_wrong_metrics_of_ranks_are_refused(metrics, how, words):
    with pytest.raises((TypeError, ValueError), match=words):
        across_ranks(metrics, how)


def test_ranks_that_observe_the_same_number_agree_and_others_need_not():
    n, steps = 3, 30
    rng = random.Random(1)
    losses = [[rng.choice([1.0, 1.1, nan, 0.9**i]) for i in range(steps)] for _ in range(n)]
    board, barrier = [None] * n, Barrier(n)

    def run(rank):
        def of_all_ranks(metric):  # what all_gather does
            board[rank] = metric
            barrier.wait(timeout=30)
            gathered = board[rank:] + board[:rank]
            barrier.wait(timeout=30)
            return across_ranks(gathered, "mean")

        together, alone = Controller(Plateau(0.5, 1), of_all_ranks), Controller(Plateau(0.5, 1))
        for t, loss in enumerate(losses[rank]):
            together.observe(loss, at=t)
            alone.observe(loss, at=t)
        return json.dumps(together.state_dict()), json.dumps(alone.state_dict())

    with ThreadPoolExecutor(n) as pool:
        found = list(pool.map(run, range(n)))
    assert len({together for together, _ in found}) == 1
    assert len({alone for _, alone in found}) == n


# --- bad arguments -----------------------------------------------------------------------------------------------------

wrong_numbers = [nan, inf, -inf, True, "0.1", None, 1j]
BAD = [
    *[({"factor": v}, "factor") for v in [*wrong_numbers, 0, 1, -0.1, 1.5]],
    *[({"patience": v}, "patience") for v in [*wrong_numbers, -1, 1.5]],
    *[({"threshold": v}, "threshold") for v in [*wrong_numbers, -0.1, 1]],
    *[({"cooldown": v}, "cooldown") for v in [*wrong_numbers, -1, 0.5]],
    *[({"floor": v}, "floor") for v in [*wrong_numbers, -0.1, 1, 2]],
    *[({"mode": v}, "mode") for v in ["mim", "", None, 1, True]],
    *[({"threshold_mode": v}, "threshold_mode") for v in ["relative", "", None, 1]],
]
BAD_PLATEAU = [({"smoothing": v}, "smoothing") for v in [*wrong_numbers, -0.1, 1]]
BAD_GREEDY = [
    *[({"ceiling": v}, "ceiling") for v in [*wrong_numbers, 0.9, -1]],
    *[({"warmup": v}, "warmup") for v in [*wrong_numbers, -1, 0.5]],
    *[({"window": v}, "window") for v in [*wrong_numbers, 0, -1, 1.5]],
]


@pytest.mark.parametrize(
    ("make", "arguments", "name"),
    [
        *[(Plateau, {"factor": 0.1, "patience": 2} | bad, name) for bad, name in BAD + BAD_PLATEAU],
        *[(Greedy, {"factor": 0.1, "patience": 2, "ceiling": 3} | bad, name) for bad, name in BAD + BAD_GREEDY],
    ],
)
def test_a_bad_parameter_is_refused_by_name_at_construction(make, arguments, name):
    with pytest.raises((TypeError, ValueError), match=f"^{name} must be"):
        make(**arguments)


def test_an_unknown_mode_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'min'"):
        Plateau(0.1, 2, mode="minn")
    with pytest.raises(ValueError, match="did you mean 'abs'"):
        Plateau(0.1, 2, threshold_mode="abss")
    with pytest.raises(TypeError, match="patiance"):
        Plateau(0.1, patiance=2)
    assert Plateau(0.1, 2, threshold=5, threshold_mode="abs").threshold == 5


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Controller(0.1), "rule must be"),
        (lambda: Controller(Plateau), "rule must be"),
        (lambda: Controller(Plateau(0.1, 2), reduce=3), "reduce must be"),
        (lambda: Controller(Plateau(0.1, 2), reduce=lambda m: None).observe(1.0), "metric must be"),
        (lambda: Controller(Plateau(0.1, 2)).recorded("x"), "schedule must be"),
        (lambda: apply("x"), "schedule must be"),
        (lambda: apply(0.1, Plateau(0.1, 2)), r"controllers\[0\] must be"),
        (lambda: simulate(0.1, []), "rule must be"),
        (lambda: simulate(Plateau(0.1, 2), 1.0), "metrics must be"),
        (lambda: simulate(Plateau(0.1, 2), "12"), "metrics must be"),
        (lambda: simulate(Plateau(0.1, 2), [1.0, None]), "metric must be"),
        (lambda: record(0.1, 1, []), "rule must be"),
        (lambda: record(Plateau(0.1, 2), None, []), "schedule must be"),
        (lambda: record(Plateau(0.1, 2), True, []), "schedule must be"),
        (lambda: record(Plateau(0.1, 2), 1, [], every=0), "every must be"),
        (lambda: record(Plateau(0.1, 2), 1, [], every=None), "every must be"),
        (lambda: record(Plateau(0.1, 2), 1, [], every="1 epok"), "every must be"),
        (lambda: record(Plateau(0.1, 2), 1, [], start=-1), "start must be"),
        (lambda: record(Plateau(0.1, 2), 1, [], start=None), "start must be"),
    ],
)
def test_wrong_use_is_an_error_that_names_the_argument(call, words):
    with pytest.raises((TypeError, ValueError), match=words):
        call()


def test_no_observation_records_the_schedule_itself():
    assert (
        record(Plateau(0.1, 2), linear(1, 0, total=4), []).values(6).tolist()
        == linear(1, 0, total=4).values(6).tolist()
    )
    assert simulate(Plateau(0.1, 2), []).shape == (0,)
    with pytest.raises(SpecError):
        from_json(Controller(Plateau(0.1, 2)).state_dict())


def test_a_rule_without_its_two_methods_cannot_be_made():
    class Half(Rule):
        def initial(self):
            return Plateau(0.5, patience=0).initial()

    with pytest.raises(TypeError, match="observe"):
        Half()
