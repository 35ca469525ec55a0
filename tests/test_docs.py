import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import laju
from laju.studies import STUDIES
from tests.test_tutorial import helper

answers = helper("docs_answers")
DOCS = Path(__file__).parent.parent / "docs"


def vectors() -> list[tuple[str, int, list[float]]]:
    table = (DOCS / "semantics.md").read_text().partition("## Vectors")[2]
    rows = re.findall(r"^\| `(.+?)` \| (\d+)–\d+ \| (.+?) \|$", table, flags=re.MULTILINE)
    return [(spec, int(begin), [float(v) for v in values.split()]) for spec, begin, values in rows]


def test_the_page_has_vectors():
    assert len(vectors()) >= 7


@pytest.mark.parametrize(("spec", "begin", "expected"), vectors())
def test_the_vectors_on_the_semantics_page_come_out(spec, begin, expected):
    schedule = laju.parse(spec)
    assert [schedule(begin + i) for i in range(len(expected))] == pytest.approx(expected, rel=1e-14, abs=1e-16)


PAGES = sorted(p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md") if p.name != "recipes.md")
"""All but the recipes, of which each has a process of its own in test_recipes.py."""
TRAIN = {"range-test.md", "sampling.md", "racing.md", "studies.md", "shared-prefixes.md", "statistics.md"}
"""Pages whose examples train for many seconds."""


@pytest.mark.parametrize("page", [pytest.param(p, marks=pytest.mark.slow) if p in TRAIN else p for p in PAGES])
def test_every_example_in_the_documentation_runs(page):
    found = re.findall(
        r"^( *)```python(?: [^\n]*)?\n(.*?)^ *```", (DOCS / page).read_text(), flags=re.MULTILINE | re.DOTALL
    )
    blocks = [textwrap.dedent(code) for _, code in found]  # in tabs they are indented
    names = {"__name__": "example"}  # a reader types one block after the other
    for block in blocks:
        if not re.search("docs_(pictures|parity|answers)", block):  # those run when the site is built
            exec(compile(block, page, "exec"), names)


def test_the_worked_example_of_a_new_node_runs():
    page = (DOCS.parent / "CONTRIBUTING.md").read_text()
    (block,) = re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    # In a process of its own, since the node is registered for good.
    subprocess.run([sys.executable, "-c", block], check=True, timeout=120)


def test_pages_quote_studies_and_repeat_none_of_their_figures():
    """Figures of studies stand in files that the studies wrote, and pages print these."""
    for page in ("studies.md", "chapter/claims.md", "id/claims.md"):
        assert "docs_answers" in (DOCS / page).read_text()
        assert "±" not in (DOCS / page).read_text()


@pytest.mark.parametrize("name", answers.QUOTED)
def test_a_quoted_answer_is_whole(name):
    found = answers.kept(name)
    assert (answers.FOLDER / f"{name}.md").read_text().startswith(f"# {STUDIES[name]}\n")
    shown = answers.answer(name)
    assert shown.startswith(f"> **{found.verdict}**")
    for title, rows in found.tables.items():
        assert f"*{title}*" in shown
        assert {len(row) for row in rows} == {len(rows[0])}
        assert all(" | ".join(row) in shown for row in rows)


def test_the_pages_of_claims_say_what_the_studies_answered():
    rows = next(iter(answers.kept("overfitting").tables.values()))[1:]
    for language in ("en", "id"):
        shown = answers.overfitting(language) + answers.algorithms(language)
        for row in rows:
            for figure in (row[1], row[2], row[4]):
                assert (figure if language == "en" else figure.replace(".", ",")) in shown
        for claim in (answers.overfitting, answers.algorithms, answers.plateaus, answers.warmups):
            assert (re.findall(r"\d\.\d", claim(language)) == []) == (language == "id")


def test_a_claim_of_something_else_stops_the_build_or_says_so(tmp_path, monkeypatch):
    for name in answers.QUOTED:
        (tmp_path / f"{name}.md").write_text((answers.FOLDER / f"{name}.md").read_text())
    monkeypatch.setattr(answers, "FOLDER", tmp_path)
    assert "Multi-factor is shown to overfit less; square root and cosine are only ahead." in answers.overfitting()
    text = (tmp_path / "overfitting.md").read_text()
    (tmp_path / "overfitting.md").write_text(text.replace("**cosine: not told from", "**cosine: overfits less, not"))
    assert "Multi-factor and cosine are shown to overfit less; square root is only ahead." in answers.overfitting()
    assert "multifaktor dan kosinus terbukti" in answers.overfitting("id").lower()
    (tmp_path / "overfitting.md").write_text(text.replace("overfits less", "not told from the constant rate"))
    for claim in (answers.overfitting, answers.algorithms):
        with pytest.raises(AssertionError, match=r"sentences? (is|are) needed"):
            claim()
