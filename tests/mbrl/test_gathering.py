"""Experience as it is gathered: rows in order, episodes apart, stretches that are drawn unbroken."""

import envs  # noqa: F401  isort: skip  (before JAX starts)

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl import gathering
from mbrl.encoders import Encoded


def gather(rewarded=None):
    """Forty steps in three games of Catch, always to the left, and how often each agent had acted."""
    env, params = gymnax.make("Catch-bsuite")
    encoded = Encoded(env, params)
    acting = gathering.begin(encoded, params, 3, jnp.zeros(3, jnp.int32), jax.random.key(0))
    choose = lambda memory, obs, first, key: (jnp.zeros(3, jnp.int32), jnp.where(first, 0, memory) + 1)  # noqa: E731
    return gathering.act(choose, encoded, params, acting, 40, jax.random.key(1), rewarded)


@pytest.fixture(scope="module")
def gathered():
    """What is gathered there."""
    return gather()


def test_episodes_are_apart(gathered):
    acting, rows, ended, seen = gathered
    over = np.asarray(rows.terminated | rows.truncated)
    assert rows.obs.shape == (40, 3, 50) and over.sum() == ended.episodes == 12  # nine steps each
    assert np.asarray(rows.first)[0].all() and (np.asarray(rows.first)[1:] == over[:-1]).all()
    assert acting.memory.tolist() == [4, 4, 4], "what is remembered is of the episode"
    assert float(ended.return_sum) == np.asarray(rows.reward).sum()
    assert (np.asarray(acting.episode_return) == 0).all() and not np.asarray(acting.first).any()
    ball_on_top = np.asarray(rows.obs).reshape(40, 3, 10, 5)[:, :, 0].sum(-1) > 0
    assert (ball_on_top == np.asarray(rows.first)).all(), "what is seen is of the episode, too"
    np.testing.assert_array_equal(np.asarray(seen.next_obs)[:-1][~over[:-1]], np.asarray(rows.obs)[1:][~over[:-1]])
    assert (np.asarray(seen.next_obs)[over].reshape(-1, 10, 5)[:, 0].sum(-1) == 0).all(), "it ended at the bottom"


def test_another_reward_takes_the_place_of_the_environments(gathered):
    _, rows, ended, seen = gather(lambda state, reward, info: 10 * reward + state.ball_y)
    np.testing.assert_allclose(rows.reward, 10 * gathered[1].reward + np.arange(40)[:, None] % 9)
    assert float(ended.return_sum) == pytest.approx(np.asarray(rows.reward)[:36].sum())
    np.testing.assert_array_equal(seen.reward, gathered[3].reward)


def test_stretches_are_unbroken_and_what_is_old_is_forgotten(gathered):
    rows = gathered[1]
    clock = jnp.broadcast_to(jnp.arange(40)[:, None] * 10 + jnp.arange(3), (40, 3))
    rows = rows._replace(obs=clock[..., None].astype(jnp.float32))
    replay = gathering.make_replay(num_envs=3, batch_size=400, length=5, capacity=3 * 16)
    memories = replay.init(rows)
    for start in range(0, 40, 8):
        memories = replay.add(memories, jax.tree.map(lambda leaf, s=start: leaf[s : s + 8], rows))
    drawn = replay.sample(memories, jax.random.key(0))
    time, place = np.divmod(np.asarray(drawn.obs[..., 0]), 10)
    assert time.shape == (5, 400) and (np.diff(time, axis=0) == 1).all() and (place == place[0]).all()
    assert set(time[0]) == set(range(24, 36)) and set(place[0]) == {0, 1, 2}, "the last sixteen steps, everywhere"
    expected = np.asarray(rows.first)[time.astype(int), place.astype(int)]
    np.testing.assert_array_equal(drawn.first, expected)


def test_the_mean_return_of_no_episode_is_unknown():
    ended = gathering.Ended(np.array([[3.0, 1.0], [0.0, 0.0]]), np.array([[1, 1], [0, 0]]))
    columns = gathering.columns_of(ended)
    assert columns["return"][0] == 2 and np.isnan(columns["return"][1]) and columns["episodes"].tolist() == [2, 0]
