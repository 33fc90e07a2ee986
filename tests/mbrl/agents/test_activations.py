"""Activations: what a policy does passes through what is read, in every network that can be looked into."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl.agents import memories, ppo, q_learning
from mbrl.agents.activations import REACH, Nudged, decide, nothing, think, trace, window_place
from mbrl.agents.ppo import PPOPolicy
from mbrl.agents.q_learning import GreedyPolicy
from mbrl.agents.recurrent_ppo import RecurrentPolicy
from mbrl.configs import PPOConfig
from mbrl.experience import device_bank, training_bank, training_levels
from mbrl.model_free import PlansConfig, PQNConfig, RecurrentPPOConfig
from mbrl.rollout import level_draws, play

KEY = jax.random.key(3)


@pytest.fixture(scope="module")
def bank():
    return device_bank(training_bank(training_levels("withheld", 4, 0)))


def policies(obs):
    sizes, key = (16, 16), jax.random.key(0)
    remembering, planning = RecurrentPPOConfig(hidden_sizes=sizes, memory_size=8), PlansConfig(hidden_sizes=sizes)
    return {
        "ppo": PPOPolicy(ppo.make_network(obs, 5, PPOConfig(hidden_sizes=sizes), key=key)),
        "pqn": GreedyPolicy(q_learning.make_network(obs, 5, PQNConfig(hidden_sizes=sizes), key=key)),
        "recurrent_ppo": RecurrentPolicy(memories.make_network(obs, 5, remembering, key=key)),
        "drc": RecurrentPolicy(memories.make_network(obs, 5, planning, key=key)),
    }


@pytest.mark.parametrize("agent", ["ppo", "pqn", "recurrent_ppo", "drc"])
def test_who_is_nudged_by_nothing_acts_as_ever_and_who_is_nudged_does_not(bank, agent):
    draws = level_draws(KEY, 12, 4, bank.movers.shape[-1])
    _, seen = play(policies(np.zeros((9, 11, 4), np.uint8))[agent], bank, draws, KEY, keep_obs=True)
    policy = policies(seen[0, 0])[agent]
    usual, obs = play(policy, bank, draws, KEY, keep_obs=True)
    activations = trace(policy.model, obs[:, 0])
    width = activations.shape[-1]
    places = (2 * REACH + 1) ** 2 if activations.ndim == 2 else 1
    nowhere = jnp.zeros((places, width))[0 if places == 1 else slice(None)]
    cell = jnp.array([2, 3])
    same, _ = play(Nudged(policy, nowhere, cell), bank, draws, KEY)
    np.testing.assert_array_equal(same.action, usual.action)
    pushed = 500.0 * jax.random.normal(KEY, nowhere.shape)
    other, _ = play(Nudged(policy, pushed, cell), bank, draws, KEY)
    assert (other.action != usual.action).any()
    memory = nothing(policy.model, obs[0, 0])
    for t in range(3):  # what is traced is what is thought, tick by tick
        found, memory = think(policy.model, memory, obs[t, 0])
        np.testing.assert_allclose(activations[t], found, rtol=1e-4, atol=1e-5)
        logits, again = decide(policy.model, memory, obs[t, 0], found)
        assert logits.shape == (5,)
        jax.tree.map(np.testing.assert_array_equal, again, memory)


def test_places_are_counted_around_the_robot():
    robot = jnp.zeros((9, 11), bool).at[4, 5].set(True)
    side = 2 * REACH + 1
    assert window_place(robot, jnp.array([4, 5])) == (REACH * side + REACH, True)
    assert window_place(robot, jnp.array([3, 7])) == ((REACH - 1) * side + REACH + 2, True)
    assert not window_place(robot, jnp.array([4, 10]))[1]
