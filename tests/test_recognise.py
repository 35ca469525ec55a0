"""`recognise`: what schedules and schedulers really gave is told by their values alone, and nothing is told wrongly."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

import laju
from laju.recognition import Recognised, recognise


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
        ([], ValueError, "at least one rate, got none"),
        ([0.1, math.nan], ValueError, r"values\[1\] must be finite, got nan"),
        ([math.inf], ValueError, r"values\[0\] must be finite"),
        (["0.1", "x"], ValueError, r"values\[1\] must be a number, got 'x'"),
        ([0.1, None], TypeError, r"values\[1\] must be a number"),
        ([(0, 0.1), (0, 0.2)], ValueError, "updates must rise, got 0 after 0"),
        ("0.1", TypeError, "a list of rates"),
        (laju.constant(0.1), TypeError, r"give its \.values"),
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
