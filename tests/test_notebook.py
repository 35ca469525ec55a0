"""In a notebook a schedule shows its curve and its text, on light and dark pages, and never fails to."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings

import laju
from laju import Exponential, Function, constant, cosine, linear, multi_factor
from laju.view.notebook import html, svg
from tests.strategies import schedules


@settings(max_examples=50)
@given(schedules)
def test_every_schedule_is_shown_as_well_formed_html(schedule):
    root = ET.fromstring(html(schedule).replace("<br>", "<br/>"))
    assert root.tag == "figure"
    assert len(root) == 2
    assert "".join(root.find("figcaption/code").itertext()) == str(schedule)[:1000]


def curve(text):
    (path,) = re.findall(r'<path d="([^"]*)"[^>]*stroke-width="2"', text)
    return path


def test_the_curve_is_made_of_the_steps_of_the_values():
    steps = curve(svg(linear(1, 0, total=4)))
    assert steps == "M56 10H159V44H262V78H365V112H468"


def test_the_drawing_takes_the_pages_own_colour_and_is_small():
    text = svg(cosine(0.3, total=100_000, warmup=1000))
    assert text.count("currentColor") == 2
    assert not re.search(r"(fill|stroke)=\"(black|white|#000|#fff)", text)
    assert len(text) < 15_000
    assert "<script" not in text


def test_the_end_of_an_endless_schedule_is_after_its_last_boundary():
    assert ">1,200,000</text>" in svg(multi_factor(1, [300_000, 600_000], 0.1))
    assert ">1,000</text>" in svg(constant(1))


def test_units_are_shown_without_a_plan_where_one_clock_tells_them():
    assert ">epoch</text>" in html(cosine(1, total=20, warmup=5).per("epoch"))
    assert ">% of the run</text>" in html(cosine(1, total="100%", warmup="5%"))
    waiting = html(cosine(1, total="90 epochs", warmup="1000 samples"))
    assert "<svg" not in waiting
    assert "its lengths are in epochs, samples" in waiting
    with pytest.raises(laju.UnresolvedError):
        svg(cosine(1, total="90 epochs"))


def test_text_is_escaped_and_a_function_that_fails_is_still_shown():
    def bad(t):
        raise RuntimeError("<b>no</b>")

    bad.__qualname__ = "<script>alert(1)</script>"
    shown = html(Function(bad, 10))
    assert "<script" not in shown
    assert "<b>" not in shown
    assert "&lt;b&gt;no&lt;/b&gt;" in shown
    assert "<svg" not in html(Function(lambda t: float("nan"), 10))
    assert "no picture: the value of Exponential(1.0, 10.0) at t = 309" in html(Exponential(1, 10))


def test_neither_matplotlib_nor_plotext_is_imported():
    code = (
        "import sys, laju; from laju.view import notebook as n; n.html(laju.constant(1)); "
        "print({'matplotlib', 'plotext'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.strip() == "set()"
