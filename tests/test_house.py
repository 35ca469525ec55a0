"""How the house stands: no file in a circle of imports, and modules imported by name in the loaders alone."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import laju
from laju.core.node import NODES

grimp = pytest.importorskip("grimp")
SOURCE = Path(laju.__file__).parent

# Where a module may be imported by a name that is computed, and what for.
LOADERS = {
    "__init__.py": "public names",
    "_moved.py": "modules by the names that they had before",
    "cli/__init__.py": "verbs",
    "core/functions.py": "functions that the user's own code names",
    "convert/writers/__init__.py": "systems",
    "dialects/__init__.py": "systems, and the names of the room above",
    "dialects/base.py": "systems",
    "dialects/configs.py": "formats of configurations",
    "lab/engines/__init__.py": "engines",
    "lab/engines/mxnet_worker.py": "versions of packages",
    "lab/workers/clusters.py": "clusters",
    "studies/__init__.py": "studies",
    "view/plot.py": "packages that draw",
}


def circles() -> set[frozenset[str]]:
    """Sets of modules that import one another, imports in functions and for type checkers counted."""
    graph = grimp.build_graph("laju", cache_dir=None)
    modules = graph.modules

    def below(module: str) -> set[str]:
        seen: set[str] = set()
        left = [module]
        while left:
            for other in graph.find_modules_directly_imported_by(left.pop()):
                # A module imports the __init__ of its own package by being there; that is no circle.
                if other not in seen and not any(module.startswith(f"{other}.") for module in (module,)):
                    seen.add(other)
                    left.append(other)
        return seen

    reached = {module: below(module) for module in modules}
    inside = [module for module in modules if module in reached[module]]
    return {
        frozenset(other for other in inside if other in reached[module] and module in reached[other])
        for module in inside
    }


def test_no_file_is_in_a_circle_of_imports() -> None:
    assert not circles()


def test_the_contracts_hold() -> None:
    root = SOURCE.parents[1]
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    assert f"{len(settings['tool']['importlinter']['contracts'])} kept, 0 broken" in done.stdout


def test_modules_are_imported_by_a_computed_name_in_the_loaders_alone() -> None:
    found = set()
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__")):
                    found.add(file.relative_to(SOURCE).as_posix())
    assert found <= set(LOADERS)


# Where a node is asked for by its class outside the files of nodes, and why.
ASKS = {
    "core/data_clock.py": "a chain in units of data is joined part by part",
}


def test_no_code_but_a_nodes_own_file_asks_for_the_class_of_a_node() -> None:
    nodes = [node for cls in NODES.values() for node in cls.__mro__ if node.__module__.startswith("laju.core.")]
    names = {node.__name__ for node in nodes} - {"Schedule", "Node"}
    files = {(node.__module__.removeprefix("laju.").replace(".", "/") + ".py") for node in nodes}

    def of_node(at: ast.expr) -> bool:
        # The classes of syntax trees are named by their module, as `ast.Constant`.
        return any(
            (isinstance(part, ast.Name) and part.id in names)
            or (
                isinstance(part, ast.Attribute)
                and part.attr in names
                and isinstance(part.value, ast.Name)
                and part.value.id != "ast"
            )
            for part in ast.walk(at)
        )

    found = set()
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(func=ast.Name(id="isinstance" | "issubclass"), args=[_, kind]) if of_node(kind):
                    pass
                case ast.MatchClass(cls=kind) if of_node(kind):
                    pass
                case ast.Compare(left=ast.Call(func=ast.Name(id="type")), comparators=[kind]) if of_node(kind):
                    pass
                case _:
                    continue
            found.add(file.relative_to(SOURCE).as_posix())
    assert found - files == set(ASKS)


METHODS = [
    "then", "minimum", "maximum", "scale", "clip", "take", "overlay", "shift", "stretch", "staircase", "reverse", "repeat",
    "per", "warmup", "resolve", "values", "to_json",
]  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_written_where_completion_and_help_find_it(name: str) -> None:
    assert name in dir(laju.Schedule)
    method = vars(laju.Schedule)[name]
    assert inspect.getdoc(method)
    assert "*args" not in str(inspect.signature(method))


def test_user_code_with_every_method_passes_the_type_checker(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    code = """
import laju
s: laju.Schedule = laju.cosine(0.3, total="100%", warmup="5 epochs", first=True)
a: laju.Schedule = s.then(0.1).minimum(1).maximum(s).scale(2).clip(0.1, relative=True).take("5 epochs").overlay(0.1)
b: laju.Schedule = s.shift(1).stretch(2).staircase(3).reverse().repeat(2, growth=2, decay=0.5, mirror=True)
c: laju.Schedule = (s >> 0.1) * 2 + s.per("epoch").warmup(5, how="times", shape="cosine", first=True)
d: laju.Schedule = 0.5 * s + laju.Ramp(0, 1, "5 epochs", "cosine", first=True)
e: laju.Schedule = laju.parse("cosine(1, total=5)", functions=True).resolve(laju.RunPlan(samples=1, batch_size=1, epochs=1))
f: laju.Schedule = laju.from_json(s.to_json())
laju.Repeat(s, mirror=1.5)  # error
s.repeat(count="x")  # error
laju.Ramp(1)  # error
"""
    file = tmp_path / "user.py"
    file.write_text(code)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--follow-imports=silent", str(file)],
        capture_output=True,
        text=True,
        timeout=500,
        cwd=tmp_path,
        env={"MYPYPATH": str(SOURCE.parent), "PATH": "/usr/bin:/bin"},
    )
    wrong = [line for line in done.stdout.splitlines() if ": error:" in line]
    expected = [i for i, line in enumerate(code.splitlines(), 1) if line.endswith("# error")]
    assert [int(line.split(":")[1]) for line in wrong] == expected, done.stdout
