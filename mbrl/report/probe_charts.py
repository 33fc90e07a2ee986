"""Charts of agents that learnt no model: what is read off their activations, and what nudging these does."""

from typing import Any

from mbrl.evaluation.answers import ACTIVATIONS, OTHERS, SEEN
from mbrl.report.canvas import COLOURS, MARKS, Chart, add_title, make_figure

SAYS = {
    "robot_path": "comes to a cell to which it would not,\nif its activations say that it will",
    "power_off": "would do something else,\nif its activations said that it goes dark",
}


def probe_scores(found: dict) -> Chart:
    """Draw what probes read of every target over training, beside the controls."""
    rows = [row for row in found["table"] if row["mean"] is not None]
    targets = list(dict.fromkeys(row["target"] for row in rows))
    runs = list(dict.fromkeys((row["agent"], row["regime"], row["probe"]) for row in rows))
    fig, _ = make_figure(1.0 + 3.1 * max(1, len(targets)), 4.6, columns=max(1, len(targets)))
    table: list[tuple] = [("agent", "regime", "probe", "target", "source", "step", "score", "low", "high", "seeds")]
    for ax, target in zip(fig.axes, targets, strict=False):
        for i, run in enumerate(runs):
            mine = [r for r in rows if (r["agent"], r["regime"], r["probe"], r["target"]) == (*run, target)]
            line = sorted((r for r in mine if r["source"] == ACTIVATIONS), key=lambda row: row["step"])
            _line(ax, "step", line, i, "-", f"{run[0]} {run[1]}, {run[2]}")
            for row in mine:
                if row["source"] in (SEEN, OTHERS):
                    style = "--" if row["source"] == SEEN else ":"
                    ax.axhline(row["mean"], ls=style, lw=0.9, color=COLOURS[i % len(COLOURS)])
            table += [(*run, target, r["source"], r["step"], r["mean"], *r["ci95"], r["seeds"]) for r in mine]
        ax.axhline(0.5, lw=0.5, color="0.8", zorder=0)
        ax.set_ylim(0, 1.02)
        ax.set_xscale("symlog", linthresh=2**14)
        ax.set_xlabel("training steps")
        add_title(ax, target.replace("_", " "))
    fig.axes[0].set_ylabel("area under the ROC curve")
    _legend(fig)
    caption = "What probes read off activations, with 95 % intervals over seeds; dashed: off what is seen and done; "
    return Chart("probe_scores", fig, caption + "dotted: off activations, labels of other moments.", table)


def steering(found: dict) -> Chart:
    """Draw what nudging activations does, by its length: along probes, and at random."""
    rows = [row for row in found["effects"] if row["mean"] is not None]
    runs = list(dict.fromkeys((row["agent"], row["regime"]) for row in rows))
    fig, _ = make_figure(1.0 + 4.0 * len(SAYS), 4.4, columns=len(SAYS))
    table: list[tuple] = [("agent", "regime", "of", "along", "length", "share", "low", "high", "seeds")]
    for ax, (of, title) in zip(fig.axes, SAYS.items(), strict=True):
        for i, run in enumerate(runs):
            for along, style in (("probe", "-"), ("random", ":")):
                line = [r for r in rows if (r["agent"], r["regime"], r["of"], r["along"]) == (*run, of, along)]
                _line(ax, "length", line, i, style, " ".join(run) if along == "probe" else None)
                table += [(*run, of, along, r["length"], r["mean"], *r["ci95"], r["seeds"]) for r in line]
        ax.set_ylim(-0.02, 1.02)
        ax.set_xlabel("length of the nudge; at 1 the probe reads that it happens")
        add_title(ax, title)
    fig.axes[0].set_ylabel("share of cases")
    _legend(fig)
    caption = "What agents do whose activations are nudged along a probe; dotted: along random directions."
    return Chart("steering", fig, caption, table)


def _line(ax: Any, x: str, rows: list[dict], number: int, style: str, label: str | None) -> None:
    """Draw means, and intervals where there are any."""
    colour, mark = COLOURS[number % len(COLOURS)], MARKS[number % len(MARKS)]
    ax.plot(
        [r[x] for r in rows], [r["mean"] for r in rows], style, marker=mark, ms=4, lw=1.3, color=colour, label=label
    )
    for row in rows:
        if row["ci95"][0] is not None:
            ax.vlines(row[x], *row["ci95"], color=colour, lw=1.0)


def _legend(fig: Any) -> None:
    """Name the lines of all axes once, below them."""
    lines = {label: line for ax in fig.axes for line, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    if lines:
        fig.legend(lines.values(), lines, loc="outside lower center", ncols=4, frameon=False, fontsize=7)


ALL = (probe_scores, steering)
