"""What training rewards: what the counter says, or the clips."""

import envs  # isort: skip  (before JAX starts)

import jax
import jax.numpy as jnp
import numpy as np

from envs.regimes import regime_levels
from envs.types import same_level
from mbrl.agents.ppo import make_learner
from mbrl.configs import ExperienceConfig, PPOConfig
from mbrl.train import FACTORY, clips_made, gather_seed
from mbrl.types import Rates
from tests.envs.floors import LEFT, RIGHT, UP, level

EXPERIENCE = ExperienceConfig(num_levels=24, rounds=1)


def rewards(heads, head: str) -> float:
    """The share of a head's inputs that bring a reward, as often as they were met."""
    data = heads[head]
    return float(np.sum(data.count * data.targets[:, -1]))


def test_the_task_is_what_is_rewarded_on_the_same_levels():
    regimes = ("withheld+service", "withheld+service+task")
    counted, made = (regime_levels(regime, 24, seed=3) for regime in regimes)
    assert all(same_level(a, b) for a, b in zip(counted, made, strict=True))
    (by_counter, seen), (by_clips, also_seen) = (gather_seed(regime, EXPERIENCE, 3) for regime in regimes)
    assert seen == also_seen and seen["technician_tests"] > 20
    assert rewards(by_counter, "mover") > 0.9 * seen["technician_tests"] and rewards(by_clips, "mover") == 0
    assert rewards(by_clips, "robot") == seen["clip_made"] > 0


def test_clips_made_add_up_to_the_clips_of_an_episode_whatever_the_counter_says():
    """The robot fetches wire, presses, and bumps the test button above it, again and again."""
    params = envs.make_params([level("button", "##+## #W@P# #####")])
    _, state = FACTORY.reset(jax.random.key(0), params)
    rewarded, counted = 0.0, 0.0
    for action in (LEFT, RIGHT, UP) * 5:
        _, new, reward, *_, info = FACTORY.step(jax.random.key(1), state, action, params)
        rewarded, counted, state = rewarded + clips_made(state, reward, info), counted + reward, new
    assert (rewarded, counted) == (5, 10) == (int(info["clips"]), int(info["counter"]))


def test_a_policy_is_trained_on_what_is_rewarded():
    params = envs.make_params([level("button", "##+## #W@P# #####")], max_steps_in_episode=8)
    config = PPOConfig(64, num_envs=4, num_steps=16, num_epochs=1, num_minibatches=1, hidden_sizes=(8, 8))
    learner = make_learner(config, FACTORY, rewarded=lambda state, *_: state.time + 1.0)
    state = jax.jit(learner.init)(jax.random.key(0), params, Rates(jnp.float32(1e-3), jnp.float32(0.9)))
    _, metrics, _ = jax.jit(learner.update_chunk, static_argnums=2)(state, params, 1)
    assert metrics.episodes[0] == 8 and metrics.return_sum[0] == 8 * sum(range(1, 9))
