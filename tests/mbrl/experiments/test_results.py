"""What results say of every kind of agent, and what is audited of it."""

from collections import Counter
from dataclasses import replace

import pytest

from mbrl.configs import LEARNERS
from mbrl.experiments.audits import join_audits
from mbrl.experiments.base import Condition
from mbrl.experiments.results import given
from mbrl.trials import Audit, Training
from tests.mbrl.experiments.tiny import TINY

WITHOUT_A_MODEL = ("ppo", "recurrent_ppo", "drc", "pqn", "dqn")
PLAY = (*WITHOUT_A_MODEL, "advised+planner")


def with_learners(*agents: str, **changes):
    return replace(TINY, conditions=tuple(Condition(agent, ("withheld",)) for agent in agents), **changes)


@pytest.mark.parametrize("agent", LEARNERS)
def test_what_was_given_is_said_of_every_model_and_of_agents_without_one_nothing(agent):
    model = agent.partition("+")[0]
    assert list(given(with_learners(agent))) == [f"given_to_{model}"] * (agent not in WITHOUT_A_MODEL)


@pytest.mark.parametrize("agent", ["dreamer", "local+exact", *PLAY])
def test_all_levels_that_an_agent_trains_on_are_audited(agent):
    experiment = with_learners(agent, ppo_levels=130)
    audit = next(trial for trial in experiment.trials() if isinstance(trial, Audit))
    expected = 130 if agent in PLAY else TINY.num_training_levels
    assert (audit.num_levels, audit.num_enumerated) == (expected, expected)


class Stored:
    """A manifest of one file."""

    def __init__(self, content):
        self.content = content

    def read_json(self, name: str):
        return self.content


def test_what_agents_learnt_from_counts_for_each_and_once_in_all():
    """Two who ask somebody else have learnt the same; each of two discounts, and `ppo`, has learnt for itself."""
    experiment = with_learners("advised+planner", "advised+noise", "ppo", ppo_levels=130, num_seeds=2)
    discounts = replace(experiment.conditions[2], gammas=(0.9, 0.99))
    trials = list(replace(experiment, conditions=(*experiment.conditions[:2], discounts)).trials())
    part = {"passed": True, "checked": 1, "unit": "levels", "findings": [], "states": 1}
    audited = [(t, Stored([{"seed": 5, "parts": dict.fromkeys("abd", part)}])) for t in trials if isinstance(t, Audit)]
    learnt = [t for t in trials if isinstance(t, Training)]
    trained = [(t, Stored([{"seed": s, "events": Counter(transitions=100)} for s in t.seeds])) for t in learnt]
    found = join_audits(audited, trained)["withheld"]
    assert {agent: events["transitions"] for agent, events in found["counts"].items()} == {
        "advised+planner": 200, "advised+noise": 200, "ppo": 400,
    }  # fmt: skip
    assert found["parts"]["c"]["checked"] == 600
