"""The model of values: nothing counts beyond an end, and it learns what steps bring and what states are worth."""

import envs  # noqa: F401  isort: skip  (before JAX starts)

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mbrl.controllers import LatentConfig
from mbrl.models.latent import LatentModel, model_loss

CONFIG = LatentConfig(hidden_size=32, state_size=16)
KEY = jax.random.key(0)
STEPS = 4


def corridor(n: int, key: jax.Array) -> tuple:
    """Return stretches in a corridor of four cells: action 1 goes on, 0 stays; the step off its end is rewarded, and
    the last. Values are those of always going on, γ = 0.5."""
    start_key, act_key = jax.random.split(key)
    place = jax.random.randint(start_key, (n,), 0, 4)
    action = jax.random.randint(act_key, (STEPS, n), 0, 2)
    before = place + jnp.concatenate([jnp.zeros((1, n), jnp.int32), jnp.cumsum(action, 0)[:-1]])
    off = (before == 3) & (action == 1)
    policy = jnp.broadcast_to(jnp.array([0.0, 1.0]), (STEPS, n, 2))
    return jax.nn.one_hot(place, 4), action, off.astype(float), off, off, policy, 0.5 ** (3.0 - before)


@pytest.fixture(scope="module")
def model() -> LatentModel:
    """One that says something: at first it knows of no reward and prefers nothing."""
    blank = LatentModel(4, 2, CONFIG, key=KEY)
    leaves, structure = jax.tree.flatten(blank)
    rng = np.random.default_rng(0)
    shaken = [leaf + 0.1 * rng.standard_normal(leaf.shape, np.float32) for leaf in leaves]
    return jax.tree.unflatten(structure, shaken)


def test_nothing_counts_beyond_an_end(model):
    features, action, reward, terminated, over, policy, value = corridor(50, KEY)
    beyond = jnp.concatenate([jnp.zeros((1, 50), bool), jnp.cumsum(over, 0)[:-1] > 0])
    assert beyond.any() and not beyond.all()
    loss = jax.jit(model_loss)
    told = loss(model, features, action, reward, terminated, over, policy, value)
    changed = (
        jnp.where(beyond, 1 - action, action),
        jnp.where(beyond, 7.0, reward),
        terminated | beyond,
        over | beyond,
    )
    flipped = jnp.where(beyond[..., None], policy[..., ::-1], policy)
    assert loss(model, features, *changed, flipped, jnp.where(beyond, 9.0, value)) == told
    assert loss(model, features, *changed, flipped, value + 1) != told


def test_states_are_numbers_from_zero_to_one(model):
    state = model.read(jnp.eye(4) * 50)
    after = model.step(state, jnp.zeros(4, jnp.int32))
    for found in (state, after):
        np.testing.assert_allclose([found.min(-1), found.max(-1)], [[0] * 4, [1] * 4], atol=1e-4)


@pytest.mark.slow
def test_it_learns_what_steps_bring_and_what_states_are_worth(model):
    optimiser = optax.adam(3e-3)

    @jax.jit
    def fit(model, key):
        def step(at, key):
            model, memory = at
            grads = jax.grad(lambda m: model_loss(m, *corridor(64, key)))(model)
            updates, memory = optimiser.update(grads, memory)
            return (optax.apply_updates(model, updates), memory), None

        return jax.lax.scan(step, (model, optimiser.init(model)), jax.random.split(key, 500))[0][0]

    found = fit(model, jax.random.key(1))
    state = found.read(jnp.eye(4)[:1])  # three steps before the end
    for worth, brings in ((1 / 8, 0), (1 / 4, 0), (1 / 2, 0), (1, 1)):
        prior, value = found.judge(state)
        assert float(value.mean()[0]) == pytest.approx(worth, abs=0.08) and prior[0, 1] > prior[0, 0] + 2
        stays = found.step(state, jnp.array([0]))
        assert float(found.brings(stays)[0].mean()[0]) == pytest.approx(0, abs=0.08)
        state = found.step(state, jnp.array([1]))
        reward, goes_on = found.brings(state)
        assert float(reward.mean()[0]) == pytest.approx(brings, abs=0.08) and (goes_on[0] > 0) == (brings == 0)
