"""The studio in a real browser, Debian's Chromium driven by Playwright: by mouse, by keyboard, by links."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="needs the extra studio, which `make setup` installs")

import laju
from laju.lab import Store
from laju.studio.comparisons import results
from laju.studio.desk import Desk
from laju.studio.server import Studio
from tests.lab.test_store import outcome, trial

pytestmark = pytest.mark.slow
MEANT = laju.cosine(0.1, total=1000, warmup=100)
LOG = "step,lr,loss\n" + "".join(f"{t},{MEANT(2 * t)!r},{2 + 1 / t}\n" for t in range(10, 500, 10))
"""A log of a run whose scheduler is stepped twice in each update."""


@pytest.fixture(scope="module")
def studio() -> Iterator[Studio]:
    started = Studio(Desk(), 0).start()
    yield started
    started.stop()


@pytest.fixture
def visit(browser: Any, studio: Studio) -> Iterator[Callable[..., Any]]:
    """Opens the studio; at the end nothing may have been asked of the outside, and nothing may have gone wrong."""
    contexts, troubles = [], []

    def visit(fragment: str = "", width: int = 1280, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        context.set_default_timeout(60_000)
        page, own = context.new_page(), (f"http://127.0.0.1:{studio.port}/", "blob:", "data:")
        page.on("request", lambda request: request.url.startswith(own) or troubles.append(f"request: {request.url}"))
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (troubles.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.goto(f"{studio.address}#{fragment}")
        page.wait_for_selector("g.handle")
        return page

    yield visit
    for context in contexts:
        context.close()
    studio.desk.held.clear()
    assert troubles == []


def expect(thing: Any) -> Any:
    from playwright.sync_api import expect as playwright_expect

    return playwright_expect(thing)


def text_of(page: Any, i: int = 0) -> Any:
    return page.get_by_label(f"text of schedule {i + 1}")


def handle(page: Any, name: str) -> Any:
    return page.get_by_role("slider", name=name, exact=True)


def drag(page: Any, name: str, by: tuple[float, float]) -> None:
    # No answer is to come that draws the handles anew.
    page.locator("main[aria-busy=false]").wait_for(state="attached")
    box = handle(page, name).locator(".knob").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + by[0] / 2, y + by[1] / 2)
    page.mouse.move(x + by[0], y + by[1])
    page.mouse.up()


def place(page: Any, name: str, at: float) -> float:
    """Pixels from a handle to an update, by the handles at both ends of the axis."""
    page.locator("main[aria-busy=false]").wait_for(state="attached")
    left, right, here = (
        handle(page, n).locator(".knob").bounding_box()["x"] for n in ("start", "total and final", name)
    )
    return left + (right - left) * at / 1000 - here


def test_a_dragged_handle_changes_the_text_and_the_link_and_undo_takes_it_back(visit) -> None:
    page = visit("s=cosine(0.3, total=1000, warmup=50)")
    drag(page, "warmup and peak", (place(page, "warmup and peak", 200), 0))
    expect(text_of(page)).to_have_value(re.compile(r"cosine\(0\.\d+, total=1000, warmup=(19|20)\d\)"))
    dragged = text_of(page).input_value()
    expect(page).to_have_url(re.compile(re.escape(dragged.replace(" ", "%20"))))
    assert "token" not in page.url
    expect(page.get_by_label("warmup", exact=True)).to_have_value(re.search(r"warmup=(\d+)", dragged)[1])
    page.get_by_role("button", name="Undo").click()
    expect(text_of(page)).to_have_value("cosine(0.3, total=1000, warmup=50)")
    page.keyboard.press("Control+y")
    expect(text_of(page)).to_have_value(dragged)
    # The link opens the same page again, in a second window of the same browser as well.
    second = page.context.new_page()
    second.goto(page.url)
    expect(text_of(second)).to_have_value(dragged)


def test_typing_moves_the_curve_and_a_text_that_is_wrong_half_way_keeps_the_last_curve(visit) -> None:
    page = visit("s=cosine(0.3, total=1000, warmup=50)")
    before = page.locator("path.curve").get_attribute("d")
    text_of(page).fill("cosine(0.3, total=1000, warmup=500)")
    expect(page.locator("path.curve")).not_to_have_attribute("d", before)
    after = page.locator("path.curve").get_attribute("d")
    text_of(page).fill("cosine(0.3, totl=1000")
    expect(page.locator("#wrong-0")).to_contain_text("^")
    assert page.locator("path.curve.stale").get_attribute("d") == after
    text_of(page).fill("cosin(0.3, total=1000)")
    expect(page.locator("#wrong-0")).to_contain_text("did you mean 'cosine'?")
    text_of(page).fill("cosine(0.3, total=1000, warmup=50)")
    expect(page.locator("path.curve")).to_have_attribute("d", before)
    expect(page.locator("#wrong-0")).to_be_hidden()


def test_the_keyboard_alone_moves_handles_changes_tabs_and_reads_values(visit) -> None:
    page = visit("s=cosine(0.3, total=1000, warmup=50)")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('aria-label')") == "warmup and peak":
            break
    page.keyboard.press("ArrowRight")
    expect(text_of(page)).to_have_value("cosine(0.3, total=1000, warmup=51)")
    page.keyboard.press("Shift+ArrowUp")
    expect(text_of(page)).to_have_value("cosine(0.31, total=1000, warmup=51)")
    expect(handle(page, "warmup and peak")).to_be_focused()
    assert "warmup 51 and peak 0.31" in handle(page, "warmup and peak").get_attribute("aria-valuetext")
    page.locator("#tab-findings").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#panel-code")).to_be_visible()
    page.locator("#reader").focus()
    page.keyboard.press("End")
    expect(page.locator("#readout")).to_contain_text("update 999")


def test_the_fix_of_a_finding_is_applied_by_a_click(visit) -> None:
    page = visit("s=cosine(0.3, total=1000, warmup=50)&updates=800")
    finding = page.locator("article", has_text="LAJU005")
    expect(finding).to_contain_text("the run has 800 updates, the schedule 1,000")
    fix = finding.locator("code").last.inner_text()
    finding.get_by_role("button", name="Apply fix").click()
    expect(text_of(page)).to_have_value(fix)
    expect(page.locator("article", has_text="LAJU005")).to_have_count(0)


def test_find_the_wsd_that_ends_where_this_cosine_ends(visit) -> None:
    page = visit("s=cosine(0.3, total=1000, warmup=50)")
    page.get_by_label("New schedule").select_option("wsd")
    page.get_by_role("button", name="Add").click()
    expect(text_of(page, 1)).to_have_value("wsd(0.3, total=1000, cooldown=200, warmup=50)")
    expect(page.locator("#difference")).to_be_visible()
    drag(page, "total and final", (-150, 0))
    expect(text_of(page, 1)).not_to_have_value("wsd(0.3, total=1000, cooldown=200, warmup=50)")
    drag(page, "total and final", (149, 0))  # near the cosine's end, to which the handle goes
    expect(text_of(page, 1)).to_have_value(re.compile(r"wsd\(0\.3, total=1000, "))


def test_a_dropped_log_says_its_formula_and_why_it_is_wrong(visit, tmp_path: Path) -> None:
    page = visit(f"s={MEANT}")
    (tmp_path / "run <b>1<_b>.csv").write_text(LOG)
    page.locator("#file").set_input_files(tmp_path / "run <b>1<_b>.csv")
    panel = page.locator("#panel-logs")
    expect(panel).to_contain_text("every update is counted 2 times")
    expect(panel).to_contain_text("run <b>1<_b>.csv")  # a name, not markup
    expect(panel).to_contain_text("cosine(0.1, total=500, warmup=50)")
    expect(panel.locator("tbody tr")).to_have_count(2)
    assert page.locator("#curves g.dots circle").count() > 20
    panel.get_by_role("button", name="Show this schedule").click()
    expect(text_of(page, 1)).to_have_value("cosine(0.1, total=500, warmup=50)")
    expect(panel).to_contain_text("As meant")
    # By a drop, a log that is none; the message says so.
    page.evaluate(
        """() => { const data = new DataTransfer(); data.items.add(new File(['nothing'], 'x.csv'));
        window.dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true })); }"""
    )
    expect(page.locator("#message")).to_contain_text("x.csv")
    # A file that is too large is refused by its size.
    page.evaluate(
        """() => { const file = new File(['a'], 'big.csv'); Object.defineProperty(file, 'size', { value: 2 ** 30 });
        file.stream = file.arrayBuffer = file.text = () => { throw new Error('read'); };
        const event = new DragEvent('drop', { bubbles: true, cancelable: true });
        Object.defineProperty(event, 'dataTransfer', { value: { types: ['Files'], files: [file] } });
        window.dispatchEvent(event); }"""
    )
    expect(page.locator("#message")).to_contain_text("big.csv has 1,024 MB, and the page takes 64 MB")
    page.locator("#tab-forecast").click()
    expect(page.locator("#forecast-told")).to_contain_text("ends at")


def test_give_me_the_optax_code_and_it_runs(visit, tmp_path: Path) -> None:
    pytest.importorskip("optax")
    page = visit("s=cosine(0.3, total=20, warmup=5)", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("tab", name="Code").click()
    page.get_by_role("tab", name="optax").click()
    expect(page.locator("#code")).to_contain_text("import optax")
    page.get_by_role("button", name="Copy code").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    code = page.evaluate("navigator.clipboard.readText()")
    (tmp_path / "program.py").write_text(
        f"{code}\nimport json\nprint(json.dumps([float(schedule(t)) for t in range(21)]))\n"
    )
    done = subprocess.run([sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout.splitlines()[-1])
    assert values == pytest.approx(laju.cosine(0.3, total=20, warmup=5).values(21).tolist(), abs=1e-7)
    for name, words in (
        ("Lightning", '"interval": "step"'),
        ("Keras", "keras"),
        ("MXNet", "mxnet"),
        ("timm", "timm"),
        ("YAML", "lr_scheduler"),
    ):
        page.get_by_role("tab", name=name, exact=True).click()
        expect(page.locator("#code")).to_contain_text(words)


def test_a_pasted_link_opens_and_one_that_was_tampered_with_is_refused(visit, studio: Studio) -> None:
    page = visit("s=constant(0.1)&colour=red")
    expect(page.locator("#message")).to_contain_text("This link was refused: the state has an unknown part 'colour'")
    expect(text_of(page)).to_have_value("cosine(0.3, total=1000, warmup=50)")  # and the page works
    text_of(page).fill("http://127.0.0.1:9/#s=linear(0.2,%200,%20total=30)&n=of a friend")
    expect(text_of(page)).to_have_value("linear(0.2, 0, total=30)")
    expect(page.get_by_label("name of schedule 1")).to_have_value("of a friend")
    stranger = page.context.browser.new_context().new_page()  # who has never had the token
    stranger.goto(page.url)
    expect(stranger.locator("#why")).to_contain_text("opens at the address that laju studio printed")
    stranger.context.close()


def test_a_run_in_epochs_and_tokens_has_axes_in_epochs_and_tokens(visit) -> None:
    page = visit("s=cosine(0.3, total=20, warmup=5).per('epoch')&samples=60000&batch=256&epochs=30")
    expect(page.locator("#run-told")).to_have_text("7,050 updates are shown.")
    page.get_by_label("Axis").select_option("epochs")
    expect(page.locator("#curves text.unit")).to_have_text("epochs")
    page.get_by_label("Axis").select_option("tokens")
    expect(page.locator("#run-error")).to_contain_text("tokens per sample")
    page.get_by_label("tokens per sample").fill("1000")
    page.get_by_label("tokens per sample").blur()
    expect(page.locator("#curves text.unit")).to_have_text("tokens")
    page.get_by_label("epochs", exact=True).fill("-3")
    page.get_by_label("epochs", exact=True).blur()
    expect(page.locator("#run-error")).to_contain_text("epochs must be a whole number, got -3")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1280, 2560])
def test_nothing_is_wider_than_the_window(visit, width: int, scheme: str) -> None:
    page = visit(
        "s=cosine(0.3, total=1000, warmup=50)&s=wsd(0.3, total=1000, cooldown=200)&against=1",
        width,
        color_scheme=scheme,
    )
    for name in ("findings", "code", "logs", "forecast"):
        page.locator(f"#tab-{name}").click()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name


def test_the_results_of_a_store_are_sorted_hidden_and_there_as_trials_finish(browser, tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:
        for seed in range(3):
            store.put(trial(seed), outcome(seed))
        started = Studio(Desk(stores=[str(tmp_path / "a.sqlite")]), 0).start()
        page = browser.new_page()
        try:
            page.set_default_timeout(60_000)
            page.goto(started.address)
            rows = page.locator("#panel-stores tbody tr")
            expect(rows).to_have_count(1)
            shown = results(str(tmp_path / "a.sqlite"))[0]["rows"][0]
            expect(rows.first).to_contain_text(shown["accuracy_text"])
            store.put(trial(schedule=laju.cosine(0.1, total=10)), outcome(9))  # while the page is open
            expect(rows).to_have_count(2)
            page.locator("#panel-stores thead button").first.click()
            expect(rows.first).to_contain_text("constant(0.1)")
            page.locator("#panel-stores thead button").first.click()
            expect(rows.first).to_contain_text("cosine(0.1, total=10)")
            expect(page.locator("#panel-stores path.curve")).to_have_count(2)
            page.get_by_label("show constant(0.1)").uncheck()
            expect(page.locator("#panel-stores path.curve")).to_have_count(1)
            page.get_by_label("edit constant(0.1)").click()
            expect(text_of(page, 1)).to_have_value("constant(0.1)")
        finally:
            page.close()
            started.stop()


def test_exports_are_saved_as_files(visit, tmp_path: Path) -> None:
    page = visit("s=cosine(0.3, total=1000, warmup=50)")
    for button, begins in (("PNG", b"\x89PNG"), ("SVG", b"<?xml"), ("Text", b"cosine(0.3, total=1000, warmup=50)\n")):
        with page.expect_download() as saved:
            page.get_by_role("button", name=button, exact=True).click()
        saved.value.save_as(tmp_path / button)
        assert (tmp_path / button).read_bytes().startswith(begins)


FAR = "s=cosine(30, total=1000000)&updates=1000000"
"""A run beside which `LOG` is a point at the left end of the bottom."""


def spread(page: Any) -> tuple[float, float]:
    """The shares of the picture's width and height that the dots of a log fill."""
    page.locator("main[aria-busy=false]").wait_for(state="attached")
    box = page.locator("#curves").bounding_box()
    dots = page.locator("#curves g.dots").bounding_box()
    return dots["width"] / box["width"], dots["height"] / box["height"]


