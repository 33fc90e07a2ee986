"""Figures: the main one shows how often each agent interferes, in `actual` and in every twin."""

import csv
import io
from pathlib import Path

import numpy as np

from mbrl import files
from mbrl.files import write_whole
from mbrl.plain import read_json
from mbrl.store import MANIFEST, read_manifest, seal

_TWIN_MARKS = {
    "no_human": "o",
    "visitor": "s",
    "dead_breaker": "^",
    "dead_lever": "v",
    "off_route": "D",
    "empty_feeder": "P",
    "already_closed": "X",
    "benefactor": "*",
}
_DARK, _MIDDLE, _LIGHT = "#1b3a57", "#7d93a8", "#f4f6f8"


def draw_figures(summary: dict, folder: Path) -> list[Path]:
    """Draw every figure of a summary into a folder, from the summary alone; return the files."""
    return interference_figure(summary, folder) + curve_figure(summary["learning_curves"], folder)


def redraw(results: Path, folder: Path) -> list[Path]:
    """Draw the figures of a folder of results again, from its summary alone; seal it anew if they go there.

    Raises:
        ValueError: the summary is not what was sealed.
    """
    if not (results / MANIFEST).exists():
        return draw_figures(read_json(files.read(results / "summary.json")), folder)
    manifest = read_manifest(results)
    paths = draw_figures(manifest.read_json("summary.json"), folder)
    if results.samefile(folder):
        names = {*manifest.files, *(path.name for path in paths)}
        seal(results, manifest.name, manifest.config, manifest.versions, sorted(names))
    return paths


def subject_label(row: dict) -> str:
    """Name an agent and its regime."""
    return row["agent"] if row["regime"] is None else f"{row['agent']}\n{row['regime']}"


def interference_figure(summary: dict, folder: Path) -> list[Path]:
    """Draw interference by agent and twin with 95 % intervals and a dot for each seed; PNG, SVG and the data as CSV."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = summary["conditions"]
    if not rows:
        return []
    subjects = list(dict.fromkeys((row["agent"], row["regime"]) for row in rows))
    twins = list(dict.fromkeys(row["twin"] for row in rows))
    cells = {(row["agent"], row["regime"], row["twin"]): row for row in rows}
    width = 0.86 / len(twins)
    fig, ax = plt.subplots(figsize=(1.4 + 1.18 * len(subjects), 4.6), layout="constrained")
    for x, (agent, regime) in enumerate(subjects):
        if x % 2:
            ax.axvspan(x - 0.5, x + 0.5, color=_LIGHT, zorder=0)
        for k, twin in enumerate(twins):
            row = cells[agent, regime, twin]
            at = x + (k - (len(twins) - 1) / 2) * width
            rate, (low, high) = row["interference_rate"]["mean"], row["interference_rate"]["ci95"]
            dots = row["interference_by_seed"]
            jitter = at + np.linspace(-0.3, 0.3, len(dots)) * width
            if twin == "actual":
                ax.bar(at, rate, width * 0.92, color=_DARK, zorder=2, label="actual" if x == 0 else None)
                ax.vlines(at, low, high, color="black", lw=1.2, zorder=4)
                if len(dots) > 1:
                    ax.plot(jitter, dots, ".", ms=3.5, color="#ffb000", mec="black", mew=0.3, zorder=5, clip_on=False)
            else:
                label, mark = twin.replace("_", " "), _TWIN_MARKS.get(twin, "h")
                label += " (sign flips)" if twin == "benefactor" else ""
                ax.vlines(at, low, high, color=_MIDDLE, lw=1.2, zorder=3)
                if len(dots) > 1:
                    ax.plot(jitter, dots, ".", ms=2.5, color="#c9d2da", mec=_MIDDLE, mew=0.3, zorder=3.5, clip_on=False)
                ax.plot(
                    at, rate, mark, ms=5 if mark != "*" else 8, mfc="white", mec="black", mew=0.8, zorder=4,
                    clip_on=False, label=label if x == 0 else None,
                )  # fmt: skip
    ax.set_xticks(range(len(subjects)), [subject_label({"agent": a, "regime": r}) for a, r in subjects])
    ax.set_xlim(-0.5, len(subjects) - 0.5)
    ax.set_ylim(0, 1.02)
    ax.set_ylabel("share of episodes with a guard act")
    settings = summary["settings"]
    ax.set_title(
        f"Who closes the shutter on the operator?  {settings['num_seeds']} seeds × {settings['num_levels']} levels "
        f"per twin, 95 % intervals, dots are seeds{' — quick version' if settings['quick'] else ''}",
        loc="left", fontsize=10,
    )  # fmt: skip
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(axis="x", length=0)
    fig.legend(loc="outside lower center", ncols=len(twins), frameon=False, fontsize=8, handletextpad=0.4)
    paths = _save(fig, folder / "interference")
    plt.close(fig)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("agent", "regime", "twin", "seeds", "levels", "rate", "low", "high", "by_seed"))
    for row in rows:
        rate = row["interference_rate"]
        by_seed = " ".join(f"{value:g}" for value in row["interference_by_seed"])
        head = (row["agent"], row["regime"] or "", row["twin"], row["seeds"], row["levels"])
        writer.writerow((*head, rate["mean"], *rate["ci95"], by_seed))
    paths.append(folder / "interference.csv")
    write_whole(paths[-1], text.getvalue().encode())
    return paths


def curve_figure(curves: list[dict], folder: Path) -> list[Path]:
    """Draw the learning curves: clips per training episode against environment steps, a line for each seed."""
    curves = [curve for curve in curves if curve["column"] == "return"]
    if not curves:
        return []
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, ax = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
    for i, curve in enumerate(curves):
        style = ("-", "--", ":", "-.")[i % 4]
        returns = np.array(curve["values"])
        for line in returns:
            ax.plot(curve["steps"], line, style, color=_MIDDLE, lw=0.6)
        ax.plot(
            curve["steps"], returns.mean(0), style, color=_DARK, lw=1.8, label=f"{curve['agent']}, {curve['regime']}"
        )
    ax.set_xlabel("environment steps per seed")
    ax.set_ylabel("reward per training episode")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8)
    paths = _save(fig, folder / "learning_curves")
    plt.close(fig)
    return paths


def _save(fig, path: Path) -> list[Path]:
    """Write a figure as PNG and SVG, equal input giving equal bytes; return the files."""
    paths = []
    for suffix in ("png", "svg"):
        buffer = io.BytesIO()
        fig.savefig(buffer, format=suffix, dpi=160, metadata={"Date": None} if suffix == "svg" else None)
        paths.append(path.with_suffix(f".{suffix}"))
        write_whole(paths[-1], buffer.getvalue())
    return paths
