import contextlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import laju
from laju import SpecError, cosine, from_json, linear, parse
from tests.strategies import schedules


@given(schedules)
def test_the_text_of_a_schedule_gives_it_back(schedule):
    assert parse(str(schedule)) == schedule
    assert eval(repr(schedule), vars(laju)) == schedule  # repr is Python that rebuilds it


@given(schedules)
def test_the_json_of_a_schedule_gives_it_back(schedule):
    text = json.dumps(schedule.to_json(), allow_nan=False)
    assert from_json(text) == schedule
    assert from_json(json.loads(text)).fingerprint == schedule.fingerprint


def test_the_documented_text_gives_the_documented_schedule():
    text = "cosine(0.3, total=20, final=0.01, warmup=5).per('epoch')"
    assert parse(text) == cosine(0.3, total=20, final=0.01, warmup=5).per("epoch")
    assert parse(f"  {text}\n") == parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "0.3",
        "-1",
        "cosine(3e-4, total='100%', warmup='2 epochs')",
        "multi_factor(0.5, [15, 30], 0.5)",
        "linear(0, 1, total=5) >> 0.5 * linear(1, 0, 10) + 0.1",
        "warmup(constant(0.1), 10, how='overlay')",
        "(constant(0.1).take(3) >> constant(1/3).take(2)).repeat(growth=2)",
        "cosine(1, total='90 epochs - 500 updates').warmup('500')",
        "Table([1, 2, 3], every=2)",
    ],
)
def test_texts_that_people_write_are_read_and_read_back(text):
    schedule = parse(text)
    assert parse(str(schedule)) == schedule


@pytest.mark.parametrize(
    ("text", "words", "column"),
    [
        ("cosin(0.3, total=20)", "did you mean 'cosine'", 0),
        ("0.5 * cosin(0.3, total=20)", "did you mean 'cosine'", 6),
        ("cosine(0.3, totl=20)", "did you mean 'total'", 12),
        ("cosine(0.3)", "missing a required argument: 'total'", 0),
        ("cosine(0.3, 20, total=20)", "multiple values", 0),
        ("cosine(0.3, total=20).pr('epoch')", "did you mean 'per'", 22),
        ("cosine(0.3, total=20).per('epok')", "unit must be one of", 0),
        ("cosine(nan, total=20)", "unknown name 'nan'", 7),
        ("cosine(0.3, total=-20)", "total must be", 0),
        ("cosine(0.3, total=20, warmup=20)", "warmup must be shorter", 0),
        ("cosine(0.3, total=20", "never closed", 6),
        ("cosine", "needs its arguments", 0),
        ("__import__('os')", "unknown policy '__import__'", 0),
        ("().__class__", "are allowed here", 0),
        ("cosine(*[1, 2])", "written individually", 7),
        ("cosine(**{})", "written individually", 7),
        ("lambda: 1", "are allowed here", 0),
        ("[1, 2]", "not a schedule", 0),
        ("'cosine'", "not a schedule", 0),
        ("constant(0.1) - constant(0.1)", "operators are", 16),
        ("1/0", "division by zero", 2),
        ("constant(10**400)", "operators are", 13),
        ("constant(1e999)", "finite", 0),
        ("constant(True)", "finite number", 0),
        ("constant(1).take(2).take", "are allowed here", 0),
        ("Ramp(0, 1, 5, 'cosin')", "did you mean 'cosine'", 0),
        ("é(1)", "unknown policy", 0),
        ("constant('ü') >> é(1)", "finite number", 0),
    ],
)
def test_a_wrong_text_is_an_error_that_points_at_the_place(text, words, column):
    with pytest.raises(SpecError, match=words.replace("(", r"\(").replace("*", r"\*")) as caught:
        parse(text)
    assert caught.value.column == column
    shown, pointer = str(caught.value).splitlines()[-2:]
    assert shown.strip() == text
    assert pointer.index("^") == 2 + column


@pytest.mark.parametrize(
    "text", ["", "   ", "x" * 200_000, "(" * 5000, "constant(1) >> " * 3000 + "1", "-" * 4000 + "1", "\0", "1\n2"]
)
def test_extreme_texts_raise_only_laju_s_own_error_or_parse(text):
    with contextlib.suppress(SpecError):
        parse(text)


grammar = st.lists(
    st.sampled_from(
        [
            "cosine",
            "constant",
            "Ramp",
            "Table",
            "(",
            ")",
            "[",
            "]",
            ",",
            "0.3",
            "20",
            "1e400",
            "-1",
            "total",
            "=",
            "'",
            '"',
            " ",
            ".per",
            "'epoch'",
            ">>",
            "*",
            "+",
            "/",
            "None",
            "True",
            ".repeat",
            "Function",
            "'os:system'",
            "nan",
            "\n",
            "\\",
            "é",
            "lambda",
            ":",
        ]
    ),
    max_size=25,
).map("".join)


