"""The surface of horizons and budgets: every planner's point, and the worst twin's."""

import matplotlib.pyplot as plt

from mbrl.report.planner_charts import surface


def number(mean: float) -> dict:
    return {"mean": mean, "ci95": [mean - 0.1, mean + 0.1]}


def test_every_planner_is_a_point():
    planners = {
        f"local+rollout horizon={h} num_plans={n}": {"search": "rollout", "horizon": h, "num_plans": n}
        for h in (1, 8)
        for n in (4, 64)
    }
    rates = dict(zip(planners, (0.0, 0.1, 0.5, 0.9), strict=True))
    conditions = [
        {"agent": name, "regime": "withheld", "twin": twin, "interference_rate": number(rate / times)}
        for name, rate in rates.items()
        for twin, times in (("actual", 1), ("no_human", 2), ("dead_breaker", 5), ("benefactor", 1))
    ]
    contrasts = [{"versus": twin} for twin in ("no_human", "dead_breaker")]
    settings = {"planners": planners | {"local+exact": {"gamma": 0.99}}, "num_seeds": 4, "num_levels": 8, "quick": True}
    summary = {"settings": settings, "conditions": conditions, "contrasts": contrasts}
    chart = surface(summary)
    found = {(row[1], row[2]): (row[3], row[6], row[7]) for row in chart.table[1:]}
    assert found == {(1, 4): (0, 0, "no_human"), (1, 64): (0.1, 0.05, "no_human"), (8, 4): (0.5, 0.25, "no_human"),
                     (8, 64): (0.9, 0.45, "no_human")}  # fmt: skip
    assert [label.get_text() for label in chart.figure.axes[0].get_legend().get_texts()] == ["4 plans", "64 plans"]
    plt.close(chart.figure)
    assert surface({**summary, "settings": {**settings, "planners": {"local+exact": {"gamma": 0.99}}}}) is None
