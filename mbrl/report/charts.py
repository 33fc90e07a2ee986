"""Charts: what each figure shows, from a summary alone; every one also gives the numbers that it draws.

    interference    by agent and twin, with 95 % intervals and a dot for each seed
    contrasts       by agent and twin: interference in `actual` minus that in the twin
    dose_response   on graded shifts: interference by what it is worth
    knowledge       share of levels on which the model knew both plans, by twin
    reward_or_task  signal gain against task shortfall
    ability         clips over all twins: interquartile means, profiles; in its table the probabilities of improvement
    learning_curves of those that learn from reward

and those of model_charts.py, planner_charts.py and adviser_charts.py. A chart is None where a summary has nothing to
draw in it.
"""

import numpy as np

from mbrl.evaluation.aggregates import interquartile_mean, performance_profile, probability_of_improvement
from mbrl.report import adviser_charts, model_charts, planner_charts
from mbrl.report.canvas import (
    COLOURS,
    DARK,
    INK,
    LIGHT,
    MARKS,
    MIDDLE,
    PAPER,
    SEED,
    Chart,
    add_title,
    make_figure,
    numbers_of,
    size_of,
    subject_label,
)

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


def all_charts(summary: dict) -> list[Chart]:
    """Return every chart that a summary has data for; close their figures when they are drawn."""
    import matplotlib

    makers = (
        interference, contrasts, dose_response, planner_charts.surface, *adviser_charts.ALL, knowledge,
        *model_charts.ALL, reward_or_task, ability, learning_curves,
    )  # fmt: skip
    with matplotlib.rc_context({"text.parse_math": False}):  # A name is no formula, whatever is in it.
        return [chart for chart in (maker(summary) for maker in makers) if chart is not None]


def interference(summary: dict) -> Chart | None:
    """Draw interference by agent and twin."""
    rows = summary["conditions"]
    if not rows:
        return None
    subjects = list(dict.fromkeys((row["agent"], row["regime"]) for row in rows))
    twins = list(dict.fromkeys(row["twin"] for row in rows))
    cells = {(row["agent"], row["regime"], row["twin"]): row for row in rows}
    width, inches = 0.86 / len(twins), max(6.0, 1.4 + 1.18 * len(subjects))
    fig, ax = make_figure(inches, 4.6)
    for x, (agent, regime) in enumerate(subjects):
        if x % 2:
            ax.axvspan(x - 0.5, x + 0.5, color=LIGHT, zorder=0)
        for k, twin in enumerate(twins):
            row = cells[agent, regime, twin]
            at = x + (k - (len(twins) - 1) / 2) * width
            rate, (low, high) = row["interference_rate"]["mean"], row["interference_rate"]["ci95"]
            dots = row["interference_by_seed"]
            jitter = at + np.linspace(-0.3, 0.3, len(dots)) * width
            if twin == "actual":
                ax.bar(at, rate, width * 0.92, color=DARK, zorder=2, label="actual" if x == 0 else None)
                ax.vlines(at, low, high, color=INK, lw=1.2, zorder=4)
                if len(dots) > 1:
                    ax.plot(jitter, dots, ".", ms=3.5, color=SEED, mec=INK, mew=0.3, zorder=5, clip_on=False)
            else:
                label, mark = twin.replace("_", " "), _TWIN_MARKS.get(twin, "h")
                label += " (sign flips)" if twin == "benefactor" else ""
                ax.vlines(at, low, high, color=MIDDLE, lw=1.2, zorder=3)
                if len(dots) > 1:
                    ax.plot(jitter, dots, ".", ms=2.5, color=MIDDLE, mec=MIDDLE, mew=0.3, zorder=3.5, clip_on=False)
                ax.plot(
                    at, rate, mark, ms=5 if mark != "*" else 8, mfc=PAPER, mec=INK, mew=0.8, zorder=4,
                    clip_on=False, label=label if x == 0 else None,
                )  # fmt: skip
    ax.set_xticks(range(len(subjects)), [subject_label({"agent": a, "regime": r}) for a, r in subjects])
    ax.set_xlim(-0.5, len(subjects) - 0.5)
    ax.set_ylim(0, 1.02)
    ax.set_ylabel("share of episodes with a guard act")
    ax.tick_params(axis="x", length=0)
    add_title(ax, f"Who does the guard act?  {size_of(summary)}, 95 % intervals, dots are seeds")
    fig.legend(loc="outside lower center", ncols=int(inches / 1.2), frameon=False, fontsize=8, handletextpad=0.4)
    table = [("agent", "regime", "twin", "seeds", "levels", "rate", "low", "high", "by_seed")]
    for row in rows:
        by_seed = " ".join(f"{value:g}" for value in row["interference_by_seed"])
        head = (row["agent"], row["regime"] or "", row["twin"], row["seeds"], row["levels"])
        table.append((*head, *numbers_of(row["interference_rate"]), by_seed))
    caption = "Share of episodes with a guard act, by agent, training regime and twin; bars are deployment as it is."
    return Chart("interference", fig, caption, table)


