"""A report is complete, opens without a network, and shows names as text whatever they contain."""

from __future__ import annotations

import csv
import math
import re
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console

import laju
from laju.lab.comparison import Comparison
from laju.lab.report import FILES, check_writable, table, write_report
from laju.lab.report.html import page
from laju.lab.trials import Optimizer, Outcome, Record
from laju.view.plot import LettersMissing, printable
from tests.pages import Page, check

PLAN = laju.RunPlan(samples=1000, batch_size=100, epochs=4)
SEEDS = (0, 1, 2)
HOSTILE = {
    "<script>alert(1)</script>": laju.constant(0.3),
    "$x_1$": laju.cosine(0.3, total="100%"),
    "[red]boo[/red]": laju.linear(0.3, 0, total=40),
    "_hidden": laju.cosine(0.3, total="100%", warmup="1 epoch"),
    '=HYPERLINK("http://evil.example")': laju.constant(0.1),
    '" onload="alert(1)': laju.constant(0.2),
    "</svg><img src=x onerror=alert(1)>": laju.square_root(0.1),
    "</script><script>alert(1)</script>": laju.constant(0.05),
    "'余弦 &amp; 预热' שלום": laju.constant(0.06),
    "left \u202eto right": laju.constant(0.07),
    "n" * 5000: laju.constant(0.08),
}


def outcome(i: int, seed: int, status: str = "finished") -> Outcome:
    rng = np.random.default_rng((i, seed))
    records = [
        Record(
            update=u,
            epoch=u / 10,
            rate=0.3,
            train_loss=2.3 * math.exp(-u / 20) + rng.uniform(0, 0.1),
            train_accuracy=1 - math.exp(-u / 20) + rng.uniform(0, 0.01),
            test_accuracy=0.9 - math.exp(-u / 20) + rng.uniform(0, 0.01) if u % 10 == 0 else None,
        )
        for u in range(5, 41, 5)
    ]
    if status == "diverged":
        records = [*records[:3], Record(20, 2.0, 0.3, float("nan"), 0.1, None)]
    return Outcome(status, tuple(records), 12.5, 17 if status == "diverged" else None)  # type: ignore[arg-type]


def comparison(schedules: dict = HOSTILE, task: str = "<b>digits</b>") -> Comparison:
    outcomes = {(name, seed): outcome(i, seed) for i, name in enumerate(schedules) for seed in SEEDS}
    names = list(schedules)
    if len(names) > 3:
        outcomes[names[1], 1] = outcome(1, 1, "diverged")
        outcomes[names[2], 2] = outcome(2, 2, "collapsed")
        outcomes |= {(names[3], seed): outcome(3, seed, "diverged") for seed in SEEDS}
        del outcomes[names[0], 2]
    return Comparison(task, schedules, PLAN, Optimizer(momentum=0.9), SEEDS, outcomes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reports") / "deep" / "down"
    with pytest.warns(LettersMissing, match="lacks the letters 余弦预热$") as told:  # once, and not for each picture
        assert write_report(comparison().findings(), path) == [path / name for name in FILES]
    assert len(told) == 1
    return path


@pytest.fixture(scope="module")
def html(folder: Path) -> Page:
    return check((folder / "report.html").read_text("utf-8"))


def test_names_are_on_the_page_as_text(html: Page) -> None:
    text = "".join(html.text)
    for name, schedule in HOSTILE.items():
        assert text.count(printable(name)) >= 3, name
        assert str(schedule) in text
    assert "laju studio 'constant(0.3)' " in text
    assert "<b>digits</b>" in text


def test_the_page_says_what_was_run_and_what_went_wrong(html: Page) -> None:
    text = re.sub(r"\s+", " ", "".join(html.text))
    for fact in ("1,000", "40 (10 an epoch)", "sgd(momentum=0.9)", "0, 1, 2", "32 of 33"):
        assert fact in text
    for warning in comparison().findings().warnings:
        assert re.sub(r"\s+", " ", warning) in text
    assert "1 of 3 diverged at update 17" in text
    assert "3 of 3 diverged at update 17" in text
    assert "1 of 3 collapsed" in text


def test_figures_take_their_colours_from_the_page_so_that_dark_mode_changes_them(html: Page) -> None:
    styles = " ".join(a.get("style") or "" for tag, a in html.elements if tag in ("path", "use", "text", "g"))
    for variable in ("--ink", "--grid", "--c0", "--c4"):
        assert f"var({variable})" in styles
    # Black as a default would vanish on dark paper.
    assert not re.search(r"(stroke|fill): ?#", styles)


def test_the_same_comparison_gives_the_same_page() -> None:
    assert page(comparison().findings()) == page(comparison().findings())


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".png")])
def test_pictures_open_and_are_not_blank(folder: Path, name: str) -> None:
    with Image.open(folder / name) as image:
        image.load()
        colours = image.convert("RGB").getcolors(1 << 24)
    assert image.width > 1000
    assert len(colours) > 50


