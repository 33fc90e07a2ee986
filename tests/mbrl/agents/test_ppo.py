"""PPO on probes with analytic answers, and its seeds side by side."""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnax.environments import environment, spaces

from mbrl.agents.ppo import PPOPolicy, PPOResult, hold_then_fall, make_learner, make_network, make_train
from mbrl.configs import ExperienceConfig, Lane, PPOConfig
from mbrl.keys import purpose_key
from mbrl.metrics import read_rows
from mbrl.milestones import named_arrays
from mbrl.networks import MLP, Categorical, orthogonal
from mbrl.planning import PlannerConfig
from mbrl.training import Schedule, Trained, Workplace, train_lanes
from mbrl.trials import Training
from mbrl.types import Rates

NUM_SEEDS = 3
RATES = Rates(jnp.float32(5e-3), jnp.float32(0.97))


@struct.dataclass
class ProbeState(environment.EnvState):
    """Time, and where the agent is or what it is shown."""

    where: jax.Array


@struct.dataclass
class ProbeParams(environment.EnvParams):
    """`terminates`: whether the world ends where the episode is cut otherwise; `pay`: the unit of reward."""

    max_steps_in_episode: int = 2
    terminates: bool = False
    pay: float = 1.0


class Probe(environment.Environment[ProbeState, ProbeParams]):
    """What the probes share; `traces` counts how often a step was traced."""

    def __init__(self):
        super().__init__()
        self.traces = 0

    num_actions = 2
    default_params = ProbeParams()

    def observe(self, key, state, action, params):
        return state.where[None].astype(jnp.float32)

    def step_env(self, key, state, action, params):
        self.traces += 1
        reward, where = self.outcome(key, state, action)
        state = ProbeState(time=state.time + 1, where=where)
        terminated = (state.time >= params.max_steps_in_episode) & params.terminates
        return self.observe(key, state, action, params), state, params.pay * reward, terminated, {}

    def reset_env(self, key, params):
        state = ProbeState(time=jnp.int32(0), where=self.start(key))
        return self.observe(key, state, None, params), state

    def action_space(self, params):
        return spaces.Discrete(2)


class Match(Probe):
    """Shows −1 or 1 and pays 1 for action 0 or 1 respectively: the best return of two steps is 2."""

    def start(self, key):
        return 2 * jax.random.bernoulli(key).astype(jnp.int32) - 1

    def outcome(self, key, state, action):
        return (action == (state.where > 0)).astype(jnp.float32), self.start(key)


class Corridor(Probe):
    """From A (−1) to B (1), where every further step pays 1 whatever the agent does; cut or ended after two steps.

    With γ = ½: cut, V(B) = 1 + ½ V(B) = 2; ended, V(B) = 1; bootstrapped across the reset, V(B) = 1 + ½ V(A) = 4/3.
    """

    def start(self, key):
        return jnp.int32(-1)

    def outcome(self, key, state, action):
        return (state.where > 0).astype(jnp.float32), jnp.int32(1)


MATCH = Match()


def _config(**changes):
    settings = dict(
        total_steps=4 * 64,
        num_envs=8,
        num_steps=8,
        num_minibatches=2,
        num_epochs=4,
        hidden_sizes=(16,),
        return_scale=1.0,
        updates_per_chunk=2,
    )
    return PPOConfig(**{**settings, **changes})


def _per_seed(params, num_seeds=NUM_SEEDS):
    return jax.tree.map(lambda leaf: jnp.broadcast_to(jnp.asarray(leaf), (num_seeds, *jnp.shape(leaf))), params)


def _keys(num_seeds=NUM_SEEDS):
    return jax.vmap(lambda seed: purpose_key(seed, "test"))(jnp.arange(num_seeds))


