"""The report in a real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import laju
from laju.lab.report import html
from laju.view.page import made
from tests.lab.test_report import HOSTILE, SEEDS, comparison

pytestmark = pytest.mark.slow
COMMAND = "laju compare chapter 'a name=cosine(0.3, total=40)' --seeds 3"
TWENTY = {f"cosine with {k} updates of warmup": laju.cosine(0.3, total=40, warmup=k) for k in range(20)}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages of six, twenty and hostile schedules."""
    folder = tmp_path_factory.mktemp("pages")
    for name, schedules in (("six", dict(list(TWENTY.items())[:6])), ("twenty", TWENTY), ("hostile", HOSTILE)):
        page = html.page(comparison(schedules, task="digits").findings(), command=COMMAND, made=made())
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    return folder


@pytest.fixture
def visit(browser: Any, written: Path) -> Iterator[Callable[..., Any]]:
    """Opens a page; at the end nothing may have been asked of the outside, and nothing may have gone wrong in it."""
    contexts, troubles = [], []

    def visit(name: str = "six", width: int = 1280, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        context.set_default_timeout(60_000)
        page, url = context.new_page(), (written / f"{name}.html").as_uri()
        page.on("request", lambda request: request.url == url or troubles.append(f"request: {request.url}"))
        page.on("console", lambda message: troubles.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (troubles.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.goto(url)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert troubles == []


class Chart:
    """One picture of a page, and where its values lie on the screen."""

    def __init__(self, page: Any, title: str) -> None:
        self.page, self.figure = page, page.locator("figure", has=page.get_by_text(title, exact=True))
        self.svg, self.tip = self.figure.locator("> svg"), self.figure.locator(".tip")
        self.svg.scroll_into_view_if_needed()
        facts = json.loads(self.figure.get_attribute("data-curves"))
        (self.panel,) = facts["panels"]

    def at(self, x: float, y: float) -> tuple[float, float]:
        left, top, right, bottom = self.panel["box"]
        (x0, x1), (y0, y1) = self.panel["x"], self.panel["y"]
        box = self.svg.bounding_box()
        scale = box["width"] / float(self.svg.get_attribute("viewBox").split()[2])
        px = left + (x - x0) / (x1 - x0) * (right - left)
        py = bottom - (y - y0) / (y1 - y0) * (bottom - top)
        return box["x"] + scale * px, box["y"] + scale * py

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.page.mouse.move(*self.at(*start))
        self.page.mouse.down()
        self.page.mouse.move(*self.at(*end), steps=3)
        self.page.mouse.up()

    def labels(self) -> list[str]:
        """The numbers along the axes."""
        texts = self.svg.locator("text:visible").all_text_contents()
        return [text.strip() for text in texts if re.fullmatch(r"[\d.−-]+", text.strip())]


def test_a_curve_is_read_out_under_the_pointer_and_by_keys(visit) -> None:
    from playwright.sync_api import expect

    page, shown = visit(), comparison(dict(list(TWENTY.items())[:6]))
    chart, name = Chart(page, "Test accuracy"), list(shown.schedules)[5]
    accuracies = [r.test_accuracy for seed in SEEDS for r in shown.outcomes[name, seed].records if r.update == 30]
    page.mouse.move(*chart.at(3.0, float(np.mean(accuracies))))
    expect(chart.tip).to_contain_text("update 30, epoch 3: ")
    # Schedules lie close to one another, so the point itself says which is next to it.
    told = chart.tip.locator("b").inner_text()
    value = float(chart.tip.inner_text().rpartition(": ")[2])
    outcomes = [shown.outcomes[told, seed] for seed in SEEDS]
    finished = [record for o in outcomes if o.status == "finished" for record in o.records]
    mean = np.mean([record.test_accuracy for record in finished if record.update == 30])
    assert value == pytest.approx(mean, abs=1e-4)
    expect(page.locator(".legend li.highlit")).to_have_text(told)

    rate = Chart(page, "Learning rate")
    schedule = shown.schedules[next(iter(shown.schedules))]
    rate.svg.focus()
    for update in (0, 1, 2):
        page.keyboard.press("ArrowRight")
        expect(rate.tip).to_contain_text(
            f"update {update}, epoch {update / 10:g}: {float(f'{schedule(update):.4g}'):g}"
        )
    page.keyboard.press("ArrowDown")
    expect(rate.tip.locator("b")).to_have_text(list(shown.schedules)[1])
    page.keyboard.press("Escape")
    expect(rate.tip).to_be_empty()


def test_a_name_in_the_legend_hides_its_curve_in_every_picture(visit) -> None:
    from playwright.sync_api import expect

    page = visit("twenty")
    names = page.locator(".legend button")
    expect(names).to_have_count(20)

    def visible(i: int) -> list[bool]:
        found = page.locator(f"svg [data-curve='{i}']").evaluate_all(
            "all => all.map(e => getComputedStyle(e).display != 'none')"
        )
        assert len(found) >= 4
        return found

    names.nth(7).focus()
    page.keyboard.press("Enter")
    expect(names.nth(7)).to_have_attribute("aria-pressed", "false")
    assert not any(visible(7))
    assert all(visible(8))
    names.nth(7).click()
    expect(names.nth(7)).to_have_attribute("aria-pressed", "true")
    assert all(visible(7))
    names.nth(3).dblclick()
    assert all(visible(3))
    assert not any(visible(0))
    # What is hidden is not read out.
    chart = Chart(page, "Learning rate")
    page.mouse.move(*chart.at(0.0, 0.3))
    expect(chart.tip.locator("b")).to_have_text(list(TWENTY)[3])
    page.get_by_role("button", name="Hide all").click()
    assert not any(visible(3))
    page.get_by_role("button", name="Show all").click()
    assert all(map(all, map(visible, range(20))))


def test_a_table_is_sorted_by_a_click_on_a_heading_and_back_by_the_third(visit) -> None:
    page = visit("hostile")
    table = page.locator("table.sortable").first
    heading = table.locator("th", has_text="test accuracy").first

    def column() -> list[str]:
        return table.locator("tbody tr td:nth-child(2)").all_inner_texts()

    first = column()
    numbers = sorted((float(text) for text in first if text != "–"), reverse=True)
    missing = first.count("–")
    assert missing
    assert len(set(numbers)) > 3
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert [float(text) for text in column()[:-missing]] == numbers
    heading.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    assert [float(text) for text in column()[:-missing]] == numbers[::-1]
    assert column()[-missing:] == ["–"] * missing
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") is None
    assert column() == first


def test_a_picture_is_enlarged_by_dragging_and_never_shows_what_cannot_be(visit) -> None:
    from playwright.sync_api import expect

    page = visit()
    chart = Chart(page, "Test accuracy")
    before, back = chart.labels(), chart.figure.get_by_role("button", name="See all")
    expect(back).to_be_hidden()
    low, high = chart.panel["y"]
    assert 0 <= low < high <= 1
    # To beyond the upper right corner, which is accuracy 1 at most and the end of the run.
    chart.drag((2.0, (low + high) / 2), (9.0, 2 * high - low))
    expect(back).to_be_visible()
    enlarged = chart.labels()
    assert enlarged != before
    numbers = [float(text) for text in enlarged]
    assert max(numbers) <= 4
    epochs, accuracies = [x for x in numbers if x > 1], [x for x in numbers if x <= 1]
    assert min(epochs) >= 2
    assert min(accuracies) >= (low + high) / 2 - 0.02
    back.click()
    expect(back).to_be_hidden()
    assert chart.labels() == before
    chart.svg.focus()
    for key in ("ArrowRight", "+"):
        page.keyboard.press(key)
    expect(back).to_be_visible()
    page.mouse.dblclick(*chart.at(2.0, (low + high) / 2))
    expect(back).to_be_hidden()
    assert chart.labels() == before


def test_the_button_copies_the_command(visit) -> None:
    from playwright.sync_api import expect

    page = visit(permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").click()
    expect(page.locator(".command button")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == COMMAND


@pytest.mark.parametrize("width", [360, 500, 1280])
def test_nothing_is_wider_than_the_screen(visit, width: int) -> None:
    for name in ("six", "twenty", "hostile"):
        page = visit(name, width, color_scheme="dark" if name == "six" else "light")
        page.locator("details").evaluate_all("all => all.forEach(e => { e.open = true; })")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        # What is wider than its box can be scrolled there.
        cut = page.locator("main *:not(svg *)").evaluate_all(
            """all => all.filter(e => {
                const style = getComputedStyle(e);
                const scrolls = style.display == 'inline' || style.overflowX == 'auto';
                return !scrolls && e.clientWidth && e.scrollWidth > e.clientWidth + 1;
            }).map(e => e.outerHTML.slice(0, 90))"""
        )
        assert cut == []
    if width == 500:  # the table of results needs no scrolling there
        page = visit("six", width)
        assert page.locator(".scroll").first.evaluate("e => e.scrollWidth <= e.clientWidth")


def test_without_javascript_the_page_has_every_picture_and_figure(visit) -> None:
    page = visit("six", java_script_enabled=False)
    assert page.locator("figure > svg:visible").count() == 4
    assert page.locator("svg [data-curve='5'] path:visible").count() >= 4
    assert page.locator(".legend li:visible").count() == 6
    assert page.locator("table:visible").first.inner_text().count("0.") > 12
    assert page.get_by_text(COMMAND).is_visible()
    assert page.locator("button:visible").count() == 0


def test_hostile_names_are_text_in_the_browser_too(visit) -> None:
    from playwright.sync_api import expect

    page = visit("hostile")  # whose script would have opened a dialog
    expect(page.locator(".legend button")).to_have_count(len(HOSTILE))
    chart = Chart(page, "Learning rate")
    chart.svg.focus()
    page.keyboard.press("ArrowRight")
    for name in HOSTILE:
        expect(chart.tip.locator("b")).to_have_text(html.printable(name, most=80))
        page.keyboard.press("ArrowDown")
    assert page.locator("img, iframe, main script").count() == 0
