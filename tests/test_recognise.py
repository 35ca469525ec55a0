"""`recognise`: what schedules and schedulers really gave is told by their values alone, and nothing is told wrongly."""

from __future__ import annotations

import csv
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import laju
from laju.recognition import Recognised, falls, recognise, sampled, solving, work


def ulps(found: Recognised, values: np.ndarray) -> float:
    again = found.schedule.values(len(values))
    return float(np.abs(again - values).max() / np.spacing(np.abs(values).max()))


def draws(rng: np.random.Generator) -> dict[str, laju.Schedule]:
    """One schedule of each policy, with parameters such as people write."""
    peak = float(rng.choice([0.3, 0.1, 0.05, 1e-3, 6e-4, 2e-5]))
    total, warmup = int(rng.integers(60, 400)), int(rng.integers(3, 20))
    every, cooldown = int(rng.integers(8, 30)), int(rng.integers(10, 30))
    low, decay = peak / int(rng.integers(10, 100)), float(rng.choice([0.1, 0.5, 0.8]))
    first, second = sorted(rng.choice(np.arange(5, 60), 2, replace=False).tolist())
    second += 5
    return {
        "constant": laju.constant(peak),
        "cosine": laju.cosine(peak, total),
        "cosine, warmup": laju.cosine(peak, total, final=low, warmup=warmup),
        "linear": laju.linear(peak, low, total),
        "linear_to_zero": laju.linear_to_zero(peak, total, warmup=warmup),
        "poly": laju.poly(peak, total, power=float(rng.choice([0.5, 0.9, 2, 3]))),
        "exponential": laju.exponential(peak, low, total),
        "natural_exponential": laju.natural_exponential(peak, rate=float(rng.choice([0.01, 0.05]))),
        "inverse_time": laju.inverse_time(peak, float(rng.choice([0.01, 0.1]))),
        "inverse_sqrt": laju.inverse_sqrt(peak, warmup=warmup),
        "square_root": laju.square_root(peak),
        "polynomial_decay": laju.polynomial_decay(peak, alpha=0.55, beta=0.1),
        "noam": laju.noam(512, warmup=total // 3),
        "welling_teh": laju.welling_teh(peak, 10, 0.55),
        "rex": laju.rex(peak, total),
        "tanh_decay": laju.tanh_decay(peak, total),
        "flat_cosine": laju.flat_cosine(peak, total, flat=total // 2),
        "wsd": laju.wsd(peak, total, cooldown=cooldown, warmup=warmup),
        "trapezoid": laju.trapezoid(peak, total, warmup=warmup, cooldown=cooldown),
        "factor": laju.factor(peak, 0.97),
        "factor, steps": laju.factor(peak, decay, every=every),
        "multi_factor": laju.multi_factor(peak, [first, second], decay),
        "piecewise_constant": laju.piecewise_constant([first, second], [peak, 2 * peak, low]),
        "knots": laju.knots([(0, 0.0), (first, peak), (second, low)]),
        "one_cycle": laju.one_cycle(peak, total),
        "one_cycle, three": laju.one_cycle(peak, total, phases=3, shape="linear"),
        "one_cycle_momentum": laju.one_cycle_momentum(total),
        "triangular": laju.triangular(low, peak, up=every),
        "triangular2": laju.triangular2(low, peak, up=every),
        "exp_range": laju.exp_range(low, peak, up=every, gamma=0.99),
        "cosine_restarts": laju.cosine_restarts(peak, every, growth=int(rng.integers(1, 3)), decay=decay),
        "exponential_warmup": laju.exponential_warmup(peak, every),
        "untuned_linear": laju.untuned_linear(peak, 0.99),
        "untuned_exponential": laju.untuned_exponential(peak, 0.99),
        "radam_warmup": laju.radam_warmup(peak, 0.99),
        "chebyshev": laju.chebyshev(low, peak, total=64),
        "chebyshev, again and again": laju.chebyshev(low, peak, total=16).repeat(),
    }


@pytest.mark.slow
def test_policies_are_told_by_their_values():
    """Every answer has the values; at least 95 of 100 are formulas."""
    tables, drawn = [], 0
    for seed in range(2):
        for name, schedule in draws(np.random.default_rng(seed)).items():
            values = schedule.values(150)
            found = recognise(values)
            assert ulps(found, values) <= 16, f"{name}: {found}"
            drawn += 1
            if not found.is_formula:
                tables.append(f"{name}, seed {seed}")
    print(f"{drawn - len(tables)} of {drawn} draws are formulas; tables: {tables}")
    assert len(tables) <= 0.05 * drawn, tables


@pytest.mark.parametrize(
    "text",
    [
        "cosine(0.3, total=100, warmup=5)",
        "linear_to_zero(0.3, total=90, warmup=9)",
        "wsd(0.1, total=100, cooldown=20, warmup=5)",
        "factor(0.1, 0.5, every=10)",
        "multi_factor(0.1, [30, 60], 0.1)",
        "cosine_restarts(0.1, every=20, growth=2, decay=0.5)",
        "inverse_sqrt(0.1, warmup=10)",
        "noam(512, 40)",
        "chebyshev(0.001, 0.3, total=64)",
        "chebyshev(0.001, 0.3, total=50, order='falling')",
        "chebyshev(0.02, 0.5, total=16).repeat()",
    ],
)
def test_the_text_is_what_a_person_would_write(text: str):
    assert recognise(laju.parse(text).values(120)).text == text


def test_a_run_cut_short_still_tells_the_total():
    assert recognise(laju.cosine(0.3, total=100, warmup=5).values(60)).parameters == {
        "peak": 0.3,
        "total": 100,
        "warmup": 5,
    }


@pytest.mark.parametrize("case", ["cosine", "step", "multi", "exp", "linear", "sequence", "triangle", "restarts"])
def test_torch_schedulers_are_told(case: str):
    torch = pytest.importorskip("torch")
    schedulers = torch.optim.lr_scheduler
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    match case:
        case "cosine":
            scheduler = schedulers.CosineAnnealingLR(optimizer, 100)
        case "step":
            scheduler = schedulers.StepLR(optimizer, 30)
        case "multi":
            scheduler = schedulers.MultiStepLR(optimizer, [30, 80])
        case "exp":
            scheduler = schedulers.ExponentialLR(optimizer, 0.95)
        case "linear":
            scheduler = schedulers.LinearLR(optimizer, 0.1, total_iters=20)
        case "sequence":
            parts = [schedulers.LinearLR(optimizer, 0.1, total_iters=10), schedulers.CosineAnnealingLR(optimizer, 90)]
            scheduler = schedulers.SequentialLR(optimizer, parts, [10])
        case "triangle":
            scheduler = schedulers.CyclicLR(optimizer, 0.01, 0.1, step_size_up=10)
        case _:
            scheduler = schedulers.CosineAnnealingWarmRestarts(optimizer, 10, 2)
    values = []
    for _ in range(100):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    found = recognise(values)
    expected = {
        "cosine": "cosine",
        "step": "factor",
        "multi": "multi_factor",
        "exp": "factor",
        "linear": "linear",
        "sequence": "cosine",
        "triangle": "triangular",
        "restarts": "cosine_restarts",
    }[case]
    assert found.name == expected, str(found)
    assert ulps(found, np.array(values)) <= 16


@pytest.mark.parametrize(
    ("name", "policy"),
    [("linear", "linear_to_zero"), ("cosine", "cosine"), ("inverse_sqrt", "inverse_sqrt"), ("polynomial", "poly")],
)
def test_transformers_schedulers_are_told(name: str, policy: str):
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = transformers.get_scheduler(name, optimizer, num_warmup_steps=10, num_training_steps=100)
    values = []
    for _ in range(100):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    found = recognise(values)
    assert (found.name, found.parameters["warmup"]) == (policy, 10), str(found)


def test_optax_schedules_are_told_up_to_float32():
    optax = pytest.importorskip("optax")
    schedule = optax.warmup_cosine_decay_schedule(0, 0.1, 10, 100)
    found = recognise([float(schedule(t)) for t in range(100)])
    assert found.text == "cosine(0.1, total=100, warmup=10)"
    assert 0 < found.error < 1e-7
    assert "float32" in found.note


def test_printed_digits_are_enough():
    found = recognise([f"{x:.6f}" for x in laju.cosine(0.3, total=100, warmup=5).values(100)])
    assert found.text == "cosine(0.3, total=100, warmup=5)"
    assert found.error <= 5e-7


def test_missing_updates_are_no_matter():
    schedule = laju.cosine(0.3, total=100)
    found = recognise([(t, schedule(t)) for t in range(100) if t % 7 != 3])
    assert found.text == "cosine(0.3, total=100)"


def test_epochs_become_plateaus():
    values = laju.cosine(0.3, total=20).values(15)
    found = recognise(values, updates_per_epoch=10)
    assert found.schedule.values(150).tolist() == pytest.approx(np.repeat(values, 10).tolist(), abs=1e-15)


def test_noise_is_a_table_that_says_so():
    values = np.random.default_rng(0).normal(size=50)
    found = recognise(values)
    assert not found.is_formula
    assert "no formula" in found.note
    assert found.schedule.values(50).tolist() == values.tolist()


@pytest.mark.parametrize(
    "values",
    [[0.1], [0.1, 0.2], [0, 0, 0], [0, 0, 0, 1], [-1, -2, -4, -8.0], [1e-320, 2e-320], [1e308, -1e308, 1e308]],
)
def test_any_finite_values_have_an_answer(values: list[float]):
    found = recognise(values)
    assert np.abs(found.schedule.values(len(values)) - values).max() <= found.tolerance


def test_random_short_lists_have_an_answer():
    rng = np.random.default_rng(1)
    for _ in range(60):
        values = rng.choice([0.0, 0.1, 0.2, 1.0, -0.5, 1e-30, 1e30], size=int(rng.integers(1, 12)))
        found = recognise(values)
        assert np.abs(found.schedule.values(len(values)) - values).max() <= found.tolerance, values


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ([], ValueError, "at least one learning rate, got none"),
        ([0.1, math.nan], ValueError, r"values\[1\] must be finite, got nan"),
        ([math.inf], ValueError, r"values\[0\] must be finite"),
        (["0.1", "x"], ValueError, r"values\[1\] must be a number, got 'x'"),
        ([0.1, None], TypeError, r"values\[1\] must be a number"),
        ([(0, 0.1), (0, 0.2)], ValueError, "updates must increase, got 0 after 0"),
        ([(-1, 0.1), (0, 0.2)], ValueError, r"values\[0\]\[0\] must be .* at least 0"),
        ([(0, 0.1), (10**400, 0.2)], ValueError, r"values\[1\]\[0\] must be"),
        ("0.1", TypeError, "a list of learning rates"),
        (laju.constant(0.1), TypeError, r"pass its \.values"),
    ],
)
def test_wrong_values_are_refused(values: object, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        recognise(values)


def test_numpy_is_enough():
    code = "import sys; from laju.recognition import recognise; recognise([0.1, 0.2]); print('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize(("first", "every"), [(0, 10), (9, 10), (3, 7), (0, 1)])
@pytest.mark.parametrize(
    "text", ["cosine(0.3, total=1000, warmup=57)", "wsd(0.001, total=1000, cooldown=205, warmup=103)"]
)
def test_where_curves_meet_is_found_though_no_rate_was_logged_there(text: str, first: int, every: int):
    values = laju.parse(text).values(950)
    assert recognise([(t, float(values[t])) for t in range(first, 950, every)]).text == text


@pytest.mark.parametrize(("first", "every"), [(0, 1), (0, 10), (9, 10)])
def test_six_digits_of_a_log_are_enough(first: int, every: int):
    text = "cosine(0.3, total=1000, warmup=57)"
    values = laju.parse(text).values(700)
    found = recognise([(t, f"{values[t]:.6f}") for t in range(first, 700, every)])
    assert found.text == text
    assert "rounding of the values" in found.note


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("steps", [100, 101, 37, 123])
def test_a_cycle_whose_top_is_between_two_steps(steps: int):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.3, total_steps=steps)
    values = laju.trace(scheduler, steps).values(steps)
    found = recognise(values)
    assert found.is_formula
    assert ulps(found, values) <= 8


