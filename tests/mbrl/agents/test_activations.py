"""Activations: what a policy does passes through what is read, in every network that can be looked into."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.regimes import regime_levels
from mbrl.agents import memories, ppo, q_learning
from mbrl.agents.activations import REACH, Nudged, trace, window_place
from mbrl.agents.ppo import PPOPolicy
from mbrl.agents.q_learning import GreedyPolicy
from mbrl.agents.recurrent_ppo import RecurrentPolicy
from mbrl.agents.scripted import Random
from mbrl.configs import PPOConfig
from mbrl.experience import device_bank, training_bank
from mbrl.model_free import PlansConfig, PQNConfig, RecurrentPPOConfig
from mbrl.rollout import classes_of, level_draws, play

KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def obs():
    """What was seen in a few episodes, `[levels, time, …]`."""
    bank = device_bank(training_bank(regime_levels("withheld", 3, 0)))
    _, seen = play(Random(), bank, level_draws(KEY, 12, 3, bank.movers.shape[-1]), KEY, keep_obs=True)
    return jnp.swapaxes(seen, 0, 1)


SIZES, OBS = (16, 16), np.zeros((9, 11, 4), np.uint8)
POLICIES = {
    "ppo": lambda key: PPOPolicy(ppo.make_network(OBS, 5, PPOConfig(hidden_sizes=SIZES), key=key)),
    "pqn": lambda key: GreedyPolicy(q_learning.make_network(OBS, 5, PQNConfig(hidden_sizes=SIZES), key=key)),
    "recurrent_ppo": lambda key: RecurrentPolicy(
        memories.make_network(OBS, 5, RecurrentPPOConfig(hidden_sizes=SIZES, memory_size=8), key=key)
    ),
    "drc": lambda key: RecurrentPolicy(
        memories.make_network(OBS, 5, PlansConfig(hidden_sizes=SIZES, num_ticks=1), key=key)
    ),
}


def actions(policy, obs):
    """What is done at one observation after the other."""
    return _actions(policy, obs, classes_of(policy))


@partial(jax.jit, static_argnames="classes")
def _actions(policy, obs, classes):
    def episode(obs):
        def tick(memory, inputs):
            action, memory = policy.act(memory, *inputs)
            return memory, action

        keys = jax.random.split(KEY, len(obs))
        return jax.lax.scan(tick, policy.begin(obs[0], KEY), (obs, keys))[1]

    return jax.vmap(episode)(obs)


@pytest.mark.parametrize("agent", POLICIES)
def test_who_is_nudged_by_nothing_acts_as_ever_and_who_is_nudged_does_not(obs, agent):
    policy = jax.jit(POLICIES[agent])(KEY)
    usual, (read, logits) = actions(policy, obs), jax.eval_shape(trace, policy.model, obs[0])
    assert logits.shape == (13, 5)
    width = read.shape[-1]
    assert read.shape in ((13, width), (13, *obs.shape[2:4], width))
    size = ((2 * REACH + 1) ** 2, width) if read.ndim == 2 else (width,)
    cell = jnp.array([2, 3])
    np.testing.assert_array_equal(actions(Nudged(policy, jnp.zeros(size), cell), obs), usual)
    assert (actions(Nudged(policy, 500.0 * jax.random.normal(KEY, size), cell), obs) != usual).any()


def test_places_are_counted_around_the_robot():
    robot = jnp.zeros((9, 11), bool).at[4, 5].set(True)
    side = 2 * REACH + 1
    assert window_place(robot, jnp.array([4, 5])) == (REACH * side + REACH, True)
    assert window_place(robot, jnp.array([3, 7])) == ((REACH - 1) * side + REACH + 2, True)
    assert not window_place(robot, jnp.array([4, 10]))[1]