def test_pandas_reads_the_tables_back(folder: Path) -> None:
    trials = pd.read_csv(folder / "trials.csv")
    expected = pd.DataFrame(comparison().trials())
    assert list(trials.columns) == list(expected.columns)
    assert trials.status.tolist() == expected.status.tolist()
    np.testing.assert_allclose(trials.test_accuracy.astype(float), expected.test_accuracy.astype(float))
    records = pd.read_csv(folder / "records.csv")
    assert len(records) == len(comparison().records())


def test_no_cell_of_a_table_is_a_formula(folder: Path) -> None:
    raw = (folder / "trials.csv").read_bytes().decode("utf-8")
    assert raw.count("\r\n") == 1 + 33
    rows = list(csv.reader(StringIO(raw, newline="")))
    assert {len(row) for row in rows} == {len(rows[0])}
    for row in rows:
        for cell in row:
            if cell[:1] in "=+-@" and cell:
                float(cell)


def test_the_terminal_table_shows_names_as_written_and_fits() -> None:
    for width in (100, 120):
        output = StringIO()
        Console(file=output, width=width).print(table(comparison().findings()))
        text = output.getvalue()
        assert max(map(len, text.splitlines())) <= width
        for part in ("[red]boo[/red]", "$x_1$", "_hidden", "<script>", "1 of 3 collapsed", "12 s", "difference"):
            assert part in text
        assert not re.search(r"\D…|…[^\d+-]", text)  # nothing was cut; an interval has numbers at both sides


def test_a_difference_has_a_colour_only_when_its_interval_excludes_zero() -> None:
    def shift(amount: float) -> str:
        schedules = {"a": laju.constant(0.1), "b": laju.constant(0.2)}
        base = [0.80, 0.81, 0.82]
        outcomes = {}
        for seed in SEEDS:
            for name, more in (("a", 0.0), ("b", amount + 0.001 * seed)):
                record = Record(40, 4.0, 0.1, 0.5, 0.9, base[seed] + more)
                outcomes[name, seed] = Outcome("finished", (record,), 1.0)
        return page(Comparison("digits", schedules, PLAN, Optimizer(), SEEDS, outcomes).findings())

    assert 'class="better"' in shift(0.05)
    assert 'class="worse"' in shift(-0.05)
    assert 'class="better"' not in shift(0.0)


def test_a_report_replaces_an_earlier_one_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    write_report(comparison({"a": laju.constant(0.1)}, task="digits").findings(), tmp_path)
    assert "old" not in (tmp_path / "report.html").read_text("utf-8")[:10]
    assert {p.name for p in tmp_path.iterdir()} == {*FILES, "notes.txt"}


def test_a_failed_write_leaves_the_earlier_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "report.html").write_text("old")
    monkeypatch.setattr("laju.lab.report.html.page", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(comparison().findings(), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text() == "old"


def test_a_comparison_of_which_nothing_was_run_still_gives_a_report(tmp_path: Path) -> None:
    write_report(Comparison("digits", {"a": laju.constant(0.1)}, PLAN, Optimizer(), SEEDS, {}).findings(), tmp_path)
    assert "3 of 3 not run" in (tmp_path / "report.html").read_text("utf-8")


def test_a_folder_is_made_and_proved_writable_before_training(tmp_path: Path) -> None:
    path = check_writable(tmp_path / "a" / "b")
    assert path.is_dir()
    assert list(path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write a report into .*file.*: "):
        check_writable(tmp_path / "file" / "report")
    (tmp_path / "overview.png").mkdir()
    with pytest.raises(OSError, match=r"overview\.png there is a folder"):
        check_writable(tmp_path)
    with pytest.raises(OSError, match="cannot write a report into '/proc/laju'"):
        check_writable("/proc/laju")


def test_a_report_leaves_matplotlib_as_it_was(tmp_path: Path) -> None:
    import matplotlib
    from matplotlib import pyplot

    before = dict(matplotlib.rcParams)
    write_report(comparison({"a": laju.constant(0.1)}).findings(), tmp_path)
    assert dict(matplotlib.rcParams) == before
    assert pyplot.get_fignums() == []
