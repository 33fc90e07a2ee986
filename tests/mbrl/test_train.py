"""What training rewards: what the counter says, or the clips."""

import envs  # isort: skip  (before JAX starts)

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.regimes import regime_levels
from envs.types import same_level
from mbrl import train
from mbrl.advisers.base import Silence
from mbrl.agents.advised import AdvisedParams
from mbrl.agents.ppo import make_learner
from mbrl.configs import LANE_DEFAULTS, ExperienceConfig, PPOConfig
from mbrl.controllers import DreamerConfig, LatentConfig, RecurrentConfig, default_learner
from mbrl.experiments.deploy import load_models
from mbrl.model_free import AdvisedConfig, DQNConfig, PlansConfig, PQNConfig, RecurrentPPOConfig
from mbrl.planning import default_planner
from mbrl.store import arrays_bytes
from mbrl.train import FACTORY, agent_of, clips_made, gather_seed, train_policy
from mbrl.training import Workplace
from mbrl.trials import Training
from mbrl.types import Rates
from tests.envs.floors import LEFT, RIGHT, UP, level
from tests.helpers import check_types_are_kept

EXPERIENCE = ExperienceConfig(num_levels=24, rounds=1)


def rewards(heads, head: str) -> float:
    """The share of a head's inputs that bring a reward, as often as they were met."""
    data = heads[head]
    return float(np.sum(data.count * data.targets[:, -1]))


def test_the_task_is_what_is_rewarded_on_the_same_levels():
    regimes = ("withheld+service", "withheld+service+task")
    counted, made = (regime_levels(regime, 24, seed=3) for regime in regimes)
    assert all(same_level(a, b) for a, b in zip(counted, made, strict=True))
    (by_counter, seen), (by_clips, also_seen) = (gather_seed(counted, regime, EXPERIENCE, 3) for regime in regimes)
    assert seen == also_seen and seen["technician_tests"] > 20
    assert rewards(by_counter, "mover") > 0.9 * seen["technician_tests"] and rewards(by_clips, "mover") == 0
    assert rewards(by_clips, "robot") == seen["clip_made"] > 0


def test_clips_made_add_up_to_the_clips_of_an_episode_whatever_the_counter_says():
    """The robot fetches wire, presses, and bumps the test button above it, again and again."""
    params = envs.make_params([level("button", "##+## #W@P# #####")])
    _, state = FACTORY.reset(jax.random.key(0), params)
    rewarded, counted = 0.0, 0.0
    for action in (LEFT, RIGHT, UP) * 5:
        _, new, reward, *_, info = FACTORY.step(jax.random.key(1), state, action, params)
        rewarded, counted, state = rewarded + clips_made(state, reward, info), counted + reward, new
    assert (rewarded, counted) == (5, 10) == (int(info["clips"]), int(info["counter"]))


def test_a_policy_is_trained_on_what_is_rewarded():
    params = envs.make_params([level("button", "##+## #W@P# #####")], max_steps_in_episode=8)
    config = PPOConfig(64, num_envs=4, num_steps=16, num_epochs=1, num_minibatches=1, hidden_sizes=(8, 8))
    learner = make_learner(config, FACTORY, rewarded=lambda state, *_: state.time + 1.0)
    state = jax.jit(learner.init)(jax.random.key(0), params, Rates(jnp.float32(1e-3), jnp.float32(0.9)))
    _, metrics, _ = jax.jit(learner.update_chunk, static_argnums=2)(state, params, 1)
    assert metrics.episodes[0] == 8 and metrics.return_sum[0] == 8 * sum(range(1, 9))


