"""The HTML page of every report: a self-contained file that loads nothing from the network.

A picture is Matplotlib's SVG, so a page without JavaScript shows everything. The page's own script (`page.js`) shows the values
of curves under the pointer, hides and enlarges curves, and sorts tables. A library of charts would draw each picture a second
time, at 50 kB (uPlot) to 4.8 MB (Plotly) per page.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import os
import platform
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import metadata, resources
from typing import TYPE_CHECKING, Any

from laju.view.plot import DASHES, GRID, INK, PALETTE, printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SVG = "http://www.w3.org/2000/svg"
_NOTHING = "–"
_LONG = re.compile(r"\d+\.\d{3,}")
_CURVE = re.compile(r"curve-(\d+)-")


def document(title: str, body: str) -> str:
    """A complete HTML page, with styles and script.

    Args:
        title: title of the window, as text.
        body: the content as HTML, in which all user input must be escaped.
    """
    script = _part("page.js")
    # The browser runs the script with this hash alone, even if a name found a way to write another into the page.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    head = f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
    return shell(title, f"<main>\n{body}</main>\n", script, head)


def shell(title: str, body: str, script: str, head: str = "", style: str = "") -> str:
    """The markup around every page of laju, with the colours and the style that all pages share.

    Args:
        title: of the window, as text.
        body: as HTML.
        script: at the end of the body.
        head: elements before the title.
        style: after the style that all pages share.
    """
    colors = " ".join(f"--c{i}: {color};" for i, color in enumerate(PALETTE))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n{head}<title>{html.escape(printable(title))}</title>\n'
        f"<style>\n:root {{ {colors} }}\n{_part('page.css')}{style}</style>\n</head>\n"
        f"<body>\n{body}<script>{script}</script>\n</body>\n</html>\n"
    )


def report(
    over: str,
    verdict: str,
    command: str | None,
    known: Iterable[Mapping[str, str]],
    sections: Iterable[tuple[str, str]],
) -> str:
    """A whole page of a verdict, facts and sections.

    Args:
        over, verdict, command: as in `opening`; `over` is the window's title, too.
        known: grids of facts.
        sections: heading, as text, and content, as HTML; an empty heading for a section without.
    """
    parts = [opening(over, verdict, command), *map(facts, known)]
    for heading, content in sections:
        parts.append((f"<h2>{html.escape(printable(heading))}</h2>\n" if heading else "") + content)
    return document(over, "\n".join(parts))


def items(texts: Iterable[str]) -> str:
    """Texts as an HTML list with bullet points."""
    return f"<ul>{''.join(f'<li>{html.escape(printable(text))}</li>' for text in texts)}</ul>\n"


@cache
def _part(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def opening(over: str, verdict: str, command: str | None) -> str:
    """The start of a page: its subject, its verdict, and the command that made the page.

    Args:
        over: a few words above the verdict, as text.
        verdict: the verdict as HTML; see `sentence`.
        command: the command as typed, shown with a button to copy; None for a page made without a command.
    """
    typed = ""
    if command is not None:
        code = f'<code id="command">{html.escape(printable(command))}</code>'
        typed = f'<div class="command">{code}<button type="button" hidden>Copy</button></div>\n'
    return f'<p class="over">{html.escape(printable(over))}</p>\n<h1>{verdict}</h1>\n{typed}'


def sentence(text: str) -> str:
    """Convert a sentence to HTML, with a command such as `(laju compare … --seeds 12)` as code."""
    return re.sub(r"\((\w[^()]* --seeds \d+)\)", r"(<code>\1</code>)", html.escape(printable(text)))


def table(headings: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    """A sortable HTML table in a scrollable box; cells are texts, numbers or None."""
    rows = [[_shown(cell) for cell in row] for row in rows]
    # A column of words stands at the left, a column of numbers at the right.
    words = [i for i in range(1, len(headings)) if any(len(row[i]) > 24 or row[i].isalpha() for row in rows)]
    kinds = [' class="text"' if i in words else "" for i in range(len(headings))]
    head = "".join(
        f'<th scope="col"{kind}>{html.escape(_shown(heading))}</th>'
        for heading, kind in zip(headings, kinds, strict=True)
    )
    lines = []
    for first, *cells in rows:
        tags = (
            f"<td{kind}{' data-value' if cell == _NOTHING else ''}>{html.escape(cell)}</td>"
            for cell, kind in zip(cells, kinds[1:], strict=True)
        )
        lines.append(f'<tr><th scope="row"><span class="name">{html.escape(first)}</span></th>{"".join(tags)}</tr>\n')
    inside = f'<table class="sortable"><thead><tr>{head}</tr></thead>\n<tbody>\n{"".join(lines)}</tbody></table>'
    return f'<div class="scroll" tabindex="0">{inside}</div>\n'


def _shown(value: Any) -> str:
    if value is None:
        return _NOTHING
    return f"{value:.6g}" if isinstance(value, float) else printable(str(value))


def image(figure: Figure, title: str) -> str:
    """A `<figure>` with a static picture."""
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110, facecolor="white")
    source = f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"
    return f'<figure><img alt="{html.escape(title)}" src="{source}"></figure>\n'


def facts(named: Mapping[str, str]) -> str:
    """Names and values as an HTML grid."""
    cells = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(printable(value))}</dd></div>"
        for name, value in named.items()
    )
    return f'<dl class="facts">{cells}</dl>\n'


def made(packages: Iterable[str] = ()) -> dict[str, str]:
    """The facts of a page's creation: date, versions of laju, Python and packages, and machine.

    Args:
        packages: names of distributions; the versions of the installed distributions are listed.
    """
    versions = [f"{name} {version}" for name in packages if (version := _version(name))]
    # The parent package is loaded by now; an import here would make this room depend on the rooms above.
    laju = sys.modules["laju"].__version__
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "versions": ", ".join([f"laju {laju}", f"Python {platform.python_version()}", *versions]),
        "machine": f"{_processor()}, {cores} core{'s' * (cores != 1)}, {platform.system()} {platform.machine()}",
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    """The processor's own name where the system gives a name, else the name of its kind."""
    if sys.platform == "linux":
        try:
            with open("/proc/cpuinfo", encoding="utf-8") as file:
                names = re.findall(r"^model name\s*:\s*(.+)$", file.read(), flags=re.MULTILINE)
        except OSError:
            names = []
        if names:
            return " ".join(names[0].split())
    return platform.processor() or platform.machine()


