import contextlib

import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from laju import Ramp
from laju.core import shapes
from laju.core.arrays import Scalar, namespace
from laju.core.shapes import NAMES, shape

# The fall of every shape at p, in mpmath.
FALLS = {
    "linear": lambda p: 1 - p,
    "cosine": lambda p: (1 + mp.cos(mp.pi * p)) / 2,
    "cosine(2)": lambda p: ((1 + mp.cos(mp.pi * p)) / 2) ** 2,
    "cosine(0.3)": lambda p: ((1 + mp.cos(mp.pi * p)) / 2) ** mp.mpf(0.3),
    "cosine(1, 3)": lambda p: (1 + mp.cos(mp.pi * p**3)) / 2,
    "cosine(1.5, 0.2)": lambda p: ((1 + mp.cos(mp.pi * p ** mp.mpf(0.2))) / 2) ** mp.mpf(1.5),
    "quarter_cosine": lambda p: mp.cos(mp.pi / 2 * p),
    "power(2)": lambda p: (1 - p) ** 2,
    "power(0.1)": lambda p: (1 - p) ** mp.mpf(0.1),
    "rising_power(3)": lambda p: 1 - p**3,
    "rising_power(0.1)": lambda p: 1 - p ** mp.mpf(0.1),
    "k_decay(3)": lambda p: 1 - p**3,
    "k_decay(0.3, 2)": lambda p: (1 - p ** mp.mpf(0.3)) ** 2,
    "sqrt": lambda p: 1 - mp.sqrt(p),
    "square": lambda p: 1 - p**2,
    "tanh": lambda p: (mp.tanh(3) - mp.tanh(-6 + 9 * p)) / (mp.tanh(3) - mp.tanh(-6)),
    "tanh(-2, 2)": lambda p: (mp.tanh(2) - mp.tanh(-2 + 4 * p)) / (mp.tanh(2) - mp.tanh(-2)),
    "rex": lambda p: (1 - p) / (1 - p / 2),
    "rex(0.95)": lambda p: (1 - p) / (1 - mp.mpf(0.95) * p),
    "rex(-9)": lambda p: (1 - p) / (1 + 9 * p),
    "log(2)": lambda p: 1 - mp.log1p(p) / mp.log(2),
    "log(1000)": lambda p: 1 - mp.log1p(999 * p) / mp.log(1000),
}
N = 1_000_003
POSITIONS = sorted({*range(1, 8), *range(N - 7, N), *(int(N * x) for x in np.linspace(0.001, 0.999, 60))})


@pytest.mark.parametrize("name", FALLS)
def test_both_forms_of_a_shape_keep_their_relative_accuracy_at_both_ends(name):
    found = shape(name)
    t, ns = namespace(np.array(POSITIONS))
    arrays = {"rise": found.rise(t, N - t, N, ns), "fall": found.fall(t, N - t, N, ns)}
    with mp.workdps(60):
        for i, done in enumerate(POSITIONS):
            fall = FALLS[name](mp.mpf(done) / N)
            for form, exact in (("rise", 1 - fall), ("fall", fall)):
                one = getattr(found, form)(done, N - done, N, Scalar)
                for got in (one, float(arrays[form][i])):
                    assert abs(got - exact) <= 12 * np.spacing(float(exact)), (form, done)


def test_every_shape_has_its_formula_tested():
    assert {name.partition("(")[0] for name in FALLS} | {"exponential"} == set(NAMES)


@pytest.mark.parametrize("name", FALLS)
def test_a_shape_goes_from_one_end_to_the_other_without_turning(name):
    found = shape(name)
    t, ns = namespace(np.arange(1001))
    with np.errstate(divide="ignore"):
        rise, fall = found.rise(t, 1000 - t, 1000, ns), found.fall(t, 1000 - t, 1000, ns)
    assert rise[0] == fall[-1] == 0
    assert rise[-1] == pytest.approx(1, abs=1e-15)
    assert fall[0] == pytest.approx(1, abs=1e-15)
    assert (np.diff(rise) >= -4e-16).all()
    assert (np.diff(fall) <= 4e-16).all()
    assert np.abs(rise + fall - 1).max() < 4e-15
    assert found.rise(0, 1000, 1000, Scalar) == 0
    assert found.fall(1000, 0, 1000, Scalar) == 0


@pytest.mark.parametrize("name", FALLS)
@pytest.mark.parametrize(("start", "final"), [(0.3, 0.01), (0.01, 0.3)])
def test_every_framework_computes_the_same_curve(name, start, final):
    ramp = Ramp(start, final, 200, name)
    expected = ramp.values(210)
    assert expected.tolist() == pytest.approx([ramp(t) for t in range(210)], rel=2e-15)
    np.testing.assert_allclose(ramp(torch.arange(210)).numpy(), expected, rtol=4e-15)
    np.testing.assert_allclose(ramp(jnp.arange(210)), expected, rtol=2e-5)


@pytest.mark.parametrize("name", [*FALLS, "exponential"])
def test_the_canonical_name_of_a_shape_reads_as_itself(name):
    found = shape(name)
    assert shape(found.name).name == found.name
    assert shape(found) is found


def test_arguments_that_are_the_default_are_left_out():
    assert shape("cosine(1.0, 1)").name == "cosine"
    assert shape("cosine(2, 1)").name == "cosine(2)"
    assert shape("tanh(-6, 3.0)").name == "tanh"
    assert shape("tanh( -6,2.5)").name == "tanh(-6, 2.5)"
    assert shape("rex(0.5)").name == "rex"
    assert shape("k_decay(2, 1)").name == "k_decay(2)"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cosin", "did you mean 'cosine'"),
        ("cosine(0)", "exponent must be a finite number above 0"),
        ("cosine(1, -1)", "k must be a finite number above 0"),
        ("cosine(1, 2, 3)", "must be written"),
        ("k_decay", "must be written"),
        ("k_decay(nan)", "k must be a finite number"),
        ("rex(1)", "beta must be a finite number below 1"),
        ("tanh(3, -6)", "upper must be a finite number above 3"),
        ("tanh(-1e4)", "lower must be"),
        ("power(x)", "numbers as arguments"),
        ("", "unknown shape"),
        ("cosine(", "unknown shape"),
        (None, "shape must be a text"),
        (1.0, "shape must be a text"),
    ],
)
def test_what_is_no_shape_is_refused_with_what_would_be(text, words):
    with pytest.raises((ValueError, TypeError), match=words):
        shape(text)


@given(st.text(max_size=20))
def test_any_text_is_a_shape_or_a_value_error(text):
    with contextlib.suppress(ValueError):
        assert isinstance(shape(text), shapes.Shape)