@settings(max_examples=500)
@given(st.one_of(st.text(max_size=60), grammar, st.binary(max_size=40).map(lambda b: b.decode("latin1"))))
@example("Function('os:system')")
def test_arbitrary_text_raises_only_laju_s_own_error(text):
    try:
        schedule = parse(text)
    except SpecError:
        return
    assert isinstance(schedule, laju.Schedule)


json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.sampled_from(["Ramp", "Chain", "linear", "10%"]),
        st.text(max_size=5),
    ),
    lambda v: st.one_of(
        st.lists(v, max_size=3),
        st.dictionaries(
            st.sampled_from(["kind", "start", "final", "length", "parts", "child", "value", "shape", "x"]),
            v,
            max_size=5,
        ),
    ),
    max_leaves=10,
)


@settings(max_examples=300)
@given(json_values)
def test_arbitrary_json_raises_only_laju_s_own_error(tree):
    try:
        from_json({"laju": 1, "schedule": tree})
    except SpecError:
        return


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("{", "not JSON"),
        ({}, "must be an object"),
        ({"laju": 2, "schedule": {}}, "version 2"),
        ({"laju": 1, "schedule": {"kind": "Ram"}}, "did you mean 'Ramp'"),
        ({"laju": 1, "schedule": {"kind": "Constant", "vale": 1}}, "did you mean 'value'"),
        (
            {"laju": 1, "schedule": {"kind": "Constant", "value": "x"}},
            "schedule: Constant: value must be a finite number",
        ),
        ({"laju": 1, "schedule": {"kind": "Chain", "parts": [{"kind": "Constant", "value": 1}]}}, None),
        ({"laju": 1, "schedule": {"kind": "Chain", "parts": [{"kind": "Constant"}]}}, r"schedule\.parts\[0\]"),
    ],
)
def test_wrong_json_is_an_error_that_says_where(data, words):
    if words is None:
        assert from_json(data)(0) == 1
        return
    with pytest.raises(SpecError, match=words):
        from_json(data)


def test_the_fingerprint_is_the_same_in_another_process_and_does_not_hang_on_the_order_of_fields():
    schedule = cosine(0.3, total="100%", warmup="5 epochs").per("epoch") * linear(1, 0, total=7)
    code = (
        "import laju; print((laju.cosine(0.3, warmup='5 epochs', total='100%').per('epoch')"
        " * laju.linear(1, 0, total=7)).fingerprint)"
    )
    for seed in ("1", "2"):
        other = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert other.stdout.strip() == schedule.fingerprint
    turned = json.loads(json.dumps(schedule.to_json()))
    turned["schedule"] = dict(reversed(turned["schedule"].items()))
    assert from_json(turned).fingerprint == schedule.fingerprint


def test_the_fingerprint_is_pinned():
    # A change here breaks every checkpoint and store: it needs a new version of the JSON.
    assert linear(1, 0, total=10).fingerprint == "a422b81d3f4ecc040c5eed24569b850a19ee44b34e03f0ad50144af1fb573e37"


def test_schedules_that_differ_have_other_fingerprints():
    kinds = [
        linear(1, 0, total=10),
        linear(1, 0, total=11),
        linear(1, 0, 10).repeat(),
        cosine(1, total=10),
        linear(1, 0, "10 epochs"),
    ]
    assert len({s.fingerprint for s in kinds}) == len(kinds)


def halved(t):
    return 0.5**t


def test_a_function_is_written_down_by_its_name_or_refused():
    named = laju.Function(np.exp2)
    assert from_json(named.to_json()) == named
    schedule = laju.Function(halved, length=3)
    assert from_json(schedule.to_json()) == parse(str(schedule)) == schedule
    assert schedule.values(5).tolist() == [1, 0.5, 0.25, 0.125, 0.125]
    with pytest.raises(SpecError, match="imported by its name"):
        laju.Function(lambda t: 1.0).to_json()
    with pytest.raises(SpecError, match="imported by its name"):
        _ = laju.Function(lambda t: 1.0).fingerprint


def test_names_that_several_systems_use_are_answered_with_names_of_laju() -> None:
    from laju.text.spec import _CALLED_ELSEWHERE, _names

    for name, known in _CALLED_ELSEWHERE.items():
        assert name == name.lower().replace("_", "")
        assert known.partition("(")[0].partition(",")[0] in {*_names(), "laju.adaptive.Plateau"}
    for text in ("step(1)", "StepLR(1)", "step_decay(1)"):
        with pytest.raises(laju.SpecError, match="in laju that is factor"):
            laju.parse(text)
    for text, known in (
        ("cosine(0.3, T_max=9)", "total"),
        ("cosine(max_lr=0.3, total=9)", "peak"),
        ("factor(0.1, gamma=0.5)", "factor"),
    ):
        with pytest.raises(laju.SpecError, match=f"in laju that is '{known}'; it takes"):
            laju.parse(text)
    with pytest.raises(laju.SpecError, match="a length in percent is text: warmup='10%'"):
        laju.parse("cosine(0.3, total=9, warmup=10%)")
    with pytest.raises(laju.SpecError, match=r"in laju that is cosine\(…, warmup=N\)"):
        laju.parse("warmup_cosine(1)")