def test_matches_what_it_is_shown():
    result = jax.jit(make_train(_config(total_steps=100 * 64), MATCH))(jax.random.key(0), ProbeParams(), RATES)
    policy = result.policy.replace(greedy=True)
    for shown in (-1.0, 1.0):
        obs = jnp.array([shown])
        action, _ = policy.act(policy.begin(obs, jax.random.key(1)), obs, jax.random.key(2))
        assert action == (shown > 0)
    np.testing.assert_allclose(result.curve.mean_return()[-10:].mean(), 2.0, atol=0.1)


def test_bootstraps_from_the_final_observation_where_cut_and_not_where_ended():
    """Two lanes, each with its own world; `ended` shows what mistaking the cut for an end would give."""
    params = _per_seed(ProbeParams(), 2).replace(terminates=jnp.array([False, True]))
    train = jax.jit(jax.vmap(make_train(_config(total_steps=150 * 64), Corridor())))
    models = train(_keys(2), params, _per_seed(RATES._replace(gamma=0.5), 2)).policy.model
    values = jax.vmap(lambda model: jnp.stack([model(jnp.array([where]))[1] for where in (-1.0, 1.0)]))(models)
    # From across the reset the values would be 2/3 and 4/3: all three answers are further apart than the tolerance.
    np.testing.assert_allclose(values, [[1.0, 2.0], [0.5, 1.0]], atol=0.15)


@pytest.fixture(scope="module")
def together():
    """All of the training of `_config()`, seeds side by side."""
    return jax.jit(jax.vmap(make_train(_config(), MATCH)))


@pytest.fixture(scope="module")
def alone():
    """The verbs of the same training, one seed at a time."""
    learner = make_learner(_config(), MATCH)
    return jax.jit(learner.init), jax.jit(learner.update_chunk, static_argnums=2)


def _train_lanes(folder: Path, params: Sequence[ProbeParams], **settings) -> Trained:
    """Train a lane on each of some worlds by the host's loop, which leaves its files in `folder`."""
    config = _config()
    lanes = [Lane(seed, *map(float, RATES)) for seed in range(len(params))]
    schedule = Schedule(config.num_updates, config.chunk, config.batch_size, milestones=(0.0, 0.2, 1.0))
    place = Workplace(folder, **settings)
    return train_lanes(make_learner(config, MATCH), schedule, lanes, params, NUM_SEEDS, "test", place)


def _assert_close(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    leaves = jax.tree.leaves(one), jax.tree.leaves(other)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), *leaves)


def _assert_equal(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, jax.tree.leaves(one), jax.tree.leaves(other))


def test_seeds_side_by_side_equal_seeds_in_a_loop(together, alone):
    side_by_side = together(_keys(), _per_seed(ProbeParams()), _per_seed(RATES))
    init, update_chunk = alone
    for seed, key in enumerate(_keys()):
        state, curve, _ = update_chunk(init(key, ProbeParams(), RATES), ProbeParams(), 4)
        of_seed = jax.tree.map(lambda leaf: leaf[seed], side_by_side)  # noqa: B023
        _assert_close(of_seed, PPOResult(PPOPolicy(state.train.model), curve))


def test_a_lane_does_not_depend_on_its_place_or_neighbours(together):
    rates = Rates(jnp.array([5e-3, 5e-3, 2e-3]), jnp.array([0.97, 0.9, 0.97]))
    forward = together(_keys(), _per_seed(ProbeParams()), rates)
    backward = together(_keys()[::-1], _per_seed(ProbeParams()), jax.tree.map(lambda leaf: leaf[::-1], rates))
    np.testing.assert_array_equal(forward.curve.entropy, backward.curve.entropy[::-1])


