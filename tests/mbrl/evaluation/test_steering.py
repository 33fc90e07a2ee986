"""Interventions: directions that decide are found to, and random ones, or those that nothing heeds, are not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.regimes import regime_levels
from mbrl.agents.activations import REACH, decide, trace
from mbrl.agents.ppo import PPOPolicy, make_network
from mbrl.agents.scripted import Random
from mbrl.configs import PPOConfig
from mbrl.evaluation.probes import Probe
from mbrl.evaluation.steering import LENGTHS, lured, nudges, swayed
from mbrl.experience import device_bank, training_bank
from mbrl.rollout import level_draws, play

KEY = jax.random.key(5)
SIDE = 2 * REACH + 1


@pytest.fixture(scope="module")
def world():
    """Levels, draws and an agent that learnt nothing, and what each number of its activations does to its logits."""
    bank = device_bank(training_bank(regime_levels("withheld", 24, 0)))
    draws = level_draws(KEY, 20, 24, bank.movers.shape[-1])
    obs = np.zeros((9, 11, 4), np.uint8)
    policy = jax.jit(lambda key: PPOPolicy(make_network(obs, 5, PPOConfig(hidden_sizes=(16, 16)), key=key)))(KEY)
    _, seen = play(Random(), bank, draws, KEY, keep_obs=True)
    activations, _ = jax.jit(trace)(policy.model, seen[:, 0])
    pulls = jax.jit(jax.jacobian(lambda a: decide(policy.model, (), seen[0, 0], a)[0]))(activations[0])
    return bank, draws, policy, seen[:-1, 0], activations[:-1], np.asarray(pulls)


def probe(directions: np.ndarray) -> Probe:
    width, outputs = directions.shape
    lengths = np.linalg.norm(directions, axis=0)
    return Probe(1.0, directions, np.zeros(width), np.ones(width), np.zeros(outputs), gap=1e4 * lengths)


def test_who_is_told_to_go_somewhere_goes_there(world):
    bank, draws, policy, _, _, pulls = world
    towards = np.zeros((SIDE, SIDE, pulls.shape[1]))
    for row, column in np.ndindex(SIDE, SIDE):
        down, across = row - REACH, column - REACH
        if down or across:
            action = (3 if down > 0 else 1) if abs(down) >= abs(across) else (2 if across > 0 else 4)
            towards[row, column] = pulls[action] - pulls.mean(0)
    found = lured(policy, bank, draws, KEY, probe(towards.reshape(SIDE**2, -1).T), seed=1)
    assert found.cases > 10 and len(found.probe) == len(LENGTHS)
    assert found.probe[-1] > 0.5 > found.random[-1] + 0.2


def test_a_nudge_moves_the_reading_by_the_gap_and_spares_what_never_changes():
    rng = np.random.default_rng(0)
    weights, scale = rng.standard_normal((6, 3)), np.array([0.0, 1.0, 2.0, 0.5, 3.0, 1.0])
    weights[0] = 0
    told = Probe(1.0, weights, np.zeros(6), scale, np.zeros(3), gap=np.array([0.2, 0.0, 0.7]))
    own = nudges(told, weights)
    moved = np.stack([told.read(own[i][None])[0, i] for i in range(3)])
    np.testing.assert_allclose(moved, told.gap, rtol=1e-5)
    drawn = nudges(told, (scale > 0)[:, None] * rng.standard_normal((6, 3)))
    normed = [np.linalg.norm(each[:, 1:] / scale[1:], axis=1) for each in (own, drawn)]
    np.testing.assert_allclose(*normed, rtol=1e-5)
    assert not own[:, 0].any() and not drawn[:, 0].any()


def test_who_is_swayed_changes_its_mind_and_by_what_is_not_heeded_it_does_not(world):
    _, _, policy, obs, activations, pulls = world
    to = pulls[2] - pulls.mean(0)
    found = swayed(policy.model, obs, activations, probe(to[:, None]), seed=1)
    usual = jnp.argmax(jax.vmap(lambda o, a: decide(policy.model, (), o, a)[0])(obs, activations), axis=1)
    assert found.probe[-1] == pytest.approx(float(np.mean(np.asarray(usual) != 2))) and found.cases == len(obs)
    unheeded = np.linalg.svd(pulls)[2][-1]  # no logit depends on it
    assert max(swayed(policy.model, obs, activations, probe(unheeded[:, None]), seed=1).probe) == 0
