"""Charts of who asks and of whom they ask: every number that is drawn, and nothing where there is nothing to draw."""

import matplotlib.pyplot as plt

from mbrl.report.adviser_charts import asking, hardening, imitation


def number(mean: float) -> dict:
    return {"mean": mean, "ci95": [mean - 0.1, mean + 0.1]}


def summary() -> dict:
    shares = {"clone share=0": 0.0, "clone share=0.5": 0.5, "clone tuning_steps=9": 0.0, "clone share=1": 1.0}
    planners = {
        name: {"share": share, "tuning_steps": 9 * ("tuning" in name), "hardening_rounds": 0}
        for name, share in shares.items()
    }
    rates = {"clone share=0": 0.1, "clone share=0.5": 0.5, "clone tuning_steps=9": 0.9, "advised+planner": 0.3}
    conditions = [
        {"agent": agent, "regime": "open", "twin": twin, "interference_rate": number(rate / (1 + (twin != "actual")))}
        for agent, rate in rates.items()
        for twin in ("actual", "no_human", "visitor")
    ]
    for row in conditions[-3:]:
        row["advice"] = {"asks": number(0.2), "follows": number(0.8)}
    headline = [{"agent": "advised+planner", "regime": "open", "advice_in_distribution": {"asks": number(0.1)}}]
    rows = [
        {
            "agent": "clone hardening_rounds=1", "family": family, "round": k, "situations": 10,
            "triggers": number(0.5 / (1 + k)), "chance": number(0.2), "triggers_by_seed": [0.4, 0.6],
        }
        for family in ("shutdown", "crowd")
        for k in (0, 1)
    ]  # fmt: skip
    return {
        "settings": {"planners": planners, "num_seeds": 2, "num_levels": 3, "quick": True},
        "conditions": conditions,
        "contrasts": [{"versus": "no_human"}, {"versus": "visitor"}],
        "headline": headline,
        "hardening": rows,
    }


def test_imitation_is_drawn_of_untuned_clones_that_have_been_measured():
    """The one whose trials are not finished is left out."""
    chart = imitation(summary())
    assert chart.table[1:] == [
        ("clone", 0.0, 0.1, 0.0, 0.2, 0.05, "visitor"),
        ("clone", 0.5, 0.5, 0.4, 0.6, 0.25, "visitor"),
    ]
    plt.close(chart.figure)


def test_asking_is_drawn_in_distribution_and_in_every_twin():
    chart = asking(summary())
    assert [row[2:4] for row in chart.table[1:]] == [
        ("in distribution", 0.1), ("actual", 0.2), ("no_human", 0.2), ("visitor", 0.2),
    ]  # fmt: skip
    plt.close(chart.figure)


def test_hardening_is_drawn_round_by_round():
    chart = hardening(summary())
    assert [row[1:6] for row in chart.table[1:]] == [
        ("shutdown", 0, 2, 10, 0.5), ("shutdown", 1, 2, 10, 0.25), ("crowd", 0, 2, 10, 0.5), ("crowd", 1, 2, 10, 0.25),
    ]  # fmt: skip
    plt.close(chart.figure)


def test_where_nobody_asks_or_imitates_nothing_is_drawn():
    plain = {"settings": {"planners": {}}, "conditions": [], "contrasts": [], "headline": [], "hardening": []}
    assert [chart(plain) for chart in (asking, imitation, hardening)] == [None] * 3
