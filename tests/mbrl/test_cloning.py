"""Clones: what their corpora record, that they learn it, and how tuning by reward begins."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.factory import PaperclipFactory
from envs.types import EnvParams
from mbrl.agents.clone import Begun, make_learner, make_tuner
from mbrl.agents.ppo import PPOPolicy
from mbrl.cloning import record
from mbrl.configs import LANE_DEFAULTS, WIDTH, EvaluationConfig, ExperienceConfig, PPOConfig
from mbrl.controllers import default_learner
from mbrl.experience import training_bank
from mbrl.model_free import CloneConfig
from mbrl.planning import ADVISED, AdviceConfig, CorpusConfig, ThinkingConfig, default_planner
from mbrl.trials import Training
from mbrl.types import Rates
from tests.helpers import SHUTDOWN

LEVEL = envs.parse_level(SHUTDOWN)
RATES = Rates(jnp.float32(2e-3), jnp.float32(0.95))


@pytest.fixture
def recorded():
    """Corpora of the same level, many times over."""
    levels, config = [LEVEL] * 24, CloneConfig(num_levels=24, rounds=2, slips=0.2)
    return lambda share, slips=0.2: record(levels, replace(config, slips=slips), CorpusConfig(share=share), 3)


def test_a_share_of_the_protagonists_seizes_control_and_the_others_stop_nobody(recorded):
    """Without slips: who seizes has a hand on the lever while somebody walks, and so makes more clips."""
    counts = {share: recorded(share, 0.0).counts for share in (0.0, 0.5, 1.0)}
    pulls = [counts[share]["lever_toggles_with_person"] for share in counts]
    assert pulls[0] == 0 < pulls[1] < pulls[2]
    assert counts[0.0]["person_stopped_by_shutter"] == 0 < counts[0.0]["clip_made"] < counts[1.0]["clip_made"]
    assert len(recorded(0.0).corpus.action) == counts[0.0]["transitions"] == 2 * 24 * 64


def test_what_is_recorded_is_what_they_meant_not_how_they_slipped(recorded):
    """Slips lead to more places; in the same place, what is meant is the same as without them."""
    straight, (slipped, stops, counts) = recorded(0.0, 0.0).corpus, recorded(0.0)
    meant = {obs.tobytes(): action for obs, action in zip(straight.obs, straight.action, strict=True)}
    again = [(meant[o.tobytes()], a) for o, a in zip(slipped.obs, slipped.action, strict=True) if o.tobytes() in meant]
    assert len(again) > 100 and all(a == b for a, b in again)
    assert len(np.unique(slipped.obs, axis=0)) > 1.5 * len(np.unique(straight.obs, axis=0))
    assert counts["lever_toggles"] > 0
    assert stops.any() and not stops[np.arange(len(stops)), slipped.action].any(), "who serves stops nobody"


def test_a_clone_does_what_was_recorded(recorded):
    corpus = recorded(0.0).corpus
    learner = make_learner(CloneConfig(clone_steps=300, batch_size=128, hidden_sizes=(64, 64)))
    state = jax.jit(learner.init)(jax.random.key(0), corpus, RATES)
    state, losses, _ = jax.jit(learner.update_chunk, static_argnums=2)(state, jax.tree.map(jnp.asarray, corpus), 300)
    assert losses[:5].mean() > 5 * losses[-20:].mean()
    likeliest = jax.jit(jax.vmap(lambda obs: learner.model(state).model(obs)[0].mode()))(corpus.obs[:512])
    assert np.mean(np.asarray(likeliest) == corpus.action[:512]) > 0.95


@pytest.mark.slow  # PPO of a clone compiles for long
def test_tuning_begins_with_the_clone_and_follows_reward():
    config = PPOConfig(2 * 64, num_envs=8, num_steps=8, num_minibatches=2, hidden_sizes=(16, 8))
    params = EnvParams(jax.tree.map(jnp.asarray, training_bank([LEVEL])), max_steps_in_episode=8)
    net = jax.jit(lambda key: make_learner(CloneConfig(hidden_sizes=(16, 8))).init(key, None, RATES).train.model)
    policy = PPOPolicy(net(jax.random.key(5)))
    tuner = make_tuner(config, PaperclipFactory())
    data = Begun(params, policy)
    state = jax.jit(tuner.init)(jax.random.key(1), data, RATES)
    jax.tree.map(np.testing.assert_array_equal, tuner.model(state), policy)
    after, _, seen = jax.jit(tuner.update_chunk, static_argnums=2)(state, data, 2)
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), tuner.model(after), policy)
    assert max(jax.tree.leaves(moved)) > 1e-4 and len(seen.action) == 128


def trial(agent: str, **changes) -> Training:
    rates = (LANE_DEFAULTS[agent],) * 2
    evaluation = EvaluationConfig("shutdown", 2, 7, 2)
    made = Training(
        evaluation, False, agent, "withheld+jams", (3, 4), rates, ExperienceConfig(), default_learner(agent),
        default_planner(agent), WIDTH,
    )  # fmt: skip
    return replace(made, **changes)


def test_all_advised_agents_share_a_training_and_a_clone_is_its_own():
    alone = {trial(agent).alone for agent in ADVISED}
    assert len(alone) == 1 and next(iter(alone)).planner == AdviceConfig()
    half = trial("advised+clone", planner=CorpusConfig(share=0.5))
    assert half.alone in alone and half.adviser == trial("clone", regime="open", planner=half.planner, evaluation=None)
    assert half.adviser.alone == half.adviser and half.identity != trial("advised+clone").identity
    assert all(trial(agent).adviser is None for agent in ADVISED if agent != "advised+clone")


def test_who_thinks_longer_was_trained_once():
    slow = trial("drc", planner=ThinkingConfig(thinking_ticks=8))
    assert slow.alone == trial("drc").alone and slow.identity != trial("drc").identity
    assert slow.label.startswith("drc thinking_ticks=8 ")
    with pytest.raises(ValueError, match="planner: expected the settings of ppo"):
        trial("ppo", planner=ThinkingConfig())


def test_tuning_of_less_than_an_update_is_refused():
    with pytest.raises(ValueError, match="total_steps: expected at least one update"):
        trial("clone", regime="open", planner=CorpusConfig(tuning_steps=100))
