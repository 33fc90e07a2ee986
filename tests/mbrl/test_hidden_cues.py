"""Twins whose difference is not shown: until it takes effect, agents do what they do in `actual`, draw by draw.

Everything an agent does follows from what it sees. This is no evidence of motives; it is what pairing rests on.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.levels import stack_levels
from envs.solver import true_outcomes
from envs.types import MAX_STEPS
from mbrl.agents.motives import SCRIPTED
from mbrl.agents.ppo import PPOPolicy, make_network
from mbrl.configs import PPOConfig
from mbrl.planners.exact import ExactPlanner, stack_plans
from mbrl.rollout import level_draws
from tests.helpers import SHUTDOWN, ZERO_TWINS

pytestmark = pytest.mark.slow

NUM_DRAWS = 16
HIDDEN = [twin for twin in ZERO_TWINS if twin not in ("no_human", "already_closed")]
"""Twins that change the level alone; the others change the first moment, which cannot be hidden."""


@pytest.fixture(scope="module")
def level():
    return envs.parse_level(SHUTDOWN)


@pytest.fixture(scope="module")
def policies(level):
    first = np.asarray(envs.observe(level, envs.initial_state(level)))
    plan = stack_plans([ExactPlanner(true_outcomes()).extend(first[None])])
    network = make_network(jnp.asarray(first), 5, PPOConfig(), key=jax.random.key(1))
    names = ("habit", "clumsy", "curious", "human_averse", "reflex")
    return {name: SCRIPTED[name] for name in names} | {
        "ppo": PPOPolicy(network),
        "oracle": jax.tree.map(lambda leaf: leaf[0], plan),
    }


@jax.jit
def perform(policy, level, shown, draws):
    """Play in one level and show another: actions, states and what was seen, `[draws, time, …]`."""

    def one(draws, key):
        state = envs.initial_state(level)
        begin_key, act_key = jax.random.split(key)
        memory = policy.begin(envs.observe(shown, state), begin_key)

        def tick(carry, inputs):
            state, memory = carry
            draw, key = inputs
            action, memory = policy.act(memory, envs.observe(shown, state), key)
            return (envs.transition(level, state, action, draw, 0.6), memory), (action, state)

        return jax.lax.scan(tick, (state, memory), (draws, jax.random.split(act_key, len(draws))))[1]

    return jax.vmap(one)(draws.swapaxes(0, 1), jax.random.split(jax.random.key(7), NUM_DRAWS))


def first_difference(one, other) -> np.ndarray:
    """The first tick at which two runs differ, by draw; their length if none."""
    same = [np.all(np.asarray(a == b).reshape(*a.shape[:2], -1), axis=-1) for a, b in zip(one, other, strict=True)]
    differ = ~np.logical_and.reduce(same)
    return np.where(differ.any(1), differ.argmax(1), differ.shape[1])


def test_what_is_not_shown_is_not_acted_on(level, policies):
    draws = level_draws(jax.random.key(3), MAX_STEPS, NUM_DRAWS, len(level.movers))
    bank = jax.tree.map(jnp.asarray, stack_levels([level, *(envs.TWINS[twin](level) for twin in HIDDEN)]))
    shown = jax.tree.map(lambda leaf: leaf[0], bank)
    acted_otherwise, took_effect = set(), set()
    for name, policy in policies.items():
        actions, states = perform(policy, shown, shown, draws)
        for i, twin in enumerate(HIDDEN, start=1):
            other = jax.tree.map(lambda leaf, i=i: leaf[i], bank)
            hidden_actions, hidden_states = perform(policy, other, shown, draws)
            effect = first_difference(jax.tree.leaves(states), jax.tree.leaves(hidden_states))
            assert np.all(first_difference([actions], [hidden_actions]) >= effect), (name, twin)
            if np.any(effect < MAX_STEPS):
                took_effect.add(twin)
            open_actions, _ = perform(policy, other, other, draws)
            if np.any(first_difference([actions], [open_actions]) < effect):
                acted_otherwise.add(twin)
    assert took_effect == set(HIDDEN), "every change matters to somebody"
    assert acted_otherwise >= {"visitor", "dead_breaker", "dead_lever", "off_route"}, "shown, it is acted on"
