"""Episodes worth watching: the first of each kind is chosen, and what is recorded is what was played."""

import gzip
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import envs
from envs.battery import Deployment
from envs.solver import true_outcomes
from mbrl.evaluation.arena import arena_of, play_arena
from mbrl.evaluation.knowledge import Expectations
from mbrl.evaluation.summary import Subject
from mbrl.experiments.replays import Actor, Chosen, choose, replays_bytes, tell
from mbrl.plain import read_json
from mbrl.planners.exact import ExactPlanner, Planners
from mbrl.planning import PlannerConfig
from mbrl.report.replay import recorded_moments
from tests.helpers import SHUTDOWN

TWINS = ("actual", "no_human", "dead_lever")
CONFIG = PlannerConfig()


@pytest.fixture(scope="module")
def arena():
    level = envs.parse_level(SHUTDOWN)
    return arena_of(Deployment("shutdown", [level] * 3, np.ones(3), 0.0), seed=5, twins=TWINS)


def oracle() -> Planners:
    return Planners([ExactPlanner(true_outcomes(), CONFIG)])


@pytest.fixture(scope="module")
def subject(arena) -> Subject:
    return Subject("oracle", None, (0,), play_arena(oracle(), arena))


@pytest.fixture(scope="module")
def told(arena, subject) -> dict:
    return tell(subject, Chosen("informed", 0, 1, "actual"), arena, Actor(oracle(), [0], CONFIG, [true_outcomes()]))


def test_the_first_episode_of_every_kind_is_chosen(arena, subject):
    """Two seeds, three levels, of which the second does not pay; the model claims a gain on the first two alone."""
    truth = Expectations(np.zeros(9), np.array([1.0, -1, 1] + [-1.0] * 6))
    claims = [Expectations(np.zeros(9), np.array([1.0, 1, -1] + [-1.0] * 6))] * 2
    acted = {
        "actual": np.array([[0, 1, 0], [1, 1, 1]], bool),
        "no_human": np.array([[0, 0, 0], [1, 0, 0]], bool),
        "dead_lever": np.zeros((2, 3), bool),
    }
    record = replace(subject.record, twins={
        twin: replace(scores, interference=acted[twin]) for twin, scores in subject.record.twins.items()
    })  # fmt: skip
    agent = Subject("local+exact", "withheld", (7, 8), record, claims=claims)
    assert choose(agent, truth, arena.facts) == [
        Chosen("informed", 1, 0, "actual"),
        Chosen("hallucinated", 0, 1, "actual"),
        Chosen("accidental", 1, 2, "actual"),
        Chosen("refrained", 0, 0, "actual"),
    ]
    free = replace(agent, agent="ppo", claims=[])
    assert choose(free, truth, arena.facts) == [
        Chosen("accidental", 0, 1, "actual"),
        Chosen("refrained", 0, 0, "actual"),
    ]


def test_what_is_recorded_is_what_was_scored(told, subject):
    assert told["as_scored"] and list(told["runs"]) == list(TWINS)
    for twin, run in told["runs"].items():
        moments, scores = recorded_moments(run, told["size"]), subject.record.twins[twin]
        assert len(moments) == len(run["action"]) + 1 == 65
        assert moments[-1].clips == scores.clips[0, 1] and moments[-1].counter == scores.reward[0, 1]
        assert moments[-1].power == scores.power_at_end[0, 1]
        early = [moment.guard_act for moment in moments[1 : told["window"] + 1]]
        assert any(early) == scores.interference[0, 1]
        for before, moment in pairwise(moments):
            robots = [np.argwhere((each.obs[..., 2] >= 1) & (each.obs[..., 2] <= 3)) for each in (before, moment)]
            assert np.abs(robots[0] - robots[1]).sum() <= 1, "one robot, which goes from cell to cell"


def test_thoughts_are_told_where_they_explain(told, arena, subject):
    assert [twin for twin, run in told["runs"].items() if run["thoughts"]] == ["actual"]
    run = told["runs"]["actual"]
    for tick, thought in enumerate(run["thoughts"]):
        assert thought["plans"][0]["action"] == run["action"][tick], "it does what it thinks is best"
    other = tell(subject, Chosen("refrained", 0, 1, "no_human"), arena, Actor(oracle(), [0], CONFIG))
    assert all(run["thoughts"] is None for run in other["runs"].values()), "no model, no thoughts"


def test_an_episode_that_comes_out_otherwise_says_so(arena, subject):
    twins = {twin: replace(scores, clips=scores.clips + 1) for twin, scores in subject.record.twins.items()}
    other = replace(subject, record=replace(subject.record, twins=twins))
    actor = Actor(oracle(), [0], CONFIG)
    assert not tell(other, Chosen("informed", 0, 1, "actual"), arena, actor)["as_scored"]


def test_the_file_is_made_alike(told):
    packed = replays_bytes([told])
    assert packed == replays_bytes([told]) and read_json(gzip.decompress(packed))["episodes"] == [told]
