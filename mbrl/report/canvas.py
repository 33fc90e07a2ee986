"""What charts are drawn with: colours, marks, and the chart itself, a figure with the numbers that it draws."""

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

DARK, MIDDLE, LIGHT, INK, SEED = "#1b3a57", "#7d93a8", "#f4f6f8", "#000000", "#ffb000"
PAPER = "#ffffff"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5c5c5c")
"""Of agents: those of Okabe and Ito (2008), without yellow, which is hard to see on white."""
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")


@dataclass(frozen=True)
class Chart:
    """A figure (matplotlib's), in a sentence what it shows, and its numbers: names of columns, then rows."""

    name: str
    figure: Any
    caption: str
    table: list[tuple]


def subject_label(row: dict, joint: str = "\n") -> str:
    """Name an agent, the settings of its planner that its name tells, and its regime; long words take two lines."""
    words = row["agent"].split(" ")
    if joint == "\n":
        words = [word.replace("+", "+\n").replace("_", "_\n") if len(word) > 14 else word for word in words]
    return joint.join([*words, *([] if row["regime"] is None else [row["regime"]])])


def size_of(summary: dict) -> str:
    """Say on how much a figure rests."""
    settings = summary["settings"]
    quick = " — quick version" if settings["quick"] else ""
    plural = "" if settings["num_seeds"] == 1 else "s"
    return f"{settings['num_seeds']} seed{plural} × {settings['num_levels']} levels per twin{quick}"


def make_figure(width: float, height: float, columns: int = 1):
    """Return a figure of so many inches, and its axes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, columns, figsize=(width, height), layout="constrained")
    for ax in fig.axes:
        ax.spines[["top", "right"]].set_visible(False)
    return fig, axes


def add_title(ax, text: str) -> None:
    """Say above an axis what it shows, in lines that fit the figure."""
    most = int(12 * ax.figure.get_figwidth())  # letters of this size
    text = text.replace(" %", "\N{NO-BREAK SPACE}%")
    lines = [part for line in text.splitlines() for part in textwrap.wrap(line, most)]
    ax.set_title("\n".join(lines), loc="left", fontsize=9.5)


def numbers_of(stored: dict) -> Iterable[float]:
    """Return mean and limits of a number in a summary."""
    return stored["mean"], *stored["ci95"]
