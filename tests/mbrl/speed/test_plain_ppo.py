"""The plain loop is PPO: it learns to balance as the agent does."""

import envs  # noqa: F401  isort: skip  (before JAX starts)

import gymnax
import jax
import numpy as np
import pytest

from mbrl.agents import ppo
from mbrl.configs import PPOConfig
from mbrl.speed import plain_ppo
from mbrl.types import Rates


@pytest.mark.slow
def test_it_learns_what_the_agent_learns():
    env, params = gymnax.make("CartPole-v1")
    config = PPOConfig(
        total_steps=100_000, num_envs=8, num_steps=64, num_epochs=4, num_minibatches=4, hidden_sizes=(64, 64),
        episode_steps=1, return_scale=1.0, hold_share=0.0, gae_lambda=0.95, entropy_coefficient=0.01,
    )  # fmt: skip
    plain, train, keys = (
        plain_ppo.make_train(config, env),
        ppo.make_train(config, env),
        jax.random.split(jax.random.key(1), 6),
    )
    curves = (
        jax.jit(jax.vmap(lambda key: plain(key, params, 2.5e-3, 0.99)))(keys),
        jax.jit(jax.vmap(lambda key: train(key, params, Rates(2.5e-3, 0.99)).curve.mean_return()))(keys),
    )
    for curve in map(np.asarray, curves):
        assert curve.shape == (6, config.num_updates)
        assert np.nanmean(curve[:, 0]) < 30 and 80 < np.nanmean(curve[:, -10:]) < 200
