"""PPO on problems that this project did not write: CartPole and FourRooms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments.classic_control.cartpole import CartPole
from gymnax.environments.misc.rooms import FourRooms

from mbrl.agents.ppo import make_train
from mbrl.configs import PPOConfig
from mbrl.keys import purpose_key
from mbrl.types import Rates


def _play_out(policy, env, params, key, num_episodes=64):
    """Return the mean return of the first episodes of `num_episodes` environments."""

    def episode(key):
        reset_key, begin_key, run_key = jax.random.split(key, 3)
        obs, state = env.reset(reset_key, params)

        def tick(carry, keys):
            obs, state, memory, alive = carry
            action, memory = policy.act(memory, obs, keys[0])
            obs, state, reward, terminated, truncated, _ = env.step(keys[1], state, action, params)
            return (obs, state, memory, alive & ~(terminated | truncated)), reward * alive

        keys = jax.random.split(run_key, (params.max_steps_in_episode, 2))
        start = (obs, state, policy.begin(obs, begin_key), jnp.bool_(True))
        return jnp.sum(jax.lax.scan(tick, start, keys)[1])

    return jnp.mean(jax.vmap(episode)(jax.random.split(key, num_episodes)))


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
    evaluate = jax.jit(jax.vmap(lambda policy, key: _play_out(policy, env, params, key)))
    returns = evaluate(result.policy, jax.random.split(jax.random.key(1), num_seeds))
    assert np.min(returns) >= 475.0, returns


class Rooms(FourRooms):
    """FourRooms, its cell shown as one of all cells."""

    def get_obs(self, state, params=None, key=None):
        return (self.coords == state.pos).all(1).astype(jnp.float32)


@pytest.mark.slow
def test_four_rooms_is_solved_within_two_percent():
    """What the sampling policy earns, exactly, is held against the optimum: both are linear algebra over 104 cells.

    A slip replaces the action by one of the four, drawn uniformly; the reward 1 comes with the step onto the goal.
    """
    env, gamma = Rooms(), 0.99
    params = env.default_params
    cells = [tuple(cell) for cell in np.asarray(env.coords).tolist()]
    goal, start = (cells.index(tuple(at.tolist())) for at in (env.goal_fixed, env.pos_fixed))
    step = np.zeros((len(cells), 4, len(cells)))
    for i, cell in enumerate(cells):
        for action, (down, right) in enumerate(np.asarray(env.directions).tolist()):
            to = (cell[0] + down, cell[1] + right)
            step[i, action, cells.index(to) if to in cells else i] = 1
    slip = params.fail_prob * 4 / 3
    moves = (1 - slip) * step + slip * step.mean(1, keepdims=True)
    moves[goal] = 0  # The episode is over.
    gain = moves[..., goal]

    best = np.zeros(len(cells))
    for _ in range(5000):
        best = np.max(gain + gamma * moves @ best, axis=1)
    assert abs(best[start] - 0.7745) < 1e-3

    result = _train(env, 8, total_steps=400_000, num_envs=32, entropy_coefficient=0.001, return_scale=1.0)
    everywhere = jnp.eye(len(cells))
    choose = jax.vmap(lambda policy: jax.nn.softmax(jax.vmap(policy.model)(everywhere)[0].logits))
    earned = []
    for policy in np.asarray(choose(result.policy), np.float64):
        chain, reward = np.einsum("sa,sat->st", policy, moves), np.sum(policy * gain, axis=1)
        earned.append(np.linalg.solve(np.eye(len(cells)) - gamma * chain, reward)[start])
    print(f"V* {best[start]:.4f}, PPO {np.mean(earned):.4f}, by seed {np.round(earned, 4)}")
    assert np.mean(earned) >= 0.98 * best[start], earned
