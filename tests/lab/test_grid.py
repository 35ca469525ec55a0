"""A comparison's arguments as values: both forms mean the same, and the options of each are declared once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields

import click
import pytest

from laju.cli import compare as compare_verb
from laju.cli import find as find_verb
from laju.cli import tune as tune_verb
from laju.lab import Execution, Grid, Optimizer, RateRange, Search, Selection, compare, find, range_test, tune
from laju.options import BY_NAME, TABLES, with_options
from tests.lab.tiny import Forbidden, Sides

VALUES = {"GRID": Grid, "EXECUTION": Execution, "SELECTION": Selection, "SEARCH": Search, "RATES": RateRange}
OF_PYTHON = ("schedules", "seeds", "optimizer", "smoothing", "divergence")
"""Options that the command line has in another form, or not at all."""
VERBS = {"SEARCH": tune_verb.command, "RATES": find_verb.command}


def test_keywords_and_a_grid_are_one_comparison() -> None:
    rates = {"a": 0.1, "b": 0.2}
    optimizer = Optimizer(momentum=0.5)
    told = compare(Grid(rates, [3, 1], 2, 40, optimizer), Sides(), execution=Execution(jobs=1))
    sugar = compare(rates, Sides(), seeds=[3, 1], epochs=2, batch_size=40, optimizer=optimizer, jobs=1)
    assert told.findings().rows[1].test_accuracy == sugar.findings().rows[1].test_accuracy
    assert (told.plan, told.seeds, told.optimizer, told.schedules) == (
        sugar.plan, sugar.seeds, sugar.optimizer, sugar.schedules,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"epochs": 3}, r"epochs=3 and a Grid with epochs=5 are both given"),
        ({"seeds": [1]}, r"seeds=\[1\] and a Grid with seeds=\(0, 1, 2\) are both given"),
        ({"jobs": 2, "execution": Execution(jobs=1)}, r"jobs=2 and an Execution with jobs=1 are both given"),
    ],
)
def test_both_forms_at_once_are_an_error_that_names_both(keywords: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare(Grid({"a": 0.1}, epochs=5), Forbidden(), **keywords)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Grid({}), "schedules must be a dict"),
        (lambda: Grid({"a": 0.1}, epochs=0), "epochs must be a whole number of at least 1, got 0"),
        (lambda: Grid({"a": 0.1}, optimizer="sgd"), "optimizer must be an Optimizer, got 'sgd'"),
        (lambda: Execution(jobs=0), "jobs must be a whole number of at least 1, got 0"),
        (lambda: Execution(device="cudo"), "device must be one of cpu, cuda, got 'cudo'; did you mean 'cuda'?"),
        (lambda: Execution(on="dusk"), "did you mean 'dask'"),
        (lambda: Execution(stack=2, channels_last=True), "stack must be 1 with channels_last"),
        (lambda: Selection(race=1.5), "race must be True or an error probability between 0 and 1, got 1.5"),
        (lambda: Search(points=1), "points must be a whole number of at least 2, got 1"),
        (lambda: Search(storage="s.sqlite", study=3), "study must be a text, got 3"),
        (lambda: compare({"a": 0.1}, Forbidden(), selection=True), "selection must be a Selection, got True"),
        (lambda: compare({"a": 0.1}, Forbidden(), execution=2), "execution must be an Execution, got 2"),
    ],
)
def test_a_value_that_is_none_is_refused_where_it_is_made(make: object, message: str) -> None:
    with pytest.raises((TypeError, ValueError)) as refused:
        make()  # type: ignore[operator]
    assert message in str(refused.value)


@pytest.mark.parametrize("table", TABLES)
def test_values_have_the_options_and_defaults_of_their_table(table: str) -> None:
    own = {field.name: field.default for field in fields(VALUES[table])}
    assert list(own) == [option.name for option in TABLES[table]]
    assert {name: default for name, default in own.items() if name != "schedules"} == {
        option.name: option.default for option in TABLES[table] if option.name != "schedules"
    }


@pytest.mark.parametrize("table", TABLES)
def test_help_and_documentation_are_the_tables(table: str) -> None:
    doc = inspect.getdoc(VALUES[table])
    assert doc is not None
    assert "{options" not in doc
    verb = VERBS.get(table, compare_verb.command)
    params = {param.name: param for param in verb.params if isinstance(param, click.Option)}
    for option in TABLES[table]:
        assert f"    {option.name}: {option.help}." in doc
        if option.name not in OF_PYTHON and (table, option.name) != ("GRID", "framework"):
            param = params[option.name]
            if option.name in ("objective", "storage"):  # several, and a file for a command to go on with
                continue
            assert (param.help or "").replace("--jobs", "`jobs`") == option.sentence
            assert param.default == option.default or (option.default is None and param.default is not True)


def test_a_docstring_without_a_table_stays() -> None:
    text = "Args:\n    epochs: passes.\n    {options of mine}\n"
    assert with_options(text) == text
    assert "epochs" in BY_NAME


@pytest.mark.parametrize("function", [compare, tune, find, range_test])
def test_functions_take_few_arguments(function: Callable[..., object]) -> None:
    assert len(inspect.signature(function).parameters) <= 12
