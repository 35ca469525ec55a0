import re
import subprocess
import sys
from pathlib import Path

import pytest

import laju

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


PAGES = sorted(p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md"))
TRAIN = {"range-test.md", "sampling.md", "racing.md", "studies.md", "shared-prefixes.md", "statistics.md"}
"""Pages whose examples train for many seconds."""


@pytest.mark.parametrize("page", [pytest.param(p, marks=pytest.mark.slow) if p in TRAIN else p for p in PAGES])
def test_every_example_in_the_documentation_runs(page):
    blocks = re.findall(r"^```python(?: [^\n]*)?\n(.*?)^```", (DOCS / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    for block in blocks:
        if "docs_pictures" not in block and "docs_parity" not in block:  # those run when the site is built
            exec(compile(block, page, "exec"), {"__name__": "example"})


def test_the_worked_example_of_a_new_node_runs():
    page = (DOCS.parent / "CONTRIBUTING.md").read_text()
    (block,) = re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    # In a process of its own, since the node is registered for good.
    subprocess.run([sys.executable, "-c", block], check=True, timeout=120)
