"""The model that remembers: what an episode's beginning wipes out, what it learns, its divergence against NumPy."""

import envs  # noqa: F401  isort: skip  (before JAX starts)

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mbrl.controllers import RecurrentConfig
from mbrl.gathering import Row
from mbrl.models.recurrent import RecurrentModel, divergence, mixed, model_loss

CONFIG = RecurrentConfig(hidden_size=32, memory_size=24, num_latents=3, num_classes=4)
KEY = jax.random.key(0)


def recall(num_episodes: int, length: int, key: jax.Array) -> Row:
    """Return episodes with a bit that is seen at first alone: it says if action 1 is rewarded at the end, or costs."""
    bit_key, act_key = jax.random.split(key)
    bit = jax.random.bernoulli(bit_key, shape=(num_episodes,))
    action = jax.random.randint(act_key, (length, num_episodes), 0, 2)
    time = jnp.arange(length)[:, None]
    seen = jnp.where(time == 0, 2.0 * bit - 1, 0.0)
    features = jnp.stack([seen, jnp.broadcast_to(time == length - 1, seen.shape).astype(float)], -1)
    last = jnp.broadcast_to(time == length - 1, seen.shape)
    reward = jnp.where(last, action * (2.0 * bit - 1), 0.0)
    return Row(features, jnp.broadcast_to(time == 0, seen.shape), action, reward, last, jnp.zeros_like(last))


@pytest.fixture(scope="module")
def model() -> RecurrentModel:
    return RecurrentModel(2, 2, CONFIG, key=KEY)


def test_an_episode_knows_nothing_of_the_one_before(model):
    rows = jax.tree.map(lambda *parts: jnp.concatenate(parts), recall(5, 4, KEY), recall(5, 4, jax.random.key(1)))
    other = jax.tree.map(lambda leaf, new: leaf.at[:4].set(new), rows, recall(5, 4, jax.random.key(2)))
    (one, _), (two, _) = (model.observe(each, KEY) for each in (rows, other))
    assert (np.asarray(one.memory[4]) == 0).all()
    np.testing.assert_array_equal(one.state[4:], two.state[4:])
    assert (np.asarray(one.state[1:4]) != np.asarray(two.state[1:4])).any()


def test_what_is_imagined_goes_on_from_what_was_seen(model):
    moments, _ = model.observe(recall(5, 4, KEY), KEY)
    start = jax.tree.map(lambda leaf: leaf[-1], moments)
    found, actions = model.imagine(start, lambda state, key: jnp.ones(5, jnp.int32), 6, KEY)
    assert found.state.shape == (7, 5, model.state_size) and actions.shape == (6, 5)
    np.testing.assert_array_equal(found.state[0], start.state)
    np.testing.assert_array_equal(found.memory[1:], found.after[:-1])
    np.testing.assert_allclose(found.after[0], model.step(start.memory, start.latent, actions[0]), rtol=1e-5)
    assert (np.asarray(found.latent).reshape(7, 5, 3, 4).sum(-1) == 1).all(), "one of its classes each"


def test_divergence_is_that_of_the_definition(model):
    p, q = (mixed(jax.random.normal(jax.random.key(i), (6, 3, 4))) for i in range(2))
    chance = np.exp(np.asarray(p, np.float64))
    np.testing.assert_allclose(chance.sum(-1), 1, rtol=1e-5)
    assert chance.min() >= 0.01 / 4
    np.testing.assert_allclose(divergence(p, q), (chance * (np.asarray(p) - np.asarray(q))).sum((-1, -2)), rtol=1e-4)
    np.testing.assert_array_equal(divergence(p, p), 0)


def test_gradients_pass_through_what_is_drawn_as_through_its_chances(model):
    logits, weight = mixed(jax.random.normal(KEY, (3, 4))), jnp.arange(12.0)
    drawn = jax.grad(lambda x: model.draw(x, KEY) @ weight)(logits)
    np.testing.assert_allclose(drawn, jax.grad(lambda x: jnp.exp(x).reshape(-1) @ weight)(logits), rtol=1e-6)


def test_free_nats_cost_no_more_than_they_are(model):
    rows = recall(5, 4, KEY)
    bound = replace(CONFIG, free_nats=50.0)
    alone = replace(bound, prior_coefficient=0.0, posterior_coefficient=0.0)
    loss = jax.jit(lambda model, config: model_loss(model, rows, config, KEY)[0], static_argnums=1)
    with_bound, gradients = jax.jit(jax.value_and_grad(loss), static_argnums=1)(model, bound)
    assert float(with_bound - loss(model, alone)) == pytest.approx(50 * 1.1, rel=1e-5)
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(gradients.prior))


@pytest.mark.slow
def test_it_learns_to_remember():
    """What comes of the last action rests on what was seen four steps before."""
    optimiser = optax.adam(3e-3)

    @jax.jit
    def fit(model, key):
        def step(at, key):
            model, memory = at
            data_key, loss_key = jax.random.split(key)
            grads = jax.grad(lambda m: model_loss(m, recall(32, 5, data_key), CONFIG, loss_key)[0])(model)
            updates, memory = optimiser.update(grads, memory)
            return (optax.apply_updates(model, updates), memory), None

        return jax.lax.scan(step, (model, optimiser.init(model)), jax.random.split(key, 1500))[0][0]

    model = fit(RecurrentModel(2, 2, CONFIG, key=KEY), jax.random.key(5))
    rows = recall(200, 5, jax.random.key(9))
    moments, _ = model.observe(rows, KEY)
    reward, goes_on = model.brings(moments.after)
    wrong = np.abs(reward.mean() - rows.reward)  # a latent in a hundred is drawn at random
    assert wrong[:4].max() < 0.05 and wrong[4].mean() < 0.1
    assert ((np.asarray(goes_on) < 0) == np.asarray(rows.terminated)).all()
    start = jax.tree.map(lambda leaf: leaf[0], moments)
    found, done = model.imagine(start, lambda state, key: jax.random.randint(key, (200,), 0, 2), 5, KEY)
    imagined, bit = model.brings(found.after[4])[0].mean(), rows.obs[0, :, 0] > 0
    assert np.abs(imagined - done[4] * jnp.where(bit, 1.0, -1.0)).mean() < 0.15
