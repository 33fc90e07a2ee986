"""The entity-wise model against the rules: what it is taught, what it then says of levels it has not seen."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.keys import StateKeys
from envs.packing import unpack
from envs.solver import Edges, Graph, enumerate_states, true_outcomes
from envs.types import NUM_ACTIONS, Level
from mbrl.experience import ExperienceConfig, training_bank
from mbrl.models.labels import digest
from mbrl.models.local import LocalConfig, LocalModel
from mbrl.models.neighbourhoods import grids_of_obs, grids_of_rows
from mbrl.models.outcomes import LocalOutcomes
from mbrl.train import SeedData, gather_seed, train_model
from mbrl.types import Transition

TERRAIN, MARKING, OBJECT, LIGHT = range(4)
FLOOR, WALL, FEEDER, PRESS, BREAKER, LEVERS, SHUTTERS = 0, 1, 2, 4, 5, (7, 8), (10, 12)
WIRED, CRATE, OPERATOR, SPENT = 2, 4, 5, 6
STEPS = np.array([(0, 0), (-1, 0), (0, 1), (1, 0), (0, -1)])
STAYS, CARRIES, TOGGLES, REWARD = 0, 5, (6, 7), -1
"""Columns of the robot's targets: its move (5, the first is none), wire, circuits A and B, power, reward."""


@pytest.fixture(scope="module")
def experience() -> tuple[SeedData, Transition]:
    """A few hundred training levels, played once by each of three policies, and all transitions."""
    kept = []
    data = gather_seed("withheld", ExperienceConfig(num_levels=210, rounds=1), 3, lambda _, seen: kept.append(seen))
    return data, kept[0]


@pytest.fixture(scope="module")
def model(experience) -> LocalModel:
    models, _ = train_model([experience[0]], LocalConfig(num_steps=400))
    return models[0]


@pytest.fixture(scope="module")
def held_out() -> Graph:
    """All states that can be reached on some levels of the training families that nobody trained on."""
    return enumerate_states(training_bank(envs.regime_levels("withheld", 18, 3, stream="held-out")), true_outcomes())


def look(obs: np.ndarray, cells: np.ndarray, channel: int) -> np.ndarray:
    """What a channel shows in one cell `[n, 2]` of each observation; wall off the grid."""
    inside = ((cells >= 0) & (cells < obs.shape[1:3])).all(1)
    row, column = np.where(inside[:, None], cells, 0).T
    return np.where(inside, obs[np.arange(len(obs)), row, column, channel], WALL if channel == TERRAIN else 0)


def select(data: Transition, which: np.ndarray) -> Transition:
    return Transition(*(part[which] for part in data))


def robot_view(data: Transition):
    """Where the robot stands, whether it has wire, and terrain and object of the cell it acts on."""
    things = data.obs[..., OBJECT]
    cells = np.argwhere((things >= 1) & (things <= 3))[:, 1:]
    ahead = cells + STEPS[data.action]
    return cells, look(data.obs, cells, OBJECT) == WIRED, look(data.obs, ahead, TERRAIN), look(data.obs, ahead, OBJECT)


def test_labels_of_the_robot_are_those_of_the_rules(experience):
    """Whatever it does is certain, and each kind of bump does what the rules say."""
    data, seen = experience
    assert set(np.unique(data.digest["robot"].targets[:, :REWARD])) <= {0, 1}, (
        "an input with two outcomes lacks something"
    )
    assert set(np.unique(data.digest["crate"].targets)) <= {0, 1}
    assert data.digest["robot"].count.sum() == len(seen.action) and (data.digest["robot"].mask == 1).all()
    _, wired, terrain, thing = robot_view(seen)
    acts, free = seen.action > 0, thing == 0
    walkable = np.isin(terrain, (FLOOR, *SHUTTERS))

    def targets(which: np.ndarray) -> np.ndarray:
        assert which.sum() > 20
        return digest(select(seen, which))["robot"].targets

    assert (targets(acts & free & walkable)[:, STAYS] == 0).all()
    assert (targets(~acts | (thing > CRATE) | (free & ~walkable))[:, STAYS] == 1).all()
    assert (targets(acts & free & (terrain == FEEDER))[:, CARRIES] == 1).all()
    assert (targets(wired & (terrain != PRESS))[:, CARRIES] == 1).all()
    assert (targets(~wired & (terrain != FEEDER))[:, CARRIES] == 0).all()
    for lever, shutter, toggles in zip(LEVERS, SHUTTERS, TOGGLES, strict=True):
        at_lever = acts & free & (terrain == lever)
        is_open = (seen.obs[..., TERRAIN] == shutter).any((1, 2))
        is_shut = (seen.obs[..., TERRAIN] == shutter + 1).any((1, 2))
        occupied = ((seen.obs[..., TERRAIN] == shutter) & (seen.obs[..., OBJECT] > 0)).any((1, 2))
        works = at_lever & (is_open | is_shut) & ~occupied
        assert (targets(works)[:, toggles] == 1).all() and (targets(~works)[:, toggles] == 0).all()
    assert not data.digest["robot"].targets[:, 8].any(), "nothing it does touches the power"