# --- pictures -----------------------------------------------------------------------------------------------------------


def swatch(i: int | None, dash: Any = "-") -> str:
    """A short line in the style of the i-th curve, or in the text colour with a dash."""
    color = "ink" if i is None else f"c{i % len(PALETTE)}"
    dash = dash if i is None else DASHES[i // len(PALETTE) % len(DASHES)]
    dashes = "" if dash == "-" else f' stroke-dasharray="{" ".join(str(3 * d) for d in dash[1])}"'
    line = f'<line x1="1" y1="5" x2="25" y2="5" stroke="var(--{color})" stroke-width="3"{dashes}/>'
    return f'<svg class="swatch" viewBox="0 0 26 10" aria-hidden="true">{line}</svg>'


def picture(
    figure: Figure, title: str, prefix: str, *, unit: str = "", per: float | None = None, wide: bool = False
) -> str:
    """A `<figure>` with an interactive picture: lines with the group id of a `curve_id` can be read out, hidden and enlarged.

    Args:
        figure: the drawn figure; a line's label names its curve, as text.
        title: title above the picture.
        prefix: prefix of every id in the picture, so that the ids of several pictures on a page do not collide.
        unit: unit of the horizontal axis, such as "epoch".
        per: updates per unit; if given, the update is shown, too.
        wide: whether to keep the picture near its own size, so that a narrow screen scrolls the picture.
    """
    drawn = svg(figure, prefix, title, wide)
    panels = [_panel(ax, figure, number) for number, ax in enumerate(figure.axes)]
    facts = {"unit": unit, "per": per, "panels": [panel for panel in panels if panel["curves"]]}
    data = html.escape(json.dumps(facts, separators=(",", ":"), allow_nan=False))
    caption = f"<figcaption><span>{html.escape(title)}</span></figcaption>"
    touch = f' data-curves="{data}"' if facts["panels"] else ""
    return f"<figure{' class=wide' if wide else ''}{touch}>{caption}{drawn}</figure>\n"


def svg(figure: Figure, prefix: str, label: str, wide: bool = False) -> str:
    """The figure as an `<svg>` element to put into an HTML page.

    Every id starts with `prefix`. Ink, grid and curve colours become the page's CSS variables `--ink`, `--grid` and `--c0`,
    `--c1`, … so that the picture follows the page's dark mode. Groups with a `curve_id` have `data-curve`.
    """
    import matplotlib

    # Fonts stay text, which a reader can select; the salt makes the ids of a picture the same in every run, so that pages of
    # the same results are the same bytes.
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix}):
        figure.savefig(buffer, format="svg", transparent=True)
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    root = ET.fromstring(buffer.getvalue())
    for child in [c for c in root if c.tag in (f"{{{_SVG}}}metadata",)]:
        root.remove(child)
    variables = {INK: "var(--ink)", GRID: "var(--grid)", **{c: f"var(--c{i})" for i, c in enumerate(PALETTE)}}
    curves = 0
    for element in root.iter():
        for key, value in list(element.attrib.items()):
            if key == "id":
                if curve := _CURVE.match(value):
                    element.set("data-curve", curve[1])
                    value, curves = f"{value}{curves}", curves + 1
                value = f"{prefix}-{value}"
            elif key.endswith("href") and value.startswith("#"):
                value = f"#{prefix}-{value[1:]}"
            elif key == "d":
                value = _LONG.sub(lambda found: f"{float(found[0]):.2f}", value)
            else:
                value = value.replace("url(#", f"url(#{prefix}-")
            if key == "style":
                for color, variable in variables.items():
                    value = value.replace(color, variable)
            element.set(key, value)
    root.attrib.pop("width"), root.attrib.pop("height")
    if wide:
        width = 72 * figure.get_size_inches()[0]
        root.set("style", f"min-width: {0.85 * width:.0f}px; max-width: {1.6 * width:.0f}px")
    root.set("role", "img")
    root.set("aria-label", label)
    return ET.tostring(root, encoding="unicode")


