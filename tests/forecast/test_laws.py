"""The laws are those of their papers, however their sums are made; a fit finds them again and predicts what was not run."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import laju
from laju.forecast import Curve, FittedLaw, ForecastWarning, errors, fit
from laju.forecast.blocks import history
from laju.forecast.laws import LAWS, Law
from laju.forecast.problem import Units, _terms

PEAK, N, WARMUP = 3e-4, 6000, 300
UNITS = Units(rate=PEAK, length=5000.0, level=3.0, first=0.05, noise=1e-3)
SCHEDULES = {
    "constant": laju.constant(PEAK).warmup(WARMUP),
    "cosine": laju.cosine(PEAK, total=N, warmup=WARMUP, final=PEAK / 10),
    "drop": laju.linear(0, PEAK, total=WARMUP) >> laju.multi_factor(PEAK, [2500], 0.3),
    "wsd": laju.wsd(PEAK, total=N, cooldown=1000, warmup=WARMUP),
    "sqrt": laju.wsd(PEAK, total=N, cooldown=3000, warmup=WARMUP, shape="sqrt", final=PEAK / 50),
    "restarts": laju.cosine_restarts(PEAK, every=2000, final=PEAK / 10),
}
AT = np.arange(WARMUP + 20, N + 1, 97)


def direct(name: str, rates: np.ndarray, t: int, p: dict[str, float]) -> float:
    """L0 + A·s^-α and the law's own sum, written as the paper has it, update by update."""
    x = rates[:t] / PEAK
    S = np.concatenate([[0.0], np.cumsum(x)]) / UNITS.length
    smooth = p["L0"] + p["A"] * S[t] ** -p["alpha"]
    scale = p["amplitude"] * UNITS.level
    power = p.get("power", 1.0)
    if "functional" in name:
        distance = S[t] - (S[:-1] + S[1:]) / 2
        return smooth + scale * p["C"] * p["kappa"] * float(
            (x ** (1 + power) / UNITS.length * (1 + p["C"] * distance) ** -p["kappa"]).sum()
        )
    start = int(np.argmax(x)) if x[0] < x.max() else 0
    total = 0.0
    for k in range(start + 1, t):
        drop = x[k - 1] ** power - x[k] ** power
        if not drop:
            continue
        if name == "momentum":
            effect = 1 - np.exp(-(t - k) / UNITS.length / p["memory"])
        else:
            effect = 1 - (1 + p["C"] * max(x[k], 1e-12) ** -p["gamma"] * (S[t] - S[k])) ** -p["beta"]
        total += drop * effect
    return smooth - scale * total


@pytest.mark.parametrize("schedule", list(SCHEDULES))
@pytest.mark.parametrize("name", list(LAWS))
def test_blocks_of_the_past_give_the_papers_sums(name: str, schedule: str) -> None:
    law, rates = LAWS[name], SCHEDULES[schedule].values(N)
    p = {key: prior.centre for key, prior in law.parameters.items()} | {"L0": 2.8, "A": 0.25}
    linear = np.array([p["L0"], p["A"], 0.0][: 2 + law.transient])
    X, z, _, _ = _terms(law, history(rates, AT, PEAK, UNITS.length), np.log(values(law)), UNITS)
    expected = [direct(name, rates, int(t), p) for t in AT]
    # A tenth of the noise of a loss.
    np.testing.assert_allclose(X @ linear + z, expected, rtol=1e-4)


def values(law: Law) -> np.ndarray:
    return np.array([prior.centre for prior in law.parameters.values()])


@pytest.mark.parametrize("name", list(LAWS))
def test_derivatives_are_those_of_the_values(name: str) -> None:
    law = LAWS[name]
    run = history(SCHEDULES["sqrt"].values(N), AT, PEAK, UNITS.length)
    linear = np.array([2.8, 0.25, 0.1][: 2 + law.transient])
    logs = np.log(values(law)) + 0.1

    def loss(at: np.ndarray) -> np.ndarray:
        terms = _terms(law, run, at, UNITS)
        return terms.X @ linear + terms.z

    by = _terms(law, run, logs, UNITS).by(linear)
    for j in range(len(logs)):
        step = np.zeros(len(logs))
        step[j] = 1e-5
        np.testing.assert_allclose(by[:, j], (loss(logs + step) - loss(logs - step)) / 2e-5, rtol=2e-4, atol=1e-9)


