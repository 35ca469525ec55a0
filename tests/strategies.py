"""Hypothesis strategies that draw schedules of every kind, in updates or in units."""

from hypothesis import strategies as st

import laju
from laju import Constant, Exponential, Power, Ramp, Table

SHAPES = [
    "linear",
    "cosine",
    "cosine(2)",
    "quarter_cosine",
    "power(2)",
    "power(0.5)",
    "rising_power(3)",
    "sqrt",
    "square",
]

values = st.floats(-10, 10).map(lambda x: round(x, 6))
positive = st.floats(1e-6, 10).map(lambda x: round(x, 6))
lengths = st.integers(0, 40)


@st.composite
def ramps(draw):
    grid = draw(st.sampled_from([{}, {"first": True}, {"endpoint": True}]))
    if draw(st.booleans()):
        return Ramp(
            draw(positive), draw(positive), draw(lengths), draw(st.sampled_from([*SHAPES, "exponential"])), **grid
        )
    return Ramp(draw(values), draw(values), draw(lengths), draw(st.sampled_from(SHAPES)), **grid)


finite_pieces = st.one_of(
    ramps(),
    st.builds(Constant, values, lengths),
    st.builds(Table, st.lists(values, min_size=1, max_size=6), st.integers(1, 5), st.sampled_from(["hold", "linear"])),
)
endless_pieces = st.one_of(
    st.builds(Constant, values),
    st.builds(Exponential, values, st.floats(0.5, 1.1), st.integers(1, 9)),
    st.builds(laju.Rectification, st.sampled_from([0.9, 0.99])),
    st.builds(Power, values, st.floats(0.1, 2), st.floats(0.5, 5), st.integers(1, 9)),
)


def _finite(children):
    lasting = children.filter(lambda s: s.length)
    return st.one_of(
        st.lists(children, min_size=1, max_size=3).map(laju.Chain),
        st.lists(children, min_size=1, max_size=3).map(laju.Product),
        st.lists(children, min_size=1, max_size=3).map(laju.Sum),
        st.builds(laju.Minimum, st.tuples(children, children)),
        st.builds(laju.Maximum, st.tuples(children, children)),
        st.builds(laju.Take, st.one_of(children, endless_pieces), st.integers(0, 60)),
        st.builds(laju.Overlay, children, children),
        st.builds(laju.Shift, children, st.integers(-20, 20)),
        st.builds(laju.Reverse, children),
        st.builds(laju.Staircase, children, st.integers(1, 7)),
        st.builds(laju.stretch, children, st.sampled_from([2, 3, 0.5, 1.5])),
        st.builds(
            laju.Repeat,
            lasting,
            st.integers(1, 4),
            st.sampled_from([1, 2, 3, 1.5]),
            st.sampled_from([1, 0.5]),
            st.booleans(),
        ),
    )


finite = st.recursive(finite_pieces, _finite, max_leaves=5)
schedules = st.one_of(
    finite,
    endless_pieces,
    st.builds(lambda a, b: a >> b, finite, endless_pieces),
    st.builds(
        lambda s, growth, decay: laju.Repeat(s, None, growth, decay),
        finite.filter(lambda s: s.length),
        st.sampled_from([1, 2, 3]),
        st.sampled_from([1, 0.5]),
    ),
)