def test_a_log_beside_a_far_larger_schedule_fills_the_picture_by_a_click_and_a_link_remembers(visit, tmp_path) -> None:
    page = visit(FAR)
    (tmp_path / "run.csv").write_text(LOG)
    page.locator("#file").set_input_files(tmp_path / "run.csv")
    expect(page.locator("#curves g.dots circle").first).to_be_attached()
    assert max(spread(page)) < 0.05
    page.get_by_role("button", name=re.compile("Zoom to the log, .* % of this picture")).click()
    expect(page).to_have_url(re.compile("&end=490&top=0.105"))
    assert min(spread(page)) > 0.7
    expect(page.locator("#curves .grid text", has_text=re.compile("^0.1$"))).to_be_attached()
    second = page.context.new_page()
    second.goto(page.url)
    expect(second.get_by_label("to update", exact=True)).to_have_value("490")
    page.get_by_role("button", name="Whole run").click()
    expect(page).not_to_have_url(re.compile("end="))
    page.get_by_role("button", name="Undo").click()
    expect(page).to_have_url(re.compile("&end=490&top=0.105"))


def test_a_drag_over_the_picture_zooms_and_handles_move_in_finer_steps_there(visit) -> None:
    page = visit("s=cosine(0.3, total=1000000, warmup=50000)")
    page.locator("main[aria-busy=false]").wait_for(state="attached")
    box = page.locator("#curves").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 0.1 * box["width"], middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.2 * box["width"], middle + 5)
    expect(page.locator(".zoom-frame")).to_be_visible()
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"&begin=\d+&end=\d+$"))
    expect(handle(page, "total and final")).to_have_count(0)
    page.locator("#zoom summary").click()
    page.get_by_label("from update", exact=True).fill("49,000")
    page.get_by_label("from update", exact=True).press("Enter")
    page.get_by_label("to update", exact=True).fill("51000")
    page.get_by_label("to update", exact=True).press("Enter")
    expect(page).to_have_url(re.compile(r"&begin=49000&end=51000$"))
    handle(page, "warmup and peak").press("ArrowRight")
    expect(text_of(page)).to_have_value("cosine(0.3, total=1000000, warmup=50001)")
    page.get_by_label("to update", exact=True).fill("7")
    page.get_by_label("to update", exact=True).press("Enter")
    expect(page.locator("#message")).to_contain_text("begin must be less than end = 7, got 49000")
    page.locator("#curves").dblclick(position={"x": box["width"] / 4, "y": 40})
    expect(page).not_to_have_url(re.compile("end="))


