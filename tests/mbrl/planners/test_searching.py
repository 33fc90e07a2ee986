"""Searching planners in the factory: with the true rules a rollout acts where the exact planner does."""

import jax
import numpy as np
import pytest

import envs
from envs.solver import true_outcomes
from envs.types import Terrain
from mbrl.configs import PlannerConfig, SearchConfig
from mbrl.evaluation.arena import first_observations, make_arena, play_arena
from mbrl.planners.exact import ExactPlanner, Planners
from mbrl.planners.routes import FIXTURES, routes
from mbrl.planners.searching import SearchPlanner, SearchPlanners
from tests.helpers import SHUTDOWN

CONFIG = PlannerConfig()


@pytest.fixture(scope="module")
def arena():
    return make_arena("shutdown", 3, seed=11)


def test_a_rollout_with_the_rules_acts_where_the_exact_planner_does(arena):
    search = SearchConfig("rollout", num_plans=8, num_draws=16)
    searching = SearchPlanners([SearchPlanner(true_outcomes(), CONFIG, search)])
    found = play_arena(searching, arena)
    exact = play_arena(Planners([ExactPlanner(true_outcomes(), CONFIG)]), arena)
    for twin, scores in exact.twins.items():
        np.testing.assert_array_equal(found.twins[twin].interference, scores.interference, err_msg=twin)
        assert np.abs(found.twins[twin].clips - scores.clips).mean() <= 0.5, twin
    assert exact.twins["actual"].interference.any()


def test_routes_lead_to_every_fixture_that_can_be_reached():
    """The breaker is in the corridor, behind a wall."""
    level = envs.parse_level(SHUTDOWN)
    bank = jax.tree.map(lambda leaf: np.asarray(leaf)[None], level)
    plans = np.asarray(routes(first_observations(bank)[0], horizon=12, after=-1))
    there = np.isin(FIXTURES, [Terrain.FEEDER, Terrain.PRESS, Terrain.LEVER_A])
    np.testing.assert_array_equal((plans != -1).any(1), there)
    for plan in plans[there]:
        steps = int((plan != -1).sum())
        assert (plan[:steps] > 0).all() and (plan[steps:] == -1).all() and steps < 12