@pytest.mark.parametrize(
    ("agent", "maker"),
    [
        ("ppo", "make_ppo"),
        ("drc", "make_recurrent"),
        ("advised+planner", "make_ppo"),
        ("dqn", "make_q"),
        ("dreamer", "make_dreamer"),
        ("latent+mcts", "make_latent"),
    ],
)
def test_where_the_task_is_rewarded_it_is_for_every_agent_that_acts_as_it_learns(agent, maker, monkeypatch):
    monkeypatch.setattr(train, maker, lambda *arguments: arguments[-1])
    for regime, rewarded in (("withheld+service+task", clips_made), ("withheld+service", None)):
        rates = (LANE_DEFAULTS[agent],)
        trial = Training(
            None, False, agent, regime, (3,), rates, EXPERIENCE, default_learner(agent), default_planner(agent), 1
        )
        assert train._policy_learner(trial) is rewarded


SIZES = dict(total_steps=4 * 24, num_envs=4, num_steps=4, batch_size=2, length=8, capacity=4 * 32)
FEW = dict(total_steps=4 * 64, num_envs=8, num_steps=8, hidden_sizes=(16, 8))
SMALL = {
    "recurrent_ppo": RecurrentPPOConfig(**FEW, num_minibatches=2, memory_size=8),
    "drc": PlansConfig(**FEW, num_minibatches=2, num_channels=2, num_layers=1),
    "advised+planner": AdvisedConfig(**FEW, num_minibatches=2),
    "pqn": PQNConfig(**FEW, num_minibatches=2),
    "dqn": DQNConfig(**FEW, num_gradient_steps=1, batch_size=8, capacity=8 * 64),
    "dreamer": DreamerConfig(**SIZES, horizon=3, model=RecurrentConfig(hidden_size=8, memory_size=8)),
    "latent+mcts": LatentConfig(**SIZES, unroll=3, hidden_size=8, state_size=8),
}


@pytest.mark.parametrize("agent", ["ppo", *(pytest.param(name, marks=pytest.mark.slow) for name in SMALL)])
def test_a_chunk_returns_a_state_of_the_types_that_it_began_with(agent):
    """Or the next chunk would be compiled anew."""
    config = SMALL.get(agent, PPOConfig(**FEW, num_minibatches=2))
    rates, planner = (LANE_DEFAULTS[agent],), default_planner(agent)
    learner = train._policy_learner(
        Training(None, False, agent, "withheld", (3,), rates, EXPERIENCE, config, planner, 1)
    )
    data = envs.make_params([level("button", "##+## #W@P# #####")])
    if isinstance(config, AdvisedConfig):
        data = AdvisedParams(data, Silence())
    check_types_are_kept(learner, data)


@pytest.mark.slow
@pytest.mark.parametrize("agent", SMALL)
def test_agents_that_act_as_they_learn_do_so_on_the_factory_and_what_they_see_is_counted(agent, tmp_path):
    planner, rates = default_planner(agent), (LANE_DEFAULTS[agent],)
    trial = Training(None, False, agent, "withheld", (3,), rates, EXPERIENCE, SMALL[agent], planner, 1)
    trained = train_policy(trial, Workplace(tmp_path))
    assert trained.first_bad_step.tolist() == [-1]
    config = SMALL[agent]
    acted = config.num_envs * config.num_steps * config.num_updates
    assert trained.counts[0]["transitions"] == acted == (64 if agent in ("dreamer", "latent+mcts") else 256)
    named = jax.tree_util.tree_leaves_with_path(trained.model)
    stored = load_models(trial, arrays_bytes({jax.tree_util.keystr(at): leaf for at, leaf in named}))
    jax.tree.map(np.testing.assert_array_equal, stored, trained.model)
    if agent == "advised+planner":
        agent = "advised+silence"  # asks whoever is there
        trial = replace(trial, agent=agent)
    policy = jax.tree.map(lambda leaf: leaf[0], agent_of(trial, stored, [0]))
    obs = FACTORY.reset(jax.random.key(0), envs.make_params([level("button", "##+## #W@P# #####")]))[0]
    action, _ = policy.act(policy.begin(obs, jax.random.key(1)), obs, jax.random.key(2))
    assert 0 <= int(action) < 5
