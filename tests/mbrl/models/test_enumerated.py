"""Environments that this project did not write, enumerated: FourRooms against linear algebra, keys against equality."""

import gymnax
import jax
import numpy as np
import pytest

import envs  # noqa: F401  (before JAX starts)
from envs.keys import whole_keys
from envs.values import evaluate_policy, solve_graph
from mbrl.models.enumerated import array_key, array_keys, base_policy, enumerate_environment
from tests.mbrl.four_rooms import four_rooms

GAMMA = 0.99


def test_what_is_certain_is_exact():
    env, params = gymnax.make("Catch-bsuite")
    process, obs = enumerate_environment(env, params, num_draws=64)
    assert (process.transition.data == 1).all() and len(obs) == len(np.unique(obs, axis=0)) == process.reward.shape[0]
    values = solve_graph(process, GAMMA, tolerance=1e-8)
    np.testing.assert_allclose(values[process.start].max(1), GAMMA**8)  # every ball can be caught, at the ninth step
    never = evaluate_policy(process, np.zeros(len(obs), int), GAMMA)  # always to the left: one ball in five falls there
    assert set(np.round(never[process.start] / GAMMA**8, 6)) == {-1.0, 1.0}


def test_chance_is_met_by_drawing():
    env, params = gymnax.make("FourRooms-misc")
    process, obs = enumerate_environment(env, params, num_draws=2048)
    moves, gain, start = four_rooms(env, params)
    best = np.zeros(len(moves))
    for _ in range(3000):
        best = np.max(gain + GAMMA * moves @ best, axis=1)
    assert len(obs) == len(moves), "every cell but the goal, and the end"
    found = solve_graph(process, GAMMA)[process.start].max(1)
    np.testing.assert_allclose(found, best[start], rtol=0.01)
    usual = evaluate_policy(process, base_policy(process, GAMMA), GAMMA)
    assert 0.9 * found[0] < usual[process.start[0]] <= found[0]


def test_no_more_states_than_the_budget():
    env, params = gymnax.make("FourRooms-misc")
    with pytest.raises(ValueError, match="more than 50 states"):
        enumerate_environment(env, params, num_draws=16, max_states=50)


@pytest.mark.parametrize("dtype", [np.float32, np.int32, bool])
def test_equal_arrays_alone_share_a_key(dtype):
    rng = np.random.default_rng(0)
    numbers = np.unique(rng.integers(0, 2, (3000, 4, 3)), axis=0).astype(dtype)
    keys = array_keys(numbers)
    assert len(np.unique(keys)) == len(numbers)
    again = whole_keys(np.asarray(jax.vmap(array_key)(numbers)))
    np.testing.assert_array_equal(keys, again)
    swapped = numbers.reshape(len(numbers), -1)[:, ::-1].reshape(numbers.shape)
    assert ((array_keys(swapped) == keys) == (swapped == numbers).all((1, 2))).all(), "places count"


def test_zero_has_one_key():
    assert (array_key(np.float32([0.0])) == array_key(np.float32([-0.0]))).all()
