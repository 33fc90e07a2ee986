"""Searches against exact solutions: what plans bring, regret by budget, ties, plans that are no numbers."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl.planners.sequences import BASE, SEARCHES, imagined_returns, judge
from mbrl.planning import SearchConfig
from tests.mbrl.planners.random_mdps import Problems, random_problems, regret

GAMMA = 0.8
HORIZON = 20
SETTINGS = SearchConfig(horizon=HORIZON, gamma=GAMMA, num_draws=16)
NOTHING = jnp.full((1, HORIZON), BASE)


def chosen(name: str, problems: Problems, config: SearchConfig, tried: jax.Array = NOTHING) -> np.ndarray:
    """Let a search choose in state 0 of every process."""
    keys = jax.random.split(jax.random.key(1), len(problems.sizes))
    return np.asarray(choose(problems.table, keys, tried, name, config))


@partial(jax.jit, static_argnames=("name", "config"))
def choose(table, keys, tried, name: str, config: SearchConfig):
    def one(table, key):
        first = SEARCHES[name](table, jnp.int32(0), config, tried, key)[0]
        return jnp.where(first == BASE, table.base[0], first)

    return jax.vmap(one)(table, keys)


@pytest.mark.parametrize("outcomes", [1, 3])
def test_plans_bring_what_linear_algebra_says(outcomes):
    problems = random_problems(20, outcomes, seed=3)
    keys = jax.random.split(jax.random.key(0), 1 if outcomes == 1 else 2000)
    base = jnp.full((1, 60), BASE)
    found = np.asarray(
        jax.vmap(partial(imagined_returns, plans=base, keys=keys, gamma=GAMMA))(problems.table, jnp.zeros(20, int))
    )
    error = found.mean((1, 2)) - problems.of_base(GAMMA)[:, 0]
    spread = found.std((1, 2)) / np.sqrt(len(keys))
    assert (np.abs(error) < 4.5 * spread + 1e-4).all()


@pytest.mark.parametrize("name", SEARCHES)
def test_regret_falls_with_the_budget(name):
    problems = random_problems(60, 1, seed=0)
    few, many = (
        regret(problems, chosen(name, problems, replace(SETTINGS, num_plans=count, num_draws=1)), GAMMA)
        for count in (4, 1024)
    )
    assert many < few / 2 and many < 0.04, (few, many)


@pytest.mark.parametrize("name", SEARCHES)
def test_where_nothing_is_gained_the_base_policy_is_followed(name):
    problems = random_problems(30, 2, seed=1)
    table = problems.table.replace(reward=jnp.ones_like(problems.table.reward))
    actions = chosen(name, problems._replace(table=table), SETTINGS)
    np.testing.assert_array_equal(actions, np.asarray(table.base)[:, 0])


@pytest.mark.parametrize("name", SEARCHES)
def test_a_plan_that_is_no_number_loses(name):
    """Also where it is the base policy's own, and then to any that is one."""
    problems = random_problems(30, 2, seed=2)
    table, base = problems.table, np.asarray(problems.table.base)[:, 0]
    table = table.replace(child=jnp.maximum(table.child, 1))  # Nothing leads back to state 0.
    for spoilt in ((base + 1) % 5, base):
        reward = table.reward.at[np.arange(30), 0, spoilt].set(jnp.nan)
        actions = chosen(name, problems._replace(table=table.replace(reward=reward)), SETTINGS)
        assert (actions != spoilt).all()


def test_standard_errors_are_those_of_paired_differences():
    problems, key = random_problems(20, 2, seed=5), jax.random.key(3)
    plans = jnp.concatenate([NOTHING, jax.random.randint(jax.random.key(2), (8, HORIZON), 0, 5)])
    keys = jax.random.split(key, SETTINGS.num_draws)

    @jax.vmap
    def ask(table):
        judged = judge(table, jnp.int32(0), plans, SETTINGS, key, errors=2.0)
        return judged.gain, imagined_returns(table, jnp.int32(0), plans, keys, GAMMA)

    gain, returns = map(np.asarray, ask(problems.table))
    difference = returns - returns[:, :1]
    expected = difference.mean(-1) - 2 * difference.std(-1, ddof=1) / np.sqrt(SETTINGS.num_draws)
    np.testing.assert_allclose(gain, expected, rtol=1e-4, atol=1e-5)
    assert (gain[:, 0] == 0).all() and (difference.std(-1)[:, 1:] > 0).mean() > 0.9
