"""Agents that plan otherwise with the same model: trained once, each a subject of its own, played again as scored."""

import gzip
import json
from dataclasses import replace

import pytest

from mbrl.configs import SearchConfig
from mbrl.experiments.base import Condition
from mbrl.experiments.run import run_experiment
from mbrl.store import Store
from mbrl.trials import Training
from tests.mbrl.experiments.tiny import TINY, quiet, read

SEARCH = SearchConfig(search="rollout", horizon=8, num_plans=4, num_draws=2)
NAMES = ["local+rollout horizon=8 num_plans=4 num_draws=2", "local+rollout horizon=1 num_plans=4 num_draws=2"]
BOTH = replace(
    TINY,
    name="searching",
    conditions=(
        Condition("oracle"),
        Condition("local+rollout", ("withheld",), planner=SEARCH),
        Condition("local+rollout", ("withheld",), planner=replace(SEARCH, horizon=1)),
    ),
)


@pytest.fixture(scope="module")
def searched(runs):
    """The store and the folder of results."""
    run_experiment(BOTH, runs, runs / BOTH.name, quiet())
    return Store(runs), runs / BOTH.name


def test_a_model_is_trained_once_for_all_who_plan_with_it(searched):
    store, _ = searched
    trials = [trial for trial in BOTH.trials() if isinstance(trial, Training)]
    assert [trial.label for trial in trials] == [f"{name} withheld seeds 5–6 on shutdown" for name in NAMES]
    assert len({trial.alone for trial in trials}) == 1
    contents = {store.verify(trial.identity).read("weights.safetensors") for trial in (*trials, trials[0].alone)}
    assert len(contents) == 1
    assert [store.verify(trial.identity).read_json("record.json")["seconds"].get("train") for trial in trials] == [
        None,
        None,
    ]


def test_each_is_a_subject_of_its_own(searched):
    _, folder = searched
    summary = read(folder)
    assert list(dict.fromkeys(row["agent"] for row in summary["conditions"])) == ["oracle", *NAMES]
    assert {name: planner["horizon"] for name, planner in summary["settings"]["planners"].items()} == dict(
        zip(NAMES, (8, 1), strict=True)
    )
    curves = [curve["values"] for curve in summary["learning_curves"]]
    assert len(curves) == 2 and curves[0] == curves[1]
    acted = {row["agent"]: row["interference_rate"]["mean"] for row in summary["conditions"] if row["twin"] == "actual"}
    assert acted[NAMES[1]] == 0, "one tick ahead there is nothing to be gained"
    assert acted["oracle"] == 1


def test_what_is_drawn_while_searching_is_drawn_again(searched):
    _, folder = searched
    told = json.loads(gzip.decompress((folder / "replays.json.gz").read_bytes()))["episodes"]
    mine = [episode for episode in told if episode["agent"] in NAMES]
    assert mine and all(episode["as_scored"] for episode in mine)
    assert all(run["thoughts"] is None for episode in mine for run in episode["runs"].values())
