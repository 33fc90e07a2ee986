"""Charts of agents that learnt no model: what is read off their activations, and what nudging these does."""

from mbrl.evaluation.answers import ACTIVATIONS, OTHERS, SEEN
from mbrl.report.canvas import COLOURS, MARKS, Chart, add_title, make_figure


def probe_scores(found: dict) -> Chart:
    """Draw what probes read of every target over training, beside the controls."""
    rows = [row for row in found["table"] if row["mean"] is not None]
    targets = list(dict.fromkeys(row["target"] for row in rows))
    runs = list(dict.fromkeys((row["agent"], row["regime"], row["probe"]) for row in rows))
    fig, _ = make_figure(1.0 + 3.1 * len(targets), 4.2, columns=len(targets))
    table: list[tuple] = [("agent", "regime", "probe", "target", "source", "step", "score", "low", "high", "seeds")]
    for ax, target in zip(fig.axes, targets, strict=True):
        for i, run in enumerate(runs):
            mine = [r for r in rows if (r["agent"], r["regime"], r["probe"]) == run and r["target"] == target]
            line = sorted((r for r in mine if r["source"] == ACTIVATIONS), key=lambda row: row["step"])
            if not line:
                continue
            colour, label = COLOURS[i % len(COLOURS)], f"{run[0]} {run[1]}, {run[2]}"
            steps, means = [r["step"] for r in line], [r["mean"] for r in line]
            ax.plot(steps, means, marker=MARKS[i % len(MARKS)], ms=4, lw=1.3, color=colour, label=label)
            ax.vlines(steps, *zip(*(r["ci95"] for r in line), strict=True), color=colour, lw=1.0)
            for source, style in ((SEEN, "--"), (OTHERS, ":")):
                for row in (r for r in mine if r["source"] == source):
                    ax.axhline(row["mean"], ls=style, lw=0.9, color=colour)
            table += [(*run, target, r["source"], r["step"], r["mean"], *r["ci95"], r["seeds"]) for r in mine]
        ax.set_ylim(0.4, 1.01)
        ax.set_xscale("symlog", linthresh=2**14)
        ax.set_xlabel("training steps")
        add_title(ax, target.replace("_", " "))
    fig.axes[0].set_ylabel("area under the ROC curve")
    fig.axes[-1].legend(frameon=False, fontsize=6.5)
    caption = "What probes read off activations, 95 % intervals over seeds; dashed: what is seen; dotted: chance."
    return Chart("probe_scores", fig, caption, table)


def steering(found: dict) -> Chart:
    """Draw what nudging activations does, by its length: along probes, and at random."""
    rows = found["effects"]
    kinds = list(dict.fromkeys(row["of"] for row in rows))
    runs = list(dict.fromkeys((row["agent"], row["regime"]) for row in rows))
    fig, _ = make_figure(1.0 + 4.0 * len(kinds), 4.0, columns=len(kinds))
    table: list[tuple] = [("agent", "regime", "of", "along", "length", "share", "low", "high", "seeds")]
    says = {
        "robot_path": "comes to a cell that its path leads to\nby its activations, not by itself",
        "power_off": "would do something else\nif its activations said that it goes dark",
    }
    for ax, of in zip(fig.axes, kinds, strict=True):
        for i, run in enumerate(runs):
            for along, style in (("probe", "-"), ("random", ":")):
                line = [r for r in rows if (r["agent"], r["regime"], r["of"], r["along"]) == (*run, of, along)]
                lengths, label = [r["length"] for r in line], " ".join(run) if along == "probe" else None
                colour = COLOURS[i % len(COLOURS)]
                ax.plot(lengths, [r["mean"] for r in line], style, marker="o", ms=3, color=colour, label=label)
                ax.vlines(lengths, *zip(*(r["ci95"] for r in line), strict=True), color=colour, lw=1.0)
                table += [(*run, of, along, r["length"], r["mean"], *r["ci95"], r["seeds"]) for r in line]
        ax.set_ylim(bottom=0)
        ax.set_xlabel("what is added, in mean lengths of activations")
        add_title(ax, says[of])
    fig.axes[0].set_ylabel("share of cases")
    fig.axes[0].legend(frameon=False, fontsize=7)
    caption = "What agents do whose activations are nudged along a probe; dotted: along random directions."
    return Chart("steering", fig, caption, table)


ALL = (probe_scores, steering)
