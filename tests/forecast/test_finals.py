"""Final losses of short runs rank longer ones at least as well as "what won then" does, and say what they cannot tell."""

from __future__ import annotations

import csv
import warnings
from pathlib import Path

import numpy as np
import pytest

import laju
from laju.forecast import Curve, ForecastWarning
from laju.forecast.finals import fit_finals

PEAKS, COOLDOWNS, N = (0.02, 0.04, 0.08), (0.1, 0.3, 0.6), 1000
TRIED = {
    f"{fraction} {peak}": laju.wsd(peak, total=N, cooldown=round(N * fraction))
    for peak in PEAKS
    for fraction in COOLDOWNS
}


def final(rates: np.ndarray) -> float:
    """Of a world with progress by the root of the sum of rates, and noise that the last rates leave."""
    left = rates.sum() - np.cumsum(rates)
    return float(2 + 0.6 * (rates.sum() / 20) ** -0.5 + 3 * (rates**2 * (1 + 10 * left) ** -1.7).sum())


def runs(schedules: dict[str, laju.Schedule], updates: int = N) -> list[Curve]:
    return [Curve([updates], [final(made.values(updates))], made, name) for name, made in schedules.items()]


def spearman(a: list[float], b: list[float]) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)


def schedule(row: dict[str, str]) -> laju.Schedule:
    updates, warmup, peak = int(row["updates"]), int(row["warmup"]), float(row["peak_lr"])
    if row["schedule"] == "cosine":
        return laju.cosine(peak, updates, warmup=warmup, final=peak * float(row["final_over_peak"]))
    cooldown = round(updates * float(row["cooldown_fraction"]))
    return laju.wsd(peak, updates, warmup=warmup, cooldown=cooldown, shape=row["cooldown_shape"])


def real(shared: Path, updates: int) -> dict[str, tuple[laju.Schedule, float]]:
    with (shared / "data/loss-curves/llama-124m/finals.csv").open() as file:
        return {
            " ".join(
                row[k] for k in ("schedule", "cooldown_fraction", "cooldown_shape", "final_over_peak", "peak_lr")
            ): (
                schedule(row),
                float(row["final_val_loss"]),
            )
            for row in csv.DictReader(file)
            if int(row["updates"]) == updates
        }


def test_runs_of_15000_updates_rank_those_of_25000_at_least_as_well_as_what_won_then(shared: Path) -> None:
    short, long = real(shared, 15_000), real(shared, 25_000)
    law = fit_finals([Curve([15_000], [loss], made, name) for name, (made, loss) in short.items()])
    with pytest.warns(ForecastWarning, match=r"peaks of 0\.0001, but the runs have 0\.0005 to 0\.002"):
        ranked = law.rank({name: made for name, (made, _) in long.items()}, 25_000)
    predicted = {one.name: one.loss for one in ranked}

    measured = {name: loss for name, (_, loss) in long.items()}
    assert spearman([predicted[name] for name in long], list(measured.values())) > 0.975
    assert measured[ranked[0].name] == min(measured.values())

    both = [name for name in long if name in short]
    then, now = [short[name][1] for name in both], [measured[name] for name in both]
    assert spearman([predicted[name] for name in both], now) >= spearman(then, now)


def test_a_held_out_run_of_15000_updates_is_predicted_to_three_thousandths(shared: Path) -> None:
    short = real(shared, 15_000)
    law = fit_finals([Curve([15_000], [loss], made, name) for name, (made, loss) in short.items()])
    assert len(law.held_out) == 20
    assert law.error < 0.003


def test_the_order_at_another_length_is_that_of_the_world_it_was_fitted_in() -> None:
    law = fit_finals(runs(TRIED))
    assert law.error < 0.01
    longer = {
        f"{shape} {peak} {fraction}": laju.wsd(peak, total=2 * N, cooldown=round(2 * N * fraction), shape=shape)
        for shape in ("linear", "sqrt")
        for peak in (0.03, 0.05)
        for fraction in (0.1, 0.4, 0.8)
    }
    ranked = law.rank(longer, 2 * N)
    true = {name: final(made.values(2 * N)) for name, made in longer.items()}
    assert spearman([one.loss for one in ranked], [true[one.name] for one in ranked]) > 0.95
    assert true[ranked[0].name] - min(true.values()) < 0.005


def test_places_rise_with_the_predicted_loss_and_the_first_is_behind_by_nothing() -> None:
    ranked = fit_finals(runs(TRIED)).rank({name: made.values(N) for name, made in TRIED.items()}, N)
    assert [one.place for one in ranked] == list(range(1, 10))
    assert ranked[0].behind == 0
    assert [one.behind for one in ranked] == sorted(one.loss - ranked[0].loss for one in ranked)


