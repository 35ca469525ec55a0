"""The best schedule of a family is better than its neighbours, and what is ill-posed is refused."""

from __future__ import annotations

import numpy as np
import pytest

import laju
from laju.forecast import fit
from tests.forecast.test_laws import AT, PEAK, SCHEDULES, WARMUP, N, curves, world


@pytest.fixture(scope="module")
def law():
    return fit(curves(noise=1e-3))


@pytest.mark.parametrize("family", ["wsd", "cosine", "linear", "power"])
def test_the_best_is_no_worse_than_a_fine_grid_of_its_family(law, family: str) -> None:
    found = law.best(N, peak=PEAK, family=family, warmup=WARMUP)
    finals = (0.0, 1e-2 * PEAK, 0.1 * PEAK, 0.3 * PEAK)
    grid = {
        "wsd": [
            laju.wsd(PEAK, total=N, cooldown=c, warmup=WARMUP, final=f, shape=shape)
            for c in range(200, N - WARMUP + 1, 250)
            for f in finals
            for shape in ("linear", "cosine", "sqrt")
        ],
        "cosine": [laju.cosine(PEAK, total=N, warmup=WARMUP, final=f) for f in finals],
        "linear": [laju.wsd(PEAK, total=N, cooldown=N - WARMUP, warmup=WARMUP, final=f) for f in finals],
        "power": [laju.poly(PEAK, total=N, warmup=WARMUP, power=p, final=f) for p in (0.5, 1, 2) for f in finals],
    }[family]
    assert found.loss <= min(law.final(schedule, N) for schedule in grid) + 2e-4
    assert found.loss == law.final(found.schedule, N)
    assert found.low < found.loss < found.high
    assert found.schedule.length == N
    assert laju.parse(str(found.schedule)) == found.schedule
    assert found.schedule(WARMUP) == found.peak == PEAK


def test_the_best_of_the_law_is_good_in_the_world(law) -> None:
    found = law.best(N, peak=PEAK, warmup=WARMUP)
    at = np.array([N])
    plain = [world(SCHEDULES[name], at)[0] for name in ("constant", "cosine")]
    assert world(found.schedule, at)[0] < min(plain)


def test_a_run_goes_on_from_where_it_is(law) -> None:
    run = SCHEDULES["constant"]
    found = law.best(2 * N, run=run, at=N)
    assert found.schedule.values(N).tolist() == run.values(N).tolist()
    assert found.schedule.length == 2 * N
    assert found.loss < law.final(run, 2 * N)
    by_rates = law.best(2 * N, run=run.values(N), at=N)
    assert by_rates.loss == pytest.approx(found.loss, abs=1e-6)


def test_several_peaks_are_searched_between() -> None:
    runs = curves(noise=1e-3)
    lower = laju.cosine(PEAK / 2, total=N, warmup=WARMUP)
    runs.append(laju.forecast.Curve(AT, world(lower, AT), lower, name="lower"))
    found = fit(runs).best(N, family="cosine", warmup=WARMUP)
    assert PEAK / 2 <= found.peak <= PEAK


def test_every_rate_free_is_ill_posed_but_for_the_functional_law(law) -> None:
    with pytest.raises(ValueError, match=r"'knots' is ill-posed with the average law.*staircase.*functional"):
        law.best(N, family="knots")
    functional = fit(curves(noise=1e-3), "functional")
    found = functional.best(N, peak=PEAK, family="knots", warmup=WARMUP)
    assert found.loss <= functional.best(N, peak=PEAK, family="linear", warmup=WARMUP).loss
    assert (np.diff(found.schedule.values(N)[WARMUP:]) <= 1e-18).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"family": "wds"}, "'wds' is not one of wsd, .*; did you mean 'wsd'"),
        ({"updates": 0}, "updates"),
        ({"warmup": N}, f"warmup must be less than updates = {N}"),
        ({"peak": -1}, "peak"),
        ({"run": laju.constant(PEAK)}, "at"),
        ({"run": laju.constant(PEAK), "at": N}, f"at must be less than updates = {N}"),
        ({"run": laju.constant(PEAK), "at": 10, "peak": 1e-4}, "must be left out if run is given"),
    ],
)
def test_what_contradicts_is_refused(law, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        law.best(**({"updates": N} | arguments))
