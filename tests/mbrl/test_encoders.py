"""Features of observations: exact where observations are whole numbers, monotonous where they are not."""

import envs  # noqa: F401  isort: skip  (before JAX starts)

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces

from mbrl.encoders import Encoded, Encoder, FloorEncoder


def test_whole_numbers_are_one_of_many():
    np.testing.assert_array_equal(Encoder.of(spaces.Discrete(5))(jnp.int32(3)), [0, 0, 0, 1, 0])
    encoder = Encoder.of(spaces.Box(-1, 2, (2,)))
    np.testing.assert_array_equal(encoder(jnp.array([-1.0, 2.0])), [1, 0, 0, 0, 0, 0, 0, 1])
    np.testing.assert_allclose(encoder(jnp.array([0.25, 0.0]))[:4], [0, 0.75, 0.25, 0])
    assert encoder.size(jnp.zeros(2)) == 8


def test_zero_and_one_stay():
    board = jnp.eye(3)
    np.testing.assert_array_equal(Encoder.of(spaces.Box(0, 1, (3, 3)))(board), board.reshape(-1))


def test_large_numbers_are_compressed():
    encoder, numbers = Encoder.of(spaces.Box(-1e9, 1e9, (4,))), jnp.array([-1e6, 0.0, 0.5, 100.0])
    np.testing.assert_allclose(encoder(numbers), np.sign(numbers) * np.log1p(np.abs(numbers)), rtol=1e-6)


def test_other_spaces_are_refused():
    with pytest.raises(ValueError, match="space: expected Discrete or Box, got Dict"):
        Encoder.of(spaces.Dict({"a": spaces.Discrete(2)}))


def test_an_encoded_environment_is_the_environment_but_for_what_is_seen():
    env, params = gymnax.make("Catch-bsuite")
    shown, keys = Encoded(env, params), jax.random.split(jax.random.key(0), 12)
    (obs, state), (features, same) = env.reset(keys[0], params), shown.reset(keys[0], params)
    for key in keys[1:]:
        np.testing.assert_array_equal(features, obs.reshape(-1))
        obs, state, *rest, info = env.step(key, state, 1, params)
        features, same, *others, also = shown.step(key, same, 1, params)
        assert rest == others
        np.testing.assert_array_equal(also["final_observation"], info["final_observation"].reshape(-1))
    assert shown.num_actions == 3


def test_features_of_a_floor_tell_all_that_is_seen_and_not_how_it_is_filled_up():
    rng = np.random.default_rng(0)
    obs = np.stack([rng.integers(0, most, (20, 5, 8)) for most in (18, 5, 13)] + [np.ones((20, 5, 8))], axis=-1)
    obs = obs.astype(np.uint8)
    obs[10:, :, :, 3] = 0
    encode = FloorEncoder((6, 9))
    features = np.asarray(encode(obs))
    assert features.shape == (20, 6 * 9 * 36 + 1) and set(np.unique(features)) == {0, 1}
    assert (features[:, :-1].sum(1) == 3 * 6 * 9).all() and features[:, -1].tolist() == [1] * 10 + [0] * 10
    terrain = features[:, : 6 * 9 * 18].reshape(20, 6, 9, 18).argmax(-1)
    np.testing.assert_array_equal(terrain[:, :5, :8], obs[..., 0])
    walled = np.pad(obs, ((0, 0), (0, 1), (0, 1), (0, 0)))
    walled[:, 5:, :, 0] = walled[:, :, 8:, 0] = 1
    walled[..., 3] = obs[:, :1, :1, 3]
    np.testing.assert_array_equal(encode(walled), features)
    np.testing.assert_array_equal(encode(obs[3]), features[3])
    with pytest.raises(ValueError, match=r"frame: expected floors of at most \(4, 9\), got \(5, 8\)"):
        FloorEncoder((4, 9))(obs)
