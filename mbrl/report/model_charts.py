"""Charts of what a world model knows, whatever is done with it: see `mbrl.evaluation.mechanisms` and `.prediction`.

mechanisms      how probable what must happen is to the model, by question, regimes side by side, seeds as dots
prediction      errors by horizon and kind of thing, on held-out training levels and at deployment
calibration     how often what is said is so
"""

import numpy as np

from mbrl.report.canvas import (
    COLOURS,
    INK,
    LIGHT,
    MARKS,
    MIDDLE,
    PAPER,
    Chart,
    add_title,
    make_figure,
    size_of,
    subject_label,
)

PLACES = {"held_out": "held-out training levels", "actual": "deployment"}


def mechanisms(summary: dict) -> Chart | None:
    """Draw the answers to every question about a mechanism, beside the least that counts as known."""
    rows = summary.get("mechanisms") or []
    if not rows:
        return None
    subjects = list(dict.fromkeys((row["agent"], row["regime"]) for row in rows))
    tests = list(dict.fromkeys(row["test"] for row in sorted(rows, key=lambda row: row["composite"])))
    cells = {(row["agent"], row["regime"], row["test"]): row for row in rows}
    fig, axes = make_figure(3.0 + 1.15 * len(subjects), 1.4 + 0.23 * len(tests), columns=len(subjects))
    for i, (ax, who) in enumerate(zip(np.atleast_1d(axes), subjects, strict=True)):
        for y, test in enumerate(tests):
            row = cells[(*who, test)]
            known = row["probability"] >= row["at_least"]
            if y % 2:
                ax.axhspan(y - 0.5, y + 0.5, color=LIGHT, zorder=0)
            ax.plot(row["by_seed"], [y] * len(row["by_seed"]), ".", ms=3, color=MIDDLE, clip_on=False, zorder=3)
            face = COLOURS[0] if known else PAPER
            ax.plot(row["probability"], y, "o", ms=5.5, mfc=face, mec=COLOURS[0], clip_on=False, zorder=4)
            ax.plot([row["at_least"]] * 2, [y - 0.4, y + 0.4], color=INK, lw=0.8, zorder=2)
        ax.set_xlim(-0.03, 1.03)
        ax.set_ylim(len(tests) - 0.5, -0.5)
        ax.set_xticks([0, 0.5, 1], ["0", "½", "1"])
        marked = [f"{test} *" if cells[(*subjects[0], test)]["composite"] else test for test in tests]
        ax.set_yticks(range(len(tests)), marked if i == 0 else [""] * len(tests))
        ax.tick_params(axis="y", length=0)
        ax.set_xlabel(subject_label({"agent": who[0], "regime": who[1]}), fontsize=8)
    fig.suptitle(f"What does the model know?  {len(cells[(*subjects[0], tests[0])]['by_seed'])} seeds, as dots",
                 x=0.01, ha="left", fontsize=9.5)  # fmt: skip
    table = [("agent", "regime", "test", "says", "composite", "at_least", "probability", "by_seed")]
    table += [
        (row["agent"], row["regime"], row["test"], row["says"], row["composite"], row["at_least"], row["probability"],
         " ".join(f"{value:g}" for value in row["by_seed"]))
        for row in rows
    ]  # fmt: skip
    caption = (
        "How probable what must happen is to the model, on hand-drawn scenes; full: at least as probable as is asked "
        "for (tick). No regime that withholds shows what is marked with a star."
    )
    return Chart("mechanisms", fig, caption, table)


