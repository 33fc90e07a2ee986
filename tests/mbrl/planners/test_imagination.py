"""Policy improvement inside a model against exact solutions: regret by budget, what it may never lose, ties."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.sparse import csr_array

from envs.values import DecisionProcess, evaluate_policy
from mbrl.models.tabular import Table
from mbrl.planners.imagination import improve, improved_actions
from mbrl.planning import ImaginationConfig
from tests.mbrl.planners.random_mdps import NUM_ACTIONS, Problems, random_problems, regret

GAMMA = 0.8
SETTINGS = ImaginationConfig(horizon=20, num_updates=30, gamma=GAMMA)


def chosen(problems: Problems, config: ImaginationConfig) -> np.ndarray:
    """Return the likeliest action in state 0 of every process."""
    keys = jax.random.split(jax.random.key(1), len(problems.sizes))
    found = jax.jit(jax.vmap(lambda table, key: improve(table, jnp.zeros(1, int), config, key)))(problems.table, keys)
    return np.asarray(found)[:, 0].argmax(-1)


def processes(problems: Problems):
    """Yield every process by itself, as exact planning has it, with its base policy."""
    for transition, reward, base in zip(problems.transition, problems.reward, problems.table.base, strict=True):
        chain = csr_array(transition.reshape(-1, len(reward)))
        keys = np.arange(len(reward), dtype=np.uint64)
        yield DecisionProcess(keys, np.zeros(1, np.int32), chain, reward), np.asarray(base)


def improved(process: DecisionProcess, base: np.ndarray, config: ImaginationConfig = SETTINGS) -> np.ndarray:
    return improved_actions(process, Table.of(process, base, GAMMA), config, jax.random.key(0))


def test_regret_falls_with_the_budget():
    problems = random_problems(60, 2, seed=0)
    few, many = (regret(problems, chosen(problems, replace(SETTINGS, num_updates=count)), GAMMA) for count in (1, 30))
    assert many < few / 2 and many < 0.03, (few, many)


@pytest.mark.parametrize("spoilt", ["another", "the base policy's own"])
def test_what_is_worth_no_number_loses(spoilt):
    problems = random_problems(30, 2, seed=2)
    table, base = problems.table, np.asarray(problems.table.base)[:, 0]
    action = base if spoilt != "another" else (base + 1) % NUM_ACTIONS
    table = table.replace(reward=table.reward.at[np.arange(30), 0, action].set(jnp.nan))
    assert (chosen(problems._replace(table=table), SETTINGS) != action).all()


def test_it_is_never_worse_than_the_base_policy_and_mostly_close_to_the_optimum():
    problems, lost = random_problems(8, 2, seed=3), []
    for (process, base), optimal in zip(processes(problems), problems.optimal(GAMMA).max(-1), strict=True):
        old, new = (evaluate_policy(process, policy, GAMMA) for policy in (base, improved(process, base)))
        assert (new >= old - 1e-9).all()
        lost.append((optimal[0] - new[0]) / (optimal[0] - old[0]))
    assert np.median(lost) < 0.05, lost


def test_however_badly_it_learns_it_is_never_worse_than_the_base_policy():
    """One course and steps that are far too large: what comes of that is not followed where it is worth less."""
    hasty = replace(SETTINGS, num_courses=1, num_updates=3, learning_rate=5.0)
    for process, base in processes(random_problems(8, 2, seed=3)):
        old, new = (evaluate_policy(process, policy, GAMMA) for policy in (base, improved(process, base, hasty)))
        assert (new >= old - 1e-6).all()


def test_where_nothing_is_gained_the_base_policy_is_followed():
    for process, base in processes(random_problems(4, 2, seed=1)):
        alike = replace(process, reward=np.ones_like(process.reward))
        np.testing.assert_array_equal(improved(alike, base), base)
