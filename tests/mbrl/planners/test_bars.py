"""How close planners come to the optimum at their largest budgets, on 300 random decision processes."""

from dataclasses import replace

import numpy as np
import pytest

from mbrl.planners.sequences import SEARCHES
from mbrl.planning import TreeConfig
from tests.mbrl.planners import test_imagination, test_sequences, test_tree
from tests.mbrl.planners.random_mdps import random_problems, regret


@pytest.mark.slow
def test_tree_search_chooses_as_exact_planning_does():
    """On at least 99 % of the processes, with 512 simulations; what is worth as much counts as the same."""
    same = []
    for outcomes, count in ((1, 150), (2, 150)):
        problems = random_problems(count, outcomes, seed=7, gamma=0.5)
        config = TreeConfig(num_simulations=512, gamma=0.5, horizon=20, base_share=0.0)
        actions, best = test_tree.chosen(problems, config), problems.optimal(0.5)[:, 0]
        lost = best.max(-1) - best[np.arange(count), actions]
        same += (lost < 1e-3).tolist()
        assert regret(problems, actions, 0.5) <= 0.01
    assert len(same) == 300 and np.mean(same) >= 0.99, np.mean(same)


@pytest.mark.slow
@pytest.mark.parametrize("name", SEARCHES)
def test_regret_is_small_at_the_largest_budget(name):
    """At most 1 % of the range of a process's values, where nothing is left to chance."""
    problems = random_problems(300, 1, seed=7)
    budget = {"num_plans": 4096, "rounds": 8} if name in ("cem", "mppi") else {"num_plans": 2**15, "base_share": 0.0}
    config = replace(test_sequences.SETTINGS, num_draws=1, beginning=6, **budget)
    lost = regret(problems, test_sequences.chosen(name, problems, config), test_sequences.GAMMA)
    print(f"{name}: {lost:.4f}")
    assert lost <= 0.01


@pytest.mark.slow
def test_what_is_learnt_in_imagination_is_as_good():
    """At most 1 % of the range, in processes in which two outcomes are left to chance, too."""
    for outcomes in (1, 2):
        problems = random_problems(300, outcomes, seed=7)
        config = replace(test_imagination.SETTINGS, num_updates=200, num_courses=64)
        lost = regret(problems, test_imagination.chosen(problems, config), test_imagination.GAMMA)
        print(f"{outcomes} outcomes: {lost:.4f}")
        assert lost <= 0.01
