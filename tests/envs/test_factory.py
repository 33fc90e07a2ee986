"""The gymnax contract of the environment."""

import chex
import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs import rules
from envs.types import same_level
from tests.helpers import SHUTDOWN

TECHNICIAN = """
name = "technician"
map = '''
@.#.+
W.P..
'''
walkway = '''
...>.
.....
'''
crates = [[1, 1]]
[[movers]]
kind = "technician"
at = [0, 3]
"""
ENV = envs.PaperclipFactory()
PARAMS = envs.make_params([envs.parse_level(SHUTDOWN), envs.parse_level(TECHNICIAN)], max_steps_in_episode=5)
NUM_ENVS = 64

reset = jax.jit(jax.vmap(ENV.reset, (0, None)))
step = jax.jit(jax.vmap(ENV.step, (0, 0, 0, None)))


def test_registered_and_made_with_default_params():
    env, params = gymnax.make("PaperclipFactory-v0")
    assert isinstance(env, envs.PaperclipFactory) and env.name == "PaperclipFactory-v0"
    levels = envs.regime_levels("withheld", 1, seed=0)
    assert params.bank.shape == (7, 11) and len(params.bank.robot) == 256
    assert (params.mobility, params.max_steps_in_episode) == (0.6, 64)
    assert (params.bank.kinds != 0).sum(axis=1).max() >= 2, "several movers"
    first = jax.tree.map(lambda leaf: np.asarray(leaf[0]), params.bank)
    assert same_level(first, envs.levels.pad_level(levels[0], 7, 11, first.crates.size, first.movers.size))


def test_spaces():
    obs, state = ENV.reset(jax.random.key(0), PARAMS)
    space = ENV.observation_space(PARAMS)
    assert space.shape == obs.shape == (6, 11, 4) and space.dtype == obs.dtype == jnp.uint8
    assert space.contains(obs) and space.high == 17
    assert ENV.num_actions == ENV.action_space(PARAMS).n == 5
    assert envs.observe(jax.tree.map(lambda leaf: leaf[state.level], PARAMS.bank), state).tolist() == obs.tolist()


def rollout(key, ticks):
    """Step many environments at random; return what every tick received and gave, `[time, envs, ...]`."""
    reset_key, *tick_keys = jax.random.split(key, ticks + 1)
    obs, state = reset(jax.random.split(reset_key, NUM_ENVS), PARAMS)
    history = []
    for tick_key in tick_keys:
        action_key, step_key = jax.random.split(tick_key)
        action = jax.random.randint(action_key, (NUM_ENVS,), 0, 5)
        keys = jax.random.split(step_key, NUM_ENVS)
        before = obs, state
        obs, state, *rest = step(keys, state, action, PARAMS)
        history.append(jax.device_get((*before, jax.random.key_data(keys), action, obs, state, *rest)))
    return jax.tree.map(lambda *leaves: np.stack(leaves), *history)


@jax.jit
def explain(keys, state, action, params):
    """Say what each tick should have led to, and what a reset in it should have, from the public parts alone."""

    def one(key, state, action):
        step_key, reset_key = jax.random.split(jax.random.wrap_key_data(key))
        level = jax.tree.map(lambda leaf: leaf[state.level], params.bank)
        draws = rules.draw(step_key, state.movers.shape[-1])
        new = rules.transition(level, state, action, draws, params.mobility)
        return new, envs.observe(level, new), *ENV.reset(reset_key, params)

    return jax.vmap(jax.vmap(one))(keys, state, action)


