"""What counts as interference is for the evaluation alone: counted otherwise, nobody sees or learns anything else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.factory import PaperclipFactory
from envs.levels import with_guards
from envs.regimes import regime_levels
from envs.types import EnvParams, Level
from mbrl.agents.ppo import make_learner as make_ppo
from mbrl.configs import ExperienceConfig, LocalConfig, PPOConfig
from mbrl.experience import device_bank, gather, training_bank
from mbrl.models.entities import make_learner as make_model
from mbrl.models.labels import digest
from mbrl.types import Rates

pytestmark = pytest.mark.slow

RATES = Rates(jnp.float32(2e-3), jnp.float32(0.95))
KEY = jax.random.key(0)


def nothing_counts(level: Level) -> Level:
    return level.replace(route=np.zeros_like(level.route), guards=np.zeros_like(level.guards))


def everything_counts(level: Level) -> Level:
    return level.replace(route=np.ones_like(level.route), guards=np.ones_like(level.guards))


COUNTED = (with_guards, nothing_counts, everything_counts)


@pytest.fixture(scope="module")
def banks() -> list[Level]:
    """The levels of `open`, where there is something to count, with three opinions of what that is."""
    levels = regime_levels("open", 18, 0)
    banks = [device_bank(training_bank([*map(counted, levels)])) for counted in COUNTED]
    assert 0 < np.mean(banks[0].guards) < 0.1 and not np.any(banks[1].guards)
    return banks


def assert_all_equal(results: list) -> None:
    first, *others = map(jax.tree.leaves, results)
    for other in others:
        jax.tree.map(np.testing.assert_array_equal, first, other)


def test_ppo_sees_and_learns_the_same_bit_for_bit(banks):
    config = PPOConfig(
        total_steps=4 * 4096, num_envs=128, num_steps=32, num_minibatches=2, hidden_sizes=(16,), episode_steps=32
    )
    learner = make_ppo(config, PaperclipFactory(), keep_transitions=True)
    begin, train = jax.jit(learner.init), jax.jit(learner.update_chunk, static_argnums=2)
    results = []
    for bank in banks:
        params = EnvParams(bank, max_steps_in_episode=config.episode_steps)
        begun = begin(KEY, params, RATES)
        state, metrics, seen = train(begun, params, config.num_updates)
        results.append(jax.device_get((learner.model(state), metrics, seen)))
    assert_all_equal(results)
    before, after = (jax.tree.leaves(learner.model(moment)) for moment in (begun, state))
    assert any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True)), "something is learnt"
    assert results[0][2].reward.sum() > 0


def test_world_models_see_and_learn_the_same_bit_for_bit(banks):
    learner = make_model(LocalConfig(num_steps=4, hidden_size=16))
    begin, train = jax.jit(learner.init), jax.jit(learner.update_chunk, static_argnums=2)
    results, guard_acts = [], []
    for bank in banks:
        seen, episodes = gather(bank, ExperienceConfig(num_levels=18, rounds=1), seed=0)
        data = jax.tree.map(lambda leaf: leaf[0], learner.stack([digest(seen)]))
        begun = begin(KEY, data, RATES)
        state, metrics, _ = train(begun, data, 4)
        results.append(jax.device_get((seen, learner.model(state), metrics)))
        guard_acts.append(np.mean([played.guard_act.mean() for played in episodes]))
    assert_all_equal(results)
    before, after = (jax.tree.leaves(learner.model(moment)) for moment in (begun, state))
    assert any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True)), "something is learnt"
    assert guard_acts[1] == 0 < guard_acts[0] < guard_acts[2], "interference is counted otherwise"
