"""Docstrings name their nouns: words such as "it" and "what" are rare, as in the libraries that laju is used beside."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import laju

SOURCE = Path(laju.__file__).parent
PRONOUNS = {"it", "they", "them", "those", "one", "what", "other"}
MOST = 0.004
"""The largest share of docstring words that may be such words; optax has .005, Optuna .006, click .014."""


def words(source: str) -> list[str]:
    """The words of all docstrings of a module, in lower case."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = (ast.get_docstring(node) or "" for node in ast.walk(ast.parse(source)) if isinstance(node, documented))
    return [word for text in texts for word in re.findall(r"[a-z']+", text.lower())]


def pronouns(found: list[str]) -> int:
    return sum(word in PRONOUNS for word in found)


def test_words_are_counted_in_the_docstrings_of_modules_classes_and_functions_alone() -> None:
    source = '''"""What it is."""
# one comment
class A:
    """Other than them."""
    def f(self):
        """Those."""
        return "they"
async def g():
    """One."""
'''
    assert pronouns(words(source)) == 6
    assert len(words(source)) == 8


def test_docstrings_name_their_nouns() -> None:
    found = {file: words(file.read_text(encoding="utf-8")) for file in SOURCE.rglob("*.py")}
    total, counted = sum(map(len, found.values())), sum(map(pronouns, found.values()))
    assert total > 50_000
    worst = sorted(found, key=lambda file: -pronouns(found[file]))[:10]
    named = "\n".join(f"{pronouns(found[file]):4d} in {file.relative_to(SOURCE)}" for file in worst)
    assert counted <= MOST * total, (
        f"{counted / total:.2%} of the words are {', '.join(sorted(PRONOUNS))}; most:\n{named}"
    )