def world(schedule: laju.Schedule, at: np.ndarray, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    """Losses of a world that obeys the published multi-power law, at other parameters than the priors' centres."""
    p = {"L0": 2.5, "A": 0.3, "alpha": 0.42, "C": 150.0, "beta": 0.75, "gamma": 0.4, "amplitude": 0.07}
    clean = np.array([direct("multi-power", schedule.values(int(at[-1])), int(t), p) for t in at])
    return clean * (1 + noise * np.random.default_rng(seed).normal(size=len(at)))


def curves(noise: float = 0.0) -> list[Curve]:
    return [
        Curve(AT, world(SCHEDULES[name], AT, noise, i), SCHEDULES[name], name=name)
        for i, name in enumerate(("constant", "cosine", "drop"))
    ]


@pytest.mark.parametrize("law", ["average", "multi-power"])
def test_a_fit_predicts_schedules_that_were_not_run(law: str) -> None:
    fitted = fit(curves(noise=5e-4), law)
    for name in ("wsd", "sqrt"):
        row = errors(Curve(AT, world(SCHEDULES[name], AT), SCHEDULES[name]), fitted.predict(SCHEDULES[name], AT))
        assert row.mae < 0.004
        assert row.worst < 0.006


def test_without_noise_the_law_is_found_again() -> None:
    found = fit(curves(), "multi-power").parameters["multi-power"]
    assert found["L0"].value == pytest.approx(2.5, abs=0.02)
    assert found["alpha"].value == pytest.approx(0.42, abs=0.03)
    assert found["amplitude"].value == pytest.approx(0.07 * 3.0 / fit(curves(), "multi-power").units.level, rel=0.1)


def test_a_prior_gives_in_to_the_data() -> None:
    """An amplitude five times the prior's centre, whose spread is a tenth, is found all the same."""
    runs = []
    for curve in curves():
        away = curve.loss - (2.5 + 0.3 * (np.cumsum(curve.rates)[AT - 1] / PEAK / UNITS.length) ** -0.42)
        runs.append(Curve(AT, curve.loss + 2.5 * away, curve.rates))
    found = fit(runs, "multi-power")
    assert found.parameters["multi-power"]["amplitude"].value * found.units.level == pytest.approx(
        0.07 * 3 * 3.5, rel=0.1
    )


def test_the_unit_of_the_rate_does_not_matter() -> None:
    scaled = [Curve(c.updates, c.loss, 1000 * c.rates) for c in curves(noise=1e-3)]
    a, b = fit(curves(noise=1e-3)), fit(scaled)
    at = [3000, N]
    np.testing.assert_allclose(
        a.predict(SCHEDULES["wsd"], at), b.predict((1000 * SCHEDULES["wsd"]).values(N), at), rtol=1e-6
    )


def test_a_fit_is_repeatable_and_its_updates_may_come_in_any_order() -> None:
    a, b = fit(curves(noise=1e-3)), fit(curves(noise=1e-3))
    at = np.array([5000, 400, N, 400])
    found = a.predict(SCHEDULES["cosine"], at)
    assert found.tolist() == b.predict(SCHEDULES["cosine"], at).tolist()
    assert found[1] == found[3]
    assert found[2] == pytest.approx(a.final(SCHEDULES["cosine"], N), rel=1e-12)


def test_bands_hold_most_of_what_is_measured_and_widen_with_their_level() -> None:
    fitted = fit(curves(noise=1e-3))
    loss = world(SCHEDULES["wsd"], AT, noise=1e-3, seed=9)
    low, high = fitted.band(SCHEDULES["wsd"], AT)
    assert ((low <= loss) & (loss <= high)).mean() > 0.8
    wide = fitted.band(SCHEDULES["wsd"], AT, level=0.99)
    assert (wide[0] < low).all()
    assert (wide[1] > high).all()
    assert (high - low).max() < 0.1


def test_each_curve_is_predicted_by_the_others() -> None:
    runs = curves(noise=1e-3)
    fitted = fit(runs)
    assert [row.curve for row in fitted.held_out] == ["constant", "cosine", "drop"]
    rest = fit([runs[0], runs[2]])
    assert fitted.held_out[1].mae == pytest.approx(errors(runs[1], rest.predict(runs[1].rates, AT)).mae)
    assert fit(runs[:2]).held_out == ()
    assert fit(runs, held_out=False).held_out == ()


def test_an_outlier_hardly_moves_the_fit() -> None:
    runs = curves(noise=1e-3)
    spiked = runs[1].loss.copy()
    spiked[20] *= 1.5
    a, b = fit(runs), fit([runs[0], Curve(AT, spiked, runs[1].rates), runs[2]], held_out=False)
    assert abs(a.final(SCHEDULES["wsd"], N) - b.final(SCHEDULES["wsd"], N)) < 0.01


def test_what_the_curves_cannot_tell_is_said() -> None:
    runs = curves()
    fitted = fit(runs)
    with pytest.warns(ForecastWarning, match="the laws do not transfer to peaks"):
        fitted.predict(laju.constant(2 * PEAK), [100])
    with pytest.warns(ForecastWarning, match="more than four times the longest curve"):
        fitted.final(laju.constant(PEAK), 5 * N)
    with pytest.warns(ForecastWarning, match="all curves have the same schedule"):
        fit([runs[0]])
    with pytest.warns(ForecastWarning, match="all curves have the same schedule"):
        fit([runs[0], Curve(AT, runs[0].loss * 1.001, runs[0].rates)])
    rising = Curve(AT, np.where(AT < 3000, runs[1].loss, np.linspace(2.5, 3.4, len(AT))), runs[1].rates, name="rising")
    with pytest.warns(ForecastWarning, match="the loss of rising ends .* above its lowest"):
        fit([runs[0], rising])
    noisy = [Curve(AT, c.loss * (0.01 + 0.99 * (i == 1)), c.rates, name=str(i)) for i, c in enumerate(runs)]
    with pytest.warns(ForecastWarning, match="the law does not describe these curves"):
        fit(noisy)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(runs).final(SCHEDULES["wsd"], 3 * N)


def test_a_fitted_law_is_json_and_says_what_it_is() -> None:
    import json

    found = json.loads(json.dumps(fit(curves()).to_json(), allow_nan=False))
    assert found["law"] == "average"
    assert set(found["weights"]) == set(found["parameters"]) == {"extended multi-power", "extended functional"}
    assert [curve["name"] for curve in found["curves"]] == ["constant", "cosine", "drop"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"law": "multipower"}, "'multipower' is not one of average, .*; did you mean 'multi-power'"),
        ({"curves": []}, "at least one curve"),
        ({"curves": "few"}, "8 losses together, and the law has"),
    ],
)
def test_what_cannot_be_fitted_is_refused(change: dict, message: str) -> None:
    few = [Curve(AT[:4], c.loss[:4], c.rates) for c in curves()[:2]]
    arguments = {"curves": curves(), "law": "average"} | change
    if arguments["curves"] == "few":
        arguments["curves"] = few
    with pytest.raises(ValueError, match=message):
        fit(**arguments)