def test_chunks_equal_the_whole_and_are_traced_once(together, alone, tmp_path):
    said, traces = [], []

    def report(text):
        said.append(text)
        traces.append(MATCH.traces)

    params = [ProbeParams()] * NUM_SEEDS
    chunked = _train_lanes(tmp_path / "one", params, report=report)
    again = _train_lanes(tmp_path / "other", params, report=report)
    whole = together(_keys(), _per_seed(ProbeParams()), _per_seed(RATES))
    _assert_close(chunked.model, whole.policy)
    _assert_equal(chunked.model, again.model)
    assert list(chunked.milestones) == [0, 128, 256], "a milestone is passed where a chunk ends"
    init, update_chunk = alone
    for seed, key in enumerate(_keys()):
        begun = init(key, ProbeParams(), RATES)
        half, *_ = update_chunk(begun, ProbeParams(), 2)
        for state, arrays in zip((begun, half), chunked.milestones.values(), strict=False):
            for name, leaf in named_arrays(PPOPolicy(state.train.model)).items():
                np.testing.assert_allclose(arrays[name][seed], leaf, rtol=1e-3, atol=1e-4)
    _assert_equal(chunked.milestones[256], named_arrays(chunked.model))
    assert [text.split(" steps")[0] for text in said] == ["compiles", "128 of 256", "256 of 256"] * 2
    assert len(set(traces[1:])) == 1, "the second run traces nothing"
    content = (tmp_path / "one" / "metrics.jsonl").read_bytes()
    assert content == (tmp_path / "other" / "metrics.jsonl").read_bytes()
    rows = read_rows(content)
    assert [(row["step"], row["lane"], row["seed"]) for row in rows] == [
        (step, lane, lane) for step in (128, 256) for lane in range(NUM_SEEDS)
    ]
    returns = np.asarray(whole.curve.return_sum).reshape(NUM_SEEDS, 2, 2).sum(2) / 64  # 64 episodes in a chunk
    np.testing.assert_allclose([row["return"] for row in rows], returns.T.reshape(-1), atol=1e-3)
    assert {row["episodes"] for row in rows} == {64}


def test_resuming_equals_no_interruption_and_the_learning_rate_ends_at_zero(alone):
    init, update_chunk = alone
    begun = init(jax.random.key(0), ProbeParams(), RATES)
    half, *_ = update_chunk(begun, ProbeParams(), 2)
    ended, *_ = update_chunk(half, ProbeParams(), 2)
    beyond, *_ = update_chunk(ended, ProbeParams(), 2)
    whole, *_ = update_chunk(begun, ProbeParams(), 4)
    _assert_equal(ended.replace(key=None), whole.replace(key=None))
    assert ended.train.step == 4 * _config().num_epochs * _config().num_minibatches
    _assert_equal(ended.train.model, beyond.train.model)


@pytest.mark.parametrize(("share", "values"), [(0.0, [8, 6, 4, 2, 0]), (0.5, [8, 8, 8, 4, 0]), (1.0, [8] * 5)])
def test_the_learning_rate_is_held_and_then_falls_to_zero(share, values):
    schedule = hold_then_fall(8.0, hold_share=share, num_steps=400)
    np.testing.assert_allclose([schedule(step) for step in range(0, 401, 100)], values)


def test_keys_are_used_once():
    learner = make_learner(_config(), MATCH)
    with jax.debug_key_reuse(True):
        state = jax.jit(learner.init)(jax.random.key(0), ProbeParams(), RATES)
        jax.jit(learner.update_chunk, static_argnums=2)(state, ProbeParams(), 2)


def test_a_lane_that_is_not_finite_is_marked_and_its_neighbours_go_on_untouched(tmp_path):
    """The first update learns from rewards that are NaN in one of three worlds."""
    good, bad = ProbeParams(), ProbeParams(pay=jnp.nan)
    healthy = _train_lanes(tmp_path / "healthy", [good] * NUM_SEEDS)
    said: list[str] = []
    spoilt = _train_lanes(tmp_path / "spoilt", [good, bad, good], report=said.append)
    assert healthy.first_bad_step.tolist() == [-1, -1, -1]
    assert spoilt.first_bad_step.tolist() == [-1, _config().batch_size, -1]
    _assert_equal(*(jax.tree.map(lambda leaf: leaf[::2], trained.model) for trained in (healthy, spoilt)))
    assert not all(np.isfinite(leaf[1]).all() for leaf in jax.tree.leaves(spoilt.model))
    assert all("1 lanes not finite" in text for text in said[1:]) and len(said) == 3
    ours, theirs = (
        [row for row in read_rows((tmp_path / name / "metrics.jsonl").read_bytes()) if row["lane"] != 1]
        for name in ("healthy", "spoilt")
    )
    assert ours == theirs and len(ours) == 4


