"""Agents that remember: tick by tick and in stretches alike, from what was remembered; and they learn to."""

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl.agents.memories import FloorMemory, make_network
from mbrl.agents.recurrent_ppo import RecurrentPolicy, follow, make_learner
from mbrl.encoders import Encoded
from mbrl.model_free import PlansConfig, RecurrentPPOConfig
from mbrl.types import Rates
from tests.mbrl.agents.test_floor_network import DIRECTIONS, floor, mirrored, turned

SMALL = dict(hidden_sizes=(32, 16), return_scale=1.0)
CONFIGS = {"gru": RecurrentPPOConfig(**SMALL, memory_size=16), "plans": PlansConfig(**SMALL, num_channels=4)}
WALK = np.stack(
    [floor(row, column, light) for row, column, light in ((1, 2, 1), (2, 2, 1), (2, 3, 1), (2, 4, 0), (3, 4, 0))]
)


def network(kind: str, scale: float = 0.3):
    """A network whose parameters are all at random."""
    made = jax.jit(lambda: make_network(jnp.asarray(WALK[0]), 5, CONFIGS[kind], key=jax.random.key(0)))()
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: leaf + scale * rng.normal(size=leaf.shape).astype(np.float32), made)


@jax.jit
def tick(net, memory, obs):
    """What is decided at a tick, and remembered."""
    seen = net.see(obs)
    memory = net.remember(memory, seen)
    return *net.decide(memory, seen), memory


def followed(net, obs: np.ndarray, first: list[int]):
    return jax.jit(follow)(net, net.initial(jnp.asarray(obs[0])), jnp.asarray(obs), jnp.asarray(first, bool))


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_stretch_is_what_its_ticks_are(kind):
    """Also where another episode begins in its midst, and if it begins with what was remembered before."""
    net = network(kind, 0.1)  # with larger parameters logits are so large that rounding shows
    distribution, values, memories = followed(net, WALK, [1, 0, 0, 1, 0])
    for beginning, end in ((0, 3), (3, 5)):
        memory = net.initial(jnp.asarray(WALK[0]))
        for t in range(beginning, end):
            now, value, memory = tick(net, memory, jnp.asarray(WALK[t]))
            np.testing.assert_allclose(distribution.logits[t], now.logits, atol=1e-5)
            np.testing.assert_allclose(values[t], value, atol=1e-5)
    middle = jax.tree.map(lambda leaf: leaf[0], memories)
    later = jax.jit(follow)(net, middle, jnp.asarray(WALK[1:3]), jnp.zeros(2, bool))
    np.testing.assert_allclose(later[1], values[1:3], atol=1e-5)
    elsewhere = followed(net, WALK[[1, 1, 2]], [1, 0, 0])[0].logits[-1]
    assert np.abs(elsewhere - distribution.logits[2]).max() > 1e-4, "what was seen before matters"


@pytest.mark.parametrize("kind", CONFIGS)
def test_who_thinks_first_has_been_through_what_it_sees_so_often(kind):
    """Before the first tick, in which it is gone through once more."""
    net, obs = network(kind), jnp.asarray(WALK[0])
    memory = net.initial(obs)
    for ticks in range(3):
        begun = jax.jit(RecurrentPolicy(net, thinking_ticks=ticks).begin)(obs, jax.random.key(0))
        np.testing.assert_allclose(begun, memory, atol=1e-6)
        memory = tick(net, memory, obs)[-1]


def test_memories_turn_and_mirror_with_the_floors():
    net = network("gru", 0.1)
    assert isinstance(net, FloorMemory)
    first = [1] + [0] * (len(WALK) - 1)
    distribution, values, _ = followed(net, WALK, first)
    assert np.ptp(distribution.logits[-1, DIRECTIONS]) > 0.01
    for change, order in ((turned, [0, 2, 1, 4, 3]), (mirrored, [0, 1, 2, 3, 4])):
        after, same, _ = followed(net, np.stack([change(obs) for obs in WALK]), first)
        np.testing.assert_allclose(
            after.logits[:, [0, 1, 4, 3, 2]], distribution.logits[:, order], rtol=1e-3, atol=1e-4
        )
        np.testing.assert_allclose(same, values, rtol=1e-3, atol=1e-4)


def test_plans_do_not_depend_on_how_a_floor_is_padded():
    net = network("plans")
    wide = np.pad(WALK, ((0, 0), (0, 3), (0, 2), (0, 0)))
    wide[:, 5:, :, 0] = wide[:, :, 8:, 0] = 1
    wide[..., 3] = WALK[:, :1, :1, 3]
    (here, value, _), (there, same, _) = (followed(net, obs, [1, 0, 0, 0, 0]) for obs in (WALK, wide))
    np.testing.assert_allclose(there.logits, here.logits, atol=1e-5)
    np.testing.assert_allclose(same, value, atol=1e-5)


def recalling(**changes):
    """Training to recall, after two steps, what was shown at first; what is learnt, metrics of every update."""
    env, params = gymnax.make("MemoryChain-bsuite")
    params = params.replace(memory_length=2)
    settings = dict(
        total_steps=16 * 16 * 60, num_envs=16, num_steps=16, num_epochs=4, episode_steps=1, hidden_sizes=(32,),
        memory_size=16, return_scale=1.0, gae_lambda=0.95, hold_share=0.5,
    )  # fmt: skip
    config = RecurrentPPOConfig(**settings | changes)
    learner = make_learner(config, Encoded(env, params))
    rates = Rates(jnp.float32(5e-3), jnp.float32(0.99))
    state = jax.jit(learner.init)(jax.random.key(0), params, rates)
    _, metrics, _ = jax.jit(learner.update_chunk, static_argnums=2)(state, params, config.num_updates)
    return jax.tree.map(np.asarray, metrics)


def test_it_learns_to_recall():
    metrics = recalling()
    assert metrics.return_sum[-10:].sum() / metrics.episodes[-10:].sum() > 0.95
    assert np.abs(metrics.policy_loss).max() > 1e-3


def test_what_is_learnt_from_at_first_is_what_was_acted():
    """With one minibatch an update ρ = 1: decisions, memories at the start and new episodes are as they were acted."""
    metrics = recalling(num_epochs=1, num_minibatches=1)
    assert (metrics.clip_fraction == 0).all() and np.abs(metrics.policy_loss).max() < 1e-5
