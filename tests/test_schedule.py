import math
import pickle
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import laju
from laju import Chain, Constant, Ramp, cosine
from laju.core.arrays import namespace
from tests.strategies import finite, schedules

EXTENT = 130  # past the end of nearly everything that is drawn


def ulps(a, b):
    """Distance in units in the last place of the larger magnitude that took part."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    return np.abs(a - b) / np.spacing(np.maximum(np.maximum(np.abs(a), np.abs(b)), 1e-300))


@given(schedules, st.randoms())
def test_calling_in_any_order_gives_the_same(schedule, rng):
    order = list(range(EXTENT))
    forwards = [schedule(t) for t in order]
    rng.shuffle(order)
    assert all(schedule(t) == forwards[t] for t in order)


# A sum of values of either sign can cancel, so agreement is measured against the size of what was added.
@given(schedules)
def test_arrays_and_numbers_agree(schedule):
    one_by_one = np.array([schedule(t) for t in range(EXTENT)])
    assert all(isinstance(v, float) for v in one_by_one.tolist())
    values = schedule.values(EXTENT)
    assert values.dtype == np.float64
    called = schedule(np.arange(EXTENT))
    scale = max(1e-300, np.abs(one_by_one).max())
    for array in (values, called):
        assert array.shape == (EXTENT,)
        assert np.abs(array - one_by_one).max() <= 16 * np.spacing(scale)


@pytest.mark.parametrize(
    "shape", ["linear", "cosine", "cosine(2)", "quarter_cosine", "power(2)", "sqrt", "square", "exponential"]
)
def test_arrays_and_numbers_agree_within_4_ulp_at_every_point_of_a_ramp(shape):
    for start, final in ((0.3, 1e-5), (1e-5, 0.3)) if shape == "exponential" else ((0.3, 0), (0, 0.3), (0.3, 0.01)):
        schedule = Ramp(start, final, 10_000, shape)
        one_by_one = np.array([schedule(t) for t in range(10_050)])
        assert ulps(schedule.values(10_050), one_by_one).max() <= 4
        assert ulps(schedule(np.arange(10_050)), one_by_one).max() <= 4
        # A power multiplies the last-digit differences between the sines of torch and of the C library.
        assert ulps(schedule(torch.arange(10_050)).numpy(), one_by_one).max() <= (8 if shape == "cosine(2)" else 4)


@given(schedules, st.integers(0, 60), st.integers(0, 60))
def test_values_from_a_start_are_a_part_of_the_whole(schedule, start, n):
    np.testing.assert_array_equal(schedule.values(n, start=start), schedule.values(start + n)[start:])


@settings(max_examples=40)
@given(schedules)
def test_torch_and_jax_arrays_give_arrays_of_their_kind(schedule):
    expected = schedule.values(EXTENT)
    tensor = schedule(torch.arange(EXTENT))
    assert isinstance(tensor, torch.Tensor)
    assert tensor.dtype == torch.float64
    scale = max(1e-30, np.abs(expected).max())
    assert np.abs(tensor.numpy() - expected).max() <= 1e-13 * scale
    array = schedule(jnp.arange(EXTENT))
    assert isinstance(array, jax.Array)
    assert np.abs(np.asarray(array, dtype=float) - expected).max() <= 2e-5 * scale


def test_it_traces_inside_jit_vmap_and_scan():
    schedule = cosine(0.3, total=20, final=0.01, warmup=5)
    expected = schedule.values(30).astype(np.float32)
    jitted = jax.jit(schedule)
    assert [float(jitted(t)) for t in range(30)] == pytest.approx(expected.tolist(), rel=1e-6)
    np.testing.assert_allclose(jax.vmap(schedule)(jnp.arange(30)), expected, rtol=1e-6)
    _, scanned = jax.lax.scan(lambda t, _: (t + 1, schedule(t)), jnp.int32(0), length=30)
    np.testing.assert_allclose(scanned, expected, rtol=1e-6)


def test_int32_counters_past_2_to_the_24_are_exact():
    big = 2**24
    schedule = Chain((Constant(1.0, big), Ramp(1.0, 0.0, 10)))
    for t in (big - 1, big, big + 1, big + 9):
        assert float(jax.jit(schedule)(jnp.int32(t))) == pytest.approx(schedule(t), rel=1e-6)


def test_lengths_beyond_int32_do_not_overflow_a_32_bit_counter():
    schedule = Chain((Ramp(0, 1, 3_000_000_000), Constant(0.5)))
    assert float(jax.jit(schedule)(jnp.int32(1_500_000_000))) == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.int64])
def test_every_integer_type_counts(dtype):
    schedule = Constant(1.0, 100) >> Ramp(1.0, 0.0, 27)
    t = np.array([0, 99, 100, 101, 127], dtype=dtype)
    np.testing.assert_array_equal(schedule(t), [1, 1, 1, 26 / 27, 0])


def test_positions_up_to_2_to_the_53_are_exact():
    n = 2**53
    schedule = Ramp(1.0, 0.0, n)
    assert schedule(n - 1) == 1 / n
    assert schedule(n) == 0
    assert schedule(1) == 1 - 1 / n
    assert schedule(np.array([n - 1, n])).tolist() == [1 / n, 0]


def test_a_numpy_scalar_and_a_0_d_array_are_positions():
    schedule = Ramp(0, 1, 4)
    assert schedule(np.int64(1)) == 0.25
    assert isinstance(schedule(np.int64(1)), float)
    assert float(schedule(np.array(1))) == 0.25
    assert (Ramp(0, 1, 4) >> Ramp(1, 0, 4))(np.array(5)) == 0.75


@pytest.mark.parametrize(
    ("t", "error", "words"),
    [
        (-1, ValueError, "0 or more, got -1"),
        (np.array([3, -2]), ValueError, "holds -2"),
        (torch.tensor([-2]), ValueError, "0 or more"),
        (True, TypeError, "got True"),
        (np.array([True]), TypeError, "bool"),
        ("3", TypeError, "got str"),
        (None, TypeError, "got NoneType"),
        (math.nan, ValueError, "finite"),
        (math.inf, ValueError, "finite"),
        (np.array([math.nan]), ValueError, "NaN"),
        ([1, 2], TypeError, "got list"),
    ],
)
def test_a_position_that_is_none_is_an_error(t, error, words):
    with pytest.raises(error, match=words):
        cosine(0.3, total=20)(t)


@given(finite)
def test_the_last_value_holds_for_ever(schedule):
    end = math.ceil(schedule.length)
    last = schedule(end)
    assert [schedule(end + k) for k in (1, 2, 1000, 10**9)] == [last] * 4


@given(schedules)
def test_a_pickled_copy_is_equal_and_has_no_cache(schedule):
    schedule(3)
    copy = pickle.loads(pickle.dumps(schedule))
    assert copy == schedule
    assert hash(copy) == hash(schedule)
    assert copy(7) == schedule(7)


def test_equality_and_hash_are_by_value():
    assert cosine(0.3, total=20, warmup=5) == cosine(0.3, total=20.0, warmup=5)
    assert cosine(0.3, total=20) != cosine(0.3, total=21)
    assert Constant(0.0) == Constant(-0.0)
    assert len({cosine(0.3, total=20), cosine(0.3, total=20), cosine(0.2, total=20)}) == 2


def test_a_schedule_cannot_be_changed():
    with pytest.raises(AttributeError):
        Constant(0.1).value = 0.2


def test_numbers_combine_with_schedules_from_either_side():
    s = Ramp(1, 0, 2)
    for product in (2 * s, s * 2, np.float64(2) * s, np.float32(2) * s, s * np.int64(2)):
        assert product.values(3).tolist() == [2, 1, 0]
    assert (1 + s).values(3).tolist() == (s + 1).values(3).tolist() == [2, 1.5, 1]
    assert (s >> 0.5).values(3).tolist() == [1, 0.5, 0.5]


def test_formulas_are_computed_only_where_they_are_in_force():
    asked = []
    late = laju.Function(lambda t: asked.append(t) or 1.0, length=3)
    (Constant(1.0, 1000) >> late >> Constant(0.0)).values(1002)
    assert asked == [0, 1]


def test_the_namespace_of_a_list_is_an_error():
    with pytest.raises(TypeError, match="list"):
        namespace([1])


def test_a_random_walk_over_positions_has_no_side_effect():
    schedule = cosine(0.3, total=50, warmup=5).repeat(growth=2)
    first = schedule.values(500).tolist()
    for t in random.Random(0).sample(range(500), 200):
        schedule(t)
    assert schedule.values(500).tolist() == first


def test_cycles_that_grow_past_the_integers_of_jax_are_computed() -> None:
    t = jnp.arange(6)
    for child in (
        laju.Ramp(0.0, 1.0, 1).reverse(),
        laju.Chain((laju.Table((0.5,)).reverse(),)),
        laju.Chain((laju.Table((0.5,)).reverse(),)).reverse(),
        laju.linear(1, 0, total=2).staircase(1),
    ):
        schedule = child.repeat(growth=2.0)
        np.testing.assert_allclose(np.asarray(schedule(t)), schedule.values(6), rtol=1e-6)