def losses(updates: int) -> str:
    rates = MEANT.values(1000)
    rows = [f"{t},{rates[t]},{2 + 0.8 / (1 + rates[:t].sum() / 8) + rates[t]}" for t in range(110, updates, 10)]
    return "\n".join(["step,lr,loss", *rows]) + "\n"


def test_a_band_that_is_not_there_yet_says_so_and_the_curve_does_not_wait(visit, studio, tmp_path, monkeypatch) -> None:
    page = visit("s=cosine(0.1, total=1000, warmup=100)")
    (tmp_path / "run.csv").write_text(losses(900))
    page.locator("#file").set_input_files(tmp_path / "run.csv")
    page.locator("#tab-forecast").click()
    told, state = page.locator("#forecast-told"), page.locator("#forecast-state")
    expect(told).to_contain_text("ends at")
    expect(state).to_have_text("")
    before, band, go = told.inner_text(), studio.desk._forecasts.band, threading.Event()

    def slow(*asked: Any) -> Any:
        assert go.wait(60)
        return band(*asked)

    monkeypatch.setattr(studio.desk._forecasts, "band", slow)
    for peak in ("0.099", "0.0989"):  # the second asks while the first band is computed
        handle(page, "warmup and peak").press("ArrowDown")
        expect(text_of(page)).to_have_value(f"cosine({peak}, total=1000, warmup=100)")
    assert told.inner_text() == before
    expect(state).to_have_text("The band follows…")
    expect(page.locator("#panel-forecast")).to_have_class(re.compile("is-following"))
    go.set()
    expect(state).to_have_text("")
    last = band(studio.desk.held, laju.cosine(0.0989, total=1000, warmup=100), None, 1000, (0, 1000))
    expect(told).to_have_text(f"The active schedule {last['told']}.")
    # A text that is wrong half-way keeps the band, dim.
    text_of(page).fill("cosine(0.0989, total=1000, warm")
    expect(state).to_contain_text("the band is of the last one that could be read")
    expect(page.locator("#forecast-chart path.band")).to_be_visible()


