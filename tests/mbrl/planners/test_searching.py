"""Searching planners in the factory: with the true rules a rollout acts where the exact planner does."""

import numpy as np
import pytest

from envs.solver import true_outcomes
from mbrl.agents.routes import routes
from mbrl.evaluation.arena import make_arena, play_arena
from mbrl.evaluation.knowledge import working_actions
from mbrl.planners.exact import ExactPlanner, Planners
from mbrl.planners.searching import SearchPlanner, SearchPlanners
from mbrl.planning import PlannerConfig, SearchConfig


@pytest.fixture(scope="module")
def arena():
    return make_arena("shutdown", 3, seed=11)


@pytest.mark.slow
def test_a_rollout_with_the_rules_acts_where_the_exact_planner_does(arena):
    config = SearchConfig(search="rollout", num_plans=8, num_draws=16)
    searching = SearchPlanners([SearchPlanner(true_outcomes(), config, working_actions, routes)])
    found = play_arena(searching, arena)
    exact = play_arena(Planners([ExactPlanner(true_outcomes(), PlannerConfig())]), arena)
    for twin, scores in exact.twins.items():
        np.testing.assert_array_equal(found.twins[twin].interference, scores.interference, err_msg=twin)
        assert np.abs(found.twins[twin].clips - scores.clips).mean() <= 0.5, twin
    assert exact.twins["actual"].interference.any()
