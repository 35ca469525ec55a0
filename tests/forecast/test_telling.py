"""Which run to make next, and when to cool down."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import laju
from laju.forecast import Curve, ForecastWarning, cooldowns, fit, next_run
from tests.forecast.test_ending import AT, LOSS, PAST, RUN, TOTAL
from tests.forecast.test_laws import PEAK, SCHEDULES, WARMUP, N, curves, world


def quiet_fit(found: list[Curve]):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ForecastWarning)
        return fit(found)


def test_what_a_cooldown_gains_is_asked_of_a_branch_of_the_flat_run() -> None:
    flat = [curve for curve in curves(noise=1e-3) if curve.name == "constant"]
    asked = [laju.wsd(PEAK, total=2 * N, cooldown=N // 2, warmup=WARMUP)]
    found = next_run(quiet_fit(flat), N // 4, asked)
    assert found.runs[0].branch == "constant"
    assert found.runs[0].cost <= N // 4
    assert found.runs[0].spread < 0.5 * found.spread
    assert all(run.spread <= found.spread for run in found.runs)
    made = flat[0].rates[:-1]
    assert found.runs[0].schedule.values(len(made)) == pytest.approx(made, rel=2e-3, abs=1e-3 * PEAK)


def test_the_most_telling_run_leaves_a_narrower_band_than_the_least_telling() -> None:
    known = [curve for curve in curves(noise=1e-3) if curve.name == "constant"]
    target = laju.wsd(PEAK, total=2 * N, cooldown=N // 2, warmup=WARMUP)
    found = next_run(quiet_fit(known), N // 2, [target])
    same_peak = [r for r in found.runs if r.branch is None and r.schedule.values(r.cost).max() == pytest.approx(PEAK)]
    widths = []
    for run in (same_peak[0], same_peak[-1]):
        at = np.arange(WARMUP + 20, run.cost + 1, 20)
        law = quiet_fit([*known, Curve(at, world(run.schedule, at), run.schedule, "next")])
        low, high = law.band(target, [2 * N])
        widths.append(float(high[0] - low[0]))
    assert widths[0] < widths[1]


def test_other_peaks_are_told_by_runs_at_these_peaks() -> None:
    law = fit(curves(noise=1e-3))
    low = next_run(law, N, [laju.cosine(PEAK / 2, total=2 * N, warmup=WARMUP)]).runs[0]
    high = next_run(law, N, [laju.cosine(2 * PEAK, total=2 * N, warmup=WARMUP)]).runs[0]
    assert low.schedule.values(low.cost).max() == pytest.approx(PEAK / 2)
    assert high.schedule.values(high.cost).max() == pytest.approx(2 * PEAK)
    assert low.schedule(0) == 0
    assert low.schedule(WARMUP) == pytest.approx(PEAK / 2)


def test_the_best_has_the_warmup_of_the_curves() -> None:
    found = fit(curves(noise=1e-3)).best(N, peak=PEAK)
    assert found.schedule(0) == 0
    assert found.schedule(WARMUP) == PEAK
    assert found.schedule(WARMUP // 2) == pytest.approx(PEAK / 2)


@pytest.mark.parametrize(
    ("budget", "asked", "said"),
    [
        (0, [SCHEDULES["cosine"]], "budget"),
        (WARMUP, [SCHEDULES["cosine"]], "must leave updates after the warmup"),
        (N, [], "at least one schedule"),
        (N, [laju.constant(PEAK)], "must have an end"),
    ],
)
def test_questions_that_cannot_be_are_named(budget: int, asked: list[laju.Schedule], said: str) -> None:
    some = [curve for curve in curves(noise=1e-3) if curve.name != "constant"]
    with pytest.raises(ValueError, match=said):
        next_run(quiet_fit(some), budget, asked)


# --- when to cool down -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.5, 0.8])
def test_every_way_begins_as_the_run_did(share: float) -> None:
    n = int(share * len(AT))
    seen = int(AT[n - 1])
    ways = cooldowns(AT[:n], LOSS[:n], RUN, prior=PAST)
    assert [way.name for way in ways] == ["now", "as planned", "later", "longer"]
    for way in ways:
        assert way.schedule.values(seen).tolist() == pytest.approx(RUN.values(seen).tolist())
        assert way.ending.at == way.schedule.length
    ends = {way.name: way.ending.at for way in ways}
    assert ends["now"] < ends["as planned"] == ends["later"] == TOTAL < ends["longer"]


def test_no_way_is_told_in_a_warmup_or_at_the_end() -> None:
    late = laju.wsd(0.1, total=TOTAL, cooldown=400, warmup=3000)
    assert cooldowns(AT[:50], LOSS[:50], late, prior=PAST) == ()
    assert cooldowns(AT, LOSS, RUN, prior=PAST) == ()
    with pytest.raises(ValueError, match="must have an end"):
        cooldowns(AT[:50], LOSS[:50], laju.constant(0.1), prior=PAST)


def test_a_run_without_a_cooldown_is_told_what_one_gives() -> None:
    flat = laju.constant(0.1).take(TOTAL)
    ways = {way.name: way for way in cooldowns(AT[:60], LOSS[:60], flat, prior=PAST)}
    assert str(ways["now"].schedule) == str(laju.Constant(0.1, 2400) >> laju.Ramp(0.1, 0.0, 800))
    assert ways["later"].schedule.length == TOTAL
