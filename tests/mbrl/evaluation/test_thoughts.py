"""What a planner thinks: where nothing is left to chance and the model is true, what it imagines is what happens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.keys import observation_keys
from envs.levels import stack_levels
from envs.solver import true_outcomes
from mbrl.agents.scripted import Habit, Idle
from mbrl.evaluation.playing import first_observations
from mbrl.evaluation.thoughts import HORIZON, NUM_PLANS, Mind
from mbrl.planners.exact import ExactPlanner, solve_observations, stack_plans
from mbrl.planning import PlannerConfig
from mbrl.rollout import play
from tests.helpers import SHUTDOWN

CONFIG = PlannerConfig(gamma=0.9)
OUTCOMES = true_outcomes(mobility=1.0)


@pytest.fixture(scope="module")
def bank():
    return stack_levels([envs.parse_level(SHUTDOWN)])


@pytest.fixture(scope="module")
def mind(bank) -> Mind:
    return Mind(solve_observations(OUTCOMES, first_observations(bank), CONFIG)[0], CONFIG)


def happens(policy, bank) -> tuple[np.ndarray, np.ndarray]:
    """Return what is seen and earned in a world in which everybody moves in every tick."""
    draws = jnp.zeros((HORIZON, 1, bank.movers.shape[-1]))
    episodes, seen = play(policy, jax.tree.map(jnp.asarray, bank), draws, jax.random.key(0), 1.0, keep_obs=True)
    return np.asarray(seen[:, 0]), np.asarray(episodes.reward[:, 0])


def test_states_look_like_what_was_planned_for(mind):
    np.testing.assert_array_equal(observation_keys(mind.floors(np.arange(len(mind.graph.rows)))), mind.graph.key)


def test_what_is_imagined_happens(bank, mind):
    thought = mind.think(int(mind.graph.start[0]))
    planner = ExactPlanner(OUTCOMES, CONFIG).extend(first_observations(bank))
    plan = jax.tree.map(lambda leaf: leaf[0], stack_plans([planner]))
    for future, policy in ((thought.planned, plan), (thought.nothing, Idle())):
        np.testing.assert_array_equal(future.floors, happens(policy, bank)[0][1:])
    seen, _ = happens(Habit(), bank)
    robots = [np.argwhere((floor[..., 2] >= 1) & (floor[..., 2] <= 3))[0].tolist() for floor in seen]
    assert [list(cell) for cell in thought.plans[-1].way] == robots
    assert thought.planned.floors[-1, 0, 0, 3] == 1 and thought.nothing.floors[-1, 0, 0, 3] == 0


def test_claims_are_returns(mind):
    """Nothing is earned by doing nothing; the best plan claims most, and each what its first action is worth."""
    start = int(mind.graph.start[0])
    thought = mind.think(start)
    *weighed, habit = thought.plans
    assert len(weighed) == NUM_PLANS and habit.name == "habit"
    assert [plan.claim for plan in weighed] == sorted((plan.claim for plan in weighed), reverse=True)
    assert all(plan.claim == thought.action_values[plan.action] for plan in weighed)
    assert thought.nothing.claim == 0 and thought.planned.claim == weighed[0].claim == thought.action_values.max()
    earned = happens(Habit(), stack_levels([envs.parse_level(SHUTDOWN)]))[1]
    assert habit.claim == pytest.approx(float(earned @ 0.9 ** np.arange(HORIZON)), abs=1e-3), "then the power is off"