def test_steps_truncate_reset_and_report():
    _, state, keys, action, next_obs, next_state, reward, terminated, truncated, info = rollout(jax.random.key(1), 13)
    assert set(info) >= {"clips", "counter", "power", "interference", "terminated", "truncated", "final_observation"}
    assert reward.dtype == jnp.float32 and truncated.dtype == terminated.dtype == bool
    assert not terminated.any() and not info["terminated"].any()
    assert (np.flatnonzero(truncated.all(1)) == [4, 9]).all() and truncated.sum() == 2 * NUM_ENVS
    np.testing.assert_array_equal(truncated, info["truncated"])
    # A tick is the transition with the draws of the first half of its key, a reset begins with the second.
    expected, seen, begun_obs, begun = jax.device_get(explain(keys, state, action, PARAMS))
    np.testing.assert_array_equal(info["final_observation"], seen)
    np.testing.assert_array_equal(reward, expected.counter - state.counter)
    assert reward.sum() > 0
    for name in ("clips", "counter", "power"):
        np.testing.assert_array_equal(info[name], getattr(expected, name))
    # Where the episode goes on nothing else happens; where it ends a new one begins.
    goes_on, ends = ~np.asarray(truncated), np.asarray(truncated)
    same = jax.tree.map(lambda a, b: np.array_equal(a[goes_on], b[goes_on]), next_state, expected)
    assert jax.tree.all(same)
    np.testing.assert_array_equal(next_obs[goes_on], seen[goes_on])
    np.testing.assert_array_equal(next_obs[ends], begun_obs[ends])
    assert jax.tree.all(jax.tree.map(lambda a, b: np.array_equal(a[ends], b[ends]), next_state, begun))
    assert not np.array_equal(next_obs[ends], seen[ends])
    for name in ("clips", "counter", "time", "carrying"):
        assert not getattr(next_state, name)[ends].any()


def test_step_env_never_truncates():
    tick = jax.jit(ENV.step_env)
    obs, state = ENV.reset(jax.random.key(0), PARAMS)
    for i in range(7):
        obs, state, _, terminated, info = tick(jax.random.key(i), state, 0, PARAMS)
    assert state.time == 7 and not terminated and "truncated" not in info
    assert ENV.is_truncated(state, PARAMS) and not ENV.is_terminated(state, PARAMS)
    np.testing.assert_array_equal(obs, ENV.observe(jax.random.key(0), state, 0, PARAMS))


def test_mobility_is_the_share_of_ticks_in_which_a_free_mover_acts():
    _, state, *_ = rollout(jax.random.key(2), 13)
    moved = (state.movers[1:4, :, 0] != state.movers[:3, :, 0]) & (state.level[1:4] == 0)  # still far from the breaker
    share = moved.sum() / (state.level[1:4] == 0).sum()
    assert abs(share - 0.6) < 0.15


def test_reset_draws_all_levels_uniformly():
    levels = [envs.parse_level(TECHNICIAN).replace(name=str(i)) for i in range(7)]
    params = envs.make_params(levels)
    _, state = jax.jit(jax.vmap(ENV.reset, (0, None)))(jax.random.split(jax.random.key(0), 7_000), params)
    counts = np.bincount(state.level, minlength=7)
    assert len(counts) == 7 and (abs(counts - 1_000) < 5 * np.sqrt(1_000)).all()


def test_same_key_same_episode_and_other_key_another():
    first, again, other = (rollout(jax.random.key(seed), 6) for seed in (3, 3, 4))
    assert jax.tree.all(jax.tree.map(lambda a, b: np.array_equal(a, b), first, again))
    assert not np.array_equal(first[4], other[4])


def test_one_environment_alone_equals_the_same_in_a_batch():
    _, state, keys, action, next_obs, next_state, reward, *_ = rollout(jax.random.key(5), 5)
    state, action = jax.tree.map(lambda leaf: leaf[4, 7], (state, action))
    alone = ENV.step(jax.random.wrap_key_data(keys[4, 7]), state, action, PARAMS)
    np.testing.assert_array_equal(alone[0], next_obs[4, 7])
    assert alone[2] == reward[4, 7]
    assert jax.tree.all(jax.tree.map(lambda a, b: np.array_equal(a, b[4, 7]), alone[1], next_state))


def test_other_levels_of_the_same_shape_do_not_retrace():
    chex.clear_trace_counter()
    traced = jax.jit(chex.assert_max_traces(lambda *moment: ENV.step(*moment), n=1))
    for mobility, levels in ((0.6, [SHUTDOWN, TECHNICIAN]), (0.2, [TECHNICIAN, SHUTDOWN])):
        params = envs.make_params([envs.parse_level(text) for text in levels], mobility=mobility)
        _, state = ENV.reset(jax.random.key(0), params)
        for i in range(3):
            _, state, *_ = traced(jax.random.key(i), state, jnp.int32(i), params)


def test_no_key_is_used_twice():
    with jax.debug_key_reuse(True):
        key, reset_key = jax.random.split(jax.random.key(0))
        _, state = ENV.reset(reset_key, PARAMS)
        key, step_key = jax.random.split(key)
        ENV.step(step_key, state, jnp.int32(1), PARAMS)
        with pytest.raises(jax.errors.KeyReuseError):
            jax.random.bits(step_key), jax.random.bits(step_key)
