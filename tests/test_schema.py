import json
from importlib.resources import files

import pytest
from hypothesis import given

import laju
from laju import SpecError, from_json, parse
from laju.core.node import NODES
from laju.text.schema import ID, generated, json_schema, text
from tests.strategies import schedules

jsonschema = pytest.importorskip("jsonschema")
validator = jsonschema.Draft202012Validator(json_schema())

SAMPLES = [
    parse(text)
    for text in [
        "Constant(0.1)",
        "Constant(0.1, '10%')",
        "Constant(0.1, '90 epochs - 500 updates')",
        "Constant(0.1, '2.5 epochs + 1e6 tokens + 3 samples')",
        "Ramp(0, 1, 5, first=True)",
        "Ramp(1, 0.01, '3 epochs', 'exponential', endpoint=True)",
        "Exponential(1, 0.5, '1 epoch')",
        "Power(1, 0.5, 2, 3.5)",
        "Table([1, 2, 3], every=2, interpolation='linear')",
        "Function('math:sqrt', 3)",
        "Rectification(0.99)",
        "Clock(linear(1, 0, total=8), [(0, 0, 1), (2, 2, 3)])",
        "constant(1).take('1 epoch') >> linear(1, 0, total=3) >> 0.5",
        "0.5 * linear(1, 0, total=3)",
        "linear(1, 0, total=3) + 0.1",
        "linear(1, 0, total=3).minimum(0.3)",
        "linear(1, 0, total=3).maximum(0.3)",
        "linear(1, 0, total=3).overlay(0.3)",
        "linear(1, 0, total=3).shift(-2.5)",
        "Stretch(Function('math:sqrt', 3), 2)",
        "linear(1, 0, total=3).staircase(2)",
        "linear(1, 0, total=3).reverse()",
        "linear(1, 0, total=3).repeat(2, growth=2, decay=0.5, mirror=True)",
        "cosine(0.3, total=20).per('epoch', smooth=True)",
        "constant(0.3).take(5).per('%')",
    ]
]
SHAPES = [
    *("linear", "cosine", "cosine(2)", "cosine(0.5, 3)", "power(0.1)", "rising_power(1e-05)", "k_decay(2)"),
    *("k_decay(2, 3)", "tanh", "tanh(-4)", "tanh(-4, 2.5)", "rex", "rex(-1.5)", "sqrt", "square", "quarter_cosine"),
]


def whole(tree):
    return {"laju": 1, "schedule": tree}


def accepted(data):
    try:
        from_json(data)
    except SpecError:
        return False
    return True


def test_the_packaged_schema_is_that_of_the_classes():
    packaged = files("laju.text").joinpath("schema.json").read_text(encoding="utf-8")
    assert packaged == text(), "a node has changed: run `python -m laju.text.schema src/laju/schema.json`"
    assert json_schema() == generated() == json.loads(packaged)


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert json_schema()["$id"] == ID == "urn:laju:schedule:1"


def test_every_kind_and_field_is_in_it_and_is_described():
    kinds = json_schema()["$defs"]
    assert set(NODES) <= set(kinds)
    assert set(kinds["schedule"]["properties"]["kind"]["enum"]) == set(NODES)
    for name, cls in NODES.items():
        assert kinds[name]["description"]
        assert set(kinds[name]["properties"]) == {"kind", *cls.__dataclass_fields__}
        assert kinds[name]["additionalProperties"] is False


@given(schedules)
def test_the_json_of_a_schedule_is_valid(schedule):
    validator.validate(json.loads(json.dumps(schedule.to_json())))


def test_the_samples_hold_every_kind():
    def kinds(tree):
        if isinstance(tree, dict):
            yield tree["kind"]
        for part in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
            yield from kinds(part)

    assert {kind for s in SAMPLES for kind in kinds(s.to_json()["schedule"])} == set(NODES), "add one to SAMPLES"


@pytest.mark.parametrize("schedule", SAMPLES, ids=str)
def test_a_sample_of_every_kind_is_valid(schedule):
    validator.validate(schedule.to_json())


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_that_laju_reads_is_valid(shape):
    validator.validate(laju.Ramp(1, 0, 4, shape).to_json())


CONSTANT = {"kind": "Constant", "value": 1, "length": 2}
# fmt: off
CANDIDATES = [
    -1, -0.5, 0, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, True, None, "", "x", "hold", "cosine", "cosin", "power", "power(2)",
    "power(2, 3)", "power(x)", "cosine()", "linear(1)", "math:sqrt", "epoch", "updates", "%", "5", "5 epochs", "5 epok",
    "1 epoch + 3", "1 epoch 3", "- 3 updates", "5%", [], [1], ["x"], [[0, 0, 1]], [[0, 0, 0]], {}, CONSTANT,
    {"kind": "Constant"}, [CONSTANT], [CONSTANT, 1],
]
# fmt: on

# Read by laju, though it writes none of them.
SHORTHANDS = {
    *(("parts", repr(parts)) for parts in ([1], [CONSTANT, 1])),
    ("shape", "'cosine()'"),
    ("function", repr(CONSTANT)),
}
# Taken by some constructors, and of no use when a value is asked for.
SHORTHANDS |= {("every", "None"), ("timescale", "None")}
# The sign of a length that is a sum may hang on the run.
SIGNS = {(name, "'- 3 updates'") for name in ("length", "every", "timescale")}


@pytest.mark.parametrize("schedule", [*SAMPLES, laju.Ramp(0, 1, 5)], ids=str)
def test_the_schema_and_laju_refuse_the_same_values_of_a_field(schedule):
    tree = json.loads(json.dumps(schedule.to_json()["schedule"]))
    if "first" in tree or "endpoint" in tree:
        return  # what else the ramp may have depends on these
    for name in NODES[tree["kind"]].__dataclass_fields__:
        for value in CANDIDATES:
            data, case = whole(tree | {name: value}), (name, repr(value))
            assert validator.is_valid(data) <= accepted(data) or case in SIGNS, (tree["kind"], *case)
            assert accepted(data) <= validator.is_valid(data) or case in SHORTHANDS, (tree["kind"], *case)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"laju": 1},
        {"schedule": {"kind": "Constant", "value": 1}},
        {"laju": 2, "schedule": {"kind": "Constant", "value": 1}},
        {"laju": 1, "schedule": {"kind": "Constant", "value": 1}, "x": 1},
        whole(None),
        whole(0.1),
        whole({}),
        whole({"kind": None}),
        whole({"kind": "Ram"}),
        whole({"kind": "Constant"}),
        whole({"kind": "Constant", "vale": 1}),
        whole({"kind": "Constant", "value": 1, "vale": 1}),
        whole({"kind": "Chain", "parts": [{"kind": "Constant"}]}),
        whole({"kind": "Chain", "parts": {"kind": "Constant", "value": 1}}),
        whole({"kind": "Constant", "value": 1, "length": "9" * 201}),
    ],
)
def test_what_is_not_a_schedule_is_refused(data):
    assert not validator.is_valid(data)


def test_one_mistake_deep_inside_gives_one_error_and_not_one_for_every_kind():
    tree = {"kind": "Ramp", "start": 1, "final": 0, "length": -5}
    for _ in range(15):
        tree = {"kind": "Minimum", "parts": [{"kind": "Constant", "value": 1}, tree]}
    [error] = validator.iter_errors(whole(tree))
    assert list(error.absolute_path) == ["schedule", *["parts", 1] * 15, "length"]


def test_a_hostile_length_is_refused_in_no_time():
    data = whole({"kind": "Constant", "value": 1, "length": "1" + " " * 100_000 + "x"})
    assert not validator.is_valid(data)
