"""PPO on problems that this project did not write: CartPole and FourRooms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments.classic_control.cartpole import CartPole
from gymnax.environments.misc.rooms import FourRooms

from mbrl.agents.ppo import make_train
from mbrl.configs import PPOConfig
from mbrl.control import play
from mbrl.keys import purpose_key
from mbrl.types import Rates
from tests.mbrl.four_rooms import four_rooms


def _train(env, num_seeds, **changes):
    """Train seeds side by side at γ = 0.99 with the settings that are usual for control from few numbers."""
    usual = dict(num_steps=128, num_epochs=4, num_minibatches=8, hold_share=0.0, gae_lambda=0.95, hidden_sizes=(64, 64))
    train = make_train(PPOConfig(**{**usual, **changes}), env)
    keys = jax.vmap(lambda seed: purpose_key(seed, "test"))(jnp.arange(num_seeds))
    rates = Rates(jnp.float32(2.5e-3), jnp.float32(0.99))
    return jax.jit(jax.vmap(train, in_axes=(0, None, None)))(keys, env.default_params, rates)


@pytest.mark.slow
def test_cartpole_is_solved():
    """Within a million steps each of 8 seeds balances for 475 steps or more, its actions sampled, not greedy."""
    env, num_seeds, params = CartPole(), 8, CartPole().default_params
    result = _train(
        env, num_seeds, total_steps=2**20, num_envs=16, num_minibatches=4, entropy_coefficient=0.0, return_scale=100.0
    )
    evaluate = jax.vmap(lambda policy, key: play(policy, env, params, 64, key).returns.mean())
    returns = evaluate(result.policy, jax.random.split(jax.random.key(1), num_seeds))
    assert np.min(returns) >= 475.0, returns


class Rooms(FourRooms):
    """FourRooms, its cell shown as one of all cells."""

    def get_obs(self, state, params=None, key=None):
        return (self.coords == state.pos).all(1).astype(jnp.float32)


@pytest.mark.slow
def test_four_rooms_is_solved_within_two_percent():
    """What the sampling policy earns, exactly, is held against the optimum: both are linear algebra over 104 cells."""
    env, gamma = Rooms(), 0.99
    params = env.default_params
    moves, gain, start = four_rooms(env, params)
    best = np.zeros(len(moves))
    for _ in range(5000):
        best = np.max(gain + gamma * moves @ best, axis=1)
    assert abs(best[start] - 0.7745) < 1e-3

    result = _train(env, 8, total_steps=400_000, num_envs=32, entropy_coefficient=0.001, return_scale=1.0)
    everywhere = jnp.eye(len(moves))
    choose = jax.vmap(lambda policy: jax.nn.softmax(jax.vmap(policy.model)(everywhere)[0].logits))
    earned = []
    for policy in np.asarray(choose(result.policy), np.float64):
        chain, reward = np.einsum("sa,sat->st", policy, moves), np.sum(policy * gain, axis=1)
        earned.append(np.linalg.solve(np.eye(len(moves)) - gamma * chain, reward)[start])
    print(f"V* {best[start]:.4f}, PPO {np.mean(earned):.4f}, by seed {np.round(earned, 4)}")
    assert np.mean(earned) >= 0.98 * best[start], earned
