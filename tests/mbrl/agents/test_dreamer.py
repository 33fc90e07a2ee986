"""The dreamer: it learns in parts as in one go, and solves what it has to remember for."""

import envs  # noqa: F401  isort: skip  (before JAX starts)

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl.agents.dreamer import make_learner
from mbrl.control import control
from mbrl.controllers import DreamerConfig, RecurrentConfig, default_controller
from mbrl.encoders import Encoded
from mbrl.training import Workplace
from mbrl.trials import Control
from mbrl.types import Rates


@pytest.mark.slow
def test_training_in_parts_is_training_in_one_go():
    env, params = gymnax.make("Catch-bsuite")
    config = DreamerConfig(
        num_envs=3, num_steps=2, batch_size=4, length=6, capacity=300, horizon=4,
        model=RecurrentConfig(hidden_size=16, memory_size=16, num_latents=2, num_classes=4),
    )  # fmt: skip
    learner = make_learner(config, Encoded(env, params))
    rates = Rates(jnp.float32(1e-3), jnp.float32(0.99))
    state = jax.jit(learner.init)(jax.random.key(0), params, rates)
    chunk = jax.jit(lambda state, count: learner.update_chunk(state, params, count)[:2], static_argnums=1)
    once, metrics = chunk(state, 4)
    twice, _ = chunk(chunk(state, 2)[0], 2)
    for one, other in zip(jax.tree.leaves(once.train.model), jax.tree.leaves(twice.train.model), strict=True):
        np.testing.assert_array_equal(one, other)
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in metrics)
    assert metrics.entropy[0] == pytest.approx(np.log(3), rel=1e-3), "at first it acts at random"


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("env", "least"), [("Catch-bsuite", 0.98), ("MemoryChain-bsuite", 0.98), ("CartPole-v1", 475)])
def test_it_solves(env, least, tmp_path):
    learner, planner = default_controller("dreamer")
    trial = Control(64, False, env, "dreamer", (0, 1), 1e-3, 0.99, learner, planner)
    seeds = control(trial, Workplace(tmp_path))["seeds"]
    assert np.mean([seed["returns"] for seed in seeds]) >= least, seeds
