"""Q-learning on probes with analytic answers, and its network in all directions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mbrl.agents.q_learning import FloorValues, joined, make_learner, n_step_returns
from mbrl.gathering import Row
from mbrl.model_free import DQNConfig, PQNConfig
from mbrl.types import Rates
from tests.mbrl.agents.test_floor_network import DIRECTIONS, mirrored, turned
from tests.mbrl.agents.test_ppo import Corridor, Match, ProbeParams

SIZES = dict(
    total_steps=300 * 64,
    num_envs=8,
    num_steps=8,
    hidden_sizes=(32,),
    return_scale=1.0,
    exploring_share=0.5,
    widening=0.5,
    hold_share=0.7,
)
CONFIGS = {
    "pqn": PQNConfig(**SIZES, num_minibatches=2),
    "dqn": DQNConfig(**SIZES, num_gradient_steps=4, batch_size=32, n_step=2, capacity=8 * 128, slow_rate=0.05),
}


def worth(agent: str, env, params: ProbeParams) -> np.ndarray:
    """What actions are worth, by training, where −1 and 1 are shown; γ = ½."""
    learner = make_learner(CONFIGS[agent], env)

    @jax.jit
    def train(params):
        state = learner.init(jax.random.key(0), params, Rates(jnp.float32(5e-3), jnp.float32(0.5)))
        state, metrics, _ = learner.update_chunk(state, params, CONFIGS[agent].num_updates)
        return learner.model(state), metrics

    policy, metrics = train(params)
    assert np.isfinite(metrics.loss).all()
    return np.stack([policy.model(jnp.array([shown])) for shown in (-1.0, 1.0)])


@pytest.mark.parametrize("agent", CONFIGS)
def test_learns_what_actions_are_worth(agent):
    """Every fourth step is cut: what matches brings 1 for ever, which is 2 in all; what does not brings 0 at first, one
    less, and that is learnt twice as large (α = ½)."""
    np.testing.assert_allclose(worth(agent, Match(), ProbeParams(max_steps_in_episode=4)), [[2, 0], [0, 2]], atol=0.15)


@pytest.mark.parametrize("agent", CONFIGS)
def test_bootstraps_where_cut_and_not_where_ended(agent):
    """See `Corridor`; `pqn` bootstraps a cut step from what it reached, for `dqn` it counts for nothing."""
    cut, ended = ProbeParams(max_steps_in_episode={"pqn": 2, "dqn": 4}[agent]), ProbeParams(terminates=True)
    np.testing.assert_allclose(worth(agent, Corridor(), cut).mean(1), [1, 2], atol=0.15)
    np.testing.assert_allclose(worth(agent, Corridor(), ended).mean(1), [0.5, 1], atol=0.15)


def test_returns_of_three_steps():
    """By hand: nothing happens; it ends at the second step; it is cut off at the second; cut off after it had ended."""
    ends, cuts = np.zeros((3, 4), bool), np.zeros((3, 4), bool)
    ends[1, 1] = cuts[1, 2] = ends[0, 3] = cuts[1, 3] = True
    reward, nothing = jnp.array([1.0, 2.0, 4.0])[:, None] * jnp.ones((1, 4)), jnp.zeros((3, 4))
    steps = Row(nothing, nothing > 0, nothing.astype(int), reward, jnp.array(ends), jnp.array(cuts))
    returns, known = n_step_returns(steps, jnp.float32(0.5), jnp.full(4, 8.0))
    assert known.tolist() == [1, 1, 0, 1]
    np.testing.assert_allclose(np.asarray(returns)[[0, 1, 3]], [1 + 1 + 1 + 1, 1 + 1, 1])


def test_floors_turned_or_mirrored_are_valued_alike():
    rng = np.random.default_rng(0)
    obs = np.stack([rng.integers(0, most, (6, 12)) for most in (18, 5, 2, 1)], axis=-1).astype(np.uint8)
    obs[..., 2] = np.where(rng.random((6, 12)) < 0.2, rng.integers(4, 13, (6, 12)), 0)
    obs[2, 5, 2] = 2
    net = jax.jit(lambda: FloorValues((64, 32), 2.0, key=jax.random.key(0)))()
    net = jax.tree.map(lambda leaf: leaf + 0.1 * rng.normal(size=leaf.shape).astype(np.float32), net)
    ask = jax.jit(FloorValues.__call__)
    values = np.asarray(ask(net, jnp.asarray(obs)))
    assert np.ptp(values[DIRECTIONS]) > 0.01
    np.testing.assert_allclose(
        ask(net, jnp.asarray(turned(obs)))[jnp.array([0, 1, 4, 3, 2])], values[[0, 2, 1, 4, 3]], rtol=1e-3, atol=1e-4
    )
    np.testing.assert_allclose(
        ask(net, jnp.asarray(mirrored(obs)))[jnp.array([0, 1, 4, 3, 2])], values, rtol=1e-3, atol=1e-4
    )


def test_advantages_average_out():
    said = joined(jnp.float32(3), jnp.array([1.0, 2.0, 6.0]))
    np.testing.assert_allclose(said, [1.0, 2.0, 6.0])
    assert joined(jnp.float32(0), jnp.array([5.0, 5.0])).tolist() == [0, 0]
