"""Figures as files, PNG and SVG each with the numbers behind it as CSV, and as parts of a page."""

import csv
import io
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

from mbrl import files
from mbrl.files import write_whole
from mbrl.plain import read_json
from mbrl.report import canvas, charts
from mbrl.report.together import together
from mbrl.store import MANIFEST, read_manifest, reseal

_VARIABLES = {
    canvas.INK: "ink", canvas.PAPER: "paper", canvas.DARK: "bar", canvas.MIDDLE: "muted", canvas.LIGHT: "band",
    canvas.SEED: "seed", **{colour: f"series-{i}" for i, colour in enumerate(canvas.COLOURS)},
}  # fmt: skip
"""Colour of a chart → the variable of the page's style that stands for it, in light and in dark."""


def draw_figures(summary: dict, folder: Path) -> list[Path]:
    """Draw every figure of a summary into a folder, from the summary alone; return the files."""
    return [path for chart in charts.all_charts(summary) for path in write_chart(chart, folder)]


def write_chart(chart: canvas.Chart, folder: Path) -> list[Path]:
    """Write a chart as PNG and SVG, and its numbers as CSV, and close it; return the files."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(chart.table)
    contents = {"png": _drawn(chart, "png"), "svg": _drawn(chart, "svg"), "csv": text.getvalue().encode()}
    _close(chart)
    for suffix, content in contents.items():
        write_whole(folder / f"{chart.name}.{suffix}", content)
    return [folder / f"{chart.name}.{suffix}" for suffix in contents]


def redraw(results: Path, folder: Path) -> list[Path]:
    """Draw the figures of a folder of results again, from its summary alone; seal it anew if they go there.

    Raises:
        ValueError: the summary is not what was sealed.
    """
    paths = draw_figures(_summary(results), folder)
    if (results / MANIFEST).exists() and results.samefile(folder):
        reseal(results, [path.name for path in paths])
    return paths


def join(results: Sequence[Path], folder: Path) -> list[Path]:
    """Draw the agents of several experiments on the same levels in one figure; seal its folder anew if it is of them.

    Raises:
        ValueError: a summary is not what was sealed, or their levels are not the same; one line.
    """
    chart = together([_summary(each) for each in results])
    paths = write_chart(chart, folder)
    if (folder / MANIFEST).exists() and any(each.samefile(folder) for each in results):
        reseal(folder, [path.name for path in paths])
    return paths


def _summary(results: Path) -> dict:
    if (results / MANIFEST).exists():
        return read_manifest(results).read_json("summary.json")
    return read_json(files.read(results / "summary.json"))


def inline_svg(chart: canvas.Chart) -> str:
    """Return a chart as an SVG element for a page: text as text, colours by the page's style, no styles of its own.

    A page whose security policy allows no inline styles shows it as it is.
    """
    svg = _drawn(chart, "svg").decode()
    _close(chart)
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r' style="([^"]*)"', lambda match: _attributes(match[1]), svg)
    svg = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{chart.name}-", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(f'"{colour}"', f'"var(--{variable})"')
    about = f'<svg role="img" aria-label="{escape(chart.caption)}" fill="var(--ink)" '
    return svg.replace("<svg ", about, 1)


def _attributes(style: str) -> str:
    """Write a style as attributes; `font` is a shorthand that only styles know."""
    found = []
    for part in filter(None, (part.strip() for part in style.split(";"))):
        name, value = (word.strip() for word in part.split(":", 1))
        if name == "font":
            size = re.search(r"[\d.]+px", value)
            name, value = "font-size", size[0] if size else "10px"
        if name != "font-family":
            found.append(f' {name}="{value}"')
    return "".join(found)


def _drawn(chart: canvas.Chart, suffix: str) -> bytes:
    """Return a chart as a file, equal input giving equal bytes."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": chart.name}):
        chart.figure.savefig(buffer, format=suffix, dpi=160, metadata={"Date": None} if suffix == "svg" else None)
    return buffer.getvalue()


def _close(chart: canvas.Chart) -> None:
    import matplotlib.pyplot as plt

    plt.close(chart.figure)