def _panel(ax: Any, figure: Any, number: int) -> dict[str, Any]:
    """The box of axes in the picture, limits and curves: the facts by which a script finds the curve under the pointer."""
    from matplotlib.ticker import PercentFormatter

    width, height = (72 * inches for inches in figure.get_size_inches())  # an SVG counts in points
    place = ax.get_position()
    box = [width * place.x0, height * (1 - place.y1), width * place.x1, height * (1 - place.y0)]
    curves = []
    for line in ax.lines:
        found = _CURVE.match(line.get_gid() or "")
        if found and line.get_linestyle() != "None":  # a mark alone, at the edge of a clipped curve, has no value
            points = [
                (float(f"{x:.10g}"), float(f"{y:.6g}"))
                for x, y in zip(*(map(float, values) for values in line.get_data()), strict=True)
                if abs(x) < float("inf") and abs(y) < float("inf")
            ]
            if line.get_drawstyle() == "steps-post":  # a value that stays needs no second point
                points = [p for i, p in enumerate(points) if i in (0, len(points) - 1) or p[1] != points[i - 1][1]]
            curves.append({
                "i": int(found[1]),
                "name": printable(line.get_label(), most=80),
                "steps": line.get_drawstyle() == "steps-post",
                "x": [x for x, _ in points],
                "y": [y for _, y in points],
            })  # fmt: skip
    scales = [ax.get_xscale(), ax.get_yscale()]
    return {
        "axes": number,
        "box": [round(x, 2) for x in box],
        "x": [float(x) for x in ax.get_xlim()],
        "y": [float(y) for y in ax.get_ylim()],
        "percent": isinstance(ax.yaxis.get_major_formatter(), PercentFormatter),
        "curves": curves if scales == ["linear", "linear"] else [],
    }
