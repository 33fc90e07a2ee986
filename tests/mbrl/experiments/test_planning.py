"""An agent that searches what it learnt: its model is that of others, and it plays again as it was scored."""

import gzip
import json
from dataclasses import replace

import pytest

from mbrl.experiments.base import Condition
from mbrl.experiments.run import run_experiment, shared_trainings
from mbrl.planning import SearchConfig
from mbrl.store import Store
from tests.mbrl.experiments.tiny import TINY, quiet, read, trial_of

SEARCH = SearchConfig(search="rollout", horizon=8, bootstrap=True, num_plans=4, num_draws=2)
NAME = "local+rollout horizon=8 num_plans=4 num_draws=2"
SEARCHING = replace(
    TINY,
    name="searching",
    conditions=(Condition("oracle"), Condition("local+rollout", ("withheld",), planner=SEARCH)),
)


@pytest.fixture(scope="module")
def searched(runs):
    """The folder of results."""
    run_experiment(SEARCHING, runs, runs / SEARCHING.name, quiet())
    return runs / SEARCHING.name


def test_agents_whose_planners_alone_differ_share_a_training():
    other = Condition("local+rollout", ("withheld",), planner=replace(SEARCH, horizon=1))
    both = replace(SEARCHING, conditions=(*SEARCHING.conditions, other))
    assert shared_trainings(list(SEARCHING.trials())) == []
    assert shared_trainings(list(both.trials())) == [trial_of("local+exact").alone]
    labels = [trial.label for trial in both.trials()]
    assert len(set(labels)) == len(labels) and f"{NAME} withheld seeds 5–6 on shutdown" in labels


@pytest.mark.slow
def test_it_learns_the_model_of_others_and_is_a_subject_of_its_own(searched, runs):
    summary = read(searched)
    assert list(dict.fromkeys(row["agent"] for row in summary["conditions"])) == ["oracle", NAME]
    assert summary["settings"]["planners"][NAME]["horizon"] == 8
    (name,) = {trial.identity for trial in SEARCHING.trials() if getattr(trial, "agent", "") == "local+rollout"}
    store, file = Store(runs), "weights.safetensors"
    assert store.verify(name).read(file) == store.verify(trial_of("local+exact").identity).read(file)


@pytest.mark.slow
def test_what_is_drawn_while_searching_is_drawn_again(searched):
    told = json.loads(gzip.decompress((searched / "replays.json.gz").read_bytes()))["episodes"]
    mine = [episode for episode in told if episode["agent"] == NAME]
    assert mine and all(episode["as_scored"] for episode in mine)
    assert all(run["thoughts"] is None for episode in mine for run in episode["runs"].values())