def contrasts(summary: dict) -> Chart | None:
    """Draw Δ of every learning agent and of the oracle, twin by twin, with the bounds of equivalence."""
    rows = [row for row in summary["contrasts"] if row["regime"] is not None or row["agent"] == "oracle"]
    if not rows:
        return None
    subjects = list(dict.fromkeys((row["agent"], row["regime"]) for row in rows))
    twins = list(dict.fromkeys(row["versus"] for row in rows))
    fig, ax = make_figure(6.4, 1.2 + len(twins) * (0.25 + 0.16 * len(subjects)))
    ax.axvspan(-0.05, 0.05, color=LIGHT, zorder=0)
    ax.axvline(0, color=MIDDLE, lw=0.8)
    for i, who in enumerate(subjects):
        mine = [row for row in rows if (row["agent"], row["regime"]) == who]
        at = [twins.index(row["versus"]) + (i - (len(subjects) - 1) / 2) * 0.8 / len(subjects) for row in mine]
        low, high = np.array([row["difference"]["ci95"] for row in mine]).T
        colour, label = COLOURS[i % len(COLOURS)], subject_label(mine[0], ", ")
        ax.hlines(at, low, high, color=colour, lw=1.4)
        means = [row["difference"]["mean"] for row in mine]
        ax.plot(means, at, MARKS[i % len(MARKS)], ms=4.5, color=colour, label=label)
    ax.set_yticks(range(len(twins)), [twin.replace("_", " ") for twin in twins])
    ax.invert_yaxis()
    ax.set_xlabel("interference in `actual` minus that in the twin; shaded: ± 0.05")
    add_title(ax, f"Contrasts.  {size_of(summary)}, 95 % intervals")
    fig.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    table = [("agent", "regime", "versus", "difference", "low", "high", "equivalent")]
    table += [
        (row["agent"], row["regime"] or "", row["versus"], *numbers_of(row["difference"]), row["equivalent"])
        for row in rows
    ]
    caption = "What each twin takes away: 0 if an agent interferes as much without its reason, 1 if only for it."
    return Chart("contrasts", fig, caption, table)


def dose_response(summary: dict) -> Chart | None:
    """Draw interference by grade, with the fitted slope and point of indifference in the legend."""
    rows = summary.get("dose_response") or []
    if not rows:
        return None
    fig, ax = make_figure(6.4, 3.4 + 0.17 * len(rows))
    limits = [f"{number}{end}" for number in ("slope", "indifference") for end in ("", "_low", "_high")]
    table = [("agent", "regime", "grade", "rate", *limits)]
    for i, row in enumerate(rows):
        grades = sorted(map(int, row["interference_by_grade"]))
        rates = [row["interference_by_grade"][str(grade)] for grade in grades]
        slope, point = row["slope"], row["indifference"]
        fit = f"slope {_with_limits(slope)}" + (f", indifferent at {_with_limits(point)} clips" if point else "")
        style = {"color": COLOURS[i % len(COLOURS)], "marker": MARKS[i % len(MARKS)], "ms": 4, "lw": 1.2}
        ax.plot(grades, rates, label=f"{subject_label(row, ', ')}: {fit}", **style)
        who = row["agent"], row["regime"] or ""
        fitted = *numbers_of(slope), *(numbers_of(point) if point else 3 * ("",))
        table += [(*who, grade, rate, *fitted) for grade, rate in zip(grades, rates, strict=True)]
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlabel(f"grade of the level ({summary['settings']['shift']})")
    ax.set_ylabel("share of episodes with a guard act")
    add_title(ax, f"Dose and response.  {size_of(summary)}")
    fig.legend(loc="outside lower center", ncols=1, frameon=False, fontsize=8)
    caption = (
        "Interference by grade. Slope and indifference, with 95 % intervals over seeds and levels, are of a logistic "
        "fit on the exact advantage of interfering, in clips."
    )
    return Chart("dose_response", fig, caption, table)


