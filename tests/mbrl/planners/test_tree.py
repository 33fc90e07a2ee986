"""Tree search against exact solutions: what is found is what a policy can bring, and the more it looks the better."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from mbrl.planners.tree import decide, tree_search
from mbrl.planning import TreeConfig
from tests.mbrl.planners.random_mdps import Problems, random_problems, regret

GAMMA = 0.5
SETTINGS = TreeConfig(num_simulations=64, gamma=GAMMA, horizon=20)


@partial(jax.jit, static_argnames=("ask", "config"))
def asked(table, keys, ask, config: TreeConfig):
    return jax.vmap(lambda table, key: ask(table, jnp.int32(0), config, key))(table, keys)


def over_problems(ask, problems: Problems, config: TreeConfig):
    """Ask about state 0 of every process."""
    keys = jax.random.split(jax.random.key(1), len(problems.sizes))
    return jax.tree.map(np.asarray, asked(problems.table, keys, ask, config))


chosen = partial(over_problems, decide)


def test_one_tick_ahead_is_one_step_of_policy_improvement():
    problems = random_problems(20, 3, seed=4, gamma=GAMMA)
    brings, base = over_problems(tree_search, problems, replace(SETTINGS, horizon=1))
    value = problems.of_base(GAMMA)
    np.testing.assert_allclose(base, value[:, 0], rtol=1e-5)
    np.testing.assert_allclose(brings, problems.action_values(value, GAMMA)[:, 0], rtol=1e-4, atol=1e-6)


def test_what_is_found_lies_between_the_base_policy_and_the_optimum():
    problems = random_problems(20, 3, seed=4, gamma=GAMMA)
    brings, _ = over_problems(tree_search, problems, SETTINGS)
    least, most = problems.action_values(problems.of_base(GAMMA), GAMMA)[:, 0], problems.optimal(GAMMA)[:, 0]
    assert (brings >= least - 1e-5).all() and (brings <= most + 1e-5).all()
    assert (brings > least + 1e-3).mean() > 0.2, "it looks further than one tick"


def test_regret_falls_with_the_budget():
    problems = random_problems(60, 2, seed=0, gamma=GAMMA)
    few, many = (
        regret(problems, chosen(problems, replace(SETTINGS, num_simulations=count)), GAMMA) for count in (2, 128)
    )
    assert many < few / 2 and many < 0.03, (few, many)


def test_where_nothing_is_gained_the_base_policy_is_followed():
    problems = random_problems(30, 2, seed=1, gamma=GAMMA)
    one = jnp.ones_like(problems.table.reward)
    table = problems.table.replace(reward=one, value=jnp.full_like(problems.table.value, 1 / (1 - GAMMA)))
    np.testing.assert_array_equal(chosen(problems._replace(table=table), SETTINGS), np.asarray(table.base)[:, 0])


def test_what_is_worth_no_number_loses():
    """Also where it is what the base policy does, and then to any action that is worth one."""
    problems = random_problems(30, 2, seed=2, gamma=GAMMA)
    table, base = problems.table, np.asarray(problems.table.base)[:, 0]
    table = table.replace(child=jnp.maximum(table.child, 1))  # Nothing leads back to state 0.
    for spoilt in ((base + 1) % 5, base):
        reward = table.reward.at[np.arange(30), 0, spoilt].set(jnp.nan)
        value = jnp.where((spoilt == base)[:, None] & (jnp.arange(60) == 0), jnp.nan, table.value)
        actions = chosen(problems._replace(table=table.replace(reward=reward, value=value)), SETTINGS)
        assert (actions != spoilt).all()
