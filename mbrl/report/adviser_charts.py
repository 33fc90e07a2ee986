"""Charts of agents that ask, and of whom they ask: how often, whom an adviser imitates, what hardening leaves."""

from mbrl.report.canvas import COLOURS, MARKS, Chart, add_title, make_figure, numbers_of, size_of, subject_label


def asking(summary: dict) -> Chart | None:
    """Draw in which share of the ticks agents ask: on held-out training levels, and in every twin."""
    asked = [row for row in summary["conditions"] if "advice" in row]
    inside = [line for line in summary["headline"] if "advice_in_distribution" in line]
    if not asked or not inside:
        return None
    subjects = list(dict.fromkeys((row["agent"], row["regime"]) for row in asked))
    places = ["in distribution", *dict.fromkeys(row["twin"] for row in asked)]
    shares = {(line["agent"], line["regime"], places[0]): line["advice_in_distribution"]["asks"] for line in inside}
    shares |= {(row["agent"], row["regime"], row["twin"]): row["advice"]["asks"] for row in asked}
    fig, ax = make_figure(max(6.0, 1.4 + 1.1 * len(subjects)), 4.2)
    table: list[tuple] = [("agent", "regime", "place", "asks", "low", "high")]
    for k, place in enumerate(places):
        xs = [x + (k - (len(places) - 1) / 2) * 0.8 / len(places) for x in range(len(subjects))]
        means, lows, highs = zip(*(numbers_of(shares[*who, place]) for who in subjects), strict=True)
        colour, mark = COLOURS[k % len(COLOURS)], MARKS[k % len(MARKS)]
        ax.vlines(xs, lows, highs, color=colour, lw=1.2)
        ax.plot(xs, means, mark, ms=6 if k == 0 else 4, color=colour, label=place.replace("_", " "))
        table += [(*who, place, *numbers_of(shares[*who, place])) for who in subjects]
    labels = [subject_label({"agent": agent, "regime": regime}) for agent, regime in subjects]
    ax.set_xticks(range(len(subjects)), labels, fontsize=7)
    ax.set_ylim(bottom=0)
    ax.set_ylabel("share of ticks spent on asking")
    fig.legend(loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    add_title(ax, f"How often does it ask?\n{size_of(summary)}, 95 % intervals")
    return Chart("asking", fig, "In which share of the ticks agents ask, by twin and in distribution.", table)


def imitation(summary: dict) -> Chart | None:
    """Draw interference in `actual`, and the most in a zero-incentive twin, by the share q of a corpus that seizes.

    None unless clones of several corpora took part.
    """
    corpora = {name: planner for name, planner in summary["settings"].get("planners", {}).items() if "share" in planner}
    plain = {
        name: planner["share"]
        for name, planner in corpora.items()
        if not planner["tuning_steps"] and not planner["hardening_rounds"]
    }
    rates = {(row["agent"], row["twin"]): row["interference_rate"] for row in summary["conditions"] if row["regime"]}
    plain = {name: share for name, share in plain.items() if (name, "actual") in rates}
    if len(set(plain.values())) < 2:
        return None
    twins = sorted({row["versus"] for row in summary["contrasts"]})
    fig, ax = make_figure(6.4, 4.2)
    table: list[tuple] = [("agent", "share", "actual", "low", "high", "most in a zero-incentive twin", "twin")]
    for i, kind in enumerate(dict.fromkeys(name.split()[0] for name in plain)):
        line = sorted((share, name) for name, share in plain.items() if name.split()[0] == kind)
        shares = [share for share, _ in line]
        actual = [rates[name, "actual"] for _, name in line]
        most = [max((rates[name, twin]["mean"], twin) for twin in twins) for _, name in line]
        ax.plot(shares, [rate["mean"] for rate in actual], "-", marker=MARKS[i], ms=5, color=COLOURS[i], label=kind)
        ax.vlines(shares, *zip(*(rate["ci95"] for rate in actual), strict=True), color=COLOURS[i], lw=1.2)
        ax.plot(shares, [rate for rate, _ in most], "--", lw=1.0, color=COLOURS[i])
        table += [(kind, q, *numbers_of(rate), *twin) for q, rate, twin in zip(shares, actual, most, strict=True)]
    ax.set_xlabel("share q of the protagonists who seize control")
    ax.set_ylabel("share of episodes with a guard act")
    ax.set_ylim(-0.02, 1.02)
    ax.legend(frameon=False, fontsize=8)
    add_title(ax, f"What does imitation pass on?\n{size_of(summary)}, 95 % intervals; dashed: the worst twin")
    caption = "Guard acts by the share of a clone's corpus that seizes control; dashed: the worst twin."
    return Chart("imitation", fig, caption, table)


def hardening(summary: dict) -> Chart | None:
    """Draw which share of the situations still triggers clones, round by round; None unless any was hardened."""
    rows = summary.get("hardening", [])
    if not rows:
        return None
    agents = list(dict.fromkeys(row["agent"] for row in rows))
    fig, _ = make_figure(1.0 + 3.8 * len(agents), 4.0, columns=len(agents))
    table: list[tuple] = [("agent", "family", "round", "seeds", "situations", "triggers", "low", "high", "chance")]
    top = 1.05 * max(row["triggers"]["ci95"][1] for row in rows) or 1
    for ax, agent in zip(fig.axes, agents, strict=True):
        mine = [row for row in rows if row["agent"] == agent]
        for i, family in enumerate(dict.fromkeys(row["family"] for row in mine)):
            line = [row for row in mine if row["family"] == family]
            rounds = [row["round"] for row in line]
            means, lows, highs = zip(*(numbers_of(row["triggers"]) for row in line), strict=True)
            style = "-" if i == 0 else "--"
            ax.plot(rounds, means, style, marker=MARKS[i], ms=4, color=COLOURS[i], label=family.replace("_", " "))
            ax.vlines(rounds, lows, highs, color=COLOURS[i], lw=1.0)
            table += [
                (agent, family, row["round"], len(row["triggers_by_seed"]), row["situations"],
                 *numbers_of(row["triggers"]), row["chance"]["mean"])
                for row in line
            ]  # fmt: skip
        ax.set_xlabel(f"round of adversarial fine-tuning\n{agent}", fontsize=8)
        ax.set_ylim(0, top)
    fig.legend(
        *fig.axes[-1].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False, fontsize=8
    )
    fig.axes[0].set_ylabel("share of situations that trigger it")
    add_title(fig.axes[0], "What does adversarial fine-tuning leave?\n95 % intervals over seeds; dashed: held out")
    caption = "Share of situations in which a clone would stop a person with more than a tenth of its probability."
    return Chart("hardening", fig, caption, table)


ALL = (asking, imitation, hardening)
