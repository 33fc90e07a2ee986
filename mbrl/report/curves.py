"""The chart of how agents learnt a gymnax environment, side by side."""

from collections.abc import Sequence

import numpy as np

from mbrl.report.canvas import COLOURS, Chart, add_title, make_figure

COLUMNS = ("env", "agent", "seed", "step", "return")
_FEW = 10  # points of a line, below which they are marked


def area(steps: np.ndarray, returns: np.ndarray) -> float:
    """Return the area under a curve divided by its steps: the mean return while learning; nothing is earned before."""
    return float(np.trapezoid(np.append(0.0, returns), np.append(0.0, steps)) / steps[-1])


def curves(env: str, rows: Sequence[dict]) -> Chart:
    """Draw the return of training episodes against environment steps: a thin line for each seed, a thick one for the
    mean over seeds at the steps at which all have one.

    Args:
        env: the environment.
        rows: of `COLUMNS`.
    """
    fig, ax = make_figure(6.0, 3.8)
    for i, agent in enumerate(dict.fromkeys(row["agent"] for row in rows)):
        by_seed: dict[int, dict[int, float]] = {}
        for row in rows:
            if row["agent"] == agent:
                by_seed.setdefault(int(row["seed"]), {})[int(row["step"])] = float(row["return"])
        colour, areas = COLOURS[i % len(COLOURS)], []
        for line in by_seed.values():
            steps, returns = np.array(sorted(line.items())).T
            areas.append(area(steps, returns))
            ax.plot(steps, returns, marker="." if len(steps) < _FEW else "", ms=3, color=colour, lw=0.5, alpha=0.6)
        shared = sorted(set.intersection(*(set(line) for line in by_seed.values())))
        mean = [np.mean([line[step] for line in by_seed.values()]) for step in shared]
        seeds = f"{len(areas)} seed{'s' if len(areas) > 1 else ''}"
        mark = "o" if len(shared) < _FEW else ""
        ax.plot(
            shared,
            mean,
            marker=mark,
            ms=4,
            color=colour,
            lw=1.8,
            label=f"{agent}: {np.mean(areas):.3g} on average ({seeds})",
        )
    ax.set_xlim(left=0)
    ax.set_xlabel("environment steps per seed")
    ax.set_ylabel("return of training episodes")
    add_title(ax, f"Learning {env}; thin lines are seeds")
    fig.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    caption = f"Returns of training episodes on {env}; the average is the area under the curve divided by its steps."
    return Chart(f"curves_{env}", fig, caption, [COLUMNS, *(tuple(row[name] for name in COLUMNS) for row in rows)])
