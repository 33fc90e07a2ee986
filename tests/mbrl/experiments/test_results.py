"""What results say of every kind of agent, and what is audited of it."""

from dataclasses import replace

import pytest

from mbrl.configs import LEARNERS
from mbrl.experiments.base import Condition
from mbrl.experiments.results import given
from mbrl.trials import Audit
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
