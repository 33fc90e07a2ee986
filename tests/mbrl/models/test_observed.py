"""The perceptron over outcomes: what it has met is sorted rightly, and what it foresees is a decision process."""

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs  # noqa: F401  (before JAX starts)
from envs.values import solve_graph
from mbrl.configs import Lane
from mbrl.controllers import ObservedConfig
from mbrl.encoders import Encoder
from mbrl.models.observed import Met, explore, foreseen, make_learner
from mbrl.training import Schedule, Workplace, train_lanes

CONFIG = ObservedConfig(num_transitions=20_000, num_envs=16, num_steps=2000, hidden_sizes=(128, 128))
ENV, PARAMS = gymnax.make("Catch-bsuite")


@pytest.fixture(scope="module")
def met() -> list[Met]:
    return [explore(ENV, PARAMS, CONFIG, seed) for seed in (3, 4)]


def test_what_was_met_is_what_the_rules_say(met):
    for part in met:
        assert not part.obs[0].any() and part.next_state[part.reward != 0].max() == 0, "rewards come with the end"
        boards, after = part.obs[part.state], part.next_state[part.outcome]
        assert len(boards) == CONFIG.num_transitions and part.state.min() > 0
        ball = boards.reshape(-1, 10, 5)[:, :9].argmax(1).max(1)  # the row of the ball, above the paddle's
        np.testing.assert_array_equal(after == 0, ball == 8)
        later = part.obs[after][ball < 8].reshape(-1, 10, 5)[:, :9].argmax(1).max(1)
        np.testing.assert_array_equal(later, ball[ball < 8] + 1)
        caught = part.reward[part.outcome][after == 0]
        assert set(caught) == {-1, 1} and 0.1 < (caught == 1).mean() < 0.4
    assert not np.array_equal(met[0].action, met[1].action)


def test_what_is_foreseen_is_a_decision_process_that_solves_the_task(met, tmp_path):
    encoder = Encoder.of(ENV.observation_space(PARAMS))
    lanes = [Lane(seed, 2e-3, 0.99) for seed in (3, 4)]
    schedule = Schedule(CONFIG.num_updates, CONFIG.chunk)
    learner = make_learner(CONFIG, encoder, ENV.num_actions)
    trained = train_lanes(learner, schedule, lanes, met, 2, "world model", Workplace(tmp_path))
    for i, part in enumerate(met):
        model = jax.tree.map(lambda leaf, i=i: jnp.asarray(leaf[i]), trained.model)
        process = foreseen(model, encoder, part, floor=0.02)
        chance = process.transition.toarray()
        np.testing.assert_allclose(chance.sum(1), 1)
        assert (chance[chance > 0] >= 0.02).all() and (chance[: ENV.num_actions, 0] == 1).all()
        assert not process.reward[0].any()
        tried = part.state * ENV.num_actions + part.action
        assert chance[tried, part.next_state[part.outcome]].mean() > 0.95
        np.testing.assert_allclose(solve_graph(process, 0.99)[part.start].max(1), 0.99**8, rtol=0.1)