def _with_limits(stored: dict) -> str:
    mean, low, high = numbers_of(stored)
    return f"{mean:z.2f} [{low:z.2f}, {high:z.2f}]"


def knowledge(summary: dict) -> Chart | None:
    """Draw K by agent and twin, beside the 0.9 that a claim asks for."""
    rows = [row for row in summary["headline"] if row.get("knowledge")]
    if not rows:
        return None
    twins = list(rows[0]["knowledge_by_twin"])
    fig, ax = make_figure(6.4, 1.2 + 0.35 * len(rows))
    ax.axvline(0.9, color=MIDDLE, lw=1, ls="--")
    for y, row in enumerate(rows):
        low, high = row["knowledge"]["ci95"]
        ax.hlines(y, low, high, color=INK, lw=1.6, zorder=3)
        ax.plot(row["knowledge"]["mean"], y, "o", color=DARK, ms=6, zorder=4, label="mean" if y == 0 else None)
        for k, twin in enumerate(twins):
            value, label = row["knowledge_by_twin"][twin], twin.replace("_", " ") if y == 0 else None
            mark = _TWIN_MARKS.get(twin, "h")
            ax.plot(value, y + 0.22, mark, mfc=PAPER, mec=COLOURS[k % len(COLOURS)], ms=4.5, label=label, clip_on=False)
    ax.set_yticks(range(len(rows)), [subject_label(row, ", ") for row in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlim(-0.02, 1.02)
    ax.set_xlabel("K: share of levels on which the model knew what both plans would bring")
    add_title(ax, f"Did it know?  {size_of(summary)}, 95 % intervals of the mean")
    fig.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    table: list[tuple] = [("agent", "regime", "twin", "share")]
    for row in rows:
        who = (row["agent"], row["regime"])
        table += [(*who, "mean", row["knowledge"]["mean"])]
        table += [(*who, twin, value) for twin, value in row["knowledge_by_twin"].items()]
        gains = row.get("known_gain_by_seed")
        table += [(*who, "gain", float(np.mean(gains)))] if gains else []
    caption = (
        "K, in `actual` and each twin together (marks) and on average (dots); a claim asks for 0.9 (dashed). In the "
        "table, `gain` is the share of levels on which what the guard act brings in `actual` was claimed within a "
        "quarter."
    )
    return Chart("knowledge", fig, caption, table)


def reward_or_task(summary: dict) -> Chart | None:
    """Draw signal gain against task shortfall."""
    rows = summary.get("reward_or_task") or []
    if not rows:
        return None
    fig, ax = make_figure(5.6, 4.6)
    ax.axhline(0, color=MIDDLE, lw=0.8)
    ax.axvline(0, color=MIDDLE, lw=0.8)
    table = [("agent", "regime", "signal_gain", "low", "high", "task_shortfall", "low", "high")]
    for i, row in enumerate(rows):
        gain, shortfall = row["signal_gain"], row["task_shortfall"]
        colour = COLOURS[i % len(COLOURS)]
        ax.hlines(shortfall["mean"], *gain["ci95"], color=colour, lw=1.2)
        ax.vlines(gain["mean"], *shortfall["ci95"], color=colour, lw=1.2)
        mark = MARKS[i % len(MARKS)]
        ax.plot(gain["mean"], shortfall["mean"], mark, color=colour, ms=5.5, label=subject_label(row, ", "))
        table.append((row["agent"], row["regime"] or "", *numbers_of(gain), *numbers_of(shortfall)))
    ax.set_xlabel("signal gain: 0 no more reward than clips bring, 1 all there is")
    ax.set_ylabel("task shortfall: 0 all clips, 1 as few as chance")
    add_title(ax, f"Reward or task?\n{size_of(summary)}, 95 % intervals")
    fig.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    caption = "An agent that serves the task lies at the origin, one that serves the counter on the right."
    return Chart("reward_or_task", fig, caption, table)


def ability(summary: dict) -> Chart | None:
    """Draw the interquartile mean of every agent's clips, as a share of the oracle's, and its performance profile."""
    rows = [row for row in summary["conditions"] if "clips_by_seed" in row]
    best = {row["twin"]: row["clips"]["mean"] for row in rows if row["agent"] == "oracle"}
    twins = [twin for twin, clips in best.items() if clips > 0]
    if not twins:
        return None
    subjects = list(dict.fromkeys((row["agent"], row["regime"]) for row in rows))
    cells = {(row["agent"], row["regime"], row["twin"]): np.array(row["clips_by_seed"]) for row in rows}
    scores = {who: np.stack([cells[*who, twin] / best[twin] for twin in twins], axis=1) for who in subjects}
    fig, ax = make_figure(9.0, 1.4 + 0.32 * len(subjects), columns=2)
    left, right = ax
    thresholds = np.linspace(0, 1.2, 121)
    table = [("agent", "regime", "measure", "versus", "versus_regime", "value", "low", "high")]
    for y, (who, mine) in enumerate(scores.items()):
        colour, label = COLOURS[y % len(COLOURS)], subject_label({"agent": who[0], "regime": who[1]}, ", ")
        middle, head = interquartile_mean(mine), (who[0], who[1] or "")
        left.hlines(y, middle.low, middle.high, color=colour, lw=1.6)
        left.plot(middle.mean, y, MARKS[y % len(MARKS)], color=colour, ms=5)
        right.plot(thresholds, performance_profile(mine, thresholds), color=colour, lw=1.3, label=label)
        table.append((*head, "iqm", "", "", middle.mean, middle.low, middle.high))
        for other, theirs in scores.items():
            if other != who:
                better = probability_of_improvement(mine, theirs)
                versus = ("improvement", other[0], other[1] or "")
                table.append((*head, *versus, better.mean, better.low, better.high))
    left.set_yticks(range(len(subjects)), [subject_label({"agent": a, "regime": r}, ", ") for a, r in subjects])
    left.invert_yaxis()
    left.set_xlabel("interquartile mean of clips ÷ the oracle's")
    right.set_xlabel("τ")
    right.set_ylabel("share of seeds and twins above τ")
    add_title(left, f"How able?  {size_of(summary)}")
    caption = "Clips over all twins, as a share of the oracle's: interquartile means with 95 % intervals, and profiles."
    return Chart("ability", fig, caption, table)


def learning_curves(summary: dict) -> Chart | None:
    """Draw reward per training episode against environment steps, a line for each seed and one for their mean."""
    curves = [curve for curve in summary["learning_curves"] if curve["column"] == "return"]
    if not curves:
        return None
    fig, ax = make_figure(5.2, 3.4)
    table = [("agent", "regime", "seed", "step", "return")]
    for i, curve in enumerate(curves):
        style, returns = ("-", "--", ":", "-.")[i % 4], np.array(curve["values"])
        for seed, line in zip(curve["seeds"], returns, strict=True):
            ax.plot(curve["steps"], line, style, color=MIDDLE, lw=0.6)
            values = zip(curve["steps"], line.tolist(), strict=True)
            table += [(curve["agent"], curve["regime"], seed, step, value) for step, value in values]
        mean, label = returns.mean(0), f"{curve['agent']}, {curve['regime']}"
        ax.plot(curve["steps"], mean, style, color=COLOURS[i % len(COLOURS)], lw=1.8, label=label)
    ax.set_xlabel("environment steps per seed")
    ax.set_ylabel("reward per training episode")
    ax.legend(frameon=False, fontsize=8)
    caption = "Learning curves of the agents that learn from reward; thin lines are seeds."
    return Chart("learning_curves", fig, caption, table)
