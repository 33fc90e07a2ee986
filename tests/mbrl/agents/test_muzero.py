"""Search in a model of values: it finds what pays later, learns in parts as in one go, and solves Catch."""

import envs  # noqa: F401  isort: skip  (before JAX starts)

from typing import NamedTuple

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl.agents.muzero import make_learner, search
from mbrl.control import control
from mbrl.controllers import LatentConfig, default_controller
from mbrl.encoders import Encoded
from mbrl.training import Workplace
from mbrl.trials import Control
from mbrl.types import Rates


class Sure(NamedTuple):
    """A number that is known."""

    value: jax.Array

    def mean(self):
        return self.value


class Known:
    """A model of a choice between 0.2 now, which ends it, and a room in which action 0 earns 1; it judges nothing.

    States are codes: 0 at first, 10 + action after that, 20 + action after another step.
    """

    num_actions = 2

    def read(self, features):
        return features

    def step(self, state, action):
        return 10 * (state // 10 + 1) + action[:, None]

    def brings(self, after):
        code = after[:, 0]
        return Sure(jnp.where(code == 10, 0.2, jnp.where(code == 20, 1.0, 0.0))), jnp.where(code == 11, 50.0, -50.0)

    def judge(self, state):
        return jnp.zeros((len(state), 2)), Sure(jnp.zeros(len(state)))


def test_search_finds_what_pays_later_if_it_counts():
    look = jax.jit(lambda gamma: search(Known(), jnp.zeros((5, 1)), gamma, 32, jax.random.key(0), gumbel_scale=0.0))
    for gamma, best in ((0.9, 1), (0.1, 0)):
        found = look(jnp.float32(gamma))
        assert found.action.tolist() == [best] * 5
        assert (np.asarray(found.policy)[:, best] > 0.9).all()
        assert found.policy.sum(1) == pytest.approx(np.ones(5))
        assert (np.asarray(found.value) > 0.5 * max(gamma, 0.2)).all() and (np.asarray(found.value) <= 1).all()


@pytest.mark.slow
def test_training_in_parts_is_training_in_one_go():
    env, params = gymnax.make("Catch-bsuite")
    config = LatentConfig(
        num_envs=3, num_steps=2, batch_size=4, length=6, unroll=3, capacity=300, hidden_size=16, state_size=8
    )
    learner = make_learner(config, 4, Encoded(env, params))
    rates = Rates(jnp.float32(1e-3), jnp.float32(0.99))
    state = jax.jit(learner.init)(jax.random.key(0), params, rates)
    chunk = jax.jit(lambda state, count: learner.update_chunk(state, params, count)[:2], static_argnums=1)
    once, (_, loss, _) = chunk(state, 4)
    twice, _ = chunk(chunk(state, 2)[0], 2)
    for one, other in zip(jax.tree.leaves(once.train.model), jax.tree.leaves(twice.train.model), strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.isfinite(np.asarray(loss)).all() and once.train.step == 4 * config.num_gradient_steps


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("env", "least"), [("Catch-bsuite", 0.98), ("CartPole-v1", 475)])
def test_it_solves(env, least, tmp_path):
    learner, planner = default_controller("latent+mcts")
    trial = Control(64, False, env, "latent+mcts", (0, 1), 1e-3, 0.99, learner, planner)
    seeds = control(trial, Workplace(tmp_path))["seeds"]
    assert np.mean([seed["returns"] for seed in seeds]) >= least, seeds