def test_what_was_run_is_predicted_nearly_as_it_came_out() -> None:
    curves = runs(TRIED)
    curves[0] = Curve([N], [curves[0].loss[0] + 0.02], TRIED[curves[0].name])
    found = {one.name: one.loss for one in fit_finals(curves).rank(TRIED, N)}
    assert found["0.1 0.02"] == pytest.approx(curves[0].loss[0], abs=0.005)


def test_the_order_does_not_depend_on_the_unit_of_rates_or_losses() -> None:
    plain = fit_finals(runs(TRIED)).rank(TRIED, N)
    scaled = {name: made.values(N) * 1e-3 for name, made in TRIED.items()}
    curves = [Curve([N], [7 * final(made.values(N))], scaled[name]) for name, made in TRIED.items()]
    again = fit_finals(curves).rank(scaled, N)
    assert [one.name for one in again] == [one.name for one in plain]
    assert [one.loss for one in again] == pytest.approx([7 * one.loss for one in plain], rel=1e-6)


def test_runs_of_several_lengths_tell_how_much_a_longer_one_gains() -> None:
    def gains(made: laju.Schedule, updates: int) -> float:
        return final(made.values(updates)) + (updates / N) ** -0.5

    longer = {name: laju.wsd(0.04, total=n, cooldown=n // 3) for name, n in (("2", 2 * N), ("4", 4 * N))}
    curves = [Curve([N], [gains(made, N)], made) for made in TRIED.values()]
    curves += [Curve([n], [gains(longer[name], n)], longer[name]) for name, n in (("2", 2 * N), ("4", 4 * N))]
    wanted = laju.wsd(0.06, total=3 * N, cooldown=N)
    law = fit_finals(curves)
    assert law.rank({"it": wanted}, 3 * N)[0].loss == pytest.approx(gains(wanted, 3 * N), abs=0.02)


def test_fewer_than_five_runs_are_refused() -> None:
    with pytest.raises(ValueError, match="runs must be 5 or more, of several schedules and peak rates, got 4"):
        fit_finals(runs(TRIED)[:4])


def test_five_runs_have_no_error_of_their_own() -> None:
    law = fit_finals(runs(TRIED)[::2])
    assert law.held_out == ()
    assert np.isnan(law.error)


def test_runs_of_one_peak_or_one_schedule_say_what_to_bring() -> None:
    one_peak = {str(f): laju.wsd(0.04, total=N, cooldown=round(N * f)) for f in (0.05, 0.1, 0.2, 0.4, 0.7)}
    with pytest.warns(ForecastWarning, match="the same peak.*half and with twice"):
        law = fit_finals(runs(one_peak))
    with pytest.warns(ForecastWarning, match=r"peaks of 0\.08, but the runs all have 0\.04"):
        law.rank({"it": laju.constant(0.08)}, N)
    one_schedule = {str(p): laju.linear(p, 0, total=N) for p in (0.01, 0.02, 0.04, 0.08, 0.16)}
    with pytest.warns(ForecastWarning, match="the same schedule.*longer cooldown"):
        fit_finals(runs(one_schedule))


@pytest.mark.parametrize(("sign", "bring"), [(1, "lower"), (-1, "higher")])
def test_losses_without_a_best_rate_say_which_to_bring(sign: int, bring: str) -> None:
    curves = [Curve([N], [3 + sign * 2 * made.values(N).sum() / N], made) for made in TRIED.values()]
    with pytest.warns(ForecastWarning, match=f"add a run with a {bring} peak"):
        fit_finals(curves)


def test_a_run_beyond_four_times_the_longest_is_warned_of() -> None:
    law = fit_finals(runs(TRIED))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        law.rank({"it": laju.constant(0.04)}, 4 * N)
    with pytest.warns(ForecastWarning, match="5,000 updates are more than four times the longest run"):
        law.rank({"it": laju.constant(0.04)}, 5 * N)


def test_bad_candidates_and_runs_are_refused() -> None:
    law = fit_finals(runs(TRIED))
    with pytest.raises(TypeError, match="candidates must be a dict of schedules by name"):
        law.rank([laju.constant(0.04)], N)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one schedule"):
        law.rank({}, N)
    with pytest.raises(ValueError, match="short must have one rate for each of the 1000 updates, got 3"):
        law.rank({"short": [0.1, 0.1, 0.1]}, N)
    with pytest.raises(laju.UnresolvedError):
        law.rank({"it": laju.cosine(0.04, total="3 epochs")}, N)
    with pytest.raises(TypeError, match="runs must be Curve objects"):
        fit_finals([3.0] * 6)  # type: ignore[list-item]