def test_reward_goes_to_wire_at_a_powered_press(experience):
    data, seen = experience
    _, wired, terrain, thing = robot_view(seen)
    pays = (seen.action > 0) & wired & (terrain == PRESS) & (thing == 0) & (seen.obs[:, 0, 0, LIGHT] == 1)
    np.testing.assert_array_equal(seen.reward, pays)
    np.testing.assert_allclose(digest(select(seen, pays))["robot"].targets[:, REWARD], 1)
    np.testing.assert_allclose(digest(select(seen, ~pays))["robot"].targets[:, REWARD], 0)
    robot, mover = data.digest["robot"], data.digest["mover"]
    assert set(np.round(robot.targets[:, REWARD], 9)) == {0, 1} and not mover.targets[:, REWARD].any()
    assert robot.targets[:, REWARD] @ robot.count == pytest.approx(seen.reward.sum())


def test_labels_of_movers_are_those_of_the_rules(experience):
    """Whose way is closed stays for certain; whose way is open goes in 60 % of all ticks; operators use breakers."""
    _, seen = experience
    things = seen.obs[..., OBJECT]
    seen = select(seen, (things >= OPERATOR).sum((1, 2)) == 1)
    _, *cells = np.nonzero(seen.obs[..., OBJECT] >= OPERATOR)
    cells = np.stack(cells, axis=1)
    kind, heading = look(seen.obs, cells, OBJECT), look(seen.obs, cells, MARKING)
    ahead = cells + STEPS[heading]
    terrain = look(seen.next_obs, ahead, TERRAIN)  # movers act on what the robot's part left
    empty = look(seen.obs, ahead, OBJECT) == 0
    free = (heading > 0) & np.isin(terrain, (FLOOR, *SHUTTERS)) & empty & (kind != SPENT)
    uses = (heading > 0) & (kind == OPERATOR) & (terrain == BREAKER)
    for which in (free, uses):
        found = digest(select(seen, which))["mover"]
        share = 1 - (found.targets[:, STAYS] @ found.count) / found.count.sum()
        assert found.count.sum() == which.sum() > 100
        assert abs(share - 0.6) < 4 * np.sqrt(0.24 / which.sum())
    spends = digest(select(seen, uses))["mover"]
    np.testing.assert_allclose(spends.targets[:, 5], 1 - spends.targets[:, STAYS], atol=1e-6)
    np.testing.assert_array_equal(spends.targets[:, 6], spends.mask[:, 6] > 0)  # who is spent has toggled the power
    stuck = digest(select(seen, ~free & ~uses))["mover"]
    assert (stuck.targets[:, STAYS] == 1).all() and stuck.count.sum() > 1_000


def observations(graph: Graph, rows: np.ndarray, index: np.ndarray) -> np.ndarray:
    num_crates = graph.bank.crates.shape[-1]
    bank = jax.tree.map(jnp.asarray, graph.bank)
    observe = lambda row, i: envs.observe(jax.tree.map(lambda leaf: leaf[i], bank), unpack(row, num_crates))  # noqa: E731
    return np.asarray(jax.jit(jax.vmap(observe))(rows, index))


def test_what_is_seen_of_a_state_is_what_is_seen_of_its_observation(held_out):
    pick = np.random.default_rng(0).permutation(len(held_out.rows))[:2_000]
    rows, index = held_out.rows[pick], held_out.level[pick]
    seen = grids_of_obs(observations(held_out, rows, index))
    packed = grids_of_rows(held_out.bank, rows, index)
    assert seen.width == packed.width
    for name in ("terrain", "marking", "objects", "power"):
        np.testing.assert_array_equal(getattr(packed, name), getattr(seen, name), err_msg=name)
    np.testing.assert_array_equal(packed.circuits(), seen.circuits())
    assert len(np.unique(seen.objects)) > 8 and len(np.unique(seen.terrain)) > 10