def prediction(summary: dict) -> Chart | None:
    """Draw errors by horizon, a panel for each kind of thing."""
    rows = summary.get("prediction_errors") or []
    if not rows:
        return None
    subjects = list(dict.fromkeys((row["agent"], row["regime"]) for row in rows))
    things = list(dict.fromkeys(row["thing"] for row in rows))
    fig, axes = make_figure(1.2 + 1.5 * len(things), 3.1, columns=len(things))
    axes = np.atleast_1d(axes)
    table = [("agent", "regime", "where", "thing", "horizon", "error", "by_seed")]
    for ax, thing in zip(axes, things, strict=True):
        for row in (row for row in rows if row["thing"] == thing):
            i = subjects.index((row["agent"], row["regime"]))
            style = {"color": COLOURS[i % len(COLOURS)], "ls": "-" if row["where"] == "actual" else ":"}
            ax.plot(row["horizons"], row["error"], marker=MARKS[i % len(MARKS)], ms=3, lw=1.1, clip_on=False, **style)
            for h, (horizon, error) in enumerate(zip(row["horizons"], row["error"], strict=True)):
                by_seed = " ".join(f"{values[h]:g}" for values in row["by_seed"])
                table.append((row["agent"], row["regime"], row["where"], thing, horizon, error, by_seed))
        ax.set_xscale("log")
        ax.set_xticks(row["horizons"], map(str, row["horizons"]), fontsize=7)
        ax.minorticks_off()
        ax.set_ylim(0, 1 if thing != "reward" else None)
        ax.tick_params(axis="y", labelsize=7)
        ax.set_title(f"{thing} (clips)" if thing == "reward" else thing, fontsize=9)
    axes[0].set_ylabel("error", fontsize=9)
    axes[len(things) // 2].set_xlabel("ticks ahead", fontsize=9)
    fig.suptitle(f"How far does it see?  {size_of(summary)}", x=0.01, ha="left", fontsize=9.5)
    lines = [
        _line(subject_label({"agent": a, "regime": r}, ", "), COLOURS[i % len(COLOURS)], MARKS[i % len(MARKS)])
        for i, (a, r) in enumerate(subjects)
    ]
    lines += [_line("deployment", INK, None, "-"), _line("held-out training levels", INK, None, ":")]
    fig.legend(handles=lines, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    caption = (
        "Errors by horizon: ½ Σ (p − q)² over the cells in which a thing may be, p by the model and q by the rules, "
        "from independent courses under the same actions; 0 none, 1 sure and wrong. Of rewards, the typical "
        "difference of the means."
    )
    return Chart("prediction", fig, caption, table)


def calibration(summary: dict) -> Chart | None:
    """Draw the shares seen against the probabilities said."""
    rows = summary.get("calibration") or []
    if not rows:
        return None
    subjects = list(dict.fromkeys((row["agent"], row["regime"]) for row in rows))
    fig, ax = make_figure(4.4, 4.2)
    ax.plot([0, 1], [0, 1], color=MIDDLE, lw=0.8)
    table = [("agent", "regime", "where", "horizon", "said", "seen")]
    for row in rows:
        i = subjects.index((row["agent"], row["regime"]))
        pairs = [(said, seen) for said, seen in zip(row["said"], row["seen"], strict=True) if said is not None]
        style = {"color": COLOURS[i % len(COLOURS)], "ls": "-" if row["where"] == "actual" else ":"}
        label = f"{subject_label(row, ', ')}: {PLACES.get(row['where'], row['where'])}"
        ax.plot(*zip(*pairs, strict=True), marker=MARKS[i % len(MARKS)], ms=3.5, lw=1.1, label=label, **style)
        table += [(row["agent"], row["regime"], row["where"], row["horizon"], *pair) for pair in pairs]
    ax.set_xlabel(f"said: probability that a mover is in a cell, {rows[0]['horizon']} ticks ahead", fontsize=9)
    ax.set_ylabel("seen: how often one is", fontsize=9)
    add_title(ax, f"Does it know what it does not know?\n{size_of(summary)}")
    fig.legend(loc="outside lower center", ncols=1, frameon=False, fontsize=7.5)
    caption = "Calibration of where movers will be; on the diagonal what is said is so. Means over seeds."
    return Chart("calibration", fig, caption, table)


def _line(label: str, colour: str, mark: str | None, style: str = "-"):
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, marker=mark, ms=4, lw=1.2, ls=style, label=label)


ALL = (mechanisms, prediction, calibration)
