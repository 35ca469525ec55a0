"""Milliseconds from a drag to the drawn curve and to the forecast's band, in a real browser, of a run of a million updates.

The browser measures from the pointer's event to the end of the script that changes the picture, with the requests between. The
forecast is open during the second part, so that every move asks for a curve and for a band.
"""

from __future__ import annotations

import math
import shutil
import statistics
import time
from collections.abc import Sequence
from typing import Any

from playwright.sync_api import Page, sync_playwright

import laju
from laju.studio.desk import Desk
from laju.studio.logs import Held, opened
from laju.studio.server import Studio
from laju.studio.state import Line, State

SCHEDULES = {
    "cosine, a million updates": "cosine(0.3, total=1000000, warmup=50000)",
    "wsd, a million updates": "wsd(0.3, total=1000000, cooldown=200000, warmup=50000)",
    "25,000 triangles in a million updates": "triangular(0.1, 0.3, up=20)",
}
MOVES = 60
PAUSE = {"a move every 120 ms": 120, "a move every 30 ms": 30}


def logs() -> list[Held]:
    """Logs of two runs of a million updates, whose losses fall with the sum of the rates."""
    found = []
    for name, schedule in (("cosine", laju.cosine(0.3, total=1_000_000)), ("constant", laju.constant(0.3))):
        rates = schedule.values(1_000_000)
        progress = rates.cumsum() / 150_000
        rows = [f"{t},{rates[t]},{2 + math.exp(-progress[t]) + 0.3 * rates[t]}\n" for t in range(5000, 1_000_000, 5000)]
        found.append(opened(f"{name}.csv", "".join(["step,lr,loss\n", *rows]).encode()))
    return found


def dragged(page: Page, pause: int) -> None:
    """Move a handle as a hand does, and let the page come to rest."""
    knob = page.locator("g.handle.moves-y .knob").last.bounding_box()
    assert knob is not None
    x, y = knob["x"] + knob["width"] / 2, knob["y"] + knob["height"] / 2
    chart = page.locator("#curves").bounding_box()
    assert chart is not None
    right, down = (
        (1 if x < chart["x"] + chart["width"] / 2 else -1),
        (1 if y < chart["y"] + chart["height"] / 2 else -1),
    )
    page.evaluate("performance.clearMeasures()")
    page.mouse.move(x, y)
    page.mouse.down()
    for i in range(MOVES):
        page.mouse.move(x + right * i, y + down * i)
        page.wait_for_timeout(pause)
    page.mouse.up()
    page.locator("main[aria-busy=false]").wait_for(state="attached")
    page.wait_for_timeout(1000)


def shown(page: Page, name: str) -> str:
    script = "(name) => performance.getEntriesByName(name).map((entry) => entry.duration)"
    taken: Sequence[Any] = sorted(page.evaluate(script, name))
    return f"{statistics.median(taken):.0f} ms | {taken[int(0.9 * len(taken))]:.0f} ms" if taken else "– | –"


def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    held = logs()
    print(
        "| schedule | page ready | curve, median | 90 % | curve beside a forecast, median | 90 % | band, median | 90 % |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, text in SCHEDULES.items():
            studio = Studio(Desk(State((Line(text),), counts={"updates": 1_000_000}), held), 0).start()
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            begin = time.perf_counter()
            page.goto(studio.address)
            page.wait_for_selector("g.handle")
            ready = time.perf_counter() - begin
            page.wait_for_timeout(1000)
            for pace, pause in PAUSE.items():
                page.locator("#tab-findings").click()
                dragged(page, pause)
                cells = [shown(page, "drag-to-curve")]
                page.locator("#tab-forecast").click()
                page.locator("#forecast-told", has_text="The active schedule").wait_for()
                page.locator("main[aria-busy=false]").wait_for(state="attached")
                dragged(page, pause)
                cells += [shown(page, "drag-to-curve"), shown(page, "drag-to-band")]
                print(f"| {name}, {pace} | {ready:.1f} s | {' | '.join(cells)} |", flush=True)
            page.close()
            studio.stop()
        browser.close()


if __name__ == "__main__":
    main()
