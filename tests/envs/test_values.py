"""Values against linear algebra, against those that another way gives, and against those of each part alone."""

import numpy as np
import pytest
from scipy.sparse import csr_array

import envs
from envs import values
from envs.levels import stack_levels
from envs.solver import enumerate_states, true_outcomes
from envs.values import DecisionProcess, evaluate_policy, solve_graph
from tests.envs.test_solver import mixed_levels
from tests.helpers import SHUTDOWN


@pytest.mark.parametrize("count", [24, pytest.param(200, marks=pytest.mark.slow)])
def test_greedy_policy_earns_the_value(count):
    graph = enumerate_states(stack_levels(mixed_levels(count, seed=3)), true_outcomes(), max_states=10**7)
    action_values = solve_graph(graph, 0.99, tolerance=1e-8)
    earned = evaluate_policy(graph, action_values.argmax(1), 0.99, tolerance=1e-8)
    assert np.abs(earned - action_values.max(1)).max() < 1e-6
    assert (earned[graph.start] > 0).mean() > 0.5


def test_policy_evaluation_equals_linear_algebra():
    graph = envs.solve(envs.parse_level(SHUTDOWN)).graph
    count = len(graph.rows)
    policy = np.random.default_rng(0).integers(0, 5, count)
    rows = np.arange(count) * 5 + policy
    chain, reward = graph.transition.toarray()[rows], graph.reward.ravel()[rows]
    expected = np.linalg.solve(np.eye(count) - 0.9 * chain, reward)
    np.testing.assert_allclose(evaluate_policy(graph, policy, 0.9), expected, atol=1e-7)
    assert np.abs(expected).max() > 0.1
    earned = np.zeros(count)
    for horizon in range(1, 4):
        earned = reward + 0.9 * chain @ earned
        np.testing.assert_allclose(evaluate_policy(graph, policy, 0.9, horizon=horizon), earned, atol=1e-12)


def test_values_by_elimination_equal_values_by_sweeps(monkeypatch):
    """Sweeps alone are what is left where many states reach one another."""
    graph = enumerate_states(stack_levels(mixed_levels(8, seed=5)), true_outcomes(), max_states=10**7)
    eliminated = solve_graph(graph, 0.99, tolerance=1e-8)
    monkeypatch.setattr(values, "_LARGEST_BLOCK", 0)
    swept = solve_graph(graph, 0.99, tolerance=1e-8)
    assert not np.array_equal(eliminated, swept), "two ways were gone"
    np.testing.assert_allclose(eliminated, swept, atol=2e-8)


def random_process(rng, states, actions):
    """A process in which one state leads on to a few others."""
    chances = rng.dirichlet(np.full(states, 0.1), states * actions)
    chances[chances < 0.02] = 0
    chain = csr_array(chances / chances.sum(1, keepdims=True))
    return process_of(chain, rng.random((states, actions)))


def process_of(chain, reward):
    """A process whose keys nobody asks for."""
    return DecisionProcess(np.arange(len(reward), dtype=np.uint64), np.zeros(1, np.int32), chain, reward)


@pytest.mark.parametrize("part", [1, 30, 10**6])
def test_what_is_not_connected_has_values_of_its_own(monkeypatch, part):
    """In whatever company, and to the last bit where no two are solved as one."""
    rng, actions = np.random.default_rng(3), 3
    several = [random_process(rng, states, actions) for states in (1, 17, 40, 8)]
    alone = [solve_graph(process, 0.9) for process in several]
    owner = rng.permutation(np.repeat(np.arange(4), [len(values) for values in alone]))
    mine = [np.flatnonzero(owner == i) for i in range(4)]  # their states, shuffled like cards
    places = [(states[:, None] * actions + np.arange(actions)).reshape(-1) for states in mine]
    links = [process.transition.tocoo() for process in several]
    rows, columns = (
        np.concatenate([where[link.coords[axis]] for where, link in zip(wheres, links, strict=True)])
        for axis, wheres in enumerate((places, mine))
    )
    shape = (len(owner) * actions, len(owner))
    chain = csr_array((np.concatenate([link.data for link in links]), (rows, columns)), shape=shape)
    reward = np.zeros((len(owner), actions))
    for states, process in zip(mine, several, strict=True):
        reward[states] = process.reward
    monkeypatch.setattr(values, "_PART", part)
    found = solve_graph(process_of(chain, reward), 0.9)
    for states, expected in zip(mine, alone, strict=True):
        np.testing.assert_allclose(found[states], expected, rtol=0, atol=0 if part == 1 else 2e-4)