def test_all_lanes_may_fail(tmp_path):
    trained = _train_lanes(tmp_path, [ProbeParams(pay=jnp.nan)] * NUM_SEEDS)
    assert trained.first_bad_step.tolist() == [_config().batch_size] * NUM_SEEDS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(num_envs=0), "num_envs"),
        (dict(gae_lambda=1.5), "gae_lambda"),
        (dict(num_levels=0), "num_levels"),
        (dict(entropy_coefficient=-1.0), "entropy_coefficient"),
        (dict(num_minibatches=3), "num_minibatches"),
        (dict(total_steps=10), "total_steps"),
        (dict(hidden_sizes=()), "hidden_sizes"),
    ],
)
def test_settings_are_validated(changes, message):
    with pytest.raises(ValueError, match=message):
        _config(**changes)


@pytest.mark.parametrize(("rates", "message"), [((2e-3, 1.5), "gamma"), ((0.0, 0.97), "learning_rate")])
def test_rates_are_validated(rates, message):
    with pytest.raises(ValueError, match=f"^{message}: "):
        Training(None, False, "ppo", "open", (0,), (rates,), ExperienceConfig(), _config(), PlannerConfig())


def test_categorical_agrees_with_its_definition():
    probabilities = np.array([0.5, 0.25, 0.125, 0.125])
    distribution = Categorical(jnp.log(probabilities) + 3.0)
    np.testing.assert_allclose(distribution.entropy(), 1.75 * np.log(2), rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(distribution.log_prob)(jnp.arange(4)), np.log(probabilities), rtol=1e-6)
    assert distribution.mode() == 0
    draws = jax.vmap(distribution.sample)(jax.random.split(jax.random.key(0), 20_000))
    np.testing.assert_allclose(np.bincount(draws, minlength=4) / 20_000, probabilities, atol=0.015)


def test_layers_begin_orthogonal():
    weight = MLP((6, 4, 3), scale=2.0, key=jax.random.key(0)).layers[0].weight[...]
    np.testing.assert_allclose(weight.T @ weight, 4.0 * np.eye(4), atol=1e-5)


def test_lanes_draw_their_layers_one_after_the_other():
    """A batch of factorisations can wait for itself on two threads; one at a time cannot."""
    keys = jax.random.split(jax.random.key(0), 3)
    draw = jax.jit(jax.vmap(lambda key: orthogonal(key, (6, 4))))
    np.testing.assert_array_equal(draw(keys), [orthogonal(key, (6, 4)) for key in keys])
    factorisations = [line for line in draw.lower(keys).as_text().splitlines() if "geqrf" in line]
    assert factorisations and not any("3x6x4" in line for line in factorisations)


def test_policy_follows_the_protocol_under_jit_and_vmap():
    obs = jnp.ones((2, 5, 8, 4), jnp.uint8)
    policy = PPOPolicy(make_network(obs[0], 5, PPOConfig(hidden_sizes=(16, 16)), key=jax.random.key(0)))
    keys = jax.random.split(jax.random.key(1), 2)
    memory = jax.vmap(policy.begin)(obs, keys)
    actions, _ = jax.jit(jax.vmap(policy.act))(memory, obs, keys)
    assert actions.shape == (2,) and actions.dtype == jnp.int32
    assert jax.tree.structure(jax.tree.map(lambda leaf: leaf, policy)) == jax.tree.structure(policy)
