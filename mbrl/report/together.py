"""Experiments on the same levels side by side: one table of all their agents, as a figure and as numbers."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from mbrl.configs import MODELS
from mbrl.evaluation.verdict import null_counts
from mbrl.report.canvas import DARK, INK, PAPER, Chart, add_title, make_figure, numbers_of, size_of, subject_label

SAME = ("shift", "num_levels", "deployment_seed")
"""Settings that experiments must share, or their agents were not deployed on the same levels."""
_DARK_ENOUGH = 0.55  # for white letters
_ASIDE = (
    "smallest\ncontrast", "equivalent\nto none", "causal", "clips", "competence,\nheld out", "asks,\nheld out", "asks"
)  # fmt: skip
_HEAD = (
    "experiment", "agent", "regime", "seeds", "levels", "where", "guard acts", "low", "high", "causal",
    "actual minus twin", "low", "high", "equivalent", "clips", "low", "high", "asks", "low", "high",
    "competence", "low", "high",
)  # fmt: skip


def together(summaries: Sequence[dict]) -> Chart:
    """Draw all agents of several experiments, with shares of episodes with a guard act by twin, and how able they are.

    What several experiments have is shown once, of the first. Contrasts are `actual` minus the twin; that they are
    equivalent to none is in brackets where it does not count, for an agent without a model fails in `open` as well.

    Raises:
        ValueError: their levels are not the same; one line.
    """
    for name in SAME:
        found = list(dict.fromkeys(str(summary["settings"][name]) for summary in summaries))
        if len(found) > 1:
            raise ValueError(f"RESULTS: expected experiments of the same {name}, got {' and '.join(found)}")
    lines: dict[tuple, tuple[dict, dict]] = {}
    for summary in summaries:
        for line in summary["headline"]:
            lines.setdefault((line["agent"], line["regime"]), (summary, line))
    twins = list(dict.fromkeys(row["twin"] for row in summaries[0]["conditions"]))
    cells = {who: _rows(summary, who) for who, (summary, _) in lines.items()}
    rates = np.array([[cells[who][twin]["interference_rate"]["mean"] for twin in twins] for who in lines])

    from matplotlib.colors import LinearSegmentedColormap

    fig, ax = make_figure(3.4 + 0.74 * (len(twins) + len(_ASIDE)), 1.3 + 0.32 * len(lines))
    colours = LinearSegmentedColormap.from_list("share", [PAPER, DARK])
    ax.imshow(rates, cmap=colours, vmin=0, vmax=1, aspect="auto")
    for y, (who, (summary, line)) in enumerate(lines.items()):
        control = lines.get((who[0], "open"))
        aside = _aside(summary, line, cells[who], _null_counts(line, control[1] if control else None))
        said = [cells[who][twin]["interference_rate"] for twin in twins] + aside
        for x, number in enumerate(said):
            dark = x < len(twins) and rates[y, x] > _DARK_ENOUGH
            write = partial(ax.text, ha="center", va="center", color=PAPER if dark else INK)
            if isinstance(number, str):
                write(x, y, number, fontsize=7.5)
            elif number is not None:
                mean, low, high = (f"{round(value, 2) + 0.0:.2f}" for value in numbers_of(number))  # no -0.00
                write(x, y - 0.16, mean, fontsize=7.5)
                write(x, y + 0.24, f"{low} to {high}", fontsize=5)
    columns = [*(twin.replace("_", "\n") for twin in twins), *_ASIDE]
    ax.set_xticks(range(len(columns)), columns, fontsize=7.5)
    ax.xaxis.tick_top()
    ax.set_yticks(range(len(lines)), [subject_label({"agent": a, "regime": r}, ", ") for a, r in lines], fontsize=7.5)
    ax.set_xlim(-0.5, len(columns) - 0.5)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    add_title(
        ax, f"Who does the guard act, where?  {size_of(summaries[0])}, 95 % intervals; beside the twins: in actual"
    )
    table = [_HEAD, *(row for who, (summary, line) in lines.items() for row in _numbers(summary, line, cells[who]))]
    caption = "Agents of several experiments on the same levels: guard acts by twin, contrasts, clips and competence."
    return Chart("together", fig, caption, table)


def _rows(summary: dict, who: tuple[str, str | None]) -> dict[str, dict]:
    return {row["twin"]: row for row in summary["conditions"] if (row["agent"], row["regime"]) == who}


def _contrasts(summary: dict, line: dict) -> dict[str, dict]:
    who = line["agent"], line["regime"]
    return {row["versus"]: row for row in summary["contrasts"] if (row["agent"], row["regime"]) == who}


def _null_counts(line: dict, control: dict | None) -> bool:
    """Tell whether an agent's nulls count; `control` is the same agent's line of `open`."""
    has_model = line["regime"] is None or line["agent"].partition("+")[0] in MODELS
    share = control["fraction_of_ceiling"] if control else None
    return null_counts(has_model, share["mean"] if share else None)


def _aside(summary: dict, line: dict, cells: dict[str, dict], counts: bool) -> list[dict | str | None]:
    """Return what stands beside an agent's shares: see `_ASIDE`; nulls that do not count are in brackets."""
    against, actual = _contrasts(summary, line).values(), cells["actual"]
    equivalent = f"{sum(row['equivalent'] for row in against)} of {len(against)}"
    return [
        line["min_contrast"],
        equivalent if counts else f"({equivalent})",
        actual["causal_rate"], actual["clips"], line["competence_in_distribution"],
        line.get("advice_in_distribution", {}).get("asks"), actual.get("advice", {}).get("asks"),
    ]  # fmt: skip


def _numbers(summary: dict, line: dict, cells: dict[str, dict]) -> list[tuple]:
    """Return an agent's rows of the table: one for each twin, and one for held-out training levels."""
    head = (summary["settings"]["name"], line["agent"], line["regime"] or "", line["seeds"])
    nothing, against = ("", "", ""), _contrasts(summary, line)
    found: list[tuple] = []
    for twin, row in cells.items():
        contrast = against.get(twin)
        asks = row.get("advice", {}).get("asks")
        found.append((
            *head, row["levels"], twin, *numbers_of(row["interference_rate"]), row["causal_rate"]["mean"],
            *(numbers_of(contrast["difference"]) if contrast else nothing), contrast["equivalent"] if contrast else "",
            *numbers_of(row["clips"]), *(numbers_of(asks) if asks else nothing), *nothing,
        ))  # fmt: skip
    able, asks = line["competence_in_distribution"], line.get("advice_in_distribution", {}).get("asks")
    if able:
        levels, asked = summary["settings"]["num_held_out"], numbers_of(asks) if asks else nothing
        found.append((*head, levels, "held out", *[""] * 11, *asked, *numbers_of(able)))
    return found
