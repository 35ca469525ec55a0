"""Milliseconds from a drag to the drawn curve, in a real browser, of a schedule of a million updates.

The browser measures from the pointer's event to the end of the script that changes the picture, with the requests between.
"""

from __future__ import annotations

import shutil
import statistics
import time

from playwright.sync_api import sync_playwright

from laju.studio.desk import Desk
from laju.studio.server import Studio
from laju.studio.state import Line, State

SCHEDULES = {
    "cosine, a million updates": "cosine(0.3, total=1000000, warmup=50000)",
    "wsd, a million updates": "wsd(0.3, total=1000000, cooldown=200000, warmup=50000)",
    "25,000 triangles in a million updates": "triangular(0.1, 0.3, up=20)",
}
MOVES = 60


def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    print("| schedule | page ready | drag to curve, median | 90 % |\n| --- | --- | --- | --- |")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, text in SCHEDULES.items():
            studio = Studio(Desk(State((Line(text),), counts={"updates": 1_000_000})), 0).start()
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            begin = time.perf_counter()
            page.goto(studio.address)
            page.wait_for_selector("g.handle")
            ready = time.perf_counter() - begin
            page.wait_for_timeout(1000)
            knob = page.locator("g.handle.moves-y .knob").last.bounding_box()
            assert knob is not None
            x, y = knob["x"] + knob["width"] / 2, knob["y"] + knob["height"] / 2
            page.mouse.move(x, y)
            page.mouse.down()
            for i in range(MOVES):
                page.mouse.move(x + i, y + 2 * i)
                page.wait_for_timeout(120)  # one move after the other has been drawn
            page.mouse.up()
            page.wait_for_timeout(1000)
            script = "performance.getEntriesByName('drag-to-curve').map((entry) => entry.duration)"
            taken = sorted(page.evaluate(script))
            print(
                f"| {name} | {ready:.1f} s | {statistics.median(taken):.0f} ms | {taken[int(0.9 * len(taken))]:.0f} ms |"
            )
            page.close()
            studio.stop()
        browser.close()


if __name__ == "__main__":
    main()