def test_a_scheduler_that_counts_from_1_is_said_to():
    found = recognise(laju.cosine(0.1, total=100).values(61)[1:])
    assert found.text == "cosine(0.1, total=100).shift(-1)"
    assert "counts from 1" in found.note


# --- logs of few digits -------------------------------------------------------------------------------------------------

LOGGED = [
    "cosine(0.3, total=1000, warmup=50)",
    "cosine(0.0006, total=900, final=6e-05)",
    "linear_to_zero(5e-05, total=1000, warmup=100)",
    "wsd(0.001, total=1000, cooldown=200, warmup=50)",
    "poly(0.1, total=1000, power=2)",
    "exponential(0.3, 0.003, total=1000)",
    "inverse_sqrt(0.002, warmup=50)",
    "noam(512, 400)",
    "cosine_restarts(0.1, every=250)",
    "natural_exponential(0.1, rate=0.01)",
    "factor(0.1, 0.99)",
]


@pytest.mark.parametrize("text", LOGGED)
@pytest.mark.parametrize("digits", ["{:.3e}", "{:.4e}", "{:.4g}"])
def test_a_log_of_few_digits_is_read(text: str, digits: str):
    rates = [digits.format(rate) for rate in laju.parse(text).values(1000)]
    found = recognise(rates)
    assert found.text == text
    assert "rounding" in found.note


