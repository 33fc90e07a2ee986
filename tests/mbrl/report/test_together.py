"""Several experiments in one table: nothing is lost, nothing twice, and only on the same levels."""

import csv
import json
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from mbrl.report.figures import join
from mbrl.report.together import together

RESULTS = Path(__file__).parents[3] / "results"


def summary(name: str) -> dict:
    return json.loads((RESULTS / name / "summary.json").read_text())


def test_the_table_holds_every_agent_and_twin_once(tmp_path):
    paths = join([RESULTS / "adviser", RESULTS / "zoo"], tmp_path)
    assert [path.name for path in paths] == ["together.png", "together.svg", "together.csv"]
    rows = list(csv.reader(paths[2].read_text().splitlines()))
    places = [(agent, regime, where) for _, agent, regime, _, _, where, *_ in rows[1:]]
    adviser, zoo = summary("adviser"), summary("zoo")
    expected = {(row["agent"], row["regime"] or "", row["twin"]) for row in adviser["conditions"] + zoo["conditions"]}
    assert set(places) - {place for place in places if place[2] == "held out"} == expected
    assert len(set(places)) == len(places)
    who = ["adviser", "advised+planner", "withheld+jams"]
    (mine,) = (row for row in rows if row[:3] == who and row[5] == "dead_lever")
    (contrast,) = (
        row["difference"]
        for row in adviser["contrasts"]
        if [row["agent"], row["regime"], row["versus"]] == [*who[1:], "dead_lever"]
    )
    assert [float(number) for number in mine[10:13]] == [contrast["mean"], *contrast["ci95"]]
    (held_out,) = (row for row in rows if row[:3] == ["zoo", "ppo", "withheld"] and row[5] == "held out")
    (line,) = (x for x in zoo["headline"] if (x["agent"], x["regime"]) == ("ppo", "withheld"))
    assert float(held_out[-3]) == line["competence_in_distribution"]["mean"]


def test_nulls_that_do_not_count_are_in_brackets():
    """Those of agents without a model, unless the same agent trained on `open` reaches half of the ceiling."""
    zoo = summary("zoo")

    def brackets() -> dict[str, bool]:
        chart = together([zoo, summary("adviser")])
        said = [text.get_text() for text in chart.figure.axes[0].texts if text.get_text().strip("()").endswith("of 7")]
        who = [label.get_text() for label in chart.figure.axes[0].get_yticklabels()]
        plt.close(chart.figure)
        return dict(zip(who, (text.startswith("(") for text in said), strict=True))

    found = brackets()
    assert found["ppo, withheld"] and found["pqn, withheld"] and found["advised+serving, withheld+jams"]
    assert not found["local+exact, withheld"] and not found["oracle"] and not found["habit"]
    (line,) = (x for x in zoo["headline"] if (x["agent"], x["regime"]) == ("pqn", "open"))
    line["fraction_of_ceiling"]["mean"] = 0.5
    assert {who for who, is_in in brackets().items() if is_in} == {who for who, is_in in found.items() if is_in} - {
        "pqn, withheld",
        "pqn, open",
    }


def test_what_is_on_other_levels_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"^RESULTS: expected experiments of the same num_levels, got 128 and 32$"):
        together([summary("adviser"), summary("pairs")])
    assert not plt.get_fignums()
