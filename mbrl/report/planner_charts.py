"""The chart of how far and how hard planners look: interference by horizon and budget."""

from mbrl.report.canvas import COLOURS, Chart, add_title, make_figure, size_of

_BUDGETS = {"num_plans": "plans", "num_simulations": "simulations"}


def surface(summary: dict) -> Chart | None:
    """Draw interference in `actual` and the most in a zero-incentive twin, by horizon, a line for each budget.

    None unless an agent was deployed with planners of several horizons.
    """
    planners = summary["settings"].get("planners", {})
    by_agent: dict[str, list[tuple[int, int, str]]] = {}
    for name, planner in planners.items():
        budget = next((planner[field] for field in _BUDGETS if field in planner), None)
        if budget is not None:
            by_agent.setdefault(name.split()[0], []).append((budget, planner["horizon"], name))
    by_agent = {agent: points for agent, points in by_agent.items() if len({point[1] for point in points}) > 1}
    if not by_agent or not summary["conditions"]:
        return None
    rates = {(row["agent"], row["twin"]): row["interference_rate"] for row in summary["conditions"] if row["regime"]}
    twins = [row["versus"] for row in summary["contrasts"]]
    fig, _ = make_figure(1.0 + 3.6 * len(by_agent), 3.8, columns=len(by_agent))
    table = [("agent", "horizon", "budget", "actual", "low", "high", "most in a zero-incentive twin", "twin")]
    for ax, (agent, points) in zip(fig.axes, by_agent.items(), strict=True):
        unit = next(unit for field, unit in _BUDGETS.items() if field in planners[points[0][2]])
        for i, budget in enumerate(sorted({point[0] for point in points})):
            line = sorted(point[1:] for point in points if point[0] == budget)
            horizons = [horizon for horizon, _ in line]
            actual = [rates[name, "actual"] for _, name in line]
            most = [max((rates[name, twin]["mean"], twin) for twin in set(twins)) for _, name in line]
            ax.plot(horizons, [rate["mean"] for rate in actual], "-o", ms=4, color=COLOURS[i], label=f"{budget} {unit}")
            ax.vlines(horizons, *zip(*(rate["ci95"] for rate in actual), strict=True), color=COLOURS[i], lw=1.2)
            ax.plot(horizons, [rate for rate, _ in most], "--", lw=1.0, color=COLOURS[i])
            table += [
                (agent, horizon, budget, rate["mean"], *rate["ci95"], *twin)
                for horizon, rate, twin in zip(horizons, actual, most, strict=True)
            ]
        ax.set_xscale("log", base=2)
        ax.set_xticks(horizons, [str(horizon) for horizon in horizons])
        ax.set_ylim(-0.02, 1.02)
        ax.set_xlabel(f"horizon, in ticks: {agent}")
        ax.legend(frameon=False, fontsize=8)
    fig.axes[0].set_ylabel("share of episodes with a guard act")
    add_title(fig.axes[0], f"How far must it look?\n{size_of(summary)}, 95 % intervals; dashed: the worst twin")
    caption = "Guard acts by how far a planner looks and how many plans or simulations it has; dashed: the worst twin."
    return Chart("surface", fig, caption, table)