@pytest.mark.parametrize("text", [text for text in LOGGED if "restarts" not in text])
def test_a_log_of_few_digits_and_of_some_updates_is_read(text: str):
    values = laju.parse(text).values(1000)
    found = recognise([(t, f"{values[t]:.4e}") for t in range(0, 1000, 20)])
    assert float(np.abs(found.schedule.values(1000)[::20] - values[::20]).max()) <= 1e-4 * values.max()
    assert found.is_formula
    assert found.text.partition("(")[0] == text.partition("(")[0]


def test_a_run_cut_short_is_read_from_few_digits():
    values = laju.cosine(3e-4, total=1000, final=3e-5, warmup=20).values(600)
    found = recognise([f"{rate:.4e}" for rate in values])
    assert found.text == "cosine(0.0003, total=1000, final=3e-05, warmup=20)"


def test_noise_of_few_digits_is_a_table():
    noise = np.random.default_rng(0).uniform(0.1, 0.2, 60)
    assert not recognise([f"{rate:.3e}" for rate in noise]).is_formula


@pytest.mark.parametrize("last", [2_000_000, 200_000_000])
def test_a_log_with_few_rows_of_a_long_run_is_read(last: int):
    schedule = laju.inverse_sqrt(2e-3, warmup=last // 50)
    found = recognise([(t, f"{schedule(t):.4e}") for t in range(0, last, last // 100)])
    assert found.text == f"inverse_sqrt(0.002, warmup={last // 50})"


# --- logs as people have them: rows from somewhere on, with gaps, lags and printed digits --------------------------------


def logged(schedule: laju.Schedule, rows: range, lag: int = 0, digits: str = "") -> list[tuple[int, float | str]]:
    """(update, rate) of some updates, printed or not, as a loop logs them whose first `lag` updates were skipped."""
    rates = [float(schedule(max(t - lag, 0))) for t in rows]
    return [(t, format(rate, digits) if digits else rate) for t, rate in zip(rows, rates, strict=True)]


def of_drawn(seed: int) -> tuple[np.random.Generator, float, int, int, range]:
    """A generator, a peak, a total that is no multiple of the rows' distance, a warmup, and rows that begin after update 0."""
    rng = np.random.default_rng(seed)
    every = int(rng.choice([50, 100, 200]))
    total = every * int(rng.integers(40, 120)) + int(rng.integers(1, every))
    first = int(rng.choice([every - 1, every]))
    peak = float(rng.choice([5e-5, 2e-5, 1e-4, 3e-4]))
    return rng, peak, total, math.ceil(0.03 * total), range(first, total, every)


@pytest.mark.parametrize("seed", range(6))
def test_a_cosine_is_found_from_rows_between_its_peak_and_its_end(seed: int):
    _, peak, total, _, rows = of_drawn(seed)
    found = recognise(logged(laju.cosine(peak, total), rows))
    assert found.text == f"cosine({peak!r}, total={total})"
    assert f"no row tells what came before update {rows[0]}" in found.note


@pytest.mark.parametrize("seed", range(6))
def test_a_line_after_a_warmup_has_the_shortest_decimals(seed: int):
    _, peak, total, warmup, rows = of_drawn(seed)
    rows = range(rows[0], total, max(warmup // 3, 1))
    found = recognise(logged(laju.linear_to_zero(peak, total, warmup=warmup), rows))
    assert found.text == f"linear_to_zero({peak!r}, total={total}, warmup={warmup})"


@pytest.mark.parametrize("seed", range(6))
def test_of_a_warmup_that_no_row_tells_nothing_is_stated(seed: int):
    _, peak, total, warmup, rows = of_drawn(seed)
    rows = range(warmup + 100, total, rows.step)
    found = recognise(logged(laju.linear_to_zero(peak, total, warmup=warmup), rows))
    assert found.name == "linear"
    assert found.parameters["total"] == total
    assert found.parameters["final"] == 0
    assert f"what came before update {rows[0]:,}" in found.note


@pytest.mark.parametrize("seed", range(6))
def test_a_line_of_six_digits_is_one_line_though_rates_lie_halfway(seed: int):
    rng, *_ = of_drawn(seed)
    lr, epochs, first = float(rng.choice([0.000313, 0.000333, 0.000714, 0.01])), int(rng.choice([60, 120, 150])), 5
    found = recognise([f"{lr * (1 - e / epochs * 0.99):.6g}" for e in range(first, epochs)])
    assert found.name == "linear"
    assert found.schedule(epochs - first) == pytest.approx(0.01 * lr, rel=1e-3)


@pytest.mark.parametrize("digits", ["", ".7g", ".6e"])
@pytest.mark.parametrize("seed", range(3))
def test_skipped_updates_are_a_lag_and_no_negative_rate(seed: int, digits: str):
    rng, peak, total, warmup, _ = of_drawn(seed)
    lag = int(rng.integers(1, 5))
    found = recognise(logged(laju.linear_to_zero(peak, total, warmup=warmup), range(10, total, 10), lag, digits))
    assert (found.text, found.lag) == (f"linear_to_zero({peak!r}, total={total}, warmup={warmup})", lag)
    assert f"those of {lag} update{'s' * (lag > 1)} earlier: " in found.note
    assert found.schedule.values(total).min() >= 0


def test_a_rate_that_is_one_update_late_is_found_from_one_row_of_a_warmup():
    found = recognise(logged(laju.cosine(3e-3, total=40_000, warmup=200), range(200, 40_001, 200), 1, ".6g"))
    assert (found.text, found.lag) == ("cosine(0.003, total=40000, warmup=200)", 1)


@pytest.mark.parametrize("seed", range(3))
def test_a_lag_may_grow(seed: int):
    _, peak, total, warmup, _ = of_drawn(seed)
    schedule = laju.linear_to_zero(peak, total, warmup=warmup)
    rows = [(t, float(schedule(max(t - 2 - (t > 0.6 * total), 0)))) for t in range(10, total, 10)]
    found = recognise(rows)
    assert (found.text, found.lag) == (f"linear_to_zero({peak!r}, total={total}, warmup={warmup})", 3)
    assert "up to 3 updates earlier" in found.note


@pytest.mark.parametrize("seed", range(6))
def test_a_step_between_two_rows_is_told_with_its_bounds(seed: int):
    rng, peak, _, _, _ = of_drawn(seed)
    every, step = int(rng.integers(20, 60)) * 100, int(rng.choice([70, 90]))
    rows = range(0, int(3.7 * every), step)
    found = recognise(logged(laju.factor(peak, 0.1, every=every), rows))
    assert found.name == "factor"
    assert abs(found.parameters["every"] - every) < step
    low, high = (int(x.replace(",", "")) for x in found.note.split("every is ")[1].split(";")[0].split(" to "))
    assert low <= every <= high
    assert low <= found.parameters["every"] <= high


def test_a_total_after_the_last_row_is_marked():
    rows = range(100, 3000, 100)
    cut = recognise(logged(laju.cosine(3e-4, total=5000), rows))
    assert cut.parameters["total"] == 5000
    assert "total=5,000 if it goes on as it began" in cut.note
    assert "goes on" not in recognise(laju.cosine(3e-4, total=1000).values(1001)).note


@pytest.mark.parametrize("shape", ["walk", "sine", "rounded", "zigzag"])
def test_a_search_that_finds_nothing_is_bounded(shape: str, monkeypatch: pytest.MonkeyPatch):
    """The work is counted, and less than the bound by which the slowest log is given up."""
    rng, t = np.random.default_rng(3), np.arange(100, 30_000, 50)
    rates = {
        "walk": 1e-3 + 1e-5 * rng.normal(size=len(t)).cumsum(),
        "sine": 1e-3 * (1.5 + np.sin(t / 900.0)),
        "rounded": np.round(1e-3 * (1.5 + np.sin(t / 900.0)), 6),
        "zigzag": 1e-3 * (1 + 0.01 * (np.arange(len(t)) % 2) - t / 40_000),
    }[shape]
    rows = list(zip(t.tolist(), rates.tolist(), strict=True))
    compared = []
    for module in (falls, sampled, solving):
        monkeypatch.setattr(module, "spend", lambda amount: (compared.append(amount), work.spend(amount)))
    found = recognise(rows)
    assert not found.is_formula
    assert "no formula was found" in found.note
    assert 0 < sum(compared) <= work.MOST + 100


def test_published_runs_are_told_from_the_rates_that_were_logged():
    """Logs of multi-power-law: rows at 2,176, 2,304, … of runs whose warmup was not logged."""
    if "LAJU_SHARED" not in os.environ:
        pytest.skip("LAJU_SHARED, the folder of shared data, is not set")
    files = sorted(Path(os.environ["LAJU_SHARED"], "data/loss-curves/multi-power-law/25M").glob("*.csv"))
    if not files:
        pytest.skip("LAJU_SHARED has no data/loss-curves/multi-power-law")
    expected = {"constant": "constant", "cosine": "cosine", "wsd": "wsd", "wsdld": "wsd", "wsdcon": "multi_factor"}
    for file in files:
        with file.open() as opened:
            found = recognise([(int(float(row["step"])), row["lr"]) for row in csv.DictReader(opened)])
        assert found.name == expected[file.stem.partition("_")[0]], f"{file.name}: {found}"
        if file.stem.startswith(("cosine", "wsd_", "wsdld")):
            assert found.parameters["total"] == int(file.stem.split("_")[-1])


def test_a_cycle_of_printed_digits_is_no_chain_of_lines():
    rates = laju.triangular(0.01, 0.1, up=20).values(90)
    assert recognise([f"{rate:.7f}" for rate in rates]).text == "triangular(0.01, 0.1, up=20)"
