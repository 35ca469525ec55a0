"""The chapter's text is the whole one or none, and no line of it is part of the project."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chapter_text import NAME, ROOT, TABS, TRAININGS, Chapter, NoChapter, trains


@pytest.fixture
def copy(chapter: Chapter, tmp_path: Path) -> Path:
    """The text in a folder of its own, with what runs it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "fashion-mnist-mini").symlink_to(chapter.shared / "data" / "fashion-mnist-mini")
    (tmp_path / "chapter").mkdir()
    for name in (NAME, "d2l_stand_in.py"):
        shutil.copyfile(chapter.shared / "chapter" / name, tmp_path / "chapter" / name)
    return tmp_path


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda raw: raw[: len(raw) // 2], "12,621 bytes instead of 25,242"),
        (lambda raw: raw.replace(b"final_lr=0.01", b"final_lr=0.02", 1), "another SHA-256"),
        (lambda raw: b"", "0 bytes"),
        (None, "cannot be read"),
    ],
)
def test_a_cut_or_changed_text_is_told(copy: Path, damage, reason: str) -> None:
    path = copy / "chapter" / NAME
    assert Chapter.read(copy).text
    raw = path.read_bytes()
    path.unlink() if damage is None else path.write_bytes(damage(raw))
    with pytest.raises(NoChapter, match=reason):
        Chapter.read(copy)


def test_a_cut_text_skips_what_needs_it(copy: Path) -> None:
    path = copy / "chapter" / NAME
    path.write_bytes(path.read_bytes()[:10_000])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", "-q", "tests/test_chapter_text.py", "-k", "every_tab"],
        cwd=ROOT,
        env=os.environ | {"LAJU_SHARED": str(copy), "LAJU_REQUIRE": ""},  # where skips are failures, too
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert "1 skipped" in done.stdout
    assert "passed" not in done.stdout
    assert "10,000 bytes instead of 25,242" in " ".join(done.stdout.split())


def test_what_executes_the_text_is_needed_as_well(copy: Path) -> None:
    (copy / "chapter" / "d2l_stand_in.py").unlink()
    with pytest.raises(NoChapter, match=r"d2l_stand_in\.py, which is missing"):
        Chapter.read(copy)


def test_every_tab_has_its_cells_and_trainings(chapter: Chapter) -> None:
    for tab in TABS:
        cells = chapter.cells(tab)
        assert len(cells) == 13
        assert sum(trains(cell) for cell in cells) == len(TRAININGS)
        for cell in cells:
            ast.parse(cell)
    assert set(chapter.classes("tensorflow")) > set(chapter.classes("pytorch")) > set(chapter.classes("mxnet"))


def threes(text: str) -> set[tuple[str, ...]]:
    """Three lines that follow one another, without indentation, empty lines and imports; a line or two are anybody's."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and "import " not in line]
    return {three for three in zip(lines, lines[1:], lines[2:], strict=False) if sum(map(len, three)) >= 60}


def test_neither_sentences_nor_code_of_the_text_are_part_of_the_project(chapter: Chapter) -> None:
    code = threes("\n".join(cell for tab in TABS for cell in chapter.cells(tab)))
    prose = {line.strip() for line in chapter.text.splitlines() if len(line.split()) >= 8}
    assert len(code) > 100
    assert len(prose) > 40
    for folder in ("src", "tests", "docs", "docs_build", "benchmarks"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".py", ".md"):
                text = path.read_text(encoding="utf-8")
                found = code & threes(text) | prose & {line.strip() for line in text.splitlines()}
                assert not found, f"{path}: {found}"
