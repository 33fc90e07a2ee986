"""What is imagined under jit is drawn from what exact planning sums over, and the rules as a model are the rules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import envs
from envs.keys import observation_keys
from envs.packing import unpack
from envs.solver import Graph, enumerate_states, true_outcomes
from envs.types import NUM_ACTIONS, Object
from mbrl.configs import DenseConfig, GridConfig, LocalConfig
from mbrl.experience import training_bank
from mbrl.models.entities import EntityModel
from mbrl.models.imagination import ImaginedEntities, TrueRules, imagine
from mbrl.models.outcomes import EntityOutcomes

STATES = 60


@pytest.fixture(scope="module")
def held_out() -> Graph:
    levels = envs.regime_levels("withheld+retiring", 24, 5, stream="held-out")
    return enumerate_states(training_bank(levels), true_outcomes())


def observations(graph: Graph, rows: np.ndarray, index: np.ndarray) -> np.ndarray:
    num_crates = graph.bank.crates.shape[-1]
    bank = jax.tree.map(jnp.asarray, graph.bank)
    observe = lambda row, i: envs.observe(jax.tree.map(lambda leaf: leaf[i], bank), unpack(row, num_crates))  # noqa: E731
    return np.asarray(jax.jit(jax.vmap(observe))(rows, index))


CONFIGS = {
    "local": LocalConfig(),
    "grid": GridConfig(hidden_size=32, num_channels=8),
    "dense": DenseConfig(hidden_size=32),
}


def wild(name: str = "local") -> EntityModel:
    """A model that has learnt nothing and thinks much possible."""
    model = EntityModel(CONFIGS[name], key=jax.random.key(7))
    for head in (model.crate, model.robot, model.mover):
        last = head.body.layers[-1]
        last.weight, last.bias = nnx.Param(14 * last.weight[...]), nnx.Param(last.bias[...])
    return model


@pytest.mark.parametrize(
    "who", ["rules", "local", *(pytest.param(name, marks=pytest.mark.slow) for name in ("grid", "dense"))]
)
def test_draws_have_the_frequencies_that_planning_sums_over(held_out, who):
    slots = held_out.bank.crates.shape[-1], held_out.bank.movers.shape[-1]
    outcomes, model = (true_outcomes(), TrueRules(*slots)) if who == "rules" else (
        EntityOutcomes(wild(who)), ImaginedEntities(wild(who), *slots)
    )  # fmt: skip
    draws = 1500 if who in ("rules", "local") else 120
    rng = np.random.default_rng(3)
    pick = np.sort(rng.permutation(len(held_out.rows))[:STATES])
    rows, index, action = held_out.rows[pick], held_out.level[pick], rng.integers(0, NUM_ACTIONS, STATES)
    edges = outcomes(held_out.bank, rows, index)
    seen, reward = imagine(model, observations(held_out, rows, index), action[None], draws, jax.random.key(0))
    seen, reward = np.asarray(seen[0]), np.asarray(reward[0])
    assert seen.shape[:2] == reward.shape == (STATES, draws)
    keys = observation_keys(observations(held_out, edges.rows[edges.child], index[edges.parent // NUM_ACTIONS]))
    cells = edges.rows[edges.child][:, [0, *range(6, 6 + sum(slots))]].astype(int)  # of things; several may be nowhere
    cells += (cells == 0) * -np.arange(cells.shape[1])
    apart = (np.diff(np.sort(cells, axis=1), axis=1) > 0).all(1)  # two things on one cell are seen as one
    gaps, tested, beyond = [], 0.0, []
    for i in range(STATES):
        mine, drawn = (edges.parent == i * NUM_ACTIONS + action[i]) & apart, observation_keys(seen[i])
        expected, which = np.unique(keys[mine], return_inverse=True)
        p = np.bincount(which, edges.probability[mine], len(expected))
        q = (drawn[:, None] == expected).mean(0)
        gaps += ((q - p) / np.sqrt(np.maximum(p * (1 - p), 1.5 / draws) / draws)).tolist()
        tested += p.sum() / STATES
        beyond.append(q.sum() - p.sum())
    assert np.abs(gaps).max() < 5 and np.abs(beyond).max() < 0.05, (np.abs(gaps).max(), np.abs(beyond).max())
    assert tested > 0.8 and np.sum(np.abs(gaps) > 0) > (50 if who == "rules" else 400), len(gaps)
    wanted = edges.reward[np.arange(STATES), action]  # of 1 to 3 %, the improbable, planning takes no account
    assert (np.abs(reward.mean(1) - wanted) <= 5 * reward.std(1) / draws**0.5 + 0.03 * wanted + 1e-6).all()


def test_what_is_imagined_holds_what_there_is_and_ignores_the_improbable(held_out):
    slots = held_out.bank.crates.shape[-1], held_out.bank.movers.shape[-1]
    first = observations(held_out, held_out.rows[held_out.start], held_out.level[held_out.start])
    actions = np.random.default_rng(0).integers(0, NUM_ACTIONS, (30, len(first)))
    quiet = ImaginedEntities(EntityModel(LocalConfig(), key=jax.random.key(1)), *slots, floor=0.1)
    still, nothing = imagine(quiet, first, actions, 3, jax.random.key(1))
    np.testing.assert_array_equal(np.asarray(still), np.broadcast_to(first[:, None], still.shape))
    assert not np.asarray(nothing).any()  # an untrained model says that nothing happens
    seen, _ = imagine(ImaginedEntities(wild(), *slots), first, actions, 3, jax.random.key(1))
    objects = np.asarray(seen)[..., 2]
    assert objects.max() <= Object.CART4 and (objects != first[:, None, ..., 2]).any()
    robots = ((objects >= Object.ROBOT) & (objects <= Object.DISABLED_ROBOT)).sum((-1, -2))
    assert (robots == 1).all()
    others = np.where(np.arange(len(first))[:, None, None, None] < 4, first, first[::-1])
    beside, _ = imagine(ImaginedEntities(wild(), *slots), others, actions, 3, jax.random.key(1))
    np.testing.assert_array_equal(np.asarray(beside)[:, :4], np.asarray(seen)[:, :4])