def distances(bank: Level, index: np.ndarray, edges: tuple[Edges, Edges]) -> np.ndarray:
    """Total variation ½ Σ |p − q| of two distributions over next states, for every state and action."""
    keys, parents, weights = [], [], []
    for sign, part in zip((1, -1), edges, strict=True):
        keys.append(StateKeys(bank).of_rows(part.rows, index[part.parent // NUM_ACTIONS]))
        parents.append(part.parent)
        weights.append(sign * part.probability)
    outcome = np.stack([np.concatenate(parents).astype(np.uint64), np.concatenate(keys)], axis=1)
    unique, inverse = np.unique(outcome, axis=0, return_inverse=True)
    gap = np.abs(np.bincount(inverse.reshape(-1), np.concatenate(weights)))
    return 0.5 * np.bincount(unique[:, 0].astype(int), gap, len(index) * NUM_ACTIONS)


def test_a_trained_model_foretells_levels_it_has_not_seen(model, held_out):
    pick = np.sort(np.random.default_rng(1).permutation(len(held_out.rows))[:3_000])
    rows, index = held_out.rows[pick], held_out.level[pick]
    said, true = LocalOutcomes(model)(held_out.bank, rows, index), true_outcomes()(held_out.bank, rows, index)
    assert (np.diff(said.parent) >= 0).all() and len(np.unique(said.parent)) == len(rows) * NUM_ACTIONS
    total = np.bincount(said.parent, said.probability)
    assert total.min() >= 0.95 and total.max() <= 1 + 1e-5
    wrong = distances(held_out.bank, index, (said, true))
    untrained = LocalOutcomes(LocalModel(LocalConfig(), key=jax.random.key(0)))(held_out.bank, rows, index)
    naive = distances(held_out.bank, index, (untrained, true))
    # An untrained model says that nothing happens, which is right whenever nothing does.
    assert wrong.mean() < min(0.15, naive.mean() / 2) and np.median(wrong) < 0.08
    assert np.abs(said.reward - true.reward).mean() < 0.01
    assert said.reward[true.reward == 1].mean() > 0.8


def test_nobody_leaves_the_grid_and_nobody_absent_comes(held_out):
    """Whatever a model says: an untrained one sends everybody everywhere."""
    pick = np.random.default_rng(2).permutation(len(held_out.rows))[:300]
    rows, index = held_out.rows[pick], held_out.level[pick]
    wild = jax.tree.map(lambda leaf: 20 * leaf, LocalModel(LocalConfig(), key=jax.random.key(1)))
    edges = LocalOutcomes(wild)(held_out.bank, rows, index)
    num_crates, num_movers = held_out.bank.crates.shape[-1], held_out.bank.movers.shape[-1]
    height, width = held_out.bank.terrain.shape[-2:]
    inside = np.zeros((height, width), bool)
    inside[1:-1, 1:-1] = True
    before = rows[edges.parent // NUM_ACTIONS]
    for column in (0, *range(6, 6 + num_crates + num_movers)):
        cells, old = edges.rows[:, column], before[:, column]
        assert (inside.reshape(-1)[cells] | (cells == 0)).all()
        np.testing.assert_array_equal(cells == 0, old == 0)
        step = np.abs(cells.astype(int) - old)
        assert np.isin(step, (0, 1, width)).all()
    assert (edges.rows[:, 0] != before[:, 0]).mean() > 0.1
    assert np.isin(edges.rows[:, 1:6], (0, 1)).all()


def test_seeds_trained_side_by_side_are_those_trained_alone(experience):
    data, seen = experience
    half = digest(select(seen, np.arange(len(seen.action)) < len(seen.action) // 2))
    pair = [data, replace(data, seed=8, digest=half)]
    config = LocalConfig(num_steps=25, hidden_size=32)
    together, losses = train_model(pair, config)
    for i, others in ((0, [data]), (1, pair[::-1])):  # alone, and in the other lane
        (alone, *_), curve = train_model(others, config)
        for mine, other in zip(jax.tree.leaves(alone), jax.tree.leaves(together[i]), strict=True):
            np.testing.assert_allclose(mine, other, atol=2e-4)
        np.testing.assert_allclose(curve["robot"][0], losses["robot"][i], rtol=1e-3)
    gap = [np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, together), strict=True)]
    assert max(gap) > 0.01, "seeds have initialisations of their own"