def test_only_curves_are_fitted() -> None:
    with pytest.raises(TypeError, match="curves must be Curve objects, got \\(1, 2\\)"):
        fit([(1, 2)])


# --- real curves -------------------------------------------------------------------------------------------------------

TRAIN = ("cosine_24000", "constant_24000", "wsdcon_9")
TEST = ("constant_72000", "cosine_72000", "wsd_20000_24000", "wsdld_20000_24000", "wsdcon_3", "wsdcon_18")


def real(shared, size: str, name: str) -> Curve:
    table = np.loadtxt(shared / "data/loss-curves/multi-power-law" / size / f"{name}.csv", delimiter=",", skiprows=1)
    kind, *numbers = name.split("_")
    total = 16000 if kind == "wsdcon" else int(numbers[-1])
    table = table[table[:, 0] <= total]
    up, peak, end = laju.linear(0, 3e-4, total=2160), 3e-4, 3e-5
    schedule = {
        "constant": lambda: up >> laju.constant(peak),
        "cosine": lambda: laju.cosine(peak, total=total, warmup=2160, final=end),
        "wsd": lambda: up >> laju.constant(peak).take(17840) >> laju.exponential(peak, end, total=4000),
        "wsdld": lambda: up >> laju.constant(peak).take(17840) >> laju.linear(peak, end, total=4000),
        "wsdcon": lambda: up >> laju.constant(peak).take(5840) >> laju.constant(int(numbers[-1]) * 1e-5),
    }[kind]()
    logged = table[:, 1]
    np.testing.assert_allclose(schedule.values(total + 1)[table[:, 0].astype(int)], logged, rtol=1e-3)
    return Curve(table[:, 0], table[:, 2], schedule, name=name)


def predicted(shared, size: str) -> tuple[FittedLaw, list]:
    fitted = fit([real(shared, size, name) for name in TRAIN])
    rows = [
        errors(curve, fitted.predict(curve.rates, curve.updates)) for curve in (real(shared, size, n) for n in TEST)
    ]
    return fitted, rows


@pytest.mark.parametrize("size", ["25M", "100M"])
def test_three_curves_of_a_language_model_predict_six_others(shared, size: str) -> None:
    _, rows = predicted(shared, size)
    assert np.mean([row.mae for row in rows]) <= 0.0040
    assert np.mean([row.worst for row in rows]) <= 0.0045
