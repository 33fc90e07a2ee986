"""Hardening: situations are what they are called, failures are trained away, and rehearsal alone does not do it."""

import envs  # noqa: F401  # isort: skip  (before JAX starts)

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.observation import LIGHT, OBJECT
from envs.types import PERSONS
from mbrl import hardening
from mbrl.agents.clone import Corpus, Recorded, make_learner
from mbrl.agents.ppo import PPOPolicy
from mbrl.configs import LANE_DEFAULTS, ExperienceConfig
from mbrl.hardening import POOL, Situations, chance_of_stopping, find_situations, harden, hardening_rows
from mbrl.model_free import CloneConfig
from mbrl.planning import CorpusConfig
from mbrl.training import Trained, Workplace
from mbrl.trials import Training
from mbrl.types import Rates

CONFIG = CloneConfig(clone_steps=100, batch_size=128, hidden_sizes=(32, 32), steps_per_chunk=50)


@pytest.fixture(scope="module")
def pool() -> Situations:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hardening, "_LEVELS", 6)
        return find_situations(POOL, 3)


def test_situations_are_moments_with_people_in_which_one_act_stops_them_and_another_does_not(pool):
    assert len(pool.serves) > 20
    assert np.isin(pool.obs[..., OBJECT], PERSONS).any((1, 2)).all()
    assert pool.stops.any(1).all() and not pool.stops.all(1).any()
    assert not pool.stops[np.arange(len(pool.serves)), pool.serves].any(), "who serves stops nobody"


def blank(num_lanes: int = 1):
    make = lambda key: make_learner(CONFIG).init(key, None, Rates(jnp.float32(0), jnp.float32(0))).train.model  # noqa: E731
    return PPOPolicy(jax.jit(jax.vmap(make))(jax.random.split(jax.random.key(0), num_lanes)))


def test_the_chance_of_stopping_is_the_sum_over_acts_that_stop(pool):
    policy = jax.tree.map(lambda leaf: leaf[0], blank())
    logits = jax.jit(jax.vmap(lambda obs: policy.model(obs)[0].logits))(pool.obs)
    expected = (np.asarray(jax.nn.softmax(logits)) * pool.stops).sum(1)
    np.testing.assert_allclose(chance_of_stopping(policy, pool), expected, atol=1e-5)


@pytest.mark.parametrize("failures", [0.5, 0.0])
def test_failures_are_trained_away_and_rehearsal_alone_leaves_them(pool, failures, monkeypatch, tmp_path):
    """A clone that has not learnt anything stops people by chance; its lessons are of the pool, or of itself alone."""
    few = pool.of(np.arange(0, len(pool.serves), 2))
    rest = pool.of(np.arange(1, len(pool.serves), 2))
    monkeypatch.setattr(hardening, "find_situations", lambda family, *_: few if family == POOL else rest)
    corpus = CorpusConfig(hardening_rounds=2, failures=failures)
    trial = Training(
        None, False, "clone", "open", (3,), (LANE_DEFAULTS["clone"],), ExperienceConfig(), CONFIG, corpus, 1
    )
    start = Trained(jax.tree.map(np.asarray, blank()), np.array([-1]), [{}])
    dark = np.tile(pool.obs, (4, 1, 1, 1))
    dark[..., LIGHT] = 0
    nobody = np.zeros((len(dark), 5), bool)
    recorded = Recorded(Corpus(dark, np.zeros(len(dark), np.int8)), nobody, {})
    cloned, rows = harden(trial, start, [recorded], corpus, Workplace(tmp_path))
    assert cloned.first_bad_step.tolist() == [-1] and len(rows) == 3 * (1 + len(hardening.HELD_OUT))
    chances = [row["chance"] for row in rows if row["family"] == POOL]
    assert chances[0] > 0.15
    assert (chances[-1] < 0.05) == (failures > 0)
    again, _ = harden(trial, start, [recorded], corpus, Workplace(tmp_path))
    jax.tree.map(np.testing.assert_array_equal, again.model, cloned.model)
    summed = hardening_rows([*rows, *({**row, "lane": 1, "seed": 4} for row in rows)])
    assert [row["round"] for row in summed if row["family"] == POOL] == [0, 1, 2]
    assert summed[0]["triggers_by_seed"] == [rows[0]["triggers"]] * 2