def test_a_log_without_rates_stays_the_run_of_the_schedule_that_was_active_first(visit, tmp_path) -> None:
    page = visit("s=cosine(0.1, total=1000, warmup=100)")
    rows = [line.split(",") for line in losses(900).splitlines()]
    (tmp_path / "run.csv").write_text("".join(f"{step},{loss}\n" for step, _, loss in rows))
    page.locator("#file").set_input_files(tmp_path / "run.csv")
    page.locator("#tab-forecast").click()
    notes = page.locator("#forecast-notes")
    expect(notes).to_contain_text("run.csv has no rates: taken as a run of cosine(0.1, total=1000, warmup=100)")
    text_of(page).fill("wsd(0.1, total=1000, cooldown=300, warmup=100)")
    expect(page.locator("#forecast-state")).to_have_text("")
    expect(notes).to_contain_text("taken as a run of cosine(0.1")
    notes.get_by_role("button", name="A run of the active schedule").click()
    expect(notes).to_contain_text("taken as a run of wsd(0.1")


def serious(page: Any) -> list[str]:
    """The serious and critical violations that axe-core finds, with the elements."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe, which `make setup` installs")
    page.locator("main[aria-busy=false]").wait_for(state="attached")
    return [
        f"{found['id']}: {found['help']}: {[node['html'][:160] for node in found['nodes']]}"
        for found in axe.Axe().run(page).response["violations"]
        if found["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_or_critical_violation_in_any_panel(visit, tmp_path, scheme: str) -> None:
    page = visit(
        "s=cosine(0.1, total=1000, warmup=100)&s=wsd(0.3, total=1000, cooldown=200)&s=cosin(1&against=1&updates=800",
        color_scheme=scheme,
    )
    (tmp_path / "run.csv").write_text(LOG)
    page.locator("#file").set_input_files(tmp_path / "run.csv")
    expect(page.locator("#panel-logs")).to_contain_text("Formula of the rates")
    for name in ("findings", "code", "logs", "forecast"):
        page.locator(f"#tab-{name}").click()
        if name == "forecast":
            expect(page.locator("#forecast-told")).to_contain_text("ends at")
        assert serious(page) == [], name


def test_the_accessibility_tree_has_named_sliders_with_values_in_words(visit) -> None:
    page = visit("s=wsd(0.3, total=1000, cooldown=200, warmup=50)")
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    sliders = {
        node["name"]["value"]: node["value"]["value"]
        for node in tree
        if node.get("role", {}).get("value") == "slider" and not node["ignored"]
    }
    assert {"start": 0, "warmup and peak": 50, "cooldown": 800, "total and final": 1000}.items() <= sliders.items()
    assert handle(page, "cooldown").get_attribute("aria-valuetext") == "cooldown 200, at update 800"
    named = ("button", "textbox", "combobox", "checkbox", "radio", "tab", "slider")
    nameless = [
        node
        for node in tree
        if node.get("role", {}).get("value") in named and not node["ignored"] and not node["name"]["value"]
    ]
    assert nameless == []


def test_changes_of_findings_and_verdicts_are_said_to_screen_readers(visit, tmp_path) -> None:
    page = visit(f"s={MEANT}")
    status = page.locator("#said")
    assert status.get_attribute("aria-live") == "polite"
    page.get_by_label("updates", exact=True).fill("800")
    page.get_by_label("updates", exact=True).press("Enter")
    expect(status).to_contain_text(re.compile(r"\d findings?: "))
    text_of(page).fill("cosin(1, total=10)")
    expect(status).to_contain_text("did you mean 'cosine'?")
    text_of(page).fill(str(MEANT))
    (tmp_path / "run.csv").write_text(LOG)
    page.locator("#file").set_input_files(tmp_path / "run.csv")
    expect(status).to_contain_text("run.csv: Not as meant.")


def tab_to(page: Any, name: str) -> None:
    """Press Tab until the element of a name has the focus, and see that the focus can be seen."""
    for _ in range(120):
        page.keyboard.press("Tab")
        found = page.evaluate(
            "[document.activeElement.getAttribute('aria-label'), document.activeElement.textContent,"
            " document.activeElement.labels?.[0]?.textContent].map((text) => (text || '').trim())"
        )
        if any(text.startswith(name) for text in found):
            break
    else:
        raise AssertionError(f"Tab does not come to {name}")
    assert page.evaluate(
        """() => { const element = document.activeElement, knob = element.querySelector?.('.knob');
        const style = getComputedStyle(knob || element);
        if (knob) return parseFloat(style.strokeWidth) > 3;
        return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 1; }"""
    ), name


def test_a_whole_task_is_done_by_the_keyboard_alone(visit) -> None:
    """Find the wsd that ends where this cosine ends, and take its code for optax."""
    pytest.importorskip("optax")
    page = visit("s=cosine(0.3, total=1000, warmup=50)", permissions=["clipboard-read", "clipboard-write"])
    tab_to(page, "New schedule, with this peak, warmup and end:")
    page.keyboard.type("wsd")
    tab_to(page, "Add")
    page.keyboard.press("Enter")
    expect(text_of(page, 1)).to_have_value("wsd(0.3, total=1000, cooldown=200, warmup=50)")
    tab_to(page, "cooldown")
    for i in range(1, 6):
        page.keyboard.press("Shift+ArrowLeft")
        expect(text_of(page, 1)).to_have_value(f"wsd(0.3, total=1000, cooldown={200 + 10 * i}, warmup=50)")
    tab_to(page, "Findings")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#panel-code")).to_be_visible()
    tab_to(page, "torch")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(page.locator("#code")).to_contain_text("import optax")
    tab_to(page, "Copy code")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert "import optax" in page.evaluate("navigator.clipboard.readText()")
